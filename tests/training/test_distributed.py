"""Two processes against one: `two_processes.py` holds what both run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from two_processes import CASES, CHECKPOINT_AT, run

from gptlib.cli import train as cli_train
from gptlib.cli.main import main
from gptlib.training.alone import ALONE, Alone
from gptlib.training.checkpoints import load_checkpoint
from gptlib.training.config import TrainConfig
from gptlib.training.distributed import join, own_device
from gptlib.training.evaluation import IGNORED, _own_rows
from gptlib.training.loop import _pieces, check_shares

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--n-layers", "1", "--n-heads", "2", "--d-model", "16", "--context-length", "16"]
TEXT = ["--stories", "20", "--vocab-size", "280", "--eval-every", "25", "--eval-batches", "1"]
SHORT = ["--steps", "50", "--batch-size", "4", "--checkpoint-every", "10"]
TRAIN = ["train", *TEXT, *SMALL, *SHORT, "--threads", "1", "--device", "cpu"]


def torchrun(*arguments):
    """Two processes on this machine, each of them tests/two_processes.py with these arguments."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(ROOT / "tests" / "training" / "two_processes.py"), *map(str, arguments)]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def one(folder):
    """Each case in one process. Dropout's noise is that of pieces, of which two processes have two."""
    run("plain", folder=folder / "of_one", until=CHECKPOINT_AT)
    cases = CASES.keys() - {"resumed"}
    return {name: run(name, **({"accumulate": 2} if name == "dropout" else {})) for name in cases}


@pytest.fixture(scope="module")
def two(folder, one):
    """What each of two processes measured."""
    done = torchrun("compare", folder)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"results_{rank}.json").read_text()) for rank in (0, 1)]


def assert_same(ours, theirs, tolerance):
    for step, (our, their) in enumerate(zip(ours, theirs, strict=True), start=1):
        assert tuple(our) == pytest.approx(tuple(their), abs=tolerance), step


# ------------------------------------------------------------------------------ the same run in two processes


@pytest.mark.parametrize("shard", [False, True])
@pytest.mark.parametrize("name", ["plain", "gaps", "modern", "experts"])
def test_two_processes_make_the_steps_of_one(one, two, name, shard):
    """Loss, norm and validation loss. In gaps the pieces of a batch hold unequal numbers of targets."""
    for results in two:
        assert_same(results[f"{name} {shard}"], one[name], 1e-4)


def test_noise_is_that_of_the_piece_whoever_computes_it(one, two):
    assert_same(two[0]["dropout False"], one["dropout"], 1e-4)


@pytest.mark.parametrize("shard", [False, True])
def test_muon_sees_whole_matrices(one, two, shard):
    """Its products are in bfloat16, of which the last of 8 bits may differ where float32 rounds otherwise."""
    assert_same(two[0][f"muon {shard}"], one["muon"], 2**-8)


def test_bfloat16_in_two_processes(one, two):
    ours, theirs = ([row[0] for row in rows] for rows in (two[0]["bfloat16 False"], one["bfloat16"]))
    assert ours == pytest.approx(theirs, rel=2**-8)
    assert ours != pytest.approx([row[0] for row in one["plain"][:10]], rel=1e-6)


@pytest.mark.parametrize("shard", [False, True])
def test_gradients_are_exchanged_once_a_step_however_many_pieces(two, shard):
    whole, in_pieces = two[0][f"sums {shard}"]
    assert whole == in_pieces >= 4


@pytest.mark.parametrize("shard", [False, True])
def test_two_processes_go_on_from_the_checkpoint_of_one(one, two, shard):
    assert_same(two[0][f"resumed {shard}"], one["plain"][CHECKPOINT_AT:], 1e-4)


@pytest.mark.parametrize("shard", [False, True])
def test_one_process_goes_on_from_the_checkpoint_of_two(folder, one, two, shard):
    checkpoint = load_checkpoint(folder / f"of_two_{shard}")
    assert checkpoint.step == CHECKPOINT_AT
    # Tied weights are in it once, as when one process writes it.
    assert checkpoint.model.keys() == load_checkpoint(folder / "of_one").model.keys()
    rest = run("resumed", resume=checkpoint.path)
    assert_same(rest, one["plain"][CHECKPOINT_AT:], 1e-4)


