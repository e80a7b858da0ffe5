"""Reading a cache out of one file (manifest.py), which may come from anybody.

Nothing is taken that the manifest does not announce and this page does not know, in exactly this order.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path
from typing import IO

from yolo.data.cache.compression import CHUNK, decompressed
from yolo.data.cache.header import DATA_FILE
from yolo.data.cache.manifest import BLOCK, MANIFEST, RATIO, Manifest, Tick, most_bytes, quoted
from yolo.errors import UserError

_RECORD = 20 * BLOCK  # what tar programs pad an archive to
_MANIFEST_BYTES = 1 << 20


class ArchiveReader:
    """An archive being read from its start to its end.

    Raises:
        UserError: It is not what `write_archive` makes; also from the methods.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self.archive_bytes = os.fstat(file.fileno()).st_size
        self._pieces = decompressed(file)
        self._buffer = b""
        self.manifest = self._read_manifest()

    def write_data(self, target: IO[bytes], tick: Tick) -> None:
        """Write the data file of the cache to `target`."""
        expected = self.manifest.data_bytes
        count = self._next_header(DATA_FILE)
        if count != expected:
            raise self._fault(f"{DATA_FILE} has {count:,} bytes, the manifest says {expected:,}")
        digest = hashlib.sha256()
        for start in range(0, expected, CHUNK):
            chunk = self._read(min(CHUNK, expected - start))
            digest.update(chunk)
            target.write(chunk)
            tick()
        self._skip_padding(expected)
        if digest.hexdigest() != self.manifest.sha256:
            raise self._fault(f"the content of {DATA_FILE} is not what the manifest says (sha256 differs)")

    def finish(self) -> None:
        """Check that nothing follows the data file."""
        rest = self._buffer
        while len(rest) <= _RECORD and (piece := self._next_piece()) is not None:
            rest += piece
        if len(rest) < 2 * BLOCK:
            raise self._fault("the file is truncated")
        if len(rest) > _RECORD or rest.strip(b"\0"):
            raise self._fault("something follows the last member that the manifest lists")

    def _read_manifest(self) -> Manifest:
        count = self._next_header(MANIFEST)
        if not 0 < count <= _MANIFEST_BYTES:
            raise self._fault(f"{MANIFEST} has {count:,} bytes, expected 1 to {_MANIFEST_BYTES:,}")
        packed = self._read(count)
        self._skip_padding(count)
        try:
            manifest = Manifest.unpack(packed)
        except ValueError as error:
            raise self._fault(f"the manifest cannot be used: {error}") from error
        if manifest.data_bytes > most_bytes(self.archive_bytes):
            raise self._fault(f"announces {manifest.data_bytes:,} bytes, more than {RATIO} times its own size")
        return manifest

    def _next_header(self, name: str) -> int:
        """Read the header of a plain file `name`; its bytes."""
        try:
            # One block and no more: `tarfile` itself would follow extended headers, which can say anything.
            info = tarfile.TarInfo.frombuf(self._read(BLOCK), "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            expected = "not an archive of `yolo cache-export`" if name == MANIFEST else f"no member {name} follows"
            raise self._fault(f"{expected} ({quoted(str(error))})") from error
        if info.type != tarfile.REGTYPE or info.linkname:
            raise self._fault(f"holds {quoted(info.name)}, which is {_kind(info)}, expected the plain file {name}")
        if info.name != name:
            raise self._fault(f"holds {quoted(info.name)}, expected {name}")
        return info.size

    def _skip_padding(self, count: int) -> None:
        if self._read(-count % BLOCK).strip(b"\0"):
            raise self._fault("something is hidden between the members")

    def _read(self, count: int) -> bytes:
        """Exactly so many bytes."""
        parts, missing = [self._buffer], count - len(self._buffer)
        while missing > 0:
            if (piece := self._next_piece()) is None:
                raise self._fault("the file is truncated")
            parts.append(piece)
            missing -= len(piece)
        data = b"".join(parts)
        self._buffer = data[count:]
        return data[:count]

    def _next_piece(self) -> bytes | None:
        try:
            return next(self._pieces, None)
        except ValueError as error:
            raise self._fault(str(error)) from error

    def _fault(self, sentence: str) -> UserError:
        return UserError(f"{self.path}: {sentence}; nothing was imported")


def _kind(info: tarfile.TarInfo) -> str:
    names = {
        tarfile.SYMTYPE: "a symbolic link",
        tarfile.LNKTYPE: "a hard link",
        tarfile.DIRTYPE: "a folder",
        tarfile.CHRTYPE: "a device",
        tarfile.BLKTYPE: "a device",
        tarfile.FIFOTYPE: "a pipe",
    }
    return names.get(info.type, "an extended header or another special entry")
