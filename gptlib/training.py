"""From a model that knows nothing to one that tells stories: the training loop (notebook 09).

The loop is a generator. It does one step, yields what happened, and waits, so whoever calls it can draw a
curve, sample a text, or stop, between any two steps. What it needs to carry on later is one checkpoint file.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from gptlib.corpora import TokenFile
from gptlib.distributed import ALONE, Alone
from gptlib.experts import watch_balance
from gptlib.files import write_atomically
from gptlib.gpt import GPT, GPTConfig
from gptlib.optimizers import OPTIMIZERS, make_optimizer

CHECKPOINT_NAME = "checkpoint.safetensors"
CHECKPOINT_FORMAT = "gptlib checkpoint 1"
MODEL_FORMAT = "gptlib model 1"
# Targets with this value carry no loss; the value is PyTorch's own convention.
IGNORED = -100


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run except the model and the data.

    steps, batch_size     how many updates, each from how many sequences
    context_length        tokens in each sequence (None: the model's)
    learning_rate         the highest; it rises to it over warmup_steps (None: a twentieth of the run, at most
                          200), then falls along a cosine to min_learning_rate (None: a tenth)
    optimizer             "adamw", or "muon": Muon for the matrices inside the blocks, AdamW for the rest
    weight_decay, betas   only matrices decay; betas are AdamW's
    clip                  bound on the norm of the gradient (None: no bound)
    eval_every            steps between validation losses, each on eval_batches batches (None: all data)
    checkpoint_every      steps between checkpoints, in folder; with a folder the last step leaves one too
    seed                  decides which batches are drawn, and the dropout noise
    at_document_starts    whether every sequence starts where a document does, and the validation loss is that
                          of whole documents
    precision             "float32", or "bfloat16": matrix products in half the bits (weights stay float32)
    progress              whether to show a bar
    device                where to train (None: where the model is)
    accumulate            in how many pieces each process takes its share of a batch, one after another: the
                          memory is then that of a piece, the gradient that of the whole batch all the same

    Raises ValueError for a setting that cannot work.
    """

    steps: int
    batch_size: int = 32
    context_length: int | None = None
    learning_rate: float | int = 1e-3
    min_learning_rate: float | int | None = None
    warmup_steps: int | None = None
    optimizer: str = "adamw"
    weight_decay: float | int = 0.1
    betas: tuple[float | int, float | int] = (0.9, 0.95)
    clip: float | int | None = 1.0
    eval_every: int | None = 100
    eval_batches: int | None = 8
    checkpoint_every: int | None = None
    folder: str | os.PathLike[str] | None = None
    seed: int = 0
    at_document_starts: bool = False
    precision: str = "float32"
    progress: bool = False
    device: str | torch.device | None = None
    accumulate: int = 1

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "accumulate",
            "context_length",
            "eval_every",
            "eval_batches",
            "checkpoint_every",
        ):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if not self.learning_rate > 0 or math.isinf(self.learning_rate):
            raise ValueError(f"learning_rate must be a positive number, got {self.learning_rate!r}")
        if self.min_learning_rate is not None and not 0 <= self.min_learning_rate <= self.learning_rate:
            raise ValueError(
                f"min_learning_rate must be between 0 and learning_rate ({self.learning_rate}), "
                f"got {self.min_learning_rate!r}"
            )
        if self.warmup_steps is not None and not 0 <= self.warmup_steps <= self.steps:
            raise ValueError(
                f"warmup_steps must be between 0 and steps ({self.steps}), got {self.warmup_steps!r}"
            )
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay must be at least 0, got {self.weight_decay!r}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers from 0 up to, not including, 1, got {self.betas!r}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be positive, or None for no clipping, got {self.clip!r}")
        if self.checkpoint_every is not None and self.folder is None:
            raise ValueError(
                f"checkpoint_every={self.checkpoint_every} needs a folder to write to; give folder=…"
            )
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be 'float32' or 'bfloat16', got {self.precision!r}")


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


