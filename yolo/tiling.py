"""Detection in pictures much larger than the network's input: windows that overlap, merged by the one NMS.

A window shows an object whole or cut. Cut ones that the next window shows more of are left out, so objects up to the
size of the overlap are found once, in full resolution. The picture as a whole is one more window, for larger objects,
and their parts do not count beside them; where a window sees better, it counts alone. What each of these is worth:
`python benchmarks/tiling.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolo.boxes.convert import xywh_to_xyxy, xyxy_to_xywh
from yolo.boxes.iou import box_iou
from yolo.boxes.letterbox import Letterbox, LetterboxMode
from yolo.boxes.nms import NMSOptions, suppress
from yolo.errors import UserError, require_ranges
from yolo.inference import detect, letterboxed, to_network_input
from yolo.models.detection_model import DetectionModel

BATCH = 8
"""Windows that go through the network together."""
MOST_WINDOWS = 10_000
"""Of one image: more are a slip of the options, and hours of work."""
DEFAULT_OVERLAP = 0.2
_NEAR = 0.01
"""Of the window's side: boxes that end this close to it may be cut; predicted edges are not exact."""
_SAME = 0.3
"""IoU above which a small box of the whole picture is that of a window."""
_CLEARER = 0.5
"""IoU above which a box of the whole picture gives way to a better one of a window, of whatever class."""
_CONTAINED = 0.8
"""Of a cut box's area: inside a larger box of its class, it is a part of that object."""


@dataclass(frozen=True)
class Tiling:
    """Square windows over an image.

    Example:
        >>> Tiling(64, 0.25).windows(50, 120)
        array([[  0,   0,  64,  50],
               [ 48,   0, 112,  50],
               [ 56,   0, 120,  50]])
    """

    size: int
    """Side of a window in pixels of the image."""
    overlap: float = DEFAULT_OVERLAP
    """Part of a window that the next one shows too, from 0 to below 1."""

    def __post_init__(self) -> None:
        require_ranges(self, {"size": (32, float("inf")), "overlap": (0, 1)}, "tile ")
        if self.overlap == 1:
            raise UserError("tile overlap is 1, expected a value from 0 to below 1")

    def covers(self, height: int, width: int) -> bool:
        """Whether one window shows the whole image."""
        return max(height, width) <= self.size

    def windows(self, height: int, width: int) -> NDArray[np.int64]:
        """xyxy pixels [T, 4] of windows that cover the image, row by row; none is outside, the last ones lie at the
        border, and a window is smaller than `size` only where the image is. UserError when there are very many."""
        rows = [(y, min(y + self.size, height)) for y in self._starts(height)]
        columns = [(x, min(x + self.size, width)) for x in self._starts(width)]
        if len(rows) * len(columns) > MOST_WINDOWS:
            number = f"{len(rows) * len(columns):,} windows of tile {self.size} and overlap {self.overlap}"
            raise UserError(
                f"an image of {width} x {height} pixels has {number}, expected at most {MOST_WINDOWS:,}: "
                "take larger windows or less overlap"
            )
        return np.array([(x1, y1, x2, y2) for y1, y2 in rows for x1, x2 in columns], np.int64)

    def _starts(self, length: int) -> list[int]:
        last = max(length - self.size, 0)
        step = max(round(self.size * (1 - self.overlap)), 1)
        return [*range(0, last, step), last]


def tiling_option(tile: int | None, overlap: float | None) -> Tiling | None:
    """The windows that `--tile` and `--overlap` ask for, if any. UserError for an overlap of none."""
    if tile is not None:
        return Tiling(tile, DEFAULT_OVERLAP if overlap is None else overlap)
    if overlap is not None:
        raise UserError(f"--overlap {overlap} is that of the windows of --tile, which is not given")
    return None


