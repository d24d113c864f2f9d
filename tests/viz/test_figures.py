"""The figures: what they draw, what they refuse, and that nothing reaches stderr."""

import base64
import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from gptlib.viz import figures
from gptlib.viz.drawing import every, spread

pytestmark = pytest.mark.filterwarnings("error")
TOKENS = ["Once", " upon", " a", " time", "\n"]


def causal_weights(*shape: int) -> np.ndarray:
    """Random attention weights (…, query, key), causal."""
    weights = np.random.default_rng(0).uniform(0.1, 1, shape) * np.tri(*shape[-2:], shape[-1] - shape[-2])
    return weights / weights.sum(-1, keepdims=True)


def labels(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def texts(drawing) -> list[str]:
    """All text of a drawing, on the axes and beside them."""
    found = []
    for axes in drawing.figure.axes:
        found += [axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()]
        found += [text.get_text() for text in axes.texts] + labels(axes.xaxis) + labels(axes.yaxis)
    return found


def hatched(axes) -> int:
    return sum(patch.get_hatch() is not None for patch in axes.patches)


def is_png(data: bytes) -> bool:
    return data.startswith(b"\x89PNG\r\n\x1a\n")


EVERY_FIGURE = {
    "attention_heatmap": lambda: figures.attention_heatmap(causal_weights(5, 5), TOKENS),
    "long heatmap": lambda: figures.attention_heatmap(causal_weights(90, 90), TOKENS * 18),
    "attention_montage": lambda: figures.attention_montage(
        causal_weights(3, 2, 5, 5), TOKENS, highlight=[(1, 0)]
    ),
    "attention_over_training": lambda: figures.attention_over_training(
        [(step, causal_weights(5, 5)) for step in range(8)], TOKENS
    ),
    "heads over training": lambda: figures.attention_over_training([(0, causal_weights(2, 5, 5))], TOKENS),
    "position_encodings": lambda: figures.position_encodings(np.sin(np.arange(24.0)).reshape(6, 4)),
    "position_similarity": lambda: figures.position_similarity(np.cos(np.arange(24.0)).reshape(6, 4)),
    "loss_curves": lambda: figures.loss_curves(
        {"train": (range(100), np.linspace(5, 1.5, 100))}, floor=1.2, marks={"bigram": 3.0}, smooth=10
    ),
    "line_chart": lambda: figures.line_chart(
        {"a": ([1, 10, 100], [1, 2, 3]), "b": ([1, 10], [3, 2])},
        log_x=True,
        log_y=True,
        marks={"chance": 2.5},
    ),
    "scatter": lambda: figures.scatter({"a": ([1, 2], [2, 3]), "$b$": ([1], [4])}, diagonal="equal"),
    "bar_chart": lambda: figures.bar_chart(["a", "$b$"], [1.0, -0.5], highlight=["a"], marks={"floor": 0.2}),
    "next_token_bars": lambda: figures.next_token_bars(
        [0.5, 0.2, 0.3], ["a", " b", "\n"], k=2, compare=[1, 0, 0]
    ),
    "text_strip": lambda: figures.text_strip(TOKENS, [0, 1, 2, 3, 4]),
    "grid_heatmap": lambda: figures.grid_heatmap([[1, -2], [3, 0]], [" ", "b"], ["c", "d"], diverging=True),
    "gpt_map": lambda: figures.gpt_map("attention"),
}


@pytest.mark.parametrize("name", EVERY_FIGURE)
def test_every_figure_shows_itself(name, tmp_path):
    drawing = EVERY_FIGURE[name]()
    bundle, metadata = drawing._repr_mimebundle_()
    data = base64.b64decode(bundle["image/png"])
    assert is_png(data) and len(data) < 120_000
    assert bundle["text/plain"] == repr(drawing) and repr(drawing).startswith("Drawing(")
    assert 100 < metadata["image/png"]["width"] < 1200
    drawing.save(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes() == data  # the same bytes each time
    assert all(isinstance(array, np.ndarray) for array in drawing.arrays.values())


def test_saving_where_there_is_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        figures.gpt_map().save(tmp_path / "missing" / "figure.png")


def test_any_text_is_drawn_without_a_word_on_stderr():
    program = (
        "import sys; from gptlib.viz import figures\n"
        "tokens = ['你好', '😀', '$x$', '\\x00', '\\ud800', '\\\\frac', '']\n"
        "figures.attention_heatmap([[1 / 7] * 7] * 7, tokens, masked=None, title='a $ and 你').png()\n"
        "figures.text_strip(tokens, range(7)).png()\n"
        "figures.bar_chart(tokens, range(7), label='你').png()\n"
        "figures.line_chart({'你': ([1], [2])}, x_label='好').png()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_readers_style_is_neither_used_nor_changed():
    import matplotlib

    plain = figures.bar_chart(["a"], [1.0]).png()
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30, "figure.dpi": 50}):
        assert figures.bar_chart(["a"], [1.0]).png() == plain
        assert matplotlib.rcParams["font.size"] == 30


# --- attention ------------------------------------------------------------------------------------------


def test_heatmap_draws_the_weights_with_queries_as_rows():
    weights = causal_weights(5, 5)
    drawing = figures.attention_heatmap(torch.tensor(weights, requires_grad=True), TOKENS, title="Look")
    axes = drawing.figure.axes[0]
    np.testing.assert_array_equal(drawing.arrays["weights"], weights)
    drawn = axes.images[0].get_array()
    np.testing.assert_array_equal(drawn.data, weights)
    np.testing.assert_array_equal(drawn.mask, np.triu(np.ones((5, 5), bool), 1))
    np.testing.assert_array_equal(drawing.arrays["masked"], drawn.mask)
    assert hatched(axes) == 1 and axes.images[0].get_cmap().name == "cividis"
    assert (axes.get_ylabel(), axes.get_xlabel(), axes.get_title(loc="left")) == ("query", "key", "Look")
    assert labels(axes.yaxis) == labels(axes.xaxis) == ["Once", "␣upon", "␣a", "␣time", "↵"]
    assert axes.get_ylim() == (4.5, -0.5)  # the first query on top
    assert repr(drawing) == "Drawing(weights 5x5)"


def test_heatmap_writes_numbers_only_where_attention_can_be():
    drawing = figures.attention_heatmap(causal_weights(3, 3), TOKENS[:3])
    written = [text.get_text() for text in drawing.figure.axes[0].texts]
    assert len(written) == 6 and written[0] == "1.00"


def test_heatmap_with_a_cache_has_fewer_queries_than_keys():
    drawing = figures.attention_heatmap(causal_weights(2, 5), TOKENS[3:], key_tokens=TOKENS)
    np.testing.assert_array_equal(drawing.arrays["masked"], [[0, 0, 0, 0, 1], [0, 0, 0, 0, 0]])
    assert labels(drawing.figure.axes[0].yaxis) == ["␣time", "↵"]


def test_heatmap_with_a_mask_of_ones_own_and_with_none():
    masked = torch.tensor([[False, True], [True, False]])
    drawing = figures.attention_heatmap(torch.eye(2), ["a", "b"], masked=masked)
    np.testing.assert_array_equal(drawing.figure.axes[0].images[0].get_array().mask, masked)
    plain = figures.attention_heatmap([[0.5, 0.5], [0.5, 0.5]], ["a", "b"], masked=None)
    assert not plain.arrays["masked"].any() and hatched(plain.figure.axes[0]) == 0


def test_labels_are_thinned_when_long():
    drawing = figures.attention_heatmap(causal_weights(90, 90), [f"t{i}" for i in range(90)])
    assert labels(drawing.figure.axes[0].yaxis) == [f"t{i}" for i in range(0, 90, 2)]
    assert every(60, 6.2, 7) == 1 and every(1000, 6, 7) == 20 and every(3, 0.01, 7) == 5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_rows_count_as_summing_to_one(dtype):
    weights = torch.tensor(causal_weights(5, 5)).to(dtype)
    figures.attention_heatmap(weights, TOKENS)


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        (causal_weights(4, 4), {}, "tokens has 5 entries but weights of 4 queries needs 4"),
        (causal_weights(4, 5), {"tokens": TOKENS[1:]}, "key_tokens is None; it needs labels"),
        (causal_weights(2, 5, 5), {}, r"weights has shape \(2, 5, 5\); it needs \(query, key\)"),
        (np.full((5, 5), np.nan), {}, r"weights has nan at index \(0, 0\); it needs finite"),
        (np.full((5, 5), 0.2), {}, r"weights has 0.2 at index \(0, 1\), which masked says"),
        (np.eye(5) * 2, {}, r"weights sums to 2 at .* needs to sum to 1"),
        (-np.eye(5), {}, "weights has -1 at .* from 0 up"),
        (np.zeros((0, 0)), {"tokens": []}, "weights is empty"),
        (causal_weights(5, 5), {"masked": "future"}, 'masked is .*; it needs "causal"'),
        (causal_weights(5, 5), {"masked": np.ones((2, 2), bool)}, r"masked has shape .*\(5, 5\)"),
        (causal_weights(5, 5), {"largest": 0}, "largest is .* more than 0"),
        (np.full((5, 4), 0.25), {"key_tokens": TOKENS[:4]}, "as many keys as queries"),
    ],
)
def test_heatmap_refuses_by_name(weights, options, message):
    with pytest.raises(ValueError, match=message):
        figures.attention_heatmap(**{"weights": weights, "tokens": TOKENS, **options})


