"""The files that say what to install agree; a set-up is made once, and made again when they change."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from importlib import metadata
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import pytest
import torch
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from gptlib import load, shipped

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
SYSTEMS = (("linux", "Linux", "posix"), ("darwin", "Darwin", "posix"), ("win32", "Windows", "nt"))


def requirements(lines) -> dict[str, Requirement]:
    return {canonicalize_name(line.name): line for line in map(Requirement, lines)}


def constraints(environment: dict[str, str] | None = None) -> dict[str, Version]:
    """The pinned versions that hold in an environment, as markers describe it; here and now by default."""
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate(environment):
            (specifier,) = pin.specifier
            assert specifier.operator == "==", f"{line!r} is not an exact version"
            assert canonicalize_name(pin.name) not in pins, f"{pin.name} is pinned twice for {environment}"
            pins[canonicalize_name(pin.name)] = Version(specifier.version)
    return pins


def environment(python: str, system: tuple[str, str, str]) -> dict[str, str]:
    """The variables of markers for one Python on one system."""
    platform, name, kind = system
    return {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": platform,
        "platform_system": name,
        "os_name": kind,
        "platform_machine": "x86_64",
        "extra": "",
    }


@pytest.mark.parametrize("system", SYSTEMS, ids=[system[1] for system in SYSTEMS])
@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_pin_all_of_it_in_versions_that_it_allows(python, system):
    pins = constraints(environment(python, system))
    asked = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]
    here = environment(python, system)
    for name, requirement in requirements(asked).items():
        if name != "gptlib" and (not requirement.marker or requirement.marker.evaluate(here)):
            assert name in pins, f"{name} is not pinned"
            assert pins[name] in requirement.specifier
    assert pins["torch"] == Version("2.13.0")
    assert not [name for name in pins if name.startswith("nvidia-") or pins[name].local]


def test_conda_installs_the_same():
    environment_file = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, through_pip = environment_file["dependencies"]
    assert pip == "pip" and through_pip == {"pip": ["-c constraints.txt", "-e .[test]"]}
    assert re.fullmatch(r"python=3\.\d+", python) and python.removeprefix("python=") in PYTHONS


def test_what_is_installed_here_is_what_is_pinned():
    """Nothing that the project brings, by whatever way, is left to chance."""
    pins, seen, waiting = constraints(), set(), [("gptlib", "test")]
    if find_spec("nbgrader"):
        waiting.append(("gptlib", "nbgrader"))
    while waiting:
        name, extra = waiting.pop()
        for line in map(Requirement, metadata.requires(name) or []):
            if line.marker and not line.marker.evaluate({"extra": extra}):
                continue
            dependency = canonicalize_name(line.name)
            if re.match(r"nvidia-|cuda-|triton", dependency):
                continue  # torch pins these itself
            for each in line.extras or {""}:
                if (dependency, each) not in seen:
                    seen.add((dependency, each))
                    waiting.append((dependency, each))
            if dependency == "gptlib":
                continue
            assert dependency in pins, f"{dependency}, which {name} needs, is not pinned"
            version = Version(metadata.version(dependency))
            assert version.public == str(pins[dependency]), (
                f"{dependency} is {version}, pinned {pins[dependency]}"
            )
    assert len(seen) > 100


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYTHON"))}
    return subprocess.run(["make", *arguments], cwd=folder, env=quiet, capture_output=True, text=True)


@pytest.fixture
def checkout(tmp_path):
    """A folder with what `make` reads, set up already as far as `make` can tell."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
        os.utime(tmp_path / name, (1000, 1000))
    (tmp_path / ".venv").mkdir()
    for age, name in enumerate(("pyvenv.cfg", "lab.stamp", "test.stamp")):
        (tmp_path / ".venv" / name).touch()
        os.utime(tmp_path / ".venv" / name, (2000 + age, 2000 + age))
    return tmp_path


@pytest.mark.parametrize("target", ["lab", "test"])
def test_a_second_call_installs_nothing(checkout, target):
    assert "pip install" not in make(checkout, "-n", target).stdout


