"""A slide show of any notebook: one HTML file that presents without a network.

Tags in a cell's metadata say what becomes of the cell: "slide" and "subslide" open one, "fragment" adds to
the one before and waits for a key, "notes" goes to the speaker's notes, "skip" is left out. A tagged cell is
shown whole. A cell without a tag is shown in few words:

- a heading opens a slide, one of level 3 a subslide;
- of the prose, lists, tables, formulas, sentences in bold and the first sentence below a heading are
  shown; the whole of it goes to the speaker's notes;
- code is shown without imports and asserts, in a size that can be read at the back of a room; each figure has
  a subslide to itself, and the code that merely draws it is left out;
- a prediction and each question of a quiz is put to the room, with its choices, before anything that answers
  it; checks are left out.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptlib.course.cells import figure_title, revealed
from gptlib.course.exercises import Prediction, Question, lessons, question
from gptlib.course.prose import Block, blocks, find_notebook, items, sentences, words
from gptlib.course.slides.listings import (
    HEIGHT,
    SMALLEST,
    SMALLEST_PRINTED,
    WRAPPED,
    beginning,
    code_html,
    halves,
    largest_size,
    printed_html,
    shown_code,
)
from gptlib.course.slides.markup import inline, to_html
from gptlib.files import write_atomically
from gptlib.places import readers_root

SHOW = Path(__file__).resolve().parent / "show"

TAGS = {"slide", "subslide", "fragment", "notes", "skip"}
NOT_SHOWN = ("**You need", "**Time", "**Where it comes from")
# For a reader at the keyboard.
FOR_HANDS = re.compile(r"Shift \+ Enter|\b[Cc]lick|\b[Cc]ells? (above|below)|\b[Cc]hoose as often")

LEAD_HEIGHT, LEAD_WORDS = 44, 14  # of a line of prose above the code
LONGEST_LEAD = 32  # words
LONGEST_ITEM = 22  # words
LONGEST_EXERCISE = 120  # words, eight for a line of its stub; a longer one has the stub on another slide
SHORT = 25  # words: prose that is shown whole
SAYS_LITTLE = 8  # words
CAPTION_LINES = 3  # of printed text that fit below a figure


@dataclass
class Slide:
    """One slide: HTML for the stage and for the speaker. `opens` says whether a new column starts here."""

    kind: str
    section: str
    opens: bool = False
    title: str = ""
    body: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def write_show(name: str, folder: Path | None = None) -> Path:
    """Write the show of a notebook, given by topic, name, number or path, and return the HTML file's path.

    `folder` is where, and is made if need be (default: slides/ in the course). Raises ValueError when
    there is no such notebook, ImportError when the package that sets formulas is missing.
    """
    import nbformat

    path = Path(name)
    if path.suffix != ".ipynb" or not path.is_file():
        path = find_notebook(name)
    page = show(nbformat.read(path, as_version=4))
    folder = readers_root() / "slides" if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    return write_atomically(folder / f"{path.stem}.html", lambda file: file.write(page.encode()))


def show(notebook: Any) -> str:
    """The whole page of a notebook's show: scripts, styles and pictures are in it."""
    slides = slides_of(notebook)
    title = re.sub(r"<[^>]*>", "", slides[0].title) if slides else "Slides"
    columns: list[list[Slide]] = []
    for slide in slides:
        if slide.opens or not columns:
            columns.append([])
        columns[-1].append(slide)
    sections = "\n".join(
        _section(column[0])
        if len(column) == 1
        else "<section>\n" + "\n".join(_section(slide) for slide in column) + "\n</section>"
        for column in columns
    )
    styles = "\n".join(_read(f"reveal/{name}.css") for name in ("reset", "reveal")) + _read("show.css")
    scripts = "\n".join(
        # The notes' page, a string in its script, may not end the script.
        "<script>\n" + _read(name).replace("</script", "<\\/script") + "\n</script>"
        for name in ("reveal/reveal.js", "reveal/notes.js", "show.js")
    )
    page = _read("show.html")
    parts = {"title": title, "styles": styles, "sections": sections, "scripts": scripts}
    return re.sub(r"\{\{ (\w+) \}\}", lambda found: parts[found[1]], page)


