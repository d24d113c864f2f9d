"""From probabilities to text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.generation.sampling import keep_top_k, keep_top_p
from gptlib.model.cache import KeyValueCache
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.viz import figures


def at_temperature(
    logits: Float[Tensor, "*batch vocab"], temperature: float
) -> Float[Tensor, "*batch vocab"]:
    return (logits / temperature).softmax(dim=-1)


def write_with_cache(
    model: nn.Module, cache: KeyValueCache, tokens: Int[Tensor, "batch seq"], n: int
) -> Int[Tensor, "batch longer"]:
    unread = tokens
    for _ in range(n):
        chosen = model(unread, cache)[:, -1].argmax(dim=-1, keepdim=True)  # (batch, 1)
        tokens = torch.cat([tokens, chosen], dim=1)
        unread = chosen
    return tokens


def logits_and_temperatures(generator: Generator) -> Iterator[tuple[Tensor, float]]:
    yield torch.tensor([2.0, 1.0]), 0.5
    yield torch.randn(3, 4, generator=generator), 2.0
    yield 2 * torch.randn(2, 3, 5, generator=generator), 0.7


def logits_and_k(generator: Generator) -> Iterator[tuple[Tensor, int]]:
    yield torch.tensor([2.0, 3.0, 1.0]), 2
    yield torch.randn(2, 5, generator=generator), 3
    yield torch.randn(2, 3, 6, generator=generator), 2


def logits_and_p(generator: Generator) -> Iterator[tuple[Tensor, float]]:
    yield torch.tensor([1.0, 2.0, 0.0, 1.5, -2.0]), 0.7
    yield torch.randn(2, 6, generator=generator), 0.55
    yield 2 * torch.randn(2, 3, 8, generator=generator), 0.85
    yield torch.randn(3, 4, generator=generator), 1e-9  # the likeliest stays, however small p is


def starts(generator: Generator) -> Iterator[tuple[Tensor, int]]:
    for batch, seq, n in ((1, 1, 2), (1, 3, 6), (2, 4, 9)):
        yield torch.randint(13, (batch, seq), generator=generator), n


class ReadingGPT(nn.Module):
    """A small GPT with random weights that counts the positions it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.config = GPTConfig(vocab_size=13, context_length=128, n_layers=2, n_heads=2, d_model=16)
        self.gpt = GPT(self.config).eval()
        for name, parameter in self.gpt.named_parameters():
            if "norm" not in name:
                nn.init.normal_(parameter, std=0.4)
        self.n_read = 0

    def forward(self, tokens: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        self.n_read += tokens.shape[1]
        return self.gpt(tokens, cache)


def with_a_counter(answer: Callable[..., Any], tokens: Tensor, n: int) -> Any:
    """What is written, and how many positions were read if it was more than each once."""
    model = ReadingGPT()
    longer = answer(model, KeyValueCache(model.config, len(tokens)), tokens, n)
    if longer is ...:
        return ...
    return {"tokens": longer, "positions read": max(model.n_read, tokens.shape[1] + n)}


def kept_below(logits: Tensor, k: int) -> Tensor:
    highest = logits.topk(k, largest=False).values[..., -1:]
    return logits.masked_fill(logits > highest, -torch.inf)


def one_too_many(logits: Tensor, k: int) -> Tensor:
    threshold = logits.sort(dim=-1, descending=True).values[..., k : k + 1]
    return logits.masked_fill(logits < threshold, -torch.inf)


def kept_until(logits: Tensor, p: float, crossing: bool = True, largest: bool = True) -> Tensor:
    """Keeps the likeliest (or the least likely) tokens up to p, with the one that crosses p or without it."""
    ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=largest)
    total = ordered.cumsum(dim=-1)
    out = (total - ordered >= p) if crossing else (total > p)
    return logits.masked_fill(torch.zeros_like(out).scatter(-1, order, out), -torch.inf)


def mask_left_in_order(logits: Tensor, p: float) -> Tensor:
    ordered = logits.softmax(dim=-1).sort(dim=-1, descending=True).values
    return logits.masked_fill(ordered.cumsum(dim=-1) - ordered >= p, -torch.inf)


