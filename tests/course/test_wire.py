"""Values there and back; bytes that are none are refused, and nothing in them runs."""

import json
import math
import pickle
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptlib.course.comparing import Opaque, TooLarge, difference, plain
from gptlib.course.grading.wire import decode, decode_outcome, encode, encode_outcome
from gptlib.course.judging import Outcome

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(values)
def test_plain_values_come_back(value):
    back = decode(encode(value))
    assert back == value and repr(back) == repr(value)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(2, 3, requires_grad=True),
        torch.randn(4, 6)[::2, 1::2].T,
        torch.tensor(3),
        torch.empty(0, 5, dtype=torch.bool),
        torch.tensor([True, False]),
        torch.randn(3).bfloat16(),
        torch.tensor([1 + 2j]).conj(),
        torch.tensor([math.nan, math.inf]),
        torch.nn.Parameter(torch.ones(2)),
        torch.ones(1).expand(3, 4),
    ],
)
def test_tensors_come_back(tensor):
    assert difference(plain(tensor), decode(encode(tensor))) is None


def test_odd_values_come_back_as_what_they_look_like():
    assert decode(encode([..., torch.float32, range(3), {1, 2}, np.float64(0.5)])) == [
        *(..., torch.float32, range(3), {1, 2}, 0.5)
    ]
    assert isinstance(decode(encode(object())), Opaque)
    assert decode(encode(np.eye(3)[::-1])).tolist() == np.eye(3)[::-1].tolist()
    assert isinstance(decode(encode(np.array(["a"]))), Opaque)
    assert repr(decode(encode(dict))) == "the class dict"
    assert isinstance(decode(encode(torch.eye(2).to_sparse())), Opaque)


@pytest.mark.parametrize("value", [torch.empty(1).expand(2**40), bytes(2**26), "x" * 2**26, [0] * 10**6])
def test_what_is_too_large_is_said(value):
    with pytest.raises(TooLarge):
        encode(value)
    assert decode_outcome(encode_outcome(Outcome(value))).problem


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data):
    with pytest.raises(ValueError):
        decode(data)


@pytest.mark.parametrize(
    "tree",
    [
        *(
            '["tensor", "float32", [2], 0, 4]',
            '["tensor", "float32", [-1], 0, -4]',
            '["tensor", "object", [1], 0, 8]',
        ),
        *(
            '["bytes", 0, 99]',
            '["bytes", -1, 1]',
            '["list", 5]',
            '["dict", [[["list", []], ["none"]]]]',
            '["int", "z"]',
        ),
        *(
            '{"a": 1}',
            '["none',
            '["opaque", 5]',
            '["float", "x"]',
            "[" * 10**5,
            '["tensor", "bool", [1], 0, 1]',
            f'["int", "{hex(2**80_000)}"]',
            f'["range", ["0x0", "{hex(2**64)}", "0x1"]]',
            '["str", 0, 1]',
            json.dumps(["list", [["none"]] * 300_000]),
            '["list", [["none"]]] ' + " " * 2**24,
        ),
    ],
)
def test_forged_trees_are_refused(tree):
    with pytest.raises(ValueError):
        decode(struct.pack(">Q", len(tree)) + tree.encode() + b"\xff\xff")


def test_the_same_bytes_are_not_read_again_and_again():
    tree = json.dumps(["list", [["bytes", 0, 2**20]] * 1000]).encode()
    with pytest.raises(ValueError, match="more bytes"):
        decode(struct.pack(">Q", len(tree)) + tree + bytes(2**20))


def test_no_pickle_is_read():
    with pytest.raises(ValueError):
        decode(pickle.dumps(torch.ones(2)))


@pytest.mark.parametrize(
    "fields", [{}, {"value": 1}, {**vars(Outcome()), "changed": ("x",)}, {**vars(Outcome()), "late": 1}]
)
def test_what_is_no_outcome_is_refused(fields):
    with pytest.raises(ValueError):
        decode_outcome(encode(fields))
