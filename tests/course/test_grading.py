"""The grader against hostile and broken submissions, a class whose grades are known, and a kill.

All is done with the notebook on attention. A submission is the course's notebook with other answers in it.
"""

import contextlib
import csv
import io
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
import types
from pathlib import Path

import pytest

from gptlib.cli.main import main
from gptlib.course.desk.checking import solution
from gptlib.course.exercises import exercise, lesson_of, lessons
from gptlib.course.grading import marking, reports, sandbox, students, withheld
from gptlib.course.grading.answers import find_answer
from gptlib.course.grading.cells import course_cells, read_cell
from gptlib.course.grading.examiner import Examiner
from gptlib.course.grading.grades import Graded, Row
from gptlib.course.grading.keeper import Keeper
from gptlib.course.grading.marking import grade
from gptlib.course.grading.runner import Limits, Runner

ROOT = Path(__file__).resolve().parents[2]
COURSE = json.loads(lessons()["attention"].notebook.read_bytes())
LIMITS = Limits(seconds=1.0, together=2.5, megabytes=400)
POINTS = {"weighted_average": 1, "look_up": 1, "scaled_scores": 2, "entropy": 2}

WEIGHTED = "def weighted_average(weights, values):\n    return weights @ values"
LOOK_UP = "def look_up(query, keys, values):\n    return (keys @ query).softmax(dim=-1) @ values"
SCORES = "def scaled_scores(queries, keys):\n    return queries @ keys.mT / math.sqrt(keys.shape[-1])"
ENTROPY = "def entropy(weights):\n    return torch.special.entr(weights).sum(dim=-1)"
ALL_RIGHT = {"weighted_average": WEIGHTED, "look_up": LOOK_UP, "scaled_scores": SCORES, "entropy": ENTROPY}


