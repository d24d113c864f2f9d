"""The n-gram model: Witten-Bell by hand, probabilities that sum to one, losses that are finite."""

import math
import time
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptlib.text.ngram import NGram

rows = st.lists(st.integers(0, 5), min_size=1, max_size=40)


def by_hand(documents, order, vocab_size, context, token):
    """p(token | context) as the formula says, by counting from scratch."""
    if order == 0:
        return 1 / vocab_size
    context = tuple(context[len(context) - (order - 1) :]) if order > 1 else ()
    followers = Counter(
        row[place]
        for row in documents
        for place in range(order - 1, len(row))
        if tuple(row[place - order + 1 : place]) == context
    )
    shorter = by_hand(documents, order - 1, vocab_size, context[1:], token)
    total = sum(followers.values()) + len(followers)
    return (followers[token] + len(followers) * shorter) / total if total else shorter


@given(st.lists(rows, min_size=1, max_size=4), st.integers(1, 5), st.lists(st.integers(0, 6), max_size=7))
def test_probabilities_are_witten_bells(documents, order, context):
    model = NGram(order, vocab_size=7).fit(documents)
    probabilities = model.probabilities(context)
    assert probabilities.shape == (7,)
    assert probabilities.sum() == pytest.approx(1, abs=1e-12)
    assert probabilities.min() > 0
    expected = [by_hand(documents, min(order, len(context) + 1), 7, context, token) for token in range(7)]
    np.testing.assert_allclose(probabilities, expected, rtol=1e-12)


@given(st.lists(rows, min_size=1, max_size=3), st.integers(1, 5), st.lists(st.integers(0, 6), max_size=12))
def test_surprises_agree_with_probabilities(documents, order, tokens):
    model = NGram(order, vocab_size=7).fit(documents)
    expected = [-math.log(model.probabilities(tokens[:place])[token]) for place, token in enumerate(tokens)]
    np.testing.assert_allclose(model.surprises(tokens), expected, rtol=1e-12)
    if len(tokens) > 1:
        assert model.loss(tokens) == pytest.approx(np.mean(expected[1:]))


def test_a_small_case_on_paper():
    """a b a b a c: after "a" came b, b, c, so T = 2 of 3; "a" itself 3 times of 6, 3 different ones."""
    model = NGram(2, vocab_size=4).fit([0, 1, 0, 1, 0, 2])
    single = (np.array([3, 2, 1, 0]) + 3 / 4) / (6 + 3)
    np.testing.assert_allclose(model.probabilities(), single)
    np.testing.assert_allclose(model.probabilities([0]), (np.array([0, 2, 1, 0]) + 2 * single) / (3 + 2))
    np.testing.assert_allclose(model.probabilities([2]), single)  # nothing ever came after 2
    np.testing.assert_allclose(model.probabilities([3]), single)  # 3 was never there
    np.testing.assert_allclose(model.probabilities([1, 2, 3, 0]), model.probabilities([0]))


def test_documents_do_not_run_into_each_other():
    apart = NGram(2, vocab_size=3).fit([[0, 1], [2, 0]])
    np.testing.assert_allclose(apart.probabilities([1]), apart.probabilities([]))
    joined = NGram(2, vocab_size=3).fit([0, 1, 2, 0])
    assert joined.probabilities([1])[2] > apart.probabilities([1])[2]


def test_what_fit_takes():
    tokens = [0, 1, 2, 1, 0, 1]
    expected = NGram(3, 3).fit(tokens).probabilities([0, 1])
    for same in (
        tuple(tokens),
        np.array(tokens, np.uint16),
        torch.tensor(tokens),
        [tokens],
        iter([tokens]),
        [np.array(tokens)],
    ):
        np.testing.assert_array_equal(NGram(3, 3).fit(same).probabilities([0, 1]), expected)
    model = NGram(3, 3).fit([2, 2, 2])
    assert model.fit(tokens) is model
    np.testing.assert_array_equal(
        model.probabilities([0, 1]), expected
    )  # what was counted before is forgotten
    np.testing.assert_array_equal(
        NGram(3, 3).fit([tokens[:3], tokens[3:]]).probabilities(), model.probabilities()
    )
    assert model.loss([tokens, tokens]) == pytest.approx(model.loss(tokens))


