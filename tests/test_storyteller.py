"""The model that ships: whole, small, and nearly as good as a model of Storyworld can be."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gptlib import load
from gptlib.shipped import data_folder, load_snapshots, training_log, verify_data
from gptlib.text.storyworld import Storyworld, derive
from gptlib.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def storyteller():
    return load("storyteller")


def nats_of_story(model, tokenizer: Tokenizer, text: str) -> float:
    """-log p (nats) of a story and its end, as the model sees it."""
    tokens = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(text), tokenizer.end_of_text]])
    with torch.no_grad():
        return F.cross_entropy(model(tokens[:, :-1])[0], tokens[0, 1:], reduction="sum").item()


MARK = 0.025  # of the floor


def test_its_loss_on_fresh_stories_is_near_the_floor(storyteller):
    stories = Storyworld(seed=2_026, split="test").stories(300)
    excess = np.array([nats_of_story(*storyteller, story.text) + story.log_p for story in stories])
    floor = np.mean([-story.log_p for story in stories])
    error = excess.std(ddof=1) / np.sqrt(len(stories))
    print(f"floor {floor:.2f}, storyteller {floor + excess.mean():.2f} ± {error:.2f} nats per story")
    assert excess.mean() > -2 * error, "no model can be better than the truth"
    assert excess.mean() + 2 * error <= MARK * floor


def test_much_of_what_it_tells_is_word_for_word_a_story_of_storyworld(storyteller):
    """Its samples are read back by the grammar itself, which forgives no wrong word."""
    from gptlib.generation.writing import generate_many

    told = generate_many(*storyteller, max_new_tokens=250, temperature=0.7, n_sequences=20, seed=0)
    possible = 0
    for text in told:
        try:
            derive(text)
            possible += 1
        except ValueError:
            pass
    assert possible >= 8


def test_it_recalls_what_a_story_has_settled_however_rarely_it_is_said_again(storyteller, benchmark):
    paid = benchmark("storyteller").settled(*storyteller, Storyworld(seed=5, split="test").stories(100))
    for kind, (nats, n) in paid.items():
        assert n > 3 and nats < 0.1, kind  # a guess costs from 1.4 to 2.5


def test_its_best_head_finds_the_name(storyteller, benchmark):
    found = benchmark("storyteller").roles(*storyteller, Storyworld(seed=6, split="test").stories(20))
    assert found["finds the name"][2] > 0.5


def test_every_story_fits_into_its_context(storyteller):
    model, tokenizer = storyteller
    longest = max(len(tokenizer.encode(story.text)) for story in Storyworld(seed=3).stories(1500))
    assert longest + 1 <= model.config.context_length


def test_data_is_whole_and_small(storyteller):
    model, _ = storyteller
    assert verify_data() == []
    assert model.n_parameters <= 4_000_000
    assert sum(path.stat().st_size for path in data_folder().rglob("*") if path.is_file()) <= 40 * 2**20


def test_its_snapshots_and_its_log_tell_how_it_learned(storyteller):
    snapshots, log = load_snapshots("storyteller"), training_log("storyteller")
    steps = [step for step, _ in snapshots]
    assert len(steps) == 12 and steps[0] == 0 and steps == sorted(set(steps)) and steps[-1] == log["step"][-1]
    text = Storyworld(seed=4, split="test").story().text
    losses = [nats_of_story(model, storyteller[1], text) for _, model in snapshots]
    assert losses[0] > 5 * losses[-1]
    measured = log["validation_loss"][~np.isnan(log["validation_loss"])]
    assert measured[-1] < 0.6 and measured[-1] == min(measured[-1], *measured[: len(measured) // 2])
