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
    checkpoint.best_metrics = {"val/mAP": 0.61212, "val/f1": 0.5}
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
    begin = "box 1.500  cls 1.500  dfl 1.500  mAP 0.3000  mAP50 0.5000  0s"
    assert lines == [
        f"epoch 1/3  {begin}  best -> best.ckpt",
        f"epoch 2/3  {begin}  best -> best.ckpt",
        f"epoch 3/3  {begin}  best 0.6121 at epoch 2",
    ]


def last_line(now: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> str:
    callback = TrainingSummaryCallback()
    callback.on_train_epoch_start(now, None)
    callback.on_validation_end(now, None)
    callback.on_train_epoch_end(now, module())
    return capsys.readouterr().out.splitlines()[-1]


def test_the_best_by_another_metric_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    now = trainer(2, 1)
    now.checkpoint_callbacks[0].monitor = "val/f1"
    assert last_line(now, capsys).endswith("best f1 0.5000 at epoch 1")


def test_nothing_is_said_of_a_best_that_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert last_line(trainer(0, 0), capsys).endswith("0s")  # its metric was NaN
    now = trainer(0, 1)
    now.checkpoint_callbacks = []
    assert last_line(now, capsys).endswith("0s")


def test_nothing_is_printed_without_a_validation(capsys: pytest.CaptureFixture[str]) -> None:
    callback = TrainingSummaryCallback()
    callback.on_train_epoch_start(trainer(0, 0), None)
    callback.on_train_epoch_end(trainer(0, 0), None)
    assert capsys.readouterr().out == ""
