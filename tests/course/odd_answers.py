"""Odd answers to the exercises on attention, and what `check` says of each in the notebook.

Of each: its exercise, what is said ("right", "not yet", "not attempted", or the misconception that is named;
None if its cell ends in an error), and the text of its cell. What stands before "=====" is a cell above it.
"""

import textwrap

CASES: dict[str, tuple[str, str | None, str]] = {}


def case(name: str, exercise: str, said: str | None, text: str) -> None:
    CASES[name] = (exercise, said, textwrap.dedent(text).strip("\n"))


def average(name: str, body: str, said: str | None = "right") -> None:
    """An answer to weighted_average with this body."""
    head = "def weighted_average(weights, values):\n"
    case(name, "weighted_average", said, head + textwrap.indent(textwrap.dedent(body).strip(), "    "))


# ----------------------------------------------------------------------- what a notebook has beside functions

average("display", "display(weights)\nreturn weights @ values")
average("a shell line inside", "!true\nreturn weights @ values")
average("a magic inside", "%precision 3\nreturn weights @ values")
average("prints much", "for line in range(20_000):\n    print(line)\nreturn weights @ values")
average("in place", "weights *= 1\nreturn weights @ values")

PLAIN = "def weighted_average(weights, values):\n    return weights @ values\n"
for name, text in {
    "a shell line": "files = !ls\n" + PLAIN,
    "a question": "torch.matmul?\n" + PLAIN,
    "a magic": "%precision 3\n" + PLAIN,
    "a timed cell": "%%time\n" + PLAIN,
    "a captured cell": "%%capture\n" + PLAIN,
    "an indented cell": textwrap.indent(PLAIN, "  "),
    "prompts pasted": ">>> def weighted_average(weights, values):\n...     return weights @ values\n",
    "display, imported": "from IPython.display import display\n"
    + PLAIN.replace("    return", "    display(0)\n    return"),
    "future": "from __future__ import annotations\n" + PLAIN.replace("(weights", "(weights: Nothing"),
    "a star import": "from math import *\n" + PLAIN.rstrip() + " * cos(0)\n",
    "tried at once": PLAIN + "print(weighted_average(torch.eye(2), torch.eye(2)))\n",
    "tried at once, wrongly": PLAIN + "weighted_average(torch.eye(2), torch.eye(3))\n",
}.items():
    CASES[name] = ("weighted_average", "right", text)

case(
    "a plot",
    "weighted_average",
    "right",
    """
    import matplotlib.pyplot as plt

    def weighted_average(weights, values):
        plt.figure()
        plt.bar([0, 1], [1, 2])
        plt.show()
        return weights @ values
    """,
)

# ------------------------------------------------------------------------------ what stands around a function

