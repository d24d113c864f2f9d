"""Causal self-attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.model.masks import causal_mask
from gptlib.viz import figures
from gptlib.viz.drawing import Drawing


def mask_as_bias(mask: Bool[Tensor, "*batch query key"]) -> Float[Tensor, "*batch query key"]:
    return torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))


def sees_the_future(model: Callable[[Tensor], Tensor], tokens: Int[Tensor, "1 seq"]) -> bool:
    logits = model(tokens)
    for position in range(1, tokens.shape[1]):
        changed = tokens.clone()
        changed[0, position] = (tokens[0, position] + 1) % logits.shape[-1]
        moved = (model(changed) - logits)[:, :position].abs()
        if moved.max() > 1e-5:
            return True
    return False


def next_token_loss(
    logits: Float[Tensor, "batch seq vocab"], tokens: Int[Tensor, "batch seq"]
) -> Float[Tensor, ""]:
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


class ToyModel:
    """A model simple enough to read: each position averages the table rows of the tokens that it sees.

    sight: True where a position sees a token, (query, key).
    table: a row of logits for each token, (vocab, vocab).
    rounding: how much of the mean token is added to all logits, in place of rounding errors.
    """

    def __init__(
        self,
        name: str,
        sight: Bool[Tensor, "query key"],
        table: Float[Tensor, "vocab vocab"],
        rounding: float = 0.0,
    ) -> None:
        self.name, self.sight, self.table, self.rounding = name, sight, table, rounding

    def __call__(self, tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq vocab"]:
        n, vocab = tokens.shape[1], len(self.table)
        unknown = tokens[(tokens < 0) | (tokens >= vocab)]
        if len(unknown):
            raise IndexError(f"the model got token {unknown[0]}, but its tokens go from 0 to {vocab - 1}")
        sight = self.sight[:n, :n]
        weights = sight / sight.sum(dim=-1, keepdim=True)
        return weights @ self.table[tokens] + self.rounding * tokens.float().mean()

    def __repr__(self) -> str:
        return self.name


def made_for(make_mask: Callable[[int], Tensor], n: int) -> Tensor:
    return make_mask(n)


def how_many(generator: Generator) -> Iterator[tuple[int]]:
    yield from ((2,), (3,), (5,))


def some_masks(generator: Generator) -> Iterator[tuple[Tensor]]:
    yield (torch.tensor([[True, False], [True, True]]),)
    yield (torch.tensor([[True, True, False]]),)
    mask = torch.rand(2, 3, 4, generator=generator) < 0.5
    mask[..., 0], mask[..., 3] = True, False
    yield (mask,)


def different_tokens(generator: Generator, n: int = 4) -> Tensor:
    """If two were equal, a model that averages them could not show that it saw the second."""
    return torch.randperm(6, generator=generator)[None, :n]


def peeking(query: int, key: int, n: int = 4) -> tuple[str, Tensor]:
    """The name and the sight of a model in which one position sees a later one."""
    sight = torch.ones(n, n, dtype=torch.bool).tril()
    sight[query, key] = True
    return f"a model in which position {query} sees position {key}, and which is otherwise causal", sight


def toy_models(generator: Generator) -> Iterator[tuple[ToyModel, Tensor]]:
    """None depends on how long the text is: whoever cuts it off instead of replacing a token is right, too."""
    # Each token raises its own logit, so any replacement moves one logit up and another one down.
    table = 2 * torch.eye(6) + torch.rand(6, 6, generator=generator)
    yield from pairs_of_tokens(table, generator)
    past = torch.ones(4, 4, dtype=torch.bool).tril()
    both_see = past.clone()
    both_see[:2, 2] = True
    for name, sight in (
        ("a model that sees the past", past),
        ("a model that sees everything", torch.ones(4, 4, dtype=torch.bool)),
        *(peeking(query, key) for query, key in ((0, 1), (0, 3), (1, 2), (2, 3), (1, 3))),
        ("a model in which positions 0 and 1 see position 2, and which is otherwise causal", both_see),
        ("a model that sees nothing but the token itself", torch.eye(4, dtype=torch.bool)),
    ):
        yield ToyModel(name, sight, table), different_tokens(generator)
    rounded = ToyModel(
        "a causal model whose logits move by about 2e-6, as from rounding", past, table, rounding=2e-6
    )
    yield rounded, torch.tensor([[2, 0, 5, 3]])
    yield from hard_to_see(table)
    name, last_seen = peeking(0, 3)
    for last in range(6):  # whoever always puts in the same token changes nothing where it already is
        others = [token for token in (1, 4, 2, 3) if token != last]
        yield ToyModel(name, last_seen, table), torch.tensor([[*others[:3], last]])
    name, last_of_three = peeking(0, 2, n=3)
    for last in (0, 1, 2, 0, 1, 2):  # of three tokens, one drawn at random is often the same
        yield (
            ToyModel(name, last_of_three, table[:3, :3]),
            torch.tensor([[(last + 1) % 3, (last + 2) % 3, last]]),
        )
    # Whoever puts in a token from elsewhere in the text changes nothing where the two are the same.
    for (name, sight), tokens in ((peeking(0, 3), (1, 4, 2, 2)), (peeking(1, 3), (2, 1, 4, 2))):
        yield ToyModel(name, sight, table), torch.tensor([tokens])


def pairs_of_tokens(table: Tensor, generator: Generator) -> Iterator[tuple[ToyModel, Tensor]]:
    """The smallest texts in which there is a future."""
    past, crossed = torch.tensor([[[True, False], [True, True]], [[True, True], [True, False]]])
    for name, sight, rows in (
        ("a model that sees the past", past, table),
        ("a model whose logits are always the same", past, torch.zeros(6, 6)),
        ("a model in which position 0 sees both tokens, and position 1 only token 0", crossed, table),
    ):
        yield ToyModel(name, sight, rows), different_tokens(generator, 2)


def hard_to_see(table: Tensor) -> Iterator[tuple[ToyModel, Tensor]]:
    """Models in which position 0 sees position 3, but not everything that one may look at shows it."""
    sight = peeking(0, 3)[1]
    rising = torch.arange(6.0)[:, None].expand(6, 6)  # the higher the token, the higher all logits
    one_logit = rising * (torch.arange(6) == 5)  # the higher the token, the higher the last logit
    for how, rows, tokens in (
        (", but only faintly", table / 1000, (2, 0, 4, 1)),
        (", which shows in its last logit alone", one_logit, (0, 1, 4, 2)),
        (", which moves its last logit by less than 1e-4", 5e-5 * one_logit, (0, 1, 4, 2)),
        (", which moves some of its logits up and others down by as much", 2 * torch.eye(6), (3, 0, 4, 1)),
        (" and whose logits are near 30 and move by about 1e-4", 30 + table / 10000, (2, 0, 4, 1)),
        (", where any other token lowers all logits of position 0", rising, (0, 1, 2, 5)),
        (", where any other token raises all logits of position 0", rising, (1, 2, 3, 0)),
    ):
        yield (
            ToyModel(f"a model in which position 0 sees position 3{how}", sight, rows),
            torch.tensor([tokens]),
        )


def logits_and_tokens(generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    for batch, seq, vocab in ((1, 3, 2), (2, 4, 5), (3, 6, 7)):
        logits = torch.randn(batch, seq, vocab, generator=generator)
        yield logits, torch.randint(vocab, (batch, seq), generator=generator)


def leaks_at(model: Callable[[Tensor], Tensor], tokens: Tensor, position: int, new_token: int) -> bool:
    """Whether the logits of an earlier position move when this token is put at `position`."""
    changed = tokens.clone()
    changed[0, position] = new_token
    return bool(((model(changed) - model(tokens))[:, :position].abs() > 1e-5).any())


def replaced(model: Callable[[Tensor], Tensor], tokens: Tensor, position: int) -> Tensor:
    """The logits when another token is put at one position: (seq, vocab)."""
    changed = tokens.clone()
    changed[0, position] = (tokens[0, position] + 1) % model(tokens).shape[-1]
    return model(changed)[0]


def differences(model: Callable[[Tensor], Tensor], tokens: Tensor, position: int) -> Tensor:
    """How much each logit moves when the token at one position is replaced: (seq, vocab)."""
    return replaced(model, tokens, position) - model(tokens)[0]


def moves(model: Callable[[Tensor], Tensor], tokens: Tensor, position: int) -> Tensor:
    """For each position, whether its logits move when the token at one position is replaced."""
    return differences(model, tokens, position).abs().amax(dim=-1) > 1e-5


def seen_without_copies(model: Callable[[Tensor], Tensor], tokens: Tensor) -> bool:
    """The test for leaks, with each replacement made on top of those before it."""
    logits, changed = model(tokens), tokens.clone()
    for position in range(1, tokens.shape[1]):
        changed[0, position] = (tokens[0, position] + 1) % logits.shape[-1]
        if ((model(changed) - logits)[:, :position].abs() > 1e-5).any():
            return True
    return False


def lines_on_leaks(found: Mapping[str, tuple[float, float]]) -> str:
    """For each mask: how far outputs moved, and the gradient with respect to what is hidden."""
    lines = [
        f"{name:22} outputs move by {moved:.4f}, gradient {leaked:.4f}, "
        f"both exactly 0: {'no' if moved or leaked else 'yes'}"
        for name, (moved, leaked) in found.items()
    ]
    return "\n".join(lines)


def influence_map(influence: Float[Tensor, "query key"], pieces: list[str]) -> Drawing:
    return figures.grid_heatmap(
        influence,
        pieces,
        pieces,
        masked=influence < 1e-5,
        title="How far each position's logits move when one token is changed (hatched: not at all)",
        row_name="position whose logits move",
        column_name="token that was changed",
        label="largest change of a logit",
    )


CAUSAL_MASK_SOURCE = """\
def causal_mask(n):
    return torch.ones(n, n, dtype=torch.bool).tril()  # (query, key)
