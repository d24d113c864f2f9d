import base64
import json

import pytest
import torch

from gptlib.course import Quiz, predict
from gptlib.course.desk.progress import load, record_choice
from gptlib.course.desk.quizzes import QuestionBox, markup
from gptlib.course.exercises import Question, lesson, question
from gptlib.viz import figures


@pytest.fixture(autouse=True)
def _own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("GPTLIB_PROGRESS", str(tmp_path / "progress.json"))


def test_each_choice_says_why_and_is_kept():
    task = question("attention.rows_sum")
    box = QuestionBox(task)
    for place, (_, why) in enumerate(task.choices):
        assert box.choose(place) == (place == task.right_place)
        assert markup(why) in box.answer.value
        assert [button.button_style != "" for button in box.buttons].index(True) == place
    assert load()["questions"][task.name]["wrong"] == len(task.choices) - 1


def test_a_choice_that_is_not_there():
    with pytest.raises(IndexError, match="place is 4; it needs to be from 0 to 3"):
        QuestionBox(question("attention.rows_sum")).choose(4)


def test_a_quiz_counts_what_is_right():
    quiz = Quiz("attention")
    n_questions = len(lesson("attention").quiz)
    assert f"0 of {n_questions} right" in quiz.score.value
    for place, box in enumerate(quiz.boxes):
        quiz.choose(place, box.question.right_place)
    assert f"{n_questions} of {n_questions} right" in quiz.score.value
    quiz.choose(0, (quiz.boxes[0].question.right_place + 1) % 3)
    assert f"{n_questions - 1} of {n_questions} right" in quiz.score.value


def test_what_went_wrong_before_comes_back_in_a_later_quiz():
    later = "causal_attention"
    n_own = len(lesson(later).quiz)
    assert len(Quiz(later).boxes) == n_own
    for name in ("rows_sum", "why_root", "shift", "order"):
        record_choice(f"attention.{name}", right=False)
    boxes = Quiz(later).boxes
    assert [box.question.name for box in boxes[n_own:]] == [
        "attention.rows_sum",
        "attention.why_root",
        "attention.shift",
    ]
    assert len(Quiz("attention").boxes) == len(lesson("attention").quiz)


def test_a_quiz_of_no_notebook():
    with pytest.raises(KeyError, match="there is no lesson 'attendance'; there is 'attention'"):
        Quiz("attendance")


def test_a_saved_quiz_shows_its_questions_without_a_kernel():
    bundle = Quiz("attention")._repr_mimebundle_()
    assert bundle["text/plain"] == f"Quiz attention: {len(lesson('attention').quiz)} questions"
    for task in lesson("attention").quiz:
        assert markup(task.asks) in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_the_figure_comes_with_the_guess():
    drawing = figures.attention_heatmap(torch.eye(2), ["a", "b"], masked=None, title="Each itself")
    prediction = predict("attention.kite_looks_at", drawing)
    assert len(prediction.children) == 1
    state = json.dumps(prediction.get_state(), default=str)
    assert "png" not in state
    prediction.choose(1)
    assert base64.b64encode(drawing.png()).decode() in prediction.children[1].value
    prediction.choose(0)
    assert len(prediction.children) == 2
    bundle, _ = prediction._repr_mimebundle_()
    assert {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"} <= bundle.keys()
    with pytest.raises(KeyError, match="there is no question"):
        predict("attention.kite", drawing)


def test_texts_are_shown_and_never_run(monkeypatch):
    monkeypatch.setenv("GPTLIB_PROGRESS", "")
    task = Question(
        "tests.markup",
        "Is `a < b` in $x < y$ <script>?",
        ("<b>yes</b>", "`<i>`"),
        (("no", "because"), ("maybe", "not")),
    )
    box = QuestionBox(task)
    box.choose(task.right_place)
    shown = box.children[0].value + box.answer.value
    assert "<script>" not in shown
    assert "<code>a &lt; b</code>" in shown
    assert "<code>&lt;i&gt;</code>" in shown
