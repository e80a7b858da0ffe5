"""Freezing: parts of the network that stay as they are, for the whole run or for its first epochs."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parallel import DistributedDataParallel

from yolo.errors import UserError
from yolo.models.detection_model import DetectionModel
from yolo.training.options import FreezeOptions


class Freezer:
    """Parts of a model that can be held still and let go again, whenever in a fit.

    Held still, its parameters have no gradient, so that no optimiser moves or decays them, and its BN layers neither
    update nor use the statistics of the batch. What did not train before (the bins of a head) does not train after.
    The optimiser holds the parameters all the time: a checkpoint fits whether they are frozen or not.

    Args:
        parts: modules, with all under them; they may overlap.
    """

    def __init__(self, parts: Iterable[nn.Module]) -> None:
        modules = {id(m): m for part in parts for m in part.modules()}.values()
        trainable = [p for m in modules for p in m.parameters(recurse=False) if p.requires_grad]
        self.parameters = list({id(p): p for p in trainable}.values())
        self.norms = [m for m in modules if isinstance(m, _NormBase) and m.training]
        self.frozen = False

    def hold(self, trainer: Trainer, frozen: bool) -> None:
        """Freeze or thaw; freezing again what is frozen puts BN layers back that something set to training."""
        for norm in self.norms if frozen or self.frozen else ():
            norm.train(not frozen)
        if frozen == self.frozen:
            return
        self.frozen = frozen
        for parameter in self.parameters:
            parameter.requires_grad_(not frozen)
            parameter.grad = None
        _wrap_again(trainer)


def _wrap_again(trainer: Trainer) -> None:
    """Under DDP, wrap the model anew: DDP averages the gradients of what was trainable when it wrapped the model."""
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy):
        before = cast(DistributedDataParallel, strategy.model)
        strategy.model = strategy.lightning_module
        strategy.configure_ddp()
        cast(DistributedDataParallel, strategy.model).broadcast_buffers = before.broadcast_buffers


class FreezeCallback(Callback):
    """Freezes what the options name when training starts, thaws it at the start of epoch `freeze_until_epoch`.

    Which of the two holds follows from the number of the epoch alone, so a resumed run needs no state.
    """

    def __init__(self, options: FreezeOptions) -> None:
        self.options = options

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the parts; nothing is frozen yet, so that the optimiser has got every parameter."""
        model = cast(DetectionModel, pl_module.model)
        self.freezer = Freezer(select_parts(model, self.options))
        self._trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        if sum(p.numel() for p in self.freezer.parameters) == self._trainable:
            raise UserError("--model.freeze_backbone and --model.freeze_layers leave no parameter to train")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze, unless a resumed run is past the thaw, and say what."""
        self._follow(trainer)
        if self.freezer.frozen and trainer.is_global_zero:
            count, until = sum(p.numel() for p in self.freezer.parameters), self.options.freeze_until_epoch
            print(
                f"frozen: {len(self.freezer.parameters)} tensors with {count:,} of {self._trainable:,} parameters, "
                + (f"until epoch {until + 1} starts" if until else "for the whole run")
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Thaw when it is time; keep BN layers from what put the model into training mode."""
        self._follow(trainer)

    def _follow(self, trainer: Trainer) -> None:
        until = self.options.freeze_until_epoch
        self.freezer.hold(trainer, until == 0 or trainer.current_epoch < until)


def select_parts(model: DetectionModel, options: FreezeOptions) -> list[nn.Module]:
    """The modules that the options name.

    Raises:
        UserError: a pattern that matches no module with parameters, or a backbone that is asked for and not there.
    """
    parts = model.backbone_modules() if options.freeze_backbone else []
    if options.freeze_backbone and not parts:
        raise UserError(f"--model.freeze_backbone: {type(model).__name__} has no backbone, see --model.freeze_layers")
    for pattern in options.freeze_layers or ():
        found = [module for name, module in model.named_modules() if name and fnmatchcase(name, pattern)]
        if not any(True for module in found for _ in module.parameters()):
            names = ", ".join(name for name, _ in model.named_children())
            raise UserError(
                f"--model.freeze_layers: {pattern!r} matches no module with parameters; at the top there are {names}"
            )
        parts = [*parts, *found]
    return parts
