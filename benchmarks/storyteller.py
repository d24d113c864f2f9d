"""How good storyteller is, or another model of Storyworld: `python benchmarks/storyteller.py [MODEL]`.

On fresh stories of the test split: the loss above their floor, the later mentions of a name for which the
right one of all names is the likeliest, what is paid for a color, a day, a mood or a number that the story
has settled, and how well the best head for each role does it. Of stories that the model tells: the share
that Storyworld could have told and, apart, the share that it could have told if a word might serve twice,
which its grammar forbids and no reader would notice.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from rivals import NAMES, names_in  # noqa: E402

from gptlib import GPT, Storyworld, Tokenizer, load, trace  # noqa: E402
from gptlib.generation.writing import generate_many  # noqa: E402
from gptlib.interpret.head_roles import role_scores  # noqa: E402
from gptlib.text.storyworld import is_possible  # noqa: E402
from gptlib.text.storyworld.grammar import Telling  # noqa: E402
from gptlib.text.storyworld.reading import ratio, token_surprises  # noqa: E402
from gptlib.text.storyworld.story import Story  # noqa: E402
from gptlib.text.storyworld.words import VARIABLES  # noqa: E402
from gptlib.text.vocabulary import Vocabulary  # noqa: E402

SEED, STORIES = 77_000, 300
TOLD = 256  # at each temperature
TEMPERATURES = (1.0, 0.7)
READ = 100  # stories, for the roles
SETTLED = ("color", "weekday", "sad", "count")
SURE = 0.02  # nats


@torch.no_grad()
def loss_and_names(model: nn.Module, tokenizer: Vocabulary, stories: Sequence[Story]) -> dict[str, Any]:
    """The loss above the floor, and how many of the later names are right; each with its standard error.

    Above is total nats over total -log p, less 1, so it is the same for any tokenizer. Each name, with the
    space before it, needs to be one of its tokens.
    """
    names = np.array([tokenizer.encode(f" {name}")[0] for name in NAMES])
    nats, right = [], []
    for story in stories:
        row = torch.tensor([tokenizer.end_of_text, *tokenizer.encode(story.text), tokenizer.end_of_text])
        logits = model(row[None, :-1])[0].float()
        nats.append(F.cross_entropy(logits, row[1:], reduction="sum").item())
        for place, distance in names_in(story, tokenizer):
            if distance is not None and int(row[place]) in names:
                right.append(int(names[logits[place - 1, names].argmax()]) == int(row[place]))
    share, error = ratio(np.array(nats), -np.array([story.log_p for story in stories]))
    return {"above": [share - 1, error], "names": [*with_error(sum(right), len(right)), len(right)]}


@torch.no_grad()
def settled(model: nn.Module, tokenizer: Tokenizer, stories: Sequence[Story]) -> dict[str, Any]:
    """What is paid, in nats, for words of a kind that their story has settled: the mean, and of how many."""
    kinds = {tokenizer.encode(" " + word.forms[""])[0]: kind for kind in SETTLED for word in VARIABLES[kind]}
    paid: dict[str, list[float]] = defaultdict(list)
    for story in stories:
        row = torch.tensor([tokenizer.end_of_text, *tokenizer.encode(story.text)])
        nats = F.cross_entropy(model(row[None, :-1])[0].float(), row[1:], reduction="none").tolist()
        surprises = token_surprises(story.text, tokenizer)[:-1]
        for token, cost, true in zip(row[1:].tolist(), nats, surprises, strict=True):
            if token in kinds and true < SURE:
                paid[kinds[token]].append(cost)
    return {kind: [float(np.mean(paid[kind])), len(paid[kind])] for kind in SETTLED}


def with_error(hits: int, n: int) -> tuple[float, float]:
    """A share and its standard error."""
    share = hits / n
    return share, math.sqrt(share * (1 - share) / n)


@contextmanager
def a_word_may_serve_twice() -> Iterator[None]:
    """Inside, Storyworld could give two things of a story the same word."""
    kept = Telling.free
    Telling.free = lambda telling, slot: list(slot.pool)
    try:
        yield
    finally:
        Telling.free = kept


def told(model: GPT, tokenizer: Tokenizer, temperature: float) -> dict[str, Any]:
    """Of stories that the model tells: the share that is possible, or would be if a word served twice."""
    length = model.config.context_length - 1
    texts = generate_many(
        model, tokenizer, max_new_tokens=length, temperature=temperature, n_sequences=TOLD, seed=SEED
    )
    possible = [is_possible(text) for text in texts]
    with a_word_may_serve_twice():
        twice = [not known and is_possible(text) for text, known in zip(texts, possible, strict=True)]
    return {"possible": with_error(sum(possible), TOLD), "word_twice": with_error(sum(twice), TOLD)}


@torch.no_grad()
def roles(model: GPT, tokenizer: Tokenizer, stories: Sequence[Story]) -> dict[str, Any]:
    """For each role the best head, (layer, head, score), means over stories; and who "she" is.

    Of the attention that a pronoun pays to names, the share for the person that it means; by chance that is
    the person's share of the names said so far. Only where somebody else was named, too.
    """
    scores, own, by_chance = defaultdict(list), [], []
    for story in stories:
        tokens = [tokenizer.end_of_text, *tokenizer.encode(story.text)]
        with trace(model, only=["*.attention.weights"]) as run:
            model(torch.tensor([tokens]))
        weights = run.attention[:, 0]
        for role, score in role_scores(weights, tokens, tokenizer.pieces(tokens)).items():
            if score is not None:
                scores[role].append(score)
        places = {end: place + 1 for place, (_, end) in enumerate(tokenizer.spans(story.text))}
        named: list[tuple[int, str]] = []  # where, and who
        for mention in story.mentions:
            if mention.end not in places:
                continue
            place = places[mention.end]
            if mention.form in ("she", "She", "her", "herself"):
                ours = [at for at, who in named if who == mention.chain]
                if ours and len(ours) < len(named):
                    to_names = weights[:, :, place, [at for at, _ in named]].sum(dim=-1)
                    own.append(weights[:, :, place, ours].sum(dim=-1) / to_names.clamp(min=1e-9))
                    by_chance.append(len(ours) / len(named))
            elif story.text[mention.start : mention.end] in NAMES:
                named.append((place, mention.chain))
    best = {}
    for role, found in scores.items():
        mean = torch.stack(found).mean(dim=0)
        best[role] = place_of_best(mean)
    she = torch.stack(own)
    layer, head, share = place_of_best(she.mean(dim=0))
    error = float(she[:, layer, head].std() / math.sqrt(len(she)))
    best["finds who she is"] = [layer, head, share, error, float(np.mean(by_chance)), len(own)]
    return best


def place_of_best(scores: torch.Tensor) -> list[Any]:
    layer, head = divmod(int(scores.argmax()), scores.shape[1])
    return [layer, head, float(scores.max())]


def main(name: str = "storyteller") -> None:
    torch.set_num_threads(1)
    model, tokenizer = load(name)
    stories = Storyworld(SEED, "test").stories(STORIES)
    found = loss_and_names(model, tokenizer, stories)
    print(json.dumps(found), flush=True)
    print(json.dumps(settled(model, tokenizer, stories)), flush=True)
    found = roles(model, tokenizer, stories[:READ])
    print(json.dumps(found), flush=True)
    for temperature in TEMPERATURES:
        print(f"temperature {temperature}:", json.dumps(told(model, tokenizer, temperature)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
