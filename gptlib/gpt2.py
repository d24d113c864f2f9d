"""GPT-2 in and out: published weights become our model, our model a folder that others load (notebook 11).

A Hugging Face folder holds config.json (the shape), model.safetensors (the weights, each with a name) and the
tokenizer's files. GPT-2's weights differ from ours in two ways only: parts have other names, and the matrices
of linear layers are stored transposed.

Only safetensors files are read and written. Older files (.bin, .pt) are pickles: opening one runs whatever
program its author put in.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from gptlib.config import GPTConfig
from gptlib.fast_tokenizer import from_fast_tokenizer, to_fast_tokenizer
from gptlib.files import write_atomically
from gptlib.gpt import GPT
from gptlib.hub import PUBLISHED, fetch
from gptlib.tokenizer import END_OF_TEXT, Tokenizer

WEIGHTS = "model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
WRITTEN = ("config.json", "generation_config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json")

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

# What GPT-2's config.json may say besides sizes -> the values that our GPT can express, the default first.
EXPRESSIBLE: dict[str, tuple[Any, ...]] = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # two names of one function
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "reorder_and_upcast_attn": (False,),
    "add_cross_attention": (False,),
    "quantization_config": (None,),
}


# ------------------------------------------------------------------------------------------------------- in


def load_gpt2(
    name_or_path: str | os.PathLike[str], n_heads: int | None = None
) -> tuple[GPT, Tokenizer | None]:
    """A GPT-2 (float32, on the CPU, in eval mode) and its tokenizer, None where there are no files of one.

    Args:
        name_or_path: gpt2, gpt2-medium, gpt2-large or gpt2-xl, downloaded once (see `gptlib.hub.fetch`); or
            the path of a Hugging Face folder; or that of one safetensors file, whose shapes tell the config.
        n_heads: for one file alone, since its shapes do not tell it. None: d_model / 64, as in all published
            sizes.

    Raises:
        FileNotFoundError: no such file, folder or name.
        ValueError: a pickle; a config that our GPT cannot express; a file that is cut off; tensors that are
            missing, unexpected or misshapen. The message names each.
        ConnectionError: a published model is not on this machine and cannot be fetched.
    """
    path = Path(name_or_path)
    if isinstance(name_or_path, str) and name_or_path.removeprefix("openai-community/") in PUBLISHED:
        path = fetch(name_or_path.removeprefix("openai-community/"))
    if path.suffix in PICKLES:
        raise _pickle(path)
    if path.is_dir():
        if n_heads is not None:
            raise ValueError(f"n_heads is {n_heads}; a folder's config.json says it, so leave it out")
        return _load_folder(path)
    if path.is_file():
        weights = _published_names(_read_weights(path))
        return _build(_config_from_shapes(weights, n_heads, path), weights, path), None
    raise FileNotFoundError(
        f"name_or_path is {str(name_or_path)!r}: no file or folder, and none of the published names "
        f"{', '.join(PUBLISHED)}"
    )


def published_name(name: str) -> str:
    """GPT-2's name for one of our parameters: blocks.3.mlp.up.weight -> h.3.mlp.c_fc.weight.

    Raises KeyError for a part that GPT-2 does not have.
    """
    return _renamed(name, GPT2_PARTS, "h")


def is_transposed(name: str) -> bool:
    """Whether GPT-2 stores the tensor of this published name as (in, out), where ours is (out, in)."""
    return re.search(r"c_(attn|proj|fc)\.weight$", name) is not None


def _renamed(name: str, parts: Mapping[str, str], blocks: str) -> str:
    part, _, kind = name.rpartition(".")  # kind is weight or bias
    if not part.startswith("blocks."):
        return f"{parts[part]}.{kind}"
    _, layer, part = part.split(".", 2)
    return f"{blocks}.{layer}.{parts[part]}.{kind}"


def _load_folder(folder: Path) -> tuple[GPT, Tokenizer | None]:
    config = _read_config(folder / "config.json")
    model = _build(config, _published_names(_read_folder(folder)), folder)
    tokenizer = _read_tokenizer(folder)
    if tokenizer is not None and tokenizer.vocab_size != config.vocab_size:
        raise ValueError(
            f"{str(folder)!r}: the tokenizer has {tokenizer.vocab_size} tokens and config.json "
            f"vocab_size = {config.vocab_size}; they need to be equal"
        )
    return model, tokenizer


def _read_config(path: Path) -> GPTConfig:
    given = _read_json(path)
    odd = [
        f"{name} = {given[name]!r} (ours is {allowed[0]!r})"
        for name, allowed in EXPRESSIBLE.items()
        if given.get(name, allowed[0]) not in allowed
    ]
    if odd:
        raise ValueError(f"{str(path)!r} asks for what our GPT cannot express: {', '.join(odd)}")
    sizes = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")
    absent = [name for name in sizes if name not in given]
    if absent:
        raise ValueError(f"{str(path)!r} does not say {', '.join(absent)}")
    dropouts = {name: given.get(name, 0.1) for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")}
    if len(set(dropouts.values())) > 1:
        raise ValueError(f"{str(path)!r} has several dropouts, and our GPT has one for all: {dropouts}")
    return GPTConfig(
        vocab_size=given["vocab_size"],
        context_length=given["n_positions"],
        n_layers=given["n_layer"],
        n_heads=given["n_head"],
        d_model=given["n_embd"],
        d_mlp=given.get("n_inner"),
        dropout=dropouts["resid_pdrop"],
        tie_embeddings=given.get("tie_word_embeddings", True),
    )


def _config_from_shapes(weights: Mapping[str, Tensor], n_heads: int | None, path: Path) -> GPTConfig:
    matrices = {name: weight for name, weight in weights.items() if weight.dim() == 2}
    needed = ("wte.weight", "wpe.weight", "h.0.mlp.c_fc.weight")
    absent = [name for name in needed if name not in matrices]
    if absent:
        raise ValueError(f"{str(path)!r} is no GPT-2: it has no matrix {', '.join(absent)}")
    vocab_size, d_model = matrices["wte.weight"].shape
    if n_heads is None and d_model % 64:
        raise ValueError(f"{str(path)!r} has d_model = {d_model}, no multiple of 64; give n_heads")
    layers = [int(match[1]) for name in weights if (match := re.match(r"h\.(\d+)\.", name))]
    head = weights.get("lm_head.weight")
    return GPTConfig(
        vocab_size=vocab_size,
        context_length=len(matrices["wpe.weight"]),
        n_layers=max(layers) + 1,
        n_heads=d_model // 64 if n_heads is None else n_heads,
        d_model=d_model,
        d_mlp=matrices["h.0.mlp.c_fc.weight"].shape[1],
        tie_embeddings=head is None or torch.equal(head, weights["wte.weight"]),
    )


def _read_folder(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, from its one file or from the files that its index names."""
    if (folder / WEIGHTS).is_file():
        return _read_weights(folder / WEIGHTS)
    index = folder / f"{WEIGHTS}.index.json"
    if index.is_file():
        places = _read_json(index).get("weight_map", {})
        shards = {file: _read_weights(folder / Path(file).name) for file in sorted(set(places.values()))}
        lost = [name for name, file in places.items() if name not in shards[file]]
        if lost:
            raise ValueError(f"{str(index)!r} names tensors that are not in their files: {', '.join(lost)}")
        return {name: tensor for shard in shards.values() for name, tensor in shard.items()}
    pickles = [path for path in sorted(folder.iterdir()) if path.suffix in PICKLES]
    if pickles:
        raise _pickle(pickles[0])
    raise FileNotFoundError(f"{str(folder)!r} holds neither {WEIGHTS} nor {index.name}")


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    try:
        return safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{str(path)!r} is cut off, or no safetensors file: {error}") from None


