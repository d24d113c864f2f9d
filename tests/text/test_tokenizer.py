"""The tokenizers: the same merges as the plain algorithm, every text there and back, files checked."""

import base64
import json
import random
import string
import time
from collections import Counter
from functools import cache

import numpy as np
import pytest
import regex
import tiktoken
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.text import blocks
from gptlib.text.bpe import GPT2_PATTERN, byte_to_unicode, split
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.tokenizer import Tokenizer, load_tokenizer
from gptlib.text.vocabulary import END_OF_TEXT

TEXT = (
    "Once upon a time there was a small dog. The dog's name was Tom, and Tom liked the sea.\n\n"
    "  “We'll see the sea,” said Mia. 他们去了海边。 🐕🐕 12 dogs, 3 cats;\tthe end...   \n"
) * 4
# Any text that UTF-8 can express.
texts = st.text(st.characters(exclude_categories=("Cs",)))


def naive_merges(pieces: list[bytes], n_merges: int) -> list[tuple[int, int]]:
    """Count all pairs, merge the most frequent (ties: the smallest ids), begin again."""
    rows = [list(piece) for piece in pieces]
    merges = []
    while len(merges) < n_merges:
        counts = Counter(pair for row in rows for pair in zip(row, row[1:], strict=False))
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        for row in rows:
            place = 0
            while place < len(row) - 1:
                if (row[place], row[place + 1]) == best:
                    row[place : place + 2] = [256 + len(merges)]
                place += 1
        merges.append(best)
    return merges


def as_bytes(pairs: list[tuple[int, int]]) -> list[tuple[bytes, bytes]]:
    tokens = [bytes([value]) for value in range(256)]
    for left, right in pairs:
        tokens.append(tokens[left] + tokens[right])
    return [(tokens[left], tokens[right]) for left, right in pairs]


@cache
def small() -> Tokenizer:
    return Tokenizer.train(TEXT, 256 + 60 + 1)


@cache
def characters() -> CharacterTokenizer:
    return CharacterTokenizer.train(TEXT)


# --------------------------------------------------------------------------------------------------- Training


def test_same_merges_as_the_naive_trainer():
    n_merges = 90
    expected = as_bytes(naive_merges([piece.encode() for piece in split(TEXT)], n_merges))
    assert Tokenizer.train(TEXT, 256 + n_merges + 1).merges == expected


@given(st.text(st.sampled_from("aab \n'sé"), min_size=1, max_size=60), st.integers(0, 25))
def test_same_merges_on_any_text(text, n_merges):
    expected = as_bytes(naive_merges([piece.encode() for piece in split(text)], n_merges))
    if len(expected) == n_merges:
        assert Tokenizer.train(text, 257 + n_merges).merges == expected
    else:
        with pytest.raises(ValueError, match=f"they allow {len(expected)} merges"):
            Tokenizer.train(text, 257 + n_merges)


@pytest.mark.parametrize("alphabet", ["a", "ab", "abc", "acgt"])
def test_same_merges_on_long_runs(alphabet):
    """Where equal tokens overlap, and pairs vanish as fast as they come."""
    source = random.Random(len(alphabet))
    text = "".join(source.choices(alphabet, k=400))
    expected = as_bytes(naive_merges([text.encode()], 10_000))
    assert Tokenizer.train(text, 257 + len(expected)).merges == expected


def test_the_order_of_the_texts_does_not_matter():
    lines = TEXT.splitlines(keepends=True)
    assert Tokenizer.train(lines, 300) == Tokenizer.train(reversed(lines), 300)
    assert Tokenizer.train(iter(lines), 300).merges != Tokenizer.train(lines[0], 300).merges


