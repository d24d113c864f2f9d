"""LoRA: a learned update of low rank beside each linear layer."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from gptlib.checks import check_kind, check_positive, check_seed, check_whole
from gptlib.model.checks import check_model
from gptlib.model.gpt import GPT
from gptlib.training.evaluation import check_module

# The rows of each embedding that `learn_rows` lets learn, as factors of the gradient: 1, or 0 for the others.
_LEARNING: WeakIdKeyDictionary[Tensor, Tensor] = WeakIdKeyDictionary()


class LoRALinear(nn.Linear):
    """A linear layer that stays as it is, and a learned update of low rank beside it: x Wᵀ + b + s x Aᵀ Bᵀ.

    A is (rank, in), random; B is (out, rank), zero at first, so that nothing changes before training.
    Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1.
    """

    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__(linear.in_features, linear.out_features, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        noise = torch.randn(rank, linear.in_features) / math.sqrt(linear.in_features)
        self.lora_a = nn.Parameter(noise.to(self.weight))
        self.lora_b = nn.Parameter(torch.zeros(linear.out_features, rank).to(self.weight))
        self.scale = scale
        self.unmerged: Tensor | None = None

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        output = super().forward(x)
        if self.unmerged is not None:
            return output
        update = x @ self.lora_a.T @ self.lora_b.T  # (…, d_in) -> (…, rank) -> (…, d_out)
        return output + self.scale * update

    @torch.no_grad()
    def merge(self) -> None:
        """Add the update to the weights, so that a run costs what it did before."""
        if self.unmerged is None:
            self.unmerged = self.weight.clone()
            self.weight += self.scale * (self.lora_b @ self.lora_a)  # (out, rank) @ (rank, in) -> (out, in)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Put the weights back, bit for bit. Subtracting the update would leave its rounding behind."""
        if self.unmerged is not None:
            self.weight.copy_(self.unmerged)
            self.unmerged = None


def add_lora(model: GPT, rank: int = 8, alpha: float | int = 16, seed: int = 0) -> list[LoRALinear]:
    """Freeze the model, in place, and give every linear layer of its blocks an update to learn.

    alpha / rank scales the update, so that the learning rate need not change with the rank.
    Returns the new layers. Raises ValueError when rank is below 1, alpha not above 0, or the model has LoRA
    already.
    """
    check_model(model)
    check_whole("rank", rank)
    check_positive("alpha", alpha)
    check_seed("seed", seed)
    if lora_layers(model):
        raise ValueError("model has LoRA layers already; take them away with without_lora(model)")
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(seed))  # not an accelerator's, which would stay so
        for module in list(model.blocks.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(module, name, LoRALinear(child, rank, alpha / rank))
    return lora_layers(model)


def lora_layers(model: nn.Module) -> list[LoRALinear]:
    """The LoRA layers of a model, in order."""
    check_module(model)
    return [module for module in model.modules() if isinstance(module, LoRALinear)]


def learn_rows(model: GPT, rows: Iterable[int]) -> None:
    """Let these rows of the token embedding learn, and no others: tokens that the model hardly knows.

    Called again, it adds rows to them, or begins anew where the embedding was frozen since.
    Weight decay would move the others nevertheless: train with weight_decay=0.
    Raises ValueError for a row that is not there.
    """
    check_model(model)
    weight = model.token_embedding.weight
    check_kind("rows", rows, Iterable, "numbers of tokens, such as [280, 281]")
    chosen = list(rows)
    for row in chosen:
        check_whole("a row", row, at_least=0)
    if chosen and max(chosen) >= len(weight):
        raise ValueError(f"a row is {max(chosen)}; the embedding has 0 to {len(weight) - 1}")
    was_frozen = not weight.requires_grad
    weight.requires_grad_(True)
    if weight not in _LEARNING:
        learning = _LEARNING[weight] = torch.zeros(len(weight), 1)
        weight.register_hook(lambda gradient: gradient * learning.to(gradient))
    if was_frozen:
        _LEARNING[weight].zero_()
    _LEARNING[weight][chosen] = 1


def without_lora(model: GPT) -> GPT:
    """A plain GPT that computes the same: a copy, with the updates added to its weights."""
    check_model(model)
    plain = copy.deepcopy(model)
    for module in list(plain.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, LoRALinear):
                child.merge()
                linear = nn.Linear(child.in_features, child.out_features, device="meta")
                linear.weight, linear.bias = child.weight, child.bias
                setattr(module, name, linear)
    return plain.requires_grad_(True)
