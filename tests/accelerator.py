"""A stand-in for an accelerator, on a machine that has none.

Its tensors say that they are on the device "meta", hold their numbers on the processor, and refuse to be
mixed with the processor's own, as a GPU's do. It counts how often the processor waits for a value.
"""

import sys
from contextlib import contextmanager, nullcontext
from unittest import mock

import torch
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

DEVICE = torch.device("meta")
# An index may be on the processor, and copying is how numbers come from one device to another.
MIXED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::copy_"}


class There(torch.Tensor):
    """A tensor of the accelerator."""

    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=DEVICE
        )

    def __init__(self, held):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})

    def tolist(self):
        return self.cpu().tolist()

    def __repr__(self, **kwargs):
        return f"There({self.held!r})"


class Accelerator(TorchDispatchMode):
    """Inside the `with`, whatever is made on or moved to DEVICE is `There`; waits counts each `.item()`."""

    def __init__(self):
        super().__init__()
        self.waits = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.waits += function is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], There)
        return _run(function, args, kwargs or {})


@contextmanager
def accelerator(*models):
    """An accelerator; these models move to it, tied weights still tied, and stay there."""
    autocast, enabled = torch.autocast, torch.is_autocast_enabled  # which know no "meta"

    def any_autocast(kind, *given, **settings):
        return nullcontext() if kind == "meta" else autocast(kind, *given, **settings)

    def any_enabled(kind="cpu"):
        return kind != "meta" and enabled(kind)

    with (
        mock.patch.object(torch, "autocast", any_autocast),
        mock.patch.object(torch, "is_autocast_enabled", any_enabled),
        mock.patch.object(
            sys.modules[Optimizer.__module__], "_get_fused_kernels_supported_devices", lambda: ["cpu", "meta"]
        ),
        Accelerator() as device,
    ):
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            for model in models:
                model.to(DEVICE)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(False)
        yield device


def _run(function, args, kwargs):
    tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, torch.Tensor)]
    there = any(isinstance(tensor, There) for tensor in tensors)
    if there and function._schema.name not in MIXED:
        here = [tensor for tensor in tensors if not isinstance(tensor, There) and tensor.dim()]
        if here:
            raise RuntimeError(
                f"{function}: tensors of the processor, {here[0].shape}, and of the accelerator"
            )
    target = kwargs.get("device")
    if target is not None:
        there = torch.device(target) == DEVICE
        kwargs = kwargs | {"device": "cpu"}
        if there and kwargs.get("generator") is not None:
            raise RuntimeError(f"{function}: a generator of the processor cannot draw on the accelerator")
    args_held, kwargs_held = tree_map_only(There, lambda tensor: tensor.held, (args, kwargs))
    result = function(*args_held, **kwargs_held)
    if function._schema.is_mutable and isinstance(result, torch.Tensor):
        return args[0] if "out" not in kwargs else kwargs["out"]
    wrapped = function is not torch.ops.aten._local_scalar_dense.default and there
    return tree_map_only(torch.Tensor, There, result) if wrapped else result
