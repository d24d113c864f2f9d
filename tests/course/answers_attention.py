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


def weighted_average_with_an_early_return(weights, values):
    output = torch.zeros(len(weights), values.shape[1])
    for row in weights:
        for weight, value in zip(row, values, strict=True):
            output[0] += weight * value
        return output[0]
    return output


def weighted_average_into_rows_of_values(weights, values):
    output = torch.zeros_like(values)
    for query in range(len(weights)):
        for key in range(len(values)):
            output[query] += weights[query, key] * values[key]
    return output


def softmax_by_loop(scores):  # as in the notebook
    exponentials = [math.exp(score) for score in scores]
    total = sum(exponentials)
    return torch.tensor([exponential / total for exponential in exponentials])


def softmax_that_overflows(scores):
    exponentials = scores.exp()
    return exponentials / exponentials.sum()


def scores_by_loop(queries, keys):
    d_k = queries.shape[-1]
    scores = (queries.unsqueeze(-2) * keys.unsqueeze(-3)).sum(dim=-1)
    return scores / d_k**0.5


def entropy_of_what_is_there(weights):
    logs = weights.clamp(min=1e-30).log()
    return -(weights * logs).sum(-1)


def entropy_row_by_row(weights):
    numbers = []
    for row in weights:
        there = row[row > 0]
        numbers.append(-(there * there.log()).sum())
    return torch.stack(numbers)


RIGHT = {
    "attention.weighted_average": [
        weighted_average_by_loop,
        lambda weights, values: (values.T @ weights.T).T,
        lambda weights, values: (weights[:, :, None] * values[None]).sum(dim=1),
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
        lambda weights: -(weights * (weights + 1e-12).log()).sum(-1),
    ],
}

WRONG = {
    "attention.weighted_average": {
        "plain_average": lambda weights, values: torch.full_like(weights, 1 / len(values)) @ values,
        "only_the_largest": lambda weights, values: (
            F.one_hot(weights.argmax(1), len(values)).float() @ values
        ),
        "divided_once_more": lambda weights, values: (weights / weights.shape[1]) @ values,
        "weights_turned": lambda weights, values: (
            torch.einsum("kq,kd->qd", weights, values)
            if len(weights) == len(values)
            else torch.mm(weights.t(), values)
        ),
        "order_swapped": lambda weights, values: torch.matmul(values, weights),
        "elementwise": lambda weights, values: torch.mul(values, weights),
        "values_turned": lambda weights, values: torch.matmul(weights, values.transpose(0, 1)),
        "softmax_again": lambda weights, values: F.softmax(weights, dim=1) @ values,
        "one_for_all": lambda weights, values: weights.sum(dim=0) @ values,
        "mean_of_all": lambda weights, values: weights.mean(dim=0) @ values,
        "first_query_only": weighted_average_with_an_early_return,
        "rows_of_values": weighted_average_into_rows_of_values,
    },
    "attention.look_up": {
        "no_softmax": lambda query, keys, values: values.T @ (keys @ query),
        "divided_by_the_sum": lambda query, keys, values: (
            F.normalize(keys @ query, p=1, dim=0) @ values
            if (keys @ query > 0).all()
            else ((keys @ query) / torch.sum(keys @ query)) @ values
        ),
        "exp_undivided": lambda query, keys, values: sum(
            torch.exp(query.dot(key)) * value for key, value in zip(keys, values, strict=True)
        ),
        "exact_match": lambda query, keys, values: (1e6 * keys @ query).softmax(0) @ values,
        "keys_returned": lambda query, keys, values: torch.softmax(query @ keys.T, 0) @ keys,
        "weights_returned": lambda query, keys, values: F.softmax(keys @ query, dim=0),
        "cosine": lambda query, keys, values: (
            torch.softmax(F.normalize(keys, dim=1) @ F.normalize(query, dim=0), 0) @ values
        ),
        "keys_not_turned": lambda query, keys, values: torch.matmul(
            torch.softmax(torch.matmul(query, keys), 0), values
        ),
        "scaled": lambda query, keys, values: F.scaled_dot_product_attention(query[None], keys, values)[0],
        "overflow": lambda query, keys, values: softmax_that_overflows(query @ keys.T) @ values,
        "sharpness_kept": lambda query, keys, values: F.softmax(100 * (query @ keys.T), dim=0) @ values,
        "not_added_up": lambda query, keys, values: (values.T * F.softmax(query @ keys.T, dim=0)).T,
    },
    "attention.scaled_scores": {
        "unscaled": lambda queries, keys: torch.einsum("...qd,...kd->...qk", queries, keys),
        "scaled_by_d_k": lambda queries, keys: (queries @ keys.mT) / keys.size(-1),
        "half_d_k": lambda queries, keys: queries @ keys.mT / queries.shape[-1] ** 1 / 2,
        "multiplied": lambda queries, keys: (queries @ keys.mT) * keys.shape[-1] ** 0.5,
        "scaled_by_count": lambda queries, keys: queries @ keys.mT / len(queries) ** 0.5,
        "second_size": lambda queries, keys: queries @ keys.mT / queries.shape[1] ** 0.5,
        "softmaxed": lambda queries, keys: torch.softmax(queries @ keys.mT / queries.size(-1) ** 0.5, -1),
        "rows_are_keys": lambda queries, keys: scores_by_loop(queries, keys).transpose(-1, -2),
        "all_turned": lambda queries, keys: queries @ keys.transpose(0, 1) / keys.size(-1) ** 0.5,
        "only_in_pairs": lambda queries, keys: torch.sum(queries * keys, -1) / keys.size(-1) ** 0.5,
        "always_two": lambda queries, keys: queries @ keys.mT / math.sqrt(4),
        "scaled_by_queries": lambda queries, keys: queries @ keys.mT / queries.size(-2) ** 0.5,
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
        "one_number": lambda weights: torch.special.entr(weights).sum(),
        "second_dimension": lambda weights: torch.special.entr(weights).sum(1),
        "each_product": lambda weights: torch.special.entr(weights),
        "first_dimension_kept": entropy_row_by_row,
        "dimension_kept": lambda weights: torch.special.entr(weights).sum(dim=-1, keepdim=True),
        "weights_forgotten": lambda weights: weights.reciprocal().log().sum(-1),
    },
}

REFUSED = {
    "attention.look_up": {
        "overflow_in_a_loop": lambda query, keys, values: softmax_by_loop((query @ keys.T).tolist()) @ values,
        "twice": lambda query, keys, values: F.softmax(F.softmax(keys @ query, 0), 0) @ values,
    },
    "attention.scaled_scores": {
        # As many keys as queries is assumed: right for square inputs.
        "square": lambda queries, keys: scores_by_loop(queries, keys)[..., : queries.shape[-2]],
        "whole_root": lambda queries, keys: queries @ keys.mT / int(queries.shape[-1] ** 0.5),
        "root_of_the_last_two": lambda queries, keys: queries @ keys.mT / (queries.shape[-1] ** 1 / 2),
    },
    "attention.entropy": {
        "clamped": lambda weights: -(weights * weights.clamp(min=1e-2).log()).sum(-1),
        "clamped_lower": lambda weights: -(weights * weights.clamp(min=1e-3).log()).sum(-1),
        "clamped_lower_still": lambda weights: -(weights * weights.clamp(min=1e-4).log()).sum(-1),
        "perplexity": lambda weights: torch.special.entr(weights).sum(dim=-1).exp(),
        "share_of_the_most": lambda weights: (
            torch.special.entr(weights).sum(dim=-1) / math.log(weights.shape[-1])
        ),
    },
}
