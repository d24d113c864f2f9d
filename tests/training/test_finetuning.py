import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.text.corpora import TokenFile
from gptlib.text.tokenizer import Tokenizer
from gptlib.training.config import TrainConfig
from gptlib.training.conversations import (
    ROLE_TOKENS,
    Conversations,
    answer,
    conversation,
    encode_conversation,
    grow,
    read_conversations,
    split,
    with_roles,
)
from gptlib.training.evaluation import IGNORED, evaluate, loss_of
from gptlib.training.finetuning import Classifier, fine_tune, fingerprint, load_adapter, save_adapter
from gptlib.training.loop import train
from gptlib.training.lora import LoRALinear, add_lora, learn_rows, lora_layers, without_lora

TEXT = "the red kite is in the park. the blue drum is in the hall. " * 3
OLD = Tokenizer.train(TEXT, 280)
ROLES = with_roles(OLD)
FACTS = [
    conversation(f"the {color} {toy}", color) for color in ("red", "blue", "tan") for toy in ("kite", "drum")
]


def small_model(tie_embeddings=True, **changes):
    torch.manual_seed(0)
    shape = {"context_length": 48, "n_layers": 2, "n_heads": 2, "d_model": 16} | changes
    return GPT(GPTConfig(vocab_size=OLD.vocab_size, tie_embeddings=tie_embeddings, **shape)).eval()


def adapted(rank=2):
    """A model with LoRA whose updates are not zero."""
    model = grow(small_model(), OLD, ROLES)
    add_lora(model, rank)
    torch.manual_seed(1)
    for layer in lora_layers(model):
        nn.init.normal_(layer.lora_b, std=0.1)
    return model


@pytest.fixture(scope="module")
def trained():
    """A model that has read TEXT."""
    model = small_model()
    text = TokenFile.from_tokens([OLD.end_of_text, *OLD.encode(TEXT * 4), OLD.end_of_text])
    list(train(model, text, None, config(steps=80, context_length=16)))
    return model.eval()


def tokens(n=12):
    return torch.randint(OLD.vocab_size, (2, n), generator=torch.Generator().manual_seed(2))


# ---------------------------------------------------------------------------------------------- conversations


def test_only_what_the_assistant_says_carries_loss():
    row, said = encode_conversation(ROLES, conversation("hi", "red", "and", "blue"))
    user, assistant = (ROLES.special_tokens[name] for name in ROLE_TOKENS)
    red, blue = [*ROLES.encode(" red"), ROLES.end_of_text], [*ROLES.encode(" blue"), ROLES.end_of_text]
    hi, and_ = ROLES.encode("hi"), ROLES.encode("and")
    assert row == [ROLES.end_of_text, user, *hi, assistant, *red, user, *and_, assistant, *blue]
    assert [token for token, kept in zip(row, said, strict=True) if kept] == red + blue


def test_targets_are_the_next_token_and_padding_carries_no_loss():
    data = Conversations([conversation("hi", "red"), conversation("hello there", "blue drum")], ROLES, 48)
    inputs, targets = data.batch(6, 48, torch.Generator().manual_seed(0))
    assert inputs.shape == targets.shape and len({len(row) for row, _ in data.rows}) == 2
    for row, wanted in data.rows:
        kept = wanted[:-1] != IGNORED
        assert torch.equal(wanted[:-1][kept], row[1:][kept]) and wanted[-1] == ROLES.end_of_text
    assert set((targets != IGNORED).sum(dim=1).tolist()) == {
        len(ROLES.encode(text)) + 1 for text in (" red", " blue drum")
    }


def test_loss_is_the_mean_over_the_answer_alone():
    model = grow(small_model(), OLD, ROLES)
    row, said = encode_conversation(ROLES, FACTS[0])
    logits = model(torch.tensor([row[:-1]]))[0]
    by_token = F.cross_entropy(logits, torch.tensor(row[1:]), reduction="none")
    expected = by_token[torch.tensor(said[1:])].mean()
    inputs, targets = Conversations(FACTS[:1], ROLES, 48).batch(3, 48)
    torch.testing.assert_close(loss_of(model, inputs, targets), expected)


