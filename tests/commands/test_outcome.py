from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation.test_evaluator import RECORDS, perfect
from yolo.benchmark import BatchFigures, Benchmark
from yolo.commands.outcome import (
    RESULTS,
    Outcome,
    OutcomeOptions,
    conclude,
    require_output,
    write_outcome,
    write_page,
)
from yolo.errors import UserError
from yolo.evaluation.dashboard import DashboardContext
from yolo.evaluation.evaluator import Evaluator, Metrics
from yolo.latency import Latency


@pytest.fixture
def metrics() -> Metrics:
    evaluator = Evaluator([1, 7, 9], ["cat", "dog", "owl"])
    evaluator.update(RECORDS, [perfect(record) for record in RECORDS])
    return evaluator.compute()


def outcome(metrics: Metrics, **given: Any) -> Outcome:
    shown = {"pixels": lambda record: np.zeros((*record.size, 3), np.uint8)}
    return Outcome("a title", metrics, DashboardContext(), **{**shown, **given})


def nothing(folder: Path, **wanted: bool) -> OutcomeOptions:
    return OutcomeOptions(folder, **{"save_plots": False, "save_json": False, "save_report": False, **wanted})


@pytest.mark.slow
def test_what_is_asked_for(metrics: Metrics, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert write_outcome(outcome(metrics), nothing(folder)) == []
    assert not folder.exists()
    written = write_outcome(outcome(metrics, settings={"checkpoint": "x"}), nothing(folder, save_json=True))
    assert sorted(written) == sorted(folder.iterdir())
    assert {path.name for path in written} == {"metrics.json", "predictions.json", "ground_truth.json"}
    assert json.loads((folder / "metrics.json").read_text())["settings"] == {"checkpoint": "x"}
    written = write_outcome(outcome(metrics), nothing(folder, save_plots=True))
    assert {"PR_curve.png", "confusion_matrix.png", "labels.png", "worst_images.jpg"} <= {p.name for p in written}
    assert write_outcome(outcome(metrics), nothing(folder, save_report=True)) == [folder / "report.html"]
    written = write_outcome(outcome(metrics), OutcomeOptions(folder))
    assert sorted(written) == sorted(folder.iterdir())
    assert sorted(path.name for path in written) == sorted(RESULTS)


@pytest.mark.slow
def test_nothing_of_an_earlier_evaluation_stays(metrics: Metrics, tmp_path: Path) -> None:
    write_outcome(outcome(metrics), OutcomeOptions(tmp_path))
    (tmp_path / "notes.txt").write_text("of the user")
    assert write_outcome(outcome(metrics), nothing(tmp_path)) == []
    assert len(list(tmp_path.iterdir())) == len(RESULTS) + 1
    written = write_outcome(outcome(metrics, pixels=None), OutcomeOptions(tmp_path))
    assert sorted(tmp_path.iterdir()) == sorted([*written, tmp_path / "notes.txt"])
    assert not (tmp_path / "worst_images.jpg").exists()


@pytest.mark.slow
def test_of_confidential_images_there_are_numbers_only(metrics: Metrics, tmp_path: Path) -> None:
    hidden = outcome(metrics, pixels=None, settings={"checkpoint": "x"})
    written = write_outcome(hidden, OutcomeOptions(tmp_path / "default"))
    names = {path.name for path in written}
    assert {"metrics.json", "report.html", "PR_curve.png"} <= names
    assert not names & {"predictions.json", "ground_truth.json", "worst_images.jpg", "labels.png"}
    for record in metrics.records:
        assert not any(record.path.name.encode() in path.read_bytes() for path in written)
    assert "ground_truth.json" in {p.name for p in write_outcome(hidden, nothing(tmp_path / "asked", save_json=True))}


def test_detections_from_files_are_not_copied(metrics: Metrics, tmp_path: Path) -> None:
    written = write_outcome(outcome(metrics, coco_files=False), nothing(tmp_path, save_json=True))
    assert written == [tmp_path / "metrics.json"]


def test_settings_and_numbers_are_in_the_report(metrics: Metrics, tmp_path: Path) -> None:
    settings = {"operating_confidence": 0.25, "data": {"root": "a/b"}, "tile": None, "versions": {"numpy": "none"}}
    page = write_page(outcome(metrics, settings=settings), tmp_path / "report.html").read_text()
    for text in ("operating confidence", "data root", "a/b"):
        assert text in page
    for text in ("versions numpy", ">tile<"):
        assert text not in page


def test_the_dashboard_is_printed(metrics: Metrics, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conclude(outcome(metrics), nothing(tmp_path, save_json=True))
    out = capsys.readouterr().out
    assert out.startswith("a title")
    assert "AP50-95" in out
    assert f"results in {tmp_path}" in out.replace("\n", "")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    place = tmp_path / "results"
    place.write_text("")
    with pytest.raises(UserError, match=r"--output is .*results, which is a file"):
        require_output(OutcomeOptions(place), [])
    require_output(nothing(place), [])
    require_output(OutcomeOptions(tmp_path / "new"), [])
    with pytest.raises(UserError, match=r"report.html overwritten"):
        require_output(nothing(tmp_path, save_json=True), [tmp_path / "report.html"])


def test_the_benchmark_is_in_the_report(metrics: Metrics, tmp_path: Path) -> None:
    latency = {"total": Latency(mean=12.345, std=1, p50=12, p95=14, p99=15, throughput=324.03)}
    figures = Benchmark("cpu", False, 1, (64, 64), 0.25, 0, 2, 10, 40, (BatchFigures(4, latency, 5_000_000),))
    page = write_page(outcome(metrics, benchmark=figures), tmp_path / "report.html").read_text()
    assert "benchmark at batch 4" in page
    assert "12.35 ms (p95 14.00), 324.0 images/s, memory 5.0 MB" in page
