"""The training dashboard: the run is that of `train`, the page hears of it, and nothing is ever lost."""

import copy
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from traitlets import TraitError

from gptlib import GPT, GPTConfig, TrainConfig, load, trace, train
from gptlib.shipped import load_snapshots, training_log
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.corpora import TokenFile
from gptlib.training.loop import LossNotFinite, Step
from gptlib.viz.explorers.curves import BINS, Course
from gptlib.viz.explorers.dashboard import REDRAW_EVERY, TrainingDashboard

TOKENIZER = CharacterTokenizer.train(["Mia ran home. Ben sat down."])
ROW = [0, *TOKENIZER.encode("Mia ran home. "), 0, *TOKENIZER.encode("Ben sat down. ")]
DATA = TokenFile.from_tokens([*(ROW * 20), 0])
SHORT = TrainConfig(12, batch_size=2, context_length=8, eval_every=4, eval_batches=1, learning_rate=0.01)
LONG = TrainConfig(100_000, batch_size=2, context_length=8, eval_every=None)


@pytest.fixture(autouse=True)
def nothing_left_running():
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == "gptlib training"] == []


def small_gpt(dropout=0.0, n_heads=2):
    torch.manual_seed(0)
    return GPT(GPTConfig(TOKENIZER.vocab_size, 24, n_layers=2, n_heads=n_heads, d_model=16, dropout=dropout))


def dashboard_of(config=SHORT, **options):
    return TrainingDashboard(small_gpt(), DATA, DATA, config, **{"tokenizer": TOKENIZER, **options})


def wait_until(true, seconds=20):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ---------------------------------------------------------------------------------------------------- the run


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_losses_and_weights_are_those_of_train_alone(dropout):
    alone, shown = small_gpt(dropout), small_gpt(dropout)
    steps = list(train(alone, DATA, DATA, SHORT))
    dashboard = TrainingDashboard(shown, DATA, DATA, SHORT, tokenizer=TOKENIZER, text="Mia ran")
    dashboard.start()
    dashboard.pause()
    dashboard.start()
    dashboard.wait()
    assert dashboard.history == steps and dashboard.state == "done" and dashboard.model is shown
    for name, weights in alone.state_dict().items():
        assert torch.equal(weights, shown.state_dict()[name])
    assert shown.training  # as it came


def test_pause_go_on_stop():
    dashboard = dashboard_of(LONG)
    dashboard.model.eval()
    dashboard.pause()
    dashboard.wait()  # before the start there is nothing to do
    assert repr(dashboard) == "TrainingDashboard(step 0 of 100,000, ready)"
    dashboard.start()
    with pytest.raises(RuntimeError, match="training is running already"):
        dashboard.start()
    wait_until(lambda: dashboard.step > 3)
    dashboard.pause()
    step = dashboard.step
    assert dashboard.state == dashboard.details["state"] == "paused" and not dashboard._thread.is_alive()
    assert dashboard.snapshots[-1].step == dashboard.answer["steps"][-1] == step  # the latest is always shown
    dashboard.start()
    wait_until(lambda: dashboard.step > step + 3)
    dashboard.pause()
    before = copy.deepcopy(dashboard.model.state_dict())
    dashboard.stop()
    assert dashboard.state == dashboard.details["state"] == "stopped"
    for name, weights in before.items():
        assert torch.equal(weights, dashboard.model.state_dict()[name])
    with pytest.raises(RuntimeError, match="this run is over"):
        dashboard.start()
    assert [step.step for step in dashboard.history] == list(range(1, dashboard.step + 1))


def test_an_interrupt_pauses():
    dashboard = dashboard_of(LONG)
    dashboard.start()
    main = threading.main_thread().ident
    timer = threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT))
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest-xdist's workers ignore it
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            dashboard.wait()
    finally:
        timer.join()
        signal.signal(signal.SIGINT, heard)
    assert dashboard.state == "paused" and dashboard.step > 0
    dashboard.stop()


