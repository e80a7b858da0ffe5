"""Real detections of coco128 with pycocotools' numbers, as columns."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolo.evaluation.coco import CocoEvaluation, Detections, GroundTruth

DATA = os.environ.get("YOLO_TEST_DATA")
needs_known_answers = pytest.mark.skipif(DATA is None, reason="YOLO_TEST_DATA is not set")


def folder() -> Path:
    return Path(DATA or "") / "known_answers" / "coco128"


def load() -> tuple[CocoEvaluation, tuple[str, ...], dict[str, Any]]:
    """The evaluation, the class names and what pycocotools says of it."""
    truth, found = (json.loads((folder() / name).read_text()) for name in ("gt.json", "detections.json"))
    expected = json.loads((folder() / "expected.json").read_text())
    categories = sorted(truth["categories"], key=lambda category: category["id"])
    ids = [category["id"] for category in categories]
    number = {category: position for position, category in enumerate(ids)}
    objects = truth["annotations"]
    evaluation = CocoEvaluation(
        GroundTruth(
            images=[{key: image[key] for key in ("id", "height", "width")} for image in truth["images"]],
            image_ids=np.array([o["image_id"] for o in objects], np.int64),
            classes=np.array([number[o["category_id"]] for o in objects], np.int64),
            boxes=xyxy([o["bbox"] for o in objects]),
            areas=np.array([o["area"] for o in objects], np.float64),
            crowd=np.array([bool(o["iscrowd"]) for o in objects], bool),
        ),
        Detections(
            image_ids=np.array([d["image_id"] for d in found], np.int64),
            classes=np.array([number[d["category_id"]] for d in found], np.int64),
            boxes=xyxy([d["bbox"] for d in found]),
            scores=np.array([d["score"] for d in found], np.float64),
        ),
        ids,
    )
    return evaluation, tuple(category["name"] for category in categories), expected


def xyxy(corner_size: list[list[float]]) -> np.ndarray:
    boxes = np.array(corner_size, np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
