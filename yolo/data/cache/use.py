"""From the options to a cache: where it lies, whether it is up to date, building it, opening it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from yolo.data.annotations import AnnotatedSet
from yolo.data.cache.build import BuildPlan, build_cache
from yolo.data.cache.damage import ANEW
from yolo.data.cache.header import DATA_FILE, VERSION, open_header, read_header
from yolo.data.cache.lock import locked
from yolo.data.cache.spec import CacheSpec, cache_name, describe_split, differences, encryption_changed
from yolo.data.cache.store import Cache, CachedPixels, open_cache
from yolo.data.cache_folder import dataset_cache_dir
from yolo.data.keys import OPTION, EncryptionKey, require_key
from yolo.data.loaders import ImageLoader, identity
from yolo.data.options import DataOptions, Split
from yolo.data.packing import pack
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

    def ensure(self, splits: Splits, *, refresh: bool = False) -> OpenSplits:
        """The open cache of `splits`, built unless it is up to date or `refresh`. Waits for other builders.

        Raises:
            UserError: The key is missing or is not the one that an encrypted cache was made with; or there is an
                encrypted one where none in clear may take its place unasked; or building fails.
        """
        wanted, packed = self._spec(splits)
        if not refresh and isinstance(found := self._find_fitting(wanted), OpenSplits):
            return found
        with locked(self.folder):
            reasons = ["asked for"] if refresh else self._find_fitting(wanted)
            if isinstance(reasons, OpenSplits):
                return reasons
            if not refresh:
                self._keep_secret()
            if (self.folder / DATA_FILE).exists():
                logger.warning("building the cache %s anew: %s", self.folder, ", ".join(reasons))
            options = self.options
            build_cache(
                BuildPlan(
                    folder=self.folder,
                    spec=wanted,
                    splits=splits,
                    packed=packed,
                    root=Path(options.root),
                    loader=self.loader,
                    key=self._key(),
                    workers=options.cache_workers,
                    sync=options.cache_sync,
                )
            )
            built = self._find_fitting(wanted)
            if isinstance(built, list):
                raise UserError(f"{self.folder}: the new cache cannot be used: {', '.join(built)}")
            built.built = True
            return built

    def find(self, splits: Splits) -> OpenSplits | list[str]:
        """The open cache of `splits`, or why there is none that can be used for them."""
        return self._find_fitting(self._spec(splits)[0])

    def read_ahead(self, cache: Cache) -> None:
        """Read the cache into memory when the options say so and it is not too large."""
        options = self.options
        if options.cache_images != "ram":
            return
        if cache.file_size <= options.cache_max_memory_gb * (1 << 30):
            cache.read_ahead()
        else:
            logger.warning(
                "%s: %.1f GiB are more than data.cache_max_memory_gb=%g: read as needed",
                cache.folder,
                cache.file_size / (1 << 30),
                options.cache_max_memory_gb,
            )

    def open_alone(self) -> OpenSplits:
        """The cache of cache_only, which is found and checked without a file of the dataset.

        Raises:
            UserError: There is none, it does not fit the options, or its key is missing or wrong.
        """
        options, folder = self.options, self._find_alone()
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
        return OpenSplits(cache, Path(options.root))

    def _find_alone(self) -> Path:
        options = self.options
        places = [dataset_cache_dir(options) / self.name]
        if not options.cache_dir:
            places.insert(0, Path(options.root) / self.name)
        for place in places:
            if (place / DATA_FILE).is_file():
                return place
        raise UserError(f"data.cache_only: there is no cache {' or '.join(map(str, places))}: see yolo cache-create")

    def _key(self) -> EncryptionKey | None:
        options = self.options
        if not options.cache_encrypt:
            return None
        return require_key("data.cache_encrypt is true", options.encryption_key, option=OPTION)

    def _spec(self, splits: Splits) -> tuple[CacheSpec, dict[Split, bytes]]:
        """What the cache of `splits` is made of, and the splits as they are stored."""
        options = self.options
        packed = {name: pack(split, Path(options.root)) for name, split in splits.items()}
        spec = CacheSpec(
            dataset_format=options.format,
            size=self.image_size if options.cache_resize_images else None,
            fraction=options.data_fraction,
            seed=self.seed if options.data_fraction < 1 else 0,
            cache_format=options.cache_format,
            lz4=options.cache_lz4 and options.cache_format == "raw",
            jpeg_quality=options.jpeg_quality,
            encrypted=options.cache_encrypt,
            loader=identity(self.loader),
            splits={name: describe_split(split, packed[name], options) for name, split in splits.items()},
        )
        return spec, packed

    def _find_fitting(self, wanted: CacheSpec) -> OpenSplits | list[str]:
        """The cache on the disk, or why it is not `wanted`; a damaged one is not, one with another key an error."""
        try:
            header, opened = open_header(self.folder)
        except UserError as error:
            return [_reason(error)]
        if header.version != VERSION:
            return [f"version changed ({header.version} -> {VERSION})"]
        if header.encrypted != wanted.encrypted:
            return [encryption_changed(header.encrypted)]
        key = self._key()
        cache = Cache(self.folder, header, key, header.seal(key, self.folder), opened)
        try:
            # What is compared is what is then used: another process may replace the file at any time.
            return differences(cache.spec, wanted) or OpenSplits(cache, Path(self.options.root), wanted.splits)
        except UserError as error:
            return [_reason(error)]

    def _keep_secret(self) -> None:
        """Who forgets an option must not turn confidential images into a cache in clear."""
        try:
            encrypted = read_header(self.folder).encrypted
        except UserError:  # nobody can say
            return
        if encrypted and not self.options.cache_encrypt:
            raise UserError(
                f"{self.folder}: the cache is encrypted, data.cache_encrypt is false: set it, or "
                "--data.cache_refresh=true (cache-create --force) to replace it by one in clear"
            )


class OpenSplits:
    """An open cache and the numbers in it of the splits that are in use."""

    def __init__(self, cache: Cache, root: Path, splits: Iterable[str] = ()) -> None:
        self.cache = cache
        self.built = False
        """Whether it was not there or not up to date before."""
        self._root = root
        self._numbers: dict[str, NDArray[np.int64]] = {}
        for name in splits:
            self.read(name)

    def read(self, name: str) -> AnnotatedSet:
        """The annotations of a split, which is in use from now on; UserError when they are damaged or not there."""
        split, self._numbers[name] = self.cache.split(name, self._root)
        return split

    def __contains__(self, name: str) -> bool:
        return name in self._numbers

    def pixels(self, name: str) -> CachedPixels:
        """The images of a split that is in use, by position in it."""
        return self.cache.pixels(self._numbers[name])


def _reason(error: UserError) -> str:
    return str(error).removesuffix(f": {ANEW}")


def _size(size: tuple[int, int] | None) -> str:
    return f"{size[1]} x {size[0]}" if size else "the original size"
