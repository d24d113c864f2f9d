"""The course's documents, and the files that they and the notebooks link to, as pages."""

from __future__ import annotations

import html
import re

from gptlib.course.site.markup import Renderer, code_html, to_html
from gptlib.course.site.pages import Named, Page, Places, document_anchor
from gptlib.places import course_root

TERM = re.compile(r"<li><strong>(.*?)</strong>")  # of the glossary
LANGUAGES = {".py": "python", ".yml": "yaml", ".toml": "toml"}


def document_page(file: str, places: Places, named: Named) -> Page:
    """The page of a Markdown document, given by its path in the course."""
    path = places.pages[file]
    renderer = Renderer(
        lambda link: places.address(link, file, path), document_anchor, lambda name: named(name, path)
    )
    body = to_html((course_root() / file).read_text(encoding="utf-8"), renderer)
    if file == "docs/glossary.md":
        body = TERM.sub(lambda term: f'<li id="{document_anchor(term[1])}"><dfn>{term[1]}</dfn>', body)
    return Page(path, renderer.contents[0][2], body, renderer.contents)


def file_page(file: str, places: Places) -> Page:
    """A page that shows a file of the course that is no page by itself."""
    source = course_root() / file
    code = code_html(source.read_text(encoding="utf-8"), LANGUAGES.get(source.suffix, "text"))
    title = html.escape(file)
    return Page(places.shown[file], title, f"<h1><code>{title}</code></h1>\n{code}", [])
