"""Matrices with names on their sides, position encodings, and text colored token by token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from gptlib.viz.attention_figures import _draw_pattern
from gptlib.viz.checking import Array, Labels, Number, a_number, as_array, as_labels
from gptlib.viz.drawing import (
    ATTENTION,
    DIVERGING,
    FAINT,
    SURPRISE,
    Drawing,
    color_bar,
    ink_on,
    new_axes,
    new_figure,
    readable,
    set_title,
    signed,
    styled,
    ticks_at_cells,
)


@styled
def grid_heatmap(
    matrix: Array,
    row_labels: Labels,
    column_labels: Labels,
    title: str = "",
    row_name: str = "",
    column_name: str = "",
    label: str = "",
    annotate: bool | None = None,
    number: str = "{:.2f}",
    diverging: bool = False,
    masked: Array | None = None,
    largest: Number | None = None,
) -> Drawing:
    """A matrix of numbers as a grid of colors: letter pairs, scores of heads, losses by setting.

    matrix: (row, column).
    row_labels, column_labels: a string for each; a newline or a lone space is made visible.
    row_name, column_name: what rows and columns are, on the axes.
    label: what the numbers are, with their unit, on the color bar.
    annotate: write each number in its cell; by default when there are at most 10 columns and 14 rows.
    number: how a number is written, as for `str.format`.
    diverging: blue below 0, orange above, white at 0; otherwise cividis from 0, or from the smallest when
        that is negative.
    masked: (row, column) booleans, True for cells to leave out; they are gray and hatched.
    largest: the (absolute) value at the end of the colors; by default the largest shown.

    Returns a Drawing with arrays `matrix` (row, column) and `masked` (row, column).

    Raises ValueError for labels not as many as rows and columns, NaN, an empty matrix, largest of 0 or
    less.
    """
    matrix = as_array("matrix", matrix, 2, "(row, column)")
    n_rows, n_columns = matrix.shape
    rows = as_labels("row_labels", row_labels, n_rows, f"a matrix of {n_rows} rows")
    columns = as_labels("column_labels", column_labels, n_columns, f"a matrix of {n_columns} columns")
    hidden = _hidden(masked, matrix.shape)
    annotate = n_columns <= 10 and n_rows <= 14 if annotate is None else annotate
    shown = matrix[~hidden] if not hidden.all() else np.zeros(1)
    norm = _norm(shown, diverging, largest)

    texts = {(i, j): signed(number.format(matrix[i, j])) for i, j in np.argwhere(~hidden)} if annotate else {}
    widest = max([len(text) for text in texts.values()] or [1])
    height = min(0.42 if annotate else 0.3, (5.2 if n_rows <= 30 else 6.2) / n_rows)
    width = min(
        max(0.46, widest * 0.088 + 0.1) if annotate else 0.3, (6.0 if n_columns <= 30 else 6.6) / n_columns
    )
    if not annotate and n_rows > 16 and n_columns > 16:
        height = width = min(height, width)
    figure = new_figure(width * n_columns + 5, height * n_rows + 3.6)
    axes = new_axes(figure, 2.6, 1.8, width * n_columns, height * n_rows)
    image = _draw_pattern(axes, matrix, hidden, norm)
    image.set_cmap(DIVERGING if diverging else ATTENTION)
    ticks_at_cells(
        axes,
        [readable(row, 24, space="␣" if row == " " else " ") for row in rows],
        [readable(column, 24, space="␣" if column == " " else " ") for column in columns],
        height,
        width,
    )
    for (i, j), text in texts.items():
        size = min(9.0, width * 72 / (widest * 0.7), height * 72 * 0.5)
        axes.text(
            j,
            i,
            text,
            ha="center",
            va="center_baseline",
            size=size,
            color=ink_on(image.cmap, float(norm(matrix[i, j]))),
        )
    axes.set_ylabel(row_name, labelpad=8)
    axes.set_xlabel(column_name, labelpad=8)
    set_title(axes, title, max(4.2, width * n_columns + 0.8))
    below, above = shown.min() < norm.vmin - 1e-9, shown.max() > norm.vmax + 1e-9
    color_bar(
        figure,
        axes,
        image,
        label,
        "both" if below and above else "min" if below else "max" if above else "neither",
    )
    return Drawing(figure, {"matrix": matrix, "masked": hidden})


@styled
def position_encodings(
    table: Array,
    title: str = "Each position has a pattern of its own",
    label: str = "value",
    largest: Number | None = None,
) -> Drawing:
    """A table of position vectors: a row for each position, a column for each dimension; blue is below 0.

    table: (position, d_model).
    largest: the absolute value at the ends of the colors; by default the largest in the table.

    Returns a Drawing with the array `table` (position, d_model).

    Raises ValueError for a table that is not two-dimensional, is empty or has NaN.
    """
    table = as_array("table", table, 2, "(position, d_model)")
    return _plain_grid(
        "table", table, _norm(table, True, largest), title, "position", "dimension", label, 5.4, 3.6
    )


@styled
def position_similarity(
    table: Array,
    title: str = "Near positions are alike, far ones are not",
) -> Drawing:
    """How alike any two positions are: the cosine of the angle between their vectors.

    table: (position, d_model), no row of it all zero.

    Returns a Drawing with the array `similarity` (position, position), between -1 and 1.

    Raises as `position_encodings`; also a position whose vector is all zero, which has no
    direction.
    """
    table = as_array("table", table, 2, "(position, d_model)")
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    if lengths.min() == 0:
        raise ValueError(
            f"table is all zero at position {lengths.argmin()}, so its cosine with others does not exist"
        )
    similarity = np.clip((table / lengths) @ (table / lengths).T, -1, 1)
    return _plain_grid(
        "similarity",
        similarity,
        Normalize(-1, 1),
        title,
        "position",
        "position",
        "cosine similarity",
        4.2,
        4.2,
    )


@styled
def text_strip(
    pieces: Labels,
    values: Array,
    label: str = "surprise (nats)",
    title: str = "The darker a token, the less it was expected",
    smallest: Number = 0.0,
    largest: Number | None = None,
) -> Drawing:
    """Text, wrapped, each token on a color that shows its value.

    pieces: the tokens' text; a newline is shown as ↵ and starts a new line.
    values: (token,), one for each piece; pieces without a value are better left out.
    label: what the values are, on the color bar.
    smallest, largest: the values at the ends of the colors; by default 0 and the largest value.

    Returns a Drawing with arrays `values` (token,) and `line` (token,), the line on which each token
    starts.

    Raises ValueError for pieces and values that are not as many, NaN, no pieces.
    """
    values = as_array("values", values, 1, "(token,)")
    pieces = as_labels("pieces", pieces, len(values), f"values of {len(values)} tokens")
    smallest = a_number("smallest", smallest)
    top = a_number("largest", largest) if largest is not None else max(values.max(), smallest + 1e-6)
    if top <= smallest:
        raise ValueError(f"largest is {top}; it needs to be more than smallest = {smallest}")
    norm = Normalize(smallest, top, clip=True)

    size, letters = 9.0, 82
    across = size * 0.602 / 72  # inches of one letter of DejaVu Sans Mono
    down = size * 2.05 / 72  # inches of one line
    chunks, starts = _wrap(
        [readable(piece, space=" ", family="DejaVu Sans Mono") for piece in pieces], letters
    )
    n_lines = max(line for _, line, _, _ in chunks) + 1
    width = across * max(column + len(text) for _, line, column, text in chunks)
    figure = new_figure(letters * across + 3, n_lines * down + 3)
    axes = new_axes(figure, 0.8, 1.2, letters * across, n_lines * down)
    axes.set_xlim(0, letters)
    axes.set_ylim(n_lines, 0)
    axes.axis("off")
    for token, line, column, text in chunks:
        at = float(norm(values[token]))
        axes.add_patch(
            Rectangle(
                (column + 0.06, line + 0.1),
                len(text) - 0.12,
                0.8,
                facecolor=SURPRISE(at),
                edgecolor="#00000014",
                linewidth=0.5,
                clip_on=False,
            )
        )
        # Letter by letter the monospaced font keeps to the grid, so one text for each token is enough.
        axes.text(
            column,
            line + 0.53,
            text,
            family="DejaVu Sans Mono",
            size=size,
            va="center_baseline",
            color=ink_on(SURPRISE, at),
        )
    set_title(axes, title, max(4.2, width))
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    bar = figure.colorbar(
        ScalarMappable(norm, SURPRISE),
        orientation="horizontal",
        extend=extend[bool(values.min() < smallest), bool(values.max() > top)],
        cax=new_axes(figure, 0.8, 1.2 - 0.26, 2.4, 0.1),
    )
    bar.outline.set_edgecolor(FAINT)
    bar.outline.set_linewidth(0.5)
    bar.ax.tick_params(length=2, labelsize=8)
    past_the_arrow = 1.08 if values.max() > top else 1.04
    bar.ax.text(past_the_arrow, 0.5, label, transform=bar.ax.transAxes, size=8.5, va="center_baseline")
    return Drawing(figure, {"values": values, "line": starts})


def _wrap(labels: Sequence[str], letters: int) -> tuple[list[tuple[int, int, int, str]], np.ndarray]:
    """Place labels in lines of `letters`: chunks (token, line, column, text), and each token's first line."""
    chunks, starts, line, column = [], [], 0, 0
    for token, label in enumerate(labels):
        # A token that begins a word moves down whole with it; the rest of a word stays where its beginning
        # is.
        word = label
        for following in labels[token + 1 : token + 12]:
            if following[:1].isspace() or following.endswith("↵"):
                break
            word += following
        begins = label[:1].isspace() or column == 0
        if column and column + len(word if begins and len(word) <= letters else label) > letters:
            line, column = line + 1, 0
        starts.append(line)
        rest = label
        while rest:
            part, rest = rest[: letters - column], rest[letters - column :]
            chunks.append((token, line, column, part))
            column += len(part)
            if rest:
                line, column = line + 1, 0
        if label.endswith("↵"):
            line, column = line + 1, 0
    return chunks, np.array(starts)


