"""Attention that came without a model: in which forms it may be given, and what has to hold for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gptlib.viz.explorers.reading import Reading

ROUNDING = 0.01  # of a row's sum in half the bits


def attention_of(given: Any) -> Float[Tensor, "layer head query key"]:
    """Attention in the forms in which libraries hand it over, as one float32 tensor.

    One array or a sequence of one for each layer: (layer, head, query, key), (head, query, key) or
    (query, key), of any dtype, with gradients or without; where there is an axis for a batch, before that of
    the heads, it needs to hold one text. Raises TypeError for what holds no numbers, ValueError for layers of
    different shapes and for several texts.
    """
    if (
        isinstance(given, list | tuple)
        and given
        and all(np.ndim(layer) >= 2 for layer in map(_numbers, given))
    ):
        layers = [_numbers(layer) for layer in given]
        if len({layer.shape for layer in layers}) > 1:
            shapes = ", ".join(str(tuple(layer.shape)) for layer in layers[:4])
            raise ValueError(f"weights has layers of the shapes {shapes}; all need to have the same")
        weights = torch.stack(layers)  # (layer, …)
        weights = weights[:, None] if weights.dim() == 3 else weights  # one head in each
    else:
        weights = _numbers(given)
        weights = weights[(None,) * max(0, 4 - weights.dim())]
    if weights.dim() == 5:
        if weights.shape[1] != 1:
            raise ValueError(
                f"weights has shape {tuple(weights.shape)}, with {weights.shape[1]} texts in a batch; "
                "give those of one, such as [layer[:1] for layer in weights]"
            )
        weights = weights[:, 0]
    return weights


def _numbers(given: Any) -> Tensor:
    if isinstance(given, Tensor):
        return given.detach().to("cpu", torch.float32)
    try:
        return torch.as_tensor(np.asarray(given, dtype=np.float32))
    except (TypeError, ValueError):
        raise TypeError(
            f"weights holds a {type(given).__name__}; it needs arrays of attention weights"
        ) from None


class GivenAttention:
    """The adapter of attention that came without a model: it reads what it was given, and nothing else.

    weights: those of (layer, head, query, key); with `scores`, what the softmax would make them of, -inf
    where it is masked.
    words: the queries' tokens. keys: the keys' tokens where those are others, as in cross-attention.

    Each row of weights sums to 1, or is all 0: a query that is padding. Raises ValueError, with the place,
    for anything else, and for shapes that do not fit the tokens.
    """

    copy_heads = 0
    needs_target = False
    predicts = ""
    no_edits = (
        "This attention came without a model, and only a model can be run again with its heads changed."
    )
    no_values = "This attention came without a model, and so without the values that the weights carry."

    def __init__(
        self,
        weights: Float[Tensor, "layer head query key"],
        words: Sequence[str],
        keys: Sequence[str] | None = None,
        scores: bool = False,
    ) -> None:
        self.words, self.keys, self.scores = list(words), None if keys is None else list(keys), scores
        n_queries, n_keys = len(self.words), len(self.words if self.keys is None else self.keys)
        if weights.dim() != 4 or weights.shape[-2:] != (n_queries, n_keys) or not weights.numel():
            cross = f" and {n_keys} keys" if self.keys is not None else ""
            found = weights.shape[-2:]
            hint = "; where keys are other tokens than queries, keys=… names them"
            raise ValueError(
                f"weights has shape {tuple(weights.shape)}; for {n_queries} tokens{cross} it needs "
                f"(layer, head, {n_queries}, {n_keys})"
                + (hint if self.keys is None and len(found) == 2 and found[0] != found[1] else "")
            )
        (_check_scores if scores else _check_weights)(weights)
        self.n_layers, self.n_heads = weights.shape[:2]
        self.context_length = n_queries
        ahead = weights.triu(1)
        self.causal = self.keys is None and bool(((ahead == 0) | (ahead == -torch.inf)).all())
        self.weights = weights.flatten(0, 1)
        numbers = {word: at for at, word in enumerate(dict.fromkeys(self.words))}
        self.tokens = [numbers[word] for word in self.words]

    def read(
        self,
        tokens: list[int],
        edits: Mapping[str, Callable[[Tensor], Tensor]],
        source: list[int] | None = None,
    ) -> Reading:
        """What was given."""
        if edits:
            raise ValueError("changes needs a model that can be run again; this attention came without one")
        return Reading(self.weights, None, torch.zeros(len(tokens), 0), {})


def _check_weights(weights: Float[Tensor, "layer head query key"]) -> None:
    sums = weights.sum(dim=-1)
    for wrong, told in (
        (~torch.isfinite(weights).all(dim=-1), "hold a number that is not finite"),
        ((weights < -ROUNDING).any(dim=-1), "hold a number below 0"),
        (((sums - 1).abs() > ROUNDING) & (weights != 0).any(dim=-1), "sum to {:.4f}"),
    ):
        if wrong.any():
            layer, head, query = wrong.nonzero()[0].tolist()
            told = told.format(sums[layer, head, query])
            raise ValueError(
                f"weights at layer {layer}, head {head}, query {query} {told}; each row needs to sum to 1, "
                "or to be all 0 for padding. With scores=True what comes before the softmax is shown"
            )


def _check_scores(scores: Float[Tensor, "layer head query key"]) -> None:
    wrong = (scores.isnan() | scores.isposinf()).any(dim=-1)
    if wrong.any():
        layer, head, query = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"weights at layer {layer}, head {head}, query {query} hold NaN or infinity; scores need to be "
            "finite, or -inf where they are masked"
        )
