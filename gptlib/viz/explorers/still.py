"""A still picture of the attention explorer: all heads as one image, and the chosen one with its tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.colors import Colormap, Normalize
from matplotlib.patches import Rectangle

from gptlib.viz.drawing import (
    ATTENTION,
    DIVERGING,
    INK,
    ORANGE,
    SOFT,
    Drawing,
    color_bar,
    every,
    hatch_cells,
    new_axes,
    new_figure,
    readable,
    set_title,
    styled,
    ticks_at_cells,
)

SIDE, LABEL = 4.0, 12  # inches of each of the two pictures; characters of a token's label


@styled
def attention_still(
    small: Float[np.ndarray, "head small_query small_key"],
    places: Sequence[tuple[int, int]],
    row_names: Sequence[str],
    chosen: int,
    matrix: Float[np.ndarray, "query key"],
    tokens: Sequence[str],
    keys: Sequence[str],
    largest: float,
    causal: bool,
    signed: bool,
    title: str,
) -> Drawing:
    """All heads in a grid, (row, column) each as `places` says, and beside it the matrix of the chosen one.

    Numbers may be masked as -infinity; in a causal picture what is above the diagonal is masked too.

    Returns a Drawing with arrays `heads` (head, small_query, small_key) and `chosen` (query, key).
    """
    color_map = DIVERGING if signed else ATTENTION
    n_rows, n_columns = (1 + max(place[axis] for place in places) for axis in (0, 1))
    rows, columns = small.shape[1:]
    gap = max(1, round(0.06 * max(rows, columns)))
    step_y, step_x = rows + gap, columns + gap
    grid = np.full((n_rows * step_y - gap, n_columns * step_x - gap, 4), 255, dtype=np.uint8)
    for head, (row, column) in zip(small, places, strict=True):
        top, left = row * step_y, column * step_x
        grid[top : top + rows, left : left + columns] = _painted(head, largest, causal, color_map)
    inch = min(SIDE / n_columns, SIDE / n_rows)
    wide, high = n_columns * inch, n_rows * inch
    figure = new_figure(wide + 1.9 + SIDE + 2.6, max(high, SIDE) + 2.2)
    bottom = 1.4 + max(0.0, SIDE - high)
    overview = new_axes(figure, 0.9, bottom, wide, high)
    overview.imshow(grid, interpolation="nearest", aspect="auto")
    overview.spines[:].set_visible(False)
    overview.tick_params(length=0)
    overview.xaxis.tick_top()
    across, down = every(n_columns, wide, 14), every(n_rows, high, 10)
    overview.set_xticks(
        [n * step_x + columns / 2 for n in range(0, n_columns, across)], range(0, n_columns, across)
    )
    overview.set_yticks([n * step_y + rows / 2 for n in range(0, n_rows, down)], row_names[:n_rows:down])
    overview.set_xlabel("head (in each picture a row is a query, a column a key)", size=8.5, color=SOFT)
    row, column = places[chosen]
    frame = Rectangle(
        (column * step_x - 0.5, row * step_y - 0.5),
        columns,
        rows,
        fill=False,
        edgecolor=ORANGE,
        linewidth=2.4,
        clip_on=False,
    )
    overview.add_patch(frame)
    set_title(overview, "Every head of every layer", max(wide, 3.0), pad=12)

    hidden = _hidden(matrix, causal)
    cell = SIDE / max(matrix.shape)
    axes = new_axes(figure, 0.9 + wide + 1.9, 1.4, cell * matrix.shape[1], cell * matrix.shape[0])
    norm = Normalize(-1 if signed else 0, 1)
    image = axes.imshow(
        np.ma.array(_root(matrix, largest), mask=hidden),
        cmap=color_map,
        norm=norm,
        interpolation="nearest",
        aspect="auto",
    )
    hatch_cells(axes, hidden)
    axes.spines[:].set_visible(False)
    ticks_at_cells(axes, [readable(t, LABEL) for t in tokens], [readable(k, LABEL) for k in keys], cell, cell)
    axes.set_ylabel("query", color=INK)
    axes.set_xlabel("key", color=INK)
    set_title(axes, title, SIDE)
    shares = np.array([-1, -0.25, 0, 0.25, 1] if signed else [0, 0.05, 0.25, 0.5, 1])
    color_bar(figure, axes, image, "square-root scale", ticks=np.sign(shares) * np.sqrt(np.abs(shares)))
    figure.axes[-1].set_yticklabels([f"{share * largest:.2g}" for share in shares])
    return Drawing(figure, {"heads": small, "chosen": matrix})


def _root(x: Float[np.ndarray, "*shape"], largest: float) -> Float[np.ndarray, "*shape"]:
    share = np.nan_to_num(x, neginf=0.0) / largest
    return np.sign(share) * np.sqrt(np.abs(share))


def _hidden(x: Float[np.ndarray, "query key"], causal: bool) -> np.ndarray:
    above = np.triu(np.ones(x.shape, dtype=bool), 1)
    return (above if causal else np.zeros_like(above)) | np.isneginf(x)


def _painted(head: np.ndarray, largest: float, causal: bool, color_map: Colormap) -> np.ndarray:
    """The head in colors, gray where it is masked."""
    root = _root(head, largest)
    shades = color_map(root if color_map is ATTENTION else (root + 1) / 2, bytes=True)
    shades[_hidden(head, causal)] = (225, 228, 232, 255)
    return shades
