"""What a model costs, and how good it will be, before it is trained."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Generator, Tensor, nn

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.model.config import GPTConfig
from gptlib.scaling.costs import cache_memory
from gptlib.scaling.laws import Law, power_law
from gptlib.viz import figures


def flops_of_linear(n_tokens: int, n_in: int, n_out: int) -> int:
    forward = 2 * n_tokens * n_in * n_out
    return 3 * forward  # one product forward; two backward, for the weights and for the input


def cache_bytes(config: GPTConfig, batch_size: int, n_tokens: int, bytes_per_number: int) -> int:
    return cache_memory(config, batch_size, n_tokens, bytes_per_number)


CACHE_BYTES_SOURCE = """
def cache_bytes(config, batch_size, n_tokens, bytes_per_number):
    in_one_layer = 2 * batch_size * config.kv_heads * n_tokens * config.d_head  # keys and values
    return bytes_per_number * config.n_layers * in_one_layer
"""

POWER_LAW_SOURCE = """
def power_law(x, y):
    exponent, start = np.polyfit(np.log(x), np.log(y), 1)
    return float(np.exp(start)), float(exponent)
"""


def optimum(A: float, alpha: float, B: float, beta: float, flops: float) -> tuple[float, float]:
    return Law(A=A, alpha=alpha, B=B, beta=beta, floor=0.0, cost=6.0, growth=1.0).optimum(flops)


OPTIMUM_SOURCE = """
def optimum(A, alpha, B, beta, flops):
    balance = (alpha * A) / (beta * B)
    parameters = (balance * (flops / 6) ** beta) ** (1 / (alpha + beta))
    return parameters, flops / (6 * parameters)
"""


def accumulate(model: nn.Module, pieces: list[tuple[Int[Tensor, "_ _"], Int[Tensor, "_ _"]]]) -> float:
    total = sum(int((targets != -100).sum()) for _, targets in pieces)
    mean = 0.0
    for inputs, targets in pieces:
        logits = model(inputs)  # (batch, seq, vocab)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum") / total
        loss.backward()
        mean += loss.item()
    return mean


def some_layers(generator: Generator) -> Iterator[tuple[int, int, int]]:
    yield (1, 1, 1)
    for _ in range(3):
        yield tuple(torch.randint(2, 50, (3,), generator=generator).tolist())


def some_caches(generator: Generator) -> Iterator[tuple[GPTConfig, int, int, int]]:
    tiny = GPTConfig(vocab_size=5, context_length=3, n_layers=1, n_heads=1, d_model=2)
    yield (tiny, 1, 3, 4)
    for n_heads, kv_heads, bytes_per_number in ((6, 2, 2), (8, 4, 4), (12, 3, 1)):
        n_layers, batch_size, n_tokens = torch.randint(2, 9, (3,), generator=generator).tolist()
        config = replace(
            tiny,
            context_length=10,
            n_layers=n_layers,
            n_heads=n_heads,
            n_kv_heads=kv_heads,
            d_model=n_heads * 6,
        )
        yield (config, batch_size, n_tokens, bytes_per_number)


def some_points(generator: Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    yield (np.array([1.0, 10.0, 100.0]), np.array([2.0, 20.0, 200.0]))
    for factor, exponent in ((5.0, 0.5), (40.0, -0.3)):
        x = np.array([1e2, 1e3, 3e4, 1e5])
        noise = 0.2 * torch.randn(4, generator=generator, dtype=torch.float64).numpy()
        yield (x, factor * x**exponent * np.exp(noise))


def some_laws(generator: Generator) -> Iterator[tuple[float, float, float, float, float]]:
    yield (2.0, 0.5, 2.0, 0.5, 600.0)
    for alpha, beta in ((0.34, 0.28), (0.4, 0.7)):
        A, B = (50 + 500 * torch.rand(2, generator=generator)).tolist()
        yield (A, alpha, B, beta, 1e12)


def some_pieces(generator: Generator) -> Iterator[tuple[list[tuple[Tensor, Tensor]]]]:
    """Pieces of a batch, each with other numbers of targets that count."""
    for sizes in ([(1, 2, 2)], [(2, 3, 6), (1, 3, 1)], [(1, 4, 2), (2, 4, 7), (3, 4, 3)]):
        pieces = []
        for batch, seq, n_counting in sizes:
            inputs, targets = torch.randint(5, (2, batch, seq), generator=generator).unbind()
            targets = targets.flatten()
            targets[n_counting:] = -100
            pieces.append((inputs, targets.view(batch, seq)))
        yield (pieces,)


def gradients_left(answer: Callable[..., Any], pieces: list[tuple[Tensor, Tensor]]) -> Any:
    """The loss that comes back, and the gradient that is left in a small model of random weights."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5))
    with torch.enable_grad():
        loss = answer(model, copy.deepcopy(pieces))
    if loss is ...:
        return ...
    gradients = [parameter.grad for parameter in model.parameters()]
    if any(gradient is None for gradient in gradients):
        raise ValueError("no gradient was left in the parameters: call backward() on the loss of each piece")
    return float(loss), torch.cat([gradient.flatten() for gradient in gradients])


