"""Attention as bytes for the page: square-root-coded, the causal triangle only, long texts shrunk."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

THUMBNAIL = 64  # a small picture of a long text is at most this many cells high and wide
CROWD = 576  # with more heads than this, half of it


def code(x: Float[Tensor, "*shape"], largest: float) -> UInt8[Tensor, "*shape"]:
    """Numbers from 0 to `largest` as bytes of their square roots, so that small ones can be told apart."""
    return (x / largest).clamp(0, 1).sqrt().mul(255).round().to(torch.uint8)


def code_signed(x: Float[Tensor, "*shape"], largest: float) -> UInt8[Tensor, "*shape"]:
    """Numbers from -largest to largest as bytes around 128, square-root-coded on either side.

    The byte 0 is left for what is masked: -infinity.
    """
    share = (x / largest).clamp(-1, 1)
    codes = (128 + share.abs().sqrt() * share.sign() * 127).round()
    return codes.masked_fill(x == -torch.inf, 0).to(torch.uint8)


def pack(codes: UInt8[Tensor, "*heads query key"], causal: bool = True) -> bytes:
    """Each matrix row by row: its causal triangle, or all of it."""
    if causal:
        query, key = torch.tril_indices(*codes.shape[-2:])
        codes = codes[..., query, key]
    return codes.contiguous().numpy().tobytes()


def thumbnails(
    x: Float[Tensor, "head query key"], signed: bool
) -> Float[Tensor, "head small_query small_key"]:
    """Matrices shrunk to a few cells a side, each of which keeps what is farthest from 0 in its block."""
    side = THUMBNAIL if len(x) <= CROWD else THUMBNAIL // 2
    block = [-(-n // side) for n in x.shape[-2:]]
    highest = F.max_pool2d(x[None], block, ceil_mode=True)[0]
    if not signed:
        return highest
    lowest = -F.max_pool2d(-x[None], block, ceil_mode=True)[0]
    return torch.where(highest >= -lowest, highest, lowest)


def strongest(
    x: Float[Tensor, "head query key"], count: int
) -> tuple[Float[Tensor, "head query strong"], UInt8[Tensor, "head query strong two"]]:
    """The `count` numbers of each row that are farthest from 0, and their keys in two bytes, low first."""
    keys = torch.cat([head.abs().topk(count, dim=-1).indices[None] for head in x])
    return x.gather(-1, keys), torch.stack([keys % 256, keys // 256], dim=-1).to(torch.uint8)
