"""Recorded runs of the notebook on scale: `python benchmarks/scaling.py`, in an hour and a half on a core.

GPTs of ten thousand to ten million parameters on Storyworld, in levels of equal compute: at each level some
sizes, each with as many tokens as the level pays for. Held-out loss is set beside the exact floor of the same
stories. Rows go to data/scaling/runs.json as they come, those of the last level to next.json, so that it can
be predicted first; a run that is there already is not made again.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from held_out import held_out, mean_over_tokens, surprises

from gptlib import GPT, GPTConfig, Storyworld, Tokenizer, TrainConfig, train
from gptlib.files import write_atomically
from gptlib.scaling.counting import count_flops
from gptlib.shipped import data_folder
from gptlib.text.corpora import TokenFile, storyworld_corpus, write_tokens

FOLDER = data_folder() / "scaling"
SEED = 15
VOCAB_SIZE, CONTEXT, BATCH = 512, 256, 8
TRAIN_STORIES, TEST_STORIES = 80_000, 600
# Muon's updates have one size whatever the width of a matrix, so that one learning rate does for all.
LEARNING_RATE = 0.02

# (n_layers, n_heads, d_model)
SIZES = {
    "11k": (1, 1, 16),
    "26k": (2, 2, 24),
    "41k": (2, 2, 32),
    "107k": (3, 3, 48),
    "229k": (4, 4, 64),
    "491k": (4, 4, 96),
    "1M": (5, 4, 128),
    "2.8M": (6, 6, 192),
    "10M": (8, 8, 320),
}
LEVELS = {
    3e11: ("11k", "26k", "41k", "107k"),
    1e12: ("26k", "41k", "107k", "229k"),
    3e12: ("41k", "107k", "229k", "491k", "1M"),
    1e13: ("107k", "229k", "491k", "1M", "2.8M"),
    3e13: ("229k", "491k", "1M", "2.8M", "10M"),
}
NEXT = {1e14: ("1M",)}


def config_of(size: str) -> GPTConfig:
    n_layers, n_heads, d_model = SIZES[size]
    return GPTConfig(VOCAB_SIZE, CONTEXT, n_layers, n_heads, d_model, bias=False, position="rotary")


def run(size: str, level: float, text: TokenFile, rows: list[list[int]], truth: list[np.ndarray]) -> dict:
    config = config_of(size)
    flops_per_token = 3 * count_flops(config, CONTEXT)
    steps = round(level / (flops_per_token * BATCH * CONTEXT))
    tokens = steps * BATCH * CONTEXT
    torch.manual_seed(SEED)
    model = GPT(config)
    settings = TrainConfig(
        steps=steps,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        min_learning_rate=LEARNING_RATE / 100,
        optimizer="muon",
        weight_decay=0.0,
        betas=(0.9, 0.99),
        eval_every=None,
        seed=SEED,
        at_document_starts=True,
        precision="bfloat16",
    )
    started = time.process_time()
    losses = [step.loss for step in train(model, text, None, settings)]
    seconds = time.process_time() - started
    model.eval()
    own = [surprises(model, row) for row in rows]
    loss, _ = mean_over_tokens(own)
    excess, error = mean_over_tokens([mine - true for mine, true in zip(own, truth, strict=True)])
    return {
        "level": level,
        "n_layers": config.n_layers,
        "n_heads": config.n_heads,
        "d_model": config.d_model,
        "parameters": model.n_parameters,
        "non_embedding": model.n_parameters - VOCAB_SIZE * config.d_model,
        "tokens": tokens,
        "flops": flops_per_token * tokens,
        "steps": steps,
        "batch_size": BATCH,
        "learning_rate": LEARNING_RATE,
        "seed": SEED,
        "loss": round(loss, 4),
        "excess": round(excess, 4),
        "standard_error": round(error, 4),
        "training_loss": round(float(np.mean(losses[-max(1, steps // 20) :])), 4),
        "seconds": round(seconds),
    }


def main() -> None:
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    stories = [story.text for story in Storyworld(SEED).stories(4_000)]
    tokenizer = Tokenizer.train(stories, vocab_size=VOCAB_SIZE)
    rows, truth = held_out(tokenizer, SEED, TEST_STORIES, CONTEXT)
    floor, _ = mean_over_tokens(truth)
    about = {
        "vocab_size": VOCAB_SIZE,
        "context_length": CONTEXT,
        "floor": round(floor, 4),
        "stories": len(rows),
    }
    with tempfile.TemporaryDirectory() as scratch:
        corpus = storyworld_corpus(TRAIN_STORIES, SEED)
        text = write_tokens(corpus.documents, tokenizer, Path(scratch) / "train.npy")
        print(f"{len(text):,} tokens, {len(rows)} held-out stories, floor {floor:.4f}", flush=True)
        for name, levels in (("runs", LEVELS), ("next", NEXT)):
            path = FOLDER / f"{name}.json"
            runs = json.loads(path.read_text())["runs"] if path.exists() else []
            made = {(row["level"], row["d_model"]) for row in runs}
            for level, sizes in levels.items():
                for size in sizes:
                    if (level, SIZES[size][2]) in made:
                        continue
                    runs.append(run(size, level, text, rows, truth))
                    print(size, runs[-1], flush=True)
                    content = json.dumps(about | {"runs": runs}, indent=1).encode() + b"\n"
                    write_atomically(path, lambda file, content=content: file.write(content))


if __name__ == "__main__":
    main()
