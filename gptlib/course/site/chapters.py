"""The map of the course: its parts and chapters, as the README tells of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gptlib.course import markup
from gptlib.course.prose import notebook_paths, topic_of
from gptlib.places import course_root

# Each part by the topic that begins it.
PARTS = {
    "welcome": "Language",
    "attention": "The parts",
    "gpt": "The whole",
    "published": "Using it",
    "looking_inside": "Understanding it",
}
ROW = re.compile(r"\| \[([^]]+)\]\(notebooks/([^)]+)\.ipynb\) \| (.*?) \| (\d+) \| (\d+) \|")


@dataclass(frozen=True)
class Chapter:
    """A notebook on the map: its short title, page, what it covers (HTML), and minutes to read and do it."""

    title: str
    path: str
    covers: str
    minutes: int


def parts() -> list[tuple[str, list[Chapter]]]:
    """The parts of the course with their chapters, in order.

    Raises LookupError when the README's table does not list the notebooks.
    """
    rows = ROW.findall((course_root() / "README.md").read_text(encoding="utf-8"))
    told = {
        stem: Chapter(title, f"{stem}.html", _sentence(covers), int(minutes))
        for title, stem, covers, minutes, _ in rows
    }
    found: list[tuple[str, list[Chapter]]] = []
    for path in notebook_paths():
        if topic_of(path) in PARTS:
            found.append((PARTS[topic_of(path)], []))
        if path.stem not in told:
            raise LookupError(f"README.md has no row for notebooks/{path.name} in its table of the notebooks")
        found[-1][1].append(told[path.stem])
    return found


def _sentence(text: str) -> str:
    paragraph = str(markup.parser(markup.Renderer())(text[0].upper() + text[1:])).strip()
    return paragraph.removeprefix("<p>").removesuffix("</p>")
