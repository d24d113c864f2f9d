"""Tensors, and what is to be known about them, in one safetensors file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gptlib.files import write_atomically


def write_tensors(path: str | os.PathLike[str], tensors: dict[str, Tensor], metadata: dict[str, str]) -> Path:
    """Write tensors and what is to be known about them, "format" among it, to one safetensors file.

    Whole or not at all, and the same bytes for the same contents.
    """
    # As one entry: several are written in an order that changes, so equal models would make unequal files.
    about = {"about": json.dumps(metadata)}
    whole = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()}, about)
    return write_atomically(path, lambda file: file.write(whole))


def read_tensors(path: Path, *formats: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `write_tensors` wrote, if its format is one of `formats`.

    Raises FileNotFoundError when there is no such file; ValueError when it is cut off, or of another format.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("about", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ValueError(f"{str(path)!r} is cut off or is not a safetensors file ({error})") from None
    if metadata.get("format") not in formats:
        raise ValueError(
            f"{str(path)!r} must be of format {formats[0]!r}, but its format is {metadata.get('format')!r}"
        )
    return tensors, metadata
