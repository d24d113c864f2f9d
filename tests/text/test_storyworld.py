"""Storyworld: exact probabilities, derivations read back, splits that share nothing, true annotations."""

import hashlib
import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.text.storyworld import (
    PLOTS,
    NotAStory,
    Storyworld,
    derivations,
    derive,
    entropy_floor,
    is_possible,
    name_positions,
    possible_until,
    split_of,
    surprises,
    token_kinds,
    token_surprises,
)
from gptlib.text.storyworld.grammar import Language, Telling, Word, either, in_any_order, maybe
from gptlib.text.storyworld.words import GIRLS, NUMBERS, PEOPLE, PLACES, VARIABLES

PRONOUNS = {"she", "he", "her", "him", "his", "herself", "himself", "it"}


@pytest.fixture(scope="module")
def stories():
    return Storyworld(seed=1).stories(500)


# --- the grammar, on worlds small enough to list --------------------------------------------------

SMALL_WORDS = tuple(Word({"": name, "a": f"a {name}"}, {"": name}) for name in ("cat", "dog", "ape"))
small = Language({"x": SMALL_WORDS, "y": SMALL_WORDS})
SMALL_WORLD = (
    small.say("", "{x.a} sat.", "{x.a} sat with {y.a}.", "Nobody sat."),
    maybe(small.say("", "It rained."), probability=0.25),
    in_any_order(small.say("", "A."), small.say("", "B."), sometimes=(small.say("", "C."),), probability=0.4),
    either(small.say("", "The {x} left."), small.say("", "The {y} left."), probabilities=(0.9, 0.1)),
)


def every_story(steps):
    """All tellings of a grammar, by taking every option of every choice."""
    waiting, complete = [Telling(steps)], []
    while waiting:
        telling = waiting.pop()
        options = telling.run()
        if options is None:
            complete.append(telling)
            continue
        for index in range(len(options.items)):
            branch = telling.copy()
            branch.take(index)
            waiting.append(branch)
    return complete


def test_probabilities_of_a_small_world_sum_to_one():
    tellings = every_story(SMALL_WORLD)
    assert len(tellings) > 100
    assert math.fsum(math.exp(telling.log_p) for telling in tellings) == pytest.approx(1, abs=1e-12)


def test_probabilities_of_a_whole_plot_stay_one_as_choices_are_made():
    """However deep a plot is followed, the probability of what is still open and of what is told stays 1."""
    waiting, told = [Telling(PLOTS["sharing"])], 0.0
    for _ in range(3000):
        telling = waiting.pop(0)
        options = telling.run()
        if options is None:
            told += math.exp(telling.log_p)
            continue
        for index in range(len(options.items)):
            branch = telling.copy()
            branch.take(index)
            waiting.append(branch)
    assert told + math.fsum(math.exp(telling.log_p) for telling in waiting) == pytest.approx(1, abs=1e-9)


def test_two_variables_never_stand_for_the_same_word():
    for telling in every_story(SMALL_WORLD):
        assert len(set(telling.words.values())) == len(telling.words)


def test_in_any_order_weighs_every_order_alike():
    orders = {}
    for telling in every_story((in_any_order(*(small.say("", letter) for letter in "ABC")),)):
        orders[telling.text] = math.exp(telling.log_p)
    assert sorted(orders) == sorted(" ".join(order) for order in itertools.permutations("ABC"))
    assert list(orders.values()) == pytest.approx([1 / 6] * 6)


@pytest.mark.parametrize("probabilities", [(0.5, 0.4), (1.0, 0.0), (0.5,)])
def test_either_refuses_what_is_not_a_distribution(probabilities):
    with pytest.raises(ValueError, match="probabilities"):
        either((), (), probabilities=probabilities)


def test_a_wording_with_an_unknown_slot_is_refused():
    with pytest.raises(ValueError, match="'nobody', which is not a variable"):
        small.say("", "{nobody} sat.")


# --- whole stories --------------------------------------------------------------------------------