def test_one_who_watches_may_pause():
    """What watches a trait is called under the lock that the training needs to come to its end."""
    dashboard = dashboard_of(LONG)
    dashboard.observe(lambda change: dashboard.pause(), ["layer"])
    dashboard.start()
    wait_until(lambda: dashboard.step > 2)
    page = threading.Thread(target=dashboard.set_state, args=[{"layer": 1, "asked": 1}], daemon=True)
    page.start()
    page.join(20)
    assert not page.is_alive() and dashboard.details["state"] == "paused" and dashboard.problem == ""
    dashboard.stop()


def test_close_stops():
    dashboard = dashboard_of(LONG)
    dashboard.start()
    wait_until(lambda: dashboard.step > 2)
    dashboard.close()
    assert dashboard.state == "stopped" and len(dashboard.history) == dashboard.step


def test_what_fails_is_told_and_raised():
    absurd = TrainConfig(50, 2, 8, learning_rate=1e30, warmup_steps=0, eval_every=None)
    dashboard = dashboard_of(absurd)
    dashboard.start()
    with pytest.raises(LossNotFinite, match="at step"):
        dashboard.wait()
    assert dashboard.state == "failed" and "The loss is nan at step" in dashboard.details["failure"]
    assert [snapshot.step for snapshot in dashboard.snapshots] == [0]  # none of what is not finite
    assert all(weights.isfinite().all() for weights in dashboard.model.parameters())
    with pytest.raises(RuntimeError, match="this run is over"):
        dashboard.start()


def test_a_run_whose_last_step_leaves_no_numbers_says_so():
    dashboard = dashboard_of(TrainConfig(1, 2, 8, learning_rate=1e30, warmup_steps=0, eval_every=None))
    dashboard.start()
    with pytest.raises(FloatingPointError, match="what blocks.0.attention_norm gives holds nan"):
        dashboard.wait()
    assert dashboard.state == "failed" and "logits are not numbers" in dashboard.details["failure"]


def test_a_resumed_run_begins_at_its_checkpoint(tmp_path):
    config = TrainConfig(12, 2, 8, eval_every=None, folder=tmp_path, checkpoint_every=5)
    stopped = train(small_gpt(), DATA, None, config)
    losses = [next(stopped).loss for _ in range(5)]
    stopped.close()
    dashboard = TrainingDashboard(small_gpt(), DATA, None, config, resume=tmp_path)
    assert (dashboard.step, dashboard.answer["steps"]) == (5, [5])
    dashboard.start()
    dashboard.wait()
    losses += [step.loss for step in dashboard.history]
    assert losses == [step.loss for step in train(small_gpt(), DATA, None, TrainConfig(12, 2, 8))]


