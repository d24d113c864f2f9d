"""Workbooks: whatever a reader wrote is there after an update, whatever happened to the cells."""

import errno
import json
import os
import shutil
import signal
from collections import Counter
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptlib.cli.main import main
from gptlib.course.desk import workbooks
from gptlib.course.desk.renaming import FORMER_NAMES
from gptlib.course.desk.workbooks import Changes, merge, parse, serialize, with_ids
from gptlib.course.prose import find_notebook, notebook_paths, topic_of

ROOT = Path(__file__).resolve().parents[2]
PICTURE = {"image.png": {"image/png": "aGVsbG8="}}


def code(name, source, **fields):
    """A code cell; without an id if name is None."""
    cell = {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None}
    return cell | ({} if name is None else {"id": name}) | fields


def prose(name, source, **fields):
    cell = {"cell_type": "markdown", "metadata": {}, "source": source}
    return cell | ({} if name is None else {"id": name}) | fields


def printed(text, count=1):
    return {"outputs": [{"output_type": "stream", "name": "stdout", "text": text}], "execution_count": count}


def book(*cells, **metadata):
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": list(cells)}


def lines(notebook):
    """What a person sees: the cells' sources from the top, an update's notes as "note: " and their text."""
    return [
        "note: " + cell["source"].split("```")[1].split("\n", 1)[1].rstrip("\n")
        if cell["source"].startswith("**The course has another version")
        else cell["source"]
        for cell in notebook["cells"]
    ]


COURSE = book(prose("a", "A"), code("b", "B"), code("c", "C"), prose("d", "D"))


def changed(notebook, **sources):
    """The notebook with other texts; None takes a cell out."""
    cells = [cell | {"source": sources.get(cell["id"], cell["source"])} for cell in notebook["cells"]]
    return notebook | {"cells": [cell for cell in cells if cell["source"] is not None]}


def merged(reader, course=COURSE, base=COURSE):
    return merge(base, reader, course)[0]


# ------------------------------------------------------------------------------------- one thing at a time


def test_what_one_side_changed_is_taken_from_that_side():
    result, changes = merge(COURSE, changed(COURSE, b="mine"), changed(COURSE, c="theirs"))
    assert lines(result) == ["A", "mine", "theirs", "D"]
    assert changes == Changes(revised=1)


def test_what_both_changed_is_the_readers_below_a_note():
    reader, course = changed(COURSE, b="mine"), changed(COURSE, b="theirs")
    result, changes = merge(COURSE, reader, course)
    assert lines(result) == ["A", "note: theirs", "mine", "C", "D"]
    assert changes == Changes(disputed=1)
    assert result["cells"][1]["cell_type"] == "markdown"
    assert "```python\ntheirs\n```" in result["cells"][1]["source"]
    assert merge(course, result, course) == (result, Changes())
    # Deleted, it does not come back; at the next change there is one note, with the newest text.
    deleted = book(*(cell for cell in result["cells"] if not cell["id"].startswith("update-of-")))
    assert lines(merged(deleted, course, course)) == ["A", "mine", "C", "D"]
    newer = changed(COURSE, b="newer")
    assert lines(merged(result, newer, course)) == ["A", "note: newer", "mine", "C", "D"]
    # It goes when the reader takes the course's text, or when the course takes its cell out.
    agreed = book(*(cell | ({"source": "theirs"} if cell["id"] == "b" else {}) for cell in result["cells"]))
    assert lines(merged(agreed, course, course)) == ["A", "theirs", "C", "D"]
    assert lines(merged(result, changed(COURSE, b=None), course)) == ["A", "mine", "C", "D"]


def test_a_note_that_the_reader_wrote_into_is_the_readers():
    course = changed(COURSE, b="theirs")
    result = merged(changed(COURSE, b="mine"), course)
    result["cells"][1]["source"] += "\nremember this"
    again = merged(result, changed(COURSE, b="newer"), course)
    assert [cell["source"][-13:] for cell in again["cells"][:2]] == ["A", "remember this"]
    assert lines(again)[2:4] == ["note: newer", "mine"]


def test_a_text_with_fences_is_shown_whole():
    text = "````\n```python\nx\n```\n````"
    note = merged(changed(COURSE, a="mine"), changed(COURSE, a=text))["cells"][0]
    assert f"\n`````markdown\n{text}\n`````\n" in note["source"]


def test_the_readers_own_cells_stay_behind_the_cell_that_they_followed():
    reader = book(
        code("z", "top"), *COURSE["cells"][:2], code("x", "one"), code("y", "two"), *COURSE["cells"][2:]
    )
    course = book(prose("n", "N"), *COURSE["cells"][:2], code("m", "M"), *COURSE["cells"][2:])
    assert lines(merged(reader, course)) == ["top", "N", "A", "B", "one", "two", "M", "C", "D"]
    without = changed(course, b=None)
    assert lines(merged(reader, without)) == ["top", "N", "A", "one", "two", "M", "C", "D"]


