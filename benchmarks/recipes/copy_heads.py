"""A small GPT of today's parts with four copy heads, Muon, and batches of whole stories."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from record import Progress, stories_as_tokens, training

from gptlib import GPT, GPTConfig, TrainConfig, load
from gptlib.training.whole_documents import WholeDocuments

MODEL = GPTConfig(
    vocab_size=2048,
    context_length=256,
    n_layers=4,
    n_heads=4,
    d_model=128,
    bias=False,
    position="rotary",
    rotary_base=1000.0,
    qk_norm=True,
    mlp="squared_relu",
    copy_heads=4,
)
TRAINING = TrainConfig(
    steps=3000,
    batch_size=8,
    optimizer="muon",
    learning_rate=0.02,
    embedding_learning_rate=0.03,
    vector_learning_rate=0.01,
    schedule="trapezoid",
    cooldown=0.6,
    weight_decay=0.0,
    clip=None,
    precision="bfloat16",
    eval_every=None,
)


def run(config: TrainConfig, build: Callable[[], GPT] = lambda: GPT(MODEL)) -> Iterator[Progress]:
    """Train from random weights, with the shipped tokenizer."""
    _, tokenizer = load("storyteller")
    tokens = stories_as_tokens(config.steps * config.batch_size, tokenizer, config.seed)
    torch.manual_seed(config.seed)
    return training(build(), tokenizer, WholeDocuments(tokens), config)