def test_wrong_kinds_are_refused_by_name():
    with pytest.raises(TypeError, match=r"tokens holds a int; it needs strings: tokenizer.pieces"):
        figures.attention_heatmap(causal_weights(2, 2), [3, 4])
    with pytest.raises(TypeError, match="tokens"):
        figures.attention_heatmap(causal_weights(2, 2), "ab")
    with pytest.raises(TypeError, match="masked .* needs to be boolean"):
        figures.attention_heatmap(causal_weights(2, 2), ["a", "b"], masked=np.zeros((2, 2)))
    with pytest.raises(TypeError, match="weights is a .*; it needs numbers"):
        figures.attention_heatmap([["x", "y"], ["x", "y"]], ["a", "b"])
    with pytest.raises(IndexError, match="highlight names query 7"):
        figures.attention_heatmap(causal_weights(2, 2), ["a", "b"], highlight=[(7, 0)])


def test_rows_that_do_not_sum_to_one_are_drawn_on_request():
    drawing = figures.attention_heatmap(np.eye(2) / 2, ["a", "b"], normalized=False)
    np.testing.assert_array_equal(drawing.arrays["weights"], np.eye(2) / 2)


def test_montage_places_each_head_in_its_layer():
    attention = causal_weights(3, 2, 5, 5)
    drawing = figures.attention_montage(torch.tensor(attention), TOKENS)
    axes = drawing.figure.axes[0]
    np.testing.assert_array_equal(drawing.arrays["attention"], attention)
    assert len(axes.images) == 6 and hatched(axes) == 6
    for index, image in enumerate(axes.images):
        layer, head = divmod(index, 2)
        np.testing.assert_array_equal(image.get_array().data, attention[layer, head])
        assert image.get_array().mask[0, 1]
        left, right, bottom, top = image.get_extent()
        assert left < axes.get_xticks()[head] < right and top < axes.get_yticks()[layer] < bottom
    assert labels(axes.yaxis) == ["layer 0", "layer 1", "layer 2"]
    assert labels(axes.xaxis) == ["head 0", "head 1"]
    assert (
        "query" in axes.get_ylabel()
        and "key" in axes.get_xlabel()
        and "Once upon a time" in axes.get_xlabel()
    )


