"""A model finds its own numbers by following the gradient of its loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.viz import figures

Graph = list[list[tuple[int, float]]]
Gradient = Callable[[Float[Tensor, " n"]], Float[Tensor, " n"]]


def gradient_of_logits(logits: Float[Tensor, " vocab"], target: int) -> Float[Tensor, " vocab"]:
    gradient = logits.softmax(dim=-1)
    gradient[target] -= 1
    return gradient


def descend(
    gradient: Gradient, start: Float[Tensor, " n"], learning_rate: float, steps: int
) -> Float[Tensor, "points n"]:
    points = [start]
    for _ in range(steps):
        here = points[-1]
        points.append(here - learning_rate * gradient(here))
    return torch.stack(points)


def backward(graph: Graph) -> list[float]:
    gradients = [0.0] * len(graph)
    gradients[-1] = 1.0  # the last node with respect to itself
    for node in reversed(range(len(graph))):
        for parent, slope in graph[node]:
            gradients[parent] += slope * gradients[node]
    return gradients


def windows(tokens: list[int], n: int, end: int) -> tuple[Int[Tensor, "guesses n"], Int[Tensor, " guesses"]]:
    padded = torch.tensor([end] * n + tokens + [end])
    contexts = torch.stack([padded[at : at + n] for at in range(len(tokens) + 1)])
    return contexts, padded[n:]


def hidden_gradient(
    x: Float[Tensor, "batch inputs"],
    weight: Float[Tensor, "inputs hidden"],
    upstream: Float[Tensor, "batch hidden"],
) -> Float[Tensor, "inputs hidden"]:
    hidden = torch.tanh(x @ weight)
    return x.T @ (upstream * (1 - hidden**2))


def random_numbers(generator: Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def logits_and_targets(generator: Generator) -> Iterator[tuple[Tensor, int]]:
    yield torch.zeros(2, dtype=torch.float64), 0
    yield torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64), 2
    for vocab, target in ((4, 1), (7, 6)):
        yield random_numbers(generator, vocab) * 2, target


def bowl(center: Tensor) -> Gradient:
    """The gradient of the squared distance from the center."""
    return lambda point: 2 * (point - center)


def descents(generator: Generator) -> Iterator[tuple[Gradient, Tensor, float, int]]:
    yield bowl(torch.zeros(1)), torch.tensor([1.0]), 0.25, 2
    yield bowl(torch.tensor([1.0, -2.0])), torch.tensor([3.0, 0.5]), 0.1, 3
    yield bowl(torch.zeros(2)), torch.zeros(2), 0.1, 2  # at the bottom already
    center, start = random_numbers(generator, 2, 4)
    slopes = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    yield lambda point: slopes @ point, start[:2], 0.1, 3
    yield lambda point: (point - center) ** 3, start, 0.05, 4
    yield bowl(center), start, 0.75, 5


def graphs(generator: Generator) -> Iterator[tuple[Graph]]:
    yield ([[], [], [(0, 3.0), (1, 2.0)]],)
    yield ([[], [(0, 2.0)], [(0, 1.0), (1, 1.0)]],)  # node 0 is used twice
    yield ([[], [], [(0, 4.0), (1, 1.0)], [(2, 0.5)], [(2, 3.0), (3, 2.0), (1, -1.0)]],)
    yield ([[], [(0, 2.0)], [], [(1, 3.0), (2, 1.0)], [(3, 5.0), (3, 5.0)]],)  # a late leaf; a square
    yield ([[], [], [(0, 2.0)], [(1, 3.0)]],)  # nodes that do not reach the loss
    yield ([[]],)
    slopes = iter(random_numbers(generator, 24).tolist())
    yield ([[(parent, next(slopes)) for parent in range(max(0, node - 3), node)] for node in range(8)],)


def texts_to_cut(generator: Generator) -> Iterator[tuple[list[int], int, int]]:
    yield [5, 3], 2, 9
    yield [1, 4, 2], 1, 0
    for length, n in ((6, 3), (2, 4)):
        yield torch.randint(1, 9, (length,), generator=generator).tolist(), n, 9


def layers(generator: Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    one = torch.ones(1, 1, dtype=torch.float64)
    yield one, one / 2, one.clone()
    for batch, inputs, hidden in ((2, 3, 4), (5, 2, 3), (3, 3, 3)):
        yield (
            random_numbers(generator, batch, inputs),
            random_numbers(generator, inputs, hidden),
            random_numbers(generator, batch, hidden),
        )


def one_hot(logits: Tensor, target: int) -> Tensor:
    return torch.eye(len(logits), dtype=logits.dtype)[target]


GRADIENT_OF_LOGITS = Exercise(
    name="learning.gradient_of_logits",
    reference=gradient_of_logits,
    inputs=logits_and_targets,
    buys="When a GPT learns, the gradient of each of its guesses starts from exactly this vector.",
    hints=(
        "The gradient says how far each probability is from what it should have been: 1 for the token that came, 0 for "
        "all others.",
        "logits is (vocab,), target is one number. The gradient is (vocab,), one number for each logit.",
        "Take logits.softmax(dim=-1), and subtract 1 at index target.",
    ),
    misconceptions=(
        Misconception(
            "turned",
            "the sign is reversed. This vector points downhill; the gradient points uphill, to where the loss rises.",
            lambda logits, target: one_hot(logits, target) - logits.softmax(-1),
        ),
        Misconception(
            "no_one_hot",
            "these are the probabilities alone. The logit of the token that came must get a negative gradient, because "
            "raising it lowers the loss: subtract 1 there.",
            lambda logits, target: logits.softmax(-1),
        ),
        Misconception(
            "only_the_target",
            "in your answer only the target's logit has a gradient. The others count too, because raising any of them takes probability "
            "away from the target.",
            lambda logits, target: (logits.softmax(-1) - 1) * one_hot(logits, target),
        ),
        Misconception(
            "no_softmax",
            "you subtracted the one-hot vector from the logits themselves. Turn the logits into probabilities first.",
            lambda logits, target: logits - one_hot(logits, target),
        ),
        Misconception(
            "one_from_all",
            "you subtracted 1 from every probability. Only the token that came had a target of 1; all others had 0.",
            lambda logits, target: logits.softmax(-1) - 1,
        ),
        Misconception(
            "divided_by_probability",
            "this is −1/p at the target, the derivative with respect to a probability. The logits go through the "
            "softmax, and its derivative is missing.",
            lambda logits, target: -one_hot(logits, target) / logits.softmax(-1)[target],
        ),
        Misconception(
            "plus_one",
            "you added 1 at the token that came. The loss falls when its logit rises, so its slope is negative: subtract 1.",
            lambda logits, target: logits.softmax(-1) + one_hot(logits, target),
        ),
        Misconception(
            "minus_one_alone",
            "at the token that came you put −1, whatever its probability. Subtract 1 from the probability instead of "
            "replacing it.",
            lambda logits, target: torch.where(one_hot(logits, target) > 0, -1.0, logits.softmax(-1)),
        ),
        Misconception(
            "at_the_likeliest",
            "you subtracted 1 at the likeliest token. It belongs at the token that came, `target`.",
            lambda logits, target: logits.softmax(-1) - one_hot(logits, int(logits.argmax())),
        ),
        Misconception(
            "turned_at_the_target",
            "at the token that came you have 1 − p, which has the wrong sign. The gradient there is p − 1: raising that logit lowers the loss.",
            lambda logits, target: (
                (logits.softmax(-1) - one_hot(logits, target)) * (1 - 2 * one_hot(logits, target))
            ),
        ),
        Misconception(
            "number_of_the_target",
            "you subtracted the number `target` from every probability. It only says which token came: subtract 1, at that index alone.",
            lambda logits, target: logits.softmax(-1) - target,
        ),
        Misconception(
            "log_probabilities",
            "you subtracted 1 from a log probability, and the other numbers are log probabilities, too. The gradient is made of the "
            "probabilities themselves: use `softmax`, not `log_softmax`.",
            lambda logits, target: logits.log_softmax(-1) - one_hot(logits, target),
        ),
    ),
    minutes=5,
    difficulty=1,
)

DESCEND = Exercise(
    name="learning.descend",
    reference=descend,
    inputs=descents,
    buys="Every training loop of the course has this shape. Later ones get the gradient from `backward()` and refine the step.",
    hints=(
        "At each point, ask for the gradient there and take a small step the other way.",
        "start is (n,), gradient(point) is (n,), and the result is (steps + 1, n): the start and the point after each step.",
        "Keep a list that begins with start. Each time, append the last point minus learning_rate times its gradient. "
        "At the end, torch.stack the list.",
    ),
    misconceptions=(
        Misconception(
            "uphill",
            "you added the gradient, so you went uphill. The gradient points to where the loss rises: subtract it.",
            lambda gradient, start, learning_rate, steps: descend(
                lambda point: -gradient(point), start, learning_rate, steps
            ),
        ),
        Misconception(
            "stale_gradient",
            "every step uses the gradient at the start. The slope is different at each point, so ask for it again.",
            lambda gradient, start, learning_rate, steps: torch.stack(
                [start - n * learning_rate * gradient(start) for n in range(steps + 1)]
            ),
        ),
        Misconception(
            "without_start",
            "the start is missing from the points. With `steps` steps there are `steps + 1` of them.",
            lambda gradient, start, learning_rate, steps: descend(gradient, start, learning_rate, steps)[1:],
        ),
        Misconception(
            "same_tensor",
            "all rows are the last point. If you change a point in place (`a -= b`), every entry of a list that holds it "
            "changes too: make a new tensor for each point, as `a - b` does.",
            lambda gradient, start, learning_rate, steps: descend(gradient, start, learning_rate, steps)[
                -1
            ].repeat(steps + 1, 1),
        ),
        Misconception(
            "no_rate",
            "you subtracted the whole gradient. Multiply it by the learning rate first.",
            lambda gradient, start, learning_rate, steps: descend(gradient, start, 1.0, steps),
        ),
        Misconception(
            "one_step_short",
            "the path is one step too short. With `steps` steps there are `steps + 1` points.",
            lambda gradient, start, learning_rate, steps: descend(gradient, start, learning_rate, steps - 1),
        ),
        Misconception(
            "one_step_too_many",
            "the path is one step too long. With `steps` steps there are `steps + 1` points, and the start is one of them.",
            lambda gradient, start, learning_rate, steps: descend(gradient, start, learning_rate, steps + 1),
        ),
        Misconception(
            "from_the_start_again",
            "every step begins at the start again. Take each one from the last point that you reached.",
            lambda gradient, start, learning_rate, steps: torch.stack(
                [start] + [start - learning_rate * gradient(start)] * steps
            ),
        ),
        Misconception(
            "in_one_row",
            "all points are in one long row. `torch.stack` makes a row of each point; `torch.cat` joins them end to end.",
            lambda gradient, start, learning_rate, steps: descend(
                gradient, start, learning_rate, steps
            ).flatten(),
        ),
        Misconception(
            "last_point_alone",
            "you returned only the last point. Return all points on the way, the start first: collect them in a list, and torch.stack it.",
            lambda gradient, start, learning_rate, steps: descend(gradient, start, learning_rate, steps)[-1],
        ),
        Misconception(
            "in_a_list",
            "the points are right, but they are in a list. Make one tensor of them, with `torch.stack`.",
            lambda gradient, start, learning_rate, steps: list(
                descend(gradient, start, learning_rate, steps)
            ),
        ),
    ),
    minutes=6,
    difficulty=2,
)


def overwritten(graph: Graph) -> list[float]:
    gradients = [0.0] * len(graph)
    gradients[-1] = 1.0
    for node in reversed(range(len(graph))):
        for parent, slope in graph[node]:
            gradients[parent] = slope * gradients[node]
    return gradients


def front_to_back(graph: Graph) -> list[float]:
    gradients = [0.0] * len(graph)
    gradients[-1] = 1.0
    for node in range(len(graph)):
        for parent, slope in graph[node]:
            gradients[parent] += slope * gradients[node]
    return gradients


def handed_on(graph: Graph, gradients: list[float]) -> list[float]:
    for node in reversed(range(len(graph))):
        for parent, slope in graph[node]:
            gradients[parent] += slope * gradients[node]
    return gradients


def from_the_first(graph: Graph) -> list[float]:
    changes = [1.0] + [0.0] * (len(graph) - 1)
    for node, parents in enumerate(graph):
        for parent, slope in parents:
            changes[node] += slope * changes[parent]
    return changes


def slopes_alone(graph: Graph) -> list[float]:
    gradients = [0.0] * len(graph)
    gradients[-1] = 1.0
    for node in reversed(range(len(graph))):
        for parent, slope in graph[node]:
            gradients[parent] += slope
    return gradients


def too_early(graph: Graph) -> list[float]:
    gradients, waiting, seen = [0.0] * len(graph), [len(graph) - 1], set()
    gradients[-1] = 1.0
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            for parent, slope in graph[node]:
                gradients[parent] += slope * gradients[node]
            waiting += [parent for parent, _ in reversed(graph[node])]
    return gradients


def counted_again(graph: Graph) -> list[float]:
    gradients = [0.0] * len(graph)
    gradients[-1] = 1.0

    def pass_on(node: int) -> None:
        for parent, slope in graph[node]:
            gradients[parent] += slope * gradients[node]
            pass_on(parent)

    pass_on(len(graph) - 1)
    return gradients


def added_slopes(graph: Graph) -> list[float]:
    gradients = [0.0] * len(graph)
    gradients[-1] = 1.0
    for node in reversed(range(len(graph))):
        for parent, slope in graph[node]:
            gradients[parent] += slope + gradients[node]
    return gradients


BACKWARD = Exercise(
    name="learning.backward",
    reference=backward,
    inputs=graphs,
    buys="These few lines are what `loss.backward()` does, for any expression.",
    hints=(
        "Begin at the end, where the derivative is 1. Each node passes its gradient, times the slope, on to its parents.",
        "graph[node] is a list of (parent, slope). The answer is a list with one number for each node.",
        "Make a list of zeros with a 1 at the end. Go through the nodes from the last to the first, and for each "
        "(parent, slope) add slope times the node's gradient to the parent's.",
    ),
    misconceptions=(
        Misconception(
            "overwritten",
            "a node that is used more than once keeps only one of its contributions. Add them up, with `+=`.",
            overwritten,
        ),
        Misconception(
            "front_to_back",
            "only the last node passed its gradient on. Either you went from the first node to the last, where the others "
            "have nothing to pass on yet, or you stopped after one node.",
            front_to_back,
        ),
        Misconception(
            "slopes_alone",
            "you summed the slopes without the gradient of the node that they belong to. By the chain rule they multiply.",
            slopes_alone,
        ),
        Misconception(
            "too_early",
            "a node passed its gradient on before it had received everything from the nodes made from it. Go strictly from the "
            "last node to the first, so that all nodes made from a node have their turn before it.",
            too_early,
        ),
        Misconception(
            "all_zero",
            "every gradient is 0. The last node's derivative with respect to itself is 1, and all others follow from it.",
            lambda graph: [0.0] * len(graph),
        ),
        Misconception(
            "all_ones",
            "every node begins with a gradient of 1. Only the last one does; the others begin at 0 and get all of theirs from "
            "the nodes made from them.",
            lambda graph: handed_on(graph, [1.0] * len(graph)),
        ),
        Misconception(
            "from_the_first",
            "these are the derivatives of each node with respect to the first one. Go the other way: what is wanted is the "
            "derivative of the last node with respect to each.",
            from_the_first,
        ),
        Misconception(
            "only_the_last",
            "only the last node has a gradient, so nothing was passed on. Start with the last node and go back: each one adds "
            "`slope * gradients[node]` to the gradient of each of its parents.",
            lambda graph: [0.0] * (len(graph) - 1) + [1.0],
        ),
        Misconception(
            "only_leaves",
            "only the nodes without parents have a number in your list. Return one number for every node, in the order of the nodes.",
            lambda graph: [
                found for found, parents in zip(backward(graph), graph, strict=True) if not parents
            ],
        ),
        Misconception(
            "reversed_list",
            "your list begins with the last node. Return the numbers in the order of the nodes, so that the last node's 1 comes last.",
            lambda graph: backward(graph)[::-1],
        ),
        Misconception(
            "added_slopes",
            "you added the slope to the gradient of the node. By the chain rule they multiply: each parent gets `slope * gradients[node]`.",
            added_slopes,
        ),
        Misconception(
            "counted_again",
            "some contributions are counted more than once. A node that is reached along several paths must not pass its gradient "
            "on each time: go through the nodes once, from the last to the first.",
            counted_again,
        ),
    ),
    minutes=10,
    difficulty=2,
)


def filled(before: list[list[int]], n: int, end: int) -> Tensor:
    return torch.tensor([[end] * (n - len(known)) + known for known in before])


def filled_on_the_right(tokens: list[int], n: int, end: int) -> tuple[Tensor, Tensor]:
    before = [tokens[max(0, at - n) : at] for at in range(len(tokens) + 1)]
    return torch.tensor([known + [end] * (n - len(known)) for known in before]), torch.tensor([*tokens, end])


def negative_slice(tokens: list[int], n: int, end: int) -> tuple[Tensor, Tensor]:
    before = [tokens[at - n : at] for at in range(len(tokens) + 1)]
    return filled(before, n, end), torch.tensor([*tokens, end])


def full_windows(tokens: list[int], n: int, targets: list[int]) -> tuple[Tensor, Tensor]:
    """Those before each target that has n tokens before it."""
    places = range(n, len(targets))
    return torch.tensor([tokens[at - n : at] for at in places]), torch.tensor([targets[at] for at in places])


WINDOWS = Exercise(
    name="learning.windows",
    reference=windows,
    inputs=texts_to_cut,
    buys="Any text can now be cut into examples for a network.",
    hints=(
        "Each token is guessed from the n tokens before it. At the start of a text there are fewer, so the end-of-text "
        "token fills the gap.",
        "A text of length T has T + 1 guesses, because its end is guessed as well. contexts is (T + 1, n), targets (T + 1,).",
        "Put n end tokens before the tokens and one after them. Context number t is padded[t : t + n], and its target "
        "is padded[t + n].",
    ),
    misconceptions=(
        Misconception(
            "target_inside",
            "each window already holds the token that is to be guessed. Stop one token earlier.",
            lambda tokens, n, end: (
                torch.tensor([end] * n + tokens + [end]).unfold(0, n, 1)[1:],
                torch.tensor([*tokens, end]),
            ),
        ),
        Misconception(
            "no_end",
            "the end of the text is never guessed, so the model could not learn when to stop. There is one more "
            "guess than there are tokens.",
            lambda tokens, n, end: tuple(part[:-1] for part in windows(tokens, n, end)),
        ),
        Misconception(
            "not_padded",
            "you began at the first full window, so the first tokens of the text are never guessed. Fill the "
            "gap with end-of-text tokens, and begin at the first token.",
            lambda tokens, n, end: full_windows(tokens, n, [*tokens, end]),
        ),
        Misconception(
            "only_full_windows",
            "neither the first tokens of the text nor its end are guessed. Put end-of-text tokens before the first token, and "
            "let `end` be the last target.",
            lambda tokens, n, end: full_windows(tokens, n, tokens),
        ),
        Misconception(
            "filled_on_the_right",
            "where tokens are missing, you filled the gap on the right. The latest token comes last in every window, so the "
            "gap belongs on the left.",
            filled_on_the_right,
        ),
        Misconception(
            "padded_with_zero",
            "you filled the start with token 0, which is a token like any other. Fill it with `end`.",
            lambda tokens, n, end: (
                windows(tokens, n, 0)[0],
                windows(tokens, n, end)[1],
            ),
        ),
        Misconception(
            "negative_slice",
            "near the start of the text the windows lack tokens that they should hold. There `at - n` in "
            "`tokens[at - n : at]` is negative, which counts from the end of the list; use `max(0, at - n)`.",
            negative_slice,
        ),
        Misconception(
            "too_wide",
            "each window has n + 1 tokens, and the last of them is the one to be guessed. Stop one token earlier.",
            lambda tokens, n, end: (
                torch.tensor([end] * n + tokens + [end]).unfold(0, n + 1, 1),
                torch.tensor([*tokens, end]),
            ),
        ),
        Misconception(
            "targets_without_end",
            "there is one fewer target than there are contexts. `end` is guessed after the last token, so it is the last "
            "target.",
            lambda tokens, n, end: (windows(tokens, n, end)[0], torch.tensor(tokens)),
        ),
        Misconception(
            "target_without_context",
            "you began at the first full window, so the first tokens of the text are never guessed. And in a text of fewer than n "
            "tokens no window is full, so its one target has no context. Put n `end` tokens in front, and begin at the first token.",
            lambda tokens, n, end: (
                torch.tensor([tokens[at : at + n] for at in range(len(tokens) - n + 1)]),
                torch.tensor([*tokens[n:], end]),
            ),
        ),
        Misconception(
            "one_context_too_many",
            "there is one more context than there are targets. The last one already holds `end`, after which nothing is guessed: "
            "leave it out.",
            lambda tokens, n, end: (
                torch.tensor([end] * n + tokens + [end]).unfold(0, n, 1),
                torch.tensor([*tokens, end]),
            ),
        ),
        Misconception(
            "in_lists",
            "the numbers are right, but they are in lists. Return two tensors: `torch.tensor` turns a list into one.",
            lambda tokens, n, end: tuple(part.tolist() for part in windows(tokens, n, end)),
        ),
    ),
    minutes=8,
    difficulty=2,
)

HIDDEN_GRADIENT = Exercise(
    name="learning.hidden_gradient",
    reference=hidden_gradient,
    inputs=layers,
    buys="You can carry a gradient back through a layer by hand, and check any library that does it for you.",
    hints=(
        "Go back in two steps: through the tanh, whose slope is 1 − tanh², and then through the product with the weight.",
        "upstream is (batch, hidden), x is (batch, inputs), and the answer has the shape of weight, (inputs, hidden).",
        "Compute hidden = torch.tanh(x @ weight). Multiply upstream by 1 - hidden**2, and put x.T in front of it: "
        "a matrix product adds up the contributions of the batch.",
    ),
    misconceptions=(
        Misconception(
            "no_tanh",
            "you went back through the product and skipped the tanh. Where the tanh is flat, hardly anything gets through.",
            lambda x, weight, upstream: x.T @ upstream,
        ),
        Misconception(
            "slope_of_the_sum",
            "you squared what goes into the tanh. Its slope is 1 minus the square of what comes out.",
            lambda x, weight, upstream: x.T @ (upstream * (1 - (x @ weight) ** 2)),
        ),
        Misconception(
            "no_square",
            "you multiplied by 1 − tanh. The slope of tanh is 1 − tanh², with a square.",
            lambda x, weight, upstream: x.T @ (upstream * (1 - torch.tanh(x @ weight))),
        ),
        Misconception(
            "for_the_input",
            "this is the gradient with respect to x. The exercise asks for the one with respect to the weight.",
            lambda x, weight, upstream: (upstream * (1 - torch.tanh(x @ weight) ** 2)) @ weight.T,
        ),
        Misconception(
            "no_upstream",
            "the gradient that arrives from above, `upstream`, is missing. By the chain rule it multiplies the slope of tanh.",
            lambda x, weight, upstream: x.T @ (1 - torch.tanh(x @ weight) ** 2),
        ),
        Misconception(
            "transposed",
            "this is the transpose. The gradient has the shape of the weight, (inputs, hidden).",
            lambda x, weight, upstream: hidden_gradient(x, weight, upstream).T,
        ),
        Misconception(
            "divided_by_batch",
            "you divided by the size of the batch. If the loss is a mean, `upstream` has been divided already, so add up "
            "the contributions of the examples.",
            lambda x, weight, upstream: hidden_gradient(x, weight, upstream) / len(x),
        ),
        Misconception(
            "turned",
            "the sign is reversed. The slope of tanh is 1 − tanh², which is never negative.",
            lambda x, weight, upstream: -hidden_gradient(x, weight, upstream),
        ),
        Misconception(
            "last_example",
            "in your answer only the last example of the batch counts. The weight is used in all of them, so add their contributions up.",
            lambda x, weight, upstream: hidden_gradient(x[-1:], weight, upstream[-1:]),
        ),
        Misconception(
            "slope_of_a_sigmoid",
            "you multiplied by tanh · (1 − tanh), as if it were a sigmoid. The slope of tanh is 1 − tanh².",
            lambda x, weight, upstream: (
                x.T @ (upstream * torch.tanh(x @ weight) * (1 - torch.tanh(x @ weight)))
            ),
        ),
        Misconception(
            "tanh_itself",
            "you multiplied by the tanh. The chain rule asks for its slope, 1 − tanh².",
            lambda x, weight, upstream: x.T @ (upstream * torch.tanh(x @ weight)),
        ),
        Misconception(
            "each_example",
            "you returned a gradient for each example, (batch, inputs, hidden). All of them use the same weight, so add them up over the batch.",
            lambda x, weight, upstream: torch.stack(
                [hidden_gradient(row[None], weight, up[None]) for row, up in zip(x, upstream, strict=True)]
            ),
        ),
    ),
    minutes=12,
    difficulty=3,
)

LESSON = Lesson(
    topic="learning",
    exercises=(GRADIENT_OF_LOGITS, DESCEND, BACKWARD, WINDOWS, HIDDEN_GRADIENT),
    predictions=(
        Prediction(
            "learning.too_large",
            "At a learning rate of 50, gradient descent on the table of pairs lowers the loss at every step. What happens at a rate of 1,000?",
            (
                "the loss jumps above that of blind guessing",
                "The very first step goes far past the lowest point and ends higher up than it began, and so do the next few.",
            ),
            (
                (
                    "the loss falls about twenty times as fast",
                    "For very small steps the fall is indeed proportional to the rate. But a step this large leaves the region in which the "
                    "slope still describes how the loss changes.",
                ),
                (
                    "the loss falls a little faster than at 50",
                    "Something would have to limit the length of a step, and nothing does: a step is the rate times the gradient.",
                ),
                (
                    "the loss stays where it is",
                    "That is what a rate close to 0 does. A large rate makes large steps.",
                ),
            ),
            shows=lambda by_rate, blind: figures.line_chart(
                {f"rate {rate:,}": (range(1, len(found) + 1), found) for rate, found in by_rate.items()},
                marks={"knows nothing": blind},
                log_x=True,
                log_y=True,
                x_label="step",
                y_label="loss (nats per letter)",
                title="The loss of the table at three learning rates",
            ),
            finding="At a rate of 1 the loss falls slowly, and after 300 steps it is still far above that at a rate of 50. At 1,000 it rises "
            "from the first step on, to several times that of blind guessing. After that it jumps up and down without recovering.\n\n"
            "A loss that rises from the first steps on is a common sign of a learning rate that is too large.",
        ),
        Prediction(
            "learning.batch_noise",
            "The noise of a batch is the typical error of its gradient. A batch of 4,096 pairs takes 256 times as much work as one of 16. "
            "How much of the noise is left?",
            (
                "a sixteenth of it",
                "The error of a mean falls with the square root of the number of things averaged, and $\\sqrt{256} = 16$.",
            ),
            (
                (
                    "a 256th of it",
                    "That would be so if the errors canceled exactly. Random errors cancel only in part.",
                ),
                ("half of it", "A batch that is four times as large is already enough for that."),
                ("all of it", "Each pair is as noisy as before, but the mean of many pairs is not."),
            ),
            shows=lambda noises, lengths: figures.line_chart(
                {f"noise {when}": (list(found), list(found.values())) for when, found in noises.items()},
                marks={f"gradient {when}": float(f"{length:.2g}") for when, length in lengths.items()},
                log_x=True,
                log_y=True,
                x_label="pairs in a batch",
                y_label="length of the gradient, and of its error",
                title="The gradient and its noise, for batches of five sizes",
            ),
            finding="The noise falls with the square root of the size of the batch: 256 times as many pairs leave a sixteenth of it, and halving it "
            "takes four times as many.\n\n"
            "The figure shows something else as well. On the way down the gradient itself shrinks to about a twentieth, while the noise hardly "
            "changes. After 100 steps even a batch of 4,096 has more noise than gradient.",
        ),
        Prediction(
            "learning.all_alike",
            "Before training, all 256 hidden units have the same incoming weights and the same outgoing weights. How many different units are there afterward?",
            (
                "one: they stay alike",
                "Units with equal incoming and outgoing weights get equal gradients at every step, so they stay equal.",
            ),
            (
                (
                    "256: each has become different",
                    "Something would have to make them differ first. They start alike and get the same gradient.",
                ),
                (
                    "about half of them",
                    "Nothing singles out one half: the gradients of all units are equal from the first step on.",
                ),
            ),
            shows=lambda curves, different, blind: figures.line_chart(
                {
                    f"{name}: {different[name]} different": (list(curve), list(curve.values()))
                    for name, curve in curves.items()
                },
                marks={"knows nothing": blind},
                log_x=True,
                log_y=True,
                x_label="step",
                y_label="loss on new stories (nats per letter)",
                title="Four ways to start, and how many units differ at the end",
            ),
            finding="The units whose incoming and outgoing weights start equal stay equal. So 256 units do the work of one, and the network ends "
            "worse than the table of pairs. The start in which only the incoming weights are equal is the control: there the gradients of the "
            "units differ from the first step on, and at the end all 256 are different. Random initial weights avoid the problem.",
        ),
        Prediction(
            "learning.name_again",
            "The network reads five letters. A name was mentioned earlier in the story, and now it comes again. How surprised is the network by its "
            "first letter?",
            (
                "about as much as the first time",
                "The five letters before it say that a name may come. They do not say which one.",
            ),
            (
                (
                    "much less: it has read the name",
                    "It did read it, but the window has moved on, and the five letters that it sees now do not contain the name.",
                ),
                (
                    "much less: training taught it the names",
                    "Training taught it which names there are, but not which of them is in this story.",
                ),
            ),
            shows=lambda means: figures.bar_chart(
                list(means),
                list(means.values()),
                label="mean surprise at a name's first letter (nats)",
                highlight=[name for name in means if name.endswith("again")],
                title="Surprise at the first letter of a name, new and repeated",
            ),
            finding="At a repeated name the network is almost as surprised as at a new one, while by the true probabilities it is hardly surprising. The 6-gram, "
            "which reads five letters as well, gains nothing from the repetition either. It was counted, not trained, so longer training would "
            "not help it. What both would need to know is too far back in the text.",
        ),
    ),
    quiz=(
        Question(
            "learning.slope",
            "The derivative of the loss with respect to a weight is −3. You raise the weight by 0.01. What happens to the loss?",
            ("falls by about 0.03", "$-3 \\cdot 0.01 = -0.03$, as long as the step is small."),
            (
                ("rises by about 0.03", "The derivative is negative: the loss falls as the weight grows."),
                (
                    "falls by 3",
                    "That would be the change for a step of 1, if the slope stayed the same that far.",
                ),
                (
                    "falls by 0.01",
                    "That is the change of the weight. The loss changes by that amount times the slope.",
                ),
            ),
        ),
        Question(
            "learning.at_zero",
            "All logits are 0, and there are 50 letters. What is the slope of the loss with respect to the logit of the letter that came?",
            ("$-0.98$", "$p - 1$ with $p = 1/50$."),
            (
                ("$0.02$", "That is the gradient at the letters that did **not** come."),
                ("$-\\log 50$", "The loss is $\\log 50$. Its slope is $p - 1$."),
                (
                    "$0$",
                    "The model still gives this letter too little probability: raising its logit would help.",
                ),
            ),
        ),
        Question(
            "learning.twice",
            "A number is used in two places. One path back brings it a gradient of 2, and the other a gradient of 5. What is its gradient?",
            ("7", "Move the number a little, and both places move the loss. Their effects add up."),
            (
                ("10", "Slopes multiply along one path, but these are two paths."),
                ("5", "The later path does not replace the earlier one."),
                ("3.5", "Nothing is averaged: both effects are there in full."),
            ),
        ),
        Question(
            "learning.diverges",
            "Step by step the loss is 4.1, 7.8, 16.2, 20.3. What do you try first?",
            ("a smaller learning rate", "It rises from the first step on: the steps overshoot."),
            (
                ("more steps", "The loss rises with every step; more of them would not turn it around."),
                ("more data", "A step that is too large overshoots, however much data it is computed from."),
                ("a wider hidden layer", "A larger model does not make the steps any smaller."),
            ),
        ),
        Question(
            "learning.half_the_noise",
            "You want gradients with half the noise. How many examples must a batch have?",
            ("four times as many", "The noise falls with the square root of the number of examples."),
            (
                ("twice as many", "That divides the noise by $\\sqrt{2}$, about 1.4."),
                ("the same number, but twice as many steps", "Each gradient is then as noisy as before."),
                ("half as many", "Fewer examples make the mean noisier."),
            ),
        ),
        Question(
            "learning.two_linear",
            "You take the tanh out of the network. What is left between the embeddings and the logits?",
            (
                "one matrix and a bias: two matrix products in a row make one",
                "So each letter of the window votes for the next one by itself, and the votes are added up.",
            ),
            (
                (
                    "two layers, as before",
                    "There are two matrices, but a single one can compute what they compute together.",
                ),
                ("nothing: the logits are random", "The product is still learned, and it still predicts."),
                (
                    "a table of all windows",
                    "That is what an n-gram has. This network has a number for each next letter, for each letter at each position.",
                ),
            ),
        ),
        Question(
            "learning.fixed_window",
            "A network reads the last 5 letters and misses a name 100 letters back. Why not read 100 letters?",
            (
                "It can, but every distance needs weights of its own",
                "What it learns about a name 40 letters back it has to learn again for 41. Attention uses the same weights at all distances.",
            ),
            (
                ("The gradient cannot be computed", "It can: `backward` works for any expression."),
                (
                    "The loss would rise",
                    "A longer window need not hurt if there is enough data. It costs weights and examples.",
                ),
                (
                    "Letters that far back do not matter",
                    "For a repeated name they can tell which name it is.",
                ),
            ),
        ),
    ),
    objectives=(
        ("learning.gradient_of_logits", "learning.slope", "learning.at_zero"),
        ("learning.descend", "learning.too_large", "learning.diverges"),
        ("learning.backward", "learning.hidden_gradient", "learning.twice"),
        ("learning.batch_noise", "learning.half_the_noise", "learning.all_alike"),
        ("learning.windows", "learning.two_linear", "learning.fixed_window", "learning.name_again"),
    ),
)
