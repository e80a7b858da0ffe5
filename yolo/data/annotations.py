"""What every dataset format is read into: images with their boxes, and the table of classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedImage:
    """One image of a dataset and its objects; the pixels stay in the file.

    The arrays are aligned with each other: one entry per object, in the order of the annotation file.
    """

    path: Path
    image_id: int
    """COCO's image id; for other formats the 1-based position in the dataset."""
    size: tuple[int, int]
    """Height and width in pixels, EXIF orientation applied."""
    boxes: NDArray[np.float32]
    """[N, 4] xyxy in pixels of the original image."""
    classes: NDArray[np.int64]
    """[N] class numbers, 0-based and contiguous."""
    crowd: NDArray[np.bool_]
    """[N] COCO's iscrowd: left out of training, ignored by the evaluation."""
    areas: NDArray[np.float64]
    """[N] square pixels: the file's own `area`, else width * height of the box."""

    @property
    def objects(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Boxes [M, 4] and classes [M] of the objects that are no crowd: what training learns from."""
        if not self.crowd.any():
            return self.boxes, self.classes
        single = ~self.crowd
        return self.boxes[single], self.classes[single]


@dataclass(frozen=True)
class AnnotatedSet:
    """A split of a dataset, read and checked."""

    images: list[AnnotatedImage]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    """The id that the annotation file uses for each class: COCO's category ids, else 0..n-1."""
    skipped: dict[str, int] = field(default_factory=dict)
    """How many labels were left out as bad (`on_bad_label="skip"`), by reason."""
