"""The survey of a split in COCO's format."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolo.data.check.survey import Faults, Survey
from yolo.data.formats import coco
from yolo.data.formats.common import select
from yolo.data.image_files import variants, without_twins
from yolo.data.loaders import ImageLoader
from yolo.data.options import SourceOptions, Split
from yolo.data.source import coco_places
from yolo.errors import UserError


def survey_coco(options: SourceOptions, split: Split, loader: ImageLoader) -> Survey:
    """Every image and every annotation of the file. UserError when it is none, or its classes are unclear."""
    images_dir, annotation_file = coco_places(options, split)
    if not images_dir.is_dir():
        raise UserError(f"{images_dir}: no such image folder")
    document = coco.load_document(annotation_file)
    names = coco.read_categories(document["categories"], annotation_file)
    faults = Faults()
    images = _images(document["images"], images_dir, annotation_file, faults)
    labels = _labels(document["annotations"], images, names, faults, annotation_file)
    files = (file for file in images_dir.rglob("*") if not file.name.startswith("."))
    present = set(without_twins(file for file in files if file.suffix.lower() in loader.suffixes))
    for number, image in images.items():
        places = (path for path in variants(image.path, loader.suffixes) if path in present)
        images[number] = image._replace(path=next(places, image.path))
    ids = list(images)
    chosen = [ids[i] for i in select([image.path for image in images.values()], options.places(split).split_file)]
    order = {category: number for number, category in enumerate(names)}
    records = []
    for image_id in chosen:
        path = images[image_id].path
        if path in present or path.is_file():
            records.append(coco.make_record(image_id, images[image_id], labels.get(image_id, []), order))
        else:
            faults.count("missing images", f"{path}: no such file, but {annotation_file} lists it")
        if image_id not in labels:
            faults.count("images without labels", f"{path}: no annotation")
    strangers = frozenset(present - {image.path for image in images.values()})
    return Survey(split, len(chosen), records, tuple(names.values()), tuple(names), dict(faults.found), strangers)


def _images(entries: list[dict[str, Any]], folder: Path, file: Path, faults: Faults) -> dict[int, coco.Image]:
    """The images by id; of two with one id, the first."""
    images: dict[int, coco.Image] = {}
    for entry in entries:
        try:
            ((number, image),) = coco.read_images([entry], folder, file).items()
        except UserError as error:
            faults.count("malformed image entries", str(error))
            continue
        if number in images:
            message = f"{file}: two images have the id {number}: {images[number].path.name} and {image.path.name}"
            faults.count("repeated image ids", message)
        images.setdefault(number, image)
    return images


def _labels(
    entries: list[dict[str, Any]],
    images: Mapping[int, coco.Image],
    names: Mapping[int, str],
    faults: Faults,
    file: Path,
) -> dict[int, list[coco.Label]]:
    """The usable labels by image id; the list of an image all of whose labels are bad is empty."""
    labels: dict[int, list[coco.Label]] = defaultdict(list)
    seen: Counter[object] = Counter()
    for entry in entries:
        where = f"{file}: annotation {entry.get('id')}"
        image_id, category = entry.get("image_id"), entry.get("category_id")
        seen[str(entry.get("id"))] += 1
        if seen[str(entry.get("id"))] > 1:
            faults.count("repeated annotation ids", f"{where} is there {seen[str(entry.get('id'))]} times")
        if not coco.is_integer(image_id) or image_id not in images:
            faults.count("labels without image", f"{where} belongs to image {image_id}, which the file does not list")
            continue
        of_image = labels[image_id]
        if not coco.is_integer(category) or category not in names:
            faults.count("unknown classes", f"{where} has category {category}, which the file does not list")
        elif (label := coco.read_label(entry, images[image_id], faults, where)) is not None:
            of_image.append(label)
    return dict(labels)
