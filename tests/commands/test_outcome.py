from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.evaluation.test_evaluator import RECORDS, perfect
from yolo.commands.outcome import OutcomeOptions, require_output, versions, write_outcome
from yolo.errors import UserError
from yolo.evaluation.evaluator import Evaluator, Metrics


@pytest.fixture
def metrics() -> Metrics:
    evaluator = Evaluator([1, 7, 9], ["cat", "dog", "owl"])
    evaluator.update(RECORDS, [perfect(record) for record in RECORDS])
    return evaluator.compute()


def test_what_is_asked_for(metrics: Metrics, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert write_outcome(metrics, OutcomeOptions(folder, save_plots=False, save_json=False), {}) == []
    assert not folder.exists()
    written = write_outcome(metrics, OutcomeOptions(folder, save_plots=False), {"checkpoint": "x"})
    assert sorted(written) == sorted(folder.iterdir())
    assert {path.name for path in written} == {"metrics.json", "predictions.json", "ground_truth.json"}
    assert json.loads((folder / "metrics.json").read_text())["settings"] == {"checkpoint": "x"}


def test_detections_from_files_are_not_copied(metrics: Metrics, tmp_path: Path) -> None:
    written = write_outcome(metrics, OutcomeOptions(tmp_path, save_plots=False), {}, coco_files=False)
    assert written == [tmp_path / "metrics.json"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    place = tmp_path / "results"
    place.write_text("")
    with pytest.raises(UserError, match=r"--output is .*results, which is a file"):
        require_output(OutcomeOptions(place))
    require_output(OutcomeOptions(place, save_plots=False, save_json=False))
    require_output(OutcomeOptions(tmp_path / "new"))


def test_versions() -> None:
    assert set(versions(["numpy"])) == {"python", "yolo", "numpy"}
