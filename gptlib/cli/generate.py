"""Let a trained GPT write on from a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from gptlib.cli.options import Device, Fields, Model
from gptlib.generation.sampling import Sampling
from gptlib.generation.writing import generate_many, stream
from gptlib.loading import load


@dataclass(frozen=True)
class Writing:
    """What is to be written."""

    model: Model = "storyteller"

    prompt: Annotated[str, Parameter(show_default=False)] = ""
    """How the text begins; without it the model begins it."""

    sequences: int = 1
    """How many continuations to write."""

    device: Device = None


@dataclass(frozen=True, kw_only=True)
class ShellSampling(Sampling):
    """A Sampling with the shell's own defaults."""

    max_new_tokens: int = 250
    stop: Annotated[tuple[str, ...], Parameter(show_default=False)] = ()
    """End before this text; may be given several times."""


def generate(
    *,
    writing: Annotated[Writing, Fields] = Writing(),  # noqa: B008
    sampling: Annotated[ShellSampling, Parameter(name="*", group="How it is written")] = ShellSampling(),  # noqa: B008
) -> None:
    """Print one text as it is written, or several when they are done."""
    model, tokenizer = load(writing.model, device=writing.device)
    if writing.sequences == 1:
        for piece in stream(model, tokenizer, writing.prompt, sampling):
            print(piece, end="", flush=True)
        print()
        return
    texts = generate_many(model, tokenizer, writing.prompt, writing.sequences, sampling)
    for number, text in enumerate(texts, start=1):
        print(f"--- {number}\n{text}")
