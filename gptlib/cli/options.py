"""What several verbs are asked in the same words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import Parameter

from gptlib.checks import check_whole
from gptlib.loading import load
from gptlib.model.gpt import GPT
from gptlib.text.tokenizer import Tokenizer

# Each field is a flag of its own, named as the field is.
Fields = Parameter(name="*")

Model = Annotated[
    str, Parameter(help="The name of a model, such as storyteller, or a folder or file that holds one.")
]
Device = Annotated[str | None, Parameter(help="Where to compute, such as cuda, mps or cpu.")]
Threads = Annotated[int | None, Parameter(help="Processor threads to use.")]
DataFile = Annotated[
    Path | None,
    Parameter(
        help="Your own conversations, one a line: "
        '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}.'
    ),
]


def use_threads(threads: int | None) -> None:
    """Let torch compute with so many threads; None leaves it as it is."""
    if threads is not None:
        check_whole("--threads", threads)
        torch.set_num_threads(threads)


def in_a_terminal() -> bool:
    """Whether a person watches stderr. It is asked at each run: the stream may have been exchanged since."""
    return sys.stderr.isatty()


def load_base(name: str, device: str | torch.device | None) -> tuple[GPT, Tokenizer]:
    """The model that adapters are learned on. ValueError for one without a byte-pair tokenizer."""
    model, tokenizer = load(name, device=device)
    if not isinstance(tokenizer, Tokenizer):
        raise ValueError(f"--model: {name!r} reads characters; roles need a model with a byte-pair tokenizer")
    return model, tokenizer
