"""What a notebook that was handed in holds for each exercise: the text of the answer, and what to run for it.

Never the whole notebook is run, only the answer and whatever else in the notebook gives it the names that it
uses.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gptlib.course.exercises import Exercise, Lesson, lessons
from gptlib.course.grading.cells import Cell, Statement, code_cells, course_cells, notebook_topic

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try)
FOR_JUPYTER = "get_ipython"


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

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Answer:
        """The answer of which `dataclasses.asdict` made this, also by way of JSON."""

        def piece(of: dict[str, Any]) -> Piece:
            return Piece(of["source"], tuple(of["statements"]))

        before = tuple(map(piece, fields["before"]))
        cell = piece(fields["cell"]) if fields["cell"] else None
        return cls(**{**fields, "before": before, "cell": cell, "remarks": tuple(fields["remarks"])})


@dataclass(frozen=True)
class ReadNotebook:
    """Which of the course's notebooks it is, if that can be told, and what it holds for each exercise."""

    topic: str | None
    answers: tuple[Answer, ...] = ()

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> ReadNotebook:
        """The notebook of which `dataclasses.asdict` made this, also by way of JSON."""
        topic, answers = fields["topic"], tuple(map(Answer.from_dict, fields["answers"]))
        known = [task.name for task in lessons()[topic].exercises] if topic is not None else []
        if [answer.exercise for answer in answers] != known:
            raise ValueError("not the exercises of a notebook")
        return cls(topic, answers)


def read_notebook(contents: bytes, filename: str) -> ReadNotebook:
    """The notebook in the bytes of a file of this name. Raises NoNotebook."""
    cells = code_cells(contents)
    topic = notebook_topic(cells, filename)
    if topic is None:
        return ReadNotebook(None)
    return ReadNotebook(topic, tuple(find_answers(lessons()[topic], cells, course_cells(topic))))


def find_answers(lesson: Lesson, cells: Sequence[Cell], course: Sequence[Cell]) -> list[Answer]:
    """For each exercise of the lesson what the `cells` hold for it; `course` are the notebook's own."""
    return [find_answer(task, cells, course) for task in lesson.exercises]


def find_answer(task: Exercise, cells: Sequence[Cell], course: Sequence[Cell]) -> Answer:
    """What the `cells` hold for an exercise.

    The last cell counts in which something was written under the exercise's name. If there is none, what the
    call of `check` names counts, then the only function in the answer's cell.
    """
    stub = next((cell for cell in course if cell.id == task.id_of_cell("answer")), Cell("", ""))
    others = {cell.text for cell in course if cell is not stub}
    own = [place for place, cell in enumerate(cells) if cell.text not in others]
    by_id = [place for place in own if cells[place].id == task.id_of_cell("answer")]
    if not by_id:
        by_id = [place for place in own if _looks_like(task, cells, place)]
    name, remarks = task.function, []
    found = [place for place in own if name in _definitions(cells[place], all_kinds=place in by_id)]
    checked = _checked_name(task, cells)
    if not found and checked:
        found = [place for place in own if checked in _definitions(cells[place], all_kinds=place in by_id)]
        name = checked if found else name
    if not found and by_id and len(_definitions(cells[by_id[-1]])) == 1:
        found, name = [by_id[-1]], next(iter(_definitions(cells[by_id[-1]])))
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
        return _nothing_found(task, cells, found, by_id)
    cell = cells[attempted[-1]]
    before, places = _to_run(task, cells, attempted[-1], course, stub, name)
    if any(FOR_JUPYTER in cell.statements[place].uses for place in places):
        remarks.append("its cell has lines for Jupyter or the shell, which were left out")
    lines = set(stub.source.splitlines())
    return Answer(
        task.name,
        name,
        cell.source,
        True,
        before,
        Piece(cell.source, places),
        remarks=tuple(remarks),
        added=sum(len(line.strip()) for line in cell.source.splitlines() if line not in lines),
    )


def _nothing_found(task: Exercise, cells: Sequence[Cell], found: list[int], by_id: list[int]) -> Answer:
    source = cells[found[-1]].source if found else ""
    several = by_id and list(_definitions(cells[by_id[-1]]))
    if not found and several:
        problem = f"there is no {task.function}; the cell has {', '.join(several)}"
        return Answer(task.name, source=cells[by_id[-1]].source, attempted=True, problem=problem)
    missing = () if found or by_id else (f"there is no cell with {task.function}",)
    return Answer(task.name, source=source, remarks=missing)


def _looks_like(task: Exercise, cells: Sequence[Cell], place: int) -> bool:
    """Whether a cell without the right id is the exercise's: it names the function, or its check follows."""
    if re.search(rf"(?m)^\s*(async\s+def|def|class)\s+{task.function}\b", cells[place].source):
        return True
    following = cells[place + 1].source if place + 1 < len(cells) else ""
    return f'check("{task.name}"' in following and bool(_definitions(cells[place]))


