"""One more token in as few operations as torch allows: what `generate` runs wherever it can.

`GPT.forward` with a cache is the one to read. Here every shape is known and nothing is checked,
hooked or dropped, so that a small model waits for its products alone. A test holds both equal.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from gptlib.model.attention import MultiHeadAttention
from gptlib.model.blocks import MLP, Block
from gptlib.model.cache import KeyValueCache, LayerCache
from gptlib.model.gated_mlp import SwiGLU
from gptlib.model.gpt import GPT
from gptlib.model.norms import HeadNorm, LayerNorm, RMSNorm
from gptlib.model.positions import (
    LearnedPositions,
    NoPosition,
    PlainScores,
    RotaryPositions,
    SinusoidalPositions,
    rotate,
)
from gptlib.model.squared_relu import SquaredReLU
from gptlib.model.structure import find_change

# What is rebuilt here, step by step. A model with anything else in it is left to its own forward.
KNOWN = {
    *(GPT, Block, MultiHeadAttention, MLP, SquaredReLU, SwiGLU, LayerNorm, RMSNorm, HeadNorm),
    *(NoPosition, LearnedPositions, SinusoidalPositions, PlainScores, RotaryPositions),
    *(nn.ModuleList, nn.Embedding, nn.Linear, nn.GELU, nn.Dropout, nn.Identity),
}


class FastDecoder:
    """The logits after one more token of each row, as `model(tokens[:, None], cache)[:, -1]` gives them.

    model: one that `can_decode`.
    cache: of this model, with room for the tokens to come; each call adds to it.
    """

    def __init__(self, model: GPT, cache: KeyValueCache) -> None:
        self.modules = list(model.modules())
        self.parts = [
            (held, name, part)
            for module in self.modules
            for held in (module._parameters, module._modules)
            for name, part in held.items()
        ]
        self.cache = cache
        self.embedding = model.token_embedding.weight
        self.positions = _table(model.position)
        turn = _turner(model)
        self.layers = [_layer(*pair, turn) for pair in zip(model.blocks, cache.layers, strict=True)]
        self.norm = _norm(model.final_norm)
        self.unembedding = model.unembedding.weight

    def still_holds(self) -> bool:
        """Whether the model is as it was, and would compute no more than is computed here.

        Not where somebody has hooked a part of it, or put another in its place; nor under autocast, which
        rounds in other places.
        """
        return (
            not any(module._forward_hooks or module._forward_pre_hooks for module in self.modules)
            and all(held.get(name) is part for held, name, part in self.parts)
            and not torch.is_autocast_enabled(self.embedding.device.type)
        )

    def __call__(self, tokens: Int[Tensor, " batch"]) -> Float[Tensor, "batch vocab"]:
        position = self.cache.length
        x = self.embedding[tokens]  # (batch,) -> (batch, d_model)
        if self.positions is not None:
            x = x + self.positions[position]
        for layer in self.layers:
            x = layer(x, position)
        return F.linear(self.norm(x), self.unembedding)  # (batch, d_model) -> (batch, vocab)


def can_decode(model: GPT) -> bool:
    """Whether `FastDecoder` knows every part of the model, and each is as its config says."""
    known = all(type(module) in KNOWN for module in model.modules())
    plain = known and model.config.window is None and model.token_embedding.weight.dtype is torch.float32
    return plain and find_change(model) is None


Step = Callable[[Tensor, int], Tensor]


def _layer(block: Block, cache: LayerCache, turn: Step) -> Step:
    """A block for one position: x (batch, d_model) and the position in, what the block makes of x out."""
    config, attention = block.attention.config, block.attention
    n_heads, kv_heads, d_head = config.n_heads, config.kv_heads, config.d_head
    heads = [n_heads, kv_heads, kv_heads]
    attention_norm, mlp_norm, mlp = _norm(block.attention_norm), _norm(block.mlp_norm), _mlp(block.mlp)
    query_norm, key_norm = _norm(attention.query_norm), _norm(attention.key_norm)
    qkv, output = (attention.qkv.weight, attention.qkv.bias), (attention.output.weight, attention.output.bias)
    batch = len(cache.keys)

    def step(x: Tensor, position: int) -> Tensor:
        each = F.linear(attention_norm(x), *qkv).view(batch, -1, d_head)  # (batch, head, d_head)
        queries, keys, values = each.split(heads, dim=1)
        cache.keys[:, :, position] = turn(key_norm(keys), position)
        cache.values[:, :, position] = values
        cache.length = end = position + 1
        # Query heads that share keys stand where a sequence would.
        queries = turn(query_norm(queries), position).reshape(batch, kv_heads, -1, d_head)
        mixed = F.scaled_dot_product_attention(queries, cache.keys[:, :, :end], cache.values[:, :, :end])
        x = x + F.linear(mixed.reshape(batch, -1), *output)
        return x + mlp(mlp_norm(x))

    return step


def _norm(module: nn.Module) -> Callable[[Tensor], Tensor]:
    if isinstance(module, LayerNorm):
        weight, bias, eps = module.weight, module.bias, module.eps
        return lambda x: torch.layer_norm(x, weight.shape, weight, bias, eps)
    if isinstance(module, (RMSNorm, HeadNorm)):
        weight, eps = module.weight, module.eps
        return lambda x: torch.rms_norm(x, weight.shape, weight, eps)
    return lambda x: x


def _mlp(module: MLP | SquaredReLU | SwiGLU) -> Callable[[Tensor], Tensor]:
    up, down = (module.up.weight, module.up.bias), (module.down.weight, module.down.bias)
    if isinstance(module, MLP):
        return lambda x: F.linear(F.gelu(F.linear(x, *up), approximate="tanh"), *down)
    if isinstance(module, SquaredReLU):
        return lambda x: F.linear(F.relu(F.linear(x, *up)).square(), *down)
    gate = (module.gate.weight, module.gate.bias)
    return lambda x: F.linear(F.silu(F.linear(x, *gate)) * F.linear(x, *up), *down)


def _table(position: nn.Module) -> Float[Tensor, "context_length d_model"] | None:
    """What is added to the embeddings at each position."""
    if isinstance(position, LearnedPositions):
        return position.embedding.weight
    return position.table if isinstance(position, SinusoidalPositions) else None


def _turner(model: GPT) -> Step:
    """What turns queries or keys (batch, head, d_head) to a position: a product of complex numbers."""
    config = model.config
    if config.position != "rotary":
        return lambda x, position: x
    device = model.token_embedding.weight.device
    one = torch.tensor([1.0, 0.0], device=device).repeat(config.context_length, config.d_head // 2)
    places = torch.arange(config.context_length, device=device)
    turns = torch.view_as_complex(rotate(one, places, config.rotary_base).unflatten(-1, (-1, 2)))

    def turn(x: Tensor, position: int) -> Tensor:
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))  # (…, d_head) -> (…, d_head/2)
        return torch.view_as_real(pairs * turns[position]).flatten(-2)

    return turn
