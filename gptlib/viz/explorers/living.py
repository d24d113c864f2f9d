"""A small GPT packed for a page, whose own code runs it there without a kernel: live/ beside this file."""

from __future__ import annotations

import functools
import gzip
import json
from dataclasses import asdict, fields
from typing import Any

import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from gptlib.loading import load
from gptlib.model.checks import check_vocabulary
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.model.structure import find_change
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.tokenizer import Tokenizer
from gptlib.viz.explorers.page_patterns import page_pattern
from gptlib.viz.explorers.pages import bare, packed

LARGEST = 10_000_000  # parameters that a page still runs at a reader's pace
# The fields of a GPTConfig that live/gpt.js computes; where one has a list, those are its values.
KNOWN: dict[str, list[str] | None] = {
    **dict.fromkeys(
        ["vocab_size", "context_length", "n_layers", "n_heads", "d_model", "n_kv_heads", "d_mlp"]
    ),
    **dict.fromkeys(
        ["dropout", "bias", "tie_embeddings", "head_width", "norm_eps", "rotary_base", "qk_norm"]
    ),
    **dict.fromkeys(["window", "score_cap", "logit_cap", "copy_heads", "n_experts", "n_active", "balance"]),
    "position": ["none", "learned", "sinusoidal", "rotary", "alibi"],
    "norm": ["layernorm", "rmsnorm"],
    "mlp": ["gelu", "squared_relu", "swiglu"],
}
# What runs the model, then what answers for each explorer; the last takes the page's questions.
SCRIPTS = ["weights", "tokenizer", "products", "gpt", "sampling", "words", "changes", "roles"]
SCRIPTS += ["attention_answers", "generation_answers", "patching_answers", "worker"]


def pack_model(model: GPT, tokenizer: Tokenizer | CharacterTokenizer, bits: int = 16) -> bytes:
    """The model and its tokenizer as one zipped block, which `openModel` in live/weights.js opens.

    bits: 16 writes each weight in half precision, or in 32 bits where a matrix holds one too large for that.
    8 writes each row of a matrix as whole numbers from -127 to 127 and the number that they are multiplied
    by; vectors stay in 16. The same model gives the same bytes.
    Raises ValueError, with the sentence of `why_not`, for a model that a page cannot run, and for other bits.
    """
    if bits not in (16, 8):
        raise ValueError(f"bits is {bits!r}; it needs to be 16 or 8")
    if problem := why_not(model, tokenizer):
        raise ValueError(problem)
    tensors: dict[str, Tensor] = {}
    for name, weight in _weights(model).items():
        tensors |= _in_eight(name, weight) if bits == 8 and weight.dim() == 2 else {name: _in_sixteen(weight)}
    contents = {
        "name": name_of(model),
        "config": asdict(model.config),
        "tokenizer": tokenizer_for_page(tokenizer),
        "bits": bits,
        "weights": safetensors.torch.save(tensors),
    }
    return gzip.compress(packed(contents), mtime=0)


def why_not(model: Any, tokenizer: Any) -> str:
    """Why a page cannot run this model with this tokenizer, as a sentence; "" where it can."""
    if isinstance(getattr(model, "config", None), GPTConfig):
        for field in fields(model.config):
            value = getattr(model.config, field.name)
            if field.name not in KNOWN or value not in (KNOWN[field.name] or [value]):
                return f"A page cannot compute {field.name} = {value!r}, which is in this model's config."
    if change := find_change(model):
        return f"A page can run a gptlib.GPT as it was built, and of this model {change}."
    n_weights = sum(weight.numel() for weight in model.parameters())
    if n_weights > LARGEST:
        return f"A page can run up to {LARGEST:,} parameters, and this model has {n_weights:,}."
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            return f"A page cannot run a model whose weights are not finite, as of this one {name} is."
    return _why_no_tokenizer(model, tokenizer)


def _why_no_tokenizer(model: GPT, tokenizer: Any) -> str:
    if type(tokenizer) not in (Tokenizer, CharacterTokenizer):
        given = "there is none" if tokenizer is None else f"this one is a {type(tokenizer).__name__}"
        return f"A page can run a gptlib.Tokenizer or a CharacterTokenizer, and {given}."
    try:
        check_vocabulary(tokenizer, model.config)
        tokenizer.end_of_text  # noqa: B018, which raises where there is none
        if isinstance(tokenizer, Tokenizer):
            page_pattern(tokenizer.pattern)
    except ValueError as error:
        return f"A page cannot run this model with this tokenizer: {error}."
    return ""


def name_of(model: Any) -> str:
    """ "storyteller" where the model is the one that comes with the course, weight by weight; else ""."""
    if type(getattr(model, "config", None)) is not GPTConfig or find_change(model):
        return ""
    shipped = _shipped()
    if shipped is None or model.config != shipped.config:
        return ""
    pairs = zip(model.parameters(), shipped.parameters(), strict=True)
    return "storyteller" if all(torch.equal(own.cpu().float(), theirs) for own, theirs in pairs) else ""


@functools.cache
def _shipped() -> GPT | None:
    try:
        return load("storyteller", dtype=torch.float32)[0]
    except (FileNotFoundError, ValueError):  # where data/ is harmed, no model is the shipped one
        return None


@functools.cache
def runtime_code() -> str:
    """The JavaScript that opens a packed model and answers for it, for a worker or a page: declarations."""
    known = f"const PAGE_KNOWS = {json.dumps(KNOWN)};"
    return "\n".join([known, *(bare(f"live/{script}.js") for script in SCRIPTS)])


# ---------------------------------------------------------------------------------------------------- weights


def _weights(model: GPT) -> dict[str, Tensor]:
    """Every parameter by its name, and a tied unembedding not a second time."""
    weights = dict(model.named_parameters(remove_duplicate=False))
    if weights["unembedding.weight"] is weights["token_embedding.weight"]:
        del weights["unembedding.weight"]
    return {name: weight.detach().cpu().float() for name, weight in weights.items()}


def _in_sixteen(weight: Tensor) -> Tensor:
    half = weight.half()
    return half if half.isfinite().all() else weight


def _in_eight(name: str, weight: Float[Tensor, "row column"]) -> dict[str, Tensor]:
    """Rows of whole numbers, and for each the size of a step."""
    scales = weight.abs().amax(dim=1) / 127
    steps = weight / scales.clamp(min=torch.finfo(torch.float32).tiny)[:, None]  # a row of zeros stays one
    return {name: steps.round().to(torch.int8), f"{name}.scales": scales}


# ------------------------------------------------------------------------------------------------- tokenizers


def tokenizer_for_page(tokenizer: Tokenizer | CharacterTokenizer) -> dict[str, Any]:
    """{"kind", "special_tokens", "tokens": by id what each stands for, "pattern": as JavaScript reads it}.

    A token of bytes is a text of characters from U+0000 to U+00FF, or None for an id that no such token has.
    """
    packing = {"kind": tokenizer._kind, "special_tokens": tokenizer.special_tokens}
    if isinstance(tokenizer, CharacterTokenizer):
        return packing | {"tokens": tokenizer.characters}
    pieces = {token: piece.decode("latin-1") for piece, token in tokenizer.ranks.items()}
    tokens = [pieces.get(token) for token in range(max(pieces) + 1)]
    return packing | {"tokens": tokens, "pattern": page_pattern(tokenizer.pattern)}
