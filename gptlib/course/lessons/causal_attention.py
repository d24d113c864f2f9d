"""Causal self-attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from gptlib.course.exercises import Exercise, Lesson, Misconception, Question
from gptlib.model.masks import causal_mask


def mask_as_bias(mask: Bool[Tensor, "*batch query key"]) -> Float[Tensor, "*batch query key"]:
    return torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))


def sees_the_future(model: Callable[[Tensor], Tensor], tokens: Int[Tensor, "1 seq"]) -> bool:
    logits = model(tokens)
    for place in range(1, tokens.shape[1]):
        changed = tokens.clone()
        changed[0, place] = (tokens[0, place] + 1) % logits.shape[-1]
        moved = (model(changed) - logits)[:, :place].abs()
        if moved.max() > 1e-5:
            return True
    return False


def next_token_loss(
    logits: Float[Tensor, "batch seq vocab"], tokens: Int[Tensor, "batch seq"]
) -> Float[Tensor, ""]:
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


class ToyModel:
    """A model that can be read: each place averages what the tokens in its sight have to say.

    sight: True where a place sees a token, (query, key); table: a row of logits for each token, (vocab, vocab).
    rounding: by how much all logits tremble with the mean of the tokens, as rounding makes them.
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
        n = tokens.shape[1]
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


def different_tokens(generator: Generator) -> Tensor:
    """Where two were equal, a model that averages them could not show that it saw the second."""
    return torch.randperm(6, generator=generator)[None, :4]


def toy_models(generator: Generator) -> Iterator[tuple[ToyModel, Tensor]]:
    table = torch.randn(6, 6, generator=generator)
    past = torch.ones(4, 4, dtype=torch.bool).tril()
    first_sees_last, first_sees_second = past.clone(), past.clone()
    first_sees_last[0, 3] = first_sees_second[0, 1] = True
    for name, sight in (
        ("a model that sees the past", past),
        ("a model that sees all", torch.ones(4, 4, dtype=torch.bool)),
        ("a model whose place 0 sees place 1, and which is causal elsewhere", first_sees_second),
        ("a model whose place 0 sees place 3, and which is causal elsewhere", first_sees_last),
        ("a model that sees nothing but the token itself", torch.eye(4, dtype=torch.bool)),
    ):
        yield ToyModel(name, sight, table), different_tokens(generator)
    for query, key in ((1, 2), (2, 3), (1, 3)):
        sight = past.clone()
        sight[query, key] = True
        name = f"a model whose place {query} sees place {key}, and which is causal elsewhere"
        yield ToyModel(name, sight, table), different_tokens(generator)
    faintly = ToyModel("a model whose place 0 sees place 3, very faintly", first_sees_last, table / 1000)
    yield faintly, different_tokens(generator)
    falling = -torch.arange(6.0)[:, None].expand(6, 6)  # the next token up moves all logits down
    name = "a model whose place 0 sees place 3, and which is causal elsewhere"
    yield ToyModel(name, first_sees_last, falling), torch.tensor([[0, 1, 2, 3]])
    rounded = ToyModel("a model that sees the past, and rounds", past, table, rounding=1e-6)
    yield rounded, different_tokens(generator)
    for last in (0, 5):  # one that always puts in the same token changes nothing where it stands
        name = "a model whose place 0 sees place 3, and which is causal elsewhere"
        yield ToyModel(name, first_sees_last, table), torch.tensor([[1, 4, 2, last]])


