from __future__ import annotations

import pytest
import torch
from torch import nn

from yolo.models.registry import build_model
from yolo.training.optim import OptimizerOptions, apply_rates, build_optimizer, parameter_groups
from yolo.training.schedule import Rates


def test_each_trainable_parameter_is_in_exactly_one_group() -> None:
    with torch.device("meta"):
        model = build_model("v9-t", 3)
    grouped = [p for group in parameter_groups(model, 5e-4) for p in group["params"]]
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert len(grouped) == len({id(p) for p in grouped}) == len(trainable)
    assert {id(p) for p in grouped} == {id(p) for p in trainable}


def test_only_convolution_weights_decay() -> None:
    with torch.device("meta"):
        model = build_model("v9-t", 3)
    bias, norm, weight = parameter_groups(model, 5e-4)
    assert (bias["weight_decay"], norm["weight_decay"], weight["weight_decay"]) == (0, 0, 5e-4)
    assert all(p.ndim == 4 for p in weight["params"])
    norms = [m.weight for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {id(p) for p in norm["params"]} == {id(p) for p in norms}


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_rates_reach_the_right_groups(kind: str) -> None:
    optimizer = build_optimizer(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)), OptimizerOptions(optimizer=kind))
    apply_rates(optimizer, Rates(lr=0.3, bias_lr=0.7, momentum=0.5))
    assert {g["name"]: g["lr"] for g in optimizer.param_groups} == {"bias": 0.7, "norm": 0.3, "weight": 0.3}
    if kind == "sgd":
        assert {g["momentum"] for g in optimizer.param_groups} == {0.5}
    else:
        assert {g["betas"] for g in optimizer.param_groups} == {(0.9, 0.999)}