def _pickle(path: Path) -> ValueError:
    return ValueError(
        f"{str(path)!r} is a pickle, and opening one runs whatever program is in it; load_gpt2 reads "
        "safetensors alone. Where you trust the file, transformers can convert it: "
        "GPT2LMHeadModel.from_pretrained(folder).save_pretrained(new_folder)"
    )


def _published_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names as in the published files, without "transformer."; without masks too, which are no weights."""
    if "transformer.wte.weight" in weights:
        weights = {name.removeprefix("transformer."): weight for name, weight in weights.items()}
    mask = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")
    return {name: weight for name, weight in weights.items() if not mask.fullmatch(name)}


def _build(config: GPTConfig, weights: dict[str, Tensor], path: Path) -> GPT:
    """The model with these weights, once every one of them is accounted for."""
    with torch.device("meta"):  # shapes alone: no first weights are drawn, only to be thrown away
        model = GPT(config)
    names = {ours: published_name(ours) for ours, _ in model.named_parameters()}  # a tied one once
    head = weights.get("lm_head.weight")
    if config.tie_embeddings and head is not None:
        if not torch.equal(head, weights.get("wte.weight", head)):
            raise ValueError(f"{str(path)!r}: lm_head.weight is not wte.weight, though the config ties them")
        weights = {name: weight for name, weight in weights.items() if weight is not head}
    shapes = {
        names[ours]: tuple(_turned(names[ours], tensor).shape) for ours, tensor in model.named_parameters()
    }
    problems = [f"missing {name}" for name in shapes if name not in weights]
    for name, weight in weights.items():
        if name not in shapes:
            problems.append(f"unexpected {name}")
        elif tuple(weight.shape) != shapes[name]:
            problems.append(f"misshapen {name}: {tuple(weight.shape)}, expected {shapes[name]}")
        elif not weight.is_floating_point():
            problems.append(f"{name} holds {weight.dtype}, no floating-point numbers")
    if problems:
        raise ValueError(f"{str(path)!r} is not the GPT-2 that its config describes: {'; '.join(problems)}")
    # Copies, so that the model does not depend on the file any more.
    state = {ours: _turned(name, weights[name]).to(torch.float32, copy=True) for ours, name in names.items()}
    model.load_state_dict(state, assign=True, strict=False)
    if config.tie_embeddings:
        model.unembedding.weight = model.token_embedding.weight
    return model.eval()


def _turned(name: str, weight: Tensor) -> Tensor:
    """A weight between GPT-2's orientation and ours, either way."""
    return weight.T.contiguous() if is_transposed(name) else weight


