"""Charts: losses against their floor, and named lines."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, ScalarFormatter

from gptlib.viz.checking import Array, Index, Number, a_number, as_array, as_marks
from gptlib.viz.drawing import (
    DASHES,
    FAINT,
    HATCH,
    INK,
    MASKED,
    PALETTE,
    SOFT,
    Drawing,
    new_axes,
    new_figure,
    set_title,
    spread,
    styled,
)

WIDTH = 5.6  # inches of a chart's axes


@styled
def loss_curves(
    curves: Mapping[str, Array],
    floor: Number | None = None,
    marks: Mapping[str, Number] | None = None,
    title: str = "The loss falls toward the entropy floor",
    x_label: str = "training step",
    y_label: str = "loss (nats per token)",
    log_x: bool = False,
    smooth: Index = 1,
) -> Drawing:
    """Losses along training, with the lowest loss that is possible and with the losses of other models.

    curves: name -> (steps, losses), both (n,).
    floor: the entropy floor: no model is below it on average. A dashed line, hatched beneath.
    marks: name -> loss of a baseline, each a dotted line.
    smooth: draw the mean of so many neighboring losses, half of them to each side, over the faint raw curve;
        1 draws the raw curve. A curve that is measured more rarely than another, such as a validation loss,
        is drawn as it is.

    Returns a Drawing with an array (2, n) of steps and losses under each curve's name, as given and not
    smoothed, and a scalar under each mark's name and "floor".

    Raises ValueError for no curves, steps and losses of different lengths, NaN, or a name used twice.
    """
    curves = _curves("curves", curves)
    lines, marks = as_marks(marks, curves), dict(marks or {})
    if smooth < 1:
        raise ValueError(f"smooth is {smooth}; it needs to be at least 1")
    if floor is not None:
        floor = a_number("floor", floor)
        if "floor" in curves or "floor" in marks:
            raise ValueError('"floor" names the entropy floor; call that curve or mark something else')
        lines = {**lines, "floor": np.array(floor)}
    values = np.concatenate(
        [curve[1] for curve in curves.values()] + [np.atleast_1d(value) for value in lines.values()]
    )
    low, high = values.min(), values.max()
    margin = 0.06 * (high - low or 1.0)

    figure, axes = _chart(len(curves) + len(lines), log_x, False)
    axes.set_ylim(low - (2 * margin if floor is not None else margin), high + margin)
    _set_x(axes, curves, log_x)
    labels = _draw_curves(axes, curves, smooth)
    for name, value in lines.items():
        if name == "floor":
            bottom = axes.get_ylim()[0]
            axes.axhspan(
                bottom, floor, facecolor=MASKED, edgecolor=HATCH, hatch="/////", linewidth=0, zorder=0.5
            )
            axes.axhline(floor, color=INK, linestyle=(0, (5, 2)), linewidth=1.3)
            labels.append((floor, f"entropy floor {floor:.2f}", INK, "bold"))
        else:
            axes.axhline(value, color=FAINT, linestyle=(0, (1, 1.8)), linewidth=1.2, zorder=1)
            labels.append((float(value), f"{name} {float(value):.2f}", SOFT, "normal"))
    _label_right(axes, labels)
    _finish(axes, title, x_label, y_label)
    return Drawing(figure, {**curves, **lines})


@styled
def line_chart(
    lines: Mapping[str, Array],
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    log_x: bool = False,
    log_y: bool = False,
    marks: Mapping[str, Number] | None = None,
    errors: Mapping[str, Array] | None = None,
) -> Drawing:
    """Several named lines, each labeled at its end; points are marked when they are few.

    lines: name -> (x, y), both (n,).
    log_x, log_y: a logarithmic axis; every value must then be more than 0.
    marks: name -> value of y, each a dotted line across.
    errors: name -> (n,), how far a bar at each point of that line reaches up and down: a standard error, say.

    Returns a Drawing with an array (2, n) of x and y under each line's name, a scalar under each mark's name,
    and an array (n,) under the name of each line with errors and " error".

    Raises ValueError for no lines, x and y of different lengths, NaN, values a logarithmic axis cannot
    show, a name used twice, errors of a line that is not there or below 0.
    """
    lines = _curves("lines", lines)
    across, bars = as_marks(marks, lines), _errors(errors or {}, lines)
    values = np.concatenate(
        [line[1] for line in lines.values()]
        + [lines[name][1] + sign * bar for name, bar in bars.items() for sign in (-1, 1)]
        + [np.atleast_1d(value) for value in across.values()]
    )
    if log_y and values.min() <= 0:
        raise ValueError(f"log_y needs values above 0, and {values.min():g} is not: log_y=False would do")
    figure, axes = _chart(len(lines) + len(across), log_x, log_y)
    low, high = values.min(), values.max()
    if log_y:
        factor = (high / low) ** 0.06 if high > low else 2.0
        axes.set_ylim(low / factor, high * factor)
    else:
        margin = 0.06 * (high - low or 1.0)
        axes.set_ylim(low - margin, high + margin)
    _set_x(axes, lines, log_x)
    labels = _draw_curves(axes, lines, 1)
    for (_, _, color, _), (name, (x, y)) in zip(labels, lines.items(), strict=True):
        if name in bars:
            style = {"ecolor": color, "elinewidth": 1.1, "capsize": 3, "zorder": 2.5}
            _, caps, (bar,) = axes.errorbar(x, y, bars[name], fmt="none", **style)
            for part in (*caps, bar):  # the first and the last stand on the frame
                part.set_clip_on(False)
    for name, value in across.items():
        axes.axhline(value, color=FAINT, linestyle=(0, (1, 1.8)), linewidth=1.2, zorder=1)
        labels.append((float(value), f"{name} {_plain(float(value))}", SOFT, "normal"))
    _label_right(axes, labels)
    _finish(axes, title, x_label, y_label)
    return Drawing(figure, {**lines, **across, **{f"{name} error": bar for name, bar in bars.items()}})


@styled
def scatter(
    points: Mapping[str, Array],
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    diagonal: str | None = None,
    curves: Mapping[str, Array] | None = None,
    log: bool = False,
) -> Drawing:
    """Points in the plane, a color and a mark for each name.

    points: name -> (x, y), both (n,).
    diagonal: what the line y = x means; it is drawn, dashed, if this is given, and both axes are alike.
    curves: name -> (x, y), a line through or beside the points, in the color of the points of that name.
    log: whether both axes are logarithmic; every value must then be more than 0.

    Returns a Drawing with an array (2, n) of x and y under each name of points; that of a curve is under
    its name and " curve".

    Raises ValueError for no points, x and y of different lengths, NaN, values a logarithmic axis cannot
    show.
    """
    points = _curves("points", points)
    curves = _curves("curves", curves) if curves else {}
    figure, axes = _chart(len(points), log, log)
    axes.grid(axis="x")
    together = np.concatenate([*points.values(), *curves.values()], axis=1)  # (2, all points)
    if log and together.min() <= 0:
        raise ValueError(f"log needs values above 0, and {together.min():g} is not: log=False would do")
    low, high = together.min(axis=1), together.max(axis=1)
    if diagonal is not None:
        low, high = np.full(2, low.min()), np.full(2, high.max())
    if log:
        margin = np.where(high > low, (high / low) ** 0.04, 1.5)
        low, high = low / margin, high * margin
    else:
        margin = np.where(high > low, 0.04 * (high - low), 0.5)
        low, high = low - margin, high + margin
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    if diagonal is not None:
        ends = (low[0], high[0])
        axes.plot(ends, ends, color=INK, linestyle=(0, (5, 2)), linewidth=1.1, zorder=1, label=diagonal)
    for index, (name, (x, y)) in enumerate(points.items()):
        color = PALETTE[index % len(PALETTE)]
        mark = "osD^vP"[index % 6]
        axes.scatter(x, y, s=16, color=color, marker=mark, alpha=0.45, linewidths=0, zorder=3, label=name)
    for index, (name, (x, y)) in enumerate(curves.items()):
        place = list(points).index(name) if name in points else index
        color = PALETTE[place % len(PALETTE)] if name in points else INK
        style = {"color": color, "linewidth": 1.3, "zorder": 2}
        axes.plot(x, y, **style, linestyle=DASHES[name not in points], label=None if name in points else name)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=8.5, handletextpad=0.4)
    _finish(axes, title, x_label, y_label)
    return Drawing(figure, points | {f"{name} curve": curve for name, curve in curves.items()})


# --- what the charts share ------------------------------------------------------------------------------


def _curves(argument: str, curves: Mapping[str, Array]) -> dict[str, np.ndarray]:
    if not isinstance(curves, Mapping):
        raise TypeError(
            f"{argument} is a {type(curves).__name__}; it needs to be a dictionary of name -> (x, y)"
        )
    if not curves:
        raise ValueError(f"{argument} is empty; it needs at least one name -> (x, y)")
    stacked = {}
    for name, pair in curves.items():
        if len(pair) != 2:
            raise ValueError(f"{argument}[{name!r}] has {len(pair)} entries; it needs to be a pair (x, y)")
        x, y = (as_array(f"{argument}[{name!r}]", part, 1, "(n,)") for part in pair)
        if len(x) != len(y):
            raise ValueError(
                f"{argument}[{name!r}] has {len(x)} values of x and {len(y)} of y; it needs as many of each"
            )
        stacked[name] = np.stack([x, y])
    return stacked


def _errors(errors: Mapping[str, Array], lines: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    bars = {}
    for name, given in errors.items():
        if name not in lines:
            raise ValueError(f"errors has {name!r}, which is not one of the lines")
        bars[name] = as_array(f"errors[{name!r}]", given, 1, "(n,)")
        n = lines[name].shape[1]
        if len(bars[name]) != n or bars[name].min() < 0:
            raise ValueError(
                f"errors[{name!r}] has {len(bars[name])} values, the lowest {bars[name].min():g}; "
                f"it needs {n}, none below 0"
            )
    return bars


class PlainFormatter(ScalarFormatter):
    """Ticks with equal decimals, thousands apart, and no offset or power of ten at the axis's end."""

    def __init__(self) -> None:
        super().__init__(useOffset=False, useMathText=False)
        self.set_scientific(False)

    def __call__(self, x: Number, pos: int | None = None) -> str:
        return f"{x:,.0f}" if abs(x) >= 1000 else super().__call__(x, pos)


