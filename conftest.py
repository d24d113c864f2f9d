"""What tests and notebooks run under: checked shapes, one thread, no network, and strict notebooks.

A notebook's cell passes if it raises nothing, reaches for no network, holds at most a gigabyte, and gives the
very text that is saved in the notebook. (nbval compares it. It never compares pictures, so figures also
return the arrays that they drew.)
"""

import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "offline")]

# Before anything imports torch, which reads these once; kernels and programs that tests start inherit them.
from notebooks.execute import EXPLORER, WIDGET, kernel_environment, peak_memory  # noqa: E402

KERNEL_ENVIRONMENT = kernel_environment()
HIDDEN_DEVICES = KERNEL_ENVIRONMENT.pop("CUDA_VISIBLE_DEVICES")  # for kernels alone: tests may use them
os.environ.update(KERNEL_ENVIRONMENT)

SCRATCH = tempfile.TemporaryDirectory(prefix="gptlib-tests-")
NETWORK_LOG = Path(SCRATCH.name) / "network.log"
os.environ["GPTLIB_NETWORK_LOG"] = str(NETWORK_LOG)
import hypothesis  # noqa: E402
import jaxtyping  # noqa: E402
import network_guard  # noqa: E402, F401

# A busy machine is no counterexample. All else stays as it is, such as what Hypothesis does under CI.
hypothesis.settings.register_profile("gptlib", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("gptlib")

# Before anything imports gptlib: a shape that an annotation does not allow is then an error in every test.
# Modules without such annotations are left as they are, and so is gptlib.text: its millions of tiny calls
# would take ten times as long.
CHECKED = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in ROOT.glob("gptlib/**/*.py")
    if "gptlib/text/" not in path.as_posix() and "from jaxtyping import" in path.read_text(encoding="utf-8")
]
jaxtyping.install_import_hook(CHECKED, "beartype.beartype")

from nbval.plugin import IPyNbCell, IPyNbFile  # noqa: E402

MEMORY_LIMIT = 1000  # MB, for a notebook's kernel
SECONDS_MEANT = {"training": 180}  # and 90 for the others, of one thread on a quiet machine
SECONDS_FOR_OUTPUT = 60  # nbval's own 5 s between two messages is short for a busy machine


@pytest.fixture
def without_shape_checks():
    """Let wrong shapes and types through to gptlib's own errors, as they are for a reader."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def as_on_windows(monkeypatch):
    """Files that are mapped into memory can be neither replaced nor removed; lists those in a folder."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs Linux's list of what is mapped")

    def mapped(folder) -> list[str]:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
        return [line.split(maxsplit=5)[5] for line in lines if f" {os.path.realpath(folder)}" in line]

    def unless_mapped(change):
        def changed(*paths, **given):
            if mapped(paths[-1]):
                raise PermissionError(13, "Access is denied", str(paths[-1]))
            return change(*paths, **given)

        return changed

    for name in ("replace", "unlink"):
        monkeypatch.setattr(os, name, unless_mapped(getattr(os, name)))
    return mapped


def pytest_collectstart(collector):
    if isinstance(collector, IPyNbFile):
        # Pictures are left out by nbval itself; HTML is left out where a text says the same.
        # A widget is saved as its picture, and an explorer as its state besides, which is full of floats:
        # tests/course/test_saved_explorers.py holds it to the page code.
        collector.skip_compare += ("stderr", "text/html", "image/svg+xml", WIDGET, EXPLORER)


def pytest_itemcollected(item):
    if isinstance(item, IPyNbCell):
        item.output_timeout = SECONDS_FOR_OUTPUT


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    """A kernel, which starts with its notebook's first cell, sees no accelerator."""
    if not isinstance(item, IPyNbCell):
        return (yield)
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = HIDDEN_DEVICES
    try:
        return (yield)
    finally:
        os.environ.pop("CUDA_VISIBLE_DEVICES")
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fails the test, or the cell, that reached for the network, even if it lived with the refusal."""
    logged = len(attempts())
    result = yield
    reached = attempts()[logged:]
    if reached:
        pytest.fail("reached for the network:\n" + "\n".join(reached), pytrace=False)
    if isinstance(item, IPyNbCell):
        memory = kernel_memory(item.parent)
        item.user_properties.append(("memory", memory))
        if memory > MEMORY_LIMIT:
            pytest.fail(f"the notebook holds {memory:.0f} MB; {MEMORY_LIMIT} MB are allowed", pytrace=False)
    return result


def attempts() -> list[str]:
    return NETWORK_LOG.read_text(encoding="utf-8").splitlines() if NETWORK_LOG.exists() else []


def kernel_memory(notebook: IPyNbFile) -> float:
    manager = getattr(notebook.kernel, "km", None)
    return peak_memory(getattr(getattr(manager, "provisioner", None), "pid", None)) or 0.0


def pytest_terminal_summary(terminalreporter):
    """A line for each notebook: the seconds that its cells took and the most memory that it held."""
    seconds, memory = defaultdict(float), defaultdict(float)
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        if ".ipynb::" in report.nodeid and report.when == "call":
            name = Path(report.nodeid.split("::")[0]).stem
            seconds[name] += report.duration
            memory[name] = max(memory[name], dict(report.user_properties).get("memory", 0.0))
    if seconds:
        terminalreporter.section("notebooks")
        for name in sorted(seconds):
            meant = SECONDS_MEANT.get(name.partition("_")[2], 90)
            slow = f"   longer than the {meant} s that are meant" if seconds[name] > meant else ""
            terminalreporter.write_line(f"{name:24}{seconds[name]:6.1f} s {memory[name]:6.0f} MB{slow}")
