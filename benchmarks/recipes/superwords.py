"""Copy heads over superwords: frequent runs of words are one token, never a name; and a quicker Muon.

Superwords: Liu et al. 2025, "SuperBPE: Space Travel for Language Models". Here the merges go on from the
words of storyteller's tokenizer, of which those stay out that no story has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from unittest.mock import patch

import torch
from recipes import copy_heads
from record import Progress, training
from rivals import NAMES

from gptlib import GPT, Tokenizer, TrainConfig, load
from gptlib.text.bpe import learn_merges
from gptlib.text.corpora import TokenFile, storyworld_corpus
from gptlib.text.vocabulary import END_OF_TEXT, Vocabulary
from gptlib.training import muon
from gptlib.training.whole_documents import WholeDocuments

VOCAB_SIZE = 4096
LEARNED_FROM = 4000  # stories
TRAINING = replace(copy_heads.TRAINING, steps=2400, batch_size=16)


class Superwords(Vocabulary):
    """Tokens of an older tokenizer, and merges of them that never take in a name."""

    _kind = "superwords"

    def __init__(self, words: Tokenizer, rows: Sequence[list[int]], vocab_size: int) -> None:
        self.words = words
        self.ids = {word: at for at, word in enumerate(sorted({word for row in rows for word in row}))}
        name_words = {words.encode(before + name)[0] for name in NAMES for before in ("", " ")}
        self.names = {self.ids[word] for word in name_words if word in self.ids}
        learned_from = rows[:LEARNED_FROM]
        pieces = Counter(tuple(piece) for row in learned_from for piece in self.between_names(row))
        n_merges = vocab_size - len(self.ids) - 1
        self.merges = {
            pair: len(self.ids) + rank
            for rank, pair in enumerate(learn_merges(pieces, n_merges, first_id=len(self.ids)))
        }
        token_bytes = {at: words.token_bytes(word) for word, at in self.ids.items()}
        for (left, right), new in self.merges.items():
            token_bytes[new] = token_bytes[left] + token_bytes[right]
        super().__init__(token_bytes, {END_OF_TEXT: vocab_size - 1})

    def between_names(self, row: Sequence[int]) -> Iterator[list[int]]:
        """The own ids of a row of the older tokens, cut before and behind each name."""
        piece: list[int] = []
        for word in row:
            if self.ids[word] in self.names:
                yield from ([piece] if piece else [])
                yield [self.ids[word]]
                piece = []
            else:
                piece.append(self.ids[word])
        yield from ([piece] if piece else [])

    def merged(self, piece: list[int]) -> list[int]:
        """The piece after all merges, in the order in which they were learned."""
        while pairs := [pair for pair in zip(piece, piece[1:], strict=False) if pair in self.merges]:
            first = min(pairs, key=self.merges.__getitem__)
            merged: list[int] = []
            for token in piece:
                if merged and (merged[-1], token) == first:
                    merged[-1] = self.merges[first]
                else:
                    merged.append(token)
            piece = merged
        return piece

    def superwords(self, row: Sequence[int]) -> list[int]:
        """A row of the older tokens in those of this tokenizer."""
        return [token for piece in self.between_names(row) for token in self.merged(piece)]

    def _encode_plain(self, text: str, position: int) -> list[int]:
        return self.superwords(self.words.encode(text))


def run(config: TrainConfig) -> Iterator[Progress]:
    """Train from random weights, with a tokenizer of its own."""
    _, words = load("storyteller")
    corpus = storyworld_corpus(max(LEARNED_FROM, config.steps * config.batch_size), config.seed)
    rows = [words.encode(text) for text in corpus.documents]
    tokenizer = Superwords(words, rows, VOCAB_SIZE)
    end = tokenizer.end_of_text
    tokens = TokenFile.from_tokens(
        [end, *(token for row in rows for token in [*tokenizer.superwords(row), end])]
    )
    torch.manual_seed(config.seed)
    model = GPT(replace(copy_heads.MODEL, vocab_size=VOCAB_SIZE))
    with patch.object(muon, "STEPS", 3):
        yield from training(model, tokenizer, WholeDocuments(tokens), config)