def code(source, name="added"):
    return {
        "cell_type": "code",
        "id": name,
        "metadata": {},
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


def notebook(answers=None, change=None):
    """The bytes of the course's notebook with these answers, by function; `change` gets its list of cells."""
    cells = [{**cell, "outputs": []} if "outputs" in cell else dict(cell) for cell in COURSE["cells"]]
    for cell in cells:
        function = cell["id"].removeprefix("answer-attention-")
        if function in (answers or {}):
            cell["source"] = answers[function]
    cells = change(cells) if change else cells
    return json.dumps({**COURSE, "cells": cells}).encode()


def place_of(cells, function):
    return next(k for k, cell in enumerate(cells) if cell["id"] == f"answer-attention-{function}")


def run(folder, out, **options):
    return grade(folder, out, limits=LIMITS, progress=False, **options)


def marks(graded):
    """{student: {function: points}}, without the zeros."""
    return {
        row.name: {
            name.split(".")[1]: points for name in row.answers if (points := graded.points(row, name)) > 0
        }
        for row in graded.rows
    }


# ------------------------------------------------------------------------------------------------ the hostile

HARMED = Path(__file__).resolve().parents[2] / "harmed-by-a-submission.txt"


def body(text):
    """An answer to weighted_average with this body."""
    return "def weighted_average(weights, values):\n" + textwrap.indent(textwrap.dedent(text).strip(), "    ")


# name: (the answer to weighted_average, the points that are right for it, what the report says)
HOSTILE = {
    "syntax error": ("def weighted_average(weights, values):\n    return weights @", 0, "invalid syntax"),
    "indentation": (
        "def weighted_average(weights, values):\nreturn weights @ values",
        0,
        "expected an indented",
    ),
    "null byte": (WEIGHTED + "\0", 0, "Python cannot read the cell"),
    "nested too deep": (
        "def weighted_average(w, v):\n    return " + "-" * 45_000 + "1",
        0,
        "cannot read the cell",
    ),
    "infinite loop": (body("while True: pass"), 0, "longer than 1 seconds"),
    "loop at the top level": ("while True: pass\n" + WEIGHTED, 1, ""),
    "loop in a definition": (
        "class A:\n    while True: pass\n" + WEIGHTED.replace("values)", "values, a=A)", 1),
        0,
        "never ends",
    ),
    "loop in what is not needed": ("class A:\n    while True: pass\n" + WEIGHTED, 1, ""),
    "loop that catches all": (
        body(
            """
            while True:
                try:
                    while True: pass
                except BaseException: pass
            """
        ),
        0,
        "never ends",
    ),
    "sleep": (body("import time; time.sleep(100)"), 0, "longer than 1 seconds"),
    "sys.exit": (body("import sys; sys.exit(0)"), 0, "SystemExit"),
    "sys.exit in the cell": ("import sys\nx = sys.exit(0)\n" + WEIGHTED, 1, ""),
    "os._exit": (body("import os; os._exit(0)"), 0, "ended Python instead of returning"),
    "kills itself": (body("import os; os.kill(os.getpid(), 9)"), 0, "SIGKILL"),
    "kills its parent": (body("import os; os.kill(os.getppid(), 9)"), 0, "os.kill of another process"),
    "kills its group": (body("import os; os.killpg(0, 9)"), 0, "os.killpg"),
    "segmentation fault": (
        body("import sys; sys.setrecursionlimit(10**9)\nf = lambda x: f(x) + [f(x)]\nreturn f(1)"),
        0,
        "",
    ),
    "fork bomb": (body("import os\nwhile True: os.fork()"), 0, "os.fork"),
    "fork bomb, caught": (
        body("import os\nwhile True:\n    try: os.fork()\n    except BaseException: pass"),
        0,
        "longer than",
    ),
    "subprocess": (body(f"import subprocess; subprocess.run(['touch', '{HARMED}'])"), 0, "subprocess.Popen"),
    "os.system": (body(f"import os; os.system('touch {HARMED}')"), 0, "os.system"),
    "memory bomb": (body("x = []\nwhile True: x.append(bytearray(2**28))"), 0, "needs more than the 400 MB"),
    "memory bomb of torch": (
        body("return torch.ones(2**29) @ torch.ones(2**29)"),
        0,
        "needs more than the 400 MB",
    ),
    "threads": (
        body(
            """
            import threading, time
            threads = [threading.Thread(target=time.sleep, args=(1000,)) for _ in range(20)]
            for thread in threads:
                try: thread.start()
                except RuntimeError: pass
            return weights @ values
            """
        ),
        1,
        "",
    ),
    "deletes files": (body(f"import os; os.remove('{ROOT}/README.md')"), 0, "os.remove"),
    "deletes all": (body(f"import shutil; shutil.rmtree('{ROOT}')"), 0, "shutil.rmtree"),
    "writes outside": (body(f"open('{HARMED}', 'w').write('x')"), 0, "writing to"),
    "writes outside by ..": (body(f"import os; open(os.path.relpath('{HARMED}'), 'w')"), 0, "writing to"),
    "writes outside by torch": (body(f"torch.save(weights, '{HARMED}')"), 0, "denied"),
    "writes outside by pathlib": (body(f"import pathlib; pathlib.Path('{HARMED}').touch()"), 0, "writing to"),
    "links": (body("import os; os.symlink('/', 'root')"), 0, "os.symlink"),
    "makes folders": (body(f"import os; os.makedirs('{HARMED}/x')"), 0, "os.mkdir"),
    "writes in its own folder": (body("open('x', 'w').write('x')\nreturn weights @ values"), 1, ""),
    "a large file": (
        body("open('x', 'wb').write(bytes(2**25))\nreturn weights @ values"),
        0,
        "File too large",
    ),
    "many files": (body("for k in range(10**6): open(str(k), 'w')"), 0, "more than 100 files"),
    "many files from C++": (
        body("for k in range(10**6): torch.save(weights, str(k))"),
        0,
        "wrote more than 100 files",
    ),
    "many folders": (body("import os\nfor k in range(10**6): os.mkdir(str(k))"), 0, "more than 100 files"),
    "one folder in another": (
        body("import os\nfor k in range(10**6):\n    os.mkdir('x')\n    os.chdir('x')"),
        0,
        "more than 100 files",
    ),
    "a few files from C++": (
        body("for k in range(5): torch.save(weights, str(k))\nreturn weights @ values"),
        1,
        "",
    ),
    "network": (body("import socket; socket.create_connection(('127.0.0.1', PORT))"), 0, "socket."),
    "network, caught": (
        body(
            """
            import urllib.request
            try: urllib.request.urlopen('http://127.0.0.1:PORT/')
            except Exception: pass
            return weights @ values
            """
        ),
        1,
        "",
    ),
    "prints a lot": (body("for _ in range(1000): print('x' * 10**6)\nreturn weights @ values"), 1, ""),
    "prints to the descriptor": (
        body("import os\nfor _ in range(500): os.write(1, b'x' * 10**6)\nreturn weights @ values"),
        1,
        "",
    ),
    "returns 64 MB": (body("return torch.zeros(2**24)"), 0, "64 MB; at most 32 MB"),
    "returns a huge view": (body("return torch.zeros(1).expand(2**40)"), 0, "4,194,304 MB; at most 32 MB"),
    "returns a nested list": (body("x = []\nfor _ in range(10**5): x = [x]\nreturn x"), 0, ""),
    "returns itself": (body("x = []\nx.append(x)\nreturn x"), 0, "too deep inside one another"),
    "returns a huge number": (body("return 10**400"), 0, "got a whole number of about 400 digits"),
    "returns a huge range": (body("return range(2 * 10**8)"), 0, "got range(0, 200000000)"),
    "patches gptlib": (
        body("import gptlib.model.attention as a\na.attend = lambda *x: 0\nreturn values"),
        0,
        "Expected",
    ),
    "patches torch": (
        body(
            """
            torch.isclose = lambda *a, **k: torch.tensor(True)
            torch.testing.assert_close = lambda *a, **k: None
            torch.Tensor.__eq__ = lambda *a: True
            return values * 0
            """
        ),
        0,
        "xpected",
    ),
    "patches check": (
        body("import gptlib.course.judging as j\nj.difference = lambda *a: None"),
        0,
        "import of gptlib.course",
    ),
    "patches json": (body("import json; json.dumps = lambda *a: '[]'\nreturn values"), 0, "is none"),
    "forges an outcome": (
        body("import os; os.write(3, b'o' + (4).to_bytes(8, 'big') + b'true'); os._exit(0)"),
        0,
        "is none",
    ),
    "claims to be done": (body("import os; os.write(3, b'd' + bytes(8)); os._exit(0)"), 0, ""),
    "reads the course": (
        body(f"return open('{ROOT}/gptlib/course/lessons/attention.py').read()"),
        0,
        "reading",
    ),
    "reads the library": (
        body("import sys; return open(sys.modules['gptlib.model.attention'].__file__).read()"),
        0,
        "reading",
    ),
    "reads the tests": (
        body(f"return open('{ROOT}/tests/course/answers_attention.py').read()"),
        0,
        "reading",
    ),
    "reads by inspect": (
        body("import inspect, gptlib.model.attention as a; return inspect.getsource(a)"),
        0,
        "source code",
    ),
    "reads a secret": (body("return open('/etc/passwd').read()"), 0, "reading /etc/passwd"),
    "reads the environment": (body("import os; return dict(os.environ)"), 0, "xpected"),
    "looks into frames": (
        body("import sys; return sys._getframe(1).f_globals"),
        0,
        "looking into the frames",
    ),
    "looks into a traceback": (
        body("try: 1 / 0\nexcept Exception as e: return e.__traceback__.tb_frame.f_back.f_back"),
        0,
        "looking into the frames",
    ),
    "asks the collector": (body("import gc; return gc.get_objects()"), 0, "gc.get_objects"),
    "ctypes": (body("import ctypes; ctypes.CDLL(None).system(b'true')"), 0, "ctypes"),
    "the lesson's own": (
        "from gptlib.course.lessons.attention import weighted_average",
        0,
        "",
    ),
    "an evil class": (
        body(
            """
            class Evil(torch.Tensor):
                __class__ = torch.Tensor
                def __eq__(self, other): return True
                def __reduce__(self): import os; return os.system, ('true',)
                def __deepcopy__(self, memo): return self
                def __repr__(self): raise SystemExit
                @classmethod
                def __torch_function__(cls, *a, **k): return torch.tensor(True)
            return torch.Tensor._make_subclass(Evil, values)
            """
        ),
        0,
        "xpected",
    ),
    "an evil object": (
        body(
            """
            class Evil:
                __class__ = torch.Tensor
                shape = values.shape
                def __eq__(self, other): return True
                def __getattr__(self, name): return lambda *a, **k: True
                def __repr__(self): raise SystemExit
                def __reduce__(self): import os; return os.system, ('true',)
            return Evil()
            """
        ),
        0,
        "",
    ),
    "an error of its own": (
        body("class E(BaseException):\n    def __str__(self): raise SystemExit\nraise E"),
        0,
        "E",
    ),
    "raises KeyboardInterrupt": (body("raise KeyboardInterrupt"), 0, "KeyboardInterrupt"),
    "recursion": (body("return weighted_average(weights, values)"), 0, "RecursionError"),
    "changes its inputs": (body("weights.mul_(0.5)\nreturn 2 * weights @ values"), 0, "also changes weights"),
    "HTML": (
        "# <script>alert(1)</script>\n" + body("raise ValueError('<script>alert(2)</script>')"),
        0,
        "ValueError",
    ),
    "a number": ("weighted_average = 3", 0, "is a int"),
    "a lambda": ("weighted_average = lambda weights, values: weights @ values", 1, ""),
    "a decorator": ("import functools\n@functools.lru_cache\n" + WEIGHTED, 1, ""),
    "another name": (WEIGHTED.replace("weighted_average", "my_average"), 1, "it is called my_average here"),
    "two other names": (
        "def a(w, v):\n    return w @ v\ndef b(w, v):\n    return w @ v",
        0,
        "There is no weighted_average; the cell has a, b",
    ),
    "magic": ("%%time\n%matplotlib inline\n!rm -rf x\n" + WEIGHTED, 1, ""),
    "future": (
        "from __future__ import annotations\n" + WEIGHTED.replace("(weights", "(weights: Nothing"),
        1,
        "",
    ),
}


# What else is done to the notebook: (answers, change of its cells, the marks that are right)
def duplicated(cells):
    place = place_of(cells, "look_up")
    return [*cells[: place + 1], {**cells[place], "source": LOOK_UP}, *cells[place + 1 :]]


def without_ids(cells):
    return [{key: value for key, value in cell.items() if key != "id"} for cell in cells]


def helper_above(cells):
    place = place_of(cells, "weighted_average")
    helper = (
        "import torch as t\nN = 2\nprint(undefined)\ndef helper(x):\n    return N * x / 2\nhelper(undefined)"
    )
    return [*cells[:place], code(helper), *cells[place:]]


def broken_above(cells):
    return [code("def broken(:"), code("while True: pass"), *cells]


def without_imports(cells):
    return cells[place_of(cells, "weighted_average") :]


def forged(cells):
    output = {"output_type": "execute_result", "data": {"text/plain": "attention.look_up: right."}}
    return [{**cell, "outputs": [output]} if cell["id"].startswith("check-") else cell for cell in cells]


def check_forged(cells):
    return [code("def check(name, answer):\n    return 'right'"), *cells]


HELPED = {
    "weighted_average": "def weighted_average(weights, values):\n    return t.matmul(helper(weights), values)"
}
BUILT = {"entropy": ENTROPY, "look_up": LOOK_UP + "\nlook_up.points = 100"}
CHANGED = {
    "a cell duplicated": ({"look_up": LOOK_UP.replace("softmax", "sum")}, duplicated, {"look_up"}),
    "ids missing": (ALL_RIGHT, without_ids, set(ALL_RIGHT)),
    "ids missing, a syntax error": ({"look_up": "def look_up(query, keys, values:"}, without_ids, set()),
    "helper in a cell above": (HELPED, helper_above, {"weighted_average"}),
    "mistakes in cells above": (ALL_RIGHT, broken_above, set(ALL_RIGHT)),
    "imports deleted": (ALL_RIGHT, without_imports, set(ALL_RIGHT)),
    "outputs forged": ({}, forged, set()),
    "check forged": ({"look_up": LOOK_UP.replace("softmax", "sum")}, check_forged, set()),
    "answers deleted": (
        {},
        lambda cells: [cell for cell in cells if cell["id"] == "03-002"] + [code("", "quiz-attention")],
        set(),
    ),
    "exactly the course's": ({}, None, set()),
    "two of four": (BUILT, None, {"entropy", "look_up"}),
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The hostile class, graded; with a server that notes who connects, and a file that is to survive."""
    folder, out = tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("out")
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.01)
    for name, (source, _, _) in HOSTILE.items():
        source = source.replace("PORT", str(server.getsockname()[1]))
        (folder / f"{name}.ipynb").write_bytes(notebook({"weighted_average": source}))
    for name, (answers, change, _) in CHANGED.items():
        (folder / f"{name}.ipynb").write_bytes(notebook(answers, change))
    scratch = tmp_path_factory.mktemp("scratch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(scratch))
        graded = run(folder, out)
    with pytest.raises(TimeoutError):
        server.accept()
    server.close()
    return graded, out, scratch


def processes_in(scratch):
    """The processes that were started with a folder in this one: it is in the words that called them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.fsencode(scratch) in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_gets_its_marks(hostile, name):
    graded, out, _ = hostile
    _, expected, says = HOSTILE[name]
    row = next(row for row in graded.rows if row.name == name)
    answer = row.answers["attention.weighted_average"]
    assert (graded.points(row, answer.exercise), marks(graded)[name].keys() - {"weighted_average"}) == (
        expected,
        set(),
    ), answer
    assert says in answer.message + " ".join(answer.remarks)
    assert {other.status for other in row.answers.values() if other is not answer} == {"not attempted"}


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_notebook_gets_its_marks(hostile, name):
    graded, _, _ = hostile
    expected = {function: POINTS[function] for function in CHANGED[name][2]}
    row = next(row for row in graded.rows if row.name == name)
    assert marks(graded)[name] == expected, row.answers


def test_the_machine_is_unharmed(hostile):
    assert not HARMED.exists()
    assert (ROOT / "README.md").stat().st_size > 1000
    assert processes_in(hostile[2]) == [] and list(hostile[2].iterdir()) == []


def test_reports_hold_no_markup_of_a_students(hostile):
    graded, out, _ = hostile
    pages = {page.name: page.read_text("utf-8") for page in out.rglob("*.html")}
    assert len(pages) == len(graded.rows) + 2
    assert pages["teacher.html"].count("<script") == 1  # ours, which sorts
    assert "<script" not in "".join(page for name, page in pages.items() if name != "teacher.html")
    assert not any("://" in page.split("<body")[0] for page in pages.values())
    assert any("&lt;script&gt;alert(2)" in page for page in pages.values())


# ------------------------------------------------------------------------------------ the reference, borrowed

FIND = """
    import sys, types
    seen, found = set(), []
    def search(value, depth=0):
        if id(value) in seen or depth > 5:
            return
        seen.add(id(value))
        if isinstance(value, types.FunctionType) and value.__module__ == "__main__":
            return
        if isinstance(value, types.FunctionType):
            if value.__name__ == "causal_mask":
                found.append(value)
            for cell in value.__closure__ or ():
                search(cell.cell_contents, depth + 1)
        elif isinstance(value, dict):
            for held in list(value.values()):
                search(held, depth + 1)
        elif isinstance(value, (list, tuple)):
            for held in value:
                search(held, depth + 1)
        elif type(value).__module__.startswith("gptlib"):
            search(getattr(value, "__dict__", {}), depth + 1)
"""
USE = """
    for function in found:
        try:
            return function(n)
        except RuntimeError as error:
            refusal = error
    raise refusal
"""
# Ways to the course's own causal_mask; all are bodies of causal_mask(n).
BORROWED = {
    "the module": "import gptlib.model.masks as masks\nreturn masks.causal_mask(n)",
    "sys.modules": "import sys\nreturn sys.modules['gptlib.model.masks'].causal_mask(n)",
    "a closure": FIND + "    search(sys.modules['gptlib.model.masks'].causal_mask)" + USE,
    "all modules": FIND
    + "    for name in list(sys.modules):\n        if name.startswith('gptlib'):\n"
    + "            search(vars(sys.modules[name]))"
    + USE,
    "frames by traceback": FIND
    + "    import traceback\n    for frame, _ in traceback.walk_stack(None):\n"
    + "        search(frame.f_locals)\n        search(frame.f_globals)"
    + USE,
    "frames by logging": FIND
    + "    import logging\n    frame = logging.currentframe()\n    while frame:\n"
    + "        search(frame.f_locals)\n        search(frame.f_globals)\n        frame = frame.f_back"
    + USE,
    "frames by a signal": FIND
    + """
    import os, signal
    def handler(_, frame):
        while frame:
            search(frame.f_locals)
            search(frame.f_globals)
            frame = frame.f_back
    signal.signal(signal.SIGUSR1, handler)
    os.kill(os.getpid(), signal.SIGUSR1)
    for _ in range(1000): pass
    """
    + USE,
    "a trace function": FIND
    + "    def look(frame, *_):\n        search(frame.f_back.f_locals)\n    sys.settrace(look)\n"
    + "    (lambda: 0)()"
    + USE,
    "a profile function": FIND
    + "    def look(frame, *_):\n        search(frame.f_back.f_locals)\n    sys.setprofile(look)\n"
    + "    (lambda: 0)()"
    + USE,
    "a partial": "import functools, gptlib.model.masks as m\nreturn functools.partial(m.causal_mask, n)()",
    "a map": "import gptlib.model.masks as masks\nreturn next(map(masks.causal_mask, [n]))",
    "its code": "import types, gptlib.model.masks as masks\nreturn types.FunctionType("
    "masks.causal_mask.__code__, vars(masks))(n)",
    "another's code": "import gptlib.model.masks as masks\n"
    "masks.causal_mask.__code__ = (lambda n: None).__code__\nreturn masks.causal_mask(n)",
    "the caller's file": "import gptlib.model.masks as masks\n"
    "code = compile('made = causal_mask(n)', masks.__file__, 'exec')\n"
    "space = {**vars(masks), 'n': n}\nexec(code, space)\nreturn space['made']",
}


def indented(body):
    return textwrap.indent(textwrap.dedent(body if body[0] != "\n" else body).strip("\n"), "    ")


@pytest.fixture(scope="module")
def borrowed():
    """What is said of answers that borrow."""
    task = exercise("attention.causal_mask")
    course = course_cells(lesson_of(task.name).topic)
    limits = Limits(seconds=30.0, together=60.0)  # a search takes its time
    with Runner(limits) as runner, Examiner(limits) as examiner:

        def said(text):
            answer = read_cell(task.id_of_cell("answer"), f"def causal_mask(n):\n{indented(text)}")
            assert not answer.problem, answer.problem
            cells = [answer if cell.id == answer.id else cell for cell in course]
            return examiner.judge(task.name, 7, runner.run(find_answer(task, cells, course), 7))

        yield said


@pytest.mark.parametrize("way", BORROWED)
def test_the_reference_cannot_be_borrowed(borrowed, way):
    found = borrowed(BORROWED[way])
    assert found.status == "not yet", found
    assert found.refused or "comes from gptlib" in found.message, found


def test_a_method_cannot_be_borrowed_by_its_class():
    task = exercise("heads.MultiHeadAttention")
    course = course_cells(lesson_of(task.name).topic)
    text = """
    def forward(self, x):
        for other in nn.Module.__subclasses__():
            if other.__name__ == "MultiHeadAttention" and "course" in other.__module__:
                return other.forward(self, x)
    """
    source = solution(task).partition("    def forward(")[0] + textwrap.indent(textwrap.dedent(text), "    ")
    answer = read_cell(task.id_of_cell("answer"), "from torch import nn\n" + source)
    cells = [answer if cell.id == answer.id else cell for cell in course]
    with Runner(LIMITS) as runner, Examiner(LIMITS) as examiner:
        found = examiner.judge(task.name, 7, runner.run(find_answer(task, cells, course), 7))
    assert found.status == "not yet" and "comes from gptlib" in found.message, found


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("modern.window_mask", "from gptlib.model.masks import sliding_window_mask as window_mask"),
        ("costs.cache_bytes", "from gptlib.scaling.costs import cache_memory as cache_bytes"),
    ],
)
def test_what_the_reference_only_passes_on_is_said_to_be_the_librarys(name, line):
    """Here alone `check`, which sees that it is right and not whose it is, says something else."""
    task = exercise(name)
    course = course_cells(lesson_of(name).topic)
    answer = read_cell(task.id_of_cell("answer"), line)
    cells = [answer if cell.id == answer.id else cell for cell in course]
    with Runner(LIMITS) as runner, Examiner(LIMITS) as examiner:
        found = examiner.judge(name, 7, runner.run(find_answer(task, cells, course), 7))
    assert found.status == "not yet" and "comes from gptlib; this exercise asks for your own" in found.message


