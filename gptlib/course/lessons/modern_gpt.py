"""The modern GPT."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor
from torch.nn import functional as F

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.model.experts import route
from gptlib.model.masks import sliding_window_mask
from gptlib.model.norms import rms_norm
from gptlib.viz import figures


def swiglu(
    x: Float[Tensor, "*batch d_model"],
    gate: Float[Tensor, "d_mlp d_model"],
    up: Float[Tensor, "d_mlp d_model"],
    down: Float[Tensor, "d_model d_mlp"],
) -> Float[Tensor, "*batch d_model"]:
    hidden = F.silu(x @ gate.T) * (x @ up.T)  # (…, d_model) -> (…, d_mlp)
    return hidden @ down.T  # (…, d_mlp) -> (…, d_model)


def share(
    x: Float[Tensor, "batch kv_head key d_head"], n_heads: int
) -> Float[Tensor, "batch head key d_head"]:
    return x.repeat_interleave(n_heads // x.shape[1], dim=1)


def window_mask(n: int, window: int) -> Bool[Tensor, "query key"]:
    return sliding_window_mask(n, n, window)


WINDOW_MASK_SOURCE = """
def window_mask(n, window):
    queries, keys = torch.arange(n)[:, None], torch.arange(n)
    distance = queries - keys  # (query, 1) - (key,) -> (query, key): how far the key lies before the query
    return (distance >= 0) & (distance < window)
"""


def distances(n: int) -> Tensor:
    """How far each key lies before each query, (query, key); negative for later keys."""
    return torch.arange(n)[:, None] - torch.arange(n)


def vectors_and_weights(generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    yield torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0])
    for shape in ((3, 5), (2, 4, 6)):
        yield 1 + 2 * torch.randn(shape, generator=generator), torch.randn(shape[-1], generator=generator)
    small = 0.003 * torch.randn(2, 3, generator=generator)  # so small that eps is felt
    yield small, torch.randn(3, generator=generator)


def gated_mlps(generator: Generator) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    for batch, d_model, d_mlp in (((), 2, 3), ((4,), 3, 5), ((2, 3), 4, 7)):
        x = torch.randn(*batch, d_model, generator=generator)
        gate, up = (2 * torch.randn(d_mlp, d_model, generator=generator) for _ in range(2))
        yield x, gate, up, torch.randn(d_model, d_mlp, generator=generator)


def keys_and_heads(generator: Generator) -> Iterator[tuple[Tensor, int]]:
    for batch, kv_heads, n_keys, d_head, n_heads in ((1, 2, 1, 2, 4), (2, 3, 4, 2, 6), (2, 2, 5, 3, 6)):
        yield torch.randn(batch, kv_heads, n_keys, d_head, generator=generator), n_heads


def lengths_and_windows(generator: Generator) -> Iterator[tuple[int, int]]:
    yield 4, 2
    yield 7, 3
    yield 5, 1
    yield 3, 9


def router_probabilities(generator: Generator) -> Iterator[tuple[Tensor, int]]:
    yield torch.tensor([[0.5, 0.2, 0.3]]), 2
    for shape, n_active in (((4, 5), 2), ((2, 3, 6), 3)):
        yield (2 * torch.randn(shape, generator=generator)).softmax(dim=-1), n_active


def chosen(probabilities: Tensor, n_active: int, largest: bool = True) -> Tensor:
    """1 for the experts that are chosen, 0 for the others."""
    places = probabilities.topk(n_active, dim=-1, largest=largest).indices
    return torch.zeros_like(probabilities).scatter(-1, places, 1.0)


RMS_NORM_SOURCE = """\
def rms_norm(x, weight, eps=1e-5):
    mean_square = x.square().mean(dim=-1, keepdim=True)  # (…, 1)
    return weight * x / torch.sqrt(mean_square + eps)
