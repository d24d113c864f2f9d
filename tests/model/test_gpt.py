import math
from contextlib import nullcontext
from dataclasses import FrozenInstanceError, asdict, replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from gptlib.interpret.tracing import trace
from gptlib.model.cache import KeyValueCache
from gptlib.model.config import GPTConfig
from gptlib.model.config_checks import POSITIONS
from gptlib.model.gpt import GPT
from gptlib.model.presets import PRESETS
from gptlib.scaling.counting import count_active_parameters, count_flops, count_parameters

SMALL = GPTConfig(vocab_size=31, context_length=24, n_layers=3, n_heads=4, d_model=32)
VARIANTS = [
    SMALL,
    replace(SMALL, bias=False),
    replace(SMALL, tie_embeddings=False),
    replace(SMALL, n_kv_heads=2, d_mlp=50),
    replace(SMALL, n_kv_heads=1, position="rotary", bias=False, tie_embeddings=False),
    replace(SMALL, position="alibi"),
    replace(SMALL, position="sinusoidal"),
    replace(SMALL, position="none"),
    replace(SMALL, norm="rmsnorm", mlp="swiglu", n_kv_heads=2, d_mlp=50),
    replace(SMALL, norm="rmsnorm", mlp="swiglu", position="rotary", bias=False),
    replace(SMALL, mlp="squared_relu", d_mlp=50),
    replace(SMALL, copy_heads=3),
    replace(SMALL, copy_heads=2, qk_norm=True, head_width=6, position="rotary", tie_embeddings=False),
    replace(SMALL, qk_norm=True, head_width=6, n_kv_heads=2, position="rotary", norm="rmsnorm", mlp="swiglu"),
    replace(SMALL, window=5, score_cap=5.0, logit_cap=3.0),
    replace(SMALL, n_experts=4, n_active=3, d_mlp=20, head_width=7),
    replace(SMALL, n_experts=3, n_active=1, mlp="swiglu", bias=False, tie_embeddings=False),
]


def build(config, seed=0):
    torch.manual_seed(seed)
    return GPT(config)


def draw_tokens(*shape, vocab_size=31, seed=0):
    return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))


# --- the published sizes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
    ],
)
def test_gpt2_sizes_to_the_last_parameter(name, published):
    assert count_parameters(PRESETS[name])["total"] == published


def test_gpt1_gpt3_and_storyteller_sizes():
    assert round(count_parameters(PRESETS["gpt1"])["total"] / 1e6) == 117
    # The released GPT-1 has 116,534,784; ours has a final norm besides.
    assert count_parameters(PRESETS["gpt1"])["total"] == 116_534_784 + 2 * 768
    # Brown et al. 2020, table D.1: 174,600 million.
    assert round(count_parameters(PRESETS["gpt3"])["total"] / 1e8) == 1746
    assert count_parameters(PRESETS["storyteller"])["total"] < 4_000_000


@pytest.mark.parametrize("config", [*PRESETS.values(), *VARIANTS])
def test_counts_equal_those_of_the_model(config):
    with torch.device("meta"):
        model = GPT(config)
    counts = count_parameters(config)
    assert counts["total"] == model.n_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert counts["total"] == sum(count for part, count in counts.items() if part != "total")
    by_part = {
        "token_embedding": model.token_embedding.parameters(),
        "position": model.position.parameters(),
        "attention": (p for name, p in model.named_parameters() if ".attention." in name),
        "mlp": (p for name, p in model.named_parameters() if ".mlp." in name),
        "norms": (
            p
            for name, p in model.named_parameters()
            if "_norm." in name and ".attention." not in name and "copying" not in name
        ),
    }
    for part, parameters in by_part.items():
        assert counts[part] == sum(parameter.numel() for parameter in parameters), part


def test_active_parameters_are_those_that_a_token_changes():
    config = replace(SMALL, n_experts=4, n_active=3, mlp="swiglu", d_mlp=20)
    model = build(config)
    model(torch.tensor([[7]])).square().sum().backward()
    # One token: its row of each embedding is a vector of gradients, the rest of the tables 0.
    met = [p for name, p in model.named_parameters() if ".experts." not in name or p.grad.abs().sum() > 0]
    assert sum(p.numel() for p in met) == count_active_parameters(config) < count_parameters(config)["total"]
    assert count_active_parameters(SMALL) == count_parameters(SMALL)["total"]