def test_longer_contexts_help_on_what_was_seen():
    tokens = np.random.default_rng(0).integers(0, 3, 50).tolist() * 30
    losses = [NGram(order, 3).fit(tokens).loss(tokens) for order in range(1, 6)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(math.log(3), abs=0.05)
    assert losses[-1] < 0.5


def test_loss_is_finite_on_what_was_never_seen():
    model = NGram(5, 2048).fit([1, 2, 3])
    assert model.loss([7, 8, 9, 2047]) == pytest.approx(math.log(2048), abs=0.8)
    assert math.isfinite(NGram(1, 10**9).fit([10**9 - 1, 5]).surprises([17])[0])


def test_vocabularies_whose_powers_pass_64_bits():
    tokens = np.random.default_rng(0).integers(0, 50_257, 3000)
    model = NGram(5, 50_257).fit(tokens)
    place = 1000
    assert model.probabilities(tokens[place - 4 : place]).argmax() == tokens[place]
    assert model.loss(tokens) < 4  # all of it was seen


def test_sampling():
    cycle = [0, 1, 2, 3] * 200
    model = NGram(3, 5).fit(cycle)
    drawn = model.sample(50, seed=1)
    assert len(drawn) == 50 and drawn == model.sample(50, seed=1) != model.sample(50, seed=2)
    assert model.sample(4, seed=1, context=[0, 1]) == [2, 3, 0, 1]
    assert model.sample(0) == []
    stopped = model.sample(50, seed=1, stop=3)
    assert stopped[-1] == 3 and stopped == drawn[: drawn.index(3) + 1]
    pairs = Counter(NGram(1, 5).fit([0, 0, 0, 1]).sample(4000, seed=0))
    expected = NGram(1, 5).fit([0, 0, 0, 1]).probabilities()
    np.testing.assert_allclose([pairs[token] / 4000 for token in range(5)], expected, atol=0.03)


def test_order_five_of_a_million_tokens_takes_seconds():
    source = np.random.default_rng(0)
    for vocab_size in (80, 2048):
        tokens = source.zipf(1.3, 1_000_000) % vocab_size
        start = time.process_time()
        model = NGram(5, vocab_size).fit(tokens)
        assert math.isfinite(model.loss(tokens[:200_000]))
        assert time.process_time() - start < 8


def test_refusals():
    with pytest.raises(ValueError, match="order is 0; it needs to be at least 1"):
        NGram(0, 5)
    with pytest.raises(ValueError, match="vocab_size is 0; it needs to be at least 1"):
        NGram(2, 0)
    model = NGram(2, 5)
    for call in (model.probabilities, model.sample, model.surprises, model.loss):
        with pytest.raises(RuntimeError, match="call fit first"):
            call([1, 2]) if call != model.sample else call(3)
    for wrong in ([], [[]], np.array([], np.int64)):
        with pytest.raises(ValueError, match="holds no token"):
            model.fit(wrong)
    with pytest.raises(ValueError, match="tokens goes from 1 to 5; it needs 0 to 4, since vocab_size is 5"):
        model.fit([1, 5])
    with pytest.raises(ValueError, match="from -1 to 2"):
        model.fit([-1, 2])
    with pytest.raises(TypeError):
        model.fit([0.5, 1.5])
    with pytest.raises(TypeError):
        model.fit("text")
    model.fit([1, 2, 3])
    with pytest.raises(ValueError, match="needs 0 to 4"):
        model.probabilities([9])
    with pytest.raises(ValueError, match="holds no two in a row"):
        model.loss([1])
    with pytest.raises(ValueError, match="n_tokens is .*at least 0"):
        model.sample(-1)
    with pytest.raises(ValueError, match="seed is -1; it needs to be at least 0"):
        model.sample(3, seed=-1)
    for read in (model.fit, model.loss):
        with pytest.raises(TypeError, match="tokens is None; it needs a row of tokens"):
            read(None)
    with pytest.raises(ValueError, match="tokens has rows of several lengths"):
        model.probabilities([1, [2]])
    for wrong in (None, "3", [3], 3.0):
        with pytest.raises(TypeError, match="order is .*; it needs a whole number"):
            NGram(wrong, 5)
        with pytest.raises(TypeError, match="vocab_size is .*; it needs a whole number"):
            NGram(2, wrong)
        with pytest.raises(TypeError, match="n_tokens is .*; it needs a whole number"):
            model.sample(wrong)
        with pytest.raises(TypeError, match="seed is .*; it needs a whole number"):
            model.sample(3, seed=wrong)
    with pytest.raises(TypeError, match="stop is 'x'; it needs a whole number"):
        model.sample(3, stop="x")
    assert NGram(np.int64(2), np.uint16(5)).fit([1, 2, 3]).sample(
        np.int64(3), np.int64(1), [np.int64(2)], np.int64(3)
    ) == model.sample(3, 1, [2], 3)
    assert len(model.sample(3, seed=2**70)) == 3
    with pytest.raises(ValueError, match="one row"):
        model.surprises(np.ones((2, 2), np.int64))
