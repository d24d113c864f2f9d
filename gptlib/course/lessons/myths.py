"""Myths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.viz import figures


def rule_of_thumb(n_layers: int, d_model: int, vocab_size: int) -> int:
    return 12 * n_layers * d_model**2 + vocab_size * d_model


def count_passes(model: nn.Module, run: Callable[[], Any]) -> int:
    passes = []
    handle = model.register_forward_hook(lambda module, inputs, output: passes.append(1))
    run()
    handle.remove()
    return len(passes)


def without_key(
    weights: Float[Tensor, "batch head query key"], key: int
) -> Float[Tensor, "batch head query key"]:
    weights = weights.clone()
    weights[:, :, -1, key] = 0
    weights[:, :, -1] /= weights[:, :, -1].sum(dim=-1, keepdim=True)
    return weights


def told_by_heart(
    model: Callable[[Tensor], Float[Tensor, "batch seq vocab"]], tokens: Int[Tensor, "batch seq"], prefix: int
) -> float:
    with torch.no_grad():
        likeliest = model(tokens)[:, prefix - 1 : -1].argmax(dim=-1)  # what comes after token prefix - 1, …
    return (likeliest == tokens[:, prefix:]).all(dim=1).float().mean().item()


def shapes(generator: Generator) -> Iterator[tuple[int, int, int]]:
    yield 1, 2, 5
    for n_layers in (2, 7):
        d_model, vocab_size = torch.randint(9, 40, (2,), generator=generator).tolist()
        yield n_layers, d_model, vocab_size


def lengths_of_texts(generator: Generator) -> Iterator[tuple[list[int]]]:
    """How long the texts are that `run` reads, one after the other."""
    yield ([3, 2],)
    yield ([],)
    for n in (1, 4):
        yield (torch.randint(2, 6, (n,), generator=generator).tolist(),)


def weights_and_key(generator: Generator) -> Iterator[tuple[Tensor, int]]:
    """Causal weights, (batch, head, query, key), and a key between the first and the last."""
    for batch, n_heads, seq, key in ((1, 1, 3, 1), (2, 3, 5, 2), (1, 2, 6, 3)):
        scores = torch.randn(batch, n_heads, seq, seq, generator=generator)
        future = torch.ones(seq, seq, dtype=torch.bool).triu(1)
        yield scores.masked_fill(future, float("-inf")).softmax(dim=-1), key


def table_and_texts(generator: Generator) -> Iterator[tuple[Tensor, Tensor, int]]:
    """A bigram's logits, (vocab, vocab), texts that mostly go on as it would, (batch, seq), and a prefix."""
    for batch, vocab_size, seq, prefix in ((2, 3, 4, 2), (8, 4, 6, 2), (9, 5, 7, 4)):
        # One cycle through all tokens, so what comes after a token is always another one.
        order = torch.randperm(vocab_size, generator=generator)
        after = torch.empty_like(order)
        after[order] = order.roll(-1)
        table = torch.rand(vocab_size, vocab_size, generator=generator)
        table[torch.arange(vocab_size), after] += 2
        # Each of the first texts stays on a token once: in the prefix, at the end, right after the prefix, before the end.
        wrong_at = torch.zeros(batch, dtype=torch.int64)
        wrong_at[:4] = torch.tensor([1, seq - 1, prefix, seq - 2])[:batch]
        columns = [torch.arange(batch) % vocab_size]
        for place in range(1, seq):
            columns.append(torch.where(wrong_at == place, columns[-1], after[columns[-1]]))
        yield table, torch.stack(columns, dim=1), prefix


