"""Where the course's files are, in a checkout and where gptlib is installed."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def course_root() -> Path:
    """The folder that holds data/ and notebooks/: the checkout, or the installed package itself."""
    return PACKAGE if (PACKAGE / "data").is_dir() else PACKAGE.parent


def is_checkout() -> bool:
    """Whether gptlib is used from a checkout, where tests/ and docs/ stand beside it."""
    return course_root() != PACKAGE


def way_back(name: str) -> str:
    """What brings a file or folder of the course's back as it was, as the beginning of a sentence."""
    if is_checkout():
        return f"`git checkout -- {name}` brings the original back"
    again = "`pip install --force-reinstall --no-deps` with the wheel or folder that gptlib came from"
    return f"{again} brings the original back"


def way_back_to_line_endings(name: str) -> str:
    """What brings a folder of the course's back where only its line endings are others.

    git takes such files for unchanged when it made them itself, so that a plain checkout leaves them alone.
    """
    if is_checkout():
        again = f"`git rm -r -q --cached {name}` and then `git checkout HEAD -- {name}`"
    else:
        again = "`pip install --force-reinstall --no-deps` with a fresh clone of the repository"
    return f"{again} bring the original back"


def readers_root() -> Path:
    """The folder whose work/ holds the reader's notebooks.

    The checkout; or, where gptlib is installed, the nearest folder from the current one up that has a work/
    made by `gptlib start`, and the current folder if none has.
    """
    if is_checkout():
        return course_root()
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "work" / ".course").is_dir()), here)
