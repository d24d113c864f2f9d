from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gptlib.interpret.tracing import trace
from gptlib.model.attention import MultiHeadAttention, attend, attention_weights
from gptlib.model.cache import KeyValueCache, LayerCache, WindowCache
from gptlib.model.config import GPTConfig
from gptlib.model.config_checks import POSITIONS
from gptlib.model.fast_attention import fast_attention
from gptlib.model.masks import causal_mask, sliding_window_mask
from gptlib.model.variants import CappedAttention, WindowAttention, soft_cap

CONFIG = GPTConfig(vocab_size=11, context_length=16, n_layers=2, n_heads=4, d_model=32)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_loop(queries, keys, values, mask):
    """One query at a time, in plain Python."""
    outputs, all_weights = [], []
    for query, allowed in zip(queries, mask, strict=True):
        scores = [
            (query @ key).item() / len(query) ** 0.5 if may else -float("inf")
            for key, may in zip(keys, allowed.tolist(), strict=True)
        ]
        weights = torch.tensor(scores).exp() / torch.tensor(scores).exp().sum()
        all_weights.append(weights)
        outputs.append(sum(weight * value for weight, value in zip(weights, values, strict=True)))
    return torch.stack(outputs), torch.stack(all_weights)


def test_attention_equals_a_loop():
    queries, keys, values, mask = draw(3, 4), draw(5, 4, seed=1), draw(5, 2, seed=2), causal_mask(3, 5)
    output, weights = attend(queries, keys, values, mask)
    expected_output, expected_weights = by_loop(queries, keys, values, mask)
    torch.testing.assert_close(output, expected_output)
    torch.testing.assert_close(weights, expected_weights)


