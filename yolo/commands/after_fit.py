"""What a training shows and leaves when it is over."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Trainer
from rich.console import Console

from yolo.commands.outcome import Outcome, write_page
from yolo.data.datamodule import YOLODataModule
from yolo.detector import Detector
from yolo.evaluation.dashboard import DashboardContext, print_dashboard
from yolo.evaluation.draw import contact_sheet, save_jpeg
from yolo.training.callbacks import BestCheckpoint
from yolo.training.module import YOLOModule

SHEET_IMAGES = 16


def show_run(trainer: Trainer, module: YOLOModule, data: YOLODataModule) -> None:
    """Print the dashboard of the best epoch, write its report and a sheet of detections, and say where everything is.

    A resumed run that found nothing better than the run before has no evaluation of its best epoch to show.
    """
    checkpoint = next((c for c in trainer.checkpoint_callbacks if isinstance(c, BestCheckpoint)), None)
    best = checkpoint.best_path if checkpoint else None
    folder = trainer.log_dir  # the processes agree on it, so all of them must ask
    if not trainer.is_global_zero or checkpoint is None or best is None:
        return
    console = Console(highlight=False, soft_wrap=True, markup=False)
    run = Path(folder or best.parent)
    left = {"checkpoint": best, "metrics": run / "metrics.csv"}
    if checkpoint.best_evaluation is not None:
        outcome = _outcome(trainer, module, data, checkpoint, run)
        console.print(outcome.title, style="bold")
        print_dashboard(console, outcome.metrics.analysis, outcome.context)
        left["report"] = write_page(outcome, run / "report.html")
    console.print(f"best epoch: {checkpoint.best_epoch}  {_in_a_line(checkpoint.best_metrics)}")
    if data.confidential:
        console.print("pictures:   none, since the images are encrypted")
    else:
        left["pictures"] = run / "predictions.jpg"
        write_sheet(Detector.load(best, device=module.device), data, left["pictures"])
    for label, path in left.items():
        if path.is_file():
            console.print(f"{label + ':':<12}{path}")


def _outcome(
    trainer: Trainer, module: YOLOModule, data: YOLODataModule, checkpoint: BestCheckpoint, run: Path
) -> Outcome:
    assert checkpoint.best_evaluation is not None
    nms, file = module.nms, run / "metrics.csv"
    with file.open(newline="") as rows:
        training = list(csv.DictReader(rows))
    where = "the embedded dataset" if data.options.format == "shapes" else data.options.root
    return Outcome(
        title=f"{run.parent.name} {run.name}: epoch {checkpoint.best_epoch} of {trainer.current_epoch} on {where}",
        metrics=checkpoint.best_evaluation,
        context=DashboardContext(image_size=module.image_size, iou=nms.iou, max_detections=nms.max_detections),
        settings={
            "network": module.network.name,
            "image_size": "x".join(map(str, module.image_size)),
            "confidence": nms.confidence,
            "iou": nms.iou,
            "max_detections": nms.max_detections,
            "precision": str(trainer.precision),
        },
        pixels=data.shown_pixels("val"),
        device=str(trainer.strategy.root_device),
        seed=data.seed,
        training=cast(Any, training),
    )


def _in_a_line(metrics: Mapping[str, float]) -> str:
    """The metrics of an epoch with six decimals, without the losses."""
    return "  ".join(f"{n.removeprefix('val/')} {v:.6f}" for n, v in metrics.items() if n.startswith("val/"))


def write_sheet(detector: Detector, data: YOLODataModule, target: Path) -> None:
    """Draw the detections of the first validation images into one picture."""
    assert data.val is not None
    pixels = data.pixels("val")
    images = [pixels(index) for index in range(min(SHEET_IMAGES, len(data.val.images)))]
    save_jpeg(contact_sheet([found.plot() for found in detector.predict(images)], columns=4, tile=320), target)
