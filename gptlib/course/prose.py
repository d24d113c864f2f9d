"""Finding a notebook and reading its prose: its blocks and its sentences.

A notebook's number stands in its file's name and is looked up here alone; everything else goes by the topic:
"attention" for 04_attention.ipynb.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from gptlib.places import course_root

NOTEBOOKS = course_root() / "notebooks"

# What stands between backticks or dollars is no prose, so that no mark in it is one.
CODE_OR_MATHS = re.compile(r"(`+).+?\1|\$\$.+?\$\$|(?<![\\\w])\$[^$\n]+\$", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A piece of Markdown that stands by itself.

    `kind` is "heading", "paragraph", "list", "table", "maths", "quote" or "fence"; `level` is a heading's.
    A heading's text comes without its #s.
    """

    kind: str
    text: str
    level: int = 0


def notebook_paths(folder: Path = NOTEBOOKS) -> list[Path]:
    """The course's notebooks, in order."""
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))


def topic_of(path: Path) -> str:
    """What a notebook of the course is about: "attention" for 04_attention.ipynb."""
    return path.stem.partition("_")[2]


def short_title(path: Path) -> str:
    """How prose names a notebook: its title up to the colon, "Tokens" for "Tokens: text in pieces …"."""
    first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]
    return "".join(first).splitlines()[0].removeprefix("# ").partition(":")[0]


def headings_above(path: Path) -> dict[str, str]:
    """By the ids of a notebook's cells, the last heading that stands above each."""
    heading, found = "", {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        found[cell["id"]] = heading
        if cell["cell_type"] == "markdown":
            texts = [block.text for block in blocks("".join(cell["source"])) if block.kind == "heading"]
            heading = texts[-1] if texts else heading
    return found


def find_notebook(name: str, folder: Path = NOTEBOOKS) -> Path:
    """The course's notebook of a topic ("attention"), a name ("04_attention") or a number ("04" or "4").

    Raises ValueError, naming the notebooks there are.
    """
    known = notebook_paths(folder)
    stem = name.removesuffix(".ipynb")
    for path in known:
        if stem in (topic_of(path), path.stem) or (stem.isdecimal() and int(stem) == int(path.stem[:2])):
            return path
    there_are = ", ".join(path.stem for path in known)
    raise ValueError(f"no notebook is called {name!r}; there are: {there_are}")


def blocks(source: str) -> list[Block]:
    """The blocks of a Markdown cell, in order."""
    found: list[Block] = []
    lines: list[str] = []
    fence = ""

    def close() -> None:
        if lines:
            found.append(_block("\n".join(lines)))
            lines.clear()

    for line in source.splitlines():
        mark = re.match(r"\s*(```+|~~~+)", line)
        if fence:
            lines.append(line)
            if line.strip().startswith(fence):
                fence = ""
                close()
        elif mark:
            close()
            fence = mark[1]
            lines.append(line)
        elif heading := re.match(r"(#{1,6})\s+(.*?)\s*#*$", line):
            close()
            found.append(Block("heading", heading[2], len(heading[1])))
        elif not line.strip():
            close()
        elif re.match(r"[-*] |\d+\. ", line) and lines and not re.match(r"[-*] |\d+\. ", lines[0]):
            # A list may follow its paragraph without an empty line.
            close()
            lines.append(line)
        else:
            lines.append(line)
    close()
    return found


def _block(text: str) -> Block:
    for kind, pattern in (
        ("fence", r"\s*(```|~~~)"),
        ("list", r"[-*] |\d+\. "),
        ("table", r"\|"),
        ("maths", r"\$\$"),
        ("quote", r">"),
    ):
        if re.match(pattern, text):
            return Block(kind, text)
    return Block("paragraph", text)


def items(text: str) -> list[str]:
    """The items of a list, without their marks."""
    return [" ".join(item.split()) for item in re.split(r"(?m)^(?:[-*]|\d+\.) +", text) if item.strip()]


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph, as Markdown. A bold passage and a bracket are never cut in two."""
    joined = " ".join(text.split())
    held: list[str] = []

    def hold(found: re.Match[str]) -> str:
        held.append(found[0])
        return f"\0{len(held) - 1}\0"

    hidden = CODE_OR_MATHS.sub(hold, joined)
    parts = re.split(r"""(?<=[.!?])(["”’')\]*]*)\s+(?=["“‘(\[*\0]*[A-Z0-9\0])""", hidden)
    whole: list[str] = []
    for text_part, closing in zip(parts[::2], [*parts[1::2], ""], strict=True):
        part = text_part + closing
        if whole and (
            whole[-1].count("**") % 2
            or whole[-1].count("(") > whole[-1].count(")")
            or whole[-1].endswith(("et al.", "e.g.", "i.e.", "vs."))
        ):
            whole[-1] += " " + part
        else:
            whole.append(part)
    return [re.sub(r"\0(\d+)\0", lambda found: held[int(found[1])], part) for part in whole if part.strip()]


def words(text: str) -> int:
    """How many words a text has; a formula or a name in code counts as one."""
    return len(CODE_OR_MATHS.sub(" x ", text).split())
