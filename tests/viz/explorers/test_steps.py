"""AttentionSteps: its numbers are gptlib's whatever is changed, and what cannot be is refused."""

import json

import pytest
import torch
from traitlets import TraitError

from gptlib import GPT, GPTConfig, attend, load, trace
from gptlib.model.masks import causal_mask
from gptlib.text.characters import CharacterTokenizer
from gptlib.viz.explorers.steps import MOST_TOKENS, AttentionSteps

WORDS = ["Mia", "lost", "her", "red", "kite"]


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def explorer():
    return AttentionSteps(*drawn(3, 5, 4), WORDS)


def test_starts_as_causal_attention(explorer):
    queries, keys, values = drawn(3, 5, 4)
    output, weights = attend(queries, keys, values, causal_mask(5))
    torch.testing.assert_close(explorer.weights, weights)
    torch.testing.assert_close(explorer.output, output)
    assert explorer.query == 4 and explorer.d_k == 4 and explorer.temperature == 1
    assert explorer.answer["tokens"] == WORDS and explorer.problem == ""
    json.dumps(explorer.page_state(), allow_nan=False)


def test_lists_arrays_and_places_as_tokens():
    explorer = AttentionSteps([[1, 0], [0, 1]], drawn(2, 2).numpy(), [[1, 2, 3], [4, 5, 6]], query=0)
    assert explorer.output.shape == (2, 3) and explorer.tokens == ["0", "1"]
    assert repr(explorer) == "AttentionSteps(2 tokens, query '0', d_k 2)"


def test_follows_what_the_page_changes(explorer):
    queries, keys, values = drawn(3, 5, 4)
    keys[1, 2] = 1.5
    mask = causal_mask(5)
    mask[4, 0] = False
    page = {"k": keys.tolist(), "mask": mask.tolist(), "d_k": 3, "temperature": 0.5, "asked": 1}
    explorer.set_state(page)
    assert explorer.problem == "" and explorer.answered == 1
    scores = queries[:, :3] @ keys[:, :3].T / 3**0.5 / 0.5
    weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)
    torch.testing.assert_close(explorer.weights, weights)
    torch.testing.assert_close(explorer.output, weights @ values)
    assert explorer.answer["at_first"]["k"] == drawn(3, 5, 4)[1].tolist()


def test_a_mask_of_ones_own_and_scores_that_are_not_divided():
    queries, keys, values = drawn(3, 5, 4)
    explorer = AttentionSteps(queries, keys, values, WORDS, mask=None, scale=False)
    raw = queries @ keys.T
    torch.testing.assert_close(explorer.weights, raw.softmax(dim=-1))
    torch.testing.assert_close(explorer.output, raw.softmax(dim=-1) @ values)
    assert not explorer.figure().arrays["masked"].any()
    explorer.d_k, explorer.temperature = 3, 2.0
    weights = (queries[:, :3] @ keys[:, :3].T / 2).softmax(dim=-1)
    torch.testing.assert_close(explorer.weights, weights)
    explorer.set_state({"scale": True, "asked": 1})
    weights = (queries[:, :3] @ keys[:, :3].T / 3**0.5 / 2).softmax(dim=-1)
    torch.testing.assert_close(explorer.weights, weights)
    own = ~causal_mask(5).T | torch.eye(5, dtype=torch.bool)  # as attend takes it: True is seen
    explorer = AttentionSteps(queries, keys, values, WORDS, mask=own)
    torch.testing.assert_close(explorer.weights, attend(queries, keys, values, own)[1])


def test_a_row_of_the_mask_without_any_key_is_told(explorer):
    before = explorer.answer
    explorer.set_state({"mask": [[False] * 5] + causal_mask(5).tolist()[1:], "asked": 1})
    assert explorer.problem == 'Mask lets "Mia" attend to nothing; each query needs one key'
    assert explorer.answer == before and explorer.answered == 1
    explorer.set_state({"mask": causal_mask(5).tolist(), "asked": 2})
    assert explorer.problem == ""


@pytest.mark.parametrize(
    ("trait", "value", "message"),
    [
        ("q", drawn(5, 3), r"queries has shape \(5, 3\); it needs to stay \(5, 4\)"),
        ("k", [[1.0], [1.0, 2.0]], "keys is a .*; it needs numbers of shape"),
        ("v", torch.full((5, 4), torch.nan), "values has nan .*finite"),
        ("v", torch.full((5, 4), -2e6), r"values holds -2e\+06; numbers from -1,000,000 to 1,000,000"),
        ("mask", torch.full((5, 5), 2), "mask holds more than True and False"),
        ("mask", torch.zeros(5, 5, dtype=torch.bool), 'mask lets "Mia" attend to nothing'),
        ("query", 5, "query is 5; there are 5 queries, so it is from 0 to 4"),
        ("d_k", 0, "d_k is 0; queries and keys have 4 dimensions, so it is 1 to 4"),
        ("d_k", 5, "d_k is 5"),
        ("temperature", 0.0, "temperature is 0; it needs to be above 0"),
        ("temperature", float("inf"), "temperature is inf"),
    ],
)
def test_refuses_and_stays_as_it_was(explorer, trait, value, message):
    before = explorer.page_state()
    with pytest.raises((ValueError, TypeError), match=message):
        setattr(explorer, trait, value)
    assert explorer.page_state() == before


def test_a_wrong_kind_of_trait(explorer):
    with pytest.raises(TraitError):
        explorer.d_k = "3"


