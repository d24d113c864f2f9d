"""Bars: one number for each name, and what a model expects next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from gptlib.viz.checking import Array, Index, Labels, Number, as_array, as_labels, as_marks
from gptlib.viz.drawing import (
    BLUE,
    FAINT,
    HATCH,
    INK,
    MASKED,
    ORANGE,
    SOFT,
    Drawing,
    new_axes,
    new_figure,
    readable,
    set_title,
    signed,
    spread,
    styled,
)


@styled
def bar_chart(
    names: Labels,
    values: Array,
    title: str = "",
    label: str = "",
    highlight: Sequence[str] = (),
    marks: Mapping[str, Number] | None = None,
    number: str = "{:.2f}",
) -> Drawing:
    """Horizontal bars, one for each name, with its number written beside it.

    names: what each bar is.
    values: (n,).
    label: what the values are, with their unit.
    highlight: names drawn in orange.
    marks: name -> value, each a dashed line through the bars (an entropy floor, a chance level).
    number: how a value is written, as for `str.format`.

    Returns a Drawing with arrays `values` (n,) and a scalar under each mark's name.

    Raises ValueError for names and values of different lengths, NaN, no names, a highlight that is not a
    name.
    """
    values = as_array("values", values, 1, "(n,)")
    names = as_labels("names", names, len(values), f"values of {len(values)} numbers")
    for name in highlight:
        if name not in names:
            raise ValueError(f"highlight has {name!r}, which is not one of the names")
    across = as_marks(marks, {"values": values})
    figure, axes = _bars(len(names))
    colors = [ORANGE if name in highlight else BLUE for name in names]
    axes.barh(range(len(names)), values, height=0.68, color=colors)
    edges = [0.0, *values, *(float(value) for value in across.values())]
    low, high = min(edges), max(edges)
    if low == high:  # all are 0
        high = 1.0
    span = high - low
    axes.set_xlim(low - (0.16 * span if low < 0 else 0), high + (0.16 * span if high > 0 else 0))
    for row, value in enumerate(values):
        side = -1 if value < 0 else 1
        axes.text(
            value + side * 0.012 * span,
            row,
            signed(number.format(value)),
            va="center",
            ha="left" if side > 0 else "right",
            size=8.5,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
        )
    if low < 0:
        axes.axvline(0, color=FAINT, linewidth=0.8)
    _mark_bars(axes, across, number)
    _finish_bars(
        axes, [readable(name, 34, space=" ") for name in names], title, label, pad=26 if across else 10
    )
    return Drawing(figure, {"values": values, **across})


@styled
def next_token_bars(
    probabilities: Array,
    pieces: Labels,
    k: Index = 10,
    compare: Array | None = None,
    title: str = "What the model expects next",
    names: tuple[str, str] = ("model", "compared with"),
    highlight: Index | None = None,
) -> Drawing:
    """The `k` likeliest next tokens as bars, with all the others together in the last one.

    probabilities: (vocab,), summing to 1.
    pieces: (vocab,) strings, the text of each token.
    compare: a second distribution (vocab,) over the same tokens, drawn as orange bars beneath.
    names: what the two distributions are, for the legend; used with `compare`.
    highlight: a token (the true next one, say) marked with an arrow, and shown even when it is not among
        the k.

    Returns a Drawing with arrays `tokens` (k,), `probabilities` (k,), `others` (the rest, a scalar), and
    `compare` (k,).

    Raises ValueError for lengths that differ, NaN, negative entries, a sum that is not 1, k less than 1.
    """
    probabilities = _distribution("probabilities", probabilities)
    size = len(probabilities)
    if len(pieces) != size:
        raise ValueError(f"pieces has {len(pieces)} entries but probabilities needs {size}")
    if k < 1:
        raise ValueError(f"k is {k}; it needs to be at least 1")
    if compare is not None:
        compare = _distribution("compare", compare)
        if len(compare) != size:
            raise ValueError(f"compare has {len(compare)} entries but probabilities has {size}")
    shown = np.argsort(-probabilities, kind="stable")[:k]
    if highlight is not None:
        if not 0 <= highlight < size:
            raise IndexError(f"highlight is {highlight}; it needs to be a token from 0 to {size - 1}")
        if highlight not in shown:
            shown = np.append(shown, highlight)
    labels = as_labels("pieces", [pieces[token] for token in shown])
    arrays = {"tokens": shown, "probabilities": probabilities[shown]}
    arrays["others"] = np.array(max(0.0, 1 - probabilities[shown].sum()))
    series = [(probabilities[shown], float(arrays["others"]), BLUE, names[0])]
    if compare is not None:
        arrays["compare"] = compare[shown]
        series.append((compare[shown], max(0.0, 1 - compare[shown].sum()), ORANGE, names[1]))

    rest = size - len(shown)
    figure, axes = _bars(len(shown) + (rest > 0), 0.27 if compare is None else 0.36)
    height = 0.7 / len(series)
    top = max(max(values.max(), others if rest else 0) for values, others, _, _ in series)
    for index, (values, others, color, name) in enumerate(series):
        shift = (index - (len(series) - 1) / 2) * height
        axes.barh(np.arange(len(shown)) + shift, values, height=height * 0.94, color=color, label=name)
        for row, value in enumerate(values):
            _percent(axes, value, row + shift, top)
        if rest:
            axes.barh(
                len(shown) + shift,
                others,
                height=height * 0.94,
                color=MASKED,
                edgecolor=HATCH,
                linewidth=0,
                hatch="/////",
            )
            _percent(axes, others, len(shown) + shift, top)
    axes.set_xlim(0, top * 1.14)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g}%"))
    ticks = [readable(label, 18) for label in labels] + ([f"{rest:,} others"] if rest else [])
    if highlight is not None:
        at = int(np.flatnonzero(shown == highlight)[0])
        ticks[at] = f"▶ {ticks[at]}"
    _finish_bars(axes, ticks, title, "probability", pad=10 if compare is None else 27)
    if compare is not None:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.02, 0.985),
            ncols=2,
            fontsize=8.5,
            handlelength=1.1,
            handleheight=0.9,
        )
    return Drawing(figure, arrays)


def _distribution(name: str, given: Array) -> np.ndarray:
    values = as_array(name, given, 1, "(vocab,)")
    if values.min() < 0:
        raise ValueError(
            f"{name} has {values.min():.4g} at {values.argmin()}; it needs numbers from 0 up: "
            "apply softmax first"
        )
    if abs(values.sum() - 1) > 5e-3:
        raise ValueError(f"{name} sums to {values.sum():.4g}; it needs to sum to 1: apply softmax first")
    return values


def _bars(n: int, each: Number = 0.27) -> tuple[Figure, Axes]:
    figure = new_figure(9, n * each + 2.4)
    axes = new_axes(figure, 2.8, 1, 4.6, n * each)
    axes.set_ylim(n - 0.45, -0.55)
    return figure, axes


def _percent(axes: Axes, value: Number, row: Number, top: Number) -> None:
    text = f"{value * 100:.1f}%" if value >= 0.001 else "0" if value == 0 else "<0.1%"
    axes.text(value + 0.012 * top, row, text, va="center_baseline", size=8, color=SOFT)


def _mark_bars(axes: Axes, marks: Mapping[str, np.ndarray], number: str) -> None:
    if not marks:
        return
    names = list(marks)
    low, high = axes.get_xlim()
    texts = [f"{name} {signed(number.format(float(marks[name])))}" for name in names]
    widest = max(map(len, texts)) * 8.5 * 0.62 / (4.6 * 72)  # of the axes' width
    wanted = [(float(marks[name]) - low) / (high - low) for name in names]
    for name, text, at, place in zip(names, texts, wanted, spread(wanted, widest, 0, 1), strict=True):
        axes.axvline(float(marks[name]), color=INK, linestyle=(0, (4, 2)), linewidth=1.1)
        axes.plot([at, place], [1.0, 1.0], transform=axes.transAxes, color=INK, linewidth=0.8, clip_on=False)
        axes.annotate(
            text,
            (place, 1),
            (0, 4),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            size=8.5,
        )


def _finish_bars(axes: Axes, ticks: list[str], title: str, label: str, pad: Number) -> None:
    axes.set_yticks(range(len(ticks)), ticks, color=INK)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel(label, labelpad=6)
    set_title(axes, title, 5.4, pad=pad)
