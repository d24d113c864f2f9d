import pytest

from gptlib.text.storyworld import PLOTS, Storyworld
from gptlib.text.storyworld.bilingual import sentences


@pytest.fixture(scope="module")
def stories():
    return [story for split in ("train", "test") for story in Storyworld(5, split).stories(150)]


def test_the_sentences_are_the_story_in_both_languages(stories):
    assert {story.plot for story in stories} == set(PLOTS)
    for story in stories:
        pairs = sentences(story)
        assert " ".join(pair.english for pair in pairs) == story.text.replace("\n", " ")
        assert "".join(pair.chinese for pair in pairs) == story.chinese.replace("\n", "")


def test_links_join_the_same_thing_in_both_languages(stories):
    for story in stories:
        for pair in sentences(story):
            for link in pair.links:
                word = story.telling.words[link.variable]
                assert pair.chinese[slice(*link.chinese)] == word.chinese[link.form]
                written = {pair.english[slice(*span)] for span in link.english}
                assert written and written <= without_articles(word)


def without_articles(word):
    forms = word.forms.items()
    return {form.partition(" ")[2] if name in ("a", "the") else form for name, form in forms}


def test_every_word_of_the_chinese_that_the_english_has_is_linked(stories):
    linked = sum(len(pair.links) for story in stories for pair in sentences(story))
    named = sum(link.form == "" for story in stories for pair in sentences(story) for link in pair.links)
    assert linked > 4 * len(stories) and named > linked / 2
