"""A cache that is there: its images, splits and labels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo.data.annotations import AnnotatedSet
from yolo.data.cache.damage import ANEW, damaged, shown
from yolo.data.cache.environment import Map
from yolo.data.cache.header import DATA_FILE, CacheHeader, open_header
from yolo.data.cache.seal import Seal, SealError
from yolo.data.cache.spec import CacheSpec
from yolo.data.cache.tables import (
    INDEX,
    SPEC,
    Index,
    check_split,
    image_key,
    name_of,
    read_index,
    read_spec,
    table_key,
    unpack_split,
)
from yolo.data.keys import EncryptionKey
from yolo.data.loaders import Image
from yolo.data.packing import unpack
from yolo.errors import UserError

_READ_BYTES = 8 << 20


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
        """What it is made of; UserError when its table is damaged, as with the others."""
        with self._believing("its settings"):
            return read_spec(self._table(SPEC, "its settings"), encrypted=self.header.encrypted)

    @cached_property
    def index(self) -> Index:
        """Its images."""
        with self._believing("its list of images"):
            return read_index(self._table(INDEX, "its list of images"), self.spec)

    @cached_property
    def _checked(self) -> bytearray:
        """Which images' values have been checked in this process."""
        return bytearray(len(self.index.paths))

    @property
    def file_size(self) -> int:
        """In bytes."""
        return (self.folder / DATA_FILE).stat().st_size

    def image(self, number: int) -> Image:
        """Image `number` as uint8 [H, W, 3] RGB, read-only where it can be had without a copy.

        Its value is checked when it is first read, and each time when it is encrypted.

        Raises:
            UserError: names the image whose value is missing, damaged or another's.
        """
        path = self.index.paths[number]
        value = self.value(image_key(number), path, check=not self._checked[number])
        self._checked[number] = True
        with self._believing(path):
            height, width = self.index.sizes[number].tolist()
            return self.spec.codec.decode(value, (height, width))

    def split(self, name: str, root: Path) -> tuple[AnnotatedSet, NDArray[np.int64]]:
        """The annotations of a split, its paths below `root`, and the numbers [N] of its images."""
        if name not in self.spec.splits:
            raise UserError(f"{self.folder}: the cache has no {name} split, only {', '.join(self.spec.splits)}")
        what = f"its {name} split"
        with self._believing(what):
            numbers, packed = unpack_split(self._table(table_key(name), what))
            split = unpack(packed, root)
            check_split(name, split, numbers, self.spec, self.index)
        return split, numbers

    def require_sound(self) -> None:
        """UserError unless all tables are as a build writes them."""
        for name in self.spec.splits:
            self.split(name, Path())

    def pixels(self, numbers: NDArray[np.int64]) -> CachedPixels:
        """The images of a split, by position in it."""
        return CachedPixels(self, numbers)

    def read_ahead(self) -> None:
        """Have the system read the whole file into memory, which all processes then share."""
        buffer = bytearray(_READ_BYTES)
        with (self.folder / DATA_FILE).open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    def value(self, key: bytes, what: str, *, check: bool) -> NDArray[np.uint8]:
        """The value under `key`, uint8 [n]; `what` an error says of it.

        Raises:
            UserError: It is missing, damaged or another's; damage to one in clear is only found with `check`.
        """
        stored = self.map.get(key)
        if stored is None:
            raise UserError(f"{self.folder}: {shown(what)} is missing in the cache: {ANEW}")
        try:
            return self.seal.open(key, stored, check=check)
        except SealError as error:
            if error.belongs_to is None:
                raise damaged(self.folder, what) from error
            # Without a list of images, which may be what was exchanged, they have no names.
            other = name_of(error.belongs_to, self.__dict__["index"].paths if "index" in self.__dict__ else ())
            raise UserError(
                f"{self.folder}: values were exchanged, where {shown(what)} should be there is {shown(other)}: {ANEW}"
            ) from error

    def _table(self, key: bytes, what: str) -> NDArray[np.uint8]:
        return self.value(key, what, check=True)

    @contextlib.contextmanager
    def _believing(self, what: str) -> Iterator[None]:
        """What the value of `what` holds is checked here: ValueErrors become the sentence that it is damaged."""
        try:
            yield
        except ValueError as error:
            raise damaged(self.folder, what, str(error)) from error


def open_cache(folder: Path, key: EncryptionKey | None) -> Cache:
    """Open the cache in `folder`; `key` is only needed when it is encrypted.

    Raises:
        UserError: There is none, its file is truncated, its header is damaged, there is no key for it, or the key is
            wrong: each its own sentence.
    """
    header, opened = open_header(folder)
    return Cache(folder, header, key, header.seal(key, folder), opened)


class CachedPixels:
    """The images of a split, from a cache (`yolo.data.pixels.PixelSource`).

    A copy in another process opens the cache there, with its first image.
    """

    def __init__(self, cache: Cache, numbers: NDArray[np.int64]) -> None:
        self.numbers = numbers
        self.raw = cache.spec.cache_format == "raw"
        """Images cost next to nothing to read."""
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
        return {"numbers": self.numbers, "raw": self.raw, "_cache": None, "_origin": self._origin}
