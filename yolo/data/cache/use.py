"""From the options to a cache: where it lies, whether it is up to date, building it, opening it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from yolo.data.annotations import AnnotatedSet
from yolo.data.cache.build import BuildPlan, build_cache
from yolo.data.cache.header import DATA_FILE, VERSION, read_header
from yolo.data.cache.lock import locked
from yolo.data.cache.spec import CacheSpec, cache_name, describe_split, differences, encryption_changed
from yolo.data.cache.store import Cache, open_cache
from yolo.data.cache_folder import dataset_cache_dir
from yolo.data.keys import OPTION, EncryptionKey, require_key
from yolo.data.loaders import ImageLoader
from yolo.data.options import DataOptions, Split
from yolo.errors import UserError

logger = logging.getLogger(__name__)

Splits = Mapping[Split, AnnotatedSet]


@dataclass(frozen=True)
class CacheUse:
    """What a data module wants of a cache."""

    options: DataOptions
    image_size: tuple[int, int]
    """Height and width of the network's input."""
    loader: ImageLoader
    seed: int

    @property
    def name(self) -> str:
        """Name of the cache's folder."""
        return cache_name(self.options, self.image_size)

    @property
    def folder(self) -> Path:
        """Where it is built."""
        return dataset_cache_dir(self.options) / self.name

    def ensure(self, splits: Splits, *, refresh: bool = False) -> bool:
        """Build the cache unless it is up to date or `refresh`; whether it was built. Waits for other builders.

        Raises:
            UserError: The key is missing or is not the one that an encrypted cache was made with; or building fails.
        """
        wanted = self._spec(splits)
        if not refresh and not self._stale(wanted):
            return False
        with locked(self.folder):
            reasons = ["asked for"] if refresh else self._stale(wanted)
            if not reasons:
                return False
            if (self.folder / DATA_FILE).exists():
                logger.warning("building the cache %s anew: %s", self.folder, ", ".join(reasons))
            options = self.options
            build_cache(
                BuildPlan(
                    folder=self.folder,
                    spec=wanted,
                    splits=splits,
                    root=Path(options.root),
                    loader=self.loader,
                    key=self._key(),
                    workers=options.cache_workers,
                    sync=options.cache_sync,
                )
            )
            return True

    def reasons(self, splits: Splits) -> list[str]:
        """Why the cache cannot be used for `splits`; empty when it can."""
        return self._stale(self._spec(splits))

    def open(self) -> Cache:
        """The cache that `ensure` left, read into memory when the options say so."""
        return self._ready(open_cache(self.folder, self._key()))

    def open_alone(self) -> Cache:
        """The cache of cache_only, which is found and checked without a file of the dataset.

        Raises:
            UserError: There is none, it does not fit the options, or its key is missing or wrong.
        """
        options, folder = self.options, self._find()
        header = read_header(folder)
        if header.encrypted != options.cache_encrypt:
            found, given = ("encrypted", "false") if header.encrypted else ("not encrypted", "true")
            raise UserError(f"{folder}: encryption mismatch: the cache is {found}, but data.cache_encrypt is {given}")
        cache = open_cache(folder, self._key())
        spec = cache.spec
        if spec.dataset_format != options.format:
            raise UserError(
                f"{folder}: format mismatch: the cache has data.format={spec.dataset_format}, "
                f"the options say {options.format}"
            )
        expected = self.image_size if options.cache_resize_images else None
        if spec.size != expected:
            raise UserError(f"{folder}: size mismatch: the cache is for {_size(spec.size)}, not {_size(expected)}")
        return self._ready(cache)

    def _find(self) -> Path:
        options = self.options
        places = [dataset_cache_dir(options) / self.name]
        if not options.cache_dir:
            places.insert(0, Path(options.root) / self.name)
        for place in places:
            if (place / DATA_FILE).is_file():
                return place
        raise UserError(f"data.cache_only: there is no cache {' or '.join(map(str, places))}: see yolo cache-create")

    def _ready(self, cache: Cache) -> Cache:
        options = self.options
        if options.cache_images == "ram":
            limit = options.cache_max_memory_gb
            if cache.file_size <= limit * (1 << 30):
                cache.read_ahead()
            else:
                logger.warning(
                    "%s: %.1f GiB are more than data.cache_max_memory_gb=%g: read as needed",
                    cache.folder,
                    cache.file_size / (1 << 30),
                    limit,
                )
        return cache

    def _key(self) -> EncryptionKey | None:
        options = self.options
        if not options.cache_encrypt:
            return None
        return require_key("data.cache_encrypt is true", options.encryption_key, option=OPTION)

    def _spec(self, splits: Splits) -> CacheSpec:
        options, loader = self.options, type(self.loader)
        return CacheSpec(
            dataset_format=options.format,
            size=self.image_size if options.cache_resize_images else None,
            fraction=options.data_fraction,
            seed=self.seed if options.data_fraction < 1 else 0,
            cache_format=options.cache_format,
            lz4=options.cache_lz4 and options.cache_format == "raw",
            jpeg_quality=options.jpeg_quality,
            encrypted=options.cache_encrypt,
            loader="" if loader.__module__.startswith("yolo.") else f"{loader.__module__}.{loader.__qualname__}",
            splits={name: describe_split(split, options) for name, split in splits.items()},
        )

    def _stale(self, wanted: CacheSpec) -> list[str]:
        """Why the cache on the disk is not `wanted`; a damaged one is stale, one with another key an error."""
        try:
            header = read_header(self.folder)
        except UserError as error:
            return [str(error)]
        if header.version != VERSION:
            return [f"version changed ({header.version} -> {VERSION})"]
        if header.encrypted != wanted.encrypted:
            return [encryption_changed(header.encrypted)]
        cache = open_cache(self.folder, self._key())
        try:
            return differences(cache.spec, wanted)
        except UserError as error:
            return [str(error)]


def _size(size: tuple[int, int] | None) -> str:
    return f"{size[1]} x {size[0]}" if size else "the original size"
