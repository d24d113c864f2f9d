"""The attention explorer: what it computes is what the model computes, with and without changes."""

import base64

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

from gptlib import GPT, GPTConfig, Tokenizer, trace
from gptlib.interpret.tracing import edit
from gptlib.viz.explorers import attention
from gptlib.viz.explorers.adapters import adapt
from gptlib.viz.explorers.attention import AttentionExplorer
from gptlib.viz.explorers.coding import code, pack, thumbnails
from gptlib.viz.explorers.living import pack_model, runtime_code

TEXT = "Nora met Leo. Then Nora saw Leo"
CONFIG = {"n_layers": 2, "n_heads": 4, "d_model": 32, "context_length": 48}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["Nora met Leo. Then Nora saw Leo and Mia saw them both."], vocab_size=280)


@pytest.fixture
def model(tokenizer):
    torch.manual_seed(0)
    return sharper(GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **CONFIG)))


def sharper(model):
    """A fresh model attends almost evenly; larger weights make its heads differ."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(6)
    return model.eval()


class Letters:
    """A tokenizer as transformers' are called."""

    def __call__(self, text):
        return {"input_ids": [ord(letter) for letter in text]}

    def decode(self, tokens):
        return "".join(map(chr, tokens))


def hugging_face(kind):
    torch.manual_seed(0)
    if kind == "gpt2":
        config = GPT2Config(vocab_size=128, n_layer=2, n_head=4, n_embd=32, n_positions=48)
        return sharper(GPT2LMHeadModel(config))
    layers = {"num_layers": 2} if kind == "gpt_neo" else {"num_hidden_layers": 2}
    sizes = {"vocab_size": 128, "hidden_size": 32, "num_attention_heads": 4, **layers, **KINDS[kind]}
    if kind != "bloom":
        sizes["max_position_embeddings"] = 48
    config = AutoConfig.for_model(kind, bos_token_id=1, eos_token_id=1, pad_token_id=0, **sizes)
    return sharper(AutoModelForCausalLM.from_config(config))


GROUPED = {"num_key_value_heads": 2, "intermediate_size": 64}
KINDS = {
    "gpt2": {},
    "llama": GROUPED,
    "mistral": GROUPED,
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 8},
    "gemma2": {**GROUPED, "head_dim": 8},
    "phi3": GROUPED,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "gptj": {"rotary_dim": 4},
    "gpt_neox": {"intermediate_size": 64},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "bloom": {},
}


def ask(explorer, **changes):
    explorer.set_state({**changes, "asked": explorer.asked + 1})
    return explorer.problem


def decoded(explorer):
    """The weights that the page draws, unpacked: (layer, head, query, key)."""
    answer = explorer.answer
    n = answer["rows"]
    weights = np.zeros((answer["layers"], answer["heads"], n, n), dtype=np.float32)
    query, key = np.tril_indices(n)
    cells = np.frombuffer(answer["cells"], dtype=np.uint8).reshape(answer["layers"], answer["heads"], -1)
    weights[..., query, key] = answer["largest"] * (cells / 255) ** 2
    return weights


def hooks(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_it_draws_the_attention_of_the_model(model, tokenizer):
    explorer = AttentionExplorer(model, tokenizer, TEXT)
    tokens = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(TEXT)]])
    with torch.no_grad(), trace(model) as run:
        logits = model(tokens)
    torch.testing.assert_close(explorer.weights, run.attention[:, 0])
    torch.testing.assert_close(explorer.logits, logits[0])
    # A step of the square-root code near w is 2 sqrt(w) / 255 wide.
    np.testing.assert_allclose(decoded(explorer), explorer.weights.numpy(), atol=1 / 255)
    np.testing.assert_allclose(explorer.weights.sum(dim=-1), 1, atol=1e-5)


def test_the_row_in_focus_is_exact(model, tokenizer):
    explorer = AttentionExplorer(model, tokenizer, TEXT, layer=1, head=2)
    explorer.query = 5
    row = np.frombuffer(explorer.details["row"], dtype=np.float32)
    np.testing.assert_array_equal(row, explorer.weights[1, 2, 5, :6].numpy())
    assert explorer.details["place"] == [1, 2, 5]


