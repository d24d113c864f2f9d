"""Text in pieces that a model can look up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.text.bpe import split
from gptlib.text.tokenizer import Tokenizer
from gptlib.text.vocabulary import END_OF_TEXT
from gptlib.viz import figures
from gptlib.viz.drawing import Drawing

Pair = tuple[Any, Any]  # of tokens: two bytes objects, or two numbers


def best_pair(counts: Counter[Pair]) -> Pair:
    return min(counts, key=lambda pair: (-counts[pair], pair))


def count_pairs(rows: dict[str, list[int]], counts: Counter[str]) -> Counter[Pair]:
    pairs: Counter[Pair] = Counter()
    for piece, row in rows.items():
        for pair in zip(row, row[1:], strict=False):
            pairs[pair] += counts[piece]
    return pairs


def replace(row: list[int], pair: Pair, token: int) -> list[int]:
    out, n = [], 0
    while n < len(row):
        here = tuple(row[n : n + 2]) == pair
        out.append(token if here else row[n])
        n += 2 if here else 1
    return out


def naive_train(texts: Sequence[str], n_merges: int) -> list[Pair]:
    counts = Counter(piece for text in texts for piece in split(text))
    rows = {piece: list(piece.encode()) for piece in counts}
    merges = []
    for token in range(256, 256 + n_merges):
        best = best_pair(count_pairs(rows, counts))
        rows = {piece: replace(row, best, token) for piece, row in rows.items()}
        merges.append(best)
    return merges


def naive_encode(text: str, merges: Sequence[Pair]) -> list[int]:
    tokens = []
    for piece in split(text):
        row = list(piece.encode())
        for token, pair in enumerate(merges, start=256):
            row = replace(row, pair, token)
        tokens += row
    return tokens


def training_row(documents: Sequence[str], tokenizer: Tokenizer) -> list[int]:
    row = []
    for document in documents:
        row += [tokenizer.end_of_text, *tokenizer.encode(document)]
    return row


def nearest(table: Float[Tensor, "vocab d_model"], token: int, k: int) -> Int[Tensor, " k"]:
    rows = table / table.norm(dim=1, keepdim=True)
    alike = rows @ rows[token]  # (vocab, d_model) @ (d_model,) -> (vocab,)
    alike[token] = -torch.inf  # a token is no neighbor of itself
    return alike.topk(k).indices


def trained(
    texts: Sequence[str],
    n_merges: int,
    cut: Callable[[str], list[str]] = split,
    to_row: Callable[[str], list[int]] = lambda piece: list(piece.encode()),
    recount: Callable[[Counter[str]], Counter[str]] = lambda counts: counts,
    choose: Callable[[Counter[Pair]], Pair] = best_pair,
    glue: Callable[[list[int], Pair, int], list[int]] = replace,
    first: int = 256,
) -> list[Pair]:
    """`naive_train`, with one of its steps done differently."""
    counts = recount(Counter(piece for text in texts for piece in cut(text)))
    rows = {piece: to_row(piece) for piece in counts}
    merges = []
    for token in range(first, first + n_merges):
        merges.append(choose(count_pairs(rows, counts)))
        rows = {piece: glue(row, merges[-1], token) for piece, row in rows.items()}
    return merges


def train_from_one_count(texts: Sequence[str], n_merges: int) -> list[Pair]:
    counts = Counter(piece for text in texts for piece in split(text))
    pairs = count_pairs({piece: list(piece.encode()) for piece in counts}, counts)
    return sorted(pairs, key=lambda pair: (-pairs[pair], pair))[:n_merges]


def encoded(
    text: str,
    merges: Sequence[Pair],
    cut: Callable[[str], list[str]] = split,
    to_row: Callable[[str], list[int]] = lambda piece: list(piece.encode()),
    first: int = 256,
    order: Callable[[list], list] = list,
) -> list[int]:
    """`naive_encode`, with one of its steps done differently."""
    tokens = []
    for piece in cut(text):
        row = to_row(piece)
        for token, pair in order(list(enumerate(merges, start=first))):
            row = replace(row, pair, token)
        tokens += row
    return tokens


def encode_longest(text: str, merges: Sequence[Pair]) -> list[int]:
    vocabulary = [bytes([value]) for value in range(256)]
    for left, right in merges:
        vocabulary.append(vocabulary[left] + vocabulary[right])
    numbers = {piece: token for token, piece in enumerate(vocabulary)}
    tokens = []
    for rest in map(str.encode, split(text)):
        while rest:
            length = next(n for n in range(len(rest), 0, -1) if rest[:n] in numbers)
            tokens.append(numbers[rest[:length]])
            rest = rest[length:]
    return tokens


def encode_leftmost(text: str, merges: Sequence[Pair]) -> list[int]:
    numbers = {pair: token for token, pair in enumerate(merges, start=256)}
    tokens = []
    for piece in split(text):
        row = list(piece.encode())
        while known := [n for n, pair in enumerate(zip(row, row[1:], strict=False)) if pair in numbers]:
            row[known[0] : known[0] + 2] = [numbers[row[known[0]], row[known[0] + 1]]]
        tokens += row
    return tokens


def cosines(table: Tensor, token: int, dim: int = 1) -> Tensor:
    rows = table / table.norm(dim=dim, keepdim=True)
    return rows @ rows[token]


def without(values: Tensor, token: int, filled: float = -torch.inf) -> Tensor:
    return values.index_fill(0, torch.tensor([token]), filled)


def pairs_counted(generator: Generator) -> Iterator[tuple[Counter[Pair]]]:
    yield (Counter({(b"t", b"h"): 2, (b"h", b"e"): 2, (b"e", b" "): 1}),)
    # The order of the pairs is not that of the glued pieces, nor that of their sums or lengths.
    yield (Counter({(98, 100): 2, (97, 120): 2, (97, 98): 1, (99, 100): 1}),)
    yield (Counter({(b"he", b"a"): 2, (b"h", b"zip"): 2, (b"t", b"o"): 2}),)
    few = {(b"b", b"a"): 1, (b"t", b"a"): 2, (b"a", b"a"): 2, (b"a", b"n"): 3, (b"a", b"d"): 3}
    yield (Counter({**few, (b"ki", b"t"): 3, (b"n", b"a"): 3, (b"b", b"e"): 3}),)
    letters = [bytes([value]) for value in b"kite"]
    pairs = [(left, right) for left in letters for right in letters]
    order = torch.randperm(len(pairs), generator=generator).tolist()
    times = [1, *torch.randint(2, 6, (len(pairs) - 1,), generator=generator).tolist()]  # one is the rarest
    yield (Counter({pairs[place]: n for place, n in zip(order, times, strict=True)}),)


def some_text(generator: Generator, n_words: int) -> str:
    words = ["the", "kite", "kitten", "hat", "that", "米娅", "banana", "é"]
    chosen = torch.randint(len(words), (n_words,), generator=generator).tolist()
    return " ".join(words[place] for place in chosen)


def texts_to_train_on(generator: Generator) -> Iterator[tuple[list[str], int]]:
    yield ["hat hat that"], 2
    yield ["a kite, a kite"], 3
    yield ["Mia", "kite"] * 2, 3  # joined, "ak" would be a pair
    yield ["hat"], 2  # no pair comes twice
    yield ["a a a a a", "so, the kite", "the hat is so so so so tattered"], 5
    yield ["and the naïve, naïve, naïve kitten 米娅 米娅 米娅 米娅 and the naïve, naïve kitten again"], 7
    yield [some_text(generator, 12), some_text(generator, 20)], 6


def texts_to_encode(generator: Generator) -> Iterator[tuple[str, list[Pair]]]:
    yield "the", [(116, 104), (256, 101)]
    yield "abc", [(98, 99), (97, 256), (97, 98)]
    yield "go, go", [(103, 111)]
    yield "no no no", [(110, 111)]  # the same piece twice
    yield "abc cab", [(98, 99), (97, 98), (99, 97)]
    yield "banana,  a band", [(97, 110), (32, 32), (98, 256), (32, 98), (256, 256)]
    yield "naïve 米米", [(97, 195), (195, 175), (231, 177), (258, 179)]
    yield some_text(generator, 4), naive_train([some_text(generator, 40)], 12)


def documents_to_join(generator: Generator) -> Iterator[tuple[list[str], Tokenizer]]:
    pieces = [*(bytes([value]) for value in range(256)), b"Mi", b"Mia"]
    tokenizer = Tokenizer({piece: token for token, piece in enumerate(pieces)}, {END_OF_TEXT: len(pieces)})
    yield ["Mia", "kite"], tokenizer
    yield ["Mia", "", " a kite\n"], tokenizer  # each document counts, and so does each character
    yield [f"Mia{END_OF_TEXT}", "a", f"{END_OF_TEXT}{some_text(generator, 1)}"], tokenizer


def tables_of_rows(generator: Generator) -> Iterator[tuple[Tensor, int, int]]:
    yield (
        torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]),
        1,
        1,
    )  # token 0 is exactly as much like it as it itself
    table = torch.tensor([[1.0, 0.0], [2.0, 0.5], [-3.0, 0.2], [9.0, 9.0], [0.5, -0.9]])
    yield table, 0, 2
    yield table, 0, 4  # so many that some point away from the token
    for vocab, d_model, token, k in ((12, 4, 3, 3), (30, 8, 29, 5)):
        lengths = torch.rand(vocab, 1, generator=generator) * 4 + 0.2
        yield torch.randn(vocab, d_model, generator=generator) * lengths, token, k


BEST_PAIR = Exercise(
    name="tokenizer.best_pair",
    reference=best_pair,
    inputs=pairs_counted,
    buys="Two people who train on the same texts now get the same tokenizer.",
    hints=(
        "Put the pairs in order: the more frequent pair comes first and, of two that are equally frequent, the one "
        "with the smaller bytes.",
        "`counts[pair]` is how often the pair occurs. The answer is one pair, a tuple of two.",
        "`min(counts, key=...)` takes the pair whose key is smallest. Tuples are compared from left to right, so the key "
        "(minus the count, the pair) expresses both rules at once.",
    ),
    misconceptions=(
        Misconception(
            "counted_first",
            "among pairs that are equally frequent, you took the one that was counted first. Then the merges "
            "would depend on the order of the texts: take the pair with the smaller bytes.",
            lambda counts: max(counts, key=counts.get),
        ),
        Misconception(
            "larger_bytes",
            "among pairs that are equally frequent, you took the one with the larger bytes, as `max` of "
            "(count, pair) does. Negate the count and take the `min`.",
            lambda counts: max(counts, key=lambda pair: (counts[pair], pair)),
        ),
        Misconception(
            "rarest",
            "this is the rarest pair. Merging frequent pairs is what makes texts shorter: negate the count, or use "
            "`max`.",
            lambda counts: min(counts, key=lambda pair: (counts[pair], pair)),
        ),
        Misconception(
            "smallest_bytes",
            "this is the pair with the smallest bytes of all, whatever its count. The bytes only decide between pairs "
            "that are equally frequent.",
            lambda counts: min(counts),
        ),
        Misconception(
            "counted_last",
            "among pairs that are equally frequent, you took the one that was counted last, as sorting by "
            "the count alone does. Take the pair with the smaller bytes.",
            lambda counts: sorted(counts, key=counts.get)[-1],
        ),
        Misconception(
            "with_its_count",
            "you returned the pair together with its count, and of the pairs that are equally frequent the one that was "
            "counted first, as `most_common` does. Return the pair alone, and break ties by the bytes.",
            lambda counts: counts.most_common(1)[0],
        ),
        Misconception(
            "item",
            "this is the right pair, together with its count. Return the pair alone.",
            lambda counts: (best_pair(counts), max(counts.values())),
        ),
        Misconception(
            "count_alone",
            "this is the largest count. Return the pair that has it.",
            lambda counts: max(counts.values()),
        ),
        Misconception(
            "glued",
            "this is the right pair, already glued together. Return the pair itself, a tuple of two; the gluing comes "
            "later.",
            lambda counts: best_pair(counts)[0] + best_pair(counts)[1],
        ),
        Misconception(
            "compared_when_glued",
            "among pairs that are equally frequent, you took the one that is smallest when its two pieces are added. Compare the pairs themselves: the "
            "left pieces first and, where those are the same, the right ones.",
            lambda counts: min(counts, key=lambda pair: (-counts[pair], pair[0] + pair[1])),
        ),
        Misconception(
            "left_only",
            "among pairs that are equally frequent, you compared only the left pieces. Where those are the same, the right ones decide: compare "
            "whole pairs.",
            lambda counts: min(counts, key=lambda pair: (-counts[pair], pair[0])),
        ),
        Misconception(
            "largest_bytes",
            "this is the pair with the largest bytes of all, whatever its count, which is what `max(counts)` gives. Compare the counts first.",
            lambda counts: max(counts),
        ),
    ),
    minutes=4,
    difficulty=1,
)

NAIVE_TRAIN = Exercise(
    name="tokenizer.naive_train",
    reference=naive_train,
    inputs=texts_to_train_on,
    buys="That is byte-pair encoding with a split pattern: slow, but complete.",
    hints=(
        "Count the pieces once. Then repeat: count the pairs, take the best one, and replace it wherever it occurs.",
        "`counts`: piece -> how often it occurs; `rows`: piece -> its list of tokens, at first its bytes; `merges`: "
        "n_merges pairs of numbers.",
        "`counts` is a Counter of split(text) over all texts, and `rows[piece]` is list(piece.encode()). For "
        "each token from 256 on: take best_pair(count_pairs(rows, counts)), replace it with the token in each "
        "row, and append it to the merges.",
    ),
    misconceptions=(
        Misconception(
            "never_cut",
            "your merges cross from one word to the next. Cut the texts with `split` first.",
            lambda texts, n_merges: trained(texts, n_merges, cut=lambda text: [text]),
        ),
        Misconception(
            "cut_at_spaces",
            "your pieces have lost their spaces, which is what `text.split()` does. Cut with the course's "
            "own `split(text)`, which keeps the space in front of the word.",
            lambda texts, n_merges: trained(texts, n_merges, cut=str.split),
        ),
        Misconception(
            "each_piece_once",
            "you counted each different piece once, however often it occurs. A pair counts as often as the pieces that "
            "contain it occur: keep a Counter of the pieces.",
            lambda texts, n_merges: trained(texts, n_merges, recount=lambda counts: Counter(list(counts))),
        ),
        Misconception(
            "last_text_only",
            "only the last text was counted. Start one Counter before the loop over the texts, and add to it.",
            lambda texts, n_merges: trained(texts[-1:], n_merges),
        ),
        Misconception(
            "counted_only_once",
            "you counted the pairs only once and took the best of that one list. Each merge makes new pairs "
            "and breaks old ones: count again after it.",
            train_from_one_count,
        ),
        Misconception(
            "never_glued",
            "the rows never change, so the same pair wins every time. After a merge, put the new token "
            "into each row: `replace` returns a new row, so keep it.",
            lambda texts, n_merges: trained(texts, n_merges, glue=lambda row, pair, token: row),
        ),
        Misconception(
            "ties_by_order",
            "among pairs that are equally frequent, you took the one that was counted first. Use "
            "`best_pair`, which knows the rule for ties.",
            lambda texts, n_merges: trained(texts, n_merges, choose=lambda pairs: max(pairs, key=pairs.get)),
        ),
        Misconception(
            "from_257",
            "your first merge makes token 257. The bytes end at 255, so it should make token 256.",
            lambda texts, n_merges: trained(texts, n_merges, first=257),
        ),
        Misconception(
            "no_merges",
            "no merges came back. `n_merges` is how many merges to make, not the size of the vocabulary, and each pair "
            "is appended to the list as it is found.",
            lambda texts, n_merges: [],
        ),
        Misconception(
            "characters",
            "your rows are made of character numbers, which is what `ord` gives. Beyond the first 128 these are not bytes: use `list(piece.encode())`.",
            lambda texts, n_merges: trained(texts, n_merges, to_row=lambda piece: list(map(ord, piece))),
        ),
        Misconception(
            "joined_with_spaces",
            "you joined the texts with spaces, so every text but the first seems to begin with one. Split each text by itself.",
            lambda texts, n_merges: trained([" ".join(texts)], n_merges),
        ),
        Misconception(
            "once_in_each_text",
            "you counted a piece once for each text that contains it, however often the text repeats it. Count every occurrence: a `set` holds each piece only once.",
            lambda texts, n_merges: trained(texts, n_merges, cut=lambda text: sorted(set(split(text)))),
        ),
    ),
    minutes=12,
    difficulty=2,
)

NAIVE_ENCODE = Exercise(
    name="tokenizer.naive_encode",
    reference=naive_encode,
    inputs=texts_to_encode,
    buys="You can now turn any text at all into numbers, each smaller than the size of your vocabulary.",
    hints=(
        "A new text has to be merged as the training texts were: cut it, then apply one merge after the other, the "
        "oldest first.",
        "`merges` is a list of pairs: the first one makes token 256, the next 257. The answer is one flat list of "
        "tokens.",
        "For each piece of split(text): row = list(piece.encode()); for token, pair in enumerate(merges, start=256): "
        "row = replace(row, pair, token). Then add the row to the tokens.",
    ),
    misconceptions=(
        Misconception(
            "never_cut",
            "a merge crossed from one piece to the next. Cut with `split` first, and encode piece by piece.",
            lambda text, merges: encoded(text, merges, cut=lambda text: [text]),
        ),
        Misconception(
            "cut_at_spaces",
            "the spaces are gone, which is what `text.split()` does. Cut with the course's own "
            "`split(text)`, which keeps every character.",
            lambda text, merges: encoded(text, merges, cut=str.split),
        ),
        Misconception(
            "bytes_only",
            "these are the bytes of the text, and nothing was merged. `replace` returns a new row and leaves the old one "
            "as it was: row = replace(row, pair, token).",
            lambda text, merges: list(text.encode()),
        ),
        Misconception(
            "latest_first",
            "you began with the latest merge. It may need tokens that earlier merges make: apply the merges in the "
            "order in which they were learned.",
            lambda text, merges: encoded(text, merges, order=lambda items: items[::-1]),
        ),
        Misconception(
            "longest_first",
            "this is what you get by taking the longest piece of the vocabulary, from left to right. Merges "
            "can cut differently: the merge learned first goes first, wherever its pair occurs.",
            encode_longest,
        ),
        Misconception(
            "leftmost_first",
            "this is what you get by always merging the leftmost known pair. The order of learning decides, "
            "not the position: apply the first merge everywhere, then the second, and so on.",
            encode_leftmost,
        ),
        Misconception(
            "first_piece_only",
            "only the first piece came back. Is the `return` inside the loop? It belongs below it.",
            lambda text, merges: naive_encode(split(text)[0], merges),
        ),
        Misconception(
            "numbered_from_zero",
            "you numbered the merges from 0. Those numbers are bytes already: the first merge makes token 256.",
            lambda text, merges: encoded(text, merges, first=0),
        ),
        Misconception(
            "list_of_rows",
            "you returned a row for each piece. Join them into one flat list: tokens += row.",
            lambda text, merges: [encoded(piece, merges, cut=lambda piece: [piece]) for piece in split(text)],
        ),
        Misconception(
            "last_piece_only",
            "only the last piece came back. Add each row to one list of tokens as soon as it is merged, inside the loop over the pieces.",
            lambda text, merges: naive_encode(split(text)[-1], merges),
        ),
        Misconception(
            "each_piece_once",
            "a piece that occurs more than once in the text appears only once in your answer. Keep the pieces in a list: a dict or a set holds each "
            "of them only once.",
            lambda text, merges: encoded(text, merges, cut=lambda text: list(dict.fromkeys(split(text)))),
        ),
        Misconception(
            "characters",
            "you started from character numbers, which is what `ord` gives. Beyond the first 128 these are not bytes: use `list(piece.encode())`.",
            lambda text, merges: encoded(text, merges, to_row=lambda piece: list(map(ord, piece))),
        ),
    ),
    minutes=8,
    difficulty=2,
)

TRAINING_ROW = Exercise(
    name="tokenizer.training_row",
    reference=training_row,
    inputs=documents_to_join,
    buys="Each document in such a row has a marked beginning, and nothing that is typed can be mistaken for one.",
    hints=(
        "You know where each document begins; the text itself cannot say so. The special token is a number that you "
        "put in.",
        "tokenizer.encode(document) is a list of tokens, tokenizer.end_of_text is one number; the answer is one flat "
        "list.",
        "For each document, add [tokenizer.end_of_text, *tokenizer.encode(document)] to the row.",
    ),
    misconceptions=(
        Misconception(
            "typed_let_through",
            "`<|endoftext|>` typed in a document became the special token, which is what `allow_special=True` allows. "
            "Put the number in yourself, and encode the documents as text.",
            lambda documents, tokenizer: tokenizer.encode(
                "".join(END_OF_TEXT + document for document in documents), allow_special=True
            ),
        ),
        Misconception(
            "name_as_text",
            "the name `<|endoftext|>` was encoded as text, piece by piece. The special token is a number: "
            "`tokenizer.end_of_text`.",
            lambda documents, tokenizer: tokenizer.encode(
                "".join(END_OF_TEXT + document for document in documents)
            ),
        ),
        Misconception(
            "after",
            "the special token comes after each document. Put it before each one: the first word, too, has to be guessed "
            "from something.",
            lambda documents, tokenizer: [
                token
                for document in documents
                for token in (*tokenizer.encode(document), tokenizer.end_of_text)
            ],
        ),
        Misconception(
            "between",
            "the first document has no special token before it. Its beginning has to be marked, too.",
            lambda documents, tokenizer: training_row(documents, tokenizer)[1:],
        ),
        Misconception(
            "both_sides",
            "each document has a special token on both sides, so there are two of them between documents. "
            "One before each document is enough.",
            lambda documents, tokenizer: [
                token
                for document in documents
                for token in (*training_row([document], tokenizer), tokenizer.end_of_text)
            ],
        ),
        Misconception(
            "also_at_the_end",
            "there is one more special token at the end of the row. Each belongs before a document, and no "
            "document follows this one.",
            lambda documents, tokenizer: [*training_row(documents, tokenizer), tokenizer.end_of_text],
        ),
        Misconception(
            "typed_between",
            "two things are wrong. The first document has no special token before it, and `<|endoftext|>` typed in a "
            "document became one, which is what `allow_special=True` allows.",
            lambda documents, tokenizer: tokenizer.encode(END_OF_TEXT.join(documents), allow_special=True),
        ),
        Misconception(
            "list_of_rows",
            "you returned a row for each document. Training reads one long row: join them.",
            lambda documents, tokenizer: [training_row([document], tokenizer) for document in documents],
        ),
        Misconception(
            "lists_inside",
            "the tokens of each document are a list inside the list, which is what `append` does. Use row += tokens, or "
            "row.extend(tokens), to add them one by one.",
            lambda documents, tokenizer: [
                part for document in documents for part in (tokenizer.end_of_text, tokenizer.encode(document))
            ],
        ),
        Misconception(
            "only_at_the_front",
            "there is one special token at the front of the row and none between the documents. Put one before each document.",
            lambda documents, tokenizer: [
                tokenizer.end_of_text,
                *(token for document in documents for token in tokenizer.encode(document)),
            ],
        ),
        Misconception(
            "typed_left_out",
            "where `<|endoftext|>` was typed in a document, it is gone. It is part of the text: encode each document as it is, since without "
            "`allow_special` nothing typed can become a special token.",
            lambda documents, tokenizer: training_row(
                [document.replace(END_OF_TEXT, "") for document in documents], tokenizer
            ),
        ),
        Misconception(
            "stripped",
            "the white space at the start and the end of the documents is gone. Encode each document as it is, without `strip`.",
            lambda documents, tokenizer: training_row(
                [document.strip() for document in documents], tokenizer
            ),
        ),
    ),
    minutes=5,
    difficulty=2,
)

NEAREST = Exercise(
    name="tokenizer.nearest",
    reference=nearest,
    inputs=tables_of_rows,
    buys="You can now ask any embedding which tokens it treats as alike.",
    hints=(
        "The cosine of two rows is their dot product once both have length 1.",
        "`table` is (vocab, d_model), and table.norm(dim=1, keepdim=True) is (vocab, 1). The cosines, one for "
        "each token, are (vocab,); the answer is (k,) token numbers.",
        "Divide table by its norms, multiply it by the token's own row, set the token's own cosine to -torch.inf, "
        "and take .topk(k).indices.",
    ),
    misconceptions=(
        Misconception(
            "itself",
            "the token itself is among its neighbors, since no row is more like it than its own. Leave it out.",
            lambda table, token, k: cosines(table, token).topk(k).indices,
        ),
        Misconception(
            "one_too_many",
            "you returned k + 1 tokens, with the token itself among them. Leave it out, so that k remain.",
            lambda table, token, k: cosines(table, token).topk(k + 1).indices,
        ),
        Misconception(
            "zeroed",
            "the token's own cosine was set to 0, so the token itself came before rows whose cosine is negative. Set it to "
            "-torch.inf.",
            lambda table, token, k: without(cosines(table, token), token, 0.0).topk(k).indices,
        ),
        Misconception(
            "dot_product",
            "long rows win, whatever their direction: you compared dot products. Divide each row by its own norm first.",
            lambda table, token, k: without(table @ table[token], token).topk(k).indices,
        ),
        Misconception(
            "distance",
            "you took the rows at the smallest distance. But a long row can point the same way and still be "
            "far away: compare directions.",
            lambda table, token, k: without(-(table - table[token]).norm(dim=1), token).topk(k).indices,
        ),
        Misconception(
            "least_alike",
            "these are the tokens that are least like `token`. The largest cosines come first.",
            lambda table, token, k: cosines(table, token).topk(k, largest=False).indices,
        ),
        Misconception(
            "absolute",
            "rows that point the opposite way came out as alike. A cosine of −1 means that two rows are as unlike as can "
            "be: leave out the absolute value, or the square.",
            lambda table, token, k: without(cosines(table, token).abs(), token).topk(k).indices,
        ),
        Misconception(
            "columns",
            "you divided by the norms of the columns. A token is a row: take the norm along dimension 1.",
            lambda table, token, k: without(cosines(table, token, dim=0), token).topk(k).indices,
        ),
        Misconception(
            "cosines_returned",
            "these are the cosines. The question is which tokens have them: `topk` gives both, as `.values` and "
            "`.indices`.",
            lambda table, token, k: without(cosines(table, token), token).topk(k).values,
        ),
        Misconception(
            "first_dropped",
            "you left out the first of the most similar tokens, as if that were always the token itself. A row that points in exactly "
            "the same direction can come before it: set the token's own cosine to -torch.inf instead.",
            lambda table, token, k: cosines(table, token).topk(k + 1).indices[1:],
        ),
        Misconception(
            "moved_up",
            "tokens that come after `token` in the table have numbers that are 1 too small, as happens when its row is cut out and the rows below it move up. Keep "
            "all rows, and set the token's own cosine to -torch.inf.",
            lambda table, token, k: nearest(table, token, k) - (nearest(table, token, k) > token).long(),
        ),
        Misconception(
            "most_alike_last",
            "the tokens are right, but their order is not: the most similar one comes last. Go from the largest cosine to the smallest.",
            lambda table, token, k: nearest(table, token, k).flip(0),
        ),
    ),
    minutes=10,
    difficulty=3,
)


def show_guesses(guesses: dict[str, list[tuple[str, float]]]) -> str:
    """For each ending of the text, the likeliest next tokens."""
    lines = [
        f"{ending!r:8}" + "".join(f"{piece!r:>11} {p:4.0%}" for piece, p in top)
        for ending, top in guesses.items()
    ]
    return "text ends in   the likeliest next tokens\n" + "\n".join(lines)


def show_curve(sizes: list[int], lengths: dict[str, list[float]], words: float) -> Drawing:
    return figures.line_chart(
        {name: (sizes, length) for name, length in lengths.items()},
        title="The first merges shorten stories most, but only in the language they were learned from",
        x_label="vocabulary size",
        y_label="tokens in a story",
        marks={"words and punctuation": words},
    )


def show_likeness(alike: Tensor, words: list[str]) -> Drawing:
    return figures.grid_heatmap(
        alike,
        words,
        words,
        title="Storyteller's rows for words of one kind point in similar directions",
        label="cosine of the angle",
        annotate=False,
        diverging=True,
    )


def show_tables(steps: list[int], alike: dict[str, list[float]], unlike: float) -> Drawing:
    return figures.line_chart(
        {name: (steps, values) for name, values in alike.items()},
        title="Words of one kind get similar rows in either of two tables, and in a shared one",
        x_label="training step",
        y_label="mean cosine within a kind",
        marks={"between kinds, at the end": unlike},
    )


def show_patterns(measured: dict[str, tuple[float, float]]) -> str:
    lines = [f"{name:24} {length:10.0f} {bits:15.2f}" for name, (length, bits) in measured.items()]
    return f"{'merges':24} {'tokens in a story':>10} {'bits per byte':>15}\n" + "\n".join(lines)


LESSON = Lesson(
    topic="tokens",
    exercises=(BEST_PAIR, NAIVE_TRAIN, NAIVE_ENCODE, TRAINING_ROW, NEAREST),
    predictions=(
        Prediction(
            "tokenizer.space",
            "Storyteller reads “… Mia put the red kite under the” and guesses the next token. Then one more "
            "space is typed at the end, and it guesses again. What happens to its guesses?",
            (
                "Words that make sense disappear from the top",
                "The space at the end is a token of its own, and in the stories a lone space is hardly ever followed "
                "by a word.",
            ),
            (
                (
                    "Nothing: a space at the end says nothing",
                    "It says nothing to a reader. The model gets one more number, and it has to guess what follows "
                    "that number.",
                ),
                (
                    "The same words, now without a space in front",
                    "That would make sense. But “table” and “ table” are two different tokens, and the model "
                    "starts out knowing nothing that connects them.",
                ),
                (
                    "The same words, each a little less likely",
                    "A misprint would do that to a reader. The model has no notion of a misprint. It goes only by "
                    "which tokens follow which.",
                ),
            ),
            shows=show_guesses,
            finding="Without the space, storyteller names things that a kite can lie under. With the space, "
            "it is almost sure of “ir”, which is not even a word.\n\nThe story is the same, so the trouble "
            "is in how the text was cut into tokens. Section 7 shows where “ir” comes from.",
        ),
        Prediction(
            "tokenizer.curve",
            "A tokenizer learns from English stories, and its vocabulary grows from the 256 bytes to 1,700 "
            "tokens. How does the length of a new English story, in tokens, change?",
            (
                "It falls fast at first, then ever more slowly",
                "The first merges apply everywhere; the last ones join parts of rare words.",
            ),
            (
                (
                    "It falls in a straight line",
                    "For that, each merge would have to apply as often as the one before. But the most frequent pairs "
                    "are merged first.",
                ),
                (
                    "It halves with each doubling",
                    "The first doubling does even more than that. But a word that is already one token cannot get "
                    "shorter.",
                ),
                (
                    "It falls slowly, then fast",
                    "For that, the frequent pairs would have to be merged last. They are merged first.",
                ),
            ),
            shows=show_curve,
            finding="The English curve bends. Toward the end it comes close to the dotted line, where each "
            "word and each punctuation mark is one token; merges never cross from one word to the next, so "
            "it cannot get below that.\n\nThe Chinese line does not move. This tokenizer learned from "
            "English alone. It can encode Chinese, but no pair of bytes in a Chinese character ever "
            "occurred, so every such byte remains a token of its own.",
        ),
        Prediction(
            "tokenizer.alike",
            "Storyteller's table began with random rows, and the model learned from stories alone. Which "
            "rows will point in similar directions now?",
            (
                "Words of one kind: “ red” and “ blue”",
                "They can replace each other in a sentence, so the model uses them in the same way.",
            ),
            (
                (
                    "Words that occur together: “ red” and “ kite”",
                    "They often occur side by side, but what precedes and follows the one differs from what precedes "
                    "and follows the other.",
                ),
                (
                    "Words that are spelled alike: “ boat” and “ blue”",
                    "A token is a number to the model. It never sees the letters.",
                ),
                (
                    "None: the rows stay as random as they began",
                    "Training changes the rows, as it changes every number in the model.",
                ),
            ),
            shows=show_likeness,
            finding="There are four blocks: colors, things, feelings and days. Nobody told the model about "
            "these kinds. It only ever got numbers, so whatever it knows about a word it learned from where "
            "that number occurs in the stories.",
        ),
        Prediction(
            "tokenizer.two_tables",
            "A small GPT gets two tables that start at random: one to look up the tokens that it reads, "
            "another to compare with when it guesses. In which of them will words of one kind end up with "
            "similar rows?",
            (
                "In both",
                "Any two colors are followed by much the same words, and they come after much the same words, too.",
            ),
            (
                (
                    "Only in the table for reading",
                    "Guessing groups words, too: after “Ben had a” any color may come, so all their rows "
                    "have to fit the same beginnings.",
                ),
                (
                    "Only in the table for guessing",
                    "Reading groups words, too: after “red” and after “blue” the story goes on in the same ways.",
                ),
                (
                    "In neither: it takes one shared table",
                    "Each table learns from the stories in its own way, and either way is enough.",
                ),
            ),
            shows=show_tables,
            finding="In both, and sooner in the table for guessing. The two tables have no numbers in "
            "common. A row of the first is used only when its token is read, so it learned from what follows "
            "the token. A row of the second is used only to judge whether its token comes next, so it "
            "learned from what comes before.\n\nSo the blocks in storyteller's shared table can have both "
            "causes. The cells below measure how alike words of one kind are in what follows them and in "
            "what precedes them.",
        ),
        Prediction(
            "tokenizer.split",
            "Train a tokenizer with 1,700 tokens on the stories again, but let merges cross from one word to the "
            "next. How do the length of a story in tokens and the loss of n-grams, in bits per byte, compare "
            "with before?",
            (
                "Shorter stories, worse guesses",
                "Phrases save tokens. But a phrase is counted separately from the words in it, so each is seen less "
                "often.",
            ),
            (
                (
                    "Shorter stories, better guesses",
                    'They do get shorter. But `," she said` is a token of its own now, and what an n-gram counts for '
                    "it is not counted for ` said`.",
                ),
                (
                    "Longer stories, worse guesses",
                    "There are more pairs to choose from now, and the most frequent are merged. That saves tokens.",
                ),
                (
                    "Hardly any change: frequent pairs lie within words",
                    "The end of one word and the space before the next are a very frequent pair, too.",
                ),
            ),
            shows=show_patterns,
            finding="Stories get shorter by about an eighth, but each byte costs about a tenth more bits. So "
            "longer pieces are not better pieces, at least not for n-grams that have read 300 stories.",
        ),
    ),
    quiz=(
        Question(
            "tokenizer.bytes_of_naive",
            "How many bytes does “naïve” take in UTF-8?",
            ("6", "Four English letters take one byte each, and “ï” takes two."),
            (
                (
                    "5",
                    "That is the number of characters. “ï” is not among the first 128 and takes two bytes.",
                ),
                ("10", "Only characters beyond the first 128 take more than one byte: here “ï” alone."),
                ("8", "“ï” takes two bytes. Four are for emoji and the like."),
            ),
        ),
        Question(
            "tokenizer.never_seen",
            "A byte-level tokenizer, trained on English stories, meets 🪁. What does it turn 🪁 into?",
            (
                "a few tokens, one for each byte",
                "No merge was learned for its four bytes, and the 256 bytes are always there.",
            ),
            (
                (
                    "an error: it was never seen",
                    "That happened when letters were the pieces. Bytes leave no text out.",
                ),
                (
                    "one token that says “unknown”",
                    "Then the text could not be recovered. From its bytes it can.",
                ),
                (
                    "one new token, made for it",
                    "The vocabulary is fixed once training is over, and the model has no row for more.",
                ),
            ),
        ),
        Question(
            "tokenizer.second_merge",
            "Train on “banana band”, where “a” and “n” are merged first. Which piece is made second?",
            ("“ban”", "“b” and “an” are neighbors twice, and every other pair only once."),
            (
                ("“na”", "Its “n” is inside “an” now: the row of “banana” is b, an, an, a."),
                ("“anan”", "“an” and “an” are neighbors only once, in “banana”."),
                ("“ b”", "A space and a “b” are neighbors only once, in “ band”."),
            ),
        ),
        Question(
            "tokenizer.order_of_merges",
            "The first merge learned is “b” and “c”, the second “a” and “b”. What becomes of “abc”?",
            ("a, bc", "The older merge goes first, and then no “b” is left for “ab”."),
            (
                (
                    "ab, c",
                    "That is merging from left to right. The order of learning decides, not the position.",
                ),
                ("abc", "There is no merge of “a” and “bc”, or of “ab” and “c”."),
                ("a, b, c", "“b” and “c” are neighbors, and there is a merge for them."),
            ),
        ),
        Question(
            "tokenizer.doubled",
            "Nearly every word is one token already. You double the vocabulary. What do you get?",
            (
                "a table twice as large, texts hardly shorter",
                "The new merges build rare words, and a model gets few examples of each from which to learn.",
            ),
            (
                (
                    "texts half as long",
                    "A word that is one token cannot get shorter, and merges do not cross from word to word.",
                ),
                (
                    "texts longer than before",
                    "A merge never makes a text longer. At worst it is never used.",
                ),
                ("the same table, used better", "Each token has a row of its own in the table, used or not."),
            ),
        ),
        Question(
            "tokenizer.typed_in",
            "A program uses `allow_special=True` to encode both its own instructions and what a user typed. What can "
            "the user do?",
            (
                "end the document and start a fake one",
                "The typed `<|endoftext|>` becomes the real token, and what follows looks like a new document.",
            ),
            (
                (
                    "only cause an error",
                    "There is none: with `allow_special=True` the name is a special token wherever it stands.",
                ),
                ("add a token to the vocabulary", "Encoding never changes a vocabulary."),
                (
                    "nothing, it is text to the model",
                    "By default it would be. `allow_special=True` gives up that protection.",
                ),
            ),
        ),
        Question(
            "tokenizer.space_in_front",
            "Why are “kite” at the start of a text and “ kite” within it different tokens?",
            (
                "The space belongs to the word after it",
                "The split pattern puts it there, so a sentence needs no tokens for the spaces between words.",
            ),
            (
                (
                    "The first token is always special",
                    "`<|endoftext|>` is; “kite” at the start is cut like any other text.",
                ),
                (
                    "The start of a text is never merged",
                    "It is merged like every piece: “Mia” is one token at the start, too.",
                ),
                (
                    "Their positions in the text differ",
                    "A tokenizer does not look at positions. The model learns about positions in another way, which a "
                    "later notebook explains.",
                ),
            ),
        ),
        Question(
            "tokenizer.two_ones",
            "By mistake a one-hot row has two 1s, at tokens 3 and 7. What is its product with the table?",
            (
                "the sum of rows 3 and 7",
                "The product adds up the rows of the table, each multiplied by its number in the one-hot row.",
            ),
            (
                (
                    "row 3, the first one found",
                    "Nothing is searched for. Every row is multiplied, and all are added.",
                ),
                ("the mean of rows 3 and 7", "For that the two numbers would have to be one half each."),
                (
                    "an error, as it is not one-hot",
                    "The product takes any numbers. It does not know what they were meant to be.",
                ),
            ),
        ),
    ),
    objectives=(
        ("tokenizer.bytes_of_naive", "tokenizer.never_seen", "tokenizer.naive_encode"),
        ("tokenizer.best_pair", "tokenizer.naive_train", "tokenizer.second_merge"),
        ("tokenizer.curve", "tokenizer.doubled", "tokenizer.split", "tokenizer.space"),
        ("tokenizer.training_row", "tokenizer.typed_in"),
        ("tokenizer.two_ones", "tokenizer.nearest", "tokenizer.two_tables"),
    ),
)
