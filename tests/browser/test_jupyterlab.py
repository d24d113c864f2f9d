"""A reader's first minute in a real browser: JupyterLab as `make lab` starts it, and Run All."""

import os
import shutil
from pathlib import Path

import nbformat
import pytest
from driver import (
    browser_page,
    errors,
    image_widths,
    jupyterlab,
    open_notebook,
    run_all,
    screenshots,
)
from nbformat.v4 import new_code_cell, new_notebook

from notebooks.execute import KERNELSPEC

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab's address, serving a copy of the notebooks, and a notebook that fails beside them."""
    folder = tmp_path_factory.mktemp("course")
    shutil.copytree(NOTEBOOKS, folder / "notebooks")
    cells = [new_code_cell("import sys\nprint('careful', file=sys.stderr)"), new_code_cell("1 / 0")]
    failing = new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC})
    nbformat.write(failing, folder / "notebooks" / "failing.ipynb")
    with jupyterlab(folder, tmp_path_factory.mktemp("scratch")) as address:
        yield address


def test_welcome_runs_from_the_menu(chromium, lab, tmp_path):
    name = "00_welcome.ipynb"
    cells = [cell for cell in nbformat.read(NOTEBOOKS / name, as_version=4).cells if cell.cell_type == "code"]
    pictures = sum("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)
    with browser_page(chromium) as (page, beyond):
        open_notebook(page, lab, f"notebooks/{name}")
        run_all(page)
        shots = screenshots(page, Path(os.environ.get("GPTLIB_SCREENSHOTS", tmp_path)), "00_welcome")
        assert page.locator(".jp-CodeCell").count() == len(cells)
        assert errors(page) == []
        widths = image_widths(page)
        # A widget stands live where its picture was saved.
        last = [cell.source.splitlines()[-1] for cell in cells]
        explorers = sum("Explorer(" in line for line in last)
        page.locator(".gptlib.attention .tile").first.wait_for()
        assert page.locator(".gptlib").count() == explorers == 1
        assert len(widths) >= pictures - explorers >= 1 and min(widths) > 100, widths
        assert page.locator(".jp-Dialog, .Toastify__toast").count() == 0  # nothing asks the reader anything
        assert beyond == []
    assert shots and all(shot.stat().st_size > 10_000 for shot in shots)


def test_errors_and_warnings_would_be_seen(chromium, lab):
    """Without this, a page on which errors look otherwise than the test expects would pass as well."""
    with browser_page(chromium) as (page, beyond):
        open_notebook(page, lab, "notebooks/failing.ipynb")
        run_all(page)
        warning, error = errors(page)
        assert "careful" in warning and "ZeroDivisionError" in error
        page.evaluate("fetch('http://192.0.2.1/').catch(() => null)")
        assert beyond == ["http://192.0.2.1/"]
