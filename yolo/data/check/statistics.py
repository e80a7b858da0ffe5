"""What is in a split, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo.boxes.arrays import AREA_BOUNDS
from yolo.data.check.survey import Survey


@dataclass(frozen=True)
class Spread:
    """The middle and the ends of a distribution."""

    min: float
    median: float
    max: float


@dataclass(frozen=True)
class ClassCount:
    """How often a class occurs."""

    objects: int
    images: int


@dataclass(frozen=True)
class Statistics:
    """Numbers of one split. Objects are those that training would learn from: usable and no crowd."""

    images: int
    objects: int
    crowds: int
    background_images: int
    """Images without any object or crowd."""
    width: Spread
    height: Spread
    aspect: Spread
    """Width divided by height."""
    objects_per_image: Spread
    small: int
    medium: int
    large: int
    classes: dict[str, ClassCount]


def measure(survey: Survey) -> Statistics:
    """The numbers of a split."""
    images = survey.images
    sizes = np.array([image.size for image in images], np.float64).reshape(-1, 2)
    crowd = np.concatenate([np.zeros(0, np.bool_), *(image.crowd for image in images)])
    classes = np.concatenate([np.zeros(0, np.int64), *(image.classes for image in images)])[~crowd]
    areas = np.concatenate([np.zeros(0), *(image.areas for image in images)])[~crowd]
    counts = [len(image.objects[1]) for image in images]
    owner = np.repeat(np.arange(len(images)), counts)
    pairs = np.unique(np.stack([owner, classes], 1), axis=0)[:, 1]  # each image once per class
    small, large = areas < AREA_BOUNDS[0], areas >= AREA_BOUNDS[1]
    length = len(survey.class_names)
    per_class = zip(np.bincount(classes, minlength=length), np.bincount(pairs, minlength=length), strict=True)
    return Statistics(
        images=survey.listed,
        objects=len(classes),
        crowds=int(crowd.sum()),
        background_images=sum(not len(image.classes) for image in images),
        width=_spread(sizes[:, 1]),
        height=_spread(sizes[:, 0]),
        aspect=_spread(sizes[:, 1] / sizes[:, 0]),
        objects_per_image=_spread(counts),
        small=int(small.sum()),
        medium=int((~small & ~large).sum()),
        large=int(large.sum()),
        classes={
            name: ClassCount(int(objects), int(images_with))
            for name, (objects, images_with) in zip(survey.class_names, per_class, strict=True)
        },
    )


def _spread(values: NDArray[np.float64] | Sequence[int]) -> Spread:
    """Zeros when there is nothing."""
    if not len(values):
        return Spread(0, 0, 0)
    return Spread(float(np.min(values)), float(np.median(values)), float(np.max(values)))
