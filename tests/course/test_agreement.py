"""`gptlib grade` says what `check` says in the notebook: odd answers (see `odd_answers`), put to both.

In the notebook a case's cells are run by IPython, behind all the cells above them, and then the check.
"""

import contextlib
import io
import json

import pytest
from IPython.core.interactiveshell import InteractiveShell
from odd_answers import CASES

from gptlib.course.desk.checking import solution
from gptlib.course.exercises import lessons
from gptlib.course.grading.marking import grade
from gptlib.course.grading.runner import Limits

LESSON = lessons()["attention"]
COURSE = json.loads(LESSON.notebook.read_bytes())
TASKS = {task.function: task for task in LESSON.exercises}
LIMITS = Limits(seconds=20.0, together=60.0)


def parts(text):
    """What stands in the cell above, and in the answer's."""
    above, line, answer = text.rpartition("=====\n")
    return above if line else "", answer


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """What `check` says of each case: (status, misconception), or None if its cell ended in an error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTLIB_PROGRESS", "")
        patch.chdir(tmp_path_factory.mktemp("notebook"))
        shell = InteractiveShell.instance()
        before = {}
        for cell in COURSE["cells"]:
            kind, _, rest = cell["id"].partition("-")
            if kind == "answer":
                function = rest.rpartition("-")[2]
                before[function] = dict(shell.user_ns)
                run(shell, solution(TASKS[function]))
            elif cell["cell_type"] == "code" and kind != "quiz":
                run(shell, "".join(cell["source"]))
        found = {}
        for name, (function, _, text) in CASES.items():
            shell.user_ns.clear()
            shell.user_ns.update(before[function])
            for source in parts(text):
                run(shell, source)
            verdict = run(shell, f'check("{TASKS[function].name}", {function})')
            found[name] = verdict and (verdict.status, verdict.misconception)
        InteractiveShell.clear_instance()
        return found


def run(shell, source):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return shell.run_cell(source).result


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """What grading says of each case."""
    folder, out = tmp_path_factory.mktemp("handed in"), tmp_path_factory.mktemp("out")
    for name, (function, _, text) in CASES.items():
        above, answer = parts(text)
        cells = []
        for cell in COURSE["cells"]:
            if cell["id"] == TASKS[function].id_of_cell("answer"):
                cells += [{**cell, "id": "added", "source": above}] if above else []
                cell = {**cell, "source": answer}
            cells.append(cell)
        (folder / f"{name}.ipynb").write_text(json.dumps({**COURSE, "cells": cells}))
    rows = grade(folder, out, limits=LIMITS, progress=False).rows
    return {row.name: row.answers[TASKS[CASES[row.name][0]].name] for row in rows}


@pytest.mark.parametrize("name", CASES)
def test_grading_says_what_check_says(checked, graded, name):
    _, said, _ = CASES[name]
    found = graded[name]
    if said is None:
        assert checked[name] is None and found.status == "not yet" and found.message
        return
    expected = (said, None) if said in ("right", "not yet", "not attempted") else ("not yet", said)
    assert checked[name] == expected
    assert (found.status, found.misconception) == expected, found
