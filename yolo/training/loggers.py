"""Who is told the numbers of a run, and what beside numbers.

A run has one folder, that of its CSVLogger, whichever loggers there are: `metrics.csv`, `config.yaml`, checkpoints and
plots lie there.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from yolo.data.keys import VARIABLE
from yolo.errors import UserError
from yolo.training.callbacks.checkpoint import best_checkpoint

SAVE_DIR, NAME = "runs", "fit"
SECRET = "encryption_key"
PACKAGES = {"WandbLogger": "wandb", "TensorBoardLogger": "tensorboard"}


def require_packages(given: Any) -> None:
    """UserError for a logger in a parsed config whose package is not installed."""
    for entry in given if isinstance(given, list) else [given]:
        name = str(entry.get("class_path")).rpartition(".")[2] if isinstance(entry, Namespace) else ""
        package = PACKAGES.get(name)
        if package and importlib.util.find_spec(package) is None:
            raise UserError(f"--trainer.logger={name} needs the package {package}: pip install 'yolo[{package}]'")


def complete_loggers(given: Logger | Iterable[Logger] | bool | None, name: str | None = None) -> list[Logger] | bool:
    """The loggers of a run, a CSVLogger first, since the first one decides on the run's folder.

    A CSVLogger alone gets a TensorBoardLogger for the same folder beside it, where TensorBoard is installed. A list is
    taken as it is, but for the CSVLogger. False, no logger at all, stays as it is. A CSVLogger made here is called
    `name`, or as the TensorBoardLogger is.
    """
    if given is False:
        return False
    listed = [] if given is None or given is True else [given] if isinstance(given, Logger) else list(given)
    csv = next((logger for logger in listed if isinstance(logger, CSVLogger)), None) or _csv_beside(
        listed, name or NAME
    )
    others = [logger for logger in listed if logger is not csv]
    if given is csv or given is None or given is True:
        others += _tensorboard_beside(csv)
    for logger in (csv, *(other for other in others if isinstance(other, TensorBoardLogger))):
        _ = logger.version  # chosen now, before the first of them makes the folder that the next one would evade
    return [csv, *others]


def _csv_beside(listed: list[Logger], name: str) -> CSVLogger:
    """Shares the folder of a TensorBoardLogger; beside others, numbered runs in their folder, or in `runs`."""
    for logger in listed:
        if isinstance(logger, TensorBoardLogger):
            return CSVLogger(logger.save_dir, logger.name, logger.version)
    folder = next((logger.save_dir for logger in listed if logger.save_dir), None)
    return CSVLogger(SAVE_DIR if folder in (None, ".", "./") else str(folder), name)


def _tensorboard_beside(csv: CSVLogger) -> list[Logger]:
    if importlib.util.find_spec("tensorboard") is None:
        return []
    return [TensorBoardLogger(csv.save_dir, csv.name, csv.version, default_hp_metric=False)]


def refuse_secrets(loggers: Iterable[Logger]) -> None:
    """UserError for a key on the command line with Weights & Biases, whose records of a run hold the command line."""
    if any(isinstance(logger, WandbLogger) for logger in loggers) and any(SECRET in text for text in sys.argv):
        raise UserError(
            f"{SECRET} on the command line would be in the records of Weights & Biases: set {VARIABLE} instead"
        )


class LoggedConfig(SaveConfigCallback):
    """Saves the config of a run in its folder and tells it the loggers, secrets masked in both."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Tell all but the CSVLogger, beside whose file config.yaml is."""
        options = flatten(yaml.safe_load(self.parser.dump(self.config, skip_none=False)))
        for logger in trainer.loggers:
            if not isinstance(logger, CSVLogger):
                logger.log_hyperparams(options)


def flatten(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options under the names they have on the command line; lists as text."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat


class LogOutcome(Callback):
    """At the end of a run: the best epoch's metrics beside the options, and its plots, to the loggers that show them.

    Args:
        plots: folder with a folder `epoch_N` of PNG files for each evaluation; None for `metrics` in the run's folder.
    """

    def __init__(self, plots: str | None = None) -> None:
        self.plots = plots

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell TensorBoard and Weights & Biases."""
        checkpoint = best_checkpoint(trainer)
        run = trainer.log_dir  # the processes agree on it, so all of them must ask
        if not trainer.is_global_zero or checkpoint is None or not checkpoint.best_epoch:
            return
        best = {f"best/{name.removeprefix('val/')}": value for name, value in checkpoint.best_metrics.items()}
        folder = Path(self.plots or Path(run or "") / "metrics") / f"epoch_{checkpoint.best_epoch}"
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(dict(logger.hparams), best, step=trainer.global_step)
                _plots_to_tensorboard(logger, folder, trainer.global_step)
            elif isinstance(logger, WandbLogger):
                logger.experiment.summary.update(best)
                for path in sorted(folder.glob("*.png")):
                    logger.log_image(f"plots/{path.stem}", [str(path)])


def _plots_to_tensorboard(logger: TensorBoardLogger, folder: Path, step: int) -> None:
    import numpy as np
    from PIL import Image

    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        logger.experiment.add_image(f"plots/{path.stem}", pixels, step, dataformats="HWC")


def finish(loggers: Iterable[Logger]) -> None:
    """Close what would otherwise go on into the next run of this process; on the first process.

    With the run ends wandb's own process: it stays in the folder that it was started in, and the files of a run that
    begins in another one would be lost without a word.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            logger.experiment.finish()
            wandb.teardown()
