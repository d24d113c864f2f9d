"""Training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Generator, Tensor, nn

from gptlib.course.exercises import Exercise, InWords, Lesson, Misconception, Prediction, Question
from gptlib.course.judging import Unfit
from gptlib.course.lessons.gpt import near
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
    yield torch.arange(10, 17), [4, 0], 2  # the last token is a target, and the first an input
    for n_tokens, batch, length in ((12, 2, 3), (20, 3, 5)):
        starts = 1 + torch.randperm(n_tokens - 2 * length, generator=generator)[:batch]
        yield 10 + torch.randperm(n_tokens, generator=generator), starts.tolist(), length


def gradients_and_bounds(generator: Generator) -> Iterator[tuple[list[Tensor], float]]:
    yield [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])], 1.0
    yield [torch.tensor([0.3]), torch.tensor([0.1, -0.2])], 2.0
    yield [torch.tensor([1.2]), torch.tensor([0.4, -0.8])], 2.0  # here only the square is above the bound
    yield [torch.tensor([0.4]), torch.tensor([0.3, -0.2])], 0.5  # and here only the root
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


def by_kind(found: Callable[[], Any], tell: Callable[[], str | None]) -> Any:
    """What is found, or words for a mistake that has many forms: those that `tell` gives for a probe."""
    try:
        value = found()
    except Exception:
        if words := words_of(tell):
            return InWords(words)
        raise
    words = None if value is ... else words_of(tell)
    return InWords(words, value) if words else value


def words_of(tell: Callable[[], str | None]) -> str | None:
    try:
        return tell()
    except Unfit:
        raise
    except Exception:  # the answer's own
        return None


def cut_windows(answer: Callable[..., Any], row: Tensor, starts: list[int], length: int) -> Any:
    """The inputs and the targets, or words for a mistake that has many forms."""
    return by_kind(lambda: answer(row, starts, length), lambda: kind_of_windows(answer))


def kind_of_windows(answer: Callable[..., Any]) -> str | None:
    """By the shapes first, then by where in the row the tokens come from."""
    row, starts, batch, length = 10 + 7 * torch.arange(31) % 31, [9, 2, 16], 3, 4  # all tokens differ
    found = answer(row.clone(), list(starts), length)
    if isinstance(found, Tensor):
        return "one tensor"
    if isinstance(found, tuple | list) and any(isinstance(part, np.ndarray) for part in found):
        raise Unfit("it returned arrays of numpy; torch.stack makes a tensor of a list of windows")
    if not isinstance(found, tuple | list) or not all(
        isinstance(part, Tensor | tuple | list) for part in found
    ):
        return None
    if len(found) != 2 or not all(isinstance(part, Tensor) for part in found):
        return "lists"
    inputs, targets = found
    if inputs.is_floating_point() or targets.is_floating_point():
        raise Unfit(
            "tokens are whole numbers, but floats came back; torch.zeros makes floats, torch.stack keeps the dtype"
        )
    if inputs.shape == (batch,):
        raise Unfit("a single token came back for each start; a window is row[start : start + length]")
    if inputs.shape == (batch - 1, length + 1):
        raise Unfit(
            "a whole window is left out, not a token; cut[:-1] drops a row, and cut[:, :-1] the last token of each"
        )
    if inputs.shape in ((length,), (1, length)):
        return "one window"
    if inputs.shape == (batch * length,):
        return "one long row"
    if inputs.shape == (length, batch):
        return "one column for each window"
    if inputs.shape == (batch, length) and targets.shape in ((batch,), (batch, 1)):
        return "one target for each window"
    if not all(one.ndim == 2 and len(one) == batch for one in found):
        return None
    widths = {one.shape[1] for one in found}
    if widths in ({length + 1}, {length, length + 1}):
        return "too long"
    if widths in ({length - 1}, {length, length - 1}):
        return "too short"
    return kind_of_tokens(inputs, targets, row, starts) if widths == {length} else None


def kind_of_tokens(inputs: Tensor, targets: Tensor, row: Tensor, starts: list[int]) -> str | None:
    length = inputs.shape[1]
    at = torch.tensor(starts)[:, None] + torch.arange(length)  # (batch, length)
    right, wanted = row[at], row[at + 1]
    if not (inputs == right).all():
        swapped = (inputs == wanted).all() and (targets == right).all()
        return "swapped" if swapped else "other inputs"
    if (targets == right + 1).all():
        raise Unfit(
            "the targets are the tokens plus 1; the position moves on by 1, to row[start + 1], and so on"
        )
    shifts = [shift for shift in range(-1, 11) if (targets == row[at + shift]).all()]
    if shifts and shifts[0] != 1:
        return {-1: "shifted back", 0: "not shifted"}.get(shifts[0], "shifted too far")
    if not shifts and (targets[:, :-1] == wanted[:, :-1]).all():
        return "another last target"
    return None


def clipped_list(answer: Callable[..., Any], gradients: list[Tensor], bound: float) -> Any:
    """The gradients, or words for a mistake that has many forms."""
    return by_kind(lambda: answer(gradients, bound), lambda: kind_of_clipping(answer))


PROBE = [
    torch.tensor([[0.9, -1.4, 0.7], [2.1, 0.8, -0.6]]),
    torch.tensor([1.9, -2.4, 1.1]),
    torch.tensor([-0.8, 1.2]),
]


def kind_of_clipping(answer: Callable[..., Any]) -> str | None:
    """By what it does to gradients with a norm above the bound, and to some below it."""
    bound, small = 0.6, [torch.tensor([0.3]), torch.tensor([0.1, -0.2])]
    found = answer([gradient.clone() for gradient in PROBE], bound)
    numbers = torch.cat([gradient.flatten() for gradient in PROBE])
    if isinstance(found, Tensor):
        if found.shape == numbers.shape:
            return "one long vector"
        raise Unfit("a single tensor came back; return a list with one for each of the gradients")
    if isinstance(found, tuple) and len(found) == 2 and any(isinstance(part, list) for part in found):
        raise Unfit("the list came back together with something else; return the list alone")
    factors = factors_of(found, PROBE)
    if isinstance(factors, str | None):
        return factors
    factor = factors[0]
    kept = factors_of(answer([gradient.clone() for gradient in small], 2.0), small)
    if not isinstance(kept, list) or factor <= 0:
        return None
    norm, unchanged = norm_of(PROBE), math.isclose(kept[0], 1, rel_tol=1e-3)
    if math.isclose(factor, 1, rel_tol=1e-3):
        return "not scaled" if unchanged else "small ones scaled"
    if factor > 1:
        return "grown"
    if not unchanged:
        return "small ones grown" if kept[0] > 1 else None
    known = {
        "": bound / norm,
        "the bound as factor": bound,
        "no bound": 1 / norm,
        "norms added": bound / sum(gradient.norm().item() for gradient in PROBE),
        "no root": bound / norm**2,
        "the largest number": bound / numbers.abs().max().item(),
        "the last norm": bound / norm_of(PROBE[-1:]),
        "a mean of squares": bound / norm * math.sqrt(len(numbers)),
    }
    for words, number in known.items():
        if math.isclose(factor, number, rel_tol=1e-3):
            return words or None
    return "another norm"


def factors_of(found: Any, gradients: list[Tensor]) -> list[float] | str | None:
    """By what each of the tensors was multiplied, if that is the same for all; else words; None if it is no such list."""
    if not isinstance(found, tuple | list) or len(found) != len(gradients):
        return None
    factors = []
    for one, gradient in zip(found, gradients, strict=True):
        if not isinstance(one, Tensor) or one.shape != gradient.shape or not one.isfinite().all():
            return None
        factors.append(((one * gradient).sum() / gradient.square().sum()).item())
    if not all(near(one, gradient * by) for one, gradient, by in zip(found, gradients, factors, strict=True)):
        return "each number by itself"
    same = all(math.isclose(by, factors[0], rel_tol=1e-3) for by in factors)
    return factors if same else "each tensor by itself"


def all_rates(answer: Callable[..., Any], highest: float, lowest: float, warmup: int, steps: int) -> Any:
    """The learning rate at each step, or words for a mistake that has many forms."""

    def rates() -> Any:
        found = [answer(step, highest, lowest, warmup, steps) for step in range(steps)]
        return ... if found[0] is ... else found

    return by_kind(rates, lambda: kind_of_schedule(answer))


def kind_of_schedule(answer: Callable[..., Any]) -> str | None:
    """By the warm-up first, then by where the fall begins, then by its shape."""
    highest, lowest, warmup, steps = 3.0, 1.0, 5, 12
    rates = [float(answer(step, highest, lowest, warmup, steps)) for step in range(steps)]
    rise, fall = rates[:warmup], rates[warmup:]

    def is_rise(rate: Callable[[int], float]) -> bool:
        return all(math.isclose(rise[step], rate(step), abs_tol=1e-3) for step in range(warmup))

    def is_fall(progress: Callable[[int], float], begin: int = warmup) -> bool:
        wanted = [formula(progress(step)) for step in range(begin, begin + len(fall))]
        return all(math.isclose(one, other, abs_tol=1e-3) for one, other in zip(fall, wanted, strict=True))

    def formula(progress: float) -> float:
        return lowest + (highest - lowest) * (1 + math.cos(math.pi * progress)) / 2

    one_short = is_fall(lambda step: (step - warmup) / (steps - warmup))
    if not is_rise(lambda step: highest * (step + 1) / warmup):
        if abs(rise[0]) < 1e-6:
            late = one_short and is_rise(lambda step: highest * step / warmup)
            return "all one step late" if late else "a first rate of 0"
        if one_short and is_rise(lambda step: highest * (step + 1) / (warmup + 1)):
            return "as in nanoGPT"
        if is_rise(lambda step: lowest + (highest - lowest) * (step + 1) / warmup) or (
            math.isclose(rise[0], lowest, rel_tol=1e-3) and rise[1] > rise[0]
        ):
            return "a rise from lowest"
        ends = (steps - 1 - warmup, steps - warmup)
        if any(is_rise(lambda step, end=end: formula((step - warmup) / end)) for end in ends):
            return "the formula in the warm-up"
        return "another warm-up"
    if math.isclose(fall[0], highest * (warmup + 1) / warmup, rel_tol=1e-3):
        return "a rise past highest"
    if is_fall(lambda step: step / (steps - 1)) or is_fall(lambda step: step / steps):
        return "a cosine from the start"
    if not math.isclose(fall[0], highest, rel_tol=1e-3):
        return "a fall from above highest" if fall[0] > highest else "a fall from below highest"
    if is_fall(lambda step: (step - warmup) / (steps - 1 - warmup)):
        return None
    if any(
        is_fall(lambda step, end=end: (step - warmup) / end)
        for end in (steps - warmup, steps - warmup + 1, steps - 1, steps)
    ):
        return "a fall that does not arrive"
    if abs(fall[-1]) < 1e-3:
        return "a fall to 0"
    if math.isclose(fall[-1], 2 * lowest - highest, rel_tol=1e-3):
        return "a fall below lowest"
    downs = [one - other for one, other in zip(fall, fall[1:], strict=False)]
    even = downs[0] > 0 and all(math.isclose(down, downs[0], rel_tol=1e-3) for down in downs)
    return "a straight fall" if even else "another fall"


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


def watched() -> tuple[WatchedModel, list[Tensor]]:
    """A small model that holds old gradients, and a copy of its weights."""
    model = WatchedModel()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
        parameter.grad = torch.ones_like(parameter)
    return model, [parameter.detach().clone() for parameter in model.parameters()]


def loss_and_gradients(answer: Callable[..., Any], inputs: Tensor, targets: Tensor, size: int) -> Any:
    """What is returned, what is left in a small model that held old gradients, and what had to be in memory.

    Or words for a mistake that has many forms.
    """
    return by_kind(lambda: all_found(answer, inputs, targets, size), lambda: kind_of_accumulation(answer))


def all_found(answer: Callable[..., Any], inputs: Tensor, targets: Tensor, size: int) -> Any:
    model, before = watched()
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


def kind_of_accumulation(answer: Callable[..., Any]) -> str | None:
    """By what was read at once, then by how much each row counts in the gradient, then by what is returned."""
    generator = torch.Generator().manual_seed(1)
    inputs, targets = torch.randint(5, (2, 7, 3), generator=generator)
    model, before = watched()
    returned = answer(model, inputs.clone(), targets.clone(), 2)  # parts of 2, 2, 2 and 1 rows
    if model.most_rows > 2:
        return "the whole batch at once" if model.most_rows == len(inputs) else "parts of more rows"
    if not all(map(torch.equal, before, model.parameters())):
        return "an update"
    if all(parameter.grad is None or not parameter.grad.any() for parameter in model.parameters()):
        return "no gradients"
    left = long_vector([parameter.grad for parameter in model.parameters()])
    losses, columns = [], [torch.ones_like(left)]  # of the old gradients and of each row alone
    for row, wanted in zip(inputs, targets, strict=True):
        loss = F.cross_entropy(model(row[None])[0], wanted)
        columns.append(long_vector(torch.autograd.grad(loss, model.parameters())))
        losses.append(loss.item())
    matrix = torch.stack(columns, dim=1).double()  # (number, column)
    old, *counts = torch.linalg.lstsq(matrix, left.double()[:, None]).solution[:, 0].tolist()
    if not torch.allclose(
        matrix @ torch.tensor([old, *counts], dtype=torch.float64), left.double(), atol=1e-3
    ):
        return None
    if abs(old) > 1e-3:
        return "old gradients"
    of_parts = [sum(losses[start : start + 2]) / len(losses[start : start + 2]) for start in (0, 2, 4, 6)]
    weights = [sum(counts[start : start + 2]) for start in (0, 2, 4, 6)]
    if not all_near(counts, [1 / 7] * 7):
        return kind_of_weights(counts, weights, returned, sum(of_parts))
    if model.most_waiting > 1:
        return "one backward at the end"
    if (
        returned is None
        or isinstance(returned, list | tuple)
        or not all_near([float(returned)], [sum(losses) / 7])
    ):
        return "another loss"
    return "a graph" if isinstance(returned, Tensor) and returned.requires_grad else None


def kind_of_weights(counts: list[float], weights: list[float], returned: Any, added: float) -> str | None:
    """By how much each of seven rows counts, and each of the parts of 2, 2, 2 and 1 of them."""
    if all_near(counts[:-1], [0] * 6):
        return "the last part alone"
    if all_near(counts[-1:], [0]):
        return "no last part"
    if all_near(weights, [1] * 4):
        return "parts added" if all_near([float(returned)], [added]) else "full weights"
    if all_near(weights, [2 / 7] * 4):
        return "full shares"
    if all_near(weights, weights[:1] * 4):
        return "equal shares"
    return "another mean" if all_near(counts, counts[:1] * 7) else None


def all_near(some: list[float], others: list[float]) -> bool:
    return all(
        math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-3) for one, other in zip(some, others, strict=True)
    )


def long_vector(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


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
    keeps_the_graph: bool = False,
    returns: Callable[[list[float], list[float]], float] | None = None,
) -> Callable[..., Any]:
    """An accumulation in which a part counts what `share` gives for (part, all inputs, size).

    If `too_late`, that goes for the loss alone, and not for the gradients. `returns` makes what is
    returned of the parts' losses and shares, if that is not the sum of their products.
    """

    def answer(model: nn.Module, inputs: Tensor, targets: Tensor, size: int) -> Any:
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
            losses.append(loss if keeps_the_graph else loss.item())
            shares.append(counts)
        if zero == "last":
            model.zero_grad()
        if returns:
            return returns(losses, shares)
        return sum(loss * counts for loss, counts in zip(losses, shares, strict=True))

    return answer


def updated(model: nn.Module, inputs: Tensor, targets: Tensor, size: int) -> float:
    loss = accumulate(model, inputs, targets, size)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    return loss


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
    use=cut_windows,
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
            "swapped",
            "inputs and targets are swapped. First return what is read, then what comes next.",
            lambda row, starts, length: windows(row, starts, length)[::-1],
        ),
        Misconception(
            "one_too_long",
            "there is one token too many in each window of the inputs, the targets or both. Cut length + 1 tokens, then take all but the last as inputs and all but the first as targets.",
            lambda row, starts, length: (
                torch.stack([row[start : start + length + 1] for start in starts]),
                windows(row, starts, length)[1],
            ),
        ),
        Misconception(
            "one_too_short",
            "the inputs, the targets or both have only length − 1 tokens. Cut length + 1 tokens first: all but the last are the inputs, all but the first the targets.",
            lambda row, starts, length: windows(row, starts, length - 1),
        ),
        Misconception(
            "too_far",
            "the targets are too far along the row. The target of a token is the one right after it, whatever the length of the window.",
            lambda row, starts, length: (
                windows(row, starts, length)[0],
                torch.stack([row[start + length : start + 2 * length] for start in starts]),
            ),
        ),
        Misconception(
            "after_the_last",
            "each window has a single target. But each of its tokens needs one, so the targets are (batch, length) as well.",
            changed_after(lambda inputs, targets: (inputs, targets[:, -1])),
        ),
        Misconception(
            "last_target",
            "only the last target of each window is wrong. It is the token that follows the window in the row, not a filler and not the first token of the window, which is what `roll` puts there.",
            changed_after(lambda inputs, targets: (inputs, inputs.roll(-1, dims=1))),
        ),
        Misconception(
            "lists",
            "the windows come back in a list. Return two tensors of shape (batch, length): `torch.stack` makes one of a list of windows.",
            changed_after(lambda inputs, targets: (list(inputs), list(targets))),
        ),
        Misconception(
            "one_window",
            "only one window comes back. Cut one for each of the starts, keep them all, and return after the loop.",
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
        Misconception(
            "transposed",
            "the axes are swapped: each window is a column, (length, batch). Each window should be a row, (batch, length).",
            changed_after(lambda inputs, targets: (inputs.T, targets.T)),
        ),
        Misconception(
            "one_long_row",
            "the windows are joined end to end in one long row. `torch.stack`, not `torch.cat`, puts them under one another: (batch, length).",
            changed_after(lambda inputs, targets: (inputs.flatten(), targets.flatten())),
        ),
        Misconception(
            "one_tensor",
            "a single tensor comes back. Return two, the inputs and the targets, each of shape (batch, length).",
            lambda row, starts, length: torch.stack([row[start : start + length + 1] for start in starts]),
        ),
        Misconception(
            "other_starts",
            "the inputs are not the windows that begin at `starts`. The one for `start` is row[start : start + length], and they come in the order of the list.",
            lambda row, starts, length: windows(row, [start + 1 for start in starts], length),
        ),
    ),
    minutes=5,
    difficulty=1,
)

CLIP_GRADIENTS = Exercise(
    name="training.clip_gradients",
    reference=clip_gradients,
    inputs=gradients_and_bounds,
    use=clipped_list,
    buys="A batch with an enormous gradient can no longer drown out all the others.",
    hints=(
        "Take the length of all gradients as one long vector. If it is above the bound, shrink all of them by the same factor.",
        "A list of tensors of any shapes comes in, and a list of the same shapes goes out. The norm is one number.",
        "The norm is the root of the sum of all squares, over all tensors. Multiply each tensor by min(1, bound / norm).",
    ),
    misconceptions=(
        Misconception(
            "each_by_itself",
            "the tensors got different factors, perhaps each by its own norm. That changes the direction of the whole gradient. Use one norm and one factor for all.",
            lambda gradients, bound: scaled(
                gradients, [min(1.0, bound / gradient.norm().item()) for gradient in gradients]
            ),
        ),
        Misconception(
            "each_number",
            "each number was changed by itself, perhaps cut off at the bound. That changes the direction. Scale all numbers by the same factor.",
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
            "wrong_way_round",
            "large gradients stayed as they were and small ones were scaled. Scale only where the norm is above the bound: min(1, bound / norm).",
            times(lambda norm, bound: max(1.0, bound / norm)),
        ),
        Misconception(
            "upside_down",
            "gradients above the bound grew instead of shrinking. The factor is bound / norm, not norm / bound.",
            times(lambda norm, bound: norm / bound if norm > bound else 1.0),
        ),
        Misconception(
            "unchanged",
            "the gradients come back as they were, although their norm is above the bound. Multiply each by bound / norm. (`clip_grad_norm_` does not help here: it clips what it finds in .grad, and these tensors are the gradients themselves.)",
            lambda gradients, bound: list(gradients),
        ),
        Misconception(
            "one_long_vector",
            "one long vector comes back. It is fine for the norm, but return a list of tensors with the shapes that came in: scale each of them.",
            lambda gradients, bound: torch.cat([one.flatten() for one in clip_gradients(gradients, bound)]),
        ),
        Misconception(
            "bound_as_factor",
            "the gradients were multiplied by the bound, but not divided by their norm. The factor is bound / norm.",
            times(lambda norm, bound: bound if norm > bound else 1.0),
        ),
        Misconception(
            "another_norm",
            "one factor for all is right, but the norm in it is not that of all numbers together. Square every number of every tensor, add up all squares, and take the root once.",
            clipped_by(lambda gradients: max(gradient.norm().item() for gradient in gradients)),
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
            "the first rate is 0, so the first batch is wasted. The first update should get highest / warmup: use highest · (step + 1) / warmup.",
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
            "rises_from_lowest",
            "the warm-up rises from lowest. It should rise from 0 in equal parts, so that the first update gets highest / warmup.",
            lambda step, highest, lowest, warmup, steps: (
                lowest + (highest - lowest) * (step + 1) / warmup
                if step < warmup
                else schedule(step, highest, lowest, warmup, steps)
            ),
        ),
        Misconception(
            "begins_too_high",
            "the fall begins above highest. At its start the cosine is 1, so (1 + cos) / 2 is 1 and the rate is lowest + (highest − lowest) = highest. Check the parentheses around 1 + cos, the half, and the range.",
            shaped(lambda progress: 1 + math.cos(math.pi * progress)),
        ),
        Misconception(
            "begins_too_low",
            "the fall begins below highest. At step `warmup` the progress is 0 and (1 + cos 0) / 2 is 1, so the rate is lowest + (highest − lowest). Is it step, not step + 1, in the fall, and is lowest added?",
            lambda step, highest, lowest, warmup, steps: falling(
                step, highest, lowest, warmup, (step + 1 - warmup) / (steps - warmup)
            ),
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
        Misconception(
            "no_warm_up",
            "the formula of the fall was used in the warm-up, too, where the progress is negative. Test for step < warmup first, and return highest · (step + 1) / warmup there.",
            lambda step, highest, lowest, warmup, steps: falling(
                step, highest, lowest, 0, (step - warmup) / (steps - 1 - warmup)
            ),
        ),
        Misconception(
            "another_rise",
            "the rates of the warm-up are wrong. While step < warmup, the rate is highest · (step + 1) / warmup.",
            lambda step, highest, lowest, warmup, steps: (
                highest if step < warmup else schedule(step, highest, lowest, warmup, steps)
            ),
        ),
        Misconception(
            "another_fall",
            "the warm-up is right, and the fall begins at highest, but then it does not follow the formula. The angle is π · progress, in radians, and the progress is 1 at the last step, steps − 1.",
            shaped(lambda progress: (1 + math.cos(progress)) / 2),
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
            "the losses of the parts were added without weights, so the gradient grows with the number of parts. Multiply each loss by its part's share of the batch.",
            with_share(lambda part, inputs, size: 1.0),
        ),
        Misconception(
            "equal_shares",
            "all parts count the same, but the last one may be smaller. Weight each part by its share of the batch, len(part) / len(inputs).",
            with_share(lambda part, inputs, size: 1 / math.ceil(len(inputs) / size)),
        ),
        Misconception(
            "forgets_the_parts",
            "only the last part counts. Set the gradients to zero once, before the first part, and call backward on the loss of each part.",
            with_share(share_of, zero="each"),
        ),
        Misconception(
            "old_gradients",
            "old gradients are still in the sum, because backward adds. Call model.zero_grad() before the first part.",
            with_share(share_of, zero="never"),
        ),
        Misconception(
            "scaled_too_late",
            "each part's gradient was added with full weight, although the loss is not the sum. Scale the loss of a part by its share before you call backward on it, not only for the result.",
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
            "some parts have more than `size` rows. `size` is the number of rows in a part, not the number of parts: use split(size), not chunk(size).",
            cut_into_size_parts,
        ),
        Misconception(
            "rest_dropped",
            "the last part does not count, at least where it is smaller than the others. Its rows belong to the batch, too: `split` keeps them.",
            with_share(lambda part, inputs, size: 1 / (len(inputs) // size), whole_parts_only=True),
        ),
        Misconception(
            "last_loss",
            "the gradients are right, but what was returned is not the mean loss of the whole batch. Add up the loss of each part times its share.",
            with_share(share_of, returns=lambda losses, shares: losses[-1]),
        ),
        Misconception(
            "full_shares",
            "each part got the share of a full one, size / len(inputs). The last part may have fewer rows: its share is len(part) / len(inputs).",
            with_share(lambda part, inputs, size: size / len(inputs)),
        ),
        Misconception(
            "another_mean",
            "all rows count the same, as they should, but the result is not a mean. Divide the sum of all losses by the number of targets, targets.numel(), or multiply the mean of each part by len(part) / len(inputs).",
            with_share(lambda part, inputs, size: part.numel() / len(inputs)),
        ),
        Misconception(
            "no_gradients",
            "the model holds no gradients in the end. Call backward on the loss of each part, and clear the gradients only before the first one.",
            with_share(share_of, zero="last"),
        ),
        Misconception(
            "keeps_the_graph",
            "the loss that was returned is a tensor that still carries its graph, which keeps the activations of the parts in memory. Return a number: add loss.item() to the total, not loss.",
            with_share(share_of, keeps_the_graph=True),
        ),
        Misconception(
            "updates",
            "the weights have changed. Only leave the gradients in the model: the update is the optimizer's work and comes later.",
            updated,
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
            "A model is trained on sixteen stories, over and over. What happens to its loss on stories that it has never seen?",
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
                title="Trained on sixteen stories: the training loss falls below the floor while the validation loss turns and rises",
            ),
            finding="In the end the training loss is below the entropy floor. On new stories no model can get that low on average. "
            "This model gets below it because it has memorized its sixteen stories, and on unseen stories it ends about as badly as blind guessing. That is **overfitting**, "
            "and it is why a training loss alone proves nothing. The best moment to stop was when the validation loss turned.",
        ),
        Prediction(
            "training.dropout",
            "The same sixteen stories again, with and without dropout of 0.2. What does dropout do to the lowest loss on unseen stories that "
            "each run reaches along the way?",
            (
                "it does not lower it: the lowest point is no better with dropout",
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
                title="Trained on sixteen stories: dropout slows the rise of the validation loss but does not lower its lowest point",
                x_label="training step",
                y_label="validation loss (nats per token)",
            ),
            finding="With dropout, the validation loss rises more slowly and not as far. But in both pairs of runs, the lowest point is at least as low "
            "without dropout. Here it is enough to stop at the right moment.\n\nThis is one small model, one dropout rate and sixteen stories. With other models and more "
            "text the answer may differ, so measure it.",
        ),
        Prediction(
            "training.empty_averages",
            "We stop after 100 steps, when the learning rate is at its full value. We resume with the same weights, learning rate and batches as if we had never stopped, "
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
            finding="At the second step the loss is far above that of the unbroken run, and dozens of steps later it is still behind. The other two curves are "
            "controls. When the learning rate rises again over 20 steps, there is no jump, so the jump comes from full steps with empty averages. In the end that "
            "run is behind as well, and in part this is the price of the second warm-up: the run that keeps its averages and warms up again falls behind too, "
            "but not as far.\n\n"
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
                    "the large rate ends up as nan",
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
            finding="At a hundredth of the rate, sixty steps hardly move the model from where it started. At a hundred times the rate, the loss "
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
