"""Where text comes from, how it is split into documents, and how its tokens become batches.

A corpus is a list of documents. Its tokens go to a file as one long row, with the end-of-text token before
each document and after the last one; training reads random windows of that row. The file is memory-mapped,
and a text file's documents are read one at a time, so a corpus may be larger than memory.
"""

from __future__ import annotations

import hashlib
import os
import random
import sysconfig
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from gptlib.checks import check_path, check_share, check_whole
from gptlib.files import write_atomically
from gptlib.text.text_files import FileDocuments, find_documents, normal_lines
from gptlib.text.vocabulary import Vocabulary

TINY_SHAKESPEARE_URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
)
TINY_SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
TINY_SHAKESPEARE_BYTES = 1_115_394

_SKIPPED_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


@dataclass(frozen=True)
class Corpus:
    """A name and the documents: texts that have nothing to do with each other."""

    name: str
    documents: Sequence[str]

    def __post_init__(self) -> None:
        if isinstance(self.documents, str):
            raise TypeError("documents is one text; it needs a sequence of texts: [text] would do")
        if isinstance(self.documents, FileDocuments):
            return  # texts they are, and looking would read the whole file
        if not isinstance(self.documents, Sequence):
            raise TypeError(f"documents is a {type(self.documents).__name__}; it needs a sequence of texts")
        wrong = next((document for document in self.documents if not isinstance(document, str)), None)
        if wrong is not None:
            raise TypeError(f"documents holds a {type(wrong).__name__}; it needs texts")

    def __repr__(self) -> str:
        characters = sum(map(len, self.documents))
        return f"Corpus({self.name!r}, {len(self.documents):,} documents, {characters:,} characters)"

    @property
    def text(self) -> str:
        """All documents in one, an empty line between them."""
        return "\n\n".join(self.documents)

    def split(
        self, validation: float = 0.1, test: float = 0.1, seed: int = 0
    ) -> tuple[Corpus, Corpus, Corpus]:
        """Deal the documents out to three corpora: train, validation, test.

        No document is in two of them, and each keeps the order of the documents. A share above zero gives at
        least one document, and one at least is left to train on: where rounding up two shares would take it,
        the larger of them gives it back.

        validation, test: the share of the documents that each gets; train gets the rest.
        seed: decides which documents go where.

        Raises ValueError for shares that are negative or leave nothing to train on, or too few
        documents; TypeError for a share that is no number, or a seed that is no whole one.
        """
        check_share("validation", validation)
        check_share("test", test)
        check_whole("seed", seed, at_least=None, any_size=True)
        if validation + test >= 1:
            raise ValueError(
                f"validation is {validation} and test {test}; together they need to be below 1, to leave "
                "something to train on"
            )
        n_documents = len(self.documents)
        counts = [max(1, round(share * n_documents)) if share else 0 for share in (validation, test)]
        while sum(counts) >= n_documents and max(counts) > 1:
            counts[counts.index(max(counts))] -= 1
        if sum(counts) >= n_documents:
            raise ValueError(
                f"{self.name!r} has {n_documents} documents, too few to split: train and each share above 0 "
                f"need one, {1 + sum(counts)} in all"
            )
        source = random.Random(index(seed))
        keys = np.fromiter((source.random() for _ in range(n_documents)), float, n_documents)
        order = np.argsort(keys, kind="stable")
        validation_places, test_places, train_places = np.split(order, np.cumsum(counts))
        train, held_out, tested = (
            Corpus(f"{self.name}, {part}", _chosen(self.documents, np.sort(places)))
            for part, places in (
                ("train", train_places),
                ("validation", validation_places),
                ("test", test_places),
            )
        )
        return train, held_out, tested


def _chosen(documents: Sequence[str], places: Int[np.ndarray, " chosen"]) -> Sequence[str]:
    if isinstance(documents, FileDocuments):
        return documents.chosen(places)
    return tuple(documents[place] for place in places)


# --------------------------------------------------------------------------- where text comes from


