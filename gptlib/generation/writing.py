"""From logits to text: how a model that only scores the next token comes to write."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gptlib.checks import check_whole
from gptlib.generation.decoding import FastDecoder, can_decode
from gptlib.generation.sampling import (
    Sampling,
    allowed,
    can_choose,
    draw,
    shaped,
    stop_tokens,
    takes_sampling,
)
from gptlib.model.cache import KeyValueCache
from gptlib.model.checks import check_model, check_start, check_vocabulary
from gptlib.model.finiteness import why_not_finite
from gptlib.model.gpt import GPT
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.tokenizer import Tokenizer


@takes_sampling
def generate(
    model: GPT,
    tokenizer: Tokenizer | CharacterTokenizer,
    prompt: str = "",
    sampling: Sampling | None = None,
    **settings: Any,
) -> str:
    """The prompt and what the model writes after it: `generate(model, tokenizer, "Once", max_new_tokens=60)`.

    The model reads the end-of-text token before the prompt, as before each document in training; so an empty
    prompt begins a new document. The writing ends before the next end-of-text token, before any of `stop`,
    or after `max_new_tokens`; a text in `stop` can end it before `min_new_tokens`, a token cannot. Past the
    model's context_length it goes on, reading only the last context_length tokens.

    Settings are the fields of `Sampling`. Raises ValueError for one that cannot work, by its name, or a
    tokenizer that is not the model's; TypeError for one that does not exist; FloatingPointError where the
    model's logits are not numbers, naming the weight or the part that they come from.
    """
    return "".join(stream(model, tokenizer, prompt, sampling, **settings))


@takes_sampling
def stream(
    model: GPT,
    tokenizer: Tokenizer | CharacterTokenizer,
    prompt: str = "",
    sampling: Sampling | None = None,
    **settings: Any,
) -> Iterator[str]:
    """What `generate` gives, piece by piece as it is written, the prompt first; joined, the same text.

    A piece waits while it may still turn out to be part of a stop text, or is part of a character whose
    other bytes are in the next token. Settings and errors as for `generate`; errors come at the call.
    """
    check_pair(model, tokenizer)
    sampling = Sampling.of(sampling, settings)
    writing = _Writing(model, tokenizer, sampling, [prompt], sampling.seeds(1))
    return (piece for _, piece in writing.pieces())


@takes_sampling
def generate_many(
    model: GPT,
    tokenizer: Tokenizer | CharacterTokenizer,
    prompt: str | Sequence[str] = "",
    n_sequences: int = 1,
    sampling: Sampling | None = None,
    **settings: Any,
) -> list[str]:
    """Several continuations of a prompt, or of each of several: first all of the first prompt's.

    The text at index i draws its random numbers from `seed + i`, so it is the one that `generate` gives for
    its prompt with that seed. They are written side by side, and each ends by itself; prompts whose lengths
    differ by more than the longest text to be written are kept apart, since that takes fewer steps. Settings
    and errors as for `generate`.
    """
    check_whole("n_sequences", n_sequences)
    check_pair(model, tokenizer)
    sampling = Sampling.of(sampling, settings)
    if not isinstance(prompt, Sequence):
        raise TypeError(f"prompt is {prompt!r}; it needs a text, or several")
    prompts = [each for each in ([prompt] if isinstance(prompt, str) else prompt) for _ in range(n_sequences)]
    seeds = sampling.seeds(len(prompts))
    lengths = [len(tokenizer.encode(each)) for each in prompts]
    groups: list[list[int]] = []
    for row in sorted(range(len(prompts)), key=lengths.__getitem__):
        if groups and lengths[row] - lengths[groups[-1][-1]] <= sampling.max_new_tokens:
            groups[-1].append(row)
        else:
            groups.append([row])
    texts = [""] * len(prompts)
    for rows in groups:
        chosen = [[whole[row] for row in rows] for whole in (prompts, seeds)]
        for place, piece in _Writing(model, tokenizer, sampling, *chosen).pieces():
            texts[rows[place]] += piece
    return texts


@takes_sampling
def generate_tokens(
    model: GPT,
    tokens: Int[Tensor, "batch seq"],
    sampling: Sampling | None = None,
    **settings: Any,
) -> Int[Tensor, "batch longer"]:
    """The given tokens, and after them those that the model chooses; nothing is put before them.

    A row ends with the first of the tokens in `stop` that it comes to; where others go on longer, it is
    filled up with that token. Settings as for `generate`; row i draws its random numbers from `seed + i`.

    Raises as `generate` does, and as the model does for tokens that it cannot read; TypeError for a text in
    `stop`.
    """
    check_start(tokens, model)
    sampling = Sampling.of(sampling, settings)
    stops = stop_tokens(sampling)
    ended: dict[int, int] = {}
    for drawn in _next_tokens(model, tokens.tolist(), sampling, stops, sampling.seeds(len(tokens))):
        for row, token in ended.items():
            drawn[row] = token
        ended |= {row: token for row, token in enumerate(drawn.tolist()) if token in stops}
        tokens = torch.cat([tokens, drawn[:, None].to(tokens)], dim=1)  # (batch, seq) and (batch, 1)
        if len(ended) == len(tokens):
            break
    return tokens


def check_pair(model: GPT, tokenizer: Tokenizer | CharacterTokenizer) -> None:
    """Raise TypeError unless these are a GPT and a tokenizer, ValueError unless they go together."""
    check_model(model)
    check_vocabulary(tokenizer, model.config)


def _next_tokens(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    ends: Sequence[int],
    seeds: Sequence[int],
    first: int = 0,
    vocab_size: int | None = None,
) -> Iterator[Int[Tensor, " batch"]]:
    """The next tokens of each row, one position at a time; the caller may change them in between.

    The first position is that after the shortest prompt. A row whose prompt is longer gets the tokens of its
    prompt before any of its own: so no row has padding, and all of them are at the same position. Each writes
    as many tokens as `sampling` allows; none of `ends` is among the fewest that it asks for. The repetition
    filters do not look at the tokens before `first`. Tokens from `vocab_size` up are padding, and no row gets
    one.
    """
    context_length, weight = model.config.context_length, next(model.parameters())
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    starts = [len(prompt) for prompt in prompts]
    shortest, longest = min(starts), max(starts)
    tokens = torch.tensor([prompt[:shortest] for prompt in prompts]).to(weight.device)  # (batch, seq)
    cache: KeyValueCache | None = None
    fast: FastDecoder | None = None
    for position in range(shortest, longest + sampling.max_new_tokens):
        if position > context_length or not sampling.cached:
            # A sliding window gives every token another position, so nothing that was kept is still right.
            logits = last_logits(model, tokens[:, -context_length:], None)
        elif cache is None:
            capacity = min(context_length, longest + sampling.max_new_tokens)
            cache = KeyValueCache(model.config, len(tokens), weight.device, weight.dtype, capacity)
            fast = FastDecoder(model, cache) if can_decode(model) else None
            logits = last_logits(model, tokens, cache)
        elif fast is not None and fast.still_holds():
            with torch.no_grad():
                logits = fast(tokens[:, -1])
            if not can_choose(logits):
                raise FloatingPointError(why_not_finite(model, tokens[:, -context_length:]))
        else:
            logits = last_logits(model, tokens[:, -1:], cache)
        drawn = torch.tensor([prompt[position] if position < len(prompt) else 0 for prompt in prompts])
        written = [position - start for start in starts]
        begun = [row for row, n in enumerate(written) if 0 <= n < sampling.min_new_tokens]
        free = [
            row for row, n in enumerate(written) if sampling.min_new_tokens <= n < sampling.max_new_tokens
        ]
        for rows, barred in ((begun, ends), (free, ())):
            if rows:
                chosen = torch.tensor(rows).to(weight.device)
                filtered = allowed(logits[chosen, :vocab_size], sampling, tokens[chosen, first:], barred)
                drawn[rows] = _choose(filtered, sampling, [generators[row] for row in rows])
        yield drawn
        tokens = torch.cat([tokens, drawn[:, None].to(tokens)], dim=1)  # (batch, seq) and (batch, 1)


def _choose(
    logits: Float[Tensor, "batch vocab"], sampling: Sampling, generators: list[torch.Generator]
) -> Int[Tensor, " batch"]:
    if sampling.temperature == 0:
        return logits.argmax(dim=-1).cpu()
    return draw(shaped(logits, sampling).softmax(dim=-1), generators)


def last_logits(
    model: GPT, tokens: Int[Tensor, "batch seq"], cache: KeyValueCache | None
) -> Float[Tensor, "batch vocab"]:
    """Logits after the last token; dropout is off, whatever mode the model is in.

    Raises FloatingPointError, naming the cause, where they are not numbers.
    """
    was_training = model.training
    if was_training:
        model.eval()
    try:
        # Entered here and left here, since a caller may train the model between two tokens of a stream.
        with torch.no_grad():
            logits = model(tokens, cache)[:, -1].float()
            if not can_choose(logits):
                raise FloatingPointError(why_not_finite(model, tokens))
            return logits
    finally:
        if was_training:
            model.train()


class _Writing:
    """Several texts that grow side by side, each from its prompt until it ends."""

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer | CharacterTokenizer,
        sampling: Sampling,
        prompts: Sequence[str],
        seeds: Sequence[int],
    ) -> None:
        self.prompts = prompts
        self.stop_tokens = {
            tokenizer.end_of_text,
            *(token for token in sampling.stops if isinstance(token, int)),
        }
        # The token that says where a document starts is no part of the text, and may come again at its end.
        starts = [[tokenizer.end_of_text, *tokenizer.encode(prompt)] for prompt in prompts]
        self.starts, self.longest = [len(start) for start in starts], sampling.max_new_tokens
        ends = sorted(self.stop_tokens)
        self.tokens = _next_tokens(
            model, starts, sampling, ends, seeds, first=1, vocab_size=tokenizer.vocab_size
        )
        stop_texts = [text for text in sampling.stops if isinstance(text, str)]
        self.pens = [_Pen(tokenizer.token_bytes, stop_texts) for _ in prompts]

    def pieces(self) -> Iterator[tuple[int, str]]:
        """(row, text) as the texts grow."""
        yield from ((row, prompt) for row, prompt in enumerate(self.prompts) if prompt)
        writing = set(range(len(self.pens)))
        for position, drawn in enumerate(self.tokens, start=min(self.starts)):
            for row in sorted(writing):
                token, pen, start = int(drawn[row]), self.pens[row], self.starts[row]
                if position < start:
                    continue  # its prompt is still being read
                piece = pen.close() if token in self.stop_tokens else pen.write(token)
                if not pen.closed and position + 1 == start + self.longest:
                    piece += pen.close()
                if piece:
                    yield row, piece
                if pen.closed:
                    writing.remove(row)
            if not writing:
                return


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