def test_ids_are_bytes_then_merges_then_special_tokens():
    tokenizer = Tokenizer.train(TEXT, 300, special_tokens=(END_OF_TEXT, "<|user|>"))
    assert tokenizer.vocab_size == 300
    assert [tokenizer.token_bytes(token) for token in range(256)] == [bytes([value]) for value in range(256)]
    assert [tokenizer.token_bytes(256 + place) for place in range(42)] == [a + b for a, b in tokenizer.merges]
    assert (tokenizer.end_of_text, tokenizer.special_tokens["<|user|>"]) == (298, 299)
    # Encoding replays the merges, so each token is what its own bytes become.
    whole = [left + right for left, right in tokenizer.merges]
    readable = [piece.decode() for piece in whole if max(piece).to_bytes(1, "big") < b"\x80"]
    assert len(readable) > 30
    assert all(tokenizer.encode(piece) == [256 + whole.index(piece.encode())] for piece in readable)


def test_a_vocabulary_of_2048_from_a_megabyte_takes_at_most_five_seconds():
    source = random.Random(0)
    words = ["".join(source.choices(string.ascii_lowercase, k=source.randint(1, 9))) for _ in range(20_000)]
    text = ""
    while len(text) < 1_000_000:
        text += " ".join(source.choices(words, k=1000)) + ".\n"
    start = time.process_time()
    assert Tokenizer.train(text[:1_000_000], 2048).vocab_size == 2048
    assert time.process_time() - start < 5


def test_training_refuses():
    with pytest.raises(
        ValueError, match=r"they allow \d+ merges, and vocab_size=2048 needs 1791.*at most \d+"
    ):
        Tokenizer.train("a small text", 2048)
    with pytest.raises(ValueError, match="vocab_size is .*at least 257"):
        Tokenizer.train(TEXT, 100)
    with pytest.raises(ValueError, match="differ from each other"):
        Tokenizer.train(TEXT, 300, special_tokens=("<a>", "<a>"))
    with pytest.raises(TypeError):
        Tokenizer.train(TEXT, 300, special_tokens=END_OF_TEXT)
    with pytest.raises(TypeError):
        Tokenizer.train([b"bytes"], 300)
    with pytest.raises(ValueError, match=r"U\+D83D, at position 2"):
        Tokenizer.train(["ab\ud83d"], 257)
    for wrong in (None, "300", 300.0, [300]):
        with pytest.raises(TypeError, match="vocab_size is .*; it needs a whole number"):
            Tokenizer.train(TEXT, wrong)
    for wrong in (None, 5, [5], [None]):
        with pytest.raises(TypeError, match="texts? is"):
            Tokenizer.train(wrong, 300)
        with pytest.raises(TypeError, match="texts? is"):
            CharacterTokenizer.train(wrong)
        with pytest.raises(TypeError, match="special_tokens is"):
            Tokenizer.train(TEXT, 300, wrong)
    assert Tokenizer.train(TEXT, np.int64(300)) == Tokenizer.train(TEXT, 300)
    # The largest vocabulary that the message offers is one that works.
    with pytest.raises(ValueError) as caught:
        Tokenizer.train("abcab", 2048)
    assert Tokenizer.train("abcab", int(str(caught.value).split()[-1])).encode("abcab") == [256 + 2]


# ------------------------------------------------------------------------------------------ The split pattern

GPT4_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)


@pytest.mark.parametrize("pattern", [GPT4_PATTERN, r"(\s+)|(\S)\S*", r"\S+\s*|\s+", r"(?s:.)"])
def test_training_by_another_pattern(tmp_path, monkeypatch, pattern):
    monkeypatch.setattr(blocks, "BLOCK", 10)
    tokenizer = Tokenizer.train(TEXT, 275, pattern=pattern)
    pieces = [match.group().encode() for match in regex.finditer(pattern, TEXT)]
    assert tokenizer.merges == as_bytes(naive_merges(pieces, 18))
    tokenizer.save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "tokenizer.json") == tokenizer != Tokenizer.train(TEXT, 275)
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    assert tokenizer.grown(CHINESE, 5).pattern == pattern


