"""The one door: whatever `save` accepts, `load` returns; what it cannot write it refuses beforehand."""

import copy
import json
import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModelForCausalLM

from gptlib import GPT, GPTConfig, Tokenizer, load, save
from gptlib.formats.fast_tokenizer import to_fast_tokenizer
from gptlib.formats.layouts import LAYOUTS, layout_for
from gptlib.formats.wrapped_tokenizer import WrappedTokenizer
from gptlib.interpret.tracing import trace
from gptlib.shipped import data_folder, model_names
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.corpora import TokenFile
from gptlib.training.checkpoints import CHECKPOINT_NAME, whole_model
from gptlib.training.config import TrainConfig
from gptlib.training.conversations import grow, with_roles
from gptlib.training.finetuning import Classifier, fingerprint, save_adapter
from gptlib.training.loop import train
from gptlib.training.lora import add_lora, lora_layers, without_lora

TEXT = "the cat sat on the mat. the dog sat on the cat! " * 3
BPE = Tokenizer.train([TEXT], 270)
NO_END = Tokenizer.train([TEXT], 270, special_tokens=())
BY_WORD = Tokenizer(BPE.ranks, BPE.special_tokens, pattern=r"\s+|\S+")
CLASH = Tokenizer(BPE.ranks, {"<|endoftext|>": 269, "the": 270})  # a name that is spelled as a token is
LETTERS = CharacterTokenizer.train(TEXT)
CASED = to_fast_tokenizer(BPE) | {"normalizer": {"type": "Lowercase"}}
FOREIGN = WrappedTokenizer(json.dumps(CASED, indent=3), BPE.end_of_text)

LLAMA = {"position": "rotary", "norm": "rmsnorm", "mlp": "swiglu", "bias": False}
EXPERTS = {"n_experts": 3, "n_active": 2, "balance": 0.5}
SHAPES = {
    "gpt2": {},
    "gpt2 without biases": {"bias": False},
    "gpt2 by the book": {"n_kv_heads": 2, "head_width": 4, "d_mlp": 32, "norm_eps": 1e-3, "dropout": 0.25},
    "gpt_neox": {"position": "rotary", "rotary_base": 50},
    "gpt_neox without biases": {"position": "rotary", "bias": False, "d_mlp": 20},
    "llama": LLAMA | {"n_kv_heads": 1, "dropout": 0.1},
    "wide heads": LLAMA | {"head_width": 6},
    "mistral": LLAMA | {"window": 3},
    "qwen3": LLAMA | {"qk_norm": True, "window": 3},
    "mixtral": LLAMA | EXPERTS,
    "no position": {"position": "none"},
    "sinusoidal": {"position": "sinusoidal"},
    "alibi": {"position": "alibi", "n_kv_heads": 1},
    "experts with GELU": EXPERTS,
    "caps": LLAMA | {"score_cap": 2, "logit_cap": 3.5},
    "mixed": {"norm": "rmsnorm", "mlp": "swiglu", "window": 2, "qk_norm": True},
}
OWN = ["no position", "sinusoidal", "alibi", "experts with GELU", "caps", "mixed"]
TOKENIZERS = {
    "bpe": BPE,
    "no end": NO_END,
    "by word": BY_WORD,
    "clash": CLASH,
    "characters": LETTERS,
    "another library's": FOREIGN,
    "none": None,
}


