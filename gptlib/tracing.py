"""Look inside a run of a model (notebooks 00, 06 and 13).

with trace(model) as run: model(tokens)
run.attention    # (layer, batch, head, query, key)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gptlib.attention import MultiHeadAttention


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
