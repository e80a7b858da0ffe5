"""What INT8 by calibration and INT8 by training cost, and whether the files compute what was trained: a table.

    python benchmarks/qat.py CHECKPOINT QAT_CHECKPOINT DATASET

CHECKPOINT is the network in float, QAT_CHECKPOINT what `yolo qat-finetune` made of it, DATASET a folder in YOLO format
with images/train, which ranges come from where nothing was learnt, images/val, and maybe images/test.

AP is AP50-95 on a split and, in brackets, less that of CHECKPOINT. Logits are the mean difference of the raw maps from
those of QAT_CHECKPOINT on validation images. The last row is QAT_CHECKPOINT as training simulates it: what sums in
another order, as any runtime's, do to it.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from yolo.boxes.decode import flatten_maps
from yolo.cli import main as yolo
from yolo.commands.measure_options import MeasureOptions
from yolo.commands.measurement import prepare
from yolo.data.options import DataOptions
from yolo.model_file import open_model
from yolo.models.detection_model import DetectionModel
from yolo.quantization import is_quantized
from yolo.quantization.calibration import Calibration, folder_images

FILES = {"tflite": ".tflite", "onnx": ".onnx", "rknn": ".rknn"}
SPLITS = ("val", "test")
FLOAT, PTQ, TRAINED, IN_FLOAT = "float", "INT8 by calibration", "trained for INT8", "the same, simulated in float"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("qat_checkpoint", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--files", nargs="+", choices=FILES, default=["tflite", "onnx"], help="of QAT_CHECKPOINT")
    parser.add_argument("--images", type=int, default=50, help="that raw maps are compared on")
    parser.add_argument("--num-calibration", type=int, default=1024)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = {FLOAT: arguments.checkpoint, PTQ: folder / "ptq.tflite", TRAINED: arguments.qat_checkpoint}
        images = [f"--images={arguments.dataset / 'images' / 'val'}"]
        calibration = [f"--calibration-images={arguments.dataset / 'images' / 'train'}"]
        calibration += [f"--num-calibration={arguments.num_calibration}", "--quantization=int8"]
        export(paths[FLOAT], paths[PTQ], "tflite", [*images, *calibration])
        for kind in arguments.files:
            paths[f"its {kind} file"] = folder / f"learnt{FILES[kind]}"
            export(paths[TRAINED], paths[f"its {kind} file"], kind, images)
        show(paths, accuracies(arguments.dataset, paths), differences(arguments, paths))


def export(source: Path, target: Path, kind: str, options: list[str]) -> None:
    """In form raw; ends the program when the file fails a check."""
    yolo(["export", f"--checkpoint={source}", f"--format={kind}", "--form=raw", f"--output={target}", *options])


def accuracies(root: Path, paths: dict[str, Path]) -> dict[str, dict[str, float]]:
    """AP50-95 by split and row."""
    data = DataOptions(format="yolo", root=str(root), num_workers=0)
    found = {}
    for split in SPLITS:
        if not (root / "images" / split).is_dir():
            continue
        on = replace(data, val_images=f"images/{split}", val_labels=f"labels/{split}")
        measured = {name: prepare(MeasureOptions(path, workers=0, device="cpu"), on) for name, path in paths.items()}
        found[split] = {name: each.run().as_dict()["mAP"] for name, each in measured.items()}
        simulated = measured[TRAINED]
        simulate(simulated.module.model)
        found[split][IN_FLOAT] = simulated.run().as_dict()["mAP"]
    return found


@torch.inference_mode()
def differences(arguments: argparse.Namespace, paths: dict[str, Path]) -> dict[str, tuple[float, float]]:
    """Mean difference of box and class logits from the trained network, by row."""
    trained, card = open_model(paths[TRAINED])
    folder = arguments.dataset / "images" / "val"
    readers = folder_images(folder, arguments.images, card.image_size, card.letterbox, "DATASET")
    images = list(Calibration(str(folder), readers))
    wanted = logits(trained, images)

    def difference(network: DetectionModel) -> tuple[float, float]:
        pairs = zip(logits(network, images), wanted, strict=True)
        boxes, classes = (float((found - reference).abs().mean()) for found, reference in pairs)
        return boxes, classes

    found = {name: difference(open_model(path)[0]) for name, path in paths.items() if name != TRAINED}
    simulate(trained)
    return found | {IN_FLOAT: difference(trained)}


def simulate(network: DetectionModel) -> None:
    """In float."""
    assert is_quantized(network)
    network.arithmetic = "simulated"


def logits(network: DetectionModel, images: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Box and class logits of all anchors of all images."""
    flat = [flatten_maps(network(image)[0], network.num_classes) for image in images]
    boxes, classes = (torch.cat(parts) for parts in zip(*flat, strict=True))
    return boxes, classes


def show(paths: dict[str, Path], found: dict[str, dict[str, float]], maps: dict[str, tuple[float, float]]) -> None:
    table = Table()
    for title in ("network", *(f"AP {split}" for split in found), "box logits", "class logits"):
        table.add_column(title, justify="right", no_wrap=True)
    for name in [*paths, *(name for name in maps if name not in paths)]:
        aps = [f"{row[name]:.6f} ({row[name] - row[FLOAT]:+.6f})" if name in row else "" for row in found.values()]
        table.add_row(name, *aps, *(f"{value:.2e}" for value in maps.get(name, ())))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
