"""A small evaluation with every kind of error, and the report of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from tests.evaluation.test_evaluator import record
from yolo.data.annotations import AnnotatedImage
from yolo.evaluation.evaluator import Evaluator, Metrics
from yolo.report.content import ReportContent

EVIL = "</script><script>document.title='evil'</script><img src=x onerror=alert(1)>"
NAMES = ("cat", "dog", EVIL, 'a "quoted" & long name', "unseen")
ROWS: Sequence[Mapping[str, str]] = [
    {"epoch": "0", "step": "1", "train/lr": "0.01", "train/box": "", "val/mAP": ""},
    {"epoch": "0", "step": "1", "train/lr": "", "train/box": "5.5", "val/mAP": "0.1"},
    {"epoch": "1", "step": "2", "train/lr": "0.02", "train/box": "4.25", "val/mAP": "0.3"},
]


def metrics(images: int = 12, names: Sequence[str] = NAMES, seed: int = 0) -> Metrics:
    """Noisy detections; the last class is not in the ground truth."""
    rng = np.random.default_rng(seed)
    evaluator = Evaluator(range(1, len(names) + 1), names)
    for number in range(images):
        corner = rng.uniform(0, 60, (6, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(12, 40, (6, 2))], axis=1)
        classes = rng.integers(0, len(names) - 1, 6)
        image = record(number + 1, boxes.tolist(), classes.tolist(), [False] * 5 + [number == 0])
        source = rng.integers(0, 6, 14)
        found = boxes[source] + rng.normal(0, 2, (14, 4))
        right = rng.random(14) < 0.7
        labels = np.where(right, classes[source], rng.integers(0, len(names), 14))
        scores = rng.random(14)
        evaluator.update([image], [torch.from_numpy(np.column_stack([found, scores, labels]))])
    return evaluator.compute()


def pixels(image: AnnotatedImage) -> np.ndarray:
    """A gradient."""
    ramp = np.linspace(40, 220, image.size[1]).astype(np.uint8)
    return np.broadcast_to(ramp[None, :, None], (*image.size, 3)).copy()


def content(**changes: object) -> ReportContent:
    """A report of `metrics`."""
    values = {"title": f"report of {EVIL}", "metrics": metrics(), "pixels": pixels, "training": ROWS}
    return ReportContent(**{**values, "facts": {"Seed": "7", "Note": EVIL}, **changes})  # type: ignore[arg-type]
