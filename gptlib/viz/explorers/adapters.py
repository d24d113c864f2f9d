"""What the attention explorer asks of a model: ours, one of transformers, or attention without a model.

An adapter reads a text, `adapter.read(tokens, edits)`, and says of its model
    n_layers, n_heads, copy_heads, context_length
    causal          whether a query sees itself and the past only
    predicts        what the logits at a token are for: "next" token, the token "here" (a masked word), or ""
    needs_target    whether a decoder reads a second text: tokens are the decoder's, source the encoder's
    no_edits        a sentence why heads cannot be removed, scaled and patched; "" where they can
    no_values       a sentence why weights times the length of their values cannot be shown; "" where they can
"""

from __future__ import annotations

from typing import Any

from torch import nn

from gptlib.model.gpt import GPT
from gptlib.viz.explorers.given import GivenAttention, attention_of
from gptlib.viz.explorers.models import GPTAdapter, ModelAdapter
from gptlib.viz.explorers.pretrained import TransformersAdapter
from gptlib.viz.explorers.reading import Reading

__all__ = ["GPTAdapter", "GivenAttention", "Reading", "adapt", "attention_of"]


def adapt(model: Any, part: str = "") -> ModelAdapter:
    """The adapter for this model.

    part: whose attention is shown of a model that has an encoder and a decoder: "encoder" (also where none is
    named), "decoder", or "cross", the decoder's attention to what the encoder gives.
    Raises TypeError for a model that none fits, ValueError for a part that the model does not have.
    """
    if isinstance(model, GPT):
        if part:
            raise ValueError(f"part is {part!r}; a gptlib.GPT has no encoder, so leave it out")
        return GPTAdapter(model)
    if isinstance(model, nn.Module) and hasattr(model, "config") and hasattr(model, "get_input_embeddings"):
        return TransformersAdapter(model, part)
    raise TypeError(
        f"model is a {type(model).__name__}; it needs to be a gptlib.GPT, or a model of transformers"
    )
