"""The LightningModule: one detector, its loss, its schedule and its validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from yolo.boxes.nms import NMSOptions
from yolo.data.batch import Batch
from yolo.data.datamodule import YOLODataModule
from yolo.errors import UserError, require_ranges
from yolo.evaluation.evaluator import Evaluator, Metrics
from yolo.inference import detect, lay_out, to_network_input
from yolo.losses.detection import DetectionLoss, LossOptions, LossResult, ReduceSum
from yolo.models.checkpoint import CARD_KEY, ModelCard, NetworkSpec, load_model
from yolo.size import as_size
from yolo.training.compiled import CompiledForward
from yolo.training.evidence import StepTrace
from yolo.training.optim import OptimizerOptions, apply_rates, build_optimizer
from yolo.training.schedule import Schedule, ScheduleOptions


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


_POSITIVE = (1e-12, float("inf"))
_NOT_NEGATIVE = (0, float("inf"))
_RANGES: dict[str, tuple[float, float]] = {
    "learning_rate": _POSITIVE,
    "backbone_lr_scale": _NOT_NEGATIVE,
    "head_lr_scale": _NOT_NEGATIVE,
    "momentum": (0, 1),
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
    "nms_conf_threshold": (0, 1),
    "nms_val_conf_threshold": (0, 1),
    "nms_iou_threshold": (0, 1),
    "nms_max_detections": (1, float("inf")),
    "conf_prod": (0, 1),
}


@dataclass(frozen=True)
class ModuleOptions(LossOptions, OptimizerOptions, ScheduleOptions, ThresholdOptions):
    """Every training option of the model section."""

    channels_last: bool = True
    """Memory layout of weights and activations that convolutions are fastest in, on CPUs and on tensor cores."""
    compile: bool = False
    """Run the training forward pass through torch.compile; where that fails, warn and train without."""

    def __post_init__(self) -> None:
        require_ranges(self, _RANGES, "model.")


class YOLOModule(LightningModule):
    """A detector in training.

    The network is built when the data is known, so that the number of classes need not be written twice.

    Args:
        model_config: network: v9-t, v9-s, v9-m, v9-c, v9-e, or the import path of a DetectionModel subclass.
        class_width: hidden width of the class branch; null takes the published one.
        network_args: constructor options of a network given by import path.
        num_classes: number of classes; null takes it from the dataset, a number must agree with it.
        class_names: names to show instead of the dataset's, in the same order.
        image_size: input size in pixels, one number or height and width, multiples of 32.
        kwargs: fields of ModuleOptions.
    """

    def __init__(
        self,
        model_config: str = "v9-c",
        class_width: int | None = None,
        network_args: dict[str, Any] | None = None,
        num_classes: int | None = None,
        class_names: list[str] | None = None,
        image_size: int | tuple[int, int] = (640, 640),
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.options = ModuleOptions(**kwargs)
        self.network = NetworkSpec(model_config, class_width, dict(network_args or {}))
        self.num_classes = num_classes
        self.class_names = class_names
        self.image_size = as_size(image_size)
        self.loss = DetectionLoss(self.options)
        self.compiled = CompiledForward() if self.options.compile else None
        self.trace = StepTrace(_mean_over_ranks)
        self.card: ModelCard | None = None
        self.metrics: Metrics | None = None
        self._evaluator: Evaluator | None = None
        self.network.constructor()  # a wrong name fails here, before any data is read

    @classmethod
    def from_checkpoint(cls, path: str | Path, **overrides: Any) -> YOLOModule:
        """The module of a checkpoint, with the weights that validation measured and options replaced by `overrides`."""
        model, card = load_model(path)
        module = cls(
            model_config=card.network.name,
            class_width=card.network.class_width,
            network_args=card.network.args,
            **{"image_size": card.image_size, **card.config["model"], **overrides},
        )
        module.model, module.card = model, card
        return module

    def configure_model(self) -> None:
        """Build the network for the classes of the dataset, laid out for the convolutions."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if self.card is None:
            self.card = self._make_card(data)
            self.model = self.network.build(len(self.card.class_names))
        if self.card.letterbox != data.options.letterbox:
            raise UserError(
                f"data.letterbox is {data.options.letterbox!r}, the checkpoint was trained with {self.card.letterbox!r}"
            )
        if self.card.dataset_names != tuple(data.class_names):
            raise UserError(_differ("dataset", data.class_names, "checkpoint", self.card.dataset_names))
        lay_out(self.model, self.options.channels_last)

    def _make_card(self, data: YOLODataModule) -> ModelCard:
        if self.num_classes not in (None, len(data.class_names)):
            raise UserError(
                f"--model.num_classes is {self.num_classes}, but the dataset has {len(data.class_names)} classes: "
                f"{', '.join(data.class_names[:10])}"
            )
        names = tuple(self.class_names or data.class_names)
        if len(names) != len(data.class_names):
            raise UserError(f"--model.class_names has {len(names)} names, the dataset {len(data.class_names)} classes")
        return ModelCard(
            network=self.network,
            class_names=names,
            dataset_names=tuple(data.class_names),
            category_ids=tuple(data.category_ids),
            image_size=self.image_size,
            letterbox=data.options.letterbox,
            config={
                "model": asdict(self.options),
                "data": asdict(data.options),
                "trainer": {"precision": str(self.trainer.precision), "image_loader": _class_path(data.image_loader)},
            },
        )

    def on_fit_start(self) -> None:
        """Fix the schedule."""
        self.schedule = self._build_schedule()

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of one batch, scaled by its size."""
        self.trace = StepTrace(_mean_over_ranks)
        result = self.compute_loss(batch.images, batch.targets, self.trace.reduce_sum)
        self.trace.keep(result)
        for name, value in result.parts.items():
            self.log(f"train/{name}", value, on_step=False, on_epoch=True, batch_size=len(batch.records))
        return result.total * _world_size()

    def compute_loss(self, images: Tensor, targets: Tensor, reduce_sum: ReduceSum | None) -> LossResult:
        """Loss of uint8 images `[B, 3, H, W]` against targets `[M, 6]`; `reduce_sum` as in `DetectionLoss`."""
        inputs = to_network_input(images, self.options.channels_last)
        branches = self.compiled(self.model, inputs) if self.compiled else self.model(inputs)
        return self.loss(branches, targets, self.model.strides, self.model.bins, reduce_sum=reduce_sum)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Set the rates of this step; log the rate of the weights."""
        rates = self.schedule(self.trainer.global_step)
        apply_rates(optimizer, rates)
        self.log("train/lr", rates.lr)

    def configure_optimizers(self) -> Optimizer:
        """The optimiser; its rates are set by the schedule at every step."""
        # A fused optimiser would unscale gradients itself, which clipping in mixed precision must do before it.
        return build_optimizer(self.model, self.options, fused=str(self.trainer.precision).startswith("32"))

    def on_validation_epoch_start(self) -> None:
        """Start an empty evaluation."""
        assert self.card is not None
        self._evaluator = Evaluator(self.card.category_ids, self.options.conf_prod)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Detect and hand the detections, in original pixels, to the evaluator."""
        assert self._evaluator is not None
        assert self.card is not None
        detections = detect(self.model, batch.images, [r.size for r in batch.records], self.nms, self.card.letterbox)
        self._evaluator.update(batch.records, detections)

    def on_validation_epoch_end(self) -> None:
        """Merge over the ranks, evaluate, log."""
        assert self._evaluator is not None
        self.metrics = self._evaluator.compute()
        # Every rank has computed the same merged numbers, there is nothing left to reduce.
        self.log_dict({f"val/{name}": value for name, value in self.metrics.as_dict().items()}, rank_zero_only=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint say what it is."""
        assert self.card is not None
        checkpoint[CARD_KEY] = self.card.to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume from a checkpoint of another network or of other classes."""
        assert self.card is not None
        stored = ModelCard.from_dict(checkpoint[CARD_KEY])
        optimizer = stored.config["model"]["optimizer"]
        if optimizer != self.options.optimizer:
            raise UserError(
                f"the checkpoint was trained with {optimizer}, --model.optimizer is {self.options.optimizer}"
            )
        if stored.network != self.network:
            raise UserError(f"the checkpoint holds the network {stored.network}, the run is for {self.network}")
        if stored.dataset_names != self.card.dataset_names:
            raise UserError(_differ("dataset", self.card.dataset_names, "checkpoint", stored.dataset_names))

    @property
    def nms(self) -> NMSOptions:
        """How validation turns scores into detections."""
        options = self.options
        return NMSOptions(options.nms_val_conf_threshold, options.nms_iou_threshold, options.nms_max_detections)

    def _build_schedule(self) -> Schedule:
        epochs = self.trainer.max_epochs
        if not epochs or epochs < 1:
            raise UserError(f"--trainer.max_epochs is {epochs}, the schedule needs a number of epochs of at least 1")
        total = int(self.trainer.estimated_stepping_batches)  # knows of max_steps; sets the number of batches
        per_epoch = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        return Schedule(self.options, self.options.learning_rate, self.options.momentum, max(per_epoch, 1), total)


def _differ(one: str, names: Sequence[str], other: str, other_names: Sequence[str]) -> str:
    return (
        f"the {one} has {len(names)} classes ({', '.join(names[:5])}, ...), "
        f"the {other} {len(other_names)} ({', '.join(other_names[:5])}, ...); they must be the same in the same order"
    )


def _class_path(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _mean_over_ranks(value: Tensor) -> Tensor:
    """Average over all processes, so that every rank divides by its share of the global sum."""
    if _world_size() == 1:
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / _world_size()
