"""What a network costs: parameters, floating-point operations and output shape, without allocating its weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from yolo.models.detection_model import DetectionModel
from yolo.models.registry import build_model


@dataclass(frozen=True)
class ModelProfile:
    """Figures of one network at one image size; a multiply-add of a convolution counts as two operations."""

    name: str
    """Registered name."""
    num_classes: int
    """Classes the head tells apart."""
    image_size: tuple[int, int]
    """Height and width of the input in pixels."""
    strides: tuple[int, ...]
    """Pixels per cell of each level."""
    output_shape: tuple[int, ...]
    """Shape of the decoded output for one image: (1, 4 + classes, anchors)."""
    layers: int
    """Convolutions of the deployed network."""
    train_params: int
    """Parameters in training form, auxiliary branch included."""
    deploy_params: int
    """Parameters of the deployed network: fused, without auxiliary branch."""
    train_gflops: float
    """1e9 operations of one image's forward pass in training form."""
    deploy_gflops: float
    """1e9 operations of one image's forward pass in the deployed network."""


def profile_model(
    name: str, num_classes: int = 80, image_size: tuple[int, int] = (640, 640), class_width: int | None = None
) -> ModelProfile:
    """Build the named network on the meta device, which has shapes but no memory, and count.

    Raises:
        UserError: when no network goes by that name.
        ValueError: when a side of image_size (height, width) is not a multiple of the largest stride.
    """
    with torch.device("meta"):
        model = build_model(name, num_classes, class_width=class_width)
        images = torch.empty(1, 3, *image_size)
    deployed = model.deploy()
    return ModelProfile(
        name=name,
        num_classes=num_classes,
        image_size=image_size,
        strides=model.strides,
        output_shape=tuple(deployed.decode(deployed(images)[0]).shape),
        layers=sum(isinstance(part, nn.Conv2d) for part in deployed.modules()),
        train_params=count_parameters(model),
        deploy_params=count_parameters(deployed),
        train_gflops=count_flops(model, images) / 1e9,
        deploy_gflops=count_flops(deployed, images) / 1e9,
    )


def count_parameters(module: nn.Module) -> int:
    """Number of parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def count_flops(model: DetectionModel, images: torch.Tensor) -> int:
    """Operations of one forward pass over images [B, 3, H, W] in the model's present mode, two per multiply-add."""
    with FlopCounterMode(display=False) as counter:
        model(images)
    return counter.get_total_flops()
