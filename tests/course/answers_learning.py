"""Answers to the exercises on learning as readers write them, right and wrong."""

import torch
import torch.nn.functional as F


@torch.enable_grad()
def by_autograd(logits, target):
    logits = logits.clone().requires_grad_()
    F.cross_entropy(logits[None], torch.tensor([target])).backward()
    return logits.grad


def walked(gradient, start, learning_rate, steps):
    path = start[None]
    for _ in range(steps):
        path = torch.cat([path, (path[-1] - learning_rate * gradient(path[-1]))[None]])
    return path


def changed_in_place(gradient, start, learning_rate, steps):
    point = start.clone()
    path = [point]
    for _ in range(steps):
        point -= learning_rate * gradient(point)
        path.append(point)
    return torch.stack(path)


def straight(gradient, start, learning_rate, steps):
    path, slope = [start], gradient(start)
    for _ in range(steps):
        path.append(path[-1] - learning_rate * slope)
    return torch.stack(path)


def recursive(graph):
    """The derivative of the last node with respect to each, by asking all that use it."""

    def gradient(node):
        if node == len(graph) - 1:
            return 1.0
        return sum(
            slope * gradient(user)
            for user in range(node + 1, len(graph))
            for parent, slope in graph[user]
            if parent == node
        )

    return [float(gradient(node)) for node in range(len(graph))]


def backward_by_index(graph):
    found = torch.zeros(len(graph), dtype=torch.float64)
    found[-1] = 1
    for node in range(len(graph) - 1, -1, -1):
        for edge in graph[node]:
            found[edge[0]] += edge[1] * found[node]
    return found.tolist()


def handed_on(graph, combine, nodes=None):
    found = [0.0] * (len(graph) - 1) + [1.0]
    for node in nodes or range(len(graph) - 1, -1, -1):
        for parent, slope in graph[node]:
            found[parent] = combine(found[parent], slope, found[node])
    return found


def depth_first(graph):
    found, seen = [0.0] * (len(graph) - 1) + [1.0], set()

    def visit(node):
        if node in seen:
            return
        seen.add(node)
        for parent, slope in graph[node]:
            found[parent] += slope * found[node]
        for parent, _ in graph[node]:
            visit(parent)

    visit(len(graph) - 1)
    return found


def right_filled(tokens, n, end):
    contexts = []
    for at in range(len(tokens) + 1):
        window = tokens[max(0, at - n) : at]
        while len(window) < n:
            window = [*window, end]
        contexts.append(window)
    return torch.tensor(contexts), torch.tensor([*tokens, end])


def windows_by_loop(tokens, n, end):
    contexts, targets, window = [], [], [end] * n
    for token in [*tokens, end]:
        contexts.append(window)
        targets.append(token)
        window = [*window[1:], token]
    return torch.tensor(contexts), torch.tensor(targets)


@torch.enable_grad()
def loss_of(x, weight, upstream):
    weight = weight.clone().requires_grad_()
    (torch.tanh(x @ weight) * upstream).sum().backward()
    return weight.grad


def one_at_a_time(x, weight, upstream):
    total = torch.zeros_like(weight)
    for row, up in zip(x, upstream, strict=True):
        slope = 1 - torch.tanh(row @ weight).square()
        total += torch.outer(row, up * slope)
    return total


RIGHT = {
    "learning.gradient_of_logits": [
        by_autograd,
        lambda logits, target: (
            logits.exp() / logits.exp().sum() - F.one_hot(torch.tensor(target), len(logits))
        ),
    ],
    "learning.descend": [
        walked,
        lambda gradient, start, learning_rate, steps: torch.stack(
            [walked(gradient, start, learning_rate, n)[-1] for n in range(steps + 1)]
        ),
    ],
    "learning.backward": [recursive, backward_by_index],
    "learning.windows": [
        windows_by_loop,
        lambda tokens, n, end: (
            torch.tensor([[end] * n + tokens]).unfold(1, n, 1)[0],
            torch.tensor([*tokens, end]),
        ),
    ],
    "learning.hidden_gradient": [loss_of, one_at_a_time],
}


def set_to_minus_one(logits, target):
    p = torch.softmax(logits, dim=0)
    p[target] = -1
    return p


