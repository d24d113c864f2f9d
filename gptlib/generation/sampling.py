"""How a text is written: the settings, and the filters that choose the next token from its logits.

Filters change the logits, always in this order: repetition penalty, no repeated n-grams, minimum length,
temperature, top-k, top-p. One token is drawn from what is left.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gptlib.checks import check_from_zero, check_positive, check_seed, check_tensor, check_whole, make_plain


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a text is written: every way of generating takes these settings, as one object or one by one.

    Raises TypeError for a value of the wrong type, ValueError for one that cannot work, by its name.
    """

    max_new_tokens: int = 100
    """The most tokens to write."""
    min_new_tokens: int = 0
    """The fewest tokens to write: until then none that would end the text is chosen."""
    temperature: float | int = 1.0
    """Below 1 favors likely tokens, above 1 evens out; 0 always takes the likeliest."""
    top_k: int | None = None
    """Choose among the k likeliest tokens only."""
    top_p: float | int | None = None
    """Choose among the fewest likeliest tokens whose probabilities add up to at least p."""
    repetition_penalty: float | int = 1.0
    """Above 1 makes tokens that were there before less likely."""
    no_repeat_ngram: int | None = None
    """Never repeat so many tokens in a row."""
    stop: Sequence[str | int] | str | int = ()
    """Texts, or tokens, before which the writing ends."""
    seed: int | None = None
    """The same seed gives the same text; without one it is another each time."""
    cached: bool = True
    """Keep keys and values of earlier tokens; else all are read anew each time: the same text, slower."""

    def __post_init__(self) -> None:
        make_plain(self)
        check_whole("max_new_tokens", self.max_new_tokens, at_least=0)
        check_whole("min_new_tokens", self.min_new_tokens, at_least=0)
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens is {self.min_new_tokens}; it needs to be at most max_new_tokens = "
                f"{self.max_new_tokens}"
            )
        check_from_zero("temperature", self.temperature)
        if self.top_k is not None:
            check_whole("top_k", self.top_k)
        if self.top_p is not None:
            check_from_zero("top_p", self.top_p)
            if not 0 < self.top_p <= 1:
                raise ValueError(
                    f"top_p is {self.top_p}; it needs to be above 0 and at most 1 (1 keeps every token)"
                )
        check_positive("repetition_penalty", self.repetition_penalty)
        if self.no_repeat_ngram is not None:
            check_whole("no_repeat_ngram", self.no_repeat_ngram)
        for stop in self.stops:
            if not isinstance(stop, (str, int)):
                raise TypeError(f"stop holds {stop!r}; it needs texts, or tokens as whole numbers")
            if not isinstance(stop, str):
                check_whole("a token of stop", stop, at_least=0)
        if "" in self.stops:
            raise ValueError("stop holds an empty text, which is everywhere; it needs at least one character")
        if self.seed is not None:
            check_seed("seed", self.seed)

    @classmethod
    def of(cls, sampling: Sampling | None, settings: Mapping[str, Any]) -> Sampling:
        """`sampling`, or the defaults where it is None, with these settings changed.

        Raises TypeError for a setting that does not exist, naming those that are near.
        """
        if sampling is not None and not isinstance(sampling, cls):
            raise TypeError(
                f"sampling is {sampling!r}; it needs a Sampling, or settings by their names, "
                "such as max_new_tokens=60"
            )
        names = [field.name for field in fields(cls)]
        for name in settings:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1) or names
                raise TypeError(f"there is no setting {name!r}; there is {', '.join(near)}")
        return replace(sampling or cls(), **settings)

    @property
    def stops(self) -> tuple[str | int, ...]:
        """The texts and tokens of `stop`, also where it is a single one."""
        if not isinstance(self.stop, Iterable) or isinstance(self.stop, str):
            return (self.stop,)
        return tuple(int(stop) if isinstance(stop, Integral) else stop for stop in self.stop)

    def seeds(self, n: int) -> list[int]:
        """A seed for each of n texts: `seed` and those after it, or any where it is None."""
        if self.seed is None:
            return [torch.Generator().seed() for _ in range(n)]
        return [self.seed + row for row in range(n)]


def stop_tokens(sampling: Sampling) -> tuple[int, ...]:
    """What `stop` holds, for those who write tokens and no text: TypeError where there is a text among it."""
    if texts := [stop for stop in sampling.stops if isinstance(stop, str)]:
        raise TypeError(f"stop holds {texts[0]!r}; here it needs tokens, as tokenizer.encode gives them")
    return sampling.stops


