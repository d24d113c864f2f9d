"""GPT-2 in and out: published weights become our model, our model a folder that others load.

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
from safetensors import SafetensorError
from torch import Tensor

from gptlib.files import write_atomically
from gptlib.formats.fast_tokenizer import from_fast_tokenizer, to_fast_tokenizer
from gptlib.formats.hub import PUBLISHED, fetch
from gptlib.formats.layouts import (
    LLAMA_KIN,
    NEOX,
    Layout,
    Weights,
    plain,
    publish_llama,
    read_llama_config,
    renamed,
    restore_llama,
)
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.text.tokenizer import Tokenizer
from gptlib.text.vocabulary import END_OF_TEXT

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

# What GPT-2's config.json may say besides sizes -> the values that our GPT can express, the default first.
EXPRESSIBLE: dict[str, tuple[Any, ...]] = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # two names of one function
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
        return _build_gpt2(_config_from_shapes(weights, n_heads, path), weights, path), None
    raise FileNotFoundError(
        f"name_or_path is {str(name_or_path)!r}: no file or folder, and none of the published names "
        f"{', '.join(PUBLISHED)}"
    )


def published_name(name: str) -> str:
    """GPT-2's name for one of our parameters: blocks.3.mlp.up.weight -> h.3.mlp.c_fc.weight.

    Raises KeyError for a part that GPT-2 does not have.
    """
    return renamed(name, GPT2_PARTS, "h")


def is_transposed(name: str) -> bool:
    """Whether GPT-2 stores the tensor of this published name as (in, out), where ours is (out, in)."""
    return re.search(r"c_(attn|proj|fc)\.weight$", name) is not None


def load_hugging_face(path: str | os.PathLike[str]) -> tuple[GPT, Tokenizer | None]:
    """The model in a Hugging Face folder, and its tokenizer, None where there are no files of one.

    It may be a GPT-2, Llama, Mistral, Qwen3 or Mixtral: what config.json says. As `load_gpt2`, it raises
    FileNotFoundError where something is not there, and ValueError for what it cannot read, by name.
    """
    folder = Path(path)
    given = _read_json(folder / "config.json")
    model_type = given.get("model_type")
    if model_type == "gpt2":
        return load_gpt2(folder)
    if model_type not in LLAMA_KIN:
        raise ValueError(
            f"{str(folder)!r} holds a model_type of {model_type!r}; it needs to be one of "
            f"gpt2, {', '.join(LLAMA_KIN)}"
        )
    config = read_llama_config(given, repr(str(folder / "config.json")))
    return _with_tokenizer(_build_llama(config, _read_folder(folder), folder), folder)


def _load_folder(folder: Path) -> tuple[GPT, Tokenizer | None]:
    config = _read_config(folder / "config.json")
    return _with_tokenizer(_build_gpt2(config, _published_names(_read_folder(folder)), folder), folder)


def _with_tokenizer(model: GPT, folder: Path) -> tuple[GPT, Tokenizer | None]:
    tokenizer = _read_tokenizer(folder)
    if tokenizer is not None and tokenizer.vocab_size != model.config.vocab_size:
        raise ValueError(
            f"{str(folder)!r}: the tokenizer has {tokenizer.vocab_size} tokens and config.json "
            f"vocab_size = {model.config.vocab_size}; they need to be equal"
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
        norm_eps=given.get("layer_norm_epsilon", 1e-5),
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


def _build(
    config: GPTConfig,
    weights: dict[str, Tensor],
    path: Path,
    publish: Callable[[Weights], dict[str, Tensor]],
    restore: Callable[[Weights, list[str]], dict[str, Tensor]],
    embedding: str,
) -> GPT:
    """The model with these weights, once every one of them is accounted for.

    publish gives all our weights their published names and shapes, restore makes ours of them; embedding is
    the published name of the token embedding.
    """
    with torch.device("meta"):  # shapes alone: no first weights are drawn, only to be thrown away
        model = GPT(config)
    own = dict(model.named_parameters())  # a tied one once
    head = weights.get("lm_head.weight")
    if config.tie_embeddings and head is not None:
        if not torch.equal(head, weights.get(embedding, head)):
            raise ValueError(f"{str(path)!r}: lm_head.weight is not {embedding}, though the config ties them")
        weights = {name: weight for name, weight in weights.items() if weight is not head}
    shapes = {name: tuple(weight.shape) for name, weight in publish(own).items()}
    problems = [f"missing {name}" for name in shapes if name not in weights]
    for name, weight in weights.items():
        if name not in shapes:
            problems.append(f"unexpected {name}")
        elif tuple(weight.shape) != shapes[name]:
            problems.append(f"misshapen {name}: {tuple(weight.shape)}, expected {shapes[name]}")
        elif not weight.is_floating_point():
            problems.append(f"{name} holds {weight.dtype}, no floating-point numbers")
    if problems:
        raise ValueError(f"{str(path)!r} is not the model that its config describes: {'; '.join(problems)}")
    # Copies, so that the model does not depend on the file any more.
    restored = restore(weights, list(own))
    state = {name: weight.to(torch.float32, copy=True) for name, weight in restored.items()}
    model.load_state_dict(state, assign=True, strict=False)
    if config.tie_embeddings:
        model.unembedding.weight = model.token_embedding.weight
    return model.eval()


def _build_gpt2(config: GPTConfig, weights: dict[str, Tensor], path: Path) -> GPT:
    def publish(own: Weights) -> dict[str, Tensor]:
        return {published_name(ours): _turned(published_name(ours), weight) for ours, weight in own.items()}

    def restore(published: Weights, names: list[str]) -> dict[str, Tensor]:
        theirs = {ours: published_name(ours) for ours in names}
        return {ours: _turned(name, published[name]) for ours, name in theirs.items()}

    return _build(config, weights, path, publish, restore, "wte.weight")


def _build_llama(config: GPTConfig, weights: dict[str, Tensor], path: Path) -> GPT:
    def publish(own: Weights) -> dict[str, Tensor]:
        return publish_llama(own, config)

    def restore(published: Weights, names: list[str]) -> dict[str, Tensor]:
        return restore_llama(published, names, config)

    return _build(config, weights, path, publish, restore, "model.embed_tokens.weight")


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

    Six layouts have a counterpart there, of which the first two need norm="layernorm", mlp="gelu" and no
    shared keys: GPT2LMHeadModel with position="learned", GPTNeoXForCausalLM with position="rotary". Both
    always have biases, so a model without them gets zeros, and equal logits. LlamaForCausalLM has
    position="rotary", norm="rmsnorm", mlp="swiglu" and bias=False; with a window besides it is a
    MistralForCausalLM, with qk_norm a Qwen3ForCausalLM, with experts a MixtralForCausalLM. The tokenizer puts
    <|endoftext|> before each text, as `generate` does. Weights are float32.

    The folder is made where there is none; what an earlier call wrote is replaced. config.json, without which
    nothing loads a folder, goes first and comes last, so a half-written one never loads. Returns the path.

    Raises:
        ValueError: another layout, by the settings that stand in its way; a tokenizer that is not the
            model's, has no <|endoftext|>, or another split pattern than GPT-2's.
        FileExistsError: the folder holds files that this function does not write, by name.
    """
    layout = _layout(model.config)
    if tokenizer.vocab_size != model.config.vocab_size:
        raise ValueError(
            f"tokenizer has {tokenizer.vocab_size} tokens and the model {model.config.vocab_size}; "
            "a model writes with the tokenizer that it was trained with"
        )
    fast_tokenizer = to_fast_tokenizer(tokenizer)
    weights = layout.publish(_own_weights(model), model.config)
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
    _write_json(folder / "config.json", layout.describe(model.config) | ends | {"dtype": "float32"})
    return folder


