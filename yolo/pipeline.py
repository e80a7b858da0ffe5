"""Reading, computing and writing at the same time: threads before and after a loop, with bounded queues."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")
Arguments = ParamSpec("Arguments")


def read_ahead(
    function: Callable[[Item], Value], items: Iterable[Item], threads: int, ahead: int
) -> Generator[Value, None, None]:
    """`function(item)` of each item, in their order, computed by threads while the caller works.

    Args:
        function: must allow calls from several threads; what it raises is raised in the caller, in its turn.
        items: taken as they are needed, so may have no end.
        threads: number of them.
        ahead: most results that wait for the caller.

    Close the iterator (`contextlib.closing`) when leaving it early: that waits for calls that have begun.
    """
    pool = ThreadPoolExecutor(threads, "read")
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


class WriteBehind:
    """Calls functions in threads while the caller works; a context, at whose end all calls have ended.

    What a call raises is raised in the caller by a later `submit` or at the end. When the caller fails, calls that have
    not begun never do.

    Args:
        threads: number of them; with one, calls keep their order.
        waiting: most calls that wait or run; `submit` waits for the oldest beyond.
    """

    def __init__(self, threads: int, waiting: int) -> None:
        self.waiting = waiting
        self._pool = ThreadPoolExecutor(threads, "write")
        self._calls: deque[Future[object]] = deque()

    def submit(self, function: Callable[Arguments, object], *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        """Have `function(*args, **kwargs)` called soon."""
        while self._calls and (len(self._calls) >= self.waiting or self._calls[0].done()):
            self._calls.popleft().result()
        self._calls.append(self._pool.submit(function, *args, **kwargs))

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while kind is None and self._calls:
                self._calls.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)


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