def _plain(value: Number, _: object = None) -> str:
    """A number as a person writes it: 0.01, 12.5, 1,000, 3 million."""
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _chart(n_labels: int, log_x: bool, log_y: bool) -> tuple[Figure, Axes]:
    height = max(3.3, 0.2 * n_labels + 0.3)
    figure = new_figure(WIDTH + 4, height + 2)
    axes = new_axes(figure, 1, 1, WIDTH, height)
    if log_x:
        axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log")
    for axis, logarithmic in ((axes.xaxis, log_x), (axes.yaxis, log_y)):
        if logarithmic:
            axis.set_major_formatter(FuncFormatter(_plain))
            axis.set_minor_formatter(NullFormatter())
        else:
            axis.set_major_formatter(PlainFormatter())
    axes.grid(axis="y")
    return figure, axes


def _set_x(axes: Axes, curves: Mapping[str, np.ndarray], log_x: bool) -> None:
    x = np.concatenate([curve[0] for curve in curves.values()])
    if log_x and x.min() <= 0:
        raise ValueError(
            f"log_x needs x above 0, and {x.min():g} is not: log_x=False would do, or leave that point out"
        )
    low, high = x.min(), x.max()
    if low == high:
        low, high = (low / 2, high * 2) if log_x else (low - 0.5, high + 0.5)
    axes.set_xlim(low, high)


