"""How many points an answer gets."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptlib.course.exercises import Exercise, exercise, lessons
from gptlib.course.judging import NOT_ATTEMPTED, RIGHT

FIELDS = ("points", "misconceptions", "share")


@dataclass(frozen=True)
class Scale:
    """The points of an exercise.

    points: For a right answer.
    misconceptions: For an answer that shows one, by name; 0 for one that is not named.
    share: For an answer that is right on all inputs but is not right; on fewer, that share of it.
    """

    points: float
    misconceptions: dict[str, float] = field(default_factory=dict)
    share: float = 0.0

    def of(self, status: str, misconception: str | None, share: float) -> float:
        """The points of a verdict."""
        if status == RIGHT:
            return self.points
        if status == NOT_ATTEMPTED:
            return 0.0
        return round(max(self.misconceptions.get(misconception or "", 0.0), self.share * share), 2)


Rubric = dict[str, Scale]


def plain_rubric() -> Rubric:
    """As many points as an exercise is difficult, for a right answer alone."""
    return {
        task.name: Scale(float(task.difficulty)) for lesson in lessons().values() for task in lesson.exercises
    }


def read_rubric(path: Path) -> Rubric:
    """The rubric in a JSON file; exercises that it does not name are as in `plain_rubric`.

    Raises ValueError, in one sentence, for what no rubric can say.
    """
    try:
        given = json.loads(path.read_bytes(), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the rubric {path.name!r} is no JSON: {error}") from error
    if not isinstance(given, dict):
        raise ValueError(f'the rubric {path.name!r} is no object of exercises; it needs {{"topic.name": …}}')
    rubric = plain_rubric()
    for name, scale in given.items():
        try:
            task = exercise(name)
        except KeyError as error:
            raise ValueError(f"rubric: {error.args[0]}") from error
        rubric[name] = _scale(task, scale)
    return rubric


def _scale(task: Exercise, given: Any) -> Scale:
    name = task.name
    if not isinstance(given, dict):
        raise ValueError(f'rubric: {name} is {given!r}; it needs an object such as {{"points": 2}}')
    _known(f"{name} has no", given, FIELDS)
    points = _number(f"{name}: points", given.get("points", task.difficulty), None)
    partial = given.get("misconceptions", {})
    if not isinstance(partial, dict):
        raise ValueError(
            f"rubric: {name}: misconceptions is {partial!r}; it needs an object of names and points"
        )
    _known(f"{name} has no misconception", partial, [wrong.name for wrong in task.misconceptions])
    return Scale(
        points,
        {key: _number(f"{name}: {key}", value, points) for key, value in partial.items()},
        _number(f"{name}: share", given.get("share", 0), points),
    )


def _known(what: str, given: dict[str, Any], names: Iterable[str]) -> None:
    for key in given:
        if key not in names:
            raise ValueError(f"rubric: {what} {key!r}; there is {', '.join(map(repr, names))}")


def _number(what: str, value: Any, most: float | None) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"rubric: {what} is {value!r}; it needs a finite number of at least 0")
    if most is not None and value > most:
        raise ValueError(
            f"rubric: {what} is {value:g}; it needs at most the {most:g} points of a right answer"
        )
    return float(value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in names if names.count(key) > 1)!r} is there twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")
