"""Exported ONNX files against the checkpoint, as a table: every form, opset and kind of batch.

    python benchmarks/export.py CHECKPOINT DATASET

DATASET is a folder in YOLO format with images/val. Boxes and scores are the largest differences over all anchors of 16
images; mAP is AP50-95 on the validation split, less that of the checkpoint. A second table has v9-s with random
weights, all of them different, and random images.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from yolo.cli import main as yolo
from yolo.commands.measure_options import MeasureOptions
from yolo.commands.measurement import measure
from yolo.data.options import DataOptions

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.export.random_network import random_checkpoint

OPSETS = (13, 17, 20)
FORMS = ("full", "split", "raw")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--opsets", type=int, nargs="+", default=OPSETS)
    parser.add_argument("--random", default="v9-s", help="network of the second table")
    arguments = parser.parse_args()
    images = arguments.dataset / "images" / "val"
    data = DataOptions(format="yolo", root=str(arguments.dataset), num_workers=0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = export_all(arguments.checkpoint, folder, arguments.opsets, ["--images", str(images)])
        options = MeasureOptions(arguments.checkpoint, workers=0, device="cpu")
        reference = measure(options, data).as_dict()["mAP"]
        for row in rows:
            found = measure(replace(options, checkpoint=row["path"]), data).as_dict()["mAP"]
            row["mAP"] = f"{found - reference:+.1e}"
        show(f"{arguments.checkpoint}, AP50-95 {reference:.6f}", rows)
        random = random_checkpoint(folder / "random.ckpt", arguments.random, size=320)
        show(f"{arguments.random} with random weights", export_all(random, folder, arguments.opsets, []))


def export_all(checkpoint: Path, folder: Path, opsets: list[int], options: list[str]) -> list[dict]:
    """A row for each file."""
    rows = []
    for form, opset, dynamic in itertools.product(FORMS, opsets, (False, True)):
        path = folder / f"{checkpoint.stem}-{form}-{opset}{'-dynamic' if dynamic else ''}.onnx"
        flags = ["--form", form, "--opset", str(opset), *(["--dynamic-batch"] if dynamic else [])]
        simplify = ["--simplify"] if opset != OPSETS[0] else []
        yolo(["export", "-c", str(checkpoint), "-o", str(path), *flags, *simplify, *options])  # raises when not equal
        document = json.loads(path.with_name(f"{path.name}.json").read_text())
        stages, file = document["parity"]["stages"][1:], document["file"]
        rows.append(
            {
                "path": path,
                "form": form,
                "opset": str(opset),
                "batch": " and ".join(stage["name"].removeprefix("file, batch ") for stage in stages),
                "slim": "yes" if simplify else "no",
                "operators": str(sum(file["operators"].values())),
                "boxes px": f"{max(stage['boxes'] for stage in stages):.1e}",
                "scores": f"{max(stage['scores'] for stage in stages):.1e}",
                "detections": ", ".join(f"{s['detections'] - s['missed']} of {s['detections']}" for s in stages),
                "size / weights": f"{file['bytes'] / file['weights_bytes']:.3f}",
            }
        )
    return rows


def show(title: str, rows: list[dict]) -> None:
    table = Table(title=title)
    for name in list(rows[0])[1:]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*list(row.values())[1:])
    Console(width=140).print(table)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
