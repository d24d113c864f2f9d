"""The position explorer in a browser: its numbers are gptlib's, without a kernel and in JupyterLab."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from gptlib.model.positions import rotate, sinusoidal_positions
from gptlib.viz.drawing import ATTENTION, DIVERGING
from gptlib.viz.explorers.position import PositionExplorer


def table(page, at: int) -> np.ndarray:
    """The numbers of one of the page's two tables."""
    page.evaluate("new Promise(requestAnimationFrame)")
    rows = page.locator(".position table").nth(at).locator("tbody tr").all_inner_texts()
    return np.array([[float(x) for x in row.replace("−", "-").split()] for row in rows])


def colors(page, at: int) -> np.ndarray:
    """What is painted on one of the two canvases: (row, column, red green blue)."""
    canvas = page.locator(".position canvas").nth(at)
    code = "c => [c.height, c.width, ...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    height, width, *pixels = canvas.evaluate(code)
    return np.array(pixels).reshape(height, width, 4)[..., :3]


def painted(values: torch.Tensor, table=ATTENTION) -> np.ndarray:
    """In the colors of a table, from the least to the most."""
    least, most = values.min().item(), values.max().item()
    return table(((values - least) / (most - least)).numpy())[..., :3] * 255


def scale(page, at: int) -> list[float]:
    """The two ends of the legend of one of the two canvases."""
    return [float(end) for end in page.locator(".legend").nth(at).inner_text().replace("−", "-").split()]


def steps(page, name: str, key: str, many: int = 1) -> None:
    page.get_by_label(name, exact=True).focus()
    for _ in range(many):
        page.keyboard.press(key)


@pytest.fixture
def page(show):
    return show(PositionExplorer(d_model=32, length=48, m=30, n=10))


def test_the_pages_numbers_are_gptlibs(page):
    page.get_by_text("The numbers").click()
    waves = sinusoidal_positions(48, 32)
    alike = cosine_similarity(waves[:, None], waves[None], dim=-1)
    assert np.allclose(table(page, 0)[:, 2:4].reshape(-1), waves[30], atol=1e-4)
    assert np.allclose(table(page, 0)[:, 4:].reshape(-1), waves[10], atol=1e-4)
    assert np.allclose(table(page, 1)[:, 1], alike[0], atol=1e-4)
    assert np.abs(colors(page, 0) - painted(waves, DIVERGING)).max() <= 6  # the table has 256 colors
    assert np.abs(colors(page, 1) - painted(alike)).max() <= 6
    assert scale(page, 0) == [-1, 1] and scale(page, 1) == [round(alike.min().item(), 2), 1]
    said = page.locator(".said")
    assert said.inner_text() == f"Positions 30 and 10 are 20 apart: cosine {alike[30, 10]:.2f}"

    page.get_by_role("radio", name="Sinusoidal").focus()
    page.keyboard.press("ArrowRight")  # to rotary
    steps(page, "base", "ArrowLeft", 20)  # two powers of ten
    steps(page, "d_head", "ArrowLeft", 8)
    steps(page, "position m", "Home")
    steps(page, "position m", "ArrowRight", 3)
    turned = rotate(torch.tensor([1.0, 0.0] * 8).expand(48, 16), torch.arange(48), 100.0)
    scores = turned @ turned.T  # (query, key)
    assert np.allclose(table(page, 0)[:, [3, 2]].reshape(-1), turned[3], atol=1e-4)  # cos, sin
    assert np.allclose(table(page, 1)[:, 1], scores[0], atol=1e-3)
    assert np.abs(colors(page, 1) - painted(scores / 8)).max() <= 6
    expected = f"Query at 3, key at 10, distance −7: score {scores[3, 10]:.2f} of at most 8"
    assert said.inner_text() == expected.replace("score -", "score −")
    assert page.locator(".dial").count() == 6 and page.locator(".dial").first.is_visible()
    cosines = page.locator(".dial span:last-child").all_inner_texts()
    assert cosines[0] == "cos 0.75" and cosines[-1] == f"cos {np.cos(7 * 100 ** (-14 / 16)):.2f}"


