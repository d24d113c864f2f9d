from dataclasses import replace

import jaxtyping
import pytest
import torch
from torch import nn

from gptlib.attention import KeyValueCache
from gptlib.gpt import GPT, GPTConfig
from gptlib.tracing import (
    activation_places,
    edit,
    in_turn,
    record,
    remove_head,
    replace_at,
    scale_head,
    trace,
)

CONFIG = GPTConfig(vocab_size=17, context_length=16, n_layers=3, n_heads=2, d_model=16)


@pytest.fixture
def without_shape_checks():
    """Let wrong types through to gptlib's own errors, as they are for a reader."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


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
def test_what_cannot_be_traced_is_refused():
    with pytest.raises(TypeError, match="model is a str"), trace("storyteller"):
        pass
    with pytest.raises(ValueError, match="Linear without any"), trace(nn.Linear(2, 2)):
        pass
    with trace(build()) as run:
        pass
    with pytest.raises(RuntimeError, match="nothing was recorded"):
        run.attention  # noqa: B018


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
    with record(model, [name]) as before:
        model(tokens)
    with edit(model, {name: remove_head(0, "mean")}), record(model, [name]) as after:
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
    names = list(activation_places(model))
    with record(model, names) as kept:
        before = model(tokens)
    assert list(kept) == names
    for name in names:
        with edit(model, {name: lambda x, name=name: kept[name].clone()}):
            torch.testing.assert_close(model(tokens), before, atol=1e-5, rtol=1e-5)


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
    with pytest.raises(ValueError, match=r"'blocks\.9\.residual_pre', which this model does not have"):  # noqa: SIM117
        with edit(build(), {"blocks.9.residual_pre": remove_head(0)}):
            pass
    with pytest.raises(TypeError, match=r"needs to be a gptlib\.GPT"):
        activation_places(nn.Linear(2, 2))
    with pytest.raises(ValueError, match='"zero" or "mean"'):
        remove_head(0, "some")
