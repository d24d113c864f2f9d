"""A long text, or a stream of pieces of one, as blocks that are encoded one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import regex

# About so many characters are encoded at once: enough to be fast, too few to run out of memory.
BLOCK = 100_000

# Searched from the end. GPT-2's pattern always cuts here, and alike whatever stands before and after: none of
# its pieces holds white space behind another character, and none depends on what stood before it.
_BORDER = regex.compile(r"(?r)(?<=\S)\s")


def blocks(pieces: Iterable[str], special: regex.Pattern | None = None, longest: int = 0) -> Iterator[str]:
    """The text that the pieces are when joined, in blocks that begin where GPT-2's pattern begins a piece.

    A block has about 100,000 characters; it is longer where there is no such border in so many.

    special: finds the names that no border may cut, `longest` the length of the longest; None for none.

    Raises TypeError when a piece is not a string.
    """
    waiting: list[str] = []
    length, enough = 0, BLOCK
    for piece in pieces:
        if not isinstance(piece, str):
            raise TypeError(f"pieces holds a {type(piece).__name__}; it needs strings")
        for start in range(0, len(piece), BLOCK):
            part = piece[start : start + BLOCK]
            waiting.append(part)
            length += len(part)
            if length >= enough:
                text = "".join(waiting)
                end = _last_border(text, special, longest)
                if end:
                    yield text[:end]
                waiting, length = [text[end:]], len(text) - end
                # While no border comes, it is looked for at twice the length, and so not too often.
                enough = max(BLOCK, 2 * length)
    yield "".join(waiting)


def _last_border(text: str, special: regex.Pattern | None, longest: int) -> int:
    """Where the last block that is sure to end there ends; 0 if there is none."""
    # A name may begin near the end that the text to come makes longer, or first makes one.
    border = _BORDER.search(text, 0, max(0, len(text) - longest))
    end = border.start() if border else 0
    for match in special.finditer(text) if special and end else ():
        if match.start() >= end:
            break
        if match.end() > end:
            return match.end()
    return end