def mask_gathered(logits: Tensor, p: float) -> Tensor:
    ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
    out = ordered.cumsum(dim=-1) - ordered >= p
    return logits.masked_fill(out.gather(-1, order), -torch.inf)


def kept_in_vocabulary_order(logits: Tensor, p: float) -> Tensor:
    probabilities = logits.softmax(dim=-1)
    return logits.masked_fill(probabilities.cumsum(dim=-1) - probabilities >= p, -torch.inf)


def sum_of_logits(logits: Tensor, p: float) -> Tensor:
    ordered, order = logits.sort(dim=-1, descending=True)
    out = ordered.cumsum(dim=-1) - ordered >= p
    return logits.masked_fill(torch.zeros_like(out).scatter(-1, order, out), -torch.inf)


def write_by_reading_all(model: nn.Module, cache: KeyValueCache | None, tokens: Tensor, n: int) -> Tensor:
    for _ in range(n):
        tokens = torch.cat([tokens, model(tokens, cache)[:, -1].argmax(dim=-1, keepdim=True)], dim=1)
    return tokens


def write_from_one_token(model: nn.Module, cache: KeyValueCache | None, tokens: Tensor, n: int) -> Tensor:
    for _ in range(n):
        chosen = model(tokens[:, -1:], cache)[:, -1].argmax(dim=-1, keepdim=True)
        tokens = torch.cat([tokens, chosen], dim=1)
    return tokens


def write_after_reading(model: nn.Module, cache: KeyValueCache, tokens: Tensor, n: int) -> Tensor:
    model(tokens, cache)
    return write_from_one_token(model, cache, tokens, n)


def write_forgetting_the_start(model: nn.Module, cache: KeyValueCache, tokens: Tensor, n: int) -> Tensor:
    return write_from_one_token(model, None, write_by_reading_all(model, None, tokens, 1), n - 1)


def write_from_the_start_again(model: nn.Module, cache: KeyValueCache, tokens: Tensor, n: int) -> Tensor:
    start = tokens
    for _ in range(n):
        tokens = torch.cat([tokens, model(start, cache)[:, -1].argmax(dim=-1, keepdim=True)], dim=1)
    return tokens


def write_the_least_likely(model: nn.Module, cache: KeyValueCache, tokens: Tensor, n: int) -> Tensor:
    unread = tokens
    for _ in range(n):
        unread = model(unread, cache)[:, -1].argmin(dim=-1, keepdim=True)
        tokens = torch.cat([tokens, unread], dim=1)
    return tokens


def write_from_the_first_position(model: nn.Module, cache: KeyValueCache, tokens: Tensor, n: int) -> Tensor:
    unread = tokens
    for _ in range(n):
        unread = model(unread, cache)[:, 0].argmax(dim=-1, keepdim=True)
        tokens = torch.cat([tokens, unread], dim=1)
    return tokens


TOP_K_SOURCE = """\
def keep_top_k(logits, k):
    lowest = logits.topk(min(k, logits.shape[-1]), dim=-1).values[..., -1:]  # (…, 1)
    return logits.masked_fill(logits < lowest, float("-inf"))
"""

TOP_P_SOURCE = """\
def keep_top_p(logits, p):
    ascending, order = logits.sort(dim=-1)
    below = ascending.softmax(dim=-1).cumsum(dim=-1)  # what a token and the less likely ones add up to
    ruled_out = below <= 1 - p
    ruled_out[..., -1] = False  # the likeliest always stays
    ruled_out = torch.zeros_like(ruled_out).scatter(-1, order, ruled_out)  # back in the order of the vocabulary
    return logits.masked_fill(ruled_out, float("-inf"))
"""

