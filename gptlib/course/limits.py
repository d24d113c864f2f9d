"""A time limit on code that somebody else wrote, in this process."""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# An answer that catches everything is interrupted again after this many seconds, until it gives way.
# Long enough that two never meet in the few steps that end a limit.
AGAIN = 1.0


class TimeLimit(BaseException):
    """The time is up. No Exception, so that an answer's own `except Exception` does not catch it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimit in the block if it takes longer than `seconds`.

    What cannot be stopped from within a process is one long call outside Python, such as a huge product of
    matrices; away from the main thread, and on Windows, a sleep ends only when it is over.
    """
    on_main = threading.current_thread() is threading.main_thread()
    with _by_signal(seconds) if on_main and hasattr(signal, "setitimer") else _by_thread(seconds):
        yield


@contextmanager
def _by_signal(seconds: float) -> Iterator[None]:
    running = True

    def stop(*_: object) -> None:
        if running:
            raise TimeLimit

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        try:
            yield
        finally:
            running = False
    finally:  # also if the time was up in that very step
        running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _by_thread(seconds: float) -> Iterator[None]:
    watched = ctypes.c_ulong(threading.get_ident())
    done = threading.Event()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(watched, ctypes.py_object(TimeLimit))
            wait = AGAIN

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        try:
            yield
        finally:
            done.set()
    finally:  # also if the time was up in that very step
        done.set()
        watcher.join()
        ctypes.pythonapi.PyThreadState_SetAsyncExc(watched, None)  # one that is still on its way
