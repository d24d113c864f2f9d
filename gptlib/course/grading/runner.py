"""Run an answer in a process that is not trusted.

`Runner` asks a keeper (see `keeper`), whose child fences itself in (see `sandbox`), runs the answer on inputs
that it makes from a seed, and writes down what came out. That is read and judged elsewhere, by `examiner`: a
child knows no expected value, so it gains nothing by patching gptlib or `check`, or by forging what it
writes.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib
import linecache
import os
import pkgutil
import sys
import tempfile
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch

import gptlib
from gptlib.course import judging
from gptlib.course.comparing import TooLarge
from gptlib.course.exercises import Exercise, exercise, lesson_of
from gptlib.course.grading import sandbox
from gptlib.course.grading.answers import Answer
from gptlib.course.grading.cells import course_cells
from gptlib.course.grading.keeper import Keeper, Reply, Write, serve
from gptlib.course.grading.wire import encode, encode_outcome
from gptlib.course.grading.withheld import STUDIES, Withheld, library_code, passing_code
from gptlib.course.judging import outcome, said
from gptlib.course.limits import TimeLimit, time_limit
from gptlib.places import PACKAGE, course_root

NOT_FOR_ANSWERS = ("gptlib.cli", "gptlib.course", "gptlib.viz")
OUTCOME, PROBLEM, REFUSALS, DONE = b"o", b"p", b"r", b"d"


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long an answer may take, and how much memory.

    seconds: For an answer on one input, as in `check`.
    together: For its definitions and all inputs together.
    megabytes: On top of what Python, torch and gptlib hold.
    """

    seconds: float = 5.0
    together: float = 15.0
    megabytes: int = 1024