def test_a_deleted_cell_comes_back_and_a_moved_one_goes_back():
    reader = book(*COURSE["cells"][2:][::-1], code("b", "mine"))
    result, changes = merge(COURSE, reader, COURSE)
    assert lines(result) == ["A", "mine", "C", "D"]
    assert changes == Changes(restored=1)


def test_a_cell_that_the_course_took_out_stays_if_the_reader_changed_it():
    without = changed(COURSE, b=None, c=None)
    result, changes = merge(COURSE, changed(COURSE, c="mine"), without)
    assert lines(result) == ["A", "mine", "D"]
    assert changes == Changes(gone=1)


def test_a_split_cell_is_kept_in_its_two_parts():
    reader = book(*COURSE["cells"][:1], code("new", "B1"), code("b", "B2"), *COURSE["cells"][2:])
    assert lines(merged(reader, changed(COURSE, c="theirs"))) == ["A", "B1", "B2", "theirs", "D"]


def test_the_second_of_two_cells_with_one_id_is_the_readers():
    reader = book(*COURSE["cells"], code("b", "copy"), code("b", "copy"))
    result = merged(reader, changed(COURSE, b="theirs"))
    assert lines(result) == ["A", "theirs", "C", "D", "copy", "copy"]
    assert [cell["id"] for cell in result["cells"]] == ["a", "b", "c", "d", "b-2", "b-3"]


def test_a_fresh_id_is_nobodys_and_the_copy_outlives_its_original():
    reader = book(*COURSE["cells"][:2], code("b", "B"), code("b-2", "mine"), *COURSE["cells"][2:])
    course = changed(COURSE, b=None)
    result = merged(reader, course)
    assert [cell["id"] for cell in result["cells"]] == ["a", "b-3", "b-2", "c", "d"]
    # After a kill the base may be the old one still.
    assert merged(result, course) == result == merged(result, course, course)


def test_a_copy_of_a_note_is_the_readers():
    course = changed(COURSE, b="theirs")
    result = merged(changed(COURSE, b="mine"), course)
    doubled = book(*result["cells"], result["cells"][1])
    assert lines(merged(doubled, course, course)) == ["A", "note: theirs", "mine", "C", "D", "note: theirs"]


def test_cells_without_ids_are_known_by_their_text():
    bare = [{key: value for key, value in cell.items() if key != "id"} for cell in COURSE["cells"]]
    bare[2] = bare[2] | {"source": "mine"}
    reader = {**book(*bare), "nbformat_minor": 4}
    result = merged(reader, changed(COURSE, b="theirs"))
    assert lines(result) == ["A", "theirs", "mine", "C", "D"]
    assert [cell["id"] for cell in result["cells"]] == ["a", "b", "own-2", "c", "d"]


def test_new_ids_on_every_cell_do_not_double_the_notebook():
    """As when a program brings an older file up to the format with ids."""
    renamed = book(*(cell | {"id": f"f00{index}"} for index, cell in enumerate(COURSE["cells"])))
    assert merged(renamed) == COURSE
    renamed["cells"][1]["source"] = "mine"
    # Old text under an unknown id might be the reader's own: it is kept, and the new one put in.
    assert lines(merged(renamed, changed(COURSE, c="theirs"))) == ["A", "mine", "C", "B", "theirs", "D"]


def test_a_changed_kind_is_a_change():
    reader = book(COURSE["cells"][0], prose("b", "B"), *COURSE["cells"][2:])
    assert merged(reader)["cells"][1] == prose("b", "B")
    assert lines(merged(reader, changed(COURSE, b="theirs"))) == ["A", "note: theirs", "B", "C", "D"]


def test_metadata_is_merged_key_by_key():
    base = book(code("a", "A", metadata={"tags": ["t"], "gone": 1, "kept": 1}), kernelspec={"name": "k"})
    reader = book(
        code("a", "A", metadata={"tags": ["mine"], "gone": 1, "own": 1}), kernelspec={"name": "mine"}
    )
    course = book(
        code("a", "A2", metadata={"tags": ["t"], "kept": 1, "new": 1}), kernelspec={"name": "k"}, x=1
    )
    result = merged(reader, course, base)
    assert result["cells"][0]["metadata"] == {"tags": ["mine"], "own": 1, "new": 1}
    assert result["metadata"] == {"kernelspec": {"name": "mine"}, "x": 1}


def test_outputs_belong_to_a_source():
    base = book(
        code("a", "A", **printed("a")), code("b", "B", **printed("b")), code("c", "C", **printed("c"))
    )
    reader = book(code("a", "A", **printed("a", 7)), code("b", "B", **printed("b", 8)), base["cells"][2])
    course = book(base["cells"][0], code("b", "B2", **printed("b2")), code("c", "C", **printed("c2")))
    result = merged(reader, course, base)
    assert [cell["execution_count"] for cell in result["cells"]] == [7, 1, 1]
    assert [cell["outputs"][0]["text"] for cell in result["cells"]] == ["a", "b2", "c2"]


