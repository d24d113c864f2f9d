"""Answers to the exercises on language models as readers write them, right and wrong."""

import math

import numpy as np


def surprise_by_loop(given):
    total = 0.0
    for p in given:
        total -= math.log(p)
    return total


def draw_by_loop(probabilities, dice):
    end = 0.0
    for token, p in enumerate(probabilities):
        end += p
        if dice < end:
            return token
    return len(probabilities) - 1


def compared_too_early(probabilities, dice):
    end = 0.0
    for token, p in enumerate(probabilities):
        if dice < end:
            return token
        end += p
    return token


def surprises_by_loop(table, rows):
    return [-np.log(table[this, after]) for row in rows for this, after in zip(row, row[1:], strict=False)]


def begun_again_for_each_row(table, rows):
    for row in rows:
        total, n = 0.0, 0
        for this, after in zip(row, row[1:], strict=False):
            total -= np.log(table[this, after])
            n += 1
    return total / n


def given_to(table, rows):
    return np.array([table[this, after] for row in rows for this, after in zip(row, row[1:], strict=False)])


def bytes_of(texts):
    return len("".join(texts).encode("utf-8"))


def cache_by_counter(given, row, share):
    seen, mixed = {}, []
    for n, p in enumerate(given):
        seen[row[n]] = seen.get(row[n], 0) + 1
        mixed.append((1 - share) * p + share * seen.get(row[n + 1], 0) / (n + 1))
    return mixed


def cache_by_comparing(given, row, share, last=0):
    row = np.array(row)
    so_far = [np.mean(row[: n + 1 + last] == row[n + 1]) for n in range(len(given))]
    return (1 - share) * given + share * np.array(so_far)


RIGHT = {
    "ngram.surprise_of_text": [surprise_by_loop, lambda given: np.sum(np.log(1 / given))],
    "ngram.draw": [
        draw_by_loop,
        lambda probabilities, dice: np.searchsorted(np.cumsum(probabilities), dice, side="right"),
        lambda probabilities, dice: np.argmax(probabilities.cumsum() > dice),
    ],
    "ngram.mean_surprise": [
        lambda table, rows: np.mean(surprises_by_loop(table, rows)),
        lambda table, rows: (
            sum(-np.log(table[row[:-1], row[1:]]).sum() for row in rows) / sum(len(row) - 1 for row in rows)
        ),
    ],
    "ngram.bits_per_byte": [
        lambda loss, n_judged, texts: (loss / math.log(2)) * (n_judged / bytes_of(texts)),
        lambda loss, n_judged, texts: np.log2(np.exp(loss)) * n_judged / bytes_of(texts),
    ],
    "ngram.with_cache": [cache_by_counter, cache_by_comparing],
}

