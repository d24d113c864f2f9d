"""The shape of a GPT, as one frozen dataclass: every module is built from a `GPTConfig`."""

from __future__ import annotations

from dataclasses import dataclass

from gptlib.model.checks import check_config

INITIAL_STD = 0.02  # the standard deviation of a GPT's initial weights


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

    What came after GPT-2; as they stand these change nothing:
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
