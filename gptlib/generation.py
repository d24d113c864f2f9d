"""From logits to text: how a model that only scores the next token comes to write (notebook 10).

A model gives logits for the next token. Filters change them, always in this order: repetition penalty, no
repeated n-grams, minimum length, temperature, top-k, top-p. One token is drawn from what is left, and the
model reads on from there. `beam_search` draws nothing: it keeps the likeliest of several texts as they grow.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gptlib.attention import KeyValueCache
from gptlib.decoding import FastDecoder, can_decode
from gptlib.gpt import GPT
from gptlib.tokenizer import CharacterTokenizer, Tokenizer


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. What each setting does is said at the filter that it belongs to."""

    temperature: float | int = 1.0
    top_k: int | None = None
    top_p: float | int | None = None
    repetition_penalty: float | int = 1.0
    no_repeat_ngram: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}; it needs to be at least 0 (0 is greedy)")
        if self.top_k is not None:
            _check_whole("top_k", self.top_k, at_least=1)
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(
                f"top_p is {self.top_p}; it needs to be above 0 and at most 1 (1 keeps every token)"
            )
        if not 0 < self.repetition_penalty < float("inf"):
            raise ValueError(
                f"repetition_penalty is {self.repetition_penalty}; it needs to be above 0 (1 changes nothing)"
            )
        if self.no_repeat_ngram is not None:
            _check_whole("no_repeat_ngram", self.no_repeat_ngram, at_least=1)


@dataclass(frozen=True)
class _Lengths:
    """The fewest and the most new tokens that a text may have."""

    least: int
    most: int

    def __post_init__(self) -> None:
        _check_whole("min_new_tokens", self.least, at_least=0)
        _check_whole("max_new_tokens", self.most, at_least=0)
        if self.least > self.most:
            raise ValueError(
                f"min_new_tokens is {self.least}; it needs to be at most max_new_tokens = {self.most}"
            )


# ------------------------------------------------------------------------------------------------------ text


def generate(
    model: GPT,
    tokenizer: Tokenizer | CharacterTokenizer,
    prompt: str = "",
    max_new_tokens: int = 100,
    temperature: float | int = 1.0,
    top_k: int | None = None,
    top_p: float | int | None = None,
    repetition_penalty: float | int = 1.0,
    no_repeat_ngram: int | None = None,
    min_new_tokens: int = 0,
    stop: Sequence[str | int] | str | int = (),
    seed: int | None = None,
    cached: bool = True,
) -> str:
    """The prompt and what the model writes after it.

    The model reads the end-of-text token before the prompt, as before each document in training; so an empty
    prompt begins a new document. The writing ends before the next end-of-text token, before any of `stop`
    (texts or tokens), or after `max_new_tokens`; the tokens that end it cannot come before `min_new_tokens`
    others, though a text in `stop` still can. Past the model's context_length it goes on, reading only
    the last context_length tokens. `temperature=0` is greedy; otherwise the same `seed` gives the same text
    (None: another each time). `cached=False` reads all tokens anew for each new one, which gives the same
    text more slowly.

    Raises ValueError for a setting that cannot work, by its name, or a tokenizer that is not the model's.
    """
    return "".join(
        stream(
            model,
            tokenizer,
            prompt,
            max_new_tokens,
            temperature,
            top_k,
            top_p,
            repetition_penalty,
            no_repeat_ngram,
            min_new_tokens,
            stop,
            seed,
            cached,
        )
    )


def stream(
    model: GPT,
    tokenizer: Tokenizer | CharacterTokenizer,
    prompt: str = "",
    max_new_tokens: int = 100,
    temperature: float | int = 1.0,
    top_k: int | None = None,
    top_p: float | int | None = None,
    repetition_penalty: float | int = 1.0,
    no_repeat_ngram: int | None = None,
    min_new_tokens: int = 0,
    stop: Sequence[str | int] | str | int = (),
    seed: int | None = None,
    cached: bool = True,
) -> Iterator[str]:
    """What `generate` gives, piece by piece as it is written, the prompt first; joined, the same text.

    A piece waits while it may still turn out to be part of a stop text, or is part of a character whose
    other bytes are in the next token. Settings and errors as for `generate`; errors come at the call.
    """
    sampling = Sampling(temperature, top_k, top_p, repetition_penalty, no_repeat_ngram)
    lengths = _Lengths(min_new_tokens, max_new_tokens)
    writing = _Writing(model, tokenizer, prompt, lengths, sampling, stop, _seeds(seed, 1), cached)
    return (piece for _, piece in writing.pieces())


