"""From the options to an annotated split: which reader, which paths."""

from __future__ import annotations

from pathlib import Path

from yolo.data.annotations import AnnotatedSet
from yolo.data.formats.coco import read_coco
from yolo.data.formats.shapes import ShapesLoader, read_shapes
from yolo.data.formats.yolo import read_yolo
from yolo.data.loaders import DefaultImageLoader, ImageLoader
from yolo.data.options import SourceOptions, Split
from yolo.errors import UserError


def read_split(options: SourceOptions, split: Split, loader: ImageLoader) -> AnnotatedSet:
    """Read the images and labels of one split; all wrong input is a UserError that names it."""
    if options.format == "shapes":
        count = options.shapes_train if split == "train" else options.shapes_val
        return read_shapes(count, options.shapes_size, options.shapes_seed, split)
    root = Path(options.root)
    if not root.is_dir():
        raise UserError(f"{root}: no such dataset folder (data.root)")
    if split == "train":
        images, annotations, labels = options.train_images, options.train_ann, options.train_labels
    else:
        images, annotations, labels = options.val_images, options.val_ann, options.val_labels
    names = options.train_split if split == "train" else options.val_split
    split_file = root / names if names else None
    if options.format == "yolo":
        return read_yolo(root, split, images, labels, split_file, options.on_bad_label, loader)
    images_dir, annotation_file = coco_places(root, split, images, annotations)
    return read_coco(images_dir, annotation_file, split_file, options.on_bad_label)


def choose_loader(options: SourceOptions, loader: ImageLoader | None) -> ImageLoader:
    """The loader asked for, else the one that fits the format."""
    if options.format != "shapes":
        return loader or DefaultImageLoader()
    if loader is not None:
        raise UserError(f"data.image_loader is {type(loader).__name__}, but data.format=shapes draws its own images")
    return ShapesLoader(options.shapes_size, options.shapes_seed)


def coco_places(root: Path, split: Split, images: str | None, annotations: str | None) -> tuple[Path, Path]:
    """Image folder and annotation file of a COCO split, each where it usually lies unless it is given."""
    return root / (images or f"{split}2017"), root / (annotations or f"annotations/instances_{split}2017.json")
