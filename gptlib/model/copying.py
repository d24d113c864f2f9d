"""Heads that point back at tokens, and so can say again what was said: copy heads."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gptlib.model.attention import attention_weights
from gptlib.model.cache import CopyCache
from gptlib.model.config import GPTConfig
from gptlib.model.masks import causal_mask
from gptlib.model.norms import HeadNorm


class CopyHeads(nn.Module):
    """Attention behind the last norm whose values are the unembedding's own rows of the tokens it looks at.

    What a head looks at can become likelier as the next token with nothing to learn but where to look, and
    how much it counts: a gain for each feature, at first 0. A block would have to learn, too, how to carry
    each token through to its own row of the unembedding.

    The idea of pointing is that of Vinyals et al. 2015, "Pointer Networks", section 2.3; of adding it to what
    a language model says, Merity et al. 2017, "Pointer Sentinel Mixture Models", section 2.1, and See et al.
    2017, "Get To The Point", section 2.2. They mix probabilities; here the logits are added.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        width = config.copy_heads * config.d_head
        self.queries = nn.Linear(config.d_model, width, bias=False)
        self.keys = nn.Linear(config.d_model, width, bias=False)
        self.query_norm = HeadNorm(config) if config.qk_norm else nn.Identity()
        self.key_norm = HeadNorm(config) if config.qk_norm else nn.Identity()
        self.weights, self.heads = nn.Identity(), nn.Identity()  # the places at which `gptlib.trace` looks
        self.gains = nn.Parameter(self.queries.weight.new_zeros(config.copy_heads * config.d_model))

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        tokens: Int[Tensor, "batch seq"],
        unembedding: Float[Tensor, "vocab d_model"],
        cache: CopyCache | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        """What the unembedding reads, and what each head copies added to it."""
        queries, keys = self.split_heads(self.queries(x)), self.split_heads(self.keys(x))
        queries, keys = self.query_norm(queries), self.key_norm(keys)
        rows = F.embedding(tokens, unembedding)  # (batch, seq) -> (batch, seq, d_model)
        if cache is not None:
            keys, rows = cache.append(keys, rows)
        mask = causal_mask(queries.shape[2], keys.shape[2], device=x.device)
        weights = self.weights(attention_weights(queries, keys, mask))
        copied = weights @ rows[:, None]  # (…, query, key) @ (batch, 1, key, d_model) -> (…, query, d_model)
        gains = self.gains.view(self.config.copy_heads, 1, -1)
        return x + self.heads((gains * copied).transpose(1, 2)).sum(dim=2)  # (batch, seq, head, d_model)

    def split_heads(self, x: Float[Tensor, "batch seq width"]) -> Float[Tensor, "batch head seq d_head"]:
        """Give each head its share of the width."""
        return x.unflatten(-1, (self.config.copy_heads, -1)).transpose(1, 2)
