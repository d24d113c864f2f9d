"""Positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.model.attention import attend
from gptlib.model.masks import causal_mask
from gptlib.model.positions import rotate, sinusoidal_positions
from gptlib.viz import figures
from gptlib.viz.drawing import Drawing

Layer = Callable[[Tensor], Tensor]


def is_equivariant(layer: Layer, x: Float[Tensor, "seq d_model"], order: Int[Tensor, " seq"]) -> bool:
    return torch.allclose(layer(x[order]), layer(x)[order], atol=1e-5)


def add_positions(
    x: Float[Tensor, "batch seq d_model"], table: Float[Tensor, "context_length d_model"], start: int
) -> Float[Tensor, "batch seq d_model"]:
    return x + table[start : start + x.shape[1]]


class NamedLayer:
    """A layer that says what it does when it is printed."""

    def __init__(self, name: str, function: Layer) -> None:
        self.name = name
        self.function = function

    def __call__(self, x: Float[Tensor, "seq d_model"]) -> Float[Tensor, "seq d_model"]:
        return self.function(x)

    def __repr__(self) -> str:
        return self.name


def layers_to_shuffle(generator: Generator) -> Iterator[tuple[NamedLayer, Tensor, Tensor]]:
    """Layers on two words of two numbers, then on four of four. Of the latter's orders the last is its own inverse."""
    add_the_first = NamedLayer(
        "a layer that adds the first number of the first word to every number", lambda x: x + x[0, 0]
    )
    for x in (torch.tensor([[3.0, 1.0], [1.0, 2.0]]), torch.tensor([[1.0, 2.0], [3.0, 1.0]])):
        yield add_the_first, x, torch.tensor([1, 0])  # all outputs too small, or all too large
    table = torch.randn(4, 4, generator=generator)
    mask = causal_mask(4)
    at = torch.arange(4.0)[:, None]
    first, last, corner = torch.zeros(4, 4), torch.zeros(4, 4), torch.zeros(4, 4)
    first[0] = last[3] = 1.0
    corner[0, 0] = 6e-5  # the mean of the differences is below 1e-5
    in_turn = torch.tensor([1.0, -1.0, 1.0, -1.0])
    for name, function in (
        ("attention", lambda x: attend(x, x, x)[0]),
        ("attention with a causal mask", lambda x: attend(x, x, x, mask)[0]),
        ("attention with positions added", lambda x: attend(x + table, x + table, x + table)[0]),
        ("a layer that gives every position the mean of all", lambda x: x.mean(dim=0).expand(4, 4)),
        ("a layer that gives every position a vector of its own and ignores the words", lambda x: table),
        ("a layer that adds 1 to the first row only", lambda x: x + first),
        ("a layer that adds 1 to the last row only", lambda x: x + last),
        ("a layer that adds 0.00006 to the first number of the first row only", lambda x: x + corner),
        (
            "a layer that adds t to row t in even columns and subtracts it in odd ones",
            lambda x: x + at * in_turn,
        ),
        (
            "a layer that averages each row with the two beside it, where the first and the last are neighbors",
            lambda x: (x.roll(1, 0) + x + x.roll(-1, 0)) / 3,
        ),
        (
            "a layer that divides by 100 and rounds each row a little differently",
            lambda x: x / 100 + 3e-7 * at,
        ),
        (
            "a layer that divides by 100, adds 1 and rounds each row a little differently",
            lambda x: x / 100 + 1 + 3e-6 * at,
        ),
        ("a layer that doubles every number", lambda x: 2 * x),
    ):
        x = torch.randn(4, 4, generator=generator)
        yield NamedLayer(name, function), x, torch.tensor([2, 0, 3, 1])
    x = torch.randn(4, 4, generator=generator)
    yield NamedLayer("a layer that reverses the rows", lambda x: x.flip(0)), x, torch.tensor([2, 0, 1, 3])
    x = torch.randn(4, 4, generator=generator)
    yield NamedLayer("attention", lambda x: attend(x, x, x)[0]), x, torch.tensor([1, 0, 3, 2])


def vectors_and_tables(generator: Generator) -> Iterator[tuple[Tensor, Tensor, int]]:
    sizes = ((1, 2, 2, 4, 1), (2, 1, 3, 6, 2), (2, 3, 4, 8, 0), (4, 4, 5, 9, 3))
    for batch, seq, d_model, context_length, start in sizes:
        x = torch.randn(batch, seq, d_model, generator=generator)
        yield x, torch.randn(context_length, d_model, generator=generator), start


def lengths_and_widths(generator: Generator) -> Iterator[tuple[int, int]]:
    yield from ((3, 2), (4, 6), (9, 16))


