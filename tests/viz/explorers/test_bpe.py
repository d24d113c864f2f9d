"""Every step of the byte-pair explorer, against merges that are replayed one after the other."""

import threading

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib import load
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.tokenizer import Tokenizer
from gptlib.viz.explorers.bpe import BPEExplorer

STORYTELLER = load("storyteller")[1]
GREEDY = Tokenizer.train("aaaaaaa abab 你好你 🪁🪁 naïve naïve", vocab_size=256 + 24)
EXPLORERS = {"storyteller": BPEExplorer(STORYTELLER), "greedy": BPEExplorer(GREEDY)}
TEXTS = st.text() | st.text("ab n你好🪁ï\n", max_size=40)


def replayed(tokenizer: Tokenizer, text: str) -> list[list[bytes]]:
    """The pieces of the text at first, and after each merge that changes them, as the reader finds them."""
    words = [word.encode() for word in regex.findall(tokenizer.pattern, text)]
    rows = [[bytes([byte]) for byte in word] for word in words]
    states = [[piece for row in rows for piece in row]]
    for left, right in tokenizer.merges:
        for row in rows:
            at = 0
            while at < len(row) - 1:
                if row[at : at + 2] == [left, right]:
                    row[at : at + 2] = [left + right]
                at += 1
        pieces = [piece for row in rows for piece in row]
        if pieces != states[-1]:
            states.append(pieces)
    return states


def steps_of(explorer: BPEExplorer) -> list[list[bytes]]:
    states = []
    for step in range(len(explorer.answer["ranks"]) + 1):
        explorer.step = step
        states.append(explorer.pieces())
    return states


@pytest.mark.parametrize("name", EXPLORERS)
@settings(max_examples=60)
@given(text=TEXTS.filter(bool))
def test_every_step_is_a_merge_replayed(name, text):
    explorer = EXPLORERS[name]
    tokenizer = explorer._tokenizer
    explorer.text = text
    tokens = tokenizer.encode(text)
    assert explorer.pieces() == [tokenizer.token_bytes(token) for token in tokens]  # shown at its last step
    assert steps_of(explorer) == replayed(tokenizer, text)


def test_what_the_page_gets():
    text = "the theme <|endoftext|>"
    explorer = BPEExplorer(STORYTELLER, text)
    answer = explorer.answer
    steps = np.frombuffer(answer["steps"], "<i4")
    assert answer["bytes"] == text.encode() and len(steps) == len(text.encode())
    assert answer["words"] == [0, 3, 9, 12, 21] and steps[[0, 3, 9, 12, 21]].tolist() == [0] * 5
    assert np.frombuffer(answer["ids"], "<i4").tolist() == list(text.encode())  # trained here: byte is id
    assert answer["learned"] == len(STORYTELLER.merges)
    for step, (rank, token) in enumerate(zip(answer["ranks"], answer["made"], strict=True), start=1):
        left, right = STORYTELLER.merges[rank - 1]
        assert STORYTELLER.token_bytes(token) == left + right
        explorer.step = step
        assert left + right in explorer.pieces()
    assert STORYTELLER.end_of_text not in [STORYTELLER.ranks[piece] for piece in explorer.pieces()]


def test_a_text_without_merges_and_a_tokenizer_without_any():
    explorer = BPEExplorer(STORYTELLER, "你")
    assert repr(explorer) == "BPEExplorer('你', merge 0 of 0)"
    assert explorer.pieces() == [b"\xe4", b"\xbd", b"\xa0"]
    assert BPEExplorer(Tokenizer.train("", vocab_size=257), "low").pieces() == [b"l", b"o", b"w"]
    assert b"".join(BPEExplorer(STORYTELLER, "a \ud83d\ude00").pieces()) == "a 😀".encode()


def test_what_is_refused():
    with pytest.raises(TypeError, match="CharacterTokenizer; it needs to be a gptlib.Tokenizer"):
        BPEExplorer(CharacterTokenizer.train("abc"), "abc")
    with pytest.raises(TypeError, match="text is a int; it needs to be a string"):
        BPEExplorer(STORYTELLER, 7)
    with pytest.raises(ValueError, match="text is empty; type at least one character"):
        BPEExplorer(STORYTELLER, "")
    with pytest.raises(ValueError, match="text has 2,001 characters; at most 2,000"):
        BPEExplorer(STORYTELLER, "a" * 2001)
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        BPEExplorer(STORYTELLER, "a\ud800")
    explorer = BPEExplorer(STORYTELLER, "low lower")
    for step in (-1, 99):
        with pytest.raises(ValueError, match=f"step is {step}; 3 merges change this text, so .* 0 to 3"):
            explorer.step = step
    with pytest.raises(ValueError, match="text is empty"):
        explorer.text = ""
    assert explorer.text == "low lower" and explorer.step == 3


def test_the_page_changes_the_state():
    explorer = BPEExplorer(STORYTELLER, "low lower")
    explorer.set_state({"step": 2, "asked": 1})
    assert (explorer.step, explorer.answered, explorer.problem) == (2, 1, "")
    assert repr(explorer) == "BPEExplorer('low lower', merge 2 of 3)"
    good = explorer.answer
    explorer.set_state({"text": "", "asked": 2})
    assert explorer.problem == "Text is empty; type at least one character" and explorer.answered == 2
    assert explorer.answer == good and repr(explorer) == "BPEExplorer('low lower', merge 2 of 3)"
    explorer.set_state({"text": "the kite", "step": 4, "asked": 3})  # a step of the text before it
    assert explorer.problem == "" and explorer.answer["bytes"] == b"the kite"
    assert explorer.step == len(explorer.answer["ranks"])
    explorer.set_state({"step": 99, "asked": 4})
    assert explorer.step == len(explorer.answer["ranks"]) and explorer.problem == ""


def test_another_text_is_shown_where_the_reader_is():
    explorer = BPEExplorer(STORYTELLER, "low lower")
    for step in (0, 1, 2):
        explorer.step = step
        done = explorer.answer["ranks"][:step]
        explorer.text = "a slower kite"
        ranks = explorer.answer["ranks"]
        assert explorer.step == sum(rank <= max(done, default=0) for rank in ranks) < len(ranks)
        explorer.text = "low lower"
        assert explorer.step <= step


def test_pictures_and_files(tmp_path):
    threads = threading.active_count()
    explorer, again = (BPEExplorer(STORYTELLER, "a low, lower café\n") for _ in range(2))
    for step in range(len(explorer.answer["ranks"]) + 1):
        explorer.step = again.step = step
        drawing = explorer.figure()
        assert drawing.arrays["values"].tolist() == [len(piece) for piece in explorer.pieces()]
    assert explorer.to_png(tmp_path / "bpe.png") == again.to_png() == (tmp_path / "bpe.png").read_bytes()
    longest = BPEExplorer(STORYTELLER, "你" * 2000)
    longest.to_html(tmp_path / "bpe.html")
    assert (tmp_path / "bpe.html").stat().st_size < 60_000
    assert len(repr(longest)) < 80 and threading.active_count() == threads
