"""Building ahead: order, errors, how far ahead, and an end to the thread."""

from __future__ import annotations

import threading
import time

import pytest

from episodes.sampling.prefetch import prefetch


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.parametrize("depth", [1, 3, 50])
def test_items_come_in_order_from_another_thread(depth: int) -> None:
    def build(step: int) -> tuple[int, str]:
        time.sleep(0.001 * (step % 3))
        return step, threading.current_thread().name

    items = list(prefetch(build, range(7, 27), depth))
    assert [step for step, _ in items] == list(range(7, 27))
    assert {name for _, name in items} == {"prefetch_0"}
    assert not threads()


def test_several_threads_build_at_once_and_the_order_stays() -> None:
    together = threading.Barrier(3, timeout=10)

    def build(step: int) -> tuple[int, str]:
        if step < 3:
            together.wait()  # passed by three threads at once or not at all
        time.sleep(0.002 * (step % 4))
        return step, threading.current_thread().name

    items = list(prefetch(build, range(20), 12, workers=3))
    assert [step for step, _ in items] == list(range(20))
    assert {name for _, name in items} == {"prefetch_0", "prefetch_1", "prefetch_2"}
    assert not threads()


def test_no_steps_no_items() -> None:
    assert list(prefetch(lambda step: step, range(4, 4), 2)) == []


def test_an_error_comes_in_place_of_its_item() -> None:
    def build(step: int) -> int:
        if step == 3:
            raise OSError("the disk is gone")
        return step

    stream = prefetch(build, range(10), 4)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(stream)
    assert not threads()


def test_it_builds_ahead_but_no_further_than_depth() -> None:
    built: list[int] = []
    stream = prefetch(lambda step: built.append(step) or step, range(100), 3)
    assert next(stream) == 0
    deadline = time.monotonic() + 10
    while len(built) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert built == [0, 1, 2, 3]
    stream.close()


def test_closing_ends_the_thread_and_drops_what_waits() -> None:
    built: list[int] = []

    def build(step: int) -> int:
        time.sleep(0.02)
        built.append(step)
        return step

    stream = prefetch(build, range(100), 20)
    assert next(stream) == 0
    assert threads()
    stream.close()
    assert not threads()
    assert len(built) <= 3


def test_depth_below_one_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="depth is 0"):
        next(prefetch(lambda step: step, range(3), 0))
