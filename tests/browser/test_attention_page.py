"""The attention explorer in a real browser: mouse, keyboard, a live kernel, and as a file without a model."""

import base64
import re

import numpy as np
import pytest
import torch
from driver import assert_readable, write_still

from gptlib import GPT, GPTConfig, Tokenizer, load
from gptlib.viz import AttentionExplorer
from gptlib.viz.drawing import readable
from gptlib.viz.explorers.coding import code
from gptlib.viz.explorers.pages import COLORS, color_table

TEXT = "Nora was a cheerful girl. Nora took a red kite and met Leo. The kite was caught, and"
CODE = f"""from gptlib import load
from gptlib.viz import AttentionExplorer

model, tokenizer = load("storyteller")
explorer = AttentionExplorer(model, tokenizer, {TEXT!r})
explorer"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """An explorer that compares two texts under two changes, as a file; and the explorer."""
    model, tokenizer = load("storyteller")
    explorer = AttentionExplorer(model, tokenizer, TEXT, text_b=TEXT.replace("Nora", "Mia"), layer=1, head=2)
    explorer.changes = [
        {"do": "zero", "layer": 3, "head": 1},
        {"do": "patch", "layer": 2, "head": None, "source": 7, "target": 7},
    ]
    path = tmp_path_factory.mktemp("file") / "attention.html"
    write_still(explorer, path)
    return path.as_uri(), explorer


@pytest.fixture
def page(show, file):
    return show(file[0])


def test_a_file_shows_the_heads_and_their_numbers(page, file):
    explorer = file[1]
    assert page.locator(".tile").count() == 16
    page.locator(".tile").nth(13).click()
    assert page.locator(".attention h2", has_text="Layer 3, head 1").is_visible()
    pixels = page.evaluate(
        """() => { const canvas = document.querySelector('.matrix canvas');
                   return [canvas.width, ...canvas.getContext('2d').getImageData(0, 0, 1, 1).data]; }"""
    )
    assert pixels[0] == explorer.answer["rows"]
    page.locator(".strip").first.locator("button").nth(9).click()
    rows = page.locator(".top td").all_inner_texts()
    keys, weights = [int(at) for at in rows[1::3]], [float(text.lstrip("≈ ")) for text in rows[2::3]]
    exact = explorer.weights[3, 1, 9, :10].numpy()
    np.testing.assert_allclose(weights, exact[keys], atol=0.02)  # a file holds 64 shades
    assert set(keys[:2]) & set(np.argsort(exact)[-3:])


@pytest.mark.parametrize("count", [2, 6])  # fewer than the heads of a layer, and more
def test_copy_heads_have_a_row_of_their_own(show, count):
    torch.manual_seed(0)
    tokenizer = Tokenizer.train([TEXT], vocab_size=270)
    model = GPT(GPTConfig(270, context_length=99, n_layers=2, n_heads=4, d_model=32, copy_heads=count))
    with torch.no_grad():
        for weight in (model.copying[0].queries.weight, model.copying[0].keys.weight):
            weight.mul_(40)  # a fresh head looks almost evenly
    explorer = AttentionExplorer(model, tokenizer, TEXT[:40])
    explorer.changes = [{"do": "zero", "layer": 2, "head": 0}]
    page = show(explorer, still=True)
    tiles = page.locator(".tile")
    assert tiles.count() == 8 + count
    names = page.locator(".row-name")
    assert names.all_inner_texts() == ["0", "1", "copy"]
    assert page.locator(".changes li").all_inner_texts() == ["copy head 0: removed (zero) ✕"]
    last = tiles.nth(7 + count)
    last.click()
    assert page.locator(".attention h2", has_text=f"Copy head {count - 1}").is_visible()
    box, row = last.bounding_box(), names.last.bounding_box()
    assert box["y"] < row["y"] < box["y"] + box["height"]  # below the layers, in one row
    assert_drawn(page, explorer.copying_weights[-1])
    for key, place in (
        ("ArrowUp", f"layer 1, head {min(count - 1, 3)}"),
        ("End", "layer 1, head 3"),
        ("ArrowRight", "copy head 0, removed (zero)"),
        ("ArrowLeft", "layer 1, head 3"),
        ("ArrowDown", f"copy head {min(count - 1, 3)}"),
        ("End", f"copy head {count - 1}"),
        ("PageUp", f"layer 0, head {min(count - 1, 3)}"),
    ):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == place
    assert_drawn(page, explorer.weights[0, min(count - 1, 3)])
    assert_readable(page)


def assert_drawn(page, weights):
    """The canvas of the chosen head has the colors of these weights."""
    size, pixels = page.evaluate(
        """() => { const canvas = document.querySelector('.matrix canvas'), size = canvas.width;
                   return [size, [...canvas.getContext('2d').getImageData(0, 0, size, size).data]]; }"""
    )
    codes = code(weights, float(weights.max())).numpy().astype(int)
    shades = np.minimum((codes + 2) // 4 * 4, 255)  # a file holds 64
    table = np.frombuffer(base64.b64decode(color_table(COLORS["attention"])), dtype=np.uint8).reshape(256, 3)
    drawn = np.array(pixels, dtype=np.uint8).reshape(size, size, 4)
    query, key = np.tril_indices(size)
    np.testing.assert_array_equal(drawn[query, key, :3], table[shades[query, key]])
    assert not drawn[..., 3][np.triu_indices(size, 1)].any()  # what is masked is left out


def test_a_file_tells_what_needs_a_kernel_and_what_was_done(page):
    for name in ("remove (zero)", "remove (mean)", "undo"):
        assert page.get_by_role("button", name=name).is_disabled()
    assert page.locator(".changes li").all_inner_texts() == [
        "layer 3 head 1: removed (zero) ✕",
        "residual stream into layer 2: A's token 7 onto B's token 7 ✕",
    ]
    page.locator("summary").click()
    assert "remove_head(1, 'zero')" in page.locator("pre").inner_text()


def test_heads_and_tokens_are_reached_by_keyboard_alone(page):
    def active():
        return page.evaluate(
            "document.activeElement.getAttribute('aria-label') || document.activeElement.title"
        )

    for _ in range(12):
        page.keyboard.press("Tab")
        if (active() or "").startswith("layer "):
            break
    assert active() == "layer 1, head 2"
    for key, place in (
        ("ArrowDown", "2, head 2"),
        ("End", "2, head 3"),
        ("PageUp", "0, head 3"),
        ("Home", "0, head 0"),
    ):
        page.keyboard.press(key)
        assert active().startswith(f"layer {place}")
    assert page.locator(".attention h2", has_text="Layer 0, head 0").is_visible()
    for _ in range(12):
        page.keyboard.press("Tab")
        if (active() or "").startswith("token "):
            break
    last = active()
    page.keyboard.press("ArrowLeft")
    assert int(active().split()[-1]) == int(last.split()[-1]) - 1
    assert "looks at" in page.locator(".unseen").inner_text()


def test_a_token_is_shown_and_never_run(show):
    words = [
        "<img src=x onerror=\"document.title='run'\">",
        "</script><script>document.title='run'</script>",
        "é",
    ]
    weights = torch.ones(1, 2, 3, 3).tril()
    page = show(AttentionExplorer.from_array(weights / weights.sum(-1, keepdim=True), words))
    assert page.locator(".strip").first.locator("button").all_inner_texts() == [
        readable(word) for word in words
    ]
    assert page.title() == "Attention explorer" and page.locator("img").count() == 0


def test_the_masked_part_says_that_nothing_can_be_seen_there(show):
    weights = torch.ones(1, 1, 4, 4).tril()
    page = show(AttentionExplorer.from_array(weights / weights.sum(-1, keepdim=True), list("abcd")))
    matrix = page.locator(".matrix").first
    box = matrix.bounding_box()

    def at(query, key):
        return {"x": box["width"] * (key + 0.5) / 4, "y": box["height"] * (query + 0.5) / 4}

    matrix.hover(position=at(1, 3))
    assert page.locator(".readout").inner_text() == "“b” cannot look ahead"
    matrix.hover(position=at(3, 1))
    assert page.locator(".readout").inner_text().startswith("“d” → “b”: ")


def test_a_difference_needs_something_to_subtract(show):
    model, tokenizer = load("storyteller")
    page = show(AttentionExplorer(model, tokenizer, TEXT))
    button = page.get_by_role("radio", name=re.compile("^A − B"))
    assert button.is_disabled() and "second text" in button.get_attribute("title")
    page = show(AttentionExplorer(model, tokenizer, TEXT, text_b=TEXT[::-1]))
    assert page.get_by_role("radio", name=re.compile("^A − B")).is_enabled()


def test_live_in_jupyterlab(run):
    page = run(CODE, "print(explorer.changes, round(float(explorer.logits[-1].softmax(-1).max()), 4))")
    page.locator(".tile[aria-pressed=true]").wait_for()  # it is whole before anything is touched
    assert page.locator(".montage canvas").bounding_box()["width"] > 150
    assert page.locator(".one .queries span").count() > 10 and page.locator(".arcs g").count() > 0
    before = page.locator(".says .bars").first.inner_text()
    page.locator(".tile").nth(7).click()
    page.get_by_role("button", name="remove (zero)").click()  # with the mouse
    delta = page.locator(".delta.up, .delta.down").first
    delta.wait_for()
    assert re.fullmatch(r"[+−]\d+(\.\d)? pp", delta.inner_text())
    assert page.locator(".says .bars").first.inner_text() != before
    page.locator(".tile[aria-pressed=true]").focus()
    page.keyboard.press("ArrowDown")  # and with the keyboard
    page.keyboard.press("Delete")
    page.locator(".changes li").nth(1).wait_for()
    page.locator("textarea").first.fill(TEXT + " the kite")
    page.locator(".strip").first.locator("button", has_text="kite").nth(2).wait_for()
    page.locator("textarea").first.fill("")
    page.locator(".problem", has_text="Text is empty").wait_for()
    assert page.locator(".strip").first.locator("button").count() > 10  # the last good picture
    page.locator("textarea").first.fill(TEXT + " the kite")
    page.locator(".problem").wait_for(state="hidden")
    page.locator("textarea").nth(1).fill(TEXT.replace("Nora", "Mia"))
    page.locator(".strip").nth(1).locator("button").nth(3).wait_for()
    page.locator(".chip", has_text="residual").drag_to(page.locator(".strip").nth(1).locator("button").nth(5))
    page.locator(".changes li", has_text="onto B's token 5").wait_for()
    page.keyboard.press("Control+z")
    page.locator(".changes li").nth(2).wait_for(state="detached")
    # What the kernel has is what the page did.
    page.locator(".jp-CodeCell").nth(1).locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    output = page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea-output")
    output.filter(has_text=re.compile(r"'layer': 2.*'head': 3|'head': 3.*'layer': 2")).wait_for()
