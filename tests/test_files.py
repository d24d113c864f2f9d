"""write_atomically: whoever reads finds the old file or the new one, whatever happens in between."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from gptlib.files import write_atomically


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_returns_the_path(tmp_path):
    path = tmp_path / "a.bin"
    assert write_atomically(path, lambda file: file.write(b"one")) == path
    assert path.read_bytes() == b"one"
    write_atomically(str(path), lambda file: file.write(b"two"))
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == ["a.bin"]


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_the_old_file_is_seen_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"

    write_atomically(path, write)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("pause", [0.0, 0.004, 0.02])
def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path, pause):
    """A process that keeps rewriting the file is killed; the file is one whole version."""
    path = tmp_path / "a.bin"
    program = """
        import sys
        from pathlib import Path
        from gptlib.files import write_atomically
        for number in range(10**9):
            def write(file):
                for _ in range(200):
                    file.write(bytes([number % 256]) * 1000)
            write_atomically(Path(sys.argv[1]), write)
            if number == 2:
                print("going", flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "going\n"
        time.sleep(pause)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    contents = path.read_bytes()
    assert len(contents) == 200_000
    assert len(set(contents)) == 1


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_kill_in_the_middle_of_a_write(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    program = """
        import os, signal, sys
        from gptlib.files import write_atomically
        def write(file):
            file.write(b"n" * 100_000)
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        write_atomically(sys.argv[1], write)
    """
    process = subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(path)])
    assert process.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    left = [name for name in names(tmp_path) if name != "a.bin"]
    assert len(left) == 1 and left[0].startswith(".a.bin.") and left[0].endswith(".partial")
    write_atomically(path, lambda file: file.write(b"new"))  # what was left is in nobody's way
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")
def test_keeps_modes_and_links(tmp_path):
    path, link = tmp_path / "a.bin", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to(path)
    write_atomically(link, lambda file: file.write(b"new"))
    assert link.is_symlink() and path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640


def test_refusals(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist; create it"):
        write_atomically(tmp_path / "no" / "a.bin", lambda file: None)
    with pytest.raises(IsADirectoryError, match="a folder; it needs to be a file"):
        write_atomically(tmp_path, lambda file: None)
    with pytest.raises(TypeError):
        write_atomically(tmp_path / "a.bin", b"contents")
    assert names(tmp_path) == []
