"""The images that `yolo export` calibrates INT8 files with: a folder's, or training images of a dataset."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from yolo.boxes.letterbox import Letterbox, LetterboxMode
from yolo.commands.predict_sources import list_images, readable_suffixes
from yolo.data.dataset import DetectionDataset
from yolo.data.encrypted_loader import EncryptedImageLoader
from yolo.data.loaders import Image, ImageLoader, load_image
from yolo.errors import UserError
from yolo.export.calibration import FEW, Calibration, choose_spread
from yolo.export.parity import spread
from yolo.models.checkpoint import ModelCard

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
    if options.config.numbers != "int8":
        return None
    number = options.num_calibration or NUMBER
    if options.calibration_images is not None:
        readers = folder_readers(options.calibration_images, number, size, card.letterbox, "--calibration-images")
        calibration = Calibration("images of --calibration-images", readers)
    elif measured is not None:
        calibration = _training_images(measured, number, size, card.letterbox)
    else:
        raise UserError(
            "--quantization int8 takes images to calibrate with: --calibration-images FOLDER, or the training images "
            "of a dataset, named by --config or by --data.root and --data.format"
        )
    if len(calibration) < FEW:
        logger.warning("the file is calibrated with %d images, fewer than the %d advised", len(calibration), FEW)
    return calibration


def folder_readers(
    folder: Path, number: int, size: tuple[int, int], letterbox: LetterboxMode, flag: str
) -> list[Callable[[], Image]]:
    """Readers of at most `number` images of a folder, evenly spread, each letterboxed to uint8 [H, W, 3] RGB.

    UserError, which names the flag, when there are none; a reader raises one when its image cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"{flag} is {folder}, which is no folder")
    loader = EncryptedImageLoader()
    paths = spread(list_images(folder, readable_suffixes()), number)
    return [partial(_read, loader, path, size, letterbox) for path in paths]


def _read(loader: ImageLoader, path: Path, size: tuple[int, int], letterbox: LetterboxMode) -> Image:
    image = load_image(loader, path)
    return Letterbox(image.shape[:2], size, letterbox).apply(image)


def _training_images(
    measured: Measurement, number: int, size: tuple[int, int], letterbox: LetterboxMode
) -> Calibration:
    """At most `number` training images, spread over the classes, as training reads them."""
    datamodule = measured.datamodule
    datamodule.setup("train")
    assert datamodule.train is not None
    records = datamodule.train.images
    seen = DetectionDataset(records, datamodule.pixels("train"), size, letterbox)
    chosen = choose_spread([record.objects[1] for record in records], number)
    source = f"{len(chosen)} of {len(records)} training images"
    return Calibration(source, [partial(_letterboxed, seen, position) for position in chosen])


def _letterboxed(seen: DetectionDataset, position: int) -> Image:
    return seen[position].image
