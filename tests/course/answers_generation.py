"""Answers to the exercises on generation as readers write them, right and wrong."""

import torch
import torch.nn.functional as F

from gptlib.model.cache import KeyValueCache

NEVER = float("-inf")


def powers(logits, temperature):
    probabilities = F.softmax(logits, dim=-1) ** (1 / temperature)
    return probabilities / probabilities.sum(-1, keepdim=True)


def exponentials(logits, temperature):
    values = torch.exp((logits - logits.amax(-1, keepdim=True)) / temperature)
    return values / values.sum(dim=-1, keepdim=True)


def top_k_by_scatter(logits, k):
    values, places = logits.topk(k, dim=-1)
    return torch.full_like(logits, NEVER).scatter(-1, places, values)


def top_k_by_rank(logits, k, fill=NEVER):
    rank = logits.argsort(dim=-1, descending=True).argsort(dim=-1)
    return torch.where(rank < k, logits, fill)


def top_p_by_loop(logits, p, last=True, likeliest=True):
    rows = logits.reshape(-1, logits.shape[-1])
    output = torch.full_like(rows, NEVER)
    for row, kept in zip(rows, output, strict=True):
        total = 0.0
        for token in row.argsort(descending=likeliest).tolist():
            probability = row.softmax(-1)[token].item()
            if total >= p or (not last and total + probability > p):
                break
            kept[token] = row[token]
            total += probability
    return output.view_as(logits)


def top_p_by_comparison(logits, p):
    probabilities = logits.softmax(-1)
    likelier = probabilities[..., None, :] > probabilities[..., :, None]  # (…, token, other)
    before = (probabilities[..., None, :] * likelier).sum(-1)
    return logits.where(before < p, torch.tensor(NEVER))


def top_p_in_sorted_order(logits, p):
    total = logits.sort(dim=-1, descending=True)[0].softmax(-1).cumsum(-1)
    keep = F.pad(total < p, (1, 0), value=True)[..., :-1]
    return logits.masked_fill(~keep, NEVER)


def write_first_then_on(model, cache, tokens, n):
    latest = model(tokens, cache)[:, -1:].argmax(-1)
    written = [tokens]
    for _ in range(n):
        written.append(latest)
        latest = model(latest, cache)[:, -1:].argmax(-1)
    return torch.cat(written, dim=1)


def write_into_a_table(model, cache, tokens, n):
    start = tokens.shape[1]
    table = torch.zeros(len(tokens), start + n, dtype=torch.long)
    table[:, :start] = tokens
    read = 0
    for end in range(start, start + n):
        table[:, end] = model(table[:, read:end], cache)[:, -1].max(dim=-1).indices
        read = end
    return table


def write(model, tokens, n, cache=None, reads=None):
    for _ in range(n):
        logits = model(tokens if reads is None else tokens[:, -reads:], cache)
        tokens = torch.cat([tokens, logits.argmax(dim=-1)[:, -1:]], dim=-1)
    return tokens


def top_p_left_sorted(logits, p):
    ordered = logits.sort(dim=-1, descending=True).values
    probabilities = ordered.softmax(-1)
    return ordered.masked_fill(probabilities.cumsum(-1) - probabilities >= p, NEVER)


def write_after_filling(model, cache, tokens, n):
    model(tokens, cache)
    latest, written = tokens[:, -1:], [tokens]
    for _ in range(n):
        latest = model(latest, cache)[:, -1:].argmax(-1)
        written.append(latest)
    return torch.cat(written, dim=1)


def top_p_shifted(logits, p):
    ordered, order = torch.sort(logits, descending=True)
    remove = F.softmax(ordered, dim=-1).cumsum(dim=-1) > p
    remove[..., 1:] = remove[..., :-1].clone()
    return torch.zeros_like(logits).scatter(-1, order, ordered.masked_fill(remove, NEVER))


def top_p_by_index(logits, p):
    ordered, order = torch.sort(logits, descending=True)
    remove = F.softmax(ordered, dim=-1).cumsum(dim=-1) > p
    remove[..., 1:] = remove[..., :-1].clone()
    remove[..., 0] = False
    filtered = logits.clone()
    filtered[order[remove]] = NEVER
    return filtered


