"""How many parameters and operations a GPT has, from its config alone."""

from __future__ import annotations

from gptlib.checks import check_kind, check_whole
from gptlib.model.config import GPTConfig


def count_parameters(config: GPTConfig) -> dict[str, int]:
    """How many parameters each part of GPT(config) has, and their "total", without building it.

    A tied unembedding counts 0: it is the token embedding. The norms inside heads count as attention.
    """
    check_config_kind(config)
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
    if config.copy_heads:
        parts["copy_heads"] = 2 * config.d_model * copy_width(config) + config.copy_heads * config.d_model
        parts["copy_heads"] += head_norms
    return parts | {"total": sum(parts.values())}


def count_active_parameters(config: GPTConfig) -> int:
    """How many of the parameters one token meets: all but those of the experts that it is not sent to.

    Jiang et al. 2024, "Mixtral of Experts", section 2.1.
    """
    check_config_kind(config)
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
    check_config_kind(config)
    check_whole("seq", seq, at_least=None)
    seq = int(seq)
    if not 1 <= seq <= config.context_length:
        raise ValueError(f"seq is {seq}; it needs to be from 1 to context_length = {config.context_length}")
    d_queries, d_keys = config.n_heads * config.d_head, config.kv_heads * config.d_head
    projections = config.d_model * (d_queries + 2 * d_keys) + d_queries * config.d_model
    mlp = (widenings(config) + 1) * config.d_model * config.mlp_width
    if config.n_experts is not None:
        mlp = config.n_active * mlp + config.d_model * config.n_experts
    scores_and_average = 2 * seq * d_queries
    unembedding = config.d_model * config.vocab_size
    copying = 2 * config.d_model * copy_width(config) + seq * copy_width(config)
    copying += seq * (config.copy_heads or 0) * config.d_model
    return 2 * (config.n_layers * (projections + mlp + scores_and_average) + copying + unembedding)


def check_config_kind(config: object) -> None:
    """Raise TypeError unless this is a GPTConfig."""
    check_kind("config", config, GPTConfig, "a GPTConfig")


def _mlp_parameters(config: GPTConfig) -> int:
    """Of one MLP: of one expert, where there are several."""
    bias = int(config.bias)
    up = widenings(config) * (config.d_model + bias) * config.mlp_width
    return up + (config.mlp_width + bias) * config.d_model


def copy_width(config: GPTConfig) -> int:
    """How wide the queries of all copy heads are together."""
    return (config.copy_heads or 0) * config.d_head


def widenings(config: GPTConfig) -> int:
    """How many matrices of the MLP lead from d_model to d_mlp; one leads back."""
    return 2 if config.mlp == "swiglu" else 1
