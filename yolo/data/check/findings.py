"""What is wrong with a dataset, kind by kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from yolo.data.annotations import AnnotatedImage
from yolo.data.check.copies import exact_copies, near_copies
from yolo.data.check.pictures import Picture
from yolo.data.check.survey import Survey
from yolo.data.options import Split

Severity = Literal["error", "warning"]
Found: TypeAlias = defaultdict[tuple[str, str], list[str]]
"""Sentences by split and kind."""

_WARNINGS = frozenset(
    {"images without labels", "empty label files", "images that no annotation file lists", "near-duplicate images",
     "near-duplicates across splits", "boxes over the border"}
)  # fmt: skip
"""Kinds that a sound dataset may have; all others are errors."""

_MARGIN = 1.0
"""Pixels by which a box may leave the image before it is counted: rounding, and boxes whose last pixel is inclusive."""


@dataclass(frozen=True)
class Finding:
    """A kind of fault, how often a split has it, and where."""

    split: str
    """train, val, or "train, val" for what is between them."""
    kind: str
    severity: Severity
    places: list[str]
    """A sentence each."""

    @property
    def count(self) -> int:
        """How often."""
        return len(self.places)


def finding(split: str, kind: str, places: Sequence[str], severity: Severity | None = None) -> Finding:
    """A finding with one sentence per fault; its severity is that of its kind unless given."""
    chosen: Severity = severity or ("warning" if kind in _WARNINGS else "error")
    return Finding(split, kind, chosen, list(places))


def find(surveys: Sequence[Survey], pictures: Mapping[Split, Sequence[Picture]]) -> list[Finding]:
    """Everything the files and pixels show; `pictures` holds for each split what its survey's images look like."""
    found: Found = defaultdict(list)
    for survey in surveys:
        for kind, places in survey.faults.items():
            found[survey.split, kind].extend(places)
        _judge_pictures(survey, pictures[survey.split], found)
        _judge_boxes(survey, found)
    known = {image.path for survey in surveys for image in survey.images}  # of several files over one folder
    for path in sorted(set().union(*(survey.strangers for survey in surveys)) - known):
        owner = next(survey.split for survey in surveys if path in survey.strangers)
        found[owner, "images that no annotation file lists"].append(str(path))
    _judge_copies(surveys, pictures, found)
    return [finding(split, kind, places) for (split, kind), places in found.items()]


def _judge_pictures(survey: Survey, pictures: Sequence[Picture], found: Found) -> None:
    for image, picture in zip(survey.images, pictures, strict=True):
        if picture.error:
            found[survey.split, "unreadable images"].append(picture.error)
        elif picture.size != image.size:
            (height, width), (expected_height, expected_width) = picture.size, image.size
            sentence = f"{image.path}: {width} x {height} pixels, annotated as {expected_width} x {expected_height}"
            found[survey.split, "images of another size than annotated"].append(sentence)


def _judge_boxes(survey: Survey, found: Found) -> None:
    for image in survey.images:
        for row in repeated_boxes(image):
            box = ", ".join(f"{value:g}" for value in image.boxes[row])
            sentence = f"{image.path}: box {box} of class {survey.class_names[image.classes[row]]} is there twice"
            found[survey.split, "duplicate boxes"].append(sentence)
        height, width = image.size
        beyond = (image.boxes[:, :2] < -_MARGIN).any(1)
        beyond |= (image.boxes[:, 2:] > np.array([width, height]) + _MARGIN).any(1)
        for row in np.flatnonzero(beyond).tolist():
            box = ", ".join(f"{value:g}" for value in image.boxes[row])
            sentence = f"{image.path}: box {box} leaves the image of {width} x {height} pixels"
            found[survey.split, "boxes over the border"].append(sentence)


def repeated_boxes(image: AnnotatedImage) -> list[int]:
    """Rows whose box and class an earlier row has as well."""
    rows = np.column_stack([image.classes, image.crowd, image.boxes])
    _, first = np.unique(rows, axis=0, return_index=True)
    return sorted(set(range(len(rows))) - set(first.tolist()))


def _judge_copies(surveys: Sequence[Survey], pictures: Mapping[Split, Sequence[Picture]], found: Found) -> None:
    """Copies inside each split, and from each split into the next."""
    paths = [image.path for survey in surveys for image in survey.images]
    splits = [survey.split for survey in surveys for _ in survey.images]
    every = [picture for survey in surveys for picture in pictures[survey.split]]
    across = ", ".join(survey.split for survey in surveys)
    for survey in surveys:
        mine = [i for i, split in enumerate(splits) if split == survey.split]
        for copy in exact_copies([every[i] for i in mine]):
            sentence = f"{paths[mine[copy.image]]} is {paths[mine[copy.original]]}"
            found[survey.split, "duplicate images"].append(sentence)
    for copy in exact_copies(every):
        if splits[copy.image] != splits[copy.original]:
            sentence = f"{paths[copy.image]} is {paths[copy.original]}"
            found[across, "images in both splits"].append(sentence)
    for copy in near_copies(every):
        same = splits[copy.image] == splits[copy.original]
        key = (splits[copy.image], "near-duplicate images") if same else (across, "near-duplicates across splits")
        found[key].append(f"{paths[copy.image]} looks like {paths[copy.original]}")
