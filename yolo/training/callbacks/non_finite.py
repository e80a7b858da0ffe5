"""Stops a run at the first step whose loss or gradient is not finite, and keeps that step."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from yolo.data.batch import Batch
from yolo.errors import UserError
from yolo.ranks import from_all_ranks
from yolo.training.evidence import Before, Evidence
from yolo.training.module import YOLOModule

SHOWN_IMAGES = 16


class NonFiniteGuard(Callback):
    """Writes `non_finite/epochEEE-stepSSSSSS.pt` into the run's folder and raises, before the weights are touched.

    Loss and gradient are looked at together, once per batch, after the backward pass: a loss can be finite while its
    gradient destroys the weights. Several processes tell each other and stop together, each with its step. In 16-mixed
    precision gradients overflow as a matter of course, and the scaler deals with them: only the loss is looked at.
    """

    def __init__(self) -> None:
        self.folder = Path()
        self._before = Before()
        self._batch: Batch | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the run's folder, on which all ranks agree."""
        self.folder = Path(trainer.log_dir or trainer.default_root_dir) / "non_finite"

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Keep what the forward pass will change."""
        self._batch = batch
        self._before.take(cast(nn.Module, pl_module.model))

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at loss and gradient."""
        module = cast(YOLOModule, pl_module)
        sound = [module.trace.losses["total"].isfinite()]
        gradients = [p.grad for p in module.model.parameters() if p.grad is not None]
        if gradients and trainer.precision != "16-mixed":
            sound.append(torch.stack(torch._foreach_norm(gradients)).sum().isfinite())
        # Asked of all at each step: a loss, and a gradient that is being accumulated, are each process's own.
        sound_at = from_all_ranks(torch.stack([sound[0], torch.stack(sound).all()]).to(torch.uint8))  # [ranks, 2]
        if not sound_at.all().item():
            self._stop(trainer, module, int(sound_at.sum(1).argmin()))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Let go of the batch."""
        self._batch = None

    def _stop(self, trainer: Trainer, module: YOLOModule, culprit: int) -> NoReturn:
        """Keep the step of every process; all raise what the culprit has to say."""
        evidence = self._evidence(trainer, module)
        rank = f"-rank{evidence.rank}" if evidence.world_size > 1 else ""
        path = self.folder / f"epoch{evidence.epoch:03d}-step{evidence.step:06d}{rank}.pt"
        if cast(Any, trainer).datamodule.confidential:
            kept = "the step is not kept, since it holds images, and they are encrypted"
        else:
            kept = _keep(evidence, path, module)
        sentence = f"{_describe(evidence)}; {kept}"
        if evidence.world_size > 1 and _finite(evidence.losses["total"]):  # the gradient is shared
            sentence += "; the cause may be in the batch of another process, whose step is kept beside it"
        sentence = trainer.strategy.broadcast(sentence, src=culprit)
        trainer.strategy.barrier()  # the first process ends the others when it fails
        raise UserError(sentence)

    def _evidence(self, trainer: Trainer, module: YOLOModule) -> Evidence:
        assert self._batch is not None
        teacher = module.distillation
        return Evidence(
            epoch=trainer.current_epoch + 1,
            step=trainer.global_step,
            images=self._batch.images,
            targets=self._batch.targets.clone(),
            paths=[str(record.path) for record in self._batch.records],
            losses=module.trace.losses,
            norms=module.trace.norms,
            buffers=self._before.buffers,
            rng=self._before.rng,
            evaluating=[name for name, part in module.model.named_modules() if not part.training],
            seed=cast(Any, trainer).datamodule.seed,
            precision=str(trainer.precision),
            device=module.device.type,
            threads=torch.get_num_threads(),
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            distilled=None if teacher is None else {"weight": teacher.weight, "wanted": teacher.wanted},
        )


def _keep(evidence: Evidence, path: Path, module: YOLOModule) -> str:
    """Write the step; what became of it, in words."""
    assert module.card is not None
    try:
        evidence.write(path, module.card, module.state_dict())
    except (OSError, RuntimeError) as error:
        return f"the step could not be kept in {path} ({str(error).splitlines()[0]})"
    own = f" --network {module.network.name}" if "." in module.network.name else ""
    return f"the step is kept in {path}; run it again by: yolo replay {path}{own}"


def _describe(evidence: Evidence) -> str:
    what = "gradient" if _finite(evidence.losses["total"]) else "loss"
    parts = ", ".join(f"{name} {value.item():.6g}" for name, value in evidence.losses.items())
    names = [Path(path).name for path in evidence.paths]
    more = f" and {len(names) - SHOWN_IMAGES} more" if len(names) > SHOWN_IMAGES else ""
    where = f"epoch {evidence.epoch}, step {evidence.step}"
    if evidence.world_size > 1:
        where += f" in process {evidence.rank} of {evidence.world_size}"
    return f"the {what} is not finite at {where} ({parts}); images: {', '.join(names[:SHOWN_IMAGES])}{more}"


def _finite(value: Tensor) -> bool:
    return bool(value.isfinite().all())
