"""A model in the form that torch.compile gives it, over the same weights."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec

import torch
from torch import nn


def compiled(model: nn.Module, device: torch.device) -> nn.Module:
    """The model, compiled at its first batch for `device`. Its weights are the model's own.

    Dropout's noise then comes from a generator of the compiled code, so it differs from the plain model's.
    Raises ValueError when what the compiler needs is not on this machine.
    Ansel et al. 2024, "PyTorch 2: Faster Machine Learning Through Dynamic Python Bytecode Transformation and
    Graph Compilation", section 3.
    """
    if device.type == "cuda" and find_spec("triton") is None:
        raise ValueError("compile is True; on a GPU it needs Triton, which is not installed")
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    if device.type == "cpu" and shutil.which(os.environ.get("CXX", usual)) is None:
        raise ValueError(
            f"compile is True; it needs a C++ compiler, and there is no {os.environ.get('CXX', usual)} here "
            "(the environment variable CXX may name another)"
        )
    # What is compiled once serves all models of a kind, and by default those with other hooks too.
    torch._dynamo.config.skip_nnmodule_hook_guards = False
    return torch.compile(model)


def plain(model: nn.Module) -> nn.Module:
    """The model that torch.compile was given, whose weights have plain names; any other model is itself."""
    return getattr(model, "_orig_mod", model)
