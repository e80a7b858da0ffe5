"""`yolo compare`: is one checkpoint better than another, or is it chance?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo.commands.measure_options import DetectionOptions, MeasureOptions
from yolo.commands.measurement import prepare, stored_data
from yolo.commands.measuring import parse_measuring
from yolo.commands.output_place import require_file
from yolo.errors import UserError, require_ranges
from yolo.model_file import is_exported, read_card
from yolo.models.checkpoint import ModelCard

if TYPE_CHECKING:
    from rich.console import Console

    from yolo.data.loaders import ImageLoader
    from yolo.data.options import DataOptions
    from yolo.evaluation.comparison import Comparison, Difference

SHOWN_CLASSES = 30
_MEASURING = {"--config", "--data", *(f"--{item.name.replace('_', '-')}" for item in fields(DetectionOptions))}
"""Options that say how a checkpoint is measured."""


@dataclass(frozen=True)
class _Compared:
    a: Path
    """Checkpoint A, the baseline; with --gt a COCO results file."""
    b: Path
    """Checkpoint B; with --gt a COCO results file."""


@dataclass(frozen=True)
class CompareOptions(DetectionOptions, _Compared):
    """Compare two checkpoints, or the detections of any two detectors, on the same images.

    Differences B - A with confidence intervals by a paired bootstrap over images. Data, thresholds and precision come
    from A's checkpoint unless they are given, and hold for both; the input size is each one's own.
    """

    gt: Path | None = None
    """COCO annotation file: compare detections in files."""
    samples: int = 1000
    """Bootstrap samples."""
    seed: int = 0
    """Seed of the bootstrap samples."""
    confidence: float = 0.95
    """Confidence of the intervals."""
    json: Path | None = None
    """File for all numbers as JSON."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(self, {"samples": (100, 100_000), "seed": (0, float("inf")), "confidence": (0.5, 0.999)}, "--")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    given = {item.partition("=")[0] for item in arguments}
    baseline = None if "--gt" in given else "a"
    options, data, loader = parse_measuring("compare", CompareOptions, arguments, baseline, positional=("a", "b"))
    inputs = [path for path in (options.a, options.b, options.gt) if path is not None]
    require_file(options.json, "--json", inputs, data if options.gt is None else None)
    from rich.console import Console

    from yolo.whole_file import whole_file

    if options.gt is not None:
        meaningless = sorted(name for name in given if name.partition(".")[0] in _MEASURING)
        if meaningless:
            raise UserError(f"{meaningless[0]} means nothing with --gt: the detections are measured already")
        result, settings = compare_files(options, options.gt)
    else:
        result, settings = compare_checkpoints(options, data, loader, arguments)
    print_comparison(Console(highlight=False, markup=False, soft_wrap=True), result, settings)
    if options.json is not None:
        with whole_file(options.json) as partial:
            partial.write_text(json.dumps({**settings, **result.as_dict()}, indent=1), encoding="utf-8")


def compare_files(options: CompareOptions, ground_truth: Path) -> tuple[Comparison, dict[str, Any]]:
    """Compare detections in COCO results files; and what was compared."""
    from yolo.evaluation.coco import CocoEvaluation
    from yolo.evaluation.coco_files import read_annotations, read_detections
    from yolo.evaluation.comparison import compare

    annotations = read_annotations(ground_truth)
    a, b = (
        CocoEvaluation(annotations.ground_truth, read_detections(path, annotations), annotations.category_ids)
        for path in (options.a, options.b)
    )
    drawing = {"samples": options.samples, "seed": options.seed}
    result = compare(a, b, annotations.class_names, confidence=options.confidence, **drawing)
    settings = {"detections": {"a": str(options.a), "b": str(options.b)}, "ground_truth": str(ground_truth)}
    return result, settings


def compare_checkpoints(
    options: CompareOptions, data: DataOptions, loader: ImageLoader | None, arguments: Sequence[str]
) -> tuple[Comparison, dict[str, Any]]:
    """Measure both and compare; and the settings that held.

    Raises:
        UserError: A checkpoint or the data cannot be used, or the classes differ.
    """
    from yolo.evaluation.comparison import compare

    cards = [read_card(path) for path in (options.a, options.b)]
    require_same_classes(options, *cards)
    both = settings_for_both(options, cards[0])
    first, second = (
        replace(both, checkpoint=path, precision=options.precision if is_exported(path) else both.precision)
        for path in (options.a, options.b)
    )
    # Where an image lies in the input is part of what the weights learnt.
    given = any(item.startswith("--data.letterbox") for item in arguments)
    own = {} if given else stored_data(options.b, arguments)
    prepared = (
        prepare(first, data, loader),
        prepare(second, replace(data, letterbox=own.get("letterbox", data.letterbox)), loader),
    )
    of_a, of_b = (measurement.run() for measurement in prepared)
    result = compare(
        of_a.evaluation,
        of_b.evaluation,
        of_a.class_names,
        samples=options.samples,
        seed=options.seed,
        confidence=options.confidence,
    )
    return result, {"checkpoints": {name: m.settings() for name, m in zip("ab", prepared, strict=True)}}


