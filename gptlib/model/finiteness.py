"""Where a model's numbers stop being numbers: the weight, or else the part, with the first nan or inf."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from jaxtyping import Int
from torch import Tensor, nn

REMEDY = "load the model again, or an earlier checkpoint of it"


def why_not_finite(model: nn.Module, tokens: Int[Tensor, "batch seq"]) -> str:
    """Why the logits after these tokens are not numbers, and what would do: a sentence for an error."""
    for name, weight in model.named_parameters():
        if spoilt := _first_not_finite(weight):
            return f"the model's logits are not numbers: its weight {name} holds {spoilt}; {REMEDY}"
    if found := _first_part(model, tokens):
        return (
            f"the model's logits are not numbers: its weights are finite, but what {found[0]} gives holds "
            f"{found[1]}: numbers grew too large on the way; {REMEDY}, or use float32 instead of 16 bits"
        )
    return f"the model's logits are not numbers, or all -inf, yet every part of it gives numbers; {REMEDY}"


def _first_part(model: nn.Module, tokens: Int[Tensor, "batch seq"]) -> tuple[str, str] | None:
    """The first part to finish with a nan or inf in what it gives, and which of them it is."""
    found: list[tuple[str, str]] = []
    with ExitStack() as hooks, torch.no_grad():
        for name, module in model.named_modules():

            def look(module: nn.Module, inputs: object, output: object, name: str = name) -> None:
                if isinstance(output, Tensor) and (spoilt := _first_not_finite(output)):
                    found.append((name or "the whole", spoilt))

            hooks.enter_context(module.register_forward_hook(look))
        model(tokens)
    return found[0] if found else None


def _first_not_finite(tensor: Tensor) -> str | None:
    spoilt = tensor[tensor.isnan() | tensor.isposinf()]  # a mask may put -inf among the scores
    return str(spoilt[0].item()) if len(spoilt) else None
