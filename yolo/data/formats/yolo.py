"""YOLO txt labels: beside each image a file with one line `class cx cy w h` per object, all but the class in 0..1."""

from __future__ import annotations

import logging
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from yolo.data.annotations import AnnotatedImage, AnnotatedSet
from yolo.data.formats.common import BadLabels, read_text, select
from yolo.data.image_files import ENCRYPTED_SUFFIX, encrypted_hint, image_stem, is_encrypted, variants, without_twins
from yolo.data.loaders import ImageLoader
from yolo.data.options import BadLabelPolicy, Split
from yolo.errors import UserError

logger = logging.getLogger(__name__)

# How far outside 0..1 a coordinate may be before it counts as a mistake and not as rounding.
_TOLERANCE = 1e-3


def read_yolo(
    root: Path,
    split: Split,
    images: str | None,
    labels: str | None,
    split_file: Path | None,
    on_bad_label: BadLabelPolicy,
    loader: ImageLoader,
) -> AnnotatedSet:
    """Read one split.

    Args:
        root: Dataset folder with data.yaml or classes.txt.
        split: Which entry of data.yaml to use when `images` is None.
        images: Folder or .txt list of images, absolute or relative to `root`.
        labels: Folder of the label files; None for the place that YOLO's convention gives them.
        split_file: List of the image names to use, or None for all.
        on_bad_label: What to do with a line that cannot be right.
        loader: Says which files are images, and their sizes.

    Raises:
        UserError: A file is missing or malformed, or a label is bad.
    """
    config = read_config(root)
    names = class_names(root, config)
    location = find_location(root, split, images, config)
    if location.is_file():
        paths = listed_images(location, root, loader.suffixes)
    else:
        paths = folder_images(location, loader.suffixes)
    paths = [paths[i] for i in select(paths, split_file)]
    label_files = [label_file_of(path, location, root / labels if labels else None) for path in paths]
    _require_labels(label_files, location)
    with ThreadPoolExecutor() as pool:
        sizes = list(pool.map(loader.image_size, paths))
    bad = BadLabels(on_bad_label)
    records = [
        _record(number, path, label_file, size, names, bad)
        for number, (path, label_file, size) in enumerate(zip(paths, label_files, sizes, strict=True), start=1)
    ]
    return AnnotatedSet(records, names, tuple(range(len(names))), bad.report(location))


def read_config(root: Path) -> dict[str, Any]:
    """data.yaml, empty when there is none. UserError when it is no mapping."""
    path = root / "data.yaml"
    if not path.exists():
        return {}
    try:
        config = yaml.safe_load(read_text(path, "YAML with class names"))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: broken YAML ({' '.join(str(error).split())})") from error
    if not isinstance(config, dict):
        raise UserError(f"{path}: expected keys such as `names` and `train`, found {type(config).__name__}")
    return config


def class_names(root: Path, config: dict[str, Any]) -> tuple[str, ...]:
    """From `names` of data.yaml (list or dict), else from classes.txt."""
    path = root / "data.yaml"
    if not config:
        return _names_from_text(root / "classes.txt", path)
    names = config.get("names")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise UserError(f"{path}: `names` has the keys {list(names)}, expected 0 to {len(names) - 1}")
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{path}: `names` is {names!r}, expected a list of class names or a mapping 0: name")
    count = config.get("nc", len(names))
    if count != len(names):
        raise UserError(f"{path}: `nc` is {count}, but `names` has {len(names)} entries")
    return tuple(str(name) for name in names)


def _names_from_text(path: Path, missing: Path) -> tuple[str, ...]:
    if not path.exists():
        raise UserError(f"{missing}: no such file, expected it to hold `names: [first class, second class, ...]`")
    names = tuple(line.strip() for line in read_text(path, "one class name per line").splitlines() if line.strip())
    if not names:
        raise UserError(f"{path}: is empty, expected one class name per line")
    return names


def find_location(root: Path, split: Split, images: str | None, config: dict[str, Any]) -> Path:
    """The folder or list file of the split's images. UserError when there is none."""
    location = expected_location(root, split, images, config)
    if not location.exists():
        raise UserError(f"{location}: no such image folder or list file")
    return location


def expected_location(root: Path, split: Split, images: str | None, config: dict[str, Any]) -> Path:
    """Where the folder or list file of the split's images should be."""
    base, entry = root, images
    if images is None and split in config:
        base, entry = root / str(config.get("path", ".")), config[split]
        if not isinstance(entry, str):
            raise UserError(f"{root / 'data.yaml'}: `{split}` is {entry!r}, expected one folder or .txt list")
        if not base.is_dir():
            base = root  # `path` of another machine
        if entry.startswith("../") and not (base / entry).exists():
            entry = entry[3:]  # Roboflow writes ../train/images for the folder train/images beside data.yaml
    return base / (entry or f"images/{split}")