def generate_many(
    model: GPT,
    tokenizer: Tokenizer | CharacterTokenizer,
    prompt: str = "",
    max_new_tokens: int = 100,
    temperature: float | int = 1.0,
    top_k: int | None = None,
    top_p: float | int | None = None,
    repetition_penalty: float | int = 1.0,
    no_repeat_ngram: int | None = None,
    min_new_tokens: int = 0,
    stop: Sequence[str | int] | str | int = (),
    seed: int | None = None,
    cached: bool = True,
    n_sequences: int = 1,
) -> list[str]:
    """Several continuations of one prompt, written side by side; each ends by itself.

    The sequence at index i draws its random numbers from `seed + i`, so it is the one that `generate` gives
    with that seed. Settings and errors as for `generate`.
    """
    _check_whole("n_sequences", n_sequences, at_least=1)
    sampling = Sampling(temperature, top_k, top_p, repetition_penalty, no_repeat_ngram)
    lengths = _Lengths(min_new_tokens, max_new_tokens)
    writing = _Writing(model, tokenizer, prompt, lengths, sampling, stop, _seeds(seed, n_sequences), cached)
    texts = [""] * n_sequences
    for row, piece in writing.pieces():
        texts[row] += piece
    return texts


def generate_tokens(
    model: GPT,
    tokens: Int[Tensor, "batch seq"],
    max_new_tokens: int = 100,
    temperature: float | int = 1.0,
    top_k: int | None = None,
    top_p: float | int | None = None,
    repetition_penalty: float | int = 1.0,
    no_repeat_ngram: int | None = None,
    min_new_tokens: int = 0,
    stop: Sequence[int] | int = (),
    seed: int | None = None,
    cached: bool = True,
) -> Int[Tensor, "batch longer"]:
    """The given tokens, and after them those that the model chooses; nothing is put before them.

    A row ends with the first of the tokens in `stop` that it comes to; where others go on longer, it is
    filled up with that token. Settings as for `generate`; row i draws its random numbers from `seed + i`.

    Raises as `generate` does, and as the model does for tokens that it cannot read.
    """
    model.check_tokens(tokens[..., -model.config.context_length :])
    sampling = Sampling(temperature, top_k, top_p, repetition_penalty, no_repeat_ngram)
    lengths = _Lengths(min_new_tokens, max_new_tokens)
    stop = (stop,) if isinstance(stop, int) else tuple(stop)
    seeds = _seeds(seed, len(tokens))
    ended: dict[int, int] = {}
    for drawn in _next_tokens(model, tokens, lengths, sampling, stop, seeds, cached):
        for row, token in ended.items():
            drawn[row] = token
        ended |= {row: token for row, token in enumerate(drawn.tolist()) if token in stop}
        tokens = torch.cat([tokens, drawn[:, None].to(tokens)], dim=1)  # (batch, seq) and (batch, 1)
        if len(ended) == len(tokens):
            break
    return tokens


