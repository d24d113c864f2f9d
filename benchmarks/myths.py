"""The runs of the notebook on myths that are too long to wait for: `python benchmarks/myths.py [NAME …]`.

All are small GPTs on Storyworld, on one thread. data/myths/NAME.json gets a row for each, and the seconds of
processor time of them all.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from gptlib import GPT, GPTConfig, Storyworld, TrainConfig, load, train
from gptlib.scaling.counting import count_flops
from gptlib.shipped import data_folder, write_checksums
from gptlib.text.corpora import TokenFile
from gptlib.training.evaluation import evaluate

CONTEXT = 64
BASE = GPTConfig(vocab_size=2048, context_length=CONTEXT, n_layers=2, n_heads=4, d_model=64)
_, TOKENIZER = load("storyteller")


def stories(n: int, seed: int, split: str = "train") -> TokenFile:
    """n stories as one row of tokens."""
    row = [TOKENIZER.end_of_text]
    for story in Storyworld(seed, split).stories(n):
        row += [*TOKENIZER.encode(story.text), TOKENIZER.end_of_text]
    return TokenFile.from_tokens(row)


def trained(config: GPTConfig, data: TokenFile, steps: int, learning_rate: float, seed: int) -> GPT:
    """A model that knew nothing, after `steps` batches of 8 windows."""
    torch.manual_seed(seed)
    model = GPT(config)
    settings = TrainConfig(steps, batch_size=8, learning_rate=learning_rate, eval_every=None, seed=seed)
    for _ in train(model, data, None, settings):
        pass
    return model


def heads() -> list[dict[str, float]]:
    """The same width cut into 1 to 32 heads: parameters, tokens and operations are equal."""
    data, held_out = stories(6000, seed=18), stories(150, seed=18, split="validation")
    rows = []
    for n_heads in (1, 2, 4, 8, 16, 32):
        for seed in range(3):
            model = trained(replace(BASE, n_heads=n_heads), data, steps=200, learning_rate=5e-3, seed=seed)
            loss = evaluate(model, held_out)
            rows.append(
                {"n_heads": n_heads, "seed": seed, "parameters": model.n_parameters, "held_out": loss}
            )
    return rows


def memory() -> list[dict[str, float]]:
    """One model and one number of steps; only the number of different stories grows."""
    data, held_out = stories(4096, seed=18), stories(150, seed=18, split="validation")
    rows = []
    for n_stories in (4, 16, 64, 256, 1024, 4096):
        end = data.document_starts()[n_stories]
        own = TokenFile.from_tokens(data.tokens[: end + 1])
        model = trained(BASE, own, steps=700, learning_rate=3e-3, seed=0)
        losses = {"own": evaluate(model, own, max_batches=4), "held_out": evaluate(model, held_out)}
        rows.append({"n_stories": n_stories, "n_tokens": len(own), **losses})
    return rows


def budget() -> list[dict[str, float]]:
    """At each budget of operations every size of model takes as many steps as it can pay for."""
    data, held_out = stories(12_000, seed=18), stories(150, seed=18, split="validation")
    rows = []
    for operations in (3e10, 1.5e11):
        for d_model in (8, 16, 32, 64, 128):
            config = replace(BASE, d_model=d_model)
            a_step = 3 * count_flops(config, CONTEXT) * 8 * CONTEXT
            # Of three rates tried at the widths 16, 64 and 256, this rule took one of the best.
            model = trained(config, data, round(operations / a_step), 4e-3 * (64 / d_model) ** 0.5, seed=0)
            loss = evaluate(model, held_out)
            made = {"d_model": d_model, "parameters": model.n_parameters, "steps": round(operations / a_step)}
            rows.append({"operations": operations, **made, "held_out": loss})
    return rows


def record(run: Callable[[], list[dict[str, float]]]) -> None:
    began = time.process_time()
    rows = run()
    seconds = round(time.process_time() - began)
    folder = data_folder() / "myths"
    folder.mkdir(exist_ok=True)
    lines = ",\n".join("  " + json.dumps({k: round(v, 4) for k, v in row.items()}) for row in rows)
    text = f'{{"seconds": {seconds}, "rows": [\n{lines}\n]}}\n'
    (folder / f"{run.__name__}.json").write_text(text, encoding="utf-8")
    print(f"{run.__name__}: {seconds} s")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for run in (memory, budget, heads):
        if len(sys.argv) == 1 or run.__name__ in sys.argv[1:]:
            record(run)
    write_checksums()
