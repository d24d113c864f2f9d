import inspect
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from gptlib.generation import beams, writing
from gptlib.generation.beams import beam_search
from gptlib.generation.sampling import (
    Sampling,
    apply_temperature,
    draw,
    forbid_repeated_ngrams,
    keep_top_k,
    keep_top_p,
    next_token_distribution,
    penalize_repetition,
    rule_out,
    shaped,
)
from gptlib.generation.sampling import allowed as allowed_by
from gptlib.generation.writing import generate, generate_many, generate_tokens, last_logits, stream
from gptlib.model.cache import KeyValueCache
from gptlib.model.config import GPTConfig
from gptlib.model.gpt import GPT
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.tokenizer import Tokenizer

TEXT = "the cat sat on the mat. the dog sat on the cat! 猫は寝る。🙂 où est le chat? " * 3
TOKENIZER = Tokenizer.train([TEXT], 290)
END = TOKENIZER.end_of_text


def a_model(context_length=16, seed=0, scale=8.0, **changes):
    """A small random model, its weights enlarged so that it has strong opinions."""
    torch.manual_seed(seed)
    sizes = {"n_layers": 2, "n_heads": 2, "d_model": 16, "vocab_size": TOKENIZER.vocab_size}
    model = GPT(GPTConfig(context_length=context_length, **(sizes | changes)))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter *= scale
    return model.eval()


class ScriptedModel(GPT):
    """Writes given tokens, whatever it reads: the script's n-th after the n-th token, its last for ever."""

    def __init__(self, *scripts):
        super().__init__(GPTConfig(TOKENIZER.vocab_size, 64, 1, 1, 4))
        self.scripts = scripts

    def forward(self, tokens, cache=None):
        rows = []
        for row in range(len(tokens)):
            script = self.scripts[row % len(self.scripts)]
            upcoming = [script[min(place, len(script) - 1)] for place in range(tokens.shape[1])]
            rows.append(F.one_hot(torch.tensor(upcoming), self.config.vocab_size) * 100.0)
        return torch.stack(rows)


def written(script, prompt="", **given):
    """What a model with this script writes; the script follows the end-of-text token and the prompt."""
    lead = [0] * len(TOKENIZER.encode(prompt))
    model = ScriptedModel(lead + list(script))
    given = {"max_new_tokens": len(script), "cached": False} | given
    pieces = list(stream(model, TOKENIZER, prompt, **given))
    text = generate(model, TOKENIZER, prompt, **given)
    assert "".join(pieces) == text
    return text, pieces


# ----------------------------------------------------------------------- filters, as transformers has them


def some_logits(seed=0, rows=5, vocab=40):
    return 3 * torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed))


def some_previous(seed=0, rows=5, length=30, vocab=40):
    return torch.randint(0, vocab // 4, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("penalty", [0.7, 1.0, 1.3, 4.0])
def test_repetition_penalty_is_transformers(seed, penalty):
    logits, previous = some_logits(seed), some_previous(seed)
    expected = RepetitionPenaltyLogitsProcessor(penalty)(previous, logits.clone())
    assert torch.equal(penalize_repetition(logits, previous, penalty), expected)


@pytest.mark.parametrize("length", [1, 2, 3, 30])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_repeat_is_transformers(length, n):
    logits, previous = some_logits(), some_previous(length=length)
    expected = NoRepeatNGramLogitsProcessor(n)(previous, logits.clone())
    assert torch.equal(forbid_repeated_ngrams(logits, previous, n), expected)


@pytest.mark.parametrize("seed", range(4))
def test_temperature_top_k_and_top_p_are_transformers(seed):
    logits = some_logits(seed)
    for temperature in (0.1, 0.8, 2.5):
        expected = TemperatureLogitsWarper(temperature)(None, logits.clone())
        assert torch.equal(apply_temperature(logits, temperature), expected)
    for k in (1, 2, 17, 40, 1000):
        assert torch.equal(keep_top_k(logits, k), TopKLogitsWarper(k)(None, logits.clone()))
    for p in (0.01, 0.5, 0.9, 0.999):
        assert torch.equal(keep_top_p(logits, p), TopPLogitsWarper(p)(None, logits.clone()))
    assert torch.equal(keep_top_p(logits, 1.0), logits)


@pytest.mark.parametrize("seed", range(4))
def test_all_filters_in_order_are_transformers(seed):
    logits, previous = some_logits(seed), some_previous(seed)
    theirs = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(1.4),
            NoRepeatNGramLogitsProcessor(2),
            MinNewTokensLengthLogitsProcessor(25, 10, eos_token_id=[3, 5]),
            TemperatureLogitsWarper(0.7),
            TopKLogitsWarper(12),
            TopPLogitsWarper(0.85),
        ]
    )
    expected = theirs(previous, logits.clone()).softmax(dim=-1)
    settings = Sampling(temperature=0.7, top_k=12, top_p=0.85, repetition_penalty=1.4, no_repeat_ngram=2)
    allowed = allowed_by(logits, settings, previous, barred=[3, 5])
    torch.testing.assert_close(shaped(allowed, settings).softmax(dim=-1), expected)
    # Tokens that are ruled out first come to the same: no filter brings one back.
    logits = rule_out(logits, [3, 5])
    ours = next_token_distribution(logits, settings, previous)
    torch.testing.assert_close(ours, expected)
    one_row = next_token_distribution(logits[0], settings, previous[0])
    torch.testing.assert_close(one_row, expected[0])


