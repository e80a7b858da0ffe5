"""From the options to the splits that a run works on."""

from __future__ import annotations

import logging

from yolo.data.annotations import AnnotatedSet
from yolo.data.fraction import take_fraction
from yolo.data.label_cache import cached_split
from yolo.data.loaders import ImageLoader
from yolo.data.options import DataOptions, Split
from yolo.data.source import read_split
from yolo.errors import UserError

logger = logging.getLogger(__name__)


def read_part(options: DataOptions, split: Split, loader: ImageLoader, seed: int) -> AnnotatedSet:
    """The annotations of the part of a split that `data_fraction` asks for."""
    whole = cached_split(options, split, loader, read_split)
    part = take_fraction(whole, options.data_fraction, seed)
    if len(part.images) < len(whole.images):
        logger.warning("data_fraction: %d of %d %s images remain", len(part.images), len(whole.images), split)
    return part


def require_same_classes(train: AnnotatedSet, val: AnnotatedSet) -> None:
    """Class numbers must mean the same in both splits."""
    for what, ours, theirs in (
        ("classes", train.class_names, val.class_names),
        ("category ids", train.category_ids, val.category_ids),
    ):
        if ours != theirs:
            raise UserError(f"the validation data has other {what} than the training data: {theirs} instead of {ours}")