def test_patterns_that_cannot_be_used():
    ranks = small().ranks
    for pattern, message in (
        ("(", "which is not a regular expression"),
        (r"\w+", r"cuts no piece from '\\x00"),
        (r".", r"cuts no piece from '\\n"),
        (r"\p{L}*|\s+", "cuts no piece from"),
        (r"(?=a)|(?s:.)", "cuts no piece from 'abc"),
        (r"(?s:.)|(?<=a", "not a regular expression"),
        (r"(?V1)[a--b]|(?s:.)", "which tiktoken cannot read"),
    ):
        for make in (lambda p: Tokenizer.train(TEXT, 260, pattern=p), lambda p: Tokenizer(ranks, {}, p)):
            with pytest.raises(ValueError, match=f"pattern is .*{message}"):
                make(pattern)
    with pytest.raises(TypeError, match="pattern is None; it needs to be a regular expression"):
        Tokenizer.train(TEXT, 260, pattern=None)


def test_a_pattern_that_loses_a_rare_character():
    """It is found where the character comes up; the remedy that the message names works."""
    pattern = r"[\x00-\x7fé海🐕]+"
    for use in (
        lambda t: t.encode("aжb"),
        lambda t: t.encode("a" * 400_000 + "ж"),
        lambda t: t.grown(["ж"], 1),
    ):
        with pytest.raises(ValueError, match="cuts no piece from 'ж"):
            use(Tokenizer.train("ab", 257, pattern=pattern))
    with pytest.raises(ValueError, match="cuts no piece from 'жb'"):
        Tokenizer.train("aжb", 257, pattern=pattern)
    assert Tokenizer.train("aжb", 257, pattern=pattern + "|(?s:.)").encode("aжb") == [97, 208, 182, 98]


# --------------------------------------------------------------------------------------- There and back again


@given(texts)
@settings(max_examples=300)
def test_any_text_comes_back(text):
    tokens = small().encode(text)
    assert small().decode(tokens) == text
    assert all(0 <= token < 256 + 60 for token in tokens)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\x00\x01\x7f\x85",
        "👩‍👩‍👧‍👦 🏳️‍🌈",
        "你好，世界",
        "e\u0301 ﷽",
        "\r\n\r\n",
        "a" * 5000,
        "\ufeff\uffff\U0010ffff",
    ],
)
def test_awkward_texts_come_back(text):
    assert small().decode(small().encode(text)) == text


def test_encoding_does_what_the_merges_say():
    """tiktoken against the plain way: of all merges possible, do the one learned first."""
    ranks = {left + right: place for place, (left, right) in enumerate(small().merges)}
    text = "The dogs saw 12 small seas. “Once,” said Tom, there's the end. 他们"
    expected = []
    for piece in split(text):
        parts = [bytes([value]) for value in piece.encode()]
        while True:
            found = [
                (ranks[a + b], i)
                for i, (a, b) in enumerate(zip(parts, parts[1:], strict=False))
                if a + b in ranks
            ]
            if not found:
                break
            place = min(found)[1]
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        expected += parts
    assert [small().token_bytes(token) for token in small().encode(text)] == expected
    assert len(expected) < len(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [("\ud83d", 0), ("dog \udc00", 4), ("🐕 \ud83d\ude00\ude00", 4), ("\ude00\ud83d", 0), ("a \ud83d b", 2)],
)
def test_lone_surrogates_are_refused(text, place):
    for tokenizer in (small(), characters()):
        message = rf"half of a surrogate pair, U\+{ord(text[place]):04X}, at position {place}:"
        with pytest.raises(ValueError, match=message):
            tokenizer.encode(text)
        with pytest.raises(ValueError, match=message):
            tokenizer.encode(text, allow_special=True)
        with pytest.raises(ValueError, match=message):
            list(tokenizer.encode_iterable(iter(text)))