def _draw_curves(
    axes: Axes, curves: Mapping[str, np.ndarray], smooth: Index
) -> list[tuple[Number, str, str, str]]:
    labels = []
    spacings = {name: np.ptp(x) / max(1, len(x) - 1) for name, (x, _) in curves.items()}
    for index, (name, (x, y)) in enumerate(curves.items()):
        color, dash = PALETTE[index % len(PALETTE)], DASHES[index // len(PALETTE) % len(DASHES)]
        densest = spacings[name] <= 2 * min(spacings.values())
        if smooth > 1 and densest and len(y) >= 4 * smooth:
            axes.plot(x, y, color=color, linewidth=0.8, alpha=0.3, zorder=2)
            y = _smoothed(y, smooth)
        few = len(x) <= 25
        marker = "osD^vP"[index % 6] if few else None
        axes.plot(
            x,
            y,
            color=color,
            linestyle=dash,
            marker=marker,
            markersize=4.5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            zorder=3,
            clip_on=not few,
        )
        labels.append((float(y[-1]), name, color, "bold"))
    return labels


def _smoothed(values: np.ndarray, window: Index) -> np.ndarray:
    """The mean of the window around each value, or of what there is of it near an end."""
    kernel = np.ones(window)
    start = (window - 1) // 2
    sums, counts = (np.convolve(each, kernel)[start:] for each in (values, np.ones_like(values)))
    return (sums / counts)[: len(values)]


def _label_right(axes: Axes, labels: list[tuple[Number, str, str, str]]) -> None:
    """Write each label beside the right edge at its own height, moved apart where they would overlap."""
    height = axes.get_position().height * axes.figure.get_size_inches()[1] * 72  # points
    to_axes = axes.transData + axes.transAxes.inverted()
    x = axes.get_xlim()[1]
    heights = [to_axes.transform((x, value))[1] for value, *_ in labels]
    for at, place, (_, text, color, weight) in zip(
        heights, spread(heights, 13.5 / height, 0.0, 1.0), labels, strict=True
    ):
        axes.plot(
            [1.008, 1.035],
            [at, place],
            transform=axes.transAxes,
            color=color,
            linewidth=0.8,
            alpha=0.7,
            clip_on=False,
        )
        axes.text(
            1.042,
            place,
            text,
            transform=axes.transAxes,
            color=color,
            weight=weight,
            size=8.5,
            va="center_baseline",
        )


def _finish(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label, labelpad=6)
    axes.set_ylabel(y_label, labelpad=6)
    set_title(axes, title, WIDTH + 1)
