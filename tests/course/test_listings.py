import ast

from gptlib.course.slides.listings import comments_above, halves, shown_code


def test_shown_code():
    assert shown_code("import os\n\nassert os\nx = 1", drawn=False) == "x = 1"
    assert shown_code("x = 1\nassert x\ndraw(x)", drawn=True) == ""
    assert shown_code("import torch\ntorch.set_printoptions(precision=2)", drawn=False) == ""
    assert shown_code("print(1)", drawn=False) == "print(1)"


def test_a_comment_that_makes_a_line_long_goes_above_it():
    line = "    x = " + "a + " * 17 + "a"
    assert comments_above(f"if a:\n{line}  # why") == f"if a:\n    # why\n{line}"
    assert comments_above("x = 1  # why") == "x = 1  # why"
    hash_in_text = "x = '" + "a" * 80 + " # no comment'"
    assert comments_above(hash_in_text) == hash_in_text


def test_halves_are_python():
    source = "class A:\n    def f(self):\n        return 1\n\n    def g(self):\n        return 2"
    first, second = halves(source)
    assert "f" in first and second.splitlines()[0] == "class A:  # …" and "g" in second
    assert all(ast.parse(half) for half in (first, second))
    assert halves("for x in y:\n    print(x)") == ["for x in y:\n    print(x)"]