def test_a_surrogate_pair_is_the_character_that_it_spells():
    text, place = "a \ud83d\udc15\ud83d\udc15 d", [0, 1, 2, 4, 6, 7, 8]
    for tokenizer in (small(), characters()):
        tokens = tokenizer.encode("a 🐕🐕 d")
        assert tokenizer.encode(text) == list(tokenizer.encode_iterable(iter(text))) == tokens
        expected = [(place[start], place[end]) for start, end in tokenizer.spans("a 🐕🐕 d")]
        assert tokenizer.spans(text) == expected
    assert CharacterTokenizer.train(text) == CharacterTokenizer(text) == CharacterTokenizer.train("a 🐕 d")
    assert Tokenizer.train(text, 262, ["\ud83d\udc15"]) == Tokenizer.train("a 🐕🐕 d", 262, ["🐕"])


@given(texts, texts)
def test_special_tokens_never_come_from_plain_text(before, after):
    text = before + END_OF_TEXT + after
    tokens = small().encode(text)
    assert small().end_of_text not in tokens
    assert small().decode(tokens) == text
    allowed = small().encode(text, allow_special=True)
    assert small().end_of_text in allowed
    assert small().decode(allowed) == text


def test_decoding():
    tokens = small().encode("The 海")
    assert small().decode(np.array(tokens)) == small().decode(torch.tensor(tokens)) == "The 海"
    assert small().decode(iter(tokens)) == "The 海"
    assert small().decode([]) == ""
    assert small().decode([small().end_of_text]) == END_OF_TEXT
    assert small().decode([0xE6]) == "\ufffd"
    with pytest.raises(IndexError, match="token 317 is not in the vocabulary: ids go from 0 to 316"):
        small().decode([317])
    with pytest.raises(IndexError, match="token -1"):
        small().token_bytes(-1)
    for wrong in ([1.5], [[1, 2]], torch.ones(2, 2, dtype=torch.long), ["a"]):
        with pytest.raises(TypeError):
            small().decode(wrong)
    for wrong in (5, None, torch.tensor(5), np.ones((2, 2), int), [None]):
        with pytest.raises(TypeError, match="tokens is"):
            small().decode(wrong)
    for wrong in (b"bytes", None, 5, ["a"]):
        for tokenizer in (small(), characters()):
            with pytest.raises(TypeError, match="text is a .*; it needs to be a string"):
                tokenizer.encode(wrong)
            with pytest.raises(TypeError, match="text is a"):
                tokenizer.spans(wrong)
    assert small().decode([np.int64(97), torch.tensor(98), np.uint16(99)]) == "abc"
    with pytest.raises(IndexError, match=f"token {2**70} is not in the vocabulary"):
        small().decode([2**70])
    with pytest.raises(TypeError, match="tokens is no plain sequence of whole numbers"):
        small().token_bytes("a")
    assert small().encode_bytes(b"") == []
    for wrong in ("a", None, 5):
        with pytest.raises(TypeError, match="piece is a .*; it needs to be bytes"):
            small().encode_bytes(wrong)
    with pytest.raises(ValueError, match="has no <|endoftext|> token"):
        _ = Tokenizer.train(TEXT, 256, special_tokens=()).end_of_text


@given(texts)
def test_spans_cover_the_text(text):
    tokens, spans = small().encode(text), small().spans(text)
    assert len(tokens) == len(spans)
    assert [start for start, _ in spans[:1]] == [0] * bool(text)
    assert [end for _, end in spans[-1:]] == [len(text)] * bool(text)
    for token, (start, end) in zip(tokens, spans, strict=True):
        assert start < end
        assert small().token_bytes(token) in text[start:end].encode()
    for (_, end), (start, _) in zip(spans, spans[1:], strict=False):
        assert end - 1 <= start <= end


