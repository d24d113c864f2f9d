"""Tokenizers of other kinds than ours, such as Llama's and Qwen3's, which the package `tokenizers` reads."""

from __future__ import annotations

import json
import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Any, SupportsIndex

from gptlib.extras import MissingExtra, command
from gptlib.files import write_atomically
from gptlib.text.blocks import blocks
from gptlib.text.bpe import from_characters
from gptlib.text.vocabulary import END_OF_TEXT, Vocabulary, as_ids, characters, whole_text


class WrappedTokenizer(Vocabulary):
    """What a tokenizer.json describes, with the face of our own tokenizers.

    contents: the text of the file; `save` writes it again as it is.
    end_of_text: the id of the token that ends a text; where that is None, <|endoftext|> does if it is there.

    Raises ImportError where the package `tokenizers` is not installed; ValueError for what it cannot read,
    and for tokens that do not tell which bytes they stand for.
    """

    _kind = "of the package tokenizers"

    def __init__(self, contents: str, end_of_text: int | None) -> None:
        try:
            import tokenizers
        except ImportError:
            raise MissingExtra(f"tokenizers is missing; `{command('hub')}` brings what is needed") from None
        try:
            self._fast = tokenizers.Tokenizer.from_str(contents)
        except Exception as error:  # its errors have no class of their own
            version = tokenizers.__version__
            raise ValueError(f"the package tokenizers {version} cannot read it: {error}") from None
        self._fast.no_truncation()
        self._fast.no_padding()
        added = self._fast.get_added_tokens_decoder()
        bytes_of = _bytes_of(json.loads(contents).get("decoder"))
        pieces = self._fast.get_vocab(with_added_tokens=False)
        token_bytes = {token: bytes_of(piece) for piece, token in pieces.items() if token not in added}
        token_bytes |= {token: each.content.encode() for token, each in added.items() if not each.special}
        super().__init__(token_bytes, {each.content: token for token, each in added.items() if each.special})
        self.contents = contents
        known = end_of_text in self._token_bytes
        self.end = end_of_text if known else self.special_tokens.get(END_OF_TEXT)

    @property
    def end_of_text(self) -> int:
        """The id of the token that ends a text. ValueError where none is known."""
        return super().end_of_text if self.end is None else self.end

    def decode(self, tokens: Iterable[SupportsIndex]) -> str:
        """The text of `tokens`; where a text begins with a space that was put there, without it."""
        ids = as_ids(tokens)
        for token in ids:
            self.token_bytes(token)  # raises for those that there are not
        return self._fast.decode(ids, skip_special_tokens=False)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """For each token of `encode(text)`, the characters it covers: `text[start:end]`."""
        places = [*(start for start, _ in characters(text)), len(text)]
        offsets = self._cut(whole_text(text), allow_special=False).offsets
        # What a normalizer took away, such as an accent that is part of a letter now, joins what is before.
        starts = [0, *sorted(start for start, _ in offsets)[1:], len(places) - 1]
        return [
            (places[start if number else 0], places[starts[bisect_left(starts, end)]])
            for number, (start, end) in enumerate(offsets)
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file that it was read from, unchanged."""
        write_atomically(path, lambda file: file.write(self.contents.encode()))

    def _encode_plain(self, text: str, position: int) -> list[int]:
        return self._cut(text, allow_special=False).ids

    def _encoded(self, pieces: Iterable[str], allow_special: bool) -> Iterator[list[int]]:
        # Nobody knows where another library may be interrupted: what begins a text may be cut in its own way.
        yield self._cut(whole_text("".join(blocks(pieces))), allow_special).ids

    def _cut(self, text: str, allow_special: bool) -> Any:
        self._fast.encode_special_tokens = not allow_special
        return self._fast.encode(text, add_special_tokens=False)

    def _contents(self) -> dict:
        return super()._contents() | {"contents": self.contents, "end": self.end}


def _bytes_of(decoder: Any) -> Callable[[str], bytes]:
    """How the bytes of a token are told by its name in the vocabulary. ValueError where that is not known."""
    parts = decoder.get("decoders", [decoder]) if isinstance(decoder, dict) else []
    kinds = {part["type"]: part for part in parts}
    if "ByteLevel" in kinds:
        return from_characters
    replaced = kinds.get("Replace", {"pattern": {}})["pattern"]
    space = kinds["Metaspace"]["replacement"] if "Metaspace" in kinds else replaced.get("String")
    if space is None:
        told = ", ".join(kinds) or None
        raise ValueError(f"its decoder, {told}, does not tell which bytes a token stands for")

    def told(piece: str) -> bytes:
        if "ByteFallback" in kinds and re.fullmatch("<0x[0-9A-F]{2}>", piece):
            return bytes.fromhex(piece[3:5])
        return piece.replace(space, " ").encode()

    return told
