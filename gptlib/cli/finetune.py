"""Teach a trained GPT a task, as a small adapter.

The model learns with LoRA, and what it learned is kept in one small file. The file is written whenever the
validation loss is lower than ever, so a run that is stopped leaves its best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from gptlib.checks import check_whole
from gptlib.cli.options import DataFile, Device, Fields, Model, Threads, in_a_terminal, load_base, use_threads
from gptlib.shipped import as_path
from gptlib.text.tokenizer import Tokenizer
from gptlib.training import finetuning
from gptlib.training.config import TrainConfig
from gptlib.training.conversations import (
    Conversation,
    Conversations,
    check_lengths,
    grow,
    read_conversations,
    split,
    with_roles,
)
from gptlib.training.lora import add_lora, learn_rows

VALIDATION_EXAMPLES = 400


@dataclass(frozen=True)
class Task:
    """What is learned, from what, and where it is kept."""

    out: Path
    """The file to write, such as mine.safetensors."""

    application: str | None = None
    """One of those of the fine-tuning notebook, such as questions."""

    data: DataFile = None

    model: Model = "storyteller"

    rank: int = 16
    """Rank of the updates."""

    alpha: float | None = None
    """The updates are scaled by alpha / rank (default: twice the rank)."""

    new_tokens: int = 0
    """How many new tokens to learn from --data."""

    examples: int = 20_000
    """How many examples of --application to draw."""

    patience: int = 5
    """How many validation losses in a row may fail to fall before the run stops."""

    threads: Threads = None

    def __post_init__(self) -> None:
        if (self.application is None) == (self.data is None):
            raise ValueError("one of --application and --data is needed, and not both")
        if self.out.exists():
            raise FileExistsError(f"--out: {str(self.out)!r} is there already; name another file")
        if not self.out.parent.is_dir():
            raise FileNotFoundError(f"--out: there is no folder {str(self.out.parent)!r}")
        check_whole("--rank", self.rank)


# What a run is otherwise asked for; here the adapter is the checkpoint.
NotAsked = Annotated[None, Parameter(parse=False)]


@dataclass(frozen=True)
class Training(TrainConfig):
    """A TrainConfig with the defaults of fine-tuning."""

    steps: int = 1000
    batch_size: int = 16
    learning_rate: float | int = 0.003
    weight_decay: float | int = 0.0  # it would pull at rows of the embedding that are to stay as they are
    eval_batches: int | None = None
    device: Device = None
    progress: Annotated[bool, Parameter(show_default=False)] = field(default_factory=in_a_terminal)
    """Whether to show a bar (default: in a terminal)."""
    context_length: NotAsked = None
    folder: NotAsked = None
    checkpoint_every: NotAsked = None
    at_document_starts: Annotated[bool, Parameter(parse=False)] = False


def finetune(
    *,
    task: Annotated[Task, Fields],
    training: Annotated[Training, Parameter(name="*", group=Group("Training", sort_key=1))] = Training(),  # noqa: B008
) -> None:
    """Train, and leave an adapter."""
    use_threads(task.threads)
    base, own_tokenizer = load_base(task.model, training.device)
    conversations, n_new_tokens = _conversations(
        task, training.seed, own_tokenizer, base.config.context_length
    )
    texts = (turn.content for turns in conversations[0] for turn in turns)
    tokenizer = with_roles(own_tokenizer, texts, n_new_tokens)
    train_data, validation_data = (
        Conversations(part, tokenizer, base.config.context_length) for part in conversations
    )
    model = grow(base, own_tokenizer, tokenizer).to(base.token_embedding.weight.device)
    add_lora(model, task.rank, 2 * task.rank if task.alpha is None else task.alpha, training.seed)
    learn_rows(model, range(own_tokenizer.vocab_size, tokenizer.vocab_size))
    print(f"{len(train_data):,} conversations to learn from, {len(validation_data):,} held back", flush=True)
    about = {"application": task.application, "rank": task.rank, "examples": len(train_data)}
    best = float("inf")
    for step in finetuning.fine_tune(model, train_data, validation_data, training, task.patience):
        if step.validation_loss is None:
            continue
        lower = step.validation_loss < best
        if lower:
            best = step.validation_loss
            kept = about | {"step": step.step, "validation_loss": round(best, 4)}
            finetuning.save_adapter(task.out, model, tokenizer, base, task.model, kept)
        losses = f"loss {step.loss:.4f}  validation {step.validation_loss:.4f}"
        print(f"step {step.step:,}/{training.steps:,}  {losses}" + ("  kept" if lower else ""), flush=True)
    print(f"done; to see what it writes: gptlib generate --model {as_path(task.out)}")


def _conversations(
    task: Task, seed: int, tokenizer: Tokenizer, context_length: int
) -> tuple[Sequence[Sequence[Conversation]], int]:
    """Those to train on and those to validate on; and how many new tokens they ask for."""
    if task.data is not None:
        conversations = read_conversations(task.data)
        try:
            check_lengths(conversations, with_roles(tokenizer), context_length)
        except ValueError as error:
            raise ValueError(f"{str(task.data)!r}, a conversation a line: {error}") from None
        return split(conversations, 0.1, seed), task.new_tokens
    # Its tasks come with the course's extra, and --data needs none.
    from gptlib.course.studies.applications import examples, named

    application = named(task.application)
    parts = tuple(
        examples(application, n, part, seed, with_roles(tokenizer), context_length)
        for n, part in ((task.examples, "train"), (VALIDATION_EXAMPLES, "validation"))
    )
    return parts, application.n_new_tokens