@pytest.mark.parametrize("count", [1, 3])
def test_montage_draws_copy_heads_as_one_more_row(count):
    attention, copying = causal_weights(2, 2, 5, 5), causal_weights(count, 5, 5)
    highlight = [(2, count - 1)]
    drawing = figures.attention_montage(attention, TOKENS, copying=copying, highlight=highlight)
    axes = drawing.figure.axes[0]
    np.testing.assert_array_equal(drawing.arrays["copying"], copying)
    for image, weights in zip(axes.images[4:], copying, strict=True):
        np.testing.assert_array_equal(image.get_array().data, weights)
    assert labels(axes.yaxis) == ["layer 0", "layer 1", "copy"]
    assert labels(axes.xaxis) == [f"head {head}" for head in range(max(2, count))]


def test_montage_of_144_heads_is_one_picture():
    drawing = figures.attention_montage(causal_weights(12, 12, 20, 20), TOKENS * 4)
    assert len(drawing.figure.axes) == 2 and len(drawing.figure.axes[0].images) == 144


def test_montage_refuses_by_name():
    with pytest.raises(ValueError, match=r"attention has shape .*; it needs \(layer, head, query, key\)"):
        figures.attention_montage(causal_weights(5, 5), TOKENS)
    with pytest.raises(ValueError, match="tokens has 2 entries"):
        figures.attention_montage(causal_weights(1, 1, 5, 5), TOKENS[:2])
    with pytest.raises(IndexError, match="highlight names layer 4, head 0, of 1 layers"):
        figures.attention_montage(causal_weights(1, 1, 5, 5), TOKENS, highlight=[(4, 0)])
    with pytest.raises(ValueError, match=r"copying has shape \(2, 4, 4\); .* it needs \(head, 5, 5\)"):
        figures.attention_montage(causal_weights(1, 1, 5, 5), TOKENS, copying=causal_weights(2, 4, 4))


