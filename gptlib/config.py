"""The shape of a GPT, as one frozen picture: every module is built from a `GPTConfig`."""

from __future__ import annotations

from dataclasses import dataclass

POSITIONS = ("none", "learned", "sinusoidal", "rotary", "alibi")
NORMS = ("layernorm", "rmsnorm")
MLPS = ("gelu", "swiglu")


@dataclass(frozen=True)
class GPTConfig:
    """What kind of GPT to build. Frozen: `dataclasses.replace(config, n_layers=2)` makes a changed copy.

    vocab_size      how many different tokens there are
    context_length  the longest sequence, in tokens, that the model can read
    n_layers        how many blocks are stacked
    n_heads         how many attention heads each block has; d_head = d_model / n_heads
    d_model         the width of the residual stream
    n_kv_heads      heads of keys and values, each shared by a group of query heads (None: n_heads)
    d_mlp           the width inside the MLP (None: 4 * d_model)
    dropout         the chance that an activation is dropped in training, from 0 up to, not including, 1
    bias            whether linear layers and layer norms add a bias; an RMS norm never does
    position        how the model knows the order: none, learned, sinusoidal, rotary or alibi
    norm            layernorm or rmsnorm
    mlp             gelu or swiglu; a swiglu has three matrices for the gelu's two, at the same d_mlp
    tie_embeddings  whether the unembedding is the very same matrix as the token embedding

    Raises TypeError for a value of the wrong type, ValueError for one that cannot work.
    """

    vocab_size: int
    context_length: int
    n_layers: int
    n_heads: int
    d_model: int
    n_kv_heads: int | None = None
    d_mlp: int | None = None
    dropout: float = 0.0
    bias: bool = True
    position: str = "learned"
    norm: str = "layernorm"
    mlp: str = "gelu"
    tie_embeddings: bool = True

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "n_layers", "n_heads", "d_model", "n_kv_heads", "d_mlp"):
            _check_size(name, getattr(self, name), optional=name in ("n_kv_heads", "d_mlp"))
        for name in ("bias", "tie_embeddings"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} is {getattr(self, name)!r}; it needs True or False")
        _check_choice("position", self.position, POSITIONS)
        _check_choice("norm", self.norm, NORMS)
        _check_choice("mlp", self.mlp, MLPS)
        if isinstance(self.dropout, bool) or not isinstance(self.dropout, (int, float)):
            raise TypeError(f"dropout is {self.dropout!r}; it needs a number from 0 up to, not including, 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it needs a number from 0 up to, not including, 1")
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model = {self.d_model} cannot be shared among n_heads = {self.n_heads} heads: "
                f"{self.d_model} / {self.n_heads} = {self.d_model / self.n_heads:.2f}; "
                f"d_model = {_nearest_multiple(self.d_model, self.n_heads)} would do"
            )
        if self.n_heads % self.kv_heads:
            raise ValueError(
                f"n_heads = {self.n_heads} cannot share n_kv_heads = {self.kv_heads} evenly; "
                f"n_kv_heads needs to be one of {_divisors(self.n_heads)}"
            )
        if self.position == "rotary" and self.d_head % 2:
            raise ValueError(
                f'position = "rotary" turns pairs of numbers, and d_head = {self.d_model} / {self.n_heads} = '
                f"{self.d_head} is odd; d_model / n_heads needs to be even"
            )
        if self.position == "sinusoidal" and self.d_model % 2:
            raise ValueError(
                f'position = "sinusoidal" pairs sine and cosine, and d_model = {self.d_model} is odd; '
                f"d_model = {self.d_model + 1} would do"
            )

    @property
    def d_head(self) -> int:
        """The width of one head."""
        return self.d_model // self.n_heads

    @property
    def kv_heads(self) -> int:
        """How many heads of keys and values there are: n_kv_heads, or n_heads where that is None."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def mlp_width(self) -> int:
        """The width inside the MLP: d_mlp, or 4 * d_model where that is None."""
        return 4 * self.d_model if self.d_mlp is None else self.d_mlp


def _check_size(name: str, value: object, optional: bool) -> None:
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}; it needs a whole number of at least 1")
    if value < 1:
        raise ValueError(f"{name} is {value}; it needs to be at least 1")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it needs to be one of {', '.join(choices)}")


def _nearest_multiple(number: int, of: int) -> int:
    return max(1, round(number / of)) * of


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
