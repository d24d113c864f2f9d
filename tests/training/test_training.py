import dataclasses
import math
import shutil
import subprocess
import sys
import textwrap
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gptlib import load
from gptlib.files import read_tensors, write_tensors
from gptlib.formats.folders import write_snapshot
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.text.corpora import TokenFile
from gptlib.training import loop
from gptlib.training.checkpoints import (
    CHECKPOINT_NAME,
    load_checkpoint,
    read_model,
    save_checkpoint,
    whole_model,
)
from gptlib.training.config import TrainConfig
from gptlib.training.devices import pick_device
from gptlib.training.evaluation import IGNORED, TrainingData, evaluate, loss_of
from gptlib.training.loop import LossNotFinite, train
from gptlib.training.optimizers import make_optimizer
from gptlib.training.schedule import learning_rate_at

CONFIG = GPTConfig(vocab_size=32, context_length=16, n_layers=2, n_heads=2, d_model=16, dropout=0.1)


def a_model(seed=0, **changes):
    torch.manual_seed(seed)
    return GPT(GPTConfig(**(vars(CONFIG) | changes)))


def some_tokens(n=500, seed=0, document=20):
    tokens = np.random.default_rng(seed).integers(0, 31, n)
    tokens[::document] = 31
    tokens[-1] = 31
    return TokenFile.from_tokens(tokens)