def test_greedy_is_all_on_the_likeliest():
    logits = some_logits()
    probabilities = next_token_distribution(logits, temperature=0.0)
    assert torch.equal(probabilities, F.one_hot(logits.argmax(-1), 40).float())
    assert next_token_distribution(torch.zeros(4), temperature=0.0).tolist() == [1, 0, 0, 0]


def test_filters_need_the_tokens_so_far_and_leave_something():
    with pytest.raises(ValueError, match="previous"):
        next_token_distribution(some_logits(), no_repeat_ngram=2)
    with pytest.raises(ValueError, match="no_repeat_ngram is 1 and leaves no token"):
        next_token_distribution(torch.zeros(1, 3), no_repeat_ngram=1, previous=torch.tensor([[0, 1, 2]]))


def test_top_p_keeps_no_token_more_than_it_needs():
    """Where probabilities add up to exactly p: with a half and two quarters, p = 0.75 takes two tokens."""
    logits = torch.tensor([0.5, 0.25, 0.25]).log()
    assert torch.allclose(keep_top_p(logits, 0.5).softmax(-1), torch.tensor([1.0, 0, 0]))
    eighths = torch.tensor([0.5, 0.25, 0.125, 0.125]).log()
    assert keep_top_p(eighths, 0.75).isneginf().tolist() == [False, False, True, True]


def test_a_draw_of_exactly_0_falls_on_a_token_that_can_be(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *shape, **given: torch.zeros((), dtype=torch.float64))
    assert draw(torch.tensor([[0.0, 0.0, 0.3, 0.7]]), [torch.Generator()]).tolist() == [2]


def test_tokens_are_drawn_as_often_as_they_are_probable():
    probabilities = torch.tensor([0.0, 0.5, 0.0, 0.3, 0.2, 0.0]).expand(4000, 6)
    generators = [torch.Generator().manual_seed(seed) for seed in range(4000)]
    drawn = draw(probabilities, generators)
    frequencies = torch.bincount(drawn, minlength=6) / 4000
    torch.testing.assert_close(frequencies, probabilities[0], atol=0.03, rtol=0)
    assert frequencies[probabilities[0] == 0].sum() == 0


# -------------------------------------------------------------------------------------- the shortest text


def test_a_text_that_may_not_end_yet_goes_on_with_the_next_best():
    script = [TOKENIZER.encode("a")[0], END, TOKENIZER.encode("b")[0]]
    assert written(script, max_new_tokens=3)[0] == "a"
    # Token 0 is the first of all that are left, as the script's model scores them equally.
    assert written(script, max_new_tokens=3, min_new_tokens=2, temperature=0.0)[0] == "a\x00b"
    assert written(script, max_new_tokens=3, min_new_tokens=1, temperature=0.0)[0] == "a"
    # Other tokens in `stop` are kept out too; texts are not.
    assert written(script, max_new_tokens=2, min_new_tokens=1, temperature=0.0, stop=script[0])[0] == "\x00"
    assert written(script, max_new_tokens=3, min_new_tokens=3, temperature=0.0, stop="a")[0] == ""


@pytest.mark.parametrize("least", [0, 1, 7, 20])
def test_no_text_is_shorter_than_asked(least):
    rows = generate_tokens(
        a_model(scale=0.1),
        torch.ones(8, 1).long(),
        max_new_tokens=20,
        min_new_tokens=least,
        stop=range(0, 290, 2),
        seed=0,
    )[:, 1:]
    ends = (rows % 2 == 0).int()
    assert not ends[:, :least].any()
    assert least == 20 or ends[:, least:].any()


def test_where_every_token_would_end_the_text_it_cannot_go_on():
    with pytest.raises(ValueError, match="min_new_tokens keeps out .* leaves none to choose"):
        generate_tokens(a_model(), torch.tensor([[1]]), max_new_tokens=5, min_new_tokens=1, stop=range(290))


