"""What a process that runs an answer may not do.

Three fences, one inside the other:

- limits of the system on time, memory, files and processes;
- on Linux, where the kernel has them, Landlock and a user namespace: no file outside a scratch folder can be
  changed, none but Python's own and the course's data read, nothing executed, no process outside be signaled,
  and there is no network. The kernel sees to it, whatever the answer does;
- Python's audit hook, which refuses the same, and ctypes, and says so in words.

The hook alone is no wall: code that works on memory itself, or a library that opens files in its own C++,
gets past it. On a system without Landlock (macOS, an old kernel), and for classes that you have reason to
distrust, grade in a container, as docs/teaching/grading.md shows. A fork bomb by way of ctypes is stopped by
the limit on processes, which does not count for root: do not grade as root.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

LARGEST_FILE = 2**20  # bytes
MOST_WRITES = 100  # files opened for writing, and files and folders that are there
REFUSED = (
    *(
        "ctypes.",
        "gc.get_",
        "os.chflags",
        "os.chmod",
        "os.chown",
        "os.exec",
        "os.fork",
        "os.link",
        "os.lockf",
    ),
    *(
        "os.posix_spawn",
        "os.setxattr",
        "os.removexattr",
        "os.spawn",
        "os.startfile",
        "os.symlink",
        "os.system",
    ),
    *("pty.spawn", "resource.", "socket.", "sqlite3.", "subprocess."),
    *("sys._current_", "sys.setprofile", "sys.settrace", "syslog."),
    *("signal.pthread_kill", "os.killpg", "winreg.", "webbrowser.", "ftplib.", "smtplib.", "http.client."),
)
CHANGES = ("os.chdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.utime", "shutil.")
FRAMES = ("tb_frame", "gi_frame", "cr_frame", "ag_frame")


class Refused(PermissionError):
    """An answer wanted what no answer needs."""


def readable_folders(data: Path) -> list[str]:
    """What answers may read: folders of Python's own, the system's libraries, and the course's data."""
    own = (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, Path(os.__file__).parent)
    packages = (Path(path) for path in sys.path if Path(path).name in ("site-packages", "dist-packages"))
    system = ("/usr", "/lib", "/lib64", "/etc/localtime", "/etc/ld.so.cache", "/dev/null", "/dev/urandom")
    system += (
        "/dev/zero",
        "/proc/cpuinfo",
        "/proc/meminfo",
        "/sys/devices/system/cpu",
        "/System",
        "/Library",
    )
    there = [path for path in (*own, *packages, *system, data) if os.path.exists(path)]
    # By the names that Python knows them by, too: `.venv` may be a link.
    return sorted({form(path) for path in there for form in (os.path.realpath, os.path.abspath)} - {"/"})


# -------------------------------------------------------------------------------------------- system's limits


def limit(seconds: float, megabytes: int) -> None:
    """Set the system's limits for this process. `megabytes` come on top of what it holds already."""
    import resource

    def lower(name: str, value: int) -> None:
        which = getattr(resource, name, None)
        if which is not None:
            hard = resource.getrlimit(which)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            # macOS refuses a limit on addresses; the others hold there.
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(which, (value, value))

    held = Path("/proc/self/statm")
    if held.exists():
        pages = int(held.read_text().split()[0])
        lower("RLIMIT_AS", pages * resource.getpagesize() + megabytes * 2**20)
    lower("RLIMIT_CPU", int(seconds) + 2)
    lower("RLIMIT_FSIZE", LARGEST_FILE)
    lower("RLIMIT_NOFILE", 64)
    lower("RLIMIT_CORE", 0)
    lower("RLIMIT_NPROC", 0)


