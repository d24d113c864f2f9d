import hashlib
import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch

from gptlib import load, save
from gptlib.formats import hub
from gptlib.formats.hub import PUBLISHED, Published, fetch
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.text.tokenizer import Tokenizer

TOKENIZER = Tokenizer.train(["the cat sat on the mat"], 262)


class FakeHub:
    """Stands in for huggingface_hub: serves the files of a folder, and notes what it is asked for."""

    def __init__(self, folder, cache):
        self.folder, self.cache, self.asked = folder, cache, []

    def try_to_load_from_cache(self, repository, file, revision):
        return str(self.cache / file) if (self.cache / file).exists() else None

    def model_info(self, repository, revision, files_metadata, timeout):
        self.asked.append(("about", repository, revision))
        files = [
            SimpleNamespace(rfilename=path.name, size=path.stat().st_size) for path in self.folder.iterdir()
        ]
        return SimpleNamespace(siblings=files)

    def hf_hub_download(self, repository, file, revision):
        if not (self.cache / file).exists():
            self.asked.append((file, repository, revision))
            shutil.copy(self.folder / file, self.cache / file)
        return str(self.cache / file)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A small model that plays the published gpt2."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(262, 16, 1, 2, 8))
    folder = save(tmp_path / "server", model, TOKENIZER)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).write_text("{}")
    (tmp_path / "cache").mkdir()
    server = FakeHub(folder, tmp_path / "cache")
    for name in ("try_to_load_from_cache", "model_info", "hf_hub_download"):
        monkeypatch.setattr(huggingface_hub, name, getattr(server, name))
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    monkeypatch.setitem(hub.PUBLISHED, "gpt2", Published("c0ffee" * 6 + "1234", digest))
    monkeypatch.setattr(hub, "FILES", ("config.json", "tokenizer.json", "model.safetensors"))
    return server


def test_a_first_call_says_what_it_fetches_before_it_does_and_a_second_fetches_nothing(server, capsys):
    said = []
    download = server.hf_hub_download
    huggingface_hub.hf_hub_download = lambda *args, **given: (
        said.append(capsys.readouterr().out),
        download(*args, **given),
    )[1]
    model, tokenizer = load("gpt2")
    assert model.config.d_model == 8 and tokenizer == TOKENIZER
    size = sum((server.folder / name).stat().st_size for name in hub.FILES) / 1e6
    assert "Fetching config.json, tokenizer.json, model.safetensors of openai-community/gpt2" in said[0]
    assert "commit c0ffeec" in said[0] and f"{size:,.1f} MB" in said[0]
    assert {asked[1:] for asked in server.asked} == {("openai-community/gpt2", "c0ffee" * 6 + "1234")}
    server.asked.clear()
    load("openai-community/gpt2")
    assert not server.asked and not capsys.readouterr().out


@pytest.mark.parametrize("lie", [b"", b"cut", b"x" * 5000])
def test_weights_that_are_not_the_published_ones_are_refused(server, lie):
    (server.folder / "model.safetensors").write_bytes(lie)
    with pytest.raises(
        ValueError, match=r"model.safetensors' is cut off or altered: expected sha256.*delete"
    ):
        load("gpt2")
    (server.folder / "model.safetensors").write_bytes(b"another")
    with pytest.raises(ValueError, match="cut off or altered"):  # what is in the cache is checked too
        load("gpt2")


def test_a_download_that_breaks_off_is_one_clear_line(server, monkeypatch):
    def broken(repository, file, revision):
        raise RuntimeError("peer closed connection\nwithout sending the rest")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", broken)
    with pytest.raises(ConnectionError, match="RuntimeError: peer closed connection\\)") as caught:
        load("gpt2")
    assert "\n" not in str(caught.value)


def assert_two_ways_on(name):
    with pytest.raises(ConnectionError) as caught:
        fetch(name)
    line = str(caught.value)
    assert line.startswith(f"{name} is not on this machine") and "\n" not in line
    assert "connect to the network once" in line and f"huggingface.co/openai-community/{name}" in line


def test_without_a_network_there_is_one_clear_line_with_two_ways_on(tmp_path, monkeypatch, capfd):
    """The real huggingface_hub, told that it is offline, then unplugged by the guard (its log is ours)."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in PUBLISHED:
        assert_two_ways_on(name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("GPTLIB_NETWORK_LOG", str(tmp_path / "log"))
    huggingface_hub.close_session()  # the one that was told
    assert_two_ways_on("gpt2")
    assert "huggingface.co" in (tmp_path / "log").read_text()
    assert capfd.readouterr() == ("", "")
    huggingface_hub.close_session()


def test_what_is_pinned_is_a_whole_commit_and_a_whole_checksum():
    for published in PUBLISHED.values():
        assert len(bytes.fromhex(published.revision)) == 20 and len(bytes.fromhex(published.sha256)) == 32
