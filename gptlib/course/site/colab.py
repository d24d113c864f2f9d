"""Where the notebooks run without an install: copies for Google Colab, and addresses at Binder.

Both take notebooks from a repository on GitHub, which the site has to be told. A copy for Colab is the
reader's with a cell at the top that brings the course there; the site's workflow puts the copies into the
branch `colab`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptlib.course.desk.workbooks import readers_copy, serialize
from gptlib.course.prose import notebook_paths

FOLDER = "colab"  # in the site
BRANCH = "colab"  # of the repository
HOST = "https://github.com"
LINK = re.compile(r"\]\((?!\w+:|#)([^()\s]+)\)")

# Colab's own parts need the versions of IPython and Jupyter that it has: with others it does not start again
# (googlecolab/colabtools, issue 5580). So what is there stays, and only what is missing is added.
SET_UP = """\
# Run this cell first. In Google Colab it installs the course, once in a session: gptlib with its data, from
# its repository, and those packages it needs that Colab does not have. What Colab has stays as it is.
# Wherever gptlib is installed already, it does nothing, so it is safe to run it again.
from importlib.util import find_spec

if find_spec("gptlib") is None:
    %pip install --quiet --no-deps "{archive}"
    from gptlib.extras import absent

    missing = " ".join(f"'{{package}}'" for package in absent("course"))
    if missing:
        %pip install --quiet {{missing}}
"""


@dataclass(frozen=True)
class Repository:
    """A repository of the course on GitHub, and what of it is to be installed.

    Raises ValueError for a name or ref that cannot be one.
    """

    name: str
    """Its owner and its name: "OWNER/NAME"."""

    ref: str = "main"
    """A branch, a tag or a commit."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][\w-]*/[\w.-]+", self.name):
            raise ValueError(f"repository is {self.name!r}; it needs to be OWNER/NAME, as on GitHub")
        if not re.fullmatch(r"\w[\w./-]*", self.ref):
            raise ValueError(f"ref is {self.ref!r}; it needs to be the name of a branch or tag, or a commit")

    @property
    def archive(self) -> str:
        """The address of all its files in one."""
        return f"{HOST}/{self.name}/archive/{self.ref}.tar.gz"

    def colab(self, notebook: str) -> str:
        """Where Colab opens its copy of a notebook, such as "04_attention.ipynb"."""
        return f"https://colab.research.google.com/github/{self.name}/blob/{BRANCH}/{notebook}"

    def binder(self, notebook: str) -> str:
        """Where Binder opens a notebook: the reader's copy, which binder/postBuild makes."""
        return f"https://mybinder.org/v2/gh/{self.name}/{self.ref}?urlpath=lab/tree/work/{notebook}"


def colab_files(repository: Repository) -> dict[str, bytes]:
    """The copies of all notebooks for Colab, by their paths in the site."""
    return {f"{FOLDER}/{path.name}": serialize(colab_copy(path, repository)) for path in notebook_paths()}


def colab_copy(notebook: Path, repository: Repository) -> dict[str, Any]:
    """A notebook without outputs, with the set-up cell at its top, and with links that hold in Colab."""
    copy = readers_copy(notebook)
    cell = {
        "cell_type": "code",
        "id": "set-up-colab",
        "metadata": {},
        "source": set_up(repository.archive),
        "outputs": [],
        "execution_count": None,
    }
    return {**copy, "cells": [cell, *(_linked(each, repository) for each in copy["cells"])]}


def set_up(archive: str) -> str:
    """The source of the set-up cell, which installs the course from the address of an archive of it."""
    return SET_UP.format(archive=archive).rstrip()


def _linked(cell: Mapping[str, Any], repository: Repository) -> Mapping[str, Any]:
    """A cell whose links lead to Colab for notebooks, and to the repository for other files."""

    def address(link: re.Match[str]) -> str:
        path, mark, anchor = link[1].partition("#")
        target = posixpath.normpath(posixpath.join("notebooks", path))
        folder, name = posixpath.split(target)
        if folder == "notebooks" and name.endswith(".ipynb"):
            return f"]({repository.colab(name)}{mark}{anchor})"
        return f"]({HOST}/{repository.name}/blob/{repository.ref}/{target}{mark}{anchor})"

    if cell["cell_type"] != "markdown":
        return cell
    return {**cell, "source": LINK.sub(address, cell["source"])}