def _weighted(weigh: Callable[[Tensor, int, list], Tensor]) -> Callable[..., float]:
    """A wrong answer that weighs the summed loss of a piece its own way."""

    def answer(model: nn.Module, pieces: list) -> float:
        mean = 0.0
        for inputs, targets in pieces:
            summed = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="sum")
            loss = weigh(summed, int((targets != -100).sum()), pieces)
            loss.backward()
            mean += loss.item()
        return mean

    return answer


def _last_alone(model: nn.Module, pieces: list) -> float:
    total = sum(int((targets != -100).sum()) for _, targets in pieces)
    mean = 0.0
    for inputs, targets in pieces:
        model.zero_grad()
        summed = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="sum")
        (summed / total).backward()
        mean += summed.item() / total
    return mean


FLOPS_OF_LINEAR = Exercise(
    name="costs.flops_of_linear",
    reference=flops_of_linear,
    inputs=some_layers,
    buys="All products with weights are of this kind, so a sum over layers is the price of a training step.",
    hints=(
        "Forward there is one product: each token's row of n_in features times the matrix of weights.",
        "(n_tokens, n_in) @ (n_in, n_out) has 2 · n_tokens · n_in · n_out operations. The two products backward have other orders, but as many.",
        "Three times 2 times n_tokens times n_in times n_out.",
    ),
    misconceptions=(
        Misconception(
            "forward_alone",
            "that is the way forward alone. Backward, the gradient of the weights is a product, and so is the gradient of the input.",
            lambda n_tokens, n_in, n_out: 2 * n_tokens * n_in * n_out,
        ),
        Misconception(
            "one_product_back",
            "you counted one product backward. There are two: the gradient of the weights, and the gradient of the input, which the layer below needs.",
            lambda n_tokens, n_in, n_out: 4 * n_tokens * n_in * n_out,
        ),
        Misconception(
            "multiplications_alone",
            "you counted multiplications alone. Each comes with an addition, and both are operations.",
            lambda n_tokens, n_in, n_out: 3 * n_tokens * n_in * n_out,
        ),
        Misconception(
            "one_token",
            "that is for one token. Every token of the batch passes through the layer.",
            lambda n_tokens, n_in, n_out: 6 * n_in * n_out,
        ),
    ),
    minutes=4,
    difficulty=1,
)

CACHE_BYTES = Exercise(
    name="costs.cache_bytes",
    reference=cache_bytes,
    inputs=some_caches,
    buys="It says how many texts a machine can write at once, which is what decides the price of a token.",
    hints=(
        "The cache holds, for each token, what attention will need of it again: its key and its value.",
        "In one layer keys are (batch, kv_head, token, d_head), and values are as many numbers. Every layer has its own.",
        "2 · n_layers · batch_size · kv_heads · n_tokens · d_head, times the bytes of a number.",
    ),
    misconceptions=(
        Misconception(
            "keys_alone",
            "you counted the keys alone. The values are kept as well, as many numbers again.",
            lambda config, batch_size, n_tokens, bytes_per_number: (
                cache_bytes(config, batch_size, n_tokens, bytes_per_number) // 2
            ),
        ),
        Misconception(
            "all_heads",
            "you counted a key and a value for each head of queries. Grouped heads share them: there are `kv_heads` of them.",
            lambda config, batch_size, n_tokens, bytes_per_number: (
                2 * config.n_layers * batch_size * n_tokens * config.d_model * bytes_per_number
            ),
        ),
        Misconception(
            "one_layer",
            "that is one layer. Every layer has keys and values of its own.",
            lambda config, batch_size, n_tokens, bytes_per_number: (
                cache_bytes(config, batch_size, n_tokens, bytes_per_number) // config.n_layers
            ),
        ),
        Misconception(
            "numbers_not_bytes",
            "you counted numbers. Each takes `bytes_per_number` bytes.",
            lambda config, batch_size, n_tokens, bytes_per_number: cache_bytes(
                config, batch_size, n_tokens, 1
            ),
        ),
        Misconception(
            "scores",
            "you counted the scores, one for each pair of tokens. They are made anew for each token; what is kept is keys and values.",
            lambda config, batch_size, n_tokens, bytes_per_number: (
                config.n_layers * batch_size * config.n_heads * n_tokens**2 * bytes_per_number
            ),
        ),
    ),
    minutes=7,
    difficulty=2,
    source=CACHE_BYTES_SOURCE,
)

