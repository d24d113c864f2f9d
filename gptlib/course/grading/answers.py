"""What a notebook that was handed in holds for each exercise: the text of the answer, and what to run of it.

Never the whole notebook is run, only the answer and, before it, the imports, functions, classes and plain
constants of the cells above. Each cell is read alone, so that a mistake in one does no harm to the others.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from gptlib.course.desk.renaming import FORMER_NAMES
from gptlib.course.exercises import Exercise, Lesson, lessons

LONGEST_CELL = 100_000  # characters; deeper nesting than fits in there, Python's parser refuses by itself
MOST_CELLS = 2_000
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
# What a plain constant may be made of, and the calls in it.
PLAIN = (ast.expr_context, ast.operator, ast.unaryop, ast.Constant, ast.Name, ast.Attribute, ast.BinOp)
PLAIN += (ast.UnaryOp, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.Call, ast.keyword)
PLAIN_CALLS = {"check", "float", "functools", "int", "math", "nn", "partial", "verdict"}


class NoNotebook(ValueError):
    """A file that is no notebook; the message says what it is, for the student's row."""


@dataclass(frozen=True)
class Cell:
    """A code cell: its id, or "", its text, and that text as Python reads it, None if Python cannot."""

    id: str
    source: str
    body: tuple[ast.stmt, ...] | None = None
    problem: str | None = None

    @property
    def text(self) -> str:
        return self.source.strip()


@dataclass(frozen=True)
class Piece:
    """Statements of a cell, by their places, to be run in this order."""

    source: str
    statements: tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """What was found for an exercise.

    name: The name that the answer has in its cell; None if there is nothing to run.
    source: The text of the cell.
    attempted: Whether anything was written into the stub.
    before: What to run first.
    cell: The answer itself.
    problem: Why it cannot be run.
    remarks: What a teacher may want to know of how it was found.
    """

    exercise: str
    name: str | None = None
    source: str = ""
    attempted: bool = False
    before: tuple[Piece, ...] = ()
    cell: Piece | None = None
    problem: str | None = None
    remarks: tuple[str, ...] = ()
    added: int = field(default=0, compare=False)  # characters of the lines that are not the stub's


# ----------------------------------------------------------------------------------------- reading a notebook


def code_cells(contents: bytes) -> list[Cell]:
    """The code cells in the bytes of a notebook's file. Raises NoNotebook."""
    if not contents.strip():
        raise NoNotebook("the file is empty")
    try:
        notebook = json.loads(contents)
    except (ValueError, RecursionError) as error:
        if not contents.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            raise NoNotebook("the file is no notebook") from error
        raise NoNotebook("the file is damaged: its JSON cannot be read") from error
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise NoNotebook("the file is no notebook of Jupyter's format 4")
    cells = []
    for cell in notebook["cells"][:MOST_CELLS]:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source")
        if isinstance(source, list):
            source = "".join(line for line in source if isinstance(line, str))
        if isinstance(source, str):
            name = cell.get("id")
            cells.append(_read(name if isinstance(name, str) else "", source))
    return cells


