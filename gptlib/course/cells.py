"""What the cells of a saved notebook hold, for pages that are made of them."""

from __future__ import annotations

import ast
import html
import re
from typing import Any


def revealed(cell: Any) -> tuple[list[str], str]:
    """What answers a prediction, out of the fold of its cell's output: pictures, and printed text.

    Pictures are the sources of their img elements.
    """
    page = "".join(output.get("data", {}).get("text/html", "") for output in cell.outputs)
    pictures = re.findall(r'<img src="(data:image/png;base64,[^"]*)"', page)
    return pictures, html.unescape("\n".join(re.findall(r"(?s)<pre>(.*?)</pre>", page)))


def figure_title(source: str) -> str:
    """The title that the code gives its figure, for those who cannot see the picture."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "title":
            strings = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            return " … ".join(text for text in strings if isinstance(text, str))
    return "figure"
