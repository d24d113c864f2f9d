"""Answers to the exercises on training as readers write them, right and wrong."""

import math

import torch
import torch.nn.functional as F


def by_places(row, starts, length, shift=1, size=0):
    places = torch.tensor(starts)[:, None] + torch.arange(length)
    longer = torch.tensor(starts)[:, None] + torch.arange(length + size)
    return row[longer], row[(places + shift) % len(row)]


def by_unfold(row, starts, length):
    cut = row.unfold(0, length + 1, 1)[starts]
    return cut[:, :length], cut[:, -length:]


def clip_by_long_vector(gradients, bound):
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    if norm <= bound:
        return gradients
    return [gradient / norm * bound for gradient in gradients]


def clip_by_torch(gradients, bound):
    holders = [torch.zeros_like(gradient) for gradient in gradients]
    for holder, gradient in zip(holders, gradients, strict=True):
        holder.grad = gradient.clone()
    torch.nn.utils.clip_grad_norm_(holders, bound)
    return [holder.grad for holder in holders]


def squares(gradients):
    return torch.stack([gradient.square().sum() for gradient in gradients]).sum()


def schedule_by_min(step, highest, lowest, warmup, steps):
    rise = (step + 1) / warmup
    angle = math.pi * max(0, step - warmup) / (steps - warmup - 1)
    fall = lowest / highest + (1 - lowest / highest) * math.cos(angle / 2) ** 2
    return highest * min(rise, 1.0) if step < warmup else highest * fall


def schedule_by_mean(step, highest, lowest, warmup, steps, end=1, since=None, first=1):
    since = warmup if since is None else since
    if step + 1 <= warmup:
        return (step + first) * highest / warmup
    angle = math.pi * (step - since) / (steps - end - since)
    return (highest + lowest) / 2 + math.cos(angle) * (highest - lowest) / 2


def line(step, highest, lowest, warmup, steps):
    if step < warmup:
        return (step + 1) / warmup * highest
    left = (steps - 1 - step) / (steps - 1 - warmup)
    return left * highest + (1 - left) * lowest


def turned(step, highest, lowest, warmup, steps):
    if step < warmup:
        return (step + 1) / warmup * highest
    progress = (step - warmup) / (steps - 1 - warmup)
    return lowest + (highest - lowest) * math.cos(math.pi * progress) ** 2


def accumulate_sums(model, inputs, targets, size):
    for parameter in model.parameters():
        parameter.grad = None
    total = torch.tensor(0.0)
    for first in range(0, len(inputs), size):
        logits = model(inputs[first : first + size])
        wanted = targets[first : first + size]
        loss = F.cross_entropy(logits.transpose(1, 2), wanted, reduction="sum") / targets.numel()
        loss.backward()
        total += loss.detach()
    return total


def row_by_row(model, inputs, targets, size):
    model.zero_grad()
    losses = []
    for tokens, wanted in zip(inputs, targets, strict=True):  # parts of one row are no larger than `size`
        loss = F.cross_entropy(model(tokens[None])[0], wanted) / len(inputs)
        loss.backward()
        losses.append(loss.item())
    return sum(losses)


def all_at_once(model, inputs, targets, size):
    model.zero_grad()
    log_p = model(inputs).log_softmax(-1)
    loss = -log_p.gather(-1, targets[..., None]).mean()
    loss.backward()
    return float(loss)


def mean_of_kept_losses(model, inputs, targets, size):
    model.zero_grad()
    kept = []
    for start in range(0, len(inputs), size):
        logits = model(inputs[start : start + size]).transpose(1, 2)
        kept.append(F.cross_entropy(logits, targets[start : start + size], reduction="none").flatten())
    loss = torch.cat(kept).mean()
    loss.backward()
    return loss.item()


def chunks(model, inputs, targets, size):
    model.zero_grad()
    losses = []
    for part, wanted in zip(inputs.chunk(size), targets.chunk(size), strict=True):
        loss = F.cross_entropy(model(part).transpose(1, 2), wanted, reduction="sum") / targets.numel()
        loss.backward()
        losses.append(loss.item())
    return sum(losses)


