"""Byte-pair merges over the reader's own text, one after the other, forwards and backwards."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np
from traitlets import Int, Unicode, validate

from gptlib.text.bpe import split
from gptlib.text.tokenizer import Tokenizer
from gptlib.text.vocabulary import whole_text
from gptlib.viz import figures
from gptlib.viz.drawing import Drawing
from gptlib.viz.explorers.explorer import Explorer

LONGEST_TEXT = 2_000  # characters: at the start each of their bytes is a piece on the page


class BPEExplorer(Explorer):
    """How a tokenizer takes a text: from single bytes, by merges in the order in which they were learned.

    Only merges that change this text are steps. `step` counts those that are done: 0 shows the bytes, the
    last one the tokens of `tokenizer.encode(text)`. A new text is shown at its last step too; or, where fewer
    merges were done of the text before it, as far in the order of learning.

    tokenizer: a `gptlib.Tokenizer`.
    text: at most 2,000 characters, at least one. Special tokens in it are text like any other.

    Raises TypeError for another kind of tokenizer or a text that is not a string; ValueError for an empty
    or too long text, half of a surrogate pair; a step that there is not, or a vocabulary with tokens that no
    merges lead to.
    """

    title = "How bytes become tokens"
    script = "bpe.js"

    text = Unicode(help="what is taken to pieces").tag(sync=True, asks="answer")
    step = Int(0, help="how many merges are done").tag(sync=True)

    def __init__(self, tokenizer: Any, text: Any = "Mia flew a kite 🪁 over the old café.") -> None:
        if not isinstance(tokenizer, Tokenizer):
            raise TypeError(
                f"tokenizer is a {type(tokenizer).__name__}; it needs to be a gptlib.Tokenizer, whose tokens "
                "are merged from bytes"
            )
        if not isinstance(text, str):
            raise TypeError(f"text is a {type(text).__name__}; it needs to be a string")
        self._tokenizer = tokenizer
        # Each token that a merge makes: the number of the merge, from 1, and the length of its left part.
        numbered = enumerate(tokenizer.merges, start=1)
        self._merges = {left + right: (number, len(left)) for number, (left, right) in numbered}
        self._ranks: list[int] = []  # of each step: which merge of the tokenizer it is
        super().__init__(text=text)
        self.begin()

    def compute_answer(self) -> dict[str, Any]:
        """The bytes of the text, and for each the step that merges it with the one before it (0: none)."""
        if not self.text:
            raise ValueError("text is empty; type at least one character")
        if len(self.text) > LONGEST_TEXT:
            raise ValueError(
                f"text has {len(self.text):,} characters; at most {LONGEST_TEXT:,} can be looked at here"
            )
        tokens = [self._tokenizer.token_bytes(token) for token in self._tokenizer.encode(self.text)]
        self._bytes = b"".join(tokens)
        merge_at = self._merge_at(tokens)
        merges = np.unique(merge_at[merge_at > 0]).tolist()
        self._step_at = np.where(merge_at > 0, np.searchsorted(merges, merge_at) + 1, 0)
        if self.step < len(self._ranks):  # a text in the middle of its merges
            step = bisect_right(merges, self._ranks[self.step - 1]) if self.step else 0
        else:
            step = len(merges)
        self._ranks, self._shown = merges, self.text
        self.step = step

        made = [self._tokenizer.ranks[b"".join(self._tokenizer.merges[number - 1])] for number in merges]
        words = [len(piece.encode()) for piece in split(whole_text(self.text), self._tokenizer.pattern)]
        return {
            "bytes": self._bytes,
            "ids": np.array([self._tokenizer.ranks[bytes([byte])] for byte in self._bytes], "<i4").tobytes(),
            "steps": self._step_at.astype("<i4").tobytes(),
            "ranks": merges,  # of each step: which merge of the tokenizer it is, and the token that it makes
            "made": made,
            "learned": len(self._merges),
            "words": np.cumsum([0, *words])[:-1].tolist(),  # where each word starts: no merge crosses that
        }

    def _merge_at(self, tokens: list[bytes]) -> np.ndarray:
        """For each byte of the text, the number of the merge that joins it to the byte before it, or 0.

        Within a token the order of the text's merges is that of the token's own: a merge across its end never
        happened, or the token would not be there. So each token is taken apart into the two parts that made
        it, and those again.
        """
        merge_at = np.zeros(len(b"".join(tokens)), dtype=int)
        start = 0
        for token in tokens:
            parts = [(start, token)]
            while parts:
                at, part = parts.pop()
                if len(part) > 1:
                    number, middle = self._merges[part]
                    merge_at[at + middle] = number
                    parts += [(at, part[:middle]), (at + middle, part[middle:])]
            start += len(token)
        return merge_at

    @validate("step")
    def _existing_step(self, proposal: Any) -> int:
        if self._from_page:  # where a step of the text before it may still be on its way
            return min(max(proposal.value, 0), len(self._ranks))
        last = len(self._ranks)
        if not 0 <= proposal.value <= last:
            raise ValueError(
                f"step is {proposal.value}; {last} merges change this text, so it goes from 0 to {last}"
            )
        return proposal.value

    def pieces(self) -> list[bytes]:
        """The pieces of the text after `step` merges."""
        cuts = np.flatnonzero((self._step_at == 0) | (self._step_at > self.step)).tolist()
        return [self._bytes[start:stop] for start, stop in zip(cuts, [*cuts[1:], None], strict=True)]

    def figure(self) -> Drawing:
        """The pieces after `step` merges, each colored by its length; array `values` (piece,), in bytes."""
        pieces = self.pieces()
        longest = int(np.diff(np.flatnonzero(self._step_at == 0), append=len(self._bytes)).max())
        done = f"After {self.step} of {len(self._ranks)} merges"
        return figures.text_strip(
            self._tokenizer.pieces([self._tokenizer.ranks[piece] for piece in pieces]),
            [len(piece) for piece in pieces],
            label="bytes in the piece",
            title=f"{done}: {len(self._bytes)} bytes in {len(pieces)} pieces",
            smallest=1,
            largest=max(2, longest),  # the same colors at every step
        )

    def __repr__(self) -> str:
        text = self._shown if len(self._shown) <= 40 else f"{self._shown[:39]}…"
        return f"BPEExplorer({text!r}, merge {self.step} of {len(self._ranks)})"
