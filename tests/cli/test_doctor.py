"""The doctor finds what is wrong, says how to mend it, and trips over nothing."""

import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from gptlib.cli import doctor


def test_all_that_the_course_needs_is_looked_at():
    names = [finding.name for finding in doctor.examine()]
    assert names == ["Python", "packages", "torch", "device", "threads", "memory", "disk", "data"]


def test_this_machine_is_well():
    assert [finding.problems for finding in doctor.examine()] == [[]] * len(doctor.LOOKS)


def test_as_a_command():
    run = subprocess.run([sys.executable, "-m", "gptlib", "doctor"], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines()[-1] == "All is well."


def test_stable_report_tells_nothing_of_the_machine():
    lines = doctor.report(stable=True).splitlines()
    assert lines == [f"{name:10}ok" for name in doctor.LOOKS] + ["", "All is well."]


def one_problem(monkeypatch, name: str) -> str:
    """The one line that the doctor, with all other looks taken away, prints as wrong."""
    monkeypatch.setattr(doctor, "LOOKS", {name: doctor.LOOKS[name]})
    *_, verdict, line = doctor.report().splitlines()
    assert verdict == "To mend (1):" and line.startswith(f"- {name}: ")
    assert doctor.doctor() == 1
    return line


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 18))
    line = one_problem(monkeypatch, "Python")
    assert "older than 3.10" in line and "set up anew" in line


def test_a_missing_package(monkeypatch):
    true_version = metadata.version

    def version(name):
        if name == "tqdm":
            raise metadata.PackageNotFoundError(name)
        return true_version(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    line = one_problem(monkeypatch, "packages")
    assert "tqdm is missing" in line and "make lab" in line


def test_a_package_of_the_wrong_version(monkeypatch):
    true_version = metadata.version
    monkeypatch.setattr(
        doctor.metadata, "version", lambda name: "2.0.0" if name == "torch" else true_version(name)
    )
    line = one_problem(monkeypatch, "packages")
    assert "torch is 2.0.0" in line and ">=2.9 is needed" in line


def test_the_project_itself_not_installed(monkeypatch):
    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", requires)
    assert "gptlib is not installed" in one_problem(monkeypatch, "packages")


def test_torch_that_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    line = one_problem(monkeypatch, "torch")
    assert "ImportError" in line or "ModuleNotFoundError" in line
    assert "make lab" in line


def test_too_little_memory(monkeypatch):
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=300e6))
    line = one_problem(monkeypatch, "memory")
    assert "0.3 GB of memory are free" in line and "close other programs" in line


def test_too_little_disk(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=100e6))
    line = one_problem(monkeypatch, "disk")
    assert "0.1 GB of disk are free" in line and "make room" in line


@pytest.mark.parametrize("damage", ["cut off", "altered", "missing"])
def test_damaged_data(monkeypatch, tmp_path, damage):
    import gptlib.shipped as pretrained

    (tmp_path / "toy").mkdir()
    file = tmp_path / "toy" / "model.bin"
    file.write_bytes(bytes(range(200)))
    monkeypatch.setattr(pretrained, "data_folder", lambda: tmp_path)
    pretrained.write_checksums()
    monkeypatch.setattr(doctor, "LOOKS", {"data": doctor.LOOKS["data"]})
    assert doctor.doctor() == 0

    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(bytes(range(100)) if damage == "cut off" else bytes(200))
    assert "model.bin" in one_problem(monkeypatch, "data")
