"""Everything that decides a training run except the model and the data."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import torch

from gptlib.training.optimizers import OPTIMIZERS


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
