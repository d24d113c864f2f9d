"""`import gptlib` brings nothing yet, its names the core; what draws or teaches comes when asked for."""

import ast
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

import gptlib

ROOT = Path(__file__).resolve().parents[1]

# Used by viz, course, the hub or several processes alone.
LATER = {
    "gptlib.viz",
    "gptlib.course",
    "gptlib.cli",
    "matplotlib",
    "ipywidgets",
    "anywidget",
}
LATER |= {
    "IPython",
    "jupyterlab",
    "nbformat",
    "huggingface_hub",
    "transformers",
    "requests",
    "jinja2",
    "cyclopts",
}
LATER |= {"torch.distributed.fsdp", "torch.distributed.tensor"}


def modules_after(statement):
    code = f"{statement}; import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stdout))


def test_importing_gptlib_loads_nothing_that_may_be_missing():
    modules = modules_after("import gptlib")
    assert {name for name in modules if name.startswith("gptlib")} == {"gptlib"}
    assert not modules & {"torch", "numpy"}


def test_its_names_load_no_more_than_the_core():
    modules = modules_after("from gptlib import *")
    assert "gptlib.model.gpt" in modules
    assert not LATER & modules


def test_each_name_is_found_where_type_checkers_are_told_that_it_is():
    told = {
        alias.name: node.module
        for node in ast.walk(ast.parse(Path(gptlib.__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("gptlib.")
        for alias in node.names
    }
    assert told == gptlib._HOMES
    assert all(hasattr(gptlib, name) for name in told) and not hasattr(gptlib, "nothing")


def test_imports_run_one_way_and_in_no_circle(capsys):
    """The contracts of pyproject.toml: late imports count, and those for type checkers too."""
    status = lint_imports(str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_no_module_is_hidden_by_a_function_of_its_name():
    """`import gptlib.x.y as y` gives the module: nothing else in a package has its name."""
    packages = [gptlib, *(importlib.import_module(name) for name in packages_of(gptlib))]
    for package in packages:
        for module in pkgutil.iter_modules(package.__path__):
            if module.name == "__main__":
                continue
            importlib.import_module(f"{package.__name__}.{module.name}")
            assert inspect.ismodule(getattr(package, module.name)), f"{package.__name__}.{module.name}"


def packages_of(package):
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [module.name for module in found if module.ispkg]
