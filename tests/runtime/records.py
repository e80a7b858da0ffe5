"""A record, and files that hold one, without a network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.export.random_network import CONFIG
from yolo.runtime.metadata import ExportRecord

RECORD = ExportRecord(
    network="v9-t",
    parameters=7,
    class_names=("a", "b"),
    category_ids=(3, 8),
    dataset_names=("x", "y"),
    image_size=(64, 96),
    letterbox="corner",
    strides=(16, 32),
    levels=((4, 6), (2, 3)),
    bins=(0.0, 1.0, 2.0, 3.0),
    form="full",
    config=CONFIG,
)


def record(**changes: Any) -> ExportRecord:
    return replace(RECORD, **changes)
