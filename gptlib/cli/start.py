"""Make your own copies of the notebooks, in work/, for you to write in.

What is there is kept.
"""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from gptlib.course.desk import workbooks
from gptlib.places import course_root


def start(*numbers: Annotated[str, Parameter(help="Such as 03; without any, all notebooks.")]) -> None:
    """Make the workbooks that are not there yet."""
    done = workbooks.start(course_root(), numbers)
    for each in done:
        if numbers or each.action != "kept":
            print(each.sentence)
    if all(each.action == "kept" for each in done) and not numbers:
        print("Your notebooks are in work/, as you left them.")