def test_every_reference_can_be_guarded():
    for lesson in lessons().values():
        for task in lesson.exercises:
            for original in [task.reference, *withheld._wrapped(task.reference)]:
                assert withheld._functions(original), task.name
                for function in withheld._functions(original):
                    code, around = function.__code__, function.__closure__
                    copy = types.FunctionType(code, function.__globals__, closure=around)
                    withheld.guard(copy, print)
                    assert print in copy.__code__.co_consts
                    assert copy.__code__.co_freevars == code.co_freevars


# -------------------------------------------------------------------------------- grading itself, in trouble


def class_of(folder, **answers):
    folder.mkdir()
    for name, given in answers.items():
        contents = given if isinstance(given, bytes) else notebook(given)
        (folder / f"{name}.ipynb").write_bytes(contents)
    return folder


def forging(kind, content, more=0):
    """An answer that writes a message itself, with so many more bytes of 0, and ends."""
    data = kind + struct.pack(">Q", len(content) + more) + content
    return body(f"import os; os.write(3, {data!r} + bytes({more})); os._exit(0)")


def tree(of):
    text = json.dumps(of).encode()
    return struct.pack(">Q", len(text)) + text


def test_nothing_that_is_handed_in_stops_slows_or_swells_the_grading(tmp_path):
    bombs = {
        "forged range": forging(b"r", tree(["range", ["0x0", hex(10**9), "0x1"]])),
        "forged int": forging(b"o", tree(["int", hex(2**80_000)])),
        "forged tree": forging(b"o", struct.pack(">Q", 2**40)),
        "forged bytes": forging(b"p", tree(["list", [["bytes", 0, 2**18]] * 900]), more=2**18),
    }
    names = ", ".join("a" * 10_000)
    cells = [code(f"({names})", f"bomb-{k}") for k in range(100)]
    files = {name: {"weighted_average": answer, "entropy": ENTROPY} for name, answer in bombs.items()}
    files |= {
        "many names": notebook(ALL_RIGHT, lambda found: [*cells, *found]),
        "one long cell": notebook(ALL_RIGHT, lambda found: [code(f"({names * 2})"), *found]),
        "deep": notebook({**ALL_RIGHT, "entropy": ENTROPY.replace("weights)", "(" * 5000 + "weights)")}),
        "a tower": b'{"cells": ' + b"[[]," * 4_000_000 + b"[]",
        "much of nothing": b'{"cells": [' + b"[]," * 6_000_000 + b"[]]}",
        "ada": ALL_RIGHT,
    }
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    graded = run(class_of(tmp_path / "handed in", **files), tmp_path / "out")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    rows = {row.name: row for row in graded.rows}
    for name in bombs:
        assert marks(graded)[name] == {"entropy": 2}, rows[name]
    assert marks(graded)["ada"] == marks(graded)["one long cell"] == POINTS
    assert marks(graded)["deep"] == {name: POINTS[name] for name in POINTS if name != "entropy"}
    remarks = {name: " ".join(row.remarks) for name, row in rows.items()}
    assert "more than 500,000 characters of code" in remarks["many names"]
    assert "damaged" in remarks["a tower"]
    assert remarks["much of nothing"]
    assert (tmp_path / "out" / "class.html").exists() and grown < 200_000  # kB


