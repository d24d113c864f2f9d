"""The package: what it declares, what its wheel holds, and what an install does far from any checkout."""

import ast
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections import defaultdict
from functools import cache
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gptlib
from gptlib.course.desk.checking import solution
from gptlib.course.desk.workbooks import serialize
from gptlib.course.exercises import exercise
from gptlib.course.prose import find_notebook
from gptlib.course.site.colab import Repository, colab_copy, set_up
from gptlib.extras import MODULES, MissingExtra, need

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOT_IMPORTED = {"jupyterlab"}  # by gptlib itself: a program


# ------------------------------------------------------------------------------- what is imported is declared


@cache
def declared(extra=""):
    """The distributions that pyproject.toml names for the library, and for an extra and the extras in it."""
    found = set()
    waiting = [PROJECT["dependencies"], *([PROJECT["optional-dependencies"][extra]] if extra else [])]
    for lines in waiting:
        for line in map(Requirement, lines):
            if line.name == "gptlib":
                waiting += [PROJECT["optional-dependencies"][extra] for extra in line.extras]
            else:
                found.add(canonicalize_name(line.name))
    return found


distributions = cache(metadata.packages_distributions)


def imports(source):
    """For each import of a module that is neither Python's nor gptlib's: the module, the distribution that it
    is from, and the statements around it, from the inside out.
    """

    def walk(node, around):
        names = []
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        for name in {name.split(".")[0] for name in names}:
            if name not in sys.stdlib_module_names and name != "gptlib":
                yield name, canonicalize_name(distributions().get(name, [name])[0]), around
        for child in ast.iter_child_nodes(node):
            yield from walk(child, (node, *around))

    return walk(ast.parse(source), ())


def asks_first(around, extra):
    """Whether an import stands where its absence is expected: after need(extra), or in a try."""
    functions = [node for node in around if isinstance(node, ast.FunctionDef)]
    if any(f"need({extra!r})" in map(ast.unparse, ast.walk(function)) for function in functions):
        return True
    handlers = [handler for node in around if isinstance(node, ast.Try) for handler in node.handlers]
    return any(ast.unparse(handler.type) == "ImportError" for handler in handlers)


def test_the_library_imports_what_it_declares_and_declares_what_it_imports():
    used, modules = defaultdict(set), defaultdict(set)
    for path in sorted((ROOT / "gptlib").rglob("*.py")):
        area = path.relative_to(ROOT / "gptlib").parts[0]
        areas = {"viz": ["viz"], "course": ["viz", "course"]}.get(area, [])
        for name, distribution, around in imports(path.read_text(encoding="utf-8")):
            allowed = ["", *areas, *(extra for extra in MODULES if asks_first(around, extra))]
            owners = [extra for extra in allowed if distribution in declared(extra)]
            assert owners, f"{path.relative_to(ROOT)} imports {name}"
            used[owners[0]].add(distribution)
            modules[owners[0]].add(name)
    assert used[""] == declared()
    assert used["viz"] | declared() == declared("viz")
    assert used["hub"] | declared() == declared("hub")
    assert used["course"] | NOT_IMPORTED | declared("viz") | declared("hub") == declared("course")
    for extra, names in MODULES.items():
        assert set(names) == modules[extra] - ({"psutil"} if extra == "course" else set())


def test_tests_and_notebooks_import_what_is_declared():
    files = [ROOT / "conftest.py", ROOT / "notebooks" / "execute.py", *(ROOT / "tests").rglob("*.py")]
    own = {path.stem for path in [*files, *(ROOT / "benchmarks").glob("*.py")]} | {"notebooks", "benchmarks"}
    sources = {path: path.read_text(encoding="utf-8") for path in files}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        sources[path] = "\n".join(line for cell in cells for line in cell.split("\n") if line[:1] not in "%!")
    for path, source in sources.items():
        allowed = declared("course" if path.suffix == ".ipynb" else "test")
        for name, distribution, _ in imports(source):
            assert name in own or distribution in allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_one_module_knows_where_the_course_is():
    """Everybody else asks gptlib.places; a module may name files of its own package beside it."""
    for path in (ROOT / "gptlib").rglob("*.py"):
        upwards = re.search(r"__file__\).*\.parent(s|\.parent)\b", path.read_text(encoding="utf-8"))
        assert not upwards, f"{path.relative_to(ROOT)}: {upwards[0]}"


