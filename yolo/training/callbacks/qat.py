"""Quantisation-aware training: ranges from calibration images before the first epoch, held after some epochs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from yolo.errors import UserError
from yolo.losses.distillation import Distillation
from yolo.models.checkpoint import CARD_KEY, ModelCard, load_model, read_checkpoint
from yolo.quantization import QUANTIZED_NETWORK, is_quantized
from yolo.quantization.calibration import Calibration, folder_images, training_images
from yolo.training.module import require_same_data

if TYPE_CHECKING:
    from yolo.data.datamodule import YOLODataModule
    from yolo.quantization.network import QuantizedNetwork
    from yolo.training.module import YOLOModule


class QATCallback(Callback):
    """For a `YOLOModule` whose network is a `QuantizedNetwork`; `yolo qat-finetune` lists it in the config of its run.

    Which epochs move the ranges follows from the number of the epoch alone, so a resumed run needs no state.

    Args:
        freeze_after: epochs after which the ranges are held.
        calibration_images: folder of images that the ranges start from; null for training images of the dataset.
        num_calibration: at most as many are used.
        distill: weight of the loss that holds the network to `teacher`; 0 for none.
        teacher: checkpoint of the network in float.
    """

    def __init__(
        self,
        freeze_after: int = 5,
        calibration_images: str | None = None,
        num_calibration: int = 256,
        distill: float = 0.0,
        teacher: str | None = None,
    ) -> None:
        if distill and teacher is None:
            raise UserError("QATCallback distils from a teacher, but has none")
        self.freeze_after = freeze_after
        self.calibration_images = calibration_images
        self.num_calibration = num_calibration
        self.distill = distill
        self.teacher = teacher

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what cannot be trained so, before the network is built."""
        module, data = cast("YOLOModule", pl_module), cast("YOLODataModule", trainer.datamodule)  # type: ignore[attr-defined]
        if module.network.name != QUANTIZED_NETWORK:
            raise UserError(
                f"QATCallback trains quantised networks, --model.model_config is {module.network.name}: see "
                "yolo qat-finetune"
            )
        if str(trainer.precision) != "32-true":
            raise UserError(
                f"--trainer.precision is {trainer.precision}, but INT8 is simulated in 32-true: numbers of 16 bits "
                "round its levels once more"
            )
        if isinstance(module.weight_path, str):
            contents = read_checkpoint(module.weight_path)
            require_same_data(ModelCard.from_dict(contents[CARD_KEY]), data)
        if trainer.ckpt_path is None and self.calibration_images is not None:
            self._calibration(data, module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the ranges, unless the run goes on from a checkpoint, which has them; read the teacher."""
        model, module = _network(pl_module), cast("YOLOModule", pl_module)
        if self.distill:
            assert self.teacher is not None
            module.distillation = Distillation.from_network(load_model(self.teacher)[0], self.distill)
        if trainer.ckpt_path is None:
            model.calibrate(self._calibration(trainer.datamodule, module))  # type: ignore[attr-defined]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hold the ranges when a resumed run is that far, in mid-epoch too."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hold the ranges from the epoch on that was asked for."""
        _network(pl_module).frozen = trainer.current_epoch >= self.freeze_after

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Let several processes have one set of ranges, that of all their images."""
        model = _network(pl_module)
        if not model.frozen:
            model.share_ranges()

    def _calibration(self, data: YOLODataModule, module: YOLOModule) -> Calibration:
        size, letterbox = module.image_size, data.options.letterbox
        if self.calibration_images is None:
            return training_images(data, self.num_calibration, size, letterbox)
        folder = Path(self.calibration_images)
        readers = folder_images(folder, self.num_calibration, size, letterbox, "--calibration-images")
        return Calibration(f"images of {folder}", readers)


def _network(pl_module: LightningModule) -> QuantizedNetwork:
    assert is_quantized(pl_module.model), "setup sees to it"
    return pl_module.model
