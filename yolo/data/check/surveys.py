"""From the options to the surveys of the splits: which format."""

from __future__ import annotations

from pathlib import Path

from yolo.data.check.survey import Survey
from yolo.data.check.survey_coco import survey_coco
from yolo.data.check.survey_yolo import survey_yolo
from yolo.data.formats import yolo
from yolo.data.loaders import ImageLoader
from yolo.data.options import DataOptions, Split
from yolo.data.source import coco_places, read_split
from yolo.errors import UserError

SPLITS: tuple[Split, ...] = ("train", "val")


def survey_splits(options: DataOptions, loader: ImageLoader) -> tuple[list[Survey], list[str]]:
    """Look at the splits that are there, and a note for each that is not. UserError when none is."""
    _require_dataset(options)
    missing: dict[Split, Path] = {}
    for split in SPLITS:
        if (place := _missing(options, split)) is not None:
            missing[split] = place
    if len(missing) == len(SPLITS):
        places = " nor ".join(f"{place} ({split})" for split, place in missing.items())
        raise UserError(f"{options.root}: there is neither {places}, expected at least one split")
    notes = [f"no {split} split: there is no {place}" for split, place in missing.items()]
    return [survey_split(options, split, loader) for split in SPLITS if split not in missing], notes


def _missing(options: DataOptions, split: Split) -> Path | None:
    """The place where the images of a split would be, when neither they are there nor an option speaks of them."""
    if options.format == "shapes" or any(options.places(split)):
        return None
    place = image_folder(options, split)
    there = place.exists() or (options.format == "coco" and coco_places(options, split)[1].exists())
    return None if there else place


def image_folder(options: DataOptions, split: Split) -> Path:
    """Where the images of a split are, or should be; for YOLO also the file that lists them."""
    if options.format == "coco":
        return coco_places(options, split)[0]
    root = Path(options.root)
    return yolo.expected_location(root, split, options.places(split).images, yolo.read_config(root))


def survey_split(options: DataOptions, split: Split, loader: ImageLoader) -> Survey:
    """Look at one split. UserError when there is none."""
    if options.format == "shapes":
        drawn = read_split(options, split, loader)
        return Survey(split, len(drawn.images), drawn.images, drawn.class_names, drawn.category_ids)
    _require_dataset(options)
    return (survey_yolo if options.format == "yolo" else survey_coco)(options, split, loader)


def _require_dataset(options: DataOptions) -> None:
    if options.format == "shapes":
        return
    if options.cache_only:
        raise UserError("data.cache_only is true, but a check looks at the dataset's files: --data.cache_only=false")
    if not Path(options.root).is_dir():
        raise UserError(f"{options.root}: no such dataset folder (data.root)")