def build(shape="gpt2", vocab_size=BPE.vocab_size, seed=0, **changes):
    """A random model in which every parameter matters: norms and biases are not 1 and 0."""
    torch.manual_seed(seed)
    settings = {"context_length": 12, "n_layers": 2, "n_heads": 2, "d_model": 8} | SHAPES[shape] | changes
    model = GPT(GPTConfig(vocab_size, **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def adapted(model):
    add_lora(model, rank=2)
    for layer in lora_layers(model):
        nn.init.normal_(layer.lora_b, std=0.1)
    return model


@torch.no_grad()
def logits(model):
    return model(torch.arange(24).view(2, 12) % model.config.vocab_size)


# What may have happened to a model before it is saved; each may change the model or put another in its place.
STATES = {
    "plain": lambda model: model,
    "in training": lambda model: model.train(),
    "float16": lambda model: model.half(),
    "bfloat16": lambda model: model.bfloat16(),
    "float64": lambda model: model.double(),
    "compiled": torch.compile,
    "compiled in place": lambda model: model.compile() or model,
    "LoRA attached": adapted,
    "LoRA in its weights": lambda model: [layer.merge() for layer in lora_layers(adapted(model))] and model,
    "LoRA taken away": lambda model: without_lora(adapted(model)),
    "compiled LoRA": lambda model: torch.compile(adapted(model)),
    "traced before": lambda model: traced(model),
}


def traced(model):
    with trace(model):
        logits(model)
    return model


# ----------------------------------------------------------------------------------------------- the property


@pytest.mark.parametrize("shape", SHAPES)
@given(
    state=st.sampled_from(list(STATES)),
    name=st.sampled_from(list(TOKENIZERS)),
    padding=st.sampled_from([0, 5]),
    tied=st.booleans(),
    seed=st.integers(0, 9),
)
@settings(max_examples=4)
def test_what_save_accepts_load_returns(shape, state, name, padding, tied, seed):
    tokenizer = TOKENIZERS[name]
    vocab_size = padding + (270 if tokenizer is None else tokenizer.vocab_size)
    plain = build(shape, vocab_size, seed, tie_embeddings=tied)
    model = STATES[state](plain)
    # The compiled one computes what was compiled, and takes a minute to do it.
    inner = getattr(model, "_orig_mod", model)
    inner._compiled_call_impl = None
    training = inner.training
    expected, before = (
        logits(inner.eval()),
        {name: value.clone() for name, value in inner.state_dict().items()},
    )
    inner.train(training)
    with TemporaryDirectory() as folder:
        path = save(f"{folder}/model", model, tokenizer)
        assert path == Path(folder) / "model"
        again, same = load(path)
        alone, _ = load(Path(path / "model.safetensors").rename(Path(folder) / "alone.safetensors"))
    assert inner.training == training
    assert all(torch.equal(value, before[name]) for name, value in inner.state_dict().items())
    assert not again.training and again.config == inner.config and same == tokenizer
    assert again.token_embedding.weight.dtype == inner.token_embedding.weight.dtype
    assert (again.unembedding.weight is again.token_embedding.weight) == tied
    assert all(parameter.requires_grad for parameter in again.parameters())
    if state in ("LoRA attached", "compiled LoRA"):  # added to the weights, which rounds as it does there
        expected = logits(without_lora(inner).eval())
    assert torch.equal(logits(again), expected)
    assert torch.equal(logits(alone), logits(again))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_tied_embedding_is_read_under_either_name(shape, tmp_path):
    model = build(shape)
    folder = save(tmp_path / "model", model, BPE)
    path = folder / "model.safetensors"
    tensors, layout = safetensors.torch.load_file(path), layout_for(model.config)
    embedding, head = (
        next(name for name in (layout.prefix + piece, piece) if part == "unembedding" or name in tensors)
        for part in ("token_embedding", "unembedding")
        for piece in [layout.pieces(f"{part}.weight", model.config)[0].name]
    )
    rows = tensors.pop(embedding)
    for under in ({embedding: rows}, {head: rows}, {embedding: rows, head: rows.clone()}):
        safetensors.torch.save_file(tensors | under, path)
        again, _ = load(folder)
        assert torch.equal(logits(again), logits(model))
        assert again.unembedding.weight is again.token_embedding.weight
    safetensors.torch.save_file(tensors | {embedding: rows, head: rows + 1}, path)
    with pytest.raises(ValueError, match="though the config ties them"):
        load(folder)


def test_a_fine_tuned_model_is_saved_with_its_fine_tuning(tmp_path):
    """For transformers too, which passes over tensors that it does not know without a word."""
    model = build("gpt2")
    before = logits(model)
    after = logits(adapted(model))
    assert not torch.allclose(before, after, atol=1e-2)
    folder = save(tmp_path / "model", model, BPE)
    theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        found = theirs(torch.arange(24).view(2, 12) % 270).logits
    torch.testing.assert_close(found, after, atol=1e-4, rtol=1e-4)
    assert lora_layers(model) and torch.equal(logits(model), after)


def test_new_tokens_are_saved_with_the_model(tmp_path):
    new = with_roles(BPE, ["小猫在公园。"] * 3, 4)
    model = adapted(grow(build(tie_embeddings=False), BPE, new))
    again, tokenizer = load(save(tmp_path / "model", model, new))
    assert tokenizer == new and again.config.vocab_size == new.vocab_size > BPE.vocab_size
    torch.testing.assert_close(logits(again), logits(model), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_reads_a_folder_or_refuses_it_by_name(shape, tmp_path):
    model = build(shape)
    folder = save(tmp_path / "model", model, BPE)
    assert json.loads((folder / "config.json").read_text())["model_type"] == (
        "gptlib" if shape in OWN else layout_for(model.config).model_type
    )
    if shape in OWN:
        with pytest.raises(ValueError, match="gptlib"):
            AutoModelForCausalLM.from_pretrained(folder)
    elif shape != "mixtral":  # its stacked experts are held equal in tests/model/test_modern.py
        theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
        with torch.no_grad():
            found = theirs(torch.arange(24).view(2, 12) % 270).logits
        torch.testing.assert_close(found, logits(model), atol=1e-4, rtol=1e-4)


def test_every_layout_is_met_here():
    assert {layout_for(build(shape).config) for shape in SHAPES} == set(LAYOUTS.values())


def test_a_tokenizer_that_transformers_has_not_makes_the_folder_ours(tmp_path):
    for number, tokenizer in enumerate((NO_END, BY_WORD, CLASH, LETTERS)):
        folder = save(tmp_path / str(number), build(vocab_size=tokenizer.vocab_size), tokenizer)
        assert json.loads((folder / "config.json").read_text())["model_type"] == "gptlib"
        assert sorted(path.name for path in folder.iterdir()) == [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
        ]


def test_saving_again_leaves_nothing_of_the_model_before(tmp_path):
    save(tmp_path / "model", build(), BPE)
    folder = save(tmp_path / "model", build("alibi", LETTERS.vocab_size), LETTERS)
    assert load(folder)[1] == LETTERS and not (folder / "tokenizer_config.json").exists()
    assert load(save(folder, build("llama"), None))[1] is None


def test_equal_models_make_equal_files(tmp_path):
    one, two = (save(tmp_path / name, build(), BPE) for name in "ab")
    assert all(path.read_bytes() == (two / path.name).read_bytes() for path in one.iterdir())


# ------------------------------------------------------------------------------------------ what is not saved


def hooked(model):
    model.blocks[1].mlp.register_forward_hook(lambda module, inputs, output: 0 * output)
    return model


def put(model, place, value):
    *way, name = place.split(".")
    part = model.get_submodule(".".join(way))
    setattr(part, name, value)
    return model


def with_weight(model, value):
    with torch.no_grad():
        model.blocks[0].mlp.up.weight[0, 0] = value
    return model


class Louder(GPT):
    def forward(self, tokens, cache=None):
        return 2 * super().forward(tokens, cache)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: hooked(build()), "blocks.1.mlp has a hook"),
        (lambda: put(build(), "blocks.0.mlp", nn.Identity()), "blocks.0.mlp.down is missing"),
        (
            lambda: put(build(), "blocks.0.mlp.gelu", nn.ReLU()),
            "blocks.0.mlp.gelu is a ReLU instead of a GELU",
        ),
        (lambda: put(build(), "blocks.0.mlp.gelu.approximate", "none"), "blocks.0.mlp.gelu has"),
        (lambda: put(build(), "final_norm.eps", 0.1), "final_norm has another eps"),
        (lambda: put(build(), "unembedding", nn.Linear(8, 270)), "unembedding has the shape .*bias=True"),
        (lambda: put(build(), "unembedding", nn.Identity()), "unembedding is a Identity instead of"),
        (
            lambda: put(build(), "unembedding.weight", nn.Parameter(torch.ones(270, 8))),
            "unembedding of its own",
        ),
        (lambda: put(build(), "extra", nn.Linear(2, 2)), "extra is no part of it"),
        (lambda: put(build(), "blocks", build().blocks[:1]), "blocks.1 is missing"),
        (lambda: put(build(), "config", replace(build().config, score_cap=3)), "instead of"),
        (lambda: put(build(), "blocks.0.attention.forward", lambda x, cache: x), "another forward"),
        (
            lambda: put(build("sinusoidal"), "position.table", torch.zeros(12, 8)),
            "position has another table",
        ),
        (lambda: build("sinusoidal").half().float(), "position has another table"),
        (lambda: put(build(), "token_embedding.weight", nn.Parameter(torch.ones(271, 8))), "token_embedding"),
        (lambda: Louder(build().config), "it is a Louder, not a GPT"),
        (lambda: Classifier(build(), 3), "it is a Classifier, not a GPT"),
        (lambda: nn.Linear(2, 2), "it is a Linear, not a GPT"),
        (lambda: hooked(adapted(build())), "has a hook"),
        (lambda: with_weight(build(), torch.nan), "nan or inf in blocks.0.mlp.up.weight"),
        (lambda: with_weight(build(), torch.inf), "nan or inf in blocks.0.mlp.up.weight"),
        (lambda: build().to("meta"), "on the meta device"),
        (lambda: put(build(), "final_norm", build().final_norm.half()), "float16.*float32.*model.float"),
        (lambda: adapted(build().bfloat16()), "LoRA in torch.bfloat16"),
        (lambda: build(vocab_size=269), "tokenizer has vocab_size 270; it needs at most the model's, 269"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is(make, words, tmp_path):
    model = make()
    with pytest.raises(ValueError, match=words):
        save(tmp_path / "model", model, BPE)
    assert not (tmp_path / "model").exists()
    before = {path: path.read_bytes() for path in save(tmp_path / "model", build(), BPE).iterdir()}
    with pytest.raises(ValueError, match=words):
        save(tmp_path / "model", model, BPE)
    assert {path: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before


def test_files_of_others_are_named_and_left(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="holds pytorch_model.bin"):
        save(tmp_path, build(), BPE)
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_model.bin"]


def test_a_tokenizer_of_another_library_is_refused(tmp_path, without_shape_checks):
    with pytest.raises(TypeError, match="tokenizer is a str"):
        save(tmp_path / "model", build(), "gpt2")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["storyteller", "gpt2", "openai-community/gpt2"])
def test_a_folder_that_load_would_take_for_a_name_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"'./{name}' would do"):
        save(name, build(), BPE)
    assert not list(tmp_path.iterdir())
    model = build()
    save(f"./{name}", model, BPE)
    assert torch.equal(logits(load(f"./{name}")[0]), logits(model))
    assert torch.equal(logits(load(Path(name))[0]), logits(model))


@pytest.mark.parametrize("tokenizer", [BPE, NO_END], ids=["transformers", "ours"])
def test_a_folder_that_is_left_half_written_never_loads(tokenizer, tmp_path, monkeypatch):
    """Over an older model, at each file: it is the new one that loads, or none."""
    older, newer = (build(vocab_size=tokenizer.vocab_size, seed=seed) for seed in (1, 2))
    folder = tmp_path / "folder"
    replace_file = os.replace
    n_files = len(list(save(folder, older, tokenizer).iterdir()))
    for survive in range(n_files):
        save(folder, older, tokenizer)
        left = iter(range(survive))

        def stops(source, target, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return replace_file(source, target)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("gptlib.files.os.replace", stops)
            save(folder, newer, tokenizer)
        with pytest.raises(FileNotFoundError, match="config.json"):
            load(folder)
        with pytest.raises(Exception, match="model_type|config.json"):
            AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(logits(load(save(folder, newer, tokenizer))[0]), logits(newer))


# --------------------------------------------------------------------------------------------- what is opened


def test_device_and_dtype(tmp_path, without_shape_checks):
    model = build().bfloat16()
    folder = save(tmp_path / "model", model, BPE)
    assert load(folder)[0].token_embedding.weight.dtype == torch.bfloat16
    wide, _ = load(folder, device="cpu", dtype=torch.float32)
    assert torch.equal(logits(wide), logits(copy.deepcopy(model).float()))
    assert load("storyteller", dtype=torch.float16)[0].final_norm.weight.dtype == torch.float16
    with pytest.raises(ValueError, match="device is 'abacus'; it needs to be one of cpu, cuda, mps"):
        load(folder, device="abacus")
    for wrong in (torch.int64, "float16"):
        with pytest.raises(ValueError, match="dtype is .*; it needs a floating one"):
            load(folder, dtype=wrong)


def test_opening_leaves_the_random_numbers_alone(tmp_path):
    for shape in ("gpt2", "sinusoidal", "alibi"):
        folder = save(tmp_path / shape, build(shape), BPE)
        torch.manual_seed(5)
        load(folder)
        load("storyteller")
        drawn = torch.rand(3)
        torch.manual_seed(5)
        assert torch.equal(drawn, torch.rand(3))


def test_a_changed_setting_of_transformers_holds(tmp_path):
    folder = save(tmp_path / "model", build("gpt2 without biases"), BPE)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"layer_norm_epsilon": 0.25}))
    assert load(folder)[0].config == replace(build().config, norm_eps=0.25)


