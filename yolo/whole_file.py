"""Files and folders that appear under their name only when they are complete (contract 9)."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside `path` to write to; afterwards the file has its name, or after an error is gone."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk names none
        raise
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Gives a name beside `path` to make a folder under; afterwards it has its name, in the place of what was there."""
    with tempfile.TemporaryDirectory(prefix=f"{path.name}.", suffix=".partial", dir=path.parent) as place:
        partial, replaced = Path(place, path.name), Path(place, "replaced")
        yield partial
        if path.exists():
            path.rename(replaced)
        try:
            partial.rename(path)
        except OSError:
            if replaced.exists():
                replaced.rename(path)
            raise


def sync_folder(folder: Path) -> None:
    """Wait until the names in it are on the disk."""
    with contextlib.suppress(OSError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
