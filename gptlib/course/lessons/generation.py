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
    yield torch.tensor([0.5, 2.0, -1.0, 1.5]), 1
    yield torch.randn(2, 5, generator=generator), 3
    yield torch.randn(2, 3, 6, generator=generator), 2


def logits_and_p(generator: Generator) -> Iterator[tuple[Tensor, float]]:
    yield torch.tensor([1.0, 2.0, 0.2, 1.5, -2.0]), 0.7
    for shape, scale, p in (((2, 6), 1.0, 0.55), ((2, 3, 8), 2.0, 0.85)):
        logits = scale * torch.randn(shape, generator=generator)
        while not _tells_apart(logits, p):
            logits = scale * torch.randn(shape, generator=generator)
        yield logits, p
    # The likeliest token reaches p alone, and it stays, however small p is.
    yield torch.tensor([-1.9, -3.0, -0.7, -2.3, -2.1, -2.5]), 0.3
    first = [-1.5, -3.0, -0.5, -2.5, -2.0, -3.5, -4.0]
    yield torch.tensor([first, [-1.5, -0.5, -3.0, -1.0, -2.5, -2.0, -4.0]]), 1e-9


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
        if cache is not None and (room := cache.layers[0].keys.shape[0]) != len(tokens):
            raise RuntimeError(f"the cache was made for {room} text, but {len(tokens)} are read at once")
        return self.gpt(tokens, cache)


NOT_SCALED = "the right ratios in each row, but a row does not sum to 1"
RATIOS_AT_1 = "in each row the ratios of temperature 1, but a row does not sum to 1"
RATIOS_INVERTED = "in each row the ratios of temperature 1/T, but a row does not sum to 1"
PROBABILITIES = "probabilities, or their logarithms, and not logits"
OTHER_FILL = "logits of which the others are not -inf"
IN_ORDER = "the right logits, but from the largest to the smallest"
NO_LOGITS = "no logits, but whole numbers or True and False"
NOT_ONE = "not the likeliest token alone, though it reaches p"
TOO_MANY = "two or more tokens too many in each row"
AT_RANDOM = "not the same tokens each time"


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.float(), other.float(), rtol=1e-4, atol=1e-5)


def _sums_to_1(probabilities: Tensor) -> bool:
    sums = probabilities.sum(dim=-1)
    return bool((probabilities >= 0).all()) and _alike(sums, torch.ones_like(sums))


def told_by_ratios(found: Any, expected: Tensor, logits: Tensor, temperature: float) -> Any:
    """The probabilities, or in words what they are where only the scale of each row is wrong."""
    at_1 = logits.softmax(dim=-1)
    if type(found) is not Tensor or not found.is_floating_point() or found.shape != expected.shape:
        return found
    if _alike(found, at_1) or not (found >= 0).all():
        return found
    scaled = found / found.sum(dim=-1, keepdim=True)
    if _alike(scaled, expected):
        return NOT_SCALED
    if _alike(scaled, at_1):
        return RATIOS_AT_1
    inverse = at_temperature(logits, 1 / temperature)
    if _alike(scaled, inverse) and not _alike(found, inverse):
        return RATIOS_INVERTED
    return found


def filtered(found: Any, logits: Tensor, expected: Tensor) -> Any:
    """What a filter gave, or in words what it is where that is one of a few mistakes, however it was made."""
    if type(found) is not Tensor or found.ndim != logits.ndim:
        return found
    if not found.is_floating_point():
        return NO_LOGITS
    ordered, order = expected.sort(dim=-1, descending=True)
    if found.shape != logits.shape:
        least, most = expected.isfinite().sum(dim=-1).aminmax()  # as many in each row
        in_order = least == most and _alike(found, ordered[..., :most])
        return IN_ORDER if in_order else found
    if _alike(found, expected):
        return found
    held = found.isfinite() & (found != 0)
    log_p = logits.log_softmax(dim=-1)
    as_p, as_log_p = (bool(held.any()) and _alike(found[held], those[held]) for those in (log_p.exp(), log_p))
    if as_p or as_log_p or _sums_to_1(found) or _sums_to_1(found.exp()):
        return PROBABILITIES
    if _alike(found, ordered):
        return IN_ORDER
    kept, filled = expected.isfinite(), found[expected.isneginf()]
    fills = filled.isfinite().all() and (filled != logits[~kept]).all()
    return OTHER_FILL if fills and _alike(found[kept], expected[kept]) else found


def told_of_top_k(found: Any, expected: Tensor, logits: Tensor, k: int) -> Any:
    return filtered(found, logits, expected)


