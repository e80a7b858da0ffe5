from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.data.cache.conftest import MakeCache
from tests.data.cache.secret_dataset import KEY
from yolo.data.cache.header import VERSION, CacheHeader, read_header
from yolo.data.keys import EncryptionKey
from yolo.errors import UserError

SECRET = EncryptionKey(bytes.fromhex(KEY))
FOLDER = Path("some/cache")


@pytest.mark.parametrize("key", [None, SECRET])
def test_a_header_comes_back(key: EncryptionKey | None) -> None:
    header = CacheHeader.new(key)
    assert CacheHeader.unpack(header.pack(), FOLDER) == header
    assert (header.version, header.encrypted) == (VERSION, key is not None)
    assert header.cache_id != CacheHeader.new(key).cache_id


def test_every_flipped_bit_is_found() -> None:
    stored = CacheHeader.new(SECRET).pack()
    for bit in range(8 * len(stored)):
        changed = bytearray(stored)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(UserError, match="header of the cache is damaged"):
            CacheHeader.unpack(bytes(changed), FOLDER)


def test_the_header_tells_nothing_of_the_key() -> None:
    stored = CacheHeader.new(SECRET).pack()
    assert SECRET.secret not in stored
    assert KEY.encode() not in stored


def test_who_cannot_open_it_learns_why() -> None:
    header = CacheHeader.new(SECRET)
    with pytest.raises(UserError, match="some/cache: the cache is encrypted, and there is no key: set YOLO_ENCRYPTION"):
        header.seal(None, FOLDER)
    with pytest.raises(UserError, match="some/cache: wrong key"):
        header.seal(EncryptionKey(bytes(32)), FOLDER)
    with pytest.raises(UserError, match=f"version {VERSION + 1}, this program reads {VERSION}"):
        replace(header, version=VERSION + 1).seal(SECRET, FOLDER)


def test_it_is_read_without_a_key(make_cache: MakeCache) -> None:
    cache, use = make_cache(cache_encrypt=True)
    assert read_header(use.folder) == cache.header
    assert cache.header.encrypted
