"""The evaluation of the best epoch, for a run that goes on from another one and finds nothing better."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from yolo.data.batch import Batch
from yolo.evaluation.evaluator import Evaluator, Metrics
from yolo.inference import detect, lay_out
from yolo.lightning_output import print_line
from yolo.models.checkpoint import load_model
from yolo.training.callbacks.checkpoint import best_checkpoint
from yolo.training.callbacks.plots import draw_epoch
from yolo.training.module import YOLOModule
from yolo.training.options import PlotOptions


class BestEvaluation(Callback):
    """Validates `best.ckpt` at the end of a run that has not validated the best epoch itself, and draws its plots.

    It happens once the last checkpoint is written, on a network of its own: nothing of the training changes.
    """

    def __init__(self, options: PlotOptions) -> None:
        self.options = options

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the evaluation with BestCheckpoint; all processes take part."""
        checkpoint = best_checkpoint(trainer)
        if checkpoint is None or not checkpoint.best_epoch or checkpoint.best_seen or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        best: Path | None = trainer.strategy.broadcast(checkpoint.best_path)
        if best is None:  # removed meanwhile
            return
        print_line(trainer, f"epoch {checkpoint.best_epoch}, of the run before, is still the best: validating it")
        metrics = evaluate(trainer, cast(YOLOModule, pl_module), best)
        if trainer.is_global_zero:
            checkpoint.best_evaluation = metrics
        draw_epoch(trainer, metrics, checkpoint.best_epoch, self.options)


def evaluate(trainer: Trainer, module: YOLOModule, path: Path) -> Metrics:
    """What the validation of a run would say of a checkpoint; every process takes its share of the images."""
    model, card = load_model(path)
    model = model.to(module.device)
    lay_out(model, module.options.channels_last)
    data = cast(Any, trainer).datamodule
    evaluator = Evaluator(data.category_ids, card.class_names, module.options.conf_prod)
    trainer.fit_loop.epoch_loop.val_loop.setup_data()  # of a run too short for a validation
    loader, most = cast(Any, trainer).val_dataloaders, int(cast(Any, trainer).num_val_batches[0])
    with torch.inference_mode(), trainer.precision_plugin.val_step_context():
        for each in itertools.islice(loader, most):
            batch: Batch = trainer.strategy.batch_to_device(each, module.device)
            sizes = [record.size for record in batch.records]
            evaluator.update(batch.records, detect(model, batch.images, sizes, module.nms, card.letterbox))
    return evaluator.compute()
