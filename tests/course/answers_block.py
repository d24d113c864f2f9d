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
        lambda x, weight, bias: F.layer_norm(x, x.shape[-1:], weight, bias),
    ],
    "block.gelu": [gelu_by_sigmoid, nn.GELU(approximate="tanh")],
    "block.PreNormBlock": [NamedOtherwise, Parts],
}

WRONG = {
    "block.through_stack": {
        "replaced": replaced,
        "added_to_the_start": from_the_start,
        "read_the_start": all_read_the_start,
        "averaged": averaged,
        "returned_early": returned_early,
        "last_alone": last_alone,
        "read_the_last_write": read_the_last_write,
        "writes_alone": writes_alone,
        "writes_of_the_start": lambda x, branches: torch.stack([branch(x) for branch in branches]).sum(0),
    },
    "block.layer_norm": {
        "over_first_dimension": lambda x, weight, bias: (
            (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5) ** 0.5 * weight + bias
        ),
        "over_positions": lambda x, weight, bias: (
            F.layer_norm(x.mT, x.shape[-2:-1]).mT * weight + bias  # the positions take the features' turn
        ),
        "sample_variance": lambda x, weight, bias: (
            (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt() * weight + bias
        ),
        "sample_deviation": annotated,
        "eps_outside": lambda x, weight, bias: (
            bias + weight * ((x - x.mean(-1, keepdim=True)) / (distance(x).sqrt() + 1e-5))
        ),
        "no_root": lambda x, weight, bias: (
            bias + weight * ((x - x.mean(-1, keepdim=True)) / (distance(x) + 1e-5))
        ),
        "not_divided": lambda x, weight, bias: torch.addcmul(bias, x - x.mean(dim=-1, keepdim=True), weight),
        "rms_norm": lambda x, weight, bias: F.rms_norm(x, x.shape[-1:], weight, eps=1e-5) + bias,
        "not_scaled": lambda x, weight, bias: F.layer_norm(x, x.shape[-1:]),
    },
    "block.gelu": {
        "relu": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
        "exact": lambda x: x * torch.distributions.Normal(0.0, 1.0).cdf(x),
        "sigmoid": lambda x: x / (1 + torch.exp(-1.702 * x)),
        "chance_alone": lambda x: torch.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)),
        "no_half": lambda x: 2 * F.gelu(x, approximate="tanh"),
        "squared": lambda x: x * torch.sigmoid(2 * (2 / torch.pi) ** 0.5 * (x + 0.044715 * x.square())),
        "no_root": lambda x: x * torch.sigmoid(4 / torch.pi * (x + 0.044715 * x**3)),
        "factor_on_x_alone": lambda x: (
            0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * x + 0.044715 * x**3))
        ),
        "no_cube": lambda x: x * torch.sigmoid(2 * math.sqrt(2 / math.pi) * x),
    },
    "block.PreNormBlock": {
        "no_residual": Replacing,
        "post_norm": PostNorm,
        "normed_stream": NormedStream,
        "normed_answers": NormedAnswers,
        "no_norms": NoNorms,
        "one_norm": OneNorm,
        "norms_swapped": Swapped,
        "parallel": Parallel,
        "from_the_start": FromTheStart,
    },
}

REFUSED = {
    "block.through_stack": {
        "in_place": stack_in_place,
        "backward": lambda x, branches: stack_from_the_top(x, branches[::-1]),
        "all_but_the_last": lambda x, branches: stack_from_the_top(x, branches[:-1]),
    },
    "block.layer_norm": {
        "multiplied": lambda x, weight, bias: (
            weight * (x - x.mean(-1, keepdim=True)) * distance(x).sqrt() + bias
        ),
        "without_parentheses": lambda x, weight, bias: (
            weight * (x - x.mean(-1, keepdim=True) / distance(x).sqrt()) + bias
        ),
        "mean_stays": lambda x, weight, bias: x / (distance(x) + 1e-5).sqrt() * weight + bias,
        "no_eps": lambda x, weight, bias: F.layer_norm(x, x.shape[-1:], weight, bias, eps=0.0),
        "all_numbers_together": lambda x, weight, bias: F.layer_norm(x, x.shape) * weight + bias,
        "scaled_after_the_shift": lambda x, weight, bias: weight * (F.layer_norm(x, x.shape[-1:]) + bias),
    },
    "block.gelu": {"turned": lambda x: 0.5 * x * (1 - torch.tanh(0.7978846 * (x + 0.044715 * x**3)))},
    "block.PreNormBlock": {
        "in_place": InPlace,
        "mlp_first": MLPFirst,
        "no_second_residual": NoSecondResidual,
    },
}