def test_a_conversation_that_is_too_long_is_named():
    with pytest.raises(ValueError, match=r"conversation 2 has 6\d tokens; context_length is 48"):
        Conversations([FACTS[0], conversation("x" * 58, "y")], ROLES, 48)
    with pytest.raises(ValueError, match="at least one"):
        Conversations([], ROLES, 48)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "Expecting property name"),
        (b"[]", "expected {"),
        (b'{"messages": []}', "expected {"),
        (b'{"messages": [{"role": "user"}]}', 'message 1 needs "role" and "content"'),
        (b'{"messages": [{"role": "user", "content": "a"}]}', "the assistant says nothing"),
        (b'{"messages": [{"role": "system", "content": "a"}]}', "role is 'system'"),
        (b'{"messages": [{"role": "assistant", "content": 3}]}', "message 1 has a role or content that is"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'"\xff"', "utf-8"),
        (b"[" * 100_000, "line 2"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path, line, said):
    good = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}'
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b"\n".join([good, line, good]))
    with pytest.raises(ValueError, match="line 2: ") as error:
        read_conversations(path)
    assert said in str(error.value)


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=4), min_size=1))
def test_what_was_written_is_read(tmp_path_factory, texts):
    told = [conversation(*contents) for contents in texts]
    path = tmp_path_factory.mktemp("data") / "mine.jsonl"
    lines = [
        json.dumps({"messages": [{"role": turn.role, "content": turn.content} for turn in turns]})
        for turns in told
    ]
    path.write_text("\r\n\r\n".join(lines) + "\n\n", encoding="utf-8-sig")
    assert read_conversations(path) == told


