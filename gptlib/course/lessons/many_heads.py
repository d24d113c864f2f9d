"""Many heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from gptlib.course.exercises import Exercise, Lesson, Misconception, Question
from gptlib.model.attention import attend
from gptlib.model.masks import causal_mask


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
) -> type[MultiHeadAttention]:
    """The layer with one step done otherwise. order: which thirds of qkv are taken for queries, keys, values."""

    class Layer(MultiHeadAttention):
        def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
            thirds = self.qkv(x).chunk(3, dim=-1)
            queries, keys, values = (split(thirds[third], self.n_heads) for third in order)
            mixed, self.weights = attend(
                queries, keys, values, causal_mask(x.shape[1]) if masked else None
            )
            return self.output(merge(mixed)) if projected else merge(mixed)

    return Layer


def layer_on(layer_class: type[nn.Module], x: Float[Tensor, "batch seq d_model"], n_heads: int) -> object:
    """What a layer with the weights of the reference gives: (output, weights)."""
    d_model = x.shape[-1]
    weights = MultiHeadAttention(d_model, n_heads).state_dict()
    layer = layer_class(d_model, n_heads)
    if set(layer.state_dict()) != set(weights):
        raise AttributeError("keep the two maps of __init__ as they are, self.qkv and self.output")
    layer.load_state_dict(weights)
    output = layer(x)
    if output is ...:
        return ...
    if not hasattr(layer, "weights"):
        raise AttributeError("forward is to keep the patterns as self.weights, (batch, head, query, key)")
    return output, layer.weights


def words_and_heads(generator: Generator) -> Iterator[tuple[Tensor, int]]:
    """Vectors whose first are easy to read, and how many heads share them."""
    yield torch.arange(12.0).view(3, 4), 2
    yield torch.randn(2, 5, 12, generator=generator), 3
    yield torch.randn(2, 3, 4, 10, generator=generator), 5


def what_heads_brought(generator: Generator) -> Iterator[tuple[Tensor]]:
    yield (torch.arange(12.0).view(2, 3, 2),)
    yield (torch.randn(2, 3, 5, 4, generator=generator),)
    yield (torch.randn(2, 3, 5, 4, 2, generator=generator),)


def heads_and_a_matrix(generator: Generator) -> Iterator[tuple[Tensor, Tensor, int]]:
    for *batch, n_heads, seq, d_head, head in ((2, 1, 2, 1), (3, 2, 4, 0), (2, 4, 5, 3, 2)):
        mixed = torch.randn(*batch, n_heads, seq, d_head, generator=generator)
        yield mixed, torch.randn(n_heads * d_head, n_heads * d_head, generator=generator), head


def texts_and_heads(generator: Generator) -> Iterator[tuple[Tensor, int]]:
    for batch, seq, d_model, n_heads in ((1, 2, 4, 2), (2, 3, 6, 3), (3, 5, 8, 2)):
        yield torch.randn(batch, seq, d_model, generator=generator), n_heads


SPLIT_HEADS = Exercise(
    name="heads.split_heads",
    reference=split_heads,
    inputs=words_and_heads,
    buys="Heads are one more dimension now, and attention treats them as it treats a batch: side by side, without a loop.",
    hints=(
        "A head owns some columns of every word. First cut each word into its heads, then bring the heads to the front.",
        "(…, seq, d_model) -> (…, seq, head, d_head) -> (…, head, seq, d_head). Two steps, not one.",
        "unflatten the last dimension into (n_heads, -1), and transpose the dimensions -3 and -2.",
    ),
    misconceptions=(
        Misconception(
            "in_one_step",
            "you reshaped in one step. The shape is right, but parts of one word now pass for different words.",
            reshape_to_heads,
        ),
        Misconception(
            "not_swapped",
            "the heads still stand behind the words: (…, seq, head, d_head). Swap the two, or words attend across heads.",
            lambda x, n_heads: x.unflatten(-1, (n_heads, -1)),
        ),
        Misconception(
            "every_nth_column",
            "each head took every n-th column. By this course's order, and torch's, a head owns neighboring columns.",
            lambda x, n_heads: x.unflatten(-1, (-1, n_heads)).movedim(-1, -3),
        ),
        Misconception(
            "width_for_number",
            "you made heads of n_heads numbers each. n_heads is how many there are; d_head is d_model / n_heads.",
            lambda x, n_heads: x.unflatten(-1, (-1, n_heads)).transpose(-3, -2),
        ),
        Misconception(
            "words_last",
            "the words ended up last: (…, head, d_head, seq). Attention wants (…, head, seq, d_head).",
            lambda x, n_heads: split_heads(x, n_heads).transpose(-1, -2),
        ),
    ),
    minutes=4,
    difficulty=1,
)

MERGE_HEADS = Exercise(
    name="heads.merge_heads",
    reference=merge_heads,
    inputs=what_heads_brought,
    buys="Split and merge undo each other, so nothing is lost or mixed up on the way.",
    hints=(
        "Undo the split, its last step first: swap back, then put the heads of each word side by side.",
        "(…, head, seq, d_head) -> (…, seq, head, d_head) -> (…, seq, d_model).",
        "transpose the dimensions -3 and -2, and flatten(-2) what is then last.",
    ),
    misconceptions=(
        Misconception(
            "in_one_step",
            "you reshaped without swapping back, so a row holds the same head of several words, not all heads of one word.",
            reshape_from_heads,
        ),
        Misconception(
            "averaged",
            "the heads were averaged. Then two finds are one blur again; put them side by side.",
            lambda x: x.mean(dim=-3),
        ),
        Misconception(
            "interleaved",
            "the heads' numbers take turns. Each head's numbers should stay together: first all of head 0, then all of head 1.",
            lambda x: x.movedim(-3, -1).flatten(-2),
        ),
        Misconception(
            "stacked",
            "the heads stand below each other, (…, head · seq, d_head). They belong side by side, a row for each word.",
            lambda x: x.flatten(-3, -2),
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
        "Side by side times a matrix is a sum. Each head meets columns of its own in the matrix.",
        "mixed[..., head, :, :] is (…, seq, d_head), the head's columns of weight are (d_model, d_head).",
        "Take the columns from head · d_head up to (head + 1) · d_head, and multiply the head's numbers with their transpose.",
    ),
    misconceptions=(
        Misconception(
            "rows",
            "you used rows of weight. nn.Linear computes x @ weight.T, so what comes in meets the columns.",
            lambda mixed, weight, head: (
                mixed[..., head, :, :] @ weight[head * mixed.shape[-1] : (head + 1) * mixed.shape[-1]]
            ),
        ),
        Misconception(
            "first_columns",
            "you used the columns of head 0 for every head. This head's begin at head · d_head.",
            lambda mixed, weight, head: mixed[..., head, :, :] @ weight[:, : mixed.shape[-1]].T,
        ),
        Misconception(
            "every_nth_column",
            "you took every n-th column. The numbers of a head stand together, and so do its columns.",
            lambda mixed, weight, head: mixed[..., head, :, :] @ weight[:, head :: mixed.shape[-3]].T,
        ),
        Misconception(
            "all_heads",
            "this is what all heads add together. Only one was asked for.",
            lambda mixed, weight, head: merge_heads(mixed) @ weight.T,
        ),
        Misconception(
            "without_it",
            "this is what the other heads add. You took this one out, where it alone was asked for.",
            lambda mixed, weight, head: merge_heads(mixed) @ weight.T - contribution(mixed, weight, head),
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
    buys="That is the attention of GPT-2, whole. Below it is held against torch's.",
    hints=(
        "Five steps: make queries, keys and values; split them; attend with the causal mask; merge; mix with output.",
        "qkv(x) is (batch, seq, 3 · d_model). Split parts and what attention gives are (batch, head, seq, d_head), the mask "
        "is (seq, seq), weights are (batch, head, seq, seq).",
        "queries, keys, values = qkv(x).chunk(3, dim=-1). Split each, call attention with a causal mask, keep its second "
        "result as self.weights, merge its first, and return output of that.",
    ),
    misconceptions=(
        Misconception(
            "no_mask",
            "there is no mask, so every word can see those that come after it.",
            layer_with(masked=False),
        ),
        Misconception(
            "split_in_one_step",
            "the heads are split by one reshape. Parts of one word then pass for different words, and the mask hides the wrong ones.",
            layer_with(split=reshape_to_heads),
        ),
        Misconception(
            "merged_in_one_step",
            "the heads are merged by one reshape. Swap heads and words back first, or the words are mixed up.",
            layer_with(merge=reshape_from_heads),
        ),
        Misconception(
            "no_output",
            "the merged heads are returned as they are. The last linear map, output, is to mix them first.",
            layer_with(projected=False),
        ),
        Misconception(
            "one_head",
            "nothing was split: this is one head of the full width. Split queries, keys and values into n_heads.",
            layer_with(split=lambda x, n_heads: x, merge=lambda x: x),
        ),
        Misconception(
            "queries_and_keys",
            "queries and keys have changed places. The first third of qkv(x) holds the queries.",
            layer_with(order=(1, 0, 2)),
        ),
    ),
    minutes=15,
    difficulty=3,
    gradients=True,
)

LESSON = Lesson(
    topic="many_heads",
    exercises=(SPLIT_HEADS, MERGE_HEADS, CONTRIBUTION, MULTI_HEAD_ATTENTION),
    predictions=(
        Question(
            "heads.one_or_two",
            "One head of 32 numbers, two heads of 16, one head of 128. Who gets both answers right?",
            ("only the two heads", "Each can look at one place. What counts is how many averages there are."),
            (
                (
                    "the two heads, and the wide one",
                    "A wider average is still one average: it leans to the giver or to the receiver.",
                ),
                ("only the wide one", "It has the most numbers, but one gaze."),
                ("all three of them", "One average cannot keep two finds apart, as you will see."),
            ),
        ),
        Question(
            "heads.do_all_matter",
            "Each of sixteen heads removed in turn. How is the harm spread over them?",
            (
                "a few matter much, most matter little",
                "For many a head others do nearly the same, or the layers above make up for the loss.",
            ),
            (
                ("all matter about the same", "Training shares out no jobs evenly; some came to carry much."),
                (
                    "none matters, as fifteen are left",
                    "The others were not trained to do the work of those that carry much.",
                ),
            ),
        ),
    ),
    quiz=(
        Question(
            "heads.why_one_fails",
            "Why could one head, however wide, not name both the giver and the receiver?",
            (
                "one average cannot lean to both",
                "With equal weights “Mia gave Tom” and “Tom gave Mia” come out the same; otherwise one name drowns the other.",
            ),
            (
                (
                    "it had fewer parameters than two",
                    "It had as many, and four times the width did not help.",
                ),
                (
                    "it was not trained for long enough",
                    "No weights it could learn would do; the limit is in the form.",
                ),
                (
                    "the softmax gives no weight to one",
                    "It can give two places a half each. That is the trouble.",
                ),
            ),
        ),
        Question(
            "heads.which_numbers",
            "Word 0 is `[0, 1, 2, 3]`, word 1 `[4, 5, 6, 7]`, word 2 `[8, 9, 10, 11]`. What does head 1 of 2 hold for word 0?",
            ("`[2, 3]`", "The second half of word 0: split the last dimension first, then swap."),
            (
                ("`[6, 7]`", "That is what one reshape to (2, 3, 2) gives: a piece of word 1."),
                ("`[4, 5]`", "That is word 1, and its share of head 0."),
                ("`[1, 3]`", "That is every second number. A head owns neighbors."),
            ),
        ),
        Question(
            "heads.more_heads",
            "A layer keeps its $d_{model}$ and goes from 4 heads to 8. What becomes of its parameters?",
            ("they stay as many", "The same matrices are cut into narrower slices."),
            (
                ("they double", "Each head is half as wide, so the matrices keep their size."),
                ("they halve", "Heads are narrower, but there are twice as many."),
                ("they grow a little", "Cutting columns into slices needs no parameters."),
            ),
        ),
        Question(
            "heads.shape_of_weights",
            "Batch 2, 10 tokens, $d_{model}$ 32, 4 heads. What is the shape of the attention weights?",
            ("(2, 4, 10, 10)", "For each text and head a pattern: (batch, head, query, key)."),
            (
                ("(2, 4, 10, 8)", "That is the shape of what the heads bring: (batch, head, seq, d_head)."),
                ("(2, 10, 10)", "That would be one pattern for all heads; each has its own."),
                ("(2, 10, 32)", "That is the shape of the words, before and after the layer."),
            ),
        ),
        Question(
            "heads.bright_column",
            "In a head's pattern the first column is bright in nearly every row. What does the head do there?",
            (
                "often nothing: it found nothing to look for",
                "Weights must sum to 1, so they are put where they do no harm.",
            ),
            (
                ("it looks at the word before", "That is a line one below the diagonal."),
                (
                    "its first word looks at all others",
                    "A row is a query. The first row sees one key, itself.",
                ),
                (
                    "it finds the hero of the story",
                    "The first token is the end-of-text token; every story begins with it.",
                ),
            ),
        ),
        Question(
            "heads.best_of_sixteen",
            "You score sixteen heads on hard pronouns and take the best. Why score it again on new stories?",
            (
                "one of sixteen wins by luck if by nothing else",
                "The best of many noisy scores is partly the luckiest. On new stories the luck is gone.",
            ),
            (
                (
                    "the model was trained on the first stories",
                    "They are validation stories: it has seen none of them.",
                ),
                (
                    "a head changes from story to story",
                    "Its matrices are the same for all; only what it reads differs.",
                ),
                (
                    "the hard pronouns were too few",
                    "They may do for one head that was named beforehand. Choosing the best of many is what spoils it.",
                ),
            ),
        ),
        Question(
            "heads.look_without_use",
            "A head puts 90% of its weight on the right name. Removed, the loss stays as it was. What follows?",
            (
                "the model can do without what it finds",
                "A weight says where a head looks. Use is another question, and this is its answer.",
            ),
            (
                (
                    "its weights were measured wrongly",
                    "They may well be right: looking and using need not agree.",
                ),
                (
                    "the head was not removed after all",
                    "One can check that. But a head that can be spared is nothing rare.",
                ),
                ("the head looked elsewhere as well", "It did, with 10%. That says nothing of use either."),
            ),
        ),
        Question(
            "heads.the_others",
            "One head's slice is set to zero before the output map. What do the other heads of that layer add?",
            (
                "what they added before",
                "The output is a sum with a term for each head; only one term is gone.",
            ),
            (
                (
                    "more, as they take over its share",
                    "Nothing in the layer tells them. Layers above may make up for it.",
                ),
                (
                    "more, as weights are made to sum to 1 again",
                    "Each head has a softmax of its own, and it was not touched.",
                ),
                (
                    "less, as the matrix mixes all of them",
                    "It mixes by adding, column by column; no head scales another.",
                ),
            ),
        ),
    ),
    objectives=(
        ("heads.why_one_fails", "heads.one_or_two"),
        ("heads.split_heads", "heads.merge_heads", "heads.MultiHeadAttention", "heads.which_numbers"),
        ("heads.bright_column", "heads.shape_of_weights"),
        ("heads.best_of_sixteen",),
        ("heads.contribution", "heads.the_others", "heads.look_without_use", "heads.do_all_matter"),
    ),
)
