"""The block that a GPT stacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from gptlib.course.exercises import Exercise, Lesson, Misconception, Question
from gptlib.model.blocks import Block, gelu
from gptlib.model.config import GPTConfig
from gptlib.model.norms import layer_norm


def through_stack(
    x: Float[Tensor, "*batch d_model"], branches: list[Callable[[Tensor], Tensor]]
) -> Float[Tensor, "*batch d_model"]:
    for branch in branches:
        x = x + branch(x)
    return x


class PreNormBlock(nn.Module):
    def __init__(
        self, attention_norm: nn.Module, attention: nn.Module, mlp_norm: nn.Module, mlp: nn.Module
    ) -> None:
        super().__init__()
        self.attention_norm, self.attention = attention_norm, attention
        self.mlp_norm, self.mlp = mlp_norm, mlp

    def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


def a_stream_and_matrices(generator: Generator) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """A stream, (…, d_model), and a matrix for each branch."""
    for *shape, d_model, n_branches in ((1, 2, 2), (3, 2, 3), (2, 3, 4, 3)):
        matrices = [torch.randn(d_model, d_model, generator=generator) for _ in range(n_branches)]
        yield torch.randn(*shape, d_model, generator=generator), matrices


def with_linear_branches(answer: Callable[..., Tensor], x: Tensor, matrices: list[Tensor]) -> Tensor:
    return answer(x, [lambda vectors, matrix=matrix: vectors @ matrix for matrix in matrices])


def read_the_start(x: Tensor, branches: list[Callable[[Tensor], Tensor]]) -> Tensor:
    return x + sum(branch(x) for branch in branches)


def replaced(x: Tensor, branches: list[Callable[[Tensor], Tensor]]) -> Tensor:
    for branch in branches:
        x = branch(x)
    return x


def added_to_the_start(x: Tensor, branches: list[Callable[[Tensor], Tensor]]) -> Tensor:
    start = x
    for branch in branches:
        x = start + branch(x)
    return x


def averaged(x: Tensor, branches: list[Callable[[Tensor], Tensor]]) -> Tensor:
    for branch in branches:
        x = (x + branch(x)) / 2
    return x


def vectors_to_norm(generator: Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Vectors, (…, d_model), with a weight and a bias. The second ones are so short that eps counts."""
    for *shape, size, apart in ((2, 3, 2.0, 2.0), (2, 4, 0.03, 0.0), (2, 3, 5, 3.0, 1.0)):
        x = F.layer_norm(torch.randn(*shape, generator=generator), shape[-1:])
        n_vectors = math.prod(shape[:-1])
        means = apart * torch.arange(1.0, n_vectors + 1).view(*shape[:-1], 1)  # told apart if normed as one
        weight = 0.5 + torch.rand(shape[-1], generator=generator)
        yield size * x + means, weight, torch.randn(shape[-1], generator=generator)


def normed(x: Tensor, weight: Tensor, bias: Tensor, dim: int = -1, correction: int = 0) -> Tensor:
    mean, variance = x.mean(dim, keepdim=True), x.var(dim, keepdim=True, correction=correction)
    return weight * (x - mean) / torch.sqrt(variance + 1e-5) + bias


def numbers(generator: Generator) -> Iterator[tuple[Tensor]]:
    yield (torch.tensor([-2.0, -0.5, 1.0]),)
    yield (3 * torch.randn(2, 3, generator=generator),)
    yield (torch.randn(2, 3, 4, generator=generator),)


def streams(generator: Generator) -> Iterator[tuple[Tensor]]:
    for batch, seq, d_model in ((1, 2, 4), (1, 3, 4), (2, 5, 8)):
        yield (2 * torch.randn(batch, seq, d_model, generator=generator),)