def weights_of(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


# -------------------------------------------------------------------------------------- the loop


def test_steps_say_what_happened_and_the_loss_falls():
    counting = TokenFile.from_tokens(np.arange(1000) % 31)
    config = TrainConfig(steps=60, batch_size=8, learning_rate=1e-2, eval_every=25, eval_batches=2)
    steps = list(train(a_model(dropout=0.0), counting, counting, config))
    assert [step.step for step in steps] == list(range(1, 61))
    assert [step.step for step in steps if step.validation_loss is not None] == [25, 50, 60]
    assert [step.tokens for step in steps[:2]] == [8 * 16, 2 * 8 * 16]
    seconds = [step.seconds for step in steps]
    assert seconds == sorted(seconds) and seconds[0] > 0
    assert steps[-1].tokens_per_second == 60 * 8 * 16 / seconds[-1]
    assert dataclasses.replace(steps[0], seconds=None).tokens_per_second is None
    assert [step.learning_rate for step in steps] == [learning_rate_at(step, config) for step in range(60)]
    assert abs(steps[0].loss - math.log(32)) < 0.1
    assert steps[-1].loss < 1 and steps[-1].validation_loss < 1


def test_one_step_is_adamw_by_hand():
    """Clipping, decay of matrices only, bias correction: against the update written out."""
    config = TrainConfig(
        steps=1, batch_size=2, learning_rate=0.01, warmup_steps=0, clip=0.5, weight_decay=0.3
    )
    model, data = a_model(dropout=0.0), some_tokens()
    by_hand = a_model(dropout=0.0)
    inputs, targets = data.batch(2, 16, torch.Generator().manual_seed(0), False)
    F.cross_entropy(by_hand(inputs).flatten(0, 1), targets.flatten()).backward()
    norm = torch.sqrt(sum(parameter.grad.square().sum() for parameter in by_hand.parameters()))
    with torch.no_grad():
        for parameter in by_hand.parameters():
            gradient = parameter.grad * min(1, 0.5 / norm)
            if parameter.ndim >= 2:
                parameter -= 0.01 * 0.3 * parameter
            # After one step the corrected averages are the gradient and its square.
            parameter -= 0.01 * gradient / (gradient.abs() + 1e-8)
    (step,) = train(model, data, None, config)
    assert step.gradient_norm == pytest.approx(norm.item(), rel=1e-5) and norm > 0.5
    for (name, ours), theirs in zip(model.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=1e-4, msg=name)


def test_clip_none_leaves_the_gradient_alone():
    data = some_tokens()
    norms = [
        next(
            train(a_model(), data, None, TrainConfig(steps=2, batch_size=2, clip=clip, weight_decay=0))
        ).gradient_norm
        for clip in (None, 10**9)
    ]
    assert norms[0] == norms[1] > 0


def test_the_callers_random_numbers_and_mode_are_left_alone():
    model, data = a_model().eval(), some_tokens()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(train(model, data, data, TrainConfig(steps=2, batch_size=2)))
    assert torch.equal(torch.rand(3), expected)
    assert not model.training
    steps = train(model, data, None, TrainConfig(steps=5, batch_size=2))
    next(steps)
    assert model.training
    steps.close()
    assert not model.training


def test_learning_rate_rises_then_falls_along_a_cosine():
    config = TrainConfig(steps=100, learning_rate=1.0, warmup_steps=10)
    rates = [learning_rate_at(step, config) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert rates[10] == 1.0 and rates[-1] == pytest.approx(0.1)
    assert all(later < earlier for earlier, later in zip(rates[10:], rates[11:], strict=False))
    middle = TrainConfig(steps=12, learning_rate=1.0, min_learning_rate=0.0, warmup_steps=1)
    assert learning_rate_at(6, middle) == pytest.approx(0.5)
    assert learning_rate_at(500, config) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="step"):
        learning_rate_at(-1, config)


def test_a_trapezoid_stays_up_and_falls_straight():
    config = TrainConfig(steps=100, learning_rate=1.0, warmup_steps=10, schedule="trapezoid", cooldown=0.4)
    rates = [learning_rate_at(step, config) for step in range(100)]
    assert rates[:10] == pytest.approx([k / 10 for k in range(1, 11)])
    assert set(rates[10:60]) == {1.0}
    assert rates[60:] == pytest.approx([1 - k / 40 for k in range(40)])
    assert learning_rate_at(500, config) == 0
    low = dataclasses.replace(config, min_learning_rate=0.2)
    assert learning_rate_at(80, low) == pytest.approx(0.6) and learning_rate_at(500, low) == 0.2
    assert TrainConfig(steps=1, schedule="trapezoid", cooldown=1).cooldown == 1
    for wrong in (0, -1, 1.1, math.nan):
        with pytest.raises(ValueError, match="cooldown is .*; it needs"):
            TrainConfig(steps=1, cooldown=wrong)
    with pytest.raises(ValueError, match="schedule is 'linear'; it needs to be one of cosine, trapezoid"):
        TrainConfig(steps=1, schedule="linear")


def test_each_part_of_a_model_has_its_own_learning_rate():
    config = TrainConfig(
        100, learning_rate=0.1, embedding_learning_rate=0.3, vector_learning_rate=0.05, warmup_steps=10
    )
    for step in (0, 5, 40, 99):
        matrix, embedding, vector = (
            learning_rate_at(step, config, part) for part in ("matrix", "embedding", "vector")
        )
        assert matrix == learning_rate_at(step, config)
        assert (embedding, vector) == pytest.approx((3 * matrix, matrix / 2))
    assert {learning_rate_at(7, ONE, part) for part in ("embedding", "vector")} == {learning_rate_at(7, ONE)}
    with pytest.raises(ValueError, match="part is 'bias'; it needs to be one of embedding, matrix, vector"):
        learning_rate_at(0, config, "bias")


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("part", ["embedding", "vector"])
def test_a_part_alone_moves_by_its_own_learning_rate(optimizer, part):
    """In its first step AdamW moves each number by the learning rate, whatever the gradient is."""
    model = a_model()
    before, rate = weights_of(model), {f"{part}_learning_rate": 0.5}
    config = TrainConfig(1, learning_rate=1e-3, weight_decay=0.0, warmup_steps=0, optimizer=optimizer, **rate)
    next(train(model, some_tokens(), None, config))
    for name, weight in model.named_parameters():
        moved = (weight - before[name]).abs().max().item()
        own = "vector" if weight.ndim < 2 else "matrix" if "blocks" in name else "embedding"
        assert (moved > 0.1) == (own == part), (name, moved)


def test_bar_is_shown_only_when_asked_for(capsys):
    data = some_tokens()
    list(train(a_model(), data, None, TrainConfig(steps=2, batch_size=2)))
    assert capsys.readouterr().err == ""
    list(train(a_model(), data, None, TrainConfig(steps=2, batch_size=2, progress=True)))
    assert "2/2" in capsys.readouterr().err


class Gaps(TokenFile):
    """Every second row has no target that counts, and the others each have a different number of them."""

    def batch(self, batch_size, *settings):
        inputs, targets = super().batch(batch_size, *settings)
        kept = torch.arange(batch_size) % 2 * torch.arange(batch_size)
        return inputs, targets.where(torch.arange(targets.shape[1]) < kept[:, None], IGNORED)


def test_a_batch_in_pieces_is_the_same_batch_also_where_targets_are_ignored():
    runs = []
    for accumulate in (1, 2, 8):
        data = Gaps.from_tokens(some_tokens().tokens)
        config = TrainConfig(steps=20, batch_size=8, accumulate=accumulate, learning_rate=0.01)
        steps = train(a_model(dropout=0.0), data, None, config)
        runs.append([(step.loss, step.gradient_norm) for step in steps])
    for run in runs[1:]:
        np.testing.assert_allclose(run, runs[0], atol=1e-5)
    with pytest.raises(ValueError, match="batch_size is 8; it needs .* 1 × 3"):
        train(a_model(), data, None, TrainConfig(steps=1, batch_size=8, accumulate=3))


def test_only_tokens_that_are_learned_are_counted_and_a_resumed_run_counts_on(tmp_path):
    data = Gaps.from_tokens(some_tokens().tokens)  # of eight rows, four learn 1 + 3 + 5 + 7 targets
    config = TrainConfig(steps=3, batch_size=8, folder=tmp_path)
    assert [step.tokens for step in train(a_model(), data, None, config)] == [16, 32, 48]
    longer = dataclasses.replace(config, steps=4)
    (step,) = train(a_model(), data, None, longer, resume=tmp_path, changing=["warmup_steps"])
    assert step.tokens == 64
    tensors, metadata = read_tensors(tmp_path / CHECKPOINT_NAME)
    del metadata["tokens"]  # as it was before they were counted: then each row counts whole
    write_tensors(tmp_path / CHECKPOINT_NAME, tensors, metadata)
    longest = dataclasses.replace(config, steps=5)
    (step,) = train(a_model(), data, None, longest, resume=tmp_path)
    assert step.tokens == 4 * 8 * 16 + 16


class Rows:
    """The methods of TrainingData and nothing else: rows of equal length, each a document."""

    def __init__(self, *rows):
        self.rows = torch.tensor(rows, dtype=torch.int64).view(len(rows), -1 if rows else 4)

    def batch(self, batch_size, context_length, generator, at_document_starts):
        places = torch.randint(max(1, len(self.rows)), (batch_size,), generator=generator)
        rows = self.rows[places[: len(self.rows)]]
        return rows[:, :-1], rows[:, 1:]

    def windows(self, context_length, at_document_starts):
        return ((row[:-1], row[1:]) for row in self.rows)


@pytest.mark.parametrize("at_document_starts", [False, True])
def test_data_needs_no_more_than_the_methods_of_training_data(tmp_path, at_document_starts):
    data = Rows([1, 2, 3, 4], [4, 3, 2, 1])
    assert isinstance(data, TrainingData)
    config = TrainConfig(
        steps=2, batch_size=2, at_document_starts=at_document_starts, eval_every=1, folder=tmp_path
    )
    model = a_model()
    steps = list(train(model, data, data, config))
    rows = data.rows
    expected = loss_of(model.eval(), rows[:, :-1], rows[:, 1:]).item()
    assert evaluate(model, data, at_document_starts=at_document_starts) == pytest.approx(expected)
    assert steps[-1].validation_loss == pytest.approx(expected)


def test_data_with_nothing_in_it_is_refused_by_name():
    with pytest.raises(ValueError, match="data holds nothing to predict"):
        evaluate(a_model(), Rows())
    with pytest.raises(
        ValueError, match=r"train_data gave a batch of inputs \(0, .*it needs to be two of \(2, seq\)"
    ):
        next(train(a_model(), Rows(), None, TrainConfig(steps=1, batch_size=2)))
    data = some_tokens()
    data.batch = lambda *settings: (torch.zeros(2, 4, dtype=torch.int64), torch.full((2, 4), IGNORED))
    with pytest.raises(ValueError, match="train_data gave a batch of 2 rows with nothing to predict"):
        next(train(a_model(), data, None, TrainConfig(steps=1, batch_size=2)))


def test_bfloat16_trains_float32_weights():
    config = TrainConfig(steps=3, batch_size=2, precision="bfloat16")
    model = a_model(dropout=0.0)
    half = [step.loss for step in train(model, some_tokens(), some_tokens(), config)]
    whole = [
        step.loss
        for step in train(a_model(dropout=0.0), some_tokens(), None, TrainConfig(steps=3, batch_size=2))
    ]
    assert half != whole
    assert half == pytest.approx(whole, abs=0.02)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 0},
        {"batch_size": 0},
        {"accumulate": 0},
        {"context_length": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"learning_rate": math.inf},
        {"min_learning_rate": 1.0},
        {"min_learning_rate": -0.1},
        {"warmup_steps": 11},
        {"warmup_steps": -1},
        {"optimizer": "sgd"},
        {"weight_decay": -0.1},
        {"betas": (0.9, 1.0)},
        {"clip": 0.0},
        {"eval_every": 0},
        {"eval_batches": -1},
        {"checkpoint_every": 5},
        {"checkpoint_every": 0, "folder": "runs"},
        {"precision": "float8"},
    ],
)
@pytest.mark.usefixtures("without_shape_checks")
def test_settings_that_cannot_work_are_refused_by_name(changes):
    with pytest.raises(ValueError, match=f"{next(iter(changes))}.* needs "):
        TrainConfig(**({"steps": 10} | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": True},
        {"batch_size": 2.5},
        {"accumulate": "x"},
        {"context_length": 8.0},
        {"learning_rate": "x"},
        {"learning_rate": True},
        {"min_learning_rate": "x"},
        {"warmup_steps": 2.5},
        {"weight_decay": "x"},
        {"betas": 0.9},
        {"betas": (0.9,)},
        {"betas": (0.9, "x")},
        {"clip": True},
        {"eval_every": True},
        {"eval_batches": "8"},
        {"checkpoint_every": 1.5},
        {"folder": 3},
        {"seed": "x"},
        {"at_document_starts": 1},
        {"progress": "yes"},
        {"device": 0},
    ],
)
@pytest.mark.usefixtures("without_shape_checks")
def test_settings_of_the_wrong_type_are_refused_by_name(changes):
    with pytest.raises(TypeError, match=rf"^{next(iter(changes))}.* is .*; it needs "):
        TrainConfig(**({"steps": 10} | changes))


