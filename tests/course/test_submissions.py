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
    ],
)
def test_whose_files_they_are(tmp_path, kind, files, expected):
    if kind == "zip":
        where = tmp_path / "class.zip"
        where.write_bytes(zipped(dict.fromkeys(files, notebook())))
    else:
        where = tmp_path / "class"
        for name in files:
            (where / name).parent.mkdir(parents=True, exist_ok=True)
            (where / name).write_bytes(notebook())
    assert set(names(where)) == expected


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