def _checked_name(task: Exercise, cells: Sequence[Cell]) -> str | None:
    """The name that the notebook hands to `check` for this exercise."""
    pattern = rf"""check\(\s*["']{re.escape(task.name)}["']\s*,\s*([^\W\d]\w*)\s*\)"""
    names = [match[1] for cell in cells for match in re.finditer(pattern, cell.source)]
    return names[-1] if names and names[-1] != task.function else None


def _definitions(cell: Cell, all_kinds: bool = False) -> dict[str, ast.stmt]:
    """What a cell defines: functions, classes, lambdas; with `all_kinds` also what it assigns or imports."""
    found: dict[str, ast.stmt] = {}
    for node in _unfolded([statement.node for statement in cell.statements]):
        if isinstance(node, FUNCTIONS):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if all_kinds or isinstance(node.value, ast.Lambda):
                found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom) and all_kinds:
            found |= {alias.asname or alias.name: node for alias in node.names}
    return found


def _unfolded(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements, and those in the blocks of an `if`, a loop, a `with` or a `try` among them."""
    for node in body:
        yield node
        if isinstance(node, BLOCKS):
            for name in ("body", "orelse", "finalbody"):
                yield from _unfolded(getattr(node, name, []))
            for handler in getattr(node, "handlers", []):
                yield from _unfolded(handler.body)


def _attempted(cell: Cell, name: str, stub: Cell, stub_name: str) -> bool:
    """Whether the definition differs from the stub, and does more than give back `...`."""
    definition, given = _definitions(cell, all_kinds=True)[name], _definitions(stub).get(stub_name)
    if given is not None and ast.dump(definition) == ast.dump(given):
        return False
    if not isinstance(definition, ast.FunctionDef):
        return True
    body = definition.body[1:] if ast.get_docstring(definition) is not None else definition.body
    empty = {"Return(value=Constant(value=Ellipsis))", "Expr(value=Constant(value=Ellipsis))", "Pass()"}
    return not all(ast.dump(statement) in empty for statement in body)


# ------------------------------------------------------------------------------------------------ what to run


def _to_run(
    task: Exercise, cells: Sequence[Cell], place: int, course: Sequence[Cell], stub: Cell, name: str
) -> tuple[tuple[Piece, ...], tuple[int, ...]]:
    """What to run before the answer's cell, and the places of what to run in it.

    That is whatever binds the answer's name, or a name that such a statement uses, and so on: in the
    student's cells up to the check, and before those in the course's cells that the student no longer has.
    """
    check = re.compile(rf"""check\(\s*["']{re.escape(task.name)}["']""")
    last = next((k for k in range(place + 1, len(cells)) if check.search(cells[k].source)), place)
    mine = [cell for k, cell in enumerate(cells[:last]) if k != place]
    there = {cell.text for cell in mine}
    theirs = course[: course.index(stub)] if stub in course else course
    above = [*(cell for cell in theirs if cell.text not in there), *mine]
    imported = _imported([*above, cells[place]])
    wanted, size = {name}, 0
    while len(wanted) > size:
        size = len(wanted)
        for cell in (*above, cells[place]):
            for k in _places(cell, wanted, imported):
                wanted |= cell.statements[k].uses
    pieces = [Piece(cell.source, _places(cell, wanted, imported)) for cell in above]
    return tuple(piece for piece in pieces if piece.statements), _places(cells[place], wanted, imported)


def _imported(cells: Sequence[Cell]) -> frozenset[str]:
    """The names that imports bind: a call such as torch.manual_seed(0) is no change of torch."""
    imports = (ast.Import, ast.ImportFrom)
    found = (each.binds for cell in cells for each in cell.statements if isinstance(each.node, imports))
    return frozenset().union(*found)


def _places(cell: Cell, wanted: set[str], imported: frozenset[str]) -> tuple[int, ...]:
    """Where the statements stand that give one of the wanted names its value."""
    return tuple(
        place
        for place, each in enumerate(cell.statements)
        if _may_run(each) and (wanted & (each.binds | (each.changes - imported)) or _always(each))
    )


def _always(statement: Statement) -> bool:
    """Whether it says how the rest is to be read, or nobody knows what it binds."""
    node = statement.node
    return isinstance(node, ast.ImportFrom) and (
        node.module == "__future__" or any(alias.name == "*" for alias in node.names)
    )


def _may_run(statement: Statement) -> bool:
    """All may but an import of the course itself, which holds the solutions."""
    node = statement.node
    if isinstance(node, ast.ImportFrom):
        return _is_for_answers(node.module or "")
    return not isinstance(node, ast.Import) or all(_is_for_answers(alias.name) for alias in node.names)


def _is_for_answers(module: str) -> bool:
    return not module.startswith("gptlib.course") or module.startswith("gptlib.course.studies")
