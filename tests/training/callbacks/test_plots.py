from __future__ import annotations

from pathlib import Path

from tests.conftest import TINY_FIT, Run, run_yolo


def test_every_epoch_has_its_pictures(tiny_run: Run) -> None:
    for epoch in (1, 2):
        names = sorted(path.name for path in (tiny_run.folder / "metrics" / f"epoch_{epoch}").iterdir())
        assert names == ["F1_curve.png", "PR_curve.png", "P_curve.png", "R_curve.png"]
    assert not (tiny_run.folder / "metrics" / "epoch_3").exists()


def test_another_folder(tmp_path: Path) -> None:
    done = run_yolo(*TINY_FIT, "--model.metrics_plots_dir=curves", "--trainer.max_epochs=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "curves" / "epoch_1" / "PR_curve.png").is_file()
    assert not list(tmp_path.rglob("metrics/epoch_1"))


def test_turned_off(tmp_path: Path) -> None:
    done = run_yolo(*TINY_FIT, "--model.save_metrics_plots=false", "--trainer.max_epochs=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*_curve.png"))
