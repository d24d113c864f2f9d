"""Text to tokens and back: byte-level byte-pair encoding.

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
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

import regex
import tiktoken

from gptlib.checks import check_whole
from gptlib.files import read_text
from gptlib.text.blocks import BLOCK
from gptlib.text.bpe import (
    BYTES,
    GPT2_PATTERN,
    check_pattern,
    count_pieces,
    from_characters,
    learn_merges,
    split,
    to_characters,
)
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.vocabulary import (
    END_OF_TEXT,
    Vocabulary,
    checked_special_tokens,
    plain_ids,
    read_tokenizer,
    special_tokens_of,
    whole_texts,
    write_tokenizer,
)

# tiktoken's matcher panics on a run of nearly a million white spaces; a longer text is cut by ours.
_LONGEST_FOR_TIKTOKEN = 3 * BLOCK


class Tokenizer(Vocabulary):
    """Byte-level byte-pair encoding.

    Made by `train`, `load`, `from_gpt2` or `from_tiktoken`. A tokenizer trained here has the 256 bytes as ids
    0 to 255 in order, then one id for each merge in the order learned, then the special tokens. Those read
    from GPT-2's files keep GPT-2's own ids.

    ranks: id of each token's bytes. Of the merges that are possible, encoding does the lowest id first.
    special_tokens: id of each special token's name.
    pattern: the regular expression that cuts text into pieces, which merges never cross.
    """

    _kind = "byte-level BPE"

    def __init__(
        self, ranks: dict[bytes, int], special_tokens: dict[str, int], pattern: str = GPT2_PATTERN
    ) -> None:
        ranks = plain_ids("ranks", ranks, bytes)
        missing = [byte for byte in BYTES if byte not in ranks]
        if missing:
            raise ValueError(
                f"ranks lacks {len(missing)} single bytes, first {missing[0]!r}; it needs all 256"
            )
        token_bytes = {token: piece for piece, token in ranks.items()}
        if len(token_bytes) < len(ranks):
            repeated = next(token for token, n in Counter(ranks.values()).items() if n > 1)
            raise ValueError(
                f"ranks gives the id {repeated} more than once; every token needs an id of its own"
            )
        super().__init__(token_bytes, special_tokens)
        check_pattern(pattern)
        self.pattern = pattern
        self.ranks = ranks
        try:
            self._encoding = tiktoken.Encoding(
                name="gptlib", pat_str=pattern, mergeable_ranks=ranks, special_tokens=self.special_tokens
            )
        except ValueError as error:
            raise ValueError(
                f"pattern is {pattern!r}, which tiktoken cannot read, as it needs to: {error}"
            ) from None

    @classmethod
    def train(
        cls,
        texts: Iterable[str] | str,
        vocab_size: int,
        special_tokens: Sequence[str] = (END_OF_TEXT,),
        pattern: str = GPT2_PATTERN,
    ) -> Tokenizer:
        """Learn the merges from `texts`.

        The rule: the pair of neighboring tokens that is seen most often becomes the next token; of pairs
        seen equally often, that with the smaller left id, then that with the smaller right id. So the merges
        depend on the texts alone, and not on their order.

        texts: one text, or several.
        vocab_size: how many tokens to have: 256 bytes, the merges and the special tokens.
        special_tokens: names of tokens that plain text never becomes; they get the last ids.
        pattern: the regular expression that cuts text into pieces, which merges never cross. Every character
            needs to be in a piece.

        Raises ValueError when `vocab_size` has no room for the bytes and the special tokens, the
        texts are too small for that many merges, a text holds half of a surrogate pair, or the pattern
        is no regular expression or loses a part of a text.
        """
        special_tokens = checked_special_tokens(special_tokens)
        check_whole("vocab_size", vocab_size, at_least=None)
        check_pattern(pattern)
        n_merges = int(vocab_size) - 256 - len(special_tokens)
        if n_merges < 0:
            raise ValueError(
                f"vocab_size is {vocab_size}; it needs to be at least {256 + len(special_tokens)}: 256 bytes "
                f"and {len(special_tokens)} special tokens"
            )
        counts = count_pieces(whole_texts(texts), pattern)
        pairs = learn_merges({piece.encode(): count for piece, count in counts.items()}, n_merges)
        if len(pairs) < n_merges:
            raise ValueError(
                f"texts are too small: they allow {len(pairs)} merges, and vocab_size={vocab_size} needs "
                f"{n_merges}; give more text, or a vocab_size of at most "
                f"{256 + len(special_tokens) + len(pairs)}"
            )
        tokens = list(BYTES)
        for left, right in pairs:
            tokens.append(tokens[left] + tokens[right])
        ranks = {piece: token for token, piece in enumerate(tokens)}
        return cls(ranks, {name: len(tokens) + place for place, name in enumerate(special_tokens)}, pattern)

    def grown(
        self, texts: Iterable[str] | str, n_tokens: int, special_tokens: Sequence[str] = ()
    ) -> Tokenizer:
        """A tokenizer that knows more: it goes on learning merges, from these texts, for n_tokens new ones.

        Old tokens keep their ids; the new ones follow, then the new special tokens. Old merges come first, so
        a text is cut as before, and then its tokens are joined further. Where the texts do not allow as many
        merges, there are fewer new tokens.

        Raises ValueError when n_tokens is negative, or a special token is there already.
        """
        check_whole("n_tokens", n_tokens, at_least=0)
        there = [name for name in checked_special_tokens(special_tokens) if name in self.special_tokens]
        if there:
            raise ValueError(f"special_tokens has {there[0]!r}, which is there already; it needs new ones")
        counts = count_pieces(whole_texts(texts), self.pattern)
        pieces = {tuple(self.encode_bytes(piece.encode())): count for piece, count in counts.items()}
        tokens, ranks = dict(self._token_bytes), dict(self.ranks)
        for place, (left, right) in enumerate(learn_merges(pieces, n_tokens, self.vocab_size)):
            tokens[self.vocab_size + place] = tokens[left] + tokens[right]
            # Two pairs may spell the same token; the first of them made it.
            ranks.setdefault(tokens[self.vocab_size + place], self.vocab_size + place)
        return self.with_tokens([piece for piece in ranks if piece not in self.ranks], special_tokens)

    def with_tokens(self, pieces: Sequence[bytes], special_tokens: Sequence[str] = ()) -> Tokenizer:
        """A tokenizer that has these tokens after its own, in this order, and then these special tokens."""
        special_tokens = checked_special_tokens(special_tokens)
        if not isinstance(pieces, Sequence) or not all(isinstance(piece, bytes) for piece in pieces):
            raise TypeError(f"pieces is {pieces!r}; it needs a sequence of the bytes of each new token")
        ids = range(self.vocab_size, self.vocab_size + len(pieces) + len(special_tokens))
        return Tokenizer(
            self.ranks | dict(zip(pieces, ids, strict=False)),
            self.special_tokens | dict(zip(special_tokens, ids[len(pieces) :], strict=True)),
            self.pattern,
        )

    def _blocks(self, pieces: Iterable[str], special: regex.Pattern | None) -> Iterable[str]:
        blocks = super()._blocks(pieces, special)
        return blocks if self.pattern == GPT2_PATTERN else ["".join(blocks)]

    def _encode_plain(self, text: str, position: int) -> list[int]:
        if len(text) < _LONGEST_FOR_TIKTOKEN:
            tokens = self._encoding.encode_ordinary(text)
            # tiktoken says nothing of what a pattern leaves out; `split` does.
            if self.pattern == GPT2_PATTERN or self._length(tokens) == len(text.encode()):
                return tokens
        pieces = split(text, self.pattern)
        return [token for piece in pieces for token in self._encoding._encode_single_piece(piece)]

    def _length(self, tokens: list[int]) -> int:
        return sum(map(len, map(self._token_bytes.__getitem__, tokens)))

    def encode_bytes(self, piece: bytes) -> list[int]:
        """The tokens of one piece of bytes, which may be only part of a character."""
        if not isinstance(piece, bytes):
            raise TypeError(f"piece is a {type(piece).__name__}; it needs to be bytes")
        return self._encoding._encode_single_piece(piece) if piece else []

    @cached_property
    def merges(self) -> list[tuple[bytes, bytes]]:
        """The pair of tokens that each merge joins, in the order of the merges.

        Raises ValueError when a vocabulary that was read from elsewhere has a token that no merges
        lead to.
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
        lines = [[self.ranks[byte], to_characters(byte)] for byte in BYTES]
        lines += [
            [self.ranks[left + right], to_characters(left), to_characters(right)]
            for left, right in self.merges
        ]
        write_tokenizer(
            path, self._kind, {"pattern": self.pattern, "special_tokens": self.special_tokens}, lines
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Read what `save` wrote.

        Raises FileNotFoundError for no such file; ValueError when the file is cut off, altered or not
        a tokenizer; the message names what is wrong.
        """
        contents = read_tokenizer(path, cls._kind, {"pattern": str, "special_tokens": dict, "tokens": list})
        ranks: dict[bytes, int] = {}
        pairs = []
        try:
            for line in contents["tokens"]:
                token, *parts = line
                parts = [from_characters(part) for part in parts]
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
            tokenizer = cls(ranks, special_tokens_of(contents), contents["pattern"])
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

        Raises FileNotFoundError when a file is missing; ValueError when a file is not what it claims,
        or the two do not belong together.
        """
        lines = read_text(vocab_bpe_path).splitlines()
        name, ids_name = str(vocab_bpe_path), str(encoder_json_path)
        if lines and lines[0].startswith("#version"):
            lines = lines[1:]
        try:
            ids = json.loads(read_text(encoder_json_path))
        except json.JSONDecodeError as error:
            raise ValueError(f"{ids_name!r} is not JSON: {error}") from None
        if not isinstance(ids, dict) or not all(type(token) is int for token in ids.values()):
            raise ValueError(
                f"{ids_name!r} is no JSON object that gives each token a whole number, as it needs to be"
            )
        pairs = [line.split(" ") for line in lines if line]
        bad = next((place for place, pair in enumerate(pairs) if len(pair) != 2 or not all(pair)), None)
        if bad is not None:
            raise ValueError(
                f"{name!r} has the line {' '.join(pairs[bad])!r}; each line needs two tokens and a space "
                "between them"
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

        pairs: what each merge joins, in the order of the merges.
        ids: the id of each byte and each merge; what else is in it becomes a special token.
        name, ids_name: where the two came from, for the errors.

        Raises ValueError when the two do not belong together.
        """
        shown = [to_characters(byte) for byte in BYTES] + [left + right for left, right in pairs]
        missing = [piece for piece in shown if piece not in ids]
        if missing:
            raise ValueError(
                f"{ids_name!r} has no id for {missing[0]!r} and {len(missing) - 1} other tokens of {name!r}; "
                "the two files need to come from one tokenizer"
            )
        merge_ids = [ids[piece] for piece in shown[256:]]
        if any(later <= earlier for earlier, later in zip(merge_ids, merge_ids[1:], strict=False)):
            raise ValueError(
                f"the ids in {ids_name!r} do not grow in the order of the merges in {name!r}, as they need to"
            )
        try:
            ranks = {from_characters(piece): ids[piece] for piece in shown}
            known = set(shown)
            tokenizer = cls(ranks, {piece: token for piece, token in ids.items() if piece not in known})
            given = [(from_characters(left), from_characters(right)) for left, right in pairs]
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

        `pattern` is the split pattern of the model that the file belongs to. `special_tokens` are names,
        which get the ids after the last one in the file, or names with their ids.

        Raises FileNotFoundError when there is no such file; ValueError when a line is not in the format (it
        is named), a token is there twice, or the tokens do not hold all the bytes.
        """
        ranks: dict[bytes, int] = {}
        for line in filter(None, read_text(path).splitlines()):
            try:
                piece, token = line.split(" ")
                piece, token = base64.b64decode(piece, validate=True), int(token)
            except ValueError:
                raise ValueError(
                    f"{str(path)!r} has the line {line!r}; each needs a token in base64, a space and an id"
                ) from None
            if not piece or piece in ranks:
                raise ValueError(f"{str(path)!r} has the line {line!r}, whose token is empty or not new")
            ranks[piece] = token
        if not isinstance(special_tokens, dict):
            first = max(ranks.values(), default=-1) + 1
            special_tokens = {
                name: first + place for place, name in enumerate(checked_special_tokens(special_tokens))
            }
        try:
            return cls(ranks, special_tokens, pattern)
        except ValueError as error:
            raise ValueError(f"{str(path)!r} is not a whole .tiktoken file: {error}") from None

    def _contents(self) -> dict:
        return super()._contents() | {"pattern": self.pattern}


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer | CharacterTokenizer:
    """Read a tokenizer file of either kind; errors as in `Tokenizer.load`."""
    kind = read_tokenizer(path, None, {"kind": str})["kind"]
    return (CharacterTokenizer if kind == CharacterTokenizer._kind else Tokenizer).load(path)
