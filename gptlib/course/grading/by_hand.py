"""What a teacher writes by hand: points and comments, in one table that grading reads and never changes."""

from __future__ import annotations

import csv
import difflib
import io
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gptlib.course.exercises import Exercise
from gptlib.course.grading.rubrics import Rubric
from gptlib.course.grading.students import Student
from gptlib.files import write_atomically

COLUMNS = ("student", "exercise", "points", "comment")


@dataclass(frozen=True)
class Note:
    """What the teacher says of an exercise, or of all that a student handed in.

    points: Instead of those that grading gave, or, of all, added to the total. None leaves them.
    """

    points: float | None = None
    comment: str = ""


# By the names of student and exercise; "" stands for all that the student handed in.
ByHand = dict[tuple[str, str], Note]


def start_by_hand(path: Path) -> None:
    """Write a table with nothing but its first row, unless there is one."""
    if not path.exists():
        # A spreadsheet knows Unicode by the mark in front.
        write_atomically(path, lambda file: file.write(f"\ufeff{','.join(COLUMNS)}\r\n".encode()))


def read_by_hand(
    path: Path, students: Sequence[Student], exercises: Sequence[Exercise], rubric: Rubric
) -> ByHand:
    """The notes in a table with a row for each; none if there is no such file.

    It may come from any spreadsheet: parted by commas, semicolons or tabs, in any order of columns. Raises
    ValueError, in one sentence that names the row, for what cannot be meant.
    """
    try:
        rows = _rows(path.read_bytes())
    except FileNotFoundError:
        return {}
    except csv.Error as error:
        raise ValueError(f"{path.name} is no table: {error}; save it as CSV") from error
    header = [cell.strip().casefold() for cell in rows[0]] if rows else []
    if missing := [name for name in COLUMNS if name not in header]:
        raise ValueError(
            f"{path.name} has no column {missing[0]!r}; its first row needs to be {','.join(COLUMNS)}"
        )
    names = [task.name for task in exercises]
    notes: ByHand = {}
    for number, cells in enumerate(rows[1:], 2):
        given = dict(zip(header, [cell.strip() for cell in cells], strict=False))
        student, name, points, comment = (given.get(column, "") for column in COLUMNS)
        if not any((student, name, points, comment)):
            continue
        try:
            who = find_student(student, students).name
            if name and name not in names:
                raise ValueError(f"nobody handed in an exercise {name!r}; {_there_is(name, names)}")
            if (who, name) in notes:
                raise ValueError(f"{who} has a row for {name or 'all'} already; make one of the two")
            notes[who, name] = Note(
                _points(points, rubric[name].points if name else None) if points else None, comment
            )
        except ValueError as error:
            raise ValueError(f"{path.name}, row {number}: {error}") from error
    return notes


def find_student(text: str, students: Sequence[Student]) -> Student:
    """The student of this name, as grades.csv has it, or of this number; ValueError if there is none."""
    for key in (str, _plain):
        found = [student for student in students if key(text) in (key(student.name), student.id or None)]
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(f"{text!r} may be {' or '.join(repr(student.name) for student in found)}")
    raise ValueError(
        f"there is no student {text!r}; {_there_is(text, [student.name for student in students])}"
    )


def _plain(name: str) -> str:
    """A name without what a spreadsheet or a keyboard may change in it."""
    return unicodedata.normalize("NFC", " ".join(name.split())).removeprefix("'").casefold()


def _there_is(text: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(text, names, n=3, cutoff=0.4) or names[:3]
    return f"there is {', '.join(map(repr, near))}"


def _points(text: str, most: float | None) -> float:
    """A number of points: at most those of the exercise, or any that is added to a total."""
    try:
        points = float(text.replace(",", "."))
    except ValueError:
        points = math.nan
    if not math.isfinite(points):
        raise ValueError(f"points is {text!r}; it needs a number")
    if most is not None and not 0 <= points <= most:
        raise ValueError(
            f"points is {points:g}; it needs to be from 0 to {most:g}; "
            "a bonus stands in a row without an exercise"
        )
    return points


def _rows(data: bytes) -> list[list[str]]:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:  # as some spreadsheets on Windows still write
            text = data.decode("cp1252", "replace")
    first = text.split("\n", 1)[0]
    parted_by = max(",;\t", key=first.count)
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=parted_by))