@pytest.mark.parametrize("part", [Runner, Examiner])
def test_where_grading_itself_fails_one_answer_could_not_be_judged(part, tmp_path, monkeypatch):
    """Whatever it is that fails: here it is put there."""
    method = {Runner: "run", Examiner: "judge"}[part]
    works = getattr(part, method)

    def fails(self, answer, *rest):
        if "look_up" in getattr(answer, "exercise", answer):
            raise ArithmeticError("a case that nobody thought of")
        return works(self, answer, *rest)

    monkeypatch.setattr(part, method, fails)
    folder, out = class_of(tmp_path / "handed in", ada=ALL_RIGHT, bob=ALL_RIGHT), tmp_path / "out"
    graded = run(folder, out)
    for row in graded.rows:
        answer = row.answers["attention.look_up"]
        assert (answer.status, graded.points(row, answer.exercise)) == ("could not be judged", 0)
        assert "because ArithmeticError: a case that nobody thought of" in " ".join(reports.remarks_on(row))
        assert marks(graded)[row.name].keys() == POINTS.keys() - {"look_up"}
    page = next((out / "students").glob("ada-*.html")).read_text("utf-8")
    assert "could not be judged" in page and "ArithmeticError" not in page
    monkeypatch.undo()
    again = run(folder, out)  # which tries it again
    assert [again.total(row) for row in again.rows] == [6, 6]


