"""Attention: each position takes a weighted average of what it may look at (notebooks 03, 04, 06 and 10).

`attention` is the explicit one, to be read; `fast_attention` computes the same without keeping the weights.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gptlib.config import GPTConfig
from gptlib.positions import ATTENTION_POSITIONS


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
    _check_inputs(queries, keys, keys, mask, bias)
    scores = queries @ keys.transpose(-2, -1)  # (…, query, d_head) @ (…, d_head, key) -> (…, query, key)
    scores = scores / math.sqrt(queries.shape[-1])
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1)


def attention(
    queries: Float[Tensor, "*batch query d_head"],
    keys: Float[Tensor, "*batch key d_head"],
    values: Float[Tensor, "*batch key d_value"],
    mask: Bool[Tensor, "... query key"] | None = None,
    bias: Float[Tensor, "... query key"] | None = None,
    dropout: float = 0.0,
) -> tuple[Float[Tensor, "*batch query d_value"], Float[Tensor, "*batch query key"]]:
    """Attention written out. Returns (output, weights); the weights are those before dropout.

    mask, bias and what is raised: as for `attention_weights`. dropout: the chance that a weight is dropped
    from the average, 0 outside training.
    Vaswani et al. 2017, "Attention Is All You Need", section 3.2.1, equation 1.
    """
    _check_inputs(queries, keys, values, mask, bias)
    _check_dropout(dropout)
    weights = attention_weights(queries, keys, mask, bias)
    output = F.dropout(weights, dropout) @ values  # (…, query, key) @ (…, key, d_value)
    return output, weights


def fast_attention(
    queries: Float[Tensor, "*batch query d_head"],
    keys: Float[Tensor, "*batch key d_head"],
    values: Float[Tensor, "*batch key d_value"],
    mask: Bool[Tensor, "... query key"] | None = None,
    bias: Float[Tensor, "... query key"] | None = None,
    dropout: float = 0.0,
    causal: bool = False,
) -> Float[Tensor, "*batch query d_value"]:
    """The same output as `attention`, by torch's fused kernel, which never holds all the weights in memory.

    causal=True stands for mask=causal_mask(query, key), which the kernel then need not be given.
    Raises as `attention_weights` does, and ValueError when both mask and causal are given.
    """
    _check_inputs(queries, keys, values, mask, bias)
    _check_dropout(dropout)
    n_queries, n_keys = queries.shape[-2], keys.shape[-2]
    by_kernel = causal and bias is None and n_queries == n_keys
    if causal and mask is not None:
        raise ValueError("mask and causal=True are both given; give one of them")
    if causal and not by_kernel:
        mask = causal_mask(n_queries, n_keys, device=queries.device)
    if bias is not None and mask is not None:
        bias = bias.masked_fill(~mask, float("-inf"))
    added = mask if bias is None else bias.to(queries.dtype)
    return F.scaled_dot_product_attention(queries, keys, values, added, dropout, is_causal=by_kernel)


def causal_mask(
    n_queries: int, n_keys: int | None = None, device: torch.device | str | None = None
) -> Bool[Tensor, "query key"]:
    """True where a query may attend: to its own position and those before it.

    n_keys is n_queries unless given. With a cache there are more keys, and the queries are the last of them.
    Raises ValueError when a count is below 1 or there are more queries than keys.
    """
    n_keys = n_queries if n_keys is None else n_keys
    if not 1 <= n_queries <= n_keys:
        raise ValueError(f"n_queries is {n_queries} and n_keys {n_keys}; 1 <= n_queries <= n_keys is needed")
    return torch.ones(n_queries, n_keys, dtype=torch.bool, device=device).tril(n_keys - n_queries)


class LayerCache:
    """The keys and values of the tokens that one layer has read so far."""

    def __init__(
        self, config: GPTConfig, batch_size: int, device: torch.device | str | None, dtype: torch.dtype
    ) -> None:
        shape = (batch_size, config.kv_heads, config.context_length, config.d_head)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.length = 0

    def append(
        self,
        keys: Float[Tensor, "batch kv_head seq d_head"],
        values: Float[Tensor, "batch kv_head seq d_head"],
    ) -> tuple[Float[Tensor, "batch kv_head key d_head"], Float[Tensor, "batch kv_head key d_head"]]:
        """Store the keys and values of new tokens; return those of all tokens so far.

        They are stored without gradients: a cache is for generating, not for training.
        Raises ValueError when the shape is not what the cache was made for, or the context is full.
        """
        batch_size, kv_heads, capacity, d_head = self.keys.shape
        end = self.length + keys.shape[2]
        if keys.shape != (batch_size, kv_heads, keys.shape[2], d_head) or keys.shape != values.shape:
            raise ValueError(
                f"keys has shape {tuple(keys.shape)}, values {tuple(values.shape)}; the cache was made for "
                f"(batch, kv_head, seq, d_head) = ({batch_size}, {kv_heads}, seq, {d_head})"
            )
        if end > capacity:
            raise ValueError(
                f"cache holds {self.length} of {capacity} tokens, and {end - self.length} more do not fit; "
                f"start a new cache from the last {capacity} tokens or fewer"
            )
        self.keys[:, :, self.length : end] = keys.detach()
        self.values[:, :, self.length : end] = values.detach()
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class KeyValueCache:
    """The keys and values of every layer, so that a new token costs one row of attention, not all rows.

    cache = KeyValueCache(model.config, batch_size=1); model(prompt, cache); model(next_token, cache); …
    Raises ValueError when batch_size is below 1.
    """

    def __init__(
        self,
        config: GPTConfig,
        batch_size: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it needs to be at least 1")
        self.layers = [LayerCache(config, batch_size, device, dtype) for _ in range(config.n_layers)]

    @property
    def length(self) -> int:
        """How many tokens have been read so far."""
        return self.layers[0].length


class MultiHeadAttention(nn.Module):
    """Causal self-attention with many heads, each with queries, keys and values of its own.

    `weights` does nothing to the attention weights that pass through it. It is the place, with a name, at
    which `gptlib.trace` looks: with a hook there they are computed explicitly, else by the fast path.
    With n_kv_heads < n_heads, groups of query heads share keys and values
    (Ainslie et al. 2023, "GQA", section 2.2). Vaswani et al. 2017, section 3.2.2.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        d_keys = config.kv_heads * config.d_head
        self.widths = [config.d_model, d_keys, d_keys]
        self.qkv = nn.Linear(config.d_model, sum(self.widths), bias=config.bias)
        self.position = ATTENTION_POSITIONS[config.position](config)
        self.weights = nn.Identity()
        self.output = nn.Linear(config.d_model, config.d_model, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], cache: LayerCache | None = None
    ) -> Float[Tensor, "batch seq d_model"]:
        """Each position gathers from itself and those before it.

        With a cache, x holds the tokens that come after those in it.
        Raises ValueError when x is not (batch, seq, d_model), or does not fit the cache.
        """
        if x.dim() != 3:
            raise ValueError(f"x has shape {tuple(x.shape)}; it needs (batch, seq, {self.config.d_model})")
        check_width(x, self.config.d_model)
        start = 0 if cache is None else cache.length
        queries, keys, values = self.qkv(x).split(self.widths, dim=-1)
        queries = self.position(self.split_heads(queries), start)
        keys, values = self.position(self.split_heads(keys), start), self.split_heads(values)
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
        n_queries, n_keys = queries.shape[2], keys.shape[2]
        bias = self.position.bias(n_queries, n_keys)
        dropout = self.config.dropout if self.training else 0.0
        if not (self.weights._forward_hooks or self.weights._forward_pre_hooks):
            return fast_attention(queries, keys, values, bias=bias, dropout=dropout, causal=True)
        mask = causal_mask(n_queries, n_keys, device=queries.device)
        weights = self.weights(attention_weights(queries, keys, mask, bias))
        return F.dropout(weights, dropout) @ values  # (…, query, key) @ (…, key, d_head)

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


