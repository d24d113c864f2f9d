"""BudgetExplorer: its numbers are those of gptlib.scaling, and what cannot be is refused."""

import json

import pytest
from traitlets import TraitError

from gptlib.model.presets import PRESETS
from gptlib.scaling.cards import CARDS
from gptlib.scaling.costs import cache_memory, training_flops, training_memory
from gptlib.scaling.counting import count_flops, count_parameters
from gptlib.scaling.sizing import memory_each
from gptlib.viz import BudgetExplorer


def test_counts_what_the_library_counts():
    explorer, gpt2 = BudgetExplorer(batch_size=4, number_format="float32"), PRESETS["gpt2"]
    answer = explorer.answer
    assert answer["parameters"] == count_parameters(gpt2)["total"]
    assert answer["parts"] | {"peak": answer["peak"]} == training_memory(gpt2, 4)
    assert answer["flops"] == training_flops(gpt2, 10**10)
    a_second = 8 * 0.4 * CARDS["A100"].peak
    assert answer["days"] * 86_400 == pytest.approx(answer["flops"] / a_second) and answer["pace"] is None
    json.dumps(explorer.page_state(), allow_nan=False)


def test_in_writing_there_is_a_cache_and_a_pace():
    gpt2 = PRESETS["gpt2"]
    explorer = BudgetExplorer(training=False, number_format="4-bit", batch_size=2, card="RTX 3060", n_cards=1)
    held = memory_each(gpt2, 2, "4-bit", training=False)
    assert explorer.answer["parts"] == {name: held[name] for name in ("weights", "cache")}
    assert explorer.answer["parts"]["cache"] == cache_memory(gpt2, 2, bytes_per_number=2)
    assert explorer.answer["days"] is None
    assert explorer.answer["pace"] == pytest.approx(360e9 / held["peak"])  # it waits for memory
    explorer.batch_size = 4096
    explorer.context_length = 64
    small = explorer.config
    assert explorer.answer["pace"] == pytest.approx(25.5e12 / (4096 * count_flops(small, 64)))  # it computes
    explorer.card = "MacBook M4"  # whose maker states no peak
    assert explorer.answer["pace"] == pytest.approx(120e9 / explorer.answer["peak"])
    explorer.set_state({"training": True, "number_format": "float32", "asked": 1})
    assert explorer.problem == "" and explorer.answer["days"] is None


def test_follows_what_the_page_changes():
    explorer = BudgetExplorer()
    before = explorer.answer
    explorer.set_state({"n_cards": 16, "stage": 1, "asked": 1})
    assert explorer.answer["days"] == pytest.approx(before["days"] / 2)
    assert explorer.answer["parts"]["optimizer"] == before["parts"]["optimizer"] / 16
    explorer.set_state({"d_model": 100, "asked": 2})
    assert explorer.problem == "D_model is 100; it needs to be a multiple of 64"
    assert explorer.answered == 2 and explorer.answer["parameters"] == before["parameters"]


@pytest.mark.parametrize(
    ("numbers", "error", "message"),
    [
        ({"n_layers": 0}, ValueError, "n_layers is 0; it needs to be from 1 to 128"),
        ({"n_cards": 10**6}, ValueError, "n_cards is 1000000"),
        ({"tokens": 0.0}, ValueError, "tokens is 0"),
        ({"number_format": "4-bit"}, ValueError, "training needs 'float32' or '16-bit'"),
        ({"stage": 4}, ValueError, "stage is 4"),
        ({"card": "abacus"}, TraitError, "abacus"),
    ],
)
def test_what_cannot_be_is_refused(numbers, error, message):
    with pytest.raises(error, match=message):
        BudgetExplorer(**numbers)


def test_picture_and_repr():
    explorer = BudgetExplorer(n_layers=96, d_model=12288, card="H100")
    drawn = explorer.figure()
    assert drawn.arrays["values"].shape == (5,) and drawn.arrays["one H100"] == 80
    assert drawn.arrays["values"][-1] == explorer.answer["peak"] / 1e9
    assert repr(explorer).startswith("BudgetExplorer(n_layers=96, d_model=12288, context_length=1024")
    assert eval(repr(explorer)).answer == explorer.answer
