"""Text to tokens and back: byte-level byte-pair encoding (notebook 02), and a character tokenizer.

A tokenizer knows the 256 bytes, so no text is foreign to it, and *merges*: pairs of tokens that were seen
side by side so often that the pair became a token of its own. Training finds the merges; encoding replays
them.

Papers: Gage, "A New Algorithm for Data Compression" (1994), the idea; Sennrich, Haddow and Birch, "Neural
Machine Translation of Rare Words with Subword Units" (2016), section 3.2 and Algorithm 1, for words; Radford
et al., "Language Models are Unsupervised Multitask Learners" (2019), section 2.2, for bytes and the split
pattern.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from heapq import heapify, heappop, heappush
from itertools import accumulate
from operator import index
from pathlib import Path
from typing import SupportsIndex

import regex
import tiktoken

from gptlib.files import write_atomically

# A contraction; or letters, or digits, or other signs, each with the one space before them; or white space.
GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
END_OF_TEXT = "<|endoftext|>"

_FORMAT = "gptlib tokenizer, version 1"
_BYTES = [bytes([value]) for value in range(256)]
# tiktoken's matcher panics on one run of nearly a million white spaces; runs this long are handed over apart.
_LONG_RUN = 100_000


def split(text: str, pattern: str = GPT2_PATTERN) -> list[str]:
    """Cut `text` into the pieces that merges never cross; joined, they are `text` again."""
    return regex.findall(pattern, text)


# --------------------------------------------------------------------------------- What both tokenizers share


class _Vocabulary:
    """Everything that needs no more than the bytes of each token: decoding, pieces, spans, special tokens."""

    _kind = ""

    def __init__(self, token_bytes: dict[int, bytes], special_tokens: dict[str, int]) -> None:
        clash = [name for name, token in special_tokens.items() if token in token_bytes]
        if clash or len(set(special_tokens.values())) < len(special_tokens):
            raise ValueError(
                f"special_tokens must have ids that no other token has, got {special_tokens}"
                + (f"; {clash[0]!r} has the id of {token_bytes[special_tokens[clash[0]]]!r}" if clash else "")
            )
        self.special_tokens = dict(special_tokens)
        self._token_bytes = token_bytes | {token: name.encode() for name, token in special_tokens.items()}
        if min(self._token_bytes, default=0) < 0:
            raise ValueError(f"token ids must be 0 or more, got {min(self._token_bytes)}")

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
        try:
            return self._token_bytes[index(token)]
        except KeyError:
            raise self._unknown(index(token)) from None

    def _unknown(self, token: int) -> IndexError:
        return IndexError(f"token {token} is not in the vocabulary: ids go from 0 to {self.vocab_size - 1}")

    def decode(self, tokens: Iterable[SupportsIndex]) -> str:
        """The text of `tokens` (a list, an array or a one-dimensional tensor of ids).

        A character may be spread over several tokens. Where only some of its bytes are there, the text shows
        U+FFFD, the replacement character. Special tokens show as their names.

        Raises:
            IndexError: an id that no token has.
            TypeError: an id that is not a whole number.
        """
        try:
            whole = b"".join(map(self._token_bytes.__getitem__, _as_ids(tokens)))
        except KeyError as error:
            raise self._unknown(error.args[0]) from None
        return whole.decode("utf-8", errors="replace")

    def pieces(self, tokens: Iterable[SupportsIndex]) -> list[str]:
        r"""One readable string for each token, for figures: its text, or escapes like `\xe4` for bytes that
        are only part of a character. Spaces and line ends are left as they are."""
        return [
            self.token_bytes(token).decode("utf-8", errors="backslashreplace") for token in _as_ids(tokens)
        ]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """For each token of `encode(text)`, the characters it covers: `text[start:end]`.

        A token that holds some bytes of a character covers that whole character, so the spans of tokens that
        share one overlap. Otherwise each span starts where the one before it ended.
        """
        tokens = self.encode(text)
        # The character that each byte of the text belongs to.
        owner = [position for position, character in enumerate(text) for _ in range(len(character.encode()))]
        ends = list(accumulate(len(self._token_bytes[token]) for token in tokens))
        return [(owner[start], owner[end - 1] + 1) for start, end in zip([0, *ends], ends, strict=False)]

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        raise NotImplementedError

    def _contents(self) -> dict:
        """What makes this tokenizer what it is: equal contents, equal tokenizers."""
        return {"kind": self._kind, "special_tokens": self.special_tokens, "token_bytes": self._token_bytes}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Vocabulary) and self._contents() == other._contents()

    __hash__ = None

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(vocab_size={self.vocab_size}, special_tokens={list(self.special_tokens)})"
        )


class Tokenizer(_Vocabulary):
    """Byte-level byte-pair encoding.

    Made by `train`, `load`, `from_gpt2` or `from_tiktoken`. A tokenizer trained here has the 256 bytes as ids
    0 to 255 in order, then one id for each merge in the order learned, then the special tokens. Those read
    from GPT-2's files keep GPT-2's own ids.

    Args:
        ranks: id of each token's bytes. Of the merges that are possible, encoding does the lowest id first.
        special_tokens: id of each special token's name.
        pattern: the regular expression that cuts text into pieces, which merges never cross.
    """

    _kind = "byte-level BPE"

    def __init__(
        self, ranks: dict[bytes, int], special_tokens: dict[str, int], pattern: str = GPT2_PATTERN
    ) -> None:
        missing = [byte for byte in _BYTES if byte not in ranks]
        if missing:
            raise ValueError(
                f"ranks must hold all 256 single bytes; {len(missing)} are missing, first {missing[0]!r}"
            )
        token_bytes = {token: piece for piece, token in ranks.items()}
        if len(token_bytes) < len(ranks):
            repeated = next(token for token, n in Counter(ranks.values()).items() if n > 1)
            raise ValueError(
                f"ranks must give every token an id of its own; id {repeated} is given more than once"
            )
        super().__init__(token_bytes, special_tokens)
        try:
            regex.compile(pattern)
        except regex.error as error:
            raise ValueError(f"pattern is not a regular expression: {error}; got {pattern!r}") from None
        self.pattern = pattern
        self.ranks = ranks
        self._encoding = tiktoken.Encoding(
            name="gptlib", pat_str=pattern, mergeable_ranks=ranks, special_tokens=self.special_tokens
        )

    @classmethod
    def train(
        cls, texts: Iterable[str] | str, vocab_size: int, special_tokens: Sequence[str] = (END_OF_TEXT,)
    ) -> Tokenizer:
        """Learn the merges from `texts`.

        The rule: the pair of neighbouring tokens that is seen most often becomes the next token; of pairs
        seen equally often, that with the smaller left id, then that with the smaller right id. So the merges
        depend on the texts alone, and not on their order.

        Args:
            texts: one text, or several.
            vocab_size: how many tokens to have: 256 bytes, the merges and the special tokens.
            special_tokens: names of tokens that plain text never becomes; they get the last ids.

        Raises:
            ValueError: `vocab_size` has no room for the bytes and the special tokens; the texts are too small
                for that many merges; a text holds half of a surrogate pair.
        """
        special_tokens = _checked_special_tokens(special_tokens)
        n_merges = index(vocab_size) - 256 - len(special_tokens)
        if n_merges < 0:
            raise ValueError(
                f"vocab_size must be at least {256 + len(special_tokens)} (256 bytes and "
                f"{len(special_tokens)} special tokens), got {vocab_size}"
            )
        matcher = regex.compile(GPT2_PATTERN)
        counts: Counter[str] = Counter()
        for text in _checked_texts(texts):
            counts.update(matcher.findall(text))
        pairs = _learn_merges({piece.encode(): count for piece, count in counts.items()}, n_merges)
        if len(pairs) < n_merges:
            raise ValueError(
                f"texts are too small: they allow {len(pairs)} merges, and vocab_size={vocab_size} needs "
                f"{n_merges}; give more text, or a vocab_size of at most "
                f"{256 + len(special_tokens) + len(pairs)}"
            )
        tokens = list(_BYTES)
        for left, right in pairs:
            tokens.append(tokens[left] + tokens[right])
        ranks = {piece: token for token, piece in enumerate(tokens)}
        return cls(ranks, {name: len(tokens) + place for place, name in enumerate(special_tokens)})

    def grown(
        self, texts: Iterable[str] | str, n_tokens: int, special_tokens: Sequence[str] = ()
    ) -> Tokenizer:
        """A tokenizer that knows more: it goes on learning merges, from these texts, for n_tokens new ones.

        Old tokens keep their ids; the new ones follow, then the new special tokens. Old merges come first, so
        a text is cut as before, and then its tokens are joined further. Where the texts do not allow as many
        merges, there are fewer new tokens.

        Raises:
            ValueError: n_tokens is negative, or a special token is there already.
        """
        if index(n_tokens) < 0:
            raise ValueError(f"n_tokens must be 0 or more, got {n_tokens}")
        there = [name for name in _checked_special_tokens(special_tokens) if name in self.special_tokens]
        if there:
            raise ValueError(f"special_tokens must be new, but {there[0]!r} is there already")
        matcher = regex.compile(self.pattern)
        counts: Counter[str] = Counter()
        for text in _checked_texts(texts):
            counts.update(matcher.findall(text))
        pieces = {tuple(self._encoding.encode_ordinary(piece)): count for piece, count in counts.items()}
        tokens, ranks = dict(self._token_bytes), dict(self.ranks)
        for place, (left, right) in enumerate(_learn_merges(pieces, n_tokens, self.vocab_size)):
            tokens[self.vocab_size + place] = tokens[left] + tokens[right]
            # Two pairs may spell the same token; the first of them made it.
            ranks.setdefault(tokens[self.vocab_size + place], self.vocab_size + place)
        return self.with_tokens([piece for piece in ranks if piece not in self.ranks], special_tokens)

    def with_tokens(self, pieces: Sequence[bytes], special_tokens: Sequence[str] = ()) -> Tokenizer:
        """The same with these tokens after its own, in this order, and after them these special tokens."""
        ids = range(self.vocab_size, self.vocab_size + len(pieces) + len(special_tokens))
        return Tokenizer(
            self.ranks | dict(zip(pieces, ids, strict=False)),
            self.special_tokens | dict(zip(special_tokens, ids[len(pieces) :], strict=True)),
            self.pattern,
        )

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """The tokens of `text`, by tiktoken with our merges.

        Args:
            text: any text at all, the empty one too.
            allow_special: whether `<|endoftext|>` written in the text becomes the special token. By default
                it is text like any other, so what a user types can never end a document.

        Raises:
            ValueError: the text holds half of a surrogate pair, which no UTF-8 can express.
            TypeError: `text` is not a string.
        """
        _check_text(text)
        if allow_special:
            return self._encoding.encode(text, allowed_special="all", disallowed_special=())
        if len(text) < _LONG_RUN or self.pattern != GPT2_PATTERN:
            return self._encoding.encode_ordinary(text)
        tokens: list[int] = []
        start = 0
        for run in regex.finditer(rf"\s{{{_LONG_RUN},}}", text):
            # The pattern leaves the last space of a run to the word that follows it.
            end = run.end() if run.end() == len(text) else run.end() - 1
            tokens += self._encoding.encode_ordinary(text[start : run.start()])
            tokens += self._encoding._encode_single_piece(text[run.start() : end])
            start = end
        return tokens + self._encoding.encode_ordinary(text[start:])

    def encode_bytes(self, piece: bytes) -> list[int]:
        """The tokens of one piece of bytes, which may be only part of a character."""
        return self._encoding._encode_single_piece(piece)

    @cached_property
    def merges(self) -> list[tuple[bytes, bytes]]:
        """The pair of tokens that each merge joins, in the order of the merges.

        Raises:
            ValueError: a vocabulary that was read from elsewhere has a token that no merges lead to.
        """
        return [
            self._pair(piece) for piece in sorted(self.ranks, key=self.ranks.__getitem__) if len(piece) > 1
        ]

    def _pair(self, piece: bytes) -> tuple[bytes, bytes]:
        """The last two parts of `piece` before it becomes one token: replays the merges of lower rank."""
        parts = [piece[place : place + 1] for place in range(len(piece))]
        while len(parts) > 2:
            below = [
                (rank, place)
                for place in range(len(parts) - 1)
                if (rank := self.ranks.get(parts[place] + parts[place + 1])) is not None
                and rank < self.ranks[piece]
            ]
            if not below:
                raise ValueError(
                    f"token {self.ranks[piece]} ({piece!r}) cannot be reached by merges of lower rank"
                )
            _, place = min(below)
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        return parts[0], parts[1]

    # --- Files ---

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer as one JSON file, one token a line, whole or not at all.

        A line is `[id, byte]` or `[id, left, right]`, each byte shown as the character that GPT-2 gave it
        (`Ġ` is a space, `Ċ` ends a line).
        """
        lines = [[self.ranks[byte], _shown(byte)] for byte in _BYTES]
        lines += [[self.ranks[left + right], _shown(left), _shown(right)] for left, right in self.merges]
        _write_json(path, self._kind, {"pattern": self.pattern, "special_tokens": self.special_tokens}, lines)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file is cut off, altered or not a tokenizer; the message names what is wrong.
        """
        contents = _read_json(path, cls._kind, {"pattern": str, "special_tokens": dict, "tokens": list})
        ranks: dict[bytes, int] = {}
        pairs = []
        try:
            for line in contents["tokens"]:
                token, *parts = line
                parts = [_unshown(part) for part in parts]
                whole = b"".join(parts)
                if type(token) is not int or len(parts) not in (1, 2) or whole in ranks:
                    raise ValueError(f"{line} is not a new token")
                if len(parts) == 1 and len(whole) != 1:
                    raise ValueError(f"{line} is neither one byte nor two tokens")
                if len(parts) == 2:
                    unknown = [part for part in parts if part not in ranks]
                    if unknown:
                        raise ValueError(f"{line} joins {unknown[0]!r}, which is no token before it")
                    if pairs and token <= pairs[-1][2]:
                        raise ValueError(
                            f"{line} should have an id above {pairs[-1][2]}, the merge before it"
                        )
                    pairs.append((*parts, token))
                ranks[whole] = token
            tokenizer = cls(ranks, _special_tokens_of(contents), contents["pattern"])
            for (left, right, token), found in zip(pairs, tokenizer.merges, strict=True):
                if (left, right) != found:
                    raise ValueError(
                        f"token {token} joins {left!r} and {right!r}, but encoding would join {found}"
                    )
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{str(path)!r} is not a whole tokenizer: {error}") from None
        return tokenizer

    @classmethod
    def from_gpt2(
        cls, vocab_bpe_path: str | os.PathLike[str], encoder_json_path: str | os.PathLike[str]
    ) -> Tokenizer:
        """Read GPT-2's own two files (also published as `merges.txt` and `vocab.json`).

        `encoder.json` gives every token its id; `vocab.bpe` lists the merges in order. GPT-2's ids are kept:
        its bytes are not in order (`!` is 0) and `<|endoftext|>` is the last id.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is not what it claims, or the two do not belong together.
        """
        lines = _read_text(vocab_bpe_path).split("\n")
        name, ids_name = str(vocab_bpe_path), str(encoder_json_path)
        if lines[0].startswith("#version"):
            lines = lines[1:]
        try:
            ids = json.loads(_read_text(encoder_json_path))
        except json.JSONDecodeError as error:
            raise ValueError(f"{ids_name!r} is not JSON: {error}") from None
        if not isinstance(ids, dict) or not all(type(token) is int for token in ids.values()):
            raise ValueError(f"{ids_name!r} must hold one JSON object that gives each token a whole number")
        pairs = [line.split(" ") for line in lines if line]
        bad = next((place for place, pair in enumerate(pairs) if len(pair) != 2 or not all(pair)), None)
        if bad is not None:
            raise ValueError(
                f"{name!r} must hold two tokens and a space between them on each line, got "
                f"{' '.join(pairs[bad])!r}"
            )
        return cls.from_merges(pairs, ids, name, ids_name)

    @classmethod
    def from_merges(
        cls,
        pairs: Sequence[Sequence[str]],
        ids: dict[str, int],
        name: str = "pairs",
        ids_name: str = "ids",
    ) -> Tokenizer:
        """A tokenizer with given merges and given ids, both in GPT-2's visible characters.

        Args:
            pairs: what each merge joins, in the order of the merges.
            ids: the id of each byte and each merge; what else is in it becomes a special token.
            name, ids_name: where the two came from, for the errors.

        Raises:
            ValueError: the two do not belong together.
        """
        shown = [_shown(byte) for byte in _BYTES] + [left + right for left, right in pairs]
        missing = [piece for piece in shown if piece not in ids]
        if missing:
            raise ValueError(
                f"{ids_name!r} has no id for {missing[0]!r} and {len(missing) - 1} other tokens of {name!r}; "
                "the two files must come from one tokenizer"
            )
        merge_ids = [ids[piece] for piece in shown[256:]]
        if any(later <= earlier for earlier, later in zip(merge_ids, merge_ids[1:], strict=False)):
            raise ValueError(f"the ids in {ids_name!r} must grow in the order of the merges in {name!r}")
        try:
            ranks = {_unshown(piece): ids[piece] for piece in shown}
            known = set(shown)
            tokenizer = cls(ranks, {piece: token for piece, token in ids.items() if piece not in known})
            given = [(_unshown(left), _unshown(right)) for left, right in pairs]
            for pair, found in zip(given, tokenizer.merges, strict=True):
                if pair != found:
                    raise ValueError(f"the merge of {pair[0]!r} and {pair[1]!r} can never happen")
        except ValueError as error:
            raise ValueError(f"{name!r} and {ids_name!r} do not make a tokenizer: {error}") from None
        return tokenizer

    @classmethod
    def from_tiktoken(
        cls,
        path: str | os.PathLike[str],
        pattern: str = GPT2_PATTERN,
        special_tokens: Sequence[str] | dict[str, int] = (END_OF_TEXT,),
    ) -> Tokenizer:
        """Read a `.tiktoken` file: on each line a token's bytes in base64, a space, and its id.

        The format holds neither the pattern nor the special tokens, so they are given here.

        Args:
            path: the file.
            pattern: the split pattern of the model that the file belongs to.
            special_tokens: names, which get the ids after the last one in the file; or names with their ids.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a line is not in the format (it is named), or the tokens do not hold all the bytes.
        """
        ranks: dict[bytes, int] = {}
        for number, line in enumerate(_read_text(path).splitlines(), start=1):
            if not line:
                continue
            try:
                encoded, token = line.split(" ")
                piece = base64.b64decode(encoded, validate=True)
                if not piece or piece in ranks:
                    raise ValueError
                ranks[piece] = int(token)
            except (ValueError, binascii.Error):
                raise ValueError(
                    f"{str(path)!r}, line {number}: expected the base64 of a new token, a space and its id, "
                    f"got {line[:80]!r}"
                ) from None
        if not isinstance(special_tokens, dict):
            first = max(ranks.values(), default=-1) + 1
            special_tokens = {
                name: first + place for place, name in enumerate(_checked_special_tokens(special_tokens))
            }
        try:
            return cls(ranks, special_tokens, pattern)
        except ValueError as error:
            raise ValueError(f"{str(path)!r} is not a whole .tiktoken file: {error}") from None

    def _contents(self) -> dict:
        return super()._contents() | {"pattern": self.pattern}


class CharacterTokenizer(_Vocabulary):
    """Every character is a token: the smallest tokenizer, for first steps.

    It has the face of `Tokenizer`, but knows only the characters that it was trained on. Ids go to the
    characters in the order of their code points, then to the special tokens.
    """

    _kind = "characters"
    merges: list[tuple[bytes, bytes]] = []

    def __init__(self, characters: Iterable[str], special_tokens: Sequence[str] = (END_OF_TEXT,)) -> None:
        self.characters = sorted(set(characters))
        wrong = [character for character in self.characters if len(character) != 1]
        if wrong or not self.characters:
            raise ValueError(
                f"characters must be one or more single characters, got {wrong[0] if wrong else 'none'!r}"
            )
        for character in self.characters:
            _check_text(character)
        names = _checked_special_tokens(special_tokens)
        self._ids = {character: token for token, character in enumerate(self.characters)}
        super().__init__(
            {token: character.encode() for character, token in self._ids.items()},
            {name: len(self.characters) + place for place, name in enumerate(names)},
        )

    @classmethod
    def train(
        cls, texts: Iterable[str] | str, special_tokens: Sequence[str] = (END_OF_TEXT,)
    ) -> CharacterTokenizer:
        """A tokenizer that knows every character of `texts` (one text, or several).

        Raises:
            ValueError: there is no character in the texts, or half of a surrogate pair.
        """
        return cls(set().union(*_checked_texts(texts)), special_tokens)

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """The token of each character of `text`; `allow_special` as in `Tokenizer.encode`.

        Raises:
            ValueError: a character that was not in the training texts; the message says which and where.
        """
        _check_text(text)
        names = sorted(self.special_tokens, key=len, reverse=True)
        parts = [text]
        if allow_special and names:
            parts = regex.split("(" + "|".join(map(regex.escape, names)) + ")", text)
        tokens: list[int] = []
        try:
            for part in parts:
                if allow_special and part in self.special_tokens:
                    tokens.append(self.special_tokens[part])
                else:
                    tokens += [self._ids[character] for character in part]
        except KeyError as error:
            character = error.args[0]
            raise ValueError(
                f"text holds {character!r} at position {text.index(character)}, which this tokenizer has "
                f"never seen; it knows {len(self.characters)} characters: train it on text that has this "
                "one, or use Tokenizer"
            ) from None
        return tokens

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer as one JSON file, one `[id, character]` a line, whole or not at all."""
        lines = [[token, character] for character, token in self._ids.items()]
        _write_json(path, self._kind, {"special_tokens": self.special_tokens}, lines)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CharacterTokenizer:
        """Read what `save` wrote; errors as in `Tokenizer.load`."""
        contents = _read_json(path, cls._kind, {"special_tokens": dict, "tokens": list})
        try:
            characters = [character for _, character in contents["tokens"]]
            tokenizer = cls(characters, list(_special_tokens_of(contents)))
            lines = [[token, character] for character, token in tokenizer._ids.items()]
            if lines != contents["tokens"] or tokenizer.special_tokens != contents["special_tokens"]:
                raise ValueError("ids must follow the order of the characters, then the special tokens")
        except (ValueError, TypeError) as error:
            raise ValueError(f"{str(path)!r} is not a whole tokenizer: {error}") from None
        return tokenizer


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer | CharacterTokenizer:
    """Read a tokenizer file of either kind; errors as in `Tokenizer.load`."""
    kind = _read_json(path, None, {"kind": str})["kind"]
    return (CharacterTokenizer if kind == CharacterTokenizer._kind else Tokenizer).load(path)


