"""One line per epoch: losses, metrics, and whether they are the best so far."""

from __future__ import annotations

import time
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from yolo.lightning_output import console_of, print_items, print_line
from yolo.quantization import shown_name
from yolo.training.callbacks.checkpoint import BEST, best_checkpoint


class TrainingSummaryCallback(Callback):
    """Prints a line per validated epoch that reads the same on a terminal and in a log file."""

    def __init__(self) -> None:
        self._validated = False
        self._started = 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what is trained on what."""
        data, card = cast(Any, trainer).datamodule, cast(Any, pl_module).card
        print_line(
            trainer,
            f"{shown_name(card.network)}, {len(card.class_names)} classes, {len(data.train.images)} training and "
            f"{len(data.val.images)} validation images at {card.image_size[0]} x {card.image_size[1]}",
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of a run that is resumed in the middle of an epoch."""
        self._started = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._validated = False
        self._started = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that this epoch has metrics."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line; the losses of the epoch are complete only now."""
        if not self._validated:
            return
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        epoch = trainer.current_epoch + 1
        means = cast(Any, pl_module).losses.means().items()  # of all processes
        items = [
            f"epoch {epoch}/{trainer.max_epochs}",
            *(f"{name} {float(mean):.3f}" for name, mean in means),
            *(f"{name} {logged[f'val/{name}']:.4f}" for name in ("mAP", "mAP50")),
            f"{time.monotonic() - self._started:.0f}s",
            *_best(trainer, epoch),
        ]
        if trainer.is_global_zero:
            print_items(console_of(trainer), items)


def _best(trainer: Trainer, epoch: int) -> list[str]:
    """The file that the epoch is about to become, if it is the best, or else what the best one is."""
    checkpoint = best_checkpoint(trainer)
    if checkpoint is None or not checkpoint.best_epoch:
        return []
    if checkpoint.best_epoch == epoch:
        return [f"best -> {BEST}"]
    monitor = checkpoint.monitor.removeprefix("val/")
    kind = "" if monitor == "mAP" else f"{monitor} "
    return [f"best {kind}{checkpoint.best_metrics[checkpoint.monitor]:.4f} at epoch {checkpoint.best_epoch}"]
