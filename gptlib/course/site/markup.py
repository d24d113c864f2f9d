"""The course's Markdown as HTML for the site: headings with ids, links that hold there, code in colors."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

import mistune
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from gptlib.course import markup
from gptlib.course.site.pages import Contents

# Tokens that have no color of their own need no element either: names, operators, punctuation, spaces.
PLAIN = re.compile(r'<span class="(?:n|p|o|w|nn|nb|bp|si|sa|nx|err)">(.*?)</span>', re.DOTALL)
# A formula, which lines may break at on both sides, and the marks that belong to it.
MARKED = re.compile(r"([(\[“\"]*)(<math(?:(?!</math>).)*</math>)([)\].,;:?!”\"’]*)", re.DOTALL)
WIDE_FORMULA = 40  # characters of TeX; one like that may be wider than a phone


class Renderer(markup.Renderer):
    """HTML for one page of the site.

    address: what a link of the source is on the page.
    anchor: the id of a heading, from its text.
    named: the address of what a name in backticks means, or "".
    contents: grows by each heading down to the third level.
    """

    def __init__(
        self, address: Callable[[str], str], anchor: Callable[[str], str], named: Callable[[str], str]
    ) -> None:
        super().__init__(escape=False)  # the course's own text holds <br> and <details>
        self.address, self.anchor, self.named = address, anchor, named
        self.contents: Contents = []
        self._ids: set[str] = set()
        self._linked: set[str] = set()  # names that are links already, in this section

    def fresh_id(self, text: str) -> str:
        """An id for a heading that no other on the page has."""
        name = found = self.anchor(text)
        number = 0
        while found in self._ids:
            number += 1
            found = f"{name}-{number}"
        self._ids.add(found)
        return found

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        if level <= 3:
            self.contents.append((level, attrs["id"], _without_links(text)))
        self._linked.clear()
        text = re.sub(r"\bGPT-\d", r'<span class="kept">\g<0></span>', text)
        return f'<h{level} id="{html.escape(attrs["id"])}">{text}</h{level}>\n'

    def inline_math(self, text: str) -> str:
        made = super().inline_math(text)
        return f'<span class="long">{made}</span>' if len(text) > WIDE_FORMULA else made

    def paragraph(self, text: str) -> str:
        return super().paragraph(_with_their_marks(text))

    def block_text(self, text: str) -> str:
        return super().block_text(_with_their_marks(text))

    def block_math(self, text: str) -> str:
        return f'<div class="scroll formula">{super().block_math(text)}</div>'

    def block_code(self, code: str, info: str | None = None) -> str:
        return code_html(code, (info or "text").split()[0])

    def codespan(self, text: str) -> str:
        code = f"<code>{html.escape(text, quote=False)}</code>"
        name = re.fullmatch(r"([A-Za-z_][\w.]*)(\(.*\))?", text)
        found = self.named(name[1]) if name and name[1] not in self._linked else ""
        if not found:
            return code
        self._linked.add(name[1])
        return f'<a class="name" href="{html.escape(found)}">{code}</a>'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return f'<a href="{html.escape(self.address(html.unescape(url)))}">{_without_links(text)}</a>'

    def table(self, text: str) -> str:
        return f'<div class="scroll"><table>\n{text}</table></div>\n'

    def table_cell(self, text: str, align: str | None = None, head: bool = False) -> str:
        kind = "th" if head and text else "td"  # an empty heading says nothing to a screen reader
        side = f' class="{align}"' if align in ("right", "center") else ""
        return f"<{kind}{side}>{text}</{kind}>\n"


def to_html(text: str, renderer: Renderer) -> str:
    """Markdown as HTML for the page that the renderer is of."""
    parser = markup.parser(renderer)
    parser.before_render_hooks.append(_name_headings)
    return str(parser(text)).strip()


def inline(text: str, renderer: Renderer) -> str:
    """Text within a paragraph as HTML."""
    # "1. A section" is no list.
    return re.sub(r"^<p>|</p>$", "", to_html(re.sub(r"^(\d+)\.", r"\1\\.", text), renderer))


def code_html(code: str, language: str = "python") -> str:
    """Code in colors; a language that pygments does not know has none."""
    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        lexer = get_lexer_by_name("text", stripnl=False)
    colored = PLAIN.sub(r"\1", highlight(code, lexer, HtmlFormatter(nowrap=True)).rstrip())
    return f'<div class="code"><pre><code>{colored}</code></pre></div>\n'


def _name_headings(parser: mistune.Markdown, state: mistune.BlockState) -> None:
    """Give each heading an id from its source, as the addresses in the course's links are made."""
    for token in state.tokens:
        if token["type"] == "heading":
            token["attrs"]["id"] = parser.renderer.fresh_id(token["text"])


def _with_their_marks(text: str) -> str:
    """Keep a formula and the marks around it on one line."""

    def kept(found: re.Match[str]) -> str:
        return f'<span class="kept">{found[0]}</span>' if found[1] or found[3] else found[0]

    return MARKED.sub(kept, text)


def _without_links(text: str) -> str:
    return re.sub(r"</?a\b[^>]*>", "", text)
