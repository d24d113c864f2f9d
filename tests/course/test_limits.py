import contextlib
import threading
import time

import pytest

from gptlib.course.limits import TimeLimit, time_limit


def endless():
    while True:
        pass


def endless_and_catching_everything():
    for _ in range(3):  # of an endless row: each interrupt takes it one further
        with contextlib.suppress(BaseException):
            endless()
    endless()


def endless_around_a_try():
    while True:
        try:
            sum(range(1000))
        except BaseException:  # noqa: B036
            continue


def elsewhere(function):
    """Runs `function` in another thread; returns what it raised."""
    raised = []

    def run():
        try:
            function()
        except BaseException as error:  # noqa: B036
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    return raised


def limited(function, seconds=0.1):
    with time_limit(seconds):
        function()


@pytest.mark.parametrize("function", [endless, endless_and_catching_everything])
@pytest.mark.parametrize("main", [True, False])
def test_what_does_not_end_is_ended(function, main):
    started = time.monotonic()
    if main:
        with pytest.raises(TimeLimit):
            limited(function)
    else:
        (error,) = elsewhere(lambda: limited(function))
        assert isinstance(error, TimeLimit)
    assert time.monotonic() - started < 10


def test_a_loop_that_catches_everything_is_ended():
    with pytest.raises(TimeLimit):
        limited(endless_around_a_try)


def test_a_sleep_is_ended():
    started = time.monotonic()
    with pytest.raises(TimeLimit):
        limited(lambda: time.sleep(60))
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("main", [True, False])
def test_time_that_others_took_does_not_count(main):
    """A sleep stands for a machine that is busy with other things."""
    def waits():
        limited(lambda: time.sleep(0.4), 0.2)

    assert not (waits() if main else elsewhere(waits))


def test_a_limit_that_is_over_interrupts_nothing_later():
    for wait in range(30):  # the time is up just about when the block ends
        with contextlib.suppress(TimeLimit):
            limited(lambda wait=wait: time.sleep(0.001 * wait / 5), 0.001)
    time.sleep(0.1)


@pytest.mark.parametrize("main", [True, False])
def test_what_is_quick_is_left_alone_then_and_later(main):
    def quick():
        for _ in range(20):
            limited(lambda: None, 0.02)
        time.sleep(0.1)

    raised = quick() if main else elsewhere(quick)
    assert not raised


def test_errors_of_the_block_come_through():
    with pytest.raises(KeyError, match="mine"):
        limited(lambda: {}["mine"])
