"""A training run in one safetensors file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, is_dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gptlib.checks import check_kind, check_path, check_whole
from gptlib.files import check_format, read_tensors, write_tensors
from gptlib.formats.folders import build
from gptlib.formats.layouts import OWN, config_from_fields
from gptlib.model.gpt import GPT
from gptlib.model.structure import empty_gpt
from gptlib.training.alone import ALONE, Alone
from gptlib.training.compiling import plain
from gptlib.training.config import TrainConfig
from gptlib.training.evaluation import check_module

# What lies in the folder of a run: while it goes on, and when it is done.
CHECKPOINT_NAME = "checkpoint.safetensors"

MODEL_FOLDER = "model"

CHECKPOINT_FORMAT = "gptlib checkpoint 1"

Settings = dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on: see `save_checkpoint`."""

    path: Path
    step: int
    model: dict[str, Tensor] = field(repr=False)
    optimizer: dict[str, dict[str, Tensor]] = field(repr=False)
    generator_state: Tensor = field(repr=False)
    train_config: Settings | None
    model_config: Settings | None
    seconds: float  # that the run took so far
    tokens: int | None  # that it learned to predict so far; None in a file of before they were counted

    def check_fits(self, model: nn.Module) -> None:
        """Raise ValueError unless names and shapes are exactly the model's."""
        own, path = _own_tensors(model), repr(str(self.path))
        if missing := sorted(own.keys() - self.model.keys()):
            raise ValueError(
                f"{path} has no tensor {missing[0]!r} ({len(missing)} missing); it is of another model"
            )
        if extra := sorted(self.model.keys() - own.keys()):
            raise ValueError(f"{path} has a tensor {extra[0]!r} ({len(extra)} extra); it is of another model")
        for name, tensor in own.items():
            if tensor.shape != self.model[name].shape:
                raise ValueError(
                    f"{name!r} is {tuple(self.model[name].shape)} in {path}, but {tuple(tensor.shape)} in "
                    "the model"
                )

    def restore(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        team: Alone = ALONE,
    ) -> None:
        """Put the run back where it was. ValueError if the model has other parameters than the checkpoint."""
        model = plain(model)
        self.check_fits(model)
        with torch.no_grad():
            for name, tensor in _own_tensors(model).items():
                tensor.copy_(team.part(self.model[name], tensor))
        own = _own_tensors(model)
        state = {
            index: {part: team.part(tensor, own[name]) for part, tensor in self.optimizer[name].items()}
            for index, name in enumerate(_names_in_order(model, optimizer))
            if name in self.optimizer
        }
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        generator.set_state(self.generator_state)