def storyworld_corpus(n_stories: int, seed: int = 0, split: str = "train") -> Corpus:
    """The first `n_stories` stories of Storyworld's stream for `seed` and `split` (train, validation or
    test).

    Raises ValueError when `n_stories` is below 1, or there is no such split.
    """
    from gptlib.text.storyworld import Storyworld

    check_whole("n_stories", n_stories)
    world = Storyworld(seed, split=split)
    # One story at a time: its annotations need far more memory than its text.
    return Corpus(f"storyworld, {split}", tuple(world.story().text for _ in range(n_stories)))


def python_documentation() -> Corpus:
    """Python's own reference, as in `help()`: one document for each topic. It differs between Python
    versions.

    Raises FileNotFoundError when this Python was installed without it.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise FileNotFoundError(
            "this Python has no pydoc_data.topics, the text behind help(); a Python from python.org or "
            "conda has it"
        ) from None
    return Corpus(
        "python documentation", tuple(topics[name] for name in sorted(topics) if topics[name].strip())
    )


def python_source(max_files: int | None = None) -> Corpus:
    """The source of Python's standard library: one document for each `.py` file, tests left out, in the order
    of their paths. It differs between Python versions.

    max_files: how many files to take, from the first; None for all.

    Raises ValueError when `max_files` is below 1; FileNotFoundError when this Python was installed
    without its source.
    """
    if max_files is not None:
        check_whole("max_files", max_files)
    folder = Path(sysconfig.get_path("stdlib"))
    paths = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS]
        paths += [Path(parent, name) for name in files if name.endswith(".py")]
    documents: list[str] = []
    for path in sorted(paths, key=lambda path: path.relative_to(folder).as_posix()):
        if len(documents) == max_files:
            break
        try:
            document = normal_lines(path.read_bytes().decode("utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        if document.strip():
            documents.append(document)
    if not documents:
        raise FileNotFoundError(f"there is no Python source in {str(folder)!r}")
    return Corpus("python source", tuple(documents))


def text_file(path: str | os.PathLike[str], minimum_characters: int = 1000) -> Corpus:
    """A text of the reader's own, in UTF-8. It stays in its file, which may be larger than memory, and is
    read document by document.

    Where `<|endoftext|>` is written in the file, as in TinyStories, it separates the documents: each is
    whole, and neither the mark nor white space around it is part of one. A file with no such mark, or with
    too few to split, is cut into documents of about 2,000 characters (a tenth of a short text) at empty
    lines, or else at line ends or spaces. For texts separated otherwise, make a Corpus of the list of them.

    path: the file. Once it changes, the documents can no longer be read.
    minimum_characters: a shorter text is refused: there would be nothing to learn.

    Raises FileNotFoundError for no such file; IsADirectoryError when `path` is a folder; ValueError when
    the file is not text in UTF-8 (the byte offset is named), or is too short.
    """
    check_path("path", path)
    check_whole("minimum_characters", minimum_characters)
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"path is {str(path)!r}, a folder; it needs to be a text file")
    return Corpus(path.name, find_documents(path, minimum_characters))


def tiny_shakespeare(folder: str | os.PathLike[str], download: bool = False) -> Corpus:
    """Tiny Shakespeare: 1.1 MB of his plays (Karpathy, "The Unreasonable Effectiveness of Recurrent Neural
    Networks", 2015). It is read from `folder/tiny_shakespeare.txt`.

    folder: where the file is, or is to be put.
    download: whether to fetch the file when it is not there. Without it the network is never touched.

    Raises FileNotFoundError when there is no file and `download` is false; the message says how to get it
    by hand; ValueError when the file is not the one expected; its name and the expected checksum are in
    the message; ConnectionError when the download failed.
    """
    path = Path(folder) / "tiny_shakespeare.txt"
    by_hand = f"fetch {TINY_SHAKESPEARE_URL} on any machine and save it as {str(path)!r}"
    if not path.is_file():
        if not download:
            raise FileNotFoundError(f"there is no file {str(path)!r}; call with download=True, or {by_hand}")
        try:
            with urllib.request.urlopen(TINY_SHAKESPEARE_URL, timeout=60) as answer:
                contents = answer.read(TINY_SHAKESPEARE_BYTES + 1)
        except OSError as error:
            raise ConnectionError(f"Tiny Shakespeare could not be downloaded ({error}); {by_hand}") from error
        _check_shakespeare(contents, TINY_SHAKESPEARE_URL)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: file.write(contents))
    _check_shakespeare(path.read_bytes(), str(path))
    return Corpus("tiny shakespeare", text_file(path).documents)


def _check_shakespeare(contents: bytes, name: str) -> None:
    found = hashlib.sha256(contents).hexdigest()
    if found != TINY_SHAKESPEARE_SHA256:
        raise ValueError(
            f"{name!r} is not Tiny Shakespeare, or not all of it: its SHA-256 is {found} "
            f"({len(contents):,} bytes); it needs to be {TINY_SHAKESPEARE_SHA256}: remove it, fetch it again"
        )


# --------------------------------------------------------------------------------- tokens in a file


class TokenFile:
    """One long row of tokens, in a file that is mapped into memory rather than read.

    The first token is the end-of-text token, and each place where it stands again starts a document. (In a
    `raw` file it need not come first.)

    path: a file that `write_tokens` wrote: NumPy's `.npy` format, one dimension, uint16 or uint32.

    Raises FileNotFoundError for no such file; ValueError when the file is cut off, too long or something
    else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        check_path("path", path)
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no token file {str(path)!r}; write_tokens makes one")
        try:
            tokens = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            magic = np.lib.format.MAGIC_PREFIX
            with open(path, "rb") as file:
                cut_off = magic.startswith(file.read(len(magic)))
            what = (
                error
                if cut_off
                else (
                    "it is no .npy file; if it holds tokens alone, as nanoGPT's train.bin does, "
                    "TokenFile.raw(path) reads it"
                )
            )
            raise ValueError(f"{str(path)!r} is not a whole token file: {what}") from None
        if (
            not isinstance(tokens, np.memmap)
            or tokens.ndim != 1
            or tokens.dtype not in (np.uint16, np.uint32)
        ):
            raise ValueError(
                f"{str(path)!r} is not a token file: it holds {getattr(tokens, 'shape', '')} "
                f"{getattr(tokens, 'dtype', type(tokens).__name__)}; it needs one row of uint16 or uint32"
            )
        expected = tokens.offset + tokens.nbytes
        if path.stat().st_size != expected:
            raise ValueError(f"{str(path)!r} has {path.stat().st_size} bytes; it needs {expected}")
        self._set_tokens(tokens, path, int(tokens[0]) if len(tokens) else None)

    @classmethod
    def raw(
        cls, path: str | os.PathLike[str], dtype: str | np.dtype = "uint16", end_of_text: int | None = None
    ) -> TokenFile:
        """Open a file that holds tokens and nothing else, as NumPy's `tofile` writes them and as the
        train.bin of nanoGPT and of Stanford's CS336 is.

        dtype: what each token is stored as, uint16 or uint32. The file itself does not say.
        end_of_text: the id of the end-of-text token. In such files it stands after each document, so after
            the last document of all or before another one: `document_starts` then lacks only the first
            document. Without it nobody knows where documents start, and what needs to know refuses.

        Raises FileNotFoundError for no such file; ValueError for another dtype, or a file that does not hold
        two or more of them.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no token file {str(path)!r}")
        if dtype not in ("uint16", "uint32", np.uint16, np.uint32):
            raise ValueError(f"dtype is {dtype!r}; it needs to be uint16 or uint32")
        if end_of_text is not None:
            check_whole("end_of_text", end_of_text, at_least=0)
        size, each = path.stat().st_size, np.dtype(dtype).itemsize
        if size % each or size < 2 * each:
            raise ValueError(
                f"{str(path)!r} has {size} bytes; it needs two or more {np.dtype(dtype)} of {each} bytes each"
            )
        file = cls.__new__(cls)
        file._set_tokens(np.memmap(path, np.dtype(dtype).newbyteorder("<"), mode="r"), path, end_of_text)
        return file

    @classmethod
    def from_tokens(cls, tokens: np.ndarray | Sequence[int] | Tensor) -> TokenFile:
        """A token file that is no file: tokens in memory, laid out as in one, end-of-text first.

        Raises ValueError when there are fewer than two tokens, they are not in one row, or an id does
        not fit 32 bits; TypeError when they are not whole numbers.
        """
        try:
            tokens = np.asarray(tokens)
        except ValueError:
            raise ValueError("tokens has rows of several lengths; it needs to be one row") from None
        if tokens.size and tokens.dtype.kind not in "iu":
            raise TypeError(f"tokens has dtype {tokens.dtype}; it needs whole numbers")
        if tokens.ndim != 1:
            raise ValueError(f"tokens has shape {tokens.shape}; it needs to be one row")
        if tokens.size and (int(tokens.min()) < 0 or int(tokens.max()) >= 2**32):
            raise ValueError(f"tokens goes from {tokens.min()} to {tokens.max()}; it needs 0 to 2**32 - 1")
        file = cls.__new__(cls)
        tokens = tokens.astype(np.uint16 if tokens.size and tokens.max() < 2**16 else np.uint32)
        file._set_tokens(tokens, None, int(tokens[0]) if len(tokens) else None)
        return file

    def _set_tokens(self, tokens: np.ndarray, path: Path | None, end_of_text: int | None) -> None:
        if len(tokens) < 2:
            raise ValueError(f"tokens holds {len(tokens)}; it needs at least 2, an input and its target")
        self.tokens = tokens
        self.path = path
        self.end_of_text = end_of_text
        self._starts: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        where = f"{str(self.path)!r}, " if self.path else ""
        return f"TokenFile({where}{len(self):,} tokens)"

    def document_starts(self) -> Int[np.ndarray, " start"]:
        """The places of the end-of-text tokens; the last of them ends the last document.

        Raises ValueError when the file is `raw` and its end-of-text token was not named.
        """
        if self.end_of_text is None:
            raise ValueError(
                "end_of_text is None, so where documents start is not known; name the token, as in "
                "TokenFile.raw(path, end_of_text=tokenizer.end_of_text)"
            )
        if self._starts is None:
            # Block by block: a comparison of the whole row would need as much memory as it has tokens.
            block = 1 << 24
            found = [
                np.flatnonzero(self.tokens[place : place + block] == self.end_of_text) + place
                for place in range(0, len(self), block)
            ]
            self._starts = np.concatenate(found)
        return self._starts

    def batch(
        self,
        batch_size: int,
        context_length: int,
        generator: torch.Generator | None = None,
        at_document_starts: bool = False,
    ) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
        """Random windows of the row, and the same windows one token further on.

        batch_size: how many windows.
        context_length: how many tokens in each.
        generator: where the randomness comes from; None for torch's own.
        at_document_starts: whether every window starts with a document's end-of-text token, rather
            than anywhere. The documents that follow it may be in the window too.

        Returns inputs and targets, int64 of shape (batch, seq); `targets[:, t]` is what follows
        `inputs[:, t]`.

        Raises ValueError for sizes below 1, a row too short for one window, or, `at_document_starts`, no
        start that leaves room for one.
        """
        check_whole("batch_size", batch_size)
        self._check_window(context_length)
        n_starts = len(self) - context_length
        if at_document_starts:
            starts = self.document_starts()
            n_starts = int(np.searchsorted(starts, n_starts))
            if n_starts == 0:
                raise ValueError(
                    f"context_length is {context_length}; no document starts so far before the end of the row"
                )
        places = torch.randint(n_starts, (batch_size,), generator=generator).numpy()
        if at_document_starts:
            places = starts[places]
        # (batch, 1) + (seq + 1) -> (batch, seq + 1)
        rows = self.tokens[places[:, None] + np.arange(context_length + 1)].astype(np.int64)
        windows = torch.from_numpy(rows)
        return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()

    def windows(
        self, context_length: int, at_document_starts: bool = False
    ) -> Iterator[tuple[Int[Tensor, " seq"], Int[Tensor, " seq"]]]:
        """All tokens in order: windows side by side, each with its targets, both of shape (seq,).

        Every token but the first is a target once. The last window is shorter where the row does not fill it.
        With `at_document_starts` each document is a window instead, from the end-of-text token before it to
        the one after it, or as far as context_length goes.

        Raises ValueError when `context_length` is below 1.
        """
        check_whole("context_length", context_length)
        if not at_document_starts:
            return self._windows(range(0, len(self) - 1, context_length), context_length)
        starts = self.document_starts()
        return self._windows(starts[:-1], np.minimum(context_length, np.diff(starts)))

    def _windows(
        self, starts: Iterable[int], lengths: int | Int[np.ndarray, " start"]
    ) -> Iterator[tuple[Int[Tensor, " seq"], Int[Tensor, " seq"]]]:
        for start, length in zip(starts, np.broadcast_to(lengths, len(starts)), strict=True):
            window = torch.from_numpy(self.tokens[start : start + length + 1].astype(np.int64))
            yield window[:-1], window[1:]

    def _check_window(self, context_length: int) -> None:
        check_whole("context_length", context_length)
        if context_length >= len(self):
            raise ValueError(
                f"context_length is {context_length}; it needs to be below the {len(self)} tokens: "
                "each window needs one more token for its targets"
            )


def write_tokens(
    documents: Iterable[str], tokenizer: Vocabulary, path: str | os.PathLike[str]
) -> TokenFile:
    """Write the tokens of `documents` to `path`, whole or not at all, and open them.

    The end-of-text token stands before each document and after the last. Documents are taken one at a time,
    so an endless supply of text may pass through little memory. The file is NumPy's `.npy`, with uint16 where
    the vocabulary allows, else uint32.

    documents: the texts.
    tokenizer: turns each into tokens; it must have an end-of-text token.
    path: the file to write.

    Raises ValueError when there is no document, or a document cannot be encoded (its number is named);
    TypeError when `documents` is one text rather than several, or `tokenizer` none; FileNotFoundError when
    the folder of `path` does not exist.
    """
    check_path("path", path)
    if isinstance(documents, str):
        raise TypeError("documents is one text; it needs several: [text] would do")
    if not isinstance(documents, Iterable):
        raise TypeError(f"documents is {documents!r}; it needs several texts")
    if not isinstance(tokenizer, Vocabulary):
        raise TypeError(f"tokenizer is a {type(tokenizer).__name__}; it needs one of gptlib's")
    dtype = np.dtype("<u2" if tokenizer.vocab_size <= 2**16 else "<u4")
    end_of_text = tokenizer.end_of_text

    def write_header(file: BinaryIO, length: int) -> None:
        # As many bytes whatever the length: numpy leaves room for it to grow.
        about = {"descr": dtype.str, "fortran_order": False, "shape": (length,)}
        np.lib.format.write_array_header_1_0(file, about)

    def write(file: BinaryIO) -> None:
        write_header(file, 0)
        length = 0
        for number, document in enumerate(documents):
            try:
                tokens = tokenizer.encode(document)
            except (ValueError, TypeError) as error:
                raise type(error)(f"document {number} cannot be encoded: {error}") from None
            file.write(np.asarray([end_of_text, *tokens], dtype=dtype).tobytes())
            length += 1 + len(tokens)
        if length == 0:
            raise ValueError("documents is empty; it needs at least one text")
        file.write(np.asarray([end_of_text], dtype=dtype).tobytes())
        # How many tokens there are is known only now.
        file.seek(0)
        write_header(file, length + 1)

    return TokenFile(write_atomically(path, write))
