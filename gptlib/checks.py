"""How all of gptlib checks a setting, and the one wording in which it says what would do."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable
from numbers import Integral, Real

from torch import SymInt, Tensor


def check_whole(name: str, value: object, at_least: int | None = 1, any_size: bool = False) -> None:
    """Raise TypeError unless value is a whole number, ValueError unless it is in range.

    any_size: it may have more than the 64 bits of torch's numbers.
    """
    # A SymInt is a size while torch.export follows it through a model.
    if isinstance(value, bool) or not isinstance(value, (Integral, SymInt)):
        bound = "" if at_least is None else f" of at least {at_least}"
        raise TypeError(f"{name} is {value!r}; it needs a whole number{bound}")
    if at_least is not None and value < at_least:
        raise ValueError(f"{name} is {value}; it needs to be at least {at_least}")
    if not any_size and not -(2**63) <= value < 2**63:
        raise ValueError(f"{name} is {value}; it needs to fit into 64 bits")


def whole_numbers(**numbers: int) -> tuple[int, ...]:
    """The numbers as Python's own, which do not overflow as NumPy's do; each raises as `check_whole` does."""
    for name, value in numbers.items():
        check_whole(name, value)
    return tuple(map(int, numbers.values()))


def check_seed(name: str, value: object) -> None:
    """Raise TypeError unless value is a whole number, ValueError unless a generator of torch takes it."""
    check_whole(name, value, at_least=0)


def check_positive(name: str, value: object) -> None:
    """Raise TypeError unless value is a number, ValueError unless it is above 0 and finite."""
    if not is_number(value):
        raise TypeError(f"{name} is {value!r}; it needs a number above 0")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value}; it needs to be above 0 and finite")


def check_from_zero(name: str, value: object) -> None:
    """Raise TypeError unless value is a number, ValueError unless it is at least 0 and finite."""
    if not is_number(value):
        raise TypeError(f"{name} is {value!r}; it needs a number of at least 0")
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value}; it needs to be at least 0 and finite")


def check_share(name: str, value: object) -> None:
    """Raise TypeError unless value is a number, ValueError unless it is from 0 up to, not including, 1."""
    wanted = "a number from 0 up to, not including, 1"
    if not is_number(value):
        raise TypeError(f"{name} is {value!r}; it needs {wanted}")
    if not 0 <= value < 1:
        raise ValueError(f"{name} is {value}; it needs {wanted}")


def check_flag(name: str, value: object) -> None:
    """Raise TypeError unless value is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; it needs True or False")


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise ValueError unless value is one of the choices."""
    choices = tuple(choices)
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it needs to be one of {', '.join(choices)}")


def check_kind(name: str, value: object, kind: type | tuple[type, ...], needed: str) -> None:
    """Raise TypeError unless value is of this kind; `needed` says in words what would do."""
    if not isinstance(value, kind):
        given = (
            repr(value) if value is None or isinstance(value, (str, Real)) else f"a {type(value).__name__}"
        )
        raise TypeError(f"{name} is {given}; it needs {needed}")


def check_tensor(name: str, value: object) -> None:
    """Raise TypeError unless value is a tensor."""
    check_kind(name, value, Tensor, "a tensor, as torch.tensor makes of numbers")


def check_path(name: str, value: object) -> None:
    """Raise TypeError unless value can be a path."""
    check_kind(name, value, (str, os.PathLike), "a path")


def make_plain(settings: object) -> None:
    """Turn NumPy's and torch's numbers among a dataclass's fields into Python's own, which JSON can hold."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if getattr(value, "shape", None) == ():
            object.__setattr__(settings, field.name, value.item())


def is_number(value: object) -> bool:
    """Whether value is a plain number; True and False are not."""
    return isinstance(value, Real) and not isinstance(value, bool)
