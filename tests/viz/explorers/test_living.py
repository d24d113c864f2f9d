"""Packing a GPT for a page, and saying why one cannot be packed."""

import gzip
import json
import re
from dataclasses import dataclass

import pytest
import safetensors.torch
import torch

from gptlib import GPT, GPTConfig, Tokenizer, load
from gptlib.formats.wrapped_tokenizer import WrappedTokenizer
from gptlib.text.bpe import GPT2_PATTERN
from gptlib.text.characters import CharacterTokenizer
from gptlib.viz.explorers.living import SCRIPTS, name_of, pack_model, runtime_code, why_not
from gptlib.viz.explorers.page_patterns import page_pattern
from gptlib.viz.explorers.pages import FOLDER

LETTERS = CharacterTokenizer("abc")


def small(**settings):
    return GPT(
        GPTConfig(
            **{"vocab_size": 4, "context_length": 3, "n_layers": 1, "n_heads": 1, "d_model": 4} | settings
        )
    )


def unpacked(block):
    content = gzip.decompress(block)
    end = 4 + int.from_bytes(content[:4], "little")
    packing = json.loads(content[4:end])
    start, stop = packing["weights"]["bytes"]
    return packing, safetensors.torch.load(content[end + start : end + stop])


@pytest.fixture(scope="module")
def storyteller():
    return load("storyteller")


def test_what_is_in_a_block(storyteller):
    model, tokenizer = storyteller
    packing, tensors = unpacked(pack_model(model, tokenizer))
    assert packing["name"] == "storyteller" and packing["bits"] == 16
    assert GPTConfig(**packing["config"]) == model.config
    assert set(tensors) == {name for name, _ in model.named_parameters()}
    assert all(torch.equal(tensors[name].float(), weight) for name, weight in model.named_parameters())
    assert pack_model(model, tokenizer) == pack_model(model, tokenizer)


def test_tied_and_untied_and_shared_weights():
    _, tensors = unpacked(pack_model(small(), LETTERS))
    assert "unembedding.weight" not in tensors
    _, tensors = unpacked(pack_model(small(tie_embeddings=False), LETTERS))
    assert "unembedding.weight" in tensors
    model = small(n_layers=2)
    model.blocks[1].mlp.up.weight = model.blocks[0].mlp.up.weight
    _, tensors = unpacked(pack_model(model, LETTERS))
    assert torch.equal(tensors["blocks.1.mlp.up.weight"], tensors["blocks.0.mlp.up.weight"])


def test_what_half_precision_cannot_hold_stays_whole():
    model = small()
    with torch.no_grad():
        model.blocks[0].mlp.up.weight[0, 0] = 1e5
    _, tensors = unpacked(pack_model(model, LETTERS))
    assert tensors["blocks.0.mlp.up.weight"].dtype == torch.float32
    assert tensors["blocks.0.mlp.down.weight"].dtype == torch.float16


def test_eight_bits():
    model = small()
    with torch.no_grad():
        model.blocks[0].mlp.up.weight[0] = 0
    packing, tensors = unpacked(pack_model(model, LETTERS, bits=8))
    assert packing["bits"] == 8
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            scales = tensors[f"{name}.scales"]
            assert tensors[name].dtype == torch.int8 and scales.shape == weight.shape[:1]
            off = (tensors[name] * scales[:, None] - weight).abs()
            assert (off <= scales[:, None] / 2 * 1.0001).all()
        else:
            assert tensors[name].dtype == torch.float16
    with pytest.raises(ValueError, match="bits"):
        pack_model(model, LETTERS, bits=4)


def test_the_name_is_the_shipped_models_alone(storyteller):
    model, _ = storyteller
    assert name_of(model) == "storyteller"
    assert name_of(load("storyteller", dtype=torch.float16)[0]) == "storyteller"
    other, _ = load("storyteller")
    with torch.no_grad():
        other.final_norm.bias[3] += 1e-3
    assert name_of(other) == name_of(small()) == name_of(None) == name_of(torch.nn.Linear(2, 2)) == ""
    with model.blocks[0].register_forward_hook(lambda *_: None):
        assert name_of(model) == ""


