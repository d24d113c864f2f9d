"""Many heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.model.attention import attend
from gptlib.model.masks import causal_mask
from gptlib.viz import figures
from gptlib.viz.drawing import Drawing


def split_heads(
    x: Float[Tensor, "*batch seq d_model"], n_heads: int
) -> Float[Tensor, "*batch head seq d_head"]:
    x = x.unflatten(-1, (n_heads, -1))  # (…, seq, d_model) -> (…, seq, head, d_head)
    return x.transpose(-3, -2)  # (…, seq, head, d_head) -> (…, head, seq, d_head)


def merge_heads(x: Float[Tensor, "*batch head seq d_head"]) -> Float[Tensor, "*batch seq d_model"]:
    # (…, head, seq, d_head) -> (…, seq, head, d_head) -> (…, seq, d_model)
    return x.transpose(-3, -2).flatten(-2)


def contribution(
    mixed: Float[Tensor, "*batch head seq d_head"], weight: Float[Tensor, "d_model d_model"], head: int
) -> Float[Tensor, "*batch seq d_model"]:
    d_head = mixed.shape[-1]
    columns = weight[:, head * d_head : (head + 1) * d_head]  # (d_model, d_head)
    return mixed[..., head, :, :] @ columns.T


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.output = nn.Linear(d_model, d_model)

    def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        queries, keys, values = self.qkv(x).chunk(3, dim=-1)  # three of (batch, seq, d_model)
        split = [part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in (queries, keys, values)]
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        mixed, self.weights = attend(*split, mask)  # (batch, head, seq, d_head)
        mixed = mixed.transpose(1, 2).flatten(2)  # (batch, head, seq, d_head) -> (batch, seq, d_model)
        return self.output(mixed)


def reshape_to_heads(
    x: Float[Tensor, "*batch seq d_model"], n_heads: int
) -> Float[Tensor, "*batch head seq d_head"]:
    *batch, seq, d_model = x.shape
    return x.reshape(*batch, n_heads, seq, d_model // n_heads)


def reshape_from_heads(x: Float[Tensor, "*batch head seq d_head"]) -> Float[Tensor, "*batch seq d_model"]:
    *batch, head, seq, d_head = x.shape
    return x.reshape(*batch, seq, head * d_head)


def layer_with(
    split: Callable[[Tensor, int], Tensor] = split_heads,
    merge: Callable[[Tensor], Tensor] = merge_heads,
    order: Sequence[int] = (0, 1, 2),
    masked: bool = True,
    projected: bool = True,
    factor: Callable[[int, int], float] = lambda n_heads, d_head: 1.0,
) -> type[MultiHeadAttention]:
    """The layer with one step done otherwise.

    order: which thirds of qkv are taken for queries, keys, values. factor: of n_heads and d_head, what the
    scores are multiplied by.
    """

    class Layer(MultiHeadAttention):
        def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
            thirds = self.qkv(x).chunk(3, dim=-1)
            queries, keys, values = (split(thirds[third], self.n_heads) for third in order)
            mask = causal_mask(x.shape[1]) if masked else None
            queries = queries * factor(self.n_heads, x.shape[-1] // self.n_heads)
            mixed, self.weights = attend(queries, keys, values, mask)
            merged = merge(mixed)
            return self.output(merged) if projected else merged

    return Layer


class HeadByHeadThirds(MultiHeadAttention):
    """Cuts qkv into heads first, and each head into its queries, keys and values."""

    def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        queries, keys, values = split_heads(self.qkv(x), self.n_heads).chunk(3, dim=-1)
        mixed, self.weights = attend(queries, keys, values, causal_mask(x.shape[1]))
        return self.output(merge_heads(mixed))


def layer_on(layer_class: type[nn.Module], x: Float[Tensor, "batch seq d_model"], n_heads: int) -> object:
    """What a layer with the weights of the reference gives: (output, weights)."""
    d_model = x.shape[-1]
    weights = MultiHeadAttention(d_model, n_heads).state_dict()
    layer = layer_class(d_model, n_heads)
    if set(layer.state_dict()) != set(weights):
        raise AttributeError("keep the two maps of __init__ as they are, self.qkv and self.output")
    layer.load_state_dict(weights)
    try:
        output = layer(x)
    except ValueError as error:
        if "attend to nothing" in str(error):
            raise ValueError(
                "your mask leaves some query without a key to look at. Here True means that a query may look (in torch's own "
                "layer it means the opposite), and every query may look at its own position"
            ) from None
        raise
    if output is ...:
        return ...
    if output is None:
        raise TypeError("forward returns None; is a `return` missing?")
    if isinstance(output, tuple):
        raise TypeError("forward should return the output alone and keep the weights as self.weights")
    patterns = getattr(layer, "weights", None)
    if patterns is None:
        raise AttributeError("forward needs to keep the patterns as self.weights, (batch, head, query, key)")
    if isinstance(patterns, Tensor) and patterns.triu(1).any() and not patterns.tril(-1).any():
        raise ValueError(
            "each word looks at itself and at the words after it. The mask is upside down: a query may look at itself and at the words before it"
        )
    if isinstance(patterns, Tensor) and not torch.allclose(patterns.sum(dim=-1).float(), torch.tensor(1.0)):
        raise ValueError(
            "the rows of self.weights, one for each query, do not sum to 1. Keep the second result of attend or, if you write attention "
            "out by hand, a softmax over the keys, dim=-1, taken after the mask"
        )
    return output, patterns


def one_tensor(answer: Callable[..., object], x: Tensor, *n_heads: int) -> object:
    """What an answer that moves dimensions gives."""
    try:
        result = answer(x, *n_heads)
    except RuntimeError as error:
        if "permute" in str(error):
            raise RuntimeError(
                "permute lists every dimension, so it works only for a fixed number of them. Swap two, counted from the back: "
                "transpose(-3, -2)"
            ) from None
        raise
    if isinstance(result, list | tuple):
        raise TypeError(
            "it returns several tensors, but one was asked for: torch.stack or torch.cat turns them into one"
        )
    return result


def split_on(answer: Callable[..., object], x: Float[Tensor, "*batch seq d_model"], n_heads: int) -> object:
    return one_tensor(answer, x, n_heads)


def merge_on(answer: Callable[..., object], x: Float[Tensor, "*batch head seq d_head"]) -> object:
    return one_tensor(answer, x)


def words_and_heads(generator: Generator) -> Iterator[tuple[Tensor, int]]:
    """Vectors, the first of which are easy to read, and how many heads share them."""
    yield torch.arange(4.0).view(1, 4), 2  # a single word keeps its dimension, as do a single text and head
    yield torch.arange(12.0).view(3, 4), 2
    yield torch.arange(6.0).view(1, 3, 2), 1
    yield torch.randn(2, 5, 12, generator=generator), 3
    yield torch.randn(2, 3, 4, 10, generator=generator), 5


def what_heads_return(generator: Generator) -> Iterator[tuple[Tensor]]:
    yield (torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]),)  # a single word
    yield (torch.arange(12.0).view(2, 3, 2),)
    yield (torch.arange(12.0).view(1, 2, 3, 2),)  # a single text
    yield (torch.randn(2, 3, 5, 4, generator=generator),)
    yield (torch.randn(2, 3, 5, 4, 2, generator=generator),)


def heads_and_a_matrix(generator: Generator) -> Iterator[tuple[Tensor, Tensor, int]]:
    # Two heads give one number each for a single word.
    yield torch.tensor([[[2.0]], [[3.0]]]), torch.tensor([[1.0, 10.0], [100.0, 1000.0]]), 1
    for *batch, n_heads, seq, d_head, head in (
        (1, 2, 3, 0),
        (2, 2, 2, 1),
        (3, 2, 4, 0),
        (1, 2, 2, 2, 1),
        (5, 4, 5, 3, 2),
    ):
        mixed = torch.randn(*batch, n_heads, seq, d_head, generator=generator)
        yield mixed, torch.randn(n_heads * d_head, n_heads * d_head, generator=generator), head


def alone(
    mixed: Float[Tensor, "*batch head seq d_head"], head: int
) -> Float[Tensor, "*batch head seq d_head"]:
    """What the heads return, with 0 for all heads but one."""
    kept = torch.arange(mixed.shape[-3]) == head
    return mixed * kept[:, None, None]


def own_rows(
    weight: Float[Tensor, "d_model d_model"], mixed: Float[Tensor, "*batch head seq d_head"], head: int
) -> Float[Tensor, "d_model d_model"]:
    """The matrix with 0 in all rows but those that make the head's own columns of the output."""
    kept = torch.arange(len(weight)) // mixed.shape[-1] == head
    return weight * kept[:, None]


