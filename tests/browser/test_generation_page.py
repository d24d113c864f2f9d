"""The generation explorer in a browser: its dice against gptlib's, as a file, and in JupyterLab."""

import base64
import re

import numpy as np
import pytest
import torch
from driver import assert_readable, browser_page
from playwright.sync_api import Locator

from gptlib import load
from gptlib.generation.sampling import next_token_distribution
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.text.characters import CharacterTokenizer
from gptlib.viz.drawing import readable
from gptlib.viz.explorers.generation import GenerationExplorer
from gptlib.viz.explorers.pages import page_code

PROMPT = "Once upon a time there was a shy girl named Mia."
READ = ".read button"
MARKUP = "<img src=x onerror=\"document.title='ran'\">"
# The module's own function, run in the page: each distribution as base64 of its 32-bit floats.
DICE = """([code, logits, cases]) => {
  const dice = new Function(`${code}; return filtered;`)();
  const arrays = logits.map((one) => Float32Array.from(one));
  const packed = (p) => btoa(String.fromCharCode(...new Uint8Array(p.buffer)));
  return cases.map(([at, settings]) => packed(dice(arrays[at], settings)));
}"""
# For each of 60 moves of a slider, whether the bars are new as soon as the move was heard.
MOVES = """() => {
  const input = document.querySelector(".gptlib .slider input");
  const bars = () => document.querySelector(".gptlib .bars");
  return Array.from({ length: 60 }, (_, move) => {
    const before = bars();
    input.value = 0.05 + ((move * 37) % 190) / 100;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    return bars() !== before;
  });
}"""


@pytest.fixture(scope="module")
def storyteller():
    return load("storyteller")


@pytest.fixture
def walked(storyteller):
    """An explorer with three roads: one left, one left at once, and one that is walked."""
    explorer = GenerationExplorer(*storyteller, PROMPT)
    explorer.sample(8)
    explorer.path = explorer.path[:2]
    tokens = explorer.answer["nodes"][",".join(map(str, explorer.path))]["tokens"]
    explorer.path = [*explorer.path, next(token for token in tokens if token != explorer.tree[0][2])]
    explorer.path = explorer.path[:2]
    explorer.seed = 5
    explorer.sample(8)
    return explorer


def shown_dice(page) -> list[tuple[str, float]]:
    """Each bar's token and its probability for the dice, to six digits."""
    bars = page.locator("button.bar").all()
    told = [re.search(r": (\S+) with these settings", bar.get_attribute("title")) for bar in bars]
    return [(bar.locator(".token").inner_text(), float(p[1])) for bar, p in zip(bars, told, strict=True)]


def dice_of(explorer: GenerationExplorer, step: int | None = None) -> list[tuple[str, float]]:
    node = (explorer.answer if step is None else explorer.details)["nodes"][
        ",".join(map(str, explorer.path[:step]))
    ]
    falling = torch.from_numpy(np.frombuffer(node["logits"], dtype="<f4").copy())
    p = next_token_distribution(falling, explorer._sampling()).tolist()
    pieces = zip(node["pieces"][:10], p, strict=False)
    return [(piece, pytest.approx(one, abs=2e-6)) for piece, one in pieces]


def text_of(page) -> str:
    return "".join(page.locator(READ).all_text_contents())


def test_the_pages_dice_are_gptlibs(chromium, walked):
    generator = torch.Generator().manual_seed(0)
    real = walked._read([*walked._start, *walked.path])[0]
    logits = [
        *real[[0, 4, -1]],
        torch.tensor([0.5, 0.25, 0.125, 0.125]).log(),
        torch.zeros(8),
        torch.tensor([1.0, 2.0, 2.0, 2.0, 0.0, -1.0]),
        3 * torch.randn(300, generator=generator),
    ]
    cases = []
    for at, one in enumerate(logits):
        for temperature in (0, 0.3, 1, 1.7):
            for top_k in (None, 1, 2, 40, 5000):
                cases += [(at, temperature, top_k, top_p) for top_p in (None, 0.1, 0.5, 0.75, 1.0)]
        # A millionth to either side of a sum that is p. (Nearer, the order in which torch adds decides.)
        edges = 1 - one.softmax(-1).sort().values.cumsum(-1)[-6:-1].double()
        edges = edges[(edges > 0.01) & (edges < 1 - 2e-6)]
        cases += [(at, 1.0, None, p + side) for p in edges.tolist() for side in (-1e-6, 1e-6)]
    settings = [[at, {"temperature": t, "top_k": k, "top_p": p}] for at, t, k, p in cases]
    code = page_code("generation.js").replace("export default", "const explorer =")
    orders = [one.sort(stable=True).indices.flip(0) for one in logits]
    falling = [one[order].tolist() for one, order in zip(logits, orders, strict=True)]
    with browser_page(chromium) as (page, _):
        shown = page.evaluate(DICE, [code, falling, settings])
    for (at, temperature, top_k, top_p), given in zip(cases, shown, strict=True):
        expected = next_token_distribution(logits[at], temperature=temperature, top_k=top_k, top_p=top_p)[
            orders[at]
        ]
        found = torch.frombuffer(bytearray(base64.b64decode(given)), dtype=torch.float32)
        assert torch.equal(found > 0, expected > 0), (at, temperature, top_k, top_p)
        assert torch.allclose(found, expected, atol=3e-6)


