"""What `yolo export` works on: everything that can be wrong about it is found here, before any work."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from yolo.commands.export_calibration import calibration_of
from yolo.commands.measure_options import MeasureOptions
from yolo.commands.measurement import Measurement, prepare
from yolo.commands.picture_output import refuse_dataset_folder
from yolo.data.dataset import DetectionDataset
from yolo.data.loaders import Image
from yolo.errors import UserError
from yolo.export.onnx import GRAPH_OPSET
from yolo.export.parity import random_images
from yolo.export.rknn import INTEGER_ONLY
from yolo.inference import to_network_input
from yolo.model_file import RUNTIMES, require_size
from yolo.models.checkpoint import CARD_KEY, ModelCard, allow_network, load_model, read_checkpoint
from yolo.models.detection_model import DetectionModel
from yolo.models.exportable import with_hardswish
from yolo.quantization import QUANTIZED_NETWORK, inner_network
from yolo.quantization.calibration import Calibration, folder_images, spread
from yolo.runtime.saved_model import GRAPH, RECORD
from yolo.size import size_option

if TYPE_CHECKING:
    from yolo.commands.export import ExportOptions
    from yolo.commands.measuring import Dataset

OURS = {"saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra"}
"""What a SavedModel consists of."""
IMAGES = 16
"""At most as many images are compared."""
RANDOM_IMAGES = 5


@dataclass(frozen=True)
class Job:
    """What is exported, all of it looked at."""

    options: ExportOptions
    model: DetectionModel
    card: ModelCard
    device: str
    image_size: tuple[int, int]
    images: Tensor
    """float32 [N, 3, H, W] in 0..1."""
    source: str
    """Where the images come from."""
    calibration: Calibration | None = None
    calibration_digest: str | None = None
    dataset: Dataset | None = None
    measured: Measurement | None = None
    """The checkpoint on the dataset."""

    @property
    def architecture(self) -> str:
        """Of the network, for people."""
        name = (inner_network(self.card.network) or self.card.network).name
        return f"{name} with HardSwish" if self.options.hardswish else name


def prepare_export(options: ExportOptions, dataset: Dataset | None) -> Job:
    """Everything that the command line asks for. UserError says what is wrong with it."""
    _require_name(options.target, options.kind.suffix)
    if options.max_drop is not None and dataset is None:
        raise UserError("--max-drop takes a dataset to measure on: --config, or --data.root and --data.format")
    if options.hardswish and dataset is None:
        raise UserError(
            "--hardswish changes what the network computes, so it takes a dataset to measure it on: --config, or "
            "--data.root and --data.format"
        )
    size = size_option(options.size) if options.size is not None else None
    options.kind.module.require(options.config)
    device = _device(options)
    _require_writable(options.target, folder=not options.kind.suffix)
    if dataset is not None:
        refuse_dataset_folder(options.target, dataset.options)
    options = _for_network(options)
    allow_network(options.network)
    model, card = load_model(options.checkpoint)
    if options.hardswish:
        model = with_hardswish(model)
    size = size or card.image_size
    require_size(model, size)
    measured = None if dataset is None else _measurement(options, dataset)
    images, source = _images(options.images, size, card, measured)
    calibration = calibration_of(options, size, card, measured)
    digest = calibration.digest() if calibration else None  # reads each of them
    return Job(options, model, card, device, size, images, source, calibration, digest, dataset, measured)


def _for_network(options: ExportOptions) -> ExportOptions:
    """The options with INT8 for a network that has learnt its ranges. UserError for what contradicts that."""
    card = ModelCard.from_dict(read_checkpoint(options.checkpoint)[CARD_KEY])
    if card.network.name == QUANTIZED_NETWORK:
        _require_learnt(options, card)
        return replace(options, quantization="int8")
    if options.format == "onnx" and options.config.numbers == "int8":
        raise UserError("--quantization int8 of ONNX files takes a checkpoint of yolo qat-finetune")
    return options


def _require_learnt(options: ExportOptions, card: ModelCard) -> None:
    """UserError for what contradicts ranges that were learnt."""
    checkpoint, chip = options.checkpoint, options.target_platform
    if options.quantization not in (None, "int8"):
        raise UserError(
            f"--quantization is {options.quantization}, but {checkpoint} was trained by yolo qat-finetune, for int8: "
            "give the checkpoint that it was trained from"
        )
    if "int8" not in options.config.QUANTIZATIONS:
        raise UserError(
            f"{checkpoint} was trained by yolo qat-finetune, for int8, which --format {options.format} does not have: "
            "give the checkpoint that it was trained from"
        )
    if options.calibration_images is not None or options.num_calibration is not None:
        raise UserError(f"{checkpoint} has learnt its ranges: nothing is calibrated, leave those options out")
    if options.opset is not None and options.opset < GRAPH_OPSET:
        raise UserError(f"--opset is {options.opset}, ONNX files of yolo qat-finetune have at least {GRAPH_OPSET}")
    if options.converter == "onnx2tf":
        raise UserError(f"{checkpoint} has learnt its ranges, which --converter onnx2tf drops: leave that option out")
    if options.hardswish:
        raise UserError(f"{checkpoint} has learnt the ranges of the functions that it has: leave --hardswish out")
    if not options.float_edges:
        raise UserError(f"{checkpoint} has learnt what is in 8 bits: leave --no-float-edges out")
    if options.format == "rknn" and chip in INTEGER_ONLY and card.network.args.get("keep_float"):
        raise UserError(f"{checkpoint} has parts in float (--keep-float), but {chip} has INT8 alone")


def _device(options: ExportOptions) -> str:
    """cpu or cuda."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device is cuda, but there is none here")
    if options.half and (options.device == "cpu" or not torch.cuda.is_available()):
        raise UserError("--half makes a file for GPUs and is exported on one, but the device is the CPU")
    return "cuda" if options.half or options.device == "cuda" else "cpu"


