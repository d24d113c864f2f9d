"""Inspecting: what is read adds up to what the model says; what is patched is what the other run had."""

from dataclasses import replace

import jaxtyping
import pytest
import torch

from gptlib.interpret.inspecting import (
    direct_logit_attribution,
    each_patch,
    logit_difference,
    logit_lens,
    mean_activation,
    patching_map,
    remove_each_head,
)
from gptlib.interpret.tracing import edit, remove_head, trace
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT

CONFIG = GPTConfig(vocab_size=17, context_length=16, n_layers=3, n_heads=2, d_model=16)
LAYOUTS = [
    {},
    {"norm": "rmsnorm", "mlp": "swiglu", "position": "rotary", "n_kv_heads": 1, "bias": False},
    {"copy_heads": 3, "qk_norm": True, "tie_embeddings": False},
    {"tie_embeddings": False, "position": "alibi"},
]
METRIC = logit_difference(3, 5)


@pytest.fixture
def tokens():
    return torch.randint(17, (2, 7), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def others():
    return torch.randint(17, (2, 7), generator=torch.Generator().manual_seed(1))


def build(**changes):
    torch.manual_seed(0)
    model = GPT(replace(CONFIG, **changes)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            begins_at_zero = name.endswith(("bias", "gains"))
            parameter.mul_(4).add_(0.3 * torch.randn(parameter.shape) if begins_at_zero else 0)
    return model


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_lens_ends_with_the_logits_and_begins_with_the_embedding(tokens, layout):
    model = build(**layout)
    lens = logit_lens(model, tokens)
    assert lens.shape == (4, 2, 7, 17)  # (layer, batch, seq, vocab)
    torch.testing.assert_close(lens[-1], model(tokens))
    embedding = model.position(model.token_embedding(tokens), 0)
    read = model.final_norm(embedding)
    for heads in model.copying:
        read = heads(read, tokens, model.unembedding.weight)
    torch.testing.assert_close(lens[0], model.unembedding(read))
    # The lens after layer 2 is a model without its last block.
    shorter = build(**layout)
    del shorter.blocks[2]
    torch.testing.assert_close(lens[2], shorter(tokens))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("position", [-1, 3])
def test_what_the_parts_add_sums_to_the_logit(tokens, layout, position):
    model = build(**layout)
    logits = model(tokens)[:, position]
    parts = direct_logit_attribution(model, tokens, 4, position=position)
    assert parts.heads.shape == (3, 2, 2) and parts.mlps.shape == (
        3,
        2,
    )  # (layer, head, batch), (layer, batch)
    torch.testing.assert_close(parts.total, logits[:, 4], atol=1e-4, rtol=1e-4)
    right, wrong = torch.tensor([1, 9]), torch.tensor([0, 2])  # for each text a token of its own
    parts = direct_logit_attribution(model, tokens, right, wrong, position)
    expected = logit_difference(right, wrong, position)(model(tokens))
    torch.testing.assert_close(parts.total, expected, atol=1e-4, rtol=1e-4)


def test_attribution_feels_what_is_done_to_a_copy_head(tokens):
    model = build(copy_heads=3)
    whole = direct_logit_attribution(model, tokens, 4)
    with edit(model, {"copying.heads": remove_head(1)}):
        parts, logits = direct_logit_attribution(model, tokens, 4), model(tokens)[:, -1]
    assert (parts.copies[1] == 0).all() and (whole.copies[1].abs() > 1e-3).all()
    torch.testing.assert_close(parts.total, logits[:, 4], atol=1e-4, rtol=1e-4)


def test_a_head_is_credited_with_what_it_writes(tokens):
    """In the last layer nothing but the norm's divisor and the MLP come after a head: with both held, removal
    takes away what attribution gave."""
    model = build()
    with torch.no_grad():
        model.blocks[2].mlp.down.weight.zero_()  # nothing in the block reads the head
    before = direct_logit_attribution(model, tokens, 4)
    with edit(model, {"blocks.2.attention.heads": remove_head(1)}):
        after = direct_logit_attribution(model, tokens, 4)
    assert (after.heads[2, 1] == 0).all() and (before.heads[2, 1].abs() > 1e-3).all()
    ratio = before.embedding / after.embedding  # of the two divisors
    for part in ("heads", "mlps"):
        ours, theirs = getattr(before, part), getattr(after, part) * ratio
        if part == "heads":
            ours[2, 1] = 0
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_a_mean_is_over_texts_and_positions_of_all_batches(tokens, others):
    model = build()
    name = "blocks.1.attention.heads"
    mean = mean_activation(model, name, [tokens, others[:1, :3]])
    seen = []
    for batch in (tokens, others[:1, :3]):
        with trace(model, only=name) as run:
            model(batch)
        seen.append(run[name].flatten(0, 1))
    torch.testing.assert_close(mean, torch.cat(seen).mean(dim=0))
    with pytest.raises(ValueError, match="batches is empty"):
        mean_activation(model, name, [])


def test_each_head_is_removed_by_itself(tokens):
    model = build()
    removed = remove_each_head(model, tokens, METRIC)
    with edit(model, {"blocks.2.attention.heads": remove_head(1)}):
        torch.testing.assert_close(removed[2, 1], METRIC(model(tokens)).mean())
    assert removed.unique().numel() == 6
    means = torch.stack([mean_activation(model, f"blocks.{n}.attention.heads", [tokens]) for n in range(3)])
    removed = remove_each_head(model, tokens, METRIC, means)
    with edit(model, {"blocks.0.attention.heads": remove_head(1, means[0, 1])}):
        torch.testing.assert_close(removed[0, 1], METRIC(model(tokens)).mean())


# Copy heads read the tokens themselves, which no patch of the stream brings back.
@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if "copy_heads" not in layout])
def test_patched_streams_recover_what_the_other_run_had(tokens, others, layout):
    model = build(**layout)
    corrupted = tokens.clone()
    corrupted[:, 2] = others[:, 2]  # one token is another
    cells = patching_map(model, tokens, corrupted, METRIC)
    assert cells.shape == (3, 7)
    torch.testing.assert_close(cells[0, 2], torch.tensor(1.0))  # where the token enters: the clean run
    assert (cells[:, :2] == 0).all() and (
        cells[0, 3:] == 0
    ).all()  # before it, and beside it, nothing differs
    last = patching_map(model, tokens, corrupted, METRIC, "residual_post")[-1]
    torch.testing.assert_close(last, torch.eye(7)[6], atol=1e-5, rtol=1e-5)  # only the last position is read


