"""Pronouns with a choice: whom they mean, and where the names before them stand, in tokens."""

import re

import pytest

from gptlib.text.storyworld import Storyworld
from gptlib.text.storyworld.pronouns import pronouns_with_choice
from gptlib.text.storyworld.words import PEOPLE

NAMES = {word.forms[""] for word in PEOPLE}


class Words:
    def spans(self, text):
        return [match.span() for match in re.finditer(r"\s?\w+|[^\w\s]|\s", text)]


class Letters:
    def spans(self, text):
        return [(at, at + 1) for at in range(len(text))]


@pytest.fixture(scope="module")
def stories():
    return Storyworld(seed=3).stories(200)


def test_each_has_names_of_its_person_and_of_others_before_it(stories):
    n_found = 0
    for story in stories:
        words = [story.text[start:end].strip() for start, end in Words().spans(story.text)]
        names = {chain: word.forms[""] for chain, word in story.telling.words.items()}
        for pronoun in pronouns_with_choice(story, Words()):
            n_found += 1
            assert words[pronoun.position].lower() in {
                *("she", "her", "hers", "herself"),
                *("he", "him", "his", "himself"),
            }
            before = [at for at in range(pronoun.position) if words[at] in NAMES]
            assert sorted([*pronoun.own, *pronoun.others]) == before
            assert {words[at] for at in pronoun.own} == {names[pronoun.person]}
            assert names[pronoun.person] not in {words[at] for at in pronoun.others}
            assert pronoun.is_hard == (words[before[-1]] != names[pronoun.person])
    assert n_found > 100


def test_none_is_missed(stories):
    """By the annotations alone: every pronoun of a person, with two people named before it."""
    for story in stories:
        expected = []
        for place, mention in enumerate(story.mentions):
            named = {
                earlier.chain
                for earlier in story.mentions[:place]
                if story.text[earlier.start : earlier.end] in NAMES and earlier.form == ""
            }
            if mention.is_pronoun and mention.form != "it" and mention.chain in named and len(named) > 1:
                expected.append((mention.start, mention.chain))
        found = pronouns_with_choice(story, Letters())
        assert [(pronoun.position, pronoun.person) for pronoun in found] == expected


def test_a_name_of_several_tokens_counts_with_all_of_them(stories):
    for story in stories[:50]:
        for pronoun in pronouns_with_choice(story, Letters()):
            own = "".join(story.text[at] for at in pronoun.own)
            name = story.telling.words[pronoun.person].forms[""]
            assert own == name * (len(own) // len(name))
