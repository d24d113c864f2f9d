"""Which tokens a query may attend to: those before it, or a window of them."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from gptlib.checks import check_whole
from gptlib.model.checks import check_counts


def causal_mask(
    n_queries: int, n_keys: int | None = None, device: torch.device | str | None = None
) -> Bool[Tensor, "query key"]:
    """True where a query may attend: to its own position and all those before it.

    n_keys is n_queries unless given. With a cache there are more keys, and the queries are the last of them.
    Raises ValueError when a count is below 1 or there are more queries than keys.
    """
    n_keys = n_queries if n_keys is None else n_keys
    check_counts(n_queries, n_keys)
    first = n_keys - n_queries  # the position of the first query among the keys
    return torch.ones(n_queries, n_keys, dtype=torch.bool, device=device).tril(first)


def sliding_window_mask(
    n_queries: int, n_keys: int | None, window: int, device: torch.device | str | None = None
) -> Bool[Tensor, "query key"]:
    """`causal_mask` that hides all but the last `window` positions, the query's own among them.

    Raises as `causal_mask` does, and ValueError when window is below 1.
    Beltagy et al. 2020, "Longformer", section 3.1; Jiang et al. 2023, "Mistral 7B", section 2.
    """
    check_whole("window", window)
    mask = causal_mask(n_queries, n_keys, device)
    return mask.triu(mask.shape[1] - n_queries - window + 1)
