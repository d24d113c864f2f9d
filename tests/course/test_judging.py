import dataclasses
import os
import random
import sys

import numpy as np
import pytest
import torch

from gptlib.course.desk.checking import verdict_on
from gptlib.course.exercises import Exercise, InWords, Misconception
from gptlib.course.judging import Outcome, Unfit, judge, outcome

X = torch.tensor([1.0, 2.0, 4.0])


def doubled(x):
    return x * 2


DOUBLED = Exercise(
    name="tests.doubled",
    reference=doubled,
    inputs=lambda generator: [(X,), (torch.randn(2, 3, generator=generator),)],
    buys="Now it is twice as large.",
    hints=("a", "b", "c"),
    misconceptions=(
        Misconception("squared", "you squared it.", lambda x: x * x),
        Misconception("rows", "you added an eighth row to them.", lambda x: x * 3 if x.ndim == 1 else x[7]),
        Misconception("raises", "x has no such thing.", lambda x: {}["no"]),
    ),
    minutes=1,
    difficulty=1,
    gradients=True,
)


def verdict(answer):
    return verdict_on(DOUBLED, answer, seed=0)


def test_right_in_another_way_is_right():
    assert verdict(lambda x: x + x).status == "right"
    assert verdict(torch.nn.Identity()).status == "not yet"


def test_a_misconception_is_named_also_one_that_raises():
    assert verdict(lambda x: x**2).misconception == "squared"
    assert verdict(lambda x: x + x + x if x.ndim == 1 else x[9]).misconception == "rows"  # the same error


def test_an_answer_that_always_fails_shows_no_misconception():
    for key in ("no", "another"):
        assert verdict(lambda x, key=key: {}[key]).misconception is None


def test_a_misconception_on_some_inputs_alone_is_not_that_misconception():
    found = verdict(lambda x: x * x if x.ndim == 1 else x)
    assert (found.status, found.misconception) == ("not yet", None)


def test_else_the_smallest_input_with_what_was_expected_and_got():
    message = verdict(lambda x: x + 1).message
    assert message == (
        "Expected tensor [2, 4, 8], got tensor [2, 3, 5]\n"
        "That was on the smallest input tried where it differs:\n  x = tensor [1, 2, 4]"
    )
    later = verdict(lambda x: x * 2 if x.ndim == 1 else x)
    assert "x = tensor [[" in later.message
    assert later.share == 0.5


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: (x * 2).tolist(), "Expected a tensor of shape (3,), got [2, 4, 8]"),
        (lambda x: (x * 2)[None], "Expected the shape (3,), got (1, 3)"),
        (lambda x: (x * 2).double(), "Expected the dtype float32, got float64"),
        (lambda x: None, "got None"),
        (lambda x: (x * 2).detach(), "the gradient does not flow back"),
        (lambda x: torch.tensor((x * 2).tolist()), "the gradient does not flow back"),
        (lambda x: x * x.detach() * 0 + x.detach() * 2 + x - x.detach(), "the gradient does not flow back"),
        (lambda: 1, "TypeError"),
        (lambda x: exit(), "SystemExit"),
        (lambda x: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda x: recursive(x), "RecursionError"),
    ],
)
def test_what_is_said_of_other_answers(answer, said):
    assert said in verdict(answer).message
    assert verdict(answer).status == "not yet"


def recursive(x):
    return recursive(x) + 1


def test_a_loop_that_never_ends_is_tried_once():
    calls = []

    def endless(x):
        calls.append(1)
        while True:
            pass

    found = verdict_on(DOUBLED, endless, seed=0, seconds=0.2)
    assert "longer than 0.2 seconds" in found.message
    assert len(calls) == 1


