"""What every notebook must look like. nbval, beside this, holds each cell to the output that is saved.

A notebook's second-level headings, in this order and with no others between them:

    # Title                           the first line of the first cell, without the number of the file's name
    ## What you will be able to do    a list of 3 to 5; "You need: …"; "… minutes to read, … to run"
    ## The question
    ## 1. …   ## 2. …                 sections, numbered from 1
    ## Break it                       (not in the welcome)
    ## The library's version          (not in the welcome)
    ## Experiments                    exactly three: ### Experiment 1 to 3; a title may follow
    ## Quiz
    ## Recap                          a list of five; the paper with its section (§ or "Section 3"), except in
                                      the welcome; the next question (with the word "next")

Exercises that `check` answers to stand in the sections; tests/course/test_lessons.py holds them to it.

Code: at most 25 lines a cell and 40 cells beside those of exercises and the quiz; no Output widget, interact,
clear_output or display updates, which nbval cannot replay; no shell and no magics. Saved as `make notebooks`
leaves it: every cell run, in order, with no error and no warning; no widget state, no timings, nothing that
depends on the machine. A cell whose output is not compared (the tag nbval-ignore-output) asserts what it
shows. No cell is skipped. Prose does without the words in WORDS; nothing is shown from elsewhere.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from notebooks.execute import KERNELSPEC, LANGUAGE

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MAX_LINES, MAX_CODE_CELLS, MAX_BYTES = 25, 40, 4_000_000
WORDS = ("simply", "just", "powerful")
UNREPLAYABLE = {
    "Output",
    "interact",
    "interactive",
    "interact_manual",
    "clear_output",
    "update_display",
    "display_id",
}
FRAME = [
    "What you will be able to do",
    "The question",
    "Break it",
    "The library's version",
    "Experiments",
    "Quiz",
    "Recap",
]

Problems = Iterator[str]
RULES: list[Callable[[str, nbformat.NotebookNode], Problems]] = []


def rule(check: Callable[[str, nbformat.NotebookNode], Problems]):
    """Makes `check(name, notebook)`, which yields a line for each fault, one of the rules."""
    RULES.append(check)
    return check


def faults(name: str, notebook: nbformat.NotebookNode) -> list[str]:
    return [f"{check.__name__}: {fault}" for check in RULES for fault in check(name, notebook)]


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook) -> str:
    """The text of all Markdown cells, without what is set as code, and with straight apostrophes."""
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.sub(r"(?s)```.*?```|`[^`\n]*`", " ", text).replace("’", "'")


def sections(notebook) -> dict[str, str]:
    """The text below each second-level heading."""
    parts = re.split(r"(?m)^## +(.*?) *$", prose(notebook))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def list_items(text: str) -> int:
    return len(re.findall(r"(?m)^(?:[-*]|\d+\.) ", text))


@rule
def title(name, notebook) -> Problems:
    first = notebook.cells[0]
    if first.cell_type != "markdown" or not re.match(r"# [^\W\d]", first.source):
        yield "the first cell begins with '# ' and a title, without a number"
    if len(re.findall(r"(?m)^# ", prose(notebook))) != 1:
        yield "there is one first-level heading"


@rule
def order_of_headings(name, notebook) -> Problems:
    headings = list(sections(notebook))
    if len(headings) != len(re.findall(r"(?m)^## ", prose(notebook))):
        yield "no second-level heading comes twice"
    numbered = [heading for heading in headings if re.match(r"\d", heading)]
    expected = [heading for heading in FRAME if name != "00_welcome" or heading not in FRAME[2:4]]
    expected[2:2] = numbered
    if headings != expected:
        yield f"the headings are {expected}, in this order; they were {headings}"
    numbers = [heading.split(".")[0] for heading in numbered]
    if not numbers or numbers != [str(number) for number in range(1, len(numbers) + 1)]:
        yield f"sections are numbered '## 1. ', '## 2. ' and so on; the numbers were {numbers}"


@rule
def contract(name, notebook) -> Problems:
    text = sections(notebook).get(FRAME[0], "")
    if not 3 <= list_items(text) <= 5:
        yield f"'{FRAME[0]}' lists 3 to 5 things; it lists {list_items(text)}"
    if not re.search(r"(?i)\byou need\b", text):
        yield f"'{FRAME[0]}' says what 'you need' first"
    if not re.search(r"\d+ minutes", text) or "to run" not in text:
        yield f"'{FRAME[0]}' says how many minutes it takes to read, and how long to run"


@rule
def experiments(name, notebook) -> Problems:
    found = re.findall(r"(?m)^### +Experiment (\d+)", sections(notebook).get("Experiments", ""))
    if found != ["1", "2", "3"]:
        yield f"there are '### Experiment 1', 2 and 3; there were {found}"


@rule
def recap(name, notebook) -> Problems:
    text = sections(notebook).get("Recap", "")
    if list_items(text) != 5:
        yield f"the recap is a list of five; it has {list_items(text)}"
    if name != "00_welcome" and not re.search(r"§|\b[Ss]ections? \d|\b[Ss]ec\. \d", text):
        yield "the recap names the paper with its section ('§' or 'Section 3')"
    if not re.search(r"(?i)\bnext\b", text):
        yield "the recap ends with the next question"


@rule
def words(name, notebook) -> Problems:
    for word in WORDS:
        for found in re.finditer(rf"(?i)\b{word}\b", prose(notebook)):
            yield f"'{word}' in: …{prose(notebook)[max(0, found.start() - 30) : found.end() + 30]!r}…"


@rule
def nothing_from_elsewhere(name, notebook) -> Problems:
    for cell in notebook.cells:
        texts = [cell.source if cell.cell_type == "markdown" else "", *output_texts(cell)]
        for text in texts:
            if re.search(
                r"""!\[[^\]]*\]\(\s*(https?:)?//|<(img|script|iframe|link)\b[^>]*["'=\s](https?:)?//""", text
            ):
                yield f"cell {cell.id} shows something from elsewhere"


