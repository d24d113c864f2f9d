"""Answers to the exercises on causal attention as readers write them, right and wrong."""

import torch
import torch.nn.functional as F


def mask_by_loop(n):
    mask = torch.zeros(n, n, dtype=torch.bool)
    for query in range(n):
        for key in range(query + 1):
            mask[query, key] = True
    return mask


def with_another_token(model, tokens, position):
    changed = tokens.clone()
    changed[0, position] = (changed[0, position] + 2) % model(tokens).shape[-1]
    return model(changed)


def leak_matrix(model, tokens):
    """(seq, seq): whether changing the token of a row moves the logits of a column."""
    before = model(tokens)
    rows = [
        ((with_another_token(model, tokens, position) - before).abs() > 1e-5).any(-1)[0]
        for position in range(tokens.shape[1])
    ]
    return torch.stack(rows)


def first_positions_alone(model, tokens):
    for position in range(1, tokens.shape[1]):
        before, after = model(tokens), with_another_token(model, tokens, position)
        if not torch.allclose(before[:, :position], after[:, :position], rtol=0, atol=1e-5):
            return True
    return False


def by_cutting(model, tokens):
    """Without what comes later, the logits before it are the same, unless somebody looked."""
    whole = model(tokens)
    return any((model(tokens[:, :n]) - whole[:, :n]).abs().max() > 1e-5 for n in range(1, tokens.shape[1]))


def changed_in_place(model, tokens):
    for position in range(1, tokens.shape[1]):
        changed = tokens
        changed[0, position] = (changed[0, position] + 1) % model(tokens).shape[-1]
        if not torch.equal(model(changed)[0, :position], model(tokens)[0, :position]):
            return True
    return False


def loss_by_loop(logits, tokens):
    batch, seq, _ = logits.shape
    surprises = [
        -logits[row, position].log_softmax(0)[tokens[row, position + 1]]
        for row in range(batch)
        for position in range(seq - 1)
    ]
    return sum(surprises) / len(surprises)


def always_token_0(model, tokens):
    before = model(tokens)
    for position in range(tokens.shape[1] - 1, 0, -1):
        other = tokens.clone()
        other[0, position] = 0
        if not torch.allclose(model(other)[0, :position], before[0, :position], rtol=0, atol=1e-5):
            return True
    return False


def returned_too_early(model, tokens):
    before = model(tokens)
    for position in range(1, tokens.shape[1]):
        after = with_another_token(model, tokens, position)
        return not torch.allclose(before[:, :position], after[:, :position], rtol=0, atol=1e-5)
    return False


def exactly_equal(model, tokens):
    before = model(tokens)
    return any(
        not torch.equal(with_another_token(model, tokens, position)[:, :position], before[:, :position])
        for position in range(1, tokens.shape[1])
    )


def only_rises(model, tokens):
    before = model(tokens)
    return any(
        (with_another_token(model, tokens, position) - before)[:, :position].max() > 1e-5
        for position in range(1, tokens.shape[1])
    )


def random_token(model, tokens):
    before = model(tokens)
    for position in range(1, tokens.shape[1]):
        changed = tokens.clone()
        changed[0, position] = torch.randint(before.shape[-1], (1,))
        if (model(changed) - before)[:, :position].abs().max() > 1e-5:
            return True
    return False


def looked_at(
    model,
    tokens,
    watched=lambda moved, position: moved[:, :position],
    size=lambda moved: moved.abs().max(),
    above=1e-5,
    other=lambda tokens, position, vocab: (tokens[0, position] + 1) % vocab,
):
    """The test for leaks, with what it watches, its measure of a change and the token that it puts in."""
    before = model(tokens)
    for position in range(1, tokens.shape[1]):
        changed = tokens.clone()
        changed[0, position] = other(tokens, position, before.shape[-1])
        if size(watched(model(changed) - before, position)) > above:
            return True
    return False


def looking(**ways):
    return lambda model, tokens: looked_at(model, tokens, **ways)


def changed_ever_more(model, tokens):
    before = model(tokens)
    for position in range(1, tokens.shape[1]):
        tokens[0, position] = (tokens[0, position] + 2) % before.shape[-1]
        if not torch.allclose(model(tokens)[:, :position], before[:, :position], rtol=0, atol=1e-5):
            return True
    return False