@pytest.mark.parametrize("how", ["zero", "mean"])
def test_a_removed_head_changes_the_prediction_as_its_code_does(model, tokenizer, how):
    explorer = AttentionExplorer(model, tokenizer, TEXT, layer=1, head=2)
    whole = explorer.logits
    assert ask(explorer, changes=[{"do": how, "layer": 0, "head": 1}]) == ""
    assert (explorer.logits - whole).abs().max() > 1e-3
    assert repeated(explorer, model, tokenizer) < 1e-5
    bars = explorer.details["next"]
    after, before = explorer.logits[-1].softmax(-1), whole[-1].softmax(-1)
    assert bars[0]["p"] == pytest.approx(float(after.max()), abs=1e-6)
    assert all((before - bar["was"]).abs().min() < 1e-5 for bar in bars)
    ask(explorer, changes=[])
    assert torch.equal(explorer.logits, whole) and explorer.code == ""
    assert hooks(model) == 0


def repeated(explorer, model, tokenizer, side="_a"):
    """How far the logits of the explorer's code are from its own."""
    scope = {"model": model, "tokenizer": tokenizer}
    exec(explorer.code, scope)
    return float((scope["logits"][0] - getattr(explorer, side).after.logits).abs().max())


def test_patching_moves_b_towards_a(model, tokenizer):
    explorer = AttentionExplorer(model, tokenizer, TEXT, text_b=TEXT.replace("Nora", "Mia"))
    last_a, last_b = len(explorer._a.tokens) - 1, len(explorer._b.tokens) - 1
    before = explorer._b.after.logits[-1]
    patch = {"do": "patch", "layer": 1, "head": None, "source": last_a, "target": last_b}
    head = {"do": "patch", "layer": 1, "head": 2, "source": 3, "target": 2}
    assert ask(explorer, changes=[head, {"do": "scale", "layer": 0, "head": 3, "by": 2}, patch]) == ""
    assert repeated(explorer, model, tokenizer, "_b") < 1e-5
    target = explorer._a.after.logits[-1]
    assert (explorer._b.after.logits[-1] - target).norm() < (before - target).norm()
    assert ask(explorer, text_b="Leo", changes=[{**patch, "target": 40}]).startswith(
        "Changes patches token 40"
    )


def test_a_whole_residual_stream_patched_in_makes_b_predict_what_a_does(model, tokenizer):
    """With all of A's stream where B's enters the first layer, nothing of B is left."""
    explorer = AttentionExplorer(model, tokenizer, TEXT, text_b="Nora met Leo. Then Leo saw Nora")
    n = min(len(explorer._a.tokens), len(explorer._b.tokens))
    assert len(explorer._a.tokens) == len(explorer._b.tokens)
    explorer.changes = [
        {"do": "patch", "layer": 0, "head": None, "source": at, "target": at} for at in range(n)
    ]
    torch.testing.assert_close(explorer._b.after.logits, explorer._a.after.logits)


def test_the_difference_of_two_checkpoints(model, tokenizer):
    torch.manual_seed(1)
    other = sharper(GPT(model.config))
    explorer = AttentionExplorer(model, tokenizer, TEXT, model_b=other)
    explorer.view = "difference"
    difference = explorer._a.after.weights - explorer._b.after.weights
    cells = np.frombuffer(explorer.answer["cells"], dtype=np.uint8).astype(int)
    largest = explorer.answer["largest"]
    assert largest == pytest.approx(float(difference.abs().max()))
    share = (cells - 128) / 127
    n = explorer.answer["rows"]
    query, key = np.tril_indices(n)
    exact = difference[..., query, key].flatten().numpy()
    np.testing.assert_allclose(largest * share * np.abs(share), exact, atol=largest / 100)
    with pytest.raises(ValueError, match="same shape"):
        AttentionExplorer(
            model, tokenizer, TEXT, model_b=GPT(GPTConfig(vocab_size=280, **{**CONFIG, "n_layers": 1}))
        )