@runtime_checkable
class TrainingData(Protocol):
    """What `train` and `evaluate` ask of data; `TokenFile` and `finetuning.Conversations` have it."""

    def batch(
        self,
        batch_size: int,
        context_length: int,
        generator: torch.Generator | None,
        at_document_starts: bool,
    ) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
        """Random inputs and their targets, in which IGNORED carries no loss."""

    def windows(self, context_length: int) -> Iterator[tuple[Int[Tensor, " seq"], Int[Tensor, " seq"]]]:
        """All the data in order, in pieces, each with its targets."""


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
    context_length = _context_length(model, config)
    check_shares(config, team)
    device = _device_of(model) if config.device is None else pick_device(config.device)
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


def loss_of(
    model: nn.Module, inputs: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the next token, in nats, over the targets that are not IGNORED; 0 if all are.

    In training a model with experts pays for their uneven use besides (`experts.balance_loss`).
    """
    with watch_balance(model) as balance:
        logits = model(inputs)  # (batch, seq, vocab)
    total = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    loss = total / (targets != IGNORED).sum().clamp(min=1)
    return sum(balance, start=loss)


# ---------------------------------------------------------------------------------------- the schedule


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """Learning rate of the update after `step` others: a straight rise, then half a cosine down.

    The first update already moves (its rate is one part of the rise, not 0), and the last has the minimum.
    Loshchilov and Hutter 2017, "SGDR", equation 5, without the restarts.
    Raises ValueError when step is negative.
    """
    if step < 0:
        raise ValueError(f"step must be at least 0, got {step}")
    warmup = config.warmup_steps if config.warmup_steps is not None else min(200, config.steps // 20)
    low = config.min_learning_rate if config.min_learning_rate is not None else config.learning_rate / 10
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, config.steps - 1 - warmup))
    return low + (config.learning_rate - low) * (1 + math.cos(math.pi * progress)) / 2


# ------------------------------------------------------------------------------------------------- evaluation


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: TrainingData,
    context_length: int | None = None,
    max_batches: int | None = None,
    batch_size: int = 32,
    at_document_starts: bool = False,
    team: Alone = ALONE,
) -> float:
    """Mean loss of `model` on `data`, in nats per token, on the same tokens every time it is called.

    The tokens are read in consecutive windows of `context_length` (None: the model's). With
    `at_document_starts` each document is read alone instead, from its start to its end-of-text token (or as
    far as the context goes): that is the number to hold against an entropy floor in nats per token. At most
    `max_batches` batches are read (None: all of the data). The processes of a `team` share the rows of each.

    Raises ValueError when the data holds no window, or no document, to read.
    """
    context_length = _context_length(model, context_length)
    device = _device_of(model)
    sequences = _documents(data, context_length) if at_document_starts else data.windows(context_length)
    was_training = model.training
    model.eval()
    total, count, batches = 0.0, 0, 0
    try:
        for inputs, targets in _batched(sequences, batch_size):
            inputs, targets = _own_rows(inputs, targets, team)
            kept = int((targets != IGNORED).sum())
            total += loss_of(model, inputs.to(device), targets.to(device)).item() * kept
            count += kept
            batches += 1
            if batches == max_batches:
                break
    finally:
        model.train(was_training)
    total, count = team.sum(torch.tensor([total, count], dtype=torch.float64)).tolist()
    if count == 0:
        raise ValueError(f"data must hold at least two tokens to be evaluated, got {len(data)}")
    return total / count


def _own_rows(
    inputs: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"], team: Alone
) -> tuple[Int[Tensor, "share seq"], Int[Tensor, "share seq"]]:
    """This process's rows of a batch; where they do not divide, some that carry no loss are added."""
    missing = -len(inputs) % team.size
    inputs = F.pad(inputs, (0, 0, 0, missing))
    targets = F.pad(targets, (0, 0, 0, missing), value=IGNORED)
    return inputs.chunk(team.size)[team.rank], targets.chunk(team.size)[team.rank]


def _documents(
    data: TokenFile, context_length: int
) -> Iterator[tuple[Int[Tensor, " seq"], Int[Tensor, " seq"]]]:
    """Each document of `data` alone, from the end-of-text token before it to the one after it."""
    starts = data.document_starts()
    for start, end in zip(starts[:-1], starts[1:], strict=True):
        document = torch.from_numpy(data.tokens[start : end + 1][: context_length + 1].astype(np.int64))
        yield document[:-1], document[1:]


def _batched(
    sequences: Iterator[tuple[Int[Tensor, " _"], Int[Tensor, " _"]]], batch_size: int
) -> Iterator[tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]]:
    """Stack sequences into batches, padded at the end with targets that carry no loss."""
    batch: list[tuple[Tensor, Tensor]] = []

    def stacked() -> tuple[Tensor, Tensor]:
        inputs = nn.utils.rnn.pad_sequence([row[0] for row in batch], batch_first=True)
        targets = nn.utils.rnn.pad_sequence(
            [row[1] for row in batch], batch_first=True, padding_value=IGNORED
        )
        return inputs, targets

    for sequence in sequences:
        batch.append(sequence)
        if len(batch) == batch_size:
            yield stacked()
            batch = []
    if batch:
        yield stacked()


# ------------------------------------------------------------------------------------------------ checkpoints


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on: see `save_checkpoint`."""

    path: Path
    step: int
    model: dict[str, Tensor] = field(repr=False)
    optimizer: dict[str, dict[str, Tensor]] = field(repr=False)
    generator_state: Tensor = field(repr=False)
    train_config: dict[str, Any] | None
    model_config: dict[str, Any] | None

    def restore(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        team: Alone = ALONE,
    ) -> None:
        """Put the run back where it was. ValueError if the model has other parameters than the checkpoint."""
        _fill(model, self.model, self.path, team)
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
) -> Path:
    """Write model, optimizer, batch generator and `step` to one safetensors file, whole or not at all.

    All of a `team` must call this; its first process writes. The file does not say how many there were: any
    number of processes can go on from it.
    """
    tensors = {f"model.{name}": tensor for name, tensor in _own_tensors(model).items()}
    state = optimizer.state_dict()["state"]
    for index, name in enumerate(_names_in_order(model, optimizer)):
        for part, tensor in state.get(index, {}).items():
            tensors[f"optimizer.{part}.{name}"] = tensor
    tensors = _gathered(tensors, team)
    tensors["generator"] = generator.get_state()
    metadata = {"format": CHECKPOINT_FORMAT, "step": str(step), "model_config": _config_text(model)}
    if config is not None:
        settings = asdict(config) | {"folder": str(config.folder), "device": str(config.device)}
        metadata["train_config"] = json.dumps(settings)
    return write_tensors(path, tensors, metadata) if team.rank == 0 else Path(path)


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint, or the one in the folder `path`.

    Raises FileNotFoundError when there is none; ValueError when the file is cut off or is not a checkpoint.
    """
    path = Path(path)
    if path.is_dir():
        path = path / CHECKPOINT_NAME
    tensors, metadata = read_tensors(path, CHECKPOINT_FORMAT)
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
    )


