"""SwiGLU, the MLP of most models after GPT-2."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gptlib.model.checks import check_width
from gptlib.model.config import GPTConfig


class SwiGLU(nn.Module):
    """Widen twice, let one half open and close the other like a gate, narrow.

    With three matrices, d_mlp = 8/3 d_model costs what `MLP` does at 4 d_model.
    Shazeer 2020, "GLU Variants Improve Transformer", section 2.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.d_model, config.mlp_width, bias=config.bias)
        self.up = nn.Linear(config.d_model, config.mlp_width, bias=config.bias)
        self.down = nn.Linear(config.mlp_width, config.d_model, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        check_width(x, self.up.in_features)
        hidden = F.silu(self.gate(x)) * self.up(x)  # (…, d_model) -> (…, d_mlp)
        return self.dropout(self.down(hidden))  # (…, d_mlp) -> (…, d_model)
