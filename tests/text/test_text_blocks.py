"""Long texts and streams are encoded in blocks, and the tokens are those of the whole text."""

import itertools
import os
import subprocess
import sys
import textwrap
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gptlib.text import blocks
from gptlib.text.bpe import GPT2_PATTERN
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.tokenizer import Tokenizer
from gptlib.text.vocabulary import END_OF_TEXT

OTHER_PATTERN = r"\p{L}+|\s+(?!\S)|\s+|[^\s\p{L}]+"
NAMES = (END_OF_TEXT, "<a b>", "<a b> s", "<", " ")
# What GPT-2's pattern treats in ways of their own, and the names of special tokens.
TEXTS = st.lists(
    st.sampled_from([*"ab1!'\n\r\t\x1c\u3000é海🐕 ", "  ", "'ll", "'s", *NAMES[:3], "\ud83d\udc15"])
    | st.characters(exclude_categories=("Cs",)),
    max_size=40,
).map("".join)


@cache
def tokenizers():
    text = "a b's '11 ab!! ll\n\n  <a b> 海海 " * 4
    # The last pattern's pieces go on where GPT-2's are cut.
    patterns = (GPT2_PATTERN, OTHER_PATTERN, r"\S+\s*|\s+")
    return [Tokenizer.train(text, 268, NAMES, pattern) for pattern in patterns]


def at_once(tokenizer, text, allow_special):
    """The tokens, by tiktoken at one go; of several names that fit, the longest is meant."""
    if allow_special:
        for at in range(len(text)):
            for name in sorted(NAMES, key=len, reverse=True):
                if text.startswith(name, at):
                    before = tokenizer._encoding.encode_ordinary(text[:at])
                    rest = at_once(tokenizer, text[at + len(name) :], True)
                    return [*before, tokenizer.special_tokens[name], *rest]
    return tokenizer._encoding.encode_ordinary(text)


@given(TEXTS, st.lists(st.integers(0, 60)), st.sampled_from([1, 2, 5, 100_000]), st.booleans())
@example("<a b>aaa<a b><a b>", [], 1, True)  # the longest name is longer than what is held
@settings(max_examples=300)
def test_a_stream_has_the_tokens_of_the_whole_text(text, cuts, block, allow_special):
    borders = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(borders)]
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16")
    for tokenizer in tokenizers():
        expected = at_once(tokenizer, whole, allow_special)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks, "BLOCK", block)
            assert list(tokenizer.encode_iterable(iter(pieces), allow_special)) == expected
        assert tokenizer.encode(text, allow_special) == expected


@given(st.text(st.sampled_from("ab 海\n<")), st.sampled_from([1, 3, 100_000]))
def test_a_stream_of_characters(text, block):
    tokenizer = CharacterTokenizer("ab 海\n<", ["<a b>"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", block)
        for allow_special in (False, True):
            tokens = list(tokenizer.encode_iterable(iter(text), allow_special))
            assert tokens == tokenizer.encode(text, allow_special)
    assert tokenizer.decode(tokens) == text


def test_errors_name_the_place_in_the_whole_text():
    pieces = ["word " * 50_000, "é \ud83d", "b"]
    with pytest.raises(ValueError, match="at position 250002:"):
        list(Tokenizer.train("", 257).encode_iterable(pieces))
    with pytest.raises(ValueError, match="'é' at position 250015,"):
        list(CharacterTokenizer("word <|").encode_iterable([*pieces[:1], "<|", END_OF_TEXT, "é"], True))
    for wrong, message in ((None, "pieces is None"), ([b"a"], "pieces holds a bytes"), ([["a"]], "a list")):
        with pytest.raises(TypeError, match=f"{message}.* it needs"):
            list(Tokenizer.train("", 257).encode_iterable(wrong))


@pytest.mark.parametrize("pattern", [GPT2_PATTERN, OTHER_PATTERN])
@pytest.mark.parametrize("run", [" ", "="])
def test_runs_that_tiktoken_cannot_match(pattern, run, capfd):
    """Its matcher panics on a million white spaces, with an exception that is no Exception."""
    tokenizer = Tokenizer.train(run * 64, 260, pattern=pattern)
    text = "b" + run * 1_000_000 + "b"
    pieces = ["b", *[run * 999] * 1001, run, "b"]
    assert "".join(pieces) == text
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert tokenizer.encode(text, allow_special=True) == list(tokenizer.encode_iterable(pieces)) == tokens
    assert capfd.readouterr().err == ""


def test_training_on_a_run_that_tiktoken_cannot_match():
    assert Tokenizer.train(["a" + " " * 1_000_000 + "b"], 258).merges == [(b" ", b" ")]


@pytest.mark.parametrize("length", [100_000, 150_001, 299_000, 300_001])
@pytest.mark.parametrize("end", ["", "dog", "\n"])
def test_long_runs_of_spaces_are_encoded_as_tiktoken_would(end, length):
    text = "Tom" + " " * length + end
    tokenizer = Tokenizer.train(" " * 64 + "the dog", 264)
    assert tokenizer.encode(text) == tokenizer._encoding.encode_ordinary(text)


@pytest.mark.skipif(os.name != "posix", reason="resource limits of POSIX")
def test_a_stream_is_not_held_in_memory():
    """Four megabytes of text give as many tokens one after the other, within three."""
    program = """
        import resource, sys
        from gptlib.text.tokenizer import Tokenizer
        tokenizer = Tokenizer.train("", 257)
        next(tokenizer.encode_iterable("word " * 100_000 for _ in range(1)))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        lines = ("a line of a long text\\n" for _ in range(200_000))
        assert sum(1 for _ in tokenizer.encode_iterable(lines)) == 200_000 * 22
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(grown // (1024 if sys.platform == "linux" else 1024**2))
    """
    process = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) < 3
