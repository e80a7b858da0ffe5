"""Fit an image into the network input without changing its aspect ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # the options of the data need this file, and their parsing needs no torch
    import torch

LetterboxMode = Literal["center", "corner"]
BoxArray = TypeVar("BoxArray", npt.NDArray[Any], "torch.Tensor")


@dataclass(frozen=True)
class Letterbox:
    """Where an image of one size lies inside another: scaled to fit, padded to fill.

    The content's size is rounded to whole pixels, so its two axes can differ slightly in scale; boxes use the scale of
    each axis and so agree with the pixels exactly.
    """

    source: tuple[int, int]
    """Size of the image, (height, width) in pixels."""
    target: tuple[int, int]
    """Size of the network input, (height, width) in pixels."""
    mode: LetterboxMode = "center"
    """Content in the centre (an odd pixel of padding goes below and right) or in the top left corner."""

    def __post_init__(self) -> None:
        if min(*self.source, *self.target) < 1:
            raise ValueError(f"sizes must be at least 1 x 1, got source {self.source} and target {self.target}")
        if self.mode not in ("center", "corner"):
            raise ValueError(f"mode must be 'center' or 'corner', got {self.mode!r}")

    @property
    def scale(self) -> float:
        """Nominal pixels of the target per pixel of the source, before rounding."""
        return min(self.target[0] / self.source[0], self.target[1] / self.source[1])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the content in the target."""
        height, width = (round(side * self.scale) for side in self.source)
        return max(height, 1), max(width, 1)

    @property
    def offset(self) -> tuple[int, int]:
        """Rows above and columns left of the content."""
        if self.mode == "corner":
            return 0, 0
        return (self.target[0] - self.size[0]) // 2, (self.target[1] - self.size[1]) // 2

    def to_target(self, boxes: BoxArray) -> BoxArray:
        """Boxes xyxy `[..., 4]` (float, numpy or torch) from pixels of the source to pixels of the target."""
        scale, offset = self._transform(boxes)
        return boxes * scale + offset

    def to_source(self, boxes: BoxArray, clip: bool = True) -> BoxArray:
        """Boxes xyxy `[..., 4]` (float, numpy or torch) from pixels of the target to pixels of the source.

        With `clip` they end at the border of the source image.
        """
        scale, offset = self._transform(boxes)
        moved = (boxes - offset) / scale
        if clip:
            height, width = self.source
            moved[..., 0::2] = moved[..., 0::2].clip(0, width)
            moved[..., 1::2] = moved[..., 1::2].clip(0, height)
        return moved

    def apply(self, image: npt.NDArray[np.uint8], pad_value: int = 114) -> npt.NDArray[np.uint8]:
        """The image, uint8 `[H, W, channels]` of the source size, on a canvas of the target size (bilinear)."""
        import cv2

        if image.shape[:2] != self.source:
            raise ValueError(f"expected an image of size {self.source} (height, width), got {image.shape[:2]}")
        height, width = self.size
        top, left = self.offset
        canvas = np.full((*self.target, *image.shape[2:]), pad_value, dtype=np.uint8)
        content = canvas[top : top + height, left : left + width]
        content[...] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        return canvas

    def _transform(self, boxes: BoxArray) -> tuple[BoxArray, BoxArray]:
        """Scale and offset of x, y, x, y in the array type, dtype and device of `boxes`."""
        y, x = (new / old for new, old in zip(self.size, self.source, strict=True))
        top, left = self.offset
        if not isinstance(boxes, np.ndarray):
            return boxes.new_tensor([x, y, x, y]), boxes.new_tensor([left, top, left, top])
        return np.array([x, y, x, y], boxes.dtype), np.array([left, top, left, top], boxes.dtype)