def test_a_file_keeps_the_tree_and_its_dice(show, walked):
    page, story = show(walked, still=True), walked.path
    assert text_of(page) == walked.text.replace("\n", "↵")
    assert shown_dice(page) == dice_of(walked)
    assert "all 2,048 tokens can be sampled" in page.locator(".next h2").inner_text()

    walked.temperature, walked.top_k, walked.top_p = 1.5, 8, 0.85
    page.get_by_label("temperature").fill("1.5")
    page.get_by_label("top-k").fill("3")  # the slider goes by powers of two
    page.get_by_label("top-p").fill("0.85")
    assert shown_dice(page) == dice_of(walked)
    kept = sum(p > 0 for _, p in shown_dice(page))
    assert f"sampling keeps {kept} of 2,048" in page.locator(".next h2").inner_text()
    assert all(page.evaluate(MOVES))
    page.get_by_label("temperature").fill("1.5")

    page.locator(READ).nth(-2).click()  # a step back
    walked.path = story[:-1]
    assert shown_dice(page) == dice_of(walked)
    page.locator(".chip.left").last.click()  # the road that goes on from here
    assert text_of(page) == walked.prompt + walked.tokenizer.decode(story)
    left = walked.tree[0]
    parting = next(token for token, taken in zip(left, story, strict=False) if token != taken)
    page.locator(".chip.left", has_text=readable(walked.tokenizer.pieces([parting])[0])).click()
    assert text_of(page) == walked.prompt + walked.tokenizer.decode(left)
    walked.path = left
    assert shown_dice(page) == dice_of(walked)
    page.locator(".chip:not(.taken):not(.left)").last.click()
    assert "taking a new token needs a kernel" in page.locator(".note").inner_text()
    assert text_of(page) == walked.prompt + walked.tokenizer.decode(left)
    for name in ("Sample a token", "Sample a sentence", "Another seed", "Begin with this prompt"):
        assert page.get_by_role("button", name=name).is_disabled()


def test_a_file_by_keyboard(show, walked):
    page, surprise = show(walked, still=True), walked.answer["prompt"][-1]["nats"]
    read = page.locator(READ)
    read.last.focus()
    page.keyboard.press("Home")
    for _ in range(len(walked.answer["prompt"]) - 1):
        page.keyboard.press("ArrowRight")
    assert f"{surprise:.3f} nats" in page.locator(".told p").inner_text()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")  # back to the first token that was taken
    assert read.count() == len(walked.answer["prompt"]) + 1

    chips = page.locator(".chip")
    page.locator(".chip.here").focus()
    page.keyboard.press("End")
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.title").startswith("Step 2")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    assert read.count() == len(walked.answer["prompt"])
    assert page.evaluate("document.activeElement.classList.contains('here')")  # the focus is kept
    assert chips.first.get_attribute("tabindex") == "0"

    page.locator("button.bar").first.focus()
    page.keyboard.press("PageDown")
    assert page.evaluate("document.activeElement.parentElement.nextSibling") is None
    page.keyboard.press("Enter")
    assert "needs a kernel" in page.locator(".note").inner_text()
    page.get_by_label("temperature").focus()
    page.keyboard.press("Home")
    assert "sampling keeps 1 of 2,048" in page.locator(".next h2").inner_text()
    assert page.locator("button.bar.out").count() == 9


