"""Answers to the exercises on positions as readers write them, right and wrong."""

import math

import torch


def near(one, other):
    return bool((one - other).abs().max() < 1e-4)


def by_a_matrix(layer, x, order):
    shuffle = torch.eye(len(x))[order]
    return near(layer(shuffle @ x), shuffle @ layer(x))


def added_by_loop(x, table, start):
    output = x.clone()
    for step in range(x.shape[1]):
        output[:, step] += table[start + step]
    return output


def table_by_loop(length, d_model, first=0, exponent=2, clock=True, swapped=False):
    """The sinusoidal table; with `exponent` 4 in place of 2, say, a wrong one."""
    table = torch.zeros(length, d_model)
    for row in range(length):
        for i in range(d_model // 2):
            angle = (row + first) * (10000 ** (-exponent * i / d_model) if clock else 1)
            pair = [math.sin(angle), math.cos(angle)]
            table[row, 2 * i : 2 * i + 2] = torch.tensor(pair[::-1] if swapped else pair)
    return table


def table_into_slices(length, d_model, frequencies=None):
    if frequencies is None:
        frequencies = torch.exp(-math.log(10000) * torch.arange(0, d_model, 2) / d_model)
    angles = torch.outer(torch.arange(length).float(), frequencies)
    table = torch.empty(length, d_model)
    table[:, 0::2], table[:, 1::2] = torch.sin(angles), torch.cos(angles)
    return table


def column_by_column(length, d_model):
    columns = []
    for column in range(d_model):
        angles = torch.arange(length) / 10000 ** (column / d_model)
        columns.append(angles.cos() if column % 2 else angles.sin())
    return torch.stack(columns, dim=1)


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


def rotate_halves_by_the_angles_of_neighbors(x, positions):
    half = x.shape[-1] // 2
    angles = torch.outer(positions.float(), 10000 ** (-torch.arange(half) / half)).repeat_interleave(2, dim=1)
    partner = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * angles.cos() + partner * angles.sin()


def rotate_into_itself(x, positions, keep=False):
    half = x.shape[-1] // 2
    angles = torch.outer(positions.float(), 10000 ** (-torch.arange(half) / half))
    turned = x.clone()
    a, b = turned[..., 0::2], turned[..., 1::2]  # views, so that what is written shows in them
    if keep:
        a = a.clone()
    turned[..., 0::2] = a * angles.cos() - b * angles.sin()
    turned[..., 1::2] = a * angles.sin() + b * angles.cos()
    return turned


def rotate_by_sums(x, positions):
    columns = []
    for i in range(x.shape[-1] // 2):
        angle = positions / 10000 ** (2 * i / x.shape[-1])
        a, b = x[..., 2 * i], x[..., 2 * i + 1]
        columns += [a * angle.cos() + b * angle.sin(), b * angle.cos() + a * angle.sin()]
    return torch.stack(columns, dim=-1)


def rotate_with_doubled_evens(x, positions):
    d_head = x.shape[-1]
    angles = positions[:, None] * 10000.0 ** (-2 * torch.arange(0, d_head, 2) / d_head)
    return rotate_as_complex(x, torch.polar(torch.ones_like(angles), angles))


RIGHT = {
    "positions.is_equivariant": [
        by_a_matrix,
        lambda layer, x, order: near(layer(x)[order], layer(x[order])),
        lambda layer, x, order: near(layer(x[order])[order.argsort()], layer(x)),
    ],
    "positions.add_positions": [
        added_by_loop,
        lambda x, table, start: x + table[torch.arange(start, start + x.size(1))][None],
    ],
    "positions.sinusoidal_positions": [table_by_loop, table_into_slices],
    "positions.rotate": [
        rotate_by_loop,
        lambda x, positions: rotate_as_complex(x, turns(positions, x.shape[-1])),
        lambda x, positions: rotate_into_itself(x, positions, keep=True),
    ],
}

WRONG = {
    "positions.is_equivariant": {
        "not_moved_along": lambda layer, x, order: near(layer(x[order]), layer(x)),
        "moved_back": lambda layer, x, order: near(layer(x[order])[order], layer(x)),
        "columns": lambda layer, x, order: near(layer(x.T[order].T), layer(x).T[order].T),
        "turned": lambda layer, x, order: not by_a_matrix(layer, x, order),
        "to_the_last_bit": lambda layer, x, order: bool((layer(x[order]) == layer(x)[order]).all()),
        "for_each_number": lambda layer, x, order: (layer(x[order]) - layer(x)[order]).abs() < 1e-4,
    },
    "positions.add_positions": {
        "from_the_top": lambda x, table, start: added_by_loop(x, table, 0),
        "counted_from_one": lambda x, table, start: added_by_loop(x, table, start + 1),
        "one_row_for_all": lambda x, table, start: x + table[start].expand_as(x),
        "words_gone": lambda x, table, start: table[torch.arange(start, start + x.shape[1])],
        "number_added": lambda x, table, start: torch.stack(
            [x[:, step] + start + step for step in range(x.shape[1])], dim=1
        ),
        "texts_counted": lambda x, table, start: table[start : start + len(x)] + x,
        "end_without_start": lambda x, table, start: table[: x.shape[1]][start:] + x,
        "one_too_few": lambda x, table, start: table[start:][: x.shape[1] - 1] + x,
    },
    "positions.sinusoidal_positions": {
        "halves": lambda length, d_model: table_by_loop(length, d_model)[
            :, [*range(0, d_model, 2), *range(1, d_model, 2)]
        ],
        "cosine_first": lambda length, d_model: table_by_loop(length, d_model, swapped=True),
        "halves_cosine_first": lambda length, d_model: table_by_loop(length, d_model)[
            :, [*range(1, d_model, 2), *range(0, d_model, 2)]
        ],
        "own_exponent": column_by_column,
        "growing": lambda length, d_model: table_into_slices(
            length, d_model, 10000 ** (torch.arange(0, d_model, 2) / d_model)
        ),
        "one_clock": lambda length, d_model: table_by_loop(length, d_model, clock=False),
        "half_the_exponent": lambda length, d_model: table_by_loop(length, d_model, exponent=1),
        "from_one": lambda length, d_model: table_by_loop(length, d_model, first=1),
        "twice_the_exponent": lambda length, d_model: table_by_loop(length, d_model, exponent=4),
    },
    "positions.rotate": {
        "halves": rotate_halves,
        "mixed_conventions": rotate_halves_by_the_angles_of_neighbors,
        "other_way": lambda x, positions: rotate_as_complex(x, turns(positions, x.shape[-1]).conj()),
        "no_minus": rotate_by_sums,
        "turned_twice": rotate_into_itself,
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
    }
    | {
        "always": lambda layer, x, order: True,
        "never": lambda layer, x, order: False,
        "sums": lambda layer, x, order: near(layer(x[order]).sum(0), layer(x).sum(0)),
    },
}