AT_TEMPERATURE = Exercise(
    name="generation.at_temperature",
    reference=at_temperature,
    inputs=logits_and_temperatures,
    buys="One number now takes you from nearly always the likeliest token to nearly all tokens alike.",
    hints=(
        "Dividing the logits changes their differences, and a softmax depends on differences alone.",
        "The logits are (…, vocab), and so are the probabilities. Each row sums to 1.",
        "Take the softmax of logits / temperature over the last dimension.",
    ),
    misconceptions=(
        Misconception(
            "multiplied",
            "you multiplied the logits by the temperature, so a high one sharpens the distribution. It should even it out: "
            "divide.",
            lambda logits, temperature: (logits * temperature).softmax(dim=-1),
        ),
        Misconception(
            "divided_after",
            "you divided the probabilities, after the softmax. They no longer sum to 1, and their ratios have not changed. "
            "Divide the logits.",
            lambda logits, temperature: logits.softmax(dim=-1) / temperature,
        ),
        Misconception(
            "logits_returned",
            "these are still logits, which can be negative. The softmax turns them into probabilities.",
            lambda logits, temperature: logits / temperature,
        ),
        Misconception(
            "not_scaled_to_1",
            "you raised the probabilities to the power 1 / temperature. That is a good way to begin, but the powers do not sum "
            "to 1: divide them by their sum.",
            lambda logits, temperature: logits.softmax(dim=-1) ** (1 / temperature),
        ),
        Misconception(
            "over_the_batch",
            "the softmax runs over the first dimension. The tokens of the vocabulary share a total of 1, and they are in the "
            "last one: `dim=-1`.",
            lambda logits, temperature: (logits / temperature).softmax(dim=0),
        ),
        Misconception(
            "second_dimension",
            "your answer is right for two dimensions only: `dim=1` is the last of them. `dim=-1` is always the last.",
            lambda logits, temperature: (logits / temperature).softmax(dim=1),
        ),
        Misconception(
            "no_dimension",
            "the softmax was not told its dimension, and torch takes the first one when there are three. Say `dim=-1`.",
            lambda logits, temperature: F.softmax(logits / temperature),
        ),
        Misconception(
            "over_everything",
            "your answer is right for one row, but in a batch all rows together sum to 1. Each row is a distribution of its "
            "own: divide by the sum over the last dimension, with `keepdim=True`, or use `softmax(dim=-1)`.",
            lambda logits, temperature: (logits / temperature).flatten().softmax(dim=-1).view_as(logits),
        ),
        Misconception(
            "softmax_twice",
            "you took the softmax twice. The first one gives the probabilities, and the second treats them as logits and makes "
            "them almost equal.",
            lambda logits, temperature: (logits / temperature).softmax(dim=-1).softmax(dim=-1),
        ),
        Misconception(
            "softmax_of_probabilities",
            "you divided the probabilities by the temperature and took the softmax of the result. What is divided has to be "
            "the logits, and one softmax is enough.",
            lambda logits, temperature: (logits.softmax(dim=-1) / temperature).softmax(dim=-1),
        ),
        Misconception(
            "exp_alone",
            "you took `exp` but did not divide by the sum of each row, so these numbers do not sum to 1. The softmax does both.",
            lambda logits, temperature: (logits / temperature).exp(),
        ),
        Misconception(
            "at_temperature_1",
            "these are the probabilities at temperature 1. If you used the temperature, it canceled: what is subtracted from all "
            "logits alike, or divides all numbers after `exp`, makes no difference once a row is scaled to 1. Divide the logits.",
            lambda logits, temperature: logits.softmax(dim=-1),
        ),
    ),
    minutes=3,
    difficulty=1,
)