def test_the_curve_is_over_the_distance_for_both_kinds(page):
    page.set_viewport_size({"width": 1200, "height": 720})
    for kind, unit in (("Sinusoidal", "cosine"), ("Rotary", "score")):
        page.get_by_role("radio", name=kind).click()
        page.locator(".curve .unit", has_text=unit).wait_for()
        assert page.locator(".ticks span").all_inner_texts() == ["−47", "distance m − n", "47"]
        curve, dot = (page.locator(name).bounding_box() for name in (".curve svg", ".dot"))
        assert (dot["x"] + dot["width"] / 2 - curve["x"]) / curve["width"] == pytest.approx(67 / 94, abs=0.01)


def test_by_mouse_and_by_keyboard(page):
    said = page.locator(".said")
    grid = page.locator(".plane:has(.down)")
    box = grid.bounding_box()
    cell = box["width"] / 48
    page.mouse.move(box["x"] + 5.5 * cell, box["y"] + 20.5 * cell)
    page.mouse.down()
    page.mouse.move(box["x"] + 8.5 * cell, box["y"] + 40.5 * cell)  # rows are m, columns are n
    page.mouse.up()
    page.mouse.move(box["x"], box["y"])
    said.get_by_text("Positions 40 and 8 are 32 apart").wait_for()
    page.get_by_label("move both together").check()
    steps(page, "position m", "End")
    said.get_by_text("Positions 47 and 15 are 32 apart").wait_for()
    steps(page, "position n", "Home")
    said.get_by_text("Positions 32 and 0 are 32 apart").wait_for()
    steps(page, "position n", "End")  # m is at the end before n is
    said.get_by_text("Positions 47 and 15 are 32 apart").wait_for()
    page.get_by_label("move both together").uncheck()
    steps(page, "length", "Home")
    said.get_by_text("Positions 1 and 1 are 0 apart: cosine 1.00").wait_for()
    steps(page, "d_model", "Home")
    page.get_by_text("The first pair goes round in 6.3 positions.").wait_for()


def test_a_finger_scrolls_past_and_taps(page):
    page.set_viewport_size({"width": 390, "height": 700})
    browser = page.context.new_cdp_session(page)
    said, grid = page.locator(".said"), page.locator(".plane:has(.down)")

    def touch(kind, *points):
        browser.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]}
        )

    grid.scroll_into_view_if_needed()
    before, box = page.evaluate("scrollY"), grid.bounding_box()
    x, y = box["x"] + box["width"] * 5.5 / 48, box["y"] + box["height"] * 20.5 / 48
    page.evaluate("addEventListener('scrollend', () => { document.body.className = 'still' })")
    touch("touchStart", (x, y))
    for moved in range(0, 160, 10):
        touch("touchMove", (x, y + moved))
    touch("touchEnd")
    page.locator("body.still").wait_for()
    assert page.evaluate("scrollY") < before - 100 and said.inner_text().startswith("Positions 30 and 10")
    grid.scroll_into_view_if_needed()
    box = grid.bounding_box()
    touch("touchStart", (x, box["y"] + box["height"] * 20.5 / 48))
    touch("touchEnd")
    said.get_by_text("Positions 20 and 5 are 15 apart").wait_for()


@pytest.mark.parametrize("kind", ["Sinusoidal", "Rotary"])
def test_maps_and_curve_fit_on_a_projector(page, kind):
    page.set_viewport_size({"width": 1280, "height": 720})
    page.get_by_role("radio", name=kind).click()
    page.evaluate("new Promise(requestAnimationFrame)")
    top, view, curve = (
        page.locator(name).bounding_box() for name in (".position", ".main-view", ".main-view .curve")
    )
    assert curve["y"] + curve["height"] < view["y"] + view["height"] < top["y"] + 605


def test_jupyterlab(run):
    page = run(
        "from gptlib.viz import PositionExplorer\nfrom ipywidgets import Label\n"
        "explorer, told = PositionExplorer(), Label()\n"
        "explorer.observe(lambda change: setattr(told, 'value', repr(explorer)), 'answered')\nexplorer",
        "told",
    )
    page.get_by_role("radio", name="Rotary").click()
    steps(page, "position n", "ArrowRight", 5)
    page.locator(".said", has_text="Query at 40, key at 29, distance 11").wait_for()
    told = page.locator(".widget-label", has_text="PositionExplorer(rotary, ")
    told.get_by_text("m=40, n=29)").wait_for()
    assert page.locator(".position .problem").is_hidden()
