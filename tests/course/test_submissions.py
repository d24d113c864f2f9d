"""Finding notebooks in folders and zips, however they are named, and zips that mean harm."""

import io
import json
import struct
import zipfile

import pytest

from gptlib.course.grading import submissions
from gptlib.course.grading.answers import read_notebook
from gptlib.course.grading.submissions import find_submissions


def notebook(text="def look_up(query, keys, values):\n    return 1"):
    cell = {"cell_type": "code", "id": "answer-attention-look_up", "source": text}
    return json.dumps({"nbformat": 4, "cells": [cell]}).encode()


def zipped(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, contents in files.items():
            archive.writestr(name, contents)
    return data.getvalue()


def names(where):
    found = find_submissions(where, read_notebook)
    return {student.name: [file.label for file in student.files] for student in found}


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["Ada.ipynb", "Bob B.ipynb"], {"Ada", "Bob B"}),
        (["ada_12_04_attention.ipynb", "bob_13_04_attention (1).ipynb"], {"ada_12", "bob_13"}),
        (["ada_12_03_attention.ipynb", "bob_11_gpt2 (1).ipynb"], {"ada_12", "bob"}),  # names of before
        (["all/Ada/04_attention.ipynb", "all/Bob/a/b/03.ipynb"], {"Ada", "Bob"}),
        (["Ada/04_attention.ipynb"], {"Ada"}),
        (["x/Tue/Ada/1.ipynb", "x/Tue/Bob/1.ipynb", "x/Wed/Cy/1.ipynb"], {"Tue/Ada", "Tue/Bob", "Wed"}),
        (["Ада/课.ipynb", "Žofie.ipynb"], {"Ада", "Žofie"}),
        (
            ["Ada/.ipynb_checkpoints/x.ipynb", "__MACOSX/y.ipynb", "Ada/03.ipynb", "Bob/1.ipynb"],
            {"Ada", "Bob"},
        ),
        (["submitted/Ada/04_attention/04_attention.ipynb"], {"Ada"}),
        (["all/04_attention/Ada/03.ipynb", "all/04_attention/Bob/03.ipynb"], {"Ada", "Bob"}),
        (["ada.ipynb.txt", "bob.json"], {"ada", "bob"}),
        (
            ["Ada L_12_assignsubmission_file_/03.ipynb", "Ada L_13_assignsubmission_file/03.ipynb"],
            {"Ada L_12", "Ada L_13"},
        ),
        # Moodle, with folders in it, and without folders
        (
            [
                "Ada L_12_assignsubmission_file_/old/03.ipynb",
                "Ada L_12_assignsubmission_file_/final/03.ipynb",
                "Bob_13_assignsubmission_file_/a.ipynb",
            ],
            {"Ada L_12", "Bob_13"},
        ),
        (
            [
                "Ada L_12_assignsubmission_file_04_attention.ipynb",
                "Bob_7_assignsubmission_file_homework 3.ipynb",
            ],
            {"Ada L_12", "Bob_7"},
        ),
        (["Ada L_12_assignsubmission_file_/old/03.ipynb"], {"Ada L_12"}),
        # Canvas: two files of one assignment, a renamed one, a late one
        (
            ["lovelaceada_12345_678901_03.ipynb", "lovelaceada_12345_678902_04_attention-1.ipynb"],
            {"lovelaceada_12345"},
        ),
        (
            ["boolegeorge_LATE_12346_678903_hw_attention.ipynb", "boolegeorge_12347_678904_my work.ipynb"],
            {"boolegeorge_12346", "boolegeorge_12347"},
        ),
        # Brightspace: two attempts, and its own page
        (
            [
                "12345-678901 - Ada Lovelace - Nov 29, 2026 1030 AM/04_attention.ipynb",
                "12345-678909 - Ada Lovelace - Nov 30, 2026 830 PM/04_attention.ipynb",
                "12346-678902 - Bob - Nov 29, 2026 1031 AM/hw.ipynb",
                "index.html",
            ],
            {"Ada Lovelace_12345", "Bob_12346"},
        ),
        # Google Classroom
        (["Ada L - Copy of 04_attention.ipynb", "Bob B - 04_attention.ipynb"], {"Ada L", "Bob B"}),
        # GitHub Classroom: clones of the course, of which two notebooks are one student's
        (
            [
                *("hw-ada/README.md", "hw-ada/notebooks/04.ipynb", "hw-ada/work/04.ipynb"),
                *("hw-bob/README.md", "hw-bob/notebooks/04_attention.ipynb", "hw-bob/src/mine.ipynb"),
                "README.md",
            ],
            {"hw-ada", "hw-bob"},
        ),
        (["hw-ada/README.md", "hw-ada/notebooks/04.ipynb", "hw-ada/work/04.ipynb"], {"hw-ada"}),
        # one student of many with two folders, and groups of whom most hold several
        (["Ada/old/1.ipynb", "Ada/new/1.ipynb", "Bob/1.ipynb", "Cy/1.ipynb"], {"Ada", "Bob", "Cy"}),
        (
            [
                *("Tue/Ada/1.ipynb", "Tue/Bob/1.ipynb", "Wed/Dee/1.ipynb"),
                *("Wed/Cy/a/1.ipynb", "Wed/Cy/b/1.ipynb"),
            ],
            {"Tue/Ada", "Tue/Bob", "Wed/Cy", "Wed/Dee"},
        ),
    ],
)
def test_whose_files_they_are(tmp_path, kind, files, expected):
    if kind == "zip":
        where = tmp_path / "class.zip"
        where.write_bytes(zipped({name: contents_of(name) for name in files}))
    else:
        where = tmp_path / "class"
        for name in files:
            (where / name).parent.mkdir(parents=True, exist_ok=True)
            (where / name).write_bytes(contents_of(name))
    assert set(names(where)) == expected


