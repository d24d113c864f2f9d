"""What a page draws: by the library's filters in its order, with torch's dice; a seed gives the same text."""

import random

import numpy as np
import pytest
import torch
from live_page import live_page, numbers, open_in

from gptlib import GPT, GPTConfig, generate, load
from gptlib.generation.sampling import draw, next_token_distribution
from gptlib.text.characters import CharacterTokenizer

DISTRIBUTION = """([logits, sampling, previous, barred]) => {
  try { return { chances: asText(distribution(Float32Array.from(logits), sampling, previous, barred)) }; }
  catch (error) { return { problem: error.message }; }
}"""
WRITE = """([name, prompt, sampling]) => {
  const { gpt, tokenizer } = models[name], { max_new_tokens, ...rest } = sampling, tokens = [];
  const prompted = [tokenizer.endOfText, ...tokenizer.encode(prompt)];
  for (const token of newTokens(gpt, tokenizer, prompted, rest)) {
    if (token === tokenizer.endOfText || tokens.push(token) === max_new_tokens) break;
  }
  return prompt + tokenizer.decode(tokens);
}"""
SETTINGS = [
    {},
    {"temperature": 0},
    {"temperature": 0.7, "top_k": 20},
    {"top_p": 0.9},
    {"temperature": 1.5, "top_k": 200, "top_p": 0.8},
    {"top_k": 5000, "top_p": 1.0},
    {"top_p": 0.001},
    {"repetition_penalty": 1.3},
    {"no_repeat_ngram": 2, "temperature": 0},
    {"no_repeat_ngram": 1, "repetition_penalty": 0.8, "temperature": 0.5, "top_p": 0.95, "top_k": 50},
]


@pytest.fixture(scope="module")
def page(chromium):
    with live_page(chromium) as page:
        yield page


@pytest.fixture(scope="module")
def storyteller(page):
    model, tokenizer = load("storyteller")
    open_in(page, "storyteller", model, tokenizer)
    return model, tokenizer


@pytest.mark.parametrize("seed", [0, 1, 5, 20261, 2**32 - 1, 2**32, 2**32 + 7, 2**53 + 1, 2**63 - 1])
def test_dice_are_those_of_torch(page, seed):
    generator = torch.Generator().manual_seed(seed)
    expected = [torch.rand((), generator=generator, dtype=torch.float64).item() for _ in range(700)]
    throw = "seed => ((dice) => Array.from({ length: 700 }, () => dice.next()))(new Dice(BigInt(seed)))"
    assert page.evaluate(throw, str(seed)) == expected
    assert page.evaluate("new Dice(5).next() === new Dice(5n).next()")


def test_distributions(page):
    torch.manual_seed(0)
    previous = [3, 9, 4, 3, 9, 2, 3]
    for logits in (
        torch.randn(40) * 3,
        torch.randn(300),
        torch.zeros(6).index_fill(0, torch.tensor([4]), 1.0),
    ):
        given = [token % len(logits) for token in previous]
        for settings in SETTINGS:
            if settings.get("no_repeat_ngram") == 1 and len(logits) == 6:
                continue
            expected = next_token_distribution(logits, previous=torch.tensor(given), **settings)
            found = numbers(page.evaluate(DISTRIBUTION, [logits.tolist(), settings, given, []])["chances"])
            assert np.array_equal(found > 0, (expected > 0).numpy()), settings
            assert np.abs(found - expected.numpy()).max() < 2e-7, settings