KEEP_TOP_K = Exercise(
    name="generation.keep_top_k",
    reference=keep_top_k,
    source=TOP_K_SOURCE,
    inputs=logits_and_k,
    buys="You cut off the tail for a whole batch of texts at once.",
    hints=(
        "Find the k-th largest logit of each row. Whatever is below it is ruled out.",
        "The logits are (…, vocab), and so is the answer. The k-th largest of each row is (…, 1).",
        "logits.topk(k).values[..., -1:] is the smallest that stays; use masked_fill to set what is less to float('-inf').",
    ),
    misconceptions=(
        Misconception(
            "zeros",
            "what is ruled out got the logit 0. That does not rule it out, since a logit of 0 can be larger than others. "
            "Use −∞.",
            lambda logits, k: logits.masked_fill(logits < logits.topk(k).values[..., -1:], 0.0),
        ),
        Misconception(
            "one_too_few",
            "the k-th token is ruled out too, so k − 1 are left. Rule out what is less than its logit, not what is equal to it.",
            lambda logits, k: logits.masked_fill(logits <= logits.topk(k).values[..., -1:], -torch.inf),
        ),
        Misconception(
            "one_too_many",
            "k + 1 tokens are left in each row. Python counts from 0, so in sorted order the k-th largest is at index k − 1.",
            one_too_many,
        ),
        Misconception(
            "values_alone",
            "you returned the k largest values without the rest, so nobody can tell which tokens they belong to. Keep the shape "
            "of `logits` and fill the rest with −∞.",
            lambda logits, k: logits.topk(k).values,
        ),
        Misconception(
            "indices_returned",
            "you returned which tokens are the k likeliest. The answer is the logits, (…, vocab), with −∞ for all other tokens.",
            lambda logits, k: logits.topk(k).indices,
        ),
        Misconception(
            "across_rows",
            "k tokens are kept in the whole batch. Each row is a text of its own and keeps k.",
            lambda logits, k: logits.masked_fill(logits < logits.flatten().topk(k).values[-1], -torch.inf),
        ),
        Misconception(
            "lowest_kept",
            "you kept the k least likely tokens. Keep the largest logits instead.",
            kept_below,
        ),
        Misconception(
            "best_ruled_out",
            "the mask is the wrong way round: you ruled out the k likeliest tokens and kept the others.",
            lambda logits, k: logits.masked_fill(logits >= logits.topk(k).values[..., -1:], -torch.inf),
        ),
        Misconception(
            "sorted_once",
            "`argsort` says which token comes first, second and so on. It does not give the rank of each token. Take `argsort` "
            "of the result once more, or compare the logits with the k-th largest.",
            lambda logits, k: logits.where(
                logits.argsort(dim=-1, descending=True) < k, torch.tensor(-torch.inf)
            ),
        ),
        Misconception(
            "large_number",
            "what is ruled out got −1e9. A softmax would give it 0 as well, but the task asks for −∞, `float('-inf')`, "
            "which can be told from any logit.",
            lambda logits, k: logits.masked_fill(logits < logits.topk(k).values[..., -1:], -1e9),
        ),
        Misconception(
            "softmaxed",
            "you returned probabilities. The right tokens are kept, but the answer is their logits: the softmax comes after "
            "all cuts.",
            lambda logits, k: keep_top_k(logits, k).softmax(dim=-1),
        ),
        Misconception(
            "not_for_a_batch",
            "your answer is right for a single row and fails for a batch. Look for the k largest in the last dimension and keep "
            "that dimension, so that there is one bound for each row: `logits.topk(k, dim=-1).values[..., -1:]`.",
            lambda logits, k: logits.masked_fill(logits < logits.topk(k).values[..., -1], -torch.inf),
        ),
    ),
    minutes=6,
    difficulty=2,
)

