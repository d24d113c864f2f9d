"""Byte-pair encoding: which pairs of tokens to merge."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush

import regex

from gptlib.text.blocks import blocks
from gptlib.text.vocabulary import check_string

# A contraction; or letters, or digits, or other signs, each with the one space before them; or white space.
GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

BYTES = [bytes([value]) for value in range(256)]


# One of each kind of character, and some together: what a pattern loses here, it would lose anywhere.
_PROBE = "".join(map(chr, range(128))) + "it's 12  dogs,\n\n é海🐕 "


def split(text: str, pattern: str = GPT2_PATTERN) -> list[str]:
    """Cut `text` into the pieces that merges never cross; joined, they are `text` again.

    Raises ValueError when the pattern leaves out a part of the text, or cuts pieces that are empty.
    """
    check_string(text)
    if not isinstance(pattern, str):
        raise TypeError(f"pattern is {pattern!r}; it needs to be a regular expression, as a string")
    matcher = regex.compile(pattern)
    # With groups, findall would give those instead of the matches.
    pieces = [match.group() for match in matcher.finditer(text)] if matcher.groups else matcher.findall(text)
    if sum(map(len, pieces)) != len(text) or not all(pieces):
        rest = text
        for piece in pieces:
            if not piece or not rest.startswith(piece):
                break
            rest = rest[len(piece) :]
        raise ValueError(
            f"pattern is {pattern!r}, which cuts no piece from {rest[:12]!r}; every character needs to be in "
            r"a piece, as with |(?s:.) at its end and no * that allows an empty one"
        )
    return pieces


def check_pattern(pattern: str) -> None:
    """Raise TypeError unless pattern is a string, ValueError unless it cuts text and loses nothing of it."""
    try:
        split(_PROBE, pattern)
    except regex.error as error:
        raise ValueError(f"pattern is {pattern!r}, which is not a regular expression: {error}") from None


def count_pieces(texts: Iterable[str], pattern: str = GPT2_PATTERN) -> Counter[str]:
    """How often each piece is in the texts."""
    counts: Counter[str] = Counter()
    for text in texts:
        for block in blocks([text]) if pattern == GPT2_PATTERN else [text]:
            counts.update(split(block, pattern))
    return counts


def learn_merges(
    counts: Mapping[Sequence[int], int], n_merges: int, first_id: int = 256
) -> list[tuple[int, int]]:
    """The first `n_merges` merges as pairs of ids (fewer if no pair is left), from the count of each piece.

    A piece is bytes, or tokens of an older tokenizer; the new ids start at `first_id`.

    The plain algorithm counts all pairs again after each merge. This one keeps the counts, and changes only
    those of the pairs beside the places where a merge happened.
    """
    # All the pieces in one row. before[p] and after[p] are the neighbors of place p in its piece, or -1.
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


CHARACTERS = byte_to_unicode()

BYTE_OF = {character: byte for byte, character in CHARACTERS.items()}


def to_characters(piece: bytes) -> str:
    return "".join(CHARACTERS[byte] for byte in piece)


def from_characters(piece: str) -> bytes:
    unknown = [character for character in piece if character not in BYTE_OF]
    if unknown:
        raise ValueError(f"{unknown[0]!r} in {piece!r} stands for no byte in GPT-2's table")
    return bytes(BYTE_OF[character] for character in piece)
