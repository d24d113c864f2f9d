"""The code on the reference's pages as HTML: signatures, fields, types and values, and the source.

Names of the library are links in it, from the page at `path`.
"""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Iterator
from typing import Any

from gptlib.course.site.library import Library, Thing, anchor_of, from_page
from gptlib.places import PACKAGE

LONGEST_LINE = 88  # of a signature; a longer one has a line for each parameter
LONGEST_VALUE = 100  # of a constant, in characters
COLORED = {"Keyword": "k", "Comment": "c", "String": "s", "Name.Function": "nf", "Name.Class": "nc"}


def signature(thing: Thing, library: Library, path: str) -> str:
    """How a function is called or a class made, on one line or with a line for each parameter."""
    marks = [f"@{expression(each.value, library, path)}\n" for each in thing.decorators]
    is_dataclass = thing.is_class and "dataclass" in thing.labels
    parameters = [] if is_dataclass else list(_parameters(thing, library, path))
    word = "class" if thing.is_class else "def"
    kind = "nc" if thing.is_class else "nf"
    head = f'<span class="k">{word}</span> <span class="{kind}">{thing.name}</span>'
    back = ""
    if thing.is_function and thing.returns is not None:
        back = f" -> {expression(thing.returns, library, path)}"
    if thing.is_class and not parameters:
        written = head
    else:
        written = f"{head}({', '.join(parameters)}){back}"
        if len(_text(written)) > LONGEST_LINE:
            lines = "".join(f"    {parameter},\n" for parameter in parameters)
            written = f"{head}(\n{lines}){back}"
    return f'<div class="code signature"><pre><code>{"".join(marks)}{written}</code></pre></div>'


def _parameters(thing: Thing, library: Library, path: str) -> Iterator[str]:
    given = [each for each in thing.parameters if each.name not in ("self", "cls")]
    stars = {"var_positional": "*", "var_keyword": "**"}
    starred = False
    for place, each in enumerate(given):
        kind = each.kind.name
        if kind == "keyword_only" and not starred:
            yield "*"
        starred = starred or kind in ("keyword_only", "var_positional")
        written = stars.get(kind, "") + each.name
        if each.annotation is not None:
            written += f": {expression(each.annotation, library, path)}"
        if each.default is not None and kind not in stars:
            sign = "=" if each.annotation is None else " = "
            written += sign + expression(each.default, library, path)
        yield written
        after = given[place + 1].kind.name if place + 1 < len(given) else ""
        if kind == "positional_only" and after != kind:
            yield "/"


def expression(value: Any, library: Library, path: str) -> str:
    """An annotation, a default or a value as HTML, in which the library's names are links."""
    if isinstance(value, str):
        return _literal(value)
    parts = []
    for each in value.iterate(flat=True):
        if isinstance(each, str):
            parts.append(_literal(each))
        else:
            address = library.names.get(library.home(each.canonical_path))
            text = html.escape(each.name)
            parts.append(f'<a href="{from_page(address, path)}">{text}</a>' if address else text)
    return "".join(parts)


def _literal(text: str) -> str:
    if not text.startswith(("'", '"')):
        return html.escape(text, quote=False)
    if '"' not in text and "\\" not in text:
        text = f'"{text[1:-1]}"'  # as the library writes it
    return f'<span class="s">{html.escape(text, quote=False)}</span>'


def _text(written: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", written))


def attribute(thing: Thing, library: Library, path: str) -> str:
    """A field, property or constant with its type and its value, as the term of a list."""
    anchor = anchor_of(thing)
    written = f'<a class="self" href="#{anchor}">{html.escape(thing.name)}</a>'
    if thing.annotation is not None:
        written += f": {expression(thing.annotation, library, path)}"
    value = None if "property" in thing.labels else _default(thing)
    if value is not None:
        written += " = " + (expression(value, library, path) if len(str(value)) <= LONGEST_VALUE else "…")
    return f'<dt id="{anchor}"><code>{written}</code></dt>'


def _default(thing: Thing) -> Any:
    """The value of an attribute; of a field that `dataclasses.field` makes its default, None without one."""
    if not str(thing.value).startswith("field("):
        return thing.value
    made = ast.parse(str(thing.value), mode="eval").body
    given = {each.arg: ast.unparse(each.value) for each in made.keywords}
    return f"{given['default_factory']}()" if "default_factory" in given else given.get("default")


def linked_code(text: str, home: str, library: Library, path: str) -> str:
    """Code that leads to what has the full name `home`."""
    address = from_page(library.names[home], path)
    return f'<a href="{address}"><code>{html.escape(text)}</code></a>'


def source(thing: Thing) -> str:
    """The source of a function or class, folded up."""
    file = thing.filepath.relative_to(PACKAGE.parent).as_posix()
    lines = f"lines {thing.lineno}–{thing.endlineno}"
    return (
        f'<details class="source"><summary>Source: {file}, {lines}</summary>'
        f'<div class="code"><pre><code>{_colored(thing.source)}</code></pre></div></details>'
    )


def _colored(source: str) -> str:
    """Python as HTML, with the few classes of Pygments that a reader needs to find the way."""
    from pygments.lexers.python import PythonLexer

    parts: list[tuple[str, str]] = []
    for kind, text in PythonLexer().get_tokens(source):
        color = ""
        while kind.parent is not None and not color:
            color, kind = COLORED.get(str(kind).removeprefix("Token."), ""), kind.parent
        if parts and parts[-1][0] == color:
            text = parts.pop()[1] + text
        parts.append((color, text))
    return "".join(
        f'<span class="{color}">{html.escape(text, quote=False)}</span>'
        if color
        else html.escape(text, quote=False)
        for color, text in parts
    ).rstrip()
