"""Every exercise of the course against answers as readers give them, and every notebook against its lesson.

The answers stand in answers_TOPIC.py beside this file: for each exercise at least two right ones, written
otherwise than the reference, and for each misconception a wrong one, written otherwise than the lesson's own.
REFUSED holds other wrong answers, which have no sentence of their own.
"""

import ast
import contextlib
import importlib
import re
from pathlib import Path

import nbformat
import pytest
import torch

from gptlib.course import lessons as package
from gptlib.course.desk.checking import solution, verdict_on
from gptlib.course.exercises import lesson_of, lessons
from gptlib.course.judging import outcome
from gptlib.course.prose import topic_of

EXERCISES = [task for lesson in lessons().values() for task in lesson.exercises]
SEEDS = (0, 1, 2)
NAMING = (ast.Import, ast.ImportFrom, ast.FunctionDef)


def answers(topic):
    return importlib.import_module(f"answers_{topic}")


def each(attribute):
    """(exercise, name, answer) for all that answers_TOPIC.py hold under RIGHT, WRONG or REFUSED."""
    found = []
    for task in EXERCISES:
        held = getattr(answers(lesson_of(task.name).topic), attribute, {}).get(task.name, {})
        items = held.items() if isinstance(held, dict) else enumerate(held)
        found += [pytest.param(task, name, answer, id=f"{task.name}-{name}") for name, answer in items]
    return found


@pytest.mark.parametrize("task", EXERCISES, ids=lambda task: task.name)
def test_the_reference_is_right(task):
    for seed in SEEDS:
        assert verdict_on(task, task.reference, seed).status == "right"
        for given in task.inputs(torch.Generator().manual_seed(seed)):
            assert outcome(task, task.reference, given).problem is None


# A reader's answer meets the errors of a library whose shapes nobody checks.
@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("task", EXERCISES, ids=lambda task: task.name)
def test_each_misconception_is_told_apart(task):
    for seed in SEEDS:
        for misconception in task.misconceptions:
            verdict = verdict_on(task, misconception.answer, seed)
            assert (verdict.status, verdict.misconception) == ("not yet", misconception.name)
            # One that failed on all inputs would be told apart by its error alone.
            inputs = task.inputs(torch.Generator().manual_seed(seed))
            assert any(outcome(task, misconception.answer, given).problem is None for given in inputs)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(("task", "name", "answer"), each("RIGHT"))
def test_right_answers_that_are_written_otherwise_pass(task, name, answer):
    assert answer is not task.reference
    for seed in SEEDS:
        assert verdict_on(task, answer, seed).status == "right"


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(("task", "name", "answer"), each("WRONG"))
def test_wrong_answers_get_the_message_of_their_misconception_and_no_other(task, name, answer):
    because = {misconception.name: misconception.because for misconception in task.misconceptions}
    for seed in SEEDS:
        verdict = verdict_on(task, answer, seed)
        assert (verdict.status, verdict.misconception, verdict.message) == ("not yet", name, because[name])


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(("task", "name", "answer"), each("REFUSED"))
def test_wrong_answers_that_passed_once_are_refused(task, name, answer):
    for seed in SEEDS:
        assert verdict_on(task, answer, seed).status == "not yet"


@pytest.mark.parametrize("task", EXERCISES, ids=lambda task: task.name)
def test_an_exercise_is_whole(task):
    held = answers(lesson_of(task.name).topic)
    assert len(held.RIGHT[task.name]) >= 2
    names = [misconception.name for misconception in task.misconceptions]
    assert list(held.WRONG[task.name]) == names
    assert 3 <= len(names) <= 15
    assert len({misconception.because for misconception in task.misconceptions}) == len(names)
    assert task.difficulty in (1, 2, 3)
    assert 1 <= task.minutes <= 30
    assert len(task.hints) == 3
    assert task.function in solution(task)
    assert len(list(task.inputs(torch.Generator().manual_seed(0)))) >= 2


@pytest.mark.parametrize("lesson", lessons().values(), ids=lambda lesson: lesson.topic)
def test_a_lesson_is_whole(lesson):
    n_exercises = len(lesson.exercises)
    assert 3 <= n_exercises <= 6 or (lesson.topic == "welcome" and n_exercises == 1)
    levels = [task.difficulty for task in lesson.exercises]
    assert levels == sorted(levels), "from completing a line to building a part"
    assert len(lesson.predictions) >= 1
    assert 5 <= len(lesson.quiz) <= 8
    for question in (*lesson.predictions, *lesson.quiz):
        texts = [text for text, _ in question.choices]
        assert len(set(texts)) == len(texts) >= 3
        assert all(why for _, why in question.choices)
    places = {question.right_place for question in lesson.quiz}
    assert len(places) > 1, "the right choice is not always in the same place"