def test_a_process_that_is_lost_costs_what_it_was_doing_and_no_more(tmp_path, monkeypatch):
    asked = Keeper.ask
    calls = []

    def ask(self, job, contents=b""):
        calls.append(job)
        if len(calls) in (2, 6):
            self._started().kill()
        return asked(self, job, contents)

    monkeypatch.setattr(Keeper, "ask", ask)
    graded = run(class_of(tmp_path / "handed in", ada=ALL_RIGHT, bob=ALL_RIGHT), tmp_path / "out", jobs=1)
    rows = {row.name: row for row in graded.rows}
    assert "did not come to an end (lost)" in rows["bob"].remarks[0]  # the second thing that was read
    statuses = [answer.status for answer in rows["ada"].answers.values()]
    assert statuses.count("right") == 3 and set(statuses) - {"right"} <= {"not yet", "could not be judged"}


# ---------------------------------------------------------------------------------------------------- a class


def test_a_class_gets_the_grades_that_are_known(tmp_path):
    from benchmarks.grading import make_class

    folder, out = tmp_path / "handed in", tmp_path / "out"
    folder.mkdir()
    expected = make_class(folder, 10, seed=1)
    graded = run(folder, out, jobs=1)
    for row in graded.rows:
        got = {
            name.split(".")[1]: (graded.points(row, name), answer.misconception)
            for name, answer in row.answers.items()
        }
        assert got == expected[row.name]
    rows = list(csv.DictReader(io.StringIO((out / "grades.csv").read_text("utf-8-sig"))))
    assert {row["student"]: float(row["total"]) for row in rows} == {
        name: sum(points for points, _ in answers.values()) for name, answers in expected.items()
    }
    page = (out / "class.html").read_text("utf-8").replace("<wbr>", "")
    shown = [why for answers in expected.values() for _, why in answers.values() if why]
    assert all(f"({why})" in page for why in shown)
    assert "<code>keys.transpose(-2, -1)</code>" in page and "solved</th>" in page


