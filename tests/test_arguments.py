"""NumPy's numbers, None, lists and numbers that are too large, in every argument that people write by hand.

Each is taken for what it is, or refused by an error that names the argument: never by a library's own.
"""

import re

import numpy as np
import pytest
import torch
from traitlets import TraitError

from gptlib import GPT, GPTConfig, Storyworld, Tokenizer, TrainConfig, load, save, trace, train
from gptlib.generation.beams import beam_search
from gptlib.generation.sampling import next_token_distribution
from gptlib.generation.writing import generate, generate_many, generate_tokens, stream
from gptlib.interpret.inspecting import (
    direct_logit_attribution,
    logit_difference,
    logit_lens,
    mean_activation,
)
from gptlib.interpret.probing import fit_probe, held_out
from gptlib.model.attention import attend
from gptlib.model.cache import KeyValueCache
from gptlib.model.experts import route
from gptlib.model.masks import causal_mask, sliding_window_mask
from gptlib.model.norms import layer_norm, rms_norm
from gptlib.model.positions import alibi_bias, rotate, sinusoidal_positions
from gptlib.scaling.costs import training_flops
from gptlib.scaling.counting import count_parameters
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.corpora import Corpus, TokenFile, text_file, write_tokens
from gptlib.text.ngram import NGram
from gptlib.training.evaluation import evaluate, loss_of
from gptlib.training.lora import add_lora, learn_rows
from gptlib.training.schedule import learning_rate_at
from gptlib.viz import (
    AttentionExplorer,
    GenerationExplorer,
    PatchingExplorer,
    PositionExplorer,
    TrainingDashboard,
)

BAD = (
    None,
    [1],
    [[1, 2]],
    ["a", 1],
    np.int64(3),
    2**70,
    -1,
    1.5,
    float("nan"),
    True,
    "x",
    {},
)
TEXTS = ["abc abc abc abc", "ab cd ef gh ab", "a" * 33] * 5
CONFIG = GPTConfig(12, 16, 2, 2, 8)
TRAINING = TrainConfig(2, 2, 8, eval_every=None)
TOKENIZER = CharacterTokenizer("abcdefghij ")
with torch.random.fork_rng(devices=[]):
    torch.manual_seed(3)  # of which two texts below are followed by different tokens
    MODEL = GPT(CONFIG)
