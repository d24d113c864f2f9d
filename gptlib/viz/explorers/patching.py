"""PatchingExplorer: two texts that differ in a word, and where in the model that makes a difference."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from traitlets import Enum, Unicode

from gptlib.generation.sampling import can_choose
from gptlib.interpret.inspecting import each_patch
from gptlib.model.checks import check_vocabulary
from gptlib.model.finiteness import why_not_finite
from gptlib.model.gpt import GPT
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.tokenizer import Tokenizer
from gptlib.viz import figures
from gptlib.viz.drawing import Drawing
from gptlib.viz.explorers.explorer import Explorer
from gptlib.viz.explorers.reading import document, in_use, numbers, on_the_page
from gptlib.viz.explorers.words import words_of

PARTS = {
    "residual_pre": "stream",
    "attention.output": "attention",
    "mlp.output": "MLP",
    "attention.heads": "heads",
}
MOST_TOKENS, N_BARS = 40, 5
MOST_NAMED = 6  # tokens that a sentence spells out


class PatchingExplorer(Explorer):
    """Activation patching: the model reads `corrupted`, with one activation from its reading of `clean`.

    Each cell is a layer and a position, or a head, and says how far the next token goes back to what it is
    after `clean`: 0 as after corrupted, 1 as after clean. What is measured is the logit of clean's likeliest
    next token minus that of corrupted's. Pointing at a cell shows what the model then says. `part` is what
    is patched: residual_pre (the whole stream), attention.output, mlp.output or attention.heads.

    On the page it answers as one types; while it cannot, the map stays as it was and is marked as stale.

    Raises ValueError for texts that are empty, of unequal length in tokens, over 39 tokens or after which the
    model says the same; TypeError for another model.
    Meng et al. 2022, "Locating and Editing Factual Associations in GPT", section 2.1.
    """

    title = "Patching"
    script = "patching.js"

    clean = Unicode(help="the text that activations come from").tag(sync=True, asks="answer")
    corrupted = Unicode(help="the text that the model reads").tag(sync=True, asks="answer")
    part = Enum(list(PARTS), "residual_pre", help="what is patched").tag(sync=True, asks="answer")

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer | CharacterTokenizer,
        clean: str,
        corrupted: str,
        part: str = "residual_pre",
    ) -> None:
        if not isinstance(model, GPT):
            raise TypeError(f"model is a {type(model).__name__}; it needs to be a gptlib.GPT")
        check_vocabulary(tokenizer, model.config)
        self.model, self.tokenizer = model, tokenizer
        super().__init__(clean=clean, corrupted=corrupted, part=part)
        self.begin()

    def page_model(self) -> tuple[Any, Any]:
        return self.model, self.tokenizer

    def compute_answer(self) -> dict[str, Any]:
        """The map, and for each of its cells what the model says next."""
        clean, corrupted = self._tokens("clean"), self._tokens("corrupted")
        if len(clean) != len(corrupted):
            raise ValueError(self._unequal(clean, corrupted))
        with in_use(self.model) as device:
            pair = torch.tensor([clean, corrupted], device=device)
            whole = numbers(self.model(pair)[:, -1])  # (2, vocab)
            if not can_choose(whole):
                raise FloatingPointError(why_not_finite(self.model, pair))
            patched = [
                (layer, column, numbers(logits[0, -1]))
                for layer, column, logits in each_patch(self.model, pair[:1], pair[1:], self.part)
            ]
        right, wrong = whole.argmax(dim=-1).tolist()
        if right == wrong:
            raise ValueError(
                f"clean and corrupted are both followed by “{self._word(right)}”; the two need to lead to "
                "different next tokens, so end both where the word that differs would come again"
            )
        top, bottom = (whole[:, right] - whole[:, wrong]).tolist()
        n_rows, n_columns = patched[-1][0] + 1, patched[-1][1] + 1
        self.cells = torch.empty(n_rows, n_columns)
        for layer, column, logits in patched:
            self.cells[layer, column] = (logits[right] - logits[wrong] - bottom) / (top - bottom)
        self._columns = [f"head {n}" for n in range(n_columns)]
        if self.part != "attention.heads":
            self._columns = ["(start)", *self._pieces(corrupted[1:])]
        self._words = self._word(right), self._word(wrong)
        return {
            "of": {"clean": self.clean, "corrupted": self.corrupted, "part": self.part},
            "columns": self._columns,
            "clean": ["(start)", *self._pieces(clean[1:])],
            "rows": n_rows,
            "cells": self.cells.flatten().tolist(),
            "differs": [a != b for a, b in zip(clean, corrupted, strict=True)],
            "words": list(self._words),
            "parts": PARTS,
            "says": [self._says(logits, whole[1]) for *_, logits in patched],
            "whole": [self._says(logits) for logits in whole],
        }

    def _tokens(self, name: str) -> list[int]:
        tokens = document(self.tokenizer, getattr(self, name))
        if len(tokens) == 1:
            raise ValueError(f"{name} is empty; type a few words")
        if len(tokens) > MOST_TOKENS:
            raise ValueError(
                f"{name} has {len(tokens) - 1} tokens; at most {MOST_TOKENS - 1} can be patched here"
            )
        return tokens

    def _pieces(self, tokens: Sequence[int]) -> list[str]:
        return [on_the_page(word) for word in words_of(self.tokenizer, tokens)]

    def _unequal(self, clean: list[int], corrupted: list[int]) -> str:
        """Which text has how many tokens, and where they part: a name may be one token and another three."""
        texts, many = (clean, corrupted), (len(clean) - 1, len(corrupted) - 1)
        changes = SequenceMatcher(None, *texts, autojunk=False).get_opcodes()
        _, *places = next(change for change in changes if change[2] - change[1] != change[4] - change[3])
        parts = []
        for tokens, start, stop in zip(texts, places[::2], places[1::2], strict=True):
            pieces = self._pieces(tokens[start:stop])
            words = "|".join(pieces[:MOST_NAMED]) + "…" * (len(pieces) > MOST_NAMED)
            parts.append(f"“{words}” ({len(pieces)})" if pieces else "nothing (0)")
        more, fewer = ("clean", "corrupted") if many[0] > many[1] else ("corrupted", "clean")
        return (
            f"clean has {many[0]} tokens and corrupted {many[1]}; patching needs the same number: take "
            f"{max(many) - min(many)} from {more}, or add as many to {fewer}. Where clean has {parts[0]}, "
            f"corrupted has {parts[1]}"
        )

    def _says(
        self, logits: Float[Tensor, " vocab"], before: Float[Tensor, " vocab"] | None = None
    ) -> list[dict[str, Any]]:
        """The likeliest next tokens, and how likely each was before."""
        now = logits.softmax(dim=-1)
        likeliest = now.topk(min(N_BARS, len(now))).indices.tolist()
        said = [{"token": self._word(token), "p": now[token].item()} for token in likeliest]
        if before is not None:
            for bar, token in zip(said, likeliest, strict=True):
                bar["was"] = before.softmax(dim=-1)[token].item()
        return said

    def _word(self, token: int) -> str:
        return "(end)" if token == self.tokenizer.end_of_text else self._pieces([token])[0]

    def figure(self) -> Drawing:
        """The map, array `matrix` (layer, column), with the cell of most effect outlined in its numbers."""
        right, wrong = self._words
        return figures.grid_heatmap(
            self.cells,
            [f"layer {n}" for n in range(len(self.cells))],
            self._columns,
            title=f"Patched here, the next token goes back from “{wrong}” (0) to “{right}” (1)",
            row_name="",
            column_name="head" if self.part == "attention.heads" else "position",
            label="share of the way back",
            diverging=True,
            annotate=False,
        )

    def __repr__(self) -> str:
        right, wrong = self._words
        return f"PatchingExplorer({self.part}, from {wrong!r} to {right!r}, {len(self._columns)} columns)"
