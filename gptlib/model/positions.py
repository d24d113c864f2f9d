"""Four ways to tell a GPT the order of its tokens, and the choice not to tell it.

Attention alone sees a bag of tokens. Positions can be added to the embeddings (learned, sinusoidal),
used to turn queries and keys (rotary), or subtracted from the scores as distances (ALiBi).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gptlib.checks import check_positive, check_tensor, check_whole
from gptlib.model.checks import check_counts
from gptlib.model.config import INITIAL_STD, GPTConfig


def sinusoidal_positions(length: int, d_model: int) -> Float[Tensor, "length d_model"]:
    """A table of waves: row t holds sin(t * f) and cos(t * f) side by side, for d_model / 2 frequencies f.

    Frequencies fall from 1 to nearly 1/10000 radians a token, so row t + k is a rotation of row t.
    Raises ValueError when length is below 1, or d_model is odd or below 2.
    Vaswani et al. 2017, "Attention Is All You Need", section 3.5.
    """
    check_whole("length", length)
    _check_even("d_model", d_model)
    angles = _angles(torch.arange(length), d_model, base=10000.0)
    waves = torch.stack([angles.sin(), angles.cos()], dim=-1)  # two (seq, d_model/2) -> (seq, d_model/2, 2)
    return waves.flatten(1)  # (seq, d_model/2, 2) -> (seq, d_model)


def rotate(
    x: Float[Tensor, "*batch seq d_head"], positions: Int[Tensor, " seq"], base: float | int = 10000.0
) -> Float[Tensor, "*batch seq d_head"]:
    """Turn each pair of neighbors (x[2i], x[2i + 1]) by position * base^(-2i / d_head) radians.

    Turn queries and keys alike, and their dot product depends on positions only through their distance.
    Raises ValueError when d_head is odd, there is not one position for each vector, or base is not positive.
    Su et al. 2021, "RoFormer", section 3.2.2, equation 34.
    """
    check_tensor("x", x)
    check_tensor("positions", positions)
    _check_even("x: d_head", x.shape[-1])
    if positions.shape != x.shape[-2:-1]:
        raise ValueError(
            f"positions has shape {tuple(positions.shape)}; x has shape {tuple(x.shape)}, "
            f"so positions needs shape ({x.shape[-2]},)"
        )
    check_positive("base", base)
    angles = _angles(positions, x.shape[-1], base)  # (seq, d_head/2)
    cosines, sines = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)  # (…, seq, d_head) -> two of (…, seq, d_head/2)
    turned = torch.stack([even * cosines - odd * sines, even * sines + odd * cosines], dim=-1)
    return turned.flatten(-2)  # (…, seq, d_head/2, 2) -> (…, seq, d_head)


def alibi_slopes(n_heads: int) -> Float[Tensor, " head"]:
    """How steeply each head's scores fall with distance: 2^(-8/n), 2^(-16/n), … for n heads.

    When n is not a power of two, the slopes for the next lower power come first, and then every other slope
    for twice that power, as in the authors' code. Raises ValueError when n_heads is below 1.
    Press et al. 2021, "Train Short, Test Long", section 3.
    """
    check_whole("n_heads", n_heads)
    power = 2 ** (int(n_heads).bit_length() - 1)  # the largest power of two that is at most n_heads
    slopes = 2.0 ** (-8.0 * torch.arange(1, power + 1) / power)
    between = 2.0 ** (-4.0 * torch.arange(1, 2 * power, 2) / power)
    return torch.cat([slopes, between])[:n_heads]


def alibi_bias(n_heads: int, n_queries: int, n_keys: int) -> Float[Tensor, "head query key"]:
    """What ALiBi adds to the scores: minus slope times distance. The queries are the last of the keys.

    Raises ValueError when a count is below 1 or there are more queries than keys.
    Press et al. 2021, "Train Short, Test Long", section 3.
    """
    check_counts(n_queries, n_keys)
    return _alibi_bias(alibi_slopes(n_heads), n_queries, n_keys)


class NoPosition(nn.Module):
    """Adds nothing to the embeddings: positions come in elsewhere, or not at all."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], start: int = 0
    ) -> Float[Tensor, "batch seq d_model"]:
        return x


