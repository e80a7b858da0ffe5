"""A cache for tests of what treats caches as files."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np

from yolo.data.cache.header import DATA_FILE, HEADER_KEY, CacheHeader
from yolo.data.keys import EncryptionKey

NAME = ".yolo_cache_64x64_f1.0"


def make_cache(folder: Path, images: int = 8, key: EncryptionKey | None = None, seed: int = 0) -> Path:
    """A cache with a true header and random bytes for images, about 5 KB each."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    size = 1 << 20 if images < 100 else 10_000 * images
    environment = lmdb.open(str(folder / DATA_FILE), subdir=False, lock=False, map_size=size)
    with environment.begin(write=True) as transaction:
        for i in range(images):
            transaction.put(i.to_bytes(8, "big"), rng.bytes(5000))
        transaction.put(HEADER_KEY, CacheHeader.new(key).pack())
    environment.close()
    return folder
