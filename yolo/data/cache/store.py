"""A cache that is there: its images, splits and labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo.data.annotations import AnnotatedSet
from yolo.data.cache.environment import Map, open_map
from yolo.data.cache.header import DATA_FILE, CacheHeader, read_header
from yolo.data.cache.seal import Seal, SealError
from yolo.data.cache.spec import CacheSpec
from yolo.data.keys import EncryptionKey
from yolo.data.loaders import Image
from yolo.data.packing import unpack
from yolo.errors import UserError

_READ_BYTES = 8 << 20
_FIRST_TABLE = 1 << 63
_TABLES = ("spec", "index", "train", "val")


def image_key(number: int) -> bytes:
    """The key of an image's value."""
    return number.to_bytes(8, "big")


def table_key(name: str) -> bytes:
    """The key of a table's value: a number that no image reaches, since keys are in clear."""
    return (_FIRST_TABLE + _TABLES.index(name)).to_bytes(8, "big")


SPEC = table_key("spec")
INDEX = table_key("index")


@dataclass(frozen=True, slots=True)
class Index:
    """Which images there are: number i is the value under image_key(i)."""

    paths: list[str]
    """As in the packed splits: relative to the dataset, or absolute."""
    sizes: NDArray[np.int32]
    """[N, 2] height and width as stored."""

    def pack(self) -> bytes:
        """As bytes."""
        import msgpack

        return msgpack.packb({"paths": self.paths, "sizes": np.asarray(self.sizes, "<i4").tobytes()})

    @classmethod
    def unpack(cls, data: NDArray[np.uint8]) -> Index:
        """What `pack` gave."""
        import msgpack

        document = msgpack.unpackb(data)
        return cls(document["paths"], np.frombuffer(document["sizes"], "<i4").reshape(-1, 2))


def pack_split(numbers: Sequence[int], packed: bytes) -> bytes:
    """A split: the numbers of its images and its annotations (`packing.pack`)."""
    import msgpack

    return msgpack.packb({"numbers": np.asarray(numbers, "<i8").tobytes(), "annotations": packed})


@dataclass(frozen=True, eq=False)
class Cache:
    """An open cache; `open_cache` makes it."""

    folder: Path
    header: CacheHeader
    key: EncryptionKey | None = field(repr=False)
    seal: Seal = field(repr=False)
    map: Map = field(repr=False)

    @cached_property
    def spec(self) -> CacheSpec:
        """What it is made of."""
        return CacheSpec.from_document(json.loads(self.table(SPEC, "its settings").tobytes()))

    @cached_property
    def index(self) -> Index:
        """Its images."""
        return Index.unpack(self.table(INDEX, "its list of images"))

    @property
    def file_size(self) -> int:
        """In bytes."""
        return (self.folder / DATA_FILE).stat().st_size

    def image(self, number: int, *, check: bool = False) -> Image:
        """Image `number` as uint8 [H, W, 3] RGB, read-only where it can be had without a copy.

        Damage to an encrypted value is always found, to one in clear with `check`.

        Raises:
            UserError: names the image whose value is missing, damaged or another's.
        """
        value = self.value(image_key(number), self.index.paths[number], check=check)
        height, width = self.index.sizes[number].tolist()
        try:
            return self.spec.codec.decode(value, (height, width))
        except ValueError as error:
            path = self.index.paths[number]
            raise UserError(f"{self.folder}: {path} is damaged in the cache ({error}): build the cache anew") from error

    def split(self, name: str, root: Path) -> tuple[AnnotatedSet, NDArray[np.int64]]:
        """The annotations of a split, its paths below `root`, and the numbers [N] of its images."""
        import msgpack

        if name not in self.spec.splits:
            raise UserError(f"{self.folder}: the cache has no {name} split, only {', '.join(self.spec.splits)}")
        document = msgpack.unpackb(self.table(table_key(name), f"its {name} split"))
        return unpack(document["annotations"], root), np.frombuffer(document["numbers"], "<i8")

    def pixels(self, numbers: NDArray[np.int64]) -> CachedPixels:
        """The images of a split, by position in it."""
        return CachedPixels(self, numbers)

    def read_ahead(self) -> None:
        """Have the system read the whole file into memory, which all processes then share."""
        buffer = bytearray(_READ_BYTES)
        with (self.folder / DATA_FILE).open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    def table(self, key: bytes, what: str) -> NDArray[np.uint8]:
        """The checked value of a table."""
        return self.value(key, what, check=True)

    def value(self, key: bytes, what: str, *, check: bool) -> NDArray[np.uint8]:
        """The value under `key`, uint8 [n]; `what` an error says of it."""
        stored = self.map.get(key)
        if stored is None:
            raise UserError(f"{self.folder}: {what} is missing in the cache: build the cache anew")
        try:
            return self.seal.open(key, stored, check=check)
        except SealError as error:
            if error.belongs_to is None:
                raise UserError(f"{self.folder}: {what} is damaged in the cache: build the cache anew") from error
            other = self._name(error.belongs_to)
            raise UserError(
                f"{self.folder}: values were exchanged, where {what} should be there is {other}: build the cache anew"
            ) from error

    def _name(self, key: bytes) -> str:
        number = int.from_bytes(key, "big")
        return self.index.paths[number] if number < _FIRST_TABLE else f"table {_TABLES[number - _FIRST_TABLE]!r}"


def open_cache(folder: Path, key: EncryptionKey | None) -> Cache:
    """Open the cache in `folder`; `key` is only needed when it is encrypted.

    Raises:
        UserError: There is none, its file is truncated, its header is damaged, there is no key for it, or the key is
            wrong: each its own sentence.
    """
    header = read_header(folder)
    return Cache(folder, header, key, header.seal(key, folder), open_map(folder / DATA_FILE))


class CachedPixels:
    """The images of a split, from a cache (`yolo.data.pixels.PixelSource`).

    A copy in another process opens the cache there, with its first image.
    """

    def __init__(self, cache: Cache, numbers: NDArray[np.int64]) -> None:
        self.numbers = numbers
        self._cache: Cache | None = cache
        self._origin = cache.folder, cache.key, cache.header.cache_id

    def __call__(self, index: int) -> Image:
        """Image `index` of the split; UserError when its value is missing or damaged."""
        if self._cache is None:
            folder, key, cache_id = self._origin
            self._cache = open_cache(folder, key)
            if self._cache.header.cache_id != cache_id:
                raise UserError(f"{folder}: the cache was built anew while it was in use: start again")
        return self._cache.image(int(self.numbers[index]))

    def __getstate__(self) -> dict[str, Any]:
        return {"numbers": self.numbers, "_cache": None, "_origin": self._origin}
