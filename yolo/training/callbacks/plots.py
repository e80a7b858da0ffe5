"""Pictures of every validation, in the run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from yolo.errors import UserError
from yolo.evaluation.evaluator import Metrics
from yolo.training.options import PlotOptions


class MetricsPlotsCallback(Callback):
    """Writes the plots of each validated epoch to `metrics/epoch_N`, N counted from 1 as in the printed lines.

    With them go labels.png and worst_images.jpg, unless the images are encrypted where they lie.
    """

    def __init__(self, options: PlotOptions) -> None:
        self.options = options

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make a folder of the user's own now: a wrong one shall not cost an epoch."""
        if self.options.save_metrics_plots and self.options.metrics_plots_dir is not None:
            try:
                Path(self.options.metrics_plots_dir).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"--model.metrics_plots_dir: {error}") from error

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, on one process."""
        if not trainer.sanity_checking:
            draw_epoch(trainer, cast(Any, pl_module).metrics, trainer.current_epoch + 1, self.options)


def draw_epoch(trainer: Trainer, metrics: Metrics, epoch: int, options: PlotOptions) -> None:
    """Write the plots of one epoch's evaluation, on one process; all of them must call it."""
    if not options.save_metrics_plots or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return
    run = trainer.log_dir if trainer.loggers else None  # the processes agree on it, so all of them must ask
    folder = options.metrics_plots_dir or (run and Path(run) / "metrics")
    if folder is None or not trainer.is_global_zero:
        return
    from yolo.evaluation.plots import save_plots
    from yolo.evaluation.sheet import save_sheet

    target = Path(folder) / f"epoch_{epoch}"
    pixels = cast(Any, trainer).datamodule.shown_pixels("val")
    save_plots(metrics.analysis, target, None if pixels is None else metrics.evaluation.ground_truth)
    if pixels is not None:
        save_sheet(metrics, pixels, target / "worst_images.jpg")
