"""The whole GPT."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from gptlib.course.exercises import Exercise, InWords, Lesson, Misconception, Prediction, Question
from gptlib.course.judging import Unfit
from gptlib.model.blocks import Block
from gptlib.model.config import GPTConfig
from gptlib.scaling.counting import count_parameters
from gptlib.viz import figures
from gptlib.viz.drawing import Drawing


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


class DetachedReading(TiedTable):
    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens).detach()


class ScaledTable(TiedTable):
    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens) * self.table.shape[1] ** 0.5


class DividedTable(TiedTable):
    def logits(self, x: Tensor) -> Tensor:
        return super().logits(x) / self.table.shape[1] ** 0.5


class ProbabilityTable(TiedTable):
    def logits(self, x: Tensor) -> Tensor:
        return super().logits(x).softmax(dim=-1)


class LogProbabilityTable(TiedTable):
    def logits(self, x: Tensor) -> Tensor:
        return super().logits(x).log_softmax(dim=-1)


class LastPositionTable(TiedTable):
    def logits(self, x: Tensor) -> Tensor:
        return super().logits(x[:, -1])


class NoTranspose(TiedTable):
    def logits(self, x: Tensor) -> Tensor:
        return x @ self.table


class TurnedTable(nn.Module):
    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.table = nn.Parameter(0.02 * torch.randn(d_model, vocab_size))

    def embed(self, tokens: Tensor) -> Tensor:
        return self.table.T[tokens]

    def logits(self, x: Tensor) -> Tensor:
        return x @ self.table


class PlainTable(TiedTable):
    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__(vocab_size, d_model)
        table = self.table.detach()
        del self.table
        self.table = table


class FrozenTable(TiedTable):
    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__(vocab_size, d_model)
        self.table.requires_grad_(False)


class DetachedTwice(DetachedTable, DetachedReading):
    """Both."""


class ChosenTokens(TiedTable):
    def logits(self, x: Tensor) -> Tensor:
        return super().logits(x).argmax(dim=-1)


def tokens_and_tables(generator: Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Tokens, (batch, seq), and tables of 5 tokens and 9 positions, (row, d_model).

    One batch has a single text, one a single token, and one as many texts as positions.
    """
    for batch, seq, d_model in ((1, 2, 1), (2, 3, 2), (3, 5, 4), (4, 4, 3), (1, 1, 2)):
        tokens = torch.randint(1, 5, (batch, seq), generator=generator)
        token_table = torch.randn(5, d_model, generator=generator)
        yield tokens, token_table, torch.randn(9, d_model, generator=generator)


def some_tokens(generator: Generator) -> Iterator[tuple[Tensor]]:
    for batch, seq in ((1, 2), (1, 4), (3, 5), (1, 1)):
        yield (torch.randint(1, 7, (batch, seq), generator=generator),)  # none is its own position


def configs(generator: Generator) -> Iterator[tuple[GPTConfig]]:
    yield (GPTConfig(vocab_size=5, context_length=3, n_layers=2, n_heads=2, d_model=2),)
    for n_layers, n_heads in ((3, 5), (4, 4)):
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
    for batch, seq, vocab_size, d_model in ((1, 2, 3, 2), (2, 3, 5, 4), (1, 2, 2, 2)):
        tokens = torch.randint(vocab_size, (batch, seq), generator=generator)
        yield tokens, torch.randn(vocab_size, d_model, generator=generator)


def near(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other.to(one.dtype), rtol=1e-4, atol=1e-5)


def with_two_tables(
    answer: Callable[..., Any], tokens: Tensor, token_table: Tensor, position_table: Tensor
) -> Any:
    """The vectors, or words for a mistake that has many forms; of a single token, the shape alone."""
    x = answer(tokens, token_table, position_table)
    if not isinstance(x, Tensor):
        return x
    positions = position_table[: tokens.shape[1]]
    if x.shape[-2:] == positions.shape and near(x, positions.expand_as(x)):
        return InWords("the positions alone", x)
    if tokens.shape[1] == 1:  # which row it got does not show which rows more tokens get
        return x.new_zeros(x.shape)
    words = token_table[tokens]
    if x.shape != words.shape:
        return x
    added = x - words
    if near(added, added[:1, :1].expand_as(added)) and not near(x, words):
        return InWords("the same vector added to every token", x)
    return x


def in_a_model(answer: Callable[..., Any], tokens: Tensor) -> Any:
    """Sends tokens through a small model of random weights that has the names of the notebook's class.

    Gives the logits, or words for a mistake that has many forms; of a single token, the shape alone.
    """
    config = GPTConfig(vocab_size=7, context_length=8, n_layers=3, n_heads=2, d_model=8)
    model = nn.Module()
    model.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
    model.position = nn.Embedding(config.context_length, config.d_model)
    model.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
    model.final_norm = nn.LayerNorm(config.d_model)
    model.unembedding = nn.Linear(config.d_model, config.vocab_size, bias=False)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    reads: list[Tensor] = []
    hooks = [
        block.register_forward_pre_hook(lambda _, given: reads.extend(given[:1])) for block in model.blocks
    ]
    logits = answer(model, tokens)
    for hook in hooks:
        hook.remove()
    if not isinstance(logits, Tensor) or logits.ndim < 2:
        return logits
    if tokens.shape[1] == 1:  # which row it got does not show which rows more tokens get
        return logits.new_zeros(logits.shape).reshape(1, -1, logits.shape[-1])
    return kind_of_mistake(model, tokens, logits, reads)


