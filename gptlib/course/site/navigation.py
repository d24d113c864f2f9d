"""What stands beside each page: the chapters and the other pages, and the sections of the page itself."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from gptlib.course.site.chapters import Chapter
from gptlib.course.site.pages import Contents, Page, between

# Pages of whole folders; the folder's other pages stand below it while they are read.
OTHERS = {
    "learning.html": "Watch a GPT learn",
    "glossary.html": "Glossary",
    "reference/index.html": "The library",
    "teaching/index.html": "Teaching",
    "record.html": "The record",
    "data.html": "The data",
}


@dataclass
class Item:
    """A line of the navigation."""

    title: str
    address: str
    current: bool = False
    contents: Contents = field(default_factory=list)
    below: list[Item] = field(default_factory=list)


def navigation(
    page: Page, parts: Sequence[tuple[str, Sequence[Chapter]]], others: dict[str, str] = OTHERS
) -> list[tuple[str, list[Item]]]:
    """The groups of lines beside a page: their titles, and the lines."""
    groups = [(title, [_item(each.title, each.path, page) for each in chapters]) for title, chapters in parts]
    rest = [_item(title, path, page) for path, title in others.items()]
    if not any(item.current for _, items in [*groups, ("", rest)] for item in items):
        folder = posixpath.dirname(page.path)
        parents = [
            item
            for item, path in zip(rest, others, strict=True)
            if folder and posixpath.dirname(path) == folder
        ]
        own = _item(Markup(page.title), page.path, page)
        (parents[0].below if parents else rest).append(own)
    return [*groups, ("More", rest)]


def _item(title: str, path: str, page: Page) -> Item:
    if path != page.path:
        return Item(title, between(page.path, path))
    below = [(level, name, Markup(text)) for level, name, text in page.contents if level == 2]
    return Item(title, "#main", True, below)
