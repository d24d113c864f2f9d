"""Why a head looks where it does: each score split by what wrote the query and what wrote the key."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gptlib.checks import check_whole
from gptlib.interpret.tracing import trace
from gptlib.model.checks import check_tokens
from gptlib.model.gpt import GPT
from gptlib.model.norms import LayerNorm


@dataclass(frozen=True)
class ScoreContributions:
    """One head's queries and keys, each as the sum of what every source of the stream gives to it.

    A score is the sum, over all pairs of sources, of a part of the query times a part of the key.
    """

    sources: list[str]  # "token", "position", "head 0.0", …, "MLP 0", …, "biases"
    queries: Float[Tensor, "source batch query d_head"]
    keys: Float[Tensor, "source batch key d_head"]

    @property
    def scores(self) -> Float[Tensor, "batch query key"]:
        """What all pairs sum to: q · k / √d_head, before a soft cap, ALiBi's bias and the mask."""
        queries, keys = self.queries.sum(dim=0), self.keys.sum(dim=0)
        return queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])

    def between(
        self, query: int | Int[Tensor, " batch"], key: int | Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch query_source key_source"]:
        """The score of a query and a key, one pair of positions in each text, as a table that sums to it."""
        texts = torch.arange(self.queries.shape[1])
        queries, keys = self.queries[:, texts, query], self.keys[:, texts, key]  # (source, batch, d_head)
        return torch.einsum("qbd,kbd->bqk", queries, keys) / math.sqrt(queries.shape[-1])

    def lift(self, wanted: Bool[Tensor, "batch query key"]) -> Float[Tensor, "query_source key_source"]:
        """What lifts the scores of wanted keys above those of the others that a query sees.

        The difference of the two means, itself a mean over all queries with a wanted key, as a table that
        sums to it. What all keys share is not in it, and the softmax does not see that either.
        """
        asked = wanted.any(dim=-1, keepdim=True)  # (batch, query, 1)
        others = torch.ones_like(wanted).tril() & ~wanted & asked
        means = [keys / keys.sum(dim=-1, keepdim=True).clamp(min=1) for keys in (wanted, others)]
        keys = torch.einsum("sbkd,bqk->sbqd", self.keys, (means[0] - means[1]).to(self.keys))  # of each query
        total = torch.einsum("abqd,sbqd->as", self.queries, keys) / math.sqrt(keys.shape[-1])
        return total / asked.sum()


@torch.no_grad()
def score_contributions(
    model: GPT, tokens: Int[Tensor, "batch seq"], layer: int, head: int
) -> ScoreContributions:
    """What the sources of the stream contribute to one head's scores, through its queries and its keys.

    Sources are the token, its position where the model adds one to it, each earlier head and MLP, and the
    biases: those of the norm, of queries and keys, and of the projections of earlier attention. The way from
    the stream to the scores is linear but for the norm's divisor, which is held at what it was (that of
    QK-norm too); the mean that a layer norm subtracts is subtracted from each part by itself. Rotary
    positions turn each part as they turn the whole, and are no source. So all pairs sum to the score, up to
    rounding. This says what a score is made of, and not what it would be without a source: then the divisors
    would be different, and so would be what later parts made of it. For a model in eval mode.
    Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", section "Two-Layer Attention-Only
    Transformers", which speaks of Q- and K-composition where the source is a head; Kamath et al. 2025,
    "Tracing Attention Computation Through Feature Interactions", calls such pairs QK attributions.
    Raises IndexError when the model has no such layer or head, and for tokens as the model does.
    """
    check_tokens(tokens, model.config)
    for name, given, count in (("layer", layer, model.config.n_layers), ("head", head, model.config.n_heads)):
        check_whole(name, given, at_least=None)
        if not 0 <= given < count:
            raise IndexError(f"{name} is {given}; the model's are 0 to {count - 1}")
    block, config = model.blocks[layer], model.config
    attention = block.attention
    parts = _stream_parts(model, tokens, layer)
    stream, bias = _through_norm(block.attention_norm, torch.stack(list(parts.values())))
    kv_head = head * config.kv_heads // config.n_heads  # the head of keys that this one shares

    def read(at: int, norm: nn.Module) -> Float[Tensor, "source batch seq d_head"]:
        """What `d_head` rows of the projection read from each part, the first of them row `at`."""
        rows = slice(at, at + config.d_head)
        weight = attention.qkv.weight[rows]
        x = stream @ weight.T  # (part, batch, seq, d_model) -> (part, batch, seq, d_head)
        if config.bias:
            x[-1] += weight @ bias + attention.qkv.bias[rows]
        if config.qk_norm:
            divisor = torch.sqrt(x.sum(dim=0).square().mean(dim=-1, keepdim=True) + norm.eps)
            x = x * norm.weight / divisor
        return attention.position(x)

    queries = read(head * config.d_head, attention.query_norm)
    keys = read(attention.widths[0] + kv_head * config.d_head, attention.key_norm)
    return ScoreContributions(list(parts), queries, keys)


def _stream_parts(
    model: GPT, tokens: Int[Tensor, "batch seq"], layer: int
) -> dict[str, Float[Tensor, "batch seq d_model"]]:
    """What was written into the stream that a layer reads, by who wrote it; the biases come last."""
    with trace(model, only=["token_embedding", "embedding", "*.attention.heads", "*.mlp.output"]) as run:
        model(tokens)
    parts = {"token": run["token_embedding"]}
    if model.config.position in ("learned", "sinusoidal"):
        parts["position"] = run["embedding"] - run["token_embedding"]
    biases = torch.zeros_like(parts["token"])
    for n, block in enumerate(model.blocks[:layer]):
        outputs = run[f"blocks.{n}.attention.heads"]  # (batch, seq, head, d_head)
        projection = block.attention.output.weight.unflatten(1, outputs.shape[2:])  # (d_model, head, d_head)
        written = torch.einsum("bshd,mhd->hbsm", outputs, projection)
        parts |= {f"head {n}.{h}": part for h, part in enumerate(written)}
        parts[f"MLP {n}"] = run[f"blocks.{n}.mlp.output"]
        if model.config.bias:
            biases = biases + block.attention.output.bias
    return parts | {"biases": biases} if model.config.bias else parts


def _through_norm(
    norm: nn.Module, parts: Float[Tensor, "source batch seq d_model"]
) -> tuple[Float[Tensor, "source batch seq d_model"], Float[Tensor, " d_model"]]:
    """What a norm makes of each part of the stream when its divisor is that of the whole; and its bias."""
    stream, bias = parts.sum(dim=0), torch.zeros_like(norm.weight)
    if isinstance(norm, LayerNorm):
        parts = parts - parts.mean(dim=-1, keepdim=True)
        square = stream.var(dim=-1, correction=0, keepdim=True)
        bias = bias if norm.bias is None else norm.bias
    else:
        square = stream.square().mean(dim=-1, keepdim=True)
    return norm.weight * parts / torch.sqrt(square + norm.eps), bias