def _hidden(masked: Array | None, shape: tuple[int, ...]) -> np.ndarray:
    if masked is None:
        return np.zeros(shape, dtype=bool)
    hidden = np.asarray(masked.detach().cpu() if hasattr(masked, "detach") else masked)
    if hidden.dtype != bool or hidden.shape != shape:
        raise ValueError(
            f"masked is {hidden.dtype} {hidden.shape}; it needs to be boolean, and {shape} as matrix is"
        )
    return hidden


def _norm(shown: np.ndarray, diverging: bool, largest: Number | None) -> Normalize:
    top = a_number("largest", largest) if largest is not None else None
    if top is not None and top <= 0:
        raise ValueError(f"largest is {top}; it needs to be more than 0")
    if diverging:
        top = top or np.abs(shown).max() or 1.0
        return Normalize(-top, top)
    low = min(0.0, shown.min())
    high = shown.max() if top is None else top
    return Normalize(low, high if high > low else low + 1.0)


def _plain_grid(name, table, norm, title, row_name, column_name, label, width, height) -> Drawing:
    """A matrix whose sides are counted, not named."""
    n_rows, n_columns = table.shape
    width, height = min(width, 0.34 * n_columns), min(height, 0.34 * n_rows)
    if row_name == column_name:
        width = height = min(width, height)
    figure = new_figure(width + 3.4, height + 2.4)
    axes = new_axes(figure, 1.2, 1.1, width, height)
    image = axes.imshow(table, cmap=DIVERGING, norm=norm, aspect="auto", interpolation="nearest")
    for axis, inches in ((axes.xaxis, width), (axes.yaxis, height)):
        axis.set_major_locator(MaxNLocator(max(2, int(inches * 2)), integer=True, steps=[1, 2, 4, 5, 10]))
    axes.tick_params(labelsize=8)
    axes.spines[:].set_visible(False)
    axes.set_ylabel(row_name, labelpad=6)
    axes.set_xlabel(column_name, labelpad=6)
    set_title(axes, title, max(4.2, width + 0.8))
    color_bar(figure, axes, image, label)
    return Drawing(figure, {name: table})
