"""A model and its tokenizer in a folder, in and out: the one reader and the one writer of all layouts.

config.json            the shape as the layout says it, and the exact GPTConfig under the key "gptlib"
model.safetensors      the weights, under the layout's names
tokenizer.json         the tokenizer, as the package `tokenizers` reads it, or else as ours

Where a layout has a counterpart in transformers the folder is what that library reads. Only safetensors
files are read and written. Older files (.bin, .pt) are pickles: opening one runs whatever program its author
put in.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gptlib.extras import MissingExtra
from gptlib.files import read_json, read_tensors, read_text, write_json, write_tensors
from gptlib.formats.fast_tokenizer import from_fast_tokenizer, to_fast_tokenizer
from gptlib.formats.layouts import (
    GPT2,
    LAYOUTS,
    OWN,
    Layout,
    config_from_fields,
    config_from_shapes,
    layout_for,
)
from gptlib.formats.wrapped_tokenizer import WrappedTokenizer
from gptlib.model.checks import check_vocabulary
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.model.structure import empty_gpt, find_change
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.tokenizer import Tokenizer, load_tokenizer
from gptlib.text.vocabulary import END_OF_TEXT, FORMAT

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
WRITTEN = (CONFIG, WEIGHTS, TOKENIZER, "generation_config.json", TOKENIZER_CONFIG)
OWN_KEY = "gptlib"
MODEL_FORMAT = "gptlib model 1"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.float16)}
DTYPES |= {"bfloat16": torch.bfloat16, "float64": torch.float64}
OUR_ENDS = dict.fromkeys(("bos_token", "eos_token", "pad_token"), END_OF_TEXT)

AnyTokenizer = Tokenizer | CharacterTokenizer | WrappedTokenizer


# ------------------------------------------------------------------------------------------------------- in


def read_folder(folder: Path) -> tuple[GPT, AnyTokenizer | None]:
    """The model in a folder, on the CPU in eval mode, and its tokenizer, None where it has no files of one.

    It is of the dtype that it had when `write_folder` wrote it; from another library's folder it is float32.
    The tokenizer is None with a warning, too, where it is of a kind that nothing here can read.
    Raises FileNotFoundError where something is not there, and ValueError for what cannot be read, by name.
    """
    given, where = read_json(folder / CONFIG), repr(str(folder / CONFIG))
    layout, config, dtype = read_config(given, where)
    model = build(layout, config, _read_all(folder), repr(str(folder)), dtype)
    tokenizer = _read_tokenizer(folder, given.get("eos_token_id"))
    if tokenizer is not None:
        check_vocabulary(tokenizer, model.config, f"{str(folder)!r}: ")
    return model, tokenizer


def read_file(path: Path) -> GPT:
    """The model in one safetensors file: one of ours, or a GPT-2 whose shapes tell its config.

    Raises as `read_folder` does.
    """
    tensors, about = read_tensors(path)
    if "model_config" not in about:
        tensors = _cleaned(tensors, GPT2)
        return build(GPT2, config_from_shapes(tensors, repr(str(path))), tensors, repr(str(path)))
    try:
        given = json.loads(about["model_config"])
        layout, dtype = LAYOUTS[about.get("layout", OWN.model_type)], DTYPES[about.get("dtype", "float32")]
    except (ValueError, RecursionError, KeyError):
        raise ValueError(f"{str(path)!r} does not tell the config, layout and dtype of its model") from None
    return build(layout, config_from_fields(given, repr(str(path))), tensors, repr(str(path)), dtype)


def check_no_pickle(path: Path) -> None:
    """Raise ValueError for a file that may be a pickle, by its name."""
    if path.suffix in PICKLES:
        raise ValueError(
            f"{str(path)!r} is a pickle, and opening one runs whatever program is in it; load reads "
            "safetensors alone. Where you trust the file, transformers can convert it: "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder)"
        )


def build(
    layout: Layout,
    config: GPTConfig,
    tensors: Mapping[str, Tensor],
    where: str,
    dtype: torch.dtype = torch.float32,
) -> GPT:
    """The model with these tensors of a layout, once every one of them is accounted for.

    Raises ValueError unless they are those of the config, each of its name and shape.
    """
    if not layout.fits(config):
        raise ValueError(f"{where} says it has {layout.model_type}'s layout, which its config does not fit")
    stored, tensors = layout.stored(config), _cleaned(tensors, layout)
    if stored.tie_embeddings:
        tensors = _tied(tensors, layout, stored, where)
    model = empty_gpt(stored)
    own = dict(model.named_parameters())  # a tied one once
    shapes = {name: tuple(weight.shape) for name, weight in layout.publish(own, stored).items()}
    problems = [f"missing {name}" for name in shapes if name not in tensors]
    for name, tensor in tensors.items():
        if name not in shapes:
            problems.append(f"unexpected {name}")
        elif tuple(tensor.shape) != shapes[name]:
            problems.append(f"misshapen {name}: {tuple(tensor.shape)}, expected {shapes[name]}")
        elif not tensor.is_floating_point():
            problems.append(f"{name} holds {tensor.dtype}, no floating-point numbers")
    if problems:
        raise ValueError(f"{where} is not the model that its config describes: {'; '.join(problems)}")
    weights = layout.restore(tensors, stored)
    biases = [weights[name] for name in weights if name.endswith(".bias")]
    if not config.bias and not any(bias.any() for bias in biases):  # unless they were trained since
        model = empty_gpt(config)
    kept = {name: weights[name].to(dtype) for name, _ in model.named_parameters()}
    model.load_state_dict(kept, assign=True, strict=False)
    if config.tie_embeddings:
        model.unembedding.weight = model.token_embedding.weight
    return model.to(dtype).eval()


def read_config(given: dict[str, Any], where: str) -> tuple[Layout, GPTConfig, torch.dtype]:
    """The layout that a config.json is of, the config that it describes, and the dtype of the model."""
    if "model_type" not in given and "context_length" in given:
        return OWN, config_from_fields(given, where), torch.float32
    model_type, noted = given.get("model_type"), given.get(OWN_KEY)
    if not isinstance(model_type, str) or model_type not in LAYOUTS:
        raise ValueError(
            f"{where} has the model_type {model_type!r}; it needs to be one of {', '.join(LAYOUTS)}"
        )
    layout = LAYOUTS[model_type]
    if layout is not OWN and noted is None:
        return layout, _described(layout, given, where), torch.float32
    whole = isinstance(noted, dict) and isinstance(noted.get("config"), dict)
    if not whole or noted.get("dtype") not in list(DTYPES):
        raise ValueError(
            f"{where} is not whole: {OWN_KEY!r} needs a config, and a dtype among {', '.join(DTYPES)}"
        )
    exact, dtype = config_from_fields(noted["config"], where), DTYPES[noted["dtype"]]
    # Somebody may have changed what transformers reads; then that holds.
    if layout is not OWN:
        described = layout.read({"model_type": layout.model_type} | layout.describe(exact), where)
        if (read := _described(layout, given, where)) != described:
            return layout, read, dtype
    return layout, exact, dtype


def _described(layout: Layout, given: dict[str, Any], where: str) -> GPTConfig:
    try:
        return layout.read(given, where)
    except (TypeError, ValueError) as error:
        told = str(error)
        raise ValueError(told if told.startswith(where) else f"{where} cannot be read: {told}") from None


def _read_all(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, from its one file or from the files that its index names."""
    if (folder / WEIGHTS).is_file():
        return read_tensors(folder / WEIGHTS)[0]
    index = folder / f"{WEIGHTS}.index.json"
    if index.is_file():
        places = read_json(index).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
            raise ValueError(f"{str(index)!r} has no weight_map that names a file for each tensor")
        shards = {file: read_tensors(folder / Path(file).name)[0] for file in sorted(set(places.values()))}
        lost = [name for name, file in places.items() if name not in shards[file]]
        if lost:
            raise ValueError(f"{str(index)!r} names tensors that are not in their files: {', '.join(lost)}")
        return {name: tensor for shard in shards.values() for name, tensor in shard.items()}
    for path in sorted(folder.iterdir()):
        check_no_pickle(path)
    raise FileNotFoundError(f"{str(folder)!r} holds neither {WEIGHTS} nor {index.name}")


