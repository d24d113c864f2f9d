"""From the residual stream to logits: a score for every token as the next one."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from gptlib.model.attention_variants import soft_cap
from gptlib.model.config import GPTConfig


class Unembedding(nn.Linear):
    """Scores every token of the vocabulary as the next one."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config.d_model, config.vocab_size, bias=False)
        self.config = config


class CappedUnembedding(Unembedding):
    """The same, with logits that pass through `soft_cap`. Gemma Team 2024, "Gemma 2", section 2."""

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        return soft_cap(super().forward(x), self.config.logit_cap)


def unembedding_class(config: GPTConfig) -> type[Unembedding]:
    """The kind of unembedding that a config asks for."""
    return Unembedding if config.logit_cap is None else CappedUnembedding
