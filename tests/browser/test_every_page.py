"""What holds for every explorer's page, here as a file: everyone can read it, whatever colors they see."""

import re
from io import BytesIO

import numpy as np
import pytest
from driver import assert_readable, write_still
from PIL import Image
from playwright.sync_api import expect
from test_pictures import EXPLORERS, NAMED

from gptlib import load
from gptlib.viz import AttentionExplorer, PositionExplorer

MADE = EXPLORERS | {"one text": lambda *given: AttentionExplorer(*given, NAMED)}

# What else there is to read on a page, once it was asked for.
UNFOLDED = {
    "attention": [lambda page: page.locator("summary").click()],
    "steps": [
        lambda page: (page.get_by_role("radio", name="red").click(), page.get_by_label("d_k").fill("2"))
    ],
    "position": [
        lambda page: page.get_by_text("The numbers").click(),
        lambda page: page.get_by_role("radio", name="Sinusoidal").click(),
    ],
    "generation": [lambda page: page.get_by_label("top-k").fill("2")],
    "training": [lambda page: page.get_by_role("slider", name="snapshot").press("Home")],
    "budget": [],
    "bpe": [lambda page: page.get_by_role("button", name="Previous").click()],
    "patching": [lambda page: page.locator("td button").first.click()],
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The address of each explorer's file, which is written when it is first asked for.

    With `still`, of that which holds no model.
    """
    folder, storyteller = tmp_path_factory.mktemp("files"), load("storyteller")

    def file(name, still=False):
        path = folder / f"{name}{' still' * still}.html"
        if not path.exists():
            explorer = MADE[name](*storyteller)
            write_still(explorer, path) if still else explorer.to_html(path)
        return path.as_uri()

    return file


@pytest.mark.parametrize("name", EXPLORERS)
def test_everyone_can_read_it(show, files, name):
    page = show(files(name))
    for unfold in UNFOLDED[name]:
        unfold(page)
        assert_readable(page)


# ------------------------------------------------------------------------------------- at first sight

CONTROLS = ":is(button, select, textarea, summary, input:not([hidden]), [role=radio], [role=slider])"
# Cells, tokens and tiles are parts of one picture; they may be small, for they can be reached by keys too.
DENSE = ".dense *, td *, th *, .token, .tile, .piece"
UNTOLD = """(controls) => controls.filter((it) => it.checkVisibility()).filter((it) =>
    !it.closest(".gptlib [title]") || ![it.textContent.trim(), it.ariaLabel, it.labels?.length, it.title]
        .some(Boolean)).map((it) => it.outerHTML.slice(0, 120))"""
# The toolbar is for who shows, not for who is shown.
SMALL = """(root) => {
    const found = new Set(), walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    const check = (element, style, text) => {
        const zoom = element.getScreenCTM?.().a ?? 1;
        if (parseFloat(style.fontSize) * zoom < 17.95)
            found.add(`${element.localName}.${element.getAttribute("class")}: ${text.trim().slice(0, 20)}`);
    };
    while (walker.nextNode()) {
        const text = walker.currentNode, element = text.parentElement;
        if (text.data.trim() && element.checkVisibility() && !element.closest(".unseen, option, .toolbar"))
            check(element, getComputedStyle(element), text.data);
    }
    for (const element of root.querySelectorAll("*")) {
        if (!element.checkVisibility()) continue;
        if (element.matches("textarea, select, input[type=text], input[type=number]"))
            check(element, getComputedStyle(element), element.value);
        for (const part of ["::before", "::after"]) {
            const style = getComputedStyle(element, part);
            if (/"[^"]/.test(style.content)) check(element, style, part + style.content);
        }
    }
    return [...found];
}"""
TIGHT = """([controls, dense]) => [...document.querySelectorAll(`.gptlib ${controls}`)]
    .filter((it) => it.checkVisibility() && !it.matches(dense))
    .filter((it) => { const { width, height } = (it.closest("label") ?? it).getBoundingClientRect();
                      return Math.min(width, height) < 24; })
    .map((it) => it.outerHTML.slice(0, 120))"""
LIGHT = """(root) => [root, ...root.querySelectorAll("*")].filter((it) => {
    const { width, height } = it.getBoundingClientRect();
    const [red, green, blue, alpha = 1] = getComputedStyle(it).backgroundColor.match(/[\\d.]+/g).map(Number);
    return width * height > 4000 && alpha > 0.5 && Math.min(red, green, blue) > 180;
}).map((it) => it.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("name", EXPLORERS)
def test_it_says_what_is_seen_and_what_each_control_does(show, files, name):
    page = show(files(name))
    assert len(page.locator(".gptlib > .head .guide").inner_text().split()) > 5
    assert page.locator(f".gptlib {CONTROLS}").evaluate_all(UNTOLD) == []


@pytest.mark.parametrize("name", EXPLORERS)
def test_what_needs_a_kernel_says_so(show, files, name):
    page = show(files(name, still=True))
    boxes = page.locator(".gptlib :is(textarea, input[type=text]):is(:disabled, :read-only)")
    assert all("kernel" in (box.get_attribute("title") or "") for box in boxes.all() if box.is_visible())
    if name in ("attention", "generation", "patching"):
        assert boxes.count() > 0
        live = show(files(name)).locator(".gptlib")
        assert "kernel" not in live.inner_text() and live.locator("[title*=kernel]:visible").count() == 0


@pytest.mark.parametrize("name", EXPLORERS)
def test_letters_are_large_for_a_projector(show, files, name):
    page = show(files(name))
    page.set_viewport_size({"width": 1280, "height": 720})
    page.get_by_role("button", name="Large").click()
    for unfold in UNFOLDED[name]:
        unfold(page)
    assert page.locator(".gptlib").evaluate(SMALL) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


@pytest.mark.parametrize("width", [390, 600, 1280])
def test_what_goes_wrong_moves_nothing_and_large_stays_under_the_pointer(show, files, width):
    page = show(files("patching"))
    page.set_viewport_size({"width": width, "height": 720})
    problem, large = page.locator(".gptlib > .problem"), page.get_by_role("button", name="Large")
    view = page.locator(".main-view")
    before = view.bounding_box(), large.bounding_box()
    problem.evaluate("(it) => { it.textContent = 'It is so. '.repeat(30); it.hidden = false; }")
    assert (view.bounding_box(), large.bounding_box()) == before
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    large.click(timeout=2000)  # which is not covered
    assert large.bounding_box() == before[1]
    page.keyboard.press("Escape")
    assert problem.is_hidden() and page.locator(".guide").is_visible()


@pytest.mark.parametrize("name", [*EXPLORERS, "one text"])
def test_the_main_view_is_seen_without_scrolling(show, files, name):
    page = show(files(name))
    page.set_viewport_size({"width": 1280, "height": 720})
    page.wait_for_timeout(200)
    top = page.locator(".gptlib").bounding_box()["y"]
    # What two texts are followed by stands below: there is no room for both columns of it.
    views = page.locator(".over, .all, .one, .other" if name == "attention" else ".main-view").all()
    assert views and max(box["y"] + box["height"] for box in map(around, views)) - top <= 605


@pytest.mark.parametrize("name", EXPLORERS)
def test_a_thumb_can_use_it(show, files, name):
    page = show(files(name))
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate(TIGHT, [CONTROLS, DENSE]) == []


@pytest.mark.parametrize("name", EXPLORERS)
def test_dark_is_dark(show, files, name):
    page = show(files(name))
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    assert page.locator(".gptlib").evaluate(LIGHT) == []
    lightness = seen(page, around(page.locator(".gptlib")))[..., 0]
    assert (lightness > 80).mean() < 0.15  # of 100: letters, marks and the strongest of what is drawn


def test_full_screen(show, files):
    page = show(files("attention"))
    full = page.get_by_role("button", name="Full screen")
    full.click()
    expect(full).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("document.fullscreenElement.matches('.gptlib')")
    page.locator(".gptlib").evaluate("(root) => { root.style.height = '200px'; }")  # a small screen
    page.mouse.move(300, 100)
    page.mouse.wheel(0, 2000)
    expect(page.locator(".gptlib > *").last).to_be_in_viewport()
    page.mouse.wheel(0, -2000)
    full.click()
    expect(full).to_have_attribute("aria-pressed", "false")
    assert page.evaluate("document.fullscreenElement") is None


def test_a_finger_is_told_what_a_pointer_is(chromium, files):
    context = chromium.new_context(viewport={"width": 390, "height": 800}, has_touch=True)
    page = context.new_page()
    page.goto(files("attention", still=True))
    guide, large = page.locator(".guide"), page.get_by_role("button", name="Large")
    large.tap()
    expect(guide).to_have_attribute("data-tip", large.get_attribute("title"))
    expect(page.locator(".gptlib")).to_have_class("gptlib attention large")
    page.locator(".gptlib textarea").first.tap(force=True)  # which is disabled here
    expect(guide).to_have_attribute("data-tip", re.compile("kernel"))
    page.locator(".gptlib h2").first.tap()
    assert guide.get_attribute("data-tip") is None
    assert guide.evaluate("(it) => getComputedStyle(it, '::after').content") == "none"
    context.close()


# --------------------------------------------------------------------------------------- without some colors

DEFICIENCIES = ["protanopia", "deuteranopia", "tritanopia", "achromatopsia"]


def seen_with(page, deficiency):
    """Show the page as someone sees it who lacks some of the three kinds of cones, or all."""
    page.context.new_cdp_session(page).send("Emulation.setEmulatedVisionDeficiency", {"type": deficiency})


def around(element, ring=0):
    """The place of an element on the page, and of a ring of so many pixels around it."""
    box = element.bounding_box()
    return {name: box[name] + (-ring if name in "xy" else 2 * ring) for name in box}


def seen(page, box):
    """The colors of a part of the page in CIE L*a*b*, of which L* is lightness: (row, column, 3)."""
    rgb = np.asarray(Image.open(BytesIO(page.screenshot(clip=box))).convert("RGB")) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.moveaxis(np.cbrt(linear @ np.transpose(to_xyz) / [0.9505, 1, 1.089]), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)  # but for the darkest hundredth


def cells(page, canvas, rows, columns):
    """The color in the middle of each cell of a canvas: (row, column, 3)."""
    colors = seen(page, around(canvas))
    across, down = (
        ((np.arange(n) + 0.5) * size / n).astype(int)
        for n, size in ((columns, colors.shape[1]), (rows, colors.shape[0]))
    )
    return colors[np.ix_(down, across)]


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_more_attention_is_lighter(show, deficiency):
    steps = np.linspace(0, 1, 17)
    weights = np.eye(17)
    weights[:, 0] = steps**2  # the page codes square roots
    weights[1:, 1:] *= 1 - steps[1:, None] ** 2
    weights[0, 0] = 1
    page = show(AttentionExplorer.from_array(weights[None, None], [f"w{n}" for n in range(17)]))
    seen_with(page, deficiency)
    lightness = cells(page, page.locator(".matrix canvas").first, 17, 17)[1:, 0, 0]
    assert np.diff(lightness).min() > 2 and np.ptp(lightness) > 60


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_below_zero_and_above_can_be_told_apart(show, deficiency):
    page = show(PositionExplorer(d_model=2, length=64, m=0, n=0))
    seen_with(page, deficiency)
    colors, waves = cells(page, page.locator("canvas").first, 64, 2), PositionExplorer(2, 64).table().numpy()
    below, nothing, above, little, much = (
        colors[2:][np.abs(waves[2:] - value) < 0.06].mean(axis=0) for value in (-1, 0, 1, -0.5, 0.5)
    )
    assert min(np.linalg.norm(end - nothing) for end in (below, above)) > 40
    # Without any color the large are told apart by their lightness, the small by their numbers alone.
    enough, enough_half = (12, 0) if deficiency == "achromatopsia" else (60, 35)
    assert np.linalg.norm(below - above) > enough and np.linalg.norm(little - much) > enough_half


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_more_surprise_is_darker(show, files, deficiency):
    page = show(files("generation"))
    seen_with(page, deficiency)
    tokens = page.locator(".read button").all()
    nats = [float(token.get_attribute("aria-label").split(": ")[1].split()[0]) for token in tokens]
    backgrounds = [np.median(seen(page, around(token))[2:6, :, 0]) for token in tokens]  # above the letters
    in_order = np.array(backgrounds)[np.argsort(nats)]
    assert np.diff(in_order).max() < 1 and np.ptp(in_order) > 50


# What can be in one state or another on each page, and the class or the attribute that says in which.
STATES = {
    "attention": [
        (".tile >> nth=5", "aria-pressed=true"),  # a chosen head
        (".row button >> nth=1", "aria-checked=true"),
        (".row > button >> nth=0", "aria-pressed=true"),  # what is done to the head
        (".strip >> nth=0 >> button >> nth=6", "class=token focus"),
        (".strip >> nth=0", "class=strip ready"),  # a patch is on its way there
        (".arcs g >> nth=0", "class=less"),  # A looks there less than B
    ],
    "steps": [
        ("[role=switch] >> nth=1 >> xpath=../..", "class=masked"),
        ("td:last-child >> nth=8", "class=moved"),  # a number that is not what it was
        ("[role=radio] >> nth=1", "aria-checked=true"),
    ],
    "position": [("[value=sinusoidal]", "aria-checked=true"), ("path.query >> nth=0", "class=key")],
    "generation": [
        ("button.bar >> nth=5", "class=bar out"),  # ruled out
        (".chip:not(.taken) >> nth=1", "class=chip taken"),
        (".chip:not(.taken) >> nth=1", "class=chip left"),
        (".chip.taken >> nth=2", "class=chip taken here"),
        (".read button >> nth=1", "class=taken"),  # not the prompt
    ],
    "training": [
        (".heads button >> nth=3", "aria-checked=true"),
        (".choice button >> nth=3", "aria-checked=true"),
        (".key.training", "class=key validation"),
        ("polyline.training", "class=validation"),
    ],
    "bpe": [(".piece >> nth=3", "class=piece made"), ("li >> nth=3", "class=made")],
    "patching": [("td button >> nth=3", "aria-pressed=true"), ("thead th >> nth=3", "class=differs")],
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", STATES)
def test_no_state_is_told_by_color_alone(show, files, name, scheme):
    page = show(files(name))
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    seen_with(page, "achromatopsia")
    for where, state in STATES[name]:
        it, (attribute, value) = page.locator(where).element_handle(), state.split("=")
        it.scroll_into_view_if_needed()
        box, was = around(it, ring=4), it.get_attribute(attribute)
        before = seen(page, box)
        it.evaluate("(element, change) => element.setAttribute(...change)", [attribute, value])
        after = seen(page, box)
        it.evaluate("(element, change) => element.setAttribute(...change)", [attribute, was or ""])
        assert (np.abs(before - after)[..., 0] > 15).sum() > 20, (where, state)
