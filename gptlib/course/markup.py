"""Markdown as HTML that needs nothing else: formulas become MathML, which browsers set by themselves."""

from __future__ import annotations

import html
from xml.etree import ElementTree

import mistune
from latex2mathml.converter import convert
from mistune.plugins.math import math
from mistune.plugins.table import table

MATHML = "{http://www.w3.org/1998/Math/MathML}"
FUNCTIONS = {"arg", "argmax", "argmin", "cos", "exp", "lim", "ln", "log", "max", "min", "sin", "tanh"}
ROWS = {f"{MATHML}{name}" for name in ("math", "mrow", "msqrt", "mstyle", "mtd")}
TIGHT = "/∂∞"  # MathML takes them for operators with room on both sides, TeX for letters
THIN = "0.1667em"
ElementTree.register_namespace("", MATHML.strip("{}"))


class Renderer(mistune.HTMLRenderer):
    """mistune's HTML, with formulas as MathML."""

    def inline_math(self, text: str) -> str:
        return formula(text, "inline")

    def block_math(self, text: str) -> str:
        return formula(text, "block")


def parser(renderer: Renderer) -> mistune.Markdown:
    """What reads Markdown with formulas and tables, for a renderer."""
    return mistune.Markdown(renderer, plugins=[math, table])


def formula(text: str, display: str) -> str:
    """TeX as MathML, with the TeX beside it for whoever searches or cannot show MathML.

    `display` is "inline" or "block".
    """
    tex = text.strip()
    made = ElementTree.fromstring(convert(tex, display=display))
    _space(made)
    return ElementTree.tostring(made, "unicode").replace("<math", f'<math alttext="{html.escape(tex)}"', 1)


def _space(formula: ElementTree.Element) -> None:
    """Space a formula as TeX does: "a log b" where MathML has "alogb", and "−∞" where it has "− ∞"."""
    for operator in formula.iter(f"{MATHML}mo"):
        if operator.text in TIGHT:
            operator.attrib |= {"lspace": "0", "rspace": "0"}
    for row in [part for part in formula.iter() if part.tag in ROWS]:
        parts = list(row)
        for place, (left, right) in reversed(list(enumerate(zip(parts, parts[1:], strict=False), 1))):
            operators = f"{MATHML}mo" in (left.tag, right.tag)
            if (_is_function(left) or _is_function(right)) and not operators:
                row.insert(place, ElementTree.Element(f"{MATHML}mspace", width=THIN))


def _is_function(part: ElementTree.Element) -> bool:
    """Whether it is the name of a function, perhaps with a power or a base."""
    if part.tag in (f"{MATHML}{name}" for name in ("msup", "msub", "msubsup", "munder")):
        return _is_function(part[0])
    return part.tag == f"{MATHML}mi" and part.text in FUNCTIONS
