"""The loss, and what it is on data that was not trained on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from gptlib.checks import check_flag, check_kind, check_tensor, check_whole
from gptlib.model.experts import watch_balance
from gptlib.training.alone import ALONE, Alone

# Targets with this value carry no loss; the value is PyTorch's own convention.
IGNORED = -100


@runtime_checkable
class TrainingData(Protocol):
    """What `train` and `evaluate` ask of data, and all of it; `TokenFile` and `Conversations` have it."""

    def batch(
        self,
        batch_size: int,
        context_length: int,
        generator: torch.Generator | None,
        at_document_starts: bool,
    ) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
        """Random inputs and their targets, in which IGNORED carries no loss."""

    def windows(
        self, context_length: int, at_document_starts: bool
    ) -> Iterator[tuple[Int[Tensor, " seq"], Int[Tensor, " seq"]]]:
        """All the data in order, in pieces, each with its targets; or each document alone."""


def loss_of(
    model: nn.Module, inputs: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the next token, in nats, over the targets that are not IGNORED; 0 if all are.

    In training a model with experts pays for their uneven use besides (`experts.balance_loss`).
    """
    check_module(model)
    check_tensor("targets", targets)
    with watch_balance(model) as balance:
        logits = model(inputs)  # (batch, seq, vocab)
    total = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    loss = total / (targets != IGNORED).sum().clamp(min=1)
    return sum(balance, start=loss)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: TrainingData,
    context_length: int | None = None,
    max_batches: int | None = None,
    batch_size: int = 32,
    at_document_starts: bool = False,
    team: Alone = ALONE,
) -> float:
    """Mean loss of `model` on `data`, in nats per token, on the same tokens every time it is called.

    The tokens are read in consecutive windows of `context_length` (None: the model's). With
    `at_document_starts` each document is read alone instead, from its start to its end-of-text token (or as
    far as the context goes): that is the number to hold against an entropy floor in nats per token. At most
    `max_batches` batches are read (None: all of the data). The processes of a `team` share the rows of each.

    Raises ValueError when the data holds no window, or no document, to read.
    """
    check_module(model)
    check_data("data", data, "windows")
    context_length = fitting_context_length(model, context_length)
    device = device_of(model)
    check_whole("batch_size", batch_size)
    check_flag("at_document_starts", at_document_starts)
    if max_batches is not None:
        check_whole("max_batches", max_batches)
    sequences = data.windows(context_length, at_document_starts)
    was_training = model.training
    model.eval()
    total, count, batches = 0.0, 0, 0
    try:
        for inputs, targets in _batched(sequences, batch_size):
            inputs, targets = _own_rows(inputs, targets, team)
            kept = int((targets != IGNORED).sum())
            total += loss_of(model, inputs.to(device), targets.to(device)).item() * kept
            count += kept
            batches += 1
            if batches == max_batches:
                break
    finally:
        model.train(was_training)
    total, count = team.sum(torch.tensor([total, count], dtype=torch.float64)).tolist()
    if count == 0:
        raise ValueError(
            "data holds nothing to predict; it needs at least two tokens in a row, or one document"
        )
    return total / count


def _own_rows(
    inputs: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"], team: Alone
) -> tuple[Int[Tensor, "share seq"], Int[Tensor, "share seq"]]:
    """This process's rows of a batch; where they do not divide, some that carry no loss are added."""
    missing = -len(inputs) % team.size
    inputs = F.pad(inputs, (0, 0, 0, missing))
    targets = F.pad(targets, (0, 0, 0, missing), value=IGNORED)
    return inputs.chunk(team.size)[team.rank], targets.chunk(team.size)[team.rank]


def _batched(
    sequences: Iterator[tuple[Int[Tensor, " _"], Int[Tensor, " _"]]], batch_size: int
) -> Iterator[tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]]:
    """Stack sequences into batches, padded at the end with targets that carry no loss."""
    batch: list[tuple[Tensor, Tensor]] = []

    def stacked() -> tuple[Tensor, Tensor]:
        inputs = nn.utils.rnn.pad_sequence([row[0] for row in batch], batch_first=True)
        targets = nn.utils.rnn.pad_sequence(
            [row[1] for row in batch], batch_first=True, padding_value=IGNORED
        )
        return inputs, targets

    for sequence in sequences:
        batch.append(sequence)
        if len(batch) == batch_size:
            yield stacked()
            batch = []
    if batch:
        yield stacked()


def check_module(model: object) -> None:
    """Raise TypeError unless this is a module of torch."""
    check_kind("model", model, nn.Module, "a GPT, or another module of torch")


def check_data(name: str, data: object, method: str) -> None:
    """Raise TypeError unless data has this one of the methods of TrainingData."""
    if not callable(getattr(data, method, None)):
        raise TypeError(f"{name} is a {type(data).__name__}; it needs a method {method}, as TokenFile has it")


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def fitting_context_length(model: nn.Module, given: int | None) -> int:
    longest = getattr(getattr(model, "config", None), "context_length", None)
    wanted = longest if given is None else given
    if wanted is None:
        raise ValueError(
            "context_length is None; it needs a number, since this model has no config.context_length"
        )
    check_whole("context_length", wanted)
    if longest is not None and wanted > longest:
        raise ValueError(f"context_length is {wanted}; it needs to be at most the model's, {longest}")
    return wanted
