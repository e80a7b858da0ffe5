"""The worst images of a report: small JPEGs and the boxes that lie over them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yolo.evaluation.draw import encode_jpeg, fit_boxes
from yolo.evaluation.sheet import worst_first
from yolo.evaluation.verdicts import (
    FALSE_ALARM,
    FOUND,
    IGNORED,
    MISSED,
    TRUE_POSITIVE,
    ImageVerdicts,
    image_verdicts,
)
from yolo.report.content import ReportContent

SIDE = 480
"""Longer side of a picture in pixels."""
QUALITY = 72
BUDGET = 2_000_000
"""Characters that pictures and boxes may take; with everything else a report stays below 3 MB."""
BOX_LENGTH = 220
"""Characters of one box in the page, about."""
LOWEST = 0.05
"""Predictions below this confidence (or the operating one, if that is lower) are left out."""
MOST_BOXES = 300
"""Predictions of one image; the slider starts higher when an image has more."""
_STYLES = {FOUND: "found", MISSED: "missed", IGNORED: "ignored", TRUE_POSITIVE: "true", FALSE_ALARM: "false"}


@dataclass(frozen=True)
class Box:
    """One rectangle, in pixels of the picture."""

    x: float
    y: float
    width: float
    height: float
    style: str
    """found, missed or ignored for an object; true, false or ignored for a prediction."""
    text: str
    score: str
    """Of the prediction, or of the one that found the object, -1 when none did."""
    shown: bool
    """Whether a prediction reaches the operating confidence."""


@dataclass(frozen=True)
class Picture:
    """One image and what is drawn over it."""

    name: str
    """Of the file."""
    source: str
    """Data URI."""
    width: int
    height: int
    objects: tuple[Box, ...]
    predictions: tuple[Box, ...]
    """Best score first."""

    def count(self, style: str) -> int:
        """Boxes of a style that are shown at the operating confidence."""
        return sum(box.style == style and box.shown for box in (*self.objects, *self.predictions))


def worst_rows(content: ReportContent) -> list[int]:
    """Rows of the images that a report shows, the most wrong first."""
    return worst_first(content.metrics)[: content.most_images]


def lowest_confidence(content: ReportContent) -> float:
    """From which confidence on predictions are in the report: never above the operating one."""
    lowest = LOWEST
    for verdict in image_verdicts(content.metrics.evaluation, worst_rows(content)):
        if int((verdict.scores >= lowest).sum()) > MOST_BOXES:
            lowest = float(np.ceil(verdict.scores[MOST_BOXES] * 100 + 1e-9) / 100)
    return min(lowest, content.metrics.confidence)


def make_gallery(content: ReportContent, lowest: float) -> list[Picture]:
    """The worst images, as many as the budget allows; predictions from `lowest` on.

    Raises:
        UserError: an image cannot be read.
    """
    metrics, pictures, used = content.metrics, list[Picture](), 0
    rows = worst_rows(content)
    if content.pixels is None:
        return []
    for row, verdict in zip(rows, image_verdicts(metrics.evaluation, rows), strict=True):
        record = metrics.records[row]
        image = content.pixels(record)
        scale = np.array([image.shape[1] / record.size[1], image.shape[0] / record.size[0]] * 2)
        side = min(SIDE, max(image.shape[:2]))
        small, objects = fit_boxes(image, verdict.objects * scale, side)
        _, found = fit_boxes(image, verdict.detections * scale, side)
        data = encode_jpeg(small, QUALITY, drawn=False)  # the page draws the boxes
        source = "data:image/jpeg;base64," + base64.b64encode(data).decode()
        used += len(source) + BOX_LENGTH * (len(objects) + int((verdict.scores >= lowest).sum()))
        if pictures and used > BUDGET:
            break
        kinds = verdict.object_kinds(metrics.confidence)
        pictures.append(
            Picture(
                record.path.name,
                source,
                small.shape[1],
                small.shape[0],
                tuple(_object_boxes(verdict, objects, kinds, metrics.class_names)),
                tuple(_prediction_boxes(verdict, found, metrics.class_names, metrics.confidence, lowest)),
            )
        )
    return pictures


def _object_boxes(verdict: ImageVerdicts, boxes: np.ndarray, kinds: Sequence[str], names: Sequence[str]) -> list[Box]:
    rows = zip(boxes, kinds, verdict.object_classes.tolist(), verdict.object_scores.tolist(), strict=True)
    return [_box(box, kind, names[label], score, shown=True) for box, kind, label, score in rows]


def _prediction_boxes(
    verdict: ImageVerdicts, boxes: np.ndarray, names: Sequence[str], confidence: float, lowest: float
) -> list[Box]:
    rows = zip(boxes, verdict.kinds.tolist(), verdict.detection_classes.tolist(), verdict.scores.tolist(), strict=True)
    return [
        _box(box, kind, f"{names[label]} {score:.2f}", score, shown=score >= confidence)
        for box, kind, label, score in rows
        if score >= lowest
    ]


def _box(box: np.ndarray, kind: str, text: str, score: float, *, shown: bool) -> Box:
    x1, y1, x2, y2 = box.round(1).tolist()
    # Nine digits keep a float32 apart from every round number that the slider may stand at.
    number = f"{score:.9g}" if np.isfinite(score) else "-1"
    return Box(x1, y1, round(x2 - x1, 1), round(y2 - y1, 1), _STYLES[kind], text, number, shown)
