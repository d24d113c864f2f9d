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


def last_alone(model, inputs, targets, size):
    model.zero_grad()
    for start in range(0, len(inputs), size):
        part = inputs[start : start + size]
        loss = F.cross_entropy(model(part).transpose(1, 2), targets[start : start + size])
        share = len(part) / len(inputs)
    (loss * share).backward()
    return loss.item()


def with_graph(model, inputs, targets, size):
    model.zero_grad()
    total = 0
    for start in range(0, len(inputs), size):
        logits = model(inputs[start : start + size]).transpose(1, 2)
        loss = F.cross_entropy(logits, targets[start : start + size], reduction="sum") / targets.numel()
        loss.backward()
        total += loss
    return total


def sums(divide):
    """The sum of all losses, divided by what `divide` makes of (inputs, size)."""

    def answer(model, inputs, targets, size):
        model.zero_grad()
        losses = []
        for start in range(0, len(inputs), size):
            logits = model(inputs[start : start + size]).transpose(1, 2)
            loss = F.cross_entropy(logits, targets[start : start + size], reduction="sum")
            loss = loss / divide(inputs, size)
            loss.backward()
            losses.append(loss.item())
        return sum(losses)

    return answer


def read_without_learning(model, inputs, targets, size):
    model.zero_grad()
    losses = []
    for start in range(0, len(inputs), size):
        part = inputs[start : start + size]
        loss = F.cross_entropy(model(part).transpose(1, 2), targets[start : start + size])
        losses.append(loss.item() * len(part) / len(inputs))
    return sum(losses)


def parts_returned(model, inputs, targets, size):
    model.zero_grad()
    losses = []
    for start in range(0, len(inputs), size):
        logits = model(inputs[start : start + size]).transpose(1, 2)
        loss = F.cross_entropy(logits, targets[start : start + size], reduction="sum") / targets.numel()
        loss.backward()
        losses.append(loss.item())
    return losses


def rows_of_pairs(row, starts, length):
    return [(row[start : start + length], row[start + 1 : start + length + 1]) for start in starts]


def numbers_in_lists(row, starts, length):
    inputs, targets = by_places(row, starts, length)
    return inputs.tolist(), targets.tolist()


def padded(row, starts, length):
    inputs, _ = by_places(row, starts, length)
    return inputs, F.pad(inputs[:, 1:], (0, 1), value=-100)


def last_of_loop(row, starts, length):
    for start in starts:
        inputs, targets = row[start : start + length], row[start + 1 : start + length + 1]
    return inputs, targets


def by_columns(row, starts, length):
    places = torch.tensor(starts)[None] + torch.arange(length)[:, None]
    return row[places], row[places + 1]


def joined(row, starts, length):
    inputs, targets = separate(row, starts, length)
    return torch.cat(inputs), torch.cat(targets)


def both_too_long(row, starts, length):
    inputs, targets = by_places(row, starts, length, size=1)
    return inputs, F.pad(targets, (0, 1))


def slices_from_before(row, starts, length):
    inputs = [row[start : start + length] for start in starts]
    return torch.stack(inputs), torch.stack([row[start - 1 : start + length - 1] for start in starts])


def pair_in_a_tensor(row, starts, length):
    return torch.stack(by_places(row, starts, length))


def only_the_first_windows(row, starts, length):
    return by_places(row, [i * length for i in range(len(starts))], length)


def clip_in_vector(gradients, bound):
    numbers = torch.cat([gradient.flatten() for gradient in gradients])
    return numbers * torch.clamp(bound / numbers.norm(), max=1.0)


def clip_by_torch_alone(gradients, bound):
    torch.nn.utils.clip_grad_norm_(gradients, bound)
    return gradients


def by_the_bound(gradients, bound):
    return [gradient * bound if squares(gradients) > bound**2 else gradient for gradient in gradients]


def formula_everywhere(step, highest, lowest, warmup, steps):
    progress = (step - warmup) / (steps - 1 - warmup)
    return lowest + (highest - lowest) * (1 + math.cos(math.pi * progress)) / 2


def counted_from_one(step, highest, lowest, warmup, steps):
    step += 1
    if step <= warmup:
        return highest * step / warmup
    return lowest + (highest - lowest) * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


def first_of_loop(row, starts, length):
    for start in starts:
        found = row[start : start + length], row[start + 1 : start + length + 1]
        break
    return found


def short_windows(row, starts, length):
    inputs, targets = [], []
    for start in starts:
        window = row[start : start + length]
        inputs.append(window[:-1])
        targets.append(window[1:])
    return torch.stack(inputs), torch.stack(targets)


def closed_in_itself(row, starts, length):
    inputs, _ = by_places(row, starts, length)
    return inputs, torch.cat([inputs[:, 1:], inputs[:, :1]], dim=1)


