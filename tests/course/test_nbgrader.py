"""nbgrader takes the course's notebooks from a teacher's sources to points and feedback."""

import csv
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from gptlib.cli.main import main
from gptlib.course.desk.checking import SEED, verdict_on
from gptlib.course.exercises import Exercise, exercise, lesson, lesson_of, lessons
from gptlib.course.grading.nbgrader import source_notebook, with_solution, write_course
from gptlib.course.judging import RIGHT

TASKS = [task for each in lessons().values() for task in each.exercises]
NAME = "04_attention"
RIGHT_ANSWERS = {
    "weighted_average": """
def weighted_average(weights, values):
    return torch.einsum("qk,kd->qd", weights, values)
""",
    # To nbgrader anything on stderr is a failure.
    "look_up": """
import sys

def look_up(query, keys, values):
    print("still here", file=sys.stderr)
    return F.softmax(keys @ query, dim=0) @ values
""",
    "scaled_scores": """
def scaled_scores(queries, keys):
    return torch.einsum("...qd,...kd->...qk", queries, keys) * queries.shape[-1] ** -0.5
""",
    "entropy": """
def entropy(weights):
    return -(weights * weights.clamp(min=1e-30).log()).sum(-1)
""",
}
# Its check puts the course's in its place right after: what is graded must be the student's.
IN_BITS = """
def entropy(weights):
    return -(weights * weights.log2()).nansum(-1)
"""
STUDENTS = {"ada": RIGHT_ANSWERS, "ben": RIGHT_ANSWERS | {"entropy": IN_BITS}, "cho": {}}


def source(cell):
    return "".join(cell["source"])


def cells_of(notebook):
    return {cell["id"]: cell for cell in notebook["cells"]}


def of_course(task: Exercise):
    return cells_of(json.loads(lesson_of(task.name).notebook.read_text(encoding="utf-8")))


@pytest.mark.parametrize("task", TASKS, ids=[task.name for task in TASKS])
def test_a_solution_brings_all_that_it_needs_and_is_right(task):
    stub = source(of_course(task)[task.id_of_cell("answer")])
    before, solution = with_solution(task, stub).split("### BEGIN SOLUTION\n")
    assert before == stub.rstrip() + "\n"
    names = {}
    exec(solution, names)
    assert verdict_on(task, names[task.function], seed=1).status == RIGHT


@pytest.mark.parametrize("topic", lessons())
def test_every_exercise_is_graded_with_a_seed_of_its_own(topic):
    each = lesson(topic)
    notebook = source_notebook(each)
    cells, marked = cells_of(notebook), {}
    for cell in notebook["cells"]:
        assert not cell.get("outputs") and not cell.get("execution_count")
        if "nbgrader" in cell["metadata"]:
            marked[cell["id"]] = cell["metadata"]["nbgrader"]
    assert {name for name, marks in marked.items() if marks["solution"]} == {
        task.id_of_cell("answer") for task in each.exercises
    }
    points = {name: marks["points"] for name, marks in marked.items() if marks["grade"]}
    assert points == {task.id_of_cell("check"): task.difficulty for task in each.exercises}
    seeds = {
        source(cells[name]).split("seed=")[1].split(")")[0]
        for name, marks in marked.items()
        if marks["grade"]
    }
    assert len(seeds) == 1 and int(seeds.pop()) > SEED
    imports = next(marks for name, marks in marked.items() if "import" in source(cells[name]))
    assert imports["locked"] and not imports["solution"]


def test_a_solution_of_another_name_gets_the_students():
    task = exercise("attention.entropy")
    other = Exercise(**(vars(task) | {"source": "def spread(weights):\n    return weights"}))
    names = {}
    exec(with_solution(other, "..."), names)
    assert names["entropy"](3) == 3


def test_what_a_teacher_changed_is_kept(tmp_path):
    (first,) = write_course(tmp_path, ["attention"])
    config = tmp_path / "nbgrader_config.py"
    first.write_text("mine")
    config.write_text("mine too")
    assert write_course(tmp_path, ["attention"]) == []
    assert (first.read_text(), config.read_text()) == ("mine", "mine too")


def test_a_name_that_no_notebook_has_is_one_line(tmp_path, capsys):
    assert main(["nbgrader", str(tmp_path), "77"]) == 2
    assert "no notebook is called '77'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def call(folder: Path, *arguments: str) -> None:
    """Run nbgrader as from an activated environment: it calls alembic by name."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # Where a grader's own progress would be written, if the settings did not forbid it.
    own = {"PATH": places, "GPTLIB_PROGRESS": str(folder / "progress.json")}
    run = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=folder,
        env=os.environ | own,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def only_what_is_graded(path: Path) -> None:
    """Leave out the cells that nbgrader is told nothing of: they take most of the time and give no points."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["cells"] = [cell for cell in notebook["cells"] if "nbgrader" in cell["metadata"]]
    path.write_text(json.dumps(notebook), encoding="utf-8")


@pytest.mark.skipif(
    find_spec("nbgrader") is None and "CI" not in os.environ,
    reason="nbgrader is not installed: the extra 'nbgrader' brings it",
)
def test_nbgrader_goes_from_sources_to_points_and_feedback(tmp_path):
    assert main(["nbgrader", str(tmp_path), "attention"]) == 0
    path = Path(NAME, f"{NAME}.ipynb")
    only_what_is_graded(tmp_path / "source" / path)

    call(tmp_path, "generate_assignment", NAME)
    released = (tmp_path / "release" / path).read_text(encoding="utf-8")
    course = of_course(exercise("attention.entropy"))
    for task in lesson("attention").exercises:
        for kind in ("answer", "check"):
            name = task.id_of_cell(kind)
            assert source(cells_of(json.loads(released))[name]).rstrip() == source(course[name])

    for student, answers in STUDENTS.items():
        notebook = json.loads(released)
        for function, answer in answers.items():
            cells_of(notebook)[f"answer-attention-{function}"]["source"] = answer
        handed_in = tmp_path / "submitted" / student / path
        handed_in.parent.mkdir(parents=True)
        handed_in.write_text(json.dumps(notebook), encoding="utf-8")
    call(tmp_path, "autograde", NAME)
    call(tmp_path, "export", "--to", "points.csv")
    rows = csv.DictReader((tmp_path / "points.csv").read_text().splitlines())
    assert {row["student_id"]: (float(row["score"]), float(row["max_score"])) for row in rows} == {
        "ada": (6, 6),
        "ben": (4, 6),
        "cho": (0, 6),
    }
    assert not (tmp_path / "progress.json").exists()

    call(tmp_path, "generate_feedback", NAME)
    pages = {
        student: (tmp_path / "feedback" / student / path.with_suffix(".html")).read_text(encoding="utf-8")
        for student in STUDENTS
    }
    assert "AssertionError" not in pages["ada"]
    assert "not yet, because these are bits" in pages["ben"]
    assert pages["cho"].count("not attempted. Write it in the cell above") == 4
