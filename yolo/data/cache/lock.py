"""One builder, one import at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from yolo.errors import UserError


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder` (a file `<folder>.lock` beside it), waiting for another process that has it.

    The system takes it back from a process that dies.

    Raises:
        UserError: The folder above cannot be written to.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = folder.with_name(f"{folder.name}.lock").open("a")
    except OSError as error:
        raise UserError(
            f"{folder.parent}: a cache cannot be written there ({error.strerror}): choose another data.cache_dir"
        ) from error
    with file:
        if not try_lock(file.fileno()):
            print(f"waiting for another process that builds {folder}", flush=True)
            try_lock(file.fileno(), wait=True)
        yield


def try_lock(descriptor: int, *, wait: bool = False) -> bool:
    """Lock an open file until it is closed or the process ends; False when another has it and we do not `wait`."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