def texts_and_heads(generator: Generator) -> Iterator[tuple[Tensor, int]]:
    for batch, seq, d_model, n_heads in ((1, 2, 4, 2), (2, 1, 6, 2), (2, 3, 6, 3), (3, 5, 8, 2)):
        yield torch.randn(batch, seq, d_model, generator=generator), n_heads


SPLIT_HEADS = Exercise(
    name="heads.split_heads",
    reference=split_heads,
    inputs=words_and_heads,
    use=split_on,
    buys="The head is now one more dimension, and attention treats it as it treats a batch: all heads at once, without a loop.",
    hints=(
        "Each head owns some of the columns, the same ones for every word. First cut each word into its heads, then bring the heads to the front.",
        "(…, seq, d_model) -> (…, seq, head, d_head) -> (…, head, seq, d_head). That takes two steps.",
        "unflatten the last dimension into (n_heads, -1), then transpose the dimensions -3 and -2.",
    ),
    misconceptions=(
        Misconception(
            "in_one_step",
            "you reshaped in one step. The shape is right, but some rows now hold a piece of the wrong word. Split the last dimension first, then swap.",
            reshape_to_heads,
        ),
        Misconception(
            "batch_in_the_heads",
            "you reshaped in one step to n_heads × seq × the rest. That mixes up the words, and a batch in front ends up among "
            "the heads. Split the last dimension first, then swap.",
            lambda x, n_heads: x.reshape(n_heads, x.shape[-2], -1),
        ),
        Misconception(
            "not_swapped",
            "the heads still come after the words: (…, seq, head, d_head). Swap the two, or each word will attend across its heads.",
            lambda x, n_heads: x.unflatten(-1, (n_heads, -1)),
        ),
        Misconception(
            "before_the_batch",
            "the head dimension comes first, even before the batch. It belongs right before seq: count dimensions from the back, -3 and -2.",
            lambda x, n_heads: x.unflatten(-1, (n_heads, -1)).movedim(-2, 0),
        ),
        Misconception(
            "first_two_swapped",
            "you swapped dimensions 0 and 1. With a batch in front those are batch and seq: count from the back, -3 and -2.",
            lambda x, n_heads: x.unflatten(-1, (n_heads, -1)).transpose(0, 1),
        ),
        Misconception(
            "one_and_two_swapped",
            "you swapped dimensions 1 and 2. Those are seq and head only if exactly one batch dimension comes before them: count from the back, -3 and -2.",
            lambda x, n_heads: x.unflatten(-1, (n_heads, -1)).transpose(1, 2),
        ),
        Misconception(
            "every_nth_column",
            "each head took every n-th column. In this course, as in torch, a head owns columns that stand next to each other.",
            lambda x, n_heads: x.unflatten(-1, (-1, n_heads)).movedim(-1, -3),
        ),
        Misconception(
            "width_for_number",
            "your heads are n_heads numbers wide. But n_heads says how many heads there are; each is d_model / n_heads wide.",
            lambda x, n_heads: x.unflatten(-1, (-1, n_heads)).transpose(-3, -2),
        ),
        Misconception(
            "last_two_swapped",
            "you swapped the last two dimensions, head and d_head. Swap seq and head instead: -3 and -2.",
            lambda x, n_heads: x.unflatten(-1, (n_heads, -1)).transpose(-1, -2),
        ),
    ),
    minutes=4,
    difficulty=1,
)

