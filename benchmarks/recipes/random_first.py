"""The control of repeats first: as large a share of the targets is left out, but at random."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import torch
from jaxtyping import Int
from recipes import repeats_first
from record import Progress
from torch import Tensor

from gptlib import TrainConfig
from gptlib.training import loop
from gptlib.training.evaluation import IGNORED
from gptlib.training.repeats import mostly_repeats

TRAINING = repeats_first.TRAINING


def as_many_at_random(
    inputs: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"], generator: torch.Generator
) -> Int[Tensor, "batch seq"]:
    """The same targets, of which as many carry no loss as `mostly_repeats` would take, any of them."""
    n_left = int((mostly_repeats(inputs, targets, generator) != IGNORED).sum())
    known = (targets != IGNORED).flatten().nonzero()[:, 0]
    kept = known[torch.randperm(len(known), generator=generator)[:n_left]]
    left = torch.full_like(targets, IGNORED).flatten()
    left[kept] = targets.flatten()[kept]
    return left.view_as(targets)


def run(config: TrainConfig) -> Iterator[Progress]:
    """Train from random weights, with the shipped tokenizer."""
    with patch.object(loop, "mostly_repeats", as_many_at_random):
        yield from repeats_first.run(config)
