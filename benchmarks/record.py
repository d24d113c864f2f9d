"""The record: how little it takes to come within 5% of Storyworld's entropy floor, from random weights.

`python benchmarks/record.py RECIPE` runs `benchmarks/recipes/RECIPE.py` with seed 0, or with `--seed N`, and
writes `benchmarks/record/RECIPE-STEPS-N.json`. `--steps N` makes the run shorter or longer than the recipe
says, `--rate X` multiplies its learning rates. `--verify` runs it with seeds 1 and 2 too, where they were not
run yet, and says how far the three lie apart. Without a recipe it prints the table of docs/record.md.

What counts is all that happens inside the recipe's `run`: making its stories, its tokenizer unless it takes
the shipped one, and training. Measuring the loss does not, and neither do imports. A recipe is judged by
total nats over total -log p of fixed stories that nobody trained on, so any tokenizer may enter. Seconds
depend on the processor: beside them stands what they would have been worth in products of matrices, seconds
times this machine's measured peak in the precision of the run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from storyteller import loss_and_names  # noqa: E402

from gptlib import Storyworld, TrainConfig, train  # noqa: E402
from gptlib.files import write_atomically  # noqa: E402
from gptlib.scaling.meters import matmul_peak  # noqa: E402
from gptlib.text.corpora import TokenFile, storyworld_corpus  # noqa: E402
from gptlib.text.vocabulary import Vocabulary  # noqa: E402

MARK = 0.05  # above the floor
JUDGED = {"validation": (9000, 300), "test": (2026, 300)}  # seed and number of the stories
ON_THE_WAY = 60  # stories, for a point of the curve
POINTS = 8
RECORD = HERE / "record"
RATES = ("learning_rate", "embedding_learning_rate", "vector_learning_rate", "min_learning_rate")


@dataclass(frozen=True)
class Progress:
    """What a recipe says after each step.

    done: Which share of the run is over.
    loss: Of the step's batch, in nats per token.
    """

    model: nn.Module
    tokenizer: Vocabulary
    tokens: int
    done: float
    loss: float


def stories_as_tokens(n_stories: int, tokenizer: Vocabulary, seed: int) -> TokenFile:
    """So many stories to train on, an end of text before each and behind the last."""
    tokens = [tokenizer.end_of_text]
    for text in storyworld_corpus(n_stories, seed).documents:
        tokens += [*tokenizer.encode(text), tokenizer.end_of_text]
    return TokenFile.from_tokens(tokens)


def training(model: nn.Module, tokenizer: Vocabulary, data: Any, config: TrainConfig) -> Iterator[Progress]:
    """Train by the library's own loop."""
    for step in train(model, data, None, config):
        yield Progress(model, tokenizer, step.tokens, step.step / config.steps, step.loss)


def judged(
    model: nn.Module, tokenizer: Vocabulary, split: str, n_stories: int | None = None
) -> dict[str, Any]:
    """How a model does on the stories of a split, or on the first of them: see `loss_and_names`."""
    seed, n = JUDGED[split]
    was_training = model.training
    found = loss_and_names(model.eval(), tokenizer, Storyworld(seed, split).stories(n_stories or n))
    model.train(was_training)
    return found


