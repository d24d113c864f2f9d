"""Pairs of numbers drawn as hands on a circle."""

import numpy as np
import pytest
import torch

from gptlib.viz import figures

pytestmark = pytest.mark.filterwarnings("error")
PAIRS = {"here": {"query": (1.0, 0.0), "key": torch.tensor([0.0, 2.0])}, "there": {"key": [-1.0, 0.0]}}


def arrows(axes) -> list:
    return [patch for patch in axes.patches if hasattr(patch, "get_arrowstyle")]


def test_every_pair_is_an_arrow_from_the_center():
    drawing = figures.turning_hands(PAIRS, title="Hands")
    np.testing.assert_array_equal(drawing.arrays["here"], [[1, 0], [0, 2]])
    np.testing.assert_array_equal(drawing.arrays["there"], [[-1, 0]])
    here, there = drawing.figure.axes
    ends = [arrow.get_path().vertices for arrow in arrows(here)]
    assert [len(arrows(axes)) for axes in (here, there)] == [2, 1] and len(ends) == 2
    assert arrows(here)[1].get_facecolor() == arrows(there)[0].get_facecolor()  # the key's color in both
    assert arrows(here)[0].get_facecolor() != arrows(here)[1].get_facecolor()
    assert (here.get_title(loc="left"), here.get_xlabel(), there.get_xlabel()) == ("Hands", "here", "there")
    assert [text.get_text() for text in drawing.figure.legends[0].get_texts()] == ["query", "key"]
    assert drawing.png().startswith(b"\x89PNG") and repr(drawing) == "Drawing(here 2x2, there 1x2)"


@pytest.mark.parametrize(
    "one, other, between",
    [(0, 90, 90), (350, 20, 30), (20, 350, 30), (-170, 170, 20), (10, 190, 180), (45, 45, 0)],
)
def test_the_angle_is_the_short_way_round(one, other, between):
    hands = [(np.cos(np.radians(angle)), np.sin(np.radians(angle))) for angle in (one, other)]
    drawing = figures.turning_hands({"a": {"query": hands[0], "key": hands[1]}}, angles=True)
    assert drawing.figure.axes[0].get_xlabel() == f"a\n{between}° between them"


def test_many_circles_go_on_in_another_row():
    drawing = figures.turning_hands({str(n): {"hand": (1, 1)} for n in range(6)})
    boxes = [axes.get_position() for axes in drawing.figure.axes]
    assert boxes[4].x0 == pytest.approx(boxes[0].x0) and boxes[4].y1 < boxes[0].y0
    assert drawing.png().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "circles, options, says",
    [
        ({}, {}, "circles is empty"),
        ({"a": {}}, {}, "has 0 hands; it needs at least 1"),
        ({"a": {"query": (1, 0)}}, {"angles": True}, "has 1 hands; it needs at least 2"),
        ({"a": {"query": (1, 0, 0)}}, {}, r"needs \(x, y\)"),
        ({"a": {"query": (0, 0)}}, {}, "not both of them 0"),
        ({"a": {"query": (float("nan"), 0)}}, {}, "finite"),
    ],
)
def test_what_cannot_be_drawn_is_refused(circles, options, says):
    with pytest.raises(ValueError, match=says):
        figures.turning_hands(circles, **options)
