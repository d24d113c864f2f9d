"""What can be wrong with a GPTConfig, and how it is said."""

from __future__ import annotations

from typing import Any, Literal, get_args

from gptlib.checks import check_choice, check_flag, check_from_zero, check_positive, check_share, check_whole

PositionName = Literal["none", "learned", "sinusoidal", "rotary", "alibi"]
NormName = Literal["layernorm", "rmsnorm"]
MLPName = Literal["gelu", "squared_relu", "swiglu"]
POSITIONS, NORMS, MLPS = get_args(PositionName), get_args(NormName), get_args(MLPName)


def check_config(config: Any) -> None:
    """Raise TypeError for a setting of the wrong type, ValueError for one that cannot work."""
    for name in ("vocab_size", "context_length", "n_layers", "n_heads", "d_model", "n_active"):
        check_whole(name, getattr(config, name))
    for name in ("n_kv_heads", "d_mlp", "head_width", "window", "n_experts", "copy_heads"):
        if getattr(config, name) is not None:
            check_whole(name, getattr(config, name))
    for name in ("norm_eps", "rotary_base", "score_cap", "logit_cap"):
        if getattr(config, name) is not None or name in ("norm_eps", "rotary_base"):
            check_positive(name, getattr(config, name))
    for name in ("bias", "tie_embeddings", "qk_norm"):
        check_flag(name, getattr(config, name))
    check_choice("position", config.position, POSITIONS)
    check_choice("norm", config.norm, NORMS)
    check_choice("mlp", config.mlp, MLPS)
    check_share("dropout", config.dropout)
    check_from_zero("balance", config.balance)
    if config.n_experts is not None and config.n_active > config.n_experts:
        raise ValueError(
            f"n_active = {config.n_active} experts for each token cannot be chosen from "
            f"n_experts = {config.n_experts}; n_active needs to be from 1 to {config.n_experts}"
        )
    _check_heads(config)
    if config.position == "sinusoidal" and config.d_model % 2:
        raise ValueError(
            f'position = "sinusoidal" pairs sine and cosine, and d_model = {config.d_model} is odd; '
            f"d_model = {config.d_model + 1} would do"
        )


def _check_heads(config: Any) -> None:
    d_model, n_heads = config.d_model, config.n_heads
    if config.head_width is None and d_model % n_heads:
        raise ValueError(
            f"d_model = {d_model} cannot be shared among n_heads = {n_heads} heads: "
            f"{d_model} / {n_heads} = {d_model / n_heads:.2f}; "
            f"d_model = {max(1, round(d_model / n_heads)) * n_heads} would do, or a head_width"
        )
    if n_heads % config.kv_heads:
        divisors = [number for number in range(1, n_heads + 1) if n_heads % number == 0]
        raise ValueError(
            f"n_heads = {n_heads} cannot share n_kv_heads = {config.kv_heads} evenly; "
            f"n_kv_heads needs to be one of {divisors}"
        )
    if config.position == "rotary" and config.d_head % 2:
        told = f"{d_model} / {n_heads}" if config.head_width is None else "head_width"
        raise ValueError(
            f'position = "rotary" turns pairs of numbers, and d_head = {told} = {config.d_head} is odd; '
            "it needs to be even"
        )
