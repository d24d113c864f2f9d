"""What an answer gives, and what that says of it.

`outcome` puts an answer to use once; it needs no trust in the answer and can run in a process of its own.
`judge` compares outcomes with the reference's and with those of the known misconceptions.
"""

from __future__ import annotations

import contextlib
import copy
import html
import inspect
import io
import linecache
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gptlib.course.comparing import LONGEST_TEXT, TooLarge, difference, on_one_line, plain, shown
from gptlib.course.exercises import Exercise, InWords
from gptlib.course.limits import TimeLimit, time_limit, undisturbed

SECONDS = 5.0  # for an answer on one input
HOLDERS = (torch.Tensor, np.ndarray, list, tuple, dict)  # inputs in which a change can be seen
# What Python and torch say in their own terms, by a part of the message, and what a reader can do about it.
_NOT_CALLED = (
    "a tensor is followed by round brackets, as if it were a function. Square brackets pick its rows, as in "
    "table[tokens], and x.T takes none"
)
_EMBEDDING = (
    "an nn.Embedding is a module, not a tensor. Call it with whole numbers to get rows, or use its .weight, "
    "which is the whole table"
)
_LINEAR = "an nn.Linear is a module, not a tensor. Call it, as in layer(x), or use its .weight"
_NO_INIT = "super().__init__() is missing. Call it first in __init__, before anything is kept on self"
IN_PLAIN_WORDS = {
    "modified by an inplace operation": (
        "something was written into a tensor that the gradient still needs. `x += y` and functions whose "
        "names end in an underscore do that; `x = x + y` makes a new tensor"
    ),
    "leaf Variable that requires grad": (
        "a parameter was written into while its gradient was being recorded; do that under torch.no_grad()"
    ),
    'Module [ModuleList] is missing the required "forward"': (
        "an nn.ModuleList is a list of modules and cannot be called. Loop over it and call each of them"
    ),
    "'Tensor' object is not callable": _NOT_CALLED,
    "'Parameter' object is not callable": _NOT_CALLED,
    "'Embedding' object is not subscriptable": _EMBEDDING,
    "'Embedding' object has no attribute 'T'": _EMBEDDING,
    "'Tensor' and 'Embedding'": _EMBEDDING,
    "'Linear' object is not subscriptable": _LINEAR,
    "'Linear' object has no attribute 'T'": _LINEAR,
    "'Tensor' and 'Linear'": _LINEAR,
    "argument 'indices' (position 2) must be Tensor, not": (
        "an embedding takes a tensor of whole numbers, such as torch.arange(n), and this is no tensor"
    ),
    "argument #1 'indices' to have one of the following scalar types": (
        "an embedding takes whole numbers, which pick rows, and these are not whole numbers. To multiply by "
        "its table, use its .weight"
    ),
    "(torch.nn.Parameter or None expected)": (
        "only an nn.Parameter can replace a module's parameter. To share one, assign the parameter itself, "
        "such as other.weight, without .data, .T or .detach()"
    ),
    "before Module.__init__() call": _NO_INIT,
    "object has no attribute '_parameters'": _NO_INIT,
    "m1 and m2 to have the same dtype, but got: long int": (
        "@ cannot multiply whole numbers with other numbers. If they are tokens, they pick rows, as in "
        "table[tokens]"
    ),
}
# What is added to a message that tells sizes, which a reader needs.
ADVICE = {
    "shapes cannot be multiplied": (
        "in a @ b, the last axis of a is as long as the last but one of b. Does one of them need a .T?"
    ),
    "Tensors must have same number of dimensions": (
        "torch.cat joins tensors that have equally many axes. After argmax, keepdim=True keeps the axis that "
        "it would drop, and x[:, None] adds one"
    ),
}
NOT_ATTEMPTED, RIGHT, NOT_YET = "not attempted", "right", "not yet"
COULD_NOT = "could not be judged"  # in grading, where the fault is not the answer's