POWER_LAW = Exercise(
    name="scaling.power_law",
    reference=power_law,
    inputs=some_points,
    buys="With two numbers you can say what a budget that nobody has spent yet would give, and bet on it.",
    hints=(
        "A power law is a straight line, once both axes are logarithmic.",
        "np.log(x) and np.log(y) are (n,). The slope of the best line is the exponent, its start the logarithm of the factor.",
        "np.polyfit of the two logarithms gives slope and start; np.exp of the start is the factor.",
    ),
    misconceptions=(
        Misconception(
            "straight_line",
            "you fitted a line to x and y themselves. Take the logarithm of both first.",
            lambda x, y: tuple(np.polyfit(x, y, 1)[::-1].tolist()),
        ),
        Misconception(
            "logarithm_of_the_factor",
            "the line starts at the logarithm of the factor. np.exp leads back.",
            lambda x, y: tuple(np.polyfit(np.log(x), np.log(y), 1)[::-1].tolist()),
        ),
        Misconception(
            "swapped",
            "factor and exponent have changed places. `np.polyfit` gives the slope first, and the factor is asked for first.",
            lambda x, y: power_law(x, y)[::-1],
        ),
        Misconception(
            "two_ends",
            "you drew the line through the first and the last point. The points between have a say, too: that is what least squares is for.",
            lambda x, y: power_law(x[[0, -1]], y[[0, -1]]),
        ),
        Misconception(
            "one_logarithm",
            "you took the logarithm of y alone. A line in that plane is an exponential, not a power law.",
            lambda x, y: (np.exp(np.polyfit(x, np.log(y), 1)[1]), np.polyfit(x, np.log(y), 1)[0]),
        ),
    ),
    minutes=8,
    difficulty=2,
    source=POWER_LAW_SOURCE,
)

OPTIMUM = Exercise(
    name="scaling.optimum",
    reference=optimum,
    inputs=some_laws,
    buys="This is the plan of a training run: how large, and how long.",
    hints=(
        "Of what is spent on size, data gets less. At the best point a little more size lowers the first term by what it raises the second.",
        "With D = C / (6N) the excess is A N^-α + B (6N / C)^β. Its derivative by N is zero where α A N^-α = β B D^-β.",
        "N to the power α + β is (α A / (β B)) times (C / 6) to the power β. And D = C / (6 N).",
    ),
    misconceptions=(
        Misconception(
            "equal_terms",
            "you made the two terms of the excess equal. Their slopes cancel at the best point, and each slope has its exponent in front.",
            lambda A, alpha, B, beta, flops: optimum(A / alpha, alpha, B / beta, beta, flops),
        ),
        Misconception(
            "as_many_tokens",
            "you took as many tokens as parameters. That is best only if both terms are alike.",
            lambda A, alpha, B, beta, flops: ((flops / 6) ** 0.5, (flops / 6) ** 0.5),
        ),
        Misconception(
            "no_six",
            "you spent N · D operations. A parameter costs 6 for each token in training.",
            lambda A, alpha, B, beta, flops: optimum(A, alpha, B, beta, 6 * flops),
        ),
        Misconception(
            "swapped",
            "parameters and tokens have changed places: N is asked for first.",
            lambda A, alpha, B, beta, flops: optimum(A, alpha, B, beta, flops)[::-1],
        ),
        Misconception(
            "twenty",
            "you took twenty tokens for each parameter. That is the rule for the law of Hoffmann et al.; this law has numbers of its own.",
            lambda A, alpha, B, beta, flops: ((flops / 120) ** 0.5, 20 * (flops / 120) ** 0.5),
        ),
    ),
    minutes=12,
    difficulty=3,
    source=OPTIMUM_SOURCE,
)

