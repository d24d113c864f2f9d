"""`gptlib page`: the file that it writes, and what it says where it cannot."""

import pytest
import torch

from gptlib import GPT, GPTConfig, load, save
from gptlib.cli.main import main


def error_of(capsys, *arguments):
    """The one line that a mistake is answered with."""
    assert main(["page", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("gptlib page: error: ") and "\n" not in error, error
    return error


def folder_of(tmp_path, **changes):
    """A folder with a model of storyteller's tokens."""
    tokenizer = load("storyteller")[1]
    fields = {
        "vocab_size": tokenizer.vocab_size,
        "context_length": 32,
        "n_layers": 1,
        "n_heads": 2,
        "d_model": 16,
    }
    torch.manual_seed(0)
    save(tmp_path / "mine", GPT(GPTConfig(**{**fields, **changes})), tokenizer)
    return str(tmp_path / "mine")


def test_it_writes_the_page_of_a_folder(tmp_path, capsys):
    out = tmp_path / "mine.html"
    arguments = ["--model", folder_of(tmp_path), "--out", str(out), "--prompt", "Ivy & <b>"]
    assert main(["page", *arguments]) == 0
    assert capsys.readouterr().out == f"{out}: {out.stat().st_size / 1e6:.1f} MB, to be opened in a browser\n"
    text = out.read_text(encoding="utf-8")
    assert "<h1>Mine</h1>" in text and "<title>Mine in one page</title>" in text
    assert '{"prompt": "Ivy & \\u003cb>"}' in text
    assert "http:" not in text.replace("http://www.w3.org/", "") and "https:" not in text
    first = out.read_bytes()
    assert main(["page", *arguments]) == 0 and out.read_bytes() == first  # nothing in it is of the moment
    assert main(["page", *arguments, "--bits", "8"]) == 0 and len(out.read_bytes()) < len(first)
    assert "parameters of 8 bits" in out.read_text(encoding="utf-8")


def test_the_model_begins_where_no_prompt_is_given(tmp_path):
    assert main(["page", "--model", folder_of(tmp_path), "--out", str(tmp_path / "page.html")]) == 0
    state = (tmp_path / "page.html").read_text(encoding="utf-8").partition('id="state">')[2].partition("<")[0]
    assert len(state) > len('{"prompt": ""}')


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "nowhere"], "'nowhere': there is no such file or folder"),
        (["--out", "nowhere/page.html"], "nowhere' does not exist; create it"),
        (["--bits", "4"], "bits"),
    ],
)
def test_mistakes_are_one_sentence(capsys, arguments, told):
    assert told in error_of(capsys, *arguments)


def test_a_model_that_no_page_can_run_is_refused(tmp_path, capsys):
    large = folder_of(tmp_path, d_model=512, n_layers=4)
    told = error_of(capsys, "--model", large, "--out", str(tmp_path / "page.html"))
    assert "10,000,000 parameters" in told and not (tmp_path / "page.html").exists()


def test_it_writes_the_page_in_which_one_learns(tmp_path, capsys):
    out = tmp_path / "learning.html"
    assert main(["page", "--training", "--out", str(out)]) == 0
    assert out.stat().st_size < 400_000
    capsys.readouterr()
    assert "takes no model" in error_of(
        capsys, "--training", "--bits", "8", "--out", str(tmp_path / "other.html")
    )
    assert not (tmp_path / "other.html").exists()
