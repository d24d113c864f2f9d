"""How the learning rate rises and falls."""

from __future__ import annotations

import math

from gptlib.checks import check_kind, check_whole
from gptlib.training.config import TrainConfig


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """Learning rate of the update after `step` others: a straight rise, then half a cosine down.

    The first update already moves (its rate is one part of the rise, not 0), and the last has the minimum.
    Loshchilov and Hutter 2017, "SGDR", equation 5, without the restarts.
    Raises ValueError when step is negative.
    """
    check_whole("step", step, at_least=0)
    check_kind("config", config, TrainConfig, "a TrainConfig")
    warmup = config.warmup_steps if config.warmup_steps is not None else min(200, config.steps // 20)
    low = config.min_learning_rate if config.min_learning_rate is not None else config.learning_rate / 10
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, config.steps - 1 - warmup))
    return low + (config.learning_rate - low) * (1 + math.cos(math.pi * progress)) / 2
