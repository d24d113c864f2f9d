import hashlib
import json
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import safetensors.torch
import torch

from gptlib import load, save, shipped
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.shipped import data_folder, load_snapshots, ship, training_log, verify_data, write_checksums
from gptlib.text.tokenizer import Tokenizer

FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "training_log.json",
    "snapshots/step_000010.safetensors",
)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train("Once upon a time there was a cat. " * 20, vocab_size=270)


@pytest.fixture
def config(tokenizer):
    return GPTConfig(vocab_size=tokenizer.vocab_size, context_length=16, n_layers=2, n_heads=2, d_model=8)


@pytest.fixture
def model(config):
    torch.manual_seed(1)
    return GPT(config)


@pytest.fixture
def data(tmp_path, monkeypatch, model, tokenizer, config):
    """A small data folder, in the place of the real one, with a model called tiny."""
    monkeypatch.setattr(shipped, "data_folder", lambda: tmp_path)
    torch.manual_seed(2)
    log = {"step": [0, 10, 20], "loss": [5.5, np.float64(4.25), 3.0], "validation_loss": [None, np.nan, 3.5]}
    snapshots = [(step, GPT(config)) for step in (20, 0, 10)]
    ship("tiny", model, tokenizer, log, snapshots=iter(snapshots))
    return tmp_path


def replace_checksum(data, path):
    """Make data/SHA256SUMS agree with an altered file, so that what is inside it is looked at."""
    write_checksums()
    assert hashlib.sha256((data / path).read_bytes()).hexdigest() in (data / "SHA256SUMS").read_text()


def test_what_is_saved_is_loaded(data, model, tokenizer):
    loaded, loaded_tokenizer = load("tiny")
    assert loaded.config == model.config and not loaded.training
    assert loaded.unembedding.weight is loaded.token_embedding.weight
    for (name, weight), (_, original) in zip(
        loaded.named_parameters(), model.named_parameters(), strict=True
    ):
        assert weight.dtype == torch.float32, name
        assert torch.equal(weight, original.half().float()), name  # stored in half precision
    text = "Once upon a cat."
    assert loaded_tokenizer.encode(text) == tokenizer.encode(text)
    assert verify_data() == []


@pytest.mark.parametrize("position", ["none", "sinusoidal", "rotary", "alibi"])
def test_every_kind_of_model_survives(data, tokenizer, config, position):
    config = replace(config, position=position, n_kv_heads=1, bias=False, tie_embeddings=False)
    model = GPT(config).eval()
    ship("other", model, tokenizer, {}, [(0, model)])
    tokens = torch.tensor([[1, 2, 3]])
    half = model.half().float()
    assert torch.equal(load("other")[0](tokens), load_snapshots("other")[0][1](tokens))
    if position != "sinusoidal":  # whose table the model has in full
        assert torch.equal(load("other")[0](tokens), half(tokens))
    assert load("tiny")[0].config.position == "learned"  # the other one is still there


def test_a_models_folder_that_is_older_than_save_is_read(data, model, tokenizer, config):
    """Such as storyteller's: the fields of the GPTConfig, our names, and our own tokenizer file."""
    for path in (data / "tiny").glob("*on*"):
        path.unlink(missing_ok=True) if path.is_file() and "log" not in path.name else None
    (data / "tiny" / "config.json").write_text(json.dumps(asdict(config)))
    weights = {name: weight.detach().half() for name, weight in model.named_parameters()}
    safetensors.torch.save_file(weights, data / "tiny" / "model.safetensors")
    tokenizer.save(data / "tiny" / "tokenizer.json")
    write_checksums()
    loaded, same = load("tiny")
    assert same == tokenizer and loaded.config == config
    assert torch.equal(loaded.final_norm.weight, model.final_norm.weight.half().float())


def test_what_save_puts_into_data_is_loaded_by_its_path(data, model, tokenizer):
    """It has no checksums, since nobody shipped it."""
    assert load(save(data / "mine", model, tokenizer))[1] == tokenizer


def test_snapshots_come_in_order(data):
    snapshots = load_snapshots("tiny")
    assert [step for step, _ in snapshots] == [0, 10, 20]
    weights = [snapshot.token_embedding.weight for _, snapshot in snapshots]
    assert not torch.equal(weights[0], weights[1]) and weights[0].dtype == torch.float32


def test_new_snapshots_replace_the_old_ones(data, model, tokenizer):
    ship("tiny", model, tokenizer, {})
    assert [step for step, _ in load_snapshots("tiny")] == [0, 10, 20]  # none given: kept
    ship("tiny", model, tokenizer, {}, snapshots=[(5, model)])
    assert [step for step, _ in load_snapshots("tiny")] == [5]
    assert verify_data() == []


def test_training_log_is_arrays(data):
    log = training_log("tiny")
    assert log["step"].tolist() == [0, 10, 20] and log["step"].dtype.kind == "i"
    assert log["loss"].tolist() == [5.5, 4.25, 3.0]
    assert np.isnan(log["validation_loss"][:2]).all() and log["validation_loss"][2] == 3.5


