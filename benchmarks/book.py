"""A text of the reader's: loss against time, by the defaults of `gptlib train` and by nanoGPT's recipe.

`python benchmarks/book.py [NAME …]` trains the same small GPT on Python's documentation, which is about as
long as a book and on every machine, for `SECONDS` of one core by each recipe, and writes
`benchmarks/record/book/NAME.json`: the loss on topics that were held out, in nats per token, along the way.
Every recipe is laid out for as many steps as it can make in that time. nanoGPT's is the one that its README
has for a processor.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from gptlib import GPT, Tokenizer, TrainConfig, train  # noqa: E402
from gptlib.cli.train import Training  # noqa: E402
from gptlib.files import write_atomically  # noqa: E402
from gptlib.model.presets import PRESETS  # noqa: E402
from gptlib.text.corpora import TokenFile, python_documentation  # noqa: E402
from gptlib.training.evaluation import evaluate  # noqa: E402

SECONDS = 300
POINTS = 8
TRIAL = 10  # steps, to see how long one takes
SHELL = Training(folder=HERE)
OURS = TrainConfig(**{field.name: getattr(SHELL, field.name) for field in fields(TrainConfig)})
OURS = replace(OURS, folder=None, checkpoint_every=None, progress=False, eval_every=None)
RECIPES = {
    "nanogpt": TrainConfig(
        steps=2000,
        batch_size=12,
        context_length=64,
        learning_rate=1e-3,
        min_learning_rate=1e-4,
        warmup_steps=100,
        betas=(0.9, 0.99),
        eval_every=None,
    ),
    "gptlib": replace(OURS, repeats_first=0.0),
    "gptlib_repeats_first": OURS,
}


def texts() -> tuple[Tokenizer, TokenFile, TokenFile]:
    """A tokenizer, and the tokens of the topics to learn from and of those held out."""
    learned, held_out, _ = python_documentation().split(seed=0)
    tokenizer = Tokenizer.train(learned.documents, PRESETS["storyteller"].vocab_size)
    files = []
    for corpus in (learned, held_out):
        tokens = [tokenizer.end_of_text]
        for text in corpus.documents:
            tokens += [*tokenizer.encode(text), tokenizer.end_of_text]
        files.append(TokenFile.from_tokens(tokens))
    return tokenizer, *files


def measured(config: TrainConfig, learned: TokenFile, held_out: TokenFile) -> list[dict[str, float]]:
    """The loss at points of a run that takes about SECONDS."""
    trial = train(new_model(), learned, None, replace(config, steps=2 * TRIAL, warmup_steps=0))
    for _ in range(TRIAL):  # the first ones are slower
        next(trial)
    started = time.process_time()
    for _ in range(TRIAL):
        next(trial)
    steps = round(SECONDS * TRIAL / (time.process_time() - started))
    model, spent, points = new_model(), 0.0, []
    run = train(model, learned, None, replace(config, steps=steps))
    while True:
        started = time.process_time()
        step = next(run, None)
        spent += time.process_time() - started
        if step is None:
            return points
        if step.step * POINTS >= steps * (len(points) + 1):
            loss = evaluate(model.eval(), held_out, batch_size=8)
            points.append({"seconds": round(spent, 1), "step": step.step, "loss": round(loss, 4)})
            print(points[-1], flush=True)


def new_model() -> GPT:
    torch.manual_seed(0)
    return GPT(PRESETS["storyteller"])


def main(names: Sequence[str]) -> None:
    """Run those that are named, or all."""
    torch.set_num_threads(1)
    tokenizer, learned, held_out = texts()
    print(f"{len(learned):,} tokens to learn from, {len(held_out):,} held out", flush=True)
    folder = HERE / "record" / "book"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or RECIPES:
        print(name, flush=True)
        text = json.dumps(measured(RECIPES[name], learned, held_out), indent=1)
        write_atomically(folder / f"{name}.json", lambda file, text=text: file.write(text.encode()))


if __name__ == "__main__":
    main(sys.argv[1:])