KEEP_TOP_P = Exercise(
    name="generation.keep_top_p",
    reference=keep_top_p,
    source=TOP_P_SOURCE,
    inputs=logits_and_p,
    buys="The number of tokens that stay now follows the distribution: few where it is peaked, many where it is flat.",
    hints=(
        "Go through the tokens from the likeliest down and add up. Stop with the token that reaches p; it stays.",
        "Sorted probabilities, their running sum and the mask are all (…, vocab). The mask must go back to the old order.",
        "Sort the softmax in descending order; a token is out if the sum of those before it (cumsum minus itself) is p or "
        "more; bring the mask back with scatter(-1, order, out); fill with −∞.",
    ),
    misconceptions=(
        Misconception(
            "without_the_last",
            "you ruled out the token that reaches p. What is left then adds up to less than p, and may be nothing at all.",
            lambda logits, p: kept_until(logits, p, crossing=False),
        ),
        Misconception(
            "mask_in_sorted_order",
            "the mask is still in sorted order, so it falls on the wrong tokens. Bring it back to the order of the vocabulary "
            "with `scatter`.",
            mask_left_in_order,
        ),
        Misconception(
            "gathered",
            "you used `gather` to bring the mask back to the order of the vocabulary. `gather` sorts a second time; "
            "`scatter(-1, order, …)` puts each entry back where it came from.",
            mask_gathered,
        ),
        Misconception(
            "least_likely",
            "you added up from the least likely token. Begin with the likeliest.",
            lambda logits, p: kept_until(logits, p, largest=False),
        ),
        Misconception(
            "not_sorted",
            "you added up in the order of the vocabulary. Sort the probabilities first, so that the likeliest tokens are "
            "counted first.",
            kept_in_vocabulary_order,
        ),
        Misconception(
            "sum_of_logits",
            "you added up the logits. p is a share of the probability, so take the softmax before `cumsum`.",
            sum_of_logits,
        ),
        Misconception(
            "each_at_least",
            "you compared each probability with 1 − p. It is their sum, from the likeliest down, that has to reach p.",
            lambda logits, p: logits.masked_fill(logits.softmax(dim=-1) < 1 - p, -torch.inf),
        ),
        Misconception(
            "each_at_p",
            "you compared each probability with p. It is their sum, from the likeliest down, that has to reach p.",
            lambda logits, p: logits.masked_fill(logits.softmax(dim=-1) < p, -torch.inf),
        ),
        Misconception(
            "best_ruled_out",
            "the mask is the wrong way round: you ruled out the likeliest tokens and kept the tail.",
            lambda logits, p: logits.masked_fill(keep_top_p(logits, p).isfinite(), -torch.inf),
        ),
        Misconception(
            "zeros",
            "what is ruled out got the logit 0. That does not rule it out, since a logit of 0 can be larger than others. "
            "Use −∞.",
            lambda logits, p: torch.nan_to_num(keep_top_p(logits, p), neginf=0.0),
        ),
        Misconception(
            "left_sorted",
            "you returned the logits in sorted order, so nobody can tell which tokens they belong to. Return them in the order "
            "of the vocabulary.",
            lambda logits, p: keep_top_p(logits, p).sort(dim=-1, descending=True).values,
        ),
        Misconception(
            "softmaxed",
            "you returned probabilities. The right tokens are kept, but the answer is their logits: the softmax comes after "
            "all cuts.",
            lambda logits, p: keep_top_p(logits, p).softmax(dim=-1),
        ),
    ),
    minutes=12,
    difficulty=2,
)

WRITE_WITH_CACHE = Exercise(
    name="generation.write_with_cache",
    reference=write_with_cache,
    inputs=starts,
    use=with_a_counter,
    buys="You get the same text, and each token is read only once.",
    hints=(
        "At first all tokens are unread. After that, only the one that was chosen last is; the cache knows the rest.",
        "model(unread, cache) is (batch, unread, vocab). The argmax at its last position is (batch,), with keepdim=True (batch, 1).",
        "Set unread = tokens. Then n times: take the argmax at the last position of model(unread, cache), append it to "
        "tokens with torch.cat, and make it the new unread.",
    ),
    misconceptions=(
        Misconception(
            "no_cache",
            "your text is right, but nothing is saved: at each step all tokens are read again. Give the model the same `cache` "
            "every time, and only the tokens that it has not read yet.",
            lambda model, cache, tokens, n: write_by_reading_all(model, None, tokens, n),
        ),
        Misconception(
            "all_into_the_cache",
            "you read all tokens into the cache again at each step, so it holds them twice and more. Give the model only the "
            "new one.",
            write_by_reading_all,
        ),
        Misconception(
            "start_again",
            "you read the tokens that you were given again at each step, and never the new ones. After the first step, the "
            "token that was chosen last is what is unread.",
            write_from_the_start_again,
        ),
        Misconception(
            "start_not_read",
            "of the tokens that you were given, only the last was read. Read all of them into the cache in the first step.",
            write_from_one_token,
        ),
        Misconception(
            "forgets",
            "you chose each token from the one before it alone, because nothing that was read earlier was kept. Read all the "
            "given tokens in the first step, and use the same `cache` in every step.",
            lambda model, cache, tokens, n: write_from_one_token(model, None, tokens, n),
        ),
        Misconception(
            "forgets_the_start",
            "you read the start in the first step, but it was forgotten: after that, each token is chosen from the one before "
            "it alone. Use the same `cache` in every step.",
            write_forgetting_the_start,
        ),
        Misconception(
            "without_the_start",
            "only the new tokens come back. Return the given ones in front of them.",
            lambda model, cache, tokens, n: write_with_cache(model, cache, tokens, n)[:, tokens.shape[1] :],
        ),
        Misconception(
            "last_read_twice",
            "you read the last of the given tokens twice: with the others, and once more alone. The first step already gives "
            "the logits to choose from.",
            write_after_reading,
        ),
        Misconception(
            "first_position",
            "you chose from the logits at the first of the unread positions. What comes next is predicted at the last one: "
            "`[:, -1]`.",
            write_from_the_first_position,
        ),
        Misconception(
            "least_likely",
            "at each step you chose the least likely token. The likeliest has the largest logit: `argmax`.",
            write_the_least_likely,
        ),
        Misconception(
            "one_too_few",
            "one token is missing at the end. Choose n tokens, and append every one of them.",
            lambda model, cache, tokens, n: write_with_cache(model, cache, tokens, n - 1),
        ),
        Misconception(
            "one_too_many",
            "you appended n + 1 tokens. If you choose one before the loop, n − 1 more are left for it.",
            lambda model, cache, tokens, n: write_with_cache(model, cache, tokens, n + 1),
        ),
    ),
    minutes=12,
    difficulty=3,
)

