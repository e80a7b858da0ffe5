from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.models.test_checkpoint import TinyNetwork
from yolo.models.registry import build_model
from yolo.training.lion import Lion
from yolo.training.optim import OptimizerOptions, apply_rates, build_optimizer, parameter_groups
from yolo.training.schedule import Rates


@pytest.mark.parametrize("name", ["v9-t", "v9-e"])
def test_each_trainable_parameter_is_in_exactly_one_group(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, 3)
    grouped = [p for group in parameter_groups(model, OptimizerOptions()) for p in group["params"]]
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert len(grouped) == len({id(p) for p in grouped}) == len(trainable)
    assert {id(p) for p in grouped} == {id(p) for p in trainable}


def test_only_convolution_weights_decay() -> None:
    with torch.device("meta"):
        model = build_model("v9-t", 3)
    groups = parameter_groups(model, OptimizerOptions(weight_decay=5e-4))
    for group in groups:
        assert group["weight_decay"] == (5e-4 if group["role"] == "weight" else 0)
    weights = [p for g in groups if g["role"] == "weight" for p in g["params"]]
    assert all(p.ndim == 4 for p in weights)
    norms = {id(m.weight) for m in model.modules() if isinstance(m, nn.BatchNorm2d)}
    assert {id(p) for g in groups if g["role"] == "norm" for p in g["params"]} == norms


def test_backbone_and_head_are_told_apart() -> None:
    with torch.device("meta"):
        model = build_model("v9-e", 3)
    groups = {g["name"]: g for g in parameter_groups(model, OptimizerOptions(backbone_lr_scale=0.1))}
    backbone = {id(p) for part in (model.backbone, model.composite) for p in part.parameters()}
    for name, group in groups.items():
        assert group["lr_scale"] == (0.1 if name.startswith("backbone") else 1.0)
        assert all((id(p) in backbone) == name.startswith("backbone") for p in group["params"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sgd", "adamw", "lion", "muon"])
def test_rates_reach_the_right_groups(kind: str) -> None:
    model = build_model("v9-t", 3)
    optimizer = build_optimizer(model, OptimizerOptions(optimizer=kind, backbone_lr_scale=0.5, head_lr_scale=2.0))
    apply_rates(optimizer, Rates(lr=0.3, bias_lr=0.7, momentum=0.5))
    assert {g["name"]: g["lr"] for g in optimizer.param_groups} == {
        "backbone.bias": 0.35, "backbone.norm": 0.15, "backbone.weight": 0.15,
        "head.bias": 1.4, "head.norm": 0.6, "head.weight": 0.6,
    }  # fmt: skip
    if kind in ("sgd", "muon"):
        assert {g["momentum"] for g in optimizer.param_groups} == {0.5}
    else:
        assert {g["betas"] for g in optimizer.param_groups} == {(0.9, 0.99 if kind == "lion" else 0.999)}


def test_lion_takes_its_options() -> None:
    options = OptimizerOptions(optimizer="lion", lion_smoothness=30, lion_betas=(0.8, 0.9))
    optimizer = build_optimizer(TinyNetwork(2), options)
    assert isinstance(optimizer, Lion)
    assert all((g["smoothness"], g["betas"]) == (30, (0.8, 0.9)) for g in optimizer.param_groups)


def test_a_network_without_backbone_is_all_head() -> None:
    groups = parameter_groups(TinyNetwork(2), OptimizerOptions())
    assert {g["name"] for g in groups} == {"head.bias", "head.weight"}
