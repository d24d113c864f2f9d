r"""A tokenizer's split pattern as a regular expression of JavaScript's, so that a page cuts texts alike.

The two read some things differently: \s, \d and \w, the dot, groups that ignore case, and quantifiers that
give nothing back, which JavaScript lacks. What is not translated here is refused.
"""

from __future__ import annotations

import re

WORD = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}"
NAMED = {r"\s": r"\p{White_Space}", r"\S": r"\P{White_Space}", r"\d": r"\p{Nd}", r"\D": r"\P{Nd}"}
NAMED |= {r"\w": f"[{WORD}]", r"\W": f"[^{WORD}]"}
CONTROLS = {r"\n": "\n", r"\r": "\r", r"\t": "\t", r"\f": "\f", r"\v": "\v"}
CATEGORY = r"L[ultmo]?|M[nce]?|N[dlo]?|P[cdseifo]?|S[mcko]?|Z[slp]?|C[cf]?"
SCRIPT = "Han|Hiragana|Katakana|Hangul|Latin|Greek|Cyrillic|Arabic|Hebrew|Thai|Devanagari"
ONE = r"\\[nrtfv]|\\[^A-Za-z0-9]"
PROPERTY = rf"\\[pP]\{{(?:{CATEGORY})\}}|\\[pP][LMNPSZC]|\\[pP]\{{(?P<script>{SCRIPT})\}}"
PART = re.compile(
    rf"""(?P<property>{PROPERTY})|(?P<named>\\[sSdDwW])|(?P<one>{ONE}|[^\\()\[\]{{}}.^$*+?|])
    |(?P<set>\[\^?(?:\\.|[^\\\[\]])+\])|(?P<plain>[.^$|])
    |(?P<open>\((?:\?(?:[is]*:|<?[=!]|>))?(?![?*]))|(?P<close>\))
    |(?P<times>[*+?]|\{{\d+(?:,\d*)?\}})(?P<manner>[+?]?)""",
    re.VERBOSE | re.DOTALL,
)
MEMBER = re.compile(
    rf"""(?P<property>{PROPERTY})|(?P<named>\\[sSdDw])
    |(?P<first>{ONE}|[^\\])-(?P<last>{ONE}|[^\\])|(?P<one>{ONE}|[^\\])""",
    re.VERBOSE | re.DOTALL,
)
ALIKE = {"s": "ſ", "k": "\u212a"}  # what else is this letter where case is ignored


def page_pattern(pattern: str) -> str:
    """What `new RegExp(…, "gu")` needs to cut texts as the pattern does.

    Raises ValueError for what it cannot say: numbers and names of groups, edges of words, sets within sets,
    rarer properties of characters, and in groups that ignore case all but single ASCII characters.
    """
    parts: list[str] = []
    groups: list[
        tuple[int, str, str]
    ] = []  # that are open: their first part, how they open, flags around them
    flags, begun, place, n_held = "", None, 0, 0  # begun: the part with which a quantifier's piece begins
    while place < len(pattern):
        found = PART.match(pattern, place)
        if not found:
            raise _unknown(pattern[place:])
        text, place = found.group(), found.end()
        held = False
        if found["times"]:
            if begun is None:
                raise _unknown(text)
            held = found["manner"] == "+"
            parts.append(found["times"] if held else text)
        elif found["open"]:
            groups.append((len(parts), text, flags))
            flags += "".join(sorted({"i", "s"} & set(text)))
            parts.append(text if text[-1] in "=!" else "(?:")
        elif found["close"]:
            begun, opening, flags = groups.pop()
            parts.append(")")
            held = opening == "(?>"
        else:
            begun = len(parts)
            parts.append(_translated(found, flags))
        if held:  # it gives nothing back once it has matched: look ahead, then take what was seen there
            n_held += 1
            parts[begun:] = [f"(?:(?=(?<held{n_held}>{''.join(parts[begun:])}))\\k<held{n_held}>)"]
        if found["times"] or found["open"] or text in "^$|" or (found["close"] and opening[-1] in "=!"):
            begun = None
    return "".join(parts)


def _translated(found: re.Match[str], flags: str) -> str:
    """One character, a class of them, or a sign."""
    text = found.group()
    if found["one"]:
        letters = _letters(text, flags)
        return letters if len(letters) == 1 or "i" not in flags else f"[{letters}]"
    if found["set"]:
        return _set(text, flags)
    if found["property"]:
        return _property(found, flags)
    if text == ".":
        return "[^]" if "s" in flags else r"[^\n]"
    return {"^": "(?<![^])", "$": "(?![^])"}.get(text) or NAMED.get(text, text)


def _set(text: str, flags: str) -> str:
    opening = "[^" if text.startswith("[^") else "["
    inside, members, place = text[len(opening) : -1], [], 0
    if any(operation in inside for operation in ("&&", "--", "~~")):
        raise _unknown(text)
    while place < len(inside):
        found = MEMBER.match(inside, place)
        if not found or (found["last"] and "i" in flags):
            raise _unknown(text)
        place = found.end()
        if found["property"]:
            members.append(_property(found, flags))
        elif found["named"]:
            members.append(NAMED[found.group()].strip("[]"))
        else:
            ends = [found["first"], found["last"]] if found["last"] else [found["one"]]
            members.append("-".join(_letters(end, flags) for end in ends))
    return f"{opening}{''.join(members)}]"


def _property(found: re.Match[str], flags: str) -> str:
    if "i" in flags:
        raise _unknown(found.group())
    name = found.group()[2:].strip("{}")
    return f"\\{found.group()[1]}{{{'Script=' * bool(found['script'])}{name}}}"


def _letters(text: str, flags: str) -> str:
    """A character as JavaScript reads it anywhere, and where case is ignored all that are the same letter."""
    letter = CONTROLS.get(text, text[-1])
    if "i" in flags and not letter.isascii():
        raise _unknown(text)
    same = (
        {letter, letter.lower(), letter.upper(), ALIKE.get(letter.lower(), letter)}
        if "i" in flags
        else {letter}
    )
    return "".join(
        each if each.isalnum() or each == " " else f"\\u{{{ord(each):x}}}" for each in sorted(same)
    )


def _unknown(rest: str) -> ValueError:
    return ValueError(f"its pattern has {rest[:12]!r}, which is not read alike in a page")
