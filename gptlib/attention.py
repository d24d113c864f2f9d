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


def attention_scores(
    queries: Float[Tensor, "*batch query d_head"],
    keys: Float[Tensor, "*batch key d_head"],
    mask: Bool[Tensor, "... query key"] | None = None,
    bias: Float[Tensor, "... query key"] | None = None,
    cap: float | int | None = None,
) -> Float[Tensor, "*batch query key"]:
    """How well each key fits each query: queries keysᵀ / √d_head + bias, and -inf where the mask is False.

    cap: the bound of `soft_cap`, through which the scores pass first; None for no bound.
    mask, bias and what is raised: as for `attention_weights`.
    """
    _check_inputs(queries, keys, keys, mask, bias)
    scores = queries @ keys.transpose(-2, -1)  # (…, query, d_head) @ (…, d_head, key) -> (…, query, key)
    scores = scores / math.sqrt(queries.shape[-1])
    if cap is not None:
        scores = soft_cap(scores, cap)
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
    window: int | None = None,
) -> Float[Tensor, "*batch query d_value"]:
    """The same output as `attention`, by torch's fused kernel, which never holds all the weights in memory.

    Where that kernel is slow (`_kernel_is_slow` says where), it is written out again, in fewer passes.
    causal=True stands for mask=causal_mask(query, key, window), which the kernel then need not be given where
    the window hides nothing.
    Raises as `attention_weights` does, and ValueError when both mask and causal are given.
    """
    _check_inputs(queries, keys, values, mask, bias)
    _check_dropout(dropout)
    n_queries, n_keys = queries.shape[-2], keys.shape[-2]
    written_out = _kernel_is_slow(queries, n_keys)
    by_kernel = causal and bias is None and n_queries == n_keys and (window is None or n_keys <= window)
    by_kernel = by_kernel and not written_out
    if causal and mask is not None:
        raise ValueError("mask and causal=True are both given; give one of them")
    if causal and not by_kernel:
        mask = causal_mask(n_queries, n_keys, window, device=queries.device)
    if bias is not None and mask is not None:
        bias = bias.masked_fill(~mask, float("-inf"))
    if written_out:
        return _attention_in_few_passes(queries, keys, values, mask, bias, dropout)
    added = mask if bias is None else bias.to(queries.dtype)
    return F.scaled_dot_product_attention(queries, keys, values, added, dropout, is_causal=by_kernel)


def _kernel_is_slow(queries: Float[Tensor, "*batch query d_head"], n_keys: int) -> bool:
    """On a processor the fused kernel takes three times as long in bfloat16, most of it going backward.

    Beyond 512 keys it is used all the same, for the memory that it saves.
    """
    return queries.dtype is torch.bfloat16 and queries.device.type == "cpu" and n_keys <= 512


def _attention_in_few_passes(
    queries: Float[Tensor, "*batch query d_head"],
    keys: Float[Tensor, "*batch key d_head"],
    values: Float[Tensor, "*batch key d_value"],
    mask: Bool[Tensor, "... query key"] | None,
    bias: Float[Tensor, "... query key"] | None,
    dropout: float,
) -> Float[Tensor, "*batch query d_value"]:
    """`attention` again, going over the scores as seldom as torch allows."""
    if bias is None and mask is not None:
        bias = torch.zeros(mask.shape, dtype=queries.dtype).masked_fill(~mask, float("-inf"))
    scores = (queries / math.sqrt(queries.shape[-1])) @ keys.transpose(-2, -1)
    if bias is not None:
        scores.add_(bias)
    return F.dropout(scores.softmax(dim=-1), dropout) @ values


def causal_mask(
    n_queries: int,
    n_keys: int | None = None,
    window: int | None = None,
    device: torch.device | str | None = None,
) -> Bool[Tensor, "query key"]:
    """True where a query may attend: to its own position and those before it, `window` of them if given.

    n_keys is n_queries unless given. With a cache there are more keys, and the queries are the last of them.
    Raises ValueError when a count is below 1 or there are more queries than keys.
    The window: Beltagy et al. 2020, "Longformer", section 3.1; Jiang et al. 2023, "Mistral 7B", section 2.
    """
    n_keys = n_queries if n_keys is None else n_keys
    if not 1 <= n_queries <= n_keys:
        raise ValueError(f"n_queries is {n_queries} and n_keys {n_keys}; 1 <= n_queries <= n_keys is needed")
    if window is not None and window < 1:
        raise ValueError(f"window is {window}; it needs to be at least 1, the query's own position")
    first = n_keys - n_queries  # the place of the first query among the keys
    mask = torch.ones(n_queries, n_keys, dtype=torch.bool, device=device).tril(first)
    return mask if window is None else mask.triu(first - window + 1)