ACCUMULATE = Exercise(
    name="accumulation.accumulate",
    reference=accumulate,
    inputs=some_pieces,
    use=gradients_left,
    buys="With it a batch of any size fits into any memory, and on many machines it is the same sum.",
    hints=(
        "`backward()` adds to the gradients that are there. So only the weight of each piece needs thought.",
        "The loss of the whole is the sum over all tokens that count, divided by how many there are in all pieces together.",
        "First count the targets that are not -100 in all pieces. Then, for each piece: the summed loss divided by that count, backward, and add it to what you return.",
    ),
    misconceptions=(
        Misconception(
            "mean_of_means",
            "you averaged the means of the pieces, so each piece counts the same. A piece with few tokens should count little: divide sums by the number of all tokens.",
            _weighted(lambda summed, count, pieces: summed / count / len(pieces)),
        ),
        Misconception(
            "sum_of_means",
            "you added up the mean losses of the pieces. With more pieces the gradient would grow, and with it each update.",
            _weighted(lambda summed, count, pieces: summed / count),
        ),
        Misconception(
            "sum_alone",
            "you added up the losses of all tokens and never divided by how many there are.",
            _weighted(lambda summed, count, pieces: summed),
        ),
        Misconception(
            "padding_counted",
            "you divided by all places, the padding too. Targets of -100 carry no loss, so they do not count.",
            _weighted(lambda summed, count, pieces: summed / sum(targets.numel() for _, targets in pieces)),
        ),
        Misconception(
            "last_alone",
            "the gradient is that of the last piece alone: the gradients were set to zero before each piece.",
            _last_alone,
        ),
    ),
    minutes=10,
    difficulty=3,
)