def test_pieces():
    text = "The dog's 海\n"
    assert "".join(Tokenizer.train(TEXT, 256, special_tokens=()).pieces(b"dog")) == "dog"
    plain = Tokenizer.train(TEXT, 257)
    assert plain.pieces(plain.encode("a 海")) == ["a", " ", "\\xe6", "\\xb5", "\\xb7"]
    assert "".join(small().pieces(small().encode(text[:9]))) == text[:9]
    assert small().pieces([small().end_of_text]) == [END_OF_TEXT]


# ------------------------------------------------------------------------------------------------------ Files


def test_save_and_load(tmp_path):
    path = tmp_path / "tokenizer.json"
    small().save(path)
    loaded = Tokenizer.load(path)
    assert loaded == small() == load_tokenizer(str(path))
    assert loaded.merges == small().merges
    assert loaded.encode(TEXT) == small().encode(TEXT)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 4 + 1 + 256 + 60 + 2  # one token a line
    assert '[32, "Ġ"],' in lines
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokenizer.json"]


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    Tokenizer.train(TEXT, 260).save(path)
    whole = path.read_bytes()
    for length in [*range(0, len(whole) - 2, 37), len(whole) - 2]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="tokenizer.json"):
            Tokenizer.load(path)


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda c: c["tokens"].pop(3), "lacks 1 single bytes"),
        (lambda c: c["tokens"].pop(256), "is no token before it"),
        (lambda c: c["tokens"].append([999, "Ġ", "t"]), "not a new token"),
        (lambda c: c["tokens"].append([5, "Ġ", "q"]), "should have an id above"),
        (lambda c: c["tokens"].append([999, "q"]), "not a new token"),
        (lambda c: c["tokens"].append([999, "qq"]), "neither one byte nor two"),
        (lambda c: c["tokens"].append([999, "q", "ō"]), "stands for no byte"),
        (lambda c: c["tokens"].append(["999", "q", "q"]), "not a new token"),
        (lambda c: c["tokens"].append(7), "not a whole tokenizer"),
        (lambda c: c["tokens"].append([999, 7]), "not a whole tokenizer"),
        (lambda c: c["tokens"].append([316, "q", "q"]), "has the id of"),
        (lambda c: c.update(special_tokens={"<a>": "x"}), "special token '<a>'"),
        (lambda c: c.update(special_tokens={"<a>": 5}), "has the id of"),
        (lambda c: c.update(special_tokens=[]), "'special_tokens' is missing"),
        (lambda c: c.update(pattern="("), "not a regular expression"),
        (lambda c: c.update(pattern=r"\w+"), "cuts no piece from"),
        (lambda c: c.update(special_tokens={"<a>": 2**32}), r"below 2\*\*32"),
        (lambda c: c.pop("pattern"), "'pattern' is missing"),
        (lambda c: c.update(format="other"), "its format is .*; it needs"),
        (lambda c: c.update(kind="characters"), "of kind 'characters', expected 'byte-level BPE'"),
    ],
)
def test_an_altered_file_is_refused(tmp_path, alter, message):
    path = tmp_path / "tokenizer.json"
    small().save(path)
    contents = json.loads(path.read_text(encoding="utf-8"))
    alter(contents)
    path.write_text(json.dumps(contents), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        Tokenizer.load(path)
    assert "tokenizer.json" in str(caught.value)


def test_a_merge_that_encoding_would_not_do_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    Tokenizer.train("ababab", 256, special_tokens=()).save(path)
    contents = json.loads(path.read_text(encoding="utf-8"))
    # "abc" as "a" + "bc", when "ab" would be merged before "bc".
    contents["tokens"] += [[256, "a", "b"], [257, "b", "c"], [258, "a", "bc"]]
    path.write_text(json.dumps(contents), encoding="utf-8")
    with pytest.raises(ValueError, match="token 258 joins b'a' and b'bc', but encoding would join"):
        Tokenizer.load(path)


def test_files_that_are_not_there(tmp_path):
    missing = tmp_path / "none"
    for read in (
        Tokenizer.load,
        CharacterTokenizer.load,
        load_tokenizer,
        Tokenizer.from_tiktoken,
        lambda path: Tokenizer.from_gpt2(path, path),
    ):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            read(missing)
        with pytest.raises(IsADirectoryError):
            read(tmp_path)
    (tmp_path / "latin1").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match="not UTF-8 text: byte 3"):
        Tokenizer.load(tmp_path / "latin1")
    with pytest.raises(FileNotFoundError, match="create it"):
        small().save(tmp_path / "no" / "tokenizer.json")


