"""Reading, computing and writing at the same time: threads before and after a step, with bounded queues."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


def in_threads(
    function: Callable[[Item], Value], items: Iterable[Item], threads: int, ahead: int
) -> Generator[Value, None, None]:
    """`function(item)` of each item, in their order, computed by threads while the caller works.

    One before a step of the caller's reads ahead of it; one over the step's results writes behind it.

    Args:
        function: must allow calls from several threads; what it raises is raised in the caller, in its turn.
        items: taken in the caller's thread as they are needed, so may have no end.
        threads: number of them; with one, calls keep their order.
        ahead: most results that wait for the caller.

    Close the iterator (`contextlib.closing`) when leaving it early: that waits for calls that have begun.
    """
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Value]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def sigterm_unwinds() -> Iterator[None]:
    """SIGTERM ends the program as Ctrl-C does, with what is half written removed, by status 143."""
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers in no other
        yield
        return
    previous = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
