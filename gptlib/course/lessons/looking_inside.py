"""Looking inside."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.interpret.head_roles import role_targets
from gptlib.model.norms import layer_norm
from gptlib.viz import figures


def without_head(
    heads: Float[Tensor, "batch seq head d_head"], head: int
) -> Float[Tensor, "batch seq head d_head"]:
    heads = heads.clone()
    heads[:, :, head] = 0
    return heads


def read_early(
    stream: Float[Tensor, "seq d_model"],
    weight: Float[Tensor, " d_model"],
    bias: Float[Tensor, " d_model"],
    table: Float[Tensor, "vocab d_model"],
) -> Float[Tensor, "seq vocab"]:
    return layer_norm(stream, weight, bias) @ table.T


READ_EARLY_SOURCE = """
def read_early(stream, weight, bias, table):
    centered = stream - stream.mean(dim=-1, keepdim=True)
    variance = centered.square().mean(dim=-1, keepdim=True)
    normed = weight * centered / torch.sqrt(variance + 1e-5) + bias
    return normed @ table.T  # (seq, d_model) @ (d_model, vocab) -> (seq, vocab)
"""


def head_logits(
    outputs: Float[Tensor, "head d_head"],
    projection: Float[Tensor, "d_model width"],
    reader: Float[Tensor, " d_model"],
) -> Float[Tensor, " head"]:
    by_head = projection.unflatten(1, outputs.shape)  # (d_model, head * d_head) -> (d_model, head, d_head)
    return torch.einsum("mhd,hd,m->h", by_head, outputs, reader)


HEAD_LOGITS_SOURCE = """
def head_logits(outputs, projection, reader):
    n_heads, d_head = outputs.shape
    added = []
    for head in range(n_heads):
        own_columns = projection[:, head * d_head : (head + 1) * d_head]  # (d_model, d_head)
        written = own_columns @ outputs[head]  # (d_model,): what the head writes into the stream
        added.append(written @ reader)
    return torch.stack(added)
"""


def way_back(
    patched: Float[Tensor, " vocab"],
    clean: Float[Tensor, " vocab"],
    corrupted: Float[Tensor, " vocab"],
    right: int,
    wrong: int,
) -> float:
    now, top, bottom = (logits[right] - logits[wrong] for logits in (patched, clean, corrupted))
    return ((now - bottom) / (top - bottom)).item()


def induction_score(weights: Float[Tensor, "query key"], tokens: list[int]) -> float:
    targets = role_targets(tokens, [""] * len(tokens))["induction"]  # (query, key)
    return (weights * targets).sum(dim=-1)[targets.any(dim=-1)].mean().item()


INDUCTION_SCORE_SOURCE = """
def induction_score(weights, tokens):
    sums = []
    for query, token in enumerate(tokens):
        copies = [at for at in range(query) if tokens[at] == token]
        if copies:
            sums.append(sum(weights[query, at + 1] for at in copies))
    return sum(sums) / len(sums)
"""


def scored(shift: int, queries: str = "with a copy", last_alone: bool = False):
    """A score like induction's, of keys `shift` from earlier copies, over other queries or fewer copies."""

    def score(weights: Tensor, tokens: list[int]) -> float:
        ids, n = torch.tensor(tokens), len(tokens)
        same = (ids[:, None] == ids) & torch.ones(n, n, dtype=torch.bool).tril(-1)
        has_copy = same.any(dim=1)
        if last_alone:
            last = torch.where(same, torch.arange(n), -1).amax(dim=1, keepdim=True)
            same = same & (torch.arange(n) == last)
        on_target = torch.stack(
            [
                sum(
                    (weights[q, k + shift] for k in range(n) if same[q, k] and 0 <= k + shift < n),
                    weights.new_zeros(()),
                )
                for q in range(n)
            ]
        )
        return (on_target if queries == "all" else on_target[has_copy]).mean().item()

    return score