def beam_search(
    model: GPT,
    tokens: Int[Tensor, "1 seq"],
    n_beams: int = 4,
    max_new_tokens: int = 100,
    n_sequences: int = 1,
    length_penalty: float | int = 1.0,
    stop: Sequence[int] | int = (),
) -> Int[Tensor, "n_sequences longer"]:
    """The likeliest continuations found when `n_beams` texts grow side by side, best first.

    At each step every beam tries every token, and of all these texts the likeliest n_beams stay. A text that
    comes to a token in `stop` is finished. Texts are ranked by log-probability / length^length_penalty, where
    length counts new tokens: 0 compares the sums, which favors short texts, and 1 the means. It ends when no
    beam can beat the finished texts as it stands, or after max_new_tokens. Rows that are shorter than others
    are filled up with the token that they ended with.

    Raises ValueError for a setting that cannot work, by its name, and as the model does for tokens.
    Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks", section 3.2, for the search;
    Wu et al. 2016, "Google's Neural Machine Translation System", section 7, for the length.
    """
    model.check_tokens(tokens[..., -model.config.context_length :])
    _check_whole("n_beams", n_beams, at_least=1)
    _check_whole("max_new_tokens", max_new_tokens, at_least=1)
    _check_whole("n_sequences", n_sequences, at_least=1)
    if n_sequences > n_beams or len(tokens) != 1:
        raise ValueError(
            f"n_sequences is {n_sequences} and tokens has {len(tokens)} rows; it needs one row, "
            f"and n_sequences of at most n_beams = {n_beams}"
        )
    stop = torch.tensor([stop] if isinstance(stop, int) else list(stop), dtype=torch.long)
    beams, scores = tokens.cpu(), torch.zeros(1)  # (beam, seq) and the log-probability of each beam
    finished: list[tuple[float, Tensor]] = []
    for length in range(1, max_new_tokens + 1):
        logits = _last_logits(model, beams[:, -model.config.context_length :], cache=None)
        totals = scores[:, None] + logits.cpu().log_softmax(dim=-1)  # (beam, 1) + (beam, vocab)
        # However many of the best come to an end, n_beams others are among so many.
        most = n_beams * (1 + max(1, len(stop)))
        scores, places = totals.flatten().topk(min(most, totals.numel()))
        rows, drawn = places // totals.shape[1], places % totals.shape[1]
        texts = torch.cat([beams[rows], drawn[:, None]], dim=1)  # (candidate, seq) and (candidate, 1)
        ended = torch.isin(drawn, stop)
        done = ended[:n_beams] | (length == max_new_tokens)
        finished += [(float(scores[n]) / length**length_penalty, texts[n]) for n in done.nonzero().flatten()]
        finished = sorted(finished, key=lambda text: -text[0])[:n_beams]
        beams, scores = texts[~ended][:n_beams], scores[~ended][:n_beams]
        if len(finished) == n_beams and not (scores / length**length_penalty > finished[-1][0]).any():
            break
    best = [text for _, text in finished[:n_sequences]]
    longest = max(map(len, best))
    return torch.stack([torch.cat([text, text[-1:].expand(longest - len(text))]) for text in best])


# ----------------------------------------------------------------------------- logits -> probabilities


def next_token_distribution(
    logits: Float[Tensor, "*batch vocab"],
    temperature: float | int = 1.0,
    top_k: int | None = None,
    top_p: float | int | None = None,
    repetition_penalty: float | int = 1.0,
    no_repeat_ngram: int | None = None,
    previous: Int[Tensor, "*batch seq"] | None = None,
) -> Float[Tensor, "*batch vocab"]:
    """The probabilities that the next token is drawn from, after all the filters in their order.

    `previous` holds the tokens so far, which the repetition penalty and no_repeat_ngram look at.
    Raises ValueError for a setting that cannot work, by its name, or when no token is left to choose.
    """
    sampling = Sampling(temperature, top_k, top_p, repetition_penalty, no_repeat_ngram)
    looks_back = repetition_penalty != 1 or no_repeat_ngram is not None
    if looks_back and previous is None:
        raise ValueError(
            "previous needs to hold the tokens so far when repetition_penalty or no_repeat_ngram is set"
        )
    return _shaped(_allowed(logits, sampling, previous), sampling).softmax(dim=-1)


def _allowed(
    logits: Float[Tensor, "*batch vocab"],
    sampling: Sampling,
    previous: Int[Tensor, "*batch seq"] | None,
    barred: Sequence[int] = (),
) -> Float[Tensor, "*batch vocab"]:
    """The logits after the filters that look at the text so far."""
    if previous is not None and sampling.repetition_penalty != 1:
        logits = penalise_repetition(logits, previous, sampling.repetition_penalty)
    if previous is not None and sampling.no_repeat_ngram is not None:
        logits = forbid_repeated_ngrams(logits, previous, sampling.no_repeat_ngram)
        if logits.isneginf().all(dim=-1).any():
            raise ValueError(f"no_repeat_ngram is {sampling.no_repeat_ngram} and leaves no token to choose")
    if barred:
        logits = rule_out(logits, barred)
        if logits.isneginf().all(dim=-1).any():
            raise ValueError(f"min_new_tokens keeps out the tokens {list(barred)} and leaves none to choose")
    return logits


def _shaped(logits: Float[Tensor, "*batch vocab"], sampling: Sampling) -> Float[Tensor, "*batch vocab"]:
    """The logits after the filters that look at nothing else."""
    logits = apply_temperature(logits, sampling.temperature)
    if sampling.top_k is not None:
        logits = keep_top_k(logits, sampling.top_k)
    if sampling.top_p is not None:
        logits = keep_top_p(logits, sampling.top_p)
    return logits


