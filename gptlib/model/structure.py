"""Whether a model is still what its config says: nothing hooked, nothing put in another's place."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT


class _Part(NamedTuple):
    """A module as it was built: its class, what it says of its shape, its plain settings, its constants."""

    kind: type[nn.Module]
    shape: str
    settings: dict[str, Any]
    constants: dict[str, Tensor]


class _Undrawn(TorchFunctionMode):
    """Passes over the drawing of weights, which changes nothing without numbers, and takes the most time."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return kwargs["tensor"] if func is nn.init.normal_ else func(*args, **kwargs)


def empty_gpt(config: GPTConfig) -> GPT:
    """A GPT whose parameters have shapes, but no numbers yet: none are drawn, only to be thrown away."""
    with torch.device("meta"), _Undrawn():
        model = GPT(config)
    for name, module in list(model.named_modules()):
        # What a module computes once, such as the waves of sinusoidal positions, is no parameter.
        if next(module.buffers(recurse=False), None) is not None:
            model.set_submodule(name, type(module)(config))
    return model


@lru_cache(maxsize=8)
def weight_shapes(config: GPTConfig) -> dict[str, torch.Size]:
    """The shape of each parameter, by name; a tied one is there once."""
    return {name: weight.shape for name, weight in empty_gpt(config).named_parameters()}


def find_change(model: nn.Module) -> str | None:
    """The first thing in a model that is not as its config says, in words; None for a GPT as it was built.

    Of its parameters only names and shapes are looked at.
    """
    if type(model) is not GPT:
        return f"it is a {type(model).__name__}, not a GPT"
    parts, shapes = _as_built(model.config)
    found = dict(model.named_modules(remove_duplicate=False))
    for name in sorted(parts.keys() ^ found.keys()):
        return f"{name} is {'missing' if name in parts else 'no part of it'}"
    for name, module in found.items():
        if (change := _change_of(module, parts[name])) is not None:
            return f"{name or 'the whole'} {change}"
    own = _shapes(model)
    for name in sorted(own.keys() | shapes.keys()):
        if own.get(name) != shapes.get(name):
            return f"{name} has the shape {own.get(name)} instead of {shapes.get(name)}"
    return None


def _change_of(module: nn.Module, part: _Part) -> str | None:
    if type(module) is not part.kind:
        return f"is a {type(module).__name__} instead of a {part.kind.__name__}"
    if module._forward_hooks or module._forward_pre_hooks:
        return "has a hook, which may change what it computes"
    own = vars(module)
    changed = [key for key, value in part.settings.items() if key not in own or own[key] != value]
    # An attribute that has a method's name stands in the method's place.
    changed += [
        key for key in own if not key.startswith("_") and key != "training" and hasattr(part.kind, key)
    ]
    for key, constant in part.constants.items():
        if not torch.equal(getattr(module, key).cpu(), constant.to(getattr(module, key).dtype)):
            changed.append(key)
    if module.extra_repr() != part.shape:
        return f"has the shape ({module.extra_repr()}) instead of ({part.shape})"
    return f"has another {changed[0]} than it was built with" if changed else None


@lru_cache(maxsize=8)
def _as_built(config: GPTConfig) -> tuple[dict[str, _Part], dict[str, tuple[int, ...]]]:
    model = empty_gpt(config)
    return {name: _part(module) for name, module in model.named_modules()}, _shapes(model)


def _part(module: nn.Module) -> _Part:
    settings = {key: value for key, value in vars(module).items() if key[0] != "_" and key != "training"}
    return _Part(type(module), module.extra_repr(), settings, dict(module.named_buffers(recurse=False)))


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """By the names of all parameters; a tied one has two."""
    return {name: tuple(weight.shape) for name, weight in model.named_parameters(remove_duplicate=False)}
