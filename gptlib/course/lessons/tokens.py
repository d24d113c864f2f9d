"""Text in pieces that a model can look up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from gptlib.course.exercises import Exercise, Lesson, Misconception, Question
from gptlib.text.bpe import split
from gptlib.text.tokenizer import Tokenizer
from gptlib.text.vocabulary import END_OF_TEXT

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
) -> list[Pair]:
    """`naive_train`, with one of its steps done otherwise."""
    counts = recount(Counter(piece for text in texts for piece in cut(text)))
    rows = {piece: to_row(piece) for piece in counts}
    merges = []
    for token in range(256, 256 + n_merges):
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
    glue: Callable[[list[int], Pair, int], list[int]] = replace,
    order: Callable[[list], list] = list,
) -> list[int]:
    """`naive_encode`, with one of its steps done otherwise."""
    tokens = []
    for piece in cut(text):
        row = to_row(piece)
        for token, pair in order(list(enumerate(merges, start=first))):
            row = glue(row, pair, token)
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


def replace_once(row: list[int], pair: Pair, token: int) -> list[int]:
    for n in range(len(row) - 1):
        if (row[n], row[n + 1]) == pair:
            return [*row[:n], token, *row[n + 2 :]]
    return row


def cosines(table: Tensor, token: int, dim: int = 1) -> Tensor:
    rows = table / table.norm(dim=dim, keepdim=True)
    return rows @ rows[token]


def without(values: Tensor, token: int) -> Tensor:
    return values.index_fill(0, torch.tensor([token]), -torch.inf)


def pairs_counted(generator: Generator) -> Iterator[tuple[Counter[Pair]]]:
    yield (Counter({(b"t", b"h"): 2, (b"h", b"e"): 2, (b"e", b" "): 1}),)
    yield (Counter({(b"b", b"a"): 1, (b"ki", b"t"): 3, (b"n", b"a"): 3, (b"a", b"n"): 3, (b"a", b"a"): 2}),)
    letters = [bytes([value]) for value in b"kite"]
    pairs = [(left, right) for left in letters for right in letters]
    order = torch.randperm(len(pairs), generator=generator).tolist()
    times = torch.randint(1, 5, (len(pairs),), generator=generator).tolist()
    yield (Counter({pairs[place]: n for place, n in zip(order, times, strict=True)}),)


def some_text(generator: Generator, n_words: int) -> str:
    words = ["the", "kite", "kitten", "hat", "that", "米娅", "banana", "é"]
    chosen = torch.randint(len(words), (n_words,), generator=generator).tolist()
    return " ".join(words[place] for place in chosen)


def texts_to_train_on(generator: Generator) -> Iterator[tuple[list[str], int]]:
    yield ["hat hat that"], 2
    yield ["so, the kite", "the hat is so so so so tattered", "a a a a a"], 5
    yield ["kite", "Mia"] * 2, 3  # joined, "eM" would be a pair
    yield ["hat"], 2  # no pair comes twice
    yield ["米娅 米娅 米娅 米娅 and the naïve, naïve, naïve kitten"], 7
    yield [some_text(generator, 12), some_text(generator, 20)], 6


def texts_to_encode(generator: Generator) -> Iterator[tuple[str, list[Pair]]]:
    yield "the", [(116, 104), (256, 101)]
    yield "abc cab", [(98, 99), (97, 98), (99, 97)]
    yield "banana,  a band", [(97, 110), (32, 32), (98, 256), (32, 98), (256, 256)]
    yield "naïve 米米", [(97, 195), (195, 175), (231, 177), (258, 179)]
    yield some_text(generator, 4), naive_train([some_text(generator, 40)], 12)


def documents_to_join(generator: Generator) -> Iterator[tuple[list[str], Tokenizer]]:
    pieces = [*(bytes([value]) for value in range(256)), b"Mi", b"Mia"]
    tokenizer = Tokenizer({piece: token for token, piece in enumerate(pieces)}, {END_OF_TEXT: len(pieces)})
    yield ["Mia", "kite"], tokenizer
    yield [f"Mia{END_OF_TEXT}", "a", f"{END_OF_TEXT}{some_text(generator, 1)}"], tokenizer


def tables_of_rows(generator: Generator) -> Iterator[tuple[Tensor, int, int]]:
    yield torch.tensor([[1.0, 0.0], [2.0, 0.5], [-3.0, 0.0], [9.0, 9.0], [0.5, -0.9]]), 0, 2
    for vocab, d_model, token, k in ((12, 4, 3, 3), (30, 8, 29, 5)):
        lengths = torch.rand(vocab, 1, generator=generator) * 4 + 0.2
        yield torch.randn(vocab, d_model, generator=generator) * lengths, token, k


BEST_PAIR = Exercise(
    name="tokenizer.best_pair",
    reference=best_pair,
    inputs=pairs_counted,
    buys="Two people who train on the same texts now get the same tokenizer.",
    hints=(
        "Sort the pairs in your mind: more often comes first, and among equals the smaller bytes.",
        "counts holds a number for each pair: counts[pair]. The answer is one pair, a tuple of two.",
        "min(counts, key=...) takes the pair whose key is smallest. Tuples compare place by place, so a key of "
        "(minus the count, the pair) says it all.",
    ),
    misconceptions=(
        Misconception(
            "counted_first",
            "of pairs that are equally frequent you took the one that was counted first. "
            "Then the merges depend on the order of the texts: take the one with the smaller bytes.",
            lambda counts: max(counts, key=counts.get),
        ),
        Misconception(
            "larger_bytes",
            "of pairs that are equally frequent you took the one with the larger bytes. `max` of (count, pair) does that.",
            lambda counts: max(counts, key=lambda pair: (counts[pair], pair)),
        ),
        Misconception(
            "rarest",
            "this is the rarest pair. Gluing what is frequent makes texts shorter; negate the count, or use `max`.",
            lambda counts: min(counts, key=lambda pair: (counts[pair], pair)),
        ),
        Misconception(
            "smallest_bytes",
            "you took the smallest bytes of all pairs. They decide only between pairs that are equally frequent.",
            lambda counts: min(counts),
        ),
        Misconception(
            "with_its_count",
            "you returned the pair together with its count. Return the pair alone; and `most_common` breaks ties "
            "by what was counted first.",
            lambda counts: counts.most_common(1)[0],
        ),
        Misconception(
            "item",
            "this is the right pair, together with its count. Return the pair alone.",
            lambda counts: (best_pair(counts), max(counts.values())),
        ),
    ),
    minutes=4,
    difficulty=1,
)

NAIVE_TRAIN = Exercise(
    name="tokenizer.naive_train",
    reference=naive_train,
    inputs=texts_to_train_on,
    buys="That is the trainer of GPT-2's tokenizer, slow and whole.",
    hints=(
        "Count the pieces once. Then again and again: count pairs, take the best, glue it wherever it stands.",
        "counts: piece -> how often; rows: piece -> its list of tokens, at first its bytes; merges: n_merges pairs of numbers.",
        "counts is a Counter of split(text) over all texts, rows are list(piece.encode()). For each token from 256 on: "
        "best_pair(count_pairs(rows, counts)), then replace it by token in each row, and append it to the merges.",
    ),
    misconceptions=(
        Misconception(
            "never_cut",
            "your merges cross from word to word. Cut the texts with `split` first.",
            lambda texts, n_merges: trained(texts, n_merges, cut=lambda text: [text]),
        ),
        Misconception(
            "each_piece_once",
            "each different piece counts once, however often it came. A pair counts as often as its pieces do.",
            lambda texts, n_merges: trained(texts, n_merges, recount=lambda counts: Counter(list(counts))),
        ),
        Misconception(
            "counted_only_once",
            "you counted the pairs once and took the best of that list. Each merge makes new pairs and breaks old ones: "
            "count again after it.",
            train_from_one_count,
        ),
        Misconception(
            "never_glued",
            "the same pair wins every time. After a merge, put the new token into the rows.",
            lambda texts, n_merges: trained(texts, n_merges, glue=lambda row, pair, token: row),
        ),
        Misconception(
            "characters",
            "you began with the numbers of characters, by `ord`. Begin with bytes: `piece.encode()`. They are below 256, "
            "and any text has them.",
            lambda texts, n_merges: trained(texts, n_merges, to_row=lambda piece: list(map(ord, piece))),
        ),
        Misconception(
            "ties_by_order",
            "of pairs that are equally frequent you took the one that was counted first. `best_pair` knows the rule for ties.",
            lambda texts, n_merges: trained(texts, n_merges, choose=lambda pairs: max(pairs, key=pairs.get)),
        ),
    ),
    minutes=12,
    difficulty=2,
)

NAIVE_ENCODE = Exercise(
    name="tokenizer.naive_encode",
    reference=naive_encode,
    inputs=texts_to_encode,
    buys="Any text at all is now a row of numbers below the size of your vocabulary.",
    hints=(
        "A new text has to be glued as the training texts were: cut, then one merge after the other, the oldest first.",
        "merges is a list of pairs; the one at place 0 makes token 256, the next 257. A flat list of tokens goes out.",
        "For each piece of split(text): row = list(piece.encode()); for token, pair in enumerate(merges, start=256): "
        "row = replace(row, pair, token). Put the rows together.",
    ),
    misconceptions=(
        Misconception(
            "never_cut",
            "a merge crossed from one piece to the next. Cut with `split` first, and encode piece by piece.",
            lambda text, merges: encoded(text, merges, cut=lambda text: [text]),
        ),
        Misconception(
            "latest_first",
            "you began with the latest merge. It needs the tokens that earlier ones make: go in the order of learning.",
            lambda text, merges: encoded(text, merges, order=lambda items: items[::-1]),
        ),
        Misconception(
            "longest_first",
            "this is what taking the longest piece of the vocabulary gives, from left to right. The merges may cut otherwise: "
            "the one learned first goes first, wherever it stands.",
            encode_longest,
        ),
        Misconception(
            "only_the_first",
            "each merge was done once in a piece. Its pair may come again, as “an” in “banana”: glue it wherever it stands.",
            lambda text, merges: encoded(text, merges, glue=replace_once),
        ),
        Misconception(
            "characters",
            "you began with the numbers of characters, by `ord`. The merges are about bytes: begin with `piece.encode()`.",
            lambda text, merges: encoded(text, merges, to_row=lambda piece: list(map(ord, piece))),
        ),
        Misconception(
            "numbered_from_zero",
            "the merges are numbered from 0. Those numbers are bytes already: the first merge makes token 256.",
            lambda text, merges: encoded(text, merges, first=0),
        ),
    ),
    minutes=8,
    difficulty=2,
)

TRAINING_ROW = Exercise(
    name="tokenizer.training_row",
    reference=training_row,
    inputs=documents_to_join,
    buys="A model trained on such rows knows where a text begins, and no text can lie to it about that.",
    hints=(
        "You know where each document begins; the documents do not. So the special token is put in as a number, by you.",
        "tokenizer.encode(document) is a list of tokens, tokenizer.end_of_text is one number; the answer is one flat list.",
        "For each document, add [tokenizer.end_of_text, *tokenizer.encode(document)] to the row.",
    ),
    misconceptions=(
        Misconception(
            "typed_let_through",
            "`<|endoftext|>` typed in a document became the special token, by `allow_special=True`. "
            "Put the number in yourself, and encode documents as text.",
            lambda documents, tokenizer: tokenizer.encode(
                "".join(END_OF_TEXT + document for document in documents), allow_special=True
            ),
        ),
        Misconception(
            "name_as_text",
            "the name `<|endoftext|>` was encoded as text, sign by sign. The special token is a number: `tokenizer.end_of_text`.",
            lambda documents, tokenizer: tokenizer.encode(
                "".join(END_OF_TEXT + document for document in documents)
            ),
        ),
        Misconception(
            "after",
            "the special token stands after each document. Before each one, please: the first word needs something to be guessed from.",
            lambda documents, tokenizer: [
                token
                for document in documents
                for token in (*tokenizer.encode(document), tokenizer.end_of_text)
            ],
        ),
        Misconception(
            "between",
            "the first document has no special token before it. It begins, too.",
            lambda documents, tokenizer: training_row(documents, tokenizer)[1:],
        ),
        Misconception(
            "left_out",
            "there is no special token in the row, so one document runs into the next.",
            lambda documents, tokenizer: tokenizer.encode("".join(documents)),
        ),
        Misconception(
            "list_of_rows",
            "you returned a row for each document. Training reads one long row: join them.",
            lambda documents, tokenizer: [training_row([document], tokenizer) for document in documents],
        ),
    ),
    minutes=5,
    difficulty=2,
)

NEAREST = Exercise(
    name="tokenizer.nearest",
    reference=nearest,
    inputs=tables_of_rows,
    buys="You can ask any model what it takes for alike.",
    hints=(
        "The cosine of two rows is their dot product once both have length 1.",
        "table is (vocab, d_model); table.norm(dim=1, keepdim=True) is (vocab, 1). "
        "One cosine for each token is (vocab,), and (k,) places go out.",
        "Divide table by its norms, multiply it with the token's own row, set the token's own cosine to -torch.inf, "
        "and take .topk(k).indices.",
    ),
    misconceptions=(
        Misconception(
            "itself",
            "the token itself is among its neighbors, as it is more alike to itself than to any other. Leave it out.",
            lambda table, token, k: cosines(table, token).topk(k).indices,
        ),
        Misconception(
            "dot_product",
            "long rows win, whatever their direction: you compared dot products. Divide each row by its norm first.",
            lambda table, token, k: without(table @ table[token], token).topk(k).indices,
        ),
        Misconception(
            "distance",
            "you took the rows at the smallest distance. A row of the same direction and another length is alike, and far away.",
            lambda table, token, k: without(-(table - table[token]).norm(dim=1), token).topk(k).indices,
        ),
        Misconception(
            "least_alike",
            "these are the tokens that are least alike. The largest cosines come first.",
            lambda table, token, k: cosines(table, token).topk(k, largest=False).indices,
        ),
        Misconception(
            "columns",
            "you divided by the norms of the columns. A token is a row: take the norm along dimension 1.",
            lambda table, token, k: without(cosines(table, token, dim=0), token).topk(k).indices,
        ),
        Misconception(
            "cosines_returned",
            "you returned the cosines. The question is whose they are: `topk` gives `.values` and `.indices`.",
            lambda table, token, k: without(cosines(table, token), token).topk(k).values,
        ),
    ),
    minutes=10,
    difficulty=3,
)

LESSON = Lesson(
    topic="tokens",
    exercises=(BEST_PAIR, NAIVE_TRAIN, NAIVE_ENCODE, TRAINING_ROW, NEAREST),
    predictions=(
        Question(
            "tokenizer.curve",
            "The vocabulary grows. What does the length of an English story do?",
            (
                "It falls fast, then hardly at all",
                "The first merges are frequent everywhere; the last ones glue words that come seldom.",
            ),
            (
                (
                    "It falls in a straight line",
                    "Then each merge would be as frequent as the one before. They are chosen most frequent first.",
                ),
                (
                    "It halves with each doubling",
                    "The first doubling does even more. But a word that is one token already gets no shorter.",
                ),
                (
                    "It falls slowly, then fast",
                    "That would mean that frequent pairs come last. They come first.",
                ),
            ),
        ),
        Question(
            "tokenizer.alike",
            "Storyteller learned its table from stories alone. Which rows will point the same way?",
            (
                "Words of one kind: “ red”, “ blue”",
                "They can stand in each other's place, so for guessing what comes next they mean nearly the same.",
            ),
            (
                (
                    "Neighbors in stories: “ red”, “ kite”",
                    "They come side by side, but each is followed by other words. The model needs to tell them apart.",
                ),
                (
                    "Words with like letters: “ boat”, “ blue”",
                    "A token is a number to the model; it never sees the letters in it.",
                ),
                (
                    "None: rows stay as random as they began",
                    "Every step of training moves the rows of the tokens that it read.",
                ),
            ),
        ),
    ),
    quiz=(
        Question(
            "tokenizer.bytes_of_naive",
            "How many bytes has “naïve” in UTF-8?",
            ("6", "Four English letters of one byte each, and “ï”, which takes two."),
            (
                ("5", "That is the number of characters. “ï” is beyond the first 128 and takes two bytes."),
                ("10", "Only what is beyond the first 128 takes more than one byte: here “ï” alone."),
                ("8", "“ï” takes two bytes. Four is for emoji and the like."),
            ),
        ),
        Question(
            "tokenizer.never_seen",
            "A byte-level tokenizer, trained on English stories, meets 🪁. What becomes of it?",
            (
                "a few tokens, one for each byte",
                "No merge was learned for its four bytes, and the 256 bytes are always there.",
            ),
            (
                ("an error: it was never seen", "So it was with letters as pieces. Bytes leave nothing out."),
                ("one token that says “unknown”", "Then the text could not come back. From bytes it does."),
                (
                    "one new token, made for it",
                    "The vocabulary is fixed by training; the model has no row for more.",
                ),
            ),
        ),
        Question(
            "tokenizer.second_merge",
            "Train on “banana band”, where “an” is glued first. Which piece is made second?",
            ("“ban”", "“b” and “an” stand together twice, and every other pair once."),
            (
                ("“na”", "Its “n” is inside “an” now: the row of “banana” is b, an, an, a."),
                ("“anan”", "“an” and “an” stand together once, in “banana”."),
                ("“ b”", "A space and a “b” stand together once, in “ band”."),
            ),
        ),
        Question(
            "tokenizer.order_of_merges",
            "The first merge learned is “b” and “c”, the second “a” and “b”. What becomes of “abc”?",
            ("a, bc", "The older merge goes first. After it no “b” is left for “ab”."),
            (
                ("ab, c", "That is reading from the left. The order of learning decides, not the place."),
                ("abc", "No merge glues “a” and “bc”, or “ab” and “c”."),
                ("a, b, c", "“b” and “c” are neighbors and there is a merge for them."),
            ),
        ),
        Question(
            "tokenizer.doubled",
            "Nearly every word is one token already. You double the vocabulary. What do you get?",
            (
                "twice the table, texts hardly shorter",
                "New merges glue rare words only, and rows that are seen seldom learn little.",
            ),
            (
                (
                    "texts half as long",
                    "A word that is one token cannot get shorter, and merges do not cross words.",
                ),
                (
                    "texts longer than before",
                    "A merge never makes a text longer. It is rarely used, that is all.",
                ),
                ("the same table, used better", "Each token has a row of its own in the table, used or not."),
            ),
        ),
        Question(
            "tokenizer.typed_in",
            "A program encodes its instructions and what a user typed with `allow_special=True`. What can the user do?",
            (
                "end the document and start a false one",
                "The typed `<|endoftext|>` becomes the real token, and what follows looks like a new document.",
            ),
            (
                (
                    "only see an error",
                    "There is none: with `allow_special=True` the name is a special token wherever it stands.",
                ),
                ("add a token to the vocabulary", "Encoding never changes a vocabulary."),
                (
                    "nothing, it is text to the model",
                    "By default it would be. That is what `allow_special=True` gives up.",
                ),
            ),
        ),
        Question(
            "tokenizer.space_in_front",
            "Why are “kite” at the start of a text and “ kite” within it different tokens?",
            (
                "The space belongs to the word behind it",
                "So a sentence needs no tokens for the spaces between words.",
            ),
            (
                (
                    "The first token is always special",
                    "`<|endoftext|>` is; “kite” at the start is a piece like any other.",
                ),
                (
                    "The start of a text is never merged",
                    "It is, like every piece: “Mia” is one token at the start, too.",
                ),
                (
                    "Their place in the text differs",
                    "A tokenizer does not look at places. The notebook on positions tells the model about them.",
                ),
            ),
        ),
        Question(
            "tokenizer.two_ones",
            "By mistake a one-hot row has two 1s, at tokens 3 and 7. What is its product with the table?",
            (
                "the sum of rows 3 and 7",
                "A product with a row of numbers adds the rows of the table, each as often as its number says.",
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
        ("tokenizer.curve", "tokenizer.doubled"),
        ("tokenizer.training_row", "tokenizer.typed_in"),
        ("tokenizer.two_ones", "tokenizer.nearest"),
    ),
)
