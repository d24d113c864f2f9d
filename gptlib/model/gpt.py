"""GPT: embed the tokens, pass them through the blocks, score every token as the next one."""

from __future__ import annotations

import math

from jaxtyping import Float, Int
from torch import Tensor, nn

from gptlib.model.blocks import Block
from gptlib.model.cache import KeyValueCache
from gptlib.model.checks import check_tokens
from gptlib.model.config import INITIAL_STD, GPTConfig
from gptlib.model.copying import CopyHeads
from gptlib.model.norms import NORM_CLASSES
from gptlib.model.positions import EMBEDDING_POSITIONS
from gptlib.model.variants import CappedUnembedding


class GPT(nn.Module):
    """A decoder-only transformer in GPT-2's layout, or with other parts where the config names them.

    Its initial weights are drawn with standard deviation 0.02; for the two projections of each block that
    write into the residual stream it is 0.02 / √(2 n_layers), so that the stream does not grow with depth.
    Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position = EMBEDDING_POSITIONS[config.position](config)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.final_norm = NORM_CLASSES[config.norm](config)
        self.copying = nn.ModuleList([CopyHeads(config)]) if config.copy_heads else ()
        if config.logit_cap is None:
            self.unembedding = nn.Linear(config.d_model, config.vocab_size, bias=False)
        else:
            self.unembedding = CappedUnembedding(config)
        if config.tie_embeddings:
            self.unembedding.weight = self.token_embedding.weight
        draw_weights(self, config.n_layers)

    def forward(
        self, tokens: Int[Tensor, "batch seq"], cache: KeyValueCache | None = None
    ) -> Float[Tensor, "batch seq vocab"]:
        """Logits of the token after each position. With a cache, tokens are those that follow the ones in it.

        Raises TypeError when tokens are not whole numbers, ValueError when they are not (batch, seq) or
        longer than the context, IndexError when a token is outside the vocabulary.
        """
        start = 0 if cache is None else cache.check(self.config)
        check_tokens(tokens, self.config, start)
        x = self.token_embedding(tokens)  # (batch, seq) -> (batch, seq, d_model)
        x = self.dropout(self.position(x, start))
        layers = [None] * len(self.blocks) if cache is None else cache.layers
        for block, layer in zip(self.blocks, layers, strict=True):
            x = block(x, layer)
        x = self.final_norm(x)
        copies = [None] * len(self.copying) if cache is None else cache.copies
        for heads, copy in zip(self.copying, copies, strict=True):
            x = heads(x, tokens, self.unembedding.weight, copy)
        return self.unembedding(x)  # (batch, seq, d_model) -> (batch, seq, vocab)

    @property
    def n_parameters(self) -> int:
        """How many numbers are learned; a tied embedding counts once."""
        return sum(parameter.numel() for parameter in self.parameters())


def draw_weights(model: nn.Module, n_layers: int) -> None:
    """Draw all weights of a stack of blocks anew, from torch's global generator. Biases become 0."""
    for name, parameter in model.named_parameters():
        if name.endswith(("attention.output.weight", ".down.weight")):
            nn.init.normal_(parameter, std=INITIAL_STD / math.sqrt(2 * n_layers))
        elif parameter.dim() == 2:
            nn.init.normal_(parameter, std=INITIAL_STD)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