def test_attachments_follow_their_text():
    reader = changed(COURSE, a="![](attachment:image.png)")
    reader["cells"][0] |= {"attachments": PICTURE}
    course = changed(COURSE, a="theirs")
    course["cells"][0] |= {"attachments": {"other.png": PICTURE["image.png"]}}
    result = merged(reader, course)
    assert result["cells"][1]["attachments"] == PICTURE and "attachments" not in result["cells"][0]
    assert merged(COURSE, course) == course
    # Turned to code by the course, a cell has none.
    reader = book(prose("a", "A", attachments=PICTURE), *COURSE["cells"][1:])
    assert "attachments" not in merged(reader, book(code("a", "A"), *COURSE["cells"][1:]))["cells"][0]


def test_without_a_base_what_differs_is_shown():
    reader, course = changed(COURSE, b="mine"), changed(COURSE, c="theirs")
    assert lines(merged(reader, course, None)) == ["A", "note: B", "mine", "note: theirs", "C", "D"]
    assert merge(None, COURSE, COURSE) == (COURSE, Changes())


def test_half_of_a_surrogate_pair_and_odd_line_ends_survive_the_file():
    source = "print('\ud800 é 語 \u2028')\r\n\x0b\n\n"
    assert lines(parse(serialize(book(code("a", source))))) == [source]


def test_of_a_cell_that_the_format_does_not_allow_the_text_is_kept():
    cells = [
        code("a", "A", outputs=[{"output_type": "magic"}]),
        code("b", "B", metadata=3),
        prose("c" * 65, "C", attachments={"x": "y"}),
        {"cell_type": "code", "source": ["D\n", "E"]},
    ]
    parsed = parse(json.dumps({"nbformat": 4, "cells": cells, "metadata": {"kernelspec": 3}}).encode())
    assert lines(parsed) == ["A", "B", "C", "D\nE"]
    assert [cell.get("id") for cell in parsed["cells"]] == ["a", "b", None, None]
    nbformat.validate(with_ids(parsed))


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b'{"nbformat": 4, "cells": [',
        b"\xff\xfe\x00nonsense",
        b"[]",
        b'{"nbformat": 3, "worksheets": []}',
        b'{"nbformat": 4, "cells": {}}',
        b'{"nbformat": 4, "cells": [3]}',
        b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": 3}]}',
        b'{"nbformat": 4, "cells": [{"cell_type": "heading", "source": ""}]}',
        b"[" * 100_000,
        b"<<<<<<< HEAD\n{}",
    ],
)
def test_what_is_no_notebook(contents):
    assert parse(contents) is None


# ----------------------------------------------------------------------------------------- random histories

TEXTS = st.sampled_from(["", "x = 1", "x = 2", "def f(:", "```", "A", "B", "é\r\n", "\ud800"]) | st.text(
    max_size=4
)
NUMBERS = st.integers(0, 9)
CHANGES = ["edit", "write on", "insert", "delete", "move", "kind", "run", "tag", "attach"]
READERS = [*CHANGES, "duplicate", "copy", "split", "join", "drop id", "drop all ids", "new ids"]
COURSES = [*CHANGES, "undo"]


def places(notebook, names):
    """For each id that one cell alone has: the last of the ids `names` before it (by its first cell)."""
    found, last, seen = {}, None, set()
    count = Counter(cell.get("id") for cell in notebook["cells"])
    for cell in notebook["cells"]:
        name = cell.get("id")
        if name in names and name not in seen:
            last = name
        seen.add(name)
        if name is not None and count[name] == 1:
            found[name] = last
    return found


def histories():
    """Steps of a history: who did what, to which cells, with which text; or an update."""
    reader = st.tuples(st.just("reader"), st.sampled_from(READERS), NUMBERS, NUMBERS, TEXTS)
    course = st.tuples(st.just("course"), st.sampled_from(COURSES), NUMBERS, NUMBERS, TEXTS)
    disputes = st.tuples(st.just("dispute"), NUMBERS, TEXTS, TEXTS)
    updates = st.tuples(st.just("update"))
    return st.lists(st.one_of(reader, course, reader, course, disputes, updates), max_size=14)


