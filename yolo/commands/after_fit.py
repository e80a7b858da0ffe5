"""What a training shows and leaves when it is over."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Trainer
from rich.console import Console

from yolo.commands.outcome import Outcome, write_page
from yolo.data.datamodule import YOLODataModule
from yolo.detector import Detector
from yolo.evaluation.dashboard import DashboardContext, print_dashboard
from yolo.evaluation.draw import contact_sheet, save_jpeg
from yolo.evaluation.evaluator import Metrics
from yolo.lightning_output import print_items
from yolo.quantization import shown_name
from yolo.training.callbacks.checkpoint import best_checkpoint
from yolo.training.module import YOLOModule

SHEET_IMAGES = 16


Rows = list[dict[str, str]]


def show_run(trainer: Trainer, module: YOLOModule, data: YOLODataModule, rows_before: Rows) -> None:
    """Print the dashboard of the best epoch, write its report and a sheet of detections, and say where everything is.

    `rows_before` are those of metrics.csv of the run that this one goes on from.
    """
    checkpoint = best_checkpoint(trainer)
    best = checkpoint.best_path if checkpoint else None
    folder = trainer.log_dir  # the processes agree on it, so all of them must ask
    if not trainer.is_global_zero or checkpoint is None or best is None:
        return
    console = Console(highlight=False, soft_wrap=True, markup=False)
    run = Path(folder or best.parent)
    left = {"checkpoint": best, "metrics": run / "metrics.csv"}
    if checkpoint.best_evaluation is not None:
        training = join_rows(rows_before, read_rows(run / "metrics.csv"))
        title = f"{run.parent.name} {run.name}: epoch {checkpoint.best_epoch} of {trainer.current_epoch}"
        outcome = _outcome(trainer, module, data, checkpoint.best_evaluation, title, training)
        console.print(outcome.title, style="bold")
        print_dashboard(console, outcome.metrics.analysis, outcome.context)
        left["report"] = write_page(outcome, run / "report.html")
    values = (f"{name.removeprefix('val/')} {value:.6f}" for name, value in checkpoint.best_metrics.items())
    print_items(console, [f"best epoch: {checkpoint.best_epoch}", *values])
    if data.confidential:
        console.print("pictures:   none, since the images are encrypted")
    else:
        left["pictures"] = run / "predictions.jpg"
        write_sheet(Detector.load(best, device=module.device), data, left["pictures"])
    for label, path in left.items():
        if path.is_file():
            console.print(f"{label + ':':<12}{path}")


def read_rows(file: Path) -> Rows:
    """The rows of a metrics.csv; none where there is no such file."""
    if not file.is_file():
        return []
    with file.open(newline="") as rows:
        return list(csv.DictReader(rows))


def join_rows(before: Rows, rows: Rows) -> Rows:
    """The rows of a run behind those of the run it was resumed from, as far as they are of earlier epochs."""
    first = min((int(row["epoch"]) for row in rows), default=None)
    return [row for row in before if first is None or int(row["epoch"]) < first] + rows


def _outcome(
    trainer: Trainer, module: YOLOModule, data: YOLODataModule, metrics: Metrics, title: str, training: Rows
) -> Outcome:
    nms = module.nms
    where = "the embedded dataset" if data.options.format == "shapes" else data.options.root
    return Outcome(
        title=f"{title} on {where}",
        metrics=metrics,
        context=DashboardContext(image_size=module.image_size, iou=nms.iou, max_detections=nms.max_detections),
        settings={
            "network": shown_name(module.network),
            "image_size": list(module.image_size),
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


def write_sheet(detector: Detector, data: YOLODataModule, target: Path) -> None:
    """Draw the detections of the first validation images into one picture."""
    assert data.val is not None
    pixels = data.pixels("val")
    images = [pixels(index) for index in range(min(SHEET_IMAGES, len(data.val.images)))]
    save_jpeg(contact_sheet([found.plot() for found in detector.predict(images)], columns=4, tile=320), target)
