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


def kept_columns_of_the_output(mixed, weight, head):
    d_head = mixed.shape[-1]
    output = output_with_only(mixed, weight, range(mixed.shape[-3]))
    own = torch.zeros_like(output)
    own[..., head * d_head : (head + 1) * d_head] = output[..., head * d_head : (head + 1) * d_head]
    return own


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
        scores = queries @ keys.mT / self.width(queries) ** 0.5
        self.weights = self.hide(scores).softmax(dim=-1)
        return self.mix(self.merge(self.weights @ values, batch, seq))

    def width(self, queries):
        return queries.shape[-1]

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


class BothByView(SplitByView, MergedByView):
    pass


class Unswapped(Layer):
    def forward(self, x):
        batch, seq, d_model = x.shape
        parts = [part.reshape(batch, seq, self.n_heads, -1) for part in self.qkv(x).chunk(3, dim=-1)]
        mixed, self.weights = attend(*parts, torch.ones(seq, seq, dtype=torch.bool).tril())
        return self.output(mixed.reshape(batch, seq, d_model))


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


class ScaledByAll(Written):
    def width(self, queries):
        return self.n_heads * queries.shape[-1]


class HeadsFirst(Layer):
    """The order in which GPT-NeoX keeps its queries, keys and values."""

    def forward(self, x):
        batch, seq, d_model = x.shape
        by_head = self.qkv(x).view(batch, seq, self.n_heads, 3 * d_model // self.n_heads).transpose(1, 2)
        queries, keys, values = by_head.split(d_model // self.n_heads, dim=-1)
        mask = torch.ones(seq, seq, dtype=torch.bool).tril()
        mixed, self.weights = attend(queries, keys, values, mask)
        return self.output(mixed.transpose(1, 2).reshape(batch, seq, d_model))


class Added(Written):
    def forward(self, x):
        return super().forward(x) + x


def with_mask(mask_of):
    class Masked(Layer):
        def forward(self, x):
            parts = [split_by_loop(part, self.n_heads) for part in self.qkv(x).chunk(3, dim=-1)]
            mixed, self.weights = attend(
                *parts, mask_of(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool))
            )
            return self.output(merge_by_loop(mixed))

    return Masked


class ReturnsBoth(Written):
    def forward(self, x):
        return super().forward(x), self.weights


class ForgetsWeights(Layer):
    def forward(self, x):
        parts = [split_by_loop(part, self.n_heads) for part in self.qkv(x).chunk(3, dim=-1)]
        mixed, _ = attend(*parts, torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril())
        return self.output(merge_by_loop(mixed))


class AveragedPatterns(Written):
    """torch's own layer averages the patterns over its heads unless told otherwise."""

    def forward(self, x):
        output = super().forward(x)
        self.weights = self.weights.mean(dim=1)
        return output


class Unscaled(Written):
    def width(self, queries):
        return 1


class ScaledTwice(Written):
    def width(self, queries):
        return queries.shape[-1] ** 2


class SoftmaxOverQueries(Written):
    def forward(self, x):
        batch, seq, _ = x.shape
        queries, keys, values = (self.split(part, batch, seq) for part in self.thirds(self.qkv(x)))
        scores = queries @ keys.mT / self.width(queries) ** 0.5
        self.weights = self.hide(scores).softmax(dim=-2)
        return self.mix(self.merge(self.weights @ values, batch, seq))


class MaskedAfter(Layer):
    def forward(self, x):
        queries, keys, values = (split_by_loop(part, self.n_heads) for part in self.qkv(x).chunk(3, dim=-1))
        _, weights = attend(queries, keys, values)
        self.weights = weights.tril()
        return self.output(merge_by_loop(self.weights @ values))


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
        "batch_in_the_heads": lambda x, n_heads: x.contiguous().view(n_heads, x.size(-2), -1),
        "not_swapped": lambda x, n_heads: split_by_loop(x, n_heads).transpose(-2, -3),
        "before_the_batch": lambda x, n_heads: torch.stack(x.chunk(n_heads, dim=-1)),
        "first_two_swapped": lambda x, n_heads: x.reshape(*x.shape[:-1], n_heads, -1).swapaxes(0, 1),
        "one_and_two_swapped": lambda x, n_heads: x.reshape(*x.shape[:-1], n_heads, -1).swapaxes(1, 2),
        "every_nth_column": lambda x, n_heads: torch.stack(
            [x[..., head::n_heads] for head in range(n_heads)], dim=-3
        ),
        "width_for_number": lambda x, n_heads: split_by_loop(x, x.shape[-1] // n_heads),
        "last_two_swapped": lambda x, n_heads: torch.stack(x.chunk(n_heads, dim=-1), dim=-1),
    },
    "heads.merge_heads": {
        "in_one_step": lambda x: x.reshape(*x.shape[:-3], x.shape[-2], -1),
        "not_swapped": lambda x: x.reshape(*x.shape[:-2], -1),
        "not_joined": lambda x: torch.stack(x.unbind(-3), dim=-2),
        "one_and_two_swapped_only": lambda x: torch.cat(x.swapaxes(1, 2).unbind(-2), dim=-1),
        "one_and_two_swapped": lambda x: x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1),
        "first_two_swapped_only": lambda x: torch.stack(list(x), dim=1).flatten(-2),
        "first_two_swapped": lambda x: x.swapaxes(0, 1).reshape(x.shape[1], -1),
        "first_dimension_joined": lambda x: torch.cat(x.unbind(), dim=-1),
        "stacked": lambda x: torch.cat(x.unbind(-3), dim=-2),
        "interleaved": lambda x: torch.stack(x.unbind(-3), dim=-1).flatten(-2),
        "averaged": lambda x: sum(x.unbind(-3)) / x.shape[-3],
        "summed": lambda x: sum(x.unbind(-3)),
    },
    "heads.contribution": {
        "rows": lambda mixed, weight, head: contribution_by_blocks(mixed, weight.T, head),
        "not_transposed": lambda mixed, weight, head: torch.matmul(
            mixed[..., head, :, :], weight.chunk(mixed.shape[-3], dim=1)[head]
        ),
        "first_dimension": lambda mixed, weight, head: F.linear(
            mixed[head], weight.chunk(mixed.shape[-3], dim=1)[head]
        ),
        "others_set_to_0": kept_columns_of_the_output,
        "without_the_map": lambda mixed, weight, head: F.pad(
            mixed[..., head, :, :],
            (head * mixed.shape[-1], (mixed.shape[-3] - 1 - head) * mixed.shape[-1]),
        ),
        "all_heads": lambda mixed, weight, head: output_with_only(mixed, weight, range(mixed.shape[-3])),
        "square_block": lambda mixed, weight, head: F.linear(
            mixed[..., head, :, :],
            weight.unflatten(1, (mixed.shape[-3], -1)).unflatten(0, (mixed.shape[-3], -1))[head, :, head],
        ),
        "columns_from_head": lambda mixed, weight, head: F.linear(
            mixed[..., head, :, :], weight.narrow(1, head, mixed.shape[-1])
        ),
        "slice_of_the_output": lambda mixed, weight, head: output_with_only(
            mixed, weight, range(mixed.shape[-3])
        ).chunk(mixed.shape[-3], dim=-1)[head],
        "dimension_kept": lambda mixed, weight, head: F.linear(
            mixed[..., [head], :, :], weight.chunk(mixed.shape[-3], dim=1)[head]
        ),
        "without_it": lambda mixed, weight, head: F.linear(
            merge_by_loop(mixed * (torch.arange(mixed.shape[-3]) != head)[:, None, None]), weight
        ),
        "every_nth_column": lambda mixed, weight, head: F.linear(
            mixed[..., head, :, :], weight.unflatten(1, (-1, mixed.shape[-3]))[:, :, head]
        ),
    },
    "heads.MultiHeadAttention": {
        "no_mask": SeesAll,
        "merged_in_one_step": MergedByView,
        "split_in_one_step": SplitByView,
        "both_in_one_step": BothByView,
        "not_swapped": Unswapped,
        "no_output": Unmixed,
        "one_head": Unsplit,
        "split_before_chunk": HeadsFirst,
        "scaled_twice": ScaledTwice,
        "unscaled": Unscaled,
        "scaled_by_d_model": ScaledByAll,
        "queries_and_keys": KeysFirst,
    },
}

