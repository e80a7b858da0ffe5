"""Checkpoints whose ranges no calibration would find, as training for INT8 leaves them."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.export.random_network import card_of
from yolo.export.parity import random_images
from yolo.models.checkpoint import CARD_KEY, load_model
from yolo.quantization.fake_quantize import RangeFakeQuantize
from yolo.quantization.network import QuantizedNetwork


def learnt_checkpoint(path: Path, checkpoint: Path) -> Path:
    """Of a checkpoint in float; each range is wider than what was seen, by its own share."""
    base, card = load_model(checkpoint)
    size, classes = card.image_size, len(card.class_names)
    spec = QuantizedNetwork.spec(card.network, size)
    network = QuantizedNetwork.started_from(base, spec.args)
    network.calibrate(random_images(4, size).split(1))
    ranges = [module for module in network.modules() if isinstance(module, RangeFakeQuantize)]
    for number, module in enumerate(ranges):
        module.set_range(module.low * (1 + number / 200), module.high * (1 + number / 300))
    stored = card_of(spec.name, classes, size).to_dict() | {"network": vars(spec)}
    weights = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({CARD_KEY: stored, "state_dict": weights}, path)
    return path
