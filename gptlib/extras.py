"""The extras of an install, and one sentence for whoever uses what an extra brings without having it."""

from __future__ import annotations

from importlib import metadata
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
    "site": ("griffe",),
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


def absent(extra: str) -> list[str]:
    """What gptlib and an extra of it ask for and no version of which is installed, JupyterLab aside.

    It is for a program that runs notebooks with packages of its own, such as Google Colab, which needs the
    versions that it has: what is there can stay as it is.
    """
    from packaging.requirements import Requirement

    found, extras = [], [extra]
    asked = [Requirement(line) for line in metadata.requires("gptlib") or []]
    for each in extras:  # it grows by the extras that an extra brings
        for line in asked:
            if line.marker is not None and not line.marker.evaluate({"extra": each}):
                continue
            if line.name == "gptlib":
                extras += line.extras
            elif line.name != "jupyterlab" and not _is_installed(line.name):
                found.append(f"{line.name}{line.specifier}")
    return sorted(set(found))


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
