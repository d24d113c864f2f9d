"""A notebook may show several explorers, each with its style for the whole page: none may spoil another."""

import pytest
from test_pictures import EXPLORERS

from gptlib import load
from gptlib.viz.explorers.pages import FOLDER, page_style

# Of every element its place, and the rest of what is seen of it.
LOOKS = """() => [...document.querySelectorAll(".gptlib, .gptlib *")].map((element) => {
    const { x, y, width, height } = element.getBoundingClientRect(), style = getComputedStyle(element);
    const seen = ["color", "background", "border", "outline", "font", "textDecoration", "textAlign",
        "whiteSpace", "overflow", "opacity", "zIndex", "stroke", "fill", "cursor"].map((name) => style[name]);
    return [element.tagName, element.className, x, y, width, height, ...seen].join(" ");
})"""


@pytest.mark.parametrize("name", EXPLORERS)
def test_it_looks_the_same_beside_all_others(show, name):
    page = show(EXPLORERS[name](*load("storyteller")), still=True)  # a model that wakes would draw anew
    for width in (360, 1100):
        page.set_viewport_size({"width": width, "height": 800})
        page.reload()
        page.locator(".gptlib h2").first.wait_for()
        page.add_style_tag(content="* { transition: none !important; }")
        alone = page.evaluate(LOOKS)
        for script in {file.name for file in FOLDER.glob("*.js")} - {"shared.js"}:
            page.add_style_tag(content=page_style(script))
        assert page.evaluate(LOOKS) == alone and len(alone) > 30


def test_beside_another_it_takes_its_share(show):
    """As in an HBox, where a box has the width that it asks for."""
    page = show(EXPLORERS["budget"](*load("storyteller")))
    page.eval_on_selector("#explorer", "one => { one.parentElement.style.display = 'flex'; }")
    assert page.locator(".gptlib").bounding_box()["width"] > 600