@dataclass(frozen=True)
class Outcome:
    """What an answer gave on one input.

    value: What it returned, made plain, or the words that `use` has for it.
    problem: The error that it raised instead, or that it took too long.
    changed: The places of the inputs that it changed.
    gradients: Of the output with respect to each input that has one; None for an input that it does not
        depend on. None as a whole where gradients are not asked for.
    late: Whether it was stopped because its time was up.
    behind: What it returned, where value is in words.
    """

    value: Any = None
    problem: str | None = None
    changed: tuple[int, ...] = ()
    gradients: tuple[torch.Tensor | None, ...] | None = None
    late: bool = False
    behind: Any = None


@dataclass(frozen=True)
class Verdict:
    """What is said of an answer.

    exercise: The exercise's name.
    status: "not attempted", "right" or "not yet".
    message: The same in full sentences.
    misconception: The name of the misconception that the answer shows, if it shows one.
    share: The share of the inputs on which the answer was right.
    goes_on_with: What the cells below can use: the answer if it is right, else the reference.
    """

    exercise: str
    status: str
    message: str
    misconception: str | None = None
    share: float = 0.0
    goes_on_with: Callable[..., Any] | None = None

    def __repr__(self) -> str:
        return f"{self.exercise}: {self.status}{self._joint}{self.message}"

    @property
    def _joint(self) -> str:
        return ", because " if self.misconception else ". "

    def _repr_html_(self) -> str:
        message = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(self.message))
        color, mark = {RIGHT: ("success", "✓"), NOT_YET: ("warn", "✗")}.get(self.status, ("info", "○"))
        return (
            f'<div style="border-left: 4px solid var(--jp-{color}-color1, #888); padding: 4px 12px">'
            f"<b>{mark} {html.escape(self.exercise)}: {self.status}</b>{self._joint}"
            f'<span style="white-space: pre-wrap">{message}</span></div>'
        )


class Unfit(TypeError):
    """Raised by an exercise's `use`, with a sentence, where an answer is not what was asked for."""


class _Nowhere(io.TextIOBase):
    """What is printed here is gone, however much it is."""

    def write(self, text: str) -> int:
        return len(text)


def outcome(exercise: Exercise, answer: Any, inputs: tuple[Any, ...], seconds: float = SECONDS) -> Outcome:
    """What `answer` gives on one of the exercise's `inputs`. Raises nothing that the answer raises.

    The answer gets copies, what it prints and warns of is dropped, and what it sets is set back: see
    `undisturbed`.
    """
    if answer is ...:
        return Outcome(...)
    given = copy.deepcopy(inputs)
    leaves = [value.requires_grad_() for value in given if exercise.gradients and _is_float(value)]
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(_Nowhere()),
            contextlib.redirect_stderr(_Nowhere()),
            undisturbed(),
            torch.enable_grad(),  # as in the notebook
            time_limit(seconds),  # innermost: what the others set back is not interrupted
        ):
            warnings.simplefilter("ignore")
            torch.default_generator.manual_seed(0)  # and no accelerator's, which nothing would set back
            # Unlike a leaf, its clone may be changed in place.
            given = tuple(value.clone() if _is_float(value) and leaves else value for value in given)
            value = exercise.use(answer, *given)
            if inspect.iscoroutine(value):
                value.close()  # which spares a warning that nobody awaited it
            # Within the limits too: what came back may be as odd as what was run.
            found = plain(value.words if type(value) is InWords else value)
            behind = plain(value.value) if type(value) is InWords else None
            gradients = plain(_gradients(value, leaves)) if exercise.gradients else None
            changed = tuple(
                place
                for place, (was, now) in enumerate(zip(inputs, given, strict=True))
                if isinstance(was, HOLDERS) and difference(plain(was), plain(now))
            )
    except TimeLimit:
        problem = f"it took longer than {seconds:g} seconds; is there a loop that never ends?"
        return Outcome(problem=problem, late=True)
    except KeyboardInterrupt:
        raise
    except TooLarge as error:
        return Outcome(problem=str(error))
    except BaseException as error:
        return Outcome(problem=said(error) + _line_of(answer, error))
    return Outcome(found, None, changed, gradients, behind=behind)