# ------------------------------------------------------------------------------- GPT-2's and tiktoken's files


def test_bytes_as_gpt2_shows_them():
    table = byte_to_unicode()
    assert len(set(table.values())) == 256
    assert [table[byte] for byte in b" \n!~\x00\xad"] == ["Ġ", "Ċ", "!", "~", "Ā", "Ń"]
    assert all(character.isprintable() and not character.isspace() for character in table.values())


def gpt2_files(folder, tokenizer):
    """The two files as GPT-2 has them: bytes in its table's order, so "!" is 0; the special token last."""
    table = byte_to_unicode()

    def shown(piece):
        return "".join(table[byte] for byte in piece)

    names = list(table.values()) + [shown(left + right) for left, right in tokenizer.merges] + [END_OF_TEXT]
    bpe, encoder = folder / "vocab.bpe", folder / "encoder.json"
    lines = ["#version: 0.2"] + [f"{shown(left)} {shown(right)}" for left, right in tokenizer.merges]
    bpe.write_text("\n".join(lines) + "\n", encoding="utf-8")
    encoder.write_text(json.dumps({name: token for token, name in enumerate(names)}), encoding="utf-8")
    return bpe, encoder


def test_gpt2_files(tmp_path):
    tokenizer = Tokenizer.from_gpt2(*gpt2_files(tmp_path, small()))
    assert tokenizer.encode("!") == [0] and tokenizer.encode(" ") == [220]  # GPT-2's own ids
    assert tokenizer.end_of_text == 316 and tokenizer.vocab_size == 317
    assert tokenizer.merges == small().merges
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    assert [tokenizer.token_bytes(token) for token in tokenizer.encode(TEXT)] == [
        small().token_bytes(token) for token in small().encode(TEXT)
    ]
    tokenizer.save(tmp_path / "own.json")
    assert Tokenizer.load(tmp_path / "own.json") == tokenizer != small()


def test_gpt2_files_as_transformers_reads_them(tmp_path):
    from transformers import GPT2Tokenizer

    bpe, encoder = gpt2_files(tmp_path, small())
    theirs = GPT2Tokenizer(vocab=str(encoder), merges=str(bpe))
    assert theirs.encode(TEXT) == Tokenizer.from_gpt2(bpe, encoder).encode(TEXT)