@torch.inference_mode()
def detect_tiled(
    model: DetectionModel,
    image: NDArray[np.uint8],
    tiling: Tiling,
    options: NMSOptions,
    letterbox: LetterboxMode,
    image_size: tuple[int, int],
) -> Tensor:
    """Detections of one image, seen through windows.

    Args:
        model: network in eval mode, on any device.
        image: uint8 [H, W, 3] RGB.
        tiling: the windows; an image no larger than one takes the path of all images, to the same numbers.
        options: thresholds.
        letterbox: placement of each window in the network's input.
        image_size: (height, width) of the network's input.

    Returns:
        [K, 6] on the model's device: x1, y1, x2, y2 in pixels of the image, score, class; best first.
    """
    height, width = image.shape[:2]
    device = model.bins.device
    if tiling.covers(height, width):
        batch = letterboxed([image], image_size, letterbox).to(device)
        return detect(model, batch, [(height, width)], options, letterbox)[0]
    windows = np.concatenate([tiling.windows(height, width), [[0, 0, width, height]]])
    found, cut = [], []
    for some in np.array_split(windows, -(-len(windows) // BATCH)):
        batch = letterboxed([image[y1:y2, x1:x2] for x1, y1, x2, y2 in some], image_size, letterbox).to(device)
        maps, *_ = model(to_network_input(batch))
        for window, decoded in zip(some.tolist(), model.decode(maps), strict=True):
            rows = _candidates(decoded, window, options.confidence, letterbox, image_size)
            sides, redundant = _cut_sides(rows[:, :4], window, tiling, (height, width))
            found.append(rows[~redundant])
            cut.append(sides[~redundant])
    candidates = torch.cat(found)
    candidates[:, :4] = xyxy_to_xywh(candidates[:, :4])
    is_cut, limit = torch.cat(cut), 2 * options.max_detections
    while True:  # what is taken away does not count among the most detections
        rows, anchors = suppress(candidates.T, replace(options, max_detections=limit))
        coarse = anchors >= len(candidates) - len(found[-1])  # found in the picture as a whole
        left = rows[~(_parts(rows, is_cut[anchors]) | _blurred(rows, coarse, tiling))]
        if len(left) >= options.max_detections or len(rows) < limit:
            return left[: options.max_detections]
        limit *= 2


def _candidates(
    decoded: Tensor, window: list[int], confidence: float, letterbox: LetterboxMode, image_size: tuple[int, int]
) -> Tensor:
    """Anchors [N, 4 + C] of a window that can become a detection, their boxes as xyxy pixels of the image."""
    x1, y1, x2, y2 = window
    rows = decoded[:, (decoded[4:] > confidence).any(dim=0)].T.clone()
    placed = Letterbox((y2 - y1, x2 - x1), image_size, letterbox).to_source(xywh_to_xyxy(rows[:, :4]), clip=True)
    rows[:, :4] = placed + placed.new_tensor([x1, y1, x1, y1])
    return rows


def _cut_sides(boxes: Tensor, window: list[int], tiling: Tiling, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Which boxes [N, 4] the window cuts off, and which of those the next window shows more of; both bool [N].

    The next window in the direction of the cut has the same extent across it: it shows more when the box begins inside.
    """
    cut = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    redundant = cut.clone()
    near = _NEAR * tiling.size
    for axis, length in ((0, size[1]), (1, size[0])):
        low, high = window[axis], window[axis + 2]
        starts = tiling._starts(length)
        if low > 0:
            before = max(start for start in starts if start < low) + tiling.size
            at_low = boxes[:, axis] < low + near
            cut |= at_low
            redundant |= at_low & (boxes[:, axis + 2] < before - near)
        if high < length:
            after = min(start for start in starts if start > low)
            at_high = boxes[:, axis + 2] > high - near
            cut |= at_high
            redundant |= at_high & (boxes[:, axis] > after + near)
    return cut, redundant


def _parts(rows: Tensor, cut: Tensor) -> Tensor:
    """Which detections [K, 6] are cut off and lie inside a larger one of their class, bool [K]."""
    boxes, classes = rows[:, :4], rows[:, 5]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    iou = box_iou(boxes[:, None], boxes[None])
    common = iou / (1 + iou) * (areas[:, None] + areas[None])  # IoU is common / (both - common)
    inside = common > _CONTAINED * areas[:, None]
    larger = areas[None] > areas[:, None]
    return cut & (inside & larger & (classes[:, None] == classes[None])).any(dim=1)


def _blurred(rows: Tensor, coarse: Tensor, tiling: Tiling) -> Tensor:
    """Which detections [K, 6] of the whole picture a window made too, bool [K].

    Small objects both see whole, but the boxes of the whole picture are so rough that the IoU of the NMS does not tell.
    And what the whole picture names as another class, it sees worse than a window that is surer.
    """
    boxes, scores, classes = rows[:, :4], rows[:, 4], rows[:, 5]
    small = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1) < tiling.overlap * tiling.size
    iou = box_iou(boxes[:, None], boxes[None])
    same = (iou > _SAME) & (classes[:, None] == classes[None]) & small[:, None]
    clearer = (iou > _CLEARER) & (scores[None] > scores[:, None])
    return coarse & ((same | clearer) & ~coarse[None]).any(dim=1)
