"""Answers to the exercises on tokens as readers write them, right and wrong."""

import operator
import re
from collections import Counter

import torch
import torch.nn.functional as F

from gptlib import Tokenizer
from gptlib.text.bpe import split

END = "<|endoftext|>"


def pair_by_loop(counts):
    best = None
    for pair, n in counts.items():
        if best is None or n > counts[best] or (n == counts[best] and pair < best):
            best = pair
    return best


def first_of_the_most_frequent(counts):
    most = max(counts.values())
    return next(pair for pair, n in counts.items() if n == most)


def glued(row, pair, token, limit=None):
    row, n = list(row), 0
    while n + 1 < len(row) and limit != 0:
        if (row[n], row[n + 1]) == tuple(pair):
            row[n : n + 2] = [token]
            limit = limit and limit - 1
        n += 1
    return row


def train_on_rows(rows, n_merges, choose=pair_by_loop, glue=glued, first=256):
    """Every piece of every text is a row of its own, however often it comes."""
    merges = []
    for token in range(first, first + n_merges):
        merges.append(choose(Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))))
        rows = [glue(row, merges[-1], token) for row in rows]
    return merges


def rows_of(texts):
    return [list(piece.encode()) for text in texts for piece in split(text)]


def by_the_library(texts, n_merges):
    tokenizer = Tokenizer.train(texts, vocab_size=256 + n_merges, special_tokens=())
    return [(tokenizer.ranks[left], tokenizer.ranks[right]) for left, right in tokenizer.merges]


def best_of_one_count(texts, n_merges):
    pairs = Counter(pair for row in rows_of(texts) for pair in zip(row, row[1:], strict=False))
    merges = []
    for _ in range(min(n_merges, len(pairs))):
        merges.append(pair_by_loop(pairs))
        del pairs[merges[-1]]
    return merges


def encode_rows(rows, merges, first=256, glue=glued):
    tokens = []
    for row in rows:
        for n, pair in enumerate(merges):
            row = glue(row, pair, first + n)
        tokens.extend(row)
    return tokens


def encode_by_rank(text, merges):
    rank = {pair: n for n, pair in enumerate(merges)}
    tokens = []
    for row in rows_of([text]):
        while pairs := [pair for pair in zip(row, row[1:], strict=False) if pair in rank]:
            oldest = min(pairs, key=rank.get)
            row = glued(row, oldest, 256 + rank[oldest])
        tokens += row
    return tokens


def encode_from_the_left(text, merges):
    numbers = {pair: 256 + n for n, pair in enumerate(merges)}
    tokens = []
    for row in rows_of([text]):
        n = 0
        while n + 1 < len(row):
            if (row[n], row[n + 1]) in numbers:
                row[n : n + 2] = [numbers[row[n], row[n + 1]]]
                n = 0  # what is new may be half of a pair further left
            else:
                n += 1
        tokens += row
    return tokens


def encode_backwards(text, merges):
    tokens = []
    for row in rows_of([text]):
        for n in range(len(merges) - 1, -1, -1):
            row = glued(row, merges[n], 256 + n)
        tokens += row
    return tokens


