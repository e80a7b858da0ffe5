"""Which images `yolo export` calibrates INT8 files with."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from yolo.errors import UserError
from yolo.models.checkpoint import ModelCard
from yolo.quantization import QUANTIZED_NETWORK
from yolo.quantization.calibration import FEW, Calibration, folder_images, training_images

if TYPE_CHECKING:
    from yolo.commands.export import ExportOptions
    from yolo.commands.measurement import Measurement

logger = logging.getLogger(__name__)

NUMBER = 1024
"""At most as many images are used unless another number is asked for."""


def calibration_of(
    options: ExportOptions, size: tuple[int, int], card: ModelCard, measured: Measurement | None
) -> Calibration | None:
    """The images of an INT8 file, none of them read yet; None for other files.

    Args:
        options: of the command.
        size: (height, width) of the network's input.
        card: of the checkpoint.
        measured: the dataset, if one is given.

    Raises:
        UserError: there are none.
    """
    if options.config.numbers != "int8" or card.network.name == QUANTIZED_NETWORK:
        return None
    number = options.num_calibration or NUMBER
    if options.calibration_images is not None:
        readers = folder_images(options.calibration_images, number, size, card.letterbox, "--calibration-images")
        calibration = Calibration("images of --calibration-images", readers)
    elif measured is not None:
        calibration = training_images(measured.datamodule, number, size, card.letterbox)
    else:
        raise UserError(
            "--quantization int8 takes images to calibrate with: --calibration-images FOLDER, or the training images "
            "of a dataset, named by --config or by --data.root and --data.format"
        )
    if len(calibration) < FEW:
        logger.warning("the file is calibrated with %d images, fewer than the %d advised", len(calibration), FEW)
    return calibration
