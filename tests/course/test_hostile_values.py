"""Whatever an answer gives back, and whatever stands on the wire, judging ends with a verdict."""

import collections
import decimal
import fractions
import math
import random
import struct
import time
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.course.comparing import TooLarge, plain
from gptlib.course.exercises import lessons
from gptlib.course.grading.examiner import _what_came
from gptlib.course.grading.runner import DONE, OUTCOME, PROBLEM, REFUSALS, Limits
from gptlib.course.grading.wire import decode, decode_outcome, encode, encode_outcome
from gptlib.course.judging import Outcome, judge, known

TASKS = {task.name: task for lesson in lessons().values() for task in lesson.exercises}
SECONDS = 5  # of the processor for a value, so that a slow machine is no fault; most take a thousandth


class Spiteful:
    """Fails at whatever is asked of it."""

    def fails(self, *_):
        raise RuntimeError("no")

    __eq__ = __repr__ = __len__ = __iter__ = __float__ = __getattr__ = __bool__ = __array__ = fails
    __hash__ = None


class Always(float):
    """Equal to everything, and near everything."""

    shape = ()

    def always(self, *_):
        return True

    __eq__ = __lt__ = __gt__ = always

    def __sub__(self, other):
        return 0.0

    __rsub__ = __sub__
    __hash__ = float.__hash__


class Lying(list):
    def __len__(self):
        return 10**12

    def __getitem__(self, place):
        return self


def cyclic():
    loop = []
    loop.append({"loop": (loop, loop)})
    return loop


def deep():
    held = 1
    for _ in range(5000):
        held = [held]
    return held


def spiteful_array():
    held = np.empty(1, dtype=object)
    held[0] = Spiteful()
    return held


MAKERS = [
    *(lambda: 10**400, lambda: -(10**5000), lambda: 2**8192, lambda: math.nan, lambda: -math.inf),
    *(lambda: True, lambda: None, lambda: "x" * 10**6, lambda: b"\xff" * 10**6, lambda: "\ud800"),
    *(lambda: range(2 * 10**8), lambda: range(10**30), lambda: (n for n in range(5)), lambda: iter([1])),
    *(cyclic, deep, lambda: [0] * 200_000, lambda: [[1], [1, 2]], lambda: {1: {2: {3}}}, lambda: {(): []}),
    *(lambda: 1j, lambda: fractions.Fraction(1, 3), lambda: decimal.Decimal("1e999999"), Spiteful, Always),
    *(Lying, lambda: [Spiteful()], lambda: {"a": Spiteful()}, lambda: Spiteful, lambda: print, lambda: ...),
    *(collections.Counter, lambda: collections.UserDict(a=1), lambda: types.MappingProxyType({1: 10**400})),
    *(lambda: torch.tensor(1j), lambda: torch.zeros(1).expand(2**40), lambda: torch.eye(3).to_sparse()),
    *(lambda: torch.ones(2, device="meta"), lambda: torch.empty(0), lambda: torch.tensor(1.0, device="meta")),
    *(lambda: torch.ones(3).to(torch.float8_e4m3fn), lambda: torch.ones(2, 2).to_sparse_csr()),
    *(lambda: torch.nn.Linear(2, 2), lambda: torch.tensor([True]), lambda: torch.tensor(2**62)),
    *(lambda: torch.nn.Parameter(torch.ones(2)), lambda: torch.randn(3).half(), lambda: torch.float32),
    *(lambda: np.broadcast_to(np.zeros(1), (2**40,)), lambda: np.array(["x"]), lambda: np.array(object())),
    *(lambda: np.datetime64("2020"), lambda: np.longdouble(1), lambda: np.ma.masked, lambda: np.array(2**63)),
    *(lambda: np.zeros(2, dtype=[("a", int)]), spiteful_array, lambda: np.arange(3)[::-1]),
]
odd = st.sampled_from(MAKERS)
placed = st.recursive(
    odd.map(lambda make: lambda like: make()),
    lambda inner: st.tuples(inner, inner).map(lambda both: lambda like: within(like, *both)),
    max_leaves=4,
)


