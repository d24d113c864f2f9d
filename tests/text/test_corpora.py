"""Corpora, splits, the token file and its batches."""

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from gptlib.text import corpora
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.corpora import Corpus, TokenFile, text_file, tiny_shakespeare, write_tokens
from gptlib.text.tokenizer import Tokenizer

LETTERS = CharacterTokenizer.train("abcdefghij ")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------------------------------------------- Corpora


def test_corpus():
    corpus = Corpus("letters", ("abc", "de"))
    assert corpus.text == "abc\n\nde"
    assert repr(corpus) == "Corpus('letters', 2 documents, 5 characters)"
    with pytest.raises(FrozenInstanceError):
        corpus.name = "other"
    with pytest.raises(TypeError):
        Corpus("letters", "abc")
    with pytest.raises(TypeError):
        Corpus("letters", [b"abc"])
    for wrong in (None, 5, (text for text in "ab")):
        with pytest.raises(TypeError, match="documents is a .*; it needs a sequence of texts"):
            Corpus("letters", wrong)


SHARE = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 60), SHARE, SHARE, st.integers())
@example(4, 0.375, 0.375, 0)  # both round up, to all four
@example(3, 0.9, 0.05, 0)
@example(3, 0.05, 0.9, 0)
def test_split_deals_out_every_document_once(n, validation, test, seed):
    documents = [f"document {number}" for number in range(n)]
    corpus = Corpus("all", documents)
    if validation + test >= 1:
        with pytest.raises(ValueError, match="together they need to be below 1"):
            corpus.split(validation, test, seed)
        return
    needed = 1 + (validation > 0) + (test > 0)
    if n < needed:
        with pytest.raises(ValueError, match=f"{n} documents, too few to split: .* {needed} in all"):
            corpus.split(validation, test, seed)
        return
    train, held_out, tested = corpus.split(validation, test, seed)
    assert sorted([*train.documents, *held_out.documents, *tested.documents]) == sorted(documents)
    for part in (train, held_out, tested):
        assert list(part.documents) == [document for document in documents if document in part.documents]
    wanted = [max(1, round(share * n)) if share else 0 for share in (validation, test)]
    found = [len(held_out.documents), len(tested.documents)]
    if sum(wanted) < n:
        assert found == wanted
    else:  # rounded up to everything: the larger share has left one to train on
        assert len(train.documents) == 1
        assert [count > 0 for count in found] == [share > 0 for share in (validation, test)]
        assert min(found) == min(wanted) or wanted[0] == wanted[1]


def test_split_is_seeded():
    corpus = Corpus("all", [str(number) for number in range(100)])
    assert corpus.split(seed=3) == corpus.split(seed=3) != corpus.split(seed=4)
    # Pinned: a model's validation text must stay out of its training on every machine.
    assert corpus.split(0.05, 0.05, seed=0)[1].documents == ("35", "40", "52", "75", "97")
    assert corpus.split(seed=np.int64(3)) == corpus.split(seed=3)
    assert [part.name for part in corpus.split()] == ["all, train", "all, validation", "all, test"]


def test_split_refuses():
    with pytest.raises(ValueError, match="validation is 0.5 and test 0.5; together they need to be below 1"):
        Corpus("all", ["a"] * 9).split(0.5, 0.5)
    for wrong in (-0.1, 1, float("nan")):
        with pytest.raises(ValueError, match=f"validation is {wrong}; it needs a number from 0"):
            Corpus("all", ["a"] * 9).split(wrong)
    with pytest.raises(ValueError, match="'all' has 2 documents, too few to split"):
        Corpus("all", ["a", "b"]).split()
    for wrong in (None, "0.1", [0.1]):
        with pytest.raises(TypeError, match="test is .*; it needs a number from 0"):
            Corpus("all", ["a"] * 9).split(test=wrong)
        with pytest.raises(TypeError, match="seed is .*; it needs a whole number"):
            Corpus("all", ["a"] * 9).split(seed=wrong)