def test_a_script_may_end_in_the_middle_of_training():
    script = f"""
import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_dashboard import LONG, dashboard_of
dashboard = dashboard_of(LONG)
dashboard.start()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


# ---------------------------------------------------------------------------------------------- what is shown


def test_at_most_five_redraws_a_second():
    dashboard = dashboard_of(LONG)
    times = []
    dashboard.observe(lambda change: times.append(time.monotonic()), ["details"])
    dashboard.start()
    wait_until(lambda: len(times) > 6)
    dashboard.pause()
    dashboard.start()
    dashboard.stop()
    gaps = np.diff(times)
    assert dashboard.step > len(times)  # several steps a redraw, if nothing else keeps the machine busy
    assert gaps.min() > REDRAW_EVERY - 0.005


def test_snapshots_hold_the_attention_of_their_step():
    dashboard = dashboard_of(text="Mia sat")
    reference = small_gpt()
    tokens = torch.tensor([[TOKENIZER.end_of_text, *TOKENIZER.encode("Mia sat")]])
    patterns = {}
    for step in itertools.chain([None], train(reference, DATA, None, SHORT)):
        reference.eval()
        with trace(reference) as run, torch.no_grad():
            reference(tokens)
        patterns[step.step if step else 0] = run.attention[:, 0].numpy()
    dashboard.start()
    dashboard.wait()
    answer, size = dashboard.answer, tokens.shape[1]
    assert answer["steps"][0] == 0 and answer["steps"][-1] == 12 and len(answer["tokens"]) == size
    coded = np.frombuffer(answer["attention"], np.uint8).reshape(len(answer["steps"]), 2, 2, -1)
    for at, step in enumerate(answer["steps"]):
        rows, columns = np.tril_indices(size)
        lower = patterns[step][:, :, rows, columns]
        assert np.abs((coded[at] / 255) ** 2 - lower).max() < 0.005
    assert answer["tokens"][:2] == ["<|endoftext|>", "M"] and any(answer["samples"])


def test_the_latest_snapshot_makes_room_and_planned_ones_stay():
    dashboard = dashboard_of(LONG)
    dashboard.start()
    for steps in (10, 20):
        dashboard.start() if dashboard.state == "paused" else None
        wait_until(lambda steps=steps: dashboard.step > steps)
        dashboard.pause()
    kept = [snapshot.step for snapshot in dashboard.snapshots]
    dashboard.stop()
    assert kept == sorted(set(kept)) and kept[-1] == dashboard.step
    assert set(kept[:-1]) <= dashboard._looks.planned and len(dashboard._looks.planned) == 12


def test_details_hold_the_curves():
    dashboard = dashboard_of(floor=0.5)
    dashboard.start()
    dashboard.wait()
    details, history = dashboard.details, dashboard.history
    curves = {name: np.reshape(points, (-1, 2)).T for name, points in details["curves"]["steps"].items()}
    timed = {name: np.reshape(points, (-1, 2)).T for name, points in details["curves"]["seconds"].items()}
    # Two ticks and the floor give the scale of the losses.
    (one, at_one), (two, at_two) = ((float(text), height) for text, height in details["ticks"][:2])
    slope = (at_two - at_one) / (two - one)
    assert np.isclose(details["floor"], at_one + slope * (0.5 - one))
    measured = {"training": history, "validation": [history[i] for i in (3, 7, 11)]}
    for name, steps in measured.items():
        values = [step.loss if name == "training" else step.validation_loss for step in steps]
        places = 100 * np.log1p([step.step for step in steps]) / np.log1p(12)
        assert np.allclose(curves[name][0], places, atol=0.01)
        seconds = 100 * np.array([step.seconds for step in steps]) / history[-1].seconds
        assert np.allclose(timed[name][0], seconds, atol=0.01)
        assert np.array_equal(timed[name][1], curves[name][1])
        assert np.allclose(curves[name][1], at_one + slope * (np.array(values) - one), atol=0.01)
        assert curves[name].min() >= 0 and curves[name].max() <= 100
    for name, of in (("norm", "gradient_norm"), ("rate", "learning_rate")):
        values = np.array([getattr(step, of) for step in history])
        assert np.allclose(curves[name][1], 97 - 94 * values / values.max(), atol=0.01)
    assert details["pace"] == "step 12 of 12"
    for over in ("steps", "seconds"):
        places = dashboard.answer["places"][over]
        assert places[0] == 0 and places[-1] == 100 and places == sorted(places)
        assert [at for _, at in dashboard.answer["ticks"][over]][
            :: len(dashboard.answer["ticks"][over]) - 1
        ] == [0, 100]


def read_at(history, step):
    """What is to be read there: both losses of the latest step at which validation was measured, if any."""
    latest, none = history[step - 1], "–" if any(one.validation_loss is not None for one in history) else ""
    both = next((one for one in history[step - 1 :: -1] if one.validation_loss is not None), latest)
    if both is latest:
        step, of = f"Losses of step {both.step:,}", ""
    else:
        step, of = f"Losses of step {both.step:,} (the last with validation)", f" at step {latest.step:,}"
    return {
        "step": step,
        "training": f"{both.loss:.2f}",
        "validation": none if both.validation_loss is None else f"{both.validation_loss:.2f}",
        "floor": "",
        "norm": f"{latest.gradient_norm:.3g}{of}",
        "rate": f"{latest.learning_rate:.2g}{of}",
    }


def test_what_is_to_be_read_at_a_snapshot():
    dashboard = dashboard_of()
    dashboard.start()
    dashboard.wait()
    readings = dict(zip(dashboard.answer["steps"], dashboard.answer["readings"], strict=True))
    assert readings[0]["step"] == "Step 0: no loss yet" and readings[0].keys() == readings[12].keys()
    for step in set(readings) - {0}:
        assert readings[step] == read_at(dashboard.history, step)


def test_the_numbers_of_a_run_under_way_are_those_of_its_history():
    """Not those of the latest snapshot, which is many steps old, and both losses of one step."""
    dashboard = dashboard_of(replace(LONG, eval_every=7, eval_batches=1))
    seen = []
    dashboard.observe(lambda change: seen.append((dashboard.step, change.new["readings"])), ["details"])
    dashboard.start()
    wait_until(lambda: dashboard.step > 20 and len(seen) > 4)
    dashboard.stop()
    assert len(seen) > 4 and seen[-1][0] == dashboard.step
    for step, readings in seen[1:]:  # the first is of step 0
        assert readings == read_at(dashboard.history[:step], step)
        assert step - 7 < int(readings["step"].split()[3].replace(",", "")) <= step


def test_the_course_of_a_long_run_is_short():
    course = Course(16_000, guessing=1.0)
    losses = np.random.default_rng(0).random(16_000)
    for step, loss in enumerate(losses, start=1):
        course.add(Step(step, float(loss), 0.1, 1.0, None, step))
    means = course.means()
    assert len({len(row) for row in means.values()}) == 1 and len(means["step"]) <= BINS
    assert np.all(np.diff(means["step"]) > 0)
    assert np.isclose((means["loss"] * course.counts[course.counts > 0]).sum() / 16_000, losses.mean())


def test_without_a_tokenizer_tokens_are_numbers():
    dashboard = TrainingDashboard(small_gpt(), DATA, None, SHORT)
    assert dashboard.answer["tokens"][:2] == ["#0", f"#{ROW[1]}"] and dashboard.answer["samples"] == []
    assert len(dashboard.answer["tokens"]) == 24  # the model's context


def test_a_model_of_many_heads_gets_a_shorter_text():
    wide = GPT(GPTConfig(50, 64, n_layers=8, n_heads=16, d_model=32))
    data = TokenFile.from_tokens(list(range(50)) * 3)
    dashboard = TrainingDashboard(wide, data, None, TrainConfig(100, 1, 8))
    assert len(dashboard.answer["tokens"]) == 26 and 13 * len(dashboard.answer["attention"]) < 600_000


# --------------------------------------------------------------------------------------------------- the page


def test_the_buttons_of_the_page():
    dashboard = dashboard_of(LONG)
    dashboard.set_state({"command": "start", "asked": 1})
    wait_until(lambda: dashboard.step > 2)
    assert (dashboard.answered, dashboard.problem, dashboard.command) == (1, "", "")
    dashboard.set_state({"command": "start", "asked": 2})
    assert dashboard.answered == 2 and "raining is running already" in dashboard.problem
    dashboard.set_state({"command": "pause", "asked": 3})  # returns at once
    wait_until(lambda: dashboard.details["state"] == "paused")
    assert dashboard.problem == ""
    dashboard.set_state({"command": "stop", "asked": 4})
    assert dashboard.details["state"] == "stopped"
    dashboard.set_state({"command": "fly", "asked": 5})
    assert dashboard.answered == 5 and "command" in dashboard.problem


def test_what_is_chosen_must_be_there():
    dashboard = dashboard_of()
    with pytest.raises(TraitError, match="layer is 2; it needs to be from 0 to 1"):
        dashboard.layer = 2
    dashboard.set_state({"at": 3, "asked": 1})
    assert dashboard.problem == "At is 3; it needs to be from -1 to 0" and dashboard.at == -1
    dashboard.set_state({"layer": 1, "head": 1, "query": 4, "asked": 2})
    assert (dashboard.problem, dashboard.layer, dashboard.head, dashboard.query) == ("", 1, 1, 4)


# ----------------------------------------------------------------------------------------------- and pictures


def test_figures_before_and_after():
    dashboard = dashboard_of(floor=0.5)
    first = dashboard.figure()
    assert first.arrays["steps"].tolist() == [0]
    dashboard.start()
    dashboard.wait()
    drawn = dashboard.figure()
    assert drawn.arrays["floor"] == 0.5 and drawn.arrays["validation"][0].tolist() == [4, 8, 12]
    assert drawn.arrays["training batch"][1].tolist() == [step.loss for step in dashboard.history]
    assert drawn.png() == dashboard.to_png()


# -------------------------------------------------------------------------------------------------- snapshots


@pytest.fixture(scope="module")
def storyteller():
    _, tokenizer = load("storyteller")
    text = "Mia was a kind girl. One day Mia lost her red kite. She looked for it by the river."
    return load_snapshots("storyteller"), tokenizer, text, training_log("storyteller")


def test_snapshots_that_ship(storyteller, tmp_path):
    snapshots, tokenizer, text, log = storyteller
    dashboard = TrainingDashboard.from_snapshots(snapshots, tokenizer, text, log=log, floor=0.4175)
    assert repr(dashboard) == f"TrainingDashboard(12 snapshots up to step {snapshots[-1][0]:,})"
    assert dashboard.answer["steps"] == [step for step, _ in snapshots]
    assert dashboard.model is snapshots[-1][1]
    tokens = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(text)]])
    with trace(snapshots[-1][1]) as run, torch.no_grad():
        snapshots[-1][1](tokens)
    drawn = dashboard.figure().arrays
    assert drawn["steps"].tolist() == dashboard.answer["steps"]
    wanted = run.attention[dashboard.layer, 0, dashboard.head].numpy()
    assert np.abs(drawn["weights"][-1] - wanted).max() < 0.005
    decided = run.attention[:, 0, :, 1:, 1:].max(dim=-1).values.mean(dim=-1)
    assert decided[dashboard.layer, dashboard.head] > decided.max() - 0.01
    measured = log["validation_loss"][~np.isnan(log["validation_loss"])]
    assert len(dashboard.details["curves"]["steps"]["validation"]) == 2 * len(measured)
    assert dashboard.answer["readings"][-1]["validation"] == f"{measured[-1]:.2f}"
    ticks = [text for text, _ in dashboard.answer["ticks"]["steps"]]
    assert ticks[:4] == ["step 0", "10", "100", "1,000"] and ticks[-1] == f"{snapshots[-1][0]:,}"
    assert dashboard.to_png() == dashboard.to_png()
    with pytest.raises(RuntimeError, match="these are snapshots of a run that is over"):
        dashboard.start()
    dashboard.to_html(tmp_path / "dashboard.html")
    assert (tmp_path / "dashboard.html").stat().st_size < 1_000_000


def test_snapshots_need_no_log(storyteller):
    snapshots, tokenizer, text, _ = storyteller
    dashboard = TrainingDashboard.from_snapshots(snapshots[:3], tokenizer, text)
    assert dashboard.answer["ticks"]["steps"][-1] == ["18", 100]
    assert (
        dashboard.details["curves"]["steps"]["training"] == [] and "seconds" not in dashboard.answer["ticks"]
    )


def test_snapshots_that_cannot_be(storyteller):
    snapshots, tokenizer, text, log = storyteller
    make = TrainingDashboard.from_snapshots
    with pytest.raises(ValueError, match=r"snapshots has the steps \[\]; .* at least one"):
        make([], tokenizer, text)
    with pytest.raises(ValueError, match=r"the steps \[18, 3\]; .* steps that rise"):
        make([snapshots[2], snapshots[1]], tokenizer, text)
    with pytest.raises(ValueError, match="log has no 'gradient_norm'"):
        make(snapshots, tokenizer, text, log={name: log[name] for name in ("step", "loss", "learning_rate")})
    with pytest.raises(ValueError, match="text is empty"):
        make(snapshots, tokenizer, "")
    with pytest.raises(ValueError, match="tokenizer has"):
        make(snapshots, TOKENIZER, text)
    with pytest.raises(ValueError, match="snapshots has another config at step 7"):
        make([snapshots[0], (7, GPT(GPTConfig(2048, 16, 1, 1, 8)))], tokenizer, text)


def test_what_the_constructor_refuses():
    with pytest.raises(TypeError, match="model is a Linear; it needs to be a gptlib.GPT"):
        TrainingDashboard(torch.nn.Linear(2, 2), DATA, None, SHORT)
    with pytest.raises(ValueError, match="text needs a tokenizer"):
        TrainingDashboard(small_gpt(), DATA, None, SHORT, text="Mia")
    with pytest.raises(ValueError, match="floor is .* nats per token"):
        dashboard_of(floor=float("nan"))
    with pytest.raises(ValueError, match="context_length is .* at most the model's"):
        dashboard_of(TrainConfig(5, context_length=99))
