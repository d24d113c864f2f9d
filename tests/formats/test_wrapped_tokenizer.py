"""Tokenizers of other kinds than GPT-2's: their models load, and they cut text as their own package does."""

import json
import sys
import unicodedata

import pytest
import tokenizers
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from gptlib import GPT, GPTConfig, Tokenizer, generate, load, save
from gptlib.files import write_json
from gptlib.formats.fast_tokenizer import to_fast_tokenizer
from gptlib.formats.wrapped_tokenizer import WrappedTokenizer

TEXT = ["the cat sat on the mat. où est le chat? 猫は寝る。 🙂 <think> 42"] * 3


def like_llamas() -> tokenizers.Tokenizer:
    """As sentencepiece has it: ▁ for a space, one more at the start, and bytes for what is unknown."""
    fast = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    fast.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    fast.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(vocab_size=320, show_progress=False)
    fast.train_from_iterator(TEXT, trainer)
    contents = json.loads(fast.to_str())
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *contents["model"]["vocab"]]
    contents["model"]["vocab"] = {name: token for token, name in enumerate(names)}
    fast = tokenizers.Tokenizer.from_str(json.dumps(contents))
    fast.add_special_tokens(["<unk>", "<s>", "</s>"])
    fast.enable_truncation(8)
    return fast


