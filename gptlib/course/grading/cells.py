"""The code cells of a notebook that was handed in, as Jupyter reads them.

Sizes are bounded before anything is parsed, and each cell is read alone, so that a mistake in one does no
harm to the others.
"""

from __future__ import annotations

import ast
import json
import re
import symtable
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from IPython.core.inputtransformer2 import TransformerManager

from gptlib.course.desk.renaming import FORMER_NAMES
from gptlib.course.exercises import lessons

LONGEST_CELL = 50_000  # characters
LONGEST_CODE = 500_000  # characters of all cells together
MOST_CELLS = 2_000
RUN_THEIR_CELL = ("time", "capture", "timeit", "prun")  # magics of a whole cell that is Python all the same
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


class NoNotebook(ValueError):
    """A file that is no notebook; the message says what it is, for the student's row."""


@dataclass(frozen=True)
class Statement:
    """A statement at the top level of a cell, with the global names that it has to do with.

    binds: Those that exist after it: assigned, imported, or defined.
    changes: Those that it changes in place, by an item, an attribute or a method.
    uses: Those that it looks up, now or, in a function, later.
    """

    node: ast.stmt
    binds: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()
    uses: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Cell:
    """A code cell: its id, or "", its text as Python, and its statements; or why Python cannot read it."""

    id: str
    source: str
    statements: tuple[Statement, ...] = ()
    problem: str | None = None

    @property
    def text(self) -> str:
        return self.source.strip()


def code_cells(contents: bytes) -> list[Cell]:
    """The code cells in the bytes of a notebook's file. Raises NoNotebook."""
    plain = contents.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not plain:
        raise NoNotebook("the file is empty")
    if not plain.startswith(b"{"):
        raise NoNotebook("the file is no notebook")
    try:
        notebook = json.loads(contents)
    except (ValueError, RecursionError) as error:
        raise NoNotebook("the file is damaged: its JSON cannot be read") from error
    if not isinstance(notebook.get("cells"), list):
        raise NoNotebook("the file is no notebook of Jupyter's format 4")
    cells, length = [], 0
    for cell in notebook["cells"][:MOST_CELLS]:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source")
        if isinstance(source, list):
            source = "".join(line for line in source if isinstance(line, str))
        if isinstance(source, str):
            length += len(source)
            if length > LONGEST_CODE:
                raise NoNotebook(f"the notebook has more than {LONGEST_CODE:,} characters of code")
            name = cell.get("id")
            cells.append(read_cell(name if isinstance(name, str) else "", source))
    return cells


def read_cell(name: str, source: str) -> Cell:
    """The cell of this id and text."""
    if len(source) > LONGEST_CELL:
        problem = f"the cell has {len(source):,} characters; at most {LONGEST_CELL:,} are read"
        return Cell(name, source[:1000], problem=problem)
    try:
        plain = _python(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(plain).body
            return Cell(name, plain, tuple(map(_statement, body)))
    except UNREADABLE as error:
        where = f" (line {error.lineno} of the cell)" if isinstance(error, SyntaxError) else ""
        said = error.msg if isinstance(error, SyntaxError) else str(error) or "it is nested too deep"
        return Cell(name, source, problem=f"Python cannot read the cell: {said}{where}")


def _python(source: str) -> str:
    """The cell as Jupyter has Python run it: lines such as !pip become calls of get_ipython()."""
    first, _, rest = source.lstrip().partition("\n")
    if first.startswith("%%"):
        magic = re.match(r"%%(\w*)", first)
        return _python(rest) if magic and magic[1] in RUN_THEIR_CELL else ""
    for_jupyter = re.search(r"[%!?]|^\s|>>>|In \[", source)
    return TransformerManager().transform_cell(source) if for_jupyter else source


def _statement(node: ast.stmt) -> Statement:
    table = symtable.symtable(ast.unparse(node), "<cell>", "exec")
    bound = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
    }
    used = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    for inner in _scopes(table):
        used |= {symbol.get_name() for symbol in inner.get_symbols() if symbol.is_global()}
    return Statement(node, frozenset(bound), frozenset(_changed(node)), frozenset(used))


def _scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _scopes(child)


def _changed(node: ast.AST) -> Iterator[str]:
    """The names that a statement changes in place, itself and not in a function that it defines."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Attribute | ast.Subscript) and isinstance(child.ctx, ast.Store | ast.Del):
            yield from _root(child)
        elif (
            isinstance(child, ast.Call)
            and isinstance(child.func, ast.Attribute)
            and isinstance(node, ast.Expr)
        ):
            yield from _root(child.func)
        if not isinstance(child, SCOPES):
            yield from _changed(child)


def _root(node: ast.expr) -> Iterator[str]:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Name):
        yield node.id


# ----------------------------------------------------------------------------------------- which notebook it
# is


def notebook_topic(cells: Sequence[Cell], filename: str) -> str | None:
    """Which notebook of the course these cells are from: by their ids, calls of check, or names.

    Last comes the file's name, by the topic in it: its number may be that of an earlier version's notebook.
    """
    ids = {cell.id for cell in cells}
    sources = "\n".join(cell.source for cell in cells)
    defined = {name for cell in cells for statement in cell.statements for name in statement.binds}
    signs = (
        lambda lesson: sum(task.id_of_cell("answer") in ids for task in lesson.exercises),
        lambda lesson: sum(f'check("{task.name}"' in sources for task in lesson.exercises),
        lambda lesson: sum(task.function in defined for task in lesson.exercises),
    )
    for sign in signs:
        counts = {topic: sign(lesson) for topic, lesson in lessons().items()}
        most = max(counts.values(), default=0)
        if most and list(counts.values()).count(most) == 1:
            return max(counts, key=counts.__getitem__)
    return _topic_in(filename)


def _topic_in(filename: str) -> str | None:
    """The topic that a file's name holds, as the course has or had it; None if it holds none, or several."""
    topics = {name.partition("_")[2]: topic for name, topic in FORMER_NAMES.items()}
    topics |= {topic: topic for topic in lessons()}
    # The longest first, so that causal_attention is not taken for attention.
    names = "|".join(sorted(topics, key=len, reverse=True))
    plain = re.sub(r"[\s-]+", "_", filename.lower())
    found = {topics[name] for name in re.findall(rf"(?<![a-z])(?:{names})(?![a-z0-9])", plain)}
    return found.pop() if len(found) == 1 else None


@cache
def course_cells(topic: str) -> list[Cell]:
    """The code cells of the course's own notebook on this topic."""
    return code_cells(lessons()[topic].notebook.read_bytes())