def weights_of(page) -> list[float]:
    """The weights that the tokens of the text tell, as far as it was written."""
    labels = [token.get_attribute("aria-label") for token in page.locator(READ).all()]
    return [float(label.split(": weight ")[1]) for label in labels if not label.endswith("not yet written")]


def test_attention_of_each_step_in_a_file(show, walked):
    story = walked.path
    walked.view = "attention"
    page = show(walked, still=True)
    page.get_by_role("radio", name="Surprise").click()
    page.get_by_role("radio", name="Attention").click()
    tokens, tiles = page.locator(READ), page.locator(".tile")
    n = 1 + len(walked.answer["prompt"])
    assert tokens.count() == n + len(story) + 1 and tiles.count() == 16  # the start, and what comes next
    page.locator(".read .chosen").focus()
    for step in range(len(story) - 1, len(story) - 4, -1):
        page.keyboard.press("ArrowLeft")
        walked.step = step
        assert page.evaluate("document.activeElement.classList.contains('chosen')")
        assert weights_of(page) == pytest.approx(walked._row().tolist(), abs=6e-4)
        (word, weight), *_ = walked.looks_at()
        assert f"looks most at “{word.strip()}” (weight {weight:.3f})" in page.locator(".told p").inner_text()
        assert shown_dice(page) == dice_of(walked, step)
        assert page.locator(".bar.taken .token").inner_text() == readable(
            walked.tokenizer.pieces([story[step]])[0]
        )
    tiles.nth(4 * 3 + 1).hover()
    assert page.locator(".read .most").inner_text() == tiles.nth(4 * 3 + 1).inner_text()
    page.mouse.move(0, 0)
    assert page.locator(".read .most").count() == 0
    tiles.nth(4 * 3 + 1).click()
    walked.head = (3, 1)
    assert weights_of(page) == pytest.approx(walked._row().tolist(), abs=6e-4)
    page.keyboard.press("ArrowRight")
    walked.head = (3, 2)
    assert weights_of(page) == pytest.approx(walked._row().tolist(), abs=6e-4)
    assert page.locator("code").inner_text().endswith("layer=3, head=2)")
    page.get_by_role("button", name="Later").click()
    walked.step += 1
    assert weights_of(page) == pytest.approx(walked._row().tolist(), abs=6e-4)
    tokens.nth(n).click()
    walked.step = 0
    assert weights_of(page) == pytest.approx(walked._row().tolist(), abs=6e-4)


def test_what_a_file_has_no_room_for_is_told(show, walked, monkeypatch):
    monkeypatch.setattr("gptlib.viz.explorers.generation.FILE_WEIGHTS", 1_000)
    walked.head = (1, 2)
    page = show(walked, still=True)
    page.get_by_role("radio", name="Attention").click()
    page.get_by_role("button", name="Earlier").click()
    assert page.locator(".note").inner_text() == "The file has no room for the attention here."
    assert page.locator(".told p").inner_text() == "" and page.locator("button.bar").count() == 10


@pytest.mark.parametrize("view", ["surprise", "attention"])
def test_it_can_be_read_and_fits_a_projector(show, walked, view):
    walked.sample(20)
    walked.view = view
    page = show(walked)
    assert_readable(page)
    for width in (1000, 1280):
        page.set_viewport_size({"width": width, "height": 720})
        assert page.locator(".gptlib").bounding_box()["height"] <= 605
    page.get_by_role("button", name="Large").click()
    sizes = (
        "all => all.filter((one) => one.textContent).map((one) => parseFloat(getComputedStyle(one).fontSize))"
    )
    assert min(page.locator(".generation > :not(.head) *:visible").evaluate_all(sizes)) >= 18
    controls = page.locator(".generation :is(button, input, textarea)")
    assert controls.count() > 40
    for control in filter(Locator.is_visible, controls.all()):
        assert control.evaluate("one => Boolean(one.closest('[title]')?.title)"), control.inner_text()


def test_copy_heads_have_a_row_of_their_own(show):
    tokenizer = CharacterTokenizer("你好🪁世 ")
    torch.manual_seed(0)
    config = GPTConfig(
        vocab_size=tokenizer.vocab_size, context_length=12, n_layers=2, n_heads=2, d_model=8, copy_heads=3
    )
    explorer = GenerationExplorer(GPT(config), tokenizer, "你好世🪁")
    explorer.view, explorer.head = "attention", (2, 2)
    page = show(explorer)
    assert text_of(page) == "(start)你好世🪁?"
    tiles = page.locator(".tile")
    assert tiles.count() == 7 and tiles.last.get_attribute("aria-pressed") == "true"
    boxes = [tile.bounding_box() for tile in tiles.all()]
    assert [box["x"] for box in boxes[4:6]] == [box["x"] for box in boxes[:2]] and boxes[6]["x"] > boxes[5][
        "x"
    ]
    tiles.last.press("ArrowUp")  # to the last of a shorter row
    assert tiles.nth(3).get_attribute("aria-pressed") == "true"