def like_qwens() -> tokenizers.Tokenizer:
    """Bytes as GPT-2 shows them, another pattern, a normalizer, and a token that plain text may become."""
    fast = tokenizers.Tokenizer(models.BPE())
    fast.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(tokenizers.Regex(r"\p{N}|\s+|[^\s\p{N}]+"), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    fast.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    fast.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    fast.train_from_iterator(TEXT, trainer)
    fast.add_special_tokens(["<|endoftext|>", "<|im_end|>"])
    fast.add_tokens(["<think>"])
    return fast


KINDS = {"llama": like_llamas(), "qwen": like_qwens()}
OURS = {name: WrappedTokenizer(fast.to_str(), None) for name, fast in KINDS.items()}
IM_END = KINDS["qwen"].token_to_id("<|im_end|>")
ENDS = {"llama": 2, "qwen": [IM_END, IM_END - 1]}
for each in KINDS.values():
    each.no_truncation()


@given(st.sampled_from(list(KINDS)), st.text())
@example("llama", "<s> the 猫\x00 <0x41>")
@example("qwen", "<|endoftext|> the<think>\n 猫")
@example("qwen", "oÀ")  # the first token holds a part of the second character
@example("qwen", "A\u0300 e\u0301 a\u0316\u0301")  # accents that are put into letters, or in order
def test_text_is_cut_as_by_the_package_and_special_tokens_stay_text(kind, text):
    ours, fast = OURS[kind], KINDS[kind]
    fast.encode_special_tokens = True
    tokens = ours.encode(text)
    assert tokens == fast.encode(text, add_special_tokens=False).ids == list(ours.encode_iterable(list(text)))
    assert not set(tokens) & set(ours.special_tokens.values())
    normal = text if kind == "llama" else unicodedata.normalize("NFC", text)
    pieces = b"".join(map(ours.token_bytes, tokens)).decode()
    assert ours.decode(tokens) == (pieces[1:] if kind == "llama" else pieces) == normal
    covered = 0
    for start, end in ours.spans(text):
        assert start <= covered <= end and start < end
        covered = end
    assert covered == len(text)


@pytest.mark.parametrize("kind", KINDS)
def test_a_surrogate_pair_is_the_character_that_it_spells(kind):
    ours, pair = OURS[kind], "a \ud83d\ude42 cat"
    assert ours.encode(pair) == list(ours.encode_iterable(pair)) == ours.encode("a 🙂 cat")
    assert "".join(pair[start:end] for start, end in dict.fromkeys(ours.spans(pair))) == pair
    for encode in (ours.encode, ours.spans):
        with pytest.raises(ValueError, match=r"half of a surrogate pair, U\+D83D, at position 4"):
            encode("abc \ud83d")


def test_special_tokens_and_the_one_that_ends_a_text():
    llama, qwen = OURS["llama"], OURS["qwen"]
    assert llama.encode("<s>", allow_special=True)[-1] == llama.special_tokens["<s>"] == 1
    assert qwen.end_of_text == qwen.special_tokens["<|endoftext|>"]
    with pytest.raises(ValueError, match="has no <|endoftext|> token"):
        llama.end_of_text  # noqa: B018
    assert WrappedTokenizer(llama.contents, 2).end_of_text == 2
    with pytest.raises(IndexError, match="token 999 is not in the vocabulary"):
        llama.decode([999])


def published(folder, kind, padding=0):
    """A folder as others publish it, with a tokenizer of their kind."""
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    shape |= {"vocab_size": OURS[kind].vocab_size + padding, "max_position_embeddings": 64}
    theirs = LlamaForCausalLM(LlamaConfig(**shape, bos_token_id=1, eos_token_id=ENDS[kind]))
    theirs.save_pretrained(folder)
    OURS[kind].save(folder / "tokenizer.json")
    return theirs.eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", [0, 20])
def test_a_published_folder_loads_writes_and_is_saved_again(kind, padding, tmp_path, without_shape_checks):
    theirs = published(tmp_path, kind, padding)
    model, tokenizer = load(tmp_path)
    tokens = torch.tensor([tokenizer.encode("the cat sat")])
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), theirs(tokens).logits, atol=1e-5, rtol=1e-5)
    assert tokenizer.end_of_text == {"llama": 2, "qwen": IM_END}[kind]
    assert model.config.vocab_size == tokenizer.vocab_size + padding
    if not padding:
        assert generate(model, tokenizer, "the cat", max_new_tokens=5, seed=1).startswith("the cat")
    again = save(tmp_path / "again", model, tokenizer)
    assert (again / "tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()
    model, same = load(again)
    assert same == tokenizer and model.config.vocab_size == tokenizer.vocab_size + padding
    read = AutoTokenizer.from_pretrained(again)
    assert read("the cat sat", add_special_tokens=False).input_ids == tokens[0].tolist()
    assert read.eos_token_id == tokenizer.end_of_text
    assert load(save(tmp_path / "ours", GPT(GPTConfig(400, 8, 1, 2, 8, position="alibi")), same))[1] == same


def test_a_larger_tokenizer_than_the_models_is_refused(tmp_path):
    published(tmp_path, "qwen", padding=-1)
    size = OURS["qwen"].vocab_size
    with pytest.raises(ValueError, match=f"vocab_size {size}; it needs at most the model's, {size - 1}"):
        load(tmp_path)


def test_where_nothing_reads_the_tokenizer_the_weights_load_and_a_warning_says_why(tmp_path, monkeypatch):
    published(tmp_path, "qwen")
    contents = json.loads((tmp_path / "tokenizer.json").read_text())
    for change, words in (
        ({"decoder": None}, "its decoder, None, does not tell which bytes"),
        ({"model": {"type": "Later"}}, "the package tokenizers [0-9.]* cannot read it"),
    ):
        write_json(tmp_path / "tokenizer.json", contents | change)
        with pytest.warns(UserWarning, match=f"without a tokenizer: '.*tokenizer.json': {words}"):
            assert load(tmp_path)[1] is None
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.warns(UserWarning, match="tokenizers is missing; `pip install .gptlib.hub..` brings"):
        model, tokenizer = load(tmp_path)
    assert tokenizer is None and model.config.vocab_size == OURS["qwen"].vocab_size


@pytest.mark.parametrize("kind", ["GPT2Tokenizer", "Qwen2Tokenizer"])
def test_gpt2s_own_files_beside_an_unreadable_one_are_read_if_they_are_gpt2s(kind, tmp_path):
    tokenizer = Tokenizer.train(TEXT, 300)
    folder = save(tmp_path / "model", GPT(GPTConfig(300, 8, 1, 2, 8)), tokenizer)
    contents = to_fast_tokenizer(tokenizer)["model"]
    write_json(folder / "vocab.json", contents["vocab"])
    merges = "".join(f"{left} {right}\n" for left, right in contents["merges"])
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": kind})
    for broken in ('{"model": ', '{"model": 3}'):
        (folder / "tokenizer.json").write_text(broken)
        if kind == "GPT2Tokenizer":
            assert load(folder)[1] == tokenizer
        elif broken == '{"model": ':
            with pytest.raises(ValueError, match="tokenizer.json' is cut off"):
                load(folder)
        else:
            with pytest.warns(UserWarning, match="without a tokenizer"):
                assert load(folder)[1] is None
