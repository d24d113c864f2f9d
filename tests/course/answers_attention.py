"""Answers to the exercises on attention as readers write them, right and wrong."""

import math

import torch
import torch.nn.functional as F


def weighted_average_by_loop(weights, values):
    output = torch.zeros(len(weights), values.shape[1])
    for query, row in enumerate(weights):
        for weight, value in zip(row, values, strict=True):
            output[query] += weight * value
    return output


def scores_by_loop(queries, keys):
    d_k = queries.shape[-1]
    scores = (queries.unsqueeze(-2) * keys.unsqueeze(-3)).sum(dim=-1)
    return scores / d_k**0.5


def entropy_of_what_is_there(weights):
    logs = weights.clamp(min=1e-30).log()
    return -(weights * logs).sum(-1)


RIGHT = {
    "attention.weighted_average": [
        weighted_average_by_loop,
        lambda weights, values: (values.T @ weights.T).T,
    ],
    "attention.look_up": [
        lambda query, keys, values: F.softmax(query @ keys.T, dim=0) @ values,
        lambda query, keys, values: (torch.softmax((keys * query).sum(1), 0)[:, None] * values).sum(0),
    ],
    "attention.scaled_scores": [
        scores_by_loop,
        lambda queries, keys: (queries / math.sqrt(queries.size(-1))) @ keys.mT,
    ],
    "attention.entropy": [
        entropy_of_what_is_there,
        lambda weights: torch.special.entr(weights).sum(dim=-1),
    ],
}

WRONG = {
    "attention.weighted_average": {
        "plain_average": lambda weights, values: torch.full_like(weights, 1 / len(values)) @ values,
        "only_the_largest": lambda weights, values: (
            F.one_hot(weights.argmax(1), len(values)).float() @ values
        ),
        "divided_once_more": lambda weights, values: (weights / weights.shape[1]) @ values,
    },
    "attention.look_up": {
        "no_softmax": lambda query, keys, values: values.T @ (keys @ query),
        "divided_by_the_sum": lambda query, keys, values: (
            F.normalize(keys @ query, p=1, dim=0) @ values
            if (keys @ query > 0).all()
            else ((keys @ query) / torch.sum(keys @ query)) @ values
        ),
        "exact_match": lambda query, keys, values: (1e6 * keys @ query).softmax(0) @ values,
        "keys_returned": lambda query, keys, values: torch.softmax(query @ keys.T, 0) @ keys,
        "scaled": lambda query, keys, values: F.scaled_dot_product_attention(query[None], keys, values)[0],
    },
    "attention.scaled_scores": {
        "unscaled": lambda queries, keys: torch.einsum("...qd,...kd->...qk", queries, keys),
        "scaled_by_d_k": lambda queries, keys: (queries @ keys.mT) / keys.size(-1),
        "scaled_by_keys": lambda queries, keys: queries @ keys.mT / keys.size(-2) ** 0.5,
        "one_size": lambda queries, keys: queries @ keys.mT / 32,
        "rows_are_keys": lambda queries, keys: scores_by_loop(queries, keys).transpose(-1, -2),
        "all_turned": lambda queries, keys: queries @ keys.transpose(0, 1) / keys.size(-1) ** 0.5,
    },
    "attention.entropy": {
        "nan_at_zero": lambda weights: torch.sum(-weights * torch.log(weights), dim=-1),
        "whole_row_zero": lambda weights: torch.where(
            (weights == 0).any(dim=-1), 0.0, torch.special.entr(weights).sum(dim=-1)
        ),
        "sign": lambda weights: -entropy_of_what_is_there(weights),
        "bits": lambda weights: -(weights * weights.clamp(min=1e-30).log2()).sum(-1),
        "over_queries": lambda weights: torch.special.entr(weights).sum(dim=-2),
        "mean_over_keys": lambda weights: torch.special.entr(weights).mean(dim=-1),
    },
}

REFUSED = {
    "attention.entropy": {
        "clamped": lambda weights: -(weights * weights.clamp(min=1e-2).log()).sum(-1),
    },
}