# -------------------------------------------------------------------------------------------------- beams


def log_probability(model, text, start):
    with torch.no_grad():
        logits = model(text[None, :-1])[0].log_softmax(dim=-1)
    return logits.gather(1, text[1:, None])[start - 1 :].sum().item()


def test_a_wide_beam_finds_the_likeliest_of_all_texts():
    """With as many beams as there are texts nothing is lost: the search is exhaustive."""
    model = a_model(vocab_size=5)
    start = torch.tensor([[1, 2]])
    every = torch.cartesian_prod(*[torch.arange(5)] * 3)  # (125, 3)
    texts = torch.cat([start.expand(len(every), 2), every], dim=1)
    scores = torch.tensor([log_probability(model, text, start=2) for text in texts])
    found = beam_search(model, start, n_beams=125, max_new_tokens=3, n_sequences=4)
    assert torch.equal(found, texts[scores.topk(4).indices])


def test_one_beam_is_greedy_and_more_beams_find_likelier_texts():
    model = a_model(context_length=64, scale=6.0)
    start = torch.tensor([[1, 2, 3]])
    greedy = generate_tokens(model, start, max_new_tokens=12, temperature=0.0)
    assert torch.equal(beam_search(model, start, n_beams=1, max_new_tokens=12), greedy)
    found = beam_search(model, start, n_beams=8, max_new_tokens=12)
    assert log_probability(model, found[0], 3) > log_probability(model, greedy[0], 3) + 0.1


def test_beams_go_on_past_the_context_and_rows_are_filled_up():
    model = a_model(context_length=8, scale=2.0)
    stop = list(range(0, 290, 3))
    rows = beam_search(model, torch.tensor([[1, 2]]), n_beams=6, max_new_tokens=15, n_sequences=6, stop=stop)
    for row in rows[:, 2:].tolist():
        ends = [n for n, token in enumerate(row) if token in stop]
        assert len(row) <= 15 and (not ends or len(set(row[ends[0] :])) == 1)
    assert len({tuple(row) for row in rows.tolist()}) == 6
    free = beam_search(model, torch.tensor([[1, 2]]), n_beams=2, max_new_tokens=15)
    assert free.shape == (1, 17)


@pytest.mark.parametrize("position", ["learned", "rotary", "alibi"])
@pytest.mark.parametrize("window", [None, 3])
def test_beams_that_keep_what_they_read_are_those_that_read_all_anew(position, window, monkeypatch):
    model, lengths = a_model(context_length=8, position=position, window=window), []
    settings = {"n_beams": 5, "max_new_tokens": 9, "n_sequences": 5}
    # Beams end between others that go on, and those are what is found.
    settings |= {"stop": list(range(0, 290, 3)), "length_penalty": 3.0}
    plain = beams.last_logits

    def note_length(model, tokens, cache):
        lengths.append(tokens.shape[1])
        return plain(model, tokens, cache)

    monkeypatch.setattr(beams, "last_logits", note_length)
    found = beam_search(model, torch.tensor([[1, 2]]), **settings)
    assert lengths == [2, 1, 1, 1, 1, 1, 1, 8, 8]
    monkeypatch.setattr(beams, "last_logits", lambda model, tokens, cache: plain(model, tokens, None))
    monkeypatch.setattr(KeyValueCache, "length", 0)  # so all of each beam is read
    assert torch.equal(beam_search(model, torch.tensor([[1, 2]]), **settings), found)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_beams": 0}, "n_beams is 0"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"n_sequences": 0}, "n_sequences is 0"),
        ({"n_beams": 2, "n_sequences": 3}, "n_sequences is 3 .* at most n_beams = 2"),
    ],
)
def test_beam_search_refuses_wrong_settings_by_name(settings, words):
    with pytest.raises(ValueError, match=words):
        beam_search(a_model(), torch.tensor([[1]]), **settings)


# ------------------------------------------------------------------------ what is no number, and padding


def spoil(model, name, value):
    with torch.no_grad():
        model.get_parameter(name).view(-1)[3] = value
    return model


