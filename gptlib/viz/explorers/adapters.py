"""What the attention explorer asks of a model: ours, one of transformers, or attention without a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gptlib.interpret.tracing import Place, activation_places, edit, trace
from gptlib.model.gpt import GPT
from gptlib.viz.explorers.reading import in_use, numbers

ROUNDING = 0.01  # of a row's sum in half the bits


@dataclass(frozen=True)
class Reading:
    """One run over one text. What is patched into another run stays where the model computed it.

    Heads are counted through: those of each layer in turn, then the copy heads. Kept in `activations` are
    every head's output, and the residual stream as it enters each block and the copy heads.
    """

    weights: Float[Tensor, "head query key"]
    value_norms: Float[Tensor, "head key"]  # |v W_O| of each head's value, Kobayashi et al. 2020
    logits: Float[Tensor, "seq vocab"]
    activations: dict[str, Tensor]


def adapt(model: Any) -> ModelAdapter:
    """The adapter for this model. Raises TypeError for one that none fits."""
    if isinstance(model, GPT):
        return GPTAdapter(model)
    if isinstance(model, nn.Module) and hasattr(model, "config") and hasattr(model, "get_input_embeddings"):
        return TransformersAdapter(model)
    raise TypeError(
        f"model is a {type(model).__name__}; it needs to be a gptlib.GPT, or a causal model of transformers"
    )


class ModelAdapter:
    """What both kinds of model share: a recorded run, with edits."""

    context_length: int

    def __init__(
        self, model: nn.Module, places: dict[str, Place], n_layers: int, n_heads: int, copy_heads: int = 0
    ) -> None:
        self.model, self.places = model, places
        self.n_layers, self.n_heads, self.copy_heads = n_layers, n_heads, copy_heads

    def read(self, tokens: list[int], edits: Mapping[str, Callable[[Tensor], Tensor]]) -> Reading:
        """Run the model over the tokens, as it is in use."""
        layers = range(self.n_layers)
        names = [f"blocks.{n}.{part}" for n in layers for part in ("residual_pre", "attention.heads")]
        if self.copy_heads:
            names += ["residual_final", "copying.weights", "copying.heads"]
        with in_use(self.model) as device:
            with edit(self.places, edits), trace(self.places, only=names) as kept:
                weights, logits = self.run(torch.tensor([tokens], device=device))
            n_layers, n_heads = len(weights), weights.shape[2]
            if (n_layers, n_heads) != (self.n_layers, self.n_heads):
                raise ValueError(
                    f"model has {n_layers} layers of {n_heads} heads now, and had {self.n_layers} of "
                    f"{self.n_heads} when this was made; make another explorer for it"
                )
            norms = torch.cat([self.value_norms(n, kept[f"blocks.{n}.residual_pre"][0]) for n in layers])
            weights = weights[:, 0].flatten(0, 1)  # (layer, head, query, key) -> (head, query, key)
            if self.copy_heads:
                weights = torch.cat([weights, kept["copying.weights"][0]])
                norms = torch.cat([norms, self.copy_norms(tokens)])
            activations = {name: x[0] for name, x in kept.items()}
            return Reading(numbers(weights), numbers(norms), numbers(logits[0]), activations)

    def run(
        self, tokens: Int[Tensor, "1 seq"]
    ) -> tuple[Float[Tensor, "layer 1 head query key"], Float[Tensor, "1 seq vocab"]]:
        raise NotImplementedError

    def value_norms(self, layer: int, residual: Float[Tensor, "seq d_model"]) -> Float[Tensor, "head key"]:
        raise NotImplementedError

    def copy_norms(self, tokens: list[int]) -> Float[Tensor, "copy_head key"]:
        """How long each copy head's gains make the unembedding's row of each token, for a model with any."""
        raise NotImplementedError


def norms_after_projection(
    values: Float[Tensor, "seq kv_head d_head"], projection: Float[Tensor, "d_model width"], n_heads: int
) -> Float[Tensor, "head seq"]:
    """How long each head's value is once it is written into the residual stream."""
    values = values.repeat_interleave(n_heads // values.shape[1], dim=1)
    by_head = projection.unflatten(1, (n_heads, -1))  # (d_model, width) -> (d_model, head, d_head)
    return torch.einsum("shd,mhd->hsm", values, by_head).norm(dim=-1)


class GPTAdapter(ModelAdapter):
    """A `gptlib.GPT`."""

    def __init__(self, model: GPT) -> None:
        config = model.config
        copy_heads = config.copy_heads or 0
        super().__init__(model, activation_places(model), config.n_layers, config.n_heads, copy_heads)
        self.context_length = config.context_length

    def run(
        self, tokens: Int[Tensor, "1 seq"]
    ) -> tuple[Float[Tensor, "layer 1 head query key"], Float[Tensor, "1 seq vocab"]]:
        with trace(self.model) as run:
            logits = self.model(tokens)
        return run.attention, logits

    def value_norms(self, layer: int, residual: Float[Tensor, "seq d_model"]) -> Float[Tensor, "head key"]:
        block = self.model.blocks[layer]
        attention = block.attention
        values = attention.qkv(block.attention_norm(residual)).split(attention.widths, dim=-1)[2]
        values = values.unflatten(-1, (-1, attention.config.d_head))
        return norms_after_projection(values, attention.output.weight, self.n_heads)

    def copy_norms(self, tokens: list[int]) -> Float[Tensor, "copy_head key"]:
        (heads,) = self.model.copying
        gains = heads.gains.view(self.copy_heads, 1, -1)
        return (gains * self.model.unembedding.weight[tokens]).norm(dim=-1)


# By which names transformers' causal models call what is read here.
CORES = ("transformer", "gpt_neox", "model.decoder", "model")
STACKS = ("h", "layers")
ATTENTIONS = ("attn.attention", "attn", "self_attn", "attention", "self_attention")
NORMS = ("ln_1", "input_layernorm", "self_attn_layer_norm")
OUTPUTS = ("c_proj", "o_proj", "out_proj", "dense")
VALUES = ("v_proj", "c_attn", "qkv_proj", "query_key_value")


def first_of(owner: Any, names: Sequence[str]) -> Any:
    """The first of these attributes that is there, each perhaps of an attribute; None if none is."""
    for name in names:
        found = owner
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is not None:
            return found
    return None


class TransformersAdapter(ModelAdapter):
    """A causal model of transformers that lays its attention out as GPT-2, GPT-Neo, GPT-J, GPT-NeoX (Pythia),
    OPT, BLOOM, Phi-3 or Llama (Mistral, Qwen, Gemma and their like) does.
    """

    def __init__(self, model: Any) -> None:
        blocks = list(first_of(first_of(model, CORES), STACKS) or ())
        self.attentions = [first_of(block, ATTENTIONS) for block in blocks]
        self.norms = [first_of(block, NORMS) for block in blocks]
        self.outputs = [first_of(attention, OUTPUTS) for attention in self.attentions]
        values = [first_of(attention, VALUES) for attention in self.attentions]
        if not blocks or any(part is None for part in (*self.norms, *self.outputs, *values)):
            raise TypeError(
                f"model is a {type(model).__name__}; of transformers' models the causal ones can be explored "
                "whose attention is laid out as that of GPT-2, GPT-Neo, GPT-J, GPT-NeoX, OPT, BLOOM, Phi-3 "
                "or Llama. AttentionExplorer.from_array shows the weights of any other causal model"
            )
        n_heads = model.config.num_attention_heads
        places: dict[str, Place] = {}
        for layer, (block, output) in enumerate(zip(blocks, self.outputs, strict=True)):
            places[f"blocks.{layer}.residual_pre"] = Place(block, "input")
            places[f"blocks.{layer}.attention.heads"] = Place(output, "input", n_heads)
        super().__init__(model, places, len(blocks), n_heads)
        # Without positions of its own, a model reads as far as memory goes.
        self.context_length = getattr(model.config, "max_position_embeddings", 2048)

    def run(
        self, tokens: Int[Tensor, "1 seq"]
    ) -> tuple[Float[Tensor, "layer 1 head query key"], Float[Tensor, "1 seq vocab"]]:
        config = self.model.config
        chosen = config._attn_implementation
        with ExitStack() as back:  # only the explicit implementation gives its weights away
            back.callback(setattr, config, "_attn_implementation", chosen)
            config._attn_implementation = "eager"
            output = self.model(tokens, output_attentions=True, use_cache=False)
        return torch.stack(output.attentions), output.logits

    def value_norms(self, layer: int, residual: Float[Tensor, "seq d_model"]) -> Float[Tensor, "head key"]:
        attention, output = self.attentions[layer], self.outputs[layer]
        x = self.norms[layer](residual)
        # GPT-2's c_proj multiplies from the other side.
        projection = output.weight.T if hasattr(attention, "c_attn") else output.weight  # (d_model, width)
        d_head = projection.shape[1] // self.n_heads
        if hasattr(attention, "v_proj"):
            values = attention.v_proj(x).unflatten(-1, (-1, d_head))  # (seq, kv_head, d_head)
        elif hasattr(attention, "c_attn"):
            values = attention.c_attn(x[None])[0].chunk(3, dim=-1)[2].unflatten(-1, (-1, d_head))
        elif hasattr(attention, "qkv_proj"):  # queries of all heads, then keys, then values
            parts = attention.qkv_proj(x).unflatten(-1, (-1, d_head))
            values = parts[:, (parts.shape[1] + self.n_heads) // 2 :]
        else:  # query, key and value of each head in turn
            values = attention.query_key_value(x).unflatten(-1, (self.n_heads, 3, d_head))[:, :, 2]
        return norms_after_projection(values, projection, self.n_heads)


def attention_of(given: Any) -> Float[Tensor, "layer head query key"]:
    """Attention weights in the forms in which libraries hand them over, as one float32 tensor.

    One array or a sequence of one for each layer: (layer, head, query, key), (head, query, key) or
    (query, key), of any dtype, with gradients or without; where there is an axis for a batch, before that of
    the heads, it needs to hold one text. Raises TypeError for what holds no numbers, ValueError for layers of
    different shapes and for several texts.
    """
    if (
        isinstance(given, list | tuple)
        and given
        and all(np.ndim(layer) >= 2 for layer in map(_numbers, given))
    ):
        layers = [_numbers(layer) for layer in given]
        if len({layer.shape for layer in layers}) > 1:
            shapes = ", ".join(str(tuple(layer.shape)) for layer in layers[:4])
            raise ValueError(f"weights has layers of the shapes {shapes}; all need to have the same")
        weights = torch.stack(layers)  # (layer, …)
        weights = weights[:, None] if weights.dim() == 3 else weights  # one head in each
    else:
        weights = _numbers(given)
        weights = weights[(None,) * max(0, 4 - weights.dim())]
    if weights.dim() == 5:
        if weights.shape[1] != 1:
            raise ValueError(
                f"weights has shape {tuple(weights.shape)}, with {weights.shape[1]} texts in a batch; "
                "give those of one, such as [layer[:1] for layer in weights]"
            )
        weights = weights[:, 0]
    return weights


def _numbers(given: Any) -> Tensor:
    if isinstance(given, Tensor):
        return given.detach().to("cpu", torch.float32)
    try:
        return torch.as_tensor(np.asarray(given, dtype=np.float32))
    except (TypeError, ValueError):
        raise TypeError(
            f"weights holds a {type(given).__name__}; it needs arrays of attention weights"
        ) from None


class GivenAttention:
    """The adapter of attention that came without a model: it reads what it was given, and nothing else."""

    def __init__(self, weights: Float[Tensor, "layer head query key"], words: Sequence[str]) -> None:
        if weights.dim() != 4 or weights.shape[-2:] != (len(words), len(words)) or not weights.numel():
            raise ValueError(
                f"weights has shape {tuple(weights.shape)}; for {len(words)} tokens it needs "
                f"(layer, head, {len(words)}, {len(words)})"
            )
        sums = weights.tril().sum(dim=-1)
        if not torch.isfinite(weights).all() or not torch.allclose(
            sums, torch.ones_like(sums), atol=ROUNDING
        ):
            layer, head, query = ((sums - 1).abs().nan_to_num(nan=math.inf) > ROUNDING).nonzero()[0].tolist()
            raise ValueError(
                f"weights at layer {layer}, head {head}, query {query} sum to "
                f"{sums[layer, head, query]:.4f} over the "
                "query and what is before it; each row needs to sum to 1 there"
            )
        self.n_layers, self.n_heads, self.context_length, _ = weights.shape
        self.copy_heads = 0
        self.weights, self.words = weights.flatten(0, 1), list(words)
        numbers = {word: at for at, word in enumerate(dict.fromkeys(words))}
        self.tokens = [numbers[word] for word in words]

    def read(self, tokens: list[int], edits: Mapping[str, Callable[[Tensor], Tensor]]) -> Reading:
        """The weights as they were given."""
        if edits:
            raise ValueError("changes needs a model that can be run again; this attention came without one")
        norms = torch.ones(len(self.weights), len(tokens))
        return Reading(self.weights, norms, torch.zeros(len(tokens), 0), {})
