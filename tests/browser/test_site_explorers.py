"""Explorers of the saved notebooks come alive on a page opened from a disk, from their state alone."""

import nbformat
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from driver import browser_page, watched
from playwright.sync_api import expect

from gptlib import load
from gptlib.course.prose import notebook_paths
from gptlib.course.site.explorers import assets, figure, kept
from gptlib.viz import AttentionExplorer, GenerationExplorer, PatchingExplorer

# As on the site's own pages: nothing but what lies beside them, and workers of what is in them.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "worker-src blob:"
)
# A page's own style: the little that makes it a page, and much that no explorer may notice.
LITTLE = """
  :root { color-scheme: light dark; }
  :root[data-theme="light"] { color-scheme: light; }
  :root[data-theme="dark"] { color-scheme: dark; }
  body { margin: 0 auto; max-width: 860px; padding: 16px;
         background: light-dark(#fff, #15181c); color: light-dark(#222, #eee); }
  img { max-width: 100%; height: auto; }"""
MUCH = """
  main { font: italic 21px/2 serif; letter-spacing: 2px; text-transform: uppercase; text-align: right; }
  button, input { min-height: 60px; padding: 20px; background: red; } td, th { border: 3px solid; }
  h2 { border-top: 9px solid; margin: 2em 0; } p, li { margin: 40px; } code, pre { color: green; }
  table { width: 100%; } summary::before { content: "x"; }"""
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}"><title>A page</title>
<style>@layer site {{{style}}}</style>
<link rel="stylesheet" href="assets/explorers.css"><script defer src="assets/explorers.js"></script>
<main><h1>A page</h1>{body}</main></html>"""

# Of each element of an explorer how it looks.
LOOKS = """stage => [...stage.querySelectorAll("*")].map((it) => {
    const style = getComputedStyle(it), name = it.className.baseVal ?? it.className;
    const traits = ["font", "color", "background-color", "margin", "padding", "border", "opacity", "width",
        "letter-spacing", "text-transform", "text-align", "min-height"];
    return [it.localName, name, ...traits.map((trait) => style[trait])].join(" ");
})"""
WHOLE_LOOK = "it => JSON.stringify([...getComputedStyle(it)].map((name) => getComputedStyle(it)[name]))"


def saved():
    """Every explorer of the saved notebooks by its name on the site: what is kept of it, and its picture."""
    found = {}
    for path in notebook_paths():
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                if explorer := kept(output):
                    found[f"{path.stem}.{cell.id}"] = explorer, output.data["image/png"]
    return found


EXPLORERS = saved()
LIVE = [name for name, (explorer, _) in EXPLORERS.items() if explorer["model"]]


@pytest.fixture(scope="module")
def storyteller():
    return load("storyteller")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with a page for each explorer, one for all of them, and "plain", all with little style."""
    folder = tmp_path_factory.mktemp("site")
    figures = {
        name: figure(explorer, name, f'<img alt="" src="data:image/png;base64,{png}">', "notebook.ipynb")
        for name, (explorer, png) in EXPLORERS.items()
    }
    every = "\n".join(figures.values())
    for name, body in (figures | {"all": every}).items():
        page = PAGE.format(policy=POLICY, style=LITTLE + MUCH, body=body)
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    page = PAGE.format(policy=POLICY, style=LITTLE, body=every)
    (folder / "plain.html").write_text(page, encoding="utf-8")
    for path, text in assets({name: explorer for name, (explorer, _) in EXPLORERS.items()}).items():
        file = folder / "assets" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def visit(chromium, site):
    """Open a page of the site from the disk; nothing may go wrong there or be asked for elsewhere."""
    with browser_page(chromium, 1280, 720) as (page, beyond):
        problems = watched(page)

        def opened(name):
            page.goto((site / f"{name}.html").as_uri())
            return page

        yield opened
        assert problems == [] and beyond == []


def come_all(page):
    """Scroll through the page until each explorer on it is there."""
    for one in page.locator("figure.explorer").all():
        one.scroll_into_view_if_needed()
        one.locator(".stage .gptlib").wait_for()


