"""Text files: where their documents are, and that they stay in the file until they are asked for."""

import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gptlib.text import text_files
from gptlib.text.corpora import Corpus, text_file, write_tokens
from gptlib.text.text_files import normal_lines
from gptlib.text.tokenizer import Tokenizer

MARK = "<|endoftext|>"
BYTES_ONLY = Tokenizer.train("", 257)
AROUND = st.text(st.sampled_from(" \t\r\n"), max_size=3)
BLOCKS = st.sampled_from([1, 2, 7, 1 << 20])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("texts") / "mine.txt"


def read(path, contents, block=1 << 20, **settings):
    path.write_bytes(contents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_files, "_BLOCK", block)
        return text_file(path, **settings).documents


@given(
    st.lists(st.text(st.sampled_from("ab é海🐕<|endoftext|>\r\n"), max_size=40), min_size=1, max_size=8),
    st.data(),
    st.booleans(),
    BLOCKS,
)
def test_documents_are_what_stands_between_marks(path, texts, data, bom, block):
    assume(not any(MARK in text for text in texts))
    contents = "".join(text + data.draw(AROUND) + MARK + data.draw(AROUND) for text in texts)
    expected = [normal_lines(text.strip(" \t\r\n")) for text in texts if text.strip(" \t\r\n")]
    assume(len(expected) >= 3)
    documents = read(path, b"\xef\xbb\xbf" * bom + contents.encode(), block, minimum_characters=1)
    assert list(documents) == expected
    # In the tokens, end-of-text stands at the borders alone, and the mark is nowhere spelled out.
    end = BYTES_ONLY.end_of_text
    tokens = write_tokens(documents, BYTES_ONLY, path.with_suffix(".npy")).tokens.tolist()
    assert tokens == [token for text in expected for token in (end, *text.encode())] + [end]


@given(st.lists(st.sampled_from(["word ", "a", "é", "海", "\n"]), max_size=300).map("".join), BLOCKS)
def test_a_text_is_cut_alike_whatever_ends_its_lines(path, text, block):
    assume(text.strip())
    documents = read(path, text.encode(), minimum_characters=1)
    assert "".join("".join(documents).split()) == "".join(text.split())
    assert all(document.strip() and document == document.strip("\n") for document in documents)
    expected = list(documents)
    for end in ("\n", "\r\n", "\r"):
        contents = text.replace("\n", end).encode()
        assert list(read(path, contents, block, minimum_characters=1)) == expected


@pytest.mark.parametrize("marks", [0, 1, 2])
def test_too_few_marks_to_split_at(path, marks):
    """A text that ends in a mark, say: it is cut as if it had none, and never across one."""
    text = "one two three. " * 200
    documents = read(path, (text + MARK * (marks > 0) + "tail " * 300 * (marks > 1)).encode())
    assert len(documents) >= 10
    assert all(part.documents for part in Corpus("mine", documents).split())
    assert not any(MARK in document or ("three" in document and "tail" in document) for document in documents)


@pytest.mark.parametrize("block", [1, 2, 1000])
@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"a" * 1234 + b"\xe9" + b"b" * 1000, "not UTF-8: byte 0xe9 at offset 1234"),
        (b"\xef\xbb\xbf" + b"a" * 7 + b"\xff" + b"b" * 2000, "byte 0xff at offset 10"),
        ("海".encode() * 1000 + b"\xe6\xb5", "byte 0xe6 at offset 3000"),
        (b"a" * 1500 + b"\xe6\xb5" + MARK.encode() + b"b", "byte 0xe6 at offset 1500"),
        (b"a\r\n" * 999 + b"\0" + b"b" * 1000, "byte at offset 2997 is zero"),
        ((b"a" * 50 + MARK.encode()) * 19, "has 950 characters; at least 1,000"),
        (b"a\r\n" * 450, "has 899 characters; at least 1,000"),
        ((MARK.encode() + b"\r\n ") * 999, "is empty; at least 1,000"),
    ],
)
def test_what_is_wrong_is_named_wherever_it_stands(path, block, contents, message):
    with pytest.raises(ValueError, match=f"mine.txt.*{message}"):
        read(path, contents, block)


def test_documents_behave_as_a_tuple_of_them_would(path):
    texts = ("first", "second", "third", "fourth")
    documents = read(path, MARK.join(texts).encode(), minimum_characters=1)
    assert len(documents) == 4 and tuple(documents) == texts
    assert documents == texts == documents and documents != texts[:3] and documents != 5
    assert (documents[1], documents[-1], documents[1:3]) == ("second", "fourth", texts[1:3])
    with pytest.raises(IndexError):
        documents[4]
    corpus, plain = Corpus("mine", documents), Corpus("mine", texts)
    assert corpus == plain and repr(corpus) == repr(plain) and corpus.text == plain.text
    assert corpus.split(0.25, 0.25, seed=1) == plain.split(0.25, 0.25, seed=1)


def test_a_file_that_changed_is_not_read_by_old_places(path):
    documents = read(path, b"some text " * 200)
    for contents in (b"another text " * 200, b"same_size " * 200):
        path.write_bytes(contents)
        os.utime(path, (1, 1))
        with pytest.raises(ValueError, match="has changed since it was read; call text_file anew"):
            documents[0]
    path.unlink()
    with pytest.raises(FileNotFoundError, match="mine.txt.* is gone"):
        documents[0]


@pytest.mark.skipif(os.name != "posix", reason="resource limits of POSIX")
@pytest.mark.parametrize("mark", [MARK, ""])
def test_a_text_file_larger_than_memory(tmp_path, mark):
    """60 MB of text, in a process that may use no more than 20 MB for it."""
    story = "Once upon a time there was a small dog. " * 25 + f"\n{mark}\n"
    with open(tmp_path / "large.txt", "w", encoding="utf-8") as file:
        for _ in range(60):
            file.write(story * (10**6 // len(story)))
    program = """
        import resource, sys
        from gptlib.text.corpora import text_file, write_tokens
        from gptlib.text.tokenizer import Tokenizer
        tokenizer = Tokenizer.train("", 257)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        train, validation, _ = text_file(sys.argv[1] + "/large.txt").split(0.01)
        assert sum(map(len, train.documents)) > 50_000_000
        assert len(write_tokens(validation.documents, tokenizer, sys.argv[1] + "/tokens.npy")) > 500_000
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(grown // (1024 if sys.platform == "linux" else 1024**2))
    """
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) < 20
