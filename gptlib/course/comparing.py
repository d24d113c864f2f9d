"""Values as something that can be compared: made plain, told apart, and shown.

What an answer gives back may be anything: an object with its own `__eq__`, a range of a billion numbers, a
list that holds itself. `plain` makes numbers, text, tensors, arrays and collections of it, within bounds, and
of all else what it looks like. `difference` compares such values: it runs nothing of the answer's, and ends.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

LARGEST = 32 * 2**20  # bytes of all numbers and texts of a value
MOST_VALUES = 100_000
DEEPEST = 50
LARGEST_INT = 8192  # bits
RANGE_BITS = 60  # of its ends: a longer range has no length that Python can say
DTYPES = {
    str(dtype)[6:]: dtype
    for dtype in (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128),
        *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
    )
}
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
SHOWN_WHOLE = 36  # numbers of a tensor or an array
LONGEST_TEXT = 200


class TooLarge(ValueError):
    """A value of more than LARGEST bytes, of more than MOST_VALUES parts, or nested deeper than DEEPEST."""


@dataclass(frozen=True)
class Opaque:
    """What is no plain value: only what it looked like is known."""

    text: str

    def __repr__(self) -> str:
        return self.text


# ------------------------------------------------------------------------------------------------------ plain


def plain(value: Any) -> Any:
    """The value as None, `...`, a number, text, a dtype, range, tensor or array, or a collection of these.

    Tensors and arrays are ordinary copies. Subclasses become what they are subclasses of, and numpy's numbers
    Python's. All else, and an int of more than LARGEST_INT bits, becomes Opaque. Raises TooLarge.
    """
    return _Plain().of(value, 0)


class _Plain:
    """It goes by `type`, which no value can lie about, and counts."""

    def __init__(self) -> None:
        self.bytes = 0
        self.values = 0

    def of(self, value: Any, depth: int) -> Any:
        self.values += 1
        if depth > DEEPEST or self.values > MOST_VALUES:
            raise TooLarge("it gave back too many values, or too deep inside one another, to look at")
        kind = type(value)
        if value is None or value is ... or kind is bool or kind is torch.dtype:
            return value
        if issubclass(kind, int):
            whole = int.__add__(value, 0)
            return whole if whole.bit_length() <= LARGEST_INT else Opaque(shown(whole))
        if issubclass(kind, float):
            return float.__add__(value, -0.0)  # which changes nothing, also not -0.0
        if kind is str or kind is bytes:
            self._room_for(len(value))
            return value
        if kind is range:
            if not all(number.bit_length() <= RANGE_BITS for number in (value.start, value.stop, value.step)):
                return Opaque("a very large range")
            if self.values + len(value) > MOST_VALUES:
                return Opaque(shown(value))
            self.values += len(value)  # which an array would be made of, as of a list
            return value
        if issubclass(kind, torch.Tensor):
            return self._tensor(value)
        if issubclass(kind, np.ndarray) and np.ndarray.ndim.__get__(value) > 0:  # type: ignore[attr-defined]
            return self._array(value)
        if issubclass(kind, np.generic | np.ndarray):
            item = value.item()
            return Opaque(_look(value)) if type(item) is kind else self.of(item, depth + 1)
        for collection in (list, tuple, set, frozenset):
            if issubclass(kind, collection):
                held = collection.__iter__(value)
                if collection in (list, tuple):
                    return collection(self.of(item, depth + 1) for item in held)
                return collection(self._key(item, depth + 1) for item in held)
        if issubclass(kind, dict):
            items = dict.items(value)
            return {self._key(key, depth + 1): self.of(held, depth + 1) for key, held in items}
        return Opaque(_look(value))

    def _key(self, value: Any, depth: int) -> Any:
        """A key, or what is in a set: nothing that compares in a way of its own."""
        key = self.of(value, depth)
        return key if _is_key(key) else Opaque(_look(value))

    def _tensor(self, value: torch.Tensor) -> torch.Tensor | Opaque:
        with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
            if odd := _odd(value):
                return Opaque(odd)
            # Before it is copied: an expanded tensor says that it is huge, and is not yet.
            self._room_for(value.numel() * value.element_size())
            ordinary = value.detach().as_subclass(torch.Tensor)
            return ordinary.resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)

    def _array(self, value: np.ndarray) -> np.ndarray | Opaque:
        self._room_for(value.size * value.itemsize)
        ordinary = np.array(value, dtype=value.dtype.newbyteorder("="), order="C", subok=False)
        if ordinary.dtype.name in DTYPES:
            return ordinary
        if ordinary.dtype.kind in "uf":  # those that torch has not
            return ordinary.astype(np.float64)
        return Opaque(_look(value))

    def _room_for(self, more: int) -> None:
        self.bytes += more
        if self.bytes > LARGEST:
            size = f"{self.bytes / 2**20:,.0f} MB"
            raise TooLarge(f"it gave back {size}; at most {LARGEST // 2**20} MB are looked at")


def _is_key(value: Any) -> bool:
    if type(value) is tuple:
        return all(map(_is_key, value))
    return value is None or value is ... or type(value) in (bool, int, float, str, bytes, Opaque)


def _odd(value: torch.Tensor) -> str:
    """What an extraordinary tensor looks like; "" for an ordinary one."""
    if value.is_nested:
        return "a nested tensor"
    dtype = str(value.dtype)[6:]
    if value.layout != torch.strided:
        how = f"of layout {str(value.layout)[6:]}"
    elif value.device.type == "meta":
        how = "on meta, without numbers"
    elif value.is_quantized or dtype not in DTYPES:
        how = f"of dtype {dtype}"
    else:
        return ""
    return f"a tensor of shape {tuple(value.shape)} {how}"


def _look(value: Any) -> str:
    try:
        return str(shown(value))
    except Exception:  # the value's own repr
        return f"a {type(value).__name__}"[:LONGEST_TEXT]


# -------------------------------------------------------------------------------------------------- different


def difference(expected: Any, got: Any) -> str | None:
    """In what `got` differs from `expected`, as a sentence; None if it does not. Both are plain.

    Whole numbers agree exactly and others within TOLERANCE; a list may stand for a tuple or an array, and a
    tensor of one number for a number.
    """
    if isinstance(expected, torch.Tensor):
        return _tensor_difference(expected, got)
    if isinstance(expected, np.ndarray):
        return _array_difference(expected, got)
    if isinstance(expected, bool | int | float):
        if _same_number(expected, got):
            return None
    elif isinstance(expected, dict):
        if isinstance(got, dict) and expected.keys() == got.keys():
            return _first_difference(((key, expected[key], got[key]) for key in expected), expected, got)
    elif isinstance(expected, list | tuple):
        if isinstance(got, list | tuple) and len(got) == len(expected):
            return _first_difference(zip(range(len(got)), expected, got, strict=True), expected, got)
    elif type(got) is type(expected) and got == expected:
        return None
    return _expected_and_got(expected, got)


def _same_number(expected: bool | int | float, got: Any) -> bool:
    if isinstance(got, torch.Tensor) and got.numel() == 1 and not got.is_complex():
        got = got.item()
    if not isinstance(got, bool | int | float) or (isinstance(expected, bool) and not isinstance(got, bool)):
        return False
    if not isinstance(expected, float):
        return got == expected
    try:
        both = [torch.tensor(float(number), dtype=torch.float64, device="cpu") for number in (expected, got)]
    except OverflowError:  # an int that no float is as large as
        return False
    return bool(torch.isclose(*both, **TOLERANCE, equal_nan=True))


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
    numbers = np.asarray(None)
    with contextlib.suppress(TypeError, ValueError, RuntimeError, OverflowError):  # a ragged list, say
        numbers = np.asarray(got)
    if numbers.dtype.kind not in "biuf":
        return f"expected an array of shape {expected.shape}, got {shown(got)}"
    different = _tensor_difference(
        torch.from_numpy(expected.astype(float)), torch.from_numpy(numbers.astype(float))
    )
    return different and different.replace("tensor", "array")


# ------------------------------------------------------------------------------------------------------ shown


def shown(value: Any, digits: int = 4) -> str:
    """A value as a reader wants to see it: short, on one line, and numbers with so many digits."""
    text = _written(value, digits, 0)
    few_numbers = isinstance(value, torch.Tensor | np.ndarray)
    return text if few_numbers or len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " …"


def _written(value: Any, digits: int, depth: int) -> str:
    if value is ... or depth > DEEPEST:
        return "..."

    def inner(part: Any) -> str:
        return _written(part, digits, depth + 1)

    if isinstance(value, torch.Tensor):
        if odd := _odd(value):
            return odd
        if value.numel() <= SHOWN_WHOLE:
            return f"tensor {_written(value.tolist(), digits, depth)}"
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        if value.size <= SHOWN_WHOLE:
            return f"array {_written(value.tolist(), digits, depth)}"
        return f"an array of shape {value.shape}"
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    if type(value) is int and value.bit_length() > LONGEST_TEXT:
        return f"a whole number of about {round(value.bit_length() * 0.30103):,} digits"
    if type(value) in (str, bytes):
        return repr(value[: LONGEST_TEXT + 1])
    if type(value) is dict:
        pairs = (f"{inner(key)}: {inner(held)}" for key, held in value.items())
        return f"{{{_as_many_as_fit(pairs)}}}"
    if isinstance(value, list | tuple):
        opening, closing = "[]" if isinstance(value, list) else "()"
        comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
        return opening + _as_many_as_fit(map(inner, value)) + comma + closing
    if isinstance(value, type) or inspect.isroutine(value):
        return f"the {'class' if isinstance(value, type) else 'function'} {value.__name__}"
    if inspect.isgenerator(value) or inspect.iscoroutine(value):
        return f"a {type(value).__name__}"
    if isinstance(value, torch.nn.Module) and type(value).__repr__ is torch.nn.Module.__repr__:
        return f"a module, {type(value).__name__}"
    return on_one_line(repr(value))


def _as_many_as_fit(texts: Iterable[str]) -> str:
    """The texts with commas between them, up to where a text that is shown is cut."""
    taken: list[str] = []
    for text in texts:
        taken.append(text)
        if sum(map(len, taken)) > LONGEST_TEXT:
            break
    return ", ".join(taken)


def on_one_line(text: str) -> str:
    """The text on one line and without places in memory, which say nothing."""
    return " ".join(re.sub(r" at 0x[0-9a-fA-F]+", "", text).split())
