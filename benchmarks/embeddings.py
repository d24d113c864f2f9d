"""What tying does to the rows of an embedding, recorded for Tokens: `python benchmarks/embeddings.py`.

A small GPT is trained on Storyworld with one table for reading and guessing, and with two, on one thread.
data/embeddings/tying.json gets a row for each seed and each step that is looked at.
"""

from __future__ import annotations

import json
import time

import numpy as np
import torch
from torch import Tensor

from gptlib import GPT, GPTConfig, Storyworld, TrainConfig, load, train
from gptlib.shipped import data_folder, write_checksums
from gptlib.text.corpora import TokenFile
from gptlib.text.ngram import NGram
from gptlib.training.evaluation import evaluate

KINDS = (
    (" red", " blue", " green", " pink"),
    (" kite", " boat", " drum", " truck"),
    (" happy", " glad", " merry", " pleased"),
    (" Monday", " Friday", " Sunday"),
)
STEPS = (0, 50, 100, 200, 400, 800)
_, TOKENIZER = load("storyteller")
TOKENS = [TOKENIZER.encode(word)[0] for kind in KINDS for word in kind]
KIND_OF = torch.tensor([number for number, kind in enumerate(KINDS) for _ in kind])


def stories(n: int, split: str) -> TokenFile:
    """n stories as one row of tokens."""
    row = [TOKENIZER.end_of_text]
    for story in Storyworld(2, split).stories(n):
        row += [*TOKENIZER.encode(story.text), TOKENIZER.end_of_text]
    return TokenFile.from_tokens(row)


def likeness(table: Tensor) -> tuple[float, float]:
    """The mean cosine of two words of the same kind, and of two words of different kinds."""
    rows = table.detach()[TOKENS]
    rows = rows / rows.norm(dim=1, keepdim=True)
    alike = rows @ rows.T
    same = KIND_OF[:, None] == KIND_OF
    others = ~torch.eye(len(TOKENS), dtype=torch.bool)
    return float(alike[same & others].mean()), float(alike[~same].mean())


def run(tied: bool, seed: int, data: TokenFile, held_out: TokenFile) -> list[dict]:
    torch.manual_seed(seed)
    model = GPT(GPTConfig(2048, 64, n_layers=2, n_heads=4, d_model=128, tie_embeddings=tied))
    rows = []

    def look(step: int) -> None:
        row = {"tied": tied, "seed": seed, "step": step}
        for name, table in (("reading", model.token_embedding), ("guessing", model.unembedding)):
            row[f"{name}_within"], row[f"{name}_between"] = likeness(table.weight)
        rows.append(row)

    look(0)
    settings = TrainConfig(STEPS[-1], batch_size=16, learning_rate=3e-3, eval_every=None, seed=seed)
    for step, _ in enumerate(train(model, data, None, settings), start=1):
        if step in STEPS:
            look(step)
    rows[-1]["held_out"] = evaluate(model, held_out)
    print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    began = time.process_time()
    data, held_out = stories(6000, "train"), stories(150, "validation")
    rows = [row for tied in (True, False) for seed in range(3) for row in run(tied, seed, data, held_out)]
    pairs = NGram(2, TOKENIZER.vocab_size).fit([np.array(data.tokens).tolist()])
    baseline = pairs.loss([np.array(held_out.tokens).tolist()])
    folder = data_folder() / "embeddings"
    folder.mkdir(exist_ok=True)
    lines = ",\n".join(
        "  " + json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
        for row in rows
    )
    seconds = round(time.process_time() - began)
    (folder / "tying.json").write_text(
        f'{{"seconds": {seconds}, "pairs": {baseline:.4f}, "rows": [\n{lines}\n]}}\n', encoding="utf-8"
    )
    write_checksums()
    print(f"{seconds} s, token pairs {baseline:.2f}")
