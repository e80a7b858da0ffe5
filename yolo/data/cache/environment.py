"""A cache's file, mapped into memory for reading."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo.data.cache.damage import ANEW
from yolo.data.cache.pages import DamagedPagesError, check_tree, read_tree
from yolo.errors import UserError

_META_PAGES = 2


@dataclass(frozen=True, eq=False)
class Map:
    """The values of a data file by their keys. Views of them stay valid, since a map is never closed."""

    file: Path
    size: int
    """Bytes that the file must have."""
    transaction: Any

    def get(self, key: bytes) -> memoryview | None:
        """The stored bytes without a copy, None when there are none under `key`."""
        import lmdb

        try:
            return self.transaction.get(key)
        except lmdb.Error as error:
            raise UserError(f"{self.file}: the file is damaged ({error}): {ANEW}") from error


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
    if identity in _maps:
        # Reading beyond the end of a file that has become shorter would end the process.
        _require_size(file, status.st_size, _maps[identity].size)
        return _maps[identity]
    size = _check(file, status.st_size)
    try:
        environment = lmdb.open(str(file), subdir=False, readonly=True, lock=False)
    except lmdb.Error as error:
        raise UserError(f"{file}: the file is damaged ({error}): {ANEW}") from error
    return _maps.setdefault(identity, Map(file, size, environment.begin(buffers=True)))


def _check(file: Path, found: int) -> int:
    """The size that the file must have; it has it, and its pages are sound."""
    _require_size(file, found, _META_PAGES * 4096)
    with file.open("rb") as opened:
        try:
            tree = read_tree(opened.fileno())
            _require_size(file, found, tree.bytes)
            check_tree(opened.fileno(), tree)
        except DamagedPagesError as error:
            raise UserError(f"{file}: not the data file of a cache, or a damaged one ({error}): {ANEW}") from error
    return tree.bytes


def _require_size(file: Path, size: int, expected: int) -> None:
    if size < expected:
        raise UserError(
            f"{file}: the file is truncated, it has {size:,} of at least {expected:,} bytes: copy it again or {ANEW}"
        )
