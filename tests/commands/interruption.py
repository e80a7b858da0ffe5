"""What the tests of resuming hand to `yolo fit`: a network that draws random numbers, and a well-aimed signal."""

from __future__ import annotations

import os
import signal
import subprocess

import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

from yolo.models.detection_model import DetectionModel, Maps


class Forgetful(DetectionModel):
    """Batch normalisation has buffers, dropout draws from torch's random state: both must survive."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, strides=(8, 16))
        self.register_buffer("bins", torch.arange(4.0))
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.BatchNorm2d(8), nn.SiLU(), nn.Dropout(0.3))
        self.fine = nn.Conv2d(8, 16 + num_classes, 1)
        self.coarse = nn.Conv2d(8, 16 + num_classes, 2, stride=2)

    def forward(self, images: Tensor) -> tuple[Maps, ...]:
        features = self.stem(images)
        return ([self.fine(features), self.coarse(features)],)


class SignalAt(Callback):
    """Sends this process, or its whole group, a signal as a batch begins; in epoch 0, batch 0 is the sanity check and
    batch 1 the start of the training."""

    def __init__(
        self, name: str, epoch: int, batch: int, validation: bool = False, group: bool = False, rank: int = 0
    ) -> None:
        self.number = signal.Signals[name]
        self.at = (epoch, batch)
        self.validation = validation
        self.group = group
        self.rank = rank

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if not self.validation and (trainer.current_epoch + 1, batch_idx) == self.at:
            self._send()

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0) -> None:
        if self.validation and not trainer.sanity_checking and (trainer.current_epoch + 1, batch_idx) == self.at:
            self._send()

    def on_sanity_check_start(self, trainer, pl_module) -> None:
        if self.at == (0, 0):
            self._send()

    def on_train_start(self, trainer, pl_module) -> None:
        if self.at == (0, 1):
            self._send()

    def _send(self) -> None:
        if os.environ.get("LOCAL_RANK", "0") != str(self.rank):
            return
        if self.group:  # by another process, as a supervisor does
            subprocess.run(["kill", f"-{self.number:d}", "--", f"-{os.getpgrp()}"], start_new_session=True, check=True)
        else:
            os.kill(os.getpid(), self.number)