WAYS = {
    "generate": lambda model, **given: generate(model, TOKENIZER, "the cat", seed=0, **given),
    "greedy": lambda model: generate(model, TOKENIZER, "the cat", temperature=0),
    "uncached": lambda model: generate(model, TOKENIZER, "the cat", cached=False),
    "stream": lambda model: list(stream(model, TOKENIZER, "the cat")),
    "generate_many": lambda model: generate_many(model, TOKENIZER, "the cat", 2),
    "generate_tokens": lambda model: generate_tokens(model, torch.tensor([[1, 2]])),
    "beam_search": lambda model: beam_search(model, torch.tensor([[1, 2]])),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_weight_that_is_no_number_is_named(way):
    model = spoil(a_model(), "blocks.0.mlp.up.weight", float("nan"))
    with pytest.raises(
        FloatingPointError, match=r"its weight blocks\.0\.mlp\.up\.weight holds nan; load the model"
    ):
        WAYS[way](model)


@pytest.mark.parametrize("way", WAYS)
def test_where_numbers_grow_too_large_is_named(way):
    model = a_model()
    with torch.no_grad():
        model.blocks[1].mlp.down.weight.fill_(3e38)
    with pytest.raises(
        FloatingPointError, match=r"weights are finite, but what blocks\.1\.mlp\.down gives holds"
    ):
        WAYS[way](model)


def test_a_model_that_is_spoilt_while_it_writes_is_found_out():
    """On the fast path, too: here after the third piece."""
    model = a_model()
    pieces = stream(model, TOKENIZER, "the cat", temperature=0.0)
    for _ in range(3):
        next(pieces)
    spoil(model, "final_norm.weight", float("inf"))
    with pytest.raises(FloatingPointError, match=r"final_norm\.weight holds inf"):
        list(pieces)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_distribution_is_made_of_what_is_no_number(value):
    logits = torch.tensor([[0.0, 1.0, 2.0], [0.0, value, 1.0]])
    with pytest.raises(FloatingPointError, match=f"logits hold {value} at their highest"):
        next_token_distribution(logits)
    ruled_out = torch.tensor([0.0, float("-inf"), 1.0])
    assert next_token_distribution(ruled_out)[1] == 0


@pytest.mark.parametrize("temperature", [1e-3, 1e-40, 1e-300, 5e-324])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_coldest_temperatures_choose_the_likeliest(temperature, dtype):
    logits = torch.tensor([[3.0, -7.0, 2.0, 3.0], [-9.0, -5.0, -9.0, float("-inf")]], dtype=dtype)
    expected = torch.tensor([[0.5, 0, 0, 0.5], [0, 1, 0, 0]], dtype=dtype)
    assert torch.equal(next_token_distribution(logits, temperature=temperature), expected)


def test_a_text_at_the_coldest_temperature_is_the_greedy_one():
    model = a_model()
    greedy = generate(model, TOKENIZER, "the", temperature=0, max_new_tokens=30)
    assert len(greedy) > 10
    assert generate(model, TOKENIZER, "the", temperature=1e-40, max_new_tokens=30) == greedy


def test_padding_of_the_vocabulary_is_never_written():
    """Rows beyond the tokenizer's are there for speed, as in nanoGPT's 50,304; here they are likeliest."""
    model = a_model(vocab_size=320)
    with torch.no_grad():
        model.unembedding.weight[290:] *= 100
    for given_settings in ({"temperature": 0.0}, {"seed": 1}, {"seed": 1, "cached": False}):
        text = generate(model, TOKENIZER, "the", max_new_tokens=25, **given_settings)
        assert len(text) > 10
    assert (generate_tokens(model, torch.tensor([[1]]), temperature=0.0)[0, 1:] >= 290).any()


# ----------------------------------------------------------------------------- the cache and the window


def reference(model, tokens, n, choose):
    """The plainest generation: read the last context_length tokens anew for each new one."""
    for _ in range(n):
        with torch.no_grad():
            logits = model(tokens[:, -model.config.context_length :])[:, -1]
        tokens = torch.cat([tokens, choose(logits)], dim=1)
    return tokens


@pytest.mark.parametrize("position", ["learned", "none", "sinusoidal", "rotary", "alibi"])
def test_cached_equals_uncached_within_and_past_the_context(position):
    model = a_model(position=position)
    start = torch.tensor([[1, 2, 3], [4, 5, 6]])
    expected = reference(model, start, 40, lambda logits: logits.argmax(-1, keepdim=True))
    for cached in (True, False):
        assert torch.equal(
            generate_tokens(model, start, max_new_tokens=40, temperature=0.0, cached=cached), expected
        )
    drawn = [
        generate_tokens(model, start, max_new_tokens=40, top_k=20, seed=3, cached=cached)
        for cached in (True, False)
    ]
    assert torch.equal(*drawn)
    assert len(set(drawn[0][0].tolist())) > 5


def test_cached_logits_equal_uncached_ones_to_1e_5():
    model = a_model(scale=3.0)
    tokens = torch.randint(0, TOKENIZER.vocab_size, (2, 16))
    with torch.no_grad():
        expected = model(tokens)
        cache = KeyValueCache(model.config, 2)
        pieces = [last_logits(model, tokens[:, :5], cache)]
        pieces += [last_logits(model, tokens[:, n : n + 1], cache) for n in range(5, 16)]
    torch.testing.assert_close(torch.stack(pieces, dim=1), expected[:, 4:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [15, 16, 17, 40])
def test_a_prompt_about_as_long_as_the_context_or_longer(length):
    model = a_model()
    start = torch.randint(0, 200, (1, length), generator=torch.Generator().manual_seed(length))
    expected = reference(model, start, 5, lambda logits: logits.argmax(-1, keepdim=True))
    assert torch.equal(generate_tokens(model, start, max_new_tokens=5, temperature=0.0), expected)


def test_the_cache_reads_each_token_once(monkeypatch):
    model, lengths = a_model(context_length=8), []
    forward = GPT.forward

    def counting(model, tokens, cache=None):
        lengths.append(tokens.shape[1])
        return forward(model, tokens, cache)

    class Counting(writing.FastDecoder):
        def __call__(self, tokens):
            lengths.append(1)
            return super().__call__(tokens)

    monkeypatch.setattr(GPT, "forward", counting)
    monkeypatch.setattr(writing, "FastDecoder", Counting)
    generate_tokens(model, torch.tensor([[1, 2, 3]]), max_new_tokens=8)
    assert lengths == [3, 1, 1, 1, 1, 1, 8, 8]


# ------------------------------------------------------------------------------------------------ texts


def test_the_prompt_follows_an_end_of_text_token():
    model = a_model(context_length=64)
    for prompt in ("", "the cat"):
        start = torch.tensor([[END, *TOKENIZER.encode(prompt)]])
        tokens = generate_tokens(model, start, max_new_tokens=20, seed=1, stop=END)[
            0, start.shape[1] :
        ].tolist()
        if END in tokens:
            tokens = tokens[: tokens.index(END)]
        text = generate(model, TOKENIZER, prompt, max_new_tokens=20, seed=1)
        assert text == prompt + TOKENIZER.decode(tokens)


def test_the_same_seed_gives_the_same_text_and_another_another():
    model = a_model(scale=2.0)
    one = generate(model, TOKENIZER, "the", max_new_tokens=30, seed=1)
    torch.manual_seed(123)
    expected = torch.rand(2)
    torch.manual_seed(123)
    assert generate(model, TOKENIZER, "the", max_new_tokens=30, seed=1) == one
    assert torch.equal(torch.rand(2), expected)
    assert generate(model, TOKENIZER, "the", max_new_tokens=30, seed=2) != one
    assert generate(model, TOKENIZER, "the", max_new_tokens=30) != generate(
        model, TOKENIZER, "the", max_new_tokens=30
    )
    assert generate(model, TOKENIZER, "the", max_new_tokens=0) == "the"


def test_several_sequences_are_those_of_the_seeds_that_follow():
    model = a_model(scale=2.0)
    texts = generate_many(model, TOKENIZER, "the", max_new_tokens=25, temperature=1.2, seed=5, n_sequences=4)
    assert texts == [
        generate(model, TOKENIZER, "the", max_new_tokens=25, temperature=1.2, seed=5 + n) for n in range(4)
    ]
    assert len(set(texts)) == 4


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.0},
        {"stop": ["o", "the"]},
        {"cached": False},
        {"min_new_tokens": 12},
        {"no_repeat_ngram": 2},
        {"max_new_tokens": 3},
    ],
)
def test_prompts_of_any_lengths_are_written_on_as_each_alone(settings):
    model, prompts = (
        a_model(),
        ["the cat", "", "猫は寝る。", "the dog", "the mat. the dog sat on the cat!", "the cat"],
    )
    settings = {"max_new_tokens": 20, "seed": 7} | settings
    expected = [
        generate(model, TOKENIZER, prompt, **settings | {"seed": 7 + row})
        for row, prompt in enumerate(each for each in prompts for _ in range(2))
    ]
    assert generate_many(model, TOKENIZER, prompts, 2, **settings) == expected
    assert generate_many(model, TOKENIZER, [], 2) == []