def vectors_at_positions(generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    yield torch.randn(2, 2, generator=generator), torch.tensor([0, 1])
    yield torch.randn(3, 4, generator=generator), torch.tensor([5, 2, 3])
    yield torch.randn(2, 3, 5, 8, generator=generator), torch.tensor([7, 2, 9, 0, 4])


def table_of_clocks(
    length: int, frequencies: Float[Tensor, " half"], first: int = 0
) -> Float[Tensor, "length d_model"]:
    angles = torch.arange(first, first + length)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def in_halves(table: Float[Tensor, "length d_model"], first: int) -> Float[Tensor, "length d_model"]:
    """Every second column, starting at `first`, then all the others."""
    return torch.cat([table[:, first::2], table[:, 1 - first :: 2]], dim=1)


def a_frequency_for_each_column(length: int, d_model: int, times: int = 1) -> Float[Tensor, "length d_model"]:
    angles = torch.arange(length)[:, None] * 10000.0 ** (-times * torch.arange(d_model) / d_model)
    return torch.where(torch.arange(d_model) % 2 == 0, angles.sin(), angles.cos())


def turned_by(x: Float[Tensor, "*batch seq d_head"], angles: Float[Tensor, "seq half"]) -> Tensor:
    even, odd = x[..., 0::2], x[..., 1::2]
    cosines, sines = angles.cos(), angles.sin()
    return torch.stack([even * cosines - odd * sines, even * sines + odd * cosines], dim=-1).flatten(-2)


def frequencies_for(d: int) -> Float[Tensor, " half"]:
    return 10000.0 ** (-torch.arange(0, d, 2) / d)


def angles_for(x: Float[Tensor, "*batch seq d_head"], positions: Int[Tensor, " seq"]) -> Tensor:
    return positions[:, None] * frequencies_for(x.shape[-1])


def rotate_halves(x: Float[Tensor, "*batch seq d_head"], positions: Int[Tensor, " seq"]) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    cosines, sines = angles_for(x, positions).cos(), angles_for(x, positions).sin()
    return torch.cat([first * cosines - second * sines, first * sines + second * cosines], dim=-1)


def rotate_mixed(x: Float[Tensor, "*batch seq d_head"], positions: Int[Tensor, " seq"]) -> Tensor:
    """Partners half a vector apart, with the angles of neighbors."""
    angles = angles_for(x, positions).repeat_interleave(2, dim=-1)
    first, second = x.chunk(2, dim=-1)
    return x * angles.cos() + torch.cat([-second, first], dim=-1) * angles.sin()


def rotate_in_place(x: Float[Tensor, "*batch seq d_head"], positions: Int[Tensor, " seq"]) -> Tensor:
    cosines, sines = angles_for(x, positions).cos(), angles_for(x, positions).sin()
    first = x[..., 0::2] * cosines - x[..., 1::2] * sines
    return torch.stack([first, first * sines + x[..., 1::2] * cosines], dim=-1).flatten(-2)


def rotate_without_minus(x: Float[Tensor, "*batch seq d_head"], positions: Int[Tensor, " seq"]) -> Tensor:
    even, odd = x[..., 0::2], x[..., 1::2]
    cosines, sines = angles_for(x, positions).cos(), angles_for(x, positions).sin()
    return torch.stack([even * cosines + odd * sines, even * sines + odd * cosines], dim=-1).flatten(-2)


def second_subtracted(x: Float[Tensor, "*batch seq d_head"], positions: Int[Tensor, " seq"]) -> Tensor:
    even, odd = x[..., 0::2], x[..., 1::2]
    cosines, sines = angles_for(x, positions).cos(), angles_for(x, positions).sin()
    return torch.stack([even * cosines - odd * sines, even * sines - odd * cosines], dim=-1).flatten(-2)


def first_left_out(
    x: Float[Tensor, "batch seq d_model"], table: Float[Tensor, "context_length d_model"], start: int
) -> Float[Tensor, "batch seq d_model"]:
    output = x.clone()
    for t in range(start, x.shape[1]):
        output[:, t] += table[t]
    return output


def true_or_error(layer: Layer, x: Float[Tensor, "seq d_model"], order: Int[Tensor, " seq"]) -> bool:
    assert is_equivariant(layer, x, order)
    return True


SINUSOIDAL_SOURCE = """\
def sinusoidal_positions(length, d_model):
    frequencies = 10000.0 ** (-torch.arange(0, d_model, 2) / d_model)  # (d_model/2,)
    angles = torch.arange(length)[:, None] * frequencies  # (length, d_model/2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)  # (length, d_model)
"""

ROTATE_SOURCE = """\
def rotate(x, positions, base=10000.0):
    d = x.shape[-1]
    angles = positions[:, None] * base ** (-torch.arange(0, d, 2) / d)  # (seq, d/2)
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = [even * angles.cos() - odd * angles.sin(), even * angles.sin() + odd * angles.cos()]
    return torch.stack(turned, dim=-1).flatten(-2)  # (…, seq, d/2, 2) -> (…, seq, d)
"""

IS_EQUIVARIANT = Exercise(
    name="positions.is_equivariant",
    reference=is_equivariant,
    inputs=layers_to_shuffle,
    buys="You can now test whether a layer notices the order, without looking inside it.",
    hints=(
        "If a layer sees a bag, it makes no difference whether you shuffle before the layer or after it.",
        "x is (seq, d_model) and order is (seq,). x[order] shuffles the words, and layer(x)[order] shuffles the outputs.",
        "Compare layer(x[order]) with layer(x)[order], using torch.allclose with atol=1e-5.",
    ),
    misconceptions=(
        Misconception(
            "not_moved_along",
            "you tested whether a shuffle changes nothing at all. An output may move along with its word, so shuffle the outputs too.",
            lambda layer, x, order: torch.allclose(layer(x[order]), layer(x), atol=1e-5),
        ),
        Misconception(
            "moved_back",
            "you put the outputs in the inverse order. A word and its output move together, so use order for both.",
            lambda layer, x, order: torch.allclose(layer(x[order]), layer(x)[order.argsort()], atol=1e-5),
        ),
        Misconception(
            "columns",
            "you shuffled the columns, which are the numbers of a word. The words are the rows: x[order].",
            lambda layer, x, order: torch.allclose(layer(x[:, order]), layer(x)[:, order], atol=1e-5),
        ),
        Misconception(
            "turned",
            "the answer is the wrong way around. True should mean that the outputs move along with their words.",
            lambda layer, x, order: not is_equivariant(layer, x, order),
        ),
        Misconception(
            "to_the_last_bit",
            "you required the numbers to be equal to the last bit. Their rounding may differ: use torch.allclose with atol=1e-5.",
            lambda layer, x, order: torch.equal(layer(x[order]), layer(x)[order]),
        ),
        Misconception(
            "for_each_number",
            "you gave one answer for each number. The layer gets a single True or False: use torch.allclose, or .all().",
            lambda layer, x, order: torch.isclose(layer(x[order]), layer(x)[order], atol=1e-5),
        ),
        Misconception(
            "each_to_the_last_bit",
            "you gave one answer for each number, and True only where the two are equal to the last bit. Return a single True or "
            "False that allows for rounding: use torch.allclose with atol=1e-5.",
            lambda layer, x, order: layer(x[order]) == layer(x)[order],
        ),
        Misconception(
            "default_tolerance",
            "your test is too strict for numbers near 0, where rounding makes a larger difference than torch.allclose allows "
            "by default. Add atol=1e-5.",
            lambda layer, x, order: torch.allclose(layer(x[order]), layer(x)[order]),
        ),
        Misconception(
            "error_for_false",
            "your function raises an AssertionError where it should return False. torch.allclose gives True or False: return that.",
            true_or_error,
        ),
        Misconception(
            "always_true",
            "your answer is True for every layer, even for one that adds 1 to the first row. "
            "Compare layer(x[order]) with layer(x)[order].",
            lambda layer, x, order: True,
        ),
        Misconception(
            "as_bags",
            "you tested only whether the same outputs come out, in whatever order. Which word gets which output matters too: compare "
            "layer(x[order]) with layer(x)[order] row by row.",
            lambda layer, x, order: torch.allclose(
                layer(x[order]).sort(dim=0).values, layer(x).sort(dim=0).values, atol=1e-5
            ),
        ),
        Misconception(
            "one_order_only",
            "you ran the layer on one order of the words, and compared its outputs with the same outputs shuffled. "
            "Run it on both orders: compare layer(x[order]) with layer(x)[order].",
            lambda layer, x, order: torch.allclose(layer(x)[order], layer(x), atol=1e-5),
        ),
    ),
    minutes=5,
    difficulty=1,
)

ADD_POSITIONS = Exercise(
    name="positions.add_positions",
    reference=add_positions,
    inputs=vectors_and_tables,
    buys="With `start`, a model can go on reading where it stopped. Generation, a later notebook, writes text that way.",
    hints=(
        "The first of these tokens is at position start, the next at start + 1, and so on.",
        "x is (batch, seq, d_model). Take seq rows of the table, (seq, d_model). Adding them to x adds them to every text in the batch.",
        "Add the rows of table from start up to, but not including, start + seq, with seq = x.shape[1].",
    ),
    misconceptions=(
        Misconception(
            "from_the_top",
            "you took rows from the top of the table. The first of these tokens is at position start, not at 0.",
            lambda x, table, start: x + table[: x.shape[1]],
        ),
        Misconception(
            "counted_from_one",
            "every row you took is one too far down. Positions count from 0, so the first token gets row start itself.",
            lambda x, table, start: x + table[start + 1 : start + 1 + x.shape[1]],
        ),
        Misconception(
            "one_row_for_all",
            "all tokens got the row of the first one. Then their vectors claim that they are all at the same position.",
            lambda x, table, start: x + table[start],
        ),
        Misconception(
            "words_gone",
            "only the positions are left. They are added to the words, so the words have to stay.",
            lambda x, table, start: table[start : start + x.shape[1]],
        ),
        Misconception(
            "number_added",
            "you added the number of the position. Add its row of the table, which is a vector.",
            lambda x, table, start: x + torch.arange(start, start + x.shape[1])[:, None],
        ),
        Misconception(
            "texts_counted",
            "you took as many rows as there are texts in the batch. Every token needs one: seq is x.shape[1], and len(x) is batch.",
            lambda x, table, start: x + table[start : start + x.shape[0]],
        ),
        Misconception(
            "end_without_start",
            "your slice ends at row seq, wherever it starts. To hold seq rows from row start on, it has to end at start + seq.",
            lambda x, table, start: x + table[start : x.shape[1]],
        ),
        Misconception(
            "one_too_few",
            "your slice ends one row too early. A slice leaves out its end, so let it end at start + seq.",
            lambda x, table, start: x + table[start : start + x.shape[1] - 1],
        ),
        Misconception(
            "to_the_end",
            "you took all rows from start to the end of the table. Take only as many as there are tokens: "
            "let the slice end at start + seq.",
            lambda x, table, start: x + table[start:],
        ),
        Misconception(
            "first_left_out",
            "you added nothing to the first `start` tokens of x. But x holds only the new tokens, and the first of them is "
            "already at position `start`.",
            first_left_out,
        ),
        Misconception(
            "one_too_early",
            "every row you took is one too far up. The first token gets row start itself, not the row before it.",
            lambda x, table, start: x + table[start - 1 : start - 1 + x.shape[1]],
        ),
        Misconception(
            "words_gone_everywhere",
            "every text in the batch got its positions, but the words are gone. Add the rows to x.",
            lambda x, table, start: table[start : start + x.shape[1]].expand_as(x),
        ),
    ),
    minutes=4,
    difficulty=1,
)

SINUSOIDAL_POSITIONS = Exercise(
    name="positions.sinusoidal_positions",
    reference=sinusoidal_positions,
    source=SINUSOIDAL_SOURCE,
    inputs=lengths_and_widths,
    buys="You have a table without a last row: you can ask for any position.",
    hints=(
        "Compute a grid of angles, position times frequency, and then put the sine and the cosine of each angle side by side.",
        "Frequencies are (d_model/2,), positions (length, 1), angles (length, d_model/2). Sines and cosines alternate in a row.",
        "The frequencies are 10000 to the power −(0, 2, 4, …)/d_model. Stack sines and cosines along a new last dimension, "
        "and then use flatten(1).",
    ),
    misconceptions=(
        Misconception(
            "halves",
            "all sines come first and all cosines after them. Here they alternate: put the sine and cosine of each hand side by side.",
            lambda length, d_model: in_halves(table_of_clocks(length, frequencies_for(d_model)), first=0),
        ),
        Misconception(
            "cosine_first",
            "each cosine comes before its sine. Position 0 should begin with sin 0 = 0.",
            lambda length, d_model: (
                table_of_clocks(length, frequencies_for(d_model)).unflatten(1, (-1, 2)).flip(-1).flatten(1)
            ),
        ),
        Misconception(
            "halves_cosine_first",
            "all cosines come first and all sines after them. Put the sine and cosine of each hand side by side, the sine first.",
            lambda length, d_model: in_halves(table_of_clocks(length, frequencies_for(d_model)), first=1),
        ),
        Misconception(
            "own_exponent",
            "every column has a frequency of its own, 10000 to the power −j/d_model. The sine and cosine of hand i share one: columns 2i and 2i + 1 both have the exponent −2i/d_model.",
            a_frequency_for_each_column,
        ),
        Misconception(
            "growing",
            "each hand turns faster than the one before: the exponent lacks its minus sign. Hand i turns by 10000 to the power −2i/d_model.",
            lambda length, d_model: table_of_clocks(
                length, 10000.0 ** (torch.arange(0, d_model, 2) / d_model)
            ),
        ),
        Misconception(
            "one_clock",
            "all hands turn equally fast. Hand i turns by 10000 to the power −2i/d_model, so each is slower than the one before.",
            lambda length, d_model: table_of_clocks(length, torch.ones(d_model // 2)),
        ),
        Misconception(
            "half_the_exponent",
            "the exponent of hand i is −i/d_model, half of what it should be. With i = 0, 1, 2, … it should be −2i/d_model.",
            lambda length, d_model: table_of_clocks(length, frequencies_for(d_model).sqrt()),
        ),
        Misconception(
            "from_one",
            "the positions count from 1. Position 0 comes first: its sines are all 0 and its cosines all 1.",
            lambda length, d_model: table_of_clocks(length, frequencies_for(d_model), first=1),
        ),
        Misconception(
            "twice_the_exponent",
            "the exponents are twice as large as they should be. The right ones are −2i/d_model. The even numbers 0, 2, 4, … are already 2i, "
            "and what they are divided by is d_model, not half of it.",
            lambda length, d_model: table_of_clocks(length, frequencies_for(d_model) ** 2),
        ),
        Misconception(
            "own_exponent_doubled",
            "every column has a frequency of its own, 10000 to the power −2j/d_model, where j counts the columns. The sine and "
            "cosine of hand i share one: columns 2i and 2i + 1 both have the exponent −2i/d_model.",
            lambda length, d_model: a_frequency_for_each_column(length, d_model, times=2),
        ),
        Misconception(
            "power_first",
            "the hands hardly move: every angle is almost 0. Python takes the power before it multiplies and divides, so "
            "`10000 ** -2 * i / d_model` is `(10000 ** -2) * i / d_model`. Put the whole exponent in parentheses.",
            lambda length, d_model: table_of_clocks(
                length, 10000.0**-2 * torch.arange(d_model // 2) / d_model
            ),
        ),
        Misconception(
            "reshaped",
            "the numbers are right, but reshaping put them in the wrong places. Stack the sines and cosines along a new last "
            "dimension, dim=-1: then each sine stands next to its cosine, and flatten(1) keeps them that way.",
            lambda length, d_model: (
                table_of_clocks(length, frequencies_for(d_model))
                .view(length, -1, 2)
                .permute(2, 0, 1)
                .reshape(length, d_model)
            ),
        ),
    ),
    minutes=8,
    difficulty=2,
)

ROTATE = Exercise(
    name="positions.rotate",
    reference=rotate,
    source=ROTATE_SOURCE,
    inputs=vectors_at_positions,
    buys="You have built the rotary positions that Llama, Qwen and many other models use.",
    hints=(
        "Each pair (x[2i], x[2i + 1]) is an arrow. Turn it by its position times the frequency of its clock.",
        "positions (seq,), frequencies (d_head/2,), angles (seq, d_head/2). x[..., 0::2] and x[..., 1::2] are "
        "(…, seq, d_head/2) each.",
        "Let a be the numbers at even indices and b those at odd ones. The new pair is (a cos − b sin, a sin + b cos). "
        "Stack the two along a new last dimension and flatten(-2), so that they alternate again.",
    ),
    misconceptions=(
        Misconception(
            "halves",
            "you paired each number with the one half a vector away, as some models do. Here the pairs are neighbors.",
            rotate_halves,
        ),
        Misconception(
            "mixed_conventions",
            "you paired numbers half a vector apart, but gave them the angles that belong to neighbors. Pair x[2i] with x[2i + 1], and turn both by angle i.",
            rotate_mixed,
        ),
        Misconception(
            "other_way",
            "the pairs turn the other way, clockwise. Check the signs: the new first number is a cos − b sin.",
            lambda x, positions: turned_by(x, -angles_for(x, positions)),
        ),
        Misconception(
            "no_minus",
            "both new numbers are sums, which is not a turn. The first is a cos − b sin, with a minus.",
            rotate_without_minus,
        ),
        Misconception(
            "turned_twice",
            "the second number was made from the first one's new value. Compute both from the old a and b. Slices such as "
            "`x[..., 0::2]` are views: what is written into x changes them too, so copy them with .clone(), or build a new tensor.",
            rotate_in_place,
        ),
        Misconception(
            "counted_anew",
            "you counted the positions from 0. Use the argument `positions`, whose first number need not be 0.",
            lambda x, positions: turned_by(x, angles_for(x, torch.arange(len(positions)))),
        ),
        Misconception(
            "one_clock",
            "all pairs turn by the same angle. Pair i has a clock of its own, with the frequency 10000 to the power −2i/d_head.",
            lambda x, positions: turned_by(x, positions[:, None] * torch.ones(x.shape[-1] // 2)),
        ),
        Misconception(
            "left_apart",
            "the turned pairs are right, but all first numbers come before all second ones. They should alternate, as they did in x.",
            lambda x, positions: rotate(x, positions).unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2),
        ),
        Misconception(
            "twice_the_exponent",
            "the exponents are twice as large as they should be. The right ones are −2i/d_head. The even numbers 0, 2, 4, … are already 2i, "
            "and what they are divided by is d_head, not half of it.",
            lambda x, positions: turned_by(x, positions[:, None] * frequencies_for(x.shape[-1]) ** 2),
        ),
        Misconception(
            "half_the_exponent",
            "the exponent of pair i is −i/d_head, half of what it should be. With i = 0, 1, 2, … it should be −2i/d_head.",
            lambda x, positions: turned_by(x, positions[:, None] * frequencies_for(x.shape[-1]).sqrt()),
        ),
        Misconception(
            "growing",
            "each pair turns faster than the one before: the exponent lacks its minus sign. Pair i has the frequency 10000 to the power −2i/d_head.",
            lambda x, positions: turned_by(
                x, positions[:, None] * 10000.0 ** (torch.arange(0, x.shape[-1], 2) / x.shape[-1])
            ),
        ),
        Misconception(
            "second_subtracted",
            "the second new number has a minus where it needs a plus: it is a sin + b cos.",
            second_subtracted,
        ),
    ),
    minutes=15,
    difficulty=3,
    gradients=True,
)


def against_no_positions(losses: Mapping[str, Sequence[float]]) -> Drawing:
    """A row for each kind of positions, a column for each seed: its loss minus that of no positions."""
    kinds, seeds = [kind for kind in losses if kind != "none"], range(len(losses["none"]))
    return figures.grid_heatmap(
        [[losses[kind][seed] - losses["none"][seed] for seed in seeds] for kind in kinds],
        kinds,
        [f"seed {seed}" for seed in seeds],
        title="Validation loss compared with no positions: lower for rotary and ALiBi, higher for the others",
        label="difference (nats)",
        diverging=True,
    )


def losses_by_position(curves: Mapping[str, Float[Tensor, " bin"]]) -> Drawing:
    """A line for each kind of positions: the mean loss of each group of eight positions."""
    return figures.line_chart(
        {kind: (torch.arange(len(curve)) * 8 + 4, curve) for kind, curve in curves.items()},
        title="Trained on 32 tokens: learned positions stop there, and rotary falls behind ALiBi",
        x_label="position in the sequence",
        y_label="loss (nats per token)",
    )


LESSON = Lesson(
    topic="positions",
    exercises=(IS_EQUIVARIANT, ADD_POSITIONS, SINUSOIDAL_POSITIONS, ROTATE),
    predictions=(
        Prediction(
            "positions.who_finds_the_first",
            "The task is to read six different letters and a question mark, then to name the first letter. Three causal models "
            "are trained on it: one layer without positions, one layer with learned positions, and two layers without "
            "positions. Which of them learn it?",
            (
                "one layer with positions, and two layers without",
                "A causal mask is a hint too, but one layer has to pick up the hint before a second layer can use it.",
            ),
            (
                (
                    "only one layer with positions",
                    "That would be true if all layers saw a bag. But with the mask the first letter sees one key and "
                    "the sixth sees six, and a second layer can make use of the difference.",
                ),
                (
                    "all three, because the mask gives the order away",
                    "The question mark sees all six letters, and in a single layer nothing has marked them with an order yet.",
                ),
                (
                    "none, because there are too many orders to learn",
                    "The orders need not be learned one by one. A head that looks at position 0 and copies the letter is enough.",
                ),
            ),
            shows=lambda shares: figures.bar_chart(
                list(shares),
                list(shares.values()),
                title="Without positions one layer guesses, and two layers find the first letter",
                label="share of first letters found",
                marks={"one in six": 1 / 6},
            ),
            finding="One layer without positions does about as well as a guess among the six letters. One layer with positions "
            "finds the letter.\n\n"
            "The third model may surprise you. The causal mask is itself a hint. The first letter sees only itself, so "
            "the first layer gives it its own value undiluted, while the sixth letter gets an average of six values. A "
            "second layer can look for that difference.",
        ),
        Prediction(
            "positions.learned_neighbors",
            "Storyteller's table holds a vector for each of 256 positions. They were random before training. Compare any "
            "two of them by the cosine of the angle between them. Which positions are alike now?",
            (
                "those that are near each other",
                "Training made the rows of neighboring positions alike, although nobody asked for that.",
            ),
            (
                (
                    "none: each is only like itself",
                    "That is how a table of random rows looks. Training has changed it.",
                ),
                (
                    "all of them, more or less",
                    "Far from it: many pairs have a cosine near 0 or below. If all rows were alike, they could tell the model little.",
                ),
                (
                    "those a fixed distance apart, as on a clock",
                    "Farther away the similarity does go up and down, but nowhere near as high as between neighbors.",
                ),
            ),
            shows=lambda table: figures.position_similarity(
                table, title="Learned positions: neighbors are alike, except at the very start"
            ),
            finding="The orange band along the diagonal means that neighbors are alike. At a distance of about 60 positions "
            "the similarity is mostly negative. The band is missing at the very start: the first few positions differ even from their neighbors.",
        ),
        Prediction(
            "positions.both_moved_on",
            "The query is at position 5 and the key at position 3, so they are turned by 5 and by 3 radians. Then both "
            "move forward by 100, to 105 and 103. What happens to their score, the dot product?",
            (
                "it stays the same",
                "Both turn by the same extra angle, so the angle between them stays the same, and so does the dot product.",
            ),
            (
                (
                    "it changes, because 100 radians is not a whole number of turns",
                    "Both arrows do end up pointing elsewhere, but the angle between them is the same as before.",
                ),
                (
                    "it grows, because the angles grow",
                    "Turning an arrow does not change its length, and the dot product depends only on the lengths and the angle between them.",
                ),
                (
                    "it shrinks, because both are far from the start",
                    "The start plays no part in it. What counts is the angle between the two arrows.",
                ),
            ),
            shows=lambda hands: figures.turning_hands(
                hands,
                title="Moving query and key together leaves the angle between them unchanged",
                angles=True,
            ),
            finding="The dot product of two arrows depends on their lengths and on the angle between them. Turning both by "
            "100 radians changes neither.\n\n"
            "In the third circle, query and key have traded positions. They are 2 apart again, but the angle is "
            "different: what counts is the distance **with its sign**, from the key to the query.",
        ),
        Prediction(
            "positions.short_run",
            "A model with each kind of positions and one without positions are trained with the same data, number "
            "of steps and learning rate, with three seeds. After 220 steps, which kinds have a lower loss on new "
            "stories than the model without positions?",
            (
                "rotary and ALiBi",
                "Their loss is lower for every seed. Both build the distance into the scores, where it acts from the first step on.",
            ),
            (
                (
                    "all four, because any positions are better than none",
                    "Not in so short a run: the two kinds that are added to the words are behind the model without positions.",
                ),
                (
                    "learned and sinusoidal, because their words carry a position",
                    "Those two are behind even the model without positions. After so few steps, they do more harm than good.",
                ),
                (
                    "none of them, because the mask tells two layers enough",
                    "The mask does tell two layers something. But rotary and ALiBi do better still, for every seed.",
                ),
            ),
            shows=against_no_positions,
            finding="Rotary and ALiBi, which act inside attention, do better than no positions for every seed. Learned "
            "positions, which are added to the words, do worse for every seed, and sinusoidal ones slightly worse.",
        ),
        Prediction(
            "positions.beyond_32",
            "The models were trained on 32 tokens and are tested on 128. Learned positions stop at 32. Which of the other four "
            "has the lowest loss in the second half, from position 64 on?",
            (
                "ALiBi",
                "It lowers a score in proportion to the distance, so keys at distances that it never met in training count for less.",
            ),
            (
                (
                    "rotary",
                    "It was ahead up to 32, but distances above 31 bring angles that it never met in training.",
                ),
                (
                    "sinusoidal",
                    "Its table goes on, but those rows were never used in training, and it was behind from the start.",
                ),
                (
                    "no positions",
                    "It has no positions to get wrong, but it was behind ALiBi from the start, and stays behind.",
                ),
            ),
            shows=losses_by_position,
            finding="Up to 32 tokens, rotary is the best. Farther out it falls behind ALiBi and ends up about as bad as no positions. "
            "(The bumps that all the curves share come from the texts.)",
        ),
        Prediction(
            "positions.worst_positions",
            "Storyteller was trained with its table of positions. Which change to the table raises its loss the most?",
            (
                "the rows are shuffled",
                "Each row still names a position, but the wrong one, and the model goes by what it says.",
            ),
            (
                (
                    "all rows become 0",
                    "The loss rises a lot without positions, but rows that say something false do more harm.",
                ),
                (
                    "every position is shifted by 20",
                    "All of them shift together, so two words are as far apart as before, and the loss hardly rises.",
                ),
                (
                    "all three do about the same harm",
                    "They differ widely. One of them hardly matters.",
                ),
            ),
            shows=lambda losses: figures.bar_chart(
                list(losses),
                list(losses.values()),
                title="Shuffled positions are worse for storyteller than no positions",
                label="loss (nats per token)",
                highlight=["as trained"],
            ),
            finding="Shifted by 20, the positions still tell the model how far apart two words are, and the loss hardly "
            "rises. Without positions it rises a lot, and with shuffled ones most of all.",
        ),
    ),
    quiz=(
        Question(
            "positions.two_sentences",
            "A model has one causal layer and no positions. How do its logits at the period compare in “Mia chased "
            "Tom .” and “Tom chased Mia .”?",
            (
                "they are the same",
                "The period sees the same bag of four tokens, with the same keys and values.",
            ),
            (
                (
                    "they differ, because the mask hides other words",
                    "The mask hides what comes later, and nothing comes after the period.",
                ),
                (
                    "they differ, because the names have different vectors",
                    "Both names occur in both sentences, with the same vectors.",
                ),
                (
                    "they cannot be computed",
                    "They can: attention works without any positions, and that is the trouble.",
                ),
            ),
        ),
        Question(
            "positions.row_that_is_missing",
            "A model with learned positions was trained with `context_length` 256. What does it do with a token at position 300?",
            (
                "it refuses, because there is no such row",
                "The table ends with row 255. There is no row beyond it to look up, trained or not.",
            ),
            (
                (
                    "it takes row 44, as 300 − 256",
                    "A learned table is not a clock: it does not start over after its last row.",
                ),
                (
                    "it takes the last row again",
                    "That could be programmed, but then two positions would look the same.",
                ),
                (
                    "it works out the row from the rows before",
                    "The table holds learned numbers, and no rule for continuing them.",
                ),
            ),
        ),
        Question(
            "positions.traded",
            "With rotary positions, a query at position 7 and a key at position 4 have the score 0.3. Now the two trade positions. What is "
            "the score?",
            (
                "a different number, in general",
                "The distance is −3 instead of 3: the key is now turned further than the query, so the angle between them is different.",
            ),
            (
                (
                    "0.3, because they are still 3 apart",
                    "The sign of the distance counts: it is the turn from the key to the query.",
                ),
                (
                    "0.3, because both turned by the same extra angle",
                    "They did not: the query moved back by 3 positions and the key moved forward by 3.",
                ),
                (
                    "−0.3, because the direction is reversed",
                    "Turning the other way changes the angle. It does not flip the sign of the dot product.",
                ),
            ),
        ),
        Question(
            "positions.alibi_number",
            "ALiBi has slope ¼. One key is 1 position back and has the score 1.0; another is 9 back and has 2.5. "
            "Which gets more weight?",
            (
                "the near key",
                "$1.0 - 0.25 = 0.75$ against $2.5 - 2.25 = 0.25$: the distance costs the far key its lead.",
            ),
            (
                ("the far key", "Its score is higher only before the distance is subtracted."),
                ("both the same", "They would tie if the far key were 7 positions back: $2.5 - 1.75$."),
                (
                    "the near key, because the far one is hidden",
                    "ALiBi hides nothing. A far key that matches well enough can still win.",
                ),
            ),
        ),
        Question(
            "positions.why_cosines",
            "Why does the sinusoidal table hold a cosine beside each sine?",
            (
                "so that one matrix can move every position forward by $k$",
                "$\\sin (t+k)f$ needs both $\\sin tf$ and $\\cos tf$. With both, the move is a turn, the same for every $t$.",
            ),
            (
                (
                    "so that the numbers stay between −1 and 1",
                    "Sines alone do that.",
                ),
                (
                    "so that sine and cosine cancel in the sum",
                    "They do not cancel. $\\sin^2 + \\cos^2 = 1$ keeps every row equally long.",
                ),
                (
                    "so that the table never comes to an end",
                    "Sines alone could be computed at any position too.",
                ),
            ),
        ),
        Question(
            "positions.turned_values",
            "In rotary attention, a friend turns the values as well as the queries and keys. What changes?",
            (
                "what a word hands over depends on its position",
                "The weights are as before, but each value arrives turned by its position in the text.",
            ),
            (
                (
                    "the scores depend on the positions of the two words, and not just on their distance",
                    "Scores are made from queries and keys; values play no part in them.",
                ),
                (
                    "the weights of a row no longer sum to 1",
                    "They still do: the softmax makes them sum to 1, and it comes before the values.",
                ),
                (
                    "nothing, because the turns cancel out",
                    "They cancel out in the product of a query and a key. A value is only multiplied by a weight.",
                ),
            ),
        ),
        Question(
            "positions.hidden_hint",
            "A causal model with two layers and no positions can learn some order all the same. Where does it come from?",
            (
                "from how many keys each position can see",
                "The mask gives the first position one key and the sixth six. The first layer turns that into a difference between positions, and the second can use it.",
            ),
            (
                ("from the embeddings of the tokens", "A token has the same embedding wherever it stands."),
                (
                    "from the order of the two layers",
                    "One layer follows the other, but each treats all positions alike. Without the mask, no stack of them would see an order.",
                ),
                ("from the batch, where texts differ", "Each text in a batch is read by itself."),
            ),
        ),
    ),
    objectives=(
        ("positions.is_equivariant", "positions.two_sentences", "positions.who_finds_the_first"),
        (
            "positions.add_positions",
            "positions.sinusoidal_positions",
            "positions.rotate",
            "positions.alibi_number",
        ),
        ("positions.why_cosines", "positions.both_moved_on", "positions.traded", "positions.rotate"),
        ("positions.beyond_32", "positions.row_that_is_missing"),
    ),
)