case(
    "a guarded import",
    "entropy",
    "right",
    """
    try:
        import torch.special as special
    except ImportError:
        special = None

    def entropy(weights):
        return special.entr(weights).sum(dim=-1)
    """,
)
case(
    "a guarded import of numpy",
    "weighted_average",
    "right",
    """
    try:
        import numpy as np
    except ImportError:
        np = None

    def weighted_average(weights, values):
        return torch.tensor(np.matmul(weights.detach(), values.detach()))
    """,
)
case(
    "a condition",
    "look_up",
    "right",
    """
    if True:
        def look_up(query, keys, values):
            return (keys @ query).softmax(dim=-1) @ values
    """,
)
case(
    "one of two by a condition",
    "look_up",
    "right",
    """
    if hasattr(torch, "softmax"):
        look_up = lambda query, keys, values: torch.softmax(keys @ query, 0) @ values
    else:
        look_up = None
    """,
)
case(
    "in a try",
    "look_up",
    "right",
    """
    try:
        raise ValueError
    except ValueError:
        def look_up(query, keys, values):
            return (keys @ query).softmax(dim=-1) @ values
    """,
)
case(
    "in a with",
    "look_up",
    "right",
    """
    with torch.no_grad():
        def look_up(query, keys, values):
            return (keys @ query).softmax(dim=-1) @ values
    """,
)
case(
    "a constant above",
    "weighted_average",
    "right",
    """
    ONE = torch.tensor(1.0)
    =====
    def weighted_average(weights, values):
        return ONE * weights @ values
    """,
)
case(
    "constants unpacked above",
    "entropy",
    "right",
    """
    SIGN, AXIS = -1, len([0]) - 2
    =====
    def entropy(weights):
        return SIGN * torch.xlogy(weights, weights).sum(dim=AXIS)
    """,
)
case(
    "a table filled above",
    "entropy",
    "right",
    """
    SETTINGS = {}
    for name in ["dim"]:
        SETTINGS[name] = -1
    =====
    def entropy(weights):
        return -torch.xlogy(weights, weights).sum(dim=SETTINGS["dim"])
    """,
)
case(
    "a list that grows above",
    "entropy",
    "right",
    """
    DIMS = []
    DIMS.append(-1)
    =====
    def entropy(weights):
        return -torch.xlogy(weights, weights).sum(dim=DIMS[0])
    """,
)
case(
    "a helper above, of a helper",
    "weighted_average",
    "right",
    """
    def product(a, b):
        return other(a, b)

    def other(a, b):
        return a @ b
    =====
    def weighted_average(weights, values):
        return product(weights, values)
    """,
)
case(
    "a helper below",
    "weighted_average",
    "right",
    """
    def weighted_average(weights, values):
        return product(weights, values)

    def product(a, b):
        return a @ b
    """,
)
case(
    "a decorator of one's own",
    "weighted_average",
    "right",
    """
    def counted(function):
        def call(*given):
            CALLS.append(1)
            return function(*given)
        return call

    CALLS = []

    @counted
    def weighted_average(weights, values):
        return weights @ values
    """,
)
case(
    "an attribute set behind",
    "weighted_average",
    "right",
    """
    def weighted_average(weights, values):
        return weighted_average.times * weights @ values

    weighted_average.times = 1
    """,
)
case(
    "a name of the notebook",
    "look_up",
    "right",
    """
    def look_up(query, keys, values):
        return softmax(keys @ query) @ values
    """,
)
case(
    "an earlier answer",
    "look_up",
    "right",
    """
    def weighted_average(weights, values):
        return weights @ values
    =====
    def look_up(query, keys, values):
        return weighted_average((keys @ query).softmax(dim=0)[None], values)[0]
    """,
)

# ------------------------------------------------------------------------------------- other ways to write it

case(
    "a class with __call__",
    "weighted_average",
    "right",
    """
    class Average:
        def __call__(self, weights, values):
            return weights @ values

    weighted_average = Average()
    """,
)
case(
    "a method",
    "weighted_average",
    "right",
    """
    class Box:
        @staticmethod
        def average(weights, values):
            return weights @ values

    weighted_average = Box.average
    """,
)
case("torch's own", "weighted_average", "right", "weighted_average = torch.matmul")
case(
    "a partial",
    "weighted_average",
    "right",
    "import functools, operator\nweighted_average = functools.partial(operator.matmul)",
)
average(
    "by loops",
    """
    rows = []
    for row in weights:
        total = 0
        for weight, value in zip(row, values):
            total = total + weight * value
        rows.append(total)
    return torch.stack(rows)
    """,
)
average("a pair", "return (weights @ values, 1)", "not yet")
average("a sparse tensor", "return (weights @ values).to_sparse()", "not yet")
average("double precision", "return (weights.double() @ values.double())", "not yet")

# --------------------------------------------------------------------- misconceptions, and what leads to them

case(
    "the loop's leftover",
    "scaled_scores",
    "not yet",
    "def scaled_scores(queries, keys):\n    return queries @ keys.mT / math.sqrt(d_k)",
)
case(
    "the leftover by another name",
    "scaled_scores",
    "not yet",
    """
    SIZE = sizes[-1]
    =====
    def scaled_scores(queries, keys):
        return queries @ keys.mT / math.sqrt(SIZE)
    """,
)
case(
    "raw scores",
    "look_up",
    "no_softmax",
    "def look_up(query, keys, values):\n    return (keys @ query) @ values",
)

# ------------------------------------------------------------------------------------------ what is no answer

case("the library's own", "entropy", "not yet", "from gptlib import attend\nentropy = attend")
case("imported from nowhere", "entropy", None, "from solutions import entropy")
case("a stub", "entropy", "not attempted", "def entropy(weights):\n    return ...")
for name, returned in {
    "a huge number": "10**400",
    "a huge range": "range(2 * 10**8)",
    "nothing": "None",
    "a function": "entropy",
    "text": "'0.5'",
    "a complex tensor": "torch.ones(2) * 1j",
    "an expanded tensor": "torch.zeros(1).expand(2**40)",
    "what is asked for": "float(input())",
}.items():
    case(name, "entropy", "not yet", f"def entropy(weights):\n    return {returned}")