class History:
    """A course of four cells and a reader's copy of it, to which things happen."""

    def __init__(self):
        self.course = deepcopy(COURSE)
        self.base, self.reader = deepcopy(COURSE), deepcopy(COURSE)
        self.fresh = 0

    def apply(self, who, change, where, to, text):
        """Does one thing to the reader's notebook or the course's, as a person or a program might."""
        notebook = self.reader if who == "reader" else self.course
        cells = notebook["cells"]
        self.fresh += 1
        name = f"{who}-{self.fresh}"
        if change == "insert":
            cells.insert(to % (len(cells) + 1), code(name, text) if where % 2 else prose(name, text))
        if not cells:
            return
        notes = [index for index, cell in enumerate(cells) if cell.get("id", "").startswith("update-of-")]
        # Notes are few and have rules of their own, so they are picked more often than chance would.
        where, to = notes[0] if notes and where > 5 else where % len(cells), to % len(cells)
        cell = cells[where]
        if change == "edit":
            cell["source"] = text
        elif change == "write on":
            cell["source"] += text
        elif change == "undo":
            cell["source"] = next((old["source"] for old in COURSE["cells"] if old["id"] == cell["id"]), text)
        elif change == "delete":
            del cells[where]
        elif change == "move":
            cells.insert(to, cells.pop(where))
        elif change == "kind":
            turn = code if cell["cell_type"] == "markdown" else prose
            cells[where] = turn(cell.get("id"), cell["source"])
            if to % 3 == 0:
                cells[where] = prose(cell.get("id"), cell["source"], cell_type="raw")
        elif change == "run" and cell["cell_type"] == "code":
            cell |= printed(text.replace("\ud800", ""), to)
        elif change == "tag":
            cell["metadata"] = {**cell["metadata"], f"key {to % 2}": text}
        elif change == "attach" and cell["cell_type"] != "code":
            cell["attachments"] = {f"{to}.png": {"image/png": "aGk="}}
        elif change == "duplicate":
            cells.insert(to, deepcopy(cell))
        elif change == "copy":
            cells.insert(to, {**deepcopy(cell), "id": name})
        elif change == "split":
            half = {**deepcopy(cell), "id": name, "source": cell["source"][:to]}
            cell["source"] = cell["source"][to:]
            cells.insert(where, half)
        elif change == "join":
            cell["source"] += "\n" + cells[to]["source"]
            if to != where:
                del cells[to]
        elif change == "drop id":
            cell.pop("id", None)
        elif change == "drop all ids":
            for each in cells:
                each.pop("id", None)
        elif change == "new ids":
            for index, each in enumerate(cells):
                each["id"] = f"{name}-{index}"

    def dispute(self, where, text, other):
        """Both change one cell, and an update follows."""
        name = self.course["cells"][where % len(self.course["cells"])]["id"] if self.course["cells"] else None
        for notebook, new in ((self.reader, text), (self.course, other)):
            for cell in notebook["cells"]:
                if cell.get("id") == name:
                    cell["source"] = new
        self.update()

    def play(self, steps):
        for who, *what in steps:
            if who == "update":
                self.update()
            elif who == "dispute":
                self.dispute(*what)
            else:
                self.apply(who, *what)
        self.update()

    def update(self):
        before = deepcopy((self.base, self.reader, self.course))
        result, _ = merge(self.base, self.reader, self.course)
        assert (self.base, self.reader, self.course) == before
        self.check(result)
        self.reader, self.base = deepcopy(result), deepcopy(self.course)

    def check(self, result):
        base = {cell["id"]: cell["source"] for cell in self.base["cells"]}
        texts = {
            f"update-of-{cell['id']}": workbooks._note_on(cell)["source"]
            for cell in [*self.course["cells"], *self.base["cells"]]
        }
        # 1. What is not the base's cell of that id, or an update's own note on one, is there, cell for cell.
        written = Counter()
        for cell in self.reader["cells"]:
            name, source = cell.get("id"), cell["source"]
            bases = base.values() if name is None else [base[name]] if name in base else []
            notes = [workbooks._note_on(each)["source"] for each in self.base["cells"] + self.course["cells"]]
            if source not in bases and not (name in texts and source in notes):
                written[source] += 1
        assert not written - Counter(cell["source"] for cell in result["cells"])
        # The course's cells are all there, in the course's order.
        names = [cell["id"] for cell in self.course["cells"]]
        assert [cell["id"] for cell in result["cells"] if cell["id"] in names] == names
        # The reader's own keep their ids, and stay behind the cell of the course's that they followed.
        if {*names, *base} <= {cell.get("id") for cell in self.reader["cells"]}:
            ours, theirs = ({*names, *base, *texts}, names)
            own = {name: place for name, place in places(self.reader, theirs).items() if name not in ours}
            assert own.items() <= places(result, theirs).items()
        # 2. Twice is once, also if a kill kept the base from being renewed, and through the file.
        assert merge(self.course, result, self.course) == (result, Changes())
        assert merge(self.base, result, self.course)[0] == result
        assert parse(serialize(result)) == result
        # 3. Who changed nothing gets the course's new version.
        assert merge(self.base, self.base, self.course)[0] == self.course
        # 4. Ids are unique and the format is kept.
        found = [cell["id"] for cell in result["cells"]]
        assert len(found) == len(set(found))
        nbformat.validate(result)


@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
@given(histories())
def test_no_history_loses_what_the_reader_wrote(steps):
    History().play(steps)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), st.booleans())
def test_a_history_without_a_base_loses_nothing_either(steps, none_at_all):
    history = History()
    for who, *what in steps:
        if who in ("reader", "course"):
            history.apply(who, *what)
    result, _ = merge(None, history.reader, history.course)
    written = Counter(cell["source"] for cell in history.reader["cells"] if "id" in cell or none_at_all)
    assert not written - Counter(cell["source"] for cell in result["cells"])
    assert merge(None, result, history.course)[0] == result
    nbformat.validate(result)


