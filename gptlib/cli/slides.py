"""Make a slide show of a notebook: one HTML file that any browser shows, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gptlib.course.slides.deck import write_show


def slides(
    notebook: Annotated[str, Parameter(help="Such as attention, or a notebook's path.")],
    *,
    out: Annotated[Path | None, Parameter(help="The folder to write it to (default: slides/).")] = None,
) -> None:
    """Write the show and say how to present it."""
    path = write_show(notebook, out)
    print(f"{path}: open it in a browser. Arrow keys move on, s opens the speaker's notes, esc the overview.")