def made_of_parts(answer: Callable[..., Any], x: Tensor) -> Tensor:
    """Makes the block of four random parts, and sends x through it."""
    d_model = x.shape[-1]
    parts = Block(GPTConfig(vocab_size=2, context_length=8, n_layers=1, n_heads=2, d_model=d_model))
    for parameter in parts.parameters():
        nn.init.normal_(parameter.requires_grad_(False), std=0.5)
    return answer(parts.attention_norm, parts.attention, parts.mlp_norm, parts.mlp)(x)


def wired(forward: Callable[..., Tensor]) -> Callable[..., Callable[[Tensor], Tensor]]:
    """A block that does what `forward` says with its four parts and x."""
    return lambda *parts: lambda x: forward(*parts, x)


def normed_stream(
    norm_1: nn.Module, attention: nn.Module, norm_2: nn.Module, mlp: nn.Module, x: Tensor
) -> Tensor:
    x = norm_1(x)
    x = norm_2(x + attention(x))
    return x + mlp(x)


def parallel(norm_1: nn.Module, attention: nn.Module, norm_2: nn.Module, mlp: nn.Module, x: Tensor) -> Tensor:
    return x + attention(norm_1(x)) + mlp(norm_2(x))


def post_norm(
    norm_1: nn.Module, attention: nn.Module, norm_2: nn.Module, mlp: nn.Module, x: Tensor
) -> Tensor:
    x = norm_1(x + attention(x))
    return norm_2(x + mlp(x))


def one_norm(norm_1: nn.Module, attention: nn.Module, norm_2: nn.Module, mlp: nn.Module, x: Tensor) -> Tensor:
    x = x + attention(norm_1(x))
    return x + mlp(norm_1(x))


def mlp_first(
    norm_1: nn.Module, attention: nn.Module, norm_2: nn.Module, mlp: nn.Module, x: Tensor
) -> Tensor:
    x = x + mlp(norm_2(x))
    return x + attention(norm_1(x))


THROUGH_STACK = Exercise(
    name="block.through_stack",
    reference=through_stack,
    inputs=a_stream_and_matrices,
    use=with_linear_branches,
    buys="With attention and MLPs as branches, this loop is the middle of every GPT.",
    hints=(
        "A branch reads the stream as it is now, and adds what it found to it.",
        "x is (…, d_model) before and after; so is what a branch gives.",
        "The next x is x plus the branch of x.",
    ),
    misconceptions=(
        Misconception(
            "replaced",
            "each branch replaced the stream by its answer. That is the plain stack: add the answer to what was there.",
            replaced,
        ),
        Misconception(
            "added_to_the_start",
            "each branch added to the stream as it was at the start, so what the branches before it wrote is lost.",
            added_to_the_start,
        ),
        Misconception(
            "read_the_start",
            "all branches read the start. A branch should read the stream after those before it have written into it.",
            read_the_start,
        ),
        Misconception(
            "averaged",
            "you averaged the stream and the answer. Then what was there first is halved by each branch; add them.",
            averaged,
        ),
    ),
    minutes=4,
    difficulty=1,
)

LAYER_NORM_SOURCE = """\
def layer_norm(x, weight, bias, eps=1e-5):
    mean = x.mean(dim=-1, keepdim=True)  # (…, 1)
    variance = x.var(dim=-1, keepdim=True, correction=0)  # (…, 1)
    return weight * (x - mean) / torch.sqrt(variance + eps) + bias
"""