def logits_and_tokens(generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    for batch, seq, vocab in ((1, 3, 2), (2, 4, 5), (3, 6, 7)):
        logits = torch.randn(batch, seq, vocab, generator=generator)
        yield logits, torch.randint(vocab, (batch, seq), generator=generator)


def leaks_at(model: Callable[[Tensor], Tensor], tokens: Tensor, place: int, new_token: int) -> bool:
    """Whether an earlier place moves when this token is put at `place`."""
    changed = tokens.clone()
    changed[0, place] = new_token
    return bool(((model(changed) - model(tokens))[:, :place].abs() > 1e-5).any())


def moves(model: Callable[[Tensor], Tensor], tokens: Tensor, place: int) -> Tensor:
    """For each place, whether its logits move when the token at one place is another."""
    changed = tokens.clone()
    changed[0, place] = (tokens[0, place] + 1) % model(tokens).shape[-1]
    return (model(changed) - model(tokens))[0].abs().amax(dim=-1) > 1e-5


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
    buys="With that line attention predicts: no place can copy its answer from the future.",
    hints=(
        "The loop visits the keys from 0 to the query itself. Those cells are True, the others False.",
        "(n, n), of dtype torch.bool. The row is the query and the column the key, so row 0 has one True.",
        "Make n by n ones of dtype torch.bool and keep the lower triangle, with tril.",
    ),
    misconceptions=(
        Misconception(
            "swapped",
            "rows and columns are swapped: position 0 can see everything, and the last one only itself. The row is the query.",
            lambda n: torch.ones(n, n, dtype=torch.bool).triu(),
        ),
        Misconception(
            "without_diagonal",
            "no place may look at itself. Then position 0 sees nothing at all, and the softmax of its row is nan.",
            lambda n: torch.ones(n, n, dtype=torch.bool).tril(-1),
        ),
        Misconception(
            "hidden",
            "it is True where a key is hidden. Here True means that a query may look, as everywhere in this course.",
            lambda n: torch.ones(n, n, dtype=torch.bool).triu(1),
        ),
        Misconception(
            "one_ahead",
            "each place can see one token ahead, and that one is the answer it is to predict.",
            lambda n: torch.ones(n, n, dtype=torch.bool).tril(1),
        ),
        Misconception(
            "numbers",
            "the triangle is right, but made of the numbers 1 and 0. A mask holds True and False: give dtype=torch.bool.",
            lambda n: torch.ones(n, n).tril(),
        ),
    ),
    minutes=4,
    difficulty=1,
)

MASK_AS_BIAS = Exercise(
    name="causal.mask_as_bias",
    reference=mask_as_bias,
    inputs=some_masks,
    buys="Now you can read code that adds its masks, and see at once whether it is sound.",
    hints=(
        "What added to a score leaves it as it is? What added to it makes it lower than any other?",
        "A bool tensor (…, query, key) comes in, a float tensor of the same shape goes out.",
        "Start from zeros of the mask's shape, and fill in -inf where the mask is False (~mask).",
    ),
    misconceptions=(
        Misconception(
            "zero_times_infinity",
            "you multiplied by −∞. Where the mask is True that is 0 · −∞, which is nan. Choose between two numbers instead.",
            lambda mask: (1 - mask.float()) * float("-inf"),
        ),
        Misconception(
            "turned",
            "−∞ stands where the mask is True, so what may be seen is hidden, and what may not is shown.",
            lambda mask: torch.zeros(mask.shape).masked_fill(mask, float("-inf")),
        ),
        Misconception(
            "ones_and_zeros",
            "it is 1 where a query may look and 0 where it may not. Adding 0 to a score hides nothing.",
            lambda mask: mask.float(),
        ),
        Misconception(
            "one_for_visible",
            "1 is added to what may be seen. The softmax happens to forgive that, but a score that counts should stay as it is: add 0.",
            lambda mask: mask.float().masked_fill(~mask, float("-inf")),
        ),
        Misconception(
            "a_large_number",
            "you filled in −1e9. That is low, but a score like any other, and float16 cannot hold it. Use −∞.",
            lambda mask: torch.zeros(mask.shape).masked_fill(~mask, -1e9),
        ),
    ),
    minutes=5,
    difficulty=1,
)

SEES_THE_FUTURE = Exercise(
    name="causal.sees_the_future",
    reference=sees_the_future,
    inputs=toy_models,
    buys="That test needs no loss, no floor and no look inside. Run it on every model you build.",
    hints=(
        "Change one token at a time. If any logit of an earlier place moves, the model saw it coming.",
        "tokens is (1, seq), model(tokens) is (1, seq, vocab). With place changed, compare the logits of [:, :place].",
        "For each place from 1 on: clone the tokens, put another token there, and see whether the logits before place "
        "differ from those of the unchanged tokens. Any difference: True. None in all places: False.",
    ),
    misconceptions=(
        Misconception(
            "with_itself",
            "the changed place and those after it were counted, too. They should move: that is reading, not cheating. (If you "
            "did look at earlier places alone, an earlier change was still in the tokens: clone them for each place.)",
            lambda model, tokens: any(
                bool(moves(model, tokens, place).any()) for place in range(tokens.shape[1])
            ),
        ),
        Misconception(
            "only_the_last_token",
            "you changed only the last token. A place may peek at a token in the middle: change each in turn.",
            lambda model, tokens: bool(moves(model, tokens, tokens.shape[1] - 1)[:-1].any()),
        ),
        Misconception(
            "only_the_neighbor",
            "a leak from the last place back to the first went unseen. Change every token in turn, the last one too, and watch "
            "all earlier places, not only the one right before.",
            lambda model, tokens: any(
                bool(moves(model, tokens, place)[place - 1]) for place in range(1, tokens.shape[1])
            ),
        ),
        Misconception(
            "never",
            "it says False whatever the model does. Did you compare a model with itself, on the same tokens? "
            "`changed = tokens` is no copy: `tokens.clone()` is.",
            lambda model, tokens: False,
        ),
        Misconception(
            "turned",
            "the answer is turned round: True should mean that the future is seen.",
            lambda model, tokens: not sees_the_future(model, tokens),
        ),
        Misconception(
            "same_token",
            "a leak went unseen where the token that you put in stood there already: that changes nothing. Put in another token "
            "than was there.",
            lambda model, tokens: any(
                leaks_at(model, tokens, place, 0) for place in range(1, tokens.shape[1])
            ),
        ),
    ),
    minutes=10,
    difficulty=2,
)

