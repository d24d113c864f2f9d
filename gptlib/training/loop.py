"""From a model that knows nothing to one that tells stories: the training loop.

The loop is a generator. It does one step, yields what happened, and waits, so whoever calls it can draw a
curve, sample a text, or stop, between any two steps. What it needs to carry on later is one checkpoint file.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm import tqdm

from gptlib.checks import check_kind
from gptlib.training.alone import ALONE, Alone
from gptlib.training.checkpoints import CHECKPOINT_NAME, Checkpoint, load_checkpoint, save_checkpoint
from gptlib.training.compiling import compiled, plain
from gptlib.training.config import TrainConfig
from gptlib.training.devices import pick_device
from gptlib.training.evaluation import (
    IGNORED,
    TrainingData,
    check_data,
    check_module,
    device_of,
    evaluate,
    fitting_context_length,
    loss_of,
)
from gptlib.training.optimizers import make_optimizer
from gptlib.training.repeats import mostly_repeats
from gptlib.training.resuming import check_settings
from gptlib.training.schedule import learning_rate_at


@dataclass(frozen=True)
class Step:
    """What one training step did.

    step              updates made so far, this one included
    loss              of the step's batch, before its update, in nats per token
    learning_rate     of the update
    gradient_norm     before clipping
    validation_loss   after the update, in nats per token; None on steps where it was not measured
    tokens            that the run has learned to predict so far, each as often as it came
    seconds           that the run has taken, also before it was stopped and resumed, but not what its caller
                      did between the steps; None where a log does not tell. Steps that did the same are
                      equal however long they took
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    validation_loss: float | None
    tokens: int
    seconds: float | None = field(default=None, compare=False)

    @property
    def tokens_per_second(self) -> float | None:
        """How many tokens a second the whole run took so far; None where its seconds are not known."""
        return self.tokens / self.seconds if self.seconds else None


class LossNotFinite(FloatingPointError):
    """The loss, its gradient or a weight became infinite or not a number."""


def train(
    model: nn.Module,
    train_data: TrainingData,
    validation_data: TrainingData | None,
    config: TrainConfig,
    resume: str | os.PathLike[str] | None = None,
    team: Alone = ALONE,
    changing: Collection[str] = (),
) -> Iterator[Step]:
    """Train `model` in place, yielding a `Step` after each update.

    With `resume`, a run goes on as if it had never stopped: the same batches, losses and weights, bit for
    bit, on the same machine. Give it the same data. Settings and model need to be the run's, except for those
    that say where it runs, how long and what it leaves (`config.FREE`) and those that `changing` names.
    A different optimizer starts with nothing remembered, a different seed with other batches.

    resume: a checkpoint, or the folder that holds one.
    changing: the settings that may differ from the run's, such as ["learning_rate", "model.dropout"].
    team: who trains. Every process draws the same batch and takes its own share of it, so steps, losses and
      checkpoints are those of one process, up to rounding.

    AdamW: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2. Its settings, the
    schedule and the clipping: Brown et al. 2020, "Language Models are Few-Shot Learners", appendix B.

    Raises ValueError when the context is longer than the model's, the batch does not divide into equal
    pieces, a batch is not as asked for or has nothing to predict, this machine cannot compile, or the
    checkpoint does not fit the model, is of other settings or is not before `config.steps`;
    FileNotFoundError when there is no checkpoint at `resume`; LossNotFinite, naming the step, the learning
    rate and the last good checkpoint, when the loss or its gradient is not finite: the weights are then still
    those before the failed step.
    """
    check_module(model)
    check_data("train_data", train_data, "batch")
    if validation_data is not None:
        check_data("validation_data", validation_data, "windows")
    check_kind("config", config, TrainConfig, "a TrainConfig")
    whole = plain(model)
    context_length = fitting_context_length(whole, config.context_length)
    check_shares(config, team)
    device = device_of(whole) if config.device is None else pick_device(config.device)
    team.place(whole, device)
    if config.compile:
        model = compiled(whole, device)
    if config.folder is not None:
        Path(config.folder).mkdir(parents=True, exist_ok=True)
    optimizer = make_optimizer(
        whole, config.optimizer, config.learning_rate, config.weight_decay, config.betas
    )
    generator = torch.Generator().manual_seed(config.seed)
    run = _Run(whole, config, team, context_length, device, optimizer, generator)
    if resume is not None:
        run.resume(load_checkpoint(resume), changing)
    return run.steps(train_data, validation_data, team.loss_function(model, loss_of))


