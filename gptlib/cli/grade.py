"""Grade the notebooks that a class handed in: grades.csv, pages for you, for the class and for each student.

A run that was stopped goes on when called again. How, and how safe: docs/teaching/grading.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gptlib.course.grading import marking


def grade(
    submissions: Annotated[Path, Parameter(help="What the class handed in: a folder, a zip or a notebook.")],
    *,
    out: Annotated[Path, Parameter(help="The folder for grades and reports.")],
    rubric: Annotated[
        Path | None, Parameter(help="Points, as JSON; without it an exercise's difficulty.")
    ] = None,
    jobs: Annotated[int, Parameter(help="Answers that run at a time.")] = 2,
    again: Annotated[
        tuple[str, ...], Parameter(help="Students to grade once more, by the names in grades.csv.")
    ] = (),
    since: Annotated[
        Path | None, Parameter(help="The --out of an earlier grading, to compare the class with.")
    ] = None,
    ci: Annotated[
        bool, Parameter(help="Print all verdicts; the exit status is 1 unless all points were reached.")
    ] = False,
) -> int:
    """Grade, and say where the reports are."""
    graded = marking.grade(submissions, out, rubric, jobs, progress=not ci, again=again, since=since)
    if ci:
        return _print_verdicts(graded)
    print(f"students: {len(graded.rows)}, exercises: {len(graded.exercises)}: {out / 'grades.csv'}")
    print(f"for you, with names: {out / 'teacher.html'}")
    print(f"what to talk about in the next lecture, without names: {out / 'class.html'}")
    return 0


def _print_verdicts(graded: marking.Class) -> int:
    from gptlib.course.grading.reports import MARKS, remarks_on

    missing = False
    for row in graded.rows:
        print(row.name)
        for name, answer in row.answers.items():
            most = graded.rubric[name].points
            print(f"{MARKS[answer.status]} {name}: {graded.points(row, name):g} of {most:g}")
            print(f"    {answer.status}{answer.because}{answer.message}".replace("\n", "\n    "))
        for remark in remarks_on(row):
            print(f"remark: {remark}")
        print(f"{graded.total(row):g} of {graded.most:g} points")
        missing |= graded.total(row) < graded.most
    return int(missing)
