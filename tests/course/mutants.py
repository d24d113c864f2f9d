"""Solutions with one thing wrong: what a check has to tell from right, whatever a reader slips on.

A mutant differs from a solution in one place: an operator, an axis, a number that is off by one, a part of a
call or a slice, a name taken for another, a line that is dropped, or a value that is written in place.
"""

import ast
import copy
import difflib
from collections.abc import Iterator

OTHER = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div, ast.Add],
    ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Mult],
    ast.Mod: [ast.FloorDiv],
    ast.Pow: [ast.Mult],
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt, ast.GtE],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.LtE],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
}
SWAPPED = (ast.Sub, ast.Div, ast.MatMult)
SYMMETRIC = ("transpose", "allclose")
IN_PLACE = {ast.Add: "add_", ast.Sub: "sub_", ast.Mult: "mul_", ast.Div: "div_"}


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Each mutant of a solution: what differs, "old => new", and its source."""
    tree = ast.parse(source)
    lines = ast.unparse(tree).splitlines()
    seen = {"\n".join(lines)}
    n_nodes = len(list(ast.walk(tree)))
    names = sorted({node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)} - {"self"})
    for place in range(n_nodes):
        node = list(ast.walk(tree))[place]
        for change in [*_changes(node), *_other_names(node, names)]:
            copied = copy.deepcopy(tree)
            changed = list(ast.walk(copied))[place]
            change(changed)
            text = ast.unparse(ast.fix_missing_locations(copied))
            if text not in seen:
                seen.add(text)
                # What is shorter may stand in many places.
                if isinstance(node, ast.expr) and len(ast.unparse(node)) >= 8:
                    yield f"{ast.unparse(node)} => {ast.unparse(changed)}", text
                else:
                    yield _difference(lines, text.splitlines()), text


def _difference(old: list[str], new: list[str]) -> str:
    found = [line for line in difflib.ndiff(old, new) if line[0] in "+-"]
    sides = [" / ".join(line[2:].strip() for line in found if line[0] == sign) for sign in "-+"]
    return " => ".join(side or "nothing" for side in sides)


def _changes(node: ast.AST) -> list:
    """Functions that each change a copy of the node, in place, in one way."""
    found = []
    for name, value in ast.iter_fields(node):
        if isinstance(value, ast.expr):
            found += [_put(name, None, make) for make in _instead(value)]
        elif isinstance(value, list):
            for place, item in enumerate(value):
                if isinstance(item, ast.expr):
                    found += [_put(name, place, make) for make in _instead(item)]
            if value and all(isinstance(item, ast.stmt) for item in value):
                found += _statements(name, value)
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign):
        found += [_operator("op", None, other) for other in OTHER.get(type(node.op), [])]
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            found += [_operator("ops", place, other) for other in OTHER.get(type(operator), [])]
    if isinstance(node, ast.Call):
        found += [lambda call, place=place: call.keywords.pop(place) for place in range(len(node.keywords))]
    if isinstance(node, ast.Slice):
        parts = [part for part in ("lower", "upper", "step") if getattr(node, part)]
        found += [lambda cut, part=part: setattr(cut, part, None) for part in parts]
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        found.append(lambda held: setattr(held, "test", ast.UnaryOp(ast.Not(), held.test)))
    return found


def _other_names(node: ast.AST, names: list[str]) -> list:
    """One argument taken for another."""
    if not isinstance(node, ast.Name) or node.id not in names:
        return []
    return [lambda name, other=other: setattr(name, "id", other) for other in names if other != node.id]


def _put(name, place, make):
    def change(node):
        held = getattr(node, name)
        if place is None:
            setattr(node, name, make(held))
        else:
            held[place] = make(held[place])

    return change


def _operator(name, place, other):
    return _put(name, place, lambda _: other())


def _instead(value: ast.expr) -> list:
    """What may stand in the place of an expression."""
    found = []
    if isinstance(value, ast.Constant) and type(value.value) is int:
        found += [lambda old, by=by: ast.Constant(old.value + by) for by in (1, -1)]
    if isinstance(value, ast.Constant) and type(value.value) is bool:
        found.append(lambda old: ast.Constant(not old.value))
    if isinstance(value, ast.UnaryOp):
        found.append(lambda old: old.operand)
    if isinstance(value, ast.UnaryOp) and isinstance(value.operand, ast.Constant):
        found += [
            lambda old, by=by: ast.Constant(-old.operand.value + by)  # an axis counted from the end
            for by in (1, -1)
            if type(value.operand.value) is int
        ]
    if isinstance(value, ast.BinOp) and isinstance(value.op, SWAPPED):
        found.append(lambda old: ast.BinOp(old.right, old.op, old.left))
    if isinstance(value, ast.BinOp):
        found += [lambda old: old.left, lambda old: old.right]
        if type(value.op) in IN_PLACE and isinstance(value.left, ast.Name):
            found.append(_written_in_place)
    if isinstance(value, ast.Call):
        method = isinstance(value.func, ast.Attribute)
        if method and not (value.args and isinstance(value.func.value, ast.Name)):
            found.append(lambda old: old.func.value)
        if len(value.args) == 2 and not ast.unparse(value.func).endswith(SYMMETRIC):
            found.append(lambda old: ast.Call(old.func, old.args[::-1], old.keywords))
        if len(value.args) == 1 and not isinstance(value.args[0], ast.Starred | ast.GeneratorExp):
            found.append(lambda old: old.args[0])
    if isinstance(value, ast.Attribute) and value.attr in ("T", "mT"):
        found.append(lambda old: old.value)
    if isinstance(value, ast.Tuple) and len(value.elts) == 2:
        found.append(lambda old: ast.Tuple(old.elts[::-1], old.ctx))
    return found


def _written_in_place(old: ast.BinOp) -> ast.Call:
    return ast.Call(ast.Attribute(old.left, IN_PLACE[type(old.op)], ast.Load()), [old.right], [])


def _statements(name: str, body: list[ast.stmt]) -> list:
    """A line dropped; or a loop left after its first round, as by a return that stands too far in."""
    found = []
    for place, statement in enumerate(body):
        text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if text or isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
            continue
        found.append(_put(name, place, lambda _: ast.Pass()))
        if isinstance(statement, ast.For | ast.While) and not isinstance(statement.body[-1], ast.Return):

            def left_early(node, place=place):
                getattr(node, name)[place].body.append(ast.Break())

            found.append(left_early)
    return found
