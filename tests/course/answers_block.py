"""Answers to the exercises on the block as readers write them, right and wrong."""

import functools
import math

import torch
import torch.nn.functional as F
from torch import nn


def stack_from_the_top(x, branches):
    if not branches:
        return x
    below = stack_from_the_top(x, branches[:-1])
    return below + branches[-1](below)


def stack_in_place(x, branches):
    for branch in branches:
        x += branch(x)
    return x


def all_read_the_start(x, branches):
    stream = x.clone()
    for branch in branches:
        stream = stream + branch(x)
    return stream


def from_the_start(x, branches):
    latest = x
    for branch in branches:
        latest = torch.add(x, branch(latest))
    return latest


def replaced(x, branches):
    return branches[-1](replaced(x, branches[:-1])) if branches else x


def returned_early(x, branches):
    for branch in branches:
        return x + branch(x)
    return x


def last_alone(x, branches):
    for branch in branches:
        out = x + branch(x)
    return out


def read_the_last_write(x, branches):
    writes = [x]
    for branch in branches:
        writes.append(branch(writes[-1]))
    return torch.stack(writes).sum(0)


def writes_alone(x, branches):
    total = torch.zeros_like(x)
    for branch in branches:
        write = branch(x)
        total = total + write
        x = x + write
    return total


def around_the_whole(x, branches):
    stream = [x]
    for branch in branches:
        stream.append(branch(stream[-1]))
    return stream[0] + stream[-1]


def one_by_one(x, branches):
    rows = []
    for vector in x:
        for branch in branches:
            vector = vector + branch(vector)
        rows.append(vector)
    return torch.stack(rows)


def flat(x, branches):
    vectors = x.flatten(0, -2)
    for branch in branches:
        vectors = vectors + branch(vectors)
    return vectors.view(x.shape)


def averaged(x, branches):
    for branch in branches:
        x = torch.stack([x, branch(x)]).mean(0)
    return x


def norm_with_squares(x, weight, bias, eps=1e-5):
    centered = x - x.mean(-1, keepdim=True)
    return centered * torch.rsqrt(centered.pow(2).mean(-1, keepdim=True) + eps) * weight + bias


def distance(x):
    return ((x - x.mean(-1, keepdim=True)) ** 2).mean(-1, keepdim=True)


def annotated(x, a_2, b_2, eps=1e-5):
    mean = x.mean(-1, keepdim=True)
    std = x.std(-1, keepdim=True)
    return a_2 * (x - mean) / (std + eps) + b_2


def gelu_by_exponentials(x):
    twice = torch.exp(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return 0.5 * x * (1 + (twice - 1) / (twice + 1))


def gelu_by_sigmoid(x):
    return x * torch.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))


class NamedOtherwise(nn.Module):
    def __init__(self, first_norm, gather, second_norm, think):
        super().__init__()
        self.gather = nn.Sequential(first_norm, gather)
        self.think = nn.Sequential(second_norm, think)

    def forward(self, x):
        after = self.gather(x) + x
        return self.think(after) + after


class Parts(nn.Module):
    def __init__(self, attention_norm, attention, mlp_norm, mlp):
        super().__init__()
        self.norms = nn.ModuleList([attention_norm, mlp_norm])
        self.branches = nn.ModuleList([attention, mlp])

    def forward(self, x):
        for norm, branch in zip(self.norms, self.branches, strict=True):
            x = x + branch(norm(x))
        return x


class Held(nn.Module):
    def __init__(self, attention_norm, attention, mlp_norm, mlp):
        super().__init__()
        self.branches = {"attention": (attention_norm, attention), "mlp": (mlp_norm, mlp)}

    def forward(self, x):
        for norm, branch in self.branches.values():
            x = branch(norm(x)) + x
        return x


class AroundBoth(Parts):
    def forward(self, x):
        written = x
        for norm, branch in zip(self.norms, self.branches, strict=True):
            written = branch(norm(written))
        return written + x


class Replacing(Parts):
    def forward(self, x):
        for norm, branch in zip(self.norms, self.branches, strict=True):
            x = branch(norm(x))
        return x


