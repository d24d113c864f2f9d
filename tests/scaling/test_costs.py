"""The formulas of scaling.costs, each held to what scaling.meters measures on a running model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptlib.model.cache import KeyValueCache
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.model.presets import PRESETS
from gptlib.scaling.costs import (
    HARDWARE,
    all_reduce_bytes,
    attainable,
    cache_memory,
    decode_bytes,
    generation_flops,
    generation_memory,
    sharded_memory,
    training_bytes,
    training_flops,
    training_memory,
    training_seconds,
)
from gptlib.scaling.counting import count_active_parameters, count_flops, count_parameters
from gptlib.scaling.meters import (
    Traffic,
    best_seconds,
    kept_for_backward,
    matmul_peak,
    measured_flops,
    memory_bandwidth,
    optimizer_memory,
    peak_memory,
)
from gptlib.training.evaluation import loss_of
from gptlib.training.optimizers import make_optimizer

WITHIN = 0.1  # what "predicted" means here
SMALL = GPTConfig(vocab_size=300, context_length=64, n_layers=3, n_heads=4, d_model=64)
VARIANTS = {
    "gpt2": SMALL,
    "untied": replace(SMALL, tie_embeddings=False, bias=False),
    "grouped": replace(SMALL, n_kv_heads=2, d_mlp=100),
    "alibi": replace(SMALL, position="alibi"),
    "rotary and grouped": replace(SMALL, n_kv_heads=1, position="rotary", bias=False),
    "llama": replace(SMALL, norm="rmsnorm", mlp="swiglu", d_mlp=172, position="rotary", bias=False),
    "squared": replace(SMALL, mlp="squared_relu", d_mlp=100),
}
configs = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
shapes = pytest.mark.parametrize(("batch_size", "seq"), [(8, 64), (1, 8)])


def build(config):
    torch.manual_seed(0)
    return GPT(config)


def draw(batch_size, seq):
    return torch.randint(300, (batch_size, seq), generator=torch.Generator().manual_seed(0))


@configs
def test_a_training_step_costs_the_operations_that_torch_counts(config):
    model, tokens = build(config), draw(2, 48)
    assert measured_flops(lambda: loss_of(model, tokens, tokens).backward()) == training_flops(config, 96, 48)


@configs
def test_generation_costs_the_operations_that_torch_counts(config):
    model, cache, tokens = build(config).eval(), KeyValueCache(config), draw(1, 30)
    expected = generation_flops(config, n_prompt=20, n_new=11)  # the last is not read

    def decode():
        for place in range(20, 30):
            model(tokens[:, place : place + 1], cache)

    with torch.no_grad():
        assert measured_flops(lambda: model(tokens[:, :20], cache)) == expected["prefill"]
        assert measured_flops(decode) == expected["decode"]


@configs
@shapes
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_training_holds_the_memory_that_is_predicted(config, batch_size, seq, optimizer):
    model, tokens = build(config), draw(batch_size, seq)
    updates = make_optimizer(model, optimizer, 1e-3, 0.0, (0.9, 0.95))

    def step():
        updates.zero_grad()
        loss_of(model, tokens, tokens).backward()
        updates.step()

    predicted = training_memory(config, batch_size, seq, optimizer)
    step()  # the first makes the optimizer's state
    assert optimizer_memory(updates) == pytest.approx(predicted["optimizer"], rel=WITHIN)
    gradients = sum(parameter.grad.nbytes for parameter in model.parameters())
    assert gradients == predicted["gradients"]
    assert gradients == predicted["weights"]
    updates.zero_grad()
    held = predicted["weights"] + optimizer_memory(updates)
    assert held + peak_memory(step) == pytest.approx(predicted["peak"], rel=WITHIN)
    kept = kept_for_backward(lambda: loss_of(model, tokens, tokens), model)
    if seq > 8:  # in a tiny batch, what does not grow with it is seen
        assert kept == pytest.approx(predicted["activations"], rel=WITHIN)


@configs
def test_a_cache_holds_the_memory_that_is_predicted(config):
    cache = KeyValueCache(config, batch_size=3)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert held == cache_memory(config, 3) == generation_memory(config, 3)["cache"]
    assert peak_memory(lambda: KeyValueCache(config, batch_size=3)) == held


@pytest.mark.parametrize("batch_size", [1, 8, 32])
@pytest.mark.parametrize("tie_embeddings", [True, False])
def test_decoding_moves_the_bytes_that_are_predicted(batch_size, tie_embeddings):
    config = replace(PRESETS["storyteller"], tie_embeddings=tie_embeddings)
    model, cache = build(config), KeyValueCache(config, batch_size)
    with torch.no_grad():
        model(draw(batch_size, 200), cache)
        with Traffic() as traffic:
            model(draw(batch_size, 1), cache)
    assert traffic.bytes == pytest.approx(decode_bytes(config, batch_size, 201), rel=WITHIN)


@pytest.mark.parametrize("name", ["gpt2", "untied", "grouped"])
@pytest.mark.parametrize(("batch_size", "seq"), [(8, 64), (2, 48)])
def test_training_moves_the_bytes_that_are_predicted(name, batch_size, seq):
    config = VARIANTS[name]
    model, tokens = build(config), draw(batch_size, seq)
    with Traffic() as traffic:
        loss_of(model, tokens, tokens).backward()
    assert traffic.bytes == pytest.approx(training_bytes(config, batch_size, seq), rel=WITHIN)


# --- published numbers ------------------------------------------------------------------------------------


def test_gpt3s_training_costs_what_its_authors_say():
    counted = training_flops(PRESETS["gpt3"], 300_000_000_000)
    assert counted == pytest.approx(3.14e23, rel=0.05)  # Brown et al. 2020, table D.1, without attention


def test_adamw_in_float32_holds_sixteen_bytes_a_parameter():
    parts = training_memory(PRESETS["gpt2"], batch_size=1)
    n_parameters = count_parameters(PRESETS["gpt2"])["total"]
    assert parts["weights"] + parts["gradients"] + parts["optimizer"] == 16 * n_parameters


# --- laws that hold for all sizes ---------------------------------------------------------------------------

many = st.integers(1, 10**6)


@given(n_bytes=many, n_workers=st.integers(1, 1000))
def test_an_all_reduce_sends_less_than_twice_the_bytes_and_nothing_alone(n_bytes, n_workers):
    sent = all_reduce_bytes(n_bytes, n_workers)
    assert n_workers > 1 or sent == 0
    assert sent < 2 * n_bytes
    assert sent <= all_reduce_bytes(n_bytes, n_workers + 1)


@given(n_workers=st.integers(1, 512))
def test_each_stage_of_sharding_cuts_up_more_and_nothing_is_lost(n_workers):
    parts = training_memory(SMALL, batch_size=2)
    held = [sharded_memory(parts, n_workers, stage) for stage in range(4)]
    totals = [sum(worker.values()) for worker in held]
    assert totals == sorted(totals, reverse=True)
    assert totals[0] == sum(parts[name] for name in held[0])
    for name in ("weights", "gradients", "optimizer"):
        assert held[3][name] * n_workers == pytest.approx(parts[name])
    assert held[3]["activations"] == parts["activations"]


@given(intensity=st.floats(1e-3, 1e6))
@pytest.mark.parametrize("hardware", HARDWARE.values(), ids=HARDWARE)
def test_the_roofline_bends_at_the_ridge(hardware, intensity):
    reached = attainable(intensity, hardware.peak, hardware.bandwidth)
    assert (reached == hardware.peak) == (intensity >= hardware.ridge)


def test_time_is_operations_over_what_the_devices_do():
    assert training_seconds(1e15, peak=1e12, share=0.5, n_devices=4) == 500


# --- the meters themselves, on work whose cost is known -----------------------------------------------------


def test_peak_memory_is_the_most_held_at_once():
    def work():
        first = torch.ones(250_000)
        second = first * 2
        del first
        return torch.ones(100_000) + second[:100_000]

    assert peak_memory(work) == pytest.approx(8 * 250_000, abs=100)  # the 2 is a tensor too
    assert peak_memory(lambda: None) == 0


def test_memory_that_several_operations_look_at_is_kept_once():
    layer = torch.nn.Linear(100, 100, bias=False)
    x = torch.ones(50, 100, requires_grad=True)
    assert kept_for_backward(lambda: x.exp().sum(), layer) == 4 * 5000  # exp keeps what it gave
    assert kept_for_backward(lambda: (layer(x) + layer(x)).sum(), layer) == 4 * 5000  # both keep x


def test_traffic_counts_reads_and_writes_but_no_views():
    x, table = torch.ones(100, 10), torch.ones(5000, 10)
    with Traffic() as traffic:
        x.T.reshape(2, 500)[:, ::2].T  # noqa: B018
    assert traffic.bytes == 8 * 1000  # the transpose cannot be reshaped without a copy
    with Traffic() as traffic:
        x + x
        torch.nn.functional.embedding(torch.arange(7), table)
    assert traffic.bytes == 3 * 4000 + 8 * 7 + 4 * 70


def test_large_products_are_faster_than_tiny_ones_and_a_run_takes_its_time():
    assert matmul_peak(sizes=(512,), rounds=3) > 2 * matmul_peak(sizes=(8,), rounds=3)
    assert memory_bandwidth(2**22, rounds=3) > 1e8
    assert best_seconds(lambda: torch.ones(300, 300) @ torch.ones(300, 300), rounds=2) > 1e-6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_peak_memory_is_the_allocators():
    assert peak_memory(lambda: torch.ones(2**20, device="cuda"), "cuda") == 2**22


# --- what cannot be is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: training_flops(SMALL, 0), "n_tokens is 0"),
        (lambda: training_memory(replace(SMALL, n_experts=4), 1), "n_experts is 4.*meters can measure it"),
        (lambda: training_memory(SMALL, 0), "batch_size is 0"),
        (lambda: training_memory(SMALL, 1, 65), "65 tokens do not fit; context_length is 64"),
        (lambda: training_memory(SMALL, 1, 8, "sgd"), "optimizer is 'sgd'.*adamw, muon"),
        (lambda: training_bytes(VARIANTS["alibi"], 1, 8), "position is 'alibi'.*meters can measure it"),
        (lambda: training_bytes(replace(SMALL, position="rotary"), 1, 8), "position is 'rotary'"),
        (lambda: training_bytes(VARIANTS["llama"], 1, 8), "norm is 'rmsnorm'.*meters can measure it"),
        (lambda: generation_flops(SMALL, 60, 6), "seq is 65"),
        (lambda: cache_memory(SMALL, 1, 65), "65 tokens do not fit"),
        (lambda: all_reduce_bytes(8, 0), "n_workers is 0"),
        (lambda: sharded_memory(training_memory(SMALL, 1), 2, 4), "stage is 4; it needs to be 0, 1, 2 or 3"),
        (lambda: training_seconds(1e9, 1e9, 1.2), "share is 1.2.*nothing exceeds its peak"),
        (lambda: attainable(0.0, 1e9, 1e9), "intensity is 0.0"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


PARTS = {"weights": 8, "gradients": 8, "optimizer": 16, "activations": 4}


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: count_parameters(None), "config is None; it needs a GPTConfig"),
        (lambda: count_active_parameters({}), "config is a dict"),
        (lambda: count_flops("gpt2", 8), "config is 'gpt2'"),
        (lambda: count_flops(SMALL, 2.5), "seq is 2.5"),
        (lambda: count_flops(SMALL, None), "seq is None"),
        (lambda: training_flops(None, 8), "config is None"),
        (lambda: training_flops(SMALL, "8"), "n_tokens is '8'"),
        (lambda: training_memory(SMALL, None), "batch_size is None"),
        (lambda: cache_memory(None, 1), "config is None"),
        (lambda: generation_memory(SMALL, 1, "4"), "bytes_per_number is '4'"),
        (lambda: decode_bytes(SMALL, [1], 8), r"batch_size is \[1\]"),
        (lambda: all_reduce_bytes(None, 2), "n_bytes is None"),
        (lambda: sharded_memory(None, 2, 1), "parts is None"),
        (lambda: sharded_memory({"weights": 8}, 2, 1), r"parts\['gradients'\] is None"),
        (lambda: training_seconds(1, 1, None), "share is None"),
        (lambda: matmul_peak(8), "sizes is 8"),
        (lambda: matmul_peak((8,), rounds=None), "rounds is None"),
        (lambda: memory_bandwidth(None), "n_bytes is None"),
        (lambda: best_seconds(lambda: 1, "2"), "rounds is '2'"),
        (lambda: peak_memory(lambda: 1, 7), "device is 7"),
        (lambda: kept_for_backward(lambda: torch.ones(1), None), "model is None"),
        (lambda: optimizer_memory({}), "optimizer is a dict"),
    ],
)
def test_wrong_values_are_refused_by_name(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("kind", [np.int8, np.int32, np.int64])
def test_numbers_of_numpy_are_numbers_and_do_not_overflow(kind):
    large = replace(SMALL, vocab_size=2**20)
    n, many = kind(60), np.iinfo(kind).max
    assert count_flops(large, n) == count_flops(large, 60)
    assert training_flops(large, many, n) == training_flops(large, int(many), 60) > 0
    assert generation_flops(large, kind(6), kind(7)) == generation_flops(large, 6, 7)
    assert training_memory(large, many, n) == training_memory(large, int(many), 60)
    assert training_bytes(large, many, n) == training_bytes(large, int(many), 60)
    assert generation_memory(large, many, kind(4)) == generation_memory(large, int(many))
    assert decode_bytes(large, many, n, kind(2)) == decode_bytes(large, int(many), 60, 2)
    assert all_reduce_bytes(many, kind(4)) == all_reduce_bytes(int(many), 4)
    assert sharded_memory(PARTS, kind(2), kind(3)) == sharded_memory(PARTS, 2, 3)
    assert training_seconds(many, 10.0, 0.5, many) == training_seconds(int(many), 10.0, 0.5, int(many))
