"""Whether a run that goes on is the one that was stopped: of the same settings and the same model."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields

import torch
from torch import nn

from gptlib.training.checkpoints import Checkpoint, Settings, settings_of
from gptlib.training.config import FREE, TrainConfig


def check_settings(
    checkpoint: Checkpoint, model: nn.Module, config: TrainConfig, changing: Collection[str]
) -> None:
    """Raise ValueError, listing all that differs from the checkpoint's run, but for what `changing` names.

    Names are those of TrainConfig, those of the model's config as in "model.dropout", and "model.dtype". What
    is FREE need not be named. TypeError when `changing` is no list of names.
    """
    listed = isinstance(changing, Collection) and not isinstance(changing, str)
    if not listed or not all(isinstance(name, str) for name in changing):
        raise TypeError(f"changing is {changing!r}; it needs a list of names, such as ['learning_rate']")
    name, weight = next(model.named_parameters())
    kept = _named(checkpoint.train_config, checkpoint.model_config, checkpoint.model[name].dtype)
    given = _named(settings_of(config), settings_of(getattr(model, "config", None)), weight.dtype)
    known = {*given, *kept, *(field.name for field in fields(TrainConfig))}
    if unknown := sorted({*changing} - known):
        raise ValueError(f"changing has {unknown[0]!r}; it needs to be of {', '.join(sorted(known))}")
    new = [name for name in given if name in kept and given[name] != kept[name]]
    if untold := [name for name in new if name not in {*changing, *FREE}]:
        differing = ", ".join(f"{name} is {given[name]!r} (the run has {kept[name]!r})" for name in untold)
        raise ValueError(
            f"{differing}; to go on from {str(checkpoint.path)!r} either bring back what the run has, or say "
            f"that this is to change: changing={[*changing, *untold]}"
        )


def _named(training: Settings | None, model: Settings | None, dtype: torch.dtype) -> Settings:
    """All settings by name, those of the model apart."""
    named = dict(training or {}) | {f"model.{name}": value for name, value in (model or {}).items()}
    named["model.dtype"] = str(dtype)
    if training and training.get("context_length") is None:
        named["context_length"] = named.get("model.context_length")
    return named