MERGE_HEADS = Exercise(
    name="heads.merge_heads",
    reference=merge_heads,
    inputs=what_heads_return,
    use=merge_on,
    buys="Merging undoes splitting, so nothing is lost or mixed up on the way.",
    hints=(
        "Undo the split, last step first: swap back, then put the heads of each word side by side.",
        "(…, head, seq, d_head) -> (…, seq, head, d_head) -> (…, seq, d_model).",
        "transpose the dimensions -3 and -2, then join the last two with flatten(-2).",
    ),
    misconceptions=(
        Misconception(
            "in_one_step",
            "you reshaped without swapping back, so a row holds numbers of several words instead of all heads of one word.",
            reshape_from_heads,
        ),
        Misconception(
            "not_swapped",
            "you joined the words of each head into one long row. Swap heads and words first, then join the heads of each word.",
            lambda x: x.flatten(-2),
        ),
        Misconception(
            "not_joined",
            "heads and words are swapped back, but the heads are not joined yet: flatten the last two dimensions into one.",
            lambda x: x.transpose(-3, -2),
        ),
        Misconception(
            "one_and_two_swapped_only",
            "you swapped dimensions 1 and 2. Those are heads and words only if exactly one batch dimension comes before them: count from the back, -3 and -2.",
            lambda x: x.transpose(1, 2).flatten(-2),
        ),
        Misconception(
            "one_and_two_swapped",
            "you swapped dimensions 1 and 2 and joined the rest. That fits exactly one batch dimension in front: count from the back, -3 and -2.",
            lambda x: x.transpose(1, 2).flatten(2),
        ),
        Misconception(
            "first_two_swapped_only",
            "you swapped dimensions 0 and 1. With one batch dimension in front those are texts and heads. Swap heads and words: -3 and -2, counted from the back.",
            lambda x: x.transpose(0, 1).flatten(-2),
        ),
        Misconception(
            "first_two_swapped",
            "you swapped dimensions 0 and 1 and joined the rest. With a batch in front those are other dimensions: count from the back, -3 and -2.",
            lambda x: x.transpose(0, 1).flatten(1),
        ),
        Misconception(
            "first_dimension_joined",
            "you joined the entries of dimension 0. With a batch in front those are texts; the heads are dimension -3.",
            lambda x: torch.cat(list(x), dim=-1),
        ),
        Misconception(
            "stacked",
            "the heads are stacked on top of one another: (…, head · seq, d_head). They belong side by side, one row for each word.",
            lambda x: x.flatten(-3, -2),
        ),
        Misconception(
            "interleaved",
            "the numbers of the heads alternate: the first of each head, then the second of each. Keep the numbers of a head together, head 0 first.",
            lambda x: x.movedim(-3, -1).flatten(-2),
        ),
        Misconception(
            "averaged",
            "you averaged over the heads, which blurs what they found. Put them side by side instead.",
            lambda x: x.mean(dim=-3),
        ),
        Misconception(
            "summed",
            "you added up the heads, which mixes what they found. Put them side by side instead.",
            lambda x: x.sum(dim=-3),
        ),
    ),
    minutes=4,
    difficulty=1,
)

