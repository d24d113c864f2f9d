"""GPT-2's layout and no copy head: Muon, whole stories, and at first mostly what a story says again."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from record import Progress, stories_as_tokens, training

from gptlib import GPT, TrainConfig, load
from gptlib.model.presets import PRESETS
from gptlib.training.whole_documents import WholeDocuments

TRAINING = TrainConfig(
    steps=2000,
    batch_size=16,
    optimizer="muon",
    learning_rate=0.02,
    schedule="trapezoid",
    cooldown=0.6,
    weight_decay=0.0,
    repeats_first=0.15,
    precision="bfloat16",
    eval_every=None,
)


def run(config: TrainConfig) -> Iterator[Progress]:
    """Train from random weights, with the shipped tokenizer."""
    _, tokenizer = load("storyteller")
    tokens = stories_as_tokens(config.steps * config.batch_size, tokenizer, config.seed)
    torch.manual_seed(config.seed)
    return training(GPT(PRESETS["storyteller"]), tokenizer, WholeDocuments(tokens), config)