def wake(page):
    page.get_by_role("button", name="Wake the model").first.click()
    page.get_by_text("The model is awake").first.wait_for(timeout=5000)


@pytest.mark.parametrize("name", EXPLORERS)
def test_it_comes_alive(visit, name):
    page = visit(name)
    page.locator(".stage .gptlib h2:visible").first.wait_for()
    assert page.locator("figure img").count() == 0
    assert page.locator(".gptlib > .problem:visible").count() == 0
    asleep = page.get_by_role("button", name="Wake the model")
    assert asleep.count() == asleep.filter(visible=True).count() == (name in LIVE)


def test_it_comes_when_a_reader_comes_near(visit):
    page = visit("all")
    page.locator(".stage .gptlib").first.wait_for()
    assert page.locator(".stage").count() < len(EXPLORERS) / 2
    assert page.locator("figure img").last.evaluate("it => it.checkVisibility()")
    come_all(page)
    scripts = page.locator("script[src*='/explorers/attention.js'], script[src*='/explorers/shared.js']")
    assert scripts.count() == 2 and page.locator("script[src*='/live/']").count() == 0
    assert page.locator("link[href*='/explorers/']").count() == 1 + len(
        {e["script"] for e, _ in EXPLORERS.values()}
    )


def test_no_style_leaks_in_or_out(visit):
    looks = {}
    for name in ("all", "plain"):
        page = visit(name)
        before = page.locator("h1").evaluate(WHOLE_LOOK)
        come_all(page)
        after = page.locator("h1").evaluate(WHOLE_LOOK)
        assert after == before
        looks[name] = [stage.evaluate(LOOKS) for stage in page.locator(".stage").all()]
    for one, other in zip(looks["all"], looks["plain"], strict=True):
        assert one == other


@pytest.mark.parametrize("system", ["light", "dark"])
def test_it_follows_the_page_and_not_the_system(visit, system):
    page = visit("02_tokens.touch-it")
    page.emulate_media(color_scheme=system)
    explorer = page.locator(".gptlib")
    shades = {}
    for theme in ("light", "dark", ""):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        shades[theme] = explorer.evaluate("it => getComputedStyle(it).backgroundColor")
    assert shades["light"] == "rgb(255, 255, 255)" and shades["dark"] == "rgb(22, 25, 29)"
    assert shades[""] == shades[system]


def test_what_it_lacks_is_told_where_it_is(visit):
    page = visit("02_tokens.touch-it")
    page.get_by_text("Changing the text needs Python").wait_for()
    link = page.locator("figcaption").get_by_role("link", name="open the notebook")
    assert link.get_attribute("href") == "notebook.ipynb"
    page = visit("00_welcome.touch-it")
    box = page.get_by_role("textbox", name="Text", exact=True)
    expect(box).to_have_attribute("title", "Text: needs the model")
    page = visit("17_scale.15-051")
    assert page.locator("figcaption").text_content().endswith("works in this page.")


def test_what_cannot_be_saved_here_is_said(visit):
    page = visit("17_scale.15-051")
    page.get_by_role("button", name="Save ▾").click()
    page.get_by_role("button", name="Page (HTML)").click()
    expect(page.locator(".gptlib > .problem")).to_have_text(
        "Saving it as a page needs Python: open the notebook."
    )


def test_one_model_wakes_for_all_that_read_it(visit):
    page = visit("all")
    come_all(page)
    wake(page)
    told = page.get_by_text("The model is awake")
    expect(told).to_have_count(len(LIVE))
    assert page.locator("script[src*='/live/']").count() == 2
    assert page.evaluate("document.activeElement.closest('figure').dataset.state") == LIVE[0]
    # Those who come later find it awake.
    page = visit("all")
    wake(page)
    come_all(page)
    expect(told).to_have_count(len(LIVE))


