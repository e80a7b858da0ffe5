"""A cache's file, mapped into memory for reading."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo.errors import UserError

_META_PAGES = 2


@dataclass(frozen=True, eq=False)
class Map:
    """The values of a data file by their keys. Views of them stay valid, since a map is never closed."""

    file: Path
    environment: Any
    transaction: Any

    def get(self, key: bytes) -> memoryview | None:
        """The stored bytes without a copy, None when there are none under `key`."""
        import lmdb

        try:
            return self.transaction.get(key)
        except lmdb.Error as error:
            raise UserError(f"{self.file}: the file is damaged ({error}): build the cache anew") from error


# By device and inode: a process may open a file once, and one that was replaced is another file. A forked child goes on
# with the maps it inherits (opening them again is refused): read-only and without locks, nothing in them belongs to one
# process.
_maps: dict[tuple[int, int], Map] = {}


def open_map(file: Path) -> Map:
    """The map of a data file, opened once in a process.

    Raises:
        UserError: There is no file, it is not complete, or it is no such file at all.
    """
    import lmdb

    try:
        status = file.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{file.parent}: there is no cache (no file {file.name} in it)") from error
    identity = status.st_dev, status.st_ino
    found = _maps.get(identity)
    if found is None:
        _require_size(file, status.st_size, _META_PAGES * 4096)
        try:
            environment = lmdb.open(str(file), subdir=False, readonly=True, lock=False)
        except lmdb.Error as error:
            raise UserError(f"{file}: not the data file of a cache, or one whose first page is damaged") from error
        found = Map(file, environment, None)
    # Each time: reading beyond the end of a file that has become shorter would end the process.
    pages = found.environment.info()["last_pgno"] + 1
    _require_size(file, status.st_size, pages * found.environment.stat()["psize"])
    if found.transaction is None:
        found = _maps[identity] = Map(file, found.environment, found.environment.begin(buffers=True))
    return found


def _require_size(file: Path, size: int, expected: int) -> None:
    if size < expected:
        raise UserError(
            f"{file}: the file is truncated, it has {size:,} of at least {expected:,} bytes: "
            "copy it again or build the cache anew"
        )
