"""The course of a training run: its steps, its curves as a pane shows them, and what is read off them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from gptlib.training.loop import Step

BINS = 300  # points of a curve


class Course:
    """The steps of a run, at most `last`, and their means in bins, even on the logarithm of the step.

    Adding a step takes the same short time however long the run is.

    guessing: the loss of a model that knows nothing, where the pane begins. floor: the entropy floor or None.
    """

    def __init__(self, last: int, guessing: float, floor: float | None = None) -> None:
        self.last, self.guessing, self.floor = last, guessing, floor
        self.history: list[Step] = []
        self.checked: list[Step] = []  # those with a validation loss
        self.scale = (BINS - 1) / math.log1p(last)
        self.counts = np.zeros(BINS)
        self.sums = np.zeros((5, BINS))

    def add(self, step: Step) -> None:
        """Note one more step of the run."""
        self.history.append(step)
        if step.validation_loss is not None:
            self.checked.append(step)
        at = min(BINS - 1, int(math.log1p(step.step) * self.scale))
        self.counts[at] += 1
        seconds = math.nan if step.seconds is None else step.seconds
        self.sums[:, at] += (step.step, step.loss, step.gradient_norm, step.learning_rate, seconds)

    def means(self) -> dict[str, Float[np.ndarray, " bins"]]:
        """By name, one number for each bin that has a step."""
        filled = self.counts > 0
        means = self.sums[:, filled] / self.counts[filled]
        return dict(zip(("step", "loss", "gradient_norm", "learning_rate", "seconds"), means, strict=True))

    def readings(self, step: int) -> dict[str, str]:
        """What is read at this step, by the curve's name; a dash where there is nothing yet.

        Both losses are of one step, which is named: the latest at which the validation loss was measured, or
        without one the latest of all. Norm and rate are of the latest, and name it where it is another.
        """
        latest = _latest(self.history, step)
        floor = "" if self.floor is None else f"{self.floor:.2f}"
        none = "–" if self.checked else ""
        if latest is None:
            told = f"Step {step:,}: {'no loss yet' if step == 0 else 'no losses were noted'}"
            nothing = dict.fromkeys(("training", "norm", "rate"), "–")
            return {"step": told, "validation": none, "floor": floor} | nothing
        both = _latest(self.checked, step) or latest
        apart = both.step != latest.step
        of = f" at step {latest.step:,}" if apart else ""
        return {
            "step": f"Losses of step {both.step:,}{' (the last with validation)' if apart else ''}",
            "training": f"{both.loss:.2f}",
            "validation": none if both.validation_loss is None else f"{both.validation_loss:.2f}",
            "floor": floor,
            "norm": f"{latest.gradient_norm:.3g}{of}",
            "rate": f"{latest.learning_rate:.2g}{of}",
        }

    def curves(self) -> dict[str, Any]:
        """The curves, the ticks of the losses and the floor, in percent of a pane from the left and the top.
        `scale` is the loss at the top and at the bottom, `seen` the mean step of each point of training.

        A curve is x, y, x, y, …, once over steps and, where it is known how long they took, over seconds.
        """
        course = self.means()
        checked = np.array([(step.step, step.validation_loss) for step in self.checked]).reshape(-1, 2)
        losses = [self.guessing, self.floor or 0.0, *course["loss"], *checked[:, 1]]
        top, bottom = 1.03 * max(losses), min(losses)
        if self.floor is not None:
            bottom -= 0.06 * (top - bottom)  # below the floor there is nothing to learn: that is hatched

        def height(loss: Any) -> Any:
            return 100 * (top - loss) / (top - bottom)

        def from_zero(name: str) -> np.ndarray:
            return 97 - 94 * course[name] / course[name].max(initial=1e-12)

        curves = {
            "training": (course["step"], height(course["loss"])),
            "validation": (checked[:, 0], height(checked[:, 1])),
            "norm": (course["step"], from_zero("gradient_norm")),
            "rate": (course["step"], from_zero("learning_rate")),
        }
        unit = 2 if top - bottom > 5 else 1
        ticks = range(math.ceil(bottom / unit), math.floor(top / unit) + 1)
        return {
            "curves": {
                over: {
                    name: np.stack([places(steps), heights], axis=-1).round(2).flatten().tolist()
                    for name, (steps, heights) in curves.items()
                }
                for over, places in self.axes().items()
            },
            "scale": [top, bottom],
            "seen": course["step"].round().astype(int).tolist(),
            "ticks": [[str(unit * tick), height(unit * tick)] for tick in ticks],
            "floor": None if self.floor is None else height(self.floor),
        }

    def axes(self) -> dict[str, Callable[[Any], np.ndarray]]:
        """Where steps are along the run, in percent: on a logarithmic axis of steps, on one of seconds."""
        axes = {"steps": lambda steps: 100 * np.log1p(steps) / math.log1p(self.last)}
        course = self.means()
        if len(course["seconds"]) and np.isfinite(course["seconds"]).all():
            steps = [0, *course["step"], self.history[-1].step]
            seconds = [0, *course["seconds"], self.history[-1].seconds]
            axes["seconds"] = lambda at: 100 * np.interp(at, steps, seconds) / self._whole
        return axes

    def ticks(self) -> dict[str, list[list[Any]]]:
        """What is written below the panes, and where: both ends of the axis, and round numbers between."""
        axes = self.axes()
        powers = [10**i for i in range(len(str(self.last)))]
        steps = [
            (step, place)
            for step, place in zip(powers, axes["steps"](powers), strict=True)
            if 15 < place < 82
        ]
        ticks = {
            "steps": [
                ["step 0", 0],
                *([f"{step:,}", place] for step, place in steps),
                [f"{self.last:,}", 100],
            ]
        }
        if "seconds" in axes:
            unit, name = (1, "s") if self._whole < 180 else (60, "min")
            ticks["seconds"] = [
                [f"{share * self._whole / unit:,.0f}{f' {name}' if share else ''}", 100 * share]
                for share in (0, 0.5, 1)
            ]
        return ticks

    @property
    def _whole(self) -> float:
        """The seconds of the whole run; while it is under way, as many as it takes if it goes on so."""
        return self.history[-1].seconds * self.last / self.history[-1].step


def steps_of(log: Mapping[str, Any]) -> list[Step]:
    """The steps of a training log, in which a validation loss of nan was not measured.

    Raises ValueError if it lacks a column.
    """
    names = ("step", "loss", "learning_rate", "gradient_norm", "validation_loss", "tokens")
    if missing := [name for name in names if name not in log]:
        raise ValueError(f"log has no {missing[0]!r}; training_log() has {', '.join(names)}")
    columns = [np.asarray(log[name]).tolist() for name in names]
    columns.append(np.asarray(log["seconds"]).tolist() if "seconds" in log else [None] * len(columns[0]))
    steps = []
    for step, *values, validation_loss, tokens, seconds in zip(*columns, strict=True):
        measured = None if math.isnan(validation_loss) else validation_loss
        seconds = None if seconds is None or math.isnan(seconds) else seconds
        steps.append(Step(int(step), *values, measured, int(tokens), seconds))
    return steps


def _latest(steps: list[Step], step: int) -> Step | None:
    """The last of the steps, which rise, that is not after `step`."""
    at = bisect_right(steps, step, key=lambda one: one.step)
    return steps[at - 1] if at else None