def test_a_missing_extra_is_one_sentence(monkeypatch):
    need("viz")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"^matplotlib is missing; `pip install \"gptlib\[viz\]\"` brings"):
        need("viz")


# -------------------------------------------------------------------------------------------------- the wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    (path,) = folder.glob("*.whl")
    yield path
    shutil.rmtree(folder)  # pytest would keep those of the last three runs


def pip(*arguments):
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--quiet", "--no-index"]
    subprocess.run(command, check=True, cwd="/")


def test_the_wheel_holds_the_course(wheel):
    wanted = set()
    for path in [
        *(ROOT / "gptlib").rglob("*"),
        *(ROOT / "data").rglob("*"),
        *(ROOT / "notebooks").glob("*.ipynb"),
    ]:
        name = path.relative_to(ROOT).as_posix()
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.parts):
            wanted.add(name if name.startswith("gptlib/") else f"gptlib/{name}")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert {name for name in held if ".dist-info/" not in name} == wanted
    kinds = ("/py.typed", ".js", ".css", ".html", ".ipynb", ".safetensors", "SHA256SUMS", "reveal/LICENSE")
    assert all(any(name.endswith(kind) for name in held) for kind in kinds)
    assert f"gptlib-{gptlib.__version__}.dist-info/licenses/LICENSE" in held


def test_what_the_wheel_says_of_itself(wheel):
    with zipfile.ZipFile(wheel) as archive:
        said = archive.read(f"gptlib-{gptlib.__version__}.dist-info/METADATA").decode()
    fields = metadata.PathDistribution(
        zipfile.Path(wheel, f"gptlib-{gptlib.__version__}.dist-info/")
    ).metadata
    assert fields["Version"] == gptlib.__version__
    assert fields["License-Expression"] == "MIT" and fields["Requires-Python"] == ">=3.10"
    assert said.endswith((ROOT / "README.md").read_text(encoding="utf-8"))
    for line in map(Requirement, fields.get_all("Requires-Dist")):
        assert {each.operator for each in line.specifier} == {">="}, f"{line} is more than a lower bound"
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## {gptlib.__version__}\n" in changes


# ----------------------------------------------------------------------------------------------- the installs


class Install:
    """An environment that holds the wheel, and of everything else what the wheel asks for: no more."""

    def __init__(self, folder, wheel, extra=""):
        venv.create(folder, symlinks=True)
        self.bin = folder / "bin"
        pip("--python", self.bin / "python", "install", "--no-deps", wheel)
        (self.site,) = folder.glob("lib/python*/site-packages")
        (own,) = self.site.glob("gptlib-*.dist-info")
        self.bring(metadata.Distribution.at(own), extra)

    def bring(self, distribution, extra=""):
        """Link what a distribution asks for, from here."""
        seen, waiting = set(), [(distribution, extra)]
        for distribution, chosen in waiting:
            for line in map(Requirement, distribution.requires or []):
                for each in line.extras or {""}:
                    if (not line.marker or line.marker.evaluate({"extra": chosen})) and (
                        line.name,
                        each,
                    ) not in seen:
                        seen.add((line.name, each))
                        waiting.append((metadata.distribution(line.name), each))
        for distribution, _ in waiting[1:]:
            self.link(distribution)

    def link(self, distribution):
        for name in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (self.site / name).exists():
                (self.site / name).symlink_to(Path(distribution.locate_file(name)).resolve())

    def run(self, folder, *command, status=0, environment=None):
        """What a command of this environment prints; on stderr, if it is to fail."""
        environment = {
            **os.environ,
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT / "tests" / "offline"),
            **(environment or {}),
        }
        del environment["GPTLIB_PROGRESS"]
        program = [str(self.bin / command[0]), *map(str, command[1:])]
        done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stderr if status else done.stdout


