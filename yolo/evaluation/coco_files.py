"""Ground truth and detections from COCO's files, whatever program wrote them.

Unlike the reader of training data it leaves nothing out: what the file says is what pycocotools would evaluate. Columns
are taken at once; only when something is wrong are the entries gone through for the one to name.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo.boxes.arrays import corner_size_to_xyxy
from yolo.data.annotations import AnnotatedImage
from yolo.data.formats.coco import LARGEST, is_integer, load_document, parse_json, read_categories, read_images
from yolo.errors import UserError
from yolo.evaluation.coco import Detections, GroundTruth

logger = logging.getLogger(__name__)

Entries = Sequence[Any]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_LONGEST = 80
"""Characters of a wrong value that a sentence shows."""


@dataclass(frozen=True)
class AnnotationFile:
    """The contents of a COCO annotation file."""

    ground_truth: GroundTruth
    records: tuple[AnnotatedImage, ...]
    """The same by image."""
    category_ids: tuple[int, ...]
    class_names: tuple[str, ...]


def read_annotations(path: Path) -> AnnotationFile:
    """Ground truth, image by image in the order of their ids; classes are categories in the order of theirs.

    Raises:
        UserError: The file is no COCO annotation file, or an annotation cannot be evaluated.
    """
    document = load_document(path)
    names = read_categories(document["categories"], path)
    images = dict(sorted(read_images(document["images"], Path(), path).items()))
    entries = document["annotations"]
    where = _Place(path, "annotation")
    image_ids = _known(entries, "image_id", images, where)
    classes = np.searchsorted(list(names), _known(entries, "category_id", names, where))
    corner_size = _boxes(entries, where)
    areas = _numbers([e.get("area", e["bbox"][2] * e["bbox"][3]) for e in entries], "area", entries, where)
    crowd = _crowd(entries, where)
    order = np.argsort(image_ids, kind="stable")
    truth = GroundTruth(
        images=[{"id": number, "height": image.size[0], "width": image.size[1]} for number, image in images.items()],
        image_ids=image_ids[order],
        classes=classes[order],
        boxes=corner_size_to_xyxy(corner_size[order]),
        areas=areas[order],
        crowd=crowd[order],
    )
    edges = np.searchsorted(truth.image_ids, list(images)[1:])
    columns = (truth.boxes.astype(np.float32), truth.classes, truth.crowd, truth.areas)
    parts = zip(*(np.split(column, edges) for column in columns), strict=True)
    records = tuple(
        AnnotatedImage(image.path, number, image.size, *part)
        for (number, image), part in zip(images.items(), parts, strict=True)
    )
    return AnnotationFile(truth, records, tuple(names), tuple(names.values()))


def read_detections(path: Path, annotations: AnnotationFile) -> Detections:
    """Detections of a COCO results file: a list of {image_id, category_id, bbox: [x, y, width, height], score}.

    Raises:
        UserError: The file is none, or an entry cannot be evaluated against these annotations.
    """
    entries = _load_list(path)
    where = _Place(path, "detection")
    if not all(isinstance(entry, dict) for entry in entries):
        number = next(i for i, entry in enumerate(entries) if not isinstance(entry, dict))
        raise UserError(f"{where(number)} is no object, expected image_id, category_id, bbox and score")
    known = {image["id"]: None for image in annotations.ground_truth.images}
    image_ids = _known(entries, "image_id", known, where)
    categories = _known(entries, "category_id", dict.fromkeys(annotations.category_ids), where)
    scores = _numbers([entry.get("score") for entry in entries], "score", entries, where)
    outside = np.flatnonzero((scores < 0) | (scores > 1))
    if len(outside):
        first = f"{where(int(outside[0]))} has score {scores[outside[0]]:g}"
        logger.warning(
            "%s, expected scores from 0 to 1, %d are not: figures at a confidence mean little", first, len(outside)
        )
    return Detections(
        image_ids,
        np.searchsorted(annotations.category_ids, categories),
        corner_size_to_xyxy(_boxes(entries, where)),
        scores,
    )


def _load_list(path: Path) -> list[Any]:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file, expected detections in COCO's results format") from error
    collecting = gc.isenabled()
    gc.disable()  # a million new dictionaries set it off again and again, and none of them is garbage
    try:
        entries = parse_json(content, path)
    finally:
        if collecting:
            gc.enable()
    if not isinstance(entries, list):
        hint = ", as if it were an annotation file" if isinstance(entries, dict) and "annotations" in entries else ""
        raise UserError(f"{path}: holds {_kind(entries)}{hint}, expected a list of detections (COCO's results format)")
    return entries


def _shown(value: Any) -> str:
    """As Python writes it, but no longer than a line."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _kind(value: Any) -> str:
    return {dict: "an object", str: "a text", type(None): "null"}.get(type(value), f"a {type(value).__name__}")


