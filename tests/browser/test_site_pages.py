"""The course's site as its reader has it: opened from a disk in a real Chromium, without a network."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from driver import browser_page, watched
from playwright.sync_api import expect

from gptlib.course.exercises import lessons, question

# A page of each kind.
KINDS = [
    "index.html",
    "12_published.html",  # a short one: axe takes its time
    "glossary.html",
    "teaching/index.html",
    "teaching/syllabi.html",
    "teaching/plan_attention.html",
    "explorers/models.html",
    "record.html",
    "learning.html",
    "reference/index.html",
    "reference/gptlib.model.attention.html",
    "files/benchmarks/minutes.py.html",
]
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def opened(chromium, site):
    """Give it a page's path, and it opens it. Nothing may go wrong, and nothing be asked for elsewhere."""
    with browser_page(chromium, 1280, 720) as (page, beyond):
        page.emulate_media(reduced_motion="reduce")
        problems = watched(page)

        def goto(path):
            page.goto((site / path).as_uri())
            return page

        yield goto
        assert problems == [] and beyond == []


def box(page, name):
    return page.locator(f"[data-name='{name}']")


def chosen(page, name, place):
    """Chooses, and gives what the page says then."""
    box(page, name).get_by_role("radio").nth(place).check()
    return box(page, name).locator(".verdict").inner_text()


def test_no_page_is_wider_than_a_phone(opened, site):
    paths = [path.relative_to(site).as_posix() for path in sorted(site.rglob("*.html"))]
    page = opened(paths[0])
    page.set_viewport_size({"width": 390, "height": 844})
    wide = {path: beyond for path in paths if (beyond := opened(path).evaluate(TOO_WIDE))}
    assert wide == {}


@pytest.mark.parametrize("path", KINDS)
def test_a_page_of_each_kind_is_for_everyone(path, opened):
    for scheme, width in (("light", 390), ("dark", 1280)):
        page = opened(path)
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        results = Axe().run(page, options={"preload": False})  # it would fetch the style sheets again
        assert results.violations_count == 0, results.generate_report()
        assert page.evaluate(TOO_WIDE) == 0


def test_a_prediction_shows_its_figure_after_a_choice_and_remembers_it(opened):
    asked = question("attention.reach")
    wrong = (asked.right_place + 1) % len(asked.choices)
    page = opened("04_attention.html")
    figure = page.get_by_alt_text(f"The figure that answers: {asked.asks}")
    assert not figure.is_visible() and not page.get_by_text(asked.finding[:40]).is_visible()
    assert chosen(page, asked.name, wrong) == f"Not quite. {asked.choices[wrong][1]}"
    assert figure.is_visible() and page.get_by_text(asked.finding[:40]).is_visible()
    page.reload()
    assert box(page, asked.name).get_by_role("radio").nth(wrong).is_checked() and figure.is_visible()
    assert chosen(page, asked.name, asked.right_place) == f"Right. {asked.right[1]}"
    page.get_by_role("button", name="Forget it").click()
    assert not figure.is_visible() and page.get_by_role("radio", checked=True).count() == 0
    page.reload()
    assert page.get_by_role("radio", checked=True).count() == 0


def test_what_answers_a_prediction_is_shut_until_it_is_made(opened):
    asked = question("ngram.honest_guess")
    page = opened("01_language_models.html")
    answer = page.get_by_text("lowest loss 0.500 nats, at q = 0.80")
    told = page.locator("[data-after='ngram.honest_guess'] > summary")
    assert not answer.is_visible() and told.is_visible()
    told.click()
    assert answer.is_visible() and not told.is_visible()
    page.reload()
    chosen(page, asked.name, 0)
    assert answer.is_visible() and not told.is_visible()
    page.reload()
    assert answer.is_visible()
    page.get_by_role("button", name="Forget it").click()
    assert not answer.is_visible() and told.is_visible()