LAYER_NORM = Exercise(
    name="block.layer_norm",
    reference=layer_norm,
    source=LAYER_NORM_SOURCE,
    inputs=vectors_to_norm,
    buys="Blocks can read a stream of any length; this runs twice in each of them.",
    hints=(
        "Each vector by itself: take off its mean, divide by the root of its variance, then scale and shift.",
        "x is (…, d_model); mean and variance are (…, 1), so keepdim=True; weight and bias are (d_model,).",
        "weight times (x minus mean), divided by the root of (variance plus eps), plus bias. "
        "The variance divides by n: x.var(dim=-1, keepdim=True, correction=0).",
    ),
    misconceptions=(
        Misconception(
            "over_positions",
            "mean and variance run over the first dimension, so a word sees those after it. Each vector is normed alone, dim=-1.",
            lambda x, weight, bias: normed(x, weight, bias, dim=0),
        ),
        Misconception(
            "sample_variance",
            "the variance divides by n − 1, which is torch's default. LayerNorm divides by n: correction=0.",
            lambda x, weight, bias: normed(x, weight, bias, correction=1),
        ),
        Misconception(
            "no_eps",
            "eps is missing. For a vector whose numbers are all equal you would divide 0 by 0.",
            lambda x, weight, bias: (
                weight * (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True, correction=0) + bias
            ),
        ),
        Misconception(
            "eps_outside",
            "eps was added to the root. It belongs inside, to the variance, and in a short vector one sees the difference.",
            lambda x, weight, bias: (
                weight * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True, correction=0) + 1e-5)
                + bias
            ),
        ),
        Misconception(
            "no_root",
            "you divided by the variance. Its root, the typical distance from the mean, is what brings that distance to 1.",
            lambda x, weight, bias: (
                weight * (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-5)
                + bias
            ),
        ),
        Misconception(
            "not_divided",
            "the mean was taken off, and nothing was divided. A long vector stays long: divide by the root of the variance.",
            lambda x, weight, bias: weight * (x - x.mean(-1, keepdim=True)) + bias,
        ),
        Misconception(
            "mean_stays",
            "the mean was not taken off: you divide x itself. What is left has variance 1, but not mean 0.",
            lambda x, weight, bias: (
                weight * x / torch.sqrt(x.var(-1, keepdim=True, correction=0) + 1e-5) + bias
            ),
        ),
    ),
    minutes=8,
    difficulty=2,
    gradients=True,
)

GELU_SOURCE = """\
def gelu(x):
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))
"""

GELU = Exercise(
    name="block.gelu",
    reference=gelu,
    source=GELU_SOURCE,
    inputs=numbers,
    buys="This is the bend in every MLP of GPT-2, to the last digit.",
    hints=(
        "Multiply x with, nearly, the chance that a standard normal number is below x.",
        "Number by number: whatever shape comes in goes out.",
        "0.5 times x times (1 + tanh(√(2/π) times (x + 0.044715 x³))); torch.tanh does the tanh.",
    ),
    misconceptions=(
        Misconception(
            "relu",
            "that is the ReLU, which has a corner at 0 and no slope below it. The GELU bends softly.",
            lambda x: x.clamp(min=0),
        ),
        Misconception(
            "exact",
            "this is the exact GELU, by erf. GPT-2 was trained with the tanh formula, which differs by up to 0.0005.",
            lambda x: F.gelu(x),
        ),
        Misconception(
            "sigmoid",
            "you used x · sigmoid(1.702 x), another approximation, off by up to 0.02. GPT-2's is the one with tanh.",
            lambda x: x * torch.sigmoid(1.702 * x),
        ),
        Misconception(
            "chance_alone",
            "the chance comes back alone, between 0 and 1. It is to be multiplied with x, so that large numbers pass.",
            lambda x: 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        ),
        Misconception(
            "no_half",
            "everything is twice too large: 1 + tanh goes up to 2, and half of that is the chance.",
            lambda x: x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        ),
        Misconception(
            "squared",
            "x was squared where the formula has its third power. A square loses the sign of x.",
            lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**2))),
        ),
    ),
    minutes=5,
    difficulty=2,
    gradients=True,
)

