"""A saved notebook as a page: its cells in order, with what they gave. Nothing is executed."""

from __future__ import annotations

import ast
import html
import re
from pathlib import Path
from typing import Any

import nbformat

from gptlib.course.cells import figure_title, revealed
from gptlib.course.exercises import lessons, question
from gptlib.course.site import asking, explorers
from gptlib.course.site.markup import Renderer, code_html, inline, to_html
from gptlib.course.site.pages import Named, Page, Places, notebook_anchor
from gptlib.course.site.pictures import Pictures, decoded, element
from gptlib.course.site.spoilers import spoilers

WIDE_FIGURE = 800  # CSS pixels; the letters of one like that cannot be read in the width of a phone
WIDEST_LINE = 110  # characters, as of code
STILL = "gptlib-still"  # an output that stands for a widget where nothing runs


class NotebookMaker:
    """Makes pages of notebooks, and collects the pictures and the explorers that are on them.

    named: what the link is that a name in backticks becomes on a page; "" for none.
    """

    def __init__(self, places: Places, named: Named, pictures: Pictures) -> None:
        self.places, self.named, self.pictures = places, named, pictures
        self.explorers: dict[str, dict[str, str]] = {}  # by their names on the site
        self.checks = {
            task.id_of_cell("check"): task for each in lessons().values() for task in each.exercises
        }

    def page(self, path: Path) -> Page:
        """The page of a notebook."""
        notebook = nbformat.read(path, as_version=4)
        file, address = f"notebooks/{path.name}", f"{path.stem}.html"
        own = _own_names(notebook)
        renderer = Renderer(
            lambda link: self.places.address(link, file, address),
            notebook_anchor,
            lambda name: "" if name.partition(".")[0] in own else self.named(name, address),
        )
        self.renderer, self.stem, self.download = renderer, path.stem, file
        self.spoilers = spoilers(notebook)
        body = "\n".join(self._cell(cell) for cell in notebook.cells)
        title = renderer.contents[0][2]
        return Page(address, title, body, renderer.contents, "notebook", file)

    def _cell(self, cell: Any) -> str:
        kind, _, rest = cell.id.partition("-")
        if kind == "check" and cell.id not in self.checks:
            kind = ""  # it checks what the notebook says
        if cell.cell_type == "markdown":
            made = to_html(cell.source, self.renderer)
        else:
            made = self._code(cell, kind, rest)
        made = f'<div class="cell" data-cell="{html.escape(cell.id)}">\n{made}\n</div>'
        if kind == "exercise":
            return f'<section class="exercise">\n{made}'
        return f"{made}\n</section>" if kind == "check" else made

    def _code(self, cell: Any, kind: str, rest: str) -> str:
        code = code_html(cell.source)
        if kind == "quiz":
            return code + asking.quiz(rest, self._inline)
        if kind == "check":
            return code + asking.hints(self.checks[cell.id], self._inline, self.download)
        gave = "\n".join(filter(None, (self._output(cell, place) for place in range(len(cell.outputs)))))
        if kind == "predict":
            asked = question(rest.replace("-", ".", 1))
            gave += asking.prediction(asked, self._result(cell, asked.asks), self._inline)
        if gave and (names := self.spoilers.get(cell.id)):
            gave = asking.later(gave, names)
        return code + gave

    def _output(self, cell: Any, place: int) -> str:
        output = cell.outputs[place]
        data = output.get("data", {})
        if STILL in data.get("text/html", ""):
            return ""  # the page has something better
        if explorer := explorers.kept(output):
            name = f"{self.stem}.{cell.id}"
            self.explorers[name] = explorer
            picture = self._picture(data, f"{explorer['title']}: {data['text/plain']}")
            return explorers.figure(explorer, name, picture, self.download)
        if "image/png" in data:
            return self._figure(data["image/png"], figure_title(cell.source))
        return printed_html(output.get("text", "") or data.get("text/plain", ""))

    def _picture(self, data: Any, alt: str) -> str:
        png = decoded(data["image/png"])
        return element(self.pictures.add(png), png, alt)

    def _result(self, cell: Any, asks: str) -> str:
        """What answers a prediction."""
        pictures, printed = revealed(cell)
        alt = f"The figure that answers: {asks}"
        return "\n".join([*(self._figure(picture, alt) for picture in pictures), printed_html(printed)])

    def _figure(self, source: str, alt: str) -> str:
        png = decoded(source)
        image = element(self.pictures.add(png), png, alt)
        kind = ' class="wide"' if int(re.search(r'width="(\d+)"', image)[1]) > WIDE_FIGURE else ""
        return f"<figure{kind}>{image}</figure>"

    def _inline(self, text: str) -> str:
        return inline(text, self.renderer)


def printed_html(text: str) -> str:
    """What a cell printed. Lines stay whole where they make columns and a page has room for them."""
    if not text.strip():
        return ""
    columns = re.search(r"\S  +\S|^ +\S", text, re.MULTILINE)
    fits = max(map(len, text.splitlines())) <= WIDEST_LINE
    kind = "printed" if columns and fits else "printed prose"
    return f'<pre class="{kind}">{html.escape(text.rstrip(), quote=False)}</pre>'


def _own_names(notebook: Any) -> set[str]:
    """What the notebook itself defines: there such a name means its own, not the library's."""
    found = set()
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return found
