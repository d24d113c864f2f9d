"""An MLP that bends by a square instead of a GELU."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gptlib.model.checks import check_width
from gptlib.model.config import GPTConfig


class SquaredReLU(nn.Module):
    """Widen, cut at 0 and square, narrow: less work than a GELU.

    So et al. 2021, "Primer: Searching for Efficient Transformers for Language Modeling", section 4.1.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, config.mlp_width, bias=config.bias)
        self.down = nn.Linear(config.mlp_width, config.d_model, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        check_width(x, self.up.in_features)
        hidden = F.relu(self.up(x))  # (…, d_model) -> (…, d_mlp)
        return self.dropout(self.down(hidden * hidden))  # (…, d_mlp) -> (…, d_model)
