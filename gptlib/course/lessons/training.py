"""Training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Generator, Tensor, nn

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.training.config import TrainConfig
from gptlib.training.schedule import learning_rate_at
from gptlib.viz import figures


def windows(
    row: Int[Tensor, " tokens"], starts: list[int], length: int
) -> tuple[Int[Tensor, "batch length"], Int[Tensor, "batch length"]]:
    cut = torch.stack([row[start : start + length + 1] for start in starts])  # (batch, length + 1)
    return cut[:, :-1], cut[:, 1:]


def clip_gradients(gradients: list[Tensor], bound: float) -> list[Tensor]:
    norm = math.sqrt(sum((gradient**2).sum().item() for gradient in gradients))
    return [gradient * min(1.0, bound / norm) for gradient in gradients]


def schedule(step: int, highest: float, lowest: float, warmup: int, steps: int) -> float:
    config = TrainConfig(steps, learning_rate=highest, min_learning_rate=lowest, warmup_steps=warmup)
    return learning_rate_at(step, config)


SCHEDULE_SOURCE = """
def schedule(step, highest, lowest, warmup, steps):
    if step < warmup:
        return highest * (step + 1) / warmup
    progress = (step - warmup) / (steps - 1 - warmup)
    return lowest + (highest - lowest) * (1 + math.cos(math.pi * progress)) / 2
"""


def accumulate(
    model: nn.Module, inputs: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"], size: int
) -> float:
    model.zero_grad()
    total = 0.0
    for part, wanted in zip(inputs.split(size), targets.split(size), strict=True):
        loss = F.cross_entropy(model(part).flatten(0, 1), wanted.flatten())
        share = len(part) / len(inputs)
        (loss * share).backward()
        total += loss.item() * share
    return total


def rows_and_starts(generator: Generator) -> Iterator[tuple[Tensor, list[int], int]]:
    yield torch.arange(10, 16), [1], 2
    for n_tokens, batch, length in ((12, 2, 3), (20, 3, 5)):
        starts = 1 + torch.randperm(n_tokens - 2 * length, generator=generator)[:batch]
        yield 10 + torch.randperm(n_tokens, generator=generator), starts.tolist(), length


def gradients_and_bounds(generator: Generator) -> Iterator[tuple[list[Tensor], float]]:
    yield [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])], 1.0
    yield [torch.tensor([0.3]), torch.tensor([0.1, -0.2])], 2.0
    yield [torch.randn(shape, generator=generator) for shape in ((4, 3), (3,), (2,))], 0.5


def settings(generator: Generator) -> Iterator[tuple[float, float, int, int]]:
    yield 1.0, 0.1, 2, 5
    yield 2.0, 0.5, 3, 9
    for _ in range(2):
        warmup, rest = torch.randint(4, 8, (2,), generator=generator).tolist()
        yield 3.0, 1.0, warmup, warmup + rest


def batches(generator: Generator) -> Iterator[tuple[Tensor, Tensor, int]]:
    for batch, seq, size in ((2, 1, 1), (3, 2, 2), (7, 3, 3), (8, 2, 2)):
        inputs, targets = torch.randint(5, (2, batch, seq), generator=generator)
        yield inputs, targets, size


def all_rates(answer: Callable[..., Any], highest: float, lowest: float, warmup: int, steps: int) -> Any:
    """The learning rate at each step."""
    rates = [answer(step, highest, lowest, warmup, steps) for step in range(steps)]
    return ... if rates[0] is ... else rates


class WatchedModel(nn.Module):
    """A small model that notes how many rows it was given at once, and how many parts waited for backward."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5))
        self.most_rows, self.waiting, self.most_waiting = 0, 0, 0

    def forward(self, tokens: Tensor) -> Tensor:
        logits = self.layers(tokens)
        self.most_rows = max(self.most_rows, len(tokens))
        if logits.requires_grad:
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)
            logits.register_hook(self._arrived)
        return logits

    def _arrived(self, gradient: Tensor) -> None:
        self.waiting -= 1


def loss_and_gradients(answer: Callable[..., Any], inputs: Tensor, targets: Tensor, size: int) -> Any:
    """What is returned, what is left in a small model that held old gradients, and what had to be in memory."""
    model = WatchedModel()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
        parameter.grad = torch.ones_like(parameter)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    loss = answer(model, inputs, targets, size)
    if loss is ...:
        return ...
    return {
        "loss": loss,
        "gradients": [parameter.grad for parameter in model.parameters()],
        "rows read at once": max(model.most_rows, size),  # smaller parts do no harm
        "parts in memory at once": model.most_waiting,
        "weights are as before": all(map(torch.equal, before, model.parameters())),
    }


