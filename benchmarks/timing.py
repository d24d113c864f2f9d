"""How things are timed here: interleaved, so that whatever else the machine does slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, of ours and of what else a user would pick.

    ratio   how many times better ours is, or what share of a bound it reaches
    mark    what the ratio is held to: at least this, or at most this if `at_most`; None if it is to nothing
    """

    what: str
    ours: str
    theirs: str
    ratio: float
    mark: float | None = None
    at_most: bool = False

    def __str__(self) -> str:
        held = ""
        if self.mark is not None:
            met = self.ratio <= self.mark if self.at_most else self.ratio >= self.mark
            held = f"{'at most' if self.at_most else 'at least'} {self.mark:g}: {'yes' if met else 'NO'}"
        return f"{self.what:88}{self.ours:>18}{self.theirs:>18}{self.ratio:8.2f}  {held}"


HEADER = f"{'':88}{'gptlib':>18}{'beside it':>18}{'ratio':>8}"


def medians(repeats: int, *contestants: Callable[[], object]) -> list[float]:
    """Processor seconds of each, called in turn; the first round warms up and does not count.

    Processor time of the one thread that works, since others may use the machine.
    """
    taken: list[list[float]] = [[] for _ in contestants]
    for round_ in range(repeats + 1):
        for contestant, times in zip(contestants, taken, strict=True):
            started = time.process_time()
            contestant()
            if round_:
                times.append(time.process_time() - started)
    return [statistics.median(times) for times in taken]
