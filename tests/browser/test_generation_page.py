"""The generation explorer in a browser: its dice against gptlib's, as a file, and in JupyterLab."""

import base64

import numpy as np
import pytest
import torch
from driver import browser_page

from gptlib import load
from gptlib.generation.sampling import next_token_distribution
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.text.characters import CharacterTokenizer
from gptlib.viz.drawing import readable
from gptlib.viz.explorers.explorer import page_code
from gptlib.viz.explorers.generation import GenerationExplorer

PROMPT = "Once upon a time there was a shy girl named Mia."
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
    return [
        (bar.locator(".token").inner_text(), float(bar.get_attribute("title").split(" ")[0])) for bar in bars
    ]


def dice_of(explorer: GenerationExplorer) -> list[tuple[str, float]]:
    node = explorer.answer["nodes"][",".join(map(str, explorer.path))]
    falling = torch.from_numpy(np.frombuffer(node["logits"], dtype="<f4").copy())
    p = next_token_distribution(falling, explorer._sampling()).tolist()
    pieces = zip(node["pieces"][:12], p, strict=False)
    return [(piece, pytest.approx(one, abs=2e-6)) for piece, one in pieces]


def text_of(page) -> str:
    return "".join(page.locator(".read button").all_text_contents())


def test_the_pages_dice_are_gptlibs(chromium, walked):
    generator = torch.Generator().manual_seed(0)
    real = walked._logits([*walked._start, *walked.path])
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
        expected = next_token_distribution(
            logits[at], temperature=temperature, top_k=top_k, top_p=top_p
        )[orders[at]]
        found = torch.frombuffer(bytearray(base64.b64decode(given)), dtype=torch.float32)
        assert torch.equal(found > 0, expected > 0), (at, temperature, top_k, top_p)
        assert torch.allclose(found, expected, atol=3e-6)


def test_a_file_keeps_the_tree_and_its_dice(show, walked):
    page, story = show(walked), walked.path
    assert text_of(page) == walked.text.replace("\n", "↵")
    assert shown_dice(page) == dice_of(walked)

    walked.temperature, walked.top_k, walked.top_p = 1.5, 8, 0.85
    page.get_by_label("temperature").fill("1.5")
    page.get_by_label("top-k").fill("3")  # the slider goes by powers of two
    page.get_by_label("top-p").fill("0.85")
    assert shown_dice(page) == dice_of(walked)
    assert " of 2,048 tokens" in page.locator(".next h2").inner_text()
    assert all(page.evaluate(MOVES))
    page.get_by_label("temperature").fill("1.5")

    page.locator(".read button").nth(-2).click()  # a step back
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
    assert "to take a new one needs a kernel" in page.locator(".note").inner_text()
    assert text_of(page) == walked.prompt + walked.tokenizer.decode(left)
    for name in ("Sample a token", "Sample a sentence", "Start here"):
        assert page.get_by_role("button", name=name).is_disabled()


def test_a_file_by_keyboard(show, walked):
    page, surprise = show(walked), walked.answer["prompt"][-1]["nats"]
    read = page.locator(".read button")
    read.last.focus()
    page.keyboard.press("Home")
    for _ in range(len(walked.answer["prompt"]) - 1):
        page.keyboard.press("ArrowRight")
    assert f"{surprise:.3f} nats" in page.locator(".read + p").inner_text()
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
    assert "among 1 of 2,048 tokens" in page.locator(".next h2").inner_text()
    assert page.locator("button.bar.out").count() == 11


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
    read = page.locator(".read button")
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

    page.get_by_label("Prompt").fill("")
    page.get_by_role("button", name="Start here").press("Enter")
    page.get_by_text("Nothing yet: the model has read only the end-of-text token").wait_for()
    page.get_by_label("Prompt").fill("word " * 300)
    page.get_by_role("button", name="Start here").click()
    page.get_by_text("The model reads at most 256 tokens").wait_for()
    assert page.get_by_label("Prompt").input_value() == "word " * 300  # to be mended
    page.get_by_role("button", name="Sample a token").click()
    page.wait_for_function("document.querySelectorAll('.read button').length === 1")
    assert page.locator(".generation .problem").is_hidden()


def dice_token(explorer: GenerationExplorer) -> int:
    """The likeliest token, which has the first bar."""
    return explorer.answer["nodes"][",".join(map(str, explorer.path))]["tokens"][0]
