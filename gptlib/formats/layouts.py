"""The layouts of GPTs in files: GPT-2's, GPT-NeoX's, that of Llama and its kin, and our own.

A layout says under which names, and in which order of numbers, a model's tensors lie in a file, and how
config.json tells its shape. Llama's kin are Mistral (a sliding window), Qwen3 (QK-norm) and Mixtral
(experts): one set of names, and a few parts more or less. `formats.folders` reads and writes the files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from gptlib.checks import check_flag, check_share, check_whole
from gptlib.model.config import GPTConfig
from gptlib.model.structure import weight_shapes

Weights = Mapping[str, Tensor]
Settings = Mapping[str, Any]

# Our name of a part -> its published one, outside the blocks and inside them.
GPT2_PARTS = {
    "token_embedding": "wte",
    "position.embedding": "wpe",
    "final_norm": "ln_f",
    "unembedding": "lm_head",
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}
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


# What config.json may say besides sizes -> the values that our GPT can express, the default first.
GPT2_EXPRESSIBLE: dict[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # two names of one function
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "reorder_and_upcast_attn": (False,),
    "add_cross_attention": (False,),
    "quantization_config": (None,),
}
NEOX_EXPRESSIBLE: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("gelu_new", "gelu_pytorch_tanh"),
    "use_parallel_residual": (False,),
    "attention_bias": (True,),
    "quantization_config": (None,),
}
LLAMA_EXPRESSIBLE: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "router_jitter_noise": (0.0,),
    "quantization_config": (None,),
}


# What Llama's kin mean by a config.json that does not say so, where Llama means something else.
KIN_DEFAULTS: dict[str, dict[str, Any]] = {
    "mistral": {"num_key_value_heads": 8, "sliding_window": 4096},
    "qwen3": {
        "num_key_value_heads": 32,
        "head_dim": 128,
        "use_sliding_window": False,
        "max_window_layers": 28,
    },
    "mixtral": {
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "router_aux_loss_coef": 0.001,
    },
}


class Order(NamedTuple):
    """How the numbers of one of our tensors are put in a layout's order, and back in ours."""

    there: Callable[[Tensor, GPTConfig], Tensor]
    back: Callable[[Tensor, GPTConfig], Tensor]


class Piece(NamedTuple):
    """A published tensor that is some of the rows of one of ours (None: all of them)."""

    name: str
    rows: int | None = None
    order: Order | None = None


