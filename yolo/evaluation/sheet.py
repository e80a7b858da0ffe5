"""Validation images with what is there and what was found, side by side, the most wrong images first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from yolo.data.annotations import AnnotatedImage
from yolo.evaluation.draw import Image, fit_boxes
from yolo.evaluation.evaluator import Metrics
from yolo.evaluation.verdicts import FALSE_ALARM, FOUND, IGNORED, MISSED, TRUE_POSITIVE, ImageVerdicts, image_verdicts
from yolo.whole_file import whole_file

Pixels = Callable[[AnnotatedImage], Image]
"""Gives a record's image as uint8 [H, W, 3] RGB, in its own size or smaller."""

_SIDE = 420
_GAP = 10
_HEAD = 26
_STYLES = {  # colour, dash length in pixels (0: solid); distinguishable without colours too
    FOUND: ((0, 158, 60), 0),
    MISSED: ((230, 0, 200), 9),
    TRUE_POSITIVE: ((30, 110, 255), 0),
    FALSE_ALARM: ((255, 110, 0), 4),
    IGNORED: ((150, 150, 150), 2),
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
    _write(_assemble(pairs, _title(metrics, len(rows))), path)


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
    """A copy with boxes [N, 4]; the errors last and so on top, and only they carry text when there are many boxes."""
    canvas = image.copy()
    errors = (MISSED, FALSE_ALARM)
    for row in sorted(range(len(boxes)), key=lambda r: kinds[r] in errors):
        corners = np.rint(boxes[row]).astype(int)
        _outline(canvas, corners, kinds[row])
        if len(boxes) <= 8 or kinds[row] in errors:
            _label(canvas, labels[row], corners, _STYLES[kinds[row]][0])
    return canvas


def _outline(canvas: Image, corners: np.ndarray, kind: str) -> None:
    """A rectangle in the style of its kind, in place."""
    import cv2

    colour, dash = _STYLES[kind]
    x1, y1, x2, y2 = corners.tolist()
    if not dash:
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, 2)
        return
    for start, end in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1))):
        length = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
        steps = np.linspace(start, end, max(round(length / dash), 2))
        for one, other in zip(steps[:-1:2], steps[1::2], strict=False):
            cv2.line(canvas, np.rint(one).astype(int).tolist(), np.rint(other).astype(int).tolist(), colour, 2)


def _label(canvas: Image, text: str, corners: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Small text on a strip of the colour, above the box or inside it at the upper edge."""
    import cv2

    (width, height), descent = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.38, 1)
    x = int(np.clip(corners[0], 0, max(canvas.shape[1] - width, 0)))
    top = int(corners[1] - height - descent)
    top = max(top, 0)
    cv2.rectangle(canvas, (x, top), (x + width, top + height + descent), colour, cv2.FILLED)
    ink = (0, 0, 0) if 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 110 else (255, 255, 255)
    cv2.putText(canvas, text, (x, top + height), cv2.FONT_HERSHEY_SIMPLEX, 0.38, ink, 1, lineType=cv2.LINE_AA)


def _text_line(text: str, width: int) -> Image:
    """Black on white, [26, width, 3]; what does not fit is cut."""
    import cv2

    line = np.full((_HEAD, width, 3), 255, np.uint8)
    cv2.putText(line, text, (2, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, lineType=cv2.LINE_AA)
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
    import cv2

    line = np.full((_HEAD + 8, width, 3), 255, np.uint8)
    for position, kind in enumerate(_STYLES):
        x = 4 + position * 160
        _outline(line, np.array([x, 6, x + 38, 24]), kind)
        cv2.putText(line, kind, (x + 46, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, lineType=cv2.LINE_AA)
    return line


def _write(image: Image, path: Path) -> None:
    import cv2

    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_bytes(data.tobytes())
