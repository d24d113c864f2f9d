import json
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gptlib import shipped
from gptlib.course.studies import rivals
from gptlib.course.studies.rivals import (
    CELLS,
    Encoder,
    EncoderDecoder,
    HiddenTokens,
    MaskedEncoder,
    OpenAttention,
    RecurrentConfig,
    RecurrentModel,
    alignment,
    hide_tokens,
    load_translator,
    n_parameters,
    save_translator,
    width_for,
)
from gptlib.model.attention import attend
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.shipped import read_checked
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.corpora import TokenFile
from gptlib.text.storyworld import Storyworld
from gptlib.text.storyworld.bilingual import AlignedSentence, Link, sentences
from gptlib.text.tokenizer import Tokenizer
from gptlib.training.config import TrainConfig
from gptlib.training.evaluation import IGNORED, evaluate
from gptlib.training.loop import train

SMALL = GPTConfig(vocab_size=31, context_length=24, n_layers=2, n_heads=4, d_model=16)
READS = replace(SMALL, vocab_size=23, context_length=12, n_layers=3, n_heads=2)


def draw_tokens(*shape, vocab_size=23, seed=0):
    return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def recurrent(cell, n_layers=2, seed=0):
    torch.manual_seed(seed)
    return RecurrentModel(RecurrentConfig(cell, vocab_size=31, n_layers=n_layers, d_model=16)).eval()


def masked(config=SMALL, seed=0):
    torch.manual_seed(seed)
    return MaskedEncoder(config).eval()


def translator(encoder=READS, decoder=SMALL, seed=0):
    torch.manual_seed(seed)
    model = EncoderDecoder(encoder, decoder).eval()
    for parameter in model.parameters():  # large enough for every path to show in the logits
        nn.init.normal_(parameter, std=0.3)
    return model


LANGUAGE_MODELS = {cell: lambda cell=cell: recurrent(cell) for cell in CELLS} | {"masked": masked}


# --- who sees what ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_logits_have_a_row_for_each_token(name):
    assert LANGUAGE_MODELS[name]()(draw_tokens(3, 7)).shape == (3, 7, 31)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_later_token_changes_earlier_logits_of_the_masked_encoder_alone(name):
    model = LANGUAGE_MODELS[name]()
    tokens = draw_tokens(2, 9)
    changed = tokens.clone()
    changed[:, 6] = (changed[:, 6] + 1) % 23
    moved = (model(tokens) - model(changed)).abs().amax(dim=(0, 2))  # (seq,)
    assert (moved[6:] > 1e-6).all(), "the token itself and those after it"
    assert (moved[:6] > 1e-6).all() if name == "masked" else (moved[:6] == 0).all()


def test_the_encoder_decoder_sees_all_of_the_source_and_the_past_of_the_target():
    model = translator()
    source, tokens = draw_tokens(1, 5), draw_tokens(1, 6, seed=1)
    logits = model(source, tokens)
    later = tokens.clone()
    later[:, 3] += 1
    moved = (model(source, later) - logits).abs().amax(dim=-1)[0]
    assert (moved[:3] == 0).all() and (moved[3:] > 1e-5).all()
    for place in range(5):
        other = source.clone()
        other[:, place] = (other[:, place] + 1) % 23
        assert ((model(other, tokens) - logits).abs().amax(dim=-1) > 1e-5).all(), "from the first token on"