@rule
def size_of_cells(name, notebook) -> Problems:
    for cell in code_cells(notebook):
        lines = len(cell.source.splitlines())
        if not 1 <= lines <= MAX_LINES:
            yield f"cell {cell.id} has {lines} lines; 1 to {MAX_LINES} are allowed"
    taught = [cell for cell in code_cells(notebook) if not re.match("(answer|check|quiz)-", cell.id)]
    if len(taught) > MAX_CODE_CELLS:
        yield f"there are {len(taught)} code cells; {MAX_CODE_CELLS} are allowed"
    if len(json.dumps(notebook)) > MAX_BYTES:
        yield f"the file is larger than {MAX_BYTES} bytes"


@rule
def replayable(name, notebook) -> Problems:
    for cell in code_cells(notebook):
        try:
            tree = ast.parse(cell.source)
        except SyntaxError:
            yield f"cell {cell.id} is not plain Python: no magics, no shell"
            continue
        for node in ast.walk(tree):
            names = {getattr(node, field, None) for field in ("id", "attr", "arg", "name")}
            for found in names & UNREPLAYABLE:
                yield f"cell {cell.id} uses {found}, which nbval cannot replay"


@rule
def compared(name, notebook) -> Problems:
    for cell in code_cells(notebook):
        tags = set(cell.metadata.get("tags", []))
        if re.search(r"(?m)^\s*#\s*(NBVAL|PYTEST_VALIDATE)_", cell.source):
            yield f"cell {cell.id} speaks to nbval in a comment; a tag does it"
        if tags & {"nbval-skip", "nbval-raises-exception", "raises-exception"}:
            yield f"cell {cell.id} is tagged to be skipped or to fail"
        if "nbval-ignore-output" in tags and "assert" not in cell.source:
            yield f"cell {cell.id} is not compared, and asserts nothing"


