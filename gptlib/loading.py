"""The one door: `load` opens a model, wherever it lies, and `save` writes one that `load` opens again."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from gptlib.checks import check_kind, check_path
from gptlib.files import read_tensors
from gptlib.formats.folders import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    AnyTokenizer,
    check_no_pickle,
    read_file,
    read_folder,
    write_folder,
)
from gptlib.formats.hub import PUBLISHED, fetch, published
from gptlib.model.checks import check_vocabulary
from gptlib.model.gpt import GPT
from gptlib.shipped import check_shipped, is_model_name, model_folder, model_names
from gptlib.text.tokenizer import load_tokenizer
from gptlib.training.checkpoints import CHECKPOINT_FORMAT, CHECKPOINT_NAME, MODEL_FOLDER, read_model
from gptlib.training.devices import pick_device
from gptlib.training.finetuning import ADAPTER_FORMAT, load_adapter
from gptlib.training.lora import lora_layers, without_lora


def load(
    name_or_path: str | os.PathLike[str],
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[GPT, AnyTokenizer | None]:
    """A model, in eval mode, and the tokenizer that belongs to it (None where none was saved with it).

    name_or_path is one of these:

    - the name of a model that comes with the course, such as "storyteller";
    - gpt2, gpt2-medium, gpt2-large or gpt2-xl: what OpenAI published, downloaded once (see `formats.hub`);
    - a folder that `save` wrote, or one of Hugging Face's with a GPT-2, GPT-NeoX, Llama, Mistral, Qwen3 or
      Mixtral in it that our GPT can express;
    - the folder of a training run, finished or stopped;
    - a safetensors file: an adapter, which is put on the model that it names; a checkpoint; a snapshot; or a
      GPT-2, whose shapes tell its config.

    The model is on the CPU unless device says otherwise; it has the dtype that it was saved with, which is
    float32 for what others made, unless dtype says otherwise.

    Raises FileNotFoundError for what is not there; ValueError for what cannot be read, or is not what it
    says; ConnectionError when a published model is not on this machine and cannot be fetched.
    """
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError(f"dtype is {dtype!r}; it needs a floating one, such as torch.bfloat16, or None")
    place = None if device is None else pick_device(device)
    model, tokenizer = _read(name_or_path)
    return model.to(device=place, dtype=dtype), tokenizer


def save(folder: str | os.PathLike[str], model: nn.Module, tokenizer: AnyTokenizer | None) -> Path:
    """Write a folder from which `load` returns the model with equal logits, and the tokenizer; its path.

    Where the layout has a counterpart in transformers, that library reads the folder too, and writes the
    same text: GPT2LMHeadModel has position="learned", GPTNeoXForCausalLM position="rotary", both with
    norm="layernorm", mlp="gelu" and no shared keys. They always have biases, so a model without gets zeros.
    LlamaForCausalLM has position="rotary", norm="rmsnorm", mlp="swiglu" and bias=False; with a window besides
    it is a MistralForCausalLM, with qk_norm a Qwen3ForCausalLM, with experts a MixtralForCausalLM. The
    tokenizer needs <|endoftext|> and GPT-2's pattern, and puts that token before each text as `generate`
    does. Any other model is written under our own names, and transformers refuses its model_type, "gptlib":
    it has no counterpart of copy heads, say.

    Half precision stays half, a compiled model is written as what was compiled, and LoRA is added to the
    weights, in the file alone. The folder is made where there is none; what an earlier call wrote is
    replaced.

    Raises before it writes anything: ValueError for a model that is not what its config says (hooked,
    rebuilt, with nan in its weights or without numbers) or not the tokenizer's, and for a folder by the name
    of a model that `load` knows; FileExistsError for a folder that holds other files, by name.
    """
    check_path("folder", folder)
    if is_model_name(str(folder)):
        raise ValueError(f"folder is {str(folder)!r}, which load takes for that model; './{folder}' would do")
    return write_folder(Path(folder), _plain(model), tokenizer)


def _plain(model: nn.Module) -> nn.Module:
    """The model without what is around it and beside its weights."""
    model = getattr(model, "_orig_mod", model)  # where torch.compile keeps what it was given
    layers = lora_layers(model)
    if any(layer.unmerged is None and layer.weight.dtype.itemsize < 4 for layer in layers):
        raise ValueError(
            f"model has LoRA in {layers[0].weight.dtype}, in which adding it to the weights rounds them; "
            "without_lora(model) does that, and its result can be saved"
        )
    return without_lora(model) if layers else model


def _read(name_or_path: str | os.PathLike[str]) -> tuple[GPT, AnyTokenizer | None]:
    check_kind("name_or_path", name_or_path, (str, os.PathLike), "a model's name, or a path")
    path = Path(name_or_path)
    if isinstance(name_or_path, str) and (name := published(name_or_path)) is not None:
        path = fetch(name)
    elif isinstance(name_or_path, str) and is_model_name(name_or_path):
        path = model_folder(name_or_path)
    check_no_pickle(path)
    if path.name == WEIGHTS and (path.parent / CONFIG).is_file():
        path = path.parent
    check_shipped(path)
    if path.is_dir():
        return _read_folder(path)
    if path.is_file():
        return _read_file(path)
    raise FileNotFoundError(
        f"name_or_path is {str(name_or_path)!r}: there is no such file or folder, and no model of this name; "
        f"with the course comes {', '.join(model_names()) or 'none'}, published are {', '.join(PUBLISHED)}"
    )


def _read_folder(folder: Path) -> tuple[GPT, AnyTokenizer | None]:
    # A run's checkpoint is never older than its model.
    if (folder / CHECKPOINT_NAME).is_file():
        model = read_model(folder / CHECKPOINT_NAME)
        if not (folder / TOKENIZER).is_file():
            return model, None
        tokenizer = load_tokenizer(folder / TOKENIZER)
        check_vocabulary(tokenizer, model.config, f"{str(folder)!r}: ")
        return model, tokenizer
    if not (folder / CONFIG).is_file():
        if (folder / MODEL_FOLDER / CONFIG).is_file():
            return read_folder(folder / MODEL_FOLDER)
        raise FileNotFoundError(
            f"{str(folder)!r} holds no whole model: neither {CONFIG}, nor a training run's {CHECKPOINT_NAME}"
        )
    return read_folder(folder)


def _read_file(path: Path) -> tuple[GPT, AnyTokenizer | None]:
    about = read_tensors(path, prefix="none of them")[1]
    if about.get("format") == CHECKPOINT_FORMAT:
        return read_model(path), None
    if about.get("format") != ADAPTER_FORMAT:
        return read_file(path), None
    return _read_adapter(path, about)


def _read_adapter(path: Path, about: dict[str, str]) -> tuple[GPT, AnyTokenizer]:
    by_hand = "gptlib.training.finetuning.load_adapter(path, model, tokenizer) puts it on a model of yours"
    if "base_name" not in about:
        raise ValueError(f"{str(path)!r} is an adapter that does not name its model; {by_hand}")
    name = about["base_name"]
    try:
        base, tokenizer = _read(name)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{str(path)!r} is an adapter of the model {name!r}, which is not there any more; bring it back, "
            f"or {by_hand}"
        ) from None
    model, larger, _ = load_adapter(path, base, tokenizer)
    return model, larger
