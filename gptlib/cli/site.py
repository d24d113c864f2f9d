"""Build the course as a web site, from the saved notebooks, without a network.

Any browser opens it, also from a disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gptlib.course.site.building import build_site
from gptlib.course.site.colab import Repository


def site(
    *,
    out: Annotated[
        Path, Parameter(help="The folder to write it to; a site that is there is replaced.")
    ] = Path("site"),
    repository: Annotated[
        str | None,
        Parameter(help="The course's on GitHub, OWNER/NAME: notebooks then have links to Colab and Binder."),
    ] = None,
    ref: Annotated[str, Parameter(help="The branch, tag or commit of it that they open.")] = "main",
) -> None:
    """Write the site and say how to open it."""
    place = None if repository is None else Repository(repository, ref)
    print(f"{build_site(out, place)}: open it in a browser.")