def test_log_p_read_back_from_the_text_is_the_one_recorded(stories):
    for story in stories[:60]:
        (found,) = derivations(story.text)  # exactly one: the grammar is unambiguous
        assert found.log_p == pytest.approx(story.log_p, abs=1e-9)
        assert found.facts == story.facts and found.mentions == story.mentions
        assert math.fsum(choice.log_p for choice in story.choices) == pytest.approx(story.log_p, abs=1e-9)


def test_surprises_are_exact_and_sum_to_the_story(stories):
    for story in stories[:10]:
        surprise = surprises(story.text)
        assert len(surprise) == len(story.text) + 1
        assert (surprise >= 0).all()
        assert surprise.sum() == pytest.approx(-story.log_p, abs=1e-6)


def test_surprise_agrees_with_counting():
    """The first word's true distribution, against how often stories begin with it."""
    drawn = Storyworld(seed=5).stories(2000)
    share = np.mean([story.text.startswith("Once upon a time") for story in drawn])
    told = next(story for story in drawn if story.text.startswith("Once upon a time"))
    exact = math.exp(-surprises(told.text)[: len("Once upon a time")].sum())
    assert share == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 2000))


def test_surprise_of_tokens_is_that_of_their_characters(stories):
    class Words:
        def spans(self, text):
            return [match.span() for match in re.finditer(r"\s?\S+", text)]

    surprise = token_surprises(stories[0].text, Words())
    assert surprise.sum() == pytest.approx(-stories[0].log_p, abs=1e-6)


def test_names_are_found_with_their_distance(stories):
    class Letters:
        def spans(self, text):
            return [(at, at + 1) for at in range(len(text))]

    class Words:
        def spans(self, text):
            return [match.span() for match in re.finditer(r"\s?\w+|[^\w\s]|\s", text)]

    people = {word.forms[""] for word in PEOPLE}
    for story in stories[:100]:
        words = [story.text[start:end].strip() for start, end in Words().spans(story.text)]
        said = [at for at, word in enumerate(words) if word in people]
        assert [at for at, _ in name_positions(story, Words())] == said
        for at, distance in name_positions(story, Words()):
            before = [other for other in said if other < at and words[other] == words[at]]
            assert distance == (at - before[-1] if before else None)
        assert all(story.text[at].isupper() for at, _ in name_positions(story, Letters()))


def test_tokens_are_sorted_by_what_they_belong_to(stories):
    class Words:
        def spans(self, text):
            return [match.span() for match in re.finditer(r"\s?\w+|[^\w\s]|\s", text)]

    for story in stories[:20]:
        kinds, spans = token_kinds(story, Words()), Words().spans(story.text)
        assert len(kinds) == len(spans) + 1 and kinds[-1] == "end of the story"
        begins = [start + (end - start > 1 and story.text[start].isspace()) for start, end in spans]
        at = dict(zip(begins, kinds[:-1], strict=True))
        named = set()
        for mention in story.mentions:
            wanted = "mentioned before" if mention.chain in named else "first mention"
            assert at[mention.start] == ("pronoun" if mention.is_pronoun else wanted)
            named.add(mention.chain)
        told = {at for mention in story.mentions for at in range(mention.start, mention.end)}
        assert all(kind == "other words" for start, kind in at.items() if start not in told)


def test_how_far_a_text_is_possible(stories):
    text = stories[0].text
    assert is_possible(text) and possible_until(text) == len(text) + 1
    for end in (0, 1, len(text) // 2, len(text) - 1):
        assert not is_possible(text[:end]) and possible_until(text[:end]) == end  # it breaks off
    assert not is_possible(text + "!") and possible_until(text + "!") == len(text)
    assert possible_until("Once upon a time there was nobody") == len("Once upon a time there was ")


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.data())
def test_a_changed_story_is_refused_with_its_position(seed, data):
    text = Storyworld(seed).story().text
    position = data.draw(st.integers(1, len(text) - 1))
    changed = text[:position] + "#" + text[position + 1 :]
    with pytest.raises(NotAStory, match="not a Storyworld story from character") as error:
        derive(changed)
    assert int(re.search(r"character (\d+)", str(error.value))[1]) == error.value.position <= position
    assert possible_until(changed) == error.value.position
    with pytest.raises(ValueError, match="not a Storyworld story"):
        derive(text[:position])


