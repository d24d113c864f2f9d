"""A tokenizer whose tokens are single characters."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from gptlib.text.vocabulary import (
    END_OF_TEXT,
    Vocabulary,
    checked_special_tokens,
    read_tokenizer,
    special_tokens_of,
    whole_text,
    whole_texts,
    write_tokenizer,
)


class CharacterTokenizer(Vocabulary):
    """Every character is a token: the smallest tokenizer, for first steps.

    It is used as a `Tokenizer` is, but knows only the characters that it was trained on. Ids go to the
    characters in the order of their code points, then to the special tokens.
    """

    _kind = "characters"
    merges: list[tuple[bytes, bytes]] = []

    def __init__(self, characters: Iterable[str], special_tokens: Sequence[str] = (END_OF_TEXT,)) -> None:
        if isinstance(characters, str):
            characters = list(whole_text(characters))
        self.characters = sorted(set(whole_texts(characters, "characters")))
        wrong = [character for character in self.characters if len(character) != 1]
        if wrong or not self.characters:
            raise ValueError(
                f"characters holds {wrong[0] if wrong else 'none'!r}; it needs one or more single characters"
            )
        names = checked_special_tokens(special_tokens)
        self._ids = {character: token for token, character in enumerate(self.characters)}
        super().__init__(
            {token: character.encode() for character, token in self._ids.items()},
            {name: len(self.characters) + place for place, name in enumerate(names)},
        )

    @classmethod
    def train(
        cls, texts: Iterable[str] | str, special_tokens: Sequence[str] = (END_OF_TEXT,)
    ) -> CharacterTokenizer:
        """A tokenizer that knows every character of `texts` (one text, or several).

        Raises ValueError when there is no character in the texts, or half of a surrogate pair.
        """
        return cls(set().union(*whole_texts(texts)), special_tokens)

    def _encode_plain(self, text: str, position: int) -> list[int]:
        try:
            return [self._ids[character] for character in text]
        except KeyError as error:
            character = error.args[0]
            raise ValueError(
                f"text holds {character!r} at position {position + text.index(character)}, which this "
                f"tokenizer has never seen; it knows {len(self.characters)} characters: train it on text "
                "that has this one, or use Tokenizer"
            ) from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer as one JSON file, one `[id, character]` a line, whole or not at all."""
        lines = [[token, character] for character, token in self._ids.items()]
        write_tokenizer(path, self._kind, {"special_tokens": self.special_tokens}, lines)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CharacterTokenizer:
        """Read what `save` wrote; errors as in `Tokenizer.load`."""
        contents = read_tokenizer(path, cls._kind, {"special_tokens": dict, "tokens": list})
        try:
            characters = [character for _, character in contents["tokens"]]
            tokenizer = cls(characters, list(special_tokens_of(contents)))
            lines = [[token, character] for character, token in tokenizer._ids.items()]
            if lines != contents["tokens"] or tokenizer.special_tokens != contents["special_tokens"]:
                raise ValueError("its ids do not follow the order of the characters, then the special tokens")
        except (ValueError, TypeError) as error:
            raise ValueError(f"{str(path)!r} is not a whole tokenizer: {error}") from None
        return tokenizer
