"""What a network in a page learns from: documents, exact surprises, and where a name must come."""

import numpy as np
import pytest

from gptlib.text.storyworld import Storyworld, possible_until, reading, story
from gptlib.viz.training_page import page_documents
from gptlib.viz.training_page.documents import END, opening, tokens_of


@pytest.fixture(scope="module")
def found():
    return page_documents()


def text_of(found, row):
    return "".join(found.vocabulary[token] for token in row)[1:]


def test_a_held_out_document_is_an_opening_and_its_surprise_is_exact(found):
    stories = Storyworld(0, "validation").stories(20)
    for i, told in enumerate(stories):
        text = text_of(found, found.held_out[i])
        assert told.text.startswith(text) and opening(told.text) == text
        # The probability that a story begins so and that its second sentence then ends: white space follows.
        ends = [reading._follow(text + space, story.ANY_STORY)[1] for space in " \n"]
        assert -np.log(ends[0][-1] + ends[1][-1]) == pytest.approx(found.surprises[i], abs=1e-9)


def test_the_floor_is_the_mean_of_the_exact_surprises(found):
    floor, error = found.floor
    counts = np.array([len(row) + 1 for row in found.held_out])
    assert floor == pytest.approx(found.surprises.sum() / counts.sum())
    resampled = np.random.default_rng(0).integers(len(counts), size=(2000, len(counts)))
    means = found.surprises[resampled].sum(1) / counts[resampled].sum(1)
    assert error == pytest.approx(means.std(), rel=0.1)


def test_nothing_held_out_is_learned_from(found):
    assert not {*map(tuple, found.held_out)} & {*map(tuple, found.training)}
    assert END not in {token for row in found.training + found.held_out for token in row}


def test_tokens_are_the_text_and_a_word_is_one_token_wherever_it_stands(found):
    tokens = tokens_of('Mia ran. "Come," said Mia.')
    assert "|".join(tokens) == ' Mia| ran|.| "|Come|,|"| said| Mia|.'


def test_counting_longer_is_better_and_none_reaches_the_floor(found):
    losses = list(found.rivals.values())
    assert losses == sorted(losses, reverse=True) and losses[-1] > found.floor[0]


def test_where_a_name_is_certain_another_would_be_as_possible_and_as_certain(found):
    assert len(found.names) > 30
    for name in found.names[:12]:
        row = found.held_out[name.document]
        assert row[name.first - 1] == row[name.row] == name.name and name.first < name.row
        other = [name.other if token == name.name else token for token in row]
        assert name.other not in row and name.name not in other
        text = text_of(found, other)
        assert possible_until(text) == len(text)
        ends = len(text_of(found, other[: name.row]))  # only the other name can stand there
        assert possible_until(text[:ends] + found.vocabulary[name.name]) == ends + 1
