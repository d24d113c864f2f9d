from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import LlamaConfig
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from gptlib.model.blocks import MLP, MLP_CLASSES, Block, gelu
from gptlib.model.config import GPTConfig
from gptlib.model.config_checks import MLPS, NORMS
from gptlib.model.gated_mlp import SwiGLU
from gptlib.model.norms import NORM_CLASSES, LayerNorm, RMSNorm, layer_norm, rms_norm
from gptlib.model.squared_relu import SquaredReLU

CONFIG = GPTConfig(vocab_size=11, context_length=16, n_layers=1, n_heads=2, d_model=12)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_layer_norm_by_hand_fused_and_torch_agree():
    x = (3 * draw(2, 5, 12) + 1).requires_grad_()
    weight, bias = draw(12, seed=1), draw(12, seed=2)
    theirs, ours = nn.LayerNorm(12), LayerNorm(CONFIG)
    with torch.no_grad():
        for module in (theirs, ours):
            module.weight.copy_(weight)
            module.bias.copy_(bias)
    expected = theirs(x)
    torch.testing.assert_close(layer_norm(x, weight, bias), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours(x), expected, atol=1e-6, rtol=1e-6)
    by_hand = torch.autograd.grad(layer_norm(x, weight, bias).square().sum(), x)
    torch.testing.assert_close(by_hand, torch.autograd.grad(expected.square().sum(), x), atol=1e-4, rtol=1e-4)