def test_a_notebooks_page_says_first_that_its_cells_have_been_run(opened):
    page = opened("00_welcome.html")
    note = page.locator("h1 + .note")
    assert "its cells have been run" in note.inner_text() and "explorers" in note.inner_text()
    assert note.get_by_role("link").get_attribute("href") == "notebooks/00_welcome.ipynb"
    assert "explorers" not in opened("01_language_models.html").locator("h1 + .note").inner_text()
    assert opened("glossary.html").locator("h1 + .note").count() == 0


def test_nothing_is_hidden_in_the_width_of_a_phone(opened):
    page = opened("00_welcome.html")
    page.set_viewport_size({"width": 390, "height": 844})
    story = page.locator(".printed").first
    assert story.evaluate("box => box.scrollWidth == box.clientWidth")  # a story wraps
    big = page.get_by_alt_text("From text to the next word, and the notebook for each part")
    assert big.bounding_box()["width"] > 600  # and its box scrolls, for the keyboard as well
    assert big.locator("xpath=..").evaluate("box => box.tabIndex == 0 && box.clientWidth < 390")
    # The button beside a line leaves it when the line is moved.
    ends = (
        page.locator(".code")
        .nth(3)
        .evaluate("""box => {
        const [pre, code, button] = ["pre", "code", ".copy"].map((part) => box.querySelector(part));
        pre.scrollLeft = pre.scrollWidth;
        const room = parseFloat(getComputedStyle(code).paddingRight);
        return [code.getBoundingClientRect().right - room, button.getBoundingClientRect().left];
    }""")
    )
    assert ends[0] <= ends[1]


def test_a_quiz_counts_what_is_right(opened):
    page = opened("04_attention.html")
    asked = lessons()["attention"].quiz
    score = page.locator(".score")
    assert score.inner_text() == f"0 of {len(asked)} right"
    for right, each in enumerate(asked, 1):
        assert chosen(page, each.name, each.right_place).startswith("Right. ")
        assert score.inner_text() == f"{right} of {len(asked)} right"
    chosen(page, asked[0].name, (asked[0].right_place + 1) % len(asked[0].choices))
    assert score.inner_text() == f"{len(asked) - 1} of {len(asked)} right"


def test_hints_come_one_after_the_other(opened):
    page = opened("04_attention.html")
    card = page.locator(".exercise").first
    first, second, third = lessons()["attention"].exercises[0].hints
    for name, hint in (("A hint", first), ("Another hint", second), ("The last hint", third)):
        assert not card.get_by_text(hint).is_visible()
        card.get_by_text(name, exact=True).click()
        assert card.get_by_text(hint).is_visible()
    assert (
        card.get_by_role("link", name="download it").get_attribute("href") == "notebooks/04_attention.ipynb"
    )


def test_the_search_is_a_key_away(opened):
    page = opened("teaching/plan_block.html")
    page.keyboard.press("/")
    page.keyboard.type("queries, keys, values")
    hit = page.locator("#found a").first
    hit.wait_for()
    assert "Queries, keys, values" in hit.inner_text() and hit.locator("mark").count() > 0
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/04_attention.html#3.-Queries*")
    heading = page.get_by_role("heading", name="3. Queries, keys, values")
    assert 0 <= heading.bounding_box()["y"] < 300
    # A radio button is nothing to type into.
    page.get_by_role("radio").first.focus()
    page.keyboard.press("/")
    page.keyboard.type("\\sqrt <b>xyzzy")
    page.locator("#found").get_by_text("Nothing found").wait_for()
    page.keyboard.press("Escape")
    assert not page.locator("#found").is_visible()


