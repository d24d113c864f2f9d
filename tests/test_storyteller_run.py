"""A storyteller that had copy heads: what folding them into a layer keeps, and a run that is stopped."""

import json
from dataclasses import replace

import pytest
import torch

from gptlib import GPT, load, trace
from gptlib.model.presets import PRESETS
from gptlib.text.corpora import TokenFile, storyworld_corpus
from gptlib.training.evaluation import IGNORED
from gptlib.training.repeats import said_before


@pytest.fixture(scope="module")
def script(benchmark):
    return benchmark("train_storyteller")


@pytest.fixture
def copying(script):
    """A model with copy heads that copy something, and a norm that is not the initial one."""
    torch.manual_seed(1)
    model = GPT(replace(script.COPYING_SHAPE, vocab_size=60)).eval()
    with torch.no_grad():
        model.copying[0].gains.normal_()
        model.final_norm.weight.uniform_(0.5, 2.0)
        model.final_norm.bias.normal_()
        for name in ("queries", "keys"):
            getattr(model.copying[0], name).weight.mul_(20)
    return model


TOKENS = torch.randint(60, (12, 40), generator=torch.Generator().manual_seed(0))


def test_the_shape_is_storytellers(script):
    assert script.folded(GPT(script.COPYING_SHAPE), TOKENS).config == PRESETS["storyteller"]


