from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import PLOTS, TINY_FIT, Run, run_yolo
from tests.processes import SMALL
from yolo.commands.after_fit import join_rows
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
    assert SMALL in page


@pytest.mark.slow
def test_a_resumed_run_that_found_nothing_better_shows_the_best_of_the_run_before(
    tiny_run: Run, tmp_path: Path
) -> None:
    options = [*TINY_FIT, PLOTS, f"--ckpt_path={tiny_run.folder / 'checkpoints' / 'last.ckpt'}"]
    # The weights of `best.ckpt` are measured as the first run has measured them: the average.
    before = list(csv.DictReader((tiny_run.folder / "metrics.csv").open()))
    best = max((row for row in before if row["val/mAP"]), key=lambda row: float(row["val/mAP"]))
    number = int(best["epoch"]) + 1
    done = run_yolo(*options, "--trainer.max_epochs=3", "--model.learning_rate=1000", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"^best epoch: {number}  mAP ", done.stdout, re.MULTILINE)
    end = done.stdout[done.stdout.index(f"quickstart version_0: epoch {number} of 3 on") :]
    assert f"{float(best['val/mAP']):.6f}" in end.split("Quality")[1].split("Operating")[0]
    (page,) = tmp_path.rglob("report.html")
    assert "Epochs 1 to 3; last values: mAP" in page.read_text()  # the charts go on from the run before
    plots = {path.name for path in (page.parent / "metrics" / f"epoch_{number}").iterdir()}
    assert {"PR_curve.png", "worst_images.jpg"} <= plots
    events = EventAccumulator(str(page.parent), size_guidance={"images": 0})
    events.Reload()
    assert "plots/PR_curve" in events.Tags()["images"]


def test_rows_of_the_run_before_end_where_the_resumed_one_begins() -> None:
    before = [{"epoch": str(epoch), "train/lr": "old"} for epoch in range(4)]
    now = [{"epoch": str(epoch), "train/lr": "new"} for epoch in (2, 3)]
    assert join_rows(before, now) == [*before[:2], *now]
    assert join_rows([], now) == now
    assert join_rows(before, []) == before