def test_training_has_a_named_panel_for_each_step():
    drawing = figures.attention_over_training(
        [(step, causal_weights(5, 5)) for step in (0, 10, 2000)], TOKENS
    )
    assert {"step 0", "step 10", "step 2,000"} <= set(texts(drawing))
    assert drawing.arrays["weights"].shape == (3, 5, 5) and list(drawing.arrays["steps"]) == [0, 10, 2000]


def test_training_with_heads_has_heads_as_rows():
    weights = causal_weights(2, 5, 5)
    drawing = figures.attention_over_training([(0, weights), (5, weights[::-1].copy())], TOKENS)
    axes = drawing.figure.axes[0]
    assert labels(axes.yaxis) == ["head 0", "head 1"] and labels(axes.xaxis) == ["step 0", "step 5"]
    np.testing.assert_array_equal(axes.images[1].get_array().data, weights[1])  # head 0 at step 5


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ([], "patterns is empty"),
        ([(5, causal_weights(5, 5)), (0, causal_weights(5, 5))], "they need to rise"),
        ([(0, causal_weights(5, 5)), (1, causal_weights(4, 4))], "it needs one at every step"),
        ([(7, np.eye(5) * 2)], "weights at step 7 sums to 2"),
    ],
)
def test_training_refuses_by_name(patterns, message):
    with pytest.raises(ValueError, match=message):
        figures.attention_over_training(patterns, TOKENS)


# --- charts and bars ------------------------------------------------------------------------------------


def test_loss_curves_draw_the_floor_and_the_baselines():
    steps, losses = np.arange(100), np.linspace(5, 1.5, 100)
    drawing = figures.loss_curves(
        {"train": (steps, torch.tensor(losses))}, floor=1.21, marks={"bigram": 3.9, "3-gram": 3.85}
    )
    np.testing.assert_array_equal(drawing.arrays["train"], [steps, losses])
    assert drawing.arrays["floor"] == 1.21 and drawing.arrays["bigram"] == 3.9
    assert {"entropy floor 1.21", "bigram 3.90", "3-gram 3.85", "train"} <= set(texts(drawing))
    axes = drawing.figure.axes[0]
    assert axes.get_ylim()[0] < 1.21 and hatched(axes) == 1
    floor = next(line for line in axes.lines if set(np.asarray(line.get_ydata(), float)) == {1.21})
    assert floor.is_dashed()


def test_labels_of_near_lines_do_not_overlap():
    marks = {f"model {i}": 3 + 0.001 * i for i in range(12)}
    drawing = figures.loss_curves({"train": ([0, 1], [5, 1])}, floor=0.99, marks=marks)
    drawing.png()
    renderer = drawing.figure.canvas.get_renderer()
    boxes = sorted(
        (text.get_window_extent(renderer) for text in drawing.figure.axes[0].texts), key=lambda box: box.y0
    )
    assert len(boxes) == 14
    assert all(below.y1 <= above.y0 + 1 for below, above in zip(boxes, boxes[1:], strict=False))


def test_smoothing_changes_the_picture_and_not_the_arrays():
    losses = np.tile([1.0, 2.0], 50)
    drawing = figures.loss_curves({"train": (np.arange(100), losses)}, smooth=10)
    np.testing.assert_array_equal(drawing.arrays["train"][1], losses)
    raw, smooth = drawing.figure.axes[0].lines[:2]
    np.testing.assert_array_equal(raw.get_ydata(), losses)
    np.testing.assert_array_equal(smooth.get_xdata(), raw.get_xdata())
    np.testing.assert_allclose(smooth.get_ydata()[5:-5], 1.5)


