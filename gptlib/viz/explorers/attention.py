"""AttentionExplorer: type a text, see every head, switch heads off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from traitlets import Enum, Unicode, validate
from traitlets import Int as Whole
from traitlets import List as Items

from gptlib.interpret.head_roles import ROLES, role_scores
from gptlib.interpret.tracing import in_turn
from gptlib.viz import figures
from gptlib.viz.drawing import Drawing
from gptlib.viz.explorers.adapters import GivenAttention, GPTAdapter, Reading, adapt, attention_of
from gptlib.viz.explorers.changes import check_change, code_of, edit_of, heads_by_row
from gptlib.viz.explorers.coding import THUMBNAIL, code, code_signed, pack, thumbnails
from gptlib.viz.explorers.explorer import Explorer
from gptlib.viz.explorers.reading import document, on_the_page

FULL = 128  # up to this many tokens every head is sent whole
N_BARS = 8


@dataclass(frozen=True)
class Side:
    """One text as one model read it: as it is, and with the reader's changes."""

    tokens: list[int]
    words: list[str]
    before: Reading
    after: Reading


class AttentionExplorer(Explorer):
    """Every head of a model on a text that the reader types; heads can be removed, scaled and patched.

    `AttentionExplorer(model, tokenizer, text)` takes a `gptlib.GPT`, or a causal model of transformers with
    its tokenizer: GPT-2, GPT-Neo, GPT-J, Pythia, OPT, BLOOM, Phi-3, or Llama and its like. With `text_b`, or
    `model_b` (a checkpoint of the same shape), a second reading stands beside it, and the view "difference"
    shows A minus B.
    `AttentionExplorer.from_array` shows weights that come from anywhere. The copy heads of a GPT that has any
    are as one more layer, behind the last.

    `changes` is what was done to the model, in order (gptlib.viz.explorers.changes says how): removing and
    scaling act on both texts, patching on B. `code` repeats them without the explorer.

    Raises ValueError for an empty text and one longer than the context, TypeError for a model that no
    adapter fits.
    """

    title = "Attention explorer"
    script = "attention.js"

    text = Unicode(help="the text that the model reads").tag(sync=True, asks="answer")
    text_b = Unicode(help="the text to compare with; empty: none, or the same with model_b").tag(
        sync=True, asks="answer"
    )
    view = Enum(["weights", "values", "difference"], "weights").tag(sync=True, asks="answer")
    changes = Items(help="what is done to the model").tag(sync=True, asks="answer")
    layer = Whole(0).tag(sync=True, asks="details")
    head = Whole(0).tag(sync=True, asks="details")
    query = Whole(-1, help="the token in focus; -1 is the last").tag(sync=True, asks="details")

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        text: str,
        text_b: str = "",
        model_b: Any = None,
        layer: int = 0,
        head: int = 0,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._adapter = model if isinstance(model, GivenAttention) else adapt(model)
        self._adapter_b = self._adapter if model_b is None else adapt(model_b)
        self._compares_models = model_b is not None
        self._shape, shape_b = _shape_of(self._adapter), _shape_of(self._adapter_b)
        if shape_b != self._shape:
            raise ValueError(
                f"model_b has {shape_b} (layers, heads, copy heads), model {self._shape}; only models of the "
                "same shape can be compared head by head"
            )
        self._rows = heads_by_row(self._shape)
        super().__init__(text=text, text_b=text_b, layer=layer, head=head)
        self.begin()

    @classmethod
    def from_array(cls, weights: Any, tokens: Sequence[Any] | Tensor) -> AttentionExplorer:
        """Explore attention weights that any causal model made on these tokens, which may be numbers.

        `attention_of` says in which forms the weights may come: those of (layer, head, query, key), of one
        layer or head, and the tuple of (1, head, query, key) that transformers calls `attentions`.

        Raises ValueError unless the weights fit the tokens and each row sums to 1 over itself and the past,
        TypeError for what holds no numbers.
        """
        words = [word if isinstance(word, str) else str(int(word)) for word in tokens]
        return cls(GivenAttention(attention_of(weights), words), None, "".join(words))

    @validate("layer", "head")
    def _check_place(self, proposal: Any) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        layer, count = value if name == "layer" else self.layer, len(self._rows)
        if not 0 <= layer < count:
            raise ValueError(f"layer is {layer}; the model has {count}, so 0 to {count - 1} would do")
        if name == "head" and not 0 <= value < (count := self._rows[layer]):
            raise ValueError(f"head is {value}; layer {layer} has {count}, so 0 to {count - 1} would do")
        return value

    @validate("changes")
    def _check_changes(self, proposal: Any) -> list[dict[str, Any]]:
        for change in proposal["value"]:
            check_change(change, self._shape)
        return proposal["value"]

    # --- reading ---------------------------------------------------------------------------------------

    def _encode(self, text: str, name: str) -> tuple[list[int], list[str]]:
        if not text:
            raise ValueError(f"{name} is empty; type a few words")
        if isinstance(self._adapter, GivenAttention):
            if text != "".join(self._adapter.words):
                raise ValueError(
                    f"{name} cannot change: this attention came without a model to read another text"
                )
            return self._adapter.tokens, self._adapter.words
        # The course's own tokenizers have pieces; a text starts after an end of text.
        if hasattr(self.tokenizer, "pieces"):
            tokens = document(self.tokenizer, text)
            words = ["(start)", *self.tokenizer.pieces(tokens[1:])]
        elif not callable(self.tokenizer):
            raise TypeError(f"tokenizer is {self.tokenizer!r}; it needs the model's own")
        else:
            tokens = list(self.tokenizer(text)["input_ids"])
            words = [self.tokenizer.decode([token]) for token in tokens]
        limit = self._adapter.context_length
        if len(tokens) > limit:
            raise ValueError(
                f"{name} has {len(tokens)} tokens; the model reads at most {limit}: shorten it by "
                f"{len(tokens) - limit}"
            )
        return tokens, words

    def _read(
        self, adapter: Any, tokens: list[int], changes: list[dict[str, Any]], source: Side | None
    ) -> Reading:
        edits: dict[str, list[Callable[[Tensor], Tensor]]] = {}
        for change in changes:
            if change["do"] == "patch" and source is None:
                continue
            activations = source.after.activations if source is not None else None
            name, function = edit_of(change, self._adapter.n_layers, activations, len(tokens))
            edits.setdefault(name, []).append(function)
        reading = adapter.read(tokens, {name: in_turn(*functions) for name, functions in edits.items()})
        if not torch.isfinite(reading.weights).all() or not torch.isfinite(reading.logits).all():
            raise ValueError(
                "model gives numbers that are not finite (NaN or infinity) on this text; look at its "
                "weights, or train it with a lower learning rate"
            )
        return reading

    def _side(self, adapter: Any, text: str, name: str, source: Side | None) -> Side:
        tokens, words = self._encode(text, name)
        before = self._read(adapter, tokens, [], None)
        changes = [change for change in self.changes if source is not None or change["do"] != "patch"]
        after = self._read(adapter, tokens, changes, source) if changes else before
        return Side(tokens, words, before, after)

    def compute_answer(self) -> dict[str, Any]:
        compares = bool(self.text_b) or self._compares_models
        view = self.view if compares or self.view != "difference" else "weights"
        side_a = self._side(self._adapter, self.text, "text", None)
        side_b = self._side(self._adapter_b, self.text_b or self.text, "text_b", side_a) if compares else None
        self._a, self._b = side_a, side_b
        self._view = view
        self._shown = self._measure(side_a, view)
        self._largest = largest = float(self._shown.abs().max()) or 1.0
        codes = code_signed(self._shown, largest) if view == "difference" else code(self._shown, largest)
        n = codes.shape[-1]
        whole = n <= FULL
        scores = role_scores(side_a.after.weights, side_a.tokens, side_a.words)
        self.set_trait("query", n - 1 if not -n <= self.query < n or self.query < 0 else self.query)
        return {
            "words": [on_the_page(word) for word in side_a.words],
            "words_b": [on_the_page(word) for word in side_b.words] if side_b else [],
            "layers": self._adapter.n_layers,
            "heads": self._adapter.n_heads,
            "copies": self._adapter.copy_heads,
            "size": n,
            "whole": whole,
            "view": view,
            "largest": largest,
            "table": "difference" if view == "difference" else "attention",
            "cells": pack(codes if whole else thumbnails(codes, center=128 if view == "difference" else 0)),
            "thumbnail": n if whole else THUMBNAIL,
            "roles": {role: self._ranked(score) for role, score in scores.items()},
            "meaning": ROLES,
            "code": self.code,
            "patching": side_b is not None and not isinstance(self._adapter, GivenAttention),
            "editable": not isinstance(self._adapter, GivenAttention),
        }

    def _measure(self, side: Side, view: str) -> Float[Tensor, "head query key"]:
        """What is drawn: weights, weights times the length of the value they carry, or A minus B."""
        weights = side.after.weights
        if view == "values":
            return weights * side.after.value_norms[:, None, :]
        if view == "difference":
            n = min(len(self._a.tokens), len(self._b.tokens))
            return self._a.after.weights[:, :n, :n] - self._b.after.weights[:, :n, :n]
        return weights

    def _ranked(self, scores: Float[Tensor, " head"] | None) -> list[dict[str, Any]]:
        """The five heads that score highest."""
        if scores is None:
            return []
        order = scores.argsort(descending=True, stable=True)[:5].tolist()
        places = [(layer, head) for layer, count in enumerate(self._rows) for head in range(count)]
        return [
            {"layer": places[at][0], "head": places[at][1], "score": round(float(scores[at]), 3)}
            for at in order
        ]

    def compute_details(self) -> dict[str, Any]:
        n = self._shown.shape[-1]
        self.set_trait("query", self.query % n if -n <= self.query < n else n - 1)
        self.set_trait("head", min(self.head, self._rows[self.layer] - 1))  # copy heads may be fewer, or more
        chosen = self.layer * self._adapter.n_heads + self.head
        row = self._shown[chosen, self.query, : self.query + 1]
        details: dict[str, Any] = {
            "row": row.numpy().astype(np.float32).tobytes(),
            "place": [self.layer, self.head, self.query],
            "next": self._bars(self._a, min(self.query, len(self._a.tokens) - 1)),
        }
        if self._b is not None:
            details["next_b"] = self._bars(self._b, len(self._b.tokens) - 1)
            if self._view != "difference":
                on_b = self._measure(self._b, self._view)[chosen]
                details["cells_b"] = pack(code(on_b, self._largest))
        if n > FULL:
            coder = code_signed if self._view == "difference" else code
            details["cells"] = pack(coder(self._shown[chosen], self._largest))
        return details

    def _bars(self, side: Side, position: int) -> list[dict[str, Any]]:
        """The likeliest next tokens after a position, with and without the changes."""
        if side.after.logits.shape[-1] == 0:
            return []
        after, before = (reading.logits[position].softmax(dim=-1) for reading in (side.after, side.before))
        top = after.topk(min(N_BARS, len(after))).indices.tolist()
        likeliest = int(before.argmax())
        if likeliest not in top:  # what the model said before should be seen to fall
            top[-1] = likeliest
        changed = side.after is not side.before
        return [
            {"token": self._word(token), "p": float(after[token])}
            | ({"was": float(before[token])} if changed else {})
            for token in top
        ]

    def _word(self, token: int) -> str:
        pieces = getattr(self.tokenizer, "pieces", None)
        if pieces is None:
            return on_the_page(self.tokenizer.decode([token]))
        return "(end)" if token == self.tokenizer.end_of_text else on_the_page(pieces([token])[0])

    # --- what Python users take from it ------------------------------------------------------------------

    @property
    def weights(self) -> Float[Tensor, "layer head query key"]:
        """The attention weights of text, with the changes."""
        return self._split(self._a.after.weights)[0]

    @property
    def copying_weights(self) -> Float[Tensor, "copy_head query key"]:
        """Where the copy heads look in text, with the changes; empty for a model that has none."""
        return self._split(self._a.after.weights)[1]

    @property
    def logits(self) -> Float[Tensor, "seq vocab"]:
        """The logits on text, with the changes."""
        return self._a.after.logits

    @property
    def code(self) -> str:
        """The changes as Python that repeats them."""
        if not self.changes or isinstance(self._adapter, GivenAttention):
            return ""
        ours = isinstance(self._adapter, GPTAdapter)
        return code_of(self.changes, self._adapter.n_layers, self.text, self.text_b, ours)

    def page_state(self) -> dict[str, Any]:
        """As in any file, with cells in 64 shades: the eye tells no more apart, and it is a third smaller."""
        state = super().page_state()
        cells = np.frombuffer(state["answer"]["cells"], dtype=np.uint8).astype(np.uint16)
        rounded = np.minimum((cells + 2) // 4 * 4, 255).astype(np.uint8)
        return state | {"answer": state["answer"] | {"cells": rounded.tobytes()}}

    def figure(self) -> Drawing:
        n = min(self._shown.shape[-1], 40)
        words = [on_the_page(word) for word in self._a.words[:n]]
        weights, copying = self._split(self._shown[:, :n, :n])
        return figures.attention_montage(
            weights,
            words,
            title=f"Every head of every layer; {self._chosen} is chosen",
            highlight=[(self.layer, self.head)],
            normalized=self._view == "weights" and n == self._shown.shape[-1],
            copying=copying if len(copying) else None,
        )

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 30 else self.text[:29] + "…"
        return f"AttentionExplorer({text!r}, {self._chosen}, {len(self.changes)} changes)"

    @property
    def _chosen(self) -> str:
        if self.layer == self._adapter.n_layers:
            return f"copy head {self.head}"
        return f"layer {self.layer} head {self.head}"

    def _split(
        self, all_heads: Float[Tensor, "all query key"]
    ) -> tuple[Float[Tensor, "layer head query key"], Float[Tensor, "copy_head query key"]]:
        """The heads of the layers, and the copy heads."""
        n_layers, n_heads, copy_heads = self._shape
        heads, copies = all_heads.split([n_layers * n_heads, copy_heads])
        return heads.unflatten(0, (n_layers, n_heads)), copies


def _shape_of(adapter: Any) -> tuple[int, int, int]:
    return adapter.n_layers, adapter.n_heads, adapter.copy_heads
