"""Building a cache: many threads prepare images, one writes them in order."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolo.data.annotations import AnnotatedImage, AnnotatedSet
from yolo.data.cache.header import DATA_FILE, HEADER_KEY, CacheHeader
from yolo.data.cache.seal import Seal
from yolo.data.cache.spec import CacheSpec, stored_size
from yolo.data.cache.tables import INDEX, SPEC, Index, image_key, pack_spec, pack_split, table_key
from yolo.data.keys import EncryptionKey
from yolo.data.loaders import Image, ImageLoader
from yolo.data.options import Split
from yolo.data.packing import relative_path
from yolo.data.pixels import LoadedPixels
from yolo.errors import UserError
from yolo.progress import progress
from yolo.whole_file import sync_folder

_PAGE = 4096
_PER_VALUE = 64  # bytes that LMDB adds to a value, its share of the tree included
_WRITE_BYTES = 32 << 20  # in one transaction
_SAMPLES = 16  # images that are encoded to learn how large the others will be
_SPARE = 1.1
_MAP_BYTES = 16 << 20  # least size of the map; it grows


@dataclass(frozen=True)
class BuildPlan:
    """What to build, from what and how."""

    folder: Path
    spec: CacheSpec
    splits: Mapping[Split, AnnotatedSet]
    packed: Mapping[Split, bytes]
    """The splits as they are stored, whose hashes `spec` has."""
    root: Path
    loader: ImageLoader
    key: EncryptionKey | None = field(repr=False)
    workers: int | None = None
    """Threads; None for one per core."""
    sync: bool = False
    """Wait for the disk with each transaction."""


def build_cache(plan: BuildPlan) -> None:
    """Write the cache, under another name until it is complete; the caller holds its lock.

    Raises:
        UserError: An image cannot be read, or the space does not suffice; nothing is left behind, and a cache that was
            there before stays.
    """
    partial = plan.folder.with_name(f"{plan.folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # what a kill left
    work = _Work(plan)
    work.require_space()
    try:
        partial.mkdir()
        with _space_at_fault(plan.folder):
            _write(work, partial)
            plan.folder.mkdir(exist_ok=True)
            # One step from the old cache to the new; who has mapped the old one keeps it.
            (partial / DATA_FILE).replace(plan.folder / DATA_FILE)
            sync_folder(plan.folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class _Work:
    """The images of a plan, each once, and their way into values."""

    def __init__(self, plan: BuildPlan) -> None:
        self.plan = plan
        self.numbers: dict[Path, int] = {}
        self.images: list[AnnotatedImage] = []
        for split in plan.splits.values():
            for image in split.images:
                if self.numbers.setdefault(image.path, len(self.images)) == len(self.images):
                    self.images.append(image)
        self.sizes = [stored_size(image.size, plan.spec.size) for image in self.images]
        self.header = CacheHeader.new(plan.key)
        self.seal: Seal = self.header.seal(plan.key, plan.folder)
        self.read = LoadedPixels(self.images, plan.loader)
        self.bytes = self._bytes_needed()

    def value(self, number: int) -> bytes:
        """Image `number` as it is stored."""
        return self.seal.close(image_key(number), self.plan.spec.codec.encode(self._image(number)))

    def tables(self) -> Iterator[tuple[bytes, bytes]]:
        """Everything but the images; the header comes last, so that without it there is no cache."""
        plan = self.plan
        paths = [relative_path(image.path, plan.root) for image in self.images]
        tables = {
            SPEC: pack_spec(plan.spec),
            INDEX: Index(paths, np.array(self.sizes, np.int32).reshape(-1, 2)).pack(),
        }
        for name, split in plan.splits.items():
            numbers = [self.numbers[image.path] for image in split.images]
            tables[table_key(name)] = pack_split(numbers, plan.packed[name])
        for key, value in tables.items():
            yield key, self.seal.close(key, value)
        yield HEADER_KEY, self.header.pack()

    def require_space(self) -> None:
        """Say how much is needed and free; UserError when that is not enough."""
        free = shutil.disk_usage(self.plan.folder.parent).free
        about = "" if self._exact else "about "
        print(
            f"cache {self.plan.folder}: {len(self.images):,} images, {about}{_amount(self.bytes)} needed, "
            f"{_amount(free)} free",
            flush=True,
        )
        if self.bytes > free:
            raise UserError(
                f"{self.plan.folder.parent}: the cache needs {about}{_amount(self.bytes)}, and only {_amount(free)} "
                "are free: choose another data.cache_dir, a smaller size or data.cache_format=jpeg"
            )

    @property
    def _exact(self) -> bool:
        return self.plan.spec.cache_format == "raw" and not self.plan.spec.lz4

    def _image(self, number: int) -> Image:
        image = self.read(number)
        height, width = self.sizes[number]
        if image.shape[:2] == (height, width):
            return image
        # As Letterbox.apply does it, so that it finds nothing left to resize.
        return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)

    def _bytes_needed(self) -> int:
        """Bytes of the file: exact for raw images, else from a sample."""
        pixels = [height * width * 3 for height, width in self.sizes]
        scale = 1.0
        if not self._exact:
            step = max(1, len(pixels) // _SAMPLES)
            sample = range(0, len(pixels), step)
            encoded = sum(len(self.plan.spec.codec.encode(self._image(number))) for number in sample)
            scale = _SPARE * encoded / max(1, sum(pixels[number] for number in sample))
        extra = self.seal.overhead + _PER_VALUE
        labels = sum(split.objects * 32 + split.images * 64 for split in self.plan.spec.splits.values())
        return labels + 16 * _PAGE + sum(-(-(int(count * scale) + extra) // _PAGE) * _PAGE for count in pixels)


def _write(work: _Work, partial: Path) -> None:
    import lmdb

    # Without LMDB's lock file: the folder's lock is held, and nobody reads here. Its pages are zeroed before they are
    # written, or there would be bits of this process's memory in the file.
    environment = lmdb.open(
        str(partial / DATA_FILE),
        subdir=False,
        lock=False,
        meminit=True,
        map_size=max(_MAP_BYTES, int(work.bytes * _SPARE)),
        sync=work.plan.sync,
        metasync=work.plan.sync,
    )
    try:
        batch: list[tuple[bytes, bytes]] = []
        waiting = 0
        with progress("caching", len(work.images), "images") as advance:
            for number, value in enumerate(_in_order(work.value, len(work.images), work.plan.workers)):
                batch.append((image_key(number), value))
                waiting += len(value)
                if waiting >= _WRITE_BYTES:
                    _put(environment, batch, append=True)
                    batch, waiting = [], 0
                advance()
        _put(environment, batch, append=True)
        _put(environment, list(work.tables()), append=False)
        with contextlib.suppress(lmdb.Error):  # some external volumes refuse it
            environment.sync(True)
    finally:
        environment.close()


def _put(environment: Any, batch: Sequence[tuple[bytes, bytes]], *, append: bool) -> None:
    """Write a batch in one transaction, in a larger map if need be."""
    import lmdb

    while True:
        try:
            with environment.begin(write=True) as transaction:
                for key, value in batch:
                    transaction.put(key, value, append=append)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])


def _in_order(job: Callable[[int], bytes], count: int, workers: int | None) -> Iterator[bytes]:
    """`job(0)`, `job(1)`, ... from threads that are a bounded number of jobs ahead; their work releases the GIL."""
    threads = workers or os.cpu_count() or 1
    window: deque[Future[bytes]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for number in range(count):
            window.append(pool.submit(job, number))
            if len(window) > 2 * threads:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _space_at_fault(folder: Path) -> Iterator[None]:
    """A disk that fills up while we write, as a sentence."""
    import lmdb

    try:
        yield
    except (lmdb.Error, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.ENOSPC:
            raise
        what = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"{folder.parent}: the cache could not be written there ({what})") from error


def _amount(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1024:,.0f} KiB"
