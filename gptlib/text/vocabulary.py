"""What all tokenizers share: the bytes of each token, decoding, special tokens, files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from operator import index
from typing import SupportsIndex

import regex

from gptlib.files import read_json, write_atomically
from gptlib.text.blocks import BLOCK, blocks

END_OF_TEXT = "<|endoftext|>"

FORMAT = "gptlib tokenizer, version 1"

# A str may spell one character as two halves, as UTF-16 does; UTF-8 cannot express a half.
_CHARACTER = re.compile(r"[\ud800-\udbff][\udc00-\udfff]|.", re.DOTALL)
_LONE_HALF = re.compile(r"[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]")


class Vocabulary:
    """Everything that needs no more than the bytes of each token: decoding, pieces, spans, special tokens."""

    _kind = ""

    def __init__(self, token_bytes: dict[int, bytes], special_tokens: dict[str, int]) -> None:
        special_tokens = {
            whole_text(name): token
            for name, token in plain_ids("special_tokens", special_tokens, str).items()
        }
        if "" in special_tokens:
            raise ValueError(f"special_tokens is {special_tokens}; a name needs at least one character")
        clash = [name for name, token in special_tokens.items() if token in token_bytes]
        if clash or len(set(special_tokens.values())) < len(special_tokens):
            raise ValueError(
                f"special_tokens is {special_tokens}; each needs an id that no other token has"
                + (f"; {clash[0]!r} has the id of {token_bytes[special_tokens[clash[0]]]!r}" if clash else "")
            )
        self.special_tokens = special_tokens
        self._token_bytes = token_bytes | {token: name.encode() for name, token in special_tokens.items()}
        wrong = [token for token in self._token_bytes if not 0 <= token < 2**32]
        if wrong:
            raise ValueError(f"a token has the id {wrong[0]}; ids need to be at least 0 and below 2**32")
        # Of two names that begin alike, the longer one is meant wherever it fits.
        names = sorted(special_tokens, key=len, reverse=True)
        self._special = regex.compile("|".join(map(regex.escape, names))) if names else None
        self._longest_name = max(map(len, names), default=0)

    @property
    def vocab_size(self) -> int:
        """How many ids there are: the largest id plus one, so the number of rows of an embedding table."""
        return max(self._token_bytes) + 1

    @property
    def end_of_text(self) -> int:
        """The id of `<|endoftext|>`, which stands before every document. ValueError if there is none."""
        if END_OF_TEXT not in self.special_tokens:
            raise ValueError(
                f"this tokenizer has no {END_OF_TEXT} token; its special tokens: {list(self.special_tokens)}"
            )
        return self.special_tokens[END_OF_TEXT]

    def token_bytes(self, token: SupportsIndex) -> bytes:
        """The bytes that one token stands for. IndexError if no token has this id."""
        [token] = as_ids([token])
        try:
            return self._token_bytes[token]
        except KeyError:
            raise self._unknown(token) from None

    def _unknown(self, token: int) -> IndexError:
        return IndexError(f"token {token} is not in the vocabulary: ids go from 0 to {self.vocab_size - 1}")

    def decode(self, tokens: Iterable[SupportsIndex]) -> str:
        """The text of `tokens` (a list, an array or a one-dimensional tensor of ids).

        A character may be spread over several tokens. Where only some of its bytes are there, the text shows
        U+FFFD, the replacement character. Special tokens show as their names.

        Raises IndexError for an id that no token has; TypeError for one that is not a whole
        number.
        """
        try:
            whole = b"".join(map(self._token_bytes.__getitem__, as_ids(tokens)))
        except KeyError as error:
            raise self._unknown(error.args[0]) from None
        return whole.decode("utf-8", errors="replace")

    def pieces(self, tokens: Iterable[SupportsIndex]) -> list[str]:
        r"""One readable string for each token, for figures: its text, or escapes like `\xe4` for bytes that
        are only part of a character. Spaces and line ends are left as they are."""
        return [
            self.token_bytes(token).decode("utf-8", errors="backslashreplace") for token in as_ids(tokens)
        ]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """For each token of `encode(text)`, the characters it covers: `text[start:end]`.

        A token that holds some bytes of a character covers that whole character, so the spans of tokens that
        share one overlap. Otherwise each span starts where the one before it ended.
        """
        tokens = self.encode(text)
        # For each byte of the text, where the character that it belongs to starts and ends.
        owner = [
            (start, end)
            for start, end in characters(text)
            for _ in range(len(whole_text(text[start:end]).encode()))
        ]
        ends = list(accumulate(len(self._token_bytes[token]) for token in tokens))
        return [(owner[start][0], owner[end - 1][1]) for start, end in zip([0, *ends], ends, strict=False)]

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """The tokens of `text`.

        text: any text at all, the empty one too. A `CharacterTokenizer` needs to know its characters.
        allow_special: whether `<|endoftext|>` written in the text becomes the special token. By
            default it is text like any other, so what a user types can never end a document.

        Raises ValueError when the text holds half of a surrogate pair, which no UTF-8 can express, or
        a character that a `CharacterTokenizer` has never seen (the message says which and where);
        TypeError when `text` is not a string.
        """
        if isinstance(text, str) and len(text) < BLOCK and not allow_special:
            return self._encode_plain(whole_text(text), 0)
        check_string(text)
        return [token for tokens in self._encoded([text], allow_special) for token in tokens]

    def encode_iterable(self, pieces: Iterable[str], allow_special: bool = False) -> Iterator[int]:
        """The tokens of a text that comes in pieces, such as the lines of a file, one after the other.

        They are those that `encode` gives for all pieces joined, wherever the text was cut, but only about
        100,000 characters are held at a time, or as many as lie between two white spaces. (With another split
        pattern than GPT-2's all are held: nobody knows where such a pattern may be interrupted.)

        Raises as `encode` does, when it comes to the place.
        """
        pieces = [pieces] if isinstance(pieces, str) else pieces
        if not isinstance(pieces, Iterable):
            raise TypeError(f"pieces is {pieces!r}; it needs several strings, such as the lines of a file")
        return (token for tokens in self._encoded(pieces, allow_special) for token in tokens)

    def _encoded(self, pieces: Iterable[str], allow_special: bool) -> Iterator[list[int]]:
        special = self._special if allow_special else None
        position = 0
        for block in self._blocks(pieces, special):
            text = whole_text(block, position)
            start = 0
            for match in special.finditer(text) if special else ():
                yield self._encode_plain(text[start : match.start()], position + start)
                yield [self.special_tokens[match.group()]]
                start = match.end()
            yield self._encode_plain(text[start:], position + start)
            position += len(block)

    def _blocks(self, pieces: Iterable[str], special: regex.Pattern | None) -> Iterable[str]:
        return blocks(pieces, special, self._longest_name if special else 0)

    def _encode_plain(self, text: str, position: int) -> list[int]:
        """The tokens of a part of a text, at this position, in which no special token is meant."""
        raise NotImplementedError

    def _contents(self) -> dict:
        """What makes this tokenizer what it is: equal contents, equal tokenizers."""
        return {"kind": self._kind, "special_tokens": self.special_tokens, "token_bytes": self._token_bytes}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._contents() == other._contents()

    __hash__ = None

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(vocab_size={self.vocab_size}, special_tokens={list(self.special_tokens)})"
        )


def as_ids(tokens: Iterable[SupportsIndex]) -> list[int]:
    """Plain whole numbers from a list, an array or a tensor."""
    tokens = tokens.tolist() if hasattr(tokens, "tolist") else tokens
    if not isinstance(tokens, Iterable):
        raise TypeError(f"tokens is {tokens!r}; it needs a sequence of ids: for one token, [{tokens!r}]")
    try:
        return [index(token) for token in tokens]
    except TypeError:
        raise TypeError(
            "tokens is no plain sequence of whole numbers; give the rows of a batch one at a time"
        ) from None


def check_string(text: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"text is a {type(text).__name__}; it needs to be a string")


def characters(text: str) -> list[tuple[int, int]]:
    """Where each character of a text starts and ends; one that a surrogate pair spells takes two places."""
    return [match.span() for match in _CHARACTER.finditer(text)]


def whole_text(text: str, position: int = 0) -> str:
    """The same text, with each surrogate pair as the one character that it spells.

    position: where the text stands in a longer one, for the error.

    Raises TypeError when it is no string, ValueError for half of a pair.
    """
    check_string(text)
    try:
        text.encode()
    except UnicodeEncodeError:
        lone = _LONE_HALF.search(text)
        if lone is None:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        raise ValueError(
            f"text holds half of a surrogate pair, U+{ord(lone.group()):04X}, at position "
            f"{position + lone.start()}: it is no character and UTF-8 cannot express it; read the text with "
            "the right encoding, or remove it"
        ) from None
    return text


def whole_texts(texts: Iterable[str] | str, name: str = "texts") -> Iterator[str]:
    """Each of the texts, which may be a single one, as `whole_text` gives it."""
    if not isinstance(texts, Iterable):
        raise TypeError(f"{name} is {texts!r}; it needs to be a text, or several")
    return map(whole_text, [texts] if isinstance(texts, str) else texts)


def plain_ids(name: str, ids: dict, kind: type) -> dict:
    """The same ids as plain whole numbers. TypeError unless that is what they are, of keys of this kind."""
    try:
        if all(isinstance(key, kind) for key in ids):
            return {key: index(token) for key, token in ids.items()}
    except (AttributeError, TypeError):
        pass
    raise TypeError(f"{name} needs to be a dictionary that gives each {kind.__name__} a whole number")


def checked_special_tokens(names: Sequence[str]) -> list[str]:
    sequence = isinstance(names, Sequence) and not isinstance(names, str)
    if not sequence or not all(isinstance(name, str) and name for name in names):
        raise TypeError(f"special_tokens is {names!r}; it needs a sequence of names, none of them empty")
    if len(set(names)) < len(names):
        raise ValueError(f"special_tokens is {list(names)}; the names need to differ from each other")
    return list(names)


def write_tokenizer(path: str | os.PathLike[str], kind: str, fields: dict, lines: list[list]) -> None:
    """Write a tokenizer file: JSON with a token on each line."""
    head = [
        f"{json.dumps(key)}: {json.dumps(value)},"
        for key, value in {"format": FORMAT, "kind": kind, **fields}.items()
    ]
    body = ",\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    text = "{\n" + "\n".join(head) + '\n"tokens": [\n' + body + "\n]\n}\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_tokenizer(path: str | os.PathLike[str], kind: str | None, fields: dict[str, type]) -> dict:
    """The contents of a tokenizer file, if it is of this kind and has these fields."""
    contents = read_json(path)
    if contents.get("format") != FORMAT:
        raise ValueError(
            f"{str(path)!r} is not a tokenizer file: its format is {contents.get('format')!r}; it needs "
            f"{FORMAT!r}"
        )
    if kind is not None and contents.get("kind") != kind:
        raise ValueError(
            f"{str(path)!r} holds a tokenizer of kind {contents.get('kind')!r}, expected {kind!r}; "
            "load_tokenizer reads either"
        )
    for field, expected in fields.items():
        if not isinstance(contents.get(field), expected):
            raise ValueError(
                f"{str(path)!r} is not a whole tokenizer file: {field!r} is missing or no {expected.__name__}"
            )
    return contents


def special_tokens_of(contents: dict) -> dict[str, int]:
    wrong = [name for name, token in contents["special_tokens"].items() if type(token) is not int or not name]
    if wrong:
        raise ValueError(f"the special token {wrong[0]!r} lacks a name or a whole number as its id")
    return contents["special_tokens"]