def test_storyworld_corpus():
    corpus = corpora.storyworld_corpus(3, seed=1)
    assert len(corpus.documents) == 3
    assert corpus == corpora.storyworld_corpus(3, seed=1)
    assert corpus.documents[0] not in corpora.storyworld_corpus(3, seed=1, split="validation").documents
    assert corpus == corpora.storyworld_corpus(np.int64(3), seed=np.int64(1))
    with pytest.raises(ValueError, match="n_stories is 0; it needs to be at least 1"):
        corpora.storyworld_corpus(0)
    for wrong in (None, "3", [3], 3.0):
        with pytest.raises(TypeError, match="n_stories is .*; it needs a whole number"):
            corpora.storyworld_corpus(wrong)
        with pytest.raises(TypeError, match="seed is .*; it needs a whole number"):
            corpora.storyworld_corpus(1, seed=wrong)


def test_python_documentation():
    corpus = corpora.python_documentation()
    assert len(corpus.documents) > 50
    assert len(corpus.text) > 100_000
    assert corpus == corpora.python_documentation()


def test_python_source():
    corpus = corpora.python_source(max_files=20)
    assert len(corpus.documents) == 20
    whole = corpora.python_source()
    assert whole.documents[:20] == corpus.documents
    assert len(whole.text) > 3_000_000
    assert all(document.strip() and "\r" not in document for document in whole.documents)
    assert sum("unittest.main()" in document for document in whole.documents) < 20  # tests are left out
    with pytest.raises(ValueError, match="max_files is .*at least 1"):
        corpora.python_source(max_files=0)


# ------------------------------------------------------------------------------------------ The reader's file


def test_text_file(tmp_path):
    path = tmp_path / "mine.txt"
    text = "\n\n".join(f"Paragraph {number}. " + "word " * 30 for number in range(200))
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    corpus = text_file(path)
    assert corpus.name == "mine.txt"
    assert corpus.text == text  # cut at the empty lines, so that joining gives the text
    assert all(500 < len(document) < 3100 for document in corpus.documents)
    assert all(part.documents for part in corpus.split())


@pytest.mark.parametrize("text", ["word " * 300, "line\n" * 300, "x" * 1500, "海" * 1000, "a\n\n" * 600])
def test_any_long_enough_text_can_be_split(tmp_path, text):
    path = tmp_path / "mine.txt"
    path.write_text(text, encoding="utf-8")
    corpus = text_file(path)
    assert len(corpus.documents) >= 5
    assert "".join("".join(corpus.documents).split()) == "".join(text.split())
    corpus.split()


def test_text_file_refuses(tmp_path):
    path = tmp_path / "mine.txt"

    def refused(contents, message, **settings):
        path.write_bytes(contents)
        with pytest.raises(ValueError, match=message) as caught:
            text_file(path, **settings)
        assert "mine.txt" in str(caught.value)

    refused(b"", "is empty; at least 1,000 characters are needed")
    refused(b" \n" * 900, "is empty; at least 1,000")
    refused(b"short", "has 5 characters; at least 1,000 characters are needed")
    refused("海".encode() * 999, "has 999 characters; at least 1,000")
    refused(b"abc" * 10, "at least 50 characters", minimum_characters=50)
    refused(b"a" * 1234 + b"\xe9" + b"b" * 1000, "not UTF-8: byte 0xe9 at offset 1234")
    refused(b"\xef\xbb\xbf" + b"a" * 7 + b"\xff" + b"b" * 2000, "byte 0xff at offset 10")
    refused("海".encode() * 1000 + b"\xe6\xb5", "byte 0xe6 at offset 3000")
    refused("text".encode("utf-16") * 1000, "UTF-16; save the file as UTF-8")
    refused(b"a" * 99 + b"\0" * 2000, "byte at offset 99 is zero")
    with pytest.raises(ValueError, match="minimum_characters is .*at least 1"):
        text_file(path, minimum_characters=0)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        text_file(tmp_path / "none.txt")
    with pytest.raises(IsADirectoryError, match="a folder; it needs to be a text file"):
        text_file(tmp_path)
    path.write_bytes(b"abc" * 10)
    assert text_file(path, minimum_characters=30).text.replace("\n\n", "") == "abc" * 10


# ------------------------------------------------------------------------------------------- Tiny Shakespeare


