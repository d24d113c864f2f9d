"""A model by its name, or by the folder of a run."""

from __future__ import annotations

from pathlib import Path

import torch

from gptlib.model.gpt import GPT
from gptlib.shipped import load_pretrained
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.tokenizer import Tokenizer, load_tokenizer
from gptlib.training.checkpoints import CHECKPOINT_NAME, load_model
from gptlib.training.devices import pick_device


def load(
    name: str, device: str | torch.device | None = None, dtype: torch.dtype | None = None
) -> tuple[GPT, Tokenizer | CharacterTokenizer]:
    """A model that comes with the course by its name, or one that `gptlib train` made by its folder.

    Raises FileNotFoundError when the folder or its model is missing; else as `load_pretrained` and
    `load_model` do.
    """
    model, tokenizer = _load(name)
    return model.to("cpu" if device is None else pick_device(device), dtype), tokenizer


def _load(name: str) -> tuple[GPT, Tokenizer | CharacterTokenizer]:
    folder = Path(name)
    if not folder.is_dir():
        if folder.exists() or "/" in name or "\\" in name:
            raise FileNotFoundError(f"there is no folder {name!r}")
        return load_pretrained(name)
    path = folder / "model.safetensors"
    if not path.exists():
        # A run that is still going on, or was stopped, has no model yet; its checkpoint holds one.
        path = folder / CHECKPOINT_NAME
    if not path.exists():
        raise FileNotFoundError(f"there is neither model.safetensors nor {CHECKPOINT_NAME} in {name!r}")
    return load_model(path)[0], load_tokenizer(folder / "tokenizer.json")
