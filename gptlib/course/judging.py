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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gptlib.course.exercises import Exercise
from gptlib.course.limits import TimeLimit, time_limit, undisturbed

SECONDS = 5.0  # for an answer on one input
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
# Tensors with at most this many numbers are shown whole.
SHOWN_WHOLE = 36
LONGEST_TEXT = 200
HOLDERS = (torch.Tensor, np.ndarray, list, tuple, dict)  # inputs in which a change can be seen
NOT_ATTEMPTED, RIGHT, NOT_YET = "not attempted", "right", "not yet"


@dataclass(frozen=True)
class Outcome:
    """What an answer gave on one input.

    value: What it returned; tensors are detached.
    problem: The error that it raised instead, or that it took too long.
    changed: The places of the inputs that it changed.
    gradients: Of the output with respect to each input that has one; None for an input that it does not
        depend on. None as a whole where gradients are not asked for.
    late: Whether it was stopped because its time was up.
    """

    value: Any = None
    problem: str | None = None
    changed: tuple[int, ...] = ()
    gradients: tuple[torch.Tensor | None, ...] | None = None
    late: bool = False


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
            torch.enable_grad() if exercise.gradients else torch.no_grad(),
            time_limit(seconds),  # innermost: what the others set back is not interrupted
        ):
            warnings.simplefilter("ignore")
            torch.default_generator.manual_seed(0)  # and no accelerator's, which nothing would set back
            # Unlike a leaf, its clone may be changed in place.
            given = tuple(value.clone() if _is_float(value) and leaves else value for value in given)
            value = exercise.use(answer, *given)
            if inspect.iscoroutine(value):
                value.close()  # which spares a warning that nobody awaited it
            gradients = _gradients(value, leaves) if exercise.gradients else None
            # Within the limits too: what came back may be as odd as what was run.
            value = _detached(value)
            shown(value)
            changed = tuple(
                place
                for place, (was, now) in enumerate(zip(inputs, given, strict=True))
                if isinstance(was, HOLDERS) and difference(was, now)
            )
    except TimeLimit:
        problem = f"it took longer than {seconds:g} seconds; is there a loop that never ends?"
        return Outcome(problem=problem, late=True)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Outcome(problem=said(error) + _line_of(answer, error))
    return Outcome(value, None, changed, gradients)


def said(error: BaseException) -> str:
    """An error's kind and text on one line."""
    try:
        text = _on_one_line(str(error))[:300]
    except Exception:  # an error of the answer's own, that cannot be shown
        text = ""
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
        changed = {place for found in outcomes for place in found.changed}
        names = [name for place, name in enumerate(_names(exercise, len(inputs[0]))) if place in changed]
        remark = f"\nIt also changes {' and '.join(names)}, which a caller may not expect." if names else ""
        return Verdict(exercise.name, RIGHT, exercise.buys + remark, share=1.0)
    for misconception in exercise.misconceptions:
        shows = by.shown[misconception.name] if by else _given_by(misconception.answer, exercise, inputs)
        # Two that fail alike on all inputs may do so for different reasons.
        if all(map(_same, shows, outcomes)) and any(found.problem is None for found in outcomes):
            return Verdict(exercise.name, NOT_YET, misconception.because, misconception.name, share)
    wrong = [place for place, same in enumerate(right) if not same]
    tried = [place for place in wrong if place < ended]
    place = min(tried or wrong[:1], key=lambda place: _size(inputs[place]))
    message = _smallest_difference(exercise, inputs[place], expected[place], outcomes[place])
    return Verdict(exercise.name, NOT_YET, message, share=share)


def _given_by(answer: Any, exercise: Exercise, inputs: Sequence[tuple[Any, ...]]) -> Iterator[Outcome]:
    """One after the other, as most are told apart by the first."""
    return (outcome(exercise, answer, given) for given in inputs)


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


def difference(expected: Any, got: Any) -> str | None:
    """In what `got` differs from `expected`, as a sentence; None if it does not.

    Whole numbers agree exactly and others within TOLERANCE; a list may stand for a tuple, and a tensor of one
    number for a number.
    """
    if isinstance(expected, torch.Tensor):
        return _tensor_difference(expected, got)
    if isinstance(expected, np.ndarray):
        return _array_difference(expected, got)
    if isinstance(expected, bool | str | bytes) or expected is None:
        got = got.item() if isinstance(expected, bool) and _is_number(got) and hasattr(got, "item") else got
        if type(got) is type(expected) and got == expected:
            return None
    elif isinstance(expected, int | np.integer):
        if _is_number(got) and got == expected:
            return None
    elif isinstance(expected, float | np.floating):
        if _is_number(got) and torch.isclose(_number(expected), _number(got), **TOLERANCE, equal_nan=True):
            return None
    elif isinstance(expected, Mapping):
        if isinstance(got, Mapping) and expected.keys() == got.keys():
            return _first_difference(((key, expected[key], got[key]) for key in expected), expected, got)
    elif isinstance(expected, list | tuple):
        if isinstance(got, list | tuple) and len(got) == len(expected):
            return _first_difference(zip(range(len(got)), expected, got, strict=True), expected, got)
    elif expected == got:
        return None
    return _expected_and_got(expected, got)


def _expected_and_got(expected: Any, got: Any) -> str:
    texts = shown(expected), shown(got)
    if texts[0] == texts[1]:  # they differ further behind
        texts = shown(expected, digits=9), shown(got, digits=9)
    return f"expected {texts[0]}, got {texts[1]}"


