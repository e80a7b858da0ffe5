"""Optimisers: parameter groups by part and role, so that rates can differ and only weights decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from yolo.models.detection_model import DetectionModel
from yolo.training.lion import Lion
from yolo.training.muon import Muon
from yolo.training.schedule import Rates

Role = Literal["bias", "norm", "weight"]


@dataclass(frozen=True)
class OptimizerOptions:
    """Optimiser."""

    optimizer: Literal["sgd", "adamw", "lion", "muon"] = "sgd"
    """SGD with Nesterov momentum, AdamW, Lion, or Muon, which learns much from few updates."""
    learning_rate: float = 0.01
    """Peak learning rate; AdamW wants about a tenth of SGD's, Lion a third of AdamW's or less, Muon as much as SGD."""
    backbone_lr_scale: float = 1.0
    """Factor on every rate of the backbone."""
    head_lr_scale: float = 1.0
    """Factor on every rate of all that is not backbone."""
    momentum: float = 0.937
    """Momentum of SGD and Muon after the warm-up."""
    weight_decay: float = 0.0005
    """Decay of convolution weights; biases and normalisation are not decayed."""
    adamw_betas: tuple[float, float] = (0.9, 0.999)
    """Beta 1 and 2 of AdamW, and of Muon for biases and normalisation."""
    lion_betas: tuple[float, float] = (0.9, 0.99)
    """Beta 1 and 2 of Lion."""
    lion_smoothness: float | None = None
    """Lion steps by an arc tangent this steep instead of by the sign; 30 is usual, null for the sign."""


def parameter_groups(model: DetectionModel, options: OptimizerOptions) -> list[dict]:
    """Groups `backbone` and `head` times `bias`, `norm` and `weight`; each trainable parameter is in exactly one."""
    backbone = {id(p) for part in model.backbone_modules() for p in part.parameters()}
    groups: dict[tuple[str, Role], dict[str, Any]] = {
        (part, role): {
            "name": f"{part}.{role}",
            "role": role,
            "lr_scale": options.backbone_lr_scale if part == "backbone" else options.head_lr_scale,
            "weight_decay": options.weight_decay if role == "weight" else 0.0,
            "params": [],
        }
        for part in ("backbone", "head")
        for role in get_args(Role)
    }
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                part = "backbone" if id(parameter) in backbone else "head"
                groups[part, _role(module, name)]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]


def _role(module: nn.Module, name: str) -> Role:
    if name == "bias":
        return "bias"
    norms = nn.modules.batchnorm._BatchNorm | nn.GroupNorm | nn.LayerNorm
    return "norm" if isinstance(module, norms) else "weight"


def build_optimizer(model: DetectionModel, options: OptimizerOptions, *, fused: bool = True) -> Optimizer:
    """The optimiser of `options` over the trainable parameters of `model`; `fused` does a step in one kernel."""
    groups, lr = parameter_groups(model, options), options.learning_rate
    if options.optimizer == "sgd":
        return SGD(groups, lr=lr, momentum=options.momentum, nesterov=True, fused=fused)
    if options.optimizer == "adamw":
        return AdamW(groups, lr=lr, betas=options.adamw_betas, fused=fused)
    if options.optimizer == "muon":
        return Muon(groups, lr=lr, momentum=options.momentum, betas=options.adamw_betas)
    return Lion(groups, lr=lr, betas=options.lion_betas, smoothness=options.lion_smoothness)


def apply_rates(optimizer: Optimizer, rates: Rates) -> None:
    """Set learning rates and momentum of one step."""
    for group in optimizer.param_groups:
        group["lr"] = (rates.bias_lr if group["role"] == "bias" else rates.lr) * group["lr_scale"]
        if "momentum" in group:
            group["momentum"] = rates.momentum
