"""What the menu "Save" gives: read back, it is what was on the screen."""

import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from test_pictures import EXPLORERS

from gptlib import load

AROUND = 12  # pixels of paper around a picture


@pytest.fixture(scope="module")
def storyteller():
    return load("storyteller")


def save(page, what):
    """Choose from the menu, and give the file's name and its bytes."""
    page.locator(".gptlib .toolbar > button", has_text="Save").click()
    with page.expect_download() as download:
        page.get_by_role("button", name=what).click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def on_screen(page):
    """The explorer as it is seen, but for its toolbar, which is not saved."""
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)
    page.locator(".toolbar").evaluate("(it) => { it.style.visibility = 'hidden'; }")
    seen = page.locator(".gptlib").screenshot(animations="disabled")
    page.locator(".toolbar").evaluate("(it) => { it.style.visibility = ''; }")
    return np.asarray(Image.open(BytesIO(seen)).convert("RGB"), dtype=float)


def difference(picture, seen):
    """How far a picture is from what was seen: the mean over all blocks of 8 by 8 pixels, of 255."""
    paper = picture[0, 0]
    rows, columns = np.minimum(seen.shape, picture.shape)[:2] // 8 * 8 - 32
    inner = picture[AROUND:, AROUND:][:rows, :columns]
    assert np.ptp(picture[:AROUND], axis=(0, 1)).max() == 0 and (seen[0, 0] == paper).all()
    blocks = (inner - seen[:rows, :columns]).reshape(rows // 8, 8, columns // 8, 8, 3)
    return np.abs(blocks.mean(axis=(1, 3))).mean()


@pytest.mark.parametrize("name", EXPLORERS)
def test_picture_and_drawing_are_what_is_on_the_screen(show, storyteller, tmp_path, name):
    page = show(EXPLORERS[name](*storyteller))
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    seen = on_screen(page)

    file, content = save(page, "Picture")
    picture = Image.open(BytesIO(content)).convert("RGB").reduce(2)
    assert file.endswith(".png")
    assert np.abs(np.subtract(picture.size[::-1], seen.shape[:2]) - 2 * AROUND).max() < 2
    assert difference(np.asarray(picture, dtype=float), seen) < 2

    file, content = save(page, "Drawing")
    (tmp_path / file).write_bytes(content)
    page.emulate_media(color_scheme="light")  # it keeps the dark that it was saved in
    page.set_viewport_size(dict(zip(("width", "height"), picture.size, strict=True)))
    page.goto((tmp_path / file).as_uri())
    drawn = Image.open(BytesIO(page.screenshot())).convert("RGB")
    assert difference(np.asarray(drawn, dtype=float), seen) < 2


@pytest.mark.parametrize(("name", "width"), [("steps", 1144), ("attention", 390)])
def test_in_a_drawing_all_stands_where_it_stood(show, storyteller, tmp_path, name, width):
    code = """top => [...document.querySelectorAll('button, th, td, p, h2, .token, span')].filter(
        one => one.getClientRects().length && !one.closest('.toolbar, .unseen, #about')).map(one => {
            const { x, y, right, bottom } = one.getBoundingClientRect();
            return [one.textContent, x, y - top, right, bottom - top];
        })"""
    page = show(EXPLORERS[name](*storyteller))
    page.set_viewport_size({"width": width, "height": 720})
    page.wait_for_timeout(300)
    if name == "steps":
        page.get_by_role("radio", name="unscaled").click()  # its two buttons have no room to spare
    seen = page.evaluate(code, page.locator(".gptlib").bounding_box()["y"])
    left = page.locator(".gptlib").bounding_box()["x"]
    file, content = save(page, "Drawing")
    (tmp_path / file).write_bytes(content)
    page.goto((tmp_path / file).as_uri())
    drawn = page.evaluate(code, AROUND)
    assert [text for text, *_ in drawn] == [text for text, *_ in seen]
    places = np.array([place for _, *place in drawn]) - np.array([place for _, *place in seen])
    assert np.abs(places - np.array([AROUND - left, 0, AROUND - left, 0])).max() < 1


def test_picture_shows_the_chosen_head_and_the_typed_text(show, storyteller):
    page = show(EXPLORERS["attention"](*storyteller))
    before = on_screen(page)
    page.locator(".tile").nth(4).click()
    page.mouse.move(0, 0)
    after = on_screen(page)
    _, content = save(page, "Picture")
    picture = np.asarray(Image.open(BytesIO(content)).convert("RGB").reduce(2), dtype=float)
    assert difference(picture, after) < 2 < difference(picture, before)


@pytest.mark.parametrize("name", EXPLORERS)
def test_page_and_state_are_saved_from_a_file(show, storyteller, tmp_path, name):
    explorer = EXPLORERS[name](*storyteller)
    page = show(explorer)
    file, content = save(page, "State (JSON)")
    on_page, state = explorer.page_state(), explorer.to_state()["state"]
    assert file.endswith(".json") and json.loads(content)["explorer"] == explorer.title
    assert json.loads(content)["state"] == json.loads(json.dumps({name: on_page[name] for name in state}))
    EXPLORERS[name](*storyteller).take_up(json.loads(content))
    seen = on_screen(page)
    _, content = save(page, "Page (HTML)")
    (tmp_path / "again.html").write_bytes(content)
    page.goto((tmp_path / "again.html").as_uri())
    page.locator(".gptlib h2").first.wait_for()
    assert np.abs(on_screen(page) - seen).mean() < 0.02  # but for how colors are rounded


def test_a_page_is_saved_with_what_was_chosen_on_it(show, storyteller, tmp_path):
    page = show(EXPLORERS["attention"](*storyteller), still=True)
    page.locator(".tile").nth(4).click()
    _, state = save(page, "State (JSON)")
    assert json.loads(state)["state"]["layer"] == 1
    _, content = save(page, "Page (HTML)")
    (tmp_path / "again.html").write_bytes(content)
    page.goto((tmp_path / "again.html").as_uri())
    assert page.locator(".tile").nth(4).get_attribute("aria-pressed") == "true"
    page.locator(".gptlib .toolbar > button", has_text="Save").click()
    opens = page.get_by_role("button", name="Open a state")
    assert opens.is_disabled() and "kernel" in opens.get_attribute("title")


@pytest.mark.parametrize("clipboard", ["there", "refused"])
def test_code_is_copied(show, storyteller, clipboard):
    explorer = EXPLORERS["attention"](*storyteller)
    page = show(explorer)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    if clipboard == "refused":
        page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(Error('no')); }")
    page.locator(".gptlib .toolbar > button", has_text="Save").click()
    page.get_by_role("button", name="Copy the code").click()
    page.wait_for_function("navigator.clipboard.readText().then((text) => text.includes('remove_head'))")
    assert page.evaluate("navigator.clipboard.readText()") == explorer.code


