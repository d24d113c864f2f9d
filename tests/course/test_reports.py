"""What the reports say of a class that is made up here: nothing is run."""

import html
import re
from datetime import date

import numpy as np
import pytest

from gptlib.course.exercises import lessons
from gptlib.course.grading.by_hand import Note
from gptlib.course.grading.grades import Class, Graded, Row
from gptlib.course.grading.reports import bins, grades_csv, next_steps, write_reports
from gptlib.course.grading.rubrics import plain_rubric
from gptlib.course.grading.tallies import OTHER, Counts, Past, past, remember, tally, without_comments
from gptlib.course.judging import COULD_NOT, NOT_ATTEMPTED, NOT_YET, RIGHT

ATTENTION, MASKS = (lessons()[topic] for topic in ("attention", "causal_attention"))
AVERAGE, LOOK_UP, SCORES, ENTROPY = ATTENTION.exercises


def row(name, *statuses, lesson=ATTENTION, **of_each):
    """A student's row; of an answer that is not yet right, its misconception stands for its status."""
    found = Row(name, files={lesson.topic: f"{name}/{lesson.notebook.name}"})
    for task, status in zip(lesson.exercises, statuses, strict=True):
        known = status in (RIGHT, NOT_YET, NOT_ATTEMPTED, COULD_NOT)
        found.answers[task.name] = Graded(
            task.name, status if known else NOT_YET, "", None if known else status, **of_each
        )
    return found


def made(*rows, by_hand=None, lessons=(ATTENTION,)):
    return Class(list(lessons), list(rows), plain_rubric(), by_hand or {})


def written(graded, out, before=None):
    """The pages, by name, as they are read: without markup."""
    write_reports(graded, [tally(graded, task) for task in graded.exercises], before, out)
    pages = {path.stem.split("-")[0]: path.read_text("utf-8") for path in out.rglob("*.html")}
    return {
        name: " ".join(
            html.unescape(
                re.sub(
                    r"<wbr>|<(style|script)>.*?</\1>|<[^>]+>",
                    lambda tag: "" if tag[0] == "<wbr>" else " ",
                    text,
                    flags=re.DOTALL,
                )
            ).split()
        )
        for name, text in pages.items()
    }


def test_a_share_is_of_those_who_handed_the_notebook_in():
    graded = made(
        row("Ada", RIGHT, RIGHT, "unscaled", NOT_ATTEMPTED),
        row("Bob", RIGHT, NOT_YET, "unscaled", COULD_NOT),
        row("Cy", RIGHT, RIGHT, RIGHT, RIGHT, lesson=MASKS),
        lessons=(ATTENTION, MASKS),
    )
    found = {task.function: tally(graded, task) for task in graded.exercises}
    shares = {
        name: (each.right, each.attempted, each.handed_in, each.could_not) for name, each in found.items()
    }
    assert shares["weighted_average"] == (2, 2, 2, 0) and shares["look_up"] == (1, 2, 2, 0)
    assert shares["scaled_scores"] == (0, 2, 2, 0) and shares["entropy"] == (0, 0, 1, 1)
    assert shares["causal_mask"] == (1, 1, 1, 0)
    assert found["scaled_scores"].most_frequent.name == "unscaled"
    assert found["look_up"].most_frequent is None


def test_the_page_for_the_class_has_no_names(tmp_path):
    code = 'def look_up(query, keys, values):  # by Bob\n    """Ada\'s."""\n    return keys  # Cy\n'
    graded = made(
        row("Ada Lovelace_1234", "keys_returned", "keys_returned", NOT_YET, NOT_YET, source=code),
        row("Bob", "keys_returned", "keys_returned", NOT_YET, NOT_YET, source="bobs = 1\n" + code),
        row("Cyril", NOT_YET, RIGHT, "unscaled", COULD_NOT, source="def cyril(): pass", trouble="of Cyril"),
        by_hand={("Cyril", ""): Note(2.0, "well done, Cyril")},
    )
    graded.rows[0].alike.append("the same answers as Bob")
    pages = written(graded, tmp_path)
    for name in ("Ada", "Lovelace", "Bob", "bob", "Cy", "1234"):
        assert name.casefold() not in pages["class"].casefold(), name
        assert name in pages["teacher"] or name in ("Cy", "bob")
    assert "def look_up(query, keys, values): return keys" in pages["class"]


