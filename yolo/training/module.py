"""The LightningModule: one detector, its loss, its schedule and its validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from yolo.boxes.nms import NMSOptions
from yolo.data.augment.device_colour import recolour_batch
from yolo.data.batch import Batch
from yolo.data.datamodule import YOLODataModule
from yolo.errors import UserError
from yolo.evaluation.evaluator import Evaluator, Metrics
from yolo.inference import detect, lay_out, to_network_input
from yolo.losses.detection import DetectionLoss, LossResult, ReduceSum
from yolo.losses.distillation import Distillation
from yolo.model_file import open_model, require_size
from yolo.models.checkpoint import CARD_KEY, ModelCard, NetworkSpec
from yolo.quantization import inner_network, told_apart
from yolo.ranks import sum_over_ranks, world_size
from yolo.size import as_size
from yolo.training.compiled import CompiledForward
from yolo.training.distributed import keep_buffers_out_of_forward, share_buffers
from yolo.training.evidence import StepTrace
from yolo.training.loss_meter import LossMeter
from yolo.training.optim import apply_rates, build_optimizer
from yolo.training.options import ModuleOptions
from yolo.training.pretrained import start_network
from yolo.training.schedule import Schedule


class YOLOModule(LightningModule):
    """A detector in training.

    The network is built when the data is known, so that the number of classes need not be written twice.

    Args:
        model_config: network: v9-t, v9-s, v9-m, v9-c, v9-e, or the import path of a DetectionModel subclass.
        class_width: hidden width of the class branch; null takes that of `weight_path`, else the published one.
        network_args: constructor options of a network given by import path.
        weight_path: weights to start from: a file (of this program, safetensors, WongKinYiu/yolov9, WongKinYiu/YOLO),
            true to download the published ones of the network, null for random ones.
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
        weight_path: bool | str | None = None,
        num_classes: int | None = None,
        class_names: list[str] | None = None,
        image_size: int | tuple[int, int] = (640, 640),
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.options = ModuleOptions(**kwargs)
        self.network = NetworkSpec(model_config, class_width, dict(network_args or {}))
        self.weight_path = weight_path
        self.num_classes = num_classes
        self.class_names = class_names
        self.image_size = as_size(image_size)
        self.loss = DetectionLoss(self.options)
        self.losses = LossMeter()
        self.compiled = CompiledForward() if self.options.compile else None
        self.trace = StepTrace(sum_over_ranks)
        self.distillation: Distillation | None = None
        self.card: ModelCard | None = None
        self.metrics: Metrics | None = None
        self._evaluator: Evaluator | None = None
        self.network.constructor()  # a wrong name fails here, before any data is read
        inner = inner_network(self.network)
        if inner is not None:
            inner.constructor()

    @classmethod
    def from_checkpoint(cls, path: str | Path, **overrides: Any) -> YOLOModule:
        """The module of a checkpoint, with the weights that validation measured, or of a file exported from one.

        `overrides` replace options.
        """
        model, card = open_model(path)
        module = cls(
            model_config=card.network.name,
            class_width=card.network.class_width,
            network_args=card.network.args,
            **{"image_size": card.image_size, **card.config["model"], **overrides},
        )
        require_size(model, module.image_size)
        module.model, module.card = model, card
        return module

    def continue_from(self, card: ModelCard) -> None:
        """Prepare for the weights of a checkpoint of this card, which Lightning restores: no other file is needed.

        UserError when the checkpoint is of another network or was trained with another optimizer.
        """
        self.weight_path = None
        if self.network.class_width is None:
            self.network = replace(self.network, class_width=card.network.class_width)
        self._require_same_training(card)

    def _require_same_training(self, stored: ModelCard) -> None:
        if stored.network != self.network:
            theirs, ours = told_apart(stored.network, self.network)
            raise UserError(f"the checkpoint holds the network {theirs}, the run is for {ours}")
        optimizer = stored.config["model"]["optimizer"]
        if optimizer != self.options.optimizer:
            raise UserError(
                f"the checkpoint was trained with {optimizer}, --model.optimizer is {self.options.optimizer}"
            )

    def configure_model(self) -> None:
        """Build the network for the classes of the dataset, laid out for the convolutions."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if self.card is None:
            card = self._make_card(data)
            classes = len(card.class_names)
            self.network, self.model = start_network(self.network, classes, self.weight_path, self.trainer)
            require_size(self.model, self.image_size)
            self.card = replace(card, network=self.network)
        require_same_data(self.card, data)
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
                "data": data.options.public(),
                "trainer": {
                    "precision": str(self.trainer.precision),
                    "image_loader": _class_path(data.image_loader),
                    "max_epochs": self.trainer.max_epochs,
                    "seed": data.seed,
                },
            },
        )

    def on_fit_start(self) -> None:
        """Fix the schedule."""
        self.schedule = self._build_schedule()
        keep_buffers_out_of_forward(cast(nn.Module, self.trainer.strategy.model))

    def on_train_epoch_start(self) -> None:
        """Start from one network on all processes; Lightning leaves this out when it resumes in mid-epoch."""
        share_buffers(self.model)
        self.losses.reset()

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Change the colours that the data left to the device; from here on the pixels are final."""
        if batch.colour_gains is None:
            return batch
        return Batch(recolour_batch(batch.images, batch.colour_gains), batch.targets, batch.records)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of one batch, scaled by its size."""
        self.trace = StepTrace(sum_over_ranks)
        result = self.compute_loss(batch.images, batch.targets, self.trace.reduce_sum, world_size())
        self.trace.keep(result)
        self.losses.update(result.parts, len(batch.records))
        return result.total * world_size()

    def on_train_epoch_end(self) -> None:
        """Log the means of the losses."""
        self.log_dict({f"train/{name}": value for name, value in self.losses.means().items()})

    def compute_loss(
        self, images: Tensor, targets: Tensor, reduce_sum: ReduceSum | None = None, num_processes: int = 1
    ) -> LossResult:
        """Loss of uint8 images `[B, 3, H, W]` against targets `[M, 6]`; the rest as in `DetectionLoss`."""
        inputs = to_network_input(images, self.options.channels_last)
        branches = self.compiled(self.model, inputs) if self.compiled else self.model(inputs)
        result = self.loss(
            branches,
            targets,
            self.model.strides,
            self.model.bins,
            reduce_sum=reduce_sum,
            num_processes=num_processes,
        )
        if self.distillation is not None:
            term = self.distillation(inputs, branches[0]) / num_processes
            result = result.plus("distill", term, len(images))
        return result

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Set the rates of this step; log the rate of the weights."""
        rates = self.schedule(self.trainer.global_step)
        apply_rates(optimizer, rates)
        self.log("train/lr", rates.lr)

    def configure_optimizers(self) -> Optimizer:
        """The optimiser; its rates are set by the schedule at every step."""
        # A fused optimiser would unscale gradients itself, which clipping in mixed precision must do before it.
        optimizer = build_optimizer(self.model, self.options, fused=str(self.trainer.precision).startswith("32"))
        scheduled = ("params", "lr", "momentum")
        self.group_options = [{k: v for k, v in g.items() if k not in scheduled} for g in optimizer.param_groups]
        return optimizer

    def on_validation_start(self) -> None:
        """Measure one network on all processes: callbacks have put the average into it by now."""
        share_buffers(self.model)

    def on_validation_epoch_start(self) -> None:
        """Start an empty evaluation."""
        assert self.card is not None
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        # The ids of this dataset, which results files are compared with, not those of the one it was trained on.
        self._evaluator = Evaluator(data.category_ids, self.card.class_names, self.options.conf_prod)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Detect and hand the detections, in original pixels, to the evaluator."""
        assert self._evaluator is not None
        self._evaluator.update(batch.records, self.detect(batch))

    def detect(self, batch: Batch) -> list[Tensor]:
        """Detections [K, 6] of each image of a batch, in original pixels."""
        assert self.card is not None
        return detect(self.model, batch.images, [r.size for r in batch.records], self.nms, self.card.letterbox)

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
        self._require_same_training(stored)
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


def require_same_data(card: ModelCard, data: YOLODataModule) -> None:
    """UserError unless data that is set up has the classes and the letterbox that a network was trained with."""
    if card.letterbox != data.options.letterbox:
        raise UserError(
            f"data.letterbox is {data.options.letterbox!r}, the checkpoint was trained with {card.letterbox!r}"
        )
    if card.dataset_names != tuple(data.class_names):
        raise UserError(_differ("dataset", data.class_names, "checkpoint", card.dataset_names))


def _differ(one: str, names: Sequence[str], other: str, other_names: Sequence[str]) -> str:
    return (
        f"the {one} has {len(names)} classes ({', '.join(names[:5])}, ...), "
        f"the {other} {len(other_names)} ({', '.join(other_names[:5])}, ...); they must be the same in the same order"
    )


def _class_path(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
