"""Scaling laws: how loss falls with parameters and tokens, where the lowest loss is known.

The excess is the loss above the floor, in nats per token. Hoffmann et al. 2022, "Training Compute-Optimal
Large Language Models" (Chinchilla), sections 3.2 and 3.3; there the floor is unknown, and fitted too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gptlib.checks import (
    check_choice,
    check_from_zero,
    check_kind,
    check_positive,
    check_seed,
    check_share,
    check_whole,
    is_number,
)

# Where the search begins: each pair of exponents, with the factors that then fit best.
EXPONENTS = (0.1, 0.25, 0.5, 0.8, 1.2)
LEAST_RUNS = 8  # two for each number that is fitted
ROUNDS = 100  # of Gauss and Newton at most; twenty are the rule


@dataclass(frozen=True)
class Law:
    """excess(N, D) = A / N^alpha + B / D^beta, where training costs `cost` N^`growth` D operations.

    N is the number of parameters, D of training tokens. `floor` is the lowest loss, in nats per token.
    """

    A: float
    alpha: float
    B: float
    beta: float
    floor: float
    cost: float
    growth: float

    def excess(self, parameters: float | int, tokens: float | int) -> float:
        """Loss above the floor, in nats per token. Raises ValueError unless both are above 0."""
        check_positive("parameters", parameters)
        check_positive("tokens", tokens)
        return self.A / parameters**self.alpha + self.B / tokens**self.beta

    def loss(self, parameters: float | int, tokens: float | int) -> float:
        """Loss in nats per token."""
        return self.floor + self.excess(parameters, tokens)

    @property
    def size_exponent(self) -> float:
        """How the best number of parameters grows: as operations to this power."""
        return self.beta / (self.alpha + self.growth * self.beta)

    @property
    def data_exponent(self) -> float:
        """How the best number of tokens grows: as operations to this power."""
        return self.alpha / (self.alpha + self.growth * self.beta)

    @property
    def excess_exponent(self) -> float:
        """How the least excess falls: as operations to minus this power."""
        return self.alpha * self.size_exponent

    def optimum(self, flops: float | int) -> tuple[float, float]:
        """Parameters and tokens with the least excess for so many operations of training.

        Where the slope of the excess along flops = cost N^growth D is zero (Hoffmann et al. 2022, equation 4,
        for operations that need not grow as N itself). Raises ValueError unless flops is above 0.
        """
        check_positive("flops", flops)
        balance = self.alpha * self.A / (self.growth * self.beta * self.B)
        per_cost = flops / self.cost
        parameters = (balance * per_cost**self.beta) ** (1 / (self.alpha + self.growth * self.beta))
        return parameters, per_cost / parameters**self.growth


@dataclass(frozen=True)
class Fit:
    """A fitted law, with those of resampled runs.

    law         the law of all runs
    resampled   laws of as many runs, drawn from them with replacement: how far chance could have led
    known       the floor that was given; None where it was fitted
    residuals   for each run, ln of its excess (of its loss, where no floor was given) minus the law's
    """

    law: Law
    resampled: tuple[Law, ...]
    known: float | None
    residuals: tuple[float, ...]

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Where `level` of the resampled laws have this number, such as "alpha" or "size_exponent".

        Raises ValueError for another name, and unless level is from 0 up to 1.
        """
        exponents = ("size_exponent", "data_exponent", "excess_exponent")
        check_choice("name", name, (*(field.name for field in fields(Law)), *exponents))
        return _interval([getattr(law, name) for law in self.resampled], level)

    def predict(
        self, parameters: float | int, tokens: float | int, level: float = 0.95, seed: int = 0
    ) -> tuple[float, float, float]:
        """The loss of a run that is still to come, and the interval that holds it with chance `level`.

        The interval has both doubts: which law it is, and how far single runs lie from their law.
        Raises ValueError unless parameters and tokens are above 0 and level from 0 up to 1.
        """
        check_seed("seed", seed)
        n_runs, n_fitted = len(self.residuals), 5 if self.known is None else 4
        base = self.known or 0.0
        # A fitted law is nearer to its own runs than to the next.
        widen = math.sqrt(n_runs / (n_runs - n_fitted))
        drawn = np.random.default_rng(seed).integers(n_runs, size=len(self.resampled))
        losses = [
            base + (law.loss(parameters, tokens) - base) * math.exp(widen * self.residuals[index])
            for law, index in zip(self.resampled, drawn, strict=True)
        ]
        return self.law.loss(parameters, tokens), *_interval(losses, level)