def run(recipe: str, config: TrainConfig) -> dict[str, Any]:
    """Run a recipe, and what it took."""
    steps: Iterator[Progress] = module_of(recipe).run(config)
    processor, wall, curve, losses = 0.0, 0.0, [], []
    while True:
        started = time.process_time(), time.perf_counter()
        step = next(steps, None)
        processor += time.process_time() - started[0]
        wall += time.perf_counter() - started[1]
        if step is None:
            break
        last = step
        losses.append(step.loss)
        if step.done < 1 and step.done * POINTS >= len(curve) + 1:
            share, _ = judged(step.model, step.tokenizer, "validation", ON_THE_WAY)["above"]
            curve.append({"seconds": round(processor, 1), "tokens": step.tokens, "above": round(share, 4)})
            print(f"{recipe}, seed {config.seed}: {curve[-1]}, loss {np.mean(losses[-20:]):.3f}", flush=True)
    found = {split: judged(last.model, last.tokenizer, split) for split in JUDGED}
    peak = matmul_peak(dtype=getattr(torch, config.precision))
    return {
        "recipe": recipe,
        "steps": config.steps,
        "learning_rate": config.learning_rate,
        "seed": config.seed,
        "arrived": found["validation"]["above"][0] <= MARK,
        **{split: [round(number, 4) for number in each["above"]] for split, each in found.items()},
        "names": [round(number, 4) for number in found["validation"]["names"]],
        "processor_seconds": round(processor, 1),
        "wall_seconds": round(wall, 1),
        "threads": torch.get_num_threads(),
        "precision": config.precision,
        "peak": round(peak / 1e9, 1),  # GFLOP/s in that precision
        "products": round(processor * peak / 1e12, 1),  # TFLOP
        "tokens": last.tokens,
        "parameters": sum(parameter.numel() for parameter in last.model.parameters()),
        "curve": curve,
    }


def module_of(recipe: str) -> Any:
    """The recipe's file, with its `TRAINING` and its `run`."""
    return importlib.import_module(f"recipes.{recipe}")


def changed(config: TrainConfig, steps: int | None, rate: float) -> TrainConfig:
    """The recipe's settings for a run of so many steps, with all learning rates multiplied."""
    rates = {name: getattr(config, name) * rate for name in RATES if getattr(config, name) is not None}
    return replace(config, steps=config.steps if steps is None else steps, **rates)


def recorded() -> list[dict[str, Any]]:
    """All runs that were recorded."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RECORD.glob("*.json"))]


def table() -> str:
    """A row for each recipe and length, in Markdown: what it took, and by how much it is above the floor."""
    rows: dict[tuple[str, int, float], list[dict[str, Any]]] = {}
    for found in recorded():
        rows.setdefault((found["recipe"], found["steps"], found["learning_rate"]), []).append(found)
    lines = [
        "| recipe | steps | learning rate | tokens | seconds | TFLOP | validation | test | names |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (recipe, steps, rate), runs in sorted(rows.items(), key=lambda row: (row[0][0], row[0][1:])):
        shares = ", ".join(f"{found['validation'][0]:.1%}" for found in runs)
        tests = ", ".join(f"{found['test'][0]:.1%}" for found in runs)
        names = ", ".join(f"{found['names'][0]:.0%}" for found in runs)
        middle = sorted(runs, key=lambda found: found["processor_seconds"])[len(runs) // 2]
        lines.append(
            f"| {recipe} | {steps:,} | {rate:g} | {middle['tokens'] / 1e6:.2f}M | "
            f"{middle['processor_seconds']:,.0f} | {middle['products']:.0f} | {shares} | {tests} | {names} |"
        )
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> None:
    """Run what is asked for."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("recipe", nargs="?")
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--steps", type=int)
    asked.add_argument("--rate", type=float, default=1.0)
    asked.add_argument("--verify", action="store_true")
    given = asked.parse_args(words)
    if given.recipe is None:
        print(table())
        return
    torch.set_num_threads(1)
    RECORD.mkdir(exist_ok=True)
    config = changed(module_of(given.recipe).TRAINING, given.steps, given.rate)
    rate = "" if given.rate == 1 else f"-rate{given.rate:g}"
    runs = []
    for seed in (0, 1, 2) if given.verify else (given.seed,):
        path = RECORD / f"{given.recipe}-{config.steps}{rate}-{seed}.json"
        if not given.verify or not path.exists():
            text = json.dumps(run(given.recipe, replace(config, seed=seed)), indent=1)
            write_atomically(path, lambda file, text=text: file.write(text.encode()))
        runs.append(json.loads(path.read_text(encoding="utf-8")))
        print({name: value for name, value in runs[-1].items() if name != "curve"}, flush=True)
    if given.verify:
        shares = [each["validation"][0] for each in runs]
        arrived = sum(each["arrived"] for each in runs)
        spread = f"{min(shares):.1%} to {max(shares):.1%} above the floor"
        print(f"{spread}; {arrived} of {len(runs)} arrived")


if __name__ == "__main__":
    main()
