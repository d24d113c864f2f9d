import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gptlib
from gptlib import load, shipped
from gptlib.cli import training as cli_training
from gptlib.cli.main import main
from gptlib.cli.training import snapshot_steps
from gptlib.text.tokenizer import Tokenizer
from gptlib.training import loop
from gptlib.training.checkpoints import save_checkpoint

SMALL = ["--n-layers", "1", "--n-heads", "2", "--d-model", "16", "--context-length", "32", "--device", "cpu"]
SHORT = ["--batch-size", "2", "--eval-every", "4", "--eval-batches", "1", "--checkpoint-every", "5"]
STORIES = ["--corpus", "storyworld", "--stories", "30", "--vocab-size", "300", *SMALL, *SHORT]


@pytest.fixture(autouse=True, scope="module")
def few_stories():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli_training, "VALIDATION_STORIES", 10)
        patch.setattr(cli_training, "FLOOR_STORIES", 5)
        yield


@pytest.fixture(scope="module")
def finished(few_stories, tmp_path_factory):
    """A folder that a whole run has made."""
    folder = tmp_path_factory.mktemp("run") / "stories"
    assert main(["train", *STORIES, "--steps", "12", "--snapshots", "4", "--folder", str(folder)]) == 0
    return folder


def error_of(capsys, *arguments):
    """The one line that a mistake is answered with."""
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"python -m gptlib {arguments[0]}: error: ") and "\n" not in error, error
    return error


def test_train_leaves_all_that_is_needed(finished, capsys):
    log = json.loads((finished / "training_log.json").read_text())
    assert log["step"] == list(range(1, 13))
    assert [step for step, loss in zip(log["step"], log["validation_loss"], strict=True) if loss] == [
        4,
        8,
        12,
    ]
    assert log["loss"][-1] < log["loss"][0] and len(log["learning_rate"]) == len(log["gradient_norm"]) == 12
    model, tokenizer = load(finished / "model")
    config = model.config
    assert (config.vocab_size, config.n_layers, config.context_length) == (300, 1, 32)
    assert tokenizer == Tokenizer.load(finished / "tokenizer.json") == load(finished)[1]
    torch.testing.assert_close(load(finished)[0].state_dict(), model.state_dict(), atol=0, rtol=0)

    kept = sorted((finished / "snapshots").iterdir())
    assert [path.name for path in kept] == [f"step_{step:06d}.safetensors" for step in (0, 1, 3, 12)]
    last = load(kept[-1])[0]
    torch.testing.assert_close(last.state_dict(), model.state_dict(), atol=1e-3, rtol=1e-3)
    assert not list(finished.glob("*.partial"))


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(finished, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "stopped"
    save = save_checkpoint

    def stopping(path, model, optimizer, step, *rest):
        saved = save(path, model, optimizer, step, *rest)
        if step == 10:
            raise KeyboardInterrupt
        return saved

    monkeypatch.setattr(loop, "save_checkpoint", stopping)
    assert main(["train", *STORIES, "--steps", "12", "--snapshots", "4", "--folder", str(folder)]) == 130
    assert "stopped" in capsys.readouterr().err
    assert main(["generate", "--model", str(folder), "--max-new-tokens", "3"]) == 0
    monkeypatch.setattr(loop, "save_checkpoint", save)
    # Half a line, as after a kill.
    with open(folder / "training_log.jsonl", "a") as log:
        log.write('{"step": 10, "lo')
    assert main(["train", "--resume", "--folder", str(folder)]) == 0
    ours, theirs = ((path / "model" / "model.safetensors").read_bytes() for path in (folder, finished))
    assert ours == theirs
    ours, theirs = (json.loads((path / "training_log.json").read_text()) for path in (folder, finished))
    # The tenth step was saved but not yet noted.
    assert ours["step"] == [step for step in theirs["step"] if step != 10]
    assert ours["loss"][-2:] == theirs["loss"][-2:]


def test_resuming_after_the_last_step_writes_the_model(finished, capsys):
    path = finished / "model" / "model.safetensors"
    before = path.read_bytes()
    shutil.rmtree(finished / "model")
    assert main(["train", "--resume", "--folder", str(finished)]) == 0
    assert path.read_bytes() == before


def test_a_finished_run_can_be_lengthened(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["train", *STORIES, "--steps", "6", "--snapshots", "4", "--folder", str(folder)]) == 0
    before = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
    assert main(["train", "--resume", "--steps", "9", "--folder", str(folder)]) == 0
    after = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
    assert after[:6] == before and [row["step"] for row in after] == list(range(1, 10))
    assert json.loads((folder / "settings.json").read_text())["steps"] == 9
    assert main(["train", "--resume", "--steps", "3", "--folder", str(folder)]) == 2
    assert "--steps" in capsys.readouterr().err


def test_of_too_many_snapshots_those_are_dropped_that_stand_closest():
    assert cli_training._thinned([0, 1, 2, 10, 100, 150, 1000], 5) == [0, 2, 10, 100, 1000]
    assert cli_training._thinned([0, 7], 12) == [0, 7]


def test_train_on_a_file_of_the_readers(tmp_path, capsys):
    path = tmp_path / "own.txt"
    paragraph = (
        "The {} wind came over the hill, and nobody in the village knew what it would bring with it.\n\n"
    )
    path.write_text("".join(paragraph.format(word) for word in ("north", "south", "east", "west") * 30))
    arguments = ["train", "--corpus", str(path), "--vocab-size", "280", *SMALL, *SHORT, "--steps", "3"]
    assert main([*arguments, "--folder", str(tmp_path / "run")]) == 0
    assert "validation" in capsys.readouterr().out
    kept = str(tmp_path / "run" / "tokenizer.json")
    assert main([*arguments, "--tokenizer", kept, "--folder", str(tmp_path / "other")]) == 0
    assert (tmp_path / "other" / "tokenizer.json").read_bytes() == Path(kept).read_bytes()


def test_save_as_makes_a_model_that_comes_with_the_course(finished, tmp_path, monkeypatch, capsys):

    (tmp_path / "data").mkdir()
    monkeypatch.setattr(shipped, "data_folder", lambda: tmp_path / "data")
    arguments = [*STORIES, "--steps", "2", "--snapshots", "2", "--folder", str(tmp_path / "run")]
    assert main(["train", *arguments, "--save-as", "mine"]) == 0
    assert [step for step, _ in shipped.load_snapshots("mine")] == [0, 2]
    assert shipped.training_log("mine")["step"].tolist() == [1, 2]
    assert main(["generate", "--model", "mine", "--max-new-tokens", "2"]) == 0


def test_other_text_in_an_unfinished_folder_is_not_taken_for_this_runs(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    monkeypatch.setattr(loop, "train", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["train", *STORIES, "--folder", str(folder)]) == 130
    few = (folder / "train.npy").stat().st_size
    assert main(["train", *STORIES, "--stories", "60", "--folder", str(folder)]) == 130
    assert (folder / "train.npy").stat().st_size > 1.5 * few
    made = (folder / "train.npy").stat().st_mtime_ns
    assert main(["train", *STORIES, "--stories", "60", "--folder", str(folder)]) == 130
    assert (folder / "train.npy").stat().st_mtime_ns == made


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--corpus", "nowhere.txt"], "nowhere.txt"),
        (["--preset", "gpt9"], "storyteller, gpt1, gpt2"),
        (["--stories", "0"], "--stories"),
        (["--steps", "0"], "steps"),
        (["--accumulate", "3"], "batch_size"),
        (["--shard"], "torchrun"),
        (["--n-heads", "3"], "n_heads = 3"),
        (["--learning-rate", "-1"], "learning_rate"),
        (["--device", "abacus"], "abacus"),
        (["--threads", "0"], "--threads"),
        (["--snapshots", "1"], "snapshots"),
        (["--snapshots", "30", "--steps", "10"], "snapshots"),
        (["--tokenizer", "nowhere.json"], "nowhere.json"),
        (["--resume"], "--resume"),
        (["--vocab-size", "100"], "vocab_size"),
    ],
)
def test_mistakes_in_training_are_one_line(arguments, said, tmp_path, capsys):
    capsys.readouterr()
    assert said in error_of(capsys, "train", *STORIES, "--folder", str(tmp_path / "run"), *arguments)


