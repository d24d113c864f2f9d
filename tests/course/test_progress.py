import json
import multiprocessing
from datetime import datetime, timedelta

import pytest

from gptlib.cli.main import main
from gptlib.course import check, hint, progress
from gptlib.course.desk.progress import hints_seen, load, path, questions_due, record_choice, record_hint
from gptlib.course.exercises import lessons

NAME = "attention.weighted_average"


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    file = tmp_path / "work" / "progress.json"
    monkeypatch.setenv("GPTLIB_PROGRESS", str(file))
    return file


def test_it_is_one_readable_file(file):
    check(NAME, lambda weights, values: weights @ values)
    record_choice("attention.rows_sum", right=False)
    kept = json.loads(file.read_text())
    assert kept["exercises"][NAME]["status"] == "right"
    assert kept["questions"]["attention.rows_sum"] == {"right": 0, "wrong": 1, "last": "wrong"}
    file.write_text(file.read_text(), encoding="utf-8-sig", newline="\r\n")  # as Windows' Notepad may save it
    assert load()["questions"] == kept["questions"]


def test_the_table_says_what_is_done_and_what_is_due():
    check(NAME, lambda weights, values: weights @ values)
    record_choice("attention.rows_sum", right=False)
    record_choice("attention.why_root", right=True)
    table = repr(progress())
    n_exercises, n_questions = len(lessons()["attention"].exercises), len(lessons()["attention"].quiz)
    row = next(line for line in table.splitlines() if line.startswith("04_attention"))
    assert f"1 of {n_exercises}" in row
    assert f"1 of {n_questions}" in row
    assert "attention.rows_sum (04_attention)" in table
    record_choice("attention.rows_sum", right=True)
    assert "Nothing is due again." in repr(progress())


def test_a_question_that_went_wrong_comes_back_in_later_notebooks_alone():
    record_choice("attention.rows_sum", right=False)
    assert [question.name for question in questions_due(before="causal_attention")] == ["attention.rows_sum"]
    assert questions_due(before="attention") == []
    record_choice("attention.rows_sum", right=True)
    assert questions_due(before="causal_attention") == []


def test_right_stays_right():
    check(NAME, lambda weights, values: weights @ values)
    check(NAME, lambda weights, values: values)
    entry = load()["exercises"][NAME]
    assert (entry["status"], entry["attempts"]) == ("right", 2)


def test_minutes_are_counted_without_long_pauses(file):
    record_hint(NAME, 1)
    for minutes in (3, 40):
        kept = json.loads(file.read_text())
        kept["last"] = (datetime.now() - timedelta(minutes=minutes)).isoformat()
        file.write_text(json.dumps(kept))
        record_hint(NAME, 1)
    assert load()["minutes"]["attention"] == pytest.approx(3, abs=0.1)


def test_minutes_of_the_form_before_are_carried_over_once(file):
    """Minutes stood under numbers then, and 10 was generation's. A number that no notebook had is kept."""
    file.parent.mkdir()
    file.write_text(json.dumps({"minutes": {"03": 5, "09": 2.5, "10": 7, "11": 1, "77": 3}}))
    wanted = {"attention": 5, "training": 2.5, "generation": 7, "published": 1, "77": 3}
    assert load()["minutes"] == wanted
    for rung in (1, 2):
        record_hint(NAME, rung)
        kept = json.loads(file.read_text())
        assert kept["form"] == 2 and kept["minutes"] == load()["minutes"]
        assert {topic: round(spent, 1) for topic, spent in kept["minutes"].items()} == wanted


def test_a_clock_that_went_back_is_no_trouble(file):
    record_hint(NAME, 1)
    kept = json.loads(file.read_text())
    kept["last"] = (datetime.now() + timedelta(days=1)).isoformat()
    file.write_text(json.dumps(kept))
    record_hint(NAME, 2)
    assert load()["minutes"] == {}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "",
        "[1, 2]",
        '{"exercises": 3}',
        "null",
        "[" * 100_000,
        '{"exercises": {"attention.weighted_average": {"attempts": null}}}',
        '{"exercises": {"attention.weighted_average": {"hints": "three"}}}',
        '{"exercises": {"attention.weighted_average": {"misconceptions": []}}}',
        '{"questions": {"attention.rows_sum": {"right": "yes"}}}',
        '{"minutes": {"03": "many"}}',
        '{"last": "yesterday"}',
        '{"last": 5}',
        '{"last": "2026-01-01T00:00:00+00:00"}',
    ],
)
def test_a_file_that_cannot_be_read_is_set_aside_and_nothing_is_lost(file, text):
    file.parent.mkdir()
    file.write_text(text)
    record_hint(NAME, 2)
    assert hints_seen(NAME) == 2
    (aside,) = file.parent.glob("progress (unreadable*")
    assert aside.read_text() == text


def test_where_it_cannot_be_kept_check_says_so_and_goes_on(file):
    file.parent.write_text("a file where the folder should be")
    verdict = check(NAME, lambda weights, values: weights @ values)
    assert verdict.status == "right"
    assert "could not be kept" in verdict.message


def test_where_it_cannot_be_kept_hints_climb_all_the_same(file, capsys):
    file.parent.write_text("a file where the folder should be")
    hint(NAME)
    assert "could not be kept" in capsys.readouterr().out
    hint(NAME)
    assert "2. " in capsys.readouterr().out
    assert questions_due(before="causal_attention") == []
    assert "04_attention" in repr(progress())
    file.parent.unlink()
    hint(NAME)
    assert hints_seen(NAME) == 3
    assert "could not be kept" not in capsys.readouterr().out


def test_counts_that_were_deleted_by_hand_begin_again(file):
    file.parent.mkdir()
    file.write_text(json.dumps({"exercises": {NAME: {"status": "right"}}, "questions": {}}))
    check(NAME, lambda weights, values: values)
    entry = load()["exercises"][NAME]
    assert (entry["status"], entry["attempts"], entry["hints"]) == ("right", 1, 0)


def test_the_folder_that_a_kernel_is_in_makes_no_difference(monkeypatch, tmp_path):
    monkeypatch.setenv("GPTLIB_PROGRESS", "kept/here.json")
    before = path()
    monkeypatch.chdir(tmp_path)
    assert path() == before
    assert before.is_absolute()
    monkeypatch.setenv("GPTLIB_PROGRESS", "~/here.json")
    assert "~" not in str(path())


def test_an_empty_variable_keeps_nothing(monkeypatch, file):
    monkeypatch.setenv("GPTLIB_PROGRESS", "")
    record_hint(NAME, 1)
    assert not file.exists()


def many_hints(path):
    import os

    os.environ["GPTLIB_PROGRESS"] = path
    for _ in range(20):
        record_choice("attention.rows_sum", right=True)


def test_two_notebooks_at_once_lose_nothing(file):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=many_hints, args=(str(file),)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert load()["questions"]["attention.rows_sum"]["right"] == 40


def test_names_that_the_course_no_longer_has_are_kept_and_not_shown(file):
    record_choice("attention.rows_sum", right=False)
    kept = json.loads(file.read_text())
    kept["questions"]["attention.gone"] = {"right": 0, "wrong": 1, "last": "wrong"}
    file.write_text(json.dumps(kept))
    assert "gone" not in repr(progress())
    record_choice("attention.rows_sum", right=True)
    assert "attention.gone" in load()["questions"]


def test_the_shell_shows_the_same_table(capsys):
    record_choice("attention.rows_sum", right=False)
    assert main(["progress"]) == 0
    assert capsys.readouterr().out == f"{progress()!r}\n"