"""

CAUSAL_MASK = Exercise(
    name="attention.causal_mask",
    reference=causal_mask,
    source=CAUSAL_MASK_SOURCE,
    inputs=how_many,
    use=made_for,  # an input is called n, as in the answer
    buys="With this mask no position can copy its answer from the future.",
    hints=(
        "The loop visits the keys from 0 to the query itself. Those cells are True, the others False.",
        "The result is (n, n), of dtype torch.bool. A row is a query and a column a key, so row 0 has one "
        "True.",
        "Make an n by n grid of ones, of dtype torch.bool, and keep its lower triangle with tril.",
    ),
    misconceptions=(
        Misconception(
            "swapped",
            "rows and columns are swapped: position 0 sees everything, and the last one sees only itself. A "
            "row belongs to a query.",
            lambda n: torch.ones(n, n, dtype=torch.bool).triu(),
        ),
        Misconception(
            "without_diagonal",
            "in your mask no position may look at itself. Then position 0 sees nothing at all, and the softmax of its row "
            "is nan (not a number).",
            lambda n: torch.ones(n, n, dtype=torch.bool).tril(-1),
        ),
        Misconception(
            "hidden",
            "your mask is True where a key is hidden. In this course True means that a query may look.",
            lambda n: torch.ones(n, n, dtype=torch.bool).triu(1),
        ),
        Misconception(
            "one_ahead",
            "each position can see one token ahead, and that token is the very one that it should predict.",
            lambda n: torch.ones(n, n, dtype=torch.bool).tril(1),
        ),
        Misconception(
            "numbers",
            "the triangle is right, but it is made of the numbers 1 and 0. A mask holds True and False: pass "
            "dtype=torch.bool.",
            lambda n: torch.ones(n, n).tril(),
        ),
        Misconception(
            "weights",
            "these are already the weights of the uniform average. The mask comes one step earlier: it is "
            "True where a weight is not 0.",
            lambda n: torch.ones(n, n).tril() / torch.arange(1, n + 1)[:, None],
        ),
        Misconception(
            "as_bias",
            "this is a grid of 0 and −∞, to be added to scores; the next exercise asks for that. Here, "
            "return True and False.",
            lambda n: torch.full((n, n), float("-inf")).triu(1),
        ),
        Misconception(
            "everything",
            "every query sees every key, even the later ones. Keep the lower triangle.",
            lambda n: torch.ones(n, n, dtype=torch.bool),
        ),
        Misconception(
            "only_itself",
            "each position sees itself and nothing else. It may also see what came before it.",
            lambda n: torch.eye(n, dtype=torch.bool),
        ),
    ),
    minutes=4,
    difficulty=1,
)

MASK_AS_BIAS = Exercise(
    name="causal.mask_as_bias",
    reference=mask_as_bias,
    inputs=some_masks,
    buys="Now you can read code that adds its masks, and check whether it is right.",
    hints=(
        "What can you add to a score that leaves it as it is? What can you add that makes it lower than any "
        "other?",
        "A bool tensor (…, query, key) comes in, and a float tensor of the same shape goes out.",
        "Start from zeros of the mask's shape, and fill in -inf where the mask is False (~mask).",
    ),
    misconceptions=(
        Misconception(
            "infinity_times_mask",
            "you multiplied the mask by −∞: True gives −∞, which hides what may be seen, and False gives 0 · "
            "−∞, which is nan. "
            "Choose between 0 and −∞ instead, and put −∞ where the mask is False.",
            lambda mask: mask * float("-inf"),
        ),
        Misconception(
            "zero_times_infinity",
            "where the mask is True, your answer is nan, which is what 0 · ∞ gives. Instead of multiplying, choose between "
            "0 and −∞.",
            lambda mask: (1 - mask.float()) * float("-inf"),
        ),
        Misconception(
            "ones_and_zeros",
            "your answer is 1 where a query may look and 0 where it may not. Adding 0 to a score hides nothing.",
            lambda mask: mask.float(),
        ),
        Misconception(
            "turned",
            "−∞ stands where the mask is True, so what may be seen is hidden, and everything else is shown.",
            lambda mask: torch.zeros(mask.shape).masked_fill(mask, float("-inf")),
        ),
        Misconception(
            "not_kept",
            "your answer is 0 everywhere, so it hides nothing. If you used `masked_fill`: it returns a new tensor and "
            "leaves the old one as it was, so keep what it returns.",
            lambda mask: torch.zeros(mask.shape),
        ),
        Misconception(
            "always_causal",
            "−∞ stands above the diagonal, whatever the mask says. A mask may hide other keys as well: put −∞ "
            "where it is False.",
            lambda mask: torch.full(mask.shape, float("-inf")).triu(1),
        ),
        Misconception(
            "a_large_number",
            "you filled in −1e9. That is low, but it is still a score like any other, and float16 cannot "
            "hold it. Use −∞.",
            lambda mask: torch.zeros(mask.shape).masked_fill(~mask, -1e9),
        ),
        Misconception(
            "one_for_visible",
            "1 is added to what may be seen. The softmax gives the same weights, but a visible score should "
            "stay as it is: add 0.",
            lambda mask: mask.float().masked_fill(~mask, float("-inf")),
        ),
        Misconception(
            "minus_one",
            "−1 is added to what may not be seen. That lowers its score a little and hides nothing: add −∞.",
            lambda mask: mask.float() - 1,
        ),
        Misconception(
            "square",
            "your grid has a row for each key. There may be fewer queries than keys, and dimensions in front: "
            "give it the shape of the mask.",
            lambda mask: torch.zeros(mask.shape[-1], mask.shape[-1]).masked_fill(~mask, float("-inf")),
        ),
        Misconception(
            "ten_thousand",
            "you filled in −10,000. That is low, but it is still a score like any other: section 4 shows "
            "where it fails. Use −∞.",
            lambda mask: torch.zeros(mask.shape).masked_fill(~mask, -1e4),
        ),
        Misconception(
            "plus_infinity",
            "+∞ is added to what may not be seen. That makes its score the highest of all; −∞ makes it the "
            "lowest.",
            lambda mask: torch.zeros(mask.shape).masked_fill(~mask, float("inf")),
        ),
    ),
    minutes=5,
    difficulty=1,
)

SEES_THE_FUTURE = Exercise(
    name="causal.sees_the_future",
    reference=sees_the_future,
    inputs=toy_models,
    buys="This test needs no loss, no floor and no look inside the model. Run it on every model you build.",
    hints=(
        "Change one token at a time. If any logit at an earlier position moves, the model has seen the "
        "future.",
        "tokens is (1, seq), and model(tokens) is (1, seq, vocab). When you change a position, compare only "
        "the "
        "logits before it: [:, :position].",
        "For each position from 1 on: clone the tokens, put another token there, and see whether the logits "
        "before "
        "that position differ from those of the unchanged tokens. If they do anywhere, return True, "
        "otherwise False.",
    ),
    misconceptions=(
        Misconception(
            "only_one_token",
            "only a change at position 1 counted. Does your loop `return` on its first pass? Return True as "
            "soon as something "
            "moves, and False only after the loop.",
            lambda model, tokens: bool(moves(model, tokens, 1)[0]),
        ),
        Misconception(
            "never",
            "your function says False whatever the model does. Did you compare a model with itself, on the same tokens? "
            "`changed = tokens` makes no copy; `tokens.clone()` does. Or does the loop never run? "
            "len(tokens) is 1, the number of texts; tokens.shape[1] is how many tokens there are.",
            lambda model, tokens: False,
        ),
        Misconception(
            "not_cloned",
            "the replacements added up: when you changed one position, those before it were still changed, so "
            "their logits moved. Start from a new `tokens.clone()` for each position.",
            seen_without_copies,
        ),
        Misconception(
            "with_itself",
            "the changed position was counted too. It may move: that is reading, not cheating. Compare only "
            "the positions before it, [:position].",
            lambda model, tokens: any(
                bool(moves(model, tokens, position).any()) for position in range(tokens.shape[1])
            ),
        ),
        Misconception(
            "same_token",
            "a leak was missed: the token that you put in was already there, which changes nothing. "
            "Put in a token that "
            "differs from the one it replaces.",
            lambda model, tokens: any(
                leaks_at(model, tokens, position, 0) for position in range(1, tokens.shape[1])
            ),
        ),
        Misconception(
            "beyond_the_vocabulary",
            "after the last token of the vocabulary there is no other, so adding 1 to it leads to an error. "
            "Begin again at 0, with % logits.shape[-1].",
            lambda model, tokens: any(
                leaks_at(model, tokens, position, int(tokens[0, position]) + 1)
                for position in range(1, tokens.shape[1])
            ),
        ),
        Misconception(
            "without_abs",
            "a leak that only lowers logits was missed. Logits can move up or down, so compare the size of "
            "the difference, with abs().",
            lambda model, tokens: any(
                bool((differences(model, tokens, position)[:position] > 1e-5).any())
                for position in range(1, tokens.shape[1])
            ),
        ),
        Misconception(
            "no_tolerance",
            "a causal model was accused of a leak that is only rounding. Count a difference only if its size is above "
            "1e-5.",
            lambda model, tokens: any(
                bool((differences(model, tokens, position)[:position] != 0).any())
                for position in range(1, tokens.shape[1])
            ),
        ),
        Misconception(
            "relative_tolerance",
            "a leak was missed: it is small compared with the logits. Compare the size of the difference "
            "with 1e-5 alone: `torch.allclose` also allows for a part of each logit, unless you pass rtol=0.",
            lambda model, tokens: any(
                not torch.allclose(
                    replaced(model, tokens, position)[:position], model(tokens)[0, :position], atol=1e-5
                )
                for position in range(1, tokens.shape[1])
            ),
        ),
        Misconception(
            "only_the_last_token",
            "only a change to the last token counted. A position may peek at a token in the middle: change "
            "each in turn.",
            lambda model, tokens: bool(moves(model, tokens, tokens.shape[1] - 1)[:-1].any()),
        ),
        Misconception(
            "only_the_neighbor",
            "a leak from the last position back to the first was missed. Change every token in turn, "
            "including the last one, and "
            "watch all earlier positions, not only the one right before it.",
            lambda model, tokens: any(
                bool(moves(model, tokens, position)[position - 1]) for position in range(1, tokens.shape[1])
            ),
        ),
        Misconception(
            "turned",
            "the answer is reversed: True should mean that the future is seen.",
            lambda model, tokens: not sees_the_future(model, tokens),
        ),
    ),
    minutes=10,
    difficulty=2,
)

NEXT_TOKEN_LOSS = Exercise(
    name="causal.next_token_loss",
    reference=next_token_loss,
    inputs=logits_and_tokens,
    buys="This is the loss that GPTs are trained on, at all positions at once.",
    hints=(
        "The logits at position t are a guess at the token at position t + 1.",
        "Of seq positions, seq − 1 have a next token in the text: logits[:, :-1] and tokens[:, 1:].",
        "Drop the last logits and the first token of each text, flatten batch and seq into one dimension, "
        "and take "
        "F.cross_entropy.",
    ),
    misconceptions=(
        Misconception(
            "not_shifted",
            "each position is asked for the token that it was given, so it would only have to repeat it. "
            "Shift the targets by one.",
            lambda logits, tokens: F.cross_entropy(logits.flatten(0, 1), tokens.flatten()),
        ),
        Misconception(
            "both_cut_at_the_end",
            "you dropped the last token of both, so each position is still asked for the token that it was "
            "given. Drop the first token of the targets instead: tokens[:, 1:].",
            lambda logits, tokens: F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, :-1].flatten()),
        ),
        Misconception(
            "both_cut_at_the_front",
            "you dropped the first position of both, so each of the others is still asked for the token that it "
            "was given. Drop the last position of the logits instead: logits[:, :-1].",
            lambda logits, tokens: F.cross_entropy(logits[:, 1:].flatten(0, 1), tokens[:, 1:].flatten()),
        ),
        Misconception(
            "not_flattened",
            "the shift is right, but `F.cross_entropy` got (batch, position, vocab) and took the positions "
            "for the vocabulary. "
            "Make batch and position one dimension first, with flatten(0, 1).",
            lambda logits, tokens: F.cross_entropy(logits[:, :-1], tokens[:, 1:]),
        ),
        Misconception(
            "across_texts",
            "the last position of one text is asked for the first token of the next text. Shift each text by "
            "itself first, and "
            "then flatten.",
            lambda logits, tokens: F.cross_entropy(logits.flatten(0, 1)[:-1], tokens.flatten()[1:]),
        ),
        Misconception(
            "wrapped",
            "the last position is asked for the first token of the same text, as with `roll`. It has no "
            "target: leave it out.",
            lambda logits, tokens: F.cross_entropy(logits.flatten(0, 1), tokens.roll(-1, dims=1).flatten()),
        ),
        Misconception(
            "padded",
            "the last position is asked for token 0, which was put in to fill the row. It has no target: "
            "leave it out.",
            lambda logits, tokens: F.cross_entropy(
                logits.flatten(0, 1), F.pad(tokens[:, 1:], (0, 1)).flatten()
            ),
        ),
        Misconception(
            "backwards",
            "you shifted in the wrong direction: each position is asked for the token before it, which it "
            "has already seen.",
            lambda logits, tokens: F.cross_entropy(logits[:, 1:].flatten(0, 1), tokens[:, :-1].flatten()),
        ),
        Misconception(
            "only_the_first_text",
            "you scored the first text alone. Each row of the batch is a text: keep them all with [:, :-1] and "
            "[:, 1:], and flatten batch and position into one dimension.",
            lambda logits, tokens: F.cross_entropy(logits[0, :-1], tokens[0, 1:]),
        ),
        Misconception(
            "softmax_twice",
            "a softmax was taken before `F.cross_entropy`, which takes one itself. Give it the logits as "
            "they are.",
            lambda logits, tokens: F.cross_entropy(
                logits[:, :-1].softmax(dim=-1).flatten(0, 1), tokens[:, 1:].flatten()
            ),
        ),
        Misconception(
            "summed",
            "this is the sum over all guesses. Return their mean, so that a longer text does not mean a larger "
            "loss; `F.cross_entropy` does so by default.",
            lambda logits, tokens: F.cross_entropy(
                logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum"
            ),
        ),
        Misconception(
            "only_the_last",
            "you scored the guess at the last token alone. Every position that has a next token in the text "
            "counts.",
            lambda logits, tokens: F.cross_entropy(logits[:, -2], tokens[:, -1]),
        ),
    ),
    minutes=8,
    difficulty=2,
    gradients=True,
)

LESSON = Lesson(
    topic="causal_attention",
    exercises=(CAUSAL_MASK, MASK_AS_BIAS, SEES_THE_FUTURE, NEXT_TOKEN_LOSS),
    predictions=(
        Prediction(
            "causal.loss_without_a_mask",
            "One attention head may look at every character of the window, including later ones. It is "
            "trained for "
            "250 steps to guess the next character. Where does its loss on new stories end up?",
            (
                "Below the entropy floor",
                "The next character is in the input, in new stories too, so it can be copied instead of "
                "predicted.",
            ),
            (
                (
                    "Between the floor and the bigram's loss",
                    "A model that has to predict ends up there, as section 3 shows. This one finds its "
                    "answers in the input.",
                ),
                (
                    "Near the bigram's loss",
                    "It would have to ignore all the other characters, and one of them is the answer.",
                ),
                (
                    "Above the bigram's loss: what it learned holds only for the training stories",
                    "What it learned holds for new stories as well: they contain their answers in the same "
                    "way.",
                ),
            ),
            shows=lambda curve, bigram, floor: figures.loss_curves(
                {"sees every character": curve},
                floor=floor,
                marks={"bigram": bigram},
                title="The validation loss falls through the floor",
                y_label="validation loss (nats per character)",
            ),
            finding="The loss ends **below** the floor. Storyworld itself, which knows the probability of "
            "every next "
            "character, cannot do that on average. So whatever this model is doing, it is not predicting.\n\n"
            "Note what did **not** warn us: the validation loss. It is measured on stories that the model "
            "has never "
            "seen, and it looks excellent. If you did not know the floor, you might have believed it.",
        ),
        Prediction(
            "causal.where_the_cheat_looks",
            "The model was trained without a mask to guess the next character at each position. Now it reads "
            "“Mia lost her "
            "red kite”. Which character does each character look at most?",
            (
                "the one after it",
                "That character is the target, so nothing else in the window is worth as much.",
            ),
            (
                (
                    "the one before it",
                    "A model that cannot see the future would gain from that. This one can see something far "
                    "better.",
                ),
                (
                    "itself",
                    "Its own vector is added after attention anyway, and it is not the answer.",
                ),
                (
                    "none in particular: the weights are even",
                    "An average of all characters says little about the one to be guessed.",
                ),
            ),
            shows=lambda weights, characters: figures.attention_heatmap(
                weights,
                characters,
                masked=None,
                title="Without a mask, each character looks at the one after it",
            ),
            finding="The bright line is one step **above** the diagonal: each character looks at the one after it (the "
            "last has none). That character is its target, so the model seems to look up its answers.",
        ),
        Prediction(
            "causal.scores_times_mask",
            "“Mia” is the first of five words and may see only itself. Its scores are 1, 0, 1, 0, 2. The "
            "last four are "
            "multiplied by 0, which leaves 1, 0, 0, 0, 0, and then comes the softmax. How much of its weight "
            "do the four "
            "later words get in all?",
            (
                "more than half",
                "Each of them contributes $e^0 = 1$, and “Mia” itself $e^1 \\approx 2.7$. So they get 4 parts out "
                "of 6.7.",
            ),
            (
                (
                    "none",
                    "Only weights of 0 would do that. A score of 0 still contributes $e^0 = 1$ to the softmax.",
                ),
                (
                    "less than a tenth",
                    "“Mia” leads by 1, so it counts $e \\approx 2.7$ times as much as each of the others, "
                    "but there are four of them.",
                ),
                (
                    "exactly four fifths",
                    "All five scores would have to be equal for that, and “Mia” has a score of 1.",
                ),
            ),
            shows=lambda weights, words: figures.attention_heatmap(
                weights,
                words,
                masked=None,
                title="Scores multiplied by the mask: later words still get weight",
            ),
            finding="“Mia” spends more than half of its weight on later words, and the next three rows leak, "
            "too. "
            "To a softmax, 0 does not mean “hidden”. It is a score like any other, and higher than every "
            "negative one.",
        ),
        Prediction(
            "causal.which_masks_leak",
            "Four ways to hide the future: (1) softmax first, then hidden weights are set to 0; (2) the "
            "same, but then each row "
            "is divided by its sum again; (3) hidden scores are set to −10,000, or (4) to −∞, before the "
            "softmax. With which "
            "of them do the outputs of the first 8 positions move by more than rounding error when everything "
            "after them is replaced?",
            (
                "with the first alone",
                "Its rows sum to less than 1, and how much is missing depends on the hidden scores.",
            ),
            (
                (
                    "with the first two",
                    "With the second division, what the hidden scores added to the denominator cancels out.",
                ),
                (
                    "with the first three",
                    "In float32 $e^{-10000}$ is 0, and dividing the rows again removes what (2) saw of the "
                    "future.",
                ),
                (
                    "with none of them",
                    "A row that is not divided again sums to less than 1, and how much less depends on the "
                    "future.",
                ),
            ),
            shows=lines_on_leaks,
            finding="The suspicion was half right. Without the second division the future leaks, in the "
            "outputs and in "
            "the gradient.\n\n"
            "With it, the future cancels out. Let $s_i$ be the score of key $i$. All weights of a row have "
            "the same denominator, "
            "the sum of $e^{s_j}$ over all keys $j$. Dividing by the sum of the weights that are left "
            "removes it, and what remains "
            "is $e^{s_i}$ divided by the sum of $e^{s_j}$ over the visible keys, as with −∞. On paper the "
            "two methods are the "
            "same. On a computer the outputs of “zero” still move a tiny bit, because the digits that are "
            "rounded away depend "
            "on the future.",
        ),
        Prediction(
            "causal.shape_of_influence",
            "Each token of a sentence is changed in turn. In the figure, a row is a position whose logits "
            "may move, and a column "
            "is a token that was changed. In which cells do logits move?",
            (
                "on the diagonal and below it",
                "A prediction depends on its own token and on those before it: the row is at or after the "
                "column.",
            ),
            (
                (
                    "on the diagonal alone",
                    "Then no prediction would depend on an earlier word; even a trigram uses one.",
                ),
                (
                    "on the diagonal and above it",
                    "There the column comes after the row: a prediction that depends on the future.",
                ),
                (
                    "in all cells",
                    "A cell above the diagonal would be a leak, but each layer has a causal mask.",
                ),
            ),
            shows=influence_map,
            finding="The cells form a triangle: no logits moved before the token that was changed. The test "
            "looks at the whole "
            "model at once, so the future did not leak through to the logits in any of its 4 layers.\n\n"
            "Bright cells far down a column show that a token still matters for predictions many positions "
            "later.",
        ),
        Prediction(
            "causal.one_token_too_many",
            "With `tril(1)` each of the 64 positions sees itself, the past and one later token. What happens "
            "to the "
            "validation loss?",
            (
                "It falls below the floor",
                "That one token is the answer, and the model can copy it.",
            ),
            (
                (
                    "It falls a little, by about one part in 64",
                    "That would be so if all tokens were worth the same. This one is worth more than all the "
                    "others.",
                ),
                (
                    "It stays about the same",
                    "The head has every reason to find the one token that is the answer.",
                ),
                (
                    "It rises, as the extra token confuses the model",
                    "A token that does not help can be given a weight near 0, and this one helps more than "
                    "any other.",
                ),
            ),
            shows=lambda losses, bigram, floor: figures.bar_chart(
                list(losses),
                list(losses.values()),
                title="One later token in sight takes the loss through the floor",
                label="validation loss after 200 steps (nats per character)",
                highlight=["one later token"],
                marks={"bigram": bigram, "floor": floor},
            ),
            finding="One later token takes the loss through the floor. The controls show what that token is "
            "worth: a model "
            "that sees all later tokens **except** that one is no better after 200 steps than one that sees "
            "only itself. "
            "In those steps the others did not help it, while this one is the answer.",
        ),
    ),
    quiz=(
        Question(
            "causal.too_good",
            "On stories it has never seen, a friend's model has a loss of half the entropy floor. What is "
            "the best explanation?",
            (
                "The model can see its targets",
                "No predictor can stay below the floor on average, so this model is not predicting. Change a "
                "later token to check.",
            ),
            (
                (
                    "The model is overfitted",
                    "Overfitting lowers the loss on the training text, but not on new stories.",
                ),
                (
                    "The model predicts better than Storyworld itself",
                    "Storyworld knows the exact probability of each character. Nothing can know it better.",
                ),
                (
                    "The stories happened to be easy",
                    "Luck can move a mean over many thousands of characters a little, but not by half.",
                ),
            ),
        ),
        Question(
            "causal.score_of_zero",
            "Two visible keys have a score of −2 each. A hidden one is given a score of 0. Where does the "
            "weight go?",
            (
                "most of it to the hidden key",
                "$e^0 = 1$ and $e^{-2} \\approx 0.14$: the hidden key takes nearly four fifths.",
            ),
            (
                (
                    "half to each visible key",
                    "For that the hidden key would need −∞; its 0 is higher than −2.",
                ),
                ("a third to each key", "The softmax gives more to a higher score, and 0 is the highest."),
                (
                    "nowhere: the row is all 0",
                    "A softmax of finite scores always sums to 1.",
                ),
            ),
        ),
        Question(
            "causal.half_a_row",
            "Four keys have the same score, and a query may see two of them. The softmax is taken first, and "
            "then the hidden weights are set to 0. What does the row sum to?",
            (
                "$0.5$",
                "Each weight is 0.25, and two are left. Without a second division the row does not give an "
                "average.",
            ),
            (
                ("$1$", "It did before the hidden weights were set to 0."),
                ("$0.25$", "That is one weight, and two are left."),
                ("$2$", "All four weights summed to 1, and two of four equal ones make a half."),
            ),
        ),
        Question(
            "causal.first_place",
            "What does causal attention give for the very first token of a text?",
            ("its own value", "It sees one key, its own, so that weight is 1 whatever the score."),
            (
                ("the mean of all values", "It may not look at any other token."),
                ("a vector of zeros", "The weights of its row sum to 1, and all of that is on itself."),
                (
                    "nan, as it sees nothing",
                    "It sees itself. It would be nan if the mask left the diagonal out.",
                ),
            ),
        ),
        Question(
            "causal.who_may_move",
            "A sound causal model reads 20 tokens, 0 to 19. You replace token 10. Which logits may move?",
            (
                "those at positions 10 to 19",
                "Position 10 reads token 10 to guess token 11, and later positions read it too.",
            ),
            (
                (
                    "those at positions 11 to 19",
                    "Position 10 may look at itself: its guess depends on the token it has read.",
                ),
                (
                    "those at positions 0 to 10",
                    "Positions 0 to 9 would then have seen what comes later. That is a leak.",
                ),
                (
                    "those at all 20 positions",
                    "Positions 0 to 9 come before the change and must not move at all.",
                ),
            ),
        ),
        Question(
            "causal.lessons_in_a_window",
            "A text of 65 tokens goes through a causal model once. How many guesses at a next token can be "
            "scored?",
            ("64", "Each token but the last is followed by another in the text."),
            (
                ("65", "The last position guesses too, but the text does not hold its answer."),
                (
                    "1",
                    "That would be so if a position could see what comes later. In a causal model every "
                    "position makes a fair guess.",
                ),
                (
                    "2,145",
                    "That counts the pairs of query and key, $65 \\cdot 66 / 2$. There is one guess for each "
                    "query.",
                ),
            ),
        ),
        Question(
            "causal.behind_the_trigram",
            "Our head mostly fetches the character before the current one. A trigram sees the same two "
            "characters and still has a much lower loss. What does our model lack?",
            (
                "a way to treat a pair as more than the sum of its two characters",
                "Even the best sum of two tables stays far behind the trigram, which has counts for each "
                "pair.",
            ),
            (
                ("a way to look two characters back", "A causal head may look at anything in the past."),
                (
                    "a mask that shows the character before",
                    "The causal mask shows it; the line below the diagonal is bright.",
                ),
                ("the stories that the trigram learned from", "Both learned from the same stories."),
            ),
        ),
    ),
    objectives=(
        (
            "causal.too_good",
            "causal.loss_without_a_mask",
            "causal.one_token_too_many",
            "causal.where_the_cheat_looks",
        ),
        (
            "attention.causal_mask",
            "causal.mask_as_bias",
            "causal.scores_times_mask",
            "causal.which_masks_leak",
            "causal.score_of_zero",
            "causal.half_a_row",
        ),
        ("causal.sees_the_future", "causal.who_may_move", "causal.shape_of_influence"),
        ("causal.next_token_loss", "causal.lessons_in_a_window", "causal.behind_the_trigram"),
    ),
)