TOKENS = torch.tensor([[1, 2, 3]])
VECTORS = torch.randn(1, 2, 3, 8)
# A prompt is a text like any other to the tokenizer that reads it.
SAID_AS = {"prompt": "text", "characters": "characters|text", "inputs": "tokens", "batches": "batches|tokens"}
WRITING = {"model": MODEL, "tokenizer": TOKENIZER, "prompt": "ab", "max_new_tokens": 2, "seed": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tokens(TEXTS, TOKENIZER, tmp_path_factory.mktemp("data") / "tokens.npy")


def to_new(function):
    """The function, of a model that no call before has changed."""
    return lambda model, **given: function(GPT(CONFIG) if model is MODEL else model, **given)


CALLS = {
    "generate": (generate, WRITING | {"temperature": 1.0, "top_k": 3, "top_p": 0.9, "stop": ("z",)}),
    "repetition": (
        generate,
        WRITING | {"repetition_penalty": 1.2, "no_repeat_ngram": 2, "min_new_tokens": 1},
    ),
    "stream": (lambda **given: list(stream(**given)), WRITING),
    "generate_many": (generate_many, WRITING | {"n_sequences": 2}),
    "generate_tokens": (generate_tokens, {"model": MODEL, "tokens": TOKENS, "max_new_tokens": 2, "seed": 1}),
    "beam_search": (
        beam_search,
        {"model": MODEL, "tokens": TOKENS, "n_beams": 2, "max_new_tokens": 2, "n_sequences": 1, "stop": 0},
    ),
    "next_token_distribution": (
        next_token_distribution,
        {"logits": torch.randn(2, 12), "top_k": 2, "top_p": 0.5},
    ),
    "loss_of": (loss_of, {"model": MODEL, "targets": TOKENS, "inputs": TOKENS}),
    "evaluate": (
        evaluate,
        {"model": MODEL, "data": "data", "context_length": 8, "max_batches": 2, "batch_size": 2},
    ),
    "train": (
        to_new(lambda model, **given: list(train(model, **given))),
        {"model": MODEL, "train_data": "data", "validation_data": "data", "config": TRAINING},
    ),
    "TrainConfig": (
        TrainConfig,
        {
            "steps": 2,
            "batch_size": 2,
            "context_length": 8,
            "learning_rate": 1e-3,
            "seed": 1,
            "warmup_steps": 1,
            "accumulate": 1,
            "optimizer": "adamw",
        },
    ),
    "GPTConfig": (
        GPTConfig,
        {
            "vocab_size": 12,
            "context_length": 16,
            "n_layers": 2,
            "n_heads": 2,
            "d_model": 8,
            "dropout": 0.1,
            "tie_embeddings": True,
        },
    ),
    "add_lora": (to_new(add_lora), {"model": MODEL, "rank": 2, "alpha": 4, "seed": 1}),
    "learn_rows": (to_new(learn_rows), {"model": MODEL, "rows": [1, 2]}),
    "learning_rate_at": (learning_rate_at, {"step": 1, "config": TRAINING}),
    "Corpus": (Corpus, {"name": "x", "documents": ["a", "b"]}),
    "split": (Corpus("x", list("abcd")).split, {"validation": 0.25, "test": 0.25, "seed": 1}),
    "TokenFile": (TokenFile, {"path": "a token file"}),
    "text_file": (text_file, {"path": "a text file"}),
    "write_tokens": (write_tokens, {"documents": ["ab"], "tokenizer": TOKENIZER, "path": "new"}),
    "Tokenizer.train": (Tokenizer.train, {"texts": ["ab ab ab ab"], "vocab_size": 259}),
    "encode": (TOKENIZER.encode, {"text": "ab"}),
    "decode": (TOKENIZER.decode, {"tokens": [1, 2]}),
    "CharacterTokenizer": (CharacterTokenizer, {"characters": "abc"}),
    "NGram": (NGram, {"order": 2, "vocab_size": 12}),
    "Storyworld": (Storyworld, {"seed": 1}),
    "causal_mask": (causal_mask, {"n_queries": 3, "n_keys": 3}),
    "sliding_window_mask": (sliding_window_mask, {"n_queries": 3, "n_keys": 3, "window": 2}),
    "sinusoidal_positions": (sinusoidal_positions, {"length": 4, "d_model": 8}),
    "rotate": (rotate, {"x": VECTORS, "positions": torch.arange(3), "base": 10.0}),
    "alibi_bias": (alibi_bias, {"n_heads": 2, "n_queries": 3, "n_keys": 3}),
    "layer_norm": (layer_norm, {"x": VECTORS, "weight": torch.ones(8), "bias": torch.ones(8)}),
    "rms_norm": (rms_norm, {"x": VECTORS, "weight": torch.ones(8)}),
    "attend": (attend, {"queries": VECTORS, "keys": VECTORS, "values": VECTORS}),
    "KeyValueCache": (KeyValueCache, {"config": CONFIG, "batch_size": 1, "capacity": 4}),
    "route": (route, {"probabilities": torch.full((2, 4), 0.25), "n_active": 2}),
    "logit_lens": (logit_lens, {"model": MODEL, "tokens": TOKENS}),
    "trace": (trace, {"model": MODEL}),
    "direct_logit_attribution": (
        direct_logit_attribution,
        {"model": MODEL, "tokens": TOKENS, "token": 1, "minus": 2, "position": -1},
    ),
    "logit_difference": (logit_difference, {"right": 1, "wrong": 2, "position": -1}),
    "mean_activation": (
        mean_activation,
        {"model": MODEL, "name": "blocks.0.mlp.output", "batches": [TOKENS]},
    ),
    "fit_probe": (fit_probe, {"features": torch.randn(20, 4), "labels": torch.arange(20) % 2, "ridge": 0.01}),
    "held_out": (held_out, {"texts": [1, 2, 3, 4], "share": 0.3, "generator": torch.Generator()}),
    "count_parameters": (count_parameters, {"config": CONFIG}),
    "training_flops": (training_flops, {"config": CONFIG, "n_tokens": 8, "seq": 4}),
    "load": (load, {"name_or_path": "storyteller"}),
    "save": (save, {"folder": "new", "model": MODEL, "tokenizer": TOKENIZER}),
    "AttentionExplorer": (AttentionExplorer, {"model": MODEL, "tokenizer": TOKENIZER, "text": "ab cd"}),
    "GenerationExplorer": (
        GenerationExplorer,
        {
            "model": MODEL,
            "tokenizer": TOKENIZER,
            "prompt": "ab",
            "temperature": 1.0,
            "top_k": 2,
            "top_p": 0.9,
        },
    ),
    "PatchingExplorer": (
        PatchingExplorer,
        {"model": MODEL, "tokenizer": TOKENIZER, "clean": "ea", "corrupted": "ee"},
    ),
    "PositionExplorer": (PositionExplorer, {"d_model": 8, "length": 8, "base": 10.0}),
    "TrainingDashboard": (
        TrainingDashboard,
        {
            "model": MODEL,
            "train_data": "data",
            "validation_data": "data",
            "config": TRAINING,
            "tokenizer": TOKENIZER,
        },
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_is_given_is_taken_or_refused_by_its_name(
    name, data, tmp_path, monkeypatch, without_shape_checks
):
    function, given = CALLS[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("Hello there.\n\nWorld!\n" * 80, encoding="utf-8")
    places = {
        "data": data,
        "a token file": data.path,
        "a text file": tmp_path / "text.txt",
        "new": tmp_path / "n",
    }
    given = {
        argument: places.get(value, value) if isinstance(value, str) else value
        for argument, value in given.items()
    }
    function(**given)
    for argument in given:
        for bad in BAD:
            try:
                function(**given | {argument: bad})
            except (TypeError, ValueError, LookupError, OSError, TraitError) as error:
                said = rf"\b{SAID_AS.get(argument, argument.removesuffix('s'))}|{re.escape(repr(bad))}"
                assert re.search(said, str(error)), (argument, bad, error)