def _read(name: str, source: str) -> Cell:
    if len(source) > LONGEST_CELL:
        problem = f"the cell has {len(source):,} characters; at most {LONGEST_CELL:,} are read"
        return Cell(name, source[:1000], problem=problem)
    try:
        return Cell(name, source, _parsed(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        # Perhaps only for a line such as %matplotlib or !pip, which is for Jupyter and not for Python.
        plain = re.sub(r"(?m)^([ \t]*)[%!].*$|^([ \t]*)[\w.]+\?+[ \t]*$", r"\1\2pass", source)
        try:
            return Cell(name, plain, _parsed(plain))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            where = f" (line {error.lineno} of the cell)" if isinstance(error, SyntaxError) else ""
            said = error.msg if isinstance(error, SyntaxError) else str(error) or "it is nested too deep"
            return Cell(name, source, problem=f"Python cannot read the cell: {said}{where}")


def _parsed(source: str) -> tuple[ast.stmt, ...]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(ast.parse(source).body)


def notebook_topic(cells: Sequence[Cell], filename: str) -> str | None:
    """Which notebook of the course these cells are from: by their ids, calls of check, or names.

    Last comes the file's name, by the topic in it: its number may be that of an earlier version's notebook.
    """
    ids = {cell.id for cell in cells}
    sources = "\n".join(cell.source for cell in cells)
    defined = {name for cell in cells for name in _definitions(cell)}
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


# ------------------------------------------------------------------------------------------ finding an answer


def find_answers(lesson: Lesson, cells: Sequence[Cell], course: Sequence[Cell]) -> list[Answer]:
    """For each exercise of the lesson what the `cells` hold for it; `course` are the notebook's own."""
    return [find_answer(task, cells, course) for task in lesson.exercises]


def find_answer(task: Exercise, cells: Sequence[Cell], course: Sequence[Cell]) -> Answer:
    """What the `cells` hold for an exercise.

    The last cell counts in which something was written under the exercise's name. If there is none, what the
    call of `check` names counts, then the only function in the answer's cell.
    """
    stub = next((cell for cell in course if cell.id == task.id_of_cell("answer")), Cell("", "", ()))
    others = {cell.text for cell in course if cell is not stub}
    own = [place for place, cell in enumerate(cells) if cell.text not in others]
    by_id = [place for place in own if cells[place].id == task.id_of_cell("answer")]
    if not by_id:
        by_id = [place for place in own if _looks_like(task, cells, place)]
    name, remarks = task.function, []
    found = [
        place for place in own if (_definitions(cells[place], all_kinds=place in by_id)).get(name) is not None
    ]
    checked = _checked_name(task, cells)
    if not found and checked:
        found = [place for place in own if checked in _definitions(cells[place], all_kinds=place in by_id)]
        name = checked if found else name
    if not found and by_id and len(_functions(cells[by_id[-1]])) == 1:
        found, name = [by_id[-1]], _functions(cells[by_id[-1]])[0]
    if found and name != task.function:
        remarks.append(f"it is called {name} here, not {task.function}")
    attempted = [place for place in found if _attempted(cells[place], name, stub, task.function)]
    broken = [place for place in by_id if cells[place].problem]
    if broken and (not attempted or broken[-1] > attempted[-1]):
        cell = cells[broken[-1]]
        return Answer(task.name, source=cell.source, attempted=True, problem=cell.problem)
    if len(attempted) > 1:
        remarks.append(f"it is written in {len(attempted)} cells; the last one counts")
    if not attempted:
        source = cells[found[-1]].source if found else ""
        several = by_id and _functions(cells[by_id[-1]])
        if not found and several:
            names = ", ".join(several)
            problem = f"there is no {task.function}; the cell has {names}"
            return Answer(task.name, source=cells[by_id[-1]].source, attempted=True, problem=problem)
        missing = () if found or by_id else (f"there is no cell with {task.function}",)
        return Answer(task.name, source=source, remarks=missing)
    place = attempted[-1]
    cell = cells[place]
    lines = set(stub.source.splitlines())
    return Answer(
        task.name,
        name,
        cell.source,
        True,
        _before(task, cells, place, course, stub),
        Piece(cell.source, _to_run(cell, in_answer=True)),
        remarks=tuple(remarks),
        added=sum(len(line.strip()) for line in cell.source.splitlines() if line not in lines),
    )


def _before(
    task: Exercise, cells: Sequence[Cell], place: int, course: Sequence[Cell], stub: Cell
) -> tuple[Piece, ...]:
    """What to run before: of the course's cells above the answer, then of the student's, up to the check."""
    theirs = course[: course.index(stub)] if stub in course else course
    known = {cell.text for cell in theirs}
    check = re.compile(rf"""check\(\s*["']{re.escape(task.name)}["']""")
    last = next((k for k in range(place + 1, len(cells)) if check.search(cells[k].source)), place)
    mine = [cell for k, cell in enumerate(cells[:last]) if k != place and cell.text not in known]
    pieces = (Piece(cell.source, _to_run(cell)) for cell in (*theirs, *mine))
    return tuple(piece for piece in pieces if piece.statements)


def _looks_like(task: Exercise, cells: Sequence[Cell], place: int) -> bool:
    """Whether a cell without the right id is the exercise's: it names the function, or its check follows."""
    if re.search(rf"(?m)^\s*(async\s+def|def|class)\s+{task.function}\b", cells[place].source):
        return True
    following = cells[place + 1].source if place + 1 < len(cells) else ""
    return f'check("{task.name}"' in following and bool(_functions(cells[place]))


def _checked_name(task: Exercise, cells: Sequence[Cell]) -> str | None:
    """The name that the notebook hands to `check` for this exercise."""
    pattern = rf"""check\(\s*["']{re.escape(task.name)}["']\s*,\s*([^\W\d]\w*)\s*\)"""
    names = [match[1] for cell in cells for match in re.finditer(pattern, cell.source)]
    return names[-1] if names and names[-1] != task.function else None


def _definitions(cell: Cell, all_kinds: bool = False) -> dict[str, ast.stmt]:
    """What a cell defines at its top level: functions, classes, lambdas; with `all_kinds` any assignment."""
    found: dict[str, ast.stmt] = {}
    for statement in cell.body or ():
        if isinstance(statement, FUNCTIONS):
            found[statement.name] = statement
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if all_kinds or isinstance(statement.value, ast.Lambda):
                found |= {target.id: statement for target in targets if isinstance(target, ast.Name)}
    return found


def _functions(cell: Cell) -> list[str]:
    return list(_definitions(cell))


def _attempted(cell: Cell, name: str, stub: Cell, stub_name: str) -> bool:
    """Whether the definition differs from the stub, and does more than give back `...`."""
    definition, given = _definitions(cell, all_kinds=True)[name], _definitions(stub).get(stub_name)
    if given is not None and _dumped(definition) == _dumped(given):
        return False
    if not isinstance(definition, ast.FunctionDef):
        return True
    body = definition.body[1:] if ast.get_docstring(definition) is not None else definition.body
    empty = {"Return(value=Constant(value=Ellipsis))", "Expr(value=Constant(value=Ellipsis))", "Pass()"}
    return not all(_dumped(statement) in empty for statement in body)


def _dumped(node: ast.AST) -> str:
    try:
        return ast.dump(node)
    except RecursionError:
        return "too deep"


def _to_run(cell: Cell, in_answer: bool = False) -> tuple[int, ...]:
    """The places of the statements that are run. In an answer's cell every assignment is."""
    return tuple(
        place for place, statement in enumerate(cell.body or ()) if _is_definition(statement, in_answer)
    )


def _is_definition(statement: ast.stmt, in_answer: bool) -> bool:
    if isinstance(statement, ast.ImportFrom):
        return _is_for_answers(statement.module or "")
    if isinstance(statement, ast.Import):
        return all(_is_for_answers(name.name) for name in statement.names)
    if isinstance(statement, FUNCTIONS):
        return True
    if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
        return False
    return in_answer or isinstance(statement.value, ast.Lambda) or _is_plain(statement.value)


def _is_for_answers(module: str) -> bool:
    """Whether answers may import it: all but the course itself, which holds the solutions."""
    return not module.startswith("gptlib.course") or module.startswith("gptlib.course.studies")


def _is_plain(value: ast.expr) -> bool:
    for node in ast.walk(value):
        if not isinstance(node, PLAIN):
            return False
        if isinstance(node, ast.Call):
            root = node.func
            while isinstance(root, ast.Attribute):
                root = root.value
            if not isinstance(root, ast.Name) or root.id not in PLAIN_CALLS:
                return False
    return True