class PostNorm(Parts):
    def forward(self, x):
        for norm, branch in zip(self.norms, self.branches, strict=True):
            x = norm(x + branch(x))
        return x


class NormedStream(Parts):
    def forward(self, x):
        for norm, branch in zip(self.norms, self.branches, strict=True):
            x = norm(x)
            x = x + branch(x)
        return x


class Parallel(Parts):
    def forward(self, x):
        return x + sum(branch(norm(x)) for norm, branch in zip(self.norms, self.branches, strict=True))


class OneNorm(Parts):
    def forward(self, x):
        for branch in self.branches:
            x = x + branch(self.norms[0](x))
        return x


class MLPFirst(Parts):
    def forward(self, x):
        for position in (1, 0):
            x = x + self.branches[position](self.norms[position](x))
        return x


class NormedAnswers(Parts):
    def forward(self, x):
        for norm, branch in zip(self.norms, self.branches, strict=True):
            x = x + norm(branch(x))
        return x


class NoNorms(Parts):
    def forward(self, x):
        for branch in self.branches:
            x = x + branch(x)
        return x


class Swapped(Parts):
    def forward(self, x):
        for norm, branch in zip(reversed(self.norms), self.branches, strict=True):
            x = x + branch(norm(x))
        return x


class FromTheStart(Parts):
    def forward(self, x):
        gathered = x + self.branches[0](self.norms[0](x))
        return self.branches[1](self.norms[1](gathered)) + x


class InPlace(Parts):
    def forward(self, x):
        for norm, branch in zip(self.norms, self.branches, strict=True):
            x += branch(norm(x))
        return x


class NoSecondResidual(Parts):
    def forward(self, x):
        x = x + self.branches[0](self.norms[0](x))
        return self.branches[1](self.norms[1](x))


RIGHT = {
    "block.through_stack": [
        stack_from_the_top,
        lambda x, branches: functools.reduce(lambda stream, branch: stream + branch(stream), branches, x),
    ],
    "block.layer_norm": [
        norm_with_squares,
        lambda x, weight, bias, eps=1e-5: F.layer_norm(x, x.shape[-1:], weight, bias, eps),
    ],
    "block.gelu": [gelu_by_sigmoid, nn.GELU(approximate="tanh")],
    "block.PreNormBlock": [NamedOtherwise, Parts],
}

