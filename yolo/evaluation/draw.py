"""Boxes on images."""

from __future__ import annotations

import colorsys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from yolo.whole_file import whole_file

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
_FONT = 0  # cv2.FONT_HERSHEY_SIMPLEX
_LEAST_TEXT = 0.4
"""Scale of OpenCV's font at which capitals are 9 pixels high, about the least that is read with ease."""


@dataclass(frozen=True)
class Style:
    """How a box is drawn."""

    colour: Colour
    dash: int = 0
    """Length of its dashes in pixels; 0 for a solid line."""


def class_colour(index: int) -> Colour:
    """A saturated RGB colour per class; neighbours are far apart in hue (golden-ratio steps)."""
    red, green, blue = colorsys.hsv_to_rgb((index * 0.618034) % 1.0, 0.85, 0.95)
    return int(255 * red), int(255 * green), int(255 * blue)


def draw_boxes(
    image: Image, boxes: NDArray[np.floating], classes: NDArray[np.integer], labels: Sequence[str] = ()
) -> Image:
    """A copy of `image` with boxes [N, 4] in the colours of their classes [N]; the rest as in `draw_styled`."""
    return draw_styled(image, boxes, [Style(class_colour(int(number))) for number in classes], labels)


def draw_styled(
    image: Image, boxes: NDArray[np.floating], styles: Sequence[Style], labels: Sequence[str] = ()
) -> Image:
    """A copy of `image` with boxes drawn on it, the first ones on top.

    Lines and text grow with the image, lines of small boxes stay thin; each line has an outline that contrasts with it,
    so that it shows on every background.

    Args:
        image: [H, W, 3] RGB.
        boxes: [N, 4] xyxy pixels.
        styles: N styles.
        labels: N texts, none when empty; a text that is empty is not drawn.

    Returns:
        [H, W, 3] RGB.
    """
    canvas = np.ascontiguousarray(image).copy()
    scale = (max(canvas.shape[:2]) / 640) ** 0.75  # in between: sharp at full size, visible when shrunk to a screen
    order = range(len(boxes) - 1, -1, -1)  # best last, on top
    corners = np.rint(np.asarray(boxes, np.float64).reshape(-1, 4)).astype(int)
    for row in order:
        _draw_box(canvas, corners[row], styles[row], 2 * scale)
    for row in order if labels else ():  # all above all boxes, whose lines would cross them
        if labels[row]:
            _draw_label(canvas, labels[row], corners[row], styles[row].colour, 0.5 * scale)
    return canvas


def _draw_box(canvas: Image, box: NDArray[np.integer], style: Style, width: float) -> None:
    """A line of at most `width` pixels, a tenth of the box, between two thinner ones; around the edge of the box.

    Two pixels of colour at least where there is room: one alone is not seen between its outlines.
    """
    import cv2

    (x1, y1, x2, y2), (height, wide) = box.tolist(), canvas.shape[:2]
    x1, x2 = (min(max(x, 0), wide - 1) for x in (x1, x2))  # at the border of the image, not beyond
    y1, y2 = (min(max(y, 0), height - 1) for y in (y1, y2))
    side = min(x2 - x1, y2 - y1)
    thickness = max(2 if side >= 12 else 1, round(min(width, side / 10)))
    edge = max(1, round(thickness / 3)) if side >= 12 else 0
    if edge:
        cv2.rectangle(canvas, (x1, y1), (x2, y2), _contrast(style.colour), thickness + 2 * edge)
    if not style.dash:
        cv2.rectangle(canvas, (x1, y1), (x2, y2), style.colour, thickness)
        return
    for start, end in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1))):
        length = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
        steps = np.rint(np.linspace(start, end, max(round(length / style.dash), 2))).astype(int).tolist()
        for one, other in zip(steps[:-1:2], steps[1::2], strict=False):
            cv2.line(canvas, one, other, style.colour, thickness)


def text_strip(text: str, scale: float, ink: Colour = BLACK, paper: Colour = WHITE) -> Image:
    """One line of text in OpenCV's font on a strip that it fills, [about 30 scale, as wide as the text, 3]."""
    import cv2

    text, thickness = _writable(text), max(1, round(1.4 * scale))
    (width, height), descent = cv2.getTextSize(text, _FONT, scale, thickness)
    pad = max(1, round(3 * scale))
    strip = np.full((height + descent + 2 * pad, width + 2 * pad, 3), paper, np.uint8)
    return cv2.putText(strip, text, (pad, pad + height), _FONT, scale, ink, thickness, lineType=cv2.LINE_AA)  # type: ignore[return-value]


def _writable(text: str) -> str:
    """What OpenCV's font has letters for: before its version 5 only ASCII, since then all but rare scripts."""
    import cv2

    if int(cv2.__version__.split(".")[0]) < 5:
        text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return "".join(c if c.isprintable() else " " for c in text) or "?"


def _draw_label(canvas: Image, text: str, box: NDArray[np.integer], colour: Colour, scale: float) -> None:
    """Text on a filled strip above the box, or inside it at the upper edge of the image; within the image.

    As large as `scale` says on boxes wide enough, smaller on others, cut where even that does not fit into the image.
    """
    import cv2

    text, x1, y1, room = _writable(text), int(box[0]), int(box[1]), canvas.shape[1] - 2
    (full, _), _ = cv2.getTextSize(text, _FONT, 1.0, 1)
    scale = max(min(scale, max(int(box[2]) - x1, 1) / full), min(scale, _LEAST_TEXT))
    scale = max(min(scale, room / full), _LEAST_TEXT * 0.8)
    text = text[: max(int(len(text) * room / (full * scale)), 1)] if full * scale > room else text
    strip = text_strip(text, scale, _contrast(colour), colour)[: canvas.shape[0], : canvas.shape[1]]
    height, width = strip.shape[:2]
    x = int(np.clip(x1, 0, canvas.shape[1] - width))
    top = int(np.clip(y1 - height if y1 >= height else y1, 0, canvas.shape[0] - height))
    canvas[top : top + height, x : x + width] = strip


def _contrast(colour: Colour) -> Colour:
    """Black on light colours, white on dark ones."""
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return BLACK if luminance > 128 else WHITE


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


def encode_jpeg(image: Image, quality: int = 95, *, drawn: bool = True) -> bytes:
    """An RGB image [H, W, 3] as a JPEG; what is `drawn` on it keeps its colour, which takes a larger file."""
    import cv2

    colours = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444 if drawn else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, colours]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return data.tobytes()


def save_jpeg(image: Image, path: Path, quality: int = 95) -> None:
    """Write an RGB image [H, W, 3] to `path`, which is there only when complete."""
    with whole_file(path) as partial:
        partial.write_bytes(encode_jpeg(image, quality))
