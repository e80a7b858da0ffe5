from __future__ import annotations

import json

import pytest

from tests.data.cache.small_cache import NAME
from yolo.data.cache.manifest import Manifest, folder_at_fault, mebibytes, most_bytes, quoted

MANIFEST = Manifest(NAME, 5000, "ab" * 32)


def test_what_is_packed_is_unpacked_and_readable() -> None:
    packed = MANIFEST.pack()
    assert Manifest.unpack(packed) == MANIFEST
    assert json.loads(packed) == {
        "format": "yolo cache archive",
        "version": 1,
        "folder": NAME,
        "members": [{"name": "data.mdb", "bytes": 5000, "sha256": "ab" * 32}],
    }


@pytest.mark.parametrize(("packed", "expected"), [(b"{", "not JSON"), (b"\xff", "not JSON"), (b"[" * 99_999, "deep")])
def test_what_is_none(packed: bytes, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Manifest.unpack(packed)


def test_limits() -> None:
    assert folder_at_fault(NAME) is None
    assert folder_at_fault("../x") is not None
    assert (mebibytes(0), mebibytes(1), mebibytes(1 << 20), mebibytes((1 << 20) + 1)) == (0, 1, 1, 2)
    assert (most_bytes(1), most_bytes(1 << 20)) == (64 << 20, 200 << 20)
    assert quoted("\x1b" * 99).isprintable()
    assert len(quoted("\x1b" * 99)) == 80