def save_model(
    path: str | os.PathLike[str],
    model: nn.Module,
    step: int | None = None,
    half: bool = False,
    team: Alone = ALONE,
) -> Path:
    """Write the weights and the configuration alone, to use the model; `half` rounds them to 16 bits.

    All of a `team` must call this; its first process writes.
    """
    tensors = {
        name: tensor.half() if half and tensor.is_floating_point() else tensor
        for name, tensor in _gathered(_own_tensors(model), team).items()
    }
    metadata = {"format": MODEL_FORMAT, "model_config": _config_text(model), "step": json.dumps(step)}
    return write_tensors(path, tensors, metadata) if team.rank == 0 else Path(path)


def load_model(path: str | os.PathLike[str]) -> tuple[GPT, int | None]:
    """Read what `save_model` wrote: a float32 model in evaluation mode, and its step if one was given.

    The model inside a checkpoint is read too.

    Raises FileNotFoundError when there is no such file; ValueError when it is cut off, or no model of ours.
    """
    tensors, metadata = read_tensors(Path(path), MODEL_FORMAT, CHECKPOINT_FORMAT)
    if metadata["format"] == CHECKPOINT_FORMAT:
        tensors = {
            name.removeprefix("model."): tensor
            for name, tensor in tensors.items()
            if name.startswith("model.")
        }
    # Building a model draws random weights; reading one should leave the caller's random numbers alone.
    with torch.random.fork_rng(devices=[]):
        model = GPT(GPTConfig(**json.loads(metadata["model_config"])))
    _fill(model, tensors, Path(path))
    return model.eval(), json.loads(metadata["step"])


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


