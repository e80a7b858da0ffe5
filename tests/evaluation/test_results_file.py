from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.evaluation.test_evaluator import record
from yolo.evaluation.coco import SUMMARY_KEYS, CocoEvaluation
from yolo.evaluation.coco_files import read_annotations, read_detections
from yolo.evaluation.evaluator import Evaluator, Metrics
from yolo.evaluation.results_file import write_detections, write_ground_truth


def oracle(truth: Path, found: Path) -> list[float]:
    """pycocotools' twelve numbers of the two files."""
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = COCO(str(truth))
        evaluation = COCOeval(annotations, annotations.loadRes(str(found)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


def some_metrics() -> Metrics:
    rng = np.random.default_rng(0)
    evaluator = Evaluator([3, 5], ["a", 'the "b"'])
    for number in (9, 4, 12):
        corners = rng.uniform(0, 60, (6, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(4, 40, (6, 2))], 1)
        image = record(number, boxes.tolist(), rng.integers(0, 2, 6).tolist(), [False] * 5 + [True])
        found = torch.from_numpy(np.column_stack([boxes + rng.normal(0, 2, (6, 4)), rng.random(6), image.classes]))
        evaluator.update([image], [found.float()])
    evaluator.update([record(20, [], [])], [torch.zeros(0, 6)])
    return evaluator.compute()


def test_pycocotools_reads_the_same_numbers(tmp_path: Path) -> None:
    metrics = some_metrics()
    truth, found = tmp_path / "gt.json", tmp_path / "dets.json"
    write_detections(metrics.evaluation, found)
    write_ground_truth(metrics.evaluation, metrics.records, metrics.class_names, truth)
    ours = [metrics.evaluation.summary[key] for key in SUMMARY_KEYS]
    assert 0 < ours[0] < 1
    assert oracle(truth, found) == pytest.approx(ours, abs=1e-12)


@pytest.mark.slow
def test_real_detections(test_data: Path, tmp_path: Path) -> None:
    folder = test_data / "known_answers" / "coco128"
    annotations = read_annotations(folder / "gt.json")
    found = read_detections(folder / "detections.json", annotations)
    evaluation = CocoEvaluation(annotations.ground_truth, found, annotations.category_ids)
    write_detections(evaluation, tmp_path / "dets.json")
    write_ground_truth(evaluation, annotations.records, annotations.class_names, tmp_path / "gt.json")
    expected = oracle(folder / "gt.json", folder / "detections.json")
    assert oracle(tmp_path / "gt.json", tmp_path / "dets.json") == pytest.approx(expected, abs=1e-9)


def test_values_are_written_in_full(tmp_path: Path) -> None:
    metrics = some_metrics()
    write_detections(metrics.evaluation, tmp_path / "dets.json")
    entries = json.loads((tmp_path / "dets.json").read_text())
    found = metrics.evaluation.detections
    assert [entry["score"] for entry in entries] == found.scores.tolist()
    assert {entry["category_id"] for entry in entries} == {3, 5}
    boxes = np.array([entry["bbox"] for entry in entries])
    np.testing.assert_array_equal(boxes[:, :2], found.boxes[:, :2])
    np.testing.assert_array_equal(boxes[:, 2:], found.boxes[:, 2:] - found.boxes[:, :2])
    write_ground_truth(metrics.evaluation, metrics.records, metrics.class_names, tmp_path / "gt.json")
    document = json.loads((tmp_path / "gt.json").read_text())
    assert document["categories"] == [{"id": 3, "name": "a"}, {"id": 5, "name": 'the "b"'}]
    assert document["images"][-1] == {"id": 20, "file_name": "20.jpg", "height": 100, "width": 100}
    assert sum(entry["iscrowd"] for entry in document["annotations"]) == 3


def test_no_detections(tmp_path: Path) -> None:
    evaluator = Evaluator([1])
    evaluator.update([record(1, [], [])], [torch.zeros(0, 6)])
    write_detections(evaluator.compute().evaluation, tmp_path / "dets.json")
    assert (tmp_path / "dets.json").read_text() == "[]\n"
