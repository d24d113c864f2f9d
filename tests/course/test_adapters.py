"""The adapters in data/ do what the recorded table says."""

import pytest

from gptlib import load
from gptlib.course.studies.applications import (
    APPLICATIONS,
    adapter_path,
    load_application,
    measure,
    recorded_results,
    results_table,
)
from gptlib.training.conversations import grow
from gptlib.training.finetuning import fingerprint, load_adapter
from gptlib.training.lora import lora_layers

RECORDED = {(result.application, result.metric): result for result in recorded_results()}


def test_the_table_has_every_metric_of_every_application():
    assert list(RECORDED) == [(name, metric) for name in APPLICATIONS for metric in APPLICATIONS[name].scores]
    assert len(results_table(recorded_results()).split("\n")) == len(RECORDED) + 1


@pytest.mark.parametrize(
    "result", RECORDED.values(), ids=lambda result: f"{result.application}-{result.metric}"
)
def test_each_is_above_its_baseline_and_above_the_model_before(result):
    margin, error = result.margin
    assert result.n >= 100 and margin > 3 * error > 0
    assert result.after[0] > result.before[0] and result.loss_after < result.loss_before


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_adapter_is_of_storyteller_and_of_its_application(name):
    base, tokenizer = load("storyteller")
    _, _, about = load_adapter(adapter_path(name), base, tokenizer)
    assert about["application"] == name
    model, grown = load_application(name)
    assert lora_layers(model) and grown.vocab_size == model.config.vocab_size
    assert adapter_path(name).stat().st_size < 1_500_000


@pytest.mark.parametrize("name", ["sentiment", "questions", "table"])
def test_the_table_is_true(name):
    base, tokenizer = load("storyteller")
    model, grown = load_application(name)
    before = grow(base, tokenizer, grown)
    assert fingerprint(base) == fingerprint(load("storyteller")[0])
    (result,) = measure(name, before, model, grown, n=25, n_training=200, seed=1)
    recorded = RECORDED[name, result.metric]
    error = (result.after[1] ** 2 + recorded.after[1] ** 2) ** 0.5
    assert abs(result.after[0] - recorded.after[0]) < 4 * max(error, 0.02)
    assert result.loss_after < result.loss_before / 5