def stepped(model, inputs, targets, size):
    loss = accumulate(model, inputs, targets, size)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    return loss


def accumulate(model, inputs, targets, size, zero=1, zero_in_loop=0, divide="share"):
    if zero:
        model.zero_grad(set_to_none=False)
    losses = []
    parts = list(zip(inputs.split(size), targets.split(size), strict=True))
    for part, wanted in parts:
        if zero_in_loop:
            model.zero_grad()
        loss = F.cross_entropy(model(part).transpose(1, 2), wanted)
        if divide == "share":
            loss = loss * (wanted.numel() / targets.numel())
        elif divide == "parts":
            loss = loss / len(parts)
        loss.backward()
        losses.append(loss.item())
    return sum(losses)


def scaled_too_late(model, inputs, targets, size):
    model.zero_grad()
    losses = []
    for start in range(0, len(inputs), size):
        part = inputs[start : start + size]
        loss = F.cross_entropy(model(part).transpose(1, 2), targets[start : start + size])
        loss.backward()
        losses += [loss.item()] * len(part)
    return sum(losses) / len(losses)


RIGHT = {
    "training.windows": [by_places, by_unfold],
    "training.clip_gradients": [clip_by_long_vector, clip_by_torch],
    "training.schedule": [schedule_by_min, schedule_by_mean],
    "training.accumulate": [accumulate_sums, row_by_row],
}

WRONG = {
    "training.windows": {
        "not_shifted": lambda row, starts, length: by_places(row, starts, length, shift=0),
        "shifted_back": lambda row, starts, length: by_places(row, starts, length, shift=-1),
        "swapped": lambda row, starts, length: tuple(reversed(by_places(row, starts, length))),
        "one_too_long": lambda row, starts, length: by_places(row, starts, length, size=1),
        "next_window": lambda row, starts, length: by_places(row, starts, length, shift=length),
    },
    "training.clip_gradients": {
        "each_by_itself": lambda gradients, bound: [clip_by_long_vector([g], bound)[0] for g in gradients],
        "each_number": lambda gradients, bound: [g.sign() * g.abs().clamp(max=bound) for g in gradients],
        "always_scaled": lambda gradients, bound: [g / squares(gradients).sqrt() * bound for g in gradients],
        "norms_added": lambda gradients, bound: [
            g / max(1.0, sum(float(h.norm()) for h in gradients) / bound) for g in gradients
        ],
        "no_root": lambda gradients, bound: [
            g * torch.clamp(bound / squares(gradients), max=1.0) for g in gradients
        ],
    },
    "training.schedule": {
        "first_step_is_0": lambda step, highest, lowest, warmup, steps: schedule_by_mean(
            step, highest, lowest, warmup, steps, first=0
        ),
        "cosine_from_the_start": lambda step, highest, lowest, warmup, steps: schedule_by_mean(
            step, highest, lowest, warmup, steps, since=0
        ),
        "down_to_0": lambda step, highest, lowest, warmup, steps: schedule_by_mean(
            step, highest, 0, warmup, steps
        ),
        "straight_down": line,
        "whole_turn": turned,
        "one_step_short": lambda step, highest, lowest, warmup, steps: schedule_by_mean(
            step, highest, lowest, warmup, steps, end=0
        ),
    },
    "training.accumulate": {
        "not_averaged": lambda model, inputs, targets, size: accumulate(
            model, inputs, targets, size, divide=""
        ),
        "equal_shares": lambda model, inputs, targets, size: accumulate(
            model, inputs, targets, size, divide="parts"
        ),
        "forgets_the_parts": lambda model, inputs, targets, size: accumulate(
            model, inputs, targets, size, zero_in_loop=1
        ),
        "old_gradients": lambda model, inputs, targets, size: accumulate(
            model, inputs, targets, size, zero=0
        ),
        "scaled_too_late": scaled_too_late,
        "whole_batch": all_at_once,
        "backward_at_the_end": mean_of_kept_losses,
        "size_parts": chunks,
    },
}

REFUSED = {"training.accumulate": {"stepped": stepped}}
