"""The process that runs answers, and is not trusted; and the trusted end that talks to it.

`Runner` starts a fresh Python, the *keeper*, that imports torch and gptlib once and runs nothing of a
student's. For each answer it forks a child, which fences itself in (see `sandbox`), runs the answer on inputs
that it makes from a seed, and writes down what came out. The keeper ends the child and all that the child
started when its time is up. What came out is read with care and judged elsewhere: a child knows no expected
value, so it gains nothing by patching gptlib or `check`, or by forging what it writes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import json
import linecache
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gptlib.course.exercises import Exercise, exercise, lesson_of
from gptlib.course.grading.answers import Answer, course_cells
from gptlib.course.judging import Outcome
from gptlib.places import PACKAGE, course_root

MOST_BYTES = 48 * 2**20  # of all that comes back from one answer
NOT_FOR_ANSWERS = ("gptlib.cli", "gptlib.course", "gptlib.viz")
STUDIES = "gptlib.course.studies"  # of the course's modules those that answers may import
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


@dataclasses.dataclass(frozen=True)
class Ran:
    """What came of an answer.

    outcomes: On the first inputs, in order; fewer than there are inputs if it did not come to an end.
    problem: Why it could not be run at all.
    refused: What it wanted and did not get.
    """

    outcomes: tuple[Outcome, ...] = ()
    problem: str | None = None
    refused: tuple[str, ...] = ()


class Runner:
    """The trusted end. Use it as a context: the keeper ends with it."""

    def __init__(self, limits: Limits | None = None) -> None:
        if not hasattr(os, "fork"):
            raise OSError(
                "grading runs each answer in a forked process, which this system has not; use Linux, macOS, "
                "WSL, or the container in docs/teaching/grading.md"
            )
        self.limits = limits or Limits()
        self._keeper: subprocess.Popen[bytes] | None = None
        self._scratch: str | None = None

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, answer: Answer, seed: int, right: Sequence[str] = ()) -> Ran:
        """Run an answer on the inputs that the seed gives.

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
            **dataclasses.asdict(self.limits),
        }
        try:
            status, data = self._ask(json.dumps(job).encode())
        except (OSError, EOFError, struct.error):
            self.close()
            return Ran((Outcome(problem="it ended the program that runs it"),))
        return _read(status, data, self.limits)

    def close(self) -> None:
        """End the keeper, and all that it runs."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            assert keeper.stdin is not None and keeper.stdout is not None
            with contextlib.suppress(OSError):
                keeper.stdin.close()
            try:
                keeper.wait(timeout=5)
            except subprocess.TimeoutExpired:
                keeper.kill()
                keeper.wait()
            keeper.stdout.close()
        if self._scratch is not None:
            _remove(self._scratch)

    def _ask(self, job: bytes) -> tuple[str, bytes]:
        keeper = self._started()
        assert keeper.stdin is not None and keeper.stdout is not None
        keeper.stdin.write(struct.pack(">Q", len(job)) + job)
        keeper.stdin.flush()
        # The keeper keeps time itself; this is for the case that it was stopped. Imports come first.
        ready, _, _ = select.select([keeper.stdout], [], [], self.limits.together + 120)
        if not ready:
            keeper.kill()
            raise EOFError
        status_length, length = struct.unpack(">QQ", _exactly(keeper.stdout.fileno(), 16))
        answer = _exactly(keeper.stdout.fileno(), status_length + length)
        return answer[:status_length].decode(), answer[status_length:]

    def _started(self) -> subprocess.Popen[bytes]:
        if self._keeper is None:
            self._scratch = os.path.realpath(tempfile.mkdtemp(prefix="gptlib-answers-"))
            kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
            environment = {name: os.environ[name] for name in kept if name in os.environ}
            environment |= {
                "PYTHONPATH": str(PACKAGE.parent),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONUTF8": "1",
                "OMP_NUM_THREADS": "1",
                "MKL_NUM_THREADS": "1",
                "CUDA_VISIBLE_DEVICES": "",
                "GPTLIB_PROGRESS": "",
                "MPLBACKEND": "agg",
                "HOME": self._scratch,
            }
            self._keeper = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "from gptlib.course.grading.runner import keep; keep()",
                    self._scratch,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd=self._scratch,
                start_new_session=True,
                bufsize=0,
            )
        return self._keeper


def _read(status: str, data: bytes, limits: Limits) -> Ran:
    """What the child's bytes and its end say. Nothing in the bytes is trusted."""
    from gptlib.course.grading.wire import decode, decode_outcome

    outcomes: list[Outcome] = []
    problem, refused, done, place = None, (), False, 0
    try:
        while place + 9 <= len(data):
            kind, length = data[place : place + 1], struct.unpack(">Q", data[place + 1 : place + 9])[0]
            content = data[place + 9 : place + 9 + length]
            place += 9 + length
            if len(content) < length:
                break
            if kind == OUTCOME and len(outcomes) < 1000:
                outcomes.append(_on_memory(decode_outcome(content), limits))
            elif kind == PROBLEM:
                problem = str(decode(content))[:500]
            elif kind == REFUSALS:
                refused = tuple(str(what)[:200] for what in list(decode(content))[:20])
            elif kind == DONE:
                done = True
    except (ValueError, TypeError):
        outcomes.append(Outcome(problem="what it wrote for an outcome is none"))
        return Ran(tuple(outcomes), None, refused)
    if problem is None and not done:
        late = status == "late"
        outcomes.append(Outcome(problem=_ending(status, limits), late=late))
    return Ran(tuple(outcomes), problem, refused)


