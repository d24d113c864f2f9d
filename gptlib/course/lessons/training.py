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
    yield [torch.randn(shape, generator=generator) for shape in ((2, 3), (3,), (4, 2))], 0.5


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


def falling(
    step: int, highest: float, lowest: float, warmup: int, progress: float, turns: float = 0.5
) -> float:
    """The schedule with another measure of progress, or another part of the cosine's turn."""
    if step < warmup:
        return highest * (step + 1) / warmup
    return lowest + (highest - lowest) * (1 + math.cos(2 * math.pi * turns * progress)) / 2


def straight(step: int, highest: float, lowest: float, warmup: int, steps: int) -> float:
    if step < warmup:
        return highest * (step + 1) / warmup
    return highest + (lowest - highest) * (step - warmup) / (steps - 1 - warmup)


def share_of(part: Tensor, inputs: Tensor, size: int) -> float:
    return len(part) / len(inputs)


def with_share(
    share: Callable[[Tensor, Tensor, int], float], zero: str = "once", too_late: bool = False
) -> Callable[..., float]:
    """An accumulation in which a part counts what `share` gives for (part, all inputs, size).

    If `too_late`, that goes for the loss alone, and not for the gradients.
    """

    def answer(model: nn.Module, inputs: Tensor, targets: Tensor, size: int) -> float:
        total = 0.0
        if zero == "once":
            model.zero_grad()
        for part, wanted in zip(inputs.split(size), targets.split(size), strict=True):
            if zero == "each":
                model.zero_grad()
            loss = F.cross_entropy(model(part).flatten(0, 1), wanted.flatten())
            counts = share(part, inputs, size)
            (loss if too_late else loss * counts).backward()
            total += loss.item() * counts
        return total

    return answer


