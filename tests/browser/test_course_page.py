"""Exercises, a prediction and a quiz in a real JupyterLab: answered by mouse, and by keyboard alone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from driver import errors, notebook_page

CODE = [
    """from gptlib.course import Quiz, check, hint, predict
import torch""",
    """def scaled_scores(queries, keys):
    return queries @ keys.mT
check("attention.scaled_scores", scaled_scores)""",
    """hint("attention.scaled_scores")""",
    """predict("attention.kite_looks_at", torch.eye(2), ["a", "b"])""",
    'Quiz("attention")',
]


@pytest.fixture(scope="module")
def page(chromium, tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTLIB_PROGRESS", str(folder / "progress.json"))
        with notebook_page(chromium, folder, CODE, width=1100, height=1600) as (page, beyond):
            page.get_by_text("7 right").wait_for()
            yield page
            assert errors(page) == [] and beyond == []


def test_a_check_says_what_went_wrong(page):
    assert page.get_by_text("you forgot √d_k").is_visible()
    assert page.get_by_text("1. What it is about").is_visible()


def test_the_figure_is_hidden_until_a_guess(page):
    prediction = page.locator(".jp-OutputArea", has_text="Which word will").last
    figure = prediction.locator("img").filter(visible=True)
    assert figure.count() == 0
    prediction.get_by_role("button").nth(1).click()
    figure.wait_for()
    assert figure.evaluate("image => image.naturalWidth") > 100


def test_maths_is_set(page):
    quiz = page.locator(".jp-OutputArea", has_text="What sums to 1?").last
    quiz.locator("mjx-container").first.wait_for()
    assert "$" not in quiz.inner_text()


def test_a_quiz_by_keyboard_alone(page):
    quiz = page.locator(".jp-OutputArea", has_text="What sums to 1?").last
    quiz.get_by_role("button").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    quiz.get_by_text("B. ").first.wait_for()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    quiz.get_by_text("A. ").first.wait_for()
    quiz.get_by_text("1 of 7 right").wait_for()


def test_a_quiz_is_readable_for_all(page):
    """Axe finds nothing in the check, the prediction and the quiz, with choices made right and wrong."""
    quiz = page.locator(".jp-OutputArea", has_text="What sums to 1?").last
    for letter in "ABCD":
        quiz.get_by_role("button", name=letter).nth(1).click()
    page.wait_for_timeout(500)
    found = Axe().run(page, context=".jp-OutputArea-output").response["violations"]
    assert [(rule["id"], [node["html"] for node in rule["nodes"]][:3]) for rule in found] == []
