"""Boxes on images."""

from __future__ import annotations

import colorsys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from yolo.whole_file import whole_file

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

_LEAST_TEXT = 0.4
"""Scale of OpenCV's font at which capitals are 9 pixels high, about the least that is read with ease."""


def class_colour(index: int) -> Colour:
    """A saturated RGB colour per class; neighbours are far apart in hue (golden-ratio steps)."""
    red, green, blue = colorsys.hsv_to_rgb((index * 0.618034) % 1.0, 0.85, 0.95)
    return int(255 * red), int(255 * green), int(255 * blue)


def draw_boxes(
    image: Image, boxes: NDArray[np.floating], classes: NDArray[np.integer], labels: Sequence[str] = ()
) -> Image:
    """A copy of `image` with boxes drawn on it.

    Lines and text grow with the image, lines of small boxes stay thin; each line has an outline that contrasts with it,
    so that it shows on every background.

    Args:
        image: [H, W, 3] RGB.
        boxes: [N, 4] xyxy pixels.
        classes: [N], choose the colour.
        labels: N texts, none when empty.

    Returns:
        [H, W, 3] RGB.
    """
    canvas = np.ascontiguousarray(image).copy()
    scale = (max(canvas.shape[:2]) / 640) ** 0.75  # in between: sharp at full size, visible when shrunk to a screen
    order = range(len(boxes) - 1, -1, -1)  # best last, on top
    corners = np.rint(np.asarray(boxes, np.float64).reshape(-1, 4)).astype(int)
    for row in order:
        _draw_box(canvas, corners[row], class_colour(int(classes[row])), 2 * scale)
    for row in order if labels else ():  # all above all boxes, whose lines would cross them
        _draw_label(canvas, labels[row], corners[row], class_colour(int(classes[row])), 0.5 * scale)
    return canvas


def _draw_box(canvas: Image, box: NDArray[np.integer], colour: Colour, width: float) -> None:
    """A line of at most `width` pixels, a tenth of the box, between two thinner ones; around the edge of the box."""
    import cv2

    (x1, y1, x2, y2), (height, wide) = box.tolist(), canvas.shape[:2]
    x1, x2 = (min(max(x, 0), wide - 1) for x in (x1, x2))  # at the border of the image, not beyond
    y1, y2 = (min(max(y, 0), height - 1) for y in (y1, y2))
    thickness = max(1, round(min(width, min(x2 - x1, y2 - y1) / 10)))
    edge = max(1, round(thickness / 3)) if min(x2 - x1, y2 - y1) >= 12 else 0
    if edge:
        cv2.rectangle(canvas, (x1, y1), (x2, y2), _contrast(colour), thickness + 2 * edge)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thickness)


def _draw_label(canvas: Image, text: str, box: NDArray[np.integer], colour: Colour, scale: float) -> None:
    """Text on a filled strip above the box, or inside it at the upper edge of the image; within the image.

    As large as `scale` says on boxes wide enough, smaller on others, cut where even that does not fit into the image.
    """
    import cv2

    font, x1, y1 = cv2.FONT_HERSHEY_SIMPLEX, int(box[0]), int(box[1])
    if int(cv2.__version__.split(".")[0]) < 5:  # whose font has no more than that
        text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    text = text or "?"
    (full, _), _ = cv2.getTextSize(text, font, 1.0, 1)
    room = canvas.shape[1] - 2
    scale = max(min(scale, max(int(box[2]) - x1, 1) / full), min(scale, _LEAST_TEXT))
    scale = max(min(scale, room / full), _LEAST_TEXT * 0.8)
    text = text[: max(int(len(text) * room / (full * scale)), 1)] if full * scale > room else text
    thickness = max(1, round(1.4 * scale))
    (width, height), descent = cv2.getTextSize(text, font, scale, thickness)
    pad = max(1, round(3 * scale))
    width, height = width + 2 * pad, height + descent + 2 * pad
    x = int(np.clip(x1, 0, max(canvas.shape[1] - width, 0)))
    top = int(np.clip(y1 - height if y1 >= height else y1, 0, max(canvas.shape[0] - height, 0)))
    cv2.rectangle(canvas, (x, top), (x + width - 1, top + height - 1), colour, cv2.FILLED)
    baseline = (x + pad, top + height - pad - descent)
    cv2.putText(canvas, text, baseline, font, scale, _contrast(colour), thickness, lineType=cv2.LINE_AA)


def _contrast(colour: Colour) -> Colour:
    """Black on light colours, white on dark ones."""
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return (0, 0, 0) if luminance > 128 else (255, 255, 255)


def contact_sheet(images: Sequence[Image], columns: int, tile: int) -> Image:
    """Images fitted into square tiles of `tile` pixels, row by row: [rows tile, columns tile, 3]."""
    from yolo.boxes.letterbox import Letterbox

    rows = -(-len(images) // columns)
    sheet = np.full((rows * tile, columns * tile, 3), 255, np.uint8)
    for position, image in enumerate(images):
        y, x = divmod(position, columns)
        fitted = Letterbox(image.shape[:2], (tile, tile)).apply(image, pad_value=255)
        sheet[y * tile : (y + 1) * tile, x * tile : (x + 1) * tile] = fitted
    return sheet


def fit_boxes(image: Image, boxes: NDArray[np.floating], side: int) -> tuple[Image, NDArray[np.floating]]:
    """An image whose longer side is `side` pixels, and its boxes [N, 4] xyxy there.

    Made before boxes are drawn, so that lines and texts keep their width on a contact sheet.
    """
    import cv2

    height, width = image.shape[:2]
    scale = side / max(height, width)
    new_width, new_height = max(round(width * scale), 1), max(round(height * scale), 1)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = np.asarray(cv2.resize(image, (new_width, new_height), interpolation=method), np.uint8)
    factors = np.array([new_width / width, new_height / height] * 2, np.float32)
    return resized, boxes * factors


def save_jpeg(image: Image, path: Path) -> None:
    """Write an RGB image [H, W, 3] to `path`, which is there only when complete."""
    import cv2

    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])
    with whole_file(path) as partial:
        partial.write_bytes(data.tobytes())
