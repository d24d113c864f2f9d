"""Learning first what a row says again: which targets those are, and what is left of the others."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.text.corpora import TokenFile
from gptlib.training.config import TrainConfig
from gptlib.training.evaluation import IGNORED
from gptlib.training.loop import train
from gptlib.training.repeats import NEW, mostly_repeats, said_before

rows = st.lists(st.lists(st.integers(0, 12), min_size=9, max_size=9), min_size=1, max_size=6)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def split(tokens):
    tokens = torch.tensor(tokens)
    return tokens[:, :-1], tokens[:, 1:]


@given(rows)
def test_said_before_is_what_stands_earlier_in_the_row(tokens):
    inputs, targets = split(tokens)
    expected = [[row[at + 1] in row[: at + 1] for at in range(len(row) - 1)] for row in tokens]
    assert said_before(inputs, targets).tolist() == expected


@given(rows, st.integers(0, 99))
def test_what_is_said_again_stays_and_nothing_is_changed(tokens, seed):
    inputs, targets = split(tokens)
    given_up = torch.rand(targets.shape, generator=generator(seed + 100)) < 0.2
    targets = targets.masked_fill(given_up, IGNORED)
    left = mostly_repeats(inputs, targets, generator(seed))
    again = said_before(inputs, targets)
    assert torch.equal(left[again], targets[again])
    assert ((left == targets) | (left == IGNORED)).all()
    assert (left != IGNORED).any() or (targets == IGNORED).all()


def test_one_in_ten_of_what_is_new_stays():
    inputs = torch.zeros(100, 50, dtype=torch.int64)
    targets = torch.arange(50).expand(100, 50)
    left = mostly_repeats(inputs, targets, generator())
    assert (left[:, 0] == 0).all()
    assert abs((left[:, 1:] != IGNORED).float().mean() - NEW) < 0.02


def test_where_nothing_is_said_again_everything_may_stay():
    inputs, targets = split([[1, 2]])
    left = {int(mostly_repeats(inputs, targets, generator(seed))) for seed in range(20)}
    assert left == {2}


def a_run(folder=None, resume=None, steps=8, **changes):
    tokens = TokenFile.from_tokens(np.random.default_rng(0).integers(0, 31, 500))
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=32, context_length=16, n_layers=1, n_heads=2, d_model=16))
    config = TrainConfig(steps, batch_size=4, folder=folder, checkpoint_every=folder and 2, **changes)
    return train(model, tokens, None, config, resume)


def test_it_is_so_in_the_first_part_of_a_run_and_goes_on_so_after_a_stop(tmp_path):
    whole = list(a_run(repeats_first=0.5))
    learned = np.diff([0, *(step.tokens for step in whole)])
    assert (learned[:4] < 30).all() and (learned[4:] == 4 * 16).all()
    for step in a_run(tmp_path, repeats_first=0.5):
        if step.step == 3:
            break
    assert list(a_run(tmp_path, tmp_path, repeats_first=0.5)) == whole[2:]


@pytest.mark.parametrize("share", [-0.1, 1, "x"])
@pytest.mark.usefixtures("without_shape_checks")
def test_a_share_that_cannot_be_is_refused(share):
    with pytest.raises((TypeError, ValueError), match="repeats_first is .*; it needs a number from 0"):
        TrainConfig(10, repeats_first=share)
