"""`check` an answer, and climb a ladder of hints."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import textwrap
from typing import Any

import torch

from gptlib.course.desk.progress import hints_seen, record_check, record_hint
from gptlib.course.exercises import Exercise, exercise
from gptlib.course.judging import (
    NOT_ATTEMPTED,
    NOT_YET,
    RIGHT,
    SECONDS,
    Outcome,
    Verdict,
    judge,
    outcome,
    said,
    shown,
)
from gptlib.course.limits import undisturbed
from gptlib.files import read_text
from gptlib.places import readers_root

SEED = 0
LONGEST_START = 60.0  # seconds
_climbed: dict[str, int] = {}  # where progress cannot be kept, a ladder can still be climbed
RUNGS = ("What it is about", "The shapes", "The line in words", "A solution")


def check(name: Any, answer: Any) -> Verdict:
    """What is right with an answer to the exercise `name`, or why it is not right yet.

    The answer is compared with the reference on fresh inputs. Whatever it does is put into the verdict:
    nothing is raised but KeyboardInterrupt. The verdict is kept in the reader's progress.
    """
    if not isinstance(name, str):
        how = 'The name comes first, in quotes, then what you wrote: check("attention.entropy", entropy).'
        return Verdict("check", NOT_YET, how)
    try:
        task = exercise(name)
    except KeyError as error:
        return Verdict(name, NOT_YET, f"T{error.args[0][1:]}.")
    if not callable(answer) and answer is not ...:
        how = f"Give check {task.function} itself, without brackets; it got {shown(answer)}."
        return Verdict(name, NOT_YET, how, goes_on_with=task.reference)
    if answer is task.reference:  # left by goes_on_with, when the check is run again
        how = f"{task.function} is the course's own by now: run the cell with yours again, then this one."
        return Verdict(name, NOT_ATTEMPTED, how, goes_on_with=answer)
    verdict = verdict_on(task, answer, SEED)
    problem = record_check(verdict)
    return dataclasses.replace(
        verdict,
        goes_on_with=answer if verdict.status == RIGHT else task.reference,
        message=verdict.message + (f"\n{problem}" if problem else ""),
    )


def verdict_on(task: Exercise, answer: Any, seed: int, seconds: float = SECONDS) -> Verdict:
    """The verdict on an answer, on the inputs that a seed gives; an answer that hangs is not tried again."""
    with undisturbed():
        inputs = list(task.inputs(torch.Generator().manual_seed(seed)))
        # What torch loads at its first gradient takes long, and is broken for good if it is interrupted.
        if answer is not ... and (problem := outcome(task, task.reference, inputs[0], LONGEST_START).problem):
            how = f"The course's own solution fails here: {problem}. Restart the kernel and run all again."
            return Verdict(task.name, NOT_YET, how)
        outcomes: list[Outcome] = []
        for given in inputs:
            outcomes.append(outcome(task, answer, given, seconds))
            if outcomes[-1].late or outcomes[-1].value is ...:
                break
        try:
            return judge(task, inputs, outcomes)
        except Exception as error:  # by what it returned: an object that cannot be compared
            problem = f"What it returned cannot be compared: {said(error)}"
            return Verdict(task.name, NOT_YET, problem)


def hint(name: str) -> None:
    """Print the next hint for an exercise, and those before: four rungs, the last one a solution.

    How far was climbed is kept in the reader's progress. A class can go without the last rung: see
    `solutions_shown`. Raises KeyError, naming exercises that are near, if there is no exercise of that name.
    """
    task = exercise(name)
    rungs = [*task.hints, *([solution(task)] if solutions_shown() else [])]
    kept = _climbed.get(name, hints_seen(name))
    seen = min(kept + 1, len(rungs))
    if problem := record_hint(name, seen):
        _climbed[name] = seen
    else:
        _climbed.pop(name, None)
    for number, text in enumerate(rungs[:seen]):
        indented = textwrap.indent(text, "   ")
        print(f"{number + 1}. {RUNGS[number]}\n{indented}")
    if seen < len(rungs):
        print(f'\n{len(rungs) - seen} more: hint("{name}") again')
    if problem:
        print(f"\n{problem}")


def solution(task: Exercise) -> str:
    """The source of a solution as a reader would write it: without annotations, it runs when pasted."""
    return _without_annotations(textwrap.dedent(task.source or inspect.getsource(task.reference)).strip())


def _without_annotations(source: str) -> str:
    lines = source.splitlines()
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    for node in sorted(functions, key=lambda node: node.lineno, reverse=True):  # lines above stay in place
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        indent = lines[node.lineno - 1][: node.col_offset]
        body = node.body[0].lineno - 1
        if body > node.lineno - 1:  # not a function on one line
            lines[node.lineno - 1 : body] = [f"{indent}def {node.name}({ast.unparse(node.args)}):"]
    return "\n".join(lines)


def solutions_shown() -> bool:
    """Whether the last rung is there: not if the course's `teaching.json` says {"solutions": false}.

    Raises ValueError if that file is there and says neither.
    """
    settings = readers_root() / "teaching.json"
    if not settings.exists():
        return True
    try:
        return bool(json.loads(read_text(settings))["solutions"])
    except (ValueError, LookupError, TypeError):
        raise ValueError(f'{settings} is to hold {{"solutions": true}} or {{"solutions": false}}') from None
