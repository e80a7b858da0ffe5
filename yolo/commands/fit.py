"""`yolo fit`: training, driven by Lightning's command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from yolo.data.datamodule import YOLODataModule
from yolo.detector import Detector
from yolo.evaluation.draw import contact_sheet
from yolo.evaluation.table import print_metrics
from yolo.lightning_output import quiet
from yolo.models.checkpoint import read_checkpoint
from yolo.options import SentenceErrors
from yolo.shipped_configs import resolve_configs
from yolo.size import as_size
from yolo.training.callbacks import BestCheckpoint, EMACallback, TrainingSummaryCallback
from yolo.training.module import YOLOModule

SHEET_IMAGES = 16

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
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        parser.add_lightning_class_args(EMACallback, "ema")
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(EarlyStopping, "early_stopping")
        parser.set_defaults({"early_stopping.monitor": "val/mAP", "early_stopping.mode": "max"})
        parser.set_defaults({"early_stopping.patience": 50})

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        """A callback that the config lists replaces ours of the same kind."""
        listed = config.get("callbacks") or []
        listed = listed if isinstance(listed, list) else [listed]
        ours = [*callbacks, TrainingSummaryCallback()]
        config["callbacks"] = [*listed]
        return super()._instantiate_trainer(
            config, [c for c in ours if not any(isinstance(o, type(c)) for o in listed)]
        )

    def fit(self, model: YOLOModule, **kwargs: Any) -> None:
        """Train; a checkpoint to resume from is read as plain tensors."""
        if kwargs.get("ckpt_path") not in (None, "last", "best"):
            read_checkpoint(kwargs["ckpt_path"])
        self.trainer.fit(model, weights_only=True, **kwargs)

    def after_fit(self) -> None:
        """Show what was learned: metrics of the best epoch and a sheet of its detections."""
        checkpoint = next((c for c in self.trainer.checkpoint_callbacks if isinstance(c, BestCheckpoint)), None)
        best = checkpoint.best_path if checkpoint else None
        if not self.trainer.is_global_zero or checkpoint is None or best is None:
            return
        metrics = {n.removeprefix("val/"): v for n, v in checkpoint.best_metrics.items() if n.startswith("val/")}
        print_metrics(f"best epoch: {checkpoint.best_epoch}", metrics)
        sheet = best.parent.parent / "predictions.jpg"
        write_sheet(best, self.datamodule, sheet)
        for label, path in {"checkpoint": best, "metrics": sheet.with_name("metrics.csv"), "pictures": sheet}.items():
            print(f"{label + ':':<12}{path}")


def write_sheet(checkpoint: Path, data: YOLODataModule, target: Path) -> None:
    """Draw the detections of the first validation images into one picture."""
    import cv2

    detector = Detector.load(checkpoint, loader=data.image_loader)
    assert data.val is not None
    paths = [record.path for record in data.val.images[:SHEET_IMAGES]]
    drawn = [found.plot() for found in detector.predict(paths)]
    cv2.imwrite(str(target), cv2.cvtColor(contact_sheet(drawn, columns=4, tile=320), cv2.COLOR_RGB2BGR))


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
        save_config_kwargs={"overwrite": True},
        auto_configure_optimizers=False,
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    quiet()
    make_cli(arguments)
