"""The map of GPT: from text to the next token, each part labeled by the notebook that teaches it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle
from matplotlib.path import Path
from matplotlib.text import Text

from gptlib.viz.checking import Number
from gptlib.viz.drawing import (
    ATTENTION,
    BLUE,
    DIVERGING,
    FAINT,
    HATCH,
    INK,
    MASKED,
    ORANGE,
    SOFT,
    Drawing,
    new_axes,
    new_figure,
    styled,
)

# The notebooks' topics and titles.
PARTS = {
    "language_models": "Language models",
    "tokens": "Tokens",
    "attention": "Attention",
    "causal_attention": "Causal attention",
    "positions": "Positions",
    "many_heads": "Many heads",
    "block": "The block",
    "gpt": "GPT",
    "training": "Training",
    "generation": "Generation",
}
PALE, WARM, STREAM = "#f4f6f8", "#fdf0e1", "#7d93a8"


@styled
def gpt_map(current: str | None = None, title: str = "GPT, from text to the next token") -> Drawing:
    """A map of GPT in which every part carries the title of the notebook that teaches it.

    current: the topic of the notebook whose part is highlighted, such as "attention"; None highlights
        nothing.

    Returns a Drawing with arrays `notebooks` (part,), the topics shown, and `current`, the highlighted
    one or "".

    Raises ValueError for a topic that is not on the map.
    """
    if current is not None and current not in PARTS:
        raise ValueError(f"current is {current!r}; it needs to be None or one of {', '.join(PARTS)}")
    here = current or ""
    figure = new_figure(11.6, 6.6)
    axes = new_axes(figure, 0.1, 0.1, 11.3, 6.1)
    axes.set_xlim(0, 11.3)
    axes.set_ylim(0, 6.1)
    axes.axis("off")
    axes.text(0.2, 5.95, title, size=13, weight="bold", va="center")

    _box(axes, 2.22, 1.26, 6.48, 4.06, here == "gpt", face="white", line="--")  # GPT: everything with weights
    _badge(axes, 2.4, 5.32, "gpt", here, "all of it together")
    _box(axes, 3.86, 1.6, 4.08, 3.46, here == "block", face="#fafbfc")
    _badge(axes, 4.0, 5.06, "block", here, "× n_layers")
    _text_and_tokens(axes, here)
    _embeddings(axes, here)
    _stream(axes)
    _attention(axes, here)
    _mlp(axes)
    _ending(axes, here)
    _generation(axes, here)
    _training(axes, here)
    return Drawing(figure, {"notebooks": np.array(list(PARTS)), "current": np.array(here)})


# --- the parts, from left to right ----------------------------------------------------------------------


def _text_and_tokens(axes: Axes, here: str) -> None:
    _box(axes, 0.2, 4.62, 1.7, 0.62, False, face="white")
    axes.text(1.05, 4.93, "“Once upon a”", ha="center", va="center", size=9.5, style="italic")
    _arrow(axes, (1.55, 4.62), (1.55, 4.28))
    _box(axes, 0.2, 3.1, 1.7, 1.18, here == "tokens")
    _badge(axes, 0.32, 4.28, "tokens", here)
    for index, (piece, number) in enumerate((("Once", "731"), ("␣upon", "402"), ("␣a", "258"))):
        left, width = (0.3, 0.82, 1.42)[index], (0.48, 0.56, 0.38)[index]
        axes.add_patch(
            FancyBboxPatch(
                (left, 3.66),
                width,
                0.28,
                "round,pad=0,rounding_size=0.06",
                facecolor="white",
                edgecolor=FAINT,
                linewidth=0.8,
            )
        )
        axes.text(left + width / 2, 3.8, piece, ha="center", va="center", size=7.8)
        axes.text(
            left + width / 2,
            3.42,
            number,
            ha="center",
            va="center",
            size=8,
            color=SOFT,
            family="DejaVu Sans Mono",
        )
    _arrow(axes, (1.05, 3.1), (1.05, 2.2), (2.42, 2.2))


def _embeddings(axes: Axes, here: str) -> None:
    random = np.random.default_rng(3)
    _box(axes, 2.42, 1.5, 1.14, 1.3, here == "tokens")
    _pill(axes, 2.5, 2.8, "Embedding", here == "tokens", "left")
    _columns(axes, 2.66, 1.7, random.uniform(-1, 1, (5, 3)))
    _box(axes, 2.42, 3.42, 1.14, 1.28, here == "positions")
    _badge(axes, 2.5, 4.7, "positions", here)
    waves = np.sin(
        np.outer([2.6, 1.9, 1.3, 0.8, 0.45], [0.5, 1.5, 2.5]) + np.array([[0.0], [1.6], [3.0], [4.2], [5.2]])
    )
    _columns(axes, 2.66, 3.6, waves)


def _columns(axes: Axes, left: Number, bottom: Number, values: np.ndarray) -> None:
    """Three little vectors side by side, one for each token."""
    for row, column in np.ndindex(values.shape):
        axes.add_patch(
            Rectangle(
                (left + 0.25 * column, bottom + 0.145 * row),
                0.17,
                0.125,
                linewidth=0,
                facecolor=DIVERGING(
                    0.5 + np.sign(values[row, column]) * (0.12 + 0.32 * abs(values[row, column]))
                ),
            )
        )


def _stream(axes: Axes) -> None:
    """The residual stream: a thick line from the embeddings to the unembedding; every part adds to it."""
    axes.plot([3.56, 8.08], [2.2, 2.2], color=STREAM, linewidth=4.5, solid_capstyle="butt", zorder=2)
    axes.text(
        5.9,
        1.86,
        "the residual stream: each part reads it and adds to it",
        size=8,
        color=SOFT,
        va="center",
        ha="center",
    )
    _arrow(axes, (2.99, 3.42), (2.99, 3.1), (3.72, 3.1), (3.72, 2.33))
    _plus(axes, 3.72)


def _attention(axes: Axes, here: str) -> None:
    _branch(axes, 4.2, 6.08)
    _box(axes, 3.98, 3.2, 2.32, 1.66, False)
    for left, topic, label in (
        (4.08, "attention", "Attention"),
        (4.83, "causal_attention", "Causal\nattention"),
        (5.58, "many_heads", "Many\nheads"),
    ):
        if here == topic:
            axes.add_patch(
                FancyBboxPatch(
                    (left - 0.045, 3.46),
                    0.71,
                    1.3,
                    "round,pad=0,rounding_size=0.07",
                    facecolor=WARM,
                    edgecolor=ORANGE,
                    linewidth=1.8,
                )
            )
        _pill(axes, left + 0.31, 4.46, label, here == topic, "center", size=7.2)
    _pattern(axes, 4.13, 3.56, 0.13, seed=1, causal=False)
    _pattern(axes, 4.88, 3.56, 0.13, seed=2, causal=True)
    for index in (2, 1, 0):
        _pattern(axes, 5.57 + 0.08 * index, 3.5 + 0.08 * index, 0.115, seed=4 + index, causal=True, edge=True)
    axes.text(5.14, 3.36, "tokens look at one another", ha="center", va="center", size=7.6, color=SOFT)


def _pattern(
    axes: Axes, left: Number, bottom: Number, cell: Number, seed: int, causal: bool, edge: bool = False
) -> None:
    weights = np.random.default_rng(seed).dirichlet(np.full(4, 0.7), size=4)
    if edge:
        axes.add_patch(
            Rectangle(
                (left - 0.015, bottom - 0.015),
                4 * cell + 0.03,
                4 * cell + 0.03,
                facecolor="white",
                edgecolor="white",
                linewidth=1,
            )
        )
    if causal:
        weights = np.tril(weights + 0.05)
        weights /= weights.sum(1, keepdims=True)
    for query, key in np.ndindex(4, 4):
        hidden = causal and key > query
        corner = (left + key * cell, bottom + (3 - query) * cell)
        axes.add_patch(
            Rectangle(
                corner,
                cell,
                cell,
                facecolor=MASKED if hidden else ATTENTION(weights[query, key] ** 0.7),
                edgecolor=HATCH if hidden else "white",
                linewidth=0 if hidden else 0.5,
                hatch="////////" if hidden else None,
            )
        )


def _mlp(axes: Axes) -> None:
    _branch(axes, 6.72, 7.62)
    _box(axes, 6.5, 3.2, 1.3, 1.66, False)
    axes.text(7.15, 4.6, "MLP", ha="center", va="center", size=9.5, weight="bold")
    left, right = 6.72, 7.58
    hexagon = [
        (left + 0.26, 3.56),
        (right - 0.26, 3.56),
        (right, 3.97),
        (right - 0.26, 4.38),
        (left + 0.26, 4.38),
        (left, 3.97),
    ]
    axes.add_patch(Polygon(hexagon, facecolor="#c9d7e4", linewidth=0))
    axes.text(7.15, 3.97, "GELU", ha="center", va="center", size=8)
    axes.text(7.15, 3.36, "each token alone", ha="center", va="center", size=7.6, color=SOFT)


def _branch(axes: Axes, x_in: Number, x_out: Number) -> None:
    """Out of the stream through a norm up into a part, and back down to be added."""
    _arrow(axes, (x_in, 2.2), (x_in, 2.5), thin=True)
    _box(axes, x_in - 0.24, 2.5, 0.48, 0.3, False, face="white", radius=0.05)
    axes.text(x_in, 2.65, "norm", ha="center", va="center", size=8)
    _arrow(axes, (x_in, 2.8), (x_in, 3.2), thin=True)
    _arrow(axes, (x_out, 3.2), (x_out, 2.33), thin=True)
    _plus(axes, x_out)


def _ending(axes: Axes, here: str) -> None:
    _box(axes, 8.08, 1.98, 0.48, 0.44, False, face="white", radius=0.05)
    axes.text(8.32, 2.2, "final\nnorm", ha="center", va="center", size=7.6, linespacing=1.1)
    _arrow(axes, (8.32, 2.42), (8.32, 2.86), thin=True)
    _box(axes, 8.06, 2.86, 0.52, 1.7, False)
    axes.text(8.32, 3.71, "unembedding", ha="center", va="center", size=8.8, rotation=90)
    _arrow(axes, (8.58, 3.71), (9.02, 3.71))
    _box(axes, 9.02, 2.72, 2.08, 1.56, here == "language_models")
    _badge(axes, 9.14, 4.28, "language_models", here)
    for row, (piece, share) in enumerate((("␣time", 0.71), ("␣hill", 0.16), ("␣day", 0.08), ("…", 0.05))):
        y = 3.87 - 0.27 * row
        axes.text(9.6, y, piece, ha="right", va="center", size=8)
        axes.add_patch(Rectangle((9.68, y - 0.075), 1.3 * share, 0.15, facecolor=BLUE, linewidth=0))
    axes.text(10.98, 2.83, "p(next token)", ha="right", va="center", size=7.6, color=SOFT)


def _generation(axes: Axes, here: str) -> None:
    _arrow(axes, (10.95, 4.28), (10.95, 4.74))
    _box(axes, 9.02, 4.74, 2.08, 0.62, here == "generation")
    _badge(axes, 9.14, 5.36, "generation", here)
    axes.text(9.2, 4.95, "draw one:", ha="left", va="center", size=8.5)
    axes.text(9.95, 4.95, "␣time", ha="left", va="center", size=9, weight="bold")
    _arrow(axes, (10.95, 5.36), (10.95, 5.68), (1.05, 5.68), (1.05, 5.24))
    axes.text(
        6.0,
        5.68,
        "it joins the text, and everything is repeated for the next token",
        ha="center",
        va="center",
        size=8,
        color=SOFT,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 3},
    )


def _training(axes: Axes, here: str) -> None:
    _arrow(axes, (10.95, 2.72), (10.95, 1.7))
    _box(axes, 9.02, 0.42, 2.08, 1.28, here == "training")
    _badge(axes, 9.14, 1.7, "training", here)
    x = np.linspace(0, 1, 40)
    axes.plot(9.2 + 0.8 * x, 0.68 + 0.68 * np.exp(-4.5 * x), color=BLUE, linewidth=1.8)
    axes.plot([9.2, 10.0], [0.62, 0.62], color=INK, linewidth=1, linestyle=(0, (3, 1.6)))
    axes.text(
        10.1,
        1.0,
        "loss: −log p of\nthe token that\ntruly came next",
        va="center",
        size=7.6,
        color=SOFT,
        linespacing=1.3,
    )
    _arrow(axes, (9.02, 0.72), (5.46, 0.72), (5.46, 1.26), dashed=True)
    axes.text(
        7.3,
        0.72,
        "gradients change every weight",
        ha="center",
        va="center",
        size=8,
        color=SOFT,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 3},
    )


# --- what the parts are drawn with ----------------------------------------------------------------------


def _box(
    axes: Axes,
    left: Number,
    bottom: Number,
    width: Number,
    height: Number,
    current: bool,
    face: str = PALE,
    line: str = "-",
    radius: Number = 0.09,
) -> None:
    edge = (
        {"edgecolor": ORANGE, "linewidth": 2.2}
        if current
        else {"edgecolor": FAINT if line == "--" else "#b9c2cb", "linewidth": 1.0}
    )
    style = (0, (4, 2.5)) if line == "--" else "-"
    axes.add_patch(
        FancyBboxPatch(
            (left, bottom),
            width,
            height,
            f"round,pad=0,rounding_size={radius}",
            linestyle=style,
            facecolor=WARM if current else face,
            zorder=1,
            **edge,
        )
    )


def _pill(axes: Axes, x: Number, y: Number, text: str, current: bool, align: str, size: Number = 8.6) -> Text:
    return axes.text(
        x,
        y,
        text,
        ha=align,
        va="center",
        size=size,
        weight="bold",
        linespacing=1.1,
        color="white",
        zorder=6,
        bbox={
            "boxstyle": "round,pad=0.32,rounding_size=0.55",
            "facecolor": ORANGE if current else BLUE,
            "edgecolor": "white",
            "linewidth": 1.4,
        },
    )


def _badge(axes: Axes, left: Number, y: Number, topic: str, here: str, more: str = "") -> None:
    """The notebook's title in a pill on the upper edge of its part, with `more` beside it."""
    pill = _pill(axes, left, y, PARTS[topic], here == topic, "left")
    if more:
        axes.annotate(
            more,
            (1, 0.5),
            (7, 0),
            xycoords=pill,
            textcoords="offset points",
            va="center",
            size=8.6,
            color=SOFT,
            zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
        )


def _plus(axes: Axes, x: Number, y: Number = 2.2) -> None:
    axes.plot(
        x,
        y,
        "o",
        markersize=13,
        markerfacecolor="white",
        markeredgecolor=STREAM,
        markeredgewidth=1.6,
        zorder=4,
    )
    axes.text(
        x, y - 0.008, "+", ha="center", va="center_baseline", size=12, weight="bold", color=INK, zorder=5
    )


def _arrow(axes: Axes, *points: tuple[Number, Number], thin: bool = False, dashed: bool = False) -> None:
    path = Path(points)
    style = "-|>,head_length=4,head_width=2.2"
    axes.add_patch(
        FancyArrowPatch(
            path=path,
            arrowstyle=style,
            color=STREAM if not dashed else SOFT,
            linewidth=1.2 if thin else 1.6,
            linestyle=(0, (4, 2.5)) if dashed else "-",
            mutation_scale=1.4,
            zorder=3,
            joinstyle="round",
            shrinkA=0,
            shrinkB=0,
            capstyle="butt",
        )
    )
