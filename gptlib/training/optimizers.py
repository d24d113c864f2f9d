"""What turns gradients into updates: AdamW, or Muon for the matrices inside the blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import nn

from gptlib.checks import check_choice, check_from_zero, check_positive, check_share
from gptlib.training.evaluation import check_module
from gptlib.training.muon import Muon


def decay_groups(model: nn.Module, weight_decay: float | int) -> list[dict[str, Any]]:
    """The parameters in two groups for AdamW: matrices, which decay, and vectors, which do not.

    Decay keeps the weights of products small, so that no single input decides. A bias or the gain of a norm
    is one number for each feature, with no sum of products to keep small.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {
            "params": [parameter for parameter in parameters if parameter.ndim >= 2],
            "weight_decay": weight_decay,
        },
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]


PartName = Literal["embedding", "matrix", "vector"]


def by_part(model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups of `decay_groups`, parted further, so that each part may have a learning rate of its own.

    A "matrix" is one inside the blocks or the copy heads, an "embedding" one outside of them; all others are
    vectors. In a module without blocks every matrix is a "matrix".
    """
    layers = [getattr(model, "blocks", model), *getattr(model, "copying", ())]
    inside = {id(parameter) for layer in layers for parameter in layer.parameters()}

    def part_of(parameter: nn.Parameter) -> PartName:
        if parameter.ndim < 2:
            return "vector"
        return "matrix" if parameter.ndim == 2 and id(parameter) in inside else "embedding"

    return [
        group | {"params": found, "part": part}
        for group in groups
        for part in get_args(PartName)
        if (found := [parameter for parameter in group["params"] if part_of(parameter) == part])
    ]


OptimizerName = Literal["adamw", "muon"]
OPTIMIZERS = get_args(OptimizerName)


def make_optimizer(
    model: nn.Module,
    name: str,
    learning_rate: float | int,
    weight_decay: float | int,
    betas: tuple[float | int, float | int],
) -> torch.optim.Optimizer:
    """The optimizer of this name ("adamw" or "muon") over the model's parameters.

    AdamW is the fused one: one pass over memory updates every parameter.
    Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2.
    Raises ValueError for another name, for a model of which nothing is to learn, and for Muon on a model
    without blocks.
    """
    check_module(model)
    check_choice("name", name, OPTIMIZERS)
    check_positive("learning_rate", learning_rate)
    check_from_zero("weight_decay", weight_decay)
    check_betas(betas)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("model has no parameter that learns; it needs one at least with requires_grad")
    if name == "muon":
        return MuonAndAdamW(model, learning_rate, weight_decay, betas)
    groups = by_part(model, decay_groups(model, weight_decay))
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True)


def check_betas(betas: object) -> None:
    """Raise unless these are two numbers from 0 up to, not including, 1."""
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise TypeError(f"betas is {betas!r}; it needs two numbers, such as (0.9, 0.95)")
    for index, beta in enumerate(betas):
        check_share(f"betas[{index}]", beta)


class MuonAndAdamW(torch.optim.Optimizer):
    """Two optimizers as one: Muon for the matrices inside `model.blocks`, AdamW for everything else.

    Muon makes each update of a matrix equally large in every direction, so that what is rare in the data is
    learned too, not only what dominates the gradient. Embeddings are looked up, not multiplied, and stay with
    AdamW. Muon's updates are scaled to the size of AdamW's, so that one learning rate does for both.
    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the scale is that of
    Liu et al. 2025, "Muon is Scalable for LLM Training", section 2.2.
    """

    def __init__(
        self,
        model: nn.Module,
        learning_rate: float | int,
        weight_decay: float | int,
        betas: tuple[float | int, float | int],
    ) -> None:
        blocks = getattr(model, "blocks", None)
        if blocks is None:
            raise ValueError(
                f"model is a {type(model).__name__} without blocks; Muon is for the matrices inside them, "
                "and AdamW would do here"
            )
        groups = by_part(model, decay_groups(model, weight_decay))
        matrices = [group for group in groups if group["part"] == "matrix"]
        others = [group for group in groups if group["part"] != "matrix"]
        self.parts: list[torch.optim.Optimizer] = []
        if matrices:
            self.parts.append(Muon(matrices, lr=learning_rate, weight_decay=weight_decay))
        if others:
            self.parts.append(torch.optim.AdamW(others, lr=learning_rate, betas=betas, fused=True))
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self.share()

    def share(self) -> None:
        """Let this optimizer's groups and state be those of its parts, the same objects."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]
        self.state = {}  # by parameter; a part knows its own
        for part in self.parts:
            self.state.update({parameter: state for parameter, state in part.state.items() if state})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Update every parameter that has a gradient."""
        for part in self.parts:
            part.step(closure)

    def state_dict(self) -> dict[str, Any]:
        """What both optimizers remember, numbered by parameter as in any optimizer of torch."""
        self.share()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        first = 0
        for part in self.parts:
            count = sum(len(group["params"]) for group in part.param_groups)
            own = {
                index - first: state
                for index, state in state_dict["state"].items()
                if first <= index < first + count
            }
            part.load_state_dict({"state": own, "param_groups": part.state_dict()["param_groups"]})
            first += count
        self.share()
