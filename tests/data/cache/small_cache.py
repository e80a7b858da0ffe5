"""A cache for tests of what treats caches as files."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np

from yolo.data.annotations import AnnotatedImage, AnnotatedSet
from yolo.data.cache.header import DATA_FILE, HEADER_KEY, CacheHeader
from yolo.data.cache.spec import CacheSpec, SplitSpec
from yolo.data.cache.tables import INDEX, SPEC, Index, image_key, pack_spec, pack_split, table_key
from yolo.data.keys import EncryptionKey
from yolo.data.packing import pack

NAME = ".yolo_cache_64x64_f1.0"


def make_cache(folder: Path, images: int = 8, key: EncryptionKey | None = None, seed: int = 0) -> Path:
    """A cache with a true header, true tables and random bytes for images, about 5 KB each."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    header = CacheHeader.new(key)
    seal = header.seal(key, folder)
    nothing = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_), np.zeros(0))
    records = [AnnotatedImage(Path(f"{i}.png"), i, (40, 50), *nothing) for i in range(images)]
    packed = pack(AnnotatedSet(records, ("a",), (0,)), Path())
    split = SplitSpec(images, "", "", 0, 0)
    spec = CacheSpec("yolo", (64, 64), 1.0, 0, "jpeg", False, 95, key is not None, "", {"train": split})
    values = {image_key(i): rng.bytes(5000) for i in range(images)}
    values[SPEC] = pack_spec(spec)
    values[INDEX] = Index([f"{i}.png" for i in range(images)], np.full((images, 2), (40, 50), np.int32)).pack()
    values[table_key("train")] = pack_split(range(images), packed)
    size = 1 << 20 if images < 100 else 10_000 * images
    environment = lmdb.open(str(folder / DATA_FILE), subdir=False, lock=False, map_size=size)
    with environment.begin(write=True) as transaction:
        for name, value in values.items():
            transaction.put(name, seal.close(name, value))
        transaction.put(HEADER_KEY, header.pack())
    environment.close()
    return folder