WRONG = {
    "ngram.surprise_of_text": {
        "product": lambda given: math.prod(given),
        "underflow": lambda given: np.log(1 / given.prod()),
        "log_of_an_underflow": lambda given: -math.log(np.prod(given)),
        "log_of_the_sum": lambda given: -math.log(sum(given)),
        "mean": lambda given: surprise_by_loop(given) / len(given),
        "not_summed": lambda given: [math.log(1 / p) for p in given],
        "entropy": lambda given: -np.dot(given, np.log(given)),
        "sign": lambda given: sum(math.log(p) for p in given),
        "bits": lambda given: surprise_by_loop(given) / math.log(2),
        "complement": lambda given: len(given) - given.sum(),
    },
    "ngram.draw": {
        "likeliest": lambda probabilities, dice: list(probabilities).index(max(probabilities)),
        "random_choice": lambda probabilities, dice: int(
            np.random.choice(np.arange(len(probabilities)), p=list(probabilities))  # noqa: NPY002
        ),
        "own_probability": lambda probabilities, dice: next(
            (token for token, p in enumerate(probabilities) if p > dice), 0
        ),
        "no_cumsum": lambda probabilities, dice: int(probabilities.searchsorted(dice)),
        "even_stretches": lambda probabilities, dice: math.floor(dice * probabilities.size),
        "on_the_edge": lambda probabilities, dice: (probabilities.cumsum() < dice).sum(),
        "one_before": lambda probabilities, dice: draw_by_loop(probabilities, dice) - 1,
        "all_of_them": lambda probabilities, dice: np.where(np.cumsum(probabilities) > dice)[0],
        "probability_returned": lambda probabilities, dice: float(
            probabilities[draw_by_loop(probabilities, dice)]
        ),
        "counted_after": lambda probabilities, dice: sum(end > dice for end in np.cumsum(probabilities)),
        "nearest_edge": lambda probabilities, dice: min(
            range(len(probabilities)), key=lambda token: abs(probabilities[: token + 1].sum() - dice)
        ),
        "one_after": compared_too_early,
    },
    "ngram.mean_surprise": {
        "mean_of_rows": lambda table, rows: (
            sum(np.mean(-np.log(table[row[:-1], row[1:]])) for row in rows) / len(rows)
        ),
        "crosses_rows": lambda table, rows: np.mean(surprises_by_loop(table, [sum(rows, [])])),
        "swapped": lambda table, rows: np.mean([s for r in rows for s in -np.log(table[r[1:], r[:-1]])]),
        "log_of_the_mean": lambda table, rows: (
            -np.log(np.concatenate([table[row[:-1], row[1:]] for row in rows]).mean())
        ),
        "first_counted": lambda table, rows: (
            sum(surprises_by_loop(table, rows)) / sum(len(row) for row in rows)
        ),
        "log_of_zero": lambda table, rows: (
            -np.mean([math.log(table[row[n], row[n + 1]]) for row in rows for n in range(len(row) - 1)])
        ),
        "skips_zeros": lambda table, rows: -np.log(given_to(table, rows)[given_to(table, rows) != 0]).mean(),
        "bits": lambda table, rows: -np.log2(given_to(table, rows)).mean(),
        "perplexity": lambda table, rows: math.exp(np.mean(surprises_by_loop(table, rows))),
        "not_divided": lambda table, rows: sum(surprises_by_loop(table, rows)),
        "per_row": lambda table, rows: sum(surprises_by_loop(table, rows)) / len(rows),
        "last_row_only": begun_again_for_each_row,
    },
    "ngram.bits_per_byte": {
        "per_character": lambda loss, n_judged, texts: loss * n_judged / len("".join(texts)) / math.log(2),
        "nats": lambda loss, n_judged, texts: loss * n_judged / bytes_of(texts),
        "times_log_2": lambda loss, n_judged, texts: math.log(2) * loss * n_judged / bytes_of(texts),
        "log_of_the_loss": lambda loss, n_judged, texts: math.log2(loss) * n_judged / bytes_of(texts),
        "per_piece": lambda loss, n_judged, texts: np.log2(np.exp(loss)),
        "not_all_pieces": lambda loss, n_judged, texts: loss / math.log(2) / bytes_of(texts),
        "upside_down": lambda loss, n_judged, texts: loss / math.log(2) / (n_judged / bytes_of(texts)),
        "per_text": lambda loss, n_judged, texts: loss * n_judged / math.log(2) / len(texts),
        "eight_bits": lambda loss, n_judged, texts: loss * n_judged / (8 * bytes_of(texts) * math.log(2)),
        "mean_over_texts": lambda loss, n_judged, texts: (
            sum(loss / math.log(2) * n_judged / bytes_of([text]) for text in texts) / len(texts)
        ),
        "joined_with_something": lambda loss, n_judged, texts: (
            loss * n_judged / len("\n".join(texts).encode()) / math.log(2)
        ),
        "not_divided": lambda loss, n_judged, texts: n_judged * np.log2(np.exp(loss)),
    },
    "ngram.with_cache": {
        "peeks": lambda given, row, share: cache_by_comparing(given, row, share, last=1),
        "one_short": lambda given, row, share: [
            (1 - share) * p + (share * sum(token == row[n + 1] for token in row[:n]) / n if n else 0)
            for n, p in enumerate(given)
        ],
        "last_token_uncounted": lambda given, row, share: [
            (1 - share) * p + share * sum(token == row[n + 1] for token in row[:n]) / (n + 1)
            for n, p in enumerate(given)
        ],
        "length_of_the_row": lambda given, row, share: [
            (1 - share) * p + share * sum(token == row[n + 1] for token in row[: n + 1]) / len(row)
            for n, p in enumerate(given)
        ],
        "token_before": lambda given, row, share: [
            (1 - share) * p + share * np.mean(np.array(row[: n + 1]) == row[n]) for n, p in enumerate(given)
        ],
        "whole_row": lambda given, row, share: [
            (1 - share) * p + share * np.mean(np.array(row) == token)
            for p, token in zip(given, row[1:], strict=True)
        ],
        "counts": lambda given, row, share: [
            (1 - share) * p + share * sum(token == row[n + 1] for token in row[: n + 1])
            for n, p in enumerate(given)
        ],
        "seen_at_all": lambda given, row, share: [
            (1 - share) * p + (share if row[n + 1] in set(row[: n + 1]) else 0) for n, p in enumerate(given)
        ],
        "ngram_alone": lambda given, row, share: [
            mixed if row[n + 1] in row[: n + 1] else given[n]
            for n, mixed in enumerate(cache_by_counter(given, row, share))
        ],
        "shares_swapped": lambda given, row, share: [
            share * p + (1 - share) * row[: n + 1].count(row[n + 1]) / (n + 1) for n, p in enumerate(given)
        ],
        "added_on_top": lambda given, row, share: [
            p + share * row[: n + 1].count(row[n + 1]) / (n + 1) for n, p in enumerate(given)
        ],
        "cache_alone": lambda given, row, share: [
            row[: n + 1].count(row[n + 1]) / (n + 1) for n in range(len(given))
        ],
    },
}

REFUSED = {
    "ngram.mean_surprise": {
        "each_pair_once_in_a_row": lambda table, rows: np.mean(
            surprises_by_loop(table, [pair for row in rows for pair in set(zip(row, row[1:], strict=False))])
        ),
    },
    "ngram.with_cache": {
        "divided_by_zero": lambda given, row, share: np.array(
            [(1 - share) * p + share * row[:n].count(row[n + 1]) / n for n, p in enumerate(given)]
        ),
    },
}