def test_a_finished_run_is_not_written_over(finished, capsys):
    assert "already holds a run" in error_of(capsys, "train", *STORIES, "--folder", str(finished))


def test_generate_streams_or_lists(finished, capsys):
    given = ["generate", "--model", str(finished), "--prompt", "Once", "--max-new-tokens", "8", "--seed", "4"]
    assert main(given) == 0
    one = capsys.readouterr().out
    assert one.startswith("Once")
    assert main([*given, "--no-cache"]) == 0
    assert capsys.readouterr().out == one
    settings = ["--temperature", "0.7", "--top-k", "9", "--top-p", "0.9", "--repetition-penalty", "1.2"]
    assert main([*given, "--sequences", "2", *settings, "--no-repeat-ngram", "3", "--stop", "xyz"]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith("--- 1\nOnce") and "\n--- 2\nOnce" in listed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--temperature", "-1"], "temperature"),
        (["--top-p", "1.5"], "top_p"),
        (["--sequences", "0"], "n_sequences"),
        (["--model", "/no/such/folder"], "/no/such/folder"),
        (["--model", "nobody"], "nobody"),
    ],
)
def test_mistakes_in_generating_are_one_line(finished, arguments, said, capsys, tmp_path, monkeypatch):

    monkeypatch.setattr(shipped, "data_folder", lambda: tmp_path)
    (tmp_path / "SHA256SUMS").touch()
    assert said in error_of(capsys, "generate", "--model", str(finished), *arguments)


def test_a_folder_without_a_model_is_one_line(tmp_path, capsys):
    assert "neither config.json, nor" in error_of(capsys, "generate", "--model", str(tmp_path))
    (tmp_path / "checkpoint.safetensors").write_bytes(b"nonsense")
    assert "checkpoint.safetensors' is cut off" in error_of(capsys, "generate", "--model", str(tmp_path))


def test_doctor_is_asked(monkeypatch):
    from gptlib.cli import doctor

    monkeypatch.setattr(doctor, "main", lambda: 1)
    assert main(["doctor"]) == 1


def test_the_module_runs():
    command = [sys.executable, "-m", "gptlib", "dance"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(gptlib.__file__).parents[1])
    assert result.returncode == 2
    assert "dance" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("steps", [11, 12, 30, 1000, 20_000])
def test_snapshots_are_closer_together_at_the_start(steps):
    chosen = snapshot_steps(steps, 12)
    gaps = [later - earlier for earlier, later in zip(chosen, chosen[1:], strict=False)]
    assert len(chosen) == 12 and chosen[0] == 0 and chosen[-1] == steps
    assert all(gap > 0 for gap in gaps) and gaps == sorted(gaps)
    assert snapshot_steps(steps, 2) == [0, steps] and snapshot_steps(steps, 0) == []