def test_value_weighted_attention_is_the_length_of_what_is_moved(model, tokenizer):
    explorer = AttentionExplorer(model, tokenizer, TEXT, layer=1, head=3)
    explorer.view = "values"
    block = model.blocks[1]
    x = explorer._a.after.activations["blocks.1.residual_pre"]
    values = block.attention.qkv(block.attention_norm(x)).detach()[:, 64:].unflatten(-1, (4, 8))[:, 3]
    moved = values @ block.attention.output.weight.detach()[:, 24:32].T
    expected = explorer.weights[1, 3] * moved.norm(dim=-1)
    torch.testing.assert_close(explorer._shown[1 * 4 + 3], expected)


def with_copies(tokenizer, count, seed=0):
    torch.manual_seed(seed)
    model = sharper(GPT(GPTConfig(vocab_size=tokenizer.vocab_size, copy_heads=count, **CONFIG)))
    torch.nn.init.normal_(model.copying[0].gains)  # at first they are 0, and copy heads say nothing
    return model


@pytest.mark.parametrize("count", [1, 3, 6])  # fewer than the heads of a layer, and more
def test_copy_heads_are_a_row_below_the_last_layer(tokenizer, count):
    model = with_copies(tokenizer, count)
    explorer = AttentionExplorer(model, tokenizer, TEXT, layer=2, head=count - 1)
    tokens = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(TEXT)]])
    with torch.no_grad(), trace(model, ["*.attention.weights", "copying.weights"]) as run:
        model(tokens)
    copied = run["copying.weights"][0]
    torch.testing.assert_close(explorer.weights, run.attention[:, 0])
    torch.testing.assert_close(explorer.copying_weights, copied)
    row = np.frombuffer(explorer.details["row"], dtype=np.float32)
    np.testing.assert_array_equal(row, explorer.copying_weights[-1, -1].numpy())
    answer, n = explorer.answer, explorer.answer["rows"]
    assert (answer["layers"], answer["heads"], answer["copies"]) == (2, 4, count)
    cells = np.frombuffer(answer["cells"], dtype=np.uint8).reshape(8 + count, -1)
    query, key = np.tril_indices(n)
    np.testing.assert_allclose((cells[8:] / 255) ** 2, copied[:, query, key].numpy(), atol=1 / 255)
    explorer.view = "values"
    rows = model.unembedding.weight[tokens[0]]  # (key, d_model)
    for head, gains in enumerate(model.copying[0].gains.view(count, -1)):
        carried = (copied[head][..., None] * gains * rows).norm(dim=-1)  # over d_model
        torch.testing.assert_close(explorer._shown[8 + head], carried.detach())
    assert repr(explorer).endswith(f"copy head {count - 1}, 0 changes)")
    drawn = explorer.figure().arrays
    assert drawn["heads"].shape == (8 + count, n, n) and drawn["chosen"].shape == (n, n)


def test_one_place_moves_to_where_there_is_a_head(tokenizer):
    explorer = AttentionExplorer(with_copies(tokenizer, 6), tokenizer, TEXT, layer=2, head=5)
    explorer.layer = 1
    assert (explorer.layer, explorer.head, explorer.details["place"][:2]) == (1, 3, [1, 3])
    assert ask(explorer, layer=0, head=5) == "Head is 5; layer 0 has 4, so 0 to 3 would do"
    assert ask(explorer, layer=3, head=1) == "Layer is 3; the model has 3, so 0 to 2 would do"
    assert ask(explorer, layer=2, head=5) == "" and explorer.details["place"][:2] == [2, 5]
    change = {"do": "zero", "layer": 2, "head": 6}
    assert "2 layers of 4 heads, and 6 copy heads as layer 2" in ask(explorer, changes=[change])


def test_roles_name_copy_heads(tokenizer):
    model = with_copies(tokenizer, 2)
    explorer = AttentionExplorer(model, tokenizer, TEXT)

    def look_at_the_first(weights):
        first = torch.zeros_like(weights)
        first[..., 0] = 1.0
        return first

    with edit(model, {"copying.weights": look_at_the_first}):
        explorer.refresh()
    best = explorer.answer["roles"]["first token"][:2]
    assert best == [{"layer": 2, "head": head, "score": 1.0} for head in (0, 1)]


