"""BudgetExplorer: its numbers are those of gptlib.scaling.costs, and what cannot be is refused."""

import json

import pytest
from traitlets import TraitError

from gptlib.model.presets import PRESETS
from gptlib.scaling.costs import HARDWARE, cache_memory, training_flops, training_memory
from gptlib.scaling.counting import count_parameters
from gptlib.viz import BudgetExplorer


def test_counts_what_the_library_counts():
    explorer, gpt2 = BudgetExplorer(batch_size=4), PRESETS["gpt2"]
    answer = explorer.answer
    assert answer["parameters"] == count_parameters(gpt2)["total"]
    expected = training_memory(gpt2, 4)
    assert answer["parts"] == {name: expected[name] for name in expected if name != "peak"}
    assert answer["cache"] == cache_memory(gpt2, 4)
    assert answer["flops"] == training_flops(gpt2, 10**10)
    a_second = 8 * 0.4 * HARDWARE["A100"].peak
    assert answer["days"] * 86_400 == pytest.approx(answer["flops"] / a_second)
    json.dumps(explorer.page_state(), allow_nan=False)


def test_follows_what_the_page_changes():
    explorer = BudgetExplorer()
    before = explorer.answer
    explorer.set_state({"n_cards": 16, "asked": 1})
    assert explorer.answer["days"] == pytest.approx(before["days"] / 2)
    explorer.set_state({"d_model": 100, "asked": 2})
    assert explorer.problem == "D_model is 100; it needs to be a multiple of 64"
    assert explorer.answered == 2 and explorer.answer["parameters"] == before["parameters"]


@pytest.mark.parametrize(
    ("numbers", "error", "message"),
    [
        ({"n_layers": 0}, ValueError, "n_layers is 0; it needs to be from 1 to 128"),
        ({"n_cards": 10**6}, ValueError, "n_cards is 1000000"),
        ({"tokens": 0.0}, ValueError, "tokens is 0"),
        ({"card": "abacus"}, TraitError, "abacus"),
    ],
)
def test_what_cannot_be_is_refused(numbers, error, message):
    with pytest.raises(error, match=message):
        BudgetExplorer(**numbers)


def test_picture_and_repr():
    explorer = BudgetExplorer(n_layers=96, d_model=12288, card="H100")
    assert explorer.figure().arrays["values"].shape == (4,)
    assert explorer.figure().arrays["one H100"] == 80
    assert repr(explorer).startswith("BudgetExplorer(n_layers=96, d_model=12288, context_length=1024")
