"""The sizes of GPT-1, GPT-2 and GPT-3 as they were published, and that of storyteller."""

from __future__ import annotations

from gptlib.model.config import GPTConfig

# The published sizes. GPT-1 was post-norm and had no final norm: as built here it has 1,536 parameters more.
# GPT-1: Radford et al. 2018, section 4.1. GPT-2: Radford et al. 2019, table 2, and the released files.
# GPT-3: Brown et al. 2020, table 2.1; the sparse attention in every other layer of it is not built here.
PRESETS: dict[str, GPTConfig] = {
    "storyteller": GPTConfig(vocab_size=2048, context_length=256, n_layers=4, n_heads=4, d_model=128),
    "gpt1": GPTConfig(
        vocab_size=40478, context_length=512, n_layers=12, n_heads=12, d_model=768, dropout=0.1
    ),
    "gpt2": GPTConfig(
        vocab_size=50257, context_length=1024, n_layers=12, n_heads=12, d_model=768, dropout=0.1
    ),
    "gpt2-medium": GPTConfig(
        vocab_size=50257, context_length=1024, n_layers=24, n_heads=16, d_model=1024, dropout=0.1
    ),
    "gpt2-large": GPTConfig(
        vocab_size=50257, context_length=1024, n_layers=36, n_heads=20, d_model=1280, dropout=0.1
    ),
    "gpt2-xl": GPTConfig(
        vocab_size=50257, context_length=1024, n_layers=48, n_heads=25, d_model=1600, dropout=0.1
    ),
    "gpt3": GPTConfig(vocab_size=50257, context_length=2048, n_layers=96, n_heads=96, d_model=12288),
}