def cuts_at_p(values: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """What is out if values are added up as they stand: from the one after p is reached, or with that one."""
    total = values.cumsum(dim=-1)
    return total - values >= p, total > p


def mistaken_cuts(logits: Tensor, p: float) -> dict[str, list[Tensor]]:
    """What some mistakes give, by what each is in words, whether or not the token that reaches p stays."""
    probabilities = logits.softmax(dim=-1)
    ordered, order = probabilities.sort(dim=-1, descending=True)
    outs = cuts_at_p(ordered, p)
    unordered = cuts_at_p(probabilities, p)
    rising, up = probabilities.sort(dim=-1)
    largest = logits.gather(-1, order)
    summed = cuts_at_p(largest, p)

    def back(out: Tensor, order: Tensor = order) -> Tensor:
        return torch.zeros_like(out).scatter(-1, order, out)

    masks = {
        "added up in the order of the vocabulary": [*unordered, *map(back, unordered)],
        "the sum begins with the least likely token": [back(out, up) for out in cuts_at_p(rising, p)],
        "sums of logits and not of probabilities": [*map(back, summed)],
        "the mask is in sorted order": [*outs],
        "the likeliest tokens are out": [~back(out) for out in outs],
    }
    found = {name: [logits.masked_fill(out, -torch.inf) for out in held] for name, held in masks.items()}
    found["`gather` where `scatter` is meant"] = [
        *(logits.masked_fill(out.gather(-1, order), -torch.inf) for out in outs),
        *(largest.masked_fill(out, -torch.inf).gather(-1, order) for out in outs),
    ]
    found["the logits are in sorted order"] = [largest.masked_fill(out, -torch.inf) for out in outs]
    return found


def _tells_apart(logits: Tensor, p: float) -> bool:
    """Whether no mistaken cut gives the right logits, or what another one gives."""
    cuts = [(name, cut) for name, held in mistaken_cuts(logits, p).items() for cut in held]
    cuts += [("right", keep_top_p(logits, p)), ("without the last", kept_until(logits, p, crossing=False))]
    return not any(
        one != other and _alike(cut, found)
        for place, (one, cut) in enumerate(cuts)
        for other, found in cuts[:place]
    )


def told_of_top_p(found: Any, expected: Tensor, logits: Tensor, p: float) -> Any:
    if type(found) is not Tensor or found.shape != logits.shape:
        return found
    if (expected.isfinite().sum(dim=-1) == 1).all():
        return NOT_ONE
    for name, held in mistaken_cuts(logits, p).items():
        if any(_alike(found, cut) for cut in held):
            return name
    told = filtered(found, logits, expected)
    return filtered(found, logits, kept_until(logits, p, crossing=False)) if type(told) is Tensor else told


def with_a_counter(answer: Callable[..., Any], tokens: Tensor, n: int) -> Any:
    """What is written, and how many positions were read if it was more than each once.

    Where the shape is wrong, nothing else is compared. An answer that draws at random is run again.
    """
    model, given = ReadingGPT(), tokens.clone()
    state = torch.get_rng_state()
    longer = answer(model, KeyValueCache(model.config, len(tokens)), tokens, n)
    if type(longer) is not Tensor:
        return longer
    once = given.shape[1] + n
    n_read = max(model.n_read, once)
    if not torch.equal(state, torch.get_rng_state()):
        longer = longer.clone()
        for seed in range(1, 9):
            torch.default_generator.manual_seed(seed)
            again = answer(model, KeyValueCache(model.config, len(given)), given.clone(), n)
            if type(again) is Tensor and not torch.equal(again, longer):
                return AT_RANDOM
    if longer.ndim == 2 and len(longer) == len(given) and longer.shape[1] > once + 1:
        return TOO_MANY
    if longer.shape != (len(given), once):
        return {"tokens": torch.zeros(longer.shape, dtype=torch.long), "positions read": once}
    return {"tokens": longer, "positions read": n_read}


def told_of_tokens(found: Any, expected: dict[str, Any], tokens: Tensor, n: int) -> Any:
    """Where the tokens are wrong, what was read is not compared."""
    if (
        type(found) is not dict
        or found.keys() != expected.keys()
        or _alike(found["tokens"], expected["tokens"])
    ):
        return found
    return found | {"positions read": expected["positions read"]}


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


def kept_shifted(logits: Tensor, p: float, shift: bool, first: bool) -> Tensor:
    """The widely copied recipe, with one of its two lines."""
    ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
    out = ordered.cumsum(dim=-1) >= p
    if shift:
        out[..., 1:] = out[..., :-1].clone()
    if first:
        out[..., 0] = False
    return logits.masked_fill(torch.zeros_like(out).scatter(-1, order, out), -torch.inf)


def put_back_by_index(logits: Tensor, p: float) -> Tensor:
    ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
    kept = logits.clone()
    kept[order[ordered.cumsum(dim=-1) - ordered >= p]] = -torch.inf
    return kept


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


def write_for_each_position(model: nn.Module, cache: KeyValueCache, tokens: Tensor, n: int) -> Tensor:
    unread = tokens
    for _ in range(n):
        unread = model(unread, cache).argmax(dim=-1)
        tokens = torch.cat([tokens, unread], dim=1)
    return tokens


def write_at_random(model: nn.Module, cache: KeyValueCache, tokens: Tensor, n: int) -> Tensor:
    unread = tokens
    for _ in range(n):
        unread = model(unread, cache)[:, -1].softmax(dim=-1).multinomial(1)
        tokens = torch.cat([tokens, unread], dim=1)
    return tokens


def write_one_text(model: nn.Module, cache: KeyValueCache, tokens: Tensor, n: int) -> Tensor:
    unread = tokens
    for _ in range(n):
        unread = model(unread, cache)[0, -1].argmax().view(1, 1)
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
    told=told_by_ratios,
    buys="One number now takes you from almost always drawing the likeliest token to drawing nearly all tokens equally "
    "often.",
    hints=(
        "Dividing the logits changes their differences, and a softmax depends only on differences.",
        "The logits are (…, vocab), and so are the probabilities. Each row sums to 1.",
        "Take the softmax of logits / temperature over the last dimension.",
    ),
    misconceptions=(
        Misconception(
            "multiplied",
            "you multiplied the logits by the temperature, so a high temperature sharpens the distribution instead of "
            "evening it out. Divide instead.",
            lambda logits, temperature: (logits * temperature).softmax(dim=-1),
        ),
        Misconception(
            "divided_after",
            "the ratios within a row are still those of temperature 1, and its numbers no longer sum to 1. That is "
            "what happens if the probabilities are divided after the softmax. Divide the logits, before it.",
            lambda logits, temperature: logits.softmax(dim=-1) / temperature,
        ),
        Misconception(
            "logits_returned",
            "these are still logits, which can be negative. The softmax turns them into probabilities.",
            lambda logits, temperature: logits / temperature,
        ),
        Misconception(
            "log_returned",
            "these are the logarithms of the probabilities, which are never above 0. Use `softmax` instead of "
            "`log_softmax`.",
            lambda logits, temperature: (logits / temperature).log_softmax(dim=-1),
        ),
        Misconception(
            "over_the_batch",
            "the softmax runs over the first dimension. The probabilities of the vocabulary have to sum to 1, and the "
            "vocabulary is the last dimension: `dim=-1`.",
            lambda logits, temperature: (logits / temperature).softmax(dim=0),
        ),
        Misconception(
            "second_dimension",
            "your answer is right only for two dimensions, because `dim=1` is then the last one. `dim=-1` is always "
            "the last.",
            lambda logits, temperature: (logits / temperature).softmax(dim=1),
        ),
        Misconception(
            "sum_does_not_fit",
            "your answer is right for one row, but in a batch the shapes do not fit. Keep the dimension that you sum "
            "over, with `keepdim=True`, so that there is one sum for each row: (…, 1).",
            lambda logits, temperature: (
                (logits / temperature).exp() / (logits / temperature).exp().sum(dim=-1)
            ),
        ),
        Misconception(
            "over_everything",
            "your answer is right for one row, but in a batch all rows together sum to 1. Each row is a distribution "
            "of its own, so divide by the sum over the last dimension, with `keepdim=True`, or use `softmax(dim=-1)`.",
            lambda logits, temperature: (logits / temperature).flatten().softmax(dim=-1).view_as(logits),
        ),
        Misconception(
            "softmax_twice",
            "you took the softmax twice. The first one gives the probabilities, and the second treats them as logits, "
            "which makes them almost equal.",
            lambda logits, temperature: (logits / temperature).softmax(dim=-1).softmax(dim=-1),
        ),
        Misconception(
            "softmax_of_probabilities",
            "you divided the probabilities by the temperature and took the softmax of the result. Divide the logits "
            "instead, and take only one softmax.",
            lambda logits, temperature: (logits.softmax(dim=-1) / temperature).softmax(dim=-1),
        ),
        Misconception(
            "not_scaled",
            "the ratios within each row are right, but the row does not sum to 1. Divide it by its own sum, with "
            "`keepdim=True`, or take the softmax of the divided logits, which does that too.",
            lambda logits, temperature: (logits / temperature).exp(),
        ),
        Misconception(
            "inverted_and_not_scaled",
            "the ratios within each row are those of 1 / `temperature`, and the row does not sum to 1. The probabilities "
            "to the power of 1 / `temperature`, divided by the sum of their row, would be right. The softmax of the "
            "divided logits does both.",
            lambda logits, temperature: logits.softmax(dim=-1) ** temperature,
        ),
        Misconception(
            "without_exp",
            "you divided the logits by their sum. Logits can be negative, so the results can be negative too. Take "
            "`exp` first, or use `softmax`, which does both.",
            lambda logits, temperature: logits / logits.sum(dim=-1, keepdim=True),
        ),
        Misconception(
            "at_temperature_1",
            "these are the probabilities at temperature 1. If you used the temperature, it canceled out: subtracting "
            "it from all logits, or dividing by it after `exp`, makes no difference once a row is scaled to sum to 1. "
            "Divide the logits.",
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
    told=told_of_top_k,
    buys="You can now cut off the tail for a whole batch of texts at once.",
    hints=(
        "Find the k-th largest logit of each row. Whatever is below it is ruled out.",
        "The logits are (…, vocab), and so is the answer. The k-th largest logits of all rows are (…, 1).",
        "logits.topk(k).values[..., -1:] is the smallest logit that stays. Use masked_fill to set all smaller ones to "
        "float('-inf').",
    ),
    misconceptions=(
        Misconception(
            "zeros",
            "you set the logits of the other tokens to a number instead of −∞. A token with a logit of 0 can still be "
            "drawn, and a large negative number, such as −1e9, could be mistaken for a logit. Use `float('-inf')`.",
            lambda logits, k: logits.masked_fill(logits < logits.topk(k).values[..., -1:], 0.0),
        ),
        Misconception(
            "one_too_few",
            "the k-th token is ruled out too, so k − 1 are left. Rule out the logits below the k-th largest, but not "
            "those equal to it.",
            lambda logits, k: logits.masked_fill(logits <= logits.topk(k).values[..., -1:], -torch.inf),
        ),
        Misconception(
            "one_too_many",
            "k + 1 tokens are left in each row. Python counts from 0, so in sorted order the k-th largest is at index "
            "k − 1.",
            one_too_many,
        ),
        Misconception(
            "left_sorted",
            "you returned the right logits in sorted order, so nobody can tell which tokens they belong to. Keep the "
            "shape of `logits` and the order of the vocabulary.",
            lambda logits, k: keep_top_k(logits, k).sort(dim=-1, descending=True).values,
        ),
        Misconception(
            "across_rows",
            "only k tokens are kept in the whole batch. Each row is a text of its own and should keep k tokens.",
            lambda logits, k: logits.masked_fill(logits < logits.flatten().topk(k).values[-1], -torch.inf),
        ),
        Misconception(
            "lowest_kept",
            "you kept the k least likely tokens. Keep the largest logits instead.",
            kept_below,
        ),
        Misconception(
            "kth_smallest",
            "your threshold is the k-th smallest logit of each row, so only k − 1 tokens are ruled out. `sort` is "
            "ascending unless you pass `descending=True`, and in ascending order the k-th largest is at index −k.",
            lambda logits, k: logits.masked_fill(
                logits < logits.topk(k, largest=False).values[..., -1:], -torch.inf
            ),
        ),
        Misconception(
            "largest_alone",
            "only the largest logit of each row is left, whatever k is. `topk` puts the largest first, so the k-th "
            "largest is the last of them: `values[..., -1:]`.",
            lambda logits, k: logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True), -torch.inf),
        ),
        Misconception(
            "best_ruled_out",
            "the mask is inverted: you ruled out the k likeliest tokens and kept the others.",
            lambda logits, k: logits.masked_fill(logits >= logits.topk(k).values[..., -1:], -torch.inf),
        ),
        Misconception(
            "sorted_once",
            "`argsort` says which token comes first, second and so on, but it does not give the rank of each token. "
            "Compare the logits with the k-th largest, or take `argsort` of that order. The second `argsort` must be "
            "ascending, without `descending=True`.",
            lambda logits, k: logits.where(
                logits.argsort(dim=-1, descending=True) < k, torch.tensor(-torch.inf)
            ),
        ),
        Misconception(
            "softmaxed",
            "you returned probabilities, or their logarithms. The task asks for the logits themselves, because the "
            "softmax comes after all cuts.",
            lambda logits, k: keep_top_k(logits, k).softmax(dim=-1),
        ),
        Misconception(
            "first_dimension",
            "you looked for the k largest in the first dimension, across the batch. The tokens of the vocabulary are "
            "in the last one: `dim=-1`.",
            lambda logits, k: logits.masked_fill(logits < logits.topk(k, dim=0).values[-1:], -torch.inf),
        ),
        Misconception(
            "second_dimension",
            "your answer is right only for two dimensions, because `dim=1` is then the last one. `dim=-1` is always "
            "the last.",
            lambda logits, k: logits.masked_fill(logits < logits.topk(k, dim=1).values[:, -1:], -torch.inf),
        ),
        Misconception(
            "no_logits",
            "you returned True and False, or whole numbers, such as the indices of tokens. Return the logits "
            "themselves, with −∞ wherever a token is ruled out; `masked_fill` and `torch.where` do that with a mask.",
            lambda logits, k: logits.topk(k).indices,
        ),
        Misconception(
            "not_for_a_batch",
            "your answer is right for a single row but fails for a batch. Look for the k largest in the last dimension "
            "and keep that dimension, so that there is one threshold for each row: "
            "`logits.topk(k, dim=-1).values[..., -1:]`.",
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
    told=told_of_top_p,
    buys="The number of tokens you keep now adapts to the distribution: few where it is peaked, many where it is flat.",
    hints=(
        "Go through the tokens from the likeliest down and add up their probabilities. The token with which the sum "
        "reaches p is the last that stays.",
        "Sorted probabilities, their running sum and the mask are all (…, vocab). The mask has to go back to the "
        "original order.",
        "Sort the softmax in descending order. A token is out if the sum of those before it (cumsum minus itself) is p "
        "or more. Bring the mask back with scatter(-1, order, out), and fill with −∞.",
    ),
    misconceptions=(
        Misconception(
            "without_the_last",
            "you ruled out the token with which the sum reaches p. The rest then adds up to less than p, and there may "
            "be nothing left at all.",
            lambda logits, p: kept_until(logits, p, crossing=False),
        ),
        Misconception(
            "without_the_last_but_first",
            "the likeliest token always stays, but otherwise you ruled out the token with which the sum reaches p. "
            "That one belongs to those that are kept. Compare p with the sum of the tokens *before* each token: "
            "`cumsum` minus the token's own probability.",
            lambda logits, p: kept_shifted(logits, p, shift=False, first=True),
        ),
        Misconception(
            "nothing_left",
            "where the likeliest token reaches p alone, you ruled out all tokens. If you shifted the mask by one, its "
            "first entry is still what it was: set it with `remove[..., 0] = False`.",
            lambda logits, p: kept_shifted(logits, p, shift=True, first=False),
        ),
        Misconception(
            "mask_in_sorted_order",
            "the mask is still in sorted order, so it falls on the wrong tokens. Bring it back to the order of the "
            "vocabulary with `scatter`.",
            mask_left_in_order,
        ),
        Misconception(
            "gathered",
            "you used `gather` to go back to the order of the vocabulary. `gather` sorts a second time, while "
            "`scatter(-1, order, …)` puts each entry back where it came from.",
            mask_gathered,
        ),
        Misconception(
            "least_likely",
            "you started with the least likely token. Begin with the likeliest.",
            lambda logits, p: kept_until(logits, p, largest=False),
        ),
        Misconception(
            "not_sorted",
            "you added up the probabilities in the order of the vocabulary. Sort them first, so that the likeliest "
            "tokens are counted first.",
            kept_in_vocabulary_order,
        ),
        Misconception(
            "sum_of_logits",
            "you added up the logits. p is a share of the probability, so take the softmax before `cumsum`.",
            sum_of_logits,
        ),
        Misconception(
            "each_at_p",
            "you compared each probability with p. It is their sum, from the likeliest down, that has to reach p.",
            lambda logits, p: logits.masked_fill(logits.softmax(dim=-1) < p, -torch.inf),
        ),
        Misconception(
            "best_ruled_out",
            "the mask is inverted: you ruled out the likeliest tokens and kept the tail.",
            lambda logits, p: logits.masked_fill(keep_top_p(logits, p).isfinite(), -torch.inf),
        ),
        Misconception(
            "zeros",
            "you set the logits of the other tokens to a number instead of −∞. A token with a logit of 0 can still be "
            "drawn, and a large negative number, such as −1e9, could be mistaken for a logit. Use `float('-inf')`.",
            lambda logits, p: torch.nan_to_num(keep_top_p(logits, p), neginf=0.0),
        ),
        Misconception(
            "left_sorted",
            "you returned the right logits in sorted order, so nobody can tell which tokens they belong to. Keep the "
            "shape of `logits` and the order of the vocabulary.",
            lambda logits, p: keep_top_p(logits, p).sort(dim=-1, descending=True).values,
        ),
        Misconception(
            "softmaxed",
            "you returned probabilities, or their logarithms. The task asks for the logits themselves, because the "
            "softmax comes after all cuts.",
            lambda logits, p: keep_top_p(logits, p).softmax(dim=-1),
        ),
        Misconception(
            "first_dimension",
            "you sorted and added up along the first dimension, across the batch. The tokens of the vocabulary are in "
            "the last one: `dim=-1`.",
            lambda logits, p: keep_top_p(logits.movedim(0, -1), p).movedim(-1, 0),
        ),
        Misconception(
            "for_one_row",
            "your answer is right for one row but fails for a batch, probably because `logits[order[…]]` picks rows "
            "there and not tokens. Bring the mask back with `scatter(-1, order, …)`, which works for any number of "
            "rows.",
            put_back_by_index,
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
    told=told_of_tokens,
    buys="You get the same text, and each token is read only once.",
    hints=(
        "At first all tokens are unread. After that, only the one you chose last is, because the cache holds the rest.",
        "model(unread, cache) is (batch, unread, vocab). The argmax at its last position is (batch,), or (batch, 1) "
        "with keepdim=True.",
        "Set unread = tokens. Then n times: take the argmax at the last position of model(unread, cache), append it to "
        "tokens with torch.cat, and make it the new unread.",
    ),
    misconceptions=(
        Misconception(
            "no_cache",
            "your text is right, but nothing is saved, because all tokens are read again at each step. Give the model "
            "the same `cache` every time, and only the tokens that it has not read yet.",
            lambda model, cache, tokens, n: write_by_reading_all(model, None, tokens, n),
        ),
        Misconception(
            "all_into_the_cache",
            "you read all tokens into the cache again at each step, so it holds most of them several times. Give the "
            "model only the newest one.",
            write_by_reading_all,
        ),
        Misconception(
            "start_again",
            "at each step you read the given tokens again, and never the new ones. After the first step, only the "
            "token you chose last is unread.",
            write_from_the_start_again,
        ),
        Misconception(
            "start_not_read",
            "you read only the last of the given tokens. Read all of them into the cache in the first step.",
            write_from_one_token,
        ),
        Misconception(
            "forgets",
            "you chose each token from only the one before it, because nothing that was read earlier was kept. Read "
            "all the given tokens in the first step, and use the same `cache` in every step.",
            lambda model, cache, tokens, n: write_from_one_token(model, None, tokens, n),
        ),
        Misconception(
            "forgets_the_start",
            "you read the start in the first step, but it was forgotten: after that, you chose each token from only "
            "the one before it. Use the same `cache` in every step.",
            write_forgetting_the_start,
        ),
        Misconception(
            "without_the_start",
            "you returned only n tokens for each row. Put the given ones in front of the new ones: (batch, seq + n).",
            lambda model, cache, tokens, n: write_with_cache(model, cache, tokens, n)[:, tokens.shape[1] :],
        ),
        Misconception(
            "last_read_twice",
            "you read the last of the given tokens twice, once with the others and once alone. The first step already "
            "gives the logits to choose from.",
            write_after_reading,
        ),
        Misconception(
            "first_position",
            "you chose from the logits at the first of the unread positions. What comes next is predicted at the last "
            "one: `[:, -1]`.",
            write_from_the_first_position,
        ),
        Misconception(
            "last_alone",
            "you returned only one token for each row. Return all of them, the given ones first: (batch, seq + n).",
            lambda model, cache, tokens, n: write_with_cache(model, cache, tokens, n)[:, -1:],
        ),
        Misconception(
            "one_too_few",
            "each row has seq + n − 1 tokens, so one is missing. Choose n tokens, and append every one of them.",
            lambda model, cache, tokens, n: write_with_cache(model, cache, tokens, n - 1),
        ),
        Misconception(
            "one_too_many",
            "each row has seq + n + 1 tokens, one too many. If you choose one before the loop, only n − 1 are left for the loop.",
            lambda model, cache, tokens, n: write_with_cache(model, cache, tokens, n + 1),
        ),
        Misconception(
            "every_position",
            "each row gets more than n tokens as soon as several positions are read in a step. Only what follows the "
            "last of them is new: take `[:, -1]` of the logits, and one argmax for each row.",
            write_for_each_position,
        ),
        Misconception(
            "sampled",
            "you drew the tokens at random, so each run gives another text. To write greedily, take the likeliest: "
            "`argmax`.",
            write_at_random,
        ),
        Misconception(
            "one_text",
            "your answer is right for one text but fails for a batch of two. Choose one token for each row, (batch, 1), "
            "as `argmax(dim=-1, keepdim=True)` of the last position does, and use the given `cache`: a new "
            "`KeyValueCache(config)` has room for one text only.",
            write_one_text,
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
            "One beginning of a story ends in “tap, tap, tap under the”, and another is “There once was a brave girl "
            "called”. About how many tokens does top-p 0.9 keep after the first beginning, and how many after the "
            "second?",
            (
                "3 and 18",
                "In Storyworld there are few things to tap under, and they share nearly all the probability. The "
                "twenty girls' names have about 5% each, so it takes eighteen of them to reach 0.9.",
            ),
            (
                (
                    "5 and 5",
                    "That is what top-k 5 would keep. Top-p adds up probabilities and does not fix the number of tokens.",
                ),
                (
                    "1 and 1",
                    "That would need one token with a probability of 0.9. After each beginning, several tokens share "
                    "the probability.",
                ),
                (
                    "1,800 and 1,800",
                    "That is nine tenths of the vocabulary. The 0.9 is a share of the probability, nearly all of which "
                    "is on a few tokens.",
                ),
            ),
            shows=lambda ranked: figures.grid_heatmap(
                torch.stack(list(ranked.values())),
                list(ranked),
                [str(1 + rank) for rank in range(len(next(iter(ranked.values()))))],
                masked=torch.stack(list(ranked.values())) == 0,
                annotate=False,
                title="The likeliest next tokens after two beginnings, before and after the cuts (hatched: ruled out)",
                column_name="rank of the token",
                label="probability",
            ),
            finding="After the first beginning, three tokens share nearly all the probability, and top-p keeps these "
            "three. Top-k 5 keeps two more, which have hardly any probability. After the second, twenty names are "
            "about equally likely, and top-k 5 rules out fifteen of them, while top-p rules out two.",
        ),
        Prediction(
            "generation.hotter",
            "storyteller continues 64 openings at the temperatures 0 (greedy), 0.2, 0.6, 1, 1.3 and 2. Where does the "
            "share of possible stories fall the most?",
            (
                "from 1 to 2",
                "Above 1, tokens that the model considers nearly impossible gain probability, and a small chance of "
                "nonsense at each token becomes a large one over a hundred tokens.",
            ),
            (
                (
                    "from 0 to 0.2",
                    "The share does fall here, by the second largest amount, but most of the stories are still possible.",
                ),
                (
                    "from 0.2 to 1",
                    "In this range the likeliest tokens stay likely, and the differences are within their errors.",
                ),
                (
                    "nowhere: the model knows the rules",
                    "It knows them only as probabilities, and a high temperature gives weight to what the model "
                    "considers nearly impossible.",
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
            finding="**Possible part** is the share of a text, on average, that comes before the first impossible "
            "word. Greedy decoding gives the largest share of possible stories, but many of its continuations are the "
            "same. At 0.2 nearly all of them already differ. A likely reason is that many of Storyworld’s choices have "
            "equal chances, and a low temperature favors none of them.\n\n"
            "From 0.2 to 1 the differences are within their errors, so these 64 stories cannot show which of these "
            "temperatures is best. Above 1 the shares fall, and at 2 hardly any stories are possible.",
        ),
        Prediction(
            "generation.few_tokens",
            "At 6,688 positions in the sixty stories, only one token is possible (the true surprise is below 0.01 "
            "nats). Any surprise that storyteller shows there comes from something it has not learned. If we sort "
            "these tokens from the largest surprise down, how many of the first ones account for half of the total?",
            (
                "about 20",
                "At nearly all of these positions the model is confident of the right token. What it has not learned "
                "shows at very few of them.",
            ),
            (
                (
                    "about 3,000",
                    "That would be a surprise spread evenly over all of these tokens. Most of them have hardly any.",
                ),
                (
                    "about 600",
                    "That is one token in ten. The surprise is concentrated on far fewer.",
                ),
            ),
            shows=lambda cumulative: figures.line_chart(
                {"share of the surprise": (range(1, len(cumulative) + 1), cumulative)},
                log_x=True,
                marks={"half": 0.5},
                title="Share of the surprise at settled tokens that comes from the most surprising ones",
                x_label="number of tokens, from the largest surprise down",
                y_label="share",
            ),
            finding="Fewer than one in a hundred of these tokens account for half of the surprise. At nearly all the "
            "others the model is almost as certain as Storyworld that only one token is possible.",
        ),
        Prediction(
            "generation.beams",
            "From each of 24 openings, storyteller writes 30 tokens in two ways: by a search with 8 beams, and by "
            "sampling 8 texts, of which we keep the likeliest. Which text is likelier, on average?",
            (
                "the best of the samples",
                "At the end nearly all of the beams share one beginning, while the samples begin in different ways, and "
                "one of these may lead to a likelier text.",
            ),
            (
                (
                    "the one found by the beams",
                    "At each step the beams keep the likeliest beginnings. But a likely beginning can lead to a point "
                    "where none of many continuations is likely, and by then the other beginnings have been dropped.",
                ),
                (
                    "neither: both find the same text",
                    "Neither comes close to trying every text of 30 tokens, so the two usually find different ones.",
                ),
            ),
            shows=lambda widths, likelihood: figures.line_chart(
                {way: (widths, found.mean(axis=1)) for way, found in likelihood.items()},
                errors={way: found.std(axis=1) / found.shape[1] ** 0.5 for way, found in likelihood.items()},
                title="Mean log-probability of 30 tokens, 24 openings; bars are ± one standard error",
                x_label="number of beams, or of samples",
                y_label="log-probability (nats)",
            ),
            finding="Up to a point, more beams find likelier texts; one beam is greedy decoding. On average the best "
            "of as many samples is likelier still. Beam search is meant to find the likeliest text, but on these "
            "stories it does not. At the end, nearly all of its beams share one beginning. Below we test whether that is "
            "the reason.",
        ),
        Prediction(
            "generation.growth",
            "Without a cache, how does the cost of writing a text grow with its length?",
            (
                "with the square, or faster",
                "Step $t$ reads $t$ tokens, and $1 + 2 + … + n$ is about $n^2/2$.",
            ),
            (
                (
                    "linearly",
                    "With a cache it nearly does, at this length. Without one, each step reads everything that was "
                    "written so far.",
                ),
                (
                    "it doubles with each token",
                    "That would be $2^n$, but each step reads only one token more than the step before.",
                ),
            ),
            shows=lambda lengths, without, cached: figures.line_chart(
                {"no cache": (lengths, without), "cache": (lengths, cached)},
                title="Operations to write a text with and without a cache",
                x_label="length of the text (tokens)",
                y_label="billion operations",
            ),
            finding="Without a cache the cost grows with the square of the length, or a little faster, because "
            "attention within each step grows too. With one, the growth is nearly linear at these lengths.",
        ),
        Prediction(
            "generation.ban",
            "We do not let any pair of neighboring tokens occur twice in a story. What does that ban do to the stories "
            "of a good model?",
            (
                "they go wrong sooner",
                "Real stories repeat pairs too, such as “, and” or a period before a quotation mark. The ban makes the model say something else.",
            ),
            (
                (
                    "nothing: it does not repeat itself",
                    "It does: real stories repeat pairs of tokens too.",
                ),
                (
                    "they become more varied, and stay possible",
                    "They may vary more, but only by leaving what Storyworld could have told.",
                ),
            ),
            shows=lambda shares: figures.bar_chart(
                list(shares),
                list(shares.values()),
                label="possible part of a story (mean share)",
                highlight=["no ban"],
                title="How far stories stay possible with and without a ban on repeated n-grams",
            ),
            finding="With the ban, stories become impossible sooner, because real stories repeat such sequences as well. "
            "Below we count how many of them do.",
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
                (
                    "it depends on the model",
                    "Whatever the model, it gives the same logits for the same tokens.",
                ),
            ),
        ),
        Question(
            "generation.half_as_hot",
            "At temperature 1, one token is 4 times as likely as another. How many times as likely is it at "
            "temperature 0.5?",
            ("16 times", "The difference of their logits doubles, so the ratio is squared: $4^2$."),
            (
                (
                    "8 times",
                    "Halving the temperature doubles the difference of the logits, and the ratio is the exponential of "
                    "that difference.",
                ),
                (
                    "2 times",
                    "That is the ratio at temperature 2: $\\sqrt 4$. Below 1, a likely token becomes likelier.",
                ),
                ("4 times", "Temperature would change nothing only if the two logits were equal."),
            ),
        ),
        Question(
            "generation.how_many_for_p",
            "Four tokens have the probabilities 0.5, 0.3, 0.15 and 0.05. How many of them does top-p 0.7 keep?",
            ("2", "0.5 is not enough; 0.5 + 0.3 reaches 0.7, and the token that reaches it stays."),
            (
                ("1", "Its 0.5 is below 0.7. The token with which the sum reaches $p$ also stays."),
                ("3", "The first two already have 0.8, so the third is not needed."),
                (
                    "none",
                    "No single token has 0.7, but the sum is what counts, and the likeliest token always stays.",
                ),
            ),
        ),
        Question(
            "generation.after_the_cut",
            "Four tokens have the probabilities 0.5, 0.3, 0.15 and 0.05. What is the probability of the first after "
            "top-k 2?",
            ("0.625", "It is 0.5 / 0.8, because the softmax scales what is left so that it sums to 1."),
            (
                ("0.5", "Then the two that are left would sum to 0.8, but probabilities sum to 1."),
                ("0.6", "The 0.2 that was cut off is shared in proportion, not half and half."),
                ("1", "That would be top-k 1. Here two tokens are left."),
            ),
        ),
        Question(
            "generation.no_queries",
            "Why does the cache keep keys and values, but not queries?",
            (
                "a query is used once, by its own token",
                "Later tokens have queries of their own, which they compare with the keys of earlier tokens.",
            ),
            (
                ("queries are the largest of the three", "All three have the same size in this model."),
                (
                    "queries can be computed from keys",
                    "They come from different matrices, so neither can be computed from the other.",
                ),
                (
                    "queries change with each new token",
                    "A query depends only on its own token and those before it, so it does not change.",
                ),
            ),
        ),
        Question(
            "generation.sliding",
            "The context is full, and the window slides forward by one token. Why can the cache no longer be used?",
            (
                "every token now has a different position",
                "A learned position is added to each embedding, so all keys and values of the window change.",
            ),
            (
                ("it would take too much memory", "It never holds more than a full context."),
                (
                    "the oldest token is gone",
                    "Its row could be dropped, but all the other tokens have moved too.",
                ),
                (
                    "softmax needs all tokens at once",
                    "It needs all scores of one query, and for those the keys are enough.",
                ),
            ),
        ),
        Question(
            "generation.dark_place",
            "At some token the true surprise is 3 nats, and the model's is 3 nats. What is left to learn there?",
            (
                "nothing",
                "That surprise is chance, and the model gives this token its true probability. (This one token cannot tell us how the model divides the rest among the others.)",
            ),
            (
                ("3 nats", "They are chance in Storyworld itself, and no model can do better on average."),
                ("1.5 nats", "What is left to learn is the difference, model minus truth, and that is 0."),
                (
                    "nobody can know",
                    "That is so on ordinary text, but Storyworld can compute the true surprise.",
                ),
            ),
        ),
        Question(
            "generation.when_beams",
            "For which of these is beam search the wrong choice?",
            (
                "ten different bedtime stories",
                "It looks for a single likely text. In section 8 it wrote only a few different ones for 24 openings.",
            ),
            (
                (
                    "a translation",
                    "Few texts are right, so a likely one is a good bet.",
                ),
                (
                    "an answer of one word",
                    "Only one word is right, and looking ahead does no harm.",
                ),
                (
                    "a sentence that states numbers from a table",
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
