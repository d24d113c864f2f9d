"""Storyworld: our own story generator, which knows the exact probability of every story that it tells."""

from gptlib.text.storyworld.grammar import Choice
from gptlib.text.storyworld.reading import (
    Floor,
    NotAStory,
    derivations,
    derive,
    entropy_floor,
    is_possible,
    name_positions,
    possible_until,
    surprises,
    token_kinds,
    token_surprises,
)
from gptlib.text.storyworld.story import PLOTS, Mention, Sentence, Story, Storyworld, split_of

__all__ = [
    "PLOTS",
    "Choice",
    "Floor",
    "Mention",
    "NotAStory",
    "Sentence",
    "Story",
    "Storyworld",
    "derivations",
    "derive",
    "entropy_floor",
    "is_possible",
    "name_positions",
    "possible_until",
    "split_of",
    "surprises",
    "token_kinds",
    "token_surprises",
]