def _read_tokenizer(folder: Path) -> Tokenizer | None:
    path = folder / "tokenizer.json"
    if path.is_file():
        try:
            return from_fast_tokenizer(_read_json(path))
        except ValueError as error:
            raise ValueError(f"{str(path)!r} cannot be read as a tokenizer: {error}") from None
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return Tokenizer.from_gpt2(folder / "merges.txt", folder / "vocab.json")
    return None


# ------------------------------------------------------------------------------------------------------ out


def save_hugging_face(model: GPT, tokenizer: Tokenizer, path: str | os.PathLike[str]) -> Path:
    """Write a folder that transformers loads: `pipeline("text-generation", model=path)` then writes as we do.

    Three layouts have a counterpart there, of which the first two need norm="layernorm", mlp="gelu" and no
    shared keys: GPT2LMHeadModel with position="learned", GPTNeoXForCausalLM with position="rotary". Both
    always have biases, so a model without them gets zeros, and equal logits. LlamaForCausalLM has
    position="rotary", norm="rmsnorm", mlp="swiglu" and bias=False. The tokenizer puts <|endoftext|> before
    each text, as `generate` does. Weights are float32.

    The folder is made where there is none; what an earlier call wrote is replaced. config.json, without which
    nothing loads a folder, goes first and comes last, so a half-written one never loads. Returns the path.

    Raises:
        ValueError: another layout, by the settings that stand in its way; a tokenizer that is not the
            model's, has no <|endoftext|>, or another split pattern than GPT-2's.
        FileExistsError: the folder holds files that this function does not write, by name.
    """
    describe = _layout(model.config)
    if tokenizer.vocab_size != model.config.vocab_size:
        raise ValueError(
            f"tokenizer has {tokenizer.vocab_size} tokens and the model {model.config.vocab_size}; "
            "a model writes with the tokenizer that it was trained with"
        )
    fast_tokenizer = to_fast_tokenizer(tokenizer)
    config, weights = describe(model)
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    names = [file.name for file in folder.iterdir() if not file.name.startswith(".")]
    if foreign := sorted(set(names) - set(WRITTEN)):
        raise FileExistsError(
            f"path {str(folder)!r} holds {', '.join(foreign)}, which might be loaded with the new files; "
            "a new or empty folder would do"
        )
    (folder / "config.json").unlink(missing_ok=True)
    content = safetensors.torch.save(weights, metadata={"format": "pt"})
    write_atomically(folder / WEIGHTS, lambda file: file.write(content))
    ends = {"bos_token_id": tokenizer.end_of_text, "eos_token_id": tokenizer.end_of_text}
    _write_json(folder / "generation_config.json", ends | {"pad_token_id": tokenizer.end_of_text})
    _write_json(folder / "tokenizer.json", fast_tokenizer)
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "pad_token": END_OF_TEXT,
            "model_max_length": model.config.context_length,
            "clean_up_tokenization_spaces": False,
            "split_special_tokens": True,  # what a user types never ends a text, as in Tokenizer.encode
        },
    )
    _write_json(folder / "config.json", config | ends | {"dtype": "float32"})
    return folder


def _layout(config: GPTConfig) -> Callable[[GPT], tuple[dict[str, Any], dict[str, Tensor]]]:
    """What describes a model of this config as transformers has it."""
    gpt2 = {"position": "learned", "norm": "layernorm", "mlp": "gelu", "kv_heads": config.n_heads}
    neox = gpt2 | {"position": "rotary"}
    llama = {"position": "rotary", "norm": "rmsnorm", "mlp": "swiglu", "bias": False}
    obstacles = []
    for theirs, describe, needed in (
        ("GPT2LMHeadModel", _as_gpt2, gpt2),
        ("GPTNeoXForCausalLM", _as_neox, neox),
        ("LlamaForCausalLM", _as_llama, llama),
    ):
        wrong = [f"{part} = {value!r}" for part, value in needed.items() if getattr(config, part) != value]
        if not wrong:
            return describe
        obstacles.append(f"{theirs} would need {', '.join(wrong)}")
    raise ValueError(f"model has a layout that transformers does not know: {'; '.join(obstacles)}")