CONTRIBUTION = Exercise(
    name="heads.contribution",
    reference=contribution,
    inputs=heads_and_a_matrix,
    buys="The layer's output is a sum over heads, so each head can be looked at, and removed, by itself.",
    hints=(
        "A row of heads side by side, times a matrix, is a sum: each head meets only its own columns of weight.",
        "mixed[..., head, :, :] is (…, seq, d_head); the head's columns of weight are (d_model, d_head).",
        "Take the columns from head · d_head up to (head + 1) · d_head, and multiply the head's numbers by their transpose.",
    ),
    misconceptions=(
        Misconception(
            "rows",
            "you used rows of weight. nn.Linear computes x @ weight.T, so its inputs meet the columns of weight.",
            lambda mixed, weight, head: (
                mixed[..., head, :, :] @ weight[head * mixed.shape[-1] : (head + 1) * mixed.shape[-1]]
            ),
        ),
        Misconception(
            "not_transposed",
            "the head's columns of weight are (d_model, d_head). Transpose them before you multiply (…, seq, d_head) by them.",
            lambda mixed, weight, head: (
                mixed[..., head, :, :] @ weight[:, head * mixed.shape[-1] : (head + 1) * mixed.shape[-1]]
            ),
        ),
        Misconception(
            "first_dimension",
            "you took mixed[head]. With a batch in front that is a text; the heads are dimension -3: mixed[..., head, :, :].",
            lambda mixed, weight, head: (
                mixed[head] @ weight[:, head * mixed.shape[-1] : (head + 1) * mixed.shape[-1]].T
            ),
        ),
        Misconception(
            "others_set_to_0",
            "you kept the head's own columns of the whole output and set the others to 0. The output map mixes the heads: a head adds to all "
            "d_model numbers, and so do the other heads.",
            lambda mixed, weight, head: merge_heads(mixed) @ own_rows(weight, mixed, head).T,
        ),
        Misconception(
            "without_the_map",
            "these are the head's own numbers in its own columns, as they are before the output map. Multiply them by the head's columns of weight.",
            lambda mixed, weight, head: merge_heads(alone(mixed, head)),
        ),
        Misconception(
            "all_heads",
            "this is the sum of what all the heads add. Only one head was asked for.",
            lambda mixed, weight, head: merge_heads(mixed) @ weight.T,
        ),
        Misconception(
            "square_block",
            "you took only the head's own rows of its columns. A head writes into all d_model numbers: take its columns from every row.",
            lambda mixed, weight, head: contribution(mixed, weight, head)[
                ..., head * mixed.shape[-1] : (head + 1) * mixed.shape[-1]
            ],
        ),
        Misconception(
            "columns_from_head",
            "your columns begin at head. They should begin at head · d_head, because each head before it owns d_head columns.",
            lambda mixed, weight, head: mixed[..., head, :, :] @ weight[:, head : head + mixed.shape[-1]].T,
        ),
        Misconception(
            "slice_of_the_output",
            "you cut the head's columns out of the whole output. The output map mixes the heads: a head writes into all d_model numbers, "
            "and so do the other heads.",
            lambda mixed, weight, head: (merge_heads(mixed) @ weight.T)[
                ..., head * mixed.shape[-1] : (head + 1) * mixed.shape[-1]
            ],
        ),
        Misconception(
            "dimension_kept",
            "the head is still a dimension, of size 1. Pick it with head itself, mixed[..., head, :, :]; a slice, or a list that holds head, keeps its dimension.",
            lambda mixed, weight, head: contribution(mixed, weight, head).unsqueeze(-3),
        ),
        Misconception(
            "without_it",
            "this is what the other heads add. You removed this head, but what was asked for is its own term.",
            lambda mixed, weight, head: merge_heads(mixed) @ weight.T - contribution(mixed, weight, head),
        ),
        Misconception(
            "every_nth_column",
            "you took every n-th column of weight. A head owns columns that stand next to each other, from head · d_head on.",
            lambda mixed, weight, head: mixed[..., head, :, :] @ weight[:, head :: mixed.shape[-3]].T,
        ),
    ),
    minutes=8,
    difficulty=2,
    gradients=True,
)

