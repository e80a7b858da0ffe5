"""From the detector's raw maps to boxes: the one decode of training, evaluation and export.

A raw map `[B, 4*R + C, H, W]` holds, per cell, four distributions over R bins (the distances from the anchor point to
the left, top, right and bottom side in units of the stride) and C class logits.
Distances as distributions: Li et al., Generalized Focal Loss, arXiv 2006.04388.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from yolo.boxes.anchors import Anchors, make_anchors
from yolo.boxes.convert import xyxy_to_xywh


def distances_to_boxes(points: Tensor, distances: Tensor) -> Tensor:
    """Boxes xyxy `[..., 4]` around points `[..., 2]`, from distances left, top, right, bottom `[..., 4]`, in pixels."""
    return torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=-1)


def boxes_to_distances(points: Tensor, boxes: Tensor) -> Tensor:
    """Distances left, top, right, bottom `[..., 4]` from points `[..., 2]` to the sides of boxes xyxy `[..., 4]`.

    The inverse of `distances_to_boxes`; a distance is negative where the point lies beyond that side.
    """
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1)


def flatten_maps(maps: Sequence[Tensor], num_classes: int) -> tuple[Tensor, Tensor]:
    """Join the levels of raw maps into one list of anchors.

    Args:
        maps: per level `[B, 4*R + C, H, W]`, any float dtype and memory format.
        num_classes: C.

    Returns:
        Box logits `[B, A, 4*R]` and class logits `[B, A, C]`, float32, anchors in the order of `make_anchors`.
    """
    rows = [level.flatten(2).transpose(1, 2) for level in maps]
    box_rows, class_rows = zip(
        *(row.split([row.shape[2] - num_classes, num_classes], dim=2) for row in rows), strict=True
    )
    return torch.cat(box_rows, dim=1).float(), torch.cat(class_rows, dim=1).float()


def expected_distances(box_logits: Tensor, bins: Tensor) -> Tensor:
    """Expectation of the four distributions, in the unit of the bins (strides).

    Args:
        box_logits: `[..., 4*R]`, the R logits of each side next to each other.
        bins: distance each bin stands for, `[R]`.

    Returns:
        Left, top, right, bottom `[..., 4]`.
    """
    probabilities = box_logits.unflatten(-1, (4, bins.numel())).softmax(dim=-1)
    # Product and sum rather than a matrix product, which autocast would run in half precision.
    return (probabilities * bins).sum(dim=-1)


def count_classes(maps: Sequence[Tensor], bins: Tensor) -> int:
    """Number of classes that raw maps `[B, 4*R + C, H, W]` hold, given the R bins."""
    num_classes = maps[0].shape[1] - 4 * bins.numel()
    if num_classes < 1:
        raise ValueError(
            f"maps must have more than 4 x {bins.numel()} channels (boxes) to hold classes, got {maps[0].shape[1]}"
        )
    return num_classes


def decode_maps(maps: Sequence[Tensor], strides: Sequence[int], bins: Tensor) -> Tensor:
    """Boxes and class probabilities of every anchor.

    Args:
        maps: raw maps per level, `[B, 4*R + C, H, W]`.
        strides: pixels per cell of each level.
        bins: distance in strides each bin stands for, `[R]`.

    Returns:
        float32 `[B, 4 + C, A]`: centre x, centre y, width, height in pixels of the network input, then C probabilities.
    """
    box_logits, class_logits = flatten_maps(maps, count_classes(maps, bins))
    anchors = make_anchors([(level.shape[2], level.shape[3]) for level in maps], strides, box_logits.device)
    boxes, scores = decode_logits(box_logits, class_logits, anchors, bins)
    return torch.cat([boxes, scores], dim=-1).transpose(1, 2)


def decode_logits(box_logits: Tensor, class_logits: Tensor, anchors: Anchors, bins: Tensor) -> tuple[Tensor, Tensor]:
    """The arithmetic of `decode_maps`, for graphs whose anchors are constants.

    Args:
        box_logits: float32 `[B, A, 4*R]`.
        class_logits: float32 `[B, A, C]`.
        anchors: the A points and their strides.
        bins: distance in strides each bin stands for, `[R]`.

    Returns:
        Boxes xywh `[B, A, 4]` in pixels of the network input and probabilities `[B, A, C]`.
    """
    distances = expected_distances(box_logits, bins) * anchors.strides[:, None]
    return xyxy_to_xywh(distances_to_boxes(anchors.points, distances)), class_logits.sigmoid()
