"""Copy heads: what they compute, by hand; at first nothing; and what runs a GPT runs one with them."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptlib.formats.folders import write_folder
from gptlib.generation.decoding import can_decode
from gptlib.interpret.tracing import edit, trace
from gptlib.loading import load, save
from gptlib.model.cache import KeyValueCache
from gptlib.model.config import GPTConfig
from gptlib.model.copying import CopyHeads
from gptlib.model.gpt import GPT
from gptlib.training.finetuning import Classifier
from gptlib.training.optimizers import by_part, decay_groups

CONFIG = GPTConfig(vocab_size=23, context_length=16, n_layers=2, n_heads=2, d_model=16, copy_heads=3)
CONFIGS = [
    CONFIG,
    replace(CONFIG, tie_embeddings=False, qk_norm=True, head_width=6, bias=False),
    replace(CONFIG, copy_heads=1, position="rotary", n_kv_heads=1),
    replace(CONFIG, window=3, norm="rmsnorm", logit_cap=5.0),
]


def build(config=CONFIG, gains=1.0):
    torch.manual_seed(0)
    model = GPT(config).eval()
    with torch.no_grad():
        for heads in model.copying:
            heads.gains.copy_(gains * torch.randn_like(heads.gains))
            heads.queries.weight.mul_(20)
            heads.keys.weight.mul_(20)
    return model


def draw(*shape, seed=0):
    return torch.randint(23, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("config", CONFIGS)
def test_the_logits_are_those_by_hand(config):
    model, tokens = build(config), draw(2, 9)
    with trace(model, only=["final_norm", "copying.*"]) as run:
        logits = model(tokens)
    (heads,), table = model.copying, model.unembedding.weight
    expected = run["final_norm"].clone()
    for text in range(2):
        for place in range(9):
            x = run["final_norm"][text]
            for head in range(config.copy_heads):
                rows = slice(head * config.d_head, (head + 1) * config.d_head)
                query = heads.query_norm((heads.queries.weight[rows] @ x[place]).view(1, 1, 1, -1)).flatten()
                keys = (x[: place + 1] @ heads.keys.weight[rows].T).view(1, 1, place + 1, -1)
                keys = heads.key_norm(keys)[0, 0]
                scores = torch.stack([query @ key / math.sqrt(config.d_head) for key in keys])
                weights = scores.softmax(dim=0)
                seen = run["copying.weights"][text, head, place]
                torch.testing.assert_close(seen[: place + 1], weights, atol=1e-5, rtol=1e-4)
                assert (seen[place + 1 :] == 0).all()
                copied = sum(weight * table[tokens[text, k]] for k, weight in enumerate(weights))
                added = heads.gains.view(config.copy_heads, -1)[head] * copied
                kept = run["copying.heads"][text, place, head]
                torch.testing.assert_close(kept, added, atol=1e-5, rtol=1e-4)
                expected[text, place] += added
    torch.testing.assert_close(run["copying.output"], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.unembedding(expected), logits, atol=1e-4, rtol=1e-4)


def test_at_first_they_say_nothing_and_learn_from_the_first_step():
    torch.manual_seed(0)
    model, tokens = GPT(CONFIG), draw(2, 9)
    torch.manual_seed(0)
    plain = GPT(replace(CONFIG, copy_heads=None))
    plain.load_state_dict({name: model.state_dict()[name] for name in plain.state_dict()})
    assert torch.equal(model(tokens), plain(tokens))
    model(tokens).square().sum().backward()
    assert model.copying[0].gains.grad.abs().min() > 0


@pytest.mark.parametrize("config", CONFIGS)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_with_a_cache_the_logits_are_the_same(config, pieces):
    model, tokens = build(config), draw(2, sum(pieces))
    cache, found = KeyValueCache(config, batch_size=2), []
    with torch.no_grad():
        for piece in tokens.split(pieces, dim=1):
            found.append(model(piece, cache))
        torch.testing.assert_close(torch.cat(found, dim=1), model(tokens), atol=1e-4, rtol=1e-4)
    if config.window is None:
        rows = torch.tensor([1, 1, 0])
        cache.take(rows)
        more = draw(3, 1, seed=1)
        with torch.no_grad():
            whole = model(torch.cat([tokens[rows], more], dim=1))[:, -1:]
            torch.testing.assert_close(model(more, cache), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("config", CONFIGS)
def test_such_a_model_is_saved_and_loaded_and_transformers_refuses_it(tmp_path, config):
    from transformers import AutoConfig

    model, tokens = build(config), draw(1, 8)
    save(tmp_path / "model", model, None)
    again, _ = load(tmp_path / "model")
    assert again.config == config and torch.equal(again(tokens), model(tokens))
    with pytest.raises(ValueError, match="gptlib"):
        AutoConfig.from_pretrained(tmp_path / "model")
    assert write_folder(tmp_path / "other", again, None).is_dir()


def test_what_they_look_at_becomes_likelier_and_can_be_changed():
    model, tokens = build(), draw(1, 6)
    with torch.no_grad():
        model.copying[0].gains.fill_(30.0)
        rows = model.token_embedding.weight
        rows.div_(rows.norm(dim=1, keepdim=True))  # so that no other row is nearer to one than itself

    def look_at(place):
        def change(weights):
            changed = torch.zeros_like(weights)
            changed[..., place] = 1.0
            return changed

        return change

    for place in range(6):
        with edit(model, {"copying.weights": look_at(place)}):
            assert model(tokens)[0, -1].argmax() == tokens[0, place]


@pytest.mark.usefixtures("without_shape_checks")  # which no graph can hold
def test_what_reads_a_gpt_reads_one_with_copy_heads():
    model, tokens = build(), draw(2, 7)
    assert not can_decode(model)  # the fast decoder does not know them, and leaves the model to itself
    torch.testing.assert_close(model(tokens), torch.compile(model, backend="eager")(tokens))
    scores = Classifier(model, 4)(tokens, torch.tensor([3, 7]))
    assert scores.shape == (2, 4)
    groups = by_part(model, decay_groups(model, 0.1))
    parts = {id(parameter): group["part"] for group in groups for parameter in group["params"]}
    (heads,) = model.copying
    assert type(heads) is CopyHeads
    assert parts[id(heads.queries.weight)] == parts[id(heads.keys.weight)] == "matrix"
    assert parts[id(heads.gains)] == "vector" and parts[id(model.token_embedding.weight)] == "embedding"


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True])
def test_copy_heads_are_a_whole_number_or_none(wrong):
    with pytest.raises((TypeError, ValueError), match="copy_heads is"):
        replace(CONFIG, copy_heads=wrong)
