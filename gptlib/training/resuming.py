"""Whether a run that goes on is the one that was stopped: the same settings, model and data."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import fields

import torch
from torch import Tensor, nn

from gptlib.training.checkpoints import Checkpoint, Settings, settings_of
from gptlib.training.config import FREE, TrainConfig
from gptlib.training.evaluation import TrainingData


def check_settings(
    checkpoint: Checkpoint,
    model: nn.Module,
    config: TrainConfig,
    train_data: str | None,
    changing: Collection[str],
) -> None:
    """Raise ValueError, listing all that differs from the checkpoint's run, but for what `changing` names.

    Names are those of TrainConfig, those of the model's config as in "model.dropout", "model.dtype", and
    "train_data". What is FREE need not be named. TypeError when `changing` is no list of names.
    """
    kept = _named(
        checkpoint.train_config, checkpoint.model_config, checkpoint.model.values(), checkpoint.train_data
    )
    own = getattr(model, "config", None)
    given = _named(settings_of(config), settings_of(own), model.parameters(), train_data)
    if isinstance(changing, str) or not all(isinstance(name, str) for name in changing):
        raise TypeError(f"changing is {changing!r}; it needs a list of names, such as ['learning_rate']")
    known = {*given, *kept, *(field.name for field in fields(TrainConfig))}
    if unknown := sorted({*changing} - known):
        raise ValueError(f"changing has {unknown[0]!r}; it needs to be of {', '.join(sorted(known))}")
    new = {name: given[name] for name in given if name in kept and given[name] != kept[name]}
    if "context_length" in new or "at_document_starts" in new:
        new.pop("train_data", None)  # of the same data other batches are drawn
    untold = [name for name in new if name not in {*changing, *FREE}]
    if untold:
        listed = ", ".join(f"{name} is {given[name]!r} (the run has {kept[name]!r})" for name in untold)
        raise ValueError(
            f"{listed}; to go on from {str(checkpoint.path)!r} either bring back what the run has, or say "
            f"that this is to change: changing={untold}"
        )


def checksum(data: TrainingData, context_length: int, at_document_starts: bool) -> str | None:
    """What tells data from other data: a checksum of a batch. None where each draw gives another batch."""
    found = set()
    with torch.random.fork_rng(devices=[]):
        for _ in range(2):
            digest = hashlib.sha256()
            generator = torch.Generator().manual_seed(0)
            for tensor in data.batch(16, context_length, generator, at_document_starts):
                digest.update(tensor.numpy().tobytes())
            found.add(digest.hexdigest()[:16])
    return f"checksum {found.pop()}" if len(found) == 1 else None


def _named(
    training: Settings | None, model: Settings | None, weights: Iterable[Tensor], train_data: str | None
) -> Settings:
    """All settings by name, those of the model apart."""
    named = dict(training or {}) | {f"model.{name}": value for name, value in (model or {}).items()}
    named["model.dtype"] = str(next(iter(weights)).dtype)
    if training and training["context_length"] is None:
        named["context_length"] = named.get("model.context_length")
    return named if train_data is None else named | {"train_data": train_data}
