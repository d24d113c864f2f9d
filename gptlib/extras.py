"""The extras of an install, and one sentence for whoever uses what an extra brings without having it."""

from __future__ import annotations

from importlib.util import find_spec

MODULES = {  # by extra, what the code behind it imports
    "viz": ("IPython", "PIL", "anywidget", "matplotlib", "traitlets"),
    "hub": ("huggingface_hub", "tokenizers"),
    "course": (
        "filelock",
        "ipywidgets",
        "jinja2",
        "latex2mathml",
        "markupsafe",
        "mistune",
        "nbformat",
        "pygments",
    ),
}


class MissingExtra(ImportError):
    """Something was asked for that an extra brings, and the extra is not installed."""


def need(extra: str) -> None:
    """Check, before they are imported, that the modules of an extra are there.

    Raises MissingExtra, naming those that are missing and the command that brings them.
    """
    missing = [name for name in MODULES[extra] if find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise MissingExtra(f"{', '.join(missing)} {verb} missing; `{command(extra)}` brings what is needed")


def command(extra: str) -> str:
    """The command that adds an extra to the gptlib that is installed."""
    return f'pip install "gptlib[{extra}]"'
