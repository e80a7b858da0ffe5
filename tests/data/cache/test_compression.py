from __future__ import annotations

import io
import os

import pytest

from yolo.data.cache.compression import CHUNK, Compression, compressor, decompressed

KINDS: list[Compression] = ["gzip", "zstd", "none"]


def squeeze(kind: Compression, data: bytes) -> bytes:
    engine = compressor(kind, data[:CHUNK])
    pieces = [engine.compress(data[i : i + 70_000]) for i in range(0, len(data), 70_000)]
    return b"".join([*pieces, engine.flush()])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", [b"", b"x", bytes(5 << 20), os.urandom(3 << 20), b"the same thing again " * 100_000])
def test_round_trip(kind: Compression, data: bytes) -> None:
    packed = squeeze(kind, data)
    pieces = list(decompressed(io.BytesIO(packed)))
    assert b"".join(pieces) == data
    assert all(len(piece) <= CHUNK for piece in pieces)
    assert squeeze(kind, data) == packed


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_only_what_shrinks_is_shrunk(kind: Compression) -> None:
    assert len(squeeze(kind, bytes(1 << 20))) < 10_000
    assert len(squeeze(kind, os.urandom(1 << 20))) < 1.001 * (1 << 20)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_damage_is_a_value_error(kind: Compression) -> None:
    packed = squeeze(kind, b"the same thing again " * 100_000)
    for damaged in (packed[:-1], packed[:20], packed + b"x", packed + packed, packed[:10] + b"\xff" * 30):
        with pytest.raises(ValueError, match=r"truncated|damaged|follows"):
            list(decompressed(io.BytesIO(damaged)))
