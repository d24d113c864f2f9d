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
    return (-torch.xlogy(weights, weights)).sum(dim=-1)


def some_weights(generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows that sum to 1, and values: (query, key) and (key, d_v)."""
    for n_queries, n_keys, d_v in ((2, 3, 1), (3, 2, 2), (3, 3, 3), (4, 3, 5)):
        weights = torch.rand(n_queries, n_keys, generator=generator)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        yield weights, torch.randn(n_keys, d_v, generator=generator)


def a_query_keys_and_values(generator: Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    values = torch.tensor([[10.0], [50.0], [30.0]])
    # Scores of 1, 1.01 and -2: even a sharp softmax mixes the first two.
    yield torch.tensor([1.0, 2.0]), torch.tensor([[0.5, 0.25], [0.51, 0.25], [0.0, -1.0]]), values
    # Scores of 500, 1020 and 140: their exponentials overflow.
    yield torch.tensor([500.0, 900.0]), torch.tensor([[1.0, 0.0], [0.6, 0.8], [-0.8, 0.6]]), values
    for n_keys, d_k, d_v in ((2, 2, 1), (3, 3, 3), (5, 4, 2)):
        query = torch.randn(d_k, generator=generator)
        yield (
            query,
            torch.randn(n_keys, d_k, generator=generator),
            torch.randn(n_keys, d_v, generator=generator),
        )


def queries_and_keys(generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    # len(queries), len(keys) and the number of keys are equal: dividing by any of them gets the same message.
    for *batch, n_queries, n_keys, d_k in ((2, 2, 3), (3, 3, 9), (5, 3, 4, 5, 16)):
        queries = torch.randn(*batch, n_queries, d_k, generator=generator)
        yield queries, torch.randn(*batch, n_keys, d_k, generator=generator)


def rows_that_sum_to_one(generator: Generator) -> Iterator[tuple[Tensor]]:
    yield (torch.tensor([[0.5, 0.5]]),)
    yield (torch.tensor([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]]),)
    # What a mask leaves; very small weights.
    yield (torch.tensor([[0.5, 0.5, 0.0], [0.9995, 0.0005, 0.0], [0.99995, 0.00005, 0.0]]),)
    yield (torch.randn(2, 4, 6, generator=generator).softmax(dim=-1),)


def summed_into_rows_of_values(
    weights: Float[Tensor, "query key"], values: Float[Tensor, "key d_v"]
) -> Float[Tensor, "key d_v"]:
    output = torch.zeros_like(values)
    for query in range(len(weights)):
        output[query] = weights[query] @ values
    return output


WEIGHTED_AVERAGE = Exercise(
    name="attention.weighted_average",
    reference=weighted_average,
    inputs=some_weights,
    buys="This product is in every attention head of every GPT.",
    hints=(
        "Each query adds up all the values, each multiplied by its weight.",
        "The weights are (query, key), the values (key, d_v), and the result is (query, d_v): the sum runs over the keys.",
        "Take one matrix product: the weights times the values.",
    ),
    misconceptions=(
        Misconception(
            "plain_average",
            "you took the plain average, in which every value counts the same, whatever its weight.",
            lambda weights, values: values.mean(dim=0).expand(len(weights), -1),
        ),
        Misconception(
            "only_the_largest",
            "each query took only the value with the largest weight. The others count too, each according to its weight.",
            lambda weights, values: values[weights.argmax(dim=-1)],
        ),
        Misconception(
            "divided_once_more",
            "you divided by the number of keys. The weights of a row already sum to 1, so the weighted sum is the average.",
            lambda weights, values: weights @ values / len(values),
        ),
        Misconception(
            "weights_turned",
            "the weights are transposed: you used column `i` for query `i`, but the weights of query `i` are in row `i`. "
            "Do not transpose them.",
            lambda weights, values: weights.T @ values,
        ),
        Misconception(
            "order_swapped",
            "the two are multiplied in the wrong order. A matrix product sums over the two inner dimensions, so both "
            "of these have to be the keys: (query, key) @ (key, d_v).",
            lambda weights, values: values @ weights,
        ),
        Misconception(
            "elementwise",
            "`weights * values` multiplies number by number and adds nothing up. The matrix product, `@`, sums over the keys.",
            lambda weights, values: weights * values,
        ),
        Misconception(
            "values_turned",
            "the values are transposed. They are (key, d_v), with the keys first, which is what the product needs.",
            lambda weights, values: weights @ values.T,
        ),
        Misconception(
            "softmax_again",
            "you took the softmax of the weights. They are weights already: each row sums to 1.",
            lambda weights, values: weights.softmax(dim=-1) @ values,
        ),
        Misconception(
            "one_for_all",
            "you added up the outputs of all queries. Each query needs a row of its own: (query, d_v).",
            lambda weights, values: (weights @ values).sum(dim=0),
        ),
        Misconception(
            "mean_of_all",
            "you took the mean over the queries, which leaves one row for all of them. Each query needs a row of its own: "
            "(query, d_v).",
            lambda weights, values: (weights @ values).mean(dim=0),
        ),
        Misconception(
            "first_query_only",
            "you returned the output of the first query only. Return a row for every query; in a function with a loop, "
            "`return` comes after the loop, not inside it.",
            lambda weights, values: weights[0] @ values,
        ),
        Misconception(
            "rows_of_values",
            "your output has as many rows as `values`, one for each key. It needs one row for each query: (query, d_v), "
            "the shape of `torch.zeros(len(weights), values.shape[1])`.",
            summed_into_rows_of_values,
        ),
    ),
    minutes=3,
    difficulty=1,
)

LOOK_UP = Exercise(
    name="attention.look_up",
    reference=look_up,
    inputs=a_query_keys_and_values,
    buys="You now have a dictionary that answers every query and whose keys and values can be learned.",
    hints=(
        "Compare the query with every key, turn the scores into weights, and use these to average the values.",
        "keys @ query is (key, d_k) @ (d_k,), which gives one score for each key: (key,). The answer is (d_v,).",
        "Take the softmax of keys @ query, and take its matrix product with the values.",
    ),
    misconceptions=(
        Misconception(
            "no_softmax",
            "the scores were used as they are. They can be negative and do not sum to 1: the softmax is missing.",
            lambda query, keys, values: (keys @ query) @ values,
        ),
        Misconception(
            "divided_by_the_sum",
            "the scores were divided by their sum, which does not give an average when some are negative. Use the softmax.",
            lambda query, keys, values: (keys @ query) / (keys @ query).sum() @ values,
        ),
        Misconception(
            "exp_undivided",
            "you took `exp` of the scores and did not divide by the sum, so these weights do not sum to 1. "
            "The softmax does both.",
            lambda query, keys, values: (keys @ query).exp() @ values,
        ),
        Misconception(
            "exact_match",
            "you returned only the value of the best key. A soft dictionary averages all values, "
            "weighted by how well their keys fit.",
            lambda query, keys, values: values[(keys @ query).argmax()],
        ),
        Misconception(
            "keys_returned",
            "you returned an average of the keys. A key is what a word is found by; what it hands over is its value.",
            lambda query, keys, values: (keys @ query).softmax(dim=-1) @ keys,
        ),
        Misconception(
            "weights_returned",
            "you returned the weights, one for each key. Use them to average the values.",
            lambda query, keys, values: (keys @ query).softmax(dim=-1),
        ),
        Misconception(
            "cosine",
            "the scores are cosines: you divided by the lengths of the vectors. Here a score is the plain dot product, "
            "so a longer query makes the weights sharper.",
            lambda query, keys, values: (
                torch.cosine_similarity(keys, query[None], dim=-1).softmax(dim=-1) @ values
            ),
        ),
        Misconception(
            "keys_not_turned",
            "`query @ keys` sums over the keys, but a score is a sum over the dimensions of one key. "
            "Write `keys @ query` or `query @ keys.T`.",
            lambda query, keys, values: (query @ keys).softmax(dim=-1) @ values,
        ),
        Misconception(
            "scaled",
            "you divided the scores by √d_k. That belongs to section 4; here the scores are the plain dot products.",
            lambda query, keys, values: (keys @ query / math.sqrt(len(query))).softmax(dim=-1) @ values,
        ),
        Misconception(
            "overflow",
            "your answer is right for small scores, but nan for large ones, whose exponentials overflow. Subtract the "
            "largest score before `exp`, or use `softmax`, which does so.",
            lambda query, keys, values: (keys @ query).exp() / (keys @ query).exp().sum() @ values,
        ),
        Misconception(
            "sharpness_kept",
            "you multiplied the scores by 100. The variable `sharpness` from the cell above still holds 100, but here the scores "
            "are the plain dot products.",
            lambda query, keys, values: (100 * keys @ query).softmax(dim=-1) @ values,
        ),
        Misconception(
            "not_added_up",
            "you multiplied each value by its weight, but did not add up the products: sum them over the keys, `dim=0`, or use "
            "the matrix product `weights @ values`.",
            lambda query, keys, values: (keys @ query).softmax(dim=-1)[:, None] * values,
        ),
    ),
    minutes=5,
    difficulty=1,
)

SCALED_SCORES = Exercise(
    name="attention.scaled_scores",
    reference=scaled_scores,
    inputs=queries_and_keys,
    buys="If the numbers in queries and keys are independent, with mean 0 and variance 1, their scores now have variance "
    "1 too, whatever d_k is.",
    hints=(
        "A score is the dot product of a query and a key, divided by √d_k.",
        "queries are (…, query, d_k), keys (…, key, d_k), scores (…, query, key). Swap the last two dimensions of the keys.",
        "Multiply the queries by the transposed keys, and divide by the square root of the last dimension's size, `queries.shape[-1]`.",
    ),
    misconceptions=(
        Misconception(
            "unscaled",
            "you forgot √d_k: these are the raw dot products, whose size grows with d_k.",
            lambda queries, keys: queries @ keys.transpose(-2, -1),
        ),
        Misconception(
            "scaled_by_d_k",
            "you divided by d_k, not by √d_k. Now the scores are too small, and the weights too even.",
            lambda queries, keys: queries @ keys.transpose(-2, -1) / queries.shape[-1],
        ),
        Misconception(
            "half_d_k",
            "you divided by d_k and by 2. Python reads `d_k**1/2` as `(d_k**1) / 2`; the root is `d_k**0.5` or `math.sqrt(d_k)`.",
            lambda queries, keys: queries @ keys.transpose(-2, -1) / queries.shape[-1] / 2,
        ),
        Misconception(
            "multiplied",
            "you multiplied by √d_k where you should divide: the scores grew instead of shrinking.",
            lambda queries, keys: queries @ keys.transpose(-2, -1) * math.sqrt(queries.shape[-1]),
        ),
        Misconception(
            "scaled_by_count",
            "you divided by the square root of the number of vectors. The size of a dot product depends on how many products "
            "it adds up, which is d_k: `queries.shape[-1]`.",
            lambda queries, keys: queries @ keys.transpose(-2, -1) / math.sqrt(keys.shape[-2]),
        ),
        Misconception(
            "second_size",
            "your answer is right for two dimensions, but wrong when batch and head come first: then `queries.shape[1]` is the "
            "number of heads. d_k is the size of the last dimension, `queries.shape[-1]`.",
            lambda queries, keys: queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[1]),
        ),
        Misconception(
            "softmaxed",
            "you took the softmax too: these are the weights. The exercise asks for the scores that go into it.",
            lambda queries, keys: scaled_scores(queries, keys).softmax(dim=-1),
        ),
        Misconception(
            "rows_are_keys",
            "rows and columns are swapped: a row should belong to a query, a column to a key.",
            lambda queries, keys: keys @ queries.transpose(-2, -1) / math.sqrt(queries.shape[-1]),
        ),
        Misconception(
            "all_turned",
            "your answer is right for two dimensions, but fails when batch and head come first: `keys.T` and "
            "`keys.transpose(0, 1)` do not swap the last two dimensions then. `keys.transpose(-2, -1)` always does.",
            lambda queries, keys: queries @ keys.T / math.sqrt(queries.shape[-1]),
        ),
        Misconception(
            "only_in_pairs",
            "you compared the first query only with the first key, the second with the second, and so on. Every query needs a "
            "score for every key: (…, query, key), which the matrix product `@` gives.",
            lambda queries, keys: (queries * keys).sum(dim=-1) / math.sqrt(queries.shape[-1]),
        ),
        Misconception(
            "always_two",
            "you divided by 2, which is √d_k only where d_k is 4, as in the example. Here d_k can be any number: "
            "`queries.shape[-1]`.",
            lambda queries, keys: queries @ keys.transpose(-2, -1) / 2,
        ),
        Misconception(
            "scaled_by_queries",
            "you divided by the square root of the number of queries. What counts is how many products a dot product adds up, "
            "which is d_k: `queries.shape[-1]`.",
            lambda queries, keys: queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-2]),
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
    buys="One number now says how undecided a query is: 0 when one key has all the weight, ln n when all n keys have the same.",
    hints=(
        "The entropy of a row is its average surprise, −Σ w · ln w, as in the notebook on language models.",
        "The weights are (…, query, key), and the result has one number for each query: (…, query).",
        "Multiply the weights by their logarithms, taking 0 where a weight is 0; sum over the last dimension; negate. "
        "torch.xlogy(w, w) computes the product by that rule.",
    ),
    misconceptions=(
        Misconception(
            "nan_at_zero",
            "a weight of 0 gives nan: ln 0 is −∞, and 0 · −∞ is undefined. As w goes to 0, so does w · ln w, so count it as 0.",
            lambda weights: -(weights * weights.log()).sum(dim=-1),
        ),
        Misconception(
            "whole_row_zero",
            "a row with a weight of 0 gets an entropy of 0. Replace the nan of that one product before you sum the row.",
            lambda weights: torch.nan_to_num(-(weights * weights.log()).sum(dim=-1)),
        ),
        Misconception(
            "sign",
            "the sign is wrong: the logarithm of a weight is never positive, so the sum needs a minus sign in front.",
            lambda weights: torch.xlogy(weights, weights).sum(dim=-1),
        ),
        Misconception(
            "bits",
            "these are bits, from a logarithm to base 2. The course measures in nats, with the natural logarithm.",
            lambda weights: entropy(weights) / math.log(2),
        ),
        Misconception(
            "over_queries",
            "you summed over the queries. Each query has its own row of weights and its own entropy.",
            lambda weights: -torch.xlogy(weights, weights).sum(dim=-2),
        ),
        Misconception(
            "mean_over_keys",
            "you took the mean over the keys. The sum is already an average, because each term is multiplied by its weight.",
            lambda weights: -torch.xlogy(weights, weights).mean(dim=-1),
        ),
        Misconception(
            "one_number",
            "you summed everything into one number. Sum over the last dimension only: one entropy for each query.",
            lambda weights: -torch.xlogy(weights, weights).sum(),
        ),
        Misconception(
            "second_dimension",
            "your answer is right for two dimensions, but wrong when others come first: then `dim=1` is not the keys. They are "
            "always the last dimension, `dim=-1`.",
            lambda weights: -torch.xlogy(weights, weights).sum(dim=1),
        ),
        Misconception(
            "each_product",
            "you returned the separate products −w · ln w. Sum them over the keys: one number for each query.",
            lambda weights: -torch.xlogy(weights, weights),
        ),
        Misconception(
            "first_dimension_kept",
            "your answer is right for two dimensions, but when others come first, you get one number for each entry of the "
            "first dimension, not for each query. Sum over the last dimension only, `dim=-1`; that needs no loop.",
            lambda weights: torch.stack([-torch.xlogy(part, part).sum() for part in weights]),
        ),
        Misconception(
            "dimension_kept",
            "the numbers are right, but the result is (…, query, 1) and should be (…, query). Here the sum needs no `keepdim=True`.",
            lambda weights: -torch.xlogy(weights, weights).sum(dim=-1, keepdim=True),
        ),
        Misconception(
            "weights_forgotten",
            "you added up the logarithms alone. Multiply each of them by its weight before you sum: −Σ w · ln w.",
            lambda weights: -weights.log().sum(dim=-1),
        ),
    ),
    minutes=8,
    difficulty=2,
)


def table_of_sizes(fresh: list[float], wide: list[float], trained: list[list[float]]) -> str:
    """Lines for `attention.fresh_gpt`: for each model and layer the five numbers that the notebook measures."""

    def in_two_digits(number: float) -> str:
        return f"{float(f'{number:.2g}'):,.9g}"

    rows = {"untrained, d_model 128, d_k 32": fresh, "untrained, d_model 1,024, d_k 1,024": wide}
    rows |= {f"storyteller, layer {layer}": measured for layer, measured in enumerate(trained)}
    lines = [
        f"{'':36} {'variance of':^30} {'largest of 64 weights':>24}",
        f"{'':36} {'queries':>8} {'keys':>8} {'raw scores':>12} {'undivided':>14} {'divided':>9}",
    ]
    for name, (queries, keys, raw, undivided, divided) in rows.items():
        queries, keys, raw = (in_two_digits(variance) for variance in (queries, keys, raw))
        lines.append(f"{name:36} {queries:>8} {keys:>8} {raw:>12} {undivided:14.2f} {divided:9.2f}")
    return "\n".join(lines)


LESSON = Lesson(
    topic="attention",
    exercises=(WEIGHTED_AVERAGE, LOOK_UP, SCALED_SCORES, ENTROPY),
    predictions=(
        Prediction(
            "attention.reach",
            "Take every mention of a person, an object or a place that the story has mentioned before. In what share of these "
            "is the previous mention at most four words back?",
            (
                "about one in five",
                "Most of the time the previous mention is more than eight words back.",
            ),
            (
                ("about half", "That takes a reach of more than 8 words and less than 16."),
                ("about four in five", "That takes a reach of more than 16 words and less than 32."),
            ),
            shows=lambda reaches, shares, count: figures.bar_chart(
                [f"within {reach} words" for reach in reaches],
                shares,
                title="How far back the previous mention of the same thing is",
                label=f"share of {count:,} mentions",
            ),
            finding="Four words are enough for one mention in five. Even with 32 words, more than one in ten is "
            "out of reach. A model that reads a fixed number of words would have to be built for the longest distance.",
        ),
        Prediction(
            "attention.kite_looks_at",
            "The score of two words is the dot product of their vectors, and the softmax turns each row of scores into weights. "
            "Which word will “kite” look at most?",
            (
                "itself",
                "No vector of the same length has a larger dot product with it than a copy of it.",
            ),
            (
                (
                    "“red”, its color",
                    "A thing and a color share no dimension here, so their dot product is 0.",
                ),
                (
                    "“Mia”, its owner",
                    "A person and a thing share no dimension here, so their dot product is 0.",
                ),
            ),
            shows=lambda weights, words: figures.attention_heatmap(
                weights, words, masked=None, title="Weights from raw dot products of the word vectors"
            ),
            finding="“kite” looks at itself, and not at “red”: being a thing and being a color have no dimension in common.\n\n"
            "But “her” shows that this is not always so. It looks at “Mia” more than at itself, because a **longer** vector in "
            "the same direction has a larger dot product than a copy.",
        ),
        Prediction(
            "attention.variance",
            "The numbers in queries and keys have variance 1. When $d_k$ goes from 4 to 1,024, which is 256 times as many, "
            "what happens to the variance of their dot products?",
            (
                "it grows by a factor of 256",
                "Each of the $d_k$ products has variance 1, and their variances add up.",
            ),
            (
                (
                    "it stays about 1",
                    "Each single product has variance 1. A dot product is the **sum** of all of them.",
                ),
                (
                    "it grows by a factor of 16",
                    "That is what the typical **size** of a score does: it is the square root of the variance.",
                ),
            ),
            shows=lambda sizes, raw, scaled: figures.line_chart(
                {"raw scores": (sizes, raw), "divided by √d_k": (sizes, scaled)},
                title="The variance of a dot product is d_k; divided by √d_k, a score has variance 1",
                x_label="d_k, the length of queries and keys",
                y_label="variance of the scores",
                log_x=True,
                log_y=True,
            ),
            finding="The variance is $d_k$. A product of two such numbers has mean 0, and its mean square is $1 \\cdot 1$, so its "
            "variance is 1. There are $d_k$ of them, and the variances of independent terms add up. So a "
            "score is typically $\\sqrt{d_k}$ away from 0. Dividing it by $\\sqrt{d_k}$ divides its variance by "
            "$d_k$, which brings it back to 1.",
        ),
        Prediction(
            "attention.fresh_gpt",
            "An untrained GPT of storyteller’s shape, $d_k$ = 32, with initial weights of standard deviation 0.02, reads 64 "
            "tokens, and its scores are **not** divided by $\\sqrt{d_k}$. What share of its weight does the last token give to "
            "the token that it looks at most, on average over the heads of the first layer?",
            (
                "about 0.03, twice an even share",
                "Its queries and keys start with a variance far below 1, so even its raw scores are small.",
            ),
            (
                (
                    "about 0.5",
                    "One token in 64 gets half the weight only if its score is about 4 above all the others. Here raw "
                    "scores typically differ by less than 1.",
                ),
                (
                    "more than 0.9",
                    "That is what numbers of variance 1 give at large $d_k$. The numbers here are much smaller.",
                ),
            ),
            shows=table_of_sizes,
            finding="Look at the first row. Each number of a query is a sum of `d_model` products of an initial weight and a "
            "number that was rescaled to variance 1. Its variance is therefore $128 \\cdot 0.02^2$, about 0.05, and that of a raw score is "
            "$32 \\cdot 0.05^2$, about 0.08. An untrained storyteller spreads its weight almost evenly **with or without** the "
            "division.\n\n"
            "The second row is a wider model whose initial weights have the same standard deviation. There the same sums give "
            "raw scores a variance of more than 100, and without the division one token gets most of the weight before anything has been learned. So "
            "whether $\\sqrt{d_k}$ matters at the start depends on the initial weights and on the sizes.\n\n"
            "The other rows show what training changed: the raw scores vary far more than before, and in layers 1 and 2 "
            "the largest weight is close to 1 even after the division. The division sets the size of the scores where training "
            "starts. It does not keep them there.",
        ),
        Prediction(
            "attention.what_heads_do",
            "Before training, all sixteen heads are undecided: their entropy is close to the largest possible. After "
            "training, how many of the sixteen still have more than half of the largest possible entropy, on average over "
            "the queries?",
            (
                "4, one layer’s heads",
                "They are those of the first layer. In the other three, most of the weight goes to very few tokens.",
            ),
            (
                (
                    "all 16",
                    "Dividing by $\\sqrt{d_k}$ makes them start undecided. Nothing keeps them so when training makes "
                    "queries and keys larger.",
                ),
                (
                    "none",
                    "That is true of three of the four layers. The heads of the first one still spread their weight.",
                ),
            ),
            shows=lambda before, after: figures.grid_heatmap(
                torch.cat([before, after]),
                [f"{when}, layer {layer}" for when in ("before", "after") for layer in range(len(before))],
                [f"head {head}" for head in range(before.shape[1])],
                title="How undecided the heads of storyteller are before and after training",
                label="entropy / ln n",
                annotate=True,
                largest=1,
            ),
            finding="Before training every head spreads its weight almost evenly. Afterward the four heads of layer 0 still spread "
            "most of it, and the twelve heads of the other layers give most of it to very few tokens. In layers 1 and 2 nearly "
            "every query looks at a single one.",
        ),
        Prediction(
            "attention.without_root",
            "Suppose that the scores are not divided, that $d_k$ is 1,024, and that each of the 64 queries learns on its own. "
            "At the best of the learning rates, from which start do nearly all queries learn to fetch their values?",
            (
                "only from the small start, 0.02",
                "There the scores begin close together, so the gradient of the softmax is not close to 0.",
            ),
            (
                (
                    "from neither",
                    "That would make the division indispensable. A small start keeps raw scores small as well.",
                ),
                (
                    "from both",
                    "A learning rate multiplies the gradient. Where that is nearly 0, no rate tried here makes up for it.",
                ),
            ),
            shows=lambda rates, fetched: figures.line_chart(
                {
                    f"{'undivided' if how == 'undivided' else 'divided'}, start {spread:g}": (rates, shares)
                    for (spread, how), shares in fetched.items()
                },
                title="Look-ups learned at seven learning rates, with and without √d_k",
                x_label="learning rate",
                y_label="share of the 64 look-ups that are right",
                log_x=True,
            ),
            finding="Without the division, most look-ups from the large start stay wrong at every learning rate: the softmax is "
            "saturated from the beginning, and its gradient is close to zero. With it, the queries learn from the same start. "
            "From the small start they learn **either way**, because their raw scores are small to begin with.",
        ),
    ),
    quiz=(
        Question(
            "attention.rows_sum",
            "The weights of a head are a (query, key) matrix. What sums to 1?",
            ("each row", "A row belongs to a query, and a query spreads a total weight of 1 over the keys."),
            (
                (
                    "each column",
                    "The sum of a column says how much a key is looked at by all queries together. "
                    "It can be less or more than 1.",
                ),
                ("the whole matrix", "Then each query of a long text would have almost no weight to give."),
                (
                    "nothing in particular",
                    "The softmax makes each row sum to 1: $\\sum_j w_{ij} = 1$ for every query $i$.",
                ),
            ),
        ),
        Question(
            "attention.what_is_averaged",
            "Attention takes an average with the weights of a query. What does it average?",
            (
                "the values",
                "`weights @ values`: a key is what a word is found by, and a value is what it hands over.",
            ),
            (
                ("the keys", "Keys are only compared with the query; what is handed over is the value."),
                ("the queries", "Queries are not mixed: each one gathers on its own."),
                ("the scores", "The softmax turns scores into the weights; they are not averaged."),
            ),
        ),
        Question(
            "attention.why_root",
            "What does dividing the scores by $\\sqrt{d_k}$ achieve?",
            (
                "their size does not grow with $d_k$",
                "A dot product of vectors with numbers of variance 1 has variance $d_k$, and the division brings it back to "
                "1. In a real model the numbers may have another variance, but the size still does not grow with $d_k$.",
            ),
            (
                ("the weights sum to 1", "The softmax does that, with any scores."),
                (
                    "a trained model stays undecided",
                    "Training can make queries and keys as large as it likes. In storyteller "
                    "most heads put their weight on very few tokens.",
                ),
                (
                    "no score is negative",
                    "Dividing by a positive number does not change the sign, and the softmax does not need positive scores.",
                ),
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
            "The softmax gives one key a weight of 0.999. Why does that query learn slowly?",
            (
                "its gradient with respect to the scores is nearly 0",
                "The derivatives are $w_i(1 - w_i)$ and $-w_i w_j$, and with such weights all of them are nearly 0.",
            ),
            (
                (
                    "the other keys are forgotten",
                    "Their scores are still computed, but they hardly change the output.",
                ),
                (
                    "0.999 is rounded to 1",
                    "float32 can hold 0.999 accurately. The trouble is the slope, not the rounding.",
                ),
                (
                    "the values are too large",
                    "The weights do not depend on the values; the softmax is saturated whatever they are.",
                ),
            ),
        ),
        Question(
            "attention.learned",
            "In section 5 the layer learned to answer “kite?” from the cards on a shelf. What did the control, with all "
            "queries multiplied by 0, show?",
            (
                "that an average without looking is not enough",
                "It saw the same cards and learned its values too, and it was right far less often.",
            ),
            (
                (
                    "that the value matrix is not needed",
                    "Both the layer and the control have one, and both need it to read the colors.",
                ),
                (
                    "that the layer knew the shelves by heart",
                    "Both were tested on new shelves, of which there are far too many to remember.",
                ),
                (
                    "that gradient descent needs large queries",
                    "The control did not test sizes. With queries of 0, every card gets the same weight.",
                ),
            ),
        ),
        Question(
            "attention.order",
            "You shuffle the words together with their keys and values. What does a query get?",
            (
                "the same output as before",
                "The order of the terms does not change a sum. So attention alone cannot tell the order of "
                "words; the notebook on positions adds it.",
            ),
            (
                ("other weights", "Each key keeps its score, wherever it stands."),
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
        ("attention.why_root", "attention.saturated", "attention.fresh_gpt", "attention.without_root"),
        ("attention.learned",),
        ("attention.entropy", "attention.what_heads_do"),
    ),
)