def test_a_context_longer_than_the_models_is_refused():
    with pytest.raises(ValueError, match=r"context_length is 17; it needs to be at most the model's, 16"):
        train(a_model(), some_tokens(), None, TrainConfig(steps=1, context_length=17))


# ------------------------------------------------------------------------------ stop and go on


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_resumed_run_is_bit_for_bit_the_one_that_was_not_stopped(tmp_path, dropout):
    data = some_tokens()
    plain = {"steps": 12, "batch_size": 4, "eval_every": 4, "seed": 3}
    whole = a_model(dropout=dropout)
    expected = list(train(whole, data, data, TrainConfig(**plain)))

    stopped = a_model(dropout=dropout)
    config = TrainConfig(**plain, folder=tmp_path, checkpoint_every=5)
    for step in train(stopped, data, data, config):
        if step.step == 7:
            break
    torch.manual_seed(99)
    resumed = a_model(seed=1, dropout=dropout)
    stopped_after = load_checkpoint(tmp_path).seconds
    rest = list(train(resumed, data, data, config, resume=tmp_path))
    assert rest[0].seconds > stopped_after > 0
    assert [step.step for step in rest] == list(range(6, 13))
    assert rest == expected[5:]
    assert_same_weights(weights_of(resumed), weights_of(whole))
    assert load_checkpoint(tmp_path).step == 12


