"""Compressed streams of archives. Reading is for files of anybody's making: never much more in memory than was asked
for, one stream from the first byte of the file to its last, and ValueError for anything else."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import IO, Literal, Protocol

Compression = Literal["gzip", "zstd", "none"]
ENDINGS: dict[Compression, tuple[str, ...]] = {
    "gzip": (".tar.gz", ".tgz"),
    "zstd": (".tar.zst", ".tzst"),
    "none": (".tar",),
}

CHUNK = 1 << 20
_ZSTD_CHUNK = 1024  # of input, since output cannot be bounded: at most 32 MiB come of it
_GZIP = 31  # zlib's window bits for gzip
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


class Compressor(Protocol):
    """Both libraries' objects, and ours that does nothing."""

    def compress(self, data: bytes, /) -> bytes:
        """What is ready of the compressed stream."""
        ...

    def flush(self) -> bytes:
        """The rest of it."""
        ...


class _Nothing:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def compressor(compression: Compression, sample: bytes) -> Compressor:
    """The same input gives the same output each time.

    gzip stores what `sample` shows not to shrink, as JPEG images and encrypted data do not: it would take 20 times as
    long and save nothing.
    """
    if compression == "gzip":
        level = 1 if len(zlib.compress(sample, 1)) < 0.95 * len(sample) else 0
        return zlib.compressobj(level, zlib.DEFLATED, _GZIP)
    if compression == "zstd":
        import zstandard

        # With threads even if there is one: the output depends on whether there are any, but not on how many.
        return zstandard.ZstdCompressor(level=3, threads=os.cpu_count() or 1, write_checksum=True).compressobj()
    return _Nothing()


def decompressed(file: IO[bytes]) -> Iterator[bytes]:
    """The content of `file`, told by its first bytes, in pieces.

    Raises:
        ValueError: The stream is damaged, ends early, or something follows it.
    """
    start = file.read(4)
    file.seek(0)
    kind = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), "none")
    if kind == "gzip":
        yield from _gunzip(file)
    elif kind == "zstd":
        yield from _unzstd(file)
    else:
        while data := file.read(CHUNK):
            yield data


def _gunzip(file: IO[bytes]) -> Iterator[bytes]:
    engine = zlib.decompressobj(_GZIP)
    while not engine.eof:
        data = engine.unconsumed_tail or _more(file, CHUNK)
        try:
            yield engine.decompress(data, CHUNK)
        except zlib.error as error:
            raise ValueError(f"the gzip stream is damaged ({error})") from error
    _require_end(file, engine.unused_data)


def _unzstd(file: IO[bytes]) -> Iterator[bytes]:
    import zstandard

    engine = zstandard.ZstdDecompressor().decompressobj()
    while not engine.eof:
        data = _more(file, _ZSTD_CHUNK)
        try:
            output = engine.decompress(data)
        except zstandard.ZstdError as error:
            raise ValueError(f"the zstd stream is damaged ({error})") from error
        for start in range(0, len(output), CHUNK):
            yield output[start : start + CHUNK]
    _require_end(file, engine.unused_data)


def _more(file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if not data:
        raise ValueError("the file is truncated")
    return data


def _require_end(file: IO[bytes], unused: bytes) -> None:
    if unused or file.read(1):
        raise ValueError("something follows the end of the compressed stream")
