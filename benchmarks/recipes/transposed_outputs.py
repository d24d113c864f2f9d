"""Today's parts, and heads that begin by writing what they read: W_V is orthogonal, and W_O its transpose.

So a head that looks back at a token at once writes a part of what stands there, unchanged. A copy head, which
has no values to learn, writes the token's own row.
"""

from __future__ import annotations

from functools import partial

import torch
from recipes import copy_heads, todays_parts
from torch import nn

from gptlib import GPT


def built() -> GPT:
    """Today's parts with such heads in every layer."""
    model = GPT(todays_parts.MODEL)
    with torch.no_grad():
        for block in model.blocks:
            *_, w_v = block.attention.qkv.weight.split(block.attention.widths)
            nn.init.orthogonal_(w_v)
            block.attention.output.weight.copy_(w_v.T)
    return model


TRAINING = todays_parts.TRAINING
run = partial(copy_heads.run, build=built)
