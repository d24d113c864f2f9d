"""Points, partial credit, and rubrics that cannot be."""

import pytest

from gptlib.course.grading.rubrics import plain_rubric, read_rubric


def rubric(tmp_path, text):
    (tmp_path / "rubric.json").write_text(text, "utf-8")
    return read_rubric(tmp_path / "rubric.json")


def test_points_are_the_difficulty_and_nothing_is_partial():
    scale = plain_rubric()["attention.entropy"]
    assert scale.of("right", None, 1.0) == 2
    assert scale.of("not yet", "sign", 0.9) == scale.of("not attempted", None, 0.0) == 0


def test_partial_credit_is_the_larger_of_misconception_and_share(tmp_path):
    text = '{"attention.entropy": {"points": 4, "misconceptions": {"bits": 3}, "share": 2}}'
    scale = rubric(tmp_path, text)["attention.entropy"]
    assert scale.of("right", None, 1.0) == 4
    assert scale.of("not yet", "bits", 0.0) == 3
    assert scale.of("not yet", "sign", 0.0) == 0
    assert scale.of("not yet", None, 1 / 3) == 0.67
    assert scale.of("not attempted", None, 0.0) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON"),
        ("[]", "is no object of exercises"),
        ('{"attention.entrpy": {}}', "'attention.entropy'"),
        ('{"attention.entropy": 3}', "is 3; it needs an object such as"),
        ('{"attention.entropy": {"point": 3}}', "has no 'point'; there is 'points'"),
        ('{"attention.entropy": {"points": -1}}', "points is -1; it needs a finite number"),
        ('{"attention.entropy": {"points": true}}', "points is True; it needs a finite number"),
        ('{"attention.entropy": {"points": NaN}}', "NaN is no number"),
        ('{"attention.entropy": {"points": 1e999}}', "points is inf; it needs a finite number"),
        ('{"attention.entropy": {"misconceptions": ["bits"]}}', "names and points"),
        ('{"attention.entropy": {"misconceptions": {"bit": 1}}}', "no misconception 'bit'; there is"),
        ('{"attention.entropy": {"misconceptions": {"bits": 3}}}', "at most the 2 points"),
        ('{"attention.entropy": {}, "attention.entropy": {}}', "is there twice"),
    ],
)
def test_what_no_rubric_can_say_is_one_sentence(tmp_path, text, says):
    with pytest.raises(ValueError, match=says) as error:
        rubric(tmp_path, text)
    assert "\n" not in str(error.value)