@pytest.mark.parametrize("text", ["", "Hello.", "Mia"])
def test_what_is_not_a_story_is_refused(text):
    with pytest.raises(ValueError, match="not a Storyworld story"):
        derive(text)


def test_splits_share_no_story():
    sizes = {"train": 8000, "validation": 1000, "test": 1000}
    drawn = {split: Storyworld(3, split).stories(size) for split, size in sizes.items()}
    texts = [story.text for split in drawn.values() for story in split]
    assert len(texts) == 10_000 and len(set(texts)) == len(texts)
    for split, told in drawn.items():
        assert {split_of(story.text) for story in told} == {split}


@pytest.mark.parametrize("knob", [{}, {"heroines": 0.5}])
def test_the_same_seed_tells_the_same_stories_for_ever(knob):
    digest = hashlib.sha256()
    for split in ("train", "validation", "test"):
        for story in Storyworld(7, split, **knob).stories(50):
            digest.update(f"{story.text}|{story.log_p:.6f}|{story.chinese}|{story.question}\n".encode())
    assert digest.hexdigest() == "4850eda4ae9b14aaf1196acf0e1fe00a1b8f708a82b0685d564c7b491a307870"


def test_different_seeds_tell_different_stories():
    assert Storyworld(0).story().text != Storyworld(1).story().text


def test_the_world_is_as_large_as_promised():
    things = {
        word.forms[""]
        for name, pool in VARIABLES.items()
        for word in pool
        if "a" in word.forms and word.is_entity
    }
    assert len(PLOTS) >= 12 and len(PEOPLE) >= 40 and len(PLACES) >= 20 and len(things) >= 80


def test_stories_are_as_long_as_promised(stories):
    lengths = [len(story.text.split()) for story in stories]
    assert min(lengths) >= 60 and max(lengths) <= 200
    assert all(story.text.isascii() for story in stories)


def test_stories_read_as_english(stories):
    for story in stories:
        text = story.text
        assert "{" not in text and "  " not in text and text[-1] in '."!', text
        assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text), text
        assert re.match(r"""["A-Z]""", text)
        for start in re.findall(r"[.!?] (\w)", text):
            assert start.isupper() or start.isdigit() or f'" {start}' in text or f"... {start}" in text, text


def test_every_plot_ends_well_and_badly():
    endings = {(story.plot, story.sentiment) for story in Storyworld(2).stories(800)}
    assert {plot for plot, _ in endings} == set(PLOTS)
    assert {plot for plot, sentiment in endings if sentiment == "happy"} == set(PLOTS)
    assert len({plot for plot, sentiment in endings if sentiment == "sad"}) >= 12


# --- annotations ----------------------------------------------------------------------------------


def test_mentions_point_at_the_words_they_claim(stories):
    for story in stories:
        assert story.mentions == sorted(story.mentions, key=lambda mention: mention.start)
        for mention in story.mentions:
            word = story.telling.words[mention.chain]
            written = story.text[mention.start : mention.end]
            if mention.is_pronoun:
                assert written.lower() in PRONOUNS
            elif mention.form in ("", "a", "at", "the"):
                assert written == word.forms[""]
            else:
                assert written == word.forms[mention.form]


def test_every_pronoun_has_a_name_and_agrees_with_it(stories):
    for story in stories:
        for mention in story.mentions:
            if mention.chain in ("hero", "friend") and mention.is_pronoun:
                named = [m for m in story.mentions if m.chain == mention.chain and m.form == ""]
                assert named and named[0].start < mention.start
                expected = (
                    {"she", "her", "herself"}
                    if story.telling.words[mention.chain].forms["she"] == "she"
                    else {"he", "him", "his", "himself"}
                )
                assert story.text[mention.start : mention.end].lower() in expected


def test_answers_and_facts_are_told_in_the_story(stories):
    for story in stories:
        assert story.facts and story.questions and story.summary.endswith(".")
        assert len({(subject, relation) for subject, relation, _ in story.facts}) == len(story.facts)
        for asked, answer in story.questions:
            assert asked.endswith("?")
            key = (
                re.sub(r"^(to |at |in |on |by )?(the|an|a) |'s$", "", answer)
                .split(" ")[-1]
                .removesuffix("'s")
            )
            assert key in story.text or key in ("nothing", "salt") or asked.endswith("left?"), (asked, answer)