def test_prompts_of_unequal_lengths_are_read_in_one_batch_unless_that_takes_longer(monkeypatch):
    model, read = a_model(context_length=40), []
    plain = writing.last_logits

    def note_shape(model, tokens, cache):
        read.append(tuple(tokens.shape))
        return plain(model, tokens, cache)

    monkeypatch.setattr(writing, "last_logits", note_shape)
    monkeypatch.setattr(writing, "can_decode", lambda model: False)
    generate_many(model, TOKENIZER, ["a b c", "", "a b"], max_new_tokens=6, min_new_tokens=6)
    assert read[0] == (3, 1) and set(read[1:]) == {(3, 1)}
    lengths = [1 + len(TOKENIZER.encode(prompt)) for prompt in ("", "a b c")]
    assert len(read) == lengths[1] - lengths[0] + 6  # none is read twice
    read.clear()
    generate_many(model, TOKENIZER, ["a b c a b c a b c", ""], max_new_tokens=2, min_new_tokens=2)
    assert [shape[0] for shape in read] == [1, 1, 1, 1]


def test_the_cache_is_as_large_as_what_is_asked(monkeypatch):
    """Not as the context: 40,960 tokens of a model of 0.6 billion parameters would take 9.4 GB."""
    made = []

    class Noted(KeyValueCache):
        def __init__(self, *given):
            super().__init__(*given)
            made.append(self.layers[0].keys.shape[2])

    for module in (writing, beams):
        monkeypatch.setattr(module, "KeyValueCache", Noted)
    model = a_model(context_length=40_960, position="rotary", scale=1.0)
    generate_tokens(model, torch.tensor([[1, 2, 3]]), max_new_tokens=5)
    beam_search(model, torch.tensor([[1, 2, 3]]), max_new_tokens=5)
    generate_tokens(a_model(), torch.tensor([[1, 2, 3]]), max_new_tokens=500)
    assert made == [8, 8, 16]