def heads_and_one(generator: Generator) -> Iterator[tuple[Tensor, int]]:
    yield torch.tensor([[[[5.0], [7.0]]]]), 0
    for shape, head in (((2, 5, 3, 4), 1), ((3, 4, 4, 2), 3)):
        yield torch.randn(shape, generator=generator), head


def streams(generator: Generator) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    yield torch.tensor([[1.0, -1.0]]), torch.ones(2), torch.zeros(2), torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    for seq, d_model, vocab_size, size in (
        (3, 4, 7, 3),
        (5, 6, 4, 3),
        (2, 5, 3, 0.003),
    ):  # the last feels 1e-5
        stream = size * (torch.randn(seq, d_model, generator=generator) + 0.3)
        weight, bias = 1 + torch.rand(d_model, generator=generator), torch.randn(d_model, generator=generator)
        yield stream, weight, bias, torch.randn(vocab_size, d_model, generator=generator)


def heads_and_readers(generator: Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    yield torch.tensor([[2.0], [3.0]]), torch.eye(2), torch.tensor([1.0, -1.0])
    for n_heads, d_head in ((2, 3), (4, 2)):
        d_model = n_heads * d_head
        yield (
            torch.randn(n_heads, d_head, generator=generator),
            torch.randn(d_model, d_model, generator=generator),
            torch.randn(d_model, generator=generator),
        )


def three_runs(generator: Generator) -> Iterator[tuple[Tensor, Tensor, Tensor, int, int]]:
    yield torch.zeros(2), torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0]), 0, 1
    for right, wrong in ((4, 1), (0, 3)):
        clean, corrupted, patched = torch.randn(3, 6, generator=generator)
        clean[right] += 4
        corrupted[wrong] += 5
        yield patched, clean, corrupted, right, wrong


def patterns_and_tokens(generator: Generator) -> Iterator[tuple[Tensor, list[int]]]:
    yield torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.2, 0.7, 0.1]]), [5, 6, 5]
    for tokens in ([3, 1, 4, 3, 1, 2, 3, 5], [7, 7, 2, 9, 7, 2, 8, 2, 9]):
        n = len(tokens)
        scores = torch.randn(n, n, generator=generator).masked_fill(
            torch.ones(n, n).triu(1).bool(), -torch.inf
        )
        yield scores.softmax(dim=-1), tokens


WITHOUT_HEAD = Exercise(
    name="tracing.without_head",
    reference=without_head,
    inputs=heads_and_one,
    buys="Any part of a run can now be switched off, and the model asked what it misses.",
    hints=(
        "Of the four dimensions one counts the heads. At one place along it, all numbers become zero.",
        "The shape stays (batch, seq, head, d_head). Make a copy first: the input belongs to somebody else.",
        "Clone the heads, set the clone to 0 at [:, :, head], and return it.",
    ),
    misconceptions=(
        Misconception(
            "position",
            "a position was set to zero. The second dimension counts the tokens; heads are the third.",
            lambda heads, head: torch.where(
                (torch.arange(heads.shape[1]) == head)[:, None, None], torch.zeros(()), heads
            ),
        ),
        Misconception(
            "left_out",
            "the head is gone from the tensor. The projection expects its numbers; they need to be there, as zeros.",
            lambda heads, head: torch.cat([heads[:, :, :head], heads[:, :, head + 1 :]], dim=2),
        ),
        Misconception(
            "the_others",
            "the other heads are at zero, and the one that should go is all that is left.",
            lambda heads, head: heads - without_head(heads, head),
        ),
        Misconception(
            "all_heads",
            "every head is at zero.",
            lambda heads, head: torch.zeros_like(heads),
        ),
        Misconception(
            "untouched",
            "nothing was changed. Was the change made to a copy that is not returned?",
            lambda heads, head: heads,
        ),
    ),
    minutes=4,
    difficulty=1,
)