def pretend(monkeypatch, tmp_path, contents, expected=None):
    """Another file in Tiny Shakespeare's place, "downloaded" from disk."""
    source = tmp_path / "source"
    source.write_bytes(contents)
    expected = contents if expected is None else expected
    monkeypatch.setattr(corpora, "TINY_SHAKESPEARE_URL", source.as_uri())
    monkeypatch.setattr(corpora, "TINY_SHAKESPEARE_SHA256", hashlib.sha256(expected).hexdigest())
    monkeypatch.setattr(corpora, "TINY_SHAKESPEARE_BYTES", len(expected))


PLAY = b"First Citizen:\nBefore we proceed any further, hear me speak.\n\n" * 100


def test_tiny_shakespeare_never_touches_the_network_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora.urllib.request, "urlopen", None)
    with pytest.raises(
        FileNotFoundError, match=r"download=True, or fetch https://\S+ on any machine and save it as"
    ):
        tiny_shakespeare(tmp_path)


def test_tiny_shakespeare_by_download(tmp_path, monkeypatch):
    pretend(monkeypatch, tmp_path, PLAY)
    folder = tmp_path / "new" / "folder"
    corpus = tiny_shakespeare(folder, download=True)
    assert corpus.name == "tiny shakespeare" and corpus.documents[0].startswith("First Citizen:")
    assert [path.name for path in folder.iterdir()] == ["tiny_shakespeare.txt"]
    monkeypatch.setattr(corpora.urllib.request, "urlopen", None)
    assert tiny_shakespeare(folder) == tiny_shakespeare(folder, download=True) == corpus
    with open(folder / "tiny_shakespeare.txt", "ab") as file:
        file.write(b"!")
    words = "tiny_shakespeare.txt.*SHA-256 is [0-9a-f]{64} .* needs to be [0-9a-f]{64}"
    with pytest.raises(ValueError, match=words):
        tiny_shakespeare(folder)


@pytest.mark.parametrize("contents", [PLAY[:-1], PLAY + b"more" * 1000, b""])
def test_a_wrong_download_is_not_kept(tmp_path, monkeypatch, contents):
    pretend(monkeypatch, tmp_path, contents, expected=PLAY)
    with pytest.raises(ValueError, match="is not Tiny Shakespeare, or not all of it"):
        tiny_shakespeare(tmp_path / "folder", download=True)
    assert not (tmp_path / "folder").exists()


