"""What the reader has done so far, in one JSON file that can be read, copied and deleted.

It lies in `work/progress.json` in the course's folder, or where the variable GPTLIB_PROGRESS says, counted
from the course's folder too; nothing is kept if that is empty. Every change is a whole new file, so a kill
leaves the old one or the new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from gptlib.course.desk.renaming import FORMER_NAMES
from gptlib.course.exercises import Question, lesson_of, lessons
from gptlib.files import read_text, write_atomically
from gptlib.places import is_checkout, readers_root

if TYPE_CHECKING:
    from gptlib.course.judging import Verdict

VARIABLE = "GPTLIB_PROGRESS"
# A pause longer than this is taken for time away from the course.
LONGEST_PAUSE = 10  # minutes
FORM = 2
RIGHT = "right"
SOLUTION = 4  # the rung of the hints that shows one

_unkept: dict[str, Any] = {}


def path() -> Path | None:
    """Where progress is kept; None if it is not."""
    course = readers_root()
    if VARIABLE in os.environ:  # the folder that a kernel or a shell is in says nothing
        return course / os.path.expanduser(os.environ[VARIABLE]) if os.environ[VARIABLE] else None
    folder = course / "work" if is_checkout() or (course / "work").is_dir() else Path("~/.gptlib")
    return Path(os.path.expanduser(folder)) / "progress.json"


def load() -> dict[str, Any]:
    """All that is kept: "exercises" and "questions" by name, "minutes" by topic; empty at first.

    A file that holds no progress is set aside under another name. One that may not be read counts as none.
    "form" says which form the file has. Of form 1, which says nothing, the minutes stand under the numbers
    that the notebooks had then.
    """
    file = path()
    empty = {"form": FORM, "exercises": {}, "questions": {}, "minutes": {}, "last": None}
    if file is None:
        return {**empty, **_unkept}
    try:
        try:
            return {**empty, **_of_today(_checked(json.loads(read_text(file))))}
        except (ValueError, RecursionError):
            file.replace(file.with_name(f"{file.stem} (unreadable {datetime.now():%Y-%m-%d %H.%M.%S}).json"))
    except OSError:  # none yet, or none that may be read
        pass
    return empty


def _checked(kept: Any) -> dict[str, Any]:
    """`kept`, if it has the shape of progress; ValueError if it has not."""
    if not isinstance(kept, dict):
        raise ValueError("no progress is kept there")
    sections = [kept.get(name, {}) for name in ("exercises", "questions")]
    entries = [entry for part in sections if isinstance(part, dict) for entry in part.values()]
    minutes, last = kept.get("minutes", {}), kept.get("last")
    if not all(isinstance(part, dict) for part in [*sections, *entries, minutes]):
        raise ValueError("no progress is kept there")
    counts = [entry.setdefault(name, 0) for entry in sections[0].values() for name in ("attempts", "hints")]
    counts += [entry.setdefault(name, 0) for entry in sections[1].values() for name in (RIGHT, "wrong")]
    seen = [entry.get("misconceptions", {}) for entry in sections[0].values()]
    if not all(isinstance(part, dict) for part in seen):
        raise ValueError("no progress is kept there")
    counts += [number for part in seen for number in part.values()]
    if not all(isinstance(number, int) for number in counts):
        raise ValueError("counts are whole numbers")
    if not all(isinstance(number, int | float) for number in minutes.values()):
        raise ValueError("minutes are numbers")
    if last is not None and (not isinstance(last, str) or datetime.fromisoformat(last).tzinfo):
        raise ValueError("the last time is one of this clock")
    return kept


def _of_today(kept: dict[str, Any]) -> dict[str, Any]:
    """`kept` in today's form: its minutes by topic."""
    if kept.get("form", 1) != 1:
        return kept
    topics = {name[:2]: topic for name, topic in FORMER_NAMES.items()}
    minutes = {topics.get(number, number): spent for number, spent in kept.get("minutes", {}).items()}
    return {**kept, "form": FORM, "minutes": minutes}


def record_check(verdict: Verdict) -> str | None:
    """Keep a verdict, unless nothing was attempted. Returns a sentence if it could not be kept."""

    def change(kept: dict[str, Any]) -> None:
        entry = kept["exercises"].setdefault(verdict.exercise, {"attempts": 0, "hints": 0})
        entry["attempts"] += 1
        if entry.get("status") != RIGHT:
            entry["status"] = verdict.status
            entry["right_after_hints"] = entry["hints"] if verdict.status == RIGHT else None
        if verdict.misconception:
            seen = entry.setdefault("misconceptions", {})
            seen[verdict.misconception] = seen.get(verdict.misconception, 0) + 1

    return None if verdict.status == "not attempted" else _record(verdict.exercise, change)