@pytest.mark.parametrize("change", [{"do": "zero"}, {"do": "mean"}, {"do": "scale", "by": -2}])
def test_a_changed_copy_head_changes_the_prediction_as_its_code_does(tokenizer, change):
    model = with_copies(tokenizer, 3)
    explorer = AttentionExplorer(model, tokenizer, TEXT)
    whole = explorer.logits
    explorer.changes = [{**change, "layer": 2, "head": 1}, {"do": "zero", "layer": 1, "head": 3}]
    assert "'copying.heads'" in explorer.code and repeated(explorer, model, tokenizer) < 1e-5
    explorer.changes = [{**change, "layer": 2, "head": 1}]
    added = change.get("by", 0) - 1
    gains, rows = model.copying[0].gains.view(3, -1)[1], model.unembedding.weight[explorer._a.tokens]
    copied = (explorer.copying_weights[1] @ rows * gains).detach()  # (query, d_model)
    by_hand = copied.mean(dim=0) - copied if change["do"] == "mean" else added * copied
    expected = whole + by_hand @ model.unembedding.weight.detach().T
    torch.testing.assert_close(explorer.logits, expected, atol=1e-3, rtol=1e-4)
    assert hooks(model) == 0


def test_copy_heads_are_patched_and_compared(tokenizer):
    model = with_copies(tokenizer, 3)
    explorer = AttentionExplorer(model, tokenizer, TEXT, text_b=TEXT.replace("Leo", "Mia"), layer=2)
    last_a, last_b = len(explorer._a.tokens) - 1, len(explorer._b.tokens) - 1
    onto_the_last = {"do": "patch", "layer": 2, "source": last_a, "target": last_b}
    explorer.changes = [{"do": "scale", "layer": 2, "head": 0, "by": 2}, {**onto_the_last, "head": 1}]
    assert repeated(explorer, model, tokenizer, "_b") < 1e-5
    explorer.changes = [{**onto_the_last, "head": head} for head in (None, 0, 1, 2)]
    torch.testing.assert_close(explorer._b.after.logits[-1], explorer._a.after.logits[-1])
    assert repeated(explorer, model, tokenizer, "_b") < 1e-5
    other = AttentionExplorer(model, tokenizer, TEXT, model_b=with_copies(tokenizer, 3, seed=1), layer=2)
    other.view = "difference"
    difference = other._a.after.weights[8:] - other._b.after.weights[8:]
    torch.testing.assert_close(other._shown[8:], difference)
    with pytest.raises(ValueError, match="same shape"):
        AttentionExplorer(model, tokenizer, TEXT, model_b=with_copies(tokenizer, 2))


def test_without_copy_heads_the_answer_is_of_the_layers_alone(model, tokenizer):
    explorer = AttentionExplorer(model, tokenizer, TEXT)
    n = explorer.answer["rows"]
    assert explorer.answer["copies"] == 0 and len(explorer.answer["cells"]) == 8 * n * (n + 1) // 2
    assert explorer.copying_weights.shape == (0, n, n) and len(explorer.figure().arrays["heads"]) == 8
    assert ask(explorer, layer=2) == "Layer is 2; the model has 2, so 0 to 1 would do"
    change = {"do": "zero", "layer": 2, "head": 0}
    assert ask(explorer, layer=0, changes=[change]).endswith("the model has 2 layers of 4 heads")


