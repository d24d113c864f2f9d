"""Files as others write them: what they leave out, what changes nothing, and what is of a wrong type."""

import copy
import itertools
import json
import warnings
from dataclasses import replace

import pytest
import safetensors.torch
import tokenizers
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib import GPT, GPTConfig, Tokenizer, load, save
from gptlib.files import write_json
from gptlib.formats.layouts import LAYOUTS

TEXT = "the cat sat on the mat. the dog sat on the cat! 猫 "
TOKENIZER = Tokenizer.train([TEXT * 3], 270)
LLAMA = {"position": "rotary", "norm": "rmsnorm", "mlp": "swiglu", "bias": False}
SHAPES = {
    "gpt2": {},
    "gpt_neox": {"position": "rotary"},
    "llama": LLAMA,
    "mistral": LLAMA | {"window": 3},
    "qwen3": LLAMA | {"qk_norm": True, "window": 3},
    "mixtral": LLAMA | {"n_experts": 3, "n_active": 2},
}


def build(kind="gpt2", **changes):
    torch.manual_seed(0)
    shape = {"context_length": 12, "n_layers": 1, "n_heads": 2, "d_model": 8, "vocab_size": 270}
    return GPT(GPTConfig(**shape | SHAPES[kind] | changes)).eval()


def as_others_have_it(folder, kind="gpt2"):
    """The model, and its folder without what only we note in it."""
    model = build(kind)
    save(folder, model, TOKENIZER)
    config = json.loads((folder / "config.json").read_text())
    del config["gptlib"]
    write_json(folder / "config.json", config)
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    return model


@torch.no_grad()
def logits(model):
    return model(torch.arange(24).view(2, 12))


# ---------------------------------------------------------------------- what is left out, or changes nothing


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral", "qwen3", "mixtral"])
def test_what_a_config_leaves_out_is_as_in_transformers(kind):
    sizes = {"vocab_size": 270, "hidden_size": 4096, "num_hidden_layers": 1, "num_attention_heads": 32}
    sizes |= {"intermediate_size": 20, "max_position_embeddings": 16}
    names = {"hidden_size": "n_embd", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}
    names |= {"max_position_embeddings": "n_positions", "intermediate_size": "n_inner"}
    if kind == "gpt2":
        sizes = {names.get(name, name): size for name, size in sizes.items()}
    theirs = transformers.AutoConfig.for_model(kind, **sizes)
    ours = LAYOUTS[kind].read({"model_type": kind} | sizes, "here")
    said = LAYOUTS[kind].read(theirs.to_dict(), "here")
    assert replace(ours, n_kv_heads=ours.kv_heads) == replace(said, n_kv_heads=said.kv_heads)
    if kind == "mixtral":
        assert (ours.balance, ours.n_experts, ours.n_active) == (theirs.router_aux_loss_coef, 8, 2)
    if kind != "gpt2":
        assert (ours.norm_eps, ours.rotary_base) == (
            theirs.rms_norm_eps,
            theirs.rope_parameters["rope_theta"],
        )
        used = getattr(theirs, "use_sliding_window", True)
        assert ours.window == (getattr(theirs, "sliding_window", None) if used else None)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("gpt2", ["transformer.h.0.attn.bias", "h.0.attn.masked_bias"]),
        (
            "gpt_neox",
            [
                f"gpt_neox.layers.0.attention.{part}"
                for part in ("bias", "masked_bias", "rotary_emb.inv_freq")
            ],
        ),
        ("gpt_neox", ["gpt_neox.rotary_emb.inv_freq"]),
        ("llama", ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"]),
    ],
)
def test_masks_and_the_speeds_of_positions_are_no_weights(kind, names, tmp_path):
    model = as_others_have_it(tmp_path, kind)
    path = tmp_path / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file(weights | {name: torch.ones(3) for name in names}, path)
    assert torch.equal(logits(load(tmp_path)[0]), logits(model))
    safetensors.torch.save_file(weights | {names[0] + "es": torch.ones(3)}, path)
    with pytest.raises(ValueError, match=f"unexpected {names[0].removeprefix('transformer.')}es"):
        load(tmp_path)


def test_of_several_dropouts_which_change_no_inference_the_largest_holds(tmp_path):
    model = as_others_have_it(tmp_path)
    path = tmp_path / "config.json"
    dropouts = {"resid_pdrop": 0.1, "embd_pdrop": 0, "attn_pdrop": 0.3}
    write_json(path, json.loads(path.read_text()) | dropouts)
    again, _ = load(tmp_path)
    assert again.config.dropout == 0.3 and torch.equal(logits(again), logits(model))


@pytest.mark.parametrize(("used", "window"), [(True, 3), (False, None), (None, None)])
def test_a_window_that_is_not_used_is_none(used, window):
    about = LAYOUTS["qwen3"].describe(build("qwen3").config) | {"model_type": "qwen3", "sliding_window": 3}
    del about["use_sliding_window"]  # Qwen3 then uses none, wherever the file names one
    about |= {} if used is None else {"use_sliding_window": used}
    assert LAYOUTS["qwen3"].read(about, "here").window == window


# --------------------------------------------------------------------------------- what is of another type


