"""What a page of the site is, and where on the site each file of the course stands."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from gptlib.course.prose import notebook_paths
from gptlib.places import course_root

Named = Callable[[str, str], str]  # from a name in backticks and a page, the name's address there, or ""
Contents = list[tuple[int, str, str]]  # of a page, its headings: level, id and HTML of each


@dataclass(frozen=True)
class Page:
    """A page without the site's frame around it.

    path: where it stands on the site; links in `body` are from there.
    contents: the headings that a reader may want to jump to.
    """

    path: str
    title: str
    body: str
    contents: Contents
    kind: str = "document"
    download: str = ""


@dataclass
class Places:
    """Where the files of the course stand on the site.

    `pages` has the site's address of each file or folder that is a page, by its path in the course. Any other
    file that a page links to becomes a page that shows it; these are collected in `shown`.
    """

    pages: dict[str, str]
    shown: dict[str, str] = field(default_factory=dict)

    def address(self, link: str, file: str, page: str) -> str:
        """What a link in a file of the course is on the page that is made of it.

        `link` is as it stands there, `file` is the file's path in the course, `page` the page's on the site.
        Raises FileNotFoundError when it leads nowhere.
        """
        path, _, anchor = link.partition("#")
        if not path or "://" in path:
            return link
        target = posixpath.normpath(posixpath.join(posixpath.dirname(file), unquote(path)))
        found = self.pages.get(target) or self.shown.get(target)
        if found is None:
            if not (course_root() / target).is_file():
                raise FileNotFoundError(f"{file} has a link to {link}, which is not there")
            found = self.shown[target] = f"files/{target}.html"
        return between(page, found) + (f"#{anchor}" if anchor else "")


def course_pages() -> dict[str, str]:
    """The pages that are made of notebooks and of documents: addresses by the files' paths in the course."""
    root = course_root()
    pages = {f"notebooks/{path.name}": f"{path.stem}.html" for path in notebook_paths()}
    for path in sorted((root / "docs").rglob("*.md")):
        name = path.relative_to(root / "docs").with_suffix(".html").as_posix()
        pages[f"docs/{path.relative_to(root / 'docs').as_posix()}"] = name.replace("README", "index")
    return pages | {"README.md": "index.html", "data/README.md": "data.html"}


def between(page: str, target: str) -> str:
    """A page's relative address for another page or file of the site, which may have an anchor."""
    path, _, anchor = target.partition("#")
    relative = quote(posixpath.relpath(path, posixpath.dirname(page)))
    return f"{relative}#{anchor}" if anchor else relative


def notebook_anchor(heading: str) -> str:
    """The id that JupyterLab gives a heading of a notebook."""
    return heading.replace(" ", "-")


def document_anchor(heading: str) -> str:
    """The id that code hosts give a heading of a document."""
    return re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
