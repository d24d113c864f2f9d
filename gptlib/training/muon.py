"""Muon, with its matrix products in the precision that a machine is quick in."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

# How fast small singular values grow in a step, and that large ones come down: see the function.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5


def orthogonalized(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """Nearly the orthogonal matrix next to this one: its singular values become about 1, from 0.7 to 1.2.

    Newton–Schulz iteration: a polynomial of odd powers, again and again, which needs nothing but products.
    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    matrix = matrix.T if tall else matrix
    matrix = matrix / matrix.norm().clamp(min=1e-7)
    for _ in range(STEPS):
        square = matrix @ matrix.T  # (rows, columns) @ (columns, rows) -> (rows, rows)
        square = torch.addmm(square, square, square, beta=b, alpha=c)  # b square + c square square
        matrix = torch.addmm(matrix, square, matrix, beta=a)  # a matrix + square matrix
    return matrix.T if tall else matrix


class Muon(torch.optim.Muon):
    """The updates of torch's Muon, up to rounding, in less time on a processor.

    torch takes the products in bfloat16 everywhere. A processor without instructions for it needs many times
    as long for them as for float32: nearly three quarters of a training step of storyteller's size. So on a
    processor they are taken in float32 here.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                average = state.setdefault("momentum_buffer", torch.zeros_like(parameter.grad))
                average.lerp_(parameter.grad, 1 - momentum)
                parameter.mul_(1 - rate * group["weight_decay"])
                products = torch.float32 if parameter.device.type == "cpu" else torch.bfloat16
                size = 0.2 * math.sqrt(max(parameter.shape))  # so that it is about as large as one of AdamW
                # Nesterov's: not by the average, but by where it will have moved to.
                update = orthogonalized(parameter.grad.lerp(average, momentum).to(products))
                parameter.add_(update.to(parameter.dtype), alpha=-rate * size)
                del update  # which would stand beside the next
