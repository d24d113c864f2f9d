"""No check takes a solution with one thing wrong for right: see mutants.py.

A mutant that a check takes for right has to give what the solution gives, on inputs of any seed, and stands
in same_results.py with the reason.
"""

import ast
import contextlib
import functools

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import mutants
from same_results import SAME_RESULTS

from gptlib.course.desk.checking import solution, verdict_on
from gptlib.course.exercises import lesson_of, lessons

EXERCISES = [task for lesson in lessons().values() for task in lesson.exercises]
SECONDS = 1.0  # for a mutant on one input


@functools.cache
def names_before(topic):
    """For each exercise of a notebook the names that a reader's answer finds there."""
    notebook = nbformat.read(lessons()[topic].notebook, as_version=4)
    tasks = {task.id_of_cell("answer"): task for task in lessons()[topic].exercises}
    names, found = {}, {}
    for cell in notebook.cells:
        if cell.id in tasks:
            found[tasks[cell.id].name] = dict(names)
            exec(solution(tasks[cell.id]), names)
        elif cell.cell_type == "code":
            for node in ast.parse(cell.source).body:
                if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef):
                    with contextlib.suppress(NameError):  # a default that an earlier line made
                        exec(compile(ast.Module([node], type_ignores=[]), "cell", "exec"), names)
    return found


def answer_of(task, source):
    """What a cell with this source leaves under the exercise's name; None if it fails."""
    names = dict(names_before(lesson_of(task.name).topic)[task.name])
    with contextlib.suppress(Exception):
        exec(source, names)
        return names.get(task.function)
    return None


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("task", EXERCISES, ids=lambda task: task.name)
def test_no_mutant_of_a_solution_is_right(task):
    reasons = SAME_RESULTS.get(task.name, {})
    found, passed = 0, []
    for what, source in mutants(solution(task)):
        answer = answer_of(task, source)
        if answer is not None:
            found += 1
            if verdict_on(task, answer, 3, SECONDS).status == "right":
                passed.append((what, answer))
    assert found >= 3
    explained = {what: [begins for begins in reasons if what.startswith(begins)] for what, _ in passed}
    assert not [what for what, begins in explained.items() if not begins]
    assert {begins for held in explained.values() for begins in held} == set(reasons)

    @settings(max_examples=10, deadline=None)
    @given(seed=st.integers(0, 2**31))
    def same_results(seed):
        for what, answer in passed:
            assert verdict_on(task, answer, seed).status == "right", what

    if passed:
        same_results()


def test_mutants_differ_in_one_place():
    source = """
def f(x, y):
    for row in x:
        y = y + row[1:]
    return y.sum(dim=-1, keepdim=True) @ x
"""
    made = dict(mutants(source))
    for what in (
        "y + row[1:] => y - row[1:]",
        "y = y + row[1:] => y = y.add_(row[1:])",
        "y = y + row[1:] => pass",
        "y = y + row[1:] => y = y + row[2:]",
        "y = y + row[1:] => y = y + row[:]",
        "y = y + row[1:] => y = x + row[1:]",
        "return y.sum(dim=-1, keepdim=True) @ x => return y.sum(dim=-2, keepdim=True) @ x",
        "y.sum(dim=-1, keepdim=True) => y.sum(dim=-1)",
        "return y.sum(dim=-1, keepdim=True) @ x => return x @ y.sum(dim=-1, keepdim=True)",
        "nothing => break",
    ):
        assert what in made
    assert len(set(made.values())) == len(made) and ast.unparse(ast.parse(source)) not in made.values()