def whole_batch(model: nn.Module, inputs: Tensor, targets: Tensor, size: int) -> float:
    model.zero_grad()
    loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
    loss.backward()
    return loss.item()


def backward_at_the_end(model: nn.Module, inputs: Tensor, targets: Tensor, size: int) -> float:
    model.zero_grad()
    total = torch.tensor(0.0)
    for part, wanted in zip(inputs.split(size), targets.split(size), strict=True):
        total = total + F.cross_entropy(model(part).flatten(0, 1), wanted.flatten()) * len(part) / len(inputs)
    total.backward()
    return total.item()


def cut_into_size_parts(model: nn.Module, inputs: Tensor, targets: Tensor, size: int) -> float:
    model.zero_grad()
    total = 0.0
    for part, wanted in zip(inputs.chunk(size), targets.chunk(size), strict=True):
        loss = F.cross_entropy(model(part).flatten(0, 1), wanted.flatten()) * len(part) / len(inputs)
        loss.backward()
        total += loss.item()
    return total


def scaled(gradients: list[Tensor], factors: list[float]) -> list[Tensor]:
    return [gradient * factor for gradient, factor in zip(gradients, factors, strict=True)]


def norm_of(gradients: list[Tensor]) -> float:
    return math.sqrt(sum((gradient**2).sum().item() for gradient in gradients))


def clipped_by(norm: Callable[[list[Tensor]], float]) -> Callable[[list[Tensor], float], list[Tensor]]:
    """Clipping that takes something else for the norm."""

    def answer(gradients: list[Tensor], bound: float) -> list[Tensor]:
        return scaled(gradients, [min(1.0, bound / norm(gradients))] * len(gradients))

    return answer


def times(factor: Callable[[float, float], float]) -> Callable[[list[Tensor], float], list[Tensor]]:
    """Clipping by another factor, which is made of (norm, bound)."""

    def answer(gradients: list[Tensor], bound: float) -> list[Tensor]:
        return scaled(gradients, [factor(norm_of(gradients), bound)] * len(gradients))

    return answer


def falling(
    step: int,
    highest: float,
    lowest: float,
    warmup: int,
    progress: float,
    shape: Callable[[float], float] = lambda progress: (1 + math.cos(math.pi * progress)) / 2,
) -> float:
    """The schedule with another measure of progress, or another shape of the fall."""
    if step < warmup:
        return highest * (step + 1) / warmup
    return lowest + (highest - lowest) * shape(progress)


def shaped(shape: Callable[[float], float]) -> Callable[..., float]:
    """The schedule with another shape of the fall: a function of the progress from 0 to 1."""

    def answer(step: int, highest: float, lowest: float, warmup: int, steps: int) -> float:
        return falling(step, highest, lowest, warmup, (step - warmup) / (steps - 1 - warmup), shape)

    return answer


def share_of(part: Tensor, inputs: Tensor, size: int) -> float:
    return len(part) / len(inputs)


def with_share(
    share: Callable[[Tensor, Tensor, int], float],
    zero: str = "once",
    too_late: bool = False,
    whole_parts_only: bool = False,
    returns: Callable[[list[float], list[float]], float] | None = None,
) -> Callable[..., float]:
    """An accumulation in which a part counts what `share` gives for (part, all inputs, size).

    If `too_late`, that goes for the loss alone, and not for the gradients. `returns` makes what is
    returned of the parts' losses and shares, if that is not the sum of their products.
    """

    def answer(model: nn.Module, inputs: Tensor, targets: Tensor, size: int) -> float:
        losses, shares = [], []
        if zero == "once":
            model.zero_grad()
        for part, wanted in zip(inputs.split(size), targets.split(size), strict=True):
            if whole_parts_only and len(part) < size:
                break
            if zero == "each":
                model.zero_grad()
            loss = F.cross_entropy(model(part).flatten(0, 1), wanted.flatten())
            counts = share(part, inputs, size)
            (loss if too_late else loss * counts).backward()
            losses.append(loss.item())
            shares.append(counts)
        if returns:
            return returns(losses, shares)
        return sum(loss * counts for loss, counts in zip(losses, shares, strict=True))

    return answer


def nanogpt_schedule(step: int, highest: float, lowest: float, warmup: int, steps: int) -> float:
    if step < warmup:
        return highest * (step + 1) / (warmup + 1)
    return falling(step, highest, lowest, warmup, (step - warmup) / (steps - warmup))


