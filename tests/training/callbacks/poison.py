"""Callbacks that spoil a run at one step, named on the command line by tests of what happens then."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from yolo.data.batch import Batch


class PoisonedTarget(Callback):
    """Writes a value into one column of the first target at one step."""

    def __init__(self, step: int, value: float = float("inf"), column: int = 4, rank: int = 0) -> None:
        self.rank = rank
        self.step = step
        self.value = value
        self.column = column

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            batch.targets[0, self.column] = self.value


class PoisonedWeight(Callback):
    """Sets one number of a parameter to NaN at one step."""

    def __init__(self, step: int, name: str) -> None:
        self.step = step
        self.name = name

    @torch.no_grad()
    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            pl_module.model.get_parameter(self.name).view(-1)[0] = torch.nan


class PoisonedGradient(Callback):
    """Makes one gradient infinite at one step, while the loss stays finite."""

    def __init__(self, step: int, name: str) -> None:
        self.step = step
        self.name = name

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        def poison(gradient: torch.Tensor) -> torch.Tensor:
            return torch.full_like(gradient, torch.inf) if trainer.global_step == self.step else gradient

        pl_module.model.get_parameter(self.name).register_hook(poison)


class Raising(Callback):
    """Raises an error, or really asks for more memory than there is, at the first step."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if self.kind == "device":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has ...\nmore lines")
        if self.kind == "python":
            raise MemoryError
        if self.kind == "host":
            torch.empty(2**50, dtype=torch.uint8)  # a petabyte
        if self.kind == "other":
            raise RuntimeError("shapes do not fit")
