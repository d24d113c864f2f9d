"""Which cells of a notebook would answer a prediction before it is made.

In the notebook they give nothing until they are run. On a page their outputs stand right below the question,
so that the page keeps them shut until a choice is made.
"""

from __future__ import annotations

import ast
import re
from typing import Any


def spoilers(notebook: Any) -> dict[str, list[str]]:
    """Of each such cell, by its id, the names of the predictions that it would answer.

    A cell answers a prediction of its section if it reads what the section worked out and gave to `predict`.
    """
    found: dict[str, list[str]] = {}
    worked_out: set[str] = set()  # names, in this section
    given: dict[str, str] = {}  # those of them that a prediction was given, and which
    for cell in notebook.cells:
        if cell.cell_type != "code":
            if re.search(r"^#{1,3} ", cell.source, re.MULTILINE):
                given = {}
                # What was there before an exercise is there after it.
                worked_out = worked_out if cell.id.startswith("exercise-") else set()
            continue
        tree = ast.parse(cell.source)
        made, read = _names(tree, ast.Store), _names(tree, ast.Load)
        worked_out |= made
        if call := _prediction(tree):
            asked, *arguments = call.args
            here = set().union(*(_names(each, ast.Load) for each in arguments)) & worked_out
            given |= dict.fromkeys(here, ast.literal_eval(asked))
        elif names := sorted({given[name] for name in read - made if name in given}):
            found[cell.id] = names
        else:
            given = {name: asked for name, asked in given.items() if name not in made}
    return found


def _names(tree: ast.AST, use: type[ast.expr_context]) -> set[str]:
    """The names in the code that are used in this way. What an assertion reads is not shown."""
    if isinstance(tree, ast.Assert):
        return set()
    if isinstance(tree, ast.Name):
        return {tree.id} if isinstance(tree.ctx, use) else set()
    return set().union(*(_names(child, use) for child in ast.iter_child_nodes(tree)))


def _prediction(tree: ast.Module) -> ast.Call | None:
    """The call of `predict`, which is the last line of its cell."""
    last = tree.body[-1] if tree.body else None
    call = last.value if isinstance(last, ast.Expr) else None
    named = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "predict"
    return call if named else None
