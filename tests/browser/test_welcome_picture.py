"""The README's first picture, the welcome in JupyterLab: with GPTLIB_PICTURES=docs/explorers it is kept."""

import os
import shutil
from pathlib import Path

from driver import ROOT, browser_page, errors, jupyterlab, open_notebook, run_all

NOTEBOOK = "notebooks/00_welcome.ipynb"


def test_picture(chromium, tmp_path):
    folder = Path(os.environ.get("GPTLIB_PICTURES", tmp_path / "explorers")).parent
    (tmp_path / "course" / "notebooks").mkdir(parents=True)
    shutil.copy(ROOT / NOTEBOOK, tmp_path / "course" / NOTEBOOK)
    with (
        jupyterlab(tmp_path / "course", tmp_path) as address,
        browser_page(chromium, 1180, 1700) as (page, beyond),
    ):
        open_notebook(page, address.replace("/lab/tree", "/doc/tree"), NOTEBOOK)
        run_all(page)
        assert errors(page) == [] and beyond == []
        # From the code that tells the story to the heatmap of how it is read, with nothing pointed at.
        cells = page.locator(".jp-CodeCell")
        page.locator(".jp-Cell").nth(-1).click()
        cells.first.evaluate("cell => cell.scrollIntoView({ block: 'start', behavior: 'instant' })")
        page.mouse.move(0, 0)
        page.wait_for_timeout(500)
        first, last = cells.nth(0).bounding_box(), cells.nth(1).bounding_box()
        clip = {**first, "height": last["y"] + last["height"] - first["y"]}
        page.screenshot(path=folder / "welcome.png", clip=clip)
    assert (folder / "welcome.png").stat().st_size > 50_000
