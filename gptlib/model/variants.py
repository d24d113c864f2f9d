"""Attention that sees only a window, scores and logits that are capped: what some models after GPT-2 do."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gptlib.model.attention import MultiHeadAttention, attention_scores
from gptlib.model.config import GPTConfig
from gptlib.model.fast_attention import fast_attention
from gptlib.model.masks import sliding_window_mask


def soft_cap(x: Float[Tensor, "*shape"], cap: float | int) -> Float[Tensor, "*shape"]:
    """Bring every number between -cap and cap, the small ones nearly unchanged: cap tanh(x / cap).

    Gemma Team 2024, "Gemma 2", section 2.
    """
    return cap * torch.tanh(x / cap)


class WindowAttention(MultiHeadAttention):
    """Attention that sees config.window tokens, the query's own and those right before it.

    Jiang et al. 2023, "Mistral 7B", section 2.
    """

    def mask(
        self, queries: Float[Tensor, "batch head query d_head"], keys: Float[Tensor, "batch head key d_head"]
    ) -> Bool[Tensor, "query key"]:
        return sliding_window_mask(queries.shape[2], keys.shape[2], self.config.window, queries.device)

    def attend(
        self,
        queries: Float[Tensor, "batch head query d_head"],
        keys: Float[Tensor, "batch head key d_head"],
        values: Float[Tensor, "batch head key d_head"],
    ) -> Float[Tensor, "batch head query d_head"]:
        hooked = self.weights._forward_hooks or self.weights._forward_pre_hooks
        if hooked or keys.shape[2] <= self.config.window:  # then the window hides nothing
            return super().attend(queries, keys, values)
        bias = self.position.bias(queries.shape[2], keys.shape[2])
        return fast_attention(queries, keys, values, self.mask(queries, keys), bias, self.dropout_now())


class CappedAttention(MultiHeadAttention):
    """Attention whose scores pass through `soft_cap` before ALiBi's bias is added and the mask applied.

    Always explicit, since torch's kernel cannot cap.
    """

    attend = MultiHeadAttention.attend_explicitly

    def score(
        self,
        queries: Float[Tensor, "batch head query d_head"],
        keys: Float[Tensor, "batch head key d_head"],
        mask: Bool[Tensor, "query key"],
        bias: Float[Tensor, "head query key"] | None,
    ) -> Float[Tensor, "batch head query key"]:
        scores = soft_cap(attention_scores(queries, keys), self.config.score_cap)
        if bias is not None:
            scores = scores + bias.to(scores.dtype)
        return scores.masked_fill(~mask, float("-inf"))


class CappedWindowAttention(CappedAttention, WindowAttention):
    """Attention in a window, as `WindowAttention`, with capped scores, as `CappedAttention`."""


def attention_class(config: GPTConfig) -> type[MultiHeadAttention]:
    """The kind of attention that a config asks for."""
    if config.score_cap is None:
        return MultiHeadAttention if config.window is None else WindowAttention
    return CappedAttention if config.window is None else CappedWindowAttention


class CappedUnembedding(nn.Linear):
    """Logits that pass through `soft_cap`. Gemma Team 2024, "Gemma 2", section 2."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config.d_model, config.vocab_size, bias=False)
        self.cap = config.logit_cap

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        return soft_cap(super().forward(x), self.cap)
