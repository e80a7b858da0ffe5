"""The Lightning data module: options in, data loaders out."""

from __future__ import annotations

import atexit
import functools
import logging
import multiprocessing
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

import lightning.pytorch as L
import torch
from torch.utils.data import DataLoader

from yolo.data.annotations import AnnotatedSet
from yolo.data.augment.pipeline import AugmentPipeline
from yolo.data.batch import Batch, Sample, collate
from yolo.data.cache.store import CachedPixels
from yolo.data.cache.use import CacheUse, OpenSplits
from yolo.data.dataset import DetectionDataset
from yolo.data.loaders import ImageLoader
from yolo.data.options import DataOptions, Split
from yolo.data.pixels import BufferedPixels, LoadedPixels, PixelSource, RecordPixels
from yolo.data.sampler import EpochSampler
from yolo.data.source import choose_loader, confidential
from yolo.data.splits import read_part, require_same_classes
from yolo.data.workers import init_worker, usable_workers
from yolo.errors import UserError

logger = logging.getLogger(__name__)

_BOTH: tuple[Split, ...] = ("train", "val")


class BatchLoader(DataLoader[Sample]):
    """A DataLoader whose workers' UserErrors arrive as the sentence they were, without the worker's traceback.

    Being a generator, it asks the sampler only when the first batch is wanted: Lightning creates the iterator before
    it tells the sampler the epoch, and before a resumed run knows its place in it.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        _in_use.add(self)
        try:
            yield from super().__iter__()
        except UserError as error:
            raise UserError(str(error).rpartition(f"{UserError.__name__}: ")[2].strip()) from None


_in_use: WeakSet[BatchLoader] = WeakSet()


@atexit.register
def _end_workers() -> None:
    """End the workers that an error or a stop in validation left; multiprocessing would wait for them forever.

    It sends them a SIGTERM, which they survive once.
    """
    for loader in _in_use:
        if loader.num_workers and loader._iterator is not None:
            loader._iterator._shutdown_workers()  # type: ignore[attr-defined] # as Lightning does it


class YOLODataModule(L.LightningDataModule):
    """Training and validation data of one dataset.

    After `setup("fit")` there are `train` and `val`, after `setup("validate")` there is `val`. To look at training
    samples without a training there is `setup("train")`, which needs no validation data and builds no cache.

    Args:
        image_size: Height and width of the network's input in pixels.
        image_loader: Reads images; None for the one that fits the format.
        seed: The root of data order and augmentation.
        kwargs: The fields of DataOptions.
    """

    def __init__(
        self,
        image_size: tuple[int, int] = (640, 640),
        image_loader: ImageLoader | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.options = DataOptions(**kwargs)
        if min(image_size) < 1:
            raise UserError(f"data.image_size is {image_size}, expected a height and a width in pixels")
        known = multiprocessing.get_all_start_methods()
        if self.options.start_method not in (None, *known):
            raise UserError(f"data.start_method is {self.options.start_method}, this system has {', '.join(known)}")
        if seed < 0:
            raise UserError(f"data.seed is {seed}, expected 0 or more")
        self.image_size = (image_size[0], image_size[1])
        self.image_loader = choose_loader(self.options, image_loader)
        self.seed = seed
        self.whole_images = False
        """Whether validation gets images in their own sizes, one per batch, and not letterboxed."""
        self.max_epochs: int | None = None
        """The epochs of the training, where no trainer says so."""
        self.train: AnnotatedSet | None = None
        self.val: AnnotatedSet | None = None
        self.cache_use = CacheUse(self.options, self.image_size, self.image_loader, seed)
        self._cache: OpenSplits | None = None

    @property
    def cached(self) -> bool:
        """Whether images come from a cache if there is one."""
        return self.options.cache_images != "none" or self.options.cache_only

    @property
    def confidential(self) -> bool:
        """Whether the images are encrypted where they lie, so that no picture of them may be written."""
        return confidential(self.options, self.image_loader)

    def prepare_data(self) -> None:
        """Before training, build the cache if it is missing or out of date; one process on each machine does."""
        fitting = self.trainer is None or self.trainer.state.fn == "fit"
        if fitting and self.cached and not self.options.cache_only and not self._in_cache(*_BOTH):
            self._read_missing(_BOTH)
            self._use(self.cache_use.ensure(self._splits, refresh=self.options.cache_refresh))

    def setup(self, stage: str | None = None) -> None:
        """Read the annotations of the splits that `stage` needs and open the cache; once only."""
        wanted: tuple[Split, ...] = _BOTH
        if stage not in (None, "fit"):
            wanted = ("train",) if stage == "train" else ("val",)
        if self.options.cache_only and self._cache is None:
            self._use(self.cache_use.open_alone())
        self._read_missing(wanted)
        if self.cached and not self._in_cache(*wanted):
            self._open_cache(build=wanted == _BOTH)

    def _use(self, cache: OpenSplits) -> None:
        self._cache = cache
        self.cache_use.read_ahead(cache.cache)

    def _in_cache(self, *splits: Split) -> bool:
        return self._cache is not None and all(split in self._cache for split in splits)

    @property
    def _splits(self) -> dict[Split, AnnotatedSet]:
        """The splits that are there."""
        both: tuple[tuple[Split, AnnotatedSet | None], ...] = (("train", self.train), ("val", self.val))
        return {name: split for name, split in both if split is not None}

    def _open_cache(self, *, build: bool) -> None:
        """Open the cache for the splits that are there; without one, `build` it or leave the images to their files."""
        found = self.cache_use.ensure(self._splits) if build else self.cache_use.find(self._splits)
        if isinstance(found, list):
            logger.warning("reading image files, not the cache: %s", ", ".join(found))
        else:
            self._use(found)

    def _read_missing(self, wanted: tuple[Split, ...]) -> None:
        if "train" in wanted and self.train is None:
            self.train = self._read("train")
        if "val" in wanted and self.val is None:
            self.val = self._read("val")
        if self.train is not None and self.val is not None:
            require_same_classes(self.train, self.val)

    def _read(self, split: Split) -> AnnotatedSet:
        if self._cache is not None and self.options.cache_only:
            return self._cache.read(split)
        return read_part(self.options, split, self.image_loader, self.seed)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in class order."""
        return self._any_split.class_names

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The annotation file's id of each class."""
        return self._any_split.category_ids

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def _any_split(self) -> AnnotatedSet:
        split = self.train or self.val
        if split is None:
            raise RuntimeError("the data module is not set up yet: call setup() first")
        return split

    def train_dataloader(self) -> BatchLoader:
        """Augmented batches in random order; a last incomplete batch is dropped, unless it is the only one."""
        if self.train is None:
            raise RuntimeError('no training data: call setup("fit") first')
        rank, world_size = self._rank_and_world_size()
        images = self.train.images
        if len(images) < world_size:
            raise UserError(f"{len(images)} training images cannot be shared out among {world_size} processes")
        pipeline = AugmentPipeline(self.options, self.image_size, self.seed, self.options.letterbox)
        dataset = self._dataset("train", pipeline)
        sampler = EpochSampler(len(images), self.seed, rank, world_size, self.options.mosaic_pool)
        return self._loader(dataset, sampler, drop_last=len(sampler) >= self.options.batch_size)

    def val_dataloader(self) -> BatchLoader:
        """Batches in order, letterboxed unless `whole_images`; each image is on exactly one rank."""
        if self.val is None:
            raise RuntimeError("no validation data: call setup() first")
        rank, world_size = self._rank_and_world_size()
        if len(self.val.images) < world_size:
            raise UserError(f"{len(self.val.images)} validation images are too few for {world_size} processes")
        indices = range(rank, len(self.val.images), world_size)
        return self._loader(self._dataset("val", None), indices, drop_last=False)

    def pixels(self, split: Split) -> PixelSource:
        """The images of a split that is set up, by position: from the cache, or from their files."""
        if self._cache is not None and split in self._cache:
            return self._cache.pixels(split)
        return LoadedPixels(self._splits[split].images, self.image_loader)

    def shown_pixels(self, split: Split) -> RecordPixels | None:
        """The images of a split for pictures that are written: by record; None when the data is confidential."""
        return None if self.confidential else RecordPixels(self._splits[split].images, self.pixels(split))

    def _dataset(self, split: Split, pipeline: AugmentPipeline | None) -> DetectionDataset:
        pixels = self.pixels(split)
        raw = isinstance(pixels, CachedPixels) and pixels.raw
        if pipeline and self.options.image_buffer_mb and not raw:
            pixels = BufferedPixels(pixels, self.options.image_buffer_mb << 20)
        return DetectionDataset(
            self._splits[split].images,
            pixels,
            None if self.whole_images and not pipeline else self.image_size,
            self.options.letterbox,
            pipeline=pipeline,
            mosaic_until=self._mosaic_until() if pipeline else None,
        )

    def _mosaic_until(self) -> int | None:
        """The first epoch without mosaic, or None when no end of the training is known."""
        last = self.options.close_mosaic_epochs
        max_epochs = self.trainer.max_epochs if self.trainer else self.max_epochs
        if not last or max_epochs is None or max_epochs < 0:
            return None
        if last >= max_epochs and self.options.mosaic_prob:
            logger.warning("no mosaic at all: close_mosaic_epochs=%d covers all %d epochs", last, max_epochs)
        return max(max_epochs - last, 0)

    def _rank_and_world_size(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    @functools.cached_property
    def _workers(self) -> int:
        """Worker processes of each loader; asked once, since it may warn."""
        return usable_workers(self.options.num_workers)

    def _loader(self, dataset: DetectionDataset, sampler: EpochSampler | range, *, drop_last: bool) -> BatchLoader:
        options = self.options
        workers = self._workers
        return BatchLoader(
            dataset,
            batch_size=1 if dataset.image_size is None else options.batch_size,
            sampler=sampler,
            drop_last=drop_last,
            collate_fn=collate,
            num_workers=workers,
            multiprocessing_context=options.start_method if workers else None,
            # Its own, since an iterator draws a seed for its workers: the training's random numbers are left alone.
            generator=torch.Generator().manual_seed(self.seed),
            worker_init_fn=init_worker,
            persistent_workers=workers > 0,
            prefetch_factor=options.prefetch_factor if workers else None,
            pin_memory=options.pin_memory and torch.cuda.is_available(),
        )
