"""Grade the notebooks that a class handed in: grades.csv, a report for each student and one on the class.

A run that was stopped goes on when called again. How, and how safe: docs/teaching/grading.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gptlib.course.grading import marking


def grade(
    submissions: Annotated[Path, Parameter(help="What the class handed in: a folder or a zip.")],
    *,
    out: Annotated[Path, Parameter(help="The folder for grades and reports.")],
    rubric: Annotated[
        Path | None, Parameter(help="Points, as JSON; without it an exercise's difficulty.")
    ] = None,
    jobs: Annotated[int, Parameter(help="Answers that run at a time.")] = 2,
) -> None:
    """Grade, and say where the reports are."""
    graded = marking.grade(submissions, out, rubric, jobs)
    print(f"students: {len(graded.rows)}, exercises: {len(graded.exercises)}: {out / 'grades.csv'}")
    print(f"what to talk about in the next lecture: {out / 'class.html'}")