WRONG = {
    "block.through_stack": {
        "replaced": replaced,
        "around_the_whole": around_the_whole,
        "added_to_the_start": from_the_start,
        "read_the_start": all_read_the_start,
        "averaged": averaged,
        "returned_early": returned_early,
        "last_alone": last_alone,
        "read_the_last_write": read_the_last_write,
        "writes_alone": writes_alone,
        "writes_of_the_start": lambda x, branches: torch.stack([branch(x) for branch in branches]).sum(0),
        "one_by_one": one_by_one,
    },
    "block.layer_norm": {
        "over_first_dimension": lambda x, weight, bias, eps=1e-5: (
            (x - x.mean(0)) / (x.var(0, unbiased=False) + eps) ** 0.5 * weight + bias
        ),
        "over_positions": lambda x, weight, bias, eps=1e-5: (
            F.layer_norm(x.mT, x.shape[-2:-1], eps=eps).mT * weight + bias  # features and positions swapped
        ),
        "over_dim_1": lambda x, weight, bias, eps=1e-5: (
            F.layer_norm(x.transpose(1, -1), x.shape[1:2], eps=eps).transpose(1, -1) * weight + bias
        ),
        "over_everything": lambda x, weight, bias, eps=1e-5: (
            F.layer_norm(x, x.shape, eps=eps) * weight + bias
        ),
        "no_keepdim": lambda x, weight, bias, eps=1e-5: (
            (x - x.mean(-1)) / (x.std(-1, correction=0) ** 2 + eps) ** 0.5 * weight + bias
        ),
        "sample_variance": lambda x, weight, bias, eps=1e-5: (
            (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + eps).sqrt() * weight + bias
        ),
        "sample_deviation": annotated,
        "eps_outside": lambda x, weight, bias, eps=1e-5: (
            bias + weight * ((x - x.mean(-1, keepdim=True)) / (distance(x).sqrt() + eps))
        ),
        "eps_ignored": lambda x, weight, bias, eps=1e-5: F.layer_norm(x, x.shape[-1:], weight, bias),
        "no_root": lambda x, weight, bias, eps=1e-5: (
            bias + weight * ((x - x.mean(-1, keepdim=True)) / (distance(x) + eps))
        ),
        "rms_norm": lambda x, weight, bias, eps=1e-5: F.rms_norm(x, x.shape[-1:], weight, eps=eps) + bias,
        "not_scaled": lambda x, weight, bias, eps=1e-5: F.layer_norm(x, x.shape[-1:], eps=eps),
    },
    "block.gelu": {
        "relu": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
        "exact": lambda x: x * torch.distributions.Normal(0.0, 1.0).cdf(x),
        "sigmoid": lambda x: x / (1 + torch.exp(-1.702 * x)),
        "chance_alone": lambda x: torch.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)),
        "no_half": lambda x: 2 * F.gelu(x, approximate="tanh"),
        "no_one": lambda x: F.gelu(x, approximate="tanh") - 0.5 * x,
        "squared": lambda x: x * torch.sigmoid(2 * (2 / torch.pi) ** 0.5 * (x + 0.044715 * x.square())),
        "no_root": lambda x: x * torch.sigmoid(4 / torch.pi * (x + 0.044715 * x**3)),
        "root_of_two_alone": lambda x: x * torch.sigmoid(2 * 2**0.5 / torch.pi * (x + 0.044715 * x**3)),
        "factor_on_x_alone": lambda x: (
            0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * x + 0.044715 * x**3))
        ),
        "no_cube": lambda x: x * torch.sigmoid(2 * math.sqrt(2 / math.pi) * x),
    },
    "block.PreNormBlock": {
        "no_residual": Replacing,
        "no_second_residual": NoSecondResidual,
        "around_both": AroundBoth,
        "post_norm": PostNorm,
        "normed_stream": NormedStream,
        "normed_answers": NormedAnswers,
        "no_norms": NoNorms,
        "one_norm": OneNorm,
        "norms_swapped": Swapped,
        "parallel": Parallel,
        "from_the_start": FromTheStart,
        "not_found": Held,
    },
}

REFUSED = {
    "block.through_stack": {
        "in_place": stack_in_place,
        "backward": lambda x, branches: stack_from_the_top(x, branches[::-1]),
        "all_but_the_last": lambda x, branches: stack_from_the_top(x, branches[:-1]),
        "flat": flat,
    },
    "block.layer_norm": {
        "multiplied": lambda x, weight, bias, eps=1e-5: (
            weight * (x - x.mean(-1, keepdim=True)) * distance(x).sqrt() + bias
        ),
        "without_parentheses": lambda x, weight, bias, eps=1e-5: (
            weight * (x - x.mean(-1, keepdim=True) / distance(x).sqrt()) + bias
        ),
        "mean_stays": lambda x, weight, bias, eps=1e-5: x / (distance(x) + eps).sqrt() * weight + bias,
        "not_divided": lambda x, weight, bias, eps=1e-5: weight * (x - x.mean(-1, keepdim=True)) + bias,
        "no_eps": lambda x, weight, bias, eps=1e-5: F.layer_norm(x, x.shape[-1:], weight, bias, eps=0.0),
        "scaled_after_the_shift": lambda x, weight, bias, eps=1e-5: (
            weight * (F.layer_norm(x, x.shape[-1:], eps=eps) + bias)
        ),
    },
    "block.gelu": {
        "turned": lambda x: 0.5 * x * (1 - torch.tanh(0.7978846 * (x + 0.044715 * x**3))),
        "by_exponentials": gelu_by_exponentials,
    },
    "block.PreNormBlock": {
        "in_place": InPlace,
        "mlp_first": MLPFirst,
    },
}
