from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from yolo.errors import UserError
from yolo.models.blocks import Conv
from yolo.models.profile import count_flops, count_parameters, profile_model
from yolo.models.registry import build_model

# name, class width, deployed GFLOPs, GFLOPs of the training form with auxiliary branch; 640 x 640, 80 classes
GFLOPS = [
    ("v9-t", None, 7.71, None),
    ("v9-t", 128, 9.82, None),
    ("v9-s", None, 26.38, 39.50),
    ("v9-m", None, 76.31, 132.08),
    ("v9-c", None, 102.14, 238.65),
    ("v9-e", None, 188.95, 243.96),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "class_width", "deployed", "training"), GFLOPS)
def test_operations_are_the_published_ones(
    name: str, class_width: int | None, deployed: float, training: float | None
) -> None:
    profile = profile_model(name, class_width=class_width)
    assert round(profile.deploy_gflops, 2) == deployed
    if training is not None:
        assert round(profile.train_gflops, 2) == training


@pytest.mark.slow
def test_all_figures_of_v9_t() -> None:
    profile = profile_model("v9-t", 3, (320, 480))
    assert dataclasses.asdict(profile) | {"train_gflops": 0, "deploy_gflops": 0} == {
        "name": "v9-t",
        "num_classes": 3,
        "image_size": (320, 480),
        "strides": (8, 16, 32),
        "output_shape": (1, 7, 40 * 60 + 20 * 30 + 10 * 15),
        # backbone 2 + 4 + 3 x (1 + 22), neck 2 + 4 x 22 + 2, head 3 x 6; 22 = 2 + 2 x (3 + 3 x 2 + 1)
        "layers": 185,
        "train_params": profile.train_params,
        "deploy_params": profile.deploy_params,
        "train_gflops": 0,
        "deploy_gflops": 0,
    }
    assert 0 < profile.deploy_params < profile.train_params
    assert 0 < profile.deploy_gflops < profile.train_gflops


@pytest.mark.slow
def test_operations_scale_with_the_area() -> None:
    with torch.device("meta"):
        model = build_model("v9-t", 80, auxiliary=False)
        small, large = torch.empty(1, 3, 64, 96), torch.empty(1, 3, 128, 192)
    assert count_flops(model, large) == 4 * count_flops(model, small)


def test_multiply_add_counts_as_two() -> None:
    conv = Conv(3, 5, 3, 2)
    assert count_parameters(conv) == 3 * 5 * 9 + 5 * 2
    with torch.device("meta"):
        assert count_flops(nn.Conv2d(3, 5, 3, 2, 1), torch.empty(1, 3, 8, 6)) == 2 * (3 * 9) * 5 * (4 * 3)  # type: ignore[arg-type]


def test_wrong_input_is_refused() -> None:
    with pytest.raises(UserError, match="v9-x"):
        profile_model("v9-x")
    with pytest.raises(ValueError, match=r"multiples of 32, found \(1, 3, 640, 600\)"):
        profile_model("v9-t", image_size=(640, 600))
