"""Say what this machine has for the course, and how to mend what it lacks."""

# Every import stands inside the look that needs it: a broken installation is reported, not tripped over.

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

OLDEST_PYTHON = (3, 10)
MEMORY_NEEDED = 1.0  # GB; the largest notebook stays below
DISK_NEEDED = 0.5  # GB; for checkpoints and token files
INSTALL = "run `make lab`, or `conda env update -f environment.yml`"


@dataclass(frozen=True)
class Finding:
    """One look at the machine: what was looked at, what is there, and what is wrong with it (a line each)."""

    name: str
    value: str
    problems: list[str] = field(default_factory=list)


def look_at_python() -> Finding:
    """The Python that runs this."""
    problems = []
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        problems.append(f"this Python is older than {oldest}: install a newer one, then `make clean lab`")
    return Finding(
        "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}", problems
    )


def look_at_packages() -> Finding:
    """Whether everything that the project asks for is installed, in a version that it allows."""
    from packaging.requirements import Requirement

    try:
        asked = [Requirement(line) for line in metadata.requires("gptlib") or []]
    except metadata.PackageNotFoundError:
        return Finding("packages", "gptlib itself is not installed", [f"gptlib is not installed: {INSTALL}"])
    asked = [package for package in asked if not package.marker or package.marker.evaluate({"extra": ""})]
    problems = []
    for package in asked:
        try:
            version = metadata.version(package.name)
        except metadata.PackageNotFoundError:
            problems.append(f"{package.name} is missing: {INSTALL}")
        else:
            if not package.specifier.contains(version, prereleases=True):
                problems.append(f"{package.name} is {version}, and {package.specifier} is needed: {INSTALL}")
    return Finding("packages", f"{len(asked) - len(problems)} of {len(asked)} as they should be", problems)


def look_at_torch() -> Finding:
    """The version of torch."""
    import torch

    return Finding("torch", torch.__version__)


def look_at_device() -> Finding:
    """Where tensors would be computed."""
    import torch

    from gptlib.training.devices import pick_device

    device = pick_device()
    return Finding(
        "device", f"cuda, {torch.cuda.get_device_name()}" if device.type == "cuda" else device.type
    )


def look_at_threads() -> Finding:
    """How many threads torch computes with."""
    import torch

    return Finding("threads", f"{torch.get_num_threads()} of {os.cpu_count()} processors")


def look_at_memory() -> Finding:
    """The memory that is free, or would be if the system gave back what it only keeps for speed."""
    import psutil

    free = psutil.virtual_memory().available / 1e9
    problems = []
    if free < MEMORY_NEEDED:
        problems.append(
            f"{free:.1f} GB of memory are free, and a notebook may need {MEMORY_NEEDED:.1f}: "
            "close other programs, and shut down notebooks that you are done with"
        )
    return Finding("memory", f"{free:.1f} GB free", problems)


def look_at_disk() -> Finding:
    """The space left on the disk that holds the course."""
    free = shutil.disk_usage(Path(__file__).parent).free / 1e9
    problems = []
    if free < DISK_NEEDED:
        problems.append(f"{free:.1f} GB of disk are free, and training may need {DISK_NEEDED:.1f}: make room")
    return Finding("disk", f"{free:.1f} GB free", problems)


def look_at_data() -> Finding:
    """Whether the trained model and what belongs to it are whole."""
    from gptlib.shipped import data_folder, verify_data

    problems = verify_data()
    return Finding("data", "incomplete" if problems else f"whole, in {data_folder()}", problems)


LOOKS: dict[str, Callable[[], Finding]] = {
    "Python": look_at_python,
    "packages": look_at_packages,
    "torch": look_at_torch,
    "device": look_at_device,
    "threads": look_at_threads,
    "memory": look_at_memory,
    "disk": look_at_disk,
    "data": look_at_data,
}


def examine() -> list[Finding]:
    """All findings, in the order in which they are printed. A look that fails is a finding too."""
    findings = []
    for name, look in LOOKS.items():
        try:
            findings.append(look())
        except Exception as error:  # whatever is broken here is what the doctor is asked about
            findings.append(Finding(name, "cannot be told", [f"{type(error).__name__}: {error}: {INSTALL}"]))
    return findings


def report(stable: bool = False) -> str:
    """The findings as lines of text, then a line for each thing that is wrong with how to mend it.

    With `stable`, "ok" stands for what is there: the same on every machine with which nothing is wrong.
    """
    findings = examine()
    lines = [
        f"{finding.name:10}{'ok' if stable and not finding.problems else finding.value}"
        for finding in findings
    ]
    problems = [f"- {finding.name}: {problem}" for finding in findings for problem in finding.problems]
    verdict = f"To mend ({len(problems)}):" if problems else "All is well."
    return "\n".join([*lines, "", verdict, *problems])


def doctor() -> int:
    """Print the report; 1 if something is wrong, else 0."""
    text = report()
    print(text)
    return 0 if text.endswith("All is well.") else 1