NEXT_TOKEN_LOSS = Exercise(
    name="causal.next_token_loss",
    reference=next_token_loss,
    inputs=logits_and_tokens,
    buys="This is the loss on which every GPT is trained, for all places at once.",
    hints=(
        "The logits at place t are a guess at the token at place t + 1.",
        "Of seq places, seq − 1 have a next token in the text: logits[:, :-1] and tokens[:, 1:].",
        "Drop the last logits and the first token, flatten batch and seq into one dimension, and take F.cross_entropy.",
    ),
    misconceptions=(
        Misconception(
            "not_shifted",
            "each place is asked for the token that it was given. It only has to repeat it: shift the targets by one.",
            lambda logits, tokens: F.cross_entropy(logits.flatten(0, 1), tokens.flatten()),
        ),
        Misconception(
            "backwards",
            "you shifted the wrong way: each place is asked for the token before it, which it has already seen.",
            lambda logits, tokens: F.cross_entropy(logits[:, 1:].flatten(0, 1), tokens[:, :-1].flatten()),
        ),
        Misconception(
            "wrapped",
            "the last place is asked for the first token of the text, as roll brings it round. It has no target: leave it out.",
            lambda logits, tokens: F.cross_entropy(logits.flatten(0, 1), tokens.roll(-1, dims=1).flatten()),
        ),
        Misconception(
            "only_the_last",
            "you scored the guess at the last token alone. All places that have a next token are lessons.",
            lambda logits, tokens: F.cross_entropy(logits[:, -2], tokens[:, -1]),
        ),
        Misconception(
            "summed",
            "you summed over the places. The mean can be compared between texts of any length, and with the floor.",
            lambda logits, tokens: next_token_loss(logits, tokens) * tokens[:, 1:].numel(),
        ),
        Misconception(
            "not_flattened",
            "the shift is right, but `F.cross_entropy` got (batch, place, vocab) and took the places for the vocabulary. "
            "Make batch and place one dimension first, with flatten(0, 1).",
            lambda logits, tokens: F.cross_entropy(logits[:, :-1], tokens[:, 1:]),
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
        Question(
            "causal.where_the_cheat_looks",
            "The cheat has learned to predict. Where does each character look?",
            (
                "at the character after it",
                "That character is the target. To copy it is all the model learned.",
            ),
            (
                (
                    "at the character before it",
                    "An honest model would gain from that. This one has something far better in sight.",
                ),
                (
                    "at itself",
                    "Its own vector reaches the logits anyway, beside attention, and is not the answer.",
                ),
                (
                    "evenly at all of them",
                    "An average of everything says little about the one that is asked for.",
                ),
            ),
        ),
        Question(
            "causal.shape_of_influence",
            "Row = prediction, column = the token that was changed. Which cells are not 0?",
            (
                "the diagonal and below",
                "A prediction depends on its own token and those before it: row at least column.",
            ),
            (
                (
                    "the diagonal alone",
                    "Then no prediction would depend on an earlier word; even a trigram is not that blind.",
                ),
                (
                    "the diagonal and above",
                    "There the column is later than the row: a prediction that depends on the future.",
                ),
                (
                    "all of them",
                    "The cells above the diagonal would be a leak, and all four layers are causal.",
                ),
            ),
        ),
        Question(
            "causal.one_token_too_many",
            "Only one of 64 tokens too many is in sight, for `tril(1)`. What becomes of the loss?",
            (
                "It falls below the floor",
                "The one token too many is the answer itself; the others were never needed.",
            ),
            (
                (
                    "It falls by about 1/64",
                    "That would be so if all tokens were worth the same. This one is worth all the rest.",
                ),
                (
                    "It stays about the same",
                    "The head has every reason to find the one token that is the answer.",
                ),
                ("It rises, by confusion", "A token too many can be ignored; this one is the best there is."),
            ),
        ),
    ),
    quiz=(
        Question(
            "causal.too_good",
            "On stories it has never seen, a friend's model has half the loss of the entropy floor. What is it?",
            (
                "a model that can see its targets",
                "No predictor stays below the floor on average, so this is no prediction. Change a later token to see.",
            ),
            (
                (
                    "a model that is overfitted",
                    "Overfitting lowers the loss on the training text and not on new stories.",
                ),
                (
                    "a model better than Storyworld",
                    "Storyworld knows the exact chance of each letter. There is nothing left to know better.",
                ),
                (
                    "a lucky draw of the stories",
                    "Luck moves a mean over many thousand letters by a little, not by half.",
                ),
            ),
        ),
        Question(
            "causal.score_of_zero",
            "Two visible keys have the score −2. A hidden one is given the score 0. Where does the weight go?",
            (
                "most of it to the hidden key",
                "$e^0 = 1$ and $e^{-2} \\approx 0.14$: the hidden key takes nearly four fifths.",
            ),
            (
                ("half to each visible key", "That takes −∞ for the hidden key; 0 is higher than −2."),
                ("a third to each key", "The softmax gives more to a higher score, and 0 is the highest."),
                (
                    "nowhere: the row is all 0",
                    "A softmax of finite scores always sums to 1.",
                ),
            ),
        ),
        Question(
            "causal.half_a_row",
            "Four keys have the same score, and a query may see two of them. Softmax first, then hidden weights are set to 0. What does the row sum to?",
            (
                "$0.5$",
                "Each weight is 0.25, and two are left. Without a second division the row is no average.",
            ),
            (
                ("$1$", "It did so before the hidden weights were taken out."),
                ("$0.25$", "That is one weight, and two are left."),
                ("$2$", "Weights are at most 1 in all; two of four equal ones are a half."),
            ),
        ),
        Question(
            "causal.first_place",
            "What does causal attention give for the very first token of a text?",
            ("its own value", "It sees one key, its own, so that weight is 1 whatever the score."),
            (
                ("the mean of all values", "It may not look at any other."),
                ("a vector of zeros", "The weights of its row sum to 1; all of that is on itself."),
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
                "those at places 10 to 19",
                "Place 10 reads token 10 to guess token 11, and later places read it too.",
            ),
            (
                (
                    "those at places 11 to 19",
                    "Place 10 may look at itself: its guess follows the token it has read.",
                ),
                (
                    "those at places 0 to 10",
                    "Places 0 to 9 would then have seen what comes later. That is a leak.",
                ),
                ("those at all 20 places", "Places 0 to 9 come before the change and must not move at all."),
            ),
        ),
        Question(
            "causal.lessons_in_a_window",
            "A text of 65 tokens goes through a causal model once. How many guesses of a next token can be scored?",
            ("64", "Each token but the last has a next one in the text."),
            (
                ("65", "The last place guesses too, but the text does not hold its answer."),
                (
                    "1",
                    "So it would be if a place could see what comes later. In a causal model every place is a fair guess.",
                ),
                (
                    "2,145",
                    "That counts the pairs of query and key, $65 \\cdot 66 / 2$. There is one guess for each query.",
                ),
            ),
        ),
        Question(
            "causal.behind_the_trigram",
            "One head fetches the character before. Why does it still lose to a trigram, which sees the same two characters?",
            (
                "It adds what each of the two says",
                "A trigram has a row for each pair; a sum cannot say that “th” is special beyond “t” and “h”.",
            ),
            (
                ("It cannot look two characters back", "A causal head may look at anything in the past."),
                (
                    "Its mask hides the character before",
                    "The mask hides what comes after; the line below the diagonal is bright.",
                ),
                ("It was trained on a different text", "Both learned from the same stories."),
            ),
        ),
    ),
    objectives=(
        ("causal.too_good", "causal.one_token_too_many", "causal.where_the_cheat_looks"),
        ("attention.causal_mask", "causal.mask_as_bias", "causal.score_of_zero", "causal.half_a_row"),
        ("causal.sees_the_future", "causal.who_may_move", "causal.shape_of_influence"),
        ("causal.next_token_loss", "causal.lessons_in_a_window", "causal.behind_the_trigram"),
    ),
)
