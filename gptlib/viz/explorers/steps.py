"""Attention by hand: one head, one query, every number from q·k to the output, and what made each score."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from traitlets import Bool as Switch
from traitlets import Float as Number
from traitlets import Int, TraitType

from gptlib.interpret.score_contributions import ScoreContributions, score_contributions
from gptlib.interpret.tracing import trace
from gptlib.model.attention import attend
from gptlib.model.gpt import GPT
from gptlib.model.masks import causal_mask
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.tokenizer import Tokenizer
from gptlib.viz.checking import Array, Labels, as_array, as_labels
from gptlib.viz.drawing import Drawing
from gptlib.viz.explorers.explorer import Explorer
from gptlib.viz.explorers.reading import document, in_use, numbers, on_the_page
from gptlib.viz.explorers.words import words_of
from gptlib.viz.figures import attention_heatmap, grid_heatmap

MOST_TOKENS, MOST_DIMENSIONS, MOST_SOURCES, LARGEST = 12, 128, 5, 1e6
EDITED = ("q", "k", "v", "mask", "query", "d_k", "scale", "temperature")


class Rows(TraitType):
    """A matrix of finite numbers, kept as a list of lists; a tensor or an array will do. Its shape stays."""

    def __init__(self, named: str, shape: str) -> None:
        super().__init__([[0.0]], help=f"{named}, {shape}")
        self.named, self.shape = named, shape

    def validate(self, explorer: AttentionSteps, value: Any) -> list[list]:
        array = as_array(self.named, value, 2, self.shape)
        shape = explorer.shapes.get(self.name, array.shape)
        if array.shape != shape:
            raise ValueError(f"{self.named} has shape {array.shape}; it needs to stay {shape}")
        if np.abs(array).max() > LARGEST:
            raise ValueError(
                f"{self.named} holds {array.flat[np.abs(array).argmax()]:g}; "
                f"numbers from -{LARGEST:,.0f} to {LARGEST:,.0f} can be shown"
            )
        return array.tolist()


class Mask(Rows):
    """A matrix of True and False, kept as a list of lists."""

    def validate(self, explorer: AttentionSteps, value: Any) -> list[list]:
        numbers = np.array(super().validate(explorer, value))
        if not np.isin(numbers, (0, 1)).all():
            raise ValueError("mask holds more than True and False; it needs True where a query may attend")
        return numbers.astype(bool).tolist()


class Index(Int):
    """Which of the queries; below 0 it counts from the end."""

    def validate(self, explorer: AttentionSteps, value: Any) -> int:
        value, length = super().validate(explorer, value), len(explorer.q)
        if not -length <= value < length:
            raise ValueError(f"query is {value}; there are {length} queries, so it is from 0 to {length - 1}")
        return value % length


class Key(Int):
    """Which of the keys, or None."""

    def validate(self, explorer: AttentionSteps, value: Any) -> int | None:
        value, length = super().validate(explorer, value), len(explorer.q)
        if explorer.contributions is None:
            raise ValueError(f"key is {value}; it needs contributions, which AttentionSteps.from_model reads")
        if not -length <= value < length:
            raise ValueError(
                f"key is {value}; there are {length} keys, so it is from 0 to {length - 1}, or None"
            )
        return value % length


class AttentionSteps(Explorer):
    """One head worked out in exact numbers for one query: q·k, ÷ √d_k, mask, softmax, × v, output.

    Any number, and any cell of the mask, can be changed on the page; what follows from it changes with it, in
    a file without a kernel too. Here they are `q`, `k`, `v` (queries, keys, values) and `mask`: lists,
    changed by assigning them anew; `query`, the one shown; `d_k`, how many dimensions of queries and keys
    count, from the first; `scale`, whether scores are divided by √d_k; `temperature`, by which they are
    divided before the softmax. `weights` and `output` are what `gptlib.attend` makes of them.
    With a model's `contributions`, `key` says of which key the page shows why its score is what it is; with
    None it shows the numbers.
    Vaswani et al. 2017, "Attention Is All You Need", section 3.2.1, equation 1.
    """

    title = "Attention, step by step"
    script = "steps.js"

    # Not `keys`: every widget has a trait of that name, for something else.
    q = Rows("queries", "(seq, d_head)").tag(sync=True, asks="answer")
    k = Rows("keys", "(seq, d_head)").tag(sync=True, asks="answer")
    v = Rows("values", "(seq, d_value)").tag(sync=True, asks="answer")
    mask = Mask("mask", "(query, key)").tag(sync=True, asks="answer")
    query = Index(0, help="the query whose row is shown").tag(sync=True, asks="answer")
    d_k = Int(1, help="how many dimensions of queries and keys count").tag(sync=True, asks="answer")
    scale = Switch(True, help="whether scores are divided by √d_k").tag(sync=True, asks="answer")
    temperature = Number(1.0, help="what scores are divided by").tag(sync=True, asks="answer")
    key = Key(None, allow_none=True, help="the key whose score is split, or None").tag(
        sync=True, asks="answer"
    )

    def __init__(
        self,
        queries: Array,
        keys: Array,
        values: Array,
        tokens: Labels | None = None,
        query: int = -1,
        *,
        mask: Array | str | None = "causal",
        scale: bool = True,
        bias: Array | None = None,
        contributions: ScoreContributions | None = None,
        about: str = "",
    ) -> None:
        """One head of one text: queries and keys (seq, d_head), values (seq, d_value).

        tokens: the pieces of text, by default their positions. query: the one shown first, by default the
        last. mask: "causal" hides the future, None hides nothing, and (query, key) booleans are True where a
        query may attend. scale: False leaves out the division by √d_k. bias: (query, key), added to the
        scores, as ALiBi does. contributions: what the queries and keys are made of, as `score_contributions`
        gives it for one text. about: a sentence for the page.
        Raises ValueError or TypeError for what is no matrix of finite numbers, shapes that do not fit, and
        more than 12 tokens or 128 dimensions.
        """
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.contributions = contributions
        super().__init__()
        self.q, self.k, self.v = queries, keys, values
        length, d_head = np.shape(self.q)
        d_value = len(self.v[0])
        if np.shape(self.k) != (length, d_head):
            raise ValueError(f"keys has shape {np.shape(self.k)}; queries has {(length, d_head)}")
        if len(self.v) != length:
            raise ValueError(f"values has {len(self.v)} rows; keys has {length}, and each needs a value")
        if length > MOST_TOKENS:
            raise ValueError(f"queries has {length} tokens; at most {MOST_TOKENS} can be read as numbers")
        if max(d_head, d_value) > MOST_DIMENSIONS:
            raise ValueError(f"queries, keys and values can have at most {MOST_DIMENSIONS} dimensions")
        self.tokens = [str(at) for at in range(length)]
        if tokens is not None:
            self.tokens = as_labels("tokens", tokens, length, f"{length} queries")
        self.bias = None if bias is None else as_array("bias", bias, 2, "(query, key)").tolist()
        if bias is not None and np.shape(self.bias) != (length, length):
            raise ValueError(f"bias has shape {np.shape(self.bias)}; it needs to be ({length}, {length})")
        if isinstance(mask, str) and mask != "causal":
            raise ValueError(f'mask is {mask!r}; it needs "causal", None or (query, key) booleans')
        if mask is None or isinstance(mask, str):
            mask = np.ones((length, length)) if mask is None else causal_mask(length)
        self.mask = mask
        if np.shape(self.mask) != (length, length):
            raise ValueError(f"mask has shape {np.shape(self.mask)}; it needs to be ({length}, {length})")
        if contributions is not None and contributions.queries.shape[1:] != (1, length, d_head):
            raise ValueError(
                f"contributions has queries of shape {tuple(contributions.queries.shape)}; "
                f"it needs (source, 1, {length}, {d_head})"
            )
        self.query, self.d_k, self.scale = query, d_head, scale
        self.about = about
        self.shapes = {name: np.shape(getattr(self, name)) for name in ("q", "k", "v", "mask")}
        self.at_first = {name: getattr(self, name) for name in EDITED}
        self.begin()

    @classmethod
    def from_model(
        cls, model: GPT, tokenizer: Tokenizer | CharacterTokenizer, text: str, layer: int, head: int
    ) -> AttentionSteps:
        """The queries, keys and values of one of a model's heads as it reads `text`, after an end of text.

        Its scores can be taken apart (see `key`); of a model in half precision, up to what that rounds.
        Raises ValueError when there is no such layer or head, or the text is over 11 tokens, TypeError for
        another model.
        """
        if not isinstance(model, GPT):
            raise TypeError(f"model is a {type(model).__name__}; it needs to be a gptlib.GPT")
        config = model.config
        for name, given, count in (("layer", layer, config.n_layers), ("head", head, config.n_heads)):
            if not 0 <= given < count:
                raise ValueError(f"{name} is {given}; the model's are 0 to {count - 1}")
        tokens = document(tokenizer, text)
        if len(tokens) > MOST_TOKENS:
            raise ValueError(
                f"text has {len(tokens) - 1} tokens; at most {MOST_TOKENS - 1} can be read as numbers"
            )
        queries, keys, values, bias = one_head(model, tokens, layer, head)
        with in_use(model) as device:
            made_of = score_contributions(model, torch.tensor([tokens], device=device), layer, head)
        return cls(
            queries, keys, values, words_of(tokenizer, tokens), bias=bias, contributions=made_of,
            about=f"layer {layer}, head {head}",
        )  # fmt: skip

    @property
    def weights(self) -> Float[Tensor, "query key"]:
        """The attention weights of all queries."""
        return self._attention()[1]

    @property
    def output(self) -> Float[Tensor, "query d_value"]:
        """The outputs of all queries."""
        return self._attention()[0]

    def _attention(self) -> tuple[Float[Tensor, "query d_value"], Float[Tensor, "query key"]]:
        def matrix(rows: list[list]) -> Float[Tensor, "row column"]:
            return torch.tensor(rows, dtype=torch.float64)

        bias = matrix(self.bias) / self.temperature if self.bias else None
        divisor = self.temperature if self.scale else self.temperature / math.sqrt(self.d_k)
        queries, keys = matrix(self.q)[:, : self.d_k] / divisor, matrix(self.k)[:, : self.d_k]
        return attend(queries, keys, matrix(self.v), self._mask, bias)

    @property
    def _mask(self) -> Bool[Tensor, "query key"]:
        return torch.tensor(self.mask)

    def compute_answer(self) -> dict[str, Any]:
        """What does not change: the tokens, the numbers at first. The page does all arithmetic by itself."""
        d_head = len(self.q[0])
        if not 1 <= self.d_k <= d_head:
            raise ValueError(
                f"d_k is {self.d_k}; queries and keys have {d_head} dimensions, so it is 1 to {d_head}"
            )
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature is {self.temperature:g}; it needs to be above 0")
        for name, allowed in zip(self.tokens, self.mask, strict=True):
            if not any(allowed):
                raise ValueError(
                    f'mask lets "{on_the_page(name)}" attend to nothing; each query needs one key'
                )
        if self.key is not None and not self.mask[self.query][self.key]:
            query, key = (on_the_page(self.tokens[at]) for at in (self.query, self.key))
            raise ValueError(f'key is "{key}", which "{query}" may not attend to; one that it may would do')
        made_of = self.contributions
        return {
            "tokens": [on_the_page(token) for token in self.tokens],
            "about": self.about,
            "bias": self.bias,
            "at_first": self.at_first,
            "parts": made_of
            and {
                "sources": made_of.sources,
                "queries": numbers(made_of.queries).numpy().tobytes(),  # (source, 1, seq, d_head)
                "keys": numbers(made_of.keys).numpy().tobytes(),
            },
        }

    def figure(self) -> Drawing:
        """The weights of all queries, with the largest of the one shown outlined; with a `key`, its score."""
        if self.key is not None:
            return self._figure_of_score()
        weights = self.weights
        most = weights[self.query].argmax().item()
        names = [on_the_page(token) for token in self.tokens]
        return attention_heatmap(
            weights,
            self.tokens,
            masked=(~self._mask).numpy(),
            highlight=[(self.query, most)],
            title=f'"{names[self.query]}" looks most at "{names[most]}"',
        )

    def _figure_of_score(self) -> Drawing:
        table = numbers(self.contributions.between(self.query, self.key)[0])
        (rows, row_names), (columns, column_names) = (
            gathered(table.abs().sum(dim=1 - side), self.contributions.sources) for side in (0, 1)
        )
        query, key = (on_the_page(self.tokens[at]) for at in (self.query, self.key))
        return grid_heatmap(
            rows @ table @ columns.T,
            row_names,
            column_names,
            title=f'What makes the score {table.sum():.2f} of "{query}" for "{key}"',
            row_name="what wrote the query",
            column_name="what wrote the key",
            label="added to the score",
            diverging=True,
        )

    def __repr__(self) -> str:
        name = on_the_page(self.tokens[self.query])
        return f"AttentionSteps({len(self.tokens)} tokens, query {name!r}, d_k {self.d_k})"


def gathered(
    sizes: Float[Tensor, " source"], sources: list[str]
) -> tuple[Float[Tensor, "row source"], list[str]]:
    """Which sources each row of a short table adds up: the largest one by one, then the rest as one."""
    order = sizes.argsort(descending=True).tolist()
    single = order if len(order) <= MOST_SOURCES + 1 else order[:MOST_SOURCES]
    rows, names = torch.eye(len(sources))[single], [sources[at] for at in single]
    if len(single) < len(order):
        rest = torch.ones(len(sources)) - rows.sum(dim=0)
        rows, names = torch.cat([rows, rest[None]]), [*names, f"other {len(order) - len(single)}"]
    return rows, names


def one_head(
    model: GPT, tokens: list[int], layer: int, head: int
) -> tuple[
    Float[Tensor, "seq d_head"],
    Float[Tensor, "seq d_head"],
    Float[Tensor, "seq d_head"],
    Float[Tensor, "seq seq"] | None,
]:
    """One head's queries and keys with positions applied, its values, and the bias of its scores if any."""
    names = [f"blocks.{layer}.attention.{part}" for part in ("queries", "keys", "values")]
    with in_use(model) as device, trace(model, only=names) as run:
        model(torch.tensor([tokens], device=device))
        bias = model.blocks[layer].attention.position.bias(len(tokens), len(tokens))
        queries, keys, values = (numbers(run[name][0, head]) for name in names)
        return queries, keys, values, None if bias is None else numbers(bias[head])