def test_every_lesson_is_keyed_by_its_topic_and_has_its_file_answers_and_notebook():
    for topic, lesson in lessons().items():
        assert lesson.topic == topic == topic_of(lesson.notebook)
    folder = Path(package.__file__).parent
    assert {path.stem for path in folder.glob("[a-z]*.py")} == set(lessons())
    held = {path.stem.removeprefix("answers_") for path in Path(__file__).parent.glob("answers_*.py")}
    assert held == set(lessons())


def test_names_are_told_apart():
    names = [task.name for task in EXERCISES]
    for lesson in lessons().values():
        names += [question.name for question in (*lesson.predictions, *lesson.quiz)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9_]+\.[a-z0-9_A-Z]+", name) for name in names)


@pytest.mark.parametrize("lesson", lessons().values(), ids=lambda lesson: lesson.topic)
def test_a_notebook_holds_its_lesson(lesson):
    notebook = nbformat.read(lesson.notebook, as_version=4)
    cells = {cell.id: cell for cell in notebook.cells}
    order = list(cells)
    for task in lesson.exercises:
        intro, answer, check = (task.id_of_cell(kind) for kind in ("exercise", "answer", "check"))
        assert order.index(answer) == order.index(intro) + 1 == order.index(check) - 1
        text = (
            f"### Exercise: [^\n]+\n\n\\*{task.minutes} minutes · difficulty {task.difficulty} of 3\\*\n\n."
        )
        assert re.match(text, cells[intro].source)
        assert f'check("{task.name}", {task.function})' in cells[check].source
        defined = [getattr(node, "name", "") for node in ast.parse(cells[answer].source).body]
        assert task.function in defined
        assert "..." in cells[answer].source
        assert "not attempted" in str(cells[check].outputs)
    assert cells[f"quiz-{lesson.topic}"].source == f'Quiz("{lesson.topic}")'
    known = {task.id_of_cell("answer") for task in lesson.exercises}
    assert {name for name in order if name.startswith("answer-")} == known


@pytest.mark.parametrize("lesson", lessons().values(), ids=lambda lesson: lesson.topic)
def test_nothing_gives_a_prediction_away(lesson):
    """Neither its cell nor the next one, nor what is saved of it outside the fold."""
    cells = nbformat.read(lesson.notebook, as_version=4).cells
    places = {cell.id: place for place, cell in enumerate(cells)}
    wanted = {f"predict-{question.name.replace('.', '-')}": question for question in lesson.predictions}
    assert {name for name in places if name.startswith("predict-")} == set(wanted)
    assert not [cell.id for cell in cells if cell.cell_type == "markdown" and "**Predict" in cell.source]
    for name, question in wanted.items():
        cell, following = cells[places[name]], cells[places[name] + 1]
        assert cell.source.splitlines()[-1].startswith(f'predict("{question.name}", ')
        (output,) = cell.outputs
        assert output.data["text/plain"] == f"Prediction {question.name}" and "image/png" not in output.data
        assert output.data["text/html"].count("<details>") == 1
        for code in (cell.source, following.source if following.cell_type == "code" else ""):
            tokens = {node.arg for node in ast.walk(ast.parse(code)) if isinstance(node, ast.keyword)}
            assert "title" not in tokens and "assert " not in code
        assert "figures." not in cell.source and "print(" not in cell.source
        assert not following.get("outputs"), "what is saved right below would answer it"
        assert question.finding.strip()


@pytest.mark.parametrize("lesson", lessons().values(), ids=lambda lesson: lesson.topic)
def test_the_solution_that_is_shown_is_right_where_it_is_pasted(lesson):
    notebook = nbformat.read(lesson.notebook, as_version=4)
    tasks = {task.id_of_cell("answer"): task for task in lesson.exercises}
    names = {}
    for cell in notebook.cells:
        if cell.id in tasks:
            task = tasks.pop(cell.id)
            exec(solution(task), names)
            assert repr(verdict_on(task, names[task.function], seed=3)).startswith(f"{task.name}: right")
        elif cell.cell_type == "code":
            define(cell.source, names)
    assert not tasks


def define(source, names):
    """Runs of a cell its imports and functions, and leaves out a function whose defaults need the rest."""
    for node in ast.parse(source).body:
        if isinstance(node, NAMING):
            with contextlib.suppress(NameError):
                exec(compile(ast.Module([node], type_ignores=[]), "cell", "exec"), names)


@pytest.mark.parametrize("lesson", lessons().values(), ids=lambda lesson: lesson.topic)
def test_each_objective_is_tested_by_an_exercise_or_a_question(lesson):
    notebook = nbformat.read(lesson.notebook, as_version=4)
    contract = next(cell.source for cell in notebook.cells if "## What you will be able to do" in cell.source)
    contract = contract.split("## What you will be able to do")[1].split("\n## ")[0]
    assert len(lesson.objectives) == len(re.findall(r"(?m)^[-*] ", contract))
    for names in lesson.objectives:
        assert names
        assert {lesson_of(name).topic for name in names} == {lesson.topic}
