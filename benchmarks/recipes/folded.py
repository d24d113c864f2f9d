"""Copy heads for a quarter of the steps, then folded into one more layer: what is left is GPT-2's layout.

As `benchmarks/train_storyteller.py` does it for longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from record import Progress, stories_as_tokens, training
from train_storyteller import COPYING, COPYING_SHAPE, FOLDED, Recalling, Stories, folded, long_beginnings

from gptlib import GPT, TrainConfig, load

TRAINING = replace(FOLDED, steps=8000, warmup_steps=None, eval_every=None)


def run(config: TrainConfig) -> Iterator[Progress]:
    """Train from random weights, with the shipped tokenizer."""
    _, tokenizer = load("storyteller")
    tokens = stories_as_tokens(config.steps * config.batch_size, tokenizer, config.seed)
    torch.manual_seed(config.seed)
    model = GPT(COPYING_SHAPE)
    first = replace(COPYING, steps=(config.steps + 3) // 4, eval_every=None, seed=config.seed)
    rest = replace(config, steps=config.steps - first.steps, seed=config.seed + 1)  # other batches
    for step in training(model, tokenizer, Recalling(tokens), first):
        yield replace(step, done=step.done * first.steps / config.steps)
    model = folded(model, long_beginnings(tokens))
    for later in training(model, tokenizer, Stories(tokens), rest):
        share = (first.steps + later.done * rest.steps) / config.steps
        yield replace(later, done=share, tokens=step.tokens + later.tokens)
