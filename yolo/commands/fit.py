"""`yolo fit`: training, driven by Lightning's command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger

from yolo.commands.after_fit import read_rows, show_run
from yolo.commands.data_config import whole_seed
from yolo.data.datamodule import YOLODataModule
from yolo.errors import UserError
from yolo.evaluation.evaluator import METRIC_NAMES
from yolo.lightning_output import options_at_fault, quiet
from yolo.memory import memory_at_fault, training_settings
from yolo.options import SentenceErrors
from yolo.quantization import inner_network
from yolo.shipped_configs import resolve_configs
from yolo.size import as_size
from yolo.training.callbacks import (
    BestCheckpoint,
    EMACallback,
    ExactResume,
    QATCallback,
    TrainingSummaryCallback,
    YOLOProgressBar,
)
from yolo.training.callbacks.best_evaluation import BestEvaluation
from yolo.training.callbacks.checkpoint import find_last
from yolo.training.callbacks.freeze import FreezeCallback
from yolo.training.callbacks.non_finite import NonFiniteGuard
from yolo.training.callbacks.plots import MetricsPlotsCallback
from yolo.training.callbacks.resume import card_to_resume
from yolo.training.distributed import ending_together, refuse_setup
from yolo.training.loggers import LoggedConfig, LogOutcome, complete_loggers, finish, refuse_secrets, require_packages
from yolo.training.lr_finder import find_learning_rate
from yolo.training.module import YOLOModule
from yolo.training.run_folder import keep_metrics, no_folder_without_training

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
LOGGED = tuple(f"val/{name}" for name in METRIC_NAMES)

TRAINER_DEFAULTS: dict[str, Any] = {
    "max_epochs": 500,
    "gradient_clip_val": 10.0,
    "use_distributed_sampler": False,  # ours shards by (seed, epoch, rank)
    "enable_model_summary": False,
    "log_every_n_steps": 50,
    "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "runs", "name": "fit"}},
}


class FitParser(SentenceErrors, LightningArgumentParser):
    """Lightning's parser with our errors."""


