"""Docstrings as HTML. They are plain prose with a few marks of their own:

    `name`               code, a link where it names something of the library
    *word*               emphasis
    name: what it is     at the beginning of a line, a parameter or field of what the docstring is of
    thing   what it is   a row of a table, with three spaces or more between
    - an item            of a list
    Raises …             a paragraph of its own, as is a line that begins with the authors of a paper

Rows and items may have further lines, which are indented. Any other indented lines are set as they are.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping

TERM = re.compile(r"([a-z_]\w*(?:, [a-z_]\w*)*): +(.*)")
ROW = re.compile(r"(\S+(?: \S+)*) {3,}((?!#)\S.*)")
CODE_OR_EMPHASIS = re.compile(r"`([^`]+)`|(?<![\w*])\*(\w(?:[^*]*\w)?)\*(?![\w*])")
# In prose the errors of Python stand without backticks.
ERROR = re.compile(r"\b(?:[A-Z][a-z]+)+(?:Error|Warning|Interrupt)\b")
PAPER = re.compile(r"[A-Z][\w-]+(?: et al\.?| (?:and|&) [A-Z][\w-]+) \(?\d{4}")

Link = Callable[[str], str]


def to_html(text: str, link: Link, terms: Mapping[str, str] | None = None) -> str:
    """A docstring, freed of its indentation, as blocks of HTML.

    link: gives the address of what a name in backticks means, or "".
    terms: the parameters or fields that it may explain, each name with the HTML that shows it.
    """
    blocks = re.split(r"\n[ \t]*\n", text.rstrip())
    return "".join(_Block(link, terms or {}).read(block.splitlines()) for block in blocks)


def inline(text: str, link: Link) -> str:
    """A piece of a paragraph as HTML."""
    parts, end = [], 0
    text = " ".join(text.split())
    for mark in CODE_OR_EMPHASIS.finditer(text):
        parts += [_prose(text[end : mark.start()]), _marked(mark, link)]
        end = mark.end()
    return "".join([*parts, _prose(text[end:])])


def _prose(text: str) -> str:
    return ERROR.sub(r"<code>\g<0></code>", html.escape(text, quote=False))


def _marked(mark: re.Match[str], link: Link) -> str:
    if mark[2]:
        return f"<em>{html.escape(mark[2], quote=False)}</em>"
    code = f"<code>{html.escape(mark[1], quote=False)}</code>"
    # `load("gpt2")` is a link to what is called.
    name = re.fullmatch(r"([A-Za-z_][\w.]*)(\(.*\))?", mark[1])
    address = link(name[1]) if name else ""
    return f'<a href="{html.escape(address)}">{code}</a>' if address else code


class _Block:
    """Lines with no empty one between them. One of the heaps is filled at a time, and then closed."""

    def __init__(self, link: Link, terms: Mapping[str, str]) -> None:
        self.link, self.terms = link, terms
        self.done: list[str] = []
        self.paragraph: list[str] = []
        self.items: list[str] = []
        self.rows: list[tuple[str, str]] = []  # the names as HTML, and what explains them
        self.flows = False  # whether the explanation may go on in a line that is not indented
        self.as_it_is: list[str] = []

    def read(self, lines: list[str]) -> str:
        for line in lines:
            self._take(line)
        self._close()
        return "".join(self.done)

    def _take(self, line: str) -> None:
        term, row = TERM.fullmatch(line), ROW.fullmatch(line)
        if term and set(names := term[1].split(", ")) <= set(self.terms):
            self._close(self.rows)
            self.rows.append(("".join(self.terms[name] for name in names), term[2]))
            self.flows = True
        elif row:
            self._close(self.rows)
            name = f"<dt><code>{html.escape(row[1], quote=False)}</code></dt>"
            self.rows.append((self.terms.get(row[1], name), row[2]))
            self.flows = False
        elif line.startswith("- "):
            self._close(self.items)
            self.items.append(line[2:])
        elif self.items and line.startswith(" "):
            self.items[-1] += f" {line}"
        elif self.rows and (line.startswith(" ") or (self.flows and self.rows[-1][1][-1] not in ".;:)")):
            names, text = self.rows.pop()
            self.rows.append((names, f"{text} {line}"))
        elif line.startswith("  "):
            self._close(self.as_it_is)
            self.as_it_is.append(line)
        else:
            if not self.paragraph or line.startswith("Raises ") or PAPER.match(line):
                self._close()
            self.paragraph.append(line)

    def _close(self, but: list[str] | list[tuple[str, str]] | None = None) -> None:
        """Write what the heaps hold, `but` for the one that goes on."""
        if self.paragraph:
            self.done.append(f"<p>{inline(' '.join(self.paragraph), self.link)}</p>")
            self.paragraph.clear()
        if self.items and self.items is not but:
            items = "".join(f"<li>{inline(item, self.link)}</li>" for item in self.items)
            self.done.append(f"<ul>{items}</ul>")
            self.items.clear()
        if self.rows and self.rows is not but:
            rows = "".join(f"{names}<dd>{inline(text, self.link)}</dd>" for names, text in self.rows)
            self.done.append(f"<dl>{rows}</dl>")
            self.rows.clear()
        if self.as_it_is and self.as_it_is is not but:
            width = min(len(line) - len(line.lstrip()) for line in self.as_it_is)
            text = "\n".join(html.escape(line[width:], quote=False) for line in self.as_it_is)
            self.done.append(f'<div class="code"><pre>{text}</pre></div>')
            self.as_it_is.clear()
