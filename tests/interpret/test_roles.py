"""Head scores: on attention made for each role, the score is 1, and a role without occasion has none."""

import torch

from gptlib.interpret.head_roles import names_in, role_scores


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
