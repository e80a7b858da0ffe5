"""Checkpoints: `last.ckpt`, `best.ckpt` and the best few under readable names.

Lightning's ModelCheckpoint writes `last.ckpt` only when an epoch was among the best, and forgets what was best when a
resumed run gets a new folder; a run that is to be resumed exactly needs neither.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from yolo.errors import UserError

logger = logging.getLogger(__name__)

BEST, LAST = "best.ckpt", "last.ckpt"


class BestCheckpoint(Checkpoint):
    """Writes one checkpoint at the end of each epoch and gives it further names, by hard links, if it is good.

    A file appears under its name only when it is complete.

    Args:
        dirpath: folder of the checkpoints; `checkpoints` in the run's folder when null.
        monitor: metric that decides which epoch is best.
        mode: whether more (max) or less (min) of it is better.
        save_top_k: how many of the best epochs to keep under a name with epoch and metric.
    """

    def __init__(
        self,
        dirpath: str | None = None,
        monitor: str = "val/mAP",
        mode: Literal["min", "max"] = "max",
        save_top_k: int = 3,
    ) -> None:
        self.dirpath = dirpath
        self.monitor = monitor
        self.mode = mode
        self.save_top_k = save_top_k
        self.folder = Path(dirpath or "")
        self.kept: dict[str, float] = {}
        """File name -> score of the best epochs, best first."""
        self.best_epoch = 0
        """The best epoch, counted from 1; 0 before the first validation."""
        self.best_metrics: dict[str, float] = {}
        """All that was logged at the validation of the best epoch."""
        self._names: list[str] = []
        self._dropped: list[str] = []

    @property
    def best_path(self) -> Path | None:
        """`best.ckpt` of this run, None before the first validation."""
        return self.folder / BEST if self.best_epoch and (self.folder / BEST).is_file() else None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the folder; a resumed run in a new folder takes along what was best so far."""
        previous = self.folder
        run = trainer.log_dir or trainer.default_root_dir
        self.folder = Path(trainer.strategy.broadcast(self.dirpath or os.path.join(run, "checkpoints")))  # noqa: PTH118
        if self.kept and previous != self.folder.absolute():
            self._take_along(previous, copy=trainer.is_global_zero)

    def _take_along(self, previous: Path, *, copy: bool) -> None:
        """Copy what was best from another folder. A best that is gone, or was replaced by a later one, is forgotten."""
        present = [name for name in self.kept if (previous / name).is_file()]
        candidates = [previous / name for name in (*present, BEST) if (previous / name).is_file()]
        best = next((path for path in candidates if _epoch(path) == self.best_epoch), None)
        if best is None:
            logger.warning("%s: the best checkpoint so far is not there, the best counts from now on", previous)
            self.kept, self.best_epoch, self.best_metrics = {}, 0, {}
            return
        if copy:
            self.folder.mkdir(parents=True, exist_ok=True)
            for source, name in [*((previous / name, name) for name in present), (best, BEST)]:
                shutil.copy2(source, self.folder / name)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the epoch into the ranking."""
        if trainer.sanity_checking or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._names, self._dropped = self._rank(self._score(trainer), trainer.current_epoch + 1)
        if BEST in self._names:
            self.best_epoch = trainer.current_epoch + 1
            self.best_metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write `last.ckpt`, then name it by its merits."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        last = self.folder / LAST
        partial = self.folder / f"{LAST}.partial"
        trainer.save_checkpoint(partial)  # all processes take part
        if trainer.is_global_zero:
            partial.replace(last)
            for name in self._names:
                _link(last, self.folder / name)
            for name in self._dropped:
                (self.folder / name).unlink(missing_ok=True)
        self._names, self._dropped = [], []

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
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["epoch"]) + 1


def _link(source: Path, target: Path) -> None:
    """Make `target` another name of the file `source`, replacing what had that name in one step."""
    temporary = target.with_name(f"{target.name}.partial")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # a file system without hard links
        shutil.copy2(source, temporary)
    temporary.replace(target)
