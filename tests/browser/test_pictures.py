"""A picture of each explorer, for the README: with GPTLIB_PICTURES=docs/explorers they are kept there."""

import os
from pathlib import Path

import pytest
from driver import browser_page

from gptlib import Storyworld, load
from gptlib.shipped import load_snapshots, training_log
from gptlib.text.storyworld import entropy_floor
from gptlib.viz import (
    AttentionExplorer,
    AttentionSteps,
    BPEExplorer,
    BudgetExplorer,
    GenerationExplorer,
    PatchingExplorer,
    PositionExplorer,
    TrainingDashboard,
)
from gptlib.viz.gpt_page import write_page

PAIR = (
    "Jack dreamed of hedgehogs and lived on plums. On Friday night",
    "Noah dreamed of hedgehogs and lived on plums. On Friday night",
)
TEXT = "Nora was a cheerful girl. Nora took a red kite and met Leo at the harbor. The kite was caught, and"
NAMED = "Nora was a cheerful girl. On a windy day,"


def attention(model, tokenizer):
    other = NAMED.replace("Nora", "Mia")
    explorer = AttentionExplorer(model, tokenizer, NAMED, text_b=other, layer=3, head=1)
    explorer.changes = [{"do": "zero", "layer": 3, "head": 0}]
    return explorer


def steps(model, tokenizer):
    return AttentionSteps.from_model(model, tokenizer, "Nora took a red kite", layer=0, head=0)


def generation(model, tokenizer):
    explorer = GenerationExplorer(model, tokenizer, TEXT, temperature=0.8)
    explorer.sample(6)
    return explorer


def training(model, tokenizer):
    story = Storyworld(seed=3, split="validation").story().text
    text = tokenizer.decode(tokenizer.encode(story)[:40])
    log = training_log("storyteller")
    floor = entropy_floor(300, seed=5, tokenizer=tokenizer).nats_per_token
    snapshots = load_snapshots("storyteller")
    return TrainingDashboard.from_snapshots(snapshots, tokenizer, text, log=log, floor=floor)


EXPLORERS = {
    "attention": attention,
    "steps": steps,
    "position": lambda model, tokenizer: PositionExplorer(kind="rotary"),
    "generation": generation,
    "training": training,
    "patching": lambda model, tokenizer: PatchingExplorer(model, tokenizer, *PAIR),
    "budget": lambda model, tokenizer: BudgetExplorer(),
    "bpe": lambda model, tokenizer: BPEExplorer(tokenizer, "the kite, the kitten and the kitchen 🪁"),
}


@pytest.fixture(scope="module")
def storyteller():
    return load("storyteller")


@pytest.mark.parametrize("name", EXPLORERS)
def test_picture(show, storyteller, tmp_path, name):
    folder = Path(os.environ.get("GPTLIB_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page = show(EXPLORERS[name](*storyteller))
    page.set_viewport_size({"width": 1100, "height": 800})
    page.wait_for_timeout(300)  # transitions end
    page.screenshot(path=folder / f"{name}.png", full_page=True)
    assert (folder / f"{name}.png").stat().st_size > 20_000


def test_picture_of_the_site(chromium, site, tmp_path):
    folder = Path(os.environ.get("GPTLIB_PICTURES", tmp_path / "explorers")).parent
    with browser_page(chromium, 1180, 860) as (page, beyond):
        page.goto((site / "index.html").as_uri())
        page.get_by_text("The model is awake").wait_for(timeout=60_000)
        page.locator("#gpt").evaluate("one => scrollTo(0, one.offsetTop - 70)")
        page.wait_for_timeout(1500)  # dots are on their way
        page.screenshot(path=folder / "site.png")
        assert beyond == []


def test_picture_of_the_gpt_page(chromium, storyteller, tmp_path):
    """The site's first page shows it until its model is awake."""
    folder = Path(os.environ.get("GPTLIB_PICTURES", tmp_path))
    write_page(*storyteller, tmp_path / "page.html")
    with browser_page(chromium, 1188, 800) as (page, _):
        page.goto((tmp_path / "page.html").as_uri())
        page.locator(".gpt-page .flow svg").wait_for()
        page.locator(".gpt-page:not(.fresh)").wait_for()  # ribbons are still again
        top, flow = (page.locator(f".gpt-page {part}").bounding_box() for part in (".writing", ".flow"))
        height = flow["y"] + flow["height"] - top["y"]
        page.screenshot(path=folder / "gpt_page.png", clip={**top, "height": height})
    assert (folder / "gpt_page.png").stat().st_size > 20_000
