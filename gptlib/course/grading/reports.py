"""What a teacher gets of a graded class: grades.csv, a page for each student, and a page for the class."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

import jinja2
from markupsafe import Markup

from gptlib.course.exercises import Exercise
from gptlib.course.grading.grades import Class, Row, safe_name
from gptlib.course.judging import COULD_NOT, NOT_ATTEMPTED, NOT_YET, RIGHT
from gptlib.files import write_atomically

MARKS = {RIGHT: "✓", NOT_YET: "✗", NOT_ATTEMPTED: "○", COULD_NOT: "?"}
OTHER = "something else"


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram: what some answers show, whose they are, and the shortest of them."""

    name: str
    because: str
    rows: list[Row]
    example: str

    @property
    def count(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Tally:
    """How a class did at an exercise."""

    task: Exercise
    right: int
    attempted: int
    students: int
    bars: list[Bar]

    @property
    def most_frequent(self) -> Bar | None:
        """The misconception that most answers show."""
        return self.bars[0] if self.bars and self.bars[0].name != OTHER else None

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
    pages.filters |= {"points": _points, "breakable": _breakable, "marked": _marked}
    shared: dict[str, Any] = {"graded": graded, "marks": MARKS, "safe_name": safe_name}
    student = pages.get_template("student.html")
    for row in graded.rows:
        _write(out / "students" / f"{safe_name(row.name)}.html", student.render(row=row, **shared))
    tallies = [tally(graded, task) for task in graded.exercises]
    totals = [graded.total(row) for row in graded.rows]
    remarked = [(row, remarks) for row in graded.rows if (remarks := remarks_on(row))]
    whole = pages.get_template("class.html").render(
        tallies=tallies, middle=round(median(totals), 2), remarked=remarked, **shared
    )
    _write(out / "class.html", whole)
    # A spreadsheet knows Unicode by the mark in front.
    _write(out / "grades.csv", "\ufeff" + grades_csv(graded))


def grades_csv(graded: Class) -> str:
    """A row for each student: the platform's number, the files, points, their total, and remarks."""
    text = io.StringIO()
    names = [task.name for task in graded.exercises]
    # Quoted, and never starting as a formula does: a file's name may be one.
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(["student", "id", "files", *names, "total", "out of", "remarks"])
    for row in graded.rows:
        points = [graded.points(row, name) for name in names]
        files, remarks = "; ".join(row.files.values()), "; ".join(remarks_on(row))
        writer.writerow(
            [
                _harmless(row.name),
                row.id,
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
    found = []
    for name, answer in row.answers.items():
        trouble = [f"it {COULD_NOT}, because {answer.trouble}"] if answer.trouble else []
        found += [f"{name}: {remark}" for remark in (*trouble, *answer.remarks)]
    return [*row.remarks, *row.alike, *found]


def tally(graded: Class, task: Exercise) -> Tally:
    """How the class did at an exercise, and the misconceptions that it shows, the most frequent first."""
    because = {wrong.name: wrong.because for wrong in task.misconceptions}
    handed_in = [row for row in graded.rows if task.name in row.answers]
    statuses = Counter(row.answers[task.name].status for row in handed_in)
    wrong: dict[str, list[Row]] = defaultdict(list)
    for row in handed_in:
        answer = row.answers[task.name]
        if answer.status == NOT_YET:
            wrong[answer.misconception if answer.misconception in because else OTHER].append(row)
    # What has no name comes last, however frequent it is.
    order = sorted(wrong, key=lambda name: (name == OTHER, -len(wrong[name])))
    bars = [
        Bar(
            name,
            because.get(name, "the students' reports say what."),
            wrong[name],
            min((row.answers[task.name].source.strip() for row in wrong[name]), key=len),
        )
        for name in order
    ]
    return Tally(task, statuses[RIGHT], statuses[RIGHT] + statuses[NOT_YET], len(graded.rows), bars)


def _harmless(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    text = " ".join(text.split())
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _points(number: float) -> str:
    return f"{number:g}"


def _breakable(name: str) -> Markup:
    """An exercise's name, which may be broken behind its dot and underscores, and before capitals."""
    return Markup(re.sub(r"(?<=[._])|(?<=[a-z])(?=[A-Z])", "<wbr>", escape(name)))


def _marked(message: str) -> Markup:
    """A message with code where it has backticks, as `check` shows it."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(message)))


def _write(path: Path, text: str) -> None:
    # An answer may hold half of a surrogate pair, which has no bytes.
    write_atomically(path, lambda file: file.write(text.encode("utf-8", "replace")))
