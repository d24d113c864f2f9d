"""Looks at a model while it learns: how its heads read one text, and what it writes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from gptlib.generation.writing import generate
from gptlib.interpret.tracing import trace
from gptlib.model.config import GPTConfig
from gptlib.model.finiteness import why_not_finite
from gptlib.model.gpt import GPT
from gptlib.text.characters import CharacterTokenizer
from gptlib.text.tokenizer import Tokenizer
from gptlib.viz.explorers.reading import LOCK, in_use, numbers
from gptlib.viz.explorers.words import words_of

SHARE_FOR_LOOKS = 0.05  # of the time of training, for looks that are not planned
LONGEST_TEXT = 48  # tokens
LARGEST_ATTENTION = 600_000  # bytes of all snapshots together, so that a file stays below a megabyte
SAMPLE = {"max_new_tokens": 40, "temperature": 0.8, "seed": 0}


@dataclass(frozen=True)
class Snapshot:
    """How the model read the text after `step` updates, as bytes 255 √weight of (layer, head, triangle), and
    what it wrote."""

    step: int
    attention: bytes
    sample: str


class Looks:
    """The snapshots of one model: those at planned steps, and the latest.

    tokens: of the text; as many of them are read as all snapshots have room for. tokenizer: the model's, or
    None, and then nothing is written. prompt: what is written begins with it.
    """

    def __init__(
        self,
        config: GPTConfig,
        tokenizer: Tokenizer | CharacterTokenizer | None,
        tokens: list[int],
        prompt: str,
        planned: Iterable[int],
    ) -> None:
        self.snapshots: list[Snapshot] = []
        self.planned = set(planned)
        self._config, self._tokenizer, self._prompt = config, tokenizer, prompt
        room = LARGEST_ATTENTION // ((len(self.planned) + 1) * config.n_layers * config.n_heads)
        # n tokens have n (n + 1) / 2 weights: the largest n whose triangle has room
        limit = min(LONGEST_TEXT, config.context_length, max(2, (math.isqrt(8 * room + 1) - 1) // 2))
        self.tokens = tokens[:limit]
        self.pieces = (
            words_of(tokenizer, self.tokens) if tokenizer else [f"#{token}" for token in self.tokens]
        )
        after = f" after “{prompt}”" if prompt else ""
        self.about = f"{after}, up to {SAMPLE['max_new_tokens']} tokens"  # of what is written
        self._last, self._spent = -math.inf, 0.0

    def due(self, step: int, trained: float) -> bool:
        """Whether to look after this step; `trained` is for how many seconds the model was trained."""
        patient = time.monotonic() - self._last >= 1
        return step in self.planned or (patient and self._spent <= SHARE_FOR_LOOKS * trained)

    def look(self, step: int, model: GPT) -> None:
        """Note how the model reads the text and what it writes, in place of a latest look not planned.

        Raises FloatingPointError, naming the cause, where what it computes is not finite.
        """
        began = time.monotonic()
        rows, columns = torch.tril_indices(len(self.tokens), len(self.tokens))
        with in_use(model) as device:
            text = torch.tensor([self.tokens], device=device)
            with trace(model) as run:
                model(text)
            weights = numbers(run.attention[:, 0])[:, :, rows, columns]  # (layer, head, triangle)
            if not weights.isfinite().all():
                raise FloatingPointError(why_not_finite(model, text))
            sample = generate(model, self._tokenizer, self._prompt, **SAMPLE) if self._tokenizer else ""
        coded = (weights.sqrt() * 255).round().to(torch.uint8).numpy().tobytes()
        with LOCK:
            if self.snapshots and self.snapshots[-1].step not in self.planned:
                self.snapshots.pop()
            self.snapshots.append(Snapshot(step, coded, sample))
        self._last = time.monotonic()
        self._spent += self._last - began

    def weights(self, snapshot: Snapshot) -> Float[np.ndarray, "layer head query key"]:
        """The attention of a snapshot, to a 255th of its square root."""
        size = len(self.tokens)
        heads = (self._config.n_layers, self._config.n_heads)
        weights = np.zeros((*heads, size, size))
        rows, columns = np.tril_indices(size)
        coded = np.frombuffer(snapshot.attention, np.uint8).reshape(*heads, -1)
        weights[:, :, rows, columns] = (coded / 255) ** 2
        return weights

    def most_decided(self) -> tuple[int, int]:
        """Layer and head that at last have the largest weights in their rows (but on the first token)."""
        weights = self.weights(self.snapshots[-1])[:, :, 1:, 1:]
        decided = weights.max(axis=-1).mean(axis=-1) if weights.size else np.zeros(weights.shape[:2])
        layer, head = np.unravel_index(decided.argmax(), decided.shape)
        return int(layer), int(head)
