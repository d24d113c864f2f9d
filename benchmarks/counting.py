"""How far counting gets with more stories: `python benchmarks/counting.py` writes data/counting/ngrams.json.

N-grams count the first 500, 2,000 and so on to all 400,000 of the stories that storyteller was trained on,
at every order until the loss on new stories has been rising for two orders. Recorded are the losses by order
and, for the best order and for storyteller, the mean surprise at new names, at names that come again and at
all other tokens. The new stories are the 200 validation stories of the notebook on language models.

It takes about seven minutes on one core, and some gigabytes of memory.
"""

from __future__ import annotations

import json
import time

import numpy as np
import torch
from train_storyteller import STORIES

from gptlib import GPT, Storyworld, load
from gptlib.shipped import data_folder, write_checksums
from gptlib.text.corpora import storyworld_corpus
from gptlib.text.ngram import NGram
from gptlib.text.storyworld import name_positions

SIZES = (500, 2_000, 8_000, 32_000, 128_000, STORIES)
KINDS = ("new name", "name again", "other")


def main() -> None:
    began = time.process_time()
    model, tokenizer = load("storyteller")
    end = tokenizer.end_of_text
    stories = Storyworld(0, "validation").stories(200)
    judged = [np.array([end, *tokenizer.encode(story.text), end]) for story in stories]
    kinds = np.concatenate(
        [kinds_of(story, tokenizer, len(row) - 1) for story, row in zip(stories, judged, strict=True)]
    )
    texts = storyworld_corpus(STORIES, 0, "train").documents
    counted = [np.array([end, *tokenizer.encode(text), end], dtype=np.int32) for text in texts]
    del texts
    rows = [best_ngram(counted[:size], judged, kinds, tokenizer.vocab_size) for size in SIZES]
    record = {
        "seconds": round(time.process_time() - began),
        "ngrams": rows,
        "storyteller": by_kind(np.concatenate([read(model, row) for row in judged]), kinds),
    }
    path = data_folder() / "counting" / "ngrams.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    write_checksums()


def best_ngram(counted: list, judged: list, kinds: np.ndarray, vocab_size: int) -> dict:
    """The losses by order, and what the best order pays for each kind of token."""
    losses, best = {}, None
    for order in range(1, 20):
        surprises = np.concatenate(
            [model.surprises(row)[1:] for model in [NGram(order, vocab_size).fit(counted)] for row in judged]
        )
        losses[order] = round(float(surprises.mean()), 4)
        if losses[order] == min(losses.values()):
            best = {"order": order} | by_kind(surprises, kinds)
        elif order >= best["order"] + 2:
            break
    row = {"stories": len(counted), "tokens": sum(map(len, counted)), **best, "losses": losses}
    print(row, flush=True)
    return row


def kinds_of(story, tokenizer, n_judged: int) -> np.ndarray:
    """For each token that is guessed, its place in KINDS."""
    kinds = np.full(n_judged, 2)
    for position, distance in name_positions(story, tokenizer):
        kinds[position] = 0 if distance is None else 1
    return kinds


def by_kind(surprises: np.ndarray, kinds: np.ndarray) -> dict[str, float]:
    means = {kind: float(surprises[kinds == place].mean()) for place, kind in enumerate(KINDS)}
    return {name: round(mean, 4) for name, mean in {"loss": float(surprises.mean()), **means}.items()}


@torch.no_grad()
def read(model: GPT, row: np.ndarray) -> np.ndarray:
    """-log p of each token but the first."""
    row = torch.from_numpy(row)
    log_p = model(row[None, :-1])[0].log_softmax(dim=-1)
    return -log_p[torch.arange(len(row) - 1), row[1:]].numpy()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
