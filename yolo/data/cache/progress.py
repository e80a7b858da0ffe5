"""Progress of long work: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

_SECONDS = 10.0  # between lines


@contextlib.contextmanager
def progress(what: str, total: int, unit: str) -> Iterator[Callable[[], None]]:
    """Gives a function to call after each of `total` units ("images"); shows their rate and the time left."""
    if sys.stdout.isatty():
        yield from _bar(what, total, unit)
    else:
        yield from _lines(what, total, unit)


def _bar(what: str, total: int, unit: str) -> Iterator[Callable[[], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn(f"{{task.fields[rate]:,.0f}} {unit}/s")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    begun = time.monotonic()
    with Progress(*columns) as bar:
        task = bar.add_task(what, total=total, rate=0.0)

        def advance() -> None:
            done = bar.tasks[0].completed + 1
            bar.update(task, advance=1, rate=done / max(time.monotonic() - begun, 1e-9))

        yield advance


def _lines(what: str, total: int, unit: str) -> Iterator[Callable[[], None]]:
    begun = shown = time.monotonic()
    done = 0

    def advance() -> None:
        nonlocal done, shown
        done += 1
        now = time.monotonic()
        if now - shown >= _SECONDS:
            shown, rate = now, done / (now - begun)
            left = (total - done) / rate
            print(f"{what}: {done:,} of {total:,} {unit}, {rate:,.0f}/s, {left:.0f} s left", flush=True)

    yield advance
    seconds = max(time.monotonic() - begun, 1e-9)
    print(f"{what}: {done:,} {unit} in {seconds:.1f} s, {done / seconds:,.0f}/s", flush=True)