def top_p_down_the_batch(logits, p):
    ordered, order = torch.sort(logits, dim=0, descending=True)
    probabilities = F.softmax(ordered, dim=0)
    ordered[probabilities.cumsum(0) - probabilities >= p] = NEVER
    return torch.zeros_like(logits).scatter(0, order, ordered)


def top_p_of_running_sums(values, logits, p):
    """Keeps what comes before the sum of `values`, in the order that they are in, reaches p."""
    before = values.cumsum(-1) - values
    return logits.where(before < p, torch.tensor(NEVER))


def top_p_of_logits(logits, p):
    ordered, order = torch.sort(logits, dim=-1, descending=True)
    return torch.full_like(logits, NEVER).scatter(-1, order, top_p_of_running_sums(ordered, ordered, p))


def write_with_fresh_caches(model, cache, tokens, n):
    """A new cache in each step, and one token to read after the first."""
    unread = tokens
    for _ in range(n):
        unread = model(unread, KeyValueCache(model.config, len(tokens)))[:, -1].argmax(-1, keepdim=True)
        tokens = torch.hstack([tokens, unread])
    return tokens


def write_by(choose, updated=True):
    def answer(model, cache, tokens, n):
        unread = tokens
        for _ in range(n):
            chosen = choose(model(unread, cache))
            tokens = torch.hstack([tokens, chosen])
            unread = chosen if updated else unread
        return tokens

    return answer


def write_one_before_the_loop(model, cache, tokens, n):
    latest = model(tokens, cache)[:, -1:].argmax(-1)
    tokens = torch.hstack([tokens, latest])
    for _ in range(n):
        latest = model(latest, cache)[:, -1:].argmax(-1)
        tokens = torch.hstack([tokens, latest])
    return tokens


RIGHT = {
    "generation.at_temperature": [powers, exponentials],
    "generation.keep_top_k": [top_k_by_scatter, top_k_by_rank],
    "generation.keep_top_p": [top_p_by_loop, top_p_by_comparison],
    "generation.write_with_cache": [write_first_then_on, write_into_a_table],
}

