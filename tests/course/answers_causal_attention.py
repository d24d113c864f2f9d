"""Answers to the exercises on causal attention as readers write them, right and wrong."""

import torch
import torch.nn.functional as F


def mask_by_loop(n):
    mask = torch.zeros(n, n, dtype=torch.bool)
    for query in range(n):
        for key in range(query + 1):
            mask[query, key] = True
    return mask


def with_another_token(model, tokens, place):
    changed = tokens.clone()
    changed[0, place] = (changed[0, place] + 2) % model(tokens).shape[-1]
    return model(changed)


def leak_matrix(model, tokens):
    """(seq, seq): whether changing the token of a row moves the logits of a column."""
    before = model(tokens)
    rows = [
        ((with_another_token(model, tokens, place) - before).abs() > 1e-5).any(-1)[0]
        for place in range(tokens.shape[1])
    ]
    return torch.stack(rows)


def first_places_alone(model, tokens):
    for place in range(1, tokens.shape[1]):
        before, after = model(tokens), with_another_token(model, tokens, place)
        if not torch.allclose(before[:, :place], after[:, :place], rtol=0, atol=1e-5):
            return True
    return False


def by_cutting(model, tokens):
    """Without what comes later, the logits before it are the same, unless somebody looked."""
    whole = model(tokens)
    return any((model(tokens[:, :n]) - whole[:, :n]).abs().max() > 1e-5 for n in range(1, tokens.shape[1]))


def changed_in_place(model, tokens):
    for place in range(1, tokens.shape[1]):
        changed = tokens
        changed[0, place] = (changed[0, place] + 1) % 6
        if not torch.equal(model(changed)[0, :place], model(tokens)[0, :place]):
            return True
    return False


def loss_by_loop(logits, tokens):
    batch, seq, _ = logits.shape
    surprises = [
        -logits[row, place].log_softmax(0)[tokens[row, place + 1]]
        for row in range(batch)
        for place in range(seq - 1)
    ]
    return sum(surprises) / len(surprises)


def always_token_0(model, tokens):
    before = model(tokens)
    for place in range(tokens.shape[1] - 1, 0, -1):
        other = tokens.clone()
        other[0, place] = 0
        if not torch.allclose(model(other)[0, :place], before[0, :place], rtol=0, atol=1e-5):
            return True
    return False


RIGHT = {
    "attention.causal_mask": [
        mask_by_loop,
        lambda n: torch.arange(n)[:, None] >= torch.arange(n),
        lambda n: ~torch.triu(torch.ones(n, n), diagonal=1).bool(),
    ],
    "causal.mask_as_bias": [
        lambda mask: mask.float().log(),
        lambda mask: torch.where(mask, 0.0, float("-inf")),
    ],
    "causal.sees_the_future": [
        first_places_alone,
        lambda model, tokens: leak_matrix(model, tokens).tril(-1).any(),
        by_cutting,
    ],
    "causal.next_token_loss": [
        loss_by_loop,
        lambda logits, tokens: F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:]),
        lambda logits, tokens: F.nll_loss(
            logits.log_softmax(-1)[:, :-1].reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1)
        ),
    ],
}

WRONG = {
    "attention.causal_mask": {
        "swapped": lambda n: mask_by_loop(n).T,
        "without_diagonal": lambda n: torch.arange(n)[:, None] > torch.arange(n),
        "hidden": lambda n: ~mask_by_loop(n),
        "one_ahead": lambda n: torch.arange(n)[:, None] + 1 >= torch.arange(n),
        "numbers": lambda n: mask_by_loop(n).float(),
    },
    "causal.mask_as_bias": {
        "zero_times_infinity": lambda mask: ~mask * float("-inf"),
        "turned": lambda mask: torch.where(mask, float("-inf"), 0.0),
        "ones_and_zeros": lambda mask: torch.where(mask, 1.0, 0.0),
        "one_for_visible": lambda mask: torch.where(mask, 1.0, float("-inf")),
        "a_large_number": lambda mask: -1e9 * (1 - mask.float()),
    },
    "causal.sees_the_future": {
        "with_itself": lambda model, tokens: leak_matrix(model, tokens).any().item(),
        "only_the_last_token": lambda model, tokens: leak_matrix(model, tokens)[-1, :-1].any().item(),
        "only_the_neighbor": lambda model, tokens: leak_matrix(model, tokens).diagonal(-1).any().item(),
        "never": changed_in_place,
        "turned": lambda model, tokens: not first_places_alone(model, tokens),
        "same_token": always_token_0,
    },
    "causal.next_token_loss": {
        "not_shifted": lambda logits, tokens: F.cross_entropy(logits.transpose(1, 2), tokens),
        "backwards": lambda logits, tokens: F.cross_entropy(logits[:, 1:].transpose(1, 2), tokens[:, :-1]),
        "wrapped": lambda logits, tokens: F.cross_entropy(
            logits.transpose(1, 2), torch.cat([tokens[:, 1:], tokens[:, :1]], dim=1)
        ),
        "only_the_last": lambda logits, tokens: loss_by_loop(logits[:, -2:], tokens[:, -2:]),
        "summed": lambda logits, tokens: F.cross_entropy(
            logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="sum"
        ),
        "not_flattened": lambda logits, tokens: F.cross_entropy(logits[:, :-1, :], tokens[:, 1:].clone()),
    },
}


def looked_at(
    model, tokens, places=lambda moved, place: moved[:, :place], size=lambda moved: moved.abs().max()
):
    """The test for leaks, with its watched places and its measure of a change."""
    before = model(tokens)
    for place in range(1, tokens.shape[1]):
        changed = tokens.clone()
        changed[0, place] = (tokens[0, place] + 1) % before.shape[-1]
        if size(places(model(changed) - before, place)) > 1e-5:
            return True
    return False


REFUSED = {
    "causal.sees_the_future": {
        "only_place_0": lambda model, tokens: looked_at(model, tokens, places=lambda moved, _: moved[:, :1]),
        "any_difference": lambda model, tokens: looked_at(
            model, tokens, size=lambda moved: (moved != 0).any().float()
        ),
        "large_ones": lambda model, tokens: looked_at(
            model, tokens, size=lambda moved: moved.abs().mean() / 1000
        ),
        "upward_alone": lambda model, tokens: looked_at(model, tokens, size=lambda moved: moved.max()),
    },
}