@settings(max_examples=40)
@given(
    sizes=st.tuples(*[st.integers(1, 4)] * 2, *[st.integers(1, 9)] * 4),
    with_mask=st.booleans(),
    with_bias=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_explicit_fast_and_torch_agree(sizes, with_mask, with_bias, seed):
    batch, heads, n_queries, n_keys, d_head, d_value = sizes
    queries = draw(batch, heads, n_queries, d_head, seed=seed)
    keys, values = (
        draw(batch, heads, n_keys, d_head, seed=seed + 1),
        draw(batch, heads, n_keys, d_value, seed=seed + 2),
    )
    mask = draw(n_queries, n_keys, seed=seed + 3) > 0 if with_mask else None
    if mask is not None:
        mask[:, 0] = True
    bias = draw(heads, n_queries, n_keys, seed=seed + 4) if with_bias else None
    output, weights = attend(queries, keys, values, mask, bias)
    torch.testing.assert_close(
        fast_attention(queries, keys, values, mask, bias), output, atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(weights.sum(-1), torch.ones(batch, heads, n_queries))
    assert (weights >= 0).all()
    if mask is not None:
        assert (weights[..., ~mask] == 0).all()  # exactly
    if bias is None:
        torch_output = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        torch.testing.assert_close(output, torch_output, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("n_queries", "n_keys"), [(6, 6), (1, 6), (3, 6), (1, 1)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_causal_is_the_causal_mask(n_queries, n_keys, with_bias):
    queries, keys, values = (
        draw(2, 4, n_queries, 8),
        draw(2, 4, n_keys, 8, seed=1),
        draw(2, 4, n_keys, 8, seed=2),
    )
    bias = draw(4, n_queries, n_keys, seed=3) if with_bias else None
    expected, _ = attend(queries, keys, values, causal_mask(n_queries, n_keys), bias)
    fast = fast_attention(queries, keys, values, bias=bias, causal=True)
    torch.testing.assert_close(fast, expected, atol=1e-5, rtol=1e-5)


def test_gradients_of_both_paths_agree():
    gradients = []
    for path in (lambda *x: attend(*x, causal_mask(5))[0], lambda *x: fast_attention(*x, causal=True)):
        inputs = [draw(2, 5, 8, seed=seed).requires_grad_() for seed in range(3)]
        path(*inputs).square().sum().backward()
        gradients.append([tensor.grad for tensor in inputs])
    for ours, fast in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, fast, atol=1e-5, rtol=1e-4)


def test_weights_are_those_before_dropout():
    torch.manual_seed(0)
    queries, keys, values = draw(1, 2, 6, 8), draw(1, 2, 6, 8, seed=1), draw(1, 2, 6, 8, seed=2)
    kept, weights = attend(queries, keys, values, causal_mask(6))
    dropped, weights_with_dropout = attend(queries, keys, values, causal_mask(6), dropout=0.5)
    assert torch.equal(weights, weights_with_dropout)
    assert not torch.allclose(kept, dropped)


@given(n_queries=st.integers(1, 12), more=st.integers(0, 12))
def test_causal_mask_says_who_came_before(n_queries, more):
    n_keys = n_queries + more
    mask = causal_mask(n_queries, n_keys)
    for query in range(n_queries):
        assert mask[query].tolist() == [key <= query + more for key in range(n_keys)]


@given(n_queries=st.integers(1, 12), more=st.integers(0, 12), window=st.integers(1, 30))
def test_a_window_shows_the_last_few(n_queries, more, window):
    n_keys = n_queries + more
    mask = sliding_window_mask(n_queries, n_keys, window)
    for query in range(n_queries):
        own = query + more
        assert mask[query].tolist() == [own - window < key <= own for key in range(n_keys)]
    queries, keys = draw(2, n_queries, 4), draw(2, n_keys, 4, seed=1)
    expected, _ = attend(queries, keys, keys, mask)
    fast = fast_attention(queries, keys, keys, mask)
    torch.testing.assert_close(fast, expected, atol=1e-5, rtol=1e-5)


def test_soft_cap_bounds_and_leaves_small_numbers():
    x = torch.linspace(-300, 300, 601, dtype=torch.float64)
    capped = soft_cap(x, 50.0)
    assert capped.abs().max() < 50 and (capped.diff() > 0).all()
    small = x.abs() <= 5
    torch.testing.assert_close(capped[small], x[small], atol=0.02, rtol=0)


def test_capped_scores_are_what_the_weights_are_made_of():
    torch.manual_seed(0)
    layer = CappedAttention(replace(CONFIG, score_cap=0.5))
    x = 30 * draw(1, 6, 32)
    with trace(layer, only=["*scores", "*weights"]) as run:
        layer(x)
    scores = run["attention.scores"]
    seen = scores.isfinite()
    assert torch.equal(seen[0, 0], causal_mask(6)) and scores[seen].abs().max() <= 0.5
    torch.testing.assert_close(run["attention.weights"], scores.softmax(dim=-1))


def test_qk_norm_forgets_how_long_queries_and_keys_are():
    torch.manual_seed(0)
    normed = MultiHeadAttention(replace(CONFIG, qk_norm=True, position="rotary", bias=False))
    x = draw(2, 9, 32)
    before = normed(x)
    with torch.no_grad():
        normed.qkv.weight[:64].mul_(100)  # queries and keys, not values
    torch.testing.assert_close(normed(x), before, atol=1e-4, rtol=1e-3)
    with trace(normed, only=["*queries", "*keys"]) as run:
        normed(x)
    for name in ("attention.queries", "attention.keys"):  # rotary positions turn, and leave the length
        torch.testing.assert_close(run[name].square().mean(-1), torch.ones(2, 4, 9), atol=1e-3, rtol=0)


def copied_to_torch(ours):
    theirs = nn.MultiheadAttention(CONFIG.d_model, CONFIG.n_heads, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.in_proj_bias.copy_(ours.qkv.bias)
        theirs.out_proj.weight.copy_(ours.output.weight)
        theirs.out_proj.bias.copy_(ours.output.bias)
    return theirs


def test_multi_head_equals_torch():
    torch.manual_seed(0)
    ours = MultiHeadAttention(CONFIG)
    theirs = copied_to_torch(ours)
    x = draw(2, 9, CONFIG.d_model)
    expected, expected_weights = theirs(x, x, x, attn_mask=~causal_mask(9), average_attn_weights=False)
    torch.testing.assert_close(ours(x), expected, atol=1e-5, rtol=1e-5)
    with trace(ours) as run:
        torch.testing.assert_close(ours(x), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(run.attention[0], expected_weights, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("n_kv_heads", [None, 2, 1])
def test_the_future_cannot_be_seen(position, n_kv_heads):
    torch.manual_seed(0)
    layer = MultiHeadAttention(replace(CONFIG, position=position, n_kv_heads=n_kv_heads))
    x = draw(2, 10, CONFIG.d_model)
    changed = x.clone()
    changed[:, 6:] += 1.0
    torch.testing.assert_close(layer(x)[:, :6], layer(changed)[:, :6], atol=0, rtol=0)
    assert not torch.allclose(layer(x)[:, 6:], layer(changed)[:, 6:], atol=1e-3)


def test_grouped_query_equals_full_heads_with_copied_weights():
    torch.manual_seed(0)
    grouped = MultiHeadAttention(replace(CONFIG, n_kv_heads=2))
    full = MultiHeadAttention(CONFIG)

    def spread(x):  # the weights of 2 heads of keys or values, each written twice
        return x.unflatten(0, (2, CONFIG.d_head)).repeat_interleave(2, dim=0).flatten(0, 1)

    with torch.no_grad():
        for name in ("weight", "bias"):
            queries, keys, values = getattr(grouped.qkv, name).split([32, 16, 16])
            getattr(full.qkv, name).copy_(torch.cat([queries, spread(keys), spread(values)]))
            getattr(full.output, name).copy_(getattr(grouped.output, name))
    x = draw(2, 7, CONFIG.d_model)
    torch.testing.assert_close(grouped(x), full(x), atol=1e-5, rtol=1e-5)


def test_a_hook_may_change_the_weights():
    layer = MultiHeadAttention(CONFIG).eval()
    x = draw(1, 5, CONFIG.d_model)
    handle = layer.weights.register_forward_hook(lambda module, inputs, weights: torch.zeros_like(weights))
    changed = layer(x)
    handle.remove()
    torch.testing.assert_close(changed, layer.output.bias.expand(1, 5, -1))


def test_cache_holds_what_was_read():
    cache = KeyValueCache(CONFIG, batch_size=2)
    assert cache.length == 0 and len(cache.layers) == CONFIG.n_layers
    layer = MultiHeadAttention(CONFIG)
    x = draw(2, 9, CONFIG.d_model)
    pieces = [layer(piece, cache.layers[0]) for piece in x.split([4, 1, 3, 1], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), layer(x), atol=1e-5, rtol=1e-5)
    assert cache.length == 9
    assert not cache.layers[0].keys.requires_grad


Q, K = torch.ones(2, 3, 4), torch.ones(2, 5, 4)


@pytest.mark.parametrize(("n_queries", "n_keys"), [(7, 7), (3, 7), (1, 7), (600, 600)])
@pytest.mark.parametrize("biased", [False, True])
def test_bfloat16_takes_other_paths_to_the_same_numbers(n_queries, n_keys, biased):
    generator = torch.Generator().manual_seed(n_keys)
    shapes = [(2, 3, n, 8) for n in (n_queries, n_keys, n_keys)]
    inputs = [torch.randn(shape, generator=generator).bfloat16().requires_grad_() for shape in shapes]
    exact = [x.detach().double().requires_grad_() for x in inputs]
    bias = -torch.rand(3, n_queries, n_keys, generator=generator) if biased else None
    fast = fast_attention(*inputs, bias=bias, causal=True)
    slow, _ = attend(*exact, causal_mask(n_queries, n_keys), bias)
    assert fast.dtype is torch.bfloat16
    torch.testing.assert_close(fast.double(), slow, atol=0.02, rtol=0.02)  # half the bits: 8 of them
    fast.sum().backward()
    slow.sum().backward()
    for x, y in zip(inputs, exact, strict=True):
        torch.testing.assert_close(x.grad.double(), y.grad, atol=0.02 * y.grad.abs().max(), rtol=0.02)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("path", [attend, fast_attention])
@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        ((Q, torch.ones(2, 5, 6), K), ValueError, r"keys has shape \(2, 5, 6\).*needs \(2, key, 4\)"),
        ((Q, torch.ones(3, 5, 4), K), ValueError, r"keys has shape \(3, 5, 4\)"),
        ((Q, K, torch.ones(2, 4, 4)), ValueError, r"values has shape \(2, 4, 4\).*needs \(2, 5, d_value\)"),
        ((Q.long(), K, K), TypeError, "queries has dtype torch.int64"),
        ((torch.ones(4), K, K), ValueError, r"queries has shape \(4,\)"),
        ((Q, K, K, torch.ones(3, 5)), TypeError, "mask has dtype torch.float32"),
        ((Q, K, K, causal_mask(3)), ValueError, r"mask has shape \(3, 3\).*needs \(3, 5\)"),
        ((Q, K, K, torch.ones(4, 3, 5).bool()), ValueError, r"mask has shape \(4, 3, 5\)"),
        (
            (Q, K, K, torch.tensor([[True] * 5, [False] * 5, [True] * 5])),
            ValueError,
            "query 1 attend to nothing",
        ),
        ((Q, K, K, None, torch.ones(5, 5)), ValueError, r"bias has shape \(5, 5\)"),
        ((Q, K, K, None, None, 1.0), ValueError, "dropout is 1.0"),
        ((Q, K, K, None, None, -0.1), ValueError, "dropout is -0.1"),
    ],
)
def test_bad_input_is_named(path, inputs, error, words):
    with pytest.raises(error, match=words):
        path(*inputs)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: attention_weights(Q, torch.ones(2, 5, 3)), ValueError, "keys has shape"),
        (lambda: fast_attention(Q, Q, Q, causal_mask(3), causal=True), ValueError, "mask and causal=True"),
        (lambda: causal_mask(0), ValueError, "n_queries is 0"),
        (lambda: causal_mask(4, 3), ValueError, "n_queries is 4 and n_keys 3"),
        (lambda: sliding_window_mask(4, 4, 0), ValueError, "window is 0; it needs to be at least 1"),
        (lambda: KeyValueCache(CONFIG, batch_size=0), ValueError, "batch_size is 0"),
        (lambda: MultiHeadAttention(CONFIG)(torch.ones(2, 32)), ValueError, r"x has shape \(2, 32\)"),
        (lambda: MultiHeadAttention(CONFIG)(torch.ones(2, 3, 31)), ValueError, "needs to be 32"),
        (
            lambda: MultiHeadAttention(CONFIG)(torch.ones(2, 3, 32).long()),
            TypeError,
            "x has dtype torch.int64",
        ),
    ],
)
def test_other_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.usefixtures("without_shape_checks")
def test_a_full_or_foreign_cache_is_refused():
    layer, cache = MultiHeadAttention(CONFIG), LayerCache(CONFIG, 1, None, torch.float32, 16)
    with pytest.raises(ValueError, match=r"keys has shape \(2, 4, 3, 8\)"):
        layer(torch.ones(2, 3, 32), cache)
    layer(torch.ones(1, 14, 32), cache)
    with pytest.raises(ValueError, match="holds 14 of 16 tokens, and 3 more do not fit"):
        layer(torch.ones(1, 3, 32), cache)
    assert cache.length == 14
    windowed = WindowCache(replace(CONFIG, window=4), 1, None, torch.float32, 16)
    with pytest.raises(ValueError, match=r"keys has shape \(2, 4, 3, 8\)"):
        layer(torch.ones(2, 3, 32), windowed)
    assert windowed.length == 0


def test_a_window_keeps_no_token_that_none_to_come_may_see():
    """A new token sees itself and window - 1 before it."""
    config = replace(CONFIG, window=4)
    layer, cache = WindowAttention(config), WindowCache(config, 1, None, torch.float32, 16)
    for n_tokens, kept in ((1, 1), (1, 2), (5, 3), (1, 3)):
        layer(torch.ones(1, n_tokens, 32), cache)
        assert cache.keys.shape[2] == cache.values.shape[2] == kept


def test_scores_are_capped_before_alibi_and_the_mask():
    layer = CappedAttention(replace(CONFIG, score_cap=0.5, position="alibi"))
    queries, keys = draw(1, 4, 6, 4), draw(1, 4, 6, 4, seed=1)
    mask, bias = layer.mask(queries, keys), layer.position.bias(6, 6)
    expected = (0.5 * torch.tanh(queries @ keys.mT / 2 / 0.5) + bias).masked_fill(~mask, float("-inf"))
    torch.testing.assert_close(layer.score(queries, keys, mask, bias), expected)
