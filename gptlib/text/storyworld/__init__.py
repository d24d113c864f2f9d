"""Storyworld: our own story generator, which knows the exact probability of every story that it tells."""

from gptlib.text.storyworld.grammar import Choice
from gptlib.text.storyworld.reading import (
    Floor,
    derivations,
    derive,
    entropy_floor,
    name_positions,
    surprises,
    token_surprises,
)
from gptlib.text.storyworld.story import PLOTS, Mention, Sentence, Story, Storyworld, split_of

__all__ = [
    "PLOTS",
    "Choice",
    "Floor",
    "Mention",
    "Sentence",
    "Story",
    "Storyworld",
    "derivations",
    "derive",
    "entropy_floor",
    "name_positions",
    "split_of",
    "surprises",
    "token_surprises",
]