@pytest.fixture(scope="session")
def plain(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    yield Install(folder, wheel)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def whole(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    yield Install(folder, wheel, "course")
    shutil.rmtree(folder)


IN_PROCESS = """
import contextlib, io

from gptlib.cli.main import main

def shell(line, status=0):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as error:
        assert main(line.split()) == status, (line, error.getvalue())
    return error.getvalue() if status else out.getvalue()
"""


def test_the_library_alone(plain, tmp_path):
    """The core works, and whatever belongs to an extra says which, in one sentence."""
    (tmp_path / "book.txt").write_text("The cat sat on the mat, and the dog saw it.\n" * 100)
    script = """
from pathlib import Path

import gptlib
from gptlib import generate, load
from gptlib.extras import MissingExtra
from gptlib.places import way_back

assert way_back("data").startswith("`pip install")  # there is no git to ask
assert gptlib.__file__.startswith(str(SITE))
text = generate(*load("storyteller"), "Once upon a time", max_new_tokens=12, temperature=0)
assert text.startswith("Once upon a time") and len(text) > 30, text

size = "--n-layers 1 --n-heads 2 --d-model 16 --context-length 16 --vocab-size 264"
shell(f"train --corpus book.txt --folder run --steps 2 {size}")
assert shell("generate --model run --prompt The --max-new-tokens 4").startswith("The")

for extra, wish in (
    ("viz", "import gptlib.viz"),
    ("viz", "from gptlib.viz.figures import bar_chart"),
    ("course", "from gptlib.course import check"),
    ("hub", "from gptlib.formats.hub import fetch; fetch('gpt2')"),
):
    try:
        exec(wish)
    except MissingExtra as error:
        assert str(error).endswith(f'missing; `pip install "gptlib[{extra}]"` brings what is needed'), error
    else:
        raise AssertionError(f"{wish}: nothing was missing")
(line,) = shell("start", status=2).splitlines()
assert '`pip install "gptlib[course]"`' in line
assert not Path("work").exists()
"""
    plain.run(tmp_path, "python", "-c", IN_PROCESS + script.replace("SITE", repr(str(plain.site))))
    assert plain.run(tmp_path, "gptlib", "doctor").endswith("All is well.\n")


def test_the_library_with_pictures_and_the_course(whole, tmp_path):
    script = """
import json
import os
from pathlib import Path

import gptlib
from gptlib import generate, load
from gptlib.course import check
from gptlib.viz import AttentionExplorer, figures

root = Path(gptlib.__file__).parent
assert root == Path(SITE, "gptlib")
AttentionExplorer(*load("storyteller"), "Nora took a red kite, and").to_html("page.html")
assert "<html" in Path("page.html").read_text(encoding="utf-8")
figures.bar_chart(["a", "b"], [1.0, 2.0]).save("bars.png")
assert Path("bars.png").read_bytes().startswith(b"\\x89PNG")

notebooks = sorted((root / "notebooks").glob("*.ipynb"))
shell("start")
for path in notebooks:
    copy, saved = (json.loads(each.read_bytes()) for each in (Path("work") / path.name, path))
    assert [cell["source"] for cell in copy["cells"]] == [cell["source"] for cell in saved["cells"]]
    assert not any(cell.get("outputs") for cell in copy["cells"])
assert check("attention.weighted_average", lambda weights, values: weights @ values).status == "right"
assert "weighted_average" in Path("work", "progress.json").read_text(encoding="utf-8")
os.chdir("work/.course")  # from wherever the reader is in there
assert shell("update 00 02").count("is up to date") == 2
os.chdir("../..")
assert shell("generate --prompt Once --max-new-tokens 8 --seed 0").startswith("Once")
(notebook,) = (root / "notebooks").glob("[0-9][0-9]_attention.ipynb")
shell(f"slides {notebook.name[:2]}")
assert "<math" in Path("slides", f"{notebook.stem}.html").read_text(encoding="utf-8")
assert "from a checkout" in shell("glossary", status=2)
"""
    whole.run(tmp_path, "python", "-c", IN_PROCESS + script.replace("SITE", repr(str(whole.site))))
    assert "start" in whole.run(tmp_path, "python", "-m", "gptlib", "--help")
    assert whole.run(tmp_path, "gptlib", "doctor").endswith("All is well.\n")


def without_caches(file):
    return None if "__pycache__" in file.name else file


def test_the_first_cell_of_a_copy_for_colab_brings_the_course(wheel, tmp_path):
    """Where all packages are but the course: it comes from an archive, and then the notebook runs."""
    bare = Install(tmp_path / "venv", wheel, "course")
    for path in bare.site.glob("gptlib*"):
        shutil.rmtree(path)
    for name in ("pip", "hatchling"):
        bare.bring(metadata.distribution(name))
        bare.link(metadata.distribution(name))
    archive = tmp_path / "gpt-1.0.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as file:
        for name in ("pyproject.toml", "README.md", "LICENSE", "gptlib", "data", "notebooks"):
            file.add(ROOT / name, f"gpt-1.0/{name}", filter=without_caches)
    copy = colab_copy(find_notebook("welcome"), Repository("ada/gpt"))
    first = copy["cells"][0]
    first["source"] = set_up(archive.as_uri())
    where = {**first, "id": "where", "source": "import gptlib\nprint(gptlib.__file__)"}
    copy["cells"] += [{**first, "id": "again"}, where]
    (tmp_path / "copy.ipynb").write_bytes(serialize(copy))
    script = """
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read("copy.ipynb", 4)
NotebookClient(notebook, kernel_name="python3", timeout=300).execute()
first, *_, again, where = notebook.cells
assert "restart the kernel" in str(first.outputs), first.outputs  # pip's own note: it installed something
assert again.outputs == [], again.outputs
print(where.outputs[0].text)
"""
    # As pip reads it, 0 is what turns the isolation off: there is no index to fetch hatchling from.
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    said = bare.run(tmp_path, "python", "-c", script, environment=offline)
    assert Path(said.strip()) == bare.site / "gptlib" / "__init__.py"
    shutil.rmtree(tmp_path / "venv")


def test_grading(whole, tmp_path):
    (path,) = (ROOT / "notebooks").glob("[0-9][0-9]_attention.ipynb")
    notebook = json.loads(path.read_bytes())
    for cell in notebook["cells"]:
        if cell["id"] == "answer-attention-weighted_average":
            cell["source"] = solution(exercise("attention.weighted_average"))
        elif cell["id"] == "answer-attention-look_up":
            # Answers may read the data, which lies inside the package, and nothing else of it.
            cell["source"] = (
                "def look_up(query, keys, values):\n"
                "    from gptlib.shipped import data_folder\n"
                "    assert (data_folder() / 'SHA256SUMS').read_text()\n"
                "    open(data_folder().parent / 'notebooks' / 'any.ipynb')\n"
            )
    (tmp_path / "handed in" / "ada").mkdir(parents=True)
    (tmp_path / "handed in" / "ada" / path.name).write_text(json.dumps(notebook))
    whole.run(tmp_path, "gptlib", "grade", "handed in", "--out", "grades")
    with (tmp_path / "grades" / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["student"], row["attention.weighted_average"], row["attention.look_up"]) == (
        "ada",
        "1.0",
        "0.0",
    )
    # Had the data been withheld, too, the refusal would name it.
    assert "refused reading" in row["remarks"] and row["remarks"].endswith("notebooks/any.ipynb")
