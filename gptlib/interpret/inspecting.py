"""What the parts of a model say, and what they do: lens, attribution, removal, patching.

The lens and attribution read a run as it is. Removal and patching change it, and a *metric* says what came of
it: a function of the logits that gives one number for each text, such as `logit_difference`.
All are short functions on `gptlib.interpret.tracing`, for a model in eval mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gptlib.checks import check_kind, check_whole
from gptlib.interpret.tracing import Removal, edit, remove_head, replace_at, trace
from gptlib.model.checks import check_start
from gptlib.model.gpt import GPT
from gptlib.model.norms import LayerNorm

Metric = Callable[[Float[Tensor, "batch seq vocab"]], Float[Tensor, " batch"]]


def logit_difference(
    right: int | Int[Tensor, " batch"],
    wrong: int | Int[Tensor, " batch"],
    position: int | Int[Tensor, " batch"] = -1,
) -> Metric:
    """A metric: by how much the logit of the token `right` is above that of `wrong`, after a position."""
    _check_token("right", right)
    _check_token("wrong", wrong)
    if not isinstance(position, Tensor):
        check_whole("position", position, at_least=None)

    def metric(logits: Float[Tensor, "batch seq vocab"]) -> Float[Tensor, " batch"]:
        rows = torch.arange(len(logits))
        return logits[rows, position, right] - logits[rows, position, wrong]

    return metric


def _check_token(name: str, token: int | Int[Tensor, " batch"]) -> None:
    if not isinstance(token, Tensor):
        check_whole(name, token, at_least=0)


# --- reading a run ----------------------------------------------------------------------------------------


@torch.no_grad()
def logit_lens(model: GPT, tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, "layer batch seq vocab"]:
    """The logits if the model stopped early: the stream before each block, and after the last, read at once.

    Each goes through the final norm, the copy heads where there are any, and the unembedding. Layer 0 is the
    embedding; the last is the model.
    nostalgebraist 2020, "interpreting GPT: the logit lens".
    """
    with trace(model, only=["*.residual_pre", "residual_final"]) as run:
        model(tokens)
    streams = model.final_norm(run.stack("*"))
    for heads in model.copying:
        streams = torch.stack([heads(stream, tokens, model.unembedding.weight) for stream in streams])
    return model.unembedding(streams)


@dataclass(frozen=True)
class Attribution:
    """What each part of a model adds to one logit, or to the difference of two; `total` is that logit."""

    embedding: Float[Tensor, " batch"]
    heads: Float[Tensor, "layer head batch"]
    mlps: Float[Tensor, "layer batch"]
    bias: Float[Tensor, " batch"]  # those of attention's projections and of the final norm
    copies: Float[Tensor, "copy_head batch"]

    @property
    def total(self) -> Float[Tensor, " batch"]:
        layers = self.heads.sum(dim=(0, 1)) + self.mlps.sum(dim=0)
        return self.embedding + layers + self.bias + self.copies.sum(dim=0)


@torch.no_grad()
def direct_logit_attribution(
    model: GPT,
    tokens: Int[Tensor, "batch seq"],
    token: int | Int[Tensor, " batch"],
    minus: int | Int[Tensor, " batch"] | None = None,
    position: int = -1,
) -> Attribution:
    """How much each head and each MLP adds by itself to the logit of `token` after a position.

    With `minus`, to the difference between that logit and this token's. The stream is a sum of what the parts
    wrote, and the unembedding is linear; the final norm is too, once its divisor is held at what it was.
    So the parts sum to the logit (to the one before soft-capping, where the model does that). What a part
    does through later parts is not counted: hence *direct*.
    Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", section "High-Level
    Architecture"; Wang et al. 2022, "Interpretability in the Wild", section 3.1.
    """
    _check_token("token", token)
    if minus is not None:
        _check_token("minus", minus)
    check_whole("position", position, at_least=None)
    check_start(tokens, model)
    if not -tokens.shape[1] <= position < tokens.shape[1]:
        raise IndexError(f"position is {position}; tokens has {tokens.shape[1]} positions")
    names = ["embedding", "*.attention.heads", "*.attention.output", "*.mlp.output", "residual_final"]
    names += ["copying.heads"] * len(model.copying)
    with trace(model, only=names) as run:
        model(tokens)
    table = model.unembedding.weight  # (vocab, d_model)
    direction = (table[token] - (0 if minus is None else table[minus])).expand(len(tokens), -1)
    reader, bias = _through_final_norm(model, run["residual_final"][:, position], direction)

    def read(written: Float[Tensor, "*part batch d_model"]) -> Float[Tensor, "*part batch"]:
        return (written * reader).sum(dim=-1)

    heads = []
    for layer, block in enumerate(model.blocks):
        outputs = run[f"blocks.{layer}.attention.heads"][:, position]  # (batch, head, d_head)
        projection = block.attention.output.weight.unflatten(1, outputs.shape[1:])  # (d_model, head, d_head)
        written = torch.einsum("bhd,mhd->hbm", outputs, projection)
        heads.append(read(written))
        bias = bias + read(run[f"blocks.{layer}.attention.output"][:, position] - written.sum(dim=0))
    mlps = run.stack("*.mlp.output")[:, :, position]  # (layer, batch, d_model)
    copies = direction.new_zeros((0, len(tokens)))
    if model.copying:
        added = run["copying.heads"][:, position]  # (batch, copy_head, d_model)
        copies = (added * direction[:, None]).sum(dim=-1).T  # past the norm, which is before them
    return Attribution(read(run["embedding"][:, position]), torch.stack(heads), read(mlps), bias, copies)


def _through_final_norm(
    model: GPT, stream: Float[Tensor, "batch d_model"], direction: Float[Tensor, "batch d_model"]
) -> tuple[Float[Tensor, "batch d_model"], Float[Tensor, " batch"]]:
    """Reader and bias with norm(stream) · direction = stream · reader + bias, the norm's divisor fixed."""
    norm = model.final_norm
    reader, bias = direction * norm.weight, stream.new_zeros(len(stream))
    if isinstance(norm, LayerNorm):
        reader = reader - reader.mean(dim=-1, keepdim=True)  # in place of the stream's mean
        variance = stream.var(dim=-1, correction=0, keepdim=True)
        bias = bias if norm.bias is None else direction @ norm.bias
    else:
        variance = stream.square().mean(dim=-1, keepdim=True)
    return reader / torch.sqrt(variance + norm.eps), bias


