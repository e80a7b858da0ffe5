"""Random batches on 21 anchors, and what an assigner makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from yolo.boxes.anchors import make_anchors
from yolo.boxes.decode import distances_to_boxes, expected_distances, flatten_maps
from yolo.losses.assigner import Assigner, Assignment
from yolo.losses.task_aligned import TaskAlignedAssigner

STRIDES = (8, 16, 32)
SIDE = 32  # 16 + 4 + 1 = 21 anchors: few enough that targets really compete
SIZES = [(SIDE // stride, SIDE // stride) for stride in STRIDES]
ANCHORS = make_anchors(SIZES, STRIDES)
NUM_ANCHORS = len(ANCHORS.points)
NUM_CLASSES = 3
BINS = torch.arange(16.0)


@dataclass
class Case:
    maps: list[Tensor]
    targets: Tensor

    def assign(self, assigner: Assigner | None = None) -> Assignment:
        assigner = assigner or TaskAlignedAssigner()
        box_logits, class_logits = flatten_maps(self.maps, NUM_CLASSES)
        distances = expected_distances(box_logits, BINS) * ANCHORS.strides[:, None]
        boxes = distances_to_boxes(ANCHORS.points, distances)
        return assigner(class_logits, boxes, assigner.find_candidates(ANCHORS, self.targets))


def make_case(targets: Sequence[Sequence[float]], seed: int = 0, num_images: int = 2) -> Case:
    generator = torch.Generator().manual_seed(seed)
    slope = torch.arange(16.0).repeat(4)[:, None, None]  # short distances are likelier, so that boxes overlap targets
    maps = []
    for height, width in SIZES:
        level = torch.randn(num_images, 64 + NUM_CLASSES, height, width, generator=generator) * 2
        level[:, :64] -= 0.7 * slope
        maps.append(level)
    return Case(maps, torch.tensor(targets, dtype=torch.float32).view(-1, 6))


def as_dict(found: Assignment) -> dict[tuple[int, int], tuple[int, float]]:
    rows = zip(*(x.tolist() for x in (found.images, found.anchors, found.targets, found.scores)), strict=True)
    return {(image, anchor): (target, score) for image, anchor, target, score in rows}


@st.composite
def target_lists(draw: st.DrawFn, num_images: int = 2, max_size: int = 40) -> list[list[float]]:
    def target() -> list[float]:
        x, y = draw(st.integers(0, SIDE - 1)), draw(st.integers(0, SIDE - 1))
        width, height = draw(st.integers(1, SIDE)), draw(st.integers(1, SIDE))
        image, label = draw(st.integers(0, num_images - 1)), draw(st.integers(0, NUM_CLASSES - 1))
        return [image, label, x, y, min(x + width, SIDE), min(y + height, SIDE)]

    return [target() for _ in range(draw(st.integers(0, max_size)))]


seeds = st.integers(0, 2**31)