def encode_by_pattern(text, merges):
    """A regular expression takes the first alternative that fits: the longest piece."""
    pieces = [bytes([value]) for value in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    alternatives = b"|".join(map(re.escape, sorted(pieces, key=len, reverse=True)))
    found = [re.findall(alternatives, piece.encode(), re.DOTALL) for piece in split(text)]
    return [pieces.index(piece) for row in found for piece in row]


def row_by_sum(documents, tokenizer):
    return sum(([tokenizer.end_of_text] + tokenizer.encode(document) for document in documents), [])


def row_by_append(documents, tokenizer):
    row = []
    for document in documents:
        row.append(tokenizer.end_of_text)
        row.append(tokenizer.encode(document))
    return row


def row_by_special_name(documents, tokenizer):
    row = []
    for document in documents:
        row.extend(tokenizer.encode(END, allow_special=True))
        row.extend(tokenizer.encode(document))
    return row


def sorted_without(alike, token, k, reverse=True):
    order = sorted(range(len(alike)), key=lambda other: alike[other].item(), reverse=reverse)
    return torch.tensor([other for other in order if other != token][:k])


def neighbors_by_angle(table, token, k):
    angles = [torch.dist(F.normalize(row, dim=0), F.normalize(table[token], dim=0)) for row in table]
    return torch.tensor(sorted(set(range(len(table))) - {token}, key=lambda other: angles[other])[:k])


def without_its_row(table, token, k):
    rows = F.normalize(torch.cat([table[:token], table[token + 1 :]]), dim=1)
    return (rows @ F.normalize(table[token], dim=0)).topk(k).indices


def encode_last_row(text, merges):
    for row in rows_of([text]):
        for n, pair in enumerate(merges):
            row = glued(row, pair, 256 + n)
    return row


def encode_in_a_dict(text, merges):
    rows = {piece: list(piece.encode()) for piece in split(text)}
    for n, pair in enumerate(merges):
        rows = {piece: glued(row, pair, 256 + n) for piece, row in rows.items()}
    return sum(rows.values(), [])


RIGHT = {
    "tokenizer.best_pair": [
        pair_by_loop,
        lambda counts: sorted(counts.items(), key=lambda item: (-item[1], item[0]))[0][0],
        lambda counts: min(pair for pair in counts if counts[pair] == max(counts.values())),
    ],
    "tokenizer.naive_train": [
        lambda texts, n_merges: train_on_rows(rows_of(texts), n_merges),
        by_the_library,
    ],
    "tokenizer.naive_encode": [
        lambda text, merges: encode_rows(rows_of([text]), merges),
        encode_by_rank,
    ],
    "tokenizer.training_row": [row_by_sum, row_by_special_name],
    "tokenizer.nearest": [
        lambda table, token, k: sorted_without(F.cosine_similarity(table, table[token][None]), token, k),
        neighbors_by_angle,
    ],
}

WRONG = {
    "tokenizer.best_pair": {
        "counted_first": first_of_the_most_frequent,
        "larger_bytes": lambda counts: max(pair for pair in counts if counts[pair] == max(counts.values())),
        "rarest": lambda counts: sorted(counts.items(), key=lambda item: (item[1], item[0]))[0][0],
        "smallest_bytes": lambda counts: sorted(counts)[0],
        "counted_last": lambda counts: max(reversed(counts), key=counts.get),
        "with_its_count": lambda counts: next(
            item for item in counts.items() if item[1] == max(counts.values())
        ),
        "item": lambda counts: sorted(counts.items(), key=lambda item: (-item[1], item[0]))[0],
        "count_alone": lambda counts: sorted(counts.values())[-1],
        "glued": lambda counts: operator.add(*pair_by_loop(counts)),
        "compared_when_glued": lambda counts: sorted(
            counts, key=lambda pair: (-counts[pair], operator.add(*pair))
        )[0],
        "left_only": lambda counts: max(
            (pair for pair in counts if pair[0] == pair_by_loop(counts)[0]), key=counts.get
        ),
        "largest_bytes": lambda counts: sorted(counts)[-1],
    },
    "tokenizer.naive_train": {
        "never_cut": lambda texts, n_merges: train_on_rows([list(text.encode()) for text in texts], n_merges),
        "cut_at_spaces": lambda texts, n_merges: train_on_rows(
            [list(word.encode()) for word in " ".join(texts).split()], n_merges
        ),
        "each_piece_once": lambda texts, n_merges: train_on_rows(
            [list(piece.encode()) for piece in {piece for text in texts for piece in split(text)}], n_merges
        ),
        "last_text_only": lambda texts, n_merges: train_on_rows(rows_of([texts[-1]]), n_merges),
        "counted_only_once": best_of_one_count,
        "never_glued": lambda texts, n_merges: train_on_rows(rows_of(texts), 1) * n_merges,
        "ties_by_order": lambda texts, n_merges: train_on_rows(
            rows_of(texts), n_merges, choose=first_of_the_most_frequent
        ),
        "from_257": lambda texts, n_merges: train_on_rows(rows_of(texts), n_merges, first=257),
        "no_merges": lambda texts, n_merges: train_on_rows(rows_of(texts), max(0, n_merges - 256)),
        "characters": lambda texts, n_merges: train_on_rows(
            [[ord(sign) for sign in piece] for text in texts for piece in split(text)], n_merges
        ),
        "joined_with_spaces": lambda texts, n_merges: train_on_rows(rows_of([" ".join(texts)]), n_merges),
        "once_in_each_text": lambda texts, n_merges: train_on_rows(
            [list(piece.encode()) for text in texts for piece in Counter(split(text))], n_merges
        ),
    },
    "tokenizer.naive_encode": {
        "never_cut": lambda text, merges: encode_rows([list(text.encode())], merges),
        "cut_at_spaces": lambda text, merges: encode_rows(
            [list(word.encode()) for word in text.split()], merges
        ),
        "bytes_only": lambda text, merges: encode_rows(rows_of([text]), []),
        "latest_first": encode_backwards,
        "longest_first": encode_by_pattern,
        "leftmost_first": encode_from_the_left,
        "first_piece_only": lambda text, merges: encode_rows(rows_of([text])[:1], merges),
        "numbered_from_zero": lambda text, merges: encode_rows(rows_of([text]), merges, first=0),
        "list_of_rows": lambda text, merges: [encode_rows([row], merges) for row in rows_of([text])],
        "last_piece_only": encode_last_row,
        "each_piece_once": encode_in_a_dict,
        "characters": lambda text, merges: encode_rows(
            [[ord(sign) for sign in piece] for piece in split(text)], merges
        ),
    },
    "tokenizer.training_row": {
        "typed_let_through": lambda documents, tokenizer: [
            token
            for document in documents
            for token in [tokenizer.end_of_text, *tokenizer.encode(document, allow_special=True)]
        ],
        "name_as_text": lambda documents, tokenizer: tokenizer.encode(END + END.join(documents)),
        "after": lambda documents, tokenizer: [*row_by_sum(documents, tokenizer)[1:], tokenizer.end_of_text],
        "between": lambda documents, tokenizer: [
            *tokenizer.encode(documents[0]),
            *row_by_sum(documents[1:], tokenizer),
        ],
        "both_sides": lambda documents, tokenizer: sum(
            ([tokenizer.end_of_text, *tokenizer.encode(each), tokenizer.end_of_text] for each in documents),
            [],
        ),
        "also_at_the_end": lambda documents, tokenizer: (
            row_by_sum(documents, tokenizer) + [tokenizer.end_of_text]
        ),
        "typed_between": lambda documents, tokenizer: [
            token
            for document in documents
            for token in [tokenizer.end_of_text, *tokenizer.encode(document, allow_special=True)]
        ][1:],
        "list_of_rows": lambda documents, tokenizer: [
            [tokenizer.end_of_text, *tokenizer.encode(document)] for document in documents
        ],
        "lists_inside": row_by_append,
        "only_at_the_front": lambda documents, tokenizer: sum(
            map(tokenizer.encode, documents), [tokenizer.end_of_text]
        ),
        "typed_left_out": lambda documents, tokenizer: row_by_sum(
            ["".join(document.split(END)) for document in documents], tokenizer
        ),
        "stripped": lambda documents, tokenizer: row_by_sum(map(str.strip, documents), tokenizer),
    },
    "tokenizer.nearest": {
        "itself": lambda table, token, k: F.cosine_similarity(table, table[token], dim=-1).argsort(
            descending=True
        )[:k],
        "one_too_many": lambda table, token, k: F.cosine_similarity(table, table[token], dim=-1).argsort(
            descending=True
        )[: k + 1],
        "zeroed": lambda table, token, k: (
            F.cosine_similarity(table, table[token], dim=-1) * (torch.arange(len(table)) != token)
        ).argsort(descending=True)[:k],
        "dot_product": lambda table, token, k: sorted_without((table * table[token]).sum(1), token, k),
        "distance": lambda table, token, k: torch.cdist(table[token][None], table)[0].argsort()[1 : k + 1],
        "least_alike": lambda table, token, k: sorted_without(
            F.cosine_similarity(table, table[token], dim=-1), token, k, reverse=False
        ),
        "absolute": lambda table, token, k: sorted_without(
            F.cosine_similarity(table, table[token], dim=-1) ** 2, token, k
        ),
        "columns": lambda table, token, k: sorted_without(
            F.normalize(table, dim=0) @ F.normalize(table, dim=0)[token], token, k
        ),
        "cosines_returned": lambda table, token, k: (
            F.cosine_similarity(table, table[token], dim=-1).topk(k + 1).values[1:]
        ),
        "first_dropped": lambda table, token, k: F.cosine_similarity(table, table[token], dim=-1).argsort(
            descending=True
        )[1 : k + 1],
        "moved_up": without_its_row,
        "most_alike_last": lambda table, token, k: sorted_without(
            F.cosine_similarity(table, table[token], dim=-1), token, len(table), reverse=False
        )[-k:],
    },
}

REFUSED = {
    "tokenizer.training_row": {
        "left_out": lambda documents, tokenizer: sum(map(tokenizer.encode, documents), []),
        "empty_left_out": lambda documents, tokenizer: row_by_sum(filter(None, documents), tokenizer),
    },
    "tokenizer.best_pair": {
        "shortest": lambda counts: min(counts, key=lambda pair: (-counts[pair], len(str(pair)))),
        "right_first": lambda counts: min(counts, key=lambda pair: (-counts[pair], pair[::-1])),
        "as_text": lambda counts: "".join(piece.decode(errors="replace") for piece in pair_by_loop(counts)),
        "all_of_the_most_frequent": lambda counts: [
            pair for pair in counts if counts[pair] == max(counts.values())
        ],
    },
    "tokenizer.naive_train": {
        "all_texts_as_one": lambda texts, n_merges: train_on_rows(rows_of(["".join(texts)]), n_merges),
        "stops_early": lambda texts, n_merges: train_on_rows(rows_of(texts), n_merges)[: len(rows_of(texts))],
        "one_too_many": lambda texts, n_merges: train_on_rows(rows_of(texts), n_merges + 1),
    },
    "tokenizer.naive_encode": {
        "sorted_pieces": lambda text, merges: encode_rows(
            [list(piece.encode()) for piece in sorted(split(text))], merges
        ),
        "from_257": lambda text, merges: encode_rows(rows_of([text]), merges, first=257),
        "only_the_first": lambda text, merges: encode_rows(
            rows_of([text]), merges, glue=lambda row, pair, token: glued(row, pair, token, limit=1)
        ),
        "without_the_last_merge": lambda text, merges: encode_rows(rows_of([text]), merges[:-1]),
    },
    "tokenizer.nearest": {
        "one_half": lambda table, token, k: (
            F.cosine_similarity(table, table[token], dim=-1)
            .where(torch.arange(len(table)) != token, torch.tensor(0.5))
            .topk(k)
            .indices
        ),
    },
}