def test_gpt3_reads_tokens_on_the_meta_device():
    with torch.device("meta"):
        model = GPT(PRESETS["gpt3"])
        logits = model(torch.zeros(1, 2048, dtype=torch.long))
    assert logits.shape == (1, 2048, 50257)


@pytest.mark.parametrize("config", VARIANTS)
def test_flops_equal_torchs_count(config):
    model, tokens = build(config), draw_tokens(1, 24)
    with (
        trace(model),
        FlopCounterMode(display=False) as counter,
    ):  # traced: torch cannot see into the fused kernel
        model(tokens)
    assert counter.get_total_flops() == count_flops(config, 24) * 24


# --- one graph, for other programs -------------------------------------------------------------------------


GRAPHS = [
    SMALL,
    replace(SMALL, position="rotary", norm="rmsnorm", mlp="swiglu", n_kv_heads=2, qk_norm=True, n_experts=3),
    replace(SMALL, position="alibi", window=5, score_cap=5.0, logit_cap=3.0),
]


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("config", GRAPHS)
def test_torch_compiles_it_as_one_graph(config):
    """By the plain back end, which needs no compiler: whether there is one graph is decided before it."""
    torch.compiler.reset()
    model, tokens = build(config), draw_tokens(2, 20)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(tokens), model(tokens))
    loss = compiled(tokens).square().mean()
    expected = torch.autograd.grad(model(tokens).square().mean(), list(model.parameters()))
    for gradient, wanted in zip(torch.autograd.grad(loss, list(model.parameters())), expected, strict=True):
        torch.testing.assert_close(gradient, wanted)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("config", GRAPHS)
def test_torch_exports_it_for_any_batch_and_length(config):
    model, dynamic = build(config).eval(), torch.export.Dim.DYNAMIC
    exported = torch.export.export(
        model, (draw_tokens(2, 20),), dynamic_shapes={"tokens": {0: dynamic, 1: dynamic}}
    )
    assert "nonzero" not in exported.graph_module.code  # a shape that waits for values: whom tokens chose
    for shape in ((2, 20), (5, 7), (1, 24)):
        tokens = draw_tokens(*shape)
        torch.testing.assert_close(exported.module()(tokens), model(tokens))


# --- the model -------------------------------------------------------------------------------------------


def test_logits_have_one_row_a_token_and_the_first_loss_is_that_of_a_guess():
    config = replace(SMALL, vocab_size=500)
    model, tokens = build(config), draw_tokens(4, 25, vocab_size=500)
    logits = model(tokens[:, :-1])
    assert logits.shape == (4, 24, 500)
    loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(500), abs=0.05)


def test_tied_embeddings_are_one_tensor_and_untied_are_two():
    model = build(SMALL)
    assert model.unembedding.weight is model.token_embedding.weight
    untied = build(replace(SMALL, tie_embeddings=False))
    assert untied.unembedding.weight is not untied.token_embedding.weight


def test_initial_weights_are_scaled_as_in_gpt2():
    model = build(replace(SMALL, d_model=256, n_layers=2))
    for name, parameter in model.named_parameters():
        if name.endswith(("attention.output.weight", "mlp.down.weight")):
            assert parameter.std().item() == pytest.approx(0.02 / math.sqrt(4), rel=0.05), name
        elif parameter.dim() == 2:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.05), name
        elif name.endswith("bias"):
            assert parameter.eq(0).all(), name
        else:
            assert parameter.eq(1).all(), name


def test_all_that_is_written_into_the_stream_starts_small_whatever_the_mlp():
    for name, parameter in build(replace(SMALL, d_model=256, mlp="swiglu")).named_parameters():
        if ".mlp." in name and parameter.dim() == 2:
            expected = 0.02 / math.sqrt(6) if "down" in name else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name


def test_same_seed_same_weights():
    first, second = build(SMALL, seed=3).state_dict(), build(SMALL, seed=3).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("config", VARIANTS)
def test_a_future_token_changes_no_earlier_logit(config):
    model, tokens = build(config), draw_tokens(2, 20)
    changed = tokens.clone()
    changed[:, 12:] = (changed[:, 12:] + 1) % 31
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12:], after[:, 12:])