def said(error: BaseException) -> str:
    """An error's kind and text on one line; of Unfit, which the answer did not raise, the text alone."""
    try:
        text = on_one_line(str(error))[:300]
    except Exception:  # an error of the answer's own, that cannot be shown
        text = ""
    if isinstance(error, Unfit):
        return text
    for sign, meaning in IN_PLAIN_WORDS.items():
        if sign in text:
            text = meaning
    for sign, advice in ADVICE.items():
        if sign in text:
            text = f"{text}; {advice}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _line_of(answer: Any, error: BaseException) -> str:
    """The last line of the answer's own that an error came through, if its source is known."""
    try:
        module = answer.__module__
    except Exception:  # the answer's own
        return ""
    frames = [
        (frame.f_code.co_filename, number)
        for frame, number in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__") == module
    ]
    line = linecache.getline(*frames[-1]).strip() if frames else ""
    return f" (in the line `{line}`)" if 0 < len(line) <= LONGEST_TEXT else ""


@dataclass(frozen=True)
class Known:
    """What the reference and each misconception, by name, give on the inputs of an exercise."""

    expected: list[Outcome]
    shown: dict[str, list[Outcome]]


def known(exercise: Exercise, inputs: Sequence[tuple[Any, ...]]) -> Known:
    """Run the reference and the misconceptions once, to judge many answers by."""
    return Known(
        [outcome(exercise, exercise.reference, given) for given in inputs],
        {
            wrong.name: [outcome(exercise, wrong.answer, given) for given in inputs]
            for wrong in exercise.misconceptions
        },
    )


def judge(
    exercise: Exercise,
    inputs: Sequence[tuple[Any, ...]],
    outcomes: Sequence[Outcome],
    by: Known | None = None,
) -> Verdict:
    """What the `outcomes` of an answer on the exercise's `inputs` say of it.

    There may be fewer outcomes than inputs, if the answer did not end on one. `by` spares running the
    reference and the misconceptions again. Raises RuntimeError if the reference itself fails.
    """
    if outcomes and outcomes[0].value is ...:
        how = f'Write it in the cell above; hint("{exercise.name}") helps.'
        return Verdict(exercise.name, NOT_ATTEMPTED, how)
    expected = by.expected if by else [outcome(exercise, exercise.reference, given) for given in inputs]
    for found in expected:
        if found.problem is not None:  # answers that fail alike would be right
            raise RuntimeError(f"the reference of {exercise.name} fails: {found.problem}")
    ended = len(outcomes)
    outcomes = [*outcomes, *[Outcome(problem="it gave no answer")] * (len(inputs) - len(outcomes))]
    right = [_same(one, other) for one, other in zip(expected, outcomes, strict=True)]
    share = sum(right) / len(inputs)
    if share == 1:
        changed = {
            place
            for wanted, found in zip(expected, outcomes, strict=True)
            for place in set(found.changed) - set(wanted.changed)
        }
        if not changed:
            return Verdict(exercise.name, RIGHT, exercise.buys, share=1.0)
        names = [name for place, name in enumerate(_names(exercise, len(inputs[0]))) if place in changed]
        message = (
            f"What it returns is right, but it also changes {' and '.join(names)}, which the caller may "
            "still need. Work on a copy or make something new: `x = x + y`, for example, not `x += y`."
        )
        return Verdict(exercise.name, NOT_YET, message, share=share)
    told = [_told(exercise, *each) for each in zip(inputs, expected, outcomes, strict=True)]
    for misconception in exercise.misconceptions:
        shows = by.shown[misconception.name] if by else _given_by(misconception.answer, exercise, inputs)
        shows = (_told(exercise, *each) for each in zip(inputs, expected, shows, strict=True))
        # Two that fail alike on all inputs may do so for different reasons.
        if all(map(_same, shows, told)) and any(found.problem is None for found in outcomes):
            return Verdict(exercise.name, NOT_YET, misconception.because, misconception.name, share)
    wrong = [place for place, same in enumerate(right) if not same]
    tried = [place for place in wrong if place < ended]
    place = min(tried or wrong[:1], key=lambda place: _size(inputs[place]))
    message = _smallest_difference(exercise, inputs[place], expected[place], outcomes[place])
    return Verdict(exercise.name, NOT_YET, message, share=share)