class FitCLI(LightningCLI):
    """LightningCLI with one subcommand, the options that follow from one another linked, and our callbacks."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Only `fit`; the other commands are rows of `yolo.cli.COMMANDS`."""
        return {"fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule", "weights_only"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link and add options."""
        parser.link_arguments("model.image_size", "data.image_size", compute_fn=as_size)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=whole_seed)
        parser.add_argument("--find_lr", type=bool, default=False, help="Suggest a learning rate instead of training.")
        parser.add_lightning_class_args(EMACallback, "ema")
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(EarlyStopping, "early_stopping")
        parser.set_defaults({"early_stopping.monitor": "val/mAP", "early_stopping.mode": "max"})
        parser.set_defaults({"early_stopping.patience": 50})

    def _parse_ckpt_path(self) -> None:
        """Take no options from a checkpoint, as Lightning would: its file could name code to import."""

    def before_instantiate_classes(self) -> None:
        """Take the sweep out of the config, so that the one saved with the run trains; look for packages of loggers."""
        config = self.config.get(str(self.subcommand), self.config)
        self.find_lr, config.find_lr = config.find_lr, False
        require_packages(config.trainer.logger)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        """A callback that the config lists replaces ours of the same kind."""
        # The data module has it; in the saved config it would be a mask that no later run accepts.
        self.config.get(str(self.subcommand), self.config).data.encryption_key = None
        listed = config.get("callbacks") or []
        listed = listed if isinstance(listed, list) else [listed]
        options = self.model.options
        ours = [*callbacks, TrainingSummaryCallback(), ExactResume(), NonFiniteGuard(), MetricsPlotsCallback(options)]
        ours += [BestEvaluation(options), LogOutcome(options.metrics_plots_dir)]
        if config.get("enable_progress_bar") is False:
            listed = [c for c in listed if not isinstance(c, ProgressBar)]
        elif not any(isinstance(c, ProgressBar) for c in listed):
            ours.append(YOLOProgressBar())
        config["logger"] = self._loggers(config.get("logger"))
        if options.freeze_backbone or options.freeze_layers:
            ours.append(FreezeCallback(options))
        config["callbacks"] = [*listed]
        callbacks = [c for c in ours if not any(isinstance(o, type(c)) for o in listed)]
        try:
            return super()._instantiate_trainer(config, callbacks)
        except ValueError as error:  # a strategy or an accelerator that does not exist or does not fit
            raise UserError(" ".join(str(error).split())) from error

    def _loggers(self, given: Logger | list[Logger] | bool | None) -> list[Logger] | bool:
        """The loggers of the config and those that each run has. A single one may name the runs."""
        listed = self.config.get(str(self.subcommand), self.config).trainer.logger
        options = listed.get("init_args") if isinstance(listed, Namespace) else None
        loggers = complete_loggers(given, options.get("name") if options else None)
        if not isinstance(loggers, list):
            return loggers
        refuse_secrets(loggers)
        return loggers[:1] if self.find_lr else loggers  # a sweep is no run to tell anyone of

    def fit(self, model: YOLOModule, **kwargs: Any) -> None:
        """Train; a checkpoint to resume from is read as plain tensors."""
        _refuse(self.trainer, model)
        given = self.config.fit.trainer
        refuse_setup(
            self.trainer, sync_batchnorm=given.sync_batchnorm, use_distributed_sampler=given.use_distributed_sampler
        )
        self.rows_before: list[dict[str, str]] = []
        if kwargs.get("ckpt_path") is not None:
            if self.trainer.max_steps != -1:
                raise UserError("--trainer.max_steps with --ckpt_path: a run is resumed by --trainer.max_epochs alone")
            if kwargs["ckpt_path"] == "last":
                kwargs["ckpt_path"] = find_last(self.trainer)
            model.continue_from(card_to_resume(kwargs["ckpt_path"]))
            self.rows_before = read_rows(Path(kwargs["ckpt_path"]).absolute().parent.parent / "metrics.csv")
        keep_metrics(self.trainer)
        memory = training_settings(self.trainer, model, self.datamodule)
        with no_folder_without_training(self.trainer), ending_together(self.trainer, memory), memory_at_fault(memory):
            if self.find_lr:
                find_learning_rate(self.trainer, model, **kwargs)
            else:
                self.trainer.fit(model, weights_only=True, **kwargs)
                finish(self.trainer.loggers)

    def after_fit(self) -> None:
        """Show what was learned."""
        show_run(self.trainer, self.model, self.datamodule, self.rows_before)


def _refuse(trainer: Trainer, model: YOLOModule) -> None:
    """UserError for options of the trainer that would leave a run without what a run is for."""
    if not trainer.loggers:
        raise UserError("--trainer.logger=false leaves the run without a folder: choose a logger, such as CSVLogger")
    if str(trainer.precision) not in PRECISIONS:
        raise UserError(f"--trainer.precision is {trainer.precision}, expected one of {', '.join(PRECISIONS)}")
    if trainer.limit_val_batches == 0:
        raise UserError("--trainer.limit_val_batches=0: without validation there is no best checkpoint")
    if trainer.val_check_interval not in (None, 1.0):
        raise UserError(
            f"--trainer.val_check_interval is {trainer.val_check_interval}: validation follows an epoch, so that "
            "checkpoints hold the weights it measured; see --trainer.check_val_every_n_epoch"
        )
    every, epochs = trainer.check_val_every_n_epoch, trainer.max_epochs
    if every is not None and epochs is not None and 0 < epochs < every:
        raise UserError(f"--trainer.check_val_every_n_epoch is {every}, but there are only {epochs} epochs")
    if inner_network(model.network) and not any(isinstance(c, QATCallback) for c in trainer.callbacks):  # type: ignore[attr-defined]
        raise UserError(
            "--model.model_config is a quantised network, whose ranges QATCallback finds, and --trainer.callbacks has "
            "none: see yolo qat-finetune, and add other callbacks by --trainer.callbacks+="
        )
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        monitor = callback.monitor if isinstance(callback, BestCheckpoint | EarlyStopping) else None
        if monitor is not None and monitor not in LOGGED:
            raise UserError(f"monitor {monitor!r} is not logged, expected one of {', '.join(LOGGED)}")


def make_cli(arguments: Sequence[str], *, run: bool = True) -> FitCLI:
    """The command line of `fit`, run unless `run` is false; shipped configs are found by name."""
    resolved = resolve_configs(arguments)
    return FitCLI(
        YOLOModule,
        YOLODataModule,
        args=["fit", *resolved] if run else resolved,
        run=run,
        parser_class=FitParser,
        parser_kwargs={"prog": "yolo"},
        trainer_defaults=TRAINER_DEFAULTS,
        seed_everything_default=0,
        save_config_callback=LoggedConfig,
        save_config_kwargs={"overwrite": True},
        auto_configure_optimizers=False,
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    quiet()
    with options_at_fault():
        make_cli(arguments)