@rule
def executed(name, notebook) -> Problems:
    counts = [cell.execution_count for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"run from top to bottom and saved: run `make notebooks`; the cells' numbers were {counts}"
    for cell in code_cells(notebook):
        if any(output.output_type == "error" for output in cell.outputs):
            yield f"cell {cell.id} shows an error"
        if any(output.get("name") == "stderr" for output in cell.outputs):
            yield f"cell {cell.id} shows a warning (stderr)"


def output_texts(cell) -> Iterator[str]:
    for output in cell.get("outputs", []):
        yield output.get("text", "")
        yield from (text for kind, text in output.get("data", {}).items() if kind.startswith("text/"))


@rule
def same_on_every_machine(name, notebook) -> Problems:
    for cell in code_cells(notebook):
        for text in output_texts(cell):
            if re.search(r"\b0x[0-9a-fA-F]{6,}", text):
                yield f"cell {cell.id} prints an address in memory"
            if re.search(r"(?<![\w.])/(home|root|tmp|Users|work|usr)/", text) or str(FOLDER.parent) in text:
                yield f"cell {cell.id} prints a path of this machine"
            if re.search(r"model_id|Output\(\)", text):
                yield f"cell {cell.id} prints a widget's identity"


@rule
def metadata(name, notebook) -> Problems:
    if (notebook.nbformat, notebook.nbformat_minor >= 5) != (4, True):
        yield "the format is 4.5 or newer, with ids of cells"
    if dict(notebook.metadata) != {"kernelspec": KERNELSPEC, "language_info": LANGUAGE}:
        yield f"the notebook's metadata is what `make notebooks` writes; it was {dict(notebook.metadata)}"
    ids = [cell.get("id") for cell in notebook.cells]
    if len(set(ids)) != len(ids) or None in ids:
        yield "every cell has an id of its own"
    for cell in notebook.cells:
        if set(cell.metadata) - {"tags"}:
            yield f"cell {cell.get('id')} has metadata besides tags: {sorted(cell.metadata)}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path):
    notebook = nbformat.reader.reads(
        path.read_text(encoding="utf-8")
    )  # as it is: `read` would mend double ids
    found = faults(path.stem, notebook)
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_readme_gives_the_minutes_of_the_notebook(path):
    first_cells = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells[:12])
    minutes = re.search(
        r"\*\*Time:\*\* (\d+) minutes to read.*?, (\d+) minutes? to run", first_cells
    ).groups()
    readme = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    row = next(line for line in readme.splitlines() if f"notebooks/{path.name})" in line)
    assert [part.strip() for part in row.split("|")[3:5]] == list(minutes)


def test_every_notebook_has_a_number_of_its_own():
    numbers = [int(path.name[:2]) for path in NOTEBOOKS]
    assert numbers == sorted(set(numbers))


# The rules themselves: a good notebook passes, and each rule finds the fault that it is there for.


def good_notebook() -> nbformat.NotebookNode:
    contract = (
        "## What you will be able to do\n- a\n- b\n- c\n\nYou need: 02. 20 minutes to read, 1 minute to run."
    )
    recap = "## Recap\n1. a\n2. b\n3. c\n4. d\n5. e\n\nSource: Bengio (2003), §2. The next question: why?"
    texts = [contract, "## The question", "## 1. One", "## 2. Two", "## Break it", "## The library’s version"]
    texts += ["## Experiments\n### Experiment 1\n### Experiment 2: two\n### Experiment 3", "## Quiz", recap]
    cells = [new_markdown_cell("# A title\n\nSee `just` and [a paper](https://example.com).")]
    for number, text in enumerate(texts, 1):
        answer = new_output("execute_result", {"text/plain": str(number)}, execution_count=number)
        cells += [
            new_markdown_cell(text),
            new_code_cell(str(number), execution_count=number, outputs=[answer]),
        ]
    return new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC, "language_info": LANGUAGE})


def test_a_good_notebook_has_no_faults():
    assert faults("04_title", good_notebook()) == []