# ------------------------------------------------------------------------------------------------ the files


@pytest.fixture
def course(tmp_path):
    """A course of two notebooks in a folder of its own."""
    (tmp_path / "notebooks").mkdir()
    for name in ("04_attention", "05_causal"):
        publish(tmp_path, COURSE, name)
    return tmp_path


def start(folder, names=()):
    return workbooks.start(folder / "notebooks", folder / "work", names)


def update(folder, names=()):
    return workbooks.update(folder / "notebooks", folder / "work", names)


def publish(folder, notebook, name="04_attention"):
    (folder / "notebooks" / f"{name}.ipynb").write_bytes(serialize(notebook))


def workbook(folder, name="04_attention"):
    return folder / "work" / f"{name}.ipynb"


def everything(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def backups(folder):
    return sorted((folder / "work" / "backups").glob("*"))


def actions(done):
    return [(each.path.stem, each.action) for each in done]


def test_start_copies_and_never_writes_over(course):
    assert actions(start(course, ["4"])) == [("04_attention", "made")]
    assert workbook(course).read_bytes() == (course / "notebooks" / "04_attention.ipynb").read_bytes()
    workbook(course).write_bytes(b"mine")
    assert actions(start(course)) == [("04_attention", "kept"), ("05_causal", "made")]
    assert workbook(course).read_bytes() == b"mine"
    before = everything(course)
    start(course)
    update(course, ["causal"])
    assert everything(course) == before


@pytest.mark.parametrize("name", ["77", "", "03_attention", "../04"])
def test_an_unknown_name_is_refused(course, name):
    for verb in (start, update):
        with pytest.raises(ValueError, match="there are: 04_attention, 05_causal"):
            verb(course, [name])
    assert not (course / "work").exists()


def test_update_merges_and_keeps_what_was(course):
    start(course)
    mine = json.dumps(changed(COURSE, b="mine"), indent=4).encode()
    workbook(course).write_bytes(mine)
    publish(course, changed(COURSE, b="theirs", c="new"))
    ((_, done), (_, other)) = zip(("attention", "causal"), update(course), strict=True)
    assert (done.action, other.action) == ("updated", "current")
    assert "1 brought up to date, 1 changed by you and by the course" in done.sentence
    assert lines(parse(workbook(course).read_bytes())) == ["A", "note: theirs", "mine", "new", "D"]
    (backup,) = backups(course)
    assert backup.read_bytes() == mine and backup.name in done.sentence
    before = everything(course)
    assert actions(update(course)) == [("04_attention", "current"), ("05_causal", "current")]
    assert everything(course) == before


def test_who_changed_nothing_gets_the_courses_file(course):
    start(course)
    publish(course, changed(COURSE, a="new"))
    assert actions(update(course, ["04_attention"])) == [("04_attention", "updated")]
    assert workbook(course).read_bytes() == (course / "notebooks" / "04_attention.ipynb").read_bytes()


def test_what_the_course_saved_answers_no_question_of_the_readers(course):
    """Outputs of the course's never come into work/; those that the reader got stay through an update."""
    saved = book(prose("a", "A"), code("b", "B", **printed("b")), code("c", "C", **printed("c")))
    publish(course, saved)
    start(course)
    bare = parse(workbook(course).read_bytes())["cells"]
    assert [cell["source"] for cell in bare] == ["A", "B", "C"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in bare[1:])
    bare[1] |= printed("mine")
    workbook(course).write_bytes(serialize(book(*bare)))
    publish(course, changed(saved, c="new"))
    assert actions(update(course, ["attention"])) == [("04_attention", "updated")]
    b, c = parse(workbook(course).read_bytes())["cells"][1:]
    assert b["outputs"][0]["text"] == "mine" and c["source"] == "new" and c["outputs"] == []


def test_an_update_takes_away_the_answers_that_former_copies_held(course):
    saved = book(code("b", "B", **printed("b")), code("c", "C", **printed("c")))
    publish(course, saved)
    for place in ("work", "work/.course"):
        (course / place).mkdir(exist_ok=True)
        (course / place / "04_attention.ipynb").write_bytes(serialize(saved))
    assert actions(update(course, ["attention"])) == [("04_attention", "updated")]
    assert [cell["outputs"] for cell in parse(workbook(course).read_bytes())["cells"]] == [[], []]


def test_a_dispute_settled_by_both_alike_is_not_remembered(course):
    """The reader's and the course's text are the same: nothing to write but what the course's is now."""
    start(course)
    workbook(course).write_bytes(serialize(changed(COURSE, b="same")))
    publish(course, changed(COURSE, b="same"))
    assert actions(update(course, ["attention"])) == [("04_attention", "current")]
    assert backups(course) == []
    publish(course, changed(COURSE, b="next"))
    update(course, ["attention"])
    assert lines(parse(workbook(course).read_bytes())) == ["A", "next", "C", "D"]


def test_two_updates_in_one_second_make_two_backups(course, monkeypatch):
    class Clock(workbooks.datetime):
        @classmethod
        def now(cls):
            return cls(2030, 1, 2, 3, 4, 5)

    monkeypatch.setattr(workbooks, "datetime", Clock)
    start(course)
    seen = []
    for text in ("one", "two", "three"):
        seen.append(workbook(course).read_bytes())
        publish(course, changed(COURSE, a=text))
        update(course)
    assert [path.name for path in backups(course)] == [
        f"04_attention.2030-01-02_03.04.05{again}.ipynb" for again in ("", "_2", "_3")
    ]
    assert [path.read_bytes() for path in backups(course)] == seen


def test_what_jupyterlab_wrote_over_an_update_comes_back(course):
    """It had the old notebook open, and was told to overwrite. What is old there is not the reader's."""
    start(course)
    open_in_lab = serialize(changed(COURSE, b="mine", d="written meanwhile"))
    workbook(course).write_bytes(serialize(changed(COURSE, b="mine")))
    publish(course, changed(COURSE, a="new", b="theirs", c=None))
    update(course)
    workbook(course).write_bytes(open_in_lab)
    assert actions(update(course, ["attention"])) == [("04_attention", "updated")]
    wanted = ["new", "note: theirs", "mine", "written meanwhile"]
    assert lines(parse(workbook(course).read_bytes())) == wanted
    assert actions(update(course, ["attention"])) == [("04_attention", "current")]
    publish(course, changed(COURSE, a="newer", b="theirs", c=None))
    update(course)
    assert lines(parse(workbook(course).read_bytes())) == ["newer", *wanted[1:]]


@pytest.mark.parametrize("contents", [b"", b'{"nbformat": 4, "cells": [', b"\xff\x00\r\n"])
def test_a_broken_workbook_is_set_aside(course, contents):
    start(course)
    workbook(course).write_bytes(contents)
    (done,) = update(course, ["attention"])
    assert done.action == "set aside"
    (aside,) = (course / "work").glob("04_attention.unreadable.*")
    assert aside.read_bytes() == contents and aside.name in done.sentence
    assert workbook(course).read_bytes() == (course / "notebooks" / "04_attention.ipynb").read_bytes()
    assert actions(update(course, ["attention"])) == [("04_attention", "current")]


@pytest.mark.parametrize("lost", ["gone", "broken"])
def test_a_lost_base_loses_nothing(course, lost):
    start(course)
    workbook(course).write_bytes(serialize(changed(COURSE, b="mine")))
    base = course / "work" / ".course" / "04_attention.ipynb"
    base.unlink() if lost == "gone" else base.write_bytes(b"{")
    publish(course, changed(COURSE, c="theirs"))
    update(course)
    assert lines(parse(workbook(course).read_bytes())) == ["A", "note: B", "mine", "note: theirs", "C", "D"]
    assert actions(update(course, ["attention"])) == [("04_attention", "current")]


def test_what_was_not_started_is_left_alone(course):
    assert update(course) == []
    start(course, ["causal"])
    assert actions(update(course)) == [("05_causal", "current")]
    (done,) = update(course, ["attention"])
    assert done.action == "absent" and "gptlib start attention" in done.sentence
    assert not workbook(course).exists()


def test_a_damaged_notebook_of_the_course_is_said_and_nothing_is_touched(course):
    start(course)
    (course / "notebooks" / "04_attention.ipynb").write_bytes(b"{")
    before = everything(course)
    with pytest.raises(ValueError, match="git checkout -- notebooks/04_attention.ipynb"):
        update(course)
    assert everything(course) == before


def test_a_workbook_saved_during_its_update_stays_as_it_was_saved(course, monkeypatch):
    start(course)
    publish(course, changed(COURSE, a="new"))
    keep = workbooks._keep

    def saving(*arguments):
        workbook(course).write_bytes(b"saved meanwhile")
        return keep(*arguments)

    monkeypatch.setattr(workbooks, "_keep", saving)
    with pytest.raises(OSError, match="was saved during its update"):
        update(course)
    assert workbook(course).read_bytes() == b"saved meanwhile"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("allowed", range(4))
def test_a_disk_that_refuses_at_any_point_leaves_whole_files(course, monkeypatch, number, allowed):
    """The backup, the workbook, the base before and the base are renamed into place; one of them fails."""
    start(course)
    mine = serialize(changed(COURSE, b="mine"))
    workbook(course).write_bytes(mine)
    publish(course, changed(COURSE, b="theirs"))
    replace, calls = os.replace, []

    def failing(source, target):
        calls.append(target)
        if len(calls) > allowed:
            raise OSError(number, os.strerror(number), str(source))
        return replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing)
        with pytest.raises(OSError) as caught:
            update(course)
    said = {errno.ENOSPC: "disk is full", errno.EACCES: "permissions", errno.EROFS: "permissions"}
    assert said.get(number, os.strerror(number)) in str(caught.value)
    assert "\n" not in str(caught.value) and "nothing that you wrote is lost" in str(caught.value)
    assert [path.read_bytes() for path in backups(course)] == [mine] * min(allowed, 1)
    assert not list(course.rglob("*.partial"))
    assert (workbook(course).read_bytes() == mine) == (allowed < 2)
    update(course)
    assert lines(parse(workbook(course).read_bytes())) == ["A", "note: theirs", "mine", "C", "D"]


