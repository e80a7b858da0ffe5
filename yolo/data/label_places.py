"""Where a label stands in the files of its dataset, so that a person finds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from yolo.data.annotations import AnnotatedImage
from yolo.data.formats.coco import load_document, read_categories, read_images, read_label
from yolo.data.formats.common import BadLabels, read_text
from yolo.data.formats.yolo import class_names, find_location, label_file_of, parse_line, read_config
from yolo.data.options import SourceOptions, Split
from yolo.data.source import coco_places

Place = Callable[[AnnotatedImage, int], tuple[Path | None, int]]
"""From an image and the position of a label in it to the file and the line (YOLO) or annotation id (COCO)."""


def label_places(options: SourceOptions, split: Split) -> Place:
    """What finds labels of a split. Reads what the reader of the split reads, in its order."""
    if options.format == "yolo":
        return _yolo_places(options, split)
    if options.format == "coco":
        return _coco_places(options, split)
    return _shapes_place


def _shapes_place(image: AnnotatedImage, label: int) -> tuple[None, int]:  # noqa: ARG001 (they have no files)
    return None, label + 1


def _yolo_places(options: SourceOptions, split: Split) -> Place:
    root, places = Path(options.root), options.places(split)
    config = read_config(root)
    names = class_names(root, config)
    location = find_location(root, split, places.images, config)
    labels = root / places.labels if places.labels else None

    def place(image: AnnotatedImage, label: int) -> tuple[Path, int]:
        file = label_file_of(image.path, location, labels)
        bad = BadLabels("skip")
        lines = read_text(file, "YOLO labels").splitlines()
        good = [
            number
            for number, line in enumerate(lines, start=1)
            if line.strip() and parse_line(line, f"{file}:{number}", names, bad) is not None
        ]
        return file, good[label]

    return place


def _coco_places(options: SourceOptions, split: Split) -> Place:
    images_dir, annotation_file = coco_places(options, split)
    document = load_document(annotation_file)
    images = read_images(document["images"], images_dir, annotation_file)
    read_categories(document["categories"], annotation_file)
    bad = BadLabels("skip")
    ids: dict[int, list[int]] = {}
    for number, entry in enumerate(document["annotations"]):
        if read_label(entry, images[entry["image_id"]], bad, "") is not None:
            ids.setdefault(entry["image_id"], []).append(entry.get("id", number))

    return lambda image, label: (annotation_file, ids[image.image_id][label])