def test_a_run_that_was_killed_goes_on(tmp_path, monkeypatch):
    folder, out = tmp_path / "handed in", tmp_path / "out"
    folder.mkdir()
    for number in range(5):
        slow = body(f"import time; time.sleep(0.3)\nreturn weights @ values * {number % 2}")
        (folder / f"student {number}.ipynb").write_bytes(notebook({"weighted_average": slow}))
    command = [sys.executable, "-m", "gptlib", "grade", str(folder), "--out", str(out), "--jobs", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
    until = time.monotonic() + 240
    while len(list(out.glob("results/student*"))) < 2 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("results/student*")}
    assert 2 <= len(kept) < 5 and not (out / "grades.csv").exists()
    graded = grade(folder, out, jobs=1, progress=False)
    assert {name: (out / "results" / name).stat().st_mtime_ns for name in kept} == kept
    assert [graded.total(row) for row in graded.rows] == [0, 1, 0, 1, 0]

    def run_again(*_):
        raise AssertionError("nothing is new")

    monkeypatch.setattr(marking._Grader, "_graded", run_again)
    again = grade(folder, out, progress=False)
    assert [graded.total(row) for row in again.rows] == [0, 1, 0, 1, 0]
    (tmp_path / "rubric.json").write_text('{"attention.weighted_average": {"points": 5}}')
    priced = grade(folder, out, tmp_path / "rubric.json", progress=False)
    assert [priced.total(row) for row in priced.rows] == [0, 5, 0, 5, 0]


