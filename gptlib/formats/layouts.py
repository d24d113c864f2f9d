"""How transformers lays out other GPTs than GPT-2: GPT-NeoX, and Llama with its kin.

The kin are Mistral (a sliding window), Qwen3 (QK-norm) and Mixtral (experts): one set of names, and a few
parts more or less. All turn other pairs of numbers than `gptlib.positions.rotate`, so queries and keys are
stored in another order. Here are names, settings and orders; `gptlib.gpt2` reads and writes the files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from gptlib.model.config import GPTConfig

Weights = Mapping[str, Tensor]

# Our name of a part -> its published one, outside the blocks and inside them.
NEOX_PARTS = {
    "token_embedding": "gpt_neox.embed_in",
    "final_norm": "gpt_neox.final_layer_norm",
    "unembedding": "embed_out",
    "attention_norm": "input_layernorm",
    "attention.qkv": "attention.query_key_value",
    "attention.output": "attention.dense",
    "mlp_norm": "post_attention_layernorm",
    "mlp.up": "mlp.dense_h_to_4h",
    "mlp.down": "mlp.dense_4h_to_h",
}
LLAMA_PARTS = {
    "token_embedding": "model.embed_tokens",
    "final_norm": "model.norm",
    "unembedding": "lm_head",
    "attention_norm": "input_layernorm",
    "attention.output": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
    "mlp.router.scores": "block_sparse_moe.gate",
}
EXPERT_PARTS = {"gate": "w1", "up": "w3", "down": "w2"}

# What the config.json of a Llama or its kin may say besides sizes -> the values that our GPT can express.
EXPRESSIBLE: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "router_jitter_noise": (0.0,),
    "quantization_config": (None,),
}


@dataclass(frozen=True)
class Layout:
    """One of transformers' models, and how a `GPT` is written down for it.

    architecture  the name of its class
    needs         the settings that a config must have, given that config
    describe      config.json
    publish       our weights by our names -> its weights by its names
    """

    architecture: str
    needs: Callable[[GPTConfig], dict[str, Any]]
    describe: Callable[[GPTConfig], dict[str, Any]]
    publish: Callable[[Weights, GPTConfig], dict[str, Tensor]]


def renamed(name: str, parts: Mapping[str, str], blocks: str) -> str:
    """The published name of one of our parameters. Raises KeyError for a part that is not among `parts`."""
    part, _, kind = name.rpartition(".")  # kind is weight or bias
    if not part.startswith("blocks."):
        return f"{parts[part]}.{kind}"
    _, layer, part = part.split(".", 2)
    return f"{blocks}.{layer}.{parts[part]}.{kind}"


def by_halves(weight: Float[Tensor, "width *d_model"], d_head: int) -> Float[Tensor, "width *d_model"]:
    """Rows, or a vector, in the order that the rotary positions of Llama and GPT-NeoX need.

    They turn (x[i], x[i + d_head / 2]) where ours turn neighbors (x[2i], x[2i + 1]). Queries and keys are
    sorted alike, so their products stay.
    """
    pairs = weight.unflatten(0, (-1, d_head // 2, 2))  # (width, …) -> (head, pair, 2, …)
    return pairs.transpose(1, 2).flatten(0, 2)  # (head, 2, pair, …) -> (width, …)


def by_pairs(weight: Float[Tensor, "width *d_model"], d_head: int) -> Float[Tensor, "width *d_model"]:
    """The way back from `by_halves`."""
    halves = weight.unflatten(0, (-1, 2, d_head // 2))  # (width, …) -> (head, 2, pair, …)
    return halves.transpose(1, 2).flatten(0, 2)  # (head, pair, 2, …) -> (width, …)


def plain(config: GPTConfig) -> dict[str, Any]:
    """The settings of a model that has none of the parts that came after GPT-2."""
    none = {"qk_norm": False, "window": None, "n_experts": None, "score_cap": None, "logit_cap": None}
    return none | {"kv_heads": config.n_heads, "d_head": config.d_model // config.n_heads}


# ------------------------------------------------------------------------------------------------- GPT-NeoX


def _neox_needs(config: GPTConfig) -> dict[str, Any]:
    return plain(config) | {"position": "rotary", "norm": "layernorm", "mlp": "gelu"}


def _describe_neox(config: GPTConfig) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": config.rotary_base, "partial_rotary_factor": 1.0}
    return {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "hidden_size": config.d_model,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "hidden_act": "gelu_new",
        "layer_norm_eps": config.norm_eps,
        "use_parallel_residual": False,
        "rope_parameters": rope,
        "attention_bias": True,
        "attention_dropout": config.dropout,
        "hidden_dropout": config.dropout,
        "tie_word_embeddings": config.tie_embeddings,
    }


def _publish_neox(weights: Weights, config: GPTConfig) -> dict[str, Tensor]:
    published = {}
    for ours, weight in weights.items():
        if ".attention.qkv." in ours:
            queries, keys, values = weight.chunk(3)
            parts = torch.stack([by_halves(queries, config.d_head), by_halves(keys, config.d_head), values])
            parts = parts.unflatten(1, (config.n_heads, -1))  # (3, width, …) -> (3, head, d_head, …)
            weight = parts.transpose(0, 1).flatten(0, 2)  # (head, 3, d_head, …) -> (3 * width, …)
        name = renamed(ours, NEOX_PARTS, "gpt_neox.layers")
        published[name] = weight
        if not config.bias and not name.endswith(("embed_in.weight", "embed_out.weight")):
            published[name.replace("weight", "bias")] = torch.zeros(len(weight))
    return published


NEOX = Layout("GPTNeoXForCausalLM", _neox_needs, _describe_neox, _publish_neox)


# ----------------------------------------------------------------------------------------- Llama and its kin


class Piece(NamedTuple):
    """A published tensor that is some of the rows of one of ours (None: all of them)."""

    name: str
    rows: int | None = None
    turned: bool = False  # whether rotary positions act on it, so that its order is another


def _pieces(ours: str, config: GPTConfig) -> list[Piece]:
    """What one of our parameters is cut into."""
    block, _, part = ours.partition(".attention.")
    attention = f"model.layers.{block.removeprefix('blocks.')}.self_attn"
    keys = config.kv_heads * config.d_head
    if part == "qkv.weight":
        return [
            Piece(f"{attention}.q_proj.weight", config.n_heads * config.d_head, turned=True),
            Piece(f"{attention}.k_proj.weight", keys, turned=True),
            Piece(f"{attention}.v_proj.weight", keys),
        ]
    if part in ("query_norm.weight", "key_norm.weight"):
        return [Piece(f"{attention}.{part[0]}_norm.weight", turned=True)]
    if ".mlp.experts." in ours:
        _, layer, _, _, number, part, kind = ours.split(".")
        expert = f"model.layers.{layer}.block_sparse_moe.experts.{number}"
        return [Piece(f"{expert}.{EXPERT_PARTS[part]}.{kind}")]
    return [Piece(renamed(ours, LLAMA_PARTS, "model.layers"))]


def publish_llama(weights: Weights, config: GPTConfig) -> dict[str, Tensor]:
    """Our weights as those of a Llama, or of the kin that the config is of."""
    published = {}
    for ours, weight in weights.items():
        pieces = _pieces(ours, config)
        cut = weight.split([piece.rows or len(weight) for piece in pieces])
        for piece, rows in zip(pieces, cut, strict=True):
            published[piece.name] = by_halves(rows, config.d_head) if piece.turned else rows.contiguous()
    return published


def restore_llama(published: Weights, names: list[str], config: GPTConfig) -> dict[str, Tensor]:
    """The way back from `publish_llama`, for our parameters of these names."""
    return {
        ours: torch.cat(
            [
                by_pairs(published[piece.name], config.d_head) if piece.turned else published[piece.name]
                for piece in _pieces(ours, config)
            ]
        )
        for ours in names
    }


def _llama_needs(config: GPTConfig) -> dict[str, Any]:
    parts = {"position": "rotary", "norm": "rmsnorm", "mlp": "swiglu", "bias": False}
    return parts | {"score_cap": None, "logit_cap": None}


def _describe_llama(config: GPTConfig) -> dict[str, Any]:
    """What all the kin say; each adds its own."""
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "hidden_size": config.d_model,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.d_head,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rotary_base},
        "attention_dropout": config.dropout,
        "tie_word_embeddings": config.tie_embeddings,
    }


def _kin(
    model_type: str,
    architecture: str,
    needs: Callable[[GPTConfig], dict[str, Any]],
    adds: Callable[[GPTConfig], dict[str, Any]],
) -> Layout:
    named = {"architectures": [architecture], "model_type": model_type}
    return Layout(
        architecture,
        lambda config: _llama_needs(config) | needs(config),
        lambda config: named | _describe_llama(config) | adds(config),
        publish_llama,
    )


LLAMA_KIN = {
    "llama": _kin(
        "llama",
        "LlamaForCausalLM",
        lambda config: {"qk_norm": False, "window": None, "n_experts": None},
        lambda config: {"attention_bias": False, "mlp_bias": False},
    ),
    "mistral": _kin(
        "mistral",
        "MistralForCausalLM",
        lambda config: {"qk_norm": False, "n_experts": None},
        lambda config: {"sliding_window": config.window},
    ),
    "qwen3": _kin(
        "qwen3",
        "Qwen3ForCausalLM",
        lambda config: {"qk_norm": True, "n_experts": None},
        lambda config: {
            "attention_bias": False,
            "use_sliding_window": config.window is not None,
            "sliding_window": config.window,
            "max_window_layers": 0,  # the window is in every layer from this one on
        },
    ),
    "mixtral": _kin(
        "mixtral",
        "MixtralForCausalLM",
        lambda config: {"qk_norm": False, "n_experts": config.n_experts or 8},
        lambda config: {
            "sliding_window": config.window,
            "num_local_experts": config.n_experts,
            "num_experts_per_tok": config.n_active,
            "router_aux_loss_coef": config.balance,
        },
    ),
}


def read_llama_config(given: Mapping[str, Any], where: str) -> GPTConfig:
    """The config that a Llama's or its kin's config.json describes. Raises ValueError where ours cannot."""
    sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    absent = [name for name in (*sizes, "max_position_embeddings") if name not in given]
    if absent:
        raise ValueError(f"{where} does not say {', '.join(absent)}")
    odd = [
        f"{name} = {given[name]!r} (ours is {allowed[0]!r})"
        for name, allowed in EXPRESSIBLE.items()
        if given.get(name, allowed[0]) not in allowed
    ]
    # Older files say rope_theta beside rope_scaling, newer ones both in rope_parameters.
    rope = given.get("rope_parameters") or {"rope_theta": given.get("rope_theta", 10000.0)}
    rope |= given.get("rope_scaling") or {}
    if rope.get("rope_type", "default") != "default" or set(rope) - {"rope_type", "rope_theta"}:
        odd.append(f"rope_parameters = {rope!r} (ours is the default type, without scaling)")
    window = given.get("sliding_window") if given.get("use_sliding_window", True) else None
    first = given.get("max_window_layers", 0) if window is not None else 0
    types = given.get("layer_types") or ["full_attention"] * first + ["sliding_attention"]
    if window is not None and set(types) != {"sliding_attention"}:
        odd.append(f"a sliding_window of {window} in some layers (ours has one for all, or for none)")
    if odd:
        raise ValueError(f"{where} asks for what our GPT cannot express: {', '.join(odd)}")
    experts = {}
    if given["model_type"] == "mixtral":
        experts = {
            "n_experts": given["num_local_experts"],
            "n_active": given["num_experts_per_tok"],
            "balance": given.get("router_aux_loss_coef", 0.001),
        }
    n_heads, d_model = given["num_attention_heads"], given["hidden_size"]
    d_head = given.get("head_dim") or d_model // n_heads
    return GPTConfig(
        vocab_size=given["vocab_size"],
        context_length=given["max_position_embeddings"],
        n_layers=given["num_hidden_layers"],
        n_heads=n_heads,
        d_model=d_model,
        n_kv_heads=given.get("num_key_value_heads"),
        d_mlp=given["intermediate_size"],
        dropout=given.get("attention_dropout", 0.0),
        bias=False,
        position="rotary",
        norm="rmsnorm",
        mlp="swiglu",
        tie_embeddings=given.get("tie_word_embeddings", False),
        head_width=None if d_head * n_heads == d_model else d_head,
        norm_eps=given.get("rms_norm_eps", 1e-6),
        rotary_base=rope["rope_theta"],
        qk_norm=given["model_type"] == "qwen3",
        window=window,
        **experts,
    )