class Reader(nn.Module):
    """A model of two parts that counts for nothing but its passes."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 3)
        self.unembedding = nn.Linear(3, 7)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.unembedding(self.embedding(tokens))


def passes_and_what_is_left(answer: Callable[..., Any], lengths: list[int]) -> Any:
    """The count, and how many hooks the model still has."""
    model = Reader()
    before = set(vars(model))

    def run() -> None:
        for length in lengths:
            model(torch.zeros(1, length, dtype=torch.int64))

    counted = answer(model, run)
    if counted is ...:
        return ...
    left = len(model._forward_hooks) + len(model._forward_pre_hooks) + len(set(vars(model)) - before)
    return counted, left


def of_a_bigram(answer: Callable[..., Any], table: Tensor, tokens: Tensor, prefix: int) -> Any:
    return answer(nn.Embedding.from_pretrained(table), tokens, prefix)


def counting(model: nn.Module, run: Callable[[], Any], modules: list[nn.Module], leave: bool = False) -> int:
    passes = []
    handles = [module.register_forward_hook(lambda *_: passes.append(1)) for module in modules]
    run()
    if not leave:
        for handle in handles:
            handle.remove()
    return len(passes)


def tokens_read(model: nn.Module, run: Callable[[], Any]) -> int:
    read = []
    handle = model.register_forward_hook(lambda _, inputs, output: read.append(inputs[0].shape[1]))
    run()
    handle.remove()
    return sum(read)


def one_pass(model: nn.Module, run: Callable[[], Any]) -> int:
    run()
    return 1


def zeroed(weights: Tensor, place: tuple[Any, ...]) -> Tensor:
    weights = weights.clone()
    weights[place] = 0
    return weights


def rescaled(weights: Tensor) -> Tensor:
    return weights / weights.sum(dim=-1, keepdim=True)


def softmax_again(weights: Tensor, key: int) -> Tensor:
    weights = zeroed(weights, (..., -1, key))
    weights[:, :, -1] = weights[:, :, -1].softmax(dim=-1)
    return weights


def told(model: Callable[[Tensor], Tensor], tokens: Tensor, start: int) -> Tensor:
    """Where the token from `start` on is the likeliest one: (batch, seq - start)."""
    return model(tokens)[:, start - 1 : -1].argmax(dim=-1) == tokens[:, start:]


RULE_OF_THUMB = Exercise(
    name="myths.rule_of_thumb",
    reference=rule_of_thumb,
    inputs=shapes,
    buys="With this you can check a number in an article while you read it.",
    hints=(
        "Nearly all parameters stand in the blocks' matrices and in the token table.",
        "A block has 4d² + 8d² weights; there are n_layers blocks; the table has vocab_size · d.",
        "12 times n_layers times d_model squared, plus vocab_size times d_model.",
    ),
    misconceptions=(
        Misconception(
            "no_mlp",
            "the MLP is missing, which is two thirds of a block: 8d² of 12d².",
            lambda n_layers, d_model, vocab_size: 4 * n_layers * d_model**2 + vocab_size * d_model,
        ),
        Misconception(
            "no_attention",
            "the attention is missing: 4d² in each block, beside the MLP's 8d².",
            lambda n_layers, d_model, vocab_size: 8 * n_layers * d_model**2 + vocab_size * d_model,
        ),
        Misconception(
            "no_table",
            "the token table is missing: vocab_size · d_model.",
            lambda n_layers, d_model, vocab_size: 12 * n_layers * d_model**2,
        ),
        Misconception(
            "table_twice",
            "the table was counted twice. The unembedding is tied to it and adds nothing.",
            lambda n_layers, d_model, vocab_size: 12 * n_layers * d_model**2 + 2 * vocab_size * d_model,
        ),
        Misconception(
            "not_squared",
            "the matrices were counted as if they were d long. Each is d times d, or a multiple of it.",
            lambda n_layers, d_model, vocab_size: 12 * n_layers * d_model + vocab_size * d_model,
        ),
    ),
    minutes=4,
    difficulty=1,
)

COUNT_PASSES = Exercise(
    name="myths.count_passes",
    reference=count_passes,
    inputs=lengths_of_texts,
    use=passes_and_what_is_left,
    buys="You can see now what learning and writing cost, without a clock.",
    hints=(
        "A hook on the whole model is called once for each pass. Let it leave a mark.",
        "A list outside the hook can collect the marks; its length is the answer. The hook is a function of three arguments.",
        "Make an empty list, register a hook that appends to it, keep the handle, call run(), call handle.remove(), "
        "return the list's length.",
    ),
    misconceptions=(
        Misconception(
            "every_part",
            "the parts inside were counted too. A hook on the model itself is called once for a pass.",
            lambda model, run: counting(model, run, list(model.modules())),
        ),
        Misconception(
            "tokens",
            "these are the tokens that were read. A pass may read many at once; that is the point.",
            tokens_read,
        ),
        Misconception(
            "hook_left",
            "the hook is still there. The count is right, but the next one who uses the model meets your hook: remove it.",
            lambda model, run: counting(model, run, [model], leave=True),
        ),
        Misconception(
            "one_run",
            "run() was called once, and that is what you counted. Inside it the model may be called many times, or never.",
            one_pass,
        ),
    ),
    minutes=8,
    difficulty=2,
)

WITHOUT_KEY = Exercise(
    name="myths.without_key",
    reference=without_key,
    inputs=weights_and_key,
    buys="This is an intervention: it changes one thing in the middle of a run, and the rest goes on.",
    hints=(
        "Clone first, then change one column of the last row of every pattern, then mend the row's sum.",
        "weights[:, :, -1] is (batch, head, key): the last query of every head. It has to sum to 1 over the keys.",
        "Set [:, :, -1, key] of the clone to 0, and divide its [:, :, -1] by its sum over the last dimension, kept.",
    ),
    misconceptions=(
        Misconception(
            "not_rescaled",
            "the last row does not sum to 1 any more, so the last token gets a weaker average, not another one.",
            lambda weights, key: zeroed(weights, (..., -1, key)),
        ),
        Misconception(
            "every_query",
            "the token is gone for every query. The last one alone should miss it; the others still read it.",
            lambda weights, key: torch.nan_to_num(rescaled(zeroed(weights, (..., key)))),
        ),
        Misconception(
            "query_removed",
            "the row of `key` was changed. Rows are queries and columns are keys: it is a column of the last row.",
            lambda weights, key: zeroed(weights, (..., key, slice(None))),
        ),
        Misconception(
            "softmax_again",
            "a softmax turned the 0 into a weight above 0 and changed all others. These are weights already: divide by the sum.",
            softmax_again,
        ),
        Misconception(
            "first_key",
            "the weights were taken from the token before. Keys are counted from 0.",
            lambda weights, key: without_key(weights, key - 1),
        ),
    ),
    minutes=6,
    difficulty=2,
)

TOLD_BY_HEART = Exercise(
    name="myths.told_by_heart",
    reference=told_by_heart,
    inputs=table_and_texts,
    use=of_a_bigram,
    buys="A claim about memory has become a number, and you can watch it fall as the data grow.",
    hints=(
        "The logits at a place are about the token after it. Compare the likeliest with what is there.",
        "The last seq - prefix tokens of each text, (batch, seq - prefix), are foretold from place prefix - 1 to the last but one.",
        "argmax over the vocabulary of model(tokens)[:, prefix - 1 : -1], equal to tokens[:, prefix:], all along a text, "
        "and the mean over the texts.",
    ),
    misconceptions=(
        Misconception(
            "share_of_tokens",
            "that is the share of right tokens. A text is told by heart when all of its tokens are right.",
            lambda model, tokens, prefix: told(model, tokens, prefix).float().mean().item(),
        ),
        Misconception(
            "prefix_too",
            "the model was examined on the prefix too. That part is given to it.",
            lambda model, tokens, prefix: told(model, tokens, 1).all(dim=1).float().mean().item(),
        ),
        Misconception(
            "not_moved",
            "the logits at a place were compared with the token at that place. They are about the next one.",
            lambda model, tokens, prefix: (
                (model(tokens)[:, prefix:].argmax(dim=-1) == tokens[:, prefix:])
                .all(dim=1)
                .float()
                .mean()
                .item()
            ),
        ),
        Misconception(
            "last_token_alone",
            "only the last token was looked at. Everything after the prefix has to be right.",
            lambda model, tokens, prefix: told(model, tokens, tokens.shape[1] - 1).float().mean().item(),
        ),
        Misconception(
            "one_too_late",
            "the first token after the prefix was left out. It is foretold from place prefix - 1.",
            lambda model, tokens, prefix: told(model, tokens, prefix + 1).all(dim=1).float().mean().item(),
        ),
    ),
    minutes=12,
    difficulty=3,
)

LESSON = Lesson(
    topic="myths",
    exercises=(RULE_OF_THUMB, COUNT_PASSES, WITHOUT_KEY, TOLD_BY_HEART),
    predictions=(
        Prediction(
            "myths.positions",
            "Noise is added to each of three tables of positions. Which table then fails to tell its positions "
            "apart?",
            (
                "the one slow sine",
                "Divided by $10000^2$, even position 255 has an angle of nearly 0. All rows are alike.",
            ),
            (
                (
                    "the sum of sine and cosine",
                    "Its dimensions still turn at many speeds, so each row is a row of its own. What it loses is something else.",
                ),
                (
                    "all three",
                    "128 noisy numbers together say a lot. It takes a table whose rows are alike to be lost.",
                ),
                (
                    "the paper's pairs",
                    "Some of its waves are fast and some are slow. Together they fit one position alone.",
                ),
            ),
            shows=lambda tables, found: figures.bar_chart(
                list(tables),
                found,
                "One slow sine cannot tell position 3 from position 200",
                "positions recognized in noise (share)",
            ),
            finding="One slow sine cannot tell position 3 from position 200. The sum of sine and cosine passes this test; what it loses is something else.",
        ),
        Prediction(
            "myths.passes",
            "How many forward passes does it take to write 60 tokens with a cache?",
            ("60", "Each token is chosen from the logits that the token before it made possible."),
            (
                ("1", "That is learning: there all 60 tokens are known before the pass begins."),
                (
                    "about 8, the square root",
                    "Nothing groups the tokens. Each of them waits for the one before it.",
                ),
                (
                    "4, one for each layer",
                    "All layers are run in each pass. It is the tokens that wait for each other.",
                ),
            ),
            shows=lambda passes: figures.bar_chart(
                list(passes),
                list(passes.values()),
                "Learning from a text takes one pass; writing it takes one for each token",
                "forward passes",
                number="{:.0f}",
            ),
            finding="Learning from a text takes one pass; writing it takes one for each token. The cache saves work "
            "within each pass, but it does not save a single pass.",
        ),
        Prediction(
            "myths.removed",
            "The usual heatmap points at a token that is not the color. Without that token, what becomes of the right color's probability?",
            (
                "it stays nearly as it was",
                "What is attended most, on the mean over heads, need not be what the answer needs.",
            ),
            (
                (
                    "it falls to that of a guess",
                    "It would, if that token held the color. Here it is mostly a quotation mark.",
                ),
                (
                    "it rises towards 1",
                    "It is near 1 before. There is not much room above.",
                ),
                (
                    "all tokens become equally likely",
                    "One token of a hundred is gone, and the others still hold the story.",
                ),
            ),
            shows=lambda names, means: figures.bar_chart(
                names,
                means,
                "Where they differ, the most attended token can go; the color cannot",
                "probability of the right color",
                highlight=names[3:],
            ),
            finding="Where the most attended token is not the color, it can go; the color cannot.",
        ),
        Prediction(
            "myths.unscaled",
            "The scores are left as they are, not divided by $\\sqrt{d_k}$. What happens to their gradient as $d_k$ "
            "grows?",
            (
                "it fades",
                "Scores of size $\\sqrt{d_k}$ make softmax sure of one key, and a sure softmax passes nothing on.",
            ),
            (
                (
                    "it grows with $\\sqrt{d_k}$",
                    "The scores do. But the gradient has to come through the softmax, which is sure by then.",
                ),
                (
                    "it stays: softmax normalizes",
                    "The weights sum to 1 either way. How they are spread, and what passes back, is another matter.",
                ),
                (
                    "it turns its sign",
                    "A larger score for a key still means more weight for it.",
                ),
            ),
            shows=lambda lines: figures.line_chart(
                lines,
                "Without the division the gradient fades as heads get wider",
                "d_k",
                "gradient at the scores",
                log_x=True,
            ),
            finding="Without the division the gradient fades as heads get wider: a score is a sum of $d_k$ "
            "products, so it grows like $\\sqrt{d_k}$; softmax then puts nearly all its weight on one key, and "
            "where a softmax is sure, it passes hardly any gradient on.",
        ),
        Prediction(
            "myths.girls",
            "In the data 9 of 10 heroes are girls. How often does the model say “girl” at temperature 0.5?",
            (
                "more than 9 times in 10",
                "The model learns the data's share, and a temperature below 1 makes what is likely likelier.",
            ),
            (
                ("about 9 times in 10", "That is temperature 1. Below it the odds are squared and more."),
                (
                    "half of the time",
                    "It would have to know that the world could be another. It knows its data.",
                ),
                (
                    "less than 9 times in 10",
                    "That is what a temperature above 1 does: it evens out.",
                ),
            ),
            shows=lambda lines: figures.line_chart(
                lines,
                "The model has the data's bias, and a low temperature adds to it",
                "girls among the heroes of the data (share)",
                "girls, says the model (share)",
            ),
            finding="At temperature 1 the model says girl about as often as its data do. With a lower temperature it is **more** biased than what it read.",
        ),
        Prediction(
            "myths.cold",
            "Near temperature 0, the young model is asked for a color that the story has settled. What does it "
            "answer?",
            (
                "always the same answer, mostly wrong",
                "Cold takes the likeliest token. That it is likely for this model does not make it true.",
            ),
            (
                (
                    "always the right answer",
                    "It would have to be the likeliest for this model, which does not look it up yet.",
                ),
                (
                    "another answer each time",
                    "Near 0 there is nothing left to draw: the likeliest token is taken.",
                ),
                (
                    "no color at all",
                    "It did learn that a color comes next. Which one is the question.",
                ),
            ),
            shows=lambda lines: figures.line_chart(
                lines,
                "Cold makes the young model repeat itself, and it is still mostly wrong",
                "temperature",
                "share of answers",
            ),
            finding="Storyteller is right at every temperature here. Its younger self is mostly wrong at all of them, and the cold makes it repeat itself, which sounds like certainty.",
        ),
        Prediction(
            "myths.by_heart",
            "The same model is trained for the same number of steps on 4 stories, then on more and more. What does "
            "its loss on the stories that it was trained on do?",
            (
                "it rises until it meets that on others",
                "Four stories can be learned by heart. With thousands it can learn only what they share.",
            ),
            (
                (
                    "it falls: more data is better",
                    "On held-out stories, yes. Its own get harder to know by heart.",
                ),
                (
                    "it stays near 0",
                    "With so many steps each of 4,096 stories is seen about once. That is too little to keep it.",
                ),
                ("it stays far below that on others", "That is the claim. It needs few stories, seen often."),
            ),
            shows=lambda lines: figures.line_chart(
                lines,
                "With more stories the two losses meet",
                "different stories in training",
                "loss (nats per token)",
                log_x=True,
            ),
            finding="With more stories the two losses meet: with four, each story is known by heart; with "
            "thousands, only what they share can be learned.",
        ),
        Prediction(
            "myths.budget",
            "Models of five widths are trained, each with the same budget of operations, and then again with a "
            "larger budget. Which has the lowest loss?",
            (
                "one that is not the largest",
                "The largest pays so much for a token that it sees too few of them.",
            ),
            (
                (
                    "the largest",
                    "It would, if it saw as many tokens as the others. The budget is what is equal.",
                ),
                (
                    "all the same: the budget is equal",
                    "The same price does not buy the same. It has to be split well between size and tokens.",
                ),
                (
                    "the largest at the larger budget",
                    "Even there it sees too few. The best size grows with the budget, and slowly.",
                ),
            ),
            shows=lambda lines: figures.line_chart(
                lines,
                "Each budget has its best size, and it is not the largest",
                "parameters",
                "held-out loss (nats per token)",
                log_x=True,
            ),
            finding="Each budget has its best size, and it is not the largest. The wide models have not seen enough "
            "to use what they have.",
        ),
    ),
    quiz=(
        Question(
            "myths.quiz_context",
            "“With a context of a million tokens a model knows everything in it.” What would you measure first?",
            (
                "recall of a fact against its place in the context",
                "What can be seen is not what is used. A fact put at many places, and a question at the end, tell them apart.",
            ),
            (
                (
                    "the loss on the last token",
                    "One number for one text. It does not say which of the million tokens it came from.",
                ),
                (
                    "the attention to each token",
                    "Weights say what is read, not what it does. And the mean over heads hides the one that matters.",
                ),
                ("how long a pass takes", "That is the price of a context, not what is had for it."),
            ),
        ),
        Question(
            "myths.quiz_emergent",
            "“At 10 billion parameters an ability appears from nothing.” The measure was: share of tasks with every step right. What do you suspect?",
            (
                "a smooth gain that the measure makes look sudden",
                "If each of 20 steps is right with $p$, all are with $p^{20}$: near 0 for long, then steep. See Schaeffer et al. 2023, section 2.",
            ),
            (
                (
                    "nothing: a jump is a jump",
                    "The same models, measured step by step, may show none. Then the jump is in the measure.",
                ),
                (
                    "the models were too small to measure",
                    "They were measured, and got 0. The question is what 0 hides.",
                ),
                (
                    "that larger models are not better",
                    "They may well be. The question is whether it came at once.",
                ),
            ),
        ),
        Question(
            "myths.quiz_copies",
            "“Our model reproduces nothing: only 2% of held-out texts are continued word for word.” What is missing?",
            (
                "the same share for texts that it was trained on",
                "Memory is what it knows of those beyond what it knows of others. The held-out share is the control.",
            ),
            (
                (
                    "a larger held-out set",
                    "It would make the 2% more precise, and still say nothing of training texts.",
                ),
                ("a lower temperature", "Greedy or not, the wrong texts were asked about."),
                ("the number of parameters", "It may explain what was found. It does not replace looking."),
            ),
        ),
        Question(
            "myths.quiz_parameters",
            "“Our GPT has 48 layers, `d_model` 1,600 and 15 billion parameters.” In your head:",
            (
                "ten times too many",
                "$12\\cdot 48\\cdot 1600^2$ is about 1.5 billion. That is GPT-2's largest; its table adds 80 million.",
            ),
            (
                ("about right", "$1600^2$ is 2.56 million, and 576 of those are 1.5 billion."),
                ("ten times too few", "Then `d_model` would have to be about 16,000."),
                (
                    "it depends on the heads",
                    "They share the columns of the same matrices; their number is not in the count.",
                ),
            ),
        ),
        Question(
            "myths.quiz_tokens",
            "“Twice as many GPUs write one answer twice as fast.” What holds one answer back?",
            (
                "each token waits for the one before it",
                "More machines help with many answers at once, or with the work inside a pass; not with the number of passes.",
            ),
            (
                ("the training data", "They are not there any more when the model writes."),
                ("the cache", "It makes each pass cheaper. Without it things would be slower."),
                (
                    "nothing, it is true",
                    "The passes come one after another, however many machines there are.",
                ),
            ),
        ),
        Question(
            "myths.quiz_patching",
            "A head puts 90% of its weight on a name. You silence the head, and the answer stays. What follows?",
            (
                "this answer does not depend on the head",
                "It may have written what nobody read, or another head steps in. The weight alone could not have told you.",
            ),
            (
                ("the measurement is wrong", "Nothing contradicts it: to be read is not to be needed."),
                ("the head does nothing at all", "For this answer. On another text it may matter."),
                (
                    "the name does not matter",
                    "Other heads may fetch it. To ask about the name, change the name.",
                ),
            ),
        ),
        Question(
            "myths.quiz_seeds",
            "“Our change lowers the loss from 2.31 to 2.29.” The same code with five seeds gives 2.28 to 2.34. Your verdict?",
            (
                "not shown: the change is within the noise",
                "Two runs of the same code differ by more. Several seeds of both would tell.",
            ),
            (
                ("true: 2.29 is below 2.31", "So is 2.28, which is the old code with another seed."),
                (
                    "false: the change makes it worse",
                    "That was not shown either. The two cannot be told apart yet.",
                ),
                (
                    "true if the model is large",
                    "Seeds matter there too. The size does not make one run into five.",
                ),
            ),
        ),
    ),
    objectives=(
        ("myths.cold", "myths.quiz_context", "myths.quiz_seeds"),
        (
            "myths.rule_of_thumb",
            "myths.count_passes",
            "myths.positions",
            "myths.quiz_parameters",
            "myths.quiz_tokens",
        ),
        ("myths.without_key", "myths.removed", "myths.quiz_patching"),
        ("myths.told_by_heart", "myths.girls", "myths.by_heart", "myths.quiz_copies"),
        ("myths.budget", "myths.unscaled", "myths.quiz_emergent"),
    ),
)