def test_what_the_teacher_wrote_survives_a_new_run_and_one_student_is_graded_again(tmp_path, monkeypatch):
    folder, out = class_of(tmp_path / "handed in", ada=ALL_RIGHT, bob={"look_up": LOOK_UP}), tmp_path / "out"
    with pytest.raises(ValueError, match="since is .*, where nothing was graded; give the --out"):
        run(folder, out, since=tmp_path)
    run(folder, out)
    table = out / "by_hand.csv"
    assert table.read_text("utf-8-sig") == "student,exercise,points,comment\n"
    table.write_text(table.read_text("utf-8-sig") + "bob,attention.entropy,1.5,you were near\nada,,-1,late\n")
    mine, judged = table.read_bytes(), []
    (out / "results" / "history.json").write_text(json.dumps([LAST_TERM]))
    judge = Examiner.judge
    monkeypatch.delattr(Examiner, "read")  # as nothing is new
    monkeypatch.setattr(Examiner, "judge", lambda *given: judged.append(given[1]) or judge(*given))
    graded = run(folder, out, again=["Bob"], since=out)
    assert [graded.total(row) for row in graded.rows] == [5, 2.5] and judged == ["attention.look_up"]
    assert table.read_bytes() == mine
    assert "you were near" in next((out / "students").glob("bob-*.html")).read_text("utf-8")
    assert "the last time solved by 3 of 4 (75%)" in (out / "class.html").read_text("utf-8")
    table.write_text("student,exercise,points,comment\nBobby,,1,\n")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="by_hand.csv, row 2: there is no student 'Bobby'; there is 'bob'"):
        run(folder, out)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


LAST_TERM = {
    "when": "2026-05-01",
    "counts": {"attention.look_up": {"handed_in": 4, "right": 3, "misconceptions": {}}},
}


def test_in_ci_the_exit_status_says_whether_all_points_were_reached(tmp_path, capsys):
    where, rubric = tmp_path / "04_attention.ipynb", tmp_path / "rubric.json"
    where.write_bytes(notebook({**ALL_RIGHT, "entropy": "def entropy(weights):\n    return 0"}))
    command = ["grade", str(where), "--out", str(tmp_path / "out"), "--ci"]
    assert main(command) == 1
    said = capsys.readouterr().out
    assert "✓ attention.look_up: 1 of 1\n    right" in said and said.endswith("\n4 of 6 points\n")
    assert "✗ attention.entropy: 0 of 2\n    not yet. " in said
    rubric.write_text('{"attention.entropy": {"points": 0}}')
    assert main([*command, "--rubric", str(rubric)]) == 0
    assert capsys.readouterr().out.endswith("\n4 of 4 points\n")