def test_no_network(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(corpora.urllib.request, "urlopen", refuse)
    with pytest.raises(ConnectionError, match="no route to host.*; fetch https://"):
        tiny_shakespeare(tmp_path, download=True)


# --------------------------------------------------------------------------------------------- The token file


def test_end_of_text_stands_before_each_document_and_after_the_last(tmp_path):
    path = tmp_path / "tokens.npy"
    file = write_tokens(iter(["abc", "", "ba"]), LETTERS, path)
    end = LETTERS.end_of_text
    assert file.tokens.tolist() == [end, 1, 2, 3, end, end, 2, 1, end]
    assert isinstance(file.tokens, np.memmap) and file.tokens.dtype == np.uint16
    assert len(file) == 9 and file.document_starts().tolist() == [0, 4, 5, 8]
    assert np.load(path).tolist() == file.tokens.tolist()  # NumPy's own format
    assert TokenFile(str(path)).tokens.tolist() == file.tokens.tolist()


def test_document_starts_of_a_long_row():
    tokens = np.ones(2**24 + 9, np.uint16)
    tokens[[0, 5, 2**24 - 1, 2**24, 2**24 + 8]] = 7
    assert TokenFile.from_tokens(tokens).document_starts().tolist() == [0, 5, 2**24 - 1, 2**24, 2**24 + 8]


def test_large_vocabularies_need_32_bits(tmp_path):
    ranks = {bytes([value]): value for value in range(256)}
    large = Tokenizer(ranks, {"<|endoftext|>": 70_000})
    assert write_tokens(["ab"], large, tmp_path / "a.npy").tokens.tolist() == [70_000, 97, 98, 70_000]
    assert TokenFile(tmp_path / "a.npy").tokens.dtype == np.uint32
    just = Tokenizer(ranks, {"<|endoftext|>": 65_535})
    assert write_tokens(["a"], just, tmp_path / "b.npy").tokens.dtype == np.uint16
    assert TokenFile(tmp_path / "b.npy").tokens.tolist() == [65_535, 97, 65_535]


def test_write_tokens_refuses(tmp_path):
    path = tmp_path / "tokens.npy"
    write_tokens(["abc"], LETTERS, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="document 1 cannot be encoded: text holds 'X' at position 1"):
        write_tokens(["abc", "aXc"], LETTERS, path)
    with pytest.raises(ValueError, match="it needs at least one text"):
        write_tokens([], LETTERS, path)
    with pytest.raises(TypeError):
        write_tokens("abc", LETTERS, path)
    with pytest.raises(TypeError):
        write_tokens([b"abc"], LETTERS, path)
    with pytest.raises(TypeError, match="documents is None; it needs several texts"):
        write_tokens(None, LETTERS, path)
    with pytest.raises(TypeError, match="tokenizer is a NoneType; it needs one of gptlib's"):
        write_tokens(["abc"], None, path)
    with pytest.raises(FileNotFoundError, match="create it"):
        write_tokens(["abc"], LETTERS, tmp_path / "no" / "tokens.npy")
    with pytest.raises(ValueError, match="no <|endoftext|>"):
        write_tokens(["abc"], CharacterTokenizer.train("abc", special_tokens=()), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokens.npy"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_while_writing_the_old_tokens_stay(tmp_path):
    path = tmp_path / "tokens.npy"
    write_tokens(["abc"], LETTERS, path)
    program = """
        import os, signal, sys
        from gptlib.text.corpora import write_tokens
        from gptlib.text.characters import CharacterTokenizer
        def documents():
            yield "abc" * 100_000
            os.kill(os.getpid(), signal.SIGKILL)
        write_tokens(documents(), CharacterTokenizer.train("abc"), sys.argv[1])
    """
    process = subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(path)])
    assert process.returncode == -signal.SIGKILL
    assert len(TokenFile(path)) == 5


def test_token_files_that_are_not_whole(tmp_path):
    path = tmp_path / "tokens.npy"
    write_tokens(["abcdefghij" * 10], LETTERS, path)
    whole = path.read_bytes()
    for length in (0, 5, 50, 127, 128, 129, len(whole) - 1, len(whole) - 2):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="tokens.npy"):
            TokenFile(path)
    path.write_bytes(whole + b"\0\0")
    with pytest.raises(ValueError, match="has 334 bytes; it needs 332"):
        TokenFile(path)
    for wrong in (np.ones((2, 2), np.uint16), np.ones(5), np.array(["a"]), np.array([{}], dtype=object)):
        np.save(path, wrong)
        with pytest.raises(ValueError, match="is not a (whole )?token file"):
            TokenFile(path)
    np.save(path, np.ones(1, np.uint16))
    with pytest.raises(ValueError, match="tokens holds 1; it needs at least 2"):
        TokenFile(path)
    path.write_text("some text")
    with pytest.raises(ValueError, match="is not a whole token file: it is no .npy file"):
        TokenFile(path)
    with pytest.raises(FileNotFoundError, match="write_tokens makes one"):
        TokenFile(tmp_path / "none.npy")


def test_tokens_in_memory():
    assert TokenFile.from_tokens([9, 1, 2]).tokens.dtype == np.uint16
    assert TokenFile.from_tokens(np.array([9, 70_000])).tokens.dtype == np.uint32
    assert TokenFile.from_tokens(torch.tensor([9, 1, 2])).tokens.tolist() == [9, 1, 2]
    for wrong in ([1], [], [[1, 2]], [1, -1], [1, 2**32]):
        with pytest.raises(ValueError):
            TokenFile.from_tokens(np.array(wrong, dtype=np.int64))
    for wrong in (np.array([1.0, 2.0]), [None, 1], [True, False], ["a", "b"], [1, 2**70]):
        with pytest.raises(TypeError, match="tokens has dtype .*; it needs whole numbers"):
            TokenFile.from_tokens(wrong)
    for wrong in (5, [[1], [1, 2]]):
        with pytest.raises(ValueError, match="it needs to be one row"):
            TokenFile.from_tokens(wrong)


