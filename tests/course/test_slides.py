import hashlib
import html
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from gptlib.cli.main import main
from gptlib.course.exercises import question
from gptlib.course.prose import find_notebook, notebook_paths, topic_of
from gptlib.course.slides.deck import SHOW, show, slides_of
from gptlib.course.slides.listings import SMALLEST

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
# Of reveal.js 6.0.2, as its package on the npm registry has them.
CHECKSUMS = {
    "LICENSE": "b2883e4b610bfa1b4d8fff84c4d4b825cc7d553cbd9fec4777c04068a2859dc0",
    "notes.js": "447c42f365876e41853de81453d0c53c580c5b2099132e8f61200de4a0ba2af3",
    "reset.css": "39413c3490fdcf826427c26ff4c1ee59ea961a0aa8507c18454e0c6dc96c12d8",
    "reveal.css": "615ee850cbbb98a0f688b60ed37b21819a3f54c9f3e6f20e33e63693ab74a0c0",
    "reveal.js": "aa1bbbf2617b23a623b23612cb3c5bdb63de512e652bf20fcfa832b045d37844",
}


def text(source, *tags):
    return new_markdown_cell(source, metadata={"tags": list(tags)})


def code(source, *tags, printed="", picture=False, id="a"):
    outputs = [new_output("stream", text=printed)] if printed else []
    if picture:
        outputs.append(new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"}))
    return new_code_cell(source, outputs=outputs, metadata={"tags": list(tags)}, id=id)


def slides(*cells):
    return slides_of(new_notebook(cells=list(cells)))


def kinds(*cells):
    return [slide.kind for slide in slides(*cells)]


def test_what_is_vendored_is_what_the_package_holds():
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (SHOW / "reveal").iterdir()}
    assert found.pop("README.md")
    assert found == CHECKSUMS


def test_what_is_for_hands_is_not_shown():
    (quiz,) = slides(text("## Quiz\n\nSix questions. Choose as often as you like: each choice says why."))
    assert "Six questions." in quiz.body[0] and "often" not in quiz.body[0]


def test_headings_open_slides():
    found = slides(
        text("# Title\n\nOne idea is all we ever need for this. A second sentence."),
        text("## 1. A section\n\nNo long prose."),
        text("### A part\n\n- one\n- two"),
        text("A longer text, " + "and so on, " * 20 + "to the end.\n\n## 2. Next\n\nMore **words** here."),
    )
    first, second, third, fourth = found
    assert [slide.kind for slide in found] == ["title", "opener", "text", "opener"]
    assert [slide.opens for slide in found] == [True, True, False, True]
    assert "One idea" in first.body[0] and "second" not in first.body[0]
    assert "A second sentence." in first.notes[0]
    assert second.title == "1. A section" and third.section == "1. A section"


def test_a_prediction_is_asked_before_anything_answers_it():
    cell = code('predict("attention.kite_looks_at", weights, words)', id="predict-attention-kite_looks_at")
    page = '<li>Which?<details><summary>Answer</summary><img src="data:image/png;base64,AA=="></details></li>'
    cell.outputs = [new_output("execute_result", {"text/html": page, "text/plain": "no"})]
    ask, answer = slides(cell)
    task = question("attention.kite_looks_at")
    assert (ask.kind, answer.kind) == ("predict", "figure")
    shown = ask.title + "".join(ask.body)
    assert all(choice in html.unescape(shown) for choice, _ in task.choices) and "<img" not in shown
    assert task.right[1] not in html.unescape(shown) and task.finding not in html.unescape(shown)
    assert 'src="data:image/png;base64,AA=="' in answer.body[-1] and "that answers" in answer.body[-1]


def test_a_figure_has_a_slide_to_itself():
    drawing = code("x = 1\ny = 2\nz = 3\ndraw(x, title='Up and up')", picture=True)
    listing, figure = slides(text("# A"), drawing)[1:]
    assert (listing.kind, figure.kind) == ("code", "figure")
    assert "draw" not in "".join(listing.body) and 'alt="Up and up"' in figure.body[0]
    assert "draw" in figure.notes[0]
    assert kinds(code("x = 1\ndraw(x)", picture=True)) == ["figure"]


def test_code_is_split_where_it_would_be_too_small_to_read():
    long = "\n".join(f"x{number} = {number}" for number in range(25))
    found = slides(code(long))
    assert len(found) == 2
    assert all(int(re.search(r"--size: (\d+)px", slide.body[0])[1]) >= SMALLEST for slide in found)
    assert [slide.kind for slide in slides(code("x = f()\n" * 12, printed="y\n" * 12))] == ["code", "output"]


@pytest.mark.parametrize("tag", ["skip", "notes", "fragment", "subslide", "slide"])
def test_tags_come_before_the_defaults(tag):
    opening = text("# Title\n\nWords.")
    for cell in (text("Plain words that say a lot.", tag), code("import os\nassert os", tag, printed="12")):
        first, *rest = slides(opening, cell)
        assert [slide.opens for slide in rest] == {"subslide": [False], "slide": [True]}.get(tag, [])
        shown = first.body + [part for slide in rest for part in slide.body]
        inside = "Plain words" in "".join(shown) or "import" in re.sub("<[^>]*>", "", "".join(shown))
        assert inside == (tag not in ("skip", "notes"))
        assert ('<div class="fragment">' in "".join(shown)) == (tag == "fragment")
        assert (len(first.notes) > 1) == (tag == "notes")


def test_what_speaks_to_a_reader_alone_is_left_out():
    found = slides(
        text("# Title\n\n**You need:** Python.\n\nClick the cell below. It tells a story."),
        code("check('a.b', b)", id="check-a-b"),
        code("import os", id="b"),
    )
    assert [slide.kind for slide in found] == ["title"]
    assert found[0].body == ["<p>It tells a story.</p>"] or found[0].body == []


def test_predictions_and_quizzes_are_put_to_the_room():
    notebook = nbformat.read(find_notebook("attention"), 4)
    asked = [slide for slide in slides_of(notebook) if 'class="choices"' in "".join(slide.body)]
    quiz = [slide for slide in asked if slide.title.startswith("Question")]
    assert len(quiz) >= 5 and len(asked) > len(quiz)
    assert all('class="answer fragment"' in slide.body[-1] for slide in quiz)
    assert not [slide for slide in asked if slide not in quiz and "fragment" in "".join(slide.body)]


@pytest.mark.parametrize("path", notebook_paths(), ids=topic_of)
def test_every_notebook_makes_a_show_that_needs_nothing_else(path):
    page = show(nbformat.read(path, as_version=4))
    assert "{{" not in page.split("<script>")[0].split("</style>")[1]
    assert len(re.findall("</script", page)) == 3
    pages = re.sub("(?s)<script>.*?</script>", "", page)
    assert not re.search(r"""<(script|link|img|iframe)[^>]*(src|href)=["'](?!data:)""", pages)
    assert not re.search(r"@import|url\((?!data:)", page.split("</style>")[0])


def test_slides_at_the_shell(tmp_path, capsys):
    assert main(["slides", "attention", "--out", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / "04_attention.html").stat().st_size < 4_000_000
    assert "04_attention.html" in capsys.readouterr().out
    assert main(["slides", "77"]) == 2
    assert "no notebook is called '77'; there are: 00_welcome, 01_language_models" in capsys.readouterr().err


def test_a_long_output_is_cut_and_says_so():
    (slide,) = slides(code("show()", printed="line\n" * 80))[1:] or slides(code("", printed="line\n" * 80))
    assert re.search(r"… and \d+ more lines", slide.body[-1])
