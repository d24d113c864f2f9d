"""The plain recipe of most courses: GPT-2's layout, AdamW, a cosine, and windows drawn anywhere in the text.

The learning rate is the best of 0.001, 0.003 and 0.009 after 250 steps (`--rate` tries others).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from record import Progress, stories_as_tokens, training

from gptlib import GPT, TrainConfig, load
from gptlib.model.presets import PRESETS

TRAINING = TrainConfig(
    steps=1000,
    batch_size=16,
    learning_rate=3e-3,
    weight_decay=0.1,
    precision="bfloat16",
    eval_every=None,
)
STORIES = 2  # a window of 256 tokens holds, about


def run(config: TrainConfig) -> Iterator[Progress]:
    """Train from random weights, with the shipped tokenizer."""
    _, tokenizer = load("storyteller")
    tokens = stories_as_tokens(STORIES * config.steps * config.batch_size, tokenizer, config.seed)
    torch.manual_seed(config.seed)
    return training(GPT(PRESETS["storyteller"]), tokenizer, tokens, config)
