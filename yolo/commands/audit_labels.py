"""`yolo audit-labels`: labels that a trained detector doubts."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from yolo.commands.measure_options import CheckpointOption, MeasureOptions, NetworkOptions
from yolo.commands.measurement import measure
from yolo.commands.measuring import parse_measuring
from yolo.commands.output_place import require_place
from yolo.commands.picture_output import NOT_ENCRYPTED
from yolo.errors import UserError, require_ranges

if TYPE_CHECKING:
    from yolo.data.loaders import ImageLoader
    from yolo.data.options import DataOptions, Split
    from yolo.evaluation.evaluator import Metrics
    from yolo.evaluation.label_audit import LabelFinding


@dataclass(frozen=True)
class AuditOptions(NetworkOptions, CheckpointOption):
    """Find labels that a trained detector doubts, the surest first.

    Kinds: wrong-class, missing, duplicate, misplaced, spurious (the detector sees nothing there). Written are a CSV
    file of all and a sheet of pictures of each kind. A detector has learnt the errors of the labels that it was trained
    on: audit others, or train without them.
    """

    split: Literal["train", "val"] = "val"
    """Whose labels."""
    output: Path = Path("audit")
    """Folder for audit.csv and the sheets."""
    min_certainty: float = 0.3
    """Nothing of which the detector is less sure is listed."""
    top: int = 16
    """Most pictures of each kind."""
    pictures: bool | None = None
    """Write sheets of pictures. Default: yes, unless the images are encrypted."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(self, {"min_certainty": (0, 1), "top": (0, 1000)}, "--")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options, data, loader = parse_measuring(
        "audit-labels", AuditOptions, arguments, "checkpoint", short={"checkpoint": "c", "output": "o"}
    )
    from yolo.evaluation.label_audit import KINDS, audit

    names = ["audit.csv", *(f"{kind}.jpg" for kind in KINDS)]
    require_place(options.output, names, [options.checkpoint], data)
    audited = validated_as(data, options.split)
    metrics = measure(MeasureOptions.of(options), audited, loader)
    findings = audit(metrics.evaluation, options.min_certainty)
    for name in names:  # of an earlier audit
        (options.output / name).unlink(missing_ok=True)
    written = write(findings, metrics, options, audited, loader)
    counts = Counter(entry.kind for entry in findings)
    listing = ", ".join(f"{count} {kind}" for kind, count in counts.most_common()) or "nothing"
    labels = len(metrics.evaluation.ground_truth.classes)
    print(f"{len(metrics.records)} images, {labels} labels: {listing}")
    print(f"written: {', '.join(map(str, written))}")


def validated_as(data: DataOptions, split: Split) -> DataOptions:
    """Options whose validation split is `split`.

    Raises:
        UserError: The training split cannot be had in this way.
    """
    from yolo.data.formats.yolo import find_location, read_config
    from yolo.data.source import coco_places

    if data.cache_only:
        raise UserError("audit-labels reads the labels of the dataset, data.cache_only keeps to the cache")
    if split == "val":
        return data
    if data.format == "shapes":
        raise UserError("--split=train audits labels in files, the embedded dataset has none")
    places = data.places("train")
    if data.format == "yolo":
        root = Path(data.root)
        images, annotations = find_location(root, "train", places.images, read_config(root)), None
    else:
        images, annotations = coco_places(data, "train")
    return replace(
        data,
        val_images=str(images.absolute()),
        val_ann=str(annotations.absolute()) if annotations else None,
        val_labels=data.train_labels,
        val_split=data.train_split,
        cache_images="none",  # which knows these images as the other split
    )


def write(
    findings: Sequence[LabelFinding],
    metrics: Metrics,
    options: AuditOptions,
    data: DataOptions,
    loader: ImageLoader | None,
) -> list[Path]:
    """Write audit.csv, and the sheets when they are wanted."""
    from yolo.data.label_places import label_places
    from yolo.data.loaders import load_image
    from yolo.data.source import choose_loader, confidential, loader_of_run
    from yolo.evaluation.audit_files import write_csv, write_sheets
    from yolo.model_file import read_card

    if loader is None and data.format != "shapes":
        loader = loader_of_run(read_card(options.checkpoint).config["trainer"]["image_loader"])
    chosen = choose_loader(data, loader)
    secret = confidential(data, chosen)
    options.output.mkdir(parents=True, exist_ok=True)
    table = options.output / "audit.csv"
    place = label_places(data, "val")
    write_csv(findings, metrics.records, metrics.class_names, place, table)
    if not (options.pictures if options.pictures is not None else not secret):
        return [table]
    if secret:
        print(NOT_ENCRYPTED, file=sys.stderr)
    return [
        table,
        *write_sheets(
            findings,
            metrics.records,
            metrics.class_names,
            lambda record: load_image(chosen, record.path),
            options.output,
            options.top,
        ),
    ]