def test_the_menu_works_by_keyboard(show, storyteller):
    page = show(EXPLORERS["budget"](*storyteller))
    page.locator(".gptlib .toolbar > button", has_text="Save").focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("button", name="Copy the code").is_hidden()  # there is none
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Picture (PNG)"
    page.keyboard.press("Escape")
    assert page.get_by_role("button", name="Picture").is_hidden()


LIVE = """
from gptlib import load
from gptlib.viz import AttentionExplorer
explorer = AttentionExplorer(*load("storyteller"), "Nora was a cheerful girl. Nora", layer=1, head=2)
explorer
"""


def test_with_a_kernel(run, tmp_path):
    page = run(LIVE, "import json; print(json.dumps(explorer.to_state()))")
    file, content = save(page, "Page (HTML)")
    assert file == "attention.html" and content.startswith(b"<!doctype html>") and b"%STATE%" not in content
    _, content = save(page, "State (JSON)")
    state = json.loads(content)
    assert state == json.loads(page.locator(".jp-OutputArea-output pre").last.inner_text())

    def open_state(changes):
        (tmp_path / "state.json").write_text(json.dumps({**state, "state": {**state["state"], **changes}}))
        page.locator(".gptlib .toolbar > button", has_text="Save").click()
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Open a state").click()
        chooser.value.set_files(tmp_path / "state.json")

    open_state({"layer": 77, "text": "Mia"})
    problem = page.locator(".gptlib > .problem")
    problem.get_by_text("layer is 77").wait_for()
    assert page.locator(".gptlib textarea").first.input_value() == state["state"]["text"]
    open_state({"layer": 3, "head": 0, "text": "Mia took a kite."})
    page.locator(".tile >> nth=12").and_(page.locator("[aria-pressed=true]")).wait_for()
    assert page.locator(".gptlib textarea").first.input_value() == "Mia took a kite." and problem.is_hidden()
