"""What a running model costs, measured: operations, memory, traffic, and the machine's peak.

The counterpart of the formulas in `gptlib.scaling.costs`. Each function runs what it is given once, or
several times where time is measured.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from gptlib.checks import check_kind, check_whole
from gptlib.training.devices import pick_device
from gptlib.training.evaluation import check_module


def measured_flops(work: Callable[[], object]) -> int:
    """Operations of the matrix products in work(), by torch's own counter.

    On a processor the counter cannot see into the fused attention, so attention runs written out here.
    """
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return counter.get_total_flops()


def peak_memory(work: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """Bytes that work() holds at most, beyond those held before it, by torch's own statistics.

    On a processor these are the profiler's allocations and releases, in their order in time; elsewhere the
    allocator's peak.
    """
    device = pick_device(device)
    if device.type != "cpu":
        torch.accelerator.synchronize()
        before = torch.accelerator.memory_allocated(device)
        torch.accelerator.reset_peak_memory_stats(device)
        work()
        torch.accelerator.synchronize()
        return torch.accelerator.max_memory_allocated(device) - before
    # Else the profiler tells stderr each time that it starts and stops.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    changes = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for change in sorted(changes, key=lambda event: event.start_ns()):
        held += change.nbytes()  # negative when memory is given back
        most = max(most, held)
    return most


def kept_for_backward(work: Callable[[], Tensor], model: nn.Module) -> int:
    """Bytes that autograd keeps of work() for the way back, besides the model's parameters.

    work() returns something to go back from, such as a loss. A piece of memory that several operations look
    at counts once.
    """
    check_module(model)
    kept: dict[int, int] = {}
    alive = []  # so that no memory is given back, and its address used again, while we count

    def keep(tensor: Tensor) -> Tensor:
        alive.append(tensor)
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        alive.append(work())
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    return sum(size for address, size in kept.items() if address not in parameters)


def optimizer_memory(optimizer: torch.optim.Optimizer) -> int:
    """Bytes that an optimizer remembers between its steps."""
    check_kind("optimizer", optimizer, torch.optim.Optimizer, "an optimizer of torch")
    states = optimizer.state_dict()["state"].values()
    return sum(value.nbytes for state in states for value in state.values() if isinstance(value, Tensor))


class Traffic(TorchDispatchMode):
    """Counts, in `bytes`, what torch's operations read and write while it is entered.

    Every operation reads its inputs and writes its outputs once; views move nothing, and of a table that is
    looked up only the rows count. What stays in a fast cache between two operations counts all the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: tuple = (), options: dict | None = None
    ) -> Any:
        results = operation(*arguments, **(options or {}))
        if not operation.is_view and operation is not torch.ops.aten._unsafe_view.default:
            looked_up = operation is torch.ops.aten.embedding.default
            read = [] if looked_up else tree_leaves((arguments, options))
            tensors = [value for value in [*read, *tree_leaves(results)] if isinstance(value, Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return results


def matmul_peak(
    sizes: tuple[int, ...] = (256, 512, 1024),
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    rounds: int = 8,
) -> float:
    """Operations per second of the fastest of products of two square matrices, over sizes and rounds.

    Sizes take turns, so that another program that is busy for a moment does not slow one size alone.
    """
    check_kind("sizes", sizes, Sequence, "numbers of rows, such as (256, 512)")
    if not sizes:
        raise ValueError("sizes is empty; it needs one at least")
    for size in sizes:
        check_whole("a size", size)
    check_whole("rounds", rounds)
    device = pick_device(device)
    pairs = [torch.randn(2, size, size, dtype=dtype, device=device) for size in sizes]
    best = 0.0
    for _ in range(rounds):
        for left, right in pairs:
            seconds = _seconds(lambda left=left, right=right: left @ right, left.device)
            best = max(best, 2 * left.shape[0] ** 3 / seconds)
    return best


def memory_bandwidth(n_bytes: int = 2**26, device: torch.device | str = "cpu", rounds: int = 8) -> float:
    """Bytes per second, read and written, of copying memory, the best of several rounds.

    n_bytes needs to be several times what the processor's caches hold.
    """
    check_whole("n_bytes", n_bytes, at_least=4)
    device = pick_device(device)
    source = torch.ones(n_bytes // 4, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / best_seconds(lambda: target.copy_(source), rounds, device)


def best_seconds(work: Callable[[], object], rounds: int = 5, device: torch.device | str = "cpu") -> float:
    """The seconds of the fastest of several runs of work(): the one that was disturbed least."""
    check_whole("rounds", rounds)
    device = pick_device(device)
    return min(_seconds(work, device) for _ in range(rounds))


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type != "cpu":
        torch.accelerator.synchronize()
    start = time.perf_counter()
    work()
    if device.type != "cpu":  # work() only handed it over
        torch.accelerator.synchronize()
    return time.perf_counter() - start
