"""A cache as one file: a tar of `manifest.json`, which says what follows, and the data file.

An archive may come from anybody. Reading takes nothing from it that the manifest does not announce and this page does
not know, in exactly this order; names from it never become paths before they are checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from yolo.data.cache.compression import CHUNK, Compression, compressor, decompressed
from yolo.data.cache.header import DATA_FILE, read_header
from yolo.errors import UserError
from yolo.whole_file import whole_file

MANIFEST = "manifest.json"
_FORMAT = "yolo cache archive"
_VERSION = 1
_FOLDER_NAME = re.compile(r"\.yolo_cache_[A-Za-z0-9._-]{1,100}")
_BLOCK = 512
_RECORD = 20 * _BLOCK  # what tar programs pad an archive to
_MANIFEST_BYTES = 1 << 20
_RATIO = 200  # an archive that unpacks to more than this many times its size is taken for a bomb,
_HARMLESS = 64 << 20  # unless it is no more than this

Tick = Callable[[], None]
"""Called after each MiB."""


@dataclass(frozen=True)
class Member:
    """A file of an archive."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an archive holds."""

    folder: str
    """Name of the cache's folder."""
    members: tuple[Member, ...]

    @property
    def unpacked_bytes(self) -> int:
        """Of all members together."""
        return sum(member.bytes for member in self.members)

    def pack(self) -> bytes:
        """JSON."""
        return json.dumps({"format": _FORMAT, "version": _VERSION, **asdict(self)}, indent=1).encode()