MULTI_HEAD_ATTENTION = Exercise(
    name="heads.MultiHeadAttention",
    reference=MultiHeadAttention,
    inputs=texts_and_heads,
    use=layer_on,
    buys="This is the whole attention of GPT-2. In the next section it is compared with torch's.",
    hints=(
        "Five steps: make queries, keys and values; split them; attend with the causal mask; merge; mix with output.",
        "qkv(x) is (batch, seq, 3 · d_model). The split parts, and what attend returns first, are (batch, head, seq, d_head); "
        "the mask is (seq, seq), the weights are (batch, head, seq, seq).",
        "queries, keys, values = qkv(x).chunk(3, dim=-1). Split each, call attend with a causal mask, keep its second "
        "result as self.weights, merge its first, and return output of that.",
    ),
    misconceptions=(
        Misconception(
            "no_mask",
            "there is no mask, so every word can see those that come after it.",
            layer_with(masked=False),
        ),
        Misconception(
            "merged_in_one_step",
            "the heads are merged by a single reshape. Swap heads and words back first, or the words are mixed up.",
            layer_with(merge=reshape_from_heads),
        ),
        Misconception(
            "split_in_one_step",
            "the heads are split by a single reshape. Some rows then hold a piece of the wrong word, so the mask hides the wrong things.",
            layer_with(split=reshape_to_heads),
        ),
        Misconception(
            "both_in_one_step",
            "the heads are split by a single reshape and merged by another. Each head then gets pieces of the wrong words. Split the last "
            "dimension first and swap, and swap back before you merge.",
            layer_with(split=reshape_to_heads, merge=reshape_from_heads),
        ),
        Misconception(
            "not_swapped",
            "heads and words are not swapped before attending, so each word attends across its own heads. Swap the two: (batch, head, seq, d_head).",
            layer_with(
                split=lambda x, n_heads: x.unflatten(-1, (n_heads, -1)), merge=lambda x: x.flatten(-2)
            ),
        ),
        Misconception(
            "no_output",
            "the merged heads are returned as they are. The last linear map, output, still has to mix them.",
            layer_with(projected=False),
        ),
        Misconception(
            "one_head",
            "nothing was split: this is one head of the full width. Split queries, keys and values into n_heads.",
            layer_with(split=lambda x, n_heads: x, merge=lambda x: x),
        ),
        Misconception(
            "split_before_chunk",
            "you split qkv(x) into heads before taking queries, keys and values apart. Its first third holds the queries of all heads: "
            "chunk first, then split.",
            HeadByHeadThirds,
        ),
        Misconception(
            "scaled_twice",
            "the scores are divided by √d_head twice. attend does that itself, so give it the queries and keys as they are.",
            layer_with(factor=lambda n_heads, d_head: d_head**-0.5),
        ),
        Misconception(
            "unscaled",
            "the scores are not divided by √d_head. attend does that itself; if you write the scores out by hand, divide them.",
            layer_with(factor=lambda n_heads, d_head: d_head**0.5),
        ),
        Misconception(
            "scaled_by_d_model",
            "the scores are divided by √d_model. A head's dot product has d_head terms, so divide by √d_head.",
            layer_with(factor=lambda n_heads, d_head: n_heads**-0.5),
        ),
        Misconception(
            "queries_and_keys",
            "queries and keys are swapped. The first third of qkv(x) holds the queries.",
            layer_with(order=(1, 0, 2)),
        ),
    ),
    minutes=15,
    difficulty=3,
    gradients=True,
)