def is_killed_at(last, owner, name, act):
    """Do `act` in another process that is killed at its last-th call of owner.name, as by a power cut.

    False if it came to its end before that.
    """
    child = os.fork()
    if child == 0:
        call, calls = getattr(owner, name), []

        def dying(source, target):
            calls.append(target)
            if len(calls) == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(source, target)

        setattr(owner, name, dying)
        try:
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process to kill")
@pytest.mark.parametrize("last", range(1, 5))
def test_a_kill_during_an_update_leaves_whole_files(course, last):
    start(course)
    mine = serialize(changed(COURSE, b="mine"))
    workbook(course).write_bytes(mine)
    publish(course, changed(COURSE, b="theirs"))
    assert is_killed_at(last, os, "replace", lambda: update(course, ["attention"]))
    wanted = ["A", "note: theirs", "mine", "C", "D"]
    assert lines(parse(workbook(course).read_bytes())) == (wanted if last > 2 else ["A", "mine", "C", "D"])
    assert last == 1 or backups(course)[0].read_bytes() == mine
    update(course)
    assert lines(parse(workbook(course).read_bytes())) == wanted


def test_a_file_called_work_is_said(course):
    (course / "work").write_bytes(b"")
    with pytest.raises(OSError, match="needs to be a folder for your notebooks, and is a file"):
        start(course)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="for root every folder can be written")
