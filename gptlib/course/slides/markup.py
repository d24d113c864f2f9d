"""Markdown as HTML that needs nothing else: formulas become MathML, which browsers set by themselves."""

from __future__ import annotations

import html
import re


def to_html(text: str) -> str:
    """Markdown as HTML, with formulas as MathML, which browsers set by themselves."""
    import mistune
    from mistune.plugins.math import math
    from mistune.plugins.table import table

    class Renderer(mistune.HTMLRenderer):
        def inline_math(self, text: str) -> str:
            return formula(text, "inline")

        def block_math(self, text: str) -> str:
            return formula(text, "block")

        def link(self, text: str, url: str, title: str | None = None) -> str:
            # A notebook's neighbors are not beside the show.
            return text if "://" not in url else super().link(text, url, title)

        def block_code(self, code: str, info: str | None = None) -> str:
            return f"<pre>{html.escape(code)}</pre>"

    return str(mistune.Markdown(Renderer(escape=True), plugins=[math, table])(text)).strip()


def inline(text: str) -> str:
    """A heading's text as HTML."""
    # "1. A section" is no list.
    return re.sub(r"^<p>|</p>$", "", to_html(re.sub(r"^(\d+)\.", r"\1\\.", text)))


def formula(text: str, display: str) -> str:
    """TeX as MathML."""
    from latex2mathml.converter import convert

    return convert(text.strip(), display=display)
