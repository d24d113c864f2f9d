"""The shape of a GPT, as one frozen picture: every module is built from a `GPTConfig`."""

from __future__ import annotations

import math
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

    What came after GPT-2 (notebook 14); as they stand these change nothing:
    head_width      the width of one head, where that is not d_model / n_heads
    norm_eps        what a norm adds under its square root, so that it never divides by 0
    rotary_base     the slowest pair of rotary positions turns by nearly 1 / rotary_base radians a token
    qk_norm         whether each head's queries and keys pass through an RMS norm before they are turned
    window          how many tokens a query sees, its own and those right before it (None: all before it)
    score_cap       bound that attention scores approach but do not pass (None: no bound)
    logit_cap       the same for the logits
    n_experts       how many MLPs each block can choose from (None: one, for every token)
    n_active        how many of the experts a token goes to
    balance         how much uneven use of the experts adds to the loss in training

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
    head_width: int | None = None
    norm_eps: float = 1e-5
    rotary_base: float | int = 10000.0
    qk_norm: bool = False
    window: int | None = None
    score_cap: float | int | None = None
    logit_cap: float | int | None = None
    n_experts: int | None = None
    n_active: int = 2
    balance: float | int = 0.01

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "n_layers", "n_heads", "d_model", "n_active"):
            _check_size(name, getattr(self, name), optional=False)
        for name in ("n_kv_heads", "d_mlp", "head_width", "window", "n_experts"):
            _check_size(name, getattr(self, name), optional=True)
        for name in ("norm_eps", "rotary_base"):
            _check_positive(name, getattr(self, name), optional=False)
        for name in ("score_cap", "logit_cap"):
            _check_positive(name, getattr(self, name), optional=True)
        for name in ("bias", "tie_embeddings", "qk_norm"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} is {getattr(self, name)!r}; it needs True or False")
        _check_choice("position", self.position, POSITIONS)
        _check_choice("norm", self.norm, NORMS)
        _check_choice("mlp", self.mlp, MLPS)
        if not _is_number(self.dropout):
            raise TypeError(f"dropout is {self.dropout!r}; it needs a number from 0 up to, not including, 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it needs a number from 0 up to, not including, 1")
        if not _is_number(self.balance) or not 0 <= self.balance < math.inf:
            raise ValueError(f"balance is {self.balance!r}; it needs a number of at least 0")
        if self.n_experts is not None and self.n_active > self.n_experts:
            raise ValueError(
                f"n_active = {self.n_active} experts for each token cannot be chosen from "
                f"n_experts = {self.n_experts}; n_active needs to be from 1 to {self.n_experts}"
            )
        if self.head_width is None and self.d_model % self.n_heads:
            raise ValueError(
                f"d_model = {self.d_model} cannot be shared among n_heads = {self.n_heads} heads: "
                f"{self.d_model} / {self.n_heads} = {self.d_model / self.n_heads:.2f}; "
                f"d_model = {_nearest_multiple(self.d_model, self.n_heads)} would do, or a head_width"
            )
        if self.n_heads % self.kv_heads:
            raise ValueError(
                f"n_heads = {self.n_heads} cannot share n_kv_heads = {self.kv_heads} evenly; "
                f"n_kv_heads needs to be one of {_divisors(self.n_heads)}"
            )
        if self.position == "rotary" and self.d_head % 2:
            told = f"{self.d_model} / {self.n_heads}" if self.head_width is None else "head_width"
            raise ValueError(
                f'position = "rotary" turns pairs of numbers, and d_head = {told} = {self.d_head} is odd; '
                "it needs to be even"
            )
        if self.position == "sinusoidal" and self.d_model % 2:
            raise ValueError(
                f'position = "sinusoidal" pairs sine and cosine, and d_model = {self.d_model} is odd; '
                f"d_model = {self.d_model + 1} would do"
            )

    @property
    def d_head(self) -> int:
        """The width of one head: head_width, or d_model / n_heads where that is None."""
        return self.d_model // self.n_heads if self.head_width is None else self.head_width

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


def _check_positive(name: str, value: object, optional: bool) -> None:
    if optional and value is None:
        return
    if not _is_number(value):
        raise TypeError(f"{name} is {value!r}; it needs a number above 0")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value}; it needs to be above 0 and finite")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it needs to be one of {', '.join(choices)}")


def _nearest_multiple(number: int, of: int) -> int:
    return max(1, round(number / of)) * of


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