def test_layer_norm_makes_mean_0_and_variance_1():
    normed = layer_norm(5 * draw(4, 64) - 3, torch.ones(64))
    torch.testing.assert_close(normed.mean(-1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(normed.var(-1, correction=0), torch.ones(4), atol=1e-4, rtol=0)


def test_rms_norm_by_hand_fused_and_transformers_agree():
    x = (3 * draw(2, 5, 12) + 1).requires_grad_()
    weight = draw(12, seed=1)
    theirs, ours = LlamaRMSNorm(12, eps=1e-5), RMSNorm(CONFIG)
    with torch.no_grad():
        for module in (theirs, ours):
            module.weight.copy_(weight)
    expected = theirs(x)
    torch.testing.assert_close(rms_norm(x, weight), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours(x), expected, atol=1e-6, rtol=1e-5)
    wanted = torch.autograd.grad(expected.square().sum(), x)
    torch.testing.assert_close(torch.autograd.grad(ours(x).square().sum(), x), wanted, atol=1e-4, rtol=1e-4)
    assert [name for name, _ in ours.named_parameters()] == ["weight"]  # CONFIG has bias=True


@pytest.mark.parametrize("norm", NORMS)
def test_norms_add_the_configs_eps(norm):
    by_hand = {"layernorm": layer_norm, "rmsnorm": rms_norm}[norm]
    x = 0.1 * draw(3, 12)
    module = NORM_CLASSES[norm](replace(CONFIG, norm_eps=0.01))
    torch.testing.assert_close(module(x), by_hand(x, torch.ones(12), eps=0.01))
    assert not torch.allclose(module(x), by_hand(x, torch.ones(12)), atol=0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("norm", NORMS)
def test_norms_of_large_numbers_in_any_bits(norm, dtype):
    """The square of 300 is more than float16 holds, whose largest number is 65,504."""
    by_hand = {"layernorm": layer_norm, "rmsnorm": rms_norm}[norm]
    x = torch.tensor([[300.0, -300, 600, -600, 300, -300]], dtype=dtype)
    normed = by_hand(x, torch.ones(6, dtype=dtype))
    assert normed.dtype is dtype
    expected = by_hand(x.double(), torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(normed.double(), expected, atol=0, rtol=torch.finfo(dtype).eps)
    fused = NORM_CLASSES[norm](replace(CONFIG, d_model=6)).to(dtype)
    torch.testing.assert_close(normed, fused(x))


def test_rms_norm_leaves_the_mean_where_it_is():
    x = 5 * draw(4, 64) - 3
    normed = rms_norm(x, torch.ones(64))
    torch.testing.assert_close(normed.square().mean(-1), torch.ones(4), atol=1e-4, rtol=0)
    assert normed.mean(-1).max() < -0.3
    torch.testing.assert_close(rms_norm(10 * x, torch.ones(64)), normed)


@pytest.mark.parametrize("bias", [True, False])
def test_swiglu_is_transformers(bias):
    config = GPTConfig(11, 16, n_layers=1, n_heads=2, d_model=12, d_mlp=20, bias=bias)
    ours = SwiGLU(config)
    sizes = {"hidden_size": 12, "intermediate_size": 20, "num_attention_heads": 2}
    theirs = LlamaMLP(LlamaConfig(**sizes, hidden_act="silu", mlp_bias=bias))
    theirs.load_state_dict(
        {name.replace(".", "_proj."): weight for name, weight in ours.state_dict().items()}
    )
    x = draw(2, 5, 12)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_squared_relu_is_transformers(bias):
    config = GPTConfig(11, 16, n_layers=1, n_heads=2, d_model=12, d_mlp=20, bias=bias, mlp="squared_relu")
    ours, x = Block(config).mlp, draw(2, 5, 12)
    assert type(ours) is SquaredReLU
    torch.testing.assert_close(ours(x), ours.down(ACT2FN["relu2"](ours.up(x))))


def test_gelu_is_gpt2s():
    x = torch.linspace(-6, 6, 101)
    torch.testing.assert_close(gelu(x), F.gelu(x, approximate="tanh"), atol=1e-6, rtol=1e-5)
    mlp = MLP(CONFIG)
    inputs = draw(2, 3, 12)
    torch.testing.assert_close(mlp(inputs), mlp.down(gelu(mlp.up(inputs))), atol=1e-6, rtol=1e-5)


def test_block_adds_to_the_residual_stream():
    block, x = Block(CONFIG), draw(2, 6, 12)
    middle = x + block.attention(block.attention_norm(x))
    torch.testing.assert_close(block(x), middle + block.mlp(block.mlp_norm(middle)))
    for parameter in (*block.attention.output.parameters(), *block.mlp.down.parameters()):
        nn.init.zeros_(parameter)
    assert torch.equal(block(x), x)  # nothing is written, so nothing changes


def test_without_bias_nothing_has_one():
    block = Block(GPTConfig(vocab_size=11, context_length=16, n_layers=1, n_heads=2, d_model=12, bias=False))
    assert not [name for name, _ in block.named_parameters() if name.endswith("bias")]
    assert block(draw(1, 4, 12)).shape == (1, 4, 12)


def test_d_mlp_is_the_width_inside():
    config = GPTConfig(vocab_size=11, context_length=16, n_layers=1, n_heads=2, d_model=12, d_mlp=20)
    assert MLP(config).up.weight.shape == (20, 12)
    assert MLP(CONFIG).up.weight.shape == (48, 12)


def test_every_name_in_a_config_has_its_class():
    assert set(NORM_CLASSES) == set(NORMS) and set(MLP_CLASSES) == set(MLPS)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: layer_norm(draw(2, 4), torch.ones(3)), ValueError, r"weight has shape \(3,\)"),
        (lambda: layer_norm(draw(2, 4), torch.ones(4), torch.ones(1)), ValueError, r"bias has shape \(1,\)"),
        (lambda: rms_norm(draw(2, 4), torch.ones(3)), ValueError, r"weight has shape \(3,\)"),
        (lambda: LayerNorm(CONFIG)(draw(2, 13)), ValueError, "needs to be 12"),
        (lambda: RMSNorm(CONFIG)(draw(2, 13)), ValueError, "needs to be 12"),
        (lambda: SwiGLU(CONFIG)(draw(2, 48)), ValueError, "needs to be 12"),
        (lambda: SquaredReLU(CONFIG)(draw(2, 48)), ValueError, "needs to be 12"),
        (lambda: MLP(CONFIG)(draw(2, 48)), ValueError, "needs to be 12"),
        (lambda: MLP(CONFIG)(torch.ones(2, 12).long()), TypeError, "x has dtype torch.int64"),
        (lambda: Block(CONFIG)(draw(2, 3, 10)), ValueError, "needs to be 12"),
    ],
)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
