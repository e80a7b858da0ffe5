"""`yolo export`: a trained network as a file that other programs run, handed over only after it was compared."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from yolo.errors import UserError, require_ranges
from yolo.export.config import FormatConfig
from yolo.export.formats import FORMATS, Format
from yolo.export.onnx import OnnxConfig
from yolo.export.rknn import RknnConfig
from yolo.export.tflite import TFLiteConfig
from yolo.whole_file import whole_files

if TYPE_CHECKING:
    from rich.console import Console

    from yolo.commands.export_job import Job
    from yolo.commands.measuring import Dataset
    from yolo.export.accuracy import Accuracy
    from yolo.export.config import Written
    from yolo.export.parity import Parity
    from yolo.models.exportable import ExportableModel

SHORT = {"checkpoint": "c", "output": "o", "format": "f", "quantization": "q"}


@dataclass(frozen=True)
class _Common:
    checkpoint: Path
    """Checkpoint written by `yolo fit`."""
    format: Literal["onnx", "tflite", "saved_model", "rknn"] = "onnx"
    """Kind of file."""
    output: Path | None = None
    """File or folder to write; beside the checkpoint, with the ending of the format, when left out."""
    size: tuple[int, ...] | None = None
    """Side of the square network input in pixels, or height and width; the size of the training when left out."""
    device: str = "auto"
    """Where the network is traced: cpu, cuda, or auto, which is cuda for --half alone."""
    images: Path | None = None
    """Folder of images to compare the file with the checkpoint on; when left out, validation images of the dataset, and
    without one random ones."""
    network: str | None = None
    """Import path of the checkpoint's network, when that is code of your own."""
    calibration_images: Path | None = None
    """Folder of images that the ranges of an INT8 file come from; when left out, training images of the dataset."""
    num_calibration: int | None = None
    """At most as many of them are used. Default: 1024."""
    max_drop: float | None = None
    """How far AP50-95 on the dataset may fall, absolute (0.01 is one point): a file that falls further is not kept."""


@dataclass(frozen=True)
class ExportOptions(TFLiteConfig, OnnxConfig, RknnConfig, _Common):
    """Write a trained network as a file that other programs run.

    Exits with 1, and writes nothing, when the file does not compute what the checkpoint computes. With a dataset, which
    --config or --data.* name, its accuracy and latency are measured beside the checkpoint's.
    """

    def __post_init__(self) -> None:
        _ = self.config  # refuses what its format cannot do
        if self.device not in ("auto", "cpu", "cuda"):
            raise UserError(f"--device is {self.device!r}, expected auto, cpu or cuda")
        require_ranges(self, {"num_calibration": (1, float("inf")), "max_drop": (0, 1)}, "--")
        for name in ("calibration_images", "num_calibration"):
            if self.config.numbers != "int8" and getattr(self, name) is not None:
                flag = name.replace("_", "-")
                raise UserError(f"--{flag} is for --quantization int8, which is {self.config.numbers}")

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


def main(arguments: Sequence[str]) -> None:
    """Run the command; status 1 when the file fails a check."""
    options, dataset = parse(arguments)
    from yolo.commands.export_job import prepare_export
    from yolo.export.parity import CheckFailedError
    from yolo.pipeline import sigterm_unwinds

    job = prepare_export(options, dataset)
    try:
        with sigterm_unwinds():
            _export(job)
    except CheckFailedError as failed:
        for failure in failed.failures:
            print(f"error: {options.checkpoint} was not exported: {failure}", file=sys.stderr)
        sys.exit(1)


def parse(arguments: Sequence[str]) -> tuple[ExportOptions, Dataset | None]:
    """Options of the command and the dataset, if one is given."""
    from yolo.commands.measuring import parse_with_dataset

    options, dataset = parse_with_dataset("export", ExportOptions, arguments, short=SHORT)
    _require_own(options, {item.partition("=")[0] for item in arguments})
    return options, dataset


def _require_own(options: ExportOptions, given: Collection[str]) -> None:
    """UserError for an option of another format among those `given` on the command line, whatever its value."""
    own = {item.name for item in fields(options.kind.config)}
    for name, other in FORMATS.items():
        for item in fields(other.config):
            flag = item.name.replace("_", "-")
            for form in (f"--{flag}", f"--no-{flag}"):
                if item.name not in own and form in given:
                    raise UserError(f"{form} is an option of --format {name}, which is {options.format}")


def _export(job: Job) -> None:
    """Write, compare, measure, and only then give the files their names."""
    from yolo.commands.file_figures import wide_console
    from yolo.export.config import Source
    from yolo.export.report import ExportReport
    from yolo.models.exportable import ExportableModel
    from yolo.runtime.metadata import ExportRecord

    options, config, target = job.options, job.options.config, job.options.target
    exportable = ExportableModel(job.model, job.image_size, config.output_form).to(job.device)
    weights = exportable.network.cost[1]
    if options.half:
        exportable.half_precision()
    record = ExportRecord.of(
        exportable,
        job.architecture,
        job.card,
        batch=None if options.dynamic_batch else 1,
        quantization=config.numbers,
        calibration=job.calibration_digest,
    )
    console = wide_console()
    with whole_files(target.parent) as folder:
        path = folder / target.name
        written = options.kind.module.write(Source(exportable, record, job.calibration), config, path)
        report = ExportReport.of(target.name, path, record, weights, written, _compare(job, exportable, written, path))
        report.show(console)
        _require_passed([*written.failures, *report.parity.failures])
        if job.measured is not None:
            report = replace(report, accuracy=_measure(job, path, console))
        beside = f"{target.name}.json"
        (folder / beside).write_text(report.to_json(), encoding="utf-8")
    print(f"written: {target} and {target.with_name(beside)}")
    if job.measured is None:
        quoted = shlex.quote(str(target))
        print(f"accuracy was not measured: yolo validate -c {quoted} --data.root=DATASET --data.format=FORMAT")


def _compare(job: Job, exportable: ExportableModel, written: Written, path: Path) -> Parity:
    from yolo.boxes.nms import NMSOptions
    from yolo.export.parity import Networks, Trial, compare_stages
    from yolo.model_file import open_model

    trained = job.card.config["model"]
    limits = trained["nms_conf_threshold"], trained["nms_iou_threshold"], int(trained["nms_max_detections"])
    file: Any = open_model(path)[0]
    networks = Networks(job.model, exportable, file, written.quantized)
    return compare_stages(networks, Trial(job.images, job.source, NMSOptions(*limits)))


def _measure(job: Job, path: Path, console: Console) -> Accuracy:
    """Checkpoint and file on the dataset, printed. CheckFailedError when the file falls further than it may."""
    from yolo.commands.file_figures import measure_accuracy

    accuracy = measure_accuracy(job, path)
    accuracy.show(console)
    _require_passed(accuracy.failures)
    return accuracy


def _require_passed(failures: Sequence[str]) -> None:
    from yolo.export.parity import CheckFailedError

    if failures:
        raise CheckFailedError(failures)
