"""Files and folders that appear under their name only when they are complete (contract 9)."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
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

    Afterwards files and folders are in `folder`, in place of those that were called so; after an error they are gone,
    and all those are back.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".", suffix=".partial") as temporary:
            yield Path(temporary)
            _put_all(sorted(Path(temporary).iterdir()), folder)
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise


def _put_all(paths: Sequence[Path], folder: Path) -> None:
    """Move files and folders of one temporary folder into `folder`, all or none; what was there takes their place."""
    moved: list[tuple[Path, Path]] = []
    try:
        for path in paths:
            target, old = folder / path.name, path.with_name(f"{path.name}.old")
            for source, place in ((target, old), (path, target)):
                if source.exists():
                    source.rename(place)
                    moved.append((source, place))
    except BaseException:  # SIGTERM, too
        for source, place in reversed(moved):
            place.rename(source)
        raise


def sync_folder(folder: Path) -> None:
    """Wait until the names in it are on the disk."""
    with contextlib.suppress(OSError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
