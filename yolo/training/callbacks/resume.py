"""Why a resumed run ends where the straight run ends, bit for bit on CPU.

What the next step depends on, and where a checkpoint has it:

    weights, optimiser, loss scaling, counters      Lightning
    averaged weights and their counter              EMACallback
    best so far, patience                           BestCheckpoint, EarlyStopping
    learning rates, momentum                        nowhere: a pure function of the step (schedule.py)
    order of the images, augmentation, mosaic       nowhere: pure functions of (seed, epoch, index) (yolo/data)
    place in the epoch                              Lightning's count of the batches trained on; told the sampler here
    torch's random state (dropout)                  here, for each process
    sums behind the epoch's mean losses             here, for each process (LossMeter)
    gradients                                       nowhere: BestCheckpoint writes right after an optimiser step only
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from yolo.data.sampler import EpochSampler
from yolo.errors import UserError
from yolo.lightning_output import print_line
from yolo.models.checkpoint import CARD_KEY, ModelCard, read_checkpoint
from yolo.ranks import gather_objects
from yolo.training.module import YOLOModule
from yolo.training.schedule import Schedule

RESUME_KEY = "yolo_resume"

# A validation that has begun and counted nothing yet. Lightning would go on behind the images it has seen, whose
# detections are gone.
_VALIDATION = "epoch_loop.val_loop.batch_progress"
_VALIDATION_BEGUN = {
    "total": {"ready": 1, "started": 1, "processed": 0, "completed": 0},
    "current": {"ready": 0, "started": 0, "processed": 0, "completed": 0},
    "is_last_batch": False,
}


class ExactResume(Callback):
    """Puts into checkpoints what Lightning leaves out, and takes it up again."""

    def __init__(self) -> None:
        self._stored: dict[str, Any] | None = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the state of every process; all of them save together."""
        mine = {"losses": cast(YOLOModule, pl_module).losses.state_dict(), "random": _random_state(pl_module.device)}
        checkpoint[RESUME_KEY] = {"epoch": _epoch_layout(trainer), "processes": gather_objects(mine)}
        if trainer.validating:
            checkpoint["loops"]["fit_loop"][_VALIDATION] = _VALIDATION_BEGUN

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse a run that is over; keep the state until everything is in place."""
        done = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
        epochs = trainer.max_epochs
        if epochs is not None and 0 < epochs <= done:
            raise UserError(
                f"the checkpoint has {done} epochs done and --trainer.max_epochs is {epochs}: no epoch is left to "
                "train; give a larger --trainer.max_epochs to go on"
            )
        self._stored = {**checkpoint[RESUME_KEY], "card": ModelCard.from_dict(checkpoint[CARD_KEY])}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on where the checkpoint stands; nothing draws random numbers between here and the first step."""
        if self._stored is None:
            return
        stored, self._stored = self._stored, None
        module, loop = cast(YOLOModule, pl_module), trainer.fit_loop
        layout = _epoch_layout(trainer)
        batches = loop.epoch_loop.batch_progress.current.ready if loop.restarting else 0
        if batches:
            _require_same_epoch(stored["epoch"], layout)
            _sampler(trainer).start_at(trainer.current_epoch, batches * layout["data.batch_size"])
        if len(stored["processes"]) == trainer.world_size:
            mine = stored["processes"][trainer.global_rank]
            module.losses.load_state_dict(mine["losses"], pl_module.device)
            _set_random_state(mine["random"], pl_module.device)
        where = f" after {batches} of {layout['batches per epoch']} batches" if batches else ""
        print_line(trainer, f"resumed in epoch {trainer.current_epoch + 1}{where}, at step {trainer.global_step}")
        for group, options in zip(trainer.optimizers[0].param_groups, module.group_options, strict=True):
            group.update(options)  # Lightning has put back those of the checkpoint
        changed = _changed(stored["card"], cast(ModelCard, module.card))
        if changed:
            print_line(trainer, f"options that differ from the checkpoint's: {', '.join(changed)}")
        planned, epochs = stored["card"].config["trainer"]["max_epochs"], trainer.max_epochs
        if planned != epochs:
            print_line(trainer, _new_length(module.schedule, trainer.global_step, planned, epochs))


def card_to_resume(path: str | Path) -> ModelCard:
    """What the checkpoint `path` is of. UserError unless it can be read and resumed from."""
    contents = read_checkpoint(path)
    if RESUME_KEY not in contents:
        raise UserError(f"{path}: holds no state to resume from, expected a checkpoint that `yolo fit` wrote to go on")
    return ModelCard.from_dict(contents[CARD_KEY])


def _changed(stored: ModelCard, now: ModelCard) -> list[str]:
    """Options of the model and data sections that have another value than in the checkpoint, with both."""
    before, after = (
        {"model.image_size": card.image_size}
        | {f"{part}.{name}": value for part in ("model", "data") for name, value in card.config[part].items()}
        for card in (stored, now)
    )
    return [f"--{name}={value} (was {before.get(name)})" for name, value in after.items() if value != before.get(name)]


def _new_length(schedule: Schedule, step: int, planned: int, epochs: int | None) -> str:
    """What another `max_epochs` does to the learning rate."""
    before = replace(schedule, total_steps=planned * schedule.steps_per_epoch)
    return (
        f"max_epochs was {planned} and is {epochs}: the {schedule.options.lr_scheduler} schedule is recomputed over "
        f"{schedule.total_steps} instead of {before.total_steps} steps, the learning rate of step {step} is "
        f"{schedule(step).lr:.3g} instead of {before(step).lr:.3g}"
    )


def _epoch_layout(trainer: Trainer) -> dict[str, int]:
    """What decides which images are in which batch of an epoch, and which batches in which step."""
    sampler = _sampler(trainer)
    return {
        "processes": trainer.world_size,
        "training images": sampler.size,
        "seed_everything": sampler.seed,
        "data.batch_size": cast(Any, trainer.train_dataloader).batch_size,
        "trainer.accumulate_grad_batches": trainer.accumulate_grad_batches,
        "batches per epoch": int(trainer.num_training_batches),
    }


def _require_same_epoch(stored: Mapping[str, int], now: Mapping[str, int]) -> None:
    changed = [f"{name} was {value} and is {now[name]}" for name, value in stored.items() if now[name] != value]
    if changed:
        raise UserError(
            f"the checkpoint stands in the middle of an epoch whose batches would change ({', '.join(changed)}): "
            "resume with the same settings, or from a checkpoint written at the end of an epoch"
        )


def _sampler(trainer: Trainer) -> EpochSampler:
    return cast(EpochSampler, cast(Any, trainer.train_dataloader).sampler)


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(state: Mapping[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
