"""What tests of several folders use."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark():
    """A function that imports a script of benchmarks/ by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        patch.setattr(sys, "path", list(sys.path))  # the scripts add to it
        yield importlib.import_module


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the course's site, built once for all tests of a process."""
    from gptlib.course.site.building import build_site

    return build_site(tmp_path_factory.mktemp("built") / "site").parent