def test_checkpoint_of_the_step_is_there_when_the_step_is_yielded(tmp_path):
    config = TrainConfig(steps=6, batch_size=2, folder=tmp_path / "new" / "folder", checkpoint_every=2)
    for step in train(a_model(), some_tokens(), None, config):
        if step.step % 2 == 0:
            checkpoint = load_checkpoint(config.folder)
            assert checkpoint.step == step.step
    assert checkpoint.train_config["batch_size"] == 2
    assert GPTConfig(**checkpoint.model_config) == CONFIG


def test_resuming_what_cannot_be_resumed(tmp_path):
    data = some_tokens()
    config = TrainConfig(steps=2, batch_size=2, folder=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"checkpoint\.safetensors"):
        train(a_model(), data, None, config, resume=tmp_path)
    list(train(a_model(), data, None, config))
    with pytest.raises(ValueError, match="steps is 2; to resume it needs to be more than 2"):
        train(a_model(), data, None, config, resume=tmp_path)
    longer = TrainConfig(steps=4, batch_size=2)
    with pytest.raises(ValueError, match="of another model"):
        train(a_model(n_layers=1), data, None, longer, resume=tmp_path)
    with pytest.raises(ValueError, match=r"\(32, 16\).*\(32, 32\)"):
        train(a_model(d_model=32), data, None, longer, resume=tmp_path)


