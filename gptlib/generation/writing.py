"""From logits to text: how a model that only scores the next token comes to write."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gptlib.checks import check_whole
from gptlib.generation.decoding import FastDecoder, can_decode
from gptlib.generation.sampling import Sampling, allowed, draw, shaped
from gptlib.model.cache import KeyValueCache
from gptlib.model.checks import check_tokens, check_vocabulary
from gptlib.model.gpt import GPT
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class _Lengths:
    """The fewest and the most new tokens that a text may have."""

    least: int
    most: int

    def __post_init__(self) -> None:
        check_whole("min_new_tokens", self.least, at_least=0)
        check_whole("max_new_tokens", self.most, at_least=0)
        if self.least > self.most:
            raise ValueError(
                f"min_new_tokens is {self.least}; it needs to be at most max_new_tokens = {self.most}"
            )


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
    check_whole("n_sequences", n_sequences, at_least=1)
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
    check_tokens(tokens[..., -model.config.context_length :], model.config)
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
            logits = last_logits(model, tokens[:, -context_length:], None)
        elif cache is None:
            cache = KeyValueCache(model.config, len(tokens), device, next(model.parameters()).dtype)
            fast = FastDecoder(model, cache) if can_decode(model) else None
            logits = last_logits(model, tokens, cache)
        elif fast is not None and fast.still_holds():
            with torch.no_grad():
                logits = fast(tokens[:, -1])
        else:
            logits = last_logits(model, tokens[:, -1:], cache)
        barred = ends if length < lengths.least else ()
        logits = allowed(logits, sampling, tokens[:, first:], barred)
        if sampling.temperature == 0:
            drawn = logits.argmax(dim=-1).cpu()
        else:
            drawn = draw(shaped(logits, sampling).softmax(dim=-1), generators)
        yield drawn
        tokens = torch.cat([tokens, drawn[:, None].to(tokens)], dim=1)  # (batch, seq) and (batch, 1)


def last_logits(
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


def _seeds(seed: int | None, n: int) -> list[int]:
    if seed is None:
        return [torch.Generator().seed() for _ in range(n)]
    check_whole("seed", seed, at_least=0)
    return [seed + row for row in range(n)]


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
        check_vocabulary(tokenizer, model.config)
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
