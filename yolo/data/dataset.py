"""The map-style dataset: from an index to a sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from yolo.boxes.letterbox import Letterbox, LetterboxMode
from yolo.data.annotations import AnnotatedImage
from yolo.data.augment.pipeline import AugmentPipeline
from yolo.data.batch import Sample
from yolo.data.loaders import ImageLoader
from yolo.errors import UserError


class DetectionDataset(Dataset[Sample]):
    """Samples of one split.

    With a pipeline, items are (epoch, index) and augmented; without one, items are indices and letterboxed. The epoch
    is part of the item because workers live for the whole run: a value set on the dataset would not reach them.

    Args:
        records: The annotated images.
        loader: Reads their pixels.
        image_size: Height and width of the samples.
        letterbox: Where an image of another shape sits inside the sample.
        pipeline: The augmentation, or None.
        mosaic_until: The epoch from which on there are no mosaics; None for never.
    """

    def __init__(
        self,
        records: Sequence[AnnotatedImage],
        loader: ImageLoader,
        image_size: tuple[int, int],
        letterbox: LetterboxMode = "center",
        *,
        pipeline: AugmentPipeline | None = None,
        mosaic_until: int | None = None,
    ) -> None:
        self.records = records
        self.loader = loader
        self.image_size = image_size
        self.letterbox = letterbox
        self.pipeline = pipeline
        self.mosaic_until = mosaic_until

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, item: int | tuple[int, int]) -> Sample:
        if isinstance(item, tuple):
            if self.pipeline is None:
                raise ValueError(f"item {item} asks for augmentation, but this dataset has no pipeline")
            epoch, index = item
            mosaic = self.mosaic_until is None or epoch < self.mosaic_until
            return self.pipeline(self, epoch, index, mosaic=mosaic)
        sample = self.read(item)
        box = Letterbox(sample.record.size, self.image_size, self.letterbox)
        boxes = np.asarray(box.to_target(sample.boxes), np.float32)
        return Sample(box.apply(sample.image), boxes, sample.classes, sample.record)

    def read(self, index: int) -> Sample:
        """The original image and its objects, crowds left out.

        Raises:
            UserError: The image cannot be read, or its size is not the one its annotations are made for.
        """
        record = self.records[index]
        image = self.loader(record.path)
        if image.shape[:2] != record.size:
            (height, width), (expected_height, expected_width) = image.shape[:2], record.size
            raise UserError(
                f"{record.path}: the image is {width} x {height} pixels (width x height), "
                f"but its annotations are for {expected_width} x {expected_height}"
            )
        boxes, classes = record.objects
        return Sample(image, boxes, classes, record)