@pytest.mark.parametrize(("dtype", "end"), [("uint16", 60_000), (np.uint32, 90_000)])
def test_raw_token_files(tmp_path, dtype, end):
    """As nanoGPT and CS336 write them: end-of-text after each document, and nothing before the first."""
    path = tmp_path / "train.bin"
    np.array([1, 2, end, 3, end, 4, 5, 6, end], dtype).tofile(path)
    with pytest.raises(ValueError, match=r"no .npy file; .* TokenFile.raw\(path\) reads it"):
        TokenFile(path)
    file = TokenFile.raw(path, dtype, end_of_text=np.int64(end))
    assert file.tokens.tolist() == [1, 2, end, 3, end, 4, 5, 6, end] and isinstance(file.tokens, np.memmap)
    assert repr(file) == f"TokenFile({str(path)!r}, 9 tokens)"
    assert file.document_starts().tolist() == [2, 4, 8]  # no token tells where the first one starts
    inputs, targets = file.batch(50, 4, generator(), at_document_starts=True)
    assert {tuple(row) for row in torch.cat([inputs, targets[:, -1:]], 1).tolist()} == {
        (end, 3, end, 4, 5),
        (end, 4, 5, 6, end),
    }
    with pytest.raises(ValueError, match="context_length is 7; no document starts so far before the end"):
        file.batch(1, 7, generator(), at_document_starts=True)
    unnamed = TokenFile.raw(path, dtype)
    assert unnamed.batch(1, 8, generator())[0].tolist() == [[1, 2, end, 3, end, 4, 5, 6]]
    with pytest.raises(ValueError, match=r"end_of_text is None, .* TokenFile.raw\(path, end_of_text="):
        unnamed.batch(1, 3, generator(), at_document_starts=True)


def test_raw_token_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "train.bin"
    for contents in (b"", b"ab", b"abcde"):
        path.write_bytes(contents)
        with pytest.raises(
            ValueError, match=f"train.bin' has {len(contents)} bytes; it needs two or more uint16"
        ):
            TokenFile.raw(path)
    for wrong in ("int64", None, "no type", np.float32):
        with pytest.raises(ValueError, match="dtype is .*; it needs to be uint16 or uint32"):
            TokenFile.raw(path, wrong)
    with pytest.raises(TypeError, match="end_of_text is 'x'; it needs a whole number"):
        TokenFile.raw(path, end_of_text="x")
    with pytest.raises(FileNotFoundError, match="there is no token file"):
        TokenFile.raw(tmp_path / "none.bin")


# ---------------------------------------------------------------------------------------------------- Batches


@given(st.integers(2, 50), st.integers(1, 49), st.integers(1, 5))
def test_batches_are_shifted_by_one(n_tokens, context_length, batch_size):
    file = TokenFile.from_tokens(np.arange(n_tokens))
    if context_length >= n_tokens:
        with pytest.raises(ValueError, match="context_length is .* below the .* tokens"):
            file.batch(batch_size, context_length, generator())
        return
    inputs, targets = file.batch(batch_size, context_length, generator())
    assert inputs.shape == targets.shape == (batch_size, context_length)
    assert inputs.dtype == targets.dtype == torch.int64
    assert torch.equal(targets, inputs + 1)  # each token is its own place here
    assert torch.equal(inputs, inputs[:, :1] + torch.arange(context_length))


def test_every_window_is_drawn():
    file = TokenFile.from_tokens(np.arange(12))
    inputs, _ = file.batch(500, 4, generator())
    assert set(inputs[:, 0].tolist()) == set(range(8))