@dataclass(frozen=True)
class _Place:
    """Names an entry of a file in a sentence."""

    path: Path
    what: str

    def __call__(self, number: int) -> str:
        return f"{self.path}: {self.what} {number + 1}"


def _known(entries: Entries, key: str, known: dict[int, Any], where: _Place) -> Ints:
    """The column `key`, whose values are among `known`."""
    values = [entry.get(key) for entry in entries]
    if set(map(type, values)) - {int} or set(values) - known.keys():
        number = next(i for i, value in enumerate(values) if not is_integer(value) or value not in known)
        if key not in entries[number]:
            raise UserError(f"{where(number)} has no {key!r}")
        reason = "which the annotations do not list" if is_integer(values[number]) else "expected a whole number"
        raise UserError(f"{where(number)} has {key} {_shown(values[number])}, {reason}")
    return np.array(values, np.int64)


def _boxes(entries: Entries, where: _Place) -> Floats:
    """The column `bbox`, [N, 4] x, y, width, height; numbers above 2^53 are refused, or areas would overflow."""
    boxes = [entry.get("bbox") for entry in entries]
    try:
        if set(map(type, boxes)) - {list} or set(map(len, boxes)) - {4}:
            raise TypeError
        column = _floats(list(chain.from_iterable(boxes))).reshape(-1, 4)
        faulty = ~(np.abs(column) <= LARGEST).all(1) | (column[:, 2:] < 0).any(1)
    except (TypeError, OverflowError):
        faulty = np.array([not _is_box(box) for box in boxes])
    if faulty.any():
        number = int(faulty.argmax())
        if "bbox" not in entries[number]:
            others = [key for key in ("segmentation", "keypoints") if key in entries[number]]
            only = f", only {others[0]}: boxes are what is evaluated" if others else ""
            raise UserError(f"{where(number)} has no 'bbox'{only}")
        raise UserError(
            f"{where(number)} has bbox {_shown(boxes[number])}, expected four numbers [x, y, width, height]"
        )
    return column


def _numbers(values: list[Any], key: str, entries: Entries, where: _Place) -> Floats:
    """Finite numbers, those of the column `key`."""
    try:
        column = _floats(values)
        faulty = ~np.isfinite(column)
    except (TypeError, OverflowError):
        faulty = np.array([not _is_number(value, sys.float_info.max) for value in values])
    if faulty.any():
        number = int(faulty.argmax())
        if key not in entries[number]:
            raise UserError(f"{where(number)} has no {key!r}")
        raise UserError(f"{where(number)} has {key} {_shown(values[number])}, expected a number")
    return column


def _crowd(entries: Entries, where: _Place) -> NDArray[np.bool_]:
    flags = [entry.get("iscrowd", 0) for entry in entries]
    number = next((i for i, flag in enumerate(flags) if not isinstance(flag, int) or flag not in (0, 1)), None)
    if number is not None:
        raise UserError(f"{where(number)} has iscrowd {flags[number]!r}, expected 0 or 1")
    return np.array(flags, bool)


def _floats(values: list[Any]) -> Floats:
    """float64 [N]. TypeError when something is no number; NumPy alone would turn texts into numbers."""
    if set(map(type, values)) - {int, float}:
        raise TypeError
    return np.array(values, np.float64)


def _is_number(value: Any, largest: float) -> bool:
    return type(value) in (int, float) and abs(value) <= largest


def _is_box(box: Any) -> bool:
    if not isinstance(box, list) or len(box) != 4:
        return False
    return all(_is_number(value, LARGEST) for value in box) and box[2] >= 0 and box[3] >= 0
