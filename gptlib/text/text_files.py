"""The documents of a text file, read from it one at a time: the file may be larger than memory."""

from __future__ import annotations

import codecs
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Int

from gptlib.text.vocabulary import END_OF_TEXT

# A text without marks is cut into documents of about this many characters, so that it can be split.
_DOCUMENT_CHARACTERS = 2_000
_DOCUMENTS_TO_SPLIT = 3  # one each for train, validation and test

_BLOCK = 1 << 20
# Stands for CR LF while a text is cut, so that it counts as the one line end that it is. No text holds it.
_CRLF = "\0"
_PAUSES = [re.compile(pause) for pause in (r"[\0\r\n]{2}", r"[\0\r\n]", " ")]


class FileDocuments(Sequence[str]):
    """Documents that stay in their file until they are asked for.

    Line ends are read as "\\n", and empty lines around a document are no part of it.

    Raises ValueError when the file has changed since its documents were found; FileNotFoundError when it is
    gone.
    """

    def __init__(self, path: Path, spans: Int[np.ndarray, "document 2"], version: tuple[int, int]) -> None:
        self._path = path
        self._spans = spans  # the bytes from which to which each goes
        self._version = version

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, place: int | slice) -> str | FileDocuments:
        if isinstance(place, slice):
            return self.chosen(range(len(self))[place])
        return next(iter(self.chosen([range(len(self))[place]])))

    def __iter__(self) -> Iterator[str]:
        if not self._path.is_file():
            raise FileNotFoundError(f"the file {str(self._path)!r}, which held the documents, is gone")
        with open(self._path, "rb") as file:
            if _version(file) != self._version:
                raise ValueError(f"{str(self._path)!r} has changed since it was read; call text_file anew")
            for start, end in self._spans:
                file.seek(start)
                yield normal_lines(file.read(end - start).decode()).strip("\n")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None

    def chosen(self, places: Sequence[int] | Int[np.ndarray, " chosen"]) -> FileDocuments:
        """The documents at these places, in this order."""
        return FileDocuments(self._path, self._spans[np.asarray(places, dtype=np.int64)], self._version)


def find_documents(path: Path, minimum_characters: int) -> FileDocuments:
    """The documents of a file, as `corpora.text_file` finds them; errors as there."""
    name = repr(str(path))
    try:
        with open(path, "rb") as file:
            version = _version(file)
            start = file.read(3)
            if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise ValueError("is not UTF-8: byte 0 starts a mark of UTF-16; save the file as UTF-8")
            spans = _find(file, len(codecs.BOM_UTF8) * (start == codecs.BOM_UTF8), minimum_characters)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {name}") from None
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None
    return FileDocuments(path, np.array(spans, dtype=np.int64).reshape(-1, 2), version)


def normal_lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _version(file: BinaryIO) -> tuple[int, int]:
    about = os.fstat(file.fileno())
    return about.st_size, about.st_mtime_ns


def _find(file: BinaryIO, start: int, minimum_characters: int) -> array[int]:
    """Where each document starts and ends, one number after the other."""
    borders = _around_marks(file, start, os.fstat(file.fileno()).st_size)
    # White space around a mark sets it off; elsewhere, spaces that begin a line may mean something.
    blank = b" \t\r\n" if len(borders) > 2 else b"\r\n"
    parts = array("q")
    for place in range(0, len(borders), 2):
        first, end = _trimmed(file, borders[place], borders[place + 1], blank)
        if first < end:
            parts.extend((first, end))
    n_characters = sum(len(piece) for part in _pairs(parts) for piece in _text(file, *part))
    if n_characters < minimum_characters or not parts:
        found = f"has {n_characters:,} characters" if parts else "is empty"
        raise ValueError(f"{found}; at least {minimum_characters:,} characters are needed")
    if len(parts) // 2 >= _DOCUMENTS_TO_SPLIT:
        return parts
    size = max(1, min(_DOCUMENT_CHARACTERS, n_characters // 10))
    spans = array("q")
    for start, end in _pairs(parts):
        for document in _cut(_text(file, start, end), size):
            end = start + len(document.replace(_CRLF, "\r\n").encode())
            if document.replace(_CRLF, "\n").strip():
                spans.extend((start, end))
            start = end
    if not spans:
        raise ValueError(f"is empty; at least {minimum_characters:,} characters are needed")
    return spans


def _pairs(numbers: array[int]) -> Iterator[tuple[int, int]]:
    return zip(numbers[::2], numbers[1::2], strict=True)


def _around_marks(file: BinaryIO, start: int, end: int) -> array[int]:
    """The start and the end of each part of the file between two marks."""
    mark = END_OF_TEXT.encode()
    borders = array("q", [start])
    tail = b""
    for place in range(start, end, _BLOCK):
        window = tail + _read(file, place, min(place + _BLOCK, end))
        for match in re.finditer(re.escape(mark), window):
            border = place - len(tail) + match.start()
            borders.extend((border, border + len(mark)))
        tail = window[1 - len(mark) :]  # where a mark may have begun
    borders.append(end)
    return borders


def _trimmed(file: BinaryIO, start: int, end: int, blank: bytes) -> tuple[int, int]:
    """The same part without the blank bytes at its two ends."""
    step = 256
    while start < end:
        window = _read(file, start, min(start + step, end))
        rest = window.lstrip(blank)
        start += len(window) - len(rest)
        if rest:
            break
    while start < end:
        window = _read(file, max(end - step, start), end)
        rest = window.rstrip(blank)
        end -= len(window) - len(rest)
        if rest:
            break
    return start, end


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def _text(file: BinaryIO, start: int, end: int) -> Iterator[str]:
    """A part of the file in pieces of text, with one character for each CR LF.

    Raises ValueError, to follow the file's name, where it is not text in UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    held = ""
    for place in range(start, end, _BLOCK):
        block = _read(file, place, min(place + _BLOCK, end))
        last = place + _BLOCK >= end
        begun = len(decoder.getstate()[0])  # bytes of a character that began in the block before
        try:
            text = held + decoder.decode(block, final=last)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"is not UTF-8: byte {error.object[error.start]:#04x} at offset "
                f"{place - begun + error.start} cannot be read; save the file as UTF-8"
            ) from None
        if 0 in block:
            raise ValueError(
                f"is not text: the byte at offset {place + block.index(0)} is zero; give a text in UTF-8"
            )
        held = "\r" if text.endswith("\r") and not last else ""
        yield text.removesuffix(held).replace("\r\n", _CRLF)


def _cut(pieces: Iterable[str], size: int) -> Iterator[str]:
    """Documents of about `size` characters, each ending where the text pauses."""
    text = ""
    for piece in pieces:
        text += piece
        start = 0
        while len(text) - start > size * 3 // 2:
            low, high = start + max(1, size // 2), start + size * 3 // 2
            ends = (pause.search(text, low, high) for pause in _PAUSES)
            end = next((end.start() for end in ends if end), start + size)
            yield text[start:end]
            start = end
        text = text[start:]
    yield text