@pytest.mark.parametrize("position", POSITIONS)
def test_who_knows_the_order(position):
    model = build(replace(SMALL, position=position))
    tokens = torch.tensor([[1, 2, 3, 4, 5]])
    swapped = torch.tensor([[2, 1, 3, 4, 5]])
    one_layer = build(replace(SMALL, position=position, n_layers=1))
    # A causal model with several layers can tell orders apart even without positions; one layer cannot.
    knows = not torch.allclose(one_layer(tokens)[0, -1], one_layer(swapped)[0, -1], atol=1e-6)
    assert knows == (position != "none")
    assert model(tokens).shape == (1, 5, 31)


def test_gradients_reach_every_parameter():
    for config in VARIANTS:
        model, tokens = build(config), draw_tokens(2, 24)
        F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_dropout_acts_in_training_only():
    model, tokens = build(replace(SMALL, dropout=0.3)), draw_tokens(1, 8)
    assert not torch.equal(model(tokens), model(tokens))
    model.eval()
    assert torch.equal(model(tokens), model(tokens))


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("looking", [False, True])
def test_half_the_bits_give_nearly_the_same_logits(position, looking):
    model, tokens = build(replace(SMALL, position=position)).eval(), draw_tokens(2, 24)
    expected = model(tokens)
    with trace(model) if looking else nullcontext():
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(model(tokens).float(), expected, atol=0.02, rtol=0)
        low = model.bfloat16()(tokens)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), expected, atol=0.02, rtol=0)


# --- the key/value cache ---------------------------------------------------------------------------------


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("n_kv_heads", [None, 2, 1])
@pytest.mark.parametrize("pieces", [[5, *[1] * 19], [24], [3, 4, 1, 16], [1] * 24])
def test_cached_logits_equal_uncached(position, n_kv_heads, pieces):
    config = replace(SMALL, position=position, n_kv_heads=n_kv_heads)
    model, tokens = build(config).eval(), draw_tokens(2, 24)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # so that attention has something to say
        cache = KeyValueCache(config, batch_size=2)
        logits = torch.cat([model(piece, cache) for piece in tokens.split(pieces, dim=1)], dim=1)
        expected = model(tokens)
    assert cache.length == 24
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"qk_norm": True}, {"score_cap": 2.0, "logit_cap": 2.0}, {"n_experts": 3}]
)
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("window", [1, 2, 7, 24, 99])
def test_a_cache_that_forgets_what_no_window_sees_changes_no_logit(changes, position, window):
    config = replace(SMALL, position=position, window=window, n_kv_heads=2, **changes)
    model, tokens = build(config).eval(), draw_tokens(2, 24)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
        cache = KeyValueCache(config, batch_size=2)
        pieces = tokens.split([3, 4, 1, 10, *[1] * 6], dim=1)
        logits = torch.cat([model(piece, cache) for piece in pieces], dim=1)
        torch.testing.assert_close(logits, model(tokens), atol=1e-5, rtol=1e-5)
    assert cache.length == 24
    assert all(layer.keys.shape[2] == min(window - 1, 24) for layer in cache.layers)


@pytest.mark.parametrize("window", [1, 3])
def test_a_window_hides_what_lies_before_its_reach(window):
    model, tokens = build(replace(SMALL, window=window, n_layers=2)).eval(), draw_tokens(1, 20)
    changed = tokens.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 31
    differs = (model(tokens) != model(changed)).any(dim=-1)[0]
    reach = 2 * (window - 1)  # each layer looks window - 1 tokens further back
    assert differs.nonzero().flatten().tolist() == list(range(4, 4 + reach + 1))


def test_logits_stay_below_their_cap_and_keep_their_order():
    model, tokens = build(replace(SMALL, logit_cap=2.0)).eval(), draw_tokens(1, 9)
    with torch.no_grad():
        model.token_embedding.weight.mul_(50)
        capped = model(tokens)
        plain = F.linear(model.final_norm(hidden_of(model, tokens)), model.unembedding.weight)
    assert plain.abs().max() > 4 and capped.abs().max() <= 2
    torch.testing.assert_close(capped, 2 * torch.tanh(plain / 2))


def hidden_of(model, tokens):
    with trace(model, only="residual_final") as run:
        model(tokens)
    return run["residual_final"]