def soft_cap(x: Float[Tensor, "*shape"], cap: float | int) -> Float[Tensor, "*shape"]:
    """Bring every number between -cap and cap, the small ones nearly unchanged: cap tanh(x / cap).

    Gemma Team 2024, "Gemma 2", section 2.
    """
    return cap * torch.tanh(x / cap)


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
        _check_cached(self.keys, keys, values)
        capacity = self.keys.shape[2]
        end = self.length + keys.shape[2]
        if end > capacity:
            raise ValueError(
                f"cache holds {self.length} of {capacity} tokens, and {end - self.length} more do not fit; "
                f"start a new cache from the last {capacity} tokens or fewer"
            )
        self.keys[:, :, self.length : end] = keys.detach()
        self.values[:, :, self.length : end] = values.detach()
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class WindowCache:
    """The keys and values that a sliding window can still see: its memory stops growing at window - 1 tokens.

    A new token sees itself and window - 1 before it. Jiang et al. 2023, "Mistral 7B", section 2.
    """

    def __init__(
        self, config: GPTConfig, batch_size: int, device: torch.device | str | None, dtype: torch.dtype
    ) -> None:
        self.keys = torch.zeros((batch_size, config.kv_heads, 0, config.d_head), device=device, dtype=dtype)
        self.values = self.keys
        self.kept = config.window - 1
        self.length = 0

    def append(
        self,
        keys: Float[Tensor, "batch kv_head seq d_head"],
        values: Float[Tensor, "batch kv_head seq d_head"],
    ) -> tuple[Float[Tensor, "batch kv_head key d_head"], Float[Tensor, "batch kv_head key d_head"]]:
        """Store the keys and values of new tokens; return those, and before them all that these may see.

        Raises ValueError when the shape is not what the cache was made for.
        """
        _check_cached(self.keys, keys, values)
        self.length += keys.shape[2]
        keys = torch.cat([self.keys, keys.detach().to(self.keys)], dim=2)
        values = torch.cat([self.values, values.detach().to(self.values)], dim=2)
        # Copies, since a slice would keep what has left the window in memory.
        forgotten = max(0, keys.shape[2] - self.kept)
        self.keys, self.values = keys[:, :, forgotten:].clone(), values[:, :, forgotten:].clone()
        return keys, values


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
        layer_cache = LayerCache if config.window is None else WindowCache
        self.layers = [layer_cache(config, batch_size, device, dtype) for _ in range(config.n_layers)]

    @property
    def length(self) -> int:
        """How many tokens have been read so far."""
        return self.layers[0].length


class HeadNorm(nn.Module):
    """RMS norm of each head's queries or keys, so that no score is large because a vector is long.

    Henry et al. 2020, "Query-Key Normalization for Transformers", in the form of Qwen Team 2025, "Qwen3
    Technical Report", section 2: an RMS norm with a learned weight, for all heads the same.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_head))
        self.eps = config.norm_eps

    def forward(self, x: Float[Tensor, "batch head seq d_head"]) -> Float[Tensor, "batch head seq d_head"]:
        # Under autocast x comes in half the bits; with a weight in all of them torch leaves its fused kernel.
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


class MultiHeadAttention(nn.Module):
    """Causal self-attention with many heads, each with queries, keys and values of its own.

    `weights` does nothing to the attention weights that pass through it. It is the place, with a name, at
    which `gptlib.trace` looks: with a hook there they are computed explicitly, else by the fast path. On the
    explicit path lie the places `queries`, `keys`, `values` and `scores`, too.
    With n_kv_heads < n_heads, groups of query heads share keys and values
    (Ainslie et al. 2023, "GQA", section 2.2). Vaswani et al. 2017, section 3.2.2.
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
        if x.dim() != 3:
            raise ValueError(f"x has shape {tuple(x.shape)}; it needs (batch, seq, {self.config.d_model})")
        check_width(x, self.config.d_model)
        start = 0 if cache is None else cache.length
        queries, keys, values = self.qkv(x).split(self.widths, dim=-1)
        queries = self.position(self.query_norm(self.split_heads(queries)), start)
        keys, values = self.position(self.key_norm(self.split_heads(keys)), start), self.split_heads(values)
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
        dropout = self.config.dropout if self.training else 0.0
        window = self.config.window
        return fast_attention(queries, keys, values, bias=bias, dropout=dropout, causal=True, window=window)

    def attend_explicitly(
        self,
        queries: Float[Tensor, "batch head query d_head"],
        keys: Float[Tensor, "batch head key d_head"],
        values: Float[Tensor, "batch head key d_head"],
    ) -> Float[Tensor, "batch head query d_head"]:
        """The same, with every step at the place that has its name."""
        n_queries, n_keys = queries.shape[2], keys.shape[2]
        mask = causal_mask(n_queries, n_keys, self.config.window, device=queries.device)
        bias = self.position.bias(n_queries, n_keys)
        queries, keys, values = self.queries(queries), self.keys(keys), self.values(values)
        scores = self.scores(attention_scores(queries, keys, mask, bias, self.config.score_cap))
        weights = self.weights(scores.softmax(dim=-1))
        dropout = self.config.dropout if self.training else 0.0
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


class CappedAttention(MultiHeadAttention):
    """Attention whose scores pass through `soft_cap`: always explicit, since torch's kernel cannot."""

    attend = MultiHeadAttention.attend_explicitly


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


def _check_cached(cached: Tensor, keys: Tensor, values: Tensor) -> None:
    batch_size, kv_heads, _, d_head = cached.shape
    if keys.shape != (batch_size, kv_heads, keys.shape[2], d_head) or keys.shape != values.shape:
        raise ValueError(
            f"keys has shape {tuple(keys.shape)}, values {tuple(values.shape)}; the cache was made for "
            f"(batch, kv_head, seq, d_head) = ({batch_size}, {kv_heads}, seq, {d_head})"
        )


def _check_dropout(dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; it needs a number from 0 up to, not including, 1")
