"""The dashboard after each validation of a training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from yolo.errors import UserError
from yolo.evaluation.dashboard import SHOWN_EVALUATIONS, DashboardContext, print_dashboard, trend_figures
from yolo.evaluation.evaluator import Metrics
from yolo.evaluation.sparkline import is_defined
from yolo.lightning_output import console_of
from yolo.training.callbacks.checkpoint import best_checkpoint
from yolo.training.module import YOLOModule


class EvalDashboardCallback(Callback):
    """Prints the dashboard of each validated epoch; what it compares with is kept in the checkpoints.

    Args:
        conf_prod: confidence of the operating point; null for model.conf_prod.
        show_trends: show how the metrics went over the last ten evaluations.
        top_n_classes: classes in each list of the best and the worst.
    """

    def __init__(self, conf_prod: float | None = None, show_trends: bool = True, top_n_classes: int = 3) -> None:
        if conf_prod is not None and not 0 <= conf_prod <= 1:
            raise UserError(f"EvalDashboardCallback: conf_prod is {conf_prod}, expected a value between 0 and 1")
        if top_n_classes < 1:
            raise UserError(f"EvalDashboardCallback: top_n_classes is {top_n_classes}, expected at least 1")
        self.conf_prod = conf_prod
        self.show_trends = show_trends
        self.top_n_classes = top_n_classes
        self.history: list[dict[str, float]] = []
        """`trend_figures` of the last ten evaluations. Kept by the first process, which alone writes checkpoints."""
        self.best: float | None = None
        """The highest AP50-95 so far."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print, on one process."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        module = cast(YOLOModule, pl_module)
        assert module.metrics is not None
        assert module.card is not None
        self._learn_of_the_best(trainer)
        analysis = self._at_confidence(module.metrics).analysis
        self.history = [*self.history, trend_figures(analysis)][-SHOWN_EVALUATIONS:]
        context = DashboardContext(
            epoch=trainer.current_epoch + 1,
            max_epochs=trainer.max_epochs,
            image_size=module.card.image_size,
            iou=module.options.nms_iou_threshold,
            max_detections=module.options.nms_max_detections,
            best_before=self.best,
            history=self.history if self.show_trends else (),
            top_n=self.top_n_classes,
        )
        ap = analysis.summary["AP"]
        if is_defined(ap):
            self.best = ap if self.best is None else max(ap, self.best)
        print_dashboard(console_of(trainer), analysis, context)

    def _learn_of_the_best(self, trainer: Trainer) -> None:
        """From the ranking of the checkpoints, when the run before did without this callback."""
        checkpoint = best_checkpoint(trainer)
        known = checkpoint.best_metrics.get("val/mAP") if checkpoint else None
        if self.best is None and known is not None and is_defined(known):
            self.best = known

    def _at_confidence(self, metrics: Metrics) -> Metrics:
        if self.conf_prod in (None, metrics.confidence):
            return metrics
        return replace(metrics, confidence=self.conf_prod)

    def state_dict(self) -> dict[str, Any]:
        """What the next evaluations are compared with."""
        return {"history": self.history, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint's history."""
        self.history, self.best = [dict(entry) for entry in state_dict["history"]], state_dict["best"]
