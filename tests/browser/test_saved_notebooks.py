"""What is left of explorers, predictions and quizzes where nothing runs: opened again, converted, printed."""

import subprocess
import sys

import nbformat
import pytest
from driver import browser_page, choose, errors, jupyterlab, open_notebook, run_all
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from notebooks.execute import EXPLORER, KERNELSPEC, WIDGET

CODE = [
    "from gptlib.course import Quiz, predict\nfrom gptlib.viz import BudgetExplorer\nimport torch",
    "BudgetExplorer()",
    "print('before')\ndisplay(BudgetExplorer(n_layers=2))\nprint('after')",
    'predict("attention.kite_looks_at", torch.eye(2), ["a", "b"])',
    'Quiz("attention")',
]
# Runs while the notebook does, and notes what stands in for a widget and is seen for as little as one frame.
WATCH = """() => {
  window.flashes = [];
  const look = () => {
    for (const still of document.querySelectorAll(".jp-OutputArea-output :is(.gptlib-still, img)"))
      if (still.checkVisibility()) window.flashes.push(still.outerHTML.slice(0, 80));
    requestAnimationFrame(look);
  };
  look();
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    (folder / "notebooks").mkdir()
    cells = [new_code_cell(code) for code in CODE]
    notebook = new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC})
    nbformat.write(notebook, folder / "notebooks" / "tried.ipynb")
    with jupyterlab(folder, tmp_path_factory.mktemp("scratch")) as address:
        yield folder / "notebooks", address.replace("/lab/tree", "/doc/tree")


@pytest.fixture(scope="module")
def saved(chromium, lab):
    """The notebook after it was run and saved in JupyterLab, where its widgets alone were seen."""
    folder, address = lab
    with browser_page(chromium) as (page, beyond):
        open_notebook(page, address, "notebooks/tried.ipynb")
        page.evaluate(WATCH)
        run_all(page)
        page.locator(".gptlib.budget").nth(1).wait_for()
        page.get_by_text("0 of 7 right").wait_for()
        assert page.evaluate("window.flashes") == []
        # Nothing is left between a widget and what comes after it.
        high = "outputs => outputs.filter(one => one.getBoundingClientRect().height > 0).length"
        assert page.eval_on_selector_all(".jp-OutputArea-child", high) == 6  # 4 widgets, 2 lines of print
        assert errors(page) == [] and beyond == []
        page.keyboard.press("Control+s")
        page.wait_for_timeout(1000)
        choose(page, "Kernel", "kernelmenu:shutdown")
        page.wait_for_timeout(1000)
    notebook = nbformat.read(folder / "tried.ipynb", as_version=4)
    kinds = [set(output.get("data", {})) for cell in notebook.cells for output in cell.outputs]
    assert sum(WIDGET in kind for kind in kinds) == 4
    assert sum({"image/png", EXPLORER} <= kind for kind in kinds) == 2  # beside the picture
    notebook.cells.append(new_markdown_cell("Changed elsewhere, so that Jupyter does not trust it."))
    nbformat.write(notebook, folder / "sent.ipynb")
    return folder / "tried.ipynb"


def stands(page):
    """Pictures of both explorers, both kinds of questions with folded answers, and no word of an error."""
    page.locator(".gptlib-still", has_text="Which word will").wait_for()
    assert page.get_by_text("This is a picture of the explorer").filter(visible=True).count() == 2
    pictures = page.locator(".jp-OutputArea-output > img").filter(visible=True)
    assert pictures.count() == 2
    assert all(picture.evaluate("image => image.naturalWidth") > 300 for picture in pictures.all())
    folds = page.locator(".gptlib-still details")
    assert folds.count() == 8 and page.locator("details[open]").count() == 0
    assert page.get_by_text("C. ").filter(visible=True).count() >= 7
    answer = folds.first.locator("img")  # the figure that answers the prediction
    assert not answer.is_visible()
    folds.first.locator("summary").click()
    assert answer.is_visible() and answer.evaluate("image => image.naturalWidth") > 100
    assert page.get_by_text("Error displaying widget").filter(visible=True).count() == 0
    assert page.get_by_text("Loading widget").filter(visible=True).count() == 0
    assert EXPLORER not in page.locator("body").inner_text()


@pytest.mark.parametrize("name", ["tried", "sent"])  # sent: not trusted, so sanitized
def test_opened_again_in_jupyterlab(chromium, lab, saved, name):
    with browser_page(chromium) as (page, beyond):
        open_notebook(page, lab[1], f"notebooks/{name}.ipynb")
        stands(page)
        run_all(page)  # and it comes to life again
        page.locator(".gptlib.budget").nth(1).wait_for()
        assert page.locator(".gptlib-still").filter(visible=True).count() == 0
        assert beyond == []
        choose(page, "Kernel", "kernelmenu:shutdown")


def test_opened_where_no_kernel_is_ready(chromium, lab, saved):
    """While widgets are awaited the stills are seen, though not at once."""
    with browser_page(chromium) as (page, _):
        page.route("**/api/kernels/*/channels*", lambda route: route.abort())
        page.route_web_socket("**/channels*", lambda socket: None)  # a kernel that never says a word
        page.goto(lab[1].format(path="notebooks/tried.ipynb"))
        page.locator(".jp-OutputArea-output", has_text="before").first.wait_for(timeout=60_000)
        stands(page)


@pytest.mark.parametrize("name", ["tried", "sent"])
def test_opened_again_in_notebook_7(chromium, lab, saved, name):
    with browser_page(chromium) as (page, beyond):
        page.goto(lab[1].replace("/doc/tree", "/notebooks").format(path=f"notebooks/{name}.ipynb"))
        page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
        stands(page)
        assert beyond == []


@pytest.mark.parametrize("options", [[], ["--execute"]])
def test_converted_and_printed_offline(chromium, saved, tmp_path, options):
    command = [sys.executable, "-m", "nbconvert", "--to", "html", *options, "--output-dir", str(tmp_path)]
    run = subprocess.run([*command, str(saved)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "not able to be represented" not in run.stderr
    with browser_page(chromium) as (page, _):
        page.route("http*://**", lambda route: route.abort())  # from where the page would load its widgets
        page.goto((tmp_path / "tried.html").as_uri(), wait_until="domcontentloaded")
        stands(page)
        page.emulate_media(media="print")
        assert page.locator(".jp-OutputArea-output > img").filter(visible=True).count() == 2
        page.emulate_media(media="screen")
        if options:  # with a network the widgets come, and what stands for them goes
            came = "all => all.forEach(one => { one.innerHTML = '<div class=lm-Widget></div>'; })"
            page.eval_on_selector_all(".jp-OutputArea-output.jupyter-widgets", came)
            stills = page.locator(".gptlib-still, .jp-OutputArea-output > img")
            assert stills.count() == 6 and stills.filter(visible=True).count() == 0
