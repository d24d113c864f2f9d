"""The site as a whole: nothing is missing, no link leads nowhere, and it keeps its budgets."""

import base64
import gzip
import json
import os
import posixpath
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from gptlib.course.exercises import lessons, question
from gptlib.course.glossary import TERMS
from gptlib.course.prose import CODE_OR_MATHS, notebook_paths
from gptlib.course.site.building import build_site
from gptlib.loading import load
from gptlib.places import course_root
from gptlib.viz.gpt_page import write_page

KILOBYTE, MEGABYTE = 1000, 1_000_000
FETCHED = ("link", "script", "img")
PLAIN_TEXT = re.compile(r"(?s)<(code|pre|script|style|template)\b.*?</\1>|<[^>]*>")


class Parsed(HTMLParser):
    """Of a page its elements with their attributes, in order, what links lead to, and the links."""

    def __init__(self, page):
        super().__init__()
        self.elements = []
        self.feed(page)
        attributes = [each for _, each in self.elements]
        self.ids = [each["id"] for each in attributes if "id" in each]
        self.files = [each.get("src", each.get("href")) for tag, each in self.elements if tag in FETCHED]
        self.links = [each[name] for each in attributes for name in ("href", "src") if name in each]

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))


@pytest.fixture(scope="module")
def pages(site):
    """The text of every page, by its path on the site; the GPT in one file is a download."""
    files = [path for path in site.rglob("*.html") if path.parent.name != "downloads"]
    return {path.relative_to(site).as_posix(): path.read_text("utf-8") for path in files}


@pytest.fixture(scope="module")
def parsed(pages):
    return {path: Parsed(page) for path, page in pages.items()}


@pytest.fixture(scope="module")
def sections(site):
    """The search's index."""
    text = (site / "assets" / "search.js").read_text("utf-8")
    packed = json.loads(text.partition(" = ")[2].rstrip(";\n"))
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def cells(path):
    return nbformat.read(path, as_version=4).cells


def wrong_links(site, parsed):
    for name, page in parsed.items():
        for link in page.links:
            address = urlsplit(link)
            if address.scheme == "https":  # a document names what is elsewhere; nothing asks for it
                continue
            path = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(address.path)))
            target = path if address.path else name
            anchors = parsed[target].ids if target in parsed else [""]
            if not (site / target).is_file() or unquote(address.fragment) not in ["", *anchors]:
                yield name, link


def test_every_link_leads_to_a_page_and_a_heading_that_are_there(site, parsed):
    assert list(wrong_links(site, parsed)) == []
    assert sum(len(page.links) for page in parsed.values()) > 5000
    # That this would be seen.
    lost = Parsed('<a href="gone.html"></a><a href="#gone"></a><a href="glossary.html#a"></a>')
    assert [link for _, link in wrong_links(site, {**parsed, "lost.html": lost})] == ["gone.html", "#gone"]


def test_no_two_headings_of_a_page_have_one_address(parsed):
    twice = {name: [each for each, n in Counter(page.ids).items() if n > 1] for name, page in parsed.items()}
    assert {name: found for name, found in twice.items() if found} == {}


def test_all_notebooks_and_documents_have_a_page(pages):
    documents = [path.relative_to(course_root() / "docs") for path in (course_root() / "docs").rglob("*.md")]
    names = [each.with_suffix(".html").as_posix().replace("README", "index") for each in documents]
    assert {*names, *(f"{path.stem}.html" for path in notebook_paths()), "index.html"} <= pages.keys()


def test_no_page_may_ask_for_anything_beyond_the_site(pages, parsed):
    for name, page in parsed.items():
        policy = next(
            each["content"] for tag, each in page.elements if tag == "meta" and "http-equiv" in each
        )
        own = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; "
        assert policy.startswith(own) and "http" not in policy, name
        asked = [
            each.get("src", each.get("href"))
            for tag, each in page.elements
            if tag in ("link", "script", "img")
        ]
        assert None not in asked and not [each for each in asked if urlsplit(each).scheme], name


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_every_cell_is_on_its_page_in_order(path, parsed):
    shown = [each["data-cell"] for _, each in parsed[f"{path.stem}.html"].elements if "data-cell" in each]
    assert shown == [cell.id for cell in cells(path)]


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_every_formula_is_mathml(path, pages):
    sources = [
        cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"
    ]
    formulas = [found for text in sources for found in CODE_OR_MATHS.finditer(text) if found[0][0] == "$"]
    page = pages[f"{path.stem}.html"]
    assert page.count("<math ") >= len(formulas)
    text = PLAIN_TEXT.sub("", page.partition("<main")[2])
    assert "$" not in text and "\\" not in text


