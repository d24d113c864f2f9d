"""Writes the page; its own code stands beside this file, what runs the model in explorers/live/."""

from __future__ import annotations

import base64
import functools
import html
import json
from pathlib import Path

from gptlib.files import write_atomically
from gptlib.generation.writing import generate
from gptlib.model.gpt import GPT
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.tokenizer import Tokenizer
from gptlib.viz.explorers import living
from gptlib.viz.explorers.pages import FOLDER as EXPLORERS
from gptlib.viz.explorers.pages import bare, filled, shared_code

FOLDER = Path(__file__).parent
SCRIPTS = ("numbers.js", "writing.js", "flow.js", "heads.js", "stages.js", "page.js")
ANSWERS = ("opened.js", "answers.js")
ABOUT = (
    "{:,} parameters of {} bits, in {} layers of {} heads. It runs in this page, without a network, and "
    "nothing that you type leaves it."
)
# Of a model that comes with the course: what it has read, and the text that its page opens with, after which
# it is sure what comes, and one of its heads looks at the reason.
KNOWN = {"storyteller": " It has read only short made-up stories."}
OPENING = {"storyteller": "There once was a thoughtful girl called Mia. Mia had a red kite. But"}


def write_page(
    model: GPT,
    tokenizer: Tokenizer | CharacterTokenizer,
    path: str | Path,
    prompt: str | None = None,
    bits: int = 16,
    name: str | None = None,
) -> None:
    """Write one file in which the model is alive: it reads what is typed, writes on, and shows how.

    prompt: the text that the page opens with; None: one that suits a model of the course, and any other model
    begins it. bits: of each weight, 16 or 8. name: what the page calls the model; None: its own name, if it
    comes with the course.
    Raises ValueError for a model that a page cannot run, FileNotFoundError when path's folder is missing.
    """
    text = page_text(model, tokenizer, prompt, bits, name)
    write_atomically(path, lambda file: file.write(text.encode()))


def page_text(
    model: GPT,
    tokenizer: Tokenizer | CharacterTokenizer,
    prompt: str | None = None,
    bits: int = 16,
    name: str | None = None,
) -> str:
    """The HTML of the file that `write_page` writes; raises ValueError for a model that a page cannot run."""
    if problem := living.why_not(model, tokenizer):
        raise ValueError(problem)
    packed = living.pack_model(model, tokenizer, bits)
    shipped, config = living.name_of(model), model.config
    if prompt is None:
        prompt = OPENING.get(shipped) or generate(model, tokenizer, "", max_new_tokens=12, seed=0)
    name = name or shipped or "your GPT"
    about = ABOUT.format(model.n_parameters, bits, config.n_layers, config.n_heads) + KNOWN.get(shipped, "")
    parts = {
        "NAME": html.escape(name[:1].upper() + name[1:]),
        "ABOUT": about,
        "STYLE": page_style(),
        "SCRIPT": page_code().replace("export default", "const page ="),
        "HOST": bare("live/host.js"),
        "MODEL": base64.b64encode(packed).decode(),
        "RUNTIME": f"{living.runtime_code()}\n{answers_code()}",
        "STATE": json.dumps({"prompt": prompt}).replace("<", "\\u003c"),
    }
    return filled(FOLDER / "page.html", parts).decode()


def page_code() -> str:
    """The page as a module: its default export has `render({model, el})` and `freshState({prompt})`."""
    return f"{shared_code()}\n{own_code()}"


@functools.cache
def own_code() -> str:
    """That module without what it shares with the explorers, `shared_code()`, which comes before it."""
    return "\n".join(bare(str(FOLDER / name)) for name in SCRIPTS)


def page_style() -> str:
    """What all explorers share, then the page's own style."""
    return (EXPLORERS / "shared.css").read_text(encoding="utf-8") + own_style()


@functools.cache
def own_style() -> str:
    """The page's own style, which counts for more than the shared one wherever that stands."""
    return f":root {{\n{(FOLDER / 'page.css').read_text(encoding='utf-8')}}}\n"


@functools.cache
def answers_code() -> str:
    """What a worker needs behind `living.runtime_code()` to answer questions of the kind "page"."""
    return "\n".join([*(bare(str(FOLDER / name)) for name in ANSWERS), "ANSWERS.page = PageAnswers;"])