def check_shares(config: TrainConfig, team: Alone) -> None:
    """ValueError unless the processes can share a batch equally, each in as many pieces."""
    if config.batch_size % (team.size * config.accumulate):
        raise ValueError(
            f"batch_size is {config.batch_size}; it needs to be a multiple of processes × accumulate = "
            f"{team.size} × {config.accumulate}"
        )


@dataclass
class _Run:
    """A run under way: what learns, how, and how far it has come."""

    model: nn.Module
    config: TrainConfig
    team: Alone
    context_length: int
    device: torch.device
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    done: int = 0  # the step that it began after, or that its last checkpoint is of
    last_checkpoint: Path | None = None
    seconds: float = 0.0  # that it took so far
    tokens: int = 0  # that it learned to predict so far

    def resume(self, checkpoint: Checkpoint, changing: Collection[str]) -> None:
        """Go on from there. ValueError when it is of another run, or not before the run's end."""
        if checkpoint.step >= self.config.steps:
            raise ValueError(
                f"steps is {self.config.steps}; to resume it needs to be more than {checkpoint.step}, "
                f"the step of the checkpoint {str(checkpoint.path)!r}"
            )
        checkpoint.check_fits(self.model)
        check_settings(checkpoint, self.model, self.config, changing)
        before = checkpoint.train_config or {}
        if before.get("optimizer", self.config.optimizer) != self.config.optimizer:
            checkpoint = replace(checkpoint, optimizer={})
        if before.get("seed", self.config.seed) != self.config.seed:
            checkpoint = replace(checkpoint, generator_state=self.generator.get_state())
        checkpoint.restore(self.model, self.optimizer, self.generator, self.team)
        self.done, self.last_checkpoint = checkpoint.step, checkpoint.path
        self.seconds, self.tokens = checkpoint.seconds, checkpoint.tokens
        if self.tokens is None:
            self.tokens = self.done * self.config.batch_size * self.context_length

    def steps(
        self,
        train_data: TrainingData,
        validation_data: TrainingData | None,
        loss_function: Callable[[Tensor, Tensor], Tensor],
    ) -> Iterator[Step]:
        """The loop itself."""
        config = self.config
        was_training = self.model.training
        hidden = not config.progress or self.team.rank > 0
        bar = tqdm(total=config.steps, initial=self.done, unit="step", disable=hidden)
        try:
            for step in range(self.done + 1, config.steps + 1):
                start = time.perf_counter() - self.seconds
                learning_rate = learning_rate_at(step - 1, config)
                loss, norm = self.update(step, learning_rate, train_data, loss_function)
                last = step == config.steps
                validation_loss = None
                if (
                    validation_data is not None
                    and config.eval_every
                    and (last or step % config.eval_every == 0)
                ):
                    # In full precision whatever the training's, since that is how the model will be used.
                    validation_loss = evaluate(
                        self.model,
                        validation_data,
                        self.context_length,
                        config.eval_batches,
                        config.batch_size,
                        config.at_document_starts,
                        self.team,
                    )
                if config.folder is not None and (
                    last or config.checkpoint_every and step % config.checkpoint_every == 0
                ):
                    self.seconds = time.perf_counter() - start
                    self.save(step, learning_rate)
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update()
                self.seconds = time.perf_counter() - start
                yield Step(step, loss, learning_rate, norm, validation_loss, self.tokens, self.seconds)
        finally:
            bar.close()
            self.model.train(was_training)

    def update(
        self,
        step: int,
        learning_rate: float,
        train_data: TrainingData,
        loss_function: Callable[[Tensor, Tensor], Tensor],
    ) -> tuple[float, float]:
        """Learn from one batch; its loss, and the gradient's norm before clipping."""
        config, team = self.config, self.team
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(step - 1, config, group["part"])
        inputs, targets = train_data.batch(
            config.batch_size, self.context_length, self.generator, config.at_document_starts
        )
        _check_batch(inputs, targets, config.batch_size)
        if step <= config.repeats_first * config.steps:
            targets = mostly_repeats(inputs, targets, self.generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=self.device)
        for number, rows, row_targets, weight in _pieces(inputs, targets, config.accumulate, team):
            with team.exchange(self.model, now=(number + 1) % config.accumulate == 0):
                with _noise_of_piece(self.model, config.seed, step, number), _precision(config, self.device):
                    piece_loss = weight * loss_function(
                        rows.to(self.device, non_blocking=True),
                        row_targets.to(self.device, non_blocking=True),
                    )
                # Gradients are averaged over the processes, and these are to be summed.
                (team.size * piece_loss).backward()
            loss += piece_loss.detach()
        limit = math.inf if config.clip is None else config.clip
        norm = nn.utils.clip_grad_norm_(self.parameters(), limit)

        # One transfer for both numbers: on a GPU each one makes the processor wait.
        loss_value, norm_value = torch.stack([team.sum(loss), team.whole(norm)]).tolist()
        if not math.isfinite(loss_value):
            raise self.not_finite(f"the loss is {loss_value}", step, learning_rate)
        if not math.isfinite(norm_value):
            what = f"the loss is finite but the norm of its gradient is {norm_value}"
            raise self.not_finite(what, step, learning_rate)
        self.optimizer.step()
        self.tokens += int((targets != IGNORED).sum())
        return loss_value, norm_value

    def save(self, step: int, learning_rate: float) -> None:
        """Leave a checkpoint, unless a weight is not finite."""
        if not all(self.team.whole(torch.isfinite(weight).all()) for weight in self.parameters()):
            what = "loss and gradient are finite but the updated weights are not"
            raise self.not_finite(what, step, learning_rate)
        path = Path(self.config.folder) / CHECKPOINT_NAME
        self.last_checkpoint = save_checkpoint(
            path,
            self.model,
            self.optimizer,
            step,
            self.generator,
            self.config,
            self.team,
            self.seconds,
            self.tokens,
        )
        self.done = step

    def parameters(self) -> list[nn.Parameter]:
        """All that the optimizer updates."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def not_finite(self, what: str, step: int, learning_rate: float) -> LossNotFinite:
        kept = (
            f"the last good checkpoint is {str(self.last_checkpoint)!r}, of step {self.done}"
            if self.last_checkpoint
            else "no checkpoint was written (TrainConfig's folder and checkpoint_every make some)"
        )
        return LossNotFinite(
            f"{what} at step {step}, with learning rate {learning_rate:.3g}; {kept}. "
            "A lower learning_rate or a longer warmup_steps often helps"
        )


def _check_batch(inputs: Tensor, targets: Tensor, batch_size: int) -> None:
    """ValueError unless these are batch_size rows with their targets, of which one at least counts."""
    if inputs.ndim != 2 or inputs.shape != targets.shape or len(inputs) != batch_size:
        raise ValueError(
            f"train_data gave a batch of inputs {tuple(inputs.shape)} and targets {tuple(targets.shape)}; it "
            f"needs to be two of ({batch_size}, seq)"
        )
    if (targets == IGNORED).all():
        raise ValueError(
            f"train_data gave a batch of {batch_size} rows with nothing to predict; at least one target "
            f"needs to be a token, and not {IGNORED}"
        )


def _pieces(
    inputs: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"], accumulate: int, team: Alone
) -> Iterator[tuple[int, Int[Tensor, "rows seq"], Int[Tensor, "rows seq"], Float[Tensor, ""]]]:
    """The pieces of a batch that are this process's, each with its number and its weight in the mean loss.

    It weighs as much as its share of the targets that are not IGNORED, of which some have more than others.
    """
    n_targets = (targets != IGNORED).sum()
    n_pieces = team.size * accumulate
    pieces = list(zip(inputs.chunk(n_pieces), targets.chunk(n_pieces), strict=True))
    for number in range(team.rank * accumulate, (team.rank + 1) * accumulate):
        rows, row_targets = pieces[number]
        yield number, rows, row_targets, (row_targets != IGNORED).sum() / n_targets


def _precision(config: TrainConfig, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")


@contextlib.contextmanager
def _noise_of_piece(model: nn.Module, seed: int, step: int, number: int) -> Iterator[None]:
    """Dropout noise that depends on seed, step and piece alone.

    So a resumed run drops what it would have dropped, and two processes drop what one does in two pieces.
    """
    if not getattr(getattr(model, "config", None), "dropout", 0.0):
        yield
        return
    device = device_of(model)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed((seed * 1_000_003 + step + number * 1_000_000_007) % 2**64)
        yield