# --- changing a run ---------------------------------------------------------------------------------------


@torch.no_grad()
def mean_activation(model: GPT, name: str, batches: Iterable[Int[Tensor, "_ _"]]) -> Float[Tensor, "*width"]:
    """The mean of an activation, (batch, seq, …), over all texts and positions of a data set.

    Raises ValueError when there is no batch, and as `trace` does.
    """
    check_kind("name", name, str, "an activation's name, such as those of activation_names(model)")
    check_kind("batches", batches, Iterable, "several tensors of tokens")
    total, count = torch.zeros(()), 0
    with trace(model, only=name) as run:
        for tokens in batches:
            model(tokens)
            total, count = total + run[name].sum(dim=(0, 1)), count + tokens.numel()
    if not count:
        raise ValueError("batches is empty; at least one batch of tokens is needed")
    return total / count


@torch.no_grad()
def remove_each_head(
    model: GPT,
    tokens: Int[Tensor, "batch seq"],
    metric: Metric,
    how: Removal = "zero",
) -> Float[Tensor, "layer head"]:
    """The metric's mean over the texts when one head is removed, for each head in turn.

    how: as for `remove_head`; a tensor begins with (layer, head), such as `mean_activation` of each layer.
    """
    config = model.config
    result = torch.empty(config.n_layers, config.n_heads)
    for layer in range(config.n_layers):
        for head in range(config.n_heads):
            by = how[layer, head] if isinstance(how, Tensor) else how
            with edit(model, {f"blocks.{layer}.attention.heads": remove_head(head, by)}):
                result[layer, head] = metric(model(tokens)).mean()
    return result


@torch.no_grad()
def each_patch(
    model: GPT, clean: Int[Tensor, "batch seq"], corrupted: Int[Tensor, "batch seq"], part: str
) -> Iterator[tuple[int, int, Float[Tensor, "batch seq vocab"]]]:
    """Runs over the corrupted texts, each with one activation from the clean ones: (layer, column, logits).

    part is an activation of a block. For "attention.heads" a column is a head, patched at all positions; for
    any other, which is (batch, seq, …), it is a position. Raises ValueError when the two differ in shape.
    """
    if clean.shape != corrupted.shape:
        raise ValueError(
            f"clean has shape {tuple(clean.shape)}, corrupted {tuple(corrupted.shape)}; "
            "patching needs texts of as many tokens"
        )
    with trace(model, only=f"blocks.*.{part}") as run:
        model(clean)
    for layer, (name, kept) in enumerate(list(run.items())):
        of_heads = part == "attention.heads"
        for column in range(kept.shape[2 if of_heads else 1]):
            patch = (
                remove_head(column, kept[:, :, column]) if of_heads else replace_at(column, kept[:, column])
            )
            with edit(model, {name: patch}):
                logits = model(corrupted)
            yield layer, column, logits


@torch.no_grad()
def patching_map(
    model: GPT,
    clean: Int[Tensor, "batch seq"],
    corrupted: Int[Tensor, "batch seq"],
    metric: Metric,
    part: str = "residual_pre",
) -> Float[Tensor, "layer column"]:
    """Where the difference between two texts is, or which heads carry it, by layer and position or head.

    Each cell is what the metric becomes when that one activation of the corrupted run is the clean run's:
    from 0, as in the corrupted run, to 1, as in the clean run; it can lie outside.
    part: "residual_pre", the whole stream, or what `each_patch` says.
    Raises as `each_patch` does, and ValueError when the metric does not tell the two runs apart.
    Meng et al. 2022, "Locating and Editing Factual Associations in GPT", section 2.1; Zhang and Nanda 2023,
    "Toward Best Practices of Activation Patching in Language Models", section 2.
    """
    top, bottom = metric(model(clean)).mean(), metric(model(corrupted)).mean()
    if (top - bottom).abs() < 1e-6:
        raise ValueError(f"metric is {top:.4g} for clean and for corrupted; it needs to tell the two apart")
    n_columns = model.config.n_heads if part == "attention.heads" else clean.shape[1]
    cells = torch.empty(model.config.n_layers, n_columns)
    for layer, column, logits in each_patch(model, clean, corrupted, part):
        cells[layer, column] = (metric(logits).mean() - bottom) / (top - bottom)
    return cells
