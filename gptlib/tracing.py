"""Look inside a run of a model, and change it (notebooks 00, 06 and 13).

with trace(model) as run: model(tokens)
run.attention    # (layer, batch, head, query, key)

with edit(model, {"blocks.2.attention.heads": remove_head(1)}): model(tokens)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gptlib.attention import MultiHeadAttention
from gptlib.gpt import GPT


class Run:
    """What was recorded of the latest pass through a traced model."""

    def __init__(self, n_layers: int) -> None:
        self._weights: list[Tensor | None] = [None] * n_layers

    @property
    def attention(self) -> Float[Tensor, "layer batch head query key"]:
        """The attention weights of all layers, from before dropout: each row sums to 1, in training too.

        Raises RuntimeError when the model was not run inside the `with`.
        """
        if any(weights is None for weights in self._weights):
            raise RuntimeError(
                "run.attention: nothing was recorded; call model(tokens) inside `with trace(model) as run:`"
            )
        return torch.stack(self._weights)


@contextmanager
def trace(model: nn.Module) -> Iterator[Run]:
    """Record the attention of every `MultiHeadAttention` in the model, in the order in which it was built.

    While it records, attention takes the explicit path: the same numbers to float precision, more slowly.
    When the `with` ends, also by an error, the hooks are gone. Of several runs the last is kept.
    Raises TypeError when model is not a torch module, ValueError when it has no `MultiHeadAttention`.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}; trace needs a torch module, such as gptlib.GPT")
    places = [module.weights for module in model.modules() if isinstance(module, MultiHeadAttention)]
    if not places:
        raise ValueError(
            f"model is a {type(model).__name__} without any gptlib.attention.MultiHeadAttention in it; "
            "trace finds nothing to record"
        )
    run = Run(len(places))

    def recorder(layer: int):
        def record(module: nn.Module, inputs: tuple[Tensor, ...], weights: Tensor) -> None:
            run._weights[layer] = weights.detach()

        return record

    with ExitStack() as hooks:
        for layer, place in enumerate(places):
            hooks.enter_context(place.register_forward_hook(recorder(layer)))
        yield run


@dataclass(frozen=True)
class Place:
    """Where in a model an activation is: what goes into a module, or what comes out of it.

    `n_heads` splits its last dimension into (head, d_head).
    """

    module: nn.Module
    side: Literal["input", "output"]
    n_heads: int | None = None

    def apply(self, function: Callable[[Tensor], Tensor | None], x: Tensor) -> Tensor | None:
        """What `function` makes of the activation, in the shape the model needs; None to leave it."""
        if self.n_heads is None:
            return function(x)
        changed = function(x.unflatten(-1, (self.n_heads, -1)))  # (…, width) -> (…, head, d_head)
        return None if changed is None else changed.flatten(-2)

    def hook(self, function: Callable[[Tensor], Tensor | None]) -> Any:
        """Call `function` with the activation in each run. Returns the handle that ends it."""
        if self.side == "input":

            def before(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
                changed = self.apply(function, inputs[0])
                return None if changed is None else (changed, *inputs[1:])

            return self.module.register_forward_pre_hook(before)

        def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            if isinstance(output, tuple):  # some blocks of transformers return more than the residual stream
                changed = self.apply(function, output[0])
                return None if changed is None else (changed, *output[1:])
            return self.apply(function, output)

        return self.module.register_forward_hook(after)


def activation_places(model: GPT) -> dict[str, Place]:
    """The activations that `edit` can change, by name, in the order in which they are computed.

    residual_pre: the residual stream as it enters the block, (batch, seq, d_model)
    attention.weights: (batch, head, query, key)
    attention.heads: each head's output before the projection, (batch, seq, head, d_head)
    """
    if not isinstance(model, GPT):
        raise TypeError(f"model is a {type(model).__name__}; it needs to be a gptlib.GPT")
    places: dict[str, Place] = {}
    for layer, block in enumerate(model.blocks):
        places[f"blocks.{layer}.residual_pre"] = Place(block, "input")
        places[f"blocks.{layer}.attention.weights"] = Place(block.attention.weights, "output")
        places[f"blocks.{layer}.attention.heads"] = Place(
            block.attention.output, "input", model.config.n_heads
        )
    places["residual_final"] = Place(model.final_norm, "input")
    return places


@contextmanager
def edit(model: GPT, edits: Mapping[str, Callable[[Tensor], Tensor | None]]) -> Iterator[None]:
    """Change activations of every run inside the `with`: a function gets one and returns what replaces it.

    A function that returns None only looks. When the `with` ends, also by an error, the model is as before.
    Names are those of `activation_places`. Raises ValueError for another one, TypeError for another model.
    """
    with edit_places(activation_places(model), edits):
        yield


@contextmanager
def edit_places(
    places: Mapping[str, Place], edits: Mapping[str, Callable[[Tensor], Tensor | None]]
) -> Iterator[None]:
    """`edit` for a model whose places are given."""
    unknown = [name for name in edits if name not in places]
    if unknown:
        raise ValueError(
            f"edits names {unknown[0]!r}, which this model does not have; its names are {', '.join(places)}"
        )
    with ExitStack() as hooks:
        for name, function in edits.items():
            hooks.enter_context(places[name].hook(function))
        yield


def remove_head(head: int, how: Literal["zero", "mean"] = "zero") -> Callable[[Tensor], Tensor]:
    """An edit of attention.heads: a head gives nothing, or everywhere its mean over the positions."""
    if how not in ("zero", "mean"):
        raise ValueError(f'how is {how!r}; it needs to be "zero" or "mean"')

    def change(heads: Float[Tensor, "batch seq head d_head"]) -> Float[Tensor, "batch seq head d_head"]:
        heads = heads.clone()
        heads[:, :, head] = 0 if how == "zero" else heads[:, :, head].mean(dim=1, keepdim=True)
        return heads

    return change


def scale_head(head: int, by: float | int) -> Callable[[Tensor], Tensor]:
    """An edit of attention.heads: one head's output is multiplied by `by`."""

    def change(heads: Float[Tensor, "batch seq head d_head"]) -> Float[Tensor, "batch seq head d_head"]:
        heads = heads.clone()
        heads[:, :, head] *= by
        return heads

    return change


def replace_at(
    position: int, value: Float[Tensor, "*width"], head: int | None = None
) -> Callable[[Tensor], Tensor]:
    """An edit that patches: at one position, `value` replaces the residual stream, or a head's output.

    For attention.heads `head` says which head's; value is what another run gave there (`record` keeps it).
    """

    def change(x: Float[Tensor, "batch seq *width"]) -> Float[Tensor, "batch seq *width"]:
        x = x.clone()
        if head is None:
            x[:, position] = value
        else:
            x[:, position, head] = value
        return x

    return change


@contextmanager
def record(model: GPT, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Keep activations of the latest run inside the `with`, by the names of `activation_places`."""
    with record_places(activation_places(model), names) as kept:
        yield kept


@contextmanager
def record_places(places: Mapping[str, Place], names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """`record` for a model whose places are given."""
    kept: dict[str, Tensor] = {}

    def keeper(name: str) -> Callable[[Tensor], None]:
        def keep(x: Tensor) -> None:
            kept[name] = x.detach()

        return keep

    with edit_places(places, {name: keeper(name) for name in names}):
        yield kept


def in_turn(*functions: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """One edit made of several of the same activation, from the first to the last."""

    def change(x: Tensor) -> Tensor:
        for function in functions:
            x = function(x)
        return x

    return change
