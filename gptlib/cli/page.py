"""Write a GPT into one page, where it reads what is typed and shows how it gets from a token to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from gptlib.cli.options import Model
from gptlib.loading import load
from gptlib.viz.gpt_page import write_page
from gptlib.viz.training_page import write_training_page


def page(
    *,
    model: Model = "storyteller",
    out: Annotated[Path, Parameter(help="The file to write.")] = Path("page.html"),
    prompt: Annotated[
        str | None, Parameter(help="The text that the page opens with; without one the page chooses it.")
    ] = None,
    bits: Annotated[
        Literal[16, 8], Parameter(help="Bits of each weight: with 8 the file is nearly half as large.")
    ] = 16,
    training: Annotated[
        bool,
        Parameter(help="A page in which a small GPT learns from the beginning, instead of a trained one."),
    ] = False,
) -> None:
    """Write one file that any browser opens, without a network and with nothing installed.

    A model of up to ten million parameters runs in it. The file holds the model, so it is given away with it.
    """
    if training:
        if (model, prompt, bits) != ("storyteller", None, 16):
            raise ValueError("training is on, and its page takes no model, prompt or bits; leave them out")
        write_training_page(out)
    else:
        gpt, tokenizer = load(model)
        write_page(gpt, tokenizer, out, prompt=prompt, bits=bits, name=Path(model).resolve().name)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, to be opened in a browser")