def within(like, first, second):
    """What is like the expected value, with something odd in it."""
    if isinstance(like, dict) and like:
        key = next(iter(like))
        return {**like, key: first(like[key])}
    if isinstance(like, list | tuple) and like:
        return type(like)([*like[:-1], first(like[-1])])
    if isinstance(like, torch.Tensor) and like.numel():
        other, one = first(like), like.flatten()[:1].view([1] * like.ndim)
        return other if isinstance(other, torch.Tensor) else one.expand(like.shape)
    return [first(like), second(like)]


@pytest.fixture(scope="module")
def given_by():
    """The inputs of an exercise, and what its reference and its misconceptions give."""
    kept = {}

    def of(name):
        if name not in kept:
            inputs = list(TASKS[name].inputs(torch.Generator().manual_seed(0)))[:2]
            kept[name] = inputs, known(TASKS[name], inputs)
        return kept[name]

    return of


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=6)  # of each of some seventy exercises, and others the next time
@given(place=placed, by_wire=st.booleans())
def test_any_value_gets_a_verdict(given_by, name, place, by_wire):
    inputs, by = given_by(name)
    started = time.process_time()
    outcomes = []
    for expected in by.expected:
        try:
            value = plain(place(expected.value))
            outcomes.append(Outcome(decode(encode(value)) if by_wire else value))
        except TooLarge as error:
            outcomes.append(Outcome(problem=str(error)))
    verdict = judge(TASKS[name], inputs, outcomes, by)
    assert verdict.status in ("right", "not yet", "not attempted") and len(verdict.message) < 20_000
    assert time.process_time() - started < SECONDS


plain_outcomes = odd.map(lambda make: record(OUTCOME, encode_outcome(outcome_of(make()))))


def outcome_of(value):
    try:
        return Outcome(plain(value))
    except TooLarge as error:
        return Outcome(problem=str(error))


def record(kind, content):
    return kind + struct.pack(">Q", len(content)) + content


records = st.lists(
    st.one_of(
        plain_outcomes,
        st.sampled_from([record(DONE, b""), record(PROBLEM, encode("why")), record(REFUSALS, encode(["x"]))]),
        st.binary(max_size=40),
        st.tuples(st.sampled_from([OUTCOME, PROBLEM, REFUSALS, DONE, b"?"]), st.binary(max_size=40)).map(
            lambda of: record(*of)
        ),
    ),
    max_size=5,
)


endings = st.sampled_from(["exit", "late", "SIGKILL"])


@given(records, st.randoms(use_true_random=False), st.integers(0, 8), endings)
def test_any_message_is_read_or_refused(written, dice, n_changes, ending):
    data = changed(bytearray(b"".join(written)), dice, n_changes)
    started = time.process_time()
    outcomes, problem, refused = _what_came(ending, bytes(data), Limits())
    assert all(isinstance(found, Outcome) for found in outcomes)
    assert problem is None or isinstance(problem, str)
    assert all(isinstance(what, str) for what in refused)
    assert time.process_time() - started < SECONDS


def changed(data: bytearray, dice: random.Random, n_changes: int) -> bytearray:
    for _ in range(n_changes if data else 0):
        # The lengths and the tree come first in a message: there a change does most.
        place = dice.randrange(min(len(data), dice.choice([20, 200, len(data)])))
        change = dice.randrange(4)
        if change == 0:
            data[place] = dice.randrange(256)
        elif change == 1:
            data[place : place + 1] = data[place : place + 1] * dice.choice([2, 50])
        elif change == 2:
            del data[place : place + dice.choice([1, 8])]
        else:
            data[place:place] = dice.choice([b"9" * 20, b"[" * 100, b"-", b'"', b"0x", b"1e999"])
        if not data:
            break
    return data


def test_a_mutated_outcome_never_holds_what_is_not_plain():
    dice = random.Random(0)
    message = encode_outcome(Outcome(plain({"a": [1, 2.5, torch.eye(3), (None, ...), {"x"}, range(3)]})))
    for _ in range(2000):
        try:
            found = decode_outcome(bytes(changed(bytearray(message), dice, dice.randint(1, 3))))
        except ValueError:
            continue
        assert encode(found.value)  # so it is plain