def record_hint(name: str, rung: int) -> str | None:
    """Keep how many hints were seen for an exercise."""

    def change(kept: dict[str, Any]) -> None:
        kept["exercises"].setdefault(name, {"attempts": 0, "hints": 0})["hints"] = rung

    return _record(name, change)


def hints_seen(name: str) -> int:
    return load()["exercises"].get(name, {}).get("hints", 0)


def record_choice(name: str, right: bool) -> str | None:
    """Keep how a question was answered."""

    def change(kept: dict[str, Any]) -> None:
        entry = kept["questions"].setdefault(name, {"right": 0, "wrong": 0})
        entry["right" if right else "wrong"] += 1
        entry["last"] = RIGHT if right else "wrong"

    return _record(name, change)


def questions_due(before: str) -> list[Question]:
    """Quiz questions of the notebooks before this topic whose last answer was wrong, the oldest first."""
    kept = load()["questions"]
    earlier = takewhile(lambda topic: topic != before, lessons())
    asked = [task for topic in earlier for task in lessons()[topic].quiz]
    return [task for task in asked if kept.get(task.name, {}).get("last") == "wrong"]


def _record(name: str, change: Callable[[dict[str, Any]], None]) -> str | None:
    file = path()
    if file is None:
        kept = load()
        change(kept)
        _unkept.update(kept)
        return None
    if file.exists() and not os.access(file, os.R_OK):  # it is not to be replaced by an empty one
        return f"(Your progress could not be kept: {file.name} may not be read.)"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock"), timeout=5):  # two notebooks may be open
            kept = load()
            change(kept)
            _add_minutes(kept, lesson_of(name).topic)
            text = json.dumps(kept, indent=2, ensure_ascii=False) + "\n"
            write_atomically(file, lambda binary: binary.write(text.encode()))
    except (OSError, Timeout, NotImplementedError) as error:  # the last one where files cannot be locked
        return f"(Your progress could not be kept in {file.name}: {error})"
    return None


def _add_minutes(kept: dict[str, Any], topic: str) -> None:
    now = datetime.now()
    last = kept["last"]
    pause = (now - datetime.fromisoformat(last)).total_seconds() / 60 if last else 0
    if 0 < pause <= LONGEST_PAUSE:
        kept["minutes"][topic] = round(kept["minutes"].get(topic, 0) + pause, 2)
    kept["last"] = now.isoformat(timespec="seconds")


class Progress:
    """What is done and what is due, as a table. Made by `progress()`.

    rows: For each notebook its name, exercises right, exercises, questions right, questions, minutes.
    due: The names of questions that went wrong, and of exercises that were right after the solution was
        shown: worth doing again.
    """

    def __init__(self) -> None:
        kept = load()
        self.rows: list[tuple[str, int, int, int, int, float]] = []
        self.due: list[str] = []
        for topic, lesson in lessons().items():
            exercises = [kept["exercises"].get(task.name, {}) for task in lesson.exercises]
            questions = [kept["questions"].get(task.name, {}) for task in lesson.quiz]
            done = sum(entry.get("status") == RIGHT for entry in exercises)
            right = sum(entry.get("last") == RIGHT for entry in questions)
            minutes = kept["minutes"].get(topic, 0)
            self.rows.append((lesson.notebook.stem, done, len(exercises), right, len(questions), minutes))
            for task, entry in zip(lesson.quiz, questions, strict=True):
                self.due += [task.name] * (entry.get("last") == "wrong")
            for task, entry in zip(lesson.exercises, exercises, strict=True):
                self.due += [task.name] * (entry.get("right_after_hints") == SOLUTION)

    def __repr__(self) -> str:
        lines = [f"{'':24}{'exercises':>12}{'quiz':>10}{'minutes':>10}"]
        for notebook, done, exercises, right, questions, minutes in self.rows:
            counts = f"{f'{done} of {exercises}':>12}{f'{right} of {questions}':>10}"
            lines.append(f"{notebook:24}{counts}{minutes:>10.0f}")
        due = [f"  {name} ({lesson_of(name).notebook.stem})" for name in self.due]
        return "\n".join([*lines, "", *(["Due again:", *due] if due else ["Nothing is due again."])])


def progress() -> Progress:
    """What you have done so far, what is due again, and the minutes spent as estimated.

    Minutes are the time between one answer and the next, pauses longer than ten minutes left out.
    """
    return Progress()