STOPPED = {"steps": 4, "batch_size": 2, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a run that can go on."""
    folder = tmp_path_factory.mktemp("stopped")
    list(train(a_model(), some_tokens(), None, TrainConfig(**STOPPED, folder=folder)))
    return folder


CHANGES = [
    ({"learning_rate": 0.02}, {}, ["learning_rate is 0.02 (the run has 0.01)"]),
    (
        {"batch_size": 4, "betas": (0.8, 0.9)},
        {},
        ["batch_size is 4 (the run has 2)", "betas is [0.8, 0.9] (the run has [0.9, 0.95])"],
    ),
    ({"optimizer": "muon"}, {}, ["optimizer is 'muon' (the run has 'adamw')"]),
    ({"seed": 1}, {}, ["seed is 1 (the run has 0)"]),
    ({"precision": "bfloat16"}, {}, ["precision is 'bfloat16' (the run has 'float32')"]),
    ({"context_length": 8}, {}, ["context_length is 8 (the run has 16)"]),
    ({"at_document_starts": True}, {}, ["at_document_starts is True (the run has False)"]),
    ({}, {"dropout": 0.2, "n_heads": 4}, ["model.n_heads is 4 (the run has 2)", "model.dropout is 0.2"]),
]


@pytest.mark.parametrize(("config", "model", "said"), CHANGES)
def test_a_run_goes_on_with_other_settings_only_if_told(stopped, config, model, said):
    config = TrainConfig(**STOPPED | {"steps": 6} | config)
    model, data = a_model(**model), some_tokens()
    before = weights_of(model)
    with pytest.raises(ValueError) as error:
        train(model, data, None, config, resume=stopped)
    assert_same_weights(weights_of(model), before)
    message = str(error.value)
    assert all(words in message for words in said) and message.count("(the run has") == len(said)
    changing = eval(message.partition("changing=")[2])
    assert len(changing) == len(said)
    with pytest.raises(ValueError, match="(?s)is .*the run has"):
        train(model, data, None, config, resume=stopped, changing=changing[1:])
    steps = list(train(model, data, None, config, resume=stopped, changing=changing))
    assert [step.step for step in steps] == [5, 6]


def test_a_run_goes_on_freely_elsewhere_longer_and_with_what_means_the_same(stopped, tmp_path):
    free = TrainConfig(
        **STOPPED | {"steps": 5, "learning_rate": 1e-2, "context_length": 16, "betas": (0.9, 0.95)},
        accumulate=2,
        eval_every=3,
        eval_batches=1,
        folder=tmp_path,
        checkpoint_every=1,
        device="cpu",
    )
    (step,) = train(a_model(), some_tokens(), None, free, resume=stopped)
    assert step.step == 5


def test_another_dtype_is_another_model(stopped):
    config = TrainConfig(**STOPPED | {"steps": 6})
    with pytest.raises(ValueError, match=r"model.dtype is 'torch.bfloat16' \(the run has 'torch.float32'\)"):
        train(a_model().bfloat16(), some_tokens(), None, config, resume=stopped)


@pytest.mark.usefixtures("without_shape_checks")
def test_what_is_to_change_needs_to_be_a_setting(stopped):
    def resumed(changing):
        config = TrainConfig(**STOPPED | {"steps": 6})
        return train(a_model(), some_tokens(), None, config, resume=stopped, changing=changing)

    with pytest.raises(ValueError, match="changing has 'lr'; it needs to be of .*learning_rate, .*seed"):
        resumed(["lr"])
    for wrong in ("learning_rate", [1], None, 3):
        with pytest.raises(TypeError, match="changing is .* it needs a list of names"):
            resumed(wrong)


def test_a_changed_seed_draws_other_batches(stopped):
    def first_drawn(**resuming):
        drawn, data = [], some_tokens()
        draw = data.batch
        data.batch = lambda *settings: drawn.append(draw(*settings)) or drawn[-1]
        next(train(a_model(), data, None, TrainConfig(**STOPPED | {"steps": 6, "seed": 7}), **resuming))
        return drawn[0][0]

    assert torch.equal(first_drawn(), first_drawn(resume=stopped, changing=["seed"]))


def test_a_checkpoint_needs_an_optimizer_of_the_models_parameters(tmp_path):
    model, other = a_model(), a_model(seed=1)
    optimizer = make_optimizer(other, "adamw", 1e-3, 0.1, (0.9, 0.95))
    with pytest.raises(
        ValueError, match=r"optimizer updates \d+ parameters that are not the model's.*\(32, 16\)"
    ):
        save_checkpoint(tmp_path / "checkpoint.safetensors", model, optimizer, 0, torch.Generator())
    assert not list(tmp_path.iterdir())


def test_a_cut_off_or_foreign_file_is_refused_by_name(tmp_path):
    model, path = a_model(), tmp_path / "checkpoint.safetensors"
    optimizer = make_optimizer(model, "adamw", 1e-3, 0.1, (0.9, 0.95))
    save_checkpoint(path, model, optimizer, 0, torch.Generator())
    whole = path.read_bytes()
    for length in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"checkpoint\.safetensors' is cut off"):
            load_checkpoint(path)
    write_snapshot(path, model)
    with pytest.raises(ValueError, match="format"):
        load_checkpoint(path)


# Each child saves checkpoint after checkpoint, in which every number is the step, and is killed meanwhile.
KILLING = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from torch import nn
from gptlib.training.optimizers import make_optimizer
from gptlib.training import loop
from gptlib.training.checkpoints import CHECKPOINT_NAME, load_checkpoint, save_checkpoint

folder = Path(sys.argv[1])
path = folder / "checkpoint.safetensors"
torch.set_num_threads(1)
model = nn.Linear(1000, 500)
optimizer = make_optimizer(model, "adamw", 1e-3, 0.1, (0.9, 0.95))
random.seed(0)
last, partial = 0, 0

def save(step):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(step)
    save_checkpoint(path, model, optimizer, step, torch.Generator().manual_seed(step))

save(0)
for _ in range(25):
    child = os.fork()
    if child == 0:
        step = last
        while True:
            step += 1
            save(step)
    time.sleep(random.uniform(0.02, 0.12))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    checkpoint = load_checkpoint(path)
    assert checkpoint.step >= last
    assert all((tensor == checkpoint.step).all() for tensor in checkpoint.model.values()), checkpoint.step
    expected = torch.Generator().manual_seed(checkpoint.step).get_state()
    assert torch.equal(checkpoint.generator_state, expected)
    last = checkpoint.step
    for left in folder.glob(".*.partial"):
        partial += 1
        left.unlink()
print(last, partial)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs os.fork and SIGKILL")
def test_killed_while_saving_the_previous_checkpoint_is_still_whole(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(KILLING), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=80)
    assert result.returncode == 0, result.stderr
    saved, killed_while_writing = map(int, result.stdout.split())
    assert saved > 0 and killed_while_writing > 0


# --------------------------------------------------------------------------------- wrong values

ONE = TrainConfig(steps=1, batch_size=2)


def _checkpoint(path, **changes):
    model = a_model()
    optimizer = torch.optim.AdamW(model.parameters())
    given = {"model": model, "optimizer": optimizer, "step": 1, "generator": torch.Generator()} | changes
    return save_checkpoint(path / "checkpoint.safetensors", **given)


REFUSED = [
    (lambda _: train(None, some_tokens(), None, ONE), TypeError, "model is None"),
    (lambda _: train(a_model(), None, None, ONE), TypeError, "train_data is a NoneType.* a method batch"),
    (lambda _: train(a_model(), some_tokens(), [1], ONE), TypeError, "validation_data is a list"),
    (lambda _: train(a_model(), some_tokens(), None, {"steps": 1}), TypeError, "config is a dict"),
    (lambda _: train(a_model(), some_tokens(), None, ONE, resume=3), TypeError, "path is 3"),
    (
        lambda _: train(a_model().requires_grad_(False), some_tokens(), None, ONE),
        ValueError,
        "model has no parameter that learns",
    ),
    (lambda _: evaluate("storyteller", some_tokens()), TypeError, "model is 'storyteller'"),
    (lambda _: evaluate(a_model(), [1, 2]), TypeError, "data is a list; it needs a method windows"),
    (lambda _: evaluate(a_model(), some_tokens(), batch_size=None), TypeError, "batch_size is None"),
    (lambda _: evaluate(a_model(), some_tokens(), max_batches=0), ValueError, "max_batches is 0"),
    (lambda _: evaluate(a_model(), some_tokens(), "8"), TypeError, "context_length is '8'"),
    (lambda _: evaluate(a_model(), some_tokens(), at_document_starts=1), TypeError, "starts is 1"),
    (lambda _: learning_rate_at(0.5, ONE), TypeError, "step is 0.5"),
    (lambda _: learning_rate_at(0, None), TypeError, "config is None"),
    (lambda _: pick_device(True), TypeError, "device is True"),
    (lambda _: make_optimizer(None, "adamw", 1, 0, (0, 0)), TypeError, "model is None"),
    (lambda _: make_optimizer(a_model(), "muon", -1, 0, (0, 0)), ValueError, "learning_rate is -1"),
    (lambda _: make_optimizer(a_model(), "adamw", 1, None, (0, 0)), TypeError, "weight_decay is None"),
    (lambda _: make_optimizer(a_model(), "adamw", 1, 0, None), TypeError, "betas is None"),
    (lambda path: _checkpoint(path, step=-1), ValueError, "step is -1"),
    (lambda path: _checkpoint(path, model=None), TypeError, "model is None"),
    (lambda path: _checkpoint(path, optimizer=None), TypeError, "optimizer is None"),
    (lambda path: _checkpoint(path, generator=None), TypeError, "generator is None"),
    (lambda path: _checkpoint(path, config={}), TypeError, "config is a dict"),
    (lambda _: load_checkpoint(None), TypeError, "path is None"),
    (lambda _: read_model(3), TypeError, "path is 3"),
    (lambda _: whole_model(None), TypeError, "model is None"),
]


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(("call", "error", "said"), REFUSED)
def test_wrong_values_are_refused_by_name(tmp_path, call, error, said):
    with pytest.raises(error, match=said):
        call(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("without_shape_checks")
def test_numbers_of_numpy_are_numbers(tmp_path):
    values = {"steps": 2, "batch_size": 2, "seed": 3, "eval_every": 1, "checkpoint_every": 1}
    numpy_values = {name: np.int64(value) for name, value in values.items()}
    data, plain = some_tokens(), TrainConfig(**values, learning_rate=0.125, folder=tmp_path)
    config = TrainConfig(**numpy_values, learning_rate=np.float32(0.125), folder=tmp_path)
    assert config == plain and list(train(a_model(), data, data, config))
    assert load_checkpoint(tmp_path).train_config["learning_rate"] == 0.125
    expected = evaluate(a_model(), data, 8, 2, 4)
    assert evaluate(a_model(), data, np.int64(8), np.int32(2), np.int16(4)) == expected
    assert learning_rate_at(np.int64(1), config) == learning_rate_at(1, plain)
    steps = [np.int64(1), 2**62]
    for step in steps:
        _checkpoint(tmp_path, step=step)
        assert load_checkpoint(tmp_path).step == step


# ------------------------------------------------------------------------------------- compiling


@pytest.mark.usefixtures("without_shape_checks")  # which torch cannot trace
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_run_is_the_plain_one_and_each_goes_on_from_the_other(tmp_path, monkeypatch):
    """Up to rounding. Checkpoints have plain names, and a hook on the model sees every step."""
    # All of torch.compile but its last step, a minute of C++: which is not installed everywhere besides.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    monkeypatch.setenv("CXX", sys.executable)
    data, shape, runs = some_tokens(), {"n_layers": 1, "dropout": 0.0}, []
    for compile in (False, True):
        plain = {"steps": 4, "batch_size": 4, "eval_every": None, "checkpoint_every": 2}
        config = TrainConfig(**plain, folder=tmp_path / "run", compile=compile)
        model, seen = a_model(**shape), []
        model.blocks[0].register_forward_hook(lambda *_, seen=seen: seen.append(1))
        run = train(model, data, None, config)
        steps = [next(run), next(run)]
        run.close()
        assert len(seen) == 2
        assert load_checkpoint(config.folder).model.keys() == weights_of(a_model(**shape)).keys()
        assert read_model(config.folder / "checkpoint.safetensors").config == model.config
        other = TrainConfig(**plain, folder=tmp_path / "other", compile=not compile)
        runs.append([*steps, *train(a_model(seed=1, **shape), data, None, other, resume=config.folder)])
    plain, compiled = ([(step.loss, step.gradient_norm) for step in run] for run in runs)
    np.testing.assert_allclose(compiled, plain, rtol=1e-5)


def test_a_model_that_was_compiled_before_is_kept_under_plain_names(tmp_path):
    model = a_model()
    optimizer = make_optimizer(model, "adamw", 1e-3, 0.1, (0.9, 0.95))
    wrapped = torch.compile(model, backend="eager")
    save_checkpoint(tmp_path / "checkpoint.safetensors", wrapped, optimizer, 0, torch.Generator())
    assert load_checkpoint(tmp_path).model.keys() == weights_of(model).keys()


def test_where_nothing_compiles_it_is_said_at_once(monkeypatch, tmp_path):
    config = TrainConfig(steps=1, compile=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ValueError, match="compile is True; it needs a C\\+\\+ compiler, and there is no"):
        train(a_model(), some_tokens(), None, config)


# ----------------------------------------------------------------------------------- not finite


def test_a_loss_that_is_not_finite_names_step_learning_rate_and_last_good_checkpoint(tmp_path):
    model, data = a_model(), some_tokens()
    config = TrainConfig(steps=9, batch_size=2, folder=tmp_path, checkpoint_every=2, learning_rate=0.004)
    steps = train(model, data, None, config)
    for _ in range(5):
        next(steps)
    with torch.no_grad():
        model.final_norm.weight[0] = math.nan
    before = weights_of(model)
    with pytest.raises(LossNotFinite) as error:
        next(steps)
    message = str(error.value)
    assert "step 6" in message and f"{learning_rate_at(5, config):.3g}" in message
    assert str(tmp_path / "checkpoint.safetensors") in message and "step 4" in message
    after = weights_of(model)
    assert all(torch.equal(before[name].nan_to_num(), after[name].nan_to_num()) for name in before)
    assert load_checkpoint(tmp_path).step == 4


class SteepModel(GPT):
    """Its loss is finite, but the gradient of a root is infinite at 0."""

    def forward(self, tokens, cache=None):
        return (
            super().forward(tokens, cache)
            + self.final_norm.bias.abs().sqrt().sum() * self.unembedding.weight[:, 0]
        )


def test_a_gradient_that_is_not_finite_stops_too():
    torch.manual_seed(0)
    with pytest.raises(LossNotFinite, match="gradient.* at step 1, .*no checkpoint was written"):
        list(train(SteepModel(CONFIG), some_tokens(), None, TrainConfig(steps=2, batch_size=2)))


def test_weights_that_are_not_finite_do_not_replace_a_good_checkpoint(tmp_path, monkeypatch):
    model, config = a_model(), TrainConfig(steps=4, batch_size=2, folder=tmp_path, checkpoint_every=1)
    make = loop.make_optimizer

    def spoiling(model, *settings):
        optimizer = make(model, *settings)
        optimizer.register_step_post_hook(lambda *_: spoil(model))
        return optimizer

    def spoil(model):
        if load_steps() == 2:
            model.final_norm.bias.data[0] = math.inf

    def load_steps():
        path = tmp_path / "checkpoint.safetensors"
        return load_checkpoint(path).step if path.exists() else 0

    monkeypatch.setattr(loop, "make_optimizer", spoiling)
    with pytest.raises(LossNotFinite, match="step 3.*of step 2"):
        list(train(model, some_tokens(), None, config))
    assert load_steps() == 2


# ----------------------------------------------------------------------------------- evaluation


def test_evaluate_is_the_mean_over_all_tokens():
    model, data = a_model(), some_tokens(203)
    tokens = torch.from_numpy(data.tokens.astype(np.int64))
    model.eval()
    losses = []
    for start in range(0, 202, 16):
        window = tokens[start : start + 17]
        losses.append(F.cross_entropy(model(window[None, :-1])[0], window[1:], reduction="none"))
    expected = torch.cat(losses).mean().item()
    assert len(torch.cat(losses)) == 202
    model.train()
    for batch_size in (1, 5, 100):
        assert evaluate(model, data, batch_size=batch_size) == pytest.approx(expected, abs=1e-5)
    assert model.training
    first = torch.cat(losses[:6]).mean().item()
    assert evaluate(model, data, max_batches=2, batch_size=3) == pytest.approx(first, abs=1e-5)


def test_evaluate_reads_documents_alone_and_whole():
    model = a_model().eval()
    documents = [[31, 1, 2, 3, 31], [31, 4, 31], [31, *range(20), 31]]
    data = TokenFile.from_tokens(np.array([31, 1, 2, 3, 31, 4, 31, *range(20), 31]))
    losses = []
    for document in documents:
        # The last is longer than the context, and read as far as that goes.
        tokens = torch.tensor(document[:17])
        losses.append(F.cross_entropy(model(tokens[None, :-1])[0], tokens[1:], reduction="none"))
    expected = torch.cat(losses).mean().item()
    assert evaluate(model, data, at_document_starts=True) == pytest.approx(expected, abs=1e-5)
    assert evaluate(model, data, at_document_starts=True, batch_size=2) == pytest.approx(expected, abs=1e-5)


def test_evaluate_refuses_data_without_a_document():
    with pytest.raises(ValueError, match="data"):
        evaluate(a_model(), TokenFile.from_tokens(np.array([31, 1, 2])), at_document_starts=True)


# -------------------------------------------------------------------------------- models in files


def test_a_snapshot_is_half_as_large_and_loads_as_float32(tmp_path):
    model = a_model()
    path = write_snapshot(tmp_path / "snapshot.safetensors", model)
    assert path.stat().st_size < 2.6 * model.n_parameters
    loaded, _ = load(path)
    assert loaded.config == CONFIG and not loaded.training
    for name, weight in weights_of(loaded).items():
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight, weights_of(model)[name], atol=1e-4, rtol=1e-3)


def test_the_model_in_a_checkpoint_is_the_same_model(tmp_path):
    model = a_model()
    list(train(model, some_tokens(), None, TrainConfig(steps=2, batch_size=2, folder=tmp_path)))
    torch.manual_seed(4)
    expected = torch.rand(2)
    torch.manual_seed(4)
    loaded = read_model(tmp_path / "checkpoint.safetensors")
    assert torch.equal(torch.rand(2), expected)
    assert loaded.config == CONFIG and not loaded.training
    assert loaded.unembedding.weight is loaded.token_embedding.weight
    assert_same_weights(weights_of(loaded), weights_of(model))
    with pytest.raises(FileNotFoundError, match="none"):
        read_model(tmp_path / "none.safetensors")


def test_a_model_alone_is_whole():
    model = a_model(position="sinusoidal")
    whole = whole_model(model)
    assert_same_weights(weights_of(whole), weights_of(model))
    tokens = torch.arange(8)[None]
    assert torch.equal(whole(tokens), model.eval()(tokens))


# --------------------------------------------------------------------------------------- devices


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_fastest_device_is_picked(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device() == torch.device(expected)
    assert pick_device("cpu") == pick_device(torch.device("cpu")) == torch.device("cpu")
    for name, present in (("cuda", cuda), ("mps", mps)):
        if present:
            assert pick_device(name) == torch.device(name)
        else:
            with pytest.raises(ValueError, match=f"'{name}' is not available here; this machine has: .*cpu"):
                pick_device(name)
    with pytest.raises(ValueError, match="cuda:3"):
        pick_device("cuda:3")
    for nonsense in ("gpu", "xpu"):
        with pytest.raises(ValueError, match=nonsense):
            pick_device(nonsense)
