"""Answers to the exercises on positions as readers write them, right and wrong."""

import math

import torch


def near(one, other):
    return bool((one - other).abs().max() < 1e-4)


def by_a_matrix(layer, x, order):
    shuffle = torch.eye(len(x))[order]
    return near(layer(shuffle @ x), shuffle @ layer(x))


def places_by_loop(x, table, start):
    output = x.clone()
    for place in range(x.shape[1]):
        output[:, place] += table[start + place]
    return output


def table_by_loop(length, d_model, first=0, exponent=2, clock=True, swapped=False):
    table = torch.zeros(length, d_model)
    for row in range(length):
        for i in range(d_model // 2):
            angle = (row + first) * (10000 ** (-exponent * i / d_model) if clock else 1)
            pair = [math.sin(angle), math.cos(angle)]
            table[row, 2 * i : 2 * i + 2] = torch.tensor(pair[::-1] if swapped else pair)
    return table


def table_into_slices(length, d_model):
    angles = torch.outer(
        torch.arange(length).float(), torch.exp(-math.log(10000) * torch.arange(0, d_model, 2) / d_model)
    )
    table = torch.empty(length, d_model)
    table[:, 0::2], table[:, 1::2] = torch.sin(angles), torch.cos(angles)
    return table


def turns(positions, d_head, clock=True):
    """(seq, d_head/2) complex numbers of length 1."""
    frequencies = 10000 ** (-torch.arange(0, d_head, 2) / d_head) if clock else torch.ones(d_head // 2)
    angles = torch.outer(positions.float(), frequencies)
    return torch.polar(torch.ones_like(angles), angles)


def rotate_as_complex(x, factors):
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * factors).flatten(-2)


def rotate_by_loop(x, positions):
    d_head = x.shape[-1]
    columns = []
    for i in range(d_head // 2):
        angle = positions * 10000 ** (-2 * i / d_head)
        a, b = x[..., 2 * i], x[..., 2 * i + 1]
        columns += [a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()]
    return torch.stack(columns, dim=-1)


def rotate_halves(x, positions):
    half = x.shape[-1] // 2
    angles = positions[:, None] * 10000 ** (-torch.arange(half) / half)
    angles = torch.cat([angles, angles], dim=-1)
    swapped = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * angles.cos() + swapped * angles.sin()


def rotate_with_doubled_evens(x, positions):
    d_head = x.shape[-1]
    angles = positions[:, None] * 10000.0 ** (-2 * torch.arange(0, d_head, 2) / d_head)
    return rotate_as_complex(x, torch.polar(torch.ones_like(angles), angles))


RIGHT = {
    "positions.is_equivariant": [by_a_matrix, lambda layer, x, order: near(layer(x)[order], layer(x[order]))],
    "positions.add_places": [
        places_by_loop,
        lambda x, table, start: x + table[torch.arange(start, start + x.size(1))][None],
    ],
    "positions.sinusoidal_positions": [table_by_loop, table_into_slices],
    "positions.rotate": [
        rotate_by_loop,
        lambda x, positions: rotate_as_complex(x, turns(positions, x.shape[-1])),
    ],
}

WRONG = {
    "positions.is_equivariant": {
        "not_moved_along": lambda layer, x, order: near(layer(x[order]), layer(x)),
        "moved_back": lambda layer, x, order: near(layer(x[order])[order], layer(x)),
        "columns": lambda layer, x, order: near(layer(x.T[order].T), layer(x).T[order].T),
        "turned": lambda layer, x, order: not by_a_matrix(layer, x, order),
    },
    "positions.add_places": {
        "from_the_top": lambda x, table, start: places_by_loop(x, table, 0),
        "counted_from_one": lambda x, table, start: places_by_loop(x, table, start + 1),
        "one_row_for_all": lambda x, table, start: x + table[start].expand_as(x),
        "words_gone": lambda x, table, start: places_by_loop(torch.zeros_like(x), table, start),
        "number_added": lambda x, table, start: torch.stack(
            [x[:, place] + start + place for place in range(x.shape[1])], dim=1
        ),
    },
    "positions.sinusoidal_positions": {
        "halves": lambda length, d_model: table_by_loop(length, d_model)[
            :, [*range(0, d_model, 2), *range(1, d_model, 2)]
        ],
        "cosine_first": lambda length, d_model: table_by_loop(length, d_model, swapped=True),
        "one_clock": lambda length, d_model: table_by_loop(length, d_model, clock=False),
        "half_the_exponent": lambda length, d_model: table_by_loop(length, d_model, exponent=1),
        "from_one": lambda length, d_model: table_by_loop(length, d_model, first=1),
        "twice_the_exponent": lambda length, d_model: table_by_loop(length, d_model, exponent=4),
    },
    "positions.rotate": {
        "halves": rotate_halves,
        "other_way": lambda x, positions: rotate_as_complex(x, turns(positions, x.shape[-1]).conj()),
        "counted_anew": lambda x, positions: rotate_by_loop(x, torch.arange(x.shape[-2])),
        "one_clock": lambda x, positions: rotate_as_complex(x, turns(positions, x.shape[-1], clock=False)),
        "left_apart": lambda x, positions: torch.cat(
            [rotate_by_loop(x, positions)[..., 0::2], rotate_by_loop(x, positions)[..., 1::2]], dim=-1
        ),
        "twice_the_exponent": rotate_with_doubled_evens,
    },
}

REFUSED = {
    "positions.is_equivariant": {
        f"only_row_{row}": lambda layer, x, order, row=row: near(layer(x[order])[row], layer(x)[order][row])
        for row in range(4)
    },
}
