"""Storyworld: our own story generator, which knows the exact probability of every story that it tells."""

from gptlib.storyworld.grammar import Choice
from gptlib.storyworld.reading import Floor, derivations, derive, entropy_floor, surprises, token_surprises
from gptlib.storyworld.story import PLOTS, Mention, Story, Storyworld, split_of

__all__ = [
    "PLOTS",
    "Choice",
    "Floor",
    "Mention",
    "Story",
    "Storyworld",
    "derivations",
    "derive",
    "entropy_floor",
    "split_of",
    "surprises",
    "token_surprises",
]
