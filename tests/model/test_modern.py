"""The layouts that came after GPT-2, number for number those of transformers."""

import copy
import json
import random
from dataclasses import asdict, replace

import pytest
import safetensors.torch
import torch
import transformers
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from gptlib import load, save
from gptlib.formats.layouts import LLAMA, by_halves, by_pairs
from gptlib.generation.writing import generate_tokens
from gptlib.model.cache import KeyValueCache
from gptlib.model.config import GPTConfig
from gptlib.model.experts import balance_loss, watch_balance
from gptlib.model.gpt import GPT
from gptlib.text.tokenizer import Tokenizer

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()

TOKENIZER = Tokenizer.train(["the cat sat on the mat. the dog sat on the cat! " * 3], 270)
ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "mixtral": "MixtralForCausalLM",
}
CASES = [(kin, seed) for kin in ARCHITECTURES for seed in range(5)]


def draw_config(kin, seed):
    """A random small shape; theirs needs whole heads in d_model, and experts in steps of 4."""
    draw = random.Random(seed)
    n_heads = draw.choice([1, 2, 4, 6])
    windows = {"llama": [None], "mistral": [1, 3, 9]}
    experts = {}
    if kin == "mixtral":
        n_experts = draw.randint(2, 5)
        experts = {"n_experts": n_experts, "n_active": draw.randint(1, n_experts), "balance": 0.02}
    return GPTConfig(
        vocab_size=TOKENIZER.vocab_size,
        context_length=draw.randint(12, 30),
        n_layers=draw.randint(1, 3),
        n_heads=n_heads,
        d_model=n_heads * draw.choice([4, 8]),
        n_kv_heads=draw.choice([n for n in range(1, n_heads + 1) if n_heads % n == 0]),
        d_mlp=4 * draw.randint(2, 10),
        bias=False,
        position="rotary",
        norm="rmsnorm",
        mlp="swiglu",
        tie_embeddings=draw.random() < 0.5,
        head_width=draw.choice([None, 2, 6, 10]),
        norm_eps=draw.choice([1e-5, 1e-6, 1e-2]),
        rotary_base=draw.choice([10_000.0, 1_000_000.0, 50.0]),
        qk_norm=kin == "qwen3",
        window=draw.choice(windows.get(kin, [None, 4])),
        **experts,
    )


def build(config, seed=0):
    """A random model in which every parameter matters: no norm is 1."""
    torch.manual_seed(seed)
    model = GPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def draw_tokens(config):
    return torch.randint(config.vocab_size, (2, config.context_length))


def by_their_names(saved, config):
    """Tensors of a saved folder by the names of transformers' parameters, which stack the experts."""
    saved = {name.replace("block_sparse_moe", "mlp"): tensor for name, tensor in saved.items()}
    for layer in range(config.n_layers if config.n_experts else 0):
        experts = f"model.layers.{layer}.mlp.experts"
        gate, up, down = (
            torch.stack([saved.pop(f"{experts}.{n}.w{part}.weight") for n in range(config.n_experts)])
            for part in (1, 3, 2)
        )
        saved |= {f"{experts}.gate_up_proj": torch.cat([gate, up], dim=1), f"{experts}.down_proj": down}
    return saved


def assert_equal_models(ours, theirs, folder):
    """Logits, logits by both caches, and the gradient of every parameter."""
    config, tokens = ours.config, draw_tokens(ours.config)
    expected = theirs(tokens).logits
    torch.testing.assert_close(ours(tokens), expected, atol=1e-4, rtol=0)
    cache = KeyValueCache(config, len(tokens))
    cut = tokens.split([5, 1, 1, 3, tokens.shape[1] - 10], dim=1)
    pieces = torch.cat([ours(piece, cache) for piece in cut], dim=1)
    torch.testing.assert_close(pieces, expected, atol=1e-4, rtol=0)

    for logits in (ours(tokens), expected):
        F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    # A model that holds gradients where weights belong is saved with each of them at its place in theirs.
    gradients = copy.deepcopy(ours)
    with torch.no_grad():
        for holder, parameter in zip(gradients.parameters(), ours.parameters(), strict=True):
            holder.copy_(parameter.grad)
    save(folder / "gradients", gradients, TOKENIZER)
    saved = safetensors.torch.load_file(folder / "gradients" / "model.safetensors")
    saved = by_their_names(saved, config)
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(saved[name], parameter.grad, atol=1e-3, rtol=0, msg=name)


@pytest.mark.parametrize(("kin", "seed"), CASES)
def test_what_we_saved_gives_the_same_numbers_there_and_back_here(kin, seed, tmp_path):
    ours = build(draw_config(kin, seed), seed)
    folder = save(tmp_path / "model", ours, TOKENIZER)
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    assert type(theirs).__name__ == ARCHITECTURES[kin]
    assert_equal_models(ours, theirs, tmp_path)
    again, tokenizer = load(folder)
    assert tokenizer == TOKENIZER and again.config == ours.config and not again.training
    tokens = draw_tokens(ours.config)
    assert torch.equal(again(tokens), ours(tokens))


