"""Runs for the notebook on the modern GPT: `python benchmarks/modern.py [NAME …]`, without a name all.

From GPT-2's layout to today's, one change at a time and kept, on one core: each row of CHANGES is a small GPT
on Storyworld that differs from an earlier row by what is said there. All read the same batches of stories,
0.77 million tokens, from three seeds each. data/modern/runs.json gets each run as it ends; a run that is
there already is not made again, so a stopped script goes on where it was. All take about half an hour.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from held_out import held_out, surprises

from gptlib import GPT, GPTConfig, TrainConfig, load, trace, train
from gptlib.files import write_atomically
from gptlib.model.cache import KeyValueCache
from gptlib.model.experts import Experts, route
from gptlib.scaling.counting import count_active_parameters
from gptlib.shipped import data_folder, write_checksums
from gptlib.text.corpora import TokenFile, storyworld_corpus, write_tokens

FILE = data_folder() / "modern" / "runs.json"
STEPS, BATCH, CONTEXT = 500, 8, 192
TRAIN_STORIES, TEST_STORIES = 8_000, 200
SEEDS = (0, 1, 2)
PLACES = (0, 32, 64, 96, 128)  # in tokens: where a group of places in a story begins
GPT2 = GPTConfig(vocab_size=2048, context_length=CONTEXT, n_layers=2, n_heads=4, d_model=96)


@dataclass(frozen=True)
class Change:
    """One row: the earlier row that it starts from, and what is different. What is not named stays."""

    start: str | None
    config: dict[str, Any]
    optimizer: str | None = None
    learning_rate: float | None = None


CHANGES = {
    "GPT-2": Change(None, {}, "adamw", 4e-3),
    "RMSNorm": Change("GPT-2", {"norm": "rmsnorm"}),
    "rotary": Change("RMSNorm", {"position": "rotary"}),
    "SwiGLU": Change("rotary", {"mlp": "swiglu", "d_mlp": 256}),  # three matrices of 256 for two of 384
    "no biases": Change("SwiGLU", {"bias": False}),
    "grouped queries": Change("no biases", {"n_kv_heads": 2}),
    "QK-norm": Change("grouped queries", {"qk_norm": True}),
    "Muon": Change("QK-norm", {}, optimizer="muon"),
    # Beside the path: each starts from its end, and the next does not keep it.
    "window": Change("Muon", {"window": 32}),
    "soft caps": Change("Muon", {"score_cap": 50.0, "logit_cap": 30.0}),
    "experts": Change("Muon", {"n_experts": 4, "n_active": 2, "d_mlp": 128}),  # a token pays as before
    "experts, unbalanced": Change("experts", {"balance": 0.0}),
    # Ten times the learning rate, with AdamW: who still learns?
    "hot": Change("grouped queries", {}, learning_rate=4e-2),
    "hot, QK-norm": Change("QK-norm", {}, learning_rate=4e-2),
    "hot, soft caps": Change("hot", {"score_cap": 50.0, "logit_cap": 30.0}),
}


def settings(name: str) -> tuple[GPTConfig, str, float]:
    """A row's config, optimizer and learning rate, with all that it has from the rows before it."""
    change = CHANGES[name]
    config, optimizer, learning_rate = settings(change.start) if change.start else (GPT2, "", 0.0)
    return (
        replace(config, **change.config),
        change.optimizer or optimizer,
        change.learning_rate or learning_rate,
    )


