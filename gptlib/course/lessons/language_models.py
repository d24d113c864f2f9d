"""A language model guesses what comes next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator

from gptlib.course.exercises import Exercise, Lesson, Misconception, Question


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
        "By the chain rule the probability of the text is a product. The logarithm of a product is a sum of logarithms.",
        "given is (piece,), a probability for each piece; the answer is one number.",
        "Take the logarithm of each number in given with np.log, sum them, and negate.",
    ),
    misconceptions=(
        Misconception(
            "product",
            "this is the probability of the text. Its surprise is −log of that.",
            lambda given: np.prod(given),
        ),
        Misconception(
            "underflow",
            "a long text comes out infinitely surprising: the product of 2,000 probabilities is too small for a "
            "computer, and becomes 0. Take logarithms first, then sum.",
            lambda given: -np.log(np.prod(given)),
        ),
        Misconception(
            "log_of_the_sum",
            "you added the probabilities up before you took the logarithm. Take the logarithm of each, then the sum.",
            lambda given: -np.log(given.sum()),
        ),
        Misconception(
            "mean",
            "you took the mean, which is the surprise per piece. A whole text surprises by the sum.",
            lambda given: -np.log(given).mean(),
        ),
        Misconception(
            "sign",
            "the sign is turned: the logarithm of a probability is negative, and a surprise is not.",
            lambda given: np.log(given).sum(),
        ),
        Misconception(
            "bits",
            "these are bits, by a logarithm to base 2. The course counts in nats, by the natural one.",
            lambda given: -np.log2(given).sum(),
        ),
    ),
    minutes=3,
    difficulty=1,
)

DRAW = Exercise(
    name="ngram.draw",
    reference=draw,
    inputs=tokens_to_draw,
    buys="With this line every model of the course writes, the largest too.",
    hints=(
        "A token with a long stretch is hit often, one with a short stretch seldom. That is all that drawing is.",
        "probabilities is (vocab,), and so is probabilities.cumsum(). dice is one number, the answer the place of one token.",
        "Count the stretches that end at the dice or before: with ends = probabilities.cumsum(), that is (ends <= dice).sum(). "
        'Or let np.searchsorted find the place, with side="right".',
    ),
    misconceptions=(
        Misconception(
            "likeliest",
            "you always take the likeliest token. Then the dice decide nothing, and the model writes one text only.",
            lambda probabilities, dice: probabilities.argmax(),
        ),
        Misconception(
            "own_probability",
            "you took the first token whose own probability is larger than the dice. Its stretch begins where the one "
            "before ends, so compare with where stretches end.",
            lambda probabilities, dice: np.argmax(probabilities > dice),
        ),
        Misconception(
            "nearest",
            "you took the token whose probability is nearest to the dice. The dice fall on a place of the line; "
            "find whose stretch it is.",
            lambda probabilities, dice: np.abs(probabilities - dice).argmin(),
        ),
        Misconception(
            "even_stretches",
            "you gave each token a stretch of the same length. A stretch is as long as its token is likely.",
            lambda probabilities, dice: int(dice * len(probabilities)),
        ),
        Misconception(
            "on_the_edge",
            "where the dice fall on the very edge you take the stretch that ends there. It may be empty: the dice 0 would "
            "draw a first token of probability 0.",
            lambda probabilities, dice: np.searchsorted(probabilities.cumsum(), dice),
        ),
        Misconception(
            "one_before",
            "you took the last stretch that ended before the dice. The dice fell on the one after it.",
            lambda probabilities, dice: np.searchsorted(probabilities.cumsum(), dice, side="right") - 1,
        ),
    ),
    minutes=5,
    difficulty=1,
)

MEAN_SURPRISE = Exercise(
    name="ngram.mean_surprise",
    reference=mean_surprise,
    inputs=tables_and_rows,
    buys="This is the loss, the number by which all models of the course are judged.",
    hints=(
        "Each token but the first of its row was guessed from the one before it. Take −log of what it was given, and the mean.",
        "table is (this, next). For a row of n tokens, table[row[:-1], row[1:]] is (n − 1,): what each was given.",
        "For each row take np.log(table[row[:-1], row[1:]]), put them together with np.concatenate, "
        "take the mean and negate.",
    ),
    misconceptions=(
        Misconception(
            "mean_of_rows",
            "each row counts the same, however short it is. Each token should: one mean over the tokens of all rows.",
            lambda table, rows: np.mean([mean_surprise(table, [row]) for row in rows]),
        ),
        Misconception(
            "swapped",
            "rows and columns are swapped: the row of the table is the token that was there, the column the one that came.",
            lambda table, rows: mean_surprise(table.T, rows),
        ),
        Misconception(
            "log_of_the_mean",
            "you averaged the probabilities and took the logarithm of that. So a 0 goes unpunished. "
            "Take the logarithm of each, then the mean.",
            lambda table, rows: -np.log(np.mean([p for row in rows for p in table[row[:-1], row[1:]]])),
        ),
        Misconception(
            "sum",
            "you took the sum, which grows with every token that is read. The loss is the mean.",
            lambda table, rows: mean_surprise(table, rows) * sum(len(row) - 1 for row in rows),
        ),
        Misconception(
            "first_counted",
            "you divided by the number of all tokens. The first of each row is given and not guessed: do not count it.",
            lambda table, rows: (
                mean_surprise(table, rows) * sum(len(row) - 1 for row in rows) / sum(map(len, rows))
            ),
        ),
        Misconception(
            "log_of_zero",
            "a probability of 0 is an error for `log` from `math`. Its surprise is infinite, and `np.log` says so.",
            lambda table, rows: np.mean(
                [-math.log(table[a, b]) for row in rows for a, b in zip(row, row[1:], strict=False)]
            ),
        ),
    ),
    minutes=8,
    difficulty=2,
)

BITS_PER_BYTE = Exercise(
    name="ngram.bits_per_byte",
    reference=bits_per_byte,
    inputs=losses_of_texts,
    buys="You can compare any two models, whatever pieces they read.",
    hints=(
        "All the surprise of all the texts, in bits, divided by all their bytes.",
        "loss is nats per piece and n_judged a number of pieces, so their product is nats. One number goes out.",
        "Multiply loss with n_judged, divide by the sum of len(text.encode()), and divide by log(2).",
    ),
    misconceptions=(
        Misconception(
            "per_character",
            "you divided by characters. In UTF-8 some characters are two, three or four bytes: count `text.encode()`.",
            lambda loss, n_judged, texts: loss * n_judged / sum(map(len, texts)) / math.log(2),
        ),
        Misconception(
            "nats",
            "these are nats per byte. A bit is log 2 nats, so divide by that.",
            lambda loss, n_judged, texts: bits_per_byte(loss, n_judged, texts) * math.log(2),
        ),
        Misconception(
            "times_log_2",
            "you multiplied by log 2. A bit is less than a nat, so there are more of them: divide.",
            lambda loss, n_judged, texts: bits_per_byte(loss, n_judged, texts) * math.log(2) ** 2,
        ),
        Misconception(
            "per_piece",
            "these are bits per piece. Pieces differ from tokenizer to tokenizer; go on from pieces to bytes.",
            lambda loss, n_judged, texts: loss / math.log(2),
        ),
        Misconception(
            "not_all_pieces",
            "you divided the loss of one piece by the bytes of all texts. Multiply it with the number of pieces first.",
            lambda loss, n_judged, texts: bits_per_byte(loss, 1, texts),
        ),
        Misconception(
            "upside_down",
            "you multiplied with bytes and divided by pieces. The pieces have the surprise, the bytes share it.",
            lambda loss, n_judged, texts: (
                loss / n_judged * sum(len(text.encode()) for text in texts) / math.log(2)
            ),
        ),
    ),
    minutes=5,
    difficulty=2,
)

WITH_CACHE = Exercise(
    name="ngram.with_cache",
    reference=with_cache,
    inputs=guesses_and_rows,
    buys="Your counting model now remembers the whole story, if not where anything stood in it.",
    hints=(
        "Two guessers share the vote. One is the n-gram; the other counts how often the token was in this row so far.",
        "given is (token,), row has one token more. given[n] is about row[n + 1], and row[: n + 1] stands before it.",
        "For each n: (1 - share) * given[n], plus share times how often row[n + 1] is in row[: n + 1], "
        "divided by the length of row[: n + 1].",
    ),
    misconceptions=(
        Misconception(
            "peeks",
            "the token that is to be guessed is among those you counted, so it was never new. "
            "Count only what stands before it.",
            lambda given, row, share: np.array(
                [
                    (1 - share) * p + share * row[: n + 2].count(row[n + 1]) / (n + 2)
                    for n, p in enumerate(given)
                ]
            ),
        ),
        Misconception(
            "whole_row",
            "you counted in the whole row, also in what comes later. At each token, only what stands before it is known.",
            lambda given, row, share: np.array(
                [
                    (1 - share) * p + share * row.count(token) / len(row)
                    for p, token in zip(given, row[1:], strict=True)
                ]
            ),
        ),
        Misconception(
            "counts",
            "you mixed in how often the token came. That can be more than 1: divide by the number of tokens so far.",
            lambda given, row, share: np.array(
                [(1 - share) * p + share * row[: n + 1].count(row[n + 1]) for n, p in enumerate(given)]
            ),
        ),
        Misconception(
            "seen_at_all",
            "a token that was there before gets all of the cache's vote, so the votes for two such tokens sum to 2. "
            "Give it the share that it has among the tokens so far.",
            lambda given, row, share: np.array(
                [(1 - share) * p + share * (row[n + 1] in row[: n + 1]) for n, p in enumerate(given)]
            ),
        ),
        Misconception(
            "shares_swapped",
            "the shares are swapped: `share` belongs to the cache, and `1 - share` to what was given.",
            lambda given, row, share: with_cache(given, row, 1 - share),
        ),
        Misconception(
            "added_on_top",
            "you added the cache's share on top of the n-gram's. Together they are more than 1: the n-gram keeps `1 - share`.",
            lambda given, row, share: with_cache(given, row, share) + share * given,
        ),
    ),
    minutes=12,
    difficulty=3,
)

LESSON = Lesson(
    topic="language_models",
    exercises=(SURPRISE_OF_TEXT, DRAW, MEAN_SURPRISE, BITS_PER_BYTE, WITH_CACHE),
    predictions=(
        Question(
            "ngram.where_surprise_lies",
            "Where in the story does the surprise lie?",
            (
                "where a choice is made",
                "At the first letter of a new name, color or thing; what follows is no news.",
            ),
            (
                (
                    "evenly, on all letters",
                    "Most letters are certain once you know the word, and most words once you know the story.",
                ),
                (
                    "on rare letters such as z",
                    "A rare letter inside a word that has begun is expected. Rare is not the same as surprising.",
                ),
                (
                    "at the start of each word",
                    "Some words, yes. But after “Once upon a” the next word is certain from its first letter on.",
                ),
            ),
        ),
        Question(
            "ngram.honest_guess",
            "Heads come in 80% of all throws. Which guess $q$ for heads has the lowest loss?",
            ("$q = 0.8$", "The honest guess. And its loss is not 0, for tails do come."),
            (
                (
                    "$q = 1$",
                    "Best for eight throws of ten; but tails, which come too, then have probability 0: an infinite loss.",
                ),
                (
                    "$q = 0.5$",
                    "That is safe, at a loss of $\\log 2$ in each throw. Knowing the coin does better.",
                ),
                (
                    "$q = 0.9$",
                    "Bolder than the truth. What it wins with heads it more than loses with tails.",
                ),
            ),
        ),
        Question(
            "ngram.below_the_floor",
            "As the order grows from 1 to 8: what becomes of the loss on the stories in which it counted?",
            (
                "It falls, even below the floor",
                "Nobody can guess that well. The model has learned these stories by heart, dice and all.",
            ),
            (
                (
                    "It falls, and stops at the floor",
                    "The floor holds for stories that were not seen. These were.",
                ),
                (
                    "It falls, and then rises again",
                    "On new stories it does. On these, a longer memory never meets anything new.",
                ),
                (
                    "It stays well above the floor",
                    "A memory of seven tokens knows almost every place of these stories again.",
                ),
            ),
        ),
    ),
    quiz=(
        Question(
            "ngram.chain",
            "The three pieces of a text were given $\\frac12$, $\\frac12$ and $\\frac14$. By how many bits does the text surprise?",
            ("4", "The product is $\\frac1{16}$, and $\\log_2 16 = 4$; or $1 + 1 + 2$, piece by piece."),
            (
                ("$\\frac43$", "That is the mean per piece. The whole text surprises by the sum."),
                ("16", "That is $\\frac1P$. The surprise is its logarithm: 16 is $2^4$."),
                ("$\\frac54$", "You added the probabilities. They multiply, and their surprises add up."),
            ),
        ),
        Question(
            "ngram.one_zero",
            "A model is certain, and right, at 999,999 tokens. The token after them it had given 0. Its loss?",
            ("infinite", "$-\\log 0$ is infinite, and so is a mean with it inside."),
            (
                (
                    "one in a million",
                    "That is the share of wrong guesses. The loss asks how sure the model was of them.",
                ),
                (
                    "about 0.000014",
                    "That is $\\log(10^6)$ over $10^6$, as if it had given one in a million where it gave 0.",
                ),
                (
                    "0, as all but one were right",
                    "Those add nothing. But the last one alone adds more than any number.",
                ),
            ),
        ),
        Question(
            "ngram.half_as_unsure",
            "Training lowers the loss by $\\log 2$, about 0.69 nats. What does that do to the perplexity?",
            (
                "It is halved",
                "$e^{\\text{loss} - \\log 2}$ is $e^{\\text{loss}} / 2$: half as many options, whatever it was.",
            ),
            (
                (
                    "It falls by 2",
                    "A difference of losses is a ratio of perplexities, for one is the exponential of the other.",
                ),
                ("It falls by 0.69", "That is what the loss does. The perplexity is its exponential."),
                ("It becomes its square root", "That happens when the loss is halved."),
            ),
        ),
        Question(
            "ngram.too_good",
            "On validation stories your new model has a loss of 0.30, where their floor is 0.42. What do you do?",
            (
                "Look for a leak",
                "Nobody beats the floor by so much by skill. It has seen these stories, or the very tokens that it is to guess.",
            ),
            (
                (
                    "Celebrate: it beats the truth",
                    "On average nothing can. The floor is the loss of the one who rolls the dice.",
                ),
                (
                    "Train on: it still overfits",
                    "Overfitting shows as a high loss on new stories. This one is too low.",
                ),
                (
                    "Take a smaller vocabulary",
                    "The floor was computed for this vocabulary, so that explains nothing.",
                ),
            ),
        ),
        Question(
            "ngram.two_tokenizers",
            "A has 1.0 nats per letter. B has 3.0 nats per token, and its tokens are 5 letters long on average. Who guesses better?",
            ("B", "Per letter it has $3.0 / 5 = 0.6$ nats, and A has 1.0."),
            (
                ("A", "1.0 is less than 3.0, but a token of B tells as much as five letters of A."),
                ("They are equal", "Then B would have 5.0 nats per token: five letters at 1.0 each."),
                (
                    "That cannot be compared",
                    "It can: spread the surprise of the whole text over its letters, or its bytes.",
                ),
            ),
        ),
        Question(
            "ngram.overfitting",
            "From order 5 on, the training loss falls and the validation loss rises. What would help order 8?",
            (
                "many more training stories",
                "Then more of the long contexts in new stories have been counted before.",
            ),
            (
                (
                    "counting the same stories twice",
                    "That adds no context that was not there. It only makes the model surer of them.",
                ),
                ("order 9", "Its contexts are rarer still, so even fewer of them come again in new stories."),
                (
                    "judging it on the training stories",
                    "The number would be lower and the model as bad. That hides the trouble.",
                ),
            ),
        ),
        Question(
            "ngram.name_far_back",
            "A name stands 40 tokens back. Why not count with order 41, to find it again?",
            (
                "Nearly every 41-gram in a new story is new",
                "All 40 tokens before would have to be the same ones. Looking at one of them and skipping the rest is attention.",
            ),
            (
                (
                    "A computer cannot count so far",
                    "It can: there are at most as many 41-grams as tokens. But they never come again.",
                ),
                (
                    "The name does not help to guess",
                    "It does: at a name that comes again the truth is hardly surprised.",
                ),
                ("Its probabilities would not sum to 1", "They would, at any order. The mix sees to it."),
            ),
        ),
    ),
    objectives=(
        ("ngram.surprise_of_text", "ngram.chain", "ngram.where_surprise_lies"),
        ("ngram.draw", "ngram.with_cache"),
        ("ngram.mean_surprise", "ngram.bits_per_byte", "ngram.half_as_unsure", "ngram.two_tokenizers"),
        ("ngram.below_the_floor", "ngram.overfitting"),
        ("ngram.too_good", "ngram.honest_guess"),
    ),
)
