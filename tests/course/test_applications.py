import ast
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptlib import load
from gptlib.course.studies.applications import (
    APPLICATIONS,
    FRAMES,
    Application,
    Result,
    chrf,
    could_be_told,
    exact,
    examples,
    f1_of_list,
    facts_kept,
    majority_writer,
    named,
    ngram_writer,
    parses,
    results_table,
    score,
)
from gptlib.text.storyworld import Storyworld
from gptlib.training.conversations import conversation, encode_conversation, with_roles

TOKENIZER = with_roles(load("storyteller")[1])
CHRF = [
    ("Mia has a red kite.", "Mia had a red kite.", 0.6953),
    ("星期五，农夫给了露比一颗种子。", "星期五，园丁给了露比两颗种子。", 0.3591),
    ("the the the", "a cat sat on the mat", 0.1006),
    ("ab", "abcdefgh", 0.2340),
    ("abcdefgh", "ab", 0.5500),
    ("xyz", "abc", 0.0000),
]
words = st.text("abc ", min_size=1)


def some(name, n=40, split="train", seed=0):
    return examples(APPLICATIONS[name], n, split, seed, TOKENIZER, 256)


# --------------------------------------------------------------------------------------------------- examples


@pytest.mark.parametrize("name", APPLICATIONS)
def test_examples_fit_are_repeatable_and_never_shared_by_two_splits(name):
    first = some(name)
    assert len(first) == len(set(first)) == 40 and first == some(name)
    assert all(len(encode_conversation(TOKENIZER, turns)[0]) <= 256 for turns in first)
    assert all(turns[-1].role == "assistant" for turns in first)
    if name != "code":  # whose files belong to a split, while two files may hold the same function
        assert not {turns[0] for turns in some(name, 300)} & {turns[0] for turns in some(name, 100, "test")}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_the_right_answer_scores_1(name):
    application = APPLICATIONS[name]
    for turns in some(name, 20, "test"):
        right = iter([turn.content for turn in turns if turn.role == "assistant"])
        values = score(application, [turns], lambda so_far, right=right: next(right))
        assert all(value.isnan() or value.item() == pytest.approx(1) for value in values.values()), turns


@pytest.mark.parametrize("name", APPLICATIONS)
def test_nonsense_scores_next_to_nothing(name):
    values = score(APPLICATIONS[name], some(name, 20, "test"), lambda so_far: ") zzz (")
    assert all(value.nanmean() < 0.05 for value in values.values())


def test_every_frame_is_of_a_sentence_that_stories_say():
    said = {sentence.wording for story in Storyworld(0).stories(3000) for sentence in story.sentences}
    assert set(FRAMES) <= said


def test_roles_name_who_is_in_the_story():
    for turns in some("roles"):
        for event in turns[1].content.split(". "):
            agent, _, *rest = event.split(", ")
            assert agent in turns[0].content and "{" not in event
            assert all(part in turns[0].content for part in rest), turns


def test_entities_stand_in_the_story_as_they_are_written():
    for turns in some("entities"):
        for item in turns[1].content.split(". "):
            written, kind = item.split(", ")
            assert written in turns[0].content and kind in ("person", "animal", "place", "thing")


def test_dialogue_asks_about_the_hero_by_a_pronoun():
    for story, turns in zip(Storyworld(0), some("dialogue", 25), strict=False):
        hero = story.telling.words["hero"]
        assert turns[0].content.startswith(story.text)
        for turn in turns[2::2]:
            assert hero.forms[""] not in turn.content.replace("?", " ").split()
            if turn.content.startswith("Who "):
                assert not {"he", "she"} & set(turn.content.rstrip("?").split()), turn.content
        assert [turn.content for turn in turns[1::2]] == [right for _, right in story.questions]


def test_questions_over_a_table_can_be_answered_from_it():
    for turns in some("table", 200):
        *rows, asked = turns[0].content.split("\n")
        values = [row.partition(": ")[2] for row in rows]
        assert asked.endswith("?") and any(turns[1].content.endswith(value) for value in values)


def test_code_is_python_and_its_beginning_alone_is_not():
    for beginning, rest in ((turns[0].content, turns[1].content) for turns in some("code")):
        assert ast.parse(f"{beginning}\n{rest}") and beginning.startswith("def ")
        assert parses(rest, "", beginning) == 1
        assert parses(")", "", beginning) == parses("", "", beginning) == 0


# ----------------------------------------------------------------------------------------------------- scores


def test_chrf_is_what_the_reference_implementation_gives():
    # By sacrebleu 2.6.0: CHRF(eps_smoothing=False).sentence_score(said, [right]).score / 100
    for said, right, expected in CHRF:
        assert chrf(said, right) == pytest.approx(expected, abs=1e-4)


@given(words, words)
def test_scores_stay_between_0_and_1(said, right):
    for measure in (exact, f1_of_list, chrf):
        assert 0 <= measure(said, right) <= 1
    assert chrf(right, right) == (1 if right.strip() else 0)


def test_f1_counts_items_once():
    assert f1_of_list("a. b. b", "b. c") == pytest.approx(2 * 1 / 5)
    assert f1_of_list("b. a", "a. b") == 1


def test_facts_kept_looks_for_words_that_carry_one():
    assert facts_kept("Mia has a blue kite.", "Mia had a red kite.") == pytest.approx(2 / 3)
    assert facts_kept("米娅有红色的风筝。", "米娅有一只红色的风筝。") == 1
    assert math.isnan(facts_kept("It was late.", "Nobody knew."))


def test_a_story_could_be_told_or_not():
    beginning, _, rest = Storyworld(3).story().text.partition("\n")
    assert could_be_told(rest, "", beginning) == 1
    assert could_be_told(rest[:-1], "", beginning) == could_be_told(rest + " The end.", "", beginning) == 0


def test_what_the_model_said_before_is_what_it_hears():
    heard = []

    def writer(so_far):
        heard.append([turn.content for turn in so_far])
        return "x"

    own = Application("own", {"exact": exact}, lambda split, seed: iter(()))
    values = score(own, [conversation("a", "b", "c", "x")], writer)
    assert heard == [["a"], ["a", "x", "c"]] and values["exact"].tolist() == [0.5]


# -------------------------------------------------------------------------------------------------- baselines


def test_majority_says_what_was_said_most():
    training = [conversation("a", "red"), conversation("b", "blue"), conversation("c", "red")]
    assert majority_writer(training)(conversation("d")) == "red"


def test_the_ngram_model_goes_on_as_its_training_did():
    training = [conversation("a red kite", "in the park"), conversation("a blue drum", "in the hall")] * 3
    writer = ngram_writer(training, TOKENIZER, 40)
    assert writer(conversation("a red kite")) == "in the park"
    assert len(TOKENIZER.encode(writer(conversation("nothing of the kind")))) < 40


def test_an_unknown_application_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match="no application 'cooking'; there are continuation, sentiment"):
        named("cooking")


def test_the_table_has_a_line_for_each_result():
    result = Result("table", "exact", 50, (0.1, 0.01), (0.0, 0.0), (0.9, 0.02), (0.8, 0.03), 4.0, 0.25)
    lines = results_table([result, result]).split("\n")
    assert len(lines) == 3 and lines[1].startswith("Questions over a table") and "0.80 ± 0.03" in lines[1]