def _layout(config: GPTConfig) -> Layout:
    """The first of transformers' layouts that a model of this config has."""
    obstacles = {}
    for layout in (GPT2, NEOX, *LLAMA_KIN.values()):
        needed = layout.needs(config)
        wrong = [f"{part} = {value!r}" for part, value in needed.items() if getattr(config, part) != value]
        if not wrong:
            return layout
        obstacles[layout] = wrong
    nearest = min(LLAMA_KIN.values(), key=lambda kin: len(obstacles[kin]))  # they differ in a part or two
    told = (f"{it.architecture} would need {', '.join(obstacles[it])}" for it in (GPT2, NEOX, nearest))
    raise ValueError(f"model has a layout that transformers does not know: {'; '.join(told)}")


def _gpt2_needs(config: GPTConfig) -> dict[str, Any]:
    return plain(config) | {"position": "learned", "norm": "layernorm", "mlp": "gelu"}


def _describe_gpt2(config: GPTConfig) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
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


def _publish_gpt2(weights: Weights, config: GPTConfig) -> dict[str, Tensor]:
    published = {}
    for ours, weight in weights.items():
        name = published_name(ours)
        prefix = "" if name.startswith("lm_head") else "transformer."
        published[prefix + name] = _turned(name, weight)
        if not config.bias and name not in ("wte.weight", "wpe.weight", "lm_head.weight"):
            published[prefix + name.replace("weight", "bias")] = torch.zeros(len(weight))
    return published


GPT2 = Layout("GPT2LMHeadModel", _gpt2_needs, _describe_gpt2, _publish_gpt2)


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
