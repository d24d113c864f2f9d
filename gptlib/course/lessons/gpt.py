"""The whole GPT."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from gptlib.course.exercises import Exercise, Lesson, Misconception, Prediction, Question
from gptlib.model.blocks import Block
from gptlib.model.config import GPTConfig
from gptlib.scaling.counting import count_parameters
from gptlib.viz import figures


def embedded(
    tokens: Int[Tensor, "batch seq"],
    token_table: Float[Tensor, "vocab d_model"],
    position_table: Float[Tensor, "context d_model"],
) -> Float[Tensor, "batch seq d_model"]:
    return token_table[tokens] + position_table[: tokens.shape[1]]


def forward(self: nn.Module, tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq vocab"]:
    x = self.token_embedding(tokens) + self.position.weight[: tokens.shape[1]]
    for block in self.blocks:
        x = block(x)
    return self.unembedding(self.final_norm(x))  # (batch, seq, d_model) -> (batch, seq, vocab)


def count_by_hand(config: GPTConfig) -> int:
    return count_parameters(config)["total"]


COUNT_BY_HAND_SOURCE = """
def count_by_hand(config):
    d = config.d_model
    tables = (config.vocab_size + config.context_length) * d  # the unembedding is tied: it adds nothing
    attention = d * 3 * d + 3 * d + d * d + d  # qkv and output: weights and biases
    mlp = d * 4 * d + 4 * d + 4 * d * d + d  # up and down
    norms = 2 * 2 * d
    return tables + config.n_layers * (attention + mlp + norms) + 2 * d  # and the final norm
"""


class TiedTable(nn.Module):
    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.table = nn.Parameter(0.02 * torch.randn(vocab_size, d_model))

    def embed(self, tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq d_model"]:
        return self.table[tokens]

    def logits(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq vocab"]:
        return x @ self.table.T


class TwoTables(TiedTable):
    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__(vocab_size, d_model)
        self.second = nn.Parameter(self.table.detach().clone())

    def logits(self, x: Tensor) -> Tensor:
        return x @ self.second.T


class DetachedTable(TiedTable):
    def logits(self, x: Tensor) -> Tensor:
        return x @ self.table.detach().T


class BiasedTable(TiedTable):
    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__(vocab_size, d_model)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def logits(self, x: Tensor) -> Tensor:
        return super().logits(x) + self.bias


class ScaledTable(TiedTable):
    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens) * self.table.shape[1] ** 0.5


class ProbabilityTable(TiedTable):
    def logits(self, x: Tensor) -> Tensor:
        return super().logits(x).softmax(dim=-1)


def tokens_and_tables(generator: Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Tokens, (batch, seq), and tables of 5 tokens and 9 positions, (row, d_model)."""
    for batch, seq, d_model in ((1, 2, 1), (2, 3, 2), (3, 5, 4)):
        tokens = torch.randint(1, 5, (batch, seq), generator=generator)
        token_table = torch.randn(5, d_model, generator=generator)
        yield tokens, token_table, torch.randn(9, d_model, generator=generator)


def some_tokens(generator: Generator) -> Iterator[tuple[Tensor]]:
    for batch, seq in ((1, 2), (1, 4), (3, 5)):
        yield (torch.randint(7, (batch, seq), generator=generator),)


def configs(generator: Generator) -> Iterator[tuple[GPTConfig]]:
    yield (GPTConfig(vocab_size=5, context_length=3, n_layers=1, n_heads=2, d_model=2),)
    for n_layers, n_heads in ((2, 3), (3, 2)):
        vocab_size, context_length, d_head = torch.randint(5, 12, (3,), generator=generator).tolist()
        yield (
            GPTConfig(
                vocab_size=vocab_size,
                context_length=context_length,
                n_layers=n_layers,
                n_heads=n_heads,
                d_model=n_heads * d_head,
            ),
        )