def shares_of_right_answers(rights: dict[str, float], title: str) -> Drawing:
    return figures.bar_chart(
        list(rights),
        list(rights.values()),
        label="share of sentences with both answers right",
        number="{:.1f}",
        highlight=[name for name, share in rights.items() if share > 0.9],
        title=title,
    )


def numbered(words: Tensor, head: Tensor) -> str:
    return f"one row for each word:\n{words}\n\nhead 0 after one reshape:\n{head}"


def shares_by_group(shares: dict[tuple[str, str], tuple[float, float]]) -> str:
    """(pronouns, head) -> share of the attention to names that goes to the right ones, and the same by chance."""
    return "\n".join(
        f"{pronouns:4} pronouns, {head}: {share:.0%} on the right names, by chance {chance:.0%}"
        for (pronouns, head), (share, chance) in shares.items()
    )


def cost_of_heads(added: Float[Tensor, "layer head"], title: str) -> Drawing:
    return figures.grid_heatmap(
        added,
        [f"layer {layer}" for layer in range(len(added))],
        [f"head {head}" for head in range(added.shape[1])],
        diverging=True,
        number="{:+.2f}",
        label="loss added (nats)",
        title=title,
    )


LESSON = Lesson(
    topic="many_heads",
    exercises=(SPLIT_HEADS, MERGE_HEADS, CONTRIBUTION, MULTI_HEAD_ATTENTION),
    predictions=(
        Prediction(
            "heads.one_or_two",
            "We train three models to name the giver and the receiver, each with a linear readout: one head of 32 numbers, two heads of "
            "16, and one head of 128. Which of them get both names right in nearly every sentence?",
            ("only the two heads", "They return two averages, one for each name."),
            (
                (
                    "the two heads and the wide head",
                    "The wide head has more numbers, but it still forms one average, which mixes the two names with a single pair of weights.",
                ),
                ("only the wide head", "It has the most numbers, yet it still returns a single average."),
                (
                    "all three of them",
                    "One head can look at both names, but a linear readout cannot tell which is which.",
                ),
            ),
            shows=lambda rights: shares_of_right_answers(
                rights,
                "With a linear readout, two heads get both names right, and one does not, even if it is wide",
            ),
            finding="The two heads have exactly as many parameters as the one head of 32, and far fewer than the one of 128. "
            "So width is not what the single head is missing.",
        ),
        Prediction(
            "heads.after_mixing",
            "We take one head of 32 again and give its readout a hidden layer of 64 units, once with a tanh and once without. Which of "
            "the two models gets both names right in nearly every sentence?",
            (
                "only the one with the tanh",
                "The average still holds both names, and a readout that is not linear can take them apart.",
            ),
            (
                (
                    "both: a hidden layer is what was missing",
                    "Without the tanh, two linear maps in a row are one linear map, so nothing is gained.",
                ),
                (
                    "neither: the average no longer says who was who",
                    "It has lost nothing. As long as the two weights differ, each pair of names gives its own average.",
                ),
            ),
            shows=lambda rights: shares_of_right_answers(
                rights,
                "One head of 32: the hidden layer with tanh gets both names right, the one without does not",
            ),
            finding="A single head of 32, which failed before, now answers both questions. The two hidden layers have the same number of "
            "parameters, so the tanh makes the difference. The average of a single head does contain the answer, but it takes a "
            "readout that is not linear to get it out.",
        ),
        Prediction(
            "heads.one_reshape",
            "Three words have the numbers `[0, 1, 2, 3]`, `[4, 5, 6, 7]` and `[8, 9, 10, 11]`. We want two heads with three rows of two "
            "numbers each, and call `reshape(2, 3, 2)`. Which rows does head 0 hold?",
            (
                "`[0, 1]`, `[2, 3]` and `[4, 5]`",
                "`reshape` keeps the numbers in their order and cuts them into rows of two. It knows nothing about words.",
            ),
            (
                (
                    "`[0, 1]`, `[4, 5]` and `[8, 9]`",
                    "That is what we want, the first half of each word. But `reshape` goes through the numbers in order and skips none.",
                ),
                (
                    "`[0, 2]`, `[4, 6]` and `[8, 10]`",
                    "That would be every other number. `reshape` goes through the numbers in order and skips none.",
                ),
                (
                    "none, because the shapes do not fit",
                    "Both shapes have 12 numbers, and `reshape` asks for nothing more.",
                ),
            ),
            shows=numbered,
            finding="Head 0 takes the **two halves** of the first word for two different words, and the first half of the second word for a "
            "third. Nothing crashes, and such a model can be trained. But the second row no longer belongs to the second word, so a mask that hides "
            "later positions hides the wrong things.",
        ),
        Prediction(
            "heads.easy_and_hard",
            "Call a pronoun easy if it means the person who was named last, and hard if somebody else was named last. We compare two heads, the "
            "one in layer 3 that did best and the best one of layer 0, with a head that gives all names the same weight. Which of the "
            "two does better than such a head?",
            (
                "layer 3's on both kinds, layer 0's on the easy ones",
                "Layer 0's head leans toward the nearest name, whoever that is. Layer 3's finds the person.",
            ),
            (
                (
                    "both heads, on both kinds",
                    "Layer 0's head falls below chance on the hard ones, so its success on the easy ones came from nearness.",
                ),
                (
                    "both heads, but only on the easy ones",
                    "That would mean that both merely take the nearest name. Layer 3's head does not.",
                ),
            ),
            shows=shares_by_group,
            finding="On the hard pronouns the head of layer 0 does worse than chance, because it leans toward the nearest name. "
            "That habit pays off whenever the person named last is the right one. The head of layer 3 passes both tests.",
        ),
        Prediction(
            "heads.do_all_matter",
            "We remove each of storyteller's sixteen heads in turn and measure how much the mean loss over all tokens rises. How is this "
            "cost spread over the heads?",
            (
                "a few heads cost a lot, most cost little",
                "One head of layer 3 and one of layer 0 cost by far the most.",
            ),
            (
                (
                    "all heads cost about the same",
                    "Nothing in training makes the heads share the work evenly.",
                ),
                (
                    "no head costs much, because fifteen are left",
                    "The other fifteen were never trained to do without it, and in some cases they cannot make up for its absence.",
                ),
                (
                    "the heads with the sharpest patterns cost the most",
                    "The sharpest patterns are in layers 1 and 2, and the cost of most of these heads rounds to 0.00.",
                ),
            ),
            shows=lambda added: cost_of_heads(
                added, "How much the loss on all tokens rises when a head is removed"
            ),
            finding="A few heads carry a lot, and most can be spared one at a time. Nearly all heads of layers 1 and 2, whose patterns are the sharpest, are among "
            "the cheapest, so a sharp pattern is no sign of an important head.\n\n"
            "But do not conclude that a cheap head does nothing. A head that costs little when it is removed alone may be idle, or "
            "another head may stand in for it.",
        ),
        Prediction(
            "heads.both_removed",
            "Two heads of layer 3 look at the right name. With either one of them removed, the loss on repeated names rises by less than a nat. "
            "How much does it rise when both are removed?",
            (
                "by several times the sum of the two",
                "Each does most of the other's work when the other is gone, so removing one seems cheap. What they carry shows when both are gone.",
            ),
            (
                (
                    "by about the sum of the two",
                    "That would be so if each carried different names. Instead, each can do most of the other's work.",
                ),
                (
                    "by about as much as the worse of the two",
                    "That would be so if the other heads could fill in for both. They cannot.",
                ),
            ),
            shows=lambda rises: figures.bar_chart(
                list(rises),
                list(rises.values()),
                label="loss added on repeated names (nats)",
                title="Removing both heads costs far more than the sum of the two individual costs",
                highlight=[name for name, rise in rises.items() if rise > 2],
            ),
            finding="With one of the two left, the loss on repeated names rises by less than a nat, so neither head seems indispensable. With both gone, it rises by "
            "about five nats. The other two heads of layer 3 are the control: removing both of them costs the names nothing.",
        ),
    ),
    quiz=(
        Question(
            "heads.why_one_fails",
            "Why is one head with a linear readout, however wide, unable to name both the giver and the receiver?",
            (
                "it would need two sets of weights at once",
                "To name the giver linearly, the average must lean toward the giver; to name the receiver, it must lean toward the receiver.",
            ),
            (
                (
                    "it has fewer parameters than two heads",
                    "It has as many, and the head of 128, which has many more, fails as well.",
                ),
                (
                    "it was not trained long enough",
                    "The argument of section 1 holds for all weights that training could find, as long as the readout is linear.",
                ),
                (
                    "its average has lost one of the names",
                    "Both are still in it: a readout with a hidden layer and a tanh names them both.",
                ),
            ),
        ),
        Question(
            "heads.which_numbers",
            "Word 0 is `[0, 1, 2, 3]`, word 1 `[4, 5, 6, 7]`, word 2 `[8, 9, 10, 11]`. They are split correctly. What does head 1 of 2 hold "
            "for word 0?",
            ("`[2, 3]`", "The second half of word 0: split the last dimension first, then swap."),
            (
                ("`[6, 7]`", "That is what one reshape to (2, 3, 2) gives: a piece of word 1."),
                ("`[4, 5]`", "Those numbers belong to word 1, in head 0."),
                (
                    "`[1, 3]`",
                    "That is every other number. A head owns numbers that stand next to each other.",
                ),
            ),
        ),
        Question(
            "heads.more_heads",
            "A layer keeps its $d_{model}$ and goes from 4 heads to 8. What happens to the number of its parameters?",
            ("it stays the same", "The same matrices are cut into narrower slices."),
            (
                ("it doubles", "Each head is half as wide, so the matrices keep their size."),
                ("it halves", "Heads are half as wide, but there are twice as many."),
                ("it grows a little", "Cutting columns into slices needs no parameters."),
            ),
        ),
        Question(
            "heads.shape_of_weights",
            "A layer with $d_{model}$ = 32 and 4 heads reads a batch of 2 texts with 10 tokens each. What is the shape of its attention weights?",
            ("(2, 4, 10, 10)", "One pattern for each text and head: (batch, head, query, key)."),
            (
                ("(2, 4, 10, 8)", "That is the shape of what the heads return: (batch, head, seq, d_head)."),
                ("(2, 10, 10)", "That would be one pattern for all heads, but each has its own."),
                ("(2, 10, 32)", "That is the shape of the words, before and after the layer."),
            ),
        ),
        Question(
            "heads.bright_column",
            "In a head's pattern the first column is bright in most rows. What is the head most likely doing there?",
            (
                "resting, because it does not find what it looks for",
                "Weights must sum to 1, so they have to go somewhere. Our head of layer 3 leaves the first token when a repeated name comes next.",
            ),
            (
                ("looking at the word before", "That would be a line one below the diagonal."),
                (
                    "looking from the first word at all others",
                    "A row is a query. The first row sees one key, itself.",
                ),
                (
                    "finding the hero of the story",
                    "The first token is the end-of-text token, with which every story begins.",
                ),
            ),
        ),
        Question(
            "heads.best_of_sixteen",
            "You score sixteen heads on hard pronouns and take the best. Why score it again on new stories?",
            (
                "one of sixteen wins, if only by luck",
                "The best of many noisy scores is partly the luckiest, and on new stories luck does not repeat.",
            ),
            (
                (
                    "the model was trained on the first stories",
                    "They are validation stories: it has seen none of them.",
                ),
                (
                    "a head changes from story to story",
                    "Its matrices stay the same; only what it reads differs.",
                ),
                (
                    "the hard pronouns were too few",
                    "They may be enough for one head named beforehand. Choosing the best of many is what spoils the score.",
                ),
            ),
        ),
        Question(
            "heads.look_without_use",
            "A head puts 90% of its weight on the right name. When the head is removed, the loss stays the same. What follows?",
            (
                "this head by itself is not needed",
                "Another head may find the same name, or nothing may use what it finds. Removing several heads together can tell which.",
            ),
            (
                (
                    "the model does not use the name",
                    "It may get the name from another head. In storyteller, removing one finder cost less than a nat on names, and removing both about five.",
                ),
                (
                    "its weights were measured wrongly",
                    "They may well be right: where a head looks and what it is needed for are two questions.",
                ),
                (
                    "the head was not really removed",
                    "That can be checked, but nothing suggests it: many heads can be removed at no cost.",
                ),
            ),
        ),
        Question(
            "heads.the_others",
            "One head's slice is set to zero before the output map. What do the other heads of that layer add?",
            (
                "what they added before",
                "The output is a sum with one term for each head, and only one term is gone.",
            ),
            (
                (
                    "more, because they take over its share",
                    "Nothing in the layer tells them that it is gone. Only later layers read the changed sum.",
                ),
                (
                    "more, because weights are made to sum to 1 again",
                    "Each head has a softmax of its own, and those of the others were not touched.",
                ),
                (
                    "less, because the matrix mixes all of them",
                    "It mixes by adding, column by column; no head scales another.",
                ),
            ),
        ),
    ),
    objectives=(
        ("heads.why_one_fails", "heads.one_or_two", "heads.after_mixing"),
        (
            "heads.split_heads",
            "heads.merge_heads",
            "heads.MultiHeadAttention",
            "heads.which_numbers",
            "heads.one_reshape",
        ),
        ("heads.bright_column", "heads.shape_of_weights"),
        ("heads.best_of_sixteen", "heads.easy_and_hard"),
        (
            "heads.contribution",
            "heads.the_others",
            "heads.look_without_use",
            "heads.do_all_matter",
            "heads.both_removed",
        ),
    ),
)