@pytest.mark.parametrize("target", ["lab", "test"])
@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_a_changed_file_installs_again(checkout, target, changed):
    os.utime(checkout / changed, (3000, 3000))
    commands = make(checkout, "-n", target).stdout
    assert "pip install" in commands and "--constraint constraints.txt" in commands
    assert {"lab": "[course]", "test": "[test,nbgrader]"}[target] in commands


def test_lab_makes_the_readers_copies_and_opens_the_first(checkout):
    commands = make(checkout, "-n", "lab").stdout
    assert 0 < commands.index("gptlib start") < commands.index("-m jupyterlab work/00_welcome.ipynb")


def test_an_old_python_gets_one_clear_line(checkout):
    shutil.rmtree(checkout / ".venv")
    old = checkout / "python3.8"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.1 && exit 0\nexit 1\n')
    old.chmod(0o755)
    run = make(checkout, "lab", "PYTHON=./python3.8")
    assert run.returncode != 0
    assert run.stdout.splitlines() == [
        "This is Python 3.8.1; the course needs Python 3.10 or newer. Name one: make PYTHON=/path/to/python3"
    ]


def test_a_missing_python_gets_one_clear_line(checkout):
    shutil.rmtree(checkout / ".venv")
    run = make(checkout, "lab", "PYTHON=no-such-python")
    assert run.returncode != 0
    assert run.stdout.startswith("There is no no-such-python here") and len(run.stdout.splitlines()) == 1


# -------------------------------------------------------------------------------- a clone as Windows makes it


def run_in(folder: Path, *command: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture
def windows_clone(tmp_path):
    """A clone of what is committed here, as git on Windows makes it by default."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout of git's")
    run_in(tmp_path, "git", "-c", "core.autocrlf=true", "clone", "-q", str(ROOT), "clone")
    run_in(tmp_path / "clone", "git", "config", "core.autocrlf", "true")
    return tmp_path / "clone"


def test_a_clone_as_windows_makes_it_works(windows_clone):
    assert run_in(windows_clone, "git", "status", "--short") == ""
    assert b"\r" not in (windows_clone / ".ci" / "run").read_bytes()
    program = """
        import gptlib
        from gptlib.cli.doctor import look_at_data
        model, tokenizer = gptlib.load("storyteller")
        print(gptlib.__file__, look_at_data().problems, gptlib.generate(model, tokenizer, "Once", seed=0)[:4])
    """
    printed = run_in(windows_clone, sys.executable, "-c", textwrap.dedent(program))
    assert printed == f"{windows_clone / 'gptlib' / '__init__.py'} [] Once\n"


def test_a_clone_from_before_line_endings_were_settled_is_mended_by_what_the_error_says(
    windows_clone, monkeypatch
):
    """git made these files, so that it takes them for unchanged, and a plain checkout leaves them alone."""
    attributes, data = windows_clone / ".git" / "info" / "attributes", windows_clone / "data"
    attributes.write_text("*.json text eol=crlf\n")
    shutil.rmtree(data)
    run_in(windows_clone, "git", "checkout", "--", "data")
    attributes.unlink()
    monkeypatch.setattr(shipped, "data_folder", lambda: data)
    with pytest.raises(ValueError, match="storyteller/config.json has the line endings of Windows") as caught:
        load("storyteller")
    problems = shipped.verify_data()
    assert len(problems) == len(list(data.rglob("*.json"))) > 10
    assert str(caught.value) in problems
    commands = re.findall("`(.+?)`", str(caught.value))
    assert len(commands) == 2
    for command in commands:
        run_in(windows_clone, *shlex.split(command))
    assert shipped.verify_data() == [] and run_in(windows_clone, "git", "status", "--short") == ""
    load("storyteller")


def test_tests_compute_with_one_thread():
    assert torch.get_num_threads() == 1


def test_shapes_are_checked_while_tests_run():
    """The import hook is up: an argument that no annotation allows does not get as far as the code."""
    from gptlib import attend

    queries, keys = torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 5)
    with pytest.raises(Exception, match="[Tt]ype-check"):
        attend(queries, keys, keys)