def kind_of_mistake(
    model: nn.Module, tokens: Tensor, logits: Tensor, reads: list[Tensor]
) -> Tensor | InWords:
    """What is wrong with the logits by what the first block read, by their shape, and by their sums."""
    start = start_of(model, tokens)
    told_apart = (start, model.token_embedding(tokens), model.final_norm(start))
    if reads and not any(near(reads[0], known[: len(reads[0])]) for known in told_apart):
        return InWords("logits that do not start from the sum of token and position", logits)
    if logits.shape == model.token_embedding(tokens).shape:
        return InWords("vectors of the stream", logits)
    vocab_size = model.unembedding.out_features
    if logits.shape == (*tokens.shape, vocab_size):
        probable = logits if (logits >= 0).all() else logits.exp()
        sums = probable.sum(dim=-1)
        is_probable = near(sums, torch.ones_like(sums))
        return InWords("probabilities or their logarithms", logits) if is_probable else logits
    one_each = logits.shape in ((len(tokens), vocab_size), (len(tokens), 1, vocab_size))
    return InWords("logits for one position of each text", logits) if one_each else logits


def placed(found: float, right: int, *telling: int) -> int | InWords:
    """A number as it is where it is right or tells what was done, else on which side of the right one it lies."""
    for number in (right, *telling):
        if found == number:
            return number
    return InWords(f"fewer than {right}" if found < right else f"more than {right}")


def counted_by_part(answer: Callable[[GPTConfig], Any], config: GPTConfig) -> Any:
    """The count, taken apart: what each part adds follows from the counts of slightly larger models.

    If all parts are right, so is the count. After the first part that is wrong, the others are left out.
    """
    total = answer(config)
    if total is ...:
        return ...
    if isinstance(total, bool) or not isinstance(total, int | float):
        missing = "; is a `return` missing?" if total is None else ""
        raise Unfit(f"it returned {type(total).__name__}, which is not a whole number{missing}")
    d = config.d_model
    for_a_token = answer(replace(config, vocab_size=config.vocab_size + 1)) - total
    for_a_position = answer(replace(config, context_length=config.context_length + 1)) - total
    wide = replace(config, d_model=2 * d)
    block, wide_block = (
        answer(replace(one, n_layers=one.n_layers + 1)) - answer(one) for one in (config, wide)
    )
    matrices = (wide_block - 2 * block) / 2  # what grows with the square of d_model
    besides = block - matrices
    outside = total - config.n_layers * block
    outside -= config.vocab_size * for_a_token + config.context_length * for_a_position
    if matrices == 12 * d**2 and besides == 0 and outside > 2 * d:
        return InWords("biases and norms of one block")
    parts: dict[str, int | InWords | None] = {}
    settled = True
    for name, found, right, *telling in (
        ("numbers for each token of the vocabulary, in units of d_model", for_a_token / d, 1, 0),
        ("numbers for each position of the context, in units of d_model", for_a_position / d, 1, 0),
        ("numbers in the matrices of a block, in units of d_model²", matrices / d**2, 12, 0, 10, 11),
        ("numbers in the biases and norms of a block, in units of d_model", besides / d, 13, 0, 4, 9, 11),
        ("numbers outside the tables and the blocks, in units of d_model", outside / d, 2),
    ):
        parts[name] = placed(found, right, *telling) if settled else None
        settled = parts[name] == right
    return parts


def read_and_written(answer: Callable[..., Any], tokens: Tensor, table: Tensor) -> Any:
    """Embeddings, their logits, and the table's gradient; or words for a mistake that has many forms."""
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
            return InWords("no parameter")
        tables = [parameter for parameter in parameters if parameter.shape == table.shape]
        if not tables:
            wanted = f"(vocab_size, d_model), here {tuple(table.shape)}"
            raise Unfit(f"no parameter has the shape {wanted}; the table has one row for each token")
        if not all(parameter.requires_grad for parameter in parameters):
            return InWords("a frozen parameter")
        if len(parameters) > 1:
            square = table.shape[0] == table.shape[1]  # where another matrix may look like a table
            return InWords("two tables" if len(tables) > 1 and not square else "another parameter")
        if not isinstance(logits, Tensor):
            raise Unfit(f"logits returned {type(logits).__name__}, not a tensor; is a `return` missing?")
        if logits.shape == tokens.shape:
            return InWords("one number for each position")
        if not logits.requires_grad:
            return InWords("no gradient from either end")
        (gradient,) = torch.autograd.grad(logits.square().sum(), tables)
    batch, vocab_size = len(tokens), len(table)
    if logits.shape in ((batch, vocab_size), (batch, 1, vocab_size)):
        return InWords("one set of logits for each text")
    return {
        "the vectors from embed": x,
        "the logits of these vectors": logits,
        "the gradient that reaches the table": gradient,
    }


def start_of(self: nn.Module, tokens: Tensor) -> Tensor:
    return self.token_embedding(tokens) + self.position.weight[: tokens.shape[1]]


def through_blocks(self: nn.Module, x: Tensor) -> Tensor:
    for block in self.blocks:
        x = block(x)
    return x


def stream_of(self: nn.Module, tokens: Tensor) -> Tensor:
    return through_blocks(self, start_of(self, tokens))


def read_out(self: nn.Module, x: Tensor) -> Tensor:
    return self.unembedding(self.final_norm(x))


def residual_twice(self: nn.Module, tokens: Tensor) -> Tensor:
    x = start_of(self, tokens)
    for block in self.blocks:
        x = x + block(x)
    return read_out(self, x)


