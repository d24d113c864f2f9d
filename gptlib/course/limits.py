"""Limits on code that somebody else wrote, in this process: on its time, and on what it leaves behind."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import numpy as np
import torch

# An answer that catches everything is interrupted again after this many seconds, and then ever sooner: an
# endless loop around a `try` can be left in the moment between two rounds alone.
AGAIN = 1.0
SOONEST = 1e-4


# On a machine that is busy with other things, or for a sleep: so many times the seconds, by the clock.
PATIENCE = 3


class TimeLimit(BaseException):
    """The time is up. No Exception, so that an answer's own `except Exception` does not catch it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimit in the block after `seconds` of the processor, or three times that by the clock.

    What cannot be stopped from within a process is one long call outside Python, such as a huge product of
    matrices; away from the main thread, and on Windows, a sleep ends only when it is over.
    """
    on_main = threading.current_thread() is threading.main_thread()
    with _by_signal(seconds) if on_main and hasattr(signal, "setitimer") else _by_thread(seconds):
        yield


def _clock(seconds: float) -> Callable[[], float]:
    """Says how many of the seconds are left, at least: 0 if the time is up."""
    began, used = time.monotonic(), time.process_time()

    def left() -> float:
        by_clock = PATIENCE * seconds - (time.monotonic() - began)
        return max(0.0, min(by_clock, seconds - (time.process_time() - used)))

    return left


@contextmanager
def _by_signal(seconds: float) -> Iterator[None]:
    running = True
    pause = AGAIN
    left = _clock(seconds)

    def stop(_: int, frame: FrameType | None) -> None:
        nonlocal pause
        if running and (more := left()):
            signal.setitimer(signal.ITIMER_REAL, max(more, SOONEST))
        elif running:
            ending = _is_ending(frame)
            # Once, not again and again: a slow step back to the answer would never be finished.
            signal.setitimer(signal.ITIMER_REAL, pause)
            pause = max(pause / 2, SOONEST)
            if not ending:
                raise TimeLimit

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
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
    left = _clock(seconds)

    def watch() -> None:
        wait, pause = seconds, AGAIN
        while not done.wait(wait):
            if more := left():
                wait = max(more, SOONEST)
                continue
            if not _is_ending(sys._current_frames().get(watched.value)):
                ctypes.pythonapi.PyThreadState_SetAsyncExc(watched, ctypes.py_object(TimeLimit))
            wait, pause = pause, max(pause / 2, 100 * SOONEST)

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


def _is_ending(frame: FrameType | None) -> bool:
    """Whether the limit itself is at work, which is not to be interrupted."""
    if frame is not None and frame.f_code.co_filename == contextmanager.__code__.co_filename:
        return True
    while frame is not None and frame.f_code.co_filename != __file__:
        frame = frame.f_back
    return frame is not None


@contextmanager
def undisturbed() -> Iterator[None]:
    """Torch's defaults in the block, whatever was set before; and after it, all that was set before.

    That is the default dtype and device, the number of threads, whether gradients are kept, the generators of
    torch, numpy and random, the folder and the environment.
    """
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    threads = torch.get_num_threads()
    drawn = random.getstate(), np.random.get_state()  # noqa: NPY002
    folder, environment = os.getcwd(), dict(os.environ)
    with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(torch.is_grad_enabled()):
        try:
            _set_defaults(torch.float32, torch.device("cpu"))
            yield
        finally:
            _set_defaults(dtype, device)
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            random.setstate(drawn[0])
            np.random.set_state(drawn[1])  # noqa: NPY002
            if os.getcwd() != folder:
                os.chdir(folder)
            if os.environ != environment:
                os.environ.clear()
                os.environ.update(environment)


def _set_defaults(dtype: torch.dtype, device: torch.device) -> None:
    torch.set_default_dtype(dtype)
    if torch.get_default_device() != device:
        torch.set_default_device(None if device == torch.device("cpu") else device)