def close_by_default(model, tokens):
    """torch.allclose allows for a part of the size of each number."""
    before = model(tokens)
    return not all(
        torch.allclose(
            before[:, :position], with_another_token(model, tokens, position)[:, :position], atol=1e-5
        )
        for position in range(1, tokens.shape[1])
    )


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
        first_positions_alone,
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
        "weights": lambda n: mask_by_loop(n) / mask_by_loop(n).sum(dim=-1, keepdim=True),
        "as_bias": lambda n: torch.where(mask_by_loop(n), 0.0, float("-inf")),
        "everything": lambda n: torch.full((n, n), True),
        "only_itself": lambda n: torch.arange(n)[:, None] == torch.arange(n),
    },
    "causal.mask_as_bias": {
        "infinity_times_mask": lambda mask: float("-inf") * mask.float(),
        "zero_times_infinity": lambda mask: ~mask * float("-inf"),
        "ones_and_zeros": lambda mask: torch.where(mask, 1.0, 0.0),
        "turned": lambda mask: torch.where(mask, float("-inf"), 0.0),
        "not_kept": lambda mask: 0.0 * mask,
        "always_causal": lambda mask: torch.where(torch.ones_like(mask).tril(), 0.0, float("-inf")),
        "a_large_number": lambda mask: -1e9 * (1 - mask.float()),
        "one_for_visible": lambda mask: torch.where(mask, 1.0, float("-inf")),
        "minus_one": lambda mask: -(~mask).float(),
        "square": lambda mask: torch.full((mask.shape[-1],) * 2, float("-inf")).masked_fill(mask, 0.0),
        "ten_thousand": lambda mask: torch.where(mask, 0.0, -1e4),
        "plus_infinity": lambda mask: torch.where(mask, 0.0, float("inf")),
    },
    "causal.sees_the_future": {
        "only_one_token": returned_too_early,
        "never": changed_in_place,
        "not_cloned": changed_ever_more,
        "with_itself": lambda model, tokens: leak_matrix(model, tokens).any().item(),
        "same_token": always_token_0,
        "beyond_the_vocabulary": looking(other=lambda tokens, position, _: tokens[0, position] + 1),
        "without_abs": only_rises,
        "no_tolerance": exactly_equal,
        "relative_tolerance": close_by_default,
        "only_the_last_token": lambda model, tokens: leak_matrix(model, tokens)[-1, :-1].any().item(),
        "only_the_neighbor": lambda model, tokens: leak_matrix(model, tokens).diagonal(-1).any().item(),
        "turned": lambda model, tokens: not first_positions_alone(model, tokens),
    },
    "causal.next_token_loss": {
        "not_shifted": lambda logits, tokens: F.cross_entropy(logits.transpose(1, 2), tokens),
        "both_cut_at_the_end": lambda logits, tokens: F.cross_entropy(
            logits[:, :-1].transpose(1, 2), tokens[:, :-1]
        ),
        "both_cut_at_the_front": lambda logits, tokens: F.cross_entropy(
            logits[:, 1:].transpose(1, 2), tokens[:, 1:]
        ),
        "not_flattened": lambda logits, tokens: F.cross_entropy(logits[:, :-1, :], tokens[:, 1:].clone()),
        "across_texts": lambda logits, tokens: F.cross_entropy(
            logits.reshape(-1, logits.shape[-1])[:-1], tokens.reshape(-1)[1:]
        ),
        "wrapped": lambda logits, tokens: F.cross_entropy(
            logits.transpose(1, 2), torch.cat([tokens[:, 1:], tokens[:, :1]], dim=1)
        ),
        "padded": lambda logits, tokens: F.cross_entropy(
            logits.transpose(1, 2), torch.cat([tokens[:, 1:], torch.zeros_like(tokens[:, :1])], dim=1)
        ),
        "backwards": lambda logits, tokens: F.cross_entropy(logits[:, 1:].transpose(1, 2), tokens[:, :-1]),
        "only_the_first_text": lambda logits, tokens: loss_by_loop(logits[:1], tokens[:1]),
        "softmax_twice": lambda logits, tokens: F.cross_entropy(
            logits.softmax(-1)[:, :-1].transpose(1, 2), tokens[:, 1:]
        ),
        "summed": lambda logits, tokens: loss_by_loop(logits, tokens) * tokens[:, 1:].numel(),
        "only_the_last": lambda logits, tokens: loss_by_loop(logits[:, -2:], tokens[:, -2:]),
    },
}


REFUSED = {
    "causal.sees_the_future": {
        "only_position_0": looking(watched=lambda moved, _: moved[:, :1]),
        "only_later_positions": looking(watched=lambda moved, position: moved[:, position:]),
        "positions_for_logits": looking(watched=lambda moved, position: moved[:, :, :position]),
        "only_the_first_logit": looking(watched=lambda moved, position: moved[:, :position, 0]),
        "large_ones": looking(size=lambda moved: moved.abs().mean() / 1000),
        "on_average": looking(size=lambda moved: moved.abs().mean()),
        "on_average_over_logits": looking(size=lambda moved: moved.abs().mean(dim=-1).max()),
        "above_a_thousandth": looking(above=1e-3),
        "above_a_ten_thousandth": looking(above=1e-4),
        "all_of_them": looking(size=lambda moved: float((moved.abs() > 1e-5).all())),
        "all_positions": looking(size=lambda moved: float((moved.abs() > 1e-5).any(dim=-1).all())),
        "what_cancels": looking(size=lambda moved: moved.sum().abs()),
        "downward_alone": looking(size=lambda moved: -moved.min()),
        "a_random_token": random_token,
        "always_the_last_token": looking(other=lambda tokens, position, vocab: vocab - 1),
        "the_token_before": looking(other=lambda tokens, position, _: tokens[0, position - 1]),
        "the_first_token": looking(other=lambda tokens, position, _: tokens[0, 0]),
        "always": lambda model, tokens: True,
    },
    "causal.next_token_loss": {
        "sign": lambda logits, tokens: -loss_by_loop(logits, tokens),
    },
}