def test_a_folder_that_may_not_be_written_is_said(course):
    (course / "work").mkdir(mode=0o500)
    with pytest.raises(PermissionError, match="change its permissions"):
        start(course)


def test_a_folder_without_a_course_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no notebooks"):
        start(tmp_path)


def test_every_notebook_of_the_course_can_be_started_and_updated(tmp_path):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    assert {each.action for each in start(tmp_path)} == {"made"}
    for path in (tmp_path / "work").glob("*.ipynb"):
        notebook = json.loads(path.read_bytes())
        notebook["cells"].insert(1, code("mine", "# mine"))
        path.write_bytes(serialize(parse(json.dumps(notebook).encode())))
    for path in (tmp_path / "notebooks").glob("*.ipynb"):
        notebook = parse(path.read_bytes())
        assert with_ids(notebook) == notebook
        notebook["cells"][-1]["source"] += "\nchanged"
        path.write_bytes(serialize(notebook))
    assert {each.action for each in update(tmp_path)} == {"updated"}
    for path in (tmp_path / "work").glob("*.ipynb"):
        nbformat.validate(nbformat.read(path, as_version=4))
        cells = parse(path.read_bytes())["cells"]
        assert cells[1]["source"] == "# mine" and cells[-1]["source"].endswith("\nchanged")


# ------------------------------------------------------------------------- notebooks that the course renamed


@pytest.fixture
def renamed(tmp_path):
    """A course of today's names, and a reader's work/ of the former ones, each file with bytes of its own."""
    (tmp_path / "notebooks").mkdir()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        publish(tmp_path, changed(COURSE, a="new"), path.stem)
    for old in FORMER_NAMES:
        for place, contents in files_of(old).items():
            (tmp_path / "work" / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "work" / place).write_bytes(contents)
    return tmp_path


def files_of(name, old=None):
    """The files that a notebook has in work/ under a name, with what the one called `old` had in them."""
    old = old or name
    return {
        f"{name}.ipynb": serialize(changed(COURSE, b=f"mine in {old}")),
        f"{name}.unreadable.2026-01-02_03.04.05.txt": f"unreadable {old}".encode(),
        f".course/{name}.ipynb": serialize(changed(COURSE, d=f"base of {old}")),
        f".course/{name}.before.ipynb": serialize(changed(COURSE, d=f"before in {old}")),
        f"backups/{name}.2026-01-02_03.04.05.ipynb": f"backup of {old}".encode(),
        f"backups/{name}.2026-01-02_03.04.05_2.ipynb": f"second backup of {old}".encode(),
    }


def new_name(old):
    return find_notebook(FORMER_NAMES[old]).stem


def test_an_old_name_is_never_another_notebooks_new_one():
    today = {path.stem: topic_of(path) for path in notebook_paths()}
    for old, topic in FORMER_NAMES.items():
        assert topic in today.values() and today.get(old, topic) == topic
    assert today["10_training"] == "training" and FORMER_NAMES["10_generation"] == "generation"


