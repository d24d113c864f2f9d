"""The counting baseline: the next token is guessed from how often it followed the last few.

An n-gram model of order n looks at the n - 1 tokens before. Long contexts are seen seldom, so their counts
are mixed with those of shorter ones: interpolated Witten-Bell smoothing (Witten and Bell, "The Zero-Frequency
Problem", 1991, method C; Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language
Modeling", 1998, section 2.5). For a context h, seen c(h) times and followed by T(h) different tokens,

    p(token | h) = (c(h, token) + T(h) * p(token | h without its first token)) / (c(h) + T(h))

and below the empty context every token is equally likely. So nothing is impossible and every loss is finite.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from gptlib.checks import check_whole

Tokens = Sequence[int] | np.ndarray | Tensor  # one row of token ids


@dataclass(frozen=True)
class _Level:
    """All n-grams of one length: contexts of `length - 1` tokens and the token that followed.

    An n-gram is one number, `context * vocab_size + token`, where `context` is the place of the context among
    the n-grams that are one shorter. The numbers are sorted, so one context's n-grams stand side by side.
    """

    grams: Int[np.ndarray, " gram"]
    counts: Int[np.ndarray, " gram"]
    first: Int[np.ndarray, " context_and_one"]  # where each context's n-grams begin, and the end
    seen: Int[np.ndarray, " context"]  # how often each context was followed by any token

    def find(self, grams: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """The place of each n-gram, -1 for one that was never seen."""
        places = np.searchsorted(self.grams, grams)
        known = places < len(self.grams)
        known[known] = self.grams[places[known]] == grams[known]
        return np.where(known, places, -1)


class NGram:
    """An n-gram model over token ids, with interpolated Witten-Bell smoothing.

    order: how many tokens an n-gram has: 1 knows how frequent each token is, 2 knows pairs.
    vocab_size: how many tokens there are.

    Raises ValueError when `order` or `vocab_size` is below 1.
    """

    def __init__(self, order: int, vocab_size: int) -> None:
        check_whole("order", order)
        check_whole("vocab_size", vocab_size)
        self.order = order
        self.vocab_size = vocab_size
        self._levels: list[_Level] = []

    def __repr__(self) -> str:
        known = f", {len(self._levels[-1].grams):,} different n-grams" if self._levels else ", not fitted"
        return f"NGram(order={self.order}, vocab_size={self.vocab_size}{known})"

    def fit(self, documents: Tokens | Iterable[Tokens]) -> NGram:
        """Count the n-grams of one row of tokens, or of several documents; returns the model itself.

        No n-gram reaches from one document into the next. What was counted before is forgotten.

        Raises ValueError for no tokens at all, or one outside the vocabulary; TypeError for tokens
        that are not whole numbers.
        """
        rows = self._rows(documents)
        tokens = np.concatenate(rows)
        if len(tokens) == 0:
            raise ValueError("documents holds no token; it needs at least one")
        # How many tokens stand before each one in its document.
        depth = np.concatenate([np.arange(len(row)) for row in rows])
        levels = []
        contexts = np.zeros(len(tokens), dtype=np.int64)  # the empty context, everywhere
        n_contexts = 1
        for length in range(1, self.order + 1):
            here = depth >= length - 1
            grams, places, counts = _unique(contexts[here] * self.vocab_size + tokens[here])
            first = np.searchsorted(grams, np.arange(n_contexts + 1) * self.vocab_size)
            running = np.concatenate([[0], np.cumsum(counts)])
            levels.append(_Level(grams, counts, first, running[first[1:]] - running[first[:-1]]))
            # The n-gram that ends at a token is the context of the token after it.
            found = np.zeros(len(tokens), dtype=np.int64)
            found[here] = places
            contexts = np.concatenate([[0], found[:-1]])
            n_contexts = len(grams)
        self._levels = levels
        return self

    def probabilities(self, context: Tokens = ()) -> Float[np.ndarray, " vocab"]:
        """How likely each token is after `context`: (vocab_size,), all above zero, sums to 1.

        Only the last `order - 1` tokens of the context count; it may be shorter, or empty.

        Raises RuntimeError when the model was not fitted; ValueError when the context holds a token
        outside the vocabulary.
        """
        self._check_fitted()
        context = self._row(context)
        probabilities = np.full(self.vocab_size, 1 / self.vocab_size)
        for length, level in enumerate(self._levels[: len(context) + 1], start=1):
            place = 0
            for depth, token in enumerate(context[len(context) - length + 1 :]):
                place = int(self._levels[depth].find(np.array([place * self.vocab_size + token]))[0])
                if place < 0:
                    return probabilities
            grams = slice(level.first[place], level.first[place + 1])
            n_followers = grams.stop - grams.start
            if n_followers == 0:  # only ever seen at the end of a document
                return probabilities
            probabilities *= n_followers
            probabilities[level.grams[grams] - place * self.vocab_size] += level.counts[grams]
            probabilities /= level.seen[place] + n_followers
        return probabilities

    def surprises(self, tokens: Tokens) -> Float[np.ndarray, " token"]:
        """-log p of each token given those before it, in nats; the first is judged by the empty context.

        Raises RuntimeError when the model was not fitted; ValueError for a token outside the
        vocabulary.
        """
        self._check_fitted()
        tokens = self._row(tokens)
        n_tokens = len(tokens)
        probabilities = np.full(n_tokens, 1 / self.vocab_size)
        # The place of the context before each token; -1 for one never seen, or cut short by the start.
        contexts = np.zeros(n_tokens, dtype=np.int64)
        for level in self._levels:
            at = np.flatnonzero(contexts >= 0)
            grams = level.find(contexts[at] * self.vocab_size + tokens[at])
            counts = np.zeros(len(at), dtype=np.int64)
            counts[grams >= 0] = level.counts[grams[grams >= 0]]
            n_followers = np.diff(level.first)[contexts[at]]
            total = level.seen[contexts[at]] + n_followers
            # A context that was only ever seen at the end of a document tells nothing.
            mixed = (counts + n_followers * probabilities[at]) / np.maximum(total, 1)
            probabilities[at] = np.where(total > 0, mixed, probabilities[at])
            found = np.full(n_tokens, -1)
            found[at] = grams
            contexts = np.concatenate([[-1], found[:-1]])[:n_tokens]
        return -np.log(probabilities)

    def loss(self, tokens: Tokens | Iterable[Tokens]) -> float:
        """Mean surprise in nats per token, over one row of tokens or several documents.

        The first token of each row is given and not judged, as in the loss of a GPT, whose targets are its
        inputs shifted by one. So begin rows with the end-of-text token.

        Raises RuntimeError when the model was not fitted; ValueError when no row has two tokens, or a
        token is outside the vocabulary.
        """
        judged = [self.surprises(row)[1:] for row in self._rows(tokens)]
        n_judged = sum(map(len, judged))
        if n_judged == 0:
            raise ValueError("tokens holds no two in a row; it needs one that is given and one to judge")
        return float(sum(surprises.sum() for surprises in judged) / n_judged)

    def sample(
        self, n_tokens: int, seed: int = 0, context: Tokens = (), stop: int | None = None
    ) -> list[int]:
        """Draw tokens one after the other, each given those before.

        n_tokens: how many, at most.
        seed: the same seed draws the same tokens.
        context: tokens to go on from; they are not returned.
        stop: a token after which nothing more is drawn; it is returned as the last.

        Raises RuntimeError when the model was not fitted; ValueError when `n_tokens` or `seed` is negative,
        or the context holds a token outside the vocabulary.
        """
        check_whole("n_tokens", n_tokens, at_least=0)
        check_whole("seed", seed, at_least=0, any_size=True)
        if stop is not None:
            check_whole("stop", stop, at_least=0)
        self._check_fitted()
        source = np.random.default_rng(seed)
        tokens = self._row(context).tolist()
        n_given = len(tokens)
        for _ in range(n_tokens):
            running = np.cumsum(self.probabilities(tokens[-self.order :]))
            token = int(np.searchsorted(running, source.random() * running[-1], side="right"))
            tokens.append(min(token, self.vocab_size - 1))
            if token == stop:
                break
        return tokens[n_given:]

    def _check_fitted(self) -> None:
        if not self._levels:
            raise RuntimeError("this n-gram model has counted nothing yet: call fit first")

    def _rows(self, documents: Tokens | Iterable[Tokens]) -> list[np.ndarray]:
        """One row of tokens for each document."""
        if isinstance(documents, np.ndarray) or hasattr(documents, "__array__"):
            array = np.asarray(documents)
            return [self._row(row) for row in (array if array.ndim == 2 else [array])]
        if not isinstance(documents, Iterable):
            raise TypeError(f"tokens is {documents!r}; it needs a row of tokens, or several")
        documents = list(documents)
        if not documents or np.ndim(documents[0]) == 0:
            return [self._row(documents)]
        return [self._row(document) for document in documents]

    def _row(self, tokens: Tokens) -> Int[np.ndarray, " token"]:
        try:
            row = np.asarray(tokens)
        except ValueError:
            raise ValueError("tokens has rows of several lengths; it needs to be one row") from None
        if row.ndim != 1:
            raise ValueError(f"tokens has shape {row.shape}; it needs to be one row")
        if len(row) and row.dtype.kind not in "iu":
            raise TypeError(f"tokens has dtype {row.dtype}; it needs whole numbers")
        if len(row) and (int(row.min()) < 0 or int(row.max()) >= self.vocab_size):
            raise ValueError(
                f"tokens goes from {row.min()} to {row.max()}; it needs 0 to {self.vocab_size - 1}, "
                f"since vocab_size is {self.vocab_size}"
            )
        return row.astype(np.int64)


def _unique(
    numbers: Int[np.ndarray, " n"],
) -> tuple[Int[np.ndarray, " unique"], Int[np.ndarray, " n"], Int[np.ndarray, " unique"]]:
    """The different numbers in order, the place of each number among them, and how often each is there."""
    limit = int(numbers.max(initial=-1)) + 1
    if limit > 4 * len(numbers) + 1000:
        return np.unique(numbers, return_inverse=True, return_counts=True)
    # Counting in a table beats sorting while the table is small.
    counts = np.bincount(numbers, minlength=limit)
    unique = np.flatnonzero(counts)
    places = np.zeros(limit, dtype=np.int64)
    places[unique] = np.arange(len(unique))
    return unique, places[numbers], counts[unique]