def test_of_two_notebooks_that_are_the_same_both_are_said():
    rows = [Row(name) for name in ("Ada", "Bob")]
    file = students.File(("x",), digest="same")
    for row in rows:
        for task in (*lessons()["attention"].exercises, *lessons()["many_heads"].exercises):
            row.answers[task.name] = Graded(task.name, "right", "", source="x")
    marking._mark_identical(rows, {row.name: ({"attention": file, "many_heads": file}, []) for row in rows})
    assert rows[0].alike == [f"{topic}: the same file as Bob" for topic in ("attention", "many_heads")]


def test_python_may_be_reached_by_a_link(tmp_path, monkeypatch):
    """A `.venv` that is a link: torch's own files are read by that name."""
    (tmp_path / "real").mkdir()
    (tmp_path / ".venv").symlink_to(tmp_path / "real")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    readable = sandbox.readable_folders(tmp_path)
    assert {str(tmp_path / ".venv"), str(tmp_path / "real")} <= set(readable)


LONG_ENTROPY = body("# as I see it, 0 counts as 0, and so the logarithm of it is left out\nreturn 0").replace(
    "weighted_average(weights, values)", "entropy(weights)"
)
LONG_LOOK_UP = body("# every key gets a score, and the scores of all keys become weights\nreturn 0").replace(
    "weighted_average(weights, values)", "look_up(query, keys, values)"
)


def test_what_is_identical_and_what_is_broken_is_said(tmp_path):
    folder, out = tmp_path / "handed in", tmp_path / "out"
    folder.mkdir()
    same = notebook({"entropy": LONG_ENTROPY, "look_up": LONG_LOOK_UP})
    short = notebook({"weighted_average": WEIGHTED, "look_up": LOOK_UP})
    files = {
        "Ada.ipynb": same,
        "Bob/04_attention.ipynb": same.replace(b"The question", b"the question"),
        "Cy/work/04_attention.ipynb": short,
        "Dee/04_attention.ipynb": short + b"\n",
        "Eve/04_attention.ipynb": notebook(),
        "Eve/.ipynb_checkpoints/04_attention-checkpoint.ipynb": same,
        "Flo.ipynb": notebook(),
        "=cmd|' ‮calc'!A1.ipynb": b"",
        "broken.ipynb": same[:-50],
        "words.ipynb": b"I have lost my notebook",
        "list.ipynb": b"[1, 2]",
        "deep.ipynb": b'{"cells": ' + b"[" * 100_000,
        "odd.ipynb": json.dumps({"cells": [1, {}, {"cell_type": "code", "source": 5, "id": {}}]}).encode(),
        "empty folder/x/.hidden": b"",
    }
    for name, contents in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(contents)
    graded = run(folder, out, jobs=1)
    rows = {row.name: row for row in graded.rows}
    remarks = {name: " ".join(reports.remarks_on(row)) for name, row in rows.items()}
    assert "the same answers as Bob" in remarks["Ada"] and "the same answers as Ada" in remarks["Bob"]
    assert remarks["Cy"] == remarks["Dee"] == remarks["Eve"] == remarks["Flo"] == ""
    assert graded.total(rows["Cy"]) == graded.total(rows["Dee"]) == 2
    assert "the file is empty" in remarks["=cmd|' �calc'!A1"]
    assert "damaged" in remarks["broken"] and "damaged" in remarks["deep"]
    assert "no notebook" in remarks["words"] and "no notebook" in remarks["list"]
    assert "cannot be told" in remarks["odd"]
    assert "empty" in remarks["empty folder"]
    assert len(rows) == 13
    theirs = next((out / "students").glob("Ada-*.html")).read_text("utf-8")
    assert "Bob" not in theirs, "whose answers are the same is for the teacher alone"
    assert "the same answers as Bob" in (out / "teacher.html").read_text("utf-8")
    table = (out / "grades.csv").read_text("utf-8-sig")
    assert "\"'=cmd|" in table and '\n"=' not in table


def test_what_cannot_be_graded_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder or zip"):
        run(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="is empty"):
        run(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ValueError, match="jobs is .*; it needs to be at least 1"):
        run(tmp_path / "empty", tmp_path / "out", jobs=0)


def test_a_hint_that_shows_a_solution_gets_full_marks():
    """Of every lesson: what its exercises use and get as inputs works in the process where answers run."""
    imports = (
        "from __future__ import annotations\nimport math\nimport torch\nimport torch.nn.functional as F\n"
    )
    imports += "from torch import nn\n"
    limits, refused = Limits(seconds=20.0, together=60.0), {}
    with Runner(limits) as runner, Examiner(limits) as examiner:
        for each in lessons().values():
            course = course_cells(each.topic)
            for task in each.exercises:
                answer = read_cell(task.id_of_cell("answer"), imports + solution(task))
                cells = [answer if cell.id == answer.id else cell for cell in course]
                judged = examiner.judge(task.name, 1234, runner.run(find_answer(task, cells, course), 1234))
                if judged.status != "right":
                    refused[task.name] = judged.message
                assert judged.refused == ()
    assert refused == {}