def norm_in_the_loop(self: nn.Module, tokens: Tensor) -> Tensor:
    x = start_of(self, tokens)
    for block in self.blocks:
        x = self.final_norm(block(x))
    return self.unembedding(x)


def positions_in_the_loop(self: nn.Module, tokens: Tensor) -> Tensor:
    x = self.token_embedding(tokens)
    for block in self.blocks:
        x = block(x + self.position.weight[: tokens.shape[1]])
    return read_out(self, x)


def counted_otherwise(config: GPTConfig, for_each_block: int, besides: int = 0) -> int:
    return count_by_hand(config) + config.n_layers * for_each_block + besides


def rule_of_twelve(config: GPTConfig) -> int:
    tables = (config.vocab_size + config.context_length) * config.d_model
    return tables + config.n_layers * 12 * config.d_model**2


def counts_and_logits(checked: dict[str, tuple[int, float, float]], n_parameters: int) -> str:
    """What each mistake does to the count, the logits and the loss: name -> (count, distance, loss)."""
    lines = [f"{'':24}parameters   logits off by up to       loss"]
    for name, (count, off, loss) in checked.items():
        changed = f"{count - n_parameters:+,}" if count != n_parameters else "no change"
        lines.append(f"{name:24}{changed:>10}   {off:19,.2f}   {loss:8,.2f}")
    return "\n".join(lines)


def first_losses(losses: dict[str, list[float]], sizes: list[float], nothing: float) -> Drawing:
    """The loss before training, by the standard deviation of the matrices that are drawn larger."""
    return figures.line_chart(
        {name: (sizes, values) for name, values in losses.items()},
        title="The first loss when some of the initial weights are larger than GPT-2’s",
        x_label="standard deviation of the enlarged matrices",
        y_label="loss before training (nats per token)",
        log_x=True,
        marks={"ln V": nothing},
    )


def growing_stream(lengths: list[float], sums: list[float]) -> Drawing:
    """The stream's length at each depth, beside what independent writes would give."""
    depths = range(len(lengths))
    return figures.line_chart(
        {"measured": (depths, lengths), "if the squares add up": (depths, sums)},
        title="The length of the stream in 48 untrained blocks, without the scaling",
        x_label="depth: blocks passed so far (0 = the embeddings)",
        y_label="mean length of the stream",
    )


def memorized(by_step: list[float], elsewhere: dict[int, float], nothing: float) -> Drawing:
    """The loss on the batch that is repeated, and on another one: step -> loss."""
    return figures.loss_curves(
        {
            "the batch": (range(len(by_step)), by_step),
            "another batch": (list(elsewhere), list(elsewhere.values())),
        },
        marks={"ln V": nothing},
        title="The repeated batch is memorized; on another batch the loss first falls and then rises",
    )


