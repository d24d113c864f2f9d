"""Points and comments by hand: read from whatever a spreadsheet writes, or refused in a sentence."""

import codecs
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptlib.course.exercises import lessons
from gptlib.course.grading.by_hand import Note, find_student, read_by_hand, start_by_hand
from gptlib.course.grading.rubrics import plain_rubric
from gptlib.course.grading.students import Student

EXERCISES = lessons()["attention"].exercises
STUDENTS = [
    Student(name, (), id)
    for name, id in [("Ada Lovelace_12", "12"), ("Zoë", ""), ("=Bob", ""), ("cy", ""), ("Cy", ""), ("12", "")]
]


def read(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    return read_by_hand(path, STUDENTS, EXERCISES, plain_rubric())


@pytest.fixture
def table(tmp_path):
    return tmp_path / "by_hand.csv"


HEADER = "student,exercise,points,comment\n"


def test_what_is_written_by_hand_is_read(table):
    notes = read(
        table,
        HEADER + "Ada Lovelace_12,attention.entropy,1.5,\nZoë,,-1,late\n,,,\n"
        '"\'=Bob",attention.look_up,,"Two lines,\nand a ""quote"""\n',
    )
    assert notes == {
        ("Ada Lovelace_12", "attention.entropy"): Note(1.5),
        ("Zoë", ""): Note(-1.0, "late"),
        ("=Bob", "attention.look_up"): Note(None, 'Two lines,\nand a "quote"'),
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("parted_by", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_any_spreadsheet_may_have_written_it(table, encoding, parted_by, end):
    rows = [["Comment", "student", "Points", "exercise", "mine"], ["für dich", "zoë ", '"1,5"', "", "x"]]
    text = end.join(parted_by.join(row) for row in rows) + end
    assert read(table, text, encoding) == {("Zoë", ""): Note(1.5, "für dich")}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("Adda,,1,", "row 2: there is no student 'Adda'; there is 'Ada Lovelace_12'"),
        (",,1,", "row 2: there is no student ''"),
        (
            "Zoë,attention.look_upp,1,",
            "row 2: nobody handed in an exercise 'attention.look_upp'; there is 'att",
        ),
        ("Zoë,block.block_forward,1,", "nobody handed in an exercise 'block.block_forward'"),
        ("Zoë,,1,\n\nZoë,,,again", "row 4: Zoë has a row for all already"),
        ("Zoë,attention.look_up,many,", "row 2: points is 'many'; it needs a number"),
        ("Zoë,attention.look_up,nan,", "points is 'nan'; it needs a number"),
        ("Zoë,attention.look_up,-1,", "points is -1; it needs to be from 0 to 1"),
        (
            "Zoë,attention.look_up,20,",
            "points is 20; it needs to be from 0 to 1; a bonus stands in a row without",
        ),
        ("CY,,1,", "row 2: 'CY' may be 'cy' or 'Cy'"),
        ("12,,1,", "row 2: '12' may be 'Ada Lovelace_12' or '12'"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(table, rows, says):
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        read(table, HEADER + rows + "\n")
    assert str(error.value).startswith("by_hand.csv, row ") and "\n" not in str(error.value)


def test_a_column_that_is_missing_is_named(table):
    for text in ("", "student,points,comment\n", "x\n"):
        with pytest.raises(ValueError, match="has no column .*; its first row needs to be student,exercise"):
            read(table, text)


def test_what_is_no_table_is_said(table):
    with pytest.raises(ValueError, match="by_hand.csv is no table: .*; save it as CSV"):
        read(table, HEADER + "x" * 200_000)


def test_of_names_that_differ_by_case_the_exact_one_is_meant():
    assert find_student("Cy", STUDENTS).name == "Cy" and find_student("cy", STUDENTS).name == "cy"
    assert find_student("Zoe\u0308", STUDENTS).name == "Zoë"


def test_a_table_is_started_and_never_changed(table):
    start_by_hand(table)
    assert read_by_hand(table, STUDENTS, EXERCISES, plain_rubric()) == {}
    table.write_text("mine")
    start_by_hand(table)
    assert table.read_text() == "mine"


@given(
    st.binary(max_size=200)
    | st.text(max_size=100).map(lambda text: (HEADER + text).encode("utf-8", "ignore"))
)
def test_any_file_is_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    for mark in (b"", codecs.BOM_UTF16_LE, codecs.BOM_UTF8):
        path.write_bytes(mark + data)
        try:
            read_by_hand(path, STUDENTS, EXERCISES, plain_rubric())
        except ValueError as error:
            assert "any.csv" in str(error)
