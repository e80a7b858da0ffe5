"""Progress of long work: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

_SECONDS = 10.0  # between lines


@contextlib.contextmanager
def progress(what: str, total: int, unit: str, *, errors: bool = False) -> Iterator[Callable[[], None]]:
    """Gives a function to call after each of `total` units ("images"); shows their rate and the time left.

    On the stream of `errors` where the other one is for results.
    """
    stream = sys.stderr if errors else sys.stdout
    yield from (_bar if stream.isatty() else _lines)(what, total, unit, stream)


def _bar(what: str, total: int, unit: str, stream: TextIO) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn(f"{{task.fields[rate]:,.0f}} {unit}/s")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    begun = time.monotonic()
    with Progress(*columns, console=Console(file=stream)) as bar:
        task = bar.add_task(what, total=total, rate=0.0)

        def advance() -> None:
            done = bar.tasks[0].completed + 1
            bar.update(task, advance=1, rate=done / max(time.monotonic() - begun, 1e-9))

        yield advance


def _lines(what: str, total: int, unit: str, stream: TextIO) -> Iterator[Callable[[], None]]:
    begun = shown = time.monotonic()
    done = 0

    def advance() -> None:
        nonlocal done, shown
        done += 1
        now = time.monotonic()
        if now - shown >= _SECONDS:
            shown, rate = now, done / (now - begun)
            left = (total - done) / rate
            print(f"{what}: {done:,} of {total:,} {unit}, {rate:,.0f}/s, {left:.0f} s left", flush=True, file=stream)

    yield advance
    seconds = max(time.monotonic() - begun, 1e-9)
    print(f"{what}: {done:,} {unit} in {seconds:.1f} s, {done / seconds:,.0f}/s", flush=True, file=stream)