READ_EARLY = Exercise(
    name="inspecting.read_early",
    reference=read_early,
    inputs=streams,
    source=READ_EARLY_SOURCE,
    buys="The same reading works at any depth: you can see what the model would say if it stopped there.",
    hints=(
        "Do what the end of the model does, with a stream that has not come to the end.",
        "(seq, d_model) stays so through the norm; the product with the transposed table makes it (seq, vocab).",
        "Call layer_norm with the stream, weight and bias, and multiply the result with table.T.",
    ),
    misconceptions=(
        Misconception(
            "no_norm",
            "the final norm is missing. The stream grows from block to block, and the unembedding is used to a normed one.",
            lambda stream, weight, bias, table: stream @ table.T,
        ),
        Misconception(
            "no_scale_and_shift",
            "the norm's learned weight and bias are missing. They are part of how the model reads its stream.",
            lambda stream, weight, bias, table: (
                layer_norm(stream, torch.ones_like(weight), torch.zeros_like(bias)) @ table.T
            ),
        ),
        Misconception(
            "over_positions",
            "the norm was taken over the positions. Each vector is normed by itself, over its d_model numbers.",
            lambda stream, weight, bias, table: (
                ((stream - stream.mean(0)) / torch.sqrt(stream.var(0, correction=0) + 1e-5) * weight + bias)
                @ table.T
            ),
        ),
        Misconception(
            "softmaxed",
            "these are probabilities. Logits are wanted, before the softmax.",
            lambda *inputs: read_early(*inputs).softmax(dim=-1),
        ),
        Misconception(
            "last_position",
            "only the last position was read. Each has its own next token.",
            lambda *inputs: read_early(*inputs)[-1],
        ),
    ),
    minutes=8,
    difficulty=2,
)

HEAD_LOGITS = Exercise(
    name="inspecting.head_logits",
    reference=head_logits,
    inputs=heads_and_readers,
    source=HEAD_LOGITS_SOURCE,
    buys="A logit is a sum over parts, and you can put a name to every term of it.",
    hints=(
        "The projection of all heads together is a sum of one product for each head. Keep the terms apart.",
        "A head's own columns are (d_model, d_head); times its output they give (d_model,); the reader makes that a number.",
        "For each head, multiply projection[:, h * d_head : (h + 1) * d_head] with outputs[h], and that with reader; stack the numbers.",
    ),
    misconceptions=(
        Misconception(
            "rows",
            "each head was given rows of the projection. Rows are the numbers of the stream; a head owns columns.",
            lambda outputs, projection, reader: head_logits(outputs, projection.T, reader),
        ),
        Misconception(
            "interleaved",
            "each head was given every so manieth column. Its columns lie side by side: first all of head 0, then all of head 1.",
            lambda outputs, projection, reader: torch.einsum(
                "mdh,hd,m->h", projection.unflatten(1, (outputs.shape[1], outputs.shape[0])), outputs, reader
            ),
        ),
        Misconception(
            "summed",
            "this is the sum over all heads. One number for each is wanted.",
            lambda *inputs: head_logits(*inputs).sum(),
        ),
        Misconception(
            "lengths",
            "this is how long each head's write is. A long write that is at right angles to the reader adds nothing.",
            lambda outputs, projection, reader: torch.einsum(
                "mhd,hd->hm", projection.unflatten(1, outputs.shape), outputs
            ).norm(dim=-1),
        ),
        Misconception(
            "no_projection",
            "the projection is missing: a head's own numbers were set against a part of the reader.",
            lambda outputs, projection, reader: (outputs * reader.view(outputs.shape)).sum(dim=-1),
        ),
    ),
    minutes=10,
    difficulty=2,
)

