"""Make your own copies of the notebooks, in work/, for you to write in.

What is there is kept.
"""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from gptlib.course.desk import workbooks
from gptlib.places import course_root, readers_root


def start(*names: Annotated[str, Parameter(help="Such as attention; without any, all notebooks.")]) -> None:
    """Make the workbooks that are not there yet."""
    done = workbooks.start(course_root() / "notebooks", readers_root() / "work", names)
    for each in done:
        if names or each.action != "kept":
            print(each.sentence)
    if all(each.action == "kept" for each in done) and not names:
        print("Your notebooks are in work/, as you left them.")