@pytest.mark.parametrize("places", [None, "model.safetensors", ["a"], {"wte.weight": 3}, {"a": ["b"]}, 5])
def test_an_index_of_another_type_is_refused_by_name(places, tmp_path):
    as_others_have_it(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "one.safetensors")
    write_json(tmp_path / "model.safetensors.index.json", {"weight_map": places})
    with pytest.raises(ValueError, match="index.json' has no weight_map that names a file for each tensor"):
        load(tmp_path)


@pytest.mark.parametrize(
    "about", ["no JSON", "[1]", '{"format": 3}', '{"model_config": "["}', '{"model_config": "3"}']
)
def test_a_file_that_notes_something_else_is_read_as_others_files_are_or_refused(about, tmp_path):
    as_others_have_it(tmp_path)
    weights = safetensors.torch.load_file(tmp_path / "model.safetensors")
    path = tmp_path / "alone.safetensors"
    safetensors.torch.save_file(weights, path, {"about": about})
    # Heads of 64 are taken for granted where a file tells nothing, and these are of 4.
    with pytest.raises(ValueError, match="alone.safetensors'.*(no multiple of 64|config)"):
        load(path)


@pytest.mark.parametrize(
    ("noted", "words"),
    [
        ({}, "does not say vocab_size, context_length, n_layers, n_heads, d_model"),
        ({"bias": True}, "says it has qwen3's layout, which its config does not fit"),
        ({"wings": 2}, "has wings, unknown to GPTConfig"),
    ],
)
def test_a_noted_config_that_is_not_whole_or_not_the_layouts_is_refused(noted, words, tmp_path):
    save(tmp_path, build("qwen3"), TOKENIZER)
    config = json.loads((tmp_path / "config.json").read_text())
    config["gptlib"]["config"] = config["gptlib"]["config"] | noted if noted else {}
    write_json(tmp_path / "config.json", config)
    with pytest.raises(ValueError, match=words):
        load(tmp_path)


def nodes(value, way=()):
    """The places of all values in a JSON value; of long lists and objects, of their first and last."""
    yield way
    inside = list(
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, below in inside if len(inside) < 40 else [*inside[:2], *inside[-2:]]:
        yield from nodes(below, (*way, key))


def changed(value, way, new):
    if not way:
        return new
    value = copy.copy(value)
    value[way[0]] = changed(value[way[0]], way[1:], new)
    return value


OTHERS = st.sampled_from([None, True, False, "", "x", [], ["x"], [[]], {}, {"x": 1}, 1.5, -1, 0, 3])
FOREIGN = ("unhashable", "object is not", "has no len", "subscriptable", "argument", "'NoneType'", "unpack")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of every kind, as we write them and as others do; the config and logits of their models."""
    made = {}
    for kind, ours in itertools.product(SHAPES, (True, False)):
        folder = tmp_path_factory.mktemp(kind)
        if ours:
            save(folder, build(kind), TOKENIZER)
        else:
            as_others_have_it(folder, kind)
            names = safetensors.torch.load_file(folder / "model.safetensors")
            (folder / "model.safetensors").rename(folder / "one.safetensors")
            index = {"metadata": {"total_size": 5}, "weight_map": dict.fromkeys(names, "one.safetensors")}
            write_json(folder / "model.safetensors.index.json", index)
        model, _ = load(folder)
        made[kind, ours] = folder, model.config, logits(model)
    return made


@given(st.data(), st.sampled_from(list(SHAPES)), st.booleans())
@settings(max_examples=60)
def test_json_of_any_types_loads_rightly_or_is_refused_by_name(folders, data, kind, ours):
    folder, config, expected = folders[kind, ours]
    names = ["config.json", "tokenizer.json", "model.safetensors.index.json"][: 2 if ours else 3]
    path = folder / data.draw(st.sampled_from(names))
    before = path.read_bytes()
    way = data.draw(st.sampled_from(list(nodes(json.loads(before)))))
    value = data.draw(OTHERS)
    contents = changed(json.loads(before), way, value)
    try:
        write_json(path, contents)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            model, tokenizer = load(folder)
    except (ValueError, TypeError, OSError) as error:
        assert str(folder) in str(error)
        assert not [word for word in FOREIGN if word in str(error)], error
        return
    finally:
        path.write_bytes(before)
    if path.name == "tokenizer.json" and tokenizer is None:
        assert "comes without a tokenizer" in str(said[0].message)
    elif path.name == "tokenizer.json" and tokenizer != TOKENIZER:
        theirs = tokenizers.Tokenizer.from_str(json.dumps(contents))
        theirs.encode_special_tokens = True
        assert tokenizer.encode(TEXT) == theirs.encode(TEXT, add_special_tokens=False).ids
    if model.config == config:
        assert torch.equal(logits(model), expected)
    else:
        # Such as another base of the positions, which is a number, or a part that is taken away.
        assert path.name == "config.json" and isinstance(value, (int, float, type(None), dict))


@pytest.mark.parametrize("value", ["", [], False, 0])
def test_what_is_empty_and_no_object_is_no_lack_of_one(value, tmp_path):
    as_others_have_it(tmp_path, "mixtral")
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    write_json(tmp_path / "config.json", config | {"rope_parameters": value})
    with pytest.raises(ValueError, match="rope_parameters is .*; it needs an object such as"):
        load(tmp_path)