def penalise_repetition(
    logits: Float[Tensor, "*batch vocab"], previous: Int[Tensor, "*batch seq"], penalty: float | int
) -> Float[Tensor, "*batch vocab"]:
    """Make the tokens that were there before less likely: their logits are divided by `penalty`.

    A negative logit is multiplied by it instead, since that is what makes it smaller.


    Keskar et al. 2019, "CTRL", section 4.1, in the form that the transformers library gave it.
    Raises ValueError unless penalty is above 0.
    """
    Sampling(repetition_penalty=penalty)
    before = logits.gather(-1, previous)  # (…, vocab) -> (…, seq)
    return logits.scatter(-1, previous, torch.where(before < 0, before * penalty, before / penalty))


def forbid_repeated_ngrams(
    logits: Float[Tensor, "*batch vocab"], previous: Int[Tensor, "*batch seq"], n: int
) -> Float[Tensor, "*batch vocab"]:
    """Rule out (-inf) each token that would complete n tokens in a row that were there before.

    Paulus et al. 2017, "A Deep Reinforced Model for Abstractive Summarization", section 2.5.
    Raises ValueError unless n is a whole number of at least 1.
    """
    _check_whole("no_repeat_ngram", n, at_least=1)
    if previous.shape[-1] < n:
        return logits
    ngrams = previous.unfold(-1, n, 1)  # (…, seq) -> (…, seq - n + 1, n)
    beginning = previous[
        ..., previous.shape[-1] - (n - 1) :
    ]  # the n - 1 tokens that the next one would follow
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
    """Divide by the temperature: below 1 favours likely tokens, above 1 evens out, 0 leaves the likeliest.

    Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", section 3.3.
    Raises ValueError unless temperature is at least 0.
    """
    Sampling(temperature=temperature)
    if temperature > 0:
        return logits / temperature
    likeliest = logits.argmax(dim=-1, keepdim=True)  # the first of them, if several are equal
    return torch.full_like(logits, float("-inf")).scatter(-1, likeliest, 0.0)


def keep_top_k(logits: Float[Tensor, "*batch vocab"], k: int) -> Float[Tensor, "*batch vocab"]:
    """Rule out (-inf) all but the k highest logits, and those equal to the lowest of them.

    Fan et al. 2018, "Hierarchical Neural Story Generation"; Holtzman et al. 2020, section 3.2.
    Raises ValueError unless k is a whole number of at least 1.
    """
    _check_whole("top_k", k, at_least=1)
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


# ---------------------------------------------------------------------------------- one token after another


def _next_tokens(
    model: GPT,
    tokens: Int[Tensor, "batch seq"],
    lengths: _Lengths,
    sampling: Sampling,
    ends: Sequence[int],
    seeds: Sequence[int],
    cached: bool,
    first: int = 0,
) -> Iterator[Int[Tensor, " batch"]]:
    """The next tokens of each row, one position at a time; the caller may change them in between.

    As many as `lengths` allows; none of `ends` is among the fewest that it asks for. The repetition filters
    do not look at the tokens before `first`.
    """
    context_length = model.config.context_length
    device = next(model.parameters()).device
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    tokens = tokens.to(device)
    cache: KeyValueCache | None = None
    fast: FastDecoder | None = None
    for length in range(lengths.most):
        if tokens.shape[1] > context_length or not cached:
            # A sliding window gives every token another position, so nothing that was kept is still right.
            logits = _last_logits(model, tokens[:, -context_length:], None)
        elif cache is None:
            cache = KeyValueCache(model.config, len(tokens), device, next(model.parameters()).dtype)
            fast = FastDecoder(model, cache) if can_decode(model) else None
            logits = _last_logits(model, tokens, cache)
        elif fast is not None and fast.still_holds():
            with torch.no_grad():
                logits = fast(tokens[:, -1])
        else:
            logits = _last_logits(model, tokens[:, -1:], cache)
        barred = ends if length < lengths.least else ()
        logits = _allowed(logits, sampling, tokens[:, first:], barred)
        if sampling.temperature == 0:
            drawn = logits.argmax(dim=-1).cpu()
        else:
            drawn = _draw(_shaped(logits, sampling).softmax(dim=-1), generators)
        yield drawn
        tokens = torch.cat([tokens, drawn[:, None].to(tokens)], dim=1)  # (batch, seq) and (batch, 1)


