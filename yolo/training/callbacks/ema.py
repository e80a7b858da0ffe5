"""Exponential moving average of the weights: what validation measures and what checkpoints hand out."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from yolo.models.checkpoint import WEIGHTS_PREFIX
from yolo.models.detection_model import DetectionModel, floating_state

TRAINING_WEIGHTS_KEY = "training_state_dict"


class EMACallback(Callback):
    """Keeps an average of parameters and BN statistics, updated after every optimiser step.

    average += (1 - d) (weights - average) with d = decay (1 - exp(-n / tau)) at the n-th update, so that early updates
    forget the random start. During validation the model holds the average; a checkpoint's `state_dict` is the average
    and `training_state_dict` the weights that training goes on from.

    Args:
        decay: share of the old average kept by each update, once warmed up.
        tau: updates over which the decay warms up.
        enabled: false trains without an average.
    """

    def __init__(self, decay: float = 0.9999, tau: float = 2000.0, enabled: bool = True) -> None:
        self.decay = decay
        self.tau = tau
        self.enabled = enabled
        self.updates = 0
        self._average: dict[str, Tensor] = {}
        self._swapped = False
        self._last_step = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start from the weights as they are, or move a restored average to their device."""
        if not self.enabled:
            return
        weights = _averaged(pl_module)
        if self._average:
            self._average = {name: self._average[name].to(tensor.device) for name, tensor in weights.items()}
        else:
            self._average = {name: tensor.clone() for name, tensor in weights.items()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the step, which a resumed run has only now: the next update belongs to the step after it."""
        self._last_step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Update the average, once per optimiser step however many batches were accumulated."""
        if not self.enabled or trainer.global_step == self._last_step:
            return
        self._last_step = trainer.global_step
        self.updates += 1
        share = 1 - self.decay * (1 - math.exp(-self.updates / self.tau))
        held, weights = list(self._average.values()), list(_averaged(pl_module).values())
        # Unlike lerp, this leaves the average of what does not change as it is, to the bit: lerp makes -0 a +0.
        torch._foreach_add_(held, torch._foreach_sub(held, weights), alpha=-share)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average into the model."""
        if self._average:
            self._swap(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the training weights back."""
        if self._swapped:
            self._swap(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """A validation that fails must not leave the average behind as training weights."""
        if self._swapped:
            self._swap(pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Hand out the average as the weights; keep the training weights beside it."""
        if not self._average:
            return
        # Checkpoints are written inside validation too, when the model holds the average.
        training = {**checkpoint["state_dict"]}
        average = {**checkpoint["state_dict"]}
        held = {WEIGHTS_PREFIX + name: tensor for name, tensor in self._average.items()}
        (training if self._swapped else average).update(held)
        checkpoint["state_dict"], checkpoint[TRAINING_WEIGHTS_KEY] = average, training

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the average from the checkpoint's weights and give the model back those it trained with."""
        if TRAINING_WEIGHTS_KEY not in checkpoint:
            return
        if self.enabled:
            averaged = checkpoint["state_dict"]
            self._average = {name: averaged[WEIGHTS_PREFIX + name].clone() for name in _averaged(pl_module)}
        pl_module.load_state_dict(checkpoint[TRAINING_WEIGHTS_KEY])

    def state_dict(self) -> dict[str, Any]:
        """The counter that the decay depends on."""
        return {"updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the counter."""
        self.updates = state_dict["updates"]

    @torch.no_grad()
    def _swap(self, pl_module: LightningModule) -> None:
        for held, weight in zip(self._average.values(), _averaged(pl_module).values(), strict=True):
            weight_copy = weight.clone()
            weight.copy_(held)
            held.copy_(weight_copy)
        self._swapped = not self._swapped


def _averaged(pl_module: LightningModule) -> dict[str, Tensor]:
    model = cast(nn.Module, pl_module.model)
    return model.averaged_state() if isinstance(model, DetectionModel) else floating_state(model)
