from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from yolo.errors import UserError
from yolo.training.callbacks.checkpoint import BestCheckpoint, find_last


class Scored(LightningModule):
    """Logs a given score after each epoch."""

    def __init__(self, scores: list[float], batches: int = 2) -> None:
        super().__init__()
        self.batches = batches
        self.layer = nn.Linear(1, 1)
        self.scores = scores

    def training_step(self, batch, index):
        return self.layer(batch).mean()

    def validation_step(self, batch, index):
        self.log("val/mAP", self.scores[self.current_epoch])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.ones(self.batches, 1))

    val_dataloader = train_dataloader


def train(
    folder: Path, scores: list[float], callback: BestCheckpoint, epochs: int | None = None, batches: int = 2,
    callbacks: Sequence[Callback] = (), accumulate_grad_batches: int = 1, **fit,
) -> None:  # fmt: skip
    trainer = Trainer(
        default_root_dir=folder, max_epochs=epochs or len(scores), accelerator="cpu", logger=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[callback, *callbacks],
        accumulate_grad_batches=accumulate_grad_batches,
    )  # fmt: skip
    trainer.fit(Scored(scores, batches), weights_only=True, **fit)


def epoch_of(path: Path) -> int:
    return torch.load(path, weights_only=True)["epoch"] + 1


def test_names(tmp_path: Path) -> None:
    train(tmp_path, [0.1, 0.4, 0.3, 0.2, 0.2], BestCheckpoint(save_top_k=2))
    folder = tmp_path / "checkpoints"
    names = {path.name: epoch_of(path) for path in folder.iterdir()}
    assert names == {"best.ckpt": 2, "epoch002-mAP0.4000.ckpt": 2, "epoch003-mAP0.3000.ckpt": 3, "last.ckpt": 5}


def test_last_is_last_even_when_it_is_bad_and_the_first_of_equals_is_best(tmp_path: Path) -> None:
    train(tmp_path, [0.0, 0.0, 0.0], BestCheckpoint(save_top_k=1))
    assert epoch_of(tmp_path / "checkpoints" / "last.ckpt") == 3
    assert epoch_of(tmp_path / "checkpoints" / "best.ckpt") == 1


def test_less_can_be_better(tmp_path: Path) -> None:
    train(tmp_path, [0.3, 0.1, 0.2], BestCheckpoint(mode="min", save_top_k=1))
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {
        "best.ckpt", "last.ckpt", "epoch002-mAP0.1000.ckpt"
    }  # fmt: skip


def test_no_named_files(tmp_path: Path) -> None:
    train(tmp_path, [0.1, 0.3, 0.2], BestCheckpoint(save_top_k=0))
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert epoch_of(tmp_path / "checkpoints" / "best.ckpt") == 2


def test_a_resumed_run_in_a_new_folder_remembers_the_best(tmp_path: Path) -> None:
    scores = [0.1, 0.5, 0.2, 0.3]
    train(tmp_path / "a", scores, BestCheckpoint(save_top_k=2), epochs=3)
    train(tmp_path / "b", scores, BestCheckpoint(save_top_k=2), ckpt_path=tmp_path / "a/checkpoints/last.ckpt")
    names = {path.name: epoch_of(path) for path in (tmp_path / "b" / "checkpoints").iterdir()}
    assert names == {"best.ckpt": 2, "epoch002-mAP0.5000.ckpt": 2, "epoch004-mAP0.3000.ckpt": 4, "last.ckpt": 4}


def test_resuming_from_an_older_checkpoint_does_not_take_a_later_best(tmp_path: Path) -> None:
    scores = [0.1, 0.2, 0.9, 0.3]
    train(tmp_path / "a", scores, BestCheckpoint(save_top_k=3), epochs=3)
    older = tmp_path / "a/checkpoints/epoch002-mAP0.2000.ckpt"
    callback = BestCheckpoint(save_top_k=3)
    train(tmp_path / "b", [0.1, 0.2, 0.05, 0.06], callback, ckpt_path=older)
    assert epoch_of(tmp_path / "b/checkpoints/best.ckpt") == callback.best_epoch == 2


def test_a_best_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    train(tmp_path / "a", [0.9, 0.1], BestCheckpoint(save_top_k=1), epochs=2)
    last = tmp_path / "last.ckpt"
    shutil.copy(tmp_path / "a/checkpoints/last.ckpt", last)
    shutil.rmtree(tmp_path / "a")
    callback = BestCheckpoint(save_top_k=1)
    train(tmp_path / "b", [0.9, 0.1, 0.3], callback, ckpt_path=last)
    assert epoch_of(tmp_path / "b/checkpoints/best.ckpt") == callback.best_epoch == 3


