"""The block that a GPT stacks (notebook 07).

Attention gathers from other positions, an MLP works on each alone, and both add to the residual stream.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gptlib.attention import CappedAttention, LayerCache, MultiHeadAttention, WindowCache, check_width
from gptlib.config import GPTConfig
from gptlib.experts import Experts


def layer_norm(
    x: Float[Tensor, "*batch d_model"],
    weight: Float[Tensor, " d_model"],
    bias: Float[Tensor, " d_model"] | None = None,
    eps: float = 1e-5,
) -> Float[Tensor, "*batch d_model"]:
    """Give each vector mean 0 and variance 1, then a learned scale and shift; `LayerNorm` is its fused twin.

    Raises ValueError when weight or bias does not have x's last dimension.
    Ba et al. 2016, "Layer Normalization", section 3.
    """
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.shape != x.shape[-1:]:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; x has {tuple(x.shape)}")
    mean = x.mean(dim=-1, keepdim=True)
    variance = x.var(dim=-1, keepdim=True, correction=0)
    normed = weight * (x - mean) / torch.sqrt(variance + eps)
    return normed if bias is None else normed + bias


def rms_norm(
    x: Float[Tensor, "*batch d_model"], weight: Float[Tensor, " d_model"], eps: float = 1e-5
) -> Float[Tensor, "*batch d_model"]:
    """Give each vector root mean square 1, then a learned scale; `RMSNorm` is its fused twin.

    Unlike `layer_norm` it leaves the mean where it is, and has no shift to learn.
    Raises ValueError when weight does not have x's last dimension.
    Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", section 4.
    """
    if weight.shape != x.shape[-1:]:
        raise ValueError(f"weight has shape {tuple(weight.shape)}; x has {tuple(x.shape)}")
    mean_square = x.square().mean(dim=-1, keepdim=True)
    return weight * x / torch.sqrt(mean_square + eps)


def gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x times, nearly, the chance that a standard normal number is below x. `MLP` does the same, fused.

    The tanh approximation, which is what GPT-2 was trained with.
    Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", section 2.
    """
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class LayerNorm(nn.Module):
    """`layer_norm` with a learned weight and bias, by torch's fused kernel."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_model))
        self.bias = nn.Parameter(torch.zeros(config.d_model)) if config.bias else None
        self.eps = config.norm_eps

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        check_width(x, len(self.weight))
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    """`rms_norm` with a learned weight, by torch's fused kernel."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_model))
        self.eps = config.norm_eps

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        check_width(x, len(self.weight))
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


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


class SwiGLU(nn.Module):
    """Widen twice, let one half open and close the other like a gate, narrow.

    With three matrices, d_mlp = 8/3 d_model costs what `MLP` does at 4 d_model.
    Shazeer 2020, "GLU Variants Improve Transformer", section 2.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.d_model, config.mlp_width, bias=config.bias)
        self.up = nn.Linear(config.d_model, config.mlp_width, bias=config.bias)
        self.down = nn.Linear(config.mlp_width, config.d_model, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        check_width(x, self.up.in_features)
        hidden = F.silu(self.gate(x)) * self.up(x)  # (…, d_model) -> (…, d_mlp)
        return self.dropout(self.down(hidden))  # (…, d_mlp) -> (…, d_model)


# Chosen by config.norm and config.mlp when a model is built.
NORM_CLASSES = {"layernorm": LayerNorm, "rmsnorm": RMSNorm}
MLP_CLASSES = {"gelu": MLP, "swiglu": SwiGLU}


class Block(nn.Module):
    """Read the residual stream through a norm, add attention to it; read it again, add the MLP.

    Norms come before, inside each branch, so the stream itself runs through unchanged
    (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3).
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = NORM_CLASSES[config.norm](config)
        self.attention = (MultiHeadAttention if config.score_cap is None else CappedAttention)(config)
        self.residual_mid = nn.Identity()  # the place at which `gptlib.trace` sees the stream between the two
        self.mlp_norm = NORM_CLASSES[config.norm](config)
        mlp = MLP_CLASSES[config.mlp]
        self.mlp = mlp(config) if config.n_experts is None else Experts(config, mlp)

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], cache: LayerCache | WindowCache | None = None
    ) -> Float[Tensor, "batch seq d_model"]:
        x = self.residual_mid(x + self.attention(self.attention_norm(x), cache))
        return x + self.mlp(self.mlp_norm(x))
