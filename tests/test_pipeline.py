from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from itertools import count, islice

import pytest

from yolo.pipeline import in_threads, sigterm_unwinds


def test_results_keep_the_order_of_the_items() -> None:
    def slow(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * item

    assert list(in_threads(slow, range(20), threads=4, ahead=5)) == [i * i for i in range(20)]


def test_calls_run_beside_the_caller_and_are_bounded() -> None:
    done: list[int] = []
    results = in_threads(done.append, count(), threads=2, ahead=3)
    with contextlib.closing(results):
        next(results)
        time.sleep(0.1)
        assert 2 <= len(done) <= 4  # what is ahead is there, and no more
        assert threading.active_count() > 1


def test_a_chain_of_two_reads_ahead_and_writes_behind() -> None:
    place: list[tuple[str, int]] = []
    main = threading.get_ident()

    def step(item: int) -> int:
        place.append(("step", threading.get_ident()))
        return item

    first = in_threads(lambda i: i, range(9), 2, 2)
    last = in_threads(lambda i: (i, threading.get_ident()), map(step, first), 1, 2)
    results = list(last)
    assert [i for i, _ in results] == list(range(9))
    assert {ident for _, ident in place} == {main}
    assert main not in {ident for _, ident in results}


def test_with_one_thread_calls_keep_their_order() -> None:
    seen: list[int] = []
    list(in_threads(seen.append, range(50), threads=1, ahead=8))
    assert seen == list(range(50))


def test_an_error_reaches_the_caller_in_its_turn() -> None:
    def fail(item: int) -> int:
        if item == 3:
            raise OSError("disk full")
        return item

    results = in_threads(fail, range(100), threads=2, ahead=4)
    assert list(islice(results, 3)) == [0, 1, 2]
    with pytest.raises(OSError, match="disk full"):
        next(results)


def test_leaving_early_ends_the_threads() -> None:
    before = threading.active_count()
    with contextlib.closing(in_threads(lambda i: i, count(), 3, 6)) as results:
        next(results)
    assert threading.active_count() == before


def test_sigterm_unwinds() -> None:
    cleaned = []
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop, sigterm_unwinds():  # noqa: PT012
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            cleaned.append(True)
    assert stop.value.code == 143
    assert cleaned
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    errors = []

    def use() -> None:
        try:
            with sigterm_unwinds():
                pass
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert not errors