@pytest.mark.parametrize("kind", KINDS)
def test_models_of_transformers(kind):
    theirs = hugging_face(kind)
    chosen = theirs.config._attn_implementation
    theirs(torch.tensor([[65]]), output_attentions=True)  # transformers keeps hooks of its own from then on
    before = hooks(theirs)
    explorer = AttentionExplorer(theirs, Letters(), TEXT, text_b=TEXT[::-1])
    tokens = torch.tensor([[ord(letter) for letter in TEXT]])
    with torch.no_grad():
        logits = theirs(tokens).logits
    torch.testing.assert_close(explorer.logits, logits[0], atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(explorer.weights.sum(dim=-1), 1, atol=1e-5)
    patch = {"do": "patch", "layer": 1, "head": 1, "source": 4, "target": 5}
    explorer.changes = [{"do": "mean", "layer": 0, "head": 1}, patch]
    assert repeated(explorer, theirs, Letters(), "_b") < 1e-4
    explorer.view = "values"
    assert torch.isfinite(explorer._shown).all() and float(explorer._shown.max()) > 0
    assert hooks(theirs) == before and theirs.config._attn_implementation == chosen


def test_value_norms_of_transformers_are_those_of_the_same_gpt(model):
    """GPT-2's layout in both libraries: the same weights give the same lengths."""
    theirs = hugging_face("gpt2")
    ours = GPT(GPTConfig(vocab_size=128, **CONFIG))
    renamed = theirs.state_dict()
    with torch.no_grad():
        ours.token_embedding.weight.copy_(renamed["transformer.wte.weight"])
        ours.position.embedding.weight.copy_(renamed["transformer.wpe.weight"])
        for n, block in enumerate(ours.blocks):
            part = f"transformer.h.{n}."
            for name, module, turned in (
                ("ln_1", block.attention_norm, False), ("attn.c_attn", block.attention.qkv, True),
                ("attn.c_proj", block.attention.output, True), ("ln_2", block.mlp_norm, False),
                ("mlp.c_fc", block.mlp.up, True), ("mlp.c_proj", block.mlp.down, True),
            ):  # fmt: skip
                weight = renamed[f"{part}{name}.weight"]
                module.weight.copy_(weight.T if turned else weight)
                module.bias.copy_(renamed[f"{part}{name}.bias"])
    tokens = [ord(letter) for letter in TEXT]
    mine, other = adapt(ours.eval()).read(tokens, {}), adapt(theirs).read(tokens, {})
    torch.testing.assert_close(mine.weights, other.weights, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(mine.value_norms, other.value_norms, atol=1e-4, rtol=1e-3)


class Ends(Letters):
    """A tokenizer that can read the text of a decoder."""

    eos_token_id = 1

    def __call__(self, text="", text_target=""):
        return super().__call__(text or text_target)


@pytest.mark.parametrize("part", ["encoder", "decoder", "cross"])
def test_each_part_of_an_encoder_decoder(part):
    torch.manual_seed(0)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4}
    config = T5Config(vocab_size=128, decoder_start_token_id=0, **sizes)
    theirs = sharper(T5ForConditionalGeneration(config))
    theirs.set_attn_implementation("eager")  # only that gives its weights away
    explorer = AttentionExplorer(theirs, Ends(), TEXT, part=part, target="Nora")
    source = torch.tensor([[ord(letter) for letter in TEXT]])
    target = torch.tensor([[0, *map(ord, "Nora")]])
    with torch.no_grad():
        output = theirs(input_ids=source, decoder_input_ids=target, output_attentions=True)
    names = {"encoder": "encoder_attentions", "decoder": "decoder_attentions", "cross": "cross_attentions"}
    expected = torch.cat(getattr(output, names[part]))
    torch.testing.assert_close(explorer.weights, expected, atol=1e-5, rtol=1e-4)
    assert explorer.answer["causal"] == (part == "decoder")
    if part == "cross":
        assert len(explorer.answer["words"]) == 5 and len(explorer.answer["keys"]) == len(TEXT)
    explorer.changes = [{"do": "zero", "layer": 1, "head": 2}, {"do": "mean", "layer": 0, "head": 1}]
    scope = {"model": theirs, "tokenizer": Ends()}
    exec(explorer.code, scope)
    if part != "encoder":
        torch.testing.assert_close(scope["logits"][0], explorer.logits, atol=1e-4, rtol=1e-4)
        assert (explorer.logits - output.logits[0]).abs().max() > 1e-3
        with pytest.raises(ValueError, match="no room for a second text"):
            explorer.text_b = "Leo"
        with pytest.raises(ValueError, match="target is empty"):
            explorer.target = ""
    else:
        assert scope["output"][0].shape == (1, len(TEXT), 32) and explorer.details["next"] == []


def test_attention_that_came_from_elsewhere():
    weights = np.tril(np.ones((2, 3, 4, 4)))
    weights /= weights.sum(axis=-1, keepdims=True)
    words = ["a", "b", "a", "<img src=x onerror=alert(1)>"]
    explorer = AttentionExplorer.from_array(weights, words)
    np.testing.assert_allclose(decoded(explorer), weights, atol=1 / 255)
    assert explorer.details["next"] == [] and explorer.answer["given"]
    with pytest.raises(ValueError, match="came without a model"):
        explorer.text = "another"
    with pytest.raises(ValueError, match="came without one"):
        explorer.changes = [{"do": "zero", "layer": 0, "head": 0}]
    with pytest.raises(ValueError, match=r"layer 1, head 2, query 3 sum to 0\.5"):
        weights[1, 2, 3] /= 2
        AttentionExplorer.from_array(weights, words)
    with pytest.raises(ValueError, match=r"for 3 tokens it needs \(layer, head, 3, 3\)"):
        AttentionExplorer.from_array(weights, words[:3])


def test_every_script_stands_on_the_page_as_itself():
    """The page's fonts have what those of the figures lack; only what nothing can draw is an escape."""
    words = ["你好", "👩", "مرحبا", "שלום", "é", " a", "\n", "\x07", "\u200b", ""]
    weights = np.tril(np.ones((1, 1, 10, 10)))
    weights /= weights.sum(axis=-1, keepdims=True)
    explorer = AttentionExplorer.from_array(weights, words)
    shown = ["你好", "👩", "مرحبا", "שלום", "é", "␣a", "↵", "\\x07", "\\u200b", "(empty)"]
    assert explorer.answer["words"] == shown
    drawn = [
        text.get_text()
        for axes in explorer.figure().figure.axes
        for text in axes.texts + axes.get_yticklabels()
    ]
    assert all("你" not in text for text in drawn)  # a blank box


HANDED_OVER = {
    "transformers, BertViz": lambda weights: tuple(layer[None].clone() for layer in weights),
    "transformers, with gradients": lambda weights: tuple(layer[None].requires_grad_() for layer in weights),
    "a list of arrays": lambda weights: [layer.numpy() for layer in weights],
    "with a batch axis": lambda weights: weights[:, None],
    "bfloat16": lambda weights: weights.bfloat16(),
    "half": lambda weights: weights.half().numpy(),
    "CircuitsVis, one layer": lambda weights: weights[0],
    "transformers, one layer": lambda weights: weights[:1],
    "one head": lambda weights: weights[0, 0],
    "nested lists": lambda weights: weights.tolist(),
}


@pytest.mark.parametrize("form", HANDED_OVER)
def test_attention_comes_in_the_forms_that_libraries_hand_over(form):
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(2, 3, 4, 4, generator=generator).tril()
    weights /= weights.sum(dim=-1, keepdim=True)
    shown = decoded(
        AttentionExplorer.from_array(HANDED_OVER[form](weights), [11, torch.tensor(12), "c", "d"])
    )
    expected = weights[: len(shown), : shown.shape[1]]
    np.testing.assert_allclose(shown, expected.detach(), atol=1.5 / 255)
    assert shown.shape[0] == (1 if "one" in form else 2)


@pytest.mark.parametrize(
    ("weights", "error", "words"),
    [
        ([torch.ones(2, 1, 3, 3).tril()] * 2, ValueError, "with 2 texts in a batch; give those of one"),
        ([torch.ones(1, 3, 3), torch.ones(2, 3, 3)], ValueError, "all need to have the same"),
        ("weights", TypeError, "weights holds a str; it needs arrays"),
        (None, ValueError, "for 3 tokens it needs"),
        (torch.ones(3), ValueError, "for 3 tokens it needs"),
    ],
)
def test_other_forms_are_refused(weights, error, words):
    with pytest.raises(error, match=words):
        AttentionExplorer.from_array(weights, ["a", "b", "c"])


def test_of_a_long_text_the_chosen_head_is_whole_and_the_others_small(tokenizer, monkeypatch):
    monkeypatch.setattr(attention, "WHOLE", 8 * 200 * 200)
    torch.manual_seed(0)
    model = sharper(GPT(GPTConfig(vocab_size=280, **{**CONFIG, "context_length": 400})))
    explorer = AttentionExplorer(model, tokenizer, "Nora met Leo. " * 40, layer=1, head=3)
    n = explorer.answer["rows"]
    assert n > 200 and not explorer.answer["whole"]
    side = explorer.answer["small"][0]
    assert 40 < side <= 64 and len(explorer.answer["cells"]) == 8 * side * (side + 1) // 2
    assert len(explorer.details["cells"]) == n * (n + 1) // 2
    ask(explorer, head=0)
    np.testing.assert_array_equal(
        np.frombuffer(explorer.details["cells"], dtype=np.uint8),
        np.frombuffer(pack(code(explorer.weights[1, 0], explorer.answer["largest"])), dtype=np.uint8),
    )


def test_a_file_of_a_long_text_holds_the_strongest_keys_of_every_head(tokenizer, monkeypatch):
    monkeypatch.setattr(attention, "WHOLE", 1000)
    monkeypatch.setattr(attention, "IN_FILE", 8 * 48 * 5)
    torch.manual_seed(0)
    model = sharper(GPT(GPTConfig(vocab_size=280, **CONFIG)))
    text = tokenizer.decode(tokenizer.encode("Nora met Leo. Then Mia saw. " * 9)[:47])
    explorer = AttentionExplorer(model, tokenizer, text)
    rest = explorer.page_state()["answer"]["rest"]
    assert rest["count"] == 5
    weights = explorer.weights.flatten(0, 1)
    kept = weights.topk(5, dim=-1)
    keys = np.frombuffer(rest["keys"], dtype="<u2").reshape(8, 48, 5)
    np.testing.assert_array_equal(weights.gather(-1, torch.from_numpy(keys.astype(int))), kept.values)
    codes = np.frombuffer(rest["codes"], dtype=np.uint8).reshape(8, 48, 5)
    np.testing.assert_allclose(explorer.answer["largest"] * (codes / 255) ** 2, kept.values, atol=0.02)
    share = float(kept.values.sum() / weights.sum())
    assert rest["told"] == f"this file holds the 5 strongest keys of each row, {share:.0%} of all there is"


def test_a_small_picture_keeps_the_strongest_cell_of_each_block():
    x = torch.zeros(1, 200, 200)
    x[0, 150, 70] = 1
    small = thumbnails(x, signed=False)
    assert small.shape == (1, 50, 50) and small.max() == 1 and (small > 0).sum() == 1
    x[0, 151, 71], x[0, 3, 2] = -1, -0.5
    signed = thumbnails(x, signed=True)
    assert signed[0, 37, 17] == 1 and signed[0, 0, 0] == -0.5 and (signed != 0).sum() == 2
    assert thumbnails(torch.zeros(577, 99, 30), signed=False).shape == (577, 25, 30)


def test_changes_cost_one_forward_pass_and_views_none(model, tokenizer):
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))

    def cost(**changes):
        passes.clear()
        assert ask(explorer, **changes) == ""
        return len(passes)

    explorer = AttentionExplorer(model, tokenizer, TEXT)
    assert len(passes) == 1
    removal = {"do": "zero", "layer": 0, "head": 1}
    patch = {"do": "patch", "layer": 1, "head": 2, "source": 3, "target": 2}
    assert cost(changes=[removal]) == 1
    assert cost(changes=[]) == 0
    assert cost(text_b=TEXT.replace("Nora", "Mia")) == 1
    assert cost(changes=[removal]) == 1  # that of B: A with it is known from before
    assert cost(changes=[removal, patch]) == 1
    assert [cost(view=view) for view in ("values", "difference", "weights")] == [0, 0, 0]
    assert cost(layer=1, head=0, query=3) == 0
    logits = explorer.logits
    with torch.no_grad():
        model.blocks[0].attention.qkv.weight.mul_(0.5)  # as a step of a training does
    assert cost(view="values") == 4
    assert (explorer.logits - logits).abs().max() > 1e-3
    assert cost(text=TEXT + ".") == 3  # A as it is and with the removal; B with what is patched from A


