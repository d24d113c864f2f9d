"""The recorded runs of the notebook on rivals: `python benchmarks/rivals.py [name …]`, without a name all.

ngram, rnn, lstm, gru, decoder, encoder and translator: each trains one rival on one core and writes
data/rivals/<name>.json, the translator its weights too; all take about a quarter of an hour. The language
models are equally large, see equally many tokens, and are given the same batches. storyteller trains nothing:
it asks the course's own model the same questions.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from held_out import mean_over_tokens
from torch import Tensor, nn
from torch.nn import functional as F

from gptlib import GPT, GPTConfig, Storyworld, TrainConfig, load, train
from gptlib.course.studies.rivals import (
    EncoderDecoder,
    HiddenTokens,
    MaskedEncoder,
    RecurrentConfig,
    RecurrentModel,
    alignment,
    n_parameters,
    save_translator,
    width_for,
)
from gptlib.files import write_atomically
from gptlib.shipped import data_folder
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.corpora import TokenFile, storyworld_corpus, write_tokens
from gptlib.text.ngram import NGram
from gptlib.text.storyworld import Story, name_positions, token_surprises
from gptlib.text.storyworld.bilingual import AlignedSentence, sentences
from gptlib.text.storyworld.words import PEOPLE
from gptlib.text.tokenizer import Tokenizer
from gptlib.training.evaluation import IGNORED, evaluate
from gptlib.training.optimizers import make_optimizer
from gptlib.training.schedule import learning_rate_at

FOLDER = data_folder() / "rivals"
PARAMETERS = 440_000
STEPS, BATCH, CONTEXT = 1000, 16, 192
TRAIN_STORIES, TEST_STORIES = 22_000, 400
SEED = 16
NAMES = sorted(word.forms[""] for word in PEOPLE)
DISTANCES = (1, 9, 17, 33, 65)  # in tokens: the first of each group
LEARNING_RATE = 4e-3  # one for all, as the schedule and AdamW are
LANGUAGE_MODELS = ("rnn", "lstm", "gru", "decoder", "encoder")

Predict = Callable[[list[int]], np.ndarray]  # tokens -> (len(tokens) - 1, vocab): log p of each but the first


def builder(name: str, vocab_size: int) -> tuple[Callable[[int], nn.Module], int]:
    """What makes a rival of a given width, and what the width has to be a multiple of."""

    def config(d_model: int) -> GPTConfig:
        return GPTConfig(vocab_size, CONTEXT, n_layers=2, n_heads=4, d_model=d_model)

    if name == "decoder":
        return lambda d_model: GPT(config(d_model)), 4
    if name == "encoder":
        return lambda d_model: MaskedEncoder(config(d_model)), 4
    return lambda d_model: RecurrentModel(RecurrentConfig(name, vocab_size, n_layers=1, d_model=d_model)), 1


# ------------------------------------------------------------------------------------------- language models


def run_language_model(name: str, tokenizer: Tokenizer, text: TokenFile, stories: list[Story]) -> dict:
    build, multiple_of = builder(name, tokenizer.vocab_size)
    width = width_for(PARAMETERS, build, multiple_of)
    torch.manual_seed(SEED)
    model = build(width)
    rows = rows_of(tokenizer, stories[:100])
    held_out = TokenFile.from_tokens([token for row in rows for token in row[:-1]] + rows[-1][-1:])
    config = TrainConfig(
        steps=STEPS,
        batch_size=BATCH,
        context_length=CONTEXT,
        learning_rate=LEARNING_RATE,
        weight_decay=0.0,
        eval_every=None,
        seed=SEED,
        at_document_starts=True,
        precision="bfloat16",
    )
    data = HiddenTokens.of(text, tokenizer.vocab_size) if name == "encoder" else text
    losses, validation = [], []
    for step in train(model, data, None, config):
        losses.append(step.loss)
        if step.step % 100 == 0:
            if name != "encoder":
                validation.append(round(evaluate(model, held_out, CONTEXT, at_document_starts=True), 4))
            print(name, step.step, f"{np.mean(losses[-50:]):.3f}", validation[-1:], flush=True)
    model.eval()
    record = {
        "parameters": n_parameters(model),
        "d_model": width,
        "tokens": STEPS * BATCH * CONTEXT,
        "curve": {
            "tokens": [step * BATCH * CONTEXT for step in range(10, STEPS + 1, 10)],
            "loss": [round(float(part.mean()), 4) for part in np.array(losses).reshape(-1, 10)],
        },
    }
    if name == "encoder":
        return record | {"gaps": gaps_of_the_encoder(model, tokenizer, stories)}
    record["curve"]["validation"] = {
        "tokens": [step * BATCH * CONTEXT for step in range(100, STEPS + 1, 100)],
        "loss": validation,
    }
    return record | judged(predictions_of(model), tokenizer, stories)


def run_ngram(tokenizer: Tokenizer, text: TokenFile, stories: list[Story]) -> dict:
    """The order that does best of 2 to 6: the counting baseline at its best, whatever it has to store."""
    n_tokens = STEPS * BATCH * CONTEXT
    documents = np.split(text.tokens[:n_tokens], text.document_starts()[1:])
    documents = [document.astype(np.int64) for document in documents if len(document)]
    rows = [[tokenizer.end_of_text, *tokenizer.encode(story.text)] for story in stories[:100]]
    tried = {order: NGram(order, tokenizer.vocab_size).fit(documents) for order in range(2, 7)}
    losses = {order: round(model.loss(rows), 4) for order, model in tried.items()}
    best = min(losses, key=losses.get)
    model = tried[best]

    def predict(tokens: list[int]) -> np.ndarray:
        return np.log([model.probabilities(tokens[:place]) for place in range(1, len(tokens))])

    stored = sum(len(level.grams) for level in model._levels)
    record = {"order": best, "parameters": stored, "tokens": n_tokens, "losses_by_order": losses}
    return record | judged(predict, tokenizer, stories)


def predictions_of(model: nn.Module) -> Predict:
    @torch.no_grad()
    def predict(tokens: list[int]) -> np.ndarray:
        return model(torch.tensor([tokens[:-1]]))[0].log_softmax(dim=-1).numpy()

    return predict


def rows_of(tokenizer: Tokenizer, stories: list[Story]) -> list[list[int]]:
    """Each story as tokens between two end-of-text tokens."""
    end = tokenizer.end_of_text
    return [[end, *tokenizer.encode(story.text), end] for story in stories]


def names_in(story: Story, tokenizer: Tokenizer) -> list[tuple[int, int | None]]:
    """(place, distance) of each person's name: its place among the row's tokens, and how many tokens ago the
    same name stood last, None for the first time."""
    return [(position + 1, distance) for position, distance in name_positions(story, tokenizer)]


def judged(predict: Predict, tokenizer: Tokenizer, stories: list[Story]) -> dict:
    """Loss beside the floor, recall of names by distance, and what is known of a gap from its left side."""
    name_tokens = np.array([tokenizer.encode(" " + name)[0] for name in NAMES])
    surprise, truth, recalls = [], [], []
    gaps: dict[str, list[tuple[float, bool]]] = {kind: [] for kind in ("any", "first name", "later name")}
    for story, row in zip(stories, rows_of(tokenizer, stories), strict=True):
        log_p = predict(row)  # (token, vocab); row[place] is predicted by log_p[place - 1]
        own = -log_p[np.arange(len(log_p)), row[1:]]
        true = token_surprises(story.text, tokenizer)
        surprise.append(own)
        truth.append(true)
        said = None
        for place, distance in names_in(story, tokenizer):
            if distance is not None and row[place] in name_tokens:
                guess = name_tokens[log_p[place - 1, name_tokens].argmax()]
                excess = own[place - 1] - true[place - 1]
                recalls.append((distance, excess, guess == row[place], said == row[place]))
            said = row[place]
        for kind, place in places_of_gaps(story, tokenizer):
            gaps[kind].append((own[place - 1], bool(log_p[place - 1].argmax() == row[place])))
    loss, error = mean_over_tokens(surprise)
    floor, _ = mean_over_tokens(truth)
    above, above_error = mean_over_tokens([a - b for a, b in zip(surprise, truth, strict=True)])
    return {
        "test": {
            "loss": round(loss, 4),
            "error": round(error, 4),
            "floor": round(floor, 4),
            "above": round(above, 4),
            "above_error": round(above_error, 4),
        },
        "names": by_distance(recalls),
        "gaps": {"left": {kind: summary(found) for kind, found in gaps.items()}},
    }


def by_distance(recalls: list[tuple[int, float, bool, bool]]) -> list[dict]:
    distance, excess, right, repeated = (np.array(column) for column in zip(*recalls, strict=True))
    group = np.digitize(distance, DISTANCES)
    rows = []
    for number, first in enumerate(DISTANCES, start=1):
        here = group == number
        rows.append(
            {
                "from": first,
                "n": int(here.sum()),
                "distance": round(float(distance[here].mean()), 1),
                "above": round(float(excess[here].mean()), 4),
                "above_error": round(float(excess[here].std() / math.sqrt(here.sum())), 4),
                "right": round(float(right[here].mean()), 4),
                "said_last": round(float(repeated[here].mean()), 4),  # right if one repeats the last name
            }
        )
    return rows


# ------------------------------------------------------------------------------ a gap, and how it is filled


def places_of_gaps(story: Story, tokenizer: Tokenizer) -> list[tuple[str, int]]:
    """Where a story is asked: four tokens anywhere, its first name, and its last name said before."""
    names = names_in(story, tokenizer)
    n_tokens = len(tokenizer.encode(story.text))
    # From the text alone, so that every rival is asked at the same places.
    chosen = np.random.default_rng(len(story.text) + n_tokens).choice(n_tokens, 4, replace=False) + 1
    later = [place for place, distance in names if distance is not None]
    found = [("any", int(place)) for place in chosen]
    found += [("first name", names[0][0])] if names else []
    return found + ([("later name", later[-1])] if later else [])


def summary(found: list[tuple[float, bool]]) -> dict:
    surprise, right = np.array(found, dtype=float).T
    return {"loss": round(surprise.mean(), 4), "right": round(right.mean(), 4), "n": len(found)}


@torch.no_grad()
def gaps_of_the_encoder(model: MaskedEncoder, tokenizer: Tokenizer, stories: list[Story]) -> dict:
    """Hidden tokens, filled in with both sides to see, and with the left side alone."""
    sides: dict[str, dict[str, list]] = {"both": {}, "left": {}}
    for story, row in zip(stories, rows_of(tokenizer, stories), strict=True):
        for kind, place in places_of_gaps(story, tokenizer):
            hidden = row[:place] + [model.mask_token] + row[place + 1 : CONTEXT]
            for side, shown in (("both", hidden), ("left", hidden[: place + 1])):
                log_p = model(torch.tensor([shown]))[0, place].log_softmax(dim=-1)
                answer = (-log_p[row[place]].item(), log_p.argmax().item() == row[place])
                sides[side].setdefault(kind, []).append(answer)
    return {side: {kind: summary(found) for kind, found in kinds.items()} for side, kinds in sides.items()}


# --------------------------------------------------------------------------------------------- the translator

PAIR_STEPS, PAIR_BATCH = 1600, 64


def run_translator() -> dict:
    """English sentences into Chinese ones; writes the weights and the two tokenizers beside the record."""
    train_pairs = [pair for story in Storyworld(SEED).stories(6_000) for pair in sentences(story)]
    test_pairs = [pair for story in Storyworld(SEED, "test").stories(60) for pair in sentences(story)]
    english = Tokenizer.train([pair.english for pair in train_pairs[:20_000]], vocab_size=1024)
    chinese = CharacterTokenizer.train([pair.chinese for pair in train_pairs])
    torch.manual_seed(SEED)
    shape = {"context_length": 64, "n_layers": 2, "n_heads": 4, "d_model": 64, "d_mlp": 128}
    model = EncoderDecoder(GPTConfig(english.vocab_size, **shape), GPTConfig(chinese.vocab_size, **shape))
    config = TrainConfig(
        steps=PAIR_STEPS, batch_size=PAIR_BATCH, learning_rate=LEARNING_RATE, weight_decay=0.0
    )
    optimizer = make_optimizer(model, "muon", config.learning_rate, config.weight_decay, config.betas)
    encoded = [(english.encode(pair.english), chinese.encode(pair.chinese)) for pair in train_pairs]
    # Sentences of about the same length in one batch, so that little of it is padding.
    order = sorted(range(len(encoded)), key=lambda number: tuple(map(len, encoded[number])))
    generator = torch.Generator().manual_seed(SEED)
    losses = []
    for step in range(PAIR_STEPS):
        start = int(torch.randint(len(order) - PAIR_BATCH, (1,), generator=generator))
        batch = padded([encoded[number] for number in order[start : start + PAIR_BATCH]], chinese.end_of_text)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, config)
        loss = loss_of_pairs(model, *batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            print("translator", step + 1, f"{np.mean(losses[-100:]):.3f}", flush=True)
    model.eval()
    save_translator(model, english, chinese)
    return {
        "parameters": n_parameters(model),
        "pairs": PAIR_STEPS * PAIR_BATCH,
        "curve": {
            "step": list(range(20, PAIR_STEPS + 1, 20)),
            "loss": [round(float(part.mean()), 4) for part in np.array(losses).reshape(-1, 20)],
        },
        "test": test_of_translator(model, english, chinese, test_pairs),
        "alignment": alignment_scores(model, english, chinese, test_pairs),
    }


def padded(pairs: list[tuple[list[int], list[int]]], end: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(source, inputs, targets, source_mask); targets are IGNORED where there is padding."""

    def rows(texts: list[list[int]], value: int) -> Tensor:
        return nn.utils.rnn.pad_sequence([torch.tensor(text) for text in texts], True, value)

    source, _ = zip(*pairs, strict=True)
    inputs = rows([[end, *target] for _, target in pairs], end)
    targets = rows([[*target, end] for _, target in pairs], IGNORED)
    return rows(list(source), 0), inputs, targets, rows([[1] * len(text) for text in source], 0).bool()


