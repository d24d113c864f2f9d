"""Input that figures accept: checked by hand, with errors that name the argument.

Shapes are not checked by annotation here: a reader in a notebook is always told which argument
is wrong, and tensors, arrays and lists are all welcome.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

Array = Tensor | np.ndarray | Sequence  # numbers
Labels = Sequence | np.ndarray  # strings
Number = float | int | np.number | Tensor  # one of them
Index = int | np.integer


def as_array(name: str, given: Any, n_dims: int | tuple[int, ...], shape: str) -> np.ndarray:
    """`given` as finite float64 with `n_dims` dimensions, none of them empty; errors name the argument."""
    if hasattr(given, "detach"):
        given = given.detach().cpu()
        given = given.double() if given.is_floating_point() else given
        given = given.numpy()
    try:
        array = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is a {type(given).__name__}; it needs numbers of shape {shape}") from None
    allowed = (n_dims,) if isinstance(n_dims, int) else n_dims
    if array.ndim not in allowed:
        raise ValueError(f"{name} has shape {_shape(array)}; it needs {shape}: index or reshape it first")
    if array.size == 0:
        raise ValueError(
            f"{name} is empty (shape {_shape(array)}); it needs at least one entry in each dimension"
        )
    if not np.isfinite(array).all():
        where = tuple(int(at) for at in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name} has {array[where]} at index {where}; it needs finite numbers")
    return array


def _shape(array: np.ndarray) -> str:
    return "(" + ", ".join(map(str, array.shape)) + ")"


def as_labels(name: str, given: Any, length: int | None = None, of: str = "") -> list[str]:
    """`given` as a list of strings, of `length` if that is given; `of` says what they label."""
    if isinstance(given, str):
        raise TypeError(
            f"{name} is one string, {given!r:.40}; it needs a sequence of them, one for each cell"
        )
    labels = list(given)
    for label in labels:
        if not isinstance(label, str):
            raise TypeError(
                f"{name} holds a {type(label).__name__}; it needs strings: tokenizer.pieces(tokens) has some"
            )
    if not labels:
        raise ValueError(f"{name} is empty; at least one is needed")
    if length is not None and len(labels) != length:
        raise ValueError(f"{name} has {len(labels)} entries but {of} needs {length}")
    return labels


def as_weights(
    name: str,
    given: Any,
    n_dims: int | tuple[int, ...],
    shape: str,
    masked: np.ndarray | None,
    normalized: bool = True,
) -> np.ndarray:
    """Attention weights: finite, not negative, zero where masked, each query's weights summing to 1."""
    weights = as_array(name, given, n_dims, shape)
    if weights.min() < 0:
        where = tuple(int(at) for at in np.unravel_index(weights.argmin(), weights.shape))
        raise ValueError(
            f"{name} has {weights[where]:.4g} at index {where}; it needs numbers from 0 up: "
            "pass weights, which come after the softmax, or draw scores with grid_heatmap(…, diverging=True)"
        )
    hidden = np.broadcast_to(False if masked is None else masked, weights.shape)
    if weights[hidden].max(initial=0) > 1e-6:
        where = tuple(int(at) for at in np.argwhere(hidden & (weights > 1e-6))[0])
        raise ValueError(
            f"{name} has {weights[where]:.4g} at index {where}, which masked says cannot be attended to; "
            "pass masked=None to show every cell"
        )
    sums = np.where(hidden.all(axis=-1), 1.0, weights.sum(axis=-1))
    if normalized and np.abs(sums - 1).max() > 5e-3:
        where = tuple(int(at) for at in np.unravel_index(np.abs(sums - 1).argmax(), sums.shape))
        raise ValueError(
            f"{name} sums to {sums[where]:.4g} at index {where}; it needs to sum to 1 over the keys of each "
            "query: pass normalized=False to draw it all the same"
        )
    return weights


def as_masked(given: Any, n_queries: int, n_keys: int) -> np.ndarray:
    """Which cells are masked, as (query, key) booleans, from "causal", None or such an array."""
    if given is None:
        return np.zeros((n_queries, n_keys), dtype=bool)
    if isinstance(given, str):
        if given != "causal":
            raise ValueError(f'masked is {given!r}; it needs "causal", None or a boolean (query, key) array')
        if n_queries > n_keys:
            raise ValueError(
                'masked="causal" needs at least as many keys as queries; there are '
                f"{n_queries} queries and {n_keys} keys"
            )
        return ~np.tri(n_queries, n_keys, n_keys - n_queries, dtype=bool)
    if hasattr(given, "detach"):
        given = given.detach().cpu().numpy()
    masked = np.asarray(given)
    if masked.dtype != bool:
        raise TypeError(f"masked has dtype {masked.dtype}; it needs to be boolean, True for each masked cell")
    if masked.shape != (n_queries, n_keys):
        raise ValueError(
            f"masked has shape {_shape(masked)}; it needs that of the weights, ({n_queries}, {n_keys})"
        )
    return masked


def a_number(name: str, given: Any) -> float:
    """`given` as a finite float; a tensor or array of one number will do."""
    try:
        number = float(given)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is a {type(given).__name__}; it needs one number") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}; it needs a finite number")
    return number


def as_marks(marks: Mapping[str, Number] | None, taken: Mapping) -> dict[str, np.ndarray]:
    """`marks` as name -> scalar array; their names must not be among those `taken`."""
    clash = sorted(set(marks or {}) & set(taken))
    if clash:
        raise ValueError(f"marks has the name {clash[0]!r}, which is drawn already; call it something else")
    return {name: np.array(a_number(f"marks[{name!r}]", value)) for name, value in (marks or {}).items()}