def test_bad_input_is_refused_in_words_and_the_last_picture_stays(model, tokenizer):
    explorer = AttentionExplorer(model, tokenizer, TEXT)
    cells = explorer.answer["cells"]
    assert ask(explorer, text="") == "Text is empty; type a few words"
    assert "the model reads at most 48" in ask(explorer, text=TEXT * 20)
    assert "0 to 1 would do" in ask(explorer, text=TEXT, layer=7)
    assert "lacks 'by'" in ask(explorer, layer=0, changes=[{"do": "scale", "layer": 0, "head": 0}])
    assert "2 layers of 4 heads" in ask(explorer, changes=[{"do": "zero", "layer": 0, "head": 9}])
    assert '"do" needs to be one of' in ask(explorer, changes=[{"do": "paint"}])
    assert explorer.answer["cells"] == cells and hooks(model) == 0
    assert ask(explorer, changes=[]) == ""
    with pytest.raises(TypeError, match=r"needs to be a gptlib\.GPT"):
        AttentionExplorer(torch.nn.Linear(2, 2), tokenizer, TEXT)


def test_a_tokenizer_of_another_model(tokenizer):
    small = GPT(GPTConfig(vocab_size=257, **CONFIG))
    with pytest.raises(IndexError, match="was the text encoded with this model's tokenizer"):
        AttentionExplorer(small, tokenizer, TEXT)