"""

RMS_NORM = Exercise(
    name="modern.rms_norm",
    reference=rms_norm,
    source=RMS_NORM_SOURCE,
    inputs=vectors_and_weights,
    buys="It is the norm of Llama, Qwen and Mixtral, and later in this notebook that of queries and keys.",
    hints=(
        "Square, take the mean over the features, take the root: that is the size of a number in the vector.",
        "x is (…, d_model); the mean of squares is over the last dimension and keeps it: (…, 1).",
        "weight times x, divided by the square root of (x squared, its mean over dim=-1 with keepdim=True, plus eps).",
    ),
    misconceptions=(
        Misconception(
            "mean_removed",
            "the mean was taken away first. That is LayerNorm; an RMSNorm leaves the mean where it is.",
            lambda x, weight, eps=1e-5: rms_norm(x - x.mean(dim=-1, keepdim=True), weight, eps),
        ),
        Misconception(
            "no_root",
            "you divided by the mean square. Its root has the size of a number in x; the square does not.",
            lambda x, weight, eps=1e-5: weight * x / (x.square().mean(dim=-1, keepdim=True) + eps),
        ),
        Misconception(
            "length",
            "you divided by the length of the vector, so its squares sum to 1. Their mean should be 1: take the mean, not the sum.",
            lambda x, weight, eps=1e-5: weight * x / (x.square().sum(dim=-1, keepdim=True) + eps).sqrt(),
        ),
        Misconception(
            "no_weight",
            "the learned weight is missing: after the norm every feature is multiplied by its factor.",
            lambda x, weight, eps=1e-5: rms_norm(x, torch.ones_like(weight), eps),
        ),
        Misconception(
            "over_everything",
            "the mean runs over all vectors together. Each vector is normed by itself: dim=-1, keepdim=True.",
            lambda x, weight, eps=1e-5: weight * x / (x.square().mean() + eps).sqrt(),
        ),
    ),
    minutes=5,
    difficulty=1,
)

SWIGLU = Exercise(
    name="modern.swiglu",
    reference=swiglu,
    inputs=gated_mlps,
    buys="This is the MLP of nearly every model since Llama.",
    hints=(
        "Two products widen x. One passes through SiLU and becomes the gate; the other is what the gate lets through.",
        "x (…, d_model) times gate.T (d_model, d_mlp) is (…, d_mlp), and so is x times up.T; down.T leads back.",
        "F.silu of x @ gate.T, times x @ up.T number by number, then @ down.T.",
    ),
    misconceptions=(
        Misconception(
            "other_gate",
            "SiLU bends the values that are carried. It bends the gate; the other product stays as it is.",
            lambda x, gate, up, down: swiglu(x, up, gate, down),
        ),
        Misconception(
            "both_bent",
            "both products pass through SiLU. Only the gate does.",
            lambda x, gate, up, down: (F.silu(x @ gate.T) * F.silu(x @ up.T)) @ down.T,
        ),
        Misconception(
            "sigmoid",
            "the gate is a plain sigmoid, from 0 to 1. SiLU is the score times its sigmoid, and may be larger than 1.",
            lambda x, gate, up, down: (torch.sigmoid(x @ gate.T) * (x @ up.T)) @ down.T,
        ),
        Misconception(
            "added",
            "gate and values were added. A gate multiplies: closed, it lets nothing through.",
            lambda x, gate, up, down: (F.silu(x @ gate.T) + x @ up.T) @ down.T,
        ),
        Misconception(
            "gelu",
            "the gate passes through GELU. That is GEGLU, a relative; here it is SiLU.",
            lambda x, gate, up, down: (F.gelu(x @ gate.T) * (x @ up.T)) @ down.T,
        ),
    ),
    minutes=6,
    difficulty=2,
)

SHARE = Exercise(
    name="modern.share",
    reference=share,
    inputs=keys_and_heads,
    buys="The cache holds the few heads; attention, which knows nothing of groups, gets as many as it has queries.",
    hints=(
        "Each head of keys is wanted several times in a row: once for every query head of its group.",
        "The group has n_heads // x.shape[1] heads. (batch, kv_head, key, d_head) -> (batch, n_heads, key, d_head).",
        "torch's repeat_interleave repeats each entry of a dimension in place: A, A, B, B. The dimension is 1.",
    ),
    misconceptions=(
        Misconception(
            "tiled",
            "the heads come as A, B, A, B. Neighbors share: A, A, B, B. With trained weights the other order is another model.",
            lambda x, n_heads: x.repeat(1, n_heads // x.shape[1], 1, 1),
        ),
        Misconception(
            "keys_repeated",
            "the keys of each head were repeated, not the heads. Heads are dimension 1.",
            lambda x, n_heads: x.repeat_interleave(n_heads // x.shape[1], dim=2),
        ),
        Misconception(
            "first_head_for_all",
            "all query heads got the keys of the first head. That is what one head of keys would give; here there are several.",
            lambda x, n_heads: x[:, :1].expand(-1, n_heads, -1, -1),
        ),
        Misconception(
            "n_heads_each",
            "each head was repeated n_heads times. The group is smaller: n_heads divided by the number of heads of keys.",
            lambda x, n_heads: x.repeat_interleave(n_heads, dim=1),
        ),
    ),
    minutes=6,
    difficulty=2,
)

WINDOW_MASK = Exercise(
    name="modern.window_mask",
    reference=window_mask,
    inputs=lengths_and_windows,
    buys="With it a cache stops growing. The next cell multiplies your mask with itself to see how far several layers look.",
    hints=(
        "What decides is how far a key lies before its query. Distance 0 is the query's own position.",
        "torch.arange(n)[:, None] - torch.arange(n) is (query, key): the distance of every key from every query.",
        "True where the distance is at least 0 and below window.",
    ),
    source=WINDOW_MASK_SOURCE,
    misconceptions=(
        Misconception(
            "one_too_many",
            "a query sees window positions besides its own. Its own counts: window in all.",
            lambda n, window: (distances(n) >= 0) & (distances(n) <= window),
        ),
        Misconception(
            "both_sides",
            "later keys are visible too. A window does not lift the ban on the future.",
            lambda n, window: distances(n).abs() < window,
        ),
        Misconception(
            "not_itself",
            "a query cannot see its own position. It can: distance 0 is inside the window.",
            lambda n, window: (distances(n) >= 1) & (distances(n) <= window),
        ),
        Misconception(
            "blocks",
            "the text was cut into blocks of the window's size. The window slides: every query has the same reach.",
            lambda n, window: (
                (distances(n) >= 0) & (torch.arange(n)[:, None] // window == torch.arange(n)[None] // window)
            ),
        ),
        Misconception(
            "no_window",
            "this is the causal mask: nothing is too far back. Hide what lies window tokens or more before the query.",
            lambda n, window: distances(n) >= 0,
        ),
        Misconception(
            "hidden",
            "True and False are swapped: True is where a query may attend.",
            lambda n, window: (distances(n) < 0) | (distances(n) >= window),
        ),
    ),
    minutes=7,
    difficulty=2,
)

ROUTE_SOURCE = """\
def route(probabilities, n_active):
    kept, chosen = probabilities.topk(n_active, dim=-1)  # (…, expert) -> (…, n_active)
    shares = kept / kept.sum(dim=-1, keepdim=True)
    return torch.zeros_like(probabilities).scatter(-1, chosen, shares)
