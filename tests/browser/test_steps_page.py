"""AttentionSteps on a page: it shows gptlib's numbers, by mouse and keyboard, with a kernel and without."""

import pytest
import torch
from driver import assert_readable

from gptlib import load
from gptlib.viz.explorers.steps import AttentionSteps

WORDS = ["Mia", "lost", "her", "red", "kite"]
TEXT = "Nora had a big red kite. On Friday night she"
ROWS = """() => [...document.querySelectorAll('.steps section table')].map(table => [...table.rows].map(
    row => [...row.querySelectorAll('td')].map(cell => [...cell.querySelectorAll('input, small')].map(
        part => part.value ?? part.textContent).join(' ') || cell.textContent)))"""


def made(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return AttentionSteps(*torch.randn(3, 5, 4, generator=generator), WORDS)


def text(x, digits=2):
    written = f"{x:.{digits}f}"
    return written.lstrip("-") if float(written) == 0 else written.replace("-", "−")


def expected(explorer):
    """What the three tables show, worked out here by torch and gptlib from the explorer's state."""
    query, d_k = explorer.query, explorer.d_k
    q, k, v = (torch.tensor(rows, dtype=torch.float64) for rows in (explorer.q, explorer.k, explorer.v))
    allowed, weights, output = explorer.mask[query], explorer.weights[query], explorer.output[query]
    products = q[query, :d_k] * k[:, :d_k]
    dots = products.sum(dim=-1)
    scaled = dots / d_k**0.5 if explorer.scale else dots
    exps = ((scaled - scaled[allowed].max()) / explorer.temperature).exp() * torch.tensor(allowed)
    compare = [[""] * 0, [text(x) for x in q[query]]] + [
        [f"{text(x)} {text(products[row, i])}" if i < d_k else f"{text(x)} " for i, x in enumerate(k[row])]
        for row in range(len(k))
    ]
    weigh = [
        [
            text(dots[row]),
            text(scaled[row]),
            "✓" if allowed[row] else "−∞",
            text(exps[row], 3),
            text(weights[row], 3),
        ]
        for row in range(len(k))
    ]
    mix = [[f"{text(x)} {text(weights[row] * x)}" for x in v[row]] for row in range(len(k))]
    sums = ["", "", "", text(exps.sum(), 3), text(weights.sum(), 3)]
    return [compare, [[], *weigh, sums], [[], *mix, [text(x) for x in output]]]


@pytest.fixture
def opened(show):
    """A page with an exported explorer, and that explorer."""
    explorer = made()
    return show(explorer), explorer


def cell(page, name):
    return page.get_by_label(name, exact=True)


def edit(page, name, typed):
    cell(page, name).fill(typed)
    cell(page, name).press("Enter")


def moved(page):
    return page.locator(".steps .moved").count()


def test_shown_numbers_are_gptlibs_after_every_kind_of_change(opened):
    page, explorer = opened
    assert page.evaluate(ROWS) == expected(explorer)
    assert moved(page) == 0

    edit(page, "key of her, dimension 1", "−2.345")
    explorer.k = [[*row[:1], -2.345, *row[2:]] if at == 2 else row for at, row in enumerate(explorer.k)]
    page.keyboard.press("Escape")
    cell(page, "value of Mia, dimension 0").focus()
    page.get_by_role("button", name="Reset").focus()
    assert page.evaluate(ROWS) == expected(explorer)
    assert cell(page, "key of her, dimension 1").get_attribute("class") == "moved"
    assert cell(page, "key of her, dimension 0").get_attribute("class") != "moved"

    page.get_by_role("switch", name="may look at lost").click()
    explorer.mask = [[*row[:1], False, *row[2:]] if at == 4 else row for at, row in enumerate(explorer.mask)]
    assert page.evaluate(ROWS) == expected(explorer)

    page.get_by_role("slider", name="d_k").fill("3")
    page.get_by_role("slider", name="temperature").fill("0.5")
    explorer.d_k, explorer.temperature = 3, 0.5
    assert page.evaluate(ROWS) == expected(explorer)
    assert cell(page, "query, dimension 3").is_disabled()

    page.get_by_role("radio", name="unscaled").click()
    explorer.scale = False
    assert page.evaluate(ROWS) == expected(explorer)
    assert page.locator("th", has_text="unscaled").count() == 1
    page.get_by_role("button", name="Undo").click()
    explorer.scale = True
    assert page.evaluate(ROWS) == expected(explorer)

    page.get_by_role("radio", name="her").click()
    explorer.query = 2
    assert page.evaluate(ROWS) == expected(explorer)
    assert page.get_by_role("switch", name="may look at kite").get_attribute("aria-checked") == "false"
    edit(page, "query, dimension 0", "30000")
    assert "e+" in page.evaluate(ROWS)[1][1][0]


def test_what_differs_from_the_start_is_marked_for_as_long_as_it_does(opened):
    page, explorer = opened
    said, marked = page.locator(".edited"), page.locator(".steps td > :is(input, button).moved")
    assert said.inner_text() == ""
    edit(page, "key of her, dimension 1", "−2.345")
    edit(page, "value of Mia, dimension 0", "7")
    page.get_by_role("switch", name="may look at lost").click()
    for query in ("kite", "her", "kite"):
        page.get_by_role("radio", name=query).click()
        assert said.inner_text() == "2 numbers, 1 mask cell changed"
        assert marked.count() == 2 + (query == "kite")  # the mask's is of that query
    edit(page, "value of Mia, dimension 0", str(explorer.v[0][0]))
    assert said.inner_text() == "1 number, 1 mask cell changed"
    for _ in range(4):
        page.keyboard.press("Control+z")
    assert said.inner_text() == "" and moved(page) == 0


def test_an_opened_state_shows_what_was_edited(show):
    explorer = made()
    explorer.k = [[*row[:1], 9.0, *row[2:]] if at == 2 else row for at, row in enumerate(explorer.k)]
    page = show(explorer)
    assert page.locator(".edited").inner_text() == "1 number changed"
    assert cell(page, "key of her, dimension 1").get_attribute("class") == "moved"


def test_it_opens_with_the_mask_and_the_scale_that_were_given(show):
    explorer = AttentionSteps(*torch.randn(3, 5, 4), WORDS, query=0, mask=None, scale=False)
    page = show(explorer)
    assert page.evaluate(ROWS) == expected(explorer)
    assert page.locator("button[role=switch]", has_text="✓").count() == 5
    assert page.get_by_role("radio", name="unscaled").get_attribute("aria-checked") == "true"


def test_by_keyboard_alone(opened):
    page, explorer = opened
    first = page.evaluate(ROWS)
    cell(page, "query, dimension 0").focus()
    for key in ("ArrowDown", "ArrowRight", "Alt+ArrowUp", "Alt+ArrowUp"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.ariaLabel") == "key of Mia, dimension 1"
    page.keyboard.press("Control+End")  # moves the caret or nothing, never the numbers
    explorer.k = [[explorer.k[0][0], explorer.k[0][1] + 0.2, *explorer.k[0][2:]], *explorer.k[1:]]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.ariaLabel") == "may look at Mia"
    assert page.evaluate(ROWS) == expected(explorer)
    page.keyboard.press("Control+z")  # both nudges are one step
    assert page.evaluate(ROWS) == first
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.keyboard.press("PageDown")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.ariaLabel") == "value of Mia, dimension 0"
    page.keyboard.type("12")
    page.keyboard.press("ArrowLeft")
    page.keyboard.type("5")
    page.keyboard.press("ArrowDown")
    mask = [row[:] for row in explorer.mask]
    mask[4][1] = mask[4][4] = False
    explorer.set_state({"k": explorer.at_first["k"], "mask": mask, "asked": 1})
    explorer.v = [[152.0, *explorer.v[0][1:]], *explorer.v[1:]]
    page.get_by_role("button", name="Reset").focus()
    assert page.evaluate(ROWS) == expected(explorer)
    page.keyboard.press("Enter")
    assert page.evaluate(ROWS) == first
    for _ in range(4):
        page.keyboard.press("Control+z")
    assert page.evaluate(ROWS) == first
    assert page.get_by_role("button", name="Undo").is_disabled()


def test_what_is_no_number_is_refused_and_nothing_lost(opened):
    page, explorer = opened
    before = text(explorer.k[3][2])
    for typed in ("much", "", "1,5", "1e7", "Infinity"):
        edit(page, "key of red, dimension 2", typed)
        sentence = f'"{typed}" is no number from −1000000 to 1000000; key of red, dimension 2 stays {before}.'
        assert page.get_by_role("alert").inner_text() == sentence
        page.keyboard.press("Tab")
        assert page.evaluate(ROWS) == expected(explorer)
    edit(page, "key of red, dimension 2", "1")
    assert not page.get_by_role("alert").is_visible()


def test_the_last_key_cannot_be_masked(opened):
    page, explorer = opened
    page.get_by_role("radio", name="lost").click()
    page.get_by_role("switch", name="may look at Mia").click()
    before = page.evaluate(ROWS)
    page.get_by_role("switch", name="may look at lost").click()
    assert page.get_by_role("alert").inner_text() == '"lost" needs a key to look at; allow another one first.'
    assert page.evaluate(ROWS) == before


def test_hostile_tokens_and_a_whole_head(show):
    token = "<img src=x onerror=document.title='run'>"
    tensors = torch.randn(3, 12, 64, generator=torch.Generator().manual_seed(1))
    page = show(AttentionSteps(*tensors, [token] * 12))
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.locator(".steps tbody th", has_text="<img").count() == 36
    assert page.title() != "run" and page.locator("img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.fixture(scope="module")
def wide():
    """A head of 32 dimensions that reads as many tokens as can be shown."""
    return AttentionSteps.from_model(*load("storyteller"), TEXT, 3, 0)


def test_of_a_wide_head_a_few_dimensions_are_shown_and_the_others_as_one_sum(show, wide):
    page = show(wide)
    page.set_viewport_size({"width": 1144, "height": 720})  # the room that JupyterLab leaves on 1280
    bottom = "() => document.querySelector('.main-view').getBoundingClientRect().bottom"
    top = page.locator(".gptlib").bounding_box()["y"]
    assert page.evaluate(bottom) - top <= 605
    assert page.evaluate(
        "[...document.querySelectorAll('.columns, table')].every(x => x.scrollWidth <= x.clientWidth)"
    )

    def row_of(token):
        cells = page.locator(f".steps section:nth-child(1) tr:has(th:text-is('{token}')) td:visible")
        return [
            float((cell.locator("small").or_(cell).last.inner_text()).replace("−", "-"))
            for cell in cells.all()
        ]

    q, k = torch.tensor(wide.q[-1]), torch.tensor(wide.k[1])
    row = row_of("Nora")
    assert len(row) == 5 and sum(row) == pytest.approx((q @ k).item(), abs=0.04)
    sizes = (q * torch.tensor(wide.k)).abs().sum(dim=0)
    largest = sorted(sizes.argsort(descending=True)[:4].tolist())
    assert row[:4] == pytest.approx((q * k)[largest].tolist(), abs=0.006)
    heads = page.locator(".steps section:nth-child(3) thead th:visible").all_inner_texts()[1:]
    assert sorted(map(int, heads)) == sorted(wide.output[-1].abs().argsort(descending=True)[:4].tolist())
    fields = "[...document.querySelectorAll('.steps td:not([hidden]) > input')]"
    assert page.evaluate(f"{fields}.every(x => x.scrollWidth <= x.clientWidth)")  # no number is cut
    page.get_by_role("radio", name="all 32").click()
    row = row_of("Nora")
    assert len(row) == 32 and sum(row) == pytest.approx((q @ k).item(), abs=0.2)
    page.get_by_role("radio", name="4 largest").click()
    page.get_by_role("radio", name="␣a").click()
    assert len(row_of("Nora")) == 5


def split_on(page):
    """The table of what a score is made of as numbers, with its sums, and the sentence above it."""
    rows = page.locator(".why tbody tr")
    cells = [
        [float(cell.replace("−", "-")) for cell in row.locator("td").all_inner_texts()] for row in rows.all()
    ]
    return torch.tensor(cells), page.locator(".why p").first.inner_text()


def test_what_a_score_is_made_of(show, wide):
    page = show(wide)
    found, guide = page.locator(".steps .row h2"), page.locator(".guide").inner_text()
    page.get_by_role("radio", name="why this score").click()
    assert page.locator(".guide").inner_text() != guide and "score" in found.inner_text()
    most = wide.weights[-1].argmax().item()
    for key in (most, 1):
        page.get_by_role("radiogroup", name="key").get_by_role("radio").nth(key).click()
        made = wide.contributions.between(-1, key)[0]
        score = (torch.tensor(wide.q[-1]) @ torch.tensor(wide.k[key])).item() / 32**0.5
        table, sentence = split_on(page)
        assert f"score {text(score)} → weight" in found.inner_text()
        assert table.shape == (7, 7) and table[-1, -1].item() == pytest.approx(score, abs=0.006)
        assert sentence.startswith(f"Score {text(score)} = ") and sentence.endswith("(321 other pairs)")
        torch.testing.assert_close(table[:-1, :-1].sum(), table[-1, -1], atol=0.2, rtol=0)
        torch.testing.assert_close(
            table[0, -1], made.sum(dim=1)[made.abs().sum(dim=1).argmax()], atol=0.006, rtol=0
        )
    page.get_by_role("radio", name="minus the other keys' mean").click()
    scores = wide.contributions.scores[0, -1]
    others = (scores.sum() - scores[1]) / 11
    assert split_on(page)[0][-1, -1].item() == pytest.approx((scores[1] - others).item(), abs=0.006)

    page.get_by_role("radiogroup", name="query").get_by_role("radio").nth(1).click()
    page.get_by_role("radiogroup", name="key").get_by_role("radio").nth(4).click()
    assert page.get_by_role("alert").inner_text() == '"Nora" cannot look at "␣big", so there is no score.'
    page.get_by_role("radiogroup", name="query").get_by_role("radio").nth(11).click()
    assert_readable(page)
    page.get_by_role("radio", name="steps", exact=True).click()
    edit(page, page.locator(".steps input:visible").first.get_attribute("aria-label"), "3")
    page.get_by_role("radio", name="why this score").click()
    assert page.locator(".why table").count() == 0
    assert "Press Reset" in page.locator(".why").inner_text()
    page.get_by_role("button", name="Reset").click()
    page.get_by_role("radio", name="why this score").click()
    assert page.locator(".why table").count() == 1


def test_every_control_says_what_it_does(show, wide):
    page = show(wide)
    assert (
        page.evaluate(
            """[...document.querySelectorAll('.steps :is(button, input)')]
            .filter(control => !control.closest('[title], .toolbar')).map(control => control.textContent)"""
        )
        == []
    )


def test_in_jupyterlab_the_kernel_sees_every_change(run):
    page = run(
        "import torch\nfrom gptlib.viz.explorers.steps import AttentionSteps\n"
        f"tensors = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))\n"
        f"explorer = AttentionSteps(*tensors, {WORDS})\nexplorer",
        "from ipywidgets import Label\nsaid = Label()\n"
        "def say(change):\n"
        "    said.value = f'{explorer.k[2][1]:.2f} {explorer.mask[4][0]} {explorer.weights[4, 2]:.3f}'\n"
        "explorer.observe(say, 'answered')\nsaid",
    )
    explorer = made()
    page.get_by_role("switch", name="may look at Mia").click()
    edit(page, "key of her, dimension 1", "0.75")
    mask = [row[:] for row in explorer.mask]
    mask[4][0] = False
    keys = [[*row[:1], 0.75, *row[2:]] if at == 2 else row for at, row in enumerate(explorer.k)]
    explorer.set_state({"k": keys, "mask": mask, "asked": 1})
    page.get_by_text(f"0.75 False {explorer.weights[4, 2]:.3f}").wait_for(timeout=10_000)
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    page.get_by_text(f"{made().k[2][1]:.2f} True {made().weights[4, 2]:.3f}").wait_for(timeout=10_000)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.get_by_text(f"{made().k[2][1]:.2f} False").wait_for(timeout=10_000)
    assert page.evaluate("document.activeElement.ariaLabel") == "may look at Mia"
    page.keyboard.press("ArrowDown")  # moves in the table, not to another cell of the notebook
    assert page.evaluate("document.activeElement.ariaLabel") == "may look at lost"
    explorer.set_state({"k": made().k, "asked": 2})
    assert page.evaluate(ROWS) == expected(explorer)