def mebibytes(count: int) -> int:
    """How often a tick comes for so many bytes."""
    return -(-count // CHUNK)


def _folder_at_fault(name: str) -> str | None:
    """Why a folder of this name cannot be in an archive, None if it can."""
    if name.endswith((".partial", ".lock")):
        return "such a name is for caches that are being built"
    if not _FOLDER_NAME.fullmatch(name):
        return "expected .yolo_cache_ and at most 100 letters, digits, dots, hyphens and underscores"
    return None


# Writing


def exportable_bytes(folder: Path) -> int:
    """Size of the cache in `folder`; UserError when it is no complete cache or has a name that no archive can have."""
    read_header(folder)
    name = folder.resolve().name
    if reason := _folder_at_fault(name):
        raise UserError(f"{folder}: the folder {name!r} cannot be exported: {reason}")
    return (folder / DATA_FILE).stat().st_size


def describe(folder: Path, tick: Tick) -> Manifest:
    """The manifest of the cache in `folder`, whose data file is read for its sha256."""
    digest, count = hashlib.sha256(), 0
    with (folder / DATA_FILE).open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            count += len(chunk)
            tick()
    return Manifest(folder.resolve().name, (Member(DATA_FILE, count, digest.hexdigest()),))


def write_archive(folder: Path, manifest: Manifest, output: Path, compression: Compression, tick: Tick) -> None:
    """Write the archive of `manifest`; equal caches give equal archives.

    Raises:
        UserError: The cache has changed since it was described, or shrinks so much that no import would take it.
    """
    with (folder / DATA_FILE).open("rb") as source, whole_file(output) as partial:
        source.seek(manifest.unpacked_bytes // 2)
        engine = compressor(compression, source.read(CHUNK))
        source.seek(0)
        with partial.open("wb") as file:
            for chunk in _tar(manifest, source, tick, folder):
                file.write(engine.compress(chunk))
            file.write(engine.flush())
            file.flush()
            os.fsync(file.fileno())
        if manifest.unpacked_bytes > _most(partial.stat().st_size):
            raise UserError(
                f"{output}: compressed more than {_RATIO} times, which an import would take for an attack: use "
                "--compression none"
            )


def _tar(manifest: Manifest, source: IO[bytes], tick: Tick, folder: Path) -> Iterator[bytes]:
    (member,) = manifest.members
    packed = manifest.pack()
    yield _tar_header(MANIFEST, len(packed)) + packed + _padding(len(packed))
    yield _tar_header(member.name, member.bytes)
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        yield chunk
        tick()
    if digest.hexdigest() != member.sha256:
        raise UserError(f"{folder}: the cache has changed while it was being exported")
    yield _padding(member.bytes) + bytes(2 * _BLOCK)


def _tar_header(name: str, count: int) -> bytes:
    info = tarfile.TarInfo(name)  # mode 644, no owner, 1970
    info.size = count
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(count: int) -> bytes:
    return bytes(-count % _BLOCK)


# Reading


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

    def write_member(self, member: Member, target: IO[bytes], tick: Tick) -> None:
        """Write the next member of the manifest to `target`."""
        count = self._next_header(member.name)
        if count != member.bytes:
            raise self._fault(f"{member.name} has {count:,} bytes, the manifest says {member.bytes:,}")
        digest = hashlib.sha256()
        for start in range(0, member.bytes, CHUNK):
            chunk = self._read(min(CHUNK, member.bytes - start))
            digest.update(chunk)
            target.write(chunk)
            tick()
        self._skip_padding(member.bytes)
        if digest.hexdigest() != member.sha256:
            raise self._fault(f"the content of {member.name} is not what the manifest says (sha256 differs)")

    def finish(self) -> None:
        """Check that nothing follows the last member."""
        rest = self._buffer
        while len(rest) <= _RECORD and (piece := self._next_piece()) is not None:
            rest += piece
        if len(rest) < 2 * _BLOCK:
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
            manifest = _parse_manifest(json.loads(packed))
        except (ValueError, RecursionError) as error:
            reason = "not JSON" if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)) else str(error)
            raise self._fault(f"the manifest cannot be used: {reason}") from error
        if manifest.unpacked_bytes > _most(self.archive_bytes):
            raise self._fault(f"announces {manifest.unpacked_bytes:,} bytes, more than {_RATIO} times its own size")
        return manifest

    def _next_header(self, name: str) -> int:
        """Read the header of a plain file `name`; its bytes."""
        try:
            # One block and no more: `tarfile` itself would follow extended headers, which can say anything.
            info = tarfile.TarInfo.frombuf(self._read(_BLOCK), "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            expected = "not an archive of `yolo cache-export`" if name == MANIFEST else f"no member {name} follows"
            raise self._fault(f"{expected} ({_quote(str(error))})") from error
        if info.type != tarfile.REGTYPE or info.linkname:
            raise self._fault(f"holds {_quote(info.name)}, which is {_kind(info)}, expected the plain file {name}")
        if info.name != name:
            raise self._fault(f"holds {_quote(info.name)}, expected {name}")
        return info.size

    def _skip_padding(self, count: int) -> None:
        if self._read(-count % _BLOCK).strip(b"\0"):
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


def _parse_manifest(document: Any) -> Manifest:
    """ValueError says what is wrong."""
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise ValueError(f"expected the format {_FORMAT!r}")
    if document.get("version") != _VERSION or document["version"] is True:
        raise ValueError(f"version {_quote(document.get('version'))}, this program reads {_VERSION}")
    if set(document) != {"format", "version", "folder", "members"}:
        raise ValueError(f"has the keys {_quote(sorted(document))}")
    folder, members = document["folder"], document["members"]
    reason = _folder_at_fault(folder) if isinstance(folder, str) else "expected text"
    if reason:
        raise ValueError(f"the folder is {_quote(folder)}, {reason}")
    if not isinstance(members, list) or len(members) != 1:
        raise ValueError(f"expected a list of one member, {DATA_FILE}")
    return Manifest(folder, tuple(_parse_member(member) for member in members))


def _parse_member(document: Any) -> Member:
    if not isinstance(document, dict) or set(document) != {"name", "bytes", "sha256"}:
        raise ValueError("a member has other keys than name, bytes and sha256")
    name, count, digest = document["name"], document["bytes"], document["sha256"]
    if name != DATA_FILE:
        raise ValueError(f"lists the member {_quote(name)}, expected {DATA_FILE}")
    if type(count) is not int or not 0 < count < 1 << 60:
        raise ValueError(f"{name} has {_quote(count)} bytes, expected a number above 0")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"{name} has the sha256 {_quote(digest)}, expected 64 hexadecimal digits")
    return Member(name, count, digest)


def _most(archive_bytes: int) -> int:
    return max(_RATIO * archive_bytes, _HARMLESS)


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


def _quote(value: object) -> str:
    text = ascii(value)  # nothing that a terminal would obey
    return text if len(text) <= 80 else f"{text[:77]}..."
