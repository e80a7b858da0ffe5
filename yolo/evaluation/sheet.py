"""Validation images with what is there and what was found, side by side, the most wrong images first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from yolo.data.annotations import AnnotatedImage
from yolo.evaluation.draw import Image, Style, draw_styled, fit_boxes, save_jpeg, text_strip
from yolo.evaluation.evaluator import Metrics
from yolo.evaluation.verdicts import FALSE_ALARM, FOUND, IGNORED, MISSED, TRUE_POSITIVE, ImageVerdicts, image_verdicts

Pixels = Callable[[AnnotatedImage], Image]
"""Gives a record's image as uint8 [H, W, 3] RGB, in its own size or smaller."""

_SIDE = 420
_GAP = 10
_HEAD = 26
_TEXT = 0.45
STYLES = {  # distinguishable without colours too
    FOUND: Style((0, 158, 60)),
    MISSED: Style((230, 0, 200), 9),
    TRUE_POSITIVE: Style((30, 110, 255)),
    FALSE_ALARM: Style((255, 110, 0), 4),
    IGNORED: Style((150, 150, 150), 2),
}


def save_sheet(metrics: Metrics, pixels: Pixels, path: Path, most: int = 16) -> None:
    """Draw `most` images as a JPEG: ground truth left, predictions from the operating confidence on right.

    Images with errors come first, those with most before all, then the others in the order of the evaluation.

    Raises:
        UserError: an image cannot be read.
    """
    rows = worst_first(metrics)[:most]
    verdicts = image_verdicts(metrics.evaluation, rows)
    pairs = [
        _pair(metrics, metrics.records[row], pixels(metrics.records[row]), verdict)
        for row, verdict in zip(rows, verdicts, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_jpeg(_assemble(pairs, _title(metrics, len(rows))), path, quality=85)


def worst_first(metrics: Metrics) -> list[int]:
    """Rows of all images, most errors first."""
    worst = metrics.analysis.worst_images().tolist()
    wrong = set(worst)
    return worst + [row for row in range(metrics.analysis.images) if row not in wrong]


def _title(metrics: Metrics, shown: int) -> str:
    return (
        f"{shown} of {metrics.analysis.images} images, most errors first; ground truth left, predictions right; "
        f"confidence from {metrics.confidence:.3g}, IoU 0.5"
    )


def _pair(metrics: Metrics, record: AnnotatedImage, image: Image, verdict: ImageVerdicts) -> Image:
    """Both pictures of one image under a line with its name and counts: [h, 2 w, 3]."""
    names, confidence = metrics.class_names, metrics.confidence
    scale = np.array([image.shape[1] / record.size[1], image.shape[0] / record.size[0]] * 2)
    shown = verdict.scores >= confidence
    kinds = verdict.object_kinds(confidence)
    fitted, truth = fit_boxes(image, verdict.objects * scale, _SIDE)
    _, found = fit_boxes(image, verdict.detections[shown] * scale, _SIDE)
    left = _with_boxes(fitted, truth, kinds, [names[c] for c in verdict.object_classes])
    labels = zip(verdict.detection_classes[shown].tolist(), verdict.scores[shown].tolist(), strict=True)
    right = _with_boxes(fitted, found, verdict.kinds[shown].tolist(), [f"{names[c]} {s:.2f}" for c, s in labels])
    both = np.concatenate([left, np.full((left.shape[0], _GAP // 2, 3), 255, np.uint8), right], axis=1)
    false = int((verdict.kinds[shown] == FALSE_ALARM).sum())
    head = f"{record.path.name}: {kinds.count(MISSED)} missed, {false} false alarm{'s' * (false != 1)}"
    return np.concatenate([_text_line(head, both.shape[1]), both])


def _with_boxes(image: Image, boxes: np.ndarray, kinds: Sequence[str], labels: Sequence[str]) -> Image:
    """A copy with boxes [N, 4]; the errors are on top, and only they carry text when there are many boxes."""
    errors = (MISSED, FALSE_ALARM)
    order = sorted(range(len(boxes)), key=lambda row: kinds[row] not in errors)
    texts = [labels[row] if len(boxes) <= 8 or kinds[row] in errors else "" for row in order]
    return draw_styled(image, boxes[order], [STYLES[kinds[row]] for row in order], texts)


def _text_line(text: str, width: int) -> Image:
    """Black on white, [26, width, 3]; what does not fit is cut."""
    line = np.full((_HEAD, width, 3), 255, np.uint8)
    strip = text_strip(text, _TEXT)[:, :width]
    line[4 : 4 + strip.shape[0], : strip.shape[1]] = strip
    return line


def _assemble(pairs: Sequence[Image], title: str) -> Image:
    """Title and legend over the pairs, two in a row."""
    columns = min(2, len(pairs))
    rows = [pairs[start : start + columns] for start in range(0, len(pairs), columns)]
    width = max(2 * _SIDE + _GAP // 2, max(pair.shape[1] for pair in pairs))
    sheet = [_text_line(title, columns * (width + _GAP)), _legend(columns * (width + _GAP))]
    for row in rows:
        strip = np.full((max(p.shape[0] for p in row) + _GAP, columns * (width + _GAP), 3), 255, np.uint8)
        for position, pair in enumerate(row):
            left = position * (width + _GAP)
            strip[: pair.shape[0], left : left + pair.shape[1]] = pair
        sheet.append(strip)
    return np.concatenate(sheet)


def _legend(width: int) -> Image:
    line = np.full((_HEAD + 8, width, 3), 255, np.uint8)
    for position, (kind, style) in enumerate(STYLES.items()):
        x = 4 + position * 160
        line[:30, x : x + 44] = draw_styled(line[:30, x : x + 44], np.array([[3, 6, 41, 24]]), [style])
        strip = text_strip(kind, _TEXT)
        line[6 : 6 + strip.shape[0], x + 48 : x + 48 + strip.shape[1]] = strip
    return line
