"""The training dashboard in a browser: as a file to scrub through, and in JupyterLab while a model trains."""

import numpy as np
import pytest
from driver import KERNEL_STATUS

from gptlib import GPT, GPTConfig, TrainConfig, load
from gptlib.shipped import load_snapshots, training_log
from gptlib.text.corpora import TokenFile
from gptlib.viz.explorers.dashboard import TrainingDashboard

MARKUP = "<img src=x onerror=\"document.title='ran'\">"
TEXT = f"{MARKUP} Mia was a kind girl. Mia lost her kite."


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    _, tokenizer = load("storyteller")
    log = training_log("storyteller")
    dashboard = TrainingDashboard.from_snapshots(
        load_snapshots("storyteller"), tokenizer, TEXT, log=log, prompt=MARKUP, floor=0.4175
    )
    path = tmp_path_factory.mktemp("file") / "dashboard.html"
    dashboard.to_html(path)
    return dashboard, f"file://{path}"


def large_pattern(page):
    """The pixels of the large pattern's lower triangle, row by row."""
    pixels = page.eval_on_selector(
        ".square canvas",
        "c => [...new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)]",
    )
    size = int(len(pixels) ** 0.5)
    return np.array(pixels).reshape(size, size)[np.tril_indices(size)]


def test_a_file_scrubs_without_a_kernel(show, file):
    dashboard, address = file
    page, answer = show(address), dashboard.answer
    knob = page.get_by_role("slider", name="snapshot")
    seen = []
    knob.press("Home")
    for at, step in enumerate(answer["steps"]):
        assert knob.get_attribute("aria-valuetext") == f"step {step:,}"
        assert page.locator("blockquote").inner_text() == answer["samples"][at]
        seen.append(large_pattern(page))
        knob.press("ArrowRight")
    shown = dashboard.layer * answer["n_heads"] + dashboard.head
    coded = np.frombuffer(answer["attention"], np.uint8).reshape(len(seen), 16, -1)[:, shown]
    pairs = set(zip(coded.flatten().tolist(), np.concatenate(seen).tolist(), strict=True))
    assert len(pairs) == len(np.unique(coded)) > 100  # one color for each byte, in every snapshot
    for _ in range(3):
        knob.press("ArrowLeft")
    assert knob.input_value() == "8"
    assert page.locator(".key.training b").inner_text() == answer["readings"][8]["training"]

    told, log = page.locator(".told"), dashboard.history
    box = page.locator(".plot").bounding_box()
    assert page.locator(".plot .steps i").count() == len(seen)  # the stops of the slider
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 50)
    assert f", validation {log[-1].validation_loss:.2f}" in told.inner_text()
    tops = set()
    for key in ("Home", *["ArrowRight"] * len(seen)):  # nothing moves under the slider
        knob.press(key)
        tops.add((page.locator(".plot").bounding_box()["y"], knob.bounding_box()["y"]))
    assert len(tops) == 1
    page.mouse.move(box["x"] + 2, box["y"] + 50)
    page.mouse.down()
    assert knob.get_attribute("aria-valuetext") == "step 0"
    page.mouse.move(box["x"] + box["width"] + 40, box["y"] + 80)
    page.mouse.up()
    page.mouse.move(box["x"] + 2, box["y"] + 50)  # let go
    assert (seen[-1] == large_pattern(page)).all()
    assert knob.get_attribute("aria-valuetext") == f"step {answer['steps'][-1]:,}"

    head = page.get_by_role("radio", name="layer 1, head 2")
    head.click()
    head.press("ArrowDown")
    assert page.get_by_role("heading", name="layer 2, head 2 reads").is_visible()
    assert page.locator(":focus").get_attribute("title") == "layer 2, head 2: click to enlarge"
    tokens = page.locator(".tokens button")
    assert tokens.all_inner_texts() == answer["tokens"]
    tokens.nth(5).click()
    page.keyboard.press("ArrowLeft")
    assert page.locator(".reading").inner_text().startswith(f"“{answer['tokens'][4]}” looks most at")
    assert page.locator(".tokens .hatched").count() == len(answer["tokens"]) - 5
    assert page.title() == dashboard.title and page.locator("img").count() == 0  # text is no markup
    assert MARKUP in page.locator("blockquote").inner_text()
    assert page.locator(".axis").is_hidden()  # the log does not say how long the steps took
    assert page.locator(".run").is_hidden()  # there is nothing to start or stop


def test_a_file_of_a_run_says_why_it_cannot_go_on_and_draws_losses_over_time(show):
    data = TokenFile.from_tokens([0, *range(1, 20), 0])
    model = GPT(GPTConfig(20, 8, n_layers=1, n_heads=2, d_model=8))
    dashboard = TrainingDashboard(model, data, None, TrainConfig(3, 1, 4))
    dashboard.start()
    dashboard.wait()
    page = show(dashboard)
    assert "training needs a kernel" in page.locator(".run").inner_text()
    for name in ("Start", "Stop"):
        button = page.get_by_role("button", name=name, exact=True)
        assert button.is_disabled() and button.get_attribute("title") == "Training needs a kernel."
    for over, name in (("seconds", "over time"), ("steps", "over steps")):
        page.get_by_role("radio", name=name).click()
        points = page.locator("polyline.training").get_attribute("points")
        assert points == " ".join(f"{number:g}" for number in dashboard.details["curves"][over]["training"])
        ticks = page.locator(".plot .steps span").all_inner_texts()
        assert ticks == [text for text, _ in dashboard.answer["ticks"][over]]