def _as_gpt2(model: GPT) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """config.json and the tensors of a GPT2LMHeadModel."""
    config = model.config
    weights = {}
    for ours, weight in _own_weights(model).items():
        name = published_name(ours)
        weights[name] = _turned(name, weight)
        if not config.bias and name not in ("wte.weight", "wpe.weight", "lm_head.weight"):
            weights[name.replace("weight", "bias")] = torch.zeros(len(weight))
    described = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_mlp,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "tie_word_embeddings": config.tie_embeddings,
    }
    head = {"lm_head.weight": weights.pop("lm_head.weight")} if "lm_head.weight" in weights else {}
    return described, {f"transformer.{name}": weight for name, weight in weights.items()} | head


def _as_neox(model: GPT) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """config.json and the tensors of a GPTNeoXForCausalLM."""
    config = model.config
    weights = {}
    for ours, weight in _own_weights(model).items():
        if ".attention.qkv." in ours:
            queries, keys, values = weight.split(model.blocks[0].attention.widths)
            parts = torch.stack([_by_halves(queries, config.d_head), _by_halves(keys, config.d_head), values])
            parts = parts.unflatten(
                1, (config.n_heads, config.d_head)
            )  # (3, width, …) -> (3, head, d_head, …)
            weight = parts.transpose(0, 1).flatten(0, 2)  # (head, 3, d_head, …) -> (3 * width, …)
        name = _renamed(ours, NEOX_PARTS, "gpt_neox.layers")
        weights[name] = weight
        if not config.bias and not name.endswith(("embed_in.weight", "embed_out.weight")):
            weights[name.replace("weight", "bias")] = torch.zeros(len(weight))
    described = {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "hidden_size": config.d_model,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "hidden_act": "gelu_new",
        "layer_norm_eps": 1e-5,
        "use_parallel_residual": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
        "attention_bias": True,
        "attention_dropout": config.dropout,
        "hidden_dropout": config.dropout,
        "tie_word_embeddings": config.tie_embeddings,
    }
    return described, weights


def _as_llama(model: GPT) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """config.json and the tensors of a LlamaForCausalLM."""
    config = model.config
    weights = {}
    for ours, weight in _own_weights(model).items():
        if not ours.endswith("attention.qkv.weight"):
            weights[_renamed(ours, LLAMA_PARTS, "model.layers")] = weight
            continue
        layer = f"model.layers.{ours.split('.')[1]}.self_attn"
        queries, keys, values = weight.split(model.blocks[0].attention.widths)
        weights[f"{layer}.q_proj.weight"] = _by_halves(queries, config.d_head)
        weights[f"{layer}.k_proj.weight"] = _by_halves(keys, config.d_head)
        weights[f"{layer}.v_proj.weight"] = values.contiguous()
    described = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "hidden_size": config.d_model,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.kv_heads,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": config.dropout,
        "tie_word_embeddings": config.tie_embeddings,
    }
    return described, weights


def _by_halves(weight: Float[Tensor, "width *d_model"], d_head: int) -> Float[Tensor, "width *d_model"]:
    """Rows, or a bias, in the order that the rotary positions of Llama and GPT-NeoX need.

    They turn (x[i], x[i + d_head / 2]) where ours turn neighbors (x[2i], x[2i + 1]). Queries and keys are
    sorted alike, so their products stay.
    """
    pairs = weight.unflatten(0, (-1, d_head // 2, 2))  # (width, …) -> (head, pair, 2, …)
    return pairs.transpose(1, 2).flatten(0, 2)  # (head, 2, pair, …) -> (width, …)


def _own_weights(model: GPT) -> dict[str, Tensor]:
    """The model's weights by name, a tied one once."""
    return {
        name: weight.detach().to("cpu", torch.float32).contiguous()
        for name, weight in model.named_parameters()
    }


# ---------------------------------------------------------------------------------------------------- files


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    try:
        given = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is cut off, or no JSON: {error}") from None
    if not isinstance(given, dict):
        raise ValueError(f"{str(path)!r} needs to hold one JSON object, not a {type(given).__name__}")
    return given


def _write_json(path: Path, values: dict[str, Any]) -> None:
    content = (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode()
    write_atomically(path, lambda file: file.write(content))