PRE_NORM_BLOCK = Exercise(
    name="block.PreNormBlock",
    reference=PreNormBlock,
    inputs=streams,
    use=made_of_parts,
    buys="Twelve of these, with an embedding below and a norm on top, are GPT-2.",
    hints=(
        "Two branches, one after the other. Each reads the stream through its own norm and adds to the stream itself.",
        "x is (batch, seq, d_model), and so is all that any of the four parts takes or gives.",
        "In __init__ keep the four parts on self. In forward, x becomes x plus attention of attention_norm of x; "
        "then x plus mlp of mlp_norm of that x is returned.",
    ),
    misconceptions=(
        Misconception(
            "no_residual",
            "each branch replaces the stream. Add what it gives to x.",
            wired(lambda norm_1, attention, norm_2, mlp, x: mlp(norm_2(attention(norm_1(x))))),
        ),
        Misconception(
            "post_norm",
            "the norms come after the additions, so the stream itself is normed: that is post-norm. GPT-2 norms what a branch reads.",
            wired(post_norm),
        ),
        Misconception(
            "normed_stream",
            "the branches add to a normed x. Only what a branch reads is normed; what it adds to is x as it was.",
            wired(normed_stream),
        ),
        Misconception(
            "parallel",
            "the MLP reads the stream from before the attention. It should work on what attention has gathered.",
            wired(parallel),
        ),
        Misconception(
            "one_norm",
            "both branches read through attention_norm. The MLP has a norm of its own, with its own weight and bias.",
            wired(one_norm),
        ),
        Misconception(
            "mlp_first",
            "the MLP came first. Attention gathers, then the MLP works on what was gathered.",
            wired(mlp_first),
        ),
    ),
    minutes=10,
    difficulty=3,
    gradients=True,
)