WINDOWS = Exercise(
    name="training.windows",
    reference=windows,
    inputs=rows_and_starts,
    buys="One cut, and every token of a window is an exercise.",
    hints=(
        "The targets are the same windows, one token further on.",
        "row is (tokens,). Both answers are (batch, length), with a row for each of the starts.",
        "Stack row[start : start + length] for the inputs, and row[start + 1 : start + 1 + length] for the targets.",
    ),
    misconceptions=(
        Misconception(
            "not_shifted",
            "the targets are the inputs. A model learns to repeat what it reads: shift them by one.",
            lambda row, starts, length: (windows(row, starts, length)[0],) * 2,
        ),
        Misconception(
            "shifted_back",
            "the targets are one token earlier, so the model would be asked for what it has already read.",
            lambda row, starts, length: (
                windows(row, starts, length)[0],
                windows(row, [start - 1 for start in starts], length)[0],
            ),
        ),
        Misconception(
            "swapped",
            "inputs and targets are swapped: give what is read first, then what comes next.",
            lambda row, starts, length: windows(row, starts, length)[::-1],
        ),
        Misconception(
            "one_too_long",
            "the windows have one token too many. Cut length + 1 tokens, then take all but the last, and all but the first.",
            lambda row, starts, length: (
                torch.stack([row[start : start + length + 1] for start in starts]),
                windows(row, starts, length)[1],
            ),
        ),
        Misconception(
            "next_window",
            "the targets are the window that follows. Each token's target is the one right after it, not length further on.",
            lambda row, starts, length: (
                windows(row, starts, length)[0],
                torch.stack([row[start + length : start + 2 * length] for start in starts]),
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
    buys="No single batch can throw the model off its way any more.",
    hints=(
        "Take the length of all gradients as one long vector. If it is above the bound, shrink all of them alike.",
        "A list of tensors of any shapes comes in, and one of the same shapes goes out; the norm is one number.",
        "The norm is the root of the sum of all squares, over all tensors. Multiply each with min(1, bound / norm).",
    ),
    misconceptions=(
        Misconception(
            "each_by_itself",
            "each tensor was clipped by its own norm. That turns the direction of the whole step; one factor serves all.",
            lambda gradients, bound: scaled(
                gradients, [min(1.0, bound / gradient.norm().item()) for gradient in gradients]
            ),
        ),
        Misconception(
            "each_number",
            "each number was cut off at the bound. That changes the direction; scale all of them by one factor.",
            lambda gradients, bound: [gradient.clamp(-bound, bound) for gradient in gradients],
        ),
        Misconception(
            "always_scaled",
            "small gradients were made larger. The norm may be below the bound, and then nothing is to be done.",
            lambda gradients, bound: scaled(gradients, [bound / norm_of(gradients)] * len(gradients)),
        ),
        Misconception(
            "norms_added",
            "the norms were added. Squares add up, and the root comes last, as for the sides of a triangle.",
            lambda gradients, bound: scaled(
                gradients,
                [min(1.0, bound / sum(gradient.norm().item() for gradient in gradients))] * len(gradients),
            ),
        ),
        Misconception(
            "no_root",
            "the root is missing: you divided by the sum of the squares.",
            lambda gradients, bound: scaled(
                gradients, [min(1.0, bound / norm_of(gradients) ** 2)] * len(gradients)
            ),
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
    buys="This curve is under nearly every large model that was ever trained.",
    hints=(
        "Two pieces: a straight rise, then half a cosine. How far along the second piece are we, from 0 to 1?",
        "Numbers in, a number out. Step 0 has highest / warmup, step warmup − 1 and step warmup have highest, step steps − 1 has lowest.",
        "While step < warmup: highest · (step + 1) / warmup. After that progress is (step − warmup) / (steps − 1 − warmup), "
        "and the rate is lowest + (highest − lowest) · (1 + cos(π · progress)) / 2.",
    ),
    source=SCHEDULE_SOURCE,
    misconceptions=(
        Misconception(
            "first_step_is_0",
            "the first rate is 0, so the first batch is wasted. The rise begins with one part of it: step + 1.",
            lambda step, highest, lowest, warmup, steps: (
                highest * step / warmup if step < warmup else schedule(step, highest, lowest, warmup, steps)
            ),
        ),
        Misconception(
            "cosine_from_the_start",
            "the cosine began at step 0, so the rate jumps down where the warm-up ends. Count the progress from there.",
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
            "the rate falls in a straight line. A cosine stays high for longer, then falls, then lands softly.",
            straight,
        ),
        Misconception(
            "whole_turn",
            "the cosine makes a whole turn and comes up again: at progress 1 it should be at π, not 2π.",
            lambda step, highest, lowest, warmup, steps: falling(
                step, highest, lowest, warmup, (step - warmup) / (steps - 1 - warmup), turns=1.0
            ),
        ),
        Misconception(
            "one_step_short",
            "the last step does not get down to lowest. It is step steps − 1, so divide by steps − 1 − warmup.",
            lambda step, highest, lowest, warmup, steps: falling(
                step, highest, lowest, warmup, (step - warmup) / (steps - warmup)
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
    buys="You can train with batches of any size, whatever your machine can hold at once.",
    hints=(
        "backward adds to the gradients that are there. So forget the old ones once, then let each part add its share.",
        "Parts are (size, seq) or smaller, logits (part, seq, vocab). cross_entropy wants (n, vocab) and (n,): flatten.",
        "model.zero_grad(); for each pair of inputs.split(size) and targets.split(size): the mean loss of the part, times "
        "len(part) / len(inputs); backward; add it to the total.",
    ),
    misconceptions=(
        Misconception(
            "not_averaged",
            "the losses of the parts were added as they are, so the gradient is as many times too large as there are parts.",
            with_share(lambda part, inputs, size: 1.0),
        ),
        Misconception(
            "equal_shares",
            "all parts count the same, but the last one may be smaller. Give each the share that it has of the batch.",
            with_share(lambda part, inputs, size: 1 / math.ceil(len(inputs) / size)),
        ),
        Misconception(
            "forgets_the_parts",
            "the gradients are set to zero before each part, so only the last part counts. Do it once, before the first.",
            with_share(share_of, zero="each"),
        ),
        Misconception(
            "old_gradients",
            "old gradients are still in the sum. backward adds: call model.zero_grad() before the first part.",
            with_share(share_of, zero="never"),
        ),
        Misconception(
            "scaled_too_late",
            "the loss is right, but each part's gradient went in whole. Scale the part's loss before backward, not after.",
            with_share(share_of, too_late=True),
        ),
        Misconception(
            "whole_batch",
            "the model was given the whole batch at once, which is what does not fit. Give it `size` rows at a time.",
            whole_batch,
        ),
        Misconception(
            "backward_at_the_end",
            "the losses of all parts were added up first, so all parts were in memory until the one backward at the end. Call backward for each part: then its memory is free before the next part is read.",
            backward_at_the_end,
        ),
        Misconception(
            "size_parts",
            "the batch was cut into `size` parts. `size` is the number of rows in a part: split(size), not chunk(size).",
            cut_into_size_parts,
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
            "Without clipping, AdamW meets one freak gradient of −1,000 among many of 1. What does the weight do?",
            (
                "it goes astray for some steps, then hardly moves",
                "The freak stays in both averages: the mean points the wrong way, and the square makes steps tiny.",
            ),
            (
                (
                    "one short step back, then all is as before",
                    "The step itself is short. But the freak stays in the averages for long after.",
                ),
                (
                    "one huge step, from which it must walk back",
                    "So it would be with plain descent. AdamW divides by the root of the square.",
                ),
            ),
            shows=lambda paths: figures.line_chart(
                paths,
                title="A weight of AdamW, with a freak gradient at step 20",
                x_label="step",
                y_label="weight",
            ),
            finding="The freak stays in both averages. The mean points the wrong way for many steps, and the "
            "swollen square makes the steps in the right direction tiny for longer still. Clipped, the freak is no "
            "larger than any other gradient, and it does little harm.",
        ),
        Prediction(
            "training.sixteen_stories",
            "A model is trained on sixteen stories, over and over. What does its loss on unseen stories do?",
            (
                "it falls, then rises",
                "First it learns what all stories share, then what only these sixteen hold.",
            ),
            (
                (
                    "it falls with the training loss",
                    "At first. But how the sixteen go on tells nothing of how others do.",
                ),
                (
                    "it stays at blind guessing",
                    "Sixteen stories share much with all others: frequent words, names, the way sentences run.",
                ),
            ),
            shows=lambda by_heart, checked, floor: figures.loss_curves(
                {
                    "training batch": ([step.step for step in by_heart], [step.loss for step in by_heart]),
                    "validation": (
                        [step.step for step in checked],
                        [step.validation_loss for step in checked],
                    ),
                },
                floor=floor,
                smooth=5,
                title="Sixteen stories: training sinks through the floor, validation turns and rises",
            ),
            finding="The training loss sinks below the floor. No **honest** model of Storyworld can get there, on "
            "average. This one does, on stories that it has learned by heart, while its loss on unseen ones turns "
            "and rises. That is **overfitting**, and it is why a training loss alone proves nothing. The best "
            "moment to stop was where the validation loss turned.",
        ),
        Prediction(
            "training.hundredfold",
            "The model is trained for sixty steps at a hundredth of the usual learning rate, and again at a hundred "
            "times the usual rate. Where do the two losses end, compared with the usual rate?",
            (
                "both end higher",
                "The one is still near the start; the other undoes with each step what it has learned.",
            ),
            (
                (
                    "the small one lower, for it is careful",
                    "Care costs steps. In sixty of them it gets hardly anywhere.",
                ),
                (
                    "the large one as nan",
                    "AdamW's steps are about as long as the rate, and the gradient is clipped: it is bad, but finite.",
                ),
            ),
            shows=lambda rates, outcome, tokenizer: figures.line_chart(
                {"loss after 60 steps": (rates, list(outcome.values()))},
                title="Too small a rate gets nowhere in sixty steps; too large a rate undoes its own work",
                x_label="learning rate",
                y_label="loss (nats per token)",
                log_x=True,
                marks={"blind guessing": math.log(tokenizer.vocab_size)},
            ),
            finding="Too small a rate gets hardly anywhere in sixty steps; too large a rate undoes its own work. "
            "Even at the highest rate nothing exploded. That is AdamW and clipping at work: a step is never longer "
            "than about the learning rate.",
        ),
    ),
    quiz=(
        Question(
            "training.exercises_in_a_batch",
            "A batch has 4 windows of 200 tokens. How many predictions does one step learn from?",
            ("800", "Every position of every window predicts the token after it."),
            (
                ("4", "That would be one for each window. The causal mask makes each position an exercise."),
                ("200", "The 4 windows are different exercises."),
                ("796", "The last token of a window has a target too: the token after it in the row."),
            ),
        ),
        Question(
            "training.first_step",
            "The first gradient of a weight is 0.001, the learning rate is 0.01. How long is AdamW's first step?",
            (
                "0.01",
                "mean / √square is 0.001 / 0.001: in every direction the first step is as long as the rate.",
            ),
            (
                ("0.00001", "That is plain descent: rate times gradient."),
                ("0.001", "The gradient's size cancels; the rate is what stays."),
                (
                    "0.0001",
                    "Both averages start too small, but dividing by $1 - \\beta$ makes that good.",
                ),
            ),
        ),
        Question(
            "training.clipped_number",
            "All gradients together have norm 10, the bound is 1. One of the numbers is 4. What becomes of it?",
            ("0.4", "Everything is multiplied with 1/10, and the direction stays."),
            (
                ("1", "That would be cutting each number off; the direction would change."),
                ("4", "The norm is above the bound, so all are scaled down."),
                ("0.04", "The factor is bound over norm, 1/10, and not its square."),
            ),
        ),
        Question(
            "training.first_rate",
            "The warm-up takes 50 steps to the rate 0.01. What is the rate of the very first update?",
            ("0.0002", "One part of fifty: the first update already moves."),
            (
                ("0", "Then the first batch would be read for nothing."),
                ("0.01", "That is where the warm-up ends."),
                ("0.001", "A tenth is where the cosine ends, not where the warm-up begins."),
            ),
        ),
        Question(
            "training.what_decays",
            "Which of these does weight decay leave alone?",
            (
                "the gain of a norm",
                "It is one number for each feature, with no sum of products to keep small.",
            ),
            (
                ("the MLP's `up` matrix", "Matrices decay: it keeps any one input from deciding everything."),
                ("the queries' matrix", "It is a matrix like others."),
                (
                    "all that has a gradient",
                    "Decay and gradient have nothing to do with each other in AdamW.",
                ),
            ),
        ),
        Question(
            "training.under_the_floor",
            "Training loss 0.2, entropy floor 0.41. What has the model done?",
            (
                "learned its training text by heart",
                "Below the floor there is nothing to understand, only to remember.",
            ),
            (
                ("understood the world perfectly", "Perfect knowledge of the dice gives the floor itself."),
                ("found a better tokenizer", "The floor is counted with this tokenizer, and so is the loss."),
                ("trained with too high a rate", "That raises the loss."),
            ),
        ),
        Question(
            "training.what_was_lost",
            "You resume with the weights, the step and the batches as they were, but AdamW starts anew. What differs?",
            (
                "the first steps: its averages are empty",
                "They rest on one or two batches again, and have full length in every direction.",
            ),
            (
                (
                    "nothing, weights are all that counts",
                    "The next step is made of the averages as well as of the weights.",
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
            "training.what_decays",
        ),
        ("training.accumulate", "training.hundredfold"),
        ("training.sixteen_stories", "training.under_the_floor"),
        ("training.what_was_lost",),
    ),
)