def test_counts_are_kept():
    values = {word.forms[""]: n for n, word in NUMBERS.items()}
    checked = 0
    for story in Storyworld(4).stories(400):
        if story.plot == "sharing" and story.sentiment == "happy":
            count, given_away, left = (
                values[story.telling.words[name].forms[""]] for name in ("count", "given", "left")
            )
            assert count - given_away == left
            checked += 1
    assert checked >= 8


def test_the_chinese_tells_the_same(stories):
    for story in stories:
        assert not re.search(r"[A-Za-z{}]", story.chinese), story.chinese
        assert story.telling.words["hero"].chinese[""] in story.chinese
        assert story.chinese.count("\n") == story.text.count("\n")
        assert "在在" not in story.chinese and "去在" not in story.chinese


# --- the knob for who gets the leading part ----------------------------------------------------------


def girl_leads(story) -> bool:
    return story.telling.words["hero"] in GIRLS


@pytest.mark.parametrize("heroines", [0.1, 0.5, 0.9])
def test_as_many_heroes_are_girls_as_the_knob_says(heroines):
    told = Storyworld(6, heroines=heroines).stories(1500)
    share = np.mean([girl_leads(story) for story in told])
    assert share == pytest.approx(heroines, abs=4 * math.sqrt(heroines * (1 - heroines) / 1500))
    # Only the hero is drawn otherwise: the friend is nobody's mirror image.
    friends = [story.telling.words["friend"] in GIRLS for story in told if "friend" in story.telling.words]
    assert 0.4 < np.mean(friends) < 0.6


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.floats(0.001, 0.999))
def test_probabilities_stay_exact_under_the_knob(seed, heroines):
    story = Storyworld(seed, heroines=heroines).story()
    found = derive(story.text, heroines)
    assert found.log_p == pytest.approx(story.log_p, abs=1e-9)
    assert surprises(story.text, heroines).sum() == pytest.approx(-story.log_p, abs=1e-6)
    # The same story in the even world: one of 40 names, where it was one of 20 with the hero's share.
    share = heroines if girl_leads(story) else 1 - heroines
    assert derive(story.text).log_p - story.log_p == pytest.approx(math.log(0.5 / share), abs=1e-9)


def test_the_floor_knows_the_knob():
    uneven = entropy_floor(400, seed=0, heroines=0.99)
    drawn = Storyworld(0, "test", 0.99).stories(400)
    assert uneven.nats_per_story == pytest.approx(-np.mean([story.log_p for story in drawn]), abs=1e-9)


@pytest.mark.parametrize("heroines", [0.0, 1.0, -0.1, float("nan"), None, "0.5", [0.5], True])
def test_a_knob_that_is_no_probability_is_refused(heroines):
    refused = ValueError if type(heroines) is float else TypeError
    with pytest.raises(refused, match="heroines is .*; it needs a probability above 0 and below 1"):
        Storyworld(heroines=heroines)
    with pytest.raises(refused, match="heroines"):
        derive(Storyworld().story().text, heroines)


# --- the floor ------------------------------------------------------------------------------------


def test_the_floor_is_told_with_its_error():
    floor = entropy_floor(200, seed=0, split="train")
    again = entropy_floor(200, seed=1, split="train")
    assert abs(floor.nats_per_story - again.nats_per_story) < 5 * floor.nats_per_story_error
    assert f"± {floor.nats_per_story_error:.2f} nats per story" in str(floor)
    assert floor.nats_per_token is None
    with pytest.raises(ValueError, match="n_stories"):
        entropy_floor(1)


@pytest.mark.parametrize(
    ("arguments", "error"), [({"split": "exam"}, ValueError), ({"seed": 0.5}, TypeError)]
)
def test_storyworld_refuses_what_it_cannot_do(arguments, error):
    with pytest.raises(error, match=next(iter(arguments))):
        Storyworld(**arguments)


def test_a_negative_number_of_stories_is_refused():
    with pytest.raises(ValueError, match="n is -1"):
        Storyworld().stories(-1)