WAY_BACK = Exercise(
    name="inspecting.way_back",
    reference=way_back,
    inputs=three_runs,
    buys="Every patch is now one number on one scale, and a whole map of them can be drawn.",
    hints=(
        "Three numbers, one for each run, on a line. Where is the patched one between the other two?",
        "From (vocab,) each run gives one number: the logit of right minus the logit of wrong.",
        "With now, top and bottom for patched, clean and corrupted: (now - bottom) / (top - bottom).",
    ),
    misconceptions=(
        Misconception(
            "upside_down",
            "1 stands for corrupted here. The way starts there: corrupted is 0, clean is 1.",
            lambda patched, clean, corrupted, right, wrong: (
                1 - way_back(patched, clean, corrupted, right, wrong)
            ),
        ),
        Misconception(
            "no_start",
            "the corrupted run was left out. It is where the way starts, and it is not at 0 by itself.",
            lambda patched, clean, corrupted, right, wrong: (
                (patched[right] - patched[wrong]) / (clean[right] - clean[wrong])
            ).item(),
        ),
        Misconception(
            "right_alone",
            "only the right token's logit was measured. Adding a number to all logits would change that, and says nothing.",
            lambda patched, clean, corrupted, right, wrong: (
                (patched[right] - corrupted[right]) / (clean[right] - corrupted[right])
            ).item(),
        ),
        Misconception(
            "probabilities",
            "probabilities were compared. Near 0 and 1 they hardly move, whatever a part adds to the logits.",
            lambda patched, clean, corrupted, right, wrong: way_back(
                patched.softmax(-1), clean.softmax(-1), corrupted.softmax(-1), right, wrong
            ),
        ),
        Misconception(
            "not_a_share",
            "this is how far the logit difference moved, in logits. Divide by the whole way from corrupted to clean.",
            lambda patched, clean, corrupted, right, wrong: (
                patched[right] - patched[wrong] - corrupted[right] + corrupted[wrong]
            ).item(),
        ),
    ),
    minutes=8,
    difficulty=2,
)

INDUCTION_SCORE = Exercise(
    name="roles.induction_score",
    reference=induction_score,
    inputs=patterns_and_tokens,
    source=INDUCTION_SCORE_SOURCE,
    buys="Any head of any model can be asked now whether it is an induction head.",
    hints=(
        "Go through the queries. For each, where did its token stand before? What came after it there?",
        "Weights are (query, key). For a query at q with earlier copies at k, the keys are k + 1; the answer is one number.",
        "For each q with copies k < q: sum weights[q, k + 1] over them. Then the mean over those q.",
    ),
    misconceptions=(
        Misconception(
            "the_copy",
            "this is the attention on the earlier copies. Induction looks at what came after them, one key further.",
            scored(0),
        ),
        Misconception(
            "one_before",
            "this is the attention on what came before the earlier copies. What came after them is one key to the right.",
            scored(-1),
        ),
        Misconception(
            "all_queries",
            "the mean is over all queries. Those without an earlier copy have nothing to look at, and do not count.",
            scored(1, queries="all"),
        ),
        Misconception(
            "last_copy_alone",
            "only the last earlier copy was counted. A head may look at what followed any of them.",
            scored(1, last_alone=True),
        ),
        Misconception(
            "summed",
            "this is the sum over the queries. Their mean is wanted, which does not grow with the text.",
            lambda weights, tokens: sum(
                induction_score(weights, tokens) for at, token in enumerate(tokens) if token in tokens[:at]
            ),
        ),
    ),
    minutes=12,
    difficulty=3,
)