def takes_sampling(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let the help of a function with `**settings` show every field of `Sampling`, with its default."""
    signature = inspect.signature(function)
    kept = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    named = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type
        )
        for field in fields(Sampling)
    ]
    function.__signature__ = signature.replace(parameters=[*kept, *named])
    return function


@takes_sampling
def next_token_distribution(
    logits: Float[Tensor, "*batch vocab"],
    sampling: Sampling | None = None,
    previous: Int[Tensor, "*batch seq"] | None = None,
    **settings: Any,
) -> Float[Tensor, "*batch vocab"]:
    """The probabilities that the next token is drawn from, after all the filters in their order.

    `previous` holds the tokens so far, which the repetition penalty and no_repeat_ngram look at.
    Raises ValueError for a setting that cannot work, by its name, or when no token is left to choose;
    FloatingPointError for logits of which no distribution can be made.
    """
    sampling = Sampling.of(sampling, settings)
    check_tensor("logits", logits)
    if not can_choose(logits):
        raise FloatingPointError(
            f"logits hold {logits.amax().item()} at their highest; they need to be finite"
        )
    looks_back = sampling.repetition_penalty != 1 or sampling.no_repeat_ngram is not None
    if looks_back and previous is None:
        raise ValueError(
            "previous is None; it needs the tokens so far when repetition_penalty or no_repeat_ngram is set"
        )
    return shaped(allowed(logits, sampling, previous), sampling).softmax(dim=-1)


def can_choose(logits: Float[Tensor, "*batch vocab"]) -> bool:
    """Whether a softmax of each row gives probabilities: not with nan or inf in it, or -inf alone."""
    return bool(logits.amax(dim=-1).isfinite().all())  # where one number is nan, so is the highest


def allowed(
    logits: Float[Tensor, "*batch vocab"],
    sampling: Sampling,
    previous: Int[Tensor, "*batch seq"] | None,
    barred: Sequence[int] = (),
) -> Float[Tensor, "*batch vocab"]:
    """The logits after the filters that look at the text so far."""
    if previous is not None and sampling.repetition_penalty != 1:
        logits = penalize_repetition(logits, previous, sampling.repetition_penalty)
    if previous is not None and sampling.no_repeat_ngram is not None:
        logits = forbid_repeated_ngrams(logits, previous, sampling.no_repeat_ngram)
        if logits.isneginf().all(dim=-1).any():
            raise ValueError(f"no_repeat_ngram is {sampling.no_repeat_ngram} and leaves no token to choose")
    if barred:
        logits = rule_out(logits, barred)
        if logits.isneginf().all(dim=-1).any():
            raise ValueError(f"min_new_tokens keeps out the tokens {list(barred)} and leaves none to choose")
    return logits


def shaped(logits: Float[Tensor, "*batch vocab"], sampling: Sampling) -> Float[Tensor, "*batch vocab"]:
    """The logits after the filters that look at nothing else."""
    logits = apply_temperature(logits, sampling.temperature)
    if sampling.top_k is not None:
        logits = keep_top_k(logits, sampling.top_k)
    if sampling.top_p is not None:
        logits = keep_top_p(logits, sampling.top_p)
    return logits


def penalize_repetition(
    logits: Float[Tensor, "*batch vocab"], previous: Int[Tensor, "*batch seq"], penalty: float | int
) -> Float[Tensor, "*batch vocab"]:
    """Make the tokens that were there before less likely: their logits are divided by `penalty`.

    A negative logit is multiplied by it instead, since that is what makes it smaller.
    Keskar et al. 2019, "CTRL", section 4.1, in the form that the transformers library gave it.
    Raises ValueError unless penalty is above 0.
    """
    Sampling(repetition_penalty=penalty)
    penalty = float(penalty)
    before = logits.gather(-1, previous)  # (…, vocab) -> (…, seq)
    return logits.scatter(-1, previous, torch.where(before < 0, before * penalty, before / penalty))


def forbid_repeated_ngrams(
    logits: Float[Tensor, "*batch vocab"], previous: Int[Tensor, "*batch seq"], n: int
) -> Float[Tensor, "*batch vocab"]:
    """Rule out (-inf) each token that would complete n tokens in a row that were there before.

    Paulus et al. 2017, "A Deep Reinforced Model for Abstractive Summarization", section 2.5.
    Raises ValueError unless n is a whole number of at least 1.
    """
    check_whole("no_repeat_ngram", n, at_least=1)
    if previous.shape[-1] < n:
        return logits
    ngrams = previous.unfold(-1, n, 1)  # (…, seq) -> (…, seq - n + 1, n)
    # The n - 1 tokens that the next one would follow.
    beginning = previous[..., previous.shape[-1] - (n - 1) :]
    repeats = (ngrams[..., :-1] == beginning[..., None, :]).all(dim=-1)  # (…, seq - n + 1)
    ruled_out = torch.zeros_like(logits).scatter_add(-1, ngrams[..., -1], repeats.to(logits.dtype)) > 0
    return logits.masked_fill(ruled_out, float("-inf"))


def rule_out(logits: Float[Tensor, "*batch vocab"], tokens: Sequence[int]) -> Float[Tensor, "*batch vocab"]:
    """Rule out (-inf) the given tokens: those that would end a text, while it is below its minimum length."""
    logits = logits.clone()
    logits[..., list(tokens)] = float("-inf")
    return logits


def apply_temperature(
    logits: Float[Tensor, "*batch vocab"], temperature: float | int
) -> Float[Tensor, "*batch vocab"]:
    """Divide by the temperature: below 1 favors likely tokens, above 1 evens out, 0 leaves the likeliest.

    Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", section 3.3.
    Raises ValueError unless temperature is at least 0.
    """
    Sampling(temperature=temperature)
    if temperature > 0:
        divided = logits / float(temperature)
        if can_choose(divided):
            return divided
        # So cold that the quotients overflow. What counts is how far each lies below the highest.
        below = logits - logits.amax(dim=-1, keepdim=True)
        return below / max(float(temperature), torch.finfo(logits.dtype).tiny)
    likeliest = logits.argmax(dim=-1, keepdim=True)  # the first of them, if several are equal
    return torch.full_like(logits, float("-inf")).scatter(-1, likeliest, 0.0)


def keep_top_k(logits: Float[Tensor, "*batch vocab"], k: int) -> Float[Tensor, "*batch vocab"]:
    """Rule out (-inf) all but the k highest logits, and those equal to the lowest of them.

    Fan et al. 2018, "Hierarchical Neural Story Generation"; Holtzman et al. 2020, section 3.2.
    Raises ValueError unless k is a whole number of at least 1.
    """
    check_whole("top_k", k, at_least=1)
    lowest = logits.topk(min(k, logits.shape[-1]), dim=-1).values[..., -1:]
    return logits.masked_fill(logits < lowest, float("-inf"))


def keep_top_p(logits: Float[Tensor, "*batch vocab"], p: float | int) -> Float[Tensor, "*batch vocab"]:
    """Rule out (-inf) all but the fewest likeliest tokens whose probabilities add up to at least p.

    Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", section 3.1.
    Raises ValueError unless p is above 0 and at most 1.
    """
    Sampling(top_p=p)
    # From the least likely up, so that the sum that is compared adds small numbers first.
    ascending, order = logits.sort(dim=-1)
    cumulative = ascending.softmax(dim=-1).cumsum(dim=-1)
    ruled_out = cumulative <= 1 - p
    ruled_out[..., -1] = False  # the likeliest always stays
    return logits.masked_fill(torch.zeros_like(ruled_out).scatter(-1, order, ruled_out), float("-inf"))


def draw(
    probabilities: Float[Tensor, "batch vocab"], generators: list[torch.Generator]
) -> Int[Tensor, " batch"]:
    """One token a row: where a random number from 0 to 1 falls, with the probabilities laid end to end.

    One number a token, drawn on the CPU, so that a seed gives the same text on each kind of processor.
    """
    ends = probabilities.cpu().double().cumsum(dim=-1)  # (batch, vocab)
    places = torch.stack(
        [torch.rand((), generator=generator, dtype=torch.float64) for generator in generators]
    )
    # Rounding may leave the last end a little off 1, and a place beyond it would be no token's.
    places = places[:, None] * ends[:, -1:]  # (batch, 1)
    return torch.searchsorted(ends, places, right=True).squeeze(1).clamp(max=ends.shape[-1] - 1)
