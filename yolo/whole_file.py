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
def whole_files(folder: Path) -> Iterator[Path]:
    """Gives a temporary folder inside `folder` to write to under the final names, so that all is whole together.

    Afterwards files and folders are in `folder`, in place of those that were called so; after an error they are gone.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".", suffix=".partial") as temporary:
            yield Path(temporary)
            for path in sorted(Path(temporary).iterdir()):
                _put(path, folder / path.name)
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise


def _put(path: Path, target: Path) -> None:
    """Give a file or a folder its name, also where a folder has it, which goes to where the new one was."""
    if not path.is_dir() or not target.is_dir():
        path.replace(target)
        return
    old = path.with_name(f"{path.name}.old")
    target.rename(old)
    try:
        path.rename(target)
    except OSError:
        old.rename(target)
        raise


def sync_folder(folder: Path) -> None:
    """Wait until the names in it are on the disk."""
    with contextlib.suppress(OSError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