def test_what_a_late_answer_set_is_set_back():
    def endless(x):
        torch.manual_seed(1)
        torch.set_grad_enabled(False)
        while True:
            pass

    before = torch.random.get_rng_state()
    verdict_on(DOUBLED, endless, seed=0, seconds=0.2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.is_grad_enabled()


def test_it_is_no_matter_what_is_printed_or_drawn(capsys):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()

    def noisy(x):
        print("here", x)
        torch.manual_seed(1)
        torch.rand(3)
        return x * 2

    assert verdict(noisy).status == "right"
    assert capsys.readouterr().out == ""
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(X, torch.tensor([1.0, 2.0, 4.0]))


@pytest.mark.parametrize("answer", [..., lambda x: ...])
def test_a_stub_is_not_attempted(answer):
    assert verdict(answer).status == "not attempted"


class Spiteful:
    def __getattribute__(self, name):
        raise RuntimeError("no")

    def __repr__(self):
        raise RuntimeError("no")


def test_what_cannot_be_compared_is_not_right_and_raises_nothing():
    for value in (Spiteful(), X.to_sparse(), X.to(torch.complex64), X.to("meta"), {1: 2}, Spiteful):
        assert verdict(lambda x, value=value: value).status == "not yet"


def test_no_outcome_for_an_input_is_not_right():
    inputs = list(DOUBLED.inputs(torch.Generator().manual_seed(0)))
    first = outcome(DOUBLED, doubled, inputs[0])
    assert judge(DOUBLED, inputs, [first, Outcome(problem="stopped")]).message.startswith("Stopped")
    assert judge(DOUBLED, inputs, [first]).status == "not yet"
    assert judge(DOUBLED, inputs, []).status == "not yet"


def test_a_verdict_is_text_and_html_with_nothing_run():
    found = judge(DOUBLED, [(X,)], [Outcome(value="<script>alert(1)</script>")])
    assert "<script>" in repr(found)
    assert "<script>" not in found._repr_html_()
    assert repr(verdict(lambda x: x * x)) == "tests.doubled: not yet, because you squared it."


def test_python_s_own_random_numbers_are_no_trouble():
    assert verdict(lambda x: x * 2 + random.random()).status == "not yet"


def test_if_the_reference_fails_no_answer_is_right():
    broken = dataclasses.replace(DOUBLED, reference=lambda x: x.twice())
    assert verdict_on(broken, lambda x: x.twice(), seed=0).status == "not yet"
    assert "own solution fails" in verdict_on(broken, doubled, seed=0).message
    with pytest.raises(RuntimeError, match="the reference of tests.doubled fails"):
        judge(broken, [(X,)], [Outcome(problem="AttributeError: no")])


def test_what_changes_its_inputs_is_told_so():
    def in_place(x):
        x *= 2
        return x

    def emptied(x):
        output = x * 2
        with torch.no_grad():
            x.zero_()
        return output

    for answer in (in_place, emptied):
        found = verdict(answer)
        assert (found.status, found.misconception, found.share) == ("not yet", None, 1)
        assert "is right, but it also changes x" in found.message
    emptying = dataclasses.replace(DOUBLED, reference=emptied)
    assert verdict_on(emptying, emptied, seed=0).status == "right"


def test_torchs_errors_on_writing_in_place_say_what_to_do():
    def squared(x):
        y = x.exp()
        y *= 2
        return y

    assert "x = x + y` makes a new tensor" in verdict(squared).message
    weight = torch.ones(3, requires_grad=True)
    assert "under torch.no_grad()" in verdict(lambda x: weight.mul_(x)).message


def test_an_answer_runs_as_in_the_notebook_with_gradients():
    def by_autograd(x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(x.square().sum(), x)[0]

    without = dataclasses.replace(DOUBLED, gradients=False)
    assert verdict_on(without, by_autograd, seed=0).status == "right"


def everything():
    device = str(torch.get_default_device())
    numbers = random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()  # noqa: NPY002
    return torch.get_default_dtype(), device, torch.get_num_threads(), os.getcwd(), dict(os.environ), numbers


def test_what_an_answer_sets_is_set_back():
    def sets(x):
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_num_threads(torch.get_num_threads() + 1)
        os.chdir("/")
        os.environ["GPTLIB_TESTS"] = "1"
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        sys.stdout = None
        return x * 2

    before, out = everything(), sys.stdout
    assert verdict(sets).status == "right"
    assert everything() == before
    assert sys.stdout is out


def test_what_a_cell_set_before_makes_no_difference():
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        assert verdict(doubled).status == "right"
        assert verdict(torch.square).misconception == "squared"
        assert torch.get_default_dtype() is torch.float64
        assert torch.get_default_device().type == "meta"
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


class Endless:
    def __repr__(self):
        while True:
            pass


def test_what_cannot_be_shown_is_stopped_too():
    assert "longer than 0.2 seconds" in verdict_on(DOUBLED, lambda x: Endless(), 0, seconds=0.2).message


def test_of_an_error_the_line_is_shown():
    def wrong(x):
        y = x * 2
        return y.twice()

    assert (
        "(in the line `return y.twice()`)\nThat was on the smallest input tried where this happens"
        in verdict(wrong).message
    )
    assert "<code>return y.twice()</code>" in verdict(wrong)._repr_html_()


def test_what_is_forgotten_to_return():
    assert "got None. Is a `return` missing?" in verdict(lambda x: None).message


def test_the_smallest_input_is_shown_wherever_it_stands():
    mixed = dataclasses.replace(DOUBLED, inputs=lambda generator: [(torch.ones(3),), (torch.ones(1),)])
    assert "x = tensor [1]" in verdict_on(mixed, lambda x: x, seed=0).message


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: torch.nn.ModuleList([torch.nn.Identity()])(x), "Loop over it and call each of them"),
        (lambda x: x(0), "Square brackets pick its rows"),
        (lambda x: torch.nn.Parameter(x)(0), "Square brackets pick its rows"),
        (lambda x: torch.nn.Embedding(3, 3)[x], "an nn.Embedding is a module, not a tensor"),
        (lambda x: x + torch.nn.Embedding(3, 3), "an nn.Embedding is a module, not a tensor"),
        (lambda x: x @ torch.nn.Embedding(3, 3).T, "an nn.Embedding is a module, not a tensor"),
        (lambda x: torch.nn.Linear(3, 3)[x], "an nn.Linear is a module, not a tensor"),
        (lambda x: x @ torch.nn.Linear(3, 3), "an nn.Linear is a module, not a tensor"),
        (lambda x: x @ torch.nn.Linear(3, 3).T, "an nn.Linear is a module, not a tensor"),
        (lambda x: torch.nn.Embedding(3, 3)(2), "an embedding takes a tensor of whole numbers"),
        (lambda x: torch.nn.Embedding(3, 3)(x), "an embedding takes whole numbers"),
        (
            lambda x: setattr(torch.nn.Linear(3, 3), "weight", torch.ones(3, 3)),
            "assign the parameter itself",
        ),
        (lambda x: torch.ones(2, 3, dtype=torch.int64) @ torch.ones(3, 2), "table[tokens]"),
        (lambda x: torch.ones(1, 3) @ torch.ones(2, 3), "(1x3 and 2x3); in a @ b, the last axis of a"),
        (
            lambda x: torch.cat([x[None], x.argmax()[None]], dim=1),
            "After argmax, keepdim=True keeps the axis",
        ),
        (lambda x: setattr(Uninitialized(), "layer", torch.nn.Linear(3, 3)), "super().__init__() is missing"),
        (lambda x: setattr(Uninitialized(), "w", torch.nn.Parameter(x)), "super().__init__() is missing"),
        (lambda x: list(Uninitialized().parameters()), "super().__init__() is missing"),
    ],
)
def test_errors_of_modules_say_what_to_do(call, said):
    assert said in verdict(call).message


