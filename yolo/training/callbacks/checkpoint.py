"""Checkpoints: `last.ckpt`, `best.ckpt` and the best few under readable names.

Lightning's ModelCheckpoint writes `last.ckpt` only when an epoch was among the best, and forgets what was best when a
resumed run gets a new folder; a run that is to be resumed exactly needs neither.
"""

from __future__ import annotations

import logging
import math
import os
import shlex
import shutil
import signal
from pathlib import Path
from typing import Any, Literal, NoReturn

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from yolo.errors import UserError
from yolo.evaluation.evaluator import Metrics
from yolo.training.stop_signal import StopSignal, end_as

logger = logging.getLogger(__name__)

BEST, LAST = "best.ckpt", "last.ckpt"
EARLY = "before the first step"


class BestCheckpoint(Checkpoint):
    """Writes `last.ckpt` at the end of each epoch and gives it further names, by hard links, if it is good.

    It is also written every so many steps, on request, and on SIGTERM or Ctrl-C, which then end the program with status
    143 or 130; always right after an optimiser step, when no gradient is pending. A file appears under its name only
    when it is complete.

    Args:
        dirpath: folder of the checkpoints; `checkpoints` in the run's folder when null.
        monitor: metric that decides which epoch is best.
        mode: whether more (max) or less (min) of it is better.
        save_top_k: how many of the best epochs to keep under a name with epoch and metric.
        every_n_steps: optimiser steps after which `last.ckpt` is also written within an epoch; null for never.
    """

    def __init__(
        self,
        dirpath: str | None = None,
        monitor: str = "val/mAP",
        mode: Literal["min", "max"] = "max",
        save_top_k: int = 3,
        every_n_steps: int | None = None,
    ) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise UserError(f"--checkpoint.every_n_steps is {every_n_steps}, expected at least 1 or null")
        self.dirpath = dirpath
        self.monitor = monitor
        self.mode = mode
        self.save_top_k = save_top_k
        self.every_n_steps = every_n_steps
        self.folder = Path(dirpath or "")
        self.kept: dict[str, float] = {}
        """File name -> score of the best epochs, best first."""
        self.best_epoch = 0
        """The best epoch, counted from 1; 0 before the first validation."""
        self.best_metrics: dict[str, float] = {}
        """The metrics of the best epoch."""
        self.best_seen = False
        """Whether this run has validated the best epoch itself; the same on all processes."""
        self.best_evaluation: Metrics | None = None
        """All of the best epoch's evaluation, on the first process; None if this run has not seen that epoch."""
        self._names: list[str] = []
        self._dropped: list[str] = []
        self._signal = StopSignal()
        self._stop: signal.Signals | None = None
        self._last_step = 0

    @property
    def best_path(self) -> Path | None:
        """`best.ckpt` of this run, None before the first validation."""
        return self.folder / BEST if self.best_epoch and (self.folder / BEST).is_file() else None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the folder; a resumed run in a new folder takes along what was best so far."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._signal.replace_lightnings(trainer)
        previous = self.folder
        run = trainer.log_dir or trainer.default_root_dir
        self.folder = Path(trainer.strategy.broadcast(self.dirpath or os.path.join(run, "checkpoints")))  # noqa: PTH118
        if self.kept:
            self._take_along(previous, link=trainer.is_global_zero)

    def _take_along(self, previous: Path, *, link: bool) -> None:
        """Bring what was best from the old folder. A best that is gone, or replaced by a later one, is forgotten."""
        present = [name for name in self.kept if (previous / name).is_file()]
        # A process that was killed while it named a new best has left it as `last.ckpt` alone.
        candidates = [previous / name for name in (*present, BEST, LAST) if (previous / name).is_file()]
        best = next((path for path in candidates if _epoch(path) == self.best_epoch), None)
        if best is None:
            logger.warning("%s: the best checkpoint so far is not there, the best counts from now on", previous)
            self.kept, self.best_epoch, self.best_metrics = {}, 0, {}
            return
        if link:
            self.folder.mkdir(parents=True, exist_ok=True)
            for source, name in [*((previous / name, name) for name in present), (best, BEST)]:
                _link(source, self.folder / name)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen for signals, unless one has come already; note the step."""
        self._last_step = trainer.global_step
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._signal.listen()
        stop = self._signal.agreed(trainer)
        if stop:
            end_as(trainer, stop, EARLY)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Write `last.ckpt` after a step for which it is due, or when told to stop."""
        stepped = trainer.global_step != self._last_step
        self._last_step = trainer.global_step
        # What follows the last batch, a validation or the end of the epoch, does the same.
        if not stepped or trainer.is_last_batch or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._stop = self._signal.agreed(trainer)
        if self._stop or (self.every_n_steps and trainer.global_step % self.every_n_steps == 0):
            self._write_last(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """End the program after a stop, now that the loggers have what the checkpoint's steps have logged."""
        if self._stop:
            self._exit(trainer, self._stop)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """When told to stop: write `last.ckpt`; the resumed run starts this validation over.

        Several processes, which need not have equally many batches, finish the epoch first.
        """
        if self._signal.received and trainer.world_size == 1:
            if trainer.sanity_checking:
                end_as(trainer, self._signal.received, EARLY)
            self._write_last(trainer)
            self._exit(trainer, self._signal.received)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the epoch into the ranking."""
        if trainer.sanity_checking or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._names, self._dropped = self._rank(self._score(trainer), trainer.current_epoch + 1)
        if BEST in self._names:
            self.best_epoch, self.best_seen = trainer.current_epoch + 1, True
            metrics = trainer.callback_metrics.items()
            self.best_metrics = {name: float(value) for name, value in metrics if name.startswith("val/")}
            self.best_evaluation = getattr(pl_module, "metrics", None) if trainer.is_global_zero else None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write `last.ckpt`, then name it by its merits."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._write_last(trainer)
        if trainer.is_global_zero:
            for name in self._names:
                _link(self.folder / LAST, self.folder / name)
            for name in self._dropped:
                (self.folder / name).unlink(missing_ok=True)
        self._names, self._dropped = [], []
        self._stop = self._signal.agreed(trainer)  # heeded if there is another epoch

    def _write_last(self, trainer: Trainer) -> None:
        partial = self.folder / f"{LAST}.partial"
        trainer.save_checkpoint(partial)  # all processes take part
        if trainer.is_global_zero:
            partial.replace(self.folder / LAST)

    def _exit(self, trainer: Trainer, stop: signal.Signals) -> NoReturn:
        """End the program as the signal would, and say how to go on."""
        config = self.folder.parent / "config.yaml"
        how = f"--config {shlex.quote(str(config))}" if config.is_file() else "..."
        how = f"yolo fit {how} --ckpt_path {shlex.quote(str(self.folder / LAST))}"
        end_as(trainer, stop, f"at epoch {trainer.current_epoch + 1}, step {trainer.global_step}; resume with: {how}")

    def state_dict(self) -> dict[str, Any]:
        """What was best so far, and where it is."""
        return {
            "folder": str(self.folder.absolute()),
            "kept": dict(self.kept),
            "best_epoch": self.best_epoch,
            "best_metrics": self.best_metrics,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what was best so far."""
        self.folder, self.kept = Path(state_dict["folder"]), dict(state_dict["kept"])
        self.best_epoch, self.best_metrics = state_dict["best_epoch"], dict(state_dict["best_metrics"])

    def _score(self, trainer: Trainer) -> float:
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics))
            raise UserError(f"--checkpoint.monitor is {self.monitor!r}, which is not logged; logged are {known}")
        return float(trainer.callback_metrics[self.monitor])

    def _rank(self, score: float, epoch: int) -> tuple[list[str], list[str]]:
        """Take an epoch into the ranking: the names it earns, and the files that fall out."""
        if math.isnan(score):
            return [], []
        better = max if self.mode == "max" else min
        is_best = not self.kept or better(score, *self.kept.values()) == score != next(iter(self.kept.values()))
        name = f"epoch{epoch:03d}-{self.monitor.rpartition('/')[2]}{score:.4f}.ckpt"
        ranking = sorted({**self.kept, name: score}.items(), key=lambda item: item[1], reverse=self.mode == "max")
        # The best score is remembered even when no file is kept under a name of its own.
        self.kept = dict(ranking[: max(self.save_top_k, 1)])
        dropped = [other for other, _ in ranking if other not in self.kept and other != name]
        names = [name] if name in self.kept and self.save_top_k > 0 else []
        return names + [BEST] * is_best, dropped


