"""From probabilities to text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
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
    return longer if longer is ... else (longer, max(model.n_read, tokens.shape[1] + n))


def kept_below(logits: Tensor, k: int) -> Tensor:
    highest = logits.topk(k, largest=False).values[..., -1:]
    return logits.masked_fill(logits > highest, -torch.inf)


def kept_until(logits: Tensor, p: float, crossing: bool = True, largest: bool = True) -> Tensor:
    """Keeps the likeliest (or the least likely) tokens up to p, with the one that crosses p or without it."""
    ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=largest)
    total = ordered.cumsum(dim=-1)
    out = (total - ordered >= p) if crossing else (total > p)
    return logits.masked_fill(torch.zeros_like(out).scatter(-1, order, out), -torch.inf)


def mask_left_in_order(logits: Tensor, p: float) -> Tensor:
    ordered = logits.softmax(dim=-1).sort(dim=-1, descending=True).values
    return logits.masked_fill(ordered.cumsum(dim=-1) - ordered >= p, -torch.inf)


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
    buys="One number now goes all the way from greedy to a blind throw.",
    hints=(
        "Dividing the logits changes their differences, and differences are all that a softmax looks at.",
        "logits are (…, vocab), and so are the probabilities; each row sums to 1.",
        "Take the softmax of logits / temperature over the last dimension.",
    ),
    misconceptions=(
        Misconception(
            "multiplied",
            "the logits were multiplied, so a high temperature sharpens. It should even out: divide.",
            lambda logits, temperature: (logits * temperature).softmax(dim=-1),
        ),
        Misconception(
            "divided_after",
            "the probabilities were divided, after the softmax. They no longer sum to 1, and their ratios are as before.",
            lambda logits, temperature: logits.softmax(dim=-1) / temperature,
        ),
        Misconception(
            "logits_returned",
            "these are logits still, and can be negative. The softmax makes probabilities of them.",
            lambda logits, temperature: logits / temperature,
        ),
        Misconception(
            "not_scaled_to_1",
            "the powers of the probabilities do not sum to 1. Divide by their sum, as the softmax of the divided logits does.",
            lambda logits, temperature: logits.softmax(dim=-1) ** (1 / temperature),
        ),
        Misconception(
            "over_the_batch",
            "the softmax runs over the first dimension. The tokens of the vocabulary share the 1, so it is the last one.",
            lambda logits, temperature: (logits / temperature).softmax(dim=0),
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
    buys="The tail is gone, for a whole batch of texts at once.",
    hints=(
        "Find the k-th largest logit of each row. Whatever is below it is ruled out.",
        "logits are (…, vocab), and so is the answer; the k-th largest of each row is (…, 1).",
        "logits.topk(k).values[..., -1:] is the lowest that stays; masked_fill what is less with float('-inf').",
    ),
    misconceptions=(
        Misconception(
            "zeros",
            "what is ruled out got the logit 0. That is no ban: a logit of 0 can be larger than others. Use −∞.",
            lambda logits, k: logits.masked_fill(logits < logits.topk(k).values[..., -1:], 0.0),
        ),
        Misconception(
            "one_too_few",
            "the k-th token is ruled out too, so k − 1 are left. Rule out what is less than its logit, not equal to it.",
            lambda logits, k: logits.masked_fill(logits <= logits.topk(k).values[..., -1:], -torch.inf),
        ),
        Misconception(
            "values_alone",
            "only the k values are left, and nobody can say whose they are. Keep the shape, and fill with −∞.",
            lambda logits, k: logits.topk(k).values,
        ),
        Misconception(
            "across_rows",
            "k tokens are kept in the whole batch. Each row is a text of its own, and keeps k.",
            lambda logits, k: logits.masked_fill(logits < logits.flatten().topk(k).values[-1], -torch.inf),
        ),
        Misconception(
            "lowest_kept",
            "the k least likely tokens were kept, and the best ruled out.",
            kept_below,
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
    buys="As many tokens stay as the place allows: one where all is clear, dozens before a name.",
    hints=(
        "Go through the tokens from the likeliest down and add up. Stop with the token that reaches p; it stays.",
        "Sorted probabilities, their running sum and the mask are all (…, vocab). The mask must go back to the old order.",
        "Sort the softmax in descending order; a token is out if the sum of those before it (cumsum minus itself) is p or "
        "more; bring the mask back with scatter(-1, order, out); fill with −∞.",
    ),
    misconceptions=(
        Misconception(
            "without_the_last",
            "the token that reaches p was ruled out, so what is kept adds up to less than p, and may be nothing at all.",
            lambda logits, p: kept_until(logits, p, crossing=False),
        ),
        Misconception(
            "mask_in_sorted_order",
            "the mask is still in sorted order, and falls on the wrong tokens. Bring it back to the order of the vocabulary.",
            mask_left_in_order,
        ),
        Misconception(
            "least_likely",
            "you added up from the least likely token. The likeliest come first.",
            lambda logits, p: kept_until(logits, p, largest=False),
        ),
        Misconception(
            "each_at_least",
            "each probability was compared with 1 − p. It is their sum, from the likeliest down, that has to reach p.",
            lambda logits, p: logits.masked_fill(logits.softmax(dim=-1) < 1 - p, -torch.inf),
        ),
        Misconception(
            "zeros",
            "what is ruled out got the logit 0. A logit of 0 is no ban; −∞ is.",
            lambda logits, p: torch.nan_to_num(keep_top_p(logits, p), neginf=0.0),
        ),
        Misconception(
            "left_sorted",
            "the logits come back sorted, so nobody can say whose they are. Bring them back to the order of the vocabulary.",
            lambda logits, p: keep_top_p(logits, p).sort(dim=-1, descending=True).values,
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
    buys="The same text, and each token is read once. This is how every GPT is served.",
    hints=(
        "At first all tokens are unread. After that, only the one that was chosen last; the cache knows the rest.",
        "model(unread, cache) is (batch, unread, vocab); the last position's argmax is (batch,), with keepdim=True (batch, 1).",
        "Set unread = tokens. Then n times: take the argmax at the last position of model(unread, cache), put it behind "
        "tokens with torch.cat, and let it be the new unread.",
    ),
    misconceptions=(
        Misconception(
            "no_cache",
            "all tokens are read anew for each one. The text is right, but nothing is saved: give the model the cache.",
            lambda model, cache, tokens, n: write_by_reading_all(model, None, tokens, n),
        ),
        Misconception(
            "all_into_the_cache",
            "the cache is used, but all tokens are read into it again each time, so it holds them twice and more. "
            "Give only the new one.",
            write_by_reading_all,
        ),
        Misconception(
            "start_not_read",
            "of the tokens you were given, only the last was read. The first pass has to read them all into the cache.",
            write_from_one_token,
        ),
        Misconception(
            "forgets",
            "one token is read at a time, and nothing is kept: the cache is not given to the model.",
            lambda model, cache, tokens, n: write_from_one_token(model, None, tokens, n),
        ),
        Misconception(
            "without_the_start",
            "only the new tokens come back. The given ones belong in front.",
            lambda model, cache, tokens, n: write_with_cache(model, cache, tokens, n)[:, tokens.shape[1] :],
        ),
        Misconception(
            "last_read_twice",
            "the last of the given tokens was read twice: with the others, and once more alone. The first pass already gives "
            "the logits to choose from.",
            write_after_reading,
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