def tokens_and_a_table(generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    for batch, seq, vocab_size, d_model in ((1, 2, 3, 2), (2, 3, 5, 4)):
        tokens = torch.randint(vocab_size, (batch, seq), generator=generator)
        yield tokens, torch.randn(vocab_size, d_model, generator=generator)


def in_a_model(answer: Callable[..., Any], tokens: Tensor) -> Tensor:
    """Sends tokens through a small model of random weights that has the names of the notebook's class."""
    config = GPTConfig(vocab_size=7, context_length=8, n_layers=3, n_heads=2, d_model=8)
    model = nn.Module()
    model.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
    model.position = nn.Embedding(config.context_length, config.d_model)
    model.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
    model.final_norm = nn.LayerNorm(config.d_model)
    model.unembedding = nn.Linear(config.d_model, config.vocab_size, bias=False)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return answer(model, tokens)


def read_and_written(answer: Callable[..., Any], tokens: Tensor, table: Tensor) -> Any:
    """Logits of the embeddings, the table's gradient, and the number of parameters."""
    tied = answer(*table.shape)
    parameters = list(tied.parameters())
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(table if parameter.shape == table.shape else torch.zeros_like(parameter))
    with torch.enable_grad():
        x = tied.embed(tokens)
        logits = x if x is ... else tied.logits(x)
        if logits is ...:
            return ...
        if not parameters:
            raise TypeError("torch knows of no parameter in this class: wrap the table in nn.Parameter")
        gradients = torch.autograd.grad(logits.square().sum(), parameters, allow_unused=True)
    arrived = [gradient for gradient in gradients if gradient is not None and gradient.shape == table.shape]
    return logits, sum(arrived), sum(parameter.numel() for parameter in parameters)


def stream_of(self: nn.Module, tokens: Tensor) -> Tensor:
    x = self.token_embedding(tokens) + self.position.weight[: tokens.shape[1]]
    for block in self.blocks:
        x = block(x)
    return x


def residual_twice(self: nn.Module, tokens: Tensor) -> Tensor:
    x = self.token_embedding(tokens) + self.position.weight[: tokens.shape[1]]
    for block in self.blocks:
        x = x + block(x)
    return self.unembedding(self.final_norm(x))


def no_positions(self: nn.Module, tokens: Tensor) -> Tensor:
    x = self.token_embedding(tokens)
    for block in self.blocks:
        x = block(x)
    return self.unembedding(self.final_norm(x))


def last_block_alone(self: nn.Module, tokens: Tensor) -> Tensor:
    x = self.token_embedding(tokens) + self.position.weight[: tokens.shape[1]]
    return self.unembedding(self.final_norm(self.blocks[-1](x)))


def one_block_miscounted(config: GPTConfig, by: int) -> int:
    return count_by_hand(config) + config.n_layers * by


EMBEDDED = Exercise(
    name="gpt.embedded",
    reference=embedded,
    inputs=tokens_and_tables,
    buys="This is where text enters the model, and all it is told about order.",
    hints=(
        "A token's vector says what it is, and the vector of its place says where it stands. Both are added.",
        "tokens (batch, seq) pick rows of the first table: (batch, seq, d_model). Of the second take (seq, d_model).",
        "token_table[tokens] plus the first seq rows of position_table, where seq is tokens.shape[1].",
    ),
    misconceptions=(
        Misconception(
            "no_positions",
            "the positions are missing: a word would be the same vector wherever it stands.",
            lambda tokens, token_table, position_table: token_table[tokens],
        ),
        Misconception(
            "position_of_the_token",
            "the tokens pick the rows of both tables. A position is picked by the place, 0, 1, 2, not by what stands there.",
            lambda tokens, token_table, position_table: token_table[tokens] + position_table[tokens],
        ),
        Misconception(
            "counted_from_1",
            "the positions are counted from 1. The first token stands at position 0.",
            lambda tokens, token_table, position_table: (
                token_table[tokens] + position_table[1 : tokens.shape[1] + 1]
            ),
        ),
        Misconception(
            "last_rows",
            "you took the last rows of the position table. However short the text, its first token has position 0.",
            lambda tokens, token_table, position_table: (
                token_table[tokens] + position_table[-tokens.shape[1] :]
            ),
        ),
        Misconception(
            "multiplied",
            "token and position were multiplied. They are added: both are writes into the stream.",
            lambda tokens, token_table, position_table: (
                token_table[tokens] * position_table[: tokens.shape[1]]
            ),
        ),
    ),
    minutes=4,
    difficulty=1,
)

FORWARD = Exercise(
    name="gpt.forward",
    reference=forward,
    inputs=some_tokens,
    use=in_a_model,
    buys="This is the whole way through a GPT. The cells below give it storyteller's weights.",
    hints=(
        "In at the two tables, up through the blocks one by one, out through the final norm and the unembedding.",
        "(batch, seq) becomes (batch, seq, d_model), stays so through all blocks, and ends as (batch, seq, vocab).",
        "x is self.token_embedding(tokens) plus the first rows of self.position.weight; each block maps x to the next x; "
        "return self.unembedding of self.final_norm of x.",
    ),
    misconceptions=(
        Misconception(
            "residual_twice",
            "each block was added to x. A block returns the stream with its own writes in it; x is there already.",
            residual_twice,
        ),
        Misconception(
            "no_final_norm",
            "the final norm is missing. The stream has grown on its way, and the unembedding expects a normed vector.",
            lambda self, tokens: self.unembedding(stream_of(self, tokens)),
        ),
        Misconception(
            "no_positions",
            "the positions are missing, so the model can hardly tell the order of words.",
            no_positions,
        ),
        Misconception(
            "last_block_alone",
            "the blocks do not build on each other: the last one got the embeddings, and the work of the others is lost.",
            last_block_alone,
        ),
        Misconception(
            "softmaxed",
            "these are probabilities. The model gives logits; softmax comes after, in the loss or when a token is drawn.",
            lambda self, tokens: forward(self, tokens).softmax(dim=-1),
        ),
        Misconception(
            "embedding_reused",
            "the token embedding was used at the end. That is right while the two are tied; section 4 unties them. "
            "Use self.unembedding.",
            lambda self, tokens: self.final_norm(stream_of(self, tokens)) @ self.token_embedding.weight.T,
        ),
    ),
    minutes=8,
    difficulty=2,
)

COUNT_BY_HAND = Exercise(
    name="gpt.count_by_hand",
    reference=count_by_hand,
    inputs=configs,
    buys="Your count is about to meet the published ones.",
    hints=(
        "Two tables, then the same block n_layers times, then the final norm. A linear layer has a weight and a bias.",
        "With d = d_model: qkv is (d, 3d), output (d, d), up (d, 4d), down (4d, d), each with one bias a column; a norm has 2d.",
        "(vocab_size + context_length) · d, plus n_layers times (attention + MLP + two norms), plus 2d for the final norm. "
        "The unembedding is the token embedding: it adds nothing.",
    ),
    source=COUNT_BY_HAND_SOURCE,
    misconceptions=(
        Misconception(
            "untied",
            "the unembedding was counted too. It is the token embedding's own tensor, and a tensor counts once.",
            lambda config: count_by_hand(config) + config.vocab_size * config.d_model,
        ),
        Misconception(
            "no_positions",
            "the position table is missing: one row of d_model numbers for each place in the context.",
            lambda config: count_by_hand(config) - config.context_length * config.d_model,
        ),
        Misconception(
            "no_biases",
            "the linear layers have no biases in your count: 3d and d in attention, 4d and d in the MLP.",
            lambda config: one_block_miscounted(config, -9 * config.d_model),
        ),
        Misconception(
            "no_final_norm",
            "the final norm is missing, 2 · d_model numbers after all blocks.",
            lambda config: count_by_hand(config) - 2 * config.d_model,
        ),
        Misconception(
            "norm_without_bias",
            "each norm was counted with d_model numbers. It has a weight and a bias, so 2 · d_model.",
            lambda config: one_block_miscounted(config, -2 * config.d_model) - config.d_model,
        ),
        Misconception(
            "attention_for_each_head",
            "attention was counted once for each head. The heads share the d columns among them; their number changes nothing.",
            lambda config: one_block_miscounted(
                config, (config.n_heads - 1) * 4 * (config.d_model + 1) * config.d_model
            ),
        ),
    ),
    minutes=10,
    difficulty=2,
)

TIED_TABLE = Exercise(
    name="gpt.TiedTable",
    reference=TiedTable,
    inputs=tokens_and_a_table,
    use=read_and_written,
    buys="One table at both ends of the model, and whatever it learns at one end it knows at the other.",
    hints=(
        "Make one parameter. Reading picks its rows; writing compares a vector with all of its rows.",
        "The table is (vocab, d_model). embed: (batch, seq) -> (batch, seq, d_model). logits: back to (batch, seq, vocab).",
        "In __init__ wrap a random (vocab_size, d_model) in nn.Parameter and keep it on self. embed picks rows by tokens; "
        "logits multiplies x with the transposed table.",
    ),
    misconceptions=(
        Misconception(
            "two_tables",
            "there are two tables. Even if they start equal, training moves them apart; tied means one and the same tensor.",
            TwoTables,
        ),
        Misconception(
            "detached",
            "no gradient comes from the logits back into the table, so it learns at the reading end alone. Is there a detach?",
            DetachedTable,
        ),
        Misconception(
            "with_bias",
            "there is a bias beside the table. GPT's unembedding is a product with the table and no more.",
            BiasedTable,
        ),
        Misconception(
            "scaled",
            "the embeddings were multiplied by √d_model. The first transformer did so; GPT reads its table as it is.",
            ScaledTable,
        ),
        Misconception(
            "softmaxed",
            "logits gives probabilities. Leave out the softmax: the loss takes it, and so does whoever draws a token.",
            ProbabilityTable,
        ),
    ),
    minutes=10,
    difficulty=3,
)

LESSON = Lesson(
    topic="gpt",
    exercises=(EMBEDDED, FORWARD, COUNT_BY_HAND, TIED_TABLE),
    predictions=(
        Prediction(
            "gpt.too_large",
            "All matrices start fifty times larger than in GPT-2. What is the first loss?",
            (
                "far above ln V",
                "Large weights make large logits: the model starts sure, and it is sure of nonsense.",
            ),
            (
                (
                    "near ln V: random is random",
                    "Random weights give random logits, but large ones. The softmax of large logits is a bet.",
                ),
                (
                    "below ln V",
                    "To be below it must know something. It is untrained: its bets are as random as they are high.",
                ),
            ),
            shows=lambda sizes, losses, nothing: figures.line_chart(
                {"first loss": (sizes, losses)},
                title="Weights that start too large make a model that is sure of nonsense",
                x_label="standard deviation of the first weights",
                y_label="loss before training (nats per token)",
                log_x=True,
                marks={"knows nothing: ln V =": nothing},
            ),
            finding="With GPT-2’s 0.02 the first loss is close to ln V. At ten times that size it is clearly "
            "higher, and at fifty times it is far above: weights that start too large make a model that is sure of "
            "nonsense.",
        ),
        Prediction(
            "gpt.another_batch",
            "A model has learned one batch by heart. What is its loss on another batch?",
            (
                "above ln V",
                "It has learned to be sure. Where it was not trained, it is sure and wrong.",
            ),
            (
                ("near 0 there too", "It would have to know stories. It knows 512 tokens."),
                (
                    "well below ln V: it learned some English",
                    "It did meet words, but it also learned to follow each with what came after it in this one batch.",
                ),
            ),
            shows=lambda by_heart, nothing, elsewhere: figures.loss_curves(
                {"the batch": (range(100), by_heart)},
                marks={"ln V": nothing, "another batch": elsewhere},
                title="One batch is learned by heart; another one is worse than knowing nothing",
            ),
            finding="The loss on the batch falls from ln V to nearly 0. On another batch the model is **worse** than one that knows nothing: it has learned to be sure, not to be right. Learning by heart proves that the machine works. It does not prove that anything was understood.",
        ),
        Prediction(
            "gpt.too_good",
            "A model learns one batch with each of three mistakes in turn. Which mistake makes a loss curve that "
            "looks better than that of the correct code?",
            (
                "no shift",
                "To repeat what one reads is far easier than to guess what comes next. Nothing of use is learned.",
            ),
            (
                ("plain list", "Fewer numbers are trained, so it learns more slowly: worse, not better."),
                ("no zero_grad", "Old gradients pile up, and the steps overshoot: worse, not better."),
            ),
            shows=lambda broken, nothing: figures.loss_curves(
                {name: (range(100), losses) for name, losses in broken.items()},
                marks={"ln V": nothing},
                title="Each mistake has its own curve, and one of them looks too good",
            ),
            finding="Without `zero_grad` the loss gets stuck at about 5, and the plain list learns more slowly. "
            "Without the shift the curve looks **better** than that of the correct code, and that makes this "
            "mistake the dangerous one. Its start gives it away: it is below ln V.",
        ),
    ),
    quiz=(
        Question(
            "gpt.shape_of_logits",
            "`tokens` is (4, 10), `d_model` is 128, the vocabulary has 2,048 tokens. What shape are the logits?",
            (
                "(4, 10, 2048)",
                "Every position of every sequence scores each token of the vocabulary as its next.",
            ),
            (
                (
                    "(4, 2048)",
                    "That is one prediction for each sequence. A pass gives one for each position.",
                ),
                ("(4, 10, 128)", "That is the stream. The unembedding maps 128 to 2,048."),
                ("(10, 2048)", "The 4 sequences of the batch stay apart."),
            ),
        ),
        Question(
            "gpt.more_heads",
            "You go from 12 heads to 24 and leave `d_model` as it is. How many more parameters?",
            ("none", "Heads share the $d$ columns of each matrix: each head is half as wide now."),
            (
                ("twice as many in attention", "Each head has half the width, so the two effects cancel."),
                (
                    "twice as many in all",
                    "MLP and embeddings know nothing of heads, and attention keeps its matrices.",
                ),
                (
                    "a new matrix for each head",
                    "All queries, keys and values come from one matrix, (d, 3d), cut into heads.",
                ),
            ),
        ),
        Question(
            "gpt.tying_saves",
            "A vocabulary of 50,000, `d_model` 1,000. How many parameters does tying save?",
            ("50 million", "One table of $50{,}000 \\cdot 1{,}000$ numbers serves where there were two."),
            (
                ("100 million", "That is both tables. One of them stays."),
                ("50 thousand", "Each of the 50,000 tokens has a row of 1,000 numbers."),
                (
                    "none: tying saves time",
                    "The product with all tokens still has to be computed; what is saved is memory.",
                ),
            ),
        ),
        Question(
            "gpt.cost_of_training",
            "A model of $10^6$ parameters is trained on $10^9$ tokens. About how many operations is that?",
            (
                "$6 \\cdot 10^{15}$",
                "6 for each parameter and token: 2 on the way forward, 4 on the way back.",
            ),
            (
                (
                    "$2 \\cdot 10^{15}$",
                    "That is the way forward alone; the way back costs twice as much again.",
                ),
                (
                    "$10^{15}$",
                    "Each parameter takes part in a multiplication and an addition, and in the way back.",
                ),
                ("$6 \\cdot 10^{9}$", "That counts each token once; it meets all $10^6$ parameters."),
            ),
        ),
        Question(
            "gpt.first_loss_30",
            "$V$ is 1,000, so $\\ln V$ is 6.9. Before the first step the loss is 30. What do you suspect?",
            (
                "the weights start too large",
                "The model is sure of nonsense. Look at the standard deviation of the first weights.",
            ),
            (
                ("the learning rate is too high", "No step was made yet, so the learning rate had no say."),
                (
                    "the targets are not shifted",
                    "That makes the task easier, and a tied model starts below $\\ln V$.",
                ),
                (
                    "the text is too hard",
                    "A model that knows nothing should give each token the same, whatever the text.",
                ),
            ),
        ),
        Question(
            "gpt.first_loss_below",
            "Another model, tied, starts clearly below $\\ln V$. What do you suspect?",
            (
                "something gives the answer away",
                "With targets that are the inputs, for example, a tied model starts ahead.",
            ),
            (
                (
                    "the weights start too small",
                    "Then all logits are near 0, and the loss is $\\ln V$, not below.",
                ),
                (
                    "a lucky seed",
                    "Luck moves the loss by hundredths; the mean runs over thousands of tokens.",
                ),
                (
                    "nothing, lower is better",
                    "An untrained model knows nothing. What it seems to know, it was told.",
                ),
            ),
        ),
        Question(
            "gpt.heart_fails",
            "On one batch, repeated 500 times, the loss gets stuck at 4. What now?",
            (
                "look for a mistake in the code",
                "A model with more weights than the batch has tokens can learn it by heart. This one is stopped.",
            ),
            (
                ("train on more data", "More data makes the task harder. It cannot even do the easy one."),
                ("nothing, it avoids overfitting", "Here overfitting is the aim: the check asks for it."),
                (
                    "wait for another 500 steps",
                    "Some patience may be right, but 500 steps are ample for a few hundred tokens.",
                ),
            ),
        ),
    ),
    objectives=(
        ("gpt.forward", "gpt.TiedTable"),
        ("gpt.embedded", "gpt.shape_of_logits"),
        ("gpt.count_by_hand", "gpt.more_heads", "gpt.tying_saves", "gpt.cost_of_training"),
        ("gpt.too_large", "gpt.first_loss_30", "gpt.first_loss_below"),
        ("gpt.another_batch", "gpt.too_good", "gpt.heart_fails"),
    ),
)
