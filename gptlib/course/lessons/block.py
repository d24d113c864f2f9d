"""The block that a GPT stacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.model.blocks import Block, gelu
from gptlib.model.config import GPTConfig
from gptlib.model.norms import layer_norm
from gptlib.viz import figures
from gptlib.viz.drawing import Drawing


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
    """A stream, (…, seq, d_model), and a matrix for each branch.

    One of three is (seq, seq): it mixes the positions, as attention does.
    """
    for *shape, d_model, n_branches in ((1, 2, 2), (3, 2, 3), (2, 3, 4, 3)):
        sizes = [shape[-1] if number == 1 and n_branches == 3 else d_model for number in range(n_branches)]
        matrices = [torch.randn(size, size, generator=generator) for size in sizes]
        yield torch.randn(*shape, d_model, generator=generator), matrices


def with_linear_branches(answer: Callable[..., Tensor], x: Tensor, matrices: list[Tensor]) -> Tensor:
    def branch(matrix: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda x: x @ matrix if len(matrix) == d_model else matrix @ x

    d_model = x.shape[-1]
    return answer(x, [branch(matrix) for matrix in matrices])


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


def returned_early(x: Tensor, branches: list[Callable[[Tensor], Tensor]]) -> Tensor:
    return x + branches[0](x)


def last_alone(x: Tensor, branches: list[Callable[[Tensor], Tensor]]) -> Tensor:
    return x + branches[-1](x)


def read_the_last_write(x: Tensor, branches: list[Callable[[Tensor], Tensor]]) -> Tensor:
    stream = x
    for branch in branches:
        x = branch(x)
        stream = stream + x
    return stream


def around_the_whole(x: Tensor, branches: list[Callable[[Tensor], Tensor]]) -> Tensor:
    return x + replaced(x, branches)


def one_by_one(x: Tensor, branches: list[Callable[[Tensor], Tensor]]) -> Tensor:
    return torch.stack([through_stack(vector, branches) for vector in x])


def averaged(x: Tensor, branches: list[Callable[[Tensor], Tensor]]) -> Tensor:
    for branch in branches:
        x = (x + branch(x)) / 2
    return x


def vectors_to_norm(generator: Generator) -> Iterator[tuple[Any, ...]]:
    """Vectors, (…, d_model), with a weight, a bias and, for the last ones, another eps.

    The second ones are so short that a missing eps is plain to see. The last are as many as they are long, so
    that a lost dimension raises no error.
    """
    for *shape, size, apart in ((2, 3, 2.0, 2.0), (2, 4, 0.003, 0.0), (2, 3, 5, 3.0, 1.0), (3, 3, 1.0, 1.0)):
        x = F.layer_norm(torch.randn(*shape, generator=generator), shape[-1:])
        n_vectors = math.prod(shape[:-1])
        means = apart * torch.arange(1.0, n_vectors + 1).view(*shape[:-1], 1)  # told apart if normed as one
        weight = 0.5 + torch.rand(shape[-1], generator=generator)
        eps = (0.2,) if shape == [3, 3] else ()
        yield size * x + means, weight, torch.randn(shape[-1], generator=generator), *eps


def normed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    dim: int | None = -1,
    correction: int = 0,
    keepdim: bool = True,
) -> Tensor:
    mean, variance = x.mean(dim, keepdim=keepdim), x.var(dim, keepdim=keepdim, correction=correction)
    return weight * (x - mean) / torch.sqrt(variance + eps) + bias


def normed_by(divisor: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return weight * (x - x.mean(-1, keepdim=True)) / divisor + bias


def bent(inner: Tensor, x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(inner))


def numbers(generator: Generator) -> Iterator[tuple[Tensor]]:
    yield (torch.tensor([-2.0, -0.5, 1.0]),)
    yield (torch.tensor([-20.0, 3.0, 20.0]),)  # a tanh made of exponentials fails so far out
    yield (3 * torch.randn(2, 3, generator=generator),)
    yield (torch.randn(2, 3, 4, generator=generator),)


def streams(generator: Generator) -> Iterator[tuple[Tensor]]:
    for batch, seq, d_model in ((1, 2, 4), (1, 3, 4), (2, 5, 8)):
        yield (2 * torch.randn(batch, seq, d_model, generator=generator),)


def made_of_parts(answer: Callable[..., Any], x: Tensor) -> Tensor:
    """Makes the block of four random parts, changes what parameters torch finds in it, and sends x through it."""
    d_model = x.shape[-1]
    parts = Block(GPTConfig(vocab_size=2, context_length=8, n_layers=1, n_heads=2, d_model=d_model))
    for parameter in parts.parameters():
        nn.init.normal_(parameter.requires_grad_(False), std=0.25)
    block = answer(parts.attention_norm, parts.attention, parts.mlp_norm, parts.mlp)
    for parameter in block.parameters():
        parameter.mul_(2)  # as an optimizer would, which is given these
    return block(x)


def wired(forward: Callable[..., Tensor]) -> type[nn.Module]:
    """A block that does what `forward` says with its four parts and x."""

    class Wired(PreNormBlock):
        def forward(self, x: Tensor) -> Tensor:
            return forward(self.attention_norm, self.attention, self.mlp_norm, self.mlp, x)

    return Wired


class InAList(nn.Module):
    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = [*parts]

    def forward(self, x: Tensor) -> Tensor:
        attention_norm, attention, mlp_norm, mlp = self.parts
        x = x + attention(attention_norm(x))
        return x + mlp(mlp_norm(x))


def no_second_residual(
    norm_1: nn.Module, attention: nn.Module, norm_2: nn.Module, mlp: nn.Module, x: Tensor
) -> Tensor:
    return mlp(norm_2(x + attention(norm_1(x))))


def around_both(
    norm_1: nn.Module, attention: nn.Module, norm_2: nn.Module, mlp: nn.Module, x: Tensor
) -> Tensor:
    return x + mlp(norm_2(attention(norm_1(x))))


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


def no_norms(norm_1: nn.Module, attention: nn.Module, norm_2: nn.Module, mlp: nn.Module, x: Tensor) -> Tensor:
    x = x + attention(x)
    return x + mlp(x)


def normed_answers(
    norm_1: nn.Module, attention: nn.Module, norm_2: nn.Module, mlp: nn.Module, x: Tensor
) -> Tensor:
    x = x + norm_1(attention(x))
    return x + norm_2(mlp(x))


def norms_swapped(
    norm_1: nn.Module, attention: nn.Module, norm_2: nn.Module, mlp: nn.Module, x: Tensor
) -> Tensor:
    x = x + attention(norm_2(x))
    return x + mlp(norm_1(x))


def from_the_start(
    norm_1: nn.Module, attention: nn.Module, norm_2: nn.Module, mlp: nn.Module, x: Tensor
) -> Tensor:
    return x + mlp(norm_2(x + attention(norm_1(x))))


def before_any_block(log_probabilities: Tensor, inputs: Tensor, targets: Tensor) -> str:
    """What is read from the embeddings alone: (batch, seq, vocab), with the tokens read and those that follow."""
    sureness, likeliest = log_probabilities.exp().max(dim=-1)
    return "\n".join(
        (
            "the token that is rated likeliest before any block",
            f"  is the token just read at       {(likeliest == inputs).float().mean():5.0%} of the positions",
            f"  is the token that follows at    {(likeliest == targets).float().mean():5.0%} of the positions",
            f"  has a mean probability of       {sureness.mean():5.2f}",
        )
    )


def two_readings(as_it_is: list[float], translated: list[float]) -> Drawing:
    """The losses of readings at each depth, as they are and through a fitted matrix."""
    depths = range(len(as_it_is))
    return figures.line_chart(
        {"as it is": (depths, as_it_is), "through a matrix": (depths, translated)},
        title="The loss of early readings, as they are and through a fitted matrix",
        x_label="depth: number of blocks below (0 = the embeddings)",
        y_label="loss (nats per token)",
        log_y=True,
    )


def losses_at_rates(ends: dict[str, dict[float, float]], by_frequency: float) -> Drawing:
    """The last losses of each wiring at each learning rate. A run that diverged has no point."""
    learned = {
        wiring: [(rate, loss) for rate, loss in losses.items() if math.isfinite(loss)]
        for wiring, losses in ends.items()
    }
    return figures.line_chart(
        {wiring: tuple(zip(*points, strict=True)) for wiring, points in learned.items() if points},
        title="The mean loss of the last 20 of 80 steps, twelve blocks deep",
        x_label="learning rate",
        y_label="loss (nats per letter)",
        log_x=True,
        marks={"letter frequencies": by_frequency},
    )


THROUGH_STACK = Exercise(
    name="block.through_stack",
    reference=through_stack,
    inputs=a_stream_and_matrices,
    use=with_linear_branches,
    buys="With attention and MLPs as its branches, this loop is the middle of every GPT.",
    hints=(
        "A branch reads the stream in its current state, and what it returns is added to the stream.",
        "x is (…, d_model) before and after, and so is everything that a branch returns.",
        "In a loop over the branches, the next x is x plus branch(x). Return x after the loop.",
    ),
    misconceptions=(
        Misconception(
            "replaced",
            "each branch replaced the stream with its answer, as in a plain stack. Add the answer to what was there.",
            replaced,
        ),
        Misconception(
            "around_the_whole",
            "there is a single residual connection around the whole stack, and inside it each branch replaces the stream. Put one around every branch.",
            around_the_whole,
        ),
        Misconception(
            "added_to_the_start",
            "each answer was added to the stream as it was at the start, so what earlier branches wrote is missing from the sum. Add each answer to the current stream.",
            added_to_the_start,
        ),
        Misconception(
            "read_the_start",
            "all branches read the stream as it was at the start. Each branch should read the stream after all earlier branches have written to it.",
            read_the_start,
        ),
        Misconception(
            "averaged",
            "you took the mean of the stream and the answer, so every branch halves what was there. Add the answer to the stream instead.",
            averaged,
        ),
        Misconception(
            "returned_early",
            "only the first branch has written. Is the `return` inside the loop? It should come after the loop.",
            returned_early,
        ),
        Misconception(
            "last_alone",
            "only the last branch has written, and it wrote to the stream as it was at the start. Pass each sum on to the next branch: x = x + branch(x).",
            last_alone,
        ),
        Misconception(
            "read_the_last_write",
            "the sum has one write from each branch, but each branch read only what the one before it wrote. It should read the whole sum so far.",
            read_the_last_write,
        ),
        Misconception(
            "writes_alone",
            "you added up the writes but left out the `x` that came in. It is the first term of the sum.",
            lambda x, branches: through_stack(x, branches) - x,
        ),
        Misconception(
            "writes_of_the_start",
            "all branches read the initial x, and that x itself is missing from the sum. Begin with x, and let each branch read the sum so far.",
            lambda x, branches: read_the_start(x, branches) - x,
        ),
        Misconception(
            "one_by_one",
            "each vector was sent through the branches by itself, but a branch takes the whole stream: attention reads several positions. Call each branch with all of x.",
            one_by_one,
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
    buys="Branches can now read stream vectors of any length. LayerNorm runs twice in every block.",
    hints=(
        "Treat each vector by itself: subtract its mean, divide by the square root of its variance, then scale and shift.",
        "x is (…, d_model). Mean and variance are (…, 1), so use keepdim=True; weight and bias are (d_model,).",
        "Compute weight times (x minus mean), divided by the square root of (variance plus eps), plus bias. "
        "The variance divides by n: x.var(dim=-1, keepdim=True, correction=0).",
    ),
    misconceptions=(
        Misconception(
            "over_first_dimension",
            "mean and variance are taken over the first dimension, so the vectors depend on one another. Normalize each vector by itself: dim=-1.",
            lambda x, weight, bias, eps=1e-5: normed(x, weight, bias, eps, dim=0),
        ),
        Misconception(
            "over_positions",
            "mean and variance are taken over the positions, dim=-2, so a word sees those after it. Normalize each vector by itself: dim=-1.",
            lambda x, weight, bias, eps=1e-5: normed(x, weight, bias, eps, dim=-2),
        ),
        Misconception(
            "over_dim_1",
            "mean and variance are taken over dim=1. Those are the features only where x is (seq, d_model). With a batch in front, they are the positions. Use dim=-1.",
            lambda x, weight, bias, eps=1e-5: normed(x, weight, bias, eps, dim=1),
        ),
        Misconception(
            "over_everything",
            "mean and variance are taken over all numbers of x together. Normalize each vector by itself: dim=-1.",
            lambda x, weight, bias, eps=1e-5: normed(x, weight, bias, eps, dim=None),
        ),
        Misconception(
            "no_keepdim",
            "the mean and variance of a vector were combined with the numbers of other vectors, or did not fit at all, because they lost the last dimension. Keep it: keepdim=True.",
            lambda x, weight, bias, eps=1e-5: normed(x, weight, bias, eps, keepdim=False),
        ),
        Misconception(
            "sample_variance",
            "the variance divides by n − 1, which is torch's default. LayerNorm divides by n: correction=0.",
            lambda x, weight, bias, eps=1e-5: normed(x, weight, bias, eps, correction=1),
        ),
        Misconception(
            "sample_deviation",
            "the variance divides by n − 1, which is torch's default, and eps was added outside the square root. LayerNorm divides by n (correction=0), and eps belongs inside the square root.",
            lambda x, weight, bias, eps=1e-5: normed_by(x.std(-1, keepdim=True) + eps, x, weight, bias),
        ),
        Misconception(
            "eps_outside",
            "eps was added outside the square root. It belongs inside, where it is added to the variance. For a short vector the difference is easy to see.",
            lambda x, weight, bias, eps=1e-5: normed_by(
                x.std(-1, keepdim=True, correction=0) + eps, x, weight, bias
            ),
        ),
        Misconception(
            "eps_ignored",
            "`eps` was not used: what is added to the variance is 1e-5, whatever was passed in. Add `eps` instead.",
            lambda x, weight, bias, eps=1e-5: normed(x, weight, bias, 1e-5),
        ),
        Misconception(
            "no_root",
            "you divided by the variance. Divide by its square root, the standard deviation; that is what brings the variance to 1.",
            lambda x, weight, bias, eps=1e-5: normed_by(
                x.var(-1, keepdim=True, correction=0) + eps, x, weight, bias
            ),
        ),
        Misconception(
            "rms_norm",
            "you divided by the square root of the mean square and did not subtract the mean. That is RMSNorm, which many later models use. LayerNorm subtracts the mean first.",
            lambda x, weight, bias, eps=1e-5: (
                weight * x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) + bias
            ),
        ),
        Misconception(
            "not_scaled",
            "each vector has mean 0 and variance 1, but weight and bias were not used. Multiply by weight, then add bias.",
            lambda x, weight, bias, eps=1e-5: normed(x, torch.ones_like(weight), torch.zeros_like(bias), eps),
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
    buys="This is the formula that GPT-2 uses for the bend in every MLP.",
    hints=(
        "Multiply each number by (nearly) the chance that a standard normal random number is below it.",
        "The formula is applied to each number separately, so the result has the shape of x.",
        "Compute 0.5 times x times (1 + tanh(√(2/π) times (x + 0.044715 x³))). torch.tanh gives the tanh.",
    ),
    misconceptions=(
        Misconception(
            "relu",
            "that is the ReLU, which has a corner at 0 and no slope below it. The GELU bends smoothly.",
            lambda x: x.clamp(min=0),
        ),
        Misconception(
            "exact",
            "this is the exact GELU, with erf. GPT-2 was trained with the tanh formula, which differs from it by up to 0.0005.",
            lambda x: F.gelu(x),
        ),
        Misconception(
            "sigmoid",
            "you used x · sigmoid(1.702 x), another approximation, which is off by up to 0.02. GPT-2 uses the formula with tanh.",
            lambda x: x * torch.sigmoid(1.702 * x),
        ),
        Misconception(
            "chance_alone",
            "you returned the chance alone, which is between 0 and 1. Multiply it by x, so that large numbers pass almost unchanged.",
            lambda x: bent(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3), torch.ones_like(x)),
        ),
        Misconception(
            "no_half",
            "every number is twice as large as it should be. 1 + tanh goes up to 2, and the chance is half of that.",
            lambda x: 2 * bent(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3), x),
        ),
        Misconception(
            "no_one",
            "the 1 in front of the tanh is missing. The tanh goes from −1 to 1, and half of 1 + tanh goes from 0 to 1, as a chance does.",
            lambda x: 0.5 * x * torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)),
        ),
        Misconception(
            "squared",
            "x was squared where the formula has the third power. A square loses the sign of x.",
            lambda x: bent(math.sqrt(2 / math.pi) * (x + 0.044715 * x**2), x),
        ),
        Misconception(
            "no_root",
            "the factor in the tanh is 2/π. It should be the square root of that, √(2/π), about 0.8.",
            lambda x: bent(2 / math.pi * (x + 0.044715 * x**3), x),
        ),
        Misconception(
            "root_of_two_alone",
            "the factor in the tanh is √2/π, about 0.45. The root should cover the whole fraction: √(2/π), about 0.8.",
            lambda x: bent(math.sqrt(2) / math.pi * (x + 0.044715 * x**3), x),
        ),
        Misconception(
            "factor_on_x_alone",
            "√(2/π) multiplies x alone, because parentheses are missing. It should multiply the whole sum, x + 0.044715 x³.",
            lambda x: bent(math.sqrt(2 / math.pi) * x + 0.044715 * x**3, x),
        ),
        Misconception(
            "no_cube",
            "the third power is missing inside the tanh. There, √(2/π) multiplies the sum x + 0.044715 x³.",
            lambda x: bent(math.sqrt(2 / math.pi) * x, x),
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
    buys="Twelve of these, with an embedding below and a norm on top, are the smallest GPT-2.",
    hints=(
        "There are two branches, one after the other. Each reads the stream through its own norm, and its answer is added to the stream itself.",
        "x is (batch, seq, d_model), and so is everything that any of the four parts takes or returns.",
        "In __init__, store the four parts on self. In forward, x becomes x plus the attention of the attention_norm of x. "
        "Return this new x plus the mlp of its mlp_norm.",
    ),
    misconceptions=(
        Misconception(
            "no_residual",
            "each branch replaces the stream. Add what it returns to x.",
            wired(lambda norm_1, attention, norm_2, mlp, x: mlp(norm_2(attention(norm_1(x))))),
        ),
        Misconception(
            "no_second_residual",
            "the MLP's answer replaces the stream. It needs a residual connection too: add it to the x that attention has written to.",
            wired(no_second_residual),
        ),
        Misconception(
            "around_both",
            "one residual connection goes around attention and MLP together. Each of the two needs its own.",
            wired(around_both),
        ),
        Misconception(
            "post_norm",
            "the norms come after the additions, so the stream itself is normalized. That is post-norm. In GPT-2 there is a norm in front of each branch.",
            wired(post_norm),
        ),
        Misconception(
            "normed_stream",
            "the branches add to a normalized x. Normalize only what a branch reads, and add its answer to the original x.",
            wired(normed_stream),
        ),
        Misconception(
            "normed_answers",
            "the norms come after the branches, so what they write is normalized. Normalize what a branch reads: x + attention(norm(x)). If forward already says so, look at the order of the arguments in __init__.",
            wired(normed_answers),
        ),
        Misconception(
            "no_norms",
            "both branches read the stream directly, and the norms are not used. Each branch should read through its own norm.",
            wired(no_norms),
        ),
        Misconception(
            "one_norm",
            "both branches read through attention_norm. The MLP has a norm of its own, with its own weight and bias.",
            wired(one_norm),
        ),
        Misconception(
            "norms_swapped",
            "the two norms are swapped: attention reads through mlp_norm, and the MLP through attention_norm.",
            wired(norms_swapped),
        ),
        Misconception(
            "parallel",
            "the MLP reads the stream as it was before attention wrote to it. It should work on what attention has gathered.",
            wired(parallel),
        ),
        Misconception(
            "from_the_start",
            "what attention wrote is not in the result. The MLP's answer is added to the original x; add it to the x that attention has written to.",
            wired(from_the_start),
        ),
        Misconception(
            "not_found",
            "the output is right, but torch does not find the parameters of the parts, so an optimizer could not train them. Keep each part as an attribute of its own, such as self.mlp = mlp: torch does not look into lists or dictionaries.",
            InAList,
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
        Prediction(
            "block.before_any_block",
            "Storyteller's stream is read before any block has written into it: the embeddings go straight to the final norm and the "
            "unembedding. Which token is rated likeliest to come next?",
            (
                "the same token again",
                "Storyteller uses one table for embedding and unembedding, and so far the stream holds little besides the token's own row of that table. It hardly ever matches another row better.",
            ),
            (
                (
                    "a frequent token, such as a period",
                    "The model knows how frequent each token is, but that is not what the embedding of a token points to.",
                ),
                (
                    "the token that most often follows the current one",
                    "For that, the vector would have to point toward the row of the following token. So far it points toward its own row.",
                ),
                (
                    "none: all are about equally likely",
                    "The reading is anything but undecided: on average its favorite gets nearly all of the probability.",
                ),
            ),
            shows=before_any_block,
            finding="Read this early, storyteller repeats the token that it has read, and it is almost certain of that token. So the first thing that the "
            "blocks have to do is to outweigh the token's own vector.",
        ),
        Prediction(
            "block.translated",
            "Read as it is, the stream after block 0 gives a loss of about 6.3; blind guessing gives 7.6. Now a matrix is fitted, on other stories, "
            "to translate this stream before the final norm. How far does the loss fall?",
            (
                "to less than 2",
                "Most of what the model can predict was in the stream after block 0, but written in directions that the unembedding does not read.",
            ),
            (
                (
                    "hardly at all: block 0 has found little yet",
                    "A high loss says that the unembedding cannot read what block 0 wrote. It does not say that nothing is there.",
                ),
                (
                    "to about 4, the loss read after block 1",
                    "That would mean that the matrix achieves about as much as the next block. But it only has to turn what is already there into the "
                    "directions that the unembedding reads, and it is fitted for that alone.",
                ),
                (
                    "to 0.5, the loss of the whole model",
                    "Then the other three blocks would add nothing that a matrix could not.",
                ),
            ),
            shows=two_readings,
            finding="Through a fitted matrix, the stream after block 0 predicts far better than the unembedding alone suggested. The loss is even lower than "
            "that of the reading after block 2 without a matrix.\n\nIs it the matrix that does the work? The point at depth 0 is the control: a matrix that is fitted in the same way gets far less out of the embeddings "
            "alone. The rest of the gain comes from block 0.\n\nSo an early reading answers a narrow question. It says at which depth something first becomes readable "
            "**with the unembedding**, and not at which depth it was found.",
        ),
        Prediction(
            "block.gradient_arrives",
            "Twenty-four blocks are stacked in each of the four wirings. In which of them does hardly any of the gradient reach "
            "the bottom after passing down through all the blocks?",
            (
                "in the plain stack alone",
                "A residual connection keeps the gradient alive, and here a norm by itself does too.",
            ),
            (
                (
                    "in the two without a residual connection",
                    "The norm makes up for the missing connection here: it scales the vectors up again in each block, and the gradient with them.",
                ),
                (
                    "in all but pre-norm",
                    "Post-norm also has a residual connection, and “norm only” has a norm. Here either one is enough to bring the gradient down to the bottom.",
                ),
                (
                    "in none: these initial weights prevent it",
                    "They preserve sizes in a single linear layer. But a block also averages and bends, and both make vectors shorter.",
                ),
            ),
            shows=lambda arriving: figures.line_chart(
                {wiring: (range(len(norms)), norms) for wiring, norms in arriving.items()},
                title="The plain stack loses its gradient on the way down; a norm or a residual saves it",
                x_label="depth: number of blocks below (0 = the embeddings)",
                y_label="length of the gradient in the stream",
                log_y=True,
            ),
            finding="The axis is logarithmic, and the gradient travels from right to left. In the plain stack, almost every block divides the gradient by about 3 or 4, and after "
            "24 blocks next to nothing is left. With these weights, the norm alone is enough to prevent that. In every block it divides the shrunken vectors "
            "by their small size, and on the way back the gradient is divided by the same small number, so it grows again.",
        ),
        Prediction(
            "block.words_alike",
            "In the same four stacks we now follow the vectors on their way up. At the bottom they are random, so the mean cosine between positions is near 0. "
            "In which wirings are the positions nearly alike at the top, with a mean cosine above 0.95?",
            (
                "in all but pre-norm",
                "Without a residual connection it takes only a few blocks. Post-norm takes longer but gets there too.",
            ),
            (
                (
                    "in the plain stack alone",
                    "A norm mainly changes how long a vector is, not which way it points, so it does not keep two positions from becoming alike.",
                ),
                (
                    "in the two without a residual connection",
                    "These two are the fastest. But post-norm normalizes the stream itself at every branch, and it gets there too.",
                ),
                (
                    "in none: they start out random",
                    "They do, but then every attention layer mixes some of each position into the later ones.",
                ),
            ),
            shows=lambda likeness: figures.line_chart(
                {wiring: (range(len(values)), values) for wiring, values in likeness.items()},
                title="How alike the positions are at each depth",
                x_label="depth: number of blocks below (0 = the embeddings)",
                y_label="mean cosine between positions",
            ),
            finding="Without a residual connection, a few blocks make all positions alike. A gradient that arrives at the bottom of such a stack is of little use, because "
            "from equal vectors the model can only make the same prediction everywhere. In post-norm the positions become alike more slowly, but at the top they are nearly as similar. "
            "Pre-norm keeps them apart best, though they become more similar there too.",
        ),
        Prediction(
            "block.skip_or_cut",
            "Storyteller has blocks 0 to 3, and we break one of them at a time. Either the block is **skipped**, so that it writes nothing and the stream flows past it, or the "
            "stream is **cut**, so that what the block writes replaces it. Which costs more?",
            (
                "skipping at block 0, cutting at the others",
                "Below block 0 there is little to lose. At each later block the stream carries the work of the blocks below.",
            ),
            (
                (
                    "cutting, at every block",
                    "A cut loses what all the blocks below have written. But below block 0 there are no blocks.",
                ),
                (
                    "skipping, at every block",
                    "Skipping a block loses only its own writes. A cut loses all the writes before it.",
                ),
                (
                    "about the same, at every block",
                    "Skipping takes one block's writes out of the sum; cutting takes out everything written before. Here the two costs differ at every block.",
                ),
            ),
            shows=lambda losses, whole: figures.bar_chart(
                list(losses),
                list(losses.values()),
                title="The loss when one block is skipped, and when its stream is cut",
                label="loss (nats per token)",
                highlight=[name for name in losses if name.startswith("cut")],
                marks={"whole model": whole},
            ),
            finding="Cutting the stream at block 0 costs next to nothing. The lengths in section 1 suggest why: once block 0 has written, the embeddings are a tiny part of the "
            "stream, so the later blocks depend on what block 0 made of them. That would also explain why skipping block 0 costs the most. At each later block the stream "
            "carries the work of the blocks below, and losing that costs more than losing the block itself.",
        ),
        Prediction(
            "block.deep_and_hot",
            "Stacks of twelve blocks learn to predict letters, for 80 steps of Adam without a warm-up. Each of the four wirings is tried at the learning rates 0.001, 0.003 and 0.01. "
            "Which of them end clearly below the loss that letter frequencies alone give?",
            (
                "pre-norm at all three rates, post-norm at the lower two",
                "Post-norm can learn, but not at the highest of these rates.",
            ),
            (
                (
                    "pre-norm alone, at all three rates",
                    "Post-norm keeps up with it at the lower two rates. It has a residual connection too.",
                ),
                (
                    "pre-norm and post-norm, at all three rates",
                    "At the highest of these rates, it does matter where the norm goes.",
                ),
                (
                    "all but the plain stack, at one rate at least",
                    "With “norm only” the gradient arrives, but the positions become alike within a few blocks, and then only letter frequencies can be learned.",
                ),
            ),
            shows=losses_at_rates,
            finding="At the lower two rates post-norm and pre-norm end up together. At the highest rate pre-norm has its lowest loss, while post-norm "
            "gets no further than the frequencies of the letters. So post-norm is able to learn here, but it needs smaller steps.\n\nThe two stacks without a residual connection "
            "stay at the letter frequencies at every rate.",
        ),
    ),
    quiz=(
        Question(
            "block.count_writes",
            "A GPT has 12 blocks. How many writes does the stream contain after the last of them?",
            ("25", "The embeddings, and two from each block: $1 + 2 \\cdot 12$."),
            (
                ("12", "A block writes twice, once with its attention and once with its MLP."),
                ("13", "That counts one write for each block, but there are two."),
                ("24", "The embeddings are the first write, so they belong to the sum as well."),
            ),
        ),
        Question(
            "block.silent_branches",
            "Suppose that attention and the MLP return only zeros. What does a pre-norm block return for $x$?",
            (
                "$x$ itself",
                "$x + 0 + 0$: the stream passes through unchanged, because of the residual connections.",
            ),
            (
                ("zeros", "That is the result without a residual connection, where a branch replaces $x$."),
                (
                    "the norm of $x$",
                    "That is the result in post-norm. In pre-norm the norms are inside the branches.",
                ),
                ("twice $x$", "Each branch adds its own answer, here 0. It does not add $x$ again."),
            ),
        ),
        Question(
            "block.ten_times",
            "Every number of a vector is multiplied by 10. How does that change what LayerNorm returns, with weight 1 and bias 0?",
            (
                "hardly at all",
                "Mean and standard deviation are ten times as large too, so the factor cancels. Only `eps` makes a tiny difference.",
            ),
            (
                (
                    "it is ten times as large",
                    "The standard deviation is ten times as large too, and dividing by it undoes the factor.",
                ),
                (
                    "it is $\\sqrt{10}$ times as large",
                    "The variance grows by a factor of 100 and its square root by a factor of 10, so the factor cancels.",
                ),
                (
                    "it is a tenth as large",
                    "The standard deviation grows by a factor of 10, but so does what is divided by it.",
                ),
            ),
        ),
        Question(
            "block.wrong_axis",
            "`x` is (batch, seq, d_model), and a norm computes mean and variance over `dim=1`. What can happen in training?",
            (
                "the loss falls because the model cheats",
                "Each position sees something of the positions after it, which is a leak. When the model writes text, there is nothing after it to see.",
            ),
            (
                (
                    "an error, because the shapes do not fit",
                    "They do fit, and that is the danger: there is no error message.",
                ),
                (
                    "nothing, because the mean is 0 either way",
                    "Here each feature has mean 0 over the positions, so every position depends on all the others.",
                ),
                (
                    "the gradient vanishes",
                    "It does not. It even flows between positions in both directions, and that is the problem.",
                ),
            ),
        ),
        Question(
            "block.no_bend",
            "Someone leaves the GELU out of the MLP. What can `down(up(x))` do that one linear layer cannot?",
            (
                "nothing",
                "$(xA)B = x(AB)$. The two layers are four times as wide in the middle, but they still collapse into one matrix.",
            ),
            (
                (
                    "answer “red or blue, but not both”",
                    "No linear layer can answer that, and two in a row amount to one linear layer.",
                ),
                (
                    "remember more, because it is wider",
                    "It has more numbers, but together they do only what a single $d \\times d$ matrix can do.",
                ),
                (
                    "work on several positions",
                    "An MLP never does that, with or without a bend. Attention does.",
                ),
            ),
        ),
        Question(
            "block.find_the_error",
            "A block says `x = norm(x)`, then `x = x + attention(x)`. What was lost?",
            (
                "the stream as it was before the norm",
                "It should be `x = x + attention(norm(x))`. Here each block rescales everything that was written before it.",
            ),
            (
                (
                    "the residual connection",
                    "There is one, the `x +`. But the `x` that it adds to has already been normalized.",
                ),
                (
                    "nothing, this is pre-norm",
                    "In pre-norm the norm is inside the branch, and `x` itself is not normalized.",
                ),
                (
                    "the norm in front of attention",
                    "Attention does read a normalized vector. But its answer should be added to the `x` that was not normalized.",
                ),
            ),
        ),
        Question(
            "block.twice_as_wide",
            "You double $d$. What happens to the number of parameters in a block?",
            (
                "it becomes about 4 times as large",
                "A block has about $12 d^2$ parameters, and $(2d)^2 = 4 d^2$.",
            ),
            (
                (
                    "it becomes twice as large",
                    "The embeddings grow like that. But most of a block's parameters are in matrices that grow in both directions.",
                ),
                (
                    "it becomes about 3 times as large",
                    "Attention with its $4 d^2$ and the MLP with its $8 d^2$ both grow by a factor of 4.",
                ),
                (
                    "it becomes about 8 times as large",
                    "A matrix has two sides, so the factor is $2^2$ and not $2^3$.",
                ),
            ),
        ),
    ),
    objectives=(
        ("block.through_stack", "block.count_writes", "block.before_any_block", "block.translated"),
        ("block.layer_norm", "block.ten_times", "block.wrong_axis"),
        ("block.gelu", "block.no_bend"),
        (
            "block.PreNormBlock",
            "block.silent_branches",
            "block.gradient_arrives",
            "block.words_alike",
            "block.skip_or_cut",
            "block.deep_and_hot",
            "block.find_the_error",
        ),
        ("block.twice_as_wide",),
    ),
)
