"""The course in nbgrader's format: `gptlib nbgrader DIR [NOTEBOOK ...]`.

An exercise's answer cell holds the stub and, where nbgrader cuts it out, the solution. Its check cell is what
nbgrader grades: before the check it judges the answer on inputs that no student has seen.
"""

from __future__ import annotations

import ast
import builtins
import dis
import importlib
import inspect
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from types import CodeType
from typing import Any

from gptlib.course.desk.checking import SEED, solution
from gptlib.course.exercises import Exercise, Lesson, lesson, lessons
from gptlib.course.prose import find_notebook, topic_of
from gptlib.files import write_atomically

SCHEMA_VERSION = 3  # of nbgrader's cell metadata, in 0.9.5 and 0.9.6
MARKS = "### BEGIN {0}\n{1}\n### END {0}"
LOOK_UPS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
COURSES = "from gptlib.course import "  # in the cell that imports `check`

CONFIG = '''\
"""nbgrader's settings for this course. nbgrader reads them when it is called from this folder."""

import os

# Grading is no reading: nothing goes into the progress of whoever grades. Kernels inherit this.
os.environ["GPTLIB_PROGRESS"] = ""

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = {name}

# The answer cells keep their own stubs; nothing has to stand for the solution that is cut out below them.
c.ClearSolutions.code_stub = {{"python": ""}}

# For one cell; the first of a notebook may wait for torch on a machine that is busy grading.
c.Execute.timeout = 300
c.Execute.iopub_timeout = 60
'''


def write_course(folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """Write these notebooks, or all that have exercises, to `folder`/source; returns those that were written.

    A notebook that is there is kept as it is, and so is `folder`/nbgrader_config.py: the teacher may have
    changed them. A name is a notebook's topic, its file's name or its number. Raises ValueError for one that
    no notebook has, or one without exercises.
    """
    chosen = [lesson(topic_of(find_notebook(name))) for name in names]
    chosen = chosen or [each for each in lessons().values() if each.exercises]
    for each in chosen:
        if not each.exercises:
            raise ValueError(f"{each.notebook.stem} has no exercises, so there is nothing to grade in it")
    _write_new(folder / "nbgrader_config.py", CONFIG.format(name=repr(folder.resolve().name)))
    written = []
    for each in chosen:
        path = folder / "source" / each.notebook.stem / each.notebook.name
        text = json.dumps(source_notebook(each), ensure_ascii=False, indent=1) + "\n"
        if _write_new(path, text):
            written.append(path)
    return written


def source_notebook(lesson: Lesson) -> dict[str, Any]:
    """A lesson's notebook as the teacher's version in nbgrader's format, without outputs.

    Answers are graded on the inputs of a seed that is drawn here and is not the one that `check` uses.
    """
    seed = SEED + 1 + secrets.randbelow(2**31)
    notebook = json.loads(lesson.notebook.read_text(encoding="utf-8"))
    cells = {cell["id"]: cell for cell in notebook["cells"]}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
            if COURSES in "".join(cell["source"]):
                _mark(cell, locked=True)
    for task in lesson.exercises:
        answer, checks = (cells[task.id_of_cell(kind)] for kind in ("answer", "check"))
        answer["source"] = with_solution(task, "".join(answer["source"]))
        _mark(answer, solution=True)
        checks["source"] = with_hidden_tests(task, "".join(checks["source"]), seed)
        _mark(checks, grade=True, locked=True, points=task.difficulty)
        _mark(cells[task.id_of_cell("exercise")], locked=True)
    notebook["metadata"].pop("widgets", None)
    return notebook


def with_solution(task: Exercise, stub: str) -> str:
    """An answer cell's stub, and below it the solution, which takes the stub's place when the cell is run."""
    source = solution(task)
    named = getattr(ast.parse(source).body[-1], "name", task.function)
    alias = [] if named == task.function else [f"{task.function} = {named}"]
    imports = _imports(task, source)
    lines = [*imports, *[""] * (2 if imports else 0), source, *alias]
    return f"{stub.rstrip()}\n" + MARKS.format("SOLUTION", "\n".join(lines))


def with_hidden_tests(task: Exercise, checks: str, seed: int) -> str:
    """A check cell that is graded.

    The answer is judged first, since the check may put the course's in its place, and fails last, so that the
    cells below have what they need.
    """
    judged = (
        "from gptlib.course.desk.checking import verdict_on\n"
        "from gptlib.course.exercises import exercise\n\n"
        f'graded = verdict_on(exercise("{task.name}"), {task.function}, seed={seed})'
    )
    failed = 'assert graded.status == "right", graded'
    return "\n".join(
        [MARKS.format("HIDDEN TESTS", judged), checks.strip(), MARKS.format("HIDDEN TESTS", failed)]
    )


def _mark(cell: dict[str, Any], **marks: Any) -> None:
    """Say in nbgrader's words what a cell is."""
    kinds = {"grade": False, "locked": False, "solution": False, "task": False}
    cell["metadata"]["nbgrader"] = {
        "schema_version": SCHEMA_VERSION,
        "grade_id": cell["id"],
        **kinds,
        **marks,
    }


def _imports(task: Exercise, source: str) -> list[str]:
    """Lines that import what a solution uses of the module that it comes from."""
    module = importlib.import_module(task.reference.__module__)
    known = _imported(ast.parse(inspect.getsource(module)))
    lines = set()
    together: dict[str, list[str]] = {}
    for name in sorted(_used(source) - {task.reference.__name__}):
        if isinstance(known.get(name), ast.Import):
            lines.add(ast.unparse(known[name]))
        elif name in known:
            together.setdefault(known[name].module, []).append(ast.unparse(known[name].names[0]))
        elif hasattr(module, name) and not hasattr(builtins, name):
            together.setdefault(module.__name__, []).append(name)
    return sorted(lines) + [
        f"from {origin} import {', '.join(together[origin])}" for origin in sorted(together)
    ]


def _imported(module: ast.Module) -> dict[str, ast.Import | ast.ImportFrom]:
    """The names that a module imports at its top, for annotations too, each as a statement of its own."""
    found: dict[str, ast.Import | ast.ImportFrom] = {}
    for outer in module.body:
        for statement in outer.body if isinstance(outer, ast.If) else [outer]:
            if isinstance(statement, ast.Import):
                found |= {name.asname or name.name: ast.Import([name]) for name in statement.names}
            elif isinstance(statement, ast.ImportFrom):
                found |= {
                    name.asname or name.name: ast.ImportFrom(statement.module, [name], 0)
                    for name in statement.names
                }
    return found


def _used(source: str) -> set[str]:
    """The names that code looks up outside of its functions, those in annotations included."""
    found: set[str] = set()
    codes = [compile(source, "solution", "exec", dont_inherit=True)]
    for code in codes:
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        found |= {step.argval for step in dis.get_instructions(code) if step.opname in LOOK_UPS}
    return found


def _write_new(path: Path, text: str) -> bool:
    """Write a file that is not there yet, whole or not at all; False if it is there."""
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(text.encode()))
    return True
