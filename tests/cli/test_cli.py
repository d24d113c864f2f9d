import ast
import dataclasses
import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gptlib
from gptlib import load, shipped
from gptlib.cli import doctor
from gptlib.cli import train as cli_train
from gptlib.cli.main import VERBS, main
from gptlib.cli.train import snapshot_steps
from gptlib.generation.sampling import Sampling
from gptlib.model.config import GPTConfig
from gptlib.model.presets import PRESETS
from gptlib.text.corpora import TokenFile
from gptlib.text.tokenizer import Tokenizer, load_tokenizer
from gptlib.training import loop
from gptlib.training.checkpoints import save_checkpoint
from gptlib.training.config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--n-layers", "1", "--n-heads", "2", "--d-model", "16", "--context-length", "32", "--device", "cpu"]
SHORT = ["--batch-size", "2", "--eval-every", "4", "--eval-batches", "1", "--checkpoint-every", "5"]
STORIES = ["--corpus", "storyworld", "--stories", "30", "--vocab-size", "300", *SMALL, *SHORT]


@pytest.fixture(autouse=True, scope="module")
def few_stories():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli_train, "VALIDATION_STORIES", 10)
        patch.setattr(cli_train, "FLOOR_STORIES", 5)
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
    assert error.startswith(f"gptlib {arguments[0]}: error: ") and "\n" not in error, error
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


def test_a_folder_by_the_name_of_a_model_is_named_as_a_path(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, "gpt2")
    shutil.rmtree("gpt2/model")
    assert main(["train", "--resume", "--folder", "./gpt2"]) == 0
    *_, opened = capsys.readouterr().out.split()
    assert opened == "./gpt2" and load(opened)[0].config == load(finished)[0].config


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
    assert cli_train._thinned([0, 1, 2, 10, 100, 150, 1000], 5) == [0, 2, 10, 100, 1000]
    assert cli_train._thinned([0, 7], 12) == [0, 7]


