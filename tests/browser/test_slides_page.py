"""Slide shows, presented from disk in a real Chromium with the network off."""

from contextlib import contextmanager

import pytest
from driver import browser_page

from gptlib.course.prose import notebook_paths, topic_of
from gptlib.course.slides.deck import write_show
from gptlib.course.slides.listings import SMALLEST_PRINTED

ALL_SLIDES = """() => Reveal.getSlides().map(slide => {
    const place = Reveal.getIndices(slide);
    Reveal.slide(place.h, place.v);
    const stage = slide.querySelector('.stage');
    const viewport = document.querySelector('.reveal').getBoundingClientRect();
    // A fragment that waits for its key takes its place all the same.
    const boxes = [...stage.querySelectorAll('*')].map(element => element.getBoundingClientRect());
    return {
        kind: slide.className.split(' ')[0],
        over: [stage.scrollHeight - stage.clientHeight, stage.scrollWidth - stage.clientWidth],
        outside: boxes.some(box => box.width && (box.left < viewport.left || box.right > viewport.right
                                                 || box.top < viewport.top || box.bottom > viewport.bottom)),
        scale: Number(getComputedStyle(stage).getPropertyValue('--scale')),
        letters: [...stage.querySelectorAll('p, li, td, pre')].map(
            element => parseFloat(getComputedStyle(element).fontSize)),
        pictures: [...stage.querySelectorAll('img')].map(image => [image.naturalWidth, image.clientHeight]),
        formulas: [...slide.querySelectorAll('.stage math, .running math')].map(
            formula => formula.getBoundingClientRect().height),
        prose: [...stage.querySelectorAll('p, li, h2')].map(element => element.textContent).join(' '),
    };
})"""
PLACE = "[Reveal.getSlidePastCount(), Reveal.getIndices().f ?? null]"


@contextmanager
def presented(chromium, path):
    """A page with the show; it may say nothing on the console and ask for nothing elsewhere."""
    said = []
    with browser_page(chromium, 1280, 720) as (page, beyond):
        page.context.set_offline(True)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_function("Reveal.isReady()")
        yield page
    assert not said and not beyond


def test_the_arrow_key_goes_through_all_of_it(chromium, tmp_path):
    seen, now = [], None
    with presented(chromium, write_show("attention", tmp_path)) as page:
        total = page.evaluate("Reveal.getTotalSlides()")
        while now != (now := page.evaluate(PLACE)):
            seen += [now[0]] if now[0] not in seen else []
            page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowLeft")
        assert page.evaluate(PLACE) != now
    assert seen == list(range(total)) and total > 30


@pytest.mark.parametrize("topic", [topic_of(path) for path in notebook_paths()])
def test_every_slide_fits_the_stage_and_can_be_read(topic, chromium, tmp_path):
    with presented(chromium, write_show(topic, tmp_path)) as page:
        slides = page.evaluate(ALL_SLIDES)
    assert {"title", "text", "opener", "figure"} <= {slide["kind"] for slide in slides}
    for place, slide in enumerate(slides, 1):
        where = f"slide {place} of {len(slides)}: {slide}"
        assert max(slide["over"]) <= 1 and not slide["outside"], f"something runs off {where}"
        assert slide["scale"] >= 0.7 and min(slide["letters"], default=99) >= SMALLEST_PRINTED, where
        assert all(natural and shown > 250 for natural, shown in slide["pictures"]), where
        assert all(height > 8 for height in slide["formulas"]), where
        assert "$" not in slide["prose"] and "\\" not in slide["prose"], where
    if topic in ("language_models", "attention"):
        assert sum(len(slide["formulas"]) for slide in slides) >= 5


def test_the_speaker_sees_the_notes(chromium, tmp_path):
    with presented(chromium, write_show("attention", tmp_path)) as page:
        with page.expect_popup() as popup:
            page.keyboard.press("s")
        notes = popup.value.locator(".speaker-controls-notes .value")
        notes.get_by_text("Attention is the idea that GPT is built around").wait_for()
        page.keyboard.press("ArrowRight")
        notes.get_by_text("You need:").wait_for()
