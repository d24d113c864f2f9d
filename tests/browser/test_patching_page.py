"""The patching explorer in a browser: pointing at its map, in both schemes, and typing with a kernel."""

import numpy as np
import pytest
from test_every_page import around, seen
from test_pictures import PAIR

from gptlib import load
from gptlib.viz import PatchingExplorer


@pytest.fixture(scope="module")
def explorer():
    return PatchingExplorer(*load("storyteller"), *PAIR)


def test_pointing_looks_and_pressing_stays(show, explorer):
    page = show(explorer)
    said, cell = page.locator(".said h2"), page.locator("td button")
    first, other = (f"Patched at layer {layer}, “{word}”: " for layer, word in ((0, "Noah"), (2, "␣lived")))
    assert said.inner_text() == f"{first}1.00 of the way back to “␣Jack”"
    cell.nth(2 * 13 + 6).hover()
    assert said.inner_text().startswith(other)
    page.locator(".legend").hover()
    assert said.inner_text().startswith(first)  # the cell that is chosen
    cell.nth(2 * 13 + 6).click()
    page.locator(".legend").hover()
    assert said.inner_text().startswith(other)
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert said.inner_text().startswith("Patched at layer 2, “Noah”: 1.00")
    assert page.locator(".main-view [aria-pressed=true]").count() == 1
    assert page.locator("thead th").nth(1).get_attribute("title") == (
        "position 1: “Noah”, in the clean text “Jack”"
    )


def test_a_part_is_explained_and_opens_at_its_strongest_cell_or_the_readers(run):
    page = run(
        "from gptlib import load\nfrom gptlib.viz import PatchingExplorer\n"
        f"PatchingExplorer(*load('storyteller'), *{PAIR!r})"
    )
    said, told = page.locator(".said h2"), page.locator(".all p")
    stays = "In every layer the stream at “Jack” is enough"
    assert stays in told.inner_text() and "have written into the stream" in told.inner_text()
    assert page.locator("th.differs").all_inner_texts() == ["Jack/Noah"]
    page.locator("td button").nth(2 * 13).click()
    page.get_by_role("radio", name="attention").click()
    said.get_by_text("Patched at layer 3, “␣night”: 1.00").wait_for()  # the strongest of this part
    assert "what the layer's attention adds" in told.inner_text() and "stands in" not in told.inner_text()
    page.get_by_role("radio", name="stream").click()
    said.get_by_text("Patched at layer 2, “(start)”: 0.00").wait_for()  # where the reader was in that one
    titles = page.locator("td button").evaluate_all("cells => cells.map((it) => it.title)")
    assert "−0.00" not in "".join(titles)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_map_is_of_the_pages_colors_and_its_numbers_stand_out(show, explorer, scheme):
    page = show(explorer)
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    cell = page.locator("td button").first
    dark = np.median(seen(page, around(cell))[..., 0]) < 40  # of 100 in lightness
    assert dark == (scheme == "dark")
    for away in (False, True):
        for share in range(0, 101, 5):
            cell.evaluate(
                "(cell, [share, away]) => { cell.style.setProperty('--share', `${share}%`);"
                " cell.classList.toggle('away', away); cell.textContent = '██'; cell.style.border = 'none' }",
                [share, away],
            )
            lightness = seen(page, around(cell, ring=-3))[..., 0]
            luminance = [((level + 16) / 116) ** 3 for level in (lightness.min(), lightness.max())]
            assert (luminance[1] + 0.05) / (luminance[0] + 0.05) > 4.5, (share, away)


TYPED = """(box, text) => {
    box.value = text;
    box.dispatchEvent(new Event("input", { bubbles: true }));
    return document.querySelector(".patching .main-view").classList.contains("stale");
}"""


def test_it_answers_as_one_types_and_tells_what_is_stale(run):
    page = run(
        "from gptlib import load\nfrom gptlib.viz import PatchingExplorer\n"
        f"PatchingExplorer(*load('storyteller'), *{PAIR!r})"
    )
    box, stale, problem = page.get_by_label("clean text"), page.locator(".stale"), page.locator(".problem")
    title = page.locator(".patching h2").first
    assert title.inner_text() == "How far the next token goes from “␣Noah” back to “␣Jack”"
    assert stale.count() == 0 and page.get_by_text("still the texts").is_hidden()
    assert box.evaluate(TYPED, PAIR[0].replace("Jack", "Leo"))  # at once, before anyone could answer
    title.get_by_text("back to “␣Leo”").wait_for()
    assert stale.count() == 0 and problem.is_hidden()

    box.press("End")
    box.press_sequentially(" she")  # the box keeps the focus
    problem.get_by_text("Clean has 13 tokens and corrupted 12; patching needs the same number").wait_for()
    assert stale.count() == 1 and page.get_by_text("still the texts").is_visible()
    assert title.inner_text().endswith("“␣Leo”")  # the last good answer stays
    page.get_by_role("radio", name="heads").click()
    assert page.get_by_role("radio", name="heads").get_attribute("aria-checked") == "true"
    assert stale.count() == 1
    box.press("End")
    for _ in " she":
        box.press("Backspace")
    page.locator("thead", has_text="head 3").wait_for()
    assert stale.count() == 0 and problem.is_hidden() and page.get_by_text("still the texts").is_hidden()
