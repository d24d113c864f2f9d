"""Positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from gptlib.course.exercises import Exercise, Lesson, Misconception, Question
from gptlib.model.attention import attend
from gptlib.model.masks import causal_mask
from gptlib.model.positions import rotate, sinusoidal_positions

Layer = Callable[[Tensor], Tensor]


def is_equivariant(layer: Layer, x: Float[Tensor, "seq d_model"], order: Int[Tensor, " seq"]) -> bool:
    return torch.allclose(layer(x[order]), layer(x)[order], atol=1e-5)


def add_places(
    x: Float[Tensor, "batch seq d_model"], table: Float[Tensor, "context_length d_model"], start: int
) -> Float[Tensor, "batch seq d_model"]:
    return x + table[start : start + x.shape[1]]


class NamedLayer:
    """A layer that says what it does where it is printed."""

    def __init__(self, name: str, function: Layer) -> None:
        self.name = name
        self.function = function

    def __call__(self, x: Float[Tensor, "seq d_model"]) -> Float[Tensor, "seq d_model"]:
        return self.function(x)

    def __repr__(self) -> str:
        return self.name


def layers_to_shuffle(generator: Generator) -> Iterator[tuple[NamedLayer, Tensor, Tensor]]:
    """Layers on four words of four numbers, with an order that is not its own inverse and last one that is."""
    places = torch.randn(4, 4, generator=generator)
    mask = causal_mask(4)
    first, last = torch.zeros(4, 4), torch.zeros(4, 4)
    first[0] = last[3] = 1.0
    for name, function in (
        ("attention", lambda x: attend(x, x, x)[0]),
        ("attention with a causal mask", lambda x: attend(x, x, x, mask)[0]),
        ("attention with places added", lambda x: attend(x + places, x + places, x + places)[0]),
        ("a layer that gives every place the mean of all", lambda x: x.mean(dim=0).expand(4, 4)),
        ("a layer that gives every place a vector of its own and reads no word", lambda x: places),
        ("a layer that adds 1 to the first row alone", lambda x: x + first),
        ("a layer that adds 1 to the last row alone", lambda x: x + last),
    ):
        x = torch.randn(4, 4, generator=generator)
        yield NamedLayer(name, function), x, torch.tensor([2, 0, 3, 1])
    x = torch.randn(4, 4, generator=generator)
    yield NamedLayer("attention", lambda x: attend(x, x, x)[0]), x, torch.tensor([1, 0, 3, 2])


def vectors_and_places(generator: Generator) -> Iterator[tuple[Tensor, Tensor, int]]:
    for batch, seq, d_model, context_length, start in ((1, 2, 2, 4, 1), (2, 3, 4, 8, 0), (3, 4, 5, 9, 3)):
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


def turned_by(x: Float[Tensor, "*batch seq d_head"], angles: Float[Tensor, "seq half"]) -> Tensor:
    even, odd = x[..., 0::2], x[..., 1::2]
    cosines, sines = angles.cos(), angles.sin()
    return torch.stack([even * cosines - odd * sines, even * sines + odd * cosines], dim=-1).flatten(-2)


def frequencies_for(d: int) -> Float[Tensor, " half"]:
    return 10000.0 ** (-torch.arange(0, d, 2) / d)


def rotate_halves(x: Float[Tensor, "*batch seq d_head"], positions: Int[Tensor, " seq"]) -> Tensor:
    angles = positions[:, None] * frequencies_for(x.shape[-1])
    first, second = x.chunk(2, dim=-1)
    cosines, sines = angles.cos(), angles.sin()
    return torch.cat([first * cosines - second * sines, first * sines + second * cosines], dim=-1)


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
    buys="You can now ask any layer whether it knows what comes first, without a look inside.",
    hints=(
        "If the layer sees a bag, it makes no difference whether you shuffle before it or after it.",
        "x is (seq, d_model) and order is (seq,). x[order] shuffles the rows, and so does layer(x)[order].",
        "Compare layer(x[order]) with layer(x)[order] by torch.allclose, with atol=1e-5.",
    ),
    misconceptions=(
        Misconception(
            "not_moved_along",
            "you asked whether a shuffle changes nothing at all. The outputs may move, each along with its word: shuffle them too.",
            lambda layer, x, order: torch.allclose(layer(x[order]), layer(x), atol=1e-5),
        ),
        Misconception(
            "moved_back",
            "the outputs were put into the inverse order. A word and its output make the same move: use order for both.",
            lambda layer, x, order: torch.allclose(layer(x[order]), layer(x)[order.argsort()], atol=1e-5),
        ),
        Misconception(
            "columns",
            "you shuffled the columns, which are the numbers of a word. Words are rows: x[order].",
            lambda layer, x, order: torch.allclose(layer(x[:, order]), layer(x)[:, order], atol=1e-5),
        ),
        Misconception(
            "turned",
            "the answer is turned round: True should mean that outputs move along with their words.",
            lambda layer, x, order: not is_equivariant(layer, x, order),
        ),
    ),
    minutes=5,
    difficulty=1,
)

ADD_PLACES = Exercise(
    name="positions.add_places",
    reference=add_places,
    inputs=vectors_and_places,
    buys="With `start`, a model can read on where it stopped. The notebook on generation writes text that way.",
    hints=(
        "The first of these tokens stands at place start, the next at start + 1, and so on.",
        "x is (batch, seq, d_model). From table take seq rows, (seq, d_model); they add to every text of the batch.",
        "Add the rows of table from start up to, not including, start + seq, with seq = x.shape[1].",
    ),
    misconceptions=(
        Misconception(
            "from_the_top",
            "the rows were taken from the top of the table. The first of these tokens stands at place start, not at 0.",
            lambda x, table, start: x + table[: x.shape[1]],
        ),
        Misconception(
            "counted_from_one",
            "you took the rows one too far down. Places count from 0, so the first token gets row start itself.",
            lambda x, table, start: x + table[start + 1 : start + 1 + x.shape[1]],
        ),
        Misconception(
            "one_row_for_all",
            "all tokens got the row of the first. Then they all claim to stand at one place, and their order is lost.",
            lambda x, table, start: x + table[start],
        ),
        Misconception(
            "words_gone",
            "only the places are left. They are added to the words; the words have to stay.",
            lambda x, table, start: table[start : start + x.shape[1]].expand_as(x),
        ),
        Misconception(
            "number_added",
            "the number of the place was added, not its row in the table. At place 200 it would drown the word.",
            lambda x, table, start: x + torch.arange(start, start + x.shape[1])[:, None],
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
    buys="A table without a last row: you can ask it for any place.",
    hints=(
        "Make one grid of angles, place times frequency, then its sine and cosine side by side.",
        "Frequencies (d_model/2,), places (length, 1), angles (length, d_model/2). Sines and cosines take turns in a row.",
        "Frequencies are 10000 to the power −(0, 2, 4, …)/d_model. Stack sines and cosines along a new last dimension, "
        "and flatten(1).",
    ),
    misconceptions=(
        Misconception(
            "halves",
            "all sines come first and all cosines after them. Here they take turns: sine and cosine of a clock stand side by side.",
            lambda length, d_model: torch.cat(
                [
                    table_of_clocks(length, frequencies_for(d_model))[:, 0::2],
                    table_of_clocks(length, frequencies_for(d_model))[:, 1::2],
                ],
                dim=1,
            ),
        ),
        Misconception(
            "cosine_first",
            "each cosine stands before its sine. Place 0 should begin with sin 0 = 0.",
            lambda length, d_model: (
                table_of_clocks(length, frequencies_for(d_model)).unflatten(1, (-1, 2)).flip(-1).flatten(1)
            ),
        ),
        Misconception(
            "one_clock",
            "all clocks turn equally fast. Pair i turns by 10000 to the power −2i/d_model, slower and slower.",
            lambda length, d_model: table_of_clocks(length, torch.ones(d_model // 2)),
        ),
        Misconception(
            "half_the_exponent",
            "the exponent is −i/d_model, without the 2. Then every clock after the first runs too fast, and far places come round again.",
            lambda length, d_model: table_of_clocks(length, frequencies_for(d_model).sqrt()),
        ),
        Misconception(
            "from_one",
            "places count from 1 here. Place 0 comes first: its sines are all 0 and its cosines all 1.",
            lambda length, d_model: table_of_clocks(length, frequencies_for(d_model), first=1),
        ),
        Misconception(
            "twice_the_exponent",
            "the exponents are twice too large. The even numbers 0, 2, 4, … are 2i already: do not double them again.",
            lambda length, d_model: table_of_clocks(length, frequencies_for(d_model) ** 2),
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
    buys="That is how Llama, Qwen and many other models are told their places, and you wrote it.",
    hints=(
        "Each pair (x[2i], x[2i + 1]) is an arrow. Turn it by its place times the frequency of its clock.",
        "positions (seq,), frequencies (d_head/2,), angles (seq, d_head/2). x[..., 0::2] and x[..., 1::2] are "
        "(…, seq, d_head/2) each.",
        "With a the even and b the odd numbers, the new pair is (a cos − b sin, a sin + b cos). Stack the two along a new "
        "last dimension and flatten(-2), so that they take turns again.",
    ),
    misconceptions=(
        Misconception(
            "halves",
            "you paired each number with the one half the vector further on, as some models do. Here neighbors are pairs.",
            rotate_halves,
        ),
        Misconception(
            "other_way",
            "the pairs turn the other way round, clockwise. Check the signs: the new first number is a cos − b sin.",
            lambda x, positions: turned_by(x, -positions[:, None] * frequencies_for(x.shape[-1])),
        ),
        Misconception(
            "counted_anew",
            "you counted places from 0. They are given in positions, and the first need not be 0.",
            lambda x, positions: turned_by(
                x, torch.arange(len(positions))[:, None] * frequencies_for(x.shape[-1])
            ),
        ),
        Misconception(
            "one_clock",
            "all pairs turn by the same angle. Pair i has a clock of its own, slower with i: 10000 to the power −2i/d_head.",
            lambda x, positions: turned_by(x, positions[:, None] * torch.ones(x.shape[-1] // 2)),
        ),
        Misconception(
            "left_apart",
            "the turned pairs are right, but all first numbers come before all second ones. Let them take turns, as they came.",
            lambda x, positions: rotate(x, positions).unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2),
        ),
        Misconception(
            "twice_the_exponent",
            "the exponents are twice too large. The even numbers 0, 2, 4, … are 2i already: do not double them again.",
            lambda x, positions: turned_by(x, positions[:, None] * frequencies_for(x.shape[-1]) ** 2),
        ),
    ),
    minutes=15,
    difficulty=3,
    gradients=True,
)

LESSON = Lesson(
    topic="positions",
    exercises=(IS_EQUIVARIANT, ADD_PLACES, SINUSOIDAL_POSITIONS, ROTATE),
    predictions=(
        Question(
            "positions.who_finds_the_first",
            "Which of the three models learn to name the first letter?",
            (
                "one layer with positions, and two layers without",
                "The mask itself is a hint: a first layer can count what it sees, and a second can use the count.",
            ),
            (
                (
                    "one layer with positions, and no other",
                    "So most people think. But the first letter sees one key and the sixth sees six: the mask tells.",
                ),
                (
                    "all three: the mask gives the order away",
                    "In one layer the question mark sees all letters, and nothing has counted them yet.",
                ),
                (
                    "none: six letters of eight are too many",
                    "With positions a head has to look at place 0 and copy, whatever the letters are.",
                ),
            ),
        ),
        Question(
            "positions.learned_neighbors",
            "How alike are the learned vectors of two places?",
            (
                "alike where the places are near",
                "Places near each other are used in much the same way, so training left them alike.",
            ),
            (
                (
                    "each is like itself alone",
                    "So they were at the start, when they were random. Training pulled neighbors together.",
                ),
                (
                    "all are about the same",
                    "Then the model could not tell the beginning of a story from its end.",
                ),
            ),
        ),
        Question(
            "positions.beyond_32",
            "Trained on 32 places, tested on 128. Whose loss is lowest far out?",
            (
                "ALiBi",
                "A far word is hushed, at places it has never seen as well as at those it has.",
            ),
            (
                (
                    "rotary",
                    "It can be computed at any place, but far distances are angles that it never saw in training.",
                ),
                ("sinusoidal", "The table goes on, but the model never learned to read those rows."),
                (
                    "no positions",
                    "It has few habits about places to break, but it was behind ALiBi from the start.",
                ),
            ),
        ),
    ),
    quiz=(
        Question(
            "positions.two_sentences",
            "One causal layer, no positions. “Mia chased Tom .” and “Tom chased Mia .”: how do the logits at the period compare?",
            (
                "they are the same",
                "The period sees the same bag of four words with the same keys and values.",
            ),
            (
                (
                    "they differ, for the mask hides other words",
                    "The mask hides what comes after, and nothing comes after the period.",
                ),
                (
                    "they differ, for the names have other vectors",
                    "Both names are there in both sentences, with the same vectors.",
                ),
                ("they cannot be computed", "Nothing in attention needs a place; that is the trouble."),
            ),
        ),
        Question(
            "positions.row_that_is_missing",
            "A model with learned places was trained with `context_length` 256. What does it do with a token at place 300?",
            (
                "it refuses: there is no such row",
                "The table ends with row 255, and no training ever touched another.",
            ),
            (
                ("it takes row 44, as 300 − 256", "The table is no clock: nothing comes round."),
                (
                    "it takes the last row again",
                    "One could write it so, but then two places would be the same.",
                ),
                (
                    "it works out the row from its neighbors",
                    "A table only holds what was learned; it has no rule to go on by.",
                ),
            ),
        ),
        Question(
            "positions.move_together",
            "With rotary, a query at place 7 and a key at place 4 have the score 0.3. Both move on by 100. What is it now?",
            ("0.3", "Both turn by the same extra angle, so the angle between them stays."),
            (
                ("less, as they are further out", "Further from the start, but not from each other."),
                (
                    "30, as the angles grow",
                    "Turning changes no length, so scores do not grow with the place.",
                ),
                (
                    "it depends on the two vectors",
                    "The score itself does, but not whether it stays the same.",
                ),
            ),
        ),
        Question(
            "positions.alibi_number",
            "ALiBi, slope ¼. One key is 1 place back with the score 1.0, another 9 places back with 2.5. Who gets more weight?",
            (
                "the near key",
                "$1.0 - 0.25 = 0.75$ against $2.5 - 2.25 = 0.25$: the distance cost the far one its lead.",
            ),
            (
                ("the far key", "Its score is higher only before the distance is subtracted."),
                ("both the same", "They would tie if the far key were 7 places back: $2.5 - 1.75$."),
                (
                    "the near key, for the far one is hidden",
                    "ALiBi hides nothing: it makes far keys work harder.",
                ),
            ),
        ),
        Question(
            "positions.why_cosines",
            "Why does the sinusoidal table hold the cosine beside each sine?",
            (
                "so that one matrix moves every place on by $k$",
                "$\\sin (t+k)f$ needs both $\\sin tf$ and $\\cos tf$. With both it is a turn, the same for every $t$.",
            ),
            (
                (
                    "so that the numbers stay between −1 and 1",
                    "Sines alone do that.",
                ),
                (
                    "so that sine and cosine cancel in the sum",
                    "They do not cancel; $\\sin^2 + \\cos^2 = 1$ is what keeps every row equally long.",
                ),
                (
                    "so that the table never comes to an end",
                    "Sines alone could be computed at any place too.",
                ),
            ),
        ),
        Question(
            "positions.turned_values",
            "A friend turns the values too, as well as queries and keys. What goes wrong?",
            (
                "what a word hands over depends on where it stands",
                "The weights still know distance alone, but the values are turned by their place in the text.",
            ),
            (
                (
                    "the scores depend on where the words stand",
                    "Scores are made of queries and keys; values have no part in them.",
                ),
                (
                    "the weights of a row no longer sum to 1",
                    "The softmax sees to that, and it comes before the values.",
                ),
                (
                    "nothing, for the turns cancel again",
                    "They cancel in the product of a query and a key. A value meets no partner.",
                ),
            ),
        ),
        Question(
            "positions.hidden_hint",
            "Deep causal models without positions learn some order all the same. Where does it come from?",
            (
                "from how many keys each place can see",
                "The mask gives the first place one key and the sixth place six. A layer can turn that into a count.",
            ),
            (
                ("from the embeddings of the tokens", "A token has the same embedding wherever it stands."),
                (
                    "from the order in which layers are stacked",
                    "Layers follow each other; within each, all places are treated alike.",
                ),
                ("from the batch, where texts differ", "Each text of a batch is read by itself."),
            ),
        ),
    ),
    objectives=(
        ("positions.is_equivariant", "positions.two_sentences", "positions.who_finds_the_first"),
        (
            "positions.add_places",
            "positions.sinusoidal_positions",
            "positions.rotate",
            "positions.alibi_number",
        ),
        ("positions.why_cosines", "positions.move_together", "positions.rotate"),
        ("positions.beyond_32", "positions.row_that_is_missing"),
    ),
)
