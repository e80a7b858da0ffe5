"""A dataset whose labels are what a network nobody trained finds: on it that network is as good as a trained one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from tests.export.random_network import random_checkpoint
from yolo import Detector
from yolo.export.parity import random_images
from yolo.models.checkpoint import CARD_KEY


def own_checkpoint(folder: Path, name: str = "v9-t") -> Path:
    """A checkpoint of three classes at 64 pixels, of a run on files somewhere else."""
    path = random_checkpoint(folder / "a.ckpt", name)
    contents = torch.load(path, weights_only=True)
    data = {"format": "yolo", "root": "/home/somebody/confidential", "letterbox": "center"}
    contents[CARD_KEY]["config"] = {**contents[CARD_KEY]["config"], "data": data}
    torch.save(contents, path)
    return path


def write_own_dataset(root: Path, checkpoint: Path, images: int = 6) -> list[str]:
    """Both splits in YOLO format, `images` each; gives the options that name it."""
    detector = Detector.load(checkpoint, device="cpu")
    pixels = (random_images(2 * images, (64, 64), seed=3) * 255).byte().permute(0, 2, 3, 1).numpy()
    for number, image in enumerate(pixels):
        split = ("train", "val")[number % 2]
        name = f"{number:02d}"
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / "images" / split / f"{name}.png"), np.ascontiguousarray(image[..., ::-1]))
        found = detector(image, confidence=0.3, iou=0.5)
        boxes = found.boxes / 64
        centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        rows = np.column_stack([centres, sides])
        keep = sides.min(1) > 0.02
        lines = [
            f"{c} {' '.join(f'{v:.6f}' for v in row)}" for c, row in zip(found.classes[keep], rows[keep], strict=True)
        ]
        (root / "labels" / split / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [class 0, class 1, class 2]\n")
    return [f"--data.root={root}", "--data.format=yolo", "--data.num_workers=0"]
