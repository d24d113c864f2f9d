"""Models that explorers share, and models that are moved, converted or changed while they are shown."""

import copy
import threading
import time

import pytest
import torch
from test_attention_explorer import Letters, hugging_face, sharper
from test_dashboard import LONG, TOKENIZER, dashboard_of, wait_until

from gptlib import GPT, GPTConfig
from gptlib.viz.explorers.attention import AttentionExplorer
from gptlib.viz.explorers.dashboard import TrainingDashboard
from gptlib.viz.explorers.generation import GenerationExplorer
from gptlib.viz.explorers.steps import AttentionSteps

META = "is on the device 'meta', where it has shapes and no numbers"


def model_of(n_layers=2):
    torch.manual_seed(0)
    return sharper(GPT(GPTConfig(TOKENIZER.vocab_size, 24, n_layers, n_heads=2, d_model=16)))


def attention(model):
    return AttentionExplorer(model, TOKENIZER, "Mia ran", text_b="Ben ran")


def generation(model):
    return GenerationExplorer(model, TOKENIZER, "Mia ran")


def transformers(model):
    return AttentionExplorer(hugging_face("gpt2"), Letters(), "Mia ran")


LIVE = {"attention": attention, "generation": generation, "transformers": transformers}


def ask(explorer, **changes):
    """What the page does with another text, or with these changes."""
    name = "prompt" if isinstance(explorer, GenerationExplorer) else "text"
    explorer.set_state({**(changes or {name: getattr(explorer, name) + "."}), "asked": explorer.asked + 1})
    return explorer.problem


def logits(explorer):
    return explorer._latest if isinstance(explorer, GenerationExplorer) else explorer.logits[-1]


# ----------------------------------------------------------------------------------------- one at a time


def test_an_explorer_does_not_see_what_another_does_to_their_model():
    model = model_of()
    one, other = attention(model), attention(model)
    whole = other.logits
    read, inside = one._adapter.read, threading.Event()

    def look(x):
        inside.set()
        time.sleep(0.2)

    # Slow where a head is removed, by hooks on the model of both.
    slow = {"blocks.0.residual_pre": look}
    one._adapter.read = lambda tokens, edits, source: read(tokens, {**edits, **slow} if edits else edits)
    page = threading.Thread(
        target=ask, args=[one], kwargs={"changes": [{"do": "zero", "layer": 0, "head": 0}]}
    )
    page.start()
    assert inside.wait(timeout=60)
    other.refresh()
    AttentionSteps.from_model(model, TOKENIZER, "Mia", 1, 0)
    page.join()
    assert torch.equal(other.logits, whole) and not torch.equal(one.logits, whole)


# ------------------------------------------------------------------------------------- moved and converted


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", LIVE)
def test_another_precision_is_read_at_the_next_question(name, dtype):
    explorer = LIVE[name](model_of())
    before, first = copy.deepcopy(explorer.model.state_dict()), logits(explorer)
    explorer.model.to(dtype)
    assert ask(explorer) == ""
    explorer.model.float().load_state_dict(before)
    converted = logits(explorer)
    explorer.refresh()
    assert logits(explorer).dtype == converted.dtype == torch.float32
    tolerance = 1e-4 if dtype == torch.float64 else 0.3
    torch.testing.assert_close(converted, logits(explorer), atol=tolerance, rtol=tolerance)
    assert not torch.equal(converted, logits(explorer)) and not torch.equal(first, logits(explorer))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_what_is_read_once_takes_any_precision(dtype):
    exact, model = AttentionSteps.from_model(model_of(), TOKENIZER, "Mia", 1, 0), model_of().to(dtype)
    steps = AttentionSteps.from_model(model, TOKENIZER, "Mia", 1, 0)
    torch.testing.assert_close(steps.weights, exact.weights, atol=0.05, rtol=0.05)
    assert TrainingDashboard.from_snapshots([(0, model)], TOKENIZER, "Mia").answer["steps"] == [0]


@pytest.mark.parametrize("name", LIVE)
def test_a_model_on_meta_is_told_of_and_the_last_picture_stays(name):
    explorer = LIVE[name](model_of())
    model, saved, answer = explorer.model, copy.deepcopy(explorer.model.state_dict()), explorer.answer
    places = []
    inputs = model.get_input_embeddings() if name == "transformers" else model.token_embedding
    model.to("meta")
    with inputs.register_forward_pre_hook(lambda module, given: places.append(given[0].device.type)):
        assert META in ask(explorer)
        with pytest.raises(ValueError, match=META):
            explorer.refresh()
        if name == "generation":
            assert META in ask(explorer, wanted=1)
    assert set(places) == {"meta"}  # what the model reads is put where the model is by then
    assert explorer.answer == answer and explorer.answered == explorer.asked and explorer.to_png()
    model.to_empty(device="cpu")
    model.load_state_dict(saved)
    assert ask(explorer) == "" and explorer.answer != answer
    found = logits(explorer)
    explorer.refresh()
    assert torch.equal(found, logits(explorer)) and torch.isfinite(found).all()


def test_what_is_read_once_refuses_meta():
    model = model_of().to("meta")
    with pytest.raises(ValueError, match=META):
        AttentionSteps.from_model(model, TOKENIZER, "Mia", 1, 0)
    with pytest.raises(ValueError, match=META):
        TrainingDashboard.from_snapshots([(0, model)], TOKENIZER, "Mia")


def test_training_does_not_go_on_with_a_model_that_was_converted():
    dashboard = dashboard_of(LONG)
    dashboard.start()
    wait_until(lambda: dashboard.step > 0)
    dashboard.pause()
    step, answer = dashboard.step, dashboard.answer
    dashboard.model.double()
    told = "model's parameters are not those in training, which were torch.float32 on cpu"
    with pytest.raises(RuntimeError, match=told):
        dashboard.start()
    assert told[1:] in ask(dashboard, command="start")
    assert dashboard.state == dashboard.details["state"] == "paused" and dashboard.answer == answer
    dashboard.model.float()
    assert ask(dashboard, command="start") == ""
    assert dashboard.details["state"] == "running"  # told in the same message
    wait_until(lambda: dashboard.step > step)
    dashboard.pause()
    saved = copy.deepcopy(dashboard.model.state_dict())
    dashboard.model.to("meta").to_empty(device="cpu")
    dashboard.model.load_state_dict(saved)
    with pytest.raises(RuntimeError, match="they were moved, converted or replaced"):  # none would be trained
        dashboard.start()
    dashboard.stop()
    assert dashboard.state == "stopped"


# ------------------------------------------------------------------------------------------ otherwise changed


def test_a_model_that_lost_a_layer_is_told_of():
    explorer = attention(model_of(3))
    answer, blocks = explorer.answer, explorer.model.blocks
    explorer.model.blocks = blocks[:2]
    assert ask(explorer).startswith("Model has 2 layers of 2 heads now, and had 3 of 2 when this was made")
    assert explorer.answer == answer
    explorer.model.blocks = blocks
    assert ask(explorer) == ""