def test_gpt2_files_that_are_wrong(tmp_path):
    bpe, encoder = gpt2_files(tmp_path, small())
    lines, ids = bpe.read_text(encoding="utf-8"), json.loads(encoder.read_text(encoding="utf-8"))

    def refused(message, new_lines=lines, new_ids=ids):
        bpe.write_text(new_lines, encoding="utf-8")
        encoder.write_text(new_ids if isinstance(new_ids, str) else json.dumps(new_ids), encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            Tokenizer.from_gpt2(bpe, encoder)

    refused("is not JSON", new_ids=json.dumps(ids)[:-5])
    refused("no JSON object", new_ids=[1, 2])
    refused("no JSON object", new_ids=ids | {"x": "y"})
    refused("has no id for 'zq'", new_lines=lines + "z q\n")
    refused("two tokens and a space", new_lines=lines + "zq\n")
    refused("need to come from one tokenizer", new_ids={name: ids[name] for name in list(ids)[:100]})
    refused("do not grow in the order", new_ids=ids | {"he": 5000})
    first = lines.splitlines()[1]
    refused("do not grow in the order", new_lines=f"{first}\n" + lines.split("\n", 1)[1], new_ids=ids)


def test_tiktoken_files(tmp_path):
    path = tmp_path / "small.tiktoken"
    ranks = small().ranks
    path.write_bytes(
        b"".join(base64.b64encode(piece) + f" {rank}\n".encode() for piece, rank in ranks.items())
    )
    tokenizer = Tokenizer.from_tiktoken(path)
    assert tokenizer == small()
    assert tokenizer.merges == small().merges
    named = Tokenizer.from_tiktoken(path, pattern=r"\s+|\S+", special_tokens={END_OF_TEXT: 1000})
    assert (named.end_of_text, named.vocab_size) == (1000, 1001)
    with pytest.raises(IndexError, match="token 999"):
        named.token_bytes(999)
    named.save(tmp_path / "named.json")
    assert Tokenizer.load(tmp_path / "named.json") == named
    theirs = tiktoken.Encoding("x", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={})
    assert tokenizer.encode(TEXT) == theirs.encode(TEXT)

    whole = path.read_text(encoding="utf-8")
    for contents, message in (
        (whole + "YQ==\n", "has the line 'YQ=='; each needs a token in base64"),
        (whole + "YQ== 400\n", "whose token is empty or not new"),  # "a" is there already
        (whole + "=== 400\n", "has the line '=== 400'"),
        (whole + "enE= x\n", "has the line 'enE= x'"),
        (whole + "enE= 5\n", "gives the id 5 more than once"),
        (whole[:500], "line|lacks"),
        ("", "lacks 256 single bytes"),
    ):
        path.write_text(contents, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            Tokenizer.from_tiktoken(path)


def test_files_of_other_editors_are_read(tmp_path):
    """With a byte-order mark, and lines that end as on Windows."""

    def resaved(path):
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lines, ""]).encode())
        return path

    for tokenizer in (small(), characters()):
        tokenizer.save(tmp_path / "tokenizer.json")
        assert load_tokenizer(resaved(tmp_path / "tokenizer.json")) == tokenizer
    bpe, encoder = gpt2_files(tmp_path, small())
    expected = Tokenizer.from_gpt2(bpe, encoder)
    assert Tokenizer.from_gpt2(resaved(bpe), resaved(encoder)) == expected
    path = tmp_path / "small.tiktoken"
    path.write_text(
        "".join(f"{base64.b64encode(piece).decode()} {rank}\n" for piece, rank in small().ranks.items())
    )
    assert Tokenizer.from_tiktoken(resaved(path)) == small()


def test_a_token_that_no_merge_leads_to_has_no_merges(tmp_path):
    ranks = {bytes([value]): value for value in range(256)} | {b"abc": 256}
    tokenizer = Tokenizer(ranks, {})
    assert tokenizer.encode("abc") == [256]
    with pytest.raises(ValueError, match="token 256 .*cannot be reached"):
        _ = tokenizer.merges


# ------------------------------------------------------------------------------------------------- Characters


def test_character_tokenizer():
    tokenizer = CharacterTokenizer.train(["cab", "bad 海"])
    assert tokenizer.characters == [" ", "a", "b", "c", "d", "海"]
    assert tokenizer.vocab_size == 7 and tokenizer.end_of_text == 6
    assert tokenizer.encode("bad") == [2, 1, 4]
    assert tokenizer.decode([2, 1, 4, 6]) == "bad<|endoftext|>"
    assert tokenizer.encode("") == [] and tokenizer.merges == []
    assert tokenizer.pieces([5, 0]) == ["海", " "]
    assert tokenizer.spans("a海b") == [(0, 1), (1, 2), (2, 3)]
    assert tokenizer.token_bytes(5) == "海".encode()
    with pytest.raises(ValueError, match="'x' at position 2, which this tokenizer has never seen"):
        tokenizer.encode("abx")
    with pytest.raises(ValueError, match="never seen"):
        tokenizer.encode("a<|endoftext|>")
    assert tokenizer.encode("a<|endoftext|>b", allow_special=True) == [1, 6, 2]
    with pytest.raises(IndexError):
        tokenizer.decode([7])
    for empty in ("", []):
        with pytest.raises(ValueError, match="one or more single characters"):
            CharacterTokenizer.train(empty)


