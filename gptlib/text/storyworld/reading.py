"""Reading a story back: its derivation, its exact probability, and how surprising each character truly is.

Every way of telling a story is followed as long as it agrees with the text. What is still alive after i characters,
added up, is the exact probability that a story begins with those characters; ratios of these are the true conditional
probabilities (Jelinek & Lafferty, 1991, "Computation of the probability of initial substring generation by stochastic
context-free grammars", do the same for grammars without variables).
"""

from __future__ import annotations

import bisect
import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gptlib.text.storyworld.grammar import Step, Telling, Weights
from gptlib.text.storyworld.story import ANY_STORY, Story, Storyworld
from gptlib.text.storyworld.words import hero_weights


def _follow(
    text: str, steps: tuple[Step, ...], weights: Weights | None = None
) -> tuple[list[Telling], np.ndarray]:
    """All complete tellings of `text`, and the probability of beginning with its first i characters, for i from 0."""
    complete: list[Telling] = []
    mass = np.zeros(len(text) + 1)  # by how far a telling agrees with the text
    waiting = [Telling(steps, weights)]
    while waiting:
        telling = waiting.pop()
        agreed = len(telling.text)
        options = telling.run()
        written = telling.text
        if len(written) > len(text) or not text.startswith(written[agreed:], agreed):
            mass[agreed + len(os.path.commonprefix([written[agreed:], text[agreed:]]))] += math.exp(
                telling.log_p
            )
        elif options is None:
            mass[len(written)] += math.exp(telling.log_p)
            if len(written) == len(text):
                complete.append(telling)
        else:
            for index in range(len(options.items)):
                branch = telling.copy()
                branch.take(index)
                waiting.append(branch)
    return complete, np.cumsum(mass[::-1])[::-1]


class NotAStory(ValueError):
    """Storyworld cannot tell this text. `position` is where it stops being a story: as for `possible_until`."""

    def __init__(self, text: str, position: int) -> None:
        self.position = position
        found = (
            f"{text[position : position + 30]!r}"
            if position < len(text)
            else "the text ends before the story does"
        )
        super().__init__(f"text: not a Storyworld story from character {position} on: {found}")


def derivations(text: str, steps: tuple[Step, ...] = ANY_STORY) -> list[Story]:
    """Every way in which `text` can be told; Storyworld is unambiguous, so at most one."""
    return [Story(telling.text, telling.log_p, telling) for telling in _follow(text, steps)[0]]


def derive(text: str, heroines: float = 0.5) -> Story:
    """Reads the derivation of a story back from its text. `log_p` is that of `Storyworld(heroines=heroines)`.

    Raises NotAStory, a ValueError, when Storyworld cannot tell this text; it holds the position where the
    text stops being a story.
    """
    return _derive(text, heroines)[0]


def _derive(text: str, heroines: float) -> tuple[Story, np.ndarray]:
    """The story, and the probability of beginning with its first i characters, for i from 0."""
    complete, reachable = _follow(text, ANY_STORY, hero_weights(heroines))
    if not complete:
        raise NotAStory(text, int(np.count_nonzero(reachable)) - 1)
    return Story(complete[0].text, complete[0].log_p, complete[0]), reachable


def possible_until(text: str) -> int:
    """How far Storyworld could have told this text: the number of characters with which a story can begin.

    The end counts as one more. So it is len(text) + 1 for a story, len(text) for a text that breaks off, and
    otherwise the position of the first character that no story has there.
    """
    try:
        derive(text)
    except NotAStory as error:
        return error.position
    return len(text) + 1


def is_possible(text: str) -> bool:
    """Whether Storyworld could have told this text, from its beginning to its end."""
    return possible_until(text) > len(text)


def surprises(text: str, heroines: float = 0.5) -> Float[np.ndarray, "characters_and_end"]:
    """The true surprise, −log p in nats, of each character given all before it, and last of the story's end.

    The sum is the story's −log p. `heroines` is that of the Storyworld asked about.
    Raises ValueError as `derive` does.
    """
    story, reachable = _derive(text, heroines)
    log_reachable = np.append(np.log(reachable), story.log_p)
    return np.maximum(log_reachable[:-1] - log_reachable[1:], 0.0)