def save_checkpoint(
    path: str | os.PathLike[str],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    generator: torch.Generator,
    config: TrainConfig | None = None,
    team: Alone = ALONE,
    seconds: float = 0.0,
    tokens: int = 0,
) -> Path:
    """Write model, optimizer, batch generator and `step` to one safetensors file, whole or not at all.

    `seconds` is how long the run took so far, `tokens` how many it learned to predict. All of a `team` must
    call this; its first process writes. The file does not say how many processes there were: any number can
    go on from it.
    Raises ValueError for an optimizer of other parameters than the model's.
    """
    check_module(model)
    check_kind("optimizer", optimizer, torch.optim.Optimizer, "that of the run, as make_optimizer gives it")
    check_whole("step", step, at_least=0)
    check_kind("generator", generator, torch.Generator, "the torch.Generator that draws the batches")
    check_kind("config", config, (TrainConfig, type(None)), "a TrainConfig, or None")
    model = plain(model)
    tensors = {f"model.{name}": tensor for name, tensor in _own_tensors(model).items()}
    state = optimizer.state_dict()["state"]
    for index, name in enumerate(_names_in_order(model, optimizer)):
        for part, tensor in state.get(index, {}).items():
            tensors[f"optimizer.{part}.{name}"] = tensor
    tensors = _gathered(tensors, team)
    tensors["generator"] = generator.get_state()
    metadata = {
        "format": CHECKPOINT_FORMAT,
        "step": str(step),
        "seconds": str(seconds),
        "tokens": str(tokens),
        "model_config": json.dumps(settings_of(getattr(model, "config", None))),
        "train_config": json.dumps(settings_of(config)),
    }
    return write_tensors(path, tensors, metadata) if team.rank == 0 else Path(path)


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint, or the one in the folder `path`.

    Raises FileNotFoundError when there is none; ValueError when the file is cut off or is not a checkpoint.
    """
    check_path("path", path)
    path = Path(path)
    if path.is_dir():
        path = path / CHECKPOINT_NAME
    tensors, metadata = read_tensors(path)
    check_format(path, metadata, CHECKPOINT_FORMAT)
    model: dict[str, Tensor] = {}
    optimizer: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        owner, _, name = key.partition(".")
        if owner == "model":
            model[name] = tensor
        elif owner == "optimizer":
            part, _, name = name.partition(".")
            optimizer.setdefault(name, {})[part] = tensor
    return Checkpoint(
        path=path,
        step=int(metadata["step"]),
        model=model,
        optimizer=optimizer,
        generator_state=tensors["generator"],
        train_config=json.loads(metadata.get("train_config", "null")),
        model_config=json.loads(metadata["model_config"]),
        seconds=float(metadata.get("seconds", 0)),
        tokens=int(metadata["tokens"]) if "tokens" in metadata else None,
    )


def read_model(path: str | os.PathLike[str]) -> GPT:
    """The model inside a checkpoint, on the CPU, in eval mode.

    Raises FileNotFoundError when there is no such file; ValueError when it is cut off, or its model no GPT.
    """
    check_path("path", path)
    tensors, metadata = read_tensors(path, "model.")
    check_format(path, metadata, CHECKPOINT_FORMAT)
    given = json.loads(metadata["model_config"])
    if given is None:
        raise ValueError(f"{str(path)!r} is of a run that trained no GPT; load_checkpoint reads it")
    weights = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    config, dtypes = config_from_fields(given, repr(str(path))), {tensor.dtype for tensor in weights.values()}
    return build(OWN, config, weights, repr(str(path)), dtypes.pop())


def whole_model(model: GPT, team: Alone = ALONE) -> GPT | None:
    """The model that a team trains, whole and on the CPU, for its first process; None for the others.

    All of the team must call this.
    """
    check_module(model)
    model = plain(model)
    gathered = _gathered(_own_tensors(model), team)
    if team.rank > 0:
        return None
    whole = empty_gpt(model.config)
    whole.load_state_dict(gathered, assign=True, strict=False)
    if model.config.tie_embeddings:
        whole.unembedding.weight = whole.token_embedding.weight
    return whole.eval()


def _own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors by name, each once: tied weights are one tensor with two names."""
    own: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            own[name] = tensor.detach()
    return own


def _gathered(tensors: dict[str, Tensor], team: Alone) -> dict[str, Tensor]:
    """The tensors whole, on the process that writes them; none on the others, which have no use for them."""
    gathered = {}
    for name, tensor in tensors.items():
        whole = team.whole(tensor)
        if team.rank == 0:
            gathered[name] = whole.cpu()  # all of them together may be too much for a GPU
    return gathered


def _names_in_order(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the parameters in the order in which the optimizer numbers them."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    updated = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if foreign := [parameter for parameter in updated if id(parameter) not in names]:
        raise ValueError(
            f"optimizer updates {len(foreign)} parameters that are not the model's, the first of shape "
            f"{tuple(foreign[0].shape)}; it needs to be made of this model's"
        )
    return [names[id(parameter)] for parameter in updated]


def settings_of(config: object) -> Settings | None:
    """The fields of a config as JSON has them; None where there is no config."""
    return json.loads(json.dumps(asdict(config), default=as_json)) if is_dataclass(config) else None


def as_json(value: object) -> int | float | str:
    """What JSON has for a value that it does not know: a number of NumPy's, a path, a device."""
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else str(value)