def folder_images(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """All images below a folder, sorted; hidden files are left out."""
    files = [Path(parent) / name for parent, _, names in os.walk(folder) for name in names if not name.startswith(".")]
    paths = without_twins(path for path in files if path.suffix.lower() in suffixes)
    if not paths:
        hint = encrypted_hint(sum(map(is_encrypted, files)))
        raise UserError(f"{folder}: no images, expected files ending in {', '.join(sorted(suffixes))}{hint}")
    return sorted(paths)


def listed_images(list_file: Path, root: Path, suffixes: frozenset[str]) -> list[Path]:
    """The images named in a list, sorted; paths are relative to the list or to the dataset."""
    paths = set()
    for number, line in enumerate(read_text(list_file, "a list of image paths").splitlines(), start=1):
        if not (name := line.strip()):
            continue
        places = [base / name for base in (list_file.parent, root)]
        path = next((found for place in places for found in variants(place, suffixes) if found.is_file()), None)
        if path is None:
            hint = encrypted_hint(
                sum(p.is_file() for p in {p for q in places for p in variants(q, {ENCRYPTED_SUFFIX})})
            )
            raise UserError(
                f"{list_file}:{number}: no such image {name!r}, neither beside the list nor in {root}{hint}"
            )
        paths.add(path)
    if not paths:
        raise UserError(f"{list_file}: names no image, expected one path per line")
    return sorted(paths)


def label_file_of(image: Path, location: Path, labels: Path | None) -> Path:
    """Where the labels of an image are: same name in `labels`, else `images` in its path replaced by `labels`."""
    name = f"{image_stem(image)}.txt"
    if labels is not None:
        relative = image.relative_to(location) if location.is_dir() else Path(image.name)
        return labels / relative.with_name(name)
    folders = list(image.parent.parts)
    if "images" in folders:
        folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return Path(*folders, name)


def _require_labels(label_files: list[Path], location: Path) -> None:
    """An image without a label file is background; a dataset without any label folder is a wrong path."""
    folders = sorted({path.parent for path in label_files})
    if not any(folder.is_dir() for folder in folders):
        raise UserError(f"{folders[0]}: no such label folder for the images of {location}")
    if not any(path.is_file() for path in label_files):
        logger.warning("%s: no image has a label file, expected for example %s", location, label_files[0])


def _record(
    number: int, path: Path, label_file: Path, size: tuple[int, int], names: tuple[str, ...], bad: BadLabels
) -> AnnotatedImage:
    lines = read_text(label_file, "YOLO labels").splitlines() if label_file.is_file() else []
    rows = []
    for line_number, line in enumerate(lines, start=1):
        if line.strip() and (row := parse_line(line, f"{label_file}:{line_number}", names, bad)) is not None:
            rows.append(row)
    table = np.array(rows, np.float64).reshape(-1, 5)
    height, width = size
    boxes = table[:, 1:] * (width, height, width, height)
    return AnnotatedImage(
        path=path,
        image_id=number,
        size=size,
        boxes=boxes.astype(np.float32),
        classes=table[:, 0].astype(np.int64),
        crowd=np.zeros(len(table), np.bool_),
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(1),
    )


def parse_line(line: str, where: str, names: tuple[str, ...], bad: BadLabels) -> list[float] | None:
    """One line to [class, x1, y1, x2, y2] in 0..1, or None for a bad one; a polygon becomes the box around it."""
    quoted = repr(line.strip() if len(line) <= 80 else line.strip()[:77] + "...")
    try:
        number, *values = (float(word) for word in line.split())
    except ValueError:
        number, values = math.nan, []
    is_polygon = len(values) >= 6 and len(values) % 2 == 0
    if not (len(values) == 4 or is_polygon) or not number.is_integer() or not all(map(math.isfinite, values)):
        bad.add(
            "malformed lines",
            f"{where}: expected `class cx cy w h` or a polygon `class x1 y1 x2 y2 ...`, found {quoted}",
        )
        return None
    if not 0 <= number < len(names):
        raise UserError(f"{where}: class {number:.0f}, but there are {len(names)} classes (0 to {len(names) - 1})")
    if min(values) < -_TOLERANCE or max(values) > 1 + _TOLERANCE:
        bad.add(
            "coordinates outside 0..1",
            f"{where}: expected coordinates divided by the image size (0 to 1), found {quoted}",
        )
        return None
    if is_polygon:
        x1, y1, x2, y2 = min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    else:
        cx, cy, w, h = values
        x1, y1, x2, y2 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    x1, y1, x2, y2 = (min(max(value, 0.0), 1.0) for value in (x1, y1, x2, y2))
    if x2 <= x1 or y2 <= y1:
        bad.add("boxes without area", f"{where}: expected a box with a width and a height, found {quoted}")
        return None
    return [number, x1, y1, x2, y2]


class LookedAt(NamedTuple):
    """Files, and folders of images and of labels, that decide what `read_yolo` returns."""

    files: list[Path]
    image_folders: set[str]
    label_folders: set[str]
    endings: set[str]
    """Of listed images: a list may name files that a folder would not be searched for."""


def looked_at(root: Path, split: Split, images: str | None, labels: str | None) -> LookedAt:
    """What `read_yolo` with the same arguments looks at beside the split file, existing or not."""
    location = find_location(root, split, images, read_config(root))
    files, endings = [root / "data.yaml", root / "classes.txt"], set[str]()
    if location.is_dir():
        folders = {parent for parent, _, _ in os.walk(location)}
    else:
        files.append(location)
        lines = read_text(location, "a list of image paths").splitlines()
        # Path is slow for each image.
        inner = {os.path.dirname(line.strip()) for line in lines}  # noqa: PTH120
        endings = {os.path.splitext(line.strip())[1].lower() for line in lines}  # noqa: PTH122
        folders = {str(base / folder) for base in (location.parent, root) for folder in inner}
    top = root / labels if labels else None
    label_folders = {str(label_file_of(Path(folder, "image"), location, top).parent) for folder in folders}
    return LookedAt(files, folders, label_folders, endings)
