from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.check.broken import sound_yolo
from yolo.data.check.health import health_findings
from yolo.data.check.surveys import survey_split
from yolo.data.loaders import DefaultImageLoader
from yolo.data.options import DataOptions
from yolo.evaluation.coco import dataset_health
from yolo.evaluation.evaluator import ground_truth


def found(root: Path) -> dict[str, list[str]]:
    survey = survey_split(DataOptions(format="yolo", root=str(root)), "train", DefaultImageLoader())
    findings = health_findings(survey, dataset_health(ground_truth(survey.images), survey.category_ids))
    assert {entry.severity for entry in findings} <= {"warning"}
    assert all(entry.count == len(entry.places) for entry in findings)
    return {entry.kind: entry.places for entry in findings}


def test_a_sound_dataset_is_healthy(tmp_path: Path) -> None:
    assert found(sound_yolo(tmp_path)) == {}


def test_classes_and_shapes(tmp_path: Path) -> None:
    root = sound_yolo(tmp_path)
    (root / "data.yaml").write_text("names: [cat, dog, cow, ant]\n")
    (root / "labels/train/03.txt").write_text("2 0.5 0.5 0.9 0.02\n")
    path = root / "images/train/03.png"
    assert found(root) == {
        "boxes of extreme shape (over 20:1)": [f"{path}: box 4, 29.4, 76, 30.6"],
        "classes without objects": ["ant"],
        "classes with fewer than 10 objects": ["cow"],
    }


def test_exact_repetitions_are_counted_elsewhere(tmp_path: Path) -> None:
    root = sound_yolo(tmp_path)
    file = root / "labels/train/07.txt"
    file.write_text("0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5 0.5\n1 0.2 0.3 0.2 0.2\n")
    assert found(root) == {}
    file.write_text("0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5 0.49\n1 0.2 0.3 0.2 0.2\n")
    (kind,) = found(root)
    assert kind == "boxes that nearly repeat another (IoU > 0.95)"
    assert len(found(root)[kind]) == 2


def test_what_is_unknown_here_is_passed_on() -> None:
    survey = survey_split(DataOptions(format="shapes", shapes_train=1), "train", DefaultImageLoader())
    rows = np.array([0])
    findings = health_findings(survey, [("new_check", rows, "a sentence"), ("bbox_out_of_bounds", rows, "left out")])
    assert [(entry.kind, entry.places) for entry in findings] == [("new_check", ["a sentence"])]
