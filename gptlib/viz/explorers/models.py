"""Reading a model: a recorded run over a text, with edits, and what it takes from a `gptlib.GPT`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gptlib.interpret.tracing import Edit, Place, activation_places, edit, trace
from gptlib.model.gpt import GPT
from gptlib.viz.explorers.reading import Reading, in_use, numbers

Tokens, Source = Int[Tensor, "1 seq"], Int[Tensor, "1 source"]
# The attention weights of each layer, (1, head, query, key), and the logits, (1, query, vocab), if there are.
Ran = tuple[list[Tensor], Tensor | None]


class ModelAdapter:
    """What both kinds of model share: a recorded run, with edits.

    places: blocks.0.residual_pre, blocks.0.attention.heads and so on, which edits may name; empty where
    `no_edits` says why there are none.
    values: blocks.0.attention.values and so on, and in `self.projection` what writes them into the stream.
    """

    causal = True
    needs_target = False
    predicts = "next"
    no_edits = no_values = ""
    context_length: int
    kept: ClassVar[tuple[str, ...]] = ("residual_pre", "attention.heads")

    def __init__(
        self,
        model: nn.Module,
        places: Mapping[str, Place],
        values: Mapping[str, Place],
        n_layers: int,
        n_heads: int,
        copy_heads: int = 0,
    ) -> None:
        self.model, self.places, self.values = model, places, values
        self.n_layers, self.n_heads, self.copy_heads = n_layers, n_heads, copy_heads

    def read(self, tokens: list[int], edits: Mapping[str, Edit], source: list[int] | None = None) -> Reading:
        """Run the model over the tokens, as it is in use.

        source: what the encoder reads where `needs_target`; tokens are the decoder's then. Raises ValueError
        for a source that is missing or needless, edits where `no_edits` says why there can be none, and a
        model that is of another shape by now, or on the device 'meta'.
        """
        if edits and self.no_edits:
            raise ValueError(self.no_edits)
        if (source is None) == self.needs_target:
            raise ValueError(
                "source is missing; a decoder needs the tokens that its encoder reads"
                if self.needs_target
                else "source is given; only a decoder needs what its encoder reads"
            )
        norms: dict[str, Tensor] = {}
        with in_use(self.model) as device:
            there = torch.tensor([tokens], device=device)
            source_there = None if source is None else torch.tensor([source], device=device)
            with (
                edit(self.places, edits),
                edit(self.values, {name: self._measure(norms, name) for name in self.values}),
                trace(self.places, self._kept_names()) as kept,
            ):
                layers, logits = self.run(there, source_there)
            n_layers, n_heads = len(layers), layers[0].shape[1] if layers else 0
            if (n_layers, n_heads) != (self.n_layers, self.n_heads):
                raise ValueError(
                    f"model has {n_layers} layers of {n_heads} heads now, and had {self.n_layers} of "
                    f"{self.n_heads} when this was made; make another explorer for it"
                )
            weights = gathered(layers)
            value_norms = torch.cat([norms[name] for name in self.values]) if self.values else None
            if self.copy_heads:
                weights = torch.cat([weights, numbers(kept["copying.weights"][0])])
                value_norms = torch.cat([value_norms, numbers(self.copy_norms(there))])
            logits = torch.zeros(len(tokens), 0) if logits is None else numbers(logits[0])
            return Reading(weights, value_norms, logits, {name: x[0] for name, x in kept.items()})

    def run(self, tokens: Tokens, source: Source | None) -> Ran:
        """One forward pass."""
        raise NotImplementedError

    def projection(self, name: str) -> Float[Tensor, "d_model width"]:
        """The matrix that writes the heads of the place `name` into the stream."""
        raise NotImplementedError

    def copy_norms(self, tokens: Tokens) -> Float[Tensor, "copy_head key"]:
        """How long each copy head's gains make the unembedding's row of each token, for a model with any."""
        raise NotImplementedError

    def _kept_names(self) -> list[str]:
        if not self.places:
            return []
        names = [f"blocks.{n}.{part}" for n in range(self.n_layers) for part in self.kept]
        return names + (["residual_final", "copying.weights", "copying.heads"] if self.copy_heads else [])

    def _measure(self, norms: dict[str, Tensor], name: str) -> Callable[[Tensor], None]:
        def look(values: Float[Tensor, "1 kv_head key d_head"]) -> None:
            norms[name] = numbers(lengths_written(values[0], self.projection(name)))

        return look


def lengths_written(
    values: Float[Tensor, "kv_head key d_head"], projection: Float[Tensor, "d_model width"]
) -> Float[Tensor, "head key"]:
    """How long each head's value is once it is written into the residual stream.

    |W v|² is vᵀ(WᵀW)v, and WᵀW of one head is only (d_head, d_head).
    """
    by_head = projection.float().unflatten(1, (-1, values.shape[-1]))  # (d_model, head, d_head)
    by_head = by_head.transpose(0, 1)
    gram = (by_head.mT @ by_head).unflatten(0, (len(values), -1))  # (kv_head, group, d_head, d_head)
    values = values.float()[:, None]
    return ((values @ gram) * values).sum(dim=-1).clamp_min(0).sqrt().flatten(0, 1)


def gathered(layers: list[Float[Tensor, "1 head query key"]]) -> Float[Tensor, "all_heads query key"]:
    """The weights of all layers as one float32 tensor on the CPU.

    Empties the list on the way, so that at no time all of them are held twice.
    """
    together = torch.empty(len(layers), *layers[0].shape[1:])
    for row in together:
        row.copy_(layers.pop(0)[0])
    return together.flatten(0, 1)


class GPTAdapter(ModelAdapter):
    """A `gptlib.GPT`."""

    def __init__(self, model: GPT) -> None:
        config, places = model.config, activation_places(model)
        values = {
            name: places[name] for n in range(config.n_layers) for name in [f"blocks.{n}.attention.values"]
        }
        super().__init__(
            model, places, values, config.n_layers, config.n_heads, copy_heads=config.copy_heads or 0
        )
        self.context_length = config.context_length

    def run(self, tokens: Tokens, source: Source | None) -> Ran:
        with trace(self.model) as run:
            logits = self.model(tokens)
        return list(run.values()), logits

    def projection(self, name: str) -> Float[Tensor, "d_model width"]:
        return self.model.blocks[int(name.split(".")[1])].attention.output.weight

    def copy_norms(self, tokens: Tokens) -> Float[Tensor, "copy_head key"]:
        (heads,) = self.model.copying
        gains = heads.gains.view(self.copy_heads, 1, -1)
        return (gains * self.model.unembedding.weight[tokens[0]]).norm(dim=-1)
