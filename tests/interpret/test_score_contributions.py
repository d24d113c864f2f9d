"""The parts of a score sum to the model's own, whatever it is made of, and each is what its source wrote."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib import GPT, GPTConfig, load, trace
from gptlib.interpret.score_contributions import score_contributions
from gptlib.interpret.tracing import edit, remove_head


def assert_sums_to_the_score(model, tokens, layer, head):
    """Return the contributions, whose sum is q · k / √d_head of the model's own queries and keys."""
    names = [f"blocks.{layer}.attention.{part}" for part in ("queries", "keys")]
    with trace(model, only=names) as run, torch.no_grad():
        model(tokens)
    queries, keys = (run[name][:, head] for name in names)
    scores = queries @ keys.transpose(-2, -1) / model.config.d_head**0.5
    made = score_contributions(model, tokens, layer, head)
    torch.testing.assert_close(made.scores, scores)
    torch.testing.assert_close(made.between(-1, 1).sum(dim=(1, 2)), scores[:, -1, 1])
    return made


@settings(max_examples=25, deadline=None)
@given(
    position=st.sampled_from(["learned", "sinusoidal", "rotary", "alibi", "none"]),
    norm=st.sampled_from(["layernorm", "rmsnorm"]),
    bias=st.booleans(),
    n_kv_heads=st.sampled_from([1, 2, 4]),
    qk_norm=st.booleans(),
    window=st.sampled_from([None, 3]),
    score_cap=st.sampled_from([None, 2.0]),
    n_experts=st.sampled_from([None, 3]),
    layer=st.integers(0, 2),
    head=st.integers(0, 3),
)
def test_sums_to_the_score_of_any_gpt(layer, head, **options):
    torch.manual_seed(layer + head)
    model = GPT(GPTConfig(20, 12, n_layers=3, n_heads=4, d_model=16, **options)).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    made = assert_sums_to_the_score(model, torch.randint(20, (2, 7)), layer, head)
    expected = ["token", "position"] if options["position"] in ("learned", "sinusoidal") else ["token"]
    for n in range(layer):
        expected += [*(f"head {n}.{h}" for h in range(4)), f"MLP {n}"]
    assert made.sources == expected + ["biases"] * options["bias"]
    assert len(made.queries) == len(made.keys) == len(made.sources)


def test_storyteller_and_one_pair_in_each_text():
    model, tokenizer = load("storyteller")
    texts = ["Nora had a red kite. One day", "Jack and Mia went to the lake."]
    tokens = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(text)][:8] for text in texts])
    for layer in range(4):
        made = assert_sums_to_the_score(model, tokens, layer, 1)
    pairs = made.between(torch.tensor([7, 5]), torch.tensor([1, 3]))
    assert pairs.shape == (2, 18, 18)
    torch.testing.assert_close(pairs[0], made.between(7, 1)[0])
    torch.testing.assert_close(pairs[1], made.between(5, 3)[1])


def test_what_lifts_some_keys_above_the_others():
    torch.manual_seed(0)
    model = GPT(GPTConfig(20, 12, n_layers=2, n_heads=2, d_model=16)).double().eval()
    made = score_contributions(model, torch.randint(20, (2, 6)), 1, 0)
    wanted = torch.zeros(2, 6, 6, dtype=torch.bool)
    wanted[0, 5, [1, 3]] = wanted[1, 2, 0] = True
    one = (made.between(5, 1) + made.between(5, 3)) / 2 - sum(made.between(5, k) for k in (0, 2, 4, 5)) / 4
    other = made.between(2, 0) - (made.between(2, 1) + made.between(2, 2)) / 2
    torch.testing.assert_close(made.lift(wanted), (one[0] + other[1]) / 2)


@pytest.mark.parametrize(
    ("source", "removal"),
    [
        ("MLP 0", {"blocks.0.mlp.output": lambda x: 0 * x}),
        ("head 0.1", {"blocks.0.attention.heads": remove_head(1)}),
    ],
)
def test_each_part_is_what_its_source_wrote(source, removal):
    """Without what a source writes its part is gone; earlier ones differ by the divisor alone."""
    torch.manual_seed(0)
    config = GPTConfig(20, 12, n_layers=3, n_heads=2, d_model=16, norm="rmsnorm", bias=False)
    model, tokens = GPT(config).double().eval(), torch.randint(20, (1, 6))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10)
    whole = score_contributions(model, tokens, 1, 1)
    with trace(model, only="blocks.1.residual_pre") as run:
        model(tokens)
    before = run["blocks.1.residual_pre"].square().mean(dim=-1, keepdim=True)
    with edit(model, removal):
        without = score_contributions(model, tokens, 1, 1)
        with trace(model, only="blocks.1.residual_pre") as run:
            model(tokens)
    after = run["blocks.1.residual_pre"].square().mean(dim=-1, keepdim=True)
    gone = whole.sources.index(source)
    assert without.queries[gone].abs().max() == 0 < whole.queries[gone].abs().max()
    for part in range(gone):
        scaled = without.keys[part] * torch.sqrt((after + 1e-5) / (before + 1e-5))
        torch.testing.assert_close(scaled, whole.keys[part])


def test_refuses():
    model = GPT(GPTConfig(20, 12, n_layers=2, n_heads=2, d_model=16)).eval()
    tokens = torch.tensor([[1, 2, 3]])
    with pytest.raises(IndexError, match="layer is 2; the model's are 0 to 1"):
        score_contributions(model, tokens, 2, 0)
    with pytest.raises(IndexError, match="head is -1; the model's are 0 to 1"):
        score_contributions(model, tokens, 0, -1)
