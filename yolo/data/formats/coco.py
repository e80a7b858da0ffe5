"""COCO JSON annotations (https://cocodataset.org/#format-data)."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from yolo.data.annotations import AnnotatedImage, AnnotatedSet
from yolo.data.formats.common import BadLabels, read_text, select
from yolo.data.image_files import ENCRYPTED_SUFFIX, IMAGE_SUFFIXES, encrypted_hint, variants
from yolo.data.options import BadLabelPolicy
from yolo.errors import UserError

LARGEST = 2**53
"""Up to here float64 holds every whole number."""
_ID = "a whole number `id` (0 to 2^53)"
_HALF_LETTERS = re.compile("[\ud800-\udfff]")


class Image(NamedTuple):
    """An image that the file lists: where it is, its height and width."""

    path: Path
    size: tuple[int, int]


class Label(NamedTuple):
    """An annotation that can be used; the box is xyxy."""

    box: tuple[float, float, float, float]
    category: int
    crowd: bool
    area: float


def read_coco(
    images_dir: Path,
    annotation_file: Path,
    split_file: Path | None,
    on_bad_label: BadLabelPolicy,
    suffixes: frozenset[str] = IMAGE_SUFFIXES,
) -> AnnotatedSet:
    """Read one split; `suffixes` are those of the files that the image loader reads.

    Classes are the categories in ascending order of their ids. Boxes are kept exactly as the file has them.

    Raises:
        UserError: A file is missing or malformed, ids clash or lead nowhere, or a label is bad.
    """
    if not images_dir.is_dir():
        raise UserError(f"{images_dir}: no such image folder")
    document = load_document(annotation_file)
    names = read_categories(document["categories"], annotation_file)
    images = read_images(document["images"], images_dir, annotation_file)
    bad = BadLabels(on_bad_label)
    labels = _labels(document["annotations"], images, names, bad, annotation_file)
    skipped = bad.report(annotation_file)

    files = _Files(suffixes)
    images = {number: image._replace(path=files.find(image.path)) for number, image in images.items()}
    ids = list(images)
    chosen = [ids[i] for i in select([image.path for image in images.values()], split_file)]
    for i in chosen:
        files.require(images[i].path, annotation_file)
    order = {category: number for number, category in enumerate(names)}
    records = [make_record(i, images[i], labels.get(i, []), order) for i in chosen]
    return AnnotatedSet(records, tuple(names.values()), tuple(names), skipped)


def load_document(path: Path) -> dict[str, list[Any]]:
    """The lists of images, annotations and categories. UserError when the file is no COCO annotation file."""
    document = parse_json(read_text(path, "COCO annotations"), path)
    for key in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise UserError(
                f"{path}: no list {key!r}, expected COCO annotations with images, annotations and categories"
            )
        if not all(isinstance(entry, dict) for entry in document[key]):
            raise UserError(f"{path}: {key!r} holds something else than objects")
    return document


def parse_json(content: str | bytes, path: Path) -> Any:
    """The value in a JSON file. UserError for broken JSON, and for such as nobody writes but to do harm."""
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: broken JSON, {error.msg} at column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file, expected JSON") from error
    except RecursionError as error:
        raise UserError(f"{path}: broken JSON, nested too deeply") from error
    except ValueError as error:  # Python's bound on the digits of whole numbers
        raise UserError(f"{path}: broken JSON, a number has thousands of digits") from error


def is_integer(value: object) -> TypeGuard[int]:
    """A whole number; `true` is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_id(value: object) -> TypeGuard[int]:
    """A whole number that the evaluation, which counts in float64, tells from its neighbours."""
    return is_integer(value) and 0 <= value <= LARGEST


def is_text(value: object) -> TypeGuard[str]:
    """A text that can be written to a file; JSON can hold halves of letters, which cannot."""
    return isinstance(value, str) and not _HALF_LETTERS.search(value)


def read_categories(entries: list[dict[str, Any]], path: Path) -> dict[int, str]:
    """Category id -> name, ascending by id."""
    names: dict[int, str] = {}
    for entry in entries:
        number, name = entry.get("id"), entry.get("name")
        if not is_id(number) or not is_text(name):
            raise UserError(f"{path}: category {entry}, expected {_ID} and a `name`")
        if number in names:
            raise UserError(f"{path}: two categories have the id {number}: {names[number]!r} and {name!r}")
        names[number] = name
    if not names:
        raise UserError(f"{path}: no categories, expected at least one")
    return dict(sorted(names.items()))


