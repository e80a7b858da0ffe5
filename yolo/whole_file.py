"""Files that appear under their name only when they are complete (contract 9)."""

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
def whole_files(folder: Path) -> Iterator[Path]:
    """Gives a temporary folder inside `folder` to write files to under their names, so that they are whole together.

    Afterwards they are in `folder`, in place of those that were called so; after an error they are gone.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".", suffix=".partial") as temporary:
            yield Path(temporary)
            for path in sorted(Path(temporary).iterdir()):
                path.replace(folder / path.name)
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise


def sync_folder(folder: Path) -> None:
    """Wait until the names in it are on the disk."""
    with contextlib.suppress(OSError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