def test_sequences_end_one_by_one():
    the, cat, dog = (TOKENIZER.encode(word)[0] for word in ("t", "c", "d"))
    model = ScriptedModel([the, END, dog], [cat, cat, cat, END], [dog])
    texts = generate_many(model, TOKENIZER, max_new_tokens=6, cached=False, n_sequences=3, temperature=0.0)
    assert texts == ["t", "ccc", "dddddd"]
    rows = generate_tokens(
        model, torch.full((3, 1), END), max_new_tokens=6, temperature=0.0, stop=(END,), cached=False
    )
    assert rows[:, 1:].tolist() == [[the] + [END] * 5, [cat] * 3 + [END] * 3, [dog] * 6]
    both = generate_tokens(
        model, torch.full((2, 1), END), max_new_tokens=6, temperature=0.0, stop=END, cached=False
    )
    assert both[:, 1:].tolist() == [[the, END, END, END], [cat, cat, cat, END]]


def test_stop_tokens_and_texts_end_the_text_before_them():
    script = [TOKENIZER.encode(character)[0] for character in "one. two! three"]
    assert written(script)[0] == "one. two! three"
    assert written(script, stop="! ")[0] == "one. two"
    assert written(script, stop=["zzz", "wo", ". t"])[0] == "one"
    assert written(script, stop=script[4])[0] == "one."
    assert written(script, stop=("hree!", script[11]))[0] == "one. two! t"
    # The start of a stop text at the very end was waiting for what never came.
    assert written(script, stop="threefold")[0] == "one. two! three"
    assert written(script, prompt="one. ", stop=". t")[0] == "one. one"


def test_what_may_become_a_stop_text_is_held_back():
    script = [TOKENIZER.encode(character)[0] for character in "a\nb\n\nc"]
    text, pieces = written(script, stop="\n\n")
    assert text == "a\nb" and pieces == ["a", "\nb"]


def test_characters_split_over_tokens_are_streamed_whole():
    script = list("猫 🙂é".encode())  # the first 256 tokens are the bytes
    text, pieces = written(script, prompt="où: ")
    assert text == "où: 猫 🙂é"
    assert pieces == ["où: ", "猫", " ", "🙂", "é"]
    assert written(script[:2])[0] == "\ufffd"
    assert written(script[:1] + [65])[0] == "\ufffdA"
    assert written(script[:2] + [END, 65])[0] == "\ufffd"
    assert written(script, stop="🙂")[0] == "猫 "


@settings(max_examples=150)
@given(
    tokens=st.lists(st.integers(0, 288), max_size=30),
    stops=st.lists(st.text("the c\ufffd猫", min_size=1), max_size=2),
)
def test_any_tokens_stream_to_the_text_that_decode_gives(tokens, stops):
    pen = writing._Pen(TOKENIZER.token_bytes, stops)
    text = ""
    for token in tokens:
        text += pen.write(token)
        if pen.closed:
            break
    text += pen.close()
    whole = TOKENIZER.decode(tokens)
    if not any(stop in whole for stop in stops):
        assert text == whole
    else:
        assert whole.startswith(text) and len(text) < len(whole)
        assert not any(stop in text for stop in stops)


