import pytest

from gptlib.course.prose import blocks, find_notebook, notebook_paths, sentences, topic_of


@pytest.mark.parametrize("name", ["4", "04", "attention", "04_attention", "04_attention.ipynb"])
def test_a_notebook_is_found_by_topic_name_and_number(name):
    assert find_notebook(name).name == "04_attention.ipynb"


@pytest.mark.parametrize("name", ["14", "", "77", "03_attention", "Attention", "_attention", "../04"])
def test_what_names_no_notebook_is_refused_with_those_there_are(name):
    with pytest.raises(
        ValueError, match="there are: 00_welcome, .*02_tokens, 03_learning, 04_attention"
    ):
        find_notebook(name)


def test_no_two_notebooks_have_a_topic_in_common():
    topics = [topic_of(path) for path in notebook_paths()]
    assert len(set(topics)) == len(topics) and all(topics)


def test_blocks():
    found = blocks("## Two\nwords\n- a\n- b\n\n```\n# no heading\n\n```\n$$x$$\n\n| a |\n|---|")
    assert [block.kind for block in found] == ["heading", "paragraph", "list", "fence", "maths", "table"]


def test_sentences():
    said = "One (a. B) two. **Three. Four.** Is `x. Y` five? By Vaswani et al. 2017. $x. Y$ ends."
    assert sentences(said) == [
        "One (a. B) two.",
        "**Three. Four.**",
        "Is `x. Y` five?",
        "By Vaswani et al. 2017.",
        "$x. Y$ ends.",
    ]
