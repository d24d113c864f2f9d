"""Fine-tuning, and what it is good for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.training.evaluation import IGNORED
from gptlib.training.lora import LoRALinear
from gptlib.viz import figures


def answer_targets(tokens: Int[Tensor, " seq"], said: Bool[Tensor, " seq"]) -> Int[Tensor, " shorter"]:
    return tokens.masked_fill(~said, IGNORED)[1:]


def f1(said: Sequence[str], wanted: Sequence[str]) -> float:
    hits = (Counter(said) & Counter(wanted)).total()
    return 2 * hits / (len(said) + len(wanted))


def stopped_at(losses: Sequence[float], patience: int) -> tuple[int, int]:
    best = 0
    for place, loss in enumerate(losses):
        if loss < losses[best]:
            best = place
        if place - best == patience:
            return best, place
    return best, len(losses) - 1


def merged(
    weight: Float[Tensor, "d_out d_in"],
    a: Float[Tensor, "rank d_in"],
    b: Float[Tensor, "d_out rank"],
    scale: float,
) -> Float[Tensor, "d_out d_in"]:
    return weight + scale * (b @ a)


def rows_of_tokens(generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    yield torch.tensor([9, 4, 5, 6]), torch.tensor([False, False, True, True])
    yield torch.tensor([7, 1, 2, 3, 8, 4, 7, 2]), torch.tensor([0, 0, 0, 1, 1, 0, 0, 1]).bool()
    tokens = torch.randint(1, 50, (12,), generator=generator)
    yield tokens, torch.tensor([0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 0]).bool()


def lists(generator: Generator) -> Iterator[tuple[list[str], list[str]]]:
    yield ["Mia", "kite"], ["kite", "Ben", "pond"]
    yield ["kite", "kite", "bell", "Mia"], ["bell", "kite", "kite", "kite", "Ben", "Ben"]
    yield ["pond", "pond", "Mia"], ["pond", "mill"]
    words = ["Mia", "Ben", "kite", "bell", "pond", "mill"]
    order = [words[i] for i in torch.randperm(6, generator=generator).tolist()]
    yield order[:4], [*order[3:], order[0]]
    yield [order[0], order[1]], [order[1], order[0]]
    yield [], order[:2]


def losses_and_patience(generator: Generator) -> Iterator[tuple[list[float], int]]:
    yield [5.0, 3.0, 4.0, 3.5, 2.0], 2
    yield [5.0, 3.0, 4.0, 3.5, 2.0], 3
    yield [4.0, 3.0, 3.0, 3.5, 2.5, 2.0], 2  # a loss that is equal has not fallen
    yield [6.0, 7.0, 5.0, 5.5, 4.0, 3.0, 2.0], 2  # failures, but never two in a row
    noise = torch.randint(1, 9, (1,), generator=generator).item() / 10
    yield [3.0 + noise, 2.0, 2.5 + noise, 2.4, 2.3, 2.2, 1.0], 3
    yield [3.0, 2.0, 1.0 + noise / 10], 1
    yield [3.0, 2.0, 2.0 + noise], 2  # it ends while it waits
    yield [2.0, 2.0, 2.0 + noise], 2  # the first is the best


def weights_and_updates(generator: Generator) -> Iterator[tuple[Tensor, Tensor, Tensor, float]]:
    yield torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 3.0]]), torch.tensor([[1.0]]), 2.0
    for d_out, d_in, rank, scale in ((3, 3, 2, 0.5), (4, 2, 1, 3.0), (2, 5, 2, 1.5)):
        yield (
            torch.randn(d_out, d_in, generator=generator),
            torch.randn(rank, d_in, generator=generator),
            torch.randn(d_out, rank, generator=generator),
            scale,
        )


def layers(generator: Generator) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, float, Tensor]]:
    """A linear layer's weight and bias, values for A and B, the scale, and what goes in."""
    for d_out, d_in, rank, scale, shape in (
        (2, 3, 1, 2.0, (1,)),
        (4, 4, 2, 0.5, (3,)),
        (5, 2, 2, 3.0, (2, 3)),
    ):
        yield (
            torch.randn(d_out, d_in, generator=generator),
            torch.randn(d_out, generator=generator),
            torch.randn(rank, d_in, generator=generator),
            torch.randn(d_out, rank, generator=generator),
            scale,
            torch.randn(*shape, d_in, generator=generator),
        )