def loss_of_pairs(
    model: EncoderDecoder, source: Tensor, inputs: Tensor, targets: Tensor, mask: Tensor
) -> Tensor:
    logits = model(source, inputs, mask)  # (batch, seq, vocab)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


@torch.no_grad()
def test_of_translator(
    model: EncoderDecoder, english: Tokenizer, chinese: CharacterTokenizer, pairs: list[AlignedSentence]
) -> dict:
    encoded = [(english.encode(pair.english), chinese.encode(pair.chinese)) for pair in pairs]
    loss = loss_of_pairs(model, *padded(encoded, chinese.end_of_text)).item()
    right = [
        model.translate(torch.tensor([source]), chinese.end_of_text, chinese.end_of_text, 60) == target
        for source, target in encoded
    ]
    return {"loss": round(loss, 4), "right": round(float(np.mean(right)), 4), "n": len(pairs)}


def alignment_scores(
    model: EncoderDecoder, english: Tokenizer, chinese: CharacterTokenizer, pairs: list[AlignedSentence]
) -> dict:
    """The head that finds most words in one half of the sentences, scored on the other half."""
    half = len(pairs) // 2
    chosen = alignment(model, english, chinese, pairs[:half])
    layer, head = divmod(int(chosen.found.argmax()), chosen.found.shape[1])
    scored = alignment(model, english, chinese, pairs[half:])
    return {
        "layer": layer,
        "head": head,
        "found": round(float(scored.found[layer, head]), 4),
        "chance": round(scored.chance, 4),
        "diagonal": round(scored.diagonal, 4),
        "words": scored.n_words,
    }


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    storyteller, tokenizer = load("storyteller")
    with tempfile.TemporaryDirectory() as scratch:
        if set(names) - {"translator"}:
            corpus = storyworld_corpus(TRAIN_STORIES, SEED)
            text = write_tokens(corpus.documents, tokenizer, Path(scratch) / "train.npy")
            drawn = Storyworld(SEED, "test").stories(TEST_STORIES)
            lengths = map(len, rows_of(tokenizer, drawn))
            # The few that are longer than the context (one in a hundred) are left out, for all rivals alike.
            stories = [story for story, length in zip(drawn, lengths, strict=True) if length <= CONTEXT + 1]
        for name in names:
            started = time.process_time()
            if name == "translator":
                record = run_translator()
            elif name == "ngram":
                record = run_ngram(tokenizer, text, stories)
            elif name == "storyteller":
                record = judged(predictions_of(storyteller), tokenizer, stories)
            else:
                record = run_language_model(name, tokenizer, text, stories)
            content = json.dumps(record, indent=1).encode() + b"\n"
            write_atomically(FOLDER / f"{name}.json", lambda file, content=content: file.write(content))
            print(f"{name}: {time.process_time() - started:.0f} seconds", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["ngram", *LANGUAGE_MODELS, "translator", "storyteller"])
