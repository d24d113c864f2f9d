"""GPT: embed the tokens, pass them through the blocks, score every token as the next one (notebook 08)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gptlib.attention import KeyValueCache, soft_cap
from gptlib.blocks import NORM_CLASSES, Block
from gptlib.config import GPTConfig
from gptlib.positions import EMBEDDING_POSITIONS

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


class Unembedding(nn.Linear):
    """Scores every token of the vocabulary as the next one."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config.d_model, config.vocab_size, bias=False)
        self.config = config


class CappedUnembedding(Unembedding):
    """The same, with logits that pass through `soft_cap`. Gemma Team 2024, "Gemma 2", section 2."""

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        return soft_cap(super().forward(x), self.config.logit_cap)


class GPT(nn.Module):
    """A decoder-only transformer in GPT-2's layout, or with other parts where the config names them.

    Starts from random weights, drawn from torch's global generator with standard deviation 0.02; for the two
    projections of each block that write into the residual stream it is 0.02 / √(2 n_layers), so that the
    stream does not grow with depth.
    Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position = EMBEDDING_POSITIONS[config.position](config)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.final_norm = NORM_CLASSES[config.norm](config)
        unembedding = Unembedding if config.logit_cap is None else CappedUnembedding
        self.unembedding = unembedding(config)
        if config.tie_embeddings:
            self.unembedding.weight = self.token_embedding.weight
        self.draw_weights()

    def draw_weights(self) -> None:
        """Draw all weights anew."""
        for name, parameter in self.named_parameters():
            if name.endswith(("attention.output.weight", ".down.weight")):
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.config.n_layers))
            elif parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(
        self, tokens: Int[Tensor, "batch seq"], cache: KeyValueCache | None = None
    ) -> Float[Tensor, "batch seq vocab"]:
        """Logits of the token after each position. With a cache, tokens are those that follow the ones in it.

        Raises TypeError when tokens are not whole numbers, ValueError when they are not (batch, seq) or
        longer than the context, IndexError when a token is outside the vocabulary.
        """
        start = 0 if cache is None else self.check_cache(cache)
        self.check_tokens(tokens, start)
        x = self.token_embedding(tokens)  # (batch, seq) -> (batch, seq, d_model)
        x = self.dropout(self.position(x, start))
        layers = [None] * len(self.blocks) if cache is None else cache.layers
        for block, layer in zip(self.blocks, layers, strict=True):
            x = block(x, layer)
        return self.unembedding(self.final_norm(x))  # (batch, seq, d_model) -> (batch, seq, vocab)

    def check_tokens(self, tokens: Int[Tensor, "batch seq"], start: int = 0) -> None:
        """Raise, as `forward` says, unless this model can read these tokens after `start` others."""
        vocab_size, context_length = self.config.vocab_size, self.config.context_length
        if not isinstance(tokens, Tensor):
            raise TypeError(
                f"tokens is a {type(tokens).__name__}; for a list torch.tensor([tokens]) would do"
            )
        if tokens.dtype not in (torch.int64, torch.int32):
            raise TypeError(f"tokens has dtype {tokens.dtype}; it needs int64: tokens.long() would do")
        if tokens.dim() != 2 or tokens.numel() == 0:
            raise ValueError(
                f"tokens has shape {tuple(tokens.shape)}; it needs (batch, seq), each at least 1; "
                "for one list of tokens torch.tensor([tokens]) would do"
            )
        if start + tokens.shape[1] > context_length:
            after = f" after {start} in the cache" if start else ""
            raise ValueError(
                f"tokens has {tokens.shape[1]} tokens{after}; context_length is {context_length}, "
                f"so at most {context_length - start} fit (tokens[:, -n:] are the last n)"
            )
        if tokens.device.type == "meta":  # shapes only: there are no values to look at
            return
        lowest, highest = (value.item() for value in tokens.aminmax())
        if lowest < 0 or highest >= vocab_size:
            worst = lowest if lowest < 0 else highest
            raise IndexError(
                f"tokens holds {worst}; vocab_size is {vocab_size}, so tokens are 0 to {vocab_size - 1} "
                "(was the text encoded with this model's tokenizer?)"
            )

    def check_cache(self, cache: KeyValueCache) -> int:
        """How many tokens the cache holds; ValueError unless this model can go on from it."""
        if len(cache.layers) != len(self.blocks):
            raise ValueError(f"cache has {len(cache.layers)} layers; the model has {len(self.blocks)}")
        if len({layer.length for layer in cache.layers}) > 1:
            raise ValueError("cache was left half filled by a run that failed; start a new KeyValueCache")
        return cache.length

    @property
    def n_parameters(self) -> int:
        """How many numbers are learned; a tied embedding counts once."""
        return sum(parameter.numel() for parameter in self.parameters())


def count_parameters(config: GPTConfig) -> dict[str, int]:
    """How many parameters each part of GPT(config) has, and their "total", without building it.

    A tied unembedding counts 0: it is the token embedding. The norms inside heads count as attention.
    """
    d_queries, d_keys = config.n_heads * config.d_head, config.kv_heads * config.d_head
    bias = int(config.bias)
    norm = config.d_model * (1 + bias if config.norm == "layernorm" else 1)
    qkv = (config.d_model + bias) * (d_queries + 2 * d_keys)
    output = (d_queries + bias) * config.d_model
    head_norms = 2 * config.d_head if config.qk_norm else 0
    mlp = _mlp_parameters(config) * (config.n_experts or 1)
    router = config.d_model * (config.n_experts or 0)
    parts = {
        "token_embedding": config.vocab_size * config.d_model,
        "position": config.context_length * config.d_model if config.position == "learned" else 0,
        "attention": config.n_layers * (qkv + output + head_norms),
        "mlp": config.n_layers * (mlp + router),
        "norms": (2 * config.n_layers + 1) * norm,
        "unembedding": 0 if config.tie_embeddings else config.vocab_size * config.d_model,
    }
    return parts | {"total": sum(parts.values())}


def count_active_parameters(config: GPTConfig) -> int:
    """How many of the parameters one token meets: all but those of the experts that it is not sent to.

    Jiang et al. 2024, "Mixtral of Experts", section 2.1.
    """
    idle = 0 if config.n_experts is None else config.n_experts - config.n_active
    return count_parameters(config)["total"] - config.n_layers * idle * _mlp_parameters(config)


def count_flops(config: GPTConfig, seq: int) -> int:
    """Floating-point operations per token of a forward pass over seq tokens; a multiply and an add are two.

    Counts the matrix products, beside which norms, softmax and GELU are small. Every query counts against
    all seq keys, masked or not; of the experts, those that a token is sent to. A training step costs about
    three times as much.
    Raises ValueError when seq is not between 1 and context_length.
    Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1.
    """
    if not 1 <= seq <= config.context_length:
        raise ValueError(f"seq is {seq}; it needs to be from 1 to context_length = {config.context_length}")
    d_queries, d_keys = config.n_heads * config.d_head, config.kv_heads * config.d_head
    projections = config.d_model * (d_queries + 2 * d_keys) + d_queries * config.d_model
    mlp = (_widenings(config) + 1) * config.d_model * config.mlp_width
    if config.n_experts is not None:
        mlp = config.n_active * mlp + config.d_model * config.n_experts
    scores_and_average = 2 * seq * d_queries
    unembedding = config.d_model * config.vocab_size
    return 2 * (config.n_layers * (projections + mlp + scores_and_average) + unembedding)


def _mlp_parameters(config: GPTConfig) -> int:
    """Of one MLP: of one expert, where there are several."""
    bias = int(config.bias)
    up = _widenings(config) * (config.d_model + bias) * config.mlp_width
    return up + (config.mlp_width + bias) * config.d_model


def _widenings(config: GPTConfig) -> int:
    """How many matrices of the MLP lead from d_model to d_mlp; one leads back."""
    return 2 if config.mlp == "swiglu" else 1