def separate(row, starts, length):
    inputs = [row[start : start + length] for start in starts]
    targets = [row[start + 1 : start + length + 1] for start in starts]
    return inputs, targets


def wrong_ends(row, starts, length):
    inputs, targets = [], []
    for start in starts:
        inputs.append(row[start:length])
        targets.append(row[start + 1 : length + 1])
    return torch.stack(inputs), torch.stack(targets)


def short_targets(row, starts, length):
    inputs = [row[start : start + length] for start in starts]
    return torch.stack(inputs), torch.stack([row[start + 1 : start + length] for start in starts])


def one_target(row, starts, length):
    inputs, _ = by_places(row, starts, length)
    return inputs, row[torch.tensor(starts) + length]


def clip_with(norm):
    def answer(gradients, bound):
        length = float(norm(torch.cat([gradient.flatten() for gradient in gradients])))
        return [gradient * bound / length if length > bound else gradient for gradient in gradients]

    return answer


def clip_last(gradients, bound):
    for gradient in gradients:
        norm = gradient.square().sum().sqrt()
    return [gradient * (bound / norm).clamp(max=1.0) for gradient in gradients]


def clip_largest(gradients, bound):
    norm = torch.stack([gradient.norm() for gradient in gradients]).max()
    return [gradient / norm * bound for gradient in gradients] if norm > bound else gradients


def clip_to_one(gradients, bound):
    norm = squares(gradients).sqrt()
    return [gradient / norm for gradient in gradients] if norm > bound else gradients


def grown(gradients, bound):
    norm = squares(gradients).sqrt()
    return gradients if norm >= bound else [gradient * bound / norm for gradient in gradients]


def blown_up(gradients, bound):
    ratio = squares(gradients).sqrt() / bound
    return [gradient * ratio if ratio > 1 else gradient for gradient in gradients]


def nanogpt_schedule(step, highest, lowest, warmup, steps):
    if step < warmup:
        return highest * (step + 1) / (warmup + 1)
    decay_ratio = (step - warmup) / (steps - warmup)
    coeff = 0.5 * (1.0 + math.cos(math.pi * decay_ratio))
    return lowest + coeff * (highest - lowest)


def rises_past(step, highest, lowest, warmup, steps):
    if step > warmup:
        return schedule_by_mean(step, highest, lowest, warmup, steps)
    return (step + 1) * highest / warmup


def rises_from_lowest(step, highest, lowest, warmup, steps):
    if step < warmup:
        share = (step + 1) / warmup
        return share * highest + (1 - share) * lowest
    return schedule_by_mean(step, highest, lowest, warmup, steps)


def fall(factor):
    """A schedule that falls to `lowest` by what `factor` makes of (the cosine, highest, lowest)."""

    def answer(step, highest, lowest, warmup, steps):
        if step < warmup:
            return (step + 1) / warmup * highest
        cosine = math.cos(math.pi * (step - warmup) / (steps - 1 - warmup))
        return lowest + factor(cosine, highest, lowest)

    return answer


def whole_parts(model, inputs, targets, size):
    model.zero_grad()
    losses, n = [], len(inputs) // size
    for i in range(n):
        rows = slice(i * size, (i + 1) * size)
        loss = F.cross_entropy(model(inputs[rows]).transpose(1, 2), targets[rows]) / n
        loss.backward()
        losses.append(loss.item())
    return sum(losses)


def last_loss(model, inputs, targets, size):
    model.zero_grad()
    for start in range(0, len(inputs), size):
        part = inputs[start : start + size]
        loss = F.cross_entropy(model(part).transpose(1, 2), targets[start : start + size])
        (loss * part.numel() / inputs.numel()).backward()
    return loss.item()


def mean_returned(model, inputs, targets, size):
    model.zero_grad()
    losses = []
    for start in range(0, len(inputs), size):
        logits = model(inputs[start : start + size]).transpose(1, 2)
        loss = F.cross_entropy(logits, targets[start : start + size])
        loss.backward()
        losses.append(loss.item())
    return sum(losses) / len(losses)


def full_shares(model, inputs, targets, size):
    model.zero_grad()
    total = 0.0
    for start in range(0, len(inputs), size):
        logits = model(inputs[start : start + size]).transpose(1, 2)
        loss = F.cross_entropy(logits, targets[start : start + size]) * size / len(inputs)
        loss.backward()
        total += loss.item()
    return total


RIGHT = {
    "training.windows": [by_places, by_unfold],
    "training.clip_gradients": [clip_by_long_vector, clip_by_torch],
    "training.schedule": [schedule_by_min, schedule_by_mean],
    "training.accumulate": [accumulate_sums, row_by_row],
}

