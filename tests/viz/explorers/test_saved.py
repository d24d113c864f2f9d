"""The state that a notebook keeps of an explorer beside its picture, for the course's site."""

import base64
import copy
import gzip

import pytest
import torch

from gptlib import load
from gptlib.viz import AttentionExplorer, BudgetExplorer, GenerationExplorer, PatchingExplorer
from gptlib.viz.explorers import explorer as explorers
from gptlib.viz.explorers import saved
from gptlib.viz.explorers.pages import bare, packed
from gptlib.viz.explorers.saved import EXPLORER, LARGEST, version

TEXT = "Nora took a red kite"


@pytest.fixture(scope="module")
def storyteller():
    return load("storyteller")


def kept(explorer):
    return explorer._repr_mimebundle_()[0].get(EXPLORER)


def test_it_is_what_a_file_holds_and_the_same_each_time():
    explorer = BudgetExplorer(n_layers=7)
    state = kept(explorer)
    assert set(state) == {"title", "script", "version", "model", "state"}
    assert (state["title"], state["script"], state["model"]) == (explorer.title, "budget.js", "")
    assert gzip.decompress(base64.b64decode(state["state"])) == packed(explorer.page_state())
    assert kept(BudgetExplorer(n_layers=7)) == state


def test_a_large_state_is_left_out(monkeypatch, storyteller):
    noise = torch.rand(8, 8, 160, 160, generator=torch.Generator().manual_seed(0)).tril()
    large = AttentionExplorer.from_array(noise / noise.sum(-1, keepdim=True), list(range(160)))
    assert kept(large) is None and "image/png" in large._repr_mimebundle_()[0]
    small = BudgetExplorer()
    size = len(kept(small)["state"])
    assert size < LARGEST
    monkeypatch.setattr(saved, "LARGEST", size)
    assert kept(small)
    monkeypatch.setattr(saved, "LARGEST", size - 1)
    assert kept(small) is None


def test_another_page_code_is_another_version(monkeypatch):
    before = kept(BudgetExplorer())["version"]
    assert before == version(bare("budget.js"))
    monkeypatch.setattr(explorers, "bare", lambda script: bare(script) + ";")
    assert kept(BudgetExplorer())["version"] != before


def test_the_model_is_named_where_it_is_the_shipped_one(storyteller):
    model, tokenizer = storyteller
    other = copy.deepcopy(model)
    other.final_norm.bias.data[5] += 1e-4
    pair = "Jack lived on plums. On Friday night", "Noah lived on plums. On Friday night"
    for make, there in [
        (lambda it: AttentionExplorer(it, tokenizer, TEXT), True),
        (lambda it: AttentionExplorer(it, tokenizer, TEXT, text_b="Mia took a red kite"), True),
        (lambda it: AttentionExplorer(it, tokenizer, TEXT, model_b=other), False),
        (lambda it: GenerationExplorer(it, tokenizer, TEXT), True),
        (lambda it: PatchingExplorer(it, tokenizer, *pair), True),
        (lambda it: AttentionExplorer.from_array(torch.eye(2)[None, None], "ab"), False),
    ]:
        assert kept(make(model))["model"] == ("storyteller" if there else "")
        assert kept(make(other))["model"] == ""
