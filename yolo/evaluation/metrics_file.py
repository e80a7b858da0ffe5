"""metrics.json: all numbers of an evaluation and how they came about, as strict JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from yolo.evaluation.analysis import Analysis
from yolo.evaluation.operating_point import ConfidenceCurves
from yolo.whole_file import whole_file

_STEP = 10


def write_metrics(analysis: Analysis, path: Path, **sections: Any) -> None:
    """Everything of an `Analysis` by its names, and more sections of plain values; one line per name.

    The curves are at 101 confidences: all 1001 of hundreds of classes are ten megabytes.
    What has no value, such as the AP of a class without objects (NaN, or COCO's -1), is null: JSON has no NaN.
    """
    document = {**sections, **plain(replace(analysis, curves=_thinned(analysis.curves)))}
    document["summary"] = {name: None if value == -1 else value for name, value in analysis.summary.items()}
    lines = (f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in document.items())
    with whole_file(path) as partial:
        partial.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _thinned(curves: ConfidenceCurves) -> ConfidenceCurves:
    parts = (part[..., ::_STEP] for part in (curves.thresholds, curves.precision, curves.recall, curves.f1))
    return ConfidenceCurves(curves.classes, *parts)


def plain(value: Any) -> Any:
    """Dataclasses as mappings, arrays as lists, NaN and infinities as None; everything else as it is."""
    if is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, np.ndarray):
        if value.dtype.kind != "f" or np.isfinite(value).all():
            return value.tolist()
        missing = value.astype(object)
        missing[~np.isfinite(value)] = None
        return missing.tolist()
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