def test_biases_that_were_trained_since_are_read(tmp_path):
    """As after a fine-tuning in transformers, which has biases where we wrote zeros."""
    folder = save(tmp_path / "model", build("gpt2 without biases"), BPE)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors["transformer.ln_f.bias"] += 1
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    again, _ = load(folder)
    assert again.config.bias and again.final_norm.bias.eq(1).all() and not again.blocks[0].mlp.up.bias.any()


def run_of(model, folder, steps=3, resume=None, **settings):
    data = TokenFile.from_tokens(torch.arange(400).numpy() % 260)
    config = TrainConfig(steps=steps, batch_size=2, folder=folder, eval_every=None, **settings)
    return list(train(model, data, None, config, resume=resume))


def test_a_training_run_its_checkpoint_and_its_model(tmp_path):
    model, run = build(), tmp_path / "run"
    run_of(model, run)
    assert torch.equal(logits(load(run / CHECKPOINT_NAME)[0]), logits(model.eval()))
    assert load(run)[1] is None
    BPE.save(run / "tokenizer.json")
    stopped, tokenizer = load(run)
    assert tokenizer == BPE and torch.equal(logits(stopped), logits(model)) and not stopped.training
    save(run / "model", whole_model(model), BPE)
    # The run may have gone on since it was last done.
    run_of(model, run, 2)
    assert torch.equal(logits(load(run)[0]), logits(model.eval()))
    (run / CHECKPOINT_NAME).unlink()
    assert torch.equal(logits(load(run)[0]), logits(stopped))


