"""Attention is a weighted average."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.viz import figures


def weighted_average(
    weights: Float[Tensor, "query key"], values: Float[Tensor, "key d_v"]
) -> Float[Tensor, "query d_v"]:
    return weights @ values


def look_up(
    query: Float[Tensor, " d_k"], keys: Float[Tensor, "key d_k"], values: Float[Tensor, "key d_v"]
) -> Float[Tensor, " d_v"]:
    return (keys @ query).softmax(dim=-1) @ values


def scaled_scores(
    queries: Float[Tensor, "*batch query d_k"], keys: Float[Tensor, "*batch key d_k"]
) -> Float[Tensor, "*batch query key"]:
    return queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])


def entropy(weights: Float[Tensor, "*batch query key"]) -> Float[Tensor, "*batch query"]:
    return -torch.xlogy(weights, weights).sum(dim=-1)


def some_weights(generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows that sum to 1, and values: (query, key) and (key, d_v)."""
    for n_queries, n_keys, d_v in ((1, 2, 1), (2, 3, 2), (4, 3, 5)):
        weights = torch.rand(n_queries, n_keys, generator=generator)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        yield weights, torch.randn(n_keys, d_v, generator=generator)


def a_query_keys_and_values(generator: Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    for n_keys, d_k, d_v in ((2, 2, 1), (3, 3, 3), (5, 4, 2)):
        query = torch.randn(d_k, generator=generator)
        yield (
            query,
            torch.randn(n_keys, d_k, generator=generator),
            torch.randn(n_keys, d_v, generator=generator),
        )


def queries_and_keys(generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    for *batch, n_queries, n_keys, d_k in ((2, 2, 4), (3, 5, 9), (2, 3, 4, 5, 16)):
        queries = torch.randn(*batch, n_queries, d_k, generator=generator)
        yield queries, torch.randn(*batch, n_keys, d_k, generator=generator)


def rows_that_sum_to_one(generator: Generator) -> Iterator[tuple[Tensor]]:
    yield (torch.tensor([[0.5, 0.5]]),)
    yield (torch.tensor([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]]),)
    yield (torch.tensor([[0.5, 0.5, 0.0], [0.995, 0.005, 0.0]]),)  # what a mask leaves; a very small weight
    yield (torch.randn(2, 4, 6, generator=generator).softmax(dim=-1),)


WEIGHTED_AVERAGE = Exercise(
    name="attention.weighted_average",
    reference=weighted_average,
    inputs=some_weights,
    buys="That line ends every attention head of every GPT.",
    hints=(
        "Each query adds up all values, each as many times as its weight says.",
        "weights are (query, key), values are (key, d_v), and (query, d_v) comes out: the keys are summed over.",
        "One matrix product of the weights with the values.",
    ),
    misconceptions=(
        Misconception(
            "plain_average",
            "every value counts the same, whatever its weight: you took the plain average.",
            lambda weights, values: values.mean(dim=0).expand(len(weights), -1),
        ),
        Misconception(
            "only_the_largest",
            "each query took the one value with the largest weight. The others count too, with what they weigh.",
            lambda weights, values: values[weights.argmax(dim=-1)],
        ),
        Misconception(
            "divided_once_more",
            "you divided by the number of keys. The weights of a row sum to 1 already: the sum is the average.",
            lambda weights, values: weights @ values / len(values),
        ),
    ),
    minutes=3,
    difficulty=1,
)

LOOK_UP = Exercise(
    name="attention.look_up",
    reference=look_up,
    inputs=a_query_keys_and_values,
    buys="You have a dictionary that answers to every query, and that can be trained.",
    hints=(
        "Compare the query with every key, make weights of the scores, average the values.",
        "keys @ query is (key, d_k) @ (d_k,), a score for each key: (key,). The answer is (d_v,).",
        "Take the softmax of keys @ query, and multiply it with the values.",
    ),
    misconceptions=(
        Misconception(
            "no_softmax",
            "the scores were used as they are. They can be negative and do not sum to 1: the softmax is missing.",
            lambda query, keys, values: (keys @ query) @ values,
        ),
        Misconception(
            "divided_by_the_sum",
            "the scores were divided by their sum, which makes no average where scores are negative. Use the softmax.",
            lambda query, keys, values: (keys @ query) / (keys @ query).sum() @ values,
        ),
        Misconception(
            "exact_match",
            "only the best key answered. A soft dictionary averages all values, by how well their keys fit.",
            lambda query, keys, values: values[(keys @ query).argmax()],
        ),
        Misconception(
            "keys_returned",
            "what comes back is an average of the keys. A key is what a word is found by; it hands over its value.",
            lambda query, keys, values: (keys @ query).softmax(dim=-1) @ keys,
        ),
        Misconception(
            "scaled",
            "you divided the scores by √d_k. That is for section 4; here the scores are the dot products as they are.",
            lambda query, keys, values: (keys @ query / math.sqrt(len(query))).softmax(dim=-1) @ values,
        ),
    ),
    minutes=5,
    difficulty=1,
)

SCALED_SCORES = Exercise(
    name="attention.scaled_scores",
    reference=scaled_scores,
    inputs=queries_and_keys,
    buys="Whatever the size of a head, its softmax starts undecided, and learns.",
    hints=(
        "A score is the dot product of a query and a key, divided so that its variance is 1.",
        "queries are (…, query, d_k), keys (…, key, d_k), scores (…, query, key). Turn the last two of the keys.",
        "Multiply the queries with the transposed keys, and divide by the square root of the last size of queries.",
    ),
    misconceptions=(
        Misconception(
            "unscaled",
            "you forgot √d_k: these are the raw dot products, which saturate the softmax when d_k is large.",
            lambda queries, keys: queries @ keys.transpose(-2, -1),
        ),
        Misconception(
            "scaled_by_d_k",
            "you divided by d_k, not by √d_k. Now the scores are too small, and all weights nearly even.",
            lambda queries, keys: queries @ keys.transpose(-2, -1) / queries.shape[-1],
        ),
        Misconception(
            "scaled_by_keys",
            "you divided by the root of the number of keys. What makes a dot product large is its length, d_k.",
            lambda queries, keys: queries @ keys.transpose(-2, -1) / math.sqrt(keys.shape[-2]),
        ),
        Misconception(
            "one_size",
            "you divided by √1024, whatever the vectors are. `d_k` is still what the loop above left in it: "
            "take the size from queries.",
            lambda queries, keys: queries @ keys.transpose(-2, -1) / math.sqrt(1024),
        ),
        Misconception(
            "rows_are_keys",
            "rows and columns are swapped: a row should belong to a query, a column to a key.",
            lambda queries, keys: keys @ queries.transpose(-2, -1) / math.sqrt(queries.shape[-1]),
        ),
        Misconception(
            "all_turned",
            "it is right for two dimensions, and fails where batch and head stand in front: `keys.T` turns all of them. "
            "Turn the last two alone, with `keys.transpose(-2, -1)`.",
            lambda queries, keys: queries @ keys.T / math.sqrt(queries.shape[-1]),
        ),
    ),
    minutes=5,
    difficulty=2,
    gradients=True,
)

ENTROPY = Exercise(
    name="attention.entropy",
    reference=entropy,
    inputs=rows_that_sum_to_one,
    buys="One number now says how undecided a query is: 0 for one key alone, ln(keys) for all the same.",
    hints=(
        "The entropy of a row is the average surprise, −Σ w · ln w: the one of the notebook on language models.",
        "(…, query, key) comes in, one number for each query goes out: (…, query).",
        "Multiply weights with their logarithm, taking 0 where the weight is 0; sum over the last dimension; negate. "
        "torch.xlogy(w, w) does the product with that rule.",
    ),
    misconceptions=(
        Misconception(
            "nan_at_zero",
            "a weight of 0 gives nan, for 0 · ln 0 is 0 · −∞. As w goes to 0, w · ln w does too: count it as 0.",
            lambda weights: -(weights * weights.log()).sum(dim=-1),
        ),
        Misconception(
            "whole_row_zero",
            "a row with one weight of 0 comes out as 0 altogether. Replace the nan of that one product *before* you sum the row.",
            lambda weights: torch.nan_to_num(-(weights * weights.log()).sum(dim=-1)),
        ),
        Misconception(
            "sign",
            "the sign is turned: ln of a weight is negative, and an entropy is not.",
            lambda weights: torch.xlogy(weights, weights).sum(dim=-1),
        ),
        Misconception(
            "bits",
            "these are bits, by a logarithm to base 2. The course counts in nats, by the natural one.",
            lambda weights: entropy(weights) / math.log(2),
        ),
        Misconception(
            "over_queries",
            "you summed over the queries. Each query has a row of weights, and an entropy, of its own.",
            lambda weights: -torch.xlogy(weights, weights).sum(dim=-2),
        ),
        Misconception(
            "mean_over_keys",
            "you took the mean over the keys. The weights in front already average: sum them.",
            lambda weights: -torch.xlogy(weights, weights).mean(dim=-1),
        ),
    ),
    minutes=8,
    difficulty=2,
)

LESSON = Lesson(
    topic="attention",
    exercises=(WEIGHTED_AVERAGE, LOOK_UP, SCALED_SCORES, ENTROPY),
    predictions=(
        Prediction(
            "attention.kite_looks_at",
            "The weights are the softmax of the dot products of all word vectors. Which word will “kite” look at most?",
            ("itself", "Of vectors of the same length, none has a larger dot product with it than a copy of it."),
            (
                ("“red”, its color", "A thing and a color share no number here, so their dot product is 0."),
                ("“Mia”, its owner", "A person and a thing share no number here, so their dot product is 0."),
            ),
            shows=lambda weights, words: figures.attention_heatmap(
                weights, words, masked=None, title="With raw dot products a word looks at what is like itself"
            ),
            finding="“her” does look at “Mia”, the other person: a longer vector in the same direction has a larger dot product than a copy.",
        ),
        Question(
            "attention.what_heads_do",
            "Sixteen heads, trained together. Does each do the same?",
            (
                "No, they divide the work",
                "Some rest on the start, some spread over many tokens, some look further back; nobody told them to.",
            ),
            (
                (
                    "Yes, up to noise",
                    "Then all rows of the table would be alike. They are not: training gave each its own.",
                ),
                (
                    "All look mostly at themselves",
                    "A token has its own vector already, beside attention. Looking at itself adds little.",
                ),
            ),
        ),
    ),
    quiz=(
        Question(
            "attention.rows_sum",
            "The weights of a head are a (query, key) matrix. What sums to 1?",
            ("each row", "A row belongs to a query, and a query spreads 1 over the keys."),
            (
                (
                    "each column",
                    "A column says how much a key is looked at, by all queries together: from 0 to many.",
                ),
                ("the whole matrix", "Then a query in a long text would have next to nothing to give."),
                (
                    "nothing in particular",
                    "The softmax sees to it: $\\sum_j w_{ij} = 1$ for every query $i$.",
                ),
            ),
        ),
        Question(
            "attention.what_is_averaged",
            "A query has its weights. What do they average?",
            (
                "the values",
                "`weights @ values`: a key is what a word is found by, its value is what it hands over.",
            ),
            (
                ("the keys", "Keys are only compared with the query; what is handed over is the value."),
                ("the queries", "Each query looks for itself; queries are not mixed."),
                ("the scores", "Scores become the weights, by the softmax; they are not averaged."),
            ),
        ),
        Question(
            "attention.why_root",
            "Why are scores divided by $\\sqrt{d_k}$?",
            (
                "so that their variance stays near 1 whatever $d_k$ is",
                "A dot product of $d_k$ random products has variance $d_k$; dividing by its root brings it back to 1.",
            ),
            (
                ("so that the weights sum to 1", "The softmax does that, with any scores."),
                (
                    "so that no score is negative",
                    "A division by a positive number changes no sign, and `exp` takes any.",
                ),
                ("to make the product faster", "It is one more operation. It is there for the gradient."),
            ),
        ),
        Question(
            "attention.shift",
            "You add 5 to every score of one row. What happens to its weights?",
            ("nothing", "Only differences matter: $e^{s+5}$ is $e^5 e^s$, and $e^5$ cancels."),
            (
                ("they all grow", "They sum to 1 before and after, so they cannot all grow."),
                (
                    "they become more even",
                    "Dividing the scores does that; adding does not change their differences.",
                ),
                ("the largest takes nearly all", "Multiplying the scores does that; adding does not."),
            ),
        ),
        Question(
            "attention.saturated",
            "The softmax gives one key 0.999. Why does that query learn slowly?",
            (
                "its gradient with respect to the scores is nearly 0",
                "The derivative holds $w_i(1 - w_i)$ and $w_i w_j$, all nearly 0 there.",
            ),
            (
                (
                    "the other keys are forgotten",
                    "Their scores are still computed; they hardly move the output.",
                ),
                (
                    "0.999 is rounded to 1",
                    "float32 holds 0.999 well. The trouble is the slope, not the rounding.",
                ),
                (
                    "the values are too large",
                    "The values were not asked; the softmax is saturated whatever they are.",
                ),
            ),
        ),
        Question(
            "attention.order",
            "You shuffle the words, with their keys and values. What does a query get?",
            (
                "the same output as before",
                "A sum does not care for the order of its terms. So attention cannot tell the order of words: see the notebook on positions.",
            ),
            (
                ("its weights change", "Each key keeps its score, wherever it stands."),
                (
                    "an average of other values",
                    "Keys and values moved together, so each value keeps its weight.",
                ),
                ("noise", "Nothing is random here."),
            ),
        ),
    ),
    objectives=(
        ("attention.weighted_average", "attention.look_up", "attention.scaled_scores"),
        ("attention.rows_sum", "attention.what_is_averaged", "attention.look_up"),
        ("attention.why_root", "attention.saturated", "attention.scaled_scores"),
        ("attention.entropy", "attention.what_heads_do"),
    ),
)
