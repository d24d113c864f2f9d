"""An exercise without its solution, for the process in which answers run."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import itertools
import sys
import textwrap
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from gptlib.course.exercises import Exercise, lesson_of

STUDIES = "gptlib.course.studies"  # of the course's modules those that answers may import
MARK = "what the check stands for"
Code = dict[int, types.CodeType]  # by id, as equal code may be an answer's; kept, so that no id is used again
PASSING = (
    *("torch.nn.modules.module", "torch.nn.modules.container", "torch.utils._contextlib"),
    *("functools", "contextlib"),
)


def guard(function: types.FunctionType, check: Callable[[], None]) -> None:
    """Have a function call `check` first, from within its own code.

    There nothing can take it out that has no access to the code: not by another name for the function, nor by
    a closure or a frame that holds it, nor by its class. Raises ValueError for a function without a source.
    """
    try:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{function.__qualname__} has no source of its own") from error
    if not isinstance(definition, ast.FunctionDef):
        raise ValueError(f"{function.__qualname__} is no function with a name")
    definition.decorator_list = []
    first = 1 if ast.get_docstring(definition) is not None else 0
    definition.body.insert(first, ast.Expr(ast.Call(ast.Constant(MARK), [], [])))
    # What the function takes from around it is here an argument of what stands around it.
    outer = ast.parse(f"def outer({', '.join(function.__code__.co_freevars)}):\n    pass")
    outer.body[0].body = [definition]  # type: ignore[attr-defined]
    ast.fix_missing_locations(outer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a text is called, which stands for the check
        compiled = compile(outer, function.__code__.co_filename, "exec", dont_inherit=True)
    for _ in range(2):
        compiled = next(held for held in compiled.co_consts if isinstance(held, types.CodeType))
    constants = tuple(check if held == MARK else held for held in compiled.co_consts)
    function.__code__ = compiled.replace(co_consts=constants)


def _functions(original: Any) -> list[types.FunctionType]:
    """The functions that an original runs: itself, or the methods of a class."""
    held = list(vars(original).values()) if isinstance(original, type) else [original]
    held = [each.fget if isinstance(each, property) else each for each in held]
    found = (inspect.unwrap(each) for each in held if callable(each))
    return [each for each in found if isinstance(each, types.FunctionType)]


def _caller_check(sentence: str, allowed: Code) -> Callable[[], None]:
    """A function that raises RuntimeError unless `allowed` code called its caller, perhaps through torch."""
    getframe, between = sys._getframe, passing_code()

    def check() -> None:
        frame = getframe(1).f_back
        while frame is not None and id(frame.f_code) in between:
            frame = frame.f_back
        if frame is None or id(frame.f_code) not in allowed:
            raise RuntimeError(sentence)

    return check


@cache
def library_code() -> Code:
    """All code of gptlib, but not the course's own."""
    names = [name for name in sys.modules if name.split(".")[0] == "gptlib"]
    return _code_of(
        name for name in names if not name.startswith("gptlib.course") or name.startswith(STUDIES)
    )


@cache
def passing_code() -> Code:
    """The code through which gptlib calls itself."""
    return _code_of(PASSING)


def _code_of(modules: Iterable[str]) -> Code:
    found: Code = {}
    for name in modules:
        file = sys.modules[name].__file__
        for held in list(vars(sys.modules[name]).values()):
            for function in _functions(held) if isinstance(held, type) or callable(held) else ():
                if function.__code__.co_filename == file:
                    _add(function.__code__, found)
    return found


def _add(code: types.CodeType, to: Code) -> None:
    """The code, and that of the functions in it."""
    to[id(code)] = code
    for held in code.co_consts:
        if isinstance(held, types.CodeType):
            _add(held, to)