def test_patched_heads_recover_as_by_hand(tokens, others):
    model = build()
    cells = patching_map(model, tokens, others, METRIC, "attention.heads")
    name = "blocks.1.attention.heads"
    with trace(model, only=name) as run:
        clean = METRIC(model(tokens)).mean()
    corrupted = METRIC(model(others)).mean()

    def swap(heads):
        return torch.stack([run[name][:, :, 0], heads[:, :, 1]], dim=2)

    with edit(model, {name: swap}):
        by_hand = (METRIC(model(others)).mean() - corrupted) / (clean - corrupted)
    torch.testing.assert_close(cells[1, 0], by_hand)
    assert cells.shape == (3, 2)


def test_no_hooks_and_no_gradients_are_left(tokens, others):
    model = build()
    results = [
        logit_lens(model, tokens),
        direct_logit_attribution(model, tokens, 1).heads,
        remove_each_head(model, tokens, METRIC),
        patching_map(model, tokens, others, METRIC),
    ]
    assert not any(result.requires_grad for result in results)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_pairs_that_cannot_be_compared_are_refused(tokens):
    model = build()
    with pytest.raises(ValueError, match="metric is .* for clean and for corrupted"):
        patching_map(model, tokens, tokens, METRIC)
    jaxtyping.config.update("jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"clean has shape \(2, 7\), corrupted \(2, 6\)"):
        next(each_patch(model, tokens, tokens[:, :6], "residual_mid"))
    jaxtyping.config.update("jaxtyping_disable", False)
