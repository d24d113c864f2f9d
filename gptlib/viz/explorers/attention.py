"""AttentionExplorer: type a text, see every head, switch heads off."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor
from traitlets import Enum, Unicode, validate
from traitlets import Int as Whole
from traitlets import List as Items

from gptlib.interpret.head_roles import ROLES, opening_head, role_scores
from gptlib.interpret.tracing import in_turn
from gptlib.model.gpt import GPT
from gptlib.viz.drawing import Drawing
from gptlib.viz.explorers.adapters import GivenAttention, Reading, adapt, attention_of
from gptlib.viz.explorers.changes import check_change, code_of, edit_of, heads_by_row, in_code_of
from gptlib.viz.explorers.coding import code, code_signed, pack, strongest, thumbnails
from gptlib.viz.explorers.explorer import Explorer
from gptlib.viz.explorers.reading import on_the_page
from gptlib.viz.explorers.still import attention_still
from gptlib.viz.explorers.words import read_target, read_words, word_of

WHOLE = 6_000_000  # up to this many cells every head is sent whole
IN_FILE = 2_000_000  # cells of rows that a file holds of heads that are not sent whole
N_BARS = 8
VIEWS = ("weights", "values", "difference")


@dataclass(frozen=True)
class Side:
    """One text as one model read it: as it is, and with the reader's changes.

    The tokens are those that look; source holds those of the other text that cross-attention looks at.
    """

    tokens: list[int]
    words: list[str]
    source: list[int]
    keys: list[str] | None  # None: a token looks at tokens of its own text
    before: Reading
    after: Reading


class AttentionExplorer(Explorer):
    """Every head of a model on a text that the reader types; heads can be removed, scaled and patched.

    `AttentionExplorer(model, tokenizer, text)` takes a `gptlib.GPT`, or any model of transformers that gives
    its attention away, with its tokenizer. Of an encoder-decoder, `part` says which attention ("encoder",
    "decoder" or "cross"), and `target` is the text that the decoder reads. With `text_b`, or `model_b` (a
    checkpoint of the same shape), a second reading stands beside it, and the view "difference" shows A minus
    B. `AttentionExplorer.from_array` shows weights that come from anywhere. The copy heads of a GPT that has
    any are as one more layer, behind the last. Without a layer and head it opens on the head that has most to
    show (`gptlib.interpret.head_roles.opening_head`).

    `changes` is what was done to the model, in order (gptlib.viz.explorers.changes says how): removing and
    scaling act on both texts, patching on B. `code` repeats them without the explorer.

    Raises ValueError for an empty text and one longer than the context, TypeError for a model that does not
    give its attention away.
    """

    title = "Attention explorer"
    script = "attention.js"

    text = Unicode(help="the text that the model reads").tag(sync=True, asks="answer")
    text_b = Unicode(help="the text to compare with; empty: none, or the same with model_b").tag(
        sync=True, asks="answer"
    )
    target = Unicode(help="the text that a decoder reads").tag(sync=True, asks="answer")
    view = Enum(VIEWS, "weights").tag(sync=True, asks="answer")
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
        layer: int | None = None,
        head: int | None = None,
        part: str = "",
        target: str = "",
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._adapter = model if isinstance(model, GivenAttention) else adapt(model, part)
        self._adapter_b = self._adapter if model_b is None else adapt(model_b, part)
        self._compares_models = model_b is not None
        self._shape, shape_b = _shape_of(self._adapter), _shape_of(self._adapter_b)
        if shape_b != self._shape:
            raise ValueError(
                f"model_b has {shape_b} (layers, heads, copy heads), model {self._shape}; only models of the "
                "same shape can be compared head by head"
            )
        self._rows = heads_by_row(self._shape)
        self._places = [(layer, head) for layer, count in enumerate(self._rows) for head in range(count)]
        self._kept: dict[str, tuple[Any, Reading]] = {}
        self._opening = layer is None and head is None
        super().__init__(text=text, text_b=text_b, target=target, layer=layer or 0, head=head or 0)
        self.begin()

    @classmethod
    def from_array(
        cls,
        weights: Any,
        tokens: Sequence[Any] | Tensor,
        keys: Sequence[Any] | Tensor | None = None,
        scores: bool = False,
    ) -> AttentionExplorer:
        """Explore attention weights that any model made on these tokens, which may be numbers.

        `attention_of` says in which forms the weights may come: those of (layer, head, query, key), of one
        layer or head, and the tuple of (1, head, query, key) that transformers calls `attentions`. Attention
        may be causal or not; rows that are all 0 are padding. For cross-attention, tokens are those that look
        and keys those that are looked at. With `scores`, the numbers are those before the softmax, -infinity
        where masked.

        Raises ValueError unless the weights fit the tokens and each row sums to 1 or is all 0, TypeError for
        what holds no numbers.
        """
        words = _labels(tokens)
        given = GivenAttention(attention_of(weights), words, None if keys is None else _labels(keys), scores)
        return cls(given, None, "".join(words))

    def page_model(self) -> tuple[Any, Any] | None:
        if isinstance(self.model, GPT) and not self._compares_models:
            return self.model, self.tokenizer
        return None

    def why_no_model(self) -> str:
        if isinstance(self.model, GivenAttention):
            return "The weights came without a model to read another text."
        if self._compares_models:
            return "A file can hold one model, and this compares two; open the notebook for other texts."
        return "A page runs a gptlib.GPT only; open the notebook for other texts and for changes."

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

    def refresh(self) -> None:
        """Read everything anew: for what nothing tells of, as hooks on the model and writes into `.data`."""
        self._kept.clear()
        super().refresh()

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
        if name == "target":
            tokens, words = read_target(self.tokenizer, text, self._adapter.start)
        else:
            tokens, words = read_words(self.tokenizer, text)
        limit = self._adapter.context_length
        if len(tokens) > limit:
            raise ValueError(
                f"{name} has {len(tokens)} tokens; the model reads at most {limit}: shorten it by "
                f"{len(tokens) - limit}"
            )
        return tokens, words

    def _read(
        self,
        adapter: Any,
        slot: str,
        tokens: list[int],
        source: list[int],
        changes: list[Any],
        a: Side | None,
    ) -> Reading:
        """A reading with changes, kept in its slot until the texts, the changes or the model differ."""
        patched = a is not None and any(change["do"] == "patch" for change in changes)
        changes = [dict(change) for change in changes]
        key = (
            tokens,
            source,
            changes,
            patched and (a.tokens, a.source, state_of(self._adapter)),
            state_of(adapter),
        )
        if slot in self._kept and self._kept[slot][0] == key:
            return self._kept[slot][1]
        edits: dict[str, list[Callable[[Tensor], Tensor]]] = {}
        for change in changes:
            activations = a.after.activations if a is not None else None
            name, function = edit_of(change, self._adapter.n_layers, activations, len(tokens))
            edits.setdefault(name, []).append(function)
        together = {name: in_turn(*functions) for name, functions in edits.items()}
        self._kept.pop(slot, None)  # not two at once: at a thousand tokens a reading fills half a gigabyte
        reading = adapter.read(tokens, together, source if adapter.needs_target else None)
        if not isinstance(adapter, GivenAttention) and not (
            _finite(reading.weights) and _finite(reading.logits)
        ):
            raise ValueError(
                "model gives numbers that are not finite (NaN or infinity) on this text; look at its "
                "weights, or train it with a lower learning rate"
            )
        self._kept[slot] = (key, reading)
        return reading

    def _side(self, adapter: Any, text: str, name: str, a: Side | None) -> Side:
        source, keys = self._encode(text, name)
        tokens, words = source, keys
        if adapter.needs_target:
            tokens, words = self._encode(self.target, "target")
        crosses = adapter.needs_target and not adapter.causal
        changes = [change for change in self.changes if a is not None or change["do"] != "patch"]
        before = self._read(adapter, f"{name} before", tokens, source, [], None)
        after = self._read(adapter, f"{name} after", tokens, source, changes, a) if changes else before
        if isinstance(adapter, GivenAttention):
            keys, crosses = adapter.keys, adapter.keys is not None
        return Side(tokens, words, source, keys if crosses else None, before, after)

    def compute_answer(self) -> dict[str, Any]:
        adapter = self._adapter
        if self.text_b and adapter.needs_target:
            raise ValueError("text_b is given; beside a decoder's target there is no room for a second text")
        compares = bool(self.text_b) or self._compares_models
        view = self.view if compares or self.view != "difference" else "weights"
        view = "weights" if view == "values" and adapter.no_values else view
        side_a = self._side(adapter, self.text, "text", None)
        side_b = self._side(self._adapter_b, self.text_b or self.text, "text_b", side_a) if compares else None
        self._a, self._b, self._view = side_a, side_b, view
        self._signed = view == "difference" or getattr(adapter, "scores", False)
        shown = self._shown = self._measure(side_a, view)
        lowest, highest = map(float, (shown.nan_to_num(neginf=0.0) if self._signed else shown).aminmax())
        self._largest = max(highest, -lowest) or 1.0
        rows, columns = shown.shape[1:]
        whole = shown.numel() <= WHOLE
        small = shown if whole else thumbnails(shown, self._signed)
        self.set_trait("query", rows - 1 if not -rows <= self.query < rows or self.query < 0 else self.query)
        scores = {}
        if side_a.keys is None and not getattr(adapter, "scores", False):
            scores = role_scores(side_a.after.weights, side_a.tokens, side_a.words)
        if self._opening:
            self._opening = False
            layer, head = self._places[opening_head(side_a.after.weights, scores)]
            self.set_trait("layer", layer)
            self.set_trait("head", head)
        return {
            "words": [on_the_page(word) for word in side_a.words],
            "keys": None if side_a.keys is None else [on_the_page(word) for word in side_a.keys],
            "words_b": [on_the_page(word) for word in side_b.words] if side_b else [],
            "layers": adapter.n_layers,
            "heads": adapter.n_heads,
            "copies": adapter.copy_heads,
            "rows": rows,
            "columns": columns,
            "causal": adapter.causal,
            "whole": whole,
            "view": view,
            "largest": self._largest,
            "table": "difference" if self._signed else "attention",
            "cells": pack(self._coded(small), adapter.causal),
            "small": list(small.shape[1:]),
            "padding": self._padding(),
            "roles": {role: self._ranked(score) for role, score in scores.items()},
            "meaning": ROLES,
            "code": self.code,
            "given": isinstance(adapter, GivenAttention),
            "needs_target": adapter.needs_target,
            "no_edits": adapter.no_edits,
            "no_values": adapter.no_values,
            "predicts": adapter.predicts,
            "scores": getattr(adapter, "scores", False),
        }

    def _coded(self, x: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
        return (code_signed if self._signed else code)(x, self._largest)

    def _padding(self) -> dict[str, list[int]]:
        """The tokens that look at nothing, and those that nobody looks at."""
        weights = self._a.after.weights
        if not isinstance(self._adapter, GivenAttention) or self._adapter.scores:
            return {"queries": [], "keys": []}
        looks = weights.any(dim=0)  # (query, key)
        return {
            "queries": (~looks.any(dim=1)).nonzero()[:, 0].tolist(),
            "keys": (~looks.any(dim=0)).nonzero()[:, 0].tolist(),
        }

    def _measure(self, side: Side, view: str) -> Float[Tensor, "head query key"]:
        """What is drawn: weights, weights times the length of the value they carry, or A minus B."""
        weights = side.after.weights
        if view == "values":
            return weights * side.after.value_norms[:, None, :]
        if view == "difference":
            rows, columns = (
                min(sizes) for sizes in zip(weights.shape[1:], self._b.after.weights.shape[1:], strict=True)
            )
            return weights[:, :rows, :columns] - self._b.after.weights[:, :rows, :columns]
        return weights

    def _ranked(self, scores: Float[Tensor, " head"] | None) -> list[dict[str, Any]]:
        """The five heads that score highest."""
        if scores is None:
            return []
        return [
            {"layer": self._places[at][0], "head": self._places[at][1], "score": round(float(scores[at]), 3)}
            for at in scores.argsort(descending=True, stable=True)[:5].tolist()
        ]

    def compute_details(self) -> dict[str, Any]:
        rows = self._shown.shape[1]
        self.set_trait("query", self.query % rows if -rows <= self.query < rows else rows - 1)
        self.set_trait("head", min(self.head, self._rows[self.layer] - 1))  # copy heads may be fewer, or more
        chosen = self._places.index((self.layer, self.head))
        row = self._shown[chosen, self.query]
        row = row[: self.query + 1] if self._adapter.causal else row
        details: dict[str, Any] = {
            "row": row.numpy().astype(np.float32).tobytes(),
            "place": [self.layer, self.head, self.query],
            "next": self._bars(self._a, min(self.query, len(self._a.tokens) - 1)),
        }
        if self._b is not None:
            details["next_b"] = self._bars(self._b, len(self._b.tokens) - 1)
            if self._view != "difference":
                on_b = self._measure(self._b, self._view)[chosen]
                details["cells_b"] = pack(self._coded(on_b), self._adapter.causal)
        if self._shown.numel() > WHOLE:
            details["cells"] = pack(self._coded(self._shown[chosen]), self._adapter.causal)
        return details

    def _bars(self, side: Side, position: int) -> list[dict[str, Any]]:
        """The likeliest tokens after a position (or in its place), with and without the changes."""
        if side.after.logits.shape[-1] == 0:
            return []
        after, before = (reading.logits[position].softmax(dim=-1) for reading in (side.after, side.before))
        top = after.topk(min(N_BARS, len(after))).indices.tolist()
        likeliest = int(before.argmax())
        if likeliest not in top:  # what the model said before should be seen to fall
            top[-1] = likeliest
        changed = side.after is not side.before
        return [
            {"token": on_the_page(word_of(self.tokenizer, token)), "p": float(after[token])}
            | ({"was": float(before[token])} if changed else {})
            for token in top
        ]

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
        read = self.target if self._adapter.needs_target else self.text
        how = in_code_of(self._adapter, self.text)
        return code_of(self.changes, self._adapter.n_layers, read, self.text_b, how)

    def page_state(self) -> dict[str, Any]:
        """As in any file: every head, with cells in 64 shades, since the eye tells no more apart.

        Of a text too long for that, the strongest cells of each row, and a sentence that says how much they
        are; only the head that is chosen is whole.
        """
        state = super().page_state()
        news = {"cells": self._in_shades(state["answer"]["cells"])}
        if self._shown.numel() > WHOLE:
            n_heads, rows, columns = self._shown.shape
            count = max(1, min(columns, IN_FILE // (n_heads * rows)))
            values, keys = strongest(self._shown.nan_to_num(neginf=0.0), count)
            held = float(values.abs().sum() / self._shown.nan_to_num(neginf=0.0).abs().sum())
            news["rest"] = {
                "count": count,
                "codes": self._in_shades(self._coded(values).numpy().tobytes()),
                "keys": keys.numpy().tobytes(),
                "told": f"this file holds the {count} strongest keys of each row, {held:.0%} of all there is",
            }
        return state | {"answer": state["answer"] | news}

    def _in_shades(self, cells: bytes) -> bytes:
        codes = np.frombuffer(cells, dtype=np.uint8).astype(np.uint16)
        rounded = np.minimum((codes + 2) // 4 * 4, 255)
        # The lowest of the signed codes is not the one for what is masked.
        return np.where(codes > 0, np.maximum(rounded, self._signed), 0).astype(np.uint8).tobytes()

    def figure(self) -> Drawing:
        side, n = self._a, 40  # tokens that can be told apart
        last = min(self.query + 1, len(side.words))
        queries = slice(max(0, last - n), max(last, min(n, len(side.words))))
        keys = queries if side.keys is None else slice(0, n)
        chosen = self._places.index((self.layer, self.head))
        return attention_still(
            thumbnails(self._shown, self._signed).numpy(),
            self._places,
            [str(layer) for layer in range(self._adapter.n_layers)] + ["copy"],
            chosen,
            self._shown[chosen, queries, keys].numpy(),
            [on_the_page(word) for word in side.words[queries]],
            [on_the_page(word) for word in (side.keys or side.words)[keys]],
            self._largest,
            self._adapter.causal,
            self._signed,
            f"{self._chosen[:1].upper()}{self._chosen[1:]}",
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


def state_of(adapter: Any) -> list[tuple[int, int]]:
    """Changes whenever the model's numbers are written to: a training step, weights that are loaded."""
    if isinstance(adapter, GivenAttention):
        return []
    numbers = itertools.chain(adapter.model.parameters(), adapter.model.buffers())
    # Tensors of the inference mode count no versions: nothing may write to them.
    return [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in numbers]


def _finite(x: Float[Tensor, "*shape"]) -> bool:
    return not x.numel() or all(math.isfinite(end) for end in map(float, x.aminmax()))


def _labels(tokens: Sequence[Any] | Tensor) -> list[str]:
    return [word if isinstance(word, str) else str(int(word)) for word in tokens]
