"""Write the course in nbgrader's format, with solutions and hidden tests.

What is there is kept. docs/teaching/nbgrader.md says how to go on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gptlib.course.grading.nbgrader import write_course


def nbgrader(
    folder: Annotated[Path, Parameter(help="nbgrader's folder of the course.")],
    *names: Annotated[str, Parameter(help="Such as attention; without any, all notebooks.")],
) -> None:
    """Write the notebooks and say what to call next."""
    written = write_course(folder, names)
    print("\n".join(map(str, written)) or "They are there already, and were kept as they are.")
    print(f"In {folder}, `nbgrader generate_assignment NAME` makes the students' version of each.")
