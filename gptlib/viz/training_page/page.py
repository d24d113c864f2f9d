"""A page in which a small GPT learns: one file, without kernel or network; or its parts, for another page."""

from __future__ import annotations

import base64
import functools
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gptlib.files import write_atomically
from gptlib.model.config import GPTConfig
from gptlib.viz.explorers.pages import bare, filled, own_style, packed, page_code, page_style
from gptlib.viz.training_page.documents import END, Documents, page_documents

FOLDER = Path(__file__).parent
TITLE = "A GPT learns to write, in this page"
STYLE, SCRIPT = str(FOLDER / "page.css"), str(FOLDER / "page.js")
WORKER = ("network.js", "adamw.js", "dice.js", "training.js", "worker.js")

# Chosen so that names are copied within a minute. With tied embeddings they were not after 16,000 documents:
# the right name got 0.03; with an unembedding of its own, from the same seed and at the same rate, 0.64.
LEARNING_RATE, BATCH, BETAS, WEIGHT_DECAY = 0.01, 16, (0.9, 0.95), 0.01
REST = 2000  # steps after which a run pauses, so that a page left open does not go on for ever
SHOWN = " asked"  # the example is the first place where a name must follow this word


def network_config(vocab_size: int) -> GPTConfig:
    """The GPT that learns in the page; the page's own network has these parts and no others."""
    return GPTConfig(
        vocab_size=vocab_size,
        context_length=64,
        n_layers=2,
        n_heads=4,
        d_model=32,
        position="rotary",
        norm="rmsnorm",
        bias=False,
        tie_embeddings=False,
    )


@dataclass(frozen=True)
class TrainingParts:
    """What another page needs to show it: `openTraining(element, worker, await unpackTraining(data))`.

    style: CSS, to come behind what all explorers share. script: plain declarations, to stand behind theirs in
    a module or a function of its own.
    worker: the text of the code that trains. data: base64 of the packed documents.
    A page with a content security policy needs `worker-src blob:`.
    """

    style: str
    script: str
    worker: str
    data: str


@functools.cache
def training_parts() -> TrainingParts:
    """The parts of the page. Takes some seconds the first time, to tell and judge its stories."""
    return TrainingParts(
        style=own_style(STYLE),
        script=bare(SCRIPT),
        worker="\n".join(bare(str(FOLDER / name)) for name in WORKER),
        data=base64.b64encode(gzip.compress(pack_documents(page_documents()), mtime=0)).decode(),
    )


def pack_documents(found: Documents) -> bytes:
    """The documents and the settings as one block, as `packed` writes it."""
    config = network_config(len(found.vocabulary))
    shown = next(i for i, name in enumerate(found.names) if follows(found, i, SHOWN))
    tokens = found.held_out[found.names[shown].document]
    return packed(
        {
            "vocabulary": found.vocabulary,
            "config": {
                "vocab_size": config.vocab_size,
                "n_layers": config.n_layers,
                "n_heads": config.n_heads,
                "d_model": config.d_model,
                "betas": BETAS,
                "weight_decay": WEIGHT_DECAY,
            },
            "learning_rate": LEARNING_RATE,
            "batch": BATCH,
            "rest": REST,
            "training": stream(found.training),
            "held_out": stream(found.held_out),
            "floor": found.floor,
            "rivals": found.rivals,
            "names": [vars(name) for name in found.names],
            "shown": shown,
            "shown_tokens": [END, *tokens],
            "n_training": len(found.training),
            "n_held_out": len(found.held_out),
        }
    )


def follows(found: Documents, index: int, word: str) -> bool:
    """Whether the name of this place comes right after the word."""
    name = found.names[index]
    return found.vocabulary[found.held_out[name.document][name.row - 1]] == word


def stream(rows: list[list[int]]) -> bytes:
    """The documents as one row of ids, 16 bits each, with the end token before, between and after them."""
    return np.array([END, *(token for row in rows for token in (*row, END))], dtype="<u2").tobytes()


def write_training_page(path: str | Path) -> None:
    """Write one file that any browser opens without a network, and in which a small GPT learns Storyworld.

    Raises FileNotFoundError if the folder is missing.
    """
    parts = training_parts()
    contents = {
        "TITLE": TITLE,
        "STYLE": page_style(STYLE),
        "DATA": parts.data,
        "WORKER": parts.worker,
        "SCRIPT": page_code(SCRIPT),
    }
    page = filled(FOLDER / "page.html", contents)
    write_atomically(path, lambda file: file.write(page))