def before_and_after_a_step(
    answer: Callable[..., Any], weight: Tensor, bias: Tensor, a: Tensor, b: Tensor, scale: float, x: Tensor
) -> Any:
    """What a new layer gives, what learns in it, whether it can begin to, and what it gives with A and B."""
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.load_state_dict({"weight": weight, "bias": bias})
    linear.requires_grad_(False)
    with torch.enable_grad():
        layer = answer(linear, len(a), scale)
        first = layer(x)
        if first is ...:
            return ...
        learning = {name for name, parameter in layer.named_parameters() if parameter.requires_grad}
        # Under whatever name an answer keeps the linear layer.
        learns = {name if name.startswith("lora_") else "linear" for name in learning}
        moves = first.requires_grad and any(
            bool(gradient.any())
            for gradient in torch.autograd.grad(
                first.sum(), [layer.lora_a, layer.lora_b], allow_unused=True, materialize_grads=True
            )
        )
    with torch.no_grad():
        layer.lora_a.copy_(a)
        layer.lora_b.copy_(b)
    wide = answer(nn.Linear(256, 4).requires_grad_(False), 8, scale).lora_a
    size = wide.detach().float().std().item() * 256**0.5  # 1, or 0.58 where it is drawn evenly
    return {
        "A": "about 1/√in large" if 0.4 < size < 2 else f"{size:.2g}/√in large",
        "before": first if torch.allclose(first, linear(x)) else "not what linear gives",
        "learns": sorted(learns),
        "moves": moves,
        "after": layer(x),
    }


def both_ways(losses: Sequence[float], patience: int) -> tuple[int, int]:
    """The reference's answer with the last weights kept."""
    _, stop = stopped_at(losses, patience)
    return stop, stop


def falls_counted(
    losses: Sequence[float],
    patience: int,
    in_a_row: bool = True,
    of_the_best: bool = True,
    ties: bool = False,
    late: int = 0,
) -> tuple[int, int]:
    """Early stopping with one of its parts done otherwise."""
    best, waited = 0, 0
    for place, loss in enumerate(losses[1:], start=1):
        lowest = losses[best]
        fallen = loss < (lowest if of_the_best else losses[place - 1]) or (ties and loss == lowest)
        if loss < lowest or (ties and loss == lowest):
            best = place
        waited = (0 if in_a_row else waited) if fallen else waited + 1
        if waited == patience + late:
            return best, place
    return best, len(losses) - 1


class WithoutScale(LoRALinear):
    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__(linear, rank, 1.0)


class UpdateAlone(LoRALinear):
    def forward(self, x: Tensor) -> Tensor:
        return self.scale * (x @ self.lora_a.T @ self.lora_b.T)


class RandomB(LoRALinear):
    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__(linear, rank, scale)
        nn.init.normal_(self.lora_b)


class BothZero(LoRALinear):
    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__(linear, rank, scale)
        nn.init.zeros_(self.lora_a)


class LinearLearns(LoRALinear):
    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__(linear.requires_grad_(True), rank, scale)


