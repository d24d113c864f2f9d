"""Code on a slide: which lines a room should see, and in what size."""

from __future__ import annotations

import ast
import html
import io
import re
import textwrap
import tokenize

# The stage is 1280 x 720; what is left between its margins, below the line with the section's name.
WIDTH, HEIGHT = 1160, 590
SMALLEST, WRAPPED, LARGEST = 20, 22, 28  # pixels of code; lines are broken rather than set below the second
SMALLEST_PRINTED = 18
FURTHER_IN = 6  # columns by which a broken line goes on further in
ADVANCE, LEADING = 0.602, 1.42  # of a monospaced letter and of a line, as shares of the size
COMMENT_COLUMN = 78  # a comment that ends further right goes above its line


def shown_code(source: str, drawn: bool) -> str:
    """What a room should see of a cell: no imports, no plain asserts, and not the call that draws.

    Empty when that leaves nothing that is worth a slide.
    """
    tree = ast.parse(source)
    lines: list[str | None] = list(source.splitlines())
    kept = []
    for place, node in enumerate(tree.body):
        draws = drawn and place == len(tree.body) - 1
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Assert)) or draws:
            lines[node.lineno - 1 : node.end_lineno] = [None] * (node.end_lineno - node.lineno + 1)
        else:
            kept.append(node)
    if not kept or (drawn and len(kept) < 3 and not isinstance(kept[0], (ast.FunctionDef, ast.For))):
        return ""
    if all(isinstance(node, ast.Expr) for node in kept) and "print(" not in source:
        return ""
    text = "\n".join(line for line in lines if line is not None).strip("\n")
    return comments_above(re.sub(r"\n{3,}", "\n\n", text))


def comments_above(source: str) -> str:
    """The same code, with each comment that would make a line too long on a line of its own above."""
    lines = source.splitlines()
    for token in list(tokenize.generate_tokens(io.StringIO(source).readline))[::-1]:
        if token.type != tokenize.COMMENT:
            continue
        row, column = token.start
        line = lines[row - 1]
        if line[:column].strip() and len(line) > COMMENT_COLUMN:
            indent = " " * (len(line) - len(line.lstrip()))
            lines[row - 1 : row] = [indent + token.string, line[:column].rstrip()]
    return "\n".join(lines)


def halves(source: str) -> list[str]:
    """The code in two parts, cut between two statements, as near to the middle as can be.

    A class or function that stands alone is cut inside, and its first line said again. Code that cannot be
    cut comes back whole.
    """
    lines = source.splitlines()
    nodes = ast.parse(source).body
    again: list[str] = []
    if len(nodes) == 1 and isinstance(nodes[0], (ast.ClassDef, ast.FunctionDef)):
        again = [lines[nodes[0].lineno - 1] + "  # …"]
        nodes = nodes[0].body
    ends = [node.end_lineno or 0 for node in nodes[:-1]]
    if not ends:
        return [source]
    cut = min(ends, key=lambda end: abs(end - len(lines) / 2))
    return ["\n".join(part).strip("\n") for part in (lines[:cut], again + lines[cut:])]


def beginning(printed: str, height: int) -> str:
    """As many lines of a long output as can be read, and how many more there are."""
    lines = printed.splitlines()
    kept = len(lines) - 1
    while kept > 1 and not largest_size(["\n".join([*lines[:kept], "…"])], height, SMALLEST_PRINTED):
        kept -= 1
    return "\n".join([*lines[:kept], f"… and {len(lines) - kept} more lines"])


def largest_size(texts: list[str], height: int, smallest: int = SMALLEST) -> int:
    """The largest size in pixels in which texts, one below the other, fit the stage; 0 if there is none."""
    lines = [line for text in texts for line in text.splitlines()]
    for size in range(LARGEST, smallest - 1, -1):
        rows = sum(_rows(line, _columns(size)) for line in lines)
        # Each box has a margin and padding, about a line and a half.
        fits = LEADING * size * (rows + 1.5 * len(texts)) <= height
        if fits and (size <= WRAPPED or rows == len(lines)):
            return size
    return 0


def _columns(size: int) -> int:
    return int((WIDTH - 48) / (ADVANCE * size))


def _rows(line: str, columns: int) -> int:
    """How many rows a line of code takes when it is broken at spaces."""
    if len(line) <= columns:
        return 1
    return max(1, len(textwrap.wrap(line, columns, subsequent_indent=" " * (_indent(line) + FURTHER_IN))))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def code_html(text: str, size: int) -> str:
    """Code in colors, in a size given in pixels."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    marked = highlight(text, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True)).rstrip()
    # A line that has to be broken goes on further in than it began.
    lines = "".join(
        f'<span class="line" style="--indent: {_indent(line) + FURTHER_IN}ch">{shown or " "}</span>'
        for line, shown in zip(text.splitlines(), marked.splitlines(), strict=True)
    )
    return f'<pre class="code" style="--size: {size}px"><code>{lines}</code></pre>'


def printed_html(text: str, size: int = WRAPPED) -> list[str]:
    """What was printed, if anything was."""
    if not text:
        return []
    # What was printed may be a little smaller than code, rather than broken at other places.
    while size > SMALLEST_PRINTED and max(map(len, text.splitlines())) > _columns(size):
        size -= 1
    return [f'<pre class="output" style="--size: {size}px">{html.escape(text)}</pre>']
