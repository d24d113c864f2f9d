"""A process that runs jobs, each in a child of its own that ends when its time is up.

What a child does may take it down: it runs what a student wrote, or reads what a student's program gave back.
The keeper itself does neither. It imports torch and gptlib once, forks a child for each job, hands over what
the child wrote, and ends it with all that it started.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptlib.course.grading import sandbox
from gptlib.course.limits import PATIENCE
from gptlib.places import PACKAGE

LARGEST_REPLY = 48 * 2**20  # bytes
STARTING = 120  # seconds, for the imports
LOOK = 0.05  # seconds between two looks at what a child has written to its folder
ENVIRONMENT = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUTF8": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "GPTLIB_PROGRESS": "",
    "MPLBACKEND": "agg",
}

Write = Callable[[bytes], None]
Work = Callable[[dict[str, Any], bytes, str, Write], None]


@dataclass(frozen=True)
class Reply:
    """How a child ended, and what it wrote before.

    ending: "exit", "late", "large", "full" if it wrote too many files, the name of the signal that ended it,
        or "lost" if its keeper ended too.
    """

    ending: str
    data: bytes = b""


class Keeper:
    """The end that asks: starts the process when there is a job, and another when that one was lost.

    `module` is the module whose `keep` the process calls.
    """

    def __init__(self, module: str) -> None:
        if not hasattr(os, "fork"):
            raise OSError(
                "grading runs each answer in a forked process, which this system has not; use Linux, macOS, "
                "WSL, or the container in docs/teaching/grading.md"
            )
        self.module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: str | None = None

    def ask(self, job: dict[str, Any], contents: bytes = b"") -> Reply:
        """Have a child do the job, with these bytes to read.

        It has `job["together"]` seconds of the processor, and PATIENCE times that by the clock.
        """
        try:
            process = self._started()
            assert process.stdin is not None and process.stdout is not None
            for part in (json.dumps(job).encode(), contents):
                process.stdin.write(struct.pack(">Q", len(part)) + part)
            process.stdin.flush()
            # The keeper keeps time itself; this is for the case that it was stopped.
            ready, _, _ = select.select([process.stdout], [], [], PATIENCE * job["together"] + STARTING)
            if not ready:
                process.kill()
            ending, data = (_received(process.stdout.fileno()) for _ in range(2))
            return Reply(ending.decode(), data)
        except (OSError, EOFError):
            self.close()
            return Reply("lost")

    def close(self) -> None:
        """End the process, and all that it runs."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None and process.stdout is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        if self._scratch is not None:
            remove(self._scratch)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._scratch = os.path.realpath(tempfile.mkdtemp(prefix="gptlib-grading-"))
            kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
            environment = {name: os.environ[name] for name in kept if name in os.environ} | ENVIRONMENT
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"from {self.module} import keep; keep()", self._scratch],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**environment, "PYTHONPATH": str(PACKAGE.parent), "HOME": self._scratch},
                cwd=self._scratch,
                start_new_session=True,
            )
        return self._process


def _received(descriptor: int) -> bytes:
    (length,) = struct.unpack(">Q", _exactly(descriptor, 8))
    return _exactly(descriptor, length)


def _exactly(descriptor: int, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        chunk = os.read(descriptor, min(length - len(data), 2**20))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


def remove(folder: str) -> None:
    """Remove a folder with all that is in it, as far as that can be done."""
    # A tree may be too deep even for rmtree.
    with contextlib.suppress(OSError, RecursionError):
        shutil.rmtree(folder, ignore_errors=True)


# ------------------------------------------------------------------------------------ in the process that
# keeps


def serve(prepare: Callable[[dict[str, Any]], None], work: Work) -> None:
    """Answer jobs from stdin until it closes: `prepare` is called here, before the fork, `work` in the
    child."""
    base = sys.argv[1]
    sandbox.adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        while True:
            try:
                job, contents = json.loads(_received(0)), _received(0)
            except EOFError:
                return
            prepare(job)
            reply = _supervised(job, contents, base, work)
            for part in (reply.ending.encode(), reply.data):
                _write_all(1, struct.pack(">Q", len(part)) + part)
    finally:
        remove(base)


def _write_all(descriptor: int, data: bytes, to: Callable[[int, bytes], int] = os.write) -> None:
    place = 0
    while place < len(data):
        place += to(descriptor, data[place : place + 2**20])


def _supervised(job: dict[str, Any], contents: bytes, base: str, work: Work) -> Reply:
    scratch = os.path.realpath(tempfile.mkdtemp(dir=base))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            _alone(writing)
            work(job, contents, scratch, lambda data: _write_all(3, data))
        finally:
            os._exit(0)
    os.close(writing)
    until = time.monotonic() + PATIENCE * job["together"] + 2
    look = time.monotonic() + LOOK
    data, ending = bytearray(), None
    while ending is None:
        ready, _, _ = select.select([reading, 0], [], [], max(0, look - time.monotonic()))
        if time.monotonic() >= look:
            look = time.monotonic() + LOOK
            if _is_full(scratch):
                ending = "full"
            elif time.monotonic() >= until:
                ending = "late"
        elif 0 in ready:
            ending = "stop"  # the other end is gone: nobody writes while a job is running
        elif ready:
            chunk = os.read(reading, 2**20)
            data += chunk
            if not chunk:
                break
            if len(data) > LARGEST_REPLY:
                ending = "large"
    os.close(reading)
    code = _end(child)
    remove(scratch)
    if ending == "stop":
        remove(base)
        os._exit(0)
    return Reply(ending or (signal.Signals(-code).name if code < 0 else "exit"), bytes(data))


def _is_full(scratch: str) -> bool:
    """Whether a folder holds more files and folders than an answer may write, whoever wrote them."""
    folders, count = [scratch], 0
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    count += 1
                    if count > sandbox.MOST_WRITES:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except (FileNotFoundError, NotADirectoryError):  # it was removed meanwhile
            continue
        except OSError:  # such as a path that is too long to be looked at
            return True
    return False


def _alone(writing: int) -> None:
    """Leave a child nothing that is open but descriptor 3, to which it writes."""
    os.setsid()
    sandbox.die_with_parent()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.dup2(writing, 3)
    os.closerange(4, 4096)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _end(child: int) -> int:
    """Kill the child, its group, and whatever else came of it; the child's own exit code."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    # Processes that left the group are this one's children by now.
    for _ in range(1000):
        strays = _children()
        for stray in strays:
            with contextlib.suppress(OSError):
                os.kill(stray, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            break
        time.sleep(0.01)
    return code


def _children() -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                yield int(folder.name)