BEST = {
    # What a learner asks for, and the heading and the page that should come first.
    "what is a token": ("token", "Glossary"),
    "attention": ("attention", "Glossary"),
    "feed forward": ("MLP", "Glossary"),
    "kv cache": ("key/value cache", "Glossary"),
    "layer norm": ("LayerNorm", "Glossary"),
    "top_p": ("top-p", "Glossary"),
    "embeddings": ("embedding", "Glossary"),
    "why divide by sqrt": ("Exercise: scores divided by √d_k", "Attention: a weighted average"),
    "load gpt2": ("Exercise: load GPT-2", "GPT-2 in and out"),
    "n_kv_heads": ("GPTConfig.n_kv_heads", "gptlib.model.config"),
    "gptlib.model.attention": ("gptlib.model.attention", ""),
    "grading": ("Grading a class", ""),
}


def test_the_search_finds_first_what_a_learner_means(opened):
    page = opened("index.html")
    first = {}
    for asked in BEST:
        page.locator("#search").fill(asked)
        page.wait_for_function(
            "asked => document.querySelector('#found')?.dataset.asked === asked", arg=asked
        )
        hit = page.locator("#found a").first.inner_text().partition("\n")[0]
        heading, _, title = hit.partition(" · ")
        first[asked] = (heading, title)
    assert first == BEST


def test_the_search_says_when_no_section_has_every_word(opened):
    page = opened("glossary.html")
    page.locator("#search").fill("perplexity xyzzy")
    told = page.locator("#found").get_by_text("Nothing found that has every word. With some of them: ")
    told.wait_for()
    assert page.get_by_role("status").first.inner_text() == told.inner_text()
    page.locator("#found a").first.click()
    page.wait_for_url("**/glossary.html#perplexity")
    assert page.locator("#perplexity").bounding_box()["y"] < 300


def test_the_theme_is_the_systems_until_it_is_chosen(opened):
    page = opened("glossary.html")

    def paper():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    page.emulate_media(color_scheme="dark")
    dark = paper()
    page.emulate_media(color_scheme="light")
    light = paper()
    button = page.get_by_role("button", name="Dark theme")
    assert dark != light and button.get_attribute("aria-pressed") == "false"
    button.click()
    assert paper() == dark and button.get_attribute("aria-pressed") == "true"
    page = opened("04_attention.html")  # on each page, and in the explorers on it
    assert paper() == dark
    page.locator("figure.explorer").first.scroll_into_view_if_needed()
    explorer = page.locator("figure.explorer .gptlib").first
    explorer.wait_for()
    assert explorer.evaluate("element => getComputedStyle(element).colorScheme") == "dark"


def test_code_can_be_copied(opened):
    page = opened("04_attention.html")
    page.evaluate(
        """() => {
        document.addEventListener("copy", () => { window.copied = document.activeElement.value; });
        if (navigator.clipboard) navigator.clipboard.writeText = () => Promise.reject(Error("not here"));
        }"""
    )
    code = page.locator(".code").nth(1)
    code.hover()
    code.get_by_role("button", name="Copy").click()
    code.get_by_role("button", name="Copied").wait_for()
    copied = page.evaluate("copied")
    assert copied == code.locator("code").inner_text() and copied.startswith("model, tokenizer = load(")


def test_the_keyboard_reaches_what_scrolls_and_only_that(opened):
    page = opened("04_attention.html")
    page.set_viewport_size({"width": 800, "height": 720})
    page.locator("pre[tabindex='0']").first.wait_for(state="attached")
    boxes = page.evaluate(
        """[...document.querySelectorAll("pre")].map(
               box => [box.scrollWidth > box.clientWidth, box.tabIndex === 0])"""
    )
    wide = [scrolls for scrolls, _ in boxes]
    assert wide == [reached for _, reached in boxes] and 0 < sum(wide) < len(wide)


