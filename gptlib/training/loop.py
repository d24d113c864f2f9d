"""From a model that knows nothing to one that tells stories: the training loop.

The loop is a generator. It does one step, yields what happened, and waits, so whoever calls it can draw a
curve, sample a text, or stop, between any two steps. What it needs to carry on later is one checkpoint file.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm import tqdm

from gptlib.training.alone import ALONE, Alone
from gptlib.training.checkpoints import CHECKPOINT_NAME, load_checkpoint, save_checkpoint
from gptlib.training.config import TrainConfig
from gptlib.training.devices import pick_device
from gptlib.training.evaluation import (
    IGNORED,
    TrainingData,
    device_of,
    evaluate,
    fitting_context_length,
    loss_of,
)
from gptlib.training.optimizers import make_optimizer
from gptlib.training.schedule import learning_rate_at


@dataclass(frozen=True)
class Step:
    """What one training step did.

    step              updates made so far, this one included, from `tokens` tokens in all
    loss              of the step's batch, before its update, in nats per token
    learning_rate     of the update
    gradient_norm     before clipping
    validation_loss   after the update, in nats per token; None on steps where it was not measured
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    validation_loss: float | None
    tokens: int


class LossNotFinite(FloatingPointError):
    """The loss, its gradient or a weight became infinite or not a number."""


def train(
    model: nn.Module,
    train_data: TrainingData,
    validation_data: TrainingData | None,
    config: TrainConfig,
    resume: str | os.PathLike[str] | None = None,
    team: Alone = ALONE,
) -> Iterator[Step]:
    """Train `model` in place, yielding a `Step` after each update.

    `resume` names a checkpoint, or the folder that holds one. With the same data and `config` the run goes
    on as if it had never stopped: the same batches, losses and weights, bit for bit, on the same machine.
    `team` is who trains: every process draws the same batch and takes its own share of it, so steps, losses
    and checkpoints are those of one process, up to rounding.

    AdamW: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2. Its settings, the
    schedule and the clipping: Brown et al. 2020, "Language Models are Few-Shot Learners", appendix B.

    Raises ValueError when the context is longer than the model's, the batch does not divide into equal
    pieces, or the checkpoint does not fit the model or is not before `config.steps`; FileNotFoundError when
    there is no checkpoint at `resume`; LossNotFinite, naming the step, the learning rate and the last good
    checkpoint, when the loss or its gradient is not finite: the weights are then still those before the
    failed step.
    """
    context_length = fitting_context_length(model, config)
    check_shares(config, team)
    device = device_of(model) if config.device is None else pick_device(config.device)
    team.place(model, device)
    if config.folder is not None:
        Path(config.folder).mkdir(parents=True, exist_ok=True)
    optimizer = make_optimizer(
        model, config.optimizer, config.learning_rate, config.weight_decay, config.betas
    )
    generator = torch.Generator().manual_seed(config.seed)
    done = 0
    last_checkpoint: tuple[Path, int] | None = None
    if resume is not None:
        checkpoint = load_checkpoint(resume)
        if checkpoint.step >= config.steps:
            raise ValueError(
                f"the checkpoint {str(checkpoint.path)!r} is at step {checkpoint.step}, so steps must be "
                f"more than that to resume, got steps={config.steps}"
            )
        checkpoint.restore(model, optimizer, generator, team)
        done = checkpoint.step
        last_checkpoint = (checkpoint.path, done)
    return _steps(
        model,
        train_data,
        validation_data,
        config,
        context_length,
        device,
        optimizer,
        generator,
        done,
        last_checkpoint,
        team,
    )


def check_shares(config: TrainConfig, team: Alone) -> None:
    """ValueError unless the processes can share a batch equally, each in as many pieces."""
    if config.batch_size % (team.size * config.accumulate):
        raise ValueError(
            f"batch_size must be a multiple of processes × accumulate = {team.size} × {config.accumulate}, "
            f"got {config.batch_size}"
        )