def test_the_first_notebook_may_do_without_some_sections():
    notebook = good_notebook()
    notebook.cells[0].source = "# Welcome"
    del notebook.cells[9:13]
    for number, cell in enumerate(code_cells(notebook), 1):
        cell.execution_count = number
    assert faults("00_welcome", notebook) == []
    assert "order_of_headings" in faults("04_title", notebook)[0]


def replaced(cell: int, old: str, new: str):
    def change(notebook):
        assert old in notebook.cells[cell].source
        notebook.cells[cell].source = notebook.cells[cell].source.replace(old, new)

    return change


def output(**fields):
    return lambda notebook: notebook.cells[2].outputs.append(nbformat.from_dict(fields))


def shown(text: str):
    return output(output_type="stream", name="stdout", text=text)


def tagged(*tags: str):
    return lambda notebook: notebook.cells[2].metadata.update(tags=list(tags))


BAD = {
    "title": [replaced(0, "# A", "# 04 A"), replaced(0, "# A", "A"), replaced(1, "## What", "# What")],
    "order_of_headings": [
        replaced(3, "The question", "A question"),
        replaced(7, "2. Two", "3. Two"),
        replaced(9, "Break it", "The library's version"),
        replaced(7, "2. Two", "1. One"),
    ],
    "contract": [
        replaced(1, "- a\n- b\n", ""),
        replaced(1, "You need", "First"),
        replaced(1, "20 minutes", "long"),
    ],
    "experiments": [replaced(13, "### Experiment 3", ""), replaced(13, "Experiment 2", "Task 2")],
    "recap": [replaced(17, "5. e\n", ""), replaced(17, "§2", ""), replaced(17, "next", "last")],
    "words": [replaced(0, "A title", "Simply a title"), replaced(3, "question", "question, just so")],
    "nothing_from_elsewhere": [
        replaced(5, "One", "One\n![x](https://example.com/x.png)"),
        replaced(5, "One", "One\n<img width=3 src='//example.com/x.png'>"),
        output(
            output_type="display_data", metadata={}, data={"text/html": "<script src='https://e.com/x.js'>"}
        ),
    ],
    "size_of_cells": [
        replaced(2, "1", "1\n" * 26),
        lambda notebook: notebook.cells.extend(new_code_cell("1") for _ in range(40)),
    ],
    "replayable": [
        replaced(2, "1", "%time 1"),
        replaced(2, "1", "!ls"),
        replaced(2, "1", "from ipywidgets import interact"),
        replaced(2, "1", "widgets.Output()"),
        replaced(2, "1", "display(x, display_id='a')"),
    ],
    "compared": [
        replaced(2, "1", "# NBVAL_SKIP\n1"),
        tagged("raises-exception"),
        tagged("nbval-ignore-output"),
    ],
    "executed": [
        lambda notebook: notebook.cells[2].update(execution_count=None),
        lambda notebook: notebook.cells[2].update(execution_count=7),
        output(output_type="error", ename="E", evalue="", traceback=[]),
        output(output_type="stream", name="stderr", text="Warning"),
    ],
    "same_on_every_machine": [
        shown("<object at 0x7f00aa11bb22>"),
        shown(f"{FOLDER.parent}/data"),
        shown("saved in /tmp/x"),
        output(output_type="display_data", metadata={}, data={"text/plain": "Output()"}),
    ],
    "metadata": [
        lambda notebook: notebook.metadata.update(widgets={}),
        lambda notebook: notebook.metadata.kernelspec.update(name="other"),
        lambda notebook: notebook.cells[2].update(id=notebook.cells[0].id),
        lambda notebook: notebook.cells[2].metadata.update(execution={}),
    ],
}


def test_every_rule_is_tested():
    assert set(BAD) == {check.__name__ for check in RULES}


@pytest.mark.parametrize("name, change", [(name, change) for name in BAD for change in BAD[name]])
def test_a_fault_is_found(name, change):
    notebook = deepcopy(good_notebook())
    change(notebook)
    assert any(fault.startswith(f"{name}: ") for fault in faults("04_title", notebook))
