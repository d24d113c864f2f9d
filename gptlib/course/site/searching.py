"""The index of the search: of every section of every page its prose, and the names in its code."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterable
from html.parser import HTMLParser

from markupsafe import Markup

from gptlib.course.site.pages import Page

HEADINGS = {"h1", "h2", "h3"}
# Answers are not for whoever searches, and what is drawn or leads elsewhere says nothing.
LEFT_OUT = {"template", "math", "details", "script", "nav"}
NAME = re.compile(r"[A-Za-z_]\w{2,}")


def search_index(pages: Iterable[Page]) -> list[tuple[str, str, list[list[str]]]]:
    """Of each page its address, its title, and of each of its sections [id, heading, text].

    A term of the glossary and a field of the library are sections of their own.
    """
    return [(page.path, Markup(page.title).striptags(), _Reader(page.body).sections()) for page in pages]


def packed_index(pages: Iterable[Page]) -> str:
    """The index as its file has it: JSON, gzipped, in base64, less than half as many bytes."""
    index = json.dumps(search_index(pages), ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(index.encode(), mtime=0)).decode()


class _Section:
    """What is read of a section. It grows while its part of the page is read."""

    def __init__(self, name: str, heading: str = "") -> None:
        self.name, self.heading, self.prose = name, [heading], [""]
        self.names: dict[str, None] = {}  # of its code, in order

    def told(self) -> list[str]:
        """Its id, its heading and its text."""
        heading, prose = (" ".join("".join(parts).split()) for parts in (self.heading, self.prose))
        names = " ".join(name for name in self.names if name not in prose)
        return [self.name, _plain_root(heading), f"{prose.removeprefix(': ')} {names}".strip()]


class _Reader(HTMLParser):
    def __init__(self, body: str) -> None:
        super().__init__()
        self._around = self._section = _Section("")  # the heading's section, and a term's or a field's in it
        self._found = [self._section]
        self._hidden = 0
        self._in_heading = self._in_code = False
        self.feed(body)
        self.close()

    def sections(self) -> list[list[str]]:
        told = [section.told() for section in self._found]
        return [[name, heading, text] for name, heading, text in told if heading or text]

    def _begin(self, section: _Section) -> None:
        self._section = section
        self._found.append(section)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        name = given.get("id") or ""
        if tag == "math":
            self.handle_data(given.get("alttext") or "")
        if tag in LEFT_OUT:
            self._hidden += 1
        elif tag in HEADINGS:
            self._begin(_Section(name))
            self._around = self._section
            self._in_heading = True
        elif tag == "li" and name:
            self._begin(_Section(name))
        elif tag == "dt" and name:
            self._begin(_Section(name, name))
        elif tag == "dfn":
            self._in_heading = True
        elif tag == "pre":
            self._in_code = True
        elif not self._in_heading and tag in ("p", "li", "td", "th", "div", "dt", "dd", "label"):
            self.handle_data(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in LEFT_OUT:
            self._hidden -= 1
        elif tag in HEADINGS or tag == "dfn":
            self._in_heading = False
        elif tag == "pre":
            self._in_code = False
        elif tag in ("ul", "dl") and not self._hidden:
            self._section = self._around

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        if self._in_code:
            self._section.names |= dict.fromkeys(NAME.findall(data))
        else:
            (self._section.heading if self._in_heading else self._section.prose).append(data)


def _plain_root(heading: str) -> str:
    return re.sub(r"\\sqrt\{(.*?)\}", r"√\1", heading)
