"""The output of `attend` without its weights: by torch's fused kernel, or in few passes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gptlib.checks import check_share
from gptlib.model.checks import check_scored, check_values
from gptlib.model.masks import causal_mask


def fast_attention(
    queries: Float[Tensor, "*batch query d_head"],
    keys: Float[Tensor, "*batch key d_head"],
    values: Float[Tensor, "*batch key d_value"],
    mask: Bool[Tensor, "... query key"] | None = None,
    bias: Float[Tensor, "... query key"] | None = None,
    dropout: float = 0.0,
    causal: bool = False,
) -> Float[Tensor, "*batch query d_value"]:
    """The same output as `attend`, without ever holding all the weights in memory where torch can avoid it.

    causal=True stands for mask=causal_mask(query, key), which the kernel then need not be given.
    Raises as `attention_weights` does, and ValueError when both mask and causal are given.
    """
    if causal and mask is not None:
        raise ValueError("mask and causal=True are both given; give one of them")
    check_scored(queries, keys, mask, bias)
    check_values(values, keys)
    check_share("dropout", dropout)
    few_passes = _kernel_is_slow(queries, keys.shape[-2])
    if causal and bias is None and queries.shape[-2] == keys.shape[-2] and not few_passes:
        return F.scaled_dot_product_attention(queries, keys, values, None, dropout, is_causal=True)
    if causal:
        mask = causal_mask(queries.shape[-2], keys.shape[-2], device=queries.device)
    if bias is not None and mask is not None:
        bias = bias.masked_fill(~mask, float("-inf"))
    if few_passes:
        return _attend_in_few_passes(queries, keys, values, mask, bias, dropout)
    added = mask if bias is None else bias.to(queries.dtype)
    return F.scaled_dot_product_attention(queries, keys, values, added, dropout)


def _kernel_is_slow(queries: Float[Tensor, "*batch query d_head"], n_keys: int) -> bool:
    """On a processor the fused kernel takes three times as long in bfloat16, most of it going backward.

    Beyond 512 keys it is used all the same, for the memory that it saves.
    """
    return queries.dtype is torch.bfloat16 and queries.device.type == "cpu" and n_keys <= 512


def _attend_in_few_passes(
    queries: Float[Tensor, "*batch query d_head"],
    keys: Float[Tensor, "*batch key d_head"],
    values: Float[Tensor, "*batch key d_value"],
    mask: Bool[Tensor, "... query key"] | None,
    bias: Float[Tensor, "... query key"] | None,
    dropout: float,
) -> Float[Tensor, "*batch query d_value"]:
    """`attend` again, going over the scores as seldom as torch allows."""
    if bias is None and mask is not None:
        bias = torch.zeros(mask.shape, dtype=queries.dtype).masked_fill(~mask, float("-inf"))
    scores = (queries / math.sqrt(queries.shape[-1])) @ keys.transpose(-2, -1)
    if bias is not None:
        scores.add_(bias)
    return F.dropout(scores.softmax(dim=-1), dropout) @ values