# --------------------------------------------------------------------------------------------------- Training


def _learn_merges(
    counts: Mapping[Sequence[int], int], n_merges: int, first_id: int = 256
) -> list[tuple[int, int]]:
    """The first `n_merges` merges as pairs of ids (fewer if no pair is left), from the count of each piece.

    A piece is bytes, or tokens of an older tokenizer; the new ids start at `first_id`.

    The plain algorithm counts all pairs again after each merge. This one keeps the counts, and changes only
    those of the pairs beside the places where a merge happened.
    """
    # All the pieces in one row. before[p] and after[p] are the neighbours of place p in its piece, or -1.
    tokens: list[int] = []
    before: list[int] = []
    after: list[int] = []
    weight: list[int] = []
    for piece, count in counts.items():
        first, last = len(tokens), len(tokens) + len(piece) - 1
        tokens += piece
        before += [-1, *range(first, last)]
        after += [*range(first + 1, last + 1), -1]
        weight += [count] * len(piece)

    pair_counts: Counter[tuple[int, int]] = Counter()
    places: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for place, following in enumerate(after):
        if following >= 0:
            pair = tokens[place], tokens[following]
            pair_counts[pair] += weight[place]
            places[pair].append(place)
    # Entries go stale when a count changes; a fresh one is pushed then, and stale ones are skipped.
    heap = [(-count, pair) for pair, count in pair_counts.items()]
    heapify(heap)

    merges: list[tuple[int, int]] = []
    while len(merges) < n_merges and heap:
        negative_count, pair = heappop(heap)
        if pair_counts.get(pair) != -negative_count:
            continue
        left, right = pair
        new = first_id + len(merges)
        merges.append(pair)
        changed = set()
        # From left to right, so that "aaa" becomes "aa" + "a", whatever order the places were found in.
        for place in sorted(places.pop(pair)):
            following = after[place]
            if tokens[place] != left or following < 0 or tokens[following] != right:
                continue  # an earlier merge took one of the two
            count = weight[place]
            previous, next_ = before[place], after[following]
            tokens[place], tokens[following] = new, -1
            after[place] = next_
            if next_ >= 0:
                before[next_] = place
                old, fresh = (right, tokens[next_]), (new, tokens[next_])
                pair_counts[old] -= count
                pair_counts[fresh] += count
                places[fresh].append(place)
                changed.update((old, fresh))
            if previous >= 0:
                old, fresh = (tokens[previous], left), (tokens[previous], new)
                pair_counts[old] -= count
                pair_counts[fresh] += count
                places[fresh].append(previous)
                changed.update((old, fresh))
        del pair_counts[pair]
        for other in changed:
            count = pair_counts.get(other, 0)
            if count > 0:
                heappush(heap, (-count, other))
            elif other in pair_counts:
                del pair_counts[other]
                places.pop(other, None)
    return merges