def _steps(
    model: nn.Module,
    train_data: TrainingData,
    validation_data: TrainingData | None,
    config: TrainConfig,
    context_length: int,
    device: torch.device,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    done: int,
    last_checkpoint: tuple[Path, int] | None,
    team: Alone,
) -> Iterator[Step]:
    """The loop itself, once everything is in place."""
    loss_function = team.loss_function(model, loss_of)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    was_training = model.training
    bar = tqdm(total=config.steps, initial=done, unit="step", disable=not config.progress or team.rank > 0)
    try:
        for step in range(done + 1, config.steps + 1):
            model.train()
            learning_rate = learning_rate_at(step - 1, config)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate

            inputs, targets = train_data.batch(
                config.batch_size, context_length, generator, config.at_document_starts
            )
            optimizer.zero_grad(set_to_none=True)
            loss = torch.zeros((), device=device)
            for number, rows, row_targets, weight in _pieces(inputs, targets, config.accumulate, team):
                with team.exchange(model, now=(number + 1) % config.accumulate == 0):
                    with _noise_of_piece(model, config.seed, step, number), _precision(config, device):
                        piece_loss = weight * loss_function(
                            rows.to(device, non_blocking=True), row_targets.to(device, non_blocking=True)
                        )
                    # Gradients are averaged over the processes, and these are to be summed.
                    (team.size * piece_loss).backward()
                loss += piece_loss.detach()
            norm = nn.utils.clip_grad_norm_(parameters, math.inf if config.clip is None else config.clip)

            # One transfer for both numbers: on a GPU each one makes the processor wait.
            loss_value, norm_value = torch.stack([team.sum(loss), team.whole(norm)]).tolist()
            if not math.isfinite(loss_value) or not math.isfinite(norm_value):
                raise _not_finite(loss_value, norm_value, step, learning_rate, last_checkpoint)
            optimizer.step()

            last = step == config.steps
            validation_loss = None
            if validation_data is not None and config.eval_every and (last or step % config.eval_every == 0):
                # In full precision whatever the training's, since that is how the model will be used.
                validation_loss = evaluate(
                    model,
                    validation_data,
                    context_length,
                    config.eval_batches,
                    config.batch_size,
                    config.at_document_starts,
                    team,
                )
            if config.folder is not None and (
                last or config.checkpoint_every and step % config.checkpoint_every == 0
            ):
                if not all(team.whole(torch.isfinite(parameter).all()) for parameter in parameters):
                    raise _not_finite(loss_value, math.inf, step, learning_rate, last_checkpoint)
                path = save_checkpoint(
                    Path(config.folder) / CHECKPOINT_NAME, model, optimizer, step, generator, config, team
                )
                last_checkpoint = (path, step)

            bar.set_postfix(loss=f"{loss_value:.3f}", refresh=False)
            bar.update()
            tokens = step * config.batch_size * context_length
            yield Step(step, loss_value, learning_rate, norm_value, validation_loss, tokens)
    finally:
        bar.close()
        model.train(was_training)


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
        torch.manual_seed(seed * 1_000_003 + step + number * 1_000_000_007)
        yield


def _not_finite(
    loss: float, norm: float, step: int, learning_rate: float, last_checkpoint: tuple[Path, int] | None
) -> LossNotFinite:
    what = (
        f"the loss is {loss}"
        if not math.isfinite(loss)
        else "the loss is finite but the gradient or update is not"
    )
    kept = (
        f"the last good checkpoint is {str(last_checkpoint[0])!r}, of step {last_checkpoint[1]}"
        if last_checkpoint
        else "no checkpoint was written (TrainConfig's folder and checkpoint_every make some)"
    )
    return LossNotFinite(
        f"{what} at step {step}, with learning rate {learning_rate:.3g}; {kept}. "
        "A lower learning_rate or a longer warmup_steps often helps"
    )
