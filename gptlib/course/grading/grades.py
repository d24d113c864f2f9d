"""What grading gives: each student's row, and the class."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from gptlib.course.exercises import Exercise, Lesson
from gptlib.course.grading.by_hand import ByHand, Note
from gptlib.course.grading.rubrics import Rubric


@dataclass(frozen=True)
class Graded:
    """An exercise of a student's: the verdict, the code, and remarks.

    trouble: Why it could not be judged; for the teacher alone.
    """

    exercise: str
    status: str
    message: str
    misconception: str | None = None
    share: float = 0.0
    source: str = ""
    remarks: list[str] = field(default_factory=list)
    telling: bool = False
    trouble: str = ""

    @property
    def because(self) -> str:
        return ", because " if self.misconception else ". "


@dataclass(frozen=True)
class Row:
    """A student, with what was graded and with what could not be.

    id: The learning platform's number for the student, or "".
    files: What was graded, by the notebook's topic.
    answers: By exercise.
    remarks: On the files.
    alike: Who handed in the same; for the teacher alone.
    """

    name: str
    id: str = ""
    files: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Graded] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    alike: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Class:
    """All that the reports are made of: the lessons that were handed in, the rows, and what is by hand."""

    lessons: list[Lesson]
    rows: list[Row]
    rubric: Rubric
    by_hand: ByHand = field(default_factory=dict)

    @property
    def exercises(self) -> list[Exercise]:
        return [task for lesson in self.lessons for task in lesson.exercises]

    def note(self, row: Row, name: str = "") -> Note:
        """What the teacher wrote of an exercise, or of all."""
        return self.by_hand.get((row.name, name), Note())

    def points(self, row: Row, name: str) -> float:
        found, by_hand = row.answers.get(name), self.note(row, name).points
        if by_hand is not None:
            return by_hand
        return self.rubric[name].of(found.status, found.misconception, found.share) if found else 0.0

    def total(self, row: Row) -> float:
        """The points of all exercises, and what the teacher added or took away, but not below 0."""
        points = sum(self.points(row, task.name) for task in self.exercises)
        return round(max(0.0, points + (self.note(row).points or 0.0)), 2)

    @property
    def most(self) -> float:
        return sum(self.rubric[task.name].points for task in self.exercises)


def safe_name(name: str) -> str:
    """A file's name for a student: letters that every system takes, and digits that tell equals apart."""
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)
    return f"{plain[:60].strip('_') or 'student'}-{sha256(name.encode()).hexdigest()[:8]}"
