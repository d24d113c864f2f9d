"""The fast way to the next token gives what the plain one gives, or stands aside."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gptlib.generation import decoding, writing
from gptlib.generation.decoding import FastDecoder, can_decode
from gptlib.generation.sampling import Sampling
from gptlib.generation.writing import generate_tokens
from gptlib.interpret.tracing import edit, trace
from gptlib.model.cache import KeyValueCache
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.training.lora import add_lora

CONFIG = GPTConfig(vocab_size=29, context_length=12, n_layers=2, n_heads=4, d_model=16)


def build(config, seed=0):
    """A model whose weights are large enough for every part of it to matter."""
    torch.manual_seed(seed)
    model = GPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return model


CHANGES = {
    "n_layers": [1, 3],
    "n_kv_heads": [None, 1, 2],
    "bias": [True, False],
    "position": ["none", "learned", "sinusoidal", "rotary"],
    "norm": ["layernorm", "rmsnorm"],
    "mlp": ["gelu", "squared_relu", "swiglu"],
    "tie_embeddings": [True, False],
    "qk_norm": [True, False],
    "head_width": [None, 6],
    "rotary_base": [100.0, 10000.0],
    "norm_eps": [1e-6, 1e-2],
}
CHOICES = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in CHANGES.items()})


@settings(max_examples=12)
@given(CHOICES, st.integers(1, 3), st.integers(1, 8), st.integers(0, 99))
def test_every_token_of_every_layout_as_the_model_says(changes, batch, n_read, seed):
    config = replace(CONFIG, **changes)
    model = build(config, seed)
    assert can_decode(model)
    tokens = torch.randint(29, (batch, 12), generator=torch.Generator().manual_seed(seed))
    cache, plain = KeyValueCache(config, batch), KeyValueCache(config, batch)
    with torch.no_grad():
        model(tokens[:, :n_read], cache)
        model(tokens[:, :n_read], plain)
        decode = FastDecoder(model, cache)
        for place in range(n_read, 12):
            expected = model(tokens[:, place : place + 1], plain)[:, -1]
            torch.testing.assert_close(decode(tokens[:, place]), expected, atol=1e-4, rtol=1e-4)
    assert cache.length == plain.length == 12


@pytest.mark.parametrize(
    "changes",
    [{"position": "alibi"}, {"window": 3}, {"score_cap": 5.0}, {"logit_cap": 5.0}, {"n_experts": 3}],
    ids=str,
)
def test_parts_that_it_does_not_know_are_left_to_the_model(changes):
    model = build(replace(CONFIG, **changes))
    assert not can_decode(model)
    tokens = torch.randint(29, (2, 4), generator=torch.Generator().manual_seed(0))
    slow = generate_tokens(model, tokens, max_new_tokens=8, seed=3, cached=False)
    assert torch.equal(generate_tokens(model, tokens, max_new_tokens=8, seed=3), slow)


def test_other_weights_and_precisions_are_left_to_the_model():
    assert not can_decode(build(CONFIG).double())
    model = build(CONFIG)
    add_lora(model, rank=2)
    assert not can_decode(model)


@pytest.mark.parametrize(
    "settings", [{"temperature": 0}, {"temperature": 0.9, "top_k": 7, "top_p": 0.9}], ids=str
)
def test_generates_the_same_text(settings, monkeypatch):
    model = build(replace(CONFIG, position="rotary", n_kv_heads=2))
    tokens = torch.randint(29, (3, 4), generator=torch.Generator().manual_seed(0))
    fast = generate_tokens(
        model, tokens, max_new_tokens=20, seed=5, repetition_penalty=1.2, **settings
    )  # past the context, too
    monkeypatch.setattr(writing, "can_decode", lambda model: False)
    assert torch.equal(
        generate_tokens(model, tokens, max_new_tokens=20, seed=5, repetition_penalty=1.2, **settings), fast
    )


def test_whoever_looks_is_called_even_between_two_tokens():
    model = build(CONFIG)
    tokens_after = writing._next_tokens(model, [[0, 0]], Sampling(max_new_tokens=9, temperature=0), (), [0])
    next(tokens_after)
    next(tokens_after)  # by the fast way
    seen = []
    with edit(model, {"blocks.1.attention.heads": lambda heads: seen.append(heads.shape)}):
        next(tokens_after)
    assert seen == [(1, 1, 4, 4)]
    next(tokens_after)
    assert len(seen) == 1
    with trace(model) as run:
        next(tokens_after)
    assert run.attention.shape == (2, 1, 4, 1, 6)  # the sixth token, and all that it may look at


def without_gelu(model):
    model.blocks[0].mlp.gelu = nn.Identity()


def with_exact_gelu(model):
    model.blocks[0].mlp.gelu = nn.GELU()


def with_a_bias(model):
    model.unembedding = nn.Linear(16, 29)


def with_a_forward_of_its_own(model):
    model.blocks[0].mlp.forward = lambda x: x


def without_an_mlp(model):
    model.blocks[0].mlp = nn.Identity()


@pytest.mark.parametrize(
    "change", [without_gelu, with_exact_gelu, with_a_bias, with_a_forward_of_its_own, without_an_mlp]
)
def test_a_model_that_somebody_rebuilt_is_left_to_itself(change):
    model = build(CONFIG)
    change(model)
    assert not can_decode(model)


def test_what_is_exchanged_between_two_tokens_counts(monkeypatch):
    model = build(CONFIG)
    weights = [build(CONFIG, seed).state_dict() for seed in (1, 2)]

    def text():
        model.load_state_dict(weights[0], assign=True)
        tokens_after = writing._next_tokens(
            model, [[0, 0]], Sampling(max_new_tokens=9, temperature=0), (), [0]
        )
        beginning = [int(next(tokens_after)) for _ in range(3)]
        model.load_state_dict(weights[1], assign=True)
        return beginning + [int(token) for token in tokens_after]

    fast = text()
    monkeypatch.setattr(writing, "can_decode", lambda model: False)
    assert text() == fast


def test_under_autocast_the_model_itself_decodes():
    model, tokens = build(CONFIG), torch.zeros(1, 3, dtype=torch.long)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        cache = KeyValueCache(CONFIG, dtype=torch.bfloat16)
        model(tokens, cache)
        assert not FastDecoder(model, cache).still_holds()
    assert FastDecoder(model, cache).still_holds()


def test_weights_that_are_trained_between_two_tokens_count():
    model = build(CONFIG)
    cache = KeyValueCache(CONFIG)
    with torch.no_grad():
        model(torch.zeros(1, 2, dtype=torch.long), cache)
        decode = FastDecoder(model, cache)
        model.final_norm.weight.mul_(2.0)
        before = cache.length
        doubled = decode(torch.tensor([1]))
        for layer in cache.layers:
            layer.length = before
        torch.testing.assert_close(doubled, model(torch.tensor([[1]]), cache)[:, -1])


def test_every_known_part_is_one_that_a_gpt_is_built_of():
    built = set()
    for changes in (
        {},
        {"position": "rotary", "norm": "rmsnorm", "mlp": "swiglu", "qk_norm": True},
        {"position": "none"},
        {"position": "sinusoidal", "mlp": "squared_relu"},
    ):
        built |= {type(module) for module in build(replace(CONFIG, **changes)).modules()}
    assert built == decoding.KNOWN
