"""What an answer may give back: made plain within bounds, told apart, and shown."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptlib.course import comparing
from gptlib.course.comparing import plain, shown
from gptlib.course.exercises import Exercise


def difference(expected, got):
    return comparing.difference(plain(expected), plain(got))


numbers = st.one_of(st.integers(-1000, 1000), st.floats(allow_nan=True, width=32), st.booleans())
values = st.recursive(
    st.one_of(numbers, st.none(), st.text(max_size=5), st.binary(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
    ),
    max_leaves=8,
)


@given(values)
def test_nothing_differs_from_itself(value):
    assert difference(value, value) is None
    assert isinstance(shown(value), str)


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        (1.0, 1.00001, True),
        (1.0, 1.01, False),
        (1.0, torch.tensor(1.0), True),
        (1, torch.tensor(1), True),
        (1.0, torch.ones(2), False),
        (2, 2.5, False),
        (1_000_000, 1_000_001, False),
        (1_000_000, 1_000_000.0, True),
        (torch.tensor([1_000_000]), torch.tensor([1_000_001]), False),
        (math.nan, math.nan, True),
        (-math.inf, -math.inf, True),
        (math.inf, -math.inf, False),
        (True, 1.5, False),
        (True, torch.tensor(True), True),
        (True, True, True),
        (True, np.bool_(True), True),
        (2, np.int64(2), True),
        (2.0, np.float32(2.0), True),
        (np.array([1.0, 2.0]), [1.0, 2.0], True),
        (np.array([1.0, 2.0]), np.array([1.0, 2.5]), False),
        (np.array([1.0, 2.0]), np.array([[1.0, 2.0]]), False),
        ([1, 2], (1, 2), True),
        ([1, 2], [1], False),
        ("a", b"a", False),
        (None, 0, False),
        ({"a": 1}, {"a": 2}, False),
        (torch.tensor([-math.inf, 0.0]), torch.tensor([-math.inf, 0.0]), True),
        (torch.tensor([True]), torch.tensor([1]), False),
        (torch.zeros(0), torch.zeros(0), True),
    ],
)
def test_difference(expected, got, same):
    assert (difference(expected, got) is None) == same


def test_a_large_tensor_is_shown_by_the_first_place_that_differs():
    expected = torch.zeros(10, 10)
    got = expected.clone()
    got[3, 4] = 0.5
    assert difference(expected, got) == "at [3, 4] expected 0, got 0.5"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (difference, "the function difference"),
        (Exercise, "the class Exercise"),
        (torch.nn.Linear(2, 2), "a module, Linear"),
        ((number for number in ()), "a generator"),
        (object(), "<object object>"),
        (torch.zeros(2).to_sparse(), "a tensor of shape (2,) of layout sparse_coo"),
        (torch.zeros(2, device="meta"), "a tensor of shape (2,) on meta, without numbers"),
        ("a\nb", "'a\\nb'"),
    ],
)
def test_what_is_shown_is_short_and_without_places_in_memory(value, text):
    assert shown(value) == text
    assert len(shown([0.5] * 1000)) < 220


@pytest.mark.parametrize(
    ("expected", "got", "said"),
    [
        ([97, 98], [97, 0], "expected [97, 98], got [97, 0]"),
        (list(range(500)), [*range(499), 0], "at [499] expected 499, got 0"),
        ([list(range(200)), [1]], [list(range(200)), [2]], "at [1] expected [1], got [2]"),
        ((torch.ones(2),), (torch.ones(2).double(),), "at [0] expected the dtype float32, got float64"),
        (torch.ones(1), torch.ones(1) * 1.0004, "expected tensor [1], got tensor [1.00039995]"),
        (1.0, 1.0004, "expected 1, got 1.0004"),
        (np.ones(2), None, "expected an array of shape (2,), got None"),
        (np.ones(2), ["1", "1"], "expected an array of shape (2,), got ['1', '1']"),
        (np.ones(2), np.zeros(2), "expected array [1, 1], got array [0, 0]"),
        (
            torch.ones(2),
            torch.ones(2).to("meta"),
            "expected a tensor of shape (2,), got a tensor of shape (2,) on meta, without numbers",
        ),
        (
            torch.ones(2),
            torch.ones(2).to_sparse(),
            "expected a tensor of shape (2,), got a tensor of shape (2,) of layout sparse_coo",
        ),
    ],
)
def test_a_difference_can_be_seen_in_what_is_said(expected, got, said):
    assert difference(expected, got) == said
