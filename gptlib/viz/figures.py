"""Every figure of the course: `from gptlib.viz import figures`, then `figures.attention_heatmap(…)`.

Each function returns a `Drawing`, which shows itself at the end of a cell, keeps the arrays that it drew in
`.arrays`, and writes a PNG with `.save(path)`. Rows are queries, columns are keys, always; masked cells are
gray and hatched. Tensors, arrays and lists are all welcome.
"""

from gptlib.viz.attention_figures import attention_heatmap, attention_montage, attention_over_training
from gptlib.viz.bars import bar_chart, next_token_bars
from gptlib.viz.charts import line_chart, loss_curves, scatter
from gptlib.viz.drawing import Drawing, readable
from gptlib.viz.grids import grid_heatmap, position_encodings, position_similarity, text_strip
from gptlib.viz.hands import turning_hands
from gptlib.viz.maps import gpt_map

__all__ = [
    "Drawing",
    "attention_heatmap",
    "attention_montage",
    "attention_over_training",
    "bar_chart",
    "gpt_map",
    "grid_heatmap",
    "line_chart",
    "loss_curves",
    "next_token_bars",
    "position_encodings",
    "position_similarity",
    "readable",
    "scatter",
    "text_strip",
    "turning_hands",
]
