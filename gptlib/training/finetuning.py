"""Adapting a trained model to a task: early stopping, adapters, classifiers."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gptlib.checks import check_kind, check_path, check_whole
from gptlib.files import check_format, read_tensors, write_tensors
from gptlib.model.checks import can_look_at, check_model
from gptlib.model.gpt import GPT
from gptlib.shipped import is_model_name
from gptlib.text.tokenizer import Tokenizer
from gptlib.training.checkpoints import as_json
from gptlib.training.config import TrainConfig
from gptlib.training.conversations import ROLE_TOKENS, ROLES, Conversations, grow
from gptlib.training.evaluation import check_data, check_module
from gptlib.training.loop import Step, train
from gptlib.training.lora import LoRALinear, add_lora

ADAPTER_FORMAT = "gptlib adapter 1"


def fine_tune(
    model: GPT,
    train_data: Conversations,
    validation_data: Conversations,
    config: TrainConfig,
    patience: int = 3,
) -> Iterator[Step]:
    """Train as `train` does, stop early, and leave the model at its best.

    It stops when the validation loss has not fallen for `patience` measurements in a row. When it ends, or
    whoever calls it stops, the model has the weights that gave the lowest validation loss.
    Prechelt 1998, "Early Stopping - But When?", section 2.2, the third criterion.
    Raises ValueError when patience is below 1 or config.eval_every is None; else as `train` does.
    """
    check_whole("patience", patience)
    check_data("validation_data", validation_data, "windows")
    check_kind("config", config, TrainConfig, "a TrainConfig")
    if config.eval_every is None:
        raise ValueError("config.eval_every is None; to know when to stop, a number of steps is needed")
    return _until_it_stops_falling(model, train(model, train_data, validation_data, config), patience)


def _until_it_stops_falling(model: GPT, steps: Iterator[Step], patience: int) -> Iterator[Step]:
    learned = {name: value for name, value in model.named_parameters() if value.requires_grad}
    best_loss, waited = math.inf, 0
    best = {name: value.detach().clone() for name, value in learned.items()}
    try:
        for step in steps:
            if step.validation_loss is not None:
                waited += 1
                if step.validation_loss < best_loss:
                    best_loss, waited = step.validation_loss, 0
                    best = {name: value.detach().clone() for name, value in learned.items()}
            yield step
            if waited == patience:
                break
    finally:
        steps.close()
        with torch.no_grad():
            for name, value in learned.items():
                value.copy_(best[name])


class Classifier(nn.Module):
    """A copy of a trained GPT with another head: from the last token's vector to a score for each class.

    Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training", section 3.2.
    """

    def __init__(self, model: GPT, n_classes: int) -> None:
        super().__init__()
        check_model(model)
        check_whole("n_classes", n_classes)
        self.body = copy.deepcopy(model)
        self.body.copying, self.body.unembedding = nn.ModuleList(), nn.Identity()
        self.head = nn.Linear(model.config.d_model, n_classes)
        nn.init.zeros_(self.head.weight)

    def forward(
        self, tokens: Int[Tensor, "batch seq"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch classes"]:
        """Scores of the classes. Row i has lengths[i] tokens; what fills it up is not looked at.

        Raises ValueError unless there is a length from 1 to seq for each row.
        """
        least, most = lengths.aminmax() if can_look_at(lengths) else (1, 1)
        if len(lengths) != len(tokens) or least < 1 or most > tokens.shape[1]:
            raise ValueError(
                f"lengths is {lengths}; it needs a number from 1 to {tokens.shape[1]} for each of the "
                f"{len(tokens)} rows"
            )
        vectors = self.body(tokens)  # (batch, seq) -> (batch, seq, d_model)
        last = vectors[torch.arange(len(tokens)), lengths - 1]  # (batch, seq, d_model) -> (batch, d_model)
        return self.head(last)  # (batch, d_model) -> (batch, classes)


def save_adapter(
    path: str | os.PathLike[str],
    model: GPT,
    tokenizer: Tokenizer,
    base: GPT,
    base_name: str | os.PathLike[str],
    about: Mapping[str, object] | None = None,
) -> Path:
    """Write what a model learned beyond `base`: its updates, and the rows of the embedding that moved.

    In half precision, with the tokens that `tokenizer` has beyond the base's own. base_name is what
    `gptlib.load` opens the base by, so that it can open the adapter too. `about` is kept beside it.
    Raises ValueError when the model has no LoRA layers, is not made from `base`, or has other tokens than
    `tokenizer`.
    """
    check_model(model)
    check_model(base)
    check_path("base_name", base_name)
    check_kind("about", about, (Mapping, type(None)), "names with their values, or None")
    if replace(base.config, vocab_size=model.config.vocab_size) != model.config:
        raise ValueError("base has another config than model; it needs to be what the model was made from")
    check_kind("tokenizer", tokenizer, Tokenizer, "the model's")
    if tokenizer.vocab_size != model.config.vocab_size:
        raise ValueError(
            f"tokenizer has vocab_size {tokenizer.vocab_size}; it needs the model's, "
            f"{model.config.vocab_size}"
        )
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, LoRALinear)}
    if not layers:
        raise ValueError("model has no LoRA layers, so it is no adapter; gptlib.save keeps a whole model")
    embedding, before = model.token_embedding.weight.detach(), base.token_embedding.weight
    moved = torch.ones(len(embedding), dtype=torch.bool)
    moved[: len(before)] = (embedding[: len(before)] != before).any(dim=1)
    tensors = {"rows": moved.nonzero().flatten(), "embedding": embedding[moved].half()}
    for name, layer in layers.items():
        tensors[f"{name}.lora_a"] = layer.lora_a.detach().half()
        tensors[f"{name}.lora_b"] = (layer.scale * layer.lora_b.detach()).half()
    pieces = [tokenizer.token_bytes(token) for token in range(len(before), tokenizer.vocab_size)]
    metadata = {
        "format": ADAPTER_FORMAT,
        "base": fingerprint(base),
        "base_name": _lasting(base_name),
        "tokens": json.dumps([base64.b64encode(piece).decode() for piece in pieces[: -len(ROLES)]]),
        "about": json.dumps(dict(about or {}), default=as_json),
    }
    return write_tensors(path, {name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)


def _lasting(name: str | os.PathLike[str]) -> str:
    """The same name from every folder: a path whole, from the root on."""
    return str(name) if isinstance(name, str) and is_model_name(name) else os.path.abspath(name)


def load_adapter(
    path: str | os.PathLike[str], base: GPT, tokenizer: Tokenizer
) -> tuple[GPT, Tokenizer, dict[str, object]]:
    """The base model with an adapter's updates, its tokenizer with the roles, and what was kept beside them.

    The base itself is left as it is. Raises FileNotFoundError when there is no such file; ValueError when it
    is cut off, is no adapter, or was learned on another model than `base`.
    """
    check_path("path", path)
    tensors, metadata = read_tensors(path)
    check_format(path, metadata, ADAPTER_FORMAT)
    if metadata["base"] != fingerprint(base):
        raise ValueError(
            f"{str(path)!r} was learned on {metadata.get('base_name', 'a model')!r} with other weights than "
            "this model has; bring those back, or learn an adapter of this model"
        )
    pieces = [base64.b64decode(piece) for piece in json.loads(metadata["tokens"])]
    larger = tokenizer.with_tokens(pieces, ROLE_TOKENS)
    model = grow(base, tokenizer, larger)
    rank = next(len(tensor) for name, tensor in tensors.items() if name.endswith(".lora_a"))
    add_lora(model, rank, alpha=rank)
    with torch.no_grad():
        model.token_embedding.weight[tensors["rows"]] = tensors["embedding"].float()
        for name, layer in model.named_modules():
            if isinstance(layer, LoRALinear):
                layer.lora_a.copy_(tensors[f"{name}.lora_a"])
                layer.lora_b.copy_(tensors[f"{name}.lora_b"])
    return model.eval(), larger, json.loads(metadata["about"])


def fingerprint(model: GPT) -> str:
    """A checksum of all weights: equal for equal models alone."""
    check_module(model)
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