EMBEDDED = Exercise(
    name="gpt.embedded",
    reference=embedded,
    inputs=tokens_and_tables,
    use=with_two_tables,
    buys="This is how text enters the model.",
    hints=(
        "One vector says which token it is, and another says where it stands. They are added.",
        "tokens (batch, seq) pick rows of the first table: (batch, seq, d_model). From the second you need (seq, d_model).",
        "token_table[tokens] plus the first seq rows of position_table, where seq is tokens.shape[1].",
    ),
    misconceptions=(
        Misconception(
            "no_positions",
            "the positions are missing, so a token gets the same vector wherever it stands. Add the rows of position_table.",
            lambda tokens, token_table, position_table: token_table[tokens],
        ),
        Misconception(
            "position_of_the_token",
            "the tokens pick the rows of both tables. The rows of position_table are picked by position (0, 1, 2 and so on), whatever token stands there.",
            lambda tokens, token_table, position_table: token_table[tokens] + position_table[tokens],
        ),
        Misconception(
            "counted_from_1",
            "the positions are counted from 1. The first token is at position 0.",
            lambda tokens, token_table, position_table: (
                token_table[tokens] + position_table[1 : tokens.shape[1] + 1]
            ),
        ),
        Misconception(
            "last_rows",
            "you took the last rows of the position table. The first token has position 0, however short the text is.",
            lambda tokens, token_table, position_table: (
                token_table[tokens] + position_table[-tokens.shape[1] :]
            ),
        ),
        Misconception(
            "multiplied",
            "token and position were multiplied. Both are writes into the stream, so they are added.",
            lambda tokens, token_table, position_table: (
                token_table[tokens] * position_table[: tokens.shape[1]]
            ),
        ),
        Misconception(
            "concatenated",
            "token and position were put side by side, which makes the vectors twice as wide. They are added, so the stream stays d_model wide.",
            lambda tokens, token_table, position_table: torch.cat(
                [
                    token_table[tokens],
                    position_table[: tokens.shape[1]].expand(*tokens.shape, position_table.shape[1]),
                ],
                dim=-1,
            ),
        ),
        Misconception(
            "same_row",
            "every token got the same vector added. position_table[n] is a single row, and position_table[: n] are the first n rows. "
            "You need the first tokens.shape[1] rows, one for each position.",
            lambda tokens, token_table, position_table: token_table[tokens] + position_table[-1],
        ),
        Misconception(
            "whole_table",
            "position_table was added whole. It has a row for each position of the longest text the model can read, and these texts are shorter: take the first tokens.shape[1] rows.",
            lambda tokens, token_table, position_table: token_table[tokens] + position_table,
        ),
        Misconception(
            "batch_for_seq",
            "the number of texts was mistaken for the number of positions. tokens is (batch, seq), so len(tokens) counts the texts and tokens.shape[1] the positions.",
            lambda tokens, token_table, position_table: (
                token_table[tokens] + position_table[: tokens.shape[0]]
            ),
        ),
        Misconception(
            "positions_by_text",
            "the positions were counted along the batch, so all tokens of a text got the same row. tokens is (batch, seq): position 0, 1, 2 and so on runs along seq.",
            lambda tokens, token_table, position_table: (
                token_table[tokens] + position_table[torch.arange(tokens.shape[0])[:, None]]
            ),
        ),
        Misconception(
            "first_text_alone",
            "the axis of the batch is gone, because only the first text was used. Give the whole of tokens to the table: the result is (batch, seq, d_model).",
            lambda tokens, token_table, position_table: (
                token_table[tokens[0]] + position_table[: tokens.shape[1]]
            ),
        ),
        Misconception(
            "positions_alone",
            "the result does not depend on the tokens. Pick their rows with token_table[tokens], and add the positions to them.",
            lambda tokens, token_table, position_table: position_table[: tokens.shape[1]],
        ),
        Misconception(
            "swapped",
            "the tables are the wrong way round: tokens pick rows of token_table, and positions pick rows of position_table.",
            lambda tokens, token_table, position_table: (
                position_table[tokens] + token_table[: tokens.shape[1]]
            ),
        ),
        Misconception(
            "scaled",
            "the token's row was multiplied by √d_model. The first transformer did that; GPT adds the row as it is.",
            lambda tokens, token_table, position_table: (
                token_table[tokens] * token_table.shape[1] ** 0.5 + position_table[: tokens.shape[1]]
            ),
        ),
        Misconception(
            "averaged",
            "you took the mean of the two rows. They are added: the stream is a sum.",
            lambda tokens, token_table, position_table: (
                (token_table[tokens] + position_table[: tokens.shape[1]]) / 2
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
    buys="This is the whole forward pass of a GPT. The cells below give it storyteller's weights.",
    hints=(
        "Start from the two tables, go through the blocks one after the other, and end with the final norm and the unembedding.",
        "(batch, seq) becomes (batch, seq, d_model), keeps that shape through all the blocks, and ends as (batch, seq, vocab).",
        "x is self.token_embedding(tokens) plus the first rows of self.position.weight; each block turns x into the next x; "
        "return self.unembedding of self.final_norm of x.",
    ),
    misconceptions=(
        Misconception(
            "residual_twice",
            "each block's result was added to x. A block returns the whole stream, with x already in it, so write x = block(x).",
            residual_twice,
        ),
        Misconception(
            "no_final_norm",
            "the final norm is missing. The stream has grown on its way through the blocks, and the unembedding expects a normed vector.",
            lambda self, tokens: self.unembedding(stream_of(self, tokens)),
        ),
        Misconception(
            "no_positions",
            "the positions are missing. Add the first rows of self.position.weight to the token embeddings.",
            lambda self, tokens: read_out(self, through_blocks(self, self.token_embedding(tokens))),
        ),
        Misconception(
            "another_start",
            "the first block does not get the sum of token and position. Take token_embedding of the tokens and add row 0 of self.position.weight to the first token of every text, "
            "row 1 to the second and so on, whatever tokens stand there. Nothing else is added or multiplied.",
            lambda self, tokens: read_out(
                self, through_blocks(self, self.token_embedding(tokens) + self.position.weight[-1])
            ),
        ),
        Misconception(
            "whole_table",
            "self.position.weight was not cut to the length of the texts. It has a row for each position of the longest text the model can read; take the first tokens.shape[1] rows.",
            lambda self, tokens: read_out(
                self, through_blocks(self, self.token_embedding(tokens) + self.position.weight)
            ),
        ),
        Misconception(
            "positions_in_the_loop",
            "the positions were added again before every block. They are written into the stream once, before the first block, and stay in it.",
            positions_in_the_loop,
        ),
        Misconception(
            "last_block_alone",
            "every block got the embeddings, so only the last block counts. Each block has to read what the block before it returned.",
            lambda self, tokens: read_out(self, self.blocks[-1](start_of(self, tokens))),
        ),
        Misconception(
            "returned_early",
            "only the first block was used. Is the return inside the loop? It belongs after it.",
            lambda self, tokens: read_out(self, self.blocks[0](start_of(self, tokens))),
        ),
        Misconception(
            "norm_first",
            "the final norm was applied to the embeddings, before the blocks. It comes after the last block.",
            lambda self, tokens: self.unembedding(
                through_blocks(self, self.final_norm(start_of(self, tokens)))
            ),
        ),
        Misconception(
            "softmaxed",
            "these are probabilities or their logarithms. The model returns logits; the softmax or log_softmax comes later, in the loss or when a token is chosen.",
            lambda self, tokens: forward(self, tokens).softmax(dim=-1),
        ),
        Misconception(
            "last_position_alone",
            "there is one set of logits for each text. The model predicts the next token at every position, so the logits are (batch, seq, vocab). Is there a [:, -1] or a mean?",
            lambda self, tokens: forward(self, tokens)[:, -1],
        ),
        Misconception(
            "no_unembedding",
            "these are vectors of d_model numbers, as in the stream. self.unembedding turns them into logits, after the final norm.",
            lambda self, tokens: self.final_norm(stream_of(self, tokens)),
        ),
        Misconception(
            "embedding_reused",
            "the token embedding was used at the end. That works only while the two are tied, and section 4 unties them. "
            "Use self.unembedding.",
            lambda self, tokens: self.final_norm(stream_of(self, tokens)) @ self.token_embedding.weight.T,
        ),
        Misconception(
            "no_blocks",
            "the blocks have no effect on the result. A block returns the new stream, so assign it: x = block(x).",
            lambda self, tokens: read_out(self, start_of(self, tokens)),
        ),
        Misconception(
            "norm_in_the_loop",
            "the final norm was applied after every block, and the next block got the normed stream. It is used once, after the last block.",
            norm_in_the_loop,
        ),
    ),
    minutes=8,
    difficulty=2,
)

COUNT_BY_HAND = Exercise(
    name="gpt.count_by_hand",
    reference=count_by_hand,
    inputs=configs,
    use=counted_by_part,
    buys="The next cell compares your count with the published ones.",
    hints=(
        "There are two tables, then the same block n_layers times, then the final norm. A linear layer has a weight and a bias.",
        "With d = d_model: qkv is (d, 3d), output (d, d), up (d, 4d), down (4d, d), each with one bias per output; a norm has 2d.",
        "(vocab_size + context_length) · d, plus n_layers times (attention + MLP + two norms), plus 2d for the final norm. "
        "The unembedding is the token embedding: it adds nothing.",
    ),
    source=COUNT_BY_HAND_SOURCE,
    misconceptions=(
        Misconception(
            "untied",
            "more than d_model numbers were counted for each token of the vocabulary. A token has one row of the token embedding and nothing else: the unembedding is that same tensor, which counts once, it has no bias, and no block has a table of its own.",
            lambda config: counted_otherwise(config, 0, config.vocab_size * config.d_model),
        ),
        Misconception(
            "no_positions",
            "the position table is missing: one row of d_model numbers for each position in the context.",
            lambda config: counted_otherwise(config, 0, -config.context_length * config.d_model),
        ),
        Misconception(
            "one_layer",
            "the matrices of a block were not multiplied by n_layers. There are n_layers blocks, each with its own numbers, so put brackets around all that a block holds.",
            lambda config: (
                count_by_hand(config) - (config.n_layers - 1) * (12 * config.d_model**2 + 13 * config.d_model)
            ),
        ),
        Misconception(
            "no_final_norm",
            "numbers are missing after the blocks. The final norm has a weight and a bias, 2 · d_model numbers in all, which are counted once.",
            lambda config: counted_otherwise(config, 0, -2 * config.d_model),
        ),
        Misconception(
            "rule_of_twelve",
            "the blocks were counted as 12 · d_model² each. That rule leaves out the small parts: the biases of the linear layers and the norms.",
            rule_of_twelve,
        ),
        Misconception(
            "brackets_forgotten",
            "the matrices are multiplied by n_layers, but the biases and norms of the blocks are not. Put brackets around all that a block holds before you multiply.",
            lambda config: rule_of_twelve(config) + 13 * config.d_model + 2 * config.d_model,
        ),
        Misconception(
            "no_biases",
            "9 · d_model numbers are missing in each block. That is how many biases its linear layers have: 3d and d in attention, 4d and d in the MLP.",
            lambda config: counted_otherwise(config, -9 * config.d_model),
        ),
        Misconception(
            "no_norms",
            "each block is 4 · d_model numbers short. Two norms have a weight and a bias each, 4 · d_model in all, and so many are also the biases of attention: 3d for qkv and d for the output.",
            lambda config: counted_otherwise(config, -4 * config.d_model, -2 * config.d_model),
        ),
        Misconception(
            "two_d_short",
            "each block is 2 · d_model numbers short. Are there two norms, each with a weight and a bias? Does qkv have a bias for each of its 3d outputs?",
            lambda config: counted_otherwise(config, -2 * config.d_model),
        ),
        Misconception(
            "small_parts_short",
            "the matrices of a block are right, but its biases and norms come to fewer than 13 · d_model numbers. A layer has one bias for each output: qkv has 3d, output d, up 4d and down d. "
            "Each of the two norms has 2d.",
            lambda config: counted_otherwise(config, -3 * config.d_model),
        ),
        Misconception(
            "small_parts_long",
            "the matrices of a block are right, but its biases and norms come to more than 13 · d_model numbers. A layer has one bias for each output: qkv has 3d, output d, up 4d and down d. "
            "Each of the two norms has 2d, and the final norm stands outside the blocks.",
            lambda config: counted_otherwise(config, 3 * config.d_model),
        ),
        Misconception(
            "qkv_as_one",
            "each block is 2 · d_model² numbers short in its matrices. Queries, keys and values take three matrices, here side by side in one of shape (d, 3d).",
            lambda config: counted_otherwise(config, -2 * (config.d_model + 1) * config.d_model),
        ),
        Misconception(
            "no_output_projection",
            "each block is d_model² numbers short in its matrices. After qkv, (d, 3d), attention has another matrix: its output, (d, d).",
            lambda config: counted_otherwise(config, -(config.d_model + 1) * config.d_model),
        ),
        Misconception(
            "matrices_short",
            "the matrices of a block come to fewer than 12 · d_model² numbers. Attention has 3d² in qkv and d² in output; the MLP is 4d wide inside, so up and down have 4d² each.",
            lambda config: counted_otherwise(config, -6 * config.d_model**2 - 3 * config.d_model),
        ),
        Misconception(
            "times_heads",
            "the matrices of a block come to more than 12 · d_model² numbers: 3d² in qkv, d² in output, 4d² each in up and down. The heads share these matrices, so n_heads does not enter the count.",
            lambda config: counted_otherwise(
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
    buys="One table serves both ends of the model, so what it learns at one end changes what it does at the other.",
    hints=(
        "Make one parameter. Embedding picks some of its rows; the logits compare a vector with all of its rows.",
        "The table is (vocab, d_model). embed: (batch, seq) -> (batch, seq, d_model). logits: back to (batch, seq, vocab).",
        "In __init__ wrap a random (vocab_size, d_model) in nn.Parameter and keep it on self. embed picks rows by tokens; "
        "logits multiplies x with the transposed table.",
    ),
    misconceptions=(
        Misconception(
            "two_tables",
            "torch finds two parameters of the table's shape and trains each of them. It is not enough that they start out equal or share their .data: both ends must use the same nn.Parameter.",
            TwoTables,
        ),
        Misconception(
            "detached",
            "the logits send no gradient back into the table, so it learns from the embedding alone. Is there a detach, a .data, or a new nn.Parameter in logits?",
            DetachedTable,
        ),
        Misconception(
            "detached_reading",
            "the embedding sends no gradient back into the table, so it learns from the logits alone. Is there a detach, a .data, or a new nn.Parameter in embed?",
            DetachedReading,
        ),
        Misconception(
            "with_bias",
            "there is a parameter besides the table, such as a bias. GPT's unembedding is a product with the table and has no bias, and nothing else belongs in this class.",
            BiasedTable,
        ),
        Misconception(
            "scaled",
            "the embeddings were multiplied by √d_model. The first transformer did that; GPT uses the rows as they are.",
            ScaledTable,
        ),
        Misconception(
            "divided",
            "the logits were divided by √d_model. That belongs to attention's scores; a logit is the product as it is.",
            DividedTable,
        ),
        Misconception(
            "softmaxed",
            "logits returns probabilities. Leave out the softmax, since it comes later: in the loss, or when a token is chosen.",
            ProbabilityTable,
        ),
        Misconception(
            "log_softmaxed",
            "logits returns log probabilities. Leave out the log_softmax, because the loss computes it.",
            LogProbabilityTable,
        ),
        Misconception(
            "last_position_alone",
            "logits gives one set of logits for each text. Every position needs its own: (batch, seq, vocab). Is there a [:, -1] or a mean?",
            LastPositionTable,
        ),
        Misconception(
            "no_transpose",
            "logits multiplies x by the table without turning it. x is (batch, seq, d_model) and the table (vocab, d_model): x @ table.T compares each vector with every row.",
            NoTranspose,
        ),
        Misconception(
            "turned",
            "the table has the shape (d_model, vocab_size), one column for each token. Hold it as (vocab_size, d_model), as nn.Embedding does: embed picks rows, and only logits transposes.",
            TurnedTable,
        ),
        Misconception(
            "no_parameter",
            "torch knows of no parameter in this class, so no optimizer would train the table. Wrap it in nn.Parameter; a plain tensor or a buffer does not count.",
            PlainTable,
        ),
        Misconception(
            "frozen",
            "there is a parameter with requires_grad=False, so training could not move it.",
            FrozenTable,
        ),
        Misconception(
            "detached_twice",
            "no gradient reaches the table from either end, so it would learn nothing. Is there a detach, a .data or a no_grad in both methods?",
            DetachedTwice,
        ),
        Misconception(
            "chosen",
            "logits returns one number for each position, as an argmax does. It returns a score for each token of the vocabulary: (batch, seq, vocab).",
            ChosenTokens,
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
            "gpt.same_count",
            "We make five mistakes in storyteller's code, one at a time, and keep its trained weights: there is no causal mask; the scores are not divided by "
            "√d_head; the norms come after the sums instead of before attention and the MLP; ReLU replaces GELU; the final norm is missing. Which of them change the number of parameters?",
            (
                "only the missing final norm",
                "A norm has a weight and a bias to learn. The other four change only what is computed with the parameters.",
            ),
            (
                (
                    "the missing mask and the missing final norm",
                    "The mask is as large as the scores, but nothing in it is learned: each forward pass makes it anew.",
                ),
                (
                    "the missing final norm and the norms after the sums",
                    "Norms keep their weights and biases wherever they are applied, so the count stays the same.",
                ),
                (
                    "all five, since each of them changes the model",
                    "Each of them does change the logits, but a parameter count only adds up the sizes of the learned tensors.",
                ),
            ),
            shows=counts_and_logits,
            finding="Only the missing final norm changes the count, because its 256 numbers are gone. The other four leave every tensor as it is, so no count can find them. "
            "Comparing the logits finds all five.\n\nReLU is the hardest to notice. It moves the logits by a few tenths at most, and the loss stays the same to two decimals. "
            "So a good loss does not prove that the code is right either.",
        ),
        Prediction(
            "gpt.too_large",
            "GPT-2 draws the initial weights of its matrices with a standard deviation of 0.02. We make some of them larger, up to a standard deviation of 1: "
            "first the token table alone, which is both the embedding and the unembedding, and then every matrix except that table. In which case does the first loss rise far above ln V, the loss of a model that knows nothing?",
            (
                "only with the larger token table",
                "It makes the logits, whereas the final norm undoes what the other matrices do to the length of the stream.",
            ),
            (
                (
                    "only with the other matrices larger",
                    "They do make the stream longer, but the final norm divides by that length before the unembedding reads the vector.",
                ),
                (
                    "in both cases: large weights make large logits",
                    "Only the last matrix can do that. The final norm comes before it and undoes what the others did to the length.",
                ),
                (
                    "in neither: an untrained model knows nothing",
                    "It knows nothing, but with large logits it bets as if it did, and a large bet that is wrong costs more than no bet.",
                ),
            ),
            shows=first_losses,
            finding="The first loss shows how large **the matrix that makes the logits** is, and that matrix is the token table. Large logits make a model confidently wrong."
            " With one table at both ends, the model bets on one particular token, as the next cell shows, and this makes the loss larger still.\n\n"
            "With the other matrices fifty times as large, the loss stays at ln V, because the final norm undoes the growth of the stream. So a first loss near ln V says nothing about the size of "
            "the other matrices.",
        ),
        Prediction(
            "gpt.growing_stream",
            "In a model of 48 untrained blocks, the initial weights of every matrix have a standard deviation of 0.02, and none are scaled down. How does the length of the stream at the top (after 48 blocks) "
            "compare with its length after 12 blocks?",
            (
                "about twice as long",
                "Independent writes point in unrelated directions, so the squares of their lengths add up. Four times as many writes make the stream √4 = 2 times as long.",
            ),
            (
                (
                    "about the same: random writes cancel out",
                    "They cancel in part, but a sum of independent vectors still tends to get longer with each of them.",
                ),
                (
                    "about four times as long",
                    "Lengths add up like that when all writes point the same way. Independent writes do not.",
                ),
                (
                    "more than ten times: each block multiplies it",
                    "A block reads the stream through a norm, so what it writes does not get longer when the stream does.",
                ),
            ),
            shows=growing_stream,
            finding="Four times as many blocks make the stream about twice as long. The second line shows why: it takes the measured lengths of all the writes, adds up their squares and takes the square root, "
            "which is the length that vectors at right angles to each other would give. The measured length follows this line closely. So $n$ independent writes of "
            "length 1 give a length of about $\\sqrt{n}$.",
        ),
        Prediction(
            "gpt.tied_or_not",
            "Two small models of two blocks start with the same weights and see the same 120 batches. In one, embedding and unembedding are tied. The other has two tables "
            "that start out equal and may then move apart. Which has the lower loss over the last 20 steps?",
            (
                "the untied one, clearly",
                "That is what happened here, with both sets of initial weights that we tried.",
            ),
            (
                (
                    "the tied one: its table learns from both ends",
                    "It does get both gradients, but one table also has to suit both ends. In this run that costs more than it gains.",
                ),
                (
                    "the tied one: it has fewer parameters to learn",
                    "Fewer parameters take less memory, but that does not make learning faster, because each step of the optimizer moves all of them anyway.",
                ),
                (
                    "neither: they differ by less than 0.1",
                    "The models start out equal, but from the first step on, the untied one can fit each table to its own end.",
                ),
            ),
            shows=lambda runs, nothing: figures.loss_curves(
                {name: (range(len(losses)), losses) for name, losses in runs.items()},
                marks={"ln V": nothing},
                title="The first 120 steps with one table and with two",
            ),
            finding="In this short run the untied model learns faster, and a second pair with other initial weights agrees. Tying saves parameters, but here it slows learning down. This does not show which "
            "of the two is ahead after longer training.\n\nAt this learning rate the loss may jump at a single step and then recover, as it does in one of the four runs.",
        ),
        Prediction(
            "gpt.another_batch",
            "A small model is trained for 100 steps on one batch of 512 tokens and memorizes it. What is its loss on another batch of stories afterward, compared with ln V, the loss of a model that knows nothing?",
            (
                "above ln V",
                "The model has become confident. On other text it is confident and often wrong, which costs more than knowing nothing.",
            ),
            (
                (
                    "near 0, as on its own batch",
                    "For that it would have to know how stories continue in general, but it has seen only 512 tokens.",
                ),
                (
                    "well below ln V, since it learned some English",
                    "That is so early on. After that, it becomes more and more confident about what followed each word in this one batch.",
                ),
                (
                    "at ln V, as before the training",
                    "That would mean that training changed nothing on other text, but the model now bets with confidence there too.",
                ),
            ),
            shows=memorized,
            finding="The loss on the repeated batch falls nearly to 0. On the other batch it also falls at first, probably because the model learns which tokens are frequent, and those are much the same in all stories. Then it rises, "
            "and in the end it is **above** $\\ln V$, worse than that of a model that knows nothing.\n\nSo memorizing a batch shows that gradients reach at least some of the weights and that the optimizer moves them. It does not "
            "show that the model has learned anything about other stories.",
        ),
        Prediction(
            "gpt.too_good",
            "We train on the same batch with three mistakes, one at a time. “Plain list”: the blocks are in a Python list, so the optimizer does not know about their weights. “No zero_grad”: each gradient is added to all "
            "the previous ones. “No shift”: the targets are the inputs themselves. Which mistake gives a lower loss curve than the correct code?",
            (
                "no shift",
                "Repeating the token that was read is far easier than predicting the next one. The model learns nothing useful.",
            ),
            (
                ("plain list", "With fewer weights to move, the loss falls more slowly."),
                (
                    "no zero_grad",
                    "A growing sum of gradients sounds faster, but it also contains old gradients that by now point the wrong way, and Adam does not take larger steps for a longer gradient.",
                ),
                ("none of them", "A loss can also be low because a mistake has made the task easier."),
            ),
            shows=lambda broken, nothing: figures.loss_curves(
                {name: (range(len(losses)), losses) for name, losses in broken.items()},
                marks={"ln V": nothing},
                title="The loss on one repeated batch: the correct code and three mistakes",
            ),
            finding="Without `zero_grad` the loss gets stuck near 5. With the plain list it falls more slowly. Without the shift it is **lower** than with the correct code from the first step "
            "to the last, so the curve gives no reason to look for a mistake. Only the first loss does, because it is below $\\ln V$.",
        ),
    ),
    quiz=(
        Question(
            "gpt.shape_of_logits",
            "`tokens` is (4, 10), `d_model` is 128, and the vocabulary has 2,048 tokens. What shape do the logits have?",
            (
                "(4, 10, 2048)",
                "At every position of every sequence, each token of the vocabulary gets a score.",
            ),
            (
                (
                    "(4, 2048)",
                    "That would be one prediction for each sequence. A forward pass gives one for each position.",
                ),
                (
                    "(4, 10, 128)",
                    "That is the shape of the stream. The unembedding turns 128 numbers into 2,048.",
                ),
                ("(10, 2048)", "The 4 sequences of the batch stay separate."),
            ),
        ),
        Question(
            "gpt.more_heads",
            "You change 12 heads to 24 and leave `d_model` as it is. How does that change the number of parameters?",
            (
                "not at all",
                "The heads share the $d$ columns of each matrix, so each head is now half as wide.",
            ),
            (
                ("it doubles in attention", "There are twice as many heads, but each is half as wide."),
                (
                    "it doubles in the whole model",
                    "The MLPs and the embeddings do not depend on the heads, and the matrices of attention keep their size.",
                ),
                (
                    "each new head adds a matrix of its own",
                    "All queries, keys and values come from one matrix, (d, 3d), which is split into heads.",
                ),
            ),
        ),
        Question(
            "gpt.tying_saves",
            "The vocabulary has 50,000 tokens and `d_model` is 1,000. How many parameters does tying save?",
            ("50 million", "One table of $50{,}000 \\cdot 1{,}000$ numbers takes the place of two."),
            (
                ("100 million", "That counts both tables, but one of them stays."),
                ("50 thousand", "Each of the 50,000 tokens has a row of 1,000 numbers."),
                (
                    "none: tying saves time",
                    "The product with all tokens still has to be computed. What tying saves is memory.",
                ),
            ),
        ),
        Question(
            "gpt.cost_of_training",
            "A model of $10^6$ parameters is trained on $10^9$ tokens. About how many operations does that take?",
            (
                "$6 \\cdot 10^{15}$",
                "It takes 6 for each parameter and token: 2 in the forward pass and 4 in the backward pass.",
            ),
            (
                (
                    "$2 \\cdot 10^{15}$",
                    "That is the forward pass alone. The backward pass costs about twice as much again.",
                ),
                (
                    "$10^{15}$",
                    "In the forward pass alone, each parameter takes part in a multiplication and an addition.",
                ),
                ("$6 \\cdot 10^{9}$", "That counts each token once, but it meets all $10^6$ parameters."),
            ),
        ),
        Question(
            "gpt.first_loss_30",
            "$V$ is 1,000, so $\\ln V$ is 6.9. Before the first step the loss is 30. Where do you look first?",
            (
                "at the initial weights of the unembedding",
                "Large logits make a model confidently wrong. If the table is tied, these weights are also the embedding's.",
            ),
            (
                (
                    "at the learning rate",
                    "No step has been taken yet, so the learning rate has had no effect so far.",
                ),
                (
                    "at the shift of the targets",
                    "Targets that are not shifted make the task easier, so a tied model starts below $\\ln V$.",
                ),
                (
                    "at the text, which may be too hard",
                    "A model that gives every token the same probability has a loss of $\\ln V$ on any text.",
                ),
            ),
        ),
        Question(
            "gpt.first_loss_below",
            "Another model has a tied table and is untrained, but its loss starts clearly below $\\ln V$. What do you suspect?",
            (
                "something gives the answer away",
                "If the targets are the inputs, for example, a tied model has an advantage from the start.",
            ),
            (
                (
                    "the weights start too small",
                    "Then all logits are near 0 and the loss is $\\ln V$, not below it.",
                ),
                (
                    "a lucky seed",
                    "In section 4, another seed changed the first loss by no more than a few hundredths.",
                ),
                (
                    "nothing, since lower is better",
                    "An untrained model knows nothing about text. If it predicts well, the answer has leaked.",
                ),
            ),
        ),
        Question(
            "gpt.heart_fails",
            "On one batch of 512 tokens, repeated 500 times, the loss gets stuck at 4. The learning rate is one that works for models of this kind. What do you do?",
            (
                "look for a mistake in the code",
                "With a suitable learning rate, a model with far more weights than the batch has tokens can memorize it. Something is stopping this one.",
            ),
            (
                (
                    "train on more data",
                    "More data makes the task harder, and this model already fails at the easy one.",
                ),
                ("nothing, since it avoids overfitting", "In this check, overfitting is the aim."),
                (
                    "wait for another 500 steps",
                    "A curve that is still falling deserves patience, but this one has stopped, and the small model in this notebook needed only 100 steps.",
                ),
            ),
        ),
    ),
    objectives=(
        ("gpt.forward", "gpt.TiedTable", "gpt.tied_or_not"),
        ("gpt.embedded", "gpt.shape_of_logits"),
        (
            "gpt.count_by_hand",
            "gpt.same_count",
            "gpt.more_heads",
            "gpt.tying_saves",
            "gpt.cost_of_training",
        ),
        ("gpt.too_large", "gpt.growing_stream", "gpt.first_loss_30", "gpt.first_loss_below"),
        ("gpt.another_batch", "gpt.too_good", "gpt.heart_fails"),
    ),
)