LESSON = Lesson(
    topic="scale",
    exercises=(FLOPS_OF_LINEAR, CACHE_BYTES, POWER_LAW, OPTIMUM, ACCUMULATE),
    predictions=(
        Prediction(
            "costs.where_memory_goes",
            "GPT-2, with its 124 million parameters, is trained on sequences of 1,024 tokens. From how many "
            "sequences in a batch on do the activations take more memory than weights, gradients and optimizer "
            "together?",
            ("3", "Two gigabytes for all that belongs to the parameters, and most of one for each sequence."),
            (
                (
                    "30",
                    "A parameter costs 16 bytes; but a token keeps some 200,000 numbers, and a sequence has a thousand tokens.",
                ),
                ("300", "That would be a hundred times less than autograd keeps for the way back."),
            ),
            shows=lambda batch_sizes, activations, fixed, crossing: figures.line_chart(
                {
                    "activations": (batch_sizes, activations),
                    "weights, gradients, optimizer": (batch_sizes, fixed),
                },
                title=f"From {math.ceil(crossing)} sequences on, GPT-2's activations outweigh all the rest",
                x_label="sequences of 1,024 tokens in a batch",
                y_label="gigabytes in float32",
                log_x=True,
                log_y=True,
            ),
            finding="From 3 sequences on, the activations take more memory than all the rest. So it is the "
            "**batch** that fills the memory, and a smaller batch is the first thing to try when there is too "
            "little of it.",
        ),
        Prediction(
            "scaling.ten_times",
            "You get ten times as many operations. By the law that was fitted to our runs, how much larger should "
            "the model be?",
            (
                "about 4 times",
                "Size and data both get their share of the budget, and size has a little more than half of it, in powers of ten.",
            ),
            (
                (
                    "10 times",
                    "Then nothing would be left for more text, and the second term of the law would stay as it is.",
                ),
                (
                    "no larger: it should read 10 times the text",
                    "Then the first term would stay as it is, and soon it is the larger one.",
                ),
            ),
            shows=lambda budgets, exact, by_rule, ratio: figures.line_chart(
                {
                    "parameters": (budgets, [n for n, _ in exact]),
                    "tokens": (budgets, [d for _, d in exact]),
                    "parameters, if C = 6 N D": (budgets, [n for n, _ in by_rule]),
                },
                title=f"Ten times the budget: {ratio:.1f} times the parameters",
                x_label="operations of training",
                y_label="best number",
                log_x=True,
                log_y=True,
            ),
            finding="Size and data both grow with the budget. How fast each should grow is a property of a corpus "
            "and a recipe: Kaplan et al. (2020) found that size should grow far faster than data, and Hoffmann et "
            "al. (2022) that both should grow equally fast.",
        ),
    ),
    quiz=(
        Question(
            "costs.missing_flops",
            "A flop counter says that your new attention costs nothing. What do you think first?",
            (
                "the counter does not know this operation",
                "A counter counts what it was taught. What it does not know counts as zero, without a word.",
            ),
            (
                (
                    "the new attention is free",
                    "It multiplies numbers. Whoever says that it does not has not looked.",
                ),
                (
                    "softmax is not a product, so this is right",
                    "Softmax is left out by convention, but scores and averages are products.",
                ),
            ),
        ),
        Question(
            "costs.double_width",
            "You double `d_model` and leave all else as it is, heads and layers too. How many times the operations does a token cost in the blocks' linear layers?",
            ("4", "Every matrix is twice as wide and twice as high."),
            (
                ("2", "That would be right if only one side of each matrix grew."),
                ("8", "Each matrix has two sides; there is no third."),
                ("16", "That would be the square of the square. A matrix of 2d by 2d has 4d² numbers."),
            ),
        ),
        Question(
            "costs.out_of_memory",
            "Training stops, out of memory, in the very first backward pass. What helps most, and leaves the result as it is?",
            (
                "half the batch, in two pieces",
                "Activations grow with the batch, and gradients add up to the same.",
            ),
            (
                (
                    "AdamW for plain SGD",
                    "That saves 8 bytes a parameter, but training becomes another one. And here it is the activations.",
                ),
                ("half the learning rate", "It takes no memory, and the result changes."),
                ("fewer steps", "Each step gives back what it took. Their number does not matter."),
            ),
        ),
        Question(
            "costs.batch_of_eight",
            "A large model writes one text at 20 tokens a second. You let it write eight at once. How many tokens a second, all together?",
            (
                "nearly 160",
                "The weights are fetched once for all eight, and fetching them was what took the time.",
            ),
            (
                (
                    "20",
                    "That would be so if arithmetic were the limit. One row times a matrix waits for memory.",
                ),
                (
                    "about 57, the square root of 8 times as many",
                    "No square root is in it: eight rows need the same weights as one.",
                ),
            ),
        ),
        Question(
            "costs.ridge",
            "A card does 300 teraFLOP/s and fetches 2 TB/s. Your work has 30 operations a byte. What share of its peak can it reach?",
            ("20%", "30 times 2 are 60 teraFLOP/s: it waits for memory, below the ridge of 150."),
            (
                ("100%", "The ridge is at 150 operations a byte, and 30 is far to its left."),
                ("30%", "Operations a byte are not percent. 30 · 2 TB/s = 60 of 300 teraFLOP/s."),
                ("2%", "That would be 3 operations a byte."),
            ),
        ),
        Question(
            "scaling.straight_to_zero",
            "In a log–log plot your losses lie on a perfect straight line. The best of them is 3 nats. What can you not conclude?",
            (
                "that the line goes on to any loss",
                "Near the floor the loss must bend away, and far above it you cannot see the floor.",
            ),
            (
                (
                    "that twice the budget lowers the loss",
                    "Nearby the line is a good guess: that is what it was fitted to.",
                ),
                ("that the exponent is negative", "The slope is there to be read off."),
                ("that more budget helped in these runs", "It did: the line falls."),
            ),
        ),
        Question(
            "scaling.trained_too_short",
            "GPT-3 read two tokens for each parameter; by Hoffmann et al. twenty are best. For the money that GPT-3 cost, what would have been better?",
            (
                "a smaller model that reads more",
                "Operations are 6ND: a third of the parameters pay for three times the tokens.",
            ),
            (
                ("a larger model that reads less", "That goes further from twenty tokens a parameter."),
                ("the same model that reads ten times as much", "Better, but for ten times the money."),
            ),
        ),
        Question(
            "accumulation.four_machines",
            "Four machines train one model by data parallelism, each on 8 sequences. What would one machine have to do, to get the same weights?",
            (
                "the same steps, with batches of 32",
                "The mean of the four gradients is the gradient of the 32 sequences.",
            ),
            (
                (
                    "four times as many steps, with batches of 8",
                    "Then each gradient would be of other weights, updated in between.",
                ),
                (
                    "the same steps, with batches of 8",
                    "It would see a quarter of the text, and other gradients.",
                ),
                (
                    "the same steps, at four times the learning rate",
                    "The machines average their gradients; none of them takes larger steps.",
                ),
            ),
        ),
    ),
    objectives=(
        (
            "costs.flops_of_linear",
            "costs.cache_bytes",
            "costs.missing_flops",
            "costs.double_width",
            "costs.out_of_memory",
        ),
        ("costs.batch_of_eight", "costs.ridge"),
        ("costs.where_memory_goes", "scaling.trained_too_short"),
        ("scaling.power_law", "scaling.optimum", "scaling.ten_times", "scaling.straight_to_zero"),
        ("accumulation.accumulate", "accumulation.four_machines"),
    ),
)
