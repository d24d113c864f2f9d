import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from gptlib import load
from gptlib.cli import finetune, train
from gptlib.cli.main import main
from gptlib.training import finetuning
from gptlib.training.finetuning import load_adapter

SHORT = ["--steps", "4", "--eval-every", "2", "--batch-size", "2", "--rank", "2", "--threads", "1"]


def write(path, *pairs):
    lines = [
        json.dumps({"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]})
        for a, b in pairs
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def error_of(capsys, *arguments):
    """The one line that a mistake is answered with."""
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"gptlib {arguments[0]}: error: ") and "\n" not in error, error
    return error


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """Data of one's own, and an adapter learned from it."""
    folder = tmp_path_factory.mktemp("finetune")
    data = write(folder / "mine.jsonl", *((f"The kite of number {n}", "红色的风筝") for n in range(20)))
    out = folder / "mine.safetensors"
    assert main(["finetune", "--data", str(data), "--out", str(out), "--new-tokens", "5", *SHORT]) == 0
    return data, out


def test_finetune_leaves_an_adapter_that_loads(mine):
    base, tokenizer = load("storyteller")
    model, grown, about = load_adapter(mine[1], base, tokenizer)
    assert model.config.vocab_size == grown.vocab_size == tokenizer.vocab_size + 5 + 2
    assert about["rank"] == 2 and about["examples"] == 18 and about["step"] in (2, 4)
    assert len(grown.encode("红色的风筝")) < len(tokenizer.encode("红色的风筝"))


def test_evaluate_measures_it_beside_the_model_before(mine, capsys):
    arguments = ["evaluate", "--data", str(mine[0]), "--adapter", str(mine[1]), "--n", "3", "--threads", "1"]
    assert main(arguments) == 0
    before, after = capsys.readouterr().out.strip().split("\n")
    assert before.startswith("before") and after.startswith("after") and "of 3 answered" in after
    losses = [float(line.split("loss ")[1].split()[0]) for line in (before, after)]
    assert losses[1] < losses[0]


def test_an_application_is_learned_and_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    out, numbers = Path("gpt2"), tmp_path / "table.json"
    assert main(["finetune", "--application", "table", "--examples", "50", "--out", str(out), *SHORT]) == 0
    said = capsys.readouterr().out
    assert "kept" in said and said.endswith("--model ./gpt2\n")  # gpt2 alone is a published model
    measured = ["evaluate", "table", "--adapter", str(out), "--n", "3", "--json", str(numbers)]
    assert main([*measured, "--threads", "1"]) == 0
    assert "Questions over a table" in capsys.readouterr().out
    (row,) = json.loads(numbers.read_text())
    assert row["application"] == "table" and row["n"] == 3 and row["loss_after"] < row["loss_before"]


def test_a_bad_line_is_named_and_nothing_is_lost(tmp_path, capsys):
    data = write(tmp_path / "mine.jsonl", ("a", "b"), ("c", "d"))
    data.write_text(data.read_text() + '{"prompt": "e"}\n')
    before = data.read_bytes()
    error = error_of(capsys, "finetune", "--data", data, "--out", tmp_path / "mine.safetensors", *SHORT)
    assert 'mine.jsonl\', line 3: expected {"messages"' in error
    assert data.read_bytes() == before and not (tmp_path / "mine.safetensors").exists()


def test_a_line_that_is_too_long_is_named(tmp_path, capsys):
    data = write(tmp_path / "mine.jsonl", ("a", "b"), ("kite " * 300, "d"))
    error = error_of(capsys, "finetune", "--data", data, "--out", tmp_path / "mine.safetensors", *SHORT)
    assert "a conversation a line: conversation 2 has" in error and "context_length is 256" in error


def test_an_adapter_is_never_written_over(mine, capsys):
    before = mine[1].read_bytes()
    error = error_of(capsys, "finetune", "--data", mine[0], "--out", mine[1], *SHORT)
    assert "is there already; name another file" in error and mine[1].read_bytes() == before


def test_a_run_that_is_stopped_leaves_its_best(tmp_path, mine, monkeypatch):
    out = tmp_path / "mine.safetensors"
    fine_tune = finetuning.fine_tune

    def stopped(*arguments):
        for step in fine_tune(*arguments):
            yield step
            if step.step == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(finetuning, "fine_tune", stopped)
    assert main(["finetune", "--data", str(mine[0]), "--out", str(out), *SHORT]) == 130
    assert load_adapter(out, *load("storyteller"))[2]["step"] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["finetune", "--application", "cooking", "--out", "x.safetensors"], "no application 'cooking'"),
        (["finetune", "--application", "table", "--out", "no/where.safetensors"], "there is no folder 'no'"),
        (["finetune", "--out", "x.safetensors"], "one of --application and --data"),
        (["finetune", "--data", "no.jsonl", "--out", "x.safetensors"], "there is no file 'no.jsonl'"),
        (["finetune", "--application", "table", "--out", "x", "--rank", "0"], "--rank is 0; it needs to be"),
        (["evaluate", "cooking"], "no application 'cooking'"),
        (["evaluate", "table", "--n", "1"], "--n is 1; it needs to be at least 2"),
        (["evaluate", "--adapter", "x.safetensors"], "name the application that it is for"),
        (["evaluate", "--data", "no.jsonl"], "--adapter is not given"),
        (["evaluate", "table", "--adapter", "no.safetensors"], "there is no file 'no.safetensors'"),
    ],
)
def test_a_mistake_is_one_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert said in error_of(capsys, *arguments, "--threads", "1")
    assert not list(tmp_path.iterdir())


def test_whether_a_terminal_watches_is_asked_at_each_run(monkeypatch):
    for watched in (True, False):
        monkeypatch.setattr("sys.stderr", SimpleNamespace(isatty=lambda watched=watched: watched))
        assert finetune.Training().progress is watched
        assert train.Training(folder=Path("x")).progress is watched
