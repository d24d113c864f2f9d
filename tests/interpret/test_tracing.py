from dataclasses import replace

import pytest
import torch
from torch import nn

from gptlib.generation.writing import generate_tokens
from gptlib.interpret.tracing import (
    activation_names,
    edit,
    in_turn,
    remove_head,
    remove_neuron,
    replace_at,
    scale_head,
    trace,
)
from gptlib.model.attention import MultiHeadAttention
from gptlib.model.cache import KeyValueCache
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT

CONFIG = GPTConfig(vocab_size=17, context_length=16, n_layers=3, n_heads=2, d_model=16)


@pytest.fixture
def tokens():
    return torch.randint(17, (2, 9), generator=torch.Generator().manual_seed(0))


def build(**changes):
    torch.manual_seed(0)
    model = GPT(replace(CONFIG, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)
    return model


def n_hooks(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def weights_by_hand(model, tokens):
    """The attention of a learned-position model, computed beside the library."""
    x = model.token_embedding(tokens) + model.position.embedding.weight[: tokens.shape[1]]
    future = torch.ones(tokens.shape[1], tokens.shape[1]).triu(1).bool()
    recorded = []
    for block in model.blocks:
        queries, keys, _ = block.attention.qkv(block.attention_norm(x)).chunk(3, dim=-1)
        heads = []
        for query, key in zip(queries.chunk(2, dim=-1), keys.chunk(2, dim=-1), strict=True):
            scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
            heads.append(scores.masked_fill(future, -torch.inf).softmax(-1))
        recorded.append(torch.stack(heads, dim=1))
        x = block(x)
    return torch.stack(recorded)


@pytest.mark.parametrize("training", [False, True])
def test_records_the_attention_of_all_layers(tokens, training):
    model = build().train(training)
    with trace(model) as run:
        logits = model(tokens)
    assert run.attention.shape == (3, 2, 2, 9, 9)  # (layer, batch, head, query, key)
    torch.testing.assert_close(run.attention, weights_by_hand(model, tokens), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(run.attention.sum(-1), torch.ones(3, 2, 2, 9))
    assert (run.attention.triu(1) == 0).all()
    assert not run.attention.requires_grad
    torch.testing.assert_close(logits, model(tokens), atol=1e-5, rtol=1e-5)  # looking changes nothing


def test_weights_are_before_dropout_in_training(tokens):
    model = build(dropout=0.5).train()
    for module in model.modules():  # keep the dropout on the weights alone, so that layers see equal inputs
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with trace(model) as run:
        dropped = model(tokens)
    with trace(model.eval()) as quiet:
        kept = model(tokens)
    torch.testing.assert_close(run.attention.sum(-1), torch.ones(3, 2, 2, 9))  # no weight is missing
    torch.testing.assert_close(run.attention[0], quiet.attention[0])  # the first layer: the very same
    assert not torch.allclose(dropped, kept)  # and yet dropout was at work


def test_hooks_are_gone_after_the_with_also_after_an_error(tokens):
    model = build()
    with trace(model):
        assert n_hooks(model) == 3
        model(tokens)
    assert n_hooks(model) == 0
    with pytest.raises(KeyError), trace(model):
        raise KeyError
    assert n_hooks(model) == 0
    with pytest.raises(IndexError), trace(model):
        model(tokens + 17)
    assert n_hooks(model) == 0


def test_two_traces_at_once_and_one_ends_first(tokens):
    model = build()
    with trace(model) as outer:
        with trace(model) as inner:
            model(tokens)
        assert torch.equal(outer.attention, inner.attention)
        model(tokens[:, :4])
    assert outer.attention.shape[-1] == 4 and inner.attention.shape[-1] == 9
    assert n_hooks(model) == 0


@pytest.mark.parametrize("position", ["learned", "rotary", "alibi"])
def test_with_a_cache_queries_are_the_new_tokens(tokens, position):
    model = build(position=position, n_kv_heads=1).eval()
    with trace(model) as whole:
        model(tokens)
    cache = KeyValueCache(model.config, batch_size=2)
    with trace(model) as run:
        model(tokens[:, :6], cache)
        model(tokens[:, 6:], cache)
    assert run.attention.shape == (3, 2, 2, 3, 9)
    torch.testing.assert_close(run.attention, whole.attention[..., 6:, :], atol=1e-5, rtol=1e-5)


def test_a_single_layer_can_be_traced(tokens):
    model = build()
    with trace(model.blocks[1]) as run:
        model(tokens)
    assert run.attention.shape == (1, 2, 2, 9, 9)


@pytest.mark.usefixtures("without_shape_checks")
def test_what_cannot_be_traced_is_refused(tokens):
    with pytest.raises(TypeError, match="model is a str"), trace("storyteller"):
        pass
    with pytest.raises(ValueError, match="Linear without any"), trace(nn.Linear(2, 2)):
        pass
    with pytest.raises(ValueError, match=r"'blocks\.0\.residual' fits no .* blocks\.0\.residual_"):  # noqa: SIM117
        with trace(build(), only=["logits", "blocks.0.residual"]):
            pass
    with trace(build()) as run:
        pass
    with pytest.raises(RuntimeError, match="nothing was recorded"):
        run.attention  # noqa: B018
    with trace(model := build(), only="logits") as run:
        model(tokens)
    with pytest.raises(KeyError, match="only='blocks.0.mlp.hidden'"):
        run["blocks.0.mlp.hidden"]
    with pytest.raises(ValueError, match="fits no activation"):
        run.attention  # noqa: B018


# --- every activation by its name -------------------------------------------------------------------------

LAYOUTS = [
    {},
    {"position": "rotary", "norm": "rmsnorm", "mlp": "swiglu", "bias": False, "n_kv_heads": 1},
    {"position": "alibi", "tie_embeddings": False},
    {"position": "sinusoidal", "norm": "rmsnorm"},
    {"position": "none", "n_kv_heads": 1},
]


def by_hand(model, tokens):
    """Every activation of a run, computed beside the library's forward passes, in order."""
    config, n = model.config, tokens.shape[1]
    seen = {"token_embedding": model.token_embedding.weight[tokens]}
    x = seen["embedding"] = model.position(seen["token_embedding"], 0)
    for layer, block in enumerate(model.blocks):
        here, attention = f"blocks.{layer}.", block.attention
        seen[here + "residual_pre"] = x
        seen[here + "attention_norm"] = block.attention_norm(x)
        parts = attention.qkv(seen[here + "attention_norm"]).split(attention.widths, dim=-1)
        queries, keys, values = (part.unflatten(-1, (-1, config.d_head)).transpose(1, 2) for part in parts)
        queries, keys = attention.position(queries), attention.position(keys)
        group = config.n_heads // config.kv_heads
        keys, values = (part.repeat_interleave(group, dim=1) for part in (keys, values))
        scores = queries @ keys.transpose(-2, -1) / config.d_head**0.5
        if (bias := attention.position.bias(n, n)) is not None:
            scores = scores + bias
        scores = scores.masked_fill(torch.ones(n, n).triu(1).bool(), -torch.inf)
        weights = scores.softmax(-1)
        for name, part in zip(
            ("queries", "keys", "values", "scores", "weights"),
            (queries, keys, values, scores, weights),
            strict=True,
        ):
            seen[here + "attention." + name] = part
        heads = seen[here + "attention.heads"] = (weights @ values).transpose(1, 2)
        seen[here + "attention.output"] = attention.output(heads.flatten(2))
        x = seen[here + "residual_mid"] = x + seen[here + "attention.output"]
        read = seen[here + "mlp_norm"] = block.mlp_norm(x)
        if config.mlp == "swiglu":
            hidden = nn.functional.silu(block.mlp.gate(read)) * block.mlp.up(read)
        else:
            hidden = nn.functional.gelu(block.mlp.up(read), approximate="tanh")
        seen[here + "mlp.hidden"] = hidden
        seen[here + "mlp.output"] = block.mlp.down(hidden)
        x = seen[here + "residual_post"] = x + seen[here + "mlp.output"]
    seen["residual_final"] = x
    seen["final_norm"] = model.final_norm(x)
    seen["logits"] = model.unembedding(seen["final_norm"])
    return seen


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.get("position", "learned"))
def test_every_name_holds_what_it_says(tokens, layout):
    model = build(**layout).eval()
    with torch.no_grad():
        expected = by_hand(model, tokens)
        with trace(model, only="*") as run:
            model(tokens)
    assert list(run) == activation_names(model) == list(expected)
    for name in run:
        torch.testing.assert_close(
            run[name], expected[name], atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert run.stack("*.residual_post").shape == (3, 2, 9, 16)


def test_patterns_choose_in_order(tokens):
    model = build().eval()
    with trace(model, only=["logits", "blocks.[02].mlp.*"]) as run:
        model(tokens)
    assert list(run) == [
        "blocks.0.mlp.hidden",
        "blocks.0.mlp.output",
        "blocks.2.mlp.hidden",
        "blocks.2.mlp.output",
        "logits",
    ]
    assert len(run) == 5 and "residual_final" not in run


def test_what_is_not_looked_at_stays_on_the_fast_path(tokens, monkeypatch):
    model = build().eval()
    monkeypatch.setattr(MultiHeadAttention, "attend_explicitly", None)
    with trace(model, only=["*.residual_*", "*.attention.heads", "*.mlp.*"]):
        model(tokens)  # would raise if it took the explicit path
    with pytest.raises(TypeError), trace(model, only="*.attention.keys"):
        model(tokens)


@pytest.mark.parametrize("part", ["blocks", "attention"])
def test_parts_have_the_names_of_their_parts(tokens, part):
    model = build()
    module = model.blocks if part == "blocks" else model.blocks[1].attention
    with trace(module) as run:
        model(tokens)
    expected = [f"{n}.attention.weights" for n in range(3)] if part == "blocks" else ["attention.weights"]
    assert list(run) == expected


def test_a_mixture_of_experts_has_all_names_but_its_neurons(tokens):
    model = build(n_experts=4, n_active=2).eval()
    with trace(model, only="*") as run:
        logits = model(tokens)
    assert torch.equal(run["logits"], logits)
    assert [n for n in activation_names(build()) if n not in run] == [
        f"blocks.{n}.mlp.hidden" for n in range(3)
    ]
    torch.testing.assert_close(
        run["blocks.1.residual_mid"] + run["blocks.1.mlp.output"], run["blocks.1.residual_post"]
    )


# --- changing a run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", ["learned", "rotary"])
def test_a_head_without_its_columns_of_the_projection_is_a_removed_head(tokens, position):
    """What `remove_head` says must be what taking the head's weights away does."""
    model = build(position=position, n_kv_heads=1).eval()
    with edit(model, {"blocks.1.attention.heads": remove_head(1)}):
        edited = model(tokens)
    assert (edited - model(tokens)).abs().max() > 1e-4
    with torch.no_grad():
        model.blocks[1].attention.output.weight[:, 8:] = 0
    torch.testing.assert_close(edited, model(tokens))


def test_removed_by_its_mean_a_head_says_the_same_everywhere(tokens):
    model = build().eval()
    name = "blocks.0.attention.heads"
    with trace(model, only=name) as before:
        model(tokens)
    with edit(model, {name: remove_head(0, "mean")}), trace(model, only=name) as after:
        model(tokens)
    mean = before[name][:, :, 0].mean(dim=1, keepdim=True)
    torch.testing.assert_close(after[name][:, :, 0], mean.expand(-1, 9, -1))
    torch.testing.assert_close(after[name][:, :, 1], before[name][:, :, 1])


def test_edits_compose_in_turn(tokens):
    model = build().eval()
    before = model(tokens)
    name = "blocks.2.attention.heads"
    with edit(model, {name: in_turn(scale_head(0, 4), scale_head(0, 0.25))}):
        torch.testing.assert_close(model(tokens), before)
    with edit(model, {name: scale_head(0, 0)}):
        nothing = model(tokens)
    with edit(model, {name: remove_head(0)}):
        torch.testing.assert_close(model(tokens), nothing)


def test_a_patched_position_changes_nothing_before_it(tokens):
    model = build().eval()
    before = model(tokens)
    with edit(model, {"blocks.1.residual_pre": replace_at(4, torch.ones(16))}):
        after = model(tokens)
    torch.testing.assert_close(after[:, :4], before[:, :4])
    assert ((after - before)[:, 4:].abs().amax(dim=(0, 2)) > 1e-4).all()


def test_a_run_patched_with_its_own_activations_is_the_same_run(tokens):
    model = build().eval()
    with trace(model, only="*") as kept:
        before = model(tokens)
    for name in activation_names(model):
        with edit(model, {name: lambda x, name=name: kept[name].clone()}):
            torch.testing.assert_close(model(tokens), before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.get("position", "learned"))
def test_every_activation_can_be_changed_and_the_change_is_felt(tokens, layout):
    model = build(**layout).eval()
    before = model(tokens)
    for name in activation_names(model):
        with edit(model, {name: lambda x: x * 0.5}):
            assert (model(tokens) - before).abs().max() > 1e-5, name
        with edit(model, {name: lambda x: x.clone()}):
            torch.testing.assert_close(model(tokens), before, atol=1e-5, rtol=1e-5)
    assert torch.equal(model(tokens), before)


def test_a_stream_replaced_everywhere_gives_the_other_run_exactly(tokens):
    """The first stream is all that a run knows of its tokens."""
    model, other = build().eval(), tokens.flip(0)
    with trace(model, only="blocks.0.residual_pre") as run:
        clean = model(tokens)
    with edit(model, {"blocks.0.residual_pre": lambda x: run["blocks.0.residual_pre"]}):
        assert torch.equal(model(other), clean)


@pytest.mark.parametrize("how", ["zero", "mean", "resampled", "tensor"])
@pytest.mark.parametrize("removal", [remove_head, remove_neuron])
def test_removed_units_say_what_they_are_told_to_and_others_go_on(tokens, removal, how):
    model = build().eval()
    name = f"blocks.1.{'attention.heads' if removal is remove_head else 'mlp.hidden'}"
    with trace(model, only=name) as run:
        model(tokens)
    before = run[name]
    given = torch.randn(before[0, 0, :2].shape, generator=torch.Generator().manual_seed(1))
    expected = {
        "zero": torch.zeros_like(before[:, :, :2]),
        "mean": before[:, :, :2].mean(dim=1, keepdim=True).expand_as(before[:, :, :2]),
        "resampled": before[:, :, :2].flip(0),  # of two texts each is the one before the other
        "tensor": given.expand_as(before[:, :, :2]),
    }[how]
    with (
        edit(model, {name: removal([0, 1], given if how == "tensor" else how)}),
        trace(model, only=name) as run,
    ):
        model(tokens)
    torch.testing.assert_close(run[name][:, :, :2], expected)
    assert torch.equal(run[name][:, :, 2:], before[:, :, 2:])


def test_removed_twice_is_removed_once(tokens):
    model = build().eval()
    name = "blocks.1.attention.heads"
    with edit(model, {name: remove_head(0)}):
        once = model(tokens)
        with edit(model, {"*.heads": lambda x: None, name: remove_head(0)}):
            assert torch.equal(model(tokens), once)


def test_of_edits_and_traces_the_outer_ones_act_first(tokens):
    model = build().eval()
    name, later = "blocks.1.residual_pre", "blocks.2.residual_pre"
    with trace(model, only=[name, later]) as outer, edit(model, {name: lambda x: x + 1}):  # noqa: SIM117
        with edit(model, {name: lambda x: 2 * x}), trace(model, only=[name, later]) as inner:
            model(tokens)
    torch.testing.assert_close(inner[name], 2 * (outer[name] + 1))
    assert torch.equal(inner[later], outer[later])  # further on, every edit is felt
    assert n_hooks(model) == 0


@pytest.mark.parametrize("position", ["learned", "rotary", "alibi"])
def test_generates_the_same_under_edits_with_a_cache_and_without(tokens, position):
    model = build(position=position, n_kv_heads=1).eval()
    edits = {
        "blocks.0.attention.heads": remove_head(1),
        "*.attention.keys": lambda x: 1.5 * x,
        "blocks.1.attention.scores": lambda x: x.clamp(max=1),
        "blocks.2.mlp.hidden": remove_neuron([0, 3]),
    }
    plain = generate_tokens(model, tokens, max_new_tokens=6, temperature=0)
    with edit(model, edits), trace(model) as run:
        cached = generate_tokens(model, tokens, max_new_tokens=6, temperature=0)
        assert run.attention.shape[-2:] == (1, 14)  # the last pass: one new token, which sees all 14
        uncached = generate_tokens(model, tokens, max_new_tokens=6, temperature=0, cached=False)
    assert torch.equal(cached, uncached) and not torch.equal(cached, plain)
    assert torch.equal(generate_tokens(model, tokens, max_new_tokens=6, temperature=0), plain)


def test_edited_weights_are_what_trace_records(tokens):
    model = build().eval()

    def only_itself(weights):
        return torch.eye(weights.shape[-1]).expand_as(weights).clone()

    with edit(model, {"blocks.1.attention.weights": only_itself}), trace(model) as run:
        model(tokens)
    assert torch.equal(run.attention[1, 0, 0], torch.eye(9))
    assert not torch.equal(run.attention[0, 0, 0], torch.eye(9))


def test_edits_are_gone_after_an_error(tokens):
    model = build().eval()
    before = model(tokens)

    def fail(x):
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), edit(model, {"blocks.0.residual_pre": fail}):
        model(tokens)
    assert torch.equal(model(tokens), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.usefixtures("without_shape_checks")
def test_what_cannot_be_edited_is_refused():
    with pytest.raises(ValueError, match=r"'blocks\.9\.residual_pre' fits no activation .* near it"):  # noqa: SIM117
        with edit(build(), {"blocks.9.residual_pre": remove_head(0)}):
            pass
    with pytest.raises(TypeError, match="model is a list"):
        activation_names([])
    with pytest.raises(ValueError, match='"zero", "mean", "resampled" or a tensor'):
        remove_head(0, "some")
    with (
        pytest.raises(ValueError, match="the batch holds one"),
        edit(model := build(), {"*.heads": remove_head(0, "resampled")}),
    ):
        model(torch.tensor([[1, 2, 3]]))
    assert n_hooks(model) == 0