@given(st.text(st.sampled_from(sorted(set(TEXT)))))
def test_character_tokenizer_round_trip(text):
    tokens = characters().encode(text)
    assert len(tokens) == len(text)
    assert characters().decode(tokens) == text
    assert characters().end_of_text not in characters().encode(TEXT)


def test_character_tokenizer_files(tmp_path):
    path = tmp_path / "characters.json"
    characters().save(path)
    assert CharacterTokenizer.load(path) == characters() == load_tokenizer(path)
    assert characters() != small()
    with pytest.raises(ValueError, match="of kind 'characters'"):
        Tokenizer.load(path)
    whole = path.read_text(encoding="utf-8")
    for altered in (
        whole[:-9],
        whole.replace("[3,", "[4,"),
        whole.replace('"a"]', '"ab"]'),
        whole.replace('"a"]', "7]"),
    ):
        assert altered != whole
        path.write_text(altered, encoding="utf-8")
        with pytest.raises(ValueError, match="not a whole tokenizer|is cut off"):
            CharacterTokenizer.load(path)


# ---------------------------------------------------------------------------------------------------- Growing


CHINESE = ["小猫在公园里。小狗也在公园里。"] * 4


@given(st.text(st.characters(codec="utf-8")), st.integers(0, 12))
def test_a_grown_tokenizer_loses_nothing(text, n_tokens):
    grown = Tokenizer.train("the red kite in the park " * 3, 270).grown(CHINESE, n_tokens, ["<|user|>"])
    tokens = grown.encode(text)
    assert grown.decode(tokens) == text
    assert len(tokens) <= len(Tokenizer.train("the red kite in the park " * 3, 270).encode(text))


def test_old_tokens_keep_their_ids_and_old_texts_their_tokens():
    old = Tokenizer.train("the red kite in the park " * 3, 270)
    new = old.grown(CHINESE, 8, ["<|user|>"])
    assert new.vocab_size == old.vocab_size + 9 and new.special_tokens["<|user|>"] == new.vocab_size - 1
    assert all(new.token_bytes(token) == old.token_bytes(token) for token in range(old.vocab_size))
    assert new.encode("the red kite") == old.encode("the red kite")
    assert len(new.encode(CHINESE[0])) < len(old.encode(CHINESE[0]))


def test_growing_goes_on_where_training_stopped():
    texts = ["low lower lowest newer newest wider " * 3]
    short, long = Tokenizer.train(texts, 262, []), Tokenizer.train(texts, 274, [])
    assert short.grown(texts, 12).ranks == long.ranks


def test_a_grown_tokenizer_is_saved_and_read(tmp_path):
    new = Tokenizer.train("the red kite in the park " * 3, 270).grown(CHINESE, 8, ["<|user|>"])
    new.save(tmp_path / "new.json")
    assert Tokenizer.load(tmp_path / "new.json") == new


def test_growing_refuses_what_cannot_be():
    old = Tokenizer.train("the red kite in the park " * 3, 270)
    with pytest.raises(ValueError, match="n_tokens is -1; it needs to be at least 0"):
        old.grown(CHINESE, -1)
    with pytest.raises(TypeError, match="n_tokens is None; it needs a whole number"):
        old.grown(CHINESE, None)
    with pytest.raises(ValueError, match="is there already"):
        old.grown(CHINESE, 1, ["<|endoftext|>"])
    assert old.grown(["a"], 50).vocab_size == old.vocab_size  # there is no pair to join
