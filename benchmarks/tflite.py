"""TFLite files of a checkpoint as a table: accuracy, distance from the checkpoint, size, operators, latency.

    python benchmarks/tflite.py CHECKPOINT DATASET

DATASET is a folder in YOLO format with images/train, which INT8 is calibrated with, images/val, and maybe images/test.
AP is AP50-95 on a split and, in brackets, less that of the checkpoint; boxes and scores are the largest differences of
any anchor on 16 validation images; ms is the median of the network alone on one image, all files in turn.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from yolo.cli import main as yolo
from yolo.commands.file_figures import Rounds, measure_latency
from yolo.commands.measure_options import MeasureOptions
from yolo.commands.measurement import measure, prepare
from yolo.data.options import DataOptions

FILES = {
    "fp32": ["--quantization=fp32"],
    "fp16": ["--quantization=fp16"],
    "dynamic": ["--quantization=dynamic"],
    "int8 split": ["--quantization=int8"],
    "int8 raw": ["--quantization=int8", "--form=raw"],
    "int8 as it is": ["--quantization=int8", "--no-xnnpack-optimize"],
    "fp32 HardSwish": ["--quantization=fp32", "--hardswish"],
    "int8 HardSwish": ["--quantization=int8", "--hardswish"],
}
SPLITS = ("val", "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--files", nargs="+", choices=FILES, default=list(FILES), help="rows of the table")
    parser.add_argument("--num-calibration", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        paths = {"checkpoint": arguments.checkpoint}
        documents = {}
        for name in arguments.files:
            paths[name] = Path(folder) / f"{name.replace(' ', '-')}.tflite"
            documents[name] = export(arguments, FILES[name], paths[name])
        show(arguments, paths, documents)


def export(arguments: argparse.Namespace, options: list[str], path: Path) -> dict[str, Any]:
    """What `yolo export` writes beside the file; ends the program when the file fails a check."""
    images = [f"--images={arguments.dataset / 'images' / 'val'}"]
    if "--quantization=int8" in options:
        training = arguments.dataset / "images" / "train"
        images += [f"--calibration-images={training}", f"--num-calibration={arguments.num_calibration}"]
    if "--hardswish" in options:  # is measured by the command, too
        images += [f"--data.root={arguments.dataset}", "--data.format=yolo", "--data.num_workers=0"]
    yolo(["export", f"--checkpoint={arguments.checkpoint}", "--format=tflite", f"--output={path}", *options, *images])
    return json.loads(path.with_name(f"{path.name}.json").read_text())


def show(arguments: argparse.Namespace, paths: dict[str, Path], documents: dict[str, dict[str, Any]]) -> None:
    """Measure and print."""
    root = arguments.dataset
    data = DataOptions(format="yolo", root=str(root), num_workers=0)
    splits = {
        split: replace(data, val_images=f"images/{split}", val_labels=f"labels/{split}")
        for split in SPLITS
        if (root / "images" / split).is_dir()
    }
    options = {name: MeasureOptions(path, workers=0, device="cpu") for name, path in paths.items()}
    latencies = measure_latency([prepare(each, data) for each in options.values()], Rounds(1, 5, arguments.runs))
    ms = {name: latency["forward"].p50 for name, latency in zip(paths, latencies, strict=True)}
    accuracy = {
        split: {name: measure(each, on).as_dict()["mAP"] for name, each in options.items()}
        for split, on in splits.items()
    }
    table = Table(title=f"{arguments.checkpoint.name}, {arguments.threads} threads, {arguments.runs} runs in turn")
    for title in ("file", *(f"AP {split}" for split in splits), "boxes px", "scores", "MB", "/ weights", "/ fp32",
                  "operators", "not in XNNPACK", "ms", "/ fp32"):  # fmt: skip
        table.add_column(title, justify="right", no_wrap=True)
    for name in paths:
        aps = [f"{found[name]:.6f} ({found[name] - found['checkpoint']:+.6f})" for found in accuracy.values()]
        speed = [f"{ms[name]:.2f}", f"{ms[name] / ms['fp32']:.3f}" if "fp32" in ms else ""]
        table.add_row(name, *aps, *file_columns(documents, name), *speed)
    Console(width=200).print(table)


def file_columns(documents: dict[str, dict[str, Any]], name: str) -> list[str]:
    """From the largest difference of boxes to the operators outside XNNPACK; empty for the checkpoint."""
    if name not in documents:
        return [""] * 7
    document = documents[name]
    file, stage = document["file"], document["parity"]["stages"][-1]
    float_size = documents["fp32"]["file"]["bytes"] if "fp32" in documents else None
    return [
        f"{stage['boxes']:.1e}",
        f"{stage['scores']:.1e}",
        f"{file['bytes'] / 1e6:.2f}",
        f"{file['bytes'] / file['weights_bytes']:.3f}",
        f"{file['bytes'] / float_size:.3f}" if float_size else "",
        str(sum(file["operators"].values())),
        file["notes"][-1].removeprefix("XNNPACK takes all operators").removeprefix(" but ") or "none",
    ]


if __name__ == "__main__":
    main()
