"""The findings of a label audit as a CSV file and as sheets of pictures."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from yolo.data.annotations import AnnotatedImage
from yolo.evaluation.draw import Image, Style, contact_sheet, draw_styled, fit_boxes, save_jpeg
from yolo.evaluation.label_audit import KINDS, LabelFinding
from yolo.whole_file import whole_file

COLUMNS = (
    "rank", "kind", "certainty", "image", "label_file", "label", "repeats_label", "label_class", "detected_class",
    "score", "iou", "x1", "y1", "x2", "y2", "detected_x1", "detected_y1", "detected_x2", "detected_y2",
    "repeats_class", "repeats_x1", "repeats_y1", "repeats_x2", "repeats_y2",
)  # fmt: skip

_COLUMNS_OF_SHEET = 4
_TILE = 400
_MARGIN = 1.0
"""What a picture shows around the boxes, in their longer side."""
LABEL, DETECTION, NEIGHBOUR = Style((235, 25, 25)), Style((0, 200, 60)), Style((40, 90, 255))
"""Red, green, blue."""
_TEXT_PIXELS = 24
"""Texts of boxes whose corners are nearer than this, up and down, would hide each other."""

Place = Callable[[AnnotatedImage, int], tuple[Path | None, int]]


def write_csv(
    findings: Sequence[LabelFinding],
    records: Sequence[AnnotatedImage],
    class_names: Sequence[str],
    place: Place,
    target: Path,
) -> None:
    """One row per finding, the surest first; a column is empty where it means nothing.

    Args:
        findings: as `audit` sorted them.
        records: the evaluated images.
        class_names: by class.
        place: says where a label stands (`yolo.data.label_places`).
        target: the file.
    """
    with whole_file(target) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for rank, entry in enumerate(findings, start=1):
            record = records[entry.image]
            label_file, label = place(record, entry.label) if entry.label is not None else ("", "")
            repeats = place(record, entry.other)[1] if entry.other is not None else ""
            writer.writerow(
                [
                    rank,
                    entry.kind,
                    f"{entry.certainty:.4f}",
                    record.path,
                    label_file or "",
                    label,
                    repeats,
                    *(_name(number, class_names) for number in (entry.label_class, entry.detected_class)),
                    *("" if value is None else f"{value:.4f}" for value in (entry.score, entry.iou)),
                    *_corners(None if entry.label is None else entry.box),
                    *_corners(entry.detected_box),
                    _name(entry.other_class, class_names),
                    *_corners(entry.other_box),
                ]
            )


def _name(number: int | None, class_names: Sequence[str]) -> str:
    return "" if number is None else class_names[number]


def _corners(box: NDArray[np.float64] | None) -> list[str]:
    return [""] * 4 if box is None else [f"{value:.2f}" for value in box]


def write_sheets(
    findings: Sequence[LabelFinding],
    records: Sequence[AnnotatedImage],
    class_names: Sequence[str],
    pixels: Callable[[AnnotatedImage], Image],
    folder: Path,
    top: int,
) -> list[Path]:
    """A sheet `KIND.jpg` of the `top` surest findings of every kind.

    Each picture shows the surroundings of one label: the label, what the detector sees, and labels nearby.
    """
    written = []
    for kind in KINDS:
        chosen = [(rank, entry) for rank, entry in enumerate(findings, start=1) if entry.kind == kind][:top]
        if not chosen:
            continue
        tiles = [picture(entry, rank, records[entry.image], class_names, pixels) for rank, entry in chosen]
        target = folder / f"{kind}.jpg"
        save_jpeg(contact_sheet(tiles, min(_COLUMNS_OF_SHEET, len(tiles)), _TILE), target)
        written.append(target)
    return written


def picture(
    entry: LabelFinding,
    rank: int,
    record: AnnotatedImage,
    class_names: Sequence[str],
    pixels: Callable[[AnnotatedImage], Image],
) -> Image:
    """The surroundings of a finding, _TILE pixels at their longer side."""
    boxes, styles = [], []
    beside = entry.detected_box if entry.other_box is None else entry.other_box
    for box, style in ((beside, DETECTION), (None if entry.label is None else entry.box, LABEL)):
        if box is not None:
            boxes.append(box)
            styles.append(style)
    neighbours = [row for row in range(len(record.boxes)) if row not in (entry.label, entry.other)]
    boxes += [record.boxes[row].astype(np.float64) for row in neighbours]
    styles += [NEIGHBOUR] * len(neighbours)
    drawn = [box for box in (entry.box, beside) if box is not None]
    left, top, right, bottom = _surroundings(np.array(drawn), record.size)
    crop = pixels(record)[top:bottom, left:right]
    moved = np.array(boxes) - np.array([left, top, left, top])
    fitted, moved = fit_boxes(crop, moved, _TILE)
    texts = _texts(entry, rank, class_names, moved)
    texts += [""] * (len(moved) - len(texts))
    inside = np.flatnonzero(((moved[:, 2:] > 0) & (moved[:, :2] < fitted.shape[1::-1])).all(1))
    return draw_styled(fitted, moved[inside], [styles[row] for row in inside], [texts[row] for row in inside])


def _texts(entry: LabelFinding, rank: int, class_names: Sequence[str], boxes: NDArray[np.floating]) -> list[str]:
    """For the boxes of a finding, detection first: one text for both when they begin at the same height."""
    label = f"label {class_names[entry.label_class]}" if entry.label_class is not None else ""
    seen = (
        f"seen {class_names[entry.detected_class]} {entry.score or 0:.2f}" if entry.detected_class is not None else ""
    )
    if entry.other_class is not None:
        seen = f"label {class_names[entry.other_class]}"
    if not label or not seen:
        return [f"#{rank} {label or seen}"]
    if abs(boxes[0, 1] - boxes[1, 1]) < _TEXT_PIXELS:
        return [f"#{rank} {label}, {seen}", ""]
    return [f"#{rank} {seen}", label]


def _surroundings(boxes: NDArray[np.float64], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A square part of the image around boxes [N, 4], as left, top, right, bottom pixels."""
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    half = (0.5 + _MARGIN) * max(float((high - low).max()), 16.0)
    height, width = size
    x, y = (low + high) / 2
    left, top = int(np.clip(x - half, 0, width - 1)), int(np.clip(y - half, 0, height - 1))
    right, bottom = int(np.clip(x + half, left + 1, width)), int(np.clip(y + half, top + 1, height))
    return left, top, right, bottom