class Runner:
    """Runs answers, one at a time. Use it as a context: its process ends with it."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._keeper = Keeper(__name__)

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._keeper.close()

    def run(self, answer: Answer, seed: int, right: Sequence[str] = ()) -> Reply:
        """Run an answer on the inputs that the seed gives; what came of it, for `examiner` to read.

        `right` names exercises that were answered rightly: `check(...).goes_on_with` gives those answers, and
        for others the reference, as in the notebook.
        """
        assert answer.cell is not None
        job = {
            "exercise": answer.exercise,
            "name": answer.name,
            "before": [dataclasses.astuple(piece) for piece in answer.before],
            "cell": dataclasses.astuple(answer.cell),
            "right": list(right),
            "seed": seed,
        }
        return self._keeper.ask(job | dataclasses.asdict(self.limits))


# ------------------------------------------------------------------------------------------------- the keeper


def keep() -> None:
    """Run jobs. In a process of its own."""
    _import_all()
    warm: set[str] = set()

    def prepare(job: dict[str, Any]) -> None:
        if job["exercise"] not in warm:
            warm.add(job["exercise"])
            _warm_up(exercise(job["exercise"]))

    serve(prepare, _work)


def _import_all() -> None:
    """Import before the fork what answers may import: it is slow, and gptlib cannot be read later."""
    torch.set_num_threads(1)
    packages = [module.name for module in pkgutil.iter_modules(gptlib.__path__, "gptlib.") if module.ispkg]
    for name in [*(name for name in packages if name not in NOT_FOR_ANSWERS), STUDIES]:
        for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            importlib.import_module(module.name)
    for name in gptlib.__all__:
        getattr(gptlib, name)  # is imported only when it is asked for
    library_code(), passing_code()  # are kept


def _warm_up(task: Exercise) -> None:
    """Import what the notebook does; run the reference once, on inputs that no answer is judged by.

    torch imports much at its first use, which would be on every answer's time.
    """
    for cell in course_cells(lesson_of(task.name).topic):
        for statement in cell.statements:
            if isinstance(statement.node, ast.Import | ast.ImportFrom):
                with contextlib.suppress(Exception):
                    exec(compile(_module(statement.node), "<course>", "exec"), {})
    for given in task.inputs(torch.Generator().manual_seed(0)):
        outcome(task, task.reference, given)
        break
    with torch.enable_grad():
        x = torch.ones(2, 2, requires_grad=True)
        torch.einsum("ij,jk->ik", x, x).softmax(dim=-1).sum().backward()
        torch.optim.AdamW([x]).step()


# -------------------------------------------------------------------------------------------------- the child


def _work(job: dict[str, Any], _: bytes, scratch: str, send: Write) -> None:
    os.chdir(scratch)
    os.umask(0o077)
    os.environ.clear()
    os.environ.update(HOME=scratch, TMPDIR=scratch, MPLBACKEND="agg", OMP_NUM_THREADS="1", GPTLIB_PROGRESS="")
    tempfile.tempdir = scratch
    # The line of an error is read from frames, which are closed here; the report shows the code anyway.
    judging._line_of = lambda *_: ""

    task = exercise(job["exercise"])
    inputs = list(task.inputs(torch.Generator().manual_seed(job["seed"])))
    withheld = Withheld(task, inputs)
    earlier = withheld.earlier(job["right"])
    bare = withheld.bare
    readable = sandbox.readable_folders(course_root() / "data")
    # Where gptlib is installed, the data that answers may read is inside the package that they may not.
    hidden = [str(path) for path in PACKAGE.iterdir() if path.name != "data"]
    hidden += [str(course_root() / name) for name in ("notebooks", "tests", "work", "docs")]
    # torch notes the call stack, with its source, whenever a generator is seeded.
    linecache.clearcache()
    known, update = (str(PACKAGE), "<"), linecache.updatecache
    linecache.updatecache = lambda name, *rest: [] if name.startswith(known) else update(name, *rest)
    refused: list[str] = []
    audit = sandbox.hook(scratch, readable, [*hidden, "gptlib.course"], withheld.guarded, refused)

    def write(kind: bytes, content: bytes) -> None:
        send(kind + len(content).to_bytes(8, "big") + content)

    sandbox.limit(job["together"], job["megabytes"])
    sandbox.fence(scratch, readable)
    sys.addaudithook(audit)

    def work() -> None:
        space = _namespace(earlier)
        try:
            with time_limit(job["seconds"]):
                for source, places in job["before"]:
                    _run(source, places, space)
        except TimeLimit:
            write(
                PROBLEM,
                encode(f"what it needs of the cells above took longer than {job['seconds']:g} seconds"),
            )
            return
        with time_limit(job["seconds"]):
            space.pop(job["name"], None)  # the course's stub, or what it was imported as
            error = _run(*job["cell"], space)
        if job["name"] not in space:
            write(PROBLEM, encode(said(error) if error else f"there is no {job['name']} in it"))
            return
        answer = space[job["name"]]
        if answer is not ... and not callable(answer):
            kind = type(answer).__name__
            write(PROBLEM, encode(f"{job['name']} is a {kind}, and not a function or a class"))
            return
        if withheld.is_it(answer):
            write(PROBLEM, encode(withheld.sentence))
            return
        for given in inputs:
            found = outcome(bare, answer, given, job["seconds"])
            write(OUTCOME, encode_outcome(found))
            if found.late or found.value is ...:
                break
        if refused:
            write(REFUSALS, encode(refused))
        write(DONE, b"")

    try:
        work()
    except TooLarge:
        write(PROBLEM, encode("it gave back more than can be looked at"))
    except BaseException as error:  # also a time limit's, outside of an outcome
        slow = (
            f"its definitions took longer than {job['seconds']:g} seconds; is there a loop that never ends?"
        )
        write(PROBLEM, encode(slow if isinstance(error, TimeLimit) else said(error)))


def _namespace(earlier: dict[str, Callable[..., Any] | None]) -> dict[str, Any]:
    """The globals of a fresh notebook, with a `check` that says with what to go on, and no display."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module

    def check(name: str, answer: Any) -> types.SimpleNamespace:
        reference = earlier.get(name)
        return types.SimpleNamespace(goes_on_with=answer if reference is None else reference)

    module.__dict__.update(check=check, display=_nothing, get_ipython=_Jupyter)
    return module.__dict__


class _Jupyter:
    """Stands for the shell of a notebook: whatever a magic or a shell line asks of it does nothing."""

    def getoutput(self, *_: object, **__: object) -> list[str]:
        return []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return _nothing


def _nothing(*_: object, **__: object) -> None:
    return None


def _run(source: str, places: Sequence[int], space: dict[str, Any]) -> Exception | None:
    """Run some statements of a cell, each on its own; the last error that there was."""
    import __future__

    import warnings

    last, flags = None, 0
    warnings.simplefilter("ignore")
    body = ast.parse(source).body
    for place in places:
        statement = body[place]
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            for alias in statement.names:
                flags |= getattr(getattr(__future__, alias.name, None), "compiler_flag", 0)
        try:
            exec(compile(_module(statement), "<answer>", "exec", flags, dont_inherit=True), space)
        except (Exception, SystemExit) as error:
            last = error if isinstance(error, Exception) else RuntimeError("it called sys.exit")
    return last


def _module(statement: Any) -> Any:
    return ast.Module([statement], [])