def fit_law(
    runs: Sequence[Mapping[str, Any]], floor: float | None, n_resamples: int = 400, seed: int = 0
) -> Fit:
    """The law that fits best the runs' losses: least squares of the logarithm.

    runs: each with "parameters", "tokens", "flops" and "loss" (nats per token).
    floor: the lowest loss that is possible. None: it is unknown and is fitted too, as for natural text.

    Raises ValueError for fewer than 8 runs, a loss that is not above the floor, a number that is not
    positive, or runs that differ in only one of parameters and tokens, or in both alike.
    """
    if floor is not None:
        check_from_zero("floor", floor)
    check_whole("n_resamples", n_resamples)
    check_seed("seed", seed)
    base = 0.0 if floor is None else floor
    parameters, tokens, flops, losses = _columns(runs, base)
    logs = np.log([parameters, tokens])
    _check_spread(logs)
    cost, growth = power_law(parameters, flops / tokens)
    center = logs.mean(axis=1)  # logarithms around 0 keep the equations well-conditioned
    features = _terms(logs - center[:, None], with_floor=floor is None)
    targets = torch.from_numpy(np.log(losses - base))

    starts = _starts(features, targets)
    found, errors = fit_log_sum(features, targets, starts, torch.ones(len(starts), len(runs)).double())
    best = found[errors.argmin()]
    even = np.full(len(runs), 1 / len(runs))
    drawn = np.random.default_rng(seed).multinomial(len(runs), even, size=n_resamples)
    drawn = torch.from_numpy(drawn).double()  # (resample, run): how often each was drawn
    resampled, _ = fit_log_sum(features, targets, best.expand(n_resamples, -1), drawn)

    def law(theta: list[float]) -> Law:
        return Law(
            A=math.exp(theta[0] + theta[1] * center[0]),
            alpha=theta[1],
            B=math.exp(theta[2] + theta[3] * center[1]),
            beta=theta[3],
            floor=math.exp(theta[4]) if floor is None else floor,
            cost=cost,
            growth=growth,
        )

    residuals = targets - (features @ best).logsumexp(dim=1)
    return Fit(law(best.tolist()), tuple(map(law, resampled.tolist())), floor, tuple(residuals.tolist()))


def _terms(logs: Float[np.ndarray, "2 run"], with_floor: bool) -> Float[Tensor, "run term parameter"]:
    """ln A - alpha ln N, ln B - beta ln D and, if it is fitted, ln E, as factors of what is fitted."""
    n_runs = logs.shape[1]
    features = torch.zeros(n_runs, 3, 5, dtype=torch.float64)
    size, data = torch.from_numpy(logs)
    features[:, 0, 0], features[:, 0, 1] = 1, -size
    features[:, 1, 2], features[:, 1, 3] = 1, -data
    features[:, 2, 4] = 1
    return features if with_floor else features[:, :2, :4]


def fit_log_sum(
    features: Float[Tensor, "run term parameter"],
    targets: Float[Tensor, " run"],
    starts: Float[Tensor, "fit parameter"],
    weights: Float[Tensor, "fit run"],
) -> tuple[Float[Tensor, "fit parameter"], Float[Tensor, " fit"]]:
    """Least squares of ln(sum over terms of exp(features · theta)) - targets, many fits at once.

    Returns theta and the weighted squared error of each fit. By steps of Gauss and Newton, damped as
    Levenberg (1944) and Marquardt (1963) do: more after a step that did not help, less after one that did.
    """
    theta = starts.clone()
    damping = torch.full((len(starts),), 1e-2, dtype=theta.dtype)
    error = _squared_error(features, targets, theta, weights)
    for _ in range(ROUNDS):
        logs = torch.einsum("rtp,fp->frt", features, theta)  # ln of each term
        residuals = targets - logs.logsumexp(dim=2)  # (fit, run)
        slopes = torch.einsum("frt,rtp->frp", logs.softmax(dim=2), features)
        downhill = torch.einsum("frp,fr->fp", slopes, weights * residuals)
        curvature = torch.einsum("frp,fr,frq->fpq", slopes, weights, slopes)
        scale = torch.diagonal(curvature, dim1=1, dim2=2) + 1e-9
        damped = curvature + torch.diag_embed(damping[:, None] * scale)
        step = torch.linalg.solve(damped, downhill).clamp(-2, 2)
        tried = _squared_error(features, targets, theta + step, weights)
        better = tried < error
        gained = torch.where(better, error - tried, 0)
        theta = torch.where(better[:, None], theta + step, theta)
        error = torch.where(better, tried, error)
        damping = torch.where(better, damping / 3, damping * 4).clamp(1e-9, 1e9)
        if better.any() and (gained <= 1e-9 * error).all():
            break
    return theta, error


def _squared_error(features: Tensor, targets: Tensor, theta: Tensor, weights: Tensor) -> Tensor:
    predicted = torch.einsum("rtp,fp->frt", features, theta).logsumexp(dim=2)
    return (weights * (targets - predicted).square()).sum(dim=1)


def _starts(
    features: Float[Tensor, "run term parameter"], targets: Float[Tensor, " run"]
) -> Float[Tensor, "fit parameter"]:
    """For each pair of exponents: half of the mean excess from each term (and a floor below all losses)."""
    half = targets.mean().item() - math.log(2)
    floor = [targets.min().item() - 0.1] if features.shape[2] == 5 else []
    starts = [[half, alpha, half, beta, *floor] for alpha in EXPONENTS for beta in EXPONENTS]
    return torch.tensor(starts, dtype=torch.float64)


# ------------------------------------------------------------------------------------- equal operations


