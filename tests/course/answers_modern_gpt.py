"""Answers to the exercises on the modern GPT as readers write them, right and wrong."""

import torch
from torch import nn
from torch.nn import functional as F


def rms_norm_by_loop(x, weight, eps=1e-5):
    rows = []
    for row in x.reshape(-1, x.shape[-1]):
        size = (sum(number**2 for number in row) / len(row) + eps) ** 0.5
        rows.append(row / size * weight)
    return torch.stack(rows).reshape(x.shape)


def silu(x):
    return x / (1 + torch.exp(-x))


def swiglu_by_functions(x, gate, up, down):
    return F.linear(silu(F.linear(x, gate)) * F.linear(x, up), down)


def swiglu_by_einsum(x, gate, up, down):
    opens = nn.SiLU()(torch.einsum("...d,md->...m", x, gate))
    return torch.einsum("...m,dm->...d", opens * torch.einsum("...d,md->...m", x, up), down)


def share_by_loop(x, n_heads):
    group = n_heads // x.shape[1]
    return torch.stack([x[:, head // group] for head in range(n_heads)], dim=1)


def share_by_expanding(x, n_heads):
    batch, kv_heads, n_keys, d_head = x.shape
    x = x[:, :, None].expand(batch, kv_heads, n_heads // kv_heads, n_keys, d_head)
    return x.reshape(batch, n_heads, n_keys, d_head)


def window_mask_by_loop(n, window):
    return torch.tensor([[query - window < key <= query for key in range(n)] for query in range(n)])


def band(n, window):
    return torch.ones(n, n, dtype=torch.bool).tril().triu(1 - window)


def route_by_loop(probabilities, n_active):
    gates = torch.zeros_like(probabilities)
    for row, gate in zip(
        probabilities.reshape(-1, probabilities.shape[-1]), gates.view(-1, gates.shape[-1]), strict=True
    ):
        best = row.argsort(descending=True)[:n_active]
        gate[best] = row[best] / row[best].sum()
    return gates


def kept(probabilities, n_active):
    """The probabilities of those chosen, by a threshold."""
    lowest = probabilities.sort(dim=-1, descending=True).values[..., n_active - 1 : n_active]
    return torch.where(probabilities >= lowest, probabilities, 0.0)


def route_by_threshold(probabilities, n_active):
    gates = kept(probabilities, n_active)
    return gates / gates.sum(-1, keepdim=True)


def least(probabilities, n_active):
    highest = probabilities.sort(dim=-1).values[..., n_active - 1 : n_active]
    gates = torch.where(probabilities <= highest, probabilities, 0.0)
    return gates / gates.sum(-1, keepdim=True)


def window_by_blocks(n, window):
    return torch.tensor(
        [[key <= query and key >= query - query % window for key in range(n)] for query in range(n)]
    )


RIGHT = {
    "modern.rms_norm": [
        rms_norm_by_loop,
        lambda x, weight, eps=1e-5: F.rms_norm(x, weight.shape, weight, eps),
        lambda x, weight, eps=1e-5: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight,
    ],
    "modern.swiglu": [swiglu_by_functions, swiglu_by_einsum],
    "modern.share": [share_by_loop, share_by_expanding],
    "modern.window_mask": [window_mask_by_loop, band],
    "modern.route": [route_by_loop, route_by_threshold],
}

WRONG = {
    "modern.rms_norm": {
        "mean_removed": lambda x, weight, eps=1e-5: F.layer_norm(x, weight.shape, weight, None, eps),
        "no_root": lambda x, weight, eps=1e-5: weight * x / (x * x + eps).mean(-1, keepdim=True),
        "length": lambda x, weight, eps=1e-5: weight * x * (x.norm(dim=-1, keepdim=True) ** 2 + eps) ** -0.5,
        "no_weight": lambda x, weight, eps=1e-5: F.rms_norm(x, weight.shape, None, eps),
        "over_everything": lambda x, weight, eps=1e-5: (
            x * torch.rsqrt((x * x).sum() / x.numel() + eps) * weight
        ),
    },
    "modern.swiglu": {
        "other_gate": lambda x, gate, up, down: F.linear(F.linear(x, gate) * silu(F.linear(x, up)), down),
        "both_bent": lambda x, gate, up, down: F.linear(
            silu(F.linear(x, gate)) * silu(F.linear(x, up)), down
        ),
        "sigmoid": lambda x, gate, up, down: F.linear(F.linear(x, gate).sigmoid() * F.linear(x, up), down),
        "added": lambda x, gate, up, down: F.linear(silu(F.linear(x, gate)) + F.linear(x, up), down),
        "gelu": lambda x, gate, up, down: F.linear(nn.GELU()(F.linear(x, gate)) * F.linear(x, up), down),
    },
    "modern.share": {
        "tiled": lambda x, n_heads: torch.cat([x] * (n_heads // x.shape[1]), dim=1),
        "keys_repeated": lambda x, n_heads: torch.stack([x] * (n_heads // x.shape[1]), dim=3).flatten(2, 3),
        "first_head_for_all": lambda x, n_heads: torch.stack([x[:, 0]] * n_heads, dim=1),
        "n_heads_each": lambda x, n_heads: torch.stack([x] * n_heads, dim=2).flatten(1, 2),
    },
    "modern.window_mask": {
        "one_too_many": lambda n, window: band(n, window + 1),
        "both_sides": lambda n, window: band(n, window) | band(n, window).T,
        "not_itself": lambda n, window: band(n, window + 1) & ~torch.eye(n, dtype=torch.bool),
        "blocks": window_by_blocks,
        "no_window": lambda n, window: torch.ones(n, n).tril() == 1,
        "hidden": lambda n, window: ~band(n, window),
    },
    "modern.route": {
        "not_shared_anew": kept,
        "softmax_again": lambda probabilities, n_active: (
            torch.where(kept(probabilities, n_active) > 0, probabilities.exp(), 0.0)
            / torch.where(kept(probabilities, n_active) > 0, probabilities.exp(), 0.0).sum(-1, keepdim=True)
        ),
        "equal_shares": lambda probabilities, n_active: (kept(probabilities, n_active) > 0) / n_active,
        "all_of_them": lambda probabilities, n_active: probabilities / probabilities.sum(-1, keepdim=True),
        "only_the_best": lambda probabilities, n_active: F.one_hot(
            probabilities.argmax(-1), probabilities.shape[-1]
        ).float(),
        "smallest": least,
    },
}