def test_batches_are_seeded(tmp_path):
    file = write_tokens(["abcdefghij" * 50], LETTERS, tmp_path / "tokens.npy")
    first, second, other = (file.batch(4, 16, generator(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, second) and not torch.equal(first, other)
    source = generator(1)
    assert torch.equal(file.batch(4, 16, source)[0], first)
    assert not torch.equal(file.batch(4, 16, source)[0], first)


def test_batches_at_document_starts(tmp_path):
    file = write_tokens(["abc", "de", "fghij", "a"], LETTERS, tmp_path / "tokens.npy")
    inputs, targets = file.batch(300, 5, generator(), at_document_starts=True)
    assert set(inputs[:, 0].tolist()) == {LETTERS.end_of_text}
    # "a" and the end are too near the end for five tokens and a target.
    assert {LETTERS.decode(row[:1]) for row in targets} == {"a", "d", "f"}
    with pytest.raises(ValueError, match="context_length is .* below"):
        file.batch(1, 16, generator(), at_document_starts=True)
    inputs, _ = file.batch(3, 15, generator(), at_document_starts=True)
    assert inputs.tolist() == [file.tokens[:15].tolist()] * 3


@pytest.mark.parametrize("context_length", range(1, 16))
def test_every_document_with_room_for_a_window_is_drawn(context_length):
    file = TokenFile.from_tokens([9, 1, 9, 2, 3, 9, 9, 4, 9, 5, 6, 7, 9, 8, 9, 9])
    fitting = [start for start in (0, 2, 5, 6, 8, 12, 14, 15) if start + context_length + 1 <= 16]
    inputs, targets = file.batch(200, context_length, generator(), at_document_starts=True)
    drawn = {tuple(row) for row in torch.cat([inputs, targets[:, -1:]], 1).tolist()}
    assert drawn == {tuple(file.tokens[start : start + context_length + 1].tolist()) for start in fitting}


@pytest.mark.parametrize("sizes", [(0, 4), (4, 0), (-1, 4)])
def test_batch_sizes_below_one(sizes):
    with pytest.raises(ValueError, match="is .*; it needs to be at least 1"):
        TokenFile.from_tokens(np.arange(9)).batch(*sizes, generator())
    with pytest.raises(ValueError, match="context_length is .*at least 1"):
        TokenFile.from_tokens(np.arange(9)).windows(0)


@pytest.mark.parametrize("wrong", [None, "4", 4.0, [4], True, torch.tensor([4])])
def test_batch_sizes_that_are_no_whole_numbers(wrong):
    file = TokenFile.from_tokens(np.arange(9))
    for draw in (lambda: file.batch(wrong, 4), lambda: file.batch(4, wrong), lambda: file.windows(wrong)):
        with pytest.raises(TypeError, match="(batch_size|context_length) is .*; it needs a whole number"):
            draw()


def test_batch_sizes_of_numpy():
    file = TokenFile.from_tokens(np.arange(9))
    assert file.batch(np.int64(3), np.uint8(4), generator())[0].shape == (3, 4)
    assert len(list(file.windows(np.int16(4)))) == 2


@given(st.integers(2, 60), st.integers(1, 70))
def test_windows_hold_every_target_once(n_tokens, context_length):
    windows = list(TokenFile.from_tokens(np.arange(n_tokens)).windows(context_length))
    assert torch.cat([inputs for inputs, _ in windows]).tolist() == list(range(n_tokens - 1))
    assert torch.cat([targets for _, targets in windows]).tolist() == list(range(1, n_tokens))
    assert all(len(inputs) == context_length for inputs, _ in windows[:-1])
    assert 1 <= len(windows[-1][0]) <= context_length


@pytest.mark.skipif(os.name != "posix", reason="resource limits of POSIX")
def test_a_token_file_larger_than_memory(tmp_path):
    """300 MB of tokens (a hole in the file), in a process that may use no more than 100 MB for them."""
    path = tmp_path / "tokens.npy"
    length = 150_000_000
    with open(path, "wb") as file:
        header = {"descr": "<u2", "fortran_order": False, "shape": (length,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 2 * length)
    program = """
        import sys, torch, resource
        from gptlib.text.corpora import TokenFile
        source = torch.Generator().manual_seed(0)
        small = TokenFile.from_tokens([1, 2, 3, 4, 5]).batch(2, 2, source)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        inputs, targets = TokenFile(sys.argv[1]).batch(64, 256, source)
        assert inputs.sum() == 0 and inputs.shape == (64, 256)
        next(TokenFile(sys.argv[1]).windows(1024))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(grown // (1024 if sys.platform == "linux" else 1024**2))
    """
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(path)], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) < 100
