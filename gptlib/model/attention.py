"""Attention: each position takes a weighted average of what it may look at.

`attend` is attention written out, to be read. `MultiHeadAttention` is the layer of a GPT: it splits the
stream into heads, attends in each, and joins them again.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gptlib.checks import check_share
from gptlib.model.cache import LayerCache, WindowCache
from gptlib.model.checks import check_scored, check_sequences, check_values
from gptlib.model.config import GPTConfig
from gptlib.model.fast_attention import fast_attention
from gptlib.model.masks import causal_mask
from gptlib.model.norms import HeadNorm
from gptlib.model.positions import ATTENTION_POSITIONS


def attention_scores(
    queries: Float[Tensor, "*batch query d_head"],
    keys: Float[Tensor, "*batch key d_head"],
    mask: Bool[Tensor, "... query key"] | None = None,
    bias: Float[Tensor, "... query key"] | None = None,
) -> Float[Tensor, "*batch query key"]:
    """How well each key fits each query: queries keysᵀ / √d_head + bias, and -inf where the mask is False.

    mask, bias: as for `attention_weights`.
    Raises as `attention_weights` does.
    """
    check_scored(queries, keys, mask, bias)
    scores = queries @ keys.transpose(-2, -1)  # (…, query, d_head) @ (…, d_head, key) -> (…, query, key)
    scores = scores / math.sqrt(queries.shape[-1])
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores


def attention_weights(
    queries: Float[Tensor, "*batch query d_head"],
    keys: Float[Tensor, "*batch key d_head"],
    mask: Bool[Tensor, "... query key"] | None = None,
    bias: Float[Tensor, "... query key"] | None = None,
) -> Float[Tensor, "*batch query key"]:
    """How much each query attends to each key: softmax(queries keysᵀ / √d_head + bias); every row sums to 1.

    mask: True where a query may attend to a key; elsewhere scores are -inf, so weights are exactly 0.
    bias: added to the scores (as ALiBi does).
    Raises ValueError for shapes that do not fit or a query that may attend to nothing, TypeError for a
    wrong dtype.
    Vaswani et al. 2017, "Attention Is All You Need", section 3.2.1, equation 1.
    """
    return attention_scores(queries, keys, mask, bias).softmax(dim=-1)


def attend(
    queries: Float[Tensor, "*batch query d_head"],
    keys: Float[Tensor, "*batch key d_head"],
    values: Float[Tensor, "*batch key d_value"],
    mask: Bool[Tensor, "... query key"] | None = None,
    bias: Float[Tensor, "... query key"] | None = None,
    dropout: float = 0.0,
) -> tuple[Float[Tensor, "*batch query d_value"], Float[Tensor, "*batch query key"]]:
    """Attention written out: what each query gathers from the values, and the weights that it gave to them.

    Returns (output, weights); the weights are those before dropout.

    mask, bias: as for `attention_weights`.
    dropout: the chance that a weight is dropped from the average, 0 outside training.
    Raises as `attention_weights` does.
    Vaswani et al. 2017, "Attention Is All You Need", section 3.2.1, equation 1.
    """
    weights = attention_weights(queries, keys, mask, bias)
    check_values(values, keys)
    check_share("dropout", dropout)
    output = F.dropout(weights, dropout) @ values  # (…, query, key) @ (…, key, d_value)
    return output, weights


class MultiHeadAttention(nn.Module):
    """Causal self-attention with many heads, each with queries, keys and values of its own.

    `weights` is a module that does nothing to the attention weights passing through it: it is a place for
    `gptlib.trace` to look at. With a hook there the weights are computed explicitly, by way of the places
    `queries`, `keys`, `values` and `scores`; without one, the fast path computes the output alone.

    With n_kv_heads < n_heads, groups of query heads share keys and values (Ainslie et al. 2023, "GQA",
    section 2.2).
    Vaswani et al. 2017, "Attention Is All You Need", section 3.2.2.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        d_queries, d_keys = config.n_heads * config.d_head, config.kv_heads * config.d_head
        self.widths = [d_queries, d_keys, d_keys]
        self.qkv = nn.Linear(config.d_model, sum(self.widths), bias=config.bias)
        self.query_norm = HeadNorm(config) if config.qk_norm else nn.Identity()
        self.key_norm = HeadNorm(config) if config.qk_norm else nn.Identity()
        self.position = ATTENTION_POSITIONS[config.position](config)
        self.queries, self.keys, self.values = nn.Identity(), nn.Identity(), nn.Identity()
        self.scores, self.weights = nn.Identity(), nn.Identity()
        self.output = nn.Linear(d_queries, config.d_model, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], cache: LayerCache | WindowCache | None = None
    ) -> Float[Tensor, "batch seq d_model"]:
        """Each position gathers from itself and those before it.

        With a cache, x holds the tokens that come after those in it.
        Raises ValueError when x is not (batch, seq, d_model), or does not fit the cache.
        """
        check_sequences(x, self.config.d_model)
        start = 0 if cache is None else cache.length
        queries, keys, values = map(self.split_heads, self.qkv(x).split(self.widths, dim=-1))
        queries, keys = self.query_norm(queries), self.key_norm(keys)
        queries, keys = self.position(queries, start), self.position(keys, start)
        if cache is not None:
            keys, values = cache.append(keys, values)
        mixed = self.attend(queries, self.share(keys), self.share(values))
        mixed = mixed.transpose(1, 2).flatten(2)  # (batch, head, seq, d_head) -> (batch, seq, d_model)
        return self.dropout(self.output(mixed))

    def attend(
        self,
        queries: Float[Tensor, "batch head query d_head"],
        keys: Float[Tensor, "batch head key d_head"],
        values: Float[Tensor, "batch head key d_head"],
    ) -> Float[Tensor, "batch head query d_head"]:
        """Causal attention in every head: explicit if somebody looks at `weights`, else fast."""
        if self.weights._forward_hooks or self.weights._forward_pre_hooks:
            return self.attend_explicitly(queries, keys, values)
        bias = self.position.bias(queries.shape[2], keys.shape[2])
        return fast_attention(queries, keys, values, bias=bias, dropout=self.dropout_now(), causal=True)

    def attend_explicitly(
        self,
        queries: Float[Tensor, "batch head query d_head"],
        keys: Float[Tensor, "batch head key d_head"],
        values: Float[Tensor, "batch head key d_head"],
    ) -> Float[Tensor, "batch head query d_head"]:
        """What `attend` computes, with every step at the place that has its name."""
        mask = self.mask(queries, keys)
        bias = self.position.bias(queries.shape[2], keys.shape[2])
        queries, keys, values = self.queries(queries), self.keys(keys), self.values(values)
        scores = self.scores(self.score(queries, keys, mask, bias))
        weights = self.weights(scores.softmax(dim=-1))
        return F.dropout(weights, self.dropout_now()) @ values  # (…, query, key) @ (…, key, d_head)

    def mask(
        self, queries: Float[Tensor, "batch head query d_head"], keys: Float[Tensor, "batch head key d_head"]
    ) -> Bool[Tensor, "query key"]:
        """Which keys each query may attend to."""
        return causal_mask(queries.shape[2], keys.shape[2], device=queries.device)

    def score(
        self,
        queries: Float[Tensor, "batch head query d_head"],
        keys: Float[Tensor, "batch head key d_head"],
        mask: Bool[Tensor, "query key"],
        bias: Float[Tensor, "head query key"] | None,
    ) -> Float[Tensor, "batch head query key"]:
        """The scores that become weights."""
        return attention_scores(queries, keys, mask, bias)

    def dropout_now(self) -> float:
        """The chance that a weight is dropped: config.dropout in training, else 0."""
        return self.config.dropout if self.training else 0.0

    def split_heads(self, x: Float[Tensor, "batch seq width"]) -> Float[Tensor, "batch head seq d_head"]:
        """Give each head its share of the width."""
        x = x.unflatten(-1, (-1, self.config.d_head))  # (batch, seq, width) -> (batch, seq, head, d_head)
        return x.transpose(1, 2)  # (batch, seq, head, d_head) -> (batch, head, seq, d_head)

    def share(self, x: Float[Tensor, "batch kv_head key d_head"]) -> Float[Tensor, "batch head key d_head"]:
        """Repeat each head of keys or values for the group of query heads that shares it."""
        group = self.config.n_heads // self.config.kv_heads
        if group == 1:
            return x
        return x.repeat_interleave(group, dim=1)  # (batch, kv_head, key, d_head) -> (batch, head, …)
