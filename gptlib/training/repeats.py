"""Learning first what a text says again."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gptlib.training.evaluation import IGNORED

NEW = 0.1  # the share that is kept of the targets that are new in their row


def said_before(
    inputs: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"]
) -> Bool[Tensor, "batch seq"]:
    """Which targets stand among the inputs of their row up to there."""
    same = targets[:, :, None] == inputs[:, None, :]  # (batch, query, 1) == (batch, 1, key)
    return same.tril().any(dim=-1)


def mostly_repeats(
    inputs: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"], generator: torch.Generator
) -> Int[Tensor, "batch seq"]:
    """The same targets, but nine in ten of those that are new in their row carry no loss.

    The idea: most tokens can be guessed from the words just before them, and few of those that a batch holds
    show that it pays to look further back. Here those few are most of what is learned from. Where nothing
    would be left, everything stays.

    Other ways to let such tokens count for more: Helm et al. 2025, "Token Weighting for Long-Range Language
    Modeling".
    """
    kept = said_before(inputs, targets) | (torch.rand(targets.shape, generator=generator) < NEW)
    left = targets.masked_fill(~kept, IGNORED)
    return targets if (left == IGNORED).all() else left
