"""Pairs of numbers as hands on a circle: the clocks of sinusoidal and rotary positions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Arc, Circle, FancyArrowPatch

from gptlib.viz.checking import Array, as_array
from gptlib.viz.drawing import (
    DASHES,
    FAINT,
    INK,
    PALETTE,
    RULE,
    SOFT,
    Drawing,
    new_axes,
    new_figure,
    set_title,
    styled,
)

SIDE, GAP, PER_ROW = 1.75, 0.35, 4  # inches of a circle's axes and between them; circles in a row


@styled
def turning_hands(
    circles: Mapping[str, Mapping[str, Array]],
    title: str = "",
    angles: bool = False,
) -> Drawing:
    """Circles side by side, each with hands: pairs of numbers drawn as arrows from the center.

    circles: name of the circle -> name of the hand -> (x, y). A hand that several circles have keeps its
        color.
    angles: write the angle between the first two hands of each circle, in whole degrees.

    Returns a Drawing with an array (hand, 2) under each circle's name.

    Raises ValueError for no circles, a circle without hands, a hand that is not two numbers, one that is
    (0, 0) and points nowhere, or angles where a circle has fewer than two hands.
    """
    arrays = _hands(circles, 2 if angles else 1)
    names = list(dict.fromkeys(name for hands in circles.values() for name in hands))
    radius = max(np.linalg.norm(hands, axis=1).max() for hands in arrays.values())
    n_rows, n_columns = -(-len(arrays) // PER_ROW), min(len(arrays), PER_ROW)
    width, height = n_columns * (SIDE + GAP) - GAP, n_rows * (SIDE + 0.45)
    figure = new_figure(width + 2.6, height + 1.6)
    for index, (circle, hands) in enumerate(arrays.items()):
        row, column = divmod(index, PER_ROW)
        bottom = 0.6 + (n_rows - 1 - row) * (SIDE + 0.45)
        axes = new_axes(figure, 0.4 + column * (SIDE + GAP), bottom, SIDE, SIDE)
        _draw_circle(axes, radius)
        for name, hand in zip(circles[circle], hands, strict=True):
            axes.add_patch(_arrow(hand, names.index(name)))
        below = _draw_angle(axes, hands[:2], radius) if angles else ""
        axes.set_xlabel(f"{circle}\n{below}" if below else circle, color=INK, labelpad=4)
        if index == 0:
            set_title(axes, title, max(4.2, width))
    keys = [
        Line2D([], [], color=PALETTE[place % len(PALETTE)], linestyle=_dash(place), label=name)
        for place, name in enumerate(names)
    ]
    across, up = figure.get_size_inches()
    figure.legend(
        handles=keys,
        loc="upper left",
        bbox_to_anchor=((0.5 + width) / across, (0.6 + height - 0.45) / up),
        frameon=False,
        fontsize=8.5,
    )
    return Drawing(figure, arrays)


def _hands(circles: Mapping[str, Mapping[str, Array]], fewest: int) -> dict[str, np.ndarray]:
    if not circles:
        raise ValueError("circles is empty; it needs at least one name -> hands")
    arrays = {}
    for circle, hands in circles.items():
        if len(hands) < fewest:
            raise ValueError(f"circles[{circle!r}] has {len(hands)} hands; it needs at least {fewest}")
        pairs = []
        for name, hand in hands.items():
            pair = as_array(f"circles[{circle!r}][{name!r}]", hand, 1, "(2,)")
            if len(pair) != 2 or not pair.any():
                raise ValueError(
                    f"circles[{circle!r}][{name!r}] is {pair.tolist()}; it needs (x, y), not both of them 0"
                )
            pairs.append(pair)
        arrays[circle] = np.stack(pairs)
    return arrays


def _draw_circle(axes: Axes, radius: float) -> None:
    axes.set_xlim(-1.12 * radius, 1.12 * radius)
    axes.set_ylim(-1.12 * radius, 1.12 * radius)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.add_patch(Circle((0, 0), radius, facecolor="none", edgecolor=FAINT, linewidth=1.0))
    for angle in np.arange(0, 2 * np.pi, np.pi / 6):  # where a clock has its hours
        edge = radius * np.array([np.cos(angle), np.sin(angle)])
        axes.plot(*np.stack([0.94 * edge, edge], axis=1), color=RULE, linewidth=1.0)


def _dash(place: int) -> str | tuple:
    return DASHES[place % len(DASHES)]


def _arrow(hand: np.ndarray, place: int) -> FancyArrowPatch:
    return FancyArrowPatch(
        (0, 0),
        tuple(hand),
        arrowstyle="-|>",
        mutation_scale=11,
        shrinkA=0,
        shrinkB=0,
        color=PALETTE[place % len(PALETTE)],
        linestyle=_dash(place),
        linewidth=1.8,
        zorder=3,
    )


def _draw_angle(axes: Axes, hands: np.ndarray, radius: float) -> str:
    """An arc from one hand to the other, the short way round, and its angle in words."""
    one, other = np.degrees(np.arctan2(hands[:, 1], hands[:, 0]))
    turn = (other - one + 180) % 360 - 180  # from -180 to 180
    start, stop = (one, one + turn) if turn > 0 else (one + turn, one)
    arc = Arc((0, 0), 0.6 * radius, 0.6 * radius, theta1=start, theta2=stop, color=SOFT, linewidth=1.2)
    axes.add_patch(arc)
    return f"{abs(turn):.0f}° between them"
