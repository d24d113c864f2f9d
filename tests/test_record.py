"""The record's clock and judge, and what docs/record.md says of it."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from gptlib import GPT, Storyworld, TrainConfig, load
from gptlib.cli.train import RATES, Training
from gptlib.model.presets import PRESETS

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted(path.stem for path in (ROOT / "benchmarks" / "recipes").glob("*.py"))


@pytest.fixture(scope="module")
def record(benchmark):
    return benchmark("record")


def test_the_table_in_the_docs_is_what_the_runs_give(record):
    assert record.table() in (ROOT / "docs" / "record.md").read_text(encoding="utf-8")
    for found in record.recorded():
        assert found["arrived"] == (found["validation"][0] <= record.MARK)
        assert [point["tokens"] for point in found["curve"]] == sorted(
            point["tokens"] for point in found["curve"]
        )


def test_the_judge_knows_storyteller(record):
    found = record.judged(*load("storyteller"), "test", 60)
    share, error = found["above"]
    assert found["names"][0] > 0.95
    assert share - 2 * error > 0 and share + 2 * error < 0.05


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_runs_and_says_what_it_took(record, recipe, monkeypatch):
    monkeypatch.setattr(record, "JUDGED", {"validation": (9000, 2), "test": (2026, 2)})
    monkeypatch.setattr(record, "ON_THE_WAY", 2)
    monkeypatch.setattr(record.module_of("superwords"), "LEARNED_FROM", 800)  # 4,000 take longer
    config = record.changed(record.module_of(recipe).TRAINING, 3, 1.0)
    found = record.run(recipe, dataclasses.replace(config, batch_size=2))
    assert found["steps"] == 3 and not found["arrived"] and 5 < found["validation"][0] < 30
    assert found["processor_seconds"] > 0 and found["tokens"] > 0
    assert json.loads(json.dumps(found)) == found


def test_a_longer_run_at_another_rate_changes_nothing_else(record):
    config = TrainConfig(10, learning_rate=0.1, embedding_learning_rate=0.2, min_learning_rate=0.01)
    changed = record.changed(config, 20, 0.5)
    kept = {"steps": 10, "learning_rate": 0.1, "embedding_learning_rate": 0.2, "min_learning_rate": 0.01}
    assert (changed.steps, changed.learning_rate, changed.embedding_learning_rate) == (20, 0.05, 0.1)
    assert dataclasses.replace(changed, **kept) == config
    assert record.changed(config, None, 1.0) == config


def test_the_shell_trains_as_the_recipe_repeats_first(record):
    best, shell = record.module_of("repeats_first").TRAINING, Training(folder=Path("nowhere"))
    chosen = (
        "batch_size",
        "optimizer",
        "learning_rate",
        "schedule",
        "cooldown",
        "weight_decay",
        "repeats_first",
    )
    for name in chosen:
        assert getattr(best, name) == getattr(shell, name), name
    assert record.module_of("adamw").TRAINING.learning_rate == RATES["adamw"]


def test_the_control_leaves_out_as_many_targets_at_random(record):
    control = record.module_of("random_first")
    tokens = torch.randint(50, (4, 33), generator=torch.Generator().manual_seed(0))
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    mine, theirs = (
        keep(inputs, targets, torch.Generator().manual_seed(1))
        for keep in (control.as_many_at_random, control.mostly_repeats)
    )
    assert (mine != control.IGNORED).sum() == (theirs != control.IGNORED).sum()
    assert ((mine == targets) | (mine == control.IGNORED)).all()
    again = control.mostly_repeats(inputs, targets, torch.Generator().manual_seed(1)) != control.IGNORED
    assert not torch.equal(mine != control.IGNORED, again)


def test_copy_heads_and_the_same_without_differ_in_nothing_else(record):
    model = record.module_of("copy_heads").MODEL
    plain = GPT(dataclasses.replace(model, copy_heads=None)).n_parameters
    assert GPT(model).n_parameters - plain == 2 * 128 * 128 + 4 * 128 + 2 * 32
    assert record.module_of("todays_parts").TRAINING == record.module_of("copy_heads").TRAINING
    assert record.module_of("muon").TRAINING.repeats_first == 0
    assert PRESETS["storyteller"].copy_heads is None


def test_superwords_give_the_text_back_and_leave_names_alone(record):
    recipe = record.module_of("superwords")
    _, words = load("storyteller")
    texts = [story.text for story in Storyworld(0, "train").stories(200)]
    tokenizer = recipe.Superwords(words, [words.encode(text) for text in texts], 1500)
    for text in texts[:20]:
        tokens = tokenizer.encode(text)
        assert tokenizer.decode(tokens) == text and len(tokens) < 0.9 * len(words.encode(text))
    for name in recipe.NAMES:
        assert not any(name.encode() in tokenizer.token_bytes(new) for new in tokenizer.merges.values())