def one_minus_probability(logits, target):
    p = torch.softmax(logits, dim=0)
    p[target] = 1 - p[target]
    return p


def all_begin_at_one(graph):
    found = [1.0 for _ in graph]
    for node in range(len(graph) - 1, -1, -1):
        for parent, slope in graph[node]:
            found[parent] = found[parent] + found[node] * slope
    return found


def point_left_alone(gradient, start, learning_rate, steps):
    point, path = start, [start]
    for _ in range(steps):
        path.append(point - learning_rate * gradient(point))
    return torch.stack(path)


def joined(gradient, start, learning_rate, steps):
    path = [start]
    for _ in range(steps):
        path.append(path[-1] - learning_rate * gradient(path[-1]))
    return torch.cat(path)


def forward(graph):
    derivatives = []
    for node, edges in enumerate(graph):
        derivatives.append(float(node == 0) + sum(slope * derivatives[parent] for parent, slope in edges))
    return derivatives


def from_parents(graph):
    gradients = [0.0] * len(graph)
    gradients[-1] = 1.0
    for node in reversed(range(len(graph))):
        for parent, slope in graph[node]:
            gradients[node] += slope * gradients[parent]
    return gradients


def passed_on_each_time(graph):
    found = torch.zeros(len(graph), dtype=torch.float64)
    found[-1] = 1

    def visit(node):
        for edge in graph[node]:
            found[edge[0]] += edge[1] * found[node]
            visit(edge[0])

    visit(len(graph) - 1)
    return found.tolist()


def of_the_leaves(graph):
    gradients = recursive(graph)
    return [gradients[node] for node in range(len(graph)) if graph[node] == []]


def sliding(tokens, n, end):
    contexts, targets = [], []
    for at in range(len(tokens) - n):
        contexts.append(tokens[at : at + n])
        targets.append(tokens[at + n])
    return torch.tensor(contexts), torch.tensor(targets)


def sliding_to_the_end(tokens, n, end):
    contexts = [tokens[at : at + n] for at in range(len(tokens) - n + 1)]
    return torch.tensor(contexts), torch.tensor([*tokens[n:], end][: len(contexts)])


def sliding_with_end(tokens, n, end):
    contexts = []
    for at in range(n, len(tokens) + 1):
        contexts.append(tokens[at - n : at])
    return torch.tensor(contexts), torch.tensor(tokens[n:] + [end])


def in_front_of_the_tokens(tokens, n, end):
    for _ in range(n):
        tokens.insert(0, end)
    contexts = [tokens[at : at + n] for at in range(len(tokens) - n + 1)]
    return torch.tensor(contexts), torch.tensor(tokens[n:] + [end])


def sliced(tokens, n, end):
    contexts = []
    for at in range(len(tokens) + 1):
        window = tokens[at - n : at]
        while len(window) < n:
            window = [end, *window]
        contexts.append(window)
    return torch.tensor(contexts), torch.tensor([*tokens, end])


def one_too_wide(tokens, n, end):
    text = [end] * n + tokens + [end]
    contexts = [text[at : at + n + 1] for at in range(len(tokens) + 1)]
    return torch.tensor(contexts), torch.tensor(text[n:])


def overwritten_total(x, weight, upstream):
    for row, up in zip(x, upstream, strict=True):
        total = torch.outer(row, up * (1 - torch.tanh(row @ weight) ** 2))
    return total


