"""`yolo sensitivity`: which parts of a network quantisation hurts most, and so which to keep in float."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo.errors import UserError, require_ranges

if TYPE_CHECKING:
    from yolo.commands.measurement import Measurement
    from yolo.models.checkpoint import ModelCard
    from yolo.quantization.calibration import Calibration
    from yolo.quantization.network import QuantizedNetwork
    from yolo.quantization.sensitivity import Noise, PartlyQuantized

SHORT = {"checkpoint": "c", "output": "o"}
WHOLE = "all parts"


@dataclass(frozen=True)
class SensitivityOptions:
    """Quantise each part of a network alone to INT8 and show what it does to the answers, worst first.

    The error is the ratio of signal to quantisation noise of the box and the class logits on real images, in decibels:
    6 dB less is twice the noise. Names of parts, or patterns, are what --keep-float of yolo qat-finetune takes.
    """

    checkpoint: Path
    """Checkpoint of `yolo fit`, or of `yolo qat-finetune`, whose ranges are those it has learnt."""
    calibration_images: Path | None = None
    """Folder of images that ranges come from and errors are measured on; training images of the dataset when left out.
    """
    num_calibration: int = 64
    """At most as many of them give the ranges."""
    num_images: int = 16
    """At most as many of them are measured on."""
    depth: int = 2
    """Components of the names of parts: 1 for backbone and head, more for smaller parts."""
    map: bool = False
    """Measure the loss of AP50-95 on the validation images of the dataset too, one validation for each part."""
    output: Path | None = None
    """JSON file to write."""
    network: str | None = None
    """Import path of the checkpoint's network, when that is code of your own."""

    def __post_init__(self) -> None:
        most = float("inf")
        names = ("num_calibration", "num_images", "depth")
        require_ranges(self, dict.fromkeys(names, (1, most)), "--")


@dataclass(frozen=True)
class Part:
    """A part of the network, quantised alone."""

    name: str
    tensors: int
    """Quantised tensors in it, weights among them."""
    boxes: float | None
    """Signal to quantisation noise of the box logits in dB; None without noise."""
    classes: float | None
    """The same of the class logits."""
    map_loss: float | None = None
    """How far AP50-95 falls, absolute; None when it was not measured."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    from yolo.commands.measuring import parse_with_dataset
    from yolo.commands.output_place import require_file
    from yolo.models.checkpoint import allow_network, load_model
    from yolo.quantization.calibration import spread
    from yolo.quantization.sensitivity import PartlyQuantized, measure_noise
    from yolo.whole_file import whole_file

    options, dataset = parse_with_dataset("sensitivity", SensitivityOptions, arguments, short=SHORT)
    if options.map and dataset is None:
        raise UserError("--map takes a dataset: --config, or --data.root and --data.format")
    require_file(options.output, "--output", [options.checkpoint], None if dataset is None else dataset.options)
    allow_network(options.network)
    model, card = load_model(options.checkpoint)
    measured = None if dataset is None else _measurement(options, dataset)
    calibration = _images(options, card, measured)
    ranges = replace(calibration, readers=spread(calibration.readers, options.num_calibration))
    network = _quantized(model, card, ranges)
    partly = PartlyQuantized(network, options.depth).eval()
    chosen = spread(calibration.readers, options.num_images)
    noise = measure_noise(partly, type(calibration)(calibration.source, chosen))
    losses = _losses(partly, measured) if options.map and measured is not None else {}
    parts = [_row(name, partly, noise[name], losses.get(name)) for name in noise]
    if losses:
        parts.sort(key=lambda part: -(part.map_loss or 0.0))
    _show(parts, f"{options.checkpoint}: each part in INT8 alone, {len(chosen)} of the {calibration.source}")
    if options.output is not None:
        report = {"checkpoint": str(options.checkpoint), "images": len(chosen), "parts": [asdict(p) for p in parts]}
        with whole_file(options.output) as partial:
            partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _measurement(options: SensitivityOptions, dataset: Any) -> Measurement:
    from yolo.commands.measure_options import MeasureOptions
    from yolo.commands.measurement import prepare

    how = MeasureOptions(options.checkpoint, device="cpu", precision="32-true", network=options.network)
    measured = prepare(how, dataset.options, dataset.loader)
    measured.read_data()
    return measured


def _images(options: SensitivityOptions, card: ModelCard, measured: Measurement | None) -> Calibration:
    """Real images. UserError when none are named."""
    from yolo.quantization.calibration import Calibration, folder_images, training_images

    number = max(options.num_calibration, options.num_images)
    if options.calibration_images is not None:
        flag = "--calibration-images"
        readers = folder_images(options.calibration_images, number, card.image_size, card.letterbox, flag)
        return Calibration(f"images of {options.calibration_images}", readers)
    if measured is None:
        raise UserError(
            "images are needed: --calibration-images FOLDER, or the training images of a dataset, named by --config or "
            "by --data.root and --data.format"
        )
    return training_images(measured.datamodule, number, card.image_size, card.letterbox)


def _quantized(model: Any, card: ModelCard, calibration: Calibration) -> QuantizedNetwork:
    from yolo.quantization import is_quantized
    from yolo.quantization.network import QuantizedNetwork

    if is_quantized(model):
        return model
    spec = QuantizedNetwork.spec(card.network, card.image_size)
    network = QuantizedNetwork.started_from(model, spec.args)
    network.calibrate(calibration)
    return network.deploy()


def _losses(partly: PartlyQuantized, measured: Measurement) -> dict[str, float]:
    """Of AP50-95, by part."""
    found = {}
    measured.module.model = partly
    for name in ("", *partly.parts, "*"):
        partly.quantise(partly.parts if name == "*" else [name])
        found[name] = measured.run().as_dict()["mAP"]
    in_float = found.pop("")
    return {name: in_float - value for name, value in found.items()}


def _row(name: str, partly: PartlyQuantized, noise: Noise, loss: float | None) -> Part:
    boxes, classes = (value if math.isfinite(value) else None for value in noise.decibels)
    tensors = sum(map(len, partly.parts.values())) if name == "*" else len(partly.parts[name])
    return Part(WHOLE if name == "*" else name, tensors, boxes, classes, loss)


def _show(parts: Sequence[Part], title: str) -> None:
    from rich import box
    from rich.table import Table

    from yolo.commands.file_figures import wide_console

    table = Table(title=title, title_justify="left", box=box.ROUNDED)
    table.add_column("part")
    columns = ["tensors", "boxes dB", "classes dB", *(["AP50-95 lost"] if parts[0].map_loss is not None else [])]
    for column in columns:
        table.add_column(column, justify="right")
    for part in parts:
        levels = ["-" if value is None else f"{value:.1f}" for value in (part.boxes, part.classes)]
        lost = [] if part.map_loss is None else [f"{part.map_loss:+.4f}"]
        table.add_row(part.name, str(part.tensors), *levels, *lost)
    wide_console().print(table)
