"""`yolo predict`: detections of images, drawn and as JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from yolo.errors import UserError
from yolo.memory import MemorySettings, memory_at_fault
from yolo.options import parse_options

if TYPE_CHECKING:
    from yolo.detector import Detections


@dataclass(frozen=True)
class PredictOptions:
    """Detect objects in an image or a folder of images."""

    checkpoint: Path
    """Checkpoint written by `yolo fit`."""
    source: Path
    """Image, or folder of images; encrypted ones (.enc) are read by the key in YOLO_ENCRYPTION_KEY."""
    output: Path = Path("results")
    """Folder for the drawn images and predictions.json."""
    conf: float | None = None
    """Lowest score of a detection; the checkpoint's (0.25 unless trained with another) when left out."""
    iou: float | None = None
    """Boxes of one class overlapping more than this are duplicates; the checkpoint's (usually 0.65) when left out."""
    max_det: int | None = None
    """Most detections per image; the checkpoint's (usually 300) when left out."""
    size: int | None = None
    """Side of the square network input in pixels; the size of the training when left out."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    network: str | None = None
    """Import path of the checkpoint's network, when that is code of your own."""
    draw: bool = True
    """Write a copy of each image with its detections."""
    save_json: bool = False
    """Write predictions.json: path, size and detections (class, name, score, box as x1 y1 x2 y2 pixels) per image."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse_options(PredictOptions, "predict", arguments)
    with memory_at_fault(MemorySettings([f"--size ({options.size or 'that of the training'})", "--device=cpu"])):
        predict(options)


def predict(options: PredictOptions) -> None:
    """Detect in every image of the source. UserError names what cannot be used."""
    from rich.console import Console

    from yolo.data.image_files import is_encrypted
    from yolo.detector import Detector
    from yolo.models.checkpoint import allow_network

    images = list_images(options.source, readable_suffixes())
    refuse_overwriting(images, options.output)
    allow_network(options.network)
    detector = Detector.load(options.checkpoint, device=options.device, image_size=options.size)
    options.output.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    entries = []
    results = detector.predict(images, confidence=options.conf, iou=options.iou, max_detections=options.max_det)
    for path, found in zip(images, results, strict=True):
        counts = {name: found.names.count(name) for name in dict.fromkeys(found.names)}
        console.print(f"{path}: {', '.join(f'{n} {name}' for name, n in counts.items()) or 'nothing found'}")
        entries.append({"path": str(path), "size": list(found.size), "detections": found.to_dicts()})
        if options.draw:
            write_image(options.output / drawn_name(path), found)
    if options.save_json:
        target = options.output / "predictions.json"
        temporary = target.with_suffix(".tmp")
        temporary.write_text(json.dumps(entries, indent=1))
        temporary.replace(target)
    console.print(f"{len(images)} images, results in {options.output}")
    if options.draw and any(map(is_encrypted, images)):
        console.print("the drawn copies of encrypted images are not encrypted; --no-draw writes none")


def list_images(source: Path, suffixes: Collection[str]) -> list[Path]:
    """The image `source` is, or those in the folder `source` is, by suffix. UserError when there is none."""
    from yolo.data.image_files import is_encrypted, without_twins

    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UserError(f"{source}: no such image or folder")
    files = sorted(path for path in source.iterdir() if not path.name.startswith("."))
    images = without_twins(path for path in files if path.suffix.lower() in suffixes)
    if not images:
        encrypted = sum(map(is_encrypted, files))
        hint = f"; {encrypted} encrypted (.enc): set YOLO_ENCRYPTION_KEY to read them" if encrypted else ""
        raise UserError(f"{source}: no images in this folder (looked for {', '.join(sorted(suffixes))}){hint}")
    return images


def readable_suffixes() -> frozenset[str]:
    """Of the images that a folder is searched for: encrypted ones too when the key is there."""
    from yolo.data.encrypted_loader import EncryptedImageLoader
    from yolo.data.image_files import IMAGE_SUFFIXES
    from yolo.data.keys import find_key

    return EncryptedImageLoader.suffixes if find_key() else IMAGE_SUFFIXES


def drawn_name(path: Path) -> str:
    """What the drawn copy of an image is called; it is not encrypted."""
    from yolo.data.image_files import IMAGE_SUFFIXES, plain_name

    name = plain_name(path)
    return name if name == path.name or Path(name).suffix.lower() in IMAGE_SUFFIXES else f"{name}.jpg"


def refuse_overwriting(images: Sequence[Path], output: Path) -> None:
    """UserError when a drawn image would land on the image it was drawn from."""
    for path in images:
        target = output / drawn_name(path)
        if target.exists() and target.samefile(path):
            raise UserError(f"{target}: --output is the folder of the source, drawn images would overwrite it")


def write_image(target: Path, found: Detections) -> None:
    """Write the drawn detections in the format of the target's suffix, under that name only when complete."""
    import cv2

    partial = target.with_name(f".partial-{target.name}")
    try:
        written = cv2.imwrite(str(partial), cv2.cvtColor(found.plot(), cv2.COLOR_RGB2BGR))
    except cv2.error as error:
        raise UserError(f"{target}: the drawn image cannot be written in this format ({error.err})") from error
    if not written:
        raise UserError(f"{target}: the drawn image cannot be written")
    partial.replace(target)
