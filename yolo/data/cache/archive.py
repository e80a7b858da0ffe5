"""Writing a cache into one file (manifest.py)."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from yolo.data.cache.compression import CHUNK, Compression, compressor
from yolo.data.cache.header import DATA_FILE, read_header
from yolo.data.cache.manifest import BLOCK, MANIFEST, RATIO, Manifest, Tick, folder_at_fault, most_bytes
from yolo.errors import UserError
from yolo.whole_file import whole_file


def exportable_bytes(folder: Path) -> int:
    """Size of the cache in `folder`; UserError when it is no complete cache or has a name that no archive can have."""
    read_header(folder)
    name = folder.resolve().name
    if reason := folder_at_fault(name):
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
    return Manifest(folder.resolve().name, count, digest.hexdigest())


def write_archive(folder: Path, manifest: Manifest, output: Path, compression: Compression, tick: Tick) -> None:
    """Write the archive of `manifest`; equal caches give equal archives.

    Raises:
        UserError: The cache has changed since it was described, or shrinks so much that no import would take it.
    """
    with (folder / DATA_FILE).open("rb") as source, whole_file(output) as partial:
        source.seek(manifest.data_bytes // 2)
        engine = compressor(compression, source.read(CHUNK))
        source.seek(0)
        with partial.open("wb") as file:
            for chunk in _tar(manifest, source, tick, folder):
                file.write(engine.compress(chunk))
            file.write(engine.flush())
            file.flush()
            os.fsync(file.fileno())
        if manifest.data_bytes > most_bytes(partial.stat().st_size):
            raise UserError(
                f"{output}: compressed more than {RATIO} times, which an import would take for an attack: use "
                "--compression none"
            )


def _tar(manifest: Manifest, source: IO[bytes], tick: Tick, folder: Path) -> Iterator[bytes]:
    packed = manifest.pack()
    yield _tar_header(MANIFEST, len(packed)) + packed + _padding(len(packed))
    yield _tar_header(DATA_FILE, manifest.data_bytes)
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        yield chunk
        tick()
    if digest.hexdigest() != manifest.sha256:
        raise UserError(f"{folder}: the cache has changed while it was being exported")
    yield _padding(manifest.data_bytes) + bytes(2 * BLOCK)


def _tar_header(name: str, count: int) -> bytes:
    info = tarfile.TarInfo(name)  # mode 644, no owner, 1970
    info.size = count
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(count: int) -> bytes:
    return bytes(-count % BLOCK)
