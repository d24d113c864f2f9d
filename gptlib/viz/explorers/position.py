"""Positions told by turning: sinusoidal waves at the embeddings, rotary queries and keys."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from traitlets import Float as Number
from traitlets import Int, Unicode

from gptlib.checks import check_whole
from gptlib.model.positions import rotate
from gptlib.viz import figures
from gptlib.viz.drawing import Drawing
from gptlib.viz.explorers.explorer import Explorer

KINDS = ("sinusoidal", "rotary")
LARGEST = 256  # dimensions and positions
LARGEST_BASE = 1e7


class PositionExplorer(Explorer):
    """How alike two positions are, and why only their distance matters, under sliders for every number.

    Pair i of the d_model numbers turns by base^(-2i / d_model) radians a position. Sinusoidal positions write
    the angle down as sine and cosine (Vaswani et al. 2017, section 3.5). Rotary positions turn pair i of the
    query at position m and of the key at n by it; here both are (1, 0) in each pair before they are turned,
    and d_model is the size of a head (Su et al. 2021, section 3.2.2).

    d_model: how many numbers; even, 2 to 256.
    length: how many positions, 2 to 256. When a later change makes it smaller, m and n stay below it.
    base: 1 to 10,000,000.
    kind: "sinusoidal" or "rotary".
    m, n: the two positions that are compared, below `length`.

    Raises ValueError for a number that is outside these, or another kind.
    """

    title = "Where a token stands"
    script = "position.js"

    kind = Unicode("sinusoidal", help="sinusoidal or rotary").tag(sync=True, asks="answer")
    d_model = Int(64, help="numbers in a vector").tag(sync=True, asks="answer")
    length = Int(64, help="positions").tag(sync=True, asks="answer")
    base = Number(10000.0, help="the slowest pair is nearly this much slower than the first").tag(
        sync=True, asks="answer"
    )
    m = Int(40, help="a position; in rotary the query's").tag(sync=True, asks="answer")
    n = Int(24, help="another position; in rotary the key's").tag(sync=True, asks="answer")

    def __init__(
        self,
        d_model: int = 64,
        length: int = 64,
        base: float | int = 10000.0,
        kind: str = "sinusoidal",
        m: int | None = None,
        n: int | None = None,
    ) -> None:
        check_whole("length", length)
        m, n = length * 5 // 8 if m is None else m, length * 3 // 8 if n is None else n
        super().__init__(d_model=d_model, length=length, base=base, kind=kind, m=m, n=n)
        self._length = length
        self.begin()

    def compute_answer(self) -> dict[str, Any]:
        """Nothing: the page works out all that it draws. Here the numbers are checked."""
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; it needs to be one of {', '.join(map(repr, KINDS))}")
        if not 2 <= self.d_model <= LARGEST or self.d_model % 2:
            raise ValueError(
                f"d_model is {self.d_model}; pairs need an even number, here from 2 to {LARGEST}"
            )
        if not 2 <= self.length <= LARGEST:
            raise ValueError(f"length is {self.length}; it goes from 2 to {LARGEST} here")
        if not 1 <= self.base <= LARGEST_BASE:
            raise ValueError(f"base is {self.base}; it goes from 1 to {LARGEST_BASE:,.0f} here")
        if self.length < self._length:
            self.m, self.n = min(self.m, self.length - 1), min(self.n, self.length - 1)
        for name in ("m", "n"):
            if not 0 <= getattr(self, name) < self.length:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; with length {self.length}, positions go from 0 to "
                    f"{self.length - 1}"
                )
        self._length = self.length
        return {}

    def table(self) -> Float[Tensor, "length d_model"]:
        """Sinusoidal: the vector of each position. Rotary: (1, 0) in each pair, turned at each position."""
        pairs = torch.tensor([1.0, 0.0]).repeat(self.length, self.d_model // 2)  # (length, d_model)
        turned = rotate(pairs, torch.arange(self.length), self.base)
        if self.kind == "rotary":
            return turned
        return turned.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)  # (cos, sin) -> (sin, cos) in each pair

    def figure(self) -> Drawing:
        """Sinusoidal: the vectors, array `table` (position, d_model). Rotary: the scores of all queries with
        all keys as shares of the largest, array `similarity` (position, position)."""
        if self.kind == "rotary":
            return figures.position_similarity(
                self.table(), title="Rotary: on each diagonal the score is one number"
            )
        return figures.position_encodings(
            self.table(), title="Fast waves on the left, slow waves on the right"
        )

    def __repr__(self) -> str:
        return (
            f"PositionExplorer({self.kind}, d_model={self.d_model}, length={self.length}, "
            f"base={self.base:g}, m={self.m}, n={self.n})"
        )
