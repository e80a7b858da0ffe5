"""One builder at a time."""

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
        _lock(file.fileno(), folder)
        yield


def _lock(descriptor: int, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for another process that builds {folder}", flush=True)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
