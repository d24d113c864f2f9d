"""Answers to the exercises on GPT as readers write them, right and wrong."""

import torch
import torch.nn.functional as F
from torch import nn


def embedded_by_loop(tokens, token_table, position_table):
    rows = []
    for sequence in tokens:
        rows.append(
            [token_table[token] + position_table[position] for position, token in enumerate(sequence)]
        )
    return torch.stack([torch.stack(row) for row in rows])


def forward_with_arange(self, tokens):
    positions = torch.arange(tokens.size(1))
    x = nn.Sequential(*self.blocks)(self.token_embedding(tokens) + self.position(positions))
    return F.linear(self.final_norm(x), self.unembedding.weight)


def forward_one_by_one(self, tokens):
    logits = []
    for row in tokens:
        x = (self.token_embedding(row) + self.position.weight[: len(row)])[None]
        for block in self.blocks:
            x = block(x)
        logits.append(self.unembedding(self.final_norm(x)))
    return torch.cat(logits)


def stream(self, tokens, positions=True, add=False):
    x = self.token_embedding(tokens)
    if positions:
        x = x + self.position(torch.arange(tokens.shape[-1]))
    for block in self.blocks:
        x = block(x) + x if add else block(x)
    return x


def overwritten(self, tokens):
    x = self.token_embedding(tokens) + self.position(torch.arange(tokens.shape[-1]))
    for block in self.blocks:
        y = block(x)
    return self.unembedding(self.final_norm(y))


def first_block_only(self, tokens):
    x = self.token_embedding(tokens) + self.position(torch.arange(tokens.shape[-1]))
    return self.unembedding(self.final_norm(nn.Sequential(*self.blocks)[:1](x)))


def normed_before(self, tokens):
    x = self.final_norm(self.token_embedding(tokens) + self.position(torch.arange(tokens.shape[-1])))
    return self.unembedding(nn.Sequential(*self.blocks)(x))


def positions_by_token(self, tokens):
    x = nn.Sequential(*self.blocks)(self.token_embedding(tokens) + self.position.weight[tokens])
    return self.unembedding(self.final_norm(x))


def not_assigned(self, tokens):
    x = self.token_embedding(tokens) + self.position(torch.arange(tokens.shape[-1]))
    for block in self.blocks:
        block(x)
    return self.unembedding(self.final_norm(x))


def normed_each_time(self, tokens):
    x = self.token_embedding(tokens) + self.position(torch.arange(tokens.shape[-1]))
    for block in self.blocks:
        x = block(x)
        x = self.final_norm(x)
    return F.linear(x, self.unembedding.weight)


def positions_each_time(self, tokens):
    x, rows = self.token_embedding(tokens), self.position(torch.arange(tokens.shape[-1]))
    for block in self.blocks:
        x = x + rows
        x = block(x)
    return self.unembedding(self.final_norm(x))


def right_logits(self, tokens):
    return self.unembedding(self.final_norm(stream(self, tokens)))


def count(
    config,
    tables=1,
    positions=1,
    final=1,
    norm=2,
    norms=2,
    qkv=3,
    out=1,
    mlp=8,
    biases=(3, 1, 4, 1),
    layers=None,
):
    d = config.d_model
    linear = (qkv + out + mlp) * d * d + sum(biases) * d
    block = linear + norms * norm * d
    in_tables = tables * config.vocab_size * d + positions * config.context_length * d
    return in_tables + (layers or config.n_layers) * block + final * norm * d


def count_twelve(config):
    d, n = config.d_model, config.n_layers
    return 12 * n * d**2 + 13 * n * d + 2 * d + d * (config.vocab_size + config.context_length)


class ByModules(nn.Module):
    def __init__(self, vocab_size, d_model):
        super().__init__()
        self.reading = nn.Embedding(vocab_size, d_model)
        self.writing = nn.Linear(d_model, vocab_size, bias=False)
        self.writing.weight = self.reading.weight

    def embed(self, tokens):
        return self.reading(tokens)

    def logits(self, x):
        return self.writing(x)


class ByFunctions(nn.Module):
    def __init__(self, vocab_size, d_model):
        super().__init__()
        self.register_parameter("w", nn.Parameter(torch.empty(vocab_size, d_model).normal_(std=0.02)))

    def embed(self, tokens):
        return F.embedding(tokens, self.w)

    def logits(self, x):
        return torch.einsum("bsd,vd->bsv", x, self.w)


class Untied(ByModules):
    def __init__(self, vocab_size, d_model):
        super().__init__(vocab_size, d_model)
        self.writing = nn.Linear(d_model, vocab_size, bias=False)


class ReadData(ByFunctions):
    def embed(self, tokens):
        return F.embedding(tokens, self.w.data)