@pytest.mark.parametrize("same_folder", [True, False])
def test_a_run_killed_while_it_named_a_new_best_finds_it_in_last(same_folder: bool, tmp_path: Path) -> None:
    scores = [0.1, 0.2, 0.15]
    folder = tmp_path / "a"
    train(tmp_path, scores, BestCheckpoint(str(folder), save_top_k=1), epochs=1)
    for name in ("best.ckpt", "epoch001-mAP0.1000.ckpt"):
        shutil.copy(folder / name, tmp_path / name)
    train(tmp_path, scores, BestCheckpoint(str(folder), save_top_k=1), epochs=2)
    (folder / "epoch002-mAP0.2000.ckpt").unlink()  # as it stood right after last.ckpt got its name
    for name in ("best.ckpt", "epoch001-mAP0.1000.ckpt"):
        shutil.copy(tmp_path / name, folder / name)
    (folder / "last.ckpt.partial").write_bytes(b"half a checkpo")
    callback = BestCheckpoint(str(folder if same_folder else tmp_path / "b"), save_top_k=1)
    train(tmp_path, scores, callback, ckpt_path=folder / "last.ckpt")
    assert epoch_of(callback.folder / "best.ckpt") == callback.best_epoch == 2
    assert epoch_of(callback.folder / "last.ckpt") == 3
    assert not list(callback.folder.glob("*.partial"))


class Watcher(Callback):
    """Which step last.ckpt stands at when each batch begins."""

    def __init__(self, folder: Path) -> None:
        self.last = folder / "checkpoints" / "last.ckpt"
        self.seen: list[int | None] = []

    def on_train_batch_start(self, trainer, *args) -> None:
        stored = torch.load(self.last, weights_only=True) if self.last.is_file() else None
        self.seen.append(stored["global_step"] if stored else None)


def test_every_n_steps(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path)
    train(tmp_path, [0.1, 0.2], BestCheckpoint(every_n_steps=2), callbacks=[watcher], batches=5)
    # The steps 2 and 4, the end of the epoch (5), and 6 and 8 of the second; 10 is its end.
    assert watcher.seen == [None, None, 2, 2, 4, 5, 6, 6, 8, 8]


def test_every_n_steps_counts_optimiser_steps(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path)
    train(tmp_path, [0.1], BestCheckpoint(every_n_steps=1), callbacks=[watcher], batches=5, accumulate_grad_batches=2)
    assert watcher.seen == [None, None, 1, 1, 2]
    with pytest.raises(UserError, match="every_n_steps is 0, expected at least 1 or null"):
        BestCheckpoint(every_n_steps=0)


def test_signals_are_as_they_were_after_the_run(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    train(tmp_path, [0.1], BestCheckpoint())
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def find(root: Path, *, dirpath: str | None = None, logger: object | None = None) -> Path:
    trainer = SimpleNamespace(
        checkpoint_callbacks=[BestCheckpoint(dirpath)], logger=logger, log_dir=str(root), default_root_dir=""
    )
    return find_last(trainer)  # type: ignore[arg-type]


def test_the_newest_last_checkpoint_of_all_runs_is_found(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, "name")
    with pytest.raises(UserError, match=rf"there is no \*/checkpoints/last.ckpt in {tmp_path}/name"):
        find(tmp_path, logger=logger)
    for version, age in (("version_0", 10), ("version_2", 5), ("version_10", 7)):
        path = tmp_path / "name" / version / "checkpoints" / "last.ckpt"
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (1e9 - age, 1e9 - age))
    (tmp_path / "name/version_11/checkpoints").mkdir(parents=True)
    (tmp_path / "name/version_11/checkpoints/last.ckpt.partial").touch()
    assert find(tmp_path, logger=logger) == tmp_path / "name/version_2/checkpoints/last.ckpt"


def test_last_in_a_folder_of_ones_own_and_with_a_logger_without_versions(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"there is no last.ckpt in {tmp_path}"):
        find(tmp_path, dirpath=str(tmp_path))
    (tmp_path / "last.ckpt").touch()
    assert find(tmp_path, dirpath=str(tmp_path)) == tmp_path / "last.ckpt"
    with pytest.raises(UserError, match=f"there is no checkpoints/last.ckpt in {tmp_path}"):
        find(tmp_path)


def test_unknown_metric(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'val/map', which is not logged; logged are val/mAP"):
        train(tmp_path, [0.1], BestCheckpoint(monitor="val/map"))