class LearnedPositions(nn.Module):
    """Adds a learned vector for each position. Radford et al. 2018, section 3.1."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.context_length, config.d_model)

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], start: int = 0
    ) -> Float[Tensor, "batch seq d_model"]:
        return x + _rows(self.embedding.weight, start, x)


class SinusoidalPositions(nn.Module):
    """Adds the fixed table of `sinusoidal_positions`, scaled to the size of initial token embeddings.

    Vaswani et al. 2017, sections 3.4 and 3.5, multiply embeddings by √d_model to bring them to the size of
    the waves. Shrinking the waves instead gives the same proportions and leaves tied logits small.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        table = INITIAL_STD * sinusoidal_positions(config.context_length, config.d_model)
        self.register_buffer("table", table, persistent=False)

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], start: int = 0
    ) -> Float[Tensor, "batch seq d_model"]:
        return x + _rows(self.table, start, x)


class PlainScores(nn.Module):
    """Leaves queries, keys and scores as they are: positions come in at the embeddings, or not at all."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()

    def forward(
        self, x: Float[Tensor, "batch head seq d_head"], start: int = 0
    ) -> Float[Tensor, "batch head seq d_head"]:
        """Returns the queries or keys as they are; start is the position of the first of them."""
        return x

    def bias(self, n_queries: int, n_keys: int) -> Float[Tensor, "head query key"] | None:
        """What to add to the scores: nothing."""
        return None


class RotaryPositions(PlainScores):
    """Turns queries and keys with `rotate`. Su et al. 2021, section 3.2.2."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        self.base = config.rotary_base

    def forward(
        self, x: Float[Tensor, "batch head seq d_head"], start: int = 0
    ) -> Float[Tensor, "batch head seq d_head"]:
        return rotate(x, torch.arange(start, start + x.shape[2], device=x.device), self.base)


class AlibiPositions(PlainScores):
    """Adds `alibi_bias` to the scores. Press et al. 2021, section 3."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        self.register_buffer("slopes", alibi_slopes(config.n_heads), persistent=False)

    def bias(self, n_queries: int, n_keys: int) -> Float[Tensor, "head query key"] | None:
        return _alibi_bias(self.slopes, n_queries, n_keys)


# Chosen by config.position when a model is built: what acts on the embeddings, what acts inside attention.
EMBEDDING_POSITIONS = {
    "none": NoPosition,
    "learned": LearnedPositions,
    "sinusoidal": SinusoidalPositions,
    "rotary": NoPosition,
    "alibi": NoPosition,
}
ATTENTION_POSITIONS = {
    "none": PlainScores,
    "learned": PlainScores,
    "sinusoidal": PlainScores,
    "rotary": RotaryPositions,
    "alibi": AlibiPositions,
}


def _rows(
    table: Float[Tensor, "context_length d_model"], start: int, x: Float[Tensor, "batch seq d_model"]
) -> Float[Tensor, "seq d_model"]:
    """The rows of the table for the tokens of x, the first of which is at position start."""
    end = start + x.shape[1]
    if start < 0 or end > len(table) or x.shape[2] != table.shape[1]:
        raise ValueError(
            f"x has shape {tuple(x.shape)}, from position {start}; the table has {tuple(table.shape)}, "
            f"so x needs (batch, seq, {table.shape[1]}) and start + seq at most {len(table)}"
        )
    return table[start:end]


def _angles(positions: Int[Tensor, " seq"], d: int, base: float | int) -> Float[Tensor, "seq half"]:
    """position * base^(-2i / d) for i = 0 … d/2 - 1, in radians."""
    frequencies = float(base) ** (-torch.arange(0, d, 2, device=positions.device) / d)  # (d/2,)
    return positions[:, None] * frequencies  # (seq, 1) * (d/2,) -> (seq, d/2)


def _alibi_bias(
    slopes: Float[Tensor, " head"], n_queries: int, n_keys: int
) -> Float[Tensor, "head query key"]:
    queries = torch.arange(n_keys - n_queries, n_keys, device=slopes.device)
    keys = torch.arange(n_keys, device=slopes.device)
    distance = (queries[:, None] - keys).abs()  # (query, 1) - (key,) -> (query, key)
    return -slopes[:, None, None] * distance  # (head, 1, 1) * (query, key) -> (head, query, key)


def _check_even(name: str, d: int) -> None:
    check_whole(name, d)
    if d < 2 or d % 2:
        raise ValueError(f"{name} is {d}; pairs need an even number of at least 2")
