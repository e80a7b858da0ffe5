"""Measure a TFLite file, or any file of `yolo export`, with COCO's metrics: `yolo validate` under other names.

    python scripts/validate_tflite.py --model model.tflite --coco-root path/to/coco
    python scripts/validate_tflite.py --model model.tflite --images-dir images --labels-dir labels

The numbers are those of `yolo validate` with the same thresholds, which here are those usual elsewhere (IoU 0.65) and
there those of the file; they go to MODEL_metrics.json beside the model.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import yaml

from yolo.commands.measure_options import MeasureOptions
from yolo.commands.measurement import Measurement, prepare
from yolo.commands.outcome import OutcomeOptions, conclude
from yolo.commands.output_place import require_file
from yolo.data.options import DataOptions
from yolo.errors import UserError, require_ranges
from yolo.evaluation.metrics_file import write_metrics
from yolo.model_file import read_card
from yolo.models.checkpoint import ModelCard
from yolo.options import Parser, add_options

NAMES = ("data.yaml", "classes.txt")
ABOVE = 3
"""So many folders above the labels are searched for the names of the classes."""


@dataclass(frozen=True)
class Options:
    """Measure an exported file on a COCO or YOLO dataset; its input size comes from the file."""

    model: Path
    """The file."""
    coco_root: Path | None = None
    """Folder of a COCO dataset with annotations/instances_val2017.json and val2017/."""
    ann_file: Path | None = None
    """COCO annotation file, instead of the one in --coco-root."""
    images_dir: Path | None = None
    """Folder of the images."""
    labels_dir: Path | None = None
    """Folder of YOLO labels, a .txt file per image."""
    data_format: Literal["auto", "coco", "yolo"] = "auto"
    """Format of the labels; auto: yolo with --labels-dir, else coco."""
    num_images: int = 500
    """Measure on the first so many images of the dataset: by name in a YOLO dataset, in COCO in the file's order."""
    num_classes: int | None = None
    """Number of classes that the file must have; not looked at when left out."""
    conf_threshold: float = 0.001
    """Lowest score of a detection that counts."""
    iou_threshold: float = 0.65
    """Boxes of one class overlapping more than this are duplicates."""

    def __post_init__(self) -> None:
        whole = {"num_images": (1, float("inf")), "num_classes": (1, float("inf"))}
        require_ranges(self, {**whole, "conf_threshold": (0, 1), "iou_threshold": (0, 1)}, "--")

    @property
    def format(self) -> Literal["coco", "yolo"]:
        """Of the labels. UserError unless what that format takes is given, and nothing else."""
        chosen: Literal["coco", "yolo"] = "yolo" if self.labels_dir is not None else "coco"
        if self.data_format != "auto":
            chosen = self.data_format
        needed, unused = ["images_dir", "labels_dir"], ["coco_root", "ann_file"]
        if chosen == "coco":
            needed, unused = ([] if self.coco_root else ["ann_file", "images_dir"]), ["labels_dir"]
        for names, is_wrong, what in ((needed, True, "needs"), (unused, False, "does not take")):
            for name in names:
                if (getattr(self, name) is None) == is_wrong:
                    raise UserError(f"a dataset in {chosen.upper()} format {what} --{name.replace('_', '-')}")
        return chosen


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the script. Exits with 2 and one sentence when the input is at fault."""
    try:
        run(parse(sys.argv[1:] if arguments is None else arguments))
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def parse(arguments: Sequence[str]) -> Options:
    """The options of the command line."""
    parser = Parser(prog="validate_tflite.py", description=Options.__doc__, default_env=False, allow_abbrev=False)
    add_options(parser, Options)
    parsed = parser.parse_args(list(arguments))
    return Options(**{item.name: parsed[item.name] for item in fields(Options)})


def run(options: Options) -> None:
    """Measure, print the dashboard, write the numbers."""
    card = read_card(options.model)
    if options.num_classes not in (None, len(card.class_names)):
        raise UserError(f"--num-classes is {options.num_classes}, {options.model} has {len(card.class_names)} classes")
    target = options.model.with_name(f"{options.model.stem}_metrics.json")
    require_file(target, "the file of the numbers")
    operating = max(options.conf_threshold, card.config["model"]["conf_prod"])
    how = MeasureOptions(
        options.model, conf=options.conf_threshold, iou=options.iou_threshold, conf_prod=operating, device="cpu"
    )
    with tempfile.TemporaryDirectory() as names:
        measurement = prepare(how, dataset(options, card, Path(names)))
        measurement.read_data(first=options.num_images)
        measure(measurement, options, target)


def measure(measurement: Measurement, options: Options, target: Path) -> None:
    """Measure what is prepared; the numbers go to `target`."""
    outcome = measurement.outcome(measurement.run())
    nothing = OutcomeOptions(save_plots=False, save_json=False, save_report=False)
    conclude(replace(outcome, title=f"{options.model} on {len(outcome.metrics.records)} images"), nothing)
    settings = {**outcome.settings, "images": len(outcome.metrics.records)}
    write_metrics(outcome.metrics.analysis, target, settings=settings)
    print(f"written: {target}")


def dataset(options: Options, card: ModelCard, folder: Path) -> DataOptions:
    """Where the data lies; classes of YOLO labels without names beside them are the file's, which go into `folder`."""
    common = DataOptions(letterbox=card.letterbox, cache_labels=False, num_workers=min(4, os.cpu_count() or 1))
    if options.format == "yolo":
        assert options.images_dir is not None
        assert options.labels_dir is not None
        images, labels = options.images_dir.resolve(), options.labels_dir.resolve()
        places = [place for start in (labels, images) for place in (start, *start.parents[:ABOVE])]
        root = next((place for place in places if any((place / name).is_file() for name in NAMES)), None)
        if root is None:
            root = folder
            (folder / NAMES[0]).write_text(yaml.safe_dump({"names": list(card.dataset_names)}), encoding="utf-8")
        return replace(common, format="yolo", root=str(root), val_images=str(images), val_labels=str(labels))
    own, annotations = (
        None if path is None else str(path.resolve()) for path in (options.images_dir, options.ann_file)
    )
    root = options.coco_root or options.images_dir
    return replace(common, format="coco", root=str(root), val_images=own, val_ann=annotations)


if __name__ == "__main__":
    main()