class Uninitialized(torch.nn.Module):
    def __init__(self):
        pass


def test_what_a_use_refuses_is_said_without_the_kind_of_an_error():
    def refuse(answer, x):
        if answer(x) is None:
            raise Unfit("this is nothing; is a `return` missing?")
        return answer(x)

    task = dataclasses.replace(DOUBLED, use=refuse)
    assert verdict_on(task, lambda x: None, seed=0).message.startswith(
        "This is nothing; is a `return` missing?"
    )


def test_words_tell_a_misconception_and_are_never_shown_as_what_was_returned():
    def in_words(answer, x):
        found = answer(x)
        return InWords("negative", found) if (found < 0).any() else found

    negative = Misconception("negative", "the sign is wrong.", lambda x: -2 * x)
    task = dataclasses.replace(
        DOUBLED, inputs=lambda generator: [(X,), (2 * X,)], use=in_words, misconceptions=(negative,)
    )
    assert verdict_on(task, lambda x: -3 * x, seed=0).misconception == "negative"
    found = verdict_on(task, lambda x: -x if x[0] == 1 else x, seed=0)
    assert found.misconception is None
    assert "got tensor [-1, -2, -4]" in found.message and "negative" not in found.message


def test_what_is_told_of_a_wrong_value_is_compared_and_what_came_back_is_shown():
    def told(found, expected, x):
        return "negative" if (found < 0).any() and (expected > 0).all() else found

    negative = Misconception("negative", "the sign is wrong.", lambda x: -2 * x)
    task = dataclasses.replace(
        DOUBLED, inputs=lambda generator: [(X,), (2 * X,)], told=told, misconceptions=(negative,)
    )
    assert verdict_on(task, lambda x: x + x, seed=0).status == "right"
    assert verdict_on(task, lambda x: -3 * x, seed=0).misconception == "negative"
    found = verdict_on(task, lambda x: -x if x[0] == 1 else x, seed=0)
    assert found.misconception is None
    assert "got tensor [-1, -2, -4]" in found.message and "negative" not in found.message


def test_a_place_that_is_named_in_words_reads_as_words():
    def by_part(answer, x):
        return {"the sum of all numbers": answer(x).sum() if x.ndim == 1 else 0, "k": "x" * 100}

    task = dataclasses.replace(DOUBLED, use=by_part, gradients=False)
    assert verdict_on(task, lambda x: x, seed=0).message.startswith("The sum of all numbers: expected")