def test_smoothing_neither_delays_nor_lifts_a_curve():
    """A trailing mean lies above whatever falls; on a straight line one around each point changes nothing."""
    line = np.linspace(5, 1, 101)
    smooth = figures.loss_curves({"train": (np.arange(101), line)}, smooth=9).figure.axes[0].lines[1]
    np.testing.assert_allclose(smooth.get_ydata()[4:-4], line[4:-4])
    np.testing.assert_allclose(smooth.get_ydata()[[0, -1]], [line[:5].mean(), line[-5:].mean()])


def test_what_is_measured_more_rarely_is_not_smoothed():
    curves = {
        "train": (np.arange(1, 1001), np.linspace(5, 1, 1000)),
        "validation": (np.arange(10, 1001, 10), np.geomspace(5, 1, 100)),
    }
    axes = figures.loss_curves(curves, smooth=9).figure.axes[0]
    drawn = [line.get_ydata() for line in axes.lines if len(line.get_xdata()) == 100]
    assert len(drawn) == 1
    np.testing.assert_array_equal(drawn[0], curves["validation"][1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"curves": {}}, "curves is empty"),
        ({"curves": {"a": ([0, 1], [1])}}, r"curves\['a'\] has 2 values of x and 1 of y"),
        ({"curves": {"a": ([0, 1], [1, np.inf])}}, r"curves\['a'\] has inf .*finite"),
        ({"curves": {"a": ([0], [1])}, "marks": {"a": 2}}, "marks has the name 'a'"),
        ({"curves": {"floor": ([0], [1])}, "floor": 1}, '"floor" names the entropy floor'),
        ({"curves": {"a": ([0], [1])}, "floor": float("nan")}, "floor is nan; it needs a finite"),
        ({"curves": {"a": ([0], [1])}, "log_x": True}, "log_x needs x above 0"),
        ({"curves": {"a": ([0], [1])}, "smooth": 0}, "smooth is .* at least 1"),
    ],
)
def test_loss_curves_refuse_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        figures.loss_curves(**options)


def test_line_chart_draws_each_line_and_its_name():
    drawing = figures.line_chart({"flat": ([1, 2, 3], [1, 1, 1])}, "Notice", "x", "y", log_y=True)
    axes = drawing.figure.axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xydata().T, drawing.arrays["flat"])
    assert (axes.get_yscale(), axes.get_xscale(), axes.get_xlabel(), axes.get_ylabel()) == (
        "log",
        "linear",
        "x",
        "y",
    )
    assert {"flat", "Notice"} <= set(texts(drawing))
    with pytest.raises(ValueError, match="log_y needs values above 0"):
        figures.line_chart({"a": ([1], [0])}, log_y=True)


def test_line_chart_draws_a_bar_for_each_error():
    lines = {"a": ([1, 2, 3], [1, 1, 4]), "b": ([1, 2], [2, 2])}
    drawing = figures.line_chart(lines, errors={"a": [0.5, 0, 2]})
    axes = drawing.figure.axes[0]
    np.testing.assert_array_equal(drawing.arrays["a error"], [0.5, 0, 2])
    (bars,) = axes.collections
    reach = np.array([bar[:, 1] for bar in bars.get_segments()])
    np.testing.assert_allclose(reach, [[0.5, 1.5], [1, 1], [2, 6]])
    assert to_rgb(bars.get_color()[0]) == to_rgb(axes.lines[0].get_color())
    low, high = axes.get_ylim()
    assert low < 0.5 and high > 6
    for errors, message in (
        ({"c": [1]}, "'c', which is not one of the lines"),
        ({"b": [1]}, "has 1 values, the lowest 1; it needs 2, none below 0"),
        ({"b": [1, -1]}, "it needs 2, none below 0"),
    ):
        with pytest.raises(ValueError, match=message):
            figures.line_chart(lines, errors=errors)
    with pytest.raises(ValueError, match="log_y needs values above 0"):
        figures.line_chart({"a": ([1], [1])}, log_y=True, errors={"a": [1]})


