"""Markdown as HTML for a slide, where no link leads to a notebook."""

from __future__ import annotations

import html
import re

from gptlib.course import markup


class Renderer(markup.Renderer):
    """HTML for a show, whose neighbors are not beside it."""

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return text if "://" not in url else super().link(text, url, title)

    def block_code(self, code: str, info: str | None = None) -> str:
        return f"<pre>{html.escape(code)}</pre>"


def to_html(text: str) -> str:
    """Markdown as HTML, with formulas as MathML."""
    return str(markup.parser(Renderer(escape=True))(text)).strip()


def inline(text: str) -> str:
    """A heading's text as HTML."""
    # "1. A section" is no list.
    return re.sub(r"^<p>|</p>$", "", to_html(re.sub(r"^(\d+)\.", r"\1\\.", text)))