def _fill(model: nn.Module, tensors: dict[str, Tensor], path: Path, team: Alone = ALONE) -> None:
    """Copy `tensors` into the model; ValueError unless names and shapes are exactly the model's."""
    own = _own_tensors(model)
    if missing := sorted(own.keys() - tensors.keys()):
        raise ValueError(
            f"{str(path)!r} has no tensor {missing[0]!r} ({len(missing)} missing); it is of another model"
        )
    if extra := sorted(tensors.keys() - own.keys()):
        raise ValueError(
            f"{str(path)!r} has a tensor {extra[0]!r} ({len(extra)} extra); it is of another model"
        )
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise ValueError(
                f"{name!r} is {tuple(tensors[name].shape)} in {str(path)!r}, but {tuple(tensor.shape)} in "
                "the model"
            )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(team.part(tensors[name], tensor))


def _names_in_order(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the parameters in the order in which the optimizer numbers them."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def _config_text(model: nn.Module) -> str:
    config = getattr(model, "config", None)
    return json.dumps(None if config is None else asdict(config))


def write_tensors(
    path: str | os.PathLike[str], tensors: dict[str, Tensor], metadata: dict[str, str]
) -> Path:
    """Write tensors and what is to be known about them, "format" among it, to one safetensors file.

    Whole or not at all, and the same bytes for the same contents.
    """
    # As one entry: several are written in an order that changes, so equal models would make unequal files.
    about = {"about": json.dumps(metadata)}
    whole = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()}, about)
    return write_atomically(path, lambda file: file.write(whole))


def read_tensors(path: Path, *formats: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `write_tensors` wrote, if its format is one of `formats`.

    Raises FileNotFoundError when there is no such file; ValueError when it is cut off, or of another format.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("about", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ValueError(f"{str(path)!r} is cut off or is not a safetensors file ({error})") from None
    if metadata.get("format") not in formats:
        raise ValueError(
            f"{str(path)!r} must be of format {formats[0]!r}, but its format is {metadata.get('format')!r}"
        )
    return tensors, metadata


# ---------------------------------------------------------------------------------------------------- devices


def pick_device(preferred: str | torch.device | None = None) -> torch.device:
    """The device to compute on: `preferred` if it is there, else CUDA, else MPS, else the CPU.

    Raises ValueError when `preferred` is not a device, or this machine does not have it.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if preferred is None:
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if present[name]))
    here = ", ".join(name for name in present if present[name])
    try:
        device = torch.device(preferred)
    except RuntimeError:
        raise ValueError(f"device must be one of {', '.join(present)}, got {preferred!r}") from None
    if not present.get(device.type, False):
        raise ValueError(f"device {str(preferred)!r} is not available here; this machine has: {here}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {str(preferred)!r} is not available here; there are {torch.cuda.device_count()} of cuda"
        )
    return device


def _device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _context_length(model: nn.Module, given: TrainConfig | int | None) -> int:
    wanted = given.context_length if isinstance(given, TrainConfig) else given
    longest = getattr(getattr(model, "config", None), "context_length", None)
    if wanted is None:
        wanted = longest
    if wanted is None:
        raise ValueError("context_length must be given, for this model has no config.context_length")
    if longest is not None and wanted > longest:
        raise ValueError(f"context_length must be at most the model's ({longest}), got {wanted}")
    return wanted


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
    device = _device_of(model)
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
