"""The reports of a graded class, on a phone and on a screen, with names and code as long as people write."""

from datetime import date

import pytest
from axe_playwright_python.sync_playwright import Axe
from driver import browser_page, watched

from gptlib.course.exercises import lessons
from gptlib.course.grading.by_hand import Note
from gptlib.course.grading.grades import Class, Graded, Row, safe_name
from gptlib.course.grading.reports import write_reports
from gptlib.course.grading.rubrics import plain_rubric
from gptlib.course.grading.tallies import Counts, Past, tally
from gptlib.course.judging import COULD_NOT, NOT_ATTEMPTED, NOT_YET, RIGHT

NAMES = [
    "Ada_Lovelace_with_a_very_long_name_that_no_phone_is_wide_enough_for_12345",
    *("Bob B", "Zoë 猫 ‮evil", "<script>alert(1)</script>"),
    *(f"Student {number:02}" for number in range(12)),
]
CODE = "def answer(queries, keys):\n    " + " + ".join(["queries @ keys.transpose(-2, -1)"] * 8)
MESSAGE = (
    "Its shape is (2, 3), and should be (3, 2): `" + "x" * 200 + "`\nThat was on the smallest input:\n  x = 1"
)


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A class whose students did everything that students do, and the folder with its reports."""
    out = tmp_path_factory.mktemp("grades")
    theirs = [lessons()[topic] for topic in ("attention", "causal_attention")]
    rows, by_hand = [], {}
    for number, name in enumerate(NAMES):
        row = Row(
            name, files={theirs[0].topic: f"{name}/a_very_long_name_of_a_file_{'_' * 60}04_attention.ipynb"}
        )
        for place, task in enumerate(theirs[0].exercises):
            status = [RIGHT, NOT_YET, NOT_YET, COULD_NOT, NOT_ATTEMPTED][
                (number + 2 * place + number // 5) % 5
            ]
            why = task.misconceptions[0].name if status == NOT_YET and number % 2 else None
            trouble = "judging it took longer than 20 seconds" if status == COULD_NOT else ""
            refused = ["it was refused reading /home/teacher/exam.ipynb"] if number == 3 else []
            row.answers[task.name] = Graded(
                task.name, status, MESSAGE, why, source=CODE, remarks=refused, trouble=trouble
            )
        row.remarks.append("it was handed in late")
        rows.append(row)
    rows[0].alike.append(f"attention: the same answers as {NAMES[1]}")
    by_hand[NAMES[0], ""] = Note(-1.0, "Late by a day.\n\nCome and see me.")
    by_hand[NAMES[0], theirs[0].exercises[1].name] = Note(1.0, "Right in spirit. " * 20)
    by_hand[NAMES[0], theirs[1].exercises[0].name] = Note(1.0, "Shown on paper.")
    made = Class(theirs, rows, plain_rubric(), by_hand)
    tallies = [tally(made, task) for task in made.exercises]
    names = [task.name for task in made.exercises]
    before = Past(date(2026, 11, 1), {name: Counts(20, 3, {"something else": 4}) for name in names})
    write_reports(made, tallies, before, out)
    return out


PAGES = [
    "class.html",
    "teacher.html",
    f"students/{safe_name(NAMES[0])}.html",
    f"students/{safe_name(NAMES[2])}.html",
]


@pytest.mark.parametrize("name", PAGES)
def test_a_report_is_readable_on_a_phone_and_on_a_screen(chromium, graded, name):
    with browser_page(chromium, 390, 844) as (page, beyond):
        problems = watched(page)
        page.goto((graded / name).as_uri())
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            for closed in page.locator("summary").all():
                closed.click()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            results = Axe().run(page)
            assert results.violations_count == 0, results.generate_report()
        assert problems == [] and beyond == []


def test_the_rows_are_sorted_by_a_click_or_a_key(chromium, graded):
    with browser_page(chromium, 1280, 900) as (page, _):
        page.goto((graded / "teacher.html").as_uri())

        def column(place):
            return page.locator(f".marks tbody td:nth-child({place})").all_inner_texts()

        assert column(1) == sorted(NAMES, key=NAMES.index)
        totals = page.get_by_role("button", name="total of")
        for order in ("descending", "ascending"):
            totals.focus()
            page.keyboard.press("Enter")
            found = [float(text.strip("✎ ")) for text in column(6 + 4)]
            assert found == sorted(found, reverse=order == "descending") and len(set(found)) > 2
            assert page.locator(f"th[aria-sort={order}]").inner_text().startswith("total")
        page.get_by_role("button", name="student", exact=True).click()
        assert column(1)[0].startswith(("<script>", "Ada"))
