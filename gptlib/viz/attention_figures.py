"""Pictures of attention: one head, all heads of all layers, and heads as training goes on.

In all of them a row is a query (the token that looks), a column is a key (a token that is looked at), bright
is a large weight, and gray hatched cells are masked: they cannot be attended to, which is not a weight of 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.patches import Rectangle

from gptlib.viz.checking import (
    Array,
    Index,
    Labels,
    Number,
    a_number,
    as_array,
    as_labels,
    as_masked,
    as_weights,
)
from gptlib.viz.drawing import (
    ATTENTION,
    INK,
    ORANGE,
    SOFT,
    Drawing,
    color_bar,
    hatch_cells,
    ink_on,
    new_axes,
    new_figure,
    readable,
    set_title,
    styled,
    ticks_at_cells,
)

LABEL_LENGTH = 14  # characters of a token's label on an axis


@styled
def attention_heatmap(
    weights: Array,
    tokens: Labels,
    key_tokens: Labels | None = None,
    title: str = "Each row shows where one token looks",
    masked: str | Array | None = "causal",
    annotate: bool | None = None,
    highlight: Iterable[tuple[Index, Index]] = (),
    largest: Number | None = None,
    normalized: bool = True,
) -> Drawing:
    """One head's attention pattern as a heatmap.

    weights: (query, key), each row summing to 1.
    tokens: the queries' pieces of text, and the keys' too unless `key_tokens` gives those.
    masked: "causal" (queries are the last of the keys), None, or a (query, key) array, True where masked:
        the opposite of the `mask` that `attend` takes, so pass `~mask`.
    annotate: write each weight in its cell; by default up to 10 keys.
    highlight: (query, key) cells to outline.
    largest: the weight drawn brightest; by default 1 up to 16 keys, else near the largest of most cells.
    normalized: set False to draw rows that do not sum to 1.

    Returns a Drawing with arrays `weights` (query, key) and `masked` (query, key).

    Raises ValueError for shapes that do not fit, NaN, negative weights, weights in masked cells, rows
    that do not sum to 1.
    """
    weights = as_array("weights", weights, 2, "(query, key)")
    n_queries, n_keys = weights.shape
    tokens = as_labels("tokens", tokens, n_queries, f"weights of {n_queries} queries")
    if key_tokens is None and n_keys != n_queries:
        raise ValueError(
            f"key_tokens is None; it needs labels, since weights are {n_queries} queries by {n_keys} keys"
        )
    keys = (
        tokens
        if key_tokens is None
        else as_labels("key_tokens", key_tokens, n_keys, f"weights of {n_keys} keys")
    )
    hidden = as_masked(masked, n_queries, n_keys)
    as_weights("weights", weights, 2, "(query, key)", hidden, normalized)
    annotate = n_keys <= 10 if annotate is None else annotate

    height, width = _cell(n_queries, annotate), _cell(n_keys, annotate)
    height = width = min(height, width)
    figure = new_figure(width * n_keys + 4, height * n_queries + 3)
    axes = new_axes(figure, 1.6, 1.6, width * n_keys, height * n_queries)
    top, extend = _brightest(weights, hidden, largest)
    image = _draw_pattern(axes, weights, hidden, Normalize(0, top))
    ticks_at_cells(
        axes,
        [readable(token, LABEL_LENGTH) for token in tokens],
        [readable(token, LABEL_LENGTH) for token in keys],
        height,
        width,
    )
    axes.set_ylabel("query", labelpad=8)
    axes.set_xlabel("key", labelpad=8)
    if annotate:
        size = min(9.0, width * 72 * 0.3)
        for row, column in np.argwhere(~hidden):
            weight = weights[row, column]
            axes.text(
                column,
                row,
                f"{weight:.2f}",
                ha="center",
                va="center",
                size=size,
                color=ink_on(ATTENTION, weight / top),
            )
    for row, column in highlight:
        _outline(axes, row, column, n_queries, n_keys)
    set_title(axes, title, max(4.2, width * n_keys + 0.8))
    color_bar(figure, axes, image, "attention weight", extend)
    return Drawing(figure, {"weights": weights, "masked": hidden})


@styled
def attention_montage(
    attention: Array,
    tokens: Labels,
    title: str = "Every head of every layer: compare what they look for",
    masked: str | Array | None = "causal",
    highlight: Iterable[tuple[Index, Index]] = (),
    normalized: bool = True,
    copying: Array | None = None,
) -> Drawing:
    """All heads of all layers as one picture: a row of panels for each layer, a column for each head.

    Colors follow the square root of the weight, so that the faint patterns of diffuse heads are seen too.

    attention: (layer, head, query, key), as `run.attention[:, 0]` of a trace.
    tokens: the pieces of text, one for each query and key; written below the picture.
    masked: as for `attention_heatmap`.
    highlight: (layer, head) panels to outline.
    copying: the copy heads' weights, (head, query, key), as `run["copying.weights"][0]`, of a model that has
        any: one more row, which counts as a layer.

    Returns a Drawing with arrays `attention` (layer, head, query, key) and `masked` (query, key), and with
    `copying` (head, query, key) where that is given.

    Raises as `attention_heatmap`.
    """
    attention = as_array("attention", attention, 4, "(layer, head, query, key)")
    n_layers, n_heads, n_queries, n_keys = attention.shape
    tokens = as_labels("tokens", tokens, n_keys, f"attention over {n_keys} keys")
    hidden = as_masked(masked, n_queries, n_keys)
    as_weights("attention", attention, 4, "(layer, head, query, key)", hidden, normalized)
    panels, arrays = list(attention), {"attention": attention, "masked": hidden}
    rows = [f"layer {layer}" for layer in range(n_layers)]
    if copying is not None:
        copying = as_array("copying", copying, 3, "(head, query, key)")
        if copying.shape[1:] != hidden.shape:
            raise ValueError(
                f"copying has shape {copying.shape}; beside attention it needs (head, {n_queries}, {n_keys})"
            )
        as_weights("copying", copying, 3, "(head, query, key)", hidden, normalized)
        panels, rows, arrays = [*panels, copying], [*rows, "copy"], {**arrays, "copying": copying}
    for layer, head in highlight:
        if not (0 <= layer < len(panels) and 0 <= head < len(panels[layer])):
            copies = "" if copying is None else f" and {len(copying)} copy heads as layer {n_layers}"
            raise IndexError(
                f"highlight names layer {layer}, head {head}, of {n_layers} layers with {n_heads} heads"
                f"{copies}"
            )
    widest = max(map(len, panels))
    columns = [f"head {head}" if widest <= 6 or head == 0 else f"{head}" for head in range(widest)]
    figure, axes = _mosaic(panels, hidden, rows, columns, title, tokens)
    for layer, head in highlight:
        _frame_panel(axes, layer, head, n_queries, n_keys)
    return Drawing(figure, arrays)


@styled
def attention_over_training(
    patterns: Iterable[Sequence],
    tokens: Labels,
    title: str = "Attention takes shape as training goes on",
    masked: str | Array | None = "causal",
    normalized: bool = True,
) -> Drawing:
    """Attention patterns along training, a panel for each step.

    patterns: (step, weights) pairs with steps that rise. Weights are (query, key), one head, and the
        panels fill rows of at most six; or (head, query, key), with rows for heads and columns for steps.
    tokens: the pieces of text, one for each query and key; written below the picture.
    masked: as for `attention_heatmap`.

    Returns a Drawing with arrays `steps` (step,), `weights` (step, …) and `masked` (query, key).

    Raises as `attention_heatmap`; also steps that do not rise, or patterns of different
    shapes.
    """
    patterns = list(patterns)
    if not patterns:
        raise ValueError("patterns is empty; it needs at least one (step, weights) pair")
    if any(len(pair) != 2 for pair in patterns):
        raise ValueError("patterns holds something else than (step, weights) pairs, which it needs")
    steps = [a_number("step in patterns", step) for step, _ in patterns]
    if any(later <= earlier for earlier, later in zip(steps, steps[1:], strict=False)):
        raise ValueError(f"patterns has the steps {steps}; they need to rise, in the order of training")
    shape = "(query, key) or (head, query, key)"
    drawn = [
        as_array(f"weights at step {step:g}", weights, (2, 3), shape)
        for step, (_, weights) in zip(steps, patterns, strict=True)
    ]
    if len({weights.shape for weights in drawn}) > 1:
        raise ValueError(
            f"weights has shapes {sorted({weights.shape for weights in drawn})}; it needs one at every step"
        )
    n_queries, n_keys = drawn[0].shape[-2:]
    tokens = as_labels("tokens", tokens, n_keys, f"weights over {n_keys} keys")
    hidden = as_masked(masked, n_queries, n_keys)
    for step, weights in zip(steps, drawn, strict=True):
        as_weights(f"weights at step {step:g}", weights, (2, 3), shape, hidden, normalized)
    stack = np.stack(drawn)  # (step, query, key) or (step, head, query, key)

    names = [f"step {step:,.0f}" if step == round(step) else f"step {step:g}" for step in steps]
    if stack.ndim == 4:
        rows = [f"head {head}" for head in range(stack.shape[1])]
        columns = (
            names if len(names) <= 6 else [names[0]] + [name.removeprefix("step ") for name in names[1:]]
        )
        figure, _ = _mosaic(stack.swapaxes(0, 1), hidden, rows, columns, title, tokens)
    else:
        n_rows = -(-len(steps) // 6)
        across = -(-len(steps) // n_rows)  # rows as even as can be
        panels = [list(range(at, min(at + across, len(steps)))) for at in range(0, len(steps), across)]
        figure, _ = _mosaic(
            [[stack[at] for at in row] for row in panels],
            hidden,
            None,
            None,
            title,
            tokens,
            names=[[names[at] for at in row] for row in panels],
        )
    return Drawing(figure, {"steps": np.array(steps), "weights": stack, "masked": hidden})


def _cell(n: int, annotate: bool) -> float:
    """Inches for one cell: room for numbers when few, the whole pattern within 6 inches when many."""
    return max(min(0.5 if annotate else 0.36, (4.8 if n <= 30 else 6.2) / n), 0.012)


def _brightest(weights: np.ndarray, hidden: np.ndarray, largest: Number | None) -> tuple[float, str]:
    """The weight drawn brightest, and on which side the color bar has an arrow."""
    shown = weights[~hidden]
    if largest is not None:
        top = a_number("largest", largest)
        if top <= 0:
            raise ValueError(f"largest is {top}; it needs to be more than 0")
    elif weights.shape[1] <= 16:
        top = max(1.0, shown.max(initial=0))
    else:
        # The first causal rows have few keys and so large weights; they would leave all the rest dark.
        top = (
            min(max(1.0, shown.max(initial=0)), max(0.05, np.ceil(np.quantile(shown, 0.985) * 20) / 20))
            if shown.size
            else 1.0
        )
    return top, "max" if shown.max(initial=0) > top + 1e-6 else "neither"


def _draw_pattern(axes: Axes, weights: np.ndarray, hidden: np.ndarray, norm: Normalize):
    image = axes.imshow(
        np.ma.array(weights, mask=hidden), cmap=ATTENTION, norm=norm, interpolation="nearest", aspect="auto"
    )
    hatch_cells(axes, hidden)
    axes.spines[:].set_visible(False)
    if max(weights.shape) <= 40:
        axes.set_xticks(np.arange(0.5, weights.shape[1] - 1), minor=True)
        axes.set_yticks(np.arange(0.5, weights.shape[0] - 1), minor=True)
        axes.grid(which="minor", color="white", linewidth=1.0 if max(weights.shape) <= 20 else 0.5)
        axes.tick_params(which="minor", length=0)
        axes.set_axisbelow(False)
    return image


def _outline(axes: Axes, row: Index, column: Index, n_queries: int, n_keys: int) -> None:
    if not (0 <= row < n_queries and 0 <= column < n_keys):
        raise IndexError(
            f"highlight names query {row}, key {column}, of {n_queries} queries and {n_keys} keys"
        )
    for width, color in ((3.6, "white"), (2.0, ORANGE)):
        axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=color, linewidth=width, zorder=5)
        )


def _gap(n_keys: int) -> float:
    """Space between panels, in cells."""
    return max(0.6, 0.07 * n_keys)


def _mosaic(panels, hidden, rows, columns, title, tokens, names=None):
    """Draw rows of panels as one picture on one pair of axes, in units of cells: cheap even for 144 heads."""
    n_queries, n_keys = hidden.shape
    n_rows, n_columns = len(panels), max(len(row) for row in panels)
    gap = _gap(n_keys)
    above = 0 if names is None else 0.2  # inches for a name over each panel
    side = min(1.75, max(7.6 / n_columns - 0.06, 0.6))  # inches of a panel
    pixels = max(
        1, round(side * 144 / n_keys + 0.2)
    )  # a cell is a whole number of pixels, so no cell looks wider than another
    unit = pixels / 144 if n_keys <= side * 144 else side / n_keys
    step_x, step_y = n_keys + gap, n_queries + gap + above / unit
    width, height = (n_columns * step_x - gap) * unit, (n_rows * step_y - gap) * unit
    figure = new_figure(width + 3.2, height + 3)
    axes = new_axes(figure, 1.6, 1.6, width, height)
    norm = PowerNorm(0.5, 0, max(1.0, max(np.max(panel) for row in panels for panel in row)))
    for i, row in enumerate(panels):
        for j, panel in enumerate(row):
            left, top = j * step_x, i * step_y + above / unit
            extent = (left - 0.5, left + n_keys - 0.5, top + n_queries - 0.5, top - 0.5)
            image = axes.imshow(
                np.ma.array(panel, mask=hidden),
                cmap=ATTENTION,
                norm=norm,
                extent=extent,
                aspect="auto",
                interpolation="nearest" if n_keys * unit <= side * 144 else "auto",
            )
            hatch_cells(axes, hidden, left, top)
            if names is not None:
                axes.text(left - 0.5, top - 0.5 - 0.05 / unit, names[i][j], size=8.5, color=INK, va="bottom")
    axes.set_xlim(-0.5, n_columns * step_x - gap - 0.5)
    axes.set_ylim(n_rows * step_y - gap - 0.5, -0.5)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.set_xticks(
        [] if columns is None else [j * step_x + (n_keys - 1) / 2 for j in range(n_columns)],
        columns or [],
        color=INK,
    )
    axes.set_yticks(
        [] if rows is None else [i * step_y + (n_queries - 1) / 2 for i in range(n_rows)],
        rows or [],
        color=INK,
    )
    axes.set_ylabel("query (each panel, downward)", size=8.5, labelpad=8)
    axes.set_xlabel(
        f"key (each panel, rightward)\n{_sentence(tokens, width)}",
        size=8.5,
        labelpad=8,
        linespacing=1.6,
        color=SOFT,
    )
    axes.xaxis.set_label_position("bottom")
    set_title(axes, title, max(4.2, width + 0.8), pad=10 if columns is None else 12)
    color_bar(figure, axes, image, "attention weight\n(square-root scale)", ticks=[0, 0.05, 0.2, 0.5, 1])
    return figure, axes


def _sentence(tokens: Labels, inches: Number) -> str:
    """The text under a picture that is too small to label each cell, cut to `inches`."""
    text = "".join(readable(token, space=" ") for token in tokens).strip()
    letters = max(36, int(inches * 72 / 5.0))
    return f"“{text}”" if len(text) <= letters else f"“{text[: letters - 1].rstrip()}…”"


def _frame_panel(axes: Axes, row: Index, column: Index, n_queries: int, n_keys: int) -> None:
    gap = _gap(n_keys)
    corner = (column * (n_keys + gap) - 0.5, row * (n_queries + gap) - 0.5)
    axes.add_patch(
        Rectangle(
            corner, n_keys, n_queries, fill=False, edgecolor=ORANGE, linewidth=2.4, clip_on=False, zorder=5
        )
    )