# ------------------------------------------------------------------------------ files that nothing holds open


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_run_can_replace_its_checkpoint_on_windows(optimizer, tmp_path, as_on_windows):
    run_of(build(), tmp_path, optimizer=optimizer, checkpoint_every=1)
    model = build()
    run_of(model, tmp_path, 5, optimizer=optimizer, checkpoint_every=1, resume=tmp_path)
    assert torch.equal(logits(load(tmp_path)[0]), logits(model.eval()))
    assert not as_on_windows(tmp_path)


@pytest.mark.parametrize("shape", ["gpt2", "gpt_neox", "llama", "alibi"])
def test_nothing_that_is_loaded_holds_its_file_open(shape, tmp_path, as_on_windows):
    model = build(shape)
    folder = save(tmp_path / "model", model, BPE)
    new = with_roles(BPE)
    base, _ = load(folder)
    learned = adapted(grow(base, BPE, new))
    adapter = save_adapter(tmp_path / "mine.safetensors", learned, new, base, folder)
    kept = [load(path) for path in (folder, folder / "model.safetensors", adapter)]
    (folder / "config.json").rename(tmp_path / "config.json")
    kept.append(load(folder / "model.safetensors"))
    assert not as_on_windows(tmp_path)
    save(folder, kept[0][0], BPE)
    assert torch.equal(logits(load(folder)[0]), logits(model))


