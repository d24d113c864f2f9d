"""A small GPT of today's parts with four copy heads, Muon, and batches of whole stories."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from record import Progress

from gptlib import GPT, GPTConfig, TrainConfig, load, train
from gptlib.text.corpora import TokenFile, storyworld_corpus
from gptlib.training.whole_documents import WholeDocuments

STEPS = 2000
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
    STEPS,
    batch_size=8,
    optimizer="muon",
    learning_rate=0.02,
    embedding_learning_rate=0.03,
    vector_learning_rate=0.01,
    schedule="trapezoid",
    cooldown=0.6,
    warmup_steps=STEPS // 50,
    weight_decay=0.0,
    clip=None,
    eval_every=None,
)


def run(seed: int) -> Iterator[Progress]:
    """Train from random weights, with the shipped tokenizer."""
    _, tokenizer = load("storyteller")
    tokens = [tokenizer.end_of_text]
    for text in storyworld_corpus(STEPS * TRAINING.batch_size, seed).documents:
        tokens += [*tokenizer.encode(text), tokenizer.end_of_text]
    stories = WholeDocuments(TokenFile.from_tokens(tokens))
    torch.manual_seed(seed)
    model = GPT(MODEL)
    for block in model.blocks:  # a block begins as nothing, and so the stream as the embedding
        torch.nn.init.zeros_(block.attention.output.weight)
        torch.nn.init.zeros_(block.mlp.down.weight)
    for step in train(model, stories, None, TRAINING):
        yield Progress(model, tokenizer, step.tokens, step.step / STEPS, step.loss)
