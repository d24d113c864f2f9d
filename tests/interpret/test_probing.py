"""Probes: they find what is there and not what is not, and are tested on texts they have not seen."""

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.interpret.probing import control_labels, fit_probe, held_out


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels_drawn(n_classes, n, seed=0):
    return torch.randint(n_classes, (n,), generator=torch.Generator().manual_seed(seed))


def test_finds_what_is_linear_and_nothing_in_noise():
    labels = labels_drawn(3, 600)
    directions = 2 * drawn(3, 20, seed=1)
    features = directions[labels] + drawn(600, 20)
    probe = fit_probe(features[:400], labels[:400])
    assert probe.accuracy(features[400:], labels[400:]) > 0.95
    noise = drawn(600, 20, seed=2)
    assert fit_probe(noise[:400], labels[:400]).accuracy(noise[400:], labels[400:]) < 0.5


@settings(max_examples=20)
@given(shift=st.floats(-50, 50), scale=st.floats(0.01, 100), seed=st.integers(0, 99))
def test_answers_do_not_depend_on_units(shift, scale, seed):
    """Activations grow with depth; a probe of a late layer must not be penalized otherwise for it."""
    labels = labels_drawn(3, 60, seed)
    features = drawn(3, 5, seed=seed)[labels] + 0.5 * drawn(60, 5, seed=seed + 1)
    features = features.double()
    moved = scale * features + shift
    answers = fit_probe(features, labels).predict(features)
    assert torch.equal(answers, fit_probe(moved, labels).predict(moved))


def test_more_numbers_than_examples_still_have_one_answer():
    features, labels = drawn(10, 50), labels_drawn(2, 10, seed=3)
    assert fit_probe(features, labels, ridge=1e-6).accuracy(features, labels) == 1.0


def test_examples_of_one_text_stay_together():
    texts = [text for text in range(10) for _ in range(text + 1)]
    test = held_out(texts, 0.3, torch.Generator().manual_seed(0))
    sides = {text: set(test[[i for i, t in enumerate(texts) if t == text]].tolist()) for text in range(10)}
    assert all(len(side) == 1 for side in sides.values())
    assert sum(side == {True} for side in sides.values()) == 3
    with pytest.raises(ValueError, match="of 1 texts it holds out 0"):
        held_out([7, 7], 0.3, torch.Generator())


def test_control_labels_belong_to_kinds():
    kinds, labels = labels_drawn(40, 500), labels_drawn(5, 500, seed=1)
    control = control_labels(kinds, labels, torch.Generator().manual_seed(0))
    for kind in range(40):
        assert control[kinds == kind].unique().numel() == 1
    assert set(control.tolist()) <= set(range(5)) and control.unique().numel() > 1


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(ValueError, match="labels holds fewer than two classes"):
        fit_probe(drawn(4, 2), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match="features are the same in all examples"):
        fit_probe(torch.ones(4, 2), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(ValueError, match="ridge is 0"):
        fit_probe(drawn(4, 2), torch.tensor([0, 1, 0, 1]), ridge=0.0)
    jaxtyping.config.update("jaxtyping_disable", True)
    with pytest.raises(ValueError, match="features has 4 examples, labels 3"):
        fit_probe(drawn(4, 2), torch.tensor([0, 1, 0]))
    jaxtyping.config.update("jaxtyping_disable", False)