def read_images(entries: list[dict[str, Any]], images_dir: Path, path: Path) -> dict[int, Image]:
    """Image id -> file and size, in the order of the file."""
    images: dict[int, Image] = {}
    for entry in entries:
        number, name, height, width = (entry.get(key) for key in ("id", "file_name", "height", "width"))
        if not is_id(number) or not is_text(name):
            raise UserError(f"{path}: image {entry}, expected {_ID} and a `file_name`")
        if not (is_integer(height) and is_integer(width) and 0 < min(height, width) <= max(height, width) < 2**31):
            raise UserError(f"{path}: image {number} ({name}) has width {width} and height {height}, expected pixels")
        if number in images:
            raise UserError(f"{path}: two images have the id {number}: {images[number].path.name} and {name}")
        images[number] = Image(images_dir / name, (height, width))
    if not images:
        raise UserError(f"{path}: lists no images, expected at least one")
    return images


def _labels(
    entries: list[dict[str, Any]], images: dict[int, Image], names: dict[int, str], bad: BadLabels, path: Path
) -> dict[int, list[Label]]:
    """Image id -> its labels."""
    labels: dict[int, list[Label]] = {}
    for entry in entries:
        where = f"{path}: annotation {entry.get('id')}"
        image_id, category = entry.get("image_id"), entry.get("category_id")
        if not is_integer(image_id) or image_id not in images:
            raise UserError(f"{where} belongs to image {image_id}, which the file does not list")
        if not is_integer(category) or category not in names:
            raise UserError(f"{where} has category {category}, which is none of the {len(names)} that the file lists")
        label = read_label(entry, images[image_id], bad, where)
        if label is not None:
            labels.setdefault(image_id, []).append(label)
    return labels


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def read_label(entry: dict[str, Any], image: Image, bad: BadLabels, where: str) -> Label | None:
    """One label, or None for a bad one."""
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_finite(value) for value in box):
        bad.add("malformed boxes", f"{where} has bbox {box}, expected four numbers [x, y, width, height]")
        return None
    x, y, width, height = box
    if width < 0 or height < 0:
        bad.add("malformed boxes", f"{where} has bbox {box}, expected a positive width and height")
        return None
    if width == 0 or height == 0:  # COCO's own training annotations have a few
        bad.count("boxes without area", f"{where} has bbox {box}")
        return None
    image_height, image_width = image.size
    if x >= image_width or y >= image_height or x + width <= 0 or y + height <= 0:
        size = f"{image_width} x {image_height}"
        bad.add("boxes outside the image", f"{where} has bbox {box}, outside the image of {size} pixels")
        return None
    area = entry.get("area", width * height)
    if not _is_finite(area) or area < 0:
        bad.add("malformed areas", f"{where} has area {area}, expected a number of square pixels")
        return None
    crowd = entry.get("iscrowd", 0)
    if not isinstance(crowd, int) or crowd not in (0, 1):  # True and False are such numbers
        bad.add("malformed crowd flags", f"{where} has iscrowd {crowd!r}, expected 0 or 1")
        return None
    return Label((x, y, x + width, y + height), entry["category_id"], bool(crowd), area)


class _Files:
    """Which files there are; each folder is listed once, which is far quicker than asking for every file."""

    def __init__(self, suffixes: frozenset[str]) -> None:
        self.suffixes = suffixes
        self._listings: dict[Path, set[str]] = {}

    def _exists(self, path: Path) -> bool:
        folder = path.parent
        if folder not in self._listings:
            self._listings[folder] = set(os.listdir(folder)) if folder.is_dir() else set()  # noqa: PTH208 (names only)
        return path.name in self._listings[folder]

    def find(self, path: Path) -> Path:
        """The file itself, else an encrypted one of its name if the loader reads those, else `path`."""
        if self._exists(path):
            return path
        return next(filter(self._exists, variants(path, self.suffixes)), path)

    def require(self, path: Path, annotation_file: Path) -> None:
        if not self._exists(path):
            hint = encrypted_hint(sum(map(self._exists, variants(path, {ENCRYPTED_SUFFIX}))))
            raise UserError(f"{path}: no such image file, but {annotation_file} lists it{hint}")


def make_record(image_id: int, image: Image, labels: list[Label], order: dict[int, int]) -> AnnotatedImage:
    """The record of an image; `order` gives each category its class number."""
    return AnnotatedImage(
        path=image.path,
        image_id=image_id,
        size=image.size,
        boxes=np.array([label.box for label in labels], np.float32).reshape(-1, 4),
        classes=np.array([order[label.category] for label in labels], np.int64),
        crowd=np.array([label.crowd for label in labels], np.bool_),
        areas=np.array([label.area for label in labels], np.float64),
    )
