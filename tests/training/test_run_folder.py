from __future__ import annotations

import contextlib
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger

from yolo.errors import UserError
from yolo.training.run_folder import keep_metrics, no_folder_without_training


def trainer_in(folder: Path) -> Trainer:
    return Trainer(logger=CSVLogger(folder / "runs", "fit", version=0), accelerator="cpu", enable_progress_bar=False)


def refused(trainer: Trainer) -> None:
    """A run that writes into its folder, and ends."""
    with contextlib.suppress(UserError), no_folder_without_training(trainer):
        folder = Path(str(trainer.log_dir))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").touch()
        raise UserError("no such dataset")


def test_a_run_that_never_began_leaves_nothing(tmp_path: Path) -> None:
    refused(trainer_in(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_or_came_meanwhile_stays(tmp_path: Path) -> None:
    earlier = tmp_path / "runs" / "fit" / "version_0" / "metrics.csv"
    earlier.parent.mkdir(parents=True)
    earlier.touch()
    refused(trainer_in(tmp_path))
    assert earlier.exists()
    other = tmp_path / "elsewhere" / "runs" / "other"
    trainer = trainer_in(tmp_path / "elsewhere")
    with contextlib.suppress(UserError), no_folder_without_training(trainer):
        Path(str(trainer.log_dir)).mkdir(parents=True)
        other.mkdir()
        raise UserError("no such dataset")
    assert list((tmp_path / "elsewhere" / "runs").iterdir()) == [other]


def test_a_folder_with_more_in_it_stays(tmp_path: Path) -> None:
    """Such as the curve of a learning rate sweep, or what another run that chose the same folder has written."""
    trainer = trainer_in(tmp_path)
    folder = Path(str(trainer.log_dir))
    with contextlib.suppress(UserError), no_folder_without_training(trainer):
        folder.mkdir(parents=True)
        for name in ("config.yaml", "lr_find.csv"):
            (folder / name).touch()
        raise UserError("too few finite losses")
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "lr_find.csv"]


def test_a_run_that_began_keeps_its_folder(tmp_path: Path) -> None:
    """What went wrong in it may lie there."""
    trainer = trainer_in(tmp_path)
    trainer.fit_loop.epoch_progress.increment_ready()
    refused(trainer)
    assert (Path(str(trainer.log_dir)) / "config.yaml").exists()


def test_metrics_of_an_earlier_run_get_another_name(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path)
    file = Path(str(trainer.log_dir)) / "metrics.csv"
    file.parent.mkdir(parents=True)
    for text in ("first", "second"):
        file.write_text(text)
        keep_metrics(trainer)
    assert sorted((path.name, path.read_text()) for path in file.parent.iterdir()) == [
        ("metrics-1.csv", "first"), ("metrics-2.csv", "second"),
    ]  # fmt: skip
