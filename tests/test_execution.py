"""`make notebooks` saves what cells give, and nothing else; the strict run then fails on whatever differs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from notebooks import execute

ROOT = Path(__file__).resolve().parents[1]
PICTURE = "from matplotlib.figure import Figure\nfrom IPython.display import Image\nimport io\n"
PICTURE += "file = io.BytesIO()\nFigure(figsize=(1, 1)).savefig(file)\nImage(file.getvalue())"


def write(path: Path, *cells: str) -> Path:
    """A notebook of code cells with the ids cell-1, cell-2, …, not yet run."""
    notebook = new_notebook(cells=[new_markdown_cell("# A title"), *map(new_code_cell, cells)])
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    nbformat.write(notebook, path)
    return path


def strict_run(folder: Path) -> tuple[dict[str, str], str]:
    """`make test` on notebooks that lie elsewhere: "name.ipynb::Cell N" -> outcome, and all it prints."""
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-c", str(ROOT / "pyproject.toml"), "-rA"]
    command += ["-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    run = subprocess.run(command, cwd=ROOT, env=mine, capture_output=True, text=True)
    found = re.findall(r"(?m)^(PASSED|FAILED|ERROR) .*?(\w+\.ipynb::Cell \d+)", run.stdout)
    assert found, run.stdout + run.stderr
    assert run.returncode == int(any(outcome != "PASSED" for outcome, _ in found))
    return {cell: outcome for outcome, cell in found}, run.stdout


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small notebook of all kinds of outputs, executed and saved."""
    path = tmp_path_factory.mktemp("saved") / "same.ipynb"
    warning = "import sys\nprint('first'); print('second'); print('warned', file=sys.stderr)"
    widget = "import ipywidgets\nslider = ipywidgets.IntSlider(3)\nslider"
    explorer = "from gptlib.viz import BudgetExplorer\nBudgetExplorer()"
    settings = "import os\nos.environ['OMP_NUM_THREADS'], os.environ['CUDA_VISIBLE_DEVICES']"
    write(path, "x = 2", warning, "x + 3", PICTURE, widget, settings, explorer)
    memory = execute.execute(path)
    assert memory is None or 30 < memory < 1000
    return path


@pytest.fixture(scope="module")
def strict(saved, tmp_path_factory):
    """One strict run: the saved notebook, two copies of it with an altered output, and one that fails."""
    folder = tmp_path_factory.mktemp("strict")
    shutil.copy(saved, folder)
    for name, cell, old, new in (("wrong_value", 3, "5", "6"), ("wrong_line", 2, "second", "third")):
        notebook = nbformat.read(saved, as_version=4)
        altered = json.dumps(notebook.cells[cell].outputs).replace(old, new)
        assert altered != json.dumps(notebook.cells[cell].outputs)
        notebook.cells[cell].outputs = nbformat.from_dict(json.loads(altered))
        nbformat.write(notebook, folder / f"{name}.ipynb")
    failing = nbformat.read(write(folder / "failing.ipynb", "1 / 0"), as_version=4)
    failing.cells[1].execution_count = 1
    nbformat.write(failing, folder / "failing.ipynb")
    return strict_run(folder)


def test_what_is_saved(saved):
    notebook = nbformat.read(saved, as_version=4)
    assert [cell.id for cell in notebook.cells] == [f"cell-{number}" for number in range(8)]
    assert [cell.execution_count for cell in notebook.cells[1:]] == [1, 2, 3, 4, 5, 6, 7]
    assert dict(notebook.metadata) == {"kernelspec": execute.KERNELSPEC, "language_info": execute.LANGUAGE}
    assert all(not cell.metadata for cell in notebook.cells)
    streams = {output.name: output.text for output in notebook.cells[2].outputs}
    assert streams == {"stdout": "first\nsecond\n", "stderr": "warned\n"}
    assert notebook.cells[3].outputs[0].data == {"text/plain": "5"}
    assert "image/png" in notebook.cells[4].outputs[0].data
    assert notebook.cells[6].outputs[0].data == {"text/plain": "('1', '')"}
    kinds = [sorted(output.data) for output in notebook.cells[7].outputs]
    assert kinds == [["text/html"], [execute.EXPLORER, "image/png", "text/plain"]]


def test_executing_again_changes_nothing_but_identities_of_widgets(saved, tmp_path):
    def texts(path):
        cells = json.loads(path.read_text())["cells"]
        return [cell for number, cell in enumerate(cells) if number != 5]

    again = tmp_path / "same.ipynb"
    again.write_bytes(saved.read_bytes())
    execute.execute(again)
    assert texts(again) == texts(saved)
    assert os.listdir(tmp_path) == ["same.ipynb"]


def test_a_failing_cell_is_named_and_nothing_is_saved(tmp_path, capsys):
    good, bad = write(tmp_path / "good.ipynb", "1 + 1"), write(tmp_path / "bad.ipynb", "y = 1", "y / 0", "3")
    before = bad.read_bytes()
    assert execute.main([str(bad), str(good)]) == 1
    printed = capsys.readouterr().out
    assert "bad.ipynb, cell 2 (id cell-2):\ny / 0" in printed and "ZeroDivisionError" in printed
    assert "1 of 2 notebooks failed" in printed
    assert bad.read_bytes() == before
    assert nbformat.read(good, as_version=4).cells[1].outputs  # one failure does not keep the others


def test_a_cell_that_does_not_end_is_named(tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)endless\.ipynb, cell 1 \(id cell-1\).*[Tt]ime"):
        execute.execute(write(tmp_path / "endless.ipynb", "while True: pass"), timeout=2)


def test_an_unknown_notebook_is_refused(capsys):
    with pytest.raises(SystemExit):
        execute.main(["77"])
    assert "no notebook is called '77'" in capsys.readouterr().err


def test_the_strict_run_accepts_what_was_saved(strict):
    outcomes, printed = strict
    assert [outcomes[f"same.ipynb::Cell {cell}"] for cell in range(7)] == ["PASSED"] * 7
    assert re.search(r"(?m)^same +[\d.]+ s +\d+ MB$", printed)  # the line of the summary


@pytest.mark.parametrize("name, cell", [("wrong_value", 2), ("wrong_line", 1)])
def test_the_strict_run_refuses_a_wrong_saved_output(strict, name, cell):
    outcomes, printed = strict
    wrong = [key for key, outcome in outcomes.items() if key.startswith(name) and outcome == "FAILED"]
    assert wrong == [f"{name}.ipynb::Cell {cell}"]
    assert "Cell outputs differ" in printed


def test_the_strict_run_refuses_a_cell_that_fails(strict):
    outcomes, printed = strict
    assert outcomes["failing.ipynb::Cell 0"] == "FAILED" and "ZeroDivisionError" in printed