LESSON = Lesson(
    topic="looking_inside",
    exercises=(WITHOUT_HEAD, READ_EARLY, HEAD_LOGITS, WAY_BACK, INDUCTION_SCORE),
    predictions=(
        Prediction(
            "inspecting.where_is_the_name",
            "In the run on the corrupted text, the stream before the last block is replaced at one position by that "
            "of the clean run. Where does this bring the name back?",
            (
                "still at the name itself",
                "Nobody has fetched it yet. The last block does that, from where the name was told.",
            ),
            (
                (
                    "at the period",
                    "It would be a good place to keep a note, and every later sentence could read it. Nothing that stands there brings the name back.",
                ),
                (
                    "at the last token",
                    "That is where it has to be in the end. Before the last block it is not there yet.",
                ),
                (
                    "a little at every position",
                    "It could be spread out so. In this model it is in one place.",
                ),
            ),
            shows=lambda cells, n_layers, pieces: figures.grid_heatmap(
                cells[:, 1:],
                [f"before block {n}" for n in range(n_layers)],
                pieces[1:],
                title="Until the last block the name stays where it was told",
                column_name="position",
                label="share of the way back to Jack",
                diverging=True,
                annotate=False,
            ),
            finding="The name stays at its own position until the last block. It is not handed on from token to "
            "token, and nothing at the **period**, where the sentence ends, brings it back, though a period has "
            "little else to remember and every later sentence could find it there. The last block fetches the name "
            "from where it was mentioned, past all the tokens in between, in one step.",
        ),
        Prediction(
            "inspecting.what_is_lost",
            "Both of the heads that carried the name are removed while the model reads whole stories. What happens "
            "to the loss?",
            (
                "on names it rises by nats, on other tokens by a little",
                "Fetching what was told before is most of what the two do. No other head does it for names.",
            ),
            (
                (
                    "on all tokens it rises by as much",
                    "Then the heads would be needed for everything. They are needed for names.",
                ),
                (
                    "nothing: other heads take over",
                    "Each of the two takes over when the other is gone. With both gone nobody is left who fetches the name.",
                ),
                (
                    "on names it rises a little, since two of sixteen heads are gone",
                    "An eighth of the heads, but all of those that carry names.",
                ),
            ),
            shows=lambda lines, values: figures.bar_chart(
                lines,
                values,
                title="Without the two heads the names are lost, and little else",
                label="loss (nats per token)",
                highlight=["without the two: names"],
            ),
            finding="Without the two heads the names are lost. They are needed, but only one of the two at a time. "
            "Without one of them the loss on names is about half a nat, since the other still fetches the name; "
            "without both it is above five. So a head whose removal changes little may still do a lot, if there is "
            "another that does the same.",
        ),
        Prediction(
            "roles.one_block",
            "The same training is repeated with one block instead of two. What does the induction score do?",
            (
                "it stays low, and so the loss stays high",
                "A key does not know what stood before it, so no query can find the right one.",
            ),
            (
                (
                    "it rises as far, but later",
                    "However long it trains: in one block there is nobody who writes down the letter before.",
                ),
                (
                    "it rises as far: one head does the looking",
                    "One head does, but what it looks for must have been written into the keys by another, earlier.",
                ),
            ),
            shows=lambda when, seen, seen_alone, repeat_loss: figures.line_chart(
                {
                    f"{name}: {what}": (
                        when,
                        [entry[column] / (first if column == 1 else 1) for entry in entries],
                    )
                    for name, entries in (("two blocks", seen), ("one block", seen_alone))
                    for what, column, first in (("loss", 1, repeat_loss[0]), ("score", 2, 1))
                },
                title="With one block no head can learn induction",
                x_label="training step",
                y_label="loss on repeats (of the first), and induction score",
            ),
            finding="With one block no head learned induction. The model gets only about as far as knowing which "
            "letters are in the row. Induction takes **two** heads in two blocks: one brings something to a "
            "position, and the other reads it from there.",
        ),
    ),
    quiz=(
        Question(
            "tracing.after_an_error",
            "Inside `with edit(model, …):` the model raises an error. What is the model like afterwards?",
            ("as it was before", "The hooks go when the `with` ends, and an error ends it, too."),
            (
                (
                    "edited, until the kernel is restarted",
                    "That is what happens with hooks put in by hand and not removed. A `with` removes them.",
                ),
                ("its weights are changed", "An edit changes activations of a run, and no weight."),
                ("it cannot be run any more", "The error was the run's. The next run starts anew."),
            ),
        ),
        Question(
            "inspecting.lens_and_attribution",
            "The lens says that Jack can be read after block 3 and not after block 2. Which parts have written it there?",
            (
                "parts of block 3, at this position",
                "Between the two readings nothing else was added to this stream. Attribution tells which.",
            ),
            (
                (
                    "every head that looks at the name",
                    "Those of earlier blocks wrote before the first reading, and some at other positions.",
                ),
                ("the final norm", "It reads both streams in the same way."),
                ("the embedding", "It was in the stream from the start, and both readings have it."),
            ),
        ),
        Question(
            "inspecting.direct",
            "A head adds 0.0 to the logit of Jack by direct attribution. Removing it makes the model forget Jack. How can that be?",
            (
                "it acts through later parts",
                "It writes something that others read. Direct attribution counts what is read at the end.",
            ),
            (
                ("one of the two has a mistake", "Both are right: they answer different questions."),
                (
                    "removing any head does that",
                    "Most heads can be removed, and the name stays: that is what the control shows.",
                ),
                (
                    "its attention is 0, too",
                    "Then it would write the same with any text. It is what it writes that others need.",
                ),
            ),
        ),
        Question(
            "inspecting.half_way",
            "The logit difference is 8 after clean, −8 after corrupted, and 4 with a patch. What does the map show?",
            ("0.75", "12 of the 16 from −8 to 8."),
            (
                ("0.5", "Half of 8, but the way starts at −8 and not at 0."),
                ("0.25", "That is how far is still to go."),
                ("12", "That is the way in logits; the map shows it as a share of the whole."),
            ),
        ),
        Question(
            "inspecting.why_a_control",
            "Two heads are removed, and the loss on names rises by 4 nats. What else must be measured before one says that they carry names?",
            (
                "the loss on other tokens, and other pairs of heads",
                "Perhaps the model is broken altogether, or any two heads would do the same.",
            ),
            (
                ("nothing: 4 nats is a lot", "A broken model loses names as well. It loses everything."),
                (
                    "the attention of the two heads on the names",
                    "That says where they look, and not what is lost without them.",
                ),
                (
                    "the loss on the training stories",
                    "Removal acts on both alike; what is missing is what it should be compared with.",
                ),
            ),
        ),
        Question(
            "roles.two_heads",
            "An induction head sits in block 1. What must a head of block 0 have done for it?",
            (
                "written at each token which one stood before it",
                "Then a key can say: before me stood your letter. That is what the query looks for.",
            ),
            (
                (
                    "found the earlier copies of the token",
                    "A head that finds copies is led to the copy, and not to what came after it.",
                ),
                (
                    "counted how often each token came",
                    "A count tells what is frequent, not what follows.",
                ),
                (
                    "looked at the first token",
                    "Many heads do so when they have nothing to do. It tells nothing about copies.",
                ),
            ),
        ),
        Question(
            "probing.control_as_good",
            "A probe finds the place in 80% of the cases. On the control task it scores 78%. What do you conclude?",
            (
                "the probe may have learned it by heart",
                "Where nothing is to be found it scores as much. So its score does not show that the model knows.",
            ),
            (
                (
                    "the model knows the place and the control",
                    "The control's labels were drawn at random. The model cannot know them.",
                ),
                (
                    "80% is far above chance, so it is there",
                    "Chance is not the right comparison for a probe that can tell words apart.",
                ),
                (
                    "the model uses the place",
                    "No probe can show that. Only a change of the run can.",
                ),
            ),
        ),
    ),
    objectives=(
        ("tracing.without_head", "tracing.after_an_error"),
        (
            "inspecting.read_early",
            "inspecting.head_logits",
            "inspecting.lens_and_attribution",
            "inspecting.direct",
        ),
        (
            "inspecting.way_back",
            "inspecting.where_is_the_name",
            "inspecting.what_is_lost",
            "inspecting.half_way",
            "inspecting.why_a_control",
        ),
        ("roles.induction_score", "roles.one_block", "roles.two_heads"),
        ("probing.control_as_good", "inspecting.direct"),
    ),
)
