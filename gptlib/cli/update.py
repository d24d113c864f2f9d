"""Bring what the course changed into your copies in work/, and keep all that you wrote.

A copy that is changed goes to work/backups/ first, as it was.
"""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from gptlib.course.desk import workbooks
from gptlib.places import course_root, readers_root


def update(*names: Annotated[str, Parameter(help="Such as attention; without any, all of yours.")]) -> None:
    """Say for each workbook what the update did to it."""
    done = workbooks.update(course_root() / "notebooks", readers_root() / "work", names)
    for each in done:
        print(each.sentence)
    if not done:
        print("There is nothing in work/ yet: `gptlib start` makes your copies.")
    if any(each.action in ("updated", "set aside") for each in done):
        print("If one is open in JupyterLab: File > Reload Notebook from Disk.")
