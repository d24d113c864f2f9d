"""Repeats first without the repeats first: GPT-2's layout, Muon, and whole stories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from recipes import repeats_first
from record import Progress

from gptlib import TrainConfig

TRAINING = replace(repeats_first.TRAINING, repeats_first=0.0)


def run(config: TrainConfig) -> Iterator[Progress]:
    """Train from random weights, with the shipped tokenizer."""
    return repeats_first.run(config)