@pytest.mark.parametrize("seed", range(3))
def test_streamed_pieces_join_to_what_generate_gives(seed):
    model = a_model(seed=seed, scale=2.0)
    given = {"prompt": "the 猫", "max_new_tokens": 60, "temperature": 1.5, "seed": seed, "stop": ["at", "s"]}
    pieces = list(stream(model, TOKENIZER, **given))
    assert pieces[0] == "the 猫" and len(pieces) > 1
    assert "".join(pieces) == generate(model, TOKENIZER, **given)


def test_a_stream_that_is_left_writes_no_more(monkeypatch):
    model, calls = a_model(), []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda *given: calls.append(1) or forward(*given))
    pieces = stream(model, TOKENIZER, max_new_tokens=50, seed=0, temperature=2.0)
    assert not calls
    next(pieces)
    pieces.close()
    assert 0 < len(calls) < 10


def test_no_repeated_ngrams_are_in_the_text():
    model = a_model(scale=20.0)
    start = torch.tensor([[7]])
    looping = generate_tokens(model, start, max_new_tokens=60, temperature=0.0)[0].tolist()
    free = generate_tokens(model, start, max_new_tokens=60, temperature=0.0, no_repeat_ngram=2)[0].tolist()
    pairs = list(zip(free, free[1:], strict=False))
    assert len(set(pairs)) == len(pairs)
    assert len(set(zip(looping, looping[1:], strict=False))) < 60


def test_the_end_of_text_before_the_prompt_is_not_held_against_its_end():
    script = [TOKENIZER.encode("a")[0], END, TOKENIZER.encode("b")[0]]
    assert written(script, no_repeat_ngram=1)[0] == "a"
    assert written(script, repetition_penalty=50.0, temperature=0.0)[0] == "a"


def test_the_models_mode_is_left_alone_and_its_dropout_is_off():
    model = a_model(dropout=0.5)
    expected = generate(model, TOKENIZER, "the", max_new_tokens=20, seed=0)
    model.train()
    assert generate(model, TOKENIZER, "the", max_new_tokens=20, seed=0) == expected
    assert model.training
    pieces = stream(model, TOKENIZER, "the", max_new_tokens=20, seed=0)
    text = next(pieces)
    assert model.training and torch.is_grad_enabled()
    assert text + "".join(pieces) == expected


def test_a_character_tokenizer_writes_too():
    tokenizer = CharacterTokenizer.train([TEXT])
    model = a_model(vocab_size=tokenizer.vocab_size)
    text = generate(model, tokenizer, "the cat", max_new_tokens=30, seed=0)
    assert text.startswith("the cat")
    assert "".join(stream(model, tokenizer, "the cat", max_new_tokens=30, seed=0)) == text


# -------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_k", 0),
        ("top_k", -3),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", -1.0),
        ("no_repeat_ngram", 0),
        ("max_new_tokens", -1),
        ("min_new_tokens", -1),
        ("min_new_tokens", 101),
        ("seed", -1),
        ("seed", 2**70),
    ],
)
def test_wrong_settings_are_refused_by_name(name, value):
    model = a_model()
    calls = [
        lambda: generate(model, TOKENIZER, **{name: value}),
        lambda: stream(model, TOKENIZER, **{name: value}),
        lambda: generate_many(model, TOKENIZER, **{name: value}),
        lambda: generate_tokens(model, torch.tensor([[1]]), **{name: value}),
        lambda: next_token_distribution(torch.zeros(4), previous=torch.tensor([1]), **{name: value}),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=f"{name} is {value}"):
            call()


def test_every_way_of_generating_takes_the_same_settings():
    """As one object, as keywords, or both; and help shows all of them."""
    model, settings = a_model(), Sampling(max_new_tokens=12, temperature=0.7, top_k=9, seed=4)
    text = generate(model, TOKENIZER, "the", settings)
    by_name = {"max_new_tokens": 12, "temperature": 0.7, "top_k": 9}
    assert generate(model, TOKENIZER, "the", **by_name, seed=4) == text
    assert generate(model, TOKENIZER, "the", replace(settings, seed=1), seed=4) == text
    assert "".join(stream(model, TOKENIZER, "the", settings)) == text
    assert generate_many(model, TOKENIZER, "the", 2, settings)[0] == text
    start = torch.tensor([[END, *TOKENIZER.encode("the")]])
    assert generate_tokens(model, start, settings).shape[1] <= start.shape[1] + 12
    for function in (generate, stream, generate_many, generate_tokens, next_token_distribution):
        shown = inspect.signature(function).parameters
        assert [shown[field.name].default for field in fields(Sampling)] == [
            field.default for field in fields(Sampling)
        ]


