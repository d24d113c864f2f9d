"""An exercise without its solution, for the process in which answers run."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from gptlib.course.exercises import Exercise, lesson_of
from gptlib.places import PACKAGE

STUDIES = "gptlib.course.studies"  # of the course's modules those that answers may import


class Withheld:
    """An exercise without its solution.

    The reference is replaced in all of gptlib by a stand-in that only gptlib's own modules can call; the
    lesson keeps what its `use` and the inputs need, and no more.
    """

    def __init__(self, task: Exercise, inputs: Sequence[tuple[Any, ...]]) -> None:
        self.task, self._inputs = task, inputs
        self.originals = [task.reference, *_wrapped(task.reference)]
        self.sentence = f"{task.function} comes from gptlib; this exercise asks for your own"
        self.stand_ins = [self._replaced(original) for original in self.originals]
        self.bare = dataclasses.replace(
            task,
            reference=_nothing,
            inputs=_nothing,
            misconceptions=(),
            hints=("", "", ""),
            source=None,
        )
        self._earlier = {}
        for other in lesson_of(task.name).exercises:
            if other.name == task.name:
                break
            self._earlier[other.name] = other.reference
        self._strip()

    def earlier(self, right: Sequence[str]) -> dict[str, Callable[..., Any] | None]:
        """For each exercise before this one its reference, or None if the student's own is right."""
        return {name: None if name in right else reference for name, reference in self._earlier.items()}

    def is_it(self, answer: Any) -> bool:
        """Whether an answer is the library's own, or a class made from it."""
        if any(answer is known for known in (*self.originals, *self.stand_ins)):
            return True
        classes = [known for known in self.originals if isinstance(known, type)]
        return isinstance(answer, type) and any(known in type.mro(answer) for known in classes)

    def _replaced(self, original: Any) -> Any:
        getframe, folder, course = sys._getframe, str(PACKAGE), str(PACKAGE / "course")
        sentence = self.sentence

        def from_library() -> bool:
            file = getframe(2).f_code.co_filename
            return file.startswith(folder) and not file.startswith(course + os.sep + "exercises")

        if isinstance(original, type):
            made = original.__init__

            def __init__(self: Any, *arguments: Any, **named: Any) -> None:
                if not from_library():
                    raise RuntimeError(sentence)
                made(self, *arguments, **named)

            with contextlib.suppress(TypeError, AttributeError):
                original.__init__ = __init__
            return original

        def stand_in(*arguments: Any, **named: Any) -> Any:
            if not from_library():
                raise RuntimeError(sentence)
            return original(*arguments, **named)

        for name, module in list(sys.modules.items()):
            if name.split(".")[0] == "gptlib" and not name.startswith("gptlib.course.lessons."):
                for key, value in list(vars(module).items()):
                    if value is original:
                        setattr(module, key, stand_in)
        return stand_in

    def _strip(self) -> None:
        """Forget the lessons, except for what `use`, the inputs and the earlier references need."""
        from gptlib.course import exercises

        needed: dict[int, set[str]] = {}
        _needs([self.task.use, *self._earlier.values(), *self._inputs], needed, set())
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
    import ast
    import textwrap

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