def test_distributions_of_hard_logits(page):
    inf = float("inf")
    for logits, settings in (
        ([1e30, 9e29, -1e30], {"temperature": 1e-30}),
        ([3.0, -inf, 2.0], {"temperature": 1e-45}),
        ([2.0, 2.0, 1.0, 1.0], {"top_k": 1}),
        ([2.0, 2.0, 1.0, 1.0], {"temperature": 0}),
        ([1.0, -inf, -inf, 0.5], {"top_p": 0.7, "top_k": 3}),
        ([-1.0, -2.0, 3.0], {"repetition_penalty": 5}),
        ([0.0, 0.0], {"top_p": 0.5}),
    ):
        expected = next_token_distribution(torch.tensor(logits), previous=torch.tensor([0, 0, 1]), **settings)
        found = numbers(page.evaluate(DISTRIBUTION, [logits, settings, [0, 0, 1], []])["chances"])
        assert np.abs(found - expected.numpy()).max() < 2e-7, (logits, settings, found, expected)


def test_what_leaves_no_token(page):
    problem = page.evaluate(DISTRIBUTION, [[1, 2], {"no_repeat_ngram": 1}, [0, 1], []])["problem"]
    with pytest.raises(ValueError) as raised:
        next_token_distribution(torch.tensor([1.0, 2]), previous=torch.tensor([0, 1]), no_repeat_ngram=1)
    assert problem == str(raised.value)
    problem = page.evaluate(DISTRIBUTION, [[1, 2], {}, [], [0, 1]])["problem"]
    assert problem == "min_new_tokens keeps out the tokens [0, 1] and leaves none to choose"
    problem = page.evaluate(
        "() => { try { distribution([1, NaN, 3]); } catch (error) { return error.message; } }"
    )
    with pytest.raises(FloatingPointError) as raised:
        next_token_distribution(torch.tensor([1.0, float("nan"), 3]))
    assert problem == str(raised.value).replace("nan", "NaN")


def test_places_on_a_border_are_the_next_tokens_and_none_has_no_room(page):
    for chances, place, token in (
        ([0, 0.5, 0.5], 0, 1),
        ([0, 0.5, 0.5], 0.5, 2),
        ([0.5, 0.5, 0], 1 - 2**-53, 1),
    ):
        assert page.evaluate("([chances, place]) => draw(chances, place)", [chances, place]) == token


def test_draws_fall_where_those_of_the_library_do(page):
    rng = random.Random(0)
    torch.manual_seed(1)
    generator = torch.Generator()
    for size in (1, 2, 7, 2048):
        chances = torch.randn(size).mul(4).softmax(-1) * (torch.rand(size) > 0.5).index_fill(
            0, torch.tensor([0]), True
        )
        for _ in range(20):
            generator.manual_seed(seed := rng.randrange(2**63))
            expected = draw(chances[None], [generator]).item()
            drawn = "([chances, seed]) => draw(Float32Array.from(chances), new Dice(BigInt(seed)).next())"
            assert page.evaluate(drawn, [chances.tolist(), str(seed)]) == expected


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_same_seed_writes_the_same_text(page, storyteller, settings):
    """Where the dice fall within rounding of the border of two tokens, texts may part: one token in 10⁵."""
    model, tokenizer = storyteller
    for seed, prompt in enumerate(["", "Once upon a time", "Anna 遇见了 🐕 and"]):
        sampling = {"max_new_tokens": 50, "seed": seed, **settings}
        assert page.evaluate(WRITE, ["storyteller", prompt, sampling]) == generate(
            model, tokenizer, prompt, **sampling
        )


def test_writing_goes_on_past_the_context_and_not_below_the_minimum(page):
    tokenizer = CharacterTokenizer("abcdefgh")
    torch.manual_seed(3)
    model = GPT(GPTConfig(12, context_length=9, n_layers=2, n_heads=2, d_model=16, position="rotary")).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_((weight + 0.3 * torch.randn_like(weight)).half().float())
    open_in(page, "tiny", model, tokenizer)
    settings = [{"max_new_tokens": 40, "min_new_tokens": 25}, {"max_new_tokens": 7, "no_repeat_ngram": 1}]
    for seed in range(8):
        sampling = {"seed": seed, **settings[seed % 2]}
        assert page.evaluate(WRITE, ["tiny", "abc", sampling]) == generate(
            model, tokenizer, "abc", **sampling
        )
