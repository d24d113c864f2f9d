"""`make notebooks` saves what cells give, and nothing else; the strict run then fails on whatever differs."""

import json
import os
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


def strict_run(notebook: Path) -> subprocess.CompletedProcess:
    """The run of `make test` on one notebook that lies elsewhere."""
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-c", str(ROOT / "pyproject.toml")]
    command += ["-p", "no:cacheprovider", "--rootdir", str(notebook.parent), str(notebook)]
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(command, cwd=ROOT, env=mine, capture_output=True, text=True)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small notebook of all kinds of outputs, executed and saved."""
    path = tmp_path_factory.mktemp("saved") / "small.ipynb"
    warning = "import sys\nprint('first'); print('second'); print('warned', file=sys.stderr)"
    widget = "import ipywidgets\nslider = ipywidgets.IntSlider(3)\nslider"
    write(path, "x = 2", warning, "x + 3", PICTURE, widget, "import torch\ntorch.get_num_threads()")
    memory = execute.execute(path)
    assert memory is None or 100 < memory < 1000
    return path


def test_what_is_saved(saved):
    notebook = nbformat.read(saved, as_version=4)
    assert [cell.id for cell in notebook.cells] == [f"cell-{number}" for number in range(7)]
    assert [cell.execution_count for cell in notebook.cells[1:]] == [1, 2, 3, 4, 5, 6]
    assert dict(notebook.metadata) == {"kernelspec": execute.KERNELSPEC, "language_info": execute.LANGUAGE}
    assert all(not cell.metadata for cell in notebook.cells)
    streams = {output.name: output.text for output in notebook.cells[2].outputs}
    assert streams == {"stdout": "first\nsecond\n", "stderr": "warned\n"}
    assert notebook.cells[3].outputs[0].data == {"text/plain": "5"}
    assert "image/png" in notebook.cells[4].outputs[0].data
    assert notebook.cells[6].outputs[0].data == {"text/plain": "1"}


def test_executing_again_changes_nothing_but_identities_of_widgets(saved, tmp_path):
    def texts(path):
        cells = json.loads(path.read_text())["cells"]
        return [cell for number, cell in enumerate(cells) if number != 5]

    again = tmp_path / "small.ipynb"
    again.write_bytes(saved.read_bytes())
    execute.execute(again)
    assert texts(again) == texts(saved)
    assert os.listdir(tmp_path) == ["small.ipynb"]


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
    assert "no notebook begins with '77'" in capsys.readouterr().err


def test_the_strict_run_accepts_what_was_saved(saved):
    run = strict_run(saved)
    assert run.returncode == 0, run.stdout
    assert "6 passed" in run.stdout and "small" in run.stdout.split("notebooks")[-1]


@pytest.mark.parametrize(
    "cell, old, new", [(3, "5", "6"), (2, "second", "third")], ids=["a wrong value", "a wrong line"]
)
def test_the_strict_run_refuses_a_wrong_saved_output(saved, tmp_path, cell, old, new):
    notebook = nbformat.read(saved, as_version=4)
    altered = nbformat.from_dict(json.loads(json.dumps(notebook.cells[cell].outputs).replace(old, new)))
    assert altered != notebook.cells[cell].outputs
    notebook.cells[cell].outputs = altered
    path = tmp_path / "altered.ipynb"
    nbformat.write(notebook, path)
    run = strict_run(path)
    assert run.returncode == 1
    assert f"altered.ipynb::Cell {cell - 1}" in run.stdout and "Cell outputs differ" in run.stdout
    assert "1 failed, 5 passed" in run.stdout


def test_the_strict_run_refuses_a_cell_that_fails(tmp_path):
    notebook = nbformat.read(write(tmp_path / "failing.ipynb", "1 / 0"), as_version=4)
    notebook.cells[1].execution_count = 1
    nbformat.write(notebook, tmp_path / "failing.ipynb")
    run = strict_run(tmp_path / "failing.ipynb")
    assert run.returncode == 1 and "ZeroDivisionError" in run.stdout
