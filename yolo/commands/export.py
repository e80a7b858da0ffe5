"""`yolo export`: a trained network as a file that other programs run, handed over only after it was compared."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from yolo.errors import UserError
from yolo.export.config import FormatConfig
from yolo.export.formats import FORMATS, Format
from yolo.export.onnx import OnnxConfig
from yolo.options import parse_options
from yolo.size import size_option
from yolo.whole_file import whole_file, whole_folder

if TYPE_CHECKING:
    from torch import Tensor

    from yolo.export.calibration import Calibration
    from yolo.export.model import ExportableModel
    from yolo.export.parity import Parity
    from yolo.models.checkpoint import ModelCard
    from yolo.models.detection_model import DetectionModel

SHORT = {"checkpoint": "c", "output": "o", "format": "f", "quantization": "q"}
IMAGES = 16
"""At most as many images of a folder are compared."""
RANDOM_IMAGES = 5


@dataclass(frozen=True)
class _Common:
    checkpoint: Path
    """Checkpoint written by `yolo fit`."""
    format: Literal["onnx", "saved_model"] = "onnx"
    """Kind of file."""
    output: Path | None = None
    """File or folder to write; beside the checkpoint, with the ending of the format, when left out."""
    size: tuple[int, ...] | None = None
    """Side of the square network input in pixels, or height and width; the size of the training when left out."""
    device: str = "auto"
    """Where the network is traced: cpu, cuda, or auto, which is cuda for --half alone."""
    images: Path | None = None
    """Folder of images to compare the file with the checkpoint on; random ones when left out."""
    network: str | None = None
    """Import path of the checkpoint's network, when that is code of your own."""
    calibration_images: Path | None = None
    """Folder of images that the ranges of an INT8 file come from."""
    num_calibration: int = 1024
    """At most as many of them are used."""


@dataclass(frozen=True)
class ExportOptions(OnnxConfig, _Common):
    """Write a trained network as a file that other programs run.

    Exits with 1, and writes nothing, when the file does not compute what the checkpoint computes.
    """

    def __post_init__(self) -> None:
        own = {item.name for item in fields(self.kind.config)}
        for name, other in FORMATS.items():
            for item in fields(other.config):
                if item.name not in own and getattr(self, item.name) != item.default:
                    flag = item.name.replace("_", "-")
                    raise UserError(f"--{flag} is an option of --format {name}, which is {self.format}")
        _ = self.config  # refuses what its format cannot do
        if self.device not in ("auto", "cpu", "cuda"):
            raise UserError(f"--device is {self.device!r}, expected auto, cpu or cuda")

    @property
    def kind(self) -> Format:
        """The format."""
        return FORMATS[self.format]

    @property
    def config(self) -> FormatConfig:
        """The options of the format."""
        return self.kind.config(**{item.name: getattr(self, item.name) for item in fields(self.kind.config)})

    @property
    def target(self) -> Path:
        """The file or folder to write."""
        name = f"{self.checkpoint.stem}{self.kind.suffix or f'_{self.format}'}"
        return self.output or self.checkpoint.with_name(name)


@dataclass(frozen=True)
class _Job:
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


def main(arguments: Sequence[str]) -> None:
    """Run the command; status 1 when the file fails a check."""
    options = parse_options(ExportOptions, "export", arguments, short=SHORT)
    job = _prepare(options)
    from yolo.export.parity import CheckFailedError

    try:
        _export(job)
    except CheckFailedError as failed:
        for failure in failed.failures:
            print(f"error: {options.checkpoint} was not exported: {failure}", file=sys.stderr)
        sys.exit(1)


def _prepare(options: ExportOptions) -> _Job:
    """Everything that can be wrong is, here. UserError says what."""
    _require_name(options)
    size = size_option(options.size) if options.size is not None else None
    options.kind.module.require(options.config)
    device = _device(options)
    _require_writable(options.target, folder=not options.kind.suffix)
    from yolo.models.checkpoint import allow_network, load_model

    allow_network(options.network)
    model, card = load_model(options.checkpoint)
    size = size or card.image_size
    images, source = _images(options.images, size, card)
    return _Job(options, model, card, device, size, images, source)


