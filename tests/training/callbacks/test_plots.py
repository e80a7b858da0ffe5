from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import PLOTS, TINY_FIT, Run, run_yolo
from tests.training.test_module import TINY
from yolo.data.datamodule import YOLODataModule


def test_every_epoch_has_its_pictures(tiny_run: Run) -> None:
    for epoch in (1, 2):
        names = sorted(path.name for path in (tiny_run.folder / "metrics" / f"epoch_{epoch}").iterdir())
        assert names == [
            "F1_curve.png",
            "PR_curve.png",
            "P_curve.png",
            "R_curve.png",
            "confusion_matrix.png",
            "labels.png",
            "reliability.png",
            "worst_images.jpg",
        ]
    assert not (tiny_run.folder / "metrics" / "epoch_3").exists()


FIT = [*TINY_FIT, f"--model.model_config={TINY}", PLOTS, "--trainer.max_epochs=1"]


@pytest.mark.slow
def test_another_folder(tmp_path: Path) -> None:
    done = run_yolo(*FIT, "--model.metrics_plots_dir=curves", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "curves" / "epoch_1" / "PR_curve.png").is_file()
    assert not list(tmp_path.rglob("metrics/epoch_1"))


@pytest.mark.slow
def test_turned_off(tmp_path: Path) -> None:
    done = run_yolo(*FIT, "--model.save_metrics_plots=false", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*_curve.png"))


@pytest.mark.slow
def test_no_picture_of_confidential_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(YOLODataModule, "confidential", True)
    done = run_yolo(*FIT, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in tmp_path.rglob("metrics/epoch_1/*")}
    assert "PR_curve.png" in names
    assert not {name for name in names if "images" in name or "labels" in name}
