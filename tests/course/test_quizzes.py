import base64
import dataclasses

import pytest
import torch

from gptlib.course import Quiz, exercises, predict
from gptlib.course.desk.progress import load, record_choice
from gptlib.course.desk.quizzes import PredictionBox, QuestionBox, markup
from gptlib.course.exercises import Prediction, Question, lesson, question
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
    bundle, _ = Quiz("attention")._repr_mimebundle_()
    assert bundle["text/plain"] == f"Quiz attention: {len(lesson('attention').quiz)} questions"
    for task in lesson("attention").quiz:
        assert markup(task.asks) in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_what_was_chosen_before_a_restart_is_taken_up_and_recorded_once():
    quiz = Quiz("attention")
    quiz.choose(0, 2)
    quiz.choose(1, quiz.boxes[1].question.right_place)
    chosen, kept = quiz.keeper.chosen, load()
    again = Quiz("attention")
    assert again.keeper.origin == quiz.keeper.origin and again.keeper.chosen == {}
    again.keeper._handle_custom_msg({"chosen": chosen}, [])  # what the page sends
    assert again.keeper.chosen == chosen and again.boxes[0].answer.value == quiz.boxes[0].answer.value
    assert again.score.value == quiz.score.value
    assert load() == kept


@pytest.mark.parametrize(
    "chosen", [None, [], "A", {"x": 1}, *({"attention.rows_sum": x} for x in (9, -1, "A"))]
)
def test_a_foreign_memory_changes_nothing(chosen):
    quiz = Quiz("attention")
    quiz.keeper._handle_custom_msg({"chosen": chosen}, [])
    quiz.keeper._handle_custom_msg({}, [])
    assert quiz.keeper.chosen == {} and all(box.chosen is None for box in quiz.boxes)


GUESS = Prediction(
    "tests.guess",
    "What is 1 + 1?",
    ("2", "That is how it is counted."),
    (("1", "That is 1 alone."), ("11", "That joins the digits.")),
    shows=lambda rows: figures.grid_heatmap(rows, list("ab"), list("ab"), title="The sum", annotate=False),
    finding="It is `two`.\n\nAlways **two**.",
)


@pytest.fixture
def guess(monkeypatch):
    known = {GUESS.name: (GUESS, lesson("attention")), "attention.order": (question("attention.order"), None)}
    monkeypatch.setattr(exercises, "_questions", lambda: known)
    return predict(GUESS.name, torch.eye(2))


def test_the_result_and_the_finding_come_with_the_guess(guess):
    assert guess.children[-1] is guess.box
    state = str([guess.get_state(), guess.box.get_state(), guess.box.answer.get_state()])
    assert "png" not in state and "two" not in state
    assert guess.box.children[0].value == "<b>Predict. What is 1 + 1?</b>"
    assert QuestionBox(GUESS).children[0].value == "<b>What is 1 + 1?</b>"
    guess.choose((GUESS.right_place + 1) % 3)
    revealed = guess.children[-1].value
    assert base64.b64encode(GUESS.shows(torch.eye(2)).png()).decode() in revealed
    assert "<p>It is <code>two</code>.</p><p>Always <b>two</b>.</p>" in revealed
    guess.choose(GUESS.right_place)
    assert guess.children[-1].value == revealed and guess.children[-2] is guess.box


def test_a_saved_prediction_keeps_its_answer_behind_a_fold(guess):
    bundle, _ = guess._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    assert bundle["text/plain"] == "Prediction tests.guess"
    seen, hidden = bundle["text/html"].split("<details><summary>Answer</summary>")
    assert "A.&ensp;2<br>" in seen or "B.&ensp;2<br>" in seen or "C.&ensp;2</p>" in seen
    assert "What is 1 + 1?" in seen and all(text in seen for text, _ in GUESS.choices)
    for told in ("That is how it is counted.", "Always <b>two</b>.", "data:image/png;base64,"):
        assert told in hidden and told not in seen


def test_a_prediction_that_was_opened_opens_again(guess):
    guess.choose(1)
    again = predict(GUESS.name, torch.eye(2))
    again.keeper._handle_custom_msg({"chosen": guess.keeper.chosen}, [])
    assert again.box.chosen == 1 and again.children[-1].value == guess.children[-1].value


def test_a_result_may_be_lines_of_text(guess, monkeypatch):
    said = dataclasses.replace(GUESS, shows=lambda low, high: f"{low} < {high}")
    box = PredictionBox(said, said.shows(1, 2))
    box.choose(0)
    assert "<pre>1 &lt; 2</pre>" in box.children[-1].value


def test_what_cannot_be_predicted(guess):
    with pytest.raises(KeyError, match="there is no question 'tests.gues'; there is 'tests.guess'"):
        predict("tests.gues", torch.eye(2))
    with pytest.raises(KeyError, match="'attention.order' is a question of a quiz"):
        predict("attention.order", torch.eye(2))
    with pytest.raises(TypeError, match=r"needs rows; it got 2 results\..* `gptlib update`"):
        predict("tests.guess", torch.eye(2), 3)


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
