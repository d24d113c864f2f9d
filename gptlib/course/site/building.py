"""The whole site, from the saved notebooks and the documents: `gptlib site`. Nothing is executed for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from markupsafe import Markup

from gptlib.course.desk.workbooks import readers_copy, serialize
from gptlib.course.prose import notebook_paths
from gptlib.course.site import explorers, opening
from gptlib.course.site.chapters import Chapter, parts
from gptlib.course.site.colab import Repository, colab_files
from gptlib.course.site.documents import document_page, file_page
from gptlib.course.site.learning import learning_assets, learning_page
from gptlib.course.site.navigation import navigation
from gptlib.course.site.notebooks import NotebookMaker
from gptlib.course.site.pages import Page, Places, between, course_pages
from gptlib.course.site.pictures import Pictures
from gptlib.course.site.reference import Reference, make_reference
from gptlib.course.site.searching import packed_index
from gptlib.course.site.templates import TEMPLATES, THEME
from gptlib.places import is_checkout

THEMED = ("early.js", "site.js", "site.css", "code.css", "icon.svg")


def build_site(out: Path, repository: Repository | None = None) -> Path:
    """Write the site to the folder `out`, and return the path of its first page.

    With a repository there are copies of the notebooks for Colab, too, and links to them and to Binder.

    A site that is there is replaced. Raises FileNotFoundError where gptlib is installed without a checkout,
    which has the documents, and where a page links to what is not there; ValueError when `out` holds
    something else than a site; MissingExtra where an extra is not installed.
    """
    if not is_checkout():
        raise FileNotFoundError(
            "the site is made of the course's repository, of its docs/ too; an installed gptlib has none, so "
            "call this from a checkout"
        )
    if out.exists() and any(out.iterdir()) and not (out / "assets" / "site.js").is_file():
        raise ValueError(f"out is {str(out)!r}; it needs to be a new or empty folder, or that of a site")
    files = site_files(repository)
    shutil.rmtree(out, ignore_errors=True)
    for path, contents in files.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(contents)
    return out / "index.html"


def site_files(repository: Repository | None = None) -> dict[str, bytes]:
    """Every file of the site, by its path."""
    return _Site(repository).files()


class _Site:
    def __init__(self, repository: Repository | None) -> None:
        self.repository = repository
        self.reference: Reference = make_reference()
        self.places = Places(course_pages() | self.reference.files)
        self.pictures = Pictures()
        self.parts = parts()
        self.chapters = [chapter for _, chapters in self.parts for chapter in chapters]
        self.maker = NotebookMaker(self.places, self._named, self.pictures)

    def files(self) -> dict[str, bytes]:
        pages = list(self._pages())
        found = {page.path: self._framed(page).encode() for page in pages}
        found["index.html"] = self._first_page().encode()
        found["assets/search.js"] = explorers.script_file(
            "search.js", json.dumps(packed_index(pages))
        ).encode()
        for name in THEMED:
            found[f"assets/{name}"] = (THEME / name).read_bytes()
        for path, text in self._scripts().items():
            found[f"assets/{path}"] = text.encode()
        for path in notebook_paths():
            found[f"notebooks/{path.name}"] = serialize(readers_copy(path))
        if self.repository is not None:
            found |= colab_files(self.repository)
        found[opening.DOWNLOAD] = opening.download()
        return found | self.pictures.files()

    def _scripts(self) -> dict[str, str]:
        return explorers.assets(self.maker.explorers) | opening.assets() | learning_assets()

    def _pages(self) -> Iterable[Page]:
        for path in notebook_paths():
            yield self.maker.page(path)
        yield learning_page()
        for file in self.places.pages:
            if file.endswith(".md") and file != "README.md":
                yield document_page(file, self.places, self._named)
        for page in self.reference.pages:
            yield Page(page.path, page.title, page.body, page.contents, "reference")
        for file in self.places.shown:
            yield file_page(file, self.places)

    def _named(self, name: str, page: str) -> str:
        found = self.reference.address(name)
        return between(page, found) if found else ""

    def _framed(self, page: Page) -> str:
        return TEMPLATES.get_template("page.html").render(**self._frame(page), body=Markup(page.body))

    def _first_page(self) -> str:
        figure = opening.figure(self.pictures)
        page = Page("index.html", "A GPT you can see", figure, [], "first")
        return TEMPLATES.get_template("first_page.html").render(
            **self._frame(page),
            parts=self.parts,
            minutes=sum(each.minutes for each in self.chapters),
            opening=Markup(figure),
            download=opening.DOWNLOAD,
            download_size=f"{len(opening.download()) / 1e6:.1f} MB",
        )

    def _frame(self, page: Page) -> dict[str, Any]:
        around = _neighbors(page, self.chapters)
        return {
            "page": page,
            "title": Markup(page.title),
            "root": "../" * page.path.count("/"),
            "groups": navigation(page, self.parts),
            "previous": around[0],
            "next": around[1],
            "explorers": 'class="explorer"' in page.body,
            "repository": self.repository,
        }


def _neighbors(page: Page, chapters: list[Chapter]) -> tuple[Chapter | None, Chapter | None]:
    """The chapters before and after a page: of no chapter there are none."""
    paths = [chapter.path for chapter in chapters]
    if page.path not in paths:
        return None, None
    place = paths.index(page.path)
    return (
        chapters[place - 1] if place else None,
        chapters[place + 1] if place + 1 < len(chapters) else None,
    )
