"""`import gptlib` brings nothing yet, its names the core; what draws or teaches comes when asked for."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import gptlib

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
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
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
