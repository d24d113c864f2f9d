"""PatchingExplorer: cells are those of the core, bars the patched runs, and what cannot be is refused."""

import copy
import json

import pytest
import torch

from gptlib import GPT, GPTConfig
from gptlib.interpret.inspecting import each_patch, logit_difference, patching_map
from gptlib.text.characters import CharacterTokenizer
from gptlib.viz.explorers.patching import PatchingExplorer

CLEAN, CORRUPTED = "Mia and", "Leo and"
TOKENIZER = CharacterTokenizer.train("Mia and Leo")


def tokens(text):
    return torch.tensor([[TOKENIZER.end_of_text, *TOKENIZER.encode(text)]])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    config = GPTConfig(TOKENIZER.vocab_size, context_length=48, n_layers=2, n_heads=2, d_model=16)
    model = GPT(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8)
    return model.eval()


@pytest.fixture
def explorer(model):
    return PatchingExplorer(model, TOKENIZER, CLEAN, CORRUPTED)


@pytest.mark.parametrize("part", ["residual_pre", "attention.output", "mlp.output", "attention.heads"])
def test_cells_are_the_librarys_and_bars_the_patched_runs(model, part):
    explorer = PatchingExplorer(model, TOKENIZER, CLEAN, CORRUPTED, part=part)
    with torch.no_grad():
        whole = model(torch.cat([tokens(CLEAN), tokens(CORRUPTED)]))[:, -1]
    metric = logit_difference(*whole.argmax(dim=-1).tolist())
    expected = patching_map(model, tokens(CLEAN), tokens(CORRUPTED), metric, part)
    torch.testing.assert_close(explorer.cells, expected, atol=1e-4, rtol=1e-4)
    answer = explorer.answer
    assert answer["cells"] == explorer.cells.flatten().tolist() and answer["rows"] == 2
    assert len(answer["columns"]) == (2 if part == "attention.heads" else 8)
    for (_, _, logits), says in zip(
        each_patch(model, tokens(CLEAN), tokens(CORRUPTED), part), answer["says"], strict=True
    ):
        now = logits[0, -1].softmax(dim=-1)
        assert [bar["p"] for bar in says] == pytest.approx(now.topk(5).values.tolist())
        assert says[0]["was"] == pytest.approx(whole[1].softmax(-1)[now.argmax()].item(), abs=1e-5)
    json.dumps(explorer.page_state(), allow_nan=False)


def test_the_words_that_differ_are_marked(explorer):
    assert explorer.answer["columns"] == ["(start)", *"Leo", "␣", *"and"]
    assert explorer.answer["differs"] == [False, True, True, True, False, False, False, False]


def test_follows_what_the_page_changes(explorer):
    explorer.set_state({"part": "attention.heads", "asked": 1})
    assert explorer.problem == "" and explorer.answer["columns"] == ["head 0", "head 1"]
    explorer.set_state({"clean": "Mia and a", "asked": 2})
    assert explorer.problem == (
        "Clean has 9 tokens and corrupted 7; patching needs the same number: take 2 from clean, or "
        "add as many to corrupted. Where clean has “␣|a” (2), corrupted has nothing (0)"
    )
    assert explorer.answered == 2 and len(explorer.answer["cells"]) == 4  # the last good answer stays
    assert explorer.answer["of"] == {"clean": CLEAN, "corrupted": CORRUPTED, "part": "attention.heads"}


@pytest.mark.parametrize(
    ("clean", "corrupted", "needs", "differ"),
    [
        ("a Mia and", "a Leo  and", "take 1 from corrupted", "“M|i|a” (3), corrupted has “L|e|o|␣” (4)"),
        ("Mia", "Leo and Mia", "take 8 from corrupted", "nothing (0), corrupted has “L|e|o|␣|a|n…” (8)"),
        ("Mia and", "Leo", "take 4 from clean", "“M|i|a|␣|a|n…” (7), corrupted has “L|e|o” (3)"),
    ],
)
def test_texts_of_unequal_length_are_told_where_they_differ(model, clean, corrupted, needs, differ):
    with pytest.raises(ValueError) as caught:
        PatchingExplorer(model, TOKENIZER, clean, corrupted)
    assert needs in str(caught.value) and str(caught.value).endswith(differ)


def test_every_script_is_shown_as_itself(model):
    tokenizer = CharacterTokenizer.train("你好مر🪁! and")
    torch.manual_seed(2)
    model = GPT(GPTConfig(tokenizer.vocab_size, context_length=16, n_layers=1, n_heads=1, d_model=16)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8)
    answer = PatchingExplorer(model, tokenizer, "مر🪁 a你", "مر🪁 a好").answer
    assert answer["columns"] == ["(start)", *"مر🪁␣a好"] and answer["clean"] == ["(start)", *"مر🪁␣a你"]


@pytest.mark.parametrize(
    ("clean", "corrupted", "message"),
    [
        ("", "Leo", "clean is empty"),
        ("Mia", "a" * 40, "corrupted has 40 tokens; at most 39"),
        ("Mia", "Mia", "both followed by"),
    ],
)
def test_what_cannot_be_patched_is_refused(model, clean, corrupted, message):
    with pytest.raises(ValueError, match=message):
        PatchingExplorer(model, TOKENIZER, clean, corrupted)


def test_a_model_whose_numbers_are_none_is_refused_by_the_weights_name(model):
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.blocks[1].mlp.up.weight[0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="its weight blocks.1.mlp.up.weight holds nan"):
        PatchingExplorer(broken, TOKENIZER, CLEAN, CORRUPTED)


def test_another_model_is_refused():
    with pytest.raises(Exception, match=r"GPT"):
        PatchingExplorer(torch.nn.Linear(2, 2), TOKENIZER, CLEAN, CORRUPTED)


def test_picture_and_repr(explorer):
    assert explorer.figure().arrays["matrix"].shape == (2, 8)
    right, wrong = explorer.answer["words"]
    assert repr(explorer) == f"PatchingExplorer(residual_pre, from {wrong!r} to {right!r}, 8 columns)"
