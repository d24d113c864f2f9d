"""Answers to the exercises on GPT as readers write them, right and wrong."""

import torch
import torch.nn.functional as F
from torch import nn


def embedded_by_loop(tokens, token_table, position_table):
    rows = []
    for sequence in tokens:
        rows.append([token_table[token] + position_table[place] for place, token in enumerate(sequence)])
    return torch.stack([torch.stack(row) for row in rows])


def forward_with_arange(self, tokens):
    places = torch.arange(tokens.size(1))
    x = nn.Sequential(*self.blocks)(self.token_embedding(tokens) + self.position(places))
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


def count(config, tables=1, positions=1, bias=1, final=1, norm=2, times=1):
    d = config.d_model
    attention = times * (4 * d * d + bias * 4 * d)
    mlp = 8 * d * d + bias * 5 * d
    block = attention + mlp + 2 * norm * d
    in_tables = tables * config.vocab_size * d + positions * config.context_length * d
    return in_tables + config.n_layers * block + final * norm * d


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


class Data(ByFunctions):
    def logits(self, x):
        return x @ self.w.data.T


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
    },
    "gpt.forward": {
        "residual_twice": lambda self, tokens: self.unembedding(
            self.final_norm(stream(self, tokens, add=True))
        ),
        "no_final_norm": lambda self, tokens: stream(self, tokens) @ self.unembedding.weight.T,
        "no_positions": lambda self, tokens: self.unembedding(self.final_norm(stream(self, tokens, False))),
        "last_block_alone": overwritten,
        "softmaxed": lambda self, tokens: F.softmax(
            self.unembedding(self.final_norm(stream(self, tokens))), -1
        ),
        "embedding_reused": lambda self, tokens: F.linear(
            self.final_norm(stream(self, tokens)), self.token_embedding.weight
        ),
    },
    "gpt.count_by_hand": {
        "untied": lambda config: count(config, tables=2),
        "no_positions": lambda config: count(config, positions=0),
        "no_biases": lambda config: count(config, bias=0),
        "no_final_norm": lambda config: count(config, final=0),
        "norm_without_bias": lambda config: count(config, norm=1),
        "attention_for_each_head": lambda config: count(config, times=config.n_heads),
    },
    "gpt.TiedTable": {
        "two_tables": Untied,
        "detached": Data,
        "with_bias": Biased,
        "scaled": Scaled,
        "softmaxed": Probable,
    },
}
