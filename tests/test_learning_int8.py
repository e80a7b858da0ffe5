"""From random weights to an INT8 file that was trained for, through the command line: what it costs in accuracy."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.conftest import run_yolo
from tests.plain_network import PLAIN

pytestmark = pytest.mark.slow

SIZE = "--model.image_size=160"
DATA = ["--data.format=shapes", "--data.shapes_train=120", "--data.shapes_val=48", "--data.shapes_size=160",
        "--data.num_workers=0"]  # fmt: skip
ALIKE = ["--data.mosaic_prob=0", "--data.scale=0.1", "--data.translate=0.05", "--data.close_mosaic_epochs=0",
         "--trainer.accelerator=cpu", "--model.save_metrics_plots=false"]  # fmt: skip


def test_what_training_for_int8_learns_arrives_in_the_file(tmp_path: Path) -> None:
    """The network in float, in INT8, and the file, by one evaluator."""
    run("fit", "--config=quickstart", f"--model.model_config={PLAIN}", SIZE, "--model.optimizer=muon",
        "--model.learning_rate=0.01", "--data.batch_size=8", "--trainer.max_epochs=10",
        "--trainer.check_val_every_n_epoch=10", *DATA, *ALIKE, cwd=tmp_path)  # fmt: skip
    fit = tmp_path / "runs/quickstart/version_0"
    run("qat-finetune", "-c", fit / "checkpoints/best.ckpt", "--network", PLAIN, "--epochs=1", "--distill=1.0",
        "--batch-size=8", "--num-calibration=48", "--export-tflite", *DATA, *ALIKE, cwd=tmp_path)  # fmt: skip
    qat = tmp_path / "runs/qat/version_0"
    in_float, trained = (best(folder / "metrics.csv") for folder in (fit, qat))
    report = json.loads((qat / "model_int8.tflite.json").read_text())
    checkpoint, learnt = (report["accuracy"][side]["ap"] for side in ("checkpoint", "file"))
    print(f"AP50-95: float {in_float:.6f}, trained for INT8 {trained:.6f}, its file {learnt:.6f}")
    assert in_float > 0.3
    assert checkpoint == pytest.approx(trained, abs=1e-6)
    assert learnt == pytest.approx(trained, abs=1e-4)
    assert learnt >= in_float - 0.01
    file = report["parity"]["conversion"]["file"]
    assert file["boxes"] < 1e-3  # the same maps to the bit, decoded in float
    assert file["scores"] < 1e-5


def run(*arguments: str | Path, cwd: Path) -> None:
    done = run_yolo(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr


def best(path: Path) -> float:
    """AP50-95."""
    with path.open(encoding="utf-8") as file:
        return max(float(row["val/mAP"]) for row in csv.DictReader(file) if row["val/mAP"])
