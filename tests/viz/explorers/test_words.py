"""What stands for a token on a page: with tokenizers of every kind, trained here, the text as it is."""

import json
import re

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Fast
from transformers import ByT5Tokenizer, PreTrainedTokenizer, PreTrainedTokenizerFast

from gptlib import Tokenizer
from gptlib.text.characters import CharacterTokenizer
from gptlib.viz.explorers.reading import on_the_page
from gptlib.viz.explorers.words import read_target, read_words, shared, word_of

CORPUS = [
    "Nora met Leo. Then Nora saw Leo and Mia saw them both, and the cat.",
    "你好,世界 猫 👩‍👩‍👧 مرحبا café क्षि",
]
FAMILY = "👩‍👩‍👧"  # three people, two joiners: 18 bytes that a reader takes for one character
SHARED = regex.compile(r"(\r|\n|\X)([⁰¹²³⁴⁵⁶⁷⁸⁹]+)⁄[₀₁₂₃₄₅₆₇₈₉]+")


def byte_level():
    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    fast.train_from_iterator(CORPUS[:1], trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    ))  # fmt: skip
    fast.add_tokens([AddedToken("\n\n"), AddedToken("  ")])
    return PreTrainedTokenizerFast(tokenizer_object=fast, eos_token="<|endoftext|>")


def metaspace():
    """As Llama's: a space stands before every text, and what is unknown is spelled in bytes."""
    fast = Fast(models.BPE(byte_fallback=True, unk_token="<unk>"))
    fast.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    fast.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    fast.train_from_iterator(CORPUS[:1], trainer)
    contents = json.loads(fast.to_str())
    contents["model"]["vocab"] |= {f"<0x{byte:02X}>": 1000 + byte for byte in range(256)}
    fast = Fast.from_str(json.dumps(contents))
    fast.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=fast, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def unigram():
    fast = Fast(models.Unigram())
    fast.pre_tokenizer, fast.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    fast.train_from_iterator(
        CORPUS, trainers.UnigramTrainer(vocab_size=120, show_progress=False, unk_token="<unk>",
                                        special_tokens=["<unk>", "</s>"])
    )  # fmt: skip
    return PreTrainedTokenizerFast(tokenizer_object=fast, unk_token="<unk>", eos_token="</s>")


def word_pieces():
    fast = Fast(models.WordPiece(unk_token="[UNK]"))
    fast.normalizer, fast.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    fast.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    fast.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=90, special_tokens=special, show_progress=False)
    )
    fast.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=fast, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def ends_of_words():
    """As XLM's: the end of a word is marked, and not its beginning."""
    fast = Fast(models.BPE(end_of_word_suffix="</w>", unk_token="<unk>"))
    fast.pre_tokenizer, fast.decoder = pre_tokenizers.Whitespace(), decoders.BPEDecoder("</w>")
    fast.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=120, end_of_word_suffix="</w>", special_tokens=["<unk>"], show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=fast, unk_token="<unk>")


class Slow(PreTrainedTokenizer):
    """One written in Python, without offsets: SentencePiece's marks, and an unknown character in bytes."""

    def __init__(self):
        names = ["<s>", *"▁abcdé", *(f"<0x{byte:02X}>" for byte in range(256))]
        self.ids = {name: number for number, name in enumerate(names)}
        super().__init__(bos_token="<s>")

    vocab_size = property(lambda self: len(self.ids))

    def get_vocab(self):
        return dict(self.ids)

    def _tokenize(self, text):
        marked = ("▁" + text).replace(" ", "▁")
        return [name for letter in marked for name in (
            [letter] if letter in self.ids else [f"<0x{byte:02X}>" for byte in letter.encode()])]  # fmt: skip

    def _convert_token_to_id(self, token):
        return self.ids[token]

    def _convert_id_to_token(self, index):
        return list(self.ids)[index]

    def convert_tokens_to_string(self, tokens):
        words = "".join(tokens).replace("▁", " ")
        return re.sub("<0x(..)>", lambda found: chr(int(found[1], 16)), words).removeprefix(" ")


REVERSIBLE = {
    "the course's": lambda: Tokenizer.train(CORPUS[:1], vocab_size=280),
    "byte-level": byte_level,
    "Metaspace": metaspace,
    "slow": Slow,
    "bytes": ByT5Tokenizer,
}
KNOWN = {name: build() for name, build in REVERSIBLE.items()}


def joined(words):
    """The text: a character that is shown several times counts where its first part is."""
    return "".join(SHARED.sub(lambda found: found[1] if found[2] == "¹" else "", word) for word in words)


