from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from tests.conftest import TINY_FIT, Run, run_yolo
from yolo.evaluation.evaluator import METRIC_NAMES


def test_the_end_of_a_run_shows_its_best_epoch(tiny_run: Run) -> None:
    rows = [row for row in csv.DictReader((tiny_run.folder / "metrics.csv").open()) if row["val/mAP"]]
    best = max(rows, key=lambda row: float(row["val/mAP"]))
    number = int(best["epoch"]) + 1
    end = tiny_run.output[tiny_run.output.index(f"quickstart version_0: epoch {number} of 2 on the embedded dataset") :]
    assert f"{float(best['val/mAP']):.6f}" in end.split("Quality")[1]
    line = re.search(r"^best epoch: .*", end, re.MULTILINE)
    assert line
    assert line[0] == f"best epoch: {number}  " + "  ".join(
        f"{name} {float(best[f'val/{name}']):.6f}" for name in METRIC_NAMES
    )
    for label in ("checkpoint", "metrics", "report", "pictures"):
        assert re.search(rf"^{label}: +runs/quickstart/version_0/\S+$", end, re.MULTILINE)


def test_report_of_a_run_has_its_training_curves(tiny_run: Run) -> None:
    page = (tiny_run.folder / "report.html").read_text()
    assert "quickstart version_0" in page
    assert page.count("data:image/jpeg;base64,") == 9  # every validation image has errors after two epochs
    assert ">Training<" in page or "Training curves" in page
    assert "v9-t" in page


@pytest.mark.slow
def test_a_resumed_run_that_found_nothing_better_has_no_report(tiny_run: Run, tmp_path: Path) -> None:
    options = [*TINY_FIT, f"--ckpt_path={tiny_run.folder / 'checkpoints' / 'last.ckpt'}"]
    done = run_yolo(*options, "--trainer.max_epochs=3", "--model.learning_rate=1000", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^best epoch: [12]  mAP ", done.stdout, re.MULTILINE)
    assert "report:" not in done.stdout
    assert not list(tmp_path.rglob("report.html"))
