"""Where a dataset gets the pixels of its images from: their files, or a buffer before them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

from yolo.data.annotations import AnnotatedImage
from yolo.data.loaders import Image, ImageLoader, load_image
from yolo.errors import UserError


class PixelSource(Protocol):
    """Pixels by position in a split; picklable, since workers get a copy."""

    def __call__(self, index: int) -> Image:
        """Image `index` as uint8 [H, W, 3] RGB, not to be written to.

        Its size is the record's, or smaller when the source keeps images at the size that the network sees.
        """


class LoadedPixels:
    """Reads the files."""

    def __init__(self, records: Sequence[AnnotatedImage], loader: ImageLoader) -> None:
        self.records = records
        self.loader = loader

    def __call__(self, index: int) -> Image:
        """Image `index` in its original size.

        Raises:
            UserError: The image cannot be read, or its size is not the one its annotations are made for.
        """
        record = self.records[index]
        image = load_image(self.loader, record.path)
        if image.shape[:2] != record.size:
            (height, width), (expected_height, expected_width) = image.shape[:2], record.size
            raise UserError(
                f"{record.path}: the image is {width} x {height} pixels (width x height), "
                f"but its annotations are for {expected_width} x {expected_height}"
            )
        return image


class RecordPixels:
    """Pixels by record instead of by position, also for a copy of the record."""

    def __init__(self, records: Sequence[AnnotatedImage], source: PixelSource) -> None:
        self._positions = {record.image_id: position for position, record in enumerate(records)}
        self._source = source

    def __call__(self, record: AnnotatedImage) -> Image:
        """Image of `record`, as the source gives it.

        Raises:
            UserError: It cannot be read.
        """
        return self._source(self._positions[record.image_id])


class BufferedPixels:
    """Keeps the images that were used last, up to `capacity` bytes in each process."""

    def __init__(self, source: PixelSource, capacity: int) -> None:
        self.source = source
        self.capacity = capacity
        self._forget()

    def _forget(self) -> None:
        self._images: OrderedDict[int, Image] = OrderedDict()
        self._bytes = 0

    def __call__(self, index: int) -> Image:
        """Image `index`, from memory or from the source."""
        image = self._images.get(index)
        if image is not None:
            self._images.move_to_end(index)
            return image
        image = self.source(index)
        if not image.flags.owndata:  # a part of something larger would keep all of that
            image = image.copy()
        self._images[index] = image
        self._bytes += image.nbytes
        while self._bytes > self.capacity:
            self._bytes -= self._images.popitem(last=False)[1].nbytes
        return image

    def __getstate__(self) -> dict[str, Any]:
        return {"source": self.source, "capacity": self.capacity}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()
