"""Answers to the exercises on many heads as readers write them, right and wrong."""

import torch
import torch.nn.functional as F
from torch import nn

from gptlib import attend


def split_by_loop(x, n_heads):
    d_head = x.shape[-1] // n_heads
    heads = [x[..., head * d_head : (head + 1) * d_head] for head in range(n_heads)]
    return torch.stack(heads, dim=-3)


def merge_by_loop(x):
    return torch.cat([x[..., head, :, :] for head in range(x.shape[-3])], dim=-1)


def output_with_only(mixed, weight, heads):
    """What the layer would return if all heads but these said nothing."""
    silenced = torch.zeros_like(mixed)
    for head in heads:
        silenced[..., head, :, :] = mixed[..., head, :, :]
    return F.linear(merge_by_loop(silenced), weight)


def contribution_by_blocks(mixed, weight, head):
    blocks = weight.unflatten(1, (mixed.shape[-3], -1))  # (d_model, head, d_head)
    return torch.einsum("...sd,md->...sm", mixed[..., head, :, :], blocks[:, head])


class Layer(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.output = nn.Linear(d_model, d_model)


class HeadByHead(Layer):
    def forward(self, x):
        outputs, patterns = [], []
        mask = torch.tril(torch.ones(x.shape[1], x.shape[1])) == 1
        for queries, keys, values in zip(*[self.heads_of(part) for part in self.parts(x)], strict=True):
            output, weights = attend(queries, keys, values, mask)
            outputs.append(output)
            patterns.append(weights)
        self.weights = torch.stack(patterns, dim=1)
        return self.output(torch.cat(outputs, dim=2))

    def parts(self, x):
        return self.qkv(x).split(x.shape[-1], dim=-1)

    def heads_of(self, part):
        return part.split(part.shape[-1] // self.n_heads, dim=-1)


class Written(Layer):
    """All in one place, with the steps that an answer may get wrong as methods."""

    def forward(self, x):
        batch, seq, d_model = x.shape
        queries, keys, values = self.thirds(self.qkv(x))
        queries, keys, values = (self.split(part, batch, seq) for part in (queries, keys, values))
        scores = queries @ keys.mT / queries.shape[-1] ** 0.5
        self.weights = self.hide(scores).softmax(dim=-1)
        return self.mix(self.merge(self.weights @ values, batch, seq))

    def thirds(self, qkv):
        return qkv.chunk(3, dim=2)

    def split(self, part, batch, seq):
        return part.view(batch, seq, self.n_heads, -1).permute(0, 2, 1, 3)

    def hide(self, scores):
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        return scores.masked_fill(future, float("-inf"))

    def merge(self, mixed, batch, seq):
        return mixed.permute(0, 2, 1, 3).reshape(batch, seq, -1)

    def mix(self, merged):
        return self.output(merged)


class SeesAll(Written):
    def hide(self, scores):
        return scores


class SplitByView(Written):
    def split(self, part, batch, seq):
        return part.contiguous().view(batch, self.n_heads, seq, -1)


class MergedByView(Written):
    def merge(self, mixed, batch, seq):
        return mixed.contiguous().view(batch, seq, -1)


class Unmixed(Written):
    def mix(self, merged):
        return merged


class Unsplit(Written):
    def split(self, part, batch, seq):
        return part

    def merge(self, mixed, batch, seq):
        return mixed


class KeysFirst(Written):
    def thirds(self, qkv):
        keys, queries, values = qkv.chunk(3, dim=2)
        return queries, keys, values


RIGHT = {
    "heads.split_heads": [
        split_by_loop,
        lambda x, n_heads: x.reshape(*x.shape[:-1], n_heads, x.shape[-1] // n_heads).swapaxes(-2, -3),
    ],
    "heads.merge_heads": [
        merge_by_loop,
        lambda x: x.swapaxes(-3, -2).reshape(*x.shape[:-3], x.shape[-2], x.shape[-3] * x.shape[-1]),
    ],
    "heads.contribution": [
        contribution_by_blocks,
        lambda mixed, weight, head: output_with_only(mixed, weight, [head]),
    ],
    "heads.MultiHeadAttention": [HeadByHead, Written],
}

WRONG = {
    "heads.split_heads": {
        "in_one_step": lambda x, n_heads: x.reshape(*x.shape[:-2], n_heads, x.shape[-2], -1),
        "not_swapped": lambda x, n_heads: split_by_loop(x, n_heads).transpose(-2, -3),
        "every_nth_column": lambda x, n_heads: torch.stack(
            [x[..., head::n_heads] for head in range(n_heads)], dim=-3
        ),
        "width_for_number": lambda x, n_heads: split_by_loop(x, x.shape[-1] // n_heads),
        "words_last": lambda x, n_heads: split_by_loop(x, n_heads).mT,
    },
    "heads.merge_heads": {
        "in_one_step": lambda x: x.reshape(*x.shape[:-3], x.shape[-2], -1),
        "averaged": lambda x: sum(x.unbind(-3)) / x.shape[-3],
        "interleaved": lambda x: torch.stack(x.unbind(-3), dim=-1).flatten(-2),
        "stacked": lambda x: torch.cat(x.unbind(-3), dim=-2),
    },
    "heads.contribution": {
        "rows": lambda mixed, weight, head: contribution_by_blocks(mixed, weight.T, head),
        "first_columns": lambda mixed, weight, head: contribution_by_blocks(
            mixed[..., head : head + 1, :, :].expand_as(mixed), weight, 0
        ),
        "every_nth_column": lambda mixed, weight, head: torch.einsum(
            "...sd,md->...sm",
            mixed[..., head, :, :],
            weight.unflatten(1, (-1, mixed.shape[-3]))[..., head],
        ),
        "all_heads": lambda mixed, weight, head: output_with_only(mixed, weight, range(mixed.shape[-3])),
        "without_it": lambda mixed, weight, head: output_with_only(
            mixed, weight, set(range(mixed.shape[-3])) - {head}
        ),
    },
    "heads.MultiHeadAttention": {
        "no_mask": SeesAll,
        "split_in_one_step": SplitByView,
        "merged_in_one_step": MergedByView,
        "no_output": Unmixed,
        "one_head": Unsplit,
        "queries_and_keys": KeysFirst,
    },
}
