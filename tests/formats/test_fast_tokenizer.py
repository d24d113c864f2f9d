import json
import random

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from gptlib.formats.fast_tokenizer import from_fast_tokenizer, to_fast_tokenizer
from gptlib.text.tokenizer import Tokenizer
from gptlib.text.vocabulary import END_OF_TEXT

TEXT = "the cat sat on the mat. I'll say it's 42 o'clock! 猫は寝る。 🙂 où est le chat?\n\n  def f(x): x "
TOKENIZER = Tokenizer.train([TEXT * 3], 319, special_tokens=[END_OF_TEXT, "<|user|>"])


def as_transformers_has_it(tokenizer):
    """As in transformers, which sets `encode_special_tokens` where the config says split_special_tokens."""
    fast = tokenizers.Tokenizer.from_str(json.dumps(to_fast_tokenizer(tokenizer)))
    fast.encode_special_tokens = True
    return fast


FAST = as_transformers_has_it(TOKENIZER)


def random_text(draw):
    """Words that merges know, white space of every kind, and characters from all of Unicode."""
    spaces = " \t\n\r\x0b\x0c\x1c\x85\xa0\u2009\u2028\u3000\u180e\u200b"
    parts = [
        lambda: draw.choice(
            ["the", " cat", "'ll", "'S", "42", "猫", "🙂", "<|endoftext|>", "<|user|>", "é", "e\u0301"]
        ),
        lambda: "".join(draw.choices(spaces, k=draw.randint(1, 4))),
        lambda: chr(draw.randrange(0xD800)),
        lambda: chr(draw.randrange(0xE000, 0x110000)),
        lambda: chr(draw.randrange(0x300)),
    ]
    return "".join(draw.choice(parts)() for _ in range(draw.randint(0, 12)))


def test_the_same_tokens_for_ten_thousand_random_texts():
    draw = random.Random(0)
    texts = [random_text(draw) for _ in range(10_000)]
    for text, fast in zip(texts, FAST.encode_batch(texts, add_special_tokens=False), strict=True):
        assert fast.ids == TOKENIZER.encode(text), repr(text)


@given(st.text())
def test_any_text_has_the_same_tokens_and_comes_back(text):
    fast = FAST.encode(text).ids
    assert fast == [TOKENIZER.end_of_text, *TOKENIZER.encode(text)]
    assert FAST.decode(fast) == text


def test_reading_gives_back_what_was_written():
    assert from_fast_tokenizer(json.loads(json.dumps(to_fast_tokenizer(TOKENIZER)))) == TOKENIZER
    # As the tokenizers library writes it, and as older ones did, each merge one string.
    contents = json.loads(FAST.to_str())
    assert from_fast_tokenizer(contents) == TOKENIZER
    contents["model"]["merges"] = [" ".join(pair) for pair in contents["model"]["merges"]]
    # The published GPT-2's has neither of these, and "" where today's files have null.
    del contents["pre_tokenizer"]["use_regex"], contents["model"]["type"]
    contents["model"] |= {"continuing_subword_prefix": "", "end_of_word_suffix": ""}
    assert from_fast_tokenizer(contents) == TOKENIZER
    theirs = tokenizers.Tokenizer.from_str(json.dumps(contents))
    assert theirs.encode(TEXT, add_special_tokens=False).ids == TOKENIZER.encode(TEXT)


def changed(place, value):
    contents = json.loads(json.dumps(to_fast_tokenizer(TOKENIZER)))
    *way, last = place.split(".")
    holder = contents
    for step in way:
        holder = holder[step]
    holder[last] = value
    return contents


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("model.type", "Unigram", "not of GPT-2's kind"),
        ("normalizer", {"type": "NFC"}, "not of GPT-2's kind"),
        ("pre_tokenizer.add_prefix_space", True, "not of GPT-2's kind"),
        ("pre_tokenizer.use_regex", False, "not of GPT-2's kind"),
        ("model.ignore_merges", True, "not of GPT-2's kind"),
        ("model.dropout", 0.1, "not of GPT-2's kind"),
        ("added_tokens", [{"id": 318, "content": "x", "special": False}], "that plain text may become"),
        ("pre_tokenizer", {"type": "Whitespace"}, "not of GPT-2's kind"),
        ("pre_tokenizer", None, "not whole"),
        ("model.merges", None, "not whole"),
        ("added_tokens", [{"id": 318}], "not whole"),
        ("model.vocab", {"a": 0}, "has no id"),
        ("model.merges", [["Ġ"]], "a merge joins two tokens"),
        ("model.merges", {}, "no merge makes"),
        ("added_tokens", [], "no merge makes, such as '<|endoftext|>'"),
    ],
)
def test_another_kind_of_tokenizer_is_refused(place, value, words):
    with pytest.raises(ValueError, match=words):
        from_fast_tokenizer(changed(place, value))


def test_tokenizers_that_cannot_be_written_are_refused():
    with pytest.raises(ValueError, match="no <|endoftext|> token"):
        to_fast_tokenizer(Tokenizer.train([TEXT], 260, special_tokens=[]))
    with pytest.raises(ValueError, match="needs GPT-2's pattern"):
        to_fast_tokenizer(Tokenizer(TOKENIZER.ranks, TOKENIZER.special_tokens, pattern=r"\w+|\W+"))