def test_scatter_draws_each_point_and_the_diagonal():
    drawing = figures.scatter({"a": ([1, 2], [2, 5])}, "Notice", "x", "y", diagonal="equal")
    axes = drawing.figure.axes[0]
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), drawing.arrays["a"].T)
    np.testing.assert_array_equal(*axes.lines[0].get_data())
    assert axes.get_xlim() == axes.get_ylim()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["equal", "a"]
    with pytest.raises(ValueError, match="points"):
        figures.scatter({})


def test_scatter_draws_curves_in_the_color_of_their_points():
    points = {"a": ([1, 10], [2, 5]), "b": ([3], [4])}
    curves = {"b": ([1, 100], [2, 3]), "roof": ([1, 9], [1, 1])}
    drawing = figures.scatter(points, curves=curves, log=True)
    axes = drawing.figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    np.testing.assert_array_equal(drawing.arrays["b curve"], curves["b"])
    own, other = axes.lines
    of_points = axes.collections[1].get_facecolor()[0, :3]
    np.testing.assert_allclose(to_rgb(own.get_color()), of_points)
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"a", "b", "roof"}
    assert axes.get_xlim()[1] > 100 > axes.get_ylim()[1]
    assert other.get_linestyle() != own.get_linestyle()
    with pytest.raises(ValueError, match="log needs values above 0, and 0 is not"):
        figures.scatter({"a": ([0], [1])}, log=True)


def test_bar_chart_draws_each_value_and_writes_it():
    drawing = figures.bar_chart(["a", "b"], [1.25, -0.5], "T", "nats", highlight=["b"], marks={"floor": 1.0})
    axes = drawing.figure.axes[0]
    assert [patch.get_width() for patch in axes.patches[:2]] == [1.25, -0.5]
    assert axes.patches[0].get_facecolor() != axes.patches[1].get_facecolor()
    assert {"a", "b", "1.25", "−0.50", "floor 1.00", "nats", "T"} <= set(texts(drawing))
    with pytest.raises(ValueError, match="names has 1 entries"):
        figures.bar_chart(["a"], [1, 2])
    with pytest.raises(ValueError, match="highlight has 'z'"):
        figures.bar_chart(["a"], [1], highlight=["z"])


def test_next_token_bars_show_the_likeliest_and_the_rest():
    probabilities = np.array([0.1, 0.5, 0.05, 0.3, 0.05])
    drawing = figures.next_token_bars(probabilities, [" a", " b", "c", "\n", "e"], k=2, highlight=2)
    assert list(drawing.arrays["tokens"]) == [1, 3, 2]
    np.testing.assert_array_equal(drawing.arrays["probabilities"], [0.5, 0.3, 0.05])
    np.testing.assert_allclose(drawing.arrays["others"], 0.15)
    assert labels(drawing.figure.axes[0].yaxis) == ["␣b", "↵", "▶ c", "2 others"]


def test_next_token_bars_compare_two_distributions():
    drawing = figures.next_token_bars([0.6, 0.4], ["a", "b"], compare=[0.1, 0.9], names=("cold", "hot"))
    np.testing.assert_array_equal(drawing.arrays["compare"], [0.1, 0.9])
    legend = drawing.figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["cold", "hot"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probabilities": [0.5, 0.2]}, "probabilities sums to 0.7; it needs to sum to 1"),
        ({"probabilities": [1.5, -0.5]}, "probabilities has -0.5 .* from 0 up"),
        ({"pieces": ["a"]}, "pieces has 1 entries but probabilities needs 2"),
        ({"k": 0}, "k is .* at least 1"),
        ({"compare": [1.0]}, "compare has 1 entries"),
    ],
)
def test_next_token_bars_refuse_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        figures.next_token_bars(**{"probabilities": [0.5, 0.5], "pieces": ["a", "b"], **options})


# --- grids, positions, text, map ------------------------------------------------------------------------