class Withheld:
    """An exercise without its solution.

    The reference refuses all callers but gptlib itself, from within its own code (see `guard`); the lesson
    keeps what its `use` and the inputs need, and no more.
    """

    def __init__(self, task: Exercise, inputs: Sequence[tuple[Any, ...]]) -> None:
        self._task, self._inputs = task, inputs
        self.originals = [task.reference, *_wrapped(task.reference)]
        self.sentence = f"{task.function} comes from gptlib; this exercise asks for your own"
        earlier = [other.reference for other in self._others()]
        found = (function for original in self.originals for function in _functions(original))
        # A lesson's `use` may make one of a reference's class, for its weights, and puts it to no use.
        self.guarded = [function for function in found if function.__name__ != "__init__"]
        allowed = dict(library_code())
        check = _caller_check(self.sentence, allowed)
        for function in self.guarded:
            guard(function, check)
        for function in (*self.guarded, *(each for other in earlier for each in _functions(other))):
            _add(function.__code__, allowed)
        self.bare = dataclasses.replace(
            task,
            reference=_nothing,
            inputs=_nothing,
            misconceptions=(),
            hints=("", "", ""),
            source=None,
        )
        self._earlier = {other.name: other.reference for other in self._others()}
        self._strip()

    def _others(self) -> Iterator[Exercise]:
        """The exercises before this one."""
        exercises = lesson_of(self._task.name).exercises
        return itertools.takewhile(lambda other: other.name != self._task.name, exercises)

    def earlier(self, right: Sequence[str]) -> dict[str, Callable[..., Any] | None]:
        """For each exercise before this one its reference, or None if the student's own is right."""
        return {name: None if name in right else reference for name, reference in self._earlier.items()}

    def is_it(self, answer: Any) -> bool:
        """Whether an answer is the library's own, or a class made from it."""
        if any(answer is known for known in self.originals):
            return True
        classes = [known for known in self.originals if isinstance(known, type)]
        return isinstance(answer, type) and any(known in type.mro(answer) for known in classes)

    def _strip(self) -> None:
        """Forget the lessons, except for what `use`, the inputs and the earlier references need."""
        from gptlib.course import exercises

        needed: dict[int, set[str]] = {}
        _needs([self._task.use, *self._earlier.values(), *self._inputs], needed, set())
        for name in [name for name in sys.modules if name.startswith("gptlib.course.lessons.")]:
            space = vars(sys.modules[name])
            for key in list(space):
                if not key.startswith("__") and key not in needed.get(id(space), ()):
                    del space[key]
        for cached in (exercises.lessons, exercises._exercises, exercises._questions):
            cached.cache_clear()
        for name in [name for name in sys.modules if name.startswith("gptlib.course")]:
            if not name.startswith(STUDIES):
                del sys.modules[name]
        # What is left of the course: a module that holds the studies and can import nothing more.
        bare = types.ModuleType("gptlib.course")
        bare.__path__ = []
        bare.studies = sys.modules[STUDIES]
        sys.modules["gptlib.course"] = sys.modules["gptlib"].course = bare


def _nothing(*_: object) -> None:
    return None


def _wrapped(reference: Callable[..., Any]) -> list[Callable[..., Any]]:
    """The library's function that a reference does nothing but call."""
    if not isinstance(reference, types.FunctionType) or not reference.__module__.startswith("gptlib.course"):
        return []
    try:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(reference))).body
    except (OSError, SyntaxError, ValueError):
        return []
    body = getattr(definition, "body", [])
    body = body[1:] if isinstance(body, list) and len(body) == 2 else body
    if not isinstance(body, list) or len(body) != 1 or not isinstance(body[0], ast.Return):
        return []
    call = body[0].value
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return []
    if not all(isinstance(argument, ast.Name) for argument in call.args):
        return []
    called = reference.__globals__.get(call.func.id)
    inside = str(getattr(called, "__module__", "")).startswith("gptlib.")
    return [called] if callable(called) and inside else []


def _needs(value: Any, needed: dict[int, set[str]], seen: set[int]) -> None:
    """Add the globals, by their module, that a function, class or object of the lessons comes to use."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, list | tuple):
        for held in value:
            _needs(held, needed, seen)
        return
    if not isinstance(value, type | types.FunctionType):
        if str(type(value).__module__).startswith("gptlib.course"):
            _needs(list(getattr(value, "__dict__", {}).values()), needed, seen)
        value = inspect.unwrap(value) if hasattr(value, "__wrapped__") else type(value)
    if not str(value.__module__).startswith("gptlib.course"):
        return
    if isinstance(value, type):
        for held in vars(value).values():
            held = getattr(held, "__func__", held)
            if isinstance(held, types.FunctionType):
                _needs(held, needed, seen)
        _needs(value.__mro__[1:], needed, seen)
        return
    value = inspect.unwrap(value)
    names, codes = set(), [value.__code__]
    while codes:
        code = codes.pop()
        names |= set(code.co_names)
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    space, known = value.__globals__, needed.setdefault(id(value.__globals__), set())
    for name in (names & space.keys()) - known:
        known.add(name)
        _needs(space[name], needed, seen)
    for cell in value.__closure__ or ():
        with contextlib.suppress(ValueError):
            _needs(cell.cell_contents, needed, seen)