def changed_after(change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Callable[..., Any]:
    """The windows with something changed: a function of the right inputs and targets."""
    return lambda row, starts, length: change(*windows(row, starts, length))


WINDOWS = Exercise(
    name="training.windows",
    reference=windows,
    inputs=rows_and_starts,
    buys="With one cut, every position of a window becomes a question with an answer.",
    hints=(
        "The targets are the same windows, moved one token further along the row.",
        "row is (tokens,). Both results are (batch, length), with one row for each of the starts.",
        "For each start, cut row[start : start + length] for the inputs and row[start + 1 : start + 1 + length] for the targets, "
        "and stack each kind.",
    ),
    misconceptions=(
        Misconception(
            "not_shifted",
            "the targets are the inputs, so a model would learn to repeat what it reads. Shift the targets by one.",
            lambda row, starts, length: (windows(row, starts, length)[0],) * 2,
        ),
        Misconception(
            "shifted_back",
            "the targets are one token earlier than the inputs, so the model would be asked for tokens that it has already read.",
            lambda row, starts, length: (
                windows(row, starts, length)[0],
                windows(row, [start - 1 for start in starts], length)[0],
            ),
        ),
        Misconception(
            "targets_short",
            "the targets have one token too few, so the last one of each window is missing. Their slice ends at start + 1 + length.",
            changed_after(lambda inputs, targets: (inputs, targets[:, :-1])),
        ),
        Misconception(
            "swapped",
            "inputs and targets are swapped. First return what is read, then what comes next.",
            lambda row, starts, length: windows(row, starts, length)[::-1],
        ),
        Misconception(
            "one_too_long",
            "the inputs have one token too many. Cut length + 1 tokens, then take all but the last as inputs and all but the first as targets.",
            lambda row, starts, length: (
                torch.stack([row[start : start + length + 1] for start in starts]),
                windows(row, starts, length)[1],
            ),
        ),
        Misconception(
            "one_too_short",
            "the windows have only length − 1 tokens, because the shift took place inside a window of length tokens. Cut length + 1 tokens first.",
            lambda row, starts, length: windows(row, starts, length - 1),
        ),
        Misconception(
            "next_window",
            "the targets are the window that follows. The target of a token is the one right after it, not the one length tokens later.",
            lambda row, starts, length: (
                windows(row, starts, length)[0],
                torch.stack([row[start + length : start + 2 * length] for start in starts]),
            ),
        ),
        Misconception(
            "after_the_last",
            "each window has a single target, the token after its last one. But each of its tokens needs a target: (batch, length).",
            changed_after(lambda inputs, targets: (inputs, targets[:, -1])),
        ),
        Misconception(
            "rolled",
            "the last target of each window is the window's own first token, which is what `roll` puts there. It should be the token that follows the window in the row.",
            changed_after(lambda inputs, targets: (inputs, inputs.roll(-1, dims=1))),
        ),
        Misconception(
            "lists",
            "the windows come back as a list of tensors. `torch.stack` makes one tensor of them: (batch, length).",
            changed_after(lambda inputs, targets: (list(inputs), list(targets))),
        ),
        Misconception(
            "first_window",
            "only the first window comes back, (length,). Cut one for each of the starts. Perhaps your `return` is inside the loop.",
            changed_after(lambda inputs, targets: (inputs[0], targets[0])),
        ),
        Misconception(
            "end_without_start",
            "the slices end at `length`. The end of a slice is a position in the row, so it has to be start + length.",
            lambda row, starts, length: (
                torch.stack([row[start:length] for start in starts]),
                torch.stack([row[start + 1 : length + 1] for start in starts]),
            ),
        ),
    ),
    minutes=5,
    difficulty=1,
)

CLIP_GRADIENTS = Exercise(
    name="training.clip_gradients",
    reference=clip_gradients,
    inputs=gradients_and_bounds,
    buys="A batch with an enormous gradient can no longer drown out all the others.",
    hints=(
        "Take the length of all gradients as one long vector. If it is above the bound, shrink all of them by the same factor.",
        "A list of tensors of any shapes comes in, and a list of the same shapes goes out. The norm is one number.",
        "The norm is the root of the sum of all squares, over all tensors. Multiply each tensor by min(1, bound / norm).",
    ),
    misconceptions=(
        Misconception(
            "each_by_itself",
            "each tensor was clipped by its own norm, which changes the direction of the whole gradient. Use one norm and one factor for all.",
            lambda gradients, bound: scaled(
                gradients, [min(1.0, bound / gradient.norm().item()) for gradient in gradients]
            ),
        ),
        Misconception(
            "each_number",
            "each number was cut off at the bound, which changes the direction. Scale all numbers by the same factor.",
            lambda gradients, bound: [gradient.clamp(-bound, bound) for gradient in gradients],
        ),
        Misconception(
            "always_scaled",
            "small gradients were made larger. If the norm is below the bound, nothing should change.",
            times(lambda norm, bound: bound / norm),
        ),
        Misconception(
            "norms_added",
            "the norms of the tensors were added. Add up the squares and take the root at the end, as for the sides of a right triangle.",
            clipped_by(lambda gradients: sum(gradient.norm().item() for gradient in gradients)),
        ),
        Misconception(
            "no_root",
            "the root is missing: you divided by the sum of the squares.",
            clipped_by(lambda gradients: norm_of(gradients) ** 2),
        ),
        Misconception(
            "bound_forgotten",
            "the clipped gradients have norm 1, whatever the bound is. Multiply by the bound after dividing by the norm.",
            times(lambda norm, bound: 1 / norm if norm > bound else 1.0),
        ),
        Misconception(
            "largest_number",
            "the largest number was used as the norm. The norm is the root of the sum of all squares.",
            clipped_by(lambda gradients: max(gradient.abs().max().item() for gradient in gradients)),
        ),
        Misconception(
            "last_norm",
            "the norm is that of the last tensor alone. The sum of squares has to run over all tensors.",
            clipped_by(lambda gradients: norm_of(gradients[-1:])),
        ),
        Misconception(
            "mean_squares",
            "the squares were averaged. A norm is the root of their sum.",
            clipped_by(
                lambda gradients: norm_of(gradients) / math.sqrt(sum(one.numel() for one in gradients))
            ),
        ),
        Misconception(
            "largest_norm",
            "the largest of the tensors' norms was used. The norm should be that of all numbers together, so add up the squares of all tensors.",
            clipped_by(lambda gradients: max(gradient.norm().item() for gradient in gradients)),
        ),
        Misconception(
            "wrong_way_round",
            "large gradients stayed as they were and small ones grew. Scale only where the norm is above the bound: min(1, bound / norm).",
            times(lambda norm, bound: max(1.0, bound / norm)),
        ),
        Misconception(
            "upside_down",
            "gradients above the bound grew instead of shrinking. The factor is bound / norm, not norm / bound.",
            times(lambda norm, bound: norm / bound if norm > bound else 1.0),
        ),
    ),
    minutes=8,
    difficulty=2,
)

SCHEDULE = Exercise(
    name="training.schedule",
    reference=schedule,
    inputs=settings,
    use=all_rates,
    buys="Your function now sets the learning rate of every step, from the first to the last.",
    hints=(
        "There are two pieces, a straight rise and then half a cosine. How far along the second piece are we, from 0 to 1?",
        "Numbers go in, and one number comes out. Step 0 gets highest / warmup. Steps warmup − 1 and warmup get highest. Step steps − 1 gets lowest.",
        "While step < warmup: highest · (step + 1) / warmup. After that, progress is (step − warmup) / (steps − 1 − warmup), "
        "and the rate is lowest + (highest − lowest) · (1 + cos(π · progress)) / 2.",
    ),
    source=SCHEDULE_SOURCE,
    misconceptions=(
        Misconception(
            "first_step_is_0",
            "the first rate is 0, so the first batch is wasted. The first update should get highest / warmup: use step + 1.",
            lambda step, highest, lowest, warmup, steps: (
                highest * step / warmup if step < warmup else schedule(step, highest, lowest, warmup, steps)
            ),
        ),
        Misconception(
            "cosine_from_the_start",
            "the cosine began at step 0, so the rate jumps down when the warm-up ends. Count the progress from the end of the warm-up.",
            lambda step, highest, lowest, warmup, steps: falling(
                step, highest, lowest, warmup, step / (steps - 1)
            ),
        ),
        Misconception(
            "down_to_0",
            "the rate falls to 0. It should end at lowest.",
            lambda step, highest, lowest, warmup, steps: falling(
                step, highest, 0.0, warmup, (step - warmup) / (steps - 1 - warmup)
            ),
        ),
        Misconception(
            "straight_down",
            "the rate falls along a straight line. Half a cosine falls slowly at first, fastest in the middle, and slowly again at the end.",
            shaped(lambda progress: 1 - progress),
        ),
        Misconception(
            "no_one_plus",
            "the cosine alone goes from 1 to −1, so the rate falls below lowest. (1 + cos) / 2 goes from 1 to 0.",
            shaped(lambda progress: math.cos(math.pi * progress)),
        ),
        Misconception(
            "one_step_short",
            "the last update does not get down to lowest. It is step steps − 1, so divide by steps − 1 − warmup.",
            lambda step, highest, lowest, warmup, steps: falling(
                step, highest, lowest, warmup, (step - warmup) / (steps - warmup)
            ),
        ),
        Misconception(
            "nanogpt",
            "both pieces end one step late, as in nanoGPT: the rise has warmup + 1 parts, and lowest would come one step after the last. Here the rise has warmup parts, and the fall divides by steps − 1 − warmup.",
            nanogpt_schedule,
        ),
        Misconception(
            "rises_past",
            "at step `warmup` the rate goes above highest. The warm-up consists of steps 0 to warmup − 1, so test for step < warmup, not step <= warmup.",
            lambda step, highest, lowest, warmup, steps: (
                highest * (step + 1) / warmup
                if step <= warmup
                else schedule(step, highest, lowest, warmup, steps)
            ),
        ),
        Misconception(
            "range_forgotten",
            "the fall begins at lowest + highest. The cosine should be multiplied by highest − lowest.",
            lambda step, highest, lowest, warmup, steps: (
                schedule(step, highest, 0.0, warmup, steps) + (lowest if step >= warmup else 0.0)
            ),
        ),
        Misconception(
            "rises_from_lowest",
            "the warm-up rises from lowest. It should rise from 0 in equal parts, so that the first update has highest / warmup.",
            lambda step, highest, lowest, warmup, steps: (
                lowest + (highest - lowest) * (step + 1) / warmup
                if step < warmup
                else schedule(step, highest, lowest, warmup, steps)
            ),
        ),
        Misconception(
            "not_halved",
            "the fall begins too high, because 1 + cos goes from 2 to 0. Divide it by 2.",
            shaped(lambda progress: 1 + math.cos(math.pi * progress)),
        ),
        Misconception(
            "one_late",
            "every rate comes one step late: the first one is 0, and the last update does not get down to lowest. Use step + 1 in the rise, and divide the fall by steps − 1 − warmup.",
            lambda step, highest, lowest, warmup, steps: (
                highest * step / warmup
                if step < warmup
                else falling(step, highest, lowest, warmup, (step - warmup) / (steps - warmup))
            ),
        ),
    ),
    minutes=8,
    difficulty=2,
)


ACCUMULATE = Exercise(
    name="training.accumulate",
    reference=accumulate,
    inputs=batches,
    use=loss_and_gradients,
    buys="You can train with batches of any size, however little your machine can hold at once.",
    hints=(
        "backward adds to the gradients that are already there. So clear the old ones once, then let each part add its share.",
        "Parts are (size, seq) or smaller, and logits are (part, seq, vocab). cross_entropy wants (n, vocab) and (n,), so flatten them.",
        "model.zero_grad(); then for each pair of inputs.split(size) and targets.split(size): take the mean loss of the part times "
        "len(part) / len(inputs), call backward on it, and add it to the total.",
    ),
    misconceptions=(
        Misconception(
            "not_averaged",
            "the losses of the parts were added without weights, so the gradient grows with the number of parts. Multiply each loss by the share of the batch that its part holds.",
            with_share(lambda part, inputs, size: 1.0),
        ),
        Misconception(
            "equal_shares",
            "all parts count the same, but the last one may be smaller. Weight each part by its share of the batch.",
            with_share(lambda part, inputs, size: 1 / math.ceil(len(inputs) / size)),
        ),
        Misconception(
            "forgets_the_parts",
            "the gradients are set to zero before each part, so only the last part counts. Do that once, before the first part.",
            with_share(share_of, zero="each"),
        ),
        Misconception(
            "old_gradients",
            "old gradients are still in the sum, because backward adds. Call model.zero_grad() before the first part.",
            with_share(share_of, zero="never"),
        ),
        Misconception(
            "scaled_too_late",
            "the loss is right, but each part's gradient was added with full weight. Scale the loss of the part before you call backward on it.",
            with_share(share_of, too_late=True),
        ),
        Misconception(
            "whole_batch",
            "the model was given the whole batch at once, which is what does not fit. Give it `size` rows at a time.",
            whole_batch,
        ),
        Misconception(
            "backward_at_the_end",
            "the losses of all parts were kept until the one backward at the end, so all parts were in memory at the same time. Call backward for each part, which frees its memory before the next part is read.",
            backward_at_the_end,
        ),
        Misconception(
            "size_parts",
            "the batch was cut into `size` parts. But `size` is the number of rows in a part: use split(size), not chunk(size).",
            cut_into_size_parts,
        ),
        Misconception(
            "rest_dropped",
            "the last part was left out if it was smaller than the others, and the mean was taken over the rest. Those rows belong to the batch too: `split` keeps them.",
            with_share(lambda part, inputs, size: 1 / (len(inputs) // size), whole_parts_only=True),
        ),
        Misconception(
            "last_loss",
            "the gradients are right, but the loss that was returned is that of the last part alone. Return the mean over the whole batch.",
            with_share(share_of, returns=lambda losses, shares: losses[-1]),
        ),
        Misconception(
            "mean_returned",
            "the losses of the parts were averaged for the result, but each part's gradient was added with full weight. Scale the loss of a part by its share before you call backward on it.",
            with_share(
                lambda part, inputs, size: 1.0, returns=lambda losses, shares: sum(losses) / len(losses)
            ),
        ),
        Misconception(
            "full_shares",
            "each part got the share of a full one, size / len(inputs). The last part may have fewer rows: its share is len(part) / len(inputs).",
            with_share(lambda part, inputs, size: size / len(inputs)),
        ),
    ),
    minutes=15,
    difficulty=3,
)

LESSON = Lesson(
    topic="training",
    exercises=(WINDOWS, CLIP_GRADIENTS, SCHEDULE, ACCUMULATE),
    predictions=(
        Prediction(
            "training.freak",
            "A weight gets a gradient of 1 at every step, except for a single freak of −1,000 at step 20. AdamW updates it with a "
            "constant learning rate and without clipping. What does the weight do after the freak?",
            (
                "it walks the wrong way for many steps, then hardly moves",
                "The freak stays in both averages. The mean points the wrong way, and the average of the squares makes the steps short.",
            ),
            (
                (
                    "it takes one short step the wrong way, then goes on as before",
                    "The step itself is short. But the freak stays in both averages, and they decide the steps that follow.",
                ),
                (
                    "it makes one huge jump, from which it has to walk back",
                    "That is what plain gradient descent would do. AdamW divides by the root of the averaged square, which the freak makes large as well.",
                ),
            ),
            shows=lambda paths: figures.line_chart(
                paths,
                title="A weight under AdamW, with one gradient of −1,000 at step 20",
                x_label="step",
                y_label="weight",
            ),
            finding="A single freak spoils dozens of steps. First the weight walks the wrong way, and then it stays nearly where it is. "
            "Clipped to 1, the freak is no larger than the other gradients, and it does little harm.",
        ),
        Prediction(
            "training.larger_batch",
            "The gradient of a batch is an estimate of the gradient on all the text. We measure how far off it is, for batches of 1, 4, 16 and 64 "
            "windows. How much closer does a batch of 64 come than a single window, for 64 times the work?",
            (
                "about 8 times closer",
                "The errors of different windows partly cancel, so the error of the mean of $n$ windows is about $1/\\sqrt{n}$ of that of one.",
            ),
            (
                (
                    "about 64 times closer",
                    "For that, the errors of 64 windows would have to add up to no more than the error of one. Those of independent windows cancel only in part.",
                ),
                (
                    "hardly closer: the stories are all alike",
                    "They share their grammar, but each story has its own people and things, and each window's gradient points its own way.",
                ),
                (
                    "about twice as close",
                    "Going from 1 window to 4 already achieves that.",
                ),
            ),
            shows=lambda sizes, distances: figures.line_chart(
                {
                    "measured": (sizes, distances),
                    "1 / √n of one window's": (
                        sizes,
                        [distances[0] / math.sqrt(size / sizes[0]) for size in sizes],
                    ),
                },
                title="Making the batch four times as large about halves the error of its gradient",
                x_label="windows in the batch",
                y_label="error / length of the full gradient",
                log_x=True,
                log_y=True,
            ),
            finding="The error falls roughly as $1/\\sqrt{n}$: half the error costs four times the work. Notice how large it is. Even for 64 "
            "windows, it is about as long as the full gradient itself.\n\nSo a larger batch gives better steps, but for the same number of tokens "
            "it gives fewer of them. Which matters more has to be measured.",
        ),
        Prediction(
            "training.sixteen_stories",
            "A model is trained on sixteen stories, over and over. What does its loss on stories that it has never seen do?",
            (
                "it falls, then rises",
                "First the model learns what all stories share, and then what is true of these sixteen alone.",
            ),
            (
                (
                    "it falls along with the training loss",
                    "At first it does. But knowing how these sixteen stories go says little about how others go.",
                ),
                (
                    "it stays near blind guessing",
                    "Sixteen stories share a lot with all others: the frequent words, the names, the way sentences are built.",
                ),
            ),
            shows=lambda sixteen, checked, floor: figures.loss_curves(
                {
                    "training batch": ([step.step for step in sixteen], [step.loss for step in sixteen]),
                    "validation": (
                        [step.step for step in checked],
                        [step.validation_loss for step in checked],
                    ),
                },
                floor=floor,
                smooth=5,
                title="Trained on sixteen stories: the training loss falls below the floor, the validation loss turns and rises",
            ),
            finding="In the end the training loss is below the entropy floor. On new stories no model can do that on average. "
            "This one does because it has memorized its sixteen stories, and on unseen stories it gets worse and worse. That is **overfitting**, "
            "and it is why a training loss alone proves nothing. The best moment to stop was when the validation loss turned.",
        ),
        Prediction(
            "training.dropout",
            "The same sixteen stories again, with and without dropout of 0.2. What does dropout do to the *lowest* loss on unseen stories that "
            "each run reaches on its way?",
            (
                "it does not lower it: dropout only makes memorizing slower",
                "The noise makes it harder to memorize, but also harder to learn what all stories share.",
            ),
            (
                (
                    "it lowers it clearly: dropout prevents overfitting",
                    "It does slow overfitting, as the end of the curves shows. But at its best moment the model without dropout is at least as good.",
                ),
                (
                    "nothing at all: the two runs are alike",
                    "The lowest losses are close, but the runs differ: without dropout the validation loss rises much further.",
                ),
                (
                    "it doubles it: a fifth of the numbers are missing",
                    "They are missing only in training. For validation the model is in `eval` mode, in which nothing is dropped.",
                ),
            ),
            shows=lambda curves: figures.line_chart(
                curves,
                title="Validation loss on sixteen stories: dropout slows the rise but does not lower the lowest point",
                x_label="training step",
                y_label="validation loss (nats per token)",
            ),
            finding="With dropout, the validation loss rises later and less. But in both pairs of runs, the lowest point is at least as low "
            "without dropout. Here it is enough to stop at the right moment.\n\nThis is one small model, one rate of dropout and sixteen stories. With other models and more "
            "text the answer may differ, so measure it.",
        ),
        Prediction(
            "training.empty_averages",
            "After 100 steps at the full learning rate we stop. We resume with the same weights, learning rate and batches as if we had never stopped, "
            "but AdamW begins with empty averages. How does the loss compare with that of the run that was never stopped?",
            (
                "it jumps up at once and stays higher for dozens of steps",
                "With empty averages, the first step has full length for every weight, however little the gradient of one batch says about it.",
            ),
            (
                (
                    "it is the same: the weights are all that counts",
                    "The weights are the same, but the next update depends on the averages as well.",
                ),
                (
                    "it is higher for one step, then the same",
                    "The averages do fill up quickly. But the damage done by the first steps is in the weights, and it has to be repaired.",
                ),
                (
                    "it is lower: a fresh start helps",
                    "That would be so if the old averages were misleading, but they hold what the last few dozen batches agreed on.",
                ),
            ),
            shows=lambda behind: figures.line_chart(
                behind,
                title="What it costs to resume with empty averages, with and without a new warm-up",
                x_label="steps since the run was resumed",
                y_label="loss minus that of the unbroken run (nats)",
                marks={"unbroken": 0.0},
            ),
            finding="At the second step the loss is far above that of the unbroken run, and dozens of steps later it is still behind. The other curve is the "
            "control: its averages were emptied as well, but the learning rate rises again over 20 steps. Then there is no jump. So the jump comes from "
            "full steps with empty averages. But a second warm-up costs progress too: in the end this run is about as far behind.\n\n"
            "At the very start of a run the averages are empty as well. That may be part of what the first warm-up is good for.",
        ),
        Prediction(
            "training.hundredfold",
            "The model is trained for sixty steps at a hundredth of the usual learning rate, and again at a hundred "
            "times the usual rate. Where do the two losses end, compared with the usual rate?",
            (
                "both end higher",
                "One model is still near its start. The steps of the other are so long that it learns little more than which tokens are frequent.",
            ),
            (
                (
                    "the small rate ends lower, because it is careful",
                    "Small steps need many steps. Sixty of them do not get far.",
                ),
                (
                    "the large rate ends as nan",
                    "An AdamW step is hardly longer than the rate, whatever the gradient. The result is bad, but finite.",
                ),
            ),
            shows=lambda rates, outcome, marks: figures.line_chart(
                {"loss after 60 steps": (rates, list(outcome.values()))},
                title="After sixty steps, both the smallest and the largest rate are far behind",
                x_label="learning rate",
                y_label="loss (nats per token)",
                log_x=True,
                marks=marks,
            ),
            finding="At a hundredth of the rate, sixty steps hardly get the model away from its start. At a hundred times the rate, the loss "
            "does not get below that of the 1-gram, which knows only how frequent each token is. Still, the numbers stay finite: no step of AdamW is much longer than the rate.\n\n"
            "This is what sixty steps show. With more of them, a smaller rate gets further.",
        ),
    ),
    quiz=(
        Question(
            "training.exercises_in_a_batch",
            "A batch has 4 windows of 200 tokens. How many predictions does one step learn from?",
            ("800", "Every position of every window predicts the token after it."),
            (
                (
                    "4",
                    "That would be one per window. Thanks to the causal mask, every position makes a prediction.",
                ),
                ("200", "The 4 windows hold different predictions, so they all count."),
                ("796", "The last token of a window has a target too: the token after it in the row."),
            ),
        ),
        Question(
            "training.first_step",
            "The first gradient of a weight is 0.001, and the learning rate is 0.01. How long is AdamW's first step?",
            (
                "0.01",
                "mean / √square is 0.001 / 0.001 = 1. For every weight, the first step is as long as the rate.",
            ),
            (
                ("0.00001", "That is plain gradient descent: rate times gradient."),
                ("0.001", "The size of the gradient cancels, and the rate is what remains."),
                (
                    "0.0001",
                    "Both averages start too small, but the divisions by $1 - \\beta^t$ correct for that.",
                ),
            ),
        ),
        Question(
            "training.clipped_number",
            "All gradients together have a norm of 10, and the bound is 1. One of the numbers in them is 4. What becomes of it?",
            ("0.4", "Every number is multiplied by 1/10, so the direction stays the same."),
            (
                ("1", "That would be cutting off each number at the bound, which changes the direction."),
                ("4", "The norm is above the bound, so all numbers are scaled down."),
                ("0.04", "The factor is bound / norm = 1/10, not its square."),
            ),
        ),
        Question(
            "training.first_rate",
            "The warm-up takes 50 steps to reach the rate 0.01. What is the rate of the very first update?",
            ("0.0002", "It is one fiftieth of 0.01, so the first update already moves the weights."),
            (
                ("0", "Then the first batch would be read for nothing."),
                ("0.01", "That is where the warm-up ends."),
                (
                    "0.001",
                    "A tenth of the rate is where our cosine ends, not where the warm-up begins.",
                ),
            ),
        ),
        Question(
            "training.muons_directions",
            "A matrix gets a gradient with the singular values 100, 1 and 0.1. Roughly what singular values does Muon's first step have, up to a common factor?",
            (
                "1, 1 and 1",
                "Muon makes the step about equally long in all directions of the matrix.",
            ),
            (
                ("100, 1 and 0.1", "That is the step of plain gradient descent."),
                ("10, 1 and 0.3", "Muon takes no roots. It brings all singular values to about 1."),
                ("1, 0 and 0", "Muon does not keep only the largest one. It makes all of them about equal."),
            ),
        ),
        Question(
            "training.under_the_floor",
            "The training loss is 0.2, and the entropy floor is 0.43. What has the model done?",
            (
                "memorized its training text",
                "What lies below the floor is chance. It cannot be predicted, only remembered.",
            ),
            (
                (
                    "understood the world perfectly",
                    "Even someone who knew all the probabilities would only reach the floor.",
                ),
                (
                    "found a better tokenizer",
                    "The floor is computed with the same tokenizer as the loss.",
                ),
                (
                    "used too high a learning rate",
                    "Too high a rate makes the loss higher, not lower.",
                ),
            ),
        ),
        Question(
            "training.what_was_lost",
            "You resume with the weights, the step and the state of the generator, but AdamW starts anew. What differs?",
            (
                "the updates: its averages are empty",
                "They rest on one or two batches again, so the next steps have nearly full length for every weight.",
            ),
            (
                (
                    "nothing, the weights are all that counts",
                    "The next update depends on the averages as well.",
                ),
                ("the learning rate starts again", "The rate follows from the step, and that was kept."),
                ("the batches come in another order", "Their generator was kept."),
            ),
        ),
    ),
    objectives=(
        ("training.windows", "training.exercises_in_a_batch"),
        (
            "training.clip_gradients",
            "training.schedule",
            "training.freak",
            "training.first_step",
            "training.muons_directions",
        ),
        ("training.accumulate", "training.larger_batch", "training.hundredfold"),
        ("training.sixteen_stories", "training.dropout", "training.under_the_floor"),
        ("training.what_was_lost", "training.empty_averages"),
    ),
)