def test_the_new_layer_looks_where_the_copy_heads_did(script, copying):
    grown = script.folded(copying, TOKENS)
    names = ["*.attention.weights", "copying.weights"]
    with trace(copying, only=names) as before, trace(grown, only=names[:1]) as after, torch.no_grad():
        copying(TOKENS), grown(TOKENS)
    copied = before["copying.weights"]
    assert copied.max(dim=-1).values.median() > 0.3, "heads that look everywhere alike would show nothing"
    torch.testing.assert_close(after.attention[-1], copied, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(after.attention[:-1], before.attention)


def test_copy_heads_that_copy_nothing_leave_a_layer_that_writes_nothing(script, copying):
    torch.nn.init.zeros_(copying.copying[0].gains)
    with torch.no_grad():
        torch.testing.assert_close(script.folded(copying, TOKENS)(TOKENS), copying(TOKENS))


def test_the_fold_keeps_much_of_what_was_copied(script, copying):
    """Nearer to the copying model than a model whose copy heads were taken away."""
    without = GPT(replace(copying.config, copy_heads=None)).eval()
    without.load_state_dict(copying.state_dict(), strict=False)
    with torch.no_grad():
        wanted = copying(TOKENS)
        missed = (script.folded(copying, TOKENS)(TOKENS) - wanted).pow(2).mean()
        assert missed < 0.5 * (without(TOKENS) - wanted).pow(2).mean()


def test_what_has_the_rank_is_fitted_exactly_and_weights_count(script):
    generator = torch.Generator().manual_seed(0)
    read, counted = torch.randn(5, 30, 16, generator=generator), torch.rand(5, 30, generator=generator)
    product = torch.randn(16, 4, generator=generator) @ torch.randn(4, 16, generator=generator)
    values, outputs = script.fitted(read, read @ product, counted, 4)
    torch.testing.assert_close(values @ outputs, product, rtol=1e-4, atol=1e-4)
    spoilt = read @ product
    spoilt[0] += 10
    values, outputs = script.fitted(read, spoilt, counted * (torch.arange(5) > 0)[:, None], 4)
    torch.testing.assert_close(values @ outputs, product, rtol=1e-4, atol=1e-4)


def test_what_is_said_again_counts_alike_however_often(script, monkeypatch):
    _, tokenizer = load("storyteller")
    tokens = [tokenizer.end_of_text]
    for text in storyworld_corpus(600, 0).documents:
        tokens += [*tokenizer.encode(text), tokenizer.end_of_text]
    monkeypatch.setattr(script, "RECALLING", 1.0)
    data, whole = (kind(TokenFile.from_tokens(tokens)) for kind in (script.Recalling, script.Stories))
    generator = torch.Generator().manual_seed(0)
    again, kept, new, new_kept = torch.zeros(2048), torch.zeros(2048), 0, 0
    for _ in range(150):
        state = generator.get_state()
        inputs, left = data.batch(16, 256, generator, True)
        generator.set_state(state)
        _, targets = whole.batch(16, 256, generator, True)
        assert ((left == targets) | (left == IGNORED)).all()
        repeats = said_before(inputs, targets) & (targets != IGNORED)
        again += torch.bincount(targets[repeats], minlength=2048)
        kept += torch.bincount(left[repeats & (left != IGNORED)], minlength=2048)
        others = ~repeats & (targets != IGNORED)
        new, new_kept = new + int(others.sum()), new_kept + int((others & (left != IGNORED)).sum())
    assert abs(new_kept / new - script.NEW) < 0.01
    the, name, mood = (tokenizer.encode(word)[0] for word in (" the", " Jack", " gloomy"))
    assert again[the] > 20 * again[name] > 20 * 3 * again[mood] > 0
    assert kept[mood] > 0.6 * again[mood]
    assert kept[the] < 4 * kept[mood] and kept[name] < 4 * kept[mood]


def test_some_batches_are_left_as_they_are(script):
    tokens = TokenFile.from_tokens([0, *(5 * [1, 2, 1, 2, 1, 2, 1, 0])])
    data, generator = script.Recalling(tokens), torch.Generator().manual_seed(0)
    whole = [(data.batch(4, 8, generator, True)[1] == IGNORED).sum() == 0 for _ in range(100)]
    assert 10 < sum(whole) < 60


class Stop(Exception):
    pass


def test_a_run_that_was_stopped_ends_as_one_that_was_not(script, tmp_path, monkeypatch):
    short = {"steps": 4, "batch_size": 2, "eval_every": 2, "eval_batches": 1, "warmup_steps": 1}
    for name, value in {
        "STORIES": 400,
        "VALIDATION_STORIES": 20,
        "FITTED_ON": 20,
        "SNAPSHOTS": (0, 1, 4, 6, 8, 12),
        "COPYING": replace(script.COPYING, **short),
        "FOLDED": replace(script.FOLDED, **short),
        "SLOWER": replace(script.SLOWER, **short),
    }.items():
        monkeypatch.setattr(script, name, value)
    shipped = []
    monkeypatch.setattr(script, "ship", lambda *given: shipped.append(given))
    script.main(str(tmp_path / "whole"))
    keep = script.Run.keep
    for at in (3, 6, 11):  # 6: behind the checkpoint, before the snapshot

        def stopping(run, step, model, at=at):
            if step == at:
                raise Stop
            keep(run, step, model)

        monkeypatch.setattr(script.Run, "keep", stopping)
        with pytest.raises(Stop):
            script.main(str(tmp_path / "stopped"))
        for log in (tmp_path / "stopped").glob("*.jsonl"):
            log.write_text(log.read_text() + '{"step": 1')  # half of a line
    monkeypatch.setattr(script.Run, "keep", keep)
    script.main(str(tmp_path / "stopped"))
    (_, whole, _, log, snapshots), (_, stopped, _, again, _) = shipped
    assert all(
        torch.equal(one, other) for one, other in zip(whole.parameters(), stopped.parameters(), strict=True)
    )
    assert json.dumps(log) == json.dumps(again)
    assert log["step"] == list(range(1, 13)) and log["tokens"] == sorted(log["tokens"])
    assert [step for step, _ in snapshots] == [0, 1, 4, 6, 8, 12]
    assert all(model.config == PRESETS["storyteller"] for _, model in snapshots)
    for one in (tmp_path / "whole" / "snapshots").iterdir():
        assert one.read_bytes() == (tmp_path / "stopped" / "snapshots" / one.name).read_bytes()
