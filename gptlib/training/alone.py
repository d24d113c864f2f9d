"""What the training loop asks of its processes, when there is but one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

Made = TypeVar("Made")

LossFunction = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Alone:
    """One process that trains a model by itself."""

    rank, size = 0, 1
    step = 0  # updates made so far; the caller's to count, for what is said when a process is lost

    def place(self, model: nn.Module, device: torch.device) -> None:
        """Bring the model to where it is trained."""
        model.to(device)

    def loss_function(self, model: nn.Module, loss_of: LossFunction) -> Callable[[Tensor, Tensor], Tensor]:
        """`loss_of` this model; a backward pass from it leaves the mean of all processes' gradients."""
        return partial(loss_of, model)

    def exchange(self, model: nn.Module, now: bool) -> contextlib.AbstractContextManager[None]:
        """Inside, a backward pass exchanges gradients with the others, or only adds them up for later."""
        return contextlib.nullcontext()

    def sum(self, tensor: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The sum over all processes."""
        return tensor

    def whole(self, tensor: Tensor) -> Tensor:
        """All of a tensor of which each process may hold a part."""
        return tensor

    def part(self, tensor: Tensor, like: Tensor) -> Tensor:
        """Of a whole tensor the part that this process holds of `like`."""
        return tensor

    def agree(self, values: dict[str, Any]) -> None:
        """Wait for all processes; ValueError, naming it, unless each value is the same in every one."""

    def in_turn(self, make: Callable[[], Made]) -> Made:
        """What `make` returns. The files that it makes if they are missing, one process makes for all."""
        return make()

    def watch(self, folder: Path) -> contextlib.AbstractContextManager[None]:
        """Inside, the end of another process ends this one too, saying how the run in `folder` goes on."""
        return contextlib.nullcontext()


ALONE = Alone()
