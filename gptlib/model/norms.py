"""Norms, which bring each vector to one size before a layer reads it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gptlib.model.checks import check_features, check_width
from gptlib.model.config import GPTConfig


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
    check_features("weight", weight, x)
    if bias is not None:
        check_features("bias", bias, x)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))  # in 16 bits the squares would overflow
    mean = wide.mean(dim=-1, keepdim=True)
    variance = wide.var(dim=-1, keepdim=True, correction=0)
    normed = weight * (wide - mean) / torch.sqrt(variance + eps)
    return (normed if bias is None else normed + bias).to(x.dtype)


def rms_norm(
    x: Float[Tensor, "*batch d_model"], weight: Float[Tensor, " d_model"], eps: float = 1e-5
) -> Float[Tensor, "*batch d_model"]:
    """Give each vector root mean square 1, then a learned scale; `RMSNorm` is its fused twin.

    Unlike `layer_norm` it leaves the mean where it is, and has no shift to learn.
    Raises ValueError when weight does not have x's last dimension.
    Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", section 4.
    """
    check_features("weight", weight, x)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))  # in 16 bits the squares would overflow
    mean_square = wide.square().mean(dim=-1, keepdim=True)
    return (weight * wide / torch.sqrt(mean_square + eps)).to(x.dtype)


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


class HeadNorm(nn.Module):
    """RMS norm of each head's queries or keys, so that no score is large because a vector is long.

    Henry et al. 2020, "Query-Key Normalization for Transformers", in the form of Qwen Team 2025, "Qwen3
    Technical Report", section 2: an RMS norm with a learned weight, for all heads the same.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_head))
        self.eps = config.norm_eps

    def forward(self, x: Float[Tensor, "batch head seq d_head"]) -> Float[Tensor, "batch head seq d_head"]:
        # Under autocast x comes in half the bits; with a weight in all of them torch leaves its fused kernel.
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


# Chosen by config.norm when a model is built.
NORM_CLASSES = {"layernorm": LayerNorm, "rmsnorm": RMSNorm}