def test_checksums_are_those_of_sha256sum(data):
    lines = (data / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == sorted(line.split("  ")[1] for line in lines)
    for line in lines:
        expected, path = line.split("  ")
        assert hashlib.sha256((data / path).read_bytes()).hexdigest() == expected
    assert {f"tiny/{file}" for file in FILES} <= {line.split("  ")[1] for line in lines}


def test_checksums_that_notepad_saved_are_read(data):
    lines = (data / "SHA256SUMS").read_text()
    (data / "SHA256SUMS").write_text(lines, encoding="utf-8-sig", newline="\r\n")
    assert verify_data() == []


def test_readmes_and_hidden_files_have_no_checksum(data):
    (data / "README.md").write_text("how it was made")
    (data / "tiny" / ".model.partial").write_text("left by a kill")
    before = (data / "SHA256SUMS").read_text()
    write_checksums()
    assert (data / "SHA256SUMS").read_text() == before


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("harm", ["cut off", "altered", "empty", "missing"])
def test_a_harmed_file_is_refused_by_name_and_checksum(data, file, harm):
    path = data / "tiny" / file
    content = path.read_bytes()
    expected = hashlib.sha256(content).hexdigest()
    middle = len(content) // 2
    if harm == "missing":
        path.unlink()
    else:
        altered = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"cut off": content[:-1], "altered": altered, "empty": b""}[harm])
    others = {"training_log.json": training_log, "snapshots/step_000010.safetensors": load_snapshots}
    error = FileNotFoundError if harm == "missing" else ValueError
    with pytest.raises(error) as caught:
        others.get(file, load)("tiny")
    assert f"data/tiny/{file}" in str(caught.value) and expected in str(caught.value)
    (problem,) = verify_data()
    assert f"data/tiny/{file}" in problem and expected in problem and "git checkout" in problem
    assert "\n" not in problem


def test_every_problem_has_its_line(data):
    (data / "tiny" / "config.json").unlink()
    (data / "tiny" / "tokenizer.json").write_bytes(b"{}")
    assert len(verify_data()) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "SHA256SUMS is missing"),
        (b"not a checksum\n", "line 1.*is not 'sha256  path'"),
        (b"\xff\xfe", "line 1"),
    ],
)
def test_harmed_checksums_are_refused(data, content, words):
    (data / "SHA256SUMS").unlink()
    if content is not None:
        (data / "SHA256SUMS").write_bytes(content)
    with pytest.raises((FileNotFoundError, ValueError), match=words):
        load("tiny")
    (problem,) = verify_data()
    assert "SHA256SUMS" in problem and "git checkout" in problem


def test_a_file_without_a_checksum_is_refused(data):
    lines = (data / "SHA256SUMS").read_text().splitlines(keepends=True)
    (data / "SHA256SUMS").write_text("".join(line for line in lines if "tokenizer" not in line))
    with pytest.raises(ValueError, match="data/tiny/tokenizer.json is not listed"):
        load("tiny")


def test_files_that_do_not_fit_each_other_are_refused(data, model, config):
    path = data / "tiny" / "config.json"
    path.write_text(json.dumps(asdict(config) | {"position": "alibi"}))
    replace_checksum(data, "tiny/config.json")
    with pytest.raises(ValueError, match="tiny' is not the model that its config describes: missing"):
        load("tiny")
    words = "step_000000.safetensors is not the model that.*unexpected.*checkout"
    with pytest.raises(ValueError, match=words):
        load_snapshots("tiny")
    path.write_text(json.dumps(asdict(config) | {"color": "red"}))
    replace_checksum(data, "tiny/config.json")
    with pytest.raises(ValueError, match="config.json.* has color, unknown to GPTConfig"):
        load("tiny")
    path.write_text(json.dumps(asdict(config)))
    (data / "tiny" / "model.safetensors").write_bytes(safetensors.torch.save({"extra": torch.ones(2)}))
    replace_checksum(data, "tiny/model.safetensors")
    with pytest.raises(ValueError, match="missing token_embedding.*unexpected extra"):
        load("tiny")
    (data / "tiny" / "model.safetensors").write_bytes(b"no weights at all")
    replace_checksum(data, "tiny/model.safetensors")
    with pytest.raises(ValueError, match="no safetensors file"):
        load("tiny")


@pytest.mark.parametrize("read", [load_snapshots, training_log])
def test_an_unknown_name_is_refused_with_those_there_are(data, read):
    with pytest.raises(ValueError, match="name is 'gpt5'; data/ has tiny"):
        read("gpt5")
    with pytest.raises(FileNotFoundError, match="'gpt5'.* with the course comes tiny"):
        load("gpt5")


def test_saving_refuses_what_could_not_be_loaded(data, model, tokenizer):
    other = Tokenizer.train("Once upon a time there was a cat. " * 20, vocab_size=265)
    with pytest.raises(ValueError, match="tokenizer has vocab_size 265; it needs the model's, 270"):
        ship("bad", model, other, {})
    for name, words in (("../outside", "it needs letters"), ("gpt2", "which is a published model's")):
        with pytest.raises(ValueError, match=f"name is '{name}'.*{words}"):
            ship(name, model, tokenizer, {})
    (data / "rivals").mkdir()
    (data / "rivals" / "gru.json").touch()
    with pytest.raises(FileExistsError, match="holds gru.json"):
        ship("rivals", model, tokenizer, {})
    with torch.no_grad():
        model.blocks[1].mlp.up.weight[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"65504.* in blocks.1.mlp.up.weight"):
        ship("tiny", model, tokenizer, {})
    load("tiny")  # what was there is still whole


def test_the_real_folder_is_beside_the_package():
    package = sys.modules["gptlib"].__path__[0]
    assert (
        str(data_folder().parent) == str(type(data_folder())(package).parent) and data_folder().name == "data"
    )
