"""Networks nobody trained, whose outputs still spread over boxes and scores as those of trained ones do."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from yolo.export.parity import random_images
from yolo.models.checkpoint import CARD_KEY, ModelCard, NetworkSpec
from yolo.models.detection_model import DetectionModel

CONFIG: dict[str, dict[str, Any]] = {
    "model": {
        "nms_conf_threshold": 0.25, "nms_val_conf_threshold": 0.001, "nms_iou_threshold": 0.65,
        "nms_max_detections": 300, "conf_prod": 0.25,
    },
    "data": {"format": "shapes"},
    "trainer": {"precision": "32-true", "image_loader": "yolo.data.loaders.DefaultImageLoader", "seed": 0},
}  # fmt: skip


def card_of(name: str, classes: int, image_size: tuple[int, int], letterbox: str = "center") -> ModelCard:
    """The card of a run that never was."""
    names = tuple(f"class {index}" for index in range(classes))
    return ModelCard(
        network=NetworkSpec(name),
        class_names=names,
        category_ids=tuple(range(1, classes + 1)),
        image_size=image_size,
        letterbox=letterbox,  # type: ignore[arg-type]
        dataset_names=names,
        config=CONFIG,
    )


@torch.no_grad()
def randomise(model: DetectionModel, seed: int = 0) -> DetectionModel:
    """In eval mode, no two weights, biases or statistics alike."""
    generator = torch.Generator().manual_seed(seed)
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.copy_(torch.randn(part.weight.shape, generator=generator) / part.weight[0].numel() ** 0.5)
        elif isinstance(part, nn.BatchNorm2d):
            part.weight.copy_(1 + 0.1 * torch.rand(part.weight.shape, generator=generator))
            part.bias.copy_(0.1 * torch.randn(part.bias.shape, generator=generator))
            part.momentum = None  # statistics of what it sees
    model.train()
    model(random_images(8, (160, 160), seed))
    model.eval()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):  # few images say little of others, whose features would explode
            assert part.running_var is not None
            part.running_var += 0.1 * part.running_var.mean()
        if isinstance(part, nn.Conv2d) and part.bias is not None:  # the heads' last convolutions
            part.weight.mul_(3)
            part.bias.copy_(torch.randn(part.bias.shape, generator=generator) - 1)
    return model


def random_checkpoint(path: Path, name: str, *, classes: int = 3, size: int = 64) -> Path:
    """A checkpoint of such a network."""
    path.write_bytes(_checkpoint(name, classes, size))
    return path


@cache
def _checkpoint(name: str, classes: int, size: int) -> bytes:
    card = card_of(name, classes, (size, size))
    model = randomise(card.network.build(classes))
    weights = {f"model.{key}": tensor for key, tensor in model.state_dict().items()}
    content = io.BytesIO()
    torch.save({CARD_KEY: card.to_dict(), "state_dict": weights}, content)
    return content.getvalue()
