"""Stories that no model has read, and how a model does on them above their floor: for the recorded runs."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from gptlib import Storyworld, Tokenizer
from gptlib.text.storyworld import token_surprises
from gptlib.text.storyworld.reading import ratio


def held_out(
    tokenizer: Tokenizer, seed: int, n_stories: int, context_length: int
) -> tuple[list[list[int]], list[np.ndarray]]:
    """Those of n_stories that fit the context: as rows of tokens, and the true surprise of each token."""
    end = tokenizer.end_of_text
    rows, floors = [], []
    for story in Storyworld(seed, "test").stories(n_stories):
        row = [end, *tokenizer.encode(story.text), end]
        if len(row) <= context_length + 1:
            rows.append(row)
            floors.append(token_surprises(story.text, tokenizer))
    return rows, floors


@torch.no_grad()
def surprises(model: nn.Module, row: list[int]) -> np.ndarray:
    """-log p of every token of a row but its first, in nats."""
    tokens = torch.tensor([row])
    return F.cross_entropy(model(tokens[:, :-1])[0], tokens[0, 1:], reduction="none").numpy()


def mean_over_tokens(values: list[np.ndarray]) -> tuple[float, float]:
    """Mean over all tokens of all stories, and its standard error, stories being the independent draws."""
    return ratio(np.array([value.sum() for value in values]), np.array([len(value) for value in values]))
