from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

from rich.console import Console

from tests.runtime.records import record
from yolo.export.bars import BARS
from yolo.export.config import Written
from yolo.export.parity import Parity
from yolo.export.report import ExportReport
from yolo.export.stages import Stage


def test_says_everything_to_people_and_programs(tmp_path: Path) -> None:
    path = tmp_path / "a.partial"
    path.write_bytes(b"x" * 2_000_000)
    stages = tuple(Stage(name, 0.005, 1e-4, 3e-4, 2e-5, 1e-7, 30, 1) for name in ("torch, deployed", "file, batch 1"))
    noise = Stage("checkpoint, images changed", 0.0, 0.0, 0.0, 0.0, 0.0, 30, 0)
    parity = Parity(4, "images of somewhere", 0.25, BARS["fp32"], BARS["fp32"], noise, stages, score_levels=9)
    report = ExportReport.of("a.onnx", path, record(), 1_900_000, Written({"Conv": 3, "Mul": 2}, ("said",)), parity)
    document = json.loads(report.to_json())
    assert document["record"] == record().to_dict()
    assert document["file"] == {
        "name": "a.onnx", "bytes": 2_000_000, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "weights_bytes": 1_900_000, "operators": {"Conv": 3, "Mul": 2}, "notes": ["said"],
        "failures": [],
    }  # fmt: skip
    assert document["parity"]["stages"][1]["boxes"] == 0.005
    assert len(document["parity"]["failures"]) == 2  # 1 of 30 is more than 1 %
    printed = io.StringIO()
    report.show(Console(file=printed, width=120))
    text = " ".join(printed.getvalue().split())
    assert "a.onnx: form full, fp32, 5 operators, 2.00 MB (1.053 of the weights)" in text
    assert "on 4 images of somewhere" in text
    assert "5.0e-03" in text
    assert "29 of 30" in text
    assert text.endswith("said")


def test_size_and_digest_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "graph.pb").write_bytes(b"graph")
    (folder / "variables" / "data").write_bytes(b"weights")
    stage = Stage("file, batch 1", 0.0, 0.0, 0.0, 0.0, 0.0, 3, 0)
    parity = Parity(4, "images", 0.25, BARS["fp32"], BARS["fp32"], stage, (stage,), score_levels=9)

    def report() -> ExportReport:
        return ExportReport.of("model", folder, record(), 100, Written({}), parity)

    first = report()
    assert first.size == 12
    assert report().sha256 == first.sha256
    (folder / "graph.pb").rename(folder / "other.pb")
    assert report().sha256 != first.sha256
