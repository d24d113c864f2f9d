"""What every figure shares: one style, readable tokens, and the `Drawing` that a figure function returns.

Figures are made on `matplotlib.figure.Figure` directly. pyplot is never imported, so nothing here changes how
the reader's own plots look, and a figure that is not shown costs no memory once it is out of reach.
"""

from __future__ import annotations

import base64
import functools
import io
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from gptlib.files import write_atomically
from gptlib.viz.checking import Array, Number

INK, SOFT, FAINT, RULE = "#23282f", "#5c6570", "#9aa3ad", "#d5dae0"
BLUE, ORANGE = "#2b5c8a", "#d67a1f"
MASKED, HATCH = "#e4e6e9", "#b4bac2"
# Neighbors differ in lightness as well as in hue, so they stay apart in grayscale and for color-blind
# readers.
PALETTE = (BLUE, ORANGE, "#4aa39a", "#7b4b7d", "#c9a635", "#8d99a6")
DASHES = ("-", (0, (5, 1.6)), (0, (1.4, 1.4)))
DPI = 144
LARGE_PNG = 115_000  # bytes; notebooks are kept with their pictures in them

STYLE = {
    "figure.facecolor": "white", "savefig.facecolor": "white", "axes.facecolor": "white",
    "font.family": "DejaVu Sans", "font.size": 9, "text.color": INK, "text.parse_math": False,
    "axes.edgecolor": FAINT, "axes.linewidth": 0.7, "axes.labelcolor": SOFT, "axes.labelsize": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.titlepad": 10,
    "xtick.color": SOFT, "ytick.color": SOFT, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5,
    "xtick.major.size": 3, "ytick.major.size": 3, "xtick.major.width": 0.7, "ytick.major.width": 0.7,
    "grid.color": RULE, "grid.linewidth": 0.6, "hatch.linewidth": 0.6, "hatch.color": HATCH,
    "lines.linewidth": 1.8, "lines.solid_capstyle": "round", "legend.frameon": False,
}  # fmt: skip

ATTENTION = matplotlib.colormaps["cividis"].with_extremes(bad=MASKED)
DIVERGING = LinearSegmentedColormap.from_list(
    "blue_orange", ["#123a66", "#2f6ca3", "#94bbdb", "#f6f5f2", "#f3bd82", "#d67a1f", "#a35208"]
).with_extremes(bad=MASKED)
SURPRISE = LinearSegmentedColormap.from_list(
    "surprise", ["#fbfaf7", "#fbe3c2", "#f0b169", "#cc6f1c", "#7a3705"]
)


@dataclass(frozen=True, repr=False, eq=False)
class Drawing:
    """A finished figure with the arrays that were drawn. As the last expression of a cell it shows itself."""

    figure: Figure
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def __repr__(self) -> str:
        shapes = [
            f"{name} {'x'.join(map(str, array.shape)) or 'scalar'}"
            for name, array in self.arrays.items()
            if name != "masked"
        ]
        return f"Drawing({', '.join(shapes)})"

    def png(self) -> bytes:
        """The figure as the bytes of a PNG file, cropped to what is drawn; the same bytes each time."""
        buffer = io.BytesIO()
        with style():
            box = self.figure.get_tightbbox(self.figure.canvas.get_renderer()).padded(0.12)
            # Whole pixels: a crop at a fraction of a pixel would blur the edges of every cell.
            pixels = [
                math.floor(box.x0 * DPI),
                math.floor(box.y0 * DPI),
                math.ceil(box.x1 * DPI),
                math.ceil(box.y1 * DPI),
            ]
            crop = Bbox.from_extents(*[pixel / DPI for pixel in pixels])
            self.figure.savefig(buffer, format="png", dpi=DPI, bbox_inches=crop, metadata={"Software": None})
        data = buffer.getvalue()
        return _with_fewer_colors(data) if len(data) > LARGE_PNG else data

    def svg(self) -> str:
        """The figure as an SVG picture, cropped to what is drawn; the same text each time."""
        buffer = io.StringIO()
        with style(), matplotlib.rc_context({"svg.hashsalt": "gptlib"}):
            self.figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
        return buffer.getvalue()

    def save(self, path: Any) -> None:
        """Write the PNG to `path`, whole or not at all. Raises FileNotFoundError if its folder is missing."""
        data = self.png()
        write_atomically(path, lambda file: file.write(data))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        data = self.png()
        width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
        # The picture has 1.5 pixels for each one shown, which keeps it crisp on fine screens.
        shown = {"width": round(width * 96 / DPI), "height": round(height * 96 / DPI)}
        bundle = {"image/png": base64.b64encode(data).decode("ascii"), "text/plain": repr(self)}
        return bundle, {"image/png": shown}