def test_the_first_pages_gpt_says_things_once_and_stays_below_the_bar(opened):
    page = opened("index.html")
    page.emulate_media(reduced_motion="reduce")
    page.set_viewport_size({"width": 1280, "height": 720})
    page.locator(".gpt-page .body:visible").wait_for()
    told = page.locator("div.waking")  # to a screen reader, which does not see it wake
    assert "The model is awake" in told.text_content() and told.bounding_box()["width"] <= 1
    expect(page.locator(".one .readout")).to_contain_text("“␣But” looks most at “␣Mia”")
    page.get_by_label("One stage on").click()
    rail = page.locator(".rail [aria-current=step]").bounding_box()
    assert rail["y"] + rail["height"] <= 721
    page.locator(".heads .plot").scroll_into_view_if_needed()
    bar, walk = page.locator("header.bar").bounding_box(), page.locator(".walk").bounding_box()
    assert walk["y"] >= bar["y"] + bar["height"] - 1
    page.get_by_role("button", name="Save ▾").click()
    page.get_by_role("button", name="Page (HTML)").click()
    expect(page.locator(".gptlib .problem")).to_contain_text("The link below this explorer downloads it")


def test_chapters_follow_one_another(opened):
    page = opened("index.html")
    page.get_by_role("link", name="Welcome").click()
    for title in ("Language models", "Tokens"):
        page.locator("[rel=next]").click()
        assert page.get_by_role("heading", level=1).inner_text().startswith(title)
    page.locator("[rel=prev]").click()
    here = page.locator("#nav [aria-current]")
    assert here.inner_text() == "Language models"
    page.locator("#nav").get_by_role("link", name="Quiz").click()
    assert page.url.endswith("01_language_models.html#Quiz")
    page.set_viewport_size({"width": 390, "height": 844})
    assert not here.is_visible()
    page.get_by_role("button", name="Contents").click()
    assert here.is_visible()
    page.keyboard.press("Escape")
    assert not here.is_visible() and page.evaluate("document.activeElement.id") == "menu"
    page.keyboard.press("Enter")
    page.locator("#nav").get_by_role("link", name="Recap").click()
    assert not here.is_visible() and page.url.endswith("#Recap")


def test_without_scripts_pictures_and_answers_are_there(chromium, site):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "04_attention.html").as_uri())
    asked = question("attention.reach")
    answer = page.locator(".prediction").first
    answer.get_by_text("Answer", exact=True).click()
    assert answer.get_by_text(asked.right[1]).is_visible()
    answer.get_by_text("The result", exact=True).click()
    assert answer.get_by_role("img").is_visible()
    assert page.locator("figure.explorer img").first.is_visible()
    assert not page.locator("#search").is_visible() and page.locator("#nav").is_visible()
    assert page.locator(".question input").first.is_hidden()
    context.close()


def test_a_printed_page_has_its_text_and_no_bars(opened):
    page = opened("04_attention.html")
    page.get_by_role("button", name="Dark theme").click()
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for gone in (".bar", "#nav", ".turn"):
        assert not page.locator(gone).first.is_visible()
    assert page.get_by_role("heading", name="1. A uniform average").is_visible()
    cut = "[...document.querySelectorAll('pre')].filter(box => box.scrollWidth > box.clientWidth).length"
    assert page.evaluate(cut) == 0


def test_a_gpt_learns_in_the_site(opened):
    page = opened("learning.html")
    page.get_by_role("button", name="Get the stories").click()
    page.get_by_role("button", name="Start").click()
    passed = page.locator("#training .passed").first  # the loss of counting single words
    passed.filter(has_text="step").wait_for(timeout=60_000)
    page.get_by_role("button", name="Pause").click()


def test_on_paper_a_result_stands_below_its_question(opened):
    page = opened("04_attention.html")
    results = page.locator(".result, .later")
    page.evaluate(
        """addEventListener("beforeprint", () => {
            window.printed = [...document.querySelectorAll(".result, .later")].map((result) => result.open);
        })"""
    )
    page.pdf()
    assert page.evaluate("printed") == [True] * results.count() != []
    assert page.locator(":is(.result, .later)[open]").count() == 0  # on the screen they are hidden as before
