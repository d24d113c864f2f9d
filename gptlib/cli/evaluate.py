"""Measure adapters on held-out examples.

Each application's adapter is measured beside a baseline and beside the model without it. Or measure your own
adapter on your own examples, which it should not have seen.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gptlib.cli.options import DataFile, Device, Fields, Model, Threads, load_base, use_threads
from gptlib.course.studies.applications import (
    APPLICATIONS,
    Application,
    adapter_path,
    exact,
    longest_answer,
    measure,
    model_writer,
    named,
    results_table,
    score,
)
from gptlib.files import write_json
from gptlib.model.gpt import GPT
from gptlib.text.tokenizer import Tokenizer
from gptlib.training.conversations import Conversations, grow, read_conversations
from gptlib.training.evaluation import evaluate as loss_on
from gptlib.training.finetuning import load_adapter


@dataclass(frozen=True)
class Measuring:
    """What is measured, and on what."""

    model: Model = "storyteller"

    adapter: Path | None = None
    """A file that finetune wrote; without it, those in data/."""

    data: DataFile = None

    n: int = 200
    """How many held-out examples of each."""

    seed: int = 0
    """Decides which of them."""

    json: Path | None = None
    """A file to write the numbers to as well."""

    device: Device = None

    threads: Threads = None

    def __post_init__(self) -> None:
        if self.n < 2:
            raise ValueError(f"--n is {self.n}; it needs to be at least 2, for a standard error")
        if self.data is not None and self.adapter is None:
            raise ValueError("--adapter is not given; with --data it needs to be a file that finetune wrote")


def evaluate(
    *applications: Annotated[str, Parameter(help="Such as questions; without any, all.")],
    measuring: Annotated[Measuring, Fields] = Measuring(),  # noqa: B008
) -> None:
    """Print the table."""
    use_threads(measuring.threads)
    base = load_base(measuring.model, measuring.device)
    if measuring.data is not None:
        return _evaluate_data(measuring, *base)
    names = applications or tuple(APPLICATIONS)
    if measuring.adapter is not None and len(names) > 1:
        raise ValueError("--adapter: name the application that it is for, or give --data")
    for name in names:
        named(name)
    results = []
    for name in names:
        before, after, tokenizer = _before_and_after(measuring.adapter or adapter_path(name), *base)
        results += measure(name, before, after, tokenizer, measuring.n, seed=measuring.seed)
        lines = results_table(results).split("\n")
        new = sum(result.application == name for result in results)
        print("\n".join(lines[-new:] if len(lines) > new + 1 else lines), flush=True)
    if measuring.json is not None:
        write_json(measuring.json, [dataclasses.asdict(result) for result in results])
    return None


def _evaluate_data(measuring: Measuring, base: GPT, own_tokenizer: Tokenizer) -> None:
    conversations = read_conversations(measuring.data)[: measuring.n]
    before, after, tokenizer = _before_and_after(measuring.adapter, base, own_tokenizer)
    data = Conversations(conversations, tokenizer, after.config.context_length)
    limit = longest_answer(conversations, tokenizer) + 1
    own = Application("your own", {"exact": exact}, lambda split, seed: iter(conversations))
    for name, model in (("before", before), ("after", after)):
        right = score(own, conversations, model_writer(model, tokenizer, limit))["exact"].mean()
        print(
            f"{name:7} loss {loss_on(model, data):.4f} nats per token of the answers, "
            f"{right:.0%} of {len(conversations)} answered word for word"
        )


def _before_and_after(path: Path, base: GPT, own_tokenizer: Tokenizer) -> tuple[GPT, GPT, Tokenizer]:
    after, tokenizer, _ = load_adapter(path, base, own_tokenizer)
    device = base.token_embedding.weight.device
    return grow(base, own_tokenizer, tokenizer).to(device), after.to(device), tokenizer
