import json

import pytest
import torch

from gptlib.course import check, hint, progress
from gptlib.course.desk import checking
from gptlib.course.desk.progress import load


@pytest.fixture(autouse=True)
def _own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("GPTLIB_PROGRESS", str(tmp_path / "progress.json"))


def weighted_average(weights, values):
    return weights @ values


def test_a_right_answer_is_right_goes_on_and_is_kept():
    verdict = check("attention.weighted_average", weighted_average)
    assert verdict.status == "right"
    assert verdict.goes_on_with is weighted_average
    assert load()["exercises"]["attention.weighted_average"]["status"] == "right"


def test_below_an_answer_that_is_not_right_the_cells_go_on_with_the_reference():
    for answer in (lambda weights, values: ..., lambda weights, values: values, lambda: 0):
        verdict = check("attention.weighted_average", answer)
        assert verdict.status != "right"
        assert verdict.goes_on_with is not answer
        assert verdict.goes_on_with(torch.ones(1, 1), torch.ones(1, 2)).tolist() == [[1, 1]]


def test_a_check_that_is_run_again_does_not_take_the_reference_for_the_readers():
    verdict = check("attention.weighted_average", lambda weights, values: values)
    again = check("attention.weighted_average", verdict.goes_on_with)
    assert again.status == "not attempted"
    assert "run the cell with yours again" in again.message
    assert load()["exercises"]["attention.weighted_average"]["status"] == "not yet"
    assert check("attention.weighted_average", again.goes_on_with).status == "not attempted"


def test_a_stub_leaves_no_trace():
    check("attention.weighted_average", lambda weights, values: ...)
    assert load()["exercises"] == {}


@pytest.mark.parametrize("name", ["attention.weighted_averag", "", "attention"])
def test_an_unknown_name_is_a_sentence(name):
    assert "there is no exercise" in check(name, weighted_average).message.lower()
    with pytest.raises(KeyError, match="there is no exercise"):
        hint(name)


def test_the_value_in_place_of_the_function():
    assert "weighted_average itself" in check("attention.weighted_average", 3).message


def test_whatever_is_given_to_check_cells_below_go_on():
    assert callable(check("attention.weighted_average", None).goes_on_with)
    assert "The name comes first" in check(weighted_average, "attention.weighted_average").message


def test_hints_climb_to_a_solution_that_is_kept_in_mind(capsys):
    name = "attention.weighted_average"
    lengths = []
    for _ in range(5):
        hint(name)
        lengths.append(len(capsys.readouterr().out))
    assert lengths[0] < lengths[1] < lengths[2] < lengths[3] == lengths[4]
    hint(name)
    assert "return weights @ values" in capsys.readouterr().out
    assert load()["exercises"][name]["hints"] == 4
    check(name, weighted_average)
    assert progress().due == [name]


def test_a_teacher_can_take_the_last_rung_away(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checking, "readers_root", lambda: tmp_path)
    settings = tmp_path / "teaching.json"
    settings.write_text('{"solutions": false}', encoding="utf-8-sig")  # as Windows' Notepad may save it
    for _ in range(5):
        hint("attention.weighted_average")
    out = capsys.readouterr().out
    assert "return" not in out
    assert "4." not in out
    settings.write_text(json.dumps(["solutions"]))
    with pytest.raises(ValueError, match=r"teaching\.json is to hold"):
        hint("attention.weighted_average")
