"""Answers to the exercises on scale as readers write them, right and wrong."""

import math

import numpy as np
import torch
import torch.nn.functional as F


def flops_by_products(n_tokens, n_in, n_out):
    forward = n_tokens * n_out * (n_in + n_in)
    of_weights = n_in * n_out * (n_tokens + n_tokens)
    of_input = n_tokens * n_in * (n_out + n_out)
    return forward + of_weights + of_input


def cache_by_shapes(config, batch_size, n_tokens, bytes_per_number):
    keys = values = math.prod((batch_size, config.kv_heads, n_tokens, config.d_head))
    return sum(keys + values for _ in range(config.n_layers)) * bytes_per_number


def cache_by_width(config, batch_size, n_tokens, bytes_per_number):
    width = config.d_model * config.kv_heads // config.n_heads
    return bytes_per_number * batch_size * n_tokens * 2 * width * config.n_layers


def cached(config, batch_size, n_tokens, size, of=2, layers=None, heads=None):
    layers = config.n_layers if layers is None else layers
    heads = config.kv_heads if heads is None else heads
    return size * of * layers * heads * config.d_head * n_tokens * batch_size


def line(x, y):
    """Slope and start of the best line, by its formula."""
    u, v = x - x.mean(), y - y.mean()
    slope = float((u * v).sum() / (u * u).sum())
    return slope, float(y.mean() - slope * x.mean())


def power_law_by_formula(x, y):
    slope, start = line(np.log(x), np.log(y))
    return math.exp(start), slope


def power_law_by_tens(x, y):
    slope, start = line(np.log10(x), np.log10(y))
    return 10**start, slope


def best_split(A, alpha, B, beta, flops):
    ratio = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    return ratio * (flops / 6) ** (beta / (alpha + beta)), (flops / 6) ** (alpha / (alpha + beta)) / ratio


def best_split_by_search(A, alpha, B, beta, flops):
    low, high = -20.0, 60.0  # of ln N; the excess falls, then rises
    for _ in range(300):
        third = (high - low) / 3
        left, right = low + third, high - third
        worth = [A * math.exp(-alpha * u) + B * (6 * math.exp(u) / flops) ** beta for u in (left, right)]
        low, high = (low, right) if worth[0] < worth[1] else (left, high)
    return math.exp(low), flops / 6 / math.exp(low)


def counting(pieces):
    return torch.cat([targets.flatten() for _, targets in pieces]).ne(-100).sum()


def accumulate_by_means(model, pieces):
    mean = 0
    for inputs, targets in pieces:
        share = counting([(inputs, targets)]) / counting(pieces)
        loss = share * F.cross_entropy(model(inputs).transpose(1, 2), targets)
        loss.backward()
        mean = mean + loss.detach()
    return mean


def accumulate_then_divide(model, pieces):
    total = 0.0
    for inputs, targets in pieces:
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="sum")
        loss.backward()
        total += loss.item()
    for parameter in model.parameters():
        parameter.grad /= counting(pieces)
    return total / counting(pieces).item()


def mean_of_means(model, pieces, divide=True):
    losses = [F.cross_entropy(model(inputs).transpose(1, 2), targets) for inputs, targets in pieces]
    loss = sum(losses) / (len(losses) if divide else 1)
    loss.backward()
    return loss.item()


def sum_over(model, pieces, by):
    losses = [
        F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="sum") / by
        for inputs, targets in pieces
    ]
    sum(losses).backward()
    return sum(losses).item()


def last_alone(model, pieces):
    mean = 0.0
    for inputs, targets in pieces:
        for parameter in model.parameters():
            parameter.grad = None
        mean += sum_over(model, [(inputs, targets)], counting(pieces))
    return mean


RIGHT = {
    "costs.flops_of_linear": [
        flops_by_products,
        lambda n_tokens, n_in, n_out: 6 * n_tokens * n_in * n_out,
    ],
    "costs.cache_bytes": [cache_by_shapes, cache_by_width],
    "scaling.power_law": [power_law_by_formula, power_law_by_tens],
    "scaling.optimum": [best_split, best_split_by_search],
    "accumulation.accumulate": [accumulate_by_means, accumulate_then_divide],
}

WRONG = {
    "costs.flops_of_linear": {
        "forward_alone": lambda n_tokens, n_in, n_out: n_tokens * n_out * (n_in + n_in),
        "one_product_back": lambda n_tokens, n_in, n_out: 2 * 2 * n_out * n_in * n_tokens,
        "multiplications_alone": lambda n_tokens, n_in, n_out: sum([n_tokens * n_in * n_out] * 3),
        "one_token": lambda n_tokens, n_in, n_out: 3 * 2 * n_out * n_in,
    },
    "costs.cache_bytes": {
        "keys_alone": lambda config, batch, n, size: cached(config, batch, n, size, of=1),
        "all_heads": lambda config, batch, n, size: cached(config, batch, n, size, heads=config.n_heads),
        "one_layer": lambda config, batch, n, size: cached(config, batch, n, size, layers=1),
        "numbers_not_bytes": lambda config, batch, n, size: cached(config, batch, n, 1),
        "scores": lambda config, batch, n, size: size * batch * n * n * config.n_layers * config.n_heads,
    },
    "scaling.power_law": {
        "straight_line": lambda x, y: line(x, y)[::-1],
        "logarithm_of_the_factor": lambda x, y: (
            math.log(power_law_by_tens(x, y)[0]),
            line(np.log(x), np.log(y))[0],
        ),
        "swapped": lambda x, y: line(np.log(x), np.log(y))[:1] + power_law_by_formula(x, y)[:1],
        "two_ends": lambda x, y: (
            y[0] / x[0] ** (math.log(y[-1] / y[0]) / math.log(x[-1] / x[0])),
            math.log(y[-1] / y[0]) / math.log(x[-1] / x[0]),
        ),
        "one_logarithm": lambda x, y: (math.exp(line(x, np.log(y))[1]), line(x, np.log(y))[0]),
    },
    "scaling.optimum": {
        "equal_terms": lambda A, alpha, B, beta, flops: (
            (A / B * (flops / 6) ** beta) ** (1 / (alpha + beta)),
            (B / A * (flops / 6) ** alpha) ** (1 / (alpha + beta)),
        ),
        "as_many_tokens": lambda A, alpha, B, beta, flops: (math.sqrt(flops / 6), math.sqrt(flops / 6)),
        "no_six": lambda A, alpha, B, beta, flops: best_split(A, alpha, B, beta, flops * 6),
        "swapped": lambda A, alpha, B, beta, flops: tuple(reversed(best_split(A, alpha, B, beta, flops))),
        "twenty": lambda A, alpha, B, beta, flops: (math.sqrt(flops / 120), math.sqrt(flops * 20 / 6)),
    },
    "accumulation.accumulate": {
        "mean_of_means": mean_of_means,
        "sum_of_means": lambda model, pieces: mean_of_means(model, pieces, divide=False),
        "sum_alone": lambda model, pieces: sum_over(model, pieces, by=1),
        "padding_counted": lambda model, pieces: sum_over(
            model, pieces, by=sum(inputs.numel() for inputs, _ in pieces)
        ),
        "last_alone": last_alone,
    },
}
