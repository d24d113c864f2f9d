"""Several processes that train one model together, by torch.distributed (docs/several_machines.md).

`torchrun` starts them, on one machine or on several. Each computes the gradient of its share of every batch;
then they exchange gradients, so that all make the same update. `Alone` is what the training loop asks of its
processes when there is but one; `Team` is the same for several.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from gptlib.training.alone import ALONE, Alone, LossFunction, Made

# How long a process waits for another within a step before it gives up.
TIMEOUT = timedelta(minutes=5)

# And while the first process prepares the text, which may take long.
PATIENCE = timedelta(days=1)

# How long torchrun may take to notice that a process has ended, and to end the others.
NEWS_SECONDS = 5


class Team(Alone):
    """All processes that torchrun started, of which this is one.

    Each holds the whole model and they average gradients (Li et al. 2020, "PyTorch Distributed: Experiences
    on Accelerating Data Parallel Training", section 3). Or, with `shard`, each keeps an equal part of every
    tensor, of its gradient and of what the optimizer remembers, and a block is whole only while it is
    computed (Zhao et al. 2023, "PyTorch FSDP", section 3; the idea is that of Rajbhandari et al. 2020,
    "ZeRO", section 5).
    """

    def __init__(self, device: torch.device, shard: bool = False) -> None:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        # Numbers on the processor go by gloo also where the gradients go by NCCL.
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.device, self.shard = device, shard
        self._patient = dist.new_group(backend="gloo", timeout=PATIENCE)
        self._processes = self._tell_all((socket.gethostname(), os.getpid()))
        self._ending = threading.Lock()

    def place(self, model: nn.Module, device: torch.device) -> None:
        if not self.shard:
            return super().place(model, device)
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(self.device.type, (self.size,))
        for layer in (*getattr(model, "blocks", ()), model):
            fully_shard(layer, mesh=mesh, reshard_after_forward=True)
        return None

    def loss_function(self, model: nn.Module, loss_of: LossFunction) -> Callable[[Tensor, Tensor], Tensor]:
        if self.shard:
            return super().loss_function(model, loss_of)
        # It also gives every process the first one's weights.
        self._replica = nn.parallel.DistributedDataParallel(_Loss(model, loss_of), forward_sync_buffers=False)
        return self._replica

    @contextlib.contextmanager
    def exchange(self, model: nn.Module, now: bool) -> Iterator[None]:
        if self.shard:
            model.set_requires_gradient_sync(now)
        with contextlib.nullcontext() if self.shard or now else self._replica.no_sync():
            yield

    def sum(self, tensor: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor.full_tensor() if self.shard and hasattr(tensor, "full_tensor") else tensor

    def part(self, tensor: Tensor, like: Tensor) -> Tensor:
        # What an optimizer remembers of a tensor has its shape, but for the number of updates.
        if not self.shard or tensor.shape != like.shape:
            return tensor
        from torch.distributed.tensor import distribute_tensor

        mesh, placements = like.device_mesh, like.placements
        return distribute_tensor(tensor.to(like.device), mesh, placements, src_data_rank=None)

    def agree(self, values: dict[str, Any]) -> None:
        first, *others = self._tell_all(values)
        for rank, theirs in enumerate(others, start=1):
            for name in first:
                if theirs.get(name) != first[name]:
                    raise ValueError(
                        f"{name} is {first[name]!r} in process 0 and {theirs.get(name)!r} in process {rank}; "
                        "it needs to be the same in every process"
                    )

    def in_turn(self, make: Callable[[], Made]) -> Made:
        # Machines may share a folder or have one each: the first process of each makes what is not there.
        first_here = min(self._here())
        own_turn = 0 if self.rank == 0 else 1 if self.rank == first_here else 2
        for turn in range(3):
            if turn == own_turn:
                made = make()
            dist.barrier(group=self._patient)
        return made

    def _tell_all(self, value: Any) -> list[Any]:
        """What each process gave, by rank."""
        told: list[Any] = [None] * self.size
        dist.all_gather_object(told, value, group=self._patient)
        return told

    def _here(self) -> dict[int, int]:
        """Rank and number of each process on this machine."""
        host = self._processes[self.rank][0]
        return {rank: pid for rank, (other, pid) in enumerate(self._processes) if other == host}

    # ------------------------------------------------------------------------------- when one of them ends

    @contextlib.contextmanager
    def watch(self, folder: Path) -> Iterator[None]:
        # torchrun tells those that are left by SIGTERM. A process that waits for another inside torch runs no
        # Python meanwhile, so a thread takes the signal: Python sends its number to a socket at once.
        receiver, sender = socket.socketpair()
        sender.setblocking(False)
        handler = signal.signal(signal.SIGTERM, lambda *_: None)
        signal.set_wakeup_fd(sender.fileno())
        thread = threading.Thread(target=self._wait_for_news, args=(receiver, folder))
        thread.start()
        try:
            yield
        except RuntimeError as error:
            # A lost connection is noticed here first. If a process here has ended, the thread ends this one.
            time.sleep(NEWS_SECONDS)
            if _is_lost_connection(error):
                self._end(folder, "the connection to a process was lost, or it did not answer,")
            raise
        finally:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, handler)
            sender.close()
            thread.join()

    def _wait_for_news(self, signals: socket.socket, folder: Path) -> None:
        with signals:
            while number := signals.recv(1):
                if number[0] == signal.SIGTERM:
                    self._end(folder, "stopped by a signal")

    def _end(self, folder: Path, what: str) -> NoReturn:
        """Say what happened, and leave. Of the processes here two speak at most: one of them may hang."""
        with self._ending:
            here = self._here()
            gone = [rank for rank, pid in here.items() if not _is_alive(pid)]
            if gone:
                who = " and ".join(f"{rank} (number {here[rank]})" for rank in gone)
                what = f"of {self.size} processes, {who} ended, so the others stop,"
            when = f"after step {self.step}" if self.step else "before the first step"
            speakers = sorted(here.keys() - gone)[: 1 if gone else 2]
            if self.rank in speakers:
                message = f"gptlib train: {what} {when}\n{_how_to_go_on(folder)}"
                print(message, file=sys.stderr, flush=True)
            # The others here are to find this process alive when they look who is missing.
            time.sleep(1)
            os._exit(1)


class _Loss(nn.Module):
    """The loss as a module, so that DistributedDataParallel sees all of a model's work pass through it."""

    def __init__(self, model: nn.Module, loss_of: LossFunction) -> None:
        super().__init__()
        self.model, self.loss_of = model, loss_of

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss_of(self.model, inputs, targets)


@contextlib.contextmanager
def join(device: torch.device, shard: bool = False) -> Iterator[Alone]:
    """The team that torchrun made this process one of, or `ALONE` where it was started by itself.

    Raises ValueError for `shard` without a team.
    """
    if not dist.is_torchelastic_launched():
        if shard:
            raise ValueError("--shard needs several processes: torchrun --nproc-per-node 2 -m gptlib train …")
        yield ALONE
        return
    team = Team(device, shard)
    try:
        yield team
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """Inside, the first process prints for all, and says what is wrong where all fail alike."""
    if not dist.is_torchelastic_launched() or os.environ["RANK"] == "0":
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        try:
            yield
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        except Exception:
            # If the first one fails as well, torchrun ends this one before it has spoken.
            time.sleep(NEWS_SECONDS)
            raise


def own_device(device: torch.device) -> torch.device:
    """Of the machine's devices of this type the one for this process: of several processes each has its own.

    Raises ValueError when there are not as many, or processes cannot speak to each other from such a device.
    """
    if not dist.is_torchelastic_launched() or device.type == "cpu":
        return device
    if device.type != "cuda" or device.index is not None:
        raise ValueError(
            f"--device is {str(device)!r}; with torchrun it needs to be cuda (each process then has its own) "
            "or cpu"
        )
    number, devices = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= devices:
        raise ValueError(
            f"--nproc-per-node is {os.environ['LOCAL_WORLD_SIZE']}; it needs to be at most {devices}, the "
            "GPUs of this machine (or --device cpu)"
        )
    return torch.device("cuda", number)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _is_lost_connection(error: RuntimeError) -> bool:
    """Whether it says that another process did not answer. Gloo's errors have no class of their own."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


def _how_to_go_on(folder: Path) -> str:
    from gptlib.training.checkpoints import load_checkpoint

    try:
        checkpoint = load_checkpoint(folder)
    except (OSError, ValueError):
        return f"There is no checkpoint in {str(folder)!r}, on this machine at least."
    return (
        f"The last checkpoint is {str(checkpoint.path)!r}, of step {checkpoint.step}. To go on, with any "
        f"number of processes:\n  torchrun --nproc-per-node N -m gptlib train --resume --folder {folder}"
    )
