"""The learning-rate range test: Lightning's sweep on our module, its curve and what it suggests."""

from __future__ import annotations

import csv
import math
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.tuner.tuning import Tuner

from yolo.errors import UserError
from yolo.ranks import sum_over_ranks
from yolo.training.callbacks.freeze import Freezer, select_parts
from yolo.training.callbacks.resume import ExactResume
from yolo.training.module import YOLOModule
from yolo.training.schedule import Rates
from yolo.whole_file import whole_file

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 100
DIVERGED = 4
SMOOTHING = 4.0
"""Standard deviation, in updates, of the window that the loss is averaged over."""


def find_learning_rate(
    trainer: Trainer, module: YOLOModule, datamodule: LightningDataModule, ckpt_path: str | None = None
) -> float:
    """Sweep the rate over STEPS updates; write `lr_find.csv` and `lr_find.png` into the run's folder; print what to do.

    The trainer is spent afterwards; the module has the weights it started with.

    Raises:
        UserError: the sweep gave too few finite losses to suggest anything, or a checkpoint to resume from was given.
    """
    if ckpt_path is not None:
        raise UserError("--find_lr starts from fresh weights: leave out --ckpt_path")

    run = Path(trainer.log_dir or trainer.default_root_dir)
    rates: list[float] = []
    losses: list[float] = []

    def swept(_: int) -> Rates:
        """One rate for all, so that the biases' warm-up does not blur the curve; notes the loss it is applied to."""
        lr = cast(Any, trainer.lr_scheduler_configs[0].scheduler).lr[0]
        rates.append(lr)
        losses.append(sum_over_ranks(module.trace.losses["total"]).item())
        return Rates(lr, lr, module.options.momentum)

    # The module asks its schedule for the rates of each step; the sweep's own would be overwritten.
    cast(Any, module).schedule = swept
    # Lightning puts all callbacks aside for the sweep, and saves the weights before there is anything to resume.
    cast(Any, module).on_train_start = lambda: _freeze(trainer, module)
    cast(Any, trainer).callbacks = [c for c in cast(Any, trainer).callbacks if not isinstance(c, ExactResume)]
    # A small dataset is passed over as often as the sweep needs, without validation in between.
    trainer.fit_loop.max_epochs = -1
    trainer.check_val_every_n_epoch = sys.maxsize
    with tempfile.TemporaryDirectory() as folder:
        cast(Any, trainer)._default_root_dir = folder  # for the sweep's copy of the weights
        # Lightning would stop at a loss far above the lowest so far, which one batch without objects can set.
        Tuner(trainer).lr_find(
            module,
            datamodule=datamodule,
            min_lr=LOWEST,
            max_lr=HIGHEST,
            num_training=STEPS,
            early_stop_threshold=None,
            update_attr=False,
        )
    smooth = smoothed(losses)
    suggestion = suggest(rates, smooth)
    if trainer.is_global_zero:
        run.mkdir(parents=True, exist_ok=True)
        write_table(run / "lr_find.csv", rates, losses, smooth)
        write_plot(run / "lr_find.png", rates, losses, smooth, suggestion)
    if suggestion is None:
        raise UserError(f"the sweep gave too few finite losses to suggest a learning rate: see {run / 'lr_find.csv'}")
    if trainer.is_global_zero:
        print(f"suggested learning rate: {suggestion:.3g}, where the loss falls fastest")
        print(f"train with it:           --model.learning_rate={suggestion:.3g}")
        print(f"curve:                   {run / 'lr_find.png'}")
    return suggestion


def _freeze(trainer: Trainer, module: YOLOModule) -> None:
    Freezer(select_parts(module.model, module.options)).hold(trainer, True)


def smoothed(losses: list[float]) -> list[float]:
    """Each loss averaged with its neighbours on both sides; losses that are not finite do not count.

    Lightning's own curve is a running average of what came before: it trails the rate by dozens of updates, a decade
    and more, and so does what it suggests.
    """
    values = np.asarray(losses, np.float64)
    finite = np.isfinite(values)
    distance = np.arange(len(values))[:, None] - np.arange(len(values))
    weights = np.exp(-0.5 * (distance / SMOOTHING) ** 2) * finite
    with np.errstate(invalid="ignore"):  # nothing finite at all: nan
        averages = weights @ np.where(finite, values, 0.0) / weights.sum(axis=1)
    return np.where(finite, averages, np.nan).tolist()


def suggest(rates: list[float], losses: list[float]) -> float | None:
    """The rate at which smooth losses fall fastest over the logarithm of the rate; None with too few finite losses.

    Only what comes before a loss of DIVERGED times the lowest so far counts: one that has exploded falls fast, too.
    """
    points = [(math.log(rate), loss) for rate, loss in zip(rates, losses, strict=True) if math.isfinite(loss)]
    if len(points) < 2 * SMOOTHING:
        return None
    logs, values = np.array(points).T
    diverged = values > DIVERGED * np.minimum.accumulate(values)
    end = max(int(diverged.argmax()), 2) if diverged.any() else len(values)
    logs, values = logs[:end], values[:end]
    return math.exp(logs[np.gradient(values, logs).argmin()])


def write_table(path: Path, rates: list[float], losses: list[float], smooth: list[float]) -> None:
    """Write loss and smoothed loss at each rate as CSV."""
    with whole_file(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["learning_rate", "loss", "smoothed_loss"])
        writer.writerows(zip(rates, losses, smooth, strict=True))


def write_plot(
    path: Path, rates: list[float], losses: list[float], smooth: list[float], suggestion: float | None
) -> None:
    """Draw the losses over the rate, with the suggestion marked, as PNG."""
    from matplotlib.figure import Figure  # a figure of its own: no pyplot, no display, no global state

    axes = Figure(figsize=(7, 4.5), layout="constrained").subplots()
    axes.plot(rates, losses, ".", color="silver", label="batch")
    axes.plot(rates, smooth, label="smoothed")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    if suggestion is not None:
        axes.axvline(suggestion, color="tab:red", linestyle="--", label=f"suggestion {suggestion:.3g}")
    axes.legend()
    axes.grid(alpha=0.3)
    with whole_file(path) as partial:
        cast(Figure, axes.figure).savefig(partial, format="png", dpi=120)
