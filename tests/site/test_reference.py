"""The reference has a place for every public name, and every link of it leads to one."""

import ast
import hashlib
import os
import posixpath
import re
import subprocess
import sys
import time
from collections import Counter
from functools import cache
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from gptlib.course.site import docstrings
from gptlib.course.site.library import LEFT_OUT
from gptlib.course.site.reference import make_reference
from gptlib.places import PACKAGE

VOID = {"br", "hr", "img", "input"}


class Reader(HTMLParser):
    """What a page holds: ids, links, and its text outside of code; a tag closed in disorder is an error."""

    def __init__(self, body):
        super().__init__()
        self.open, self.ids, self.links, self.prose = [], [], [], []
        self.feed(body)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        assert not (tag == "a" and "a" in self.open), given
        assert not (tag in ("p", "dl", "ul", "h2", "h3", "div") and "p" in self.open), (tag, self.prose[-1:])
        if "id" in given:
            self.ids.append(given["id"])
        if "href" in given:
            self.links.append(given["href"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        if not {"code", "pre", "summary"} & set(self.open):
            self.prose.append(data)


@pytest.fixture(scope="module")
def reference():
    return make_reference()


@pytest.fixture(scope="module")
def read(reference):
    return {page.path: Reader(page.body) for page in reference.pages}


@cache
def module_names():
    """The modules that are to have a page, with their files."""
    names = {}
    left_out = tuple(f"gptlib.{name}" for names in LEFT_OUT.values() for name in names)
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(["gptlib", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(
            ".__init__"
        )
        if not any(name == other or name.startswith(f"{other}.") for other in left_out):
            names[name] = path
    return names


def public_names(path):
    """What a file makes that a reader may use, from its syntax alone."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    exported = [
        node for node in body if isinstance(node, ast.Assign) and "__all__" in ast.unparse(node.targets)
    ]
    only = set(re.findall(r"'(\w+)'", ast.unparse(exported[0].value))) if exported else None
    for name, node in names_of(body):
        if not name.startswith("_") and (only is None or name in only):
            yield name
            if isinstance(node, ast.ClassDef):
                yield from (f"{name}.{member}" for member in members_of(node))


def names_of(body):
    for place, node in enumerate(body):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):  # griffe passes over several constants in one assignment
                    yield target.id, (node, body[place + 1] if place + 1 < len(body) else None)
        elif isinstance(node, ast.If | ast.Try):
            yield from names_of([*node.body, *node.orelse])


def members_of(owner):
    for name, node in names_of(owner.body):
        if isinstance(node, tuple):  # a field is annotated, or explained by the string after it
            assignment, after = node
            explained = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if not name.startswith("_") and (isinstance(assignment, ast.AnnAssign) or explained):
                yield name
        elif not name.startswith("_"):
            yield name
            if isinstance(node, ast.ClassDef):
                yield from (f"{name}.{member}" for member in members_of(node))
        elif name.endswith("__") and name != "__init__" and ast.get_docstring(node):
            yield name


def test_every_public_name_has_one_place(reference, read):
    for module, path in module_names().items():
        page = reference.names[module]
        wanted = Counter(public_names(path))
        # A function that is made in one way or another, or a property with a setter, is one thing.
        assert Counter(set(wanted)) == Counter(
            name for name in read[page].ids if name not in ("offered", "constants")
        ), module
        for name in wanted:
            assert reference.names[f"{module}.{name}"] == f"{page}#{name}"


def test_what_has_no_page_is_there_and_says_why(reference):
    for names in LEFT_OUT.values():
        for name in names:
            path = PACKAGE.joinpath(*name.split("."))
            assert path.is_dir() or path.with_suffix(".py").is_file(), name
            assert f"gptlib.{name}" not in reference.names
    assert len(reference.pages) == len(module_names()) + 1


def test_every_link_leads_somewhere(reference, read):
    def arrives(address):
        path, _, anchor = address.partition("#")
        return path in read and (not anchor or unquote(anchor) in read[path].ids)

    for path, page in read.items():
        assert len(page.links) == len([link for link in page.links if "://" not in link])
        for link in page.links:
            target = (
                posixpath.join(posixpath.dirname(path), link) if not link.startswith("#") else path + link
            )
            assert arrives(target), f"{path}: {link}"
    assert all(map(arrives, reference.names.values())) and all(map(arrives, reference.files.values()))
    for page in reference.pages:
        assert [anchor for _, anchor, _ in page.contents if anchor not in read[page.path].ids] == []


def test_pages_are_in_order_of_reading_and_none_is_out_of_reach(reference, read):
    first, second, third, *_ = (page.path for page in reference.pages[:1] + reference.pages[2:])
    assert first == "reference/index.html" and second == "reference/gptlib.model.html"
    assert third == "reference/gptlib.model.gpt.html"
    packages = {path.partition("#")[0] for page in read.values() for path in page.links}
    assert {page.path.removeprefix("reference/") for page in reference.pages} - packages == {"gptlib.html"}


def test_no_mark_of_docstrings_is_left_over(read):
    for path, page in read.items():
        text = "".join(page.prose)
        assert "`" not in text, f"{path}: {text[text.index('`') - 60 :][:120]}"


def test_what_a_name_in_prose_means(reference):
    def page(name):
        return reference.address(name).removeprefix("reference/gptlib.").replace(".html", "")

    assert page("attend") == "model.attention#attend"
    assert page("gptlib.GPT") == page("GPT") == "model.gpt#GPT"
    assert page("GPT.forward") == page("gptlib.GPT.forward") == "model.gpt#GPT.forward"
    assert page("figures.bar_chart") == "viz.bars#bar_chart" and page("check") == "course.desk.checking#check"
    assert page("AttentionExplorer.from_array") == "viz.explorers.attention#AttentionExplorer.from_array"
    assert page("AttentionExplorer.to_html") == "viz.explorers.explorer#Explorer.to_html"
    assert page("KeyValueCache") == "model.cache#KeyValueCache"
    assert page("gptlib.text.storyworld.Story") == "text.storyworld.story#Story"
    for unclear in ("forward", "weights", "Step", "gptlib.course.lessons", "numpy", "model", "T", "loading"):
        assert page(unclear) == "", unclear
    assert reference.files["gptlib/model/gpt.py"] == "reference/gptlib.model.gpt.html"
    assert reference.files["gptlib/model"] == "reference/gptlib.model.html"
    assert reference.files["gptlib"] == "reference/gptlib.html"


def test_a_parameter_or_a_field_is_no_module(reference):
    """`model.blocks` are those of the model that is given; `changes` of an explorer is its list of them."""
    bodies = {page.title: page.body for page in reference.pages}
    assert "<code>model.blocks</code>" in bodies["gptlib.training.optimizers"]
    assert 'href="gptlib.model.blocks.html"' not in bodies["gptlib.training.optimizers"]
    assert 'href="gptlib.viz.explorers.changes.html"' not in bodies["gptlib.viz.explorers.attention"]
    # In the docstring of a package its modules are meant.
    assert '<a href="gptlib.model.gpt.html"><code>gpt</code></a>' in bodies["gptlib.model"]


def page_text(reference, name):
    (page,) = (page for page in reference.pages if page.title == name)
    without_source = re.sub(r"(?s)<details.*?</details>", "", page.body)
    return Text(without_source).text


class Text(HTMLParser):
    def __init__(self, body):
        super().__init__()
        self.text = ""
        self.feed(body)

    def handle_data(self, data):
        self.text += data


def test_signatures_are_read_as_they_are_written(reference):
    attention = page_text(reference, "gptlib.model.attention")
    assert (
        "def attend(\n"
        '    queries: Float[Tensor, "*batch query d_head"],\n'
        '    keys: Float[Tensor, "*batch key d_head"],\n'
        '    values: Float[Tensor, "*batch key d_value"],\n'
        '    mask: Bool[Tensor, "... query key"] | None = None,\n'
        '    bias: Float[Tensor, "... query key"] | None = None,\n'
        "    dropout: float = 0.0,\n"
        ') -> tuple[Float[Tensor, "*batch query d_value"], Float[Tensor, "*batch query key"]]'
    ) in attention
    assert "class MultiHeadAttention(config: GPTConfig)" in attention
    assert "    **settings: Any,\n) -> str" in page_text(reference, "gptlib.generation.writing")
    assert "@classmethod\ndef from_array(" in page_text(reference, "gptlib.viz.explorers.attention")


def test_a_field_stands_where_it_is_explained(reference, read):
    config = page_text(reference, "gptlib.model.config")
    assert "n_kv_heads: int | None = NoneHeads of keys and values, each shared" in config
    step = page_text(reference, "gptlib.training.loop")
    assert "loss: floatof the step's batch, before its update" in step
    assert "seconds: float | None = Nonethat the run" in step  # not field(default=None, compare=False)


def test_it_is_read_from_the_source_and_always_the_same(reference):
    script = (
        "import hashlib, sys\n"
        "from gptlib.course.site.reference import make_reference\n"
        "made = repr(make_reference())\n"
        "assert 'gptlib.viz.explorers.dashboard' not in sys.modules\n"
        "print(hashlib.sha256(made.encode()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == hashlib.sha256(repr(reference).encode()).hexdigest()


def test_it_keeps_its_budget(reference):
    started = time.process_time()
    make_reference()
    assert time.process_time() - started < 5
    sizes = [len(page.body.encode()) for page in reference.pages]
    assert max(sizes) < 120_000 and sum(sizes) < 2_500_000


# ---------------------------------------------------------------------------------------------- docstrings


def link(name):
    return {"attend": "a.html#attend", "load": "b.html#load"}.get(name, "")


def to_html(text, *terms):
    return docstrings.to_html(text, link, {term: f"<dt>{term}</dt>" for term in terms})


def test_names_in_backticks_are_links_where_they_lead_somewhere():
    assert to_html('`attend`, `load("x")` and `x`') == (
        '<p><a href="a.html#attend"><code>attend</code></a>, '
        '<a href="b.html#load"><code>load("x")</code></a> and <code>x</code></p>'
    )
    assert to_html("a < b & `<|x|>`") == "<p>a &lt; b &amp; <code>&lt;|x|&gt;</code></p>"


def test_emphasis_is_no_product():
    assert to_html("hence *direct*, 4 * n * m, *args and *batch") == (
        "<p>hence <em>direct</em>, 4 * n * m, *args and *batch</p>"
    )


def test_explained_names_are_parameters_alone():
    text = "What it does.\nmask: True where\n  it may look.\na, b: two.\nRaises ValueError for none."
    assert to_html(text, "mask", "a", "b") == (
        "<p>What it does.</p>"
        "<dl><dt>mask</dt><dd>True where it may look.</dd><dt>a</dt><dt>b</dt><dd>two.</dd></dl>"
        "<p>Raises <code>ValueError</code> for none.</p>"
    )
    assert to_html("a trace is\nentered: it sees", "mask") == "<p>a trace is entered: it sees</p>"
    # An explanation goes on in the next line if it did not end.
    assert to_html("mask: where a\nquery looks.\nA sentence.", "mask") == (
        "<dl><dt>mask</dt><dd>where a query looks.</dd></dl><p>A sentence.</p>"
    )


def test_tables_lists_and_what_is_indented():
    assert to_html("step      so far,\n          and more\nthen:\nloss of   the batch", "step") == (
        "<dl><dt>step</dt><dd>so far, and more</dd></dl><p>then:</p>"
        "<dl><dt><code>loss of</code></dt><dd>the batch</dd></dl>"
    )
    assert to_html("these:\n- one,\n  which goes on\n- two\nAnd on.") == (
        "<p>these:</p><ul><li>one, which goes on</li><li>two</li></ul><p>And on.</p>"
    )
    assert to_html("so:\n\n    with a:\n        b   # c\n\nand") == (
        '<p>so:</p><div class="code"><pre>with a:\n    b   # c</pre></div><p>and</p>'
    )


def test_errors_and_papers_begin_a_paragraph():
    assert to_html("It is so.\nRaises KeyError for none.\nVaswani et al. 2017, section 3.").count("<p>") == 3
    assert to_html("as in\nVaswani's paper of 2017, section 3.").count("<p>") == 1