def _ending(status: str, limits: Limits) -> str:
    if status in ("late", "SIGXCPU"):
        return f"it took longer than {limits.together:g} seconds in all; is there a loop that never ends?"
    if status == "large":
        return f"it gave back more than {MOST_BYTES // 2**20} MB"
    if status in ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL"):
        return "it crashed Python; is there a recursion without an end?"
    if status.startswith("SIG"):
        return f"it was ended by a signal ({status}), its own or the system's"
    return "it ended Python instead of returning (os._exit, perhaps)"


def _on_memory(outcome: Outcome, limits: Limits) -> Outcome:
    """torch says at length that memory is short."""
    signs = ("MemoryError", "DefaultCPUAllocator", "can't allocate memory")
    if outcome.problem is None or not any(sign in outcome.problem for sign in signs):
        return outcome
    return Outcome(problem=f"it needs more than the {limits.megabytes:,} MB of memory that an answer gets")


def _exactly(descriptor: int, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        chunk = os.read(descriptor, min(length - len(data), 2**20))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


def _remove(folder: str) -> None:
    # A tree may be too deep even for rmtree.
    with contextlib.suppress(OSError, RecursionError):
        shutil.rmtree(folder, ignore_errors=True)


# ------------------------------------------------------------------------------------------------- the keeper


def keep() -> None:
    """Answer jobs from stdin until it closes. Runs in a process of its own."""
    from gptlib.course.grading import sandbox

    base = sys.argv[1]
    sandbox.adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import_all()
    warm: set[str] = set()
    try:
        while True:
            try:
                job = json.loads(_exactly(0, struct.unpack(">Q", _exactly(0, 8))[0]))
            except EOFError:
                return
            if job["exercise"] not in warm:
                warm.add(job["exercise"])
                _warm_up(exercise(job["exercise"]))
            status, data = _supervised(job, base)
            reply = struct.pack(">QQ", len(status), len(data)) + status.encode() + data
            while reply:
                reply = reply[os.write(1, reply) :]
    finally:
        _remove(base)


def _import_all() -> None:
    """Import before the fork what answers may import: it is slow, and gptlib cannot be read later."""
    import pkgutil

    import torch

    import gptlib
    from gptlib.course import judging  # noqa: F401
    from gptlib.course.grading import wire  # noqa: F401

    torch.set_num_threads(1)
    packages = [module.name for module in pkgutil.iter_modules(gptlib.__path__, "gptlib.") if module.ispkg]
    for name in [*(name for name in packages if name not in NOT_FOR_ANSWERS), STUDIES]:
        for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            importlib.import_module(module.name)
    for name in gptlib.__all__:
        getattr(gptlib, name)  # is imported only when it is asked for


def _warm_up(task: Exercise) -> None:
    """Import what the notebook does; run the reference once, on inputs that no answer is judged by.

    torch imports much at its first use, which would be on every answer's time.
    """
    import ast

    import torch

    from gptlib.course.judging import outcome

    for cell in course_cells(lesson_of(task.name).topic):
        for statement in cell.body or ():
            if isinstance(statement, ast.Import | ast.ImportFrom):
                with contextlib.suppress(Exception):
                    exec(compile(_module(statement), "<course>", "exec"), {})
    for given in task.inputs(torch.Generator().manual_seed(0)):
        outcome(task, task.reference, given)
        break
    with torch.enable_grad():
        x = torch.ones(2, 2, requires_grad=True)
        torch.einsum("ij,jk->ik", x, x).softmax(dim=-1).sum().backward()
        torch.optim.AdamW([x]).step()


def _supervised(job: dict[str, Any], base: str) -> tuple[str, bytes]:
    """Run a job in a child; how that ended ("late", "large", "exit" or a signal), and its bytes."""
    scratch = tempfile.mkdtemp(dir=base)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            _child(job, scratch, writing)
        finally:
            os._exit(70)
    os.close(writing)
    until = time.monotonic() + job["together"] + 2
    data, status = bytearray(), None
    while status is None:
        ready, _, _ = select.select([reading, 0], [], [], max(0, until - time.monotonic()))
        if not ready:
            status = "late"
        elif 0 in ready:
            status = "stop"  # the other end is gone: nobody writes while a job is running
        else:
            chunk = os.read(reading, 2**20)
            data += chunk
            if not chunk:
                break
            if len(data) > MOST_BYTES:
                status = "large"
    os.close(reading)
    ending = _end(child)
    _remove(scratch)
    if status == "stop":
        _remove(base)
        os._exit(0)
    if status is None:
        status = signal.Signals(-ending).name if ending < 0 else "exit"
    return status, bytes(data)


def _end(child: int) -> int:
    """Kill the child, its group, and whatever else came of it; the child's own exit code."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    # Processes that left the group are this one's children by now.
    for _ in range(1000):
        strays = _children()
        for stray in strays:
            with contextlib.suppress(OSError):
                os.kill(stray, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            break
        time.sleep(0.01)
    return code


def _children() -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                yield int(folder.name)


# -------------------------------------------------------------------------------------------------- the child


def _child(job: dict[str, Any], scratch: str, writing: int) -> None:
    import torch

    from gptlib.course import judging
    from gptlib.course.grading import sandbox
    from gptlib.course.grading.wire import TooLarge, encode, encode_outcome
    from gptlib.course.judging import outcome, said
    from gptlib.course.limits import time_limit

    os.setsid()
    sandbox.die_with_parent()
    scratch = os.path.realpath(scratch)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.dup2(writing, 3)
    os.closerange(4, 4096)
    os.chdir(scratch)
    os.umask(0o077)
    os.environ.clear()
    os.environ.update(HOME=scratch, TMPDIR=scratch, MPLBACKEND="agg", OMP_NUM_THREADS="1", GPTLIB_PROGRESS="")
    tempfile.tempdir = scratch
    # The line of an error is read from frames, which are closed here; the report shows the code anyway.
    judging._line_of = lambda *_: ""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

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
    audit = sandbox.hook(scratch, readable, [*hidden, "gptlib.course"], refused)

    def write(kind: bytes, content: bytes, to: Callable[..., int] = os.write) -> None:
        content = kind + len(content).to_bytes(8, "big") + content
        while content:
            content = content[to(3, content) :]

    sandbox.limit(job["together"], job["megabytes"])
    sandbox.fence(scratch, readable)
    sys.addaudithook(audit)

    def work() -> None:
        with time_limit(job["seconds"]):
            space = _namespace(earlier)
            for source, places in job["before"]:
                _run(source, places, space)
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
        late = type(error).__name__ == "TimeLimit"
        slow = (
            f"its definitions took longer than {job['seconds']:g} seconds; is there a loop that never ends?"
        )
        write(PROBLEM, encode(slow if late else said(error)))
    os._exit(0)


def _namespace(earlier: dict[str, Callable[..., Any] | None]) -> dict[str, Any]:
    """The globals of a fresh notebook, with a `check` that says with what to go on."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module

    def check(name: str, answer: Any) -> types.SimpleNamespace:
        reference = earlier.get(name)
        return types.SimpleNamespace(goes_on_with=answer if reference is None else reference)

    module.__dict__["check"] = check
    return module.__dict__


def _run(source: str, places: Sequence[int], space: dict[str, Any]) -> Exception | None:
    """Run some statements of a cell, each on its own; the last error that there was."""
    import __future__

    import ast
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
    import ast

    return ast.Module([statement], [])


class Withheld:
    """An exercise without its solution, for the process in which answers run.

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