LETTERS = st.characters(exclude_categories=["Cs", "Cn", "Co"], exclude_characters="⁄")
HARD = ["Nora ", "猫", "你好", FAMILY, "👍🏽", "🇩🇪", "مرحبا", "e\u0301", "क्षि", " ", "\n", "the "]
TEXTS = st.text(LETTERS, min_size=1, max_size=12) | st.lists(
    st.sampled_from(HARD), min_size=1, max_size=6
).map("".join)


@pytest.mark.parametrize("name", REVERSIBLE)
@settings(max_examples=60)
@given(text=TEXTS)
def test_the_words_give_the_text_back(name, text):
    tokenizer = KNOWN[name]
    tokens, words = read_words(tokenizer, text)
    assert len(words) == len(tokens)
    special = {"(start)", "<s>", "</s>"}
    words = words[1 if words[0] in special else 0 : -1 if words[-1] in special else None]
    assert joined(words) in (text, " " + text)  # some put a space before every text
    assert "\ufffd" in text or not any("\ufffd" in word for word in words)
    assert not any(word == "" for word in words)


@pytest.mark.parametrize("name", REVERSIBLE)
def test_what_makes_up_one_character_is_shown_as_that(name):
    words = read_words(KNOWN[name], f"猫 {FAMILY}")[1]
    at = words.index("猫¹⁄₃")
    assert words[at : at + 3] == ["猫¹⁄₃", "猫²⁄₃", "猫³⁄₃"]
    assert f"{FAMILY}¹⁄₁₈" in words and f"{FAMILY}¹⁸⁄₁₈" in words
    assert on_the_page(f"{FAMILY}¹⁄₁₈") == f"{FAMILY}¹⁄₁₈"  # its joiners join


@pytest.mark.parametrize(
    ("build", "text", "words"),
    [
        (byte_level, "Nora  met\n\n<|endoftext|>a", ["Nora", "  ", "met", "\n\n", "<|endoftext|>", "a"]),
        (metaspace, "Nora met", ["<s>", " Nora met"]),
        (unigram, "a 猫", [" ", "a", " ", "猫"]),
        (unigram, "ω", [" ", "<unk>"]),
        (word_pieces, "Nora sawed ω", ["[CLS]", "nora", "saw", "##e", "##d", "[UNK]", "[SEP]"]),
        (ends_of_words, "Nora saw", ["Nora ", "saw "]),
        (Slow, "ab ñ", [" ", "a", "b", " ", "ñ¹⁄₂", "ñ²⁄₂"]),
    ],
)
def test_marks_of_words_are_spaces_and_special_tokens_have_their_names(build, text, words):
    assert read_words(build(), text)[1] == words


def test_the_course_s_tokenizers():
    characters = CharacterTokenizer.train(["Mia ran 猫"])
    assert read_words(characters, "a 猫")[1] == ["(start)", "a", " ", "猫"]
    assert word_of(characters, characters.end_of_text) == "(end)"
    tokenizer = KNOWN["the course's"]
    tokens, _ = read_words(tokenizer, "猫")
    assert word_of(tokenizer, tokens[1]) == "\\xe7"  # alone it makes no character


def test_one_token_by_itself():
    assert word_of(KNOWN["Metaspace"], 1000 + 0xE7) == "\\xe7"
    words = [word_of(KNOWN["byte-level"], token) for token in KNOWN["byte-level"](" 猫")["input_ids"]]
    assert words == [" ", "\\xe7", "\\x8c", "\\xab"]


def test_bytes_that_are_no_text_and_pieces_that_are_empty():
    assert shared([b"a\xff", b"", b"\xe7\x8c", b"\xab!"]) == ["a\\xff", "", "猫¹⁄₂", "猫²⁄₂!"]
    assert shared([b"\xe7\x8c", b"", b"\xab"]) == ["猫¹⁄₂", "", "猫²⁄₂"]
    assert shared([]) == []


def test_a_decoder_reads_its_text_after_a_start():
    tokens, words = read_target(KNOWN["bytes"], "猫", 0)
    assert (tokens[0], words) == (0, ["(start)", "猫¹⁄₃", "猫²⁄₃", "猫³⁄₃"])
    assert read_target(KNOWN["bytes"], "a", None)[1] == ["a"]


def test_what_is_no_tokenizer_is_refused():
    with pytest.raises(TypeError, match="tokenizer is None; it needs the model's own"):
        read_words(None, "Mia")
