"""AdamW and Muon: who updates what, how, and that a run goes on after a stop as if there had been none."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.text.corpora import TokenFile
from gptlib.training.config import TrainConfig
from gptlib.training.loop import train
from gptlib.training.muon import COEFFICIENTS, STEPS, Muon, orthogonalized
from gptlib.training.optimizers import MuonAndAdamW, decay_groups, make_optimizer

CONFIG = GPTConfig(vocab_size=32, context_length=16, n_layers=2, n_heads=2, d_model=16, dropout=0.1)
BETAS = (0.9, 0.95)


def a_model():
    torch.manual_seed(0)
    return GPT(CONFIG)


def with_gradients(model):
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    return model


def counting():
    tokens = np.arange(1000) % 31
    tokens[::40] = 31
    return TokenFile.from_tokens(tokens)


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_matrices_decay_and_vectors_do_not():
    model = a_model()
    decaying, others = decay_groups(model, 0.1)
    assert decaying["weight_decay"] == 0.1 and others["weight_decay"] == 0.0
    assert all(parameter.ndim >= 2 for parameter in decaying["params"])
    assert all(parameter.ndim == 1 for parameter in others["params"])
    # Tied weights are one parameter, which must not be decayed twice.
    assert len(decaying["params"]) + len(others["params"]) == len(list(model.parameters()))


def test_muon_has_the_matrices_inside_the_blocks_and_adamw_the_rest():
    model = a_model()
    muon, adamw = MuonAndAdamW(model, 1e-3, 0.1, BETAS).parts
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    inside = {names[id(parameter)] for group in muon.param_groups for parameter in group["params"]}
    outside = {names[id(parameter)] for group in adamw.param_groups for parameter in group["params"]}
    assert inside == {
        name for name in names.values() if "blocks" in name and name.endswith("weight") and "norm" not in name
    }
    assert inside | outside == set(names.values()) and not inside & outside


def test_what_adamw_has_it_updates_as_it_does_alone():
    ours, alone = with_gradients(a_model()), with_gradients(a_model())
    make_optimizer(ours, "muon", 1e-2, 0.1, BETAS).step()
    make_optimizer(alone, "adamw", 1e-2, 0.1, BETAS).step()
    ours, alone = weights(ours), weights(alone)
    for name in ours:
        if "blocks" not in name or ours[name].ndim == 1:
            torch.testing.assert_close(ours[name], alone[name])
        else:
            assert not torch.allclose(ours[name], alone[name])


@pytest.mark.parametrize("shape", [(12, 12), (48, 16), (16, 48), (1, 9), (9, 1)])
def test_muon_is_torchs_to_the_precision_of_bfloat16(shape):
    torch.manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(shape))
    theirs = torch.nn.Parameter(ours.detach().clone())
    own = Muon([ours], lr=0.1, weight_decay=0.3)
    others = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.3, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        before = ours.detach().clone()
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        own.step()
        others.step()
        assert (ours - theirs).norm() < 0.03 * (ours - before).norm()
        with torch.no_grad():
            theirs.copy_(ours)
    assert own.state[ours].keys() == others.state[theirs].keys()  # so that a run of before goes on
    torch.testing.assert_close(own.state[ours]["momentum_buffer"], others.state[theirs]["momentum_buffer"])


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 99))
def test_orthogonalized_changes_singular_values_alone(rows, columns, seed):
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    a, b, c = COEFFICIENTS
    values = values / values.norm()
    for _ in range(STEPS):
        values = a * values + b * values**3 + c * values**5
    torch.testing.assert_close(orthogonalized(matrix), left @ values.diag() @ right)


def test_muon_moves_a_matrix_as_far_in_each_direction():
    """A gradient with one direction 1,000 times the others: AdamW follows it, Muon goes everywhere alike."""
    moved = {}
    for name in ("adamw", "muon"):
        model = with_gradients(a_model())
        matrix = model.blocks[0].attention.output.weight
        torch.manual_seed(2)
        left, _, right = torch.linalg.svd(torch.randn(16, 16))
        matrix.grad = left @ torch.diag(torch.tensor([1000.0] + [1.0] * 15)) @ right
        before = matrix.detach().clone()
        make_optimizer(model, name, 1e-2, 0.0, BETAS).step()
        moved[name] = torch.linalg.svdvals(before - matrix.detach())
    assert moved["muon"].max() / moved["muon"].median() < 2.5
    assert moved["adamw"].max() / moved["adamw"].median() > 10


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path, optimizer):
    config = {"batch_size": 4, "eval_every": None, "optimizer": optimizer}
    whole, parts = a_model(), a_model()
    list(train(whole, counting(), None, TrainConfig(steps=8, **config)))
    stopped = TrainConfig(steps=8, folder=tmp_path, checkpoint_every=4, **config)
    for step in train(parts, counting(), None, stopped):
        if step.step == 5:
            break
    again = a_model()
    list(train(again, counting(), None, stopped, resume=tmp_path))
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(again)[name]), name


def test_muon_learns():
    model = a_model()
    config = TrainConfig(steps=60, batch_size=8, learning_rate=1e-2, optimizer="muon", eval_every=None)
    losses = [step.loss for step in train(model, counting(), None, config)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.usefixtures("without_shape_checks")
def test_what_cannot_be_optimized_is_refused():
    with pytest.raises(ValueError, match="one of adamw, muon"):
        make_optimizer(a_model(), "sgd", 1e-3, 0.1, BETAS)
    with pytest.raises(ValueError, match="Linear without blocks"):
        make_optimizer(nn.Linear(2, 2), "muon", 1e-3, 0.1, BETAS)
    with pytest.raises(ValueError, match="optimizer is 'sgd'; it needs to be one of adamw, muon"):
        TrainConfig(steps=1, optimizer="sgd")