"""

ROUTE = Exercise(
    name="modern.route",
    reference=route,
    source=ROUTE_SOURCE,
    inputs=router_probabilities,
    buys="That is all a mixture of experts adds to a GPT: who gets which token, and how much each answer counts.",
    hints=(
        "Find the n_active largest in each row, divide them by their sum, and put them where they were. The rest is 0.",
        "topk gives values and places, both (…, n_active); the answer is (…, expert) again.",
        "values, places = probabilities.topk(n_active, dim=-1); divide values by their sum over dim=-1 (keepdim=True); "
        "scatter them into zeros_like(probabilities) at places.",
    ),
    misconceptions=(
        Misconception(
            "not_shared_anew",
            "the kept probabilities do not sum to 1 any more. Divide them by their sum, or a token with an unsure router gets a weak answer.",
            lambda probabilities, n_active: probabilities * chosen(probabilities, n_active),
        ),
        Misconception(
            "softmax_again",
            "a softmax was taken of the probabilities. They are no scores: in proportion means divided by their sum.",
            lambda probabilities, n_active: probabilities.masked_fill(
                chosen(probabilities, n_active) == 0, float("-inf")
            ).softmax(dim=-1),
        ),
        Misconception(
            "equal_shares",
            "the chosen experts count alike. The likelier one counts more, and without that the router would get no gradient.",
            lambda probabilities, n_active: chosen(probabilities, n_active) / n_active,
        ),
        Misconception(
            "all_of_them",
            "no expert is left out. Only the n_active likeliest of each token count; that is what saves the work.",
            lambda probabilities, n_active: probabilities,
        ),
        Misconception(
            "only_the_best",
            "one expert gets all. n_active of them share the token.",
            lambda probabilities, n_active: chosen(probabilities, 1),
        ),
        Misconception(
            "smallest",
            "the least likely experts were chosen.",
            lambda probabilities, n_active: (
                probabilities
                * chosen(probabilities, n_active, largest=False)
                / (probabilities * chosen(probabilities, n_active, largest=False)).sum(dim=-1, keepdim=True)
            ),
        ),
    ),
    minutes=10,
    difficulty=3,
)

LESSON = Lesson(
    topic="modern_gpt",
    exercises=(RMS_NORM, SWIGLU, SHARE, WINDOW_MASK, ROUTE),
    predictions=(
        Prediction(
            "modern.largest_gain",
            "GPT-2 is changed one step at a time into a model of today, and each change is kept when the next is "
            "made. Which step lowers the loss most?",
            (
                "rotary positions",
                "Distance matters everywhere in a story. A rotary score knows it from the start; learned positions learn it place by place.",
            ),
            (
                (
                    "RMSNorm",
                    "The mean that it leaves alone is a small part of a vector. It saves work, hardly any loss.",
                ),
                (
                    "SwiGLU",
                    "At equal size its gain is small beside that of the positions.",
                ),
                (
                    "grouped queries",
                    "They take something away: half of the keys and values. What they buy is memory.",
                ),
            ),
            shows=lambda path, means: figures.bar_chart(
                path,
                means,
                highlight=[path[1 + int(np.argmax(-np.diff(means)))]],
                label="loss above the floor (nats a token)",
                title="From GPT-2 down to today: each bar keeps the changes above it",
            ),
            finding="Each bar keeps the changes above it, from GPT-2 down to today. The step to rotary positions "
            "lowers the loss most. RMSNorm and SwiGLU hardly change it here, and leaving out the biases even raises "
            "it.",
        ),
        Prediction(
            "modern.reach",
            "With a window of 4, a query sees itself and the 3 tokens before it. How far back can a model with 3 "
            "layers look?",
            (
                "9 tokens",
                "3 tokens in each layer: what left the window of one layer was gathered by tokens that are still in it.",
            ),
            (
                ("3 tokens", "That is one layer. The tokens in the window have gathered from before it."),
                ("12 tokens", "The window counts the query itself, so each layer adds window − 1."),
                ("64 tokens", "Reach is added from layer to layer, not multiplied."),
            ),
            shows=lambda layers_needed, n, window: figures.grid_heatmap(
                layers_needed,
                [str(i) for i in range(n)],
                [str(i) for i in range(n)],
                row_name="query",
                column_name="key",
                label="layers needed",
                number="{:.0f}",
                annotate=True,
                masked=layers_needed == 0,
                title=f"A window of {window}: every layer reaches {window - 1} tokens further",
            ),
            finding="Every layer reaches window − 1 tokens further, so the reach is the number of layers times "
            "(window − 1).",
        ),
        Prediction(
            "modern.hot",
            "Three models, one with QK-norm, one with soft caps and one with neither, are trained at ten times the "
            "learning rate. Which of them learns best?",
            (
                "the one with QK-norm",
                "Its scores cannot grow with the lengths of queries and keys, so attention stays soft enough to learn.",
            ),
            (
                (
                    "the one with soft caps",
                    "The cap bounds the scores, but a score at the bound has no gradient, and stays there.",
                ),
                (
                    "the one with neither: fewer parts, fewer troubles",
                    "Nothing keeps its scores from growing. Then every query points at one key, and cannot learn another.",
                ),
                (
                    "none learns anything",
                    "One does: what fails at this learning rate is attention, and that can be kept from failing.",
                ),
            ),
            shows=lambda steps, rows, hot, record: figures.loss_curves(
                {
                    name: (steps, np.mean([run["curve"] for run in rows[row]["runs"].values()], axis=0))
                    for name, row in hot.items()
                },
                floor=record["floor"],
                title="Ten times the learning rate: short queries and keys survive it",
            ),
            finding="The model with QK-norm learns best, and the one with neither learns least. Without either, "
            "scores run off into the thousands; then attention points at single tokens, and its gradient is gone. A "
            "cap stops the scores, but a score at the cap has hardly any gradient either: $\\tanh$ is flat there. "
            "QK-norm never lets it come to that.",
        ),
    ),
    quiz=(
        Question(
            "modern.whose_config",
            "A `config.json` has 8 heads of keys for 32 of queries, a `sliding_window`, no experts and no norms in its heads. Whose may it be?",
            ("Mistral's", "Llama's parts and a window: that is what Mistral 7B added."),
            (
                ("GPT-2's", "GPT-2 has as many heads of keys as of queries, and sees all that came before."),
                ("Qwen3's", "Qwen3 norms the queries and keys of each head."),
                ("Mixtral's", "Mixtral has experts where Mistral has an MLP."),
            ),
        ),
        Question(
            "modern.width_of_swiglu",
            "An MLP with `d_mlp` = 3,072 becomes a SwiGLU of the same number of parameters. How wide is it?",
            ("2,048", "Three matrices for two, so two thirds of the width."),
            (
                ("3,072", "It has a third matrix, so it would be half as large again."),
                ("1,536", "That would be right for four matrices instead of two."),
                ("4,608", "It has more matrices, so each has to be smaller."),
            ),
        ),
        Question(
            "modern.cache_of_groups",
            "32 heads of queries, 8 of keys and values, instead of 32 of each. What happens to the cache?",
            (
                "a quarter of the bytes",
                "The cache holds keys and values alone, and there are a quarter as many.",
            ),
            (
                ("five eighths of the bytes", "Queries are not in the cache: they are used once."),
                ("half of the bytes", "Both keys and values shrink to a quarter, so their sum does."),
                (
                    "the same: they are repeated",
                    "They are repeated when attention is computed; the cache holds them once.",
                ),
            ),
        ),
        Question(
            "modern.window_and_grouping",
            "Texts of a million tokens, and the cache does not fit. Which change bounds it whatever the length?",
            ("a sliding window", "It keeps window − 1 tokens in each layer and forgets the rest."),
            (
                ("grouped queries", "They divide the cache by the size of the group; it still grows."),
                ("rotary positions", "They turn keys before these are stored; as many are stored."),
                ("a mixture of experts", "Experts stand where the MLP was. The cache is attention's."),
            ),
        ),
        Question(
            "modern.within_noise",
            "One run each: 0.52 with the change, 0.55 without. Three seeds of one model lie between 0.46 and 0.60. What do you know?",
            (
                "nothing yet",
                "The difference is smaller than that between seeds. More seeds, or a larger effect, could tell.",
            ),
            (
                ("the change helps by 0.03", "Another seed might say the opposite, by more."),
                (
                    "the change does not help",
                    "That is not known either: an effect of 0.03 would be hidden in this noise.",
                ),
            ),
        ),
        Question(
            "modern.at_the_cap",
            "A score of 400 passes through a soft cap at 50. What is the trouble?",
            (
                "its gradient is nearly 0",
                "Far out tanh is flat: the score can hardly be told to come back.",
            ),
            (
                ("it becomes negative", "tanh keeps the sign: the score becomes nearly 50."),
                (
                    "it is cut off and ties with all others",
                    "Scores keep their order, though large ones come close together.",
                ),
                (
                    "small scores change as well",
                    "Near 0 the curve is a straight line; that is what makes it soft.",
                ),
            ),
        ),
        Question(
            "modern.active",
            "8 experts of 10 million parameters in each block, 2 for a token. What does a token pay for?",
            (
                "the work of 20 million, the memory of 80",
                "All experts are kept, since any may be chosen; two are computed.",
            ),
            (
                (
                    "the work and memory of 20 million",
                    "The next token may choose others, so all of them have to be there.",
                ),
                ("the work and memory of 80 million", "Six of the eight are not computed for this token."),
                (
                    "the work of 80 million, the memory of 20",
                    "The other way round: few are computed, all are kept.",
                ),
            ),
        ),
        Question(
            "modern.balance",
            "Why is there a load-balance loss at all?",
            (
                "an expert that is chosen more learns more, and is chosen more",
                "The router feeds its favorites until the rest are dead weight. The loss pulls against it.",
            ),
            (
                (
                    "tokens are of equal importance",
                    "It does not weigh tokens. It spreads them over the experts.",
                ),
                (
                    "softmax has no gradient without it",
                    "It has: the chosen experts' shares depend on the router's scores.",
                ),
                (
                    "experts should all learn the same",
                    "Then one would do. They should all have work, and may differ in it.",
                ),
            ),
        ),
    ),
    objectives=(
        ("modern.rms_norm", "modern.swiglu", "modern.share", "modern.route", "modern.width_of_swiglu"),
        (
            "modern.largest_gain",
            "modern.within_noise",
            "modern.window_mask",
            "modern.reach",
            "modern.balance",
        ),
        ("modern.cache_of_groups", "modern.window_and_grouping", "modern.active"),
        ("modern.hot", "modern.at_the_cap"),
        ("modern.whose_config",),
    ),
)