def settings_for_both(options: CompareOptions, baseline: ModelCard) -> MeasureOptions:
    """How A and B are measured: what is given, else what A was trained with."""
    model, trainer = baseline.config["model"], baseline.config["trainer"]

    def given(value: Any, stored: Any) -> Any:
        return stored if value is None else value

    return MeasureOptions.of(
        options,
        checkpoint=options.a,
        conf=given(options.conf, model["nms_val_conf_threshold"]),
        iou=given(options.iou, model["nms_iou_threshold"]),
        max_det=given(options.max_det, model["nms_max_detections"]),
        precision=given(options.precision, trainer["precision"]),
    )


def require_same_classes(options: CompareOptions, a: ModelCard, b: ModelCard) -> None:
    """UserError when the checkpoints tell other classes apart."""
    if a.dataset_names != b.dataset_names:
        ours, theirs = (f"{len(c.dataset_names)} ({', '.join(c.dataset_names[:5])})" for c in (a, b))
        raise UserError(f"{options.b}: has other classes than {options.a}: {theirs} instead of {ours}")


def print_comparison(console: Console, result: Comparison, settings: dict[str, Any]) -> None:
    """A table of the metrics, one of the classes that differ most, and the verdict."""
    from rich.table import Table

    from yolo.evaluation.comparison import FEW_IMAGES

    for line in _introduction(result, settings):
        console.print(line)
    classes = sorted(result.classes, key=lambda entry: -abs(entry.difference or 0.0))
    table = Table()
    table.add_column("", overflow="fold")
    for title in ("A", "B", "B - A", f"{100 * result.confidence:g}% interval"):
        table.add_column(title, justify="right")
    for entry in result.metrics:
        table.add_row(*_cells(entry))
    table.add_section()
    for entry in classes[:SHOWN_CLASSES]:
        table.add_row(*_cells(entry))
    console.print(table)
    if len(classes) > SHOWN_CLASSES:
        console.print(f"and {len(classes) - SHOWN_CLASSES} classes that differ less: --json has all")
    if result.images < FEW_IMAGES:
        console.print(f"note: intervals from {result.images} images are too narrow")
    expected = (1 - result.confidence) * len(classes)
    if expected >= 1:
        console.print(f"note: chance alone puts about {expected:.0f} of {len(classes)} classes outside their interval")
    console.print(result.verdict, style="bold")


def _introduction(result: Comparison, settings: dict[str, Any]) -> list[str]:
    """What was compared."""
    if "detections" in settings:
        files = [f"{name.upper()}: {path}" for name, path in settings["detections"].items()]
        return [*files, f"{result.images} images of {settings['ground_truth']}"]
    lines = []
    for name, own in settings["checkpoints"].items():
        height, width = own["image_size"]
        lines.append(f"{name.upper()}: {own['checkpoint']} at {width} x {height}")
    both = settings["checkpoints"]["a"]
    where = both["data"]["root"] or "the embedded dataset"
    tile = f", tile {both['tile']['size']}, overlap {both['tile']['overlap']:g}" if both["tile"] else ""
    lines.append(
        f"{result.images} images of {where}, conf {both['confidence']:g}, iou {both['iou']:g}, "
        f"max-det {both['max_detections']}, precision {both['precision']}{tile}"
    )
    return lines


def _cells(entry: Difference) -> list[str]:
    """Name, A, B, difference, interval; a star at an interval without zero."""
    if entry.difference is None or entry.a is None or entry.b is None:
        return [entry.name, "-", "-", "-", "no objects"]
    interval = f"{entry.low:+.4f} {entry.high:+.4f}" if entry.low is not None else "-"
    return [entry.name, f"{entry.a:.4f}", f"{entry.b:.4f}", f"{entry.difference:+.4f}",
            f"{interval} {'*' if entry.shown else ' '}"]  # fmt: skip
