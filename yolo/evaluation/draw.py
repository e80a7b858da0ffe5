"""Boxes on images."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from yolo.whole_file import whole_file

Image = NDArray[np.uint8]


def class_colour(index: int) -> tuple[int, int, int]:
    """A saturated RGB colour per class; neighbours are far apart in hue (golden-ratio steps)."""
    red, green, blue = colorsys.hsv_to_rgb((index * 0.618034) % 1.0, 0.85, 0.95)
    return int(255 * red), int(255 * green), int(255 * blue)


def draw_boxes(
    image: Image, boxes: NDArray[np.floating], classes: NDArray[np.integer], labels: Sequence[str] = ()
) -> Image:
    """A copy of `image` with boxes drawn on it.

    Args:
        image: [H, W, 3] RGB.
        boxes: [N, 4] xyxy pixels.
        classes: [N], choose the colour.
        labels: N texts, none when empty.

    Returns:
        [H, W, 3] RGB. Line and text grow with the image.
    """
    import cv2

    canvas = np.ascontiguousarray(image).copy()
    scale = max(canvas.shape[:2]) / 640
    thickness = max(1, round(2 * scale))
    for row in range(len(boxes) - 1, -1, -1):  # best last, on top
        x1, y1, x2, y2 = (round(float(value)) for value in boxes[row])
        colour = class_colour(int(classes[row]))
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thickness)
        if labels:
            _draw_label(canvas, labels[row], (x1, y1), colour, max(0.35, 0.5 * scale))
    return canvas


def _draw_label(canvas: Image, text: str, corner: tuple[int, int], colour: tuple[int, int, int], scale: float) -> None:
    """Text on a filled strip above `corner`, below it at the upper edge of the image; black or white by contrast."""
    import cv2

    thickness = max(1, round(scale))
    (width, height), descent = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    x = int(np.clip(corner[0], 0, max(canvas.shape[1] - width, 0)))
    top = corner[1] - height - descent if corner[1] >= height + descent else corner[1]
    cv2.rectangle(canvas, (x, top), (x + width, top + height + descent), colour, cv2.FILLED)
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    ink = (0, 0, 0) if luminance > 128 else (255, 255, 255)
    cv2.putText(canvas, text, (x, top + height), cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thickness, lineType=cv2.LINE_AA)


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