# ---------------------------------------------------------------------------------------- Bytes as characters


def byte_to_unicode() -> dict[int, str]:
    """GPT-2's visible character for each byte: printable Latin-1 as itself, the rest from U+0100 on."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    table = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + len(table) - len(printable))
    return table


_SHOWN = byte_to_unicode()
_BYTE_OF = {character: byte for byte, character in _SHOWN.items()}


def _shown(piece: bytes) -> str:
    return "".join(_SHOWN[byte] for byte in piece)


def _unshown(piece: str) -> bytes:
    unknown = [character for character in piece if character not in _BYTE_OF]
    if unknown:
        raise ValueError(f"{unknown[0]!r} in {piece!r} stands for no byte in GPT-2's table")
    return bytes(_BYTE_OF[character] for character in piece)


# ----------------------------------------------------------------------------------------------------- Checks


def _as_ids(tokens: Iterable[SupportsIndex]) -> list[int]:
    """Plain whole numbers from a list, an array or a tensor."""
    tokens = tokens.tolist() if hasattr(tokens, "tolist") else tokens
    if not isinstance(tokens, Iterable):
        raise TypeError(f"tokens must be a sequence of ids, got {tokens!r}; for one token give [{tokens!r}]")
    try:
        return [index(token) for token in tokens]
    except TypeError:
        raise TypeError(
            "tokens must be one sequence of whole numbers; give the rows of a batch one at a time"
        ) from None


def _check_text(text: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text holds half of a surrogate pair, U+{ord(text[error.start]):04X}, at position "
            f"{error.start}: it is no character and UTF-8 cannot express it; read the text with the right "
            "encoding, or remove it"
        ) from None


def _checked_texts(texts: Iterable[str] | str) -> Iterable[str]:
    for text in [texts] if isinstance(texts, str) else texts:
        _check_text(text)
        yield text


def _checked_special_tokens(names: Sequence[str]) -> list[str]:
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise TypeError(f"special_tokens must be a sequence of names that are not empty, got {names!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"special_tokens must differ from each other, got {list(names)}")
    return list(names)


# ---------------------------------------------------------------------------------------- Reading and writing


def _write_json(path: str | os.PathLike[str], kind: str, fields: dict, lines: list[list]) -> None:
    head = [
        f"{json.dumps(key)}: {json.dumps(value)},"
        for key, value in {"format": _FORMAT, "kind": kind, **fields}.items()
    ]
    body = ",\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    text = "{\n" + "\n".join(head) + '\n"tokens": [\n' + body + "\n]\n}\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def _read_json(path: str | os.PathLike[str], kind: str | None, fields: dict[str, type]) -> dict:
    try:
        contents = json.loads(_read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is not a whole tokenizer file, it may be cut off: {error}") from None
    if not isinstance(contents, dict) or contents.get("format") != _FORMAT:
        found = contents.get("format") if isinstance(contents, dict) else type(contents).__name__
        raise ValueError(
            f"{str(path)!r} is not a tokenizer file: its format must be {_FORMAT!r}, got {found!r}"
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


def _special_tokens_of(contents: dict) -> dict[str, int]:
    wrong = [name for name, token in contents["special_tokens"].items() if type(token) is not int or not name]
    if wrong:
        raise ValueError(f"the special token {wrong[0]!r} must have a name and a whole number as its id")
    return contents["special_tokens"]


def _read_text(path: str | os.PathLike[str]) -> str:
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; give the path of a file")
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {str(path)!r}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not UTF-8 text: byte {error.start} cannot be read") from None
