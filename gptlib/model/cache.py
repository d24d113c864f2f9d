"""Keys and values that are kept, so that a new token costs one row of attention and not all rows."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gptlib.checks import check_kind, check_whole
from gptlib.model.config import GPTConfig


class LayerCache:
    """The keys and values of the tokens that one layer has read so far."""

    def __init__(
        self,
        config: GPTConfig,
        batch_size: int,
        device: torch.device | str | None,
        dtype: torch.dtype,
        capacity: int,
    ) -> None:
        shape = (batch_size, config.kv_heads, capacity, config.d_head)
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
        self,
        config: GPTConfig,
        batch_size: int,
        device: torch.device | str | None,
        dtype: torch.dtype,
        capacity: int,
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


class CopyCache:
    """What copy heads have read so far: their keys, and the rows of the unembedding to point at."""

    def __init__(
        self, config: GPTConfig, batch_size: int, device: torch.device | str | None, dtype: torch.dtype
    ) -> None:
        shape = (batch_size, config.copy_heads, 0, config.d_head)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros((batch_size, 0, config.d_model), device=device, dtype=dtype)

    def append(
        self, keys: Float[Tensor, "batch head seq d_head"], rows: Float[Tensor, "batch seq d_model"]
    ) -> tuple[Float[Tensor, "batch head key d_head"], Float[Tensor, "batch key d_model"]]:
        """Store the keys and rows of new tokens; return those of all tokens so far."""
        self.keys = torch.cat([self.keys, keys.detach().to(self.keys)], dim=2)
        self.values = torch.cat([self.values, rows.detach().to(self.values)], dim=1)
        return self.keys, self.values


class KeyValueCache:
    """The keys and values of every layer, so that a new token costs one row of attention, not all rows.

        cache = KeyValueCache(model.config, batch_size=1)
        logits = model(prompt, cache)  # of every token of the prompt
        logits = model(next_token, cache)  # of the new token alone; (batch, 1), and so on

    It has room for `capacity` tokens (None: for the whole context). Raises ValueError for a size below 1.
    """

    def __init__(
        self,
        config: GPTConfig,
        batch_size: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        capacity: int | None = None,
    ) -> None:
        check_kind("config", config, GPTConfig, "a model's GPTConfig")
        check_whole("batch_size", batch_size)
        capacity = config.context_length if capacity is None else capacity
        check_whole("capacity", capacity)
        layer_cache = LayerCache if config.window is None else WindowCache
        self.layers = [
            layer_cache(config, batch_size, device, dtype, capacity) for _ in range(config.n_layers)
        ]
        self.copies = [CopyCache(config, batch_size, device, dtype)] if config.copy_heads else []

    @property
    def length(self) -> int:
        """How many tokens have been read so far."""
        return self.layers[0].length

    def check(self, config: GPTConfig) -> int:
        """How many tokens have been read; ValueError unless a model of this config can go on from here."""
        if len(self.layers) != config.n_layers:
            raise ValueError(f"cache has {len(self.layers)} layers; it needs the model's {config.n_layers}")
        if len({layer.length for layer in self.layers}) > 1:
            raise ValueError("cache was left half filled by a run that failed; start a new KeyValueCache")
        return self.length

    def take(self, rows: Int[Tensor, " batch"]) -> None:
        """Let row n go on from what row rows[n] has read: there may be more rows afterwards, or fewer."""
        for layer in (*self.layers, *self.copies):
            layer.keys, layer.values = layer.keys[rows], layer.values[rows]


def _check_cached(cached: Tensor, keys: Tensor, values: Tensor) -> None:
    batch_size, kv_heads, _, d_head = cached.shape
    if keys.shape != (batch_size, kv_heads, keys.shape[2], d_head) or keys.shape != values.shape:
        raise ValueError(
            f"keys has shape {tuple(keys.shape)}, values {tuple(values.shape)}; the cache was made for "
            f"(batch, kv_head, seq, d_head) = ({batch_size}, {kv_heads}, seq, {d_head})"
        )