class NewParameter(ByFunctions):
    def logits(self, x):
        return x @ nn.Parameter(self.w).T


class Divided(ByFunctions):
    def logits(self, x):
        return x / self.w.shape[1] ** 0.5 @ self.w.T


class LogProbable(ByFunctions):
    def logits(self, x):
        return F.log_softmax(x @ self.w.T, dim=2)


class LastOnly(ByModules):
    def logits(self, x):
        return self.writing(x)[:, -1]


class Unturned(ByFunctions):
    def logits(self, x):
        return torch.matmul(x, self.w)


class SharedData(Untied):
    def __init__(self, vocab_size, d_model):
        super().__init__(vocab_size, d_model)
        self.writing.weight.data = self.reading.weight.data


class Turned(nn.Module):
    """The table is held as (d_model, vocab_size)."""

    def __init__(self, vocab_size, d_model):
        super().__init__()
        self.table = nn.Parameter(torch.randn(d_model, vocab_size))

    def embed(self, tokens):
        return self.table.T[tokens]

    def logits(self, x):
        return x @ self.table


class Frozen(ByFunctions):
    def __init__(self, vocab_size, d_model):
        super().__init__(vocab_size, d_model)
        self.w.requires_grad_(False)


class NoParameter(nn.Module):
    def __init__(self, vocab_size, d_model):
        super().__init__()
        self.table = torch.randn(vocab_size, d_model)

    def embed(self, tokens):
        return self.table[tokens]

    def logits(self, x):
        return x @ self.table.T


class NoGradient(ByFunctions):
    def embed(self, tokens):
        return self.w.data[tokens]

    def logits(self, x):
        return x @ self.w.data.T


class Chosen(ByFunctions):
    def logits(self, x):
        return (x @ self.w.T).argmax(-1)


class NoReturn(ByFunctions):
    def logits(self, x):
        x @ self.w.T


class Biased(ByModules):
    def __init__(self, vocab_size, d_model):
        super().__init__(vocab_size, d_model)
        self.writing = nn.Linear(d_model, vocab_size)
        self.writing.weight = self.reading.weight


class Scaled(ByFunctions):
    def embed(self, tokens):
        return self.w[tokens] * torch.tensor(self.w.shape[-1]).sqrt()


class Probable(ByFunctions):
    def logits(self, x):
        return F.softmax(x @ self.w.mT, -1)


RIGHT = {
    "gpt.embedded": [
        embedded_by_loop,
        lambda tokens, token_table, position_table: (
            F.embedding(tokens, token_table) + position_table[torch.arange(tokens.size(1))]
        ),
    ],
    "gpt.forward": [forward_with_arange, forward_one_by_one],
    "gpt.count_by_hand": [count, count_twelve],
    "gpt.TiedTable": [ByModules, ByFunctions],
}