def run(
    name: str, seed: int, text: TokenFile, rows: list[list[int]], floors: list[np.ndarray]
) -> dict[str, Any]:
    """Train one model and measure it on stories, of which floors are the true surprises."""
    config, optimizer, learning_rate = settings(name)
    torch.manual_seed(seed)
    model = GPT(config)
    training = TrainConfig(
        steps=STEPS,
        batch_size=BATCH,
        learning_rate=learning_rate,
        optimizer=optimizer,
        weight_decay=0.0,
        eval_every=None,
        seed=seed,
        at_document_starts=True,
        precision="bfloat16",
    )
    began = time.process_time()
    losses = [step.loss for step in train(model, text, None, training)]
    seconds = time.process_time() - began
    model.eval()
    excess = [surprises(model, row) - floor for row, floor in zip(rows, floors, strict=True)]
    place = np.concatenate([np.arange(len(story)) for story in excess])
    group = np.digitize(place, PLACES) - 1
    together = np.concatenate(excess)
    return {
        "above": round(float(together.mean()), 4),
        "above_by_place": [round(float(together[group == g].mean()), 4) for g in range(len(PLACES))],
        "curve": [round(float(part.mean()), 3) for part in np.array(losses).reshape(-1, 20)],
        "largest_score": round(largest_score(model, rows[:20]), 1),
        "expert_shares": expert_shares(model, rows[:50]),
        "seconds": round(seconds),
    }


@torch.no_grad()
def largest_score(model: GPT, rows: list[list[int]]) -> float:
    """The attention score that is furthest from 0, over all layers, heads and places that may be seen."""
    largest = 0.0
    with trace(model, only="*attention.scores") as looked:
        for row in rows:
            model(torch.tensor([row[:CONTEXT]]))
            largest = max(largest, *(s[s.isfinite()].abs().max().item() for s in looked.values()))
    return largest


@torch.no_grad()
def expert_shares(model: GPT, rows: list[list[int]]) -> list[list[float]]:
    """For each layer with experts, the share of the choices that went to each of them."""
    layers = [module for module in model.modules() if isinstance(module, Experts)]
    chosen = [torch.zeros(layer.config.n_experts) for layer in layers]

    def counter(layer: Experts, total: torch.Tensor):
        def count(module: torch.nn.Module, inputs: Any, probabilities: torch.Tensor) -> None:
            total.add_((route(probabilities, layer.config.n_active) > 0).sum(dim=(0, 1)))

        return count

    hooks = [
        layer.router.register_forward_hook(counter(layer, total))
        for layer, total in zip(layers, chosen, strict=True)
    ]
    for row in rows:
        model(torch.tensor([row[:CONTEXT]]))
    for hook in hooks:
        hook.remove()
    return [[round(share, 4) for share in (total / total.sum()).tolist()] for total in chosen]


@torch.no_grad()
def about(name: str) -> dict[str, Any]:
    """What a row is, and what the shape alone decides: parameters, and the memory of a full cache."""
    config, optimizer, learning_rate = settings(name)
    model = GPT(config).eval()
    cache = KeyValueCache(config)
    for token in torch.zeros(CONTEXT, 1, 1, dtype=torch.long):
        model(token, cache)
    return {
        "start": CHANGES[name].start,
        "changes": CHANGES[name].config,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "parameters": model.n_parameters,
        "active_parameters": count_active_parameters(config),
        "cache_bytes": sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers),
        "runs": {},
    }


def read_record() -> dict[str, Any]:
    if FILE.is_file():
        return json.loads(FILE.read_text(encoding="utf-8"))
    return {"tokens": STEPS * BATCH * CONTEXT, "places": PLACES, "floor": None, "rows": {}}


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    FILE.parent.mkdir(parents=True, exist_ok=True)
    _, tokenizer = load("storyteller")
    rows, floors = held_out(tokenizer, 14, TEST_STORIES, CONTEXT)
    record = read_record()
    record["floor"] = round(float(np.concatenate(floors).mean()), 4)
    with tempfile.TemporaryDirectory() as scratch:
        corpus = storyworld_corpus(TRAIN_STORIES, 14)
        text = write_tokens(corpus.documents, tokenizer, Path(scratch) / "train.npy")
        for seed in SEEDS:
            for name in names:
                row = record["rows"].setdefault(name, about(name))
                if str(seed) in row["runs"]:
                    continue
                row["runs"][str(seed)] = found = run(name, seed, text, rows, floors)
                lines = json.dumps(record, indent=1).encode() + b"\n"
                write_atomically(FILE, lambda file, lines=lines: file.write(lines))
                print(name, seed, found["above"], f"{found['seconds']} s", flush=True)
    write_checksums()


if __name__ == "__main__":
    main(sys.argv[1:] or list(CHANGES))
