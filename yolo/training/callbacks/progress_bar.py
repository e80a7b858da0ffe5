"""Where a run is: epoch, losses, learning rate, images per second and the time left; on a terminal alone."""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar as Bar
from rich.table import Table
from rich.text import Text

from yolo.data.batch import Batch
from yolo.training.callbacks.clock import RunClock
from yolo.training.module import YOLOModule


class YOLOProgressBar(ProgressBar):
    """Two lines at the bottom of a terminal; what others print appears above them. Nothing where stdout is no terminal.

    Losses stay on the device between two refreshes, so that a GPU is not waited for at each step. There is no thread.

    Args:
        refreshes_per_second: at most; how often the lines are drawn anew.
    """

    def __init__(self, refreshes_per_second: float = 2.0) -> None:
        super().__init__()
        self.seconds = 1 / refreshes_per_second
        self.console: Console | None = None
        """Where to print while the lines are there; None while they are not."""
        self._enabled = True
        self._live: Live | None = None
        self._clock = RunClock()
        self._shown = 0.0
        self._validation: tuple[int, int] | None = None
        """Batches done and batches in all, while validating."""
        self._losses = ""

    def disable(self) -> None:
        """Show nothing from now on."""
        self._enabled = False
        self._stop()

    def enable(self) -> None:
        """Show something from the next start of a training on."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, on a terminal."""
        if self._enabled and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            console = Console(file=sys.stdout)
            self._live = Live(get_renderable=self._lines, console=console, auto_refresh=False, transient=True)
            self._live.start()
            self.console = console
        self._start_epoch(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from the first batch."""
        self._start_epoch(trainer)

    def _start_epoch(self, trainer: Trainer) -> None:
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready  # of an epoch resumed in its middle
        self._clock.start_epoch(done if trainer.fit_loop.restarting else 0)
        self._losses = ""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Draw anew if it is time to."""
        if self._live is None:
            return
        self._clock.count(len(batch.records) * trainer.world_size)
        if self._due() or trainer.is_last_batch:
            module = cast(YOLOModule, pl_module)
            self._losses = "  ".join(f"{name} {mean:.3f}" for name, mean in module.losses.own_means().items())
            rate = module.schedule(max(trainer.global_step - 1, 0)).lr  # of the step that was
            self._losses += f"  lr {rate:.3g}"
            self._refresh()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the validation's progress."""
        if self._live and not trainer.sanity_checking:
            self._validation = (0, int(self.total_val_batches))
            self._refresh()

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Draw anew if it is time to."""
        if self._validation:
            self._validation = (self._validation[0] + 1, self._validation[1])
            if self._due():
                self._refresh()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """All batches are done; what follows is the evaluation."""
        if self._validation:
            self._validation = (self._validation[1], self._validation[1])
            self._refresh()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Back to the epoch."""
        self._validation = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Learn how long an epoch takes."""
        self._clock.end_epoch()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the lines away."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take the lines away before the error is printed."""
        self._stop()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave nothing behind."""
        self._stop()

    def _stop(self) -> None:
        if self._live:
            self._live.stop()
        self._live = self.console = None

    def _due(self) -> bool:
        return time.monotonic() - self._shown >= self.seconds

    def _refresh(self) -> None:
        if self._live:
            self._shown = time.monotonic()
            self._live.refresh()

    def _lines(self) -> RenderableType:
        trainer = self.trainer
        epochs, total = trainer.max_epochs, int(self.total_train_batches)
        left = (epochs or 0) - trainer.current_epoch - 1
        done, facts = self._clock.batches, ""
        what = f"epoch {trainer.current_epoch + 1}/{epochs}"
        if self._clock.batches_per_second:
            facts = (
                f"{self._clock.images_per_second:,.0f} images/s  {_time(self._clock.epoch_seconds_left(total))} left"
            )
        if left > 0 and self._clock.batches_per_second:
            facts += f", run {_time(self._clock.run_seconds_left(total, left))}"
        if self._validation:
            done, total = self._validation
            what, facts = f"{what} validation", ""
        grid = Table.grid(padding=(0, 1))
        for ratio in (None, 1, None, None):
            grid.add_column(ratio=ratio, no_wrap=True)
        grid.expand = True
        grid.add_row(what, Bar(total=max(total, 1), completed=done), f"{done}/{total}", facts)
        return Group(grid, Text(self._losses, no_wrap=True, overflow="crop"))


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