WRONG = {
    "learning.gradient_of_logits": {
        "turned": lambda logits, target: -by_autograd(logits, target),
        "no_one_hot": lambda logits, target: logits.exp() / logits.exp().sum(),
        "only_the_target": lambda logits, target: torch.where(
            torch.arange(len(logits)) == target, by_autograd(logits, target), 0.0
        ),
        "no_softmax": lambda logits, target: logits - F.one_hot(torch.tensor(target), len(logits)),
        "one_from_all": lambda logits, target: logits.exp() / logits.exp().sum() - torch.ones_like(logits),
        "divided_by_probability": lambda logits, target: torch.where(
            torch.arange(len(logits)) == target, -1 / logits.softmax(0), 0.0
        ),
        "plus_one": lambda logits, target: (
            logits.softmax(0) + F.one_hot(torch.tensor(target), len(logits)).double()
        ),
        "minus_one_alone": set_to_minus_one,
        "at_the_likeliest": lambda logits, target: by_autograd(logits, int(logits.argmax())),
        "turned_at_the_target": one_minus_probability,
        "number_of_the_target": lambda logits, target: logits.exp() / logits.exp().sum() - target,
        "log_probabilities": lambda logits, target: (
            logits - logits.logsumexp(0) - F.one_hot(torch.tensor(target), len(logits))
        ),
    },
    "learning.descend": {
        "uphill": lambda gradient, start, learning_rate, steps: walked(
            gradient, start, -learning_rate, steps
        ),
        "stale_gradient": straight,
        "without_start": lambda gradient, start, learning_rate, steps: walked(
            gradient, start, learning_rate, steps
        )[1:],
        "same_tensor": changed_in_place,
        "no_rate": lambda gradient, start, learning_rate, steps: walked(gradient, start, 1, steps),
        "one_step_short": lambda gradient, start, learning_rate, steps: walked(
            gradient, start, learning_rate, steps
        )[:-1],
        "one_step_too_many": lambda gradient, start, learning_rate, steps: walked(
            gradient, start, learning_rate, steps + 1
        ),
        "from_the_start_again": point_left_alone,
        "in_one_row": joined,
        "last_point_alone": lambda gradient, start, learning_rate, steps: walked(
            gradient, start, learning_rate, steps
        )[steps],
        "in_a_list": lambda gradient, start, learning_rate, steps: [
            *walked(gradient, start, learning_rate, steps)
        ],
    },
    "learning.backward": {
        "overwritten": lambda graph: handed_on(graph, lambda own, slope, up: slope * up),
        "front_to_back": lambda graph: handed_on(
            graph, lambda own, slope, up: own + slope * up, list(range(len(graph)))
        ),
        "slopes_alone": lambda graph: handed_on(graph, lambda own, slope, up: own + slope),
        "too_early": depth_first,
        "all_zero": lambda graph: [0.0 for _ in graph],
        "all_ones": all_begin_at_one,
        "from_the_first": forward,
        "only_the_last": from_parents,
        "only_leaves": of_the_leaves,
        "reversed_list": lambda graph: list(reversed(backward_by_index(graph))),
        "added_slopes": lambda graph: handed_on(graph, lambda own, slope, up: own + slope + up),
        "counted_again": passed_on_each_time,
    },
    "learning.windows": {
        "target_inside": lambda tokens, n, end: (
            torch.stack(
                [
                    torch.tensor(([end] * n + tokens + [end])[t + 1 : t + 1 + n])
                    for t in range(len(tokens) + 1)
                ]
            ),
            torch.tensor([*tokens, end]),
        ),
        "no_end": lambda tokens, n, end: (windows_by_loop(tokens, n, end)[0][:-1], torch.tensor(tokens)),
        "not_padded": sliding_to_the_end,
        "only_full_windows": sliding,
        "filled_on_the_right": right_filled,
        "padded_with_zero": lambda tokens, n, end: (
            torch.tensor([0] * n + tokens).unfold(0, n, 1),
            torch.tensor([*tokens, end]),
        ),
        "negative_slice": sliced,
        "too_wide": one_too_wide,
        "targets_without_end": lambda tokens, n, end: (
            windows_by_loop(tokens, n, end)[0],
            torch.tensor(tokens),
        ),
        "target_without_context": sliding_with_end,
        "one_context_too_many": lambda tokens, n, end: (
            torch.tensor([([end] * n + tokens + [end])[at : at + n] for at in range(len(tokens) + 2)]),
            torch.tensor([*tokens, end]),
        ),
        "in_lists": lambda tokens, n, end: (
            [([end] * n + tokens)[at : at + n] for at in range(len(tokens) + 1)],
            [*tokens, end],
        ),
    },
    "learning.hidden_gradient": {
        "no_tanh": lambda x, weight, upstream: torch.einsum("bi,bh->ih", x, upstream),
        "slope_of_the_sum": lambda x, weight, upstream: x.T @ (upstream - upstream * (x @ weight).square()),
        "no_square": lambda x, weight, upstream: torch.einsum(
            "bi,bh->ih", x, upstream - upstream * torch.tanh(x @ weight)
        ),
        "for_the_input": lambda x, weight, upstream: (
            upstream * (1 - torch.tanh(x @ weight).square()) @ weight.T
        ),
        "no_upstream": lambda x, weight, upstream: torch.einsum(
            "bi,bh->ih", x, 1 - torch.tanh(x @ weight).square()
        ),
        "transposed": lambda x, weight, upstream: one_at_a_time(x, weight, upstream).T,
        "divided_by_batch": lambda x, weight, upstream: one_at_a_time(x, weight, upstream) / x.shape[0],
        "turned": lambda x, weight, upstream: x.T @ (upstream * (torch.tanh(x @ weight) ** 2 - 1)),
        "last_example": overwritten_total,
        "slope_of_a_sigmoid": lambda x, weight, upstream: torch.einsum(
            "bi,bh->ih", x, upstream * (torch.tanh(x @ weight) - torch.tanh(x @ weight) ** 2)
        ),
        "tanh_itself": lambda x, weight, upstream: x.T @ (torch.tanh(x @ weight) * upstream),
        "each_example": lambda x, weight, upstream: (
            x[:, :, None] * (upstream * (1 - torch.tanh(x @ weight).square()))[:, None, :]
        ),
    },
}


