from gptlib.course.prose import blocks, sentences


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
