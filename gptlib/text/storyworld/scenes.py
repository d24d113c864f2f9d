"""Scenes that many plots share: how a story begins and how it ends."""

from __future__ import annotations

from gptlib.text.storyworld.grammar import Break, Fact, Language, Note, Step, either, maybe
from gptlib.text.storyworld.words import VARIABLES

say = Language(VARIABLES).say

_WHO = say(
    "从前有个{trait}的{hero.girl}，名叫{hero}。",
    "Once upon a time there was {trait.a} {hero.girl} named {hero}.",
    "There once was {trait.a} {hero.girl} called {hero}.",
    "{hero} was {trait.a} {hero.girl}.",
    "This is the story of {hero}, {trait.a} {hero.girl}.",
    "Everyone knew that {hero} was {trait.a} {hero.girl}.",
    "Not far from here lived {trait.a} {hero.girl} named {hero}.",
)

_LIKES = say(
    "{hero}喜欢{food3}、{animal2}和一切{color3}的东西。",
    "{hero} loved {food3.s}, {animal2.s} and everything that was {color3}.",
    "{hero} dreamed of {animal2.s}, lived on {food3.s} and painted the whole world {color3}.",
    "If you asked {hero}, nothing was better than {food3.s}, {animal2.s} and the color {color3}.",
    "{hero} could draw {animal2.s}, counted {food3.s} to fall asleep and had {color3.a} door.",
)

INTRODUCTION = either((_WHO, _LIKES), _WHO, _LIKES, probabilities=(0.5, 0.25, 0.25))

SIGHTS = maybe(
    say(
        "路上有一{animal3.m}{animal3}在看一{thing3.m}{thing3}，还有人带着一{clothing2.m}{color4}的{clothing2}。",
        "Outside there were {animal3.a}, {thing3.a} in a window and a stranger with {color4.a} {clothing2}.",
        "Somebody with {color4.a} {clothing2} went by, and {animal3.a} sat beside {thing3.a}.",
        "A stranger with {color4.a} {clothing2} was selling {thing3.a}, and {animal3.a} looked on.",
        "There was {animal3.a} on a wall, {thing3.a} on the ground and {color4.a} {clothing2} on a line.",
    ),
    probability=0.6,
)

GLAD_EVENING = say(
    "那天晚上，{hero}觉得很{glad2}。",
    "That night {hero} fell asleep feeling {glad2}.",
    "All the next day {hero} felt {glad2}.",
    "It had been a good day, and {hero} was {glad2}.",
    "When the stars came out, {hero} was still {glad2}.",
    "At supper {hero} told the whole story and felt {glad2}.",
)

SAD_EVENING = say(
    "那天晚上，{hero}很{sad}，很久才睡着。",
    "That night {hero} felt {sad} and lay awake for a long time.",
    "{hero} did not want any supper and felt {sad}.",
    "There was no song at supper, for {hero} was {sad}.",
    "{hero} looked out at the moon and felt {sad}.",
)


def happy(*steps: Step, summary: str) -> tuple[Step, ...]:
    """A branch that ends well."""
    return (*steps, GLAD_EVENING, Note("summary", (summary,)), Note("sentiment", ("happy",)))


def unhappy(*steps: Step, summary: str) -> tuple[Step, ...]:
    """A branch that ends badly."""
    return (*steps, SAD_EVENING, Note("summary", (summary,)), Note("sentiment", ("sad",)))


def question(asked: str, answer: str) -> Note:
    """A question that the story answers, with the answer."""
    return Note("question", (asked, answer))


__all__ = [
    "Break",
    "Fact",
    "INTRODUCTION",
    "SIGHTS",
    "either",
    "happy",
    "maybe",
    "question",
    "say",
    "unhappy",
]
