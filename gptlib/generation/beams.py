"""Beam search: the likeliest of several texts as they grow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from gptlib.checks import whole_numbers
from gptlib.generation.sampling import Sampling, stop_tokens
from gptlib.generation.writing import last_logits
from gptlib.model.cache import KeyValueCache
from gptlib.model.checks import check_start
from gptlib.model.gpt import GPT


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

    Raises ValueError for a setting that cannot work, by its name, and as the model does for tokens;
    FloatingPointError where the model's logits are not numbers, naming where they come from.
    Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks", section 3.2, for the search;
    Wu et al. 2016, "Google's Neural Machine Translation System", section 7, for the length.
    """
    check_start(tokens, model)
    n_beams, max_new_tokens, n_sequences = whole_numbers(
        n_beams=n_beams, max_new_tokens=max_new_tokens, n_sequences=n_sequences
    )
    if n_sequences > n_beams or len(tokens) != 1:
        raise ValueError(
            f"n_sequences is {n_sequences} and tokens has {len(tokens)} rows; it needs one row, "
            f"and n_sequences of at most n_beams = {n_beams}"
        )
    stop = torch.tensor(stop_tokens(Sampling(stop=stop)), dtype=torch.long)
    context_length, weight = model.config.context_length, next(model.parameters())
    # Beams are sorted on the CPU; what the model reads goes to where it is.
    beams, scores = tokens.cpu(), torch.zeros(1)  # (beam, seq) and the log-probability of each beam
    capacity = min(context_length, tokens.shape[1] + max_new_tokens)
    cache = KeyValueCache(model.config, 1, weight.device, weight.dtype, capacity)
    finished: list[tuple[float, Tensor]] = []
    for length in range(1, max_new_tokens + 1):
        if beams.shape[1] > context_length:
            # A sliding window gives every token another position, so nothing that was kept is still right.
            logits = last_logits(model, beams[:, -context_length:].to(weight.device), None)
        else:
            logits = last_logits(model, beams[:, cache.length :].to(weight.device), cache)
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
        cache.take(rows[~ended][:n_beams].to(weight.device))
        if len(finished) == n_beams and not (scores / length**length_penalty > finished[-1][0]).any():
            break
    best = [text for _, text in finished[:n_sequences]]
    longest = max(map(len, best))
    return torch.stack([torch.cat([text, text[-1:].expand(longest - len(text))]) for text in best])
