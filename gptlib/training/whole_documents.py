"""Batches of whole documents, no two in one row, of which those in a batch have about the same length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from gptlib.checks import check_kind, check_whole
from gptlib.text.corpora import TokenFile
from gptlib.training.evaluation import IGNORED

MULTIPLE = 8  # rows end at a multiple of so many tokens: few shapes, which a processor's kernels keep


class WholeDocuments:
    """The documents of a token file, as data to train on: each row is one document, and nothing else.

    In a window of a `TokenFile` the end of one document and the start of the next may stand together. Here a
    model sees each document alone, and from its start. Rows are filled up at the end with targets that carry
    no loss; there are few of those, since the documents of a batch are drawn from those of about the same
    length. A document that is longer than the context gives a random window of it.

    Raises ValueError when the file says of no document where it starts and ends.
    """

    def __init__(self, tokens: TokenFile) -> None:
        check_kind("tokens", tokens, TokenFile, "a TokenFile")
        starts = tokens.document_starts()
        if len(starts) < 2:
            raise ValueError(f"tokens has {len(starts)} end-of-text tokens; a document stands between two")
        self.tokens, self.starts = tokens, starts[:-1]
        self.lengths = np.diff(starts)  # of the inputs: with the end-of-text token before, not that behind
        self._order: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.starts)

    def __repr__(self) -> str:
        return f"WholeDocuments({len(self):,} documents of {self.tokens!r})"

    def batch(
        self,
        batch_size: int,
        context_length: int,
        generator: torch.Generator | None = None,
        at_document_starts: bool = True,
    ) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
        """Random documents of about one length, and what follows each of their tokens.

        Every document is as likely as any other, but for lengths of which there are fewer than `batch_size`.
        `at_document_starts` is there for the sake of `train`: a row always starts with one.

        Returns inputs and targets, int64 of shape (batch, seq), where targets of `IGNORED` carry no loss.
        Raises ValueError for sizes below 1.
        """
        check_whole("batch_size", batch_size)
        check_whole("context_length", context_length)
        order, sorted_lengths = self._sorted(context_length)
        one = int(torch.randint(len(self), (1,), generator=generator))
        low, high = np.searchsorted(sorted_lengths, sorted_lengths[one] + np.array([0, 1]))
        if missing := max(0, batch_size - (high - low)):
            low, high = max(0, low - missing), min(len(self), high + missing)
        if high - low >= batch_size:
            chosen = torch.randperm(int(high - low), generator=generator)[:batch_size]
        else:  # there are too few documents at all
            chosen = torch.randint(int(high - low), (batch_size,), generator=generator)
        rows = order[low + chosen.numpy()]
        return self._rows(rows, context_length, generator)

    def windows(
        self, context_length: int, at_document_starts: bool = True
    ) -> Iterator[tuple[Int[Tensor, " seq"], Int[Tensor, " seq"]]]:
        """Each document alone, in order, as far as the context goes; see `TokenFile.windows`."""
        return self.tokens.windows(context_length, at_document_starts=True)

    def _sorted(self, context_length: int) -> tuple[np.ndarray, np.ndarray]:
        """The documents by the lengths of their rows, and those lengths, in steps of MULTIPLE."""
        if context_length not in self._order:
            steps = -(-np.minimum(self.lengths, context_length) // MULTIPLE)
            order = np.argsort(steps, kind="stable")
            self._order = {context_length: (order, steps[order])}
        return self._order[context_length]

    def _rows(
        self, documents: Int[np.ndarray, " batch"], context_length: int, generator: torch.Generator | None
    ) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
        lengths = np.minimum(self.lengths[documents], context_length)
        room = torch.from_numpy(self.lengths[documents] - lengths + 1)
        # Drawn for every row, so that the next batch is the same whatever this one's lengths are.
        shift = (torch.rand(len(documents), generator=generator, dtype=torch.float64) * room).long().numpy()
        width = min(context_length, -(-int(lengths.max()) // MULTIPLE) * MULTIPLE)
        places = (self.starts[documents] + shift)[:, None] + np.arange(width + 1)
        rows = self.tokens.tokens[np.minimum(places, len(self.tokens) - 1)].astype(np.int64)
        inputs, targets = torch.from_numpy(rows[:, :-1]), torch.from_numpy(rows[:, 1:])
        past = torch.arange(width) >= torch.from_numpy(lengths)[:, None]
        return inputs.masked_fill(past, self.tokens.end_of_text), targets.masked_fill(past, IGNORED)
