"""The budget explorer in a browser: its arithmetic is Python's, and it moves in a file without a kernel."""

import random

import pytest

from gptlib.scaling.cards import CARDS
from gptlib.scaling.sizing import NUMBER_FORMATS
from gptlib.viz import BudgetExplorer


def some_state(draw):
    training = draw.random() < 0.6
    return {
        "n_layers": draw.randint(1, 128),
        "d_model": 64 * draw.randint(1, 256),
        "context_length": 2 ** draw.randint(6, 15),
        "batch_size": 2 ** draw.randint(0, 12),
        "tokens": float(f"{10 ** draw.uniform(6, 14):.2g}"),
        "training": training,
        "number_format": draw.choice(["float32", "16-bit"] if training else list(NUMBER_FORMATS)),
        "card": draw.choice(list(CARDS)),
        "n_cards": 2 ** draw.randint(0, 16),
        "stage": draw.randint(0, 3),
    }


def test_the_page_counts_what_python_counts(show):
    draw = random.Random(0)
    states = [some_state(draw) for _ in range(400)]
    explorer = BudgetExplorer()
    tables = {name: explorer.answer[name] for name in ("formats", "cards")}
    page = show(explorer)
    page.goto("about:blank")  # a file lets no other script in
    page.add_script_tag(content=explorer._esm.replace("export default", "window.explorer ="), type="module")
    page.wait_for_function("window.explorer")
    found = page.evaluate(
        "([states, tables]) => states.map((state) => explorer.costs(state, tables))", [states, tables]
    )
    for state, counted in zip(states, found, strict=True):
        expected = BudgetExplorer(**state).answer
        for name in ("parts", "parameters", "peak", "flops", "days", "pace"):
            wanted = expected[name]
            assert counted[name] == (wanted and pytest.approx(wanted, rel=1e-12)), (name, state)
        if state["training"]:  # what the page says the peak is made of
            parts = ("weights", "optimizer", "gradients" if counted["atEnd"] else "activations")
            made_of = sum(counted["parts"][name] for name in parts) + counted["extra"]
            assert made_of == pytest.approx(counted["peak"])


def test_it_moves_in_a_file(show):
    page = show(BudgetExplorer(n_layers=48, d_model=1600, card="RTX 4090", batch_size=4, n_cards=4))
    said, advice = page.locator(".budget h2"), page.locator(".held p").first
    bars = page.locator(".held .value")
    xl = BudgetExplorer(n_layers=48, d_model=1600, card="RTX 4090", batch_size=4, n_cards=4).answer
    times = xl["peak"] / 24e9
    assert "4 texts of 1,024 tokens at once: training does not fit on one RTX 4090." in said.inner_text()
    assert f"It takes {xl['peak'] / 1e9:.1f} GB" in said.inner_text()
    assert f"{times:.2g} times its 24 GB" in said.inner_text()
    assert advice.inner_text() == "Cut up by ZeRO-1 among the 4 cards, it would fit."
    assert page.locator(".over").count() == 1 and bars.nth(3).inner_text() == "18.7 GB"
    cut = page.get_by_role("radio", name="ZeRO-1")
    cut.click()
    assert "training fits on each RTX 4090" in said.inner_text() and advice.inner_text() == ""
    assert bars.nth(3).inner_text() == "4.67 GB" and page.locator(".over").count() == 0
    # What cannot train is for writing, and says so; what is trained is in what can; nothing moves meanwhile.
    four, card = page.get_by_role("radio", name="4 bit"), page.get_by_role("radio", name="RTX 4090")
    assert (
        four.is_disabled()
        and four.get_attribute("title") == "Only to write with: training needs finer numbers"
    )
    page.get_by_role("radio", name="bf16").press("ArrowRight")
    assert "training fits" in said.inner_text()
    place = card.bounding_box(), cut.bounding_box()
    page.get_by_role("radio", name="write with it").click()
    assert cut.is_disabled() and (card.bounding_box(), cut.bounding_box()) == place
    four.click()
    assert "writing fits" in said.inner_text() and page.get_by_label("tokens read").is_hidden()
    assert page.locator(".held .value").count() == 3
    page.get_by_role("radio", name="train it").click()
    assert page.get_by_role("radio", name="bf16 / fp16").get_attribute("aria-checked") == "true"
    assert " operations for 10 billion tokens" in page.locator(".held").inner_text()
    assert (card.bounding_box(), cut.bounding_box()) == place
    # A card that holds it says so.
    page.get_by_role("button", name="GPT-3").click()
    chosen = page.get_by_role("radio", name="B200")
    assert chosen.inner_text().startswith("✗")
    page.get_by_label("cards", exact=True).press("End")
    page.get_by_role("radio", name="ZeRO-3").click()
    page.get_by_label("batch/card").press("Home")
    assert chosen.inner_text().startswith("✓")
    page.get_by_role("radio", name="MacBook M4 16").click()
    assert "its maker states no peak" in page.locator(".held").inner_text()
    assert "More cards do not help" in advice.inner_text()


def test_it_fills_a_projector_and_every_control_says_what_it_does(show):
    page = show(BudgetExplorer())
    for width, height in ((1180, 605), (390, 2000)):
        page.set_viewport_size({"width": width, "height": 800})
        box = page.locator(".main-view").bounding_box()
        assert box["height"] <= height and box["width"] > width - 60
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    track = page.locator(".held .track").first.bounding_box()
    assert track["y"] < page.get_by_label("layers").bounding_box()["y"]  # in sight of who moves a slider
    for control in page.locator(".main-view :is(button, .slider)").all():
        assert control.get_attribute("title")