def test_something_else_is_told_by_its_causes(tmp_path):
    causes = [
        "IndexError: 3 is out of bounds",
        "IndexError: 4 is out of bounds",
        "It took longer.\nThat was",
        "x",
    ]
    rows = []
    for k, message in enumerate(causes):
        rows.append(row(f"S{k}", *[NOT_YET] * 4, source=f"long{'er' * k} = {k}"))
        for name, answer in rows[-1].answers.items():
            rows[-1].answers[name] = Graded(name, NOT_YET, message, source=answer.source)
    (bar,) = tally(made(*rows), LOOK_UP).bars
    assert bar.name == OTHER and bar.count == 4
    shown = [(each.message, each.source, each.count) for each in bar.examples(nameless=True)]
    assert shown[0] == (causes[0], "long = 0", 2) and [count for *_, count in shown] == [2, 1, 1]
    assert "It took longer. an example long" in written(made(*rows), tmp_path)["class"]


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ("x = 1  # Ada\n# Bob\ny = '#' + \"# no\"\n", "x = 1\ny = '#' + \"# no\""),
        (
            '"""Ada"""\ndef f():\n    """By Ada,\n    and Bob."""  # so\n    return """kept"""',
            'def f():\n    return """kept"""',
        ),
        ("def f(:  # Ada\n    'x'\n", "def f(:\n    'x'"),
        ("\tx = (\n # Ada\n", "x = ("),
        ("!ls  # Ada\n  y = 1\n", "!ls\n  y = 1"),
        ("", ""),
        ("# Ada", ""),
        ("f(\n    'a',\n    'b'\n)", "f(\n    'a',\n    'b'\n)"),
    ],
)
def test_comments_and_docstrings_are_left_out(source, left):
    assert without_comments(source) == left


def test_discrimination_is_the_correlation_with_the_others(tmp_path):
    draw = np.random.default_rng(0)
    solved = draw.random((30, 4)) < draw.random((30, 1))
    rows = [row(f"S{k}", *(RIGHT if right else NOT_YET for right in each)) for k, each in enumerate(solved)]
    for place, task in enumerate(ATTENTION.exercises):
        others = np.delete(solved, place, axis=1).mean(axis=1)
        expected = np.corrcoef(solved[:, place], others)[0, 1]
        assert tally(made(*rows), task).discrimination == pytest.approx(expected)
    assert tally(made(*rows[:9]), LOOK_UP).discrimination is None
    page = written(made(*rows[:16], *[Row(f"T{k}") for k in range(9)]), tmp_path)["class"]
    assert "of 16, an exercise that tells nothing gets up to ±0.50" in page
    assert tally(made(*[row(f"S{k}", *[RIGHT] * 4) for k in range(20)]), LOOK_UP).discrimination is None


def test_what_is_by_hand_counts():
    right = row("Ada", RIGHT, RIGHT, RIGHT, NOT_YET)
    names = [task.name for task in ATTENTION.exercises]
    by_hand = {
        ("Ada", names[3]): Note(1.5, "nearly"),
        ("Ada", names[0]): Note(0.0),
        ("Ada", ""): Note(-1.0, "late"),
    }
    graded = made(right, row("Bob", RIGHT, RIGHT, RIGHT, RIGHT), by_hand=by_hand)
    assert [graded.points(right, name) for name in names] == [0, 1, 2, 1.5]
    assert [graded.total(each) for each in graded.rows] == [3.5, 6]
    assert "0.0,1.0,2.0,1.5,3.5,6.0" in grades_csv(graded)
    assert made(right, by_hand={("Ada", ""): Note(-20.0)}).total(right) == 0