def test_tokens_are_text(show):
    tokenizer = CharacterTokenizer("ab", special_tokens=("<|endoftext|>", MARKUP))
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=4, context_length=6, n_layers=1, n_heads=1, d_model=8))
    explorer = GenerationExplorer(model, tokenizer, "ab")
    explorer.path = [tokenizer.special_tokens[MARKUP]] * 3
    page = show(explorer)
    assert text_of(page) == "ab" + 3 * MARKUP
    assert "The context is full" in page.locator(".note").inner_text()
    assert page.locator("button.bar").count() == 0
    assert page.title() == GenerationExplorer.title and page.locator("img").count() == 0


def test_jupyterlab(run, storyteller):
    page = run(
        "from gptlib import load\nfrom gptlib.viz import GenerationExplorer\n"
        f"explorer = GenerationExplorer(*load('storyteller'), {PROMPT!r})\nexplorer"
    )
    expected = GenerationExplorer(*storyteller, PROMPT)
    read = page.locator(READ)
    n_prompt = read.count()

    def wait_for(explorer: GenerationExplorer) -> None:
        n = n_prompt + len(explorer.path)
        page.wait_for_function("n => document.querySelectorAll('.read button').length === n", arg=n)
        assert text_of(page) == explorer.text.replace("\n", "↵")
        assert shown_dice(page) == dice_of(explorer)

    wait_for(expected)
    page.get_by_label("temperature").fill("0.5")
    page.get_by_role("button", name="Sample a sentence").click()  # in the kernel, with that temperature
    expected.temperature = 0.5
    expected.sample()
    wait_for(expected)

    page.locator("button.bar").first.focus()
    for _ in range(2):  # the focus stays with the bars from token to token
        expected.path = [*expected.path, dice_token(expected)]
        page.keyboard.press("Enter")
        wait_for(expected)
    road = expected.path
    read.nth(-2).press("Enter")
    expected.path = road[:-1]
    wait_for(expected)
    page.locator(".chip.left").click()
    expected.path = road
    wait_for(expected)

    page.get_by_role("radio", name="Attention").click()
    page.locator(".read .chosen").press("ArrowLeft")
    expected.view, expected.step = "attention", len(road) - 1
    (word, weight), *_ = expected.looks_at()
    page.locator(".told p", has_text=f"looks most at “{word.strip()}” (weight {weight:.3f})").wait_for()
    page.get_by_label("seed", exact=True).fill("11")
    page.get_by_role("button", name="Another seed").click()
    page.locator(".told p", has_text="Seed 12 holds for what is sampled next").wait_for()
    page.get_by_role("button", name="Sample a token").click()  # the attention moves on with the text
    expected.seed, expected.step = 12, -1
    expected.sample(1)
    (word, weight), *_ = expected.looks_at()
    page.locator(".told p", has_text="When the next token is chosen").wait_for()
    page.locator(".told p", has_text=f"looks most at “{word.strip()}” (weight {weight:.3f})").wait_for()
    page.get_by_role("radio", name="Surprise").click()
    page.locator(".tree").wait_for()

    page.get_by_label("Prompt").fill("")
    page.get_by_role("button", name="Begin with this prompt").press("Enter")
    page.get_by_text("Nothing yet: the model has read only the end-of-text token").wait_for()
    page.get_by_label("Prompt").fill("word " * 300)
    page.get_by_role("button", name="Begin with this prompt").click()
    page.get_by_text("The model reads at most 256 tokens").wait_for()
    assert page.get_by_label("Prompt").input_value() == "word " * 300  # to be mended
    page.get_by_role("button", name="Sample a token").click()
    page.wait_for_function("document.querySelectorAll('.read button').length === 1")
    assert page.locator(".generation .problem").is_hidden()


def dice_token(explorer: GenerationExplorer) -> int:
    """The likeliest token, which has the first bar."""
    return explorer.answer["nodes"][",".join(map(str, explorer.path))]["tokens"][0]
