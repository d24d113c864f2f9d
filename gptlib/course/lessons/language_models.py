"""A language model guesses what comes next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.viz import figures


def surprise_of_text(given: Float[np.ndarray, " piece"]) -> float:
    return -np.log(given).sum()


def draw(probabilities: Float[np.ndarray, " vocab"], dice: float) -> int:
    ends = probabilities.cumsum()  # where the stretch of each token ends
    return int((ends <= dice).sum())


def mean_surprise(table: Float[np.ndarray, "this next"], rows: Sequence[Sequence[int]]) -> float:
    with np.errstate(divide="ignore"):  # log 0 is minus infinity, and no reason for a warning
        given = np.concatenate([np.log(table[row[:-1], row[1:]]) for row in rows])
    return -given.mean()


def bits_per_byte(loss: float, n_judged: int, texts: Sequence[str]) -> float:
    n_bytes = sum(len(text.encode()) for text in texts)
    return loss * n_judged / n_bytes / np.log(2)


def with_cache(
    given: Float[np.ndarray, " token"], row: Sequence[int], share: float
) -> Float[np.ndarray, " token"]:
    mixed = np.zeros(len(given))
    for n, p in enumerate(given):
        before = row[: n + 1]  # the token that is guessed, row[n + 1], is not among them
        mixed[n] = (1 - share) * p + share * before.count(row[n + 1]) / len(before)
    return mixed


def numbers(generator: Generator, *shape: int) -> np.ndarray:
    """Between 0 and 1, and never 0."""
    return torch.rand(shape, generator=generator, dtype=torch.float64).numpy() * 0.98 + 0.01


def texts_guessed(generator: Generator) -> Iterator[tuple[np.ndarray]]:
    yield (np.array([0.5, 0.25]),)
    yield (numbers(generator, 5),)
    yield (numbers(generator, 2000) / 10,)  # multiplied, they are less than a float can hold


def tokens_to_draw(generator: Generator) -> Iterator[tuple[np.ndarray, float]]:
    for probabilities, dice in (
        ((0.25, 0.75), 0.5),
        ((0.5, 0.25, 0.25), 0.25),
        ((0.5, 0.25, 0.25), 0.875),
        ((0.0, 0.5, 0.5), 0.0),
        ((0.125, 0.375, 0.0, 0.5), 0.375),
        ((0.125, 0.375, 0.0, 0.5), 0.5),
        ((0.125, 0.625, 0.125, 0.125), 0.8125),
    ):
        yield np.array(probabilities), dice
    for vocab in (3, 6):
        probabilities = numbers(generator, vocab)
        yield probabilities / probabilities.sum(), float(numbers(generator, 1)[0])


def tables_and_rows(generator: Generator) -> Iterator[tuple[np.ndarray, list[list[int]]]]:
    yield np.array([[0.5, 0.5], [0.25, 0.75]]), [[0, 1, 0]]
    yield np.array([[0.5, 0.5], [0.25, 0.75]]), [[0, 1, 0, 1]]  # a pair that comes twice
    for vocab, rows in (
        (3, [[2, 0, 1], [2, 1, 1, 0, 2, 2]]),
        (5, [[4, 0], [4, 1, 3, 3, 2, 4], [4, 2, 2, 0]]),
    ):
        table = numbers(generator, vocab, vocab)
        yield table / table.sum(axis=1, keepdims=True), rows
    yield np.array([[0.0, 1.0], [0.5, 0.5]]), [[1, 0, 0, 1], [1, 0]]


def losses_of_texts(generator: Generator) -> Iterator[tuple[float, int, list[str]]]:
    yield math.log(2), 8, ["kite"]
    for n_judged, texts in ((7, ["Mia flew", "a red kite 🪁"]), (40, ["米娅放风筝。", "a naïve owl", "Leo"])):
        yield 4 * float(numbers(generator, 1)[0]), n_judged, texts


def guesses_and_rows(generator: Generator) -> Iterator[tuple[np.ndarray, list[int], float]]:
    yield np.array([0.5, 0.5]), [0, 7, 7], 0.5
    for row, share in (([3, 1, 1, 2, 1], 0.25), ([0, 4, 2, 4, 4, 1, 2, 0], 0.1)):
        yield numbers(generator, len(row) - 1), row, share


SURPRISE_OF_TEXT = Exercise(
    name="ngram.surprise_of_text",
    reference=surprise_of_text,
    inputs=texts_guessed,
    buys="However long a text is, its surprise is a number that a computer can hold.",
    hints=(
        "By the chain rule the probability of a text is a product, and the logarithm of a product is a sum of logarithms.",
        "given has shape (piece,), one probability for each piece; the answer is a single number.",
        "Take the logarithm of each number in given with np.log, add them up, and change the sign.",
    ),
    misconceptions=(
        Misconception(
            "product",
            "this is the probability of the text. Its surprise is the −log of that.",
            lambda given: np.prod(given),
        ),
        Misconception(
            "underflow",
            "a long text comes out as infinitely surprising: the product of 2,000 probabilities is too small for a "
            "float, so it becomes 0. Take the logarithms first, then add them up.",
            lambda given: -np.log(np.prod(given)),
        ),
        Misconception(
            "log_of_an_underflow",
            "short texts are right, but for a long one the logarithm fails: the product of 2,000 probabilities is too "
            "small for a float, so it becomes 0, and 0 has no logarithm. Take the logarithms first, then add them up.",
            lambda given: -math.log(math.prod(given)),
        ),
        Misconception(
            "log_of_the_sum",
            "you added the probabilities up and took one logarithm. Take the logarithm of each, then add those up.",
            lambda given: -np.log(given.sum()),
        ),
        Misconception(
            "mean",
            "you took the mean, which is the surprise per piece. The surprise of the whole text is the sum.",
            lambda given: -np.log(given).mean(),
        ),
        Misconception(
            "not_summed",
            "you return the surprise of each piece. Add them up: the answer is one number for the whole text.",
            lambda given: -np.log(given),
        ),
        Misconception(
            "entropy",
            "you weighted each surprise by its probability, as one does for the mean over everything that might come. "
            "These pieces did come, so each counts once, in full.",
            lambda given: -(given * np.log(given)).sum(),
        ),
        Misconception(
            "sign",
            "the sign is wrong: the logarithm of a probability is negative or 0, and a surprise is positive or 0.",
            lambda given: np.log(given).sum(),
        ),
        Misconception(
            "bits",
            "these are bits, from a logarithm to base 2. The course measures in nats, with the natural logarithm.",
            lambda given: -np.log2(given).sum(),
        ),
        Misconception(
            "complement",
            "you added up 1 − p for the pieces. The surprise of a piece with probability p is −log p.",
            lambda given: (1 - given).sum(),
        ),
    ),
    minutes=3,
    difficulty=1,
)

DRAW = Exercise(
    name="ngram.draw",
    reference=draw,
    inputs=tokens_to_draw,
    buys="Every model in this course, even the largest, can choose its words this way.",
    hints=(
        "A long stretch is hit often and a short one seldom, so each token is drawn in proportion to its probability.",
        "probabilities has shape (vocab,), and so does probabilities.cumsum(). dice is one number; the answer is the number of one token.",
        "Count the stretches that end at dice or before it: with ends = probabilities.cumsum() that is (ends <= dice).sum(). "
        'Or let np.searchsorted look it up, with side="right".',
    ),
    misconceptions=(
        Misconception(
            "likeliest",
            "you always return the likeliest token. Then the dice decide nothing, and the model can write only one text.",
            lambda probabilities, dice: probabilities.argmax(),
        ),
        Misconception(
            "random_choice",
            "you let numpy roll dice of its own. The roll is given, in `dice`: the same `dice` has to draw the same token every time.",
            lambda probabilities, dice: np.random.choice(len(probabilities), p=probabilities),  # noqa: NPY002
        ),
        Misconception(
            "own_probability",
            "you took the first token whose own probability is larger than `dice`. A stretch begins where the one "
            "before it ends, so compare `dice` with where the stretches end.",
            lambda probabilities, dice: np.argmax(probabilities > dice),
        ),
        Misconception(
            "no_cumsum",
            "you searched the probabilities themselves, as if they rose from left to right. Search where the stretches end: "
            "`probabilities.cumsum()` does rise.",
            lambda probabilities, dice: np.searchsorted(probabilities, dice),
        ),
        Misconception(
            "even_stretches",
            "you gave every token a stretch of the same length. The length of a stretch is the probability of its token.",
            lambda probabilities, dice: int(dice * len(probabilities)),
        ),
        Misconception(
            "on_the_edge",
            "where `dice` is exactly on an edge, you take the stretch that ends there. That one may be empty: a `dice` of 0 would "
            "draw a first token whose probability is 0.",
            lambda probabilities, dice: np.searchsorted(probabilities.cumsum(), dice),
        ),
        Misconception(
            "one_before",
            "your token is 1 too small: it is the one before the token whose stretch `dice` fell on, or −1 where that is token 0. "
            "Tokens are numbered from 0, so the number of stretches that end at `dice` or before it is the token itself.",
            lambda probabilities, dice: np.searchsorted(probabilities.cumsum(), dice, side="right") - 1,
        ),
        Misconception(
            "all_of_them",
            "you return every token whose stretch ends after `dice`. Only the first of them is drawn, so return one number.",
            lambda probabilities, dice: np.flatnonzero(probabilities.cumsum() > dice),
        ),
        Misconception(
            "probability_returned",
            "you found the right token but returned its probability. Return the number of the token.",
            lambda probabilities, dice: probabilities[draw(probabilities, dice)],
        ),
        Misconception(
            "counted_after",
            "you counted the stretches that end after `dice`. Count those that end at `dice` or before it, `ends <= dice`: they all come "
            "before the token that was hit.",
            lambda probabilities, dice: (probabilities.cumsum() > dice).sum(),
        ),
        Misconception(
            "nearest_edge",
            "you took the token whose stretch ends nearest to `dice`. That may be the stretch before the one that `dice` fell on: take the "
            "first that ends after `dice`.",
            lambda probabilities, dice: np.abs(probabilities.cumsum() - dice).argmin(),
        ),
        Misconception(
            "one_after",
            "you took the token after the one whose stretch `dice` fell on, wherever there is one. Compare `dice` with the "
            "end of each stretch: add the probability of the token first, and then compare.",
            lambda probabilities, dice: min(draw(probabilities, dice) + 1, len(probabilities) - 1),
        ),
    ),
    minutes=5,
    difficulty=1,
)

MEAN_SURPRISE = Exercise(
    name="ngram.mean_surprise",
    reference=mean_surprise,
    inputs=tables_and_rows,
    buys="This is the loss, the number by which every model in the course is judged.",
    hints=(
        "Every token but the first of its row is guessed from the token before it. Take the −log of the probability that it was given, then the mean.",
        "table has shape (this, next). For a row of n tokens, table[row[:-1], row[1:]] has shape (n − 1,): it is what each guessed token was given.",
        "For each row take np.log(table[row[:-1], row[1:]]), join these arrays with np.concatenate, "
        "take the mean, and change the sign.",
    ),
    misconceptions=(
        Misconception(
            "mean_of_rows",
            "you let every row count the same, however short it is. Every token should count the same: take one mean over the tokens of all rows.",
            lambda table, rows: np.mean([mean_surprise(table, [row]) for row in rows]),
        ),
        Misconception(
            "crosses_rows",
            "you joined the rows first, so the first token of each row is guessed from the last token of the row before. Pair the "
            "tokens within each row, then join.",
            lambda table, rows: mean_surprise(table, [np.concatenate(rows)]),
        ),
        Misconception(
            "swapped",
            "rows and columns are swapped: the row of the table belongs to the token that was there, and the column to the one that came next.",
            lambda table, rows: mean_surprise(table.T, rows),
        ),
        Misconception(
            "log_of_the_mean",
            "you averaged the probabilities and took the logarithm of the mean, so a 0 goes unpunished. "
            "Take the logarithm of each, then the mean.",
            lambda table, rows: -np.log(np.mean([p for row in rows for p in table[row[:-1], row[1:]]])),
        ),
        Misconception(
            "first_counted",
            "you divided by the total number of tokens. The first token of each row is given, not guessed, so it does not count.",
            lambda table, rows: (
                mean_surprise(table, rows) * sum(len(row) - 1 for row in rows) / sum(map(len, rows))
            ),
        ),
        Misconception(
            "log_of_zero",
            "`math.log` raises an error at a probability of 0. The surprise is infinite there, and `np.log` handles that.",
            lambda table, rows: np.mean(
                [-math.log(table[a, b]) for row in rows for a, b in zip(row, row[1:], strict=False)]
            ),
        ),
        Misconception(
            "skips_zeros",
            "you left out the tokens that were given a probability of 0. They are the worst mistakes of all: with one of them the loss is `inf`.",
            lambda table, rows: (
                -np.mean([np.log(p) for row in rows for p in table[row[:-1], row[1:]] if p > 0])
            ),
        ),
        Misconception(
            "bits",
            "these are bits, from a logarithm to base 2. The loss is in nats: use the natural logarithm.",
            lambda table, rows: mean_surprise(table, rows) / math.log(2),
        ),
        Misconception(
            "perplexity",
            "this is the perplexity, e to the power of the loss. Return the loss itself.",
            lambda table, rows: np.exp(mean_surprise(table, rows)),
        ),
        Misconception(
            "not_divided",
            "this is the sum of the surprises. The loss is their mean: divide by the number of guessed tokens.",
            lambda table, rows: mean_surprise(table, rows) * sum(len(row) - 1 for row in rows),
        ),
        Misconception(
            "per_row",
            "you divided the sum of the surprises by the number of rows. Divide it by the number of guessed tokens.",
            lambda table, rows: mean_surprise(table, rows) * sum(len(row) - 1 for row in rows) / len(rows),
        ),
        Misconception(
            "last_row_only",
            "only the last row counts in your answer, as happens when the sum starts again at 0 for each row. Take one mean over "
            "the tokens of all rows.",
            lambda table, rows: mean_surprise(table, rows[-1:]),
        ),
    ),
    minutes=8,
    difficulty=2,
)

BITS_PER_BYTE = Exercise(
    name="ngram.bits_per_byte",
    reference=bits_per_byte,
    inputs=losses_of_texts,
    buys="You can compare any two models on the same texts, whatever pieces they read.",
    hints=(
        "Take the whole surprise of all the texts, in bits, and divide it by the total number of bytes.",
        "loss is in nats per piece and n_judged is a number of pieces, so their product is in nats. The answer is one number.",
        "Multiply loss by n_judged, divide by the sum of len(text.encode()) over the texts, and divide by log 2.",
    ),
    misconceptions=(
        Misconception(
            "per_character",
            "you divided by the number of characters. In UTF-8 a character may take two, three or four bytes: count those of `text.encode()`.",
            lambda loss, n_judged, texts: loss * n_judged / sum(map(len, texts)) / math.log(2),
        ),
        Misconception(
            "nats",
            "these are nats per byte. A bit is log 2 nats, so divide by that.",
            lambda loss, n_judged, texts: bits_per_byte(loss, n_judged, texts) * math.log(2),
        ),
        Misconception(
            "times_log_2",
            "you multiplied by log 2. A bit is less than a nat, so there are more bits than nats: divide.",
            lambda loss, n_judged, texts: bits_per_byte(loss, n_judged, texts) * math.log(2) ** 2,
        ),
        Misconception(
            "log_of_the_loss",
            "you took the logarithm of `loss`. The loss is made of logarithms already; to turn nats into bits, divide by log 2.",
            lambda loss, n_judged, texts: (
                np.log2(loss) * n_judged / sum(len(text.encode()) for text in texts)
            ),
        ),
        Misconception(
            "per_piece",
            "these are bits per piece. Pieces differ from tokenizer to tokenizer, so go one step further, from pieces to bytes.",
            lambda loss, n_judged, texts: loss / math.log(2),
        ),
        Misconception(
            "not_all_pieces",
            "you divided the loss of one piece by the bytes of all texts. Multiply by the number of pieces first.",
            lambda loss, n_judged, texts: bits_per_byte(loss, 1, texts),
        ),
        Misconception(
            "upside_down",
            "you multiplied by the bytes and divided by the pieces. The number of pieces times the loss is the whole surprise; divide that by the bytes.",
            lambda loss, n_judged, texts: (
                loss / n_judged * sum(len(text.encode()) for text in texts) / math.log(2)
            ),
        ),
        Misconception(
            "per_text",
            "you divided by the number of texts. Divide by the total number of bytes.",
            lambda loss, n_judged, texts: loss * n_judged / len(texts) / math.log(2),
        ),
        Misconception(
            "eight_bits",
            "you divided by 8, too. It does not matter here that a byte is stored in 8 bits: these bits measure surprise.",
            lambda loss, n_judged, texts: bits_per_byte(loss, n_judged, texts) / 8,
        ),
        Misconception(
            "mean_over_texts",
            "you divided by the bytes of one text at a time and then took the mean. The pieces are those of all texts, so divide once, by the "
            "bytes of all texts together.",
            lambda loss, n_judged, texts: np.mean([bits_per_byte(loss, n_judged, [text]) for text in texts]),
        ),
        Misconception(
            "joined_with_something",
            "your number of bytes is too large by 1 for each gap between two texts, as happens when they are joined with a space or a line break. "
            "Add up the bytes of each text.",
            lambda loss, n_judged, texts: bits_per_byte(loss, n_judged, [" ".join(texts)]),
        ),
        Misconception(
            "not_divided",
            "these are the bits of all texts together. Divide by the total number of bytes.",
            lambda loss, n_judged, texts: loss * n_judged / math.log(2),
        ),
    ),
    minutes=5,
    difficulty=2,
)

WITH_CACHE = Exercise(
    name="ngram.with_cache",
    reference=with_cache,
    inputs=guesses_and_rows,
    buys="Your counting model now remembers which words the story has used, though not where they were.",
    hints=(
        "Two guessers share the vote. One is the n-gram; the other asks how often the token has appeared in this row so far.",
        "given has shape (token,), and row has one more token. given[n] belongs to row[n + 1], and row[: n + 1] is what came before it.",
        "For each n add two things: (1 - share) * given[n], and share times how often row[n + 1] appears in row[: n + 1], "
        "divided by the length of row[: n + 1].",
    ),
    misconceptions=(
        Misconception(
            "peeks",
            "the token to be guessed is among those you counted, so it never seems new. "
            "Count only what comes before it.",
            lambda given, row, share: np.array(
                [
                    (1 - share) * p + share * row[: n + 2].count(row[n + 1]) / (n + 2)
                    for n, p in enumerate(given)
                ]
            ),
        ),
        Misconception(
            "one_short",
            "you counted in `row[:n]`, which leaves out the token right before the guess. "
            "What comes before `row[n + 1]` is `row[: n + 1]`.",
            lambda given, row, share: np.array(
                [(1 - share) * p + share * row[:n].count(row[n + 1]) / max(n, 1) for n, p in enumerate(given)]
            ),
        ),
        Misconception(
            "last_token_uncounted",
            "the token right before the guess is among the n + 1 by which you divide, but not among those you counted. Count in `row[: n + 1]`, "
            "which is all that comes before `row[n + 1]`.",
            lambda given, row, share: np.array(
                [(1 - share) * p + share * row[:n].count(row[n + 1]) / (n + 1) for n, p in enumerate(given)]
            ),
        ),
        Misconception(
            "length_of_the_row",
            "you divided by the length of the whole row. At each guess, divide by the number of tokens so far, `n + 1`.",
            lambda given, row, share: np.array(
                [
                    (1 - share) * p + share * row[: n + 1].count(row[n + 1]) / len(row)
                    for n, p in enumerate(given)
                ]
            ),
        ),
        Misconception(
            "token_before",
            "you counted the token right before the guess, `row[n]`. The probability is that of the token to be guessed: count `row[n + 1]`.",
            lambda given, row, share: np.array(
                [(1 - share) * p + share * row[: n + 1].count(row[n]) / (n + 1) for n, p in enumerate(given)]
            ),
        ),
        Misconception(
            "whole_row",
            "you counted in the whole row, including what comes later. At each guess only what comes before it is known.",
            lambda given, row, share: np.array(
                [
                    (1 - share) * p + share * row.count(token) / len(row)
                    for p, token in zip(given, row[1:], strict=True)
                ]
            ),
        ),
        Misconception(
            "counts",
            "you mixed in the number of times that the token appeared. That can be more than 1: divide by the number of tokens so far.",
            lambda given, row, share: np.array(
                [(1 - share) * p + share * row[: n + 1].count(row[n + 1]) for n, p in enumerate(given)]
            ),
        ),
        Misconception(
            "seen_at_all",
            "a token that has appeared before gets the whole vote of the cache, so two such tokens together would get it twice. "
            "Give each the share that it has among the tokens so far.",
            lambda given, row, share: np.array(
                [(1 - share) * p + share * (row[n + 1] in row[: n + 1]) for n, p in enumerate(given)]
            ),
        ),
        Misconception(
            "ngram_alone",
            "where the cache has not seen the token, you leave all of the vote to the n-gram. The cache votes there, too, but for other "
            "tokens: the n-gram gets `1 - share` everywhere; otherwise the probabilities sum to more than 1.",
            lambda given, row, share: np.where(
                [token in row[: n + 1] for n, token in enumerate(row[1:])],
                with_cache(given, row, share),
                given,
            ),
        ),
        Misconception(
            "shares_swapped",
            "the shares are swapped: `share` belongs to the cache, and `1 - share` to what was given.",
            lambda given, row, share: with_cache(given, row, 1 - share),
        ),
        Misconception(
            "added_on_top",
            "you added the cache's share on top of the whole vote of the n-gram, so the probabilities sum to more than 1. The n-gram keeps only `1 - share`.",
            lambda given, row, share: with_cache(given, row, share) + share * given,
        ),
        Misconception(
            "cache_alone",
            "this is the vote of the cache alone. The n-gram votes, too: add `share` times the one to `1 - share` times the other.",
            lambda given, row, share: with_cache(given, row, 1.0),
        ),
    ),
    minutes=12,
    difficulty=3,
)


def unseen_table(orders: Sequence[int], seen: Sequence[int], unseen: Sequence[float]) -> str:
    lines = ["order   different n-grams in 2,000 stories   in new stories, never seen before"]
    lines += [
        f"{order:5} {n:34,} {share:37.1%}" for order, n, share in zip(orders, seen, unseen, strict=True)
    ]
    return "\n".join(lines)


LESSON = Lesson(
    topic="language_models",
    exercises=(SURPRISE_OF_TEXT, DRAW, MEAN_SURPRISE, BITS_PER_BYTE, WITH_CACHE),
    predictions=(
        Prediction(
            "ngram.where_surprise_lies",
            "Storyworld knows how likely each letter of the story above was, given all the letters before it. "
            "Where do you expect it to be surprised?",
            (
                "at a few letters, where a choice is made",
                "Once the first letters have shown which name, color or thing was chosen, the rest of the word is no news.",
            ),
            (
                (
                    "about equally at all letters",
                    "Most letters are certain once you know the word, and many words are certain once you know the story.",
                ),
                (
                    "at rare letters, such as z or k",
                    "A rare letter in the middle of a word that you have recognized is expected. Rare is not the same as surprising.",
                ),
                (
                    "at the first letter of every word",
                    "At some of them. But in the middle of a set phrase, such as “the next day”, a new word is no surprise.",
                ),
            ),
            shows=lambda letters, surprise: figures.text_strip(
                letters, surprise, title="Storyworld's own surprise at each letter of its story"
            ),
            finding="The surprise is concentrated where a choice is made: on the first letters of a name, a color, a thing or the next "
            "event. Once “j” has told you that Leo was joyful, “oyful” is no news. And a name that the story has "
            "already used is much less of a surprise when it comes again.\n\nKeep this picture in mind. A perfect model of these stories is "
            "not one that is never surprised. It is one that is surprised **here, and nowhere else**.",
        ),
        Prediction(
            "ngram.honest_guess",
            "A coin shows heads in 80% of all tosses. A model says “heads with probability $q$” before every toss. "
            "Which $q$ gives it the lowest loss, that is, the lowest mean of $-\\log p$?",
            (
                "$q = 0.8$",
                "The honest guess wins, and even then the loss is not 0, because tails does come up.",
            ),
            (
                (
                    "$q = 1$",
                    "That is the best guess in eight tosses out of ten. But then tails has probability 0, and when it comes up, the loss is infinite.",
                ),
                (
                    "$q = 0.5$",
                    "That is safe: it costs $\\log 2$ at every toss. A model that knows the coin does better on average.",
                ),
                (
                    "$q = 0.9$",
                    "That is bolder than the truth. It gains a little whenever heads comes up, and loses more than that when tails does.",
                ),
            ),
            shows=lambda q, loss, entropy: figures.line_chart(
                {"loss": (q, loss)},
                title="The loss is lowest for the honest guess, and even there it is not zero",
                x_label="the model's probability for heads (the truth is 0.8)",
                y_label="cross-entropy (nats per toss)",
                marks={"entropy": entropy},
            ),
            finding="The honest guess wins: the loss is lowest when the model gives the true probability. And there is a floor: even someone who knows that "
            "probability is surprised now and then. Being far too sure is punished hard, as both ends of the curve show.",
        ),
        Prediction(
            "ngram.never_seen",
            "With a longer memory a guess should be better. So let the model remember seven tokens and look up what followed them. Of all sequences of eight "
            "tokens in 200 new stories, how many do not occur in the 2,000 stories that were counted?",
            ("more than half", "All eight have to match, and every further token makes that rarer."),
            (
                (
                    "about one in a hundred",
                    "That is what happens at two tokens. Every further token makes a sequence rarer.",
                ),
                (
                    "about one in five",
                    "That is what happens at four tokens. Sequences of eight are rarer still.",
                ),
                (
                    "nearly all of them",
                    "Storyworld uses the same phrases again and again, so many sequences do come back.",
                ),
            ),
            shows=unseen_table,
            finding="The longer a sequence is, the less often it comes back. Of the sequences of 4 tokens in new stories, almost a fifth have never been counted; "
            "of those of 8 tokens, more than half; and of those of 41 tokens, all. After a sequence that has never been counted, the counts say nothing at all.",
        ),
        Prediction(
            "ngram.below_the_floor",
            "The n-grams have counted 2,000 stories, and now they are judged on 200 of these same stories. What happens to the loss there as the order grows "
            "from 1 to 8?",
            (
                "It falls, even below the floor",
                "Nobody can guess that well. The model has learned these stories by heart, and with them how the dice fell.",
            ),
            (
                (
                    "It falls, and stops at the floor",
                    "The floor holds for stories that the model has not seen. It has seen these.",
                ),
                (
                    "It falls, and then rises again",
                    "That happens on new stories. On these stories, even the longest memory never meets a sequence that was not counted.",
                ),
                (
                    "It falls, and stays well above the floor",
                    "It would, if the model had to guess. But seven tokens are often enough to recognize a passage that it has counted.",
                ),
            ),
            shows=lambda orders, on_training, on_new, floor: figures.loss_curves(
                {"training stories": (orders, on_training), "new stories": (orders, on_new)},
                floor=floor,
                title=f"On new stories the loss rises again beyond order {orders[int(np.argmin(on_new))]}",
                x_label="order of the n-gram (tokens)",
            ),
            finding="On the stories that were counted, the loss keeps falling until it is **below the floor**. Nobody can guess that well, so "
            "this is not guessing: the model has learned those stories by heart.\n\nOn new stories the loss stops falling and rises again, "
            "and even at its lowest it is far above the floor.",
        ),
        Prediction(
            "ngram.more_stories",
            "Our n-grams counted 2,000 stories; storyteller was trained on 400,000. Let an n-gram count those 400,000, too. What will it pay, in nats, for a name "
            "that comes again?",
            (
                "about as much as for a new name",
                "More stories teach it which names there are. They do not teach it which of them is in this story.",
            ),
            (
                (
                    "next to nothing, as storyteller does",
                    "More stories sharpen the guess from the last few tokens. The name itself is usually further back than those.",
                ),
                (
                    "exactly what it pays after 2,000 stories",
                    "It does pay less, as it does for new names: more counts improve its guesses everywhere.",
                ),
            ),
            shows=lambda stories, paid, by_storyteller: figures.line_chart(
                {kind: (stories, nats) for kind, nats in paid.items()},
                title="What the best n-gram pays for names and for other tokens, by the number of stories",
                x_label="stories counted",
                y_label="mean surprise (nats)",
                log_x=True,
                marks={"storyteller, name again": by_storyteller},
            ),
            finding="More stories lower all three curves. But for a name that comes again, the n-gram still pays about as much as for a new one, while "
            "storyteller, which was trained on the same stories, pays next to nothing.\n\nSo even 200 times as many stories do not give "
            "the n-gram what it lacks at these names. They teach it which names there are and where a name may come. To know **which** name "
            "comes, it would have to look further back.",
        ),
        Prediction(
            "ngram.shuffled",
            "Shuffle the tokens of every story, then count pairs again and judge them on new stories that are shuffled, too. Every token occurs as "
            "often as before. How will the loss of the pairs compare with that of a model that knows the token frequencies alone?",
            (
                "it is higher than that of the frequencies",
                "Which pairs it has counted is now a matter of chance, and the model mistakes chance for a rule.",
            ),
            (
                (
                    "it is the same",
                    "It would be, if the model put no trust in the pairs. But it trusts what it has counted.",
                ),
                (
                    "it is still clearly lower",
                    "The neighbor of a token now says only which story it is in, and the pairs gain next to nothing from that.",
                ),
            ),
            shows=lambda orders, shuffled, in_order, floor: figures.loss_curves(
                {"shuffled": (orders, shuffled), "in order": (orders, in_order)},
                floor=floor,
                title="Loss on new stories by length of the n-gram, for stories in order and shuffled",
                x_label="order of the n-gram (tokens)",
            ),
            finding="On shuffled stories every longer memory makes the loss **higher** than that of the token frequencies alone (order 1). On stories in order, longer memories make it much lower. "
            "So all that these models gained came from which tokens stand next to one another. (The floor is that of the stories in order.)",
        ),
    ),
    quiz=(
        Question(
            "ngram.chain",
            "A model gave $\\frac12$, $\\frac12$ and $\\frac14$ to the three pieces of a text. What is the surprise of the whole text, in bits?",
            ("4", "The product is $\\frac1{16}$, and $\\log_2 16 = 4$. Piece by piece it is $1 + 1 + 2$."),
            (
                ("$\\frac43$", "That is the mean per piece. The surprise of the whole text is the sum."),
                ("16", "That is $\\frac1P$. The surprise is its logarithm, and 16 is $2^4$."),
                (
                    "$\\frac54$",
                    "You added the probabilities. They multiply; it is the surprises that add up.",
                ),
            ),
        ),
        Question(
            "ngram.one_zero",
            "A model was certain of 999,999 tokens, and right. It gave a probability of 0 to the token that came next. What is its loss on these million tokens?",
            ("infinite", "$-\\log 0$ is infinite, and so is any mean that contains it."),
            (
                (
                    "one in a million",
                    "That is the share of wrong guesses. The loss asks how sure the model was of them.",
                ),
                (
                    "about 0.000014",
                    "That is $\\log(10^6)$ divided by $10^6$, as if it had given one in a million instead of 0.",
                ),
                (
                    "0, as all but one were right",
                    "Those add nothing, but the last one alone adds infinity.",
                ),
            ),
        ),
        Question(
            "ngram.half_as_unsure",
            "Training lowers the loss by $\\log 2$, about 0.69 nats. What does that do to the perplexity?",
            (
                "It is halved",
                "$e^{\\text{loss} - \\log 2}$ is $e^{\\text{loss}} / 2$: half as many options, whatever it was before.",
            ),
            (
                (
                    "It falls by 2",
                    "A difference between losses is a ratio between perplexities, because one is the exponential of the other.",
                ),
                ("It falls by 0.69", "That is what the loss does. The perplexity is its exponential."),
                ("It becomes its square root", "That happens when the loss is halved."),
            ),
        ),
        Question(
            "ngram.too_good",
            "On validation stories whose floor is 0.42, your new model has a loss of 0.30. What do you do?",
            (
                "Look for a leak",
                "Skill cannot get that far below the floor. The model has probably seen these stories, or the very tokens that it is asked to guess.",
            ),
            (
                (
                    "Celebrate: it beats the truth",
                    "On average nothing can. The floor is the loss of someone who knows all the probabilities.",
                ),
                (
                    "Train it further: it still overfits",
                    "Overfitting shows up as a high loss on new stories. This one is too low.",
                ),
                (
                    "Use a smaller vocabulary",
                    "The floor was computed for this vocabulary, so that explains nothing.",
                ),
            ),
        ),
        Question(
            "ngram.two_tokenizers",
            "Model A has a loss of 1.0 nats per letter. Model B has 3.0 nats per token, and its tokens are 5 letters long on average. Which one guesses better?",
            ("B", "Per letter B has $3.0 / 5 = 0.6$ nats, and A has 1.0."),
            (
                ("A", "1.0 is less than 3.0, but one token of B covers as much text as five letters of A."),
                ("They are equal", "For that B would need 5.0 nats per token: five letters at 1.0 each."),
                (
                    "They cannot be compared",
                    "They can: spread the surprise of the whole text over its letters, or over its bytes.",
                ),
            ),
        ),
        Question(
            "ngram.overfitting",
            "Beyond order 5 the training loss still falls and the validation loss rises. What would help order 8?",
            (
                "many more training stories",
                "Then more of the long contexts in new stories have been counted before.",
            ),
            (
                (
                    "counting the same stories twice",
                    "That adds no context that was not there before. It only makes the model surer of those it has.",
                ),
                (
                    "order 9",
                    "Its contexts are rarer still, so even fewer of them come back in new stories.",
                ),
                (
                    "judging it on the training stories",
                    "The number would be lower, but the model would be as bad as before. That hides the problem.",
                ),
            ),
        ),
        Question(
            "ngram.name_far_back",
            "A name stands 40 tokens back. Why not count with order 41 to find it again?",
            (
                "Sequences of 41 tokens hardly ever come back in a new story",
                "All 40 tokens before it would have to be the same. Attention can look at one of them and skip the rest.",
            ),
            (
                (
                    "A computer cannot count that far",
                    "It can: there are at most as many sequences of 41 tokens as there are tokens. But they do not come back.",
                ),
                (
                    "The name is of no help in guessing",
                    "It does help: storyteller, which can look back at the name, is hardly surprised when it comes again.",
                ),
                (
                    "Its probabilities would not sum to 1",
                    "They would, at any order: the mixing takes care of that.",
                ),
            ),
        ),
    ),
    objectives=(
        ("ngram.surprise_of_text", "ngram.chain", "ngram.where_surprise_lies"),
        ("ngram.draw", "ngram.with_cache"),
        ("ngram.mean_surprise", "ngram.bits_per_byte", "ngram.half_as_unsure", "ngram.two_tokenizers"),
        ("ngram.never_seen", "ngram.below_the_floor", "ngram.overfitting"),
        ("ngram.too_good", "ngram.honest_guess", "ngram.more_stories"),
    ),
)
