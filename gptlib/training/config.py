"""Everything that decides a training run except the model and the data."""

# Annotations are evaluated here, not kept as text: a class made from TrainConfig elsewhere, as in the shell,
# would look their names up in its own module.

import os
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from gptlib.checks import (
    check_choice,
    check_flag,
    check_from_zero,
    check_kind,
    check_path,
    check_positive,
    check_seed,
    check_share,
    check_whole,
    make_plain,
)
from gptlib.training.optimizers import OPTIMIZERS, OptimizerName, check_betas

Precision = Literal["float32", "bfloat16"]
ScheduleName = Literal["cosine", "trapezoid"]

# What may differ when a run goes on, and nobody needs to be told: where it runs, how long, what it leaves.
FREE = (
    "steps",
    "eval_every",
    "eval_batches",
    "checkpoint_every",
    "folder",
    "progress",
    "device",
    "accumulate",
    "compile",
)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run except the model and the data.

    Raises TypeError for a value of the wrong type, ValueError for one that cannot work.
    """

    steps: int
    """How many updates to make."""

    batch_size: int = 32
    """How many sequences each update learns from."""

    context_length: int | None = None
    """Tokens in each training sequence (None: the model's context_length)."""

    learning_rate: float | int = 1e-3
    """The highest learning rate; it rises to it, then falls as the schedule says."""

    embedding_learning_rate: float | int | None = None
    """That of the embeddings and the unembedding, which rises and falls alike (None: the same)."""

    vector_learning_rate: float | int | None = None
    """That of what is no matrix, such as biases and the gains of norms (None: the same)."""

    schedule: ScheduleName = "cosine"
    """How the learning rate falls: along a cosine, or, a trapezoid, not until the end, and then straight."""

    cooldown: float = 0.5
    """Over which share of the run a trapezoid falls, above 0 and at most 1."""

    min_learning_rate: float | int | None = None
    """The learning rate at the end (None: a tenth of the highest, or 0 for a trapezoid)."""

    warmup_steps: int | None = None
    """Over how many steps the learning rate rises (None: a twentieth of the run, at most 200)."""

    optimizer: OptimizerName = "adamw"
    """AdamW, or Muon for the matrices inside the blocks and AdamW for the rest."""

    weight_decay: float | int = 0.1
    """How strongly matrices, and only they, are pulled toward 0."""

    betas: tuple[float | int, float | int] = (0.9, 0.95)
    """AdamW's: how much of the old averages of the gradient and of its square each step keeps."""

    clip: float | int | None = 1.0
    """Bound on the norm of the gradient (None: no bound)."""

    eval_every: int | None = 100
    """Steps between validation losses (None: never measured)."""

    eval_batches: int | None = 8
    """How many batches each validation loss is measured on (None: all data)."""

    checkpoint_every: int | None = None
    """Steps between checkpoints; with a folder the last step leaves one too (None: that one alone)."""

    folder: str | os.PathLike[str] | None = None
    """Where checkpoints are written (None: nowhere)."""

    seed: int = 0
    """Decides which batches are drawn, and the dropout noise."""

    at_document_starts: bool = False
    """Whether each sequence starts where a document does, and the validation loss is of whole documents."""

    repeats_first: float | int = 0.0
    """Over which share of the run, from its start, targets that are new in their row are mostly left out."""

    precision: Precision = "float32"
    """With bfloat16, matrix products are in half the bits (weights stay float32)."""

    progress: bool = False
    """Whether to show a bar."""

    device: str | torch.device | None = None
    """Where to train (None: where the model is)."""

    accumulate: int = 1
    """In how many pieces each process takes its share of a batch: the memory of one, the gradient of all."""

    compile: bool = False
    """Whether torch compiles the model first: a wait at the start, then faster steps."""

    def __post_init__(self) -> None:
        make_plain(self)
        for name in ("steps", "batch_size", "accumulate"):
            check_whole(name, getattr(self, name))
        for name in ("context_length", "eval_every", "eval_batches", "checkpoint_every"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name))
        check_positive("learning_rate", self.learning_rate)
        for name in ("embedding_learning_rate", "vector_learning_rate"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        check_choice("schedule", self.schedule, get_args(ScheduleName))
        check_positive("cooldown", self.cooldown)
        if self.cooldown > 1:
            raise ValueError(f"cooldown is {self.cooldown}; it needs to be above 0 and at most 1")
        if self.min_learning_rate is not None:
            check_from_zero("min_learning_rate", self.min_learning_rate)
            if self.min_learning_rate > self.learning_rate:
                raise ValueError(
                    f"min_learning_rate is {self.min_learning_rate}; it needs to be at most "
                    f"learning_rate = {self.learning_rate}"
                )
        if self.warmup_steps is not None:
            check_whole("warmup_steps", self.warmup_steps, at_least=0)
            if self.warmup_steps > self.steps:
                raise ValueError(
                    f"warmup_steps is {self.warmup_steps}; it needs to be at most steps = {self.steps}"
                )
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_from_zero("weight_decay", self.weight_decay)
        check_betas(self.betas)
        if self.clip is not None:
            check_positive("clip", self.clip)
        if self.checkpoint_every is not None and self.folder is None:
            raise ValueError(
                f"folder is None; with checkpoint_every = {self.checkpoint_every} it needs a path"
            )
        if self.folder is not None:
            check_path("folder", self.folder)
        if self.device is not None:
            check_kind("device", self.device, (str, torch.device), "a name such as 'cpu', or a torch.device")
        check_share("repeats_first", self.repeats_first)
        check_seed("seed", self.seed)
        for name in ("at_document_starts", "progress", "compile"):
            check_flag(name, getattr(self, name))
        check_choice("precision", self.precision, get_args(Precision))