LESSON = Lesson(
    topic="block",
    exercises=(THROUGH_STACK, LAYER_NORM, GELU, PRE_NORM_BLOCK),
    predictions=(
        Question(
            "block.gradient_arrives",
            "Twenty-four blocks deep: in which wirings is the gradient lost on its way down?",
            (
                "in the plain stack alone",
                "A norm or a residual connection keeps it alive. Whether what arrives is of use is the next question.",
            ),
            (
                (
                    "in both without a residual",
                    "The norm makes up for much: it scales the vectors up again in each block, and the gradient with them.",
                ),
                (
                    "in all but pre-norm",
                    "Post-norm has the residual as well. Its trouble is another one, which you will see in a moment.",
                ),
            ),
        ),
        Question(
            "block.skip_or_cut",
            "All of block 1 to the last, one at a time: what costs more in total?",
            (
                "cutting the stream",
                "A skipped block loses its own work. A cut loses the work of all the blocks below it.",
            ),
            (
                (
                    "skipping the block",
                    "The block's own work is lost, but all that was written before it is still in the stream.",
                ),
                (
                    "both cost the same",
                    "One takes away a term of the sum; the other takes away all the terms before it.",
                ),
            ),
        ),
        Question(
            "block.deep_and_hot",
            "Twelve blocks, a high learning rate, no warm-up. Which wiring ends with the lowest loss?",
            (
                "pre-norm",
                "Its stream runs through untouched, and no single block pulls too hard.",
            ),
            (
                (
                    "post-norm",
                    "It has the residual, but it norms the stream: all blocks get large gradients and move at once.",
                ),
                (
                    "norm only",
                    "Its gradient arrives, but all positions have become alike: there is nothing to learn from.",
                ),
                (
                    "they end about the same",
                    "Then wiring would be a matter of taste. Compare the ends of the curves.",
                ),
            ),
        ),
    ),
    quiz=(
        Question(
            "block.count_writes",
            "A GPT has 12 blocks. Its last stream is a sum of how many writes?",
            ("25", "The embeddings, and two from each block: $1 + 2 \\cdot 12$."),
            (
                ("12", "A block writes twice, by its attention and by its MLP."),
                ("13", "That counts one write for each block; there are two."),
                ("24", "The embeddings are the first write, and they stay in the sum."),
            ),
        ),
        Question(
            "block.silent_branches",
            "Everything that attention and MLP give is 0. What does a pre-norm block make of $x$?",
            (
                "$x$ itself",
                "$x + 0 + 0$: the stream runs through. That is what a residual connection is for.",
            ),
            (
                ("zeros", "So it would be without the residual connection, where a branch replaces $x$."),
                (
                    "the norm of $x$",
                    "So it would be in post-norm. In pre-norm, norms are inside the branches.",
                ),
                ("twice $x$", "Each branch adds its own answer, here 0; it does not add $x$ again."),
            ),
        ),
        Question(
            "block.ten_times",
            "LayerNorm, with weight 1 and bias 0, gets a vector ten times as long as before. What comes out?",
            (
                "nearly the same as before",
                "Mean and deviation are ten times as large too, and cancel. Only `eps` differs.",
            ),
            (
                ("ten times as much", "The division by the deviation, also ten times as large, undoes it."),
                (
                    "$\\sqrt{10}$ times as much",
                    "The variance grows by 100, and its root by 10: all of it cancels.",
                ),
                ("a tenth as much", "The deviation grows by 10, but so does what it divides."),
            ),
        ),
        Question(
            "block.wrong_axis",
            "`x` is (batch, seq, d_model), and a norm takes `x.mean(dim=1)`. What happens in training?",
            (
                "the loss falls, by cheating",
                "Every position knows something of those after it: a leak. When it writes, there are none to look at.",
            ),
            (
                (
                    "an error, for shapes do not fit",
                    "With `keepdim=True` they do. That is the danger: nothing complains.",
                ),
                (
                    "nothing: mean 0 is mean 0",
                    "Each feature has mean 0 over the positions, so each position depends on all.",
                ),
                (
                    "the gradient vanishes",
                    "It flows well, even from later positions into earlier ones. That is the trouble.",
                ),
            ),
        ),
        Question(
            "block.no_bend",
            "Someone leaves GELU out of the MLP. What can `down(up(x))` do that one linear layer cannot?",
            ("nothing", "$(xA)B = x(AB)$: four times as wide, and it still collapses into one matrix."),
            (
                ("answer “red or blue, but not both”", "No straight line answers that; it needs a bend."),
                (
                    "remember more, for it is wider",
                    "It has more numbers, but they do the work of one $d \\times d$ matrix.",
                ),
                ("work on several positions", "An MLP never does, with a bend or without; attention does."),
            ),
        ),
        Question(
            "block.find_the_error",
            "A block says `x = norm(x)`, then `x = x + attention(x)`. What was lost?",
            (
                "the stream as it was before the norm",
                "It should be `x = x + attention(norm(x))`. Here each block rescales all that was written before.",
            ),
            (
                ("the residual connection", "There is one: `x +`. But what it adds to is already normed."),
                (
                    "nothing, this is pre-norm",
                    "In pre-norm the norm stands inside the branch, and `x` itself stays as it is.",
                ),
                (
                    "the norm before attention",
                    "Attention does read a normed vector. What it adds to should not be.",
                ),
            ),
        ),
        Question(
            "block.twice_as_wide",
            "You double $d$. What happens to the number of parameters in a block?",
            ("about 4 times as many", "A block has about $12 d^2$, and $(2d)^2 = 4 d^2$."),
            (
                ("twice as many", "So grow the embeddings. A block's matrices get longer and wider."),
                ("about 3 times as many", "Attention with $4 d^2$ and the MLP with $8 d^2$ both grow by 4."),
                ("about 8 times as many", "Matrices have two sides, so it is $2^2$, not $2^3$."),
            ),
        ),
    ),
    objectives=(
        ("block.through_stack", "block.count_writes", "block.silent_branches"),
        ("block.layer_norm", "block.ten_times", "block.wrong_axis"),
        ("block.gelu", "block.no_bend"),
        (
            "block.PreNormBlock",
            "block.gradient_arrives",
            "block.deep_and_hot",
            "block.find_the_error",
            "block.skip_or_cut",
        ),
        ("block.twice_as_wide",),
    ),
)