def test_train_on_a_file_of_the_readers(tmp_path, capsys):
    path = tmp_path / "own.txt"
    paragraph = "The {} wind came over the hill,\n\nand nobody knew what it would bring.\n<|endoftext|>\n"
    path.write_text("".join(paragraph.format(word) for word in ("north", "south", "east", "west") * 30))
    arguments = ["train", "--corpus", str(path), "--vocab-size", "280", *SMALL, *SHORT, "--steps", "3"]
    assert main([*arguments, "--folder", str(tmp_path / "run")]) == 0
    assert "validation" in capsys.readouterr().out
    tokens = TokenFile(tmp_path / "run" / "train.npy")
    assert len(tokens.document_starts()) == 96 + 1  # the other 24 documents are for validation and test
    text = load_tokenizer(tmp_path / "run" / "tokenizer.json").decode(tokens.tokens)
    assert text.startswith("<|endoftext|>The north wind came over the hill,\n\nand nobody")
    assert text.endswith("would bring.<|endoftext|>") and text.count("<|") == 97
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
        (["--n-layers", "2.5"], "--n-layers is 2.5; it needs a whole number"),
        (["--norm", "batchnorm"], '"layernorm", "rmsnorm"'),
        (["--layers", "3"], "--layers"),
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
    assert main([*given, "--no-cached"]) == 0
    assert capsys.readouterr().out == one
    settings = ["--temperature", "0.7", "--top-k", "9", "--top-p", "0.9", "--repetition-penalty", "1.2"]
    settings += ["--no-repeat-ngram", "3", "--stop", "xyz", "--stop", "abc", "--device", "cpu"]
    assert main([*given, "--sequences", "2", *settings]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith("--- 1\nOnce") and "\n--- 2\nOnce" in listed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--temperature", "-1"], "temperature"),
        (["--top-p", "1.5"], "top_p"),
        (["--sequences", "0"], "n_sequences"),
        (["--device", "abacus"], "abacus"),
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


# --------------------------------------------------------------------------------------- flags are the fields


def documented(kind):
    """Each field of a dataclass with the first words of the docstring under it."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(kind)).body)
    docs = {
        field.target.id: doc.value.value
        for field, doc in zip(body, body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr)
    }
    assert docs.keys() == {field.name for field in dataclasses.fields(kind)}
    return {name: doc.split()[:2] for name, doc in docs.items()}


@pytest.mark.parametrize(
    ("verb", "kind", "told_otherwise"),
    [
        ("train", GPTConfig, {}),
        (
            "train",
            TrainConfig,
            {
                "folder": ["everything", "is", "written"],
                "at_document_starts": ["for", "storyworld", "only"],
                "device": ["the", "fastest", "one"],
                "learning_rate": ["The", "highest"],
                "repeats_first": ["targets", "new", "mostly"],
            },
        ),
        ("generate", Sampling, {"stop": ["End", "before"]}),
    ],
)
def test_every_field_has_its_flag_with_its_own_words(verb, kind, told_otherwise):
    # In a process of its own: the console keeps the width that it had when it was first asked.
    command = [sys.executable, "-m", "gptlib", verb, "--help"]
    wide = os.environ | {"COLUMNS": "300"}
    lines = subprocess.run(command, capture_output=True, text=True, env=wide, check=True).stdout.splitlines()
    for name, words in (documented(kind) | told_otherwise).items():
        renamed = kind is TrainConfig and name == "context_length"
        flag = f"--{'training-' if renamed else ''}{name.replace('_', '-')}"
        (line,) = (line for line in lines if re.match(rf"│[* ]+{flag} ", line))
        assert all(word in line for word in words), line


def asked(monkeypatch, *arguments):
    """What `train` makes of these arguments, without a run."""
    runs = []
    monkeypatch.setattr(cli_train, "_train", lambda run, *rest: runs.append(run))
    assert main(["train", "--folder", "nowhere", *arguments]) == 0
    return runs[0]


def test_a_preset_fills_what_is_not_given(monkeypatch):
    run = asked(monkeypatch, "--preset", "gpt2", "--n-layers", "2", "--norm", "rmsnorm", "--no-bias")
    assert run.model == dataclasses.replace(PRESETS["gpt2"], n_layers=2, norm="rmsnorm", bias=False)
    assert asked(monkeypatch).model == PRESETS["storyteller"]


def test_the_shells_defaults_are_those_of_trainconfig_but_for_a_few(monkeypatch):
    training = asked(monkeypatch, "--betas", "0.8", "0.9", "--training-context-length", "64").training
    differ = {"steps": 1000, "folder": Path("nowhere"), "checkpoint_every": 200, "at_document_starts": True}
    differ |= {"betas": (0.8, 0.9), "context_length": 64}
    differ |= {"optimizer": "muon", "learning_rate": 0.02, "weight_decay": 0.0, "batch_size": 16}
    differ |= {"schedule": "trapezoid", "cooldown": 0.6, "repeats_first": 0.15}
    assert dataclasses.asdict(training) == dataclasses.asdict(TrainConfig(**differ))
    documentation = asked(monkeypatch, "--corpus", "python-docs").training
    assert not documentation.at_document_starts and documentation.repeats_first == 0
    assert not asked(monkeypatch, "--no-at-document-starts").training.at_document_starts
    assert asked(monkeypatch, "--optimizer", "adamw").training.learning_rate == 0.003
    assert asked(monkeypatch, "--optimizer", "adamw", "--learning-rate", "1").training.learning_rate == 1


def test_rows_are_whole_documents_where_most_fit(tmp_path, capsys):
    short = [f"{n} green bottles hanging on the wall" for n in range(60)]
    for name, texts in {"short": short, "long": [" ".join(short)] * 3}.items():
        (tmp_path / f"{name}.txt").write_text("<|endoftext|>".join(texts), encoding="utf-8")
    small = [
        "--n-layers",
        "1",
        "--n-heads",
        "2",
        "--d-model",
        "16",
        "--context-length",
        "32",
        "--vocab-size",
        "300",
        "--steps",
        "1",
    ]
    for name, more, expected in (
        ("short", [], True),
        ("short", ["--no-whole-documents"], False),
        ("long", [], False),
        ("long", ["--whole-documents"], True),
    ):
        folder = tmp_path / f"{name}{len(more)}"
        corpus = ["--corpus", str(tmp_path / f"{name}.txt")]
        assert main(["train", "--folder", str(folder), *corpus, *small, *more]) == 0
        assert ("training tokens in whole documents" in capsys.readouterr().out) is expected


def test_a_later_flag_counts(monkeypatch):
    assert asked(monkeypatch, "--n-layers", "2", "--n-layers", "3").model.n_layers == 3


def test_a_modern_gpt_is_trained_and_written(tmp_path, capsys):
    layout = [
        "--norm",
        "rmsnorm",
        "--mlp",
        "swiglu",
        "--position",
        "rotary",
        "--n-kv-heads",
        "1",
        "--no-bias",
    ]
    more = ["--qk-norm", "--window", "8", "--n-experts", "2", "--n-active", "1", "--optimizer", "muon"]
    folder = tmp_path / "modern"
    assert main(["train", *STORIES, *layout, *more, "--steps", "2", "--folder", str(folder)]) == 0
    config = load(folder)[0].config
    assert (config.norm, config.mlp, config.position, config.n_kv_heads) == ("rmsnorm", "swiglu", "rotary", 1)
    assert config.qk_norm and not config.bias and (config.window, config.n_experts) == (8, 2)
    assert main(["generate", "--model", str(folder), "--max-new-tokens", "3"]) == 0


def test_a_resumed_run_refuses_other_settings_by_name(finished, tmp_path, capsys):
    folder = tmp_path / "same"
    shutil.copytree(finished, folder)
    resumed = ["train", "--resume", "--folder", str(folder)]
    error = error_of(capsys, *resumed, "--batch-size", "4", "--n-layers", "2", "--learning-rate", "0.1")
    assert "--batch-size is 4 (the run has 2)" in error and "--n-layers is 2 (the run has 1)" in error
    # What the weights were made for cannot change.
    assert error.endswith("to change: --changing batch-size --changing learning-rate"), error
    error = error_of(capsys, *resumed, "--no-bias")
    assert "--bias is False (the run has True)" in error and "--changing" not in error
    assert "a flag of the training" in error_of(capsys, *resumed, "--changing", "n-layers")
    assert main([*resumed, "--batch-size", "2", "--threads", "1", "--eval-every", "3"]) == 0


def test_a_resumed_run_changes_what_it_is_told_to(finished, tmp_path):
    folder = tmp_path / "told"
    shutil.copytree(finished, folder)
    resumed = ["train", "--resume", "--folder", str(folder), "--steps", "13"]
    assert main([*resumed, "--learning-rate", "0.5", "--changing", "learning-rate"]) == 0
    log = json.loads((folder / "training_log.json").read_text())
    assert (
        log["learning_rate"][-1] == pytest.approx(0.5 / (0.6 * 13))
        and log["seconds"][-1] > log["seconds"][-2] > 0
    )
    assert json.loads((folder / "settings.json").read_text())["learning_rate"] == 0.5


OLD_SETTINGS = """
{"corpus": "storyworld", "stories": 30, "tokenizer": null, "vocab_size": 300, "preset": "storyteller",
 "context_length": 32, "n_layers": 1, "n_heads": 2, "d_model": 16, "dropout": null, "position": null,
 "steps": 12, "batch_size": 2, "learning_rate": 0.001, "min_learning_rate": null, "warmup_steps": null,
 "optimizer": "adamw", "weight_decay": 0.1, "beta2": 0.95, "clip": 1.0, "at_document_starts": null,
 "precision": "float32", "device": "cpu", "shard": false, "threads": null, "seed": 0, "eval_every": 4,
 "eval_batches": 1, "checkpoint_every": 5, "save_as": null, "snapshots": 4}
"""


def test_a_run_of_before_the_flags_were_the_fields_goes_on(finished, tmp_path, monkeypatch):
    """Such a settings.json held what was given, null for what was not, and of the betas the second alone."""
    old = tmp_path / "old"
    shutil.copytree(finished, old)
    (old / "settings.json").write_text(OLD_SETTINGS)
    runs = []
    monkeypatch.setattr(cli_train, "_train", lambda run, *rest: runs.append(run))
    assert main(["train", "--resume", "--folder", str(old), "--threads", "1"]) == 0
    as_then = [
        "--optimizer",
        "adamw",
        "--learning-rate",
        "0.001",
        "--weight-decay",
        "0.1",
        "--repeats-first",
        "0",
    ]
    as_then += ["--schedule", "cosine", "--cooldown", "0.5", "--no-whole-documents", "--steps", "12"]
    given = [*STORIES, *as_then, "--snapshots", "4", "--threads", "1"]
    assert main(["train", "--folder", str(tmp_path / "new"), *given]) == 0
    assert runs[0].settings() == runs[1].settings()


# ---------------------------------------------------------------------- where something is missing


def test_doctor_is_asked(monkeypatch):
    monkeypatch.setattr(doctor, "LOOKS", {"disk": lambda: doctor.Finding("disk", "full", ["make room"])})
    assert main(["doctor"]) == 1


def gptlib_without(package, *arguments):
    code = f"import sys, runpy; sys.modules[{package!r}] = None; sys.argv[1:] = {list(arguments)!r}; "
    code += "runpy.run_module('gptlib', run_name='__main__')"
    root = Path(gptlib.__file__).parents[1]
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)


def test_the_doctor_answers_where_torch_is_broken_and_other_verbs_send_there():
    done = gptlib_without("torch", "doctor")
    assert (
        done.returncode == 1 and done.stderr == "" and "To mend" in done.stdout and "- torch: " in done.stdout
    )
    done = gptlib_without("torch", "generate")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("gptlib generate: error: ") and "`gptlib doctor`" in done.stderr


def test_what_is_said_where_even_the_command_lines_library_is_missing():
    done = gptlib_without("cyclopts", "doctor")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("gptlib: cyclopts, which reads the command line, is not there")
    assert "make lab" in done.stderr


def test_the_module_runs():
    command = [sys.executable, "-m", "gptlib", "dance"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(gptlib.__file__).parents[1])
    assert result.returncode == 2
    assert result.stderr.startswith("gptlib: error: ") and "dance" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def in_encoding(encoding, *arguments, **settings):
    """What a call writes where the output has this encoding."""
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "gptlib", *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, **settings)
    assert run.returncode == 0 and not run.stderr, run.stderr
    return run.stdout.decode(encoding.partition(":")[0])


def test_what_the_output_cannot_show_is_escaped_by_every_verb(tmp_path, monkeypatch):
    """As on Windows, whose encoding for pipes has neither 猫 nor U+FFFD."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    asked = ("generate", "--prompt", "猫 caf\xe9", "--max-new-tokens", "1")
    assert in_encoding("cp1252", *asked).startswith("\\u732b caf\xe9")
    assert in_encoding("ascii:replace", *asked).startswith("? caf?")
    assert r"\u65e5\u672c" in in_encoding("ascii", "nbgrader", str(tmp_path / "日本"), cwd=tmp_path)


def test_streams_that_cannot_be_told_so_are_left(monkeypatch, capsys):
    class Strict(io.StringIO):
        errors = "strict"

    for stream in (None, io.StringIO(), Strict()):
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["doctor", "--help"]) == 0


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == gptlib.__version__


def test_each_verb_has_a_sentence_of_help(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    for verb in VERBS:
        assert re.search(rf" {verb} +[A-Z].*\w", listed), verb
        assert main([verb, "--help"]) == 0
        assert f"Usage: gptlib {verb}" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------ snapshots


@pytest.mark.parametrize("steps", [11, 12, 30, 1000, 20_000])
def test_snapshots_are_closer_together_at_the_start(steps):
    chosen = snapshot_steps(steps, 12)
    gaps = [later - earlier for earlier, later in zip(chosen, chosen[1:], strict=False)]
    assert len(chosen) == 12 and chosen[0] == 0 and chosen[-1] == steps
    assert all(gap > 0 for gap in gaps) and gaps == sorted(gaps)
    assert snapshot_steps(steps, 2) == [0, steps] and snapshot_steps(steps, 0) == []
