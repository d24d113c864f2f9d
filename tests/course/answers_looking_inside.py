"""Answers to the exercises on looking inside as readers write them, right and wrong."""

import torch
import torch.nn.functional as F


def head_masked(heads, head):
    keep = torch.ones(heads.shape[2])
    keep[head] = 0
    return heads * keep[:, None]


def head_stacked(heads, head):
    parts = list(heads.unbind(dim=2))
    parts[head] = torch.zeros_like(parts[head])
    return torch.stack(parts, dim=2)


def zero_at(dim):
    def answer(heads, head):
        heads = heads.clone()
        heads.select(dim, head).zero_() if head < heads.shape[dim] else None
        return heads

    return answer


def others_at_zero(heads, head):
    kept = torch.zeros_like(heads)
    kept[:, :, head] = heads[:, :, head]
    return kept


def read_fused(stream, weight, bias, table):
    return F.linear(F.layer_norm(stream, weight.shape, weight, bias), table)


def read_by_loop(stream, weight, bias, table):
    rows = []
    for x in stream:
        x = x - sum(x) / len(x)
        x = weight * x / (x.pow(2).mean() + 1e-5) ** 0.5 + bias
        rows.append(torch.stack([x @ row for row in table]))
    return torch.stack(rows)


def head_by_head(outputs, projection, reader):
    pieces = projection.chunk(len(outputs), dim=1)
    return torch.stack([reader @ (piece @ output) for piece, output in zip(pieces, outputs, strict=True)])


def read_first(outputs, projection, reader):
    return (outputs * (reader @ projection).view_as(outputs)).sum(1)


def logit_difference(logits, right, wrong):
    return float(logits[right]) - float(logits[wrong])


def way_in_floats(patched, clean, corrupted, right, wrong):
    a, b, c = (logit_difference(x, right, wrong) for x in (corrupted, patched, clean))
    return (b - a) / (c - a)


def way_in_tensors(patched, clean, corrupted, right, wrong):
    now, top, bottom = (
        torch.stack([patched, clean, corrupted])
        @ F.one_hot(torch.tensor([right, wrong]), len(clean)).float().T
    ).diff(dim=1)
    return (now - bottom).squeeze() / (top - bottom).squeeze()


def induction_by_matrix(weights, tokens):
    ids = torch.tensor(tokens)
    came_after = torch.zeros(len(ids), len(ids))
    came_after[:, 1:] = (ids[:, None] == ids[None, :-1]).float()
    came_after = came_after.tril()  # keys up to the query: copies before it
    has = came_after.sum(1) > 0
    return (weights * came_after).sum(1)[has].mean()


def by_loop(offset, start=0, every=False):
    def answer(weights, tokens):
        total, n = 0.0, 0
        for q in range(len(tokens)):
            copies = [k for k in range(q) if tokens[k] == tokens[q]]
            keys = [k + offset for k in copies[start:] if 0 <= k + offset < len(tokens)]
            if copies or every:
                n += 1
                total = total + sum(weights[q][key] for key in keys)
        return total / n

    return answer


RIGHT = {
    "tracing.without_head": [head_masked, head_stacked],
    "inspecting.read_early": [read_fused, read_by_loop],
    "inspecting.head_logits": [head_by_head, read_first],
    "inspecting.way_back": [way_in_floats, way_in_tensors],
    "roles.induction_score": [induction_by_matrix, by_loop(1)],
}

WRONG = {
    "tracing.without_head": {
        "position": zero_at(1),
        "left_out": lambda heads, head: heads[:, :, [h for h in range(heads.shape[2]) if h != head]],
        "the_others": others_at_zero,
        "all_heads": lambda heads, head: heads * 0,
        "untouched": lambda heads, head: heads.clone(),
    },
    "inspecting.read_early": {
        "no_norm": lambda stream, weight, bias, table: F.linear(stream, table),
        "no_scale_and_shift": lambda stream, weight, bias, table: (
            F.layer_norm(stream, weight.shape) @ table.T
        ),
        "over_positions": lambda stream, weight, bias, table: (
            (F.layer_norm(stream.T, stream.T.shape[1:]).T * weight + bias) @ table.T
        ),
        "softmaxed": lambda *inputs: F.softmax(read_fused(*inputs), dim=1),
        "last_position": lambda stream, weight, bias, table: read_fused(stream[-1], weight, bias, table),
    },
    "inspecting.head_logits": {
        "rows": lambda outputs, projection, reader: torch.stack(
            [reader @ (rows.T @ o) for rows, o in zip(projection.chunk(len(outputs)), outputs, strict=True)]
        ),
        "interleaved": lambda outputs, projection, reader: torch.stack(
            [reader @ (projection[:, h :: len(outputs)] @ outputs[h]) for h in range(len(outputs))]
        ),
        "summed": lambda outputs, projection, reader: reader @ (projection @ outputs.flatten()),
        "lengths": lambda outputs, projection, reader: torch.stack(
            [(piece @ o).norm() for piece, o in zip(projection.chunk(len(outputs), 1), outputs, strict=True)]
        ),
        "no_projection": lambda outputs, projection, reader: torch.stack(
            [o @ r for o, r in zip(outputs, reader.chunk(len(outputs)), strict=True)]
        ),
    },
    "inspecting.way_back": {
        "upside_down": lambda patched, clean, corrupted, *two: way_in_floats(patched, corrupted, clean, *two),
        "no_start": lambda patched, clean, corrupted, *two: (
            logit_difference(patched, *two) / logit_difference(clean, *two)
        ),
        "right_alone": lambda patched, clean, corrupted, right, wrong: (
            float(patched[right] - corrupted[right]) / float(clean[right] - corrupted[right])
        ),
        "probabilities": lambda patched, clean, corrupted, *two: way_in_floats(
            *(F.softmax(logits, dim=0) for logits in (patched, clean, corrupted)), *two
        ),
        "not_a_share": lambda patched, clean, corrupted, *two: (
            logit_difference(patched, *two) - logit_difference(corrupted, *two)
        ),
    },
    "roles.induction_score": {
        "the_copy": by_loop(0),
        "one_before": by_loop(-1),
        "all_queries": by_loop(1, every=True),
        "last_copy_alone": by_loop(1, start=-1),
        "summed": lambda weights, tokens: (
            by_loop(1)(weights, tokens) * sum(t in tokens[:q] for q, t in enumerate(tokens))
        ),
    },
}
