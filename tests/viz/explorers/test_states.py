"""Each explorer's state, taken up by another of its kind: all that was chosen and typed is there again."""

from itertools import islice

import pytest

from gptlib import load
from gptlib.shipped import load_snapshots
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

PAIR = "Jack lived on plums. On Friday", "Noah lived on plums. On Friday"
# How each is made, and what is done to it.
EXPLORERS = {
    "attention": (
        lambda *given: AttentionExplorer(*given, "Nora was a girl."),
        {
            "text": "Mia took a kite. Mia",
            "text_b": "Leo took a kite. Leo",
            "view": "difference",
            "changes": [{"do": "scale", "layer": 3, "head": 0, "by": 0.5}],
            "layer": 3,
            "head": 1,
            "query": 2,
        },
    ),
    "steps": (
        lambda *given: AttentionSteps.from_model(*given, "Nora took a red kite", layer=0, head=0),
        {"query": 3, "d_k": 2, "scale": False, "temperature": 0.5},
    ),
    "position": (
        lambda *_: PositionExplorer(),
        {"kind": "rotary", "d_model": 8, "length": 32, "base": 100.0, "m": 3, "n": 31},
    ),
    "generation": (
        lambda *given: GenerationExplorer(*given, "Nora took"),
        {"prompt": "Mia took", "path": [5, 6], "temperature": 0.5, "top_k": 8, "top_p": 0.9, "seed": 3},
    ),
    "training": (
        lambda model, tokenizer: TrainingDashboard.from_snapshots(
            islice(load_snapshots("storyteller"), 3), tokenizer, "Nora took a kite"
        ),
        {"at": 1, "layer": 3, "head": 1, "query": 2},
    ),
    "patching": (
        lambda *given: PatchingExplorer(*given, *PAIR),
        {"clean": PAIR[1], "corrupted": PAIR[0], "part": "attention.heads"},
    ),
    "budget": (
        lambda *_: BudgetExplorer(),
        {"n_layers": 32, "d_model": 4096, "batch_size": 1, "tokens": 2e12, "card": "H100", "n_cards": 64},
    ),
    "bpe": (lambda _, tokenizer: BPEExplorer(tokenizer), {"text": "the kite and the kitten", "step": 3}),
}
WRONG = [None, -7, 10**12, "ab" * 20_000, [[10**9]], {"a": 1}]


@pytest.fixture(scope="module")
def storyteller():
    return load("storyteller")


@pytest.mark.parametrize("name", EXPLORERS)
def test_there_and_back(storyteller, name):
    make, changes = EXPLORERS[name]
    explorer, again = make(*storyteller), make(*storyteller)
    explorer.take_up({"explorer": explorer.title, "state": changes})
    state = explorer.to_state()
    assert {trait: state["state"][trait] for trait in changes} == changes
    again.take_up(state)
    assert again.to_state() == state
    assert (again.answer, again.details) == (explorer.answer, explorer.details)


@pytest.mark.parametrize("name", EXPLORERS)
def test_what_does_not_fit_changes_nothing(storyteller, name):
    explorer = EXPLORERS[name][0](*storyteller)
    state = explorer.to_state()
    before = state, explorer.answer, explorer.details
    for trait in state["state"]:
        for value in WRONG:
            try:
                explorer.take_up({**state, "state": {**state["state"], trait: value}})
            except Exception as error:
                assert not isinstance(error, AttributeError | KeyError | AssertionError), (trait, value)
            else:  # what is allowed there, such as no limit at all
                explorer.take_up(state)
            assert (explorer.to_state(), explorer.answer, explorer.details) == before, (trait, value)