def test_query_counts_from_the_end(explorer):
    explorer.query = -2
    assert explorer.query == 3 and "query 'red'" in repr(explorer)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((drawn(5, 4), drawn(4, 4), drawn(5, 4)), {}, r"keys has shape \(4, 4\); queries has \(5, 4\)"),
        ((drawn(5, 4), drawn(5, 4), drawn(4, 4)), {}, "values has 4 rows; keys has 5"),
        ((drawn(1, 5, 4), drawn(5, 4), drawn(5, 4)), {}, r"queries has shape .*; it needs \(seq, d_head\)"),
        (drawn(3, MOST_TOKENS + 1, 2), {}, "queries has 13 tokens; at most 12"),
        (drawn(3, 2, 129), {}, "at most 128 dimensions"),
        (drawn(3, 2, 2), {"tokens": ["a"]}, "tokens has 1"),
        (drawn(3, 2, 2), {"query": 2}, "query is 2"),
        (drawn(3, 2, 2), {"mask": "none"}, "mask is 'none'; it needs \"causal\", None or"),
        (drawn(3, 2, 2), {"mask": causal_mask(3)}, r"mask has shape \(3, 3\); it needs to be \(2, 2\)"),
        (drawn(3, 2, 2), {"bias": drawn(2, 3)}, r"bias has shape \(2, 3\); it needs to be \(2, 2\)"),
    ],
)
def test_refuses_what_is_no_head(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        AttentionSteps(*arguments, **options)


@pytest.mark.parametrize("position", ["learned", "rotary", "alibi"])
def test_from_model_gives_the_models_own_weights(position):
    tokenizer = CharacterTokenizer("abc ")
    torch.manual_seed(0)
    config = GPTConfig(
        vocab_size=tokenizer.vocab_size, context_length=16, n_layers=2, n_heads=4, d_model=32, n_kv_heads=2,
        dropout=0.5, position=position,
    )  # fmt: skip
    model = GPT(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)  # away from even weights
    explorer = AttentionSteps.from_model(model, tokenizer, "abc cab", 1, 3)
    assert model.training and not model.blocks[1].attention.qkv._forward_hooks
    tokens = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode("abc cab")]])
    with trace(model.eval()) as run, torch.no_grad():
        model(tokens)
    torch.testing.assert_close(explorer.weights.float(), run.attention[1, 0, 3], atol=1e-5, rtol=1e-4)


def test_from_model_refuses():
    model, tokenizer = load("storyteller")
    with pytest.raises(ValueError, match="layer is 4; the model's are 0 to 3"):
        AttentionSteps.from_model(model, tokenizer, "Mia", 4, 0)
    with pytest.raises(ValueError, match="head is -1"):
        AttentionSteps.from_model(model, tokenizer, "Mia", 0, -1)
    with pytest.raises(ValueError, match="at most 11 can be read"):
        AttentionSteps.from_model(model, tokenizer, "Mia had a kite. " * 4, 0, 0)


def test_a_score_is_split_by_what_wrote_query_and_key():
    model, tokenizer = load("storyteller")
    explorer = AttentionSteps.from_model(model, tokenizer, "Nora had a red kite. On Friday night", 3, 0)
    assert explorer.key is None and explorer.answer["parts"]["sources"][-2:] == ["MLP 2", "biases"]
    explorer.key = 1
    q, k = (torch.tensor(rows) for rows in (explorer.q[-1], explorer.k[1]))
    drawing = explorer.figure()
    assert drawing.arrays["matrix"].shape == (6, 6)  # the largest five, and the other thirteen
    assert drawing.arrays["matrix"].sum() == pytest.approx((q @ k).item() / 32**0.5, abs=1e-3)
    for trait, value, message in [
        ("key", 10, "key is 10; there are 10 keys, so it is from 0 to 9, or None"),
        ("query", 0, 'key is "Nora", which "<.endoftext.>" may not attend to; one that it may would do'),
    ]:
        with pytest.raises(ValueError, match=message):
            setattr(explorer, trait, value)
    explorer.set_state({"query": 2, "key": 0, "asked": 1})
    assert explorer.problem == "" and (explorer.query, explorer.key) == (2, 0)


def test_numbers_of_ones_own_have_no_sources(explorer):
    assert explorer.answer["parts"] is None
    with pytest.raises(ValueError, match="key is 1; it needs contributions, which .*from_model reads"):
        explorer.key = 1
    model, tokenizer = load("storyteller")
    made = AttentionSteps.from_model(model, tokenizer, "Mia", 0, 0).contributions
    with pytest.raises(ValueError, match=r"queries of shape \(3, 1, 2, 32\); it needs \(source, 1, 5, 4\)"):
        AttentionSteps(*drawn(3, 5, 4), contributions=made)


def test_figure_and_file(explorer, tmp_path):
    explorer.query = 2
    drawing = explorer.figure()
    torch.testing.assert_close(torch.tensor(drawing.arrays["weights"]), explorer.weights)
    assert (torch.tensor(drawing.arrays["masked"]) == ~causal_mask(5)).all()
    assert explorer.to_png() == AttentionSteps(*drawn(3, 5, 4), WORDS, query=2).to_png()
    assert repr(explorer) == "AttentionSteps(5 tokens, query 'her', d_k 4)"
    explorer.to_html(tmp_path / "steps.html")
    assert (tmp_path / "steps.html").stat().st_size < 64_000  # 9 kB stand in for a kernel