WRONG = {
    "training.windows": {
        "not_shifted": lambda row, starts, length: by_places(row, starts, length, shift=0),
        "shifted_back": slices_from_before,
        "swapped": lambda row, starts, length: tuple(reversed(by_places(row, starts, length))),
        "one_too_long": lambda row, starts, length: (
            by_places(row, starts, length, size=1)
            if max(starts) + length < len(row)
            else both_too_long(row, starts, length - 1)
        ),
        "one_too_short": short_windows,
        "too_far": lambda row, starts, length: by_places(row, starts, length, shift=length),
        "after_the_last": one_target,
        "last_target": closed_in_itself,
        "lists": separate,
        "one_window": first_of_loop,
        "end_without_start": wrong_ends,
        "transposed": by_columns,
        "one_long_row": joined,
        "one_tensor": pair_in_a_tensor,
        "other_starts": only_the_first_windows,
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
        "bound_forgotten": clip_to_one,
        "largest_number": clip_with(lambda numbers: numbers.norm(p=float("inf"))),
        "last_norm": clip_last,
        "mean_squares": clip_with(lambda numbers: numbers.square().mean().sqrt()),
        "wrong_way_round": grown,
        "upside_down": blown_up,
        "unchanged": clip_by_torch_alone,
        "one_long_vector": clip_in_vector,
        "bound_as_factor": by_the_bound,
        "another_norm": clip_largest,
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
        "no_one_plus": fall(lambda cosine, highest, lowest: (highest - lowest) * cosine),
        "one_step_short": lambda step, highest, lowest, warmup, steps: schedule_by_mean(
            step, highest, lowest, warmup, steps, end=0
        ),
        "nanogpt": nanogpt_schedule,
        "rises_past": rises_past,
        "rises_from_lowest": rises_from_lowest,
        "begins_too_high": fall(lambda cosine, highest, lowest: (highest - lowest) * 1 + cosine / 2),
        "begins_too_low": counted_from_one,
        "one_late": lambda step, highest, lowest, warmup, steps: schedule_by_mean(
            step, highest, lowest, warmup, steps, end=0, first=0
        ),
        "no_warm_up": formula_everywhere,
        "another_rise": lambda step, highest, lowest, warmup, steps: schedule_by_mean(
            max(step, warmup), highest, lowest, warmup, steps
        ),
        "another_fall": fall(
            lambda cosine, highest, lowest: (
                (highest - lowest) * (1 + math.cos(math.radians(math.acos(cosine)))) / 2
            )
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
        "rest_dropped": whole_parts,
        "last_loss": last_loss,
        "full_shares": full_shares,
        "another_mean": sums(lambda inputs, size: len(inputs)),
        "no_gradients": read_without_learning,
        "keeps_the_graph": with_graph,
        "updates": stepped,
    },
}


def squares_at_the_bound(gradients, bound):
    norm = squares(gradients)
    return [gradient * bound / norm.sqrt() if norm > bound else gradient for gradient in gradients]


# Other forms of the same mistakes, by the kind whose sentence they get.
ALIKE = {
    "training.windows": {
        "lists": [rows_of_pairs, numbers_in_lists],
        "one_window": [last_of_loop],
        "last_target": [padded],
        "one_too_short": [short_targets],
        "too_far": [lambda row, starts, length: by_places(row, starts, length, shift=2)],
        "one_tensor": [lambda row, starts, length: by_places(row, starts, length)[0]],
        "shifted_back": [lambda row, starts, length: by_places(row, starts, length, shift=-1)],
        "other_starts": [lambda row, starts, length: by_places(row, sorted(starts), length)],
    },
    "training.clip_gradients": {
        "each_by_itself": [lambda gradients, bound: [g / g.norm() * bound for g in gradients]],
        "each_number": [lambda gradients, bound: [g.clamp(max=bound) for g in gradients]],
        "another_norm": [clip_with(lambda numbers: numbers.abs().sum())],
        "always_scaled": [lambda gradients, bound: [g / squares(gradients) * bound for g in gradients]],
    },
    "training.schedule": {
        "begins_too_high": [
            fall(lambda cosine, highest, lowest: highest * (1 + cosine) / 2),
            fall(lambda cosine, highest, lowest: (highest - lowest) * (1 + cosine)),
        ],
        "begins_too_low": [
            fall(lambda cosine, highest, lowest: (highest - lowest) * (1 + cosine) / 2 - lowest)
        ],
        "one_step_short": [
            lambda step, highest, lowest, warmup, steps: schedule_by_mean(
                step, highest, lowest, warmup, steps, end=-1
            )
        ],
    },
    "training.accumulate": {
        "forgets_the_parts": [last_alone],
        "scaled_too_late": [mean_returned],
        "last_loss": [parts_returned],
        "another_mean": [sums(lambda inputs, size: 1), sums(lambda inputs, size: inputs.shape[1] * size)],
    },
}

REFUSED = {
    exercise: {f"{kind}_{place}": answer for kind, some in held.items() for place, answer in enumerate(some)}
    for exercise, held in ALIKE.items()
}
REFUSED["training.clip_gradients"]["squares_at_the_bound"] = squares_at_the_bound