def contents_of(name):
    return b"words" if name.endswith((".md", ".html")) else notebook()


def test_a_student_with_two_zips_is_one(tmp_path):
    for name in ("Ada", "Bob", "Cy"):
        (tmp_path / name).mkdir()
    for name in ("Ada/first.zip", "Ada/second.zip", "Bob/work.zip"):
        (tmp_path / name).write_bytes(zipped({"04_attention.ipynb": notebook()}))
    (tmp_path / "Cy" / "04_attention.ipynb").write_bytes(notebook())
    assert {name: len(files) for name, files in names(tmp_path).items()} == {"Ada": 2, "Bob": 1, "Cy": 1}


def test_what_a_platform_says_of_a_student(tmp_path):
    (tmp_path / "boolegeorge_LATE_12346_678903_hw.ipynb").write_bytes(notebook())
    (tmp_path / "lovelaceada_12345_678901_hw.ipynb").write_bytes(notebook())
    (tmp_path / "Cy.ipynb").write_bytes(notebook())
    found = find_submissions(tmp_path, read_notebook)
    said = [("boolegeorge_12346", "12346", True), ("Cy", "", False), ("lovelaceada_12345", "12345", False)]
    assert [(student.name, student.id, student.late) for student in found] == said


def test_a_zip_cannot_leave_its_place(tmp_path):
    where = tmp_path / "class.zip"
    where.write_bytes(
        zipped({"../../slip.ipynb": notebook(), "/etc/abs.ipynb": notebook(), "a\\b.ipynb": notebook()})
    )
    found = names(where)
    assert sorted(found) == ["a", "etc", "slip"]
    assert [path.name for path in tmp_path.iterdir()] == ["class.zip"]


def test_a_large_or_lying_zip_is_read_up_to_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "LARGEST_NOTEBOOK", 10_000)
    where = tmp_path / "class.zip"
    bomb = zipped({"Ada/03.ipynb": b"0" * 10**8, "Bob/03.ipynb": notebook()})
    # The size that the zip says is a lie.
    where.write_bytes(bomb.replace(struct.pack("<L", 10**8), struct.pack("<L", 100)))
    found = {student.name: student.files[0].problem for student in find_submissions(where, read_notebook)}
    assert found["Bob"] is None
    assert found["Ada"]
    where.write_bytes(bomb)
    found = {student.name: student.files[0].problem for student in find_submissions(where, read_notebook)}
    assert "95 MB; at most" in found["Ada"]


def test_zips_in_zips_are_read_and_broken_ones_said(tmp_path):
    (tmp_path / "Ada").mkdir()
    (tmp_path / "Ada" / "work.zip").write_bytes(zipped({"work/03.ipynb": notebook()}))
    (tmp_path / "Bob").mkdir()
    (tmp_path / "Bob" / "work.zip").write_bytes(zipped({"work/03.ipynb": notebook()})[:-30])
    (tmp_path / "Cy.ipynb").symlink_to("/etc/passwd")
    found = {student.name: student.files[0] for student in find_submissions(tmp_path, read_notebook)}
    assert found["Ada"].topic == "attention"
    assert "zip cannot be read" in found["Bob"].problem
    assert "link" in found["Cy"].problem


def test_a_large_notebook_is_not_read(tmp_path, monkeypatch):
    with open(tmp_path / "Ada.ipynb", "wb") as file:
        file.truncate(2**30)
    (found,) = find_submissions(tmp_path, read_notebook)
    assert found.files[0].problem == "it has 1,024 MB; at most 20 MB are read"
