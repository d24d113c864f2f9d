"""Whose files they are: by the names that learning platforms give them, else by the folders."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gptlib.course.desk.renaming import FORMER_NAMES
from gptlib.course.exercises import lessons
from gptlib.course.grading.answers import Answer

# How a platform begins the name of a folder or file; what is behind it, the student chose.
PLATFORMS = (
    # Canvas: lovelaceada_LATE_12345_678901_04_attention.ipynb; the second number is the file's.
    re.compile(r"(?P<name>[^\W_]+)(?P<late>_LATE)?_(?P<id>\d{3,})_\d{4,}_."),
    # Moodle: Ada Lovelace_1234_assignsubmission_file_, with or without the file's name behind it.
    re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_[a-z]+(_|$)"),
    # Brightspace: 12345-678901 - Ada Lovelace - Nov 29, 2026 1030 AM; the second number is the attempt's.
    re.compile(r"(?P<id>\d+)-\d+ - (?P<name>.+?) - \w+\.? \d{1,2}, \d{4}\b"),
    # Google Classroom: Ada Lovelace - Copy of 04_attention.ipynb
    re.compile(r"(?P<name>.+?) - Copy of .", re.IGNORECASE),
)
# A folder with one of these in it is a copy of the course, or of an assignment's repository.
OF_A_REPOSITORY = {"readme.md", "pyproject.toml", "environment.yml", "makefile"}
NOBODYS = {"index.html", "readme.md", "readme.txt"}  # where they lie beside what was handed in


@dataclass(frozen=True)
class File:
    """A file that was handed in.

    path: Its folders and its name, below the folder or zip of the class.
    digest: Of its bytes.
    topic: Which notebook of the course it is, if that can be told.
    answers: What it holds for each exercise.
    problem: Why it cannot be graded.
    """

    path: tuple[str, ...]
    digest: str = ""
    topic: str | None = None
    answers: tuple[Answer, ...] = ()
    problem: str | None = None

    @property
    def label(self) -> str:
        return "/".join(self.path)


@dataclass(frozen=True)
class Student:
    """Who handed something in, and what.

    name: That of a folder or file; with the platform's number behind it, if it gave one.
    id: That number, or "".
    late: Whether the platform says so.
    """

    name: str
    files: tuple[File, ...]
    id: str = ""
    late: bool = False


def students_of(files: Sequence[File]) -> list[Student]:
    """Whose the files are, in the order of names.

    What a platform named is that student's, whatever is in it. Else a file that lies alone is a student's,
    and so is a folder. But if in at least half of the folders several folders hold the same notebook, it is
    those that are the students'.
    """
    groups: dict[str, list[File]] = defaultdict(list)
    for file in _without_common_folder(files):
        if len(file.path) > 1 or file.topic or file.path[0].lower() not in NOBODYS:
            groups[_owner(file.path)].append(file)
    return sorted(_people(dict(groups), 1), key=lambda student: student.name.casefold())


def _platforms(name: str) -> re.Match[str] | None:
    return next((match for pattern in PLATFORMS if (match := pattern.match(name))), None)


def _owner(path: tuple[str, ...]) -> str:
    if match := _platforms(path[0]):
        return "_".join(filter(None, (match["name"], _id(match))))
    return path[0] if len(path) > 1 else _rest(path[0]) or _stem(path[0])


def _id(match: re.Match[str]) -> str:
    return match.groupdict().get("id") or ""


def _student(name: str, files: list[File]) -> Student:
    matches = [match for file in files if (match := _platforms(file.path[0]))]
    late = any(match.groupdict().get("late") for match in matches)
    return Student(name, tuple(files), next(map(_id, matches), ""), late)


def _without_common_folder(files: Sequence[File]) -> list[File]:
    """A zip often holds one folder that holds everything: it is nobody's name."""
    files = list(files)
    while all(len(file.path) > 1 for file in files) and len({file.path[0] for file in files}) == 1:
        # The course's own names for its files tell that the folder is a student's.
        # nbgrader puts a folder of that name between the two.
        if any(len(file.path) < 4 and not any(map(_rest, file.path[1:])) for file in files):
            break
        if _platforms(files[0].path[0]) or _is_a_repository(files, 1):
            break
        files = [replace(file, path=file.path[1:]) for file in files]
    return files


def _people(groups: dict[str, list[File]], depth: int) -> Iterator[Student]:
    """The owners of these groups of files, or of the folders in them that lie so deep."""
    holding = [name for name, files in groups.items() if any(file.topic for file in files)]
    several = [name for name in holding if _hold_the_same(groups[name], depth)]
    if 2 * len(several) < len(holding):
        several = []
    inner: dict[str, list[File]] = defaultdict(list)
    for name, files in groups.items():
        outside = []
        for file in files:
            below = name in several and len(file.path) > depth + 1
            (inner[f"{name}/{file.path[depth]}"] if below else outside).append(file)
        if outside:
            yield _student(name, outside)
    if inner:
        yield from _people(dict(inner), depth + 1)


def _hold_the_same(files: Sequence[File], depth: int) -> bool:
    """Whether several folders at this depth hold the same notebook, and nothing makes them one student's."""
    if _platforms(files[0].path[0]) or _is_a_repository(files, depth):
        return False
    holders: dict[str, set[str]] = defaultdict(set)
    for file in files:
        if file.topic and len(file.path) > depth + 1:
            holders[file.topic].add(file.path[depth])
    return any(len(folders) > 1 for folders in holders.values())


def _is_a_repository(files: Sequence[File], depth: int) -> bool:
    return any(file.path[depth].lower() in OF_A_REPOSITORY for file in files if len(file.path) == depth + 1)


def _stem(name: str) -> str:
    return re.sub(r"(\.ipynb|\.json|\.txt|\.zip)+$", "", name, flags=re.IGNORECASE) or name


def _rest(name: str) -> str:
    """A file's name without the notebook's name in it: what a platform put around that is the student's."""
    stem = _stem(name)
    notebooks = "|".join([*(lesson.notebook.stem for lesson in lessons().values()), *FORMER_NAMES])
    return re.sub(rf"[\s_-]*({notebooks})([\s_-]*(copy)?[\s_-]*\(?\d*\)?)$", "", stem, flags=re.IGNORECASE)
