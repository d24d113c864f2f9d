"""Answers to the exercises on rivals as readers write them, right and wrong."""

import torch
import torch.nn.functional as F


def rnn_step_by_loop(x, state, w_x, w_state, bias):
    rows = []
    for vector, old in zip(x, state, strict=True):
        rows.append(
            torch.stack(
                [torch.tanh(vector @ a + old @ b + c) for a, b, c in zip(w_x.T, w_state.T, bias, strict=True)]
            )
        )
    return torch.stack(rows)


def attend(x, source, w_q, w_k, w_v, hidden=None, scale=True, dim=1):
    scores = (x @ w_q) @ (source @ w_k).mT
    if scale:
        scores = scores * w_k.shape[1] ** -0.5
    if hidden is not None:
        scores = torch.where(hidden, torch.tensor(float("-inf")), scores)
    return F.softmax(scores, dim=dim) @ (source @ w_v)


def cross_word_by_word(x, source, is_word, w_q, w_k, w_v):
    read = source[is_word]
    rows = []
    for vector in x:
        scores = (read @ w_k) @ (vector @ w_q) / w_q.shape[1] ** 0.5
        rows.append(scores.softmax(0) @ (read @ w_v))
    return torch.stack(rows)


def riddle(tokens, chosen, dice, anything, mask_token, masked=0.8, other=0.9, judged=None):
    inputs, targets = [], []
    judged = chosen if judged is None else judged
    for token, ask, number, instead, answer in zip(tokens, chosen, dice, anything, judged, strict=True):
        if ask and number < masked:
            inputs.append(torch.tensor(mask_token))
        else:
            inputs.append(instead if ask and number < other else token)
        targets.append(token if answer else torch.tensor(-100))
    return torch.stack(inputs), torch.stack(targets)


def shifted(tokens, chosen, dice, anything, mask_token):
    inputs, _ = riddle(tokens, chosen, dice, anything, mask_token)
    following = torch.cat([tokens[1:], tokens[:1]])
    return inputs, torch.where(chosen, following, -100)


def all_diced(tokens, chosen, dice, anything, mask_token):
    inputs = torch.where(dice < 0.8, mask_token, torch.where(dice < 0.9, anything, tokens))
    return inputs, torch.where(chosen, tokens, -100)


RIGHT = {
    "rivals.rnn_step": [
        rnn_step_by_loop,
        lambda x, state, w_x, w_state, bias: (
            torch.cat([x, state], 1).matmul(torch.cat([w_x, w_state])).add(bias).tanh()
        ),
    ],
    "rivals.gated": [
        lambda state, candidate, gate_logits: candidate + gate_logits.sigmoid() * (state - candidate),
        lambda state, candidate, gate_logits: torch.lerp(candidate, state, 1 / (1 + torch.exp(-gate_logits))),
    ],
    "rivals.hide": [
        riddle,
        lambda tokens, chosen, dice, anything, mask_token: (
            torch.where(
                chosen,
                torch.where(dice < 0.8, mask_token, torch.where(dice < 0.9, anything, tokens)),
                tokens,
            ),
            torch.where(chosen, tokens, -100),
        ),
    ],
    "rivals.cross_attention": [
        cross_word_by_word,
        lambda x, source, is_word, w_q, w_k, w_v: attend(x, source, w_q, w_k, w_v, hidden=~is_word[None]),
    ],
}

WRONG = {
    "rivals.rnn_step": {
        "state_forgotten": lambda x, state, w_x, w_state, bias: x.matmul(w_x).add(bias).tanh(),
        "no_tanh": lambda x, state, w_x, w_state, bias: torch.addmm(bias, x, w_x) + state.matmul(w_state),
        "state_unmixed": lambda x, state, w_x, w_state, bias: (state + x @ w_x + bias).tanh(),
        "state_added_outside": lambda x, state, w_x, w_state, bias: state @ w_state + (x @ w_x + bias).tanh(),
        "sigmoid": lambda x, state, w_x, w_state, bias: (bias + state @ w_state + x @ w_x).sigmoid(),
    },
    "rivals.gated": {
        "no_sigmoid": lambda state, candidate, gate_logits: candidate + gate_logits * (state - candidate),
        "swapped": lambda state, candidate, gate_logits: state + gate_logits.sigmoid() * (candidate - state),
        "not_a_share": lambda state, candidate, gate_logits: candidate + state * gate_logits.sigmoid(),
        "softmax": lambda state, candidate, gate_logits: torch.lerp(
            candidate, state, F.softmax(gate_logits, 1)
        ),
        "one_gate_for_all": lambda state, candidate, gate_logits: torch.lerp(
            candidate, state, gate_logits.mean(1, keepdim=True).sigmoid()
        ),
    },
    "rivals.hide": {
        "all_masked": lambda *inputs: riddle(*inputs, masked=2.0),
        "all_judged": lambda tokens, *others: (riddle(tokens, *others)[0], tokens.clone()),
        "kept_not_judged": lambda tokens, chosen, dice, *others: riddle(
            tokens, chosen, dice, *others, judged=chosen & (dice < 0.9)
        ),
        "next_token": shifted,
        "dice_for_all": all_diced,
    },
    "rivals.cross_attention": {
        "queries_from_source": lambda x, source, is_word, w_q, w_k, w_v: attend(
            source, source, w_q, w_k, w_v, hidden=~is_word[None]
        ),
        "keys_from_x": lambda x, source, is_word, w_q, w_k, w_v: attend(
            x, x, w_q, w_k, w_v, hidden=~is_word[None]
        ),
        "padding_seen": lambda x, source, is_word, w_q, w_k, w_v: attend(x, source, w_q, w_k, w_v),
        "causal": lambda x, source, is_word, w_q, w_k, w_v: attend(
            x, source, w_q, w_k, w_v, hidden=~is_word[None] | ~torch.ones(len(x), len(source)).tril().bool()
        ),
        "not_scaled": lambda x, source, is_word, w_q, w_k, w_v: attend(
            x, source, w_q, w_k, w_v, hidden=~is_word[None], scale=False
        ),
        "over_the_queries": lambda x, source, is_word, w_q, w_k, w_v: attend(
            x, source, w_q, w_k, w_v, hidden=~is_word[None], dim=0
        ),
    },
}