def _last_logits(
    model: GPT, tokens: Int[Tensor, "batch seq"], cache: KeyValueCache | None
) -> Float[Tensor, "batch vocab"]:
    """Logits after the last token; dropout is off, whatever mode the model is in."""
    was_training = model.training
    if was_training:
        model.eval()
    try:
        # Entered here and left here, since a caller may train the model between two tokens of a stream.
        with torch.no_grad():
            return model(tokens, cache)[:, -1].float()
    finally:
        if was_training:
            model.train()


def _draw(
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


def _seeds(seed: int | None, n: int) -> list[int]:
    if seed is None:
        return [torch.Generator().seed() for _ in range(n)]
    _check_whole("seed", seed, at_least=0)
    return [seed + row for row in range(n)]


# --------------------------------------------------------------------------------------- tokens -> text


class _Writing:
    """Several texts that grow from one prompt, each until it ends."""

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer | CharacterTokenizer,
        prompt: str,
        lengths: _Lengths,
        sampling: Sampling,
        stop: Sequence[str | int] | str | int,
        seeds: list[int],
        cached: bool,
    ) -> None:
        if tokenizer.vocab_size != model.config.vocab_size:
            raise ValueError(
                f"tokenizer has {tokenizer.vocab_size} tokens and the model {model.config.vocab_size}; "
                "a model writes with the tokenizer that it was trained with"
            )
        stops = [stop] if isinstance(stop, (str, int)) else list(stop)
        if "" in stops:
            raise ValueError(
                "stop holds an empty text, which is everywhere; it needs texts of at least one character"
            )
        self.prompt = prompt
        self.stop_tokens = {tokenizer.end_of_text, *(token for token in stops if isinstance(token, int))}
        self.seeds = seeds
        start = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(prompt)]] * len(seeds))
        # The token that says where a document starts is no part of the text, and may come again at its end.
        ends = sorted(self.stop_tokens)
        self.tokens = _next_tokens(model, start, lengths, sampling, ends, seeds, cached, first=1)
        stop_texts = [text for text in stops if isinstance(text, str)]
        self.pens = [_Pen(tokenizer.token_bytes, stop_texts) for _ in seeds]

    def pieces(self) -> Iterator[tuple[int, str]]:
        """(row, text) as the texts grow."""
        if self.prompt:
            yield from ((row, self.prompt) for row in range(len(self.pens)))
        writing = set(range(len(self.pens)))
        for drawn in self.tokens:
            for row in sorted(writing):
                token, pen = int(drawn[row]), self.pens[row]
                piece = pen.close() if token in self.stop_tokens else pen.write(token)
                if piece:
                    yield row, piece
                if pen.closed:
                    writing.remove(row)
            if not writing:
                return
        for row in sorted(writing):
            if piece := self.pens[row].close():
                yield row, piece


class _Pen:
    """Turns the tokens of one text into characters, and stops before a stop text."""

    def __init__(self, token_bytes: Callable[[int], bytes], stops: list[str]) -> None:
        self.token_bytes = token_bytes
        self.stops = stops
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.waiting = ""
        self.closed = False

    def write(self, token: int) -> str:
        return self._release(self.decoder.decode(self.token_bytes(token)))

    def close(self) -> str:
        """What was still waiting: nothing can follow it now."""
        rest = self._release(self.decoder.decode(b"", final=True))
        if not self.closed:
            rest, self.waiting, self.closed = rest + self.waiting, "", True
        return rest

    def _release(self, text: str) -> str:
        self.waiting += text
        found = [place for stop in self.stops if (place := self.waiting.find(stop)) >= 0]
        if found:
            ready, self.waiting, self.closed = self.waiting[: min(found)], "", True
            return ready
        keep = max((_overlap(self.waiting, stop) for stop in self.stops), default=0)
        cut = len(self.waiting) - keep
        ready, self.waiting = self.waiting[:cut], self.waiting[cut:]
        return ready


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text are the beginning of the stop text."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def _check_whole(name: str, value: Any, at_least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}; it needs a whole number of at least {at_least}")
    if value < at_least:
        raise ValueError(f"{name} is {value}; it needs to be at least {at_least}")
