"""What a teacher gets of a graded class: grades.csv, a page for each student, and a page for the class."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from gptlib.course.exercises import Exercise
from gptlib.course.grading import Class, Row, safe_name
from gptlib.course.judging import NOT_ATTEMPTED, NOT_YET, RIGHT
from gptlib.files import write_atomically

MARKS = {RIGHT: "✓", NOT_YET: "✗", NOT_ATTEMPTED: "○"}


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram: how many answers show something, and what."""

    name: str
    because: str
    count: int


@dataclass(frozen=True)
class Tally:
    """How a class did at an exercise."""

    task: Exercise
    right: int
    attempted: int
    students: int
    bars: list[Bar]

    @property
    def share(self) -> float:
        return self.right / self.students if self.students else 0.0


def write_reports(graded: Class, out: Path) -> None:
    """Write grades.csv, class.html and students/NAME.html to the folder `out`."""
    (out / "students").mkdir(parents=True, exist_ok=True)
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    pages.filters["points"] = _points
    shared: dict[str, Any] = {"graded": graded, "marks": MARKS, "safe_name": safe_name}
    student = pages.get_template("student.html")
    for row in graded.rows:
        _write(out / "students" / f"{safe_name(row.name)}.html", student.render(row=row, **shared))
    tallies = [tally(graded, task) for task in graded.exercises]
    _write(out / "class.html", pages.get_template("class.html").render(tallies=tallies, **shared))
    # A spreadsheet knows Unicode by the mark in front.
    _write(out / "grades.csv", "\ufeff" + grades_csv(graded))


def grades_csv(graded: Class) -> str:
    """A row for each student: the files, points for each exercise, the total, and remarks."""
    text = io.StringIO()
    names = [task.name for task in graded.exercises]
    # Quoted, and never starting as a formula does: a file's name may be one.
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(["student", "files", *names, "total", "out of", "remarks"])
    for row in graded.rows:
        points = [graded.points(row, name) for name in names]
        files, remarks = "; ".join(row.files.values()), "; ".join(remarks_on(row))
        writer.writerow(
            [
                _harmless(row.name),
                _harmless(files),
                *points,
                graded.total(row),
                graded.most,
                _harmless(remarks),
            ]
        )
    return text.getvalue()


def remarks_on(row: Row) -> list[str]:
    """The remarks on a student's files, then those on the answers with the exercise's name in front."""
    found = [f"{name}: {remark}" for name, answer in row.answers.items() for remark in answer.remarks]
    return [*row.remarks, *found]


def tally(graded: Class, task: Exercise) -> Tally:
    """How the class did at an exercise, and the misconceptions that it shows, the most frequent first."""
    answers = [row.answers[task.name] for row in graded.rows if task.name in row.answers]
    because = {wrong.name: wrong.because for wrong in task.misconceptions}
    statuses = Counter(answer.status for answer in answers)
    shown = Counter(answer.misconception for answer in answers if answer.status == NOT_YET)
    bars = [Bar(name, because[name], count) for name, count in shown.most_common() if name in because]
    others = sum(count for name, count in shown.items() if name not in because)
    if others:
        bars.append(Bar("something else", "their own reports say what.", others))
    return Tally(task, statuses[RIGHT], statuses[RIGHT] + statuses[NOT_YET], len(graded.rows), bars)


def _harmless(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    text = " ".join(text.split())
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _points(number: float) -> str:
    return f"{number:g}"


def _write(path: Path, text: str) -> None:
    # An answer may hold half of a surrogate pair, which has no bytes.
    write_atomically(path, lambda file: file.write(text.encode("utf-8", "replace")))