def test_no_file_and_an_empty_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.jsonl"):
        read_conversations(tmp_path / "nothing.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(ValueError, match="is empty"):
        read_conversations(tmp_path / "empty.jsonl")


@given(st.integers(2, 40), st.floats(0, 1))
def test_a_split_loses_nothing(n, share):
    told = [conversation(str(number), "a") for number in range(n)]
    first, second = split(told, share)
    assert first and second and sorted(first + second, key=told.index) == told
    assert split(told, share) == (first, second)


def test_one_conversation_cannot_be_split():
    with pytest.raises(ValueError, match="fewer than two"):
        split(FACTS[:1], 0.1)


# ---------------------------------------------------------------------------------------------------- growing


@pytest.mark.parametrize("tie_embeddings", [True, False])
def test_a_grown_model_reads_old_tokens_as_before(tie_embeddings):
    model = small_model(tie_embeddings)
    larger = grow(model, OLD, with_roles(OLD, ["小猫在公园。"] * 3, 4))
    assert larger.config.vocab_size == OLD.vocab_size + 6
    torch.testing.assert_close(larger(tokens())[..., : OLD.vocab_size], model(tokens()))


def test_a_new_token_starts_as_the_mean_of_its_parts():
    model = small_model()
    new = with_roles(OLD, ["小猫"] * 3, 2)
    larger = grow(model, OLD, new)
    before, after = model.token_embedding.weight, larger.token_embedding.weight
    first = new.token_bytes(OLD.vocab_size)
    torch.testing.assert_close(after[OLD.vocab_size], before[OLD.encode_bytes(first)].mean(dim=0))
    torch.testing.assert_close(after[-1], before.mean(dim=0))


def test_roles_cannot_be_typed():
    assert set(ROLES.encode("<|user|> <|assistant|>")).isdisjoint(ROLES.special_tokens.values())
    with pytest.raises(ValueError, match="there already"):
        with_roles(ROLES)


# ------------------------------------------------------------------------------------------------------- LoRA


def test_before_training_nothing_has_changed():
    model = small_model()
    before = model(tokens())
    layers = add_lora(model, rank=3)
    assert torch.equal(model(tokens()), before) and len(layers) == 2 * 4
    learning = {name for name, value in model.named_parameters() if value.requires_grad}
    assert learning and all(".lora_" in name for name in learning)


def test_the_update_is_what_the_paper_says():
    linear = nn.Linear(5, 7)
    layer = LoRALinear(linear, rank=2, scale=0.5)
    nn.init.normal_(layer.lora_b)
    x = torch.randn(3, 5)
    weight = linear.weight + 0.5 * layer.lora_b @ layer.lora_a
    torch.testing.assert_close(layer(x), F.linear(x, weight, linear.bias))


@settings(max_examples=10)
@given(st.integers(1, 6), st.sampled_from(["float32", "bfloat16"]))
def test_merge_changes_no_output_and_unmerge_no_bit(rank, dtype):
    model = adapted(rank).to(getattr(torch, dtype))
    bits = {name: value.clone() for name, value in model.state_dict().items()}
    apart = model(tokens())
    for layer in lora_layers(model):
        layer.merge()
        layer.merge()  # a second time does nothing
    if dtype == "float32":
        torch.testing.assert_close(model(tokens()), apart)
    assert not torch.equal(model.blocks[0].mlp.up.weight, bits["blocks.0.mlp.up.weight"])
    for layer in lora_layers(model):
        layer.unmerge()
        layer.unmerge()
    assert all(torch.equal(value, bits[name]) for name, value in model.state_dict().items())
    assert torch.equal(model(tokens()), apart)


def test_without_lora_is_a_plain_gpt_that_computes_the_same():
    model = adapted()
    plain = without_lora(model)
    assert not lora_layers(plain) and lora_layers(model)
    torch.testing.assert_close(plain(tokens()), model(tokens()))
    assert plain.unembedding.weight is plain.token_embedding.weight
    assert set(plain.state_dict()) == set(GPT(plain.config).state_dict())
    assert all(parameter.requires_grad for parameter in plain.parameters())


def test_learn_rows_called_again_adds_rows_until_the_embedding_is_frozen():
    model = small_model()

    def learning():
        model.zero_grad()
        model(tokens()).square().sum().backward()
        return model.token_embedding.weight.grad.abs().sum(dim=1).nonzero().flatten().tolist()

    learn_rows(model, [1, 2])
    learn_rows(model, [3, 5])
    assert learning() == [1, 2, 3, 5]
    add_lora(model, rank=2)  # freezes all
    learn_rows(model, [4])
    learn_rows(model, range(4, 5))
    assert learning() == [4]


def test_muon_learns_lora_where_all_else_is_frozen():
    model = small_model()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    add_lora(model, rank=2)
    list(train(model, TokenFile.from_tokens(tokens(40).flatten()), None, config(steps=2, optimizer="muon")))
    assert all(layer.lora_b.any() for layer in lora_layers(model))
    assert all(torch.equal(model.state_dict()[name], weight) for name, weight in before.items())


# What is wrong -> what is said of it. Each line would otherwise be an error of torch, or none at all.
def _adapter(tmp_path, **changes):
    given = {"path": tmp_path / "a", "model": adapted(), "tokenizer": ROLES, "base": small_model()}
    return save_adapter(**given | {"base_name": "storyteller"} | changes)


REFUSED = [
    (lambda _: conversation("a", None), TypeError, "content is None"),
    (lambda _: read_conversations(3), TypeError, "path is 3"),
    (lambda _: with_roles(None), TypeError, "tokenizer is None"),
    (lambda _: grow(None, OLD, ROLES), TypeError, "model is None"),
    (lambda _: grow(small_model(), OLD, None), TypeError, "new tokenizer is None"),
    (lambda _: grow(small_model(), ROLES, OLD), ValueError, "old tokenizer has vocab_size 282"),
    (lambda _: grow(grow(small_model(), OLD, ROLES), ROLES, OLD), ValueError, "new tokenizer has vocab_size"),
    (lambda _: grow(adapted(), ROLES, ROLES), ValueError, "LoRA layers; it needs to be a plain GPT"),
    (lambda _: encode_conversation(OLD, FACTS[0]), ValueError, r"no token <\|user\|>; with_roles"),
    (lambda _: encode_conversation(ROLES, ["text"]), TypeError, "a message is 'text'"),
    (lambda _: encode_conversation(ROLES, None), TypeError, "a conversation is None"),
    (lambda _: Conversations(FACTS, ROLES, None), TypeError, "context_length is None"),
    (lambda _: Conversations(FACTS[0], ROLES, 48), TypeError, "a conversation is a Message"),
    (lambda _: Conversations(FACTS, ROLES, 48).batch(0, 48), ValueError, "batch_size is 0"),
    (lambda _: split(FACTS, 0.5, 2**70), ValueError, "seed is .* 64 bits"),
    (lambda _: split(FACTS, 0.5, None), TypeError, "seed is None"),
    (lambda _: split(FACTS, 7), ValueError, "share is 7"),
    (lambda _: split(None, 0.5), TypeError, "conversations is None"),
    (lambda _: answer(None, ROLES, FACTS[0]), TypeError, "model is None"),
    (lambda _: answer(adapted(), ROLES, FACTS[0], None), TypeError, "max_new_tokens is None"),
    (
        lambda _: answer(adapted(), ROLES, conversation("the red kite. " * 9)),
        ValueError,
        "conversation has .* tokens; context_length is 48",
    ),
    (lambda _: fine_tune(adapted(), None, None, config()), TypeError, "validation_data is a NoneType"),
    (lambda _: fine_tune(adapted(), None, tokens(), config()), TypeError, "needs a method windows"),
    (
        lambda _: fine_tune(adapted(), [], Conversations(FACTS, ROLES, 48), config(), "3"),
        TypeError,
        "patience is '3'",
    ),
    (lambda _: Classifier(small_model(), 0), ValueError, "n_classes is 0"),
    (lambda _: Classifier(small_model(), 2)(tokens(), torch.tensor([0, 1])), ValueError, "from 1 to 12"),
    (lambda _: Classifier(small_model(), 2)(tokens(), torch.tensor([3])), ValueError, "each of the 2 rows"),
    (lambda path: _adapter(path, tokenizer=OLD), ValueError, "tokenizer has vocab_size 280"),
    (lambda path: _adapter(path, base=small_model(d_model=32)), ValueError, "base has another config"),
    (lambda path: _adapter(path, base_name=None), TypeError, "base_name is None"),
    (lambda path: _adapter(path, about=3), TypeError, "about is 3"),
    (lambda _: load_adapter(None, small_model(), OLD), TypeError, "path is None"),
    (lambda _: add_lora(None), TypeError, "model is None"),
    (lambda _: add_lora(small_model(), 2.5), TypeError, "rank is 2.5"),
    (lambda _: add_lora(small_model(), 2, math.nan), ValueError, "alpha is nan"),
    (lambda _: add_lora(small_model(), 2, seed=2**70), ValueError, "seed is .* 64 bits"),
    (lambda _: learn_rows(small_model(), None), TypeError, "rows is None"),
    (lambda _: learn_rows(small_model(), [1.5]), TypeError, "a row is 1.5"),
    (lambda _: learn_rows(small_model(), [-1]), ValueError, "a row is -1"),
    (lambda _: without_lora(None), TypeError, "model is None"),
    (lambda _: fingerprint("storyteller"), TypeError, "model is 'storyteller'"),
]


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(("call", "error", "said"), REFUSED)
def test_wrong_values_are_refused_by_name(tmp_path, call, error, said):
    with pytest.raises(error, match=said):
        call(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("without_shape_checks")
def test_numbers_of_numpy_are_numbers(tmp_path):
    whole = np.int64
    data = Conversations(FACTS, ROLES, whole(48))
    assert split(FACTS, np.float32(0.5), whole(3)) == split(FACTS, 0.5, 3)
    model, same = small_model(), small_model()
    add_lora(model, whole(2), np.float32(4), whole(1))
    add_lora(same, 2, 4, 1)
    learn_rows(model, np.array([3, 5]))
    assert fingerprint(model) == fingerprint(same)
    learner = grow(small_model(), OLD, ROLES)
    steps = list(fine_tune(learner, data, data, config(steps=whole(2), seed=whole(1)), whole(1)))
    assert [step.step for step in steps] == [1, 2]
    assert answer(learner, ROLES, FACTS[0][:1], whole(0)) == ""
    about = {"loss": np.float32(0.5), "rank": whole(2)}
    path = _adapter(tmp_path, about=about)
    assert load_adapter(path, small_model(), OLD)[2] == {"loss": 0.5, "rank": 2}


def test_growing_leaves_out_rows_that_pad_the_embedding():
    padded = GPT(replace(small_model().config, vocab_size=OLD.vocab_size + 20)).eval()
    inputs = tokens()
    grown = grow(padded, OLD, ROLES)
    assert grown.config.vocab_size == ROLES.vocab_size
    n = OLD.vocab_size
    torch.testing.assert_close(grown(inputs)[..., :n], padded(inputs)[..., :n])


def test_lora_refuses_what_makes_no_sense():
    with pytest.raises(ValueError, match="rank is 0"):
        add_lora(small_model(), rank=0)
    with pytest.raises(ValueError, match="LoRA layers already"):
        add_lora(adapted())
    with pytest.raises(ValueError, match="the embedding has 0 to 279"):
        learn_rows(small_model(), [280])


# --------------------------------------------------------------------------------------------------- training


def config(**changes):
    values = {"steps": 60, "batch_size": 8, "learning_rate": 0.03, "weight_decay": 0.0, "eval_every": 10}
    return TrainConfig(**values | changes)


def test_lora_learns_and_all_else_stays(trained):
    base, model = grow(trained, OLD, ROLES), grow(trained, OLD, ROLES)
    add_lora(model, rank=4)
    learn_rows(model, [ROLES.special_tokens[name] for name in ROLE_TOKENS])
    data = Conversations(FACTS, ROLES, 48)
    before = evaluate(model, data)
    list(fine_tune(model, data, data, config(steps=150), patience=15))
    assert evaluate(model, data) < before / 2
    after = model.state_dict()
    frozen = {name: value for name, value in base.state_dict().items() if "embedding" not in name}
    assert frozen and all(torch.equal(after[name], value) for name, value in frozen.items())
    moved = (after["token_embedding.weight"] != base.token_embedding.weight).any(dim=1)
    assert moved.nonzero().flatten().tolist() == sorted(ROLES.special_tokens[name] for name in ROLE_TOKENS)


def test_full_fine_tuning_learns_the_answers(trained):
    model = grow(trained, OLD, ROLES)
    data = Conversations(FACTS, ROLES, 48)
    list(fine_tune(model, data, data, config(steps=120), patience=12))
    assert [answer(model, ROLES, turns[:1]) for turns in FACTS] == [turns[1].content for turns in FACTS]


def test_it_stops_early_and_leaves_the_best():
    model = grow(small_model(), OLD, ROLES)
    train_data, other = Conversations(FACTS[:2], ROLES, 48), Conversations(FACTS[4:], ROLES, 48)
    losses = []
    for step in fine_tune(model, train_data, other, config(steps=400, eval_every=5), patience=3):
        if step.validation_loss is not None:
            losses.append(step.validation_loss)
    assert step.step < 400 and losses.index(min(losses)) == len(losses) - 4
    assert evaluate(model, other) == pytest.approx(min(losses), abs=1e-5)


def test_whoever_stops_it_keeps_the_best_too():
    model = grow(small_model(), OLD, ROLES)
    data = Conversations(FACTS, ROLES, 48)
    steps = fine_tune(model, data, data, config(eval_every=1))
    best = min(next(steps).validation_loss for _ in range(3))
    steps.close()
    assert evaluate(model, data) == pytest.approx(best, abs=1e-5)


def test_early_stopping_needs_something_to_watch():
    data = Conversations(FACTS, ROLES, 48)
    with pytest.raises(ValueError, match="patience is 0"):
        fine_tune(small_model(), data, data, config(), patience=0)
    with pytest.raises(ValueError, match="eval_every is None"):
        fine_tune(small_model(), data, data, config(eval_every=None))


def test_a_classifier_looks_at_the_last_token_of_each_row():
    classifier = Classifier(small_model(), 3)
    nn.init.normal_(classifier.head.weight)
    row = tokens()[:1]
    padded = torch.cat([row, torch.zeros(1, 5, dtype=torch.int64)], dim=1)
    alone = classifier(row, torch.tensor([12]))
    torch.testing.assert_close(classifier(padded, torch.tensor([12])), alone)
    assert alone.shape == (1, 3) and not torch.allclose(classifier(padded, torch.tensor([17])), alone)


def test_a_classifier_leaves_the_model_alone_and_learns():
    model = small_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    classifier = Classifier(model, 2)
    row, lengths, classes = tokens(), torch.tensor([12, 7]), torch.tensor([0, 1])
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-2)
    for _ in range(20):
        loss = F.cross_entropy(classifier(row, lengths), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# --------------------------------------------------------------------------------------------------- adapters


def test_an_adapter_comes_back(tmp_path):
    base = small_model()
    new = with_roles(OLD, ["小猫在公园。"] * 3, 4)
    model = grow(base, OLD, new)
    add_lora(model, rank=2)
    for layer in lora_layers(model):
        nn.init.normal_(layer.lora_b, std=0.1)
    with torch.no_grad():
        model.token_embedding.weight[[3, -1]] += 1
    path = save_adapter(tmp_path / "mine.safetensors", model, new, base, "storyteller", {"step": 7})
    before = fingerprint(base)
    loaded, tokenizer, about = load_adapter(path, base, OLD)
    assert tokenizer == new and about == {"step": 7} and fingerprint(base) == before
    row = torch.tensor([new.encode("小猫在公园。the red kite")])
    torch.testing.assert_close(loaded(row), model(row), atol=5e-3, rtol=5e-3)
    assert path.stat().st_size < 20_000


def test_an_adapter_of_another_model_is_refused(tmp_path):
    base = small_model()
    path = save_adapter(tmp_path / "mine.safetensors", adapted(), ROLES, base, "storyteller")
    with torch.no_grad():
        base.blocks[0].mlp.up.bias[0] += 1e-3
    with pytest.raises(ValueError, match="learned on 'storyteller' with other weights"):
        load_adapter(path, base, OLD)


def test_what_is_no_adapter_is_refused(tmp_path):
    base = small_model()
    with pytest.raises(ValueError, match="no LoRA layers"):
        save_adapter(tmp_path / "mine.safetensors", base, OLD, base, "storyteller")
    path = save_adapter(tmp_path / "mine.safetensors", adapted(), ROLES, base, "storyteller")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="cut off"):
        load_adapter(path, base, OLD)
    with pytest.raises(FileNotFoundError):
        load_adapter(tmp_path / "nothing.safetensors", base, OLD)
