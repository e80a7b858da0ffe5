from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.evaluation.test_evaluator import record
from yolo.evaluation.analysis import Analysis
from yolo.evaluation.evaluator import Evaluator
from yolo.evaluation.metrics_file import plain, write_metrics


def refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")


def test_everything_of_an_analysis_as_strict_json(tmp_path: Path) -> None:
    evaluator = Evaluator([1, 2], ["seen", "absent"])
    evaluator.update([record(1, [[0, 0, 20, 20]], [0])], [torch.tensor([[0.0, 0, 20, 20, 0.875, 0]])])
    analysis = evaluator.compute().analysis
    write_metrics(analysis, tmp_path / "metrics.json", settings={"checkpoint": "a.ckpt"})
    document = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=refuse)
    assert set(document) == {"settings"} | {item.name for item in fields(Analysis)}
    assert document["summary"]["AP"] == analysis.summary["AP"] > 0.99
    assert document["summary"]["APl"] is None  # COCO's -1
    assert [entry["ap50"] for entry in document["classes"]] == [analysis.classes[0].ap50, None]
    assert document["confusion"] == analysis.confusion.tolist()
    curves = document["curves"]
    assert curves["thresholds"] == [number / 100 for number in range(101)]
    assert curves["precision"] == [analysis.curves.precision[0, ::10].tolist()]
    assert curves["f1"] == [analysis.curves.f1[0, ::10].tolist()]
    assert document["calibration"]["scores"].count(None) == 9
    assert document["point"]["confidence"] == 0.25


def test_plain() -> None:
    nested = {"a": (1, float("inf")), "b": [np.array([1.5, np.nan])], "c": np.array([1]), "d": None, "e": "x"}
    assert plain(nested) == {"a": [1, None], "b": [[1.5, None]], "c": [1], "d": None, "e": "x"}