# --- the same numbers as transformers' GPT-2 ---------------------------------------------------------------


def hugging_face_twin(model):
    """transformers' GPT-2 with this model's weights, and for each of its parameters the name of ours."""
    transformers = pytest.importorskip("transformers")
    config = model.config
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.context_length,
            n_embd=config.d_model,
            n_layer=config.n_layers,
            n_head=config.n_heads,
            n_inner=config.mlp_width,
            bos_token_id=0,
            eos_token_id=0,
        )
    ).eval()
    parts = {
        "attention_norm": "ln_1",
        "attention.qkv": "attn.c_attn",
        "attention.output": "attn.c_proj",
        "mlp_norm": "ln_2",
        "mlp.up": "mlp.c_fc",
        "mlp.down": "mlp.c_proj",
    }
    names = {
        "transformer.wte.weight": "token_embedding.weight",
        "transformer.wpe.weight": "position.embedding.weight",
        "transformer.ln_f.weight": "final_norm.weight",
        "transformer.ln_f.bias": "final_norm.bias",
    }
    for layer in range(config.n_layers):
        for ours, part in parts.items():
            for kind in ("weight", "bias"):
                names[f"transformer.h.{layer}.{part}.{kind}"] = f"blocks.{layer}.{ours}.{kind}"
    ours = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.copy_(like_conv1d(name, ours[names[name]]))
    return theirs, names


def like_conv1d(name, tensor):
    """GPT-2's Conv1D keeps its matrices (in, out); nn.Linear keeps them (out, in)."""
    return tensor.T if ".c_" in name and name.endswith("weight") else tensor


