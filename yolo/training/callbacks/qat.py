"""Quantisation-aware training: ranges from calibration images at the start of the first epochs, held from then on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from yolo.errors import UserError
from yolo.lightning_output import print_line
from yolo.losses.distillation import Distillation
from yolo.models.checkpoint import CARD_KEY, ModelCard, load_model, read_checkpoint
from yolo.quantization import QUANTIZED_NETWORK, is_quantized
from yolo.quantization.calibration import FEW, Calibration, folder_images, training_images
from yolo.training.module import require_same_data

if TYPE_CHECKING:
    from yolo.data.datamodule import YOLODataModule
    from yolo.training.module import YOLOModule


class QATCallback(Callback):
    """For a `YOLOModule` whose network is a `QuantizedNetwork`; `yolo qat-finetune` lists it in the config of its run.

    As the weights move, so must the ranges. They are found anew in the same images before each of the first epochs;
    which these are follows from the number of the epoch alone, so a resumed run needs no state. Moving averages over
    the batches of training were tried: an average of their extremes leaves out what few images have (a v9-t of bccd
    lost 0.024 of AP50-95 in 5 epochs and got it back from a calibration), and one that widens at once stays as wide as
    the oddest augmented image made it (0.013).

    Args:
        freeze_after: epochs that begin with new ranges; those of the last of them are held. At least the first does.
        calibration_images: folder of images that the ranges come from; null for training images of the dataset.
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

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the ranges, unless the run goes on from a checkpoint, which has them; read the teacher."""
        module = cast("YOLOModule", pl_module)
        if self.distill:
            assert self.teacher is not None
            module.distillation = Distillation.from_network(load_model(self.teacher)[0], self.distill)
        if trainer.ckpt_path is None:
            self._calibrate(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the ranges anew; Lightning leaves this out when it resumes in mid-epoch, and so it must be."""
        if 0 < trainer.current_epoch < self.freeze_after:
            self._calibrate(trainer, pl_module)

    def _calibrate(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = cast("YOLOModule", pl_module)
        assert is_quantized(module.model), "setup sees to it"
        images = self._calibration(trainer.datamodule, module)  # type: ignore[attr-defined]
        if trainer.current_epoch == 0:
            few = f", fewer than the {FEW} advised" if len(images) < FEW else ""
            print_line(trainer, f"ranges from {images.source}{few}")
        module.model.calibrate(images)

    def _calibration(self, data: YOLODataModule, module: YOLOModule) -> Calibration:
        size, letterbox = module.image_size, data.options.letterbox
        if self.calibration_images is None:
            return training_images(data, self.num_calibration, size, letterbox)
        folder = Path(self.calibration_images)
        readers = folder_images(folder, self.num_calibration, size, letterbox, "--calibration-images")
        return Calibration(f"{len(readers)} images of {folder}", readers)