def _require_name(target: Path, suffix: str) -> None:
    """UserError when it does not end as the format's files do; folders, of no suffix, must only not end as files do."""
    if suffix and target.suffix.lower() != suffix:
        raise UserError(f"--output is {target}, expected a name that ends in {suffix}")
    if not suffix and (not target.name or target.suffix.lower() in {".ckpt", *RUNTIMES} - {""}):
        raise UserError(f"--output is {target}, expected the name of a folder")


def _replaceable(folder: Path) -> bool:
    """Whether it is empty or was written by `yolo export`."""
    ours = all((folder / name).is_file() for name in (GRAPH, RECORD)) and {p.name for p in folder.iterdir()} <= OURS
    return ours or (folder.is_dir() and not any(folder.iterdir()))


def _require_writable(target: Path, *, folder: bool) -> None:
    """UserError when it cannot be written: known before the work, not after it."""
    if not target.parent.is_dir():
        raise UserError(f"--output is {target}, but there is no folder {target.parent}")
    if target.is_dir() and not folder:
        raise UserError(f"--output is {target}, which is a folder")
    if folder and target.exists() and not _replaceable(target):
        raise UserError(f"--output is {target}, which exists and is no SavedModel of `yolo export`")
    record = target.with_name(f"{target.name}.json")
    if record.is_dir():
        raise UserError(f"--output is {target}, whose record would be {record}, which is a folder")
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise UserError(f"--output is {target}, which cannot be written: {error.strerror}") from error


def _measurement(options: ExportOptions, dataset: Dataset) -> Measurement:
    """The checkpoint on the validation split, whose annotations are read. UserError when it has no objects."""
    how = MeasureOptions(
        options.checkpoint, size=options.size, device="cpu", precision="32-true", network=options.network
    )
    # JAX, which LiteRT's converter brings, runs threads, and a fork with other threads may hang.
    measured = prepare(how, replace(dataset.options, start_method="spawn"), dataset.loader)
    measured.read_data()
    if not any(len(record.objects[1]) for record in measured.records):
        raise UserError("the validation split has no objects, which accuracy is measured on")
    return measured


def _stacked(images: Sequence[Image]) -> Tensor:
    """uint8 [H, W, 3] each to float32 [N, 3, H, W] in 0..1."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return to_network_input(stacked, channels_last=False)


def _images(
    folder: Path | None, size: tuple[int, int], card: ModelCard, measured: Measurement | None
) -> tuple[Tensor, str]:
    """float32 [N, 3, H, W] in 0..1 to compare on, and where they come from. UserError when one cannot be read."""
    if folder is not None:
        readers = folder_images(folder, IMAGES, size, card.letterbox, "--images")
        return _stacked([reader() for reader in readers]), "images of --images"
    if measured is None:
        return random_images(RANDOM_IMAGES, size), "random images"
    seen = DetectionDataset(measured.records, measured.datamodule.pixels("val"), size, card.letterbox)
    chosen = spread(range(len(seen)), IMAGES)
    return _stacked([seen[number].image for number in chosen]), "validation images"