def check_width(x: Float[Tensor, "*batch d_model"], d_model: int) -> None:
    """Raise unless x holds floating vectors of d_model numbers."""
    if not x.is_floating_point():
        raise TypeError(f"x has dtype {x.dtype}; it needs a floating one: x.float() would do")
    if x.dim() < 1 or x.shape[-1] != d_model:
        raise ValueError(f"x has shape {tuple(x.shape)}; its last dimension needs to be {d_model}")


def _check_inputs(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, bias: Tensor | None
) -> None:
    for name, tensor in (("queries", queries), ("keys", keys), ("values", values), ("bias", bias)):
        if tensor is not None and not tensor.is_floating_point():
            raise TypeError(f"{name} has dtype {tensor.dtype}; {name}.float() would do")
        if tensor is not None and tensor.dim() < 2:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; it needs at least two dimensions")
    *batch, n_queries, d_head = queries.shape
    n_keys = keys.shape[-2]
    if keys.shape[-1] != d_head or list(keys.shape[:-2]) != batch:
        raise ValueError(
            f"keys has shape {tuple(keys.shape)}; queries has {tuple(queries.shape)}, "
            f"so keys needs {(*batch, 'key', d_head)}".replace("'", "")
        )
    if values.shape[:-1] != keys.shape[:-1]:
        raise ValueError(
            f"values has shape {tuple(values.shape)}; keys has {tuple(keys.shape)}, "
            f"so values needs {(*keys.shape[:-1], 'd_value')}, one for each key".replace("'", "")
        )
    for name, tensor in (("mask", mask), ("bias", bias)):
        if tensor is not None and not _fits(tensor, (*batch, n_queries, n_keys)):
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}; the scores have {(*batch, n_queries, n_keys)}, "
                f"so {name} needs ({n_queries}, {n_keys}), or that with some of the dimensions before it"
            )
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"mask has dtype {mask.dtype}; it needs torch.bool, True where a query may attend")
    if mask is not None and mask.device.type != "meta" and not mask.any(dim=-1).all():
        row = (~mask.any(dim=-1)).nonzero()[0, -1].item()
        raise ValueError(f"mask lets query {row} attend to nothing; each query needs at least one True")


def _fits(tensor: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether a tensor has all queries and keys of these scores, and broadcasts over what is before them."""
    ahead = zip(reversed(tensor.shape[:-2]), reversed(shape[:-2]), strict=False)
    return (
        tensor.dim() <= len(shape)
        and tensor.shape[-2:] == shape[-2:]
        and all(given in (1, wanted) for given, wanted in ahead)
    )


def _check_dropout(dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; it needs a number from 0 up to, not including, 1")