def test_start_gives_the_readers_files_their_new_names_and_keeps_their_bytes(renamed):
    done = start(renamed, ["welcome"])
    moved = [old for old in FORMER_NAMES if new_name(old) != old]
    assert actions(done) == [*((new_name(old), "renamed") for old in moved), ("00_welcome", "kept")]
    assert "work/10_generation.ipynb is now called work/11_generation.ipynb" in done[7].sentence
    wanted = {}
    for old in FORMER_NAMES:
        wanted |= {f"work/{place}": contents for place, contents in files_of(new_name(old), old).items()}
    assert {name: held for name, held in everything(renamed).items() if name.startswith("work")} == wanted
    again = dict(actions(start(renamed)))
    assert {again[new_name(old)] for old in FORMER_NAMES} == {"kept"}, "nobody gets a second copy"


def test_update_merges_what_it_has_renamed(renamed):
    done = update(renamed)
    assert Counter(each.action for each in done) == {"renamed": 15, "updated": 18}
    for old in FORMER_NAMES:
        found = files_of(new_name(old), old)
        assert lines(parse(workbook(renamed, new_name(old)).read_bytes())) == [
            "new",
            f"mine in {old}",
            "C",
            "D",
        ]
        kept = {path.read_bytes() for path in backups(renamed) if path.name.startswith(new_name(old) + ".")}
        assert kept == {
            held for place, held in found.items() if place.startswith(("backups/", new_name(old) + ".ip"))
        }
    before = everything(renamed)
    assert {each.action for each in update(renamed)} == {"current"}
    assert everything(renamed) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process to kill")
@pytest.mark.parametrize("last", range(1, 14))
def test_a_kill_between_two_renamings_loses_nothing(renamed, last):
    """Of two notebooks, one of which has the number that the other had."""
    for old in set(FORMER_NAMES) - {"09_training", "10_generation"}:
        for place in files_of(old):
            (renamed / "work" / place).unlink()
    before = sorted(everything(renamed / "work").values())
    killed = is_killed_at(last, Path, "rename", lambda: start(renamed, ["welcome"]))
    assert killed == (last <= 12)
    if killed:
        assert sorted(everything(renamed / "work").values()) == before
    start(renamed, ["training", "generation"])
    wanted = files_of("10_training", "09_training") | files_of("11_generation", "10_generation")
    held = everything(renamed / "work")
    assert {name: held[name] for name in wanted} == wanted
    assert not [name for name in held if "10_generation" in name or "09_training" in name]


def test_a_workbook_of_the_new_name_is_not_written_over(renamed):
    workbook(renamed, "04_attention").write_bytes(b"mine too")
    before = {name: held for name, held in everything(renamed).items() if "attention" in name}
    done = start(renamed)
    (kept,) = [each for each in done if each.action == "not renamed"]
    assert "03_attention.ipynb is now called 04_attention.ipynb" in kept.sentence
    assert "update again" in kept.sentence and "renamed" in {each.action for each in done}
    after = everything(renamed)
    assert {name: after[name] for name in before if "causal" not in name} == {
        name: held for name, held in before.items() if "causal" not in name
    }


@pytest.mark.parametrize("choice", ["the old one", "the new one"])
def test_after_the_reader_has_chosen_the_update_goes_on(renamed, choice):
    start(renamed, ["welcome"])
    for place, contents in files_of("03_attention", "another").items():
        (renamed / "work" / place).write_bytes(contents)
    given_up = workbook(renamed, "04_attention" if choice == "the old one" else "03_attention")
    given_up.rename(given_up.with_name("mine.ipynb"))
    aside, kept = workbook(renamed, "mine").read_bytes(), {path.read_bytes() for path in backups(renamed)}
    done = update(renamed, ["attention"])
    assert [each.action for each in done] == ["renamed"] * (choice == "the old one") + ["updated"]
    mine = "another" if choice == "the old one" else "03_attention"
    assert lines(parse(workbook(renamed, "04_attention").read_bytes())) == [
        "new",
        f"mine in {mine}",
        "C",
        "D",
    ]
    assert workbook(renamed, "mine").read_bytes() == aside
    assert kept < {path.read_bytes() for path in backups(renamed)}
    assert [each.action for each in update(renamed, ["attention"])] == ["current"]


# ------------------------------------------------------------------------------------------- the command line


def test_the_verbs(course, monkeypatch, capsys):
    for verb in ("start", "update"):
        monkeypatch.setattr(f"gptlib.cli.{verb}.course_root", lambda: course)
        monkeypatch.setattr(f"gptlib.cli.{verb}.readers_root", lambda: course)

    def say(*arguments, status=0):
        assert main(list(arguments)) == status
        out, error = capsys.readouterr()
        return error if status else out

    assert "gptlib start" in say("update")
    assert say("start", "4") == "work/04_attention.ipynb is yours\n"
    assert say("start") == "work/05_causal.ipynb is yours\n"
    assert say("start") == "Your notebooks are in work/, as you left them.\n"
    assert "stays as you left it" in say("start", "05")
    assert "work/05_causal.ipynb is up to date" in say("update") and "Reload" not in say("update")
    publish(course, changed(COURSE, a="new"))
    assert "Reload Notebook from Disk" in say("update", "attention")
    assert "there are: 04_attention" in say("start", "99", status=2)