# ----------------------------------------------------------------------------------------- a worker is killed


@pytest.fixture(scope="module")
def few_stories():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli_train, "VALIDATION_STORIES", 5)
        patch.setattr(cli_train, "FLOOR_STORIES", 2)
        yield


def losses(folder):
    log = json.loads((folder / "training_log.json").read_text())
    assert log["step"] == list(range(1, 51))
    return log["loss"]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_worker_ends_the_run_with_a_message_and_it_goes_on_alone(folder, few_stories, rank, capsys):
    killed, whole = folder / f"killed_{rank}", folder / "whole"
    ended = torchrun("die", 24, rank, *TRAIN, "--folder", killed)
    assert ended.returncode != 0
    said = [line for line in ended.stderr.splitlines() if "gptlib train: " in line]
    assert len(said) == 1, ended.stderr
    assert f"of 2 processes, {rank} (number" in said[0] and said[0].endswith("after step 23")
    assert "of step 20. To go on" in ended.stderr and f"--resume --folder {killed}" in ended.stderr
    assert ended.stdout.count("turning the train text") == 1  # one prints, not both
    assert load_checkpoint(killed).step == 20 and not list(killed.glob("*.partial"))

    assert main(["train", "--resume", "--folder", str(killed)]) == 0
    if not whole.exists():
        assert main([*TRAIN, "--folder", str(whole)]) == 0
    assert losses(killed) == pytest.approx(losses(whole), abs=1e-4)


# ----------------------------------------------------------------------------------------------------- shares


class Member(Alone):
    def __init__(self, rank, size):
        self.rank, self.size = rank, size


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.randoms(use_true_random=False))
def test_the_pieces_of_all_processes_are_the_batch_and_weigh_one(size, accumulate, rows, random):
    n = size * accumulate * rows
    inputs = torch.arange(n * 2).view(n, 2)
    targets = torch.tensor([[random.choice([IGNORED, 1]) for _ in range(2)] for _ in range(n)])
    targets[0, 0] = 1
    team = [Member(rank, size) for rank in range(size)]
    pieces = [piece for member in team for piece in _pieces(inputs, targets, accumulate, member)]
    assert [number for number, *_ in pieces] == list(range(size * accumulate))
    assert torch.equal(torch.cat([rows for _, rows, _, _ in pieces]), inputs)
    counts = [int((row_targets != IGNORED).sum()) for _, _, row_targets, _ in pieces]
    weights = [weight.item() for *_, weight in pieces]
    assert weights == pytest.approx([count / sum(counts) for count in counts])


@given(st.integers(1, 9), st.integers(1, 4))
def test_processes_read_each_row_of_a_validation_batch_once(n, size):
    inputs = torch.arange(n * 3).view(n, 3)
    shares = [_own_rows(inputs, inputs, Member(rank, size)) for rank in range(size)]
    assert len({share.shape for share, _ in shares}) == 1 and len(shares[0][0]) > 0
    targets = torch.cat([targets for _, targets in shares])
    assert torch.equal(targets[:n], inputs) and (targets[n:] == IGNORED).all()


def test_what_cannot_be_shared_is_refused_with_its_numbers(monkeypatch):
    with pytest.raises(ValueError, match="batch_size is 32; it needs .* = 3 × 4"):
        check_shares(TrainConfig(steps=1, batch_size=32, accumulate=4), Member(0, 3))
    with pytest.raises(ValueError, match="--shard needs several processes"), join(torch.device("cpu"), True):
        pass
    with join(torch.device("cpu")) as team:
        assert team is ALONE
    assert own_device(torch.device("cuda", 3)) == torch.device("cuda", 3)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "here")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert own_device(torch.device("cpu")) == torch.device("cpu")
    assert own_device(torch.device("cuda")) == torch.device("cuda", 2)
    for name in ("cuda:1", "mps"):
        with pytest.raises(ValueError, match=f"--device is '{name}'; .*needs to be cuda"):
            own_device(torch.device(name))
    monkeypatch.setenv("LOCAL_RANK", "3")
    with pytest.raises(ValueError, match="--nproc-per-node is 4; it needs to be at most 3"):
        own_device(torch.device("cuda"))
