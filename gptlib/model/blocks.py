"""The block that a GPT stacks.

Attention gathers from other positions, an MLP works on each alone, and both add to the residual stream.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gptlib.model.cache import LayerCache, WindowCache
from gptlib.model.checks import check_width
from gptlib.model.config import GPTConfig
from gptlib.model.experts import Experts
from gptlib.model.gated_mlp import SwiGLU
from gptlib.model.norms import NORM_CLASSES
from gptlib.model.squared_relu import SquaredReLU
from gptlib.model.variants import attention_class


def gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x times the probability that a standard normal number is below x, in the approximation with a tanh.

    GPT-2 was trained with this approximation. `MLP` uses torch's fused form of it.
    Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", section 2.
    """
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class MLP(nn.Module):
    """Widen, bend, narrow: the same small network at every position. Vaswani et al. 2017, section 3.3."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, config.mlp_width, bias=config.bias)
        self.gelu = nn.GELU(approximate="tanh")
        self.down = nn.Linear(config.mlp_width, config.d_model, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        check_width(x, self.up.in_features)
        hidden = self.gelu(self.up(x))  # (…, d_model) -> (…, d_mlp)
        return self.dropout(self.down(hidden))  # (…, d_mlp) -> (…, d_model)


# Chosen by config.mlp when a model is built.
MLP_CLASSES = {"gelu": MLP, "squared_relu": SquaredReLU, "swiglu": SwiGLU}


class Block(nn.Module):
    """Read the residual stream through a norm, add attention to it; read it again, add the MLP.

    Norms come before, inside each branch, so the stream itself runs through unchanged
    (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3).
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = NORM_CLASSES[config.norm](config)
        self.attention = attention_class(config)(config)
        self.residual_mid = nn.Identity()  # the place at which `gptlib.trace` sees the stream between the two
        self.mlp_norm = NORM_CLASSES[config.norm](config)
        mlp = MLP_CLASSES[config.mlp]
        self.mlp = mlp(config) if config.n_experts is None else Experts(config, mlp)

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], cache: LayerCache | WindowCache | None = None
    ) -> Float[Tensor, "batch seq d_model"]:
        x = self.residual_mid(x + self.attention(self.attention_norm(x), cache))
        return x + self.mlp(self.mlp_norm(x))
