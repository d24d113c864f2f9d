"""Whom the pronouns of a story mean, in tokens: for asking where a model looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gptlib.text.storyworld.story import Mention, Story


@dataclass(frozen=True)
class PronounWithChoice:
    """A pronoun before which its person was named, and somebody else too.

    All positions are those of tokens among the tokens of the story's text, counted from 0.

    position: of the token in which the pronoun begins.
    person: whom it means, by the part in the story, such as "hero"; a mention's `chain`.
    own: of the tokens in earlier names of that person.
    others: of the tokens in earlier names of all other people.
    """

    position: int
    person: str
    own: list[int]
    others: list[int]

    @property
    def is_hard(self) -> bool:
        """Whether the name nearest before the pronoun is somebody else's."""
        return max(self.others) > max(self.own)


def pronouns_with_choice(story: Story, tokenizer: Any) -> list[PronounWithChoice]:
    """The story's pronouns that could mean more than one person named so far, in the order of the text.

    "it" is left out, as nothing is named with a name of its own but people. Pronouns and words such as "the
    girl" are not names. tokenizer: anything with the `spans` of gptlib's.
    """
    spans = tokenizer.spans(story.text)

    def tokens_of(mention: Mention) -> list[int]:
        return [at for at, (start, end) in enumerate(spans) if start < mention.end and end > mention.start]

    found: list[PronounWithChoice] = []
    names: list[tuple[str, list[int]]] = []  # whose, and its tokens, so far
    for mention in story.mentions:
        if mention.form == "" and story.text[mention.start].isupper():
            names.append((mention.chain, tokens_of(mention)))
        elif mention.is_pronoun and mention.form != "it":
            own = [at for person, tokens in names if person == mention.chain for at in tokens]
            others = [at for person, tokens in names if person != mention.chain for at in tokens]
            if own and others:
                found.append(PronounWithChoice(tokens_of(mention)[0], mention.chain, own, others))
    return found
