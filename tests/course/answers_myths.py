"""Answers to the exercises on myths as readers write them, right and wrong."""

import torch


def thumb(n_layers, d, vocab, attention=4, mlp=8, tables=1, power=2):
    return n_layers * (attention + mlp) * d**power + tables * d * vocab


def count_with_nonlocal(model, run):
    n = 0

    def hook(module, inputs, output):
        nonlocal n
        n += 1

    handle = model.register_forward_hook(hook)
    try:
        run()
    finally:
        handle.remove()
    return n


def count_before(model, run):
    starts = []
    with_hook = model.register_forward_pre_hook(lambda module, inputs: starts.append(inputs))
    run()
    with_hook.remove()
    return len(starts)


def count_parts(model, run):
    calls = [0]

    def hook(module, inputs, output):
        calls[0] += 1

    hooks = [part.register_forward_hook(hook) for _, part in model.named_modules()]
    run()
    [part.remove() for part in hooks]
    return calls[0]


def count_tokens(model, run):
    total = 0

    def hook(module, inputs, output):
        nonlocal total
        total += output.shape[0] * output.shape[1]

    handle = model.register_forward_hook(hook)
    run()
    handle.remove()
    return total


def count_and_leave(model, run):
    seen = []
    model.register_forward_hook(lambda module, inputs, output: seen.append(output))
    run()
    return len(seen)


def count_one(model, run):
    result = [run()]
    return len(result)


def removed_by_mask(weights, key):
    keep = torch.ones_like(weights)
    keep[..., -1, key] = 0
    kept = weights * keep
    return kept / kept.sum(-1, keepdim=True)


def removed_by_rows(weights, key):
    result = weights.clone()
    for batch in range(weights.shape[0]):
        for head in range(weights.shape[1]):
            row = weights[batch, head, -1]
            result[batch, head, -1] = row / (1 - row[key])
            result[batch, head, -1, key] = 0
    return result


def masked(weights, key, rows):
    keep = torch.ones_like(weights)
    keep[:, :, rows, key] = 0
    return weights * keep


def row_cleared(weights, key):
    keep = torch.ones(weights.shape[-2])
    keep[key] = 0
    return weights * keep[:, None]


def softmaxed(weights, key):
    changed = masked(weights, key, -1)
    return torch.cat([changed[:, :, :-1], torch.softmax(changed[:, :, -1:], -1)], dim=2)


def continued(model, tokens, prefix):
    right = 0
    for text in tokens:
        written = text[:prefix]
        while len(written) < len(text):
            with torch.no_grad():
                written = torch.cat([written, model(written[None])[0, -1].argmax()[None]])
        right += bool((written == text).all())
    return right / len(tokens)


def counted(model, tokens, prefix):
    guesses = model(tokens).argmax(-1)
    wrong = (guesses[:, prefix - 1 : -1] != tokens[:, prefix:]).sum(1)
    return ((wrong == 0).sum() / len(tokens)).item()


def all_right(model, tokens, start):
    return (model(tokens).argmax(-1)[:, start - 1 : -1] == tokens[:, start:]).all(-1).float().mean().item()


RIGHT = {
    "myths.rule_of_thumb": [thumb, lambda n, d, v: d * (v + 12 * n * d)],
    "myths.count_passes": [count_with_nonlocal, count_before],
    "myths.without_key": [removed_by_mask, removed_by_rows],
    "myths.told_by_heart": [continued, counted],
}

WRONG = {
    "myths.rule_of_thumb": {
        "no_mlp": lambda n, d, v: thumb(n, d, v, mlp=0),
        "no_attention": lambda n, d, v: thumb(n, d, v, attention=0),
        "no_table": lambda n, d, v: thumb(n, d, v, tables=0),
        "table_twice": lambda n, d, v: thumb(n, d, v, tables=2),
        "not_squared": lambda n, d, v: thumb(n, d, v, power=1),
    },
    "myths.count_passes": {
        "every_part": count_parts,
        "tokens": count_tokens,
        "hook_left": count_and_leave,
        "one_run": count_one,
    },
    "myths.without_key": {
        "not_rescaled": lambda weights, key: masked(weights, key, -1),
        "every_query": lambda weights, key: (
            masked(weights, key, slice(None)) / masked(weights, key, slice(None)).sum(-1, keepdim=True)
        ),
        "query_removed": row_cleared,
        "softmax_again": softmaxed,
        "first_key": lambda weights, key: removed_by_mask(weights, key - 1),
    },
    "myths.told_by_heart": {
        "share_of_tokens": lambda model, tokens, prefix: (
            (model(tokens).argmax(-1)[:, prefix - 1 : -1] == tokens[:, prefix:]).double().mean().item()
        ),
        "prefix_too": lambda model, tokens, prefix: all_right(model, tokens, 1),
        "not_moved": lambda model, tokens, prefix: (
            (model(tokens).argmax(-1) == tokens)[:, prefix:].all(-1).float().mean().item()
        ),
        "last_token_alone": lambda model, tokens, prefix: (
            (model(tokens)[:, -2].argmax(-1) == tokens[:, -1]).float().mean().item()
        ),
        "one_too_late": lambda model, tokens, prefix: all_right(model, tokens, prefix + 1),
    },
}