@dataclass(frozen=True)
class Layout:
    """How a `GPT` is written down.

    model_type    the layout's name in config.json
    architecture  the name of the class that reads it
    needs         the settings that a config must have, given that config
    describe      config.json, but for the two names
    read          the config that a config.json describes
    pieces        what one of our parameters is cut into
    prefix        what stands before each name but the unembedding's in the files of today, not in older ones
    ignored       names of tensors that are no weights: masks, and the speeds of rotary positions
    biased        whether linear layers and norms always have biases; a model without them is given zeros
    """

    model_type: str
    architecture: str
    needs: Callable[[GPTConfig], dict[str, Any]]
    describe: Callable[[GPTConfig], dict[str, Any]]
    read: Callable[[Settings, str], GPTConfig]
    pieces: Callable[[str, GPTConfig], list[Piece]]
    prefix: str = ""
    ignored: str = r"\b\B"
    biased: bool = False

    def fits(self, config: GPTConfig) -> bool:
        """Whether a model of this config can be written so."""
        return all(getattr(config, part) == value for part, value in self.needs(config).items())

    def stored(self, config: GPTConfig) -> GPTConfig:
        """The config of the model as it lies in the file."""
        return replace(config, bias=True) if self.biased else config

    def publish(self, weights: Weights, config: GPTConfig) -> dict[str, Tensor]:
        """Our weights, by our names, as this layout names and orders them; zeros for biases that lack."""
        published = {}
        for ours, shape in weight_shapes(self.stored(config)).items():
            weight = weights[ours] if ours in weights else torch.zeros(shape, dtype=_dtype(weights))
            pieces = self.pieces(ours, config)
            for piece, rows in zip(pieces, weight.split(_rows(pieces, weight)), strict=True):
                there = rows if piece.order is None else piece.order.there(rows, config)
                published[piece.name] = there.contiguous()
        return published

    def restore(self, published: dict[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
        """The way back: the weights of a model of the `stored` config, by our names.

        They are taken out of `published`, so that a large model is never there twice.
        """
        restored = {}
        for ours in weight_shapes(config):
            back = [
                published.pop(piece.name)
                if piece.order is None
                else piece.order.back(published.pop(piece.name), config)
                for piece in self.pieces(ours, config)
            ]
            restored[ours] = (torch.cat(back) if len(back) > 1 else back[0]).contiguous()
        return restored


def layout_for(config: GPTConfig) -> Layout:
    """The first of transformers' layouts that a model of this config has; ours where it has none of them."""
    for layout in LAYOUTS.values():
        if layout.fits(config):
            return layout
    raise AssertionError("our own layout needs nothing")


def _dtype(weights: Weights) -> torch.dtype:
    return next(iter(weights.values())).dtype


def _rows(pieces: list[Piece], weight: Tensor) -> list[int]:
    return [piece.rows or len(weight) for piece in pieces]


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


def _plain(config: GPTConfig) -> dict[str, Any]:
    """The settings of a model that has none of the parts that came after GPT-2."""
    none = {"qk_norm": False, "window": None, "n_experts": None, "score_cap": None, "logit_cap": None}
    none["copy_heads"] = None
    return none | {"kv_heads": config.n_heads, "d_head": config.d_model // config.n_heads}


def _check_settings(
    given: Settings, sizes: tuple[str, ...], expressible: dict[str, tuple[Any, ...]], where: str
) -> None:
    """Raise ValueError unless all sizes are there, and the rest is what our GPT can express."""
    odd = [
        f"{name} = {given[name]!r} (ours is {allowed[0]!r})"
        for name, allowed in expressible.items()
        if given.get(name, allowed[0]) not in allowed
    ]
    if odd:
        raise ValueError(f"{where} asks for what our GPT cannot express: {', '.join(odd)}")
    absent = [name for name in sizes if name not in given]
    if absent:
        raise ValueError(f"{where} does not say {', '.join(absent)}")
    for name in sizes:
        check_whole(name, given[name])


def _one_dropout(given: Settings, names: tuple[str, ...], default: float) -> float:
    """The largest of several dropouts, since our GPT has one for all; they matter in training alone."""
    dropouts = [given.get(name, default) for name in names]
    for name, dropout in zip(names, dropouts, strict=True):
        check_share(name, dropout)
    return max(dropouts)


# ---------------------------------------------------------------------------------------------------- GPT-2


def published_name(name: str) -> str:
    """GPT-2's name for one of our parameters: blocks.3.mlp.up.weight -> h.3.mlp.c_fc.weight.

    Raises KeyError for a part that GPT-2 does not have.
    """
    return renamed(name, GPT2_PARTS, "h")


def is_transposed(name: str) -> bool:
    """Whether GPT-2 stores the tensor of this published name as (in, out), where ours is (out, in)."""
    return re.search(r"c_(attn|proj|fc)\.weight$", name) is not None


TRANSPOSED = Order(lambda weight, config: weight.T, lambda weight, config: weight.T)


def _gpt2_pieces(ours: str, config: GPTConfig) -> list[Piece]:
    name = published_name(ours)
    return [Piece(name, order=TRANSPOSED if is_transposed(name) else None)]


def _gpt2_needs(config: GPTConfig) -> dict[str, Any]:
    return _plain(config) | {"position": "learned", "norm": "layernorm", "mlp": "gelu"}


def _describe_gpt2(config: GPTConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_mlp,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": config.norm_eps,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "tie_word_embeddings": config.tie_embeddings,
    }


def _read_gpt2(given: Settings, where: str) -> GPTConfig:
    sizes = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")
    _check_settings(given, sizes, GPT2_EXPRESSIBLE, where)
    return GPTConfig(
        vocab_size=given["vocab_size"],
        context_length=given["n_positions"],
        n_layers=given["n_layer"],
        n_heads=given["n_head"],
        d_model=given["n_embd"],
        d_mlp=given.get("n_inner"),
        dropout=_one_dropout(given, ("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.1),
        tie_embeddings=given.get("tie_word_embeddings", True),
        norm_eps=given.get("layer_norm_epsilon", 1e-5),
    )


def config_from_shapes(weights: Weights, where: str) -> GPTConfig:
    """The config of a GPT-2 whose tensors are these. Raises ValueError for those of another model.

    How many heads there are no shape tells: d_model / 64, as in all published sizes.
    """
    matrices = {name: weight for name, weight in weights.items() if weight.dim() == 2}
    needed = ("wte.weight", "wpe.weight", "h.0.mlp.c_fc.weight")
    absent = [name for name in needed if name not in matrices]
    if absent:
        raise ValueError(
            f"{where} is no GPT-2: it has no matrix {', '.join(absent)}; for another model give the folder "
            "with its config.json"
        )
    vocab_size, d_model = matrices["wte.weight"].shape
    if d_model % 64:
        raise ValueError(
            f"{where} has d_model = {d_model}, no multiple of 64, so it does not tell how many heads there "
            "are; give a folder with a config.json that does"
        )
    layers = [int(match[1]) for name in weights if (match := re.match(r"h\.(\d+)\.", name))]
    head = weights.get("lm_head.weight")
    return GPTConfig(
        vocab_size=vocab_size,
        context_length=len(matrices["wpe.weight"]),
        n_layers=max(layers) + 1,
        n_heads=d_model // 64,
        d_model=d_model,
        d_mlp=matrices["h.0.mlp.c_fc.weight"].shape[1],
        tie_embeddings=head is None or torch.equal(head, weights["wte.weight"]),
    )


GPT2 = Layout(
    "gpt2",
    "GPT2LMHeadModel",
    _gpt2_needs,
    _describe_gpt2,
    _read_gpt2,
    _gpt2_pieces,
    prefix="transformer.",
    ignored=r"h\.\d+\.attn\.(bias|masked_bias)",
    biased=True,
)


# ------------------------------------------------------------------------------------------------- GPT-NeoX


def _by_head(weight: Tensor, config: GPTConfig) -> Tensor:
    """Queries, keys and values of one head after the other; ours are all queries, all keys, all values."""
    queries, keys, values = weight.chunk(3)
    parts = torch.stack([by_halves(queries, config.d_head), by_halves(keys, config.d_head), values])
    parts = parts.unflatten(1, (config.n_heads, -1))  # (3, width, …) -> (3, head, d_head, …)
    return parts.transpose(0, 1).flatten(0, 2)  # (head, 3, d_head, …) -> (3 * width, …)


def _by_kind(weight: Tensor, config: GPTConfig) -> Tensor:
    """The way back from `_by_head`."""
    parts = weight.unflatten(0, (config.n_heads, 3, -1))  # (3 * width, …) -> (head, 3, d_head, …)
    queries, keys, values = parts.transpose(0, 1).flatten(1, 2)  # (3, head, d_head, …) -> (3, width, …)
    return torch.cat([by_pairs(queries, config.d_head), by_pairs(keys, config.d_head), values])


BY_HEAD = Order(_by_head, _by_kind)


def _neox_pieces(ours: str, config: GPTConfig) -> list[Piece]:
    name = renamed(ours, NEOX_PARTS, "gpt_neox.layers")
    return [Piece(name, order=BY_HEAD if ".attention.qkv." in ours else None)]


def _neox_needs(config: GPTConfig) -> dict[str, Any]:
    return _plain(config) | {"position": "rotary", "norm": "layernorm", "mlp": "gelu"}


def _describe_neox(config: GPTConfig) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": config.rotary_base, "partial_rotary_factor": 1.0}
    return {
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


def _read_neox(given: Settings, where: str) -> GPTConfig:
    sizes = ("vocab_size", "max_position_embeddings", "hidden_size", "intermediate_size", "num_hidden_layers")
    # What a file leaves out is as in Pythia, which our GPT cannot express.
    given = {"hidden_act": "gelu", "use_parallel_residual": True} | dict(given)
    _check_settings(given, (*sizes, "num_attention_heads"), NEOX_EXPRESSIBLE, where)
    share = {"partial_rotary_factor": given.get("rotary_pct", 0.25)}
    rope = share | _rope(given, {"rope_theta": given.get("rotary_emb_base", 10000.0)})
    if rope.pop("partial_rotary_factor") != 1.0:
        raise ValueError(f"{where} turns a part of each head; our GPT turns all of it or nothing")
    _check_rope(rope, where)
    return GPTConfig(
        vocab_size=given["vocab_size"],
        context_length=given["max_position_embeddings"],
        n_layers=given["num_hidden_layers"],
        n_heads=given["num_attention_heads"],
        d_model=given["hidden_size"],
        d_mlp=given["intermediate_size"],
        dropout=_one_dropout(given, ("attention_dropout", "hidden_dropout"), 0.0),
        position="rotary",
        tie_embeddings=given.get("tie_word_embeddings", False),
        norm_eps=given.get("layer_norm_eps", 1e-5),
        rotary_base=rope["rope_theta"],
    )


def _rope(given: Settings, older: dict[str, Any]) -> dict[str, Any]:
    """What a config.json says of rotary positions: newer files all in one place, older ones in several."""
    rope = dict(older)
    for name in ("rope_parameters", "rope_scaling"):
        said = given.get(name)
        if said is not None and not isinstance(said, dict):
            raise TypeError(f"{name} is {said!r}; it needs an object such as {older!r}")
        rope |= said or {}
    return rope


def _check_rope(rope: dict[str, Any], where: str) -> None:
    if rope.get("rope_type", "default") != "default" or set(rope) - {"rope_type", "rope_theta"}:
        raise ValueError(
            f"{where} asks for what our GPT cannot express: rope_parameters = {rope!r} (ours is the default "
            "type, without scaling)"
        )


NEOX = Layout(
    "gpt_neox",
    "GPTNeoXForCausalLM",
    _neox_needs,
    _describe_neox,
    _read_neox,
    _neox_pieces,
    ignored=r"gpt_neox\.(layers\.\d+\.attention\.(bias|masked_bias)|(.+\.)?rotary_emb\.inv_freq)",
    biased=True,
)


# ----------------------------------------------------------------------------------------- Llama and its kin


HALVES = Order(
    lambda weight, config: by_halves(weight, config.d_head),
    lambda weight, config: by_pairs(weight, config.d_head),
)


def _llama_pieces(ours: str, config: GPTConfig) -> list[Piece]:
    block, _, part = ours.partition(".attention.")
    attention = f"model.layers.{block.removeprefix('blocks.')}.self_attn"
    keys = config.kv_heads * config.d_head
    if part == "qkv.weight":
        return [
            Piece(f"{attention}.q_proj.weight", config.n_heads * config.d_head, HALVES),
            Piece(f"{attention}.k_proj.weight", keys, HALVES),
            Piece(f"{attention}.v_proj.weight", keys),
        ]
    if part in ("query_norm.weight", "key_norm.weight"):
        return [Piece(f"{attention}.{part[0]}_norm.weight", order=HALVES)]
    if ".mlp.experts." in ours:
        _, layer, _, _, number, part, kind = ours.split(".")
        expert = f"model.layers.{layer}.block_sparse_moe.experts.{number}"
        return [Piece(f"{expert}.{EXPERT_PARTS[part]}.{kind}")]
    return [Piece(renamed(ours, LLAMA_PARTS, "model.layers"))]


def _llama_needs(config: GPTConfig) -> dict[str, Any]:
    parts = {"position": "rotary", "norm": "rmsnorm", "mlp": "swiglu", "bias": False}
    return parts | {"score_cap": None, "logit_cap": None, "copy_heads": None}


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


def _read_llama(given: Settings, where: str) -> GPTConfig:
    sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    given = KIN_DEFAULTS.get(given["model_type"], {}) | dict(given)
    _check_settings(given, (*sizes, "max_position_embeddings"), LLAMA_EXPRESSIBLE, where)
    rope = _rope(given, {"rope_theta": given.get("rope_theta", 10000.0)})
    _check_rope(rope, where)
    check_flag("use_sliding_window", given.get("use_sliding_window", True))
    window = given.get("sliding_window") if given.get("use_sliding_window", True) else None
    first = "full_attention" if given.get("max_window_layers", 0) else "sliding_attention"
    types = given.get("layer_types") or [first]
    windowed = isinstance(types, list) and all(kind == "sliding_attention" for kind in types)
    if window is not None and not windowed:
        raise ValueError(
            f"{where} asks for what our GPT cannot express: a sliding_window of {window} in some layers "
            "(ours has one for all, or for none)"
        )
    experts = {}
    if given["model_type"] == "mixtral":
        experts = {
            "n_experts": given["num_local_experts"],
            "n_active": given["num_experts_per_tok"],
            "balance": given["router_aux_loss_coef"],
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


def _kin(
    model_type: str,
    architecture: str,
    needs: Callable[[GPTConfig], dict[str, Any]],
    adds: Callable[[GPTConfig], dict[str, Any]],
) -> Layout:
    return Layout(
        model_type,
        architecture,
        lambda config: _llama_needs(config) | needs(config),
        lambda config: _describe_llama(config) | adds(config),
        _read_llama,
        _llama_pieces,
        ignored=r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq",
    )


LLAMA = _kin(
    "llama",
    "LlamaForCausalLM",
    lambda config: {"qk_norm": False, "window": None, "n_experts": None},
    lambda config: {"attention_bias": False, "mlp_bias": False},
)
MISTRAL = _kin(
    "mistral",
    "MistralForCausalLM",
    lambda config: {"qk_norm": False, "n_experts": None},
    lambda config: {"sliding_window": config.window},
)
QWEN3 = _kin(
    "qwen3",
    "Qwen3ForCausalLM",
    lambda config: {"qk_norm": True, "n_experts": None},
    lambda config: {
        "attention_bias": False,
        "use_sliding_window": config.window is not None,
        "sliding_window": config.window,
        "max_window_layers": 0,  # the window is in every layer from this one on
    },
)
MIXTRAL = _kin(
    "mixtral",
    "MixtralForCausalLM",
    lambda config: {"qk_norm": False, "n_experts": config.n_experts or 8},
    lambda config: {
        "sliding_window": config.window,
        "num_local_experts": config.n_experts,
        "num_experts_per_tok": config.n_active,
        "router_aux_loss_coef": config.balance,
    },
)


# -------------------------------------------------------------------------------------------------- our own


def config_from_fields(given: Any, where: str) -> GPTConfig:
    """The GPTConfig of these fields. Raises ValueError for unknown fields and those that cannot work."""
    if not isinstance(given, dict):
        raise ValueError(f"{where} has {given!r} for a config; it needs the fields of GPTConfig")
    unknown = set(given) - {field.name for field in fields(GPTConfig)}
    if unknown:
        raise ValueError(f"{where} has {', '.join(sorted(unknown))}, unknown to GPTConfig")
    needed = [field.name for field in fields(GPTConfig) if field.default is MISSING]
    if absent := [name for name in needed if name not in given]:
        raise ValueError(f"{where} does not say {', '.join(absent)}")
    try:
        return GPTConfig(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where} is no GPTConfig: {error}") from None


OWN = Layout(
    "gptlib",
    "GPT",
    lambda config: {},
    lambda config: {},  # `gptlib.formats.folders` notes the config itself, in every layout
    config_from_fields,
    lambda ours, config: [Piece(ours)],
)

LAYOUTS = {layout.model_type: layout for layout in (GPT2, NEOX, LLAMA, MISTRAL, QWEN3, MIXTRAL, OWN)}