def _first_difference(pairs: Iterable[tuple[Any, Any, Any]], expected: Any, got: Any) -> str | None:
    """Of two collections: both, if that shows it, else the first place and the difference there."""
    for place, one, other in pairs:
        if inner := difference(one, other):
            texts = shown(expected), shown(got)
            if texts[0] != texts[1] and max(map(len, texts)) <= LONGEST_TEXT // 2:
                return f"expected {texts[0]}, got {texts[1]}"
            return f"at [{place!r}]{inner[3:]}" if inner.startswith("at [") else f"at [{place!r}] {inner}"
    return None


def _tensor_difference(expected: torch.Tensor, got: Any) -> str | None:
    if not isinstance(got, torch.Tensor):
        return f"expected a tensor of shape {tuple(expected.shape)}, got {shown(got)}"
    if expected.shape != got.shape:
        return f"expected the shape {tuple(expected.shape)}, got {tuple(got.shape)}"
    if expected.dtype != got.dtype:
        return f"expected the dtype {str(expected.dtype)[6:]}, got {str(got.dtype)[6:]}"
    if got.layout != expected.layout:
        return f"expected an ordinary tensor, got one of layout {str(got.layout)[6:]}"
    if expected.device != got.device:
        return f"expected a tensor on {expected.device}, got one on {got.device}"
    exact = not expected.is_floating_point()
    near = expected == got if exact else torch.isclose(expected, got, **TOLERANCE, equal_nan=True)
    if near.all():
        return None
    if expected.numel() <= SHOWN_WHOLE:
        return _expected_and_got(expected, got)
    first = tuple((~near).nonzero()[0].tolist())
    at = ", ".join(map(str, first))
    return f"at [{at}] {_expected_and_got(expected[first].item(), got[first].item())}"


def _array_difference(expected: np.ndarray, got: Any) -> str | None:
    """As of tensors, but a list may stand for an array, and whole numbers for others."""
    try:
        numbers = np.asarray(got)
    except (TypeError, ValueError, RuntimeError):
        numbers = np.asarray(None)
    if numbers.dtype.kind not in "biuf":
        return f"expected an array of shape {expected.shape}, got {shown(got)}"
    different = _tensor_difference(
        torch.from_numpy(expected.astype(float)), torch.from_numpy(numbers.astype(float))
    )
    return different and different.replace("tensor", "array")


def shown(value: Any, digits: int = 4) -> str:
    """A value as a reader wants to see it: short, on one line, and numbers with so many digits."""
    text = _written(value, digits)
    few_numbers = isinstance(value, torch.Tensor | np.ndarray)
    return text if few_numbers or len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " …"


def _written(value: Any, digits: int) -> str:
    if value is ...:
        return "..."
    if isinstance(value, torch.Tensor):
        plain = value.layout == torch.strided and value.device.type != "meta"
        if plain and value.numel() <= SHOWN_WHOLE:
            return f"tensor {_written(value.tolist(), digits)}"
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        if value.size <= SHOWN_WHOLE:
            return f"array {_written(value.tolist(), digits)}"
        return f"an array of shape {value.shape}"
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    if isinstance(value, list | tuple):
        opening, closing = "[]" if isinstance(value, list) else "()"
        comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
        return opening + ", ".join(_written(item, digits) for item in value) + comma + closing
    if isinstance(value, type) or inspect.isroutine(value):
        return f"the {'class' if isinstance(value, type) else 'function'} {value.__name__}"
    if inspect.isgenerator(value) or inspect.iscoroutine(value):
        return f"a {type(value).__name__}"
    if isinstance(value, torch.nn.Module) and type(value).__repr__ is torch.nn.Module.__repr__:
        return f"a module, {type(value).__name__}"
    return _on_one_line(repr(value))


def _on_one_line(text: str) -> str:
    """Without the places in memory, which say nothing."""
    return " ".join(re.sub(r" at 0x[0-9a-fA-F]+", "", text).split())


def _smallest_difference(exercise: Exercise, inputs: tuple, expected: Outcome, got: Outcome) -> str:
    named = zip(_names(exercise, len(inputs)), inputs, strict=True)
    where = "\n".join(f"  {name} = {shown(value)}" for name, value in named)
    if got.problem is not None:
        what = got.problem
    elif (different := difference(expected.value, got.value)) is not None:
        what = different + (". Is a `return` missing?" if got.value is None else "")
    else:
        what = (
            "the numbers are right, but the gradient does not flow back as it should; "
            "is there an .item(), a .detach() or a no_grad on the way?"
        )
    happens = "this happens" if got.problem else "it differs"
    return f"{what[0].upper()}{what[1:]}\nThat was on the smallest input where {happens}:\n{where}"


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
    return torch.autograd.grad(output, inputs, weighting.to(output.device), allow_unused=True)


def _detached(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if type(value) in (list, tuple):
        return type(value)(map(_detached, value))
    if type(value) is dict:
        return {key: _detached(item) for key, item in value.items()}
    return value


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _is_number(value: Any) -> bool:
    """Whether it is one number, also as a tensor or numpy's."""
    if isinstance(value, torch.Tensor):
        return value.numel() == 1
    return isinstance(value, int | float) or getattr(value, "shape", None) == ()


def _number(value: Any) -> torch.Tensor:
    return torch.tensor(float(value), dtype=torch.float64, device="cpu")