def slides_of(notebook: Any) -> list[Slide]:
    """The slides of a notebook, in order."""
    maker = _Maker()
    for cell in notebook.cells:
        tags = TAGS & set(cell.metadata.get("tags", []))
        if "skip" in tags or cell.get("id", "").startswith("check-"):
            continue
        if cell.cell_type == "markdown":
            maker.add_markdown(cell.source, tags)
        elif cell.cell_type == "code":
            maker.add_code(cell, tags)
    maker.close()
    return maker.slides


def _read(name: str) -> str:
    return (SHOW / name).read_text(encoding="utf-8")


def _section(slide: Slide) -> str:
    title = f"<h2>{slide.title}</h2>\n" if slide.title else ""
    running = f'<p class="running">{slide.section}</p>\n' if slide.section else ""
    notes = f'<aside class="notes">{"".join(slide.notes)}</aside>\n' if slide.notes else ""
    body = "\n".join(slide.body)
    stage = f'<div class="stage">\n{title}{body}\n</div>'
    return f'<section class="{slide.kind}">\n{running}{notes}{stage}\n</section>'


class _Maker:
    """Goes through the cells and grows the list of slides."""

    def __init__(self) -> None:
        self.slides: list[Slide] = []
        self.section = ""
        self.lead: list[str] = []  # prose that waits for the code that it introduces
        self.waiting_notes: list[str] = []

    def new(self, kind: str, opens: bool = False, title: str = "") -> Slide:
        slide = Slide(kind, self.section, opens or not self.slides, title, notes=self.waiting_notes)
        self.waiting_notes = []
        self.slides.append(slide)
        return slide

    def note(self, text: str) -> None:
        (self.slides[-1].notes if self.slides else self.waiting_notes).append(to_html(text))

    def close(self) -> None:
        """Give prose that introduces no code a slide of its own."""
        if self.lead:
            lead, self.lead = self.lead, []
            self.new("key").body.extend(map(to_html, lead))
        if self.waiting_notes and self.slides:
            self.slides[-1].notes += self.waiting_notes
            self.waiting_notes = []

    # ------------------------------------------------------------------------------------------- Markdown

    def add_markdown(self, source: str, tags: set[str]) -> None:
        if "notes" in tags:
            self.note(source)
            return
        if "fragment" in tags and self.slides:
            self.close()
            self.slides[-1].body.append(f'<div class="fragment">{to_html(source)}</div>')
            return
        parts: list[list[Block]] = [[]]
        for block in blocks(source):
            if block.kind == "heading" and parts[-1]:
                parts.append([])
            parts[-1].append(block)
        for place, part in enumerate(part for part in parts if part):
            if part[0].kind == "heading":
                opens = "slide" in tags if tags and place == 0 else part[0].level <= 2
                self.add_headed(part[0], part[1:], opens, whole=bool(tags))
            elif tags:
                self.close()
                slide = self.new("text", opens="slide" in tags and place == 0)
                self.fill(slide, part)
            else:
                self.add_between(part)

    def add_headed(self, heading: Block, rest: list[Block], opens: bool, whole: bool) -> None:
        """A slide that a heading opens."""
        self.close()
        title = inline(heading.text)
        exercise = heading.text.startswith("Exercise:") or re.match(r"Exercise \d", heading.text)
        if heading.level <= 2:
            self.section = "" if heading.level == 1 else title
        slide = self.new("title" if heading.level == 1 else "text", opens, title)
        if heading.level == 2:
            slide.section = ""
        if exercise:
            slide.kind = "exercise"
        if whole or exercise:
            self.fill(slide, rest)
            return
        for place, block in enumerate(rest):
            kept = self.kept(block, first=place == 0)
            if kept and self.slides[-1] is slide:
                slide.body.append(to_html(kept))
            elif kept:
                self.lead.append(kept)
            if block.kind in ("paragraph", "list"):
                self.note(block.text)
        if heading.level == 2 and all(block.kind == "paragraph" for block in rest):
            slide.kind = "opener"

    def fill(self, slide: Slide, part: Iterable[Block]) -> None:
        """Show blocks whole."""
        slide.body.extend(to_html(_source(block)) for block in part)

    def add_between(self, part: list[Block]) -> None:
        """Prose below no heading: what it says of the last output is noted, what leads on is shown."""
        plain = all(block.kind == "paragraph" for block in part)
        if plain and words(_text(part)) <= SHORT:
            self.close()
            self.lead = [block.text for block in part]
            return
        for block in part:
            if block.kind in ("list", "table", "maths", "quote", "fence"):
                lead, self.lead = self.lead, []
                slide = self.new("text")
                slide.body.extend(map(to_html, [*lead, self.kept(block)]))
                if block.kind == "list":
                    self.note(block.text)
            else:
                said = sentences(block.text)
                strong = [sentence for sentence in said if _is_strong(sentence) or sentence.endswith(":")]
                if strong:
                    if words(" ".join([*self.lead, *strong])) > LONGEST_LEAD:
                        self.close()
                    self.lead.append(" ".join(strong))
                    self.waiting_notes.append(to_html(block.text))
                elif self.lead:
                    self.waiting_notes.append(to_html(block.text))
                else:
                    self.note(block.text)

    def kept(self, block: Block, first: bool = False) -> str:
        """What of a block stands on the stage, as Markdown."""
        if block.text.startswith(NOT_SHOWN):
            return ""
        if block.kind == "list":
            mark = "1." if block.text[0].isdigit() else "-"
            short = [
                item if words(item) <= LONGEST_ITEM else sentences(item)[0] for item in items(block.text)
            ]
            return "\n".join(f"{mark} {item}" for item in short)
        if block.kind != "paragraph":
            return block.text
        said = [sentence for sentence in sentences(block.text) if not FOR_HANDS.search(sentence)]
        strong = [sentence for sentence in said if _is_strong(sentence)]
        if first and said and words(" ".join(strong)) <= SHORT:
            strong = [sentence for sentence in said if sentence in strong or sentence in _opening(said)]
        return " ".join(strong)

    def add_quiz(self, topic: str) -> None:
        """A slide for each question; the answer waits for a key."""
        self.close()
        for place, asked in enumerate(lessons()[topic].quiz, 1):
            slide = self.new("predict", title=f"Question {place}")
            letter, why = "ABCDEF"[asked.right_place], asked.right[1]
            slide.body = [
                *_question(asked),
                f'<div class="answer fragment">{to_html(f"**{letter}.** {why}")}</div>',
            ]
            slide.notes += _reasons(asked)

    def ask(self, asked: Prediction) -> None:
        """Put a prediction to the room."""
        self.close()
        slide = self.new("predict", title="Predict")
        slide.body = _question(asked)
        slide.notes += [*_reasons(asked), to_html(asked.finding)]

    # ----------------------------------------------------------------------------------------------- code

    def add_code(self, cell: Any, tags: set[str]) -> None:
        if "notes" in tags:
            self.note(f"```python\n{cell.source}\n```")
            return
        kind, _, rest = cell.get("id", "").partition("-")
        if kind == "quiz":
            self.add_quiz(rest)
            return
        pictures, printed = _outputs(cell)
        code = cell.source if tags else shown_code(cell.source, bool(pictures))
        title = figure_title(cell.source)
        if kind == "predict":
            asked = question(rest.replace("-", ".", 1))
            self.ask(asked)
            pictures, printed = revealed(cell)
            code, title = "", f"The figure that answers: {asked.asks}"
        if kind == "answer" and self.slides and self.slides[-1].kind == "exercise":
            task = self.slides[-1]
            if words(" ".join(task.body)) + 8 * len(cell.source.splitlines()) > LONGEST_EXERCISE:
                task = self.new("exercise", title=task.title)
            task.body.append(code_html(cell.source, WRAPPED))
            return
        if not (code or pictures or printed):
            return
        if "fragment" in tags and self.slides:
            slide = self.slides[-1]
            whole = [code_html(code, WRAPPED), *_figures(pictures, title), *printed_html(printed)]
            slide.body.append(f'<div class="fragment">{"".join(whole)}</div>')
            return
        first = len(self.slides)
        below = printed if pictures and len(printed.splitlines()) <= CAPTION_LINES else ""
        above = "" if below else printed
        if code or above:
            self.add_listing(code, above)
        for picture in pictures:
            lead = self.take_lead()
            slide = self.new("figure")
            slide.body.extend([*lead, *_figures([picture], title), *printed_html(below)])
            below = ""
        if "slide" in tags:
            self.slides[first].opens = True
        self.slides[-1].notes.append(to_html(f"```python\n{cell.source}\n```"))

    def take_lead(self) -> list[str]:
        lead, self.lead = [to_html(text) for text in self.lead], []
        return [f'<div class="lead">{"".join(lead)}</div>'] if lead else []

    def add_listing(self, code: str, printed: str) -> None:
        """Code with what it printed, on one slide if that can be read, else on several."""
        height = HEIGHT
        if self.lead:
            height -= LEAD_HEIGHT * -(-words(" ".join(self.lead)) // LEAD_WORDS)
        smallest = SMALLEST if code else SMALLEST_PRINTED
        size = largest_size([text for text in (code, printed) if text], height, smallest)
        parts = halves(code) if code else [code]
        little = len(printed.splitlines()) <= CAPTION_LINES
        if size or (len(parts) == 1 and not (code and printed)):
            lead = self.take_lead()
            slide = self.new("code" if code else "output")
            slide.body.extend(lead)
            if code:
                slide.body.append(code_html(code, size or SMALLEST))
            elif not size:
                printed = beginning(printed, height)
            slide.body.extend(printed_html(printed, size or SMALLEST_PRINTED))
        elif len(parts) == 2 and (little or not largest_size([code], height)):
            self.add_listing(parts[0], "")
            self.add_listing(parts[1], printed)
        else:
            self.add_listing(code, "")
            self.add_listing("", printed)


def _question(asked: Question) -> list[str]:
    choices = "".join(f"<li>{inline(choice)}</li>" for choice, _ in asked.choices)
    return [to_html(asked.asks), f'<ol class="choices">{choices}</ol>']


def _reasons(asked: Question) -> list[str]:
    return [to_html("\n".join(f"- {choice}: {why}" for choice, why in asked.choices))]


def _source(block: Block) -> str:
    return f"{'#' * block.level} {block.text}" if block.kind == "heading" else block.text


def _text(part: Iterable[Block]) -> str:
    return " ".join(block.text for block in part)


def _is_strong(sentence: str) -> bool:
    """Whether something is in bold, other than the name of a section."""
    return any(found != "Break it" for found in re.findall(r"\*\*([^*]+)\*\*", sentence))


def _opening(said: list[str]) -> list[str]:
    """The first sentence, and the next when that says little."""
    return said[: 1 + (words(said[0]) < SAYS_LITTLE)]


# ---------------------------------------------------------------------------------------------------- outputs


def _outputs(cell: Any) -> tuple[list[str], str]:
    """A code cell's pictures, as sources of an img, and the text that it printed."""
    pictures, printed = [], []
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            pictures.append("data:image/png;base64," + "".join(data["image/png"].split()))
        elif output.output_type == "stream":
            printed.append(output.text)
        elif "text/plain" in data:
            printed.append(data["text/plain"] + "\n")
    return pictures, "".join(printed).strip("\n")


def _figures(pictures: list[str], title: str) -> list[str]:
    return [f'<img src="{picture}" alt="{html.escape(title)}">' for picture in pictures]