def _given_by(answer: Any, exercise: Exercise, inputs: Sequence[tuple[Any, ...]]) -> Iterator[Outcome]:
    """One after the other, as most are told apart by the first."""
    return (outcome(exercise, answer, given) for given in inputs)


def _told(exercise: Exercise, given: tuple[Any, ...], wanted: Outcome, found: Outcome) -> Outcome:
    """What is compared with the misconceptions in place of a wrong outcome."""
    if exercise.told is None or found.problem is not None or _same(wanted, found):
        return found
    try:
        value = exercise.told(found.value, wanted.value, *given)
    except Exception:  # of a value that is like nothing it was made for
        return found
    return found if value is found.value else Outcome(plain(value))


def _size(value: Any) -> int:
    """How much there is to read."""
    if isinstance(value, torch.Tensor):
        return value.numel()
    if isinstance(value, np.ndarray):
        return value.size
    if isinstance(value, Mapping):
        return _size([*value.items()])
    if isinstance(value, list | tuple):
        return sum(map(_size, value))
    return len(value) if isinstance(value, str | bytes) else 1


def _smallest_difference(exercise: Exercise, inputs: tuple, expected: Outcome, got: Outcome) -> str:
    named = zip(_names(exercise, len(inputs)), inputs, strict=True)
    where = "\n".join(f"  {name} = {shown(value)}" for name, value in named)
    if got.problem is not None:
        what = got.problem
    elif got.behind is not None and (different := difference(expected.value, got.behind)) is not None:
        what = different
    elif (different := difference(expected.value, got.value)) is not None:
        # A place that is named in words reads as words.
        what = re.sub(r"^at \['(\w+ [^']+)'\] ", r"\1: ", different)
        what += ". Is a `return` missing?" if got.value is None else ""
    else:
        what = (
            "the numbers are right, but the gradient does not flow back as it should; "
            "is there an .item(), a .detach() or a no_grad on the way?"
        )
    happens = "this happens" if got.problem else "it differs"
    return f"{what[0].upper()}{what[1:]}\nThat was on the smallest input tried where {happens}:\n{where}"


def _names(exercise: Exercise, n_inputs: int) -> list[str]:
    """The names of the inputs: those of `use` after the answer, or those of the reference."""
    parameters = list(inspect.signature(exercise.use).parameters.values())[1:]
    if not parameters or parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        parameters = list(inspect.signature(exercise.reference).parameters.values())
    return [parameter.name for parameter in parameters][:n_inputs]


def _same(one: Outcome, other: Outcome) -> bool:
    """Whether two answers did the same: the same value and gradients, or the same kind of error."""
    if one.problem is not None or other.problem is not None:
        kinds = [found.problem and re.split(r": | \(in the line", found.problem)[0] for found in (one, other)]
        return kinds[0] == kinds[1]
    return difference(one.value, other.value) is None and difference(one.gradients, other.gradients) is None


def _gradients(value: Any, inputs: list[torch.Tensor]) -> tuple[torch.Tensor | None, ...]:
    """Of a fixed random weighting of the output's first tensor, with respect to each of the inputs."""
    output = value[0] if isinstance(value, tuple | list) and value else value
    if not isinstance(output, torch.Tensor) or not output.requires_grad:
        return (None,) * len(inputs)
    generator = torch.Generator("cpu").manual_seed(0)
    weighting = torch.randn(output.shape, generator=generator, dtype=output.dtype, device="cpu")
    found = torch.autograd.grad(output, inputs, weighting.to(output.device), allow_unused=True)
    return tuple(None if gradient is None else gradient.to_dense() for gradient in found)


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()
