import json

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


def test_learn_rows_called_again_lets_learn_what_it_was_told_last():
    model = small_model()
    learn_rows(model, [1, 2])
    learn_rows(model, [3, 5])
    model(tokens()).square().sum().backward()
    learned = model.token_embedding.weight.grad.abs().sum(dim=1).nonzero().flatten()
    assert learned.tolist() == [3, 5]


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