WRONG = {
    "gpt.embedded": {
        "no_positions": lambda tokens, token_table, position_table: F.embedding(tokens, token_table),
        "position_of_the_token": lambda tokens, token_table, position_table: (
            token_table + position_table[: len(token_table)]
        )[tokens],
        "counted_from_1": lambda tokens, token_table, position_table: (
            token_table[tokens] + position_table[torch.arange(tokens.shape[1]) + 1]
        ),
        "last_rows": lambda tokens, token_table, position_table: (
            token_table[tokens] + position_table[len(position_table) - tokens.shape[1] :]
        ),
        "multiplied": lambda tokens, token_table, position_table: torch.mul(
            position_table[: tokens.shape[1]], token_table[tokens]
        ),
        "concatenated": lambda tokens, token_table, position_table: torch.cat(
            (token_table[tokens], position_table[: tokens.shape[1]].repeat(len(tokens), 1, 1)), dim=2
        ),
        "same_row": lambda tokens, token_table, position_table: (
            F.embedding(tokens, token_table) + position_table[tokens.size(-1) - 1]
        ),
        "whole_table": lambda tokens, token_table, position_table: (
            F.embedding(tokens, token_table) + position_table[torch.arange(len(position_table))]
        ),
        "batch_for_seq": lambda tokens, token_table, position_table: (
            token_table[tokens] + position_table[: len(tokens)]
        ),
        "positions_by_text": lambda tokens, token_table, position_table: (
            token_table[tokens] + position_table[: len(tokens)].unsqueeze(1)
        ),
        "first_text_alone": lambda tokens, token_table, position_table: (
            F.embedding(tokens, token_table) + position_table[: tokens.shape[1]]
        )[0],
        "positions_alone": lambda tokens, token_table, position_table: position_table[
            torch.arange(tokens.shape[1])
        ],
        "swapped": lambda tokens, token_table, position_table: (
            F.embedding(tokens, position_table) + token_table[: tokens.size(1)]
        ),
        "scaled": lambda tokens, token_table, position_table: (
            (token_table * token_table.shape[-1] ** 0.5)[tokens] + position_table[: tokens.size(1)]
        ),
        "averaged": lambda tokens, token_table, position_table: (
            0.5 * token_table[tokens] + 0.5 * position_table[: tokens.size(1)]
        ),
    },
    "gpt.forward": {
        "residual_twice": lambda self, tokens: self.unembedding(
            self.final_norm(stream(self, tokens, add=True))
        ),
        "no_final_norm": lambda self, tokens: stream(self, tokens) @ self.unembedding.weight.T,
        "no_positions": lambda self, tokens: self.unembedding(self.final_norm(stream(self, tokens, False))),
        "another_start": positions_by_token,
        "whole_table": lambda self, tokens: self.unembedding(
            self.final_norm(
                nn.Sequential(*self.blocks)(self.token_embedding(tokens) + self.position(torch.arange(8)))
            )
        ),
        "positions_in_the_loop": positions_each_time,
        "last_block_alone": overwritten,
        "returned_early": first_block_only,
        "norm_first": normed_before,
        "softmaxed": lambda self, tokens: F.log_softmax(right_logits(self, tokens), 2),
        "last_position_alone": lambda self, tokens: self.unembedding(
            self.final_norm(stream(self, tokens)[:, -1:])
        ),
        "no_unembedding": stream,
        "embedding_reused": lambda self, tokens: F.linear(
            self.final_norm(stream(self, tokens)), self.token_embedding.weight
        ),
        "no_blocks": not_assigned,
        "norm_in_the_loop": normed_each_time,
    },
    "gpt.count_by_hand": {
        "untied": lambda config: count(config, tables=2),
        "no_positions": lambda config: count(config, positions=0),
        "one_layer": lambda config: count(config, layers=1),
        "no_final_norm": lambda config: count(config, final=0),
        "rule_of_twelve": lambda config: count(config, norms=0, final=0, biases=()),
        "brackets_forgotten": lambda config: (
            count(config, norms=0, final=0, biases=()) + (9 + 2 * 2 + 2) * config.d_model
        ),
        "no_biases": lambda config: count(config, biases=()),
        "no_norms": lambda config: count(config, norms=0, final=0),
        "two_d_short": lambda config: count(config, norms=1),
        "small_parts_short": lambda config: count(config, biases=(3, 0, 4, 1)),
        "small_parts_long": lambda config: count(config, final=0, norms=3),
        "qkv_as_one": lambda config: count(config, qkv=1, biases=(1, 1, 4, 1)),
        "no_output_projection": lambda config: count(config, out=0, biases=(3, 0, 4, 1)),
        "matrices_short": lambda config: count(config, mlp=2),
        "times_heads": lambda config: count(config, qkv=3 * config.n_heads),
    },
    "gpt.TiedTable": {
        "two_tables": SharedData,
        "detached": NewParameter,
        "detached_reading": ReadData,
        "with_bias": Biased,
        "scaled": Scaled,
        "divided": Divided,
        "softmaxed": Probable,
        "log_softmaxed": LogProbable,
        "last_position_alone": LastOnly,
        "no_transpose": Unturned,
        "turned": Turned,
        "no_parameter": NoParameter,
        "frozen": Frozen,
        "detached_twice": NoGradient,
        "chosen": Chosen,
    },
}

# Without a sentence of their own, and other forms of what has one.
REFUSED = {
    "gpt.embedded": [
        lambda tokens, token_table, position_table: (
            token_table[tokens] + position_table[: tokens.shape[1] - 1]
        ),
        lambda tokens, token_table, position_table: (
            token_table[tokens] + position_table[: tokens.shape[1] + 1]
        ),
        lambda tokens, token_table, position_table: (
            token_table[tokens] + position_table[: tokens.shape[1]].flip(0)
        ),
    ],
    "gpt.forward": [
        lambda self, tokens: right_logits(self, tokens).argmax(-1),
        lambda self, tokens: right_logits(self, tokens).mean(),
        lambda self, tokens: self.unembedding(
            self.final_norm(
                nn.Sequential(*reversed(self.blocks))(
                    self.token_embedding(tokens) + self.position.weight[: tokens.shape[1]]
                )
            )
        ),
        lambda self, tokens: None,
    ],
    "gpt.count_by_hand": [
        lambda config: count(config, biases=(1, 1, 4, 1), norms=1),
        lambda config: count(config, tables=0),
        lambda config: count(config) + 1,
        lambda config: count(config) + 0.001,
        lambda config: None,
        lambda config: torch.tensor(count(config)),
    ],
    "gpt.TiedTable": [Untied, NoReturn],
}