@dataclass(frozen=True)
class Parabola:
    """Runs that cost the same, and ln excess = bend (ln N - ln parameters)² + ln excess, fitted to them.

    level        operations of each run
    parameters   the number of parameters at the lowest point
    excess       the excess there
    bend         how fast the excess rises beside it
    """

    level: float
    parameters: float
    excess: float
    bend: float


def isoflop_parabolas(runs: Sequence[Mapping[str, Any]], floor: float) -> list[Parabola]:
    """A parabola through the runs of each "level", from the lowest to the highest.

    Raises ValueError for a level with fewer than 3 sizes, or without a lowest point between the smallest and
    the largest: one beyond them would be a guess. Hoffmann et al. 2022, section 3.2 ("IsoFLOP profiles").
    """
    check_from_zero("floor", floor)
    (levels,) = _numbers(runs, ("level",))
    if not len(levels):
        raise ValueError("runs is empty; it needs those of one level at least")
    parabolas = []
    for level in np.unique(levels).tolist():
        parameters, _, _, losses = _columns([run for run in runs if run["level"] == level], floor, least=3)
        if len(np.unique(parameters)) < 3:
            raise ValueError(f"level {level:.0e} has {len(np.unique(parameters))} sizes; 3 make a parabola")
        center = np.log(parameters).mean()
        bend, slope, start = np.polyfit(np.log(parameters) - center, np.log(losses - floor), 2)
        lowest = center - slope / (2 * bend)
        if bend <= 0 or not np.log(parameters.min()) < lowest < np.log(parameters.max()):
            raise ValueError(
                f"level {level:.0e} has no lowest point between its sizes, {parameters.min():.0f} to "
                f"{parameters.max():.0f} parameters; more sizes on the side where loss falls would do"
            )
        least = math.exp(start - slope**2 / (4 * bend))
        parabolas.append(Parabola(level, math.exp(lowest), least, float(bend)))
    return parabolas


def power_law(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """(factor, exponent) of y = factor * x^exponent: a straight line through the logarithms.

    Raises ValueError unless all are above 0 and finite, x has two different values at least, and y as many.
    """
    x, y = _floats("x", x), _floats("y", y)
    if x.shape != y.shape:
        raise ValueError(f"y has {y.size} numbers; it needs as many as x, {x.size}")
    if not ((x > 0) & (y > 0) & np.isfinite(x) & np.isfinite(y)).all():
        raise ValueError(
            "x and y need to be above 0 and finite: a power law is a line through their logarithms"
        )
    if len(np.unique(x)) < 2:
        raise ValueError(f"x has {len(np.unique(x))} different values; a line needs 2")
    exponent, start = np.polyfit(np.log(x), np.log(y), 1)
    return math.exp(start), float(exponent)


def _columns(
    runs: Sequence[Mapping[str, Any]], floor: float, least: int = LEAST_RUNS
) -> list[Float[np.ndarray, " run"]]:
    """Parameters, tokens, operations and losses of the runs, or what is wrong with them."""
    names = ("parameters", "tokens", "flops", "loss")
    columns = _numbers(runs, names)
    if len(runs) < least:
        raise ValueError(f"runs are {len(runs)}; {least} are needed at least")
    for name, column in zip(names, columns, strict=True):
        wrong = ~(np.isfinite(column) & (column > 0))
        if wrong.any():
            which = int(wrong.argmax())
            raise ValueError(f"{name} of run {which} is {column[which]}; it needs to be a number above 0")
    if columns[3].min() <= floor:
        raise ValueError(
            f"loss of run {int(columns[3].argmin())} is {columns[3].min()}, not above the floor, {floor}; "
            "no model is below it on average: measure both on more of the same text"
        )
    return columns


def _numbers(runs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Float[np.ndarray, " run"]]:
    """These of the runs' numbers, by name; ValueError where a run has none."""
    check_kind("runs", runs, Sequence, 'a list of runs, each with its "loss"')
    for number, run in enumerate(runs):
        for name in names:
            if not isinstance(run, Mapping) or not is_number(run.get(name)):
                raise ValueError(f"run {number} of runs is {run!r}; it needs a number {name!r}")
    return [np.array([run[name] for run in runs], dtype=float) for name in names]


def _floats(name: str, values: object) -> Float[np.ndarray, " n"]:
    try:
        return np.asarray(values, dtype=float).reshape(-1)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {values!r}; it needs numbers") from None


def _check_spread(logs: Float[np.ndarray, "2 run"]) -> None:
    for name, values in zip(("parameters", "tokens"), logs, strict=True):
        if np.ptp(values) < 1e-6:
            raise ValueError(f"all runs have the same number of {name}; what it does cannot be seen")
    if abs(np.corrcoef(logs)[0, 1]) > 1 - 1e-6:
        raise ValueError(
            "parameters and tokens go together in all runs; which of the two lowers the loss cannot be seen: "
            "runs with the same of one and more of the other would do"
        )


def _interval(values: list[float], level: float) -> tuple[float, float]:
    check_share("level", level)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
