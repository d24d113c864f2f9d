import math

import pytest
import torch

from gptlib.model.config import GPTConfig
from gptlib.model.config_checks import POSITIONS
from gptlib.model.positions import (
    ATTENTION_POSITIONS,
    EMBEDDING_POSITIONS,
    LearnedPositions,
    SinusoidalPositions,
    alibi_bias,
    alibi_slopes,
    rotate,
    sinusoidal_positions,
)


def test_sinusoidal_is_the_formula_of_the_paper():
    table = sinusoidal_positions(7, 6)
    for t in range(7):
        for i in range(3):
            angle = t / 10000 ** (2 * i / 6)
            assert table[t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_sinusoidal_positions_have_the_size_of_initial_embeddings():
    config = GPTConfig(vocab_size=11, context_length=16, n_layers=1, n_heads=2, d_model=12)
    added = SinusoidalPositions(config)(torch.zeros(1, 16, 12))[0]
    torch.testing.assert_close(added, 0.02 * sinusoidal_positions(16, 12))


def test_sinusoidal_shift_is_one_linear_map():
    table = sinusoidal_positions(40, 8).double()
    shift = torch.linalg.lstsq(table[:35], table[5:]).solution
    torch.testing.assert_close(table[:35] @ shift, table[5:], atol=1e-5, rtol=0)


def test_rotate_is_the_rotation_matrix_of_the_paper():
    x = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    positions = torch.tensor([0, 1, 4, 9, 100])
    turned = rotate(x, positions)
    for s, position in enumerate(positions.tolist()):
        for i in range(3):
            angle = torch.tensor(position / 10000 ** (2 * i / 6))
            matrix = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
            expected = x[..., s, 2 * i : 2 * i + 2] @ matrix.T
            torch.testing.assert_close(turned[..., s, 2 * i : 2 * i + 2], expected, atol=1e-5, rtol=0)


def test_rotate_keeps_lengths_and_scores_depend_on_distance_alone():
    generator = torch.Generator().manual_seed(1)
    query, key = torch.randn(1, 16, generator=generator), torch.randn(1, 16, generator=generator)

    def score(query_position, key_position):
        turned_query = rotate(query, torch.tensor([query_position]))
        return (turned_query @ rotate(key, torch.tensor([key_position])).T).item()

    assert score(3, 1) == pytest.approx(score(103, 101), abs=1e-4)
    assert abs(score(3, 1) - score(5, 1)) > 1e-2
    assert rotate(query, torch.tensor([7])).norm().item() == pytest.approx(query.norm().item(), rel=1e-5)


def test_rotate_keeps_a_low_precision():
    assert rotate(torch.ones(1, 4, dtype=torch.bfloat16), torch.tensor([3])).dtype == torch.bfloat16


def test_alibi_slopes_as_published():
    torch.testing.assert_close(alibi_slopes(8), 2.0 ** -torch.arange(1.0, 9.0))
    torch.testing.assert_close(alibi_slopes(4), torch.tensor([2**-2, 2**-4, 2**-6, 2**-8]))
    # 12 heads, from the authors' code: the eight above, then every other slope of sixteen.
    between = 2.0 ** torch.tensor([-0.5, -1.5, -2.5, -3.5])
    torch.testing.assert_close(alibi_slopes(12), torch.cat([2.0 ** -torch.arange(1.0, 9.0), between]))
    assert alibi_slopes(1).tolist() == [2**-8]


def test_alibi_bias_is_minus_slope_times_distance():
    bias = alibi_bias(2, 3, 3)
    slopes = alibi_slopes(2)
    assert bias.shape == (2, 3, 3)
    assert bias[1, 2].tolist() == [-2 * slopes[1].item(), -slopes[1].item(), 0]
    torch.testing.assert_close(alibi_bias(4, 2, 7), alibi_bias(4, 7, 7)[:, -2:])  # the last of the keys


def test_every_kind_has_its_two_parts():
    assert set(EMBEDDING_POSITIONS) == set(ATTENTION_POSITIONS) == set(POSITIONS)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sinusoidal_positions(0, 4), "length is 0"),
        (lambda: sinusoidal_positions(4, 5), "d_model is 5"),
        (lambda: rotate(torch.ones(2, 3), torch.arange(2)), "d_head is 3"),
        (
            lambda: rotate(torch.ones(2, 4), torch.arange(3)),
            r"positions has shape \(3,\).*needs shape \(2,\)",
        ),
        (lambda: rotate(torch.ones(2, 4), torch.arange(2), base=0.0), "base is 0"),
        (lambda: alibi_slopes(0), "n_heads is 0"),
        (lambda: alibi_bias(2, 4, 3), "n_queries is 4 and n_keys 3"),
        (lambda: alibi_bias(2, 0, 3), "n_queries is 0"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("kind", ["learned", "sinusoidal"])
def test_a_table_never_runs_out_silently(kind):
    position = EMBEDDING_POSITIONS[kind](
        GPTConfig(vocab_size=5, context_length=8, n_layers=1, n_heads=1, d_model=4, position=kind)
    )
    assert position(torch.zeros(1, 8, 4)).shape == (1, 8, 4)
    with pytest.raises(ValueError, match="start \\+ seq at most 8"):
        position(torch.zeros(1, 3, 4), 7)  # one row is left, which would broadcast


def test_learned_positions_start_where_told():
    position = LearnedPositions(GPTConfig(vocab_size=5, context_length=8, n_layers=1, n_heads=1, d_model=4))
    torch.testing.assert_close(position(torch.zeros(1, 2, 4), 3)[0], position.embedding.weight[3:5])