def test_a_model_that_does_not_come_can_be_asked_for_again(chromium, site):
    with browser_page(chromium, 1280, 720) as (page, _):
        page.route("**/live/storyteller.js", lambda route: route.abort())
        page.goto((site / "00_welcome.touch-it.html").as_uri())
        button, box = (
            page.get_by_role("button", name="Wake the model"),
            page.get_by_role("textbox", name="Text", exact=True),
        )
        button.click()
        page.get_by_text("assets/live/storyteller.js could not be loaded").wait_for()
        assert button.is_enabled() and box.is_disabled() and page.locator(".gptlib canvas").first.is_visible()
        page.unroute("**/live/storyteller.js")
        wake(page)
        assert button.is_hidden() and box.is_enabled()


TYPED = "Leo found a kite 🪁 in the garden, and 猫 slept. Then Leo"


@pytest.mark.parametrize("name", ["00_welcome.touch-it", "07_many_heads.touch-it"])
def test_a_typed_text_is_answered_as_python_does(visit, storyteller, name):
    page = visit(name)
    wake(page)
    box = page.get_by_role("textbox", name="Text", exact=True)
    expect(box).to_be_focused()
    box.fill(TYPED)
    page.get_by_role("heading", name="After “␣Leo”").wait_for()
    page.get_by_role("button", name="remove (zero)").click()
    page.locator(".says .delta").first.wait_for()
    explorer = AttentionExplorer(*storyteller, TYPED)
    layer, head = (
        int(n)
        for n in page.locator(".tile[aria-pressed=true]")
        .get_attribute("title")
        .replace(",", "")
        .split()[1::2]
    )
    explorer.layer, explorer.head = layer, head
    explorer.changes = [{"do": "zero", "layer": layer, "head": head}]
    shown = [bar.locator(".token").inner_text() for bar in page.locator(".says").first.locator(".bar").all()]
    assert shown == [bar["token"] for bar in explorer.details["next"]]


def test_a_prompt_is_gone_on_from_as_python_does(visit, storyteller):
    page = visit("11_generation.touch-it")
    wake(page)
    page.get_by_label("Prompt").fill("Once upon a time")
    page.get_by_role("button", name="Begin with this prompt").click()
    page.get_by_role("button", name="Sample a sentence").click()
    text = GenerationExplorer(*storyteller, "Once upon a time").sample()
    assert len(text.split()) > 6
    expect(page.locator(".generation .read")).to_contain_text(text)


def test_two_texts_are_patched_as_python_does(visit, storyteller):
    page = visit("15_looking_inside.13-038")
    wake(page)
    pair = [f"{name} dreamed of hedgehogs and lived on plums. On Friday night" for name in ("Jack", "Noah")]
    for name, text in zip(("clean text", "corrupted text"), pair, strict=True):
        page.get_by_label(name).fill(text)
    explorer = PatchingExplorer(*storyteller, *pair)
    right, wrong = explorer.answer["words"]
    page.get_by_role("heading", name=f"from “{wrong}” back to “{right}”").wait_for()
    expect(page.locator("td button")).to_have_count(len(explorer.answer["cells"]))
    values = [
        cell.get_attribute("aria-label").rpartition(": ")[2] for cell in page.locator("td button").all()
    ]
    shown = [float(value.replace("−", "-")) for value in values]
    np.testing.assert_allclose(shown, explorer.answer["cells"], atol=0.0051)


def test_everyone_can_read_what_stands_around_it(chromium, site):
    with browser_page(chromium) as (page, _):
        page.goto((site / "plain.html").as_uri())
        wake(page)
        for scheme, width in (("light", 390), ("dark", 1280)):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.set_viewport_size({"width": width, "height": 844})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            results = Axe().run(page, context="figure.explorer:has(.stage)")
            assert results.violations_count == 0, results.generate_report()


def test_files_are_small(site):
    def size(path):
        return len((site / "assets" / path).read_bytes())

    for file in (site / "assets" / "explorers").iterdir():
        assert file.stat().st_size <= 31_000
    assert all(file.stat().st_size <= 111_000 for file in (site / "assets" / "states").iterdir())
    assert size("live/storyteller.js") <= 2_800_000 and size("live/runtime.js") <= 100_000
    assert size("explorers.js") + size("explorers.css") <= 25_000
