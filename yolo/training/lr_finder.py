"""The learning-rate range test: Lightning's sweep on our module, its curve and what it suggests."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.tuner.tuning import Tuner

from yolo.errors import UserError
from yolo.training.module import YOLOModule
from yolo.training.schedule import Rates

LOWEST, HIGHEST, STEPS = 1e-7, 1.0, 100


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

    def swept(_: int) -> Rates:
        """One rate for all, so that the biases' warm-up does not blur the curve."""
        lr = cast(Any, trainer.lr_scheduler_configs[0].scheduler).lr[0]
        return Rates(lr, lr, module.options.momentum)

    # The module asks its schedule for the rates of each step; the sweep's own would be overwritten.
    cast(Any, module).schedule = swept
    # A small dataset is passed over as often as the sweep needs, without validation in between.
    trainer.fit_loop.max_epochs = -1
    trainer.check_val_every_n_epoch = sys.maxsize
    finder = Tuner(trainer).lr_find(
        module, datamodule=datamodule, min_lr=LOWEST, max_lr=HIGHEST, num_training=STEPS, update_attr=False
    )
    assert finder is not None
    rates, losses = finder.results["lr"], finder.results["loss"]
    suggestion = finder.suggestion()
    run = Path(trainer.log_dir or trainer.default_root_dir)
    if trainer.is_global_zero:
        run.mkdir(parents=True, exist_ok=True)
        write_table(run / "lr_find.csv", rates, losses)
        write_plot(run / "lr_find.png", rates, losses, suggestion)
    if suggestion is None:
        raise UserError(f"the sweep gave too few finite losses to suggest a learning rate: see {run / 'lr_find.csv'}")
    if trainer.is_global_zero:
        print(f"suggested learning rate: {suggestion:.3g}, where the loss falls fastest")
        print(f"train with it:           --model.learning_rate={suggestion:.3g}")
        print(f"curve:                   {run / 'lr_find.png'}")
    return suggestion


def write_table(path: Path, rates: list[float], losses: list[float]) -> None:
    """Write the smoothed loss at each rate as CSV."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["learning_rate", "loss"])
        writer.writerows(zip(rates, losses, strict=True))
    partial.replace(path)


def write_plot(path: Path, rates: list[float], losses: list[float], suggestion: float | None) -> None:
    """Draw the smoothed loss over the rate, with the suggestion marked, as PNG."""
    from matplotlib.figure import Figure  # a figure of its own: no pyplot, no display, no global state

    axes = Figure(figsize=(7, 4.5), layout="constrained").subplots()
    axes.plot(rates, losses)
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss (smoothed)")
    if suggestion is not None:
        axes.axvline(suggestion, color="tab:red", linestyle="--", label=f"suggestion {suggestion:.3g}")
        axes.legend()
    axes.grid(alpha=0.3)
    partial = path.with_name(f"{path.name}.partial")
    cast(Figure, axes.figure).savefig(partial, format="png", dpi=120)
    partial.replace(path)
