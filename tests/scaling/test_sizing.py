"""What each card holds: equal to what the costs say where both count, and to what torch keeps in 16 bits."""

import pytest
import torch
import torch.nn.functional as F

import gptlib.model.fast_attention
from gptlib import GPT, GPTConfig
from gptlib.model.presets import PRESETS
from gptlib.scaling.cards import CARDS
from gptlib.scaling.costs import HARDWARE, cache_memory, generation_memory, sharded_memory, training_memory
from gptlib.scaling.counting import count_parameters
from gptlib.scaling.meters import kept_for_backward
from gptlib.scaling.sizing import memory_each

GPT2 = PRESETS["gpt2"]
SHAPES = [GPT2, PRESETS["storyteller"], GPTConfig(300, 64, 3, 4, 64, tie_embeddings=False, position="rotary")]


@pytest.mark.parametrize("config", SHAPES)
def test_on_one_card_in_float32_it_is_what_the_costs_say(config):
    assert memory_each(config, 3, "float32") == training_memory(config, 3)
    writing = generation_memory(config, 3)
    assert memory_each(config, 3, "float32", training=False) == writing | {"peak": sum(writing.values())}


def test_in_16_bits_a_parameter_takes_16_bytes_too_and_activations_half(monkeypatch):
    # On a processor gptlib keeps attention's weights in bfloat16; on a card, which is meant here, it doesn't.
    monkeypatch.setattr(gptlib.model.fast_attention, "_kernel_is_slow", lambda queries, n_keys: False)
    config = GPTConfig(512, 128, 3, 4, 256)
    model, tokens = GPT(config).to(torch.bfloat16), torch.randint(512, (2, 128))
    kept = kept_for_backward(
        lambda: F.cross_entropy(model(tokens).float().flatten(0, 1), tokens.flatten()), model
    )
    held = memory_each(config, 2)
    assert held["activations"] == pytest.approx(kept, rel=0.005)
    per_parameter = sum(held[name] for name in ("weights", "gradients", "optimizer")) / model.n_parameters
    assert per_parameter == 16


@pytest.mark.parametrize("stage", range(4))
def test_what_is_cut_up(stage):
    whole, each = memory_each(GPT2, 2), memory_each(GPT2, 2, n_cards=4, stage=stage)
    peak = each.pop("peak")
    del whole["peak"]
    assert each == sharded_memory(whole, 4, stage)
    assert each["weights"] + each["optimizer"] < peak < sum(each.values()) + 8 * 2 * 1024 * 50257
    writing = memory_each(GPT2, 2, training=False, n_cards=4, stage=stage)
    assert writing["weights"] == 2 * count_parameters(GPT2)["total"] / (4 if stage == 3 else 1)
    assert writing["cache"] == cache_memory(GPT2, 2, bytes_per_number=2)


def test_fewer_bits_for_the_matrices_alone():
    counts = count_parameters(GPT2)
    matrices = 12 * 12 * 768**2
    others = 2 * (counts["total"] - matrices)
    for name, n_bytes in (("8-bit", 1), ("4-bit", 0.5625)):
        held = memory_each(GPT2, 1, name, training=False)
        assert held["weights"] == n_bytes * matrices + others
        assert held["cache"] == cache_memory(GPT2, 1, bytes_per_number=2)
    # 7 billion in 4 bits are about 4 GB, as everyone says.
    seven = memory_each(GPTConfig(32000, 2048, 32, 32, 4096), 1, "4-bit", training=False)
    assert 3.5e9 < seven["weights"] < 4.5e9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"number_format": "4-bit"}, "number_format is '4-bit'; training needs 'float32' or '16-bit'"),
        ({"number_format": "int3"}, "number_format"),
        ({"stage": 4}, "stage is 4"),
        ({"n_cards": 0}, "n_cards is 0"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        memory_each(GPT2, 1, **options)


def test_cards():
    assert [card.memory for card in CARDS.values()] == sorted(card.memory for card in CARDS.values())
    for name, hardware in HARDWARE.items():
        assert (CARDS[name].memory, CARDS[name].peak) == (hardware.memory, hardware.peak)
    for card in CARDS.values():
        assert 12e9 <= card.memory < 200e9 and 1e11 < card.bandwidth < 1e13 and len(card.source) > 20
        assert card.peak is None or 20 < card.peak / card.bandwidth < 500
