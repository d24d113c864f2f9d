from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.model.blocks import MLP_CLASSES
from gptlib.model.config import GPTConfig
from gptlib.model.experts import Experts, Router, balance_loss, fast_mix, mix, route, watch_balance
from gptlib.model.gpt import GPT
from gptlib.training.evaluation import loss_of

CONFIG = GPTConfig(
    vocab_size=31, context_length=12, n_layers=2, n_heads=2, d_model=12, d_mlp=10, n_experts=5, n_active=2
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(config, seed=0):
    torch.manual_seed(seed)
    return GPT(config)


@settings(max_examples=40)
@given(n_experts=st.integers(1, 6), data=st.data(), seed=st.integers(0, 10**6))
def test_route_shares_1_among_the_likeliest(n_experts, data, seed):
    n_active = data.draw(st.integers(1, n_experts))
    probabilities = draw(2, 7, n_experts, seed=seed).softmax(dim=-1)
    gates = route(probabilities, n_active)
    torch.testing.assert_close(gates.sum(dim=-1), torch.ones(2, 7))
    assert (gates > 0).sum(dim=-1).eq(n_active).all()
    idle = probabilities.masked_fill(gates > 0, -1.0).amax(dim=-1)
    assert (probabilities.masked_fill(gates == 0, 2.0).amin(dim=-1) >= idle).all()
    # Among those chosen the proportions stay: a softmax over their scores alone gives the same.
    scores = probabilities.log().masked_fill(gates == 0, -torch.inf)
    torch.testing.assert_close(gates, scores.softmax(dim=-1))


@settings(max_examples=20)
@given(
    n_tokens=st.integers(1, 9),
    n_experts=st.integers(1, 6),
    mlp=st.sampled_from(sorted(MLP_CLASSES)),
    data=st.data(),
)
def test_the_fast_mix_is_the_plain_one_and_so_are_its_gradients(n_tokens, n_experts, mlp, data):
    n_active = data.draw(st.integers(1, n_experts))
    config = replace(CONFIG, n_experts=n_experts, n_active=n_active, mlp=mlp)
    torch.manual_seed(n_tokens)
    layer = Experts(config, MLP_CLASSES[mlp])
    x = draw(2, n_tokens, 12).requires_grad_()
    found = []
    for way in (mix, fast_mix):
        output = way(x, route(layer.router(x), n_active), layer.experts)
        given_to = [x, *layer.parameters()]
        found.append([output, *torch.autograd.grad(output.square().sum(), given_to, materialize_grads=True)])
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(layer(x), found[0][0], atol=1e-6, rtol=1e-5)


def test_an_expert_sees_only_the_tokens_that_chose_it():
    seen = []
    experts = [lambda x, number=number: (seen.append((number, len(x))), x)[1] for number in range(3)]
    gates = torch.tensor([[[1.0, 0.0, 0.0], [0.25, 0.0, 0.75]]])
    x = draw(1, 2, 4)
    torch.testing.assert_close(fast_mix(x, gates, experts), x)
    assert seen == [(0, 2), (1, 0), (2, 1)]


def test_one_expert_is_an_mlp():
    config = replace(CONFIG, n_experts=1, n_active=1)
    layer = Experts(config, MLP_CLASSES["gelu"])
    x = draw(2, 3, 12)
    torch.testing.assert_close(layer(x), layer.experts[0](x))


def test_the_balance_loss_is_1_when_all_get_as_much_and_n_experts_when_one_gets_all():
    even = torch.full((4, 4), 0.02) + 0.92 * torch.eye(4)
    assert balance_loss(even, 1).item() == pytest.approx(1.0)
    assert balance_loss(torch.eye(4)[torch.zeros(6, dtype=torch.long)], 1).item() == pytest.approx(4.0)
    # Two experts get all tokens, half each: shares of 1/2, probabilities of 1/2.
    assert balance_loss(torch.tensor([[0.5, 0.5, 0.0, 0.0]]), 2).item() == pytest.approx(2.0)


def test_its_gradient_turns_tokens_away_from_a_crowded_expert():
    scores = draw(50, 4)
    scores[:, 2] += 3.0  # nearly all choose the third
    scores.requires_grad_()
    balance_loss(scores.softmax(dim=-1), 1).backward()
    downhill = -scores.grad.sum(dim=0)
    assert downhill[2] < 0 and (downhill[[0, 1, 3]] > 0).all()


def test_in_training_the_loss_pays_for_it_and_an_evaluation_does_not():
    model = build(replace(CONFIG, balance=0.5))
    tokens = torch.randint(31, (3, 13), generator=torch.Generator().manual_seed(0))
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    plain = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
    with watch_balance(model) as losses:
        model(inputs)
    assert len(losses) == CONFIG.n_layers and all(loss >= 0.49 for loss in losses)  # 0.5 if spread evenly
    torch.testing.assert_close(loss_of(model, inputs, targets), plain + sum(losses))
    torch.testing.assert_close(loss_of(model.eval(), inputs, targets), plain)
    assert not any(module._forward_hooks for module in model.modules())
    without = build(replace(CONFIG, n_experts=None))
    with watch_balance(without) as losses:
        without(inputs)
    assert losses == []


def test_the_router_has_probabilities_in_32_bits_whatever_it_reads():
    router, x = Router(CONFIG).bfloat16(), draw(2, 7, 12).bfloat16()
    torch.testing.assert_close(router(x), router.scores(x).float().softmax(dim=-1))
    assert router(x).dtype == torch.float32


def test_half_the_bits_give_nearly_the_same_output():
    layer = Experts(CONFIG, MLP_CLASSES["swiglu"]).eval()
    x = draw(2, 6, 12)
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x).float(), expected, atol=0.02, rtol=0.02)
    low = layer.bfloat16()(x.bfloat16())
    assert low.dtype == torch.bfloat16


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("n_active", [0, 6])
def test_more_experts_than_there_are_cannot_be_chosen(n_active):
    with pytest.raises(ValueError, match=f"n_active is {n_active}; it needs to be from 1 to 5"):
        route(draw(2, 5).softmax(dim=-1), n_active)