def test_the_students_page_says_what_to_do_next_and_what_the_teacher_says(tmp_path):
    by_hand = {
        ("Ada", ENTROPY.name): Note(2.0, "I see what you mean: <b>well</b> done."),
        ("Ada", ""): Note(1.0, "A bonus."),
    }
    ada = row("Ada", RIGHT, NOT_ATTEMPTED, "unscaled", NOT_YET)
    bob, cy = row("Bob", RIGHT, RIGHT, RIGHT, RIGHT), Row("Cy", remarks=["x.pdf: it is no notebook"])
    graded = made(ada, bob, cy, by_hand=by_hand)
    assert [step.task for step in next_steps(graded, ada)] == [LOOK_UP, SCORES]
    pages = written(graded, tmp_path)
    assert "4 of 6 points , including 1 that your teacher added Your teacher: A bonus." in pages["Ada"]
    assert "look_up , in 04_attention below “Exercise: a soft dictionary”" in pages["Ada"]
    assert 'hint("attention.look_up")' in pages["Ada"]
    assert "(by your teacher) Your teacher: I see what you mean: <b>well</b> done." in pages["Ada"]
    assert "all of it is right. The course goes on with 05_causal_attention." in pages["Bob"]
    assert "it is no notebook" in pages["Cy"] and "What to do next" not in pages["Cy"]
    assert "✎" in pages["teacher"] and "could be" not in pages["teacher"]


def test_what_was_is_remembered_and_shown(tmp_path):
    def tallies(*rows):
        return [tally(made(*rows), task) for task in ATTENTION.exercises]

    first = tallies(row("Ada", RIGHT, "no_softmax", NOT_YET, NOT_YET), row("Bob", *[NOT_YET] * 4))
    second = tallies(row("Ada", *[RIGHT] * 4))
    (tmp_path / "results").mkdir()
    days = [date(2026, 11, day) for day in (1, 2, 3, 4)]
    assert remember(tmp_path / "results", first, days[0]) is None
    assert remember(tmp_path / "results", first, days[1]) is None  # a run that changes nothing
    before = remember(tmp_path / "results", second, days[2])
    assert before == remember(tmp_path / "results", second, days[3]) == past(tmp_path / "results")[0]
    assert before.when == days[0] and before.counts[LOOK_UP.name] == Counts(2, 0, {"no_softmax": 1, OTHER: 1})
    pages = written(made(row("Ada", RIGHT, "no_softmax", RIGHT, RIGHT)), tmp_path, before)
    assert "The last time was 1 November 2026." in pages["class"]
    assert "solved by 0 of 1 (0%), attempted by 1; the last time solved by 0 of 2 (0%)" in pages["class"]
    assert "attention.weighted_average 100% was 50%" in pages["class"]
    assert "last time not yet, because 1 1 the scores were used" in pages["class"]
    for damaged in (b"{", b"[1]", b'[{"when": "x"}]', b'[{"when": "2026-11-01", "counts": {"a": {}}}]'):
        (tmp_path / "results" / "history.json").write_bytes(damaged)
        assert past(tmp_path / "results") == []


def test_before_of_other_exercises_is_no_comparison(tmp_path):
    before = Past(date(2026, 11, 1), {"block.block_forward": Counts(3, 1, {})})
    assert (
        "was"
        not in written(made(row("Ada", *[NOT_YET] * 4)), tmp_path, before)["class"].split("What was hard")[1]
    )


@pytest.mark.parametrize(
    ("totals", "most", "expected"),
    [
        ([0, 1.5, 2], 2, [("0", 1), ("1", 1), ("2", 1)]),
        (
            [0, 12, 11.9, 5],
            12,
            [("0–1", 1), ("2–3", 0), ("4–5", 1), ("6–7", 0), ("8–9", 0), ("10–11", 1), ("12", 1)],
        ),
        ([7], 6, [*[(str(k), 0) for k in range(7)], ("7", 1)]),
        ([0], 0, [("0", 1)]),
    ],
)
def test_every_total_lies_in_one_step(totals, most, expected):
    assert bins(totals, most) == expected
