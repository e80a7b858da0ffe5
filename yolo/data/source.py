"""From the options to an annotated split: which reader, which paths."""

from __future__ import annotations

import logging
import multiprocessing
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

from yolo.data.annotations import AnnotatedSet
from yolo.data.encrypted_loader import EncryptedImageLoader
from yolo.data.formats.coco import read_coco
from yolo.data.formats.shapes import ShapesLoader, read_shapes
from yolo.data.formats.yolo import read_yolo
from yolo.data.image_files import ENCRYPTED_LOADER
from yolo.data.loaders import DefaultImageLoader, ImageLoader
from yolo.data.options import DataOptions, SourceOptions, Split
from yolo.errors import UserError

logger = logging.getLogger(__name__)


def read_split(options: SourceOptions, split: Split, loader: ImageLoader) -> AnnotatedSet:
    """Read the images and labels of one split; all wrong input is a UserError that names it."""
    if options.format == "shapes":
        count = options.shapes_train if split == "train" else options.shapes_val
        return read_shapes(count, options.shapes_size, options.shapes_seed, split)
    root = Path(options.root)
    if not root.is_dir():
        raise UserError(f"{root}: no such dataset folder (data.root)")
    places = options.places(split)
    if options.format == "yolo":
        return read_yolo(root, split, places.images, places.labels, places.split_file, options.on_bad_label, loader)
    images_dir, annotation_file = coco_places(options, split)
    return read_coco(images_dir, annotation_file, places.split_file, options.on_bad_label, loader.suffixes)


def choose_loader(options: DataOptions, loader: ImageLoader | None) -> ImageLoader:
    """The loader asked for, with the key of the options if it needs one; else the loader that fits the format."""
    if options.format == "shapes":
        if loader is not None:
            raise UserError(
                f"data.image_loader is {type(loader).__name__}, but data.format=shapes draws its own images"
            )
        return ShapesLoader(options.shapes_size, options.shapes_seed)
    if loader is None:
        return DefaultImageLoader()
    in_clear = options.cache_images != "none" and not options.cache_encrypt and not options.cache_only
    if in_clear and isinstance(loader, EncryptedImageLoader):
        raise UserError(
            "data.image_loader reads encrypted images, and the cache would hold them in clear: "
            "set data.cache_encrypt=true (cache-create --encrypt)"
        )
    if not type(loader).__module__.startswith("yolo."):
        logger.warning("using custom image loader: %s", type(loader).__name__)
    if options.num_workers and (options.start_method or multiprocessing.get_all_start_methods()[0]) != "fork":
        _require_picklable(loader)
    return loader.with_key(options.encryption_key)


def _require_picklable(loader: ImageLoader) -> None:
    """Workers that are no forks get a pickled copy."""
    try:
        ForkingPickler.dumps(loader)
    except Exception as error:  # what a loader holds may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(
            f"data.image_loader {type(loader).__name__} cannot be sent to worker processes ({reason}): make what is in "
            "its way when it is first used, or set data.start_method=fork or data.num_workers=0"
        ) from error


def loader_of_run(class_path: str) -> ImageLoader | None:
    """The loader for the data of a run whose own was `class_path`, when none is named; None for the usual one.

    Raises:
        UserError: It was code of the user's own, which is not imported on a checkpoint's word.
    """
    if not class_path.startswith("yolo."):
        raise UserError(f"trained with {class_path}: name a loader by --data.image_loader")
    return EncryptedImageLoader() if class_path == ENCRYPTED_LOADER else None


def confidential(options: DataOptions, loader: ImageLoader) -> bool:
    """Whether the images are encrypted where they lie."""
    return options.cache_encrypt or isinstance(loader, EncryptedImageLoader)


def coco_places(options: SourceOptions, split: Split) -> tuple[Path, Path]:
    """Image folder and annotation file of a COCO split, each where it usually lies unless it is given."""
    root, places = Path(options.root), options.places(split)
    annotations = places.annotations or f"annotations/instances_{split}2017.json"
    return root / (places.images or f"{split}2017"), root / annotations
