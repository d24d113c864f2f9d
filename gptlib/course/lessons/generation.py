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
            "log_returned",
            "these are the logarithms of the probabilities, which are never above 0. Use `softmax` in place of `log_softmax`.",
            lambda logits, temperature: (logits / temperature).log_softmax(dim=-1),
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
            "sum_does_not_fit",
            "your answer is right for one row, but in a batch the shapes do not fit. Keep the dimension that you sum over, with "
            "`keepdim=True`, so that there is one sum for each row: (…, 1).",
            lambda logits, temperature: (
                (logits / temperature).exp() / (logits / temperature).exp().sum(dim=-1)
            ),
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
            "left_sorted",
            "you returned the logits in sorted order, so nobody can tell which tokens they belong to. Return them in the order "
            "of the vocabulary.",
            lambda logits, k: keep_top_k(logits, k).sort(dim=-1, descending=True).values,
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
            "last_alone",
            "only the token that was chosen last comes back. Return all of them, the given ones first: (batch, seq + n).",
            lambda model, cache, tokens, n: write_with_cache(model, cache, tokens, n)[:, -1:],
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
            "generation.how_many",
            "Something goes *tap, tap, tap under the …*, and a story begins *There once was a brave girl called …*. About how "
            "many tokens does top-p 0.9 keep after the first beginning, and how many after the second?",
            (
                "3 and 18",
                "There are few things in Storyworld to tap under, and they share nearly all the probability. The twenty names "
                "for girls have about 5% each, and it takes eighteen of them to reach 0.9.",
            ),
            (
                (
                    "5 and 5",
                    "That is what top-k 5 keeps. Top-p counts probability, not tokens.",
                ),
                (
                    "1 and 1",
                    "That would need one token with a probability of 0.9. After both beginnings, several are about equally likely.",
                ),
                (
                    "1,800 and 1,800",
                    "That is nine tenths of the vocabulary. The 0.9 is a share of the probability, and nearly all of that is "
                    "on a few tokens.",
                ),
            ),
            shows=lambda ranked: figures.grid_heatmap(
                torch.stack(list(ranked.values())),
                list(ranked),
                [str(1 + rank) for rank in range(len(next(iter(ranked.values()))))],
                masked=torch.stack(list(ranked.values())) == 0,
                annotate=False,
                title="The likeliest next tokens after two beginnings, uncut and cut; hatched cells are ruled out",
                column_name="rank of the token",
                label="probability",
            ),
            finding="After the first beginning, three tokens share nearly all the probability, and top-p keeps these three. Top-k 5 keeps "
            "two more, with hardly any probability. After the second, twenty names are about equally likely: top-k 5 "
            "rules out fifteen of them, top-p two.",
        ),
        Prediction(
            "generation.hotter",
            "storyteller continues 64 openings at the temperatures 0 (greedy), 0.2, 0.6, 1, 1.3 and 2. Where does the share of "
            "possible stories fall the most?",
            (
                "from 1 to 2",
                "Above 1, tokens that the model holds for nearly impossible gain weight, and a small chance of nonsense at each "
                "token is a large one in a hundred tokens.",
            ),
            (
                (
                    "from 0 to 0.2",
                    "There is a fall, and it is the second largest. But most of the stories are still possible.",
                ),
                (
                    "from 0.2 to 1",
                    "In this range the likeliest tokens stay likely, and the differences are within their errors.",
                ),
                (
                    "nowhere: the model knows the rules",
                    "It knows them as probabilities. A high temperature gives weight to what it holds for nearly impossible.",
                ),
            ),
            shows=lambda temperatures, possible, far, varied, errors: figures.line_chart(
                {
                    "possible stories": (temperatures, possible),
                    "possible part": (temperatures, far),
                    "different": (temperatures, varied),
                },
                errors={"possible stories": errors[0], "possible part": errors[1]},
                title="Truth and variety of 64 stories at six temperatures; bars are ± one standard error",
                x_label="temperature",
                y_label="share",
            ),
            finding="**Possible part** is how far one gets into a text, on average, before the first impossible word. Greedy "
            "decoding writes the most possible stories, but many of its continuations are the same. At 0.2 nearly all of them are "
            "different already, because many of Storyworld’s choices have equal chances and a low temperature cannot tell those "
            "apart.\n\n"
            "From 0.2 to 1 the differences are within their errors, so these 64 stories do not tell us which of these "
            "temperatures is best. Above 1 the shares fall, and at 2 hardly any story is possible.",
        ),
        Prediction(
            "generation.few_tokens",
            "At 6,688 tokens of the sixty stories, only one token is possible (the true surprise is below 0.01 nats). Whatever "
            "surprise storyteller shows there is something that it has not learned. Sort these tokens by its surprise. How many of "
            "the first hold half of all the surprise?",
            (
                "about 20",
                "At nearly all of these tokens the model is sure of the right one. What it has not learned sits on very few.",
            ),
            (
                (
                    "about 3,000",
                    "That would be a surprise spread evenly over all of these tokens. At most of them there is hardly any.",
                ),
                (
                    "about 600",
                    "One in ten would already be a strong concentration. It is stronger still.",
                ),
            ),
            shows=lambda cumulative: figures.line_chart(
                {"share of the surprise": (range(1, len(cumulative) + 1), cumulative)},
                log_x=True,
                marks={"half": 0.5},
                title="How much of the surprise at these tokens the most surprising ones hold together",
                x_label="number of tokens, from the largest surprise down",
                y_label="share",
            ),
            finding="Fewer than one in a hundred of these tokens hold half of the surprise. At nearly all the others the model is as "
            "sure as Storyworld that only one token is possible.",
        ),
        Prediction(
            "generation.beams",
            "From each of 24 openings, storyteller writes 30 tokens: once by a search with 8 beams, and once by sampling 8 texts, of "
            "which we keep the likeliest. Which text is likelier, on average?",
            (
                "the best of the samples",
                "The beams fill up with small variants of one beginning, while the samples begin in eight different ways, and "
                "one of these leads to few further choices.",
            ),
            (
                (
                    "the one found by the beams",
                    "At each step the beams keep the likeliest beginnings. But a likely beginning can lead to a point where many "
                    "choices are waiting, and by then the others have been dropped.",
                ),
                (
                    "neither: both find the same text",
                    "A search over 30 tokens is far from complete, so two ways of searching find different texts.",
                ),
            ),
            shows=lambda widths, likelihood: figures.line_chart(
                {way: (widths, found.mean(axis=1)) for way, found in likelihood.items()},
                errors={way: found.std(axis=1) / found.shape[1] ** 0.5 for way, found in likelihood.items()},
                title="Mean log-probability of 30 tokens, 24 openings; bars are ± one standard error",
                x_label="number of beams, or of samples",
                y_label="log-probability (nats)",
            ),
            finding="More beams find likelier texts than greedy decoding (one beam), up to a point. The best of as many samples is "
            "likelier still. Beams are made to find the likeliest text, and on these stories they do not: after a few steps, all of "
            "them share one beginning.",
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
                    "linearly",
                    "It does so nearly with a cache, at this length. Without one, each step reads all that was written.",
                ),
                (
                    "it doubles with each token",
                    "That would be $2^n$. Each step reads one token more than the last.",
                ),
            ),
            shows=lambda lengths, without, cached: figures.line_chart(
                {"no cache": (lengths, without), "cache": (lengths, cached)},
                title="Operations to write a text with and without a cache",
                x_label="length of the text (tokens)",
                y_label="billion operations",
            ),
            finding="Without a cache the cost grows with the square of the length, or a little faster, because attention within each "
            "step grows too. With one it is nearly a straight line at this length.",
        ),
        Prediction(
            "generation.ban",
            "No pair of neighboring tokens may occur twice in a story. What does that ban do to the stories of a "
            "good model?",
            (
                "they go wrong sooner",
                "Real stories say “Mia had” or “said Mia” again and again. The ban makes the model say something else.",
            ),
            (
                (
                    "nothing: it does not repeat itself",
                    "It does, and it has to: a story stays with the same people and things.",
                ),
                (
                    "they become more varied, and stay possible",
                    "They do vary, but by going where Storyworld cannot go.",
                ),
            ),
            shows=lambda shares: figures.bar_chart(
                list(shares),
                list(shares.values()),
                label="possible part of a story (mean share)",
                highlight=["no ban"],
                title="How far stories are possible with and without a ban on repeated n-grams",
            ),
            finding="With the ban, stories turn impossible sooner. A story has to repeat itself, because it stays with the same "
            "people and things.",
        ),
    ),
    quiz=(
        Question(
            "generation.ten_greedy",
            "Temperature 0, one prompt, ten seeds. How many different texts do you get?",
            ("one", "Greedy decoding draws nothing at random, so the seed makes no difference."),
            (
                ("ten", "The seed decides what is drawn. At temperature 0 nothing is drawn."),
                (
                    "as many as `top_k`",
                    "Of the tokens that top-k keeps, greedy decoding takes the likeliest each time.",
                ),
                ("it depends on the model", "Any model gives the same logits for the same tokens."),
            ),
        ),
        Question(
            "generation.half_as_hot",
            "At temperature 1, one token is 4 times as likely as another. How many times as likely is it at temperature 0.5?",
            ("16 times", "The difference of their logits doubles, so the ratio is squared: $4^2$."),
            (
                (
                    "8 times",
                    "Halving the temperature doubles the difference of logits; the ratio is its exponential.",
                ),
                ("2 times", "That is temperature 2: $\\sqrt 4$. Below 1, what is likely becomes likelier."),
                ("4 times", "Temperature would change nothing only if the two logits were equal."),
            ),
        ),
        Question(
            "generation.how_many_for_p",
            "Four tokens have the probabilities 0.5, 0.3, 0.15 and 0.05. How many of them does top-p 0.7 keep?",
            ("2", "0.5 is not enough; 0.5 + 0.3 reaches 0.7, and the token that reaches it stays."),
            (
                ("1", "Its 0.5 is below 0.7. The token with which the sum reaches $p$ stays."),
                ("3", "Two of them have 0.8 already, so the third is not needed."),
                (
                    "none",
                    "No single token has 0.7, but it is their sum that counts. And the likeliest always stays.",
                ),
            ),
        ),
        Question(
            "generation.after_the_cut",
            "Four tokens have the probabilities 0.5, 0.3, 0.15 and 0.05. What is the probability of the first after top-k 2?",
            ("0.625", "0.5 / 0.8: what is left is scaled up to 1 by the softmax."),
            (
                ("0.5", "Then the two that are left would sum to 0.8. Probabilities sum to 1."),
                ("0.6", "The 0.2 that was cut off is not shared half and half, but in proportion."),
                ("1", "That is top-k 1. Two tokens are left."),
            ),
        ),
        Question(
            "generation.no_queries",
            "Why does the cache keep keys and values, but no queries?",
            (
                "a query is used once, by its own token",
                "Later tokens have queries of their own, and compare them with the keys of earlier ones.",
            ),
            (
                ("queries are the largest of the three", "All three have the same size in this model."),
                (
                    "queries can be computed from keys",
                    "They come from different matrices, so neither can be computed from the other.",
                ),
                (
                    "queries change with each new token",
                    "A query depends on its own token and those before it: it does not change.",
                ),
            ),
        ),
        Question(
            "generation.sliding",
            "The context is full, and the window slides on by one token. Why is the cache of no use any more?",
            (
                "every token has another position now",
                "A learned position is added to each embedding, so all keys and values of the window change.",
            ),
            (
                ("it would take too much memory", "It never holds more than a full context."),
                ("the oldest token is gone", "One could drop its row. But all the others have moved, too."),
                (
                    "softmax needs all tokens at once",
                    "It needs all scores of one query, and for those the keys are enough.",
                ),
            ),
        ),
        Question(
            "generation.dark_place",
            "At some token the true surprise is 3 nats, and the model's is 3 nats. What is left to learn there?",
            ("nothing", "That surprise is chance, and the model knows the chances as well as can be known."),
            (
                ("3 nats", "Those are chance in Storyworld itself. No model can do better on average."),
                ("1.5 nats", "What is left to learn is the difference, model minus truth, and that is 0."),
                ("one cannot know", "On ordinary text one cannot. Storyworld can tell its true surprise."),
            ),
        ),
        Question(
            "generation.when_beams",
            "For which of these is beam search the wrong choice?",
            (
                "ten different bedtime stories",
                "It looks for a single likely text. In section 8 it wrote nearly the same one for every hero.",
            ),
            (
                (
                    "a translation",
                    "Few texts are right, so a likely one is a good bet.",
                ),
                (
                    "an answer of one word",
                    "One word is right, and looking ahead does no harm.",
                ),
                (
                    "a sentence that states the numbers of a table",
                    "The facts leave little choice, so a likely text is a good bet.",
                ),
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
        ("generation.hotter", "generation.how_many", "generation.ten_greedy", "generation.how_many_for_p"),
        ("generation.few_tokens", "generation.dark_place"),
        ("generation.ban", "generation.beams", "generation.when_beams"),
        ("generation.write_with_cache", "generation.growth", "generation.no_queries", "generation.sliding"),
    ),
)
