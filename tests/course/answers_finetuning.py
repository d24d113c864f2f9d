"""Answers to the exercises on fine-tuning as readers write them, right and wrong."""

import math

import torch
from torch import nn


def targets_by_loop(tokens, said):
    return torch.tensor([int(tokens[i]) if said[i] else -100 for i in range(1, len(tokens))])


def targets_by_where(tokens, said):
    following, counts = tokens[1:], said[1:]
    return torch.where(counts, following, torch.full_like(following, -100))


def f1_by_counting(said, wanted):
    hits = sum(min(said.count(item), wanted.count(item)) for item in set(said))
    return hits / ((len(said) + len(wanted)) / 2)


def f1_by_sorting(said, wanted):
    said, wanted, hits = sorted(said), sorted(wanted), 0
    i = j = 0
    while i < len(said) and j < len(wanted):
        if said[i] == wanted[j]:
            hits, i, j = hits + 1, i + 1, j + 1
        elif said[i] < wanted[j]:
            i += 1
        else:
            j += 1
    return 2 * hits / (len(said) + len(wanted))


def stop_by_waiting(losses, patience, new_best=lambda loss, best: loss < best, extra=0):
    best, kept, waited = math.inf, 0, 0
    for place, loss in enumerate(losses):
        waited += 1
        if new_best(loss, best):
            best, kept, waited = loss, place, 0
        if waited == patience + extra:
            break
    return kept, place


def stop_by_slices(losses, patience):
    for end in range(patience, len(losses)):
        recent = losses[end - patience + 1 : end + 1]
        earlier = losses[: end - patience + 1]
        if min(recent) >= min(earlier):
            return earlier.index(min(earlier)), end
    return losses.index(min(losses)), len(losses) - 1


def stop_counting_all(losses, patience):
    best, waited, kept = losses[0], 0, 0
    for place in range(1, len(losses)):
        if losses[place] < best:
            best, kept = losses[place], place
        else:
            waited += 1
            if waited == patience:
                return kept, place
    return kept, len(losses) - 1


def stop_after_rises(losses, patience):
    rises = kept = 0
    for place in range(1, len(losses)):
        rises = rises + 1 if losses[place] >= losses[place - 1] else 0
        kept = place if losses[place] < losses[kept] else kept
        if rises == patience:
            return kept, place
    return kept, len(losses) - 1


class Layer(nn.Module):
    """Right by default; each argument makes it wrong in one way."""

    def __init__(self, linear, rank, scale, b=0.0, a=1.0, frozen=True):
        super().__init__()
        self.inner, self.factor = linear, scale
        if not frozen:
            for parameter in linear.parameters():
                parameter.requires_grad = True
        start = torch.randn(rank, linear.in_features) / linear.in_features**0.5
        self.lora_a = nn.Parameter(start * a)
        self.lora_b = nn.Parameter(torch.ones(linear.out_features, rank) * b)

    def forward(self, x):
        return self.inner(x) + self.factor * torch.einsum("...i,ri,or->...o", x, self.lora_a, self.lora_b)


class MergedLayer(Layer):
    def forward(self, x):
        weight = self.inner.weight + self.factor * self.lora_b @ self.lora_a
        return nn.functional.linear(x, weight, self.inner.bias)


class UnscaledLayer(Layer):
    def forward(self, x):
        return self.inner(x) + x @ self.lora_a.T @ self.lora_b.T


class LonelyLayer(Layer):
    def forward(self, x):
        return super().forward(x) - self.inner(x)


class TensorLayer(Layer):
    def __init__(self, linear, rank, scale):
        super().__init__(linear, rank, scale)
        del self.lora_a, self.lora_b
        self.lora_a = (torch.randn(rank, linear.in_features) / linear.in_features**0.5).requires_grad_()
        self.lora_b = torch.zeros(linear.out_features, rank).requires_grad_()


RIGHT = {
    "finetuning.answer_targets": [targets_by_loop, targets_by_where],
    "finetuning.f1": [f1_by_counting, f1_by_sorting],
    "finetuning.stopped_at": [stop_by_waiting, stop_by_slices],
    "finetuning.merged": [
        lambda weight, a, b, scale: torch.addmm(weight, b, a, alpha=scale),
        lambda weight, a, b, scale: (
            weight + sum(scale * b[:, [k]] * a[[k], :] for k in range(len(a)))  # one direction at a time
        ),
    ],
    "finetuning.LoRALinear": [Layer, MergedLayer],
}

WRONG = {
    "finetuning.answer_targets": {
        "not_shifted": lambda tokens, said: torch.where(said, tokens, torch.tensor(-100))[:-1],
        "mask_of_the_inputs": lambda tokens, said: torch.where(said[:-1], tokens[1:], torch.tensor(-100)),
        "the_user_counts": lambda tokens, said: targets_by_loop(tokens, ~said),
        "everything": lambda tokens, said: targets_by_loop(tokens, torch.ones_like(said)),
        "zeros": lambda tokens, said: targets_by_loop(tokens, said).clamp(min=0),
        "cut_out": lambda tokens, said: torch.tensor(
            [token for token, by_assistant in zip(tokens[1:], said[1:], strict=True) if by_assistant]
        ),
    },
    "finetuning.f1": {
        "sets": lambda said, wanted: f1_by_counting(sorted(set(said)), sorted(set(wanted))),
        "precision": lambda said, wanted: (
            f1_by_counting(said, wanted) * (len(said) + len(wanted)) / 2 / len(said)
        ),
        "recall": lambda said, wanted: (
            f1_by_counting(said, wanted) * (len(said) + len(wanted)) / 2 / len(wanted)
        ),
        "not_doubled": lambda said, wanted: f1_by_sorting(said, wanted) * 0.5,
        "hit_again": lambda said, wanted: (
            2 * len([item for item in said if item in set(wanted)]) / len(said + wanted)
        ),
        "in_order": lambda said, wanted: (
            2 * sum(said[i] == wanted[i] for i in range(min(len(said), len(wanted)))) / len(said + wanted)
        ),
    },
    "finetuning.stopped_at": {
        "last_kept": lambda losses, patience: (stop_by_slices(losses, patience)[1],) * 2,
        "not_in_a_row": stop_counting_all,
        "than_the_last": stop_after_rises,
        "equal_is_lower": lambda losses, patience: stop_by_waiting(
            losses, patience, new_best=lambda loss, best: loss <= best
        ),
        "one_late": lambda losses, patience: stop_by_waiting(losses, patience, extra=1),
        "looks_ahead": lambda losses, patience: (
            losses.index(min(losses)),
            stop_by_waiting(losses, patience)[1],
        ),
    },
    "finetuning.merged": {
        "transposed": lambda weight, a, b, scale: weight + scale * (b @ a).T,
        "unscaled": lambda weight, a, b, scale: torch.addmm(weight, b, a),
        "update_alone": lambda weight, a, b, scale: (scale * b) @ a,
        "all_scaled": lambda weight, a, b, scale: weight * scale + scale * b @ a,
        "subtracted": lambda weight, a, b, scale: torch.addmm(weight, b, a, alpha=-scale),
    },
    "finetuning.LoRALinear": {
        "without_scale": UnscaledLayer,
        "update_alone": LonelyLayer,
        "random_b": lambda linear, rank, scale: Layer(linear, rank, scale, b=0.5),
        "both_zero": lambda linear, rank, scale: Layer(linear, rank, scale, a=0.0),
        "linear_learns": lambda linear, rank, scale: Layer(linear, rank, scale, frozen=False),
        "no_parameters": TensorLayer,
    },
}
