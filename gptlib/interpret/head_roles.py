"""What heads are known to do, each as a score: the share of attention that goes where the role says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ROLES = {
    "previous token": "the token before",
    "first token": "the very first token",
    "same token": "earlier copies of the token",
    "induction": "what followed earlier copies of the token (Olsson et al. 2022)",
    "finds the name": "earlier mentions of the name that comes next",
}
SENTENCE_ENDS = (".", "!", "?", '"', "”", "“", ":", "\n")


def names_in(words: Sequence[str]) -> set[str]:
    """The words that are capitalized somewhere inside a sentence, which in English are names."""
    return {
        word.strip()
        for before, word in zip(words, words[1:], strict=False)
        if word.strip().istitle()
        and word.strip().isalpha()
        and not before.rstrip(" ").endswith(SENTENCE_ENDS)
    }


def role_targets(tokens: Sequence[int], words: Sequence[str]) -> dict[str, Bool[Tensor, "query key"]]:
    """For each role, the keys that it says each query looks at; a query without any does not count.

    words: the text of each token, which tells the names.
    """
    n = len(tokens)
    ids = torch.tensor(tokens)
    before = torch.ones(n, n, dtype=torch.bool).tril(-1)
    same = (ids[:, None] == ids[None, :]) & before
    first = torch.zeros_like(before)
    first[1:, 0] = True
    # The key after an earlier copy: shift the copies by one. The query itself is such a key in "aa".
    induction = torch.zeros_like(before)
    induction[:, 1:] = same[:, :-1]
    coming = torch.zeros_like(before)
    coming[:-1] = ids[1:, None] == ids[None, :]
    names = names_in(words[1:])  # the first word of a text is capitalized, whatever it is
    is_name = torch.tensor([word.strip() in names for word in words])
    return {
        "previous token": torch.eye(n, dtype=torch.bool).roll(-1, dims=1).tril(-1),
        "first token": first,
        "same token": same,
        "induction": induction,
        "finds the name": coming & is_name[None, :] & before,
    }


def role_scores(
    weights: Float[Tensor, "*heads query key"], tokens: Sequence[int], words: Sequence[str]
) -> dict[str, Float[Tensor, "*heads"] | None]:
    """For each role and head, the share of attention on the role's keys: the mean over queries that have any.

    None for a role that this text gives no occasion for.
    """
    found = {role: targets for role, targets in role_targets(tokens, words).items() if targets.any()}
    if not found:
        return dict.fromkeys(ROLES)
    # One product over all cells: long texts have too many of them for a copy for each role.
    cells = torch.stack([targets / targets.any(dim=1).sum() for targets in found.values()])
    shares = weights.flatten(-2) @ cells.to(weights).flatten(-2).T  # (*heads, role)
    return dict.fromkeys(ROLES) | dict(zip(found, shares.unbind(-1), strict=True))


def opening_head(
    weights: Float[Tensor, "head query key"], scores: Mapping[str, Float[Tensor, " head"] | None]
) -> int:
    """The head to look at first: one with a telling role if there is any, else the one that shows most."""
    for role in ("finds the name", "induction"):
        if scores.get(role) is not None and scores[role].max() > 0.5:
            return int(scores[role].argmax())
    return most_to_show(weights)


def most_to_show(weights: Float[Tensor, "head query key"]) -> int:
    """The head that looks most decidedly at something of its own choice.

    What counts is, in the mean over tokens, the largest weight that exceeds what its key gets from everybody
    (many heads look at the first token throughout), of keys other than the token itself and its neighbors.
    """
    n = weights.shape[1]
    queries = torch.arange(n)[:: max(1, n // 64)]  # of a long text a sample will do
    own = weights[:, queries] - weights[:, queries].mean(dim=1, keepdim=True)
    if weights.shape[1] == weights.shape[2]:
        near = (queries[:, None] - torch.arange(n)).abs() <= 1
        own = own.masked_fill(near, 0.0)
    return int(own.amax(dim=-1).mean(dim=-1).argmax())
