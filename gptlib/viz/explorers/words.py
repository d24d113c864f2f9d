"""What stands for a token on a page, with a tokenizer of any kind.

A token is shown as its text, with the space that it holds or that its mark of a word (Ġ, ▁) means. Several
tokens may make up one character, as the bytes of 猫 do, or of an emoji with its joiners: then each shows that
character, and which part of it the token is: 猫¹⁄₃, 猫²⁄₃, 猫³⁄₃. A special token is shown by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import regex

from gptlib.text.bpe import from_characters
from gptlib.viz.explorers.reading import CHARACTER, document

START, END = "(start)", "(end)"
ABOVE, BELOW = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"), str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def read_words(tokenizer: Any, text: str) -> tuple[list[int], list[str]]:
    """The text's tokens as its model reads them, and what stands for each on a page.

    With the course's tokenizers a text begins with an end of text, which is shown as "(start)"; with one of
    transformers it has the special tokens that the model is used to. Raises TypeError for another tokenizer.
    """
    if hasattr(tokenizer, "token_bytes"):
        tokens = document(tokenizer, text)
        return tokens, [START, *words_of(tokenizer, tokens[1:])]
    if not callable(tokenizer):
        raise TypeError(f"tokenizer is {tokenizer!r}; it needs the model's own")
    tokens = [int(token) for token in tokenizer(text)["input_ids"]]
    return tokens, words_of(tokenizer, tokens)


def read_target(tokenizer: Any, text: str, start: int | None) -> tuple[list[int], list[str]]:
    """A text as a decoder reads it: after the token that it starts from (`adapter.start`), without an end."""
    try:
        tokens = tokenizer(text_target=text)["input_ids"]
    except TypeError:  # it has no language of its own for targets
        tokens = tokenizer(text)["input_ids"]
    tokens = [int(token) for token in tokens]
    if tokens and tokens[-1] == getattr(tokenizer, "eos_token_id", None):
        tokens.pop()
    words = words_of(tokenizer, tokens)
    return (tokens, words) if start is None else ([start, *tokens], [START, *words])


def word_of(tokenizer: Any, token: int) -> str:
    r"""What stands for one token by itself. One that is a part of some character shows its bytes, as \xe4."""
    if hasattr(tokenizer, "token_bytes") and token == tokenizer.end_of_text:
        return END
    return words_of(tokenizer, [token])[0]


def words_of(tokenizer: Any, tokens: Sequence[int]) -> list[str]:
    """What stands for each of these tokens, where they follow each other."""
    if hasattr(tokenizer, "token_bytes"):
        return shared([_known_bytes(tokenizer, token) for token in tokens])
    if not hasattr(tokenizer, "convert_ids_to_tokens"):
        return [tokenizer.decode([token]) for token in tokens]
    names = tokenizer.convert_ids_to_tokens(list(tokens))
    added, bytes_of = tokenizer.added_tokens_decoder, _bytes_of(tokenizer)
    words: list[str] = []
    run: list[bytes] = []
    for token, name in zip(tokens, names, strict=True):
        if name is None or (token in added and added[token].special):
            words += [*shared(run), name or f"(#{token})"]
            run = []
        else:
            run.append(name.replace("▁", " ").encode() if token in added else bytes_of(name))
    return words + shared(run)


def _known_bytes(tokenizer: Any, token: int) -> bytes:
    try:
        return tokenizer.token_bytes(token)
    except IndexError:  # models are often wider than their tokenizer, for speed
        return f"(token {token})".encode()


def _bytes_of(tokenizer: Any) -> Callable[[str], bytes]:
    """How a token's name tells its bytes, which is learned from what the tokenizer makes of some names."""

    def joined(*names: str) -> str:
        try:
            return tokenizer.convert_tokens_to_string(list(names))
        except (KeyError, TypeError, ValueError):  # it has never seen such names
            return "".join(names)

    if joined("a", "Ġa") == "a a":
        return _or_as_it_is(from_characters)
    if joined("Ã", "©") == "é":  # each letter is a byte
        return _or_as_it_is(lambda name: name.encode("latin-1"))
    by_number = joined("<0x41>") == "A"
    marks = [mark for mark in ("▁", "</w>") if mark not in joined(f"a{mark}", f"{mark}a")]

    def told(name: str) -> bytes:
        if by_number and regex.fullmatch("<0x[0-9A-F]{2}>", name):
            return bytes.fromhex(name[3:5])
        for mark in marks:
            name = name.replace(mark, " ")
        return name.encode()

    return told


def _or_as_it_is(bytes_of: Callable[[str], bytes]) -> Callable[[str], bytes]:
    def told(name: str) -> bytes:
        try:
            return bytes_of(name)
        except ValueError:  # a name that is no spelling of bytes
            return name.encode()

    return told


def shared(pieces: Sequence[bytes]) -> list[str]:
    r"""The text of each piece; where pieces share a character, each has it, with the part that it holds.

    Bytes that are no text show as escapes like \xe4.
    """
    text = b"".join(pieces).decode("utf-8", "surrogateescape")  # a byte that is no text becomes half a pair
    ends, end = [], 0
    for piece in pieces:
        end += len(piece)
        ends.append(end)
    words = [""] * len(pieces)
    at = start = 0  # the piece in which a character starts, and where in the bytes that is
    for character in CHARACTER.findall(text):
        stop = start + len(character.encode("utf-8", "surrogateescape"))
        shown = character.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        while ends[at] <= start:
            at += 1
        last = at
        while ends[last] < stop:
            last += 1
        holders = [n for n in range(at, last + 1) if pieces[n]]
        for part, n in enumerate(holders, start=1):
            words[n] += shown + (_share(part, len(holders)) if len(holders) > 1 else "")
        at, start = last, stop
    return words


def _share(part: int, whole: int) -> str:
    return f"{str(part).translate(ABOVE)}⁄{str(whole).translate(BELOW)}"
