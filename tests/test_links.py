"""Prose names a notebook by a link with its title and never by its number, and every link leads somewhere."""

import json
import pkgutil
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from gptlib.course.prose import blocks, notebook_paths, short_title

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*notebook_paths(), ROOT / "README.md", ROOT / "data" / "README.md", *ROOT.glob("docs/**/*.md")]
MODULES = sorted((ROOT / "gptlib").rglob("*.py"))
# "notebook 07", "notebooks 03 to 05", "built in 07", "07 has it"; a Drawing says how many it shows.
BARE_NUMBER = re.compile(r"(?i)(?<!Drawing\()\bnotebooks?\s+\d|(?<![\w.,:;/\[\"-])0\d\b(?![\w.:\]])")
NAME = re.compile(r"`[^`\n]*?\b(gptlib(?:\.[A-Za-z_]\w*)+)(?!\.)")
FILE = re.compile(r"`((?:benchmarks|data|docs|gptlib|tests)/[\w/-]+\.\w+)`")
LINK = re.compile(r"(?<!!)\[([^\[\]]*)\]\(([^()\s]+)\)")


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def markdown(path):
    """A page's Markdown, without what is set as code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        sources = ["".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "markdown"]
        text = "\n\n".join(sources)
    return re.sub(r"(?s)```.*?```", "", text)


def all_text(path):
    """A notebook's text, outputs included; any other file as it is."""
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    found = []
    for cell in cells(path):
        found += cell["source"]
        for output in cell.get("outputs", []):
            found += output.get("text", [])
            shown = output.get("data", {})
            found += [line for kind in ("text/plain", "text/html") for line in shown.get(kind, [])]
    return re.sub(r"base64,[\w+/=]+", "", "\n".join(found))  # a picture says nothing in words


def addresses(path):
    """Where a link may point to in a file: headings as JupyterLab writes them, in a page as GitHub does."""
    headings = [block.text for block in blocks(markdown(path)) if block.kind == "heading"]
    if path.suffix == ".ipynb":
        return {heading.replace(" ", "-") for heading in headings}
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def wrong_links(page):
    """Each link of a page that leads nowhere, or to a notebook without its title."""
    for text, target in LINK.findall(markdown(page)):
        if re.match(r"https?://", target):
            continue
        name, _, address = target.partition("#")
        file = (page.parent / unquote(name)).resolve() if name else page
        if not file.exists() or (address and unquote(address) not in addresses(file)):
            yield f"[{text}]({target}) leads nowhere"
        elif file in notebook_paths() and short_title(file) not in text:
            yield f"[{text}]({target}) has to say {short_title(file)!r}"
        elif page.suffix == ".md" and text.endswith(".md"):
            yield f"[{text}]({target}) names a file; on the site there is none"


def gone(text):
    """Each module, name or file that a text names in backticks and that is not there."""
    for name in NAME.findall(text):
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            yield name
    yield from (file for file in FILE.findall(text) if not (ROOT / file).exists())


@pytest.mark.parametrize("file", [*PAGES, *MODULES], ids=lambda file: str(file.relative_to(ROOT)))
def test_no_notebook_is_named_by_its_number(file):
    text = all_text(file)
    assert [text[max(0, found.start() - 40) : found.end() + 20] for found in BARE_NUMBER.finditer(text)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere_and_say_the_title(page):
    assert list(wrong_links(page)) == []


@pytest.mark.parametrize("file", [*PAGES, *MODULES], ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_named_in_backticks_is_there(file):
    assert list(gone(markdown(file) if file in PAGES else file.read_text(encoding="utf-8"))) == []


def test_what_is_gone_is_found():
    text = "`gptlib.attend`, `gptlib.pretrained`, `from gptlib.rivals import x`, `gptlib/gpt.py`, "
    text += "`gptlib/model/gpt.py`"
    assert list(gone(text)) == ["gptlib.pretrained", "gptlib.rivals", "gptlib/gpt.py"]


def test_wrong_links_and_bare_numbers_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n[a](gone.md), [b](#no), [c](#a-page), [`x`](https://example.com)\n")
    assert list(wrong_links(page)) == ["[a](gone.md) leads nowhere", "[b](#no) leads nowhere"]
    page.write_text("[page.md](page.md), [This page](page.md)")
    assert list(wrong_links(page)) == ["[page.md](page.md) names a file; on the site there is none"]
    attention = next(path for path in notebook_paths() if path.stem.endswith("_attention"))
    page.write_text(
        f"[Attention]({attention}) and [the one on it]({attention}), [Attention]({attention}#Quizz)"
    )
    first, second = wrong_links(page)
    assert first.endswith("has to say 'Attention'") and second.endswith("leads nowhere")
    for text in (
        "see Notebook 07",
        "notebooks\n03 to 05",
        "built in 07",
        "the mask of 04, and",
        "(06) and\n06 to 10",
    ):
        assert BARE_NUMBER.search(text)
    for text in ("16 notebooks", "[The block](08_block.ipynb)", "in 0.5 seconds", "from 00:10 to 01:00"):
        assert not BARE_NUMBER.search(text)