def test_a_run_whose_tokenizer_is_another_is_refused(tmp_path):
    run_of(build(), tmp_path)
    Tokenizer.train([TEXT], 271).save(tmp_path / "tokenizer.json")
    with pytest.raises(ValueError, match="needs at most the model's, 270"):
        load(tmp_path)


def test_a_run_of_another_model_than_a_gpt_is_refused(tmp_path):
    class Bigram(nn.Embedding):
        pass

    run_of(Bigram(270, 270), tmp_path, context_length=8)
    with pytest.raises(ValueError, match="trained no GPT; load_checkpoint reads it"):
        load(tmp_path)


def test_the_shipped_model_by_name_by_path_and_by_file():
    model, tokenizer = load("storyteller")
    assert model.token_embedding.weight.dtype == torch.float32
    for place in (data_folder() / "storyteller", str(data_folder() / "storyteller" / "model.safetensors")):
        again, same = load(place)
        assert fingerprint(again) == fingerprint(model) and same == tokenizer


def test_a_name_that_is_nothing_is_answered_with_those_there_are():
    with pytest.raises(FileNotFoundError, match="'gpt5'.*comes storyteller, published are gpt2, gpt2-medium"):
        load("gpt5")
    assert model_names() == ["storyteller"]


def test_a_folder_without_a_model_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither config.json, nor a training run's checkpoint"):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gptlib"}')
    with pytest.raises(ValueError, match="is not whole: 'gptlib' needs a config"):
        load(tmp_path)


