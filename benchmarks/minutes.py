"""What the live run of Training buys in its minute, by recipe: `python benchmarks/minutes.py`.

The small GPT of that notebook learns the same 8,000 stories, 1,000 batches of 8: with AdamW and with Muon,
each with repeats first and without, and Muon also with as many targets left out at random. AdamW has the best
of `RATES`. data/minutes/runs.json gets a row for each run: the loss on 300 stories of the validation split
above their floor, and the later mentions of a name for which the right one of all names is the likeliest.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from recipes.random_first import as_many_at_random  # noqa: E402
from storyteller import loss_and_names  # noqa: E402

from gptlib import GPT, GPTConfig, Storyworld, TrainConfig, load, train  # noqa: E402
from gptlib.shipped import data_folder, write_checksums  # noqa: E402
from gptlib.text.corpora import TokenFile, storyworld_corpus  # noqa: E402
from gptlib.training import loop  # noqa: E402
from gptlib.training.whole_documents import WholeDocuments  # noqa: E402

RATES = (0.004, 0.008, 0.016, 0.032)  # of AdamW
SEEDS = range(3)
REPEATS_FIRST = 0.3
MUON = {"optimizer": "muon", "learning_rate": 0.02}


def data() -> WholeDocuments:
    """The stories of the notebook, each a row of its own."""
    row = [TOKENIZER.end_of_text]
    for story in storyworld_corpus(8000, seed=0, split="train").documents:
        row += [*TOKENIZER.encode(story), TOKENIZER.end_of_text]
    return WholeDocuments(TokenFile.from_tokens(row))


def run(recipe: str, seed: int, at_random: bool = False, **settings: Any) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = GPT(GPTConfig(TOKENIZER.vocab_size, 208, n_layers=2, n_heads=4, d_model=64, position="rotary"))
    config = TrainConfig(
        steps=1000, batch_size=8, warmup_steps=50, schedule="trapezoid", cooldown=0.6, weight_decay=0.0,
        eval_every=None, at_document_starts=True, seed=seed, **settings,
    )  # fmt: skip
    began = time.process_time()
    with patch.object(loop, "mostly_repeats", as_many_at_random) if at_random else nullcontext():
        steps = list(train(model, STORIES, None, config))
    seconds = time.process_time() - began
    found = loss_and_names(model.eval(), TOKENIZER, HELD_OUT)
    row = {"recipe": recipe, "seed": seed, "learning_rate": config.learning_rate}
    row |= {"seconds": round(seconds, 1), "tokens": steps[-1].tokens}
    row |= {name: [round(number, 4) for number in found[name][:2]] for name in ("above", "names")}
    print(row, flush=True)
    return row


if __name__ == "__main__":
    torch.set_num_threads(1)
    _, TOKENIZER = load("storyteller")
    STORIES, HELD_OUT = data(), Storyworld(9000, "validation").stories(300)
    rows = []
    for recipe, settings in (("AdamW", {}), ("AdamW, repeats first", {"repeats_first": REPEATS_FIRST})):
        tried = [run(recipe, 0, learning_rate=rate, **settings) for rate in RATES]
        best = min(tried, key=lambda row: row["above"][0])["learning_rate"]
        rows += tried + [run(recipe, seed, learning_rate=best, **settings) for seed in SEEDS[1:]]
    rows += [run("Muon", seed, **MUON) for seed in SEEDS]
    rows += [
        run("Muon, as many left out at random", seed, at_random=True, repeats_first=REPEATS_FIRST, **MUON)
        for seed in SEEDS
    ]
    rows += [run("Muon, repeats first", seed, repeats_first=REPEATS_FIRST, **MUON) for seed in SEEDS]
    folder = data_folder() / "minutes"
    folder.mkdir(exist_ok=True)
    lines = ",\n".join("  " + json.dumps(row) for row in rows)
    (folder / "runs.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    write_checksums()
