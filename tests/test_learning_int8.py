"""From random weights to an INT8 file that was trained for, through the command line: what it costs in accuracy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.test_validate import printed
from tests.conftest import run_yolo
from tests.thin_gelan import THIN

pytestmark = pytest.mark.slow

SIZE = "--model.image_size=160"
DATA = ["--data.format=shapes", "--data.shapes_train=160", "--data.shapes_val=64", "--data.shapes_size=160",
        "--data.num_workers=0"]  # fmt: skip
ALIKE = ["--data.mosaic_prob=0", "--data.scale=0.1", "--data.translate=0.05", "--data.close_mosaic_epochs=0",
         "--trainer.accelerator=cpu", "--model.save_metrics_plots=false"]  # fmt: skip


def test_what_training_for_int8_learns_arrives_in_the_file(tmp_path: Path) -> None:
    """The network in float, simulated in INT8, and the file, by one evaluator."""
    run("fit", "--config=quickstart", f"--model.model_config={THIN}", SIZE, "--model.optimizer=muon",
        "--model.learning_rate=0.01", "--data.batch_size=8", "--trainer.max_epochs=12",
        "--trainer.check_val_every_n_epoch=12", *DATA, *ALIKE, cwd=tmp_path)  # fmt: skip
    checkpoint = tmp_path / "runs/quickstart/version_0/checkpoints/best.ckpt"
    run("qat-finetune", "-c", checkpoint, "--network", THIN, "--epochs=2", "--freeze-bn-after=1", "--distill=1.0",
        "--batch-size=8", "--val-every=2", "--num-calibration=48", "--export-tflite", *DATA, *ALIKE,
        cwd=tmp_path)  # fmt: skip
    qat = tmp_path / "runs/qat/version_0"
    paths = (checkpoint, qat / "checkpoints/best.ckpt", qat / "model_int8.tflite")
    in_float, simulated, learnt = (measured(path, tmp_path) for path in paths)
    print(f"AP50-95: float {in_float:.4f}, simulated {simulated:.4f}, its file {learnt:.4f}")
    assert in_float > 0.5
    assert learnt == pytest.approx(simulated, abs=1e-4)
    assert learnt >= in_float - 0.01
    report = json.loads((qat / "model_int8.tflite.json").read_text())
    assert report["accuracy"]
    file = report["parity"]["conversion"]["file"]
    assert file["boxes"] < 1e-3  # the same maps to the bit, decoded in float
    assert file["scores"] < 1e-5


def run(*arguments: str | Path, cwd: Path) -> str:
    done = run_yolo(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def measured(path: Path, folder: Path) -> float:
    """AP50-95."""
    network = ["--network", THIN] if path.suffix == ".ckpt" else []
    return printed(run("validate", "-c", path, *network, *DATA, cwd=folder))["AP50-95"]