# --------------------------------------------------------------------------------------------------- adapters


@pytest.fixture
def base(tmp_path):
    """A base model in a folder, and an adapter of it in a file beside the folder."""
    folder = save(tmp_path / "base", build(), BPE)
    model, _ = load(folder)
    new = with_roles(BPE)
    learned = adapted(grow(model, BPE, new))
    return folder, learned, save_adapter(tmp_path / "mine.safetensors", learned, new, model, folder)


def test_an_adapter_opens_with_the_model_that_it_names(base, tmp_path, monkeypatch):
    _, learned, path = base
    monkeypatch.chdir("/")
    model, tokenizer = load(path)
    assert tokenizer == with_roles(BPE) and lora_layers(model) and not model.training
    torch.testing.assert_close(logits(model), logits(learned), atol=5e-3, rtol=5e-3)
    again, _ = load(save(tmp_path / "merged", model, tokenizer))
    torch.testing.assert_close(logits(again), logits(model), atol=1e-5, rtol=1e-5)


def test_an_adapter_names_its_base_the_same_from_everywhere(tmp_path, monkeypatch):
    model, _ = load(save(tmp_path / "base", build(), BPE))
    monkeypatch.chdir(tmp_path)
    path = save_adapter(
        "mine.safetensors", adapted(grow(model, BPE, with_roles(BPE))), with_roles(BPE), model, "base"
    )
    monkeypatch.chdir("/")
    load(tmp_path / path)


def test_an_adapter_whose_model_moved_or_changed_says_what_to_do(base):
    folder, _, path = base
    save(folder, build(seed=7), BPE)
    with pytest.raises(ValueError, match=r"learned on '.*base' with other weights.*bring those back"):
        load(path)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(
        FileNotFoundError, match=r"'.*base', which is not there any more; bring it back, or .*load_adapter"
    ):
        load(path)


def test_the_courses_adapters_are_opened_by_their_paths():
    model, tokenizer = load(data_folder() / "adapters" / "questions.safetensors")
    assert lora_layers(model) and tokenizer.vocab_size == model.config.vocab_size
