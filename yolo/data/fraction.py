"""A smaller dataset for quick experiments, with the classes in the same proportions."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from yolo.data.annotations import AnnotatedSet
from yolo.data.randomness import FRACTION, generator


def take_fraction(split: AnnotatedSet, fraction: float, seed: int) -> AnnotatedSet:
    """A random `fraction` (0 to 1) of the images of each stratum, one at least, in their old order.

    An image's stratum is the class of its first object; images without objects are one of their own. A smaller
    fraction of the same seed is a part of a larger one.
    """
    strata: dict[int, list[int]] = defaultdict(list)
    for index, image in enumerate(split.images):
        strata[int(image.classes[0]) if len(image.classes) else -1].append(index)
    kept: list[int] = []
    for stratum, members in strata.items():
        count = max(1, round(fraction * len(members)))
        kept += [members[i] for i in generator(seed, FRACTION, stratum + 1).permutation(len(members))[:count]]
    return replace(split, images=[split.images[index] for index in sorted(kept)])
