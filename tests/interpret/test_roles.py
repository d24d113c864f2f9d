"""Head scores: on attention made for each role, the score is 1, and a role without occasion has none."""

import torch

from gptlib.interpret.head_roles import most_to_show, names_in, opening_head, role_scores


def test_roles_on_attention_made_for_them():
    tokens = [0, 1, 2, 3, 1, 2, 3]
    words = ["(start)", "so", " Nora", " saw", "so", " Nora", " saw"]
    weights = torch.zeros(1, 4, 7, 7)
    weights[0, 0] = torch.eye(7).roll(-1, dims=1)  # previous
    weights[0, 1, :, 0] = 1  # first
    for query in (4, 5, 6):
        weights[0, 2, query, query - 3] = 1  # same
        weights[0, 3, query, query - 2] = 1  # induction
    scores = role_scores(weights, tokens, words)
    best = {role: int(score.argmax()) for role, score in scores.items() if role != "finds the name"}
    assert best == {"previous token": 0, "first token": 1, "same token": 2, "induction": 3}
    for role, head in best.items():
        assert scores[role][0, head] == 1, role
    # Before the second Nora (query 4), an eye on the first Nora (key 2) is the only occasion.
    assert scores["finds the name"][0].tolist() == [0, 0, 0, 1]
    assert names_in(words) == {"Nora"}
    assert role_scores(weights[..., :2, :2], tokens[:2], words[:2])["induction"] is None


def looking_at(keys, n=12, share=0.9):
    """A head whose query i gives `share` of its weight to keys[i] and the rest evenly to what it may see."""
    weights = torch.ones(n, n).tril()
    weights = weights / weights.sum(dim=-1, keepdim=True) * (1 - share)
    weights[torch.arange(n), keys] += share
    return weights


def test_what_has_most_to_show_looks_far_and_changes_its_mind():
    n = 12
    at = torch.arange(n)
    heads = torch.stack([
        torch.ones(n, n).tril() / (at[:, None] + 1),  # evenly
        looking_at(torch.zeros(n, dtype=torch.long)),  # always at the first token
        looking_at(at),  # at itself
        looking_at((at - 1).clamp_min(0)),  # at the one before
        looking_at((at * 5 // 7 - 1).clamp_min(0)),  # at something of its own choice
        looking_at((at * 5 // 7 - 1).clamp_min(0), share=0.5),
    ])  # fmt: skip
    assert most_to_show(heads) == 4
    assert most_to_show(heads.flip(0)) == 1
    assert most_to_show(torch.ones(1, 1, 1)) == 0
    assert most_to_show(heads[..., :7]) in range(6)  # cross-attention


def test_a_telling_role_comes_first():
    heads = torch.stack(
        [looking_at((torch.arange(12) * 5 // 7 - 1).clamp_min(0)), looking_at(torch.arange(12))]
    )
    assert opening_head(heads, {"induction": None, "finds the name": torch.tensor([0.1, 0.6])}) == 1
    assert (
        opening_head(
            heads, {"induction": torch.tensor([0.7, 0.1]), "finds the name": torch.tensor([0.1, 0.6])}
        )
        == 1
    )
    assert (
        opening_head(
            heads, {"induction": torch.tensor([0.4, 0.1]), "previous token": torch.tensor([0.0, 1.0])}
        )
        == 0
    )