@settings(max_examples=5)
@given(n_padding=st.integers(1, 6), anything=st.integers(0, 22))
def test_padding_changes_nothing(n_padding, anything):
    model = translator()
    source, tokens = draw_tokens(2, 6), draw_tokens(2, 4, seed=1)
    padded = F.pad(source, (0, n_padding), value=anything)
    mask = F.pad(torch.ones(2, 6, dtype=torch.bool), (0, n_padding))
    torch.testing.assert_close(model(padded, tokens, mask), model(source, tokens), atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        looked = model.cross_attention(padded, tokens, mask)
    assert (looked[..., 6:] == 0).all()


@pytest.mark.parametrize("cell", CELLS)
def test_a_text_read_in_two_parts_gives_what_it_gives_as_a_whole(cell):
    model = recurrent(cell)
    tokens = draw_tokens(2, 11)
    first, state = model.read(tokens[:, :4])
    second, _ = model.read(tokens[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), model(tokens), atol=1e-6, rtol=1e-5)


# --- equal to what others compute ------------------------------------------------------------------------


def test_open_attention_is_attention_head_by_head():
    torch.manual_seed(0)
    open_attention = OpenAttention(SMALL)
    x, source = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    mask = torch.rand(2, 7) < 0.7
    mask[:, 0] = True
    keys, values = open_attention.key_value(source).split(16, dim=-1)
    heads = []
    for head in range(4):
        own = slice(4 * head, 4 * head + 4)
        queries = open_attention.query(x)[..., own]
        heads.append(attend(queries, keys[..., own], values[..., own], mask[:, None].expand(-1, 5, -1))[0])
    expected = open_attention.output(torch.cat(heads, dim=-1))
    torch.testing.assert_close(open_attention(x, source, mask), expected, atol=1e-6, rtol=1e-5)


def copy_attention(theirs, norm, their_norm, query, key, value, output):
    theirs.in_proj_weight.copy_(torch.cat([query[0], key[0], value[0]]))
    theirs.in_proj_bias.copy_(torch.cat([query[1], key[1], value[1]]))
    theirs.out_proj.load_state_dict(output.state_dict())
    their_norm.load_state_dict(norm.state_dict())


def copy_open(theirs, norm, their_norm, ours):
    (key, value), (key_bias, value_bias) = ours.key_value.weight.chunk(2), ours.key_value.bias.chunk(2)
    query = ours.query.weight, ours.query.bias
    copy_attention(theirs, norm, their_norm, query, (key, key_bias), (value, value_bias), ours.output)


def copy_mlp(theirs, their_norm, ours):
    theirs.linear1.load_state_dict(ours.mlp.up.state_dict())
    theirs.linear2.load_state_dict(ours.mlp.down.state_dict())
    their_norm.load_state_dict(ours.mlp_norm.state_dict())


def gelu(x):
    return F.gelu(x, approximate="tanh")


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@torch.no_grad()
def test_the_encoder_decoder_equals_torchs_transformer_on_the_same_weights():
    ours = translator()
    theirs = nn.Transformer(16, 2, 3, 2, 64, 0.0, activation=gelu, batch_first=True, norm_first=True).eval()
    for layer in theirs.decoder.layers:  # nn.Transformer has one number of heads for both sides; ours, two
        layer.self_attn = nn.MultiheadAttention(16, 4, batch_first=True)
        layer.multihead_attn = nn.MultiheadAttention(16, 4, batch_first=True)
    for their, our in zip(theirs.encoder.layers, ours.encoder.blocks, strict=True):
        copy_open(their.self_attn, our.attention_norm, their.norm1, our.attention)
        copy_mlp(their, their.norm2, our)
    for their, our in zip(theirs.decoder.layers, ours.blocks, strict=True):
        qkv = zip(our.attention.qkv.weight.chunk(3), our.attention.qkv.bias.chunk(3), strict=True)
        copy_attention(their.self_attn, our.attention_norm, their.norm1, *qkv, our.attention.output)
        copy_open(their.multihead_attn, our.cross_attention_norm, their.norm2, our.cross_attention)
        copy_mlp(their, their.norm3, our)
    theirs.encoder.norm.load_state_dict(ours.encoder.final_norm.state_dict())
    theirs.decoder.norm.load_state_dict(ours.final_norm.state_dict())

    source, tokens = draw_tokens(2, 9), draw_tokens(2, 6, seed=1)
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 6:] = False
    vectors = theirs(
        ours.encoder.position(ours.encoder.token_embedding(source)),
        ours.position(ours.token_embedding(tokens)),
        tgt_mask=torch.ones(6, 6, dtype=torch.bool).triu(1),
        src_key_padding_mask=~mask,
        memory_key_padding_mask=~mask,
    )
    expected = vectors @ ours.token_embedding.weight.T
    torch.testing.assert_close(ours(source, tokens, mask), expected, atol=1e-4, rtol=1e-4)


def test_cross_attention_can_be_observed_without_changing_the_logits():
    model = translator()
    source, tokens = draw_tokens(2, 9), draw_tokens(2, 6, seed=1)
    weights = model.cross_attention(source, tokens)
    assert weights.shape == (2, 2, 4, 6, 9)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 4, 6))
    assert not any(module._forward_hooks for module in model.modules())
    fast = model(source, tokens)
    for block in model.blocks:
        block.cross_attention.weights.register_forward_hook(lambda module, inputs, weights: None)
    torch.testing.assert_close(model(source, tokens), fast, atol=1e-5, rtol=1e-5)


# --- learning --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*LANGUAGE_MODELS, "translator"])
def test_gradients_reach_all_parameters(name):
    if name == "translator":
        model = translator()
        model(draw_tokens(2, 9), draw_tokens(2, 6, seed=1)).square().sum().backward()
    else:
        model = LANGUAGE_MODELS[name]()
        model(draw_tokens(2, 24)).square().sum().backward()
    unreached = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not unreached


