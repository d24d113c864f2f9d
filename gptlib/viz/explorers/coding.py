"""Attention as bytes for the page: square-root-coded, the causal triangle only, long texts shrunk."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

THUMBNAIL = 64  # a small picture of a long text is this many cells wide


def code(x: Float[Tensor, "*shape"], largest: float) -> UInt8[Tensor, "*shape"]:
    """Numbers from 0 to `largest` as bytes of their square roots, so that small ones can be told apart."""
    return (x / largest).clamp(0, 1).sqrt().mul(255).round().to(torch.uint8)


def code_signed(x: Float[Tensor, "*shape"], largest: float) -> UInt8[Tensor, "*shape"]:
    """Numbers from -largest to largest as bytes around 128, square-root-coded on either side."""
    return (128 + (x / largest).clamp(-1, 1).abs().sqrt() * x.sign() * 127).round().to(torch.uint8)


def pack(codes: UInt8[Tensor, "*heads query key"]) -> bytes:
    """The causal triangle of each matrix, row by row."""
    query, key = torch.tril_indices(*codes.shape[-2:])
    return codes[..., query, key].contiguous().numpy().tobytes()


def thumbnails(codes: UInt8[Tensor, "*heads query key"], center: int) -> UInt8[Tensor, "*heads small small"]:
    """Matrices shrunk to THUMBNAIL cells a side; a cell keeps its block's code farthest from `center`."""
    n = codes.shape[-1]
    edges = [math.floor(i * n / THUMBNAIL) for i in range(THUMBNAIL + 1)]
    distance = codes.to(torch.int16) - center

    def shrink(x: Int[Tensor, "*rest cells"]) -> Int[Tensor, "*rest small"]:
        blocks = [x[..., a:b] for a, b in zip(edges, edges[1:], strict=False)]
        highest = torch.stack([block.amax(dim=-1) for block in blocks], dim=-1)
        lowest = torch.stack([block.amin(dim=-1) for block in blocks], dim=-1)
        return torch.where(highest.abs() >= lowest.abs(), highest, lowest)

    return (shrink(shrink(distance).mT).mT + center).to(torch.uint8)
