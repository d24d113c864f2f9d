"""How explorers read a model: one at a time, as it is in use, on the device where it is by then.

What a page sends may come in a thread of its own while a cell runs (a subshell, with ipykernel 7.0 to 7.3);
what a training draws always does. Two explorers may show one model, and edits are hooks on it: so there is
one lock, and not one for each explorer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Any

import regex
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gptlib.viz.drawing import readable

LOCK = RLock()


@dataclass(frozen=True)
class Reading:
    """One run over one text. What is patched into another run stays where the model computed it.

    Heads are counted through: those of each layer in turn, then the copy heads. Kept in `activations` are
    every head's output, and the residual stream as it enters each layer and the copy heads; nothing where
    heads cannot be changed.
    """

    weights: Float[Tensor, "head query key"]
    value_norms: Float[Tensor, "head key"] | None  # |v W_O| of each head's value, Kobayashi et al. 2020
    logits: Float[Tensor, "query vocab"]  # (query, 0) where the model predicts no tokens
    activations: dict[str, Tensor]


# What a reader takes for one character: a letter with its accents, an emoji with all that is joined to it.
CHARACTER = regex.compile(r"\r|\n|\X")


def on_the_page(piece: str) -> str:
    """A token's text as a page shows it, in its own script; a joiner inside a character stays where it is."""
    return "".join(
        character
        if len(character) > 1 and character[0].isprintable() and character[0] != " "
        else readable(character, family=None)
        for character in CHARACTER.findall(piece)
    ) or readable("")


def alone(call: Callable[..., Any]) -> Callable[..., Any]:
    """Make a method hold the lock, so that what it reads stays as it is."""

    @functools.wraps(call)
    def guarded(*arguments: Any, **options: Any) -> Any:
        with LOCK:
            return call(*arguments, **options)

    return guarded


@contextmanager
def in_use(model: nn.Module) -> Iterator[torch.device]:
    """The model without dropout, gradients and what others do to it; afterwards it is in the mode it was in.

    Gives the device that its inputs belong on. Raises ValueError for a model that has no numbers.
    """
    with LOCK, torch.no_grad():
        was_training, device = model.training, next(model.parameters()).device
        model.eval()
        try:
            yield device
        except Exception as error:
            if device.type != "meta":
                raise
            raise ValueError(
                "model is on the device 'meta', where it has shapes and no numbers; "
                "model.to_empty(device='cpu') and then model.load_state_dict(…) would give it some"
            ) from error
        finally:
            model.train(was_training)


def numbers(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """What a model computed, in single precision on the CPU."""
    return x.float().cpu()


def document(tokenizer: Any, text: str) -> list[int]:
    """The text's tokens as the course's models are trained to read them: after an end of text."""
    return [tokenizer.end_of_text, *tokenizer.encode(text)]