def _cleaned(tensors: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Names without the layout's prefix, and no tensors that are no weights."""
    names = {name: name.removeprefix(layout.prefix) for name in tensors}
    ignored = re.compile(layout.ignored)
    return {short: tensors[name] for name, short in names.items() if not ignored.fullmatch(short)}


def _ends(layout: Layout, config: GPTConfig) -> tuple[str, str]:
    """The layout's names of the token embedding and of the unembedding."""
    return tuple(
        layout.pieces(f"{part}.weight", config)[0].name for part in ("token_embedding", "unembedding")
    )


def _tied(tensors: dict[str, Tensor], layout: Layout, config: GPTConfig, where: str) -> dict[str, Tensor]:
    """The tensors with the embedding under its own name alone. It may be there under either, or both."""
    embedding, head = _ends(layout, config)
    if head not in tensors:
        return tensors
    if embedding in tensors and not torch.equal(tensors[head], tensors[embedding]):
        raise ValueError(f"{where}: {head} is not {embedding}, though the config ties them")
    renamed = {embedding: tensors[head]} | tensors
    del renamed[head]
    return renamed


def _read_tokenizer(folder: Path, end_of_text: Any) -> AnyTokenizer | None:
    path = folder / TOKENIZER
    if not path.is_file():
        return _read_two_files(folder)
    try:
        contents = read_json(path)
    except ValueError:
        if (tokenizer := _read_two_files(folder)) is None:
            raise
        return tokenizer
    if contents.get("format") == FORMAT:
        return load_tokenizer(path)
    with contextlib.suppress(ValueError):
        return from_fast_tokenizer(contents)
    try:
        # Of several tokens that end a text, the first.
        end = end_of_text[0] if isinstance(end_of_text, list) and end_of_text else end_of_text
        return WrappedTokenizer(read_text(path), end if type(end) is int else None)
    except MissingExtra as error:
        reason = f"it is of another kind than GPT-2's, and {error}"
    except ValueError as error:
        reason = str(error)
    if (tokenizer := _read_two_files(folder)) is None:
        warnings.warn(f"the model comes without a tokenizer: {str(path)!r}: {reason}", stacklevel=2)
    return tokenizer


def _read_two_files(folder: Path) -> Tokenizer | None:
    """The tokenizer in GPT-2's own files, where they are there and of GPT-2's kind."""
    about = folder / TOKENIZER_CONFIG
    kind = read_json(about).get("tokenizer_class") if about.is_file() else None
    if kind not in (None, "GPT2Tokenizer", "GPT2TokenizerFast"):  # Qwen's, say, cuts text by another pattern
        return None
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return Tokenizer.from_gpt2(folder / "merges.txt", folder / "vocab.json")
    return None


# ------------------------------------------------------------------------------------------------------ out


def check_writable(model: nn.Module, tokenizer: AnyTokenizer | None) -> None:
    """Raise ValueError or TypeError for a model that its config and its weights do not tell whole."""
    parameters = dict(model.named_parameters())
    if where := [name for name, weight in parameters.items() if weight.is_meta]:
        raise ValueError(f"model has no numbers: {where[0]} is on the meta device; load its weights first")
    if (change := find_change(model)) is not None:
        raise ValueError(
            f"model is not what its config says: {change}; only what GPT(config) builds can be written, with "
            "any weights"
        )
    dtypes = {weight.dtype for weight in parameters.values()}
    if len(dtypes) > 1 or not dtypes <= set(DTYPES.values()):
        raise ValueError(
            f"model has weights of {', '.join(sorted(map(str, dtypes)))}; it needs one of "
            f"{', '.join(DTYPES)}: model.float() would do"
        )
    if model.config.tie_embeddings and model.unembedding.weight is not model.token_embedding.weight:
        raise ValueError(
            "model has an unembedding of its own, though its config has tie_embeddings = True; it needs "
            "model.unembedding.weight = model.token_embedding.weight"
        )
    spoilt = [name for name, weight in parameters.items() if not weight.isfinite().all()]
    if spoilt:
        raise ValueError(f"model holds nan or inf in {', '.join(spoilt)}; it needs finite weights")
    if not isinstance(tokenizer, AnyTokenizer | None):
        raise TypeError(f"tokenizer is a {type(tokenizer).__name__}; it needs one of gptlib's, or None")
    if tokenizer is not None:
        check_vocabulary(tokenizer, model.config)


def write_folder(
    folder: Path,
    model: nn.Module,
    tokenizer: AnyTokenizer | None,
    stored: torch.dtype | None = None,
    beside: tuple[str, ...] = (),
) -> Path:
    """Write a folder that `read_folder` reads, and transformers too where the layout has a counterpart there.

    stored: the dtype of the numbers in the file, if not the model's.
    beside: names of other files that may lie there.

    config.json, without which nothing loads a folder, is removed first and written last, so a half-written
    folder never loads.
    Raises, before anything is written, as `check_writable` does, and FileExistsError for a folder with other
    files.
    """
    check_writable(model, tokenizer)
    config, dtype = model.config, model.token_embedding.weight.dtype
    fast = _fast(tokenizer)
    wrapped = isinstance(tokenizer, WrappedTokenizer)
    layout = layout_for(config) if tokenizer is None or wrapped or fast is not None else OWN
    tensors = _published(layout, model, stored or dtype)
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    if foreign := sorted(name for name in names if name not in WRITTEN + beside and name[0] != "."):
        raise FileExistsError(
            f"folder {str(folder)!r} holds {', '.join(foreign)}, which might be loaded with the new files; "
            "a new or empty folder would do"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in WRITTEN:
        (folder / name).unlink(missing_ok=True)
    about = {"format": MODEL_FORMAT, "layout": layout.model_type, "dtype": _name(dtype)}
    write_tensors(folder / WEIGHTS, tensors, about | {"model_config": json.dumps(asdict(config))})
    described = {"architectures": [layout.architecture], "model_type": layout.model_type}
    described |= layout.describe(config)
    if wrapped:
        tokenizer.save(folder / TOKENIZER)
        described |= {"eos_token_id": tokenizer.end}
        if layout is not OWN:
            ends = {"eos_token": None if tokenizer.end is None else tokenizer.pieces([tokenizer.end])[0]}
            write_json(folder / TOKENIZER_CONFIG, _tokenizer_config(config, ends))
    elif layout is OWN:
        if tokenizer is not None:
            tokenizer.save(folder / TOKENIZER)
    elif tokenizer is not None:
        end = tokenizer.end_of_text
        ends = {"bos_token_id": end, "eos_token_id": end}
        described |= ends
        write_json(folder / "generation_config.json", ends | {"pad_token_id": end})
        write_json(folder / TOKENIZER, fast)
        write_json(folder / TOKENIZER_CONFIG, _tokenizer_config(config, OUR_ENDS))
    noted = {"config": asdict(config), "dtype": _name(dtype)}
    write_json(folder / CONFIG, described | {"dtype": _name(stored or dtype), OWN_KEY: noted})
    return folder


def write_snapshot(path: str | os.PathLike[str], model: GPT) -> Path:
    """Write one file that `read_file` reads, with weights of 16 bits: how a model was along its training.

    Raises ValueError where the weights do not fit into 16 bits.
    """
    about = {"format": MODEL_FORMAT, "model_config": json.dumps(asdict(model.config))}
    return write_tensors(path, _published(OWN, model, torch.float16), about)


def _published(layout: Layout, model: GPT, dtype: torch.dtype) -> dict[str, Tensor]:
    weights = {name: weight.detach().to("cpu", dtype) for name, weight in model.named_parameters()}
    spoilt = [name for name, weight in weights.items() if not weight.isfinite().all()]
    if spoilt:
        largest = torch.finfo(dtype).max
        raise ValueError(
            f"model holds numbers beyond {largest:g}, the largest of {dtype}, in {', '.join(spoilt)}"
        )
    published = layout.publish(weights, model.config)
    head = _ends(layout, model.config)[1]
    return {name if name == head else layout.prefix + name: each for name, each in published.items()}


def _fast(tokenizer: AnyTokenizer | None) -> dict[str, Any] | None:
    """What tokenizer.json holds for transformers, if it says all that this tokenizer is."""
    if not isinstance(tokenizer, Tokenizer):
        return None
    try:
        contents = to_fast_tokenizer(tokenizer)
        return contents if from_fast_tokenizer(contents) == tokenizer else None
    except ValueError:
        return None


def _tokenizer_config(config: GPTConfig, ends: dict[str, str | None]) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **ends,
        "model_max_length": config.context_length,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,  # what a user types never ends a text, as in Tokenizer.encode
    }


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