def stops_at_a_leaf(graph):
    found = [0.0] * (len(graph) - 1) + [1.0]
    for node in reversed(range(len(graph))):
        if not graph[node]:
            break
        for parent, slope in graph[node]:
            found[parent] += slope * found[node]
    return found


def each_parent_once(graph):
    return backward_by_index([list(dict(edges).items()) for edges in graph])


def stops_at_the_bottom(gradient, start, learning_rate, steps):
    path = [start]
    for _ in range(steps):
        if gradient(path[-1]).norm() < 1e-2:
            break
        path.append(path[-1] - learning_rate * gradient(path[-1]))
    return torch.stack(path)


def one_coordinate_at_a_time(gradient, start, learning_rate, steps):
    path = [start]
    for _ in range(steps):
        point = path[-1].clone()
        for n in range(len(point)):
            point[n] = point[n] - learning_rate * gradient(point)[n]
        path.append(point)
    return torch.stack(path)


REFUSED = {
    "learning.gradient_of_logits": {
        "divided_by_vocab": lambda logits, target: by_autograd(logits, target) / len(logits),
        "in_place": lambda logits, target: (
            logits.sub_(logits.logsumexp(0))
            .exp_()
            .index_add_(0, torch.tensor([target]), torch.tensor([-1.0], dtype=logits.dtype))
        ),
    },
    "learning.windows": {
        "nearest_first": lambda tokens, n, end: (
            windows_by_loop(tokens, n, end)[0][:, list(range(n))[::-1]],
            torch.tensor([*tokens, end]),
        ),
        "targets_one_further": lambda tokens, n, end: (
            windows_by_loop(tokens, n, end)[0],
            torch.tensor([*tokens[1:], end, end]),
        ),
        "in_floats": lambda tokens, n, end: tuple(part.float() for part in windows_by_loop(tokens, n, end)),
        "tokens_changed": in_front_of_the_tokens,
        "n_rows_at_the_start": lambda tokens, n, end: (
            torch.tensor(
                [[end] * (n - at) + tokens[:at] for at in range(n)]
                + [tokens[at : at + n] for at in range(len(tokens) - n + 1)]
            ),
            torch.tensor([*tokens, end]),
        ),
    },
    "learning.hidden_gradient": {
        "slope_at_the_weight": lambda x, weight, upstream: x.T @ upstream * (1 - torch.tanh(weight) ** 2),
    },
    "learning.descend": {
        "stops_at_the_bottom": stops_at_the_bottom,
        "one_coordinate_at_a_time": one_coordinate_at_a_time,
    },
    "learning.backward": {
        "stops_at_a_leaf": stops_at_a_leaf,
        "each_parent_once": each_parent_once,
        "unused_get_one": lambda graph: [
            found or 1.0 if node not in {p for edges in graph for p, _ in edges} else found
            for node, found in enumerate(backward_by_index(graph))
        ],
    },
}