def _epoch(checkpoint: Path) -> int:
    """Number of the epoch, counted from 1, after which a checkpoint was written."""
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["epoch"]) + 1


def best_checkpoint(trainer: Trainer) -> BestCheckpoint | None:
    """The callback that knows what is best; None in a run without one."""
    return next((c for c in trainer.checkpoint_callbacks if isinstance(c, BestCheckpoint)), None)


def find_last(trainer: Trainer) -> Path:
    """The newest `last.ckpt` of the runs beside the one that `trainer` is about to start. UserError without any."""
    checkpoint = best_checkpoint(trainer)
    dirpath = checkpoint.dirpath if checkpoint else None
    runs = getattr(trainer.logger, "root_dir", None)  # of loggers that number their runs
    if dirpath is not None:
        folder, pattern = Path(dirpath), LAST
    elif runs is not None:
        folder, pattern = Path(runs), f"*/checkpoints/{LAST}"
    else:
        folder, pattern = Path(trainer.log_dir or trainer.default_root_dir), f"checkpoints/{LAST}"
    found = list(folder.glob(pattern))
    if not found:
        raise UserError(f"--ckpt_path last: there is no {pattern} in {folder}")
    return max(found, key=lambda path: path.stat().st_mtime)


def _link(source: Path, target: Path) -> None:
    """Make `target` another name of the file `source`, replacing what had that name in one step."""
    if target.exists() and target.samefile(source):
        return
    temporary = target.with_name(f"{target.name}.partial")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # a file system without hard links
        shutil.copy2(source, temporary)
    temporary.replace(target)