@pytest.mark.parametrize(
    ("n_layers", "n_heads", "d_model", "d_mlp"), [(1, 1, 8, None), (3, 4, 32, None), (2, 2, 24, 40)]
)
def test_gpt2_parity_with_transformers(n_layers, n_heads, d_model, d_mlp):
    config = replace(SMALL, n_layers=n_layers, n_heads=n_heads, d_model=d_model, d_mlp=d_mlp)
    model = build(config)
    with torch.no_grad():
        for parameter in model.parameters():  # all of them, the norms' and the biases too
            parameter.add_(0.2 * torch.randn_like(parameter))
    theirs, names = hugging_face_twin(model)
    tokens = draw_tokens(3, 24)
    logits, their_logits = model(tokens), theirs(tokens).logits
    torch.testing.assert_close(logits, their_logits, atol=1e-4, rtol=1e-4)

    for result in (logits, their_logits):
        F.cross_entropy(result[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, parameter in theirs.named_parameters():
        expected = parameter.grad
        torch.testing.assert_close(
            like_conv1d(name, gradients[names[name]]),
            expected,
            atol=1e-4,
            rtol=1e-3,
            msg=lambda m, n=name: f"{n}: {m}",
        )


# --- what is refused ---------------------------------------------------------------------------------------


def test_config_is_frozen_and_names_its_widths():
    assert (SMALL.d_head, SMALL.kv_heads, SMALL.mlp_width) == (8, 4, 128)
    assert GPTConfig(**asdict(SMALL)) == SMALL
    assert replace(SMALL, n_heads=2).kv_heads == 2
    with pytest.raises(FrozenInstanceError):
        SMALL.n_heads = 2


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        (
            {"d_model": 30},
            ValueError,
            "d_model = 30 cannot be shared among n_heads = 4.*7.50.*d_model = 32 would do",
        ),
        ({"n_kv_heads": 3}, ValueError, r"n_heads = 4 .*n_kv_heads = 3.*\[1, 2, 4\]"),
        ({"n_kv_heads": 8}, ValueError, "n_kv_heads = 8"),
        ({"n_heads": 0}, ValueError, "n_heads is 0"),
        ({"n_layers": -1}, ValueError, "n_layers is -1"),
        ({"vocab_size": 10.5}, TypeError, "vocab_size is 10.5"),
        ({"context_length": "8"}, TypeError, "context_length is '8'"),
        ({"n_layers": True}, TypeError, "n_layers is True"),
        ({"d_mlp": 0}, ValueError, "d_mlp is 0"),
        ({"dropout": 1.0}, ValueError, "dropout is 1.0"),
        ({"dropout": "0"}, TypeError, "dropout is '0'"),
        ({"dropout": float("nan")}, ValueError, "dropout is nan"),
        ({"bias": 1}, TypeError, "bias is 1"),
        (
            {"position": "relative"},
            ValueError,
            "position is 'relative'.*none, learned, sinusoidal, rotary, alibi",
        ),
        ({"norm": "batchnorm"}, ValueError, "norm is 'batchnorm'.*layernorm, rmsnorm"),
        ({"mlp": "relu"}, ValueError, "mlp is 'relu'.*gelu, squared_relu, swiglu"),
        ({"d_model": 36, "position": "rotary"}, ValueError, "d_head = 36 / 4 = 9 is odd"),
        ({"head_width": 7, "position": "rotary"}, ValueError, "d_head = head_width = 7 is odd"),
        ({"head_width": 0}, ValueError, "head_width is 0"),
        ({"window": 0}, ValueError, "window is 0; it needs to be at least 1"),
        ({"window": 2.5}, TypeError, "window is 2.5"),
        ({"score_cap": 0.0}, ValueError, "score_cap is 0.0; it needs to be above 0"),
        ({"logit_cap": float("inf")}, ValueError, "logit_cap is inf; it needs to be above 0 and finite"),
        ({"logit_cap": "30"}, TypeError, "logit_cap is '30'"),
        ({"norm_eps": 0.0}, ValueError, "norm_eps is 0.0"),
        ({"rotary_base": -1.0}, ValueError, "rotary_base is -1.0"),
        ({"rotary_base": None}, TypeError, "rotary_base is None"),
        ({"qk_norm": "yes"}, TypeError, "qk_norm is 'yes'"),
        (
            {"n_experts": 2, "n_active": 3},
            ValueError,
            "n_active = 3 experts .* n_experts = 2; .* from 1 to 2",
        ),
        ({"n_active": 0}, ValueError, "n_active is 0"),
        ({"balance": -0.1}, ValueError, "balance is -0.1; it needs to be at least 0"),
        ({"d_model": 9, "n_heads": 1, "position": "sinusoidal"}, ValueError, "d_model = 9 is odd"),
    ],
)
def test_a_config_that_cannot_work_is_refused(changes, error, words):
    with pytest.raises(error, match=words):
        replace(SMALL, **changes)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("tokens", "error", "words"),
    [
        (torch.tensor([[1, 31]]), IndexError, "tokens holds 31; vocab_size is 31.*0 to 30"),
        (torch.tensor([[-1, 3]]), IndexError, "tokens holds -1"),
        (torch.ones(1, 25, dtype=torch.long), ValueError, "25 tokens; context_length is 24"),
        (torch.ones(5, dtype=torch.long), ValueError, r"tokens has shape \(5,\)"),
        (torch.ones(1, 0, dtype=torch.long), ValueError, r"tokens has shape \(1, 0\)"),
        (torch.ones(1, 5), TypeError, "tokens has dtype torch.float32"),
        (torch.ones(1, 5, dtype=torch.bool), TypeError, "tokens has dtype torch.bool"),
        ([[1, 2]], TypeError, "tokens is a list.*torch.tensor"),
    ],
)
def test_tokens_that_cannot_be_read_are_refused(tokens, error, words):
    with pytest.raises(error, match=words):
        build(SMALL)(tokens)


def test_a_cache_that_does_not_fit_is_refused():
    model, tokens = build(SMALL).eval(), draw_tokens(1, 20)
    with pytest.raises(ValueError, match="cache has 1 layers; it needs the model's 3"):
        model(tokens, KeyValueCache(replace(SMALL, n_layers=1)))
    cache = KeyValueCache(SMALL)
    model(tokens, cache)
    with pytest.raises(
        ValueError, match="5 tokens after 20 in the cache; context_length is 24, so at most 4 fit"
    ):
        model(tokens[:, :5], cache)
    assert cache.length == 20
    handle = model.blocks[1].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(tokens[:, :2], cache)
    handle.remove()
    with pytest.raises(ValueError, match="cache was left half filled"):
        model(tokens[:, :2], cache)


def test_flops_of_an_impossible_length_are_refused():
    with pytest.raises(ValueError, match="seq is 25.*1 to context_length = 24"):
        count_flops(SMALL, 25)