LESSON = Lesson(
    topic="generation",
    exercises=(AT_TEMPERATURE, KEEP_TOP_K, KEEP_TOP_P, WRITE_WITH_CACHE),
    predictions=(
        Prediction(
            "generation.hotter",
            "As the temperature rises from 0.6 to 2, what happens to the share of the model's stories that are "
            "possible?",
            (
                "it falls",
                "A small chance of nonsense at each token is a large one in a hundred tokens.",
            ),
            (
                (
                    "it rises, with the variety",
                    "Variety does rise. But most of what is unlikely is unlikely because it is wrong.",
                ),
                (
                    "it stays: the model knows the rules",
                    "It knows them as probabilities. Heat gives weight to what it holds for nearly impossible.",
                ),
            ),
            shows=lambda temperatures, possible, far, openings: figures.line_chart(
                {
                    "possible stories": (temperatures, possible),
                    "possible part": (temperatures, far),
                    "different beginnings": (temperatures, openings),
                },
                title="Greedy tells one story only; above temperature 1 a story turns impossible ever sooner",
                x_label="temperature",
                y_label="share",
            ),
            finding="**Possible part** is how far into the text one gets, on average, before the first impossible "
            "word. Greedy pays for its caution with all the variety there is. Even a little temperature makes "
            "nearly all the beginnings different: most of Storyworld’s dice are fair, so there is no single likely "
            "path to fall into. From there up to 0.6, more heat makes little difference; beyond that, stories turn "
            "impossible sooner and sooner.",
        ),
        Prediction(
            "generation.growth",
            "Without a cache, how does the cost of writing a text grow with its length?",
            (
                "with the square, or faster",
                "Step $t$ reads $t$ tokens again: $1 + 2 + … + n$ is about $n^2/2$ readings.",
            ),
            (
                (
                    "in a line",
                    "So it does with a cache, nearly. Without one, each step reads all that was written.",
                ),
                (
                    "it doubles with each token",
                    "That would be $2^n$. Each step reads one token more than the last.",
                ),
            ),
            shows=lambda lengths, without, cached: figures.line_chart(
                {"no cache": (lengths, without), "cache": (lengths, cached)},
                title="Without a cache the cost grows with the square of the length; with it, in a line",
                x_label="length of the text (tokens)",
                y_label="billion operations",
            ),
            finding="Without a cache the cost grows with the square of the length, or a little faster; with one, "
            "nearly in a straight line.",
        ),
        Prediction(
            "generation.ban",
            "No pair of neighboring tokens may occur twice in a story. What does that ban do to the stories of a "
            "good model?",
            (
                "they go wrong sooner",
                "Real stories say “Mia had” or “said Mia” again and again. The ban makes them say something else.",
            ),
            (
                (
                    "nothing: it does not repeat itself",
                    "It does, and rightly: a story stays with the same people and things.",
                ),
                (
                    "they become more varied, and stay possible",
                    "They do vary, by going where Storyworld cannot go.",
                ),
            ),
            shows=lambda shares: figures.bar_chart(
                list(shares),
                list(shares.values()),
                label="possible part of a story (mean share)",
                highlight=["no ban"],
                title="A ban on repetition spoils stories that have to repeat themselves",
            ),
            finding="A ban on repetition spoils stories that have to repeat themselves. Real stories often repeat "
            "three tokens in a row: that is how they stay with the same people.",
        ),
    ),
    quiz=(
        Question(
            "generation.ten_greedy",
            "Temperature 0, one prompt, ten seeds. How many different texts do you get?",
            ("one", "Greedy throws no dice, so the seed has no say."),
            (
                ("ten", "A seed decides how the dice fall. At temperature 0 there are none."),
                ("as many as `top_k`", "Of those that top-k keeps, greedy takes the first, each time."),
                ("it depends on the model", "Any model gives the same logits for the same tokens."),
            ),
        ),
        Question(
            "generation.half_as_hot",
            "At temperature 1 one token is 4 times as likely as another. At temperature 0.5?",
            ("16 times", "The difference of logits doubles, so the ratio is squared: $4^2$."),
            (
                (
                    "8 times",
                    "Halving the temperature doubles the difference of logits; the ratio is its exponential.",
                ),
                ("2 times", "That is temperature 2: $\\sqrt 4$. Below 1 the likely gets likelier."),
                ("4 times", "Only if the logits were equal would the temperature change nothing."),
            ),
        ),
        Question(
            "generation.how_many_for_p",
            "Probabilities 0.5, 0.3, 0.15, 0.05. How many tokens does top-p 0.7 keep?",
            ("2", "0.5 is not enough; 0.5 + 0.3 reaches 0.7, and the token that reaches it stays."),
            (
                ("1", "Its 0.5 is below 0.7. The token with which the sum reaches $p$ stays."),
                ("3", "Two have 0.8 already; the third is more than it takes."),
                ("none", "No single token has 0.7, but their sum counts. And the likeliest always stays."),
            ),
        ),
        Question(
            "generation.after_the_cut",
            "The same four tokens: 0.5, 0.3, 0.15, 0.05. What is the first one's probability after top-k 2?",
            ("0.625", "0.5 / 0.8: what is left is scaled up to 1 by the softmax."),
            (
                ("0.5", "The two that are left would sum to 0.8; probabilities sum to 1."),
                ("0.6", "The 0.2 that was cut off is not shared half and half but in proportion."),
                ("1", "That is top-k 1. Two tokens are left."),
            ),
        ),
        Question(
            "generation.no_queries",
            "Why does the cache keep keys and values, but no queries?",
            (
                "a query is used once, by its own token",
                "Later tokens ask with their own queries, and look at the keys and values of earlier ones.",
            ),
            (
                ("queries are the largest of the three", "All three have the same size here."),
                (
                    "queries can be computed from keys",
                    "They come from different matrices; neither gives the other.",
                ),
                (
                    "queries change with each new token",
                    "A query depends on its own token and those before it: it does not change.",
                ),
            ),
        ),
        Question(
            "generation.sliding",
            "The context is full and the window slides on by one token. Why is the cache thrown away?",
            (
                "every token has another position now",
                "A learned position is added at the start, so all keys and values of the window change.",
            ),
            (
                ("it would take too much memory", "It never holds more than a full context."),
                ("the oldest token is gone", "One could drop its row. But all others have moved, too."),
                (
                    "softmax needs all tokens at once",
                    "It needs all scores of one query, and those need keys alone.",
                ),
            ),
        ),
        Question(
            "generation.dark_place",
            "At some token the true surprise is 3 nats, and the model's is 3 nats. What is left to learn there?",
            ("nothing", "The world throws dice there, and the model knows the dice."),
            (
                ("3 nats", "Those are the dice of the world; no model can foretell them."),
                ("1.5 nats", "What is left to learn is the difference, model minus truth."),
                ("one cannot know", "On ordinary text, no. Storyworld tells its true surprise."),
            ),
        ),
    ),
    objectives=(
        (
            "generation.at_temperature",
            "generation.keep_top_k",
            "generation.keep_top_p",
            "generation.half_as_hot",
        ),
        ("generation.hotter", "generation.ten_greedy", "generation.how_many_for_p"),
        ("generation.dark_place",),
        ("generation.ban",),
        ("generation.write_with_cache", "generation.growth", "generation.no_queries", "generation.sliding"),
    ),
)