def _with_fewer_colors(data: bytes) -> bytes:
    """The same picture with a palette: a third of the bytes, and no difference seen in small cells."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    for colors in (256, 96, 32):
        buffer = io.BytesIO()
        picture.quantize(colors, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            buffer, "png", optimize=True
        )
        data = min(data, buffer.getvalue(), key=len)
        if len(data) <= LARGE_PNG:
            break
    return data


def style() -> Any:
    """The context in which every figure is made and saved, whatever style the reader has set."""
    return matplotlib.style.context(STYLE, after_reset=True)


def styled(function: Callable[..., Drawing]) -> Callable[..., Drawing]:
    """Make a figure function draw in the house style."""

    @functools.wraps(function)
    def draw(*arguments: Any, **options: Any) -> Drawing:
        with style():
            drawing = function(*arguments, **options)
            for text in drawing.figure.findobj(Text):  # titles and names are the caller's, in any language
                text.set_text(drawable(text.get_text(), text.get_fontfamily()[0]))
            return drawing

    return draw


def new_figure(width: Number, height: Number) -> Figure:
    """An empty figure of `width` by `height` inches with a canvas that can measure text."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def new_axes(figure: Figure, left: Number, bottom: Number, width: Number, height: Number) -> Axes:
    """Axes at a place given in inches from the figure's lower left corner."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def set_title(axes: Axes, title: str, inches: Number, pad: Number = 10) -> None:
    """A title wrapped to `inches`, left-aligned with the axes."""
    letters = max(24, int(inches * 72 / (11 * 0.585)))
    lines = textwrap.wrap(title, letters)
    if len(lines) > 1:  # lines of like length, so that no word is left alone on the last
        even = len(title) // len(lines) + 8
        lines = min(textwrap.wrap(title, min(even, letters)), lines, key=len)
    axes.set_title("\n".join(lines), pad=pad, linespacing=1.25)


def color_bar(
    figure: Figure, axes: Axes, image: Any, label: str, extend: str = "neither", ticks: Any = None
) -> None:
    """A thin bar to the right of `axes`, at most 2.6 inches tall."""
    across, up = figure.get_size_inches()
    box = axes.get_position()
    height = min(box.height, 2.6 / up)
    place = (box.x1 + 0.16 / across, box.y1 - height, 0.11 / across, height)
    bar = figure.colorbar(image, cax=figure.add_axes(place), extend=extend, ticks=ticks)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, labelsize=8)
    bar.set_label(label, size=8.5, color=SOFT)


# --- tokens that can be read ----------------------------------------------------------------------------


@functools.lru_cache(maxsize=4)
def _glyphs(family: str) -> frozenset[int]:
    return frozenset(FT2Font(findfont(FontProperties(family=family))).get_charmap())


def drawable(text: str, family: str | None = "DejaVu Sans") -> str:
    """`text` with what the font cannot draw as an escape such as \\u4f60, and no blank boxes.

    None stands for the fonts of a browser, which draw all that can be printed.
    """
    glyphs = None if family is None else _glyphs(family)

    def known(letter: str) -> bool:
        return letter == "\n" or (letter.isprintable() and (glyphs is None or ord(letter) in glyphs))

    return "".join(letter if known(letter) else _escape(ord(letter)) for letter in text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:x}"


def readable(
    piece: str, limit: int | None = None, space: str = "␣", family: str | None = "DejaVu Sans"
) -> str:
    """One token's text as a label: spaces and newlines made visible, what the font cannot draw as an escape.

    A label longer than `limit` characters is cut in its middle, because tokens differ most at their ends.
    """
    known = {" ": space, "\n": "↵", "\t": "⇥", "\r": "␍"}
    label = drawable("".join(known.get(letter, letter) for letter in piece), family) or "(empty)"
    if limit is not None and len(label) > limit:
        head = (limit - 1) // 2
        label = f"{label[: limit - 1 - head]}…{label[len(label) - head :]}"
    return label


def every(n: int, inches: Number, points: Number) -> int:
    """Label every how-many-th of `n` cells so that labels of `points` fit along `inches`."""
    fits = max(1, int(inches * 72 / points))
    stride = math.ceil(n / fits)
    return next(
        nice for nice in (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, stride) if nice >= stride
    )


def ticks_at_cells(
    axes: Axes, rows: Sequence[str], columns: Sequence[str], cell_height: Number, cell_width: Number
) -> None:
    """Label the cells of a matrix, thinned when long; column labels wider than a cell stand upright."""
    size_y = min(9.0, max(6.2, cell_height * 72 * 0.82))
    size_x = min(9.0, max(6.2, cell_width * 72 * 0.82))
    longest = max(map(len, columns))
    upright = longest * size_x * 0.66 > cell_width * 72 and longest > 1
    step_y = every(len(rows), len(rows) * cell_height, size_y * 1.12)
    step_x = every(len(columns), len(columns) * cell_width, size_x * (1.12 if upright else longest * 0.66))
    axes.set_yticks(range(0, len(rows), step_y), rows[::step_y], size=size_y, color=INK, va="center_baseline")
    axes.set_xticks(
        range(0, len(columns), step_x),
        columns[::step_x],
        size=size_x,
        color=INK,
        rotation=90 if upright else 0,
    )
    thin = step_x > 1 or step_y > 1
    axes.tick_params(length=2 if thin else 0, pad=3)


def hatch_cells(axes: Axes, masked: np.ndarray, left: Number = 0, top: Number = 0) -> None:
    """Hatch the True cells of `masked`, drawn as one path so that the hatching runs on from cell to cell."""
    vertices, codes = [], []
    for row, cells in enumerate(masked):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], cells, [False]]).astype(np.int8)))
        for start, stop in edges.reshape(-1, 2):
            x0, x1, y0, y1 = left + start - 0.5, left + stop - 0.5, top + row - 0.5, top + row + 0.5
            vertices += [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
            codes += [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    if vertices:
        patch = PathPatch(
            Path(vertices, codes), facecolor="none", edgecolor=HATCH, linewidth=0, hatch="/////"
        )
        axes.add_patch(patch)


def ink_on(color_map: Colormap, position: Number) -> str:
    """White or dark ink, whichever reads better on the color at `position` (0 to 1)."""
    red, green, blue, _ = color_map(position)
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.53 else "white"


def signed(text: str) -> str:
    """A written number with a true minus sign, as the axes have."""
    return text.replace("-", "−")


def spread(wanted: Array, gap: Number, low: Number, high: Number) -> np.ndarray:
    """Places near `wanted`, in their order, at least `gap` apart and between `low` and `high`."""
    wanted = np.asarray(wanted, dtype=float)
    order = np.argsort(wanted, kind="stable")
    blocks: list[list[float]] = []  # [mean, count]; neighbors that would overlap share one mean
    for value in wanted[order] - gap * np.arange(len(wanted)):
        blocks.append([float(value), 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            value_b, count_b = blocks.pop()
            value_a, count_a = blocks.pop()
            blocks.append([(value_a * count_a + value_b * count_b) / (count_a + count_b), count_a + count_b])
    level = np.concatenate([[value] * int(count) for value, count in blocks]) if blocks else np.zeros(0)
    level = np.clip(level, low, max(low, high - gap * (len(wanted) - 1)))
    placed = np.empty(len(wanted))
    placed[order] = level + gap * np.arange(len(wanted))
    return placed
