"""What a teacher gets of a graded class: a table, and pages for the teacher, the class and each student."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

import jinja2
from markupsafe import Markup

from gptlib.course.exercises import Exercise, lessons
from gptlib.course.grading.grades import Class, Row, safe_name
from gptlib.course.grading.tallies import Past, Tally
from gptlib.course.judging import COULD_NOT, NOT_ATTEMPTED, NOT_YET, RIGHT
from gptlib.course.prose import headings_above
from gptlib.files import write_atomically

MARKS = {RIGHT: "✓", NOT_YET: "✗", NOT_ATTEMPTED: "○", COULD_NOT: "?"}
TEMPLATES = Path(__file__).parent / "templates"
MOST_STEPS = 3
MOST_BINS = 10


@dataclass(frozen=True)
class Step:
    """What a student does next: an exercise, in the notebook, below the heading."""

    task: Exercise
    notebook: str
    heading: str


def write_reports(graded: Class, tallies: Sequence[Tally], before: Past | None, out: Path) -> None:
    """Write grades.csv, teacher.html, class.html and students/NAME.html to the folder `out`.

    `before` is what the class did the last time.
    """
    (out / "students").mkdir(parents=True, exist_ok=True)
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    pages.filters |= {"points": _points, "percent": _percent, "breakable": _breakable, "marked": _marked}
    totals = [graded.total(row) for row in graded.rows]
    # What students wrote stands on these pages: the browser is to run our script, and nothing else.
    sorting = Markup((TEMPLATES / "sort.js").read_text("utf-8"))
    shared: dict[str, Any] = {
        "scripts": "'none'",
        "graded": graded,
        "marks": MARKS,
        "safe_name": safe_name,
        "tallies": tallies,
        "before": before,
        "middle": round(median(totals), 2),
        "fewest": min((each.handed_in for each in tallies if each.discrimination is not None), default=0),
    }
    student = pages.get_template("student.html")
    for row in graded.rows:
        page = student.render(row=row, steps=next_steps(graded, row), next_notebook=_next(graded), **shared)
        _write(out / "students" / f"{safe_name(row.name)}.html", page)
    teacher = pages.get_template("teacher.html").render(
        urgent=[(row, found) for row in graded.rows if (found := _urgent(row))],
        remarked=[(row, found) for row in graded.rows if (found := _other_remarks(row))],
        bins=bins(totals, graded.most),
        sorting=sorting,
        **{
            **shared,
            "scripts": f"'sha256-{base64.b64encode(hashlib.sha256(sorting.encode()).digest()).decode()}'",
        },
    )
    _write(out / "teacher.html", teacher)
    _write(out / "class.html", pages.get_template("class.html").render(**shared))
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
        found += [f"{name}: {remark}" for remark in (*_trouble(answer.trouble), *answer.remarks)]
    return [*row.remarks, *row.alike, *found]


def _urgent(row: Row) -> list[str]:
    """The remarks that want a teacher's eyes: what could not be judged, was refused, or is alike."""
    found = list(row.alike)
    for name, answer in row.answers.items():
        refused = [remark for remark in answer.remarks if remark.startswith("it was refused")]
        found += [f"{name}: {remark}" for remark in (*_trouble(answer.trouble), *refused)]
    return found


def _other_remarks(row: Row) -> list[str]:
    urgent = _urgent(row)
    return [remark for remark in remarks_on(row) if remark not in urgent]


def _trouble(why: str) -> list[str]:
    return [f"it {COULD_NOT}, because {why}"] if why else []


_headings = cache(headings_above)  # of a notebook, for all students


def next_steps(graded: Class, row: Row) -> list[Step]:
    """The first exercises of what was handed in that are not right yet, in the order of the course."""
    steps = []
    for lesson in graded.lessons:
        headings = _headings(lesson.notebook)
        for task in lesson.exercises:
            answer = row.answers.get(task.name)
            done = graded.points(row, task.name) == graded.rubric[task.name].points > 0
            if answer and answer.status in (NOT_YET, NOT_ATTEMPTED) and not done:
                heading = headings.get(task.id_of_cell("answer"), "")
                steps.append(Step(task, lesson.notebook.stem, heading))
    return steps[:MOST_STEPS]


def _next(graded: Class) -> str:
    """The notebook behind the last that was graded, or "" if there is none."""
    topics = list(lessons())
    behind = [topics.index(lesson.topic) + 1 for lesson in graded.lessons]
    place = max(behind, default=0)
    return lessons()[topics[place]].notebook.stem if place < len(topics) else ""


def bins(totals: Sequence[float], most: float) -> list[tuple[str, int]]:
    """How many totals lie in each of at most eleven steps of whole points, rounded down; the lowest first."""
    top = int(max([most, *totals]))
    width = max(1, -(-top // MOST_BINS))
    counts = Counter(int(total) // width for total in totals)
    steps = [(low, min(low + width - 1, top)) for low in range(0, top + 1, width)]
    return [(f"{low}–{high}" if low < high else str(low), counts[low // width]) for low, high in steps]


def _harmless(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    text = " ".join(text.split())
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _points(number: float) -> str:
    return f"{number:g}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def _breakable(name: str) -> Markup:
    """A name that may be broken behind its dots, slashes and underscores, and before capitals."""
    return Markup(re.sub(r"(?<=[._/])|(?<=[a-z])(?=[A-Z])", "<wbr>", escape(name)))


def _marked(message: str) -> Markup:
    """A message with code where it has backticks, as `check` shows it."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(message)))


def _write(path: Path, text: str) -> None:
    # An answer may hold half of a surrogate pair, which has no bytes.
    write_atomically(path, lambda file: file.write(text.encode("utf-8", "replace")))
