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
from typing import TYPE_CHECKING

from gptlib.extras import command
from gptlib.places import is_checkout, readers_root

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OLDEST_PYTHON = (3, 10)
MEMORY_NEEDED = 1.0  # GB; the largest notebook stays below
DISK_NEEDED = 0.5  # GB; for checkpoints and token files
INSTALL = (
    "run `make lab`, or `conda env update -f environment.yml`"
    if is_checkout()
    else "run `pip install gptlib`, which adds what is missing and leaves the rest"
)


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
        problems.append(f"this Python is older than {oldest}: install a newer one, then set up anew")
    return Finding(
        "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}", problems
    )


def look_at_packages() -> Finding:
    """Whether all that gptlib needs is installed, in a version that it allows, and which extras are there.

    A checkout is where the course is followed, so that there the extra "course" is needed too.
    """
    try:
        asked, problems = _asked("course" if is_checkout() else ""), []
        extras = [
            extra for extra in metadata.metadata("gptlib").get_all("Provides-Extra", []) if _whole(extra)
        ]
    except metadata.PackageNotFoundError:
        return Finding("packages", "gptlib itself is not installed", [f"gptlib is not installed: {INSTALL}"])
    for package in asked:
        installed = _version(package.name)
        if installed is None:
            problems.append(f"{package.name} is missing: {INSTALL}")
        elif not package.specifier.contains(installed, prereleases=True):
            problems.append(f"{package.name} is {installed}, and {package.specifier} is needed: {INSTALL}")
    value = f"{len(asked) - len(problems)} of {len(asked)} as they should be"
    return Finding("packages", f"{value}; extras: {', '.join(extras) or 'none'}", problems)


def _asked(extra: str = "") -> list[Requirement]:
    """What gptlib's metadata asks for: for the library, and for an extra if one is named."""
    from packaging.requirements import Requirement

    lines = [Requirement(line) for line in metadata.requires("gptlib") or []]
    return [line for line in lines if not line.marker or line.marker.evaluate({"extra": extra})]


def _whole(extra: str) -> bool:
    """Whether everything that an extra brings is there."""
    return all(_version(package.name) for package in _asked(extra))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


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
    try:
        import psutil
    except ImportError:
        return Finding("memory", f"not measured: psutil is missing, which `{command('course')}` brings")
    free = psutil.virtual_memory().available / 1e9
    problems = []
    if free < MEMORY_NEEDED:
        problems.append(
            f"{free:.1f} GB of memory are free, and a notebook may need {MEMORY_NEEDED:.1f}: "
            "close other programs, and shut down notebooks that you are done with"
        )
    return Finding("memory", f"{free:.1f} GB free", problems)


def look_at_disk() -> Finding:
    """The space left on the disk that holds the reader's work."""
    free = shutil.disk_usage(readers_root()).free / 1e9
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