# What has a message but no misconception of its own, such as torch's mask, where True hides.
REFUSED = {
    "heads.split_heads": {
        "permuted": lambda x, n_heads: x.unflatten(-1, (n_heads, -1)).permute(0, 2, 1, 3),
        "squeezed": lambda x, n_heads: split_by_loop(x, n_heads).squeeze(),
        "one_text_squeezed": lambda x, n_heads: split_by_loop(x, n_heads).squeeze(0),
        "one_head_squeezed": lambda x, n_heads: split_by_loop(x, n_heads).squeeze(-3),
        "chunks": lambda x, n_heads: x.chunk(n_heads, dim=-1),
    },
    "heads.merge_heads": {
        "permuted": lambda x: x.permute(0, 2, 1, 3).flatten(2),
        "squeezed": lambda x: merge_by_loop(x).squeeze(),
        "one_text_squeezed": lambda x: merge_by_loop(x).squeeze(0),
        "last_head_first": lambda x: torch.cat(x.unbind(-3)[::-1], dim=-1),
    },
    "heads.contribution": {
        "after_one_batch": lambda mixed, weight, head: F.linear(
            mixed[:, head], weight.chunk(mixed.shape[-3], dim=1)[head]
        ),
        "first_columns": lambda mixed, weight, head: contribution_by_blocks(
            mixed[..., head : head + 1, :, :].expand_as(mixed), weight, 0
        ),
        "squeezed": lambda mixed, weight, head: contribution_by_blocks(mixed, weight, head).squeeze(),
        "one_text_squeezed": lambda mixed, weight, head: contribution_by_blocks(mixed, weight, head).squeeze(
            0
        ),
        "divided": lambda mixed, weight, head: contribution_by_blocks(mixed, weight, head) / mixed.shape[-3],
    },
    "heads.MultiHeadAttention": {
        "true_hides": with_mask(lambda ones: ones.triu(1)),
        "not_oneself": with_mask(lambda ones: ones.tril(-1)),
        "sees_what_comes": with_mask(lambda ones: ones.triu()),
        "returns_both": ReturnsBoth,
        "forgets_weights": ForgetsWeights,
        "averaged_patterns": AveragedPatterns,
        "residual": Added,
        "softmax_over_queries": SoftmaxOverQueries,
        "masked_after_the_softmax": MaskedAfter,
    },
}