def _export(job: _Job) -> None:
    """Write, compare, and only then give the files their names."""
    from rich.console import Console

    from yolo.export.config import Source
    from yolo.export.model import ExportableModel
    from yolo.export.parity import CheckFailedError
    from yolo.export.report import ExportReport

    options, config, target = job.options, job.options.config, job.options.target
    exportable = ExportableModel(job.model, job.image_size, config.output_form).to(job.device)
    weights = exportable.network.cost[1]
    if options.half:
        exportable.half_precision()
    record = exportable.record(
        job.card.network.name,
        job.card,
        batch=None if options.dynamic_batch else 1,
        quantization=config.numbers,
        calibration=job.calibration.digest() if job.calibration else None,
    )
    beside = target.with_name(f"{target.name}.json")
    whole = whole_file if options.kind.suffix else whole_folder
    with whole(target) as partial, whole_file(beside) as partial_beside:
        written = options.kind.module.write(Source(exportable, record, job.calibration), config, partial)
        parity = _compare(job, exportable, partial)
        report = ExportReport.of(target.name, partial, record, weights, written, parity)
        report.show(Console(highlight=False, soft_wrap=True, markup=False))
        if failures := [*written.failures, *parity.failures]:
            raise CheckFailedError(failures)
        partial_beside.write_text(report.to_json(), encoding="utf-8")
    print(f"written: {target} and {beside}")
    print(f"accuracy was not measured: yolo validate -c {target}")


def _device(options: ExportOptions) -> str:
    """cpu or cuda."""
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device is cuda, but there is none here")
    if options.half and (options.device == "cpu" or not torch.cuda.is_available()):
        raise UserError("--half makes a file for GPUs and is exported on one, but the device is the CPU")
    return "cuda" if options.half or options.device == "cuda" else "cpu"


def _require_name(options: ExportOptions) -> None:
    """UserError when the file would be called what the format's are not; folders are called as one likes."""
    from yolo.model_file import RUNTIMES

    target, suffix = options.target, options.kind.suffix
    if suffix and target.suffix.lower() != suffix:
        raise UserError(f"--output is {target}, expected a name that ends in {suffix}")
    if not suffix and (not target.name or target.suffix.lower() in [ending for ending in RUNTIMES if ending]):
        raise UserError(f"--output is {target}, expected the name of a folder")


def _replaceable(folder: Path) -> bool:
    """Whether it is empty or was written by this command."""
    from yolo.runtime.saved_model import GRAPH, RECORD

    return folder.is_dir() and (not any(folder.iterdir()) or all((folder / name).is_file() for name in (GRAPH, RECORD)))


def _require_writable(target: Path, *, folder: bool) -> None:
    """UserError when it cannot be written: known before the work, not after it."""
    if not target.parent.is_dir():
        raise UserError(f"--output is {target}, but there is no folder {target.parent}")
    if target.is_dir() and not folder:
        raise UserError(f"--output is {target}, which is a folder")
    if folder and target.exists() and not _replaceable(target):
        raise UserError(f"--output is {target}, which exists and is no SavedModel of `yolo export`")
    probe = target.with_name(f"{target.name}.partial")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--output is {target}, which cannot be written: {error.strerror}") from error


def _images(folder: Path | None, size: tuple[int, int], card: ModelCard) -> tuple[Tensor, str]:
    """float32 [N, 3, H, W] in 0..1 to compare on, and where they come from. UserError when one cannot be read."""
    from yolo.export.parity import random_images, spread

    if folder is None:
        return random_images(RANDOM_IMAGES, size), "random images"
    from yolo.commands.predict_sources import list_images, readable_suffixes
    from yolo.data.encrypted_loader import EncryptedImageLoader
    from yolo.data.loaders import load_image
    from yolo.inference import letterboxed, to_network_input

    if not folder.is_dir():
        raise UserError(f"--images is {folder}, which is no folder")
    loader = EncryptedImageLoader()
    pictures = [load_image(loader, path) for path in spread(list_images(folder, readable_suffixes()), IMAGES)]
    boxed = letterboxed(pictures, size, card.letterbox)
    return to_network_input(boxed, channels_last=False), f"images of {folder}"


def _compare(job: _Job, exportable: ExportableModel, path: Path) -> Parity:
    from yolo.boxes.nms import NMSOptions
    from yolo.export.parity import compare_stages
    from yolo.model_file import RUNTIMES

    runtime: Any = importlib.import_module(RUNTIMES[job.options.kind.suffix])
    trained = job.card.config["model"]
    limits = trained["nms_conf_threshold"], trained["nms_iou_threshold"], int(trained["nms_max_detections"])
    return compare_stages(
        job.model, exportable, runtime.open_network(path), job.images, NMSOptions(*limits), job.source
    )
