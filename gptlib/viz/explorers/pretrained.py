"""Reading the models of transformers. What can be done with one is learned from a run over a few tokens."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gptlib.viz.explorers.layouts import layout, watched
from gptlib.viz.explorers.models import ModelAdapter, Ran, Source, Tokens
from gptlib.viz.explorers.reading import in_use

PARTS = ("encoder", "decoder", "cross")  # whose attention is read where there are an encoder and a decoder
OUTPUTS = {"decoder": "decoder_attentions", "cross": "cross_attentions"}
A_FEW = 5  # tokens, of which each can look differently at the others
ENDLESS = 2048  # tokens at most for a model without positions of its own: it reads as far as memory goes
ELSEWHERE = "AttentionExplorer.from_array shows attention weights that come from anywhere"


class TransformersAdapter(ModelAdapter):
    """A model of transformers that reads tokens and returns its attention.

    part: whose attention is read, one of PARTS, in a model that has an encoder and a decoder. Layers without
    attention, as some models have between others, are left out and not counted.
    Raises TypeError for a model that does not return attention of as many heads in each layer, ValueError for
    a part that it does not have.
    """

    def __init__(self, model: Any, part: str = "") -> None:
        self.model, self.name = model, type(model).__name__
        self.part = self._part(part)
        self.needs_target = self.part in OUTPUTS
        with in_use(model) as device:
            tokens, source = self._a_few_tokens(device)
            with watched(model) as calls:
                weights, logits = self._tried(tokens, source)
            layers = layout(model, calls, weights)
        self.causal = self.part != "cross" and not any(layer.triu(1).any() for layer in weights)
        self.predicts = "" if logits is None else "next" if self.needs_target or self.causal else "here"
        self.context_length = _context_length(model, self.part)
        self._matrices = {f"blocks.{n}.attention.values": layer.matrix for n, layer in enumerate(layers)}
        places, values = {}, {}
        for n, layer in enumerate(layers):
            places[f"blocks.{n}.residual_pre"] = layer.stream
            places[f"blocks.{n}.attention.heads"] = layer.heads
            values[f"blocks.{n}.attention.values"] = layer.values
        if not places:
            self.no_edits = (
                f"In a {self.name} no place was found that reads each head's weights times its values; so "
                "heads can be looked at here, but not removed, scaled or patched."
            )
        if not values or None in self._matrices.values():
            values = {}
            self.no_values = (
                f"In a {self.name} the matrices that write the heads' values into the stream were not found; "
                "so how long those values are is not known."
            )
        super().__init__(model, places, values, len(weights), weights[0].shape[1])

    @property
    def start(self) -> int | None:
        """The token that stands before all that a decoder reads, as its model's settings name it."""
        names = ("generation_config.decoder_start_token_id", "config.decoder_start_token_id")
        return first_of(self.model, *names, "config.bos_token_id") if self.needs_target else None

    def run(self, tokens: Tokens, source: Source | None) -> Ran:
        model = self.model.get_encoder() if self.part == "encoder" else self.model
        given = {"input_ids": tokens}
        if source is not None:
            given = {"input_ids": source, "decoder_input_ids": tokens}
        if "use_cache" in inspect.signature(model.forward).parameters:
            given["use_cache"] = False
        with _explicit_attention(model):
            output = model(**given, output_attentions=True, return_dict=True)
        attentions = getattr(output, OUTPUTS.get(self.part, "attentions"), None) or ()
        logits = first_of(output, "logits", "prediction_logits")
        predicts = self.part != "encoder" and model.get_output_embeddings() is not None
        if not predicts or logits is None or logits.shape[:-1] != tokens.shape:  # a classifier's, for example
            logits = None
        return self._checked(attentions, tokens, source if self.part == "cross" else tokens), logits

    def projection(self, name: str) -> Float[Tensor, "d_model width"]:
        return self._matrices[name]()

    def _part(self, part: str) -> str:
        if not getattr(self.model.config, "is_encoder_decoder", False):
            if part:
                raise ValueError(
                    f"part is {part!r}; a {self.name} has no encoder beside a decoder, so leave it out"
                )
            return ""
        if part and part not in PARTS:
            raise ValueError(f"part is {part!r}; it needs to be one of {', '.join(PARTS)}")
        return part or "encoder"

    def _a_few_tokens(self, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Some that differ and mean nothing special; for an encoder beside, not as many."""
        given = getattr(self.model, "main_input_name", "input_ids")
        try:
            vocab_size = len(self.model.get_input_embeddings().weight) if given == "input_ids" else 0
        except NotImplementedError:  # it has several
            vocab_size, given = 0, "more than tokens"
        if not vocab_size:
            raise Unfit(
                f"model is a {self.name}, which reads {given}; an explorer needs one that reads tokens. "
                f"{ELSEWHERE}"
            )
        special = {value for name, value in vars(self.model.config).items() if name.endswith("_token_id")}
        plain = [token for token in range(vocab_size) if token not in special] or [0]
        tokens = torch.tensor([[plain[n % len(plain)] for n in range(A_FEW + 2)]], device=device)
        return tokens[:, :A_FEW], tokens if self.needs_target else None

    def _tried(self, tokens: Tensor, source: Tensor | None) -> Ran:
        try:
            return self.run(tokens, source)
        except Unfit:
            raise
        except Exception as error:  # whatever it is: this is a model of which nobody knows anything yet
            if tokens.is_meta:
                raise
            raise TypeError(
                f"model is a {self.name}, which does not read tokens alone and return its attention "
                f"({type(error).__name__}: {error}). {ELSEWHERE}"
            ) from error

    def _checked(self, attentions: Any, queries: Tensor, keys: Tensor) -> list[Tensor]:
        """The weights of the layers that have some."""
        layers = [layer for layer in attentions if layer is not None]
        if not layers:
            raise Unfit(
                f"model is a {self.name}, which returns no attention weights; one that mixes its tokens in "
                "another way has no attention to explore"
            )
        wanted = (1, layers[0].shape[1], queries.shape[1], keys.shape[1])
        for layer in layers:
            if layer.shape != wanted:
                raise Unfit(
                    f"model is a {self.name}, of which a layer gives attention of shape {tuple(layer.shape)} "
                    f"for {queries.shape[1]} tokens; an explorer needs {wanted} in each. {ELSEWHERE}"
                )
        return layers


class Unfit(TypeError):
    """A model that has no attention, or none that an explorer could lay out."""


def first_of(owner: Any, *names: str) -> Any:
    """The first of these attributes that is there, each perhaps of an attribute; None if none is."""
    for name in names:
        found = owner
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is not None:
            return found
    return None


def _context_length(model: Any, part: str) -> int:
    side = "encoder" if part == "encoder" else "decoder"
    names = (f"max_{side}_position_embeddings", "max_position_embeddings", "max_seq_len")
    length = first_of(model.config.get_text_config(), *names)
    if not isinstance(length, int) or length <= 0:
        return ENDLESS
    for name, module in model.named_modules():
        # RoBERTa and its like count their positions from the number of the padding on.
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            length = min(length, module.num_embeddings - module.padding_idx - 1)
    return length


@contextmanager
def _explicit_attention(model: Any) -> Iterator[None]:
    """Only the explicit implementation gives its weights away. A part of a model may have its own config."""
    configs = [module.config for module in model.modules() if hasattr(module, "config")]
    chosen = [getattr(config, "_attn_implementation", None) for config in configs]
    try:
        for config in configs:
            config._attn_implementation = "eager"
        yield
    finally:
        for config, implementation in zip(configs, chosen, strict=True):
            config._attn_implementation = implementation
