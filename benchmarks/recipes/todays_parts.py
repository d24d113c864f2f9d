"""Copy heads without the copy heads: what is left is the same model, the same steps on the same stories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from recipes import copy_heads
from record import Progress, stories_as_tokens, training

from gptlib import GPT, TrainConfig, load
from gptlib.training.whole_documents import WholeDocuments

TRAINING = copy_heads.TRAINING


def run(config: TrainConfig) -> Iterator[Progress]:
    """Train from random weights, with the shipped tokenizer."""
    _, tokenizer = load("storyteller")
    tokens = stories_as_tokens(config.steps * config.batch_size, tokenizer, config.seed)
    torch.manual_seed(config.seed)
    model = GPT(replace(copy_heads.MODEL, copy_heads=None))
    return training(model, tokenizer, WholeDocuments(tokens), config)