def test_every_rival_learns_with_the_course_s_own_loop():
    data = TokenFile.from_tokens([30, *[3, 1, 4, 1, 5, 9, 2, 6] * 200, 30])
    config = TrainConfig(
        steps=60, batch_size=8, context_length=16, learning_rate=2e-2, weight_decay=0, eval_every=None
    )
    for cell in CELLS:
        model = recurrent(cell, n_layers=1)
        losses = [step.loss for step in train(model, data, None, config)]
        assert losses[-1] < 0.3 < 3 < losses[0]
        assert evaluate(model, data, context_length=16) < 0.5
    losses = [step.loss for step in train(masked(), HiddenTokens.of(data, 31), None, config)]
    assert sum(losses[-5:]) / 5 < 2 < 3 < losses[0]


def test_translate_stops_at_the_end_and_is_what_the_logits_say():
    model = translator()
    source = draw_tokens(1, 5)
    free = model.translate(source, start=30, end=-1, max_new_tokens=8)
    tokens = torch.tensor([[30, *free]])
    assert free == model(source, tokens)[0, :-1].argmax(dim=-1).tolist() and len(free) == 8
    end = free[5]
    assert model.translate(source, start=30, end=end, max_new_tokens=8) == free[: free.index(end)]


# --- hiding ----------------------------------------------------------------------------------------------


def test_15_percent_are_hidden_in_three_ways():
    tokens = draw_tokens(400, 100, vocab_size=1000)
    inputs, targets = hide_tokens(tokens, 1000, torch.Generator().manual_seed(0))
    chosen = targets != IGNORED
    assert torch.equal(targets[chosen], tokens[chosen]) and torch.equal(inputs[~chosen], tokens[~chosen])
    assert chosen.float().mean().item() == pytest.approx(0.15, abs=0.005)
    hidden, kept = (inputs[chosen] == 1000), (inputs[chosen] == tokens[chosen])
    assert hidden.float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert kept.float().mean().item() == pytest.approx(0.1, abs=0.02)
    random = inputs[chosen][~hidden & ~kept]
    assert random.max() < 1000 and random.float().mean().item() == pytest.approx(500, abs=30)


@settings(max_examples=15)
@given(length=st.integers(1, 6), seed=st.integers(0, 1000))
def test_a_short_text_has_something_to_learn_too(length, seed):
    _, targets = hide_tokens(draw_tokens(1, length), 23, torch.Generator().manual_seed(seed))
    assert (targets != IGNORED).any()


def test_hidden_tokens_are_drawn_anew_for_each_batch_and_alike_for_a_seed():
    data = HiddenTokens.of(TokenFile.from_tokens([0, *range(1, 300)]), 300)
    generator = torch.Generator().manual_seed(3)
    first, second = data.batch(4, 50, generator), data.batch(4, 50, generator)
    again = data.batch(4, 50, torch.Generator().manual_seed(3))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[1], second[1])
    seen = first[1] == IGNORED
    places = torch.arange(50)
    assert ((first[0] - places)[seen].reshape(-1) >= 0).all(), "targets stand where their inputs stood"


# --- equally large ---------------------------------------------------------------------------------------


@settings(max_examples=5)
@given(wanted=st.integers(150_000, 700_000), cell=st.sampled_from(sorted(CELLS)), n_layers=st.integers(1, 2))
def test_the_width_gives_the_parameters_wanted(wanted, cell, n_layers):
    def build(d_model):
        return RecurrentModel(RecurrentConfig(cell, vocab_size=1000, n_layers=n_layers, d_model=d_model))

    here, narrower, wider = (n_parameters(build(width_for(wanted, build) + by)) for by in (0, -1, 1))
    assert abs(here - wanted) <= 0.02 * wanted
    assert abs(here - wanted) <= min(abs(narrower - wanted), abs(wider - wanted))


def test_heads_share_the_width_that_is_found():
    def build(d_model):
        return GPT(replace(SMALL, d_model=d_model))

    width = width_for(n_parameters(build(48)) + 100, build, multiple_of=4)
    assert width == 48
    with pytest.raises(ValueError, match=r"wanted is 20,000, .* d_model = 24 has .* and d_model = 28 has"):
        width_for(20_000, build, multiple_of=4)


# --- broken inputs ---------------------------------------------------------------------------------------


