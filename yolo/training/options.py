"""Every option of `--model.*` that is no argument of the module itself."""

from __future__ import annotations

from dataclasses import dataclass

from yolo.errors import UserError, require_ranges
from yolo.losses.detection import LossOptions
from yolo.training.optim import OptimizerOptions
from yolo.training.schedule import ScheduleOptions


@dataclass(frozen=True)
class ThresholdOptions:
    """What counts as a detection."""

    nms_conf_threshold: float = 0.25
    """Lowest score of a detection when the checkpoint is used for predicting."""
    nms_val_conf_threshold: float = 0.001
    """Lowest score of a detection that enters the metrics."""
    nms_iou_threshold: float = 0.65
    """Boxes of one class overlapping more than this are duplicates."""
    nms_max_detections: int = 300
    """Most detections per image."""
    conf_prod: float = 0.25
    """Confidence at which precision, recall and F1 are reported."""


@dataclass(frozen=True)
class FreezeOptions:
    """What does not train, and for how long."""

    freeze_backbone: bool = False
    """Keep the backbone as it is: weights and BN statistics."""
    freeze_until_epoch: int = 0
    """Number of epochs after which what is frozen trains too; 0: never."""
    freeze_layers: list[str] | None = None
    """Further parts to freeze: module names, or patterns of them such as `top_down.*`; a match means all under it."""


@dataclass(frozen=True)
class PlotOptions:
    """Pictures of the metrics."""

    save_metrics_plots: bool = True
    """Draw curves, confusion matrix, reliability, label statistics and the worst images at every validation."""
    metrics_plots_dir: str | None = None
    """Folder of the pictures, in which each epoch gets a folder `epoch_N`; `metrics` in the run's folder when null."""


_POSITIVE = (1e-12, float("inf"))
_NOT_NEGATIVE = (0, float("inf"))
_RANGES: dict[str, tuple[float, float]] = {
    "learning_rate": _POSITIVE,
    "backbone_lr_scale": _NOT_NEGATIVE,
    "head_lr_scale": _NOT_NEGATIVE,
    "momentum": (0, 0.9999),
    "weight_decay": _NOT_NEGATIVE,
    "lion_smoothness": _POSITIVE,
    "lr_min_factor": (0, 1),
    "step_size": (1, float("inf")),
    "step_gamma": (0, 1),
    "one_cycle_pct_start": (0, 0.99),
    "one_cycle_div_factor": _POSITIVE,
    "one_cycle_final_div_factor": _POSITIVE,
    "warmup_epochs": _NOT_NEGATIVE,
    "warmup_momentum": (0, 1),
    "warmup_bias_lr": _NOT_NEGATIVE,
    "box_loss_weight": _NOT_NEGATIVE,
    "cls_loss_weight": _NOT_NEGATIVE,
    "dfl_loss_weight": _NOT_NEGATIVE,
    "auxiliary_loss_weight": _NOT_NEGATIVE,
    "cls_pos_weight": _POSITIVE,
    "assigner_topk": (1, float("inf")),
    "assigner_radius": _POSITIVE,
    "assigner_lambda": _NOT_NEGATIVE,
    "assigner_topq": (1, float("inf")),
    "freeze_until_epoch": _NOT_NEGATIVE,
    "nms_conf_threshold": (0, 1),
    "nms_val_conf_threshold": (0, 1),
    "nms_iou_threshold": (0, 1),
    "nms_max_detections": (1, float("inf")),
    "conf_prod": (0, 1),
}


@dataclass(frozen=True)
class ModuleOptions(LossOptions, OptimizerOptions, ScheduleOptions, FreezeOptions, ThresholdOptions, PlotOptions):
    """Every training option of the model section."""

    channels_last: bool = True
    """Memory layout of weights and activations that convolutions are fastest in, on CPUs and on tensor cores."""
    compile: bool = False
    """Run the training forward pass through torch.compile; where that fails, warn and train without."""

    def __post_init__(self) -> None:
        require_ranges(self, _RANGES, "model.")
        for name in ("adamw_betas", "lion_betas"):
            if not all(0 <= beta < 1 for beta in getattr(self, name)):
                raise UserError(f"model.{name} is {getattr(self, name)}, expected two values from 0 to below 1")
        if self.freeze_until_epoch and not (self.freeze_backbone or self.freeze_layers):
            raise UserError(
                f"model.freeze_until_epoch is {self.freeze_until_epoch}, but nothing is frozen: see "
                "model.freeze_backbone and model.freeze_layers"
            )