def test_why_not():
    assert why_not(small(), LETTERS) == ""
    assert why_not(small(n_experts=2, copy_heads=1, window=2, qk_norm=True, position="alibi"), LETTERS) == ""
    whole = "A page can run a gptlib.GPT as it was built, and of this model "
    assert why_not(torch.nn.Linear(2, 2), LETTERS) == whole + "it is a Linear, not a GPT."
    assert why_not(None, LETTERS) == whole + "it is a NoneType, not a GPT."
    hooked = small()
    hooked.blocks[0].register_forward_hook(lambda *_: None)
    assert "a hook" in why_not(hooked, LETTERS)
    large = why_not(small(d_model=1000), CharacterTokenizer("abc"))
    assert large == "A page can run up to 10,000,000 parameters, and this model has 12,022,000."
    spoilt = small()
    with torch.no_grad():
        spoilt.final_norm.bias[0] = float("nan")
    assert why_not(spoilt, LETTERS).endswith("as of this one final_norm.bias is.")
    for tokenizer, told in (
        (None, "and there is none"),
        (object.__new__(WrappedTokenizer), "and this one is a WrappedTokenizer"),
        (CharacterTokenizer("abcd"), "vocab_size 5"),
        (CharacterTokenizer("abc", special_tokens=[]), "no <|endoftext|> token"),
    ):
        assert told in why_not(small(), tokenizer)
    words = Tokenizer.train("", 257, pattern=r"(?s:.)|\bx")
    assert r"its pattern has '\\bx'" in why_not(small(vocab_size=257), words)
    with pytest.raises(ValueError, match="vocab_size 5"):
        pack_model(small(), CharacterTokenizer("abcd"))


def test_a_config_with_a_field_that_no_page_knows():
    """As it would be with the next version's GPTConfig; the page refuses it as well, in tests/browser."""

    @dataclass(frozen=True)
    class Newer(GPTConfig):
        sinks: int = 2

    model = small()
    model.config = Newer(**vars(model.config))
    assert why_not(model, LETTERS) == "A page cannot compute sinks = 2, which is in this model's config."


def test_code_is_plain_declarations():
    """Which a worker, a page and a module can all hold: no imports, and no name for two things."""
    assert not any(line.startswith(("//", "import ", "export ")) for line in runtime_code().splitlines())
    code = "".join((FOLDER / "live" / f"{script}.js").read_text(encoding="utf-8") for script in SCRIPTS)
    names = re.findall(r"^(?:async )?(?:function\*?|class|const) (\w+)", code, re.MULTILINE)
    assert {"openModel", "GPT", "distribution", "newTokens", "Dice"} <= set(names)
    assert [name for name in names if names.count(name) > 1] == []


def test_patterns_that_a_page_reads():
    assert page_pattern(GPT2_PATTERN).startswith(r"\u{27}(?:[sdmt]|ll|ve|re)| ?\p{L}+|")
    assert page_pattern(r"[\s\w]+?\d*+") == (
        r"[\p{White_Space}\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+?(?:(?=(?<held1>\p{Nd}*))\k<held1>)"
    )


REFUSED = [
    r"\bx",
    r"(a)\1",
    "(?P<x>a)",
    "(?<x>a)",
    "[[:alpha:]]",
    "[a&&b]",
    "(?=a)*",
    "(?x: a)",
    "(?i)a",
    r"[^\W]",
]
REFUSED += [
    r"(?i:\p{Lu})",
    "(?i:é)",
    "(?i:[a-z])",
    r"\p{Greek_Extended}",
    r"\p{^L}",
    r"\x41",
    "a**",
    "[]a]",
    r"\X",
]


@pytest.mark.parametrize("pattern", REFUSED)
def test_patterns_that_a_page_refuses(pattern):
    with pytest.raises(ValueError, match="not read alike in a page"):
        page_pattern(pattern + "|(?s:.)")
