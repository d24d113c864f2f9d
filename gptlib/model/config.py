"""The shape of a GPT, as one frozen dataclass: every module is built from a `GPTConfig`."""

from __future__ import annotations

from dataclasses import dataclass

from gptlib.checks import make_plain
from gptlib.model.config_checks import MLPName, NormName, PositionName, check_config

INITIAL_STD = 0.02  # the standard deviation of a GPT's initial weights


@dataclass(frozen=True)
class GPTConfig:
    """What kind of GPT to build. Frozen: `dataclasses.replace(config, n_layers=2)` makes a changed copy.

    Raises TypeError for a value of the wrong type, ValueError for one that cannot work.
    """

    vocab_size: int
    """How many different tokens there are."""

    context_length: int
    """The longest sequence, in tokens, that the model can read."""

    n_layers: int
    """How many blocks are stacked."""

    n_heads: int
    """How many attention heads each block has; d_head = d_model / n_heads."""

    d_model: int
    """The width of the residual stream."""

    n_kv_heads: int | None = None
    """Heads of keys and values, each shared by a group of query heads (None: n_heads)."""

    d_mlp: int | None = None
    """The width inside the MLP (None: 4 * d_model)."""

    dropout: float = 0.0
    """The chance that an activation is dropped in training, from 0 up to, not including, 1."""

    bias: bool = True
    """Whether linear layers and layer norms add a bias; an RMS norm never does."""

    position: PositionName = "learned"
    """How the model knows the order."""

    norm: NormName = "layernorm"
    """Which norm each branch, and the unembedding, reads the residual stream through."""

    mlp: MLPName = "gelu"
    """What the MLP is; a swiglu has three matrices for the gelu's two, at the same d_mlp."""

    tie_embeddings: bool = True
    """Whether the unembedding is the very same matrix as the token embedding."""

    # What came after GPT-2; as they stand these change nothing.

    head_width: int | None = None
    """The width of one head, where that is not d_model / n_heads."""

    norm_eps: float = 1e-5
    """What a norm adds under its square root, so that it never divides by 0."""

    rotary_base: float | int = 10000.0
    """The slowest pair of rotary positions turns by nearly 1 / rotary_base radians a token."""

    qk_norm: bool = False
    """Whether each head's queries and keys pass through an RMS norm before they are turned."""

    window: int | None = None
    """How many tokens a query sees, its own and those right before it (None: all before it)."""

    score_cap: float | int | None = None
    """A bound that attention scores approach but do not pass (None: no bound)."""

    logit_cap: float | int | None = None
    """A bound that logits approach but do not pass (None: no bound)."""

    copy_heads: int | None = None
    """How many heads behind the last norm can point back at tokens, to say them again (None: none)."""

    n_experts: int | None = None
    """How many MLPs each block can choose from (None: one, for every token)."""

    n_active: int = 2
    """How many of the experts a token goes to."""

    balance: float | int = 0.01
    """How much uneven use of the experts adds to the loss in training."""

    def __post_init__(self) -> None:
        make_plain(self)
        check_config(self)

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