def token_surprises(text: str, tokenizer: Any, heroines: float = 0.5) -> Float[np.ndarray, "tokens_and_end"]:
    """The true surprise in nats of each token of a story, and last of the end-of-text token that follows it."""
    by_character = surprises(text, heroines)
    by_token = [by_character[start:end].sum() for start, end in tokenizer.spans(text)]
    return np.array([*by_token, by_character[-1]])


def name_positions(story: Story, tokenizer: Any) -> list[tuple[int, int | None]]:
    """Where a story names its people: (position, distance) for each name, in the order of the text.

    position: of the token in which the name begins, among the tokens of the story's text.
    distance: how many tokens earlier the same name began last; None where the name is new.
    Pronouns and words such as "the girl" are not names.
    """
    starts = [start for start, _ in tokenizer.spans(story.text)]
    found, last = [], {}
    for mention in story.mentions:
        name = story.text[mention.start : mention.end]
        if mention.form == "" and name[0].isupper():
            position = bisect.bisect_right(starts, mention.start) - 1
            found.append((position, position - last[name] if name in last else None))
            last[name] = position
    return found


def token_kinds(story: Story, tokenizer: Any) -> list[str]:
    """What each token of a story belongs to, and last the end-of-text token that follows it.

    "first mention" and "mentioned before" for a person, an object or a place, "pronoun" for one that stands for
    them, "other words", and "end of the story". A token that a mention shares with other characters counts as its.
    """
    spans = tokenizer.spans(story.text)
    kinds, named = ["other words"] * len(spans), set()
    for mention in sorted(story.mentions, key=lambda mention: mention.start):
        kind = "mentioned before" if mention.chain in named else "first mention"
        named.add(mention.chain)
        for place, (start, end) in enumerate(spans):
            if start < mention.end and mention.start < end:
                kinds[place] = "pronoun" if mention.is_pronoun else kind
    return [*kinds, "end of the story"]


@dataclass(frozen=True)
class Floor:
    """The entropy floor: the lowest mean loss that any model of Storyworld can have, with its standard errors.

    All in nats. Per token counts the end-of-text token that closes each story.
    """

    n_stories: int
    nats_per_story: float
    nats_per_story_error: float
    nats_per_character: float
    nats_per_character_error: float
    nats_per_token: float | None = None
    nats_per_token_error: float | None = None

    def __str__(self) -> str:
        lines = [
            f"entropy floor from {self.n_stories:,} stories (± one standard error)",
            f"  {self.nats_per_story:.2f} ± {self.nats_per_story_error:.2f} nats per story",
            f"  {self.nats_per_character:.4f} ± {self.nats_per_character_error:.4f} nats per character",
        ]
        if self.nats_per_token is not None:
            lines.append(f"  {self.nats_per_token:.4f} ± {self.nats_per_token_error:.4f} nats per token")
        return "\n".join(lines)


def ratio(totals: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Sum of totals over sum of counts, with its standard error by the delta method."""
    mean = totals.sum() / counts.sum()
    residuals = totals - mean * counts
    return float(mean), float(residuals.std(ddof=1) / counts.mean() / math.sqrt(len(totals)))


def entropy_floor(
    n_stories: int = 2000, seed: int = 0, tokenizer: Any = None, split: str = "test", heroines: float = 0.5
) -> Floor:
    """Estimates the entropy of Storyworld as a mean of exact −log p over fresh stories.

    n_stories: how many to draw, at least 2.
    seed, split, heroines: as for `Storyworld`.
    tokenizer: if given, the floor is also told per token of it.
    """
    if n_stories < 2:
        raise ValueError(f"n_stories is {n_stories}; it needs to be at least 2, for a standard error")
    stories = Storyworld(seed, split, heroines).stories(n_stories)
    nats = -np.array([story.log_p for story in stories])
    per_story = ratio(nats, np.ones(n_stories))
    per_character = ratio(nats, np.array([len(story.text) + 1 for story in stories]))
    if tokenizer is None:
        return Floor(n_stories, *per_story, *per_character)
    per_token = ratio(nats, np.array([len(tokenizer.encode(story.text)) + 1 for story in stories]))
    return Floor(n_stories, *per_story, *per_character, *per_token)
