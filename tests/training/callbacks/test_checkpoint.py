from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn

from yolo.errors import UserError
from yolo.training.callbacks.checkpoint import BestCheckpoint


class Scored(LightningModule):
    """Logs a given score after each epoch."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.scores = scores

    def training_step(self, batch, index):
        return self.layer(batch).mean()

    def validation_step(self, batch, index):
        self.log("val/mAP", self.scores[self.current_epoch])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.ones(2, 1))

    val_dataloader = train_dataloader


def train(folder: Path, scores: list[float], callback: BestCheckpoint, epochs: int | None = None, **fit) -> None:
    trainer = Trainer(
        default_root_dir=folder, max_epochs=epochs or len(scores), accelerator="cpu", logger=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[callback],
    )  # fmt: skip
    trainer.fit(Scored(scores), weights_only=True, **fit)


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


def test_unknown_metric(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'val/map', which is not logged; logged are val/mAP"):
        train(tmp_path, [0.1], BestCheckpoint(monitor="val/map"))
