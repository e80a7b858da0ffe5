from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from yolo.training.callbacks.checkpoint import BestCheckpoint
from yolo.training.callbacks.summary import TrainingSummaryCallback
from yolo.training.loss_meter import LossMeter


def trainer(epoch: int, best_epoch: int) -> SimpleNamespace:
    metrics = {"val/mAP": torch.tensor(0.3), "val/mAP50": torch.tensor(0.5)}
    checkpoint = BestCheckpoint()
    checkpoint.best_epoch = best_epoch
    return SimpleNamespace(
        current_epoch=epoch, max_epochs=3, callback_metrics=metrics, is_global_zero=True, sanity_checking=False,
        checkpoint_callbacks=[checkpoint],
    )  # fmt: skip


def module() -> SimpleNamespace:
    meter = LossMeter()
    meter.update({name: torch.tensor(1.5) for name in ("box", "cls", "dfl")}, images=4)
    return SimpleNamespace(losses=meter)


def test_one_line_per_epoch_and_the_best_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    callback = TrainingSummaryCallback()
    for epoch, best in enumerate([1, 2, 2]):
        now = trainer(epoch, best)
        callback.on_train_epoch_start(now, None)
        callback.on_validation_end(now, None)
        callback.on_train_epoch_end(now, module())
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "epoch 2/3  box 1.500  cls 1.500  dfl 1.500  mAP 0.3000  mAP50 0.5000  0s  best"
    assert [line.endswith("best") for line in lines] == [True, True, False]


def test_nothing_is_printed_without_a_validation(capsys: pytest.CaptureFixture[str]) -> None:
    callback = TrainingSummaryCallback()
    callback.on_train_epoch_start(trainer(0, 0), None)
    callback.on_train_epoch_end(trainer(0, 0), None)
    assert capsys.readouterr().out == ""
