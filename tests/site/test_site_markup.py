"""How Markdown, links and pictures of the course become those of the site."""

import base64
import io

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

from gptlib.course.site import chapters
from gptlib.course.site.markup import Renderer, code_html, inline, to_html
from gptlib.course.site.notebooks import printed_html
from gptlib.course.site.pages import Places, between, document_anchor, notebook_anchor
from gptlib.course.site.pictures import Pictures, decoded, element
from gptlib.course.site.spoilers import spoilers


@pytest.fixture
def renderer():
    names = {"attend": "reference/attention.html#attend"}
    return Renderer(lambda link: f"to/{link}", notebook_anchor, lambda name: names.get(name, ""))


def test_headings_have_the_ids_that_the_courses_links_name(renderer):
    made = to_html("## 4. Why $\\sqrt{d_k}$\n\n### `attend`, twice\n\n### `attend`, twice", renderer)
    ids = [name for _, name, _ in renderer.contents]
    assert ids == ["4.-Why-$\\sqrt{d_k}$", "`attend`,-twice", "`attend`,-twice-1"]
    assert all(f'id="{name}"' in made for name in ids)
    assert renderer.contents[1][2] == "<code>attend</code>, twice"  # no link within a link
    assert document_anchor("A page, *of* ours!") == "a-page-of-ours"


def test_a_name_of_the_library_is_a_link_once_in_a_section(renderer):
    made = to_html("`attend(q, k)`, `attend`, `other`\n\n## Next\n\n`attend`, [see `attend`](x.md)", renderer)
    assert made.count('href="reference/attention.html#attend"') == 2 and "<code>other</code>" in made
    assert '<a href="to/x.md">see <code>attend</code></a>' in made


def test_a_table_scrolls_in_its_own_box_and_has_no_empty_headings(renderer):
    made = to_html("| | n |\n|---|---:|\n| a | 1 |", renderer)
    assert made.startswith('<div class="scroll"><table>') and '<td class="right">1</td>' in made
    assert "<th></th>" not in made


def test_code_has_colors_and_a_number_begins_no_list(renderer):
    assert '<span class="k">def</span>' in code_html("def f(): pass") and "pass" in code_html("pass")
    assert code_html("a < b", "no language").count("&lt;") == 1
    assert inline("1. One", renderer) == "1. One"


def test_links_go_to_pages_of_notebooks_documents_and_files():
    places = Places(
        {"notebooks/04_attention.ipynb": "04_attention.html", "docs/glossary.md": "glossary.html"}
    )
    file, page = "docs/teaching/README.md", "teaching/index.html"
    there = places.address("../../notebooks/04_attention.ipynb#1.-A-uniform-average", file, page)
    assert there == "../04_attention.html#1.-A-uniform-average"
    assert places.address("#own", file, page) == "#own"
    assert places.address("https://example.org/a.py", file, page) == "https://example.org/a.py"
    assert places.address("../../environment.yml", file, page) == "../files/environment.yml.html"
    assert places.shown == {"environment.yml": "files/environment.yml.html"}
    with pytest.raises(FileNotFoundError, match=r"README\.md has a link to gone\.md, which is not there"):
        places.address("gone.md", file, page)
    assert between("a/b.html", "c.html#d e") == "../c.html#d e"


def test_pictures_are_the_same_pixels_in_the_size_that_they_had():
    png = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((300, 150)).save(png, "PNG", dpi=(144, 144))
    pictures = Pictures()
    address = pictures.add(png.getvalue())
    assert address == pictures.add(png.getvalue())
    (made,) = pictures.files().values()
    assert len(made) <= len(png.getvalue())
    assert Image.open(io.BytesIO(made)).convert("RGB").tobytes() == Image.open(png).tobytes()
    assert 'width="200" height="100" alt="a &lt;b&gt;"' in element(address, png.getvalue(), "a <b>")
    text = base64.encodebytes(png.getvalue()).decode()
    assert decoded(text) == decoded(f"data:image/png;base64,{text}") == png.getvalue()


def test_the_map_is_the_readmes_table():
    parts = chapters.parts()
    assert [title for title, _ in parts] == list(chapters.PARTS.values())
    first = parts[0][1][0]
    assert (first.title, first.path, first.minutes) == ("Welcome", "00_welcome.html", 15)
    assert first.covers.startswith("A trained GPT tells a story")
    assert any("<em>she</em>" in chapter.covers for _, chapters_ in parts for chapter in chapters_)


def test_a_notebook_that_the_readme_forgot_is_named(monkeypatch, tmp_path):
    (tmp_path / "README.md").write_text("# No table\n")
    monkeypatch.setattr(chapters, "course_root", lambda: tmp_path)
    with pytest.raises(LookupError, match=r"README\.md has no row for notebooks/00_welcome\.ipynb"):
        chapters.parts()


def test_a_formula_keeps_its_distances_and_the_marks_around_it(renderer):
    thin = '<mspace width="0.1667em" />'
    assert f"<mi>a</mi>{thin}<mi>log</mi>{thin}<mi>b</mi>" in to_html(r"$a \log b$", renderer)
    assert f"<mn>2</mn></msup>{thin}<mi>x</mi>" in to_html(r"$\tanh^2 x$", renderer)
    assert "mspace" not in to_html(r"$-\log(x) + ab$", renderer)  # the signs beside it have room of their own
    assert '<mo lspace="0" rspace="0">∞</mo>' in to_html(r"$-\infty$", renderer)
    made = to_html("A set ($x$), $y$; and $z$", renderer)
    assert made.count('<span class="kept">') == 2 and "</math>),</span>" in made and "</math></p>" in made


def test_a_heading_does_not_break_a_models_name(renderer):
    made = to_html("## What GPT-2 costs", renderer)
    assert 'What <span class="kept">GPT-2</span> costs</h2>' in made
    assert renderer.contents == [(2, "What-GPT-2-costs", "What GPT-2 costs")]


def test_a_cell_that_reads_what_a_prediction_was_given_answers_it():
    def cells(*sources):
        return new_notebook(
            cells=[
                new_markdown_cell(each, id=f"t{n}") if each[0] == "#" else new_code_cell(each, id=f"c{n}")
                for n, each in enumerate(sources)
            ]
        )

    asks = "loss = run(model)\npredict('course.loss', loss, model)"
    start = ("model = 1", "# One", asks)
    assert spoilers(cells(*start, "print(f'{loss:.2f}')")) == {"c3": ["course.loss"]}
    assert spoilers(cells(*start, "print(model)", "assert loss < 3", "loss = 2", "print(loss)")) == {}
    assert spoilers(cells(*start, "## Two", "print(loss)")) == {}


def test_lines_that_make_no_columns_may_wrap():
    assert 'class="printed prose"' in printed_html("once upon a time")
    assert 'class="printed"' in printed_html("loss   1.0\nfloor  0.4")
    assert 'class="printed prose"' in printed_html("loss   1.0\n" + "a story " * 20)
