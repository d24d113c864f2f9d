"""Answers to the exercises on positions as readers write them, right and wrong."""

import math

import torch


def near(one, other):
    return bool((one - other).abs().max() < 1e-5)


def asserted(layer, x, order):
    torch.testing.assert_close(layer(x[order]), layer(x)[order], rtol=0, atol=1e-5)
    return True


def by_a_matrix(layer, x, order):
    shuffle = torch.eye(len(x))[order]
    return near(layer(shuffle @ x), shuffle @ layer(x))


def added_by_loop(x, table, start):
    output = x.clone()
    for step in range(x.shape[1]):
        output[:, step] += table[start + step]
    return output


def added_to_the_tokens_from_start(x, table, start):
    output = x.clone()
    output[:, start:] += table[start : x.shape[1]]
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


def column_by_column(length, d_model, times=1):
    columns = []
    for column in range(d_model):
        angles = torch.arange(length) / 10000 ** (times * column / d_model)
        columns.append(angles.cos() if column % 2 else angles.sin())
    return torch.stack(columns, dim=1)


def turns(positions, d_head, clock=True, sign=-1):
    """(seq, d_head/2) complex numbers of length 1."""
    frequencies = 10000 ** (sign * torch.arange(0, d_head, 2) / d_head) if clock else torch.ones(d_head // 2)
    angles = torch.outer(positions.float(), frequencies)
    return torch.polar(torch.ones_like(angles), angles)


def rotate_as_complex(x, factors):
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * factors).flatten(-2)


def rotate_by_loop(x, positions, exponent=2):
    d_head = x.shape[-1]
    columns = []
    for i in range(d_head // 2):
        angle = positions * 10000 ** (-exponent * i / d_head)
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


def rotate_with_two_minuses(x, positions):
    turned = torch.empty_like(x)
    for i in range(x.shape[-1] // 2):
        angle = positions * 10000 ** (-2 * i / x.shape[-1])
        a, b = x[..., 2 * i], x[..., 2 * i + 1]
        turned[..., 2 * i] = a * angle.cos() - b * angle.sin()
        turned[..., 2 * i + 1] = a * angle.sin() - b * angle.cos()
    return turned


def rotate_with_doubled_evens(x, positions):
    d_head = x.shape[-1]
    angles = positions[:, None] * 10000.0 ** (-2 * torch.arange(0, d_head, 2) / d_head)
    return rotate_as_complex(x, torch.polar(torch.ones_like(angles), angles))


def written_into_x(layer, x, order):
    shuffled = x  # which is x itself, no copy
    for place, word in enumerate(order):
        shuffled[place] = x[word]
    return near(layer(shuffled), layer(x)[order])


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
        "for_each_number": lambda layer, x, order: (layer(x[order]) - layer(x)[order]).abs() < 1e-5,
        "each_to_the_last_bit": lambda layer, x, order: torch.eq(layer(x)[order], layer(x[order])),
        "default_tolerance": lambda layer, x, order: bool(
            torch.isclose(layer(x[order]), layer(x)[order]).all()
        ),
        "error_for_false": asserted,
        "always_true": lambda layer, x, order: layer(x).shape == x.shape,
        "as_bags": lambda layer, x, order: near(
            torch.stack([column.sort().values for column in layer(x[order]).T]),
            torch.stack([column.sort().values for column in layer(x).T]),
        ),
        "one_order_only": lambda layer, x, order: near(layer(x[order])[order], layer(x[order])),
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
        "to_the_end": lambda x, table, start: table[torch.arange(start, len(table))] + x,
        "first_left_out": added_to_the_tokens_from_start,
        "one_too_early": lambda x, table, start: table[slice(start - 1, start + x.shape[1] - 1)] + x,
        "words_gone_everywhere": lambda x, table, start: torch.stack(
            [table[start:][: x.shape[1]] for _ in x]
        ),
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
        "own_exponent_doubled": lambda length, d_model: column_by_column(length, d_model, times=2),
        "power_first": lambda length, d_model: table_into_slices(
            length, d_model, 10000**-2 * torch.arange(d_model // 2) / d_model
        ),
        "reshaped": lambda length, d_model: torch.cat(
            [table_by_loop(length, d_model)[:, 0::2], table_by_loop(length, d_model)[:, 1::2]]
        ).reshape(length, d_model),
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
        "half_the_exponent": lambda x, positions: rotate_by_loop(x, positions, exponent=1),
        "growing": lambda x, positions: rotate_as_complex(x, turns(positions, x.shape[-1], sign=1)),
        "second_subtracted": rotate_with_two_minuses,
    },
}

REFUSED = {
    "positions.is_equivariant": {
        f"only_row_{row}": lambda layer, x, order, row=row: near(
            layer(x[order])[min(row, len(x) - 1)], layer(x)[order][min(row, len(x) - 1)]
        )
        for row in range(4)
    }
    | {
        "never": lambda layer, x, order: False,
        "sums": lambda layer, x, order: near(layer(x[order]).sum(0), layer(x).sum(0)),
        "sums_of_rows": lambda layer, x, order: near(layer(x[order]).sum(1), layer(x)[order].sum(1)),
        "sum_of_all": lambda layer, x, order: near(layer(x[order]).sum(), layer(x).sum()),
        "not_larger": lambda layer, x, order: bool((layer(x[order]) - layer(x)[order]).max() < 1e-5),
        "not_smaller": lambda layer, x, order: bool((layer(x)[order] - layer(x[order])).max() < 1e-5),
        "on_average": lambda layer, x, order: bool((layer(x[order]) - layer(x)[order]).abs().mean() < 1e-5),
        "too_near": lambda layer, x, order: bool((layer(x[order]) - layer(x)[order]).norm() < 1e-5),
        "too_tolerant": lambda layer, x, order: torch.allclose(layer(x[order]), layer(x)[order], atol=1e-3),
        "less_tolerant": lambda layer, x, order: torch.allclose(layer(x[order]), layer(x)[order], atol=1e-4),
        "turned_around": lambda layer, x, order: near(layer(x.flip(0)), layer(x).flip(0)),
        "moved_on": lambda layer, x, order: near(layer(x.roll(1, 0)), layer(x).roll(1, 0)),
        "written_into_x": written_into_x,
    },
}
