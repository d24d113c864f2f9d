from gptlib.course.markup import formula
from gptlib.course.slides.markup import to_html


def test_formulas_are_mathml():
    assert "<msqrt>" in to_html(r"divide by $\sqrt{d_k}$, `$not` this") and "$not" in to_html("`$not`")
    assert 'display="block"' in to_html("$$\nx\n$$")
    assert "<mfrac>" in formula(r"\frac{a}{b}", "block")
