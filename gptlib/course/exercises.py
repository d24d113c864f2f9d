"""What an exercise, a question and a notebook's lesson are, and where to find them by name."""

from __future__ import annotations

import difflib
import importlib
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from gptlib.course.prose import find_notebook, notebook_paths, topic_of
from gptlib.viz.drawing import Drawing


def call(answer: Callable[..., Any], *inputs: Any) -> Any:
    """Put an answer to use: call it."""
    return answer(*inputs)


class InWords:
    """What an exercise's `use` gives for a mistake that has many forms: the same words for all of them.

    `value` is what the answer gave. It is shown where the words are those of no misconception.
    """

    def __init__(self, words: str, value: Any = None) -> None:
        self.words, self.value = words, value

    def __repr__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Misconception:
    """A way to get an exercise wrong that has a reason, shown by the wrong answer it leads to.

    An answer shows the misconception when it gives what `answer` gives on every input.
    """

    name: str
    because: str
    answer: Callable[..., Any]


@dataclass(frozen=True)
class Exercise:
    """A function (or class) that the reader writes and `check` compares with the reference.

    name: Where it belongs and the name of what is written, such as "attention.causal_mask".
    reference: The solution: the library's own function wherever there is one.
    inputs: From a seeded generator, the inputs to compare on: tuples of arguments, the smallest first.
    buys: One sentence on what a right answer buys.
    hints: What it is about, the shapes, and the line in words. The solution is the fourth rung.
    misconceptions: What is often got wrong, each with its own wrong answer.
    minutes: How long it takes, about.
    difficulty: 1, complete a line; 2, write a function; 3, build a part.
    use: How an answer is put to use on one of the inputs. A class is made and called here.
    gradients: Whether the gradients with respect to the inputs are compared too.
    source: What the last hint shows, where the source of `reference` is not the plainest solution.
    told: From a wrong value, the right one and the inputs, what is compared with the misconceptions instead:
        words, where the same mistake has many forms. Unlike `use`, it is not called where answers run, so it
        may need the reference.
    """

    name: str
    reference: Callable[..., Any]
    inputs: Callable[[torch.Generator], Iterable[tuple[Any, ...]]]
    buys: str
    hints: tuple[str, str, str]
    misconceptions: tuple[Misconception, ...]
    minutes: int
    difficulty: int
    use: Callable[..., Any] = call
    gradients: bool = False
    source: str | None = None
    told: Callable[..., Any] | None = None

    @property
    def function(self) -> str:
        """The name under which the reader writes the answer."""
        return self.name.split(".")[1]

    def id_of_cell(self, kind: str) -> str:
        """The id of the exercise's "answer" or "check" cell in its notebook."""
        return f"{kind}-{self.name.replace('.', '-')}"


@dataclass(frozen=True)
class Question:
    """A question with one right choice; every choice says why it is right or wrong.

    Texts may hold `code` in backticks and $maths$. `right` and each of `wrong` are (choice, why).
    """

    name: str
    asks: str
    right: tuple[str, str]
    wrong: tuple[tuple[str, str], ...]

    @property
    def choices(self) -> list[tuple[str, str]]:
        """The choices with their reasons, in an order that is always the same and tells nothing."""
        return sorted(
            [self.right, *self.wrong], key=lambda choice: zlib.crc32((self.name + choice[0]).encode())
        )

    @property
    def right_place(self) -> int:
        return self.choices.index(self.right)


@dataclass(frozen=True)
class Prediction(Question):
    """A question that the reader answers before the result is shown.

    shows: Makes the result of what the notebook's cell hands to `predict`: a figure, or lines of text.
    finding: What the result says, in a few sentences that are true whichever choice was taken. Paragraphs
        are parted by an empty line.
    """

    shows: Callable[..., Drawing | str]
    finding: str


@dataclass(frozen=True)
class Lesson:
    """What a notebook asks of its reader.

    `topic` is the notebook's, such as "attention". `objectives` names, for each line of "What you will be
    able to do", the exercises and questions that test it.
    """

    topic: str
    exercises: tuple[Exercise, ...]
    predictions: tuple[Prediction, ...]
    quiz: tuple[Question, ...]
    objectives: tuple[tuple[str, ...], ...]

    @property
    def notebook(self) -> Path:
        return find_notebook(self.topic)


@cache
def lessons() -> dict[str, Lesson]:
    """Every notebook's lesson by its topic, in the order of the course."""
    topics = [topic_of(path) for path in notebook_paths()]
    return {topic: importlib.import_module(f"gptlib.course.lessons.{topic}").LESSON for topic in topics}


@cache
def _exercises() -> dict[str, tuple[Exercise, Lesson]]:
    return {task.name: (task, lesson) for lesson in lessons().values() for task in lesson.exercises}


@cache
def _questions() -> dict[str, tuple[Question, Lesson]]:
    return {
        question.name: (question, lesson)
        for lesson in lessons().values()
        for question in (*lesson.predictions, *lesson.quiz)
    }


def exercise(name: str) -> Exercise:
    """The exercise of this name. KeyError, naming those that are near, if there is none."""
    return _found(name, _exercises(), "exercise")[0]


def question(name: str) -> Question:
    """The question of this name. KeyError, naming those that are near, if there is none."""
    return _found(name, _questions(), "question")[0]


def lesson_of(name: str) -> Lesson:
    """The lesson that an exercise or a question belongs to. KeyError if there is no such name."""
    return _found(name, _exercises() | _questions(), "exercise or question")[1]


def lesson(topic: str) -> Lesson:
    """The lesson on this topic, such as "attention". KeyError, naming topics near it, if there is none."""
    return _found(topic, lessons(), "lesson")


def _found(name: Any, known: dict[str, Any], kind: str) -> Any:
    if isinstance(name, str) and name in known:
        return known[name]
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4) or list(known)[:3]
    raise KeyError(f"there is no {kind} {name!r}; there is {', '.join(map(repr, near))}")