def test_the_numbers_are_those_of_the_run_until_one_goes_back(show):
    data = TokenFile.from_tokens([0, *range(1, 20), 0])
    model = GPT(GPTConfig(20, 8, n_layers=1, n_heads=2, d_model=8))
    dashboard = TrainingDashboard(model, data, data, TrainConfig(3, 1, 4, eval_every=2, eval_batches=1))
    dashboard.start()
    dashboard.wait()
    two, numbers = dashboard.history[1], [".key.step b", ".key.training b", ".key.validation b"]
    # As in the middle of a run: it is beyond its latest snapshot.
    dashboard.details = dashboard.details | {"readings": dashboard._course.readings(2)}
    dashboard.answer = dashboard.answer | {
        "readings": [dashboard._course.readings(step) for step in (0, 1, 1)]
    }
    page = show(dashboard)
    shown = [page.locator(name).inner_text() for name in numbers]
    assert shown == ["Losses of step 2", f"{two.loss:.2f}", f"{two.validation_loss:.2f}"]
    page.get_by_role("slider", name="snapshot").press("ArrowLeft")
    assert [page.locator(number).inner_text() for number in numbers[::2]] == ["Losses of step 1", "–"]


def test_all_that_can_be_clicked_says_so_and_fits_a_projector(show, file):
    page = show(file[1])
    page.set_viewport_size({"width": 1180, "height": 720})
    assert page.locator(".main-view").bounding_box()["height"] <= 605
    for control in page.locator(".main-view :is(button, .slider, .plot, .square canvas)").all():
        assert control.get_attribute("title") or control.evaluate("it => it.closest('.axis')?.title"), control
        assert control.evaluate("it => getComputedStyle(it).cursor") in ("pointer", "default", "auto")
    assert page.locator(".square canvas").evaluate("it => getComputedStyle(it).cursor") == "pointer"
    box = page.locator(".square canvas").bounding_box()
    page.mouse.click(box["x"] + 5, box["y"] + 1)  # the first row: it has nothing else to look at
    assert page.locator(".reading").inner_text().endswith("looks most at “<|endoftext|>”: 100%")


SETUP = """
import torch
from gptlib import GPT, GPTConfig, TrainConfig
from gptlib.text.corpora import TokenFile
from gptlib.text.characters import CharacterTokenizer
from gptlib.viz.explorers.dashboard import TrainingDashboard
tokenizer = CharacterTokenizer.train(["Mia ran home. Ben sat down."])
row = [0, *tokenizer.encode("Mia ran home. "), 0, *tokenizer.encode("Ben sat down. "), 0]
data = TokenFile.from_tokens(row)
model = GPT(GPTConfig(tokenizer.vocab_size, 24, n_layers=2, n_heads=2, d_model=16))
config = TrainConfig(100_000, batch_size=2, context_length=8, eval_every=50, eval_batches=1)
dashboard = TrainingDashboard(model, data, data, config, tokenizer=tokenizer, text="Mia ran")
dashboard
"""


def test_jupyterlab(run):
    page = run(SETUP.strip(), "dashboard.model.float();")
    top = page.locator(".gptlib.dashboard .run")
    button = {
        name: page.get_by_role("button", name=name, exact=True)
        for name in ("Start", "Pause", "Go on", "Stop")
    }
    button["Start"].click()
    button["Pause"].wait_for()
    page.locator(".key.validation b", has_text=".").wait_for()  # it has come to step 50
    page.locator(".run", has_text="tokens per second").wait_for()
    button["Pause"].press("Enter")
    button["Go on"].wait_for()
    step = top.inner_text().split(" of ")[0]
    assert step.startswith("Paused step") and page.locator("blockquote").inner_text()
    knob = page.get_by_role("slider", name="snapshot")
    knob.press("Home")
    assert knob.get_attribute("aria-valuetext") == "step 0"
    for dtype, told in (("double", "model's parameters are not those in training"), ("float", "")):
        page.locator(".jp-CodeCell .cm-content").nth(1).click()
        page.keyboard.press("Control+a")
        page.keyboard.type(f"dashboard.model.{dtype}();")
        page.keyboard.press("Shift+Enter")
        page.locator(KERNEL_STATUS, has_text="| Idle").wait_for()
        button["Go on"].click()
        if told:
            page.locator(".dashboard > .problem", has_text=told).wait_for()
    button["Pause"].wait_for()
    assert page.locator(".dashboard > .problem").first.is_hidden()
    page.wait_for_timeout(1000)
    assert knob.get_attribute("aria-valuetext") == "step 0"  # training does not take the reader along
    button["Stop"].click()
    page.locator(".run", has_text="Stopped").wait_for()
    assert button["Stop"].is_disabled() and top.inner_text().split(" of ")[0] != step