def test_grid_heatmap_draws_numbers_signs_and_hatching():
    masked = np.array([[True, False], [False, False]])
    drawing = figures.grid_heatmap(
        [[9, -2], [3, 0]], ["r", " "], ["c", "d"], "T", "rows", "columns", masked=masked, diverging=True
    )
    axes = drawing.figure.axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array().mask, masked)
    assert [text.get_text() for text in axes.texts] == ["−2.00", "3.00", "0.00"]
    assert axes.images[0].get_clim() == (-3, 3) and hatched(axes) == 1
    assert labels(axes.yaxis) == ["r", "␣"] and (axes.get_ylabel(), axes.get_xlabel()) == ("rows", "columns")
    with pytest.raises(ValueError, match="column_labels has 1 entries"):
        figures.grid_heatmap([[1, 2]], ["r"], ["c"])
    with pytest.raises(ValueError, match="masked .* needs to be boolean"):
        figures.grid_heatmap([[1, 2]], ["r"], ["c", "d"], masked=[[0, 1]])


def test_grid_heatmap_of_equal_numbers_and_of_nothing_but_masked_cells():
    figures.grid_heatmap(np.zeros((2, 2)), ["a", "b"], ["c", "d"]).png()
    figures.grid_heatmap(np.ones((1, 1)), ["a"], ["b"], masked=[[True]]).png()


def test_positions():
    table = np.array([[1.0, 0.0], [0.0, -2.0], [3.0, 0.0]])
    drawing = figures.position_encodings(torch.tensor(table))
    axes = drawing.figure.axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), table)
    assert axes.images[0].get_clim() == (-3, 3) and (axes.get_ylabel(), axes.get_xlabel()) == (
        "position",
        "dimension",
    )
    similarity = figures.position_similarity(table).arrays["similarity"]
    np.testing.assert_allclose(similarity, [[1, 0, 1], [0, 1, 0], [1, 0, 1]])
    with pytest.raises(ValueError, match="table is all zero at position 1"):
        figures.position_similarity([[1.0, 0.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match=r"table has shape .*; it needs \(position, d_model\)"):
        figures.position_encodings([1.0, 2.0])


def test_text_strip_wraps_between_words_and_at_newlines():
    pieces = ["One", "\n"] + [" some", "thing"] * 20
    drawing = figures.text_strip(pieces, range(42))
    lines = drawing.arrays["line"]
    np.testing.assert_array_equal(drawing.arrays["values"], np.arange(42.0))
    assert list(lines[:3]) == [0, 0, 1] and lines[-1] == 3
    assert all(lines[2::2] == lines[3::2])  # a word is not broken between its tokens
    assert "One" in texts(drawing) and "↵" in texts(drawing) and "surprise (nats)" in texts(drawing)
    assert list(figures.text_strip(["a" * 200, "b"], [1, 2]).arrays["line"]) == [0, 2]
    with pytest.raises(ValueError, match="pieces has 1 entries but values of 2 tokens needs 2"):
        figures.text_strip(["a"], [1, 2])
    with pytest.raises(ValueError, match="largest is .* more than smallest"):
        figures.text_strip(["a"], [1], largest=-1)


def test_map_names_every_notebook_and_highlights_one():
    drawing = figures.gpt_map()
    said = " ".join(texts(drawing)).replace("\n", " ")
    titles = "Language models, Tokens, Attention, Causal attention, Positions, Many heads, The block, GPT"
    for title in (*titles.split(", "), "Training", "Generation"):
        assert title in said
    assert len(drawing.arrays["notebooks"]) == 10 and drawing.arrays["current"] == ""
    pictures = {current: figures.gpt_map(current).png() for current in (None, "attention", "gpt")}
    assert pictures[None] == drawing.png() and len(set(pictures.values())) == 3
    assert figures.gpt_map("block").arrays["current"] == "block"
    for wrong in ("", "myths", "04_attention"):
        with pytest.raises(ValueError, match="it needs to be None or one of language_models"):
            figures.gpt_map(wrong)


def test_readable_pieces():
    assert figures.readable(" the\n") == "␣the↵"
    assert figures.readable("你😃\x00\ufffd") in (r"\u4f60😃\x00�", r"\u4f60\U1f603\x00�")
    assert figures.readable("") == "(empty)"
    assert figures.readable("abcdefghij", limit=5) == "ab…ij"


def test_spread_keeps_order_distance_and_bounds():
    placed = spread([0.5, 0.5, 0.1, 0.9], 0.1, 0, 1)
    np.testing.assert_allclose(placed, [0.45, 0.55, 0.1, 0.9])
    np.testing.assert_allclose(spread([1, 1, 1], 0.2, 0, 1), [0.6, 0.8, 1.0])
    assert spread([], 0.1, 0, 1).size == 0
