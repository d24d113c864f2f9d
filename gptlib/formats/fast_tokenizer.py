"""Our tokenizer in the form of tokenizer.json, the file of the library that transformers cuts text with."""

from __future__ import annotations

from typing import Any

from gptlib.text.bpe import GPT2_PATTERN, byte_to_unicode
from gptlib.text.tokenizer import Tokenizer
from gptlib.text.vocabulary import END_OF_TEXT

# What BPE may do besides in that library, and GPT-2's does not.
ODDITIES = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")


def to_fast_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """What tokenizer.json holds: the same tokens for every text, with <|endoftext|> before it.

    Raises ValueError for a tokenizer without <|endoftext|>, or with another split pattern than GPT-2's: only
    that one is sure to cut every text alike there.
    """
    end = tokenizer.end_of_text
    if tokenizer.pattern != GPT2_PATTERN:
        raise ValueError(
            f"tokenizer cuts by {tokenizer.pattern!r}; it needs GPT-2's pattern, {GPT2_PATTERN!r}"
        )
    characters = byte_to_unicode()
    shown = {piece: "".join(map(characters.__getitem__, piece)) for piece in tokenizer.ranks}
    before = {"SpecialToken": {"id": END_OF_TEXT, "type_id": 0}}
    texts = [{"Sequence": {"id": name, "type_id": number}} for number, name in enumerate("AB")]
    as_it_stands = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": token, "content": name, **as_it_stands, "special": True}
            for name, token in sorted(tokenizer.special_tokens.items(), key=lambda item: item[1])
        ],
        "normalizer": None,
        "pre_tokenizer": _byte_level(trim_offsets=True),
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [before, texts[0]],
            "pair": [before, *texts],
            "special_tokens": {END_OF_TEXT: {"id": END_OF_TEXT, "ids": [end], "tokens": [END_OF_TEXT]}},
        },
        "decoder": _byte_level(trim_offsets=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {shown[piece]: token for piece, token in tokenizer.ranks.items()}
            | tokenizer.special_tokens,
            "merges": [[shown[left], shown[right]] for left, right in tokenizer.merges],
        },
    }


def from_fast_tokenizer(contents: dict[str, Any]) -> Tokenizer:
    """The tokenizer that tokenizer.json describes, if it is of GPT-2's kind.

    Raises ValueError for another kind, and for contents that are not whole.
    """
    try:
        model, cutting = contents["model"], contents["pre_tokenizer"]
        # Older files do not say what was the only way then.
        cutting = {"use_regex": True} | cutting | {"trim_offsets": True}
        kind = model.get("type", "BPE"), contents.get("normalizer"), cutting
        odd = any(model.get(name) for name in ODDITIES)
        if kind != ("BPE", None, _byte_level(trim_offsets=True)) or odd:
            raise ValueError("it is not of GPT-2's kind: byte-level BPE, no normalizer, no prefix space")
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError("a merge joins two tokens, and one here does not")
        if not all(token.get("special", True) for token in contents["added_tokens"]):
            raise ValueError("it has tokens that were added, and that plain text may become")
        added = {token["content"]: token["id"] for token in contents["added_tokens"]}
        tokenizer = Tokenizer.from_merges(pairs, model["vocab"] | added)
        if unmade := tokenizer.special_tokens.keys() - added.keys():
            raise ValueError(f"it has tokens that no merge makes, such as {min(unmade)!r}")
        return tokenizer
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"it is not whole: {type(error).__name__}: {error}") from None


def _byte_level(trim_offsets: bool) -> dict[str, Any]:
    """GPT-2's way to cut text, by its own pattern. Offsets are no tokens, so trimming them changes none."""
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": trim_offsets, "use_regex": True}