@pytest.mark.parametrize(("kin", "seed"), CASES[::2])
def test_what_transformers_saved_gives_the_same_numbers_here(kin, seed, tmp_path):
    shape = draw_config(kin, seed)
    described = save(tmp_path / "described", build(shape), TOKENIZER) / "config.json"
    torch.manual_seed(seed)
    theirs = AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(described)).eval()
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size=["1KB", "1GB"][seed % 2])
    ours, tokenizer = load(tmp_path / "theirs")
    assert ours.config == shape and tokenizer is None
    assert_equal_models(ours, theirs, tmp_path)


@pytest.mark.parametrize("kin", ["mistral", "mixtral"])
def test_a_sliding_window_writes_the_same_text(kin):
    """By the caches of both, which forget: three times as many tokens as the window holds."""
    ours = build(replace(draw_config(kin, 0), context_length=40, window=5))
    start = draw_tokens(ours.config)[:, :7]
    found = generate_tokens(ours, start, max_new_tokens=20, temperature=0.0)
    assert torch.equal(found, generate_tokens(ours, start, max_new_tokens=20, temperature=0.0, cached=False))


def test_the_balance_loss_is_mixtrals(tmp_path):
    """With one layer: theirs pools the layers. Theirs counts each choice, so it is n_active times ours."""
    ours = build(replace(draw_config("mixtral", 1), n_layers=1, n_experts=5, n_active=2))
    theirs = AutoModelForCausalLM.from_pretrained(save(tmp_path, ours, TOKENIZER))
    tokens = draw_tokens(ours.config)
    expected = theirs(tokens, output_router_logits=True)
    with watch_balance(ours.train()) as losses:
        ours(tokens)
    torch.testing.assert_close(losses[0], ours.config.balance * expected.aux_loss / 2, atol=1e-5, rtol=1e-4)
    probabilities = expected.router_logits[0].softmax(dim=-1)
    torch.testing.assert_close(2 * balance_loss(probabilities, 2), expected.aux_loss, atol=1e-5, rtol=1e-4)


def test_halves_and_pairs_are_each_others_way_back():
    weight = torch.randn(24, 5)
    assert torch.equal(by_pairs(by_halves(weight, 6), 6), weight)
    assert by_halves(torch.arange(6.0), 6).tolist() == [0, 2, 4, 1, 3, 5]


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "model", build(draw_config("qwen3", 1)), TOKENIZER)


def change(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ({"attention_bias": True}, "attention_bias = True"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}}, "llama3"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}}, "linear"),
        (
            {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
            "sliding_window of 4 in some",
        ),
        (
            {"model_type": "gemma2"},
            "'gemma2'; it needs to be one of gpt2, gpt_neox, llama, mistral, qwen3, mixtral, gptlib",
        ),
        ({"head_dim": 7}, "d_head = head_width = 7 is odd"),
        ({"hidden_size": 1000}, "misshapen model.embed_tokens.weight"),
    ],
)
def test_what_our_gpt_cannot_express_is_refused_by_name(folder, settings, words):
    change(folder, **settings)
    with pytest.raises(ValueError, match=words):
        load(folder)


def test_a_missing_size_and_a_missing_tensor_are_named(folder):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    del weights["model.layers.0.self_attn.k_norm.weight"]
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing model\.layers\.0\.self_attn\.k_norm\.weight"):
        load(folder)
    path = folder / "config.json"
    path.write_text(json.dumps({"model_type": "llama", "vocab_size": 5}))
    with pytest.raises(ValueError, match="does not say hidden_size, intermediate_size"):
        load(folder)


def test_older_files_say_their_base_elsewhere(folder):
    change(folder, rope_parameters=None, rope_theta=50.0)
    assert load(folder)[0].config.rotary_base == 50.0


def test_reading_a_config_leaves_it_as_it_is():
    given = {"model_type": "llama"} | LLAMA.describe(replace(draw_config("llama", 0), head_width=None))
    given |= {"rope_scaling": {"rope_type": "default"}}
    before = copy.deepcopy(given)
    LLAMA.read(given, "here")
    assert given == before


def test_a_gpt2_is_read_as_one(tmp_path):
    ours = build(GPTConfig(TOKENIZER.vocab_size, context_length=12, n_layers=1, n_heads=2, d_model=8))
    again, _ = load(save(tmp_path, ours, TOKENIZER))
    assert asdict(again.config) == asdict(ours.config)


@pytest.mark.parametrize(
    "setting",
    [
        {"score_cap": 5.0},
        {"logit_cap": 5.0, "window": 2},
        {"n_experts": 2, "qk_norm": True},
        {"n_experts": 2, "norm": "layernorm"},
    ],
)
def test_what_transformers_has_no_layout_for_it_refuses(setting, tmp_path):
    """Each differs in one part from a layout that it has."""
    model = build(replace(draw_config("llama", 0), **setting))
    folder = save(tmp_path, model, TOKENIZER)
    with pytest.raises(ValueError, match="gptlib"):
        AutoModelForCausalLM.from_pretrained(folder)
    tokens = draw_tokens(model.config)
    assert torch.equal(load(folder)[0](tokens), model(tokens))
