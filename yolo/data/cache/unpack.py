"""From an archive to a cache's folder: all of it under its name, or nothing at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from yolo.data.cache.archive_reader import ArchiveReader
from yolo.data.cache.header import DATA_FILE, read_header
from yolo.data.cache.lock import try_lock
from yolo.data.cache.manifest import mebibytes
from yolo.data.cache.store import open_cache
from yolo.data.keys import find_key
from yolo.errors import UserError
from yolo.progress import progress
from yolo.whole_file import sync_folder

_CACHE_FILES = {DATA_FILE, "lock.mdb"}


def import_archive(archive: Path, output: Path, *, force: bool = False) -> Path:
    """Unpack `archive` into its folder below `output`, and return that.

    Args:
        archive: What cache-export wrote, or what anybody says that is.
        output: Folder that gets the cache's folder; made if it is missing.
        force: Replace a cache that is there, but nothing else.

    Raises:
        UserError: The archive is at fault, the cache is there already, or the space does not suffice; then everything
            is as it was before.
    """
    if not archive.is_file():
        raise UserError(f"{archive}: no such archive")
    with archive.open("rb") as file:
        reader = ArchiveReader(archive, file)
        target = output / reader.manifest.folder
        _require_free(target, force)
        _require_space(output, reader.manifest.data_bytes)
        with _made(output), _partial(target) as (folder, data):
            with progress("importing", mebibytes(reader.manifest.data_bytes), "MiB") as tick:
                reader.write_data(data, tick)
                reader.finish()
            data.flush()
            os.fsync(data.fileno())
            try:
                _require_usable(folder)
            except UserError as error:
                raise UserError(
                    f"{archive}: holds no cache that can be used ({error}); nothing was imported"
                ) from error
            _require_free(target, force)  # it may have taken long
            _move(folder, target)
    return target


def _require_usable(folder: Path) -> None:
    """UserError unless everything but the images of the cache is as we write it, as far as the key at hand opens it."""
    header = read_header(folder)
    key = find_key() if header.encrypted else None
    if header.encrypted and (key is None or not header.is_key(key)):
        return
    open_cache(folder, key).require_sound()


def _require_free(target: Path, force: bool) -> None:
    if not os.path.lexists(target):
        return
    is_cache = not target.is_symlink() and target.is_dir() and {p.name for p in target.iterdir()} <= _CACHE_FILES
    if not is_cache:
        raise UserError(f"{target}: exists already and is not just a cache; nothing was imported")
    if not force:
        raise UserError(f"{target}: exists already: choose another --output, or --force to replace this cache")


def _require_space(output: Path, needed: int) -> None:
    there = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise UserError(f"{there}: is a file, expected --output to be a folder")
    free = shutil.disk_usage(there).free
    if needed > free:
        raise UserError(
            f"{output}: the cache needs {mebibytes(needed):,} MiB, and only {free >> 20:,} MiB are free; nothing was "
            "imported"
        )


@contextlib.contextmanager
def _made(output: Path) -> Iterator[None]:
    """Make the folder, and take it away again, with those above it that were missing too, when the import fails."""
    missing = [folder for folder in (output, *output.parents) if not folder.exists()]
    output.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):  # somebody else's file is in it
                folder.rmdir()
        raise


@contextlib.contextmanager
def _partial(target: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A folder beside `target` with an empty data file to write; after an error it is removed.

    The file is locked, which ends with the process: so one import at a time, and what a killed one left is cleared.
    """
    folder = target.with_name(f"{target.name}.import.partial")
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise UserError(f"{folder}: is in the way, expected nothing or a folder of this name; nothing was imported")
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(folder / DATA_FILE, flags, 0o666), "r+b") as data:
        if not try_lock(data.fileno()):
            raise UserError(f"{folder}: another import is writing there; nothing was imported")
        try:
            for path in folder.iterdir():
                if path.name != DATA_FILE:
                    path.unlink()
            data.truncate(0)
            yield folder, data
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _move(folder: Path, target: Path) -> None:
    """Give the cache its name, or its data file that of the cache that is there: in one step each."""
    if target.exists():
        (folder / DATA_FILE).replace(target / DATA_FILE)
        folder.rmdir()
    else:
        folder.rename(target)
    sync_folder(target.parent)