@pytest.mark.usefixtures("without_shape_checks")
def test_a_setting_that_does_not_exist_is_named():
    model = a_model()
    with pytest.raises(TypeError, match="no setting 'temprature'; there is temperature$"):
        generate(model, TOKENIZER, temprature=1)
    with pytest.raises(TypeError, match="sampling is 40; it needs a Sampling, or settings by their names"):
        generate(model, TOKENIZER, "the", 40)
    with pytest.raises(TypeError, match="stop holds 'a'; here it needs tokens"):
        generate_tokens(model, torch.tensor([[1]]), stop="a")


def test_filters_refuse_wrong_settings_by_name():
    logits, previous = torch.zeros(4), torch.tensor([1])
    for name, call in {
        "temperature": lambda: apply_temperature(logits, -1.0),
        "top_k": lambda: keep_top_k(logits, 0),
        "top_p": lambda: keep_top_p(logits, 2.0),
        "repetition_penalty": lambda: penalize_repetition(logits, previous, 0.0),
        "no_repeat_ngram": lambda: forbid_repeated_ngrams(logits, previous, 0),
    }.items():
        with pytest.raises(ValueError, match=name):
            call()


def test_other_wrong_arguments():
    model = a_model()
    with pytest.raises(ValueError, match="n_sequences"):
        generate_many(model, TOKENIZER, n_sequences=0)
    with pytest.raises(ValueError, match="stop"):
        generate(model, TOKENIZER, stop="")
    with pytest.raises(ValueError, match="vocab_size 290; it needs at most the model's, 20"):
        generate(a_model(vocab_size=20), TOKENIZER)
    with pytest.raises(IndexError, match="290"):
        generate_tokens(model, torch.tensor([[290]]))


@pytest.mark.usefixtures("without_shape_checks")
def test_numbers_of_numpy_and_torch_do_as_settings():
    model = a_model()
    given = {"max_new_tokens": np.int64(9), "temperature": np.float32(0.5), "top_k": torch.tensor(7)}
    given |= {"seed": np.uint8(3), "stop": [np.int64(4)], "cached": np.True_}
    plain = {"max_new_tokens": 9, "temperature": 0.5, "top_k": 7, "seed": 3, "stop": [4]}
    assert Sampling(**given) == Sampling(**plain | {"stop": [4]})
    assert generate(model, TOKENIZER, "the", **given) == generate(model, TOKENIZER, "the", **plain)
    assert len(generate_many(model, TOKENIZER, "the", np.int32(2), **given)) == 2
    assert beam_search(model, torch.tensor([[1]]), n_beams=np.int64(2), stop=np.int64(4)).shape[0] == 1


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda model: generate(model, None), "tokenizer is None; it needs the model's, as load gives it"),
        (lambda model: generate("gpt2", TOKENIZER), "model is 'gpt2'; it needs a GPT, as load gives it"),
        (lambda model: generate(model, TOKENIZER, None), "text is a NoneType; it needs to be a string"),
        (lambda model: generate_many(model, TOKENIZER, None), "prompt is None; it needs a text, or several"),
        (lambda model: generate_many(model, TOKENIZER, ["a", 3]), "text"),
        (lambda model: generate(model, TOKENIZER, stop=None), "stop holds None; it needs texts, or tokens"),
        (lambda model: generate(model, TOKENIZER, stop=[1.5]), "stop holds 1.5; it needs texts, or tokens"),
        (lambda model: generate(model, TOKENIZER, seed="x"), "seed is 'x'; it needs a whole number"),
        (lambda model: generate_tokens(model, [[1, 2]]), "tokens is a list; it needs a tensor"),
        (lambda model: generate_tokens(None, torch.tensor([[1]])), "model is None; it needs a GPT"),
        (lambda model: beam_search(model, [1, 2]), "tokens is a list"),
        (
            lambda model: beam_search(model, torch.tensor([[1]]), stop="a"),
            "stop holds 'a'; here it needs tokens",
        ),
    ],
)
def test_what_is_of_another_kind_is_named(call, words):
    with pytest.raises(TypeError, match=words):
        call(a_model())


def test_a_foreign_token_before_the_window_is_named():
    tokens = torch.tensor([[290] + [1] * 20])
    for call in (
        lambda: generate_tokens(a_model(), tokens, repetition_penalty=1.2),
        lambda: beam_search(a_model(), tokens),
    ):
        with pytest.raises(IndexError, match="tokens holds 290"):
            call()


def test_whole_numbers_do_where_numbers_do():
    model = a_model()
    assert generate(
        model, TOKENIZER, "the", max_new_tokens=5, temperature=0, top_p=1, repetition_penalty=1
    ) == generate(model, TOKENIZER, "the", max_new_tokens=5, temperature=0.0)
