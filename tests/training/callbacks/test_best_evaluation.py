from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import TINY_FIT, Run, run_yolo
from tests.processes import launch_yolo
from yolo.training.callbacks import BestCheckpoint
from yolo.training.callbacks.best_evaluation import BestEvaluation
from yolo.training.options import PlotOptions

SAID = "of the run before, is still the best: validating it"


def best_row(run: Run) -> tuple[int, float]:
    rows = [row for row in csv.DictReader((run.folder / "metrics.csv").open()) if row["val/mAP"]]
    best = max(rows, key=lambda row: float(row["val/mAP"]))
    return int(best["epoch"]) + 1, float(best["val/mAP"])


def worse(run: Run) -> list[str]:
    """Options of a run that goes on from another one and spoils its weights."""
    last = run.folder / "checkpoints" / "last.ckpt"
    return [*TINY_FIT, f"--ckpt_path={last}", "--trainer.max_epochs=3", "--model.learning_rate=1000"]


@pytest.mark.slow
def test_two_processes_share_the_validation(tiny_run: Run, tmp_path: Path) -> None:
    options = [*worse(tiny_run), "--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=4"]
    done = launch_yolo(*options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    number, score = best_row(tiny_run)
    assert done.stdout.count(f"epoch {number}, {SAID}") == 1
    assert f"{score:.6f}" in done.stdout.split("Quality")[1].split("Operating")[0]  # on all nine images
    assert len(list(tmp_path.rglob("report.html"))) == 1


@pytest.mark.slow
def test_a_run_without_a_validation_shows_the_best_too(tiny_run: Run, tmp_path: Path) -> None:
    options = ["--trainer.check_val_every_n_epoch=2", "--trainer.num_sanity_val_steps=0"]
    done = run_yolo(*worse(tiny_run), *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"epoch {best_row(tiny_run)[0]}, {SAID}" in done.stdout
    assert len(list(tmp_path.rglob("report.html"))) == 1


@pytest.mark.slow
def test_nothing_of_the_training_changes(tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = []
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
        done = run_yolo(*worse(tiny_run), cwd=tmp_path / name)
        assert done.returncode == 0, done.stderr
        (last,) = (tmp_path / name).rglob("last.ckpt")
        states.append(torch.load(last, weights_only=True)["state_dict"])
        monkeypatch.setattr(BestEvaluation, "on_train_end", lambda *_: None)
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


@pytest.mark.parametrize("why", ["seen", "none", "fast_dev_run", "removed"])
def test_nothing_is_validated_where_there_is_nothing_to_learn(why: str, tmp_path: Path) -> None:
    checkpoint = BestCheckpoint()
    checkpoint.folder, checkpoint.best_epoch, checkpoint.best_seen = tmp_path, int(why != "none"), why == "seen"
    if why != "removed":
        (tmp_path / "best.ckpt").write_bytes(b"no checkpoint: reading it would fail")
    trainer = SimpleNamespace(
        checkpoint_callbacks=[checkpoint],
        fast_dev_run=why == "fast_dev_run",
        strategy=SimpleNamespace(broadcast=lambda value: value),
    )
    BestEvaluation(PlotOptions()).on_train_end(trainer, None)
    assert checkpoint.best_evaluation is None