def test_broken_configs_are_named():
    with pytest.raises(ValueError, match="cell is 'gpt'; it needs to be one of rnn, lstm, gru"):
        RecurrentConfig("gpt", vocab_size=5, n_layers=1, d_model=4)
    with pytest.raises(ValueError, match="n_layers is 0"):
        RecurrentConfig("rnn", vocab_size=5, n_layers=0, d_model=4)
    with pytest.raises(ValueError, match="position = 'rotary'"):
        Encoder(replace(SMALL, position="rotary"))
    with pytest.raises(ValueError, match="n_kv_heads = 2"):
        MaskedEncoder(replace(SMALL, n_kv_heads=2))
    with pytest.raises(ValueError, match="encoder has d_model = 16 and decoder 32"):
        EncoderDecoder(SMALL, replace(SMALL, d_model=32))


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_broken_tokens_are_named(name, without_shape_checks):
    model = LANGUAGE_MODELS[name]()
    with pytest.raises(ValueError, match=r"tokens has shape \(5,\)"):
        model(draw_tokens(5))
    with pytest.raises(IndexError, match="tokens holds 40 to 40"):
        model(torch.full((1, 3), 40))


def test_a_source_that_is_too_long_is_named():
    with pytest.raises(ValueError, match="source has 13 tokens; context_length is 12"):
        translator()(draw_tokens(1, 13), draw_tokens(1, 4))
    with pytest.raises(ValueError, match=r"share is 0\.0"):
        hide_tokens(draw_tokens(1, 4), 23, share=0.0)


# --- the translator in data/ -----------------------------------------------------------------------------


def test_the_shipped_translator_translates_and_finds_the_words():
    model, english, chinese = load_translator()
    pairs = [pair for story in Storyworld(99, "test").stories(8) for pair in sentences(story)]
    end = chinese.end_of_text
    right = [
        chinese.decode(model.translate(torch.tensor([english.encode(pair.english)]), end, end, 60))
        == pair.chinese
        for pair in pairs
    ]
    recorded = json.loads(read_checked("rivals/translator.json"))["test"]["right"]
    error = math.sqrt(recorded * (1 - recorded) / len(right))
    assert abs(sum(right) / len(right) - recorded) < 3 * error
    scored = alignment(model, english, chinese, pairs)
    assert scored.found.shape == (model.config.n_layers, model.config.n_heads)
    assert scored.found.max() > scored.diagonal + 0.1 > scored.chance


class LooksAt(EncoderDecoder):
    """A model whose every head looks at one place of the source."""

    def __init__(self, place):
        nn.Module.__init__(self)
        self.place = place

    def cross_attention(self, source, tokens, source_mask=None):
        weights = torch.zeros(1, 1, 1, tokens.shape[1], source.shape[1])
        weights[..., self.place] = 1
        return weights


def test_alignment_counts_the_words_that_a_look_finds():
    # "Mia ran." -> "米娅跑": one word, at the first of the English tokens.
    link = Link("hero", "", (0, 2), ((0, 3),))
    pair = AlignedSentence("Mia ran.", "米娅跑", (link, Link("hero", "m", (2, 3), ((0, 3),))))
    english, chinese = CharacterTokenizer.train(["Mia ran."]), CharacterTokenizer.train(["米娅跑"])
    for place, found in ((0, 1.0), (2, 1.0), (3, 0.0), (7, 0.0)):
        scored = alignment(LooksAt(place), english, chinese, [pair])
        assert scored.found.tolist() == [[found]] and scored.n_words == 1
        assert scored.chance == 3 / 8 and scored.diagonal == 1.0
    with pytest.raises(ValueError, match="pairs holds 0 sentences"):
        alignment(LooksAt(0), english, chinese, [])


def test_a_saved_translator_comes_back_and_a_changed_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "rivals").mkdir()
    for module in (rivals, shipped):
        monkeypatch.setattr(module, "data_folder", lambda: tmp_path)
    model = translator(decoder=replace(SMALL, vocab_size=4))
    save_translator(model, Tokenizer.train(["a b"], vocab_size=258), CharacterTokenizer.train(["米娅跑"]))
    shipped.write_checksums()
    back, english, chinese = load_translator()
    assert (english.vocab_size, chinese.vocab_size) == (258, 4) and back.config == model.config
    source, tokens = draw_tokens(1, 5), draw_tokens(1, 3, vocab_size=4)
    torch.testing.assert_close(back(source, tokens), model(source, tokens), atol=0.05, rtol=0.05)
    (tmp_path / "rivals" / "chinese.json").write_text("{}")
    with pytest.raises(ValueError, match="chinese.json is cut off or altered"):
        load_translator()