class NoParameters(nn.Module):
    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.linear, self.scale = linear, scale
        self.lora_a = (torch.randn(rank, linear.in_features) / linear.in_features**0.5).requires_grad_()
        self.lora_b = torch.zeros(linear.out_features, rank, requires_grad=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.scale * (x @ self.lora_a.T @ self.lora_b.T)


LORA_SOURCE = """\
class LoRALinear(nn.Module):
    def __init__(self, linear, rank, scale):
        super().__init__()
        self.linear, self.scale = linear, scale
        self.lora_a = nn.Parameter(torch.randn(rank, linear.in_features) / linear.in_features**0.5)
        self.lora_b = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x):
        update = x @ self.lora_a.T @ self.lora_b.T  # (…, in) -> (…, rank) -> (…, out)
        return self.linear(x) + self.scale * update
"""

TARGETS_SOURCE = """\
def answer_targets(tokens, said):
    return tokens.masked_fill(~said, -100)[1:]
"""

F1_SOURCE = """\
def f1(said, wanted):
    left, hits = list(wanted), 0
    for item in said:
        if item in left:
            left.remove(item)  # each wanted item can be hit once
            hits += 1
    return 2 * hits / (len(said) + len(wanted))
"""

ANSWER_TARGETS = Exercise(
    name="finetuning.answer_targets",
    reference=answer_targets,
    source=TARGETS_SOURCE,
    inputs=rows_of_tokens,
    buys="Every step of training now goes into the answer.",
    hints=(
        "The target at a position is the next token. What counts is who says that next token, not who said the last.",
        "tokens and said are (seq,); so is the row with −100 in it. Only then cut the first: (seq − 1,).",
        "Put −100 wherever said is False, with torch.where or masked_fill, and take everything from place 1 on.",
    ),
    misconceptions=(
        Misconception(
            "not_shifted",
            "the targets are the tokens that the model reads at the same place. It would learn to copy; a target is one further.",
            lambda tokens, said: tokens.masked_fill(~said, IGNORED)[:-1],
        ),
        Misconception(
            "mask_of_the_inputs",
            "the mask tells who said the token that is read, not the one that is to come. The first word of an answer would "
            "carry no loss, and that is often all of it.",
            lambda tokens, said: tokens[1:].masked_fill(~said[:-1], IGNORED),
        ),
        Misconception(
            "the_user_counts",
            "the mask is the wrong way round: what the user says carries the loss, and the answers none.",
            lambda tokens, said: tokens.masked_fill(said, IGNORED)[1:],
        ),
        Misconception(
            "everything",
            "every token carries loss. The answer is a few tokens among many, and drowns.",
            lambda tokens, said: tokens[1:],
        ),
        Misconception(
            "zeros",
            "what should not count got the target 0. That is a token like others, and the model would learn to say it.",
            lambda tokens, said: (tokens * said)[1:],
        ),
        Misconception(
            "cut_out",
            "only the assistant's tokens are left, so the targets no longer stand beside the inputs. Keep every place.",
            lambda tokens, said: tokens[1:][said[1:]],
        ),
    ),
    minutes=4,
    difficulty=1,
)

F1 = Exercise(
    name="finetuning.f1",
    reference=f1,
    source=F1_SOURCE,
    inputs=lists,
    buys="A list that says too much and one that says too little now both lose.",
    hints=(
        "Count the hits first. An item that comes twice in one list and once in the other is one hit.",
        "Two lists go in, one number comes out: at most 1, and 0 if nothing is shared.",
        "Take each item that was said; if it is still in a copy of wanted, remove it there and count a hit. Then 2 · hits / "
        "(len(said) + len(wanted)).",
    ),
    misconceptions=(
        Misconception(
            "sets",
            "the lists were made sets, so an item that comes twice counts once.",
            lambda said, wanted: 2 * len(set(said) & set(wanted)) / (len(set(said)) + len(set(wanted))),
        ),
        Misconception(
            "precision",
            "hits were divided by what was said alone. Whoever says one sure thing and stops would have a 1.",
            lambda said, wanted: (Counter(said) & Counter(wanted)).total() / len(said),
        ),
        Misconception(
            "recall",
            "hits were divided by what was wanted alone. Whoever says everything there is would have a 1.",
            lambda said, wanted: (Counter(said) & Counter(wanted)).total() / len(wanted),
        ),
        Misconception(
            "not_doubled",
            "the hits count once, but each is in both lists. Two equal lists should give 1, and they give ½.",
            lambda said, wanted: f1(said, wanted) / 2,
        ),
        Misconception(
            "hit_again",
            "an item that is said twice hits the same wanted item twice. Each wanted item can be hit once.",
            lambda said, wanted: 2 * sum(item in wanted for item in said) / (len(said) + len(wanted)),
        ),
        Misconception(
            "in_order",
            "items were compared place by place. One item too many at the start, and nothing fits; the order does not count.",
            lambda said, wanted: (
                2 * sum(a == b for a, b in zip(said, wanted, strict=False)) / (len(said) + len(wanted))
            ),
        ),
    ),
    minutes=8,
    difficulty=2,
)

STOPPED_AT = Exercise(
    name="finetuning.stopped_at",
    reference=stopped_at,
    inputs=losses_and_patience,
    buys="A run now ends by itself, and what it leaves is its best.",
    hints=(
        "Go through the losses and remember where the lowest was. What decides is how far back that is.",
        "Two whole numbers come out: the place of the lowest loss so far, and the place where you are when you stop.",
        "At each place: if the loss is lower than the lowest, this is the best place. If place − best == patience, return "
        "(best, place). After the loop return (best, len(losses) - 1).",
    ),
    misconceptions=(
        Misconception(
            "last_kept",
            "the weights of the last measurement were kept. It stopped because they had been no better for a while.",
            both_ways,
        ),
        Misconception(
            "not_in_a_row",
            "failures were counted over the whole run. A new lowest loss starts the count anew.",
            lambda losses, patience: falls_counted(losses, patience, in_a_row=False),
        ),
        Misconception(
            "than_the_last",
            "each loss was compared with the one before it. A loss that falls from a bad place is still no new best.",
            lambda losses, patience: falls_counted(losses, patience, of_the_best=False),
        ),
        Misconception(
            "equal_is_lower",
            "an equal loss was taken as a lower one. Nothing was gained, so the wait goes on.",
            lambda losses, patience: falls_counted(losses, patience, ties=True),
        ),
        Misconception(
            "one_late",
            "it stopped one measurement late: after `patience` failures, not one more.",
            lambda losses, patience: falls_counted(losses, patience, late=1),
        ),
        Misconception(
            "looks_ahead",
            "the lowest of all losses was kept, even from after the stop. By then nobody trains any more.",
            lambda losses, patience: (
                min(range(len(losses)), key=losses.__getitem__),
                stopped_at(losses, patience)[1],
            ),
        ),
    ),
    minutes=10,
    difficulty=2,
)

MERGED = Exercise(
    name="finetuning.merged",
    reference=merged,
    inputs=weights_and_updates,
    buys="A fine-tuned model now costs no more to run than the model it came from.",
    hints=(
        "Two products in a row are one: x Aᵀ Bᵀ is x times one matrix, transposed. Which?",
        "weight is (out, in). From b (out, rank) and a (rank, in) there is one order that gives (out, in).",
        "weight + scale * (b @ a). In a new tensor: += would change the weight that you were given.",
    ),
    misconceptions=(
        Misconception(
            "transposed",
            "the update is transposed, (in, out). A square matrix hides it; others do not fit.",
            lambda weight, a, b, scale: weight + scale * (a.T @ b.T),
        ),
        Misconception(
            "unscaled",
            "the scale is missing.",
            lambda weight, a, b, scale: weight + b @ a,
        ),
        Misconception(
            "update_alone",
            "this is the update without the weight, so all that the model knew is gone.",
            lambda weight, a, b, scale: scale * (b @ a),
        ),
        Misconception(
            "all_scaled",
            "the weight was scaled too. Only the update is.",
            lambda weight, a, b, scale: scale * (weight + b @ a),
        ),
        Misconception(
            "subtracted",
            "the update was subtracted. That is how one takes it out, if only nearly.",
            lambda weight, a, b, scale: weight - scale * (b @ a),
        ),
    ),
    minutes=5,
    difficulty=2,
)

LORA_LINEAR = Exercise(
    name="finetuning.LoRALinear",
    reference=LoRALinear,
    source=LORA_SOURCE,
    inputs=layers,
    use=before_and_after_a_step,
    buys="Any linear layer can learn a new task now, and give it back.",
    hints=(
        "Keep linear as it is. Beside it, two thin matrices: one random, one zero, so that nothing changes at first.",
        "lora_a is (rank, linear.in_features), lora_b is (linear.out_features, rank); x is (…, in).",
        "Wrap both in nn.Parameter. forward: self.linear(x) + self.scale * (x @ self.lora_a.T @ self.lora_b.T).",
    ),
    misconceptions=(
        Misconception(
            "without_scale",
            "the scale has no effect.",
            WithoutScale,
        ),
        Misconception(
            "update_alone",
            "what linear gives is missing: only the update comes out, and at first that is zero.",
            UpdateAlone,
        ),
        Misconception(
            "random_b",
            "lora_b is not zero at first, so the layer gives something else than linear before anything was learned.",
            RandomB,
        ),
        Misconception(
            "both_zero",
            "lora_a and lora_b are both zero. Then the gradient of each is zero as well, and nothing ever learns.",
            BothZero,
        ),
        Misconception(
            "linear_learns",
            "the parameters of linear learn too. They are frozen when you get them; leave them so.",
            LinearLearns,
        ),
        Misconception(
            "no_parameters",
            "lora_a and lora_b are plain tensors. An optimizer finds what is wrapped in nn.Parameter, and these it never moves.",
            NoParameters,
        ),
    ),
    minutes=15,
    difficulty=3,
)

LESSON = Lesson(
    topic="finetuning",
    exercises=(ANSWER_TARGETS, F1, STOPPED_AT, MERGED, LORA_LINEAR),
    predictions=(
        Prediction(
            "finetuning.everything",
            "A model is fine-tuned on the same 24 batches, but with loss on everything. How well does it predict "
            "the answers to held-out stories, compared with the one whose loss was on the answer alone?",
            (
                "worse than knowing only how often each answer comes",
                "Two tokens of some hundred and forty are the answer, and they pull as little as that.",
            ),
            (
                (
                    "as good: the answer is part of everything",
                    "A seventieth part. The rest of the gradient is about telling stories.",
                ),
                (
                    "better: it learns from more tokens",
                    "It does learn from more, but from tokens that it could foretell already, or that nobody can.",
                ),
            ),
            shows=lambda losses, blind: figures.bar_chart(
                list(losses),
                list(losses.values()),
                label="loss on held-out answers (nats per token)",
                marks={"knows how often, reads nothing": blind.item()},
                highlight=["answer alone"],
                title="After the same 24 batches, loss on everything has not taught the answer",
            ),
            finding="After the same 24 batches, loss on everything has not taught the answer. Two tokens of some "
            "hundred and forty are the answer, so the gradient is nearly all about telling stories, which the model "
            "can already do; where we want it, it pulls only a seventieth as hard. That makes learning slower, not "
            "impossible: with more steps or a higher rate, a model with loss on everything learns this answer, too.",
        ),
        Prediction(
            "finetuning.forgetting",
            "LoRA leaves every old weight alone. What is the loss on plain stories while it is attached?",
            (
                "clearly higher than before",
                "What counts is what is computed, and the update is part of it. Taken out, all is as before.",
            ),
            (
                (
                    "as before: no old weight has changed",
                    "That is so once it is taken out. Attached, the update takes part in every product.",
                ),
                (
                    "lower: it has seen more stories",
                    "It read them, but its loss was on the verdict alone.",
                ),
            ),
            shows=lambda old_task: figures.bar_chart(
                list(old_task),
                list(old_task.values()),
                label="loss on plain stories (nats per token)",
                title="LoRA forgets while it is attached, and nothing is lost when it is taken out",
                highlight=["LoRA taken out"],
                number="{:.1f}",
            ),
            finding="LoRA forgets while it is attached: this one forgot more than full fine-tuning did. Nothing is lost when it is taken out: the old model is still there, bit for bit, and the task is a small file beside it.",
        ),
    ),
    quiz=(
        Question(
            "finetuning.fresh_row",
            "A new token's row is the mean of all rows. What does the model know about it before any training?",
            (
                "nothing that tells it from another new one",
                "Both roles begin with the same row; training has to move them apart.",
            ),
            (
                ("what its name says", "The name is for us. The model sees a row of numbers."),
                (
                    "that it starts a turn",
                    "That is in no row yet. It is learned from conversations.",
                ),
                ("what the most frequent token means", "A mean of rows is no row of any token."),
            ),
        ),
        Question(
            "finetuning.how_many_count",
            "A row of 100 tokens ends with `<|assistant|>`, ` yes` and the end-of-text token. How many targets carry loss?",
            ("2", "What the assistant says: the word and its end. The role token is given, not said."),
            (
                ("1", "The end counts too. Else the model never learns to fall silent."),
                ("3", "`<|assistant|>` is put there by whoever asks; the model need not say it."),
                ("99", "That is loss on everything: each token but the first is somebody's target."),
            ),
        ),
        Question(
            "finetuning.never_silent",
            "A fine-tuned model answers well and then goes on and on. What was most likely forgotten?",
            (
                "loss on the end-of-text token after an answer",
                "Falling silent is a token like others, and has to be learned.",
            ),
            (
                ("a higher rank", "One token after an answer is no matter of rank."),
                ("early stopping", "That stops the training, not the text."),
                ("the user's role token", "It tells who asks. The end of an answer is another token."),
            ),
        ),
        Question(
            "finetuning.count_lora",
            "A layer maps 100 numbers to 300. How many numbers does LoRA of rank 2 learn for it?",
            ("800", "$2 \\cdot 100$ in $A$ and $300 \\cdot 2$ in $B$."),
            (
                ("60,000", "That would be two whole matrices of 100 · 300."),
                ("400", "$100 + 300$ is rank 1; rank 2 has twice as many."),
                ("30,000", "That is the matrix itself, which stays as it is."),
            ),
        ),
        Question(
            "finetuning.why_zero",
            "Why does $B$ start at zero, and $A$ not?",
            (
                "nothing changes at first, and $B$ gets a gradient",
                "The product is zero, and the gradient of $B$ goes through $A$, which is not.",
            ),
            (
                (
                    "$A$ is frozen, and $B$ learns",
                    "Both learn. At the first step only $B$ moves, since the gradient of $A$ goes through $B$.",
                ),
                (
                    "zeros take no memory",
                    "A matrix of zeros is stored as any other.",
                ),
                (
                    "so that the rank is 1 at first",
                    "A product of zeros has rank 0; what counts is that it changes nothing.",
                ),
            ),
        ),
        Question(
            "finetuning.ninety_percent",
            "“Our classifier is right in 90% of cases.” 88% of the cases have one label; there were 100. What follows?",
            (
                "nothing much: the margin is within its error",
                "Always saying that label gives 88%, and $\\sqrt{0.9 \\cdot 0.1/100}$ is 3%.",
            ),
            (
                ("it is wrong in 10%, so it is good", "Saying one word always is wrong in 12%."),
                ("it has learned the rare label", "It may not have said it once and be lucky, or unlucky."),
                (
                    "with 100 cases nothing can be said, ever",
                    "A margin of 20% would be many errors wide even here.",
                ),
            ),
        ),
        Question(
            "finetuning.which_step",
            "Validation losses 4, 2, 3, 2.5, 1 and patience 2. Which weights are kept?",
            ("those of the 2", "3 and 2.5 are not lower than 2: two in a row, so it stops and goes back."),
            (
                ("those of the 1", "It was never reached: the run had stopped before."),
                ("those of the 2.5", "There it stopped. What it keeps is the lowest before."),
                ("those of the 3", "The first failure. One more was allowed, and neither is kept."),
            ),
        ),
    ),
    objectives=(
        ("finetuning.fresh_row",),
        (
            "finetuning.answer_targets",
            "finetuning.everything",
            "finetuning.how_many_count",
            "finetuning.never_silent",
        ),
        ("finetuning.stopped_at", "finetuning.which_step", "finetuning.forgetting"),
        ("finetuning.merged", "finetuning.LoRALinear", "finetuning.count_lora", "finetuning.why_zero"),
        ("finetuning.f1", "finetuning.ninety_percent"),
    ),
)