def test_weights_that_are_not_numbers(model, tokenizer):
    explorer = AttentionExplorer(model, tokenizer, TEXT)
    cells = explorer.answer["cells"]
    with torch.no_grad():
        model.blocks[1].attention.qkv.weight[0, 0] = float("nan")
    assert "not finite (NaN" in ask(explorer, text=TEXT + ".")
    assert explorer.answer["cells"] == cells


def test_a_model_that_was_trained_on_is_read_anew(model, tokenizer):
    explorer = AttentionExplorer(model, tokenizer, TEXT)
    before = explorer.logits
    with torch.no_grad():
        model.blocks[0].attention.qkv.weight.mul_(0.5)
    explorer.refresh()
    assert (explorer.logits - before).abs().max() > 1e-3
    model.train()
    ask(explorer, text="Leo")
    assert model.training  # left as it was found


def test_a_model_of_the_inference_mode_is_read_too(tokenizer):
    with torch.inference_mode():
        model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **CONFIG)).eval()
    explorer = AttentionExplorer(model, tokenizer, TEXT)
    assert ask(explorer, changes=[{"do": "zero", "layer": 0, "head": 1}]) == ""


def test_numbers_that_are_exchanged_are_seen(model, tokenizer):
    explorer = AttentionExplorer(model, tokenizer, TEXT)
    weight = model.blocks[0].attention.qkv.weight
    weight.data = weight.data * 0.5
    before = explorer.logits
    assert ask(explorer, changes=[{"do": "zero", "layer": 1, "head": 1}]) == ""
    assert (explorer._a.before.logits - before).abs().max() > 1e-3  # not as it was


def test_repr_is_short_and_stable(model, tokenizer):
    explorer = AttentionExplorer(model, tokenizer, TEXT, layer=1)
    assert repr(explorer) == "AttentionExplorer('Nora met Leo. Then Nora saw L…', layer 1 head 0, 0 changes)"
    assert explorer.to_png() == AttentionExplorer(model, tokenizer, TEXT, layer=1).to_png()


def test_the_file_of_a_large_model_is_small_beside_it(tmp_path, tokenizer):
    torch.manual_seed(0)
    config = {"n_layers": 12, "n_heads": 12, "d_model": 96, "context_length": 128}
    model = sharper(GPT(GPTConfig(vocab_size=280, **config)))
    text = "Nora met Leo. Then Mia saw them both. " * 20
    tokens = tokenizer.encode(text)[:127]
    explorer = AttentionExplorer(model, tokenizer, tokenizer.decode(tokens))
    assert explorer.answer["rows"] == 128 and len(explorer.answer["cells"]) == 144 * 128 * 129 // 2
    explorer.to_html(tmp_path / "large.html")
    model = len(base64.b64encode(pack_model(model, tokenizer))) + len(runtime_code())
    assert (tmp_path / "large.html").stat().st_size - model <= 1_000_000
