"""How the learning rate rises and falls."""

from __future__ import annotations

import math
from typing import get_args

from gptlib.checks import check_choice, check_kind, check_whole
from gptlib.training.config import TrainConfig
from gptlib.training.optimizers import PartName


def learning_rate_at(step: int, config: TrainConfig, part: PartName = "matrix") -> float:
    """Learning rate of the update after `step` others, of the parameters of one `part` of the model.

    It rises straight and then falls along half a cosine, or stays and falls straight at the end.
    The first update already moves: its rate is one part of the rise, not 0. The last of a cosine has the
    minimum; a trapezoid would reach it one update later, so that none is made at a rate of 0.
    Loshchilov and Hutter 2017, "SGDR", equation 5, without the restarts. The trapezoid: Hägele et al. 2024,
    "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", section 3.
    Raises ValueError when step is negative, or there is no such part.
    """
    check_whole("step", step, at_least=0)
    check_kind("config", config, TrainConfig, "a TrainConfig")
    check_choice("part", part, get_args(PartName))
    own = {"embedding": config.embedding_learning_rate, "vector": config.vector_learning_rate}.get(part)
    share = 1 if own is None else own / config.learning_rate
    return share * _rate_at(step, config)


def _rate_at(step: int, config: TrainConfig) -> float:
    high, low = config.learning_rate, config.min_learning_rate
    warmup = config.warmup_steps if config.warmup_steps is not None else min(200, config.steps // 20)
    if step < warmup:
        return high * (step + 1) / warmup
    if config.schedule == "trapezoid":
        low = 0.0 if low is None else low
        left = (config.steps - step) / max(1, config.cooldown * config.steps)
        return low + (high - low) * min(1.0, max(0.0, left))
    low = high / 10 if low is None else low
    progress = min(1.0, (step - warmup) / max(1, config.steps - 1 - warmup))
    return low + (high - low) * (1 + math.cos(math.pi * progress)) / 2
