"""From uint8 images to detections in original pixels: the one path of validation, prediction and exported files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from yolo.boxes.letterbox import Letterbox, LetterboxMode
from yolo.boxes.nms import NMSOptions, non_max_suppression
from yolo.models.detection_model import DetectionModel, Maps

Network = TypeVar("Network", bound=nn.Module)


def lay_out(model: Network, channels_last: bool = True) -> Network:
    """The same network with its weights in the memory layout of its inputs."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return model.to(memory_format=layout)  # type: ignore[call-overload]


def to_network_input(images: Tensor, channels_last: bool = True) -> Tensor:
    """uint8 [B, 3, H, W] -> float [B, 3, H, W] in [0, 1] on the same device, laid out for the convolutions."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return images.to(torch.get_default_dtype(), memory_format=layout) / 255


def letterboxed(images: Sequence[NDArray[np.uint8]], size: tuple[int, int], mode: LetterboxMode) -> Tensor:
    """uint8 [H, W, 3] RGB images of any sizes -> uint8 [B, 3, *size], without copying what the letterbox made."""
    boxed = [Letterbox(image.shape[:2], size, mode).apply(image) for image in images]
    stacked = boxed[0][None] if len(boxed) == 1 else np.stack(boxed)
    return torch.from_numpy(stacked).permute(0, 3, 1, 2)


def detect(
    model: DetectionModel,
    images: Tensor,
    sizes: Sequence[tuple[int, int]],
    options: NMSOptions,
    letterbox: LetterboxMode,
) -> list[Tensor]:
    """Detections of letterboxed images, mapped back to the images they came from.

    Args:
        model: network in eval mode.
        images: uint8 [B, 3, H, W], letterboxed RGB.
        sizes: (height, width) of each original image.
        options: thresholds.
        letterbox: placement that was used, `center` or `corner`.

    Returns:
        B tensors [K, 6]: x1, y1, x2, y2 in original pixels and clipped to the image, score, class; best first.
    """
    maps, *_ = model(to_network_input(images))
    return detections(model, maps, (images.shape[2], images.shape[3]), sizes, options, letterbox)


def detections(
    model: DetectionModel,
    maps: Maps,
    target: tuple[int, int],
    sizes: Sequence[tuple[int, int]],
    options: NMSOptions,
    letterbox: LetterboxMode,
) -> list[Tensor]:
    """The second half of `detect`: from the main branch's raw maps, of a network input of `target` (height, width)."""
    found = non_max_suppression(model.decode(maps), options)
    for rows, size in zip(found, sizes, strict=True):
        rows[:, :4] = Letterbox(size, target, letterbox).to_source(rows[:, :4], clip=True)
    return found