# --------------------------------------------------------------------------------------------- Linux's fences

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
WRITE_FILE, READ_FILE, READ_DIR = 1 << 1, 1 << 2, 1 << 3
O_PATH = getattr(os, "O_PATH", 0)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends (Linux)."""
    _prctl(PR_SET_PDEATHSIG, 9)


def adopt_orphans() -> None:
    """Have processes that lose their parent become this one's children, so that it can end them (Linux)."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def fence(scratch: str, readable: Iterable[str]) -> None:
    """Have the kernel refuse this process the network and the files of others, as far as it can (Linux)."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC)
    version = libc.syscall(CREATE_RULESET, None, 0, 1)
    if version < 1:
        return
    # Each version of Landlock knows of more that can be refused, and refuses what it does not know of.
    rights = (1 << (13 if version == 1 else 14 if version == 2 else 15 if version < 5 else 16)) - 1
    attributes = struct.pack("=QQQ", rights, 0b11, 0b11)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = libc.syscall(CREATE_RULESET, attributes, len(attributes), 0)
    allowed = {scratch: rights & ~1, "/dev/null": WRITE_FILE | READ_FILE}
    for path, right in {**dict.fromkeys(readable, READ_FILE | READ_DIR), **allowed}.items():
        folder = os.open(path, O_PATH)
        right &= ~(0 if os.path.isdir(path) else READ_DIR)
        libc.syscall(ADD_RULE, ruleset, 1, struct.pack("=Qi", right, folder), 0)
        os.close(folder)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    libc.syscall(RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _prctl(what: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(what, value, 0, 0, 0)


# ---------------------------------------------------------------------------------------------- Python's hook


def hook(
    scratch: str,
    readable: Sequence[str],
    withheld: Sequence[str],
    guarded: Sequence[object],
    refused: list[str],
) -> Callable[..., None]:
    """The audit hook: raises Refused for what no answer needs, and notes it in `refused`.

    `withheld` are files and folders inside the readable ones, or names of modules with their dots; `guarded`
    are functions whose code may not be looked at. All that the hook calls is C, bound here: what an answer
    changes in Python's modules does not reach it.
    """
    getcwd, getpid, getframe, isdir = os.getcwd, os.getpid, sys._getframe, _isdir
    inside, hidden = scratch + "/", frozenset(map(id, guarded))
    folders = tuple(path + "/" for path in withheld if path.startswith("/"))
    modules = tuple(path for path in withheld if not path.startswith("/"))
    allowed = tuple(path + "/" for path in readable) + (inside,)
    single = frozenset((*readable, scratch))
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    descriptors, texts = (int, type(None)), (str, bytes)
    state = {"writes": 0, "busy": False}

    def refuse(what: str) -> None:
        if len(refused) < 20 and what not in refused:
            refused.append(what)
        raise Refused(f"an answer may not do this: {what}")

    def plain_text(path: Any) -> str:
        return path.decode("utf-8", "surrogateescape") if type(path) is bytes else path

    def plain(path: Any) -> str:
        path = plain_text(path)
        parts: list[str] = []
        for part in (path if path.startswith("/") else f"{getcwd()}/{path}").split("/"):
            if part == "..":
                del parts[-1:]
            elif part not in ("", "."):
                parts.append(part)
        return "/" + "/".join(parts)

    def within(path: Any) -> bool:
        # What ".." leads to from a folder that is open, Python does not say.
        return (plain(path) + "/").startswith(inside) and ".." not in plain_text(path).split("/")

    def may_change(event: str, path: Any) -> None:
        if type(path) in texts and not within(path):
            refuse(f"{event} of {plain(path)}")
        if type(path) not in (*texts, *descriptors):
            refuse(event)

    def opened(path: Any, mode: Any, flags: Any) -> None:
        if type(path) in descriptors:
            return
        if type(path) not in texts:
            refuse("opening a file")
        where = plain(path)
        if (type(flags) is int and flags & writing) or (type(mode) is str and set(mode) & set("wax+")):
            state["writes"] += 1
            if where != "/dev/null" and not within(path):
                refuse(f"writing to {where}")
            if state["writes"] > MOST_WRITES:
                refuse(f"writing more than {MOST_WRITES} files")
        elif (where + "/").startswith(folders) or not (where in single or where.startswith(allowed)):
            refuse(f"reading {where}")
        elif mode is None and not (where + "/").startswith(inside) and isdir(where):
            refuse(f"opening the folder {where}")

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            opened(*arguments)
        elif event == "import":
            if str(arguments[0]).startswith(modules):
                refuse(f"import of {arguments[0]}")
        elif event.startswith(REFUSED):
            refuse(event)
        elif event.startswith(CHANGES):
            may_change(event, arguments[0])
            if event == "os.rename" or event in ("shutil.move", "shutil.copyfile"):
                may_change(event, arguments[1])
        elif event == "os.kill":
            if arguments[0] != getpid():
                refuse("os.kill of another process")
        elif event in ("object.__getattr__", "object.__setattr__"):
            if arguments[1] in FRAMES:
                refuse("looking into the frames of the program that runs it")
            if id(arguments[0]) in hidden:
                refuse("looking into the course's own solution")
        elif event == "sys._getframe" and not state["busy"]:
            state["busy"] = True
            try:
                caller = getframe(1)
                while caller.f_back and caller.f_code.co_filename.endswith("/inspect.py"):
                    caller = caller.f_back
            finally:
                state["busy"] = False
            if caller.f_code.co_filename.startswith("<answer"):
                refuse("looking into the frames of the program that runs it")

    return audit


def _isdir(path: str, stat: Callable[..., os.stat_result] = os.stat) -> bool:
    try:
        return stat(path).st_mode & 0o170000 == 0o040000
    except OSError:
        return False