WRONG = {
    "generation.at_temperature": {
        "multiplied": lambda logits, temperature: exponentials(logits, 1 / temperature),
        "divided_after": lambda logits, temperature: torch.exp(logits.log_softmax(-1)) / temperature,
        "logits_returned": lambda logits, temperature: logits * (1 / temperature),
        "log_returned": lambda logits, temperature: torch.log(exponentials(logits, temperature)),
        "over_the_batch": lambda logits, temperature: F.softmax(logits / temperature, 0),
        "second_dimension": lambda logits, temperature: torch.softmax(logits / temperature, 1),
        "sum_does_not_fit": lambda logits, temperature: (
            torch.e ** (logits / temperature) / (torch.e ** (logits / temperature)).sum(-1)
        ),
        "over_everything": lambda logits, temperature: (
            torch.exp(logits / temperature) / torch.exp(logits / temperature).sum()
        ),
        "softmax_twice": lambda logits, temperature: F.softmax(exponentials(logits, temperature), -1),
        "softmax_of_probabilities": lambda logits, temperature: exponentials(
            F.softmax(logits, -1), temperature
        ),
        "not_scaled": lambda logits, temperature: F.softmax(logits, -1) ** (1 / temperature),
        "inverted_and_not_scaled": lambda logits, temperature: torch.exp(logits * temperature),
        "without_exp": lambda logits, temperature: (
            logits / temperature / (logits / temperature).sum(-1, keepdim=True)
        ),
        "at_temperature_1": lambda logits, temperature: exponentials(logits - temperature, 1),
    },
    "generation.keep_top_k": {
        "zeros": lambda logits, k: top_k_by_rank(logits, k, fill=-1e9),
        "one_too_few": lambda logits, k: top_k_by_rank(logits, k - 1),
        "one_too_many": lambda logits, k: top_k_by_rank(logits, k + 1),
        "left_sorted": lambda logits, k: F.pad(logits.topk(k).values, (0, logits.shape[-1] - k), value=NEVER),
        "across_rows": lambda logits, k: top_k_by_rank(logits.flatten(), k).view_as(logits),
        "lowest_kept": lambda logits, k: -top_k_by_rank(-logits, k, fill=float("inf")),
        "kth_smallest": lambda logits, k: torch.where(
            logits >= logits.sort(-1).values[..., k - 1 : k], logits, NEVER
        ),
        "largest_alone": lambda logits, k: torch.where(logits < logits.topk(k)[0][..., :1], NEVER, logits),
        "best_ruled_out": lambda logits, k: logits.scatter(-1, logits.topk(k).indices, NEVER),
        "sorted_once": lambda logits, k: logits.masked_fill(torch.argsort(-logits, dim=-1) >= k, NEVER),
        "softmaxed": lambda logits, k: top_k_by_rank(F.softmax(logits, -1), k),
        "first_dimension": lambda logits, k: torch.where(logits < logits.topk(k, 0)[0][-1], NEVER, logits),
        "second_dimension": lambda logits, k: torch.where(
            logits < logits.topk(k, 1)[0][:, -1, None], NEVER, logits
        ),
        "no_logits": lambda logits, k: logits >= logits.topk(k)[0][..., -1:],
        "not_for_a_batch": lambda logits, k: torch.where(
            logits < logits.sort(descending=True).values[..., k - 1], NEVER, logits
        ),
    },
    "generation.keep_top_p": {
        "without_the_last": lambda logits, p: top_p_by_loop(logits, p, last=False),
        "without_the_last_but_first": lambda logits, p: torch.where(
            logits == logits.amax(-1, keepdim=True), logits, top_p_by_loop(logits, p, last=False)
        ),
        "nothing_left": top_p_shifted,
        "mask_in_sorted_order": top_p_in_sorted_order,
        "gathered": lambda logits, p: top_p_left_sorted(logits, p).gather(
            -1, logits.argsort(dim=-1, descending=True)
        ),
        "least_likely": lambda logits, p: top_p_by_loop(logits, p, likeliest=False),
        "not_sorted": lambda logits, p: top_p_of_running_sums(F.softmax(logits, -1), logits, p),
        "sum_of_logits": top_p_of_logits,
        "each_at_p": lambda logits, p: torch.where(logits.softmax(-1) >= p, logits, NEVER),
        "best_ruled_out": lambda logits, p: logits.where(
            top_p_by_loop(logits, p) == NEVER, torch.tensor(NEVER)
        ),
        "zeros": lambda logits, p: top_p_by_loop(logits, p).where(
            top_p_by_loop(logits, p) > NEVER, torch.tensor(0.0)
        ),
        "left_sorted": top_p_left_sorted,
        "softmaxed": lambda logits, p: F.softmax(top_p_by_comparison(logits, p), -1),
        "first_dimension": top_p_down_the_batch,
        "for_one_row": top_p_by_index,
    },
    "generation.write_with_cache": {
        "no_cache": lambda model, cache, tokens, n: write(model, tokens, n),
        "all_into_the_cache": lambda model, cache, tokens, n: write(model, tokens, n, cache),
        "start_again": write_by(lambda logits: logits[:, -1:].argmax(-1), updated=False),
        "start_not_read": lambda model, cache, tokens, n: write(model, tokens, n, cache, reads=1),
        "forgets": lambda model, cache, tokens, n: write(model, tokens, n, reads=1),
        "forgets_the_start": write_with_fresh_caches,
        "without_the_start": lambda model, cache, tokens, n: write_into_a_table(model, cache, tokens, n)[
            :, -n:
        ],
        "last_read_twice": write_after_filling,
        "first_position": write_by(lambda logits: logits.argmax(-1)[:, :1]),
        "last_alone": lambda model, cache, tokens, n: write_first_then_on(model, cache, tokens, n)[:, [-1]],
        "one_too_few": lambda model, cache, tokens, n: write_into_a_table(model, cache, tokens, n)[:, :-1],
        "one_too_many": write_one_before_the_loop,
        "every_position": write_by(lambda logits: logits.max(dim=-1).indices),
        "sampled": write_by(
            lambda logits: torch.distributions.Categorical(logits=logits[:, -1]).sample()[:, None]
        ),
        "one_text": lambda model, cache, tokens, n: write_into_a_table(
            model, KeyValueCache(model.config), tokens, n
        ),
    },
}
