"""Optimisers: parameter groups by role, so that biases and normalisation are never decayed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from yolo.training.schedule import Rates


@dataclass(frozen=True)
class OptimizerOptions:
    """Optimiser."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with Nesterov momentum, or AdamW."""
    learning_rate: float = 0.01
    """Peak learning rate."""
    momentum: float = 0.937
    """Momentum of SGD after the warm-up."""
    weight_decay: float = 0.0005
    """Decay of convolution weights; biases and normalisation are not decayed."""
    adamw_betas: tuple[float, float] = (0.9, 0.999)
    """Beta 1 and 2 of AdamW."""


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Three groups named `bias`, `norm`, `weight`; each trainable parameter is in exactly one."""
    groups: dict[str, list[nn.Parameter]] = {"bias": [], "norm": [], "weight": []}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            if name == "bias":
                groups["bias"].append(parameter)
            elif isinstance(module, nn.modules.batchnorm._BatchNorm | nn.GroupNorm | nn.LayerNorm):
                groups["norm"].append(parameter)
            else:
                groups["weight"].append(parameter)
    return [
        {"name": name, "params": parameters, "weight_decay": weight_decay if name == "weight" else 0.0}
        for name, parameters in groups.items()
    ]


def build_optimizer(model: nn.Module, options: OptimizerOptions) -> Optimizer:
    """The optimiser of `options` over the trainable parameters of `model`."""
    groups = parameter_groups(model, options.weight_decay)
    if options.optimizer == "sgd":
        return SGD(groups, lr=options.learning_rate, momentum=options.momentum, nesterov=True, fused=True)
    return AdamW(groups, lr=options.learning_rate, betas=options.adamw_betas, fused=True)


def apply_rates(optimizer: Optimizer, rates: Rates) -> None:
    """Set learning rates and momentum of one step."""
    for group in optimizer.param_groups:
        group["lr"] = rates.bias_lr if group["name"] == "bias" else rates.lr
        if "momentum" in group:
            group["momentum"] = rates.momentum
