"""Let a trained GPT write on from a prompt."""

from __future__ import annotations

from dataclasses import asdict, dataclass
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

    max_new_tokens: int = 250
    """The most tokens that may be added."""

    min_new_tokens: int = 0
    """The fewest; tokens that would end the text come no earlier."""

    stop: Annotated[tuple[str, ...], Parameter(show_default=False)] = ()
    """End before this text; may be given several times."""

    seed: int | None = None
    """The same seed gives the same text."""

    sequences: int = 1
    """How many continuations to write."""

    cache: bool = True
    """Whether keys and values are remembered; without, each token is computed anew, for the same text."""

    device: Device = None


def generate(
    *,
    writing: Annotated[Writing, Fields] = Writing(),  # noqa: B008
    sampling: Annotated[Sampling, Parameter(name="*", group="How a token is chosen")] = Sampling(),  # noqa: B008
) -> None:
    """Print one text as it is written, or several when they are done."""
    model, tokenizer = load(writing.model, device=writing.device)
    settings = asdict(sampling) | {
        "max_new_tokens": writing.max_new_tokens,
        "min_new_tokens": writing.min_new_tokens,
        "stop": writing.stop,
        "seed": writing.seed,
        "cached": writing.cache,
    }
    if writing.sequences == 1:
        for piece in stream(model, tokenizer, writing.prompt, **settings):
            print(piece, end="", flush=True)
        print()
        return
    texts = generate_many(model, tokenizer, writing.prompt, n_sequences=writing.sequences, **settings)
    for number, text in enumerate(texts, start=1):
        print(f"--- {number}\n{text}")
