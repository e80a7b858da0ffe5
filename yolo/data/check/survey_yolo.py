"""The survey of a split in YOLO's format."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from yolo.data.annotations import AnnotatedImage
from yolo.data.check.survey import Faults, Survey
from yolo.data.formats import yolo
from yolo.data.formats.common import read_text, select
from yolo.data.image_files import image_stem
from yolo.data.loaders import ImageLoader
from yolo.data.options import SourceOptions, Split
from yolo.errors import UserError


def survey_yolo(options: SourceOptions, split: Split, loader: ImageLoader) -> Survey:
    """Every image and every label file of the split. UserError when there is no split to look at."""
    root = Path(options.root)
    images, _, labels, split_file = options.places(split)
    config = yolo.read_config(root)
    names = yolo.class_names(root, config)
    location = yolo.find_location(root, split, images, config)
    if location.is_file():
        every = yolo.listed_images(location, root, loader.suffixes)
    else:
        every = yolo.folder_images(location, loader.suffixes)
    paths = [every[i] for i in select(every, split_file)]
    folder = root / labels if labels else None
    label_files = {path: yolo.label_file_of(path, location, folder) for path in paths}
    faults = Faults()
    records = [
        record
        for number, path in enumerate(paths, start=1)
        if (record := _survey_image(number, path, label_files[path], names, loader, faults)) is not None
    ]
    for message in _shared_labels(label_files):
        faults.count("images that share a label file", message)
    places = {(label_file.parent, path.parent) for path, label_file in label_files.items()}
    for label_file in _labels_without_image(places, loader.suffixes):
        faults.count("labels without image", f"{label_file}: no image has this name")
    return Survey(split, len(paths), records, names, tuple(range(len(names))), dict(faults.found))


def _survey_image(
    number: int, path: Path, label_file: Path, names: tuple[str, ...], loader: ImageLoader, faults: Faults
) -> AnnotatedImage | None:
    rows = _survey_labels(path, label_file, names, faults)
    try:
        height, width = loader.image_size(path)
    except UserError as error:
        faults.count("unreadable images", str(error))
        return None
    table = np.array(rows, np.float64).reshape(-1, 5)
    boxes = table[:, 1:] * (width, height, width, height)
    return AnnotatedImage(
        path=path,
        image_id=number,
        size=(height, width),
        boxes=boxes.astype(np.float32),
        classes=table[:, 0].astype(np.int64),
        crowd=np.zeros(len(table), np.bool_),
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(1),
    )


def _survey_labels(image: Path, label_file: Path, names: tuple[str, ...], faults: Faults) -> list[list[float]]:
    """The rows [class, x1, y1, x2, y2] (0 to 1) of the lines that can be used."""
    if not label_file.is_file():
        faults.count("images without labels", f"{image}: no label file {label_file}")
        return []
    try:
        lines = read_text(label_file, "YOLO labels").splitlines()
    except UserError as error:
        faults.count("unreadable label files", str(error))
        return []
    if not any(line.strip() for line in lines):
        faults.count("empty label files", f"{label_file}: no line")
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = yolo.parse_line(line, f"{label_file}:{number}", names, faults)
        except UserError as error:  # what no policy lets pass
            faults.count("unknown classes", str(error))
            continue
        if row is not None:
            rows.append(row)
    return rows


def _shared_labels(label_files: Mapping[Path, Path]) -> Iterator[str]:
    """A sentence per label file that several images have, such as those of `a.jpg` and `a.png`."""
    owners: dict[Path, list[Path]] = defaultdict(list)
    for path, label_file in label_files.items():
        owners[label_file].append(path)
    for label_file, images in owners.items():
        if len(images) > 1 and label_file.is_file():
            yield f"{label_file}: belongs to {' and '.join(map(str, images))}"


def _labels_without_image(places: set[tuple[Path, Path]], suffixes: frozenset[str]) -> Iterator[Path]:
    """Label files in or below folders (labels, images) whose name no image has, be it one that a split leaves out."""
    pairs = set(places)
    for labels, images in places:
        below = (file.parent.relative_to(labels) for file in labels.rglob("*.txt"))
        pairs |= {(labels / folder, images / folder) for folder in below}
    stems: dict[Path, set[str]] = defaultdict(set)
    for labels, images in pairs:
        files = images.iterdir() if images.is_dir() else ()
        stems[labels] |= {image_stem(file) for file in files if file.suffix.lower() in suffixes}
    for labels in sorted(stems):
        yield from sorted(f for f in labels.glob("*.txt") if f.stem not in stems[labels] and _looks_like_labels(f))


def _looks_like_labels(file: Path) -> bool:
    """Whether a text file is empty or begins with a number: lists of images or classes may lie beside labels."""
    with file.open("rb") as content:
        start = content.read(16).split()
    return not start or start[0].replace(b".", b"").isdigit()
