"""GitHub and Binder cannot be tried here; what they would call is there, and agrees with pyproject.toml."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from gptlib.cli.main import make_app
from gptlib.course.prose import notebook_paths
from gptlib.course.site import colab

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".github" / "workflows"
NAMES = sorted(path.name for path in FOLDER.iterdir())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
# The current ones in October 2026.
ACTIONS = {
    "actions/checkout@v7",
    "actions/setup-python@v7",
    "actions/upload-artifact@v7",
    "actions/download-artifact@v8",
    "actions/upload-pages-artifact@v5",
    "actions/deploy-pages@v5",
}
# What a job may do beyond reading the repository.
RIGHTS = {"deploy": {"pages": "write", "id-token": "write"}, "colab": {"contents": "write"}}


def workflow(name):
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def commands(name):
    """The commands of a workflow, each in words."""
    for job in workflow(name)["jobs"].values():
        for step in job["steps"]:
            for line in step.get("run", "").replace("\\\n", " ").splitlines():
                yield shlex.split(line)


def asked(command):
    """The extras in an install of the course."""
    return [
        extra for word in command for extra in re.findall(r"[\w-]+", re.sub(r"^\.\[(.*)\]$|.*", r"\1", word))
    ]


def test_python_is_told_alike():
    assert PYTHONS == ["3.10", "3.11", "3.12", "3.13", "3.14"]
    assert [f"{python}.0" in SpecifierSet(PROJECT["requires-python"]) for python in ["3.9", *PYTHONS]] == [
        False,
        *[True] * len(PYTHONS),
    ]
    matrix = workflow("tests.yml")["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"] == PYTHONS
    assert {system.partition("-")[0] for system in matrix["system"]} == {"ubuntu", "macos", "windows"}


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_says_that_it_was_never_run_and_may_do_little(name):
    text, read = (FOLDER / name).read_text(encoding="utf-8"), workflow(name)
    assert "# Never run:" in text and "secrets" not in text
    assert read["permissions"] == {"contents": "read"}
    assert read["concurrency"]["group"]
    for title, job in read["jobs"].items():
        assert job.get("permissions", {}) == RIGHTS.get(title, {}), title
        assert job["timeout-minutes"] <= 120
        assert {step["uses"] for step in job["steps"] if "uses" in step} <= ACTIONS
        for step in job["steps"]:
            # What stands in braces is put into a script as it is, whatever it holds.
            assert "${{" not in step.get("run", "")
            for file in step.get("with", {}).get("cache-dependency-path", "").split():
                assert (ROOT / file).is_file()


@pytest.mark.parametrize("name", NAMES)
def test_what_a_workflow_calls_is_there(name):
    for command in commands(name):
        program, *words = command
        if command[:4] == ["python", "-m", "pip", "install"]:
            assert asked(words) and set(asked(words)) <= set(PROJECT["optional-dependencies"])
            assert (ROOT / words[words.index("--constraint") + 1]).is_file()
        elif command[:3] == ["python", "-m", "pytest"]:
            helped = subprocess.run(
                [sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True
            )
            assert [word for word in words[2:] if word.startswith("--") and word not in helped.stdout] == []
            assert all((ROOT / word).is_dir() for word in words[2:] if word.startswith("tests"))
        elif program == "gptlib":
            given = [word.replace("$GITHUB_REPOSITORY", "ada/gpt").replace("$", "") for word in words]
            _, bound, _ = make_app().parse_args(given, exit_on_error=False, print_error=False)
            assert bound.arguments.keys() == {"out", "repository", "ref"}
            assert colab.Repository(bound.arguments["repository"], bound.arguments["ref"])
        elif program == ".ci/run":
            assert (ROOT / program).stat().st_mode & 0o111
        else:
            assert program == "git", command


def test_the_site_hands_on_what_it_wrote():
    jobs = workflow("site.yml")["jobs"]
    built = next(command for command in commands("site.yml") if command[0] == "gptlib")
    uploaded = [step["with"]["path"] for step in jobs["build"]["steps"] if "upload" in step.get("uses", "")]
    assert uploaded == [built[3], f"{built[3]}/{colab.FOLDER}"]
    switched = [step.get("run") for step in jobs["colab"]["steps"]]
    assert f"git switch --orphan {colab.BRANCH}" in switched and f"origin {colab.BRANCH}" in switched[-1]


def test_binder_installs_the_course_and_makes_the_readers_copies():
    lines = (ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line.split() for line in lines if not line.startswith("#")]
    index, constraint, (editable, course) = wanted
    assert editable == "-e" and set(asked([course])) <= set(PROJECT["optional-dependencies"])
    assert constraint[0] == "-c" and (ROOT / "binder" / constraint[1]).resolve() == ROOT / "constraints.txt"
    assert {workflow(name)["env"]["PIP_EXTRA_INDEX_URL"] for name in NAMES} == {index[1]}
    python = (ROOT / "binder" / "runtime.txt").read_text(encoding="utf-8").strip()
    assert python.removeprefix("python-") in PYTHONS
    post_build = ROOT / "binder" / "postBuild"
    assert post_build.stat().st_mode & 0o111 and "\ngptlib start\n" in post_build.read_text(encoding="utf-8")
    # Of Binder's own: the first notebook that a link opens.
    assert (
        colab.Repository("ada/gpt")
        .binder(notebook_paths()[0].name)
        .endswith("lab/tree/work/00_welcome.ipynb")
    )