def test_a_prediction_hides_its_result_and_each_choice_has_its_reason(parsed):
    asked = {
        each["data-name"]: int(each["data-right"])
        for page in parsed.values()
        for _, each in page.elements
        if each.get("class") == "question"
    }
    everything = [each for lesson in lessons().values() for each in (*lesson.predictions, *lesson.quiz)]
    assert asked == {each.name: each.right_place for each in everything}
    for lesson in lessons().values():
        page = parsed[f"{lesson.notebook.stem}.html"].elements
        assert sum(each.get("class") == "result" for _, each in page) == len(lesson.predictions)
        assert not [each for _, each in page if each.get("class") == "result" and "open" in each]
        reasons = sum(len(each.choices) for each in (*lesson.predictions, *lesson.quiz))
        assert sum(tag == "template" for tag, _ in page) == reasons
    assert question("attention.reach").name in asked


def test_an_exercise_has_its_hints_and_not_the_last_rung(parsed):
    for lesson in lessons().values():
        page = parsed[f"{lesson.notebook.stem}.html"].elements
        classes = Counter(each.get("class") for _, each in page)
        assert classes["exercise"] == len(lesson.exercises) and classes["hint"] == 3 * len(lesson.exercises)


def test_the_search_knows_every_page_and_no_answer(pages, sections):
    assert {path for path, _, _ in sections} == pages.keys() - {"index.html"}
    found = {
        heading: text
        for path, _, parts in sections
        if path == "04_attention.html"
        for _, heading, text in parts
    }
    assert "soft dictionary" in found["3. Queries, keys, values: a soft dictionary"].lower()
    assert "4. Why √d_k" in found
    asked = question("attention.reach")
    for answer in (asked.finding[:40], asked.right[1][:40]):
        assert not [text for text in found.values() if answer in text]


def test_the_search_knows_each_term_and_each_field(sections, parsed):
    told = {path: {name: (heading, text) for name, heading, text in parts} for path, _, parts in sections}
    assert len(told["glossary.html"]) > len(TERMS)
    heading, text = told["glossary.html"]["mlp"]
    assert heading == "MLP" and "feed-forward" in text and "multi-head" not in text.lower()
    assert "mlp" in parsed["glossary.html"].ids
    heading, text = told["reference/gptlib.model.config.html"]["GPTConfig.n_kv_heads"]
    assert heading == "GPTConfig.n_kv_heads" and "each shared by a group" in text
    # What follows a list is no part of its last item.
    config = told["reference/gptlib.model.config.html"]["GPTConfig"][1]
    assert config.startswith("What kind of GPT to build") and "shared by a group" not in config


def test_the_site_keeps_its_budgets(site, pages, parsed):
    sizes = {
        path.relative_to(site).as_posix(): path.stat().st_size for path in site.rglob("*") if path.is_file()
    }
    assert max(sizes[name] for name in pages) <= 260 * KILOBYTE
    for name, page in parsed.items():
        asked = [
            each.get("src", each.get("href")) for tag, each in page.elements if tag in ("link", "script")
        ]
        files = {posixpath.normpath(posixpath.join(posixpath.dirname(name), each)) for each in asked}
        assert sizes[name] + sum(sizes[file] for file in files) <= 300 * KILOBYTE, name
    downloads = ("notebooks/", "downloads/")
    assert sum(size for name, size in sizes.items() if not name.startswith(downloads)) <= 15 * MEGABYTE


def test_it_is_built_quickly_and_the_same_each_time(site, tmp_path):
    before = os.times()
    command = [sys.executable, "-m", "gptlib", "site", "--out", str(tmp_path / "again")]
    told = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": "1"}, check=True, capture_output=True, text=True
    ).stdout
    after = os.times()
    assert told.startswith(str(tmp_path / "again" / "index.html"))
    # Of two cores, both idle; what others do meanwhile does not count.
    assert after.children_user + after.children_system - before.children_user - before.children_system <= 30
    first, second = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (site, tmp_path / "again")
    )
    assert first.keys() == second.keys()
    assert [str(path) for path in first if first[path] != second[path]] == []


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="needs to be a new or empty folder"):
        build_site(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_downloads_are_the_readers_copies(site):
    for path in notebook_paths():
        copy = nbformat.read(site / "notebooks" / path.name, as_version=4)
        assert [cell.id for cell in copy.cells] == [
            cell.id for cell in nbformat.read(path, as_version=4).cells
        ]
        assert not any(cell.get("outputs") for cell in copy.cells)


def test_the_gpt_in_one_file_is_a_download_of_the_first_page(site, parsed, tmp_path):
    (link,) = (each for tag, each in parsed["index.html"].elements if "downloads/" in each.get("href", ""))
    assert "download" in link
    write_page(*load("storyteller"), tmp_path / "page.html")
    assert (site / link["href"]).read_bytes() == (tmp_path / "page.html").read_bytes()
