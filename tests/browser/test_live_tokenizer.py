"""Texts cut into tokens in a page as in Python, by any split pattern that a page can read."""

import random
import sys
import time
import unicodedata

import pytest
from live_page import live_page

from gptlib import Storyworld, Tokenizer
from gptlib.text.bpe import GPT2_PATTERN
from gptlib.text.characters import CharacterTokenizer
from gptlib.viz.explorers.living import tokenizer_for_page

# GPT-4's, with quantifiers that give nothing back; GPT-4o's; Qwen's.
GPT4 = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"
    r"|\s*[\r\n]|\s+(?!\S)|\s"
)
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
OTHERS = [
    r"\s+|\S+",
    r"\w+|\W+",
    r"\d+|\D",
    r"(?s:.)",
    r".+|\n",
    r"\p{Han}+|\p{Lu}?\p{Ll}*+|(?s:.)".replace("?", "", 1).replace("*+", "+"),
    r"(?>\p{L}+)|[^\S\n]{2}|[\-a\]'\n-\r]|(?s:.)",
    r"(?i:the|k)+?|(?<=t)h|(?s:.)",
]
HARD = [
    *"  \n\r\t\x0b\x0c\x1c\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\ufeff\u200b\u200d'’.,-/]^_",
    *"aAsSkKtTdDlLeEſ\u212aéÉßıİ猫你ひ한कि́٣½Ⅳ²०𝔸🐕👍🏽\U0001f1e9\ufe0f\u0301\x00\x7f\uffff\U0010ffff",
    *("'s", "'LL", "'ſ", "the", "THE", "12345", "\r\n", "  ", "Nora", "'Re"),
]
IN_PAGE = """
const eachBy = (own, act, given) => given.map((one) => own[act](one));
const cut = ([kind, texts]) => eachBy(openTokenizer(kind), "encode", texts);
const spelled = ([kind, rows]) => eachBy(openTokenizer(kind), "decode", rows);
const told = ([kind, act, one]) => {
  try { openTokenizer(kind)[act](one); } catch (error) { return error.message; }
};
"""
# Of bytes that begin a character, go on with one, or are in none.
BYTES = bytes.fromhex("20 41 80 bf c0 c3 e0 e7 ed a0 ef bb f0 f4 90 f8 ff")


@pytest.fixture(scope="module")
def page(chromium):
    with live_page(chromium) as page:
        page.add_script_tag(content=IN_PAGE)
        yield page


@pytest.fixture(scope="module")
def texts():
    rng = random.Random(0)
    # Of a Unicode so old that Python, Rust and every Chromium know its characters.
    category = unicodedata.ucd_3_2_0.category
    known = [chr(code) for code in range(sys.maxunicode) if category(chr(code)) not in ("Cn", "Cs")]
    stories = [story.text for story in Storyworld(seed=0, split="test").stories(5)]
    mixed = ["".join(rng.choices(HARD, k=rng.randint(1, 12))) for _ in range(400)]
    return [*stories, *HARD, *mixed, *("".join(rng.choices(known, k=12)) for _ in range(200))]


@pytest.mark.parametrize("pattern", [GPT2_PATTERN, GPT4, GPT4O, QWEN, *OTHERS])
def test_every_pattern_cuts_alike(page, texts, pattern):
    tokenizer = Tokenizer.train(texts, 2000, pattern=pattern)  # so many that most pieces are one token
    assert page.evaluate("cut", [tokenizer_for_page(tokenizer), texts]) == [*map(tokenizer.encode, texts)]


def test_ids_in_any_order_with_gaps_and_tokens_that_no_merge_makes(page):
    ranks = {bytes([byte]): 255 - byte for byte in range(256)}
    ranks |= {b"ab": 300, b"abc": 270, b" xyz": 310, b"bc": 305}
    tokenizer = Tokenizer(ranks, {"<|endoftext|>": 290, "<|user|>": 320})
    texts = ["abc", "abcabc ab", "xabc xyz", " xyz", "<|endoftext|>", ""]
    kind = tokenizer_for_page(tokenizer)
    assert page.evaluate("cut", [kind, texts]) == [*map(tokenizer.encode, texts)]
    assert page.evaluate("spelled", [kind, [[290, 300, 320]]]) == ["<|endoftext|>ab<|user|>"]
    assert page.evaluate("kind => openTokenizer(kind).vocabSize", kind) == 321
    assert page.evaluate("kind => openTokenizer(kind).endOfText", kind) == 290
    with pytest.raises(IndexError) as raised:
        tokenizer.token_bytes(299)
    assert page.evaluate("told", [kind, "bytesOf", 299]) == str(raised.value)


def test_a_long_run_of_one_letter_keeps_nobody_waiting(page):
    tokenizer, run = Tokenizer.train("a" * 64, 262), "a" * 20_001
    started = time.monotonic()
    assert page.evaluate("cut", [tokenizer_for_page(tokenizer), [run]]) == [tokenizer.encode(run)]
    assert time.monotonic() - started < 10  # half a second, on a machine that does nothing else


def test_characters(page):
    tokenizer = CharacterTokenizer("héllo wörld🐕\n'\"")
    kind, texts = tokenizer_for_page(tokenizer), ["héllo", "🐕\n", ""]
    assert page.evaluate("cut", [kind, texts]) == [*map(tokenizer.encode, texts)]
    for text in ("hé🐕x", "\t", "q\\", "wö\ud83d"):
        with pytest.raises(ValueError) as raised:
            tokenizer.encode(text)
        assert page.evaluate("told", [kind, "encode", text]) == str(raised.value)


def test_half_of_a_surrogate_pair(page):
    tokenizer = Tokenizer.train("", 257)
    with pytest.raises(ValueError) as raised:
        tokenizer.encode("🐕a\ude00")
    assert page.evaluate("told", [tokenizer_for_page(tokenizer), "encode", "🐕a\ude00"]) == str(raised.value)


def test_bytes_that_are_no_text_show_alike(page):
    tokenizer, rng = Tokenizer.train("", 257), random.Random(2)
    rows = [rng.choices(BYTES, k=rng.randint(1, 9)) for _ in range(2000)] + [[*"\ufeffA".encode()]]
    assert page.evaluate("spelled", [tokenizer_for_page(tokenizer), rows]) == [*map(tokenizer.decode, rows)]
